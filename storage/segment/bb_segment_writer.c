// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_segment_writer.h"

#include <stdlib.h>

#include "storage/segment/bb_pack.h"

// A value of this size takes whole pages of the map, with a head.
#define S_PAGE_BYTES      4096u
#define S_PAGE_HEAD_BYTES 16u
// Pages of the tree itself, and those that a commit leaves unused.
#define S_SPARE_BYTES (256u << 10)

struct bb_segment_writer {
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    bool *must_fence;
    bb_kv_txn_t *txn;
    bb_pack_writer_t pack;
    uint64_t before; // place of the last run in packs that are written
    uint64_t place;  // of the last run
    uint64_t uncommitted_bytes;
    uint64_t page_bytes;
    bb_segment_info_t info;
};

bb_segment_writer_t *bb_segment_writer_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_segment_writer_t));
}

void bb_segment_writer_destroy(bb_segment_writer_t **self)
{
    if (*self) {
        bb_segment_writer_abort(*self);
        bb_pack_writer_free(&(*self)->pack);
        free(*self);
        *self = NULL;
    }
}

bb_error_t bb_segment_writer_begin(bb_segment_writer_t *self, bb_kv_driver_t *kv, bb_kv_env_t *env,
                                   bool *must_fence)
{
    BB_ASSERT(!self->txn);
    self->kv = kv;
    self->env = env;
    self->must_fence = must_fence;
    bb_pack_writer_clear(&self->pack);
    self->before = BB_PACK_NONE;
    self->place = BB_PACK_NONE;
    self->uncommitted_bytes = 0;
    self->page_bytes = 0;
    self->info = (bb_segment_info_t){0};
    return kv->begin(env, true, &self->txn);
}

static bb_error_t s_commit(bb_segment_writer_t *self)
{
    self->uncommitted_bytes = 0;
    bb_error_t error = self->kv->commit(&self->txn);
    *self->must_fence |= error != BB_OK && error != BB_ERR_DISK_FULL;
    return error;
}

static bb_error_t s_write_pack(bb_segment_writer_t *self)
{
    uint8_t key[BB_PACK_KEY_BYTES];
    uint32_t seq = (uint32_t)self->info.pack_count;
    size_t bytes = bb_pack_writer_bytes(&self->pack);
    void *room = NULL;
    bb_pack_key_encode(key, self->place, seq);
    bb_error_t error = self->kv->reserve(self->txn, bb_slice(key, sizeof key), bytes, &room);
    if (error != BB_OK) {
        return error;
    }
    bb_pack_writer_finish(&self->pack, seq, self->before, room);
    self->before = self->place;
    self->info.pack_count++;
    self->info.bytes += bytes;
    self->page_bytes +=
        (bytes + S_PAGE_HEAD_BYTES + S_PAGE_BYTES - 1) / S_PAGE_BYTES * S_PAGE_BYTES;
    self->uncommitted_bytes += bytes;
    if (self->uncommitted_bytes < BB_COMMIT_BYTES_MAX) {
        return BB_OK;
    }
    error = s_commit(self);
    return error == BB_OK ? self->kv->begin(self->env, true, &self->txn) : error;
}

// Ends the pack if it has no room for so many bytes and runs more.
static bb_error_t s_make_room(bb_segment_writer_t *self, size_t bytes, uint32_t run_count)
{
    bool is_full = bb_pack_writer_bytes(&self->pack) + bytes + S_PAGE_HEAD_BYTES > BB_PACK_BYTES ||
                   self->pack.run_count + run_count > BB_PACK_RUNS_MAX;
    return is_full && self->pack.entry_count > 0 ? s_write_pack(self) : BB_OK;
}

static void s_count_entry(bb_segment_writer_t *self, uint64_t place, uint64_t point_count)
{
    BB_ASSERT(self->place == BB_PACK_NONE || self->place <= place);
    if (self->info.run_count == 0) {
        self->info.first = place;
    }
    self->info.battery_count += place != self->place;
    self->info.run_count++;
    self->info.point_count += point_count;
    self->place = place;
}

bb_error_t bb_segment_writer_add(bb_segment_writer_t *self, uint32_t partition, uint32_t battery,
                                 bb_slice_t run, uint64_t point_count)
{
    uint64_t place = bb_pack_place(partition, battery);
    bb_error_t error = s_make_room(self, run.length + 16, 1);
    if (error == BB_OK) {
        s_count_entry(self, place, point_count);
        bb_pack_writer_add(&self->pack, place, run);
    }
    return error;
}

bb_error_t bb_segment_writer_add_group(bb_segment_writer_t *self, const bb_segment_entry_t *entries,
                                       uint32_t entry_count, const bb_slice_t *runs,
                                       uint32_t run_count)
{
    BB_ASSERT(run_count >= 1 && run_count <= entry_count && run_count <= BB_PACK_RUNS_MAX);
    size_t bytes = (size_t)entry_count * 8;
    for (uint32_t i = 0; i < run_count; i++) {
        bytes += runs[i].length + 8;
    }
    bb_error_t error = s_make_room(self, bytes, run_count);
    uint32_t first = self->pack.run_count;
    for (uint32_t i = 0; error == BB_OK && i < entry_count; i++) {
        const bb_segment_entry_t *entry = &entries[i];
        uint32_t run = first + entry->run;
        BB_ASSERT(run <= self->pack.run_count); // named in their order
        if (run == self->pack.run_count) {
            bb_pack_writer_put(&self->pack, runs[entry->run]);
        }
        s_count_entry(self, entry->place, entry->point_count);
        bb_pack_writer_name(&self->pack, entry->place, run);
    }
    return error;
}

uint64_t bb_segment_writer_file_bytes(const bb_segment_writer_t *self)
{
    return self->page_bytes + bb_pack_writer_bytes(&self->pack) + S_SPARE_BYTES;
}

bb_error_t bb_segment_writer_finish(bb_segment_writer_t *self, bb_segment_info_t *info)
{
    BB_ASSERT(self->info.run_count >= 1);
    bb_error_t error = s_write_pack(self);
    if (error == BB_OK) {
        error = s_commit(self);
    }
    if (error == BB_OK) {
        self->info.last = self->place;
        *info = self->info;
    }
    bb_segment_writer_abort(self);
    return error;
}

void bb_segment_writer_abort(bb_segment_writer_t *self)
{
    if (self->txn) {
        self->kv->abort(&self->txn);
    }
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_draft.h"

#include <stdlib.h>

void bb_store_draft_begin(bb_store_draft_t *self, bb_segment_pool_t *pool, bb_kv_driver_t *kv,
                          bb_window_id_t id, uint64_t number, bool *must_fence)
{
    BB_ASSERT(!self->segment);
    BB_ASSERT(self->window.part_count == 0);
    self->pool = pool;
    self->kv = kv;
    self->window.id = id;
    self->window.number_next = number;
    self->must_fence = must_fence;
    self->fault = (bb_fault_t){0};
    if (!self->writer) {
        self->writer = bb_segment_writer_new();
    }
}

static void s_drop_segment(bb_store_draft_t *self)
{
    bb_segment_doom(self->segment);
    bb_segment_release(&self->segment);
}

static bb_error_t s_open_segment(bb_store_draft_t *self)
{
    self->segment = bb_segment_new(self->pool, self->window.id, self->window.number_next);
    bb_kv_env_t *env = NULL;
    bb_error_t error = bb_segment_make(self->segment, self->must_fence, &self->fault);
    if (error == BB_OK) {
        error = bb_segment_env_acquire(self->segment, true, &env, &self->fault);
    }
    if (error == BB_OK) {
        error = bb_segment_writer_begin(self->writer, self->kv, env, self->must_fence);
        if (error != BB_OK) {
            bb_segment_env_release(self->segment);
        }
    }
    if (error != BB_OK) {
        s_drop_segment(self);
        return error;
    }
    self->window.number_next++;
    return BB_OK;
}

static bb_error_t s_close_segment(bb_store_draft_t *self)
{
    bb_segment_info_t info;
    BB_KILLPOINT(self->kv, SEGMENT_IN_TXN);
    bb_error_t error = bb_segment_writer_finish(self->writer, &info);
    bb_segment_env_release(self->segment);
    if (error != BB_OK) {
        s_drop_segment(self);
        return error;
    }
    bb_store_window_add(&self->window, self->segment, &info, false);
    self->segment = NULL;
    return BB_OK;
}

static bool s_is_full(const bb_store_draft_t *self, size_t bytes)
{
    // A quarter stays for the tree and for pages that a commit must leave alone.
    size_t map_bytes = bb_segment_pool_map_bytes(self->pool);
    return bb_segment_writer_file_bytes(self->writer) + bytes > map_bytes - map_bytes / 4;
}

bb_error_t bb_store_draft_put(bb_store_draft_t *self, const bb_segment_entry_t *entries,
                              uint32_t entry_count, const bb_slice_t *runs, uint32_t run_count)
{
    bb_error_t error = BB_OK;
    size_t bytes = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        bytes += runs[i].length;
    }
    if (self->segment && s_is_full(self, bytes)) {
        error = s_close_segment(self);
    }
    if (error == BB_OK && !self->segment) {
        error = s_open_segment(self);
    }
    return error == BB_OK
               ? bb_segment_writer_add_group(self->writer, entries, entry_count, runs, run_count)
               : error;
}

bb_error_t bb_store_draft_end(bb_store_draft_t *self)
{
    return self->segment ? s_close_segment(self) : BB_OK;
}

void bb_store_draft_discard(bb_store_draft_t *self)
{
    if (self->segment) {
        bb_segment_writer_abort(self->writer);
        bb_segment_env_release(self->segment);
        s_drop_segment(self);
    }
    for (uint32_t i = 0; i < self->window.part_count; i++) {
        if (!*self->must_fence) {
            bb_segment_doom(self->window.parts[i].segment);
        }
        bb_segment_release(&self->window.parts[i].segment);
    }
    self->window.part_count = 0;
}

void bb_store_draft_free(bb_store_draft_t *self)
{
    BB_ASSERT(!self->segment);
    for (uint32_t i = 0; i < self->window.part_count; i++) {
        bb_segment_release(&self->window.parts[i].segment);
    }
    free(self->window.parts);
    bb_segment_writer_destroy(&self->writer);
    *self = (bb_store_draft_t){0};
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_flush.h"

#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_row_columns.h"
#include "storage/segment/bb_run.h"

// Consecutive rows of one slab that belong to one window.
typedef struct {
    uint64_t window;  // kind << 32 | day
    uint64_t battery; // partition << 32 | battery
    uint64_t revision;
    const bb_head_shape_t *shape;
    const uint64_t *rows;
    uint32_t row_count;
    uint32_t order; // of arrival
} s_piece_t;

// A window that this flush has written completely.
typedef struct {
    bb_window_t *window;
    bb_window_counts_t counts;
    bool is_new; // not in the store's list yet
} s_touched_t;

struct bb_flush {
    // What a job needs of the store; none of it changes while the store is open, but `windows`,
    // which changes only in _publish and in the end of a merge, so never while a job runs.
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_window_pool_t *pool;
    const bb_store_windows_t *windows;

    bb_head_t *head;
    uint64_t sealed_through;
    uint64_t version; // of the have-sets in `seal`
    bb_meta_batch_t names;
    bool names_are_written;
    bb_meta_batch_t seal; // have-sets and sealed_through
    s_piece_t *pieces;
    size_t piece_count, piece_capacity, piece_next; // those before piece_next are in windows
    s_touched_t *touched;
    uint32_t touched_count, touched_capacity;
    uint64_t value_conflicts;
    bool is_done;
};

// ---- on the store's thread -------------------------------------------------------------------
bb_flush_t *bb_flush_new(bb_store_t *store, uint64_t sealed_through)
{
    bb_flush_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = store->vfs;
    self->kv = store->kv;
    self->meta = store->meta;
    self->pool = store->pool;
    self->windows = &store->windows;
    self->head = store->active;
    self->sealed_through = sealed_through;
    self->version = store->version;
    store->active = bb_head_new(&store->shape_serials);
    bb_dictionary_drain(store->dictionary, bb_meta_batch_name, &self->names);
    for (uint32_t p = 0; p < store->partition_count; p++) {
        if (store->have_versions[p] > store->have_saved_version) {
            bb_meta_batch_have(&self->seal, p, &store->have[p]);
        }
    }
    bb_meta_batch_seal(&self->seal, sealed_through);
    return self;
}

void bb_flush_destroy(bb_flush_t **self)
{
    bb_flush_t *flush = *self;
    if (!flush) {
        return;
    }
    bb_head_release(&flush->head);
    bb_meta_batch_free(&flush->names);
    bb_meta_batch_free(&flush->seal);
    free(flush->pieces);
    for (uint32_t i = 0; i < flush->touched_count; i++) {
        bb_window_release(&flush->touched[i].window);
    }
    free(flush->touched);
    free(flush);
    *self = NULL;
}

uint64_t bb_flush_bytes(const bb_flush_t *self)
{
    return bb_head_bytes(self->head);
}

uint64_t bb_flush_points(const bb_flush_t *self)
{
    return bb_head_points(self->head);
}

const bb_head_t *bb_flush_head(const bb_flush_t *self)
{
    return self->head;
}

bb_head_t *bb_flush_head_retain(bb_flush_t *self)
{
    bb_head_retain(self->head);
    return self->head;
}

void bb_flush_publish(bb_flush_t *self, bb_store_t *store)
{
    BB_ASSERT(self->is_done);
    for (uint32_t i = 0; i < self->touched_count; i++) {
        s_touched_t *touched = &self->touched[i];
        if (touched->is_new) {
            bb_store_windows_insert(&store->windows, touched->window, &touched->counts);
            touched->window = NULL;
            continue;
        }
        bool found;
        uint32_t at = bb_store_windows_find(&store->windows, bb_window_kind(touched->window),
                                            bb_window_day(touched->window), &found);
        BB_ASSERT(found && store->windows.items[at].window == touched->window);
        store->windows.items[at].counts = touched->counts;
    }
    store->sealed_through = self->sealed_through;
    store->have_saved_version = self->version;
    store->value_conflicts += self->value_conflicts;
}

// ---- pieces ----------------------------------------------------------------------------------
static void s_piece_add(bb_flush_t *self, const bb_head_group_t *group, uint32_t day,
                        const uint64_t *rows, uint32_t row_count)
{
    if (self->piece_count == self->piece_capacity) {
        self->piece_capacity = self->piece_capacity ? self->piece_capacity * 2 : 256;
        self->pieces = bb_realloc(self->pieces, self->piece_capacity * sizeof *self->pieces);
    }
    uint64_t kind = group->is_quarantined ? BB_WINDOW_QUARANTINE : BB_WINDOW_NORMAL;
    self->pieces[self->piece_count] = (s_piece_t){
        .window = kind << 32 | day,
        .battery = (uint64_t)group->partition << 32 | group->battery,
        .revision = group->revision,
        .shape = group->shape,
        .rows = rows,
        .row_count = row_count,
        .order = (uint32_t)self->piece_count,
    };
    self->piece_count++;
}

// Cuts a slab's rows where the day changes.
static void s_cut_slab(bb_flush_t *self, const bb_head_group_t *group, const uint64_t *rows,
                       uint32_t row_count)
{
    size_t width = 1 + (size_t)group->shape->metric_count;
    uint32_t first = 0;
    while (first < row_count) {
        uint32_t day = bb_day_of((int64_t)rows[first * width]);
        int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
        uint32_t limit = first + 1;
        while (limit < row_count) {
            int64_t since = (int64_t)rows[limit * width] - first_wall_ns;
            if (since < 0 || since >= BB_NS_PER_DAY) {
                break;
            }
            limit++;
        }
        s_piece_add(self, group, day, rows + first * width, limit - first);
        first = limit;
    }
}

static int s_compare_pieces(const void *a, const void *b)
{
    const s_piece_t *left = a;
    const s_piece_t *right = b;
    if (left->window != right->window) {
        return left->window < right->window ? -1 : 1;
    }
    if (left->battery != right->battery) {
        return left->battery < right->battery ? -1 : 1;
    }
    if (left->revision != right->revision) {
        return left->revision < right->revision ? -1 : 1;
    }
    return left->order < right->order ? -1 : 1;
}

static void s_cut_head(bb_flush_t *self)
{
    for (const bb_head_group_t *group = bb_head_first(self->head); group;
         group = group->next_of_all) {
        uint64_t left = group->row_count;
        for (const bb_head_slab_t *slab = group->slabs; left > 0; slab = slab->next) {
            uint32_t count = (uint32_t)BB_MIN(left, (uint64_t)slab->capacity);
            s_cut_slab(self, group, slab->rows, count);
            left -= count;
        }
    }
    if (self->piece_count > 1) {
        qsort(self->pieces, self->piece_count, sizeof *self->pieces, s_compare_pieces);
    }
}

// ---- writing ---------------------------------------------------------------------------------
bb_error_t bb_store_commit(bb_kv_driver_t *kv, bb_kv_txn_t **txn, bool *must_fence)
{
    bb_error_t error = kv->commit(txn);
    if (error != BB_OK && error != BB_ERR_DISK_FULL) {
        *must_fence = true;
    }
    return error;
}

static bb_error_t s_write_meta(bb_flush_t *self, const bb_meta_batch_t *first,
                               const bb_meta_batch_t *second, bool *must_fence)
{
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(first, self->kv, txn);
    }
    if (error == BB_OK && second) {
        error = bb_meta_batch_write(second, self->kv, txn);
    }
    if (error == BB_OK) {
        return bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    return error;
}

// One window being written.
typedef struct {
    bb_flush_t *flush;
    bb_row_columns_t *columns;
    bb_run_writer_t *writer;
    bb_kv_env_t *env;
    bb_kv_txn_t *txn;
    bb_window_counts_t counts;
    uint64_t uncommitted_bytes;
    bool *must_fence;
} s_writing_t;

static bb_error_t s_begin(s_writing_t *self)
{
    bb_error_t error = self->flush->kv->begin(self->env, true, &self->txn);
    if (error == BB_OK) {
        error = bb_window_counts_get(self->flush->kv, self->txn, &self->counts);
    }
    return error;
}

static bb_error_t s_commit(s_writing_t *self)
{
    bb_error_t error = bb_window_counts_put(self->flush->kv, self->txn, &self->counts);
    if (error != BB_OK) {
        return error;
    }
    self->uncommitted_bytes = 0;
    return bb_store_commit(self->flush->kv, &self->txn, self->must_fence);
}

static bb_error_t s_has_runs(s_writing_t *self, uint32_t partition, uint32_t battery, bool *has)
{
    bb_kv_driver_t *kv = self->flush->kv;
    uint8_t key[BB_RUN_KEY_BYTES];
    bb_run_key_encode(key, partition, battery, 0);
    bb_kv_cursor_t *cursor = NULL;
    bb_error_t error = kv->cursor(self->txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    bb_slice_t found_key;
    bb_slice_t value;
    error = kv->seek(cursor, bb_slice(key, sizeof key), &found_key, &value);
    uint32_t found_partition;
    uint32_t found_battery;
    uint64_t run;
    *has = error == BB_OK && bb_run_key_decode(found_key, &found_partition, &found_battery, &run) &&
           found_partition == partition && found_battery == battery;
    kv->cursor_close(&cursor);
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

static bb_error_t s_put_run(s_writing_t *self, uint32_t partition, uint32_t battery,
                            bb_slice_t encoded, uint64_t point_count)
{
    uint8_t key[BB_RUN_KEY_BYTES];
    bb_run_key_encode(key, partition, battery, self->counts.run_next);
    void *room = NULL;
    bb_error_t error =
        self->flush->kv->reserve(self->txn, bb_slice(key, sizeof key), encoded.length, &room);
    if (error != BB_OK) {
        return error;
    }
    memcpy(room, encoded.data, encoded.length);
    self->counts.run_next++;
    self->counts.run_count++;
    self->counts.run_bytes += encoded.length;
    self->counts.point_count += point_count;
    self->uncommitted_bytes += encoded.length;
    return BB_OK;
}

static uint64_t s_point_count(bb_slice_t encoded)
{
    bb_run_t run;
    bb_error_t error = bb_run_open(&run, encoded, NULL);
    BB_ASSERT(error == BB_OK); // checked on both sides of the boundary: what we wrote can be read
    return run.point_count;
}

// Writes the pieces of one battery and revision.
static bb_error_t s_write_pieces(s_writing_t *self, const s_piece_t *pieces, size_t count)
{
    uint32_t partition = (uint32_t)(pieces->battery >> 32);
    uint32_t battery = (uint32_t)pieces->battery;
    bool has_runs = false;
    bb_error_t error = s_has_runs(self, partition, battery, &has_runs);
    if (error != BB_OK) {
        return error;
    }
    bb_row_columns_clear(self->columns);
    for (size_t i = 0; i < count; i++) {
        bb_row_columns_add(self->columns, pieces[i].shape, pieces[i].rows, pieces[i].row_count);
    }
    self->counts.battery_count += !has_runs;
    bb_run_input_t input;
    while (error == BB_OK && bb_row_columns_next(self->columns, pieces->revision, &input,
                                                 &self->flush->value_conflicts)) {
        bb_slice_t encoded = bb_run_writer_encode(self->writer, &input);
        error = s_put_run(self, partition, battery, encoded, s_point_count(encoded));
    }
    if (error == BB_OK && self->uncommitted_bytes >= BB_COMMIT_BYTES_MAX) {
        error = s_commit(self);
        if (error == BB_OK) {
            error = s_begin(self);
        }
    }
    return error;
}

// Finds the window of the store or this flush, or makes it with its folder.
static bb_error_t s_window(bb_flush_t *self, uint64_t key, bb_window_t **window, bool *is_new,
                           bool *must_fence, bb_fault_t *fault)
{
    bb_window_kind_t kind = (bb_window_kind_t)(key >> 32);
    uint32_t day = (uint32_t)key;
    bool found;
    uint32_t at = bb_store_windows_find(self->windows, kind, day, &found);
    *is_new = !found;
    if (found) {
        *window = self->windows->items[at].window;
        bb_window_retain(*window);
        return BB_OK;
    }
    char path[BB_WINDOW_PATH_BYTES];
    char folder[BB_WINDOW_PATH_BYTES];
    bb_window_path(self->pool, kind, day, 1, path);
    bb_window_path(self->pool, kind, 0, 0, folder);
    bb_error_t error = self->vfs->make_directory(self->vfs, path);
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, folder);
        *must_fence |= error != BB_OK && error != BB_ERR_DISK_FULL;
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be made", path);
    }
    *window = bb_window_new(self->pool, kind, day, 1);
    return BB_OK;
}

static void s_touch(bb_flush_t *self, bb_window_t *window, const bb_window_counts_t *counts,
                    bool is_new)
{
    if (self->touched_count == self->touched_capacity) {
        self->touched_capacity = self->touched_capacity ? self->touched_capacity * 2 : 8;
        self->touched = bb_realloc(self->touched, self->touched_capacity * sizeof *self->touched);
    }
    self->touched[self->touched_count++] = (s_touched_t){window, *counts, is_new};
}

// All pieces [first, limit) of one window.
static bb_error_t s_write_window(s_writing_t *self, size_t first, size_t limit)
{
    const s_piece_t *pieces = self->flush->pieces;
    bb_error_t error = s_begin(self);
    size_t at = first;
    while (error == BB_OK && at < limit) {
        size_t end = at + 1;
        while (end < limit && pieces[end].battery == pieces[at].battery &&
               pieces[end].revision == pieces[at].revision) {
            end++;
        }
        error = s_write_pieces(self, pieces + at, end - at);
        at = end;
    }
    if (error == BB_OK) {
        error = s_commit(self);
    }
    self->flush->kv->abort(&self->txn); // no effect after a commit
    return error;
}

static bb_error_t s_write_windows(bb_flush_t *self, s_writing_t *writing, bb_fault_t *fault)
{
    while (self->piece_next < self->piece_count) {
        size_t first = self->piece_next;
        size_t limit = first + 1;
        uint64_t key = self->pieces[first].window;
        while (limit < self->piece_count && self->pieces[limit].window == key) {
            limit++;
        }
        bb_window_t *window = NULL;
        bool is_new = false;
        bb_error_t error = s_window(self, key, &window, &is_new, writing->must_fence, fault);
        if (error != BB_OK) {
            return error;
        }
        error = bb_window_env_acquire(window, is_new, &writing->env, fault);
        if (error == BB_OK) {
            error = s_write_window(writing, first, limit);
            bb_window_env_release(window);
        }
        if (error != BB_OK) {
            // Nobody else knows a new window; its folder stays and is used by the next attempt.
            char path[BB_WINDOW_PATH_BYTES];
            bb_window_path(self->pool, bb_window_kind(window), bb_window_day(window),
                           bb_window_number(window), path);
            bb_window_release(&window);
            return bb_fault_set(fault, error, "%s: %s", path, bb_error_message(error));
        }
        s_touch(self, window, &writing->counts, is_new);
        self->piece_next = limit;
    }
    return BB_OK;
}

static bb_error_t s_write_seal(bb_flush_t *self, bool *must_fence)
{
    bb_meta_batch_t windows = {0};
    for (uint32_t i = 0; i < self->touched_count; i++) {
        bb_meta_batch_window(&windows, self->touched[i].window, &self->touched[i].counts);
    }
    bb_error_t error = s_write_meta(self, &windows, &self->seal, must_fence);
    bb_meta_batch_free(&windows);
    return error;
}

bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_error_t error = BB_OK;
    if (!self->names_are_written) {
        error = s_write_meta(self, &self->names, NULL, must_fence);
        if (error != BB_OK) {
            return bb_fault_set(fault, error, "meta: names: %s", bb_error_message(error));
        }
        self->names_are_written = true;
        s_cut_head(self);
    }
    s_writing_t writing = {
        .flush = self,
        .columns = bb_row_columns_new(),
        .writer = bb_run_writer_new(),
        .must_fence = must_fence,
    };
    error = s_write_windows(self, &writing, fault);
    bb_row_columns_destroy(&writing.columns);
    bb_run_writer_destroy(&writing.writer);
    if (error != BB_OK) {
        return error;
    }
    error = s_write_seal(self, must_fence);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "meta: seal: %s", bb_error_message(error));
    }
    self->is_done = true;
    return BB_OK;
}

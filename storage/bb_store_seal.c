// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_seal.h"

#include <stdlib.h>
#include <string.h>

// A window that this flush has written completely.
typedef struct {
    bb_window_t *window;
    bb_window_counts_t counts;
    bool is_new; // not in the store's list yet
} s_touched_t;

struct bb_seal {
    // What a job needs of the store; none of it changes while the store is open, but `windows`,
    // which changes only in _publish and in the end of a merge, so never while a job runs.
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_window_pool_t *pool;
    const bb_store_windows_t *windows;

    uint64_t sealed_through;
    uint64_t version; // of the have-sets in `record`
    bb_meta_batch_t names;
    bool names_are_written;
    bb_meta_batch_t record; // have-sets and sealed_through
    s_touched_t *touched;
    uint32_t touched_count, touched_capacity;
    bool is_done;

    // The window being written.
    bb_window_t *window;
    bool is_new;
    bool *must_fence;
    bb_run_writer_t *writer;
    bb_kv_env_t *env;
    bb_kv_txn_t *txn;
    bb_window_counts_t counts;
    uint64_t battery; // partition << 32 | battery of the run before; UINT64_MAX = none
    uint64_t uncommitted_bytes;
};

// ---- on the store's thread -------------------------------------------------------------------
bb_seal_t *bb_seal_new(bb_store_t *store, uint64_t sealed_through)
{
    bb_seal_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = store->vfs;
    self->kv = store->kv;
    self->meta = store->meta;
    self->pool = store->pool;
    self->windows = &store->windows;
    self->sealed_through = sealed_through;
    self->version = store->version;
    bb_dictionary_drain(store->dictionary, bb_meta_batch_name, &self->names);
    for (uint32_t p = 0; p < store->partition_count; p++) {
        if (store->have_versions[p] > store->have_saved_version) {
            bb_meta_batch_have(&self->record, p, &store->have[p]);
        }
    }
    bb_meta_batch_seal(&self->record, sealed_through);
    return self;
}

void bb_seal_destroy(bb_seal_t **self)
{
    bb_seal_t *seal = *self;
    if (!seal) {
        return;
    }
    BB_ASSERT(!seal->window); // ended
    bb_meta_batch_free(&seal->names);
    bb_meta_batch_free(&seal->record);
    for (uint32_t i = 0; i < seal->touched_count; i++) {
        bb_window_release(&seal->touched[i].window);
    }
    free(seal->touched);
    bb_run_writer_destroy(&seal->writer);
    free(seal);
    *self = NULL;
}

void bb_seal_publish(bb_seal_t *self, bb_store_t *store)
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
}

// ---- meta ------------------------------------------------------------------------------------
bb_error_t bb_store_commit(bb_kv_driver_t *kv, bb_kv_txn_t **txn, bool *must_fence)
{
    bb_error_t error = kv->commit(txn);
    if (error != BB_OK && error != BB_ERR_DISK_FULL) {
        *must_fence = true;
    }
    return error;
}

static bb_error_t s_write_meta(bb_seal_t *self, const bb_meta_batch_t *first,
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

bb_error_t bb_seal_names(bb_seal_t *self, bool *must_fence, bb_fault_t *fault)
{
    if (self->names_are_written) {
        return BB_OK;
    }
    bb_error_t error = s_write_meta(self, &self->names, NULL, must_fence);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "meta: names: %s", bb_error_message(error));
    }
    self->names_are_written = true;
    return BB_OK;
}

bb_error_t bb_seal_commit(bb_seal_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_meta_batch_t windows = {0};
    for (uint32_t i = 0; i < self->touched_count; i++) {
        bb_meta_batch_window(&windows, self->touched[i].window, &self->touched[i].counts);
    }
    bb_error_t error = s_write_meta(self, &windows, &self->record, must_fence);
    bb_meta_batch_free(&windows);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "meta: seal: %s", bb_error_message(error));
    }
    self->is_done = true;
    return BB_OK;
}

// ---- one window ------------------------------------------------------------------------------
static bb_error_t s_begin(bb_seal_t *self)
{
    bb_error_t error = self->kv->begin(self->env, true, &self->txn);
    if (error == BB_OK) {
        error = bb_window_counts_get(self->kv, self->txn, &self->counts);
    }
    return error;
}

static bb_error_t s_commit(bb_seal_t *self)
{
    bb_error_t error = bb_window_counts_put(self->kv, self->txn, &self->counts);
    if (error != BB_OK) {
        return error;
    }
    self->uncommitted_bytes = 0;
    return bb_store_commit(self->kv, &self->txn, self->must_fence);
}

// Finds the window of the store, or makes one with its folder.
static bb_error_t s_open_window(bb_seal_t *self, bb_window_kind_t kind, uint32_t day,
                                bb_fault_t *fault)
{
    bool found;
    uint32_t at = bb_store_windows_find(self->windows, kind, day, &found);
    self->is_new = !found;
    if (found) {
        self->window = self->windows->items[at].window;
        bb_window_retain(self->window);
        return BB_OK;
    }
    char path[BB_WINDOW_PATH_BYTES];
    char folder[BB_WINDOW_PATH_BYTES];
    bb_window_path(self->pool, kind, day, 1, path);
    bb_window_path(self->pool, kind, 0, 0, folder);
    bb_error_t error = self->vfs->make_directory(self->vfs, path);
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, folder);
        *self->must_fence |= error != BB_OK && error != BB_ERR_DISK_FULL;
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be made", path);
    }
    self->window = bb_window_new(self->pool, kind, day, 1);
    return BB_OK;
}

bool bb_seal_has_window(const bb_seal_t *self, bb_window_kind_t kind, uint32_t day)
{
    for (uint32_t i = 0; i < self->touched_count; i++) {
        const bb_window_t *window = self->touched[i].window;
        if (bb_window_kind(window) == kind && bb_window_day(window) == day) {
            return true;
        }
    }
    return false;
}

bb_error_t bb_seal_window_begin(bb_seal_t *self, bb_window_kind_t kind, uint32_t day,
                                bool *must_fence, bb_fault_t *fault)
{
    BB_ASSERT(!self->window);
    BB_ASSERT(!bb_seal_has_window(self, kind, day));
    self->must_fence = must_fence;
    self->battery = UINT64_MAX;
    bb_error_t error = s_open_window(self, kind, day, fault);
    if (error != BB_OK) {
        return error;
    }
    if (!self->writer) {
        self->writer = bb_run_writer_new();
    }
    error = bb_window_env_acquire(self->window, self->is_new, &self->env, fault);
    if (error == BB_OK) {
        error = s_begin(self);
    }
    return error == BB_OK ? BB_OK : bb_seal_window_end(self, error, fault);
}

static bb_error_t s_has_runs(bb_seal_t *self, uint32_t partition, uint32_t battery, bool *has)
{
    uint8_t key[BB_RUN_KEY_BYTES];
    bb_run_key_encode(key, partition, battery, 0);
    bb_kv_cursor_t *cursor = NULL;
    bb_error_t error = self->kv->cursor(self->txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    bb_slice_t found_key;
    bb_slice_t value;
    error = self->kv->seek(cursor, bb_slice(key, sizeof key), &found_key, &value);
    uint32_t found_partition;
    uint32_t found_battery;
    uint64_t run;
    *has = error == BB_OK && bb_run_key_decode(found_key, &found_partition, &found_battery, &run) &&
           found_partition == partition && found_battery == battery;
    self->kv->cursor_close(&cursor);
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

static bb_error_t s_put_run(bb_seal_t *self, uint32_t partition, uint32_t battery,
                            bb_slice_t encoded, uint64_t point_count)
{
    uint8_t key[BB_RUN_KEY_BYTES];
    bb_run_key_encode(key, partition, battery, self->counts.run_next);
    void *room = NULL;
    bb_error_t error =
        self->kv->reserve(self->txn, bb_slice(key, sizeof key), encoded.length, &room);
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

bb_error_t bb_seal_add(bb_seal_t *self, uint32_t partition, uint32_t battery,
                       const bb_run_input_t *input)
{
    BB_ASSERT(self->window);
    uint64_t key = (uint64_t)partition << 32 | battery;
    BB_ASSERT(self->battery == UINT64_MAX || self->battery <= key);
    bb_error_t error = BB_OK;
    if (key != self->battery) {
        bool has_runs = false;
        error = s_has_runs(self, partition, battery, &has_runs);
        self->counts.battery_count += error == BB_OK && !has_runs;
        self->battery = key;
    }
    if (error == BB_OK) {
        bb_slice_t encoded = bb_run_writer_encode(self->writer, input);
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

static void s_touch(bb_seal_t *self)
{
    if (self->touched_count == self->touched_capacity) {
        self->touched_capacity = self->touched_capacity ? self->touched_capacity * 2 : 8;
        self->touched = bb_realloc(self->touched, self->touched_capacity * sizeof *self->touched);
    }
    self->touched[self->touched_count++] = (s_touched_t){self->window, self->counts, self->is_new};
    self->window = NULL;
}

bb_error_t bb_seal_window_end(bb_seal_t *self, bb_error_t error, bb_fault_t *fault)
{
    BB_ASSERT(self->window);
    if (error == BB_OK) {
        error = s_commit(self);
    }
    self->kv->abort(&self->txn); // no effect after a commit
    if (self->env) {
        bb_window_env_release(self->window);
        self->env = NULL;
    }
    if (error == BB_OK) {
        s_touch(self);
        return BB_OK;
    }
    // Nobody else knows a new window; its folder stays and is used by the next attempt.
    char path[BB_WINDOW_PATH_BYTES];
    bb_window_path(self->pool, bb_window_kind(self->window), bb_window_day(self->window),
                   bb_window_number(self->window), path);
    bb_window_release(&self->window);
    return bb_fault_set(fault, error, "%s: %s", path, bb_error_message(error));
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_seal.h"
#include "storage/head/bb_arena.h"
#include "storage/segment/bb_run_merge.h"

struct bb_merge {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_window_pool_t *pool;
    size_t map_bytes;
    bb_window_t *source;
    bb_window_t *target;
    bb_window_counts_t counts; // of the target
    uint64_t value_conflicts;
    bool is_done;
};

// One run of the battery at hand.
typedef struct {
    bb_slice_t encoded; // 8-byte aligned
    bb_run_t run;
} s_input_t;

typedef struct {
    bb_merge_t *merge;
    bool *must_fence;
    bb_kv_env_t *env; // the new map
    bb_kv_txn_t *txn; // its open write transaction
    uint64_t uncommitted_bytes;
    uint32_t partition, battery; // at hand
    s_input_t *inputs;
    bb_run_t *runs;
    uint32_t input_count, input_capacity;
    bool has_damage;   // an input does not verify
    bb_arena_t copies; // of values that LMDB did not align
    // What merging the battery gave, kept until it is known to be complete.
    bb_arena_t outputs;
    bb_slice_t *output;
    uint32_t output_count, output_capacity;
    uint64_t output_points;
} s_rewrite_t;

// ---- choosing --------------------------------------------------------------------------------
static double s_runs_per_battery(const bb_window_counts_t *counts)
{
    uint64_t excess = bb_window_excess(counts);
    return excess == 0 ? 1.0 : 1.0 + (double)excess / (double)BB_MAX(counts->battery_count, 1u);
}

// A merge rewrites the whole window. It waits until half as many points are new as are merged, so
// that the copying stays proportional to what came in, unless reads suffer from too many runs.
static bool s_is_worthwhile(const bb_window_counts_t *counts)
{
    const double runs_max = 8 * BB_MERGE_RUNS_MIN;
    double runs = s_runs_per_battery(counts);
    uint64_t fresh = counts->point_count - BB_MIN(counts->point_count, counts->merged_points);
    return runs > runs_max || (runs > BB_MERGE_RUNS_MIN && fresh >= counts->merged_points / 2);
}

bool bb_merge_is_wanted(const bb_store_t *store)
{
    for (uint32_t i = 0; i < store->windows.count; i++) {
        if (s_is_worthwhile(&store->windows.items[i].counts)) {
            return true;
        }
    }
    return false;
}

bb_merge_t *bb_merge_new(bb_store_t *store, double runs_per_battery_min)
{
    const bb_store_window_t *chosen = NULL;
    double most = runs_per_battery_min;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        const bb_window_counts_t *counts = &store->windows.items[i].counts;
        double runs = s_runs_per_battery(counts);
        if (runs > most && (runs_per_battery_min <= 1.0 || s_is_worthwhile(counts))) {
            most = runs;
            chosen = &store->windows.items[i];
        }
    }
    if (!chosen) {
        return NULL;
    }
    bb_merge_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = store->vfs;
    self->kv = store->kv;
    self->meta = store->meta;
    self->pool = store->pool;
    self->map_bytes = store->map_bytes;
    self->source = chosen->window;
    bb_window_retain(self->source);
    self->target = bb_window_new(self->pool, bb_window_kind(self->source),
                                 bb_window_day(self->source), bb_window_number(self->source) + 1);
    return self;
}

void bb_merge_destroy(bb_merge_t **self)
{
    if (*self) {
        bb_window_release(&(*self)->source);
        bb_window_release(&(*self)->target);
        free(*self);
        *self = NULL;
    }
}

void bb_merge_publish(bb_merge_t *self, bb_store_t *store)
{
    BB_ASSERT(self->is_done);
    bool found;
    uint32_t at = bb_store_windows_find(&store->windows, bb_window_kind(self->source),
                                        bb_window_day(self->source), &found);
    BB_ASSERT(found && store->windows.items[at].window == self->source);
    bb_window_doom(self->source);
    bb_window_release(&store->windows.items[at].window);
    store->windows.items[at] = (bb_store_window_t){self->target, self->counts};
    self->target = NULL;
    store->value_conflicts += self->value_conflicts;
}

// ---- writing the new map ---------------------------------------------------------------------
static bb_error_t s_commit(s_rewrite_t *self)
{
    bb_error_t error = bb_window_counts_put(self->merge->kv, self->txn, &self->merge->counts);
    if (error != BB_OK) {
        return error;
    }
    self->uncommitted_bytes = 0;
    return bb_store_commit(self->merge->kv, &self->txn, self->must_fence);
}

static bb_error_t s_put(s_rewrite_t *self, bb_slice_t encoded)
{
    bb_window_counts_t *counts = &self->merge->counts;
    uint8_t key[BB_RUN_KEY_BYTES];
    bb_run_key_encode(key, self->partition, self->battery, counts->run_next);
    void *room = NULL;
    bb_error_t error =
        self->merge->kv->reserve(self->txn, bb_slice(key, sizeof key), encoded.length, &room);
    if (error != BB_OK) {
        return error;
    }
    memcpy(room, encoded.data, encoded.length);
    counts->run_next++;
    counts->run_count++;
    counts->run_bytes += encoded.length;
    self->uncommitted_bytes += encoded.length;
    return BB_OK;
}

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    s_rewrite_t *self = context;
    (void)revision;
    if (self->output_count == self->output_capacity) {
        self->output_capacity = self->output_capacity ? self->output_capacity * 2 : 8;
        self->output = bb_realloc(self->output, self->output_capacity * sizeof *self->output);
    }
    self->output[self->output_count++] =
        bb_slice(bb_arena_copy(&self->outputs, encoded.data, encoded.length), encoded.length);
    return BB_OK;
}

static bb_error_t s_put_all(s_rewrite_t *self)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->output_count && error == BB_OK; i++) {
        error = s_put(self, self->output[i]);
    }
    return error;
}

// The runs of the battery at hand, as they are.
static bb_error_t s_carry_over(s_rewrite_t *self)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->input_count && error == BB_OK; i++) {
        error = s_put(self, self->inputs[i].encoded);
        self->output_points += self->inputs[i].run.point_count;
    }
    return error;
}

static bb_error_t s_finish_battery(s_rewrite_t *self)
{
    if (self->input_count == 0) {
        return BB_OK;
    }
    bb_run_merge_result_t result = {0};
    bb_error_t error = BB_ERR_CORRUPT;
    self->output_points = 0;
    if (!self->has_damage) {
        for (uint32_t i = 0; i < self->input_count; i++) {
            self->runs[i] = self->inputs[i].run;
        }
        error = bb_run_merge(self->runs, self->input_count, s_emit, self, &result);
    }
    if (error == BB_OK) {
        error = s_put_all(self);
        self->output_points = result.points_out;
        self->merge->value_conflicts += result.conflict_count;
    } else if (error == BB_ERR_CORRUPT) {
        error = s_carry_over(self);
    }
    self->merge->counts.battery_count++;
    self->merge->counts.point_count += self->output_points;
    bb_arena_reset(&self->copies);
    bb_arena_reset(&self->outputs);
    self->input_count = 0;
    self->output_count = 0;
    self->has_damage = false;
    if (error == BB_OK && self->uncommitted_bytes >= BB_COMMIT_BYTES_MAX) {
        error = s_commit(self);
        if (error == BB_OK) {
            error = self->merge->kv->begin(self->env, true, &self->txn);
        }
    }
    return error;
}

static void s_add_input(s_rewrite_t *self, bb_slice_t value)
{
    if (self->input_count == self->input_capacity) {
        self->input_capacity = self->input_capacity ? self->input_capacity * 2 : 16;
        self->inputs = bb_realloc(self->inputs, self->input_capacity * sizeof *self->inputs);
        self->runs = bb_realloc(self->runs, self->input_capacity * sizeof *self->runs);
    }
    if ((uintptr_t)value.data % 8 != 0) {
        value.data = bb_arena_copy(&self->copies, value.data, value.length);
    }
    s_input_t *input = &self->inputs[self->input_count++];
    *input = (s_input_t){.encoded = value};
    if (bb_run_open(&input->run, value, NULL) != BB_OK) {
        input->run = (bb_run_t){0};
        self->has_damage = true;
    }
}

static bb_error_t s_rewrite(s_rewrite_t *self, bb_kv_txn_t *from)
{
    bb_kv_driver_t *kv = self->merge->kv;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    bb_error_t error = kv->cursor(from, &cursor);
    if (error != BB_OK) {
        return error;
    }
    error = kv->seek(cursor, bb_slice(NULL, 0), &key, &value);
    while (error == BB_OK) {
        uint32_t partition;
        uint32_t battery;
        uint64_t run;
        if (bb_run_key_decode(key, &partition, &battery, &run)) {
            if (partition != self->partition || battery != self->battery) {
                error = s_finish_battery(self);
                self->partition = partition;
                self->battery = battery;
            }
            s_add_input(self, value);
        }
        if (error == BB_OK) {
            error = kv->next(cursor, &key, &value);
        }
    }
    if (error == BB_ERR_NOT_FOUND) {
        error = s_finish_battery(self);
    }
    kv->cursor_close(&cursor);
    return error;
}

static bb_error_t s_fill(bb_merge_t *self, bb_kv_env_t *to, bool *must_fence, bb_fault_t *fault)
{
    bb_kv_env_t *source = NULL;
    bb_error_t error = bb_window_env_acquire(self->source, false, &source, fault);
    if (error != BB_OK) {
        return error;
    }
    s_rewrite_t rewrite = {.merge = self, .must_fence = must_fence, .env = to};
    self->counts = (bb_window_counts_t){.run_next = 1};
    self->value_conflicts = 0;
    bb_kv_txn_t *from = NULL;
    error = self->kv->begin(source, false, &from);
    if (error == BB_OK) {
        error = self->kv->begin(to, true, &rewrite.txn);
    }
    if (error == BB_OK) {
        error = s_rewrite(&rewrite, from);
    }
    if (error == BB_OK) {
        bb_window_counts_t *counts = &self->counts;
        counts->irreducible_count = counts->run_count - counts->battery_count;
        counts->merged_points = counts->point_count;
        error = s_commit(&rewrite);
    }
    self->kv->abort(&rewrite.txn);
    self->kv->abort(&from);
    bb_window_env_release(self->source);
    free(rewrite.inputs);
    free(rewrite.runs);
    free(rewrite.output);
    bb_arena_free(&rewrite.copies);
    bb_arena_free(&rewrite.outputs);
    return error;
}

// ---- the steps -------------------------------------------------------------------------------
static bb_error_t s_write_new(bb_merge_t *self, const char *path, bool *must_fence,
                              bb_fault_t *fault)
{
    bb_error_t error = self->vfs->remove_tree(self->vfs, path); // of an attempt that failed
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        return error;
    }
    error = self->vfs->make_directory(self->vfs, path);
    bb_kv_env_t *env = NULL;
    if (error == BB_OK) {
        error = self->kv->open(self->kv, path, self->map_bytes, true, &env, fault);
    }
    if (error == BB_OK) {
        error = s_fill(self, env, must_fence, fault);
        self->kv->close(&env);
    }
    return error;
}

static bb_error_t s_rename(bb_merge_t *self, const char *from, bool *must_fence)
{
    char to[BB_WINDOW_PATH_BYTES];
    char folder[BB_WINDOW_PATH_BYTES];
    bb_window_kind_t kind = bb_window_kind(self->target);
    bb_window_path(self->pool, kind, bb_window_day(self->target), bb_window_number(self->target),
                   to);
    bb_window_path(self->pool, kind, 0, 0, folder);
    // A folder of that number is of an attempt that failed after this step.
    bb_error_t error = self->vfs->remove_tree(self->vfs, to);
    if (error == BB_OK || error == BB_ERR_NOT_FOUND) {
        error = self->vfs->rename(self->vfs, from, to);
    }
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, folder);
        *must_fence |= error != BB_OK && error != BB_ERR_DISK_FULL;
    }
    return error;
}

static bb_error_t s_record(bb_merge_t *self, bool *must_fence)
{
    bb_meta_batch_t batch = {0};
    bb_meta_batch_window(&batch, self->target, &self->counts);
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(&batch, self->kv, txn);
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
    }
    self->kv->abort(&txn);
    bb_meta_batch_free(&batch);
    return error;
}

bb_error_t bb_merge_run(bb_merge_t *self, bool *must_fence, bb_fault_t *fault)
{
    char path[BB_WINDOW_PATH_BYTES];
    bb_window_path(self->pool, bb_window_kind(self->target), bb_window_day(self->target),
                   bb_window_number(self->target), path);
    char temporary[BB_WINDOW_PATH_BYTES + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    bb_fault_t inner = {0};
    bb_error_t error = s_write_new(self, temporary, must_fence, &inner);
    if (error == BB_OK) {
        error = s_rename(self, temporary, must_fence);
    }
    if (error == BB_OK) {
        error = s_record(self, must_fence);
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: merge: %s", path,
                            inner.text[0] ? inner.text : bb_error_message(error));
    }
    self->is_done = true;
    return BB_OK;
}

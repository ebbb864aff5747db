// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_merge.h"

#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_draft.h"
#include "storage/bb_store_fingerprint.h"
#include "storage/bb_store_seal.h"
#include "storage/head/bb_arena.h"
#include "storage/markers/bb_marker_cut.h"
#include "storage/segment/bb_group_merge.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_segment_cursor.h"

// So many segments of about one size are joined; a window never has more than about
// S_SEGMENTS_MAX for long, because reads look into each.
#define S_SEGMENTS_MIN 4u
#define S_SEGMENTS_MAX 12u
// A window that so many flushes did not touch is taken to be complete.
#define S_FLUSHES_COLD 3u

struct bb_merge {
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_segment_pool_t *pool;
    bb_store_window_t before; // as it was chosen; holds references
    bool *is_chosen;          // of each part of it
    bb_store_window_t after;  // as it will be; borrows references of `before`
    bb_store_draft_t draft;   // the new segments; holds references
    bb_store_written_t written;
    uint64_t value_conflicts;
    bool is_done;
    bb_markers_t *markers; // what was deleted when it was chosen
    uint64_t markers_version;
    bool is_whole; // all of the window is written anew
    const uint8_t *fingerprint_key;
    bool is_hashed;                    // the outcome is to have fingerprints
    bb_fingerprinter_t *fingerprinter; // NULL: the outcome has no fingerprints

    // While it runs.
    bool *must_fence;
    bb_fault_t fault; // of opening what is read
    bb_segment_cursor_t *cursor;
    bb_group_merger_t *merger;
    bb_marker_cut_t *marker_cut;
    bb_arena_t cut_runs; // of the group at hand
    uint32_t group_bits;
    uint32_t partition, battery; // at hand
    bb_shared_run_t *shared;     // being fingerprinted
    uint32_t *named;             // how many entries name each run that is put
    uint32_t named_capacity;
};

// ---- choosing --------------------------------------------------------------------------------
typedef struct {
    uint64_t bytes;
    uint32_t part;
} s_size_t;

static int s_compare_sizes(const void *a, const void *b)
{
    const s_size_t *left = a;
    const s_size_t *right = b;
    if (left->bytes != right->bytes) {
        return left->bytes < right->bytes ? -1 : 1;
    }
    return (left->part > right->part) - (left->part < right->part);
}

// How many of the smallest segments are worth joining; sizes ascend. The largest that is taken is
// at most half of all the smaller ones together, so what is written again is part of something
// three times as large afterwards.
static uint32_t s_count_worthwhile(const s_size_t *sizes, uint32_t count)
{
    uint64_t sum = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i >= S_SEGMENTS_MIN - 1 && sizes[i].bytes <= sum / 2) {
            best = i + 1;
        }
        sum += sizes[i].bytes;
    }
    return best == 0 && count > S_SEGMENTS_MAX ? S_SEGMENTS_MIN : best;
}

static bool s_is_cold(const bb_store_t *store, const bb_store_window_t *window)
{
    return store->flush_seq >= window->flush_seq + S_FLUSHES_COLD;
}

// The newest day is flushed into and merged again soon: it is hashed when it is complete.
static bool s_is_busy(const bb_store_t *store, const bb_store_window_t *window)
{
    return window->id.day == bb_day_of(BB_MAX(store->newest_wall_ns, 0)) &&
           !s_is_cold(store, window);
}

// Marks the parts of the window to be merged; returns how many. is_chosen has room for all, or is
// NULL.
static uint32_t s_choose_parts(const bb_store_t *store, const bb_store_window_t *window,
                               bool is_all, bool *is_chosen)
{
    s_size_t *sizes = bb_alloc((window->part_count + 1) * sizeof *sizes);
    uint32_t count = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < window->part_count; i++) {
        const bb_window_part_t *part = &window->parts[i];
        if (bb_window_part_is_mergeable(part, store->map_bytes) &&
            bb_segment_trust(part->segment) == BB_SEGMENT_TRUSTED) {
            sizes[count++] = (s_size_t){part->info.bytes, i};
            sum += part->info.bytes;
        }
    }
    if (count > 1) {
        qsort(sizes, count, sizeof *sizes, s_compare_sizes);
    }
    uint32_t chosen = count > 1 ? s_count_worthwhile(sizes, count) : 0;
    // Complete, and what came late is worth writing the whole window once more.
    bool is_cold =
        s_is_cold(store, window) && count > 1 && (sum - sizes[count - 1].bytes) >= sum / 8;
    if (((is_all || is_cold) && count > 1) || (is_all && window->is_marked)) {
        chosen = count;
    }
    for (uint32_t i = 0; is_chosen && i < chosen; i++) {
        is_chosen[sizes[i].part] = true;
    }
    free(sizes);
    return chosen;
}

bool bb_merge_is_wanted(const bb_store_t *store)
{
    for (uint32_t i = 0; i < store->windows.count; i++) {
        if (s_choose_parts(store, &store->windows.items[i], false, NULL) > 0) {
            return true;
        }
    }
    return false;
}

// The next window in turn, so that none waits for ever behind a busier one.
static const bb_store_window_t *s_choose_window(bb_store_t *store, bool is_all)
{
    bool found;
    uint32_t first = bb_store_windows_find(&store->windows, store->merged_window, &found) + found;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        const bb_store_window_t *window = &store->windows.items[(first + i) % store->windows.count];
        if (s_choose_parts(store, window, is_all, NULL) > 0) {
            return window;
        }
    }
    return NULL;
}

bb_merge_t *bb_merge_new(bb_store_t *store, bool is_all)
{
    const bb_store_window_t *window = s_choose_window(store, is_all);
    if (!window) {
        return NULL;
    }
    store->merged_window = window->id;
    bb_merge_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = store->kv;
    self->meta = store->meta;
    self->pool = store->pool;
    self->before = (bb_store_window_t){.id = window->id, .number_next = window->number_next};
    for (uint32_t i = 0; i < window->part_count; i++) {
        const bb_window_part_t *part = &window->parts[i];
        bb_segment_retain(part->segment);
        bb_store_window_add(&self->before, part->segment, &part->info, part->is_damaged);
    }
    self->is_chosen = bb_alloc_zero(window->part_count, sizeof *self->is_chosen);
    self->is_whole = s_choose_parts(store, window, is_all, self->is_chosen) == window->part_count;
    self->is_hashed = self->is_whole && (is_all || !s_is_busy(store, window));
    self->markers = bb_markers_retain(store->markers);
    self->markers_version = store->markers_version;
    self->fingerprint_key = store->fingerprint_key;
    self->group_bits = bb_run_group_bits(store->partition_count);
    return self;
}

static void s_release_parts(bb_store_window_t *window)
{
    for (uint32_t i = 0; i < window->part_count; i++) {
        bb_segment_release(&window->parts[i].segment);
    }
    free(window->parts);
    *window = (bb_store_window_t){0};
}

void bb_merge_destroy(bb_merge_t **self)
{
    if (*self) {
        s_release_parts(&(*self)->before);
        bb_store_draft_free(&(*self)->draft);
        free((*self)->after.parts);
        bb_markers_release(&(*self)->markers);
        free((*self)->is_chosen);
        free((*self)->named);
        free(*self);
        *self = NULL;
    }
}

void bb_merge_publish(bb_merge_t *self, bb_store_t *store)
{
    BB_ASSERT(self->is_done);
    bb_store_window_t *window = bb_store_windows_get(&store->windows, self->before.id);
    BB_ASSERT(window->part_count == self->before.part_count);
    window->number_next = self->after.number_next;
    for (uint32_t i = 0; i < self->before.part_count; i++) {
        bb_segment_t *segment = self->before.parts[i].segment;
        BB_ASSERT(window->parts[i].segment == segment);
        if (self->is_chosen[i]) {
            bb_segment_doom(segment);
            bb_segment_release(&window->parts[i].segment);
        }
    }
    window->is_marked &= !self->is_whole || self->markers_version != store->markers_version;
    window->part_count = 0;
    for (uint32_t i = 0; i < self->after.part_count; i++) {
        const bb_window_part_t *part = &self->after.parts[i];
        bb_store_window_add(window, part->segment, &part->info, part->is_damaged);
    }
    self->draft.window.part_count = 0; // the references are the store's
    store->value_conflicts += self->value_conflicts;
    store->written.merge_bytes += self->written.merge_bytes;
    store->written.merge_points += self->written.merge_points;
}

// ---- writing ---------------------------------------------------------------------------------
// One battery of what was put.
static bb_error_t s_fingerprint_one(bb_merge_t *self, const bb_segment_entry_t *entry,
                                    bb_slice_t encoded, bool is_shared)
{
    bb_run_t run;
    uint32_t partition = (uint32_t)(entry->place >> 32);
    uint32_t battery = (uint32_t)entry->place;
    bb_error_t error = BB_OK;
    if (is_shared) {
        uint32_t member = bb_shared_run_find(self->shared, partition, battery);
        error =
            member == UINT32_MAX ? BB_ERR_CORRUPT : bb_shared_run_view(self->shared, member, &run);
    } else {
        error = bb_run_open(&run, encoded, NULL);
    }
    return error == BB_OK ? bb_fingerprinter_add(self->fingerprinter, partition, battery, &run)
                          : error;
}

// Every point of a shared run, for the entries that name it, so many from `first` on.
static bb_error_t s_fingerprint_shared(bb_merge_t *self, const bb_segment_entry_t *first,
                                       uint32_t named_count, bb_slice_t encoded)
{
    bb_error_t error = bb_shared_run_open(self->shared, encoded, NULL);
    if (error == BB_OK && named_count == bb_shared_run_whole(self->shared)->member_count) {
        return bb_fingerprinter_add_shared(self->fingerprinter, self->shared);
    }
    for (const bb_segment_entry_t *entry = first; error == BB_OK && named_count > 0; entry++) {
        if (entry->run == first->run) {
            error = s_fingerprint_one(self, entry, encoded, true);
            named_count--;
        }
    }
    return error;
}

// Every point of what is put.
static bb_error_t s_fingerprint(bb_merge_t *self, const bb_segment_entry_t *entries,
                                uint32_t entry_count, const bb_slice_t *runs, uint32_t run_count)
{
    if (self->named_capacity < run_count) {
        self->named_capacity = run_count;
        self->named = bb_realloc(self->named, run_count * sizeof *self->named);
    }
    memset(self->named, 0, run_count * sizeof *self->named);
    for (uint32_t i = 0; i < entry_count; i++) {
        self->named[entries[i].run]++;
    }
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; error == BB_OK && i < entry_count; i++) {
        uint32_t run = entries[i].run;
        if (!bb_run_is_shared(runs[run])) {
            error = s_fingerprint_one(self, &entries[i], runs[run], false);
        } else if (self->named[run] > 0) {
            error = s_fingerprint_shared(self, &entries[i], self->named[run], runs[run]);
            self->named[run] = 0; // done, for all that name it
        }
    }
    return error;
}

static bb_error_t s_put(void *context, const bb_segment_entry_t *entries, uint32_t entry_count,
                        const bb_slice_t *runs, uint32_t run_count)
{
    bb_merge_t *self = context;
    if (self->fingerprinter &&
        s_fingerprint(self, entries, entry_count, runs, run_count) != BB_OK) {
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
    return bb_store_draft_put(&self->draft, entries, entry_count, runs, run_count);
}

// What was collected of a group of batteries.
static bb_error_t s_finish_group(bb_merge_t *self)
{
    bb_group_merge_result_t result = {0};
    bb_error_t error = bb_group_merger_finish(self->merger, &result);
    self->value_conflicts += result.conflict_count;
    if (result.has_unmerged) {
        bb_fingerprinter_destroy(&self->fingerprinter);
    }
    bb_segment_cursor_hold(self->cursor);
    bb_arena_reset(&self->cut_runs);
    return error;
}

// The run without what was deleted of it; false: nothing is left. One that does not verify is
// carried over as it is.
static bool s_cut_run(bb_merge_t *self, bb_slice_t *encoded, bb_run_t *run)
{
    bb_slice_t cut;
    bb_marker_list_t markers = bb_markers_of(self->markers, self->battery);
    if (!bb_marker_cut_is_needed(markers, run) ||
        bb_marker_cut_run(self->marker_cut, markers, run, &cut) != BB_OK) {
        return true;
    }
    if (cut.length == 0) {
        return false;
    }
    *encoded = bb_slice(bb_arena_copy(&self->cut_runs, cut.data, cut.length), cut.length);
    bb_error_t error = bb_run_open(run, *encoded, NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    return true;
}

static void s_add_run(bb_merge_t *self, bb_slice_t encoded)
{
    bb_run_t run;
    bb_error_t error = bb_segment_cursor_open_run(self->cursor, encoded, &run, NULL);
    if (error == BB_OK && self->marker_cut && !s_cut_run(self, &encoded, &run)) {
        return;
    }
    bb_group_merger_add(self->merger, self->partition, self->battery, encoded,
                        error == BB_OK ? &run : NULL);
}

// Group by group. BB_ERR_CORRUPT: a segment is damaged, as bb_segment_cursor_is_damaged says.
static bb_error_t s_rewrite(bb_merge_t *self)
{
    bb_error_t error = BB_OK;
    uint64_t group = UINT64_MAX;
    bb_segment_cursor_hold(self->cursor);
    while (error == BB_OK) {
        error = bb_segment_cursor_walk(self->cursor, &self->partition, &self->battery);
        if (error != BB_OK) {
            break;
        }
        uint64_t of_battery = bb_run_group_of(self->group_bits, self->partition, self->battery);
        if (of_battery != group) {
            error = s_finish_group(self);
            group = of_battery;
        }
        bb_slice_t encoded;
        while (error == BB_OK &&
               (error = bb_segment_cursor_next(self->cursor, &encoded)) == BB_OK) {
            s_add_run(self, encoded);
        }
        error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    if (error == BB_ERR_NOT_FOUND) {
        error = s_finish_group(self);
    }
    return error == BB_OK ? bb_store_draft_end(&self->draft) : error;
}

// ---- the steps -------------------------------------------------------------------------------
// Opens what was chosen, reads and writes. What was made stays in `draft`.
static bb_error_t s_fill(bb_merge_t *self)
{
    uint32_t count = self->before.part_count;
    bb_segment_part_t *parts = bb_alloc_zero(count, sizeof *parts);
    uint32_t *places = bb_alloc_zero(count, sizeof *places); // in `parts`
    uint32_t part_count = 0;
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < count && error == BB_OK; i++) {
        if (self->is_chosen[i]) {
            bb_segment_part_t *part = &parts[part_count];
            part->info = self->before.parts[i].info;
            places[i] = part_count++;
            bb_error_t opened = bb_segment_env_acquire(self->before.parts[i].segment, false,
                                                       &part->env, &self->fault);
            bool is_damaged =
                opened == BB_ERR_CORRUPT || opened == BB_ERR_FORMAT || opened == BB_ERR_NOT_FOUND;
            self->before.parts[i].is_damaged |= is_damaged;
            error = is_damaged ? error : opened; // too many open files, say, is no damage
        }
    }
    if (error == BB_OK) {
        error = bb_segment_cursor_open(self->kv, parts, part_count, &self->cursor);
    }
    if (self->cursor) {
        error = s_rewrite(self);
        for (uint32_t i = 0; i < count; i++) {
            if (self->is_chosen[i] && bb_segment_cursor_is_damaged(self->cursor, places[i])) {
                self->before.parts[i].is_damaged = true;
                bb_segment_doubt(self->before.parts[i].segment);
            }
        }
        bb_segment_cursor_close(&self->cursor);
    }
    for (uint32_t i = 0, part = 0; i < count && part < part_count; i++) {
        if (self->is_chosen[i] && parts[part++].env) {
            bb_segment_env_release(self->before.parts[i].segment);
        }
    }
    free(parts);
    free(places);
    return error;
}

static void s_discard(bb_merge_t *self)
{
    bb_store_draft_discard(&self->draft);
    self->written = (bb_store_written_t){0};
    self->value_conflicts = 0;
}

static bb_error_t s_record(bb_merge_t *self)
{
    bb_meta_batch_t batch = {0};
    bb_meta_batch_window(&batch, &self->after);
    if (self->draft.window.part_count > 0) {
        bb_meta_batch_fresh(&batch, &(bb_store_windows_t){&self->draft.window, 1, 1});
    }
    if (self->fingerprinter && self->after.part_count == 1) {
        bb_fingerprinter_record(self->fingerprinter, self->after.id,
                                bb_segment_number(self->after.parts[0].segment), &batch);
    }
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, true, &txn);
    if (error == BB_OK) {
        error = bb_meta_batch_write(&batch, self->kv, txn);
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, self->must_fence);
        BB_KILLPOINT(self->kv, MERGE_RECORDED);
    }
    self->kv->abort(&txn);
    bb_meta_batch_free(&batch);
    return error;
}

// The window as it will be.
static void s_compose(bb_merge_t *self)
{
    self->after =
        (bb_store_window_t){.id = self->before.id, .number_next = self->draft.window.number_next};
    for (uint32_t i = 0; i < self->before.part_count; i++) {
        const bb_window_part_t *part = &self->before.parts[i];
        if (!self->is_chosen[i]) {
            bb_store_window_add(&self->after, part->segment, &part->info, part->is_damaged);
        }
    }
    for (uint32_t i = 0; i < self->draft.window.part_count; i++) {
        const bb_window_part_t *part = &self->draft.window.parts[i];
        bb_store_window_add(&self->after, part->segment, &part->info, false);
        self->written.merge_bytes += part->info.bytes;
        self->written.merge_points += part->info.point_count;
    }
}

static bool s_is_any_damaged(const bb_merge_t *self)
{
    bool is_damaged = false;
    for (uint32_t i = 0; i < self->before.part_count; i++) {
        is_damaged |= self->is_chosen[i] && self->before.parts[i].is_damaged;
    }
    return is_damaged;
}

bb_error_t bb_merge_run(bb_merge_t *self, bool *must_fence, bb_fault_t *fault)
{
    self->must_fence = must_fence;
    bb_store_draft_begin(&self->draft, self->pool, self->kv, self->before.id,
                         self->before.number_next, must_fence);
    self->merger = bb_group_merger_new(self->group_bits, s_put, self);
    self->shared = bb_shared_run_new();
    if (bb_markers_count(self->markers) > 0) {
        self->marker_cut = bb_marker_cut_new();
    }
    if (self->is_hashed) {
        self->fingerprinter = bb_fingerprinter_new(self->kv, self->meta, self->fingerprint_key);
    }
    bb_error_t error = s_fill(self);
    if (s_is_any_damaged(self)) {
        // Nothing is joined; that these segments are damaged is what there is to record.
        s_discard(self);
        memset(self->is_chosen, 0, self->before.part_count * sizeof *self->is_chosen);
        error = BB_OK;
    }
    if (error == BB_OK) {
        s_compose(self);
        error = s_record(self);
    }
    if (error != BB_OK) {
        s_discard(self);
        char folder[BB_WINDOW_PATH_BYTES];
        bb_segment_class_path(self->pool, self->before.id.kind, self->before.id.class_id, folder);
        const bb_fault_t *cause = self->fault.text[0] ? &self->fault : &self->draft.fault;
        error = bb_fault_set(fault, error, "%s, day %u: merge: %s", folder, self->before.id.day,
                             cause->text[0] ? cause->text : bb_error_message(error));
    }
    bb_fingerprinter_destroy(&self->fingerprinter);
    bb_group_merger_destroy(&self->merger);
    bb_shared_run_destroy(&self->shared);
    bb_marker_cut_destroy(&self->marker_cut);
    bb_arena_free(&self->cut_runs);
    self->is_done = error == BB_OK;
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_time.h"
#include "storage/bb_store_markers.h"
#include "storage/bb_store_rollup_private.h"
#include "storage/bb_store_scrub.h"
#include "storage/bb_store_seal.h"

// ---- intake ----------------------------------------------------------------------------------
bool bb_store_has_old(const bb_store_t *self, const bb_batch_t *batch)
{
    int64_t floor_wall_ns = bb_retention_intake_floor_max(self->retention);
    if (floor_wall_ns == 0) {
        return false;
    }
    int64_t first_wall_ns = INT64_MAX;
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        first_wall_ns = BB_MIN(first_wall_ns, batch->times_wall_ns[i]);
    }
    return first_wall_ns < floor_wall_ns;
}

// Classes that take the battery of a run: by what is known of it, and what the batch says.
static uint64_t s_battery_classes(bb_store_t *self, const bb_batch_battery_t *battery)
{
    const bb_policy_t *policy = bb_retention_policy(self->retention);
    if (!bb_policy_names_batteries(policy)) {
        return UINT64_MAX;
    }
    uint32_t number = bb_dictionary_battery_find(self->dictionary, battery->id);
    if (battery->attribute_count == 0) {
        return number == BB_NUMBER_NONE
                   ? bb_policy_battery_classes(policy, NULL, 0)
                   : bb_retention_battery(self->retention, self->dictionary, number);
    }
    bb_attribute_t attributes[2 * BB_ATTRIBUTES_MAX];
    uint32_t count = battery->attribute_count;
    memcpy(attributes, battery->attributes,
           count * sizeof *attributes); // the first of a key counts
    if (number != BB_NUMBER_NONE) {
        count += bb_dictionary_attribute_pairs(self->dictionary, number, attributes + count);
    }
    return bb_policy_battery_classes(policy, attributes, count);
}

static uint32_t s_class_of(const bb_store_t *self, uint64_t battery_classes, bb_slice_t metric)
{
    const bb_policy_t *policy = bb_retention_policy(self->retention);
    return bb_retention_class_of(self->retention, battery_classes,
                                 bb_policy_metric_classes(policy, metric));
}

static void s_reject(bb_store_t *self, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                     uint32_t class_id, bb_store_reject_fn reject, void *context)
{
    char floor[BB_TIME_TEXT_BYTES];
    char detail[160];
    bb_time_format(bb_retention_intake_floor(self->retention, class_id), floor);
    snprintf(detail, sizeof detail, "retention class '%s' keeps nothing before %s",
             bb_retention_name(self->retention, class_id), floor);
    reject(context, at, frame, metric, BB_ERR_RETENTION, detail);
}

uint32_t bb_store_check_floor(bb_store_t *self, const bb_batch_t *batch,
                              const bb_batch_cursor_t *at, uint32_t frame, const bool *is_refused,
                              bb_store_reject_fn reject, void *context, bool *is_gone)
{
    const bb_batch_shape_t *shape = &batch->shapes[at->run->shape];
    uint64_t battery = s_battery_classes(self, &batch->batteries[at->run->battery]);
    int64_t time_wall_ns = batch->times_wall_ns[frame];
    bool is_old[BB_FRAME_METRICS_MAX];
    uint32_t classes[BB_FRAME_METRICS_MAX];
    uint32_t old_count = 0;
    uint32_t named = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        classes[m] = s_class_of(self, battery, shape->names[m]);
        is_old[m] = time_wall_ns < bb_retention_intake_floor(self->retention, classes[m]);
        old_count += is_old[m];
        named += is_old[m] && !is_refused[m];
    }
    *is_gone = old_count == shape->metric_count;
    if (*is_gone) {
        s_reject(self, at, frame, UINT32_MAX, classes[0], reject, context);
        return named;
    }
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (is_old[m] && !is_refused[m]) {
            s_reject(self, at, frame, m, classes[m], reject, context);
        }
    }
    return named;
}

// ---- clipping --------------------------------------------------------------------------------
typedef struct {
    bb_store_t *store;
    const bb_batch_t *batch;
    uint32_t run_index; // of the sets below; UINT32_MAX = none
    int64_t floors_wall_ns[BB_FRAME_METRICS_MAX];
    int64_t floor_max_wall_ns; // of these
} s_clip_t;

static void s_clip_run(s_clip_t *self, const bb_batch_cursor_t *at)
{
    if (self->run_index == at->run_index) {
        return;
    }
    const bb_batch_shape_t *shape = &self->batch->shapes[at->run->shape];
    uint64_t battery = s_battery_classes(self->store, &self->batch->batteries[at->run->battery]);
    self->run_index = at->run_index;
    self->floor_max_wall_ns = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        self->floors_wall_ns[m] = bb_retention_intake_floor(
            self->store->retention, s_class_of(self->store, battery, shape->names[m]));
        self->floor_max_wall_ns = BB_MAX(self->floor_max_wall_ns, self->floors_wall_ns[m]);
    }
}

// bb_batch_keep_point_fn
static bool s_keep_point(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                         uint32_t metric)
{
    s_clip_t *self = context;
    s_clip_run(self, at);
    return self->batch->times_wall_ns[frame] >= self->floors_wall_ns[metric];
}

static bool s_keeps_frame(s_clip_t *self, const bb_batch_cursor_t *at, uint32_t frame)
{
    uint32_t metric_count = self->batch->shapes[at->run->shape].metric_count;
    s_clip_run(self, at);
    bool keeps = self->batch->times_wall_ns[frame] >= self->floor_max_wall_ns;
    for (uint32_t m = 0; m < metric_count && !keeps; m++) {
        keeps = s_keep_point(self, at, frame, m);
    }
    return keeps;
}

// Frames keep their order, so the place of a quarantined one is how many are kept before it.
static void s_clip_quarantined(s_clip_t *self, const bb_chunks_t *chunks, const bool *keep,
                               bb_store_clipped_t *clipped)
{
    clipped->quarantined = bb_alloc((chunks->quarantined_count + 1) * sizeof(uint32_t));
    uint32_t next = 0;
    uint32_t kept = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(self->batch, &at);
    while (bb_batch_cursor_next(self->batch, &at)) {
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            uint32_t frame = at.frame_first + f;
            bool is_kept = keep[at.part_index] && s_keeps_frame(self, &at, frame);
            if (next < chunks->quarantined_count && chunks->quarantined[next] == frame) {
                next++;
                if (is_kept) {
                    clipped->quarantined[clipped->quarantined_count++] = kept;
                }
            }
            kept += is_kept;
        }
    }
}

bb_error_t bb_store_clip(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch,
                         const bool *keep, bb_store_clipped_t *clipped)
{
    s_clip_t clip = {.store = self, .batch = batch, .run_index = UINT32_MAX};
    *clipped = (bb_store_clipped_t){0};
    size_t length = 0;
    bb_error_t error = bb_batch_subset(batch, keep, s_keep_point, &clip, &clipped->bytes, &length);
    if (error != BB_OK) {
        return error;
    }
    error = bb_batch_open(&clipped->batch, bb_slice(clipped->bytes, length), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    clip.run_index = UINT32_MAX;
    s_clip_quarantined(&clip, chunks, keep, clipped);
    return BB_OK;
}

void bb_store_clipped_free(bb_store_clipped_t *self)
{
    bb_batch_close(&self->batch);
    free(self->bytes);
    free(self->quarantined);
}

// ---- retiring --------------------------------------------------------------------------------
struct bb_retire {
    bb_kv_driver_t *kv;
    bb_kv_env_t *meta;
    bb_meta_batch_t records;
    int64_t *floors_wall_ns; // by class
    uint32_t class_count;
    bb_window_id_t *windows;
    uint32_t window_count;
    uint8_t (*damage_keys)[BB_META_DAMAGE_KEY_BYTES]; // what was damaged in them
    uint32_t damage_count;
    bb_rollups_t *rollups; // NULL: all that they make of these days is stored
};

// Floors only grow, so their sum says whether one has.
static int64_t s_floor_sum(const bb_retention_t *retention)
{
    int64_t days = 0;
    for (uint32_t id = 0; id < bb_retention_class_count(retention); id++) {
        days += bb_retention_intake_floor(retention, id) / BB_NS_PER_DAY;
    }
    return days;
}

void bb_store_retention_step(bb_store_t *self, int64_t now_wall_ns)
{
    int64_t before = s_floor_sum(self->retention);
    self->is_retire_due = bb_retention_step(self->retention, now_wall_ns);
    if (s_floor_sum(self->retention) != before) {
        // A flush under way took what the head held before; what came since needs another.
        self->retire_flush_seq = self->flush_seq + (self->frozen ? 1 : 0);
    }
}

bool bb_store_retire_needs_flush(const bb_store_t *self)
{
    // A delete that is not flushed has marked its days for rollups in memory only, and marks in the
    // map are what retiring waits for: results would keep what was deleted, for ever.
    bool is_empty =
        bb_head_points(self->active) == 0 && !self->frozen && !bb_store_has_unsaved_markers(self);
    return !is_empty && self->flush_seq <= self->retire_flush_seq;
}

static bool s_is_retired(const bb_store_t *store, bb_window_id_t id)
{
    return id.class_id < bb_retention_class_count(store->retention) &&
           (int64_t)id.day * BB_NS_PER_DAY <
               bb_retention_intake_floor(store->retention, id.class_id);
}

static bool s_has_retired(const bb_store_t *store)
{
    for (uint32_t i = 0; i < store->windows.count; i++) {
        if (s_is_retired(store, store->windows.items[i].id)) {
            return true;
        }
    }
    return false;
}

bool bb_store_wants_retire(const bb_store_t *self)
{
    return self->is_retire_due &&
           !bb_rollups_wait_for(
               self, (uint32_t)(bb_retention_intake_floor_max(self->retention) / BB_NS_PER_DAY));
}

static void s_take_damage(bb_retire_t *self, const bb_damage_t *list)
{
    for (uint32_t i = 0; i < self->window_count; i++) {
        bb_window_id_t id = self->windows[i];
        uint32_t count = 0;
        const bb_damage_entry_t *entries =
            bb_damage_window(list, (uint8_t)id.kind, id.class_id, id.day, &count);
        self->damage_keys = bb_realloc(self->damage_keys, (self->damage_count + count + 1) *
                                                              sizeof *self->damage_keys);
        for (uint32_t k = 0; k < count; k++) {
            bb_meta_damage_key(&entries[k], self->damage_keys[self->damage_count++]);
        }
    }
}

bb_retire_t *bb_retire_new(bb_store_t *store)
{
    if (!store->is_retire_due && !s_has_retired(store)) {
        return NULL;
    }
    store->is_retire_due = false; // until the clock says so again
    bb_retire_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = store->kv;
    self->meta = store->meta;
    self->class_count = bb_retention_class_count(store->retention);
    self->floors_wall_ns = bb_alloc(self->class_count * sizeof *self->floors_wall_ns);
    for (uint32_t id = 0; id < self->class_count; id++) {
        self->floors_wall_ns[id] = bb_retention_intake_floor(store->retention, id);
    }
    bb_meta_batch_classes(&self->records, store->retention, self->floors_wall_ns);
    self->windows = bb_alloc((store->windows.count + 1) * sizeof *self->windows);
    for (uint32_t i = 0; i < store->windows.count; i++) {
        if (s_is_retired(store, store->windows.items[i].id)) {
            self->windows[self->window_count++] = store->windows.items[i].id;
        }
    }
    s_take_damage(self, bb_store_scrub_damage(store->scrub));
    uint32_t day_limit =
        (uint32_t)(bb_retention_intake_floor_max(store->retention) / BB_NS_PER_DAY);
    self->rollups = bb_rollups_lack(store->rollups, day_limit) ? store->rollups : NULL;
    return self;
}

void bb_retire_destroy(bb_retire_t **self)
{
    if (*self) {
        bb_meta_batch_free(&(*self)->records);
        free((*self)->floors_wall_ns);
        free((*self)->windows);
        free((*self)->damage_keys);
        free(*self);
        *self = NULL;
    }
}

bb_error_t bb_retire_run(bb_retire_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_kv_txn_t *txn = NULL;
    // Before the points go: others may have read them.
    bb_error_t error =
        self->rollups ? bb_rollups_write_gaps(self->rollups, true, must_fence) : BB_OK;
    if (error == BB_OK) {
        error = self->kv->begin(self->meta, true, &txn);
    }
    if (error == BB_OK) {
        error = bb_meta_batch_write(&self->records, self->kv, txn);
    }
    for (uint32_t i = 0; i < self->window_count && error == BB_OK; i++) {
        error = bb_meta_remove_window(self->kv, txn, self->windows[i]);
    }
    for (uint32_t i = 0; i < self->damage_count && error == BB_OK; i++) {
        error = self->kv->remove(txn, bb_slice(self->damage_keys[i], BB_META_DAMAGE_KEY_BYTES));
        error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
        BB_KILLPOINT(self->kv, RETIRE_RECORDED);
    }
    self->kv->abort(&txn);
    return error == BB_OK
               ? BB_OK
               : bb_fault_set(fault, error, "meta: retention: %s", bb_error_message(error));
}

// Days that no window has any more; those of the head come back with its windows.
static void s_forget_days(bb_store_t *store)
{
    store->day_count = 0;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        bb_store_day_add(store, store->windows.items[i].id.day);
    }
    bb_rollups_add_days(store);
}

void bb_retire_publish(bb_retire_t *self, bb_store_t *store)
{
    int64_t limit_wall_ns = 0;
    for (uint32_t id = 0; id < self->class_count; id++) {
        bb_retention_saved(store->retention, id, self->floors_wall_ns[id]);
        limit_wall_ns = BB_MAX(limit_wall_ns, self->floors_wall_ns[id]);
    }
    for (uint32_t i = 0; i < self->window_count; i++) {
        bool found;
        uint32_t at = bb_store_windows_find(&store->windows, self->windows[i], &found);
        BB_ASSERT(found); // nothing else ran meanwhile
        const bb_store_window_t *window = &store->windows.items[at];
        for (uint32_t part = 0; part < window->part_count; part++) {
            store->retired_points += window->parts[part].info.point_count;
            bb_segment_doom(window->parts[part].segment);
        }
        bb_store_windows_remove(&store->windows, at);
        bb_store_scrub_forget_window(store, self->windows[i]);
    }
    store->rollups->gaps += self->rollups != NULL;
    store->retired_windows += self->window_count;
    if (self->window_count > 0) {
        bb_latest_forget(store->latest, limit_wall_ns);
        s_forget_days(store);
    }
}

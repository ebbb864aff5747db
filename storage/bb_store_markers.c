// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_markers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_marker.h"

#define S_DETAIL_BYTES 320

// ---- checking --------------------------------------------------------------------------------
static bool s_is_far_ahead(const bb_store_t *self, uint32_t battery, uint32_t generation)
{
    uint32_t known = battery == BB_NUMBER_NONE ? 0 : bb_markers_generation(self->markers, battery);
    return generation > known && generation - known > BB_GENERATION_AHEAD_MAX;
}

static void s_reject_ahead(const bb_store_t *self, const bb_batch_t *batch,
                           const bb_batch_cursor_t *at, uint32_t battery, uint32_t frame,
                           uint32_t generation, bb_store_reject_fn reject, void *context)
{
    char detail[S_DETAIL_BYTES];
    bb_slice_t id = batch->batteries[at->run->battery].id;
    snprintf(detail, sizeof detail,
             "generation %u of battery '%.*s' is too far ahead: %u is known, and below %u allowed",
             generation, (int)id.length, (const char *)id.data,
             battery == BB_NUMBER_NONE ? 0 : bb_markers_generation(self->markers, battery),
             BB_GENERATION_POINT_LIMIT);
    reject(context, at, frame, UINT32_MAX, BB_ERR_GENERATION, detail);
}

uint64_t bb_store_check_markers(bb_store_t *self, const bb_batch_t *batch,
                                bb_store_reject_fn reject, void *context)
{
    uint64_t rejected = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        uint32_t battery =
            bb_dictionary_battery_find(self->dictionary, batch->batteries[at.run->battery].id);
        bool is_ahead = s_is_far_ahead(self, battery, batch->generation);
        uint32_t count =
            battery == BB_NUMBER_NONE ? 0 : bb_markers_of(self->markers, battery).count;
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            uint32_t frame = at.frame_first + f;
            if (is_ahead) {
                s_reject_ahead(self, batch, &at, battery, frame, batch->generation, reject,
                               context);
                rejected++;
            } else if (count + f >= BB_MARKERS_MAX) {
                char detail[64];
                snprintf(detail, sizeof detail, "the battery has %u markers already", count);
                reject(context, &at, frame, UINT32_MAX, BB_ERR_LIMIT, detail);
                rejected++;
            }
        }
    }
    return rejected;
}

bool bb_store_run_is_deleted(const bb_store_t *self, const bb_batch_t *batch,
                             const bb_batch_cursor_t *at, uint32_t battery)
{
    uint32_t generation = bb_revision_generation(batch->revision);
    if (generation != 0 &&
        (generation >= BB_GENERATION_POINT_LIMIT || s_is_far_ahead(self, battery, generation))) {
        return true;
    }
    if (bb_markers_is_empty(self->markers) || battery == BB_NUMBER_NONE) {
        return false;
    }
    bb_marker_list_t list = bb_markers_of(self->markers, battery);
    const int64_t *times = batch->times_wall_ns + at->frame_first;
    bool is_any = false;
    for (uint32_t f = 0; list.count > 0 && !is_any && f < at->run->frame_count; f++) {
        is_any = bb_marker_list_hits(list, batch->revision, times[f], times[f]);
    }
    return is_any;
}

static void s_reject(const bb_batch_t *batch, const bb_batch_cursor_t *at, uint32_t frame,
                     uint32_t metric, uint32_t generation, bb_store_reject_fn reject, void *context)
{
    char detail[S_DETAIL_BYTES];
    bb_slice_t id = batch->batteries[at->run->battery].id;
    snprintf(detail, sizeof detail,
             "deleted of battery '%.*s': written with generation %u, only %u or later is taken",
             (int)id.length, (const char *)id.data, bb_revision_generation(batch->revision),
             generation);
    reject(context, at, frame, metric, BB_ERR_GENERATION, detail);
}

uint32_t bb_store_check_deleted(bb_store_t *self, const bb_batch_t *batch,
                                const bb_batch_cursor_t *at, uint32_t battery, uint32_t frame,
                                const bool *is_refused, bb_store_reject_fn reject, void *context,
                                bool *is_gone)
{
    const bb_batch_shape_t *shape = &batch->shapes[at->run->shape];
    uint32_t generations[BB_FRAME_METRICS_MAX];
    uint32_t covered = 0, named = 0, left = 0, largest = 0;
    uint32_t generation = bb_revision_generation(batch->revision);
    bool is_ahead =
        generation >= BB_GENERATION_POINT_LIMIT || s_is_far_ahead(self, battery, generation);
    bb_marker_list_t list = bb_markers_of(self->markers, battery); // none of BB_NUMBER_NONE
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        uint32_t metric = bb_dictionary_metric_find(self->dictionary, shape->names[m]);
        generations[m] =
            bb_marker_list_covers(list, metric, batch->revision, batch->times_wall_ns[frame]);
        covered += generations[m] > 0;
        named += generations[m] > 0 && !is_refused[m];
        left += !is_refused[m];
        largest = BB_MAX(largest, generations[m]);
    }
    *is_gone = is_ahead || covered == shape->metric_count;
    if (is_ahead) {
        s_reject_ahead(self, batch, at, battery, frame, generation, reject, context);
        return left;
    }
    if (*is_gone) {
        s_reject(batch, at, frame, UINT32_MAX, largest, reject, context);
        return named;
    }
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (generations[m] > 0 && !is_refused[m]) {
            s_reject(batch, at, frame, m, generations[m], reject, context);
        }
    }
    return named;
}

uint32_t bb_store_generation(const bb_store_t *self, bb_slice_t battery)
{
    uint32_t number = bb_markers_is_empty(self->markers)
                          ? BB_NUMBER_NONE
                          : bb_dictionary_battery_find(self->dictionary, battery);
    return number == BB_NUMBER_NONE ? 0 : bb_markers_generation(self->markers, number);
}

// ---- applying --------------------------------------------------------------------------------
static void s_note_unsaved(bb_store_t *self, uint32_t partition, const bb_marker_t *marker)
{
    if (self->unsaved_count == self->unsaved_capacity) {
        self->unsaved_capacity = self->unsaved_capacity ? self->unsaved_capacity * 2 : 16;
        self->unsaved = bb_realloc(self->unsaved, self->unsaved_capacity * sizeof *self->unsaved);
    }
    self->unsaved[self->unsaved_count++] =
        (bb_store_unsaved_t){partition, marker->from_wall_ns, marker->to_wall_ns};
}

static bool s_reaches(int64_t from_wall_ns, int64_t to_wall_ns, uint32_t day)
{
    int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    return from_wall_ns < first_wall_ns + BB_NS_PER_DAY && to_wall_ns > first_wall_ns;
}

static void s_apply_one(bb_store_t *self, const bb_batch_t *batch, const bb_batch_cursor_t *at,
                        const bb_marker_t *marker)
{
    uint32_t partition = at->part->partition;
    uint32_t battery =
        bb_dictionary_battery(self->dictionary, batch->batteries[at->run->battery].id, partition);
    bb_marker_entry_t entry = {
        .metric = bb_marker_is_of_all(marker)
                      ? BB_MARKER_ALL
                      : bb_dictionary_metric(self->dictionary, marker->metric),
        .generation = batch->generation,
        .from_wall_ns = marker->from_wall_ns,
        .to_wall_ns = marker->to_wall_ns,
    };
    if (!bb_markers_add(&self->markers, battery, &entry)) {
        return;
    }
    self->markers_version++;
    s_note_unsaved(self, partition, marker);
    for (uint32_t i = 0; i < self->day_count; i++) {
        if (s_reaches(marker->from_wall_ns, marker->to_wall_ns, self->days[i])) {
            bb_rollups_touch(self->rollups, self->days[i], partition);
        }
    }
    for (uint32_t i = 0; i < self->windows.count; i++) {
        bb_store_window_t *window = &self->windows.items[i];
        window->is_marked |= s_reaches(marker->from_wall_ns, marker->to_wall_ns, window->id.day);
    }
}

void bb_store_apply_markers(bb_store_t *self, const bb_batch_t *batch)
{
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        for (uint32_t f = 0; self->scratch.keep[at.part_index] && f < at.run->frame_count; f++) {
            bb_marker_t marker = bb_marker_of(batch, &at, f);
            s_apply_one(self, batch, &at, &marker);
        }
    }
}

// ---- on their way to the disk ----------------------------------------------------------------
bool bb_store_has_unsaved_markers(const bb_store_t *self)
{
    return self->unsaved_count > 0;
}

bool bb_store_is_marked(const bb_store_t *self, uint32_t day, uint32_t partition)
{
    bool is_marked = false;
    for (uint32_t i = 0; i < self->unsaved_count && !is_marked; i++) {
        const bb_store_unsaved_t *unsaved = &self->unsaved[i];
        is_marked = unsaved->partition == partition &&
                    s_reaches(unsaved->from_wall_ns, unsaved->to_wall_ns, day);
    }
    return is_marked;
}

void bb_store_markers_seal(bb_store_t *self, bb_meta_batch_t *record, bb_meta_batch_t *voided)
{
    bb_markers_drain(self->markers, bb_meta_batch_markers, record);
    self->unsaved_sealed = self->unsaved_count;
    for (uint32_t w = 0; w < self->windows.count; w++) {
        bb_window_id_t id = self->windows.items[w].id;
        bool is_void = false;
        for (uint32_t i = 0; i < self->unsaved_count && !is_void; i++) {
            is_void = s_reaches(self->unsaved[i].from_wall_ns, self->unsaved[i].to_wall_ns, id.day);
        }
        if (is_void) {
            bb_meta_batch_fingerprints_void(voided, id);
        }
    }
}

void bb_store_markers_sealed(bb_store_t *self)
{
    BB_ASSERT(self->unsaved_sealed <= self->unsaved_count);
    self->unsaved_count -= self->unsaved_sealed;
    if (self->unsaved_count > 0) {
        memmove(self->unsaved, self->unsaved + self->unsaved_sealed,
                self->unsaved_count * sizeof *self->unsaved);
    }
    self->unsaved_sealed = 0;
}

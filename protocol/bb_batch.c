// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_batch.h"

#include <stdlib.h>

#include "protocol/bb_batch_codec.h"
#include "protocol/bb_text.h"

static bb_error_t s_corrupt(bb_fault_t *fault, const char *what, uint32_t index)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "batch: %s %u", what, index);
}

static int s_shown(bb_slice_t text)
{
    return (int)BB_MIN(text.length, 64);
}

static bb_error_t s_check_shape(const bb_batch_shape_t *shape, bb_fault_t *fault)
{
    if (shape->metric_count == 0 || shape->metric_count > BB_FRAME_METRICS_MAX) {
        return bb_fault_set(fault, BB_ERR_FRAME_METRICS, "a shape has %u metrics, expected 1 to %d",
                            shape->metric_count, BB_FRAME_METRICS_MAX);
    }
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        bb_slice_t name = shape->names[m];
        if (bb_metric_name_check(name) != BB_OK) {
            return bb_fault_set(fault, BB_ERR_METRIC_NAME, "metric name '%.*s' (%zu bytes)",
                                s_shown(name), (const char *)name.data, name.length);
        }
        if (!bb_type_is_valid(shape->types[m])) {
            return s_corrupt(fault, "unknown type", shape->types[m]);
        }
        if (m > 0) {
            bb_slice_t before = shape->names[m - 1];
            int order = memcmp(before.data, name.data, BB_MIN(before.length, name.length));
            if (order > 0 || (order == 0 && before.length >= name.length)) {
                return bb_fault_set(fault, BB_ERR_FRAME_METRICS,
                                    "metric '%.*s' is named twice or not sorted", s_shown(name),
                                    (const char *)name.data);
            }
        }
    }
    return BB_OK;
}

static bb_error_t s_check_battery(const bb_batch_battery_t *battery, bb_fault_t *fault)
{
    if (bb_battery_id_check(battery->id) != BB_OK) {
        return bb_fault_set(fault, BB_ERR_BATTERY_ID, "battery id '%.*s' (%zu bytes)",
                            s_shown(battery->id), (const char *)battery->id.data,
                            battery->id.length);
    }
    for (uint32_t a = 0; a < battery->attribute_count; a++) {
        const bb_attribute_t *attribute = &battery->attributes[a];
        if (bb_attribute_check(attribute->key, attribute->value) != BB_OK) {
            return bb_fault_set(fault, BB_ERR_ATTRIBUTES, "attribute '%.*s' of battery '%.*s'",
                                s_shown(attribute->key), (const char *)attribute->key.data,
                                s_shown(battery->id), (const char *)battery->id.data);
        }
    }
    return BB_OK;
}

static bb_error_t s_check_tables(const bb_batch_t *self, bb_fault_t *fault)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; error == BB_OK && i < self->shape_count; i++) {
        error = s_check_shape(&self->shapes[i], fault);
    }
    for (uint32_t i = 0; error == BB_OK && i < self->battery_count; i++) {
        error = s_check_battery(&self->batteries[i], fault);
    }
    for (uint32_t i = 0; error == BB_OK && i < self->state_count; i++) {
        error = bb_state_text_check(self->states[i]);
        if (error != BB_OK) {
            bb_fault_set(fault, error, "state text %u has %zu bytes or is not UTF-8", i,
                         self->states[i].length);
        }
    }
    return error;
}

// Parts ascend by partition, runs are grouped by part without gaps, and all counts add up.
static bb_error_t s_check_structure(const bb_batch_t *self, bb_fault_t *fault)
{
    uint32_t run = 0;
    uint64_t frames = 0, values = 0;
    for (uint32_t p = 0; p < self->part_count; p++) {
        const bb_batch_part_t *part = &self->parts[p];
        if (part->partition >= BB_PARTITIONS_MAX ||
            (p > 0 && part->partition <= self->parts[p - 1].partition)) {
            return s_corrupt(fault, "partitions do not ascend at part", p);
        }
        if (part->run_first != run || part->run_count == 0 ||
            part->run_count > self->run_count - run) {
            return s_corrupt(fault, "runs do not add up at part", p);
        }
        uint64_t part_frames = 0;
        for (uint32_t limit = run + part->run_count; run < limit; run++) {
            const bb_batch_run_t *at = &self->runs[run];
            if (at->battery >= self->battery_count || at->shape >= self->shape_count ||
                at->frame_count == 0 || at->reserved != 0) {
                return s_corrupt(fault, "bad run", run);
            }
            part_frames += at->frame_count;
            values += (uint64_t)at->frame_count * self->shapes[at->shape].metric_count;
        }
        if (part_frames != part->frame_count) {
            return s_corrupt(fault, "frames do not add up at part", p);
        }
        frames += part_frames;
    }
    if (run != self->run_count || frames != self->frame_count || values != self->value_count) {
        return s_corrupt(fault, "runs, frames or values do not add up; parts", self->part_count);
    }
    return BB_OK;
}

static bb_error_t s_check_times(const bb_batch_t *self, bb_fault_t *fault)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (uint32_t i = 0; i < self->frame_count; i++) {
        first = BB_MIN(first, self->times_wall_ns[i]);
        last = BB_MAX(last, self->times_wall_ns[i]);
    }
    if (first < BB_TIME_WALL_NS_FIRST || last >= BB_TIME_WALL_NS_LIMIT) {
        return bb_fault_set(fault, BB_ERR_TIME_RANGE, "times from %lld to %lld ns", (long long)first,
                            (long long)last);
    }
    return BB_OK;
}

// BOOL and STATE columns hold 0 or 1, or indexes of states.
static bb_error_t s_check_values(const bb_batch_t *self, bb_fault_t *fault)
{
    bb_batch_cursor_t at;
    bb_batch_cursor_start(self, &at);
    while (bb_batch_cursor_next(self, &at)) {
        const bb_batch_shape_t *shape = &self->shapes[at.run->shape];
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            if (shape->types[m] != BB_TYPE_BOOL && shape->types[m] != BB_TYPE_STATE) {
                continue;
            }
            uint64_t limit = shape->types[m] == BB_TYPE_BOOL ? 2 : self->state_count;
            const uint64_t *value = self->values + at.value_first + m;
            for (uint32_t f = 0; f < at.run->frame_count; f++, value += shape->metric_count) {
                if (*value >= limit) {
                    return bb_fault_set(fault, BB_ERR_VALUE, "metric '%.*s': %llu is no %s",
                                        s_shown(shape->names[m]),
                                        (const char *)shape->names[m].data,
                                        (unsigned long long)*value,
                                        bb_type_name((bb_type_t)shape->types[m]));
                }
            }
        }
    }
    return BB_OK;
}

bb_error_t bb_batch_open(bb_batch_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    if (encoded.length > BB_BATCH_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_BATCH_BYTES, "the batch has %zu bytes, at most %u",
                            encoded.length, BB_BATCH_BYTES_MAX);
    }
    bb_error_t error = bb_batch_flat_read(self, encoded, fault);
    if (error != BB_OK) {
        return error;
    }
    error = s_check_tables(self, fault);
    error = error == BB_OK ? s_check_structure(self, fault) : error;
    error = error == BB_OK ? s_check_times(self, fault) : error;
    error = error == BB_OK ? s_check_values(self, fault) : error;
    if (error != BB_OK) {
        bb_batch_close(self);
    }
    return error;
}

void bb_batch_close(bb_batch_t *self)
{
    free(self->memory);
    *self = (bb_batch_t){0};
}

void bb_batch_cursor_start(const bb_batch_t *batch, bb_batch_cursor_t *cursor)
{
    (void)batch;
    *cursor = (bb_batch_cursor_t){.run_index = UINT32_MAX};
}

bool bb_batch_cursor_next(const bb_batch_t *batch, bb_batch_cursor_t *cursor)
{
    if (cursor->run_index == UINT32_MAX) {
        cursor->run_index = 0;
        cursor->part = batch->parts;
    } else {
        cursor->frame_first += cursor->run->frame_count;
        cursor->value_first += (uint64_t)cursor->run->frame_count *
                               batch->shapes[cursor->run->shape].metric_count;
        cursor->run_index++;
    }
    if (cursor->run_index >= batch->run_count) {
        return false;
    }
    if (cursor->run_index == cursor->part->run_first + cursor->part->run_count) {
        cursor->part++;
        cursor->part_index++;
    }
    cursor->run = &batch->runs[cursor->run_index];
    return true;
}

// ---- subset ----

typedef struct {
    const bb_batch_t *from;
    bb_batch_builder_t *builder;
    bb_batch_keep_point_fn keep_point;
    void *context;
    uint32_t *states; // old state index -> new + 1
} s_subset_t;

// Adds one frame with the points that are kept; frames without any vanish.
static bool s_subset_frame(s_subset_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                           uint32_t battery, uint32_t whole_shape)
{
    const bb_batch_shape_t *shape = &self->from->shapes[at->run->shape];
    const uint64_t *row = self->from->values + at->value_first +
                          (uint64_t)frame * shape->metric_count;
    bb_slice_t names[BB_FRAME_METRICS_MAX];
    uint8_t types[BB_FRAME_METRICS_MAX];
    uint32_t order[BB_FRAME_METRICS_MAX];
    uint64_t values[BB_FRAME_METRICS_MAX];
    uint32_t count = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (self->keep_point &&
            !self->keep_point(self->context, at, at->frame_first + frame, m)) {
            continue;
        }
        names[count] = shape->names[m];
        types[count] = shape->types[m];
        values[count] = row[m];
        if (shape->types[m] == BB_TYPE_STATE) {
            uint32_t *state = &self->states[row[m]];
            if (*state == 0) {
                bb_error_t error = bb_batch_builder_state(
                    self->builder, self->from->states[row[m]], state, NULL);
                BB_ASSERT(error == BB_OK); // it was valid in a larger batch
                (*state)++;
            }
            values[count] = *state - 1;
        }
        count++;
    }
    if (count == 0) {
        return false;
    }
    uint32_t new_shape = whole_shape;
    if (count < shape->metric_count) {
        bb_error_t error = bb_batch_builder_shape(self->builder, names, types, count, &new_shape,
                                                  order, NULL);
        BB_ASSERT(error == BB_OK);
    }
    bb_error_t error = bb_batch_builder_frame(
        self->builder, battery, new_shape, self->from->times_wall_ns[at->frame_first + frame],
        values);
    BB_ASSERT(error == BB_OK);
    return true;
}

// kept_frames (frame_count entries or NULL) receives the old index of each frame that was added.
static uint32_t s_subset_collect(s_subset_t *self, const bool *keep, uint32_t *kept_frames)
{
    bb_batch_cursor_t at;
    uint32_t kept = 0;
    bb_batch_cursor_start(self->from, &at);
    while (bb_batch_cursor_next(self->from, &at)) {
        if (!keep[at.part_index]) {
            continue;
        }
        const bb_batch_battery_t *from = &self->from->batteries[at.run->battery];
        const bb_batch_shape_t *shape = &self->from->shapes[at.run->shape];
        uint32_t order[BB_FRAME_METRICS_MAX];
        uint32_t battery, whole_shape;
        bb_error_t error =
            bb_batch_builder_battery(self->builder, at.part->partition, from->id, from->attributes,
                                     from->attribute_count, &battery, NULL);
        BB_ASSERT(error == BB_OK);
        error = bb_batch_builder_shape(self->builder, shape->names, shape->types,
                                       shape->metric_count, &whole_shape, order, NULL);
        BB_ASSERT(error == BB_OK);
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            if (s_subset_frame(self, &at, f, battery, whole_shape)) {
                if (kept_frames) {
                    kept_frames[kept] = at.frame_first + f;
                }
                kept++;
            }
        }
    }
    return kept;
}

// As bb_batch_subset; *old_frames (malloc'd, may be NULL) says where each new frame was before.
static bb_error_t s_subset(const bb_batch_t *batch, const bool *keep,
                           bb_batch_keep_point_fn keep_point, void *context, uint8_t **out,
                           size_t *out_length, uint32_t **old_frames, uint32_t *new_frame_count)
{
    s_subset_t self = {batch, bb_batch_builder_new(batch->revision), keep_point, context,
                       bb_alloc_zero(batch->state_count, sizeof(uint32_t))};
    uint32_t *kept_frames = bb_alloc(batch->frame_count * sizeof *kept_frames);
    uint32_t kept = s_subset_collect(&self, keep, kept_frames);
    if (kept > 0) {
        uint32_t *order = bb_alloc(kept * sizeof *order);
        bb_batch_builder_finish(self.builder, out, out_length, order);
        for (uint32_t i = 0; i < kept; i++) {
            order[i] = kept_frames[order[i]];
        }
        *new_frame_count = kept;
        if (old_frames) {
            *old_frames = order;
        } else {
            free(order);
        }
    }
    free(kept_frames);
    free(self.states);
    bb_batch_builder_destroy(&self.builder);
    return kept > 0 ? BB_OK : BB_ERR_NOT_FOUND;
}

bb_error_t bb_batch_subset(const bb_batch_t *batch, const bool *keep,
                           bb_batch_keep_point_fn keep_point, void *context, uint8_t **out,
                           size_t *out_length)
{
    uint32_t frame_count;
    return s_subset(batch, keep, keep_point, context, out, out_length, NULL, &frame_count);
}

bb_error_t bb_chunks_match(const bb_chunks_t *self, const bb_batch_t *batch, bb_fault_t *fault)
{
    if (self->part_count != batch->part_count) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: %u seqs for %u parts",
                            self->part_count, batch->part_count);
    }
    if (self->quarantined_count > 0 &&
        self->quarantined[self->quarantined_count - 1] >= batch->frame_count) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: quarantined frame %u of %u frames",
                            self->quarantined[self->quarantined_count - 1], batch->frame_count);
    }
    return BB_OK;
}

bb_error_t bb_chunks_subset(const bb_chunks_t *self, const bb_batch_t *batch, const bool *keep,
                            uint8_t **out_chunks, size_t *out_chunks_length, uint8_t **out_batch,
                            size_t *out_batch_length)
{
    uint32_t *old_frames = NULL;
    uint32_t frame_count = 0;
    bb_error_t error = s_subset(batch, keep, NULL, NULL, out_batch, out_batch_length, &old_frames,
                                &frame_count);
    if (error != BB_OK) {
        return error;
    }
    uint64_t *seqs = bb_alloc(self->part_count * sizeof *seqs);
    uint32_t *quarantined = bb_alloc(self->quarantined_count * sizeof *quarantined);
    bb_chunks_t kept = *self;
    kept.part_count = 0;
    kept.quarantined_count = 0;
    kept.seqs = seqs;
    kept.quarantined = quarantined;
    for (uint32_t p = 0; p < self->part_count; p++) {
        if (keep[p]) {
            seqs[kept.part_count++] = self->seqs[p];
        }
    }
    bool *is_quarantined = bb_alloc_zero(batch->frame_count, sizeof *is_quarantined);
    for (uint32_t i = 0; i < self->quarantined_count; i++) {
        is_quarantined[self->quarantined[i]] = true;
    }
    for (uint32_t f = 0; f < frame_count; f++) {
        if (is_quarantined[old_frames[f]]) {
            quarantined[kept.quarantined_count++] = f;
        }
    }
    bb_chunks_encode(&kept, out_chunks, out_chunks_length);
    free(is_quarantined);
    free(quarantined);
    free(seqs);
    free(old_frames);
    return BB_OK;
}

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

// A time is bad when it is negative or past the last one: when the sign bit of it, or of the
// distance to the last one, is set. Subtraction and OR alone, so that the loop is vectorised.
static bb_error_t s_check_times(const bb_batch_t *self, bb_fault_t *fault)
{
    static_assert(BB_TIME_WALL_NS_FIRST == 0, "the sign bit says too early");
    const uint64_t last = (uint64_t)BB_TIME_WALL_NS_LIMIT - 1;
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t signs = 0;
    for (uint32_t i = 0; i < self->frame_count; i++) {
        uint64_t time = (uint64_t)self->times_wall_ns[i];
        signs |= time | (last - time);
    }
    if (!(signs & sign)) {
        return BB_OK;
    }
    uint32_t bad = 0;
    while (self->times_wall_ns[bad] >= 0 && self->times_wall_ns[bad] < BB_TIME_WALL_NS_LIMIT) {
        bad++;
    }
    return bb_fault_set(fault, BB_ERR_TIME_RANGE, "frame %u has the time %lld ns", bad,
                        (long long)self->times_wall_ns[bad]);
}

// BOOL and STATE columns hold 0 or 1, or indexes of states.
static bb_error_t s_check_values(const bb_batch_t *self, bb_fault_t *fault)
{
    bb_batch_cursor_t at;
    bb_batch_cursor_start(self, &at);
    while (bb_batch_cursor_next(self, &at)) {
        const bb_batch_shape_t *shape = &self->shapes[at.run->shape];
        if (!shape->has_bools && !shape->has_states) {
            continue;
        }
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            if (shape->types[m] != BB_TYPE_BOOL && shape->types[m] != BB_TYPE_STATE) {
                continue;
            }
            uint64_t limit = shape->types[m] == BB_TYPE_BOOL ? 2 : self->state_count;
            const uint64_t *value = self->values + at.value_first + m;
            for (uint32_t f = 0; f < at.run->frame_count; f++, value += shape->metric_count) {
                if (*value >= limit) {
                    return bb_fault_set(
                        fault, BB_ERR_VALUE, "metric '%.*s': %llu is no %s",
                        s_shown(shape->names[m]), (const char *)shape->names[m].data,
                        (unsigned long long)*value, bb_type_name((bb_type_t)shape->types[m]));
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
        cursor->value_first +=
            (uint64_t)cursor->run->frame_count * batch->shapes[cursor->run->shape].metric_count;
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

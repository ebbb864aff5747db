// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_batch.h"

#include <stdlib.h>

#include "protocol/bb_batch_codec.h"
#include "protocol/bb_marker.h"
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

static bb_error_t s_check_attributes(const bb_batch_battery_t *battery, bb_fault_t *fault)
{
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
        error = s_check_attributes(&self->batteries[i], fault);
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

// ---- columns ----

#define S_CHUNK 256u // values that are unpacked at a time, on the stack

// The columns that are not opened yet.
typedef struct {
    const uint8_t *at;
    size_t left;
    bb_fault_t *fault;
} s_columns_t;

static bb_error_t s_next_column(s_columns_t *self, bool is_float, uint32_t count,
                                bb_column_t *column)
{
    size_t used;
    bb_error_t error =
        bb_column_open(column, is_float, bb_slice(self->at, self->left), count, &used, self->fault);
    if (error == BB_OK) {
        self->at += used;
        self->left -= used;
    }
    return error;
}

// The next column into one field of an array of structs of `stride` numbers.
static bb_error_t s_next_field(s_columns_t *self, uint32_t *field, size_t stride, uint32_t count)
{
    bb_column_t column;
    bb_error_t error = s_next_column(self, false, count, &column);
    uint64_t words[S_CHUNK], bits = 0;
    for (uint32_t i = 0; error == BB_OK && i < count; i += S_CHUNK) {
        uint32_t size = BB_MIN(count - i, S_CHUNK);
        bb_column_unpack(&column, i, size, words);
        for (uint32_t j = 0; j < size; j++) {
            bits |= words[j];
            field[(i + j) * stride] = (uint32_t)words[j];
        }
    }
    return bits >> 32 ? s_corrupt(self->fault, "a number is past 32 bits, of", count) : error;
}

static bb_error_t s_read_structure(s_columns_t *columns, const bb_batch_t *self,
                                   bb_batch_room_t *room)
{
    const size_t part = sizeof(bb_batch_part_t) / sizeof(uint32_t);
    const size_t run = sizeof(bb_batch_run_t) / sizeof(uint32_t);
    uint32_t parts = self->part_count, runs = self->run_count;
    bb_error_t error = s_next_field(columns, &room->parts->partition, part, parts);
    error = error == BB_OK ? s_next_field(columns, &room->parts->run_count, part, parts) : error;
    error = error == BB_OK ? s_next_field(columns, &room->runs->battery, run, runs) : error;
    error = error == BB_OK ? s_next_field(columns, &room->runs->shape, run, runs) : error;
    return error == BB_OK ? s_next_field(columns, &room->runs->frame_count, run, runs) : error;
}

// Parts ascend by partition, and all counts add up. Sets what is a sum: where runs and frames of a
// part begin, frames of a shape, and the number of values.
static bb_error_t s_add_up(bb_batch_t *self, bb_batch_room_t *room, bb_fault_t *fault)
{
    uint32_t run = 0;
    uint64_t frames = 0, values = 0;
    for (uint32_t p = 0; p < self->part_count; p++) {
        bb_batch_part_t *part = &room->parts[p];
        if (part->partition >= BB_PARTITIONS_MAX ||
            (p > 0 && part->partition <= self->parts[p - 1].partition)) {
            return s_corrupt(fault, "partitions do not ascend at part", p);
        }
        if (part->run_count == 0 || part->run_count > self->run_count - run) {
            return s_corrupt(fault, "runs do not add up at part", p);
        }
        part->run_first = run;
        uint64_t part_frames = 0;
        for (uint32_t limit = run + part->run_count; run < limit; run++) {
            bb_batch_run_t *at = &room->runs[run];
            if (at->battery >= self->battery_count || at->shape >= self->shape_count ||
                at->frame_count == 0 || at->frame_count > self->frame_count) {
                return s_corrupt(fault, "bad run", run);
            }
            bb_batch_shape_t *shape = &room->shapes[at->shape];
            at->shape_first = shape->frame_count;
            shape->frame_count += at->frame_count;
            part_frames += at->frame_count;
            values += (uint64_t)at->frame_count * shape->metric_count;
            if (frames + part_frames > self->frame_count) {
                return s_corrupt(fault, "frames do not add up at run", run);
            }
        }
        part->frame_count = (uint32_t)part_frames;
        frames += part_frames;
    }
    if (run != self->run_count || frames != self->frame_count) {
        return s_corrupt(fault, "runs or frames do not add up; parts", self->part_count);
    }
    if (values > BB_BATCH_VALUES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "the batch has %llu values, at most %u",
                            (unsigned long long)values, BB_BATCH_VALUES_MAX);
    }
    self->value_count = values;
    return BB_OK;
}

// Lengths of ids, checked against the bytes of all ids.
static bb_error_t s_read_ids(s_columns_t *columns, const bb_batch_t *self, bb_batch_room_t *room)
{
    bb_column_t column;
    bb_error_t error = s_next_column(columns, false, self->battery_count, &column);
    const uint8_t *at = room->battery_ids.data;
    size_t left = room->battery_ids.length;
    bool is_plain = bb_text_is_plain(room->battery_ids); // almost always: then lengths are enough
    uint64_t lengths[S_CHUNK];
    for (uint32_t i = 0; error == BB_OK && i < self->battery_count; i++) {
        if (i % S_CHUNK == 0) {
            bb_column_unpack(&column, i, BB_MIN(self->battery_count - i, S_CHUNK), lengths);
        }
        uint64_t length = lengths[i % S_CHUNK];
        if (length > left) {
            return s_corrupt(columns->fault, "ids are missing from battery", i);
        }
        bb_slice_t id = bb_slice(at, (size_t)length);
        bool is_good = is_plain ? length >= 1 && length <= BB_BATTERY_ID_BYTES_MAX
                                : bb_battery_id_check(id) == BB_OK;
        if (!is_good) {
            return bb_fault_set(columns->fault, BB_ERR_BATTERY_ID, "battery id '%.*s' (%zu bytes)",
                                s_shown(id), (const char *)id.data, id.length);
        }
        room->batteries[i].id = id;
        at += length;
        left -= length;
    }
    if (error == BB_OK && left > 0) {
        return s_corrupt(columns->fault, "ids are left over; batteries", self->battery_count);
    }
    return error;
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

// The largest word that a column can hold, if that is easily seen; UINT64_MAX else.
static uint64_t s_word_max(const bb_column_t *column)
{
    bool is_small = column->encoding == BB_COLUMN_INTEGER && column->exception_count == 0 &&
                    column->width <= 32 && column->base <= UINT32_MAX && column->scale == 1;
    return is_small ? column->base + (UINT64_C(1) << column->width) - 1 : UINT64_MAX;
}

// BOOL and STATE columns hold 0 or 1, or indexes of states.
static bb_error_t s_check_words(const bb_batch_t *self, const bb_batch_shape_t *shape, uint32_t m,
                                bb_fault_t *fault)
{
    const bb_column_t *column = &shape->columns[m];
    uint64_t limit = shape->types[m] == BB_TYPE_BOOL ? 2 : self->state_count;
    if (s_word_max(column) < limit) {
        return BB_OK;
    }
    uint64_t words[S_CHUNK];
    for (uint32_t i = 0; i < column->count; i++) {
        if (i % S_CHUNK == 0) {
            bb_column_unpack(column, i, BB_MIN(column->count - i, S_CHUNK), words);
        }
        if (words[i % S_CHUNK] >= limit) {
            return bb_fault_set(fault, BB_ERR_VALUE, "metric '%.*s': %llu is no %s",
                                s_shown(shape->names[m]), (const char *)shape->names[m].data,
                                (unsigned long long)words[i % S_CHUNK],
                                bb_type_name((bb_type_t)shape->types[m]));
        }
    }
    return BB_OK;
}

static bb_error_t s_read_shape(s_columns_t *columns, const bb_batch_t *self,
                               const bb_batch_shape_t *shape, bb_column_t *room)
{
    bb_error_t error = BB_OK;
    for (uint32_t m = 0; error == BB_OK && m < shape->metric_count; m++) {
        error = s_next_column(columns, shape->types[m] == BB_TYPE_FLOAT64, shape->frame_count,
                              &room[m]);
        if (error == BB_OK &&
            (shape->types[m] == BB_TYPE_BOOL || shape->types[m] == BB_TYPE_STATE)) {
            error = s_check_words(self, shape, m, columns->fault);
        }
    }
    return error;
}

static bb_error_t s_read_values(s_columns_t *columns, const bb_batch_t *self,
                                const bb_batch_room_t *room)
{
    bb_error_t error = BB_OK;
    for (uint32_t s = 0; error == BB_OK && s < self->shape_count; s++) {
        const bb_batch_shape_t *shape = &self->shapes[s];
        if (shape->frame_count == 0) {
            return s_corrupt(columns->fault, "no frame has the shape", s);
        }
        error =
            s_read_shape(columns, self, shape, room->columns + (shape->columns - room->columns));
    }
    if (error == BB_OK && columns->left > 0) {
        return s_corrupt(columns->fault, "columns are left over; shapes", self->shape_count);
    }
    return error;
}

static bb_error_t s_read_times(s_columns_t *columns, const bb_batch_t *self, bb_batch_room_t *room)
{
    bb_column_t column;
    bb_error_t error = s_next_column(columns, false, self->frame_count, &column);
    if (error != BB_OK) {
        return error;
    }
    bb_column_unpack(&column, 0, self->frame_count, (uint64_t *)room->times_wall_ns);
    return s_check_times(self, columns->fault);
}

bb_error_t bb_batch_open(bb_batch_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    if (encoded.length > BB_BATCH_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_BATCH_BYTES, "the batch has %zu bytes, at most %u",
                            encoded.length, BB_BATCH_BYTES_MAX);
    }
    bb_batch_room_t room;
    bb_error_t error = bb_batch_flat_read(self, encoded, &room, fault);
    if (error != BB_OK) {
        return error;
    }
    s_columns_t columns = {room.packed.data, room.packed.length, fault};
    error = s_read_structure(&columns, self, &room);
    error = error == BB_OK ? s_add_up(self, &room, fault) : error;
    error = error == BB_OK ? s_read_ids(&columns, self, &room) : error;
    error = error == BB_OK ? s_check_tables(self, fault) : error;
    error = error == BB_OK ? s_read_times(&columns, self, &room) : error;
    error = error == BB_OK ? s_read_values(&columns, self, &room) : error;
    if (error == BB_OK && self->generation != 0) {
        error = bb_marker_check(self, fault);
    }
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
    cursor->shape_first = cursor->run->shape_first;
    return true;
}

void bb_batch_unpack(const bb_batch_t *batch, uint32_t shape, uint32_t metric, uint32_t first,
                     uint32_t count, uint64_t *out)
{
    BB_ASSERT(shape < batch->shape_count);
    BB_ASSERT(metric < batch->shapes[shape].metric_count);
    bb_column_unpack(&batch->shapes[shape].columns[metric], first, count, out);
}

void bb_batch_unpack_rows(const bb_batch_t *batch, const bb_batch_cursor_t *cursor, uint32_t first,
                          uint32_t count, uint64_t *out)
{
    const bb_batch_shape_t *shape = &batch->shapes[cursor->run->shape];
    uint32_t width = shape->metric_count;
    BB_ASSERT(first <= cursor->run->frame_count && count <= cursor->run->frame_count - first);
    uint64_t words[S_CHUNK];
    for (uint32_t f = 0; f < count; f += S_CHUNK) {
        uint32_t size = BB_MIN(count - f, S_CHUNK);
        for (uint32_t m = 0; m < width; m++) {
            bb_column_unpack(&shape->columns[m], cursor->shape_first + first + f, size, words);
            for (uint32_t i = 0; i < size; i++) {
                out[(size_t)(f + i) * width + m] = words[i];
            }
        }
    }
}

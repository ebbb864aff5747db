// SPDX-License-Identifier: Apache-2.0
// Takes parts, or points, out of a batch. Order is kept: of parts, of runs and of frames, so that
// frame indexes can be mapped by counting. Whole parts are copied as they lie; only indexes into
// the tables change. Points are taken out by first making a smaller batch in memory.
#include <stdlib.h>

#include "protocol/bb_batch_codec.h"

// ---- whole parts ----

// Old index -> new index + 1 of the entries that kept runs use; 0 is unused.
typedef struct {
    uint32_t *batteries, *shapes, *states;
} s_maps_t;

static bool s_is_kept(const bool *keep, uint32_t part_index)
{
    return !keep || keep[part_index];
}

// Marks the states of a run's STATE columns.
static void s_mark_states(const bb_batch_t *from, const bb_batch_cursor_t *at, uint32_t *states)
{
    const bb_batch_shape_t *shape = &from->shapes[at->run->shape];
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (shape->types[m] != BB_TYPE_STATE) {
            continue;
        }
        const uint64_t *value = from->values + at->value_first + m;
        for (uint32_t f = 0; f < at->run->frame_count; f++, value += shape->metric_count) {
            states[*value] = 1;
        }
    }
}

// Counts what is kept into `layout` and marks the table entries that it uses.
static void s_count(const bb_batch_t *from, const bool *keep, bb_batch_t *layout, s_maps_t *maps)
{
    bb_batch_cursor_t at;
    for (uint32_t p = 0; p < from->part_count; p++) {
        layout->part_count += s_is_kept(keep, p);
    }
    bb_batch_cursor_start(from, &at);
    while (bb_batch_cursor_next(from, &at)) {
        if (!s_is_kept(keep, at.part_index)) {
            continue;
        }
        const bb_batch_shape_t *shape = &from->shapes[at.run->shape];
        layout->run_count++;
        layout->frame_count += at.run->frame_count;
        layout->value_count += (uint64_t)at.run->frame_count * shape->metric_count;
        maps->batteries[at.run->battery] = 1;
        maps->shapes[at.run->shape] = 1;
        if (shape->has_states) {
            s_mark_states(from, &at, maps->states);
        }
    }
}

// Turns marks into new indexes + 1; returns how many there are.
static uint32_t s_number(uint32_t *map, uint32_t count)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (map[i]) {
            map[i] = ++used;
        }
    }
    return used;
}

typedef struct {
    bb_batch_battery_t *batteries;
    bb_batch_shape_t *shapes;
    bb_slice_t *states;
} s_tables_t;

static s_tables_t s_tables_new(const bb_batch_t *from, const s_maps_t *maps, bb_batch_t *layout)
{
    layout->battery_count = s_number(maps->batteries, from->battery_count);
    layout->shape_count = s_number(maps->shapes, from->shape_count);
    layout->state_count = s_number(maps->states, from->state_count);
    s_tables_t tables = {
        .batteries = bb_alloc(layout->battery_count * sizeof *tables.batteries),
        .shapes = bb_alloc(layout->shape_count * sizeof *tables.shapes),
        .states = bb_alloc(layout->state_count * sizeof *tables.states),
    };
    for (uint32_t i = 0; i < from->battery_count; i++) {
        if (maps->batteries[i]) {
            tables.batteries[maps->batteries[i] - 1] = from->batteries[i];
        }
    }
    for (uint32_t i = 0; i < from->shape_count; i++) {
        if (maps->shapes[i]) {
            tables.shapes[maps->shapes[i] - 1] = from->shapes[i];
        }
    }
    for (uint32_t i = 0; i < from->state_count; i++) {
        if (maps->states[i]) {
            tables.states[maps->states[i] - 1] = from->states[i];
        }
    }
    layout->batteries = tables.batteries;
    layout->shapes = tables.shapes;
    layout->states = tables.states;
    return tables;
}

static void s_renumber_states(const bb_batch_shape_t *shape, uint32_t frame_count,
                              const uint32_t *states, uint64_t *values)
{
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (shape->types[m] != BB_TYPE_STATE) {
            continue;
        }
        uint64_t *value = values + m;
        for (uint32_t f = 0; f < frame_count; f++, value += shape->metric_count) {
            *value = states[*value] - 1;
        }
    }
}

static void s_fill(const bb_batch_t *from, const bool *keep, const s_maps_t *maps,
                   const bb_batch_vectors_t *to)
{
    bb_batch_cursor_t at;
    uint32_t run = 0, frame = 0, part_count = 0, part_index = UINT32_MAX;
    uint64_t value = 0;
    bb_batch_cursor_start(from, &at);
    while (bb_batch_cursor_next(from, &at)) {
        if (!s_is_kept(keep, at.part_index)) {
            continue;
        }
        if (at.part_index != part_index) {
            part_index = at.part_index;
            to->parts[part_count] = *at.part;
            to->parts[part_count++].run_first = run;
        }
        const bb_batch_shape_t *shape = &from->shapes[at.run->shape];
        uint32_t frame_count = at.run->frame_count;
        uint64_t value_count = (uint64_t)frame_count * shape->metric_count;
        to->runs[run++] = (bb_batch_run_t){.battery = maps->batteries[at.run->battery] - 1,
                                           .shape = maps->shapes[at.run->shape] - 1,
                                           .frame_count = frame_count};
        memcpy(to->times_wall_ns + frame, from->times_wall_ns + at.frame_first,
               frame_count * sizeof *to->times_wall_ns);
        memcpy(to->values + value, from->values + at.value_first, value_count * sizeof *to->values);
        if (shape->has_states) {
            s_renumber_states(shape, frame_count, maps->states, to->values + value);
        }
        frame += frame_count;
        value += value_count;
    }
}

// `keep` may be NULL: all parts.
static bb_error_t s_write(const bb_batch_t *from, const bool *keep, uint8_t **out,
                          size_t *out_length)
{
    bb_batch_t layout = {.revision = from->revision, .generation = from->generation};
    s_maps_t maps = {
        .batteries = bb_alloc_zero(from->battery_count, sizeof(uint32_t)),
        .shapes = bb_alloc_zero(from->shape_count, sizeof(uint32_t)),
        .states = bb_alloc_zero(from->state_count, sizeof(uint32_t)),
    };
    s_count(from, keep, &layout, &maps);
    bb_error_t error = layout.part_count > 0 ? BB_OK : BB_ERR_NOT_FOUND;
    if (error == BB_OK) {
        s_tables_t tables = s_tables_new(from, &maps, &layout);
        bb_batch_vectors_t vectors;
        uint8_t *bytes;
        size_t length;
        bb_batch_flat_write(&layout, &bytes, &length, &vectors);
        if (length > BB_BATCH_BYTES_MAX) {
            free(bytes);
            error = BB_ERR_BATCH_BYTES;
        } else {
            s_fill(from, keep, &maps, &vectors);
            *out = bytes;
            *out_length = length;
        }
        free(tables.batteries);
        free(tables.shapes);
        free(tables.states);
    }
    free(maps.batteries);
    free(maps.shapes);
    free(maps.states);
    return error;
}

// ---- single points ----

#define S_MASK_WORDS   (BB_FRAME_METRICS_MAX / 64)
#define S_VARIANTS_MAX BB_BATCH_SHAPES_MAX
#define S_SLOTS        (2 * S_VARIANTS_MAX) // power of two, never more than half full

// A shape without some of its metrics.
typedef struct {
    uint32_t shape; // of the original
    uint64_t kept[S_MASK_WORDS];
} s_variant_t;

// The smaller batch while it grows. Its arrays are as large as the original's: nothing grows.
typedef struct {
    const bb_batch_t *from;
    bb_batch_part_t *parts;
    bb_batch_run_t *runs;
    int64_t *times_wall_ns;
    uint64_t *values;
    uint32_t part_count, run_count, frame_count, variant_count;
    uint64_t value_count;
    size_t variant_bytes;     // about what the variants' names take when encoded
    bb_batch_shape_t *shapes; // the original ones, then the variants
    uint32_t shape_capacity;
    s_variant_t *variants;
    uint32_t slots[S_SLOTS]; // variant + 1
} s_filter_t;

static uint32_t s_variant_slot(const s_variant_t *variant)
{
    uint64_t hash = variant->shape;
    for (int i = 0; i < S_MASK_WORDS; i++) {
        hash = (hash ^ variant->kept[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (uint32_t)hash & (S_SLOTS - 1);
}

static void s_shape_add(s_filter_t *self, const s_variant_t *variant)
{
    const bb_batch_shape_t *shape = &self->from->shapes[variant->shape];
    uint32_t shape_count = self->from->shape_count + self->variant_count;
    bb_slice_t *names = bb_alloc(shape->metric_count * (sizeof *names + 1));
    uint8_t *types = (uint8_t *)(names + shape->metric_count);
    bb_batch_shape_t added = {.names = names, .types = types};
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (variant->kept[m / 64] >> m % 64 & 1) {
            names[added.metric_count] = shape->names[m];
            types[added.metric_count++] = shape->types[m];
            added.has_states |= shape->types[m] == BB_TYPE_STATE;
            added.has_bools |= shape->types[m] == BB_TYPE_BOOL;
            self->variant_bytes += shape->names[m].length + 10;
        }
    }
    if (shape_count == self->shape_capacity) {
        self->shape_capacity = 2 * shape_count + 16;
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
        self->variants = bb_realloc(self->variants, self->shape_capacity * sizeof *self->variants);
    }
    self->shapes[shape_count] = added;
    self->variants[self->variant_count++] = *variant;
}

// The index of the shape that is `variant`. BB_ERR_LIMIT or BB_ERR_BATCH_BYTES: too many.
static bb_error_t s_variant_shape(s_filter_t *self, const s_variant_t *variant, uint32_t *shape)
{
    uint32_t slot = s_variant_slot(variant);
    while (self->slots[slot]) {
        const s_variant_t *other = &self->variants[self->slots[slot] - 1];
        if (other->shape == variant->shape &&
            memcmp(other->kept, variant->kept, sizeof variant->kept) == 0) {
            *shape = self->from->shape_count + self->slots[slot] - 1;
            return BB_OK;
        }
        slot = (slot + 1) & (S_SLOTS - 1);
    }
    if (self->variant_count == S_VARIANTS_MAX) {
        return BB_ERR_LIMIT;
    }
    *shape = self->from->shape_count + self->variant_count;
    s_shape_add(self, variant);
    self->slots[slot] = self->variant_count;
    return self->variant_bytes > BB_BATCH_BYTES_MAX ? BB_ERR_BATCH_BYTES : BB_OK;
}

// Appends what is kept of one frame. `run_first`: runs from here on came of the same run.
static bb_error_t s_filter_frame(s_filter_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                                 uint32_t run_first, bb_batch_keep_point_fn keep_point,
                                 void *context)
{
    const bb_batch_shape_t *shape = &self->from->shapes[at->run->shape];
    const uint64_t *row =
        self->from->values + at->value_first + (uint64_t)frame * shape->metric_count;
    uint64_t *kept = self->values + self->value_count;
    s_variant_t variant = {.shape = at->run->shape};
    uint32_t count = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (keep_point(context, at, at->frame_first + frame, m)) {
            variant.kept[m / 64] |= UINT64_C(1) << m % 64;
            kept[count++] = row[m];
        }
    }
    if (count == 0) {
        return BB_OK;
    }
    uint32_t new_shape = at->run->shape;
    if (count < shape->metric_count) {
        bb_error_t error = s_variant_shape(self, &variant, &new_shape);
        if (error != BB_OK) {
            return error;
        }
    }
    if (self->run_count == run_first || self->runs[self->run_count - 1].shape != new_shape) {
        self->runs[self->run_count++] =
            (bb_batch_run_t){.battery = at->run->battery, .shape = new_shape};
        self->parts[self->part_count - 1].run_count++;
    }
    self->runs[self->run_count - 1].frame_count++;
    self->parts[self->part_count - 1].frame_count++;
    self->times_wall_ns[self->frame_count++] = self->from->times_wall_ns[at->frame_first + frame];
    self->value_count += count;
    return BB_OK;
}

static bb_error_t s_filter(s_filter_t *self, const bool *keep, bb_batch_keep_point_fn keep_point,
                           void *context)
{
    bb_batch_cursor_t at;
    uint32_t part_index = UINT32_MAX;
    bb_batch_cursor_start(self->from, &at);
    while (bb_batch_cursor_next(self->from, &at)) {
        if (!s_is_kept(keep, at.part_index)) {
            continue;
        }
        if (at.part_index != part_index) {
            part_index = at.part_index;
            // A part that was left empty is overwritten by the next one.
            bool is_empty =
                self->part_count > 0 && self->parts[self->part_count - 1].run_count == 0;
            self->part_count += !is_empty;
            self->parts[self->part_count - 1] =
                (bb_batch_part_t){.partition = at.part->partition, .run_first = self->run_count};
        }
        uint32_t run_first = self->run_count;
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            bb_error_t error = s_filter_frame(self, &at, f, run_first, keep_point, context);
            if (error != BB_OK) {
                return error;
            }
        }
    }
    if (self->part_count > 0 && self->parts[self->part_count - 1].run_count == 0) {
        self->part_count--;
    }
    return BB_OK;
}

static s_filter_t *s_filter_new(const bb_batch_t *from)
{
    s_filter_t *self = bb_alloc_zero(1, sizeof *self);
    self->from = from;
    self->parts = bb_alloc(from->part_count * sizeof *self->parts);
    self->runs = bb_alloc(from->frame_count * sizeof *self->runs);
    self->times_wall_ns = bb_alloc(from->frame_count * sizeof *self->times_wall_ns);
    self->values = bb_alloc(from->value_count * sizeof *self->values);
    self->shape_capacity = from->shape_count;
    self->shapes = bb_alloc(from->shape_count * sizeof *self->shapes);
    memcpy(self->shapes, from->shapes, from->shape_count * sizeof *self->shapes);
    self->variants = bb_alloc(from->shape_count * sizeof *self->variants);
    return self;
}

static void s_filter_destroy(s_filter_t *self)
{
    for (uint32_t i = 0; i < self->variant_count; i++) {
        free((void *)(uintptr_t)self->shapes[self->from->shape_count + i].names);
    }
    free(self->parts);
    free(self->runs);
    free(self->times_wall_ns);
    free(self->values);
    free(self->shapes);
    free(self->variants);
    free(self);
}

bb_error_t bb_batch_subset(const bb_batch_t *batch, const bool *keep,
                           bb_batch_keep_point_fn keep_point, void *context, uint8_t **out,
                           size_t *out_length)
{
    BB_ASSERT(keep);
    if (!keep_point) {
        return s_write(batch, keep, out, out_length);
    }
    s_filter_t *filter = s_filter_new(batch);
    bb_error_t error = s_filter(filter, keep, keep_point, context);
    if (error == BB_OK) {
        bb_batch_t kept = *batch;
        kept.part_count = filter->part_count;
        kept.run_count = filter->run_count;
        kept.frame_count = filter->frame_count;
        kept.value_count = filter->value_count;
        kept.shape_count = batch->shape_count + filter->variant_count;
        kept.parts = filter->parts;
        kept.runs = filter->runs;
        kept.times_wall_ns = filter->times_wall_ns;
        kept.values = filter->values;
        kept.shapes = filter->shapes;
        error = s_write(&kept, NULL, out, out_length);
    }
    s_filter_destroy(filter);
    return error;
}

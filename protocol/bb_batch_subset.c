// SPDX-License-Identifier: Apache-2.0
// Takes points out of a batch; whole parts: bb_batch_parts.c. Order is kept: of parts, of runs and
// of frames, so that frame indexes can be mapped by counting. First it is written down which frames
// stay, and of which shape they are then; then each column is unpacked once, and what stays of it
// is packed again.
#include <stdlib.h>

#include "protocol/bb_batch_draft.h"
#include "protocol/bb_batch_parts.h"

#define S_MASK_WORDS   (BB_FRAME_METRICS_MAX / 64)
#define S_VARIANTS_MAX BB_BATCH_SHAPES_MAX
#define S_SLOTS        (2 * S_VARIANTS_MAX) // power of two, never more than half full

// A shape without some of its metrics.
typedef struct {
    uint32_t shape; // of the original
    uint64_t kept[S_MASK_WORDS];
} s_variant_t;

// The smaller batch while it grows. Its arrays are as large as the original's: nothing grows but
// the shapes. Shapes: the original ones, then the variants.
typedef struct {
    const bb_batch_t *from;
    bb_batch_part_t *parts;
    bb_batch_run_t *runs; // of old batteries
    int64_t *times_wall_ns;
    uint32_t *sources; // per frame: its place in the columns of its old shape
    uint32_t part_count, run_count, frame_count, variant_count;
    size_t variant_bytes;     // about what the variants' names and columns take when encoded
    bb_batch_shape_t *shapes; // frame_count: of what is kept
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

static bool s_variant_has(const s_variant_t *variant, uint32_t metric)
{
    return variant->kept[metric / 64] >> metric % 64 & 1;
}

static void s_shape_add(s_filter_t *self, const s_variant_t *variant)
{
    const bb_batch_shape_t *shape = &self->from->shapes[variant->shape];
    uint32_t shape_count = self->from->shape_count + self->variant_count;
    bb_slice_t *names = bb_alloc(shape->metric_count * (sizeof *names + 1));
    uint8_t *types = (uint8_t *)(names + shape->metric_count);
    bb_batch_shape_t added = {.names = names, .types = types};
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (s_variant_has(variant, m)) {
            names[added.metric_count] = shape->names[m];
            types[added.metric_count++] = shape->types[m];
            added.has_states |= shape->types[m] == BB_TYPE_STATE;
            added.has_bools |= shape->types[m] == BB_TYPE_BOOL;
            self->variant_bytes += shape->names[m].length + 10 + BB_COLUMN_BYTES_MIN;
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

// Appends a frame of a run. `run_first`: runs from here on came of the same.
static void s_take(s_filter_t *self, const bb_batch_cursor_t *at, uint32_t frame, uint32_t shape,
                   uint32_t run_first)
{
    if (self->run_count == run_first || self->runs[self->run_count - 1].shape != shape) {
        self->runs[self->run_count++] =
            (bb_batch_run_t){.battery = at->run->battery, .shape = shape};
        self->parts[self->part_count - 1].run_count++;
    }
    self->runs[self->run_count - 1].frame_count++;
    self->shapes[shape].frame_count++;
    self->times_wall_ns[self->frame_count] = self->from->times_wall_ns[at->frame_first + frame];
    self->sources[self->frame_count++] = at->shape_first + frame;
}

// Appends what is kept of one frame.
static bb_error_t s_filter_frame(s_filter_t *self, const bb_batch_cursor_t *at, uint32_t frame,
                                 uint32_t run_first, bb_batch_keep_point_fn keep_point,
                                 void *context)
{
    const bb_batch_shape_t *shape = &self->from->shapes[at->run->shape];
    s_variant_t variant = {.shape = at->run->shape};
    uint32_t count = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (keep_point(context, at, at->frame_first + frame, m)) {
            variant.kept[m / 64] |= UINT64_C(1) << m % 64;
            count++;
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
    s_take(self, at, frame, new_shape, run_first);
    return BB_OK;
}

static bb_error_t s_filter(s_filter_t *self, const bool *keep, bb_batch_keep_point_fn keep_point,
                           void *context)
{
    bb_batch_cursor_t at;
    uint32_t part_index = UINT32_MAX;
    bb_batch_cursor_start(self->from, &at);
    while (bb_batch_cursor_next(self->from, &at)) {
        if (!keep[at.part_index]) {
            continue;
        }
        if (at.part_index != part_index) {
            part_index = at.part_index;
            // A part that was left empty is overwritten by the next one.
            bool is_empty =
                self->part_count > 0 && self->parts[self->part_count - 1].run_count == 0;
            self->part_count += !is_empty;
            self->parts[self->part_count - 1] = (bb_batch_part_t){.partition = at.part->partition};
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
    return self->part_count > 0 ? BB_OK : BB_ERR_NOT_FOUND;
}

// ---- columns ----

// Where each shape's frames and values begin.
typedef struct {
    size_t frame, value;
} s_place_t;

static uint32_t s_shape_count(const s_filter_t *self)
{
    return self->from->shape_count + self->variant_count;
}

// Sources of frames in the order of shapes; fills `places`. Returns how many values there are.
static size_t s_order_sources(const s_filter_t *self, s_place_t *places, uint32_t *ordered)
{
    s_place_t next = {0, 0};
    for (uint32_t s = 0; s < s_shape_count(self); s++) {
        places[s] = next;
        next.frame += self->shapes[s].frame_count;
        next.value += (size_t)self->shapes[s].frame_count * self->shapes[s].metric_count;
    }
    const uint32_t *source = self->sources;
    for (uint32_t r = 0; r < self->run_count; r++) {
        const bb_batch_run_t *run = &self->runs[r];
        memcpy(ordered + places[run->shape].frame, source, run->frame_count * sizeof *ordered);
        places[run->shape].frame += run->frame_count;
        source += run->frame_count;
    }
    for (uint32_t s = 0; s < s_shape_count(self); s++) {
        places[s].frame -= self->shapes[s].frame_count;
    }
    return next.value;
}

// What one new shape keeps of one unpacked column goes to its next column.
static void s_gather(const s_filter_t *self, uint32_t shape, const uint64_t *column,
                     const uint32_t *ordered, s_place_t *place, uint64_t *values)
{
    const uint32_t *sources = ordered + place->frame;
    uint64_t *to = values + place->value;
    uint32_t count = self->shapes[shape].frame_count;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = column[sources[i]];
    }
    place->value += count;
}

// Places are moved behind what is filled. Variants of one old shape are next to each other in
// `by_shape`.
static void s_fill_shape(const s_filter_t *self, uint32_t shape, const uint32_t *variants,
                         uint32_t variant_count, const uint32_t *ordered, s_place_t *places,
                         uint64_t *values)
{
    const bb_batch_shape_t *from = &self->from->shapes[shape];
    if (self->shapes[shape].frame_count == 0 && variant_count == 0) {
        return;
    }
    uint64_t *column = bb_alloc(from->frame_count * sizeof *column);
    for (uint32_t m = 0; m < from->metric_count; m++) {
        bb_batch_unpack(self->from, shape, m, 0, from->frame_count, column);
        s_gather(self, shape, column, ordered, &places[shape], values);
        for (uint32_t v = 0; v < variant_count; v++) {
            if (s_variant_has(&self->variants[variants[v]], m)) {
                uint32_t new_shape = self->from->shape_count + variants[v];
                s_gather(self, new_shape, column, ordered, &places[new_shape], values);
            }
        }
    }
    free(column);
}

// All values that are kept, in the order of a draft. Owned by the caller.
static uint64_t *s_fill(const s_filter_t *self)
{
    uint32_t old_count = self->from->shape_count;
    s_place_t *places = bb_alloc(s_shape_count(self) * sizeof *places);
    uint32_t *ordered = bb_alloc(self->frame_count * sizeof *ordered);
    uint64_t *values = bb_alloc(s_order_sources(self, places, ordered) * sizeof *values);
    // Variants by their old shape, by counting.
    uint32_t *firsts = bb_alloc_zero((size_t)old_count + 1, sizeof *firsts);
    uint32_t *variants = bb_alloc(self->variant_count * sizeof *variants);
    for (uint32_t v = 0; v < self->variant_count; v++) {
        firsts[self->variants[v].shape]++;
    }
    for (uint32_t s = 0, first = 0; s <= old_count; s++) {
        uint32_t count = firsts[s];
        firsts[s] = first;
        first += count;
    }
    for (uint32_t v = 0; v < self->variant_count; v++) {
        variants[firsts[self->variants[v].shape]++] = v;
    }
    for (uint32_t s = 0; s < old_count; s++) {
        uint32_t first = s == 0 ? 0 : firsts[s - 1]; // each was moved to the next one's beginning
        s_fill_shape(self, s, variants + first, firsts[s] - first, ordered, places, values);
    }
    free(firsts);
    free(variants);
    free(places);
    free(ordered);
    return values;
}

// ---- tables ----

static void s_mark_states(uint64_t *words, uint32_t count, uint32_t *map)
{
    for (uint32_t i = 0; i < count; i++) {
        map[words[i]] = 1;
    }
}

static void s_renumber_states(uint64_t *words, uint32_t count, uint32_t *map)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = map[words[i]] - 1;
    }
}

// Calls `visit` for every column of states. `values` are those of all shapes with frames.
static void s_visit_states(const bb_batch_shape_t *shapes, uint32_t shape_count, uint64_t *values,
                           uint32_t *map,
                           void (*visit)(uint64_t *words, uint32_t count, uint32_t *map))
{
    for (uint32_t s = 0; s < shape_count; s++) {
        for (uint32_t m = 0; m < shapes[s].metric_count; m++) {
            if (shapes[s].types[m] == BB_TYPE_STATE) {
                visit(values, shapes[s].frame_count, map);
            }
            values += shapes[s].frame_count;
        }
    }
}

// Old index -> new index + 1; 0 is unused.
typedef struct {
    uint32_t *batteries, *shapes, *states;
} s_maps_t;

static void s_map(const s_filter_t *self, uint64_t *values, const s_maps_t *maps, bb_batch_t *to)
{
    for (uint32_t r = 0; r < self->run_count; r++) {
        maps->batteries[self->runs[r].battery] = 1;
        maps->shapes[self->runs[r].shape] = 1;
    }
    s_visit_states(self->shapes, s_shape_count(self), values, maps->states, s_mark_states);
    to->battery_count = bb_batch_parts_number(maps->batteries, self->from->battery_count);
    to->shape_count = bb_batch_parts_number(maps->shapes, s_shape_count(self));
    to->state_count = bb_batch_parts_number(maps->states, self->from->state_count);
    s_visit_states(self->shapes, s_shape_count(self), values, maps->states, s_renumber_states);
    for (uint32_t r = 0; r < self->run_count; r++) {
        self->runs[r].battery = maps->batteries[self->runs[r].battery] - 1;
        self->runs[r].shape = maps->shapes[self->runs[r].shape] - 1;
    }
}

// Copies the entries that are used.
#define S_COPY_USED(to, from, map, count)                                                          \
    do {                                                                                           \
        for (uint32_t i_ = 0; i_ < (count); i_++) {                                                \
            if ((map)[i_]) {                                                                       \
                (to)[(map)[i_] - 1] = (from)[i_];                                                  \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static bb_error_t s_write(const s_filter_t *self, uint8_t **out, size_t *out_length)
{
    const bb_batch_t *from = self->from;
    uint64_t *values = s_fill(self);
    s_maps_t maps = {
        .batteries = bb_alloc_zero(from->battery_count, sizeof(uint32_t)),
        .shapes = bb_alloc_zero(s_shape_count(self), sizeof(uint32_t)),
        .states = bb_alloc_zero(from->state_count, sizeof(uint32_t)),
    };
    bb_batch_draft_t draft = {.tables = {.revision = from->revision,
                                         .generation = from->generation,
                                         .part_count = self->part_count,
                                         .run_count = self->run_count,
                                         .frame_count = self->frame_count,
                                         .parts = self->parts,
                                         .runs = self->runs,
                                         .times_wall_ns = self->times_wall_ns},
                              .values = values};
    s_map(self, values, &maps, &draft.tables);
    bb_batch_battery_t *batteries = bb_alloc(draft.tables.battery_count * sizeof *batteries);
    bb_batch_shape_t *shapes = bb_alloc(draft.tables.shape_count * sizeof *shapes);
    bb_slice_t *states = bb_alloc(draft.tables.state_count * sizeof *states);
    S_COPY_USED(batteries, from->batteries, maps.batteries, from->battery_count);
    S_COPY_USED(shapes, self->shapes, maps.shapes, s_shape_count(self));
    S_COPY_USED(states, from->states, maps.states, from->state_count);
    draft.tables.batteries = batteries;
    draft.tables.shapes = shapes;
    draft.tables.states = states;
    bb_error_t error = bb_batch_draft_write(&draft, out, out_length);
    free(batteries);
    free(shapes);
    free(states);
    free(maps.batteries);
    free(maps.shapes);
    free(maps.states);
    free(values);
    return error;
}

static s_filter_t *s_filter_new(const bb_batch_t *from)
{
    s_filter_t *self = bb_alloc_zero(1, sizeof *self);
    self->from = from;
    self->parts = bb_alloc(from->part_count * sizeof *self->parts);
    self->runs = bb_alloc(from->frame_count * sizeof *self->runs);
    self->times_wall_ns = bb_alloc(from->frame_count * sizeof *self->times_wall_ns);
    self->sources = bb_alloc(from->frame_count * sizeof *self->sources);
    self->shape_capacity = from->shape_count;
    self->shapes = bb_alloc(from->shape_count * sizeof *self->shapes);
    memcpy(self->shapes, from->shapes, from->shape_count * sizeof *self->shapes);
    for (uint32_t s = 0; s < from->shape_count; s++) {
        self->shapes[s].frame_count = 0;
    }
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
    free(self->sources);
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
        return bb_batch_parts(batch, keep, out, out_length);
    }
    s_filter_t *filter = s_filter_new(batch);
    bb_error_t error = s_filter(filter, keep, keep_point, context);
    error = error == BB_OK ? s_write(filter, out, out_length) : error;
    s_filter_destroy(filter);
    return error;
}

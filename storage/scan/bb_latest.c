// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_latest.h"

#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_hash.h"
#include "storage/head/bb_text_pool.h"

#define S_SHAPE_BUCKETS 256u
#define S_SHAPES_MAX    65536u
// Rows of one battery; a device has one or two shapes, and a look-up walks all of them.
#define S_ROWS_MAX 16u

typedef struct {
    bb_latest_row_t *rows;
    int64_t bound_wall_ns;
} s_battery_t;

struct bb_latest {
    bb_arena_t arena;
    uint64_t bytes_max;
    int64_t bound_wall_ns; // of batteries that have no entry
    s_battery_t *batteries;
    uint32_t battery_capacity;
    bb_latest_shape_t *shapes[S_SHAPE_BUCKETS];
    uint32_t shape_count;
    bb_text_pool_t texts;
};

bb_latest_t *bb_latest_new(int64_t bound_wall_ns, uint64_t bytes_max)
{
    bb_latest_t *self = bb_alloc_zero(1, sizeof *self);
    self->bound_wall_ns = bound_wall_ns;
    self->bytes_max = bytes_max;
    return self;
}

void bb_latest_destroy(bb_latest_t **self)
{
    if (*self) {
        bb_arena_free(&(*self)->arena);
        free((*self)->batteries);
        bb_text_pool_free(&(*self)->texts);
        free(*self);
        *self = NULL;
    }
}

uint64_t bb_latest_bytes(const bb_latest_t *self)
{
    return self->arena.used_bytes + (uint64_t)self->battery_capacity * sizeof *self->batteries +
           bb_text_pool_bytes(&self->texts);
}

static bool s_has_room(const bb_latest_t *self, size_t bytes)
{
    return self->arena.used_bytes + bytes <= self->bytes_max;
}

// ---- shapes ----------------------------------------------------------------------------------
const bb_latest_shape_t *bb_latest_shape(bb_latest_t *self, const uint32_t *metrics,
                                         const uint8_t *types, uint32_t metric_count)
{
    uint64_t hash = bb_hash_bytes(0, metrics, metric_count * sizeof *metrics);
    hash = bb_hash_bytes(hash, types, metric_count);
    bb_latest_shape_t **bucket = &self->shapes[hash % S_SHAPE_BUCKETS];
    for (bb_latest_shape_t *shape = *bucket; shape; shape = shape->next) {
        if (shape->hash == hash && shape->metric_count == metric_count &&
            memcmp(shape->metrics, metrics, metric_count * sizeof *metrics) == 0 &&
            memcmp(shape->types, types, metric_count) == 0) {
            return shape;
        }
    }
    size_t bytes = sizeof(bb_latest_shape_t) + metric_count * (sizeof *metrics + 1);
    if (self->shape_count == S_SHAPES_MAX || !s_has_room(self, bytes)) {
        return NULL;
    }
    bb_latest_shape_t *shape = bb_arena_alloc(&self->arena, sizeof *shape);
    *shape = (bb_latest_shape_t){
        .metric_count = metric_count,
        .metrics = bb_arena_copy(&self->arena, metrics, metric_count * sizeof *metrics),
        .types = bb_arena_copy(&self->arena, types, metric_count),
        .has_states = memchr(types, BB_TYPE_STATE, metric_count) != NULL,
        .hash = hash,
        .next = *bucket,
    };
    *bucket = shape;
    self->shape_count++;
    return shape;
}

// ---- texts -----------------------------------------------------------------------------------
// The text of the cache's own; NULL when there is no room for it.
static const bb_text_t *s_keep_text(bb_latest_t *self, const bb_text_t *text)
{
    bb_slice_t bytes = bb_slice(text->bytes, text->length);
    bool has_room = s_has_room(self, sizeof *text + text->length + 2 * sizeof(const bb_text_t *));
    return has_room ? bb_text_pool_keep(&self->texts, &self->arena, bytes)
                    : bb_text_pool_find(&self->texts, bytes);
}

static bool s_keep_texts(bb_latest_t *self, const bb_latest_shape_t *shape, const uint64_t *values)
{
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (shape->types[m] == BB_TYPE_STATE && !s_keep_text(self, bb_text_of_bits(values[m]))) {
            return false;
        }
    }
    return true;
}

// ---- rows ------------------------------------------------------------------------------------
static s_battery_t *s_battery(bb_latest_t *self, uint32_t battery)
{
    if (battery >= self->battery_capacity) {
        uint32_t capacity =
            BB_MAX(battery + 1, self->battery_capacity + self->battery_capacity / 2);
        self->batteries = bb_realloc(self->batteries, capacity * sizeof *self->batteries);
        for (uint32_t i = self->battery_capacity; i < capacity; i++) {
            self->batteries[i] = (s_battery_t){NULL, self->bound_wall_ns};
        }
        self->battery_capacity = capacity;
    }
    return &self->batteries[battery];
}

static uint64_t s_own(bb_latest_t *self, const bb_latest_shape_t *shape, uint32_t metric,
                      uint64_t bits)
{
    if (shape->types[metric] != BB_TYPE_STATE) {
        return bits;
    }
    const bb_text_t *kept = s_keep_text(self, bb_text_of_bits(bits)); // there already
    return (uint64_t)(uintptr_t)kept;
}

static void s_merge(bb_latest_t *self, bb_latest_row_t *row, int64_t time_wall_ns,
                    uint64_t revision, const uint64_t *values)
{
    const bb_latest_shape_t *shape = row->shape;
    bool is_same = row->time_wall_ns == time_wall_ns && row->revision == revision;
    bool is_newer = time_wall_ns > row->time_wall_ns ||
                    (time_wall_ns == row->time_wall_ns && revision > row->revision);
    if (!is_same && !is_newer) {
        return;
    }
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        bb_type_t type = (bb_type_t)shape->types[m];
        if (is_newer || bb_value_compare(0, (bb_value_t){type, values[m]}, 0,
                                         (bb_value_t){type, row->values[m]}) > 0) {
            row->values[m] = s_own(self, shape, m, values[m]);
        }
    }
    row->time_wall_ns = time_wall_ns;
    row->revision = revision;
}

static bb_latest_row_t *s_row_add(bb_latest_t *self, s_battery_t *battery,
                                  const bb_latest_shape_t *shape, uint32_t row_count)
{
    size_t bytes = sizeof(bb_latest_row_t) + shape->metric_count * sizeof(uint64_t);
    if (row_count >= S_ROWS_MAX || !s_has_room(self, bytes)) {
        return NULL;
    }
    bb_latest_row_t *row = bb_arena_alloc(&self->arena, bytes);
    *row = (bb_latest_row_t){.next = battery->rows, .shape = shape, .time_wall_ns = INT64_MIN};
    battery->rows = row;
    return row;
}

void bb_latest_put(bb_latest_t *self, uint32_t battery, const bb_latest_shape_t *shape,
                   int64_t time_wall_ns, uint64_t revision, const uint64_t *values)
{
    BB_ASSERT(time_wall_ns >= 0);
    s_battery_t *entry = s_battery(self, battery);
    if (time_wall_ns <= entry->bound_wall_ns) {
        return; // such a row says nothing
    }
    bb_latest_row_t *row = entry->rows;
    uint32_t row_count = 0;
    while (row && row->shape != shape) {
        row = row->next;
        row_count++;
    }
    bool is_kept = shape && (!shape->has_states || s_keep_texts(self, shape, values));
    if (is_kept && !row) {
        row = s_row_add(self, entry, shape, row_count);
    }
    if (is_kept && row) {
        s_merge(self, row, time_wall_ns, revision, values);
    } else {
        entry->bound_wall_ns = time_wall_ns;
    }
}

void bb_latest_forget(bb_latest_t *self, int64_t limit_wall_ns)
{
    for (uint32_t i = 0; self && i < self->battery_capacity; i++) {
        s_battery_t *entry = &self->batteries[i];
        for (bb_latest_row_t **link = &entry->rows; *link;) {
            bb_latest_row_t *row = *link; // its memory goes with the cache
            if (row->time_wall_ns >= limit_wall_ns) {
                link = &row->next;
                continue;
            }
            entry->bound_wall_ns = BB_MAX(entry->bound_wall_ns, row->time_wall_ns);
            *link = row->next;
        }
    }
}

void bb_latest_prefetch(const bb_latest_t *self, uint32_t battery, uint32_t stage)
{
    if (battery >= self->battery_capacity) {
        return;
    }
    if (stage == 0) {
        __builtin_prefetch(&self->batteries[battery]);
    } else if (self->batteries[battery].rows) {
        __builtin_prefetch(self->batteries[battery].rows);
        __builtin_prefetch((const uint8_t *)self->batteries[battery].rows + 64);
    }
}

int64_t bb_latest_bound(const bb_latest_t *self, uint32_t battery)
{
    return battery < self->battery_capacity ? self->batteries[battery].bound_wall_ns
                                            : self->bound_wall_ns;
}

const bb_latest_row_t *bb_latest_first(const bb_latest_t *self, uint32_t battery)
{
    return battery < self->battery_capacity ? self->batteries[battery].rows : NULL;
}

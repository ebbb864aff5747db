// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_head.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_hash.h"

#define S_SHAPE_BUCKETS  256u
#define S_TEXT_SLOTS_MIN 64u
#define S_SLAB_ROWS_MIN  8u
#define S_SLAB_ROWS_MAX  512u
#define S_SLAB_BYTES_MAX (256u << 10) // wide rows get shorter slabs

struct bb_head {
    atomic_uint_fast32_t reference_count;
    bb_arena_t arena;
    uint32_t *shape_serials;
    bb_head_shape_t *shapes[S_SHAPE_BUCKETS];
    const bb_text_t **texts; // open addressing
    uint32_t text_count, text_slots;
    bb_head_group_t **by_battery;
    uint32_t battery_capacity;
    bb_head_group_t *groups, *groups_tail;
    uint64_t group_count, point_count, quarantined_count;
};

bb_head_t *bb_head_new(uint32_t *shape_serials)
{
    bb_head_t *self = bb_alloc_zero(1, sizeof *self);
    atomic_init(&self->reference_count, 1);
    self->shape_serials = shape_serials;
    return self;
}

void bb_head_retain(bb_head_t *self)
{
    atomic_fetch_add_explicit(&self->reference_count, 1, memory_order_relaxed);
}

void bb_head_release(bb_head_t **self)
{
    bb_head_t *head = *self;
    *self = NULL;
    if (!head || atomic_fetch_sub_explicit(&head->reference_count, 1, memory_order_acq_rel) > 1) {
        return;
    }
    bb_arena_free(&head->arena);
    free(head->texts);
    free(head->by_battery);
    free(head);
}

const bb_head_shape_t *bb_head_shape(bb_head_t *self, const uint32_t *metrics, const uint8_t *types,
                                     uint32_t metric_count)
{
    BB_ASSERT(metric_count >= 1);
    uint64_t hash = bb_hash_bytes(metric_count, metrics, metric_count * sizeof *metrics);
    hash = bb_hash_bytes(hash, types, metric_count);
    bb_head_shape_t **bucket = &self->shapes[hash % S_SHAPE_BUCKETS];
    for (bb_head_shape_t *shape = *bucket; shape; shape = shape->next) {
        if (shape->hash == hash && shape->metric_count == metric_count &&
            memcmp(shape->metrics, metrics, metric_count * sizeof *metrics) == 0 &&
            memcmp(shape->types, types, metric_count) == 0) {
            return shape;
        }
    }
    bb_head_shape_t *shape = bb_arena_alloc(&self->arena, sizeof *shape);
    *shape = (bb_head_shape_t){
        .serial = ++*self->shape_serials,
        .metric_count = metric_count,
        .metrics = bb_arena_copy(&self->arena, metrics, metric_count * sizeof *metrics),
        .types = bb_arena_copy(&self->arena, types, metric_count),
        .has_states = memchr(types, BB_TYPE_STATE, metric_count) != NULL,
        .hash = hash,
        .next = *bucket,
    };
    *bucket = shape;
    return shape;
}

static void s_grow_texts(bb_head_t *self)
{
    const bb_text_t **old = self->texts;
    uint32_t old_slots = self->text_slots;
    self->text_slots = old_slots ? old_slots * 2 : S_TEXT_SLOTS_MIN;
    self->texts = bb_alloc_zero(self->text_slots, sizeof *self->texts);
    for (uint32_t i = 0; i < old_slots; i++) {
        if (old[i]) {
            uint64_t slot = bb_hash_bytes(0, old[i]->bytes, old[i]->length);
            while (self->texts[slot & (self->text_slots - 1)]) {
                slot++;
            }
            self->texts[slot & (self->text_slots - 1)] = old[i];
        }
    }
    free(old);
}

const bb_text_t *bb_head_text(bb_head_t *self, bb_slice_t text)
{
    if (self->text_count >= self->text_slots / 2) {
        s_grow_texts(self);
    }
    uint64_t slot = bb_hash_bytes(0, text.data, text.length);
    for (;; slot++) {
        const bb_text_t *known = self->texts[slot & (self->text_slots - 1)];
        if (!known) {
            break;
        }
        if (known->length == text.length &&
            (text.length == 0 || memcmp(known->bytes, text.data, text.length) == 0)) {
            return known;
        }
    }
    bb_text_t *fresh = bb_arena_alloc(&self->arena, sizeof *fresh + text.length);
    fresh->length = (uint32_t)text.length;
    if (text.length > 0) {
        memcpy(fresh->bytes, text.data, text.length);
    }
    self->texts[slot & (self->text_slots - 1)] = fresh;
    self->text_count++;
    return fresh;
}

static void s_reach(bb_head_t *self, uint32_t battery)
{
    if (battery < self->battery_capacity) {
        return;
    }
    uint32_t capacity = BB_MAX(self->battery_capacity, 64u);
    while (capacity <= battery) {
        capacity *= 2;
    }
    self->by_battery = bb_realloc(self->by_battery, capacity * sizeof(bb_head_group_t *));
    memset(self->by_battery + self->battery_capacity, 0,
           (capacity - self->battery_capacity) * sizeof(bb_head_group_t *));
    self->battery_capacity = capacity;
}

bb_head_group_t *bb_head_group(bb_head_t *self, uint32_t battery, uint32_t partition,
                               const bb_head_shape_t *shape, uint64_t revision, bool is_quarantined)
{
    s_reach(self, battery);
    bb_head_group_t **link = &self->by_battery[battery];
    bb_head_group_t *group = *link;
    while (group && (group->shape != shape || group->revision != revision ||
                     group->is_quarantined != is_quarantined)) {
        link = &group->next_of_battery;
        group = *link;
    }
    if (!group) {
        group = bb_arena_alloc(&self->arena, sizeof *group);
        *group = (bb_head_group_t){
            .shape = shape,
            .revision = revision,
            .battery = battery,
            .partition = (uint16_t)partition,
            .is_quarantined = is_quarantined,
            .is_ascending = true,
            .first_wall_ns = INT64_MAX,
            .last_wall_ns = INT64_MIN,
            .newest_wall_ns = INT64_MIN,
        };
        if (self->groups_tail) {
            self->groups_tail->next_of_all = group;
        } else {
            self->groups = group;
        }
        self->groups_tail = group;
        self->group_count++;
    } else {
        *link = group->next_of_battery;
    }
    // Most recently used first: a device repeats its shape.
    group->next_of_battery = self->by_battery[battery];
    self->by_battery[battery] = group;
    return group;
}

// Room for at least one row; how many rows fit into it.
static uint32_t s_room(bb_head_t *self, bb_head_group_t *group)
{
    if (group->tail && group->tail_rows < group->tail->capacity) {
        return group->tail->capacity - group->tail_rows;
    }
    size_t row_bytes = (1 + (size_t)group->shape->metric_count) * sizeof(uint64_t);
    uint32_t capacity = group->tail ? group->tail->capacity * 2 : S_SLAB_ROWS_MIN;
    uint32_t fitting = (uint32_t)(S_SLAB_BYTES_MAX / row_bytes);
    capacity = BB_MIN(capacity, BB_MIN(S_SLAB_ROWS_MAX, fitting));
    bb_head_slab_t *slab = bb_arena_alloc(&self->arena, sizeof *slab + capacity * row_bytes);
    slab->next = NULL;
    slab->capacity = capacity;
    slab->zero = 0;
    if (group->tail) {
        group->tail->next = slab;
    } else {
        group->slabs = slab;
    }
    group->tail = slab;
    group->tail_rows = 0;
    return capacity;
}

static void s_note_times(bb_head_group_t *group, const int64_t *times_wall_ns, uint32_t count)
{
    int64_t first = group->first_wall_ns;
    int64_t last = group->last_wall_ns;
    int64_t before = group->newest_wall_ns;
    bool ascending = group->is_ascending;
    for (uint32_t i = 0; i < count; i++) {
        int64_t time = times_wall_ns[i];
        ascending &= time > before;
        before = time;
        first = BB_MIN(first, time);
        last = BB_MAX(last, time);
    }
    group->first_wall_ns = first;
    group->last_wall_ns = last;
    group->newest_wall_ns = before;
    group->is_ascending = ascending;
}

void bb_head_append(bb_head_t *self, bb_head_group_t *group, const int64_t *times_wall_ns,
                    const uint64_t *values, uint32_t frame_count, const uint64_t *texts)
{
    const bb_head_shape_t *shape = group->shape;
    size_t width = 1 + (size_t)shape->metric_count;
    s_note_times(group, times_wall_ns, frame_count);
    uint32_t done = 0;
    while (done < frame_count) {
        uint32_t count = BB_MIN(s_room(self, group), frame_count - done);
        uint64_t *row = group->tail->rows + group->tail_rows * width;
        for (uint32_t i = 0; i < count; i++, row += width) {
            row[0] = (uint64_t)times_wall_ns[done + i];
            memcpy(row + 1, values, shape->metric_count * sizeof *values);
            values += shape->metric_count;
            if (shape->has_states) {
                for (uint32_t m = 0; m < shape->metric_count; m++) {
                    if (shape->types[m] == BB_TYPE_STATE) {
                        row[1 + m] = texts[row[1 + m]];
                    }
                }
            }
        }
        group->tail_rows += count;
        done += count;
    }
    group->row_count += frame_count;
    uint64_t point_count = (uint64_t)frame_count * shape->metric_count;
    self->point_count += point_count;
    self->quarantined_count += group->is_quarantined ? point_count : 0;
}

const bb_head_group_t *bb_head_first_of(const bb_head_t *self, uint32_t battery)
{
    return battery < self->battery_capacity ? self->by_battery[battery] : NULL;
}

bb_head_rows_t bb_head_publish(const bb_head_group_t *group)
{
    return (bb_head_rows_t){
        .shape = group->shape,
        .revision = group->revision,
        .row_count = group->row_count,
        .first_wall_ns = group->first_wall_ns,
        .last_wall_ns = group->last_wall_ns,
        .slabs = group->slabs,
        .is_quarantined = group->is_quarantined,
        .is_ascending = group->is_ascending,
    };
}

const bb_head_group_t *bb_head_first(const bb_head_t *self)
{
    return self->groups;
}

uint64_t bb_head_bytes(const bb_head_t *self)
{
    return self->arena.used_bytes;
}

uint64_t bb_head_points(const bb_head_t *self)
{
    return self->point_count;
}

uint64_t bb_head_quarantined_points(const bb_head_t *self)
{
    return self->quarantined_count;
}

uint64_t bb_head_group_count(const bb_head_t *self)
{
    return self->group_count;
}

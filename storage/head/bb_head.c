// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_head.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_hash.h"
#include "storage/head/bb_text_pool.h"

#define S_SHAPE_BUCKETS 256u
// Slabs take 32, 64, 128... bytes.
#define S_SLAB_SPANS_FIRST 2u
#define S_SLAB_SPANS_MIN   6u
#define S_SLAB_SPANS_MAX   254u
#define S_PAGE_NUMBERS     (1u << BB_HEAD_PAGE_BITS)
#define S_CHUNK_PAGES      (1u << BB_HEAD_CHUNK_BITS)
#define S_CHUNKS           (1u << (32u - BB_HEAD_PAGE_BITS - BB_HEAD_CHUNK_BITS))
// Past so many numbers of frames the generation is full; those left are for what is under way.
#define S_NUMBERS_FULL (UINT64_C(3) << 30)

struct bb_head {
    atomic_uint_fast32_t reference_count;
    bb_arena_t arena;
    uint32_t *shape_serials;
    bb_head_shape_t *shapes[S_SHAPE_BUCKETS];
    bb_text_pool_t texts;
    bb_head_group_t **by_battery;
    uint32_t battery_capacity;
    bb_head_group_t *groups, *groups_tail;
    uint64_t group_count, point_count, quarantined_count;
    uint32_t block_count;
    uint64_t number_next;                     // of the next block
    const bb_head_block_t **chunks[S_CHUNKS]; // pages of numbers; set before a number is published
};

bb_head_t *bb_head_new(uint32_t *shape_serials, bb_arena_pool_t *pool)
{
    bb_head_t *self = bb_alloc_zero(1, sizeof *self);
    atomic_init(&self->reference_count, 1);
    self->shape_serials = shape_serials;
    bb_arena_use_pool(&self->arena, pool);
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
    bb_text_pool_free(&head->texts);
    free(head->by_battery);
    free(head);
}

// Insertion sort: at most 256 columns, once per shape and generation.
static void s_sort_columns(const bb_head_shape_t *shape, uint32_t *order)
{
    for (uint32_t i = 0; i < shape->metric_count; i++) {
        uint64_t key = (uint64_t)shape->metrics[i] << 8 | shape->types[i];
        uint32_t at = i;
        while (at > 0 &&
               ((uint64_t)shape->metrics[order[at - 1]] << 8 | shape->types[order[at - 1]]) > key) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
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
    uint32_t *order = bb_arena_alloc(&self->arena, metric_count * sizeof *order);
    *shape = (bb_head_shape_t){
        .serial = ++*self->shape_serials,
        .metric_count = metric_count,
        .metrics = bb_arena_copy(&self->arena, metrics, metric_count * sizeof *metrics),
        .types = bb_arena_copy(&self->arena, types, metric_count),
        .order = order,
        .has_states = memchr(types, BB_TYPE_STATE, metric_count) != NULL,
        .blocks = (const bb_head_block_t *const *const *)self->chunks,
        .hash = hash,
        .next = *bucket,
    };
    s_sort_columns(shape, order);
    *bucket = shape;
    return shape;
}

const bb_text_t *bb_head_text(bb_head_t *self, bb_slice_t text)
{
    return bb_text_pool_keep(&self->texts, &self->arena, text);
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

static void s_copy_column(bb_head_t *self, const bb_column_t *from, bb_column_t *to)
{
    *to = *from;
    to->packed = bb_arena_copy(&self->arena, from->packed, from->packed_bytes);
    if (from->exception_count > 0) {
        to->exceptions = bb_arena_copy(&self->arena, from->exceptions,
                                       from->exception_count * sizeof *from->exceptions);
        to->positions = bb_arena_copy(&self->arena, from->positions,
                                      from->exception_count * sizeof *from->positions);
    }
}

// Gives the block its numbers.
static uint32_t s_number(bb_head_t *self, const bb_head_block_t *block, uint32_t frame_count)
{
    uint64_t first = self->number_next;
    uint64_t page_count = ((uint64_t)frame_count + S_PAGE_NUMBERS - 1) / S_PAGE_NUMBERS;
    uint64_t page = first / S_PAGE_NUMBERS;
    BB_ASSERT(page + page_count <= (uint64_t)S_CHUNKS * S_CHUNK_PAGES);
    for (uint64_t limit = page + page_count; page < limit; page++) {
        const bb_head_block_t ***chunk = &self->chunks[page / S_CHUNK_PAGES];
        if (!*chunk) {
            *chunk = bb_arena_alloc(&self->arena, S_CHUNK_PAGES * sizeof **chunk);
        }
        (*chunk)[page % S_CHUNK_PAGES] = block;
    }
    self->number_next += page_count * S_PAGE_NUMBERS;
    return (uint32_t)first;
}

bool bb_head_is_full(const bb_head_t *self)
{
    return self->number_next >= S_NUMBERS_FULL;
}

const bb_head_block_t *bb_head_block(bb_head_t *self, const bb_head_shape_t *shape,
                                     uint32_t frame_count, const bb_column_t *columns,
                                     const uint64_t *texts, uint32_t text_count,
                                     int64_t **times_wall_ns)
{
    bb_head_block_t *block = bb_arena_alloc(&self->arena, sizeof *block);
    bb_column_t *copies = bb_arena_alloc(&self->arena, shape->metric_count * sizeof *copies);
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        BB_ASSERT(columns[m].count == frame_count);
        s_copy_column(self, &columns[m], &copies[m]);
    }
    *times_wall_ns = bb_arena_alloc(&self->arena, frame_count * sizeof **times_wall_ns);
    *block = (bb_head_block_t){
        .shape = shape,
        .index = self->block_count++,
        .number = s_number(self, block, frame_count),
        .frame_count = frame_count,
        .times_wall_ns = *times_wall_ns,
        .columns = copies,
        .texts = texts ? bb_arena_copy(&self->arena, texts, text_count * sizeof *texts) : NULL,
    };
    return block;
}

static bb_head_group_t *s_group_add(bb_head_t *self, uint32_t battery, uint32_t partition,
                                    const bb_head_shape_t *shape, uint64_t revision,
                                    bool is_quarantined)
{
    bb_head_group_t *group = bb_arena_alloc(&self->arena, sizeof *group);
    *group = (bb_head_group_t){
        .rows = {.shape = shape,
                 .revision = revision,
                 .first_wall_ns = INT64_MAX,
                 .last_wall_ns = INT64_MIN,
                 .is_quarantined = is_quarantined,
                 .is_ascending = true},
        .battery = battery,
        .partition = (uint16_t)partition,
    };
    if (self->groups_tail) {
        self->groups_tail->next_of_all = group;
    } else {
        self->groups = group;
    }
    self->groups_tail = group;
    self->group_count++;
    return group;
}

bb_head_group_t *bb_head_group(bb_head_t *self, uint32_t battery, uint32_t partition,
                               const bb_head_shape_t *shape, uint64_t revision, bool is_quarantined)
{
    s_reach(self, battery);
    bb_head_group_t **link = &self->by_battery[battery];
    bb_head_group_t *group = *link;
    while (group && (group->rows.shape != shape || group->rows.revision != revision ||
                     group->rows.is_quarantined != is_quarantined)) {
        link = &group->next_of_battery;
        group = *link;
    }
    if (group) {
        *link = group->next_of_battery;
    } else {
        group = s_group_add(self, battery, partition, shape, revision, is_quarantined);
    }
    // Most recently used first: a device repeats its shape.
    group->next_of_battery = self->by_battery[battery];
    self->by_battery[battery] = group;
    return group;
}

// Slabs grow with the group, but never hold more than a third of it that is empty.
static uint32_t s_slab_capacity(const bb_head_group_t *group)
{
    uint32_t capacity = S_SLAB_SPANS_FIRST;
    if (group->tail) {
        capacity = S_SLAB_SPANS_MIN;
        while (capacity < S_SLAB_SPANS_MAX && capacity * 2 + 2 <= group->rows.piece_count / 2) {
            capacity = capacity * 2 + 2;
        }
    }
    return capacity;
}

static bb_head_span_t *s_next_span(bb_head_t *self, bb_head_group_t *group)
{
    if (!group->tail || group->tail_spans == group->tail->capacity) {
        uint32_t capacity = s_slab_capacity(group);
        bb_head_slab_t *slab =
            bb_arena_alloc(&self->arena, sizeof *slab + capacity * sizeof *slab->spans);
        slab->next = NULL;
        slab->capacity = capacity;
        slab->zero = 0;
        if (group->tail) {
            group->tail->next = slab;
        } else {
            group->rows.slabs = slab;
        }
        group->tail = slab;
        group->tail_spans = 0;
    }
    return &group->tail->spans[group->tail_spans++];
}

static void s_note_times(bb_head_rows_t *rows, const int64_t *times_wall_ns, uint32_t count)
{
    int64_t first = rows->first_wall_ns;
    int64_t last = rows->last_wall_ns; // as long as they ascend, that of the last row
    bool ascending = rows->is_ascending;
    for (uint32_t i = 0; i < count; i++) {
        int64_t time = times_wall_ns[i];
        ascending &= time > last;
        first = BB_MIN(first, time);
        last = BB_MAX(last, time);
    }
    rows->first_wall_ns = first;
    rows->last_wall_ns = last;
    rows->is_ascending = ascending;
}

void bb_head_append(bb_head_t *self, bb_head_group_t *group, const bb_head_block_t *block,
                    uint32_t first, uint32_t count)
{
    BB_ASSERT(count >= 1 && first <= block->frame_count && count <= block->frame_count - first);
    BB_ASSERT(block->shape == group->rows.shape);
    s_note_times(&group->rows, block->times_wall_ns + first, count);
    *s_next_span(self, group) = (bb_head_span_t){block->number + first, count};
    group->rows.piece_count++;
    group->rows.row_count += count;
    uint64_t point_count = (uint64_t)count * block->shape->metric_count;
    self->point_count += point_count;
    self->quarantined_count += group->rows.is_quarantined ? point_count : 0;
}

const bb_head_group_t *bb_head_first_of(const bb_head_t *self, uint32_t battery)
{
    return battery < self->battery_capacity ? self->by_battery[battery] : NULL;
}

void bb_head_prefetch(const bb_head_t *self, uint32_t battery, uint32_t stage)
{
    if (battery >= self->battery_capacity) {
        return;
    }
    if (stage == 0) {
        __builtin_prefetch(&self->by_battery[battery], 1);
        return;
    }
    const bb_head_group_t *group = self->by_battery[battery];
    if (!group) {
        return;
    }
    if (stage == 1) {
        __builtin_prefetch(group, 1);
        __builtin_prefetch((const uint8_t *)group + 64, 1);
    } else if (group->tail) {
        __builtin_prefetch(&group->tail->spans[group->tail_spans], 1);
    }
}

void bb_head_values(const bb_head_piece_t *piece, uint32_t metric, uint32_t first, uint32_t count,
                    uint64_t *out)
{
    const bb_head_block_t *block = piece->block;
    BB_ASSERT(first <= piece->count && count <= piece->count - first);
    bb_column_unpack(&block->columns[metric], piece->first + first, count, out);
    if (block->shape->types[metric] == BB_TYPE_STATE) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = block->texts[out[i]];
        }
    }
}

const bb_head_group_t *bb_head_first(const bb_head_t *self)
{
    return self->groups;
}

uint64_t bb_head_bytes(const bb_head_t *self)
{
    return self->arena.used_bytes + self->battery_capacity * sizeof *self->by_battery;
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

uint32_t bb_head_block_count(const bb_head_t *self)
{
    return self->block_count;
}

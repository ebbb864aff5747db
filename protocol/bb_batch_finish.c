// SPDX-License-Identifier: Apache-2.0
// Rows in the order of arrival become a batch: frames are put in the order of (partition, battery,
// shape) by counting, and turned into columns. O(frames + batteries), two copies of each value.
#include <stdlib.h>

#include "protocol/bb_batch_builder.h"
#include "protocol/bb_batch_draft.h"

#define S_RADIX_BITS 7
#define S_BLOCK      64u // rows that are turned into columns at a time: they stay in the cache
static_assert(BB_PARTITIONS_MAX == 1 << (2 * S_RADIX_BITS), "two passes sort by partition");

// Everything the finished batch consists of, but the values. What is const in the draft is owned.
typedef struct {
    bb_batch_t tables;
    bb_batch_part_t *parts;
    bb_batch_run_t *runs;
    int64_t *times_wall_ns;
    bb_batch_battery_t *batteries;
    bb_batch_shape_t *shapes;
    uint32_t *groups;     // of the runs
    uint32_t *shape_map;  // old -> new; BB_BUILDER_NONE: no frame has it
    uint32_t *row_firsts; // per frame, shape by shape: where its row begins
} s_plan_t;

// Batteries by partition, and in the order of arrival inside: two stable passes of counting.
static void s_battery_sort(const bb_batch_builder_t *self, uint32_t *order, uint32_t *scratch)
{
    uint32_t *from = scratch, *to = order;
    for (uint32_t b = 0; b < self->battery_count; b++) {
        order[b] = b;
    }
    for (uint32_t shift = 0; shift < 2 * S_RADIX_BITS; shift += S_RADIX_BITS) {
        uint32_t firsts[(1 << S_RADIX_BITS) + 1] = {0};
        uint32_t *swap = from;
        from = to;
        to = swap;
        const uint32_t mask = (1 << S_RADIX_BITS) - 1;
        for (uint32_t i = 0; i < self->battery_count; i++) {
            firsts[(self->batteries[i].partition >> shift & mask) + 1]++;
        }
        for (uint32_t i = 0; i < mask; i++) {
            firsts[i + 1] += firsts[i];
        }
        for (uint32_t i = 0; i < self->battery_count; i++) {
            to[firsts[self->batteries[from[i]].partition >> shift & mask]++] = from[i];
        }
    }
}

static int s_shape_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b; // shape << 32 | group
    return (*left > *right) - (*left < *right);
}

// Appends the groups of a battery by shape, and counts their frames with their shapes.
static void s_plan_battery(const bb_batch_builder_t *self, uint32_t battery, s_plan_t *plan,
                           uint64_t *sorted)
{
    uint32_t count = 0;
    for (uint32_t g = self->battery_groups[battery]; g != BB_BUILDER_NONE;
         g = self->groups[g].group_next) {
        sorted[count++] = (uint64_t)self->groups[g].shape << 32 | g;
    }
    if (count > 1) {
        qsort(sorted, count, sizeof *sorted, s_shape_compare);
    }
    const bb_builder_battery_t *from = &self->batteries[battery];
    uint32_t number = plan->tables.battery_count++;
    plan->batteries[number] =
        (bb_batch_battery_t){from->id, from->attribute_count, from->attributes};
    bb_batch_part_t *part = plan->parts + plan->tables.part_count;
    if (plan->tables.part_count == 0 || part[-1].partition != from->partition) {
        *part = (bb_batch_part_t){.partition = from->partition};
        plan->tables.part_count++;
        part++;
    }
    part[-1].run_count += count;
    for (uint32_t i = 0; i < count; i++) {
        const bb_builder_group_t *group = &self->groups[(uint32_t)sorted[i]];
        plan->groups[plan->tables.run_count] = (uint32_t)sorted[i];
        plan->runs[plan->tables.run_count++] = (bb_batch_run_t){
            .battery = number, .shape = group->shape, .frame_count = group->frame_count};
        plan->shape_map[group->shape] = 0;
    }
}

static void s_plan_runs(const bb_batch_builder_t *self, s_plan_t *plan)
{
    uint32_t *order = bb_alloc(2 * (size_t)self->battery_count * sizeof *order);
    uint64_t *sorted = bb_alloc((size_t)self->shape_count * sizeof *sorted);
    s_battery_sort(self, order, order + self->battery_count);
    for (uint32_t i = 0; i < self->battery_count; i++) {
        if (self->battery_groups[order[i]] != BB_BUILDER_NONE) {
            s_plan_battery(self, order[i], plan, sorted);
        }
    }
    free(order);
    free(sorted);
}

// Numbers the shapes that have frames, and says where the frames of each run go.
static void s_plan_shapes(bb_batch_builder_t *self, s_plan_t *plan)
{
    for (uint32_t s = 0; s < self->shape_count; s++) {
        if (plan->shape_map[s] != BB_BUILDER_NONE) {
            plan->shape_map[s] = plan->tables.shape_count;
            plan->shapes[plan->tables.shape_count++] = self->shapes[s];
        }
    }
    uint32_t frame_first = 0;
    for (uint32_t r = 0; r < plan->tables.run_count; r++) {
        bb_batch_run_t *run = &plan->runs[r];
        bb_builder_group_t *group = &self->groups[plan->groups[r]];
        run->shape = plan->shape_map[run->shape];
        group->frame_first = frame_first;
        group->shape_first = plan->shapes[run->shape].frame_count;
        frame_first += run->frame_count;
        plan->shapes[run->shape].frame_count += run->frame_count;
    }
}

// Puts each frame in its place: its time, and where its row begins.
static void s_plan_frames(bb_batch_builder_t *self, s_plan_t *plan, uint32_t *frame_order)
{
    uint32_t *row_firsts = bb_alloc(plan->tables.shape_count * sizeof *row_firsts);
    for (uint32_t s = 0, first = 0; s < plan->tables.shape_count; s++) {
        row_firsts[s] = first;
        first += plan->shapes[s].frame_count;
    }
    for (uint32_t f = 0; f < self->frame_count; f++) {
        const bb_builder_frame_t *frame = &self->frames[f];
        bb_builder_group_t *group = &self->groups[frame->group];
        uint32_t place = row_firsts[plan->shape_map[group->shape]] + group->shape_first++;
        plan->row_firsts[place] = frame->value_first;
        plan->times_wall_ns[group->frame_first] = frame->time_wall_ns;
        if (frame_order) {
            frame_order[group->frame_first] = f;
        }
        group->frame_first++;
    }
    free(row_firsts);
}

// Turns the rows of one shape into its columns.
static void s_transpose(const uint64_t *rows, const uint32_t *row_firsts,
                        const bb_batch_shape_t *shape, uint64_t *columns)
{
    for (uint32_t first = 0; first < shape->frame_count; first += S_BLOCK) {
        uint32_t limit = BB_MIN(first + S_BLOCK, shape->frame_count);
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            uint64_t *column = columns + (size_t)m * shape->frame_count;
            for (uint32_t i = first; i < limit; i++) {
                column[i] = rows[row_firsts[i] + m];
            }
        }
    }
}

static void s_fill_columns(bb_batch_builder_t *self, const s_plan_t *plan)
{
    if (self->column_capacity < self->value_count) {
        free(self->columns);
        self->column_capacity = self->value_capacity;
        self->columns = bb_alloc(self->column_capacity * sizeof *self->columns);
    }
    const uint32_t *row_firsts = plan->row_firsts;
    uint64_t *columns = self->columns;
    for (uint32_t s = 0; s < plan->tables.shape_count; s++) {
        const bb_batch_shape_t *shape = &plan->shapes[s];
        s_transpose(self->values, row_firsts, shape, columns);
        row_firsts += shape->frame_count;
        columns += (size_t)shape->frame_count * shape->metric_count;
    }
}

static void s_plan_make(bb_batch_builder_t *self, s_plan_t *plan, uint32_t *frame_order)
{
    *plan = (s_plan_t){
        .tables = {.revision = self->revision,
                   .generation = self->generation,
                   .frame_count = self->frame_count,
                   .state_count = self->state_count,
                   .states = self->states},
        .parts = bb_alloc((size_t)self->battery_count * sizeof *plan->parts),
        .runs = bb_alloc((size_t)self->group_count * sizeof *plan->runs),
        .times_wall_ns = bb_alloc((size_t)self->frame_count * sizeof *plan->times_wall_ns),
        .batteries = bb_alloc((size_t)self->battery_count * sizeof *plan->batteries),
        .shapes = bb_alloc((size_t)self->shape_count * sizeof *plan->shapes),
        .groups = bb_alloc((size_t)self->group_count * sizeof *plan->groups),
        .shape_map = bb_alloc((size_t)self->shape_count * sizeof *plan->shape_map),
        .row_firsts = bb_alloc((size_t)self->frame_count * sizeof *plan->row_firsts),
    };
    memset(plan->shape_map, 0xff, (size_t)self->shape_count * sizeof *plan->shape_map);
    s_plan_runs(self, plan);
    s_plan_shapes(self, plan);
    s_plan_frames(self, plan, frame_order);
    plan->tables.parts = plan->parts;
    plan->tables.runs = plan->runs;
    plan->tables.times_wall_ns = plan->times_wall_ns;
    plan->tables.batteries = plan->batteries;
    plan->tables.shapes = plan->shapes;
}

static void s_plan_free(s_plan_t *plan)
{
    free(plan->parts);
    free(plan->runs);
    free(plan->times_wall_ns);
    free(plan->batteries);
    free(plan->shapes);
    free(plan->groups);
    free(plan->shape_map);
    free(plan->row_firsts);
}

void bb_batch_builder_finish(bb_batch_builder_t *self, uint8_t **out, size_t *out_length,
                             uint32_t *frame_order)
{
    BB_ASSERT(self->frame_count > 0);
    s_plan_t plan;
    s_plan_make(self, &plan, frame_order);
    s_fill_columns(self, &plan);
    const bb_batch_draft_t draft = {.tables = plan.tables, .values = self->columns};
    bb_error_t error = bb_batch_draft_write(&draft, out, out_length);
    BB_ASSERT(error == BB_OK); // bb_batch_builder_bytes is no less
    s_plan_free(&plan);
}

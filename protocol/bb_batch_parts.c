// SPDX-License-Identifier: Apache-2.0
// Takes whole parts out of a batch: what a coordinator does for every replica that holds only some
// of them. Integers of columns are moved as they are packed; only columns of states change.
#include "protocol/bb_batch_parts.h"

#include <stdlib.h>

typedef struct {
    const bb_batch_t *from;
    const bool *keep;
    bb_batch_draft_t draft;
    // What the draft points to.
    bb_batch_part_t *parts;
    bb_batch_run_t *runs;
    int64_t *times_wall_ns;
    bb_batch_battery_t *batteries;
    bb_batch_shape_t *shapes;
    bb_slice_t *states;
    bb_batch_cut_t *cuts;
    bb_column_range_t *ranges;
    // Old index -> new index + 1; 0 is unused.
    uint32_t *battery_map, *shape_map, *state_map;
} s_parts_t;

// Counts kept frames of each shape, and the ranges that they make.
typedef struct {
    uint32_t frame_count, range_count, range_first;
    uint32_t limit; // where the last range ends
} s_tally_t;

uint32_t bb_batch_parts_number(uint32_t *map, uint32_t count)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (map[i]) {
            map[i] = ++used;
        }
    }
    return used;
}

// Copies parts, runs and times, which keep their old indexes until s_renumber, and marks what they
// use.
static void s_take_runs(s_parts_t *self, s_tally_t *tallies)
{
    bb_batch_t *tables = &self->draft.tables;
    bb_batch_cursor_t at;
    uint32_t part_index = UINT32_MAX;
    bb_batch_cursor_start(self->from, &at);
    while (bb_batch_cursor_next(self->from, &at)) {
        if (!self->keep[at.part_index]) {
            continue;
        }
        if (at.part_index != part_index) {
            part_index = at.part_index;
            self->parts[tables->part_count++] = *at.part;
        }
        uint32_t count = at.run->frame_count;
        self->runs[tables->run_count++] = *at.run;
        memcpy(self->times_wall_ns + tables->frame_count,
               self->from->times_wall_ns + at.frame_first, count * sizeof *self->times_wall_ns);
        tables->frame_count += count;
        self->battery_map[at.run->battery] = 1;
        self->shape_map[at.run->shape] = 1;
        s_tally_t *tally = &tallies[at.run->shape];
        tally->range_count += tally->frame_count == 0 || tally->limit != at.shape_first;
        tally->frame_count += count;
        tally->limit = at.shape_first + count;
    }
}

// The same walk: now it is known where the ranges of each shape go.
static void s_take_ranges(s_parts_t *self, s_tally_t *tallies)
{
    uint32_t first = 0;
    for (uint32_t s = 0; s < self->from->shape_count; s++) {
        tallies[s].range_first = first;
        first += tallies[s].range_count;
        tallies[s].range_count = 0;
    }
    self->ranges = bb_alloc(first * sizeof *self->ranges);
    for (uint32_t r = 0; r < self->draft.tables.run_count; r++) {
        const bb_batch_run_t *run = &self->runs[r];
        s_tally_t *tally = &tallies[run->shape];
        bb_column_range_t *range = self->ranges + tally->range_first + tally->range_count;
        if (tally->range_count > 0 && range[-1].first + range[-1].count == run->shape_first) {
            range[-1].count += run->frame_count;
        } else {
            *range = (bb_column_range_t){run->shape_first, run->frame_count};
            tally->range_count++;
        }
    }
}

static void s_mark_states(const bb_column_t *column, const bb_column_range_t *ranges,
                          uint32_t range_count, uint32_t *map)
{
    uint64_t words[256];
    for (uint32_t r = 0; r < range_count; r++) {
        for (uint32_t i = 0; i < ranges[r].count; i += BB_COUNT_OF(words)) {
            uint32_t count = BB_MIN(ranges[r].count - i, (uint32_t)BB_COUNT_OF(words));
            bb_column_unpack(column, ranges[r].first + i, count, words);
            for (uint32_t k = 0; k < count; k++) {
                map[words[k]] = 1;
            }
        }
    }
}

// Shapes that have frames, and where they come from.
static void s_take_shapes(s_parts_t *self, const s_tally_t *tallies)
{
    bb_batch_t *tables = &self->draft.tables;
    for (uint32_t s = 0; s < self->from->shape_count; s++) {
        if (!self->shape_map[s]) {
            continue;
        }
        const bb_batch_shape_t *shape = &self->from->shapes[s];
        bb_batch_cut_t cut = {shape, self->ranges + tallies[s].range_first, tallies[s].range_count};
        self->shapes[tables->shape_count] = *shape;
        self->shapes[tables->shape_count].frame_count = tallies[s].frame_count;
        self->cuts[tables->shape_count++] = cut;
        for (uint32_t m = 0; shape->has_states && m < shape->metric_count; m++) {
            if (shape->types[m] == BB_TYPE_STATE) {
                s_mark_states(&shape->columns[m], cut.ranges, cut.range_count, self->state_map);
            }
        }
    }
}

static void s_renumber(s_parts_t *self)
{
    bb_batch_t *tables = &self->draft.tables;
    const bb_batch_t *from = self->from;
    bb_batch_parts_number(self->shape_map, from->shape_count);
    tables->battery_count = bb_batch_parts_number(self->battery_map, from->battery_count);
    tables->state_count = bb_batch_parts_number(self->state_map, from->state_count);
    for (uint32_t i = 0; i < from->battery_count; i++) {
        if (self->battery_map[i]) {
            self->batteries[self->battery_map[i] - 1] = from->batteries[i];
        }
    }
    for (uint32_t i = 0; i < from->state_count; i++) {
        if (self->state_map[i]) {
            self->states[self->state_map[i] - 1] = from->states[i];
        }
    }
    for (uint32_t r = 0; r < tables->run_count; r++) {
        self->runs[r].battery = self->battery_map[self->runs[r].battery] - 1;
        self->runs[r].shape = self->shape_map[self->runs[r].shape] - 1;
    }
}

bb_error_t bb_batch_parts(const bb_batch_t *batch, const bool *keep, uint8_t **out,
                          size_t *out_length)
{
    s_parts_t self = {
        .from = batch,
        .keep = keep,
        .parts = bb_alloc(batch->part_count * sizeof *self.parts),
        .runs = bb_alloc(batch->run_count * sizeof *self.runs),
        .times_wall_ns = bb_alloc(batch->frame_count * sizeof *self.times_wall_ns),
        .batteries = bb_alloc(batch->battery_count * sizeof *self.batteries),
        .shapes = bb_alloc(batch->shape_count * sizeof *self.shapes),
        .states = bb_alloc(batch->state_count * sizeof *self.states),
        .cuts = bb_alloc(batch->shape_count * sizeof *self.cuts),
        .battery_map = bb_alloc_zero(batch->battery_count, sizeof(uint32_t)),
        .shape_map = bb_alloc_zero(batch->shape_count, sizeof(uint32_t)),
        .state_map = bb_alloc_zero((size_t)batch->state_count + 1, sizeof(uint32_t)),
    };
    s_tally_t *tallies = bb_alloc_zero(batch->shape_count, sizeof *tallies);
    s_take_runs(&self, tallies);
    bb_error_t error = BB_ERR_NOT_FOUND;
    if (self.draft.tables.part_count > 0) {
        s_take_ranges(&self, tallies);
        s_take_shapes(&self, tallies);
        s_renumber(&self);
        bb_batch_t *tables = &self.draft.tables;
        tables->revision = batch->revision;
        tables->generation = batch->generation;
        tables->parts = self.parts;
        tables->runs = self.runs;
        tables->times_wall_ns = self.times_wall_ns;
        tables->batteries = self.batteries;
        tables->shapes = self.shapes;
        tables->states = self.states;
        self.draft.cuts = self.cuts;
        self.draft.state_map = self.state_map;
        error = bb_batch_draft_write(&self.draft, out, out_length);
    }
    free(tallies);
    free(self.parts);
    free(self.runs);
    free(self.times_wall_ns);
    free(self.batteries);
    free(self.shapes);
    free(self.states);
    free(self.cuts);
    free(self.ranges);
    free(self.battery_map);
    free(self.shape_map);
    free(self.state_map);
    return error;
}

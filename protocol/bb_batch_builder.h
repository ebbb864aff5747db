// SPDX-License-Identifier: Apache-2.0
// bb_batch_builder - what a batch builder holds between its first frame and the finished batch.
//
// Pure; private to protocol/bb_batch_builder.c, which collects, and protocol/bb_batch_finish.c,
// which puts frames in order and writes. The interface is in protocol/bb_batch.h.
#ifndef BB_BATCH_BUILDER_H
#define BB_BATCH_BUILDER_H

#include "protocol/bb_batch.h"

#define BB_BUILDER_NONE UINT32_MAX

typedef struct {
    uint32_t partition;
    uint32_t group_last; // group of the frame before; BB_BUILDER_NONE at first
    bb_slice_t id;       // in the arena
    uint32_t attribute_count;
    const bb_attribute_t *attributes;
} bb_builder_battery_t;

typedef struct {
    uint32_t battery, shape;
    uint32_t frame_count;
    uint32_t group_next;  // other shapes of the same battery
    uint32_t frame_first; // finish: where its next frame goes
    uint32_t shape_first; // finish: the same among the frames of its shape
} bb_builder_group_t;

typedef struct {
    uint32_t group;
    uint32_t value_first; // its row
    int64_t time_wall_ns;
} bb_builder_frame_t;

// Names and ids: blocks that never move, freed together.
typedef struct bb_builder_block {
    struct bb_builder_block *next;
    size_t used, capacity;
    char bytes[];
} bb_builder_block_t;

// Open addressing from a 32-bit hash to an index + 1.
typedef struct {
    uint32_t *slots;
    uint32_t capacity, count; // capacity is a power of two
} bb_builder_index_t;

struct bb_batch_builder {
    uint64_t revision;
    uint32_t generation; // 0: points
    bb_builder_battery_t *batteries;
    bb_batch_shape_t *shapes;
    bb_slice_t *states;
    bb_builder_group_t *groups;
    uint32_t *battery_groups; // first group of each battery
    bb_builder_frame_t *frames;
    uint64_t *values;
    uint32_t battery_count, battery_capacity, shape_count, shape_capacity, state_count,
        state_capacity, group_count, group_capacity, group_head_capacity, frame_count,
        frame_capacity;
    uint64_t value_count, value_capacity;
    uint64_t *columns; // finish: the values again; kept for the next batch
    uint64_t column_capacity;
    size_t name_bytes;
    bb_builder_index_t battery_index, shape_index, state_index;
    bb_builder_block_t *arena;
};

#endif

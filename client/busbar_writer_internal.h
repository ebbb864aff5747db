// SPDX-License-Identifier: Apache-2.0
// busbar_writer_internal - what busbar_writer.c and busbar_writer_names.c share.
#ifndef BUSBAR_WRITER_INTERNAL_H
#define BUSBAR_WRITER_INTERNAL_H

#include <string.h>

#include "client/bb_write_job.h"
#include "client/busbar_internal.h"

typedef struct {
    char *id; // NUL-terminated, owned
    uint32_t id_length;
    uint32_t hash;              // of id and attributes
    bb_attribute_t *attributes; // one block, owned
    uint32_t attribute_count;
    uint32_t partition;
    uint32_t lane;
    uint32_t placed_at;          // placement generation of partition and lane; 0 = never
    uint32_t builder_generation; // of builder_battery
    uint32_t builder_battery;
    uint32_t attributes_at; // attribute generation when they were last sent; 0 = never
} bb_writer_battery_t;

typedef struct {
    uint32_t generation, handle;
} bb_writer_lane_shape_t;

typedef struct {
    uint32_t metric_count;
    uint32_t hash;
    bb_slice_t *names; // in the order given; one block with their bytes, owned
    uint8_t *types;
    uint32_t *order; // sorted place of each
    bool is_in_order, has_states;
    bb_writer_lane_shape_t *lanes; // by lane; grows
    uint32_t lane_capacity;
} bb_writer_shape_t;

typedef struct {
    bb_batch_builder_t *builder;
    uint32_t link;
    uint32_t generation; // unique over all batches of the writer, so that handles cannot be stale
    int64_t opened_ns;   // first frame; coarse clock
    uint64_t user_frame_first;
    uint32_t *user_frames; // distance from user_frame_first, by arrival
    uint32_t capacity;
} bb_writer_lane_t;

// Open addressing from a hash to a handle + 1.
typedef struct {
    uint32_t *slots;
    uint32_t capacity, count;
} bb_writer_index_t;

struct busbar_writer {
    busbar_client_t *client;
    busbar_writer_options_t options;
    // The user's thread's own.
    bb_view_t *view;
    uint32_t io_generation; // of the view and ranks that placed_at belongs to
    uint32_t placed_at;
    uint32_t attributes_at;
    bb_writer_battery_t *batteries;
    uint32_t battery_count, battery_capacity;
    bb_writer_shape_t *shapes;
    uint32_t shape_count, shape_capacity;
    bb_writer_index_t battery_index, shape_index;
    bb_batch_builder_t *scratch; // checks shapes
    uint64_t next_user_frame;
    busbar_totals_t totals;
    // Guarded by is_taken.
    _Atomic bool is_taken;
    bb_writer_lane_t lanes[BB_NODES_MAX + 1]; // one per link, and one for "no link yet"
    uint32_t lane_count;
    uint32_t next_generation;
    bool is_lingering; // the io thread will look at the lanes by itself
    // The io thread's.
    bb_io_task_t linger_task;
    bb_io_timer_t linger_timer;
    bb_write_queue_t queue;
    // Shared.
    _Atomic uint64_t open_bytes;   // in the lanes, estimated
    _Atomic uint64_t handed_bytes; // handed over and not answered
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t jobs_under_way;                // mutex
    bb_write_job_t *done_first, *done_last; // mutex
    _Atomic bool has_done;
};

// NULL counts as "".
static inline bb_slice_t bb_writer_text(const char *text)
{
    return bb_slice(text ? text : "", text ? strlen(text) : 0);
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_head - one generation of recent frames in memory, by battery, in the order they arrived.
//
// Pure. The store's thread appends; it may publish what is there (bb_head_rows_t) to other threads,
// which read it while the owner goes on appending: rows are never changed once written, counts only
// grow, and a published count says how far a reader may go. A generation is counted: the store
// holds one reference, each snapshot and job one more; the last one frees it, in any thread.
//
//   battery -> group (shape, revision, quarantined) -> slab -> slab -> slab
//                                                      rows of (time, value, value, ...)
//
// All memory comes from one arena: nothing is allocated per frame or per point.
#ifndef BB_HEAD_H
#define BB_HEAD_H

#include "protocol/bb_value.h"

typedef struct bb_head bb_head_t;

// The exact list of metrics that a row has, in the order of its values.
typedef struct bb_head_shape {
    uint32_t serial; // unique among all generations of a store
    uint32_t metric_count;
    const uint32_t *metrics; // numbers of the dictionary
    const uint8_t *types;
    bool has_states;
    // Private.
    uint64_t hash;
    struct bb_head_shape *next;
} bb_head_shape_t;

typedef struct bb_head_slab {
    struct bb_head_slab *next; // set before a count that reaches beyond this slab is published
    uint32_t capacity;         // rows
    uint32_t zero;
    uint64_t rows[]; // capacity * (1 + metric_count): time, values; STATE: address of a bb_text_t
} bb_head_slab_t;

// Rows of one battery, shape, revision and verdict. Read by others only in a frozen generation or
// as a published copy.
typedef struct bb_head_group {
    const bb_head_shape_t *shape;
    uint64_t revision;
    uint32_t battery;
    uint16_t partition;
    bool is_quarantined;
    bool is_ascending; // each time is larger than the one before
    uint64_t row_count;
    int64_t first_wall_ns, last_wall_ns; // smallest and largest time
    const bb_head_slab_t *slabs;
    // Private to the owner.
    int64_t newest_wall_ns; // of the last row
    bb_head_slab_t *tail;
    uint32_t tail_rows;
    struct bb_head_group *next_of_battery;
    struct bb_head_group *next_of_all;
} bb_head_group_t;

// A group as it was when it was published.
typedef struct {
    const bb_head_shape_t *shape;
    uint64_t revision;
    uint64_t row_count;
    int64_t first_wall_ns, last_wall_ns;
    const bb_head_slab_t *slabs;
    bool is_quarantined;
    bool is_ascending;
} bb_head_rows_t;

// With one reference. `shape_serials` counts shapes over all generations of a store.
bb_head_t *bb_head_new(uint32_t *shape_serials);
void bb_head_retain(bb_head_t *self);   // any thread that holds a reference
void bb_head_release(bb_head_t **self); // any thread; frees with the last reference

// ---- owner -----------------------------------------------------------------------------------
// Finds or adds. O(metric_count).
const bb_head_shape_t *bb_head_shape(bb_head_t *self, const uint32_t *metrics, const uint8_t *types,
                                     uint32_t metric_count);
// The text, kept once per generation. Valid as long as the generation.
const bb_text_t *bb_head_text(bb_head_t *self, bb_slice_t text);
// Finds or adds. Cost: how many groups of the battery were used since this one.
bb_head_group_t *bb_head_group(bb_head_t *self, uint32_t battery, uint32_t partition,
                               const bb_head_shape_t *shape, uint64_t revision,
                               bool is_quarantined);
// Copies frames: times and row-major values. `texts[index]` replaces the index in STATE columns.
void bb_head_append(bb_head_t *self, bb_head_group_t *group, const int64_t *times_wall_ns,
                    const uint64_t *values, uint32_t frame_count, const uint64_t *texts);

// First group of a battery, or NULL; go on with next_of_battery.
const bb_head_group_t *bb_head_first_of(const bb_head_t *self, uint32_t battery);
bb_head_rows_t bb_head_publish(const bb_head_group_t *group);

// ---- everyone, once frozen -------------------------------------------------------------------
const bb_head_group_t *bb_head_first(const bb_head_t *self); // go on with next_of_all
uint64_t bb_head_bytes(const bb_head_t *self);
uint64_t bb_head_points(const bb_head_t *self);
uint64_t bb_head_quarantined_points(const bb_head_t *self); // of bb_head_points
uint64_t bb_head_group_count(const bb_head_t *self);

#endif

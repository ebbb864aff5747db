// SPDX-License-Identifier: Apache-2.0
// bb_latest - the newest row of every battery and shape in windows, so that newest values are found
// without reading them.
//
// Pure. Owned by the store's thread. Each generation of the head that goes into windows gives the
// newest row of each of its groups (bb_latest_put). What the cache was not told, because it was in
// windows when the store was opened or because there was no room, is older than a bound:
//
//   every point of a battery in windows that is newer than bb_latest_bound(battery) is, in its
//   metric, not newer than what the rows of the battery have; and at the same time it does not win.
//
// So the newest of rows and head, if it is newer than the bound, is the newest of all; if it is
// not, windows have to be read.
//
//   battery -> row (shape, time, revision, values) -> row (another shape ...)
//
// Memory is bounded by bytes_max but for 16 bytes a battery: a row that has no room raises the
// bound of its battery instead. State texts are kept once and never move.
#ifndef BB_LATEST_H
#define BB_LATEST_H

#include "protocol/bb_value.h"

typedef struct bb_latest bb_latest_t;

// A list of metrics with their types, kept once.
typedef struct bb_latest_shape {
    uint32_t metric_count;
    const uint32_t *metrics;
    const uint8_t *types;
    bool has_states;
    // Private.
    uint64_t hash;
    struct bb_latest_shape *next;
} bb_latest_shape_t;

typedef struct bb_latest_row {
    struct bb_latest_row *next; // of the battery
    const bb_latest_shape_t *shape;
    int64_t time_wall_ns;
    uint64_t revision;
    uint64_t values[]; // metric_count; STATE: addresses of texts that live as long as the cache
} bb_latest_row_t;

// What is in windows already is not newer than bound_wall_ns; negative: nothing is.
bb_latest_t *bb_latest_new(int64_t bound_wall_ns, uint64_t bytes_max);
void bb_latest_destroy(bb_latest_t **self);

// Finds or adds; NULL when there is no room. Metrics in any order, as rows have them.
const bb_latest_shape_t *bb_latest_shape(bb_latest_t *self, const uint32_t *metrics,
                                         const uint8_t *types, uint32_t metric_count);
// The newest row of a group of rows that go into windows, and of several at that time the largest
// value of each metric. `shape` NULL raises the bound. The values are copied.
void bb_latest_put(bb_latest_t *self, uint32_t battery, const bb_latest_shape_t *shape,
                   int64_t time_wall_ns, uint64_t revision, const uint64_t *values);
// Rows before the limit are forgotten, because their points may be gone; windows say what is left.
// O(batteries).
void bb_latest_forget(bb_latest_t *self, int64_t limit_wall_ns);
// Fetches what _put and _first of the battery will touch: stage 0, and some time later stage 1.
void bb_latest_prefetch(const bb_latest_t *self, uint32_t battery, uint32_t stage);

int64_t bb_latest_bound(const bb_latest_t *self, uint32_t battery);
const bb_latest_row_t *bb_latest_first(const bb_latest_t *self, uint32_t battery); // or NULL
uint64_t bb_latest_bytes(const bb_latest_t *self);

#endif

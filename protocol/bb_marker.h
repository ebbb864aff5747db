// SPDX-License-Identifier: Apache-2.0
// bb_marker - what was deleted: points of a lower generation that a marker covers do not exist.
//
// Pure. A marker is (battery, metric or all, from, to, generation), and an element of the same
// lattice as points (docs/decisions/0015): it is never taken back, two of them commute, and it
// covers what arrives after it as well as what was there before. It travels as a frame of a batch
// whose `generation` is not 0:
//
//   battery, time     the battery, `from`
//   shape             one metric of type INT64: its name, or "*" for all metrics
//   value             `to`, exclusive
//
// So a marker has a part, a dot, a place in the journal and a level like any point, and everything
// that only carries batches does not know of markers. Such a batch has revision 0, holds nothing
// else, and gives no attributes. Readers from before markers refuse its generation by name.
#ifndef BB_MARKER_H
#define BB_MARKER_H

#include "protocol/bb_batch.h"

#ifdef __cplusplus
extern "C" {
#endif

// All metrics. One that really has this name is only deleted together with all others.
#define BB_MARKER_ALL_METRICS "*"

typedef struct {
    bb_slice_t metric;                // BB_MARKER_ALL_METRICS: all
    int64_t from_wall_ns, to_wall_ns; // half open, not empty
} bb_marker_t;

bool bb_marker_is_of_all(const bb_marker_t *self);

// Adds a marker to a builder that bb_batch_builder_markers was called on. TIME_RANGE: the interval
// is empty or outside of time; else errors of the builder.
BB_MUST_CHECK bb_error_t bb_marker_add(bb_batch_builder_t *builder, uint32_t partition,
                                       bb_slice_t battery, const bb_marker_t *marker,
                                       bb_fault_t *fault);

// That of frame `frame` of the cursor's run (0 = its first). `batch.generation` is not 0.
bb_marker_t bb_marker_of(const bb_batch_t *batch, const bb_batch_cursor_t *at, uint32_t frame);

// Has a batch whose generation is not 0 the form of markers? MESSAGE_CORRUPT, or TIME_RANGE.
// bb_batch_open asks.
BB_MUST_CHECK bb_error_t bb_marker_check(const bb_batch_t *batch, bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif

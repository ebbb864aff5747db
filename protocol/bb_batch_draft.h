// SPDX-License-Identifier: Apache-2.0
// bb_batch_draft - a batch as plain arrays, before it is packed and written.
//
// Pure; private to protocol/ and its tests. The builder and bb_batch_subset make one; everything in
// it is borrowed for the call. Nothing is checked here: what is wrong in a draft is refused by
// bb_batch_open.
#ifndef BB_BATCH_DRAFT_H
#define BB_BATCH_DRAFT_H

#include "protocol/bb_batch.h"

// Where the frames of a shape are taken from when its columns are cut out of those of a batch.
typedef struct {
    const bb_batch_shape_t *from;
    const bb_column_range_t *ranges; // frames of `from`; disjoint, ascending
    uint32_t range_count;
} bb_batch_cut_t;

typedef struct {
    bb_batch_t tables; // revision, generation, counts, parts, runs, times, batteries, shapes
                       // (names, types, frame_count) and states; nothing else is read
    // Columns as words: shape after shape, metric after metric, frame after frame; or, if NULL,
    // cut from others: one cut a shape, and old index of a state -> new index + 1.
    const uint64_t *values;
    const bb_batch_cut_t *cuts;
    const uint32_t *state_map;
} bb_batch_draft_t;

// Packs the columns and writes the batch. *out is 8-byte aligned malloc memory of *out_length
// bytes, owned by the caller. BB_ERR_BATCH_BYTES: it would pass 8 MiB; nothing is written.
BB_MUST_CHECK bb_error_t bb_batch_draft_write(const bb_batch_draft_t *self, uint8_t **out,
                                              size_t *out_length);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_batch_draft - a batch as plain arrays, before it is packed and written.
//
// Pure; private to protocol/ and its tests. The builder and bb_batch_subset make one; everything in
// it is borrowed for the call. Nothing is checked here: what is wrong in a draft is refused by
// bb_batch_open.
#ifndef BB_BATCH_DRAFT_H
#define BB_BATCH_DRAFT_H

#include "protocol/bb_batch.h"

typedef struct {
    bb_batch_t tables; // revision, generation, counts, parts, runs, times, batteries, shapes
                       // (names, types, frame_count) and states; nothing else is read
    // Columns as words: shape after shape, metric after metric, frame after frame.
    const uint64_t *values;
} bb_batch_draft_t;

// Packs the columns and writes the batch. *out is 8-byte aligned malloc memory of *out_length
// bytes, owned by the caller. BB_ERR_BATCH_BYTES: it would pass 8 MiB; nothing is written.
BB_MUST_CHECK bb_error_t bb_batch_draft_write(const bb_batch_draft_t *self, uint8_t **out,
                                              size_t *out_length);

#endif

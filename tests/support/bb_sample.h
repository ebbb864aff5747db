// SPDX-License-Identifier: Apache-2.0
// bb_sample - small valid (chunks header, batch) pairs for tests of journals and stores.
//
// Pure. The same arguments give the same bytes. Part i belongs to partition `partition + i`; all
// parts carry `seq`; each has `frame_count` frames of one battery with one float and one state.
#ifndef BB_SAMPLE_H
#define BB_SAMPLE_H

#include "protocol/bb_chunks.h"

typedef struct {
    uint8_t stream; // first byte of the stream id; the others are zero
    uint64_t seq;
    uint32_t partition;
    uint32_t part_count;
    uint32_t frame_count;
} bb_sample_plan_t;

typedef struct {
    bb_slice_t chunks_encoded;
    bb_chunks_t chunks;
    bb_batch_t batch;
} bb_sample_t;

void bb_sample_make(bb_sample_t *self, bb_sample_plan_t plan);
void bb_sample_clear(bb_sample_t *self);

#endif

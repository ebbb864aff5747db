// SPDX-License-Identifier: Apache-2.0
// bb_chunks - the dots of a batch: what makes a batch's parts into chunks of a stream.
//
// Pure. A replicated message is (envelope, chunks header, batch); a journal record is
// (chunks header, batch): the same bytes, written once by the coordinator and copied as they are.
// Part i of the batch has the seq bb_chunks_seq(chunks, i); its dot is (stream, seq) in that
// partition. The parts of a batch have nearly the same seqs, because a batch that touches a
// partition takes one of it: they are packed as differences to the smallest, one byte a part as a
// rule, 8 before (version 1, which is still read).
#ifndef BB_CHUNKS_H
#define BB_CHUNKS_H

#include <string.h>

#include "protocol/bb_batch.h"
#include "protocol/bb_have_set.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    bb_stream_t stream;
    uint32_t epoch;         // topology epoch under which the dots were given
    int64_t origin_wall_ns; // the coordinator's clock when it judged the times
    uint32_t part_count;
    // To encode: part_count, each >= 1. Decoded: those of version 1; NULL, they are packed.
    const uint64_t *seqs;
    uint64_t seq_base;  // the smallest
    uint32_t seq_bytes; // of each offset: 1, 2, 4 or 8
    const uint8_t *seq_offsets;
    uint32_t quarantined_count;
    const uint32_t *quarantined; // frame indexes into the batch, ascending: the verdict
} bb_chunks_t;

// Of part i < part_count.
static inline uint64_t bb_chunks_seq(const bb_chunks_t *self, uint32_t i)
{
    if (self->seqs) {
        return self->seqs[i];
    }
    const uint8_t *at = self->seq_offsets + (size_t)self->seq_bytes * i;
    uint64_t offset = 0; // little-endian, like the machine
    switch (self->seq_bytes) {
    case 1:
        offset = *at;
        break;
    case 2:
        memcpy(&offset, at, 2);
        break;
    case 4:
        memcpy(&offset, at, 4);
        break;
    default:
        memcpy(&offset, at, 8);
        break;
    }
    return self->seq_base + offset;
}

// *out is 8-byte aligned malloc memory owned by the caller.
void bb_chunks_encode(const bb_chunks_t *self, uint8_t **out, size_t *out_length);
// Verifies and hands out views into `encoded` (8-byte aligned, must outlive self).
// BB_ERR_MESSAGE_CORRUPT: not a verified header, a seq that is zero or past the largest number, or
// quarantined not ascending. BB_ERR_MESSAGE_VERSION: neither version 1 nor 2.
BB_MUST_CHECK bb_error_t bb_chunks_decode(bb_chunks_t *self, bb_slice_t encoded, bb_fault_t *fault);
// Checks that the header fits the batch: part_count equal, quarantined < frame_count.
BB_MUST_CHECK bb_error_t bb_chunks_match(const bb_chunks_t *self, const bb_batch_t *batch,
                                         bb_fault_t *fault);
// The header and batch that remain when only the parts with keep[i] are kept (see
// bb_batch_subset); two malloc'd buffers. BB_ERR_NOT_FOUND when nothing is kept.
BB_MUST_CHECK bb_error_t bb_chunks_subset(const bb_chunks_t *self, const bb_batch_t *batch,
                                          const bool *keep, uint8_t **out_chunks,
                                          size_t *out_chunks_length, uint8_t **out_batch,
                                          size_t *out_batch_length);

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
// bb_chunks - the dots of a batch: what makes a batch's parts into chunks of a stream.
//
// Pure. A replicated message is (envelope, chunks header, batch); a journal record is
// (chunks header, batch): the same bytes, written once by the coordinator and copied as they are.
// seqs[i] belongs to batch.parts[i]; its dot is (stream, seqs[i]) in that partition.
#ifndef BB_CHUNKS_H
#define BB_CHUNKS_H

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
    const uint64_t *seqs; // part_count, each >= 1
    uint32_t quarantined_count;
    const uint32_t *quarantined; // frame indexes into the batch, ascending: the verdict
} bb_chunks_t;

// *out is 8-byte aligned malloc memory owned by the caller.
void bb_chunks_encode(const bb_chunks_t *self, uint8_t **out, size_t *out_length);
// Verifies and hands out views into `encoded` (8-byte aligned, must outlive self).
// BB_ERR_MESSAGE_CORRUPT: not a verified header, a zero seq, or quarantined not ascending.
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

// SPDX-License-Identifier: Apache-2.0
// bb_batch_equal - whether a part of one batch is the same as a part of another, however either is
// packed.
//
// Pure. A chunk keeps its runs and frames in order when a batch is cut (bb_batch_subset), but its
// bytes may differ: columns are packed anew, shapes and states have other numbers.
#ifndef BB_BATCH_EQUAL_H
#define BB_BATCH_EQUAL_H

#include "protocol/bb_chunks.h"

// The same partition, revision, batteries, metrics, times and values (to the bit), in the same
// order, with the same verdict on which frames wait in quarantine. Attributes of batteries are not
// compared. Cost: O(frames x metrics) of the part, and of the frames before it in each batch.
bool bb_batch_part_is_equal(const bb_batch_t *a, const bb_chunks_t *a_chunks, uint32_t a_part,
                            const bb_batch_t *b, const bb_chunks_t *b_chunks, uint32_t b_part);

#endif

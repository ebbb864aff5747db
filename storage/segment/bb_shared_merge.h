// SPDX-License-Identifier: Apache-2.0
// bb_shared_merge - shared runs of the same batteries become one, without being decoded.
//
// Pure. The blocks are put side by side as they are, in the order of their times; only the times
// are looked at, because those of each battery must ascend. A point of a battery that is heard once
// a minute so is encoded when it is flushed, and again when its battery has rows for a run of its
// own, however often its window is merged in between.
#ifndef BB_SHARED_MERGE_H
#define BB_SHARED_MERGE_H

#include "storage/segment/bb_run_writer.h"
#include "storage/segment/bb_shared_run.h"

// Blocks of one shared run: a battery's rows lie in as many, and reading it decodes them all.
#define BB_SHARED_BLOCKS_MAX 64u
// With so many rows a battery is better read, and encoded smaller, in a run of its own.
#define BB_SHARED_ROWS_MAX 256u
// Blocks with fewer rows are worth encoding anew, together.
#define BB_SHARED_BLOCK_ROWS_MIN (BB_BLOCK_ROWS_MAX / 2)

// True if both have the same partition, revision, columns and texts.
bool bb_shared_run_is_alike(const bb_shared_run_t *a, const bb_shared_run_t *b);

typedef struct bb_shared_merger bb_shared_merger_t;
bb_shared_merger_t *bb_shared_merger_new(void); // one thread; keeps its memory
void bb_shared_merger_destroy(bb_shared_merger_t **self);

// Puts run_count >= 1 runs together, all of which are alike. True: *encoded is the outcome, valid
// until the next call, and has the batteries of all of them. False: that cannot be done, or would
// not pay (the limits above); *error says if a block does not verify.
bool bb_shared_merger_merge(bb_shared_merger_t *self, bb_shared_run_t *const *runs,
                            uint32_t run_count, bb_slice_t *encoded, bb_error_t *error);

#endif

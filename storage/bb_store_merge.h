// SPDX-License-Identifier: Apache-2.0
// bb_store_merge - joins segments of one window into one, with one run a battery if possible.
//
// Private to bb_store*.c. Chosen on the store's thread, run by one job in any thread.
//
//   1. DAY.N, N new     a new map, all runs in the order of batteries   crash: meta does not name
//   it
//   2. meta: the window has N in place of what was joined               crash: meta does not name
//   those
//   3. snapshots from now on see N; the others go with their last reader
//
// Folders that meta does not name are removed at the next open. Segments are joined size by size
// (four or more of about one size), so a point is written again once each time its segment grows
// about fourfold: that bounds the write amplification, which bb_store_stats shows. Windows take
// turns. One that the last flushes did not touch is joined into a single segment in a compact file.
//
// A battery with a run that does not verify is carried over byte for byte, so that damage stays
// visible until it is repaired. A segment that cannot be read is marked in meta and left alone.
#ifndef BB_STORE_MERGE_H
#define BB_STORE_MERGE_H

#include "storage/bb_store_private.h"

typedef struct bb_merge bb_merge_t;

// True when merging some window pays for the copying.
bool bb_merge_is_wanted(const bb_store_t *store);
// What is to be merged next; NULL when there is nothing. `is_all`: any window that has more than
// one segment, into one.
bb_merge_t *bb_merge_new(bb_store_t *store, bool is_all);
void bb_merge_destroy(bb_merge_t **self);
BB_MUST_CHECK bb_error_t bb_merge_run(bb_merge_t *self, bool *must_fence, bb_fault_t *fault);
// After a successful _run.
void bb_merge_publish(bb_merge_t *self, bb_store_t *store);

#endif

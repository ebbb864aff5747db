// SPDX-License-Identifier: Apache-2.0
// bb_store_merge - rewrites one window so that each battery has as few runs as possible.
//
// Private to bb_store*.c. Chosen on the store's thread, run by one job in any thread.
//
//   1. DAY.(N+1).tmp   a new map, all runs in key order     crash: removed at the next open
//   2. rename to DAY.(N+1), sync the folder above           crash: meta says N, so N+1 is removed
//   3. meta: the window is N+1                              crash: meta says N+1, so N is removed
//   4. snapshots from now on see N+1; N goes with its last reader
//
// Between 2 and 3 both folders are complete and durable, so either may be the one that counts: what
// meta says decides. Nothing is flushed into the window meanwhile: a store has one job at a time.
//
// Runs that do not verify are carried over byte for byte, with all runs of their battery, so that
// damage stays visible until it is repaired.
#ifndef BB_STORE_MERGE_H
#define BB_STORE_MERGE_H

#include "storage/bb_store_private.h"

typedef struct bb_merge bb_merge_t;

// True when some window has so many runs that merging it pays for the copying.
bool bb_merge_is_wanted(const bb_store_t *store);
// The window with the most runs per battery, if that is above `runs_per_battery_min` (1: if any run
// can be saved); NULL when there is none.
bb_merge_t *bb_merge_new(bb_store_t *store, double runs_per_battery_min);
void bb_merge_destroy(bb_merge_t **self);
BB_MUST_CHECK bb_error_t bb_merge_run(bb_merge_t *self, bool *must_fence, bb_fault_t *fault);
// After a successful _run.
void bb_merge_publish(bb_merge_t *self, bb_store_t *store);

#endif

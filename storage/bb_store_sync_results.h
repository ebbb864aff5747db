// SPDX-License-Identifier: Apache-2.0
// bb_store_sync_results - answers asks of bb_store_sync.h about results of rollups.
//
// Private to bb_store*.c. Made on the store's thread; the run may be in another one, and is in a
// job, so nothing else changes the map meanwhile. The answer is what a read of the rollup would
// say: stored pieces, and pieces computed from points where something is marked as stale.
#ifndef BB_STORE_SYNC_RESULTS_H
#define BB_STORE_SYNC_RESULTS_H

#include "storage/bb_store_private.h"
#include "storage/bb_store_sync.h"

typedef struct bb_sync_results bb_sync_results_t;

// BUSY: the map does not know all rollups of the policy yet.
BB_MUST_CHECK bb_error_t bb_sync_results_new(bb_store_t *store, const bb_sync_ask_t *ask,
                                             bb_sync_results_t **self);
void bb_sync_results_destroy(bb_sync_results_t **self);
// Fills windows, leaves or attributes of `found`. CORRUPT: damage, unless they are our own.
BB_MUST_CHECK bb_error_t bb_sync_results_run(bb_sync_results_t *self, bb_sync_found_t *found);

#endif

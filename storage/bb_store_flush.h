// SPDX-License-Identifier: Apache-2.0
// bb_store_flush - a frozen head on its way into windows.
//
// Private to bb_store*.c. Made on the store's thread, written by one job in any thread, and kept by
// the store until it is all in windows: a job that fails is repeated with the same frozen head,
// which starts where the last one stopped.
//
//   1. names     meta: metrics and batteries, so that numbers in segments mean the same for ever
//   2. runs      each window: encoded runs and its counts, in commits of up to BB_COMMIT_BYTES_MAX
//   3. seal      meta: have-sets, sealed_through, window counts, in one transaction
//
// A crash before 3 leaves runs that the journal brings back once more; merging makes that harmless.
// New folders are not named by meta before 3, so the next open removes them and replays.
#ifndef BB_STORE_FLUSH_H
#define BB_STORE_FLUSH_H

#include "storage/bb_store_private.h"

// Freezes the active head, which is replaced by a new one. `sealed_through` of the journal.
bb_flush_t *bb_flush_new(bb_store_t *store, uint64_t sealed_through);
void bb_flush_destroy(bb_flush_t **self);
uint64_t bb_flush_bytes(const bb_flush_t *self);
uint64_t bb_flush_points(const bb_flush_t *self);
const bb_head_t *bb_flush_head(const bb_flush_t *self);
bb_head_t *bb_flush_head_retain(bb_flush_t *self);

// In any thread. *must_fence: a commit or sync failed other than by a full disk.
BB_MUST_CHECK bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault);
// On the store's thread, after _run was successful: the windows and counts are the store's now.
void bb_flush_publish(bb_flush_t *self, bb_store_t *store);

// Commits; a failure other than a full disk sets *must_fence. Merges use it, too.
BB_MUST_CHECK bb_error_t bb_store_commit(bb_kv_driver_t *kv, bb_kv_txn_t **txn, bool *must_fence);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_store_seal - columns of one flush on their way into windows, and the record that seals them.
//
// Private to bb_store*.c. Made on the store's thread when a head is frozen, filled by one job in
// any thread, and kept until all is in windows: an attempt that fails is repeated with the same
// seal, which knows the windows that are complete.
//
//   1. bb_seal_names     meta: metrics and batteries, so that numbers in segments mean the same for
//                        ever
//   2. per window        bb_seal_window_begin, bb_seal_add for each battery, bb_seal_window_end:
//   runs,
//                        into a new segment beside those that the window has
//   3. bb_seal_commit    meta: have-sets, sealed_through, windows, in one transaction
//   4. bb_seal_publish   on the store's thread: the segments are the store's now
//
// A crash before 3 leaves folders that meta does not name: the next open removes them, and the
// journal brings their points back once more. What is in a window already is not touched, so one
// that is damaged, or whose map is full, keeps no point out. A segment ends when its map is nearly
// full; the next one goes on.
#ifndef BB_STORE_SEAL_H
#define BB_STORE_SEAL_H

#include "storage/bb_store_private.h"
#include "storage/segment/bb_run.h"

typedef struct bb_seal bb_seal_t;

// Takes the names that are not in meta yet, the have-sets that changed since the last flush, and
// the dots that are to be adopted (bb_store_sync.h).
bb_seal_t *bb_seal_new(bb_store_t *store, uint64_t sealed_through);
void bb_seal_destroy(bb_seal_t **self);

// *must_fence of all: a commit or sync failed other than by a full disk.

// No effect if an attempt before has done it.
BB_MUST_CHECK bb_error_t bb_seal_names(bb_seal_t *self, bool *must_fence, bb_fault_t *fault);

// True if an attempt before has written the window completely: it must not be begun again.
bool bb_seal_has_window(const bb_seal_t *self, bb_window_id_t id);
BB_MUST_CHECK bb_error_t bb_seal_window_begin(bb_seal_t *self, bb_window_id_t id, bool *must_fence,
                                              bb_fault_t *fault);
// Encodes and writes one run. Ascending by (partition, battery), any number of runs a battery; the
// input is borrowed for the call.
BB_MUST_CHECK bb_error_t bb_seal_add(bb_seal_t *self, uint32_t partition, uint32_t battery,
                                     const bb_run_input_t *input);
// Ends the window that was begun, whatever `error` its filling gave; returns it or that of the last
// commit, with the window named in the fault.
BB_MUST_CHECK bb_error_t bb_seal_window_end(bb_seal_t *self, bb_error_t error, bb_fault_t *fault);

BB_MUST_CHECK bb_error_t bb_seal_commit(bb_seal_t *self, bool *must_fence, bb_fault_t *fault);
// On the store's thread, after _commit was successful.
void bb_seal_publish(bb_seal_t *self, bb_store_t *store);

// Commits; a failure other than a full disk sets *must_fence. Merges use it, too.
BB_MUST_CHECK bb_error_t bb_store_commit(bb_kv_driver_t *kv, bb_kv_txn_t **txn, bool *must_fence);

#endif

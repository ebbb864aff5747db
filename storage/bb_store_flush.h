// SPDX-License-Identifier: Apache-2.0
// bb_store_flush - a frozen head on its way into windows.
//
// Private to bb_store*.c. Made on the store's thread, written by one job in any thread, and kept by
// the store until it is all in windows: a job that fails is repeated with the same frozen head,
// which starts where the last one stopped. This gathers the columns of each battery and window;
// bb_store_seal.h writes them and says in which order, and what a crash leaves.
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

// In any thread, before _run: names of batteries and metrics are durable. May be repeated.
BB_MUST_CHECK bb_error_t bb_flush_names(bb_flush_t *self, bool *must_fence, bb_fault_t *fault);
// In any thread. *must_fence: a commit or sync failed other than by a full disk.
BB_MUST_CHECK bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault);
// On the store's thread, after _run was successful: the windows and counts are the store's now.
void bb_flush_publish(bb_flush_t *self, bb_store_t *store);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_store_retention - old points of one store: refused, left out, and deleted by whole windows.
//
// Private to bb_store*.c. Everything belongs to the store's thread but bb_retire_run.
//
//   clock ──▶ intake floors          the coordinator refuses what is older, by name
//                                    replicas leave it out when they apply; it stays in the journal
//   flush     everything in the head goes into windows
//   rollups   days that are about to go are computed
//   retire ──▶ floors and the list of windows in one transaction of the meta map; then folders go
//
// A crash before the transaction leaves all as it was; one after it leaves folders that meta does
// not name, which the next open removes. A snapshot keeps the windows that it holds.
#ifndef BB_STORE_RETENTION_H
#define BB_STORE_RETENTION_H

#include "storage/bb_store_private.h"

// ---- intake ----------------------------------------------------------------------------------
// Is some frame of the batch below a floor? One comparison a frame, none while nothing has one.
bool bb_store_has_old(const bb_store_t *self, const bb_batch_t *batch);
// Calls `reject` for points of a frame that are below the floor of their class: with UINT32_MAX for
// the metric when all are, and *is_gone is set. `is_refused` (per metric of the shape): named
// already. Returns how many points were named.
uint32_t bb_store_check_floor(bb_store_t *self, const bb_batch_t *batch,
                              const bb_batch_cursor_t *at, uint32_t frame, const bool *is_refused,
                              bb_store_reject_fn reject, void *context, bool *is_gone);

// What is left of a batch without its old points.
typedef struct {
    uint8_t *bytes;
    bb_batch_t batch;
    uint32_t *quarantined;
    uint32_t quarantined_count;
} bb_store_clipped_t;

// NOT_FOUND: nothing is left. LIMIT, BATCH_BYTES: it cannot be cut.
BB_MUST_CHECK bb_error_t bb_store_clip(bb_store_t *self, const bb_chunks_t *chunks,
                                       const bb_batch_t *batch, const bool *keep,
                                       bb_store_clipped_t *clipped);
void bb_store_clipped_free(bb_store_clipped_t *self);

// ---- retiring --------------------------------------------------------------------------------
void bb_store_retention_step(bb_store_t *self, int64_t now_wall_ns);

typedef struct bb_retire bb_retire_t;
bb_retire_t *bb_retire_new(bb_store_t *store); // NULL: nothing to do, or not yet
BB_MUST_CHECK bb_error_t bb_retire_run(bb_retire_t *self, bool *must_fence, bb_fault_t *fault);
void bb_retire_publish(bb_retire_t *self, bb_store_t *store);
void bb_retire_destroy(bb_retire_t **self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_sync_batches - merged points of batteries, written as batches for a replica that lacks them.
//
// Pure; one thread. Runs go in, batches without dots come out: one revision and one partition each,
// at most BB_SYNC_BATCH_BYTES_MAX before they are packed. Which rows of a battery lie in which
// batch means nothing: whoever takes them merges them.
#ifndef BB_SYNC_BATCHES_H
#define BB_SYNC_BATCHES_H

#include "protocol/bb_batch.h"
#include "storage/segment/bb_run.h"

// Then the next batch begins.
#define BB_SYNC_BATCH_BYTES_MAX (2u << 20)

typedef struct bb_sync_batches bb_sync_batches_t;

typedef struct {
    uint8_t *data; // malloc'd, 8-byte aligned
    size_t length;
} bb_sync_batch_t;

bb_sync_batches_t *bb_sync_batches_new(uint32_t partition);
void bb_sync_batches_destroy(bb_sync_batches_t **self);

// Whose runs come next. The id is borrowed until the next call.
void bb_sync_batches_battery(bb_sync_batches_t *self, bb_slice_t id);
// Adds the rows of a run with from <= time < to. metric_names: by the run's metric numbers; they
// and texts of states are copied. BB_ERR_CORRUPT: a block does not verify, or a metric has no name;
// everything since _new is void then.
BB_MUST_CHECK bb_error_t bb_sync_batches_add(bb_sync_batches_t *self, const bb_run_t *run,
                                             const bb_slice_t *metric_names, uint32_t metric_count,
                                             int64_t from_wall_ns, int64_t to_wall_ns);
// What was added takes at most this much, once it is encoded.
size_t bb_sync_batches_bytes(const bb_sync_batches_t *self);
uint64_t bb_sync_batches_points(const bb_sync_batches_t *self);
// Gives the batches, and with them their memory: an array of *count that the caller frees. Nothing
// is in `self` then.
bb_sync_batch_t *bb_sync_batches_take(bb_sync_batches_t *self, uint32_t *count);
// Frees what _take gave.
void bb_sync_batch_list_free(bb_sync_batch_t **list, uint32_t count);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_store_fingerprint - fingerprints of windows, computed by merges and kept in the meta map.
//
// Private to bb_store*.c. A merge that makes one segment of a whole window reads every point of it
// once more and records one fingerprint (storage/segment/bb_fingerprint.h) a partition, together
// with the number of that segment. They hold as long as the window is that segment alone: with the
// next flush into it the window is dirty, until it is merged again.
#ifndef BB_STORE_FINGERPRINT_H
#define BB_STORE_FINGERPRINT_H

#include "storage/bb_store_meta.h"
#include "storage/segment/bb_fingerprint.h"

typedef struct bb_fingerprinter bb_fingerprinter_t;

// Any thread; holds a read transaction on the meta map for the names. NULL: there is none to be
// had.
bb_fingerprinter_t *bb_fingerprinter_new(bb_kv_driver_t *kv, bb_kv_env_t *meta,
                                         const uint8_t key[BB_FINGERPRINT_KEY_BYTES]);
void bb_fingerprinter_destroy(bb_fingerprinter_t **self);
// Adds a run of the output. Ascending by (partition, battery). CORRUPT: a block or a name does not
// verify: there will be no fingerprints of this window.
BB_MUST_CHECK bb_error_t bb_fingerprinter_add(bb_fingerprinter_t *self, uint32_t partition,
                                              uint32_t battery, const bb_run_t *run);
// Puts what was added into the batch, as that of the segment.
void bb_fingerprinter_record(const bb_fingerprinter_t *self, bb_window_id_t window, uint64_t number,
                             bb_meta_batch_t *batch);

#endif

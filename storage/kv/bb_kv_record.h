// SPDX-License-Identifier: Apache-2.0
// bb_kv_record - values of a map that carry a checksum of their own.
//
// Pure but for the driver it is given. LMDB has no checksums: a bit that flips in one of its pages
// changes a key or a value, and nobody sees it. Behind each value of a map whose values have no
// other checksum stands one:
//
//   value   u32 CRC-32C over the key, then the value
//
// It covers the key, so that a value that is met under another key is damage, too. What it cannot
// see is a record that is not met at all: bb_kv_walk counts them.
#ifndef BB_KV_RECORD_H
#define BB_KV_RECORD_H

#include "storage/kv/bb_kv.h"

#define BB_KV_RECORD_SUM_BYTES 4u

// The value of what was read under `key`; part of `record`. CORRUPT: they are not what was written.
BB_MUST_CHECK bb_error_t bb_kv_record_open(bb_slice_t key, bb_slice_t record, bb_slice_t *value);

// As get and put of the driver, with the checksum; _get has CORRUPT in addition.
BB_MUST_CHECK bb_error_t bb_kv_record_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t key,
                                          bb_slice_t *value);
BB_MUST_CHECK bb_error_t bb_kv_record_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t key,
                                          bb_slice_t value);

// Visits each entry as it is stored, in the order of keys; an error ends the walk. CORRUPT with a
// sentence: keys do not ascend, or there are not as many as the map itself counts, so that some
// vanished.
typedef bb_error_t (*bb_kv_walk_fn)(void *context, bb_slice_t key, bb_slice_t record,
                                    bb_fault_t *fault);
BB_MUST_CHECK bb_error_t bb_kv_walk(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_kv_walk_fn visit,
                                    void *context, bb_fault_t *fault);

#endif

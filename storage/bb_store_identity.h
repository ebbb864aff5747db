// SPDX-License-Identifier: Apache-2.0
// bb_store_identity - the file busbar.store: whose folder it is, and in which format.
//
// Pure. Little-endian, no padding, 128 bytes:
//
//      0  magic 'BBST'     4  u32 format        8  cluster id (16)
//     24  u32 store index  28  u32 store count  32  u32 partitions
//     36  u32 bytes of the node id              40  node id (64)
//    104  zero (20)       124  CRC-32C of bytes [0, 124)
#ifndef BB_STORE_IDENTITY_H
#define BB_STORE_IDENTITY_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#define BB_STORE_FORMAT         2u
#define BB_STORE_IDENTITY_BYTES 128u
#define BB_STORE_IDENTITY_FILE  "busbar.store"

typedef struct {
    uint32_t format;
    uint8_t cluster_id[16];
    uint32_t store_index, store_count, partition_count;
    char node_id[BB_NODE_ID_BYTES_MAX + 1];
} bb_store_identity_t;

void bb_store_identity_encode(const bb_store_identity_t *self,
                              uint8_t out[BB_STORE_IDENTITY_BYTES]);
// Any bytes are safe. BB_ERR_CORRUPT: not such a file (length, magic, checksum, node id). A format
// that is not ours is decoded: _check refuses it.
BB_MUST_CHECK bb_error_t bb_store_identity_decode(bb_slice_t encoded, bb_store_identity_t *self);
// BB_ERR_FORMAT or BB_ERR_FOREIGN with a sentence that begins with `path`.
BB_MUST_CHECK bb_error_t bb_store_identity_check(const bb_store_identity_t *found,
                                                 const bb_store_identity_t *wanted,
                                                 const char *path, bb_fault_t *fault);
// What binds the files of a journal to the store: bb_hash_bytes (bb_hash.h) with seed 0 over the
// 128 bytes. It is stored in every journal file, so this use of that hash may never change.
uint64_t bb_store_identity_owner(const bb_store_identity_t *self);

#endif

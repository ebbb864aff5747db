// SPDX-License-Identifier: Apache-2.0
// bb_store_mark - the file busbar.mark in a store's folder: which start of its node it has seen.
//
// A node's boot number and marks (node/control/bb_boot.h) are kept apart from its stores, so they
// cannot tell that a store alone was lost or put back from a copy. Therefore each number is written
// into every store's folder before anywhere else: a store that knows a smaller one than the node
// does is not the one that made the node's promises. Little-endian, 32 bytes:
//
//      0  magic 'BBMK'     4  u32 format, 1      8  u32 boot    12  u32 mark
//     16  zero (12)       28  CRC-32C of bytes [0, 28)
//
// Replaced by rename, so that a crash leaves the one before or the new one.
#ifndef BB_STORE_MARK_H
#define BB_STORE_MARK_H

#include "storage/vfs/bb_file.h"

#define BB_STORE_MARK_FILE  "busbar.mark"
#define BB_STORE_MARK_BYTES 32u

typedef struct {
    uint32_t boot, mark;
} bb_store_mark_t;

// `directory`: of the store; it exists. Durable on BB_OK. Errors: those of the vfs; the mark before
// is still there, or the new one.
BB_MUST_CHECK bb_error_t bb_store_mark_write(bb_vfs_t *vfs, const char *directory,
                                             bb_store_mark_t mark);
// Errors: NOT_FOUND; CORRUPT: not what was written; those of the vfs.
BB_MUST_CHECK bb_error_t bb_store_mark_read(bb_vfs_t *vfs, const char *directory,
                                            bb_store_mark_t *mark);
static inline bool bb_store_mark_is_before(bb_store_mark_t a, bb_store_mark_t b)
{
    return a.boot < b.boot || (a.boot == b.boot && a.mark < b.mark);
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_arena - memory that is handed out bit by bit and given back all at once.
//
// Pure. One thread allocates; what was handed out may be read by others as long as the arena lives.
// A cleared structure is an empty arena. Blocks start at 16 KiB and double up to 1 MiB; a larger
// request gets a block of its own.
#ifndef BB_ARENA_H
#define BB_ARENA_H

#include "protocol/bb_base.h"

typedef struct bb_arena_block bb_arena_block_t;

// Blocks of full size that arenas gave back, for the next one: memory that goes back to the system
// is faulted in again page by page, which cost a head as much as filling it. Counted: each arena
// that uses it holds a reference. Blocks are taken by one thread and given back by any.
typedef struct bb_arena_pool bb_arena_pool_t;
bb_arena_pool_t *bb_arena_pool_new(uint64_t bytes_max);    // keeps at most so many
void bb_arena_pool_release(bb_arena_pool_t **self);        // with the last reference its blocks go
uint64_t bb_arena_pool_bytes(const bb_arena_pool_t *self); // kept at the moment

typedef struct {
    bb_arena_block_t *blocks; // newest first
    uint8_t *next;
    size_t left_bytes;
    size_t block_bytes;    // of the newest block, 0 = none yet
    uint64_t used_bytes;   // handed out so far, rounded up to 8
    bb_arena_pool_t *pool; // NULL = the system
} bb_arena_t;

// For an empty arena; NULL: none. The arena holds a reference until _free.
void bb_arena_use_pool(bb_arena_t *self, bb_arena_pool_t *pool);

// 8-byte aligned, not cleared, never NULL. Valid until _reset or _free.
void *bb_arena_alloc(bb_arena_t *self, size_t size_bytes);
void *bb_arena_copy(bb_arena_t *self, const void *data, size_t size_bytes);
void bb_arena_reset(bb_arena_t *self); // empty; keeps the newest block when it is an ordinary one
void bb_arena_free(bb_arena_t *self);  // empty; keeps nothing, nor the pool

#endif

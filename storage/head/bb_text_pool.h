// SPDX-License-Identifier: Apache-2.0
// bb_text_pool - state texts kept once: equal texts have one address, which never moves.
//
// Pure memory, one owner. The texts lie in an arena of the owner's and live as long as that; the
// pool is the table that finds them (open addressing, at most half full).
#ifndef BB_TEXT_POOL_H
#define BB_TEXT_POOL_H

#include "protocol/bb_value.h"
#include "storage/head/bb_arena.h"

// A cleared structure is empty.
typedef struct {
    const bb_text_t **slots;
    uint32_t count, slot_count; // slot_count: a power of two, or 0
} bb_text_pool_t;

void bb_text_pool_free(bb_text_pool_t *self); // empty again; the texts are the arena's
// NULL: it was never kept.
const bb_text_t *bb_text_pool_find(const bb_text_pool_t *self, bb_slice_t text);
// Copied if it is new.
const bb_text_t *bb_text_pool_keep(bb_text_pool_t *self, bb_arena_t *arena, bb_slice_t text);
uint64_t bb_text_pool_bytes(const bb_text_pool_t *self); // of the table alone

#endif

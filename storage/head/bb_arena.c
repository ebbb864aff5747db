// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_arena.h"

#include <stdlib.h>
#include <string.h>

#define S_BLOCK_BYTES_MIN (16u << 10)
#define S_BLOCK_BYTES_MAX (1u << 20)

struct bb_arena_block {
    bb_arena_block_t *next;
    size_t size_bytes;
    uint64_t data[];
};

static void s_add_block(bb_arena_t *self, size_t size_bytes)
{
    bb_arena_block_t *block = bb_alloc(sizeof *block + size_bytes);
    block->next = self->blocks;
    block->size_bytes = size_bytes;
    self->blocks = block;
    self->next = (uint8_t *)block->data;
    self->left_bytes = size_bytes;
}

void *bb_arena_alloc(bb_arena_t *self, size_t size_bytes)
{
    // Nothing asked for is still a valid address.
    size_t rounded = (BB_MAX(size_bytes, (size_t)1) + 7) & ~(size_t)7;
    BB_ASSERT(rounded >= size_bytes);
    if (rounded > self->left_bytes) {
        size_t block_bytes = self->block_bytes ? self->block_bytes * 2 : S_BLOCK_BYTES_MIN;
        block_bytes = BB_MIN(block_bytes, (size_t)S_BLOCK_BYTES_MAX);
        if (rounded > block_bytes / 4) {
            // A block of its own, behind the current one, which goes on being filled.
            bb_arena_block_t *block = bb_alloc(sizeof *block + rounded);
            block->size_bytes = rounded;
            block->next = self->blocks ? self->blocks->next : NULL;
            if (self->blocks) {
                self->blocks->next = block;
            } else {
                self->blocks = block;
            }
            self->used_bytes += rounded;
            return block->data;
        }
        s_add_block(self, block_bytes);
        self->block_bytes = block_bytes;
    }
    void *memory = self->next;
    self->next += rounded;
    self->left_bytes -= rounded;
    self->used_bytes += rounded;
    return memory;
}

void *bb_arena_copy(bb_arena_t *self, const void *data, size_t size_bytes)
{
    void *copy = bb_arena_alloc(self, size_bytes);
    if (size_bytes > 0) {
        memcpy(copy, data, size_bytes);
    }
    return copy;
}

void bb_arena_reset(bb_arena_t *self)
{
    bb_arena_block_t *kept = self->blocks;
    if (!kept || kept->size_bytes != self->block_bytes) {
        bb_arena_free(self);
        return;
    }
    bb_arena_block_t *block = kept->next;
    while (block) {
        bb_arena_block_t *next = block->next;
        free(block);
        block = next;
    }
    kept->next = NULL;
    self->next = (uint8_t *)kept->data;
    self->left_bytes = kept->size_bytes;
    self->used_bytes = 0;
}

void bb_arena_free(bb_arena_t *self)
{
    bb_arena_block_t *block = self->blocks;
    while (block) {
        bb_arena_block_t *next = block->next;
        free(block);
        block = next;
    }
    *self = (bb_arena_t){0};
}

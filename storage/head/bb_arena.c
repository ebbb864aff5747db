// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_arena.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define S_BLOCK_BYTES_MIN (16u << 10)
#define S_BLOCK_BYTES_MAX (1u << 20)

struct bb_arena_block {
    bb_arena_block_t *next;
    size_t size_bytes;
    uint64_t data[];
};

// ---- the pool --------------------------------------------------------------------------------
struct bb_arena_pool {
    atomic_uint_fast32_t reference_count;
    uint64_t bytes_max;
    atomic_uint_fast64_t bytes;
    _Atomic(bb_arena_block_t *) top; // a stack: any thread puts one on it, only one takes
};

bb_arena_pool_t *bb_arena_pool_new(uint64_t bytes_max)
{
    bb_arena_pool_t *self = bb_alloc_zero(1, sizeof *self);
    atomic_init(&self->reference_count, 1);
    self->bytes_max = bytes_max;
    atomic_init(&self->bytes, 0);
    atomic_init(&self->top, NULL);
    return self;
}

static void s_free_list(bb_arena_block_t *block)
{
    while (block) {
        bb_arena_block_t *next = block->next;
        free(block);
        block = next;
    }
}

void bb_arena_pool_release(bb_arena_pool_t **self)
{
    bb_arena_pool_t *pool = *self;
    *self = NULL;
    if (pool && atomic_fetch_sub_explicit(&pool->reference_count, 1, memory_order_acq_rel) == 1) {
        s_free_list(atomic_load(&pool->top));
        free(pool);
    }
}

uint64_t bb_arena_pool_bytes(const bb_arena_pool_t *self)
{
    return atomic_load(&self->bytes);
}

// What is on top stays there until this thread takes it, so its `next` does not change meanwhile.
static bb_arena_block_t *s_take(bb_arena_pool_t *self)
{
    bb_arena_block_t *top = atomic_load(&self->top);
    while (top && !atomic_compare_exchange_weak(&self->top, &top, top->next)) {
    }
    if (top) {
        atomic_fetch_sub(&self->bytes, top->size_bytes);
    }
    return top;
}

static void s_give(bb_arena_pool_t *self, bb_arena_block_t *block)
{
    uint64_t before = atomic_fetch_add(&self->bytes, block->size_bytes);
    if (before + block->size_bytes > self->bytes_max) {
        atomic_fetch_sub(&self->bytes, block->size_bytes);
        free(block);
        return;
    }
    block->next = atomic_load(&self->top);
    while (!atomic_compare_exchange_weak(&self->top, &block->next, block)) {
    }
}

void bb_arena_use_pool(bb_arena_t *self, bb_arena_pool_t *pool)
{
    BB_ASSERT(!self->blocks);
    BB_ASSERT(!self->pool);
    if (pool) {
        atomic_fetch_add_explicit(&pool->reference_count, 1, memory_order_relaxed);
    }
    self->pool = pool;
}

// ---- the arena -------------------------------------------------------------------------------
static bb_arena_block_t *s_block_new(const bb_arena_t *self, size_t size_bytes)
{
    bb_arena_block_t *block =
        self->pool && size_bytes == S_BLOCK_BYTES_MAX ? s_take(self->pool) : NULL;
    return block ? block : bb_alloc(sizeof *block + size_bytes);
}

static void s_blocks_free(const bb_arena_t *self, bb_arena_block_t *block)
{
    while (block) {
        bb_arena_block_t *next = block->next;
        if (self->pool && block->size_bytes == S_BLOCK_BYTES_MAX) {
            s_give(self->pool, block);
        } else {
            free(block);
        }
        block = next;
    }
}

static void s_add_block(bb_arena_t *self, size_t size_bytes)
{
    bb_arena_block_t *block = s_block_new(self, size_bytes);
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
        s_blocks_free(self, kept);
        *self = (bb_arena_t){.pool = self->pool};
        return;
    }
    s_blocks_free(self, kept->next);
    kept->next = NULL;
    self->next = (uint8_t *)kept->data;
    self->left_bytes = kept->size_bytes;
    self->used_bytes = 0;
}

void bb_arena_free(bb_arena_t *self)
{
    s_blocks_free(self, self->blocks);
    bb_arena_pool_release(&self->pool);
    *self = (bb_arena_t){0};
}

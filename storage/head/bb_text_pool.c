// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_text_pool.h"

#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_hash.h"

#define S_SLOTS_MIN 64u

void bb_text_pool_free(bb_text_pool_t *self)
{
    free(self->slots);
    *self = (bb_text_pool_t){0};
}

uint64_t bb_text_pool_bytes(const bb_text_pool_t *self)
{
    return (uint64_t)self->slot_count * sizeof *self->slots;
}

// Where the text is, or would be.
static const bb_text_t **s_slot(const bb_text_pool_t *self, bb_slice_t text)
{
    uint64_t slot = bb_hash_bytes(0, text.data, text.length);
    for (;; slot++) {
        const bb_text_t **at = &self->slots[slot & (self->slot_count - 1)];
        if (!*at || ((*at)->length == text.length &&
                     (text.length == 0 || memcmp((*at)->bytes, text.data, text.length) == 0))) {
            return at;
        }
    }
}

static void s_grow(bb_text_pool_t *self)
{
    bb_text_pool_t old = *self;
    self->slot_count = old.slot_count ? old.slot_count * 2 : S_SLOTS_MIN;
    self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
    for (uint32_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i]) {
            *s_slot(self, bb_slice(old.slots[i]->bytes, old.slots[i]->length)) = old.slots[i];
        }
    }
    free(old.slots);
}

const bb_text_t *bb_text_pool_find(const bb_text_pool_t *self, bb_slice_t text)
{
    return self->slot_count > 0 ? *s_slot(self, text) : NULL;
}

const bb_text_t *bb_text_pool_keep(bb_text_pool_t *self, bb_arena_t *arena, bb_slice_t text)
{
    if (self->count >= self->slot_count / 2) {
        s_grow(self);
    }
    const bb_text_t **slot = s_slot(self, text);
    if (!*slot) {
        bb_text_t *fresh = bb_arena_alloc(arena, sizeof *fresh + text.length);
        fresh->length = (uint32_t)text.length;
        if (text.length > 0) {
            memcpy(fresh->bytes, text.data, text.length);
        }
        *slot = fresh;
        self->count++;
        BB_ASSERT(self->count <= self->slot_count / 2);
    }
    return *slot;
}

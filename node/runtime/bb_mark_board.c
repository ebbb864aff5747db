// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_mark_board.h"

#include <stdatomic.h>
#include <stdlib.h>

struct bb_mark_board {
    uint32_t peer_count, store_count;
    bool has_news; // the writer's
    _Atomic uint64_t *marks;
    _Atomic bool *is_told; // per store: a notice is on its way
};

bb_mark_board_t *bb_mark_board_new(uint32_t peer_count, uint32_t store_count)
{
    BB_ASSERT(peer_count > 0 && store_count > 0);
    bb_mark_board_t *self = bb_alloc_zero(1, sizeof *self);
    self->peer_count = peer_count;
    self->store_count = store_count;
    self->marks = bb_alloc_zero(peer_count, sizeof *self->marks);
    self->is_told = bb_alloc_zero(store_count, sizeof *self->is_told);
    return self;
}

void bb_mark_board_destroy(bb_mark_board_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        free((*self)->marks);
        free((*self)->is_told);
        free(*self);
        *self = NULL;
    }
}

void bb_mark_board_set(bb_mark_board_t *self, uint32_t peer, uint64_t mark)
{
    BB_ASSERT(self && peer < self->peer_count);
    self->has_news |= mark != atomic_load_explicit(&self->marks[peer], memory_order_relaxed);
    atomic_store_explicit(&self->marks[peer], mark, memory_order_relaxed);
}

bool bb_mark_board_has_news(bb_mark_board_t *self)
{
    BB_ASSERT(self);
    bool has_news = self->has_news;
    self->has_news = false;
    return has_news;
}

// If the store takes its notice first, this sees false and there is another one; if it takes it
// later, its exchange reads this one and with it sees the marks set before.
bool bb_mark_board_tell(bb_mark_board_t *self, uint32_t store)
{
    BB_ASSERT(self && store < self->store_count);
    return !atomic_exchange_explicit(&self->is_told[store], true, memory_order_acq_rel);
}

void bb_mark_board_take(bb_mark_board_t *self, uint32_t store)
{
    BB_ASSERT(self && store < self->store_count);
    bool was_told = atomic_exchange_explicit(&self->is_told[store], false, memory_order_acq_rel);
    BB_ASSERT(was_told);
}

uint64_t bb_mark_board_get(const bb_mark_board_t *self, uint32_t peer)
{
    BB_ASSERT(self && peer < self->peer_count);
    return atomic_load_explicit(&self->marks[peer], memory_order_relaxed);
}

// SPDX-License-Identifier: Apache-2.0
#include "client/bb_room_line.h"

#include <string.h>

static void s_join(bb_room_line_t *self, bb_room_waiter_t *waiter)
{
    if (waiter->is_waiting) {
        return;
    }
    waiter->is_waiting = true;
    waiter->next = NULL;
    waiter->previous = self->last;
    if (self->last) {
        self->last->next = waiter;
    } else {
        self->first = waiter;
    }
    self->last = waiter;
}

static void s_remove(bb_room_line_t *self, bb_room_waiter_t *waiter)
{
    BB_ASSERT(waiter->is_waiting);
    waiter->is_waiting = false;
    if (waiter->previous) {
        waiter->previous->next = waiter->next;
    } else {
        self->first = waiter->next;
    }
    if (waiter->next) {
        waiter->next->previous = waiter->previous;
    } else {
        self->last = waiter->previous;
    }
}

bool bb_room_line_take(bb_room_line_t *self, bb_room_waiter_t *waiter, uint32_t link, bool has_room)
{
    BB_ASSERT(self && waiter && link < BB_NODES_MAX);
    bool is_turn = self->turn == waiter;
    if (!is_turn && !self->first) { // nobody is kept back by what was found before
        memset(self->is_short, 0, sizeof self->is_short);
    }
    self->is_short[link] |= !has_room;
    if (self->is_short[link]) { // until the next round, which what gets free will bring
        s_join(self, waiter);
        return false;
    }
    if (!is_turn && self->first) {
        s_join(self, waiter);
        self->is_round_due = true;
        return false;
    }
    waiter->was_served = true;
    return true;
}

void bb_room_line_freed(bb_room_line_t *self)
{
    BB_ASSERT(self);
    self->is_round_due = true;
}

void bb_room_line_leave(bb_room_line_t *self, bb_room_waiter_t *waiter)
{
    BB_ASSERT(self && waiter);
    if (waiter->is_waiting) {
        s_remove(self, waiter);
        self->is_round_due = true;
    }
}

static uint32_t s_count(const bb_room_line_t *self)
{
    uint32_t count = 0;
    for (const bb_room_waiter_t *at = self->first; at; at = at->next) {
        count++;
    }
    return count;
}

void bb_room_line_round(bb_room_line_t *self)
{
    BB_ASSERT(self && !self->turn);
    if (!self->is_round_due) {
        return;
    }
    self->is_round_due = false;
    memset(self->is_short, 0, sizeof self->is_short);
    for (uint32_t left = s_count(self); left > 0 && self->first; left--) {
        bb_room_waiter_t *waiter = self->first;
        s_remove(self, waiter);
        waiter->was_served = false;
        self->turn = waiter;
        waiter->run(waiter); // its owner may end with its last job
        self->turn = NULL;
    }
    // Rule 3. Those that got nothing have joined again in their order.
    bb_room_waiter_t *waiter = self->first;
    for (uint32_t left = s_count(self); left > 0; left--) {
        bb_room_waiter_t *next = waiter->next;
        if (waiter->was_served) {
            s_remove(self, waiter);
            s_join(self, waiter);
        }
        waiter = next;
    }
}

// SPDX-License-Identifier: Apache-2.0
// bb_room_line - the line of those that wait for room on the way to nodes, and whose turn it is.
//
// Pure; of the background thread (bb_io). Whether there is room for a batch is bb_allowance's; this
// says who may take it. Turns are given in rounds, one to each in line. Three rules make it fair:
//   1. Outside its turn nobody passes by who waits already.
//   2. In a round nobody takes room of a link that one before found too short for its batch. So a
//      large batch fits some time, however many small ones there are.
//   3. Who got something in a round is behind all that got nothing in the next one. So each is the
//      first some time, however long its line.
#ifndef BB_ROOM_LINE_H
#define BB_ROOM_LINE_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

// One in line. Memory of its owner, all zero but `run` at first; it leaves before that ends.
typedef struct bb_room_waiter {
    struct bb_room_waiter *next, *previous;
    bool is_waiting;
    bool was_served; // private: it got something in its last turn
    // Its turn: it is out of the line, and bb_room_line_take puts it back where it must.
    void (*run)(struct bb_room_waiter *self);
} bb_room_waiter_t;

typedef struct { // all zero at first
    bb_room_waiter_t *first, *last;
    const bb_room_waiter_t *turn; // whose it is now; NULL outside of rounds
    bool is_round_due;
    bool is_short[BB_NODES_MAX]; // per link: since the last round began somebody found no room
} bb_room_line_t;

// May the waiter's owner send a batch to the link, which has room for it or not? If not, the waiter
// is in line afterwards, and a round is due when only others in line kept it back.
BB_MUST_CHECK bool bb_room_line_take(bb_room_line_t *self, bb_room_waiter_t *waiter, uint32_t link,
                                     bool has_room);
// Some link may have more room: a round is due.
void bb_room_line_freed(bb_room_line_t *self);
// It waits no more; those that it kept back may have their turn. Nothing if it does not wait.
void bb_room_line_leave(bb_room_line_t *self, bb_room_waiter_t *waiter);
// A round, if one is due.
void bb_room_line_round(bb_room_line_t *self);

#endif

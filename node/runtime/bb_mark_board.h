// SPDX-License-Identifier: Apache-2.0
// bb_mark_board - the last mark of each peer's have-sets, for all stores of a node to read.
//
// Marks (node/ingest/bb_have_mark.h) come with heartbeats and, under load, change with each. A
// store needs only the last ones, about once a second; so they are written here, and a store has at
// most one notice in its mailbox that there are new ones, however long it does not look.
// The mesh actor writes and tells, each store takes; nothing else is shared. No locks.
#ifndef BB_MARK_BOARD_H
#define BB_MARK_BOARD_H

#include "protocol/bb_base.h"

typedef struct bb_mark_board bb_mark_board_t;

// All marks are 0, which says nothing.
bb_mark_board_t *bb_mark_board_new(uint32_t peer_count, uint32_t store_count);
void bb_mark_board_destroy(bb_mark_board_t **self);

// ---- the writer ----
void bb_mark_board_set(bb_mark_board_t *self, uint32_t peer, uint64_t mark);
// True, once, if a mark has changed since this was last true: time for bb_mark_board_tell.
BB_MUST_CHECK bool bb_mark_board_has_news(bb_mark_board_t *self);
// True: send the store a notice. False: it has not taken the last one yet, and will read these too.
BB_MUST_CHECK bool bb_mark_board_tell(bb_mark_board_t *self, uint32_t store);

// ---- a store ----
// It got the notice. To be called before it reads.
void bb_mark_board_take(bb_mark_board_t *self, uint32_t store);
uint64_t bb_mark_board_get(const bb_mark_board_t *self, uint32_t peer);

#endif

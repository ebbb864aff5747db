// SPDX-License-Identifier: Apache-2.0
// bb_liveness - how good an idea it is to talk to a node now, from what was seen of it.
//
// Pure; one per connection, owned by the background thread.
//
//   connecting ──CONNECTED──▶ good ◀──ANSWERED── suspect
//        │                     │ └──TIMED_OUT──────▲ (penalty 1 s, doubling to 16 s)
//        └──DISCONNECTED──▶  down ◀──DISCONNECTED── any;  REFUSED: down until the next CONNECTED
#ifndef BB_LIVENESS_H
#define BB_LIVENESS_H

#include "protocol/bb_base.h"

// Ranks, as bb_view_choose wants them.
enum {
    BB_RANK_GOOD = 0,
    BB_RANK_CONNECTING = 1, // the first attempt is under way
    BB_RANK_SUSPECT = 2,    // connected, but did not answer lately or is shutting down
    BB_RANK_DOWN = 3,
};

typedef enum {
    BB_LIVENESS_CONNECTED, // handshake and HELLO done
    BB_LIVENESS_DISCONNECTED,
    BB_LIVENESS_ANSWERED,
    BB_LIVENESS_TIMED_OUT,
    BB_LIVENESS_STOPPING, // the node said so itself, or that its clock or disk is unfit
} bb_liveness_event_t;

typedef struct {
    uint8_t state; // one of BB_RANK_*
    uint32_t timeout_count;
    int64_t suspect_until_ns; // state SUSPECT: good again after this
} bb_liveness_t;

void bb_liveness_init(bb_liveness_t *self); // connecting
// True when the rank changed. `now_ns` is monotonic.
bool bb_liveness_step(bb_liveness_t *self, bb_liveness_event_t event, int64_t now_ns);
uint8_t bb_liveness_rank(const bb_liveness_t *self, int64_t now_ns);

#endif

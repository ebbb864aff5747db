// SPDX-License-Identifier: Apache-2.0
// bb_attempt - what to do next with a request that must end by a deadline: send it to another
// replica, wait a little, or give up, and with which error.
//
// Pure: time and randomness are arguments. One owner.
//
//            ┌────────────── SEND (to a node not tried in this round)
//   begin ───┤                 │ outcome
//            │     ┌───────────┴──────────┬───────────────────┐
//            │   ELSEWHERE, LATER,      BUSY                NEVER
//            │   UNKNOWN, no answer       │                   │
//            │     │                      ▼                   ▼
//            └─────┴── all tried: WAIT ◀──┘              GIVE_UP(error)
//                          └─ deadline passed ─▶ GIVE_UP(TIMEOUT if any attempt may have taken
//                                                effect, else the last error)
#ifndef BB_ATTEMPT_H
#define BB_ATTEMPT_H

#include "client/bb_view.h"

typedef enum {
    BB_OUTCOME_ANSWERED,     // with an error; success never comes here
    BB_OUTCOME_NO_ANSWER,    // the attempt's time is over
    BB_OUTCOME_DISCONNECTED, // after the request was sent: it may have arrived
    BB_OUTCOME_NOT_SENT,     // there was no connection: it cannot have taken effect
    BB_OUTCOME_NO_NODE,      // no replica was left to try
    BB_OUTCOME_CANCELLED,    // by its owner
} bb_outcome_t;

typedef enum {
    BB_ATTEMPT_SEND, // now, to a node that is not in `tried`
    BB_ATTEMPT_WAIT, // until wake_ns, then send
    BB_ATTEMPT_GIVE_UP,
} bb_attempt_move_t;

typedef struct {
    int64_t deadline_ns; // over all attempts
    int64_t attempt_ns;  // longest wait for one answer, in the first round
    uint32_t rounds_max; // give up after this many rounds over all replicas; 0 = only at deadline
    uint32_t sent_count; // counted by the owner, at each send
    uint32_t round_count;
    uint32_t busy_count; // BUSY answers in a row
    bool may_have_taken_effect;
    bb_error_t last_error;
    bb_node_set_t tried; // nodes of the current round
} bb_attempt_t;

typedef struct {
    bb_attempt_move_t move;
    int64_t wake_ns;  // WAIT
    bb_error_t error; // GIVE_UP
} bb_attempt_step_t;

// One attempt waits at most a third of the time and at most 2 s, so that a silent node costs
// little and at least two others get their turn. When all replicas were silent once, the work may
// just take longer: each further round waits twice as long.
void bb_attempt_begin(bb_attempt_t *self, int64_t now_ns, int64_t timeout_ns, uint32_t rounds_max);
// An attempt at `node` ended (node ignored for NO_NODE). `error` of ANSWERED must not be OK;
// retry_after_ms counts for BUSY; `random` is uniform.
bb_attempt_step_t bb_attempt_step(bb_attempt_t *self, int64_t now_ns, bb_outcome_t outcome,
                                  uint32_t node, bb_error_t error, uint32_t retry_after_ms,
                                  uint64_t random);
// When the answer of an attempt that is sent now must be there.
int64_t bb_attempt_due_ns(const bb_attempt_t *self, int64_t now_ns);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_attempt - what to do next with a request that must end by a deadline: send it to another
// replica, wait a little, or give up, and with which error.
//
// Pure: time and randomness are arguments. One owner.
//
//            ┌── _send ─────── SEND (to a node not tried in this round)
//   begin ───┤    │            │ outcome: _step
//            │    │no token ┌──┴──────────────────┬───────────────────┐
//            │    │       ELSEWHERE, LATER,      BUSY                NEVER
//            │    │       UNKNOWN, no answer      │                   │
//            │    ▼         │                     ▼                   ▼
//            └── WAIT ◀─────┴─ all tried: WAIT ◀──┘              GIVE_UP(error)
//                 └─ deadline passed ─▶ GIVE_UP(TIMEOUT if any attempt may have taken
//                                       effect, else the last error)
//
// Waits have full jitter (Brooker, "Exponential Backoff and Jitter", 2015): uniform in
// [0, min(cap, base x 2^n)], on top of what a busy node asked for.
//
// Repetitions are paid for (bb_retry_budget). What says that nodes have too much to do, BUSY,
// TIMEOUT and silence, waits for a token; what says that one node cannot (a connection that is not
// there or was lost, and every other error) is a failover and never waits.
#ifndef BB_ATTEMPT_H
#define BB_ATTEMPT_H

#include "client/bb_retry_budget.h"
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
    int64_t deadline_ns;  // over all attempts
    int64_t attempt_ns;   // longest wait for one answer, in the first round
    int64_t pause_ns_max; // give up after pauses of so much between rounds; 0 = only at deadline
    int64_t pause_ns;     // so far
    uint32_t sent_count;  // by _send; the owner may set it back to 0 to count from there
    uint32_t round_count;
    uint32_t busy_count;     // BUSY answers in a row
    uint32_t unfunded_count; // waits for a token in a row
    int32_t paid_tenths;     // by the send under way
    bool has_earned;         // its first request was counted
    bool was_sent;           // the next send is a repetition
    bool is_repetition;      // the send under way
    bool is_failover;        // the next send is one because a node is gone or unfit
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
// just take longer: each further round waits twice as long. A round may begin as long as the pauses
// between them add up to less than pause_ns_max.
void bb_attempt_begin(bb_attempt_t *self, int64_t now_ns, int64_t timeout_ns, int64_t pause_ns_max);
// Call before each send, when there is a node for it. SEND: it is counted and paid for; WAIT:
// there is no budget for a repetition; GIVE_UP: the deadline has passed. `random` is uniform.
bb_attempt_step_t bb_attempt_send(bb_attempt_t *self, bb_retry_budget_t *budget, int64_t now_ns,
                                  uint64_t random);
// The send that was allowed last did not leave: takes it back. _step with NOT_SENT follows.
void bb_attempt_unsend(bb_attempt_t *self, bb_retry_budget_t *budget);
// The send was answered well: a repetition gets most of what it cost back. Ends the attempt.
void bb_attempt_won(bb_attempt_t *self, bb_retry_budget_t *budget);
// An attempt at `node` ended otherwise (node ignored for NO_NODE). `error` of ANSWERED must not be
// OK; retry_after_ms counts for BUSY; `random` is uniform.
bb_attempt_step_t bb_attempt_step(bb_attempt_t *self, int64_t now_ns, bb_outcome_t outcome,
                                  uint32_t node, bb_error_t error, uint32_t retry_after_ms,
                                  uint64_t random);
// When the answer of an attempt that is sent now must be there.
int64_t bb_attempt_due_ns(const bb_attempt_t *self, int64_t now_ns);
// Whether a repetition after this answer is a failover.
bool bb_attempt_is_failover(bb_error_t error);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "client/bb_attempt.h"

#include <string.h>

#define S_ATTEMPT_NS_MAX      (2 * BB_NS_PER_S)
#define S_DOUBLINGS_MAX       10u
#define S_ROUND_WAIT_NS_FIRST (50 * BB_NS_PER_MS)
#define S_WAIT_NS_MAX         (1 * BB_NS_PER_S)
#define S_BUSY_NS_FIRST       (20 * BB_NS_PER_MS)

void bb_attempt_begin(bb_attempt_t *self, int64_t now_ns, int64_t timeout_ns, int64_t pause_ns_max)
{
    BB_ASSERT(timeout_ns > 0);
    BB_ASSERT(pause_ns_max >= 0);
    *self = (bb_attempt_t){
        .deadline_ns = now_ns + timeout_ns,
        .attempt_ns = BB_MAX(1, BB_MIN(timeout_ns / 3, S_ATTEMPT_NS_MAX)),
        .pause_ns_max = pause_ns_max,
        .last_error = BB_ERR_UNAVAILABLE,
    };
}

int64_t bb_attempt_due_ns(const bb_attempt_t *self, int64_t now_ns)
{
    int64_t wait_ns = self->attempt_ns << BB_MIN(self->round_count, S_DOUBLINGS_MAX);
    return BB_MIN(now_ns + wait_ns, self->deadline_ns);
}

static bb_attempt_step_t s_give_up(const bb_attempt_t *self, bb_error_t error)
{
    // An explicit refusal of this attempt does not undo what an earlier, silent one may have done.
    bool is_unknown = self->may_have_taken_effect && bb_error_retry(error) != BB_RETRY_NEVER;
    return (bb_attempt_step_t){.move = BB_ATTEMPT_GIVE_UP,
                               .error = is_unknown ? BB_ERR_TIMEOUT : error};
}

static int64_t s_spread_ns(int64_t base_ns, uint32_t doublings)
{
    return BB_MIN(base_ns << BB_MIN(doublings, S_DOUBLINGS_MAX), S_WAIT_NS_MAX);
}

// Uniform in [0, spread_ns].
static int64_t s_jitter_ns(int64_t spread_ns, uint64_t random)
{
    return (int64_t)(random % (uint64_t)(spread_ns + 1));
}

// A wait that would end after the deadline ends at it.
static bb_attempt_step_t s_wait(const bb_attempt_t *self, int64_t now_ns, int64_t wait_ns)
{
    if (now_ns >= self->deadline_ns) {
        return s_give_up(self, self->last_error);
    }
    return (bb_attempt_step_t){.move = BB_ATTEMPT_WAIT,
                               .wake_ns = BB_MIN(now_ns + wait_ns, self->deadline_ns)};
}

static bb_attempt_step_t s_next_round(bb_attempt_t *self, int64_t now_ns, uint64_t random)
{
    if (self->pause_ns_max > 0 && self->pause_ns >= self->pause_ns_max) {
        return s_give_up(self, self->last_error);
    }
    int64_t wait_ns = s_jitter_ns(s_spread_ns(S_ROUND_WAIT_NS_FIRST, self->round_count), random);
    if (self->pause_ns_max > 0) {
        wait_ns = BB_MIN(wait_ns, self->pause_ns_max - self->pause_ns);
    }
    self->pause_ns += wait_ns;
    self->round_count++;
    memset(&self->tried, 0, sizeof self->tried);
    return s_wait(self, now_ns, wait_ns);
}

// On top of what the node asked for, and spread over as much again: those that it refused together
// would otherwise come back together.
static bb_attempt_step_t s_busy(bb_attempt_t *self, int64_t now_ns, uint32_t retry_after_ms,
                                uint64_t random)
{
    int64_t after_ns = BB_MIN(retry_after_ms * BB_NS_PER_MS, S_WAIT_NS_MAX);
    int64_t spread_ns = s_spread_ns(BB_MAX(after_ns, S_BUSY_NS_FIRST), self->busy_count);
    self->busy_count++;
    return s_wait(self, now_ns, after_ns + s_jitter_ns(spread_ns, random));
}

bb_attempt_step_t bb_attempt_send(bb_attempt_t *self, bb_retry_budget_t *budget, int64_t now_ns,
                                  uint64_t random)
{
    BB_ASSERT(self);
    BB_ASSERT(budget);
    if (now_ns >= self->deadline_ns) {
        return s_give_up(self, self->last_error);
    }
    self->paid_tenths = 0;
    if (!self->has_earned) {
        self->has_earned = true;
        bb_retry_budget_earn(budget, now_ns);
    }
    if (self->was_sent &&
        !bb_retry_budget_pay(budget, now_ns, self->is_failover, &self->paid_tenths)) {
        int64_t spread_ns = s_spread_ns(S_ROUND_WAIT_NS_FIRST, self->unfunded_count++);
        return s_wait(self, now_ns, s_jitter_ns(spread_ns, random));
    }
    self->unfunded_count = 0;
    self->is_repetition = self->was_sent;
    self->was_sent = true;
    self->sent_count++;
    return (bb_attempt_step_t){.move = BB_ATTEMPT_SEND};
}

void bb_attempt_won(bb_attempt_t *self, bb_retry_budget_t *budget)
{
    BB_ASSERT(self);
    BB_ASSERT(budget);
    BB_ASSERT(self->was_sent);
    bb_retry_budget_reward(budget, self->paid_tenths);
    self->paid_tenths = 0;
}

void bb_attempt_unsend(bb_attempt_t *self, bb_retry_budget_t *budget)
{
    BB_ASSERT(self->sent_count > 0);
    self->sent_count--;
    self->was_sent = self->is_repetition;
    bb_retry_budget_refund(budget, self->paid_tenths);
    self->paid_tenths = 0;
}

bool bb_attempt_is_failover(bb_error_t error)
{
    return error != BB_ERR_BUSY && error != BB_ERR_TIMEOUT;
}

bb_attempt_step_t bb_attempt_step(bb_attempt_t *self, int64_t now_ns, bb_outcome_t outcome,
                                  uint32_t node, bb_error_t error, uint32_t retry_after_ms,
                                  uint64_t random)
{
    BB_ASSERT(self);
    if (outcome == BB_OUTCOME_CANCELLED) {
        self->may_have_taken_effect |= self->sent_count > 0;
        return s_give_up(self, BB_ERR_TIMEOUT);
    }
    if (outcome == BB_OUTCOME_NO_NODE) {
        if (now_ns >= self->deadline_ns) {
            return s_give_up(self, self->last_error);
        }
        return s_next_round(self, now_ns, random);
    }
    BB_ASSERT(node < BB_NODES_MAX);
    bb_node_set_add(&self->tried, node);
    if (outcome == BB_OUTCOME_ANSWERED) {
        BB_ASSERT(error != BB_OK);
        self->last_error = error;
        if (bb_error_retry(error) == BB_RETRY_NEVER) {
            return s_give_up(self, error);
        }
        self->may_have_taken_effect |= bb_error_retry(error) == BB_RETRY_UNKNOWN;
        self->is_failover = bb_attempt_is_failover(error);
        if (error == BB_ERR_BUSY) {
            return s_busy(self, now_ns, retry_after_ms, random);
        }
    } else if (outcome == BB_OUTCOME_NOT_SENT) {
        // No node has seen it, so why it is repeated stays as it was.
        self->last_error = BB_ERR_UNAVAILABLE;
    } else {
        self->may_have_taken_effect = true;
        self->is_failover = outcome == BB_OUTCOME_DISCONNECTED;
        self->last_error = BB_ERR_TIMEOUT;
    }
    self->busy_count = 0;
    if (now_ns >= self->deadline_ns) {
        return s_give_up(self, self->last_error);
    }
    return (bb_attempt_step_t){.move = BB_ATTEMPT_SEND};
}

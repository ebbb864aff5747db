// SPDX-License-Identifier: Apache-2.0
#include "client/bb_attempt.h"

#include <string.h>

#define S_ATTEMPT_NS_MAX      (2 * BB_NS_PER_S)
#define S_DOUBLINGS_MAX       10u
#define S_ROUND_WAIT_NS_FIRST (50 * BB_NS_PER_MS)
#define S_WAIT_NS_MAX         (1 * BB_NS_PER_S)
#define S_BUSY_MS_DEFAULT     20

void bb_attempt_begin(bb_attempt_t *self, int64_t now_ns, int64_t timeout_ns, uint32_t rounds_max)
{
    BB_ASSERT(timeout_ns > 0);
    *self = (bb_attempt_t){
        .deadline_ns = now_ns + timeout_ns,
        .attempt_ns = BB_MAX(1, BB_MIN(timeout_ns / 3, S_ATTEMPT_NS_MAX)),
        .rounds_max = rounds_max,
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

// Waits, then starts a new round; a wait that would end after the deadline ends at it.
static bb_attempt_step_t s_wait(bb_attempt_t *self, int64_t now_ns, int64_t least_ns,
                                int64_t spread_ns, uint64_t random)
{
    if (now_ns >= self->deadline_ns) {
        return s_give_up(self, self->last_error);
    }
    int64_t wait_ns = least_ns + (int64_t)(random % (uint64_t)(spread_ns + 1));
    return (bb_attempt_step_t){.move = BB_ATTEMPT_WAIT,
                               .wake_ns = BB_MIN(now_ns + wait_ns, self->deadline_ns)};
}

static bb_attempt_step_t s_next_round(bb_attempt_t *self, int64_t now_ns, uint64_t random)
{
    self->round_count++;
    if (self->rounds_max > 0 && self->round_count >= self->rounds_max) {
        return s_give_up(self, self->last_error);
    }
    memset(&self->tried, 0, sizeof self->tried);
    int64_t spread_ns =
        BB_MIN(S_ROUND_WAIT_NS_FIRST << BB_MIN(self->round_count - 1, 10u), S_WAIT_NS_MAX);
    return s_wait(self, now_ns, spread_ns / 2, spread_ns / 2, random);
}

// Full jitter (Brooker, "Exponential Backoff and Jitter", 2015) on top of what the node asked for.
static bb_attempt_step_t s_busy(bb_attempt_t *self, int64_t now_ns, uint32_t retry_after_ms,
                                uint64_t random)
{
    int64_t after_ns = (retry_after_ms ? retry_after_ms : S_BUSY_MS_DEFAULT) * BB_NS_PER_MS;
    after_ns = BB_MIN(after_ns, S_WAIT_NS_MAX);
    int64_t spread_ns = BB_MIN(after_ns << BB_MIN(self->busy_count, 6u), S_WAIT_NS_MAX);
    self->busy_count++;
    return s_wait(self, now_ns, after_ns, spread_ns, random);
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
        if (error == BB_ERR_BUSY) {
            return s_busy(self, now_ns, retry_after_ms, random);
        }
    } else if (outcome == BB_OUTCOME_NOT_SENT) {
        self->last_error = BB_ERR_UNAVAILABLE;
    } else {
        self->may_have_taken_effect = true;
        self->last_error = BB_ERR_TIMEOUT;
    }
    self->busy_count = 0;
    if (now_ns >= self->deadline_ns) {
        return s_give_up(self, self->last_error);
    }
    return (bb_attempt_step_t){.move = BB_ATTEMPT_SEND};
}

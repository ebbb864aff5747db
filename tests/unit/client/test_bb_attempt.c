// SPDX-License-Identifier: Apache-2.0
// The retry state machine: every class of error, deadlines, rounds, and random walks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/bb_attempt.h"

#define MS BB_NS_PER_MS
#define S  BB_NS_PER_S

static bb_attempt_t s_begin(int64_t timeout_ns, uint32_t rounds_max)
{
    bb_attempt_t attempt;
    bb_attempt_begin(&attempt, 0, timeout_ns, rounds_max);
    return attempt;
}

// Goal: one answer is waited for at most a third of the time and at most 2 s, never past the end.
static void an_attempt_waits_its_share(void **state)
{
    (void)state;
    bb_attempt_t attempt = s_begin(3 * S, 0);
    assert_int_equal(bb_attempt_due_ns(&attempt, 0), S);
    assert_int_equal(bb_attempt_due_ns(&attempt, 2500 * MS), 3 * S);
    attempt = s_begin(60 * S, 0);
    assert_int_equal(bb_attempt_due_ns(&attempt, 0), 2 * S);
    attempt = s_begin(1, 0);
    assert_int_equal(bb_attempt_due_ns(&attempt, 0), 1);
}

// Goal: a request that is wrong is not sent again. Method: every NEVER error of the list.
static void wrong_requests_end_at_once(void **state)
{
    (void)state;
    for (int32_t number = 1; number < 100; number++) {
        if (!bb_error_is_known(number) || bb_error_retry((bb_error_t)number) != BB_RETRY_NEVER) {
            continue;
        }
        bb_attempt_t attempt = s_begin(10 * S, 0);
        bb_attempt_step_t step =
            bb_attempt_step(&attempt, 1, BB_OUTCOME_ANSWERED, 3, (bb_error_t)number, 0, 0);
        assert_int_equal(step.move, BB_ATTEMPT_GIVE_UP);
        assert_int_equal(step.error, number);
    }
}

// Goal: every other error but BUSY goes to another replica at once, and never back to the same in
// one round.
static void other_errors_go_elsewhere(void **state)
{
    (void)state;
    for (int32_t number = 1; number < 100; number++) {
        if (!bb_error_is_known(number) || number == BB_ERR_BUSY ||
            bb_error_retry((bb_error_t)number) == BB_RETRY_NEVER) {
            continue;
        }
        bb_attempt_t attempt = s_begin(10 * S, 0);
        bb_attempt_step_t step =
            bb_attempt_step(&attempt, 1, BB_OUTCOME_ANSWERED, 3, (bb_error_t)number, 0, 0);
        assert_int_equal(step.move, BB_ATTEMPT_SEND);
        assert_true(bb_node_set_has(&attempt.tried, 3));
    }
}

// Goal: BUSY waits at least what the node asked for, at most that plus jitter that doubles.
static void busy_waits_with_jitter(void **state)
{
    (void)state;
    const uint64_t randoms[] = {0, 1, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < BB_COUNT_OF(randoms); i++) {
        bb_attempt_t attempt = s_begin(60 * S, 0);
        bb_attempt_step_t step =
            bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 100, randoms[i]);
        assert_int_equal(step.move, BB_ATTEMPT_WAIT);
        assert_in_range(step.wake_ns, 100 * MS, 200 * MS);
        step = bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 1, BB_ERR_BUSY, 100, randoms[i]);
        assert_in_range(step.wake_ns, 100 * MS, 300 * MS);
    }
    // A node that asks for an hour does not hold the batch that long.
    bb_attempt_t attempt = s_begin(60 * S, 0);
    bb_attempt_step_t step =
        bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 3600000, UINT64_MAX);
    assert_in_range(step.wake_ns, S, 2 * S);
}

// Goal: when all replicas were tried, a pause and a new round; the pause never passes the deadline.
static void rounds_pause_and_start_anew(void **state)
{
    (void)state;
    bb_attempt_t attempt = s_begin(10 * S, 3);
    bb_node_set_add(&attempt.tried, 1);
    bb_attempt_step_t step =
        bb_attempt_step(&attempt, 0, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, UINT64_MAX);
    assert_int_equal(step.move, BB_ATTEMPT_WAIT);
    assert_in_range(step.wake_ns, 25 * MS, 50 * MS);
    assert_false(bb_node_set_has(&attempt.tried, 1));
    step = bb_attempt_step(&attempt, 10 * S - 1, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, UINT64_MAX);
    assert_int_equal(step.move, BB_ATTEMPT_WAIT);
    assert_int_equal(step.wake_ns, 10 * S);
    step = bb_attempt_step(&attempt, 10 * S - 1, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, 0);
    assert_int_equal(step.move, BB_ATTEMPT_GIVE_UP); // third round of three
}

// Goal: at the deadline the end is "unknown" exactly when some attempt may have taken effect.
static void the_end_is_unknown_only_if_something_may_have_happened(void **state)
{
    (void)state;
    const struct {
        bb_outcome_t outcome;
        bb_error_t error;
        bb_error_t end;
    } cases[] = {
        {BB_OUTCOME_NOT_SENT, BB_OK, BB_ERR_UNAVAILABLE},
        {BB_OUTCOME_NO_ANSWER, BB_OK, BB_ERR_TIMEOUT},
        {BB_OUTCOME_DISCONNECTED, BB_OK, BB_ERR_TIMEOUT},
        {BB_OUTCOME_ANSWERED, BB_ERR_UNAVAILABLE, BB_ERR_UNAVAILABLE},
        {BB_OUTCOME_ANSWERED, BB_ERR_STOPPING, BB_ERR_STOPPING},
        {BB_OUTCOME_ANSWERED, BB_ERR_TIMEOUT, BB_ERR_TIMEOUT},
        {BB_OUTCOME_ANSWERED, BB_ERR_DISK_FULL, BB_ERR_DISK_FULL},
        {BB_OUTCOME_ANSWERED, BB_ERR_BUSY, BB_ERR_BUSY},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bb_attempt_t attempt = s_begin(S, 0);
        bb_attempt_step_t step =
            bb_attempt_step(&attempt, S, cases[i].outcome, 0, cases[i].error, 0, 0);
        assert_int_equal(step.move, BB_ATTEMPT_GIVE_UP);
        assert_int_equal(step.error, cases[i].end);
        // The same after a silent attempt before it.
        attempt = s_begin(S, 0);
        step = bb_attempt_step(&attempt, 0, BB_OUTCOME_NO_ANSWER, 1, BB_OK, 0, 0);
        assert_int_equal(step.move, BB_ATTEMPT_SEND);
        step = bb_attempt_step(&attempt, S, cases[i].outcome, 0, cases[i].error, 0, 0);
        assert_int_equal(step.error, BB_ERR_TIMEOUT);
    }
    bb_attempt_t attempt = s_begin(S, 0);
    assert_int_equal(bb_attempt_step(&attempt, 0, BB_OUTCOME_CANCELLED, 0, BB_OK, 0, 0).error,
                     BB_ERR_TIMEOUT);
}

// Goal: whatever happens, it ends: never later than the deadline asks, never backwards in time,
// never sent to a node that was tried in this round. Method: 20,000 random walks, fixed seed.
static void random_walks_end(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    const bb_error_t errors[] = {BB_ERR_BUSY,    BB_ERR_EPOCH,    BB_ERR_UNAVAILABLE,
                                 BB_ERR_TIMEOUT, BB_ERR_STOPPING, BB_ERR_TYPE_CHANGED};
    for (int walk = 0; walk < 20000; walk++) {
        bb_attempt_t attempt = s_begin(S, 0);
        int64_t now_ns = 0;
        int steps = 0;
        for (;; steps++) {
            assert_in_range(steps, 0, 3000);
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            uint32_t node = (uint32_t)(x >> 8 & 3);
            bool is_tried = bb_node_set_has(&attempt.tried, node);
            bb_outcome_t outcome =
                is_tried ? BB_OUTCOME_NO_NODE : (bb_outcome_t)(x >> 16 & 3); // never CANCELLED
            now_ns = outcome == BB_OUTCOME_NO_ANSWER ? bb_attempt_due_ns(&attempt, now_ns)
                                                     : now_ns + (int64_t)(x >> 20 & 0xfffff);
            bb_attempt_step_t step =
                bb_attempt_step(&attempt, now_ns, outcome, node, errors[(x >> 40) % 6], 0, x);
            if (step.move == BB_ATTEMPT_GIVE_UP) {
                assert_int_not_equal(step.error, BB_OK);
                break;
            }
            assert_true(now_ns < attempt.deadline_ns);
            if (step.move == BB_ATTEMPT_WAIT) {
                assert_true(step.wake_ns >= now_ns && step.wake_ns <= attempt.deadline_ns);
                now_ns = step.wake_ns;
            }
        }
    }
}

// Goal: an answer that takes longer than the first attempts is waited for. Method: one replica that
// needs 5 s; the deadline is far away.
static void each_round_waits_twice_as_long(void **state)
{
    (void)state;
    bb_attempt_t attempt;
    int64_t now_ns = 0, waited_ns = 0;
    bb_attempt_begin(&attempt, now_ns, 60 * S, 8);
    for (int round = 0; round < 5; round++) {
        int64_t due_ns = bb_attempt_due_ns(&attempt, now_ns);
        waited_ns = due_ns - now_ns;
        assert_int_equal(waited_ns, BB_MIN((int64_t)2 * S << round, 60 * S - now_ns));
        if (waited_ns >= 5 * S) {
            return; // it has answered
        }
        attempt.sent_count++;
        now_ns = due_ns;
        bb_attempt_step_t step =
            bb_attempt_step(&attempt, now_ns, BB_OUTCOME_NO_ANSWER, 0, BB_OK, 0, 7);
        assert_int_equal(step.move, BB_ATTEMPT_SEND);
        step = bb_attempt_step(&attempt, now_ns, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, 7);
        assert_int_equal(step.move, BB_ATTEMPT_WAIT);
        now_ns = step.wake_ns;
    }
    fail_msg("the longest wait was %lld ns", (long long)waited_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attempt_waits_its_share),
        cmocka_unit_test(wrong_requests_end_at_once),
        cmocka_unit_test(other_errors_go_elsewhere),
        cmocka_unit_test(busy_waits_with_jitter),
        cmocka_unit_test(rounds_pause_and_start_anew),
        cmocka_unit_test(the_end_is_unknown_only_if_something_may_have_happened),
        cmocka_unit_test(random_walks_end),
        cmocka_unit_test(each_round_waits_twice_as_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The retry state machine: every class of error, deadlines, rounds, budget, and random walks.
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

static bb_attempt_t s_begin(int64_t timeout_ns, int64_t pause_ns_max)
{
    bb_attempt_t attempt;
    bb_attempt_begin(&attempt, 0, timeout_ns, pause_ns_max);
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

// Goal: BUSY waits at least what the node asked for, then anything up to as much again, and up to
// twice that the next time. Method: the ends of the range of chance.
static void busy_waits_with_full_jitter(void **state)
{
    (void)state;
    bb_attempt_t least = s_begin(60 * S, 0), most = s_begin(60 * S, 0);
    for (int i = 0; i < 12; i++) {
        int64_t spread_ns = BB_MIN((100 * MS) << i, S);
        bb_attempt_step_t step =
            bb_attempt_step(&least, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 100, 0);
        assert_int_equal(step.move, BB_ATTEMPT_WAIT);
        assert_int_equal(step.wake_ns, 100 * MS);
        step = bb_attempt_step(&most, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 100,
                               (uint64_t)spread_ns);
        assert_int_equal(step.wake_ns, 100 * MS + spread_ns);
        step = bb_attempt_step(&least, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 100, UINT64_MAX);
        assert_in_range(step.wake_ns, 100 * MS, 100 * MS + S);
    }
    // A node that does not say for how long is asked again at any time up to 20 ms, then 40 ms.
    bb_attempt_t attempt = s_begin(60 * S, 0);
    bb_attempt_step_t step =
        bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 0, 0);
    assert_int_equal(step.wake_ns, 0);
    step =
        bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 0, (uint64_t)(40 * MS));
    assert_int_equal(step.wake_ns, 40 * MS);
    // One that asks for an hour does not hold the batch that long.
    attempt = s_begin(60 * S, 0);
    step = bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 3600000, UINT64_MAX);
    assert_in_range(step.wake_ns, S, 2 * S);
}

// Goal: waits are spread over the whole range, not bunched at its end. Method: 10,000 chances, each
// tenth of the range gets a tenth of them.
static void waits_are_uniform(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    uint32_t counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        bb_attempt_t attempt = s_begin(60 * S, 0);
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bb_attempt_step_t step = bb_attempt_step(&attempt, 0, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, x);
        assert_in_range(step.wake_ns, 0, 50 * MS);
        counts[BB_MIN(step.wake_ns / (5 * MS), 9)]++;
    }
    for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
        assert_in_range(counts[i], 850, 1150); // five standard deviations of 30
    }
}

// Goal: when all replicas were tried, a pause and a new round; a pause never passes the deadline,
// and no round begins when the pauses add up to what was allowed.
static void rounds_pause_and_start_anew(void **state)
{
    (void)state;
    bb_attempt_t attempt = s_begin(10 * S, 0);
    bb_node_set_add(&attempt.tried, 1);
    bb_attempt_step_t step =
        bb_attempt_step(&attempt, 10 * S - 1, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, 7);
    assert_int_equal(step.move, BB_ATTEMPT_WAIT);
    assert_int_equal(step.wake_ns, 10 * S);
    assert_false(bb_node_set_has(&attempt.tried, 1));
    step = bb_attempt_step(&attempt, 10 * S, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, 7);
    assert_int_equal(step.move, BB_ATTEMPT_GIVE_UP);

    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 100; i++) {
        attempt = s_begin(60 * S, 3 * S);
        int64_t now_ns = 0;
        for (int64_t cap_ns = 50 * MS;; cap_ns = BB_MIN(2 * cap_ns, S)) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            step = bb_attempt_step(&attempt, now_ns, BB_OUTCOME_NO_NODE, 0, BB_OK, 0, x);
            if (step.move == BB_ATTEMPT_GIVE_UP) {
                break;
            }
            assert_in_range(step.wake_ns, now_ns, now_ns + cap_ns);
            now_ns = step.wake_ns;
        }
        assert_int_equal(now_ns, 3 * S);
    }
}

static bb_retry_budget_t s_empty_budget(void)
{
    bb_retry_budget_t budget;
    int32_t paid;
    bb_retry_budget_init(&budget, 0);
    while (bb_retry_budget_pay(&budget, 0, false, &paid)) {
    }
    return budget;
}

// Goal: without budget the first send goes, and a repetition waits exactly when its reason was that
// nodes have too much to do. Method: each outcome and each error, with an empty budget.
static void overload_needs_budget_and_failover_does_not(void **state)
{
    (void)state;
    for (int32_t number = 1; number < 100 + 2; number++) {
        bb_outcome_t outcome = number == 100   ? BB_OUTCOME_NO_ANSWER
                               : number == 101 ? BB_OUTCOME_DISCONNECTED
                                               : BB_OUTCOME_ANSWERED;
        bool is_answer = outcome == BB_OUTCOME_ANSWERED;
        if (is_answer &&
            (!bb_error_is_known(number) || bb_error_retry((bb_error_t)number) == BB_RETRY_NEVER)) {
            continue;
        }
        bb_retry_budget_t budget = s_empty_budget();
        bb_attempt_t attempt = s_begin(60 * S, 0);
        bb_attempt_step_t step = bb_attempt_send(&attempt, &budget, 0, 7);
        assert_int_equal(step.move, BB_ATTEMPT_SEND);
        assert_int_equal(attempt.sent_count, 1);
        step =
            bb_attempt_step(&attempt, 1, outcome, 0, is_answer ? (bb_error_t)number : BB_OK, 0, 7);
        assert_int_not_equal(step.move, BB_ATTEMPT_GIVE_UP);
        step = bb_attempt_send(&attempt, &budget, 1, 7);
        bool is_overload =
            outcome == BB_OUTCOME_NO_ANSWER || number == BB_ERR_BUSY || number == BB_ERR_TIMEOUT;
        assert_int_equal(step.move, is_overload ? BB_ATTEMPT_WAIT : BB_ATTEMPT_SEND);
        assert_int_equal(attempt.sent_count, is_overload ? 1 : 2);
    }
}

// Goal: a request that waits for budget goes when others have earned it, or ends with its last
// error at its deadline; each wait has full jitter and doubles.
static void without_budget_it_waits_until_it_ends(void **state)
{
    (void)state;
    bb_retry_budget_t budget = s_empty_budget();
    bb_attempt_t attempt = s_begin(8 * S, 0);
    assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
    bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 0, 0);
    bb_attempt_t waiting = attempt;
    for (int i = 0; i < 12; i++) {
        int64_t cap_ns = BB_MIN((50 * MS) << i, S);
        bb_attempt_step_t step = bb_attempt_send(&waiting, &budget, 0, (uint64_t)cap_ns);
        assert_int_equal(step.move, BB_ATTEMPT_WAIT);
        assert_int_equal(step.wake_ns, cap_ns);
    }
    bb_attempt_step_t step = bb_attempt_send(&waiting, &budget, 8 * S - 1, UINT64_MAX);
    assert_int_equal(step.move, BB_ATTEMPT_WAIT);
    assert_int_equal(step.wake_ns, 8 * S);
    step = bb_attempt_send(&waiting, &budget, 8 * S, 7);
    assert_int_equal(step.move, BB_ATTEMPT_GIVE_UP);
    assert_int_equal(step.error, BB_ERR_BUSY);
    assert_int_equal(waiting.sent_count, 1);

    budget = s_empty_budget();
    for (int i = 0; i < 10; i++) {
        bb_retry_budget_earn(&budget, 0);
    }
    assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
    assert_int_equal(attempt.sent_count, 2);
    assert_int_equal(budget.tenths, 0);
}

// Goal: when one node of three is silent for good, the third of all requests that it gets can be
// repeated elsewhere without end; repetitions that fail empty the bucket. Method: as said.
static void success_gives_most_of_the_token_back(void **state)
{
    (void)state;
    bb_retry_budget_t budget;
    bb_retry_budget_init(&budget, 0);
    bb_attempt_t attempt = {0};
    for (int i = 0; i < 3000; i++) {
        attempt = s_begin(60 * S, 0);
        assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
        if (i % 3 == 0) {
            bb_attempt_step(&attempt, 0, BB_OUTCOME_NO_ANSWER, 0, BB_OK, 0, 7);
            int32_t before = budget.tenths;
            assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
            bb_attempt_won(&attempt, &budget);
            assert_int_equal(budget.tenths, before - 2);
        }
        int32_t before = budget.tenths;
        bb_attempt_won(&attempt, &budget); // of a first request, or once more: nothing
        assert_int_equal(budget.tenths, before);
    }
    uint32_t repeated = 0, tokens = (uint32_t)budget.tenths / 10;
    while (bb_attempt_send(&attempt, &budget, 0, 7).move == BB_ATTEMPT_SEND) {
        bb_attempt_step(&attempt, 0, BB_OUTCOME_NO_ANSWER, 0, BB_OK, 0, 7);
        repeated++;
    }
    assert_int_equal(repeated, tokens);
    assert_in_range(tokens, BB_RETRY_TOKENS_MAX - 1, BB_RETRY_TOKENS_MAX);
}

// Goal: what did not leave costs nothing, and what leaves after it is still the first. Method: a
// node that is not connected, many times over; then the same for a repetition.
static void what_did_not_leave_costs_nothing(void **state)
{
    (void)state;
    bb_retry_budget_t budget = s_empty_budget();
    bb_attempt_t attempt = s_begin(60 * S, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
        bb_attempt_unsend(&attempt, &budget);
        bb_attempt_step(&attempt, 0, BB_OUTCOME_NOT_SENT, 0, BB_OK, 0, 7);
        assert_int_equal(attempt.sent_count, 0);
        assert_int_equal(budget.tenths, 1); // earned once
    }
    assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
    assert_int_equal(budget.tenths, 1);
    // Busy, then a node that is not connected: still a repetition because of BUSY.
    bb_attempt_step(&attempt, 0, BB_OUTCOME_ANSWERED, 0, BB_ERR_BUSY, 0, 0);
    for (int i = 0; i < 9; i++) {
        bb_retry_budget_earn(&budget, 0);
    }
    assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_SEND);
    assert_int_equal(budget.tenths, 0);
    bb_attempt_unsend(&attempt, &budget);
    assert_int_equal(budget.tenths, 10);
    bb_attempt_step(&attempt, 0, BB_OUTCOME_NOT_SENT, 1, BB_OK, 0, 7);
    budget = s_empty_budget();
    assert_int_equal(bb_attempt_send(&attempt, &budget, 0, 7).move, BB_ATTEMPT_WAIT);
    assert_int_equal(attempt.sent_count, 1);
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
    bb_attempt_begin(&attempt, now_ns, 60 * S, 3 * S);
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
        cmocka_unit_test(busy_waits_with_full_jitter),
        cmocka_unit_test(waits_are_uniform),
        cmocka_unit_test(rounds_pause_and_start_anew),
        cmocka_unit_test(overload_needs_budget_and_failover_does_not),
        cmocka_unit_test(without_budget_it_waits_until_it_ends),
        cmocka_unit_test(success_gives_most_of_the_token_back),
        cmocka_unit_test(what_did_not_leave_costs_nothing),
        cmocka_unit_test(the_end_is_unknown_only_if_something_may_have_happened),
        cmocka_unit_test(random_walks_end),
        cmocka_unit_test(each_round_waits_twice_as_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: an environment that looked odd is opened again only after a child has read all of it and
// lived. Method: the table of moves by hand, then random events against the two promises.
#include "storage/scrub/bb_suspect.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

static bb_suspect_actions_t s_send(bb_suspect_t *self, bb_suspect_event_t event, int64_t now_ns)
{
    bb_suspect_actions_t actions;
    bb_suspect_step(self, event, now_ns, &actions);
    return actions;
}

static bb_suspect_t s_checking(int64_t now_ns)
{
    bb_suspect_t suspect = {0};
    assert_true(s_send(&suspect, BB_SUSPECT_DOUBT, now_ns).is_spawn);
    s_send(&suspect, BB_SUSPECT_STARTED, now_ns);
    assert_int_equal(suspect.state, BB_SUSPECT_CHECKING);
    return suspect;
}

static void s_test_doubt_closes_the_door(void **state)
{
    (void)state;
    bb_suspect_t suspect = {0};
    assert_true(bb_suspect_may_open(&suspect));
    bb_suspect_actions_t actions = s_send(&suspect, BB_SUSPECT_DOUBT, 5);
    assert_false(bb_suspect_may_open(&suspect));
    assert_true(actions.is_spawn && actions.is_verdict);
    assert_int_equal(actions.timeout_ns, BB_SUSPECT_TIMEOUT_NS);
    assert_false(s_send(&suspect, BB_SUSPECT_DOUBT, 6).is_verdict); // a second doubt adds nothing
}

static void s_test_verdicts(void **state)
{
    (void)state;
    const struct {
        bb_suspect_event_t event;
        bb_suspect_state_t wanted;
        bool may_open;
    } cases[] = {
        {BB_SUSPECT_PASSED, BB_SUSPECT_TRUSTED, true},
        {BB_SUSPECT_FOUND, BB_SUSPECT_DAMAGED, true},
        {BB_SUSPECT_REFUSED, BB_SUSPECT_CONDEMNED, false},
        {BB_SUSPECT_CRASHED, BB_SUSPECT_CONDEMNED, false},
        {BB_SUSPECT_KILLED, BB_SUSPECT_SUSPECT, false},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bb_suspect_t suspect = s_checking(100);
        bb_suspect_actions_t actions = s_send(&suspect, cases[i].event, 200);
        assert_int_equal(suspect.state, cases[i].wanted);
        assert_true(actions.is_verdict);
        assert_int_equal(bb_suspect_may_open(&suspect), cases[i].may_open);
    }
}

// Goal: a child past its deadline is killed; three times, each with twice the time; then enough.
static void s_test_deadlines(void **state)
{
    (void)state;
    int64_t now_ns = 1000;
    bb_suspect_t suspect = {0};
    bb_suspect_actions_t actions = s_send(&suspect, BB_SUSPECT_DOUBT, now_ns);
    for (uint32_t try = 0; try < BB_SUSPECT_TRIES_MAX; try++) {
        assert_true(actions.is_spawn);
        assert_int_equal(actions.timeout_ns, BB_SUSPECT_TIMEOUT_NS << try);
        actions = s_send(&suspect, BB_SUSPECT_STARTED, now_ns);
        assert_int_equal(actions.wake_ns, now_ns + (BB_SUSPECT_TIMEOUT_NS << try));
        now_ns = actions.wake_ns;
        assert_false(s_send(&suspect, BB_SUSPECT_TICK, now_ns - 1).is_kill);
        assert_true(s_send(&suspect, BB_SUSPECT_TICK, now_ns).is_kill);
        actions = s_send(&suspect, BB_SUSPECT_KILLED, now_ns);
        if (try + 1 < BB_SUSPECT_TRIES_MAX) {
            assert_int_equal(actions.wake_ns, now_ns + BB_SUSPECT_RETRY_NS);
            assert_false(actions.is_spawn);
            now_ns = actions.wake_ns;
            actions = s_send(&suspect, BB_SUSPECT_TICK, now_ns);
        }
    }
    assert_int_equal(suspect.state, BB_SUSPECT_CONDEMNED);
    assert_int_equal(actions.wake_ns, BB_NEVER_NS);
    assert_false(s_send(&suspect, BB_SUSPECT_DOUBT, now_ns).is_spawn);
}

// Goal: a child that cannot be started never condemns a window, however often.
static void s_test_no_process(void **state)
{
    (void)state;
    bb_suspect_t suspect = {0};
    bb_suspect_actions_t actions = s_send(&suspect, BB_SUSPECT_DOUBT, 0);
    for (int64_t i = 0; i < 100; i++) {
        assert_true(actions.is_spawn);
        actions = s_send(&suspect, BB_SUSPECT_SPAWN_FAILED, i * BB_SUSPECT_RETRY_NS);
        assert_false(actions.is_spawn);
        actions = s_send(&suspect, BB_SUSPECT_TICK, (i + 1) * BB_SUSPECT_RETRY_NS);
    }
    assert_int_equal(suspect.state, BB_SUSPECT_SUSPECT);
}

static void s_test_exits(void **state)
{
    (void)state;
    assert_int_equal(bb_suspect_event_of_exit(0, 0), BB_SUSPECT_PASSED);
    assert_int_equal(bb_suspect_event_of_exit(1, 0), BB_SUSPECT_FOUND);
    assert_int_equal(bb_suspect_event_of_exit(3, 0), BB_SUSPECT_REFUSED);
    assert_int_equal(bb_suspect_event_of_exit(2, 0), BB_SUSPECT_KILLED);
    assert_int_equal(bb_suspect_event_of_exit(127, 0), BB_SUSPECT_KILLED);
    assert_int_equal(bb_suspect_event_of_exit(0, SIGSEGV), BB_SUSPECT_CRASHED);
    assert_int_equal(bb_suspect_event_of_exit(0, SIGBUS), BB_SUSPECT_CRASHED);
    assert_int_equal(bb_suspect_event_of_exit(0, SIGABRT), BB_SUSPECT_CRASHED);
    assert_int_equal(bb_suspect_event_of_exit(0, SIGKILL), BB_SUSPECT_KILLED);
    assert_int_equal(bb_suspect_event_of_exit(0, SIGXCPU), BB_SUSPECT_KILLED);
}

// Goal: whatever happens in whatever order, the door opens only by PASSED or FOUND of a child, and
// a condemned window stays condemned.
static void s_test_random(void **state)
{
    (void)state;
    bb_random_t random = {7};
    for (uint32_t run = 0; run < 2000; run++) {
        bb_suspect_t suspect = {0};
        int64_t now_ns = 0;
        for (uint32_t i = 0; i < 60; i++) {
            bb_suspect_t before = suspect;
            bb_suspect_event_t event =
                (bb_suspect_event_t)(bb_random_next(&random) % BB_SUSPECT_EVENT_COUNT);
            now_ns += (int64_t)(bb_random_next(&random) % (2 * BB_SUSPECT_RETRY_NS));
            bb_suspect_actions_t actions = s_send(&suspect, event, now_ns);
            if (bb_suspect_may_open(&suspect) && !bb_suspect_may_open(&before)) {
                assert_int_equal(before.state, BB_SUSPECT_CHECKING);
                assert_true(event == BB_SUSPECT_PASSED || event == BB_SUSPECT_FOUND);
            }
            if (before.state == BB_SUSPECT_CONDEMNED) {
                assert_int_equal(suspect.state, BB_SUSPECT_CONDEMNED);
            }
            assert_true(!actions.is_spawn || suspect.state == BB_SUSPECT_SUSPECT);
            assert_true(!actions.is_kill || suspect.state == BB_SUSPECT_CHECKING);
            assert_true(strlen(bb_suspect_state_name(suspect.state)) > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_doubt_closes_the_door),
        cmocka_unit_test(s_test_verdicts),
        cmocka_unit_test(s_test_deadlines),
        cmocka_unit_test(s_test_no_process),
        cmocka_unit_test(s_test_exits),
        cmocka_unit_test(s_test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

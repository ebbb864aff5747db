// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_detector: time is an input, so silence is a subtraction here.
#include "node/control/bb_detector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_SECOND BB_NS_PER_S
#define S_WALL   (INT64_C(1700000000) * BB_NS_PER_S)

static bb_stream_t s_stream(uint8_t number)
{
    bb_stream_t stream;
    memset(stream.bytes, number, sizeof stream.bytes);
    return stream;
}

static bb_detector_t *s_detector(uint32_t node_count, uint32_t self_index)
{
    bb_detector_options_t options = {.node_count = node_count,
                                     .self_index = self_index,
                                     .heartbeat_ns = S_SECOND / 5,
                                     .suspect_ns = S_SECOND};
    return bb_detector_new(&options);
}

static bb_detector_actions_t s_beat(bb_detector_t *detector, int64_t now_mono_ns, uint32_t peer,
                                    uint8_t incarnation, int64_t offset_ns)
{
    bb_detector_heartbeat_t heartbeat = {peer, s_stream(incarnation), S_WALL + offset_ns, S_WALL};
    bb_detector_actions_t actions;
    memset(&actions, 0xa5, sizeof actions);
    assert_int_equal(bb_detector_heartbeat(detector, now_mono_ns, &heartbeat, &actions), BB_OK);
    return actions;
}

// Goal: a peer is up from its first heartbeat and down after exactly suspect_ns of silence.
static void s_test_up_and_down(void **state)
{
    (void)state;
    bb_detector_t *detector = s_detector(3, 0);
    assert_true(bb_detector_is_up(detector, 0));
    assert_false(bb_detector_is_up(detector, 1));
    bb_detector_actions_t actions = s_beat(detector, 100, 1, 7, 0);
    assert_int_equal(actions.change_count, 1);
    assert_int_equal(actions.changes[0].peer_index, 1);
    assert_true(actions.changes[0].is_up);
    assert_int_equal(actions.changes[0].incarnation.bytes[0], 7);
    assert_int_equal(actions.wake_mono_ns, 100 + S_SECOND);
    assert_false(bb_detector_has_seen_all(detector));

    actions = s_beat(detector, 200, 1, 7, 0); // nothing new
    assert_int_equal(actions.change_count, 0);
    bb_detector_tick(detector, 200 + S_SECOND - 1, &actions);
    assert_int_equal(actions.change_count, 0);
    bb_detector_tick(detector, 200 + S_SECOND, &actions);
    assert_int_equal(actions.change_count, 1);
    assert_false(actions.changes[0].is_up);
    assert_int_equal(actions.changes[0].incarnation.bytes[0], 7);
    assert_true(actions.wake_mono_ns == BB_NEVER_NS);
    bb_detector_tick(detector, 300 + S_SECOND, &actions); // said once
    assert_int_equal(actions.change_count, 0);
    bb_detector_destroy(&detector);
    assert_null(detector);
}

// Goal: a restart that is faster than the suspicion is still reported.
static void s_test_new_incarnation(void **state)
{
    (void)state;
    bb_detector_t *detector = s_detector(2, 1);
    s_beat(detector, 0, 0, 1, 0);
    assert_true(bb_detector_has_seen_all(detector));
    bb_detector_actions_t actions = s_beat(detector, 10, 0, 2, 0);
    assert_int_equal(actions.change_count, 1);
    assert_true(actions.changes[0].is_up);
    assert_int_equal(actions.changes[0].incarnation.bytes[0], 2);
    bb_detector_destroy(&detector);
}

// Goal: a late heartbeat of a process that is no more does not bring it back, does not count as a
// sign of life and does not move the clock; but if it was the newer one that was late (it never
// says anything again), the living one is up again after suspect_ns / 3.
static void s_test_late_incarnation(void **state)
{
    (void)state;
    bb_detector_t *detector = s_detector(2, 1);
    s_beat(detector, 0, 0, 1, 0);
    s_beat(detector, 10, 0, 2, 0);
    bb_detector_actions_t actions = s_beat(detector, 20, 0, 1, 5);
    assert_int_equal(actions.change_count, 0);
    assert_int_equal(bb_detector_offset_ns(detector, 0), 0);
    assert_int_equal(actions.wake_mono_ns, 10 + S_SECOND); // not heard at 20
    actions = s_beat(detector, 9 + S_SECOND / 3, 0, 1, 0);
    assert_int_equal(actions.change_count, 0);
    actions = s_beat(detector, 10 + S_SECOND / 3, 0, 1, 0);
    assert_int_equal(actions.change_count, 1);
    assert_true(actions.changes[0].is_up);
    assert_int_equal(actions.changes[0].incarnation.bytes[0], 1);
    actions = s_beat(detector, 20 + S_SECOND / 3, 0, 3, 0); // a third is new
    assert_int_equal(actions.changes[0].incarnation.bytes[0], 3);
    bb_detector_destroy(&detector);
}

// Goal: heartbeats of nobody and of ourselves change nothing.
static void s_test_unknown_peers(void **state)
{
    (void)state;
    bb_detector_t *detector = s_detector(2, 1);
    bb_detector_actions_t actions;
    const uint32_t bad[] = {1, 2, 3, UINT32_MAX};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bb_detector_heartbeat_t heartbeat = {bad[i], s_stream(1), S_WALL, S_WALL};
        assert_int_equal(bb_detector_heartbeat(detector, 5, &heartbeat, &actions),
                         BB_ERR_PEER_UNKNOWN);
    }
    assert_false(bb_detector_is_up(detector, 0));
    bb_detector_destroy(&detector);
}

// Goal: the median rule. Method: the table of offsets that peers report and the verdict that the
// rule's definition gives, our own clock being one more at 0.
static void s_test_skew(void **state)
{
    (void)state;
    const int64_t far = 61 * S_SECOND, limit = 60 * S_SECOND;
    const struct {
        uint32_t peer_count;
        int64_t offsets[4];
        bool is_skewed;
    } cases[] = {
        {1, {far}, false},          // two nodes disagree: nobody knows who is right
        {2, {far, far}, true},      // both others agree with each other, not with us
        {2, {far, 0}, false},       // one other is wrong
        {2, {-far, far}, false},    // we are the middle
        {2, {limit, limit}, false}, // at the limit, not past it
        {2, {limit + 1, limit + 1}, true},
        {2, {-far, -far}, true},
        {3, {far, far, 0}, false},  // even number: the middle one nearer to 0
        {3, {far, far, far}, true}, // even number: both middles are off
        {4, {far, far, far, 0}, true},
        {2, {INT64_MAX - S_WALL, INT64_MAX - S_WALL}, true}, // no overflow
    };
    for (size_t c = 0; c < BB_COUNT_OF(cases); c++) {
        bb_detector_t *detector = s_detector(cases[c].peer_count + 1, 0);
        bb_detector_actions_t actions = {0};
        for (uint32_t i = 0; i < cases[c].peer_count; i++) {
            actions = s_beat(detector, 1, i + 1, 1, cases[c].offsets[i]);
            assert_int_equal(bb_detector_offset_ns(detector, i + 1), cases[c].offsets[i]);
        }
        assert_int_equal(actions.is_skewed, cases[c].is_skewed);
        bb_detector_destroy(&detector);
    }
}

// Goal: clocks of peers that are down do not count; changes of the verdict are reported once.
static void s_test_skew_ends(void **state)
{
    (void)state;
    bb_detector_t *detector = s_detector(3, 0);
    s_beat(detector, 0, 1, 1, 100 * S_SECOND);
    bb_detector_actions_t actions = s_beat(detector, 0, 2, 1, 100 * S_SECOND);
    assert_true(actions.is_skewed && actions.skew_changed);
    actions = s_beat(detector, 10, 2, 1, 100 * S_SECOND);
    assert_true(actions.is_skewed && !actions.skew_changed);
    bb_detector_tick(detector, 2 * S_SECOND, &actions);
    assert_int_equal(actions.change_count, 2);
    assert_true(!actions.is_skewed && actions.skew_changed);
    bb_detector_destroy(&detector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_up_and_down),
        cmocka_unit_test(s_test_new_incarnation),
        cmocka_unit_test(s_test_late_incarnation),
        cmocka_unit_test(s_test_unknown_peers),
        cmocka_unit_test(s_test_skew),
        cmocka_unit_test(s_test_skew_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

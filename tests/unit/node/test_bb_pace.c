// SPDX-License-Identifier: Apache-2.0
// Writers and the head: nobody waits who is slower than flushes, and who is faster waits evenly.
// Repair and writers: a quarter and a floor while they wait, no bound otherwise.
#include "node/ingest/bb_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

#define HEAD INT64_C(160000000) // bytes
#define S    BB_NS_PER_S

// Goal: without a flush only a full head stops a writer; what a failed flush took says nothing.
static void only_a_full_head_stops_without_a_flush(void **state)
{
    (void)state;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD, 0);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 5, 0), 5);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 5, HEAD - 1), 5);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 5, HEAD), BB_NEVER_NS);
    bb_pace_flush_begin(&pace, 10, HEAD / 3);
    int64_t due = bb_pace_take_mono_ns(&pace, 10, HEAD / 3 + HEAD / 4);
    assert_true(due > 10);
    bb_pace_flush_end(&pace, 3600 * S, false);
    bb_pace_flush_begin(&pace, 3600 * S, HEAD / 3);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 3600 * S, HEAD / 3 + HEAD / 4),
                     3600 * S + due - 10);
    bb_pace_flush_end(&pace, 3601 * S, true);
}

// Goal: while a flush runs the room is given out in step with it. Method: the line of the header,
// calculated here: a sixteenth at once, half of the head by the expected end.
static void room_is_given_out_along_the_line(void **state)
{
    (void)state;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD, 0);
    for (int64_t i = 0; i < 60; i++) { // half of the head a second, until the guess is forgotten
        bb_pace_flush_begin(&pace, -i * S, HEAD / 2);
        bb_pace_flush_end(&pace, -i * S + S, true);
    }
    bb_pace_flush_begin(&pace, 2 * S, HEAD / 2);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 2 * S, HEAD / 2 + HEAD / 16 - 1), 2 * S);
    for (int64_t step = 0; step <= 7; step++) { // sixteenths of the head
        uint64_t head_bytes = (uint64_t)(HEAD / 2 + HEAD / 16 + step * HEAD / 16);
        int64_t due = 2 * S + step * S / 7;
        if (step < 7) {
            assert_in_range(bb_pace_take_mono_ns(&pace, 2 * S, head_bytes), due - 1000, due + 1000);
            assert_int_equal(bb_pace_take_mono_ns(&pace, due + 1000, head_bytes), due + 1000);
        } else {
            assert_int_equal(bb_pace_take_mono_ns(&pace, 2 * S, head_bytes), BB_NEVER_NS);
        }
    }
    bb_pace_flush_end(&pace, 3 * S, true);
    assert_int_equal(bb_pace_take_mono_ns(&pace, 3 * S, HEAD / 2), 3 * S);
}

// Plays a writer that takes a batch whenever it may, and a flush of fixed speed that begins at a
// third of the head. Returns the longest wait after the first three flushes; *taken is what went
// in.
static int64_t s_play(int64_t writer_bytes_per_s, int64_t flush_bytes_per_s, int64_t seconds,
                      bool is_paced, uint64_t *taken)
{
    const int64_t batch_bytes = 250000, interval_ns = batch_bytes * S / writer_bytes_per_s;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD, 0);
    uint64_t head_bytes = 0;
    int64_t now = 0, next = 0, flush_end = BB_NEVER_NS, longest = 0;
    uint32_t flush_count = 0;
    *taken = 0;
    while (now < seconds * S) {
        int64_t due = BB_MAX(next, now);
        if (is_paced) {
            due = bb_pace_take_mono_ns(&pace, due, head_bytes);
        } else if (head_bytes >= HEAD) {
            due = BB_NEVER_NS;
        }
        if (flush_end <= due) { // the flush ends first
            now = BB_MAX(now, flush_end);
            flush_end = BB_NEVER_NS;
            flush_count++;
            head_bytes -= pace.frozen_bytes;
            bb_pace_flush_end(&pace, now, true);
        } else {
            now = due;
            longest = flush_count >= 3 ? BB_MAX(longest, now - next) : 0;
            next = now + interval_ns;
            head_bytes += (uint64_t)batch_bytes;
            *taken += (uint64_t)batch_bytes;
        }
        if (!pace.is_flushing && head_bytes >= (uint64_t)HEAD / 3) {
            bb_pace_flush_begin(&pace, now, head_bytes);
            flush_end = now + (int64_t)((double)head_bytes / (double)flush_bytes_per_s * 1e9);
        }
    }
    return longest;
}

// Goal: a writer slower than flushes is never held; one that is faster loses nothing of what
// flushes can do, and waits a little often instead of long seldom.
static void fast_writers_wait_evenly_and_slow_ones_never(void **state)
{
    (void)state;
    uint64_t taken = 0, taken_unpaced = 0;
    assert_int_equal(s_play(80000000, 100000000, 20, true, &taken), 0);
    int64_t paced_ns = s_play(200000000, 100000000, 20, true, &taken);
    int64_t unpaced_ns = s_play(200000000, 100000000, 20, false, &taken_unpaced);
    assert_true(unpaced_ns > 200 * BB_NS_PER_MS); // what it is there for
    assert_true(paced_ns < 10 * BB_NS_PER_MS);
    assert_true(taken > taken_unpaced / 100 * 97);
    assert_true(taken > UINT64_C(100000000) * 20 / 100 * 97);
}

// ---- repair ------------------------------------------------------------------------------------
#define FLOOR UINT64_C(1000000) // bytes a second
#define BURST (4 * FLOOR)

// Goal: there is no bound without one, nor while nobody waits, nor a while after somebody did; and
// what went then leaves no debt.
static void repair_is_free_while_nobody_waits(void **state)
{
    (void)state;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD, 0);
    bb_pace_waited(&pace, 1, S);
    assert_true(bb_pace_repair(&pace, BB_PACE_GIVEN, 2) == UINT64_MAX);
    bb_pace_init(&pace, HEAD, FLOOR);
    bb_pace_live(&pace, 1, FLOOR / 4);
    bb_pace_waited(&pace, 1, BB_PACE_WAIT_NS - 1);
    assert_true(bb_pace_repair(&pace, BB_PACE_TAKEN, 1) == UINT64_MAX);
    bb_pace_repaired(&pace, BB_PACE_TAKEN, 1, 1000000000);
    bb_pace_waited(&pace, 2, BB_PACE_WAIT_NS);
    assert_in_range(bb_pace_repair(&pace, BB_PACE_TAKEN, 2), BURST, BURST + 1);
    bb_pace_repaired(&pace, BB_PACE_TAKEN, 2, 2 * BURST);
    assert_int_equal(bb_pace_repair(&pace, BB_PACE_TAKEN, 2), 0);
    assert_int_equal(bb_pace_repair_mono_ns(&pace, BB_PACE_TAKEN, 2), 2 + BB_PACE_PRESSED_NS);
    assert_true(bb_pace_repair(&pace, BB_PACE_TAKEN, 2 + BB_PACE_PRESSED_NS) == UINT64_MAX);
    // The other way has a bucket of its own.
    assert_in_range(bb_pace_repair(&pace, BB_PACE_GIVEN, 3), BURST, BURST + 1);
    assert_int_equal(bb_pace_repair_mono_ns(&pace, BB_PACE_GIVEN, 3), 3);
}

// Goal: more than the floor a second is pressing by itself, until 750 ms after the last at most;
// less is not.
static void writing_more_than_the_floor_is_pressing(void **state)
{
    (void)state;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD, FLOOR);
    int64_t now = S;
    for (uint32_t i = 0; i < 100; i++, now += 100 * BB_NS_PER_MS) {
        bb_pace_live(&pace, now, FLOOR / 11);
        assert_false(bb_pace_is_pressed(&pace, now));
    }
    for (uint32_t i = 0; i < 100; i++, now += 100 * BB_NS_PER_MS) {
        bb_pace_live(&pace, now, FLOOR / 8);
        assert_true(i < 10 || bb_pace_is_pressed(&pace, now));
    }
    bb_pace_live(&pace, now, 1000 * FLOOR);
    bb_pace_repaired(&pace, BB_PACE_GIVEN, now, 2 * BURST);
    assert_in_range(bb_pace_repair_mono_ns(&pace, BB_PACE_GIVEN, now), now + S * 3 / 4 - 1,
                    now + S * 3 / 4 + 1);
    assert_true(bb_pace_is_pressed(&pace, now + S * 3 / 4 - 2));
    assert_false(bb_pace_is_pressed(&pace, now + S * 3 / 4 + 1));
}

// Goal: whatever is asked for, and however live bytes come, while writers wait repair has its floor
// and its quarter, and no more than these, a second's burst and the piece that was under way; and
// _repair_mono_ns is a moment at which it may go. Method: 300 random runs of 20 s; pieces come some
// time after they were asked for, some larger than what was allowed.
static void repair_has_its_floor_and_its_quarter_while_writers_wait(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        bb_random_t random = bb_random_seed(seed);
        uint64_t floor = bb_random_between(&random, 1000, 8000000);
        uint64_t live_bytes_max = bb_random_between(&random, 0, floor);
        uint64_t over_max = bb_random_between(&random, 0, floor);
        bb_pace_t pace;
        bb_pace_init(&pace, HEAD, floor);
        int64_t now = S, end = 21 * S;
        uint64_t live = 0, repaired = 0, piece_max = 0;
        while (now < end) {
            bb_pace_waited(&pace, now, BB_PACE_WAIT_NS);
            uint64_t bytes = bb_random_between(&random, 0, live_bytes_max);
            bb_pace_live(&pace, now, bytes);
            live += bytes;
            uint64_t allowed = bb_pace_repair(&pace, BB_PACE_GIVEN, now);
            int64_t due = bb_pace_repair_mono_ns(&pace, BB_PACE_GIVEN, now);
            assert_int_equal(allowed > 0, due == now);
            if (allowed > 0) {
                uint64_t piece = allowed + bb_random_between(&random, 0, over_max);
                bb_pace_repaired(&pace, BB_PACE_GIVEN, now, piece);
                repaired += piece;
                piece_max = BB_MAX(piece_max, piece);
            }
            now += (int64_t)bb_random_between(&random, 0, 20) * BB_NS_PER_MS;
        }
        double share = (double)floor * 20 + (double)live / 4;
        assert_true((double)repaired <= share + 5.1 * (double)floor);
        assert_true((double)repaired >=
                    share - (double)piece_max - (double)live_bytes_max - (double)floor);
    }
}

// Plays a cluster of three nodes with one pool of work for all, as they have on one machine: a live
// byte costs 3, a byte of repair 1. Writers take all that repair leaves. Returns how much of their
// speed they lose while `missing` is repaired; *seconds is how long that took.
static double s_catch_up(uint64_t floor, uint64_t work_per_s, uint64_t missing, double *seconds)
{
    bb_pace_t source, target;
    bb_pace_init(&source, HEAD, floor);
    bb_pace_init(&target, HEAD, floor);
    const int64_t tick = 10 * BB_NS_PER_MS;
    int64_t now = S;
    uint64_t live = 0, left = missing, ticks = 0;
    for (; left > 0 && ticks < 100000; ticks++, now += tick) {
        uint64_t work = work_per_s / 100;
        bb_pace_waited(&source, now, BB_PACE_WAIT_NS);
        bb_pace_waited(&target, now, BB_PACE_WAIT_NS);
        uint64_t asked = BB_MIN(bb_pace_repair(&target, BB_PACE_TAKEN, now), UINT64_C(4) << 20);
        uint64_t given = BB_MIN(asked, bb_pace_repair(&source, BB_PACE_GIVEN, now));
        given = BB_MIN(given, left);
        bb_pace_repaired(&source, BB_PACE_GIVEN, now, given);
        bb_pace_repaired(&target, BB_PACE_TAKEN, now, given);
        left -= given;
        uint64_t bytes = work > given ? (work - given) / 3 : 0;
        live += bytes;
        bb_pace_live(&source, now, bytes);
        bb_pace_live(&target, now, bytes);
    }
    *seconds = (double)ticks / 100;
    return 1 - (double)live / ((double)ticks * (double)(work_per_s / 100) / 3);
}

// Goal: 100 MB are caught up within 60 s at less than a fifth of the speed of writers, on fast
// machines and slow ones.
static void catching_up_takes_less_than_a_fifth_of_the_speed(void **state)
{
    (void)state;
    for (uint64_t live_per_s = 4000000; live_per_s <= 512000000; live_per_s *= 2) {
        double seconds = 0;
        double lost = s_catch_up(FLOOR, 3 * live_per_s, 100000000, &seconds);
        assert_true(lost < 0.2);
        assert_true(seconds < 60);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_full_head_stops_without_a_flush),
        cmocka_unit_test(room_is_given_out_along_the_line),
        cmocka_unit_test(fast_writers_wait_evenly_and_slow_ones_never),
        cmocka_unit_test(repair_is_free_while_nobody_waits),
        cmocka_unit_test(writing_more_than_the_floor_is_pressing),
        cmocka_unit_test(repair_has_its_floor_and_its_quarter_while_writers_wait),
        cmocka_unit_test(catching_up_takes_less_than_a_fifth_of_the_speed),
    };
    return cmocka_run_group_tests_name("bb_pace", tests, NULL, NULL);
}

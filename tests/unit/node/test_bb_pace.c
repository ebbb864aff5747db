// SPDX-License-Identifier: Apache-2.0
// Writers and the head: nobody waits who is slower than flushes, and who is faster waits evenly.
#include "node/ingest/bb_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define HEAD INT64_C(160000000) // bytes
#define S    BB_NS_PER_S

// Goal: without a flush only a full head stops a writer; what a failed flush took says nothing.
static void only_a_full_head_stops_without_a_flush(void **state)
{
    (void)state;
    bb_pace_t pace;
    bb_pace_init(&pace, HEAD);
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
    bb_pace_init(&pace, HEAD);
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
    bb_pace_init(&pace, HEAD);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_full_head_stops_without_a_flush),
        cmocka_unit_test(room_is_given_out_along_the_line),
        cmocka_unit_test(fast_writers_wait_evenly_and_slow_ones_never),
    };
    return cmocka_run_group_tests_name("bb_pace", tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// A cap of bytes a second on a link: never more than it, and neither live chunks nor repair starve.
#include "node/ingest/bb_link_cap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

#define RATE UINT64_C(1000000)
#define MS   BB_NS_PER_MS

typedef struct {
    uint64_t live, repair;
} s_sent_t;

// A step of 1 ms: offers live messages and repair of so many bytes each.
static void s_step(bb_link_cap_t *cap, int64_t now_ns, uint64_t live_bytes, uint64_t repair_bytes,
                   s_sent_t *sent)
{
    if (live_bytes > 0 && bb_link_cap_take_live(cap, now_ns, live_bytes)) {
        sent->live += live_bytes;
    }
    uint64_t allowed = bb_link_cap_repair(cap, now_ns);
    if (repair_bytes > 0 && allowed > 0) {
        uint64_t bytes = BB_MIN(repair_bytes, allowed);
        bb_link_cap_repaired(cap, bytes);
        sent->repair += bytes;
    }
}

// Goal: without a cap everything goes at once.
static void without_a_cap(void **state)
{
    (void)state;
    bb_link_cap_t cap;
    bb_link_cap_init(&cap, 0, 5);
    assert_true(bb_link_cap_take_live(&cap, 5, UINT64_MAX));
    assert_true(bb_link_cap_repair(&cap, 5) == UINT64_MAX);
    bb_link_cap_repaired(&cap, UINT64_MAX);
    assert_int_equal(bb_link_cap_repair_mono_ns(&cap, 7), 7);
}

// Goal: with more of both than fits, live chunks get nine tenths and repair one tenth.
static void both_have_their_share(void **state)
{
    (void)state;
    bb_link_cap_t cap;
    s_sent_t sent = {0};
    bb_link_cap_init(&cap, RATE, 0);
    for (int64_t ms = 1; ms <= 60000; ms++) {
        s_step(&cap, ms * MS, 3000, 1u << 20, &sent);
    }
    assert_in_range(sent.live, 60 * RATE * 89 / 100, 60 * RATE * 92 / 100);
    assert_in_range(sent.repair, 60 * RATE * 9 / 100, 60 * RATE * 11 / 100);
}

// Goal: what one does not use, the other has: nearly all of the rate.
static void what_is_left_goes_to_the_other(void **state)
{
    (void)state;
    bb_link_cap_t cap;
    s_sent_t sent = {0};
    bb_link_cap_init(&cap, RATE, 0);
    for (int64_t ms = 1; ms <= 60000; ms++) {
        s_step(&cap, ms * MS, 0, 1u << 20, &sent);
    }
    assert_in_range(sent.repair, 60 * RATE * 99 / 100, 60 * RATE * 101 / 100);
    sent = (s_sent_t){0};
    bb_link_cap_init(&cap, RATE, 0);
    for (int64_t ms = 1; ms <= 60000; ms++) {
        s_step(&cap, ms * MS, 3000, 0, &sent);
    }
    assert_in_range(sent.live, 60 * RATE * 99 / 100, 60 * RATE * 101 / 100);
}

// Goal: over any time the promise of the header. Method: random loads, sizes and pauses; each
// stretch that begins at a thousandth step is measured to its end.
static void never_more_than_the_rate(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(7);
    const uint64_t largest = 400000;
    bb_link_cap_t cap;
    bb_link_cap_init(&cap, RATE, 0);
    int64_t now_ns = 0, begun_ns = 0;
    s_sent_t sent = {0};
    for (uint32_t i = 1; i <= 200000; i++) {
        now_ns += (int64_t)bb_random_below(&random, 5 * (uint64_t)MS);
        if (bb_random_chance(&random, 1, 3000)) {
            now_ns += 30 * BB_NS_PER_S;
        }
        s_step(&cap, now_ns, bb_random_below(&random, largest), bb_random_below(&random, largest),
               &sent);
        double most =
            (double)RATE * (double)(now_ns - begun_ns + 2 * BB_LINK_CAP_BURST_NS) / BB_NS_PER_S +
            2 * (double)largest;
        assert_true((double)(sent.live + sent.repair) <= most);
        if (i % 1000 == 0) {
            begun_ns = now_ns;
            sent = (s_sent_t){0};
        }
    }
}

// Goal: at the moment that is named repair may go on, and a moment before it may not.
static void repair_says_when(void **state)
{
    (void)state;
    bb_link_cap_t cap;
    bb_link_cap_init(&cap, RATE, 0);
    for (uint64_t debt = 200000; debt < 2000000; debt += 300000) {
        int64_t now_ns = (int64_t)debt * BB_NS_PER_S;
        assert_true(bb_link_cap_repair(&cap, now_ns) > 0);
        bb_link_cap_repaired(&cap, debt);
        int64_t due_ns = bb_link_cap_repair_mono_ns(&cap, now_ns);
        bb_link_cap_t early = cap;
        assert_int_equal(bb_link_cap_repair(&early, due_ns - 2 * MS), 0);
        assert_true(bb_link_cap_repair(&cap, due_ns + 1) > 0);
        assert_int_equal(bb_link_cap_repair_mono_ns(&cap, due_ns + 1), due_ns + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_cap),
        cmocka_unit_test(both_have_their_share),
        cmocka_unit_test(what_is_left_goes_to_the_other),
        cmocka_unit_test(never_more_than_the_rate),
        cmocka_unit_test(repair_says_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Hedges: what is a small read, the percentile against its definition, the bound on their number at
// every moment, when there are none, and what they do to a tail.
#include "protocol/bb_hedge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

#define MS BB_NS_PER_MS
#define S  BB_NS_PER_S

// Goal: newest values, and points or buckets of few batteries over little time or with few rows,
// are small; scans, lists and pages after the first are not. Kinds are kept apart.
static void small_reads_and_no_others(void **state)
{
    (void)state;
    const bb_query_t newest = {.mode = BB_QUERY_LAST, .level = BB_LEVEL_ONE, .battery_count = 1};
    const bb_query_t day = {.mode = BB_QUERY_RAW,
                            .level = BB_LEVEL_LOCAL_QUORUM,
                            .battery_count = BB_HEDGE_BATTERIES_MAX,
                            .from_wall_ns = 5,
                            .to_wall_ns = 5 + BB_NS_PER_DAY};
    bb_query_t query = newest;
    assert_int_equal(bb_hedge_kind(&query), 0);
    query.level = BB_LEVEL_LOCAL_QUORUM;
    assert_int_equal(bb_hedge_kind(&query), 1);
    query.level = (bb_level_t)0; // the cluster's own
    assert_int_equal(bb_hedge_kind(&query), 1);
    query.level = BB_LEVEL_ALL;
    assert_int_equal(bb_hedge_kind(&query), 2);
    assert_int_equal(bb_hedge_kind(&day), 4);
    query = day;
    query.mode = BB_QUERY_AGGREGATE;
    assert_int_equal(bb_hedge_kind(&query), 7);
    query.to_wall_ns++;
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE); // a range of more than a day
    query.row_limit = 1;                                         // says nothing about buckets
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    query.mode = BB_QUERY_RAW;
    assert_int_equal(bb_hedge_kind(&query), 4);
    query.row_limit = BB_HEDGE_ROWS_MAX + 1;
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    query = day;
    query.battery_count++;
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    query.battery_count = 0; // a fleet
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    query = day;
    query.cursor = bb_slice("c", 1);
    assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    const bb_query_mode_t others[] = {BB_QUERY_BATTERIES, BB_QUERY_QUARANTINE,
                                      BB_QUERY_GENERATIONS};
    for (size_t i = 0; i < BB_COUNT_OF(others); i++) {
        query = day;
        query.mode = others[i];
        assert_int_equal(bb_hedge_kind(&query), BB_HEDGE_KIND_NONE);
    }
}

// The definition: the smallest latency that at least 95 % of the last window do not exceed.
static uint32_t s_slow_p95_us(const uint32_t *all_us, uint32_t count)
{
    uint32_t first = count > BB_HEDGE_WINDOW ? count - BB_HEDGE_WINDOW : 0;
    uint32_t best_us = UINT32_MAX;
    for (uint32_t i = first; i < count; i++) {
        uint32_t reached = 0;
        for (uint32_t k = first; k < count; k++) {
            reached += all_us[k] <= all_us[i];
        }
        if (reached * 100 >= (count - first) * 95) {
            best_us = BB_MIN(best_us, all_us[i]);
        }
    }
    return best_us;
}

// Goal: the percentile is that of the last window, whatever came; few samples give none.
static void the_percentile_is_its_definition(void **state)
{
    (void)state;
    enum { COUNT = 700 };
    for (uint64_t seed = 1; seed <= 3; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_hedge_t hedge;
        bb_hedge_init(&hedge);
        uint32_t all_us[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            all_us[i] = (uint32_t)(seed == 1   ? bb_random_next(&random) % 5
                                   : seed == 2 ? bb_random_next(&random) % 100000
                                               : i);
            bb_hedge_end(&hedge, 8, all_us[i] * BB_NS_PER_US, false);
            int64_t p95_ns = bb_hedge_p95_ns(&hedge, 8);
            assert_int_equal(p95_ns, i + 1 < BB_HEDGE_SAMPLES_MIN
                                         ? 0
                                         : s_slow_p95_us(all_us, i + 1) * BB_NS_PER_US);
        }
        assert_int_equal(bb_hedge_p95_ns(&hedge, 7), 0); // another kind
    }
}

static void s_learn(bb_hedge_t *hedge, uint32_t kind, int64_t latency_ns)
{
    for (uint32_t i = 0; i < BB_HEDGE_WINDOW; i++) {
        bb_hedge_end(hedge, kind, latency_ns, false);
    }
}

// Goal: a hedge is due at the percentile, at twice that while the budget is less than half full,
// and not sooner than a millisecond after the first request; twenty first requests pay for one;
// what was saved is little; none while busy or queued.
static void when_there_are_hedges(void **state)
{
    (void)state;
    bb_hedge_t hedge;
    bb_hedge_init(&hedge);
    assert_int_equal(bb_hedge_begin(&hedge, 0, S), BB_NEVER_NS); // nothing is known
    s_learn(&hedge, 0, 7 * MS);
    s_learn(&hedge, 1, 3);
    assert_int_equal(bb_hedge_begin(&hedge, 0, S), S + 14 * MS);
    assert_int_equal(bb_hedge_begin(&hedge, 1, S), S + BB_HEDGE_WAIT_NS_MIN);
    for (int i = 3; i < 19; i++) {
        assert_false(bb_hedge_take(&hedge, S, false));
        assert_int_equal(bb_hedge_begin(&hedge, 0, S), S + 14 * MS);
    }
    assert_false(bb_hedge_take(&hedge, S, false));
    assert_int_equal(bb_hedge_begin(&hedge, 0, S), S + 14 * MS);
    assert_false(bb_hedge_take(&hedge, S, true)); // work of our own waits
    bb_hedge_busy(&hedge, S);
    assert_false(bb_hedge_take(&hedge, S + BB_HEDGE_BUSY_NS - 1, false));
    assert_true(bb_hedge_take(&hedge, S + BB_HEDGE_BUSY_NS, false));
    assert_false(bb_hedge_take(&hedge, 9 * S, false));
    bb_hedge_untake(&hedge); // there was no connection
    assert_true(bb_hedge_take(&hedge, 9 * S, false));
    bb_hedge_end(&hedge, 0, 8 * MS, true);
    assert_int_equal(hedge.hedge_count, 1);
    assert_int_equal(hedge.won_count, 1);
    for (int i = 0; i < 100000; i++) {
        assert_int_not_equal(bb_hedge_begin(&hedge, 0, 9 * S), BB_NEVER_NS);
    }
    assert_int_equal(bb_hedge_begin(&hedge, 0, 9 * S), 9 * S + 7 * MS);
    uint32_t burst = 0;
    while (bb_hedge_take(&hedge, 9 * S, false)) {
        burst++;
    }
    assert_int_equal(burst, BB_HEDGE_TOKENS_MAX);
}

// Goal: whatever is asked in whatever order, hedges are at most a twentieth of first requests, at
// every moment.
static void the_load_is_bounded(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_hedge_t hedge;
        bb_hedge_init(&hedge);
        int64_t now_ns = 0;
        uint64_t begun = 0, taken = 0;
        for (uint32_t i = 0; i < 20000; i++) {
            now_ns += (int64_t)(bb_random_next(&random) % (20 * (uint64_t)MS));
            uint32_t kind = (uint32_t)(bb_random_next(&random) % BB_HEDGE_KIND_COUNT);
            switch (bb_random_next(&random) % (seed % 4 + 5)) {
            case 0:
                taken += bb_hedge_take(&hedge, now_ns, bb_random_next(&random) % 8 == 0);
                break;
            case 1:
                if (taken > hedge.won_count && bb_random_next(&random) % 4 == 0) {
                    bb_hedge_untake(&hedge);
                    taken--;
                }
                break;
            case 2:
                if (bb_random_next(&random) % 50 == 0) {
                    bb_hedge_busy(&hedge, now_ns);
                }
                break;
            case 3:
                bb_hedge_end(&hedge, kind, (int64_t)(bb_random_next(&random) % (uint64_t)S),
                             taken > hedge.won_count);
                break;
            default:
                (void)bb_hedge_begin(&hedge, kind, now_ns);
                begun++;
                break;
            }
            assert_int_equal(hedge.asked_count, begun);
            assert_int_equal(hedge.hedge_count, taken);
            assert_true(taken * 20 <= begun);
        }
        assert_true(taken > 100);
    }
}

static int s_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// One of 50 requests meets a node that stands still for 300 ms, all others take 1 to 3 ms.
static int64_t s_latency_ns(bb_random_t *random)
{
    bool is_stuck = bb_random_next(random) % 50 == 0;
    return is_stuck ? 300 * MS : MS + (int64_t)(bb_random_next(random) % (2 * (uint64_t)MS));
}

// Goal: what hedges are for. Method: 20,000 reads one after the other with latencies drawn alone,
// p99 with hedges and without, and how many there were.
static void the_tail_becomes_short(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    int64_t *plain_ns = bb_alloc(COUNT * sizeof *plain_ns);
    int64_t *hedged_ns = bb_alloc(COUNT * sizeof *hedged_ns);
    bb_hedge_t hedge;
    bb_hedge_init(&hedge);
    bb_random_t random = bb_random_seed(7);
    int64_t now_ns = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        int64_t first_ns = s_latency_ns(&random), due_ns = bb_hedge_begin(&hedge, 0, now_ns);
        int64_t end_ns = first_ns;
        if (due_ns != BB_NEVER_NS && due_ns < now_ns + first_ns &&
            bb_hedge_take(&hedge, due_ns, false)) {
            end_ns = BB_MIN(first_ns, due_ns - now_ns + s_latency_ns(&random));
        }
        bb_hedge_end(&hedge, 0, end_ns, end_ns < first_ns);
        plain_ns[i] = first_ns;
        hedged_ns[i] = end_ns;
        now_ns += end_ns;
    }
    qsort(plain_ns, COUNT, sizeof *plain_ns, s_compare);
    qsort(hedged_ns, COUNT, sizeof *hedged_ns, s_compare);
    assert_int_equal(plain_ns[COUNT * 99 / 100], 300 * MS);
    assert_true(hedged_ns[COUNT * 99 / 100] < 7 * MS);
    assert_true(hedge.hedge_count * 20 <= COUNT);
    assert_true(hedge.hedge_count * 40 >= COUNT); // and it was used
    free(plain_ns);
    free(hedged_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_reads_and_no_others),
        cmocka_unit_test(the_percentile_is_its_definition),
        cmocka_unit_test(when_there_are_hedges),
        cmocka_unit_test(the_load_is_bounded),
        cmocka_unit_test(the_tail_becomes_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The age of chunks from a few remembered times, against all of them.
#include "node/ingest/bb_dc_lag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

#define S     BB_NS_PER_S
#define COUNT 20000u

// Goal: a chunk after a long silence is as old as it is, not as the silence.
static void silence_is_no_age(void **state)
{
    (void)state;
    bb_dc_lag_t *lag = bb_dc_lag_new(2);
    assert_int_equal(bb_dc_lag_age_ns(lag, 5 * S, 1, 1), 0);
    bb_dc_lag_given(lag, 10 * S, 1, 1);
    bb_dc_lag_given(lag, 10 * S + 1, 1, 2);
    bb_dc_lag_given(lag, 3600 * S, 1, 3);
    assert_int_equal(bb_dc_lag_age_ns(lag, 3601 * S, 1, 3), S);
    assert_int_equal(bb_dc_lag_age_ns(lag, 3601 * S, 1, 1), 3591 * S);
    assert_int_equal(bb_dc_lag_age_ns(lag, 3601 * S, 1, 2), 3591 * S); // within half a second
    assert_int_equal(bb_dc_lag_age_ns(lag, 3601 * S, 0, 3), 0);        // another partition
    bb_dc_lag_destroy(&lag);
}

// Goal: never too small; of what was missed first right to half a second, else at most twice, for
// days of outage and for a data centre that follows. Method: random gaps; the oldest chunk that is
// asked for stands still or follows at random distances; the true times are kept aside.
static void ages_are_nearly_right(void **state)
{
    (void)state;
    int64_t *given_ns = bb_alloc((COUNT + 1) * sizeof *given_ns);
    for (uint64_t seed = 1; seed <= 30; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_dc_lag_t *lag = bb_dc_lag_new(1);
        int64_t now_ns = S;
        uint64_t oldest = 1;
        for (uint64_t seq = 1; seq <= COUNT; seq++) {
            int64_t gap_ns = bb_random_chance(&random, 1, 500) ? 300 * S : S / 5;
            now_ns += (int64_t)bb_random_below(&random, (uint64_t)gap_ns);
            given_ns[seq] = now_ns;
            bb_dc_lag_given(lag, now_ns, 0, seq);
            int64_t true_ns = now_ns - given_ns[oldest];
            int64_t age_ns = bb_dc_lag_age_ns(lag, now_ns, 0, oldest);
            assert_true(age_ns >= true_ns);
            assert_true(age_ns <= true_ns + (oldest == 1 ? S / 2 : true_ns + S));
            if (seed % 3 != 0 && bb_random_chance(&random, 1, 1 + 40 * (seed % 10))) {
                oldest += bb_random_below(&random, seq - oldest + 1);
                bb_dc_lag_forget(lag, 0, oldest);
            }
        }
        bb_dc_lag_destroy(&lag);
    }
    free(given_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_is_no_age),
        cmocka_unit_test(ages_are_nearly_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

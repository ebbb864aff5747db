// SPDX-License-Identifier: Apache-2.0
// The bucket: what earns, what costs, its two ends, and the bound that it promises.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/bb_retry_budget.h"

#define S BB_NS_PER_S

static uint32_t s_drain(bb_retry_budget_t *budget, int64_t now_ns)
{
    uint32_t count = 0;
    int32_t paid;
    while (bb_retry_budget_pay(budget, now_ns, false, &paid)) {
        assert_int_equal(paid, 10);
        count++;
    }
    return count;
}

// Goal: it begins full, ten first requests pay for one repetition, and it never holds more than
// its size.
static void ten_first_requests_pay_for_one_repetition(void **state)
{
    (void)state;
    bb_retry_budget_t budget;
    bb_retry_budget_init(&budget, 5);
    assert_int_equal(s_drain(&budget, 5), BB_RETRY_TOKENS_MAX);
    for (int i = 0; i < 9; i++) {
        bb_retry_budget_earn(&budget, 5);
        assert_int_equal(s_drain(&budget, 5), 0);
    }
    bb_retry_budget_earn(&budget, 5);
    assert_int_equal(s_drain(&budget, 5), 1);
    for (int i = 0; i < 100000; i++) {
        bb_retry_budget_earn(&budget, 5);
    }
    assert_int_equal(s_drain(&budget, 5), BB_RETRY_TOKENS_MAX);
}

// Goal: a client that sends nothing new earns one repetition in ten seconds, one that sends once a
// second or more earns nothing by waiting; a clock that goes back earns nothing.
static void silence_earns_a_little(void **state)
{
    (void)state;
    bb_retry_budget_t budget;
    bb_retry_budget_init(&budget, 0);
    s_drain(&budget, 0);
    assert_int_equal(s_drain(&budget, 10 * S - 1), 0);
    assert_int_equal(s_drain(&budget, 10 * S), 1);
    assert_int_equal(s_drain(&budget, 10 * S), 0);
    assert_int_equal(s_drain(&budget, 0), 0);
    assert_int_equal(s_drain(&budget, 30 * S), 2);
    for (int i = 1; i <= 9; i++) {
        bb_retry_budget_earn(&budget, 30 * S + i * (S - 1));
    }
    assert_int_equal(s_drain(&budget, 39 * S), 0);
    assert_int_equal(s_drain(&budget, 1000 * S), BB_RETRY_TOKENS_MAX);
}

// Goal: a failover is never refused; it takes what there is, and what comes back is what was taken.
static void failover_is_never_refused(void **state)
{
    (void)state;
    bb_retry_budget_t budget;
    int32_t paid;
    bb_retry_budget_init(&budget, 0);
    assert_true(bb_retry_budget_pay(&budget, 0, true, &paid));
    assert_int_equal(paid, 10);
    assert_int_equal(s_drain(&budget, 0), BB_RETRY_TOKENS_MAX - 1);
    for (int i = 0; i < 3; i++) {
        bb_retry_budget_earn(&budget, 0);
    }
    assert_true(bb_retry_budget_pay(&budget, 0, true, &paid));
    assert_int_equal(paid, 3);
    for (int i = 0; i < 1000; i++) {
        assert_true(bb_retry_budget_pay(&budget, 0, true, &paid));
        assert_int_equal(paid, 0);
        bb_retry_budget_refund(&budget, paid);
    }
    assert_int_equal(budget.tenths, 0);
    bb_retry_budget_refund(&budget, 10);
    assert_int_equal(s_drain(&budget, 0), 1);
    bb_retry_budget_init(&budget, 0);
    bb_retry_budget_refund(&budget, 10);
    assert_int_equal(s_drain(&budget, 0), BB_RETRY_TOKENS_MAX);
}

// Goal: repetitions <= first requests / 10 + size, whatever the order. Method: 1,000,000 random
// events, a millisecond apart at most, fixed seed; after each the bound is counted anew.
static void repetitions_keep_their_bound(void **state)
{
    (void)state;
    bb_retry_budget_t budget;
    bb_retry_budget_init(&budget, 0);
    uint64_t x = 88172645463325252u, first = 0, repeated = 0;
    int64_t now_ns = 0;
    for (int i = 0; i < 1000000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        int32_t paid;
        now_ns += (int64_t)(x >> 32) % (S / 1000);
        uint32_t often = 1 + (uint32_t)i / 100000; // of ten events, first requests
        if (x % 11 < often) {
            bb_retry_budget_earn(&budget, now_ns);
            first++;
        } else if (bb_retry_budget_pay(&budget, now_ns, false, &paid)) {
            repeated++;
        }
        assert_true(repeated <= first / 10 + BB_RETRY_TOKENS_MAX);
    }
    assert_true(repeated > first / 11); // and it gives what it may
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_first_requests_pay_for_one_repetition),
        cmocka_unit_test(silence_earns_a_little),
        cmocka_unit_test(failover_is_never_refused),
        cmocka_unit_test(repetitions_keep_their_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

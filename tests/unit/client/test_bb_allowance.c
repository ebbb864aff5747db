// SPDX-License-Identifier: Apache-2.0
// What may be on its way to a node, by the credit that it told.
#include "client/bb_allowance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

// Goal: a node that tells nothing bounds nothing.
static void without_credits_there_is_no_bound(void **state)
{
    (void)state;
    bb_allowance_t allowance = {0};
    for (int i = 0; i < 100; i++) {
        assert_true(bb_allowance_admits(&allowance, 0, UINT32_MAX));
        bb_allowance_begin(&allowance, UINT32_MAX);
    }
    bb_allowance_told(&allowance, 0, 0);
    assert_true(bb_allowance_admits(&allowance, 0, UINT32_MAX));
}

// Goal: bytes on their way stay within the credit, up to its last byte; one batch may always be.
static void bytes_stay_within_the_credit(void **state)
{
    (void)state;
    bb_allowance_t allowance = {0};
    bb_allowance_told(&allowance, 100, 1000);
    assert_true(bb_allowance_admits(&allowance, 1, 5000)); // alone
    bb_allowance_begin(&allowance, 600);
    assert_true(bb_allowance_admits(&allowance, 1, 400));
    assert_false(bb_allowance_admits(&allowance, 1, 401));
    assert_false(bb_allowance_admits(&allowance, 1, UINT64_MAX));
    bb_allowance_begin(&allowance, 400);
    assert_false(bb_allowance_admits(&allowance, 1, 1));
    bb_allowance_told(&allowance, 100, 500); // less than what is on its way
    assert_false(bb_allowance_admits(&allowance, 1, 1));
    bb_allowance_end(&allowance, 600);
    assert_true(bb_allowance_admits(&allowance, 1, 100));
    assert_false(bb_allowance_admits(&allowance, 1, 101));
    bb_allowance_end(&allowance, 400);
    assert_int_equal(allowance.sent_bytes, 0);
}

// Goal: a credit holds until its time; a late answer prolongs nothing; then it is
// one at a time. A new connection begins anew.
static void credits_lapse(void **state)
{
    (void)state;
    bb_allowance_t allowance = {0};
    bb_allowance_told(&allowance, 50, 1000);
    bb_allowance_told(&allowance, 0, 900);
    bb_allowance_begin(&allowance, 1);
    assert_true(bb_allowance_admits(&allowance, 49, 899));
    assert_false(bb_allowance_admits(&allowance, 49, 900));
    assert_false(bb_allowance_admits(&allowance, 50, 1));
    bb_allowance_reset(&allowance);
    assert_true(bb_allowance_admits(&allowance, 50, 1));
    assert_int_equal(allowance.sent_bytes, 1); // ends with its exchange
    bb_allowance_told(&allowance, 60, 2);
    assert_true(bb_allowance_admits(&allowance, 59, 1));
    assert_false(bb_allowance_admits(&allowance, 59, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_credits_there_is_no_bound),
        cmocka_unit_test(bytes_stay_within_the_credit),
        cmocka_unit_test(credits_lapse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

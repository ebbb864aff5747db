// SPDX-License-Identifier: Apache-2.0
// Goal: the divisor is the greatest one, and dividing by it loses nothing. Method: random multiples
// with strays; Euclid's algorithm on all distances as oracle.
#include "storage/encoding/bb_divisor.h"

#include "tests/unit/storage/run_support.h"

static uint64_t s_euclid(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void test_greatest_divisor(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(61);
    uint64_t integers[90], offsets[90];
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t count = 2 + test_below(&random, 88);
        uint64_t unit = (1 + bb_random_next(&random) % (UINT64_C(2) << test_below(&random, 20)))
                        << (round % 3 == 0 ? test_below(&random, 30) : 0);
        uint64_t base = bb_random_next(&random);
        for (uint32_t i = 0; i < count; i++) {
            integers[i] = base + unit * ((uint64_t)test_below(&random, 1000) - 500);
        }
        if (round % 4 == 0) {
            integers[test_below(&random, count)] += test_below(&random, 3);
        }
        uint64_t expected = 0;
        for (uint32_t i = 1; i < count; i++) {
            bool is_below = (int64_t)integers[i] < (int64_t)integers[0];
            expected = s_euclid(is_below ? integers[0] - integers[i] : integers[i] - integers[0],
                                expected);
        }
        expected = expected == 0 ? 1 : expected;
        assert_int_equal(bb_divisor_of(integers, count), expected);
        bb_divisor_apply(integers, count, expected, offsets);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(integers[0] + offsets[i] * expected, integers[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greatest_divisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

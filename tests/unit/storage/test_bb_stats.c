// SPDX-License-Identifier: Apache-2.0
// Goal: statistics follow the rules of bb_run.h, one by one, in groups and in bulk. Method: a naive
// oracle that sorts by hand and adds one value at a time; random groupings.
#include "storage/segment/bb_stats.h"

#include <math.h>

#include "tests/unit/storage/run_support.h"

#define ROWS_MAX 1500

static int s_compare(bb_type_t type, uint64_t a, uint64_t b)
{
    return bb_value_compare(0, (bb_value_t){type, a}, 0, (bb_value_t){type, b});
}

static bool s_is_nan(bb_type_t type, uint64_t bits)
{
    return type == BB_TYPE_FLOAT64 && isnan(bb_double_of_bits(bits));
}

// The definition, word by word; sums by test_bb_sum.c.
static bb_block_stats_t s_oracle(bb_type_t type, const int64_t *times, const uint64_t *values,
                                 const uint64_t *presence, uint32_t rows)
{
    bb_block_stats_t stats = {0};
    bool any_number = false;
    for (uint32_t row = 0; row < rows; row++) {
        if (presence && !(presence[row / 64] >> (row % 64) & 1)) {
            continue;
        }
        uint64_t bits = values[row];
        bool is_number = !s_is_nan(type, bits);
        if (stats.count == 0 || (is_number && !any_number)) {
            stats.min = bits;
            stats.max = bits;
        } else if (is_number == any_number) {
            stats.min = s_compare(type, bits, stats.min) < 0 ? bits : stats.min;
            stats.max = s_compare(type, bits, stats.max) > 0 ? bits : stats.max;
        }
        any_number |= is_number;
        if (stats.count == 0) {
            stats.first_wall_ns = times[row];
            stats.first = bits;
        }
        stats.last_wall_ns = times[row];
        stats.last = bits;
        stats.count++;
        bb_sum_add_value(&stats.sum, type, bits);
    }
    return stats;
}

// The same bits, or the same text at another address.
static void s_expect_bits(bb_type_t type, uint64_t found, uint64_t expected)
{
    if (type != BB_TYPE_STATE || found == 0 || expected == 0) {
        assert_int_equal(found, expected);
    } else {
        assert_int_equal(s_compare(type, found, expected), 0);
    }
}

static void s_expect_equal(bb_type_t type, const bb_block_stats_t *found,
                           const bb_block_stats_t *expected)
{
    assert_int_equal(found->count, expected->count);
    s_expect_bits(type, found->min, expected->min);
    s_expect_bits(type, found->max, expected->max);
    assert_int_equal(found->first_wall_ns, expected->first_wall_ns);
    assert_int_equal(found->last_wall_ns, expected->last_wall_ns);
    s_expect_bits(type, found->first, expected->first);
    s_expect_bits(type, found->last, expected->last);
    assert_true(bb_sum_is_equal(&found->sum, &expected->sum));
}

static void s_fill(bb_random_t *random, bb_type_t type, uint32_t family, uint64_t *values,
                   uint32_t rows)
{
    test_words(random, family, type == BB_TYPE_FLOAT64, values, rows);
    for (uint32_t row = 0; row < rows; row++) {
        if (type == BB_TYPE_BOOL) {
            values[row] &= 1;
        } else if (type == BB_TYPE_STATE) {
            values[row] = test_text_bits(test_below(random, TEST_TEXT_COUNT));
        }
    }
}

static void test_bulk_equals_the_definition(void **context)
{
    (void)context;
    static int64_t times[ROWS_MAX];
    static uint64_t values[ROWS_MAX];
    static const uint32_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 100, 1024, ROWS_MAX};
    bb_random_t random = bb_random_seed(11);
    test_times(&random, TEST_JITTER, times, ROWS_MAX);
    for (uint32_t type = BB_TYPE_FLOAT64; type <= BB_TYPE_LAST; type++) {
        for (uint32_t family = 0; family < TEST_FAMILY_COUNT; family++) {
            for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
                s_fill(&random, type, family, values, counts[i]);
                bb_block_stats_t expected = s_oracle(type, times, values, NULL, counts[i]);
                bb_block_stats_t found = {0};
                bb_stats_add_rows(&found, type, times, values, NULL, counts[i]);
                s_expect_equal(type, &found, &expected);
                bb_block_stats_t slow = {0};
                for (uint32_t row = 0; row < counts[i]; row++) {
                    bb_stats_add(&slow, type, times[row], values[row]);
                }
                s_expect_equal(type, &slow, &expected);
            }
        }
    }
}

static void test_absent_rows_do_not_count(void **context)
{
    (void)context;
    int64_t times[200];
    uint64_t values[200];
    uint64_t presence[4];
    bb_random_t random = bb_random_seed(12);
    test_times(&random, TEST_IRREGULAR, times, 200);
    for (uint32_t round = 0; round < 300; round++) {
        bb_type_t type = BB_TYPE_FLOAT64 + round % 4;
        s_fill(&random, type, test_below(&random, TEST_COUNTER), values, 200);
        for (uint32_t word = 0; word < 4; word++) {
            presence[word] = round < 4 ? 0 : bb_random_next(&random) & bb_random_next(&random);
        }
        bb_block_stats_t expected = s_oracle(type, times, values, presence, 200);
        bb_block_stats_t found = {0};
        bb_stats_add_rows(&found, type, times, values, presence, 200);
        s_expect_equal(type, &found, &expected);
    }
}

static void test_merge_in_any_order_and_grouping(void **context)
{
    (void)context;
    static int64_t times[ROWS_MAX];
    static uint64_t values[ROWS_MAX];
    bb_random_t random = bb_random_seed(13);
    for (uint32_t round = 0; round < 200; round++) {
        bb_type_t type = BB_TYPE_FLOAT64 + round % 4;
        uint32_t family = round % 8 == 0 ? TEST_SPECIAL : TEST_DECIMAL_WALK;
        uint32_t rows = 1 + test_below(&random, 300);
        test_times(&random, TEST_IRREGULAR, times, rows);
        s_fill(&random, type, family, values, rows);
        bb_block_stats_t expected = s_oracle(type, times, values, NULL, rows);

        // Cut into pieces, merge them in a random order, some of them pairwise first.
        bb_block_stats_t pieces[16] = {{0}};
        for (uint32_t row = 0; row < rows; row++) {
            bb_stats_add(&pieces[test_below(&random, 16)], type, times[row], values[row]);
        }
        for (uint32_t left = 16; left > 1; left--) {
            uint32_t into = test_below(&random, left);
            uint32_t from = test_below(&random, left);
            if (into == from) {
                left++;
                continue;
            }
            bb_stats_merge(&pieces[into], type, &pieces[from]);
            pieces[from] = pieces[left - 1];
            if (into == left - 1) {
                into = from;
            }
        }
        s_expect_equal(type, &pieces[0], &expected);
        if (family != TEST_SPECIAL || type != BB_TYPE_FLOAT64) {
        }
    }
}

static void test_nan_is_no_minimum(void **context)
{
    (void)context;
    const uint64_t nan = test_special_doubles[4];
    const uint64_t low_nan = test_special_doubles[8];
    const uint64_t one = bb_bits_of_double(1.0);
    bb_block_stats_t stats = {0};
    bb_stats_add(&stats, BB_TYPE_FLOAT64, 10, nan);
    bb_stats_add(&stats, BB_TYPE_FLOAT64, 20, low_nan);
    // Only NaNs: their own order.
    assert_int_equal(stats.min, low_nan);
    assert_int_equal(stats.max, nan);
    bb_stats_add(&stats, BB_TYPE_FLOAT64, 30, one);
    bb_stats_add(&stats, BB_TYPE_FLOAT64, 40, nan);
    assert_int_equal(stats.count, 4);
    assert_int_equal(stats.min, one);
    assert_int_equal(stats.max, one);
    assert_int_equal(stats.first, nan);
    assert_int_equal(stats.last, nan);
    assert_true(isnan(bb_sum_value(&stats.sum)));
}

static void test_equal_times_take_the_larger_value(void **context)
{
    (void)context;
    const uint64_t small = bb_bits_of_double(-2.0);
    const uint64_t large = bb_bits_of_double(3.0);
    for (uint32_t order = 0; order < 2; order++) {
        bb_block_stats_t stats = {0};
        bb_stats_add(&stats, BB_TYPE_FLOAT64, 5, order ? small : large);
        bb_stats_add(&stats, BB_TYPE_FLOAT64, 5, order ? large : small);
        assert_int_equal(stats.first, large);
        assert_int_equal(stats.last, large);
    }
}

// 2^53 + 1 is no double: the sum must still be exact, and -0.0 is below 0.0.
static void test_exact_sums_and_signed_zero(void **context)
{
    (void)context;
    const int64_t numbers[] = {INT64_MAX, (INT64_C(1) << 53) + 1, INT64_MIN, 1, -3};
    bb_block_stats_t one_by_one = {0};
    bb_block_stats_t bulk = {0};
    int64_t times[5] = {1, 2, 3, 4, 5};
    for (uint32_t i = 0; i < 5; i++) {
        bb_stats_add(&one_by_one, BB_TYPE_INT64, times[i], (uint64_t)numbers[i]);
    }
    bb_stats_add_rows(&bulk, BB_TYPE_INT64, times, (const uint64_t *)numbers, NULL, 5);
    // INT64_MAX + INT64_MIN is -1, so the sum is 2^53 - 2.
    assert_true(bb_sum_value(&one_by_one.sum) == 0x1p53 - 2);
    assert_true(bb_sum_value(&bulk.sum) == 0x1p53 - 2);

    const uint64_t zeros[] = {bb_bits_of_double(0.0), bb_bits_of_double(-0.0)};
    bb_block_stats_t stats = {0};
    bb_stats_add_rows(&stats, BB_TYPE_FLOAT64, times, zeros, NULL, 2);
    assert_int_equal(stats.min, zeros[1]);
    assert_int_equal(stats.max, zeros[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bulk_equals_the_definition),
        cmocka_unit_test(test_absent_rows_do_not_count),
        cmocka_unit_test(test_merge_in_any_order_and_grouping),
        cmocka_unit_test(test_nan_is_no_minimum),
        cmocka_unit_test(test_equal_times_take_the_larger_value),
        cmocka_unit_test(test_exact_sums_and_signed_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

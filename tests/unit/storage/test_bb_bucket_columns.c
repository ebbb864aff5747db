// SPDX-License-Identifier: Apache-2.0
// Columns of buckets: what they refuse, and lists that merge. The arithmetic itself is compared
// with one point at a time in test_bb_buckets.
#include "storage/scan/bb_bucket_columns.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static bb_block_stats_t s_stats(double value)
{
    bb_block_stats_t stats = {0};
    bb_stats_add(&stats, BB_TYPE_FLOAT64, 1, bb_bits_of_double(value));
    return stats;
}

static bb_block_stats_t s_get(const bb_bucket_columns_t *self, size_t index)
{
    bb_block_stats_t stats;
    bb_bucket_columns_get(self, index, &stats);
    return stats;
}

// Goal: a value whose sum is not one of decimals is refused and changes nothing.
static void only_decimals_are_taken(void **state)
{
    (void)state;
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1.0 / 3, 1e300, 5e-324};
    bb_bucket_columns_t columns = {0};
    bb_bucket_columns_clear(&columns, true);
    bb_block_stats_t stats = s_stats(0.1);
    assert_true(bb_bucket_columns_add(&columns, BB_TYPE_FLOAT64, 10, &stats));
    for (uint32_t i = 0; i < BB_COUNT_OF(odd); i++) {
        bb_block_stats_t refused = s_stats(odd[i]);
        assert_false(bb_bucket_columns_add(&columns, BB_TYPE_FLOAT64, 10, &refused));
        assert_false(bb_bucket_columns_add(&columns, BB_TYPE_FLOAT64, 20, &refused));
    }
    stats = s_stats(-0.3);
    assert_true(bb_bucket_columns_add(&columns, BB_TYPE_FLOAT64, 10, &stats));
    assert_int_equal(columns.count, 1);
    stats = s_get(&columns, 0);
    assert_int_equal(stats.count, 2);
    assert_true(bb_sum_value(&stats.sum) == -0.2);
    assert_true(stats.min == bb_bits_of_double(-0.3) && stats.max == bb_bits_of_double(0.1));
    bb_bucket_columns_free(&columns);
}

// Goal: sums never overflow: one that would leave the limit is refused, alone, added and merged.
static void sums_have_a_limit(void **state)
{
    (void)state;
    bb_bucket_columns_t columns = {0};
    bb_block_stats_t stats = {.count = 1};
    // Times 10^10 the first is just below 2^126, the second above.
    const __int128 fits = ((__int128)1 << 126) / 10000000000 - 1;
    bb_sum_add_scaled(&stats.sum, fits, 0);
    for (uint32_t sign = 0; sign < 2; sign++) {
        bb_bucket_columns_clear(&columns, false);
        assert_true(bb_bucket_columns_add(&columns, BB_TYPE_INT64, 10, &stats));
        assert_false(bb_bucket_columns_add(&columns, BB_TYPE_INT64, 10, &stats));
        assert_true(bb_bucket_columns_add(&columns, BB_TYPE_INT64, 20, &stats));
        assert_int_equal(columns.count, 2);
        bb_block_stats_t found = s_get(&columns, 0);
        assert_true(found.count == 1 && bb_sum_is_equal(&found.sum, &stats.sum));
        bb_bucket_columns_t other = {0};
        assert_true(bb_bucket_columns_add(&other, BB_TYPE_INT64, 10, &stats));
        assert_false(bb_bucket_columns_merge(&columns, BB_TYPE_INT64, &other));
        found = s_get(&columns, 0);
        assert_true(found.count == 1 && bb_sum_is_equal(&found.sum, &stats.sum));
        bb_bucket_columns_free(&other);
        stats.sum = (bb_sum_t){0};
        bb_sum_add_scaled(&stats.sum, -fits, 0);
    }
    stats.sum = (bb_sum_t){0};
    bb_sum_add_scaled(&stats.sum, fits + 2, 0);
    assert_false(bb_bucket_columns_add(&columns, BB_TYPE_INT64, 30, &stats));
    bb_bucket_columns_free(&columns);
}

// Goal: lists merge wherever their buckets lie, with extremes after there were none.
static void lists_merge(void **state)
{
    (void)state;
    bb_bucket_columns_t left = {0};
    bb_bucket_columns_t right = {0};
    for (uint32_t round = 0; round < 2; round++) {
        bool has_extremes = round == 1;
        bb_bucket_columns_clear(&left, has_extremes);
        bb_bucket_columns_clear(&right, has_extremes);
        for (int64_t start = 0; start < 600; start++) {
            bb_block_stats_t stats = s_stats((double)start / 10);
            if (start % 2 == 0) {
                assert_true(bb_bucket_columns_add(&left, BB_TYPE_FLOAT64, start, &stats));
            }
            if (start % 3 == 0) {
                assert_true(bb_bucket_columns_add(&right, BB_TYPE_FLOAT64, start, &stats));
            }
        }
        assert_true(bb_bucket_columns_merge(&left, BB_TYPE_FLOAT64, &right));
        assert_int_equal(left.count, 400);
        for (size_t i = 0; i < left.count; i++) {
            int64_t start = left.starts_wall_ns[i];
            bb_block_stats_t stats = s_get(&left, i);
            uint64_t bits = has_extremes ? bb_bits_of_double((double)start / 10) : 0;
            assert_true(i == 0 || left.starts_wall_ns[i - 1] < start);
            assert_int_equal(stats.count, (start % 2 == 0) + (start % 3 == 0));
            assert_true(bb_sum_mean(&stats.sum, stats.count) == (double)start / 10);
            assert_true(stats.min == bits && stats.max == bits);
        }
    }
    bb_bucket_columns_free(&left);
    bb_bucket_columns_free(&right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_decimals_are_taken),
        cmocka_unit_test(sums_have_a_limit),
        cmocka_unit_test(lists_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

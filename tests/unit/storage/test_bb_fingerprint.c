// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_fingerprint.h"

#include "tests/unit/storage/run_support.h"

#define S_ROWS 5u

static const uint8_t s_key[BB_FINGERPRINT_KEY_BYTES] = {1, 2, 3};

// The fingerprint of a few rows of one column.
static bb_fingerprint_t s_hash(const char *battery, const char *metric, bb_type_t type,
                               uint64_t revision, const int64_t *times_wall_ns,
                               const uint64_t *values, uint32_t row_count)
{
    bb_fingerprint_t sum = {0};
    bb_fingerprint_name_t name =
        bb_fingerprint_name(s_key, BB_FINGERPRINT_METRIC, bb_slice(metric, strlen(metric)));
    bb_fingerprint_names_t names = {
        s_key,
        bb_fingerprint_name(s_key, BB_FINGERPRINT_BATTERY, bb_slice(battery, strlen(battery))),
        &name, 1};
    bb_run_column_t column = {.metric = 0, .type = type, .values = values};
    bb_run_input_t input = {revision, row_count, times_wall_ns, 1, &column};
    assert_int_equal(bb_fingerprint_add_input(&sum, &names, &input), BB_OK);
    return sum;
}

static bool s_is_equal(bb_fingerprint_t a, bb_fingerprint_t b)
{
    return a.low == b.low && a.high == b.high;
}

static const int64_t s_times[S_ROWS] = {10, 20, 30, 40, 50};
static const uint64_t s_values[S_ROWS] = {7, 7, 8, 9, UINT64_MAX};

// Goal: whatever a point is, its fingerprint tells: battery, metric, type, revision, time and
// value, and a battery with the name of a metric is another thing than the reverse. Method: change
// one.
static void test_everything_counts(void **state)
{
    (void)state;
    const uint64_t other_values[S_ROWS] = {7, 7, 8, 9, UINT64_MAX - 1};
    const int64_t other_times[S_ROWS] = {10, 20, 30, 40, 51};
    const bb_fingerprint_t sums[] = {
        s_hash("a", "b", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS),
        s_hash("b", "a", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS),
        s_hash("a", "a", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS),
        s_hash("b", "b", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS),
        s_hash("ab", "b", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_FLOAT64, 0, s_times, s_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_INT64, 1, s_times, s_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_INT64, UINT64_MAX, s_times, s_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_INT64, 0, other_times, s_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_INT64, 0, s_times, other_values, S_ROWS),
        s_hash("a", "b", BB_TYPE_INT64, 0, s_times, s_values, S_ROWS - 1),
        {0},
    };
    for (size_t i = 0; i < BB_COUNT_OF(sums); i++) {
        for (size_t j = 0; j < i; j++) {
            assert_false(s_is_equal(sums[i], sums[j]));
        }
    }
}

// Goal: it is the points that count, not how they are cut. Method: row by row, backwards.
static void test_cuts_do_not_count(void **state)
{
    (void)state;
    bb_fingerprint_t sum = {0};
    for (uint32_t row = S_ROWS; row-- > 0;) {
        bb_fingerprint_t one = s_hash("a", "b", BB_TYPE_INT64, 3, s_times + row, s_values + row, 1);
        sum.low += one.low;
        sum.high += one.high;
    }
    assert_true(s_is_equal(sum, s_hash("a", "b", BB_TYPE_INT64, 3, s_times, s_values, S_ROWS)));
}

// Goal: a metric without a name is refused.
static void test_unknown_metric(void **state)
{
    (void)state;
    bb_fingerprint_t sum = {0};
    bb_fingerprint_names_t names = {s_key, {1, 2}, NULL, 0};
    bb_run_column_t column = {.metric = 0, .type = BB_TYPE_INT64, .values = s_values};
    bb_run_input_t input = {0, S_ROWS, s_times, 1, &column};
    assert_int_equal(bb_fingerprint_add_input(&sum, &names, &input), BB_ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_counts),
        cmocka_unit_test(test_cuts_do_not_count),
        cmocka_unit_test(test_unknown_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

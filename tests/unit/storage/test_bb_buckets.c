// SPDX-License-Identifier: Apache-2.0
// Buckets: the short ways of numbers against one point at a time, with values of every kind.
#include "storage/scan/bb_buckets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/encoding/bb_doubles.h"
#include "tests/support/bb_random.h"

enum { S_POINTS = 3000 };

static uint64_t s_random_bits(bb_random_t *random, bb_type_t type, bool is_rough)
{
    static const double edges[] = {NAN, INFINITY, -INFINITY, -0.0, 0.0, 1e300, -1e300, 5e-324};
    if (type != BB_TYPE_FLOAT64) {
        return type == BB_TYPE_BOOL ? bb_random_below(random, 2)
                                    : bb_random_below(random, UINT64_MAX);
    }
    if (is_rough && bb_random_chance(random, 1, 20)) {
        return bb_bits_of_double(edges[bb_random_below(random, BB_COUNT_OF(edges))]);
    }
    if (bb_random_chance(random, 1, 10)) {
        return bb_bits_of_double(bb_random_chance(random, 1, 2) ? -0.0 : 0.0);
    }
    return bb_bits_of_double(((double)bb_random_below(random, 200000) - 100000) / 1000);
}

static void s_assert_same(const bb_buckets_t *found, const bb_buckets_t *expected)
{
    assert_int_equal(found->count, expected->count);
    for (size_t i = 0; i < found->count; i++) {
        const bb_bucket_t *a = &found->items[i].bucket;
        const bb_bucket_t *b = &expected->items[i].bucket;
        assert_true(a->start_wall_ns == b->start_wall_ns && a->count == b->count);
        assert_true(a->min == b->min && a->max == b->max);
        assert_true(a->first_wall_ns == b->first_wall_ns && a->last_wall_ns == b->last_wall_ns);
        assert_true(a->first == b->first && a->last == b->last);
        assert_true(bb_sum_is_equal(&a->sum, &b->sum));
    }
}

// What the rule says nobody wants becomes 0.
static void s_blank(bb_buckets_t *self, bb_bucket_rule_t rule)
{
    bb_buckets_widen(self);
    for (size_t i = 0; i < self->count; i++) {
        bb_block_stats_t *stats = &self->items[i].stats;
        if (rule.has_no_ends) {
            stats->first_wall_ns = stats->last_wall_ns = 0;
            stats->first = stats->last = 0;
        }
        if (rule.has_no_extremes) {
            stats->min = stats->max = 0;
        }
    }
}

// Integers by buckets, in blocks of any size, without the ends. Changes `expected`.
static void s_check_ranges(bb_random_t *random, bb_buckets_t *expected, bb_bucket_rule_t rule,
                           const int64_t *times, const uint64_t *values, uint32_t count,
                           bool as_columns)
{
    static bb_times_cuts_t cuts;
    static bb_encoding_ranges_t ranges;
    bb_buckets_t found = {0};
    rule.has_no_ends = true;
    if (as_columns) {
        bb_buckets_begin(&found, rule, BB_TYPE_INT64);
    }
    ranges.exponent = 0;
    for (uint32_t first = 0; first < count;) {
        uint32_t rows = (uint32_t)bb_random_between(random, 1, BB_BLOCK_ROWS_MAX);
        rows = BB_MIN(rows, count - first);
        bb_times_cut_decoded(times + first, rows, rule.every_ns, &cuts);
        for (uint32_t c = 0, row = first; c < cuts.count; row = first + cuts.row_limits[c++]) {
            bb_encoding_totals_t totals;
            __int128 sum;
            bb_encoding_totals_of(BB_TYPE_INT64, values + row, first + cuts.row_limits[c] - row,
                                  &totals);
            assert_true(bb_sum_integer(&totals.sum, 0, &sum));
            ranges.ranges[c] =
                (bb_encoding_range_t){(uint32_t)totals.count, (int64_t)sum, totals.min, totals.max};
        }
        bb_buckets_add_ranges(&found, rule, BB_TYPE_INT64, cuts.starts, &ranges, cuts.count);
        first += rows;
    }
    assert_int_equal(found.is_columns, as_columns);
    s_blank(&found, rule);
    s_blank(expected, rule);
    s_assert_same(&found, expected);
    bb_buckets_free(&found);
}

// Goal: points added many at a time, in pieces, and merged from two lists, are what bb_stats_add
// makes of them one by one.
static void every_way_is_the_same(void **state)
{
    (void)state;
    static const int64_t widths[] = {0, 1, 10, 63, 1000, 100000, INT64_MAX};
    static const bb_type_t types[] = {BB_TYPE_FLOAT64, BB_TYPE_FLOAT64, BB_TYPE_INT64,
                                      BB_TYPE_BOOL};
    bb_random_t random = bb_random_seed(4);
    int64_t times[S_POINTS];
    uint64_t values[S_POINTS];
    for (uint32_t round = 0; round < 200; round++) {
        bb_type_t type = types[round % BB_COUNT_OF(types)];
        const bb_bucket_rule_t rule = {widths[round % BB_COUNT_OF(widths)], 77, false, false};
        bool is_small = round % 8 == 2; // INT64 of which sums fit 64 bits
        uint32_t count = (uint32_t)bb_random_between(&random, 1, S_POINTS);
        int64_t time = (int64_t)bb_random_below(&random, 1000);
        for (uint32_t i = 0; i < count; i++) {
            times[i] = time;
            time += (int64_t)bb_random_between(&random, 1,
                                               bb_random_chance(&random, 1, 50) ? 2000 : 20);
            values[i] = s_random_bits(&random, type, round % 8 == 0);
            values[i] = is_small ? values[i] % 2000 - 1000 : values[i];
        }
        // Every family but the rough one is decimals of three digits.
        uint32_t exponent = round % 8 != 0 && round % 3 == 0 ? 3 : BB_DOUBLES_EXPONENT_UNKNOWN;
        bb_buckets_t expected = {0}, found = {0}, even = {0}, odd = {0};
        for (uint32_t i = 0; i < count; i++) {
            bb_block_stats_t one = {0};
            bb_stats_add(&one, type, times[i], values[i]);
            bb_buckets_add_stats(&expected, rule, type, &one);
        }
        for (uint32_t first = 0; first < count;) {
            uint32_t limit = first + (uint32_t)bb_random_between(&random, 1, 500);
            limit = BB_MIN(limit, count);
            bb_buckets_t *half = bb_random_chance(&random, 1, 2) ? &even : &odd;
            bb_buckets_add_points(&found, rule, type, exponent, times + first, values + first,
                                  limit - first);
            bb_buckets_add_points(half, rule, type, exponent, times + first, values + first,
                                  limit - first);
            first = limit;
        }
        s_assert_same(&found, &expected);
        bb_buckets_merge(&even, rule, type, &odd);
        s_assert_same(&even, &expected);
        if (rule.every_ns > 0 && is_small) {
            s_check_ranges(&random, &expected, rule, times, values, count, false);
            s_check_ranges(&random, &expected, rule, times, values, count, true);
        }
        bb_buckets_free(&expected);
        bb_buckets_free(&found);
        bb_buckets_free(&even);
        bb_buckets_free(&odd);
    }
}

// Goal: lists that begin as columns hold the same, whether they stay columns or meet a value that
// makes them whole. Method: the same points in pieces into whole buckets, into columns, and into
// two lists of columns that are merged.
static void columns_are_the_same(void **state)
{
    (void)state;
    static const int64_t widths[] = {0, 10, 63, 1000, INT64_MAX};
    static const bb_type_t types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_BOOL};
    bb_random_t random = bb_random_seed(5);
    int64_t times[S_POINTS];
    uint64_t values[S_POINTS];
    uint32_t kept = 0;
    for (uint32_t round = 0; round < 150; round++) {
        bb_type_t type = types[round % BB_COUNT_OF(types)];
        const bb_bucket_rule_t rule = {widths[round % BB_COUNT_OF(widths)], 77, true,
                                       bb_random_chance(&random, 1, 2)};
        uint32_t count = (uint32_t)bb_random_between(&random, 1, S_POINTS);
        int64_t time = (int64_t)bb_random_below(&random, 1000);
        bool is_rough = round % 4 == 0;
        for (uint32_t i = 0; i < count; i++) {
            times[i] = time;
            time += (int64_t)bb_random_between(&random, 1,
                                               bb_random_chance(&random, 1, 50) ? 2000 : 20);
            // What is rough comes late, when there are columns.
            values[i] = s_random_bits(&random, type, is_rough && i > count / 2);
        }
        bb_buckets_t whole = {0};
        bb_buckets_t lists[3] = {{0}};
        for (uint32_t i = 0; i < BB_COUNT_OF(lists); i++) {
            bb_buckets_begin(&lists[i], rule, type);
        }
        for (uint32_t first = 0; first < count;) {
            uint32_t rows = (uint32_t)bb_random_between(&random, 1, 500);
            rows = BB_MIN(rows, count - first);
            bb_buckets_t *into[3] = {&whole, &lists[0], &lists[1 + bb_random_below(&random, 2)]};
            for (uint32_t i = 0; i < BB_COUNT_OF(into); i++) {
                bb_buckets_add_points(into[i], rule, type, BB_DOUBLES_EXPONENT_UNKNOWN,
                                      times + first, values + first, rows);
            }
            first += rows;
        }
        bb_buckets_merge(&lists[1], rule, type, &lists[2]);
        kept += lists[1].is_columns;
        assert_true(lists[1].is_columns || is_rough);
        s_blank(&whole, rule);
        for (uint32_t i = 0; i < 2; i++) {
            s_blank(&lists[i], rule);
            s_assert_same(&lists[i], &whole);
        }
        bb_buckets_free(&whole);
        for (uint32_t i = 0; i < BB_COUNT_OF(lists); i++) {
            bb_buckets_free(&lists[i]);
        }
    }
    assert_true(kept > 75 && kept < 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_way_is_the_same),
                                       cmocka_unit_test(columns_are_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// aggregate_oracle - what an AGGREGATE query must answer, by looking at every point of a fixture.
#ifndef AGGREGATE_ORACLE_H
#define AGGREGATE_ORACLE_H

#include <math.h>

#include "tests/unit/storage/store_fixture.h"

static inline bool aggregate_is_nan(bb_type_t type, uint64_t bits)
{
    return type == BB_TYPE_FLOAT64 && isnan(bb_double_of_bits(bits));
}

static inline int aggregate_compare(bb_type_t type, uint64_t a, uint64_t b)
{
    return bb_value_compare(0, (bb_value_t){type, a}, 0, (bb_value_t){type, b});
}

typedef struct {
    fixture_row_t row; // battery, metric, type, start
    uint64_t count;
    bb_sum_t sum;
    uint64_t min, max, first, last;
    int64_t first_wall_ns, last_wall_ns;
} aggregate_expected_t;

// Adds a merged point; points come in any order.
static inline void aggregate_expected_add(aggregate_expected_t *self, const fixture_row_t *point)
{
    bb_type_t type = point->type;
    uint64_t bits = point->bits;
    bool nan = aggregate_is_nan(type, bits);
    if (self->count == 0) {
        self->min = self->max = self->first = self->last = bits;
        self->first_wall_ns = self->last_wall_ns = point->time_wall_ns;
    } else {
        // A number beats any NaN for both extremes.
        bool min_is_nan = aggregate_is_nan(type, self->min);
        if (nan == min_is_nan ? aggregate_compare(type, bits, self->min) < 0 : min_is_nan) {
            self->min = bits;
        }
        bool max_is_nan = aggregate_is_nan(type, self->max);
        if (nan == max_is_nan ? aggregate_compare(type, bits, self->max) > 0 : max_is_nan) {
            self->max = bits;
        }
        if (point->time_wall_ns < self->first_wall_ns ||
            (point->time_wall_ns == self->first_wall_ns &&
             aggregate_compare(type, bits, self->first) > 0)) {
            self->first_wall_ns = point->time_wall_ns;
            self->first = bits;
        }
        if (point->time_wall_ns > self->last_wall_ns ||
            (point->time_wall_ns == self->last_wall_ns &&
             aggregate_compare(type, bits, self->last) > 0)) {
            self->last_wall_ns = point->time_wall_ns;
            self->last = bits;
        }
    }
    self->count++;
    bb_sum_add_value(&self->sum, type, bits);
}

static inline bool aggregate_is_wanted(const bb_query_t *query, uint32_t aggregates)
{
    return query->aggregates == 0 || (query->aggregates & aggregates) != 0;
}

static inline void aggregate_assert_bucket(const bb_query_t *query, const fixture_row_t *found,
                                           const aggregate_expected_t *expected)
{
    bool has_ends = found->type == BB_TYPE_STATE ||
                    aggregate_is_wanted(query, BB_AGGREGATE_FIRST | BB_AGGREGATE_LAST);
    bool has_extremes = found->type == BB_TYPE_STATE ||
                        aggregate_is_wanted(query, BB_AGGREGATE_MIN | BB_AGGREGATE_MAX);
    assert_int_equal(found->battery, expected->row.battery);
    assert_int_equal(found->metric, expected->row.metric);
    assert_int_equal(found->type, expected->row.type);
    assert_true(found->time_wall_ns == expected->row.time_wall_ns);
    assert_int_equal(found->bucket.count, expected->count);
    assert_true(found->bucket.min == (has_extremes ? expected->min : 0));
    assert_true(found->bucket.max == (has_extremes ? expected->max : 0));
    assert_true(found->bucket.first == (has_ends ? expected->first : 0));
    assert_true(found->bucket.last == (has_ends ? expected->last : 0));
    assert_true(found->bucket.first_wall_ns == (has_ends ? expected->first_wall_ns : 0));
    assert_true(found->bucket.last_wall_ns == (has_ends ? expected->last_wall_ns : 0));
    assert_true(bb_sum_is_equal(&found->bucket.sum, &expected->sum));
}

// By metric name, type, start: the order of a group over all batteries.
static inline int aggregate_compare_grouped(const void *a, const void *b)
{
    fixture_row_t left = *(const fixture_row_t *)a;
    fixture_row_t right = *(const fixture_row_t *)b;
    left.battery = right.battery = 0;
    return fixture_compare_rows(&left, &right);
}

// Asks and compares every bucket, bit by bit.
static inline void aggregate_verify(fixture_t *fixture, const bb_query_t *query)
{
    // Merged points first, by the oracle of RAW; then sorted into buckets.
    bb_query_t raw = *query;
    raw.mode = BB_QUERY_RAW;
    fixture_rows_t points;
    fixture_expect(fixture, &raw, &points);
    for (size_t i = 0; i < points.count; i++) {
        // The row's place in the answer, while its time stays in the bucket field.
        fixture_row_t *row = &points.items[i];
        row->bucket.start_wall_ns = row->time_wall_ns;
        row->time_wall_ns = query->every_ns == 0
                                ? query->from_wall_ns
                                : row->time_wall_ns - row->time_wall_ns % query->every_ns;
        row->battery = query->group_by_none ? UINT32_MAX : row->battery;
    }
    if (query->group_by_none && points.count > 0) {
        qsort(points.items, points.count, sizeof *points.items, aggregate_compare_grouped);
    }
    fixture_rows_t found;
    fixture_ask(fixture, query, &found);
    size_t at = 0;
    size_t i = 0;
    while (i < points.count) {
        aggregate_expected_t expected = {.row = points.items[i]};
        while (i < points.count && points.items[i].battery == expected.row.battery &&
               points.items[i].metric == expected.row.metric &&
               points.items[i].type == expected.row.type &&
               points.items[i].time_wall_ns == expected.row.time_wall_ns) {
            fixture_row_t point = points.items[i++];
            point.time_wall_ns = point.bucket.start_wall_ns;
            aggregate_expected_add(&expected, &point);
        }
        assert_true(at < found.count);
        aggregate_assert_bucket(query, &found.items[at++], &expected);
    }
    assert_int_equal(found.count, at);
    free(points.items);
    free(found.items);
}

#endif

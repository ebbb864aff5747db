// SPDX-License-Identifier: Apache-2.0
// Rows out of pages: order, types, merged aggregates, dropped tasks; against a sort of all points.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/bb_rowset.h"

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static bb_text_t *s_state(const char *text)
{
    bb_text_t *state = malloc(sizeof *state + strlen(text));
    state->length = (uint32_t)strlen(text);
    memcpy(state->bytes, text, strlen(text));
    return state;
}

// Ends the page under construction and puts it into the rowset.
static void s_add(bb_rowset_t *rowset, uint32_t task, bb_page_builder_t *builder)
{
    uint8_t *bytes;
    size_t length;
    bb_page_builder_finish(builder, &bytes, &length);
    bb_page_t page;
    bb_fault_t fault;
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), &fault), BB_OK);
    assert_int_equal(bb_rowset_add(rowset, task, task, &page, bytes, length, free), BB_OK);
}

typedef struct {
    char battery[16], metric[16];
    uint32_t type;
    int64_t time;
    uint64_t bits;
} s_point_t;

static int s_compare(const void *left, const void *right)
{
    const s_point_t *a = left, *b = right;
    int compared = strcmp(a->battery, b->battery);
    compared = compared ? compared : strcmp(a->metric, b->metric);
    if (compared == 0 && a->time != b->time) {
        compared = a->time < b->time ? -1 : 1;
    }
    return compared ? compared : (a->type > b->type) - (a->type < b->type);
}

// Order of an executor: battery, metric, type, time.
static int s_compare_executor(const void *left, const void *right)
{
    const s_point_t *a = left, *b = right;
    int compared = strcmp(a->battery, b->battery);
    compared = compared ? compared : strcmp(a->metric, b->metric);
    compared = compared ? compared : (a->type > b->type) - (a->type < b->type);
    return compared ? compared : (a->time > b->time) - (a->time < b->time);
}

// Goal: rows come in (battery, metric, time) order whatever the pages. Method: random points of 9
// batteries on 3 executors, with metrics of two types, cut into random pages that arrive
// interleaved; compared with one sort. Fixed seeds.
static void rows_equal_a_sort_of_all_points(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        srand(seed);
        enum { POINTS = 600 };
        s_point_t points[POINTS];
        for (int i = 0; i < POINTS; i++) {
            s_point_t *point = &points[i];
            snprintf(point->battery, sizeof point->battery, "b%d", rand() % 9);
            snprintf(point->metric, sizeof point->metric, "m%d", rand() % 3);
            bool is_second = rand() % 4 == 0;
            point->type = is_second ? BB_TYPE_INT64 : BB_TYPE_FLOAT64;
            point->time = i * 2 + is_second; // unique times
            point->bits = (uint64_t)i;
        }
        s_point_t of_task[3][POINTS];
        int counts[3] = {0}, next[3] = {0};
        for (int i = 0; i < POINTS; i++) {
            int task = (points[i].battery[1] - '0') % 3;
            of_task[task][counts[task]++] = points[i];
        }
        for (int t = 0; t < 3; t++) {
            qsort(of_task[t], (size_t)counts[t], sizeof of_task[t][0], s_compare_executor);
        }
        bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_RAW, false);
        bb_page_builder_t *builder = bb_page_builder_new();
        while (next[0] < counts[0] || next[1] < counts[1] || next[2] < counts[2]) {
            int t = rand() % 3;
            int page_rows = 1 + rand() % 40;
            if (next[t] == counts[t]) {
                continue;
            }
            while (next[t] < counts[t] && page_rows > 0) {
                const s_point_t *first = &of_task[t][next[t]];
                int64_t times[POINTS];
                uint64_t values[POINTS];
                uint32_t rows = 0;
                while (next[t] < counts[t] && page_rows > 0) {
                    const s_point_t *at = &of_task[t][next[t]];
                    if (strcmp(at->battery, first->battery) != 0 ||
                        strcmp(at->metric, first->metric) != 0 || at->type != first->type) {
                        break;
                    }
                    times[rows] = at->time;
                    values[rows++] = at->bits;
                    next[t]++;
                    page_rows--;
                }
                bb_page_builder_points(builder, s_text(first->battery), s_text(first->metric),
                                       (bb_type_t)first->type, times, values, rows);
            }
            s_add(rowset, (uint32_t)t, builder);
        }
        bb_rowset_seal(rowset, bb_rowset_pending(rowset));
        qsort(points, POINTS, sizeof points[0], s_compare);
        busbar_row_t row;
        for (int i = 0; i < POINTS; i++) {
            assert_true(bb_rowset_next(rowset, &row));
            assert_string_equal(row.battery, points[i].battery);
            assert_string_equal(row.metric, points[i].metric);
            assert_int_equal(row.type, points[i].type);
            assert_int_equal(row.time_ns, points[i].time);
            assert_int_equal(row.value.bits, points[i].bits);
        }
        assert_false(bb_rowset_next(rowset, &row));
        assert_int_equal(bb_rowset_bytes(rowset), 0); // pages go as their rows are read
        bb_page_builder_destroy(&builder);
        bb_rowset_destroy(&rowset);
    }
}

static bb_bucket_t s_bucket(int64_t start, double value, int64_t time)
{
    bb_bucket_t bucket = {
        .start_wall_ns = start, .count = 1, .first_wall_ns = time, .last_wall_ns = time};
    bb_sum_add(&bucket.sum, value);
    bucket.min = bucket.max = bucket.first = bucket.last = bb_bits_of_double(value);
    return bucket;
}

// Goal: buckets of several executors become one: counts and sums add, extremes and ends compare,
// ties of time go to the larger value. Method: three executors, expectation by hand.
static void buckets_of_executors_merge(void **state)
{
    (void)state;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_AGGREGATE, true);
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_bucket_t a[2] = {s_bucket(0, 1.5, 5), s_bucket(60, -0.0, 70)};
    bb_bucket_t b[2] = {s_bucket(0, -2.0, 5), s_bucket(120, 7.0, 130)};
    bb_bucket_t c[1] = {s_bucket(60, 0.0, 65)};
    bb_page_builder_buckets(builder, s_text(""), s_text("v"), BB_TYPE_FLOAT64, a, 2);
    s_add(rowset, 2, builder);
    bb_page_builder_buckets(builder, s_text(""), s_text("v"), BB_TYPE_FLOAT64, b, 2);
    s_add(rowset, 0, builder);
    bb_page_builder_buckets(builder, s_text(""), s_text("v"), BB_TYPE_FLOAT64, c, 1);
    s_add(rowset, 1, builder);
    bb_rowset_seal(rowset, bb_rowset_pending(rowset));
    busbar_row_t row;
    assert_true(bb_rowset_next(rowset, &row));
    assert_string_equal(row.battery, "");
    assert_int_equal(row.time_ns, 0);
    assert_int_equal(row.count, 2);
    assert_true(row.sum == -0.5 && row.mean == -0.25);
    assert_true(row.min.number == -2.0 && row.max.number == 1.5);
    assert_true(row.first.number == 1.5 && row.last.number == 1.5); // the larger at one time
    assert_true(bb_rowset_next(rowset, &row));
    assert_int_equal(row.time_ns, 60);
    assert_int_equal(row.min.bits, bb_bits_of_double(-0.0)); // totalOrder: -0 below +0
    assert_int_equal(row.max.bits, bb_bits_of_double(0.0));
    assert_int_equal(row.first.bits, bb_bits_of_double(0.0)); // at 65
    assert_int_equal(row.last.bits, bb_bits_of_double(-0.0)); // at 70
    assert_true(bb_rowset_next(rowset, &row));
    assert_int_equal(row.time_ns, 120);
    assert_int_equal(row.count, 1);
    assert_false(bb_rowset_next(rowset, &row));
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&rowset);
}

// Goal: the merged sum does not depend on how values were spread. Method: cancelling values that
// plain addition loses; the exact sum is known.
static void merged_sums_keep_small_terms(void **state)
{
    (void)state;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_AGGREGATE, true);
    bb_page_builder_t *builder = bb_page_builder_new();
    const double values[] = {1e300, 0.1, -1e300, 0.2};
    for (uint32_t i = 0; i < 4; i++) {
        bb_bucket_t bucket = s_bucket(0, values[i], (int64_t)i);
        bb_page_builder_buckets(builder, s_text(""), s_text("v"), BB_TYPE_FLOAT64, &bucket, 1);
        s_add(rowset, i, builder);
    }
    bb_rowset_seal(rowset, bb_rowset_pending(rowset));
    busbar_row_t row;
    assert_true(bb_rowset_next(rowset, &row));
    assert_true(row.sum == 0.3 && row.mean == 0.075);
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&rowset);
}

// Goal: states compare as texts across pages with different tables, and have no sum.
static void states_merge_as_texts(void **state)
{
    (void)state;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_AGGREGATE, true);
    bb_page_builder_t *builder = bb_page_builder_new();
    const char *texts[] = {"Idle", "Charging", "Fault"};
    for (uint32_t i = 0; i < 3; i++) {
        bb_text_t *text = s_state(texts[i]);
        bb_bucket_t bucket = {.count = 1, .first_wall_ns = i, .last_wall_ns = i};
        bucket.min = bucket.max = bucket.first = bucket.last = (uint64_t)(uintptr_t)text;
        bb_page_builder_buckets(builder, s_text(""), s_text("state"), BB_TYPE_STATE, &bucket, 1);
        s_add(rowset, i, builder);
        free(text);
    }
    bb_rowset_seal(rowset, bb_rowset_pending(rowset));
    busbar_row_t row;
    assert_true(bb_rowset_next(rowset, &row));
    assert_string_equal(row.min.text, "Charging");
    assert_string_equal(row.max.text, "Idle");
    assert_string_equal(row.first.text, "Idle");
    assert_string_equal(row.last.text, "Fault");
    assert_true(isnan(row.sum) && isnan(row.mean));
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&rowset);
}

static bool s_is_b1(void *context, bb_slice_t battery)
{
    (void)context;
    return battery.length == 2 && memcmp(battery.data, "b1", 2) == 0;
}

// Goal: what a task answered can be taken back, wholly or for some batteries, without touching the
// rest; a stream seals only metrics that are complete.
static void tasks_are_dropped_and_streams_sealed(void **state)
{
    (void)state;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_RAW, false);
    bb_page_builder_t *builder = bb_page_builder_new();
    const int64_t times[] = {1, 2};
    const uint64_t values[] = {10, 20};
    for (uint32_t task = 0; task < 2; task++) {
        bb_page_builder_points(builder, s_text(task ? "c1" : "b1"), s_text("m"), BB_TYPE_INT64,
                               times, values, 2);
        bb_page_builder_points(builder, s_text(task ? "c2" : "b2"), s_text("m"), BB_TYPE_INT64,
                               times, values, 2);
        s_add(rowset, task, builder);
    }
    assert_int_equal(bb_rowset_pending(rowset), 4);
    bb_rowset_drop(rowset, 0, s_is_b1, NULL);
    assert_int_equal(bb_rowset_pending(rowset), 3);
    bb_rowset_drop(rowset, 1, NULL, NULL);
    assert_int_equal(bb_rowset_pending(rowset), 1);
    bb_page_builder_points(builder, s_text("b2"), s_text("m"), BB_TYPE_FLOAT64, times, values, 1);
    s_add(rowset, 0, builder);
    assert_int_equal(bb_rowset_complete(rowset), 0); // the second type may be followed by others
    bb_page_builder_points(builder, s_text("b2"), s_text("n"), BB_TYPE_INT64, times, values, 2);
    s_add(rowset, 0, builder);
    assert_int_equal(bb_rowset_complete(rowset), 2);
    bb_rowset_seal(rowset, bb_rowset_complete(rowset));
    busbar_row_t row;
    const int64_t expected_times[] = {1, 1, 2};
    const uint32_t expected_types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_INT64};
    for (int i = 0; i < 3; i++) {
        assert_true(bb_rowset_next(rowset, &row));
        assert_string_equal(row.battery, "b2");
        assert_int_equal(row.time_ns, expected_times[i]);
        assert_int_equal(row.type, expected_types[i]);
    }
    assert_false(bb_rowset_next(rowset, &row));
    bb_rowset_clear(rowset);
    assert_int_equal(bb_rowset_bytes(rowset), 0);
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&rowset);
}

// Goal: pages that do not fit the question are refused and stay the caller's.
static void pages_of_another_kind_are_refused(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    const int64_t times[] = {1};
    const uint64_t values[] = {10};
    bb_page_builder_points(builder, s_text("b1"), s_text("m"), BB_TYPE_INT64, times, values, 1);
    uint8_t *bytes;
    size_t length;
    bb_page_builder_finish(builder, &bytes, &length);
    bb_page_t page;
    bb_fault_t fault;
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), &fault), BB_OK);
    bb_rowset_t *merged = bb_rowset_new(BB_QUERY_AGGREGATE, true);
    assert_int_equal(bb_rowset_add(merged, 0, 0, &page, bytes, length, free),
                     BB_ERR_MESSAGE_CORRUPT); // a battery where none may be
    bb_rowset_t *buckets = bb_rowset_new(BB_QUERY_AGGREGATE, false);
    assert_int_equal(bb_rowset_add(buckets, 0, 0, &page, bytes, length, free),
                     BB_ERR_MESSAGE_CORRUPT); // points where buckets must be
    bb_page_close(&page);
    free(bytes);
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&merged);
    bb_rowset_destroy(&buckets);
}

// Goal: ids and attributes of batteries, sorted by bytes.
static void batteries_come_sorted_with_attributes(void **state)
{
    (void)state;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_BATTERIES, false);
    bb_page_builder_t *builder = bb_page_builder_new();
    const bb_page_attribute_t site = {.key = s_text("site"), .value = s_text("aachen")};
    bb_page_builder_battery(builder, s_text("b2"), NULL, 0);
    bb_page_builder_battery(builder, s_text("b10"), &site, 1);
    s_add(rowset, 0, builder);
    bb_page_builder_battery(builder, s_text("a"), NULL, 0);
    s_add(rowset, 1, builder);
    bb_rowset_seal(rowset, bb_rowset_pending(rowset));
    busbar_row_t row;
    assert_true(bb_rowset_next(rowset, &row));
    assert_string_equal(row.battery, "a");
    assert_true(bb_rowset_next(rowset, &row));
    assert_string_equal(row.battery, "b10");
    assert_int_equal(row.attribute_count, 1);
    assert_string_equal(row.attributes[0].key, "site");
    assert_string_equal(row.attributes[0].value, "aachen");
    assert_true(bb_rowset_next(rowset, &row));
    assert_string_equal(row.battery, "b2");
    assert_int_equal(row.attribute_count, 0);
    assert_false(bb_rowset_next(rowset, &row));
    bb_page_builder_destroy(&builder);
    bb_rowset_destroy(&rowset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_a_sort_of_all_points),
        cmocka_unit_test(buckets_of_executors_merge),
        cmocka_unit_test(merged_sums_keep_small_terms),
        cmocka_unit_test(states_merge_as_texts),
        cmocka_unit_test(tasks_are_dropped_and_streams_sealed),
        cmocka_unit_test(pages_of_another_kind_are_refused),
        cmocka_unit_test(batteries_come_sorted_with_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Markers there and back through a batch, subsets of them, and what is no marker.
#include "protocol/bb_marker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_TEXT(text) bb_slice(text, sizeof(text) - 1)

typedef struct {
    uint8_t *bytes;
    size_t length;
} s_encoded_t;

static s_encoded_t s_finish(bb_batch_builder_t *builder)
{
    s_encoded_t encoded;
    bb_batch_builder_finish(builder, &encoded.bytes, &encoded.length, NULL);
    bb_batch_builder_destroy(&builder);
    return encoded;
}

static const bb_marker_t s_all = {{BB_MARKER_ALL_METRICS, 1}, 0, BB_TIME_WALL_NS_LIMIT};
static const bb_marker_t s_some = {{"soc", 3}, 100, 200};

static bb_batch_builder_t *s_builder(void)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, 7);
    assert_int_equal(bb_marker_add(builder, 1, S_TEXT("b1"), &s_all, NULL), BB_OK);
    assert_int_equal(bb_marker_add(builder, 1, S_TEXT("b1"), &s_some, NULL), BB_OK);
    assert_int_equal(bb_marker_add(builder, 5, S_TEXT("b2"), &s_some, NULL), BB_OK);
    return builder;
}

// The markers of a batch in its order, those of all metrics first.
static uint32_t s_read(const bb_batch_t *batch, bb_marker_t out[8])
{
    uint32_t count = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        for (uint32_t f = 0; f < at.run->frame_count; f++) {
            out[count++] = bb_marker_of(batch, &at, f);
        }
    }
    return count;
}

static void s_expect(const bb_marker_t *got, const bb_marker_t *wanted)
{
    assert_int_equal(bb_marker_is_of_all(got), bb_marker_is_of_all(wanted));
    assert_int_equal(got->metric.length, wanted->metric.length);
    assert_memory_equal(got->metric.data, wanted->metric.data, wanted->metric.length);
    assert_true(got->from_wall_ns == wanted->from_wall_ns);
    assert_true(got->to_wall_ns == wanted->to_wall_ns);
}

// Goal: what is added comes out, with its generation; parts are cut like those of points.
static void test_there_and_back(void **state)
{
    (void)state;
    s_encoded_t encoded = s_finish(s_builder());
    bb_batch_t batch;
    bb_marker_t got[8];
    assert_int_equal(bb_batch_open(&batch, bb_slice(encoded.bytes, encoded.length), NULL), BB_OK);
    assert_int_equal(batch.generation, 7);
    assert_int_equal(batch.part_count, 2);
    assert_int_equal(s_read(&batch, got), 3);
    s_expect(&got[0], &s_all);
    s_expect(&got[1], &s_some);
    s_expect(&got[2], &s_some);
    const bool keep[2] = {false, true};
    s_encoded_t cut;
    assert_int_equal(bb_batch_subset(&batch, keep, NULL, NULL, &cut.bytes, &cut.length), BB_OK);
    bb_batch_close(&batch);
    free(encoded.bytes);
    assert_int_equal(bb_batch_open(&batch, bb_slice(cut.bytes, cut.length), NULL), BB_OK);
    assert_int_equal(batch.generation, 7);
    assert_int_equal(s_read(&batch, got), 1);
    s_expect(&got[0], &s_some);
    bb_batch_close(&batch);
    free(cut.bytes);
}

// Goal: an interval that is empty, or leaves the range of time, is refused before it is added.
static void test_bad_intervals_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, 1);
    const int64_t bad[][2] = {{5, 5}, {6, 5}, {-1, 5}, {0, BB_TIME_WALL_NS_LIMIT + 1}};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bb_marker_t marker = {S_TEXT("m"), bad[i][0], bad[i][1]};
        bb_fault_t fault = {0};
        assert_int_equal(bb_marker_add(builder, 0, S_TEXT("b"), &marker, &fault),
                         BB_ERR_TIME_RANGE);
        assert_true(fault.text[0] != '\0');
    }
    assert_int_equal(bb_batch_builder_frame_count(builder), 0);
    bb_batch_builder_destroy(&builder);
}

// One batch of one frame whose generation is 3, and what opening it gives.
static bb_error_t s_open_odd(const uint8_t *types, uint32_t metric_count, uint64_t value,
                             bool has_attribute)
{
    const bb_slice_t names[2] = {S_TEXT("a"), S_TEXT("b")};
    const bb_attribute_t attribute = {S_TEXT("site"), S_TEXT("x")};
    const uint64_t values[2] = {value, value};
    uint32_t battery, shape, order[2];
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, 3);
    assert_int_equal(bb_batch_builder_battery(builder, 0, S_TEXT("b1"), &attribute, has_attribute,
                                              &battery, NULL),
                     BB_OK);
    assert_int_equal(
        bb_batch_builder_shape(builder, names, types, metric_count, &shape, order, NULL), BB_OK);
    assert_int_equal(bb_batch_builder_frame(builder, battery, shape, 10, values), BB_OK);
    s_encoded_t encoded = s_finish(builder);
    bb_batch_t batch;
    bb_error_t error = bb_batch_open(&batch, bb_slice(encoded.bytes, encoded.length), NULL);
    if (error == BB_OK) {
        bb_batch_close(&batch);
    }
    free(encoded.bytes);
    return error;
}

// Goal: points under a generation, attributes, two metrics, and intervals that end before they
// begin are none of ours.
static void test_what_is_no_marker_is_refused(void **state)
{
    (void)state;
    const uint8_t integer[2] = {BB_TYPE_INT64, BB_TYPE_INT64}, real[1] = {BB_TYPE_FLOAT64};
    assert_int_equal(s_open_odd(integer, 1, 11, false), BB_OK);
    assert_int_equal(s_open_odd(integer, 2, 11, false), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(s_open_odd(real, 1, 11, false), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(s_open_odd(integer, 1, 11, true), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(s_open_odd(integer, 1, 10, false), BB_ERR_TIME_RANGE);
    assert_int_equal(s_open_odd(integer, 1, UINT64_MAX, false), BB_ERR_TIME_RANGE);
}

// Goal: the generation is the upper half of a revision, so it decides first.
static void test_generation_decides_before_revision(void **state)
{
    (void)state;
    uint64_t old = bb_revision_make(1, UINT32_MAX);
    uint64_t young = bb_revision_make(2, 0);
    const bb_value_t value = {BB_TYPE_INT64, 0};
    assert_int_equal(bb_revision_generation(old), 1);
    assert_int_equal(bb_revision_generation(BB_REVISION_LIMIT - 1), 0);
    assert_true(bb_value_compare(old, value, young, value) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bad_intervals_are_refused),
        cmocka_unit_test(test_what_is_no_marker_is_refused),
        cmocka_unit_test(test_generation_decides_before_revision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

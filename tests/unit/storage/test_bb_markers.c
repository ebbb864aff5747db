// SPDX-License-Identifier: Apache-2.0
// The markers of a store: what is kept, records there and back, clones; and the model of
// docs/decisions/0015: points and markers are a set whose meaning does not depend on order.
#include "storage/markers/bb_markers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

static void s_add(bb_markers_t **markers, uint32_t battery, uint32_t metric, uint32_t generation,
                  int64_t from, int64_t to)
{
    bb_marker_entry_t entry = {metric, generation, from, to};
    bb_markers_add(markers, battery, &entry);
}

// Goal: of two where one contains the other the larger stays; all others stay side by side.
static void test_largest_are_kept(void **state)
{
    (void)state;
    bb_markers_t *markers = bb_markers_new();
    assert_true(bb_markers_is_empty(markers));
    s_add(&markers, 7, 3, 1, 10, 20);
    s_add(&markers, 7, 3, 1, 12, 18); // inside
    assert_int_equal(bb_markers_of(markers, 7).count, 1);
    s_add(&markers, 7, 3, 2, 12, 18); // later
    s_add(&markers, 7, 4, 1, 10, 20); // another metric
    assert_int_equal(bb_markers_of(markers, 7).count, 3);
    assert_int_equal(bb_markers_count(markers), 3);
    s_add(&markers, 7, BB_MARKER_ALL, 1, 0, 20); // contains two of them
    assert_int_equal(bb_markers_of(markers, 7).count, 2);
    assert_int_equal(bb_markers_count(markers), 2);
    assert_int_equal(bb_markers_generation(markers, 7), 2);
    assert_int_equal(bb_markers_of(markers, 8).count, 0);
    assert_int_equal(bb_markers_generation(markers, 8), 0);
    assert_true(bb_markers_know(&markers, 8, 5));
    assert_false(bb_markers_know(&markers, 8, 4));
    assert_int_equal(bb_markers_generation(markers, 8), 5);
    bb_markers_release(&markers);
}

// Goal: covering is by generation, metric and half open interval.
static void test_covering(void **state)
{
    (void)state;
    bb_markers_t *markers = bb_markers_new();
    s_add(&markers, 1, 3, 2, 10, 20);
    bb_marker_list_t list = bb_markers_of(markers, 1);
    uint64_t older = UINT64_C(1) << 32 | 9, same = UINT64_C(2) << 32;
    assert_int_equal(bb_marker_list_covers(list, 3, older, 10), 2);
    assert_int_equal(bb_marker_list_covers(list, 3, older, 20), 0);
    assert_int_equal(bb_marker_list_covers(list, 3, older, 9), 0);
    assert_int_equal(bb_marker_list_covers(list, 4, older, 10), 0);
    assert_int_equal(bb_marker_list_covers(list, 3, same, 10), 0);
    assert_true(bb_marker_list_hits(list, older, 0, 10));
    assert_true(bb_marker_list_hits(list, older, 19, 30));
    assert_false(bb_marker_list_hits(list, older, 20, 30));
    assert_false(bb_marker_list_hits(list, same, 10, 20));
    bb_markers_release(&markers);
}

typedef struct {
    bb_markers_t *to;
    uint32_t count;
} s_copying_t;

static void s_copy(void *context, uint32_t battery, bb_slice_t record)
{
    s_copying_t *self = context;
    self->count++;
    assert_int_equal(bb_markers_load(&self->to, battery, record, NULL), BB_OK);
}

static void s_expect_equal(const bb_markers_t *a, const bb_markers_t *b, uint32_t batteries)
{
    for (uint32_t battery = 0; battery < batteries; battery++) {
        bb_marker_list_t left = bb_markers_of(a, battery), right = bb_markers_of(b, battery);
        assert_int_equal(bb_markers_generation(a, battery), bb_markers_generation(b, battery));
        assert_int_equal(left.count, right.count);
        if (left.count > 0) {
            assert_memory_equal(left.entries, right.entries, left.count * sizeof *left.entries);
        }
    }
}

// Goal: what was changed is drained once and comes back; others' references see what they saw.
static void test_records_and_references(void **state)
{
    (void)state;
    bb_markers_t *markers = bb_markers_new();
    s_copying_t copying = {bb_markers_new(), 0};
    for (uint32_t battery = 0; battery < 100; battery++) {
        s_add(&markers, battery, battery % 3, 1 + battery % 2, battery, battery + 10);
    }
    bb_markers_t *before = bb_markers_retain(markers);
    bb_markers_drain(markers, s_copy, &copying);
    assert_int_equal(copying.count, 100);
    s_expect_equal(markers, copying.to, 100);
    s_add(&markers, 5, BB_MARKER_ALL, 9, 0, 100);
    assert_int_equal(bb_markers_generation(before, 5), 2);
    assert_int_equal(bb_markers_of(before, 5).count, 1);
    assert_int_equal(bb_markers_of(before, 5).entries[0].metric, 2);
    bb_markers_drain(markers, s_copy, &copying);
    assert_int_equal(copying.count, 101);
    s_expect_equal(markers, copying.to, 100);
    bb_markers_drain(copying.to, s_copy, &copying); // what was loaded is on disk
    assert_int_equal(copying.count, 101);
    bb_markers_release(&before);
    bb_markers_release(&markers);
    bb_markers_release(&copying.to);
}

// Goal: a record that is cut, or has a marker that is none, is refused.
static void test_bad_records_are_refused(void **state)
{
    (void)state;
    struct {
        uint32_t generation, count;
        bb_marker_entry_t entry;
    } record = {3, 1, {0, 3, 10, 20}};
    static_assert(sizeof record == 32, "as on disk");
    bb_markers_t *markers = bb_markers_new();
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 32), NULL), BB_OK);
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 31), NULL), BB_ERR_CORRUPT);
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 4), NULL), BB_ERR_CORRUPT);
    record.entry.generation = 4;
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 32), NULL), BB_ERR_CORRUPT);
    record.entry.generation = 0;
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 32), NULL), BB_ERR_CORRUPT);
    record.entry = (bb_marker_entry_t){0, 3, 20, 20};
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 32), NULL), BB_ERR_CORRUPT);
    record.generation = 0;
    assert_int_equal(bb_markers_load(&markers, 0, bb_slice(&record, 8), NULL), BB_ERR_CORRUPT);
    bb_markers_release(&markers);
}

// ---- the model -------------------------------------------------------------------------------
// Elements are points (metric, time, generation, value) and markers, of one battery. Replicas get
// the same elements in orders of their own, some twice, and drop what is covered at moments of
// their own. The oracle never looks at an order: of the points that no marker of the history covers
// the largest (generation, value) stays.
#define S_METRICS  3
#define S_TIMES    12
#define S_ELEMENTS 40

typedef struct {
    bool is_marker;
    bb_marker_entry_t marker;
    uint32_t metric, generation, value;
    int64_t time;
} s_element_t;

typedef struct {
    bb_markers_t *markers;
    s_element_t *held; // points, the largest of each (metric, time, generation)
    uint32_t held_count;
} s_replica_t;

static s_element_t s_draw(bb_random_t *random, uint32_t generation)
{
    s_element_t element = {.is_marker = bb_random_chance(random, 1, 4)};
    if (element.is_marker) {
        int64_t from = (int64_t)bb_random_below(random, S_TIMES);
        element.marker = (bb_marker_entry_t){
            bb_random_chance(random, 1, 3) ? BB_MARKER_ALL
                                           : (uint32_t)bb_random_below(random, S_METRICS),
            1 + generation, from, from + 1 + (int64_t)bb_random_below(random, S_TIMES)};
    } else {
        element.metric = (uint32_t)bb_random_below(random, S_METRICS);
        element.generation = generation;
        element.time = (int64_t)bb_random_below(random, S_TIMES);
        element.value = (uint32_t)bb_random_below(random, 5);
    }
    return element;
}

static void s_purge(s_replica_t *self)
{
    bb_marker_list_t list = bb_markers_of(self->markers, 0);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->held_count; i++) {
        s_element_t *point = &self->held[i];
        if (bb_marker_list_covers(list, point->metric, (uint64_t)point->generation << 32,
                                  point->time) == 0) {
            self->held[kept++] = *point;
        }
    }
    self->held_count = kept;
}

static void s_take(s_replica_t *self, const s_element_t *element)
{
    if (element->is_marker) {
        bb_markers_add(&self->markers, 0, &element->marker);
    } else {
        self->held[self->held_count++] = *element;
    }
}

// The value at a place, or -1: nothing.
static int64_t s_read(s_element_t *points, uint32_t count, uint32_t metric, int64_t time)
{
    int64_t best = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (points[i].metric == metric && points[i].time == time) {
            best = BB_MAX(best, (int64_t)points[i].generation << 32 | points[i].value);
        }
    }
    return best;
}

static int64_t s_wanted(const s_element_t *history, uint32_t count, uint32_t metric, int64_t time)
{
    int64_t best = -1;
    for (uint32_t i = 0; i < count; i++) {
        bool is_there =
            !history[i].is_marker && history[i].metric == metric && history[i].time == time;
        for (uint32_t m = 0; is_there && m < count; m++) {
            const bb_marker_entry_t *marker = &history[m].marker;
            is_there = !(history[m].is_marker && marker->generation > history[i].generation &&
                         (marker->metric == BB_MARKER_ALL || marker->metric == metric) &&
                         marker->from_wall_ns <= time && time < marker->to_wall_ns);
        }
        if (is_there) {
            best = BB_MAX(best, (int64_t)history[i].generation << 32 | history[i].value);
        }
    }
    return best;
}

static void s_replay(bb_random_t *random, const s_element_t *history, uint32_t count)
{
    uint32_t order[2 * S_ELEMENTS];
    s_element_t held[2 * S_ELEMENTS];
    s_replica_t replica = {bb_markers_new(), held, 0};
    for (uint32_t i = 0; i < 2 * count; i++) {
        order[i] = i % count; // each twice
    }
    for (uint32_t i = 2 * count - 1; i > 0; i--) {
        uint32_t other = (uint32_t)bb_random_below(random, i + 1);
        uint32_t index = order[i];
        order[i] = order[other];
        order[other] = index;
    }
    for (uint32_t i = 0; i < 2 * count; i++) {
        s_take(&replica, &history[order[i]]);
        if (bb_random_chance(random, 1, 8)) {
            s_purge(&replica); // a merge
        }
    }
    s_purge(&replica); // what a read sees
    for (uint32_t metric = 0; metric < S_METRICS; metric++) {
        for (int64_t time = 0; time < S_TIMES; time++) {
            assert_int_equal(s_read(replica.held, replica.held_count, metric, time),
                             s_wanted(history, count, metric, time));
        }
    }
    bb_markers_release(&replica.markers);
}

// Goal: whatever the order of arrival and whenever merges drop what is covered, replicas end with
// the state that the set of elements has: nothing is resurrected, nothing else is lost.
static void test_order_never_matters(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        bb_random_t random = bb_random_seed(seed);
        s_element_t history[S_ELEMENTS];
        uint32_t count = 1 + (uint32_t)bb_random_below(&random, S_ELEMENTS);
        for (uint32_t i = 0; i < count; i++) {
            history[i] = s_draw(&random, (uint32_t)bb_random_below(&random, 4));
        }
        for (uint32_t replica = 0; replica < 3; replica++) {
            s_replay(&random, history, count);
        }
    }
}

// Goal: which markers are kept does not depend on the order in which they came.
static void test_kept_markers_are_canonical(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        bb_random_t random = bb_random_seed(seed);
        s_element_t history[S_ELEMENTS];
        uint32_t count = 0;
        while (count < 20) {
            history[count] = s_draw(&random, (uint32_t)bb_random_below(&random, 3));
            count += history[count].is_marker;
        }
        bb_markers_t *forwards = bb_markers_new(), *backwards = bb_markers_new();
        for (uint32_t i = 0; i < count; i++) {
            bb_markers_add(&forwards, 0, &history[i].marker);
            bb_markers_add(&backwards, 0, &history[count - 1 - i].marker);
        }
        s_expect_equal(forwards, backwards, 1);
        bb_markers_release(&forwards);
        bb_markers_release(&backwards);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_largest_are_kept),
        cmocka_unit_test(test_covering),
        cmocka_unit_test(test_records_and_references),
        cmocka_unit_test(test_bad_records_are_refused),
        cmocka_unit_test(test_order_never_matters),
        cmocka_unit_test(test_kept_markers_are_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

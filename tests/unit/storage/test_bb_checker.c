// SPDX-License-Identifier: Apache-2.0
// The checker of the simulator: it must see each kind of wrong answer, and no wrong in right ones.
#include "tests/support/bb_checker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

enum { FLOAT64 = 1, INT64 = 2, STATE = 4 };

typedef struct {
    bb_checker_t *checker;
    char text[256];
} s_bench_t;

static int s_setup(void **state)
{
    static s_bench_t bench;
    bench = (s_bench_t){.checker = bb_checker_new()};
    *state = &bench;
    return 0;
}

static int s_teardown(void **state)
{
    bb_checker_destroy(&((s_bench_t *)*state)->checker);
    return 0;
}

static const bb_checker_key_t s_key = {.battery = 1, .metric = 2, .time_wall_ns = 1000};

static uint32_t s_written(s_bench_t *bench, uint64_t revision, uint32_t type, uint64_t bits)
{
    bb_checker_version_t version = {.revision = revision, .type = type, .bits = bits};
    return bb_checker_written(bench->checker, &s_key, &version);
}

static void s_begin(s_bench_t *bench, uint64_t moment, uint32_t dc_mask)
{
    bb_checker_read_t read = {.moment = moment, .dc_mask = dc_mask, .is_bound_to_promises = true};
    bench->text[0] = 0;
    bb_checker_begin(bench->checker, &read);
}

static bool s_point(s_bench_t *bench, uint32_t type, uint64_t bits)
{
    return bb_checker_point(bench->checker, &s_key, type, bits, bench->text, sizeof bench->text);
}

static bool s_end(s_bench_t *bench)
{
    return bb_checker_end(bench->checker, bench->text, sizeof bench->text);
}

// Goal: what was never acknowledged may be there or not; what nobody wrote may not.
static void phantoms(void **state)
{
    s_bench_t *bench = *state;
    s_begin(bench, 9, 0);
    assert_false(s_point(bench, INT64, 5));
    assert_non_null(strstr(bench->text, "phantom point"));
    assert_false(s_end(bench));
    s_written(bench, 0, INT64, 5);
    s_begin(bench, 9, 0);
    assert_true(s_point(bench, INT64, 5));
    assert_true(s_end(bench));
    s_begin(bench, 9, 0);
    assert_true(s_end(bench)); // not acknowledged
    s_begin(bench, 9, 0);
    assert_false(s_point(bench, INT64, 6));
    assert_non_null(strstr(bench->text, "phantom value"));
    s_begin(bench, 9, 0);
    assert_false(s_point(bench, FLOAT64, 5)); // another type is another value
    assert_true(bb_checker_is_written(bench->checker, &s_key, INT64, 5));
    assert_false(bb_checker_is_written(bench->checker, &s_key, INT64, 6));
    assert_false(bb_checker_is_written(bench->checker, &s_key, FLOAT64, 5));
    const bb_checker_key_t other = {.battery = 1, .metric = 3, .time_wall_ns = 1000};
    assert_false(bb_checker_is_written(bench->checker, &other, INT64, 5));
}

static void duplicates(void **state)
{
    s_bench_t *bench = *state;
    s_written(bench, 0, INT64, 5);
    s_begin(bench, 9, 0);
    assert_true(s_point(bench, INT64, 5));
    assert_false(s_point(bench, INT64, 5));
    assert_non_null(strstr(bench->text, "duplicate"));
    s_begin(bench, 9, 0);
    assert_true(s_point(bench, INT64, 5)); // another answer
}

// Goal: an acknowledged point is missed; one that is superseded is not.
static void losses(void **state)
{
    s_bench_t *bench = *state;
    uint32_t point = s_written(bench, 1, INT64, 5);
    assert_int_equal(s_written(bench, 1, INT64, 5), point); // a retry is no new point
    s_written(bench, 0, INT64, 7);
    s_written(bench, 1, INT64, 6);
    bb_checker_acknowledged(bench->checker, point, 4, 0);
    s_begin(bench, 9, 0);
    assert_false(s_end(bench));
    assert_non_null(strstr(bench->text, "lost point"));
    s_begin(bench, 9, 0);
    s_point(bench, INT64, 7); // larger, but of an older revision
    assert_false(s_end(bench));
    assert_non_null(strstr(bench->text, "lost version"));
    s_begin(bench, 9, 0);
    s_point(bench, INT64, 6);
    assert_true(s_end(bench));
    s_begin(bench, 4, 0);
    assert_true(s_end(bench)); // asked before the promise
}

// Goal: a promise to one data centre binds quorum reads there only.
static void data_centres(void **state)
{
    s_bench_t *bench = *state;
    uint32_t point = s_written(bench, 0, INT64, 5);
    bb_checker_acknowledged(bench->checker, point, 4, 2);
    s_begin(bench, 9, 1);
    assert_true(s_end(bench));
    s_begin(bench, 9, 2);
    assert_false(s_end(bench));
    bb_checker_acknowledged(bench->checker, point, 7, 1); // later, there too
    s_begin(bench, 7, 1);
    assert_true(s_end(bench));
    s_begin(bench, 8, 1);
    assert_false(s_end(bench));
}

static bool s_nothing(void *context, const bb_checker_key_t *key)
{
    (void)context;
    (void)key;
    return false;
}

// Goal: what was not asked for may not be in the answer; what is not owed may be missing.
static void asked_and_owed(void **state)
{
    s_bench_t *bench = *state;
    bb_checker_acknowledged(bench->checker, s_written(bench, 0, INT64, 5), 1, 0);
    bb_checker_read_t read = {.moment = 9, .is_bound_to_promises = true, .is_owed = s_nothing};
    bb_checker_begin(bench->checker, &read);
    assert_true(s_end(bench));
    read.is_asked = s_nothing;
    bb_checker_begin(bench->checker, &read);
    assert_false(s_point(bench, INT64, 5));
    assert_non_null(strstr(bench->text, "not asked for"));
}

// Goal: the order of the design. Method: one ascending list; all pairs.
static void order(void **state)
{
    (void)state;
    const uint64_t nan = UINT64_C(0x7ff8000000000000), minus_zero = UINT64_C(0x8000000000000000);
    const bb_checker_version_t ascending[] = {
        {0, FLOAT64, nan},
        {0, FLOAT64, UINT64_C(0xfff0000000000000)}, // -infinity
        {0, FLOAT64, UINT64_C(0xbff0000000000000)}, // -1
        {0, FLOAT64, minus_zero},
        {0, FLOAT64, 0},
        {0, FLOAT64, UINT64_C(0x3ff0000000000000)}, // 1
        {0, INT64, (uint64_t)INT64_MIN},
        {0, INT64, (uint64_t)-1},
        {0, INT64, 0},
        {0, STATE, 0},
        {0, STATE, 1},
        {1, FLOAT64, nan},
    };
    for (size_t i = 0; i < BB_COUNT_OF(ascending); i++) {
        for (size_t j = 0; j < BB_COUNT_OF(ascending); j++) {
            int expected = (i > j) - (i < j);
            assert_int_equal(bb_checker_compare(&ascending[i], &ascending[j]), expected);
        }
    }
}

// Goal: the fingerprint tells different answers apart and not the order of their points; points
// that were promised and never read are counted.
static void fingerprints(void **state)
{
    s_bench_t *bench = *state;
    bb_checker_key_t keys[300];
    for (uint32_t i = 0; i < 300; i++) {
        keys[i] = (bb_checker_key_t){.battery = i % 7, .metric = i % 3, .time_wall_ns = i};
        bb_checker_version_t version = {.type = INT64, .bits = i};
        uint32_t point = bb_checker_written(bench->checker, &keys[i], &version);
        bb_checker_acknowledged(bench->checker, point, 1, 0);
    }
    uint64_t prints[3];
    for (uint32_t round = 0; round < 3; round++) {
        s_begin(bench, 1, 0);
        for (uint32_t i = 0; i < 290; i++) {
            uint32_t at = round == 0 ? i : 289 - i;
            if (round < 2 || at != 17) {
                assert_true(bb_checker_point(bench->checker, &keys[at], INT64, at, bench->text,
                                             sizeof bench->text));
            }
        }
        prints[round] = bb_checker_fingerprint(bench->checker);
    }
    assert_true(prints[0] == prints[1]);
    assert_true(prints[0] != prints[2]);
    bb_checker_stats_t stats;
    bb_checker_stats(bench->checker, &stats);
    assert_int_equal(stats.keys, 300);
    assert_int_equal(stats.acknowledged, 300);
    assert_int_equal(stats.never_read, 10);
}

// Goal: what a marker covers may be gone once it was sent, and must be gone where it was promised;
// points of its generation, of other metrics and outside of its interval are not touched.
static void deletes(void **state)
{
    s_bench_t *bench = *state;
    bb_checker_marker_t marker = {
        .battery = 1, .metric = 2, .generation = 3, .from_wall_ns = 1000, .to_wall_ns = 1001};
    bb_checker_acknowledged(bench->checker, s_written(bench, UINT64_C(2) << 32 | 9, INT64, 5), 1,
                            1);
    s_begin(bench, 5, 1);
    assert_false(s_end(bench));
    uint32_t sent = bb_checker_deleting(bench->checker, &marker);
    s_begin(bench, 5, 1);
    assert_true(s_end(bench)); // it may have taken effect
    s_begin(bench, 5, 1);
    assert_true(s_point(bench, INT64, 5) && s_end(bench)); // or not
    bb_checker_deleted(bench->checker, sent, 7, 1);
    s_begin(bench, 7, 1);
    assert_true(s_point(bench, INT64, 5)); // the read began before the promise
    s_begin(bench, 8, 2);
    assert_true(s_point(bench, INT64, 5)); // of another data centre
    s_begin(bench, 8, 1);
    assert_false(s_point(bench, INT64, 5));
    assert_non_null(strstr(bench->text, "resurrected point"));
    bb_checker_acknowledged(bench->checker, s_written(bench, UINT64_C(3) << 32, INT64, 6), 8, 1);
    s_begin(bench, 9, 1);
    assert_false(s_end(bench)); // this one is of the marker's generation
    s_begin(bench, 9, 1);
    assert_true(s_point(bench, INT64, 6) && s_end(bench));
    marker.metric = 4;
    marker.generation = 9;
    bb_checker_deleting(bench->checker, &marker);
    marker = (bb_checker_marker_t){1, UINT32_MAX, 9, 1001, 2000};
    bb_checker_deleting(bench->checker, &marker);
    s_begin(bench, 9, 1);
    assert_false(s_end(bench));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(phantoms, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(duplicates, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(losses, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(data_centres, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(asked_and_owed, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(deletes, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(order, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(fingerprints, s_setup, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

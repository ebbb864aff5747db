// SPDX-License-Identifier: Apache-2.0
// Goal: merging the runs of a group gives each battery the points that merging runs of its own
// gives, whether blocks are copied or not, and damage costs no other battery a point. Method:
// random flushes through bb_run_group; the oracle is bb_run_merge over runs of each battery's own.
#include "storage/segment/bb_group_merge.h"

#include "storage/segment/bb_fingerprint.h"
#include "storage/segment/bb_run_merge.h"
#include "storage/segment/bb_shared_merge.h"
#include "tests/unit/storage/group_support.h"

#define S_BITS          12u
#define S_FLUSHES_MAX   9u
#define S_BATTERIES_MAX 300u
#define S_OWN_MAX       16u

static test_put_t s_flushes[S_FLUSHES_MAX];
static test_put_t s_out;

// Runs of one battery alone, for the oracle.
typedef struct {
    bb_slice_t encoded[S_OWN_MAX];
    bb_run_t runs[S_OWN_MAX];
    uint32_t count;
} s_own_t;
static s_own_t s_own[S_BATTERIES_MAX];

typedef struct {
    bb_fingerprint_t sum;
    uint64_t points;
} s_content_t;

// Content that does not depend on how it is cut into runs.
static void s_add_content(s_content_t *content, const bb_run_t *run)
{
    static const uint8_t key[BB_FINGERPRINT_KEY_BYTES] = {1};
    static bb_fingerprint_name_t metrics[64];
    bb_fingerprint_names_t names = {
        key, bb_fingerprint_name(key, BB_FINGERPRINT_BATTERY, bb_slice("b", 1)), metrics,
        BB_COUNT_OF(metrics)};
    for (uint32_t i = 0; i < BB_COUNT_OF(metrics); i++) {
        metrics[i] = bb_fingerprint_name(key, BB_FINGERPRINT_METRIC, bb_slice("metric", 6));
    }
    assert_int_equal(bb_fingerprint_add_run(&content->sum, &names, run), BB_OK);
    content->points += run->point_count;
}

static bb_error_t s_emit_oracle(void *context, uint64_t revision, bb_slice_t encoded)
{
    bb_run_t run;
    (void)revision;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    s_add_content(context, &run);
    return BB_OK;
}

typedef struct {
    uint32_t flush_count, battery_count;
    uint32_t rows_min, rows_max;
    uint32_t lists;     // of columns
    uint32_t revisions; // of points
    bool overlap;       // flushes meet in time
} s_plan_t;

static void s_flush(const s_plan_t *plan, bb_random_t *random, uint32_t flush)
{
    bb_run_group_t *group = bb_run_group_new(S_BITS, test_put, &s_flushes[flush]);
    test_table_t tables[S_BATTERIES_MAX];
    memset(tables, 0, sizeof tables);
    for (uint32_t b = 0; b < plan->battery_count; b++) {
        if (test_below(random, 10) == 0) {
            continue; // not heard
        }
        test_table_t *table = &tables[b];
        uint32_t rows = plan->rows_min + test_below(random, plan->rows_max - plan->rows_min + 1);
        test_table_init(table, random, rows, 1 + b % plan->lists);
        int64_t base = INT64_C(1767225600) +
                       (plan->overlap ? test_below(random, 300) : (int64_t)flush * 100000);
        for (uint32_t row = 0; row < rows; row++) {
            table->times[row] = (base + row * 60) * BB_NS_PER_S;
        }
        uint64_t revision = test_below(random, plan->revisions);
        bb_run_input_t input = test_table_input(table, revision);
        assert_int_equal(bb_run_group_add(group, 7, b * 3, &input), BB_OK);
        s_own_t *own = &s_own[b];
        own->encoded[own->count] = test_table_encode(table, revision);
        assert_int_equal(bb_run_open(&own->runs[own->count], own->encoded[own->count], NULL),
                         BB_OK);
        own->count++;
    }
    assert_int_equal(bb_run_group_flush(group), BB_OK);
    for (uint32_t b = 0; b < plan->battery_count; b++) {
        test_table_free(&tables[b]);
    }
    bb_run_group_destroy(&group);
}

// All runs of all flushes, battery by battery. `damaged`: this run of flush 0 is not opened.
static bb_group_merge_result_t s_merge(const s_plan_t *plan, uint32_t damaged)
{
    bb_group_merger_t *merger = bb_group_merger_new(S_BITS, test_put, &s_out);
    uint32_t next[S_FLUSHES_MAX] = {0};
    for (uint32_t b = 0; b < plan->battery_count; b++) {
        for (uint32_t f = 0; f < plan->flush_count; f++) {
            test_put_t *from = &s_flushes[f];
            while (next[f] < from->entry_count && (uint32_t)from->entries[next[f]].place == b * 3) {
                uint32_t of_entry = from->entries[next[f]].run;
                bb_run_t run;
                bool is_damaged = f == 0 && of_entry == damaged;
                assert_int_equal(test_put_open(from, next[f], &run), BB_OK);
                bb_group_merger_add(merger, 7, b * 3, from->runs[of_entry],
                                    is_damaged ? NULL : &run);
                next[f]++;
            }
        }
    }
    bb_group_merge_result_t result = {0};
    assert_int_equal(bb_group_merger_finish(merger, &result), BB_OK);
    bb_group_merger_destroy(&merger);
    return result;
}

static void s_expect_same(const s_plan_t *plan, bool may_be_damaged)
{
    uint32_t entry = 0;
    for (uint32_t b = 0; b < plan->battery_count; b++) {
        s_content_t expected = {0};
        s_content_t found = {0};
        s_own_t *own = &s_own[b];
        if (own->count > 0) {
            assert_int_equal(bb_run_merge(own->runs, own->count, s_emit_oracle, &expected, NULL),
                             BB_OK);
        }
        for (; entry < s_out.entry_count && (uint32_t)s_out.entries[entry].place == b * 3;
             entry++) {
            bb_run_t run;
            assert_int_equal(test_put_open(&s_out, entry, &run), BB_OK);
            assert_int_equal(bb_run_verify(&run), BB_OK);
            uint64_t counted = s_out.entries[entry].point_count; // 0: it could not be opened
            assert_true(counted == run.point_count || (may_be_damaged && counted == 0));
            s_add_content(&found, &run);
        }
        assert_int_equal(found.points, expected.points);
        assert_memory_equal(&found.sum, &expected.sum, sizeof found.sum);
    }
    assert_int_equal(entry, s_out.entry_count);
}

static void s_forget(const s_plan_t *plan)
{
    for (uint32_t b = 0; b < plan->battery_count; b++) {
        for (uint32_t i = 0; i < s_own[b].count; i++) {
            test_slice_free(s_own[b].encoded[i]);
        }
        s_own[b].count = 0;
    }
    for (uint32_t f = 0; f < plan->flush_count; f++) {
        test_put_free(&s_flushes[f]);
    }
    test_put_free(&s_out);
}

static bb_group_merge_result_t s_run(const s_plan_t *plan, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    for (uint32_t f = 0; f < plan->flush_count; f++) {
        s_flush(plan, &random, f);
    }
    bb_group_merge_result_t result = s_merge(plan, UINT32_MAX);
    s_expect_same(plan, false);
    assert_false(result.has_unmerged);
    return result;
}

static void test_random_flushes(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 40; round++) {
        s_plan_t plan = {
            .flush_count = 1 + round % S_FLUSHES_MAX,
            .battery_count = 3 + round * 5,
            .rows_min = 1,
            .rows_max = round % 4 == 3 ? 120 : 1 + round % 4 * 5,
            .lists = 1 + round % 3,
            .revisions = 1 + (round % 5 == 4),
            .overlap = round % 2,
        };
        s_run(&plan, round);
        s_forget(&plan);
    }
}

// Flushes of the same batteries, one behind the other: no block is encoded again, and each battery
// has one run.
static void test_blocks_are_copied(void **state)
{
    (void)state;
    s_plan_t plan = {
        .flush_count = 6,
        .battery_count = 200,
        .rows_min = 6,
        .rows_max = 7,
        .lists = 1,
        .revisions = 1,
    };
    bb_group_merge_result_t result = s_run(&plan, 1);
    uint64_t points = 0;
    for (uint32_t i = 0; i < s_out.entry_count; i++) {
        points += s_out.entries[i].point_count;
    }
    assert_int_equal(s_out.entry_count, plan.battery_count);
    assert_int_equal(s_out.run_count, 1);
    assert_int_equal(result.copied_count, points);
    s_forget(&plan);
}

// Blocks that are nearly empty are joined, and batteries with enough rows leave.
static void test_small_blocks_are_joined_and_long_batteries_leave(void **state)
{
    (void)state;
    s_plan_t small = {
        .flush_count = 8,
        .battery_count = 100,
        .rows_min = 1,
        .rows_max = 1,
        .lists = 1,
        .revisions = 1,
    };
    bb_group_merge_result_t result = s_run(&small, 2);
    assert_int_equal(result.copied_count, 0);
    assert_int_equal(s_out.run_count, 1);
    bb_shared_run_t *shared = bb_shared_run_new();
    assert_int_equal(bb_shared_run_open(shared, s_out.runs[0], NULL), BB_OK);
    assert_int_equal(bb_shared_run_whole(shared)->block_count, 1);
    bb_shared_run_destroy(&shared);
    s_forget(&small);
    s_plan_t large = small;
    large.rows_min = 60;
    large.rows_max = 63;
    s_run(&large, 3);
    assert_int_equal(s_out.run_count, large.battery_count);
    assert_int_equal(s_out.shared_count, 0);
    s_forget(&large);
}

// A shared run that cannot be opened stays as it is, once, for all that it is of; no other run of
// its batteries is touched.
static void test_damage_is_carried_over(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(4);
    s_plan_t plan = {
        .flush_count = 3,
        .battery_count = 60,
        .rows_min = 2,
        .rows_max = 5,
        .lists = 2,
        .revisions = 1,
    };
    for (uint32_t f = 0; f < plan.flush_count; f++) {
        s_flush(&plan, &random, f);
    }
    bb_group_merge_result_t result = s_merge(&plan, 0);
    assert_true(result.has_unmerged);
    uint32_t copies = 0;
    for (uint32_t i = 0; i < s_out.run_count; i++) {
        copies += s_out.runs[i].length == s_flushes[0].runs[0].length &&
                  memcmp(s_out.runs[i].data, s_flushes[0].runs[0].data, s_out.runs[i].length) == 0;
    }
    assert_int_equal(copies, 1);
    s_expect_same(&plan, true); // opened again here, so every point can be counted
    s_forget(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_flushes),
        cmocka_unit_test(test_blocks_are_copied),
        cmocka_unit_test(test_small_blocks_are_joined_and_long_batteries_leave),
        cmocka_unit_test(test_damage_is_carried_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: merging loses no point, keeps the right one of several, and counts what it dropped. Method:
// random runs with overlaps, revisions and types; the oracle is a plain list of points, filtered by
// the rule of bb_run_merge.h pair by pair.
#include "storage/segment/bb_run_merge.h"

#include "tests/unit/storage/run_table.h"

#define POINTS_MAX 60000
#define RUNS_MAX   12

typedef struct {
    uint64_t revision;
    uint32_t metric;
    bb_type_t type;
    int64_t time;
    uint64_t bits;
} s_point_t;

typedef struct {
    uint32_t count;
    s_point_t points[POINTS_MAX];
} s_points_t;

static int s_compare_values(const s_point_t *a, const s_point_t *b)
{
    return bb_value_compare(0, (bb_value_t){a->type, a->bits}, 0, (bb_value_t){b->type, b->bits});
}

// By metric, time, revision, type and value: what the merge decides about stands together.
static int s_compare_points(const void *a, const void *b)
{
    const s_point_t *left = a;
    const s_point_t *right = b;
    if (left->metric != right->metric) {
        return left->metric < right->metric ? -1 : 1;
    }
    if (left->time != right->time) {
        return left->time < right->time ? -1 : 1;
    }
    if (left->revision != right->revision) {
        return left->revision < right->revision ? -1 : 1;
    }
    return s_compare_values(left, right);
}

static void s_collect(s_points_t *self, const bb_run_t *run)
{
    int64_t block_times[BB_BLOCK_ROWS_MAX];
    int64_t times[BB_BLOCK_ROWS_MAX];
    uint64_t values[BB_BLOCK_ROWS_MAX];
    for (uint32_t block = 0; block < run->block_count; block++) {
        assert_int_equal(bb_run_block_times(run, block, block_times), BB_OK);
        for (uint32_t column = 0; column < run->column_count; column++) {
            uint32_t count;
            bb_run_column_info_t info = bb_run_column(run, column);
            assert_int_equal(bb_run_block_points(run, column, block, block_times, INT64_MIN,
                                                 INT64_MAX, times, values, &count),
                             BB_OK);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(self->count < POINTS_MAX);
                self->points[self->count++] =
                    (s_point_t){run->revision, info.metric, info.type, times[i], values[i]};
            }
        }
    }
}

// Sorts and drops what the rule drops; counts it.
static void s_reduce(s_points_t *self, bb_run_merge_result_t *expected)
{
    qsort(self->points, self->count, sizeof *self->points, s_compare_points);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        const s_point_t *point = &self->points[i];
        bool superseded = false;
        bool repeated = false; // the next one is of the same type and not smaller
        for (uint32_t j = i + 1; j < self->count && self->points[j].metric == point->metric &&
                                 self->points[j].time == point->time;
             j++) {
            superseded |= self->points[j].revision > point->revision;
        }
        if (superseded) {
            expected->superseded_count++;
            continue;
        }
        if (i + 1 < self->count && self->points[i + 1].metric == point->metric &&
            self->points[i + 1].time == point->time && self->points[i + 1].type == point->type) {
            repeated = true;
            if (s_compare_values(point, &self->points[i + 1]) == 0) {
                expected->duplicate_count++;
            } else {
                expected->conflict_count++;
            }
        }
        if (!repeated) {
            self->points[kept++] = *point;
        }
    }
    self->count = kept;
}

typedef struct {
    bb_slice_t encoded[256];
    bb_run_t runs[256];
    uint32_t count;
    uint32_t fail_at; // the emit that fails; UINT32_MAX = none
} s_output_t;

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    s_output_t *output = context;
    if (output->count == output->fail_at) {
        return BB_ERR_DISK_FULL;
    }
    assert_true(output->count < BB_COUNT_OF(output->runs));
    uint8_t *copy = bb_alloc(encoded.length);
    memcpy(copy, encoded.data, encoded.length);
    bb_run_t *run = &output->runs[output->count];
    output->encoded[output->count++] = bb_slice(copy, encoded.length);
    assert_int_equal(bb_run_open(run, bb_slice(copy, encoded.length), NULL), BB_OK);
    assert_int_equal(run->revision, revision);
    assert_int_equal(bb_run_verify(run), BB_OK);
    return BB_OK;
}

static void s_output_free(s_output_t *output)
{
    for (uint32_t i = 0; i < output->count; i++) {
        test_slice_free(output->encoded[i]);
    }
}

static s_points_t s_before, s_after;

static void s_expect_same_points(void)
{
    qsort(s_after.points, s_after.count, sizeof *s_after.points, s_compare_points);
    assert_int_equal(s_after.count, s_before.count);
    for (uint32_t i = 0; i < s_before.count; i++) {
        assert_int_equal(s_compare_points(&s_after.points[i], &s_before.points[i]), 0);
        if (s_before.points[i].type != BB_TYPE_STATE) {
            assert_int_equal(s_after.points[i].bits, s_before.points[i].bits);
        }
    }
}

// Merges the runs and compares with the oracle.
static bb_run_merge_result_t s_check(const bb_run_t *runs, uint32_t run_count)
{
    s_before.count = 0;
    s_after.count = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        s_collect(&s_before, &runs[i]);
    }
    bb_run_merge_result_t expected = {.points_in = s_before.count};
    s_reduce(&s_before, &expected);
    expected.points_out = s_before.count;

    static s_output_t output;
    output = (s_output_t){.fail_at = UINT32_MAX};
    bb_run_merge_result_t result;
    assert_int_equal(bb_run_merge(runs, run_count, s_emit, &output, &result), BB_OK);
    for (uint32_t i = 0; i < output.count; i++) {
        s_collect(&s_after, &output.runs[i]);
    }
    s_expect_same_points();
    assert_int_equal(result.runs_out, output.count);
    assert_int_equal(result.points_in, expected.points_in);
    assert_int_equal(result.points_out, expected.points_out);
    assert_int_equal(result.superseded_count, expected.superseded_count);
    // Of three or more points, which two are compared depends on the order of the runs.
    assert_int_equal(result.duplicate_count + result.conflict_count,
                     expected.duplicate_count + expected.conflict_count);
    assert_int_equal(result.conflict_count > 0, expected.conflict_count > 0);
    if (run_count == 2) {
        assert_int_equal(result.conflict_count, expected.conflict_count);
    }
    s_output_free(&output);
    return result;
}

// Times that meet those of other runs: a grid with holes, from a random start.
static void s_grid_times(bb_random_t *random, test_table_t *table, uint32_t spread)
{
    int64_t time = INT64_C(1767225600) * BB_NS_PER_S + test_below(random, spread) * BB_NS_PER_S;
    for (uint32_t row = 0; row < table->row_count; row++) {
        table->times[row] = time;
        time += (1 + (test_below(random, 8) == 0)) * BB_NS_PER_S;
    }
}

static void test_random_runs(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(31);
    uint64_t superseded = 0;
    uint64_t conflicts = 0;
    uint64_t duplicates = 0;
    for (uint32_t round = 0; round < 150; round++) {
        bb_slice_t encoded[RUNS_MAX];
        bb_run_t runs[RUNS_MAX];
        uint32_t run_count = 1 + test_below(&random, RUNS_MAX);
        uint32_t revisions = 1 + test_below(&random, 3);
        uint32_t rows_max = round % 10 == 0 ? 1500 : 60;
        uint32_t columns_max = round % 10 == 0 ? 2 : TEST_COLUMNS_MAX;
        for (uint32_t i = 0; i < run_count; i++) {
            test_table_t table;
            test_table_init(&table, &random, 1 + test_below(&random, rows_max),
                            1 + test_below(&random, columns_max));
            s_grid_times(&random, &table, rows_max * 2);
            encoded[i] = test_table_encode(&table, test_below(&random, revisions) * 7);
            assert_int_equal(bb_run_open(&runs[i], encoded[i], NULL), BB_OK);
            test_table_free(&table);
        }
        bb_run_merge_result_t result = s_check(runs, run_count);
        superseded += result.superseded_count;
        conflicts += result.conflict_count;
        duplicates += result.duplicate_count;
        for (uint32_t i = 0; i < run_count; i++) {
            test_slice_free(encoded[i]);
        }
    }
    // The rounds met every case.
    assert_true(superseded > 1000);
    assert_true(conflicts > 1000);
    assert_true(duplicates > 1000);
}

// A run of one column of doubles with the given times and values.
static bb_slice_t s_small_run(uint64_t revision, uint32_t metric, bb_type_t type, uint32_t rows,
                              const int64_t *times, const uint64_t *values)
{
    bb_run_writer_t *writer = bb_run_writer_new();
    bb_run_column_t column = {metric, type, values, NULL};
    bb_run_input_t input = {revision, rows, times, 1, &column};
    bb_slice_t encoded = bb_run_writer_encode(writer, &input);
    uint8_t *copy = bb_alloc(encoded.length);
    memcpy(copy, encoded.data, encoded.length);
    bb_run_writer_destroy(&writer);
    return bb_slice(copy, encoded.length);
}

// A correction of one point of three: the other two stay at revision 0; an older correction and a
// value of another type at the corrected time disappear.
static void test_corrections_win(void **context)
{
    (void)context;
    const int64_t times[] = {100, 200, 300};
    const uint64_t doubles[] = {bb_bits_of_double(1), bb_bits_of_double(9), bb_bits_of_double(3)};
    const uint64_t integer = 77;
    const uint64_t corrected = bb_bits_of_double(2);
    bb_slice_t encoded[] = {
        s_small_run(0, 5, BB_TYPE_FLOAT64, 3, times, doubles),
        s_small_run(4, 5, BB_TYPE_INT64, 1, times + 1, &integer),
        s_small_run(9, 5, BB_TYPE_FLOAT64, 1, times + 1, &corrected),
    };
    bb_run_t runs[3];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(bb_run_open(&runs[i], encoded[i], NULL), BB_OK);
    }
    bb_run_merge_result_t result = s_check(runs, 3);
    assert_int_equal(result.superseded_count, 2);
    assert_int_equal(result.points_out, 3);
    assert_int_equal(result.runs_out, 2); // revisions 0 and 9; nothing of 4 is left

    static s_output_t output;
    output = (s_output_t){.fail_at = UINT32_MAX};
    assert_int_equal(bb_run_merge(runs, 3, s_emit, &output, NULL), BB_OK);
    assert_int_equal(output.runs[0].revision, 0);
    assert_int_equal(output.runs[0].row_count, 2);
    assert_int_equal(output.runs[1].revision, 9);
    assert_int_equal(output.runs[1].row_count, 1);
    assert_int_equal(output.runs[1].first_wall_ns, 200);
    s_output_free(&output);
    for (uint32_t i = 0; i < 3; i++) {
        test_slice_free(encoded[i]);
    }
}

// At one revision both types of a metric stay, as two columns.
static void test_types_of_one_revision_stay(void **context)
{
    (void)context;
    const int64_t times[] = {100};
    const uint64_t number = bb_bits_of_double(1);
    const uint64_t text = test_text_bits(1);
    bb_slice_t encoded[] = {
        s_small_run(0, 5, BB_TYPE_STATE, 1, times, &text),
        s_small_run(0, 5, BB_TYPE_FLOAT64, 1, times, &number),
    };
    bb_run_t runs[2];
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(bb_run_open(&runs[i], encoded[i], NULL), BB_OK);
    }
    bb_run_merge_result_t result = s_check(runs, 2);
    assert_int_equal(result.points_out, 2);
    assert_int_equal(result.runs_out, 1);
    assert_int_equal(result.conflict_count, 0);
    for (uint32_t i = 0; i < 2; i++) {
        test_slice_free(encoded[i]);
    }
}

// More rows than one run may have: the output is cut, in time order, and nothing is lost.
static void test_long_windows_are_cut(void **context)
{
    (void)context;
    const uint32_t rows = BB_RUN_ROWS_MAX / 2 + 1000;
    int64_t *times = bb_alloc(rows * sizeof *times);
    uint64_t *values = bb_alloc(rows * sizeof *values);
    bb_slice_t encoded[3];
    bb_run_t runs[3];
    // Three interleaved runs; the third repeats the first.
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t row = 0; row < rows; row++) {
            times[row] = (int64_t)row * 20 + (i % 2) * 10;
            values[row] = row * 2 + i % 2;
        }
        encoded[i] = s_small_run(0, 1, BB_TYPE_INT64, rows, times, values);
        assert_int_equal(bb_run_open(&runs[i], encoded[i], NULL), BB_OK);
    }
    static s_output_t output;
    output = (s_output_t){.fail_at = UINT32_MAX};
    bb_run_merge_result_t result;
    assert_int_equal(bb_run_merge(runs, 3, s_emit, &output, &result), BB_OK);
    assert_int_equal(result.points_in, 3u * rows);
    assert_int_equal(result.points_out, 2u * rows);
    assert_int_equal(result.duplicate_count, rows);
    assert_int_equal(output.count, 2);
    assert_int_equal(output.runs[0].row_count, BB_RUN_ROWS_MAX);
    assert_int_equal(output.runs[1].row_count, 2 * rows - BB_RUN_ROWS_MAX);
    uint64_t expected = 0;
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t block = 0; block < output.runs[i].block_count; block++) {
            int64_t block_times[BB_BLOCK_ROWS_MAX];
            uint64_t block_values[BB_BLOCK_ROWS_MAX];
            uint64_t presence[BB_PRESENCE_WORDS];
            bool all_present;
            assert_int_equal(bb_run_block_times(&output.runs[i], block, block_times), BB_OK);
            assert_int_equal(bb_run_block_values(&output.runs[i], 0, block, block_values, presence,
                                                 &all_present),
                             BB_OK);
            assert_true(all_present);
            for (uint32_t row = 0; row < bb_run_block_rows(&output.runs[i], block); row++) {
                assert_int_equal(block_times[row], expected * 10);
                assert_int_equal(block_values[row], expected);
                expected++;
            }
        }
    }
    assert_int_equal(expected, 2u * rows);
    s_output_free(&output);
    for (uint32_t i = 0; i < 3; i++) {
        test_slice_free(encoded[i]);
    }
    free(times);
    free(values);
}

// Blocks that nothing overlaps go through a merge byte for byte, and what is short becomes long:
// the flushes of a day of a battery that is heard every ten seconds.
static void test_long_blocks_are_copied(void **context)
{
    (void)context;
    enum { FLUSHES = 8, COLUMNS = 3 };
    static const uint32_t rows_of[FLUSHES] = {1024, 1500, 30, 40, 600, 2048, 100, 2000};
    bb_random_t random = bb_random_seed(33);
    bb_slice_t encoded[FLUSHES];
    bb_run_t runs[FLUSHES];
    int64_t time = INT64_C(1767225600) * BB_NS_PER_S;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < FLUSHES; i++) {
        test_table_t table;
        test_table_init(&table, &random, rows_of[i], COLUMNS);
        for (uint32_t row = 0; row < rows_of[i]; row++) {
            table.times[row] = time;
            time += 10 * BB_NS_PER_S;
        }
        encoded[i] = test_table_encode(&table, 0);
        assert_int_equal(bb_run_open(&runs[i], encoded[i], NULL), BB_OK);
        test_table_free(&table);
        rows += rows_of[i];
    }
    bb_run_merge_result_t result = s_check(runs, FLUSHES);
    assert_int_equal(result.runs_out, 1);
    assert_true(result.copied_count > 0);
    assert_true(result.copied_count < result.points_out);

    static s_output_t output;
    output = (s_output_t){.fail_at = UINT32_MAX};
    assert_int_equal(bb_run_merge(runs, FLUSHES, s_emit, &output, &result), BB_OK);
    const bb_run_t *merged = &output.runs[0];
    assert_int_equal(merged->row_count, rows);
    for (uint32_t block = 0; block + 1 < merged->block_count; block++) {
        assert_true(bb_run_block_rows(merged, block) >= BB_BLOCK_ROWS_MAX / 16);
        assert_true(bb_run_block_rows(merged, block) + bb_run_block_rows(merged, block + 1) >=
                    BB_BLOCK_ROWS_MAX / 2);
    }
    // Merging what is merged copies all but the short ones, and changes no point and no block.
    static s_output_t same;
    same = (s_output_t){.fail_at = UINT32_MAX};
    bb_run_merge_result_t again;
    assert_int_equal(bb_run_merge(merged, 1, s_emit, &same, &again), BB_OK);
    assert_true(again.copied_count * 10 > again.points_out * 8);
    assert_int_equal(again.points_out, result.points_out);
    assert_int_equal(same.count, 1);
    assert_int_equal(same.runs[0].block_count, merged->block_count);
    s_output_free(&output);
    s_output_free(&same);
    for (uint32_t i = 0; i < FLUSHES; i++) {
        test_slice_free(encoded[i]);
    }
}

static void test_damage_and_full_disks_end_the_merge(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(32);
    test_table_t table;
    test_table_init(&table, &random, 1500, 6); // with a checksum for each block
    bb_slice_t good = test_table_encode(&table, 0);
    bb_slice_t bad = test_table_encode(&table, 1);
    test_table_free(&table);
    bb_run_t runs[2];
    assert_int_equal(bb_run_open(&runs[0], good, NULL), BB_OK);
    assert_int_equal(bb_run_open(&runs[1], bad, NULL), BB_OK);
    static s_output_t output;
    output = (s_output_t){.fail_at = 0};
    assert_int_equal(bb_run_merge(runs, 2, s_emit, &output, NULL), BB_ERR_DISK_FULL);
    assert_int_equal(output.count, 0);
    uint8_t *bytes = (uint8_t *)(uintptr_t)bad.data;
    bytes[bad.length - 1] ^= 1;
    output = (s_output_t){.fail_at = UINT32_MAX};
    assert_int_equal(bb_run_merge(runs, 2, s_emit, &output, NULL), BB_ERR_CORRUPT);
    s_output_free(&output);
    test_slice_free(good);
    test_slice_free(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_runs),
        cmocka_unit_test(test_corrections_win),
        cmocka_unit_test(test_types_of_one_revision_stay),
        cmocka_unit_test(test_long_windows_are_cut),
        cmocka_unit_test(test_long_blocks_are_copied),
        cmocka_unit_test(test_damage_and_full_disks_end_the_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

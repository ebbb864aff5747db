// SPDX-License-Identifier: Apache-2.0
// Runs cut by markers. Method: random tables of points of all types, random markers; the oracle
// asks for each point by itself whether a marker covers it.
#include "storage/markers/bb_marker_cut.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/unit/storage/run_table.h"

#define S_MARKERS  6
#define S_REVISION (UINT64_C(2) << 32 | 5)

static bb_markers_t *s_random_markers(bb_random_t *random, const test_table_t *table)
{
    bb_markers_t *markers = bb_markers_new();
    uint32_t count = test_below(random, S_MARKERS);
    for (uint32_t i = 0; i < count; i++) {
        int64_t a = table->times[test_below(random, table->row_count)];
        int64_t b = table->times[test_below(random, table->row_count)];
        bb_marker_entry_t entry = {
            test_below(random, 3) == 0 ? BB_MARKER_ALL : 10 + test_below(random, 3) * 7,
            1 + test_below(random, 4), BB_MIN(a, b), BB_MAX(a, b) + test_below(random, 2)};
        if (test_below(random, 8) == 0) {
            entry = (bb_marker_entry_t){BB_MARKER_ALL, 3, INT64_MIN, INT64_MAX};
        }
        if (entry.from_wall_ns < entry.to_wall_ns) {
            bb_markers_add(&markers, 0, &entry);
        }
    }
    return markers;
}

// How many points of the table are left; they must be those of the run, if there is one.
static uint64_t s_compare(const test_table_t *table, bb_marker_list_t list, const bb_run_t *run)
{
    static int64_t times[BB_BLOCK_ROWS_MAX];
    static uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t left = 0;
    for (uint32_t c = 0; c < table->column_count; c++) {
        const bb_run_column_t *column = &table->columns[c];
        uint64_t wanted = 0, got = 0;
        for (uint32_t row = 0; row < table->row_count; row++) {
            wanted +=
                test_table_has(table, c, row) &&
                bb_marker_list_covers(list, column->metric, S_REVISION, table->times[row]) == 0;
        }
        left += wanted;
        for (uint32_t of_run = 0; run && of_run < run->column_count; of_run++) {
            bb_run_column_info_t info = bb_run_column(run, of_run);
            if (info.metric != column->metric || info.type != column->type) {
                continue;
            }
            for (uint32_t block = 0; block < run->block_count; block++) {
                uint64_t presence[BB_PRESENCE_WORDS];
                bool all;
                assert_int_equal(bb_run_block_times(run, block, times), BB_OK);
                assert_int_equal(bb_run_block_values(run, of_run, block, values, presence, &all),
                                 BB_OK);
                for (uint32_t r = 0; r < bb_run_block_rows(run, block); r++) {
                    if (!all && !(presence[r / 64] >> (r % 64) & 1)) {
                        continue;
                    }
                    uint32_t row = 0;
                    while (table->times[row] != times[r]) {
                        row++;
                    }
                    assert_true(test_table_has(table, c, row));
                    assert_true(test_same_value(info.type, values[r], column->values[row]));
                    got++;
                }
            }
        }
        assert_int_equal(got, wanted);
    }
    return left;
}

// Goal: exactly the covered points are gone, and what is left verifies like any run.
static void test_random_runs(void **state)
{
    (void)state;
    bb_marker_cut_t *cut = bb_marker_cut_new();
    uint32_t cut_count = 0, empty_count = 0, same_count = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        bb_random_t random = bb_random_seed(seed);
        test_table_t table;
        test_table_init(&table, &random, 1 + test_below(&random, seed % 10 ? 200 : 2500),
                        1 + test_below(&random, TEST_COLUMNS_MAX));
        bb_markers_t *markers = s_random_markers(&random, &table);
        bb_marker_list_t list = bb_markers_of(markers, 0);
        bb_run_input_t input = test_table_input(&table, S_REVISION);
        const bb_run_input_t *left = bb_marker_cut_input(cut, list, &input);
        same_count += left == &input;
        bb_slice_t encoded = test_table_encode(&table, S_REVISION);
        bb_run_t run;
        bb_slice_t bytes;
        assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
        uint64_t before = s_compare(&table, (bb_marker_list_t){0}, &run);
        assert_int_equal(run.point_count, before);
        assert_int_equal(bb_marker_cut_run(cut, list, &run, &bytes), BB_OK);
        if (bytes.length == 0) {
            assert_null(left);
            assert_int_equal(s_compare(&table, list, NULL), 0);
            empty_count++;
        } else {
            bb_run_t after;
            assert_int_equal(bb_run_open(&after, bytes, NULL), BB_OK);
            assert_int_equal(bb_run_verify(&after), BB_OK);
            assert_int_equal(after.revision, S_REVISION);
            assert_int_equal(s_compare(&table, list, &after), after.point_count);
            cut_count += after.point_count < before;
            assert_true(after.point_count == before || bb_marker_cut_is_needed(list, &run));
        }
        bb_markers_release(&markers);
        test_slice_free(encoded);
        test_table_free(&table);
    }
    bb_marker_cut_destroy(&cut);
    assert_true(cut_count > 50 && empty_count > 5 && same_count > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: whatever goes into a group comes out, of its battery, in order, and short inputs share.
// Method: random tables of several lists of columns and revisions; each entry is compared with the
// table that it must be.
#include "storage/segment/bb_run_group.h"

#include "tests/unit/storage/group_support.h"

#define S_INPUTS 600u

typedef struct {
    uint64_t place, revision;
    test_table_t table;
} s_input_t;

static s_input_t s_inputs[S_INPUTS];
static test_put_t s_out;

static uint64_t s_points(const test_table_t *table)
{
    uint64_t points = 0;
    for (uint32_t c = 0; c < table->column_count; c++) {
        for (uint32_t row = 0; row < table->row_count; row++) {
            points += test_table_has(table, c, row);
        }
    }
    return points;
}

static void test_what_goes_in_comes_out(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(9);
    bb_run_group_t *group = bb_run_group_new(6, test_put, &s_out);
    uint32_t shared = 0;
    for (uint32_t round = 0; round < 12; round++) {
        uint64_t place = 0;
        for (uint32_t i = 0; i < S_INPUTS; i++) {
            s_input_t *input = &s_inputs[i];
            place += test_below(&random, 12) != 0;                              // some have two
            place += test_below(&random, 300) == 0 ? UINT64_C(1) << 32 : 0;     // next partition
            uint32_t rows_max = round % 4 == 0 ? 2 : round % 4 == 1 ? 20 : 130; // short ones share
            input->place = place;
            input->revision = test_below(&random, 8) == 0;
            test_table_init(&input->table, &random, 1 + test_below(&random, rows_max),
                            1 + (test_below(&random, 5) == 0));
            bb_run_input_t rows = test_table_input(&input->table, input->revision);
            assert_int_equal(
                bb_run_group_add(group, (uint32_t)(place >> 32), (uint32_t)place, &rows), BB_OK);
        }
        assert_int_equal(bb_run_group_flush(group), BB_OK);
        assert_int_equal(s_out.entry_count, S_INPUTS);
        for (uint32_t i = 0; i < S_INPUTS; i++) {
            bb_run_t run;
            bb_error_t error;
            assert_int_equal(s_out.entries[i].place, s_inputs[i].place);
            assert_int_equal(test_put_open(&s_out, i, &run), BB_OK);
            assert_int_equal(run.revision, s_inputs[i].revision);
            assert_int_equal(run.point_count, s_points(&s_inputs[i].table));
            assert_int_equal(s_out.entries[i].point_count, run.point_count);
            assert_true(test_table_equals_run(&s_inputs[i].table, &run, &error));
        }
        if (round % 4 == 0) {
            assert_true(s_out.run_count < S_INPUTS / 4); // two rows each: most share
        }
        shared += s_out.shared_count;
        for (uint32_t i = 0; i < S_INPUTS; i++) {
            test_table_free(&s_inputs[i].table);
        }
        test_put_free(&s_out);
    }
    assert_true(shared > 100);
    bb_run_group_destroy(&group);
}

// A full disk, say, ends the flush, and what was collected is forgotten.
static void test_errors_are_passed_on(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(10);
    bb_run_group_t *group = bb_run_group_new(6, test_put, &s_out);
    test_table_t table;
    test_table_init(&table, &random, 3, 2);
    bb_run_input_t rows = test_table_input(&table, 0);
    s_out.answer = BB_ERR_DISK_FULL;
    assert_int_equal(bb_run_group_add(group, 1, 1, &rows), BB_OK);
    assert_int_equal(bb_run_group_add(group, 1, 64, &rows), BB_ERR_DISK_FULL);
    s_out.answer = BB_OK;
    bb_run_group_clear(group);
    assert_int_equal(bb_run_group_flush(group), BB_OK);
    assert_int_equal(s_out.entry_count, 0);
    test_table_free(&table);
    test_put_free(&s_out);
    bb_run_group_destroy(&group);
}

// A run that very many share is put once, even if it is larger than what may wait otherwise.
static void test_large_shared_run_is_put_once(void **state)
{
    (void)state;
    const uint32_t length = 900u << 10;
    uint8_t *bytes = bb_alloc_zero(length, 1);
    bb_run_group_t *group = bb_run_group_new(8, test_put, &s_out);
    for (uint32_t battery = 0; battery < 256; battery++) {
        assert_int_equal(bb_run_group_add_shared(group, 1, battery, bb_slice(bytes, length), 3),
                         BB_OK);
    }
    assert_int_equal(bb_run_group_flush(group), BB_OK);
    assert_int_equal(s_out.entry_count, 256);
    assert_int_equal(s_out.run_count, 1);
    assert_int_equal(s_out.put_count, 1);
    free(bytes);
    test_put_free(&s_out);
    bb_run_group_destroy(&group);
}

static void test_group_sizes(void **state)
{
    (void)state;
    // 1,024 partitions: 2^18 numbers in a row are 256 batteries of each.
    assert_int_equal(bb_run_group_bits(1024), 18);
    assert_int_equal(bb_run_group_bits(1), 8);
    assert_true(bb_run_group_of(18, 5, 1u << 18) > bb_run_group_of(18, 5, (1u << 18) - 1));
    assert_true(bb_run_group_of(18, 6, 0) > bb_run_group_of(18, 5, UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out),
        cmocka_unit_test(test_errors_are_passed_on),
        cmocka_unit_test(test_large_shared_run_is_put_once),
        cmocka_unit_test(test_group_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

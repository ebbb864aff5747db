// SPDX-License-Identifier: Apache-2.0
// Goal: a battery's view of a shared run reads like a run of its own, whatever the values, and
// damage is never read as something else. Method: random tables of every type, encoded together and
// each alone; flipped bits against the tables.
#include "storage/segment/bb_shared_run.h"

#include <math.h>

#include "storage/segment/bb_fingerprint.h"

#include "storage/segment/bb_run_reader.h"
#include "tests/support/bb_rounds.h"
#include "tests/unit/storage/run_table.h"

#define S_MEMBERS_MAX 40u
#define S_PARTITION   777u

// Tables of several batteries, and their rows one behind the other.
typedef struct {
    test_table_t tables[S_MEMBERS_MAX];
    uint32_t batteries[S_MEMBERS_MAX], member_rows[S_MEMBERS_MAX];
    uint32_t member_count;
    test_table_t joined;
} s_fleet_t;

static void s_join(s_fleet_t *self, uint32_t column_count)
{
    test_table_t *joined = &self->joined;
    memset(joined, 0, sizeof *joined);
    joined->column_count = column_count;
    for (uint32_t m = 0; m < self->member_count; m++) {
        joined->row_count += self->tables[m].row_count;
    }
    uint32_t words = (joined->row_count + 63) / 64;
    joined->times = bb_alloc(joined->row_count * sizeof *joined->times);
    for (uint32_t c = 0; c < column_count; c++) {
        joined->values[c] = bb_alloc(joined->row_count * sizeof(uint64_t));
        joined->presence[c] = bb_alloc_zero(words, sizeof(uint64_t));
        joined->columns[c] = self->tables[0].columns[c];
        joined->columns[c].values = joined->values[c];
        joined->columns[c].presence = joined->presence[c];
    }
    uint32_t row = 0;
    for (uint32_t m = 0; m < self->member_count; m++) {
        const test_table_t *table = &self->tables[m];
        for (uint32_t r = 0; r < table->row_count; r++, row++) {
            joined->times[row] = table->times[r];
            for (uint32_t c = 0; c < column_count; c++) {
                joined->values[c][row] = table->values[c][r];
                joined->presence[c][row / 64] |= (uint64_t)test_table_has(table, c, r) << row % 64;
            }
        }
    }
}

static void s_make(s_fleet_t *self, bb_random_t *random, uint32_t member_count, uint32_t rows_max,
                   uint32_t column_count)
{
    uint32_t battery = test_below(random, 1000);
    self->member_count = member_count;
    for (uint32_t m = 0; m < member_count; m++) {
        test_table_init(&self->tables[m], random, 1 + test_below(random, rows_max), column_count);
        self->batteries[m] = battery;
        self->member_rows[m] = self->tables[m].row_count;
        battery += 1 + test_below(random, 500);
    }
    s_join(self, column_count);
}

static void s_free(s_fleet_t *self)
{
    for (uint32_t m = 0; m < self->member_count; m++) {
        test_table_free(&self->tables[m]);
    }
    test_table_free(&self->joined);
}

// In memory of the exact size.
static bb_slice_t s_encode(const s_fleet_t *self, uint64_t revision)
{
    bb_run_writer_t *writer = bb_run_writer_new();
    bb_run_shared_input_t input = {
        .rows = test_table_input(&self->joined, revision),
        .partition = S_PARTITION,
        .member_count = self->member_count,
        .batteries = self->batteries,
        .member_rows = self->member_rows,
    };
    bb_slice_t encoded = bb_run_writer_encode_shared(writer, &input);
    uint8_t *copy = bb_alloc(encoded.length);
    memcpy(copy, encoded.data, encoded.length);
    bb_run_writer_destroy(&writer);
    return bb_slice(copy, encoded.length);
}

static bool s_same_word(bb_type_t type, uint64_t a, uint64_t b)
{
    return test_same_value(type, a, b);
}

// Statistics of the view's column are those of the battery's own run.
static void s_expect_same_stats(const bb_run_t *view, const bb_run_t *own)
{
    for (uint32_t c = 0; c < own->column_count; c++) {
        bb_type_t type = bb_run_column(own, c).type;
        bb_block_stats_t found;
        bb_block_stats_t expected;
        assert_int_equal(bb_run_column_stats(view, c, &found), BB_OK);
        assert_int_equal(bb_run_column_stats(own, c, &expected), BB_OK);
        assert_int_equal(found.count, expected.count);
        assert_int_equal(found.first_wall_ns, expected.first_wall_ns);
        assert_int_equal(found.last_wall_ns, expected.last_wall_ns);
        if (found.count > 0) {
            assert_true(s_same_word(type, found.min, expected.min));
            assert_true(s_same_word(type, found.max, expected.max));
            assert_true(s_same_word(type, found.first, expected.first));
            assert_true(s_same_word(type, found.last, expected.last));
        }
    }
}

// What is known of a block before it is decoded, or without that, is true of its values.
static void s_check_block(const bb_run_t *view, uint32_t column, uint32_t block)
{
    static bb_encoding_ranges_t ranges;
    uint64_t words[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    uint32_t rows = bb_run_block_rows(view, block);
    bb_type_t type = bb_run_column(view, column).type;
    assert_int_equal(bb_run_block_values(view, column, block, words, presence, &all_present),
                     BB_OK);
    bool has_all = bb_run_block_has_all(view, column, block);
    assert_true(all_present || !has_all);
    uint32_t exponent = bb_run_block_exponent(view, column, block);
    bb_sum_t sum = {0};
    for (uint32_t row = 0; row < rows; row++) {
        if (all_present || presence[row / 64] >> row % 64 & 1) {
            if (type != BB_TYPE_STATE) {
                bb_sum_add_value(&sum, type, words[row]);
            }
            if (type == BB_TYPE_FLOAT64 && exponent != UINT32_MAX) {
                double number = bb_double_of_bits(words[row]);
                double power = pow(10, exponent);
                assert_true(bb_bits_of_double(rint(number * power) / power) == words[row]);
            }
        }
    }
    bool is_number = type == BB_TYPE_FLOAT64 || type == BB_TYPE_INT64;
    if (has_all && is_number && bb_run_block_ranges(view, column, block, &rows, 1, true, &ranges)) {
        bb_sum_t told = {0};
        bb_sum_add_scaled(&told, ranges.ranges[0].sum, ranges.exponent);
        assert_int_equal(ranges.ranges[0].count, rows);
        assert_true(bb_sum_is_equal(&told, &sum));
    }
}

static void s_check_cuts(const bb_run_t *view, uint32_t block)
{
    static bb_times_cuts_t told;
    static bb_times_cuts_t expected;
    const int64_t every_ns = 3600 * BB_NS_PER_S;
    int64_t times[BB_BLOCK_ROWS_MAX];
    uint32_t rows = bb_run_block_rows(view, block);
    assert_int_equal(bb_run_block_times(view, block, times), BB_OK);
    if (bb_run_block_cut(view, block, every_ns, &told)) {
        bb_times_cut_decoded(times, rows, every_ns, &expected);
        assert_int_equal(told.count, expected.count);
        assert_memory_equal(told.starts, expected.starts, told.count * sizeof *told.starts);
        assert_memory_equal(told.row_limits, expected.row_limits,
                            told.count * sizeof *told.row_limits);
    }
}

static void s_check_blocks(const bb_run_t *view)
{
    for (uint32_t block = 0; block < view->block_count; block++) {
        s_check_cuts(view, block);
        for (uint32_t column = 0; column < view->column_count; column++) {
            s_check_block(view, column, block);
        }
    }
}

static void s_check_member(bb_shared_run_t *shared, const s_fleet_t *fleet, uint32_t member,
                           uint64_t revision)
{
    bb_run_t view;
    bb_run_t own;
    bb_error_t error;
    const test_table_t *table = &fleet->tables[member];
    uint32_t found = bb_shared_run_find(shared, S_PARTITION, fleet->batteries[member]);
    assert_int_equal(found, member);
    assert_int_equal(bb_shared_run_battery(shared, member), fleet->batteries[member]);
    assert_int_equal(bb_shared_run_view(shared, member, &view), BB_OK);
    assert_true(test_table_equals_run(table, &view, &error));
    assert_int_equal(view.revision, revision);
    assert_int_equal(view.first_wall_ns, table->times[0]);
    assert_int_equal(view.last_wall_ns, table->times[table->row_count - 1]);
    assert_int_equal(bb_run_verify(&view), BB_OK);
    s_check_blocks(&view);
    bb_slice_t encoded = test_table_encode(table, revision);
    assert_int_equal(bb_run_open(&own, encoded, NULL), BB_OK);
    assert_int_equal(view.point_count, own.point_count);
    s_expect_same_stats(&view, &own);
    test_slice_free(encoded);
}

// The points of all members at once have the fingerprint of all views.
static void s_check_fingerprint(bb_shared_run_t *shared)
{
    static const uint8_t key[BB_FINGERPRINT_KEY_BYTES] = {9};
    const bb_run_t *whole = bb_shared_run_whole(shared);
    uint32_t metric_count = bb_run_column(whole, whole->column_count - 1).metric + 1;
    bb_fingerprint_name_t *metrics = bb_alloc(metric_count * sizeof *metrics);
    for (uint32_t i = 0; i < metric_count; i++) {
        metrics[i] = bb_fingerprint_name(key, BB_FINGERPRINT_METRIC, bb_slice(&i, sizeof i));
    }
    bb_fingerprint_name_t batteries[S_MEMBERS_MAX];
    bb_fingerprint_names_t names = {key, {0, 0}, metrics, metric_count};
    bb_fingerprint_t each = {0};
    bb_fingerprint_t all = {0};
    for (uint32_t m = 0; m < whole->member_count; m++) {
        bb_run_t view;
        uint32_t number = bb_shared_run_battery(shared, m);
        batteries[m] =
            bb_fingerprint_name(key, BB_FINGERPRINT_BATTERY, bb_slice(&number, sizeof number));
        names.battery = batteries[m];
        assert_int_equal(bb_shared_run_view(shared, m, &view), BB_OK);
        assert_int_equal(bb_fingerprint_add_run(&each, &names, &view), BB_OK);
    }
    assert_int_equal(bb_fingerprint_add_shared(&all, &names, batteries, shared), BB_OK);
    assert_true(all.low == each.low && all.high == each.high);
    assert_true(all.low != 0 || whole->point_count == 0);
    names.metric_count--;
    assert_int_equal(bb_fingerprint_add_shared(&all, &names, batteries, shared), BB_ERR_CORRUPT);
    free(metrics);
}

static void test_views_read_like_runs_of_their_own(void **state)
{
    (void)state;
    static s_fleet_t fleet;
    bb_random_t random = bb_random_seed(77);
    bb_shared_run_t *shared = bb_shared_run_new();
    for (uint32_t round = 0; round < 120; round++) {
        uint32_t members = 1 + test_below(&random, S_MEMBERS_MAX);
        uint32_t rows_max = round % 3 == 0 ? 1 : round % 3 == 1 ? 12 : 150;
        s_make(&fleet, &random, members, rows_max, 1 + test_below(&random, TEST_COLUMNS_MAX));
        bb_slice_t encoded = s_encode(&fleet, round);
        bb_run_t run;
        assert_int_equal(bb_run_open(&run, encoded, NULL), BB_ERR_CORRUPT); // not of one battery
        assert_int_equal(bb_shared_run_open(shared, encoded, NULL), BB_OK);
        for (uint32_t m = 0; m < members; m++) {
            s_check_member(shared, &fleet, m, round);
        }
        s_check_fingerprint(shared);
        assert_int_equal(bb_shared_run_find(shared, S_PARTITION + 1, fleet.batteries[0]),
                         UINT32_MAX);
        assert_int_equal(bb_shared_run_find(shared, S_PARTITION, fleet.batteries[members - 1] + 1),
                         UINT32_MAX);
        test_slice_free(encoded);
        s_free(&fleet);
    }
    bb_shared_run_destroy(&shared);
}

// Goal: what one block of a shared run says of itself is not taken for what another one is. Method:
// a first block of whole numbers and rows ten seconds apart, then members in later blocks of
// numbers with one digit more behind the point each, of which some lack rows, at other times.
static void test_blocks_are_not_mixed_up(void **state)
{
    (void)state;
    static s_fleet_t fleet;
    bb_random_t random = bb_random_seed(78);
    bb_shared_run_t *shared = bb_shared_run_new();
    s_make(&fleet, &random, 4, 1, 1);
    test_table_free(&fleet.joined);
    for (uint32_t m = 0; m < fleet.member_count; m++) {
        test_table_t *table = &fleet.tables[m];
        test_table_free(table);
        test_table_init(table, &random, BB_BLOCK_ROWS_MAX, 1);
        fleet.member_rows[m] = table->row_count;
        free(table->presence[0]);
        table->presence[0] = NULL;
        for (uint32_t row = 0; row < table->row_count; row++) {
            int64_t number = 1000000 + (int64_t)test_below(&random, 100000) * 10 + 7;
            table->values[0][row] = bb_bits_of_double((double)number / pow(10, m));
            table->times[row] = (int64_t)(row * (10 + m) + 100 * m) * BB_NS_PER_S;
        }
        if (m == 2) {
            table->presence[0] = bb_alloc(BB_PRESENCE_WORDS * sizeof(uint64_t));
            memset(table->presence[0], 0x77, BB_PRESENCE_WORDS * sizeof(uint64_t));
        }
        table->columns[0].presence = table->presence[0];
    }
    s_join(&fleet, 1);
    bb_slice_t encoded = s_encode(&fleet, 5);
    assert_int_equal(bb_shared_run_open(shared, encoded, NULL), BB_OK);
    assert_true(bb_shared_run_whole(shared)->block_count >= 4);
    for (uint32_t m = 0; m < fleet.member_count; m++) {
        s_check_member(shared, &fleet, m, 5);
    }
    test_slice_free(encoded);
    s_free(&fleet);
    bb_shared_run_destroy(&shared);
}

// Every flipped bit is met by an error or changes nothing that is read.
static void s_try_damage(const s_fleet_t *fleet, bb_slice_t damaged)
{
    bb_shared_run_t *shared = bb_shared_run_new();
    if (bb_shared_run_open(shared, damaged, NULL) == BB_OK) {
        for (uint32_t m = 0; m < fleet->member_count; m++) {
            bb_run_t view;
            uint32_t member = bb_shared_run_find(shared, S_PARTITION, fleet->batteries[m]);
            assert_int_equal(member, m);
            bb_error_t error = bb_shared_run_view(shared, member, &view);
            if (error == BB_OK && !test_table_equals_run(&fleet->tables[m], &view, &error)) {
                assert_int_not_equal(error, BB_OK);
            }
        }
    }
    bb_shared_run_destroy(&shared);
}

static void test_damage_is_never_read(void **state)
{
    (void)state;
    static s_fleet_t fleet;
    bb_random_t random = bb_random_seed(5);
    for (uint32_t round = 0; round < 3; round++) {
        s_make(&fleet, &random, 5 + round * 10, 3 + round * 60, 4);
        bb_slice_t encoded = s_encode(&fleet, 3);
        uint8_t *copy = bb_alloc(encoded.length);
        size_t step = 1 + encoded.length / 400;
        for (size_t at = 0; at < encoded.length; at += step) {
            memcpy(copy, encoded.data, encoded.length);
            copy[at] ^= (uint8_t)(1u << test_below(&random, 8));
            s_try_damage(&fleet, bb_slice(copy, encoded.length));
        }
        free(copy);
        test_slice_free(encoded);
        s_free(&fleet);
    }
}

// With checksums made right as well, nothing is read outside of the run and no view breaks the
// rules of a run.
static void test_forged_bytes_end_in_errors(void **state)
{
    (void)state;
    static s_fleet_t fleet;
    bb_random_t random = bb_random_seed(6);
    s_make(&fleet, &random, 20, 9, 4);
    bb_slice_t encoded = s_encode(&fleet, 3);
    bb_shared_run_t *shared = bb_shared_run_new();
    uint32_t opened = 0;
    for (uint32_t round = 0; round < bb_rounds(4000); round++) {
        uint8_t *copy = bb_alloc(encoded.length);
        memcpy(copy, encoded.data, encoded.length);
        size_t reach = round % 2 ? encoded.length : BB_MIN(encoded.length, (size_t)200);
        copy[2 + test_below(&random, (uint32_t)reach - 2)] = (uint8_t)bb_random_next(&random);
        if (bb_run_sign(copy, encoded.length) &&
            bb_shared_run_open(shared, bb_slice(copy, encoded.length), NULL) == BB_OK) {
            const bb_run_t *whole = bb_shared_run_whole(shared);
            uint64_t rows = 0;
            opened++;
            for (uint32_t m = 0; m < whole->member_count; m++) {
                bb_run_t view;
                if (bb_shared_run_view(shared, m, &view) == BB_OK) {
                    bb_error_t error = bb_run_verify(&view);
                    bb_ignore(error, "any outcome is fine");
                }
                uint32_t count;
                const bb_shared_stretch_t *at = bb_shared_run_stretches(shared, m, &count);
                for (uint32_t i = 0; i < count; i++) {
                    rows += at[i].rows;
                }
            }
            assert_int_equal(rows, whole->row_count);
        }
        free(copy);
    }
    assert_true(opened > bb_rounds(4000) / 40);
    bb_shared_run_destroy(&shared);
    test_slice_free(encoded);
    s_free(&fleet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_read_like_runs_of_their_own),
        cmocka_unit_test(test_blocks_are_not_mixed_up),
        cmocka_unit_test(test_damage_is_never_read),
        cmocka_unit_test(test_forged_bytes_end_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

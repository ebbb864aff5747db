// SPDX-License-Identifier: Apache-2.0
// Goal: a run gives back every point and statistic that was written, and damage of any byte is an
// error or harmless, never a crash or a wrong value. Method: random tables of all types, with and
// without absent rows; exact-size copies; every truncation, every flip; forged checksums; a golden
// file. `test_bb_run --write-golden` rewrites the golden file and is used once per format version.
#include "storage/segment/bb_run.h"

#include <math.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_stats.h"
#include "tests/unit/storage/run_table.h"

// What bb_run_block_stats must say, from the table, one point at a time.
static void s_check_stats(const test_table_t *table, const bb_run_t *run)
{
    for (uint32_t column = 0; column < run->column_count; column++) {
        bb_type_t type = table->columns[column].type;
        for (uint32_t block = 0; block < run->block_count; block++) {
            bb_block_stats_t expected = {0};
            bb_block_stats_t found;
            uint32_t begin = bb_run_block_first(run, block);
            for (uint32_t row = begin; row < begin + bb_run_block_rows(run, block); row++) {
                if (test_table_has(table, column, row)) {
                    bb_stats_add(&expected, type, table->times[row], table->values[column][row]);
                }
            }
            assert_int_equal(bb_run_block_stats(run, column, block, &found), BB_OK);
            assert_int_equal(found.count, expected.count);
            if (expected.count == 0) {
                const bb_block_stats_t empty = {0};
                assert_memory_equal(&found, &empty, sizeof empty);
                continue;
            }
            assert_int_equal(found.first_wall_ns, expected.first_wall_ns);
            assert_int_equal(found.last_wall_ns, expected.last_wall_ns);
            assert_true(test_same_value(type, found.min, expected.min));
            assert_true(test_same_value(type, found.max, expected.max));
            assert_true(test_same_value(type, found.first, expected.first));
            assert_true(test_same_value(type, found.last, expected.last));
            assert_true(bb_sum_is_equal(&found.sum, &expected.sum));
        }
    }
}

static void s_check_table(const test_table_t *table, uint64_t revision)
{
    bb_slice_t encoded = test_table_encode(table, revision);
    bb_run_t run;
    bb_fault_t fault = {0};
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_OK);
    assert_int_equal(run.revision, revision);
    assert_int_equal(run.first_wall_ns, table->times[0]);
    assert_int_equal(run.last_wall_ns, table->times[table->row_count - 1]);
    bb_error_t error;
    assert_true(test_table_equals_run(table, &run, &error));
    s_check_stats(table, &run);
    assert_int_equal(bb_run_verify(&run), BB_OK);
    uint64_t points = 0;
    for (uint32_t column = 0; column < table->column_count; column++) {
        for (uint32_t row = 0; row < table->row_count; row++) {
            points += test_table_has(table, column, row);
        }
    }
    assert_int_equal(run.point_count, points);
    test_slice_free(encoded);
}

static void test_round_trips(void **context)
{
    (void)context;
    static const uint32_t edges[] = {1, 2, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 3000};
    bb_random_t random = bb_random_seed(21);
    test_table_t table;
    for (uint32_t round = 0; round < 120; round++) {
        uint32_t rows = round < BB_COUNT_OF(edges)
                            ? edges[round]
                            : 1 + test_below(&random, round % 3 ? 100 : 3000);
        test_table_init(&table, &random, rows, 1 + test_below(&random, TEST_COLUMNS_MAX));
        s_check_table(&table, bb_random_next(&random));
        test_table_free(&table);
    }
}

// One writer for many runs: nothing of one run may show in the next.
static void test_writer_keeps_nothing(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(22);
    bb_run_writer_t *writer = bb_run_writer_new();
    for (uint32_t round = 0; round < 30; round++) {
        test_table_t table;
        test_table_init(&table, &random, 1 + test_below(&random, 1500), 4);
        bb_run_input_t input = test_table_input(&table, round);
        bb_slice_t reused = bb_run_writer_encode(writer, &input);
        bb_run_t run;
        bb_error_t error;
        assert_int_equal(bb_run_open(&run, reused, NULL), BB_OK);
        assert_true(test_table_equals_run(&table, &run, &error));
        assert_int_equal(bb_run_verify(&run), BB_OK);
        test_table_free(&table);
    }
    bb_run_writer_destroy(&writer);
    assert_null(writer);
    bb_run_writer_destroy(&writer);
}

static void test_find_names_the_first_column(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(23);
    test_table_t table;
    test_table_init(&table, &random, 10, 10);
    bb_slice_t encoded = test_table_encode(&table, 0);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    assert_int_equal(bb_run_find(&run, 10), 0);
    assert_int_equal(bb_run_find(&run, 17), 4);
    assert_int_equal(bb_run_find(&run, 24), 8);
    assert_int_equal(bb_run_find(&run, 0), UINT32_MAX);
    assert_int_equal(bb_run_find(&run, 11), UINT32_MAX);
    assert_int_equal(bb_run_find(&run, UINT32_MAX), UINT32_MAX);
    test_slice_free(encoded);
    test_table_free(&table);
}

static void test_points_of_a_range(void **context)
{
    (void)context;
    static int64_t block_times[BB_BLOCK_ROWS_MAX];
    static int64_t times[BB_BLOCK_ROWS_MAX];
    static uint64_t values[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(24);
    test_table_t table;
    test_table_init(&table, &random, 1500, 8);
    bb_slice_t encoded = test_table_encode(&table, 0);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t column = test_below(&random, 8);
        uint32_t block = test_below(&random, 2);
        // Bounds on rows, between rows, outside, and in the wrong order.
        int64_t from = table.times[test_below(&random, 1500)] + (int64_t)test_below(&random, 2);
        int64_t to = table.times[test_below(&random, 1500)] + (int64_t)test_below(&random, 2);
        from = round % 10 == 0 ? INT64_MIN : from;
        to = round % 10 < 2 ? INT64_MAX : to;
        uint32_t count;
        assert_int_equal(bb_run_block_times(&run, block, block_times), BB_OK);
        assert_int_equal(
            bb_run_block_points(&run, column, block, block_times, from, to, times, values, &count),
            BB_OK);
        uint32_t expected = 0;
        uint32_t begin = bb_run_block_first(&run, block);
        for (uint32_t row = begin; row < begin + bb_run_block_rows(&run, block); row++) {
            if (table.times[row] < from || table.times[row] >= to ||
                !test_table_has(&table, column, row)) {
                continue;
            }
            assert_true(expected < count);
            assert_int_equal(times[expected], table.times[row]);
            assert_true(test_same_value(table.columns[column].type, values[expected],
                                        table.values[column][row]));
            expected++;
        }
        assert_int_equal(count, expected);
    }
    test_slice_free(encoded);
    test_table_free(&table);
}

// ---- damage
// ---------------------------------------------------------------------------------------

// Opens and reads everything. BB_OK only if all of it is what the table says.
static bb_error_t s_read(const test_table_t *table, bb_slice_t encoded)
{
    bb_run_t run;
    bb_error_t error = bb_run_open(&run, encoded, NULL);
    if (error != BB_OK) {
        return error;
    }
    bool same = test_table_equals_run(table, &run, &error);
    assert_true(same || error != BB_OK); // never a wrong value
    return error;
}

static void test_truncation_is_detected(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(25);
    test_table_t table;
    test_table_init(&table, &random, 70, 4);
    bb_slice_t encoded = test_table_encode(&table, 3);
    for (size_t length = 0; length < encoded.length; length++) {
        uint8_t *copy = bb_alloc(length);
        memcpy(copy, encoded.data, length);
        assert_int_equal(s_read(&table, bb_slice(copy, length)), BB_ERR_CORRUPT);
        free(copy);
    }
    uint8_t *longer = bb_alloc_zero(1, encoded.length + 8);
    memcpy(longer, encoded.data, encoded.length);
    assert_int_equal(s_read(&table, bb_slice(longer, encoded.length + 8)), BB_ERR_CORRUPT);
    free(longer);
    test_slice_free(encoded);
    test_table_free(&table);
}

static void test_every_flip_is_detected_or_harmless(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(26);
    for (uint32_t round = 0; round < 4; round++) {
        test_table_t table;
        // Small with one checksum, longer with statistics, and several blocks.
        test_table_init(&table, &random, round < 2 ? 40 + round * 9 : 300 + (round - 2) * 900, 5);
        bb_slice_t encoded = test_table_encode(&table, 3);
        uint8_t *bytes = (uint8_t *)(uintptr_t)encoded.data;
        size_t harmless = 0;
        for (size_t at = 0; at < encoded.length; at++) {
            for (uint32_t bit = at % 4; bit < 8; bit += round < 2 ? 2 : 4) {
                bytes[at] ^= (uint8_t)(1u << bit);
                bb_error_t error = s_read(&table, encoded);
                assert_true(error == BB_OK || error == BB_ERR_CORRUPT ||
                            (error == BB_ERR_FORMAT && (at == 1 || at == 2)));
                harmless += error == BB_OK;
                bytes[at] ^= (uint8_t)(1u << bit);
            }
        }
        assert_int_equal(harmless, 0);
        assert_int_equal(s_read(&table, encoded), BB_OK);
        test_slice_free(encoded);
        test_table_free(&table);
    }
}

// Makes the checksum right again; and those of the blocks, if there are any.
static void s_sign(uint8_t *bytes, const bb_run_t *layout, bool with_blocks)
{
    const uint8_t *from = layout->encoded.data;
    size_t length = layout->encoded.length;
    size_t head_bytes = (size_t)(layout->blocks_raw - from);
    size_t parts = ((size_t)layout->column_count + 1) * layout->block_count;
    size_t offset = head_bytes;
    for (size_t part = 0; with_blocks && layout->checksums_raw && part < parts; part++) {
        bool is_wide = (layout->widths & BB_RUN_LENGTHS_WIDE) != 0;
        size_t bytes_of_part =
            is_wide ? bb_run_format_u16(layout->lengths_raw + part * 2) : layout->lengths_raw[part];
        uint32_t checksum = bb_crc32c(0, bytes + offset, bytes_of_part);
        memcpy(bytes + (layout->checksums_raw - from) + part * 4, &checksum, 4);
        offset += bytes_of_part;
    }
    size_t covered = layout->flags & BB_RUN_WHOLE ? length : head_bytes;
    uint32_t checksum = bb_crc32c(0, bytes, 4);
    checksum = bb_crc32c(checksum, bytes + 8, covered - 8);
    memcpy(bytes + 4, &checksum, 4);
}

static void test_newer_versions_and_encodings_are_named(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(27);
    test_table_t table;
    test_table_init(&table, &random, 30, 2);
    bb_slice_t encoded = test_table_encode(&table, 3);
    uint8_t *bytes = (uint8_t *)(uintptr_t)encoded.data;
    bb_run_t layout;
    bb_run_t run;
    bb_fault_t fault;
    assert_int_equal(bb_run_open(&layout, encoded, &fault), BB_OK);
    bytes[1] = '3';
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
    assert_non_null(strstr(fault.text, "version"));
    bytes[1] = '2';
    bytes[2] ^= 0x80; // a flag that nobody knows yet
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
    bytes[2] ^= 0x80;

    // Of the times and of the first column.
    for (size_t part = 0; part < 2; part++) {
        uint8_t *encoding = bytes + (layout.encodings_raw - bytes) + part;
        uint8_t before = *encoding;
        *encoding = (before & BB_RUN_LACKS_ROWS) | 99;
        s_sign(bytes, &layout, true);
        assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
        assert_non_null(strstr(fault.text, "encoding"));
        *encoding = before;
    }
    test_slice_free(encoded);
    test_table_free(&table);
}

// A head that verifies but lies is refused when it is opened or when it is verified, unless it says
// something else that is as good: another revision or metric.
static void test_lies_of_the_directory_are_refused(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(28);
    for (uint32_t round = 0; round < 3; round++) {
        test_table_t table;
        test_table_init(&table, &random, round == 0 ? 40 : round == 1 ? 300 : 1100, 4);
        free(table.presence[3]);
        table.presence[3] = NULL;
        table.columns[3].presence = NULL; // a state column, so there are texts
        bb_slice_t encoded = test_table_encode(&table, 3);
        bb_run_t layout;
        assert_int_equal(bb_run_open(&layout, encoded, NULL), BB_OK);
        size_t head_bytes = (size_t)(layout.blocks_raw - (const uint8_t *)encoded.data);
        uint8_t *copy = bb_alloc(encoded.length);
        for (size_t bit = 16; bit < head_bytes * 8; bit++) {
            if (bit >= 32 && bit < 64) {
                continue; // the checksum
            }
            memcpy(copy, encoded.data, encoded.length);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            s_sign(copy, &layout, false);
            bb_run_t run;
            bb_error_t error = bb_run_open(&run, bb_slice(copy, encoded.length), NULL);
            assert_true(error == BB_OK || error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT);
            if (error == BB_OK) {
                error = bb_run_verify(&run);
            }
            if (error != BB_OK) {
                continue;
            }
            bool is_other = run.revision != 3;
            for (uint32_t i = 0; i < run.column_count; i++) {
                bb_run_column_info_t info = bb_run_column(&run, i);
                is_other |=
                    info.metric != table.columns[i].metric || info.type != table.columns[i].type;
            }
            is_other |= run.first_wall_ns != table.times[0] || run.text_count != layout.text_count;
            // Or bytes of a text.
            bool same = is_other || test_table_equals_run(&table, &run, &error);
            bool is_text =
                layout.texts_raw &&
                copy + bit / 8 >= copy + (layout.texts_raw - (const uint8_t *)encoded.data);
            assert_true(same || is_text);
        }
        free(copy);
        test_slice_free(encoded);
        test_table_free(&table);
    }
}

// Random damage with all checksums made right again: anything may be refused or read, but in
// bounds.
static void test_forged_runs_are_safe(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(29);
    uint32_t opened = 0;
    for (uint32_t table_round = 0; table_round < 3; table_round++) {
        test_table_t table;
        test_table_init(&table, &random, table_round == 0 ? 60 : table_round == 1 ? 300 : 1500, 6);
        bb_slice_t encoded = test_table_encode(&table, 3);
        bb_run_t layout;
        assert_int_equal(bb_run_open(&layout, encoded, NULL), BB_OK);
        size_t head_bytes = (size_t)(layout.blocks_raw - (const uint8_t *)encoded.data);
        uint8_t *copy = bb_alloc(encoded.length);
        for (uint32_t round = 0; round < 3000; round++) {
            memcpy(copy, encoded.data, encoded.length);
            uint32_t flips = 1 + test_below(&random, 3);
            for (uint32_t i = 0; i < flips; i++) {
                // The head, or the blocks.
                size_t at =
                    round % 2 ? 8 + bb_random_below(&random, head_bytes - 8)
                              : head_bytes + bb_random_below(&random, encoded.length - head_bytes);
                copy[at] ^= (uint8_t)(1u << test_below(&random, 8));
            }
            s_sign(copy, &layout, round % 2 == 0);
            bb_run_t run;
            bb_error_t error = bb_run_open(&run, bb_slice(copy, encoded.length), NULL);
            assert_true(error == BB_OK || error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT);
            if (error == BB_OK) {
                error = bb_run_verify(&run);
                assert_true(error == BB_OK || error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT);
                opened++;
            }
        }
        free(copy);
        test_slice_free(encoded);
        test_table_free(&table);
    }
    assert_true(opened > 3000); // the blocks of half of them, at least
}

// ---- blocks ----------------------------------------------------------------------------------
static void assert_stats(bb_type_t type, const bb_block_stats_t *found,
                         const bb_block_stats_t *expected)
{
    assert_int_equal(found->count, expected->count);
    assert_int_equal(found->first_wall_ns, expected->first_wall_ns);
    assert_int_equal(found->last_wall_ns, expected->last_wall_ns);
    assert_true(bb_sum_is_equal(&found->sum, &expected->sum));
    if (found->count > 0) {
        assert_true(test_same_value(type, found->min, expected->min));
        assert_true(test_same_value(type, found->max, expected->max));
        assert_true(test_same_value(type, found->first, expected->first));
        assert_true(test_same_value(type, found->last, expected->last));
    }
}

// Any part of any block, packed or lacking rows, aggregates to what its points give one by one;
// whole columns too.
static void test_aggregates_of_parts(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(30);
    for (uint32_t round = 0; round < 12; round++) {
        test_table_t table;
        test_table_init(&table, &random, round % 2 ? 1300 : 90, 8);
        bb_slice_t encoded = test_table_encode(&table, 0);
        bb_run_t run;
        assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
        for (uint32_t i = 0; i < 200; i++) {
            uint32_t column = test_below(&random, 8);
            uint32_t block = test_below(&random, run.block_count);
            uint32_t rows = bb_run_block_rows(&run, block);
            uint32_t first = i % 5 == 0 ? 0 : test_below(&random, rows);
            uint32_t limit = i % 5 == 0 ? rows : first + 1 + test_below(&random, rows - first);
            static int64_t times[BB_BLOCK_ROWS_MAX];
            assert_int_equal(bb_run_block_times(&run, block, times), BB_OK);
            bb_type_t type = table.columns[column].type;
            bb_block_stats_t expected = {0};
            for (uint32_t row = first; row < limit; row++) {
                uint32_t at = bb_run_block_first(&run, block) + row;
                if (test_table_has(&table, column, at)) {
                    bb_stats_add(&expected, type, table.times[at], table.values[column][at]);
                }
            }
            bb_block_stats_t found;
            assert_int_equal(bb_run_block_aggregate(&run, column, block, first, limit,
                                                    i % 2 ? times : NULL, &found),
                             BB_OK);
            assert_stats(type, &found, &expected);
        }
        for (uint32_t column = 0; column < run.column_count; column++) {
            bb_type_t type = table.columns[column].type;
            bb_block_stats_t expected = {0}, found;
            for (uint32_t row = 0; row < run.row_count; row++) {
                if (test_table_has(&table, column, row)) {
                    bb_stats_add(&expected, type, table.times[row], table.values[column][row]);
                }
            }
            assert_int_equal(bb_run_column_aggregate(&run, column, &found), BB_OK);
            assert_stats(type, &found, &expected);
        }
        test_slice_free(encoded);
        test_table_free(&table);
    }
}

// Where an hour has more rows than a block holds, blocks end with the hour, so that the statistics
// of blocks answer for hours: no block is cut by a bucket.
static void test_hours_of_dense_runs(void **context)
{
    (void)context;
    const uint32_t rows = 3 * 3600;
    test_table_t table = {.row_count = rows, .column_count = 1};
    table.times = bb_alloc(rows * sizeof *table.times);
    table.values[0] = bb_alloc(rows * sizeof(uint64_t));
    for (uint32_t row = 0; row < rows; row++) {
        // From 30 minutes past an hour.
        table.times[row] = INT64_C(1767225600000000000) + (1800 + (int64_t)row) * BB_NS_PER_S;
        table.values[0][row] = bb_bits_of_double((double)(row * 7 % 1000) / 10.0);
    }
    table.columns[0] = (bb_run_column_t){5, BB_TYPE_FLOAT64, table.values[0], NULL};
    bb_slice_t encoded = test_table_encode(&table, 0);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    int64_t hour = INT64_C(1767225600) / 3600;
    for (uint32_t i = 0; i < 4; i++) {
        bb_block_stats_t expected = {0};
        for (uint32_t row = 0; row < rows; row++) {
            if (table.times[row] / (3600 * BB_NS_PER_S) == hour + i) {
                bb_stats_add(&expected, BB_TYPE_FLOAT64, table.times[row], table.values[0][row]);
            }
        }
        bb_block_stats_t found = {0};
        for (uint32_t block = 0; block < run.block_count; block++) {
            int64_t first_wall_ns, last_wall_ns;
            bb_run_block_range(&run, block, &first_wall_ns, &last_wall_ns);
            assert_true(first_wall_ns / (3600 * BB_NS_PER_S) ==
                        last_wall_ns / (3600 * BB_NS_PER_S));
            if (first_wall_ns / (3600 * BB_NS_PER_S) == hour + i) {
                bb_block_stats_t part;
                assert_int_equal(bb_run_block_stats(&run, 0, block, &part), BB_OK);
                bb_stats_merge(&found, BB_TYPE_FLOAT64, &part);
            }
        }
        assert_int_equal(found.count, expected.count);
        assert_int_equal(found.count, i == 0 || i == 3 ? 1800 : 3600);
        assert_true(found.min == expected.min && found.max == expected.max);
        assert_true(found.first == expected.first && found.last == expected.last);
        assert_int_equal(found.first_wall_ns, expected.first_wall_ns);
        assert_int_equal(found.last_wall_ns, expected.last_wall_ns);
    }
    test_slice_free(encoded);
    test_table_free(&table);
}

// A quiet battery: what a run costs besides its values.
static void test_small_runs_are_small(void **context)
{
    (void)context;
    enum { ROWS = 20, COLUMNS = 12 };
    test_table_t table = {.row_count = ROWS, .column_count = COLUMNS};
    table.times = bb_alloc(ROWS * sizeof *table.times);
    for (uint32_t row = 0; row < ROWS; row++) {
        table.times[row] = INT64_C(1767225600300000000) + row * 60 * BB_NS_PER_S;
    }
    for (uint32_t i = 0; i < COLUMNS; i++) {
        table.values[i] = bb_alloc(ROWS * sizeof(uint64_t));
        for (uint32_t row = 0; row < ROWS; row++) {
            table.values[i][row] = bb_bits_of_double(48.0);
        }
        table.columns[i] = (bb_run_column_t){100 + i, BB_TYPE_FLOAT64, table.values[i], NULL};
    }
    bb_slice_t encoded = test_table_encode(&table, 0);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    size_t head_bytes = (size_t)(run.blocks_raw - (const uint8_t *)encoded.data);
    assert_true(head_bytes <= 60);
    test_slice_free(encoded);
    test_table_free(&table);
}

// Columns that follow from others are written as differences to a guess, and come back all the
// same: values, parts of a block, statistics; also when one of the others lacks rows.
static void test_predicted_columns(void **context)
{
    (void)context;
    enum { ROWS = 9 * BB_BLOCK_ROWS_MAX, COLUMNS = 4 };
    bb_random_t random = bb_random_seed(35);
    test_table_t table = {.row_count = ROWS, .column_count = COLUMNS};
    table.times = bb_alloc(ROWS * sizeof *table.times);
    test_times(&random, TEST_REGULAR, table.times, ROWS);
    for (uint32_t i = 0; i < COLUMNS; i++) {
        table.values[i] = bb_alloc(ROWS * sizeof(uint64_t));
        table.columns[i] = (bb_run_column_t){3 + i, BB_TYPE_FLOAT64, table.values[i], NULL};
    }
    double current = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        double voltage = (double)(480000 + (int)test_below(&random, 20000)) / 1000.0;
        current += (double)test_below(&random, 4001) / 10.0 - 200.0;
        current = nearbyint(current * 10) / 10;
        double power = nearbyint(voltage * current / 10.0) / 100.0;
        table.values[0][row] = bb_bits_of_double(voltage);
        table.values[1][row] = bb_bits_of_double(current);
        table.values[2][row] = bb_bits_of_double(power);
        table.values[3][row] = bb_bits_of_double((double)test_below(&random, 50));
    }
    // The last column lacks rows in one block: the list of those that have all is shorter there.
    table.presence[3] = bb_alloc(ROWS / 64 * sizeof(uint64_t));
    memset(table.presence[3], 0xff, ROWS / 8);
    table.presence[3][7 * BB_BLOCK_ROWS_MAX / 64] = 0x7ffffffffffffff0;
    table.columns[3].presence = table.presence[3];
    s_check_table(&table, 5);
    bb_slice_t encoded = test_table_encode(&table, 5);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, encoded, NULL), BB_OK);
    uint32_t predicted = 0;
    for (uint32_t slot = 1; slot <= COLUMNS; slot++) {
        for (uint32_t block = 0; block < run.block_count; block++) {
            predicted += run.encodings_raw[slot * run.block_count + block] == BB_ENCODING_PREDICTED;
        }
    }
    assert_true(predicted > 0);
    for (uint32_t i = 0; i < 50; i++) {
        uint32_t block = test_below(&random, run.block_count);
        uint32_t first = test_below(&random, BB_BLOCK_ROWS_MAX);
        uint32_t limit = first + 1 + test_below(&random, BB_BLOCK_ROWS_MAX - first);
        bb_block_stats_t expected = {0};
        bb_block_stats_t found;
        for (uint32_t row = first; row < limit; row++) {
            uint32_t at = block * BB_BLOCK_ROWS_MAX + row;
            bb_stats_add(&expected, BB_TYPE_FLOAT64, table.times[at], table.values[2][at]);
        }
        assert_int_equal(bb_run_block_aggregate(&run, 2, block, first, limit, NULL, &found), BB_OK);
        assert_int_equal(found.count, expected.count);
        assert_true(found.min == expected.min && found.max == expected.max);
        assert_true(found.first == expected.first && found.last == expected.last);
        assert_int_equal(found.first_wall_ns, expected.first_wall_ns);
    }
    // Whole columns, what is predicted before and after what it is predicted from; then again, when
    // the totals that came with the peers are used up.
    for (uint32_t i = 0; i < 4 * COLUMNS; i++) {
        uint32_t column = i / COLUMNS % 2 ? i % COLUMNS : COLUMNS - 1 - i % COLUMNS;
        bb_block_stats_t expected = {0}, found;
        for (uint32_t row = 0; row < ROWS; row++) {
            if (test_table_has(&table, column, row)) {
                bb_stats_add(&expected, BB_TYPE_FLOAT64, table.times[row],
                             table.values[column][row]);
            }
        }
        assert_int_equal(bb_run_column_aggregate(&run, column, &found), BB_OK);
        assert_stats(BB_TYPE_FLOAT64, &found, &expected);
    }
    test_slice_free(encoded);
    test_table_free(&table);
}

// ---- golden file
// ------------------------------------------------------------------------------------

#define GOLDEN_ROWS    1100
#define GOLDEN_COLUMNS 10

// One column for each encoding, and each type; no generator, so that other programs can repeat it.
static void s_golden_table(test_table_t *table)
{
    memset(table, 0, sizeof *table);
    table->row_count = GOLDEN_ROWS;
    table->column_count = GOLDEN_COLUMNS;
    table->times = bb_alloc(GOLDEN_ROWS * sizeof *table->times);
    for (uint32_t i = 0; i < GOLDEN_COLUMNS; i++) {
        table->values[i] = bb_alloc(GOLDEN_ROWS * sizeof(uint64_t));
    }
    table->presence[2] = bb_alloc_zero((GOLDEN_ROWS + 63) / 64, 8);
    for (uint32_t row = 0; row < GOLDEN_ROWS; row++) {
        int64_t noise = (int64_t)(row * UINT32_C(2654435761) >> 24); // [0, 256)
        table->times[row] = INT64_C(1767225600000000000) + row * BB_NS_PER_S +
                            (row >= 500 ? 3600 * BB_NS_PER_S : 0) +
                            (row % 7 == 0 ? noise % 5 * BB_NS_PER_MS : 0);
        table->values[0][row] = bb_bits_of_double(48.0);                              // constant
        table->values[1][row] = bb_bits_of_double((double)(3600 + noise) / 1000.0);   // decimal_for
        table->values[2][row] = bb_bits_of_double((double)(-17 + noise % 40) / 10.0); // with gaps
        table->values[3][row] =
            bb_bits_of_double((double)(INT64_C(700) * row + noise % 4) / 100.0); // decimal_delta
        table->values[4][row] = (uint64_t)row * row * 500 - 7;                   // delta2, from -7
        table->values[5][row] =
            bb_bits_of_double(1.0 / (double)(row + 3)) * UINT64_C(0x9e3779b97f4a7c15); // raw
        table->values[6][row] = bb_bits_of_double((double)((float)noise / 7.0f)); // for, scale 2^29
        table->values[7][row] = row / 100 % 2;                                    // bool
        table->values[8][row] = test_text_bits(row / 90 % TEST_TEXT_COUNT);       // state
        table->values[9][row] = (uint64_t)(row * INT64_C(1000) + noise % 3 * 100); // delta
        if (row % 3 != 1) {
            table->presence[2][row / 64] |= UINT64_C(1) << (row % 64);
        }
    }
    table->values[1][17] = test_special_doubles[1];  // -0.0
    table->values[1][900] = test_special_doubles[6]; // a NaN with a payload
    static const bb_type_t types[GOLDEN_COLUMNS] = {
        BB_TYPE_FLOAT64, BB_TYPE_FLOAT64, BB_TYPE_FLOAT64, BB_TYPE_FLOAT64, BB_TYPE_INT64,
        BB_TYPE_FLOAT64, BB_TYPE_FLOAT64, BB_TYPE_BOOL,    BB_TYPE_STATE,   BB_TYPE_INT64,
    };
    for (uint32_t i = 0; i < GOLDEN_COLUMNS; i++) {
        table->columns[i] =
            (bb_run_column_t){i * 3, types[i], table->values[i], table->presence[i]};
    }
}

static void s_golden_path(char *path, size_t size)
{
    snprintf(path, size, "%s/tests/golden/disk/run_v2.bin", BB_SOURCE_DIR);
}

// Version 2 stays readable for ever. What the writer chooses may change; what the ids mean may not.
static void test_golden_file_is_read(void **context)
{
    (void)context;
    char path[512];
    s_golden_path(path, sizeof path);
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail_msg("golden file is missing: %s", path);
    }
    uint8_t *bytes = bb_alloc(1u << 20);
    size_t length = fread(bytes, 1, 1u << 20, file);
    fclose(file);

    test_table_t table;
    s_golden_table(&table);
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, bb_slice(bytes, length), NULL), BB_OK);
    assert_int_equal(run.revision, 42);
    bb_error_t error;
    assert_true(test_table_equals_run(&table, &run, &error));
    s_check_stats(&table, &run);
    assert_int_equal(bb_run_verify(&run), BB_OK);

    test_table_free(&table);
    free(bytes);
}

static int s_write_golden(void)
{
    char path[512];
    s_golden_path(path, sizeof path);
    test_table_t table;
    s_golden_table(&table);
    bb_slice_t encoded = test_table_encode(&table, 42);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(encoded.data, 1, encoded.length, file) != encoded.length ||
        fclose(file) != 0) {
        perror(path);
        return 1;
    }
    test_slice_free(encoded);
    test_table_free(&table);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return s_write_golden();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_writer_keeps_nothing),
        cmocka_unit_test(test_find_names_the_first_column),
        cmocka_unit_test(test_points_of_a_range),
        cmocka_unit_test(test_truncation_is_detected),
        cmocka_unit_test(test_every_flip_is_detected_or_harmless),
        cmocka_unit_test(test_newer_versions_and_encodings_are_named),
        cmocka_unit_test(test_lies_of_the_directory_are_refused),
        cmocka_unit_test(test_forged_runs_are_safe),
        cmocka_unit_test(test_aggregates_of_parts),
        cmocka_unit_test(test_hours_of_dense_runs),
        cmocka_unit_test(test_small_runs_are_small),
        cmocka_unit_test(test_predicted_columns),
        cmocka_unit_test(test_golden_file_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
            uint32_t begin = block * BB_BLOCK_ROWS_MAX;
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
            double sum = bb_sum_value(found.sum);
            double expected_sum = bb_sum_value(expected.sum);
            // Large values that cancel leave other last bits in another order of additions.
            double slack = 0;
            if (type == BB_TYPE_FLOAT64) {
                double largest = fmax(fabs(bb_double_of_bits(expected.min)),
                                      fabs(bb_double_of_bits(expected.max)));
                slack = 0x1p-100 * (double)found.count * largest;
            }
            assert_true(sum == expected_sum || (isnan(sum) && isnan(expected_sum)) ||
                        fabs(sum - expected_sum) <= slack);
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
        bb_slice_t fresh = test_table_encode(&table, round);
        bb_run_input_t input = test_table_input(&table, round);
        bb_slice_t reused = bb_run_writer_encode(writer, &input);
        assert_int_equal(reused.length, fresh.length);
        assert_memory_equal(reused.data, fresh.data, fresh.length);
        test_slice_free(fresh);
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
        uint32_t begin = block * BB_BLOCK_ROWS_MAX;
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

// Only the spare bytes behind a block may change without being seen.
static size_t s_spare_bytes(bb_slice_t encoded)
{
    const bb_run_header_t *header = encoded.data;
    const uint8_t *at = (const uint8_t *)encoded.data + sizeof *header + header->column_count * 8;
    const bb_run_time_entry_t *times = (const void *)at;
    const bb_run_value_entry_t *values = (const void *)(times + header->block_count);
    size_t spare = 0;
    for (uint32_t i = 0; i < header->block_count; i++) {
        spare += (8 - times[i].place.bytes % 8) % 8;
    }
    for (uint32_t i = 0; i < header->block_count * header->column_count; i++) {
        spare += (8 - values[i].place.bytes % 8) % 8;
    }
    return spare;
}

static void test_every_flip_is_detected_or_harmless(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(26);
    for (uint32_t round = 0; round < 4; round++) {
        test_table_t table;
        test_table_init(&table, &random, 40 + round * 9, 5);
        bb_slice_t encoded = test_table_encode(&table, 3);
        uint8_t *bytes = (uint8_t *)(uintptr_t)encoded.data;
        size_t harmless = 0;
        for (size_t at = 0; at < encoded.length; at++) {
            for (uint32_t bit = round % 2; bit < 8; bit += 2) {
                bytes[at] ^= (uint8_t)(1u << bit);
                bb_error_t error = s_read(&table, encoded);
                assert_true(error == BB_OK || error == BB_ERR_CORRUPT ||
                            (error == BB_ERR_FORMAT && at == BB_RUN_MAGIC_BYTES));
                harmless += error == BB_OK;
                bytes[at] ^= (uint8_t)(1u << bit);
            }
        }
        assert_int_equal(harmless, s_spare_bytes(encoded) * 4);
        assert_int_equal(s_read(&table, encoded), BB_OK);
        test_slice_free(encoded);
        test_table_free(&table);
    }
}

static void s_sign_head(uint8_t *bytes, size_t head_bytes)
{
    uint32_t checksum = bb_crc32c(0, bytes + 8, head_bytes - 8);
    memcpy(bytes + 4, &checksum, 4);
}

// Bytes before the first block, as the header of an undamaged run says.
static size_t s_head_bytes(bb_slice_t encoded)
{
    const bb_run_header_t *header = encoded.data;
    return sizeof *header + header->column_count * 8u + header->block_count * 32u +
           header->column_count * header->block_count * 80u + (header->text_count + 1u) / 2 * 8 +
           header->text_words * 8u;
}

static void test_newer_versions_and_encodings_are_named(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(27);
    test_table_t table;
    test_table_init(&table, &random, 30, 2);
    bb_slice_t encoded = test_table_encode(&table, 3);
    uint8_t *bytes = (uint8_t *)(uintptr_t)encoded.data;
    bb_run_t run;
    bb_fault_t fault;
    bytes[3] = '2';
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
    assert_non_null(strstr(fault.text, "version"));
    bytes[3] = '1';

    size_t head_bytes = s_head_bytes(encoded);
    bb_run_time_entry_t *time_entry = (void *)(bytes + sizeof(bb_run_header_t) + 2 * 8);
    bb_run_value_entry_t *value_entry = (void *)(time_entry + 1);
    uint8_t encoding = time_entry->place.encoding;
    time_entry->place.encoding = BB_ENCODING_LAST + 1;
    s_sign_head(bytes, head_bytes);
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
    assert_non_null(strstr(fault.text, "encoding"));
    time_entry->place.encoding = encoding;
    value_entry->place.encoding = 99;
    s_sign_head(bytes, head_bytes);
    assert_int_equal(bb_run_open(&run, encoded, &fault), BB_ERR_FORMAT);
    test_slice_free(encoded);
    test_table_free(&table);
}

// A head that verifies but lies: each lie is refused at open. What lies is patched, then signed.
static void test_lies_of_the_directory_are_refused(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(28);
    test_table_t table;
    test_table_init(&table, &random, 1100, 4);
    free(table.presence[3]);
    table.presence[3] = NULL;
    table.columns[3].presence = NULL; // a state column, so there are texts
    bb_slice_t encoded = test_table_encode(&table, 3);
    size_t head_bytes = s_head_bytes(encoded);
    size_t columns = sizeof(bb_run_header_t);
    size_t times = columns + 4 * 8;
    size_t values = times + 2 * 32;
    size_t state = values + 3 * 2 * 80; // first block of column 3
    size_t texts = values + 4 * 2 * 80;
    const struct {
        size_t at;
        uint8_t flip;
    } lies[] = {
        {8, 8},            // run_bytes
        {24, 1},           // point_count
        {32, 1},           // first_wall_ns
        {40, 1},           // last_wall_ns
        {48, 128},         // row_count
        {52, 1},           // block_count
        {56, 1},           // column_count
        {60, 2},           // text_count
        {64, 1},           // text_words
        {68, 1},           // zero
        {columns + 4, 8},  // type 9
        {columns + 5, 1},  // zero of a column
        {columns, 255},    // metric out of order
        {times + 3, 255},  // block outside
        {times, 1},        // its first word: read as another block, so see below
        {times + 6, 255},  // bytes
        {times + 12, 1},   // rows
        {times + 15, 1},   // zero
        {times + 16, 1},   // first time of the block
        {times + 24, 1},   // last time of the block, then ...
        {times + 31, 64},  // ... after the next block
        {state + 13, 8},   // more values than rows
        {state + 32, 64},  // text code out of range: min
        {state + 40, 64},  // max
        {state + 48, 255}, // another first time inside the block
        {state + 55, 64},  // first time outside of it
        {state + 64, 64},  // first
        {state + 72, 64},  // last
        {texts, 1},        // text not aligned
        {texts + 3, 255},  // text outside
    };
    uint32_t refused = 0;
    for (size_t i = 0; i < BB_COUNT_OF(lies); i++) {
        uint8_t *copy = bb_alloc(encoded.length);
        memcpy(copy, encoded.data, encoded.length);
        copy[lies[i].at] ^= lies[i].flip;
        s_sign_head(copy, head_bytes);
        bb_run_t run;
        bb_error_t error = bb_run_open(&run, bb_slice(copy, encoded.length), NULL);
        if (error == BB_OK) {
            // What only the blocks can disprove is refused when they are read.
            assert_true(lies[i].at == times || lies[i].at == times + 24 ||
                        lies[i].at == state + 48);
            assert_int_equal(bb_run_verify(&run), BB_ERR_CORRUPT);
        } else {
            assert_int_equal(error, BB_ERR_CORRUPT);
        }
        refused++;
        free(copy);
    }
    assert_int_equal(refused, BB_COUNT_OF(lies));
    test_slice_free(encoded);
    test_table_free(&table);
}

// Random damage with all checksums made right again: anything may be refused or read, but in
// bounds.
static void test_forged_runs_are_safe(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(29);
    test_table_t table;
    test_table_init(&table, &random, 130, 6);
    bb_slice_t encoded = test_table_encode(&table, 3);
    size_t head_bytes = s_head_bytes(encoded);
    uint8_t *copy = bb_alloc(encoded.length);
    uint32_t opened = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        memcpy(copy, encoded.data, encoded.length);
        uint32_t flips = 1 + test_below(&random, 3);
        for (uint32_t i = 0; i < flips; i++) {
            // The head, or the blocks.
            size_t at = round % 2
                            ? 8 + bb_random_below(&random, head_bytes - 8)
                            : head_bytes + bb_random_below(&random, encoded.length - head_bytes);
            copy[at] ^= (uint8_t)(1u << test_below(&random, 8));
        }
        if (round % 2 == 0) {
            bb_run_place_t place;
            for (uint32_t i = 0; i < 1 + 6; i++) {
                size_t at = sizeof(bb_run_header_t) + 6 * 8 + (i == 0 ? 0 : 32 + (i - 1) * 80);
                memcpy(&place, copy + at, sizeof place);
                place.checksum = bb_crc32c(0, copy + (size_t)place.word * 8, place.bytes);
                memcpy(copy + at, &place, sizeof place);
            }
        }
        s_sign_head(copy, head_bytes);
        bb_run_t run;
        bb_error_t error = bb_run_open(&run, bb_slice(copy, encoded.length), NULL);
        assert_true(error == BB_OK || error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT);
        if (error == BB_OK) {
            error = bb_run_verify(&run);
            assert_true(error == BB_OK || error == BB_ERR_CORRUPT);
            opened++;
        }
    }
    assert_true(opened > 1000); // the blocks of half of them, at least
    free(copy);
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
    snprintf(path, size, "%s/tests/golden/disk/run_v1.bin", BB_SOURCE_DIR);
}

// Version 1 stays readable for ever. What the writer chooses may change; what the ids mean may not.
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

    // It holds every encoding there is, so every one is pinned.
    uint32_t seen = 0;
    const bb_run_time_entry_t *times = run.directory_raw;
    const bb_run_value_entry_t *values = run.entries_raw;
    for (uint32_t block = 0; block < run.block_count; block++) {
        seen |= 1u << times[block].place.encoding;
    }
    for (uint32_t i = 0; i < run.block_count * run.column_count; i++) {
        seen |= 1u << values[i].place.encoding;
    }
    assert_int_equal(seen, (2u << BB_ENCODING_DECIMAL_DELTA) - 2);
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
        cmocka_unit_test(test_golden_file_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

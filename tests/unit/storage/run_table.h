// SPDX-License-Identifier: Apache-2.0
// run_table - a table of random points as input of the run writer, for the tests of runs.
#ifndef BB_TEST_RUN_TABLE_H
#define BB_TEST_RUN_TABLE_H

#include "tests/unit/storage/run_support.h"

#define TEST_COLUMNS_MAX 12

typedef struct {
    uint32_t row_count, column_count;
    int64_t *times;
    bb_run_column_t columns[TEST_COLUMNS_MAX];
    uint64_t *values[TEST_COLUMNS_MAX];
    uint64_t *presence[TEST_COLUMNS_MAX]; // NULL: all present
} test_table_t;

static inline bool test_table_has(const test_table_t *self, uint32_t column, uint32_t row)
{
    const uint64_t *presence = self->presence[column];
    return !presence || (presence[row / 64] >> (row % 64) & 1);
}

static inline uint64_t test_typed_word(bb_random_t *random, bb_type_t type, uint32_t family,
                                       uint32_t row, int64_t *walk)
{
    switch (type) {
    case BB_TYPE_BOOL:
        return family == TEST_CONSTANT ? 1 : row / 50 % 2 ^ (test_below(random, 30) == 0);
    case BB_TYPE_STATE:
        if (family == TEST_CONSTANT) {
            return test_text_bits(1);
        }
        return test_text_bits(family % 2 ? row / 40 % TEST_TEXT_COUNT
                                         : test_below(random, TEST_TEXT_COUNT));
    default:
        return test_word(random, family, type == BB_TYPE_FLOAT64, row, walk);
    }
}

// Columns of every type and family; about half of them lack rows: some, most or whole blocks.
static inline void test_table_init(test_table_t *self, bb_random_t *random, uint32_t row_count,
                                   uint32_t column_count)
{
    memset(self, 0, sizeof *self);
    self->row_count = row_count;
    self->column_count = column_count;
    self->times = bb_alloc(row_count * sizeof *self->times);
    test_times(random, test_below(random, TEST_TIMES_COUNT), self->times, row_count);
    uint32_t words = (row_count + 63) / 64;
    for (uint32_t i = 0; i < column_count; i++) {
        self->values[i] = bb_alloc(row_count * sizeof(uint64_t));
        bb_type_t type = BB_TYPE_FLOAT64 + i % 4;
        uint32_t family = test_below(random, TEST_FAMILY_COUNT);
        int64_t walk = 0;
        for (uint32_t row = 0; row < row_count; row++) {
            self->values[i][row] = test_typed_word(random, type, family, row, &walk);
        }
        uint32_t lacks = test_below(random, 6);
        if (lacks < 3) {
            self->presence[i] = bb_alloc(words * sizeof(uint64_t));
            for (uint32_t word = 0; word < words; word++) {
                uint64_t bits = bb_random_next(random) | bb_random_next(random);
                bits &= lacks == 1 ? bb_random_next(random) & bb_random_next(random) : UINT64_MAX;
                bits = lacks == 2 ? (word / 16 % 2 ? 0 : UINT64_MAX) : bits;
                self->presence[i][word] = bits;
            }
        }
        // Metrics 10, 10, 10, 10, 17, 17...: up to four types of one metric.
        self->columns[i] = (bb_run_column_t){
            .metric = 10 + i / 4 * 7,
            .type = type,
            .values = self->values[i],
            .presence = self->presence[i],
        };
    }
}

static inline void test_table_free(test_table_t *self)
{
    for (uint32_t i = 0; i < self->column_count; i++) {
        free(self->values[i]);
        free(self->presence[i]);
    }
    free(self->times);
}

static inline bb_run_input_t test_table_input(const test_table_t *self, uint64_t revision)
{
    return (bb_run_input_t){
        .revision = revision,
        .row_count = self->row_count,
        .times_wall_ns = self->times,
        .column_count = self->column_count,
        .columns = self->columns,
    };
}

// The encoded run in malloc memory of the exact size.
static inline bb_slice_t test_table_encode(const test_table_t *self, uint64_t revision)
{
    bb_run_writer_t *writer = bb_run_writer_new();
    bb_run_input_t input = test_table_input(self, revision);
    bb_slice_t encoded = bb_run_writer_encode(writer, &input);
    uint8_t *copy = bb_alloc(encoded.length);
    memcpy(copy, encoded.data, encoded.length);
    bb_run_writer_destroy(&writer);
    return bb_slice(copy, encoded.length);
}

static inline void test_slice_free(bb_slice_t slice)
{
    free((void *)(uintptr_t)slice.data);
}

// The same value: bits, or texts of the same bytes.
static inline bool test_same_value(bb_type_t type, uint64_t a, uint64_t b)
{
    if (type != BB_TYPE_STATE) {
        return a == b;
    }
    const bb_text_t *left = bb_text_of_bits(a);
    const bb_text_t *right = bb_text_of_bits(b);
    return left->length == right->length && memcmp(left->bytes, right->bytes, left->length) == 0;
}

// True if every point of the run is that of the table and none lacks. An error of the reader is
// returned in *error, and the result is false.
static inline bool test_table_equals_run(const test_table_t *self, const bb_run_t *run,
                                         bb_error_t *error)
{
    static int64_t times[BB_BLOCK_ROWS_MAX];
    static uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    bool same = run->row_count == self->row_count && run->column_count == self->column_count;
    *error = BB_OK;
    for (uint32_t block = 0; same && block < run->block_count; block++) {
        uint32_t begin = bb_run_block_first(run, block);
        uint32_t rows = bb_run_block_rows(run, block);
        *error = bb_run_block_times(run, block, times);
        if (*error != BB_OK) {
            return false;
        }
        same &= memcmp(times, self->times + begin, rows * sizeof *times) == 0;
        for (uint32_t column = 0; column < run->column_count; column++) {
            bool all_present;
            *error = bb_run_block_values(run, column, block, values, presence, &all_present);
            if (*error != BB_OK) {
                return false;
            }
            bb_run_column_info_t info = bb_run_column(run, column);
            same &= info.metric == self->columns[column].metric &&
                    info.type == self->columns[column].type;
            for (uint32_t row = 0; same && row < rows; row++) {
                bool has = all_present || (presence[row / 64] >> (row % 64) & 1);
                uint64_t expected = self->values[column][begin + row];
                same &= has == test_table_has(self, column, begin + row);
                same &= has ? test_same_value(info.type, values[row], expected) : values[row] == 0;
            }
        }
    }
    return same;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// Goal: columns that were measured, not made, come back to the bit with right totals, predictions
// included. Method: CSV files of the folder shared/data beside the repository, each numeric column
// in blocks of 1,024 rows; skipped where the folder is not there.
#include <math.h>

#include "storage/encoding/bb_encoding.h"
#include "tests/unit/storage/run_support.h"

#define COLUMNS_MAX 48
#define LINE_MAX    4096

typedef struct {
    uint32_t rows, columns;
    uint64_t words[COLUMNS_MAX][BB_BLOCK_ROWS_MAX];
    uint64_t points, bytes;
    uint32_t hints[COLUMNS_MAX], ids[BB_ENCODING_LAST + 1];
    bb_encoder_t *encoder;
} s_table_t;

static void s_encode(s_table_t *self)
{
    static uint8_t out[BB_ENCODING_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    static uint64_t decoded[BB_BLOCK_ROWS_MAX];
    const uint64_t *peers[COLUMNS_MAX] = {NULL};
    bb_encoding_kind_t kinds[COLUMNS_MAX];
    bb_encoding_input_t inputs[COLUMNS_MAX];
    uint32_t *hints[COLUMNS_MAX];
    for (uint32_t i = 0; i < self->columns; i++) {
        peers[i] = self->words[i];
        kinds[i] = BB_ENCODING_FLOAT64;
        hints[i] = &self->hints[i];
        inputs[i] = (bb_encoding_input_t){
            BB_ENCODING_FLOAT64, self->words[i], self->rows, peers, kinds, self->columns};
    }
    bb_encoder_relate(self->encoder, inputs, self->columns, hints);
    for (uint32_t i = 0; i < self->columns; i++) {
        uint8_t id;
        size_t length = bb_encoder_encode(self->encoder, &inputs[i], hints[i], out, &id);
        bb_slice_t block = bb_slice(out, length);
        uint32_t named[BB_ENCODING_PEERS_MAX], named_count;
        const uint64_t *given[BB_ENCODING_PEERS_MAX] = {NULL};
        assert_int_equal(bb_encoding_peers(id, block, self->columns, named, &named_count), BB_OK);
        for (uint32_t k = 0; k < named_count; k++) {
            given[k] = peers[named[k]];
        }
        assert_int_equal(
            bb_encoding_decode(id, BB_ENCODING_FLOAT64, block, self->rows, given, decoded), BB_OK);
        assert_memory_equal(decoded, self->words[i], (size_t)self->rows * 8);
        bb_encoding_totals_t totals, expected;
        assert_int_equal(bb_encoding_aggregate(id, BB_TYPE_FLOAT64, block, self->rows, given, 0,
                                               self->rows, &totals),
                         BB_OK);
        bb_encoding_totals_of(BB_TYPE_FLOAT64, decoded, self->rows, &expected);
        assert_int_equal(totals.min, expected.min);
        assert_int_equal(totals.max, expected.max);
        assert_true(bb_sum_is_equal(&totals.sum, &expected.sum));
        self->points += self->rows;
        self->bytes += length;
        self->ids[id]++;
    }
}

// The numbers of a line behind its first cell; an empty or odd cell repeats the one before.
static void s_take_line(s_table_t *self, char *line)
{
    uint32_t column = 0;
    char *cell = strchr(line, ',');
    for (; cell && column < COLUMNS_MAX; column++) {
        char *begin = cell + 1;
        cell = strchr(begin, ',');
        char *end;
        double number = strtod(begin, &end);
        uint64_t word = bb_bits_of_double(number);
        if (end == begin) {
            word = self->rows > 0 ? self->words[column][self->rows - 1] : 0;
        }
        self->words[column][self->rows] = word;
    }
    self->columns = BB_MAX(self->columns, column);
    if (++self->rows == BB_BLOCK_ROWS_MAX) {
        s_encode(self);
        self->rows = 0;
    }
}

// Bytes a point, without times; 0 if there is no such file.
static double s_file(const char *name)
{
    char command[512], line[LINE_MAX];
    snprintf(command, sizeof command, "gzip -dc %s/../shared/data/%s 2>/dev/null", BB_SOURCE_DIR,
             name);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    s_table_t *table = bb_alloc_zero(1, sizeof *table);
    table->encoder = bb_encoder_new();
    bool has_rows = fgets(line, sizeof line, pipe) != NULL; // the names
    while (has_rows && fgets(line, sizeof line, pipe)) {
        s_take_line(table, line);
    }
    pclose(pipe);
    if (table->rows > 0) {
        s_encode(table);
    }
    double bytes = table->points ? (double)table->bytes / (double)table->points : 0;
    if (table->points) {
        print_message("%s: %.4f bytes a point;", name, bytes);
        for (uint32_t id = 1; id <= BB_ENCODING_LAST; id++) {
            if (table->ids[id]) {
                print_message(" %s %u", bb_encoding_name(id), table->ids[id]);
            }
        }
        print_message("\n");
    }
    bb_encoder_destroy(&table->encoder);
    free(table);
    return bytes;
}

// Says what is missing, so that the count of skipped cases explains itself.
static void s_skip(const char *name)
{
    print_message("skip - %s: the folder data/ of BB_SHARED does not have it\n", name);
    skip();
}

static void test_grid_battery(void **context)
{
    (void)context;
    double bytes = s_file("m5bat-grid-battery/system-and-units-1-10-2023-04-07-1s.csv.gz");
    if (bytes == 0) {
        s_skip("m5bat-grid-battery");
    }
    assert_true(bytes < 0.25);
    assert_true(s_file("m5bat-grid-battery/unit10-2023-04-13-1s.csv.gz") < 0.3);
}

static void test_cells_in_a_laboratory(void **context)
{
    (void)context;
    if (s_file("nasa-pcoe-battery-aging/B0005-discharge.csv.gz") == 0) {
        s_skip("nasa-pcoe-battery-aging");
    }
}

static void test_storage_profiles(void **context)
{
    (void)context;
    if (s_file("nrel-blast-storage-profiles/frequency-containment-reserve-10min.csv.gz") == 0) {
        s_skip("nrel-blast-storage-profiles");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid_battery),
        cmocka_unit_test(test_cells_in_a_laboratory),
        cmocka_unit_test(test_storage_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

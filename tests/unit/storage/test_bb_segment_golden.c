// SPDX-License-Identifier: Apache-2.0
// Goal: a segment that was written once is read for ever, by us and by others. Method: a segment of
// several batteries with its content beside it as text, made from the input, not by reading;
// tests/golden/disk/read_disk.py reads the same two files with Python alone.
// `test_bb_segment_golden --write-golden` writes them and is used once per format version.
//
//   segment_v2.bin   u32 bytes of the key, u32 bytes of the value, key, value; in the order of keys
//   segment_v2.txt   partition battery revision metric type time word: a point a line; the word in
//                    hexadecimal digits, of STATE the text
#include <inttypes.h>

#include "storage/segment/bb_run_group.h"
#include "storage/segment/bb_segment_cursor.h"
#include "tests/support/bb_sim_kv.h"
#include "tests/unit/storage/run_table.h"

#define S_BINARY    BB_SOURCE_DIR "/tests/golden/disk/segment_v2.bin"
#define S_TEXT      BB_SOURCE_DIR "/tests/golden/disk/segment_v2.txt"
#define S_BYTES_MAX (1u << 21)
#define S_MAP_BYTES (64u << 20)
#define S_FOLDER    "/segment"

// Battery i is (i / 2, i); 0 to 3 have few rows, 4 and 5 more, 6 more than one block. Behind them
// come some of partition 9 that share runs, two lists of columns turn and turn about.
#define S_OWN       7u
#define S_BATTERIES 25u

typedef struct {
    bb_sim_disk_t *disk;
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    bb_segment_info_t info;
} s_map_t;

static void s_open(s_map_t *map)
{
    map->disk = bb_sim_disk_new();
    map->kv = bb_sim_kv(map->disk);
    bb_vfs_t *vfs = bb_sim_disk_vfs(map->disk);
    assert_int_equal(vfs->make_directory(vfs, S_FOLDER), BB_OK);
    assert_int_equal(map->kv->open(map->kv, S_FOLDER, S_MAP_BYTES, true, &map->env, NULL), BB_OK);
}

static void s_close(s_map_t *map)
{
    map->kv->close(&map->env);
    bb_sim_disk_destroy(&map->disk);
}

static void s_table(uint32_t battery, test_table_t *table)
{
    bb_random_t random = bb_random_seed(20260101 + battery);
    uint32_t rows = battery < 4 ? 3 + 20 * battery : battery < 6 ? 300 : 1500;
    if (battery >= S_OWN) {
        // Some as many as the one before, some not.
        test_table_init(table, &random, battery < 15 ? 5 : battery, battery % 2 ? 4 : 3);
        return;
    }
    test_table_init(table, &random, rows, battery == 6 ? 2 : 8);
}

static uint32_t s_partition(uint32_t battery)
{
    return battery < S_OWN ? battery / 2 : 9;
}

static uint64_t s_revision(uint32_t battery)
{
    return battery < S_OWN ? battery : 100;
}

// ---- writing ---------------------------------------------------------------------------------
static void s_write_points(FILE *file, uint32_t battery, const test_table_t *table)
{
    for (uint32_t c = 0; c < table->column_count; c++) {
        const bb_run_column_t *column = &table->columns[c];
        for (uint32_t row = 0; row < table->row_count; row++) {
            if (column->presence && !(column->presence[row / 64] >> (row % 64) & 1)) {
                continue;
            }
            fprintf(file, "%u %u %u %u %u %" PRId64 " ", s_partition(battery), battery,
                    (uint32_t)s_revision(battery), column->metric, (uint32_t)column->type,
                    table->times[row]);
            if (column->type == BB_TYPE_STATE) {
                const bb_text_t *text = bb_text_of_bits(column->values[row]);
                fprintf(file, "%.*s\n", (int)text->length, (const char *)text->bytes);
            } else {
                fprintf(file, "%" PRIx64 "\n", column->values[row]);
            }
        }
    }
}

static void s_write_map(s_map_t *map, FILE *file)
{
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    assert_int_equal(map->kv->begin(map->env, false, &txn), BB_OK);
    assert_int_equal(map->kv->cursor(txn, &cursor), BB_OK);
    bb_error_t error = map->kv->seek(cursor, bb_slice(NULL, 0), &key, &value);
    for (; error == BB_OK; error = map->kv->next(cursor, &key, &value)) {
        uint32_t lengths[2] = {(uint32_t)key.length, (uint32_t)value.length};
        fwrite(lengths, sizeof lengths, 1, file);
        fwrite(key.data, key.length, 1, file);
        fwrite(value.data, value.length, 1, file);
    }
    map->kv->cursor_close(&cursor);
    map->kv->abort(&txn);
}

static bb_error_t s_put(void *context, const bb_segment_entry_t *entries, uint32_t entry_count,
                        const bb_slice_t *runs, uint32_t run_count)
{
    return bb_segment_writer_add_group(context, entries, entry_count, runs, run_count);
}

static int s_write_golden(void)
{
    s_map_t map;
    bool must_fence = false;
    s_open(&map);
    bb_segment_writer_t *writer = bb_segment_writer_new();
    bb_run_writer_t *runs = bb_run_writer_new();
    bb_run_group_t *group = bb_run_group_new(31, s_put, writer);
    FILE *text = fopen(S_TEXT, "wb");
    FILE *binary = fopen(S_BINARY, "wb");
    assert_true(text && binary);
    assert_int_equal(bb_segment_writer_begin(writer, map.kv, map.env, &must_fence), BB_OK);
    for (uint32_t battery = 0; battery < S_BATTERIES; battery++) {
        test_table_t table;
        s_table(battery, &table);
        bb_run_input_t input = test_table_input(&table, s_revision(battery));
        if (battery < S_OWN) {
            bb_slice_t run = bb_run_writer_encode(runs, &input);
            bb_run_t opened;
            assert_int_equal(bb_run_open(&opened, run, NULL), BB_OK);
            assert_int_equal(bb_segment_writer_add(writer, s_partition(battery), battery, run,
                                                   opened.point_count),
                             BB_OK);
        } else {
            assert_int_equal(bb_run_group_add(group, s_partition(battery), battery, &input), BB_OK);
        }
        s_write_points(text, battery, &table);
        test_table_free(&table);
    }
    assert_int_equal(bb_run_group_flush(group), BB_OK);
    assert_int_equal(bb_segment_writer_finish(writer, &map.info), BB_OK);
    s_write_map(&map, binary);
    assert_int_equal(fclose(text) | fclose(binary), 0);
    bb_run_writer_destroy(&runs);
    bb_run_group_destroy(&group);
    bb_segment_writer_destroy(&writer);
    s_close(&map);
    return 0;
}

// ---- reading ---------------------------------------------------------------------------------
static void s_fill(s_map_t *map, const uint8_t *bytes, size_t length)
{
    bb_kv_txn_t *txn = NULL;
    assert_int_equal(map->kv->begin(map->env, true, &txn), BB_OK);
    for (size_t at = 0; at < length;) {
        uint32_t lengths[2];
        memcpy(lengths, bytes + at, sizeof lengths);
        at += sizeof lengths;
        bb_slice_t key = bb_slice(bytes + at, lengths[0]);
        assert_int_equal(map->kv->put(txn, key, bb_slice(bytes + at + lengths[0], lengths[1])),
                         BB_OK);
        at += lengths[0] + lengths[1];
    }
    assert_int_equal(map->kv->commit(&txn), BB_OK);
}

static void s_test_golden(void **state)
{
    (void)state;
    s_map_t map;
    FILE *file = fopen(S_BINARY, "rb");
    assert_non_null(file);
    uint8_t *bytes = bb_alloc(S_BYTES_MAX);
    size_t length = fread(bytes, 1, S_BYTES_MAX, file);
    fclose(file);
    s_open(&map);
    s_fill(&map, bytes, length);
    bb_segment_part_t part = {.env = map.env};
    bb_segment_cursor_t *cursor = NULL;
    assert_int_equal(bb_segment_cursor_open(map.kv, &part, 1, &cursor), BB_OK);
    for (uint32_t i = 0; i < S_BATTERIES; i++) {
        uint32_t partition;
        uint32_t battery;
        bb_slice_t encoded;
        bb_run_t run;
        test_table_t table;
        bb_error_t error;
        assert_int_equal(bb_segment_cursor_walk(cursor, &partition, &battery), BB_OK);
        assert_int_equal(battery, i);
        assert_int_equal(partition, s_partition(i));
        assert_int_equal(bb_segment_cursor_next(cursor, &encoded), BB_OK);
        assert_int_equal(bb_segment_cursor_open_run(cursor, encoded, &run, NULL), BB_OK);
        assert_true(!run.shared == (i < S_OWN));
        assert_int_equal(run.revision, s_revision(i));
        s_table(i, &table);
        assert_true(test_table_equals_run(&table, &run, &error));
        test_table_free(&table);
        assert_int_equal(bb_segment_cursor_next(cursor, &encoded), BB_ERR_NOT_FOUND);
    }
    bb_segment_cursor_close(&cursor);
    s_close(&map);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return s_write_golden();
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(s_test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

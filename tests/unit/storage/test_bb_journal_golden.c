// SPDX-License-Identifier: Apache-2.0
// The bytes of the journal's formats: a file that was written once and kept must be read for ever,
// or refused by name, and the same records must be written to the same bytes of the present one.
// `test_bb_journal_golden --write-golden` writes its file and is used once per format version.
#include "tests/unit/storage/journal_bench.h"

#define S_GOLDEN_V1 BB_SOURCE_DIR "/tests/golden/disk/journal_v1.bin"
#define S_GOLDEN_V2 BB_SOURCE_DIR "/tests/golden/disk/journal_v2.bin"

// Samples 0, 4 and 5 as they were when the file was made: the groups {0} and {4, 5}.
static const uint32_t s_indexes[3] = {0, 4, 5};

typedef struct {
    uint8_t *chunks[3];
    uint8_t *batches[3];
    size_t chunks_lengths[3], batch_lengths[3];
    uint32_t count;
} s_copies_t;

static uint8_t *s_copy(bb_slice_t slice)
{
    uint8_t *copy = malloc(slice.length);
    memcpy(copy, slice.data, slice.length);
    return copy;
}

// What sample `index` means, from its definition in bb_sample.h, not from its bytes.
static bb_error_t s_on_golden(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                              bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    s_copies_t *copies = context;
    assert_in_range(copies->count, 0, 2);
    uint32_t index = s_indexes[copies->count];
    assert_int_equal(file_seq, 1);
    assert_int_equal(chunks->stream.bytes[0], 1 + index % 2);
    assert_int_equal(chunks->stream.bytes[15], 0);
    assert_int_equal(chunks->epoch, 1);
    assert_int_equal(chunks->origin_wall_ns, INT64_C(1767225600000000000));
    assert_int_equal(chunks->part_count, 1 + index % 3);
    assert_int_equal(chunks->quarantined_count, 0);
    assert_int_equal(batch->part_count, chunks->part_count);
    uint32_t frames_each = 1 + index % 4;
    assert_int_equal(batch->frame_count, batch->part_count * frames_each);
    assert_int_equal(batch->value_count, 2 * batch->frame_count);
    bb_batch_cursor_t cursor;
    bb_batch_cursor_start(batch, &cursor);
    for (uint32_t part = 0; part < batch->part_count; part++) {
        assert_int_equal(bb_chunks_seq(chunks, part), index + 1);
        assert_int_equal(batch->parts[part].partition, index % 5 + part);
        assert_true(bb_batch_cursor_next(batch, &cursor));
        char id[32];
        snprintf(id, sizeof id, "battery-%u", index % 5 + part);
        const bb_batch_battery_t *battery = &batch->batteries[cursor.run->battery];
        assert_int_equal(battery->id.length, strlen(id));
        assert_memory_equal(battery->id.data, id, strlen(id));
        const bb_batch_shape_t *shape = &batch->shapes[cursor.run->shape];
        assert_int_equal(shape->metric_count, 2);
        assert_memory_equal(shape->names[0].data, "mode", 4);
        assert_memory_equal(shape->names[1].data, "state_of_charge_pct", 19);
        for (uint32_t i = 0; i < frames_each; i++) {
            assert_int_equal(batch->times_wall_ns[cursor.frame_first + i],
                             INT64_C(1767225600000000000) +
                                 (int64_t)((index + 1) * 3600 + i) * 1000000000);
            uint64_t values[2];
            bb_batch_unpack_rows(batch, &cursor, i, 1, values);
            bb_slice_t mode = batch->states[values[0]];
            const char *expected = i % 2 ? "Idle" : "Charging";
            assert_int_equal(mode.length, strlen(expected));
            assert_memory_equal(mode.data, expected, mode.length);
            double soc;
            memcpy(&soc, &values[1], sizeof soc);
            assert_true(soc == 50.0 + (index + 1) + i / 8.0);
        }
    }
    copies->chunks[copies->count] = s_copy(chunks_encoded);
    copies->batches[copies->count] = s_copy(batch->encoded);
    copies->chunks_lengths[copies->count] = chunks_encoded.length;
    copies->batch_lengths[copies->count] = batch->encoded.length;
    copies->count++;
    return BB_OK;
}

static uint8_t *s_read_golden(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(65536);
    *length = fread(bytes, 1, 65536, file);
    fclose(file);
    return bytes;
}

// Opens a journal that is the file of these bytes; the three records come out of it.
static void s_expect_read(bb_slice_t golden, s_copies_t *copies)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_put(disk, s_file_name(1), golden);
    bb_journal_options_t options = {
        .vfs = bb_sim_disk_vfs(disk), .directory = S_FOLDER, .owner = S_OWNER};
    bb_journal_report_t report;
    bb_journal_t *journal = NULL;
    assert_int_equal(bb_journal_open(&options, s_on_golden, copies, &report, &journal, NULL),
                     BB_OK);
    assert_int_equal(copies->count, 3);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// The other way: the same payloads in the same groups.
static void s_expect_written(bb_slice_t golden, const s_copies_t *copies)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_options_t options = {
        .vfs = bb_sim_disk_vfs(disk), .directory = S_FOLDER, .owner = S_OWNER};
    bb_journal_report_t report;
    bb_journal_t *journal = NULL;
    s_copies_t none = {.count = 0};
    assert_int_equal(bb_journal_open(&options, s_on_golden, &none, &report, &journal, NULL), BB_OK);
    for (uint32_t i = 0; i < 3; i++) {
        bb_chunks_t chunks;
        bb_batch_t batch;
        bb_slice_t encoded = bb_slice(copies->chunks[i], copies->chunks_lengths[i]);
        assert_int_equal(bb_chunks_decode(&chunks, encoded, NULL), BB_OK);
        assert_int_equal(
            bb_batch_open(&batch, bb_slice(copies->batches[i], copies->batch_lengths[i]), NULL),
            BB_OK);
        assert_int_equal(bb_journal_append(journal, &chunks, encoded, &batch), BB_OK);
        bb_batch_close(&batch);
        if (i != 1) {
            assert_int_equal(bb_journal_sync(journal), BB_OK);
        }
    }
    bb_journal_close(&journal);
    bb_slice_t written = bb_sim_disk_get(disk, s_file_name(1));
    assert_int_equal(written.length, golden.length);
    assert_memory_equal(written.data, golden.data, golden.length);
    bb_sim_disk_destroy(&disk);
}

static void s_copies_free(s_copies_t *copies)
{
    for (uint32_t i = 0; i < copies->count; i++) {
        free(copies->chunks[i]);
        free(copies->batches[i]);
    }
}

static void s_test_golden(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = s_read_golden(S_GOLDEN_V2, &length);
    // The byte map, once by hand: file header, then the first record's header.
    assert_memory_equal(bytes, "BBJF\2\0\0\0", 8);
    assert_memory_equal(bytes + 8, "\xef\xcd\xab\x90\x78\x56\x34\x12", 8); // owner
    assert_memory_equal(bytes + 16, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
    assert_memory_equal(bytes + 40, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    assert_memory_equal(bytes + 64, "BBJ1", 4);
    assert_memory_equal(bytes + 72, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16);
    assert_memory_equal(bytes + 96, "\0\0\0\0\0\0\0\0", 8);
    s_copies_t copies = {.count = 0};
    s_expect_read(bb_slice(bytes, length), &copies);
    s_expect_written(bb_slice(bytes, length), &copies);
    s_copies_free(&copies);
    free(bytes);
}

// Goal: a journal that version 0.1.0 left with records in it is refused by name: its batches are of
// version 1. Taken for damage they would be left out, although they were acknowledged.
static void s_test_golden_v1(void **state)
{
    (void)state;
    size_t length;
    uint8_t *bytes = s_read_golden(S_GOLDEN_V1, &length);
    assert_memory_equal(bytes, "BBJF\1\0\0\0", 8);
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_put(disk, s_file_name(1), bb_slice(bytes, length));
    bb_journal_options_t options = {
        .vfs = bb_sim_disk_vfs(disk), .directory = S_FOLDER, .owner = S_OWNER};
    s_copies_t copies = {.count = 0};
    bb_journal_report_t report;
    bb_journal_t *journal = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(bb_journal_open(&options, s_on_golden, &copies, &report, &journal, &fault),
                     BB_ERR_MESSAGE_VERSION);
    assert_non_null(strstr(fault.text, s_file_name(1)));
    assert_int_equal(copies.count, 0);
    bb_sim_disk_destroy(&disk);
    free(bytes);
}

static void s_write_golden(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s_append(bench, journal, s_indexes[i]), BB_OK);
        if (i != 1) {
            assert_int_equal(bb_journal_sync(journal), BB_OK);
        }
    }
    bb_journal_close(&journal);
    bb_slice_t content = bb_sim_disk_get(disk, s_file_name(1));
    FILE *file = fopen(S_GOLDEN_V2, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.length, file), content.length);
    assert_int_equal(fclose(file), 0);
    bb_sim_disk_destroy(&disk);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest writing[] = {
        cmocka_unit_test_setup_teardown(s_write_golden, s_bench_setup, s_bench_teardown),
    };
    const struct CMUnitTest tests[] = {cmocka_unit_test(s_test_golden),
                                       cmocka_unit_test(s_test_golden_v1)};
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return cmocka_run_group_tests(writing, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

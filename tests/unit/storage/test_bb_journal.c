// SPDX-License-Identifier: Apache-2.0
// The journal while the disk does what it should, and while it is full, slow to obey or in other
// hands. Damage and crashes: test_bb_journal_damage.
#include "tests/unit/storage/journal_bench.h"

#include "storage/journal/bb_journal_dots.h"
#include "storage/journal/bb_journal_format.h"

static void s_test_round_trip(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_report_t report;
    bb_journal_t *journal = s_open(bench, disk, 0, &report);
    assert_int_equal(report.record_count, 0);
    assert_int_equal(report.file_count, 1);
    assert_int_equal(bb_journal_file_first(journal), 1);
    assert_int_equal(bb_journal_sync(journal), BB_OK); // nothing staged, nothing done
    s_write(bench, journal, 0, 1);
    s_write(bench, journal, 1, 9);
    assert_int_equal(s_append(bench, journal, 9), BB_OK); // never synced
    assert_true(bb_journal_staged_bytes(journal) > 0);
    uint64_t bytes = bb_journal_bytes(journal);
    bb_journal_close(&journal);
    assert_null(journal);
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, 9);
    assert_int_equal(report.record_count, 9);
    assert_int_equal(report.file_count, 2); // new records go to a new file
    assert_int_equal(report.bytes, bytes + BB_JOURNAL_FILE_HEADER_BYTES);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    assert_string_equal(report.first_damage, "");
    s_write(bench, journal, 9, 12);
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, 12);
    assert_int_equal(bench->found_files[8], 1);
    assert_int_equal(bench->found_files[9], 2);
    bb_journal_close(&journal);
    // An empty newest file is used again, so that restarts do not pile up files.
    for (int i = 0; i < 3; i++) {
        journal = s_open(bench, disk, 0, &report);
        assert_int_equal(report.file_count, 3);
        bb_journal_close(&journal);
    }
    bb_sim_disk_destroy(&disk);
}

// Goal: any number of records costs one write and one sync.
static void s_test_group_commit(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    uint64_t writes = bb_sim_disk_op_count(disk, BB_SIM_WRITE);
    uint64_t syncs = bb_sim_disk_op_count(disk, BB_SIM_SYNC);
    uint64_t all = bb_sim_disk_op_count(disk, BB_SIM_ANY);
    s_write(bench, journal, 0, S_SAMPLES);
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_WRITE) - writes, 1);
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_SYNC) - syncs, 1);
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_ANY) - all, 2);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

static void s_test_busy(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    uint32_t count = 0;
    bb_error_t error;
    while ((error = s_append(bench, journal, 0)) == BB_OK) {
        count++;
        assert_in_range(count, 1, 100000);
    }
    assert_int_equal(error, BB_ERR_BUSY);
    uint64_t staged = bb_journal_staged_bytes(journal);
    assert_int_equal(bb_journal_sync(journal), BB_OK);
    assert_int_equal(bb_journal_bytes(journal), staged + BB_JOURNAL_FILE_HEADER_BYTES);
    assert_int_equal(s_append(bench, journal, 1), BB_OK);
    assert_int_equal(bb_journal_sync(journal), BB_OK);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: files end at file_bytes_max, a number is never given twice, whatever is dropped.
static void s_test_files(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 4096, NULL);
    for (uint32_t i = 0; i < 24; i++) {
        s_write(bench, journal, i, i + 1);
    }
    uint64_t last = bb_journal_file_last(journal);
    assert_in_range(last, 3, 24);
    for (uint64_t seq = 1; seq <= last; seq++) {
        size_t length = bb_sim_disk_get(disk, s_file_name(seq)).length;
        assert_in_range(length, BB_JOURNAL_FILE_HEADER_BYTES + 1, 4096);
    }
    uint64_t sealed = 0;
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    assert_int_equal(sealed, last);
    assert_int_equal(bb_journal_file_last(journal), last + 1);
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK); // nothing new to seal
    assert_int_equal(sealed, last);
    assert_int_equal(bb_journal_drop(journal, last + 7), BB_ERR_NOT_FOUND);
    uint64_t bytes = bb_journal_bytes(journal);
    for (uint64_t seq = 1; seq <= last; seq++) {
        assert_int_equal(bb_journal_drop(journal, seq), BB_OK);
        assert_int_equal(bb_journal_drop(journal, seq), BB_ERR_NOT_FOUND);
        assert_true(bb_journal_bytes(journal) < bytes);
        bytes = bb_journal_bytes(journal);
    }
    assert_int_equal(bb_journal_file_first(journal), last + 1);
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 4096, NULL);
    assert_int_equal(bench->found_count, 0);
    assert_int_equal(bb_journal_file_last(journal), last + 1);
    s_write(bench, journal, 24, 26);
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 4096, NULL);
    s_expect_found(bench, 24, 26);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

static void s_test_read(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    uint64_t offset = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_write(bench, journal, 0, 5);
    s_write(bench, journal, 5, 10);
    assert_int_equal(s_append(bench, journal, 10), BB_OK); // not durable: not read
    for (uint32_t i = 0; i < 10; i++) {
        bench->found_count = 0;
        bench->enough_after = 1;
        assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench),
                         BB_ERR_CANCELLED);
        s_expect_found(bench, i, i + 1);
    }
    bench->found_count = 0;
    bench->enough_after = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    assert_int_equal(bench->found_count, 0);
    // What arrives later is found from where we were.
    assert_int_equal(bb_journal_sync(journal), BB_OK);
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_expect_found(bench, 10, 11);
    offset = 0;
    bench->found_count = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_expect_found(bench, 0, 11);
    assert_int_equal(bb_journal_read(journal, 2, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    uint64_t sealed;
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    s_write(bench, journal, 11, 13);
    bench->found_count = 0;
    offset = 0;
    assert_int_equal(bb_journal_read(journal, 2, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_expect_found(bench, 11, 13);
    bb_sim_disk_fail(disk, BB_SIM_OPEN, 1, BB_ERR_IO);
    offset = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_IO);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// ---- dots ------------------------------------------------------------------------------------
enum { S_PARTITIONS = 8, S_STREAMS = 3, S_SEQS = 200 };

typedef struct {
    bool has[S_PARTITIONS][S_STREAMS][S_SEQS];
    uint32_t calls;
    uint32_t calls_max; // 0 = all
} s_marks_t;

static bool s_mark(void *context, uint32_t partition, const bb_stream_t *stream, uint64_t first_seq,
                   uint64_t last_seq)
{
    s_marks_t *marks = context;
    assert_in_range(partition, 0, S_PARTITIONS - 1);
    assert_in_range(stream->bytes[0], 0, S_STREAMS - 1);
    assert_true(first_seq >= 1 && first_seq <= last_seq && last_seq < S_SEQS);
    for (uint64_t seq = first_seq; seq <= last_seq; seq++) {
        marks->has[partition][stream->bytes[0]][seq] = true;
    }
    return ++marks->calls != marks->calls_max;
}

static void s_test_dots_of_files(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    s_write(bench, journal, 0, 20);
    assert_int_equal(s_append(bench, journal, 20), BB_OK); // staged: not among them
    static s_marks_t expected;
    memset(&expected, 0, sizeof expected);
    for (uint32_t i = 0; i < 20; i++) {
        for (uint32_t part = 0; part < 1 + i % 3; part++) {
            expected.has[i % 5 + part][1 + i % 2][i + 1] = true;
        }
    }
    for (int round = 0; round < 3; round++) { // written, sealed, recovered
        static s_marks_t marks;
        memset(&marks, 0, sizeof marks);
        bb_journal_dots(journal, 1, s_mark, &marks);
        assert_memory_equal(marks.has, expected.has, sizeof expected.has);
        memset(&marks, 0, sizeof marks);
        marks.calls_max = 2;
        bb_journal_dots(journal, 1, s_mark, &marks);
        assert_int_equal(marks.calls, 2);
        bb_journal_dots(journal, 99, s_mark, &marks);
        assert_int_equal(marks.calls, 2);
        if (round == 0) {
            uint64_t sealed;
            assert_int_equal(bb_journal_sync(journal), BB_OK); // sample 20
            expected.has[0][1][21] = expected.has[1][1][21] = expected.has[2][1][21] = true;
            assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
        } else if (round == 1) {
            bb_journal_close(&journal);
            journal = s_open(bench, disk, 0, NULL);
        }
    }
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: ranges equal the plain set of dots, in any order of arrival; sealed, they are minimal.
static void s_test_dots_random(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        bb_random_t random = bb_random_seed(seed);
        static s_marks_t expected;
        static s_marks_t marks;
        memset(&expected, 0, sizeof expected);
        memset(&marks, 0, sizeof marks);
        bb_journal_dots_t dots = {0};
        for (int i = 0; i < 1500; i++) {
            uint32_t partition = (uint32_t)bb_random_below(&random, S_PARTITIONS);
            uint8_t stream = (uint8_t)bb_random_below(&random, S_STREAMS);
            uint64_t seq = bb_random_between(&random, 1, S_SEQS - 1);
            if (bb_random_chance(&random, 3, 4)) { // mostly in order
                for (seq = 1; seq + 1 < S_SEQS && expected.has[partition][stream][seq];) {
                    seq++;
                }
            }
            expected.has[partition][stream][seq] = true;
            bb_journal_dots_add(&dots, partition, &(bb_stream_t){{stream, 1}}, seq);
        }
        for (int sealed = 0; sealed < 2; sealed++) {
            memset(&marks, 0, sizeof marks);
            for (uint32_t i = 0; i < dots.range_count; i++) {
                const bb_journal_dot_range_t *range = &dots.ranges[i];
                s_mark(&marks, range->partition, &dots.streams[range->stream_index],
                       range->first_seq, range->last_seq);
            }
            assert_memory_equal(marks.has, expected.has, sizeof expected.has);
            bb_journal_dots_seal(&dots);
        }
        uint32_t runs = 0;
        for (size_t p = 0; p < S_PARTITIONS; p++) {
            for (size_t s = 0; s < S_STREAMS; s++) {
                for (size_t q = 1; q < S_SEQS; q++) {
                    runs += expected.has[p][s][q] && !expected.has[p][s][q - 1];
                }
            }
        }
        assert_int_equal(dots.range_count, runs);
        bb_journal_dots_clear(&dots);
    }
}

// ---- a full disk -----------------------------------------------------------------------------
// Goal: at every point where the room ends, the sync says DISK_FULL, the journal is not fenced,
// and after room was made the same records go in; what was acknowledged is all there.
static void s_test_disk_full(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t room = 0; room < 6000; room += 37) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 2500, NULL);
        s_write(bench, journal, 0, 2);
        bb_sim_disk_capacity_set(disk, bb_sim_disk_used_bytes(disk) + room);
        uint32_t acked = 2;
        bb_error_t error = BB_OK;
        while (error == BB_OK && acked < 30) {
            assert_int_equal(s_append(bench, journal, acked), BB_OK);
            assert_int_equal(s_append(bench, journal, acked + 1), BB_OK);
            error = bb_journal_sync(journal);
            acked += error == BB_OK ? 2 : 0;
        }
        assert_int_equal(error, BB_ERR_DISK_FULL);
        assert_false(bb_journal_is_fenced(journal));
        assert_int_equal(bb_journal_staged_bytes(journal), 0);
        bb_sim_disk_capacity_set(disk, UINT64_MAX);
        if (room % 2 == 0) {
            s_write(bench, journal, acked, acked + 3);
            acked += 3;
        }
        bb_journal_close(&journal);
        bb_random_t random = bb_random_seed(room);
        bb_sim_disk_crash(disk, &random);
        bb_journal_report_t report;
        journal = s_open(bench, disk, 0, &report);
        s_expect_found(bench, 0, acked);
        assert_int_equal(report.damaged_count, 0);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

static void s_test_failed_sync_fences(void **state)
{
    s_bench_t *bench = *state;
    const bb_sim_op_t ops[] = {BB_SIM_SYNC, BB_SIM_WRITE, BB_SIM_SYNC};
    const bb_error_t errors[] = {BB_ERR_IO, BB_ERR_IO, BB_ERR_DISK_FULL};
    for (size_t i = 0; i < BB_COUNT_OF(ops); i++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 0, NULL);
        s_write(bench, journal, 0, 3);
        assert_int_equal(s_append(bench, journal, 3), BB_OK);
        bb_sim_disk_fail(disk, ops[i], 1, errors[i]);
        assert_int_equal(bb_journal_sync(journal), BB_ERR_IO);
        assert_true(bb_journal_is_fenced(journal));
        assert_int_equal(bb_journal_staged_bytes(journal), 0);
        assert_int_equal(s_append(bench, journal, 4), BB_ERR_FENCED);
        assert_int_equal(bb_journal_sync(journal), BB_ERR_FENCED);
        uint64_t sealed;
        assert_int_equal(bb_journal_rotate(journal, &sealed), BB_ERR_FENCED);
        uint64_t offset = 0; // what was durable can still be read
        bench->found_count = 0;
        assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench),
                         BB_ERR_NOT_FOUND);
        s_expect_found(bench, 0, 3);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

// ---- other hands -----------------------------------------------------------------------------
static void s_test_foreign_and_format(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    s_write(bench, journal, 0, 3);
    bb_journal_close(&journal);
    bb_journal_options_t options = {
        .vfs = bb_sim_disk_vfs(disk), .directory = S_FOLDER, .owner = S_OWNER + 1};
    bb_fault_t fault = {0};
    bb_journal_report_t report;
    bench->found_count = 0;
    assert_int_equal(bb_journal_open(&options, s_on_record, bench, &report, &journal, &fault),
                     BB_ERR_FOREIGN);
    assert_non_null(strstr(fault.text, "000000000001.journal"));
    assert_null(journal);
    assert_int_equal(bench->found_count, 0);
    // A sound header of a version that we do not know.
    uint8_t header[BB_JOURNAL_FILE_HEADER_BYTES];
    bb_journal_file_header_encode(
        &(bb_journal_file_header_t){.owner = S_OWNER, .file_seq = 9, .base_seq = 1, .flags = 2},
        header);
    bb_sim_disk_put(disk, s_file_name(9), bb_slice(header, sizeof header));
    assert_int_equal(s_try_open(bench, disk, 0, &report, &journal, &fault), BB_ERR_FORMAT);
    assert_non_null(strstr(fault.text, "000000000009.journal"));
    assert_true(bb_sim_disk_exists(disk, s_file_name(9)));
    bb_sim_disk_destroy(&disk);
}

static void s_test_stranger_names(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    const char *names[] = {"readme",
                           "1.journal",
                           "000000000001.journal~",
                           "x00000000001.journal",
                           "99999999999999999999.journal",
                           ".journal"};
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        char path[96];
        snprintf(path, sizeof path, S_FOLDER "/%s", names[i]);
        bb_sim_disk_put(disk, path, bb_slice("mine", 4));
    }
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    assert_int_equal(bb_journal_file_last(journal), 1);
    bb_journal_close(&journal);
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        char path[96];
        snprintf(path, sizeof path, S_FOLDER "/%s", names[i]);
        assert_int_equal(bb_sim_disk_get(disk, path).length, 4);
    }
    bb_sim_disk_destroy(&disk);
}

// Goal: an error of the callback ends the opening with that error.
static void s_test_callback_refuses(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    s_write(bench, journal, 0, 5);
    bb_journal_close(&journal);
    bench->enough_after = 3;
    bb_journal_report_t report;
    assert_int_equal(s_try_open(bench, disk, 0, &report, &journal, NULL), BB_ERR_CANCELLED);
    assert_null(journal);
    bench->enough_after = 0;
    s_expect_found(bench, 0, 3);
    journal = s_open(bench, disk, 0, NULL); // and has changed nothing
    s_expect_found(bench, 0, 5);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// The same on the machine's own file system.
static void s_test_posix(void **state)
{
    s_bench_t *bench = *state;
    char root[] = "/tmp/test_bb_journal.XXXXXX";
    assert_non_null(mkdtemp(root));
    char folder[64];
    snprintf(folder, sizeof folder, "%s/a/journal", root);
    bb_journal_options_t options = {
        .vfs = bb_vfs_posix(), .directory = folder, .owner = 5, .file_bytes_max = 8192};
    for (uint32_t round = 0; round < 4; round++) {
        bb_journal_t *journal = NULL;
        bb_fault_t fault = {0};
        bench->found_count = 0;
        assert_int_equal(bb_journal_open(&options, s_on_record, bench, NULL, &journal, &fault),
                         BB_OK);
        s_expect_found(bench, 0, round * 10);
        s_write(bench, journal, round * 10, round * 10 + 9);
        s_write(bench, journal, round * 10 + 9, round * 10 + 10);
        bb_journal_close(&journal);
    }
    assert_int_equal(options.vfs->remove_tree(options.vfs, root), BB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(s_test_round_trip, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_group_commit, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_busy, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_files, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_read, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_dots_of_files, s_bench_setup, s_bench_teardown),
        cmocka_unit_test(s_test_dots_random),
        cmocka_unit_test_setup_teardown(s_test_disk_full, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_failed_sync_fences, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_foreign_and_format, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_stranger_names, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_callback_refuses, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_posix, s_bench_setup, s_bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

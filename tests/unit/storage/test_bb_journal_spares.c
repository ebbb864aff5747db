// SPDX-License-Identifier: Apache-2.0
// Journal files that are written again: what they held before is never taken for new, nothing of it
// is called damage, real damage still is, and every operation of it may be the last one.
#include "tests/unit/storage/journal_bench.h"

#include "storage/journal/bb_journal_format.h"
#include "storage/journal/bb_journal_spares.h"

static const char *s_spare_name(uint64_t file_seq)
{
    static char name[64]; // one at a time, in tests only
    snprintf(name, sizeof name, S_FOLDER "/%012llu.spare", (unsigned long long)file_seq);
    return name;
}

static size_t s_record_bytes(const s_bench_t *bench, uint32_t index)
{
    const bb_sample_t *sample = &bench->samples[index];
    return BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(sample->chunks_encoded.length) +
           bb_journal_padded(sample->batch.encoded.length);
}

static void s_rotate(bb_journal_t *journal)
{
    uint64_t sealed;
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
}

// A journal whose file 3 will be written in what was file 1: samples
// [0, 20) were in file 1 and dropped, file 2 is empty.
static bb_journal_t *s_recycled(s_bench_t *bench, bb_sim_disk_t *disk)
{
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    s_write(bench, journal, 0, 20);
    s_rotate(journal);
    assert_int_equal(bb_journal_drop(journal, 1), BB_OK);
    s_rotate(journal); // file 2 is empty and goes on
    assert_int_equal(bb_journal_file_last(journal), 2);
    return journal;
}

// Goal: a dropped file is kept, counted apart, written again under the next number, and read back
// as what was written last. Method: 20 records, then 4 in the same blocks.
static void s_test_written_again(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_recycled(bench, disk);
    uint64_t size = bb_sim_disk_get(disk, s_spare_name(1)).length;
    assert_int_equal(bb_journal_spare_bytes(journal), size);
    assert_int_equal(bb_journal_bytes(journal), BB_JOURNAL_FILE_HEADER_BYTES);
    assert_false(bb_sim_disk_exists(disk, s_file_name(1)));
    s_write(bench, journal, 20, 21);
    s_rotate(journal);
    assert_false(bb_sim_disk_exists(disk, s_spare_name(1)));
    assert_int_equal(bb_sim_disk_get(disk, s_file_name(3)).length, size);
    assert_int_equal(bb_journal_spare_bytes(journal), size - BB_JOURNAL_FILE_HEADER_BYTES);
    for (uint32_t i = 21; i < 24; i++) {
        s_write(bench, journal, i, i + 1);
    }
    uint64_t bytes = bb_journal_bytes(journal);
    assert_int_equal(bb_journal_spare_bytes(journal) + bytes,
                     size + bb_sim_disk_get(disk, s_file_name(2)).length);
    bb_journal_close(&journal);

    bb_journal_report_t report;
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 20, 24);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    assert_int_equal(report.bytes, bytes + BB_JOURNAL_FILE_HEADER_BYTES);
    uint64_t offset = 0;
    bench->found_count = 0;
    assert_int_equal(bb_journal_read(journal, 3, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_expect_found(bench, 21, 24);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: an older file that was written again ends where the next one says, and nothing behind that
// is looked at. Method: a full journal of recycled files, each ended early.
static void s_test_older_files(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    for (uint32_t i = 0; i < 4; i++) {
        s_write(bench, journal, 6 * i, 6 * i + 6);
        s_rotate(journal);
    }
    for (uint64_t seq = 1; seq <= 4; seq++) {
        assert_int_equal(bb_journal_drop(journal, seq), BB_OK);
    }
    for (uint32_t i = 24; i < 28; i++) {
        s_write(bench, journal, i, i + 1);
        s_rotate(journal);
    }
    bb_journal_close(&journal);
    bb_journal_report_t report;
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 24, 28);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    s_write(bench, journal, 28, 30);
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 24, 30);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: a flipped bit in any byte of a recycled file, newest or older, never gives a wrong record
// and is never silent, unless it hit what is left of the earlier life.
static void s_test_flips(void **state)
{
    s_bench_t *bench = *state;
    for (int is_older = 0; is_older < 2; is_older++) {
        bb_sim_disk_t *made = bb_sim_disk_new();
        bb_journal_t *journal = s_recycled(bench, made);
        s_write(bench, journal, 20, 21);
        s_rotate(journal);
        s_write(bench, journal, 21, 22);
        s_write(bench, journal, 22, 24);
        size_t end = BB_JOURNAL_FILE_HEADER_BYTES;
        for (uint32_t i = 21; i < 24; i++) {
            end += s_record_bytes(bench, i);
        }
        if (is_older) {
            s_rotate(journal);
            s_write(bench, journal, 24, 25);
        }
        bb_journal_close(&journal);
        bb_slice_t files[3];
        for (uint64_t i = 0; i < 3; i++) {
            files[i] = bb_sim_disk_get(made, s_file_name(2 + i));
        }
        for (size_t offset = 0; offset < files[1].length; offset++) {
            bb_sim_disk_t *disk = bb_sim_disk_new();
            for (uint64_t i = 0; i < 2u + (unsigned)is_older; i++) {
                bb_sim_disk_put(disk, s_file_name(2 + i), files[i]);
            }
            assert_true(bb_sim_disk_flip(disk, s_file_name(3), offset, 1u << (offset % 8)));
            bb_journal_report_t report;
            journal = s_open(bench, disk, 0, &report);
            if (offset >= end) {
                s_expect_found(bench, 20, 24 + (uint32_t)is_older);
                assert_int_equal(report.torn_bytes + report.damaged_count, 0);
            } else {
                assert_true(bench->found_count >= 2u + (unsigned)is_older);
                assert_true(report.damaged_count > 0 || (!is_older && report.torn_bytes > 0) ||
                            bench->found_count == 3);
            }
            bb_journal_close(&journal);
            bb_sim_disk_destroy(&disk);
        }
        bb_sim_disk_destroy(&made);
    }
}

// Goal: a torn record in front of old ones is cut and counted as what it was, not with what lies
// behind it. Method: the last record's second half is as the earlier life left it.
static void s_test_torn_tail(void **state)
{
    s_bench_t *bench = *state;
    for (size_t kept = 0; kept <= s_record_bytes(bench, 22); kept += 8) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_recycled(bench, disk);
        s_write(bench, journal, 20, 21);
        s_rotate(journal);
        s_write(bench, journal, 21, 22);
        bb_slice_t before = bb_sim_disk_get(disk, s_file_name(3));
        uint8_t *bytes = malloc(before.length);
        memcpy(bytes, before.data, before.length);
        size_t length = before.length;
        s_write(bench, journal, 22, 23);
        bb_journal_close(&journal);
        size_t first = BB_JOURNAL_FILE_HEADER_BYTES + s_record_bytes(bench, 21);
        const uint8_t *after = bb_sim_disk_get(disk, s_file_name(3)).data;
        memcpy(bytes + first, after + first, kept);
        bb_sim_disk_put(disk, s_file_name(3), bb_slice(bytes, length));
        bb_journal_report_t report;
        journal = s_open(bench, disk, 0, &report);
        bool is_whole = kept == s_record_bytes(bench, 22);
        s_expect_found(bench, 20, is_whole ? 23 : 22);
        assert_int_equal(report.damaged_count, 0);
        // Less than a header of it cannot be told from what was there.
        bool is_seen = kept >= BB_JOURNAL_RECORD_HEADER_BYTES && !is_whole;
        if (is_seen) {
            assert_int_equal(report.torn_bytes, s_record_bytes(bench, 22));
        }
        s_write(bench, journal, 30, 31);
        bb_journal_close(&journal);
        journal = s_open(bench, disk, 0, &report);
        assert_int_equal(report.torn_bytes + report.damaged_count, 0);
        assert_true(s_was_found(bench, 30));
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
        free(bytes);
    }
}

// Goal: no more spares than the limit, none that is too large, none with damage; one deleted by
// hand is not missed; all can be given up; numbers go on behind those of spares.
static void s_test_bounds(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    for (uint32_t i = 0; i < 7; i++) {
        s_write(bench, journal, i, i + 1);
        s_rotate(journal);
    }
    for (uint64_t seq = 1; seq <= 7; seq++) {
        assert_int_equal(bb_journal_drop(journal, seq), BB_OK);
        assert_int_equal(bb_sim_disk_exists(disk, s_spare_name(seq)), seq <= BB_JOURNAL_SPARES_MAX);
        assert_false(bb_sim_disk_exists(disk, s_file_name(seq)));
    }
    bb_journal_close(&journal);
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    uint8_t *large = calloc(1, 9000);
    bb_sim_disk_put(disk, s_spare_name(5), bb_slice(large, 100));
    bb_sim_disk_put(disk, s_spare_name(40), bb_slice(large, 9000));
    free(large);
    journal = s_open(bench, disk, 4096, NULL); // 9,000 bytes are too large for it
    assert_false(bb_sim_disk_exists(disk, s_spare_name(40)));
    assert_false(bb_sim_disk_exists(disk, s_spare_name(5))); // one too many
    assert_int_equal(bb_journal_file_last(journal), 8);      // reused, it was empty
    assert_int_equal(vfs->remove(vfs, s_spare_name(4)), BB_OK);
    s_write(bench, journal, 7, 8);
    s_rotate(journal);
    assert_int_equal(bb_journal_file_last(journal), 9);
    s_write(bench, journal, 8, 9);
    assert_int_equal(bb_journal_spares_drop(journal), BB_OK);
    for (uint64_t seq = 1; seq <= 4; seq++) {
        assert_false(bb_sim_disk_exists(disk, s_spare_name(seq)));
    }
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 0, NULL);
    s_expect_found(bench, 7, 9);
    bb_journal_close(&journal);
    // Only spares are left: their numbers are not given again.
    assert_int_equal(vfs->remove(vfs, s_file_name(8)), BB_OK);
    assert_int_equal(vfs->remove(vfs, s_file_name(9)), BB_OK);
    assert_int_equal(vfs->rename(vfs, s_file_name(10), s_spare_name(10)), BB_OK);
    journal = s_open(bench, disk, 0, NULL);
    assert_int_equal(bench->found_count, 0);
    assert_int_equal(bb_journal_file_last(journal), 11);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: a file that could not be begun because the disk was full, but whose header stands there all
// the same, says nothing false about the file before it, which was written on. Method: the folder's
// sync says so; a new file and a recycled one; then three records, a kill, and more records.
static void s_test_begun_in_vain(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t is_recycled = 0; is_recycled < 2; is_recycled++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_random_t random = bb_random_seed(is_recycled);
        bb_journal_t *journal = s_recycled(bench, disk);
        if (!is_recycled) {
            assert_int_equal(bb_journal_spares_drop(journal), BB_OK);
        }
        s_write(bench, journal, 20, 22);
        uint64_t sealed;
        // The syncs of a recycled file: of its old name, of its header, of its new name.
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 2 + is_recycled, BB_ERR_DISK_FULL);
        assert_int_equal(bb_journal_rotate(journal, &sealed), BB_ERR_DISK_FULL);
        assert_true(bb_sim_disk_exists(disk, s_file_name(3)));
        s_write(bench, journal, 22, 25);
        bb_journal_close(&journal);
        bb_sim_disk_die(disk, &random);
        for (uint32_t limit = 25; limit < 28; limit++) {
            bb_journal_report_t report;
            journal = s_open(bench, disk, 0, &report);
            s_expect_found(bench, 20, limit);
            assert_int_equal(report.damaged_count + report.torn_bytes, 0);
            s_write(bench, journal, limit, limit + 1);
            bb_journal_close(&journal);
        }
        bb_sim_disk_destroy(&disk);
    }
}

// A journal at work: groups of one or two records in small files; all but the last three are
// dropped after each group. Returns how many records were acknowledged.
static uint32_t s_work(s_bench_t *bench, bb_journal_t *journal, uint32_t first)
{
    uint32_t acked = first;
    while (acked < 40) {
        uint32_t limit = BB_MIN(acked + 1 + acked % 2, 40u);
        for (uint32_t i = acked; i < limit; i++) {
            if (s_append(bench, journal, i) != BB_OK) {
                return acked;
            }
        }
        if (bb_journal_sync(journal) != BB_OK) {
            return acked;
        }
        acked = limit;
        uint64_t seq = bb_journal_file_first(journal);
        for (; seq + 2 < bb_journal_file_last(journal); seq++) {
            bb_error_t error = bb_journal_drop(journal, seq);
            bb_ignore(error, "the disk may be gone");
        }
    }
    return acked;
}

// What may be found: a run of samples that ends with all that was acknowledged, and perhaps the
// group behind it.
static void s_expect_run(const s_bench_t *bench, uint32_t acked)
{
    if (bench->found_count == 0) {
        assert_int_equal(acked, 0);
        return;
    }
    uint32_t last = bench->found[bench->found_count - 1];
    assert_in_range(last + 1, acked, acked + 2);
    for (uint32_t i = 0; i < bench->found_count; i++) {
        // Samples are written in order; a file that a crash brought back is an older one.
        assert_true(i == 0 || bench->found[i] > bench->found[i - 1]);
    }
    for (uint32_t i = 1; i <= 2 && i <= acked; i++) {
        assert_true(s_was_found(bench, acked - i)); // the last files were never dropped
    }
}

// Goal: power may go, or the process be killed, at any operation while files are dropped, taken
// and written again; then again while the next process opens. Method: halt at the nth operation
// for every n, then crash or die, halt at some operation of the next opening, crash, open.
static void s_test_killed_at_each_operation(void **state)
{
    s_bench_t *bench = *state;
    bool is_over = false;
    for (uint64_t nth = 1; !is_over; nth++) {
        for (uint64_t variant = 0; variant < 4; variant++) {
            bb_random_t random = bb_random_seed(nth * 4 + variant);
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_journal_t *journal = s_open(bench, disk, 1536, NULL);
            bb_sim_disk_halt_at(disk, nth);
            uint32_t acked = s_work(bench, journal, 0);
            is_over = !bb_sim_disk_is_halted(disk);
            bb_journal_close(&journal);
            bool is_alive = variant % 2 == 1; // the machine goes on
            is_alive ? bb_sim_disk_die(disk, &random) : bb_sim_disk_crash(disk, &random);
            bb_journal_report_t report;
            if (variant >= 2) {
                bb_sim_disk_halt_at(disk, 1 + nth % 40);
                bb_fault_t fault;
                if (s_try_open(bench, disk, 1536, &report, &journal, &fault) == BB_OK) {
                    bb_journal_close(&journal);
                }
                bb_sim_disk_crash(disk, &random);
            }
            journal = s_open(bench, disk, 1536, &report);
            s_expect_run(bench, acked);
            assert_int_equal(report.damaged_count, report.unsynced_count);
            uint32_t count = bench->found_count;
            bb_journal_close(&journal);
            bb_sim_disk_crash(disk, &random);
            journal = s_open(bench, disk, 1536, &report);
            assert_int_equal(bench->found_count, count);
            assert_int_equal(s_work(bench, journal, 38), 40); // and it goes on
            bb_journal_close(&journal);
            bb_sim_disk_destroy(&disk);
        }
        assert_in_range(nth, 1, 600);
    }
}

// Goal: each call of the disk may fail once, by itself: the journal then either goes on or is
// fenced, and loses nothing that it acknowledged. Method: the nth operation fails for every n, with
// each of two errors.
static void s_test_each_operation_fails(void **state)
{
    s_bench_t *bench = *state;
    static const bb_error_t errors[] = {BB_ERR_IO, BB_ERR_DISK_FULL};
    for (size_t e = 0; e < BB_COUNT_OF(errors); e++) {
        bool is_over = false;
        for (uint64_t nth = 1; !is_over; nth++) {
            bb_random_t random = bb_random_seed(nth);
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_journal_t *journal = s_open(bench, disk, 1536, NULL);
            uint64_t before = bb_sim_disk_op_count(disk, BB_SIM_ANY);
            bb_sim_disk_fail(disk, BB_SIM_ANY, nth, errors[e]);
            uint32_t acked = s_work(bench, journal, 0);
            bool has_failed = bb_sim_disk_op_count(disk, BB_SIM_ANY) - before >= nth;
            is_over = !has_failed;
            if (acked < 40 && !bb_journal_is_fenced(journal)) {
                assert_int_equal(errors[e], BB_ERR_DISK_FULL);
                acked = s_work(bench, journal, acked); // there is room again
                assert_int_equal(acked, 40);
            }
            bb_journal_close(&journal);
            nth % 2 ? bb_sim_disk_die(disk, &random) : bb_sim_disk_crash(disk, &random);
            bb_journal_report_t report;
            journal = s_open(bench, disk, 1536, &report);
            s_expect_run(bench, acked);
            assert_int_equal(report.damaged_count, report.unsynced_count);
            bb_journal_close(&journal);
            bb_sim_disk_destroy(&disk);
            assert_in_range(nth, 1, 600);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(s_test_written_again, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_older_files, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_flips, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_torn_tail, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_begun_in_vain, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_bounds, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_killed_at_each_operation, s_bench_setup,
                                        s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_each_operation_fails, s_bench_setup,
                                        s_bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

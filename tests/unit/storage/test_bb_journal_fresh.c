// SPDX-License-Identifier: Apache-2.0
// Journal files made before they are needed: when one is wanted, that it is written to instead of
// letting the present file grow, and that no interrupted step loses or invents a record.
#include "tests/unit/storage/journal_bench.h"

#include "storage/journal/bb_journal_format.h"
#include "storage/journal/bb_journal_fresh.h"
#include "storage/journal/bb_journal_spares.h"

#define FILE_BYTES 4096
#define FRESH      S_FOLDER "/fresh.spare"

static bb_error_t s_make(bb_journal_t *journal)
{
    bb_journal_fresh_t *fresh = bb_journal_fresh_begin(journal);
    bb_error_t error = bb_journal_fresh_run(fresh);
    bb_journal_fresh_end(journal, &fresh, error);
    assert_null(fresh);
    return error;
}

// Writes samples from *next on until one is wanted.
static void s_write_until_wanted(s_bench_t *bench, bb_journal_t *journal, uint32_t *next)
{
    while (!bb_journal_fresh_is_wanted(journal)) {
        s_write(bench, journal, *next, *next + 1);
        (*next)++;
    }
}

// Goal: a journal that nobody writes to wants none; one that is written to wants one for each file,
// and goes over to it when its file would grow. What was written is found again.
static void s_test_is_used(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
    assert_false(bb_journal_fresh_is_wanted(journal));
    uint32_t next = 0;
    s_write_until_wanted(bench, journal, &next);
    assert_true(bb_journal_bytes(journal) >= FILE_BYTES / 4);
    assert_int_equal(bb_journal_file_last(journal), 1);
    assert_int_equal(s_make(journal), BB_OK);
    assert_false(bb_journal_fresh_is_wanted(journal));
    assert_int_equal(bb_sim_disk_get(disk, FRESH).length, FILE_BYTES);
    assert_int_equal(bb_journal_spare_bytes(journal), FILE_BYTES);

    s_write(bench, journal, next, next + 1);
    next++;
    assert_int_equal(bb_journal_file_last(journal), 2);
    assert_false(bb_sim_disk_exists(disk, FRESH));
    assert_int_equal(bb_sim_disk_get(disk, s_file_name(2)).length, FILE_BYTES);
    s_write_until_wanted(bench, journal, &next); // the next one, long before this one is full
    assert_int_equal(bb_journal_file_last(journal), 2);
    bb_journal_close(&journal);

    bb_journal_report_t report;
    journal = s_open(bench, disk, FILE_BYTES, &report);
    s_expect_found(bench, 0, next);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: what an interrupted making leaves is removed at the next opening when it is short, and used
// when it is whole.
static void s_test_found_at_opening(void **state)
{
    s_bench_t *bench = *state;
    for (uint32_t length = 0; length <= FILE_BYTES; length += FILE_BYTES / 4) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        uint8_t zeros[FILE_BYTES] = {0};
        bb_sim_disk_put(disk, FRESH, bb_slice(zeros, length));
        bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
        uint32_t next = 0;
        bool is_kept = length >= FILE_BYTES / 2;
        assert_false(bb_sim_disk_exists(disk, FRESH)); // gone, or file 1 by now
        assert_int_equal(bb_sim_disk_get(disk, s_file_name(1)).length,
                         is_kept ? length : BB_JOURNAL_FILE_HEADER_BYTES);
        s_write_until_wanted(bench, journal, &next);
        bb_journal_close(&journal);
        journal = s_open(bench, disk, FILE_BYTES, NULL);
        s_expect_found(bench, 0, next);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: a disk that fails or is full while one is made changes nothing for records, leaves no file
// of that name, and it is not tried again for the present file.
static void s_test_failures(void **state)
{
    s_bench_t *bench = *state;
    const bb_sim_op_t operations[] = {BB_SIM_OPEN, BB_SIM_WRITE, BB_SIM_SYNC};
    for (uint32_t i = 0; i < BB_COUNT_OF(operations); i++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
        uint32_t next = 0;
        s_write_until_wanted(bench, journal, &next);
        bb_sim_disk_fail(disk, operations[i], 1, i % 2 ? BB_ERR_DISK_FULL : BB_ERR_IO);
        assert_int_equal(s_make(journal), i % 2 ? BB_ERR_DISK_FULL : BB_ERR_IO);
        assert_false(bb_sim_disk_exists(disk, FRESH));
        assert_false(bb_journal_fresh_is_wanted(journal));
        s_write(bench, journal, next, next + 2);
        bb_journal_close(&journal);
        journal = s_open(bench, disk, FILE_BYTES, NULL);
        s_expect_found(bench, 0, next + 2);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: no name is given twice. Method: while one waits no other is wanted, and one that was passed
// is wanted again with the next file.
static void s_test_one_at_a_time(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
    uint32_t next = 0;
    s_write_until_wanted(bench, journal, &next);
    bb_journal_fresh_pass(journal);
    assert_false(bb_journal_fresh_is_wanted(journal));
    uint64_t sealed;
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    s_write_until_wanted(bench, journal, &next);
    assert_int_equal(s_make(journal), BB_OK);
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK); // takes it
    assert_false(bb_sim_disk_exists(disk, FRESH));
    s_write_until_wanted(bench, journal, &next);
    assert_int_equal(bb_journal_spares_drop(journal), BB_OK);
    assert_true(bb_journal_fresh_is_wanted(journal));
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: no file lies there that nobody knows of. Method: while one is made, so many files are
// dropped that there are enough spares: the smallest goes, and what is there is what is counted.
static void s_test_others_come_meanwhile(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
    uint32_t next = 0;
    uint64_t sealed;
    for (; next < BB_JOURNAL_SPARES_MAX - 1; next++) {
        s_write(bench, journal, next, next + 1);
        assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    }
    s_write_until_wanted(bench, journal, &next);
    bb_journal_fresh_t *fresh = bb_journal_fresh_begin(journal);
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    for (uint64_t seq = 1; seq <= BB_JOURNAL_SPARES_MAX; seq++) {
        assert_int_equal(bb_journal_drop(journal, seq), BB_OK);
    }
    uint64_t before_bytes = bb_journal_spare_bytes(journal);
    bb_error_t error = bb_journal_fresh_run(fresh);
    bb_journal_fresh_end(journal, &fresh, error);
    assert_int_equal(error, BB_OK);
    uint64_t there_bytes = bb_sim_disk_get(disk, FRESH).length;
    assert_int_equal(there_bytes, FILE_BYTES);
    uint32_t there_count = 1;
    for (uint64_t seq = 1; seq <= BB_JOURNAL_SPARES_MAX; seq++) {
        char name[64];
        snprintf(name, sizeof name, S_FOLDER "/%012llu.spare", (unsigned long long)seq);
        if (bb_sim_disk_exists(disk, name)) {
            there_bytes += bb_sim_disk_get(disk, name).length;
            there_count++;
        }
    }
    assert_int_equal(there_count, BB_JOURNAL_SPARES_MAX);
    assert_int_equal(bb_journal_spare_bytes(journal), there_bytes);
    assert_true(there_bytes > before_bytes);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: a power loss at any moment of making, taking and writing to one loses nothing that was
// durable and invents nothing.
static void s_test_killed_at_each_write(void **state)
{
    s_bench_t *bench = *state;
    bool is_halted = true;
    for (uint64_t nth = 1; is_halted; nth++) {
        bb_random_t random = bb_random_seed(nth);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, FILE_BYTES, NULL);
        uint32_t next = 0;
        s_write_until_wanted(bench, journal, &next);
        bb_sim_disk_halt_at(disk, nth);
        bb_error_t error = s_make(journal);
        while (error == BB_OK && next < S_SAMPLES) {
            assert_int_equal(s_append(bench, journal, next), BB_OK);
            error = bb_journal_sync(journal);
            next += error == BB_OK;
        }
        is_halted = bb_sim_disk_is_halted(disk);
        bb_journal_close(&journal);
        nth % 2 ? bb_sim_disk_die(disk, &random) : bb_sim_disk_crash(disk, &random);
        bb_journal_report_t report;
        journal = s_open(bench, disk, FILE_BYTES, &report);
        assert_in_range(bench->found_count, next, next + 1); // the last one may be whole
        assert_int_equal(report.damaged_count, report.unsynced_count);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
        assert_in_range(nth, 1, 600);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(s_test_is_used, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_found_at_opening, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_failures, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_others_come_meanwhile, s_bench_setup,
                                        s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_one_at_a_time, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_killed_at_each_write, s_bench_setup,
                                        s_bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

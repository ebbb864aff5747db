// SPDX-License-Identifier: Apache-2.0
// The journal of a process that ended between writing and syncing, on a machine that went on: what
// the next process hands out as recovered must survive a later power loss.
#include "tests/unit/storage/journal_bench.h"

// Reopens without a power loss, then loses power, then reopens: all of [0, count) must be there
// both times if the first opening handed them out.
static void s_expect_kept(s_bench_t *bench, bb_sim_disk_t *disk, uint32_t count, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    bb_journal_report_t report;
    bb_journal_t *journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, count);
    bb_journal_close(&journal);
    bb_sim_disk_crash(disk, &random);
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, count);
    assert_int_equal(report.damaged_count, 0);
    bb_journal_close(&journal);
}

// Goal: records whose sync failed can be read by the next process, because the kernel still has
// the pages, and a second sync would not write them. Once handed out they must be durable.
static void s_test_failed_sync(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 0, NULL);
        s_write(bench, journal, 0, 3);
        for (uint32_t i = 3; i < 9; i++) {
            assert_int_equal(s_append(bench, journal, i), BB_OK);
        }
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
        assert_int_equal(bb_journal_sync(journal), BB_ERR_IO);
        assert_true(bb_journal_is_fenced(journal));
        bb_journal_close(&journal);
        s_expect_kept(bench, disk, 9, seed);
        bb_sim_disk_destroy(&disk);
    }
}

// The same when the sync that failed was that of the next file's header.
static void s_test_failed_header(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 0, NULL);
        s_write(bench, journal, 0, 3);
        uint64_t sealed;
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1 + seed % 2, BB_ERR_IO);
        assert_int_equal(bb_journal_rotate(journal, &sealed), BB_ERR_IO);
        bb_journal_close(&journal);
        s_expect_kept(bench, disk, 3, seed);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: an empty file whose header could not be synced is taken over with a header that stays.
// Method: the sync of the very first file fails; the next process writes to that file and syncs.
static void s_test_failed_first_header(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_report_t report;
        bb_journal_t *journal = NULL;
        bb_fault_t fault;
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
        assert_int_equal(s_try_open(bench, disk, 0, &report, &journal, &fault), BB_ERR_IO);
        journal = s_open(bench, disk, 0, &report);
        s_write(bench, journal, 0, 3);
        bb_journal_close(&journal);
        bb_sim_disk_crash(disk, &random);
        journal = s_open(bench, disk, 0, &report);
        s_expect_found(bench, 0, 3);
        assert_int_equal(report.damaged_count, 0);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: an opening that cannot make the records durable fails, and a later one is not fooled.
static void s_test_failed_opening(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 0, NULL);
        s_write(bench, journal, 0, 3);
        assert_int_equal(s_append(bench, journal, 3), BB_OK);
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
        assert_int_equal(bb_journal_sync(journal), BB_ERR_IO);
        bb_journal_close(&journal);
        // The first sync of an opening is that of the records.
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
        bb_journal_options_t options = {
            .vfs = bb_sim_disk_vfs(disk), .directory = S_FOLDER, .owner = S_OWNER};
        bench->found_count = 0;
        bb_fault_t fault;
        assert_int_equal(bb_journal_open(&options, s_on_record, bench, NULL, &journal, &fault),
                         BB_ERR_IO);
        s_expect_kept(bench, disk, 4, seed);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: a process may be killed at any operation; what the next one hands out stays, and whatever
// was acknowledged is among it. Method: kill at the nth operation for every n, on a machine that
// goes on; then reopen, lose power, reopen.
static void s_test_killed_at_each_operation(void **state)
{
    s_bench_t *bench = *state;
    bool is_over = false;
    for (uint64_t nth = 1; !is_over; nth++) {
        bb_random_t random = bb_random_seed(nth);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_journal_t *journal = s_open(bench, disk, 1024, NULL);
        uint32_t acked = 0;
        bb_sim_disk_halt_at(disk, nth);
        for (uint32_t i = 0; i < 12 && acked == i; i++) {
            assert_int_equal(s_append(bench, journal, i), BB_OK);
            acked += bb_journal_sync(journal) == BB_OK;
        }
        is_over = !bb_sim_disk_is_halted(disk);
        bb_journal_close(&journal);
        bb_sim_disk_die(disk, &random);
        journal = s_open(bench, disk, 1024, NULL);
        uint32_t found = bench->found_count;
        assert_in_range(found, acked, acked + 1);
        bb_journal_close(&journal);
        bb_sim_disk_crash(disk, &random);
        journal = s_open(bench, disk, 1024, NULL);
        assert_int_equal(bench->found_count, found);
        s_expect_found(bench, 0, found);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
        assert_in_range(nth, 1, 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(s_test_failed_sync, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_failed_first_header, s_bench_setup,
                                        s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_failed_header, s_bench_setup, s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_killed_at_each_operation, s_bench_setup,
                                        s_bench_teardown),
        cmocka_unit_test_setup_teardown(s_test_failed_opening, s_bench_setup, s_bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

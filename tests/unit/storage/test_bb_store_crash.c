// SPDX-License-Identifier: Apache-2.0
// Power loss at every operation of the disk: whatever was synced is there afterwards, whatever is
// there was written by someone, and the store goes on as if nothing had happened.
#include "tests/support/bb_rounds.h"
#include "tests/unit/storage/store_fixture.h"

// A scripted history on a disk that stops at its nth operation. What the store promised so far is
// known at each moment: synced batches must survive; the one being synced may.
typedef struct {
    fixture_t fixture;
    fixture_batch_t *batches;
    uint32_t batch_count;
    uint32_t synced_count; // batches that must be there
    uint32_t staged_count; // batches that may be there
} s_history_t;

#define S_BATCHES 14u

static void s_make(s_history_t *self, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    memset(self, 0, sizeof *self);
    fixture_open(&self->fixture, true);
    self->fixture.day_spread = 2;
    self->batches = bb_alloc_zero(S_BATCHES, sizeof *self->batches);
    self->batch_count = S_BATCHES;
    for (uint32_t i = 0; i < S_BATCHES; i++) {
        fixture_random_batch(&self->fixture, &random, 12, true, &self->batches[i]);
    }
}

static void s_free(s_history_t *self)
{
    for (uint32_t i = 0; i < self->batch_count; i++) {
        fixture_batch_free(&self->batches[i]);
    }
    free(self->batches);
    fixture_close(&self->fixture);
}

static bool s_all_held(void *context, uint32_t partition, const bb_stream_t *stream,
                       uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream, (void)first_seq, (void)last_seq;
    return true;
}

// The whole script, or as far as it gets. False: the disk stopped.
static bool s_run(s_history_t *self, bool with_trim)
{
    fixture_t *fixture = &self->fixture;
    for (uint32_t i = self->synced_count; i < self->batch_count; i++) {
        const fixture_batch_t *batch = &self->batches[i];
        self->staged_count = i + 1;
        if (fixture_stage(fixture, batch) != BB_OK || bb_store_sync(fixture->store) != BB_OK) {
            return false;
        }
        self->synced_count = i + 1;
        assert_int_equal(bb_store_apply(fixture->store, &batch->chunks, &batch->batch), BB_OK);
        bb_error_t error = BB_OK;
        if (i % 3 == 2) {
            error = fixture_job(fixture, BB_JOB_FLUSH);
        }
        if (error == BB_OK && i % 6 == 5) {
            while (error == BB_OK) {
                error = fixture_job(fixture, BB_JOB_MERGE);
            }
            error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
        }
        if (error == BB_OK && with_trim && i % 4 == 3) {
            error = bb_store_trim(fixture->store, s_all_held, NULL);
        }
        if (error != BB_OK) {
            return false;
        }
    }
    return true;
}

// The oracle of the first `count` batches.
static void s_set_points(s_history_t *self, uint32_t count)
{
    self->fixture.points.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        fixture_adopt(&self->fixture, &self->batches[i]);
    }
}

static void s_verify(s_history_t *self)
{
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (uint32_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(&self->fixture, &query);
    }
}

// How many of the batches the have-sets show; all parts of a batch are in one record, so it is
// there or not.
static uint32_t s_survivors(s_history_t *self)
{
    uint32_t count = 0;
    while (count < self->batch_count) {
        const fixture_batch_t *batch = &self->batches[count];
        bool there = true;
        for (uint32_t p = 0; p < batch->batch.part_count; p++) {
            there &= bb_have_set_contains(
                bb_store_have(self->fixture.store, batch->batch.parts[p].partition),
                &batch->chunks.stream, bb_chunks_seq(&batch->chunks, p));
        }
        if (!there) {
            break;
        }
        count++;
    }
    return count;
}

static void s_count_folder(void *context, const char *name, bool is_directory)
{
    (void)name;
    assert_true(is_directory);
    ++*(uint32_t *)context;
}

// Goal: what a crash leaves half made is removed: each segment has one folder, and nothing else is
// there.
static void s_verify_folders(s_history_t *self)
{
    bb_vfs_t *vfs = self->fixture.options.vfs;
    uint32_t folder_count = 0;
    static const char *const folders[] = {"/store/windows/default", "/store/quarantine/default"};
    for (uint32_t i = 0; i < BB_COUNT_OF(folders); i++) {
        bb_error_t error = vfs->list(vfs, folders[i], s_count_folder, &folder_count);
        assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
    }
    bb_store_stats_t stats;
    bb_store_stats(self->fixture.store, &stats);
    assert_int_equal(folder_count, stats.segments);
}

// Opens after the crash, checks, goes on to the end of the script, checks again.
static void s_recover(s_history_t *self, bool with_trim)
{
    fixture_reopen_error(&self->fixture, BB_OK);
    uint32_t survivors = s_survivors(self);
    assert_true(survivors >= self->synced_count);
    assert_true(survivors <= self->staged_count);
    self->synced_count = survivors;
    s_set_points(self, survivors);
    s_verify_folders(self);
    s_verify(self);
    assert_true(s_run(self, with_trim));
    s_set_points(self, self->batch_count);
    s_verify(self);
    // What the journal and meta say together is complete: open once more.
    fixture_reopen(&self->fixture);
    assert_int_equal(s_survivors(self), self->batch_count);
    s_verify(self);
}

// Operations of an undisturbed run.
static uint64_t s_op_count(uint64_t seed, bool with_trim)
{
    s_history_t history;
    s_make(&history, seed);
    uint64_t before = bb_sim_disk_op_count(history.fixture.disk, BB_SIM_ANY);
    assert_true(s_run(&history, with_trim));
    uint64_t count = bb_sim_disk_op_count(history.fixture.disk, BB_SIM_ANY) - before;
    s_set_points(&history, history.batch_count);
    s_verify(&history);
    s_free(&history);
    return count;
}

// Goal: power lost at every single operation of stage, sync, flush, merge and trim.
static void s_crash_everywhere(uint64_t seed, bool with_trim)
{
    uint64_t op_count = s_op_count(seed, with_trim);
    assert_true(op_count > 100);
    for (uint64_t nth = 1; nth <= op_count; nth += BB_ROUNDS_DIVISOR) {
        s_history_t history;
        s_make(&history, seed);
        bb_random_t random = bb_random_seed(seed * 1000003 + nth);
        bb_sim_disk_halt_at(history.fixture.disk, nth);
        assert_false(s_run(&history, with_trim) &&
                     bb_sim_disk_is_halted(history.fixture.disk) == false);
        bb_store_close(&history.fixture.store);
        bb_sim_disk_crash(history.fixture.disk, &random);
        s_recover(&history, with_trim);
        s_free(&history);
    }
}

static void test_power_loss_at_every_operation(void **state)
{
    (void)state;
    s_crash_everywhere(1, false);
}

static void test_power_loss_at_every_operation_with_trim(void **state)
{
    (void)state;
    s_crash_everywhere(2, true);
}

// Goal: power lost again and again, during recovery, too.
static void test_power_loss_during_recovery(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= bb_rounds(40); seed++) {
        s_history_t history;
        s_make(&history, 3);
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = history.fixture.disk;
        for (uint32_t crash = 0; crash < 6; crash++) {
            bb_sim_disk_halt_at(disk, bb_random_between(&random, 1, 60));
            if (history.fixture.store) {
                s_run(&history, true);
                bb_store_close(&history.fixture.store);
            }
            bb_sim_disk_crash(disk, &random);
            // The next opening may be interrupted as well.
            bb_sim_disk_halt_at(disk, bb_random_between(&random, 1, 40));
            bb_store_report_t report;
            bb_fault_t fault = {0};
            bb_error_t error =
                bb_store_open(&history.fixture.options, &report, &history.fixture.store, &fault);
            if (error != BB_OK) {
                assert_true(bb_sim_disk_is_halted(disk));
                history.fixture.store = NULL;
                continue;
            }
            uint32_t survivors = s_survivors(&history);
            assert_true(survivors >= history.synced_count);
            history.synced_count = survivors;
        }
        if (history.fixture.store) {
            bb_store_close(&history.fixture.store);
        }
        bb_sim_disk_crash(disk, &random);
        history.staged_count = history.batch_count;
        s_recover(&history, true);
        s_free(&history);
    }
}

// Goal: an operation that fails once, with the machine going on. Whatever is not fenced must still
// be right; a fenced store is reopened, as the node does.
static void s_fault_everywhere(bb_sim_op_t op, bb_error_t error)
{
    for (uint64_t nth = 1;; nth++) {
        s_history_t history;
        s_make(&history, 4);
        bb_sim_disk_t *disk = history.fixture.disk;
        uint64_t before = bb_sim_disk_op_count(disk, op);
        bb_sim_disk_fail(disk, op, nth, error);
        bool done = s_run(&history, true);
        bool fired = bb_sim_disk_op_count(disk, op) - before >= nth;
        bb_sim_disk_fail(disk, op, 0, BB_OK);
        uint32_t applied = s_survivors(&history);
        assert_true(applied >= history.synced_count || done);
        s_set_points(&history, applied);
        s_verify(&history);
        // Nothing was lost that was synced; with power lost on top, still nothing.
        bb_store_close(&history.fixture.store);
        bb_random_t random = bb_random_seed(nth);
        bb_sim_disk_crash(disk, &random);
        s_recover(&history, true);
        s_free(&history);
        if (!fired) {
            assert_true(nth > 3); // else the fault was never met
            return;
        }
    }
}

static void test_failed_writes(void **state)
{
    (void)state;
    s_fault_everywhere(BB_SIM_WRITE, BB_ERR_IO);
    s_fault_everywhere(BB_SIM_WRITE, BB_ERR_DISK_FULL);
}

static void test_failed_syncs(void **state)
{
    (void)state;
    s_fault_everywhere(BB_SIM_SYNC, BB_ERR_IO);
}

static void test_failed_commits(void **state)
{
    (void)state;
    s_fault_everywhere(BB_SIM_COMMIT, BB_ERR_IO);
    s_fault_everywhere(BB_SIM_COMMIT, BB_ERR_DISK_FULL);
}

static void test_failed_names(void **state)
{
    (void)state;
    s_fault_everywhere(BB_SIM_NAMESPACE, BB_ERR_IO);
    s_fault_everywhere(BB_SIM_OPEN, BB_ERR_IO);
}

// Goal: a first start that loses power at any moment is begun again.
static void test_power_loss_at_first_start(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 60; nth++) {
        fixture_t fixture;
        fixture_open(&fixture, true);
        bb_store_close(&fixture.store);
        bb_sim_disk_destroy(&fixture.disk);
        fixture.disk = bb_sim_disk_new();
        fixture.options.vfs = bb_sim_disk_vfs(fixture.disk);
        fixture.options.kv = bb_sim_kv(fixture.disk);
        bb_random_t random = bb_random_seed(nth);
        bb_sim_disk_halt_at(fixture.disk, nth);
        bb_store_report_t report;
        bb_fault_t fault = {0};
        bb_error_t error = bb_store_open(&fixture.options, &report, &fixture.store, &fault);
        if (error == BB_OK) {
            bb_store_close(&fixture.store);
        }
        bb_sim_disk_crash(fixture.disk, &random);
        fixture_reopen_error(&fixture, BB_OK);
        fixture_write_random(&fixture, &random, 20, false);
        fixture_reopen(&fixture);
        bb_query_t query = fixture_query(BB_QUERY_RAW);
        fixture_verify(&fixture, &query);
        fixture_close(&fixture);
        if (error == BB_OK && nth > 3) {
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss_at_every_operation),
        cmocka_unit_test(test_power_loss_at_every_operation_with_trim),
        cmocka_unit_test(test_power_loss_during_recovery),
        cmocka_unit_test(test_failed_writes),
        cmocka_unit_test(test_failed_syncs),
        cmocka_unit_test(test_failed_commits),
        cmocka_unit_test(test_failed_names),
        cmocka_unit_test(test_power_loss_at_first_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Orders of events that a store meets rarely: a merge while a flush waits to be repeated, a record
// of the journal that goes bad later, folders that are gone, a disk that is full between two syncs.
#include "storage/journal/bb_journal_format.h"
#include "tests/unit/storage/store_fixture.h"

// ---- helpers ---------------------------------------------------------------------------------
// A batch of one frame with one metric.
static void s_batch(fixture_t *self, uint32_t battery, int64_t time_wall_ns, double value,
                    bool is_quarantined, fixture_batch_t *out)
{
    static const uint32_t metrics[1] = {0};
    static const uint8_t types[1] = {BB_TYPE_FLOAT64};
    memset(out, 0, sizeof *out);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    uint64_t bits = bb_bits_of_double(value);
    fixture_add_frame(builder, out, battery, 0, time_wall_ns, metrics, types, &bits, 1,
                      is_quarantined);
    fixture_seal(self, builder, &is_quarantined, FIXTURE_START_NS, out);
    bb_batch_builder_destroy(&builder);
}

static void s_write(fixture_t *self, uint32_t battery, int64_t time_wall_ns, double value)
{
    fixture_batch_t batch;
    s_batch(self, battery, time_wall_ns, value, false, &batch);
    fixture_write(self, &batch);
    fixture_batch_free(&batch);
}

static void s_verify(fixture_t *self)
{
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (uint32_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(self, &query);
    }
}

static bool s_all_held(void *context, uint32_t partition, const bb_stream_t *stream,
                       uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream, (void)first_seq, (void)last_seq;
    return true;
}

// ---- jobs ------------------------------------------------------------------------------------
// Goal: a flush that stopped half way knows which folder of a window it wrote to. A merge must not
// replace that folder before the flush has been repeated and recorded.
static void test_merge_waits_for_a_failed_flush(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const int64_t day = BB_NS_PER_DAY;
    for (int64_t i = 0; i < 3; i++) {
        s_write(&fixture, 0, FIXTURE_START_NS + i, (double)i);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    s_write(&fixture, 0, FIXTURE_START_NS + 3, 3);
    s_write(&fixture, 0, FIXTURE_START_NS + day, 4);
    // Commits: names, window of the first day, window of the second, seal.
    bb_sim_disk_fail(fixture.disk, BB_SIM_COMMIT, 3, BB_ERR_DISK_FULL);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_ERR_DISK_FULL);
    assert_false(bb_store_is_fenced(fixture.store));
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_ERR_BUSY);
    s_verify(&fixture);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_OK);
    s_verify(&fixture);
    fixture_reopen(&fixture);
    s_verify(&fixture);
    fixture_close(&fixture);
}

// Goal: a full disk drops what was staged, not what an earlier sync made durable: that must still
// be applied before the journal is sealed over it.
static void test_full_disk_between_sync_and_apply(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    s_write(&fixture, 0, FIXTURE_START_NS, 1);
    fixture_batch_t synced;
    fixture_batch_t dropped;
    s_batch(&fixture, 1, FIXTURE_START_NS, 2, false, &synced);
    s_batch(&fixture, 2, FIXTURE_START_NS, 3, false, &dropped);
    assert_int_equal(fixture_stage(&fixture, &synced), BB_OK);
    assert_int_equal(bb_store_sync(fixture.store), BB_OK);
    assert_int_equal(fixture_stage(&fixture, &dropped), BB_OK);
    bb_sim_disk_fail(fixture.disk, BB_SIM_WRITE, 1, BB_ERR_DISK_FULL);
    assert_int_equal(bb_store_sync(fixture.store), BB_ERR_DISK_FULL);
    bb_store_job_t *job = NULL;
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1, &job), BB_ERR_BUSY);
    assert_int_equal(bb_store_apply(fixture.store, &synced.chunks, &synced.batch), BB_OK);
    fixture_adopt(&fixture, &synced);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&fixture);
    s_verify(&fixture);
    fixture_batch_free(&synced);
    fixture_batch_free(&dropped);
    fixture_close(&fixture);
}

// ---- commits in doubt ------------------------------------------------------------------------
// Goal: a seal whose commit failed may be on the disk or not. What the next start decides must not
// be turned round by a power loss after it.
static void test_failed_seal_is_settled_at_open(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 32; seed++) {
        fixture_t fixture;
        fixture_open(&fixture, true);
        bb_random_t random = bb_random_seed(seed);
        s_write(&fixture, 0, FIXTURE_START_NS, 1);
        // Commits: names, window, seal.
        bb_sim_disk_fail(fixture.disk, BB_SIM_COMMIT, 3, BB_ERR_IO);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_ERR_IO);
        assert_true(bb_store_is_fenced(fixture.store));
        fixture_reopen(&fixture);
        s_verify(&fixture);
        s_write(&fixture, 1, FIXTURE_START_NS + BB_NS_PER_DAY, 2);
        bb_store_close(&fixture.store);
        bb_sim_disk_crash(fixture.disk, &random);
        fixture_reopen_error(&fixture, BB_OK);
        s_verify(&fixture);
        fixture_close(&fixture);
    }
}

// Goal: the same for the file that says whose store this is: a first start that failed and was
// repeated leaves a store that opens after a power loss.
static void test_failed_first_start_is_settled(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 8; nth++) {
        for (uint64_t seed = 0; seed < 16; seed++) {
            fixture_t fixture;
            fixture_open(&fixture, true);
            bb_store_close(&fixture.store);
            bb_vfs_t *vfs = fixture.options.vfs;
            assert_int_equal(vfs->remove_tree(vfs, "/store"), BB_OK);
            bb_sim_disk_fail(fixture.disk, BB_SIM_SYNC, nth, BB_ERR_IO);
            bb_store_report_t report;
            bb_fault_t fault = {0};
            bb_error_t error = bb_store_open(&fixture.options, &report, &fixture.store, &fault);
            bb_sim_disk_fail(fixture.disk, BB_SIM_SYNC, 0, BB_OK);
            if (error != BB_OK) {
                fixture_reopen_error(&fixture, BB_OK);
            }
            s_write(&fixture, 0, FIXTURE_START_NS, 1);
            bb_store_close(&fixture.store);
            bb_random_t random = bb_random_seed(seed);
            bb_sim_disk_crash(fixture.disk, &random);
            fixture_reopen_error(&fixture, BB_OK);
            s_verify(&fixture);
            fixture_close(&fixture);
        }
    }
}

// ---- what a peer lacks -----------------------------------------------------------------------
typedef struct {
    uint32_t count;
    uint64_t partitions; // a bit for each
} s_emitted_t;

static void s_emit(void *context, uint8_t *chunks, size_t chunks_length, uint8_t *bytes,
                   size_t length)
{
    s_emitted_t *self = context;
    (void)chunks_length;
    bb_batch_t batch;
    bb_fault_t fault = {0};
    assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, length), &fault), BB_OK);
    for (uint32_t i = 0; i < batch.part_count; i++) {
        self->partitions |= UINT64_C(1) << batch.parts[i].partition;
    }
    self->count++;
    bb_batch_close(&batch);
    free(chunks);
    free(bytes);
}

// Goal: a record of the journal that goes bad while the store is open costs a peer that record
// alone, and the peer is told that it cannot have it here.
static void test_missing_goes_on_behind_damage(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (uint32_t battery = 0; battery < 3; battery++) {
        s_write(&fixture, battery, FIXTURE_START_NS, battery);
    }
    assert_true(bb_sim_disk_flip(fixture.disk, "/store/journal/000000000001.journal",
                                 BB_JOURNAL_FILE_HEADER_BYTES + BB_JOURNAL_RECORD_HEADER_BYTES + 9,
                                 0x10));
    bb_have_set_t theirs[FIXTURE_PARTITIONS];
    memset(theirs, 0, sizeof theirs);
    // With room for all, and one record at a time.
    for (uint64_t budget = 1; budget <= 1u << 20; budget <<= 20) {
        s_emitted_t emitted = {0};
        bool more = true;
        uint32_t unavailable[FIXTURE_PARTITIONS];
        uint32_t unavailable_count = 0;
        for (uint32_t round = 0; more; round++) {
            assert_true(round < 4);
            assert_int_equal(bb_store_missing(fixture.store, fixture_all_partitions(), theirs,
                                              FIXTURE_PARTITIONS, budget, NULL, s_emit, &emitted,
                                              &more, unavailable, &unavailable_count),
                             BB_OK);
            for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
                bool added;
                if (emitted.partitions >> p & 1) {
                    assert_int_equal(bb_have_set_add(&theirs[p], &fixture.stream, 1, 1, &added),
                                     BB_OK);
                }
            }
        }
        assert_int_equal(emitted.count, 2);
        assert_int_equal(emitted.partitions,
                         UINT64_C(1) << fixture_partition(1) | UINT64_C(1) << fixture_partition(2));
        assert_int_equal(unavailable_count, 1);
        assert_int_equal(unavailable[0], fixture_partition(0));
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bb_have_set_clear(&theirs[p]);
        }
    }
    fixture_close(&fixture);
}

// ---- folders that are gone -------------------------------------------------------------------
static void s_count_name(void *context, const char *name, bool is_directory)
{
    (void)name, (void)is_directory;
    ++*(uint32_t *)context;
}

// Goal: windows whose meta map is gone are damage. Taking them for leftovers of a crash would
// delete them.
static void test_lost_meta_keeps_the_windows(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    s_write(&fixture, 0, FIXTURE_START_NS, 1);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_close(&fixture.store);
    bb_vfs_t *vfs = fixture.options.vfs;
    assert_int_equal(vfs->rename(vfs, "/store/meta", "/elsewhere"), BB_OK);
    fixture_reopen_error(&fixture, BB_ERR_CORRUPT);
    uint32_t folder_count = 0;
    assert_int_equal(vfs->list(vfs, "/store/windows", s_count_name, &folder_count), BB_OK);
    assert_int_equal(folder_count, 1);
    // With meta back in its place all is well.
    assert_int_equal(vfs->remove_tree(vfs, "/store/meta"), BB_OK);
    assert_int_equal(vfs->rename(vfs, "/elsewhere", "/store/meta"), BB_OK);
    fixture_reopen_error(&fixture, BB_OK);
    s_verify(&fixture);
    fixture_close(&fixture);
}

// Goal: numbers of journal files begin again when the journal is lost. Below the seal nothing is
// replayed, so what is written there must not be taken for sealed at the next start.
static void test_lost_journal_is_not_sealed(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (int64_t i = 0; i < 3; i++) {
        s_write(&fixture, 0, FIXTURE_START_NS + i, (double)i);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    assert_int_equal(bb_store_trim(fixture.store, s_all_held, NULL), BB_OK);
    bb_store_close(&fixture.store);
    bb_vfs_t *vfs = fixture.options.vfs;
    assert_int_equal(vfs->remove_tree(vfs, "/store/journal"), BB_OK);
    bb_store_report_t report;
    bb_fault_t fault = {0};
    assert_int_equal(bb_store_open(&fixture.options, &report, &fixture.store, &fault), BB_OK);
    assert_true(report.damaged_count > 0);
    s_verify(&fixture);
    s_write(&fixture, 0, FIXTURE_START_NS + 9, 9);
    fixture_reopen(&fixture);
    s_verify(&fixture);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    s_write(&fixture, 0, FIXTURE_START_NS + 10, 10);
    fixture_reopen(&fixture);
    s_verify(&fixture);
    fixture_close(&fixture);
}

// ---- answers ---------------------------------------------------------------------------------
// Goal: what only aggregates know has no effect on other queries; pages go on where they ended.
static void test_grouping_is_for_aggregates(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (uint32_t battery = 0; battery < 3; battery++) {
        s_write(&fixture, battery, FIXTURE_START_NS, battery);
        s_write(&fixture, battery, FIXTURE_START_NS + 1, battery);
    }
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST};
    for (uint32_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        query.group_by_none = true;
        query.page_bytes_max = 1;
        fixture_verify(&fixture, &query);
    }
    fixture_close(&fixture);
}

// Goal: the number of points in quarantine is that of the points that are there, also after a
// restart.
static void test_quarantined_points_are_counted(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture_batch_t batch;
    for (uint32_t battery = 0; battery < 3; battery++) {
        s_batch(&fixture, battery, FIXTURE_START_NS, battery, battery != 0, &batch);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
    }
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.quarantined_points, 2);
    fixture_reopen(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.quarantined_points, 2);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.quarantined_points, 2);
    fixture_reopen(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.quarantined_points, 2);
    s_batch(&fixture, 4, FIXTURE_START_NS, 4, true, &batch);
    fixture_write(&fixture, &batch);
    fixture_batch_free(&batch);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.quarantined_points, 3);
    s_verify(&fixture);
    fixture_close(&fixture);
}

// Goal: the first and the last time there is, and both sides of midnight, in head and windows.
static void test_edges_of_time(void **state)
{
    (void)state;
    static const int64_t times[] = {
        0,
        1,
        BB_NS_PER_DAY - 1,
        BB_NS_PER_DAY,
        FIXTURE_START_NS - 1,
        FIXTURE_START_NS,
        BB_TIME_WALL_NS_LIMIT - BB_NS_PER_DAY - 1,
        BB_TIME_WALL_NS_LIMIT - BB_NS_PER_DAY,
        BB_TIME_WALL_NS_LIMIT - 1,
    };
    static const int64_t ends[] = {0,
                                   BB_NS_PER_DAY - 1,
                                   BB_NS_PER_DAY,
                                   FIXTURE_START_NS,
                                   BB_TIME_WALL_NS_LIMIT - 1,
                                   BB_TIME_WALL_NS_LIMIT};
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (uint32_t pass = 0; pass < 3; pass++) {
        for (uint32_t i = 0; i < BB_COUNT_OF(times); i++) {
            s_write(&fixture, i % 2, times[i], pass * 100 + i);
        }
        for (uint32_t f = 0; f < BB_COUNT_OF(ends); f++) {
            for (uint32_t t = f; t < BB_COUNT_OF(ends); t++) {
                bb_query_t query = fixture_query(BB_QUERY_RAW);
                query.from_wall_ns = ends[f];
                query.to_wall_ns = ends[t];
                query.page_bytes_max = t % 2;
                fixture_verify(&fixture, &query);
            }
        }
        s_verify(&fixture);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        s_verify(&fixture);
        fixture_reopen(&fixture);
        s_verify(&fixture);
    }
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_waits_for_a_failed_flush),
        cmocka_unit_test(test_full_disk_between_sync_and_apply),
        cmocka_unit_test(test_failed_seal_is_settled_at_open),
        cmocka_unit_test(test_failed_first_start_is_settled),
        cmocka_unit_test(test_missing_goes_on_behind_damage),
        cmocka_unit_test(test_lost_meta_keeps_the_windows),
        cmocka_unit_test(test_lost_journal_is_not_sealed),
        cmocka_unit_test(test_grouping_is_for_aggregates),
        cmocka_unit_test(test_quarantined_points_are_counted),
        cmocka_unit_test(test_edges_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: segments of a window come and go without a point lost: maps that are nearly full, folders
// that are damaged or gone, merges that take turns and write little. Method: stores on the
// simulated disk and on LMDB; the naive list of points of the fixture is the oracle.
#include "storage/bb_store_segment.h"

#include "tests/unit/storage/store_fixture.h"

static void s_verify_all(fixture_t *fixture)
{
    bb_query_t raw = fixture_query(BB_QUERY_RAW);
    fixture_verify(fixture, &raw);
    bb_query_t last = fixture_query(BB_QUERY_LAST);
    fixture_verify(fixture, &last);
}

static bb_store_stats_t s_stats(const fixture_t *fixture)
{
    bb_store_stats_t stats;
    bb_store_stats(fixture->store, &stats);
    return stats;
}

// A frame of one metric per time, of many batteries, with values that do not pack well.
static void s_write(fixture_t *fixture, bb_random_t *random, uint32_t frames, int64_t first_wall_ns)
{
    const uint32_t metric = 0;
    const uint8_t type = BB_TYPE_FLOAT64;
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    for (uint32_t f = 0; f < frames; f++) {
        const uint64_t bits =
            bb_bits_of_double(1.0 / (double)(1 + bb_random_below(random, 1u << 30)));
        fixture_add_frame(builder, &batch, f % FIXTURE_BATTERIES, 0, first_wall_ns + f, &metric,
                          &type, &bits, 1, false);
    }
    fixture_seal(fixture, builder, NULL, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
}

static void test_names_of_folders(void **state)
{
    (void)state;
    uint16_t class_id = 9;
    uint32_t day;
    uint64_t number;
    assert_true(bb_segment_class_parse("default", &class_id));
    assert_int_equal(class_id, 0);
    assert_true(bb_segment_class_parse("00012", &class_id));
    assert_int_equal(class_id, 12);
    static const char *const bad[] = {"", "0", "00000", "12", "000012", "65536", "-0012", "other"};
    for (uint32_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_false(bb_segment_class_parse(bad[i], &class_id));
    }
    assert_true(bb_segment_name_parse("2026-01-01.000012", &day, &number));
    assert_int_equal(number, 12);
    assert_int_equal(day, FIXTURE_START_NS / BB_NS_PER_DAY);
    assert_false(bb_segment_name_parse("2026-02-30.000001", &day, &number));
    assert_false(bb_segment_name_parse("2026-01-01.000001.tmp", &day, &number));
}

// Goal: more points of a day than a map holds: segments end, others go on, merges leave the large
// ones alone, and nothing is lost.
static void test_full_maps_are_followed_by_others(void **state)
{
    (void)state;
    for (uint32_t simulated = 0; simulated < 2; simulated++) {
        bb_random_t random = bb_random_seed(61);
        fixture_t fixture;
        fixture_open(&fixture, simulated);
        bb_store_close(&fixture.store);
        fixture.options.kv_map_bytes = 1u << 20;
        fixture_reopen_error(&fixture, BB_OK);
        for (uint32_t i = 0; i < 4; i++) {
            s_write(&fixture, &random, 40000, FIXTURE_START_NS + i * 40000);
            s_write(&fixture, &random, 40000,
                    FIXTURE_START_NS + INT64_C(3600) * BB_NS_PER_S + i * 40000);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        assert_true(s_stats(&fixture).segments > 4);
        uint64_t points = s_stats(&fixture).segment_points;
        assert_int_equal(points, 320000);
        for (uint32_t i = 0; fixture_job(&fixture, BB_JOB_MERGE) == BB_OK; i++) {
            assert_true(i < 20); // it ends
        }
        assert_int_equal(s_stats(&fixture).segment_points, points);
        assert_int_equal(s_stats(&fixture).runs_mergeable, 0);
        assert_false(bb_store_is_fenced(fixture.store));
        bb_query_t query = fixture_query(BB_QUERY_LAST);
        fixture_verify(&fixture, &query);
        fixture_reopen(&fixture);
        fixture_verify(&fixture, &query);
        fixture_close(&fixture);
    }
}

static void s_remove_segment(fixture_t *fixture, const char *day, uint32_t number)
{
    char path[256];
    bb_vfs_t *vfs = fixture->options.vfs;
    snprintf(path, sizeof path, "%s/windows/default/%s.%06u", fixture->folder, day, number);
    assert_int_equal(vfs->remove_tree(vfs, path), BB_OK);
}

// Goal: a segment that is gone keeps no new point of its day or of another from being sealed, a
// merge marks it for good, and answers that need it say that they are partial.
static void test_lost_segment_blocks_nothing(void **state)
{
    (void)state;
    for (uint32_t simulated = 0; simulated < 2; simulated++) {
        bb_random_t random = bb_random_seed(62);
        fixture_t fixture;
        fixture_open(&fixture, simulated);
        s_write(&fixture, &random, 100, FIXTURE_START_NS);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        bb_store_close(&fixture.store);
        s_remove_segment(&fixture, "2026-01-01", 1);
        fixture_reopen_error(&fixture, BB_OK);
        fixture.points.count = 0; // what was in it is lost
        for (uint32_t i = 1; i <= 2; i++) {
            s_write(&fixture, &random, 100, FIXTURE_START_NS + i * 1000);
            s_write(&fixture, &random, 100, FIXTURE_START_NS + BB_NS_PER_DAY + i * 1000);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        for (uint32_t round = 0; round < 2; round++) {
            bb_query_t query = fixture_query(BB_QUERY_RAW);
            fixture_rows_t found;
            fixture_rows_t expected;
            fixture_ask(&fixture, &query, &found);
            fixture_expect(&fixture, &query, &expected);
            fixture_assert_rows(&found, &expected); // all that is left
            assert_true(found.damaged_partition_count > 0);
            free(found.items);
            free(expected.items);
            query.from_wall_ns = FIXTURE_START_NS + BB_NS_PER_DAY;
            fixture_verify(&fixture, &query); // the other day is whole
            for (uint32_t i = 0; fixture_job(&fixture, BB_JOB_MERGE) == BB_OK; i++) {
                assert_true(i < 6);
            }
            assert_int_equal(s_stats(&fixture).segments_damaged, 1);
            assert_int_equal(s_stats(&fixture).segments, 3); // one a day, and the one that is lost
            fixture_reopen(&fixture);
            assert_int_equal(s_stats(&fixture).segments_damaged, 1);
        }
        fixture_close(&fixture);
    }
}

// Runs the merges that the store itself asks for.
static void s_merge_worthwhile(fixture_t *fixture)
{
    while (bb_store_wants_merge(fixture->store)) {
        bb_store_job_t *job = NULL;
        bb_error_t error = bb_store_job_begin(fixture->store, BB_JOB_MERGE, 4.0, &job);
        assert_int_equal(error, BB_OK);
        error = bb_store_job_run(job, NULL);
        bb_store_job_end(fixture->store, &job, error);
        assert_int_equal(error, BB_OK);
    }
}

// Goal: a day of a flush every ten minutes is written about four times over in all, and never is a
// window in more than a few segments.
static void test_write_amplification(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(63);
    fixture_t fixture;
    fixture_open(&fixture, true);
    uint64_t segments_max = 0;
    for (uint32_t i = 0; i < 144; i++) {
        s_write(&fixture, &random, 600, FIXTURE_START_NS + i * BB_NS_PER_S);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        s_merge_worthwhile(&fixture);
        segments_max = BB_MAX(segments_max, s_stats(&fixture).segments);
    }
    while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
    }
    bb_store_stats_t stats = s_stats(&fixture);
    assert_int_equal(stats.flush_points, 144 * 600);
    assert_int_equal(stats.segments, 1);
    double amplification =
        (double)(stats.flush_points + stats.merge_points) / (double)stats.flush_points;
    assert_true(amplification <= 5.5);
    assert_true(segments_max <= 12);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: a window that always has most to merge does not keep others waiting for ever.
static void test_windows_take_turns(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(64);
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (uint32_t i = 0; i < 8; i++) {
        s_write(&fixture, &random, 2000, FIXTURE_START_NS + i * BB_NS_PER_S);
        s_write(&fixture, &random, 20, FIXTURE_START_NS + BB_NS_PER_DAY + i * BB_NS_PER_S);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    assert_int_equal(s_stats(&fixture).segments, 16);
    for (uint32_t i = 0; i < 2; i++) {
        bb_store_job_t *job = NULL;
        assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_MERGE, 4.0, &job), BB_OK);
        bb_error_t error = bb_store_job_run(job, NULL);
        bb_store_job_end(fixture.store, &job, error);
        assert_int_equal(error, BB_OK);
        // The busy one becomes busy again.
        for (uint32_t f = 0; f < 4; f++) {
            s_write(&fixture, &random, 2000, FIXTURE_START_NS + (100 + i * 10 + f) * BB_NS_PER_S);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    // Both were merged: 8 of each became one, and the first got eight more.
    assert_int_equal(s_stats(&fixture).segments, 1 + 8 + 1);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// ---- fingerprints ----------------------------------------------------------------------------
static void s_settle(fixture_t *fixture)
{
    while (fixture_job(fixture, BB_JOB_FLUSH) == BB_OK) {
    }
    while (fixture_job(fixture, BB_JOB_MERGE) == BB_OK) {
    }
}

// Applies the batches in the order given, flushing now and then.
static void s_replay(fixture_t *fixture, const fixture_batch_t *batches, uint32_t count,
                     bool is_backwards, uint32_t flush_every)
{
    for (uint32_t i = 0; i < count; i++) {
        fixture_write(fixture, &batches[is_backwards ? count - 1 - i : i]);
        if (i % flush_every == flush_every - 1) {
            assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    s_settle(fixture);
}

// Goal: replicas that got the same chunks in whatever order, with other numbers for names, flushes
// and merges, have equal fingerprints; one point more makes one differ; a flush makes a window
// dirty.
static void test_fingerprints_of_replicas(void **state)
{
    (void)state;
    enum { BATCHES = 24 };
    bb_random_t random = bb_random_seed(65);
    fixture_batch_t batches[BATCHES];
    fixture_t left;
    fixture_t right;
    fixture_open(&left, true);
    fixture_open(&right, false);
    for (uint32_t i = 0; i < BATCHES; i++) {
        fixture_random_batch(&left, &random, 60, false, &batches[i]);
    }
    s_replay(&left, batches, BATCHES, false, 3);
    s_replay(&right, batches, BATCHES, true, 5);
    uint32_t first_day = FIXTURE_START_NS / BB_NS_PER_DAY;
    uint32_t compared = 0;
    for (uint32_t day = first_day - 1; day < first_day + 5; day++) {
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bb_fingerprint_t a;
            bb_fingerprint_t b;
            // One that got two revisions of a battery in a single flush has none.
            if (bb_store_fingerprint(left.store, day, p, &a) == BB_OK &&
                bb_store_fingerprint(right.store, day, p, &b) == BB_OK) {
                assert_true(a.low == b.low && a.high == b.high);
                compared += a.low != 0;
            }
        }
    }
    assert_true(compared > FIXTURE_PARTITIONS);
    // One more frame of battery 3.
    bb_fingerprint_t before[FIXTURE_PARTITIONS];
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        assert_int_equal(bb_store_fingerprint(left.store, first_day, p, &before[p]), BB_OK);
    }
    const uint32_t metric = 0;
    const uint8_t type = BB_TYPE_FLOAT64;
    const uint64_t bits = bb_bits_of_double(1234.5);
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    fixture_add_frame(builder, &batch, 3, 0, FIXTURE_START_NS + 7 * BB_NS_PER_S + 1, &metric, &type,
                      &bits, 1, false);
    fixture_seal(&left, builder, NULL, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(&left, &batch);
    assert_int_equal(fixture_job(&left, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_fingerprint(left.store, first_day, 0, &before[0]),
                     BB_ERR_NOT_FOUND); // dirty
    s_settle(&left);
    fixture_reopen(&left);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        bb_fingerprint_t after;
        assert_int_equal(bb_store_fingerprint(left.store, first_day, p, &after), BB_OK);
        bool is_same = after.low == before[p].low && after.high == before[p].high;
        assert_int_equal(is_same, p != fixture_partition(3));
    }
    fixture_batch_free(&batch);
    for (uint32_t i = 0; i < BATCHES; i++) {
        fixture_batch_free(&batches[i]);
    }
    fixture_close(&left);
    fixture_close(&right);
}

// Goal: a window that one flush has filled has a fingerprint at once, the same as that of a replica
// that merged it of many.
static void test_fingerprints_of_one_flush(void **state)
{
    (void)state;
    enum { BATCHES = 12 };
    bb_random_t random = bb_random_seed(66);
    fixture_t once;
    fixture_t often;
    fixture_open(&once, true);
    fixture_open(&often, true);
    once.with_conflicts = false;
    for (uint32_t i = 0; i < BATCHES; i++) {
        fixture_batch_t batch;
        fixture_random_batch(&once, &random, 60, false, &batch);
        fixture_write(&once, &batch);
        fixture_write(&often, &batch);
        assert_int_equal(fixture_job(&often, BB_JOB_FLUSH), BB_OK);
        fixture_batch_free(&batch);
    }
    assert_int_equal(fixture_job(&once, BB_JOB_FLUSH), BB_OK);
    s_settle(&often);
    uint32_t first_day = FIXTURE_START_NS / BB_NS_PER_DAY;
    uint32_t compared = 0;
    for (uint32_t day = first_day; day < first_day + 3; day++) {
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bb_fingerprint_t a;
            bb_fingerprint_t b;
            bb_error_t error = bb_store_fingerprint(once.store, day, p, &a);
            assert_int_equal(bb_store_fingerprint(often.store, day, p, &b), BB_OK);
            if (error == BB_OK) {
                assert_true(a.low == b.low && a.high == b.high);
                compared += a.low != 0;
            }
        }
    }
    assert_true(compared > 0);
    fixture_close(&once);
    fixture_close(&often);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_folders),
        cmocka_unit_test(test_full_maps_are_followed_by_others),
        cmocka_unit_test(test_lost_segment_blocks_nothing),
        cmocka_unit_test(test_write_amplification),
        cmocka_unit_test(test_windows_take_turns),
        cmocka_unit_test(test_fingerprints_of_replicas),
        cmocka_unit_test(test_fingerprints_of_one_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Newest values from memory: the same answer as from every point, whatever came in which order,
// through flushes, merges, restarts and with no room to remember; and they are really from memory.
#include "storage/scan/bb_snapshot.h"
#include "tests/unit/storage/store_fixture.h"

// How many of the batteries that have an answer are answered without windows.
static void s_count_known(fixture_t *fixture, const bb_query_t *query, uint32_t *known,
                          uint32_t *unknown)
{
    bb_snapshot_t *snapshot = NULL;
    assert_int_equal(bb_store_snapshot(fixture->store, query, &snapshot, NULL), BB_OK);
    for (uint32_t i = 0; i < snapshot->battery_count; i++) {
        *(snapshot->batteries[i].is_known ? known : unknown) += 1;
    }
    bb_snapshot_close(&snapshot);
}

static bb_query_t s_random_query(bb_random_t *random, bb_slice_t metrics[2])
{
    bb_query_t query = fixture_query(BB_QUERY_LAST);
    query.accepts_rows = bb_random_chance(random, 1, 2);
    query.page_bytes_max = bb_random_chance(random, 1, 4) ? 100 : 0;
    if (bb_random_chance(random, 1, 2)) {
        query.metrics = metrics;
        query.metric_count = (uint32_t)bb_random_between(random, 1, 2);
        for (uint32_t m = 0; m < query.metric_count; m++) {
            metrics[m] = fixture_metric((uint32_t)bb_random_below(random, FIXTURE_METRICS));
        }
    }
    if (bb_random_chance(random, 1, 3)) {
        query.from_wall_ns =
            FIXTURE_START_NS + (int64_t)bb_random_below(random, (uint64_t)(8 * BB_NS_PER_DAY));
    }
    if (bb_random_chance(random, 1, 3)) {
        query.compare = bb_random_chance(random, 1, 2) ? BB_COMPARE_BELOW : BB_COMPARE_ABOVE;
        query.threshold = (double)bb_random_between(random, 0, 60) - 20;
    }
    return query;
}

// Goal: the fast way and the oracle agree after every step. Method: days move on, so that what
// comes after a restart is newer than what was there; one batch in four is late or corrects.
static void s_run(uint64_t seed, size_t memory_bytes, uint32_t *known, uint32_t *unknown)
{
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture.with_conflicts = seed % 2 == 0;
    fixture.options.memory_bytes = memory_bytes;
    fixture_reopen(&fixture);
    bb_random_t random = bb_random_seed(seed);
    for (uint32_t step = 0; step < 60; step++) {
        fixture.day_spread = 1 + step / 8;
        fixture_write_random(&fixture, &random, 40, bb_random_chance(&random, 1, 4));
        if (bb_random_chance(&random, 1, 3)) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        if (bb_random_chance(&random, 1, 8)) {
            bb_error_t error = fixture_job(&fixture, BB_JOB_MERGE);
            assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
        }
        if (bb_random_chance(&random, 1, 25)) {
            fixture_reopen(&fixture);
        }
        for (uint32_t i = 0; i < 4; i++) {
            bb_slice_t metrics[2];
            bb_query_t query = s_random_query(&random, metrics);
            fixture_verify(&fixture, &query);
            s_count_known(&fixture, &query, known, unknown);
        }
    }
    fixture_close(&fixture);
}

static void test_agrees_with_every_point(void **state)
{
    (void)state;
    uint32_t known = 0;
    uint32_t unknown = 0;
    for (uint64_t seed = 100; seed < 112; seed++) {
        s_run(seed, 64u << 20, &known, &unknown);
    }
    assert_true(known > 1000);
    assert_true(unknown > 1000);
}

// Goal: without room the cache forgets, and nothing is answered wrongly. Method: an eighth of so
// little memory holds a few rows.
static void test_agrees_without_room(void **state)
{
    (void)state;
    uint32_t known = 0;
    uint32_t unknown = 0;
    for (uint64_t seed = 200; seed < 206; seed++) {
        s_run(seed, 8 * 1500, &known, &unknown);
    }
    assert_true(unknown > known);
}

// Goal: what was sealed is answered from memory, windows closed. Method: one shape, times that
// ascend, everything flushed and merged.
static void test_sealed_points_are_known(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture.with_conflicts = false;
    const uint32_t metrics[2] = {0, 3};
    const uint8_t types[2] = {(uint8_t)fixture_type(0), (uint8_t)fixture_type(3)};
    bb_random_t random = bb_random_seed(5);
    for (uint32_t round = 0; round < 3; round++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t b = 0; b < FIXTURE_BATTERIES; b++) {
            uint64_t bits[2] = {fixture_bits(&random, types[0]), fixture_bits(&random, types[1])};
            fixture_add_frame(builder, &batch, b, 0,
                              FIXTURE_START_NS + (int64_t)round * 3600 * BB_NS_PER_S, metrics,
                              types, bits, 2, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_OK);
    bb_query_t query = fixture_query(BB_QUERY_LAST);
    uint32_t known = 0;
    uint32_t unknown = 0;
    s_count_known(&fixture, &query, &known, &unknown);
    assert_int_equal(known, FIXTURE_BATTERIES);
    assert_int_equal(unknown, 0);
    fixture_verify(&fixture, &query);
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_true(stats.latest_bytes > 0);
    fixture_close(&fixture);
}

// Goal: after a restart newest values are known as soon as a battery has moved on, not at the end
// of the day. Method: seal, close, open, write a little later on the same day; a battery that is
// silent is read from windows.
static void test_restart_knows_what_moved_on(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture.with_conflicts = false;
    const uint32_t metric = 0;
    const uint8_t type = (uint8_t)fixture_type(0);
    bb_random_t random = bb_random_seed(6);
    for (uint32_t round = 0; round < 2; round++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t b = round; b < FIXTURE_BATTERIES; b++) {
            uint64_t bits = fixture_bits(&random, type);
            fixture_add_frame(builder, &batch, b, 0, FIXTURE_START_NS + (round + 1) * BB_NS_PER_S,
                              &metric, &type, &bits, 1, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        if (round == 0) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
            fixture_reopen(&fixture);
        }
    }
    bb_query_t query = fixture_query(BB_QUERY_LAST);
    uint32_t known = 0;
    uint32_t unknown = 0;
    s_count_known(&fixture, &query, &known, &unknown);
    assert_int_equal(known, FIXTURE_BATTERIES - 1);
    assert_int_equal(unknown, 1);
    fixture_verify(&fixture, &query);
    fixture_reopen(&fixture); // what is replayed into the head counts as well
    known = unknown = 0;
    s_count_known(&fixture, &query, &known, &unknown);
    assert_int_equal(known, FIXTURE_BATTERIES - 1);
    fixture_verify(&fixture, &query);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_every_point),
        cmocka_unit_test(test_agrees_without_room),
        cmocka_unit_test(test_sealed_points_are_known),
        cmocka_unit_test(test_restart_knows_what_moved_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

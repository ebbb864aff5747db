// SPDX-License-Identifier: Apache-2.0
// Power loss at every operation of the disk while a policy is in place: windows of several classes
// are written, retention deletes some, rollups are marked and computed. Afterwards everything that
// was synced and that retention keeps is there, nothing else is, and rollups equal the points.
#include "tests/support/bb_rounds.h"
#include "tests/unit/storage/store_fixture.h"

#define S_BATCHES     10u
#define S_CLOCK_BATCH 6u // behind it the clock passes points by
#define S_HOUR_NS     (BB_NS_PER_DAY / 24)
#define S_NOW_WALL_NS (FIXTURE_START_NS + 4 * BB_NS_PER_DAY)
#define S_KEEP_NS     (2 * BB_NS_PER_DAY)

typedef struct {
    fixture_t fixture;
    fixture_batch_t batches[S_BATCHES];
    uint32_t synced_count, staged_count;
    bool is_clock_moved;
} s_history_t;

// `a` for two days, the rest for ever; hours of voltage_v and current_a.
static bb_policy_t *s_policy(void)
{
    const bb_retention_class_t class = {
        .name = "short", .selector = {.metric = "a"}, .keep_ns = S_KEEP_NS};
    bb_rollup_t rollup = {.every = BB_EVERY_FIXED,
                          .every_ns = S_HOUR_NS,
                          .aggregates = BB_AGGREGATE_ALL,
                          .keep_ns = BB_KEEP_FOREVER_NS};
    bb_zone_t *zones[1] = {NULL};
    strcpy(rollup.name, "hours");
    strcpy(rollup.selector.metric, "*_?");
    return bb_policy_new(&class, 1, BB_KEEP_FOREVER_NS, &rollup, zones, 1);
}

static void s_make(s_history_t *self, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    memset(self, 0, sizeof *self);
    fixture_open(&self->fixture, true);
    bb_store_close(&self->fixture.store);
    self->fixture.options.policy = s_policy();
    fixture_reopen_error(&self->fixture, BB_OK);
    self->fixture.day_spread = 4;
    for (uint32_t i = 0; i < S_BATCHES; i++) {
        fixture_random_batch(&self->fixture, &random, 12, false, &self->batches[i]);
    }
}

static void s_free(s_history_t *self)
{
    for (uint32_t i = 0; i < S_BATCHES; i++) {
        fixture_batch_free(&self->batches[i]);
    }
    bb_policy_release(&self->fixture.options.policy);
    fixture_close(&self->fixture);
}

static bb_error_t s_jobs(s_history_t *self, bb_store_job_kind_t kind)
{
    bb_error_t error = BB_OK;
    while (error == BB_OK) {
        error = fixture_job(&self->fixture, kind);
    }
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

// As a shard does it.
static bb_error_t s_maintain(s_history_t *self, uint32_t batch)
{
    bb_store_t *store = self->fixture.store;
    bb_error_t error = batch % 3 == 2 ? s_jobs(self, BB_JOB_FLUSH) : BB_OK;
    if (error == BB_OK && batch == S_CLOCK_BATCH) {
        self->is_clock_moved = true;
    }
    if (self->is_clock_moved) {
        bb_store_clock(store, S_NOW_WALL_NS);
    }
    if (error == BB_OK && batch % 5 == 4) {
        error = s_jobs(self, BB_JOB_MERGE);
    }
    if (error == BB_OK && bb_store_wants_retire(store)) {
        error = bb_store_retire_needs_flush(store) ? s_jobs(self, BB_JOB_FLUSH) : BB_OK;
        error = error == BB_OK ? s_jobs(self, BB_JOB_RETIRE) : error;
    }
    for (uint32_t i = 0; error == BB_OK && bb_store_wants_rollup(store) && i < 3; i++) {
        error = fixture_job(&self->fixture, BB_JOB_ROLLUP);
        error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    return error;
}

// The whole script, or as far as it gets. False: the disk stopped.
static bool s_run(s_history_t *self)
{
    fixture_t *fixture = &self->fixture;
    for (uint32_t i = self->synced_count; i < S_BATCHES; i++) {
        self->staged_count = i + 1;
        if (fixture_stage(fixture, &self->batches[i]) != BB_OK ||
            bb_store_sync(fixture->store) != BB_OK) {
            return false;
        }
        self->synced_count = i + 1;
        assert_int_equal(
            bb_store_apply(fixture->store, &self->batches[i].chunks, &self->batches[i].batch),
            BB_OK);
        if (s_maintain(self, i) != BB_OK) {
            return false;
        }
    }
    return true;
}

// The oracle of the first `count` batches, without what retention has passed by.
static void s_set_points(s_history_t *self, uint32_t count)
{
    fixture_points_t *points = &self->fixture.points;
    int64_t floor_wall_ns =
        self->is_clock_moved ? bb_retention_floor(0, S_KEEP_NS, S_NOW_WALL_NS) : 0;
    points->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        fixture_adopt(&self->fixture, &self->batches[i]);
    }
    size_t kept = 0;
    for (size_t i = 0; i < points->count; i++) {
        if (fixture_metric(points->items[i].metric).length > 1 ||
            points->items[i].time_wall_ns >= floor_wall_ns) {
            points->items[kept++] = points->items[i];
        }
    }
    points->count = kept;
}

// Every bucket of the rollup has the count and the extremes of the points that it stands for.
static void s_verify_rollup(s_history_t *self)
{
    bb_query_t stored = fixture_query(BB_QUERY_AGGREGATE);
    bb_query_t direct = stored;
    bb_slice_t names[2] = {fixture_slice("voltage_v"), fixture_slice("current_a")};
    fixture_rows_t found;
    fixture_rows_t expected;
    stored.rollup = fixture_slice("hours");
    direct.every_ns = S_HOUR_NS;
    direct.metrics = names;
    direct.metric_count = 2;
    fixture_ask(&self->fixture, &stored, &found);
    fixture_ask(&self->fixture, &direct, &expected);
    assert_int_equal(found.count, expected.count);
    for (size_t i = 0; i < found.count; i++) {
        const fixture_row_t *a = &found.items[i];
        const fixture_row_t *b = &expected.items[i];
        assert_true(a->battery == b->battery && a->metric == b->metric &&
                    a->bucket.start_wall_ns == b->bucket.start_wall_ns &&
                    a->bucket.count == b->bucket.count && a->bucket.min == b->bucket.min &&
                    a->bucket.max == b->bucket.max && a->bucket.last == b->bucket.last);
    }
    free(found.items);
    free(expected.items);
}

// Seals and computes what is due, so that retention waits for nothing, and lets it delete.
static void s_quiesce(s_history_t *self)
{
    assert_int_equal(s_jobs(self, BB_JOB_FLUSH), BB_OK);
    if (self->is_clock_moved) {
        bb_store_clock(self->fixture.store, S_NOW_WALL_NS);
        assert_int_equal(s_jobs(self, BB_JOB_ROLLUP), BB_OK);
        bb_store_clock(self->fixture.store, S_NOW_WALL_NS);
        assert_int_equal(s_jobs(self, BB_JOB_RETIRE), BB_OK);
        assert_false(bb_store_wants_retire(self->fixture.store));
    }
}

static void s_verify(s_history_t *self)
{
    bb_query_t raw = fixture_query(BB_QUERY_RAW);
    bb_query_t last = fixture_query(BB_QUERY_LAST);
    fixture_verify(&self->fixture, &raw);
    fixture_verify(&self->fixture, &last);
    s_verify_rollup(self);
}

static uint32_t s_survivors(s_history_t *self)
{
    uint32_t count = 0;
    bool there = true;
    while (count < S_BATCHES && there) {
        const fixture_batch_t *batch = &self->batches[count];
        for (uint32_t p = 0; p < batch->batch.part_count; p++) {
            there &= bb_have_set_contains(
                bb_store_have(self->fixture.store, batch->batch.parts[p].partition),
                &batch->chunks.stream, bb_chunks_seq(&batch->chunks, p));
        }
        count += there;
    }
    return count;
}

// Opens after the crash, checks, goes on to the end of the script, checks again.
static void s_recover(s_history_t *self)
{
    fixture_reopen_error(&self->fixture, BB_OK);
    if (self->is_clock_moved) {
        bb_store_clock(self->fixture.store, S_NOW_WALL_NS);
    }
    uint32_t survivors = s_survivors(self);
    assert_in_range(survivors, self->synced_count, self->staged_count);
    self->synced_count = survivors;
    s_verify_rollup(self);
    s_quiesce(self);
    s_set_points(self, survivors);
    s_verify(self);
    assert_true(s_run(self));
    s_verify_rollup(self);
    s_quiesce(self);
    s_set_points(self, S_BATCHES);
    s_verify(self);
    fixture_reopen(&self->fixture);
    bb_store_clock(self->fixture.store, S_NOW_WALL_NS);
    s_verify(self);
}

// Goal: as above. What the history does is checked, too: windows were retired, rollups stored.
static void test_power_loss_with_a_policy(void **state)
{
    (void)state;
    s_history_t history;
    s_make(&history, 7);
    bb_sim_disk_t *disk = history.fixture.disk;
    uint64_t before = bb_sim_disk_op_count(disk, BB_SIM_ANY);
    assert_true(s_run(&history));
    uint64_t op_count = bb_sim_disk_op_count(disk, BB_SIM_ANY) - before;
    bb_store_stats_t stats;
    bb_store_stats(history.fixture.store, &stats);
    assert_true(op_count > 100 && stats.retired_windows > 0 && stats.rollup_stale == 0);
    s_quiesce(&history);
    s_set_points(&history, S_BATCHES);
    s_verify(&history);
    s_free(&history);
    for (uint64_t nth = 1; nth <= op_count; nth += BB_ROUNDS_DIVISOR) {
        s_make(&history, 7);
        bb_random_t random = bb_random_seed(7000003 + nth);
        bb_sim_disk_halt_at(history.fixture.disk, nth);
        (void)!s_run(&history);
        bb_store_close(&history.fixture.store);
        bb_sim_disk_crash(history.fixture.disk, &random);
        s_recover(&history);
        s_free(&history);
    }
}

// Goal: the same with an operation that fails once, the machine going on.
static void test_failures_with_a_policy(void **state)
{
    (void)state;
    static const struct {
        bb_sim_op_t op;
        bb_error_t error;
    } faults[] = {{BB_SIM_COMMIT, BB_ERR_IO},
                  {BB_SIM_COMMIT, BB_ERR_DISK_FULL},
                  {BB_SIM_NAMESPACE, BB_ERR_IO},
                  {BB_SIM_SYNC, BB_ERR_IO}};
    for (size_t f = 0; f < BB_COUNT_OF(faults); f++) {
        for (uint64_t nth = 1, fired = 1; fired; nth++) {
            s_history_t history;
            s_make(&history, 8);
            bb_sim_disk_t *disk = history.fixture.disk;
            uint64_t before = bb_sim_disk_op_count(disk, faults[f].op);
            bb_sim_disk_fail(disk, faults[f].op, nth, faults[f].error);
            (void)!s_run(&history);
            fired = bb_sim_disk_op_count(disk, faults[f].op) - before >= nth;
            bb_sim_disk_fail(disk, faults[f].op, 0, BB_OK);
            bb_store_close(&history.fixture.store);
            bb_random_t random = bb_random_seed(nth);
            bb_sim_disk_crash(disk, &random);
            s_recover(&history);
            s_free(&history);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss_with_a_policy),
        cmocka_unit_test(test_failures_with_a_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

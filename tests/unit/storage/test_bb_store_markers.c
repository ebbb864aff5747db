// SPDX-License-Identifier: Apache-2.0
// Deletes at a store. Method: random batches of points and markers go to two stores in orders of
// their own, with flushes, merges, scrubbing and restarts in between; the oracle takes all points
// and drops what any marker covers. Both must answer so, and have equal fingerprints.
#include "storage/bb_store.h"

#include "protocol/bb_marker.h"
#include "tests/unit/storage/store_fixture.h"

#define S_MARKERS_MAX 64

typedef struct {
    uint32_t battery, metric, generation; // metric FIXTURE_METRICS: all
    int64_t from_wall_ns, to_wall_ns;
} s_marker_t;

typedef struct {
    s_marker_t items[S_MARKERS_MAX];
    uint32_t count;
} s_markers_t;

static bool s_is_covered(const s_markers_t *markers, const fixture_point_t *point)
{
    for (uint32_t i = 0; i < markers->count; i++) {
        const s_marker_t *marker = &markers->items[i];
        if (marker->battery == point->battery &&
            (marker->metric == FIXTURE_METRICS || marker->metric == point->metric) &&
            marker->from_wall_ns <= point->time_wall_ns &&
            point->time_wall_ns < marker->to_wall_ns &&
            marker->generation > point->revision >> 32) {
            return true;
        }
    }
    return false;
}

// The oracle's points, without those that a marker covers.
static void s_drop_covered(fixture_t *self, const s_markers_t *markers)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->points.count; i++) {
        if (!s_is_covered(markers, &self->points.items[i])) {
            self->points.items[kept++] = self->points.items[i];
        }
    }
    self->points.count = kept;
}

// A batch of some markers of one generation.
static void s_marker_batch(fixture_t *fixture, const s_marker_t *markers, uint32_t count,
                           fixture_batch_t *out)
{
    memset(out, 0, sizeof *out);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, markers[0].generation);
    for (uint32_t i = 0; i < count; i++) {
        bb_marker_t marker = {.metric = markers[i].metric == FIXTURE_METRICS
                                            ? fixture_slice(BB_MARKER_ALL_METRICS)
                                            : fixture_metric(markers[i].metric),
                              .from_wall_ns = markers[i].from_wall_ns,
                              .to_wall_ns = markers[i].to_wall_ns};
        assert_int_equal(bb_marker_add(builder, fixture_partition(markers[i].battery),
                                       fixture_battery(markers[i].battery), &marker, NULL),
                         BB_OK);
    }
    fixture_seal(fixture, builder, NULL, FIXTURE_START_NS, out);
    bb_batch_builder_destroy(&builder);
}

static s_marker_t s_random_marker(bb_random_t *random, uint32_t generation, int64_t days)
{
    s_marker_t marker = {
        .battery = (uint32_t)bb_random_below(random, FIXTURE_BATTERIES),
        .metric = bb_random_chance(random, 1, 2)
                      ? FIXTURE_METRICS
                      : (uint32_t)bb_random_below(random, FIXTURE_METRICS),
        .generation = generation,
        .from_wall_ns = 0,
        .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
    };
    if (bb_random_chance(random, 3, 4)) {
        uint64_t seconds = (uint64_t)days * 86400;
        marker.from_wall_ns =
            FIXTURE_START_NS + (int64_t)bb_random_below(random, seconds) * BB_NS_PER_S;
        marker.to_wall_ns =
            marker.from_wall_ns + (int64_t)bb_random_between(random, 1, seconds) * BB_NS_PER_S;
    }
    return marker;
}

static void s_random_markers(fixture_t *fixture, bb_random_t *random, s_markers_t *all,
                             fixture_batch_t *out)
{
    uint32_t count = (uint32_t)bb_random_between(random, 1, 3);
    uint32_t generation = (uint32_t)bb_random_between(random, 1, 3);
    assert_true(all->count + count <= S_MARKERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        all->items[all->count + i] = s_random_marker(random, generation, fixture->day_spread);
    }
    s_marker_batch(fixture, all->items + all->count, count, out);
    all->count += count;
}

// Points of a random generation: those of the fixture's batch, written again with it.
static void s_random_points(fixture_t *fixture, bb_random_t *random, fixture_batch_t *out)
{
    memset(out, 0, sizeof *out);
    uint64_t revision = bb_revision_make((uint32_t)bb_random_below(random, 3), 0);
    bb_batch_builder_t *builder = bb_batch_builder_new(revision);
    uint32_t frames = (uint32_t)bb_random_between(random, 1, 60);
    bool *marks = bb_alloc_zero(frames, sizeof *marks);
    for (uint32_t f = 0; f < frames; f++) {
        uint32_t metrics[FIXTURE_METRICS], count = 0;
        uint8_t types[FIXTURE_METRICS];
        uint64_t bits[FIXTURE_METRICS];
        uint64_t mask = bb_random_chance(random, 1, 2) ? 63 : bb_random_between(random, 1, 63);
        for (uint32_t m = 0; m < FIXTURE_METRICS; m++) {
            if (mask >> m & 1) {
                metrics[count] = m;
                types[count] = (uint8_t)fixture_type(m);
                bits[count++] = fixture_bits(random, fixture_type(m));
            }
        }
        int64_t time =
            FIXTURE_START_NS +
            (int64_t)bb_random_below(random, (uint64_t)fixture->day_spread) * BB_NS_PER_DAY +
            (int64_t)bb_random_below(random, 50) * 1000 * BB_NS_PER_S;
        marks[f] = bb_random_chance(random, 1, 12);
        fixture_add_frame(builder, out, (uint32_t)bb_random_below(random, FIXTURE_BATTERIES),
                          revision, time, metrics, types, bits, count, marks[f]);
    }
    fixture_seal(fixture, builder, marks, FIXTURE_START_NS, out);
    bb_batch_builder_destroy(&builder);
    free(marks);
}

// Counts by series over all time must be those of the points: statistics are not believed where a
// marker lies.
static void s_verify_counts(fixture_t *self)
{
    bb_query_t raw = fixture_query(BB_QUERY_RAW), total = fixture_query(BB_QUERY_AGGREGATE);
    total.every_ns = 0;
    fixture_rows_t points, sums;
    fixture_ask(self, &raw, &points);
    fixture_ask(self, &total, &sums);
    uint64_t count = 0;
    for (size_t i = 0; i < sums.count; i++) {
        count += sums.items[i].bucket.count;
    }
    assert_int_equal(count, points.count);
    free(points.items);
    free(sums.items);
}

static void s_verify(fixture_t *self, const s_markers_t *markers)
{
    s_drop_covered(self, markers);
    const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (size_t i = 0; i < BB_COUNT_OF(modes); i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(self, &query);
    }
    bb_query_t small = fixture_query(BB_QUERY_RAW);
    small.page_bytes_max = 2000;
    fixture_verify(self, &small);
    s_verify_counts(self);
}

// Something that a store does by itself, at any moment.
static void s_disturb(fixture_t *self, bb_random_t *random)
{
    switch (bb_random_below(random, 6)) {
    case 0:
        bb_ignore(fixture_job(self, BB_JOB_FLUSH), "there may be nothing to flush");
        break;
    case 1:
        bb_ignore(fixture_job(self, BB_JOB_MERGE), "there may be nothing to merge");
        break;
    case 2:
        fixture_reopen(self);
        break;
    default:
        break;
    }
}

// Every window becomes one segment.
static void s_settle(fixture_t *self)
{
    bb_error_t error = fixture_job(self, BB_JOB_FLUSH);
    assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
    do {
        error = fixture_job(self, BB_JOB_MERGE);
    } while (error == BB_OK);
    assert_int_equal(error, BB_ERR_NOT_FOUND);
}

static void s_scrub(fixture_t *self)
{
    int64_t now = BB_NS_PER_S, wake = 0;
    bb_store_scrub_start(self->store, now, FIXTURE_START_NS, BB_SCRUB_RATE_UNLIMITED);
    for (uint32_t i = 0; i < 10000; i++) {
        if (bb_store_scrub_tick(self->store, now, FIXTURE_START_NS, &wake)) {
            bb_ignore(fixture_job(self, BB_JOB_SCRUB), "a window may have gone");
        } else if (wake == BB_NEVER_NS || wake > now + 3600 * BB_NS_PER_S) {
            break;
        }
        now = BB_MAX(now + 1, BB_MIN(wake, now + BB_NS_PER_S));
    }
    assert_int_equal(bb_store_scrub_stats(self->store, FIXTURE_START_NS).damage_count, 0);
}

// How many were known on both sides; those must be equal.
static uint32_t s_compare_fingerprints(fixture_t *a, fixture_t *b)
{
    uint32_t known = 0;
    uint32_t first_day = (uint32_t)(FIXTURE_START_NS / BB_NS_PER_DAY);
    for (uint32_t day = first_day; day < first_day + 10; day++) {
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            bb_fingerprint_t left, right;
            bb_error_t of_a = bb_store_fingerprint(a->store, day, p, &left);
            bb_error_t of_b = bb_store_fingerprint(b->store, day, p, &right);
            if (of_a == BB_OK && of_b == BB_OK) {
                assert_true(left.low == right.low && left.high == right.high);
                known++;
            }
        }
    }
    return known;
}

#define S_BATCHES 16

// How many fingerprints both had in the end.
static uint32_t s_run(uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    fixture_t stores[2];
    fixture_batch_t batches[S_BATCHES];
    s_markers_t markers = {.count = 0};
    fixture_open(&stores[0], true);
    fixture_open(&stores[1], true);
    for (uint32_t i = 0; i < S_BATCHES; i++) {
        if (bb_random_chance(&random, 1, 4)) {
            s_random_markers(&stores[0], &random, &markers, &batches[i]);
        } else {
            s_random_points(&stores[0], &random, &batches[i]);
        }
    }
    for (uint32_t s = 0; s < 2; s++) {
        uint32_t order[S_BATCHES] = {0};
        for (uint32_t i = 1; i < S_BATCHES; i++) {
            uint32_t other = (uint32_t)bb_random_below(&random, i + 1);
            order[i] = order[other];
            order[other] = i;
        }
        for (uint32_t i = 0; i < S_BATCHES; i++) {
            fixture_write(&stores[s], &batches[order[i]]);
            s_disturb(&stores[s], &random);
        }
        s_verify(&stores[s], &markers);
    }
    for (uint32_t s = 0; s < 2; s++) {
        bb_ignore(fixture_job(&stores[s], BB_JOB_FLUSH), "there may be nothing to flush");
    }
    s_scrub(&stores[0]);
    s_compare_fingerprints(&stores[0], &stores[1]);
    for (uint32_t s = 0; s < 2; s++) {
        s_settle(&stores[s]);
        s_verify(&stores[s], &markers);
    }
    s_scrub(&stores[0]);
    s_scrub(&stores[1]);
    uint32_t known = s_compare_fingerprints(&stores[0], &stores[1]);
    for (uint32_t s = 0; s < 2; s++) {
        fixture_reopen(&stores[s]);
        s_verify(&stores[s], &markers);
        fixture_close(&stores[s]);
    }
    for (uint32_t i = 0; i < S_BATCHES; i++) {
        fixture_batch_free(&batches[i]);
    }
    return known;
}

// Goal: whatever the order of arrival, and whatever a store does meanwhile, the answers are those
// of the set of points and markers, and so are the fingerprints.
static void test_random_histories(void **state)
{
    (void)state;
    uint32_t known = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        known += s_run(seed);
    }
    // 3 days of 8 partitions each; a day that was flushed once with several generations has none.
    assert_true(known > 60 * 24 * 3 / 4);
}

// ---- one by one ------------------------------------------------------------------------------
static void s_write_hour(fixture_t *self, uint32_t battery, uint32_t generation, uint32_t rows)
{
    fixture_batch_t batch = {0};
    bb_batch_builder_t *builder = bb_batch_builder_new(bb_revision_make(generation, 0));
    const uint32_t metrics[2] = {0, 4};
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_FLOAT64};
    for (uint32_t i = 0; i < rows; i++) {
        const uint64_t bits[2] = {bb_bits_of_double(i), bb_bits_of_double(generation)};
        fixture_add_frame(builder, &batch, battery, bb_revision_make(generation, 0),
                          FIXTURE_START_NS + (int64_t)i * BB_NS_PER_S, metrics, types, bits, 2,
                          false);
    }
    fixture_seal(self, builder, NULL, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(self, &batch);
    fixture_batch_free(&batch);
}

static void s_delete(fixture_t *self, s_markers_t *markers, s_marker_t marker)
{
    fixture_batch_t batch;
    markers->items[markers->count++] = marker;
    s_marker_batch(self, &marker, 1, &batch);
    fixture_write(self, &batch);
    fixture_batch_free(&batch);
}

static const s_marker_t s_all_of_3 = {3, FIXTURE_METRICS, 1, 0, BB_TIME_WALL_NS_LIMIT};

// Goal: a delete takes the points of windows off the disk with the next merge of them, one that
// settling makes; other batteries, and what came later with its generation, stay.
static void test_points_leave_the_disk(void **state)
{
    (void)state;
    fixture_t fixture;
    s_markers_t markers = {.count = 0};
    bb_store_stats_t stats;
    fixture_open(&fixture, true);
    s_write_hour(&fixture, 3, 0, 3000);
    s_write_hour(&fixture, 4, 0, 100);
    s_settle(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.segment_points, 6200);
    s_delete(&fixture, &markers, s_all_of_3);
    s_verify(&fixture, &markers); // at once, from the run that is still there
    s_settle(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.segment_points, 200);
    s_verify(&fixture, &markers);
    s_write_hour(&fixture, 3, 0, 3000); // a replica that was away brings them back
    s_write_hour(&fixture, 3, 1, 50);   // the battery again
    s_verify(&fixture, &markers);
    s_settle(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.segment_points, 300);
    fixture_reopen(&fixture);
    s_verify(&fixture, &markers);
    fixture_close(&fixture);
}

// Goal: a window of which nothing is left is no obstacle, whatever comes afterwards.
static void test_window_becomes_empty(void **state)
{
    (void)state;
    fixture_t fixture;
    s_markers_t markers = {.count = 0};
    fixture_open(&fixture, false); // LMDB
    s_write_hour(&fixture, 3, 0, 500);
    s_settle(&fixture);
    s_delete(&fixture, &markers, s_all_of_3);
    s_settle(&fixture);
    s_verify(&fixture, &markers);
    s_scrub(&fixture);
    fixture_reopen(&fixture);
    s_verify(&fixture, &markers);
    s_write_hour(&fixture, 3, 1, 500);
    s_settle(&fixture);
    s_verify(&fixture, &markers);
    s_scrub(&fixture);
    fixture_close(&fixture);
}

// Goal: markers without any point are flushed, survive, and let the journal go.
static void test_markers_alone_are_sealed(void **state)
{
    (void)state;
    fixture_t fixture;
    s_markers_t markers = {.count = 0};
    bb_store_stats_t stats;
    fixture_open(&fixture, true);
    s_delete(&fixture, &markers, s_all_of_3);
    fixture_reopen(&fixture); // from the journal
    s_write_hour(&fixture, 3, 0, 10);
    s_verify(&fixture, &markers);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    s_delete(&fixture, &markers, (s_marker_t){4, 0, 2, 5, 10});
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_ERR_NOT_FOUND);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.journal_sealed_files, stats.journal_files - 1);
    fixture_reopen(&fixture); // from meta
    s_write_hour(&fixture, 3, 0, 10);
    s_verify(&fixture, &markers);
    fixture_close(&fixture);
}

// ---- rollups of days that go -----------------------------------------------------------------
// Everything is kept for `days`; one rollup counts the hours, for ever.
static void s_keep(fixture_t *self, int64_t days)
{
    bb_zone_t *zones[1] = {NULL};
    bb_rollup_t rollup = {.name = "hours",
                          .every = BB_EVERY_FIXED,
                          .every_ns = BB_NS_PER_DAY / 24,
                          .aggregates = BB_AGGREGATE_ALL,
                          .keep_ns = BB_KEEP_FOREVER_NS};
    bb_policy_t *policy = bb_policy_new(NULL, 0, days * BB_NS_PER_DAY, &rollup, zones, 1);
    bb_policy_release(&self->options.policy);
    self->options.policy = policy;
    bb_store_policy_set(self->store, policy);
}

static uint64_t s_rollup_count(fixture_t *self, uint32_t battery)
{
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    bb_slice_t id = fixture_battery(battery);
    query.rollup = fixture_slice("hours");
    query.batteries = &id;
    query.battery_count = 1;
    fixture_rows_t rows;
    fixture_ask(self, &query, &rows);
    uint64_t count = 0;
    for (size_t i = 0; i < rows.count; i++) {
        count += rows.items[i].bucket.count;
    }
    free(rows.items);
    return count;
}

// Floors move, rollups are computed and windows go, in the order in which a shard does it.
static void s_pass(fixture_t *self, int64_t days)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < 1000 && error == BB_OK; i++) {
        bb_store_clock(self->store, FIXTURE_START_NS + days * BB_NS_PER_DAY);
        if (bb_store_wants_retire(self->store)) {
            bool is_flush = bb_store_retire_needs_flush(self->store);
            error = fixture_job(self, is_flush ? BB_JOB_FLUSH : BB_JOB_RETIRE);
        } else {
            error = fixture_job(self, BB_JOB_ROLLUP);
        }
    }
    assert_int_equal(error, BB_ERR_NOT_FOUND); // of a rollup: nothing is left to be done
}

// Goal: what was deleted before retention takes a day leaves the day's results, also when the floor
// has passed the day already, since its points are there until its windows go; what was not deleted
// stays in them. Method: points and their results are stored; then a delete that no flush has seen,
// without or with a restart (the marker comes from the journal), and a policy that lets the day go.
static void test_deleted_leaves_rollups_of_days_that_go(void **state)
{
    (void)state;
    for (uint32_t is_restarted = 0; is_restarted < 2; is_restarted++) {
        fixture_t fixture;
        s_markers_t markers = {.count = 0};
        bb_store_stats_t stats;
        fixture_open(&fixture, true);
        s_keep(&fixture, 30);
        s_write_hour(&fixture, 3, 0, 100);
        s_write_hour(&fixture, 4, 0, 100);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        s_pass(&fixture, 5);
        assert_int_equal(s_rollup_count(&fixture, 3), 200);
        s_delete(&fixture, &markers,
                 (s_marker_t){3, FIXTURE_METRICS, 1, 0, FIXTURE_START_NS + 40 * BB_NS_PER_S});
        if (is_restarted) {
            fixture_reopen(&fixture);
        }
        assert_int_equal(s_rollup_count(&fixture, 3), 120);
        s_keep(&fixture, 1);
        bb_store_clock(fixture.store, FIXTURE_START_NS + 5 * BB_NS_PER_DAY);
        assert_int_equal(s_rollup_count(&fixture, 3), 120); // the floor is past it already
        s_pass(&fixture, 5);
        bb_store_stats(fixture.store, &stats);
        assert_int_equal(stats.retired_windows, 1);
        assert_int_equal(s_rollup_count(&fixture, 3), 120);
        assert_int_equal(s_rollup_count(&fixture, 4), 200);
        // Of a day that has gone nobody can tell any more.
        s_delete(&fixture, &markers, s_all_of_3);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        s_pass(&fixture, 5);
        assert_int_equal(s_rollup_count(&fixture, 3), 120);
        bb_policy_release(&fixture.options.policy);
        fixture_close(&fixture);
    }
}

typedef struct {
    uint32_t frames, points;
    bb_error_t error;
    char detail[256];
} s_refused_t;

static void s_note(void *context, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                   bb_error_t error, const char *detail)
{
    (void)at, (void)frame;
    s_refused_t *self = context;
    self->frames += metric == UINT32_MAX;
    self->points += metric != UINT32_MAX;
    self->error = error;
    snprintf(self->detail, sizeof self->detail, "%s", detail);
}

// What is refused of `rows` frames of two metrics of battery 3, from the first second on.
static s_refused_t s_check(fixture_t *self, uint32_t generation, uint32_t rows, uint64_t wanted)
{
    fixture_batch_t batch = {0};
    bb_batch_builder_t *builder = bb_batch_builder_new(bb_revision_make(generation, 0));
    const uint32_t metrics[2] = {0, 4};
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_FLOAT64};
    const uint64_t bits[2] = {0, 0};
    for (uint32_t i = 0; i < rows; i++) {
        fixture_add_frame(builder, &batch, 3, 0, FIXTURE_START_NS + (int64_t)i * BB_NS_PER_S,
                          metrics, types, bits, 2, false);
    }
    fixture_seal(self, builder, NULL, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    s_refused_t refused = {0};
    assert_int_equal(bb_store_check(self->store, &batch.batch, s_note, &refused), wanted);
    fixture_batch_free(&batch);
    return refused;
}

// Goal: a coordinator that knows of a delete refuses by name what it covers, and takes what comes
// with its generation; it takes no generation that is far ahead of what it knows.
static void test_older_generations_are_refused(void **state)
{
    (void)state;
    fixture_t fixture;
    s_markers_t markers = {.count = 0};
    fixture_open(&fixture, true);
    s_check(&fixture, 0, 10, 0);
    const int64_t middle = FIXTURE_START_NS + 4 * BB_NS_PER_S;
    s_delete(&fixture, &markers, (s_marker_t){3, 0, 1, 0, middle});
    s_refused_t refused = s_check(&fixture, 0, 10, 4);
    assert_true(refused.points == 4 && refused.frames == 0);
    assert_int_equal(refused.error, BB_ERR_GENERATION);
    s_delete(&fixture, &markers, (s_marker_t){3, FIXTURE_METRICS, 2, middle, INT64_MAX / 2});
    refused = s_check(&fixture, 0, 10, 4 + 6 * 2);
    assert_true(refused.points == 4 && refused.frames == 6);
    assert_non_null(strstr(refused.detail, "b3"));
    refused = s_check(&fixture, 1, 10, 6 * 2);
    assert_true(refused.points == 0 && refused.frames == 6);
    s_check(&fixture, 2, 10, 0);
    s_check(&fixture, 2 + BB_GENERATION_AHEAD_MAX, 10, 0);
    refused = s_check(&fixture, 3 + BB_GENERATION_AHEAD_MAX, 10, 20);
    assert_int_equal(refused.error, BB_ERR_GENERATION);
    s_check(&fixture, UINT32_MAX, 10, 20);
    fixture_close(&fixture);
}

// Goal: of markers only those far ahead are refused by a coordinator.
static void test_markers_far_ahead_are_refused(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t generations[] = {1, BB_GENERATION_AHEAD_MAX, BB_GENERATION_AHEAD_MAX + 1,
                                    UINT32_MAX};
    for (size_t i = 0; i < BB_COUNT_OF(generations); i++) {
        fixture_batch_t batch;
        s_marker_t marker = s_all_of_3;
        s_refused_t refused = {0};
        marker.generation = generations[i];
        s_marker_batch(&fixture, &marker, 1, &batch);
        assert_int_equal(bb_store_check(fixture.store, &batch.batch, s_note, &refused), i >= 2);
        assert_int_equal(refused.error, i >= 2 ? BB_ERR_GENERATION : BB_OK);
        fixture_batch_free(&batch);
    }
    fixture_close(&fixture);
}

// Goal: fingerprints are not given out from the moment a marker is known until they are those of
// what is left; and then they are those of a store that never had the points.
static void test_fingerprints_follow(void **state)
{
    (void)state;
    fixture_t deleted, never;
    s_markers_t markers = {.count = 0};
    bb_fingerprint_t left, right;
    uint32_t day = (uint32_t)(FIXTURE_START_NS / BB_NS_PER_DAY);
    uint32_t partition = fixture_partition(3);
    fixture_open(&deleted, true);
    fixture_open(&never, true);
    s_write_hour(&deleted, 3, 0, 300);
    s_settle(&deleted);
    s_scrub(&deleted);
    assert_int_equal(bb_store_fingerprint(deleted.store, day, partition, &left), BB_OK);
    s_marker_t first_half = s_all_of_3;
    first_half.to_wall_ns = FIXTURE_START_NS + 150 * BB_NS_PER_S;
    s_delete(&deleted, &markers, first_half);
    assert_int_equal(bb_store_fingerprint(deleted.store, day, partition, &left), BB_ERR_NOT_FOUND);
    s_scrub(&deleted); // while the marker is not in meta: nothing is compared, nothing recorded
    assert_int_equal(bb_store_fingerprint(deleted.store, day, partition, &left), BB_ERR_NOT_FOUND);
    assert_int_equal(fixture_job(&deleted, BB_JOB_FLUSH), BB_OK);
    assert_int_equal(bb_store_fingerprint(deleted.store, day, partition, &left), BB_ERR_NOT_FOUND);
    s_scrub(&deleted); // the points are still there, and do not count
    assert_int_equal(bb_store_fingerprint(deleted.store, day, partition, &left), BB_OK);
    s_delete(&never, &markers, first_half);
    s_write_hour(&never, 3, 0, 300);
    s_settle(&never);
    s_scrub(&never);
    assert_int_equal(bb_store_fingerprint(never.store, day, partition, &right), BB_OK);
    assert_true(left.low == right.low && left.high == right.high);
    fixture_close(&deleted);
    fixture_close(&never);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_leave_the_disk),
        cmocka_unit_test(test_window_becomes_empty),
        cmocka_unit_test(test_markers_alone_are_sealed),
        cmocka_unit_test(test_deleted_leaves_rollups_of_days_that_go),
        cmocka_unit_test(test_older_generations_are_refused),
        cmocka_unit_test(test_markers_far_ahead_are_refused),
        cmocka_unit_test(test_fingerprints_follow),
        cmocka_unit_test(test_random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

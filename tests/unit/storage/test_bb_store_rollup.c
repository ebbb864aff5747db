// SPDX-License-Identifier: Apache-2.0
// Rollups of a store: whatever the order of writes, flushes, merges, jobs and restarts, an answer
// equals the aggregates of the points at that moment.
#include "tests/support/bb_rounds.h"
#include "tests/unit/storage/store_fixture.h"

#include "protocol/bb_calendar.h"
#include "storage/bb_store_sync.h"

static bb_zone_t *s_zone(const char *name)
{
    char path[128];
    uint8_t bytes[1 << 15];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    bb_zone_t *zone = NULL;
    assert_int_equal(bb_zone_decode(bb_slice(bytes, length), &zone, NULL), BB_OK);
    return zone;
}

static bb_rollup_t s_rollup(const char *name, bb_every_t every, int64_t every_ns,
                            const char *metric)
{
    bb_rollup_t rollup = {.every = every,
                          .every_ns = every_ns,
                          .aggregates = BB_AGGREGATE_ALL,
                          .keep_ns = BB_KEEP_FOREVER_NS};
    strcpy(rollup.name, name);
    strcpy(rollup.selector.metric, metric);
    if (every != BB_EVERY_FIXED) {
        strcpy(rollup.zone_name, "America/New_York");
    }
    return rollup;
}

// Four rollups; `without` (or -1) is left out.
static bb_policy_t *s_policy(int without)
{
    const int64_t hour = BB_NS_PER_DAY / 24;
    const bb_rollup_t all[4] = {
        s_rollup("hours", BB_EVERY_FIXED, hour, ""), s_rollup("days", BB_EVERY_DAY, 0, "*_?"),
        s_rollup("weeks", BB_EVERY_WEEK, 0, "state"), s_rollup("months", BB_EVERY_MONTH, 0, "a")};
    bb_rollup_t chosen[4];
    bb_zone_t *zones[4] = {NULL};
    uint32_t count = 0;
    for (int i = 0; i < 4; i++) {
        if (i != without) {
            zones[count] = all[i].every == BB_EVERY_FIXED ? NULL : s_zone("America/New_York");
            chosen[count++] = all[i];
        }
    }
    return bb_policy_new(NULL, 0, BB_KEEP_FOREVER_NS, chosen, zones, count);
}

static void s_set_policy(fixture_t *fixture, int without)
{
    bb_policy_t *policy = s_policy(without);
    bb_store_policy_set(fixture->store, policy);
    bb_policy_release(&fixture->options.policy);
    fixture->options.policy = policy;
}

static void s_assert_equal(const fixture_rows_t *found, const fixture_rows_t *expected,
                           const char *name)
{
    if (found->count != expected->count) {
        fail_msg("%s: %zu rows instead of %zu", name, found->count, expected->count);
    }
    for (size_t i = 0; i < found->count; i++) {
        const fixture_row_t *a = &found->items[i];
        const fixture_row_t *b = &expected->items[i];
        bool is_equal = a->battery == b->battery && a->metric == b->metric && a->type == b->type &&
                        a->bucket.start_wall_ns == b->bucket.start_wall_ns &&
                        a->bucket.count == b->bucket.count && a->bucket.min == b->bucket.min &&
                        a->bucket.max == b->bucket.max && a->bucket.first == b->bucket.first &&
                        a->bucket.last == b->bucket.last &&
                        a->bucket.first_wall_ns == b->bucket.first_wall_ns &&
                        a->bucket.last_wall_ns == b->bucket.last_wall_ns &&
                        bb_sum_is_equal(&a->bucket.sum, &b->bucket.sum);
        if (!is_equal) {
            fail_msg("%s: row %zu: battery %u metric %u type %d start %lld count %llu instead of "
                     "battery %u metric %u type %d start %lld count %llu",
                     name, i, a->battery, a->metric, (int)a->type,
                     (long long)a->bucket.start_wall_ns, (unsigned long long)a->bucket.count,
                     b->battery, b->metric, (int)b->type, (long long)b->bucket.start_wall_ns,
                     (unsigned long long)b->bucket.count);
        }
    }
}

// The same from points: one aggregate query per bucket, sorted like an answer.
static void s_expect(fixture_t *fixture, const bb_policy_t *policy, uint32_t index,
                     const bb_query_t *asked, fixture_rows_t *rows)
{
    memset(rows, 0, sizeof *rows);
    const bb_rollup_t *rollup = bb_policy_rollup(policy, index);
    bb_calendar_t calendar = bb_policy_rollup_calendar(policy, index);
    int64_t first = BB_MAX(asked->from_wall_ns, FIXTURE_START_NS - 40 * BB_NS_PER_DAY);
    int64_t limit = BB_MIN(asked->to_wall_ns, FIXTURE_START_NS + 40 * BB_NS_PER_DAY);
    int64_t start = bb_calendar_start(&calendar, first);
    for (start = start < first ? bb_calendar_next(&calendar, start) : start; start < limit;
         start = bb_calendar_next(&calendar, start)) {
        bb_query_t query = *asked;
        query.rollup = bb_slice(NULL, 0);
        query.from_wall_ns = start;
        query.to_wall_ns = bb_calendar_next(&calendar, start);
        query.page_bytes_max = 0;
        fixture_rows_t bucket;
        fixture_ask(fixture, &query, &bucket);
        for (size_t i = 0; i < bucket.count; i++) {
            if (bb_pattern_matches(
                    bb_slice(rollup->selector.metric, strlen(rollup->selector.metric)),
                    fixture_metric(bucket.items[i].metric)) ||
                !rollup->selector.metric[0]) {
                bucket.items[i].time_wall_ns = start;
                bucket.items[i].bucket.start_wall_ns = start;
                fixture_row_add(rows, bucket.items[i]);
            }
        }
        free(bucket.items);
    }
    if (rows->count > 0) {
        qsort(rows->items, rows->count, sizeof *rows->items, fixture_compare_rows);
    }
}

static void s_verify(fixture_t *fixture, bb_random_t *random)
{
    const bb_policy_t *policy = fixture->options.policy;
    for (uint32_t i = 0; i < bb_policy_rollup_count(policy); i++) {
        const char *name = bb_policy_rollup(policy, i)->name;
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        query.rollup = fixture_slice(name);
        bb_slice_t battery = fixture_battery((uint32_t)bb_random_below(random, FIXTURE_BATTERIES));
        if (bb_random_chance(random, 1, 3)) {
            query.from_wall_ns =
                FIXTURE_START_NS + (int64_t)bb_random_below(random, 200) * (BB_NS_PER_DAY / 48);
            query.to_wall_ns =
                query.from_wall_ns + (int64_t)bb_random_below(random, 300) * (BB_NS_PER_DAY / 48);
        }
        if (bb_random_chance(random, 1, 4)) {
            query.batteries = &battery;
            query.battery_count = 1;
        }
        query.page_bytes_max = bb_random_chance(random, 1, 3) ? 2000 : 0;
        fixture_rows_t found;
        fixture_rows_t expected;
        fixture_ask(fixture, &query, &found);
        s_expect(fixture, policy, i, &query, &expected);
        s_assert_equal(&found, &expected, name);
        assert_int_equal(found.damaged_window_count, 0);
        free(found.items);
        free(expected.items);
    }
}

static void s_compute_all(fixture_t *fixture)
{
    for (int i = 0; i < 100000; i++) {
        bb_store_clock(fixture->store, FIXTURE_START_NS + 100 * BB_NS_PER_DAY);
        if (fixture_job(fixture, BB_JOB_ROLLUP) == BB_ERR_NOT_FOUND) {
            return;
        }
    }
    fail_msg("rollups never end");
}

// Everything is sealed and computed: no point is read for any answer.
static void s_verify_stored(fixture_t *fixture)
{
    const bb_policy_t *policy = fixture->options.policy;
    for (uint32_t i = 0; i < bb_policy_rollup_count(policy); i++) {
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        query.rollup = fixture_slice(bb_policy_rollup(policy, i)->name);
        fixture_rows_t found;
        fixture_ask(fixture, &query, &found);
        assert_true(found.count > 0);
        assert_int_equal(found.points_scanned, 0);
        free(found.items);
    }
}

// Goal: an answer equals the aggregates of the points, at every moment. Method: random writes
// (late, twice, superseded, of changing types), flushes, merges, rollup jobs, policies and
// restarts; after each some, every rollup is compared bucket by bucket with what a scan says.
static void rollups_equal_the_points(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= bb_rounds(12); seed++) {
        bb_random_t random = bb_random_seed(seed);
        fixture_t fixture;
        fixture_open(&fixture, true);
        fixture.day_spread = 12;
        s_set_policy(&fixture, -1);
        for (int step = 0; step < 60; step++) {
            switch (bb_random_below(&random, 10)) {
            case 0:
            case 1:
            case 2:
                fixture_write_random(&fixture, &random, 60, true);
                break;
            case 3:
            case 4:
                (void)!fixture_job(&fixture, BB_JOB_FLUSH);
                break;
            case 5:
                (void)!fixture_job(&fixture, BB_JOB_MERGE);
                break;
            case 6:
                bb_store_clock(fixture.store, FIXTURE_START_NS + 100 * BB_NS_PER_DAY);
                (void)!fixture_job(&fixture, BB_JOB_ROLLUP);
                break;
            case 7:
                s_compute_all(&fixture);
                break;
            case 8:
                fixture_reopen(&fixture);
                break;
            default:
                s_set_policy(&fixture, (int)bb_random_below(&random, 6));
                break;
            }
            if (step % 3 == 0) {
                s_verify(&fixture, &random);
            }
        }
        (void)!fixture_job(&fixture, BB_JOB_FLUSH);
        s_set_policy(&fixture, -1);
        s_compute_all(&fixture);
        s_verify(&fixture, &random);
        s_verify_stored(&fixture);
        bb_policy_release(&fixture.options.policy);
        fixture_close(&fixture);
    }
}

// ---- keeping ---------------------------------------------------------------------------------
// Records in the rollups' map of a closed store: all, and those of days before `day_limit`.
static void s_count_records(fixture_t *fixture, uint32_t day_limit, uint32_t *all, uint32_t *old)
{
    bb_kv_cursor_t *cursor;
    bb_slice_t key;
    bb_slice_t value;
    *all = *old = 0;
    fixture_map_t map =
        fixture_map_open(fixture, "/store/rollups", bb_slice("V", 1), &cursor, &key, &value);
    for (bb_error_t error = BB_OK; error == BB_OK && *(const uint8_t *)key.data == 'V';
         error = map.kv->next(cursor, &key, &value)) {
        const uint8_t *day = (const uint8_t *)key.data + 9; // big-endian
        uint32_t number = (uint32_t)day[0] << 24 | (uint32_t)day[1] << 16 | day[2] << 8 | day[3];
        ++*all;
        *old += number < day_limit;
    }
    map.kv->cursor_close(&cursor);
    fixture_map_close(&map);
}

// Goal: what a rollup does not keep any more is deleted, and nothing else; late points of such days
// leave nothing behind. Method: an hourly rollup kept for five days, points of twelve.
static void records_past_their_keep_go(void **state)
{
    (void)state;
    fixture_t fixture;
    bb_random_t random = bb_random_seed(4);
    bb_zone_t *zones[1] = {NULL};
    bb_rollup_t rollup = s_rollup("hours", BB_EVERY_FIXED, BB_NS_PER_DAY / 24, "");
    int64_t now_wall_ns = FIXTURE_START_NS + 12 * BB_NS_PER_DAY;
    uint32_t all;
    uint32_t old;
    rollup.keep_ns = 5 * BB_NS_PER_DAY;
    fixture_open(&fixture, true);
    fixture.day_spread = 12;
    bb_policy_t *policy = bb_policy_new(NULL, 0, BB_KEEP_FOREVER_NS, &rollup, zones, 1);
    bb_store_policy_set(fixture.store, policy);
    fixture.options.policy = policy;
    bb_store_clock(fixture.store, FIXTURE_START_NS); // nothing is too old yet
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 10; i++) {
            fixture_write_random(&fixture, &random, 60, false);
        }
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        now_wall_ns += round * BB_NS_PER_DAY;
        uint32_t day_limit = (uint32_t)(now_wall_ns / BB_NS_PER_DAY) - 5;
        bb_store_clock(fixture.store, now_wall_ns);
        while (fixture_job(&fixture, BB_JOB_ROLLUP) == BB_OK) {
            bb_store_clock(fixture.store, now_wall_ns);
        }
        bb_store_close(&fixture.store);
        s_count_records(&fixture, day_limit, &all, &old);
        assert_true(all > 0);
        assert_int_equal(old, 0);
        fixture_reopen_error(&fixture, BB_OK);
    }
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

// ---- segments that cannot be opened ----------------------------------------------------------
static bb_kv_driver_t *s_inner;
static bool s_is_failing;

static bb_error_t s_open_or_fail(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                                 bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    (void)driver;
    if (s_is_failing && strstr(directory, "windows/")) {
        return bb_fault_set(fault, BB_ERR_IO, "%s: the disk gives an error", directory);
    }
    return s_inner->open(s_inner, directory, map_bytes, create, env, fault);
}

// Until nothing is left to do, or as often as it takes to see that it does not end.
static void s_compute(fixture_t *fixture, int64_t now_wall_ns)
{
    for (uint32_t i = 0; i < 20; i++) {
        bb_store_clock(fixture->store, now_wall_ns);
        (void)!fixture_job(fixture, BB_JOB_ROLLUP);
    }
}

static uint64_t s_points_of_rollup(fixture_t *fixture)
{
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    query.rollup = fixture_slice("hours");
    fixture_rows_t found;
    fixture_ask(fixture, &query, &found);
    uint64_t points = 0;
    for (size_t i = 0; i < found.count; i++) {
        points += found.items[i].bucket.count;
    }
    free(found.items);
    return points;
}

// Segments of points whose keep has ended cannot be opened; opened before, a store has them open.
static void s_open_failing(fixture_t *fixture, bb_kv_driver_t *failing, int64_t now_wall_ns)
{
    bb_random_t random = bb_random_seed(5);
    bb_zone_t *zones[1] = {NULL};
    bb_rollup_t rollup = s_rollup("hours", BB_EVERY_FIXED, BB_NS_PER_DAY / 24, "");
    fixture_open(fixture, true);
    fixture->options.policy = bb_policy_new(NULL, 0, 5 * BB_NS_PER_DAY, &rollup, zones, 1);
    bb_store_policy_set(fixture->store, fixture->options.policy);
    bb_store_clock(fixture->store, FIXTURE_START_NS); // nothing is too old yet
    fixture_write_random(fixture, &random, 60, false);
    assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_close(&fixture->store);
    s_inner = fixture->options.kv;
    *failing = *s_inner;
    failing->open = s_open_or_fail;
    fixture->options.kv = failing;
    fixture_reopen_error(fixture, BB_OK);
    s_is_failing = true;
    s_compute(fixture, now_wall_ns);
}

// Goal: an error of the disk that passes costs no result: retention waits until the segments have
// been read, and what the points added up to outlives them.
static void a_passing_error_costs_no_result(void **state)
{
    (void)state;
    const int64_t now_wall_ns = FIXTURE_START_NS + 20 * BB_NS_PER_DAY;
    fixture_t fixture;
    bb_kv_driver_t failing;
    s_open_failing(&fixture, &failing, now_wall_ns);
    assert_false(bb_store_wants_retire(fixture.store));
    s_is_failing = false;
    s_compute(&fixture, now_wall_ns);
    uint64_t points = s_points_of_rollup(&fixture);
    assert_true(points > 0);
    assert_true(bb_store_wants_retire(fixture.store));
    assert_int_equal(fixture_job(&fixture, BB_JOB_RETIRE), BB_OK);
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_true(stats.retired_points > 0);
    assert_int_equal(s_points_of_rollup(&fixture), points);
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

// Goal: errors that do not pass hold nothing up for ever: once scrubbing has named the windows,
// they are damaged, and retention goes on without their results. Other stores are asked for those,
// and what was damaged is not named any more when it is gone. Found by the simulator (seed 905).
static void a_lasting_error_does_not_hold_retention(void **state)
{
    (void)state;
    const int64_t now_wall_ns = FIXTURE_START_NS + 20 * BB_NS_PER_DAY;
    fixture_t fixture;
    bb_kv_driver_t failing;
    s_open_failing(&fixture, &failing, now_wall_ns);
    int64_t now_ns = BB_NS_PER_S;
    int64_t wake_ns;
    bb_store_scrub_start(fixture.store, now_ns, now_wall_ns, BB_SCRUB_RATE_UNLIMITED);
    for (uint32_t i = 0; i < 1000; i++) {
        if (bb_store_scrub_tick(fixture.store, now_ns, now_wall_ns, &wake_ns)) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_SCRUB), BB_OK);
        }
        now_ns += BB_NS_PER_S / 1000;
    }
    assert_true(bb_store_scrub_stats(fixture.store, now_wall_ns).damage_count > 0);
    s_compute(&fixture, now_wall_ns);
    assert_true(bb_store_wants_retire(fixture.store));
    assert_int_equal(bb_store_result_gaps(fixture.store), 0);
    assert_int_equal(fixture_job(&fixture, BB_JOB_RETIRE), BB_OK);
    for (uint32_t round = 0; round < 2; round++) {
        assert_true(bb_store_result_gaps(fixture.store) > 0);
        assert_int_equal(bb_store_scrub_stats(fixture.store, now_wall_ns).damage_count, 0);
        s_is_failing = false;
        fixture_reopen(&fixture);
    }
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

// ---- a map that cannot be opened -------------------------------------------------------------
static uint32_t s_map_errors; // of reading or opening it, that are still to come
static bool s_is_map_read_failing;

static bb_error_t s_map_open_or_fail(bb_kv_driver_t *driver, const char *directory,
                                     size_t map_bytes, bool create, bb_kv_env_t **env,
                                     bb_fault_t *fault)
{
    (void)driver;
    if (!s_is_map_read_failing && s_map_errors > 0 && strstr(directory, "/rollups")) {
        s_map_errors--;
        return bb_fault_set(fault, BB_ERR_IO, "%s: the disk gives an error", directory);
    }
    return s_inner->open(s_inner, directory, map_bytes, create, env, fault);
}

static bb_error_t s_cursor_or_fail(bb_kv_txn_t *txn, bb_kv_cursor_t **cursor)
{
    if (s_is_map_read_failing && s_map_errors > 0) {
        s_map_errors--;
        return BB_ERR_IO;
    }
    return s_inner->cursor(txn, cursor);
}

// Goal: a map that gave an error when the first rollup came is opened later, so that results are
// stored, and other stores can ask for them, without a restart. Method: the first two opens fail,
// or the first two readings of what was opened.
static void a_map_is_opened_when_it_can_be(void **state)
{
    (void)state;
    const int64_t now_wall_ns = FIXTURE_START_NS + 60 * BB_NS_PER_DAY;
    for (uint32_t round = 0; round < 2; round++) {
        fixture_t fixture;
        bb_random_t random = bb_random_seed(6);
        bb_zone_t *zones[1] = {NULL};
        bb_rollup_t rollup = s_rollup("hours", BB_EVERY_FIXED, BB_NS_PER_DAY / 24, "");
        fixture_open(&fixture, true);
        fixture_write_random(&fixture, &random, 60, false);
        bb_store_close(&fixture.store);
        s_inner = fixture.options.kv;
        bb_kv_driver_t failing = *s_inner;
        failing.open = s_map_open_or_fail;
        failing.cursor = s_cursor_or_fail;
        fixture.options.kv = &failing;
        fixture_reopen_error(&fixture, BB_OK);
        s_map_errors = 2;
        s_is_map_read_failing = round == 1;
        fixture.options.policy = bb_policy_new(NULL, 0, 5 * BB_NS_PER_DAY, &rollup, zones, 1);
        bb_store_policy_set(fixture.store, fixture.options.policy);
        assert_int_equal(s_map_errors, 1);
        bb_store_clock(fixture.store, now_wall_ns);
        assert_int_equal(s_map_errors, 0);
        assert_false(bb_store_wants_rollup(fixture.store));
        assert_false(bb_store_wants_retire(fixture.store)); // the points are all there is
        bb_store_clock(fixture.store, now_wall_ns + 60 * BB_NS_PER_S);
        assert_true(bb_store_wants_rollup(fixture.store));
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        s_compute(&fixture, now_wall_ns + 60 * BB_NS_PER_S);
        assert_true(bb_store_wants_retire(fixture.store));
        uint32_t all = 0;
        uint32_t old = 0;
        bb_store_close(&fixture.store);
        s_count_records(&fixture, 0, &all, &old);
        assert_true(all > 0);
        fixture_reopen_error(&fixture, BB_OK);
        bb_policy_release(&fixture.options.policy);
        fixture_close(&fixture);
    }
}

// ---- damage ----------------------------------------------------------------------------------
// A bit of a key or a value flips in the rollups' map of a closed store.
static void s_flip(fixture_t *fixture, bb_random_t *random, uint8_t first)
{
    bb_kv_cursor_t *cursor;
    bb_slice_t key;
    bb_slice_t value;
    uint8_t bytes[1 << 14];
    fixture_map_t map =
        fixture_map_open(fixture, "/store/rollups", bb_slice(&first, 1), &cursor, &key, &value);
    assert_int_equal(*(const uint8_t *)key.data, first);
    for (uint64_t skip = bb_random_below(random, first == 'V' ? 20 : 3); skip > 0; skip--) {
        assert_int_equal(map.kv->next(cursor, &key, &value), BB_OK);
    }
    map.kv->cursor_close(&cursor);
    size_t key_length = key.length;
    size_t length = key.length + value.length;
    assert_true(length <= sizeof bytes);
    memcpy(bytes, key.data, key_length);
    memcpy(bytes + key_length, value.data, value.length);
    assert_int_equal(map.kv->remove(map.txn, bb_slice(bytes, key_length)), BB_OK);
    uint64_t at = bb_random_chance(random, 1, 2) ? bb_random_below(random, key_length)
                                                 : bb_random_below(random, length);
    bytes[at] ^= (uint8_t)(1u << bb_random_below(random, 8));
    assert_int_equal(map.kv->put(map.txn, bb_slice(bytes, key_length),
                                 bb_slice(bytes + key_length, length - key_length)),
                     BB_OK);
    fixture_map_close(&map);
}

// Goal: a flipped bit in a result or a mark, in its key or its value, is found without being asked
// for, and then every answer is again that of the points. Method: one at a time, of random ones.
static void flipped_bits_are_computed_again(void **state)
{
    (void)state;
    fixture_t fixture;
    bb_random_t random = bb_random_seed(6);
    uint64_t damaged_count = 0;
    fixture_open(&fixture, true);
    fixture.day_spread = 12;
    s_set_policy(&fixture, -1);
    s_compute_all(&fixture); // the definitions
    for (uint32_t round = 0; round < 40; round++) {
        if (round % 8 == 0) {
            fixture_write_random(&fixture, &random, 60, true);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        bool is_mark = round % 8 == 0; // of the flush
        if (!is_mark) {
            s_compute_all(&fixture);
        }
        bb_store_close(&fixture.store);
        s_flip(&fixture, &random, is_mark ? 'M' : 'V');
        fixture_reopen_error(&fixture, BB_OK);
        s_compute_all(&fixture);
        bb_store_stats_t stats;
        bb_store_stats(fixture.store, &stats);
        damaged_count += stats.rollup_damaged;
        s_verify(&fixture, &random);
        s_verify_stored(&fixture);
    }
    assert_true(damaged_count > 15);
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

// Goal: a map of results that reaches its size grows; nothing is fenced or lost, and while a query
// reads the map it stays as it is. Method: maps of 256 KiB and results of more than that; LMDB and
// the simulated one, which holds a transaction to its limit.
static void map_reaches_its_size(void **state)
{
    (void)state;
    for (uint32_t simulated = 0; simulated < 2; simulated++) {
        fixture_t fixture;
        bb_random_t random = bb_random_seed(5);
        fixture_open(&fixture, simulated);
        bb_store_close(&fixture.store);
        fixture.options.kv_map_bytes = 256u << 10;
        fixture.day_spread = 38;
        fixture_reopen_error(&fixture, BB_OK);
        s_set_policy(&fixture, -1);
        for (uint32_t i = 0; i < 24; i++) {
            fixture_write_random(&fixture, &random, 500, false);
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        query.rollup = fixture_slice("hours");
        bb_snapshot_t *reader = NULL;
        assert_int_equal(bb_store_snapshot(fixture.store, &query, &reader, NULL), BB_OK);
        uint32_t refused_count = 0;
        for (uint32_t i = 0; i < 10000; i++) {
            bb_store_clock(fixture.store, FIXTURE_START_NS + 100 * BB_NS_PER_DAY);
            bb_error_t error = fixture_job(&fixture, BB_JOB_ROLLUP);
            if (error == BB_ERR_NOT_FOUND) {
                break;
            }
            assert_true(error == BB_OK || error == BB_ERR_DISK_FULL);
            refused_count += error != BB_OK;
            assert_true(refused_count < 20);
            if (refused_count == 3) {
                bb_snapshot_close(&reader);
            }
        }
        bb_snapshot_close(&reader);
        assert_true(refused_count >= 3);
        assert_false(bb_store_is_fenced(fixture.store));
        s_verify_stored(&fixture);
        s_verify(&fixture, &random);
        fixture_reopen(&fixture);
        s_verify_stored(&fixture);
        bb_policy_release(&fixture.options.policy);
        fixture_close(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollups_equal_the_points),
        cmocka_unit_test(records_past_their_keep_go),
        cmocka_unit_test(a_passing_error_costs_no_result),
        cmocka_unit_test(a_lasting_error_does_not_hold_retention),
        cmocka_unit_test(a_map_is_opened_when_it_can_be),
        cmocka_unit_test(map_reaches_its_size),
        cmocka_unit_test(flipped_bits_are_computed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

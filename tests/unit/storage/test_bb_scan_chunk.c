// SPDX-License-Identifier: Apache-2.0
// Scans over many more windows than may be open at once: never more are open, and every answer is
// that of the definition.
#include "tests/unit/storage/aggregate_oracle.h"

enum { S_DAYS = 30, S_OPEN_MAX = 12, S_TRACKED_MAX = 256 };

// A driver that counts the environments of windows.
typedef struct {
    bb_kv_driver_t driver;
    bb_kv_driver_t *inner;
    bb_kv_env_t *open[S_TRACKED_MAX];
    uint32_t open_count, open_most, opened;
} s_counting_t;

static s_counting_t *s_counting; // close gets no driver

static bb_error_t s_open(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                         bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    s_counting_t *self = (s_counting_t *)(void *)driver;
    bb_error_t error = self->inner->open(self->inner, directory, map_bytes, create, env, fault);
    if (error == BB_OK && strstr(directory, "/default/")) {
        assert_true(self->open_count < S_TRACKED_MAX);
        self->open[self->open_count++] = *env;
        self->open_most = BB_MAX(self->open_most, self->open_count);
        self->opened++;
    }
    return error;
}

static void s_close(bb_kv_env_t **env)
{
    for (uint32_t i = 0; i < s_counting->open_count; i++) {
        if (s_counting->open[i] == *env) {
            s_counting->open[i] = s_counting->open[--s_counting->open_count];
            break;
        }
    }
    s_counting->inner->close(env);
}

// Points of all batteries on all days, two segments a day, and frames in the head.
static void s_fill(fixture_t *fixture, s_counting_t *counting)
{
    fixture_open(fixture, true);
    fixture->day_spread = S_DAYS;
    *counting = (s_counting_t){.driver = *fixture->options.kv, .inner = fixture->options.kv};
    counting->driver.open = s_open;
    counting->driver.close = s_close;
    s_counting = counting;
    bb_store_close(&fixture->store);
    fixture->options.kv = &counting->driver;
    fixture->options.segments_open_max = S_OPEN_MAX;
    fixture_reopen_error(fixture, BB_OK);
    bb_random_t random = bb_random_seed(81);
    for (uint32_t i = 0; i < 120; i++) {
        fixture_write_random(fixture, &random, 30, true);
        if (i % 50 == 49) {
            assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    bb_store_stats_t stats;
    bb_store_stats(fixture->store, &stats);
    assert_true(stats.window_count >= 2 * S_OPEN_MAX);
    // What jobs open is not what this is about.
    bb_store_close(&fixture->store);
    fixture_reopen_error(fixture, BB_OK);
    counting->open_most = counting->open_count;
    counting->opened = 0;
}

// Goal: raw points, newest values, aggregates, groups, in one part and in several, pages small and
// large: right, and never more open than allowed.
static void test_answers_are_right(void **state)
{
    (void)state;
    fixture_t fixture;
    s_counting_t counting;
    s_fill(&fixture, &counting);
    bb_random_t random = bb_random_seed(82);
    static const int64_t widths[] = {0, 3600 * BB_NS_PER_S, BB_NS_PER_DAY, 7 * BB_NS_PER_DAY};
    for (uint32_t i = 0; i < 60; i++) {
        static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_AGGREGATE, BB_QUERY_LAST,
                                                BB_QUERY_QUARANTINE, BB_QUERY_AGGREGATE};
        bb_query_t query = fixture_query(modes[i % BB_COUNT_OF(modes)]);
        if (bb_random_chance(&random, 1, 2)) {
            int64_t first = (int64_t)bb_random_below(&random, 12);
            query.from_wall_ns =
                FIXTURE_START_NS + first * BB_NS_PER_DAY + (int64_t)bb_random_below(&random, 9999);
            query.to_wall_ns = FIXTURE_START_NS +
                               (first + (int64_t)bb_random_below(&random, 18)) * BB_NS_PER_DAY +
                               (int64_t)bb_random_below(&random, 80000) * BB_NS_PER_S;
            query.to_wall_ns = BB_MAX(query.from_wall_ns, query.to_wall_ns);
        }
        query.page_bytes_max = bb_random_chance(&random, 1, 3) ? 3000 : 0;
        query.every_ns = widths[bb_random_below(&random, BB_COUNT_OF(widths))];
        query.group_by_none = query.mode == BB_QUERY_AGGREGATE && i % 2 == 0;
        query.aggregates = (uint32_t)bb_random_below(&random, BB_AGGREGATE_ALL + 1);
        query.is_decode_forced = bb_random_chance(&random, 1, 3);
        fixture.scan_parts = (uint32_t)bb_random_below(&random, 3);
        if (query.mode == BB_QUERY_AGGREGATE) {
            aggregate_verify(&fixture, &query);
        } else {
            if (query.mode == BB_QUERY_LAST && query.from_wall_ns == 0) {
                query.to_wall_ns = BB_TIME_WALL_NS_LIMIT;
            }
            fixture_verify(&fixture, &query);
        }
        assert_in_range(counting.open_most, 1, S_OPEN_MAX);
    }
    assert_true(counting.opened > 3 * S_OPEN_MAX);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

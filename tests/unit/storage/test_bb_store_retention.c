// SPDX-License-Identifier: Apache-2.0
// Retention of a store: what is below a floor is refused, never seen, and deleted by whole windows;
// everything else stays, whatever the order of writes, floors, flushes, merges and restarts.
#include "tests/unit/storage/store_fixture.h"

#define S_FAR_DAYS 30 // the last point is so many days after FIXTURE_START_NS at most

// `a` and `state` for two days, others as long as `default_days` (0 = for ever).
static void s_set_policy(fixture_t *fixture, int64_t default_days)
{
    bb_retention_class_t classes[2] = {
        {.name = "short", .selector = {.metric = "a"}, .keep_ns = 2 * BB_NS_PER_DAY},
        {.name = "states", .selector = {.metric = "st*"}, .keep_ns = 5 * BB_NS_PER_DAY}};
    bb_policy_t *policy =
        bb_policy_new(classes, 2, default_days ? default_days * BB_NS_PER_DAY : BB_KEEP_FOREVER_NS,
                      NULL, NULL, 0);
    bb_store_policy_set(fixture->store, policy);
    bb_policy_release(&fixture->options.policy);
    fixture->options.policy = policy;
}

static int64_t s_keep_ns(uint32_t metric, int64_t default_days)
{
    bb_slice_t name = fixture_metric(metric);
    if (name.length == 1) {
        return 2 * BB_NS_PER_DAY;
    }
    if (((const char *)name.data)[0] == 's') {
        return 5 * BB_NS_PER_DAY;
    }
    return default_days ? default_days * BB_NS_PER_DAY : BB_KEEP_FOREVER_NS;
}

// What the model knows: the floor of each metric, which only grows.
typedef struct {
    int64_t floors[FIXTURE_METRICS];
    int64_t default_days;
} s_model_t;

static void s_forget(fixture_t *fixture, const s_model_t *model)
{
    size_t kept = 0;
    for (size_t i = 0; i < fixture->points.count; i++) {
        fixture_point_t point = fixture->points.items[i];
        if (point.time_wall_ns >= model->floors[point.metric]) {
            fixture->points.items[kept++] = point;
        }
    }
    fixture->points.count = kept;
}

static void s_clock(fixture_t *fixture, s_model_t *model, int64_t now_wall_ns)
{
    bb_store_clock(fixture->store, now_wall_ns);
    for (uint32_t m = 0; m < FIXTURE_METRICS; m++) {
        model->floors[m] =
            bb_retention_floor(model->floors[m], s_keep_ns(m, model->default_days), now_wall_ns);
    }
}

// As a shard does it: what the head holds is sealed, then windows go.
static void s_retire(fixture_t *fixture)
{
    if (bb_store_wants_retire(fixture->store)) {
        if (bb_store_retire_needs_flush(fixture->store)) {
            assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
        }
        assert_int_equal(fixture_job(fixture, BB_JOB_RETIRE), BB_OK);
    }
    assert_false(bb_store_wants_retire(fixture->store));
}

static void s_verify(fixture_t *fixture)
{
    bb_query_t raw = fixture_query(BB_QUERY_RAW);
    fixture_verify(fixture, &raw);
    bb_query_t last = fixture_query(BB_QUERY_LAST);
    fixture_verify(fixture, &last);
}

// Goal: after floors have moved, an answer is that of the points above them. Method: a list of all
// points, from which the model takes what is below; random writes of any age, classes that split
// frames, flushes, merges, restarts.
static void retention_equals_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        bb_random_t random = bb_random_seed(seed);
        fixture_t fixture;
        fixture_open(&fixture, true);
        fixture.day_spread = S_FAR_DAYS;
        fixture.with_conflicts = false;
        s_model_t model = {.default_days = 0};
        s_set_policy(&fixture, 0);
        int64_t day = 0;
        for (int step = 0; step < 80; step++) {
            switch (bb_random_below(&random, 8)) {
            case 0:
            case 1:
            case 2:
                fixture_write_random(&fixture, &random, 50, false);
                s_forget(&fixture, &model); // replicas take everything and leave out the old
                break;
            case 3:
                (void)!fixture_job(&fixture, BB_JOB_FLUSH);
                break;
            case 4:
                (void)!fixture_job(&fixture, BB_JOB_MERGE);
                break;
            case 5: // the clock also goes back
                day = (int64_t)bb_random_below(&random, (uint64_t)BB_MIN(step / 2 + 3, 28));
                s_clock(&fixture, &model, FIXTURE_START_NS + day * BB_NS_PER_DAY + 1);
                s_retire(&fixture);
                s_forget(&fixture, &model);
                break;
            case 6:
                model.default_days = (int64_t)bb_random_below(&random, 3) * 9;
                s_set_policy(&fixture, model.default_days);
                break;
            default:
                fixture_reopen(&fixture);
                break;
            }
            s_verify(&fixture);
        }
        bb_store_stats_t stats;
        bb_store_stats(fixture.store, &stats);
        assert_true(stats.window_count > 0);
        bb_policy_release(&fixture.options.policy);
        fixture_close(&fixture);
    }
}

typedef struct {
    uint32_t frames, points;
    char text[256];
} s_refused_t;

static void s_note(void *context, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                   bb_error_t error, const char *detail)
{
    s_refused_t *refused = context;
    (void)at;
    assert_int_equal(error, BB_ERR_RETENTION);
    assert_true(frame != UINT32_MAX);
    refused->frames += metric == UINT32_MAX;
    refused->points += metric != UINT32_MAX;
    snprintf(refused->text, sizeof refused->text, "%s", detail);
}

static void s_one_frame(fixture_t *fixture, int64_t time_wall_ns, bool with_voltage,
                        fixture_batch_t *out)
{
    memset(out, 0, sizeof *out);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    const uint32_t metrics[2] = {5, 0}; // a, voltage_v
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_FLOAT64};
    const uint64_t bits[2] = {bb_bits_of_double(1.5), bb_bits_of_double(2.5)};
    fixture_add_frame(builder, out, 3, 0, time_wall_ns, metrics, types, bits, with_voltage ? 2 : 1,
                      false);
    fixture_seal(fixture, builder, NULL, FIXTURE_START_NS, out);
    bb_batch_builder_destroy(&builder);
}

// Goal: the coordinator names what is too old, by point and by frame, with the class and its floor;
// after a restart it still does; points above the floor are not touched.
static void retention_refuses_by_name(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    s_set_policy(&fixture, 0);
    s_model_t model = {0};
    s_clock(&fixture, &model, FIXTURE_START_NS + 10 * BB_NS_PER_DAY);
    s_retire(&fixture);
    fixture_reopen(&fixture);
    const int64_t floor = FIXTURE_START_NS + 8 * BB_NS_PER_DAY;
    const struct {
        int64_t time_wall_ns;
        bool with_voltage;
        uint32_t frames, points;
    } cases[] = {{floor - 1, true, 0, 1}, {floor - 1, false, 1, 0}, {floor, true, 0, 0}};
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        fixture_batch_t batch;
        s_one_frame(&fixture, cases[i].time_wall_ns, cases[i].with_voltage, &batch);
        s_refused_t refused = {0};
        uint64_t count = bb_store_check(fixture.store, &batch.batch, s_note, &refused);
        assert_int_equal(count, cases[i].frames + cases[i].points);
        assert_int_equal(refused.frames, cases[i].frames);
        assert_int_equal(refused.points, cases[i].points);
        if (count > 0) {
            assert_string_equal(refused.text, "retention class 'short' keeps nothing before "
                                              "2026-01-09T00:00:00Z");
        }
        fixture_batch_free(&batch);
    }
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

// Goal: whole windows go with their folders, and only those; a snapshot that was taken before still
// answers. Method: ten days of two classes; the floor passes some.
static void retention_deletes_windows(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    s_set_policy(&fixture, 0);
    for (int64_t day = 0; day < 10; day++) {
        fixture_batch_t batch;
        s_one_frame(&fixture, FIXTURE_START_NS + day * BB_NS_PER_DAY + 5, true, &batch);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
    }
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.window_count, 20); // a day of each class
    s_verify(&fixture);
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    bb_snapshot_t *snapshot = NULL;
    assert_int_equal(bb_store_snapshot(fixture.store, &query, &snapshot, NULL), BB_OK);
    s_model_t model = {0};
    s_clock(&fixture, &model, FIXTURE_START_NS + 9 * BB_NS_PER_DAY);
    s_retire(&fixture);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.window_count, 13); // days 0 to 6 of the class `short` are gone
    assert_int_equal(stats.retired_windows, 7);
    assert_int_equal(stats.retired_points, 7);
    bb_page_builder_t *page = bb_page_builder_new();
    bb_scan_result_t result = {0};
    assert_int_equal(bb_scan_page(snapshot, &query, page, &result, NULL), BB_OK);
    uint8_t *bytes = NULL;
    size_t length = 0;
    bb_page_builder_finish(page, &bytes, &length);
    bb_page_t answer;
    assert_int_equal(bb_page_open(&answer, bb_slice(bytes, length), NULL), BB_OK);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < answer.series_count; i++) {
        rows += answer.series[i].row_count;
    }
    assert_int_equal(rows, 20); // all that there was
    bb_page_close(&answer);
    free(bytes);
    assert_int_equal(result.damaged_window_count, 0);
    free(result.cursor);
    bb_snapshot_close(&snapshot);
    bb_page_builder_destroy(&page);
    s_forget(&fixture, &model);
    s_verify(&fixture);
    fixture_reopen(&fixture);
    s_verify(&fixture);
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retention_equals_the_model),
        cmocka_unit_test(retention_refuses_by_name),
        cmocka_unit_test(retention_deletes_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The store as a whole against a naive list of points: whatever is written, flushed, merged and
// reopened in whatever order, its answers equal what the list says. Over LMDB in a temporary
// folder and over the simulated disk.
#include <pthread.h>
#include <stdatomic.h>

#include "protocol/bb_crc32c.h"
#include "tests/unit/storage/store_fixture.h"

// ---- random histories ------------------------------------------------------------------------
static void s_verify_all(fixture_t *fixture)
{
    bb_query_t raw = fixture_query(BB_QUERY_RAW);
    fixture_verify(fixture, &raw);
    bb_query_t last = fixture_query(BB_QUERY_LAST);
    fixture_verify(fixture, &last);
    bb_query_t quarantine = fixture_query(BB_QUERY_QUARANTINE);
    fixture_verify(fixture, &quarantine);
}

// Goal: answers equal the oracle after any sequence of writes, flushes, merges and reopenings.
static void s_random_history(bool simulated, uint64_t seed, uint32_t step_count)
{
    bb_random_t random = bb_random_seed(seed);
    fixture_t fixture;
    fixture_open(&fixture, simulated);
    for (uint32_t step = 0; step < step_count; step++) {
        switch (bb_random_below(&random, 8)) {
        case 0: {
            bb_error_t error = fixture_job(&fixture, BB_JOB_FLUSH);
            assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
            break;
        }
        case 1: {
            bb_error_t error = fixture_job(&fixture, BB_JOB_MERGE);
            assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
            break;
        }
        case 2:
            if (bb_random_chance(&random, 1, 2)) {
                fixture_reopen(&fixture);
            }
            break;
        case 3:
            s_verify_all(&fixture);
            break;
        default:
            fixture_write_random(&fixture, &random, 60, true);
            break;
        }
    }
    s_verify_all(&fixture);
    // Sealed, merged: still the same, and each window has nothing left to join.
    while (fixture_job(&fixture, BB_JOB_FLUSH) == BB_OK) {
    }
    while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
    }
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.head_points + stats.frozen_points, 0);
    assert_int_equal(stats.runs_mergeable, 0);
    assert_true(stats.segment_points > 0);
    s_verify_all(&fixture);
    fixture_reopen(&fixture);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

static void test_random_histories_simulated(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        s_random_history(true, seed, 60);
    }
}

static void test_random_histories_on_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed <= 102; seed++) {
        s_random_history(false, seed, 30);
    }
}

// Goal: one battery at one hertz for two days, so that blocks and runs are long; in order, then
// with stretches repeated. Method: compare a few ranges with the oracle.
static void test_long_series(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(5);
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t metrics[2] = {0, 3};
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_STATE};
    for (uint32_t b = 0; b < 12; b++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        uint32_t first = b == 11 ? 1500 : b * 1000; // the last one repeats what is there
        for (uint32_t f = 0; f < 1000; f++) {
            uint64_t bits[2] = {fixture_bits(&random, BB_TYPE_FLOAT64),
                                fixture_bits(&random, BB_TYPE_STATE)};
            int64_t time = FIXTURE_START_NS + 80000 * BB_NS_PER_S + (first + f) * BB_NS_PER_S;
            fixture_add_frame(builder, &batch, 3, 0, time, metrics, types, bits, 2, false);
        }
        fixture_seal(&fixture, builder, NULL, FIXTURE_START_NS, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        if (b % 3 == 2) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    for (uint32_t round = 0; round < 2; round++) {
        bb_query_t query = fixture_query(BB_QUERY_RAW);
        fixture_verify(&fixture, &query);
        query.from_wall_ns = FIXTURE_START_NS + 81234 * BB_NS_PER_S + 1;
        query.to_wall_ns = FIXTURE_START_NS + 88888 * BB_NS_PER_S;
        fixture_verify(&fixture, &query);
        query.page_bytes_max = 5000;
        fixture_verify(&fixture, &query);
        bb_query_t last = fixture_query(BB_QUERY_LAST);
        fixture_verify(&fixture, &last);
        while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
        }
    }
    fixture_close(&fixture);
}

// ---- opening ---------------------------------------------------------------------------------
// Goal: a folder of someone else is refused, and nothing in it changes.
static void test_foreign_folders(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(1);
    fixture_write_random(&fixture, &random, 20, false);
    bb_store_close(&fixture.store);
    bb_store_options_t good = fixture.options;
    fixture.options.cluster_id[3] ^= 1;
    fixture_reopen_error(&fixture, BB_ERR_FOREIGN);
    fixture.options = good;
    fixture.options.node_id = "n2";
    fixture_reopen_error(&fixture, BB_ERR_FOREIGN);
    fixture.options = good;
    fixture.options.store_count = 2;
    fixture_reopen_error(&fixture, BB_ERR_FOREIGN);
    fixture.options = good;
    fixture.options.partition_count = 16;
    fixture_reopen_error(&fixture, BB_ERR_FOREIGN);
    fixture.options = good;
    // Every byte of the identity matters.
    for (uint64_t offset = 0; offset < 128; offset++) {
        assert_true(bb_sim_disk_flip(fixture.disk, "/store/busbar.store", offset, 0x10));
        fixture_reopen_error(&fixture, BB_ERR_CORRUPT);
        assert_true(bb_sim_disk_flip(fixture.disk, "/store/busbar.store", offset, 0x10));
    }
    fixture_reopen_error(&fixture, BB_OK);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: a folder of another format is refused with what to do, and nothing in it changes.
static void test_other_formats_are_refused(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_store_close(&fixture.store);
    static const char *const sentences[] = {"busbar query", "newer than this program"};
    for (uint32_t i = 0; i < 2; i++) {
        bb_slice_t identity = bb_sim_disk_get(fixture.disk, "/store/busbar.store");
        uint8_t bytes[128];
        assert_int_equal(identity.length, sizeof bytes);
        memcpy(bytes, identity.data, sizeof bytes);
        uint32_t format = i == 0 ? 1 : 99;
        memcpy(bytes + 4, &format, sizeof format);
        uint32_t checksum = bb_crc32c(0, bytes, 124);
        memcpy(bytes + 124, &checksum, sizeof checksum);
        bb_sim_disk_put(fixture.disk, "/store/busbar.store", bb_slice(bytes, sizeof bytes));
        bb_store_report_t report;
        bb_fault_t fault = {0};
        assert_int_equal(bb_store_open(&fixture.options, &report, &fixture.store, &fault),
                         BB_ERR_FORMAT);
        assert_non_null(strstr(fault.text, sentences[i]));
        identity = bb_sim_disk_get(fixture.disk, "/store/busbar.store");
        assert_memory_equal(identity.data, bytes, sizeof bytes);
    }
    fixture.store = NULL;
    fixture_close(&fixture);
}

static void test_second_opening_is_refused(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, false);
    bb_store_t *second = NULL;
    bb_store_report_t report;
    bb_fault_t fault = {0};
    assert_int_equal(bb_store_open(&fixture.options, &report, &second, &fault), BB_ERR_LOCKED);
    assert_non_null(strstr(fault.text, "busbar.store"));
    fixture_close(&fixture);
}

// ---- check -----------------------------------------------------------------------------------
typedef struct {
    uint32_t call_count;
    uint32_t frame, metric;
    bb_error_t error;
    char detail[256];
} s_rejections_t;

static void s_reject(void *context, const bb_batch_cursor_t *at, uint32_t frame, uint32_t metric,
                     bb_error_t error, const char *detail)
{
    s_rejections_t *self = context;
    (void)at;
    self->call_count++;
    self->frame = frame;
    self->metric = metric;
    self->error = error;
    snprintf(self->detail, sizeof self->detail, "%s", detail);
}

static void s_one_metric(fixture_t *fixture, fixture_batch_t *batch, bb_batch_builder_t *builder,
                         uint32_t metric, bb_type_t type, uint32_t frame_count)
{
    (void)fixture;
    uint8_t tag = (uint8_t)type;
    bb_random_t random = bb_random_seed(3);
    for (uint32_t f = 0; f < frame_count; f++) {
        uint64_t bits = fixture_bits(&random, type);
        fixture_add_frame(builder, batch, 1, 0, FIXTURE_START_NS + f, &metric, &tag, &bits, 1,
                          false);
    }
}

// Goal: a metric that changes its type is refused with both types named; before a flush, after it,
// and after a reopening; other metrics and batteries are not touched.
static void test_type_of_a_metric_is_kept(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture_batch_t first;
    memset(&first, 0, sizeof first);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    s_one_metric(&fixture, &first, builder, 3, BB_TYPE_FLOAT64, 2);
    fixture_seal(&fixture, builder, NULL, 0, &first);
    s_rejections_t rejections = {0};
    assert_int_equal(bb_store_check(fixture.store, &first.batch, s_reject, &rejections), 0);
    fixture_write(&fixture, &first);
    for (uint32_t round = 0; round < 3; round++) {
        fixture_batch_t second;
        memset(&second, 0, sizeof second);
        bb_batch_builder_reset(builder, 0);
        s_one_metric(&fixture, &second, builder, 3, BB_TYPE_INT64, 5);
        s_one_metric(&fixture, &second, builder, 2, BB_TYPE_BOOL, 5);
        fixture_seal(&fixture, builder, NULL, 0, &second);
        memset(&rejections, 0, sizeof rejections);
        assert_int_equal(bb_store_check(fixture.store, &second.batch, s_reject, &rejections), 5);
        assert_int_equal(rejections.call_count, 1);
        assert_int_equal(rejections.error, BB_ERR_TYPE_CHANGED);
        assert_int_equal(rejections.frame, UINT32_MAX);
        assert_int_equal(rejections.metric, 0);
        assert_string_equal(rejections.detail, "metric 'state' of battery 'b1' is float64 since "
                                               "before; int64 refused");
        fixture_batch_free(&second);
        if (round == 0) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        } else {
            fixture_reopen(&fixture);
        }
    }
    fixture_batch_free(&first);
    bb_batch_builder_destroy(&builder);
    fixture_close(&fixture);
}

// Goal: a batch that contradicts itself keeps the type that comes first.
static void test_type_within_a_batch(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    s_one_metric(&fixture, &batch, builder, 3, BB_TYPE_STATE, 3);
    s_one_metric(&fixture, &batch, builder, 3, BB_TYPE_INT64, 4);
    s_one_metric(&fixture, &batch, builder, 3, BB_TYPE_STATE, 2);
    s_one_metric(&fixture, &batch, builder, 1, BB_TYPE_INT64, 2);
    fixture_seal(&fixture, builder, NULL, 0, &batch);
    // The builder groups by shape, so which type comes first is read off the batch.
    bb_batch_cursor_t at;
    bb_batch_cursor_start(&batch.batch, &at);
    uint64_t expected = 0;
    uint32_t kept_type = 0;
    while (bb_batch_cursor_next(&batch.batch, &at)) {
        const bb_batch_shape_t *shape = &batch.batch.shapes[at.run->shape];
        if (shape->names[0].length == 5) {
            kept_type = kept_type ? kept_type : shape->types[0];
            expected += shape->types[0] == kept_type ? 0 : at.run->frame_count;
        }
    }
    assert_true(expected > 0);
    s_rejections_t rejections = {0};
    assert_int_equal(bb_store_check(fixture.store, &batch.batch, s_reject, &rejections), expected);
    assert_int_equal(rejections.error, BB_ERR_TYPE_CHANGED);
    assert_non_null(strstr(rejections.detail, "earlier in this batch"));
    fixture_batch_free(&batch);
    bb_batch_builder_destroy(&builder);
    fixture_close(&fixture);
}

// Goal: two coordinators that accepted two types at once: both are kept, counted, and merged by
// (revision, type, value). The random histories above compare such data with the oracle.
static void test_type_conflicts_are_counted(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    for (uint32_t type = 1; type <= 2; type++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        s_one_metric(&fixture, &batch, builder, 5, (bb_type_t)type, 3);
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        bb_batch_builder_destroy(&builder);
        bb_store_stats_t stats;
        bb_store_stats(fixture.store, &stats);
        assert_int_equal(stats.type_conflicts, type - 1);
    }
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: no device can open thousands of windows with random dates.
static void test_days_are_limited(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t metric = 0;
    const uint8_t type = BB_TYPE_FLOAT64;
    const uint64_t bits = 0;
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    for (uint32_t day = 0; day < BB_WINDOWS_MAX + 7; day++) {
        fixture_add_frame(builder, &batch, 1, 0, (int64_t)day * BB_NS_PER_DAY, &metric, &type,
                          &bits, 1, false);
    }
    fixture_seal(&fixture, builder, NULL, 0, &batch);
    s_rejections_t rejections = {0};
    assert_int_equal(bb_store_check(fixture.store, &batch.batch, s_reject, &rejections), 7);
    assert_int_equal(rejections.call_count, 7);
    assert_int_equal(rejections.error, BB_ERR_WINDOWS);
    assert_int_equal(rejections.metric, UINT32_MAX);
    assert_int_equal(rejections.frame, BB_WINDOWS_MAX + 6);
    // A replica keeps what it is given.
    fixture_write(&fixture, &batch);
    fixture_batch_free(&batch);
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_reset(builder, 0);
    fixture_add_frame(builder, &batch, 1, 0, INT64_C(9000) * BB_NS_PER_DAY, &metric, &type, &bits,
                      1, false);
    fixture_add_frame(builder, &batch, 1, 0, BB_NS_PER_DAY, &metric, &type, &bits, 1, false);
    fixture_seal(&fixture, builder, NULL, 0, &batch);
    assert_int_equal(bb_store_check(fixture.store, &batch.batch, s_reject, &rejections), 1);
    fixture_batch_free(&batch);
    bb_batch_builder_destroy(&builder);
    fixture_close(&fixture);
}

// ---- attributes ------------------------------------------------------------------------------
static void s_write_attributes(fixture_t *fixture, int64_t origin_wall_ns, const char *key,
                               const char *value)
{
    bb_attribute_t attribute = {fixture_slice(key), fixture_slice(value)};
    bb_slice_t metric = fixture_metric(0);
    const uint8_t type = BB_TYPE_FLOAT64;
    uint32_t battery;
    uint32_t shape;
    uint32_t order;
    uint64_t bits = 0;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    assert_int_equal(bb_batch_builder_battery(builder, fixture_partition(2), fixture_battery(2),
                                              &attribute, 1, &battery, NULL),
                     BB_OK);
    assert_int_equal(bb_batch_builder_shape(builder, &metric, &type, 1, &shape, &order, NULL),
                     BB_OK);
    assert_int_equal(bb_batch_builder_frame(builder, battery, shape, FIXTURE_START_NS, &bits),
                     BB_OK);
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    fixture_seal(fixture, builder, NULL, origin_wall_ns, &batch);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
    bb_batch_builder_destroy(&builder);
}

// The attributes of b2 as "key=value;" in the order of the answer.
static void s_read_attributes(fixture_t *fixture, char *out, size_t room)
{
    bb_query_t query = fixture_query(BB_QUERY_BATTERIES);
    bb_snapshot_t *snapshot = NULL;
    bb_scan_result_t result;
    bb_page_builder_t *builder = bb_page_builder_new();
    assert_int_equal(bb_store_snapshot(fixture->store, &query, &snapshot, NULL), BB_OK);
    assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, NULL), BB_OK);
    assert_null(result.cursor);
    bb_snapshot_close(&snapshot);
    uint8_t *bytes;
    size_t length;
    bb_page_builder_finish(builder, &bytes, &length);
    bb_page_builder_destroy(&builder);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
    assert_int_equal(page.series_count, 1);
    assert_int_equal(page.series[0].battery.length, 2);
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < page.series[0].attribute_count; i++) {
        const bb_page_attribute_t *attribute = &page.series[0].attributes[i];
        used += (size_t)snprintf(out + used, room - used, "%.*s=%.*s;", (int)attribute->key.length,
                                 (const char *)attribute->key.data, (int)attribute->value.length,
                                 (const char *)attribute->value.data);
    }
    bb_page_close(&page);
    free(bytes);
}

// Goal: per key the largest (origin time, value) wins whatever the order; it survives a flush and a
// replay of the journal.
static void test_attributes(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    char found[4096];
    s_write_attributes(&fixture, 20, "site", "north");
    s_write_attributes(&fixture, 10, "site", "south");
    s_write_attributes(&fixture, 20, "maker", "b");
    s_write_attributes(&fixture, 20, "maker", "c");
    s_write_attributes(&fixture, 20, "maker", "a");
    s_read_attributes(&fixture, found, sizeof found);
    assert_string_equal(found, "maker=c;site=north;");
    fixture_reopen(&fixture); // from the journal
    s_read_attributes(&fixture, found, sizeof found);
    assert_string_equal(found, "maker=c;site=north;");
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&fixture); // from meta
    s_read_attributes(&fixture, found, sizeof found);
    assert_string_equal(found, "maker=c;site=north;");
    // The same value at a later time counts as later.
    s_write_attributes(&fixture, 40, "site", "north");
    s_write_attributes(&fixture, 30, "site", "west");
    s_read_attributes(&fixture, found, sizeof found);
    assert_string_equal(found, "maker=c;site=north;");
    // Of more than 32 keys the smallest stay.
    for (uint32_t i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%02u", (i * 7 + 3) % 40);
        s_write_attributes(&fixture, 50, key, "v");
    }
    s_read_attributes(&fixture, found, sizeof found);
    assert_null(strstr(found, "site"));
    assert_non_null(strstr(found, "k31=v;"));
    assert_null(strstr(found, "k32=v;"));
    fixture_close(&fixture);
}

// ---- jobs ------------------------------------------------------------------------------------
// Goal: a snapshot goes on reading what it was taken of while the head is flushed and its window
// replaced and removed.
static void test_snapshot_outlives_jobs(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, false);
    bb_random_t random = bb_random_seed(31);
    for (uint32_t i = 0; i < 6; i++) {
        fixture_write_random(&fixture, &random, 50, false);
        if (i % 2 == 1) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
    }
    fixture_write_random(&fixture, &random, 50, false);
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    query.page_bytes_max = 64u << 20;
    bb_snapshot_t *snapshot = NULL;
    assert_int_equal(bb_store_snapshot(fixture.store, &query, &snapshot, NULL), BB_OK);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
    }
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_scan_result_t result;
    assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, NULL), BB_OK);
    assert_null(result.cursor);
    fixture_rows_t expected;
    fixture_expect(&fixture, &query, &expected);
    assert_int_equal(bb_page_builder_rows(builder), expected.count);
    free(expected.items);
    bb_page_builder_destroy(&builder);
    bb_snapshot_close(&snapshot);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: one thread scans and one runs jobs while the owner writes, as in the node. Method: each
// snapshot comes with the number of points that were there when it was taken; an answer may have
// more (of a flush that ended since), never fewer. A sanitizer watches.
typedef struct {
    bb_snapshot_t *snapshot;
    bb_query_t query;
    uint64_t row_count_min;
} s_question_t;

typedef struct {
    _Atomic(s_question_t *) question;
    _Atomic(bb_store_job_t *) job;
    atomic_int job_error; // of the job that ended; -1 = runs
    atomic_bool done;
    uint32_t answered_count, wrong_count;
} s_threads_t;

static void *s_scan_thread(void *context)
{
    s_threads_t *threads = context;
    bb_page_builder_t *builder = bb_page_builder_new();
    bool done = false;
    while (!done) {
        done = atomic_load(&threads->done);
        s_question_t *question = atomic_exchange(&threads->question, NULL);
        if (!question) {
            continue;
        }
        bb_scan_result_t result;
        bb_error_t error =
            bb_scan_page(question->snapshot, &question->query, builder, &result, NULL);
        bb_snapshot_close(&question->snapshot);
        threads->wrong_count += error != BB_OK || result.damaged_partition_count > 0 ||
                                result.cursor != NULL ||
                                bb_page_builder_rows(builder) < question->row_count_min;
        threads->answered_count++;
        uint8_t *bytes;
        size_t length;
        bb_page_builder_finish(builder, &bytes, &length);
        free(bytes);
        free(question);
    }
    bb_page_builder_destroy(&builder);
    return NULL;
}

static void *s_job_thread(void *context)
{
    s_threads_t *threads = context;
    while (!atomic_load(&threads->done)) {
        bb_store_job_t *job = atomic_exchange(&threads->job, NULL);
        if (job) {
            atomic_store(&threads->job_error, (int)bb_store_job_run(job, NULL));
        }
    }
    return NULL;
}

static void s_offer_question(fixture_t *fixture, s_threads_t *threads)
{
    if (atomic_load(&threads->question)) {
        return;
    }
    s_question_t *question = bb_alloc_zero(1, sizeof *question);
    question->query = fixture_query(BB_QUERY_RAW);
    question->query.page_bytes_max = 64u << 20;
    fixture_rows_t expected;
    fixture_expect(fixture, &question->query, &expected);
    question->row_count_min = expected.count;
    free(expected.items);
    assert_int_equal(bb_store_snapshot(fixture->store, &question->query, &question->snapshot, NULL),
                     BB_OK);
    atomic_store(&threads->question, question);
}

static void test_threads(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, false);
    bb_random_t random = bb_random_seed(91);
    s_threads_t threads = {.wrong_count = 0};
    pthread_t scanner;
    pthread_t worker;
    assert_int_equal(pthread_create(&scanner, NULL, s_scan_thread, &threads), 0);
    assert_int_equal(pthread_create(&worker, NULL, s_job_thread, &threads), 0);
    bb_store_job_t *job = NULL;
    uint32_t job_count = 0;
    for (uint32_t i = 0; i < 60 || job; i++) {
        if (i < 60) {
            fixture_write_random(&fixture, &random, 30, false);
            s_offer_question(&fixture, &threads);
        }
        if (job && atomic_load(&threads.job_error) >= 0) {
            bb_error_t error = (bb_error_t)atomic_load(&threads.job_error);
            assert_int_equal(error, BB_OK);
            bb_store_job_end(fixture.store, &job, error);
            job_count++;
        }
        if (!job && i < 60 &&
            bb_store_job_begin(fixture.store, i % 3 ? BB_JOB_FLUSH : BB_JOB_MERGE, 1.0, &job) ==
                BB_OK) {
            atomic_store(&threads.job_error, -1);
            atomic_store(&threads.job, job);
        }
    }
    atomic_store(&threads.done, true);
    pthread_join(scanner, NULL);
    pthread_join(worker, NULL);
    assert_int_equal(threads.wrong_count, 0);
    assert_true(threads.answered_count > 0);
    assert_true(job_count > 0);
    s_question_t *left = atomic_load(&threads.question);
    if (left) {
        bb_snapshot_close(&left->snapshot);
        free(left);
    }
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: memory limits are told, and a flush makes room.
static void test_memory_limits(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_store_close(&fixture.store);
    fixture.options.memory_bytes = 60000;
    fixture_reopen_error(&fixture, BB_OK);
    bb_random_t random = bb_random_seed(4);
    bb_store_stats_t stats;
    assert_false(bb_store_wants_flush(fixture.store));
    while (!bb_store_wants_flush(fixture.store)) {
        fixture_write_random(&fixture, &random, 60, false);
    }
    bb_store_stats(fixture.store, &stats);
    assert_true(stats.head_bytes >= 20000);
    assert_false(bb_store_is_full(fixture.store));
    while (!bb_store_is_full(fixture.store)) {
        fixture_write_random(&fixture, &random, 60, false);
    }
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_false(bb_store_is_full(fixture.store));
    assert_false(bb_store_wants_flush(fixture.store));
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_ERR_NOT_FOUND);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: merging is asked for when runs pile up, after a reopening, too, and not while one run a
// battery is all there is; what was conflicting is counted.
static void test_merge_is_wanted(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t metric = 0;
    const uint8_t type = BB_TYPE_FLOAT64;
    bb_store_stats_t stats;
    for (uint32_t i = 0; i < 6; i++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t f = 0; f < 3; f++) {
            const uint64_t bits = bb_bits_of_double(i);
            fixture_add_frame(builder, &batch, 4, 0, FIXTURE_START_NS + f, &metric, &type, &bits, 1,
                              false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        assert_false(bb_store_wants_merge(fixture.store) && i < 4);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        bb_store_stats(fixture.store, &stats);
        assert_int_equal(stats.runs, i + 1);
        assert_int_equal(stats.runs_mergeable, i);
    }
    assert_true(bb_store_wants_merge(fixture.store));
    fixture_reopen(&fixture);
    assert_true(bb_store_wants_merge(fixture.store));
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_OK);
    assert_false(bb_store_wants_merge(fixture.store));
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_ERR_NOT_FOUND);
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.runs, 1);
    assert_int_equal(stats.segment_points, 3);
    assert_int_equal(stats.value_conflicts, 15); // 5 other values at each of 3 times
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: a full disk fails the job and nothing else; with room again the same flush goes through.
static void test_full_disk(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(6);
    for (uint32_t i = 0; i < 5; i++) {
        fixture_write_random(&fixture, &random, 60, true);
    }
    uint64_t used = bb_sim_disk_used_bytes(fixture.disk);
    uint32_t failures = 0;
    for (uint64_t room = 0; room < 100000; room += 3000) {
        bb_sim_disk_capacity_set(fixture.disk, used + room);
        bb_error_t error = fixture_job(&fixture, BB_JOB_FLUSH);
        if (error == BB_OK) {
            break;
        }
        assert_int_equal(error, BB_ERR_DISK_FULL);
        assert_false(bb_store_is_fenced(fixture.store));
        s_verify_all(&fixture);
        failures++;
    }
    assert_true(failures > 1);
    bb_sim_disk_capacity_set(fixture.disk, UINT64_MAX);
    bb_error_t error = fixture_job(&fixture, BB_JOB_FLUSH);
    assert_true(error == BB_OK || error == BB_ERR_NOT_FOUND);
    s_verify_all(&fixture);
    fixture_reopen(&fixture);
    s_verify_all(&fixture);
    fixture_close(&fixture);
}

// Goal: after a failed sync nothing is staged any more, but reads go on.
static void test_fencing(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(8);
    fixture_write_random(&fixture, &random, 60, false);
    fixture_batch_t batch;
    fixture_random_batch(&fixture, &random, 10, false, &batch);
    assert_int_equal(fixture_stage(&fixture, &batch), BB_OK);
    bb_sim_disk_fail(fixture.disk, BB_SIM_SYNC, 1, BB_ERR_IO);
    assert_int_not_equal(bb_store_sync(fixture.store), BB_OK);
    assert_true(bb_store_is_fenced(fixture.store));
    assert_int_equal(fixture_stage(&fixture, &batch), BB_ERR_FENCED);
    assert_int_equal(bb_store_sync(fixture.store), BB_ERR_FENCED);
    bb_store_job_t *job = NULL;
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1, &job), BB_ERR_FENCED);
    s_verify_all(&fixture);
    fixture_batch_free(&batch);
    fixture_close(&fixture);

    // The same for the journal's next file, which a flush begins.
    fixture_open(&fixture, true);
    fixture_write_random(&fixture, &random, 60, false);
    bb_sim_disk_fail(fixture.disk, BB_SIM_WRITE, 1, BB_ERR_IO);
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1, &job), BB_ERR_IO);
    assert_true(bb_store_is_fenced(fixture.store));
    s_verify_all(&fixture);
    fixture_close(&fixture);

    // The same for a commit of a job.
    for (uint64_t nth = 1; nth <= 3; nth++) {
        fixture_open(&fixture, true);
        fixture_write_random(&fixture, &random, 60, false);
        bb_sim_disk_fail(fixture.disk, BB_SIM_COMMIT, nth, BB_ERR_IO);
        bb_error_t error = fixture_job(&fixture, BB_JOB_FLUSH);
        assert_int_not_equal(error, BB_OK);
        assert_true(bb_store_is_fenced(fixture.store));
        s_verify_all(&fixture);
        fixture_close(&fixture);
    }
}

// Goal: a record that is staged but not applied keeps the journal from being sealed over it.
static void test_no_flush_between_stage_and_apply(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(8);
    fixture_write_random(&fixture, &random, 20, false);
    fixture_batch_t batch;
    fixture_random_batch(&fixture, &random, 10, false, &batch);
    bb_store_job_t *job = NULL;
    assert_int_equal(fixture_stage(&fixture, &batch), BB_OK);
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1, &job), BB_ERR_BUSY);
    assert_int_equal(bb_store_sync(fixture.store), BB_OK);
    assert_int_equal(bb_store_job_begin(fixture.store, BB_JOB_FLUSH, 1, &job), BB_ERR_BUSY);
    assert_int_equal(bb_store_apply(fixture.store, &batch.chunks, &batch.batch), BB_OK);
    fixture_adopt(&fixture, &batch);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    fixture_reopen(&fixture);
    s_verify_all(&fixture);
    fixture_batch_free(&batch);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_histories_simulated),
        cmocka_unit_test(test_random_histories_on_disk),
        cmocka_unit_test(test_long_series),
        cmocka_unit_test(test_foreign_folders),
        cmocka_unit_test(test_other_formats_are_refused),
        cmocka_unit_test(test_second_opening_is_refused),
        cmocka_unit_test(test_type_of_a_metric_is_kept),
        cmocka_unit_test(test_type_within_a_batch),
        cmocka_unit_test(test_type_conflicts_are_counted),
        cmocka_unit_test(test_days_are_limited),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_snapshot_outlives_jobs),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory_limits),
        cmocka_unit_test(test_merge_is_wanted),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_fencing),
        cmocka_unit_test(test_no_flush_between_stage_and_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

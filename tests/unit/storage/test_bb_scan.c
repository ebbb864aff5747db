// SPDX-License-Identifier: Apache-2.0
// Queries over a store: every mode, ranges, filters, buckets, pages of any size, groups, damage;
// each answer is compared with one that looks at every point.
#include "tests/unit/storage/aggregate_oracle.h"

// ---- data ------------------------------------------------------------------------------------
// Runs of several flushes, some merged, frozen and active rows.
static void s_fill(fixture_t *fixture, uint64_t seed, bool simulated)
{
    bb_random_t random = bb_random_seed(seed);
    fixture_open(fixture, simulated);
    for (uint32_t i = 0; i < 24; i++) {
        fixture_write_random(fixture, &random, 80, true);
        if (i % 5 == 4) {
            assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
        }
        if (i == 14) {
            assert_int_equal(fixture_job(fixture, BB_JOB_MERGE), BB_OK);
        }
    }
}

static bb_query_t s_random_range(bb_random_t *random, bb_query_mode_t mode)
{
    bb_query_t query = fixture_query(mode);
    uint64_t span = (uint64_t)(3 * BB_NS_PER_DAY);
    int64_t a = FIXTURE_START_NS + (int64_t)bb_random_below(random, span);
    int64_t b = FIXTURE_START_NS + (int64_t)bb_random_below(random, span);
    query.from_wall_ns = BB_MIN(a, b);
    query.to_wall_ns = BB_MAX(a, b);
    if (bb_random_chance(random, 1, 3)) {
        query.from_wall_ns = 0;
        query.to_wall_ns = BB_TIME_WALL_NS_LIMIT;
    }
    return query;
}

// ---- tests -----------------------------------------------------------------------------------
static void test_ranges_and_filters(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 11, true);
    bb_random_t random = bb_random_seed(12);
    for (uint32_t i = 0; i < 120; i++) {
        static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
        bb_query_t query = s_random_range(&random, modes[i % 3]);
        bb_slice_t batteries[4];
        bb_slice_t metrics[3];
        if (bb_random_chance(&random, 1, 2)) {
            query.batteries = batteries;
            query.battery_count = (uint32_t)bb_random_between(&random, 1, 4);
            for (uint32_t b = 0; b < query.battery_count; b++) {
                batteries[b] = fixture_battery((uint32_t)bb_random_below(&random, 12));
            }
        }
        if (bb_random_chance(&random, 1, 2)) {
            query.metrics = metrics;
            query.metric_count = (uint32_t)bb_random_between(&random, 1, 3);
            for (uint32_t m = 0; m < query.metric_count; m++) {
                metrics[m] = fixture_metric((uint32_t)bb_random_below(&random, 6));
            }
        }
        const uint32_t some[3] = {0, 3, 5};
        if (bb_random_chance(&random, 1, 3)) {
            query.partitions = some;
            query.partition_count = 3;
        }
        query.accepts_rows = bb_random_chance(&random, 1, 2);
        if (query.mode == BB_QUERY_LAST && bb_random_chance(&random, 1, 2)) {
            query.compare = bb_random_chance(&random, 1, 2) ? BB_COMPARE_BELOW : BB_COMPARE_ABOVE;
            query.threshold = (double)bb_random_between(&random, 0, 4) - 1;
        }
        fixture_verify(&fixture, &query);
    }
    fixture_close(&fixture);
}

// Goal: names that nobody knows give an empty answer, not an error.
static void test_unknown_names(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 13, true);
    bb_slice_t unknown = fixture_slice("nobody");
    for (uint32_t mode = BB_QUERY_RAW; mode <= BB_QUERY_QUARANTINE; mode++) {
        bb_query_t query = fixture_query((bb_query_mode_t)mode);
        query.batteries = &unknown;
        query.battery_count = 1;
        fixture_rows_t rows;
        fixture_ask(&fixture, &query, &rows);
        assert_int_equal(rows.count, 0);
        assert_int_equal(rows.page_count, 1);
        if (mode != BB_QUERY_BATTERIES) {
            query.battery_count = 0;
            query.metrics = &unknown;
            query.metric_count = 1;
            fixture_ask(&fixture, &query, &rows);
            assert_int_equal(rows.count, 0);
        }
    }
    fixture_close(&fixture);
}

static void test_aggregates(void **state)
{
    (void)state;
    static const int64_t widths[] = {0,
                                     1,
                                     7 * BB_NS_PER_S,
                                     60 * BB_NS_PER_S,
                                     3600 * BB_NS_PER_S,
                                     BB_NS_PER_DAY,
                                     2 * BB_NS_PER_DAY + 17,
                                     INT64_MAX};
    for (uint32_t round = 0; round < 2; round++) {
        fixture_t fixture;
        s_fill(&fixture, 21 + round, round == 0);
        bb_random_t random = bb_random_seed(22);
        for (uint32_t i = 0; i < 48; i++) {
            bb_query_t query = s_random_range(&random, BB_QUERY_AGGREGATE);
            query.every_ns = widths[i % BB_COUNT_OF(widths)];
            query.group_by_none = bb_random_chance(&random, 1, 3);
            query.page_bytes_max = bb_random_chance(&random, 1, 3) ? 700 : 0;
            query.is_decode_forced = bb_random_chance(&random, 1, 2);
            query.accepts_rows = bb_random_chance(&random, 1, 2);
            query.aggregates = (uint32_t)bb_random_below(&random, BB_AGGREGATE_ALL + 1);
            fixture.scan_parts = (uint32_t)bb_random_below(&random, 5);
            aggregate_verify(&fixture, &query);
        }
        // All in one window and one run per battery: statistics of blocks do the work.
        while (fixture_job(&fixture, BB_JOB_FLUSH) == BB_OK) {
        }
        while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
        }
        for (uint32_t i = 0; i < 16; i++) {
            bb_query_t query = s_random_range(&random, BB_QUERY_AGGREGATE);
            query.every_ns = widths[i % BB_COUNT_OF(widths)];
            query.group_by_none = i % 2 == 0;
            aggregate_verify(&fixture, &query);
            query.is_decode_forced = true;
            aggregate_verify(&fixture, &query);
            query.aggregates = BB_AGGREGATE_MEAN | (i % 4 < 2 ? BB_AGGREGATE_MAX : 0);
            aggregate_verify(&fixture, &query);
        }
        fixture_close(&fixture);
    }
}

// Goal: statistics answer for blocks that nothing overlaps, and not for others. Method: a value
// that only a correct merge can see hides in a second run.
static void test_statistics_only_where_nothing_overlaps(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t metric = 0;
    const uint8_t type = BB_TYPE_FLOAT64;
    for (uint32_t round = 0; round < 3; round++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        // Round 0: 3,000 rows. 1: one row in the middle with a larger value. 2: one between rows.
        uint32_t first = round == 0 ? 0 : 1500;
        uint32_t limit = round == 0 ? 3000 : 1501;
        for (uint32_t f = first; f < limit; f++) {
            uint64_t bits = bb_bits_of_double(round == 0 ? 1.0 : 5.0 * round);
            int64_t time = FIXTURE_START_NS + f * BB_NS_PER_S + (round == 2 ? 1 : 0);
            fixture_add_frame(builder, &batch, 2, 0, time, &metric, &type, &bits, 1, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        if (round < 2) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
        }
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        query.every_ns = 100 * BB_NS_PER_S;
        aggregate_verify(&fixture, &query);
        query.every_ns = 0;
        aggregate_verify(&fixture, &query);
        query.from_wall_ns = FIXTURE_START_NS + 700 * BB_NS_PER_S;
        query.to_wall_ns = FIXTURE_START_NS + 2600 * BB_NS_PER_S + 1;
        aggregate_verify(&fixture, &query);
    }
    fixture_close(&fixture);
}

// Goal: frames of one battery and shape that repeat their times, more than fit into one piece, in
// order and not: one point for each time, the largest value.
static void test_repeated_times(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(25);
    const uint32_t metrics[2] = {0, 1};
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_INT64};
    for (uint32_t round = 0; round < 3; round++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t f = 0; f < 4000; f++) {
            uint64_t bits[2] = {fixture_bits(&random, BB_TYPE_FLOAT64),
                                fixture_bits(&random, BB_TYPE_INT64)};
            uint32_t step = round == 1 ? (uint32_t)bb_random_below(&random, 1400) : f / 3;
            int64_t time = FIXTURE_START_NS + 82000 * BB_NS_PER_S + step * 5 * BB_NS_PER_S;
            fixture_add_frame(builder, &batch, 6, 0, time, metrics, types, bits, 2, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        bb_query_t query = fixture_query(BB_QUERY_RAW);
        fixture_verify(&fixture, &query);
        query.mode = BB_QUERY_LAST;
        fixture_verify(&fixture, &query);
        query = fixture_query(BB_QUERY_AGGREGATE);
        query.every_ns = 100 * BB_NS_PER_S;
        aggregate_verify(&fixture, &query);
        if (round == 1) {
            assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
            query.mode = BB_QUERY_RAW;
            fixture_verify(&fixture, &query);
        }
    }
    fixture_close(&fixture);
}

// Goal: any page size gives the same rows in the same order; each page makes progress.
static void test_pages(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 31, true);
    static const uint32_t sizes[] = {1, 50, 333, 2000, 20000, 1u << 20};
    for (uint32_t mode = BB_QUERY_RAW; mode <= BB_QUERY_QUARANTINE; mode++) {
        if (mode == BB_QUERY_BATTERIES) {
            continue; // pages of batteries have no points: see below
        }
        bb_query_t query = fixture_query((bb_query_mode_t)mode);
        query.every_ns = 5 * BB_NS_PER_S;
        fixture_rows_t whole;
        query.page_bytes_max = 64u << 20;
        fixture_ask(&fixture, &query, &whole);
        assert_int_equal(whole.page_count, 1);
        assert_true(whole.count > 10);
        for (uint32_t s = 0; s < BB_COUNT_OF(sizes); s++) {
            fixture_rows_t paged;
            query.page_bytes_max = sizes[s];
            fixture_ask(&fixture, &query, &paged);
            assert_true(s > 2 || paged.page_count > 1);
            assert_int_equal(paged.count, whole.count);
            for (size_t i = 0; i < whole.count; i++) {
                assert_int_equal(fixture_compare_rows(&paged.items[i], &whole.items[i]), 0);
                assert_true(paged.items[i].bits == whole.items[i].bits);
                assert_int_equal(paged.items[i].bucket.count, whole.items[i].bucket.count);
            }
            free(paged.items);
        }
        free(whole.items);
    }
    fixture_close(&fixture);
}

// Goal: a list of batteries in pages names each once, in the order of partitions and ids.
static void test_battery_pages(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 32, true);
    char expected[256] = "";
    size_t used = 0;
    fixture_row_t rows[FIXTURE_BATTERIES] = {0};
    for (uint32_t b = 0; b < FIXTURE_BATTERIES; b++) {
        rows[b].battery = b;
    }
    qsort(rows, FIXTURE_BATTERIES, sizeof *rows, fixture_compare_rows);
    for (uint32_t b = 0; b < FIXTURE_BATTERIES; b++) {
        bb_slice_t id = fixture_battery(rows[b].battery);
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%.*s ", (int)id.length,
                                 (const char *)id.data);
        assert_true(used < sizeof expected);
    }
    char found[256] = "";
    uint32_t page_count = 0;
    uint8_t *cursor = NULL;
    bb_query_t query = fixture_query(BB_QUERY_BATTERIES);
    query.page_bytes_max = 100;
    do {
        bb_snapshot_t *snapshot = NULL;
        bb_scan_result_t result;
        bb_page_builder_t *builder = bb_page_builder_new();
        assert_int_equal(bb_store_snapshot(fixture.store, &query, &snapshot, NULL), BB_OK);
        assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, NULL), BB_OK);
        bb_snapshot_close(&snapshot);
        uint8_t *bytes;
        size_t length;
        bb_page_builder_finish(builder, &bytes, &length);
        bb_page_builder_destroy(&builder);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
        for (uint32_t s = 0; s < page.series_count; s++) {
            strncat(found, page.series[s].battery.data, page.series[s].battery.length);
            strcat(found, " ");
        }
        bb_page_close(&page);
        free(bytes);
        free(cursor);
        cursor = result.cursor;
        query.cursor = bb_slice(cursor, result.cursor_length);
        page_count++;
    } while (cursor && page_count < 100);
    assert_string_equal(found, expected);
    assert_true(page_count > 2);
    fixture_close(&fixture);
}

// Goal: pages of one answer may come from different replicas with different local numbers, and
// while one of them goes on writing.
static void test_pages_from_two_replicas(void **state)
{
    (void)state;
    fixture_t a;
    fixture_t b;
    fixture_open(&a, true);
    fixture_open(&b, true);
    bb_random_t random = bb_random_seed(41);
    fixture_batch_t batches[12];
    for (uint32_t i = 0; i < 12; i++) {
        fixture_random_batch(&a, &random, 60, false, &batches[i]);
        fixture_write(&a, &batches[i]);
        if (i % 4 == 3) {
            assert_int_equal(fixture_job(&a, BB_JOB_FLUSH), BB_OK);
        }
    }
    for (uint32_t i = 12; i > 0; i--) { // the other way round, so that numbers differ
        fixture_write(&b, &batches[i - 1]);
        fixture_batch_free(&batches[i - 1]);
    }
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    query.page_bytes_max = 600;
    fixture_rows_t found = {0};
    uint8_t *cursor = NULL;
    bb_page_builder_t *builder = bb_page_builder_new();
    uint32_t page_count = 0;
    do {
        fixture_t *replica = page_count++ % 2 ? &b : &a;
        bb_snapshot_t *snapshot = NULL;
        bb_scan_result_t result;
        assert_int_equal(bb_store_snapshot(replica->store, &query, &snapshot, NULL), BB_OK);
        assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, NULL), BB_OK);
        bb_snapshot_close(&snapshot);
        uint8_t *bytes;
        size_t length;
        bb_page_builder_finish(builder, &bytes, &length);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
        for (uint32_t s = 0; s < page.series_count; s++) {
            fixture_read_series(&page, &page.series[s], &found);
        }
        bb_page_close(&page);
        free(bytes);
        free(cursor);
        cursor = result.cursor;
        query.cursor = bb_slice(cursor, result.cursor_length);
    } while (cursor);
    query.cursor = bb_slice(NULL, 0);
    fixture_rows_t expected;
    fixture_expect(&a, &query, &expected);
    fixture_assert_rows(&found, &expected);
    assert_true(page_count > 4);
    free(found.items);
    free(expected.items);
    bb_page_builder_destroy(&builder);
    fixture_close(&a);
    fixture_close(&b);
}

// Goal: row_limit leaves each partition its first rows, whatever the pages.
static void test_row_limit(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 51, true);
    static const uint32_t pages[] = {0, 120, 2000};
    for (uint32_t i = 0; i < 9; i++) {
        bb_query_t query = fixture_query(BB_QUERY_RAW);
        fixture_rows_t expected;
        fixture_expect(&fixture, &query, &expected);
        query.row_limit = 1 + 23 * (i / 3);
        query.page_bytes_max = pages[i % 3];
        fixture_rows_t found;
        fixture_ask(&fixture, &query, &found);
        size_t at = 0;
        uint32_t partition = UINT32_MAX;
        uint64_t taken = 0;
        for (size_t r = 0; r < expected.count; r++) {
            if (fixture_partition(expected.items[r].battery) != partition) {
                partition = fixture_partition(expected.items[r].battery);
                taken = 0;
            }
            if (taken++ < query.row_limit) {
                assert_true(at < found.count);
                assert_int_equal(fixture_compare_rows(&found.items[at], &expected.items[r]), 0);
                at++;
            }
        }
        assert_int_equal(found.count, at);
        free(found.items);
        free(expected.items);
    }
    fixture_close(&fixture);
}

// Goal: no bytes at all make a cursor do harm: refused, or an answer that is a part of the whole.
static void test_bad_cursors(void **state)
{
    (void)state;
    fixture_t fixture;
    s_fill(&fixture, 61, true);
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    query.page_bytes_max = 500;
    bb_snapshot_t *snapshot = NULL;
    bb_scan_result_t result;
    bb_page_builder_t *builder = bb_page_builder_new();
    assert_int_equal(bb_store_snapshot(fixture.store, &query, &snapshot, NULL), BB_OK);
    assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, NULL), BB_OK);
    bb_snapshot_close(&snapshot);
    assert_non_null(result.cursor);
    bb_random_t random = bb_random_seed(62);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 400; i++) {
        uint8_t bytes[BB_CURSOR_BYTES_MAX];
        size_t length = result.cursor_length;
        memcpy(bytes, result.cursor, length);
        bytes[bb_random_below(&random, length)] ^= (uint8_t)bb_random_between(&random, 1, 255);
        if (i % 4 == 0) {
            length = bb_random_between(&random, 1, length - 1);
        }
        query.cursor = bb_slice(bytes, length);
        bb_fault_t fault = {0};
        bb_error_t error = bb_store_snapshot(fixture.store, &query, &snapshot, &fault);
        if (error == BB_OK) {
            bb_scan_result_t other;
            error = bb_scan_page(snapshot, &query, builder, &other, &fault);
            assert_int_equal(error, BB_OK);
            free(other.cursor);
            bb_snapshot_close(&snapshot);
        } else {
            assert_int_equal(error, BB_ERR_QUERY);
            assert_true(fault.text[0] != '\0');
            refused++;
        }
    }
    assert_true(refused > 100);
    free(result.cursor);
    bb_page_builder_destroy(&builder);
    fixture_close(&fixture);
}

// Goal: a group of very many buckets comes in pages of the usual size, and a page costs what its
// own buckets cost, not what the whole answer does.
static void test_group_is_bounded(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    const uint32_t metrics[6] = {0, 1, 2, 3, 4, 5};
    uint8_t types[6];
    bb_random_t random = bb_random_seed(1);
    uint64_t bits[6];
    for (uint32_t m = 0; m < 6; m++) {
        types[m] = (uint8_t)fixture_type(m);
        bits[m] = fixture_bits(&random, fixture_type(m));
    }
    for (uint32_t b = 0; b < 4; b++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t f = 0; f < 42000; f++) {
            fixture_add_frame(builder, &batch, b, 0, FIXTURE_START_NS + (b * 42000 + f) * 10,
                              metrics, types, bits, 6, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
    }
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    query.group_by_none = true;
    query.every_ns = 10; // 4 x 42,000 x 6 buckets = 1,008,000
    fixture_rows_t rows;
    fixture_ask(&fixture, &query, &rows);
    assert_int_equal(rows.count, 1008000);
    assert_true(rows.page_count > 70 && rows.page_count < 90);
    assert_true(rows.points_scanned < 5 * 1008000);
    free(rows.items);
    // The same in parts, each of which is cut where its own page is full.
    fixture.scan_parts = 3;
    fixture_ask(&fixture, &query, &rows);
    assert_int_equal(rows.count, 1008000);
    assert_true(rows.page_count > 70 && rows.page_count < 200);
    free(rows.items);
    fixture_close(&fixture);
}

// ---- damage ----------------------------------------------------------------------------------
// A driver that hands everything on, but inverts one byte of the nth value that a cursor reads.
typedef struct {
    bb_kv_driver_t driver; // first, so that it is found again
    bb_kv_driver_t *inner;
    uint64_t value_count; // read so far
    uint64_t damaged_nth; // 0 = none
    uint64_t offset;      // of the byte, modulo the length
    void *copies[64];
    uint32_t copy_count;
} s_damaging_t;

static s_damaging_t *s_damaging; // the driver's functions get no context but the cursor

static bb_slice_t s_damage(bb_slice_t value)
{
    s_damaging_t *self = s_damaging;
    if (value.length < 64 || ++self->value_count != self->damaged_nth) {
        return value; // counts of the window are shorter
    }
    uint8_t *copy = bb_alloc(value.length);
    memcpy(copy, value.data, value.length);
    copy[self->offset % value.length] ^= 0x40;
    assert_true(self->copy_count < BB_COUNT_OF(self->copies));
    self->copies[self->copy_count++] = copy;
    return bb_slice(copy, value.length);
}

static bb_error_t s_seek(bb_kv_cursor_t *cursor, bb_slice_t key, bb_slice_t *found,
                         bb_slice_t *value)
{
    bb_error_t error = s_damaging->inner->seek(cursor, key, found, value);
    if (error == BB_OK) {
        *value = s_damage(*value);
    }
    return error;
}

static bb_error_t s_next(bb_kv_cursor_t *cursor, bb_slice_t *found, bb_slice_t *value)
{
    bb_error_t error = s_damaging->inner->next(cursor, found, value);
    if (error == BB_OK) {
        *value = s_damage(*value);
    }
    return error;
}

static bb_error_t s_open_env(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                             bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    (void)driver;
    return s_damaging->inner->open(s_damaging->inner, directory, map_bytes, create, env, fault);
}

// Goal: wherever a byte of a run is wrong, no wrong point is served: the rows of an answer are rows
// of the oracle, and if any is missing the answer names the partition.
static void test_damage_is_named_and_not_served(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    fixture.with_conflicts = false; // else a lost point of one type lets another one through
    s_damaging_t damaging = {.driver = *fixture.options.kv, .inner = fixture.options.kv};
    damaging.driver.seek = s_seek;
    damaging.driver.next = s_next;
    damaging.driver.open = s_open_env;
    s_damaging = &damaging;
    bb_store_close(&fixture.store);
    fixture.options.kv = &damaging.driver;
    fixture_reopen_error(&fixture, BB_OK);
    bb_random_t random = bb_random_seed(71);
    // Each time of a battery once, so that a lost run cannot uncover an older value.
    const uint32_t metrics[3] = {0, 1, 3};
    const uint8_t types[3] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_STATE};
    for (uint32_t i = 0; i < 6; i++) {
        fixture_batch_t batch;
        memset(&batch, 0, sizeof batch);
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        for (uint32_t f = 0; f < 60; f++) {
            uint64_t bits[3];
            for (uint32_t m = 0; m < 3; m++) {
                bits[m] = fixture_bits(&random, (bb_type_t)types[m]);
            }
            fixture_add_frame(builder, &batch, f % 5, 0, FIXTURE_START_NS + i * 1000 + f, metrics,
                              types, bits, 3, false);
        }
        fixture_seal(&fixture, builder, NULL, 0, &batch);
        bb_batch_builder_destroy(&builder);
        fixture_write(&fixture, &batch);
        fixture_batch_free(&batch);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    fixture_rows_t expected;
    fixture_expect(&fixture, &query, &expected);
    fixture_rows_t found;
    damaging.value_count = 0;
    fixture_ask(&fixture, &query, &found);
    uint64_t value_count = damaging.value_count;
    assert_int_equal(found.count, expected.count);
    free(found.items);
    uint32_t named = 0;
    for (uint32_t i = 0; i < 400; i++) {
        damaging.value_count = 0;
        damaging.damaged_nth = bb_random_between(&random, 1, value_count);
        damaging.offset = bb_random_next(&random);
        fixture_ask(&fixture, &query, &found);
        size_t at = 0;
        for (size_t r = 0; r < found.count; r++) {
            while (at < expected.count &&
                   (fixture_compare_rows(&expected.items[at], &found.items[r]) != 0 ||
                    expected.items[at].bits != found.items[r].bits)) {
                at++;
            }
            assert_true(at < expected.count); // else it is no row of the oracle
        }
        if (found.count < expected.count) {
            assert_true(found.damaged_partition_count > 0);
            assert_true(found.damaged_window_count > 0);
            named++;
        }
        free(found.items);
        while (damaging.copy_count > 0) {
            free(damaging.copies[--damaging.copy_count]);
        }
    }
    assert_true(named >
                50); // most damage of a pack is in runs of batteries that were not asked for

    damaging.damaged_nth = 0;
    free(expected.items);
    fixture_close(&fixture);
}

// Goal: a window that is gone is named for every partition that was asked, by every mode.
static void test_lost_window(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(81);
    fixture.day_spread = 1;
    fixture_write_random(&fixture, &random, 60, false);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_close(&fixture.store);
    bb_vfs_t *vfs = fixture.options.vfs;
    assert_int_equal(vfs->remove_tree(vfs, "/store/windows/default/2026-01-01.000001"), BB_OK);
    fixture_reopen_error(&fixture, BB_OK);
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_AGGREGATE, BB_QUERY_LAST};
    for (uint32_t i = 0; i < 3; i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_rows_t found;
        fixture_ask(&fixture, &query, &found);
        assert_int_equal(found.count, 0);
        assert_int_equal(found.damaged_window_count, 1);
        uint32_t asked = 0;
        for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
            asked += fixture.seqs[p] > 0;
        }
        assert_int_equal(found.damaged_partition_count, asked);
        free(found.items);
        // A group in parts: the window counts once, every partition is named.
        query.mode = BB_QUERY_AGGREGATE;
        query.group_by_none = true;
        fixture.scan_parts = i + 1;
        fixture_ask(&fixture, &query, &found);
        assert_int_equal(found.count, 0);
        assert_int_equal(found.damaged_window_count, 1);
        assert_int_equal(found.damaged_partition_count, asked);
        free(found.items);
    }
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_and_filters),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_aggregates),
        cmocka_unit_test(test_statistics_only_where_nothing_overlaps),
        cmocka_unit_test(test_repeated_times),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_battery_pages),
        cmocka_unit_test(test_pages_from_two_replicas),
        cmocka_unit_test(test_row_limit),
        cmocka_unit_test(test_bad_cursors),
        cmocka_unit_test(test_group_is_bounded),
        cmocka_unit_test(test_damage_is_named_and_not_served),
        cmocka_unit_test(test_lost_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

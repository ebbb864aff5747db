// SPDX-License-Identifier: Apache-2.0
// store_fixture - a store on some disk, and the naive list of points that it must equal.
//
// For the tests of bb_store. The oracle keeps every point that was applied and answers by looking
// at all of them. Random batches mix types, duplicates, revisions, order of times, days, gaps.
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/bb_store.h"
#include "tests/support/bb_random.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"

#define FIXTURE_PARTITIONS 8u
#define FIXTURE_BATTERIES  12u
#define FIXTURE_METRICS    6u
#define FIXTURE_START_NS   (INT64_C(1767225600) * BB_NS_PER_S) // 2026-01-01T00:00:00Z

typedef struct {
    uint32_t battery, metric;
    bb_type_t type;
    int64_t time_wall_ns;
    uint64_t revision;
    uint64_t bits; // STATE: address of a text of s_texts
    bool is_quarantined;
    bool is_released; // quarantined, but normal data has the same or a larger one
} fixture_point_t;

typedef struct {
    fixture_point_t *items;
    size_t count, capacity;
} fixture_points_t;

typedef struct {
    bb_sim_disk_t *disk; // NULL: a folder of the machine
    char folder[64];
    bb_store_options_t options;
    bb_store_t *store;
    fixture_points_t points;
    bb_stream_t stream;
    uint64_t seqs[FIXTURE_PARTITIONS]; // last given
    int64_t day_spread;                // days that random times fall into
    bool with_conflicts;               // metrics of more than one type
    uint32_t scan_parts;               // groups over all batteries are scanned in so many; 0 = 1
} fixture_t;

// ---- names and texts -------------------------------------------------------------------------
static inline bb_slice_t fixture_slice(const char *text)
{
    return bb_slice(text, strlen(text));
}

static inline bb_slice_t fixture_battery(uint32_t index)
{
    // Order of ids is not the order of numbers: "b10" sorts before "b2".
    static const char *const names[] = {"b0", "b1", "b2", "b3", "b4",  "b5",
                                        "b6", "b7", "b8", "b9", "b10", "b11"};
    return fixture_slice(names[index]);
}

static inline bb_slice_t fixture_metric(uint32_t index)
{
    static const char *const names[] = {"voltage_v", "cycles", "is_on", "state", "current_a", "a"};
    return fixture_slice(names[index]);
}

static inline bb_type_t fixture_type(uint32_t metric)
{
    static const bb_type_t types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64,   BB_TYPE_BOOL,
                                      BB_TYPE_STATE,   BB_TYPE_FLOAT64, BB_TYPE_FLOAT64};
    return types[metric];
}

static inline uint32_t fixture_partition(uint32_t battery)
{
    return battery * 5 % FIXTURE_PARTITIONS;
}

// Texts that live for ever, in the form of state values.
static inline const bb_text_t *fixture_text(uint32_t index)
{
    static struct {
        uint32_t length;
        char bytes[12];
    } texts[] = {{8, "Charging"}, {11, "Discharging"}, {4, "Idle"}, {5, "Fault"}, {0, ""}};
    return (const bb_text_t *)(const void *)&texts[index % BB_COUNT_OF(texts)];
}

static inline uint64_t fixture_bits(bb_random_t *random, bb_type_t type)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        if (bb_random_chance(random, 1, 40)) {
            static const uint64_t edges[] = {
                UINT64_C(0x7ff8000000000000), UINT64_C(0xfff0000000000000),
                UINT64_C(0x8000000000000000), UINT64_C(0x7ff0000000000001), 0};
            return edges[bb_random_below(random, BB_COUNT_OF(edges))];
        }
        return bb_bits_of_double((double)bb_random_below(random, 100000) / 1000.0 - 20.0);
    case BB_TYPE_INT64:
        return bb_random_below(random, 1000) - 500;
    case BB_TYPE_BOOL:
        return bb_random_below(random, 2);
    case BB_TYPE_STATE:
        return (uint64_t)(uintptr_t)fixture_text((uint32_t)bb_random_below(random, 5));
    }
    return 0;
}

// ---- maps of a closed store --------------------------------------------------------------------
typedef struct {
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    bb_kv_txn_t *txn;
} fixture_map_t;

// A write transaction on the map in that folder, at the first entry that is not before `from`.
static inline fixture_map_t fixture_map_open(const fixture_t *self, const char *folder,
                                             bb_slice_t from, bb_kv_cursor_t **cursor,
                                             bb_slice_t *key, bb_slice_t *value)
{
    fixture_map_t map = {.kv = self->options.kv};
    assert_int_equal(
        map.kv->open(map.kv, folder, self->options.kv_map_bytes, false, &map.env, NULL), BB_OK);
    assert_int_equal(map.kv->begin(map.env, true, &map.txn), BB_OK);
    assert_int_equal(map.kv->cursor(map.txn, cursor), BB_OK);
    assert_int_equal(map.kv->seek(*cursor, from, key, value), BB_OK);
    return map;
}

static inline void fixture_map_close(fixture_map_t *map)
{
    assert_int_equal(map->kv->commit(&map->txn), BB_OK);
    map->kv->close(&map->env);
}

// ---- opening and closing ---------------------------------------------------------------------
static inline void fixture_reopen_error(fixture_t *self, bb_error_t expected)
{
    bb_store_report_t report;
    bb_fault_t fault = {0};
    bb_error_t error = bb_store_open(&self->options, &report, &self->store, &fault);
    if (error != expected) {
        fail_msg("open: %s instead of %s: %s", bb_error_name(error), bb_error_name(expected),
                 fault.text);
    }
}

static inline void fixture_open(fixture_t *self, bool simulated)
{
    memset(self, 0, sizeof *self);
    self->day_spread = 3;
    self->with_conflicts = true;
    memset(self->stream.bytes, 7, sizeof self->stream.bytes);
    self->options = (bb_store_options_t){
        .node_id = "n1",
        .store_count = 1,
        .partition_count = FIXTURE_PARTITIONS,
        .memory_bytes = 64u << 20,
        .kv_map_bytes = 64u << 20,
    };
    memcpy(self->options.cluster_id, "test-cluster-001", 16);
    if (simulated) {
        self->disk = bb_sim_disk_new();
        self->options.vfs = bb_sim_disk_vfs(self->disk);
        self->options.kv = bb_sim_kv(self->disk);
        snprintf(self->folder, sizeof self->folder, "/store");
    } else {
        snprintf(self->folder, sizeof self->folder, "/tmp/bb_store_test_XXXXXX");
        assert_non_null(mkdtemp(self->folder));
        self->options.vfs = bb_vfs_posix();
        self->options.kv = bb_kv_lmdb();
    }
    self->options.directory = self->folder;
    fixture_reopen_error(self, BB_OK);
}

static inline void fixture_reopen(fixture_t *self)
{
    bb_store_close(&self->store);
    fixture_reopen_error(self, BB_OK);
}

static inline void fixture_close(fixture_t *self)
{
    bb_store_close(&self->store);
    if (self->disk) {
        bb_sim_disk_destroy(&self->disk);
    } else {
        assert_int_equal(bb_vfs_posix()->remove_tree(bb_vfs_posix(), self->folder), BB_OK);
    }
    free(self->points.items);
    memset(self, 0, sizeof *self);
}

// ---- writing ---------------------------------------------------------------------------------
static inline void fixture_remember(fixture_points_t *points, fixture_point_t point)
{
    if (points->count == points->capacity) {
        points->capacity = points->capacity ? points->capacity * 2 : 256;
        points->items = bb_realloc(points->items, points->capacity * sizeof *points->items);
    }
    points->items[points->count++] = point;
}

// A batch with its header, encoded and opened.
typedef struct {
    uint8_t *batch_bytes, *chunks_bytes;
    size_t batch_length, chunks_length;
    bb_batch_t batch;
    bb_chunks_t chunks;
    fixture_points_t points; // what is in it
} fixture_batch_t;

static inline void fixture_batch_free(fixture_batch_t *self)
{
    bb_batch_close(&self->batch);
    free(self->batch_bytes);
    free(self->chunks_bytes);
    free(self->points.items);
}

// Encodes what the builder holds, with the next dot of the stream for each part. `marks`: per frame
// in the order of arrival, whether it is quarantined; NULL = none is.
static inline void fixture_seal(fixture_t *self, bb_batch_builder_t *builder, const bool *marks,
                                int64_t origin_wall_ns, fixture_batch_t *out)
{
    uint32_t frame_count = bb_batch_builder_frame_count(builder);
    uint32_t *order = bb_alloc(frame_count * sizeof *order);
    uint32_t *quarantined = bb_alloc(frame_count * sizeof *quarantined);
    bb_batch_builder_finish(builder, &out->batch_bytes, &out->batch_length, order);
    bb_fault_t fault = {0};
    assert_int_equal(
        bb_batch_open(&out->batch, bb_slice(out->batch_bytes, out->batch_length), &fault), BB_OK);
    uint64_t seqs[FIXTURE_PARTITIONS];
    assert_true(out->batch.part_count <= FIXTURE_PARTITIONS);
    for (uint32_t i = 0; i < out->batch.part_count; i++) {
        seqs[i] = ++self->seqs[out->batch.parts[i].partition];
    }
    bb_chunks_t header = {
        .stream = self->stream,
        .epoch = 1,
        .origin_wall_ns = origin_wall_ns,
        .part_count = out->batch.part_count,
        .seqs = seqs,
        .quarantined = quarantined,
    };
    for (uint32_t f = 0; marks && f < frame_count; f++) {
        if (marks[order[f]]) {
            quarantined[header.quarantined_count++] = f;
        }
    }
    bb_chunks_encode(&header, &out->chunks_bytes, &out->chunks_length);
    assert_int_equal(
        bb_chunks_decode(&out->chunks, bb_slice(out->chunks_bytes, out->chunks_length), &fault),
        BB_OK);
    assert_int_equal(bb_chunks_match(&out->chunks, &out->batch, &fault), BB_OK);
    free(order);
    free(quarantined);
}

// One frame, remembered in out->points.
static inline void fixture_add_frame(bb_batch_builder_t *builder, fixture_batch_t *out,
                                     uint32_t battery, uint64_t revision, int64_t time_wall_ns,
                                     const uint32_t *metrics, const uint8_t *types,
                                     const uint64_t *bits, uint32_t count, bool is_quarantined)
{
    bb_slice_t names[FIXTURE_METRICS];
    uint32_t order[FIXTURE_METRICS];
    uint64_t values[FIXTURE_METRICS];
    uint32_t handle;
    uint32_t shape;
    for (uint32_t m = 0; m < count; m++) {
        names[m] = fixture_metric(metrics[m]);
    }
    assert_int_equal(bb_batch_builder_battery(builder, fixture_partition(battery),
                                              fixture_battery(battery), NULL, 0, &handle, NULL),
                     BB_OK);
    assert_int_equal(bb_batch_builder_shape(builder, names, types, count, &shape, order, NULL),
                     BB_OK);
    for (uint32_t m = 0; m < count; m++) {
        values[order[m]] = bits[m];
        if (types[m] == BB_TYPE_STATE) {
            const bb_text_t *text = bb_text_of_bits(bits[m]);
            uint32_t state;
            assert_int_equal(
                bb_batch_builder_state(builder, bb_slice(text->bytes, text->length), &state, NULL),
                BB_OK);
            values[order[m]] = state;
        }
        fixture_remember(&out->points,
                         (fixture_point_t){battery, metrics[m], (bb_type_t)types[m], time_wall_ns,
                                           revision, bits[m], is_quarantined, false});
    }
    assert_int_equal(bb_batch_builder_frame(builder, handle, shape, time_wall_ns, values), BB_OK);
}

// A random batch of up to `frames_max` frames.
static inline void fixture_random_batch(fixture_t *self, bb_random_t *random, uint32_t frames_max,
                                        bool with_quarantine, fixture_batch_t *out)
{
    memset(out, 0, sizeof *out);
    uint64_t revision = bb_random_chance(random, 1, 5) ? bb_random_below(random, 3) : 0;
    bb_batch_builder_t *builder = bb_batch_builder_new(revision);
    uint32_t frame_count = (uint32_t)bb_random_between(random, 1, frames_max);
    bool *marks = bb_alloc_zero(frame_count, sizeof *marks);
    bool ordered = bb_random_chance(random, 2, 3);
    int64_t start = FIXTURE_START_NS +
                    (int64_t)bb_random_below(random, (uint64_t)self->day_spread) * BB_NS_PER_DAY;
    start += (int64_t)bb_random_below(random, 86000) * BB_NS_PER_S;
    uint32_t battery = (uint32_t)bb_random_below(random, FIXTURE_BATTERIES);
    for (uint32_t f = 0; f < frame_count; f++) {
        if (bb_random_chance(random, 1, 4)) {
            battery = (uint32_t)bb_random_below(random, FIXTURE_BATTERIES);
        }
        int64_t time = start + (int64_t)f * BB_NS_PER_S;
        if (!ordered) {
            time = start + (int64_t)bb_random_below(random, 40) * BB_NS_PER_S;
        }
        uint32_t metrics[FIXTURE_METRICS];
        uint8_t types[FIXTURE_METRICS];
        uint64_t bits[FIXTURE_METRICS];
        uint32_t count = 0;
        uint64_t mask = bb_random_chance(random, 3, 4) ? 63 : bb_random_between(random, 1, 63);
        for (uint32_t m = 0; m < FIXTURE_METRICS; m++) {
            if (mask >> m & 1) {
                bb_type_t type = fixture_type(m);
                if (self->with_conflicts && m == 5 && bb_random_chance(random, 1, 6)) {
                    type = (bb_type_t)bb_random_between(random, 1, 4);
                }
                metrics[count] = m;
                types[count] = (uint8_t)type;
                bits[count++] = fixture_bits(random, type);
            }
        }
        marks[f] = with_quarantine && bb_random_chance(random, 1, 6);
        fixture_add_frame(builder, out, battery, revision, time, metrics, types, bits, count,
                          marks[f]);
    }
    fixture_seal(self, builder, marks, FIXTURE_START_NS, out);
    bb_batch_builder_destroy(&builder);
    free(marks);
}

// Points of a batch become the oracle's.
static inline void fixture_adopt(fixture_t *self, const fixture_batch_t *batch)
{
    for (size_t i = 0; i < batch->points.count; i++) {
        fixture_remember(&self->points, batch->points.items[i]);
    }
}

static inline bb_error_t fixture_stage(fixture_t *self, const fixture_batch_t *batch)
{
    return bb_store_stage(self->store, &batch->chunks,
                          bb_slice(batch->chunks_bytes, batch->chunks_length), &batch->batch);
}

// stage, sync, apply.
static inline void fixture_write(fixture_t *self, const fixture_batch_t *batch)
{
    assert_int_equal(fixture_stage(self, batch), BB_OK);
    assert_int_equal(bb_store_sync(self->store), BB_OK);
    assert_int_equal(bb_store_apply(self->store, &batch->chunks, &batch->batch), BB_OK);
    fixture_adopt(self, batch);
}

static inline void fixture_write_random(fixture_t *self, bb_random_t *random, uint32_t frames_max,
                                        bool with_quarantine)
{
    fixture_batch_t batch;
    fixture_random_batch(self, random, frames_max, with_quarantine, &batch);
    fixture_write(self, &batch);
    fixture_batch_free(&batch);
}

// Runs one job; NOT_FOUND when there was nothing to do.
static inline bb_error_t fixture_job(fixture_t *self, bb_store_job_kind_t kind)
{
    bb_store_job_t *job = NULL;
    bb_error_t error = bb_store_job_begin(self->store, kind, 1.0, &job);
    if (error != BB_OK) {
        return error;
    }
    bb_fault_t fault = {0};
    error = bb_store_job_run(job, &fault);
    bb_store_job_end(self->store, &job, error);
    return error;
}

// ---- reading ---------------------------------------------------------------------------------
// One row of an answer. `battery` UINT32_MAX: of all.
typedef struct {
    uint32_t battery, metric;
    bb_type_t type;
    int64_t time_wall_ns;
    uint64_t bits; // STATE: address of a text of fixture_text
    bb_bucket_t bucket;
} fixture_row_t;

typedef struct {
    fixture_row_t *items;
    size_t count, capacity;
    uint32_t page_count;
    uint32_t damaged_partition_count, damaged_window_count;
    uint64_t points_scanned, blocks_decoded;
} fixture_rows_t;

static inline void fixture_row_add(fixture_rows_t *rows, fixture_row_t row)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 256;
        rows->items = bb_realloc(rows->items, rows->capacity * sizeof *rows->items);
    }
    rows->items[rows->count++] = row;
}

static inline uint32_t fixture_index_of(bb_slice_t (*name)(uint32_t), uint32_t count,
                                        bb_slice_t wanted)
{
    for (uint32_t i = 0; i < count; i++) {
        bb_slice_t found = name(i);
        if (found.length == wanted.length && memcmp(found.data, wanted.data, wanted.length) == 0) {
            return i;
        }
    }
    fail_msg("the answer has the unknown name '%.*s'", (int)wanted.length,
             (const char *)wanted.data);
    return UINT32_MAX;
}

static inline uint64_t fixture_state_bits(const bb_page_t *page, uint64_t index)
{
    assert_true(index < page->state_count);
    for (uint32_t i = 0; i < 5; i++) {
        const bb_text_t *text = fixture_text(i);
        if (text->length == page->states[index].length &&
            (text->length == 0 ||
             memcmp(text->bytes, page->states[index].data, text->length) == 0)) {
            return (uint64_t)(uintptr_t)text;
        }
    }
    fail_msg("the answer has an unknown state");
    return 0;
}

static inline void fixture_read_series(const bb_page_t *page, const bb_series_t *series,
                                       fixture_rows_t *rows)
{
    fixture_row_t row = {.battery = UINT32_MAX};
    if (series->battery.length > 0) {
        row.battery = fixture_index_of(fixture_battery, FIXTURE_BATTERIES, series->battery);
    }
    row.metric = fixture_index_of(fixture_metric, FIXTURE_METRICS, series->metric);
    row.type = (bb_type_t)series->type;
    for (uint32_t r = 0; r < series->row_count; r++) {
        if (series->has_buckets) {
            row.bucket = bb_series_bucket(series, r);
            row.time_wall_ns = row.bucket.start_wall_ns;
            if (row.type == BB_TYPE_STATE) {
                row.bucket.min = fixture_state_bits(page, row.bucket.min);
                row.bucket.max = fixture_state_bits(page, row.bucket.max);
                row.bucket.first = fixture_state_bits(page, row.bucket.first);
                row.bucket.last = fixture_state_bits(page, row.bucket.last);
            }
        } else {
            row.time_wall_ns = series->times_wall_ns[r];
            row.bits = row.type == BB_TYPE_STATE ? fixture_state_bits(page, series->values[r])
                                                 : series->values[r];
        }
        fixture_row_add(rows, row);
    }
}

// A page by bb_scan_page, or of parts that are collected one after the other.
static inline bb_error_t fixture_scan(fixture_t *self, bb_snapshot_t **snapshot,
                                      const bb_query_t *query, bb_page_builder_t *builder,
                                      bb_scan_result_t *result, bb_fault_t *fault)
{
    if (self->scan_parts == 0 || query->mode != BB_QUERY_AGGREGATE || !query->group_by_none) {
        return bb_scan_page(*snapshot, query, builder, result, fault);
    }
    bb_snapshot_t *others[FIXTURE_BATTERIES];
    bb_scan_part_t *parts[FIXTURE_BATTERIES + 1];
    uint32_t batteries = bb_snapshot_battery_count(*snapshot);
    uint32_t count = bb_snapshot_split(*snapshot, self->scan_parts, others);
    assert_int_equal(count + 1, BB_MAX(BB_MIN(self->scan_parts, batteries), 1));
    for (uint32_t i = 0; i < count; i++) {
        batteries -= bb_snapshot_battery_count(others[i]);
        assert_int_equal(bb_scan_part_collect(others[i], query, &parts[i + 1], fault), BB_OK);
        bb_snapshot_close(&others[i]); // the part needs nothing of it
    }
    assert_int_equal(bb_snapshot_battery_count(*snapshot), batteries);
    assert_int_equal(bb_scan_part_collect(*snapshot, query, &parts[0], fault), BB_OK);
    bb_error_t error =
        bb_scan_parts_page(parts, count + 1, *snapshot, query, builder, result, fault);
    for (uint32_t i = 0; i <= count; i++) {
        bb_scan_part_destroy(&parts[i]);
    }
    return error;
}

// Asks page by page until the answer ends.
static inline void fixture_ask(fixture_t *self, const bb_query_t *asked, fixture_rows_t *rows)
{
    memset(rows, 0, sizeof *rows);
    bb_query_t query = *asked;
    bb_page_builder_t *builder = bb_page_builder_new();
    uint8_t *cursor = NULL;
    do {
        bb_snapshot_t *snapshot = NULL;
        bb_fault_t fault = {0};
        assert_int_equal(bb_store_snapshot(self->store, &query, &snapshot, &fault), BB_OK);
        bb_scan_result_t result;
        bb_error_t error = fixture_scan(self, &snapshot, &query, builder, &result, &fault);
        if (error != BB_OK) {
            fail_msg("scan: %s %s", bb_error_name(error), fault.text);
        }
        uint8_t *bytes;
        size_t length;
        bb_page_builder_finish(builder, &bytes, &length);
        bb_snapshot_close(&snapshot);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), &fault), BB_OK);
        for (uint32_t s = 0; s < page.series_count; s++) {
            fixture_read_series(&page, &page.series[s], rows);
        }
        bb_page_close(&page);
        free(bytes);
        free(cursor);
        cursor = result.cursor;
        query.cursor = bb_slice(cursor, result.cursor_length);
        rows->damaged_partition_count += result.damaged_partition_count;
        rows->damaged_window_count += result.damaged_window_count;
        rows->points_scanned += result.points_scanned;
        rows->blocks_decoded += result.blocks_decoded;
        rows->page_count++;
        assert_true(rows->page_count < 1000000);
    } while (cursor);
    bb_page_builder_destroy(&builder);
}

static inline const uint32_t *fixture_all_partitions(void)
{
    static const uint32_t all[FIXTURE_PARTITIONS] = {0, 1, 2, 3, 4, 5, 6, 7};
    return all;
}

static inline bb_query_t fixture_query(bb_query_mode_t mode)
{
    return (bb_query_t){
        .mode = mode,
        .level = BB_LEVEL_ONE,
        .from_wall_ns = 0,
        .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
        .aggregates = BB_AGGREGATE_ALL,
        .partition_count = FIXTURE_PARTITIONS,
        .partitions = fixture_all_partitions(),
    };
}

// ---- oracle ----------------------------------------------------------------------------------
static inline int fixture_compare_slices(bb_slice_t a, bb_slice_t b)
{
    int order = memcmp(a.data, b.data, BB_MIN(a.length, b.length));
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

// By battery, metric, time; the winner of a merge comes first.
static inline int fixture_compare_points(const void *a, const void *b)
{
    const fixture_point_t *left = a;
    const fixture_point_t *right = b;
    if (left->battery != right->battery) {
        return left->battery < right->battery ? -1 : 1;
    }
    if (left->metric != right->metric) {
        return left->metric < right->metric ? -1 : 1;
    }
    if (left->time_wall_ns != right->time_wall_ns) {
        return left->time_wall_ns < right->time_wall_ns ? -1 : 1;
    }
    return -bb_value_compare(left->revision, (bb_value_t){left->type, left->bits}, right->revision,
                             (bb_value_t){right->type, right->bits});
}

// Order of rows in an answer: partition, battery id, metric name, type, time.
static inline int fixture_compare_rows(const void *a, const void *b)
{
    const fixture_row_t *left = a;
    const fixture_row_t *right = b;
    if (left->battery != right->battery) {
        uint32_t left_partition = fixture_partition(left->battery);
        uint32_t right_partition = fixture_partition(right->battery);
        if (left_partition != right_partition) {
            return left_partition < right_partition ? -1 : 1;
        }
        return fixture_compare_slices(fixture_battery(left->battery),
                                      fixture_battery(right->battery));
    }
    if (left->metric != right->metric) {
        return fixture_compare_slices(fixture_metric(left->metric), fixture_metric(right->metric));
    }
    if (left->type != right->type) {
        return left->type < right->type ? -1 : 1;
    }
    return (left->time_wall_ns > right->time_wall_ns) - (left->time_wall_ns < right->time_wall_ns);
}

// True if the query names it, or names nothing.
static inline bool fixture_is_named(const bb_slice_t *names, uint32_t count, bb_slice_t name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (names[i].length == name.length && memcmp(names[i].data, name.data, name.length) == 0) {
            return true;
        }
    }
    return count == 0;
}

static inline bool fixture_is_asked(const bb_query_t *query, const fixture_point_t *point)
{
    bool partition = false;
    for (uint32_t i = 0; i < query->partition_count; i++) {
        partition |= query->partitions[i] == fixture_partition(point->battery);
    }
    bool time = query->mode == BB_QUERY_LAST || (point->time_wall_ns >= query->from_wall_ns &&
                                                 point->time_wall_ns < query->to_wall_ns);
    return partition && time &&
           fixture_is_named(query->batteries, query->battery_count,
                            fixture_battery(point->battery)) &&
           fixture_is_named(query->metrics, query->metric_count, fixture_metric(point->metric));
}

// What a LAST query leaves out by time and comparison.
static inline void fixture_filter_last(const bb_query_t *query, fixture_rows_t *rows)
{
    size_t kept = 0;
    for (size_t r = 0; r < rows->count; r++) {
        const fixture_row_t *row = &rows->items[r];
        double number = row->type == BB_TYPE_FLOAT64 ? bb_double_of_bits(row->bits)
                        : row->type == BB_TYPE_INT64 ? (double)(int64_t)row->bits
                                                     : (double)row->bits;
        bool compares = row->type != BB_TYPE_STATE &&
                        (query->compare == BB_COMPARE_BELOW ? number < query->threshold
                                                            : number > query->threshold);
        if (row->time_wall_ns >= query->from_wall_ns &&
            (query->compare == BB_COMPARE_NONE || compares)) {
            rows->items[kept++] = *row;
        }
    }
    rows->count = kept;
}

// The merged points that a RAW, LAST or QUARANTINE query must give, in order.
static inline void fixture_expect(const fixture_t *self, const bb_query_t *query,
                                  fixture_rows_t *rows)
{
    memset(rows, 0, sizeof *rows);
    fixture_points_t asked = {0};
    for (size_t i = 0; i < self->points.count; i++) {
        const fixture_point_t *point = &self->points.items[i];
        bool wanted = query->mode == BB_QUERY_QUARANTINE || !point->is_quarantined;
        if (wanted && fixture_is_asked(query, point)) {
            fixture_remember(&asked, *point);
        }
    }
    if (asked.count > 0) {
        qsort(asked.items, asked.count, sizeof *asked.items, fixture_compare_points);
    }
    size_t i = 0;
    while (i < asked.count) {
        const fixture_point_t *winner = &asked.items[i];
        bool is_outside = false; // of quarantine, too
        size_t j = i;
        for (; j < asked.count && asked.items[j].battery == winner->battery &&
               asked.items[j].metric == winner->metric &&
               asked.items[j].time_wall_ns == winner->time_wall_ns;
             j++) {
            const fixture_point_t *point = &asked.items[j];
            is_outside |= !point->is_quarantined && point->revision == winner->revision &&
                          point->type == winner->type && point->bits == winner->bits;
        }
        if (query->mode != BB_QUERY_QUARANTINE || !is_outside) {
            fixture_row_add(rows, (fixture_row_t){.battery = winner->battery,
                                                  .metric = winner->metric,
                                                  .type = winner->type,
                                                  .time_wall_ns = winner->time_wall_ns,
                                                  .bits = winner->bits});
        }
        i = j;
    }
    free(asked.items);
    if (rows->count > 0) {
        qsort(rows->items, rows->count, sizeof *rows->items, fixture_compare_rows);
    }
    if (query->mode == BB_QUERY_LAST) {
        size_t kept = 0;
        for (size_t r = 0; r < rows->count; r++) {
            const fixture_row_t *row = &rows->items[r];
            bool newest = r + 1 == rows->count || row[1].battery != row->battery ||
                          row[1].metric != row->metric || row[1].type != row->type;
            if (newest) {
                rows->items[kept++] = *row;
            }
        }
        rows->count = kept;
        fixture_filter_last(query, rows);
    }
}

static inline void fixture_assert_rows(const fixture_rows_t *found, const fixture_rows_t *expected)
{
    for (size_t i = 0; i < BB_MIN(found->count, expected->count); i++) {
        const fixture_row_t *a = &found->items[i];
        const fixture_row_t *b = &expected->items[i];
        if (a->battery != b->battery || a->metric != b->metric || a->type != b->type ||
            a->time_wall_ns != b->time_wall_ns || a->bits != b->bits) {
            fail_msg("row %zu: battery %u metric %u type %u time %lld bits %llx, expected battery "
                     "%u metric %u type %u time %lld bits %llx",
                     i, a->battery, a->metric, a->type, (long long)a->time_wall_ns,
                     (unsigned long long)a->bits, b->battery, b->metric, b->type,
                     (long long)b->time_wall_ns, (unsigned long long)b->bits);
        }
    }
    assert_int_equal(found->count, expected->count);
}

// Asks and compares with the oracle.
static inline void fixture_verify(fixture_t *self, const bb_query_t *query)
{
    fixture_rows_t found;
    fixture_rows_t expected;
    fixture_ask(self, query, &found);
    fixture_expect(self, query, &expected);
    fixture_assert_rows(&found, &expected);
    assert_int_equal(found.damaged_partition_count, 0);
    free(found.items);
    free(expected.items);
}

#endif

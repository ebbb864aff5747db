// SPDX-License-Identifier: Apache-2.0
// The questions of the yardstick to the storage façade inside this process. Every answer is
// compared with a calculation over the raw frames; one that differs fails the run, because the
// speed of a wrong answer is of no interest.
//
// A question on two threads is two snapshots over halves of the partitions, as a node's scan pool
// does it. Snapshots are taken on the calling thread, page after page.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

#define S_REPEATS     15
#define S_PAGES_MAX   4096u
#define S_THREADS_MAX 2u

// The first metrics of the yardstick, by number.
enum { S_STATE_OF_CHARGE = 0, S_VOLTAGE = 1, S_CURRENT = 2, S_POWER = 3, S_TEMPERATURE = 4 };

typedef struct {
    uint8_t *bytes;
    size_t length;
} s_encoded_t;

// What one thread answers.
typedef struct {
    bb_query_t query;
    bb_snapshot_t *snapshot;
    bb_scan_result_t result;
    bb_page_builder_t *builder;
    bb_fault_t fault;
    bb_error_t error;
    uint8_t *cursor;
    bool is_done;
    s_encoded_t pages[S_PAGES_MAX];
    uint32_t page_count;
} s_part_t;

typedef struct {
    const bench_data_t *data;
    bb_store_t *store;
    FILE *results;
    const uint32_t *partitions; // by battery
    uint32_t *all_partitions;
    uint32_t partition_count;
    s_part_t *parts; // S_THREADS_MAX
    uint32_t part_count;
} s_questions_t;

static bool s_failed(const char *what, bb_error_t error, const bb_fault_t *fault)
{
    fprintf(stderr, "busbar-bench: engine: %s: %s %s\n", what, bb_error_name(error),
            fault ? fault->text : "");
    return false;
}

// ---- asking ----------------------------------------------------------------------------------
static void s_forget(s_questions_t *self)
{
    for (uint32_t p = 0; p < S_THREADS_MAX; p++) {
        s_part_t *part = &self->parts[p];
        for (uint32_t i = 0; i < part->page_count; i++) {
            free(part->pages[i].bytes);
        }
        part->page_count = 0;
        part->is_done = false;
    }
}

static void *s_scan(void *argument)
{
    s_part_t *part = argument;
    part->error =
        bb_scan_page(part->snapshot, &part->query, part->builder, &part->result, &part->fault);
    s_encoded_t *page = &part->pages[part->page_count++];
    bb_page_builder_finish(part->builder, &page->bytes, &page->length);
    bb_snapshot_close(&part->snapshot);
    return NULL;
}

// Takes over the cursor of the page that was scanned.
static bool s_next(s_part_t *part)
{
    free(part->cursor);
    part->cursor = part->result.cursor;
    part->query.cursor = bb_slice(part->cursor, part->result.cursor_length);
    part->is_done = !part->cursor;
    if (part->error == BB_OK && part->result.damaged_window_count > 0) {
        part->error = BB_ERR_CORRUPT;
    }
    if (part->error == BB_OK && !part->is_done && part->page_count == S_PAGES_MAX) {
        part->error = BB_ERR_LIMIT;
    }
    return part->error == BB_OK || s_failed("scan", part->error, &part->fault);
}

// One page of every part that has more.
static bool s_round(s_questions_t *self, bool *more)
{
    pthread_t threads[S_THREADS_MAX];
    bool is_started[S_THREADS_MAX] = {false};
    bool is_scanned[S_THREADS_MAX] = {false};
    bool good = true;
    for (uint32_t p = 0; p < self->part_count; p++) {
        s_part_t *part = &self->parts[p];
        if (part->is_done) {
            continue;
        }
        bb_error_t error =
            bb_store_snapshot(self->store, &part->query, &part->snapshot, &part->fault);
        if (error != BB_OK) {
            good = s_failed("snapshot", error, &part->fault);
            break;
        }
        is_scanned[p] = true;
        // The last part is scanned on this thread.
        is_started[p] =
            p + 1 < self->part_count && pthread_create(&threads[p], NULL, s_scan, part) == 0;
        if (!is_started[p]) {
            s_scan(part);
        }
    }
    *more = false;
    for (uint32_t p = 0; p < self->part_count; p++) {
        if (is_started[p]) {
            pthread_join(threads[p], NULL);
        }
        if (is_scanned[p]) {
            good = s_next(&self->parts[p]) && good;
            *more |= !self->parts[p].is_done;
        }
    }
    return good;
}

static bool s_answer(s_questions_t *self, const bb_query_t *query, uint32_t thread_count)
{
    s_forget(self);
    self->part_count = thread_count;
    for (uint32_t p = 0; p < thread_count; p++) {
        uint32_t first = p * query->partition_count / thread_count;
        uint32_t limit = (p + 1) * query->partition_count / thread_count;
        self->parts[p].query = *query;
        self->parts[p].query.partitions = query->partitions + first;
        self->parts[p].query.partition_count = limit - first;
    }
    bool more = true;
    bool good = true;
    while (good && more) {
        good = s_round(self, &more);
    }
    for (uint32_t p = 0; p < thread_count; p++) {
        free(self->parts[p].cursor);
        self->parts[p].cursor = NULL;
    }
    return good;
}

// Median time of the question; the last answer is kept. Negative: it failed.
static double s_ask_ms(s_questions_t *self, const bb_query_t *query, uint32_t thread_count)
{
    double times_ms[S_REPEATS];
    bool good = true;
    for (int i = 0; good && i < S_REPEATS; i++) {
        int64_t begin = bench_mono_ns();
        good = s_answer(self, query, thread_count);
        times_ms[i] = (double)(bench_mono_ns() - begin) / 1e6;
    }
    return good ? bench_median(times_ms, S_REPEATS) : -1;
}

// Called with each series of the answer; false: it is wrong.
typedef bool (*s_check_fn)(void *context, const bb_series_t *series);

static bool s_walk(const s_questions_t *self, s_check_fn check, void *context)
{
    bool good = true;
    for (uint32_t p = 0; p < self->part_count; p++) {
        const s_part_t *part = &self->parts[p];
        for (uint32_t i = 0; good && i < part->page_count; i++) {
            bb_page_t page;
            bb_fault_t fault = {0};
            bb_error_t error =
                bb_page_open(&page, bb_slice(part->pages[i].bytes, part->pages[i].length), &fault);
            if (error != BB_OK) {
                return s_failed("page", error, &fault);
            }
            for (uint32_t s = 0; good && s < page.series_count; s++) {
                good = check(context, &page.series[s]);
            }
            bb_page_close(&page);
        }
    }
    return good;
}

static bb_slice_t s_metric(uint32_t metric)
{
    return bb_slice(bench_metric_names[metric], strlen(bench_metric_names[metric]));
}

static bb_query_t s_query(const s_questions_t *self, bb_query_mode_t mode)
{
    return (bb_query_t){.mode = mode,
                        .level = BB_LEVEL_ONE,
                        .from_wall_ns = self->data->first_ms * BB_NS_PER_MS,
                        .to_wall_ns = (self->data->last_ms + 1) * BB_NS_PER_MS,
                        .partitions = self->all_partitions,
                        .partition_count = self->partition_count,
                        .accepts_rows = true};
}

// ---- Q1, Q6: newest values -------------------------------------------------------------------
typedef struct {
    const bench_data_t *data;
    const bench_frame_t **newest; // by battery
    uint32_t right;
} s_last_t;

static bool s_check_last(void *context, const bb_series_t *series)
{
    s_last_t *self = context;
    uint32_t battery = bench_battery_of(self->data, series->battery.data, series->battery.length);
    const bench_frame_t *frame = battery == UINT32_MAX ? NULL : self->newest[battery];
    if (!frame || series->row_count != 1 ||
        bench_metric_of(series->metric.data, series->metric.length) != S_STATE_OF_CHARGE ||
        series->times_wall_ns[0] != frame->time_ms * BB_NS_PER_MS ||
        series->values[0] != bb_bits_of_double(frame->values[S_STATE_OF_CHARGE])) {
        return false;
    }
    self->newest[battery] = NULL; // each once
    self->right++;
    return true;
}

static bool s_q1(s_questions_t *self)
{
    const bench_data_t *data = self->data;
    const bb_slice_t metric = s_metric(S_STATE_OF_CHARGE);
    bb_query_t query = s_query(self, BB_QUERY_LAST);
    query.metrics = &metric;
    query.metric_count = 1;
    double ms = s_ask_ms(self, &query, 1);
    s_last_t check = {data, bb_alloc_zero(data->battery_count, sizeof *check.newest), 0};
    bench_oracle_newest(data, check.newest);
    bool good = ms >= 0 && s_walk(self, s_check_last, &check) && check.right == data->battery_count;
    free(check.newest);
    char note[64];
    snprintf(note, sizeof note, "newest of one metric, %u batteries", data->battery_count);
    bench_report(self->results, "engine_q1_ms", ms, "ms", note);
    return good || s_failed("Q1: the newest values are wrong", BB_ERR_CORRUPT, NULL);
}

// Batteries under 20 % in the last 10 s.
static bool s_q6(s_questions_t *self)
{
    const bench_data_t *data = self->data;
    const bb_slice_t metric = s_metric(S_STATE_OF_CHARGE);
    bb_query_t query = s_query(self, BB_QUERY_LAST);
    query.metrics = &metric;
    query.metric_count = 1;
    query.from_wall_ns = (data->last_ms - 10000) * BB_NS_PER_MS;
    query.compare = BB_COMPARE_BELOW;
    query.threshold = 20;
    double ms = s_ask_ms(self, &query, 1);
    s_last_t check = {data, bb_alloc_zero(data->battery_count, sizeof *check.newest), 0};
    bench_oracle_newest(data, check.newest);
    uint32_t wanted = 0;
    for (uint32_t b = 0; b < data->battery_count; b++) {
        const bench_frame_t *frame = check.newest[b];
        if (frame && (frame->values[S_STATE_OF_CHARGE] >= query.threshold ||
                      frame->time_ms * BB_NS_PER_MS < query.from_wall_ns)) {
            check.newest[b] = NULL; // must not be in the answer
        }
        wanted += check.newest[b] != NULL;
    }
    bool good = ms >= 0 && s_walk(self, s_check_last, &check) && check.right == wanted;
    free(check.newest);
    char note[96];
    snprintf(note, sizeof note, "batteries under 20 %% in the last 10 s: %u", wanted);
    bench_report(self->results, "engine_q6_ms", ms, "ms", note);
    return good || s_failed("Q6: the batteries are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- Q2: one battery, raw --------------------------------------------------------------------
typedef struct {
    bench_series_t series;
    int64_t last_wall_ns;
} s_raw_t;

static bool s_check_raw(void *context, const bb_series_t *series)
{
    s_raw_t *self = context;
    for (uint32_t i = 0; i < series->row_count; i++) {
        if (series->times_wall_ns[i] <= self->last_wall_ns) {
            return false;
        }
        self->last_wall_ns = series->times_wall_ns[i];
        self->series.fingerprint +=
            bench_fingerprint(series->times_wall_ns[i], bb_double_of_bits(series->values[i]));
    }
    self->series.rows += series->row_count;
    return true;
}

static bool s_q2(s_questions_t *self)
{
    const bench_data_t *data = self->data;
    const uint32_t battery = 17 % data->battery_count;
    char id[16], note[64];
    bench_battery_id(battery, id);
    const bb_slice_t metric = s_metric(S_VOLTAGE);
    const bb_slice_t batteries = bb_slice(id, strlen(id));
    bb_query_t query = s_query(self, BB_QUERY_RAW);
    query.metrics = &metric;
    query.metric_count = 1;
    query.batteries = &batteries;
    query.battery_count = 1;
    query.partitions = &self->partitions[battery];
    query.partition_count = 1;
    double ms = s_ask_ms(self, &query, 1);
    s_raw_t got = {.last_wall_ns = INT64_MIN};
    bench_series_t want = bench_oracle_series(data, battery, S_VOLTAGE);
    bool good = ms >= 0 && s_walk(self, s_check_raw, &got) && got.series.rows == want.rows &&
                got.series.fingerprint == want.fingerprint;
    snprintf(note, sizeof note, "one battery, one metric, %llu rows",
             (unsigned long long)want.rows);
    bench_report(self->results, "engine_q2_ms", ms, "ms", note);
    return good || s_failed("Q2: the points of a battery are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- Q3, Q4, Q5: buckets ---------------------------------------------------------------------
typedef struct {
    const bench_data_t *data;
    const bench_grid_t *grid;
    bench_total_t *got;
} s_buckets_t;

// Adds up what the parts answer; two threads answer halves of a bucket of the fleet.
static bool s_check_buckets(void *context, const bb_series_t *series)
{
    s_buckets_t *self = context;
    const bench_grid_t *grid = self->grid;
    size_t row = 0;
    if (grid->is_fleet ? series->battery.length != 0
                       : (row = bench_battery_of(self->data, series->battery.data,
                                                 series->battery.length)) == UINT32_MAX) {
        return false;
    }
    if (bench_metric_of(series->metric.data, series->metric.length) != grid->metric) {
        return true; // another grid's
    }
    for (uint32_t i = 0; i < series->row_count; i++) {
        const bb_bucket_t bucket = bb_series_bucket(series, i);
        int64_t at = (bucket.start_wall_ns / BB_NS_PER_MS - grid->first_ms) / grid->every_ms;
        if (at < 0 || at >= grid->bucket_count) {
            return false;
        }
        bench_total_t *total = &self->got[row * grid->bucket_count + (size_t)at];
        if (total->count == 0) {
            bench_total_clear(total);
        }
        bench_total_add(total, bucket.count, bb_double_of_bits(bucket.min),
                        bb_double_of_bits(bucket.max), bb_sum_value(&bucket.sum));
    }
    return true;
}

// Compares the answer that was given last with the definition; extremes if they were asked for.
static bool s_is_grid_right(s_questions_t *self, const bench_grid_t *grid, uint32_t aggregates)
{
    size_t count = (grid->is_fleet ? 1 : (size_t)self->data->battery_count) * grid->bucket_count;
    bench_total_t *want = bb_alloc_zero(count, sizeof *want);
    s_buckets_t check = {self->data, grid, bb_alloc_zero(count, sizeof *check.got)};
    bench_oracle_grid(self->data, grid, want);
    bool good = s_walk(self, s_check_buckets, &check);
    for (size_t i = 0; i < count; i++) {
        if (!(aggregates & (BB_AGGREGATE_MIN | BB_AGGREGATE_MAX))) {
            check.got[i].min = want[i].min;
            check.got[i].max = want[i].max;
        }
        good = good && bench_total_is_equal(&check.got[i], &want[i]);
    }
    free(check.got);
    free(want);
    return good;
}

static bench_grid_t s_grid(const s_questions_t *self, uint32_t metric, int64_t every_ms)
{
    int64_t first_ms = self->data->first_ms / every_ms * every_ms;
    return (bench_grid_t){
        .metric = metric,
        .battery = UINT32_MAX,
        .first_ms = first_ms,
        .every_ms = every_ms,
        .bucket_count = (uint32_t)((self->data->last_ms - first_ms) / every_ms + 1),
    };
}

static bool s_q3(s_questions_t *self)
{
    const uint32_t battery = 42 % self->data->battery_count;
    const uint32_t numbers[4] = {S_STATE_OF_CHARGE, S_VOLTAGE, S_CURRENT, S_TEMPERATURE};
    char id[16];
    bench_battery_id(battery, id);
    const bb_slice_t batteries = bb_slice(id, strlen(id));
    bb_slice_t metrics[4];
    for (uint32_t m = 0; m < 4; m++) {
        metrics[m] = s_metric(numbers[m]);
    }
    bb_query_t query = s_query(self, BB_QUERY_AGGREGATE);
    query.metrics = metrics;
    query.metric_count = 4;
    query.batteries = &batteries;
    query.battery_count = 1;
    query.partitions = &self->partitions[battery];
    query.partition_count = 1;
    query.every_ns = 60 * BB_NS_PER_S;
    query.aggregates = BB_AGGREGATE_MEAN;
    double ms = s_ask_ms(self, &query, 1);
    bool good = ms >= 0;
    // The answer that was measured, then one with minima and maxima as well.
    for (uint32_t round = 0; good && round < 2; round++) {
        for (uint32_t m = 0; good && m < 4; m++) {
            bench_grid_t grid = s_grid(self, numbers[m], 60000);
            grid.battery = battery;
            good = s_is_grid_right(self, &grid, query.aggregates);
        }
        query.aggregates |= BB_AGGREGATE_MIN | BB_AGGREGATE_MAX;
        good = good && (round > 0 || s_answer(self, &query, 1));
    }
    bench_report(self->results, "engine_q3_ms", ms, "ms", "one battery, 4 metrics by minute");
    return good || s_failed("Q3: the means of a battery are wrong", BB_ERR_CORRUPT, NULL);
}

static bool s_q4(s_questions_t *self)
{
    const bb_slice_t metric = s_metric(S_STATE_OF_CHARGE);
    bb_query_t query = s_query(self, BB_QUERY_AGGREGATE);
    query.metrics = &metric;
    query.metric_count = 1;
    query.aggregates = BB_AGGREGATE_MIN;
    double ms = s_ask_ms(self, &query, 2);
    bench_grid_t grid = s_grid(self, S_STATE_OF_CHARGE, 1);
    grid.every_ms = self->data->last_ms - self->data->first_ms + 1;
    grid.bucket_count = 1;
    bool good = ms >= 0 && s_is_grid_right(self, &grid, query.aggregates);
    bench_report(self->results, "engine_q4_ms", ms, "ms",
                 "every battery's minimum of one metric; two threads");
    return good || s_failed("Q4: the minima are wrong", BB_ERR_CORRUPT, NULL);
}

static bool s_q5(s_questions_t *self)
{
    const bb_slice_t metric = s_metric(S_POWER);
    bb_query_t query = s_query(self, BB_QUERY_AGGREGATE);
    query.metrics = &metric;
    query.metric_count = 1;
    query.every_ns = 300 * BB_NS_PER_S;
    query.group_by_none = true;
    query.aggregates = BB_AGGREGATE_MEAN;
    double ms = s_ask_ms(self, &query, 2);
    bench_grid_t grid = s_grid(self, S_POWER, 300000);
    grid.is_fleet = true;
    bool good = ms >= 0 && s_is_grid_right(self, &grid, query.aggregates);
    query.aggregates |= BB_AGGREGATE_MIN | BB_AGGREGATE_MAX;
    good = good && s_answer(self, &query, 2) && s_is_grid_right(self, &grid, query.aggregates);
    bench_report(self->results, "engine_q5_ms", ms, "ms",
                 "the fleet's mean of one metric per 5 minutes; two threads");
    return good || s_failed("Q5: the means of the fleet are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- Q7: everything --------------------------------------------------------------------------
static bool s_check_total(void *context, const bb_series_t *series)
{
    bench_total_t *totals = context;
    uint32_t metric = bench_metric_of(series->metric.data, series->metric.length);
    if (metric == BENCH_METRICS || series->battery.length != 0) {
        return false;
    }
    for (uint32_t i = 0; i < series->row_count; i++) {
        const bb_bucket_t bucket = bb_series_bucket(series, i);
        bench_total_add(&totals[metric], bucket.count, bb_double_of_bits(bucket.min),
                        bb_double_of_bits(bucket.max), bb_sum_value(&bucket.sum));
    }
    return true;
}

static bool s_is_total_right(s_questions_t *self, const bench_total_t *want)
{
    bench_total_t got[BENCH_METRICS];
    bench_totals_clear(got);
    return s_walk(self, s_check_total, got) && bench_totals_are_equal(got, want);
}

static bool s_q7(s_questions_t *self)
{
    bench_total_t want[BENCH_METRICS];
    bench_oracle_totals(self->data, want);
    double mvalues = (double)self->data->frame_count * BENCH_METRICS / 1e6;
    bb_query_t query = s_query(self, BB_QUERY_AGGREGATE);
    query.group_by_none = true;
    query.aggregates = BB_AGGREGATE_COUNT | BB_AGGREGATE_SUM | BB_AGGREGATE_MIN | BB_AGGREGATE_MAX;
    double statistics_ms = s_ask_ms(self, &query, 2);
    bool good = statistics_ms >= 0 && s_is_total_right(self, want);
    query.is_decode_forced = true;
    double decode_ms = s_ask_ms(self, &query, 2);
    good = good && decode_ms >= 0 && s_is_total_right(self, want);
    double one_ms = s_ask_ms(self, &query, 1);
    good = good && one_ms >= 0 && s_is_total_right(self, want);
    char note[160];
    snprintf(note, sizeof note, "all %.4g M values from statistics; two threads", mvalues);
    bench_report(self->results, "engine_q7_ms", statistics_ms, "ms", note);
    snprintf(note, sizeof note, "all %.4g M values, every block decoded; two threads", mvalues);
    bench_report(self->results, "engine_q7_decode_ms", decode_ms, "ms", note);
    bench_report(self->results, "scan_decode_mvalues_per_s", mvalues / one_ms * 1e3, "M values/s",
                 "the same on one thread: count, sum, min, max of every block from its values");
    return good || s_failed("Q7: the aggregates are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- the whole -------------------------------------------------------------------------------
bool bench_questions(const bench_data_t *data, bb_store_t *store, const uint32_t *partitions,
                     uint32_t partition_count, FILE *results)
{
    s_questions_t self = {
        .data = data,
        .store = store,
        .results = results,
        .partitions = partitions,
        .partition_count = partition_count,
        .all_partitions = bb_alloc(partition_count * sizeof *self.all_partitions),
        .parts = bb_alloc_zero(S_THREADS_MAX, sizeof *self.parts),
    };
    for (uint32_t p = 0; p < partition_count; p++) {
        self.all_partitions[p] = p;
    }
    for (uint32_t p = 0; p < S_THREADS_MAX; p++) {
        self.parts[p].builder = bb_page_builder_new();
    }
    bool good = s_q1(&self);
    good = s_q2(&self) && good;
    good = s_q3(&self) && good;
    good = s_q4(&self) && good;
    good = s_q5(&self) && good;
    good = s_q6(&self) && good;
    good = s_q7(&self) && good;
    s_forget(&self);
    for (uint32_t p = 0; p < S_THREADS_MAX; p++) {
        bb_page_builder_destroy(&self.parts[p].builder);
    }
    free(self.parts);
    free(self.all_partitions);
    return good;
}

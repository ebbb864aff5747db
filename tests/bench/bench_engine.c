// SPDX-License-Identifier: Apache-2.0
// The storage façade inside this process: intake, sealing, merging, and the questions of the
// yardstick. Every answer is compared with a calculation over the raw frames; one that differs
// fails the run, because the speed of a wrong answer is of no interest.
//
// Batches are built in slices outside the clock, so that memory stays bounded. Everything runs on
// one thread, one after the other: what a node does on three threads is added up here.
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "protocol/bb_placement.h"
#include "storage/bb_store.h"
#include "tests/bench/bench.h"

#define S_PARTITIONS       1024u
#define S_BATCH_FRAMES     5000u
#define S_SLICE_BATCHES    32u
#define S_REPEATS          7
#define S_PAGES_MAX        4096u
#define S_RUNS_PER_BATTERY 4.0 // as the node: this many are merged while data comes in

typedef struct {
    const bench_data_t *data;
    FILE *results;
    const char *directory;
    bb_store_t *store;
    uint32_t *partitions; // by battery
    uint64_t seqs[S_PARTITIONS];
    uint32_t all_partitions[S_PARTITIONS];
    double intake_s, intake_cpu_s;
    double seal_s, seal_cpu_s; // flushes and merges
    uint64_t flushes, merges;
} s_engine_t;

typedef struct {
    uint8_t *batch_bytes, *chunks_bytes;
    size_t batch_length, chunks_length;
    bb_batch_t batch;
    bb_chunks_t chunks;
} s_chunk_t;

static double s_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool s_failed(const char *what, bb_error_t error, const bb_fault_t *fault)
{
    fprintf(stderr, "busbar-bench: engine: %s: %s %s\n", what, bb_error_name(error),
            fault ? fault->text : "");
    return false;
}

static bool s_open(s_engine_t *self)
{
    bb_store_options_t options = {
        .vfs = bb_vfs_posix(),
        .kv = bb_kv_lmdb(),
        .directory = self->directory,
        .node_id = "bench",
        .store_count = 1,
        .partition_count = S_PARTITIONS,
        .memory_bytes = 256u << 20, // the node's default
    };
    memcpy(options.cluster_id, "busbar-benchmark", sizeof options.cluster_id);
    bb_store_report_t report;
    bb_fault_t fault = {0};
    bb_error_t error = bb_store_open(&options, &report, &self->store, &fault);
    return error == BB_OK || s_failed("open", error, &fault);
}

// ---- intake ----------------------------------------------------------------------------------

static bool s_build(s_engine_t *self, bb_batch_builder_t *builder, uint64_t first, uint64_t limit,
                    s_chunk_t *out)
{
    bb_slice_t names[BENCH_METRICS];
    uint8_t types[BENCH_METRICS];
    uint32_t order[BENCH_METRICS], shape;
    bb_fault_t fault = {0};
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        names[m] = bb_slice(bench_metric_names[m], strlen(bench_metric_names[m]));
        types[m] = BB_TYPE_FLOAT64;
    }
    bb_batch_builder_reset(builder, 0);
    bb_error_t error =
        bb_batch_builder_shape(builder, names, types, BENCH_METRICS, &shape, order, &fault);
    for (uint64_t i = first; error == BB_OK && i < limit; i++) {
        const bench_frame_t *frame = &self->data->frames[i];
        uint32_t battery;
        uint64_t values[BENCH_METRICS];
        char id[16];
        bench_battery_id(frame->battery, id);
        error = bb_batch_builder_battery(builder, self->partitions[frame->battery],
                                         bb_slice(id, strlen(id)), NULL, 0, &battery, &fault);
        for (uint32_t m = 0; m < BENCH_METRICS; m++) {
            values[order[m]] = bb_bits_of_double(frame->values[m]);
        }
        if (error == BB_OK) {
            error = bb_batch_builder_frame(builder, battery, shape, frame->time_ms * BB_NS_PER_MS,
                                           values);
        }
    }
    if (error != BB_OK) {
        return s_failed("build", error, &fault);
    }
    bb_batch_builder_finish(builder, &out->batch_bytes, &out->batch_length, NULL);
    error = bb_batch_open(&out->batch, bb_slice(out->batch_bytes, out->batch_length), &fault);
    if (error != BB_OK) {
        return s_failed("batch", error, &fault);
    }
    uint64_t seqs[S_PARTITIONS];
    for (uint32_t i = 0; i < out->batch.part_count; i++) {
        seqs[i] = ++self->seqs[out->batch.parts[i].partition];
    }
    bb_chunks_t header = {.epoch = 1,
                          .origin_wall_ns = self->data->last_ms * BB_NS_PER_MS,
                          .part_count = out->batch.part_count,
                          .seqs = seqs};
    memset(header.stream.bytes, 0x5a, sizeof header.stream.bytes);
    bb_chunks_encode(&header, &out->chunks_bytes, &out->chunks_length);
    error = bb_chunks_decode(&out->chunks, bb_slice(out->chunks_bytes, out->chunks_length), &fault);
    return error == BB_OK || s_failed("chunks", error, &fault);
}

static void s_chunk_free(s_chunk_t *self)
{
    if (self->batch_bytes) {
        bb_batch_close(&self->batch);
    }
    free(self->batch_bytes);
    free(self->chunks_bytes);
    *self = (s_chunk_t){0};
}

// BB_ERR_NOT_FOUND: nothing to do.
static bb_error_t s_job(s_engine_t *self, bb_store_job_kind_t kind, double runs_per_battery_min)
{
    bb_store_job_t *job = NULL;
    bb_fault_t fault = {0};
    double begin_s = (double)bench_mono_ns() / 1e9, begin_cpu_s = s_cpu_s();
    bb_error_t error = bb_store_job_begin(self->store, kind, runs_per_battery_min, &job);
    if (error == BB_OK) {
        error = bb_store_job_run(job, &fault);
        bb_store_job_end(self->store, &job, error);
        *(kind == BB_JOB_FLUSH ? &self->flushes : &self->merges) += 1;
    }
    self->seal_s += (double)bench_mono_ns() / 1e9 - begin_s;
    self->seal_cpu_s += s_cpu_s() - begin_cpu_s;
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        s_failed(kind == BB_JOB_FLUSH ? "flush" : "merge", error, &fault);
    }
    return error;
}

static bool s_take(s_engine_t *self, const s_chunk_t *chunk)
{
    double begin_s = (double)bench_mono_ns() / 1e9, begin_cpu_s = s_cpu_s();
    bb_error_t error =
        bb_store_stage(self->store, &chunk->chunks,
                       bb_slice(chunk->chunks_bytes, chunk->chunks_length), &chunk->batch);
    if (error == BB_OK) {
        error = bb_store_sync(self->store);
    }
    if (error == BB_OK) {
        error = bb_store_apply(self->store, &chunk->chunks, &chunk->batch);
    }
    self->intake_s += (double)bench_mono_ns() / 1e9 - begin_s;
    self->intake_cpu_s += s_cpu_s() - begin_cpu_s;
    if (error != BB_OK) {
        return s_failed("intake", error, NULL);
    }
    if (bb_store_wants_flush(self->store)) {
        error = s_job(self, BB_JOB_FLUSH, 1);
    } else if (bb_store_wants_merge(self->store)) {
        error = s_job(self, BB_JOB_MERGE, S_RUNS_PER_BATTERY);
    }
    return error == BB_OK || error == BB_ERR_NOT_FOUND;
}

static bool s_intake(s_engine_t *self)
{
    s_chunk_t slice[S_SLICE_BATCHES] = {{0}};
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bool good = true;
    for (uint64_t next = 0; good && next < self->data->frame_count;) {
        uint32_t count = 0;
        for (; good && count < S_SLICE_BATCHES && next < self->data->frame_count; count++) {
            uint64_t limit = BB_MIN(next + S_BATCH_FRAMES, self->data->frame_count);
            good = s_build(self, builder, next, limit, &slice[count]);
            next = limit;
        }
        for (uint32_t i = 0; i < count; i++) {
            good = good && s_take(self, &slice[i]);
            s_chunk_free(&slice[i]);
        }
    }
    bb_batch_builder_destroy(&builder);
    return good;
}

static bool s_is_held(void *context, uint32_t partition, const bb_stream_t *stream,
                      uint64_t first_seq, uint64_t last_seq)
{
    (void)context, (void)partition, (void)stream, (void)first_seq, (void)last_seq;
    return true; // there is no other replica
}

// Seals what is in the head, merges until every battery has one run a day, trims the journal.
static bool s_settle(s_engine_t *self)
{
    bb_error_t error = BB_OK;
    while (error == BB_OK) {
        error = s_job(self, BB_JOB_FLUSH, 1);
    }
    if (error == BB_ERR_NOT_FOUND) {
        error = BB_OK;
    }
    while (error == BB_OK) {
        error = s_job(self, BB_JOB_MERGE, 1);
    }
    if (error != BB_ERR_NOT_FOUND) {
        return false;
    }
    error = bb_store_trim(self->store, s_is_held, NULL);
    return error == BB_OK || s_failed("trim", error, NULL);
}

// Bytes of every file below `path`, as their sizes say.
static double s_folder_bytes(const char *path)
{
    double bytes = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char child[4096];
        struct stat status;
        int length = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || length < 0 ||
            (size_t)length >= sizeof child || lstat(child, &status) != 0) {
            continue;
        }
        bytes += S_ISDIR(status.st_mode) ? s_folder_bytes(child) : (double)status.st_size;
    }
    if (directory) {
        closedir(directory);
    }
    return bytes;
}

// ---- questions -------------------------------------------------------------------------------

typedef struct {
    uint8_t *bytes;
    size_t length;
} s_encoded_t;

typedef struct {
    s_encoded_t pages[S_PAGES_MAX];
    uint32_t page_count;
} s_answer_t;

static void s_answer_free(s_answer_t *self)
{
    for (uint32_t i = 0; i < self->page_count; i++) {
        free(self->pages[i].bytes);
    }
    self->page_count = 0;
}

// Page after page, each from its own snapshot as in a node, into encoded columns.
static bool s_answer(s_engine_t *self, bb_query_t query, bb_page_builder_t *builder,
                     s_answer_t *answer)
{
    uint8_t *cursor = NULL;
    bb_error_t error;
    do {
        bb_snapshot_t *snapshot = NULL;
        bb_scan_result_t result = {0};
        bb_fault_t fault = {0};
        error = bb_store_snapshot(self->store, &query, &snapshot, &fault);
        if (error == BB_OK) {
            error = bb_scan_page(snapshot, &query, builder, &result, &fault);
        }
        bb_snapshot_close(&snapshot);
        free(cursor);
        cursor = result.cursor;
        query.cursor = bb_slice(cursor, result.cursor_length);
        if (error != BB_OK || result.damaged_window_count > 0) {
            s_failed("scan", error, &fault);
            error = error == BB_OK ? BB_ERR_CORRUPT : error;
            break;
        }
        if (answer->page_count == S_PAGES_MAX) {
            error = BB_ERR_LIMIT;
            break;
        }
        s_encoded_t *page = &answer->pages[answer->page_count++];
        bb_page_builder_finish(builder, &page->bytes, &page->length);
    } while (cursor);
    free(cursor);
    return error == BB_OK;
}

// Called with each series of the answer; false: it is wrong.
typedef bool (*s_check_fn)(void *context, const bb_series_t *series);

static bool s_walk(const s_answer_t *answer, s_check_fn check, void *context)
{
    bool good = true;
    for (uint32_t p = 0; good && p < answer->page_count; p++) {
        bb_page_t page;
        bb_fault_t fault = {0};
        bb_error_t error =
            bb_page_open(&page, bb_slice(answer->pages[p].bytes, answer->pages[p].length), &fault);
        if (error != BB_OK) {
            return s_failed("page", error, &fault);
        }
        for (uint32_t i = 0; good && i < page.series_count; i++) {
            good = check(context, &page.series[i]);
        }
        bb_page_close(&page);
    }
    return good;
}

// Median time of the question; the last answer is left in `answer`. Negative: it failed.
static double s_ask_ms(s_engine_t *self, const bb_query_t *query, s_answer_t *answer)
{
    double times_ms[S_REPEATS];
    bb_page_builder_t *builder = bb_page_builder_new();
    bool good = true;
    for (int i = 0; good && i < S_REPEATS; i++) {
        s_answer_free(answer);
        int64_t begin = bench_mono_ns();
        good = s_answer(self, *query, builder, answer);
        times_ms[i] = (double)(bench_mono_ns() - begin) / 1e6;
    }
    bb_page_builder_destroy(&builder);
    return good ? bench_median(times_ms, S_REPEATS) : -1;
}

// ---- newest values ---------------------------------------------------------------------------

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
        bench_metric_of(series->metric.data, series->metric.length) != 0 ||
        series->times_wall_ns[0] != frame->time_ms * BB_NS_PER_MS ||
        series->values[0] != bb_bits_of_double(frame->values[0])) {
        return false;
    }
    self->newest[battery] = NULL; // each once
    self->right++;
    return true;
}

static bool s_last(s_engine_t *self, bb_query_t query, s_answer_t *answer)
{
    const bench_data_t *data = self->data;
    const bb_slice_t metric = bb_slice(bench_metric_names[0], strlen(bench_metric_names[0]));
    query.mode = BB_QUERY_LAST;
    query.metrics = &metric;
    query.metric_count = 1;
    double ms = s_ask_ms(self, &query, answer);
    s_last_t check = {data, bb_alloc_zero(data->battery_count, sizeof *check.newest), 0};
    bench_oracle_newest(data, check.newest);
    bool good =
        ms >= 0 && s_walk(answer, s_check_last, &check) && check.right == data->battery_count;
    free(check.newest);
    char note[64];
    snprintf(note, sizeof note, "newest of one metric, %u batteries", data->battery_count);
    bench_report(self->results, "engine_q1_ms", ms, "ms", note);
    return good || s_failed("the newest values are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- one battery, raw ------------------------------------------------------------------------

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

static bool s_raw(s_engine_t *self, bb_query_t query, s_answer_t *answer)
{
    const bench_data_t *data = self->data;
    const uint32_t battery = 17 % data->battery_count;
    char id[16], note[64];
    bench_battery_id(battery, id);
    const bb_slice_t metric = bb_slice(bench_metric_names[1], strlen(bench_metric_names[1]));
    const bb_slice_t batteries = bb_slice(id, strlen(id));
    query.mode = BB_QUERY_RAW;
    query.metrics = &metric;
    query.metric_count = 1;
    query.batteries = &batteries;
    query.battery_count = 1;
    query.partitions = &self->partitions[battery];
    query.partition_count = 1;
    double ms = s_ask_ms(self, &query, answer);
    s_raw_t got = {.last_wall_ns = INT64_MIN};
    bench_series_t want = bench_oracle_series(data, battery, 1);
    bool good = ms >= 0 && s_walk(answer, s_check_raw, &got) && got.series.rows == want.rows &&
                got.series.fingerprint == want.fingerprint;
    snprintf(note, sizeof note, "one battery, one metric, %llu rows",
             (unsigned long long)want.rows);
    bench_report(self->results, "engine_q2_ms", ms, "ms", note);
    return good || s_failed("the points of a battery are wrong", BB_ERR_CORRUPT, NULL);
}

// ---- everything ------------------------------------------------------------------------------

static bool s_check_total(void *context, const bb_series_t *series)
{
    bench_total_t *totals = context;
    uint32_t metric = bench_metric_of(series->metric.data, series->metric.length);
    if (metric == BENCH_METRICS || series->battery.length != 0) {
        return false;
    }
    for (uint32_t i = 0; i < series->row_count; i++) {
        const bb_bucket_t *bucket = &series->buckets[i];
        bench_total_add(&totals[metric], bucket->count, bb_double_of_bits(bucket->min),
                        bb_double_of_bits(bucket->max), bb_sum_value(bucket->sum));
    }
    return true;
}

static bool s_everything(s_engine_t *self, bb_query_t query, const bench_total_t *want,
                         s_answer_t *answer, const char *name, const char *what)
{
    bench_total_t got[BENCH_METRICS];
    double ms = s_ask_ms(self, &query, answer);
    bench_totals_clear(got);
    bool good = ms >= 0 && s_walk(answer, s_check_total, got) && bench_totals_are_equal(got, want);
    char note[160];
    double points = (double)self->data->frame_count * BENCH_METRICS;
    snprintf(note, sizeof note, "%s; %.4g M points, %.4g G points/s", what, points / 1e6,
             points / ms / 1e6);
    bench_report(self->results, name, ms, "ms", note);
    return good || s_failed("the aggregates are wrong", BB_ERR_CORRUPT, NULL);
}

static bool s_scans(s_engine_t *self, bb_query_t query, s_answer_t *answer)
{
    bench_total_t want[BENCH_METRICS];
    bench_oracle_totals(self->data, want);
    query.mode = BB_QUERY_AGGREGATE;
    query.group_by_none = true;
    query.aggregates = BB_AGGREGATE_COUNT | BB_AGGREGATE_SUM | BB_AGGREGATE_MIN | BB_AGGREGATE_MAX;
    bool good = s_everything(self, query, want, answer, "engine_q7_ms",
                             "every point, one bucket; block statistics do");
    query.every_ns = BENCH_DECODE_EVERY_NS;
    return s_everything(self, query, want, answer, "engine_q7_decode_ms",
                        "every point in buckets of 10 min, which no block of more than 60 points "
                        "fits into: all are decoded") &&
           good;
}

// ---- the whole -------------------------------------------------------------------------------

static void s_report_intake(s_engine_t *self)
{
    double mpts = (double)self->data->frame_count * BENCH_METRICS / 1e6;
    char note[160];
    bench_report(self->results, "engine_ingest_mpts_per_s", mpts / self->intake_s, "M points/s",
                 "one store, one thread: stage, fdatasync of every batch of 5,000 frames, apply");
    bench_report(self->results, "engine_ingest_cpu_s_per_mpt", self->intake_cpu_s / mpts,
                 "CPU s per M points", "intake alone");
    snprintf(note, sizeof note, "%llu flushes and %llu merges, the last merges included",
             (unsigned long long)self->flushes, (unsigned long long)self->merges);
    bench_report(self->results, "engine_seal_cpu_s_per_mpt", self->seal_cpu_s / mpts,
                 "CPU s per M points", note);
    bench_report(self->results, "engine_all_mpts_per_s", mpts / (self->intake_s + self->seal_s),
                 "M points/s", "intake, flushes and merges one after the other on one thread");
    double bytes = s_folder_bytes(self->directory);
    snprintf(note, sizeof note, "settled; %.4g MB in the store's folder", bytes / 1e6);
    bench_report(self->results, "engine_bytes_per_point_yardstick", bytes / mpts / 1e6,
                 "bytes per point", note);
}

static bool s_measure(s_engine_t *self)
{
    if (!s_open(self)) {
        return false;
    }
    bool good = s_intake(self) && s_settle(self);
    bb_store_stats_t stats;
    bb_store_stats(self->store, &stats);
    uint64_t points = self->data->frame_count * BENCH_METRICS;
    if (good && (stats.segment_points != points || stats.head_points + stats.frozen_points != 0)) {
        fprintf(stderr, "busbar-bench: engine: %llu of %llu points are sealed\n",
                (unsigned long long)stats.segment_points, (unsigned long long)points);
        good = false;
    }
    if (good) {
        s_report_intake(self);
        const bb_query_t query = {.level = BB_LEVEL_ONE,
                                  .from_wall_ns = self->data->first_ms * BB_NS_PER_MS,
                                  .to_wall_ns = (self->data->last_ms + 1) * BB_NS_PER_MS,
                                  .partitions = self->all_partitions,
                                  .partition_count = S_PARTITIONS};
        s_answer_t *answer = bb_alloc_zero(1, sizeof *answer);
        good = s_last(self, query, answer);
        good = s_raw(self, query, answer) && good;
        good = s_scans(self, query, answer) && good;
        s_answer_free(answer);
        free(answer);
    }
    bb_store_close(&self->store);
    return good;
}

int bench_engine(const bench_data_t *data, const char *directory, FILE *results)
{
    static const uint8_t key[16] = "busbar-bench-key";
    char path[4096];
    snprintf(path, sizeof path, "%s/engine", directory);
    s_engine_t *self = bb_alloc_zero(1, sizeof *self);
    self->data = data;
    self->results = results;
    self->directory = path;
    self->partitions = bb_alloc(data->battery_count * sizeof *self->partitions);
    for (uint32_t b = 0; b < data->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        self->partitions[b] = bb_partition_of(key, id, strlen(id), S_PARTITIONS);
    }
    for (uint32_t p = 0; p < S_PARTITIONS; p++) {
        self->all_partitions[p] = p;
    }
    bool good = s_measure(self);
    bb_vfs_t *vfs = bb_vfs_posix();
    bb_ignore(vfs->remove_tree(vfs, path), "run.sh removes the folder around it anyway");
    free(self->partitions);
    free(self);
    return good ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// The storage façade inside this process: intake, sealing, merging; the questions are in
// bench_questions.c.
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
#include "tests/bench/bench_chunk.h"

#define S_PARTITIONS       BENCH_PARTITIONS
#define S_BATCH_FRAMES     5000u
#define S_SLICE_BATCHES    32u
#define S_RUNS_PER_BATTERY 4.0 // as the node: this many are merged while data comes in

typedef struct {
    const bench_data_t *data;
    FILE *results;
    const char *directory;
    bb_store_t *store;
    uint32_t *partitions; // by battery
    uint64_t seqs[S_PARTITIONS];
    double intake_s, intake_cpu_s;
    double seal_s, seal_cpu_s; // flushes and merges
    uint64_t flushes, merges;
} s_engine_t;

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

// BB_ERR_NOT_FOUND: nothing to do.
static bb_error_t s_job(s_engine_t *self, bb_store_job_kind_t kind, double runs_per_battery_min)
{
    bb_store_job_t *job = NULL;
    bb_fault_t fault = {0};
    double begin_s = (double)bench_mono_ns() / 1e9, begin_cpu_s = bench_own_cpu_s();
    bb_error_t error = bb_store_job_begin(self->store, kind, runs_per_battery_min, &job);
    if (error == BB_OK) {
        error = bb_store_job_run(job, &fault);
        bb_store_job_end(self->store, &job, error);
        *(kind == BB_JOB_FLUSH ? &self->flushes : &self->merges) += 1;
    }
    self->seal_s += (double)bench_mono_ns() / 1e9 - begin_s;
    self->seal_cpu_s += bench_own_cpu_s() - begin_cpu_s;
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        s_failed(kind == BB_JOB_FLUSH ? "flush" : "merge", error, &fault);
    }
    return error;
}

static bool s_take(s_engine_t *self, const bench_chunk_t *chunk)
{
    double begin_s = (double)bench_mono_ns() / 1e9, begin_cpu_s = bench_own_cpu_s();
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
    self->intake_cpu_s += bench_own_cpu_s() - begin_cpu_s;
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
    bench_chunk_t slice[S_SLICE_BATCHES] = {{0}};
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bool good = true;
    for (uint64_t next = 0; good && next < self->data->frame_count;) {
        uint32_t count = 0;
        for (; good && count < S_SLICE_BATCHES && next < self->data->frame_count; count++) {
            uint64_t limit = BB_MIN(next + S_BATCH_FRAMES, self->data->frame_count);
            good = bench_chunk_make(self->data, self->partitions, self->seqs, builder, next, limit,
                                    &slice[count]);
            next = limit;
        }
        for (uint32_t i = 0; i < count; i++) {
            good = good && s_take(self, &slice[i]);
            bench_chunk_free(&slice[i]);
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

// Bytes of every file below `path`, as their sizes say, but those of journals: the store is settled
// and its journal empty, its files wait to be written again.
static double s_folder_bytes(const char *path)
{
    double bytes = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char child[4096];
        struct stat status;
        int length = snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, "journal") == 0 || length < 0 || (size_t)length >= sizeof child ||
            lstat(child, &status) != 0) {
            continue;
        }
        bytes += S_ISDIR(status.st_mode) ? s_folder_bytes(child) : (double)status.st_size;
    }
    if (directory) {
        closedir(directory);
    }
    return bytes;
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
        good =
            bench_questions(self->data, self->store, self->partitions, S_PARTITIONS, self->results);
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
    bool good = s_measure(self);
    bb_vfs_t *vfs = bb_vfs_posix();
    bb_ignore(vfs->remove_tree(vfs, path), "run.py removes the folder around it anyway");
    free(self->partitions);
    free(self);
    return good ? 0 : 1;
}

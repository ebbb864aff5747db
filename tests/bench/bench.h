// SPDX-License-Identifier: Apache-2.0
// bench - what the parts of busbar-bench share: the yardstick's frames, clocks, results.
//
// The yardstick is a fleet of 1,000 batteries with 12 metrics every 10 s, in time order, held in
// memory before any clock starts. Record, little-endian: i64 time in ms, u32 battery, u32 zero,
// 12 float64.
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>

#include "client/busbar.h"
#include "protocol/bb_base.h"
#include "storage/bb_store.h"

#define BENCH_METRICS 12
// The scan over the wire that decodes: in buckets this wide no block of more than 60 points fits
// into one, so that statistics of blocks do not help.
#define BENCH_DECODE_EVERY_NS (600 * BB_NS_PER_S)

typedef struct {
    int64_t time_ms;
    uint32_t battery;
    uint32_t zero;
    double values[BENCH_METRICS];
} bench_frame_t;
static_assert(sizeof(bench_frame_t) == 112, "layout of the raw file");

typedef struct {
    const bench_frame_t *frames;
    void *memory; // what `frames` points to, to be given back
    uint64_t frame_count;
    uint32_t battery_count;
    int64_t first_ms, last_ms;
} bench_data_t;

extern const char *const bench_metric_names[BENCH_METRICS];

// Maps the raw file, or makes `hours` of the project's own fleet when path is NULL.
bool bench_data_load(bench_data_t *self, const char *path, uint32_t hours);
void bench_battery_id(uint32_t battery, char out[16]);

int64_t bench_mono_ns(void);
// User and system CPU time of a process so far, in seconds; 0 when it is gone.
double bench_process_cpu_s(int pid);
double bench_own_cpu_s(void);
double bench_median(double *values, size_t count); // sorts

// One JSON line on standard output and in the results file; `note` may be NULL.
void bench_report(FILE *results, const char *name, double value, const char *unit,
                  const char *note);

// ---- what the answers must be; bench_oracle.c ----
// Newest frame of each battery (battery_count entries).
void bench_oracle_newest(const bench_data_t *data, const bench_frame_t **newest);

// The points of one series; the sum of fingerprints does not depend on their order.
typedef struct {
    uint64_t rows, fingerprint;
} bench_series_t;
uint64_t bench_fingerprint(int64_t time_wall_ns, double value);
bench_series_t bench_oracle_series(const bench_data_t *data, uint32_t battery, uint32_t metric);

// Aggregates of one metric over everything; `size` is the sum of the sizes of what was added.
typedef struct {
    uint64_t count;
    double min, max;
    long double sum, size;
} bench_total_t;
void bench_total_clear(bench_total_t *total);
void bench_totals_clear(bench_total_t totals[BENCH_METRICS]);
void bench_total_add(bench_total_t *total, uint64_t count, double min, double max, double sum);
void bench_oracle_totals(const bench_data_t *data, bench_total_t totals[BENCH_METRICS]);
// Counts, minima and maxima exactly; sums within 1e-12 of the sum of sizes of `want`.
bool bench_total_is_equal(const bench_total_t *got, const bench_total_t *want);
bool bench_totals_are_equal(const bench_total_t got[BENCH_METRICS],
                            const bench_total_t want[BENCH_METRICS]);

// Aggregates of one metric by bucket: grid[row][bucket], row = battery, or 0 for all together
// (`is_fleet`); bucket = (time - start of the first one) / every. Adds to a cleared grid; frames of
// other batteries than `battery` are left out, unless it is UINT32_MAX.
typedef struct {
    uint32_t metric, battery;
    bool is_fleet;
    int64_t first_ms, every_ms; // start of bucket 0, width
    uint32_t bucket_count;
} bench_grid_t;
void bench_oracle_grid(const bench_data_t *data, const bench_grid_t *grid, bench_total_t *totals);

uint32_t bench_metric_of(const char *name, size_t length); // BENCH_METRICS: none of ours
uint32_t bench_battery_of(const bench_data_t *data, const char *id, size_t length); // UINT32_MAX

// Loads the yardstick into a cluster that is up, and no more.
int bench_load(const bench_data_t *data, const char *cluster_directory, const char *suffix,
               FILE *results);
// The same, settles it, and asks the questions over the wire if `asks`.
int bench_cluster(const bench_data_t *data, const char *cluster_directory, const char *suffix,
                  bool asks, FILE *results);
// The questions to a settled cluster; false: an answer is wrong.
bool bench_wire(busbar_client_t *client, const bench_data_t *data, const char *suffix,
                FILE *results);
// Acknowledgements when idle, at full and at half load; the cluster is up and empty.
int bench_latency(const bench_data_t *data, const char *cluster_directory, const char *suffix,
                  FILE *results);
// More than the cluster can do for so many seconds, and whether it comes back; the cluster is up
// and empty. The other results say what came of it; 1: goodput did not return, or something is
// lost.
int bench_storm(const char *cluster_directory, double storm_s, FILE *results);
// One connection that takes no answers, to a cluster that has some megabytes.
int bench_stuck(const char *cluster_directory, FILE *results);
// Loads raw frames from standard input into a cluster that is up, slice by slice, and settles it.
int bench_fleet(const char *cluster_directory, uint32_t battery_count, const char *suffix,
                FILE *results);
// Kills the node of a cluster of one in the middle of the load, and starts it again.
int bench_crash(const bench_data_t *data, const char *cluster_directory, FILE *results);
// Writes a journal below `directory` and recovers it.
int bench_journal(const bench_data_t *data, const char *directory, FILE *results);
// The storage façade inside this process.
int bench_engine(const bench_data_t *data, const char *directory, FILE *results);
// The questions of the yardstick to a settled store; `partitions` by battery.
bool bench_questions(const bench_data_t *data, bb_store_t *store, const uint32_t *partitions,
                     uint32_t partition_count, FILE *results);
// The encodings of columns, in memory.
int bench_codecs(const bench_data_t *data, FILE *results);
// fdatasync, sequential write, memory and CURVE: what the machine can do in the same run.
int bench_machine(const char *directory, FILE *results);
// Small reads, a hundred a second with hedges and as many without, for so long; 0: none was wrong.
int bench_small(const char *client_file, uint32_t seconds, FILE *results);

#endif

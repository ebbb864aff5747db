// SPDX-License-Identifier: Apache-2.0
// The questions of the yardstick through libbusbar, to a settled cluster. Times are those of the
// whole answer in the client's hands, median of several; the first answer is compared with a
// calculation over the raw frames.
#include <stdlib.h>
#include <string.h>

#include "client/busbar.h"
#include "tests/bench/bench.h"

#define S_REPEATS 7

// Takes each row of an answer; false: it is wrong.
typedef bool (*s_row_fn)(void *context, const busbar_row_t *row);

// One question: its time, and whether the answer is complete. Rows are looked at when the answer is
// wanted (`take` not NULL), which is once and not measured.
static double s_ask_once_ms(busbar_client_t *client, const busbar_query_t *query, s_row_fn take,
                            void *context, busbar_fault_t *fault)
{
    busbar_rows_t *rows = NULL;
    busbar_row_t row;
    bool complete = false, good = true;
    const uint32_t *missing;
    size_t missing_count;
    int64_t begin = bench_mono_ns();
    if (busbar_query(client, query, &rows, fault) != BUSBAR_OK) {
        return -1;
    }
    while (busbar_rows_next(rows, &row)) {
        good = good && (!take || take(context, &row));
    }
    busbar_status_t status = busbar_rows_status(rows, &complete, &missing, &missing_count, fault);
    busbar_rows_close(&rows);
    double ms = (double)(bench_mono_ns() - begin) / 1e6;
    if (good && (status != BUSBAR_OK || !complete)) {
        fprintf(stderr, "busbar-bench: %zu partitions are missing: %s\n", missing_count,
                fault->text);
    }
    return good && status == BUSBAR_OK && complete ? ms : -1;
}

// Median time of one question; negative when an answer is not complete or a row is wrong.
static double s_ask_ms(busbar_client_t *client, const busbar_query_t *query, s_row_fn take,
                       void *context, busbar_fault_t *fault)
{
    double times_ms[S_REPEATS];
    if (s_ask_once_ms(client, query, take, context, fault) < 0) {
        return -1;
    }
    for (int i = 0; i < S_REPEATS; i++) {
        times_ms[i] = s_ask_once_ms(client, query, NULL, NULL, fault);
        if (times_ms[i] < 0) {
            return -1;
        }
    }
    return bench_median(times_ms, S_REPEATS);
}

typedef struct {
    busbar_client_t *client;
    const bench_data_t *data;
    const char *suffix;
    FILE *results;
    busbar_fault_t *fault;
} s_asker_t;

static bool s_outcome(const s_asker_t *self, const char *name, double ms, bool good,
                      const char *note)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", name, self->suffix);
    bench_report(self->results, full, ms, "ms", note);
    if (!good) {
        fprintf(stderr, "busbar-bench: %s%s: the answer is wrong: %s\n", name, self->suffix,
                self->fault->text);
    }
    return good;
}

typedef struct {
    const bench_data_t *data;
    const bench_frame_t **newest;
    uint32_t rows;
} s_newest_t;

static bool s_take_newest(void *context, const busbar_row_t *row)
{
    s_newest_t *self = context;
    uint32_t battery = bench_battery_of(self->data, row->battery, strlen(row->battery));
    const bench_frame_t *frame = battery == UINT32_MAX ? NULL : self->newest[battery];
    if (!frame || row->time_ns != frame->time_ms * BB_NS_PER_MS ||
        row->value.number != frame->values[0]) {
        return false;
    }
    self->newest[battery] = NULL; // each once
    self->rows++;
    return true;
}

static bool s_ask_newest(const s_asker_t *self)
{
    const busbar_query_t query = {
        .mode = BUSBAR_LAST, .metrics = bench_metric_names, .metric_count = 1};
    s_newest_t check = {self->data, bb_alloc_zero(self->data->battery_count, sizeof *check.newest),
                        0};
    char note[64];
    bench_oracle_newest(self->data, check.newest);
    double ms = s_ask_ms(self->client, &query, s_take_newest, &check, self->fault);
    free(check.newest);
    snprintf(note, sizeof note, "newest of one metric, %u batteries", self->data->battery_count);
    return s_outcome(self, "wire_q1_ms", ms, ms >= 0 && check.rows == self->data->battery_count,
                     note);
}

static bool s_take_point(void *context, const busbar_row_t *row)
{
    bench_series_t *series = context;
    series->rows++;
    series->fingerprint += bench_fingerprint(row->time_ns, row->value.number);
    return row->type == BUSBAR_FLOAT64;
}

static bool s_ask_raw(const s_asker_t *self, int64_t from_ns, int64_t to_ns)
{
    const uint32_t battery = 17 % self->data->battery_count;
    char id[16], note[64];
    bench_battery_id(battery, id);
    const char *const ids[] = {id};
    const busbar_query_t query = {.mode = BUSBAR_RAW,
                                  .metrics = bench_metric_names,
                                  .metric_count = 1,
                                  .batteries = ids,
                                  .battery_count = 1,
                                  .from_ns = from_ns,
                                  .to_ns = to_ns};
    bench_series_t got = {0}, want = bench_oracle_series(self->data, battery, 0);
    double ms = s_ask_ms(self->client, &query, s_take_point, &got, self->fault);
    snprintf(note, sizeof note, "one battery, one metric, %llu rows",
             (unsigned long long)want.rows);
    return s_outcome(self, "wire_q2_ms", ms,
                     ms >= 0 && got.rows == want.rows && got.fingerprint == want.fingerprint, note);
}

static bool s_take_total(void *context, const busbar_row_t *row)
{
    bench_total_t *totals = context;
    uint32_t metric = bench_metric_of(row->metric, strlen(row->metric));
    if (metric == BENCH_METRICS || row->type != BUSBAR_FLOAT64) {
        return false;
    }
    bench_total_add(&totals[metric], row->count, row->min.number, row->max.number, row->sum);
    return true;
}

static bool s_ask_totals(const s_asker_t *self, int64_t from_ns, int64_t to_ns, int64_t every_ns)
{
    const busbar_query_t query = {.mode = BUSBAR_AGGREGATE,
                                  .from_ns = from_ns,
                                  .to_ns = to_ns,
                                  .every_ns = every_ns,
                                  .group_by_none = true,
                                  .aggregates =
                                      BUSBAR_COUNT | BUSBAR_SUM | BUSBAR_MIN | BUSBAR_MAX};
    bench_total_t got[BENCH_METRICS], want[BENCH_METRICS];
    bench_totals_clear(got);
    bench_oracle_totals(self->data, want);
    double ms = s_ask_ms(self->client, &query, s_take_total, got, self->fault);
    return s_outcome(self, every_ns == 0 ? "wire_q7_ms" : "wire_q7_decode_ms", ms,
                     ms >= 0 && bench_totals_are_equal(got, want),
                     every_ns == 0 ? "count, sum, min, max of every point; block statistics do"
                                   : "the same in buckets of 10 min; every block is decoded");
}

// ---- Q3, Q4, Q5: buckets ---------------------------------------------------------------------

#define S_STATE_OF_CHARGE 0u
#define S_POWER           3u

typedef struct {
    const bench_data_t *data;
    const bench_grid_t *grids; // by metric of the question
    uint32_t grid_count;
    bench_total_t **got; // by grid
} s_buckets_t;

static bool s_take_bucket(void *context, const busbar_row_t *row)
{
    s_buckets_t *self = context;
    uint32_t metric = bench_metric_of(row->metric, strlen(row->metric)), g = 0;
    while (g < self->grid_count && self->grids[g].metric != metric) {
        g++;
    }
    uint32_t battery = g == self->grid_count || self->grids[g].is_fleet
                           ? 0
                           : bench_battery_of(self->data, row->battery, strlen(row->battery));
    if (g == self->grid_count || battery == UINT32_MAX) {
        return false;
    }
    const bench_grid_t *grid = &self->grids[g];
    int64_t at = (row->time_ns / BB_NS_PER_MS - grid->first_ms) / grid->every_ms;
    if (at < 0 || at >= grid->bucket_count) {
        return false;
    }
    bench_total_t *total = &self->got[g][battery * (size_t)grid->bucket_count + (size_t)at];
    if (total->count > 0) {
        return false; // twice
    }
    bench_total_clear(total);
    bench_total_add(total, row->count, row->min.number, row->max.number, row->sum);
    return true;
}

// Time of the question, whose buckets must be those of the grids; negative: wrong or failed.
static double s_ask_grids(const s_asker_t *self, busbar_query_t query, const bench_grid_t *grids,
                          uint32_t grid_count)
{
    bench_total_t *got[4] = {NULL}, *want[4] = {NULL};
    size_t counts[4];
    BB_ASSERT(grid_count <= BB_COUNT_OF(got));
    s_buckets_t check = {self->data, grids, grid_count, got};
    query.mode = BUSBAR_AGGREGATE;
    query.from_ns = self->data->first_ms * BB_NS_PER_MS;
    query.to_ns = (self->data->last_ms + 1) * BB_NS_PER_MS;
    query.aggregates = BUSBAR_COUNT | BUSBAR_MEAN | BUSBAR_SUM | BUSBAR_MIN | BUSBAR_MAX;
    for (uint32_t g = 0; g < grid_count; g++) {
        size_t rows = grids[g].is_fleet ? 1 : self->data->battery_count;
        counts[g] = rows * grids[g].bucket_count;
        got[g] = bb_alloc_zero(counts[g], sizeof *got[g]);
        want[g] = bb_alloc_zero(counts[g], sizeof *want[g]);
        bench_oracle_grid(self->data, &grids[g], want[g]);
    }
    double ms = s_ask_ms(self->client, &query, s_take_bucket, &check, self->fault);
    for (uint32_t g = 0; g < grid_count; g++) {
        for (size_t i = 0; i < counts[g]; i++) {
            if (!bench_total_is_equal(&got[g][i], &want[g][i])) {
                ms = -1;
            }
        }
        free(got[g]);
        free(want[g]);
    }
    return ms;
}

static bench_grid_t s_grid(const s_asker_t *self, uint32_t metric, uint32_t battery,
                           int64_t every_ms)
{
    int64_t first_ms = self->data->first_ms / every_ms * every_ms;
    return (bench_grid_t){
        .metric = metric,
        .battery = battery,
        .first_ms = first_ms,
        .every_ms = every_ms,
        .bucket_count = (uint32_t)((self->data->last_ms - first_ms) / every_ms + 1),
    };
}

static bool s_ask_minutes(const s_asker_t *self)
{
    const uint32_t battery = 42 % self->data->battery_count;
    const char *metrics[4];
    bench_grid_t grids[4];
    char id[16];
    bench_battery_id(battery, id);
    const char *const ids[] = {id};
    for (uint32_t m = 0; m < 4; m++) { // state of charge, voltage, current, power
        metrics[m] = bench_metric_names[m];
        grids[m] = s_grid(self, m, battery, 60000);
    }
    const busbar_query_t query = {.metrics = metrics,
                                  .metric_count = 4,
                                  .batteries = ids,
                                  .battery_count = 1,
                                  .every_ns = 60 * BUSBAR_SECOND};
    double ms = s_ask_grids(self, query, grids, 4);
    return s_outcome(self, "wire_q3_ms", ms, ms >= 0, "one battery, 4 metrics by minute");
}

static bool s_ask_minima(const s_asker_t *self)
{
    bench_grid_t grid = s_grid(self, S_STATE_OF_CHARGE, UINT32_MAX, 1);
    grid.every_ms = self->data->last_ms - self->data->first_ms + 1;
    grid.bucket_count = 1;
    const busbar_query_t query = {.metrics = &bench_metric_names[S_STATE_OF_CHARGE],
                                  .metric_count = 1};
    double ms = s_ask_grids(self, query, &grid, 1);
    return s_outcome(self, "wire_q4_ms", ms, ms >= 0, "every battery's minimum of one metric");
}

static bool s_ask_fleet(const s_asker_t *self)
{
    bench_grid_t grid = s_grid(self, S_POWER, UINT32_MAX, 300000);
    grid.is_fleet = true;
    const busbar_query_t query = {.metrics = &bench_metric_names[S_POWER],
                                  .metric_count = 1,
                                  .every_ns = 300 * BUSBAR_SECOND,
                                  .group_by_none = true};
    double ms = s_ask_grids(self, query, &grid, 1);
    return s_outcome(self, "wire_q5_ms", ms, ms >= 0,
                     "the fleet's mean of one metric per 5 minutes");
}

// ---- Q6: who is low? -------------------------------------------------------------------------

static bool s_ask_low(const s_asker_t *self)
{
    const int64_t from_ms = self->data->last_ms - 10000;
    const busbar_query_t query = {.mode = BUSBAR_LAST,
                                  .metrics = &bench_metric_names[S_STATE_OF_CHARGE],
                                  .metric_count = 1,
                                  .from_ns = from_ms * BB_NS_PER_MS,
                                  .compare = BUSBAR_COMPARE_BELOW,
                                  .threshold = 20};
    s_newest_t check = {self->data, bb_alloc_zero(self->data->battery_count, sizeof *check.newest),
                        0};
    uint32_t wanted = 0;
    char note[80];
    bench_oracle_newest(self->data, check.newest);
    for (uint32_t b = 0; b < self->data->battery_count; b++) {
        const bench_frame_t *frame = check.newest[b];
        if (frame && frame->time_ms >= from_ms && frame->values[S_STATE_OF_CHARGE] < 20) {
            wanted++;
        } else {
            check.newest[b] = NULL;
        }
    }
    double ms = s_ask_ms(self->client, &query, s_take_newest, &check, self->fault);
    free(check.newest);
    snprintf(note, sizeof note, "batteries under 20 %% in the last 10 s, %u of %u", wanted,
             self->data->battery_count);
    return s_outcome(self, "wire_q6_ms", ms, ms >= 0 && check.rows == wanted, note);
}

bool bench_wire(busbar_client_t *client, const bench_data_t *data, const char *suffix,
                FILE *results)
{
    busbar_fault_t fault = {0};
    const s_asker_t self = {client, data, suffix, results, &fault};
    const int64_t from_ns = data->first_ms * BB_NS_PER_MS;
    const int64_t to_ns = (data->last_ms + 1) * BB_NS_PER_MS;
    bool good = s_ask_newest(&self);
    good = s_ask_raw(&self, from_ns, to_ns) && good;
    good = s_ask_minutes(&self) && good;
    good = s_ask_minima(&self) && good;
    good = s_ask_fleet(&self) && good;
    good = s_ask_low(&self) && good;
    good = s_ask_totals(&self, from_ns, to_ns, 0) && good;
    return s_ask_totals(&self, from_ns, to_ns, BENCH_DECODE_EVERY_NS) && good;
}

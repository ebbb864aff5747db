// SPDX-License-Identifier: Apache-2.0
// What the answers must be, by looking at every raw frame.
#include <math.h>
#include <string.h>

#include "protocol/bb_value.h"
#include "tests/bench/bench.h"

void bench_oracle_newest(const bench_data_t *data, const bench_frame_t **newest)
{
    memset(newest, 0, data->battery_count * sizeof *newest);
    for (uint64_t i = 0; i < data->frame_count; i++) {
        const bench_frame_t *frame = &data->frames[i], **known = &newest[frame->battery];
        if (!*known || (*known)->time_ms <= frame->time_ms) {
            *known = frame;
        }
    }
}

uint64_t bench_fingerprint(int64_t time_wall_ns, double value)
{
    uint64_t mixed = (uint64_t)time_wall_ns * UINT64_C(0x9e3779b97f4a7c15);
    mixed ^= bb_bits_of_double(value);
    mixed = (mixed ^ mixed >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    return mixed ^ mixed >> 29;
}

bench_series_t bench_oracle_series(const bench_data_t *data, uint32_t battery, uint32_t metric)
{
    bench_series_t series = {0};
    for (uint64_t i = 0; i < data->frame_count; i++) {
        const bench_frame_t *frame = &data->frames[i];
        if (frame->battery == battery) {
            series.rows++;
            series.fingerprint +=
                bench_fingerprint(frame->time_ms * BB_NS_PER_MS, frame->values[metric]);
        }
    }
    return series;
}

void bench_total_clear(bench_total_t *total)
{
    *total = (bench_total_t){.min = INFINITY, .max = -INFINITY};
}

void bench_totals_clear(bench_total_t totals[BENCH_METRICS])
{
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        bench_total_clear(&totals[m]);
    }
}

void bench_total_add(bench_total_t *total, uint64_t count, double min, double max, double sum)
{
    total->count += count;
    total->min = fmin(total->min, min);
    total->max = fmax(total->max, max);
    total->sum += sum;
    total->size += fabs(sum);
}

void bench_oracle_totals(const bench_data_t *data, bench_total_t totals[BENCH_METRICS])
{
    bench_totals_clear(totals);
    for (uint64_t i = 0; i < data->frame_count; i++) {
        for (uint32_t m = 0; m < BENCH_METRICS; m++) {
            double value = data->frames[i].values[m];
            bench_total_add(&totals[m], 1, value, value, value);
        }
    }
}

bool bench_total_is_equal(const bench_total_t *got, const bench_total_t *want)
{
    return got->count == want->count && got->min == want->min && got->max == want->max &&
           fabsl(got->sum - want->sum) <= 1e-12L * want->size;
}

bool bench_totals_are_equal(const bench_total_t got[BENCH_METRICS],
                            const bench_total_t want[BENCH_METRICS])
{
    bool good = true;
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        good = good && bench_total_is_equal(&got[m], &want[m]);
    }
    return good;
}

void bench_oracle_grid(const bench_data_t *data, const bench_grid_t *grid, bench_total_t *totals)
{
    for (uint64_t i = 0; i < data->frame_count; i++) {
        const bench_frame_t *frame = &data->frames[i];
        if (grid->battery != UINT32_MAX && frame->battery != grid->battery) {
            continue;
        }
        int64_t bucket = (frame->time_ms - grid->first_ms) / grid->every_ms;
        BB_ASSERT(bucket >= 0 && bucket < grid->bucket_count);
        size_t row = grid->is_fleet ? 0 : frame->battery;
        double value = frame->values[grid->metric];
        bench_total_t *total = &totals[row * grid->bucket_count + (size_t)bucket];
        if (total->count == 0) {
            bench_total_clear(total);
        }
        bench_total_add(total, 1, value, value, value);
    }
}

uint32_t bench_metric_of(const char *name, size_t length)
{
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        if (strlen(bench_metric_names[m]) == length &&
            memcmp(bench_metric_names[m], name, length) == 0) {
            return m;
        }
    }
    return BENCH_METRICS;
}

uint32_t bench_battery_of(const bench_data_t *data, const char *id, size_t length)
{
    uint32_t battery = 0;
    if (length != 7 || id[0] != 'b') {
        return UINT32_MAX;
    }
    for (size_t i = 1; i < length; i++) {
        if (id[i] < '0' || id[i] > '9') {
            return UINT32_MAX;
        }
        battery = battery * 10 + (uint32_t)(id[i] - '0');
    }
    return battery < data->battery_count ? battery : UINT32_MAX;
}

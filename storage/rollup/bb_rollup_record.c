// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_rollup_record.h"

#include <stdlib.h>
#include <string.h>

enum {
    S_COUNT,
    S_SUM_HIGH,
    S_SUM_LOW,
    S_MIN,
    S_MAX,
    S_FIRST,
    S_LAST,
    S_FIRST_TIME,
    S_LAST_TIME,
    S_FIELD_COUNT,
};

static bb_type_t s_field_type(uint32_t field, bb_type_t type)
{
    if (field == S_SUM_HIGH || field == S_SUM_LOW) {
        return BB_TYPE_FLOAT64;
    }
    return field >= S_MIN && field <= S_LAST ? type : BB_TYPE_INT64;
}

static uint64_t s_field(const bb_block_stats_t *stats, uint32_t field)
{
    switch (field) {
    case S_COUNT:
        return stats->count;
    case S_SUM_HIGH:
        return bb_bits_of_double(stats->sum.high);
    case S_SUM_LOW:
        return bb_bits_of_double(stats->sum.low);
    case S_MIN:
        return stats->min;
    case S_MAX:
        return stats->max;
    case S_FIRST:
        return stats->first;
    case S_LAST:
        return stats->last;
    case S_FIRST_TIME:
        return (uint64_t)stats->first_wall_ns;
    default:
        return (uint64_t)stats->last_wall_ns;
    }
}

static void s_set_field(bb_block_stats_t *stats, uint32_t field, uint64_t bits)
{
    switch (field) {
    case S_COUNT:
        stats->count = bits;
        break;
    case S_SUM_HIGH:
        stats->sum.high = bb_double_of_bits(bits);
        break;
    case S_SUM_LOW:
        stats->sum.low = bb_double_of_bits(bits);
        break;
    case S_MIN:
        stats->min = bits;
        break;
    case S_MAX:
        stats->max = bits;
        break;
    case S_FIRST:
        stats->first = bits;
        break;
    case S_LAST:
        stats->last = bits;
        break;
    case S_FIRST_TIME:
        stats->first_wall_ns = (int64_t)bits;
        break;
    default:
        stats->last_wall_ns = (int64_t)bits;
        break;
    }
}

// ---- writing ---------------------------------------------------------------------------------
static int s_compare_times(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int s_compare_series(const void *a, const void *b)
{
    const bb_rollup_series_t *left = *(const bb_rollup_series_t *const *)a;
    const bb_rollup_series_t *right = *(const bb_rollup_series_t *const *)b;
    if (left->metric != right->metric) {
        return left->metric < right->metric ? -1 : 1;
    }
    return (int)left->type - (int)right->type;
}

// All starts of pieces, ascending and unique.
static uint32_t s_rows(const bb_rollup_series_t *const *series, uint32_t series_count,
                       int64_t **times)
{
    size_t total = 0;
    for (uint32_t i = 0; i < series_count; i++) {
        total += series[i]->count;
    }
    *times = bb_alloc((total + 1) * sizeof **times);
    size_t count = 0;
    for (uint32_t i = 0; i < series_count; i++) {
        for (uint32_t j = 0; j < series[i]->count; j++) {
            if (series[i]->items[j].stats.count > 0) {
                (*times)[count++] = series[i]->items[j].start_wall_ns;
            }
        }
    }
    qsort(*times, count, sizeof **times, s_compare_times);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || (*times)[kept - 1] != (*times)[i]) {
            (*times)[kept++] = (*times)[i];
        }
    }
    return (uint32_t)kept;
}

// Fills the columns of one series; `values` has room for S_FIELD_COUNT * row_count.
static void s_columns(const bb_rollup_series_t *series, const int64_t *times, uint32_t row_count,
                      uint64_t *values, uint64_t *presence, bb_run_column_t *columns)
{
    uint32_t at = 0;
    uint32_t present = 0;
    for (uint32_t row = 0; row < row_count; row++) {
        while (at < series->count && series->items[at].stats.count == 0) {
            at++;
        }
        bool is_there = at < series->count && series->items[at].start_wall_ns == times[row];
        for (uint32_t f = 0; f < S_FIELD_COUNT; f++) {
            uint64_t bits = is_there ? s_field(&series->items[at].stats, f) : 0;
            values[(size_t)f * row_count + row] = bits;
        }
        presence[row / 64] |= (uint64_t)is_there << row % 64;
        at += is_there;
        present += is_there;
    }
    for (uint32_t f = 0; f < S_FIELD_COUNT; f++) {
        columns[f] = (bb_run_column_t){
            .metric = series->metric << 7 | (uint32_t)series->type << 4 | f,
            .type = s_field_type(f, series->type),
            .values = values + (size_t)f * row_count,
            .presence = present == row_count ? NULL : presence,
        };
    }
}

bb_slice_t bb_rollup_record_encode(bb_run_writer_t *writer, const bb_rollup_series_t *const *series,
                                   uint32_t series_count)
{
    const bb_rollup_series_t **sorted = bb_alloc((series_count + 1) * sizeof *sorted);
    uint32_t count = 0;
    for (uint32_t i = 0; i < series_count; i++) {
        if (series[i]->metric < BB_ROLLUP_METRICS_MAX && series[i]->count > 0) {
            sorted[count++] = series[i];
        }
    }
    qsort(sorted, count, sizeof *sorted, s_compare_series);
    int64_t *times = NULL;
    uint32_t row_count = s_rows(sorted, count, &times);
    bb_slice_t encoded = {0};
    if (row_count > 0) {
        size_t words = (row_count + 63) / 64;
        uint64_t *values = bb_alloc((size_t)count * S_FIELD_COUNT * row_count * sizeof *values);
        uint64_t *presence = bb_alloc_zero(count * words, sizeof *presence);
        bb_run_column_t *columns = bb_alloc((size_t)count * S_FIELD_COUNT * sizeof *columns);
        for (uint32_t i = 0; i < count; i++) {
            s_columns(sorted[i], times, row_count, values + (size_t)i * S_FIELD_COUNT * row_count,
                      presence + i * words, columns + (size_t)i * S_FIELD_COUNT);
        }
        bb_run_input_t input = {.row_count = row_count,
                                .times_wall_ns = times,
                                .column_count = count * S_FIELD_COUNT,
                                .columns = columns};
        encoded = bb_run_writer_encode(writer, &input);
        free(values);
        free(presence);
        free(columns);
    }
    free(times);
    free(sorted);
    return encoded;
}

// ---- reading ---------------------------------------------------------------------------------
// Reads the nine columns from `column` on into items by row; false: they are not those of a series.
static bool s_are_fields(const bb_run_t *run, uint32_t column)
{
    if (run->column_count - column < S_FIELD_COUNT) {
        return false;
    }
    uint32_t base = bb_run_column(run, column).metric;
    bb_type_t type = (bb_type_t)(base >> 4 & 7);
    for (uint32_t f = 0; f < S_FIELD_COUNT; f++) {
        bb_run_column_info_t info = bb_run_column(run, column + f);
        if ((base & 15) != 0 || !bb_type_is_valid(type) || info.metric != base + f ||
            info.type != s_field_type(f, type)) {
            return false;
        }
    }
    return true;
}

static bb_error_t s_read_block(const bb_run_t *run, uint32_t column, uint32_t block,
                               const int64_t *times, uint32_t battery, bb_rollup_set_t *set)
{
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    uint32_t rows = bb_run_block_rows(run, block);
    uint32_t base = bb_run_column(run, column).metric;
    bb_bucket_item_t *items = bb_alloc_zero(rows + 1, sizeof *items);
    bb_error_t error = BB_OK;
    for (uint32_t f = 0; f < S_FIELD_COUNT && error == BB_OK; f++) {
        bool all_present = true;
        error = bb_run_block_values(run, column + f, block, values, presence, &all_present);
        for (uint32_t row = 0; row < rows && error == BB_OK; row++) {
            if (all_present || (presence[row / 64] >> row % 64 & 1)) {
                s_set_field(&items[row].stats, f, values[row]);
            } else if (items[row].stats.count > 0) {
                error = BB_ERR_CORRUPT; // a piece has all fields or none
            }
        }
    }
    bb_rollup_series_t *series =
        error == BB_OK ? bb_rollup_set_series(set, battery, base >> 7, (bb_type_t)(base >> 4 & 7))
                       : NULL;
    for (uint32_t row = 0; row < rows && error == BB_OK; row++) {
        if (items[row].stats.count > 0) {
            items[row].start_wall_ns = times[row];
            bb_rollup_series_put(series, &items[row]);
        }
    }
    free(items);
    return error;
}

bb_error_t bb_rollup_record_decode(bb_slice_t record, uint32_t battery, const bool *metric_is_taken,
                                   uint32_t metric_count, bb_rollup_set_t *set, bb_fault_t *fault)
{
    // Texts are addresses into the bytes: they stay with the set.
    void *bytes = bb_arena_copy(&set->arena, record.data, record.length);
    bb_run_t run;
    bb_error_t error = bb_run_open(&run, bb_slice(bytes, record.length), fault);
    int64_t times[BB_BLOCK_ROWS_MAX];
    for (uint32_t block = 0; error == BB_OK && block < run.block_count; block++) {
        error = bb_run_block_times(&run, block, times);
        for (uint32_t c = 0; error == BB_OK && c < run.column_count; c += S_FIELD_COUNT) {
            if (!s_are_fields(&run, c)) {
                error = BB_ERR_CORRUPT;
                break;
            }
            uint32_t metric = bb_run_column(&run, c).metric >> 7;
            if (!metric_is_taken || (metric < metric_count && metric_is_taken[metric])) {
                error = s_read_block(&run, c, block, times, battery, set);
            }
        }
    }
    if (error != BB_OK && fault && fault->error == BB_OK) {
        return bb_fault_set(fault, error, "a rollup's record of %zu bytes is damaged",
                            record.length);
    }
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_rollup_record.h"

#include <stdlib.h>
#include <string.h>

enum {
    S_COUNT,
    S_SUM_LOW,
    S_SUM_HIGH,
    S_MIN,
    S_MAX,
    S_FIRST,
    S_LAST,
    S_FIRST_TIME,
    S_LAST_TIME,
    S_FIELD_COUNT, // that every piece has
    S_SUM_IN_FULL = S_FIELD_COUNT,
    S_FIELD_MAX,
};
static_assert(BB_SUM_BYTES_MAX <= BB_STATE_BYTES_MAX, "a sum fits into a text");

static bb_type_t s_field_type(uint32_t field, bb_type_t type)
{
    if (field == S_SUM_IN_FULL) {
        return BB_TYPE_STATE;
    }
    return field >= S_MIN && field <= S_LAST ? type : BB_TYPE_INT64;
}

// Two words say it all.
static bool s_is_short(const bb_sum_t *sum)
{
    return sum->flags == 0 && sum->decimals[2] == UINT64_C(0) - (sum->decimals[1] >> 63);
}

static uint64_t s_field(const bb_block_stats_t *stats, uint32_t field)
{
    switch (field) {
    case S_COUNT:
        return stats->count;
    case S_SUM_LOW:
        return s_is_short(&stats->sum) ? stats->sum.decimals[0] : 0;
    case S_SUM_HIGH:
        return s_is_short(&stats->sum) ? stats->sum.decimals[1] : 0;
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

// False: it cannot have been written.
static bool s_set_sum_in_full(bb_sum_t *sum, const bb_text_t *text)
{
    const uint8_t *at = (const uint8_t *)text->bytes;
    const uint8_t *limit = at + text->length;
    return sum->decimals[0] == 0 && sum->decimals[1] == 0 &&
           bb_sum_decode(sum, &at, limit) == BB_OK && at == limit && !s_is_short(sum);
}

static bool s_set_field(bb_block_stats_t *stats, uint32_t field, uint64_t bits)
{
    switch (field) {
    case S_COUNT:
        stats->count = bits;
        break;
    case S_SUM_LOW:
        stats->sum.decimals[0] = bits;
        break;
    case S_SUM_HIGH:
        stats->sum.decimals[1] = bits;
        stats->sum.decimals[2] = UINT64_C(0) - (bits >> 63);
        break;
    case S_SUM_IN_FULL:
        return s_set_sum_in_full(&stats->sum, bb_text_of_bits(bits));
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
    return true;
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

// What is filled for one series at a time.
typedef struct {
    const int64_t *times; // of the rows
    uint32_t row_count;
    bb_arena_t arena; // values, presence, texts
    bb_run_column_t *columns;
    uint32_t column_count;
} s_table_t;

static uint64_t s_text_of(s_table_t *self, const bb_sum_t *sum)
{
    uint8_t bytes[BB_SUM_BYTES_MAX];
    size_t length = bb_sum_encode(sum, bytes);
    bb_text_t *text = bb_arena_alloc(&self->arena, sizeof *text + length);
    text->length = (uint32_t)length;
    memcpy(text->bytes, bytes, length);
    return (uint64_t)(uintptr_t)text;
}

static uint64_t *s_words(s_table_t *self, size_t count)
{
    uint64_t *words = bb_arena_alloc(&self->arena, count * sizeof *words);
    memset(words, 0, count * sizeof *words);
    return words;
}

static void s_add_columns(s_table_t *self, const bb_rollup_series_t *series)
{
    uint64_t *values[S_FIELD_MAX];
    uint64_t *presence = s_words(self, (self->row_count + 63) / 64);
    uint64_t *in_full = s_words(self, (self->row_count + 63) / 64); // whose sum is
    for (uint32_t f = 0; f < S_FIELD_MAX; f++) {
        values[f] = s_words(self, self->row_count);
    }
    uint32_t at = 0;
    uint32_t present = 0;
    uint32_t in_full_count = 0;
    for (uint32_t row = 0; row < self->row_count; row++) {
        while (at < series->count && series->items[at].stats.count == 0) {
            at++;
        }
        if (at == series->count || series->items[at].start_wall_ns != self->times[row]) {
            continue;
        }
        const bb_block_stats_t *stats = &series->items[at++].stats;
        for (uint32_t f = 0; f < S_FIELD_COUNT; f++) {
            values[f][row] = s_field(stats, f);
        }
        presence[row / 64] |= UINT64_C(1) << row % 64;
        present++;
        if (!s_is_short(&stats->sum)) {
            values[S_SUM_IN_FULL][row] = s_text_of(self, &stats->sum);
            in_full[row / 64] |= UINT64_C(1) << row % 64;
            in_full_count++;
        }
    }
    for (uint32_t f = 0; f < (in_full_count > 0 ? S_FIELD_MAX : S_FIELD_COUNT); f++) {
        bool is_in_full = f == S_SUM_IN_FULL;
        bool has_all = (is_in_full ? in_full_count : present) == self->row_count;
        self->columns[self->column_count++] = (bb_run_column_t){
            .metric = series->metric << 7 | (uint32_t)series->type << 4 | f,
            .type = s_field_type(f, series->type),
            .values = values[f],
            .presence = has_all      ? NULL
                        : is_in_full ? in_full
                                     : presence,
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
        s_table_t table = {.times = times, .row_count = row_count};
        table.columns = bb_alloc((size_t)count * S_FIELD_MAX * sizeof *table.columns);
        for (uint32_t i = 0; i < count; i++) {
            s_add_columns(&table, sorted[i]);
        }
        bb_run_input_t input = {.row_count = row_count,
                                .times_wall_ns = times,
                                .column_count = table.column_count,
                                .columns = table.columns};
        encoded = bb_run_writer_encode(writer, &input);
        free(table.columns);
        bb_arena_free(&table.arena);
    }
    free(times);
    free(sorted);
    return encoded;
}

// ---- reading ---------------------------------------------------------------------------------
// How many columns from `column` on are those of one series; 0: they are not as they are written.
static uint32_t s_count_fields(const bb_run_t *run, uint32_t column)
{
    uint32_t left = run->column_count - column;
    uint32_t base = bb_run_column(run, column).metric;
    bb_type_t type = (bb_type_t)(base >> 4 & 7);
    if (left < S_FIELD_COUNT || (base & 15) != 0 || !bb_type_is_valid(type)) {
        return 0;
    }
    uint32_t count = 0;
    while (count < BB_MIN(left, S_FIELD_MAX) &&
           bb_run_column(run, column + count).metric == base + count) {
        if (bb_run_column(run, column + count).type != s_field_type(count, type)) {
            return 0;
        }
        count++;
    }
    return count >= S_FIELD_COUNT ? count : 0;
}

static bb_error_t s_read_block(const bb_run_t *run, uint32_t column, uint32_t field_count,
                               uint32_t block, const int64_t *times, uint32_t battery,
                               bb_rollup_set_t *set)
{
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    uint32_t rows = bb_run_block_rows(run, block);
    uint32_t base = bb_run_column(run, column).metric;
    bb_bucket_item_t *items = bb_alloc_zero(rows + 1, sizeof *items);
    bb_error_t error = BB_OK;
    for (uint32_t f = 0; f < field_count && error == BB_OK; f++) {
        bool all_present = true;
        error = bb_run_block_values(run, column + f, block, values, presence, &all_present);
        for (uint32_t row = 0; row < rows && error == BB_OK; row++) {
            bool is_there = all_present || (presence[row / 64] >> row % 64 & 1);
            // A piece has all fields or none, but for its sum in full.
            if (is_there ? !s_set_field(&items[row].stats, f, values[row])
                         : f != S_SUM_IN_FULL && items[row].stats.count > 0) {
                error = BB_ERR_CORRUPT;
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
        uint32_t field_count = 0;
        for (uint32_t c = 0; error == BB_OK && c < run.column_count; c += field_count) {
            field_count = s_count_fields(&run, c);
            if (field_count == 0) {
                error = BB_ERR_CORRUPT;
                break;
            }
            uint32_t metric = bb_run_column(&run, c).metric >> 7;
            if (!metric_is_taken || (metric < metric_count && metric_is_taken[metric])) {
                error = s_read_block(&run, c, field_count, block, times, battery, set);
            }
        }
    }
    if (error != BB_OK && fault && fault->error == BB_OK) {
        return bb_fault_set(fault, error, "a rollup's record of %zu bytes is damaged",
                            record.length);
    }
    return error;
}

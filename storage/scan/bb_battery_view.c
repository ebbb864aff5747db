// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_battery_view.h"

#include <stdlib.h>
#include <string.h>

// Times of so many rows of one battery are kept decoded for all its metrics.
#define S_CACHED_ROWS_MAX (4u << 20)

void bb_battery_view_init(bb_battery_view_t *self, bb_snapshot_t *snapshot, int64_t from_wall_ns,
                          int64_t to_wall_ns, bool has_quarantine)
{
    *self = (bb_battery_view_t){
        .snapshot = snapshot,
        .from_wall_ns = from_wall_ns,
        .to_wall_ns = to_wall_ns,
        .has_quarantine = has_quarantine,
        .block_times = bb_alloc(BB_BLOCK_ROWS_MAX * sizeof(int64_t)),
    };
}

void bb_battery_view_free(bb_battery_view_t *self)
{
    free(self->runs);
    free(self->rows);
    free(self->series);
    free(self->block_times);
    bb_arena_free(&self->arena);
    *self = (bb_battery_view_t){0};
}

void bb_battery_view_note_damage(bb_battery_view_t *self, const bb_view_run_t *run)
{
    self->is_damaged = true;
    self->snapshot->windows[run->window].is_damaged = true;
}

// ---- frames of the head ----------------------------------------------------------------------
typedef struct {
    int64_t time_wall_ns;
    const uint64_t *values;
} s_frame_t;

static int s_compare_frames(const void *a, const void *b)
{
    int64_t left = ((const s_frame_t *)a)->time_wall_ns;
    int64_t right = ((const s_frame_t *)b)->time_wall_ns;
    return (left > right) - (left < right);
}

// Frames arrived in another order than that of their times.
static void s_sort(bb_battery_view_t *self, bb_view_rows_t *rows)
{
    (void)self;
    s_frame_t *frames = bb_alloc((rows->count + 1) * sizeof *frames);
    for (uint32_t i = 0; i < rows->count; i++) {
        frames[i] = (s_frame_t){rows->times[i], rows->values[i]};
    }
    qsort(frames, rows->count, sizeof *frames, s_compare_frames);
    for (uint32_t i = 0; i < rows->count; i++) {
        rows->times[i] = frames[i].time_wall_ns;
        rows->values[i] = frames[i].values;
    }
    free(frames);
}

static bb_view_rows_t *s_new_rows(bb_battery_view_t *self, const bb_head_rows_t *source,
                                  uint64_t count_max)
{
    if (self->rows_count == self->rows_capacity) {
        self->rows_capacity = self->rows_capacity ? self->rows_capacity * 2 : 8;
        self->rows = bb_realloc(self->rows, self->rows_capacity * sizeof *self->rows);
    }
    bb_view_rows_t *rows = &self->rows[self->rows_count];
    *rows = (bb_view_rows_t){
        .shape = source->shape,
        .revision = source->revision,
        .is_quarantine = source->is_quarantined,
        .times = bb_arena_alloc(&self->arena, count_max * sizeof *rows->times),
        .values = bb_arena_alloc(&self->arena, count_max * sizeof *rows->values),
    };
    return rows;
}

// Decodes frames [first, first + count) of the piece: only the metrics that are wanted.
static void s_add_frames(bb_battery_view_t *self, bb_view_rows_t *rows,
                         const bb_head_piece_t *piece, uint32_t first, uint32_t count)
{
    uint32_t width = rows->shape->metric_count;
    uint64_t *words = bb_arena_alloc(&self->arena, ((size_t)width + 1) * count * sizeof *words);
    uint64_t *column = words + (size_t)width * count;
    for (uint32_t m = 0; m < width; m++) {
        if (!bb_snapshot_wants(self->snapshot, rows->shape->metrics[m])) {
            continue;
        }
        bb_head_values(piece, m, first, count, column);
        for (uint32_t i = 0; i < count; i++) {
            words[(size_t)i * width + m] = column[i];
        }
    }
    const int64_t *times = piece->block->times_wall_ns + piece->first + first;
    for (uint32_t i = 0; i < count; i++) {
        rows->times[rows->count] = times[i];
        rows->values[rows->count++] = words + (size_t)i * width;
    }
}

static void s_add_piece(bb_battery_view_t *self, bb_view_rows_t *rows, const bb_head_piece_t *piece,
                        int64_t from_wall_ns, int64_t to_wall_ns)
{
    const int64_t *times = piece->block->times_wall_ns + piece->first;
    uint32_t next = 0;
    while (next < piece->count) {
        uint32_t begin = next;
        while (next < piece->count && times[next] >= from_wall_ns && times[next] < to_wall_ns) {
            next++;
        }
        if (next > begin) {
            s_add_frames(self, rows, piece, begin, next - begin);
        } else {
            next++;
        }
    }
}

static void s_add_rows(bb_battery_view_t *self, const bb_head_rows_t *source, int64_t from_wall_ns,
                       int64_t to_wall_ns)
{
    bb_view_rows_t *rows = s_new_rows(self, source, source->row_count);
    const bb_head_slab_t *slab = source->slabs;
    for (uint32_t i = 0, at = 0; i < source->piece_count; i++, at++) {
        if (at == slab->capacity) {
            slab = slab->next; // only now: the owner sets it before it publishes more pieces
            at = 0;
        }
        s_add_piece(self, rows, &slab->pieces[at], from_wall_ns, to_wall_ns);
    }
    if (!source->is_ascending) {
        s_sort(self, rows);
    }
    self->rows_count += rows->count > 0;
}

// The last row of an ascending group, without decoding the others.
static void s_add_last_row(bb_battery_view_t *self, const bb_head_rows_t *source)
{
    const bb_head_slab_t *slab = source->slabs;
    uint32_t left = source->piece_count;
    while (left > slab->capacity) {
        left -= slab->capacity;
        slab = slab->next;
    }
    const bb_head_piece_t *piece = &slab->pieces[left - 1];
    s_add_frames(self, s_new_rows(self, source, 1), piece, piece->count - 1, 1);
    self->rows_count++;
}

void bb_battery_view_begin(bb_battery_view_t *self, const bb_snapshot_battery_t *battery,
                           bool only_newest)
{
    self->battery = battery;
    self->is_damaged = false;
    self->rows_count = 0;
    self->series_count = 0;
    bb_arena_reset(&self->arena);
    bb_battery_view_forget_runs(self);
    for (uint32_t i = 0; i < battery->rows_count; i++) {
        const bb_head_rows_t *rows = &self->snapshot->rows[battery->rows_first + i];
        if (only_newest && rows->is_ascending) {
            s_add_last_row(self, rows);
        } else if (only_newest) {
            s_add_rows(self, rows, rows->last_wall_ns, rows->last_wall_ns + 1);
        } else {
            s_add_rows(self, rows, self->from_wall_ns, self->to_wall_ns);
        }
    }
}

// ---- runs ------------------------------------------------------------------------------------
void bb_battery_view_forget_runs(bb_battery_view_t *self)
{
    self->run_count = 0;
    self->cached_rows = 0;
    self->block_times_run = NULL;
}

static void s_add_run(bb_battery_view_t *self, uint32_t window_index, bb_slice_t value)
{
    bb_snapshot_window_t *window = &self->snapshot->windows[window_index];
    bb_view_run_t run = {
        .day = window->day,
        .window = window_index,
        .is_quarantine = window->is_quarantine,
    };
    if (bb_run_open(&run.run, value, NULL) != BB_OK) {
        bb_battery_view_note_damage(self, &run);
        return;
    }
    if (run.run.last_wall_ns < self->from_wall_ns || run.run.first_wall_ns >= self->to_wall_ns) {
        return;
    }
    if (self->run_count == self->run_capacity) {
        self->run_capacity = self->run_capacity ? self->run_capacity * 2 : 16;
        self->runs = bb_realloc(self->runs, self->run_capacity * sizeof *self->runs);
    }
    self->runs[self->run_count++] = run;
}

void bb_battery_view_load(bb_battery_view_t *self, uint32_t window_index)
{
    bb_snapshot_t *snapshot = self->snapshot;
    bb_snapshot_window_t *window = &snapshot->windows[window_index];
    if (bb_snapshot_window_open(snapshot, window_index) != BB_OK ||
        bb_snapshot_is_quarantined(window, self->battery->number)) {
        self->is_damaged = true;
        window->is_damaged = true;
        return;
    }
    self->is_damaged |= window->is_quarantined;
    bb_segment_cursor_seek(window->cursor, self->battery->partition, self->battery->number);
    bb_slice_t value;
    bb_error_t error = bb_segment_cursor_next(window->cursor, &value);
    while (error != BB_ERR_NOT_FOUND) {
        if (error == BB_OK) {
            s_add_run(self, window_index, value);
        } else {
            self->is_damaged = true;
            window->is_damaged = true;
        }
        error = bb_segment_cursor_next(window->cursor, &value);
    }
}

const int64_t *bb_battery_view_times(bb_battery_view_t *self, bb_view_run_t *run,
                                     uint32_t block_index)
{
    if (!run->times && self->cached_rows + run->run.row_count <= S_CACHED_ROWS_MAX) {
        self->cached_rows += run->run.row_count;
        run->times = bb_arena_alloc(&self->arena, run->run.row_count * sizeof *run->times);
        run->has_times = bb_arena_alloc(&self->arena, run->run.block_count);
        memset(run->has_times, 0, run->run.block_count);
    }
    int64_t *times = self->block_times;
    if (run->times) {
        times = run->times + bb_run_block_first(&run->run, block_index);
        if (run->has_times[block_index]) {
            return times;
        }
    } else if (self->block_times_run == run->run.encoded.data &&
               self->block_times_index == block_index) {
        return times;
    }
    self->block_times_run = NULL;
    if (bb_run_block_times(&run->run, block_index, times) != BB_OK) {
        bb_battery_view_note_damage(self, run);
        return NULL;
    }
    if (run->times) {
        run->has_times[block_index] = 1;
    } else {
        self->block_times_run = run->run.encoded.data;
        self->block_times_index = block_index;
    }
    return times;
}

// ---- series ----------------------------------------------------------------------------------
void bb_battery_view_add_series(bb_battery_view_t *self, uint32_t metric, bb_type_t type)
{
    if (!bb_snapshot_wants(self->snapshot, metric)) {
        return;
    }
    if (self->series_count == self->series_capacity) {
        self->series_capacity = self->series_capacity ? self->series_capacity * 2 : 32;
        self->series = bb_realloc(self->series, self->series_capacity * sizeof *self->series);
    }
    self->series[self->series_count++] = (bb_view_series_t){metric, type};
}

static int s_compare_series(const void *a, const void *b, void *context)
{
    const bb_snapshot_t *snapshot = context;
    const bb_view_series_t *left = a;
    const bb_view_series_t *right = b;
    if (left->metric != right->metric) {
        return snapshot->metric_ranks[left->metric] < snapshot->metric_ranks[right->metric] ? -1
                                                                                            : 1;
    }
    return (left->type > right->type) - (left->type < right->type);
}

void bb_battery_view_sort_series(bb_battery_view_t *self)
{
    if (self->series_count == 0) {
        return;
    }
    qsort_r(self->series, self->series_count, sizeof *self->series, s_compare_series,
            self->snapshot);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < self->series_count; i++) {
        if (s_compare_series(&self->series[kept - 1], &self->series[i], self->snapshot) != 0) {
            self->series[kept++] = self->series[i];
        }
    }
    self->series_count = kept;
}

void bb_battery_view_list_series(bb_battery_view_t *self)
{
    self->series_count = 0;
    const bb_head_shape_t *before = NULL;
    for (uint32_t i = 0; i < self->rows_count; i++) {
        const bb_view_rows_t *rows = &self->rows[i];
        if (rows->shape != before && rows->is_quarantine == self->has_quarantine) {
            for (uint32_t m = 0; m < rows->shape->metric_count; m++) {
                bb_battery_view_add_series(self, rows->shape->metrics[m],
                                           (bb_type_t)rows->shape->types[m]);
            }
            before = rows->shape;
        }
    }
    const bb_view_run_t *last = NULL;
    for (uint32_t i = 0; i < self->run_count; i++) {
        const bb_view_run_t *run = &self->runs[i];
        if (run->is_quarantine != self->has_quarantine) {
            continue; // what is in quarantine decides which series a quarantine query has
        }
        bool is_repeated = last && last->run.column_count == run->run.column_count;
        for (uint32_t c = 0; c < run->run.column_count; c++) {
            bb_run_column_info_t column = bb_run_column(&run->run, c);
            if (is_repeated) {
                bb_run_column_info_t other = bb_run_column(&last->run, c);
                is_repeated = other.metric == column.metric && other.type == column.type;
            }
            if (!is_repeated) {
                bb_battery_view_add_series(self, column.metric, column.type);
            }
        }
        last = run;
    }
    bb_battery_view_sort_series(self);
}

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
        .gather = bb_head_gather_new(),
    };
    bb_head_gather_want(self->gather, snapshot->metric_is_wanted, snapshot->metric_count);
}

void bb_battery_view_free(bb_battery_view_t *self)
{
    free(self->runs);
    free(self->rows);
    free(self->series);
    free(self->block_times);
    free(self->scratch);
    bb_head_gather_destroy(&self->gather);
    free(self->like_columns);
    free(self->like_series);
    bb_marker_cut_destroy(&self->marker_cut);
    bb_arena_free(&self->cut_rows);
    bb_arena_free(&self->arena);
    *self = (bb_battery_view_t){0};
}

void bb_battery_view_note_damage(bb_battery_view_t *self, const bb_view_run_t *run)
{
    self->is_damaged = true;
    self->snapshot->windows[run->window].is_damaged = true;
}

// ---- frames of the head ----------------------------------------------------------------------
static void s_gather(bb_battery_view_t *self, const bb_head_rows_t *rows, bool is_newest,
                     uint64_t cells_max)
{
    if (is_newest && rows->is_ascending) {
        bb_head_gather_add_last(self->gather, rows, rows);
        return;
    }
    int64_t from_wall_ns = is_newest ? rows->last_wall_ns : self->from_wall_ns;
    int64_t to_wall_ns = is_newest ? rows->last_wall_ns + 1 : self->to_wall_ns;
    bb_head_place_t place = {0};
    bool is_done =
        bb_head_gather_add(self->gather, rows, rows, from_wall_ns, to_wall_ns, cells_max, &place);
    BB_ASSERT(is_done);
}

static bool s_has_room(const bb_battery_view_t *self, const bb_snapshot_battery_t *battery)
{
    for (uint32_t i = 0; i < battery->rows_count; i++) {
        // Each alone: a bound that many groups of one battery may pass together.
        if (!bb_head_gather_has_room(self->gather,
                                     &self->snapshot->rows[battery->rows_first + i])) {
            return false;
        }
    }
    return true;
}

// Decodes the battery's frames, and with them those of the batteries behind it as far as they fit:
// side by side they cost a tenth of what they would cost one by one.
static void s_read_ahead(bb_battery_view_t *self, uint32_t index, bool is_newest)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bb_head_gather_clear(self->gather);
    self->ahead_first = index;
    self->ahead_is_newest = is_newest;
    self->part_next = 0;
    uint32_t limit = index;
    while (limit < snapshot->battery_count &&
           (limit == index || s_has_room(self, &snapshot->batteries[limit]))) {
        const bb_snapshot_battery_t *battery = &snapshot->batteries[limit];
        for (uint32_t i = 0; i < battery->rows_count; i++) {
            s_gather(self, &snapshot->rows[battery->rows_first + i], is_newest, UINT64_MAX);
        }
        limit++;
    }
    self->ahead_limit = limit;
    bb_head_gather_decode(self->gather);
}

static void s_add_rows(bb_battery_view_t *self, const bb_view_rows_t *rows)
{
    if (self->rows_count == self->rows_capacity) {
        self->rows_capacity = self->rows_capacity ? self->rows_capacity * 2 : 8;
        self->rows = bb_realloc(self->rows, self->rows_capacity * sizeof *self->rows);
    }
    self->rows[self->rows_count++] = *rows;
}

// Does some marker name this metric, so that its column loses other rows than the rest?
static bool s_is_named(bb_marker_list_t markers, uint32_t metric)
{
    for (uint32_t i = 0; i < markers.count; i++) {
        if (markers.entries[i].metric == metric) {
            return true;
        }
    }
    return false;
}

// `columns` (positions in the shape), which lose the same rows, as frames of a shape of their own.
static void s_cut_columns(bb_battery_view_t *self, const bb_view_rows_t *rows,
                          const uint32_t *columns, uint32_t column_count)
{
    bb_arena_t *arena = &self->cut_rows;
    const bb_head_shape_t *from = rows->shape;
    uint32_t *metrics = bb_arena_alloc(arena, column_count * sizeof *metrics);
    uint8_t *types = bb_arena_alloc(arena, column_count);
    uint32_t *order = bb_arena_alloc(arena, column_count * sizeof *order);
    uint32_t places[BB_FRAME_METRICS_MAX];
    memset(places, 0xff, sizeof places);
    for (uint32_t c = 0; c < column_count; c++) {
        metrics[c] = from->metrics[columns[c]];
        types[c] = from->types[columns[c]];
        places[columns[c]] = c;
    }
    for (uint32_t i = 0, c = 0; i < from->metric_count; i++) {
        if (places[from->order[i]] != UINT32_MAX) {
            order[c++] = places[from->order[i]];
        }
    }
    uint32_t *kept = bb_arena_alloc(arena, rows->count * sizeof *kept);
    uint32_t count = 0;
    for (uint32_t row = 0; row < rows->count; row++) {
        kept[count] = row;
        count +=
            bb_marker_list_covers(self->markers, metrics[0], rows->revision, rows->times[row]) == 0;
    }
    if (count == 0) {
        return;
    }
    int64_t *times = bb_arena_alloc(arena, count * sizeof *times);
    uint64_t *values = bb_arena_alloc(arena, (size_t)column_count * count * sizeof *values);
    for (uint32_t i = 0; i < count; i++) {
        times[i] = rows->times[kept[i]];
        for (uint32_t c = 0; c < column_count; c++) {
            values[(size_t)c * count + i] =
                rows->values[(size_t)columns[c] * rows->count + kept[i]];
        }
    }
    bb_head_shape_t *shape = bb_arena_alloc(arena, sizeof *shape);
    *shape = (bb_head_shape_t){.metric_count = column_count,
                               .metrics = metrics,
                               .types = types,
                               .order = order,
                               .has_states = from->has_states};
    s_add_rows(self,
               &(bb_view_rows_t){shape, rows->revision, rows->is_quarantine, count, times, values});
}

// Frames without what was deleted of them: the columns of metrics that a marker names one by one,
// all others together.
static void s_cut_rows(bb_battery_view_t *self, const bb_view_rows_t *rows)
{
    const bb_head_shape_t *shape = rows->shape;
    uint32_t others[BB_FRAME_METRICS_MAX];
    uint32_t other_count = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        if (s_is_named(self->markers, shape->metrics[m])) {
            s_cut_columns(self, rows, &m, 1);
        } else {
            others[other_count++] = m;
        }
    }
    if (other_count > 0) {
        s_cut_columns(self, rows, others, other_count);
    }
}

// The parts of the battery become its rows.
static void s_take_rows(bb_battery_view_t *self)
{
    const bb_head_rows_t *first = self->snapshot->rows + self->battery->rows_first;
    const bb_head_rows_t *limit = first + self->battery->rows_count;
    uint32_t count;
    const bb_head_part_t *parts = bb_head_gather_parts(self->gather, &count);
    if (self->part_next > 0 && (const bb_head_rows_t *)parts[self->part_next - 1].owner >= first) {
        self->part_next = 0; // the battery again
    }
    while (self->part_next < count &&
           (const bb_head_rows_t *)parts[self->part_next].owner < first) {
        self->part_next++;
    }
    for (uint32_t p = self->part_next; p < count; p++) {
        const bb_head_part_t *part = &parts[p];
        const bb_head_rows_t *source = part->owner;
        if (source >= limit) {
            break;
        }
        if (!source->is_ascending) {
            bb_head_gather_sort(self->gather, part);
        }
        bb_view_rows_t rows = {
            .shape = source->shape,
            .revision = source->revision,
            .is_quarantine = source->is_quarantined,
            .count = part->row_count,
            .times = part->times_wall_ns,
            .values = part->values,
        };
        if (self->markers.count > 0 &&
            bb_marker_list_hits(self->markers, rows.revision, rows.times[0],
                                rows.times[rows.count - 1])) {
            s_cut_rows(self, &rows);
        } else {
            s_add_rows(self, &rows);
        }
    }
}

void bb_battery_view_begin(bb_battery_view_t *self, const bb_snapshot_battery_t *battery,
                           bool only_newest)
{
    self->battery = battery;
    self->is_damaged = false;
    self->rows_count = 0;
    self->series_count = 0;
    bb_battery_view_forget_runs(self);
    self->markers = (bb_marker_list_t){0};
    if (BB_UNLIKELY(self->snapshot->markers)) {
        self->markers = bb_markers_of(self->snapshot->markers, battery->number);
        bb_arena_reset(&self->cut_rows);
        only_newest = only_newest && self->markers.count == 0;
    }
    if (battery->rows_count == 0) {
        return;
    }
    uint32_t index = (uint32_t)(battery - self->snapshot->batteries);
    if (index < self->ahead_first || index >= self->ahead_limit ||
        self->ahead_is_newest != only_newest) {
        s_read_ahead(self, index, only_newest);
    }
    s_take_rows(self);
}

// ---- runs ------------------------------------------------------------------------------------
void bb_battery_view_forget_runs(bb_battery_view_t *self)
{
    self->run_count = 0;
    self->cached_rows = 0;
    bb_arena_reset(&self->arena);
    self->block_times_run = NULL;
}

// The run without what was deleted of it. False: nothing is left, or it is damaged, which is noted.
static bool s_cut_run(bb_battery_view_t *self, bb_view_run_t *run)
{
    bb_slice_t cut;
    if (!self->marker_cut) {
        self->marker_cut = bb_marker_cut_new();
    }
    bb_error_t error = bb_marker_cut_run(self->marker_cut, self->markers, &run->run, &cut);
    if (error == BB_OK && cut.length > 0) {
        cut = bb_slice(bb_arena_copy(&self->arena, cut.data, cut.length), cut.length);
        error = bb_run_open(&run->run, cut, NULL);
    }
    if (error != BB_OK) {
        bb_battery_view_note_damage(self, run);
    }
    return error == BB_OK && cut.length > 0;
}

static void s_add_run(bb_battery_view_t *self, uint32_t window_index, bb_slice_t value)
{
    bb_snapshot_window_t *window = &self->snapshot->windows[window_index];
    bb_view_run_t run = {
        .day = window->day,
        .window = window_index,
        .is_quarantine = window->is_quarantine,
    };
    if (bb_segment_cursor_open_run(window->cursor, value, &run.run, NULL) != BB_OK) {
        bb_battery_view_note_damage(self, &run);
        return;
    }
    if (run.run.last_wall_ns < self->from_wall_ns || run.run.first_wall_ns >= self->to_wall_ns) {
        return;
    }
    if (bb_marker_cut_is_needed(self->markers, &run.run) && !s_cut_run(self, &run)) {
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

static bool s_cut(bb_battery_view_t *self, bb_view_run_t *run, uint32_t block_index,
                  int64_t every_ns)
{
    if (!self->scratch) {
        self->scratch = bb_alloc(sizeof *self->scratch);
    }
    if (!bb_run_block_cut(&run->run, block_index, every_ns, self->scratch)) {
        const int64_t *times = bb_battery_view_times(self, run, block_index);
        if (!times) {
            return false;
        }
        bb_times_cut_decoded(times, bb_run_block_rows(&run->run, block_index), every_ns,
                             self->scratch);
    }
    return true;
}

const bb_view_cuts_t *bb_battery_view_cuts(bb_battery_view_t *self, bb_view_run_t *run,
                                           uint32_t block_index, int64_t every_ns)
{
    if (run->cuts && run->cuts[block_index].count > 0) {
        return &run->cuts[block_index];
    }
    if (!run->cuts && self->cached_rows + run->run.row_count <= S_CACHED_ROWS_MAX) {
        self->cached_rows += run->run.row_count;
        size_t bytes = run->run.block_count * sizeof *run->cuts;
        run->cuts = bb_arena_alloc(&self->arena, bytes);
        memset(run->cuts, 0, bytes);
    }
    if (!s_cut(self, run, block_index, every_ns)) {
        return NULL;
    }
    const bb_times_cuts_t *made = self->scratch;
    bb_view_cuts_t *cuts = &self->block_cuts;
    *cuts = (bb_view_cuts_t){made->count, made->starts, made->row_limits};
    if (run->cuts) {
        cuts = &run->cuts[block_index];
        *cuts = (bb_view_cuts_t){
            made->count,
            bb_arena_copy(&self->arena, made->starts, made->count * sizeof *made->starts),
            bb_arena_copy(&self->arena, made->row_limits, made->count * sizeof *made->row_limits),
        };
    }
    return cuts;
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

// Batteries are alike: a single run with the columns of the battery before gives its series.
static bool s_is_like_before(const bb_battery_view_t *self)
{
    if (self->rows_count > 0 || self->run_count != 1 ||
        self->runs[0].is_quarantine != self->has_quarantine ||
        self->runs[0].run.column_count != self->like_column_count) {
        return false;
    }
    for (uint32_t c = 0; c < self->like_column_count; c++) {
        bb_run_column_info_t column = bb_run_column(&self->runs[0].run, c);
        if (column.metric != self->like_columns[c].metric ||
            column.type != self->like_columns[c].type) {
            return false;
        }
    }
    return true;
}

static void s_remember(bb_battery_view_t *self)
{
    self->like_column_count = 0;
    if (self->rows_count > 0 || self->run_count != 1) {
        return;
    }
    const bb_run_t *run = &self->runs[0].run;
    self->like_column_count = run->column_count;
    self->like_columns =
        bb_realloc(self->like_columns, run->column_count * sizeof *self->like_columns);
    for (uint32_t c = 0; c < run->column_count; c++) {
        self->like_columns[c] = bb_run_column(run, c);
    }
    self->like_series_count = self->series_count;
    self->like_series =
        bb_realloc(self->like_series, (self->series_count + 1) * sizeof *self->like_series);
    if (self->series_count > 0) {
        memcpy(self->like_series, self->series, self->series_count * sizeof *self->series);
    }
}

void bb_battery_view_list_series(bb_battery_view_t *self)
{
    self->series_count = 0;
    if (s_is_like_before(self)) {
        for (uint32_t i = 0; i < self->like_series_count; i++) {
            bb_battery_view_add_series(self, self->like_series[i].metric,
                                       self->like_series[i].type);
        }
        return;
    }
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
    if (self->run_count == 1 && self->runs[0].is_quarantine == self->has_quarantine) {
        s_remember(self);
    }
}

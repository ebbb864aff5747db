// SPDX-License-Identifier: Apache-2.0
// Windows that are open at once. An environment costs a descriptor and gigabytes of address space,
// and a query may range over thousands of windows; so a scan goes from chunk to chunk of them.
//
//   windows    day 1   day 2   day 3   day 4   day 5 ...
//   chunks     [-------------- 0 -----][------ 1 ------ ...
//
// Points of different days never meet, so a series is what its chunks give, one after the other.
// What is of one battery goes through the chunks for each series; a group over all batteries
// through the batteries for each chunk. With a single chunk, which is the rule, nothing is closed.
#include <stdlib.h>

#include "storage/scan/bb_scan_state.h"

// Does the view look at times of that day?
static bool s_is_in_range(const bb_scan_t *self, const bb_snapshot_window_t *window)
{
    int64_t first_wall_ns = (int64_t)window->day * BB_NS_PER_DAY;
    return first_wall_ns < self->view.to_wall_ns &&
           first_wall_ns + BB_NS_PER_DAY > self->view.from_wall_ns;
}

void bb_scan_chunks_plan(bb_scan_t *self)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    self->chunks = bb_alloc_zero((size_t)snapshot->window_count + 1, sizeof *self->chunks);
    uint32_t next = 0;
    while (next < snapshot->window_count && !s_is_in_range(self, &snapshot->windows[next])) {
        next++;
    }
    int64_t from_wall_ns = self->view.from_wall_ns;
    do {
        uint32_t limit = bb_snapshot_window_limit(snapshot, next);
        bool is_last =
            limit == snapshot->window_count || !s_is_in_range(self, &snapshot->windows[limit]);
        int64_t to_wall_ns =
            is_last ? self->view.to_wall_ns : (int64_t)snapshot->windows[limit].day * BB_NS_PER_DAY;
        self->chunks[self->chunk_count++] = (bb_scan_chunk_t){.window_first = next,
                                                              .window_limit = limit,
                                                              .from_wall_ns = from_wall_ns,
                                                              .to_wall_ns = to_wall_ns};
        from_wall_ns = to_wall_ns;
        next = is_last ? snapshot->window_count : limit;
    } while (next < snapshot->window_count);
    self->chunk_limit = self->chunk_count;
    self->chunk_loaded = BB_SCAN_CHUNK_NONE;
}

void bb_scan_chunks_free(bb_scan_t *self)
{
    free(self->chunks);
    free(self->listed);
}

static void s_turn_to(bb_scan_t *self, uint32_t chunk)
{
    if (self->chunk_loaded == chunk) {
        return;
    }
    const bb_scan_chunk_t *to = &self->chunks[chunk];
    bb_battery_view_forget_runs(&self->view);
    self->text_read = NULL; // another text may come to lie at its address
    bool must_close = self->chunk_count > 1 && !to->has_no_runs;
    for (uint32_t w = 0; w < self->snapshot->window_count && must_close; w++) {
        if (w < to->window_first || w >= to->window_limit) {
            bb_snapshot_window_close(self->snapshot, w);
        }
    }
    for (uint32_t w = to->window_first; w < to->window_limit && !to->has_no_runs; w++) {
        if (s_is_in_range(self, &self->snapshot->windows[w])) {
            bb_battery_view_load(&self->view, w);
        }
    }
    self->chunk_loaded = chunk;
}

bool bb_scan_sweep_chunk(bb_scan_t *self, uint32_t chunk, const bb_view_series_t *series,
                         int64_t from_wall_ns, int64_t every_ns)
{
    BB_ASSERT(chunk >= self->chunk_first && chunk < self->chunk_limit);
    const bb_scan_chunk_t *at = &self->chunks[chunk];
    if (at->to_wall_ns <= from_wall_ns) {
        return false;
    }
    // Names that the caller borrowed of the view stay: only its runs change.
    s_turn_to(self, chunk);
    from_wall_ns = BB_MAX(from_wall_ns, at->from_wall_ns);
    bb_series_sweep_begin(self->sweep, &self->view, series->metric, series->type, from_wall_ns,
                          at->to_wall_ns, every_ns);
    return true;
}

// Series of several chunks: each has its own.
static void s_list_all(bb_scan_t *self)
{
    uint32_t count = 0;
    for (uint32_t c = self->chunk_first; c < self->chunk_limit; c++) {
        self->chunks[c].has_no_runs = false;
        s_turn_to(self, c);
        self->chunks[c].has_no_runs = self->view.run_count == 0;
        bb_battery_view_list_series(&self->view);
        if (count + self->view.series_count > self->listed_capacity) {
            self->listed_capacity = (count + self->view.series_count) * 2;
            self->listed = bb_realloc(self->listed, self->listed_capacity * sizeof *self->listed);
        }
        for (uint32_t i = 0; i < self->view.series_count; i++) {
            self->listed[count++] = self->view.series[i];
        }
    }
    self->view.series_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        bb_battery_view_add_series(&self->view, self->listed[i].metric, self->listed[i].type);
    }
    bb_battery_view_sort_series(&self->view);
}

void bb_scan_load(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bb_battery_view_begin(&self->view, battery, false);
    self->chunk_loaded = BB_SCAN_CHUNK_NONE;
    if (self->chunk_limit - self->chunk_first == 1) {
        s_turn_to(self, self->chunk_first);
        bb_battery_view_list_series(&self->view);
    } else {
        s_list_all(self);
    }
}

void bb_scan_make_room(bb_scan_t *self, uint32_t day)
{
    uint64_t segments = 0;
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        const bb_snapshot_window_t *window = &self->snapshot->windows[w];
        segments += window->cursor || window->day == day ? window->part_count : 0;
    }
    if (segments <= self->snapshot->segments_max) {
        return;
    }
    self->text_read = NULL;
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        if (self->snapshot->windows[w].day != day) {
            bb_snapshot_window_close(self->snapshot, w);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_series_sweep.h"

#include <stdlib.h>
#include <string.h>

#include "storage/encoding/bb_doubles.h"

// One column of one run, or one metric of one group of frames.
typedef struct {
    bb_view_run_t *run;         // NULL: frames
    const bb_view_rows_t *rows; // NULL: run
    uint32_t column;            // of the run, or position in the shape
    bb_type_t type;
    uint64_t revision;
    bool is_quarantine;
    uint32_t next, limit; // blocks or frames that are not used up
    // The piece at hand.
    bool is_whole; // no piece of it was used up
    bool has_piece;
    uint32_t piece_first, piece_count;   // block (count 1), or frames
    int64_t first_wall_ns, last_wall_ns; // inclusive
} s_source_t;

typedef struct {
    int64_t time_wall_ns;
    uint64_t bits;
    uint32_t source;
} s_point_t;

struct bb_series_sweep {
    bb_battery_view_t *view;
    uint32_t metric;
    bb_type_t type;
    int64_t from_wall_ns, to_wall_ns;
    int64_t every_ns;
    bool is_backwards;
    bool is_decode_forced;
    bool allows_totals;
    bool has_extremes;            // of totals
    bb_encoding_ranges_t *ranges; // scratch for them
    uint32_t run_next;            // first run of a day not swept yet
    int64_t next_wall_ns;         // frames before this are swept
    uint64_t blocks_decoded;      // since the beginning of all
    s_source_t *sources;          // of the day at hand
    uint32_t source_count, source_capacity;
    // Cluster scratch.
    s_point_t *points, *merged;
    size_t point_count, point_capacity;
    size_t *bounds; // ends of ascending stretches of points
    size_t bound_count, bound_capacity;
    int64_t *times;
    uint64_t *values;
    size_t out_capacity;
};

bb_series_sweep_t *bb_series_sweep_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_series_sweep_t));
}

void bb_series_sweep_force_decode(bb_series_sweep_t *self)
{
    self->is_decode_forced = true;
}

void bb_series_sweep_allow_totals(bb_series_sweep_t *self, bool has_extremes)
{
    self->allows_totals = true;
    self->has_extremes = has_extremes;
    if (!self->ranges) {
        self->ranges = bb_alloc(sizeof *self->ranges);
    }
}

uint64_t bb_series_sweep_blocks_decoded(const bb_series_sweep_t *self)
{
    return self->blocks_decoded;
}

void bb_series_sweep_destroy(bb_series_sweep_t **self)
{
    if (*self) {
        free((*self)->sources);
        free((*self)->ranges);
        free((*self)->points);
        free((*self)->merged);
        free((*self)->bounds);
        free((*self)->times);
        free((*self)->values);
        free(*self);
        *self = NULL;
    }
}

// ---- pieces ----------------------------------------------------------------------------------
// False: damaged, noted; no statistics then.
static bool s_read_stats(const bb_series_sweep_t *self, const s_source_t *source, uint32_t block,
                         bb_block_stats_t *stats)
{
    if (bb_run_block_stats(&source->run->run, source->column, block, stats) == BB_OK) {
        return true;
    }
    bb_battery_view_note_damage(self->view, source->run);
    *stats = (bb_block_stats_t){0};
    return false;
}

static bool s_piece_of_run(const bb_series_sweep_t *self, s_source_t *source)
{
    while (source->next < source->limit) {
        uint32_t block = self->is_backwards ? --source->limit : source->next++;
        int64_t first_wall_ns;
        int64_t last_wall_ns;
        bb_run_block_range(&source->run->run, block, &first_wall_ns, &last_wall_ns);
        if (last_wall_ns < self->from_wall_ns || first_wall_ns >= self->to_wall_ns) {
            continue;
        }
        if (!bb_run_block_has_all(&source->run->run, source->column, block)) {
            bb_block_stats_t stats;
            if (!s_read_stats(self, source, block, &stats) || stats.count == 0 ||
                stats.last_wall_ns < self->from_wall_ns ||
                stats.first_wall_ns >= self->to_wall_ns) {
                continue;
            }
            first_wall_ns = stats.first_wall_ns;
            last_wall_ns = stats.last_wall_ns;
        }
        source->piece_first = block;
        source->piece_count = 1;
        source->first_wall_ns = first_wall_ns;
        source->last_wall_ns = last_wall_ns;
        return true;
    }
    return false;
}

// Frames of one time stay in one piece.
static bool s_piece_of_rows(const bb_series_sweep_t *self, s_source_t *source)
{
    if (source->next >= source->limit) {
        return false;
    }
    const int64_t *times = source->rows->times;
    uint32_t left = source->limit - source->next;
    uint32_t first = source->next;
    uint32_t limit = source->limit;
    if (self->is_backwards) {
        first = limit - BB_MIN(left, (uint32_t)BB_BLOCK_ROWS_MAX);
        while (first > source->next && times[first - 1] == times[first]) {
            first--;
        }
        source->limit = first;
    } else {
        limit = first + BB_MIN(left, (uint32_t)BB_BLOCK_ROWS_MAX);
        while (limit < source->limit && times[limit - 1] == times[limit]) {
            limit++;
        }
        source->next = limit;
    }
    source->piece_first = first;
    source->piece_count = limit - first;
    source->first_wall_ns = times[first];
    source->last_wall_ns = times[limit - 1];
    return true;
}

static void s_advance(const bb_series_sweep_t *self, s_source_t *source)
{
    source->is_whole = false;
    source->has_piece = source->run ? s_piece_of_run(self, source) : s_piece_of_rows(self, source);
}

// ---- sources of a day ------------------------------------------------------------------------
static void s_add_source(bb_series_sweep_t *self, const s_source_t *source)
{
    if (self->source_count == self->source_capacity) {
        self->source_capacity = self->source_capacity ? self->source_capacity * 2 : 16;
        self->sources = bb_realloc(self->sources, self->source_capacity * sizeof *self->sources);
    }
    s_source_t *added = &self->sources[self->source_count];
    *added = *source;
    s_advance(self, added);
    added->is_whole = true;
    self->source_count += added->has_piece;
}

static void s_add_run(bb_series_sweep_t *self, bb_view_run_t *run)
{
    uint32_t column = bb_run_find(&run->run, self->metric);
    for (; column < run->run.column_count; column++) {
        bb_run_column_info_t info = bb_run_column(&run->run, column);
        if (info.metric != self->metric) {
            return;
        }
        s_source_t source = {
            .run = run,
            .column = column,
            .type = info.type,
            .revision = run->run.revision,
            .is_quarantine = run->is_quarantine,
            .limit = run->run.block_count,
        };
        s_add_source(self, &source);
    }
}

// Index of the first of ascending times that is at or after one.
static uint32_t s_lower_bound(const int64_t *times_wall_ns, uint32_t count, int64_t wall_ns)
{
    uint32_t first = 0;
    uint32_t limit = count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (times_wall_ns[middle] < wall_ns) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static void s_add_rows(bb_series_sweep_t *self, const bb_view_rows_t *rows, int64_t first_wall_ns,
                       int64_t limit_wall_ns)
{
    uint32_t next = s_lower_bound(rows->times, rows->count, first_wall_ns);
    uint32_t limit = s_lower_bound(rows->times, rows->count, limit_wall_ns);
    if (next == limit) {
        return;
    }
    for (uint32_t m = 0; m < rows->shape->metric_count; m++) {
        if (rows->shape->metrics[m] == self->metric) {
            s_source_t source = {
                .rows = rows,
                .column = m,
                .type = (bb_type_t)rows->shape->types[m],
                .revision = rows->revision,
                .is_quarantine = rows->is_quarantine,
                .next = next,
                .limit = limit,
            };
            s_add_source(self, &source);
            return;
        }
    }
}

static void s_add_day_rows(bb_series_sweep_t *self, uint32_t day)
{
    int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    int64_t limit_wall_ns = first_wall_ns + BB_NS_PER_DAY;
    first_wall_ns = BB_MAX(first_wall_ns, self->from_wall_ns);
    limit_wall_ns = BB_MIN(limit_wall_ns, self->to_wall_ns);
    for (uint32_t i = 0; i < self->view->rows_count; i++) {
        s_add_rows(self, &self->view->rows[i], first_wall_ns, limit_wall_ns);
    }
}

static bool s_has_metric(const bb_view_rows_t *rows, uint32_t metric)
{
    for (uint32_t m = 0; m < rows->shape->metric_count; m++) {
        if (rows->shape->metrics[m] == metric) {
            return true;
        }
    }
    return false;
}

// Turns to the next day that has runs or frames; false when there is none.
static bool s_next_day(bb_series_sweep_t *self)
{
    bb_battery_view_t *view = self->view;
    int64_t next_wall_ns = self->to_wall_ns;
    for (uint32_t i = 0; i < view->rows_count; i++) {
        const bb_view_rows_t *rows = &view->rows[i];
        uint32_t at = s_lower_bound(rows->times, rows->count, self->next_wall_ns);
        if (at < rows->count && rows->times[at] < next_wall_ns &&
            s_has_metric(rows, self->metric)) {
            next_wall_ns = rows->times[at];
        }
    }
    uint32_t day =
        next_wall_ns < self->to_wall_ns ? (uint32_t)(next_wall_ns / BB_NS_PER_DAY) : UINT32_MAX;
    if (self->run_next < view->run_count) {
        day = BB_MIN(day, view->runs[self->run_next].day);
    }
    if (day == UINT32_MAX) {
        return false;
    }
    self->source_count = 0;
    while (self->run_next < view->run_count && view->runs[self->run_next].day == day) {
        s_add_run(self, &view->runs[self->run_next++]);
    }
    s_add_day_rows(self, day);
    self->next_wall_ns = BB_MAX(self->next_wall_ns, (int64_t)(day + 1) * BB_NS_PER_DAY);
    return true;
}

// ---- decoding --------------------------------------------------------------------------------
static void s_make_room(bb_series_sweep_t *self, size_t count)
{
    if (count > self->out_capacity) {
        self->out_capacity = count * 2;
        self->times = bb_realloc(self->times, self->out_capacity * sizeof *self->times);
        self->values = bb_realloc(self->values, self->out_capacity * sizeof *self->values);
    }
}

static uint32_t s_decode_run(bb_series_sweep_t *self, const s_source_t *source, int64_t *times,
                             uint64_t *values)
{
    self->blocks_decoded++;
    const int64_t *block_times =
        bb_battery_view_times(self->view, source->run, source->piece_first);
    uint32_t count = 0;
    if (block_times &&
        bb_run_block_points(&source->run->run, source->column, source->piece_first, block_times,
                            self->from_wall_ns, self->to_wall_ns, times, values, &count) != BB_OK) {
        bb_battery_view_note_damage(self->view, source->run);
        count = 0;
    }
    return count;
}

// The points of a block that stands alone, where they were decoded.
static void s_decode_block(bb_series_sweep_t *self, const s_source_t *source, bb_sweep_step_t *step)
{
    const bb_run_t *run = &source->run->run;
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    self->blocks_decoded++;
    s_make_room(self, BB_BLOCK_ROWS_MAX);
    const int64_t *times = bb_battery_view_times(self->view, source->run, source->piece_first);
    if (!times) {
        return;
    }
    if (bb_run_block_values(run, source->column, source->piece_first, self->values, presence,
                            &all_present) != BB_OK) {
        bb_battery_view_note_damage(self->view, source->run);
        return;
    }
    uint32_t rows = bb_run_block_rows(run, source->piece_first);
    uint32_t first = s_lower_bound(times, rows, self->from_wall_ns);
    uint32_t limit = s_lower_bound(times, rows, self->to_wall_ns);
    step->exponent = bb_run_block_exponent(run, source->column, source->piece_first);
    if (all_present && first < limit) {
        step->times_wall_ns = times + first;
        step->values = self->values + first;
        step->count = limit - first;
        return;
    }
    step->times_wall_ns = self->times;
    step->values = self->values;
    for (uint32_t row = first; !all_present && row < limit; row++) {
        if (presence[row / 64] >> (row % 64) & 1) {
            self->times[step->count] = times[row];
            self->values[step->count++] = self->values[row]; // never to a later place
        }
    }
}

// May a block that stands alone be added up bucket by bucket as it is packed?
static bool s_is_bucketed(const bb_series_sweep_t *self, const s_source_t *source)
{
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    bool is_number = source->type == BB_TYPE_FLOAT64 || source->type == BB_TYPE_INT64;
    if (!self->allows_totals || !is_number || self->every_ns == 0 || self->every_ns == INT64_MAX ||
        !bb_run_block_has_all(&source->run->run, source->column, source->piece_first)) {
        return false;
    }
    bb_run_block_range(&source->run->run, source->piece_first, &first_wall_ns, &last_wall_ns);
    return first_wall_ns >= self->from_wall_ns && last_wall_ns < self->to_wall_ns;
}

// False: decode it.
static bool s_add_up_buckets(bb_series_sweep_t *self, const s_source_t *source,
                             bb_sweep_step_t *step)
{
    if (!s_is_bucketed(self, source)) {
        return false;
    }
    const bb_view_cuts_t *cuts =
        bb_battery_view_cuts(self->view, source->run, source->piece_first, self->every_ns);
    if (!cuts ||
        !bb_run_block_ranges(&source->run->run, source->column, source->piece_first,
                             cuts->row_limits, cuts->count, self->has_extremes, self->ranges)) {
        return false;
    }
    self->blocks_decoded++;
    step->cuts = cuts;
    step->ranges = self->ranges;
    step->count = cuts->row_limits[cuts->count - 1];
    return true;
}

// Statistics of a block from its values.
static void s_aggregate_block(bb_series_sweep_t *self, const s_source_t *source,
                              bb_block_stats_t *stats)
{
    self->blocks_decoded++;
    const bb_run_t *run = &source->run->run;
    uint32_t rows = bb_run_block_rows(run, source->piece_first);
    if (bb_run_block_aggregate(run, source->column, source->piece_first, 0, rows, NULL, stats) !=
        BB_OK) {
        bb_battery_view_note_damage(self->view, source->run);
        *stats = (bb_block_stats_t){0};
    }
}

// Several frames of one time leave the largest value.
static uint32_t s_decode_rows(const s_source_t *source, int64_t *times, uint64_t *values)
{
    const bb_view_rows_t *rows = source->rows;
    uint32_t count = 0;
    for (uint32_t i = 0; i < source->piece_count; i++) {
        int64_t time = rows->times[source->piece_first + i];
        uint64_t bits =
            rows->values[(size_t)source->column * rows->count + source->piece_first + i];
        if (count > 0 && times[count - 1] == time) {
            if (bb_value_compare(0, (bb_value_t){source->type, bits}, 0,
                                 (bb_value_t){source->type, values[count - 1]}) > 0) {
                values[count - 1] = bits;
            }
            continue;
        }
        times[count] = time;
        values[count] = bits;
        count++;
    }
    return count;
}

// Ascending points of a piece, into the scratch for output.
static uint32_t s_decode(bb_series_sweep_t *self, const s_source_t *source)
{
    if (source->run) {
        s_make_room(self, BB_BLOCK_ROWS_MAX);
        return s_decode_run(self, source, self->times, self->values);
    }
    s_make_room(self, source->piece_count);
    return s_decode_rows(source, self->times, self->values);
}

// ---- merging ---------------------------------------------------------------------------------
static void s_collect(bb_series_sweep_t *self, uint32_t source_index)
{
    uint32_t count = s_decode(self, &self->sources[source_index]);
    if (count == 0) {
        return;
    }
    if (self->point_count + count > self->point_capacity) {
        self->point_capacity = (self->point_count + count) * 2;
        self->points = bb_realloc(self->points, self->point_capacity * sizeof *self->points);
        self->merged = bb_realloc(self->merged, self->point_capacity * sizeof *self->merged);
    }
    for (uint32_t i = 0; i < count; i++) {
        self->points[self->point_count++] =
            (s_point_t){self->times[i], self->values[i], source_index};
    }
    if (self->bound_count == self->bound_capacity) {
        self->bound_capacity = self->bound_capacity ? self->bound_capacity * 2 : 16;
        self->bounds = bb_realloc(self->bounds, self->bound_capacity * sizeof *self->bounds);
    }
    self->bounds[self->bound_count++] = self->point_count;
}

// True if `a` stays and `b` goes, at one time. A point that is in quarantine and outside is
// outside.
static bool s_beats(const bb_series_sweep_t *self, const s_point_t *a, const s_point_t *b)
{
    const s_source_t *left = &self->sources[a->source];
    const s_source_t *right = &self->sources[b->source];
    int order = bb_value_compare(left->revision, (bb_value_t){left->type, a->bits}, right->revision,
                                 (bb_value_t){right->type, b->bits});
    return order != 0 ? order > 0 : !left->is_quarantine;
}

// Merges two ascending stretches; returns the end of what it wrote.
static s_point_t *s_merge_two(const bb_series_sweep_t *self, const s_point_t *a,
                              const s_point_t *a_end, const s_point_t *b, const s_point_t *b_end,
                              s_point_t *out)
{
    while (a < a_end && b < b_end) {
        if (a->time_wall_ns < b->time_wall_ns) {
            *out++ = *a++;
        } else if (a->time_wall_ns > b->time_wall_ns) {
            *out++ = *b++;
        } else {
            *out++ = s_beats(self, a, b) ? *a : *b;
            a++;
            b++;
        }
    }
    while (a < a_end) {
        *out++ = *a++;
    }
    while (b < b_end) {
        *out++ = *b++;
    }
    return out;
}

// Bottom-up merge of all stretches into one.
static void s_merge(bb_series_sweep_t *self)
{
    while (self->bound_count > 1) {
        s_point_t *out = self->merged;
        size_t begin = 0;
        size_t kept = 0;
        for (size_t i = 0; i < self->bound_count; i += 2) {
            size_t middle = self->bounds[i];
            size_t end = i + 1 < self->bound_count ? self->bounds[i + 1] : middle;
            out = s_merge_two(self, self->points + begin, self->points + middle,
                              self->points + middle, self->points + end, out);
            self->bounds[kept++] = (size_t)(out - self->merged);
            begin = end;
        }
        self->bound_count = kept;
        s_point_t *swap = self->points;
        self->points = self->merged;
        self->merged = swap;
    }
    self->point_count = self->bound_count > 0 ? self->bounds[0] : 0;
}

static bool s_is_wanted(const bb_series_sweep_t *self, const s_source_t *source)
{
    return source->type == self->type && source->is_quarantine == self->view->has_quarantine;
}

// The cluster's points of the wanted type, in the scratch for output.
static uint32_t s_merge_cluster(bb_series_sweep_t *self)
{
    s_merge(self);
    s_make_room(self, self->point_count);
    uint32_t count = 0;
    for (size_t i = 0; i < self->point_count; i++) {
        if (s_is_wanted(self, &self->sources[self->points[i].source])) {
            self->times[count] = self->points[i].time_wall_ns;
            self->values[count] = self->points[i].bits;
            count++;
        }
    }
    return count;
}

// ---- forwards --------------------------------------------------------------------------------
// The source whose piece begins first (or, backwards, ends last), or NULL.
static s_source_t *s_front(const bb_series_sweep_t *self)
{
    s_source_t *front = NULL;
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        if (!source->has_piece) {
            continue;
        }
        if (!front || (self->is_backwards ? source->last_wall_ns > front->last_wall_ns
                                          : source->first_wall_ns < front->first_wall_ns)) {
            front = source;
        }
    }
    return front;
}

// Another source than `front` whose piece overlaps [first, last]; NULL: it stands alone.
static s_source_t *s_overlapping(const bb_series_sweep_t *self, const s_source_t *front,
                                 int64_t first_wall_ns, int64_t last_wall_ns)
{
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        if (source != front && source->has_piece && source->first_wall_ns <= last_wall_ns &&
            source->last_wall_ns >= first_wall_ns) {
            return source;
        }
    }
    return NULL;
}

// Collects the piece of `front` and all that overlap it, directly or through others.
static void s_collect_cluster(bb_series_sweep_t *self, s_source_t *front)
{
    int64_t first_wall_ns = front->first_wall_ns;
    int64_t last_wall_ns = front->last_wall_ns;
    self->point_count = 0;
    self->bound_count = 0;
    for (s_source_t *source = front; source;
         source = s_overlapping(self, NULL, first_wall_ns, last_wall_ns)) {
        first_wall_ns = BB_MIN(first_wall_ns, source->first_wall_ns);
        last_wall_ns = BB_MAX(last_wall_ns, source->last_wall_ns);
        s_collect(self, (uint32_t)(source - self->sources));
        s_advance(self, source);
    }
}

static bool s_is_in_one_bucket(const bb_series_sweep_t *self, int64_t first_wall_ns,
                               int64_t last_wall_ns)
{
    if (self->every_ns == 0 || first_wall_ns < self->from_wall_ns ||
        last_wall_ns >= self->to_wall_ns) {
        return false;
    }
    return self->every_ns == INT64_MAX ||
           (last_wall_ns - first_wall_ns < self->every_ns &&
            first_wall_ns / self->every_ns == last_wall_ns / self->every_ns);
}

// The largest time that the source still has.
static int64_t s_last_of(const s_source_t *source)
{
    return source->run ? source->run->run.last_wall_ns : source->rows->times[source->limit - 1];
}

// Statistics of the whole run, calculated from its values if that is wanted, if it lies in one
// bucket and overlaps nothing; it is used up then.
static bool s_take_run(bb_series_sweep_t *self, s_source_t *front, bb_block_stats_t *stats)
{
    const bb_run_t *run = &front->run->run;
    if (!front->is_whole || !s_is_in_one_bucket(self, run->first_wall_ns, run->last_wall_ns)) {
        return false;
    }
    for (uint32_t i = 0; i < self->source_count; i++) {
        const s_source_t *source = &self->sources[i];
        if (source != front && source->has_piece && source->first_wall_ns <= run->last_wall_ns &&
            s_last_of(source) >= run->first_wall_ns) {
            return false;
        }
    }
    self->blocks_decoded += self->is_decode_forced ? run->block_count : 0;
    bb_error_t error = self->is_decode_forced ? bb_run_column_aggregate(run, front->column, stats)
                                              : bb_run_column_stats(run, front->column, stats);
    if (error != BB_OK) {
        bb_battery_view_note_damage(self->view, front->run);
        *stats = (bb_block_stats_t){0};
        return false; // its blocks may be better
    }
    front->has_piece = false;
    return true;
}

void bb_series_sweep_begin(bb_series_sweep_t *self, bb_battery_view_t *view, uint32_t metric,
                           bb_type_t type, int64_t from_wall_ns, int64_t to_wall_ns,
                           int64_t every_ns)
{
    self->view = view;
    self->metric = metric;
    self->type = type;
    self->from_wall_ns = BB_MAX(from_wall_ns, view->from_wall_ns);
    self->to_wall_ns = BB_MIN(to_wall_ns, view->to_wall_ns);
    self->every_ns = every_ns;
    self->is_backwards = false;
    self->next_wall_ns = self->from_wall_ns;
    self->source_count = 0;
    uint32_t first_day = (uint32_t)(self->from_wall_ns / BB_NS_PER_DAY);
    self->run_next = 0;
    while (self->run_next < view->run_count && view->runs[self->run_next].day < first_day) {
        self->run_next++;
    }
}

bool bb_series_sweep_next(bb_series_sweep_t *self, bb_sweep_step_t *step)
{
    *step = (bb_sweep_step_t){.exponent = BB_DOUBLES_EXPONENT_UNKNOWN};
    s_source_t *front = s_front(self);
    while (!front) {
        if (!s_next_day(self)) {
            return false;
        }
        front = s_front(self);
    }
    if (s_overlapping(self, front, front->first_wall_ns, front->last_wall_ns)) {
        s_collect_cluster(self, front);
        step->count = s_merge_cluster(self);
        step->times_wall_ns = self->times;
        step->values = self->values;
    } else if (!s_is_wanted(self, front)) {
        s_advance(self, front);
    } else if (front->run && s_take_run(self, front, &step->stats)) {
        step->is_stats = true;
    } else if (front->run && s_is_in_one_bucket(self, front->first_wall_ns, front->last_wall_ns)) {
        step->is_stats = true;
        if (self->is_decode_forced ||
            !s_read_stats(self, front, front->piece_first, &step->stats)) {
            s_aggregate_block(self, front, &step->stats);
        }
        s_advance(self, front);
    } else if (front->run && s_add_up_buckets(self, front, step)) {
        s_advance(self, front);
    } else if (front->run) {
        s_decode_block(self, front, step);
        s_advance(self, front);
    } else {
        step->count = s_decode(self, front);
        s_advance(self, front);
        step->times_wall_ns = self->times;
        step->values = self->values;
    }
    return true;
}

// ---- backwards -------------------------------------------------------------------------------
static bool s_last_of_cluster(bb_series_sweep_t *self, s_source_t *front, int64_t *time_wall_ns,
                              uint64_t *bits)
{
    uint32_t count;
    bb_block_stats_t stats;
    if (s_overlapping(self, front, front->first_wall_ns, front->last_wall_ns)) {
        s_collect_cluster(self, front);
        count = s_merge_cluster(self);
    } else if (!s_is_wanted(self, front)) {
        count = 0;
        s_advance(self, front);
    } else if (front->run && front->last_wall_ns < self->to_wall_ns &&
               s_read_stats(self, front, front->piece_first, &stats)) {
        *time_wall_ns = stats.last_wall_ns;
        *bits = stats.last;
        s_advance(self, front);
        return true;
    } else {
        count = s_decode(self, front);
        s_advance(self, front);
    }
    if (count > 0) {
        *time_wall_ns = self->times[count - 1];
        *bits = self->values[count - 1];
    }
    return count > 0;
}

bool bb_series_sweep_last(bb_series_sweep_t *self, bb_battery_view_t *view, uint32_t metric,
                          bb_type_t type, uint32_t day, int64_t *time_wall_ns, uint64_t *bits)
{
    self->view = view;
    self->metric = metric;
    self->type = type;
    self->from_wall_ns = view->from_wall_ns;
    self->to_wall_ns = view->to_wall_ns;
    self->every_ns = 0;
    self->is_backwards = true;
    self->source_count = 0;
    for (uint32_t i = 0; i < view->run_count; i++) {
        if (view->runs[i].day == day) {
            s_add_run(self, &view->runs[i]);
        }
    }
    s_add_day_rows(self, day);
    for (s_source_t *front = s_front(self); front; front = s_front(self)) {
        if (s_last_of_cluster(self, front, time_wall_ns, bits)) {
            return true;
        }
    }
    return false;
}

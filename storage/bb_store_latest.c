// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_latest.h"

#include <stdlib.h>

#include "storage/bb_store_flush.h"
#include "storage/head/bb_head_gather.h"
#include "storage/head/bb_head_newest.h"

// Groups of a generation whose newest rows are decoded together.
#define S_STRIDE 4096u
// So many rows ahead memory is fetched.
#define S_AHEAD 16u

void bb_store_latest_open(bb_store_t *self)
{
    int64_t bound_wall_ns = -1;
    for (uint32_t i = 0; i < self->windows.count; i++) {
        bb_window_id_t id = self->windows.items[i].id;
        if (id.kind == BB_WINDOW_NORMAL) {
            int64_t limit_wall_ns = ((int64_t)id.day + 1) * BB_NS_PER_DAY;
            bound_wall_ns = BB_MAX(bound_wall_ns, limit_wall_ns - 1);
        }
    }
    // Exact, if it was recorded; then whatever moves on is known at once after a restart.
    bound_wall_ns = BB_MIN(bound_wall_ns, self->newest_at_open_wall_ns);
    // What windows have was recorded before they got it, so replayed points count from here on.
    self->newest_wall_ns = BB_MAX(self->newest_wall_ns, bound_wall_ns);
    self->latest = bb_latest_new(bound_wall_ns, self->memory_bytes / BB_LATEST_SHARE);
}

// ---- learning --------------------------------------------------------------------------------
typedef struct {
    bb_latest_t *latest;
    const bb_head_shape_t *head_shape; // the last pair
    const bb_latest_shape_t *shape;
    uint64_t *values;
    uint32_t capacity;
    bb_head_gather_t *gather;
    const bb_head_group_t *groups[S_STRIDE];
} s_learning_t;

static void s_learn_shape(s_learning_t *self, const bb_head_shape_t *shape)
{
    if (shape != self->head_shape) {
        self->head_shape = shape;
        self->shape =
            bb_latest_shape(self->latest, shape->metrics, shape->types, shape->metric_count);
        if (shape->metric_count > self->capacity) {
            self->capacity = shape->metric_count;
            self->values = bb_realloc(self->values, self->capacity * sizeof *self->values);
        }
    }
}

static void s_learn_row(s_learning_t *self, const bb_head_group_t *group, const uint64_t *values)
{
    bb_latest_put(self->latest, group->battery, self->shape, group->rows.last_wall_ns,
                  group->rows.revision, values);
}

// Where the newest row is the last one, as nearly always, those of many batteries are decoded
// together: they mostly came in the same batches.
static void s_learn_groups(s_learning_t *self, uint32_t count)
{
    bb_head_gather_clear(self->gather);
    for (uint32_t i = 0; i < count; i++) {
        const bb_head_group_t *group = self->groups[i];
        if (bb_head_newest_is_last(group)) {
            bb_head_gather_add_newest(self->gather, group);
        } else {
            s_learn_shape(self, group->rows.shape);
            bb_head_newest_values(group, self->values);
            s_learn_row(self, group, self->values);
        }
    }
    bb_head_gather_decode(self->gather);
    uint32_t part_count;
    const bb_head_part_t *parts = bb_head_gather_parts(self->gather, &part_count);
    for (uint32_t i = 0; i < part_count; i++) {
        if (i + S_AHEAD < part_count) {
            const bb_head_group_t *ahead = parts[i + S_AHEAD].owner;
            bb_latest_prefetch(self->latest, ahead->battery, 0);
        }
        if (i + S_AHEAD / 2 < part_count) {
            const bb_head_group_t *ahead = parts[i + S_AHEAD / 2].owner;
            bb_latest_prefetch(self->latest, ahead->battery, 1);
        }
        s_learn_shape(self, parts[i].shape);
        s_learn_row(self, parts[i].owner, parts[i].values);
    }
}

void bb_store_latest_learn(bb_store_t *self, const bb_head_t *head)
{
    s_learning_t learning = {.latest = self->latest, .gather = bb_head_gather_new()};
    const bb_head_group_t *group = bb_head_first(head);
    while (group) {
        uint32_t count = 0;
        for (; group && count < S_STRIDE; group = group->next_of_all) {
            if (!group->rows.is_quarantined) {
                learning.groups[count++] = group;
            }
        }
        s_learn_groups(&learning, count);
    }
    bb_head_gather_destroy(&learning.gather);
    free(learning.values);
}

// ---- finding ---------------------------------------------------------------------------------
// Where the series of a plan are in a shape.
typedef struct {
    const void *shape;
    uint32_t *positions; // UINT32_MAX = not there
} s_places_t;

// The newest value of a series so far.
typedef struct {
    int64_t time_wall_ns; // negative: none
    uint64_t revision;
    const bb_head_group_t *group; // where it is, if not in a row
    const bb_latest_row_t *row;
    uint32_t position;
} s_best_t;

struct bb_latest_finder {
    const bb_store_t *store;
    const bb_query_t *query;
    bb_snapshot_t *snapshot;
    // The plan: wanted series of a type set.
    uint32_t type_set;
    bb_marker_list_t markers; // of the battery at hand
    bool has_deleted;         // a candidate was deleted
    bool has_several;         // types of one metric: then points compete, and the scan decides
    uint32_t series_count, series_capacity;
    bb_view_series_t *series;
    s_best_t *best;
    s_places_t in_head, in_row;
    // The day that was looked up last.
    uint32_t day;
    bool has_day;
};

bb_latest_finder_t *bb_latest_finder_new(const bb_store_t *store, const bb_query_t *query,
                                         bb_snapshot_t *snapshot)
{
    bb_latest_finder_t *self = bb_alloc_zero(1, sizeof *self);
    self->store = store;
    self->query = query;
    self->snapshot = snapshot;
    self->type_set = UINT32_MAX;
    self->day = UINT32_MAX;
    return self;
}

void bb_latest_finder_destroy(bb_latest_finder_t **self)
{
    if (*self) {
        free((*self)->series);
        free((*self)->best);
        free((*self)->in_head.positions);
        free((*self)->in_row.positions);
        free(*self);
        *self = NULL;
    }
}

static void s_plan_reserve(bb_latest_finder_t *self, uint32_t count)
{
    if (count > self->series_capacity) {
        self->series_capacity = count;
        self->series = bb_realloc(self->series, count * sizeof *self->series);
        self->best = bb_realloc(self->best, count * sizeof *self->best);
        self->in_head.positions =
            bb_realloc(self->in_head.positions, count * sizeof *self->in_head.positions);
        self->in_row.positions =
            bb_realloc(self->in_row.positions, count * sizeof *self->in_row.positions);
    }
}

static int s_compare_series(const void *a, const void *b, void *context)
{
    const uint32_t *ranks = context;
    uint32_t left = ranks[((const bb_view_series_t *)a)->metric];
    uint32_t right = ranks[((const bb_view_series_t *)b)->metric];
    return (left > right) - (left < right);
}

static void s_plan(bb_latest_finder_t *self, uint32_t battery)
{
    const bb_dictionary_t *dictionary = self->store->dictionary;
    uint32_t count = 0;
    const bb_type_entry_t *types = bb_dictionary_types(dictionary, battery, &count);
    self->type_set = bb_dictionary_type_set(dictionary, battery);
    self->has_several = false;
    self->series_count = 0;
    self->in_head.shape = self->in_row.shape = NULL;
    s_plan_reserve(self, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t metric = bb_type_entry_metric(types[i]);
        uint32_t bits = types[i] & 0xf;
        if (!bb_snapshot_wants(self->snapshot, metric)) {
            continue;
        }
        self->has_several |= (bits & (bits - 1)) != 0;
        bb_type_t type = BB_TYPE_FLOAT64;
        while (type < BB_TYPE_LAST && !bb_type_entry_has(types[i], type)) {
            type++;
        }
        self->series[self->series_count++] = (bb_view_series_t){metric, type};
    }
    if (self->series_count > 0) {
        qsort_r(self->series, self->series_count, sizeof *self->series, s_compare_series,
                self->snapshot->metric_ranks);
    }
}

static void s_place(bb_latest_finder_t *self, s_places_t *places, const void *shape,
                    const uint32_t *metrics, uint32_t metric_count)
{
    if (places->shape == shape) {
        return;
    }
    places->shape = shape;
    for (uint32_t i = 0; i < self->series_count; i++) {
        places->positions[i] = UINT32_MAX;
        for (uint32_t m = 0; m < metric_count; m++) {
            // A metric of another type would be in the type set with two types.
            if (metrics[m] == self->series[i].metric) {
                places->positions[i] = m;
            }
        }
    }
}

static uint64_t s_bits(const s_best_t *best)
{
    return best->group ? bb_head_newest_value(best->group, best->position)
                       : best->row->values[best->position];
}

// Takes the candidate for the series if it is newer, or wins at the same time.
static void s_offer(s_best_t *best, bb_type_t type, const s_best_t *candidate)
{
    bool wins = candidate->time_wall_ns > best->time_wall_ns;
    if (candidate->time_wall_ns == best->time_wall_ns) {
        wins = bb_value_compare(candidate->revision, (bb_value_t){type, s_bits(candidate)},
                                best->revision, (bb_value_t){type, s_bits(best)}) > 0;
    }
    if (wins) {
        *best = *candidate;
    }
}

// What was deleted is no candidate; then an older row may be the newest, and only a scan knows.
static void s_offer_all(bb_latest_finder_t *self, const s_places_t *places, s_best_t candidate)
{
    for (uint32_t i = 0; i < self->series_count; i++) {
        if (places->positions[i] != UINT32_MAX) {
            self->has_deleted |=
                self->markers.count > 0 &&
                bb_marker_list_covers(self->markers, self->series[i].metric, candidate.revision,
                                      candidate.time_wall_ns) != 0;
            candidate.position = places->positions[i];
            s_offer(&self->best[i], self->series[i].type, &candidate);
        }
    }
}

// False: the group has wanted series, and its newest row is not simply the last one.
static bool s_look_at_head(bb_latest_finder_t *self, const bb_head_t *head, uint32_t battery)
{
    for (const bb_head_group_t *group = bb_head_first_of(head, battery); group;
         group = group->next_of_battery) {
        if (group->rows.is_quarantined) {
            continue;
        }
        if (!bb_head_newest_is_last(group)) {
            return false;
        }
        s_place(self, &self->in_head, group->rows.shape, group->rows.shape->metrics,
                group->rows.shape->metric_count);
        s_offer_all(self, &self->in_head,
                    (s_best_t){.time_wall_ns = group->rows.last_wall_ns,
                               .revision = group->rows.revision,
                               .group = group});
    }
    return true;
}

static void s_look_at_rows(bb_latest_finder_t *self, uint32_t battery)
{
    for (const bb_latest_row_t *row = bb_latest_first(self->store->latest, battery); row;
         row = row->next) {
        s_place(self, &self->in_row, row->shape, row->shape->metrics, row->shape->metric_count);
        s_offer_all(
            self, &self->in_row,
            (s_best_t){.time_wall_ns = row->time_wall_ns, .revision = row->revision, .row = row});
    }
}

// Is there a window of the day? Where it was dropped, its points are no longer there.
static bool s_has_day(bb_latest_finder_t *self, int64_t time_wall_ns)
{
    uint32_t day = bb_day_of(time_wall_ns);
    if (day != self->day) {
        self->day = day;
        bb_window_id_t id = {.kind = BB_WINDOW_NORMAL, .day = day};
        bb_store_windows_find(&self->store->windows, id, &self->has_day);
    }
    return self->has_day;
}

static bool s_is_known(bb_latest_finder_t *self, uint32_t battery)
{
    int64_t bound_wall_ns = bb_latest_bound(self->store->latest, battery);
    for (uint32_t i = 0; i < self->series_count; i++) {
        const s_best_t *best = &self->best[i];
        if (best->time_wall_ns <= bound_wall_ns && bound_wall_ns >= self->query->from_wall_ns) {
            return false; // windows may have a newer one, and it would be wanted
        }
        if (best->row && !s_has_day(self, best->time_wall_ns)) {
            return false;
        }
    }
    return true;
}

static void s_add(bb_latest_finder_t *self, const bb_view_series_t *series, const s_best_t *best)
{
    bb_snapshot_t *snapshot = self->snapshot;
    if (best->time_wall_ns < 0 || best->time_wall_ns < self->query->from_wall_ns) {
        return;
    }
    uint64_t bits = s_bits(best);
    if (!bb_query_compares(self->query, series->type, bits)) {
        return;
    }
    if (snapshot->value_count == snapshot->value_capacity) {
        snapshot->value_capacity = snapshot->value_capacity ? snapshot->value_capacity * 2 : 64;
        snapshot->values =
            bb_realloc(snapshot->values, snapshot->value_capacity * sizeof *snapshot->values);
    }
    snapshot->values[snapshot->value_count++] = (bb_snapshot_value_t){
        .time_wall_ns = best->time_wall_ns,
        .bits = bits,
        .series = *series,
    };
}

bool bb_latest_find(bb_latest_finder_t *self, uint32_t battery)
{
    const bb_store_t *store = self->store;
    if (bb_dictionary_type_set(store->dictionary, battery) != self->type_set) {
        s_plan(self, battery);
    }
    if (self->has_several) {
        return false;
    }
    for (uint32_t i = 0; i < self->series_count; i++) {
        self->best[i] = (s_best_t){.time_wall_ns = -1};
    }
    self->markers = bb_markers_of(store->markers, battery);
    self->has_deleted = false;
    if (!s_look_at_head(self, store->active, battery) ||
        (store->frozen && !s_look_at_head(self, bb_flush_head(store->frozen), battery))) {
        return false;
    }
    s_look_at_rows(self, battery);
    if (self->has_deleted) {
        return false;
    }
    if (!s_is_known(self, battery)) {
        return false;
    }
    for (uint32_t i = 0; i < self->series_count; i++) {
        s_add(self, &self->series[i], &self->best[i]);
    }
    return true;
}

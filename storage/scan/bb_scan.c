// SPDX-License-Identifier: Apache-2.0
// One page of an answer. See bb_store.h for what it promises, bb_series_sweep.h for how points
// merge.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store.h"
#include "storage/head/bb_hash.h"
#include "storage/scan/bb_battery_view.h"
#include "storage/scan/bb_buckets.h"
#include "storage/scan/bb_series_sweep.h"
#include "storage/scan/bb_snapshot.h"

#define S_PAGE_BYTES_DEFAULT (1u << 20)
#define S_POINT_BYTES        (2 * sizeof(uint64_t))
// Buckets of a group over all batteries; more is refused.
#define S_GROUP_BUCKETS_MAX 1000000u
#define S_TEXT_SLOTS_MIN    64u

// A merged series of a group over all batteries.
typedef struct {
    uint32_t metric;
    bb_type_t type;
    bb_buckets_t buckets;
} s_group_t;

typedef struct {
    bb_snapshot_t *snapshot;
    const bb_query_t *query;
    bb_page_builder_t *page;
    bb_scan_result_t *result;
    bb_fault_t *fault;
    bb_scan_cursor_t cursor; // where this page begins
    bb_scan_cursor_t next;   // where the next one does, if is_full
    bool is_full;
    uint64_t page_bytes;       // soft limit; at least 1, so that every page gets on
    uint64_t page_bytes_start; // of a page with nothing in it
    uint32_t partition;        // at hand
    uint64_t rows;             // that it has given, on the pages before, too
    bb_battery_view_t view;
    bb_series_sweep_t *sweep;
    // One series.
    int64_t *times;
    uint64_t *values;
    size_t count, capacity;
    bb_buckets_t buckets;
    bb_bucket_t *out_buckets;
    size_t out_capacity;
    // Groups over all batteries.
    s_group_t *groups;
    uint32_t *group_of; // per metric and type: index + 1; NULL = no grouping
    uint32_t group_count, group_capacity;
    uint64_t group_buckets;
    // Texts of states, kept for the whole page: what they were read from may go before.
    bb_arena_t texts;
    const bb_text_t **text_slots;
    uint32_t text_count, text_slot_count;
    const bb_text_t *text_read, *text_kept; // the last pair of one battery
} s_scan_t;

// ---- texts -----------------------------------------------------------------------------------
static const bb_text_t **s_text_slot(const s_scan_t *self, const bb_text_t *text)
{
    uint64_t slot = bb_hash_bytes(0, text->bytes, text->length);
    for (;; slot++) {
        const bb_text_t **at = &self->text_slots[slot & (self->text_slot_count - 1)];
        if (!*at || ((*at)->length == text->length &&
                     memcmp((*at)->bytes, text->bytes, text->length) == 0)) {
            return at;
        }
    }
}

static void s_grow_texts(s_scan_t *self)
{
    const bb_text_t **old = self->text_slots;
    uint32_t old_count = self->text_slot_count;
    self->text_slot_count = old_count ? old_count * 2 : S_TEXT_SLOTS_MIN;
    self->text_slots = bb_alloc_zero(self->text_slot_count, sizeof *self->text_slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i]) {
            *s_text_slot(self, old[i]) = old[i];
        }
    }
    free(old);
}

static uint64_t s_keep_text(s_scan_t *self, uint64_t bits)
{
    const bb_text_t *text = bb_text_of_bits(bits);
    if (text != self->text_read) {
        if (self->text_count >= self->text_slot_count / 2) {
            s_grow_texts(self);
        }
        const bb_text_t **slot = s_text_slot(self, text);
        if (!*slot) {
            *slot = bb_arena_copy(&self->texts, text, sizeof *text + text->length);
            self->text_count++;
        }
        self->text_read = text;
        self->text_kept = *slot;
    }
    return (uint64_t)(uintptr_t)self->text_kept;
}

static void s_keep_bucket_texts(s_scan_t *self, bb_buckets_t *buckets)
{
    for (size_t i = 0; i < buckets->count; i++) {
        bb_block_stats_t *stats = &buckets->items[i].stats;
        stats->min = s_keep_text(self, stats->min);
        stats->max = s_keep_text(self, stats->max);
        stats->first = s_keep_text(self, stats->first);
        stats->last = s_keep_text(self, stats->last);
    }
}

// ---- limits ----------------------------------------------------------------------------------
static uint64_t s_rows_left(const s_scan_t *self)
{
    if (self->query->row_limit == 0) {
        return UINT64_MAX;
    }
    return self->rows < self->query->row_limit ? self->query->row_limit - self->rows : 0;
}

static uint64_t s_bytes_left(const s_scan_t *self)
{
    uint64_t bytes = bb_page_builder_bytes(self->page) - self->page_bytes_start;
    return bytes < self->page_bytes ? self->page_bytes - bytes : 0;
}

// The page ends; the next begins with this series of the battery at hand, at this time.
static void s_cut(s_scan_t *self, const bb_view_series_t *series, int64_t time_wall_ns)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    self->is_full = true;
    self->next = (bb_scan_cursor_t){
        .is_set = true,
        .partition = self->partition,
        .battery = bb_snapshot_is_grouped(self->query) ? bb_slice(NULL, 0) : self->view.battery->id,
        .metric = snapshot->metric_names[series->metric],
        .type = series->type,
        .time_wall_ns = time_wall_ns,
        .rows = self->rows,
    };
}

// The page ends before a battery.
static void s_cut_before(s_scan_t *self, uint32_t partition, bb_slice_t battery)
{
    self->is_full = true;
    self->next = (bb_scan_cursor_t){
        .is_set = true,
        .partition = partition,
        .battery = battery,
        .rows = partition == self->partition ? self->rows : 0,
    };
}

static int s_compare_to_cursor(const s_scan_t *self, const bb_view_series_t *series)
{
    int order =
        bb_dictionary_compare(self->snapshot->metric_names[series->metric], self->cursor.metric);
    return order != 0 ? order : (int)series->type - (int)self->cursor.type;
}

static bool s_continues(const s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    return self->cursor.is_set && self->cursor.metric.length > 0 &&
           self->cursor.partition == battery->partition &&
           bb_dictionary_compare(self->cursor.battery, battery->id) == 0;
}

// ---- points ----------------------------------------------------------------------------------
static void s_reserve(s_scan_t *self, size_t count)
{
    if (count > self->capacity) {
        self->capacity = count * 2;
        self->times = bb_realloc(self->times, self->capacity * sizeof *self->times);
        self->values = bb_realloc(self->values, self->capacity * sizeof *self->values);
    }
}

static void s_append(s_scan_t *self, const bb_sweep_step_t *step)
{
    s_reserve(self, self->count + step->count);
    if (step->count > 0) {
        memcpy(self->times + self->count, step->times_wall_ns, step->count * sizeof *self->times);
        memcpy(self->values + self->count, step->values, step->count * sizeof *self->values);
        self->count += step->count;
    }
}

static void s_emit_points(s_scan_t *self, const bb_view_series_t *series)
{
    self->count = BB_MIN(self->count, s_rows_left(self));
    if (self->count == 0) {
        return;
    }
    if (series->type == BB_TYPE_STATE) {
        for (size_t i = 0; i < self->count; i++) {
            self->values[i] = s_keep_text(self, self->values[i]);
        }
    }
    bb_page_builder_points(self->page, self->view.battery->id,
                           self->snapshot->metric_names[series->metric], series->type, self->times,
                           self->values, (uint32_t)self->count);
    self->rows += self->count;
}

static void s_scan_points(s_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns)
{
    size_t count_max = s_bytes_left(self) / S_POINT_BYTES + 1;
    count_max = BB_MIN(count_max, s_rows_left(self));
    self->count = 0;
    bb_series_sweep_begin(self->sweep, &self->view, series->metric, series->type, from_wall_ns, 0);
    bb_sweep_step_t step;
    bool more = bb_series_sweep_next(self->sweep, &step);
    while (more) {
        self->result->points_scanned += step.count;
        s_append(self, &step);
        if (self->count >= count_max) {
            break;
        }
        more = bb_series_sweep_next(self->sweep, &step);
    }
    int64_t last_wall_ns = self->count > 0 ? self->times[self->count - 1] : 0;
    s_emit_points(self, series);
    if (more && s_rows_left(self) > 0) {
        s_cut(self, series, last_wall_ns + 1);
    }
}

static void s_emit_buckets(s_scan_t *self, bb_slice_t battery, bb_slice_t metric, bb_type_t type,
                           const bb_bucket_item_t *items, size_t count)
{
    count = BB_MIN(count, s_rows_left(self));
    if (count == 0) {
        return;
    }
    if (count > self->out_capacity) {
        self->out_capacity = count * 2;
        self->out_buckets =
            bb_realloc(self->out_buckets, self->out_capacity * sizeof *self->out_buckets);
    }
    for (size_t i = 0; i < count; i++) {
        self->out_buckets[i] = bb_bucket_of(&items[i]);
    }
    bb_page_builder_buckets(self->page, battery, metric, type, self->out_buckets, (uint32_t)count);
    self->rows += count;
}

static bb_bucket_rule_t s_rule(const s_scan_t *self)
{
    return (bb_bucket_rule_t){self->query->every_ns, self->query->from_wall_ns};
}

// Fills self->buckets; stops with more than count_max of them: true, the last is not complete.
static bool s_fill_buckets(s_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns,
                           size_t count_max)
{
    int64_t every_ns = self->query->every_ns ? self->query->every_ns : INT64_MAX;
    self->buckets.count = 0;
    bb_series_sweep_begin(self->sweep, &self->view, series->metric, series->type, from_wall_ns,
                          every_ns);
    bb_sweep_step_t step;
    bool is_cut = false;
    while (!is_cut && bb_series_sweep_next(self->sweep, &step)) {
        if (step.is_stats) {
            self->result->points_scanned += step.stats.count;
            bb_buckets_add_stats(&self->buckets, s_rule(self), series->type, &step.stats);
        } else {
            self->result->points_scanned += step.count;
            bb_buckets_add_points(&self->buckets, s_rule(self), series->type, step.times_wall_ns,
                                  step.values, step.count);
        }
        is_cut = self->buckets.count > count_max;
    }
    if (series->type == BB_TYPE_STATE) {
        s_keep_bucket_texts(self, &self->buckets);
    }
    return is_cut;
}

static void s_scan_buckets(s_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns)
{
    size_t count_max = s_bytes_left(self) / sizeof(bb_bucket_t) + 1;
    bool is_cut = s_fill_buckets(self, series, from_wall_ns, count_max);
    size_t count = self->buckets.count - is_cut;
    s_emit_buckets(self, self->view.battery->id, self->snapshot->metric_names[series->metric],
                   series->type, self->buckets.items, count);
    if (is_cut && s_rows_left(self) > 0) {
        s_cut(self, series, self->buckets.items[count].start_wall_ns);
    }
}

// ---- one battery -----------------------------------------------------------------------------
static void s_note_damage(s_scan_t *self)
{
    bb_scan_result_t *result = self->result;
    uint32_t partition = self->view.battery->partition;
    if (!self->view.is_damaged ||
        (result->damaged_partition_count > 0 &&
         result->damaged_partitions[result->damaged_partition_count - 1] == partition)) {
        return;
    }
    BB_ASSERT(result->damaged_partition_count < BB_COUNT_OF(result->damaged_partitions));
    result->damaged_partitions[result->damaged_partition_count++] = partition;
}

static void s_load(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    self->text_read = NULL;
    bb_battery_view_begin(&self->view, battery, false);
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        bb_battery_view_load(&self->view, w);
    }
    bb_battery_view_list_series(&self->view);
}

static void s_scan_series(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    s_load(self, battery);
    bool continues = s_continues(self, battery);
    for (uint32_t i = 0; i < self->view.series_count && s_rows_left(self) > 0; i++) {
        const bb_view_series_t *series = &self->view.series[i];
        int64_t from_wall_ns = self->query->from_wall_ns;
        if (continues) {
            int order = s_compare_to_cursor(self, series);
            if (order < 0) {
                continue;
            }
            from_wall_ns =
                order == 0 ? BB_MAX(from_wall_ns, self->cursor.time_wall_ns) : from_wall_ns;
        }
        if (s_bytes_left(self) == 0) {
            s_cut(self, series, from_wall_ns);
            return;
        }
        if (self->query->mode == BB_QUERY_AGGREGATE) {
            s_scan_buckets(self, series, from_wall_ns);
        } else {
            s_scan_points(self, series, from_wall_ns);
        }
        if (self->is_full) {
            return;
        }
    }
}

// ---- last ------------------------------------------------------------------------------------
// The largest day below `limit` for which a window or a frame of the view exists; false: none.
static bool s_day_before(const s_scan_t *self, uint32_t limit, uint32_t *window_next, uint32_t *day)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bool found = false;
    *day = 0;
    while (*window_next > 0 && snapshot->windows[*window_next - 1].day >= limit) {
        --*window_next;
    }
    if (*window_next > 0) {
        *day = snapshot->windows[*window_next - 1].day;
        found = true;
    }
    for (uint32_t i = 0; i < self->view.rows_count; i++) {
        const bb_view_rows_t *rows = &self->view.rows[i];
        for (uint32_t r = rows->count; r > 0; r--) {
            uint32_t of_row = (uint32_t)(rows->times[r - 1] / BB_NS_PER_DAY);
            if (of_row < limit) {
                *day = found ? BB_MAX(*day, of_row) : of_row;
                found = true;
                break;
            }
        }
    }
    return found;
}

// The wanted series by the register of types; true if some metric has several.
static bool s_list_registered(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bool has_several = false;
    for (uint32_t i = 0; i < battery->type_count; i++) {
        uint32_t metric = bb_type_entry_metric(battery->types[i]);
        uint32_t bits = battery->types[i] & 0xf;
        if (!bb_snapshot_wants(self->snapshot, metric)) {
            continue;
        }
        has_several |= (bits & (bits - 1)) != 0;
        for (uint32_t type = 1; type <= BB_TYPE_LAST; type++) {
            if (bb_type_entry_has(battery->types[i], type)) {
                bb_battery_view_add_series(&self->view, metric, (bb_type_t)type);
            }
        }
    }
    return has_several;
}

static void s_scan_last(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    self->text_read = NULL;
    // Frames first, to know which series to look for; then again, all of them, if types compete.
    bb_battery_view_begin(&self->view, battery, true);
    if (s_list_registered(self, battery)) {
        bb_battery_view_begin(&self->view, battery, false);
        s_list_registered(self, battery);
    }
    bb_battery_view_sort_series(&self->view);
    uint32_t count = self->view.series_count;
    s_reserve(self, count);
    bool *found = bb_alloc_zero(count + 1, sizeof *found);
    uint32_t found_count = 0;
    uint32_t window_next = self->snapshot->window_count;
    uint32_t day = UINT32_MAX;
    while (found_count < count && s_day_before(self, day, &window_next, &day)) {
        bb_battery_view_forget_runs(&self->view);
        if (window_next > 0 && self->snapshot->windows[window_next - 1].day == day) {
            bb_battery_view_load(&self->view, window_next - 1);
        }
        for (uint32_t i = 0; i < count; i++) {
            const bb_view_series_t *series = &self->view.series[i];
            if (!found[i]) {
                found[i] =
                    bb_series_sweep_last(self->sweep, &self->view, series->metric, series->type,
                                         day, &self->times[i], &self->values[i]);
                found_count += found[i];
            }
        }
    }
    bool continues = s_continues(self, battery);
    for (uint32_t i = 0; i < count && s_rows_left(self) > 0; i++) {
        const bb_view_series_t *series = &self->view.series[i];
        if (!found[i] || (continues && s_compare_to_cursor(self, series) < 0)) {
            continue;
        }
        if (s_bytes_left(self) == 0) {
            s_cut(self, series, 0);
            break;
        }
        uint64_t bits =
            series->type == BB_TYPE_STATE ? s_keep_text(self, self->values[i]) : self->values[i];
        bb_page_builder_points(self->page, battery->id,
                               self->snapshot->metric_names[series->metric], series->type,
                               &self->times[i], &bits, 1);
        self->rows++;
        self->result->points_scanned++;
    }
    free(found);
}

// ---- batteries -------------------------------------------------------------------------------
static bb_error_t s_list_battery(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX];
    bb_page_attribute_t attributes[BB_ATTRIBUTES_MAX];
    uint32_t count = 0;
    bb_error_t error = bb_dictionary_attributes_unpack(battery->attributes, list, &count);
    BB_ASSERT(error == BB_OK); // checked when they were stored
    for (uint32_t i = 0; i < count; i++) {
        attributes[i] = (bb_page_attribute_t){list[i].key, list[i].value};
    }
    bb_page_builder_battery(self->page, battery->id, attributes, count);
    self->rows++;
    return error;
}

// ---- a group over all batteries --------------------------------------------------------------
static s_group_t *s_group(s_scan_t *self, const bb_view_series_t *series)
{
    uint32_t *known = &self->group_of[series->metric * BB_TYPE_LAST + series->type - 1];
    if (*known) {
        return &self->groups[*known - 1];
    }
    if (self->group_count == self->group_capacity) {
        self->group_capacity = self->group_capacity ? self->group_capacity * 2 : 16;
        self->groups = bb_realloc(self->groups, self->group_capacity * sizeof *self->groups);
    }
    self->groups[self->group_count] = (s_group_t){series->metric, series->type, {0}};
    *known = ++self->group_count;
    return &self->groups[self->group_count - 1];
}

static bb_error_t s_group_battery(s_scan_t *self, const bb_snapshot_battery_t *battery)
{
    s_load(self, battery);
    for (uint32_t i = 0; i < self->view.series_count; i++) {
        const bb_view_series_t *series = &self->view.series[i];
        s_group_t *group = s_group(self, series);
        bool is_cut = s_fill_buckets(self, series, self->query->from_wall_ns, S_GROUP_BUCKETS_MAX);
        size_t before = group->buckets.count;
        bb_buckets_merge(&group->buckets, series->type, &self->buckets);
        self->group_buckets += group->buckets.count - before;
        if (is_cut || self->group_buckets > S_GROUP_BUCKETS_MAX) {
            return bb_fault_set(self->fault, BB_ERR_QUERY,
                                "a group over all batteries may have %u buckets; ask for a "
                                "shorter range or wider buckets",
                                S_GROUP_BUCKETS_MAX);
        }
    }
    if (self->view.is_damaged &&
        self->result->damaged_partition_count == BB_COUNT_OF(self->result->damaged_partitions) &&
        self->result->damaged_partitions[self->result->damaged_partition_count - 1] !=
            battery->partition) {
        return bb_fault_set(self->fault, BB_ERR_CORRUPT,
                            "more than %zu partitions have damaged windows",
                            BB_COUNT_OF(self->result->damaged_partitions));
    }
    s_note_damage(self);
    return BB_OK;
}

static int s_compare_groups(const void *a, const void *b, void *context)
{
    const bb_snapshot_t *snapshot = context;
    const s_group_t *left = a;
    const s_group_t *right = b;
    if (left->metric != right->metric) {
        return snapshot->metric_ranks[left->metric] < snapshot->metric_ranks[right->metric] ? -1
                                                                                            : 1;
    }
    return (left->type > right->type) - (left->type < right->type);
}

// Gives the groups from the cursor on. A page that is full ends; the next computes the groups again
// and goes on from its cursor, so nothing is kept between pages.
static void s_emit_groups(s_scan_t *self)
{
    if (self->group_count == 0) {
        return;
    }
    qsort_r(self->groups, self->group_count, sizeof *self->groups, s_compare_groups,
            self->snapshot);
    for (uint32_t i = 0; i < self->group_count && s_rows_left(self) > 0; i++) {
        const bb_view_series_t series = {self->groups[i].metric, self->groups[i].type};
        const bb_buckets_t *buckets = &self->groups[i].buckets;
        size_t first = 0;
        int order = self->cursor.is_set ? s_compare_to_cursor(self, &series) : 1;
        if (order < 0 || buckets->count == 0) {
            continue;
        }
        while (order == 0 && first < buckets->count &&
               buckets->items[first].start_wall_ns < self->cursor.time_wall_ns) {
            first++;
        }
        if (s_bytes_left(self) == 0) {
            s_cut(self, &series, order == 0 ? self->cursor.time_wall_ns : 0);
            return;
        }
        size_t count_max = s_bytes_left(self) / sizeof(bb_bucket_t) + 1;
        size_t count = BB_MIN(buckets->count - first, count_max);
        s_emit_buckets(self, bb_slice(NULL, 0), self->snapshot->metric_names[series.metric],
                       series.type, buckets->items + first, count);
        if (first + count < buckets->count && s_rows_left(self) > 0) {
            s_cut(self, &series, buckets->items[first + count].start_wall_ns);
            return;
        }
    }
}

static bb_error_t s_scan_groups(s_scan_t *self)
{
    bb_error_t error = BB_OK;
    self->group_of = bb_alloc_zero((size_t)self->snapshot->metric_count * BB_TYPE_LAST + 1,
                                   sizeof *self->group_of);
    for (uint32_t i = 0; i < self->snapshot->battery_count && error == BB_OK; i++) {
        error = s_group_battery(self, &self->snapshot->batteries[i]);
    }
    if (error == BB_OK) {
        self->partition = self->cursor.partition;
        s_emit_groups(self);
    }
    return error;
}

// ---- all batteries ---------------------------------------------------------------------------
static bb_error_t s_scan_batteries(s_scan_t *self)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    for (uint32_t i = 0; i < snapshot->battery_count; i++) {
        const bb_snapshot_battery_t *battery = &snapshot->batteries[i];
        if (battery->partition != self->partition) {
            self->partition = battery->partition;
            self->rows = 0;
        }
        if (s_rows_left(self) == 0) {
            continue; // the limit counts per partition: their order is not that of all batteries
        }
        bool has_room =
            self->result->damaged_partition_count < BB_COUNT_OF(self->result->damaged_partitions);
        if (s_bytes_left(self) == 0 || !has_room) {
            s_cut_before(self, battery->partition, battery->id);
            return BB_OK;
        }
        switch (self->query->mode) {
        case BB_QUERY_BATTERIES: {
            bb_error_t error = s_list_battery(self, battery);
            if (error != BB_OK) {
                return error;
            }
            break;
        }
        case BB_QUERY_LAST:
            s_scan_last(self, battery);
            s_note_damage(self);
            break;
        case BB_QUERY_RAW:
        case BB_QUERY_AGGREGATE:
        case BB_QUERY_QUARANTINE:
            s_scan_series(self, battery);
            s_note_damage(self);
            break;
        }
        if (self->is_full) {
            return BB_OK;
        }
    }
    if (!snapshot->is_complete) {
        s_cut_before(self, snapshot->next_partition, snapshot->next_battery);
    }
    return BB_OK;
}

static void s_finish(s_scan_t *self, bb_error_t error)
{
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        self->result->damaged_window_count += self->snapshot->windows[w].is_damaged;
    }
    if (error == BB_OK && self->is_full) {
        bb_scan_cursor_encode(&self->next, &self->result->cursor, &self->result->cursor_length);
    }
    bb_battery_view_free(&self->view);
    bb_series_sweep_destroy(&self->sweep);
    free(self->times);
    free(self->values);
    bb_buckets_free(&self->buckets);
    free(self->out_buckets);
    for (uint32_t i = 0; i < self->group_count; i++) {
        bb_buckets_free(&self->groups[i].buckets);
    }
    free(self->groups);
    free(self->group_of);
    bb_arena_free(&self->texts);
    free(self->text_slots);
}

bb_error_t bb_scan_page(bb_snapshot_t *snapshot, const bb_query_t *query, bb_page_builder_t *page,
                        bb_scan_result_t *result, bb_fault_t *fault)
{
    memset(result, 0, sizeof *result);
    s_scan_t scan = {
        .snapshot = snapshot,
        .query = query,
        .page = page,
        .result = result,
        .fault = fault,
        .page_bytes = query->page_bytes_max ? query->page_bytes_max : S_PAGE_BYTES_DEFAULT,
        .page_bytes_start = bb_page_builder_bytes(page),
        .partition = UINT32_MAX,
    };
    bb_error_t error = bb_scan_cursor_decode(query->cursor, &scan.cursor, fault);
    if (error != BB_OK) {
        return error;
    }
    if (scan.cursor.is_set) {
        scan.partition = scan.cursor.partition;
        scan.rows = scan.cursor.rows;
    }
    bool uses_time = query->mode != BB_QUERY_LAST && query->mode != BB_QUERY_BATTERIES;
    scan.sweep = bb_series_sweep_new();
    if (query->is_decode_forced) {
        bb_series_sweep_force_decode(scan.sweep);
    }
    bb_battery_view_init(&scan.view, snapshot, uses_time ? query->from_wall_ns : 0,
                         uses_time ? query->to_wall_ns : BB_TIME_WALL_NS_LIMIT,
                         query->mode == BB_QUERY_QUARANTINE);
    error = bb_snapshot_is_grouped(query) ? s_scan_groups(&scan) : s_scan_batteries(&scan);
    s_finish(&scan, error);
    return error;
}

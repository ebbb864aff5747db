// SPDX-License-Identifier: Apache-2.0
// One page of an answer. See bb_store.h for what it promises, bb_series_sweep.h for how points
// merge.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup.h"
#include "storage/scan/bb_scan_state.h"

#define S_PAGE_BYTES_DEFAULT (1u << 20)
#define S_POINT_BYTES        (2 * sizeof(uint64_t))

// ---- limits ----------------------------------------------------------------------------------
uint64_t bb_scan_rows_left(const bb_scan_t *self)
{
    if (self->query->row_limit == 0) {
        return UINT64_MAX;
    }
    return self->rows < self->query->row_limit ? self->query->row_limit - self->rows : 0;
}

uint64_t bb_scan_bytes_left(const bb_scan_t *self)
{
    uint64_t bytes = bb_page_builder_bytes(self->page) - self->page_bytes_start;
    return bytes < self->page_bytes ? self->page_bytes - bytes : 0;
}

void bb_scan_cut(bb_scan_t *self, const bb_view_series_t *series, int64_t time_wall_ns)
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
static void s_cut_before(bb_scan_t *self, uint32_t partition, bb_slice_t battery)
{
    self->is_full = true;
    self->next = (bb_scan_cursor_t){
        .is_set = true,
        .partition = partition,
        .battery = battery,
        .rows = partition == self->partition ? self->rows : 0,
    };
}

int bb_scan_compare_to_cursor(const bb_scan_t *self, const bb_view_series_t *series)
{
    int order =
        bb_dictionary_compare(self->snapshot->metric_names[series->metric], self->cursor.metric);
    return order != 0 ? order : (int)series->type - (int)self->cursor.type;
}

bool bb_scan_continues(const bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    return self->cursor.is_set && self->cursor.metric.length > 0 &&
           self->cursor.partition == battery->partition &&
           bb_dictionary_compare(self->cursor.battery, battery->id) == 0;
}

// ---- points ----------------------------------------------------------------------------------
void bb_scan_reserve(bb_scan_t *self, size_t count)
{
    if (count > self->capacity) {
        self->capacity = count * 2;
        self->times = bb_realloc(self->times, self->capacity * sizeof *self->times);
        self->values = bb_realloc(self->values, self->capacity * sizeof *self->values);
    }
}

static void s_append(bb_scan_t *self, const bb_sweep_step_t *step)
{
    bb_scan_reserve(self, self->count + step->count);
    if (step->count > 0) {
        memcpy(self->times + self->count, step->times_wall_ns, step->count * sizeof *self->times);
        memcpy(self->values + self->count, step->values, step->count * sizeof *self->values);
        self->count += step->count;
    }
}

static void s_emit_points(bb_scan_t *self, const bb_view_series_t *series)
{
    self->count = BB_MIN(self->count, bb_scan_rows_left(self));
    if (self->count == 0) {
        return;
    }
    bb_page_builder_points(self->page, self->view.battery->id,
                           self->snapshot->metric_names[series->metric], series->type, self->times,
                           self->values, (uint32_t)self->count);
    self->rows += self->count;
}

// Adds the points of a chunk; false: there may be more, but there is enough.
static bool s_read_points(bb_scan_t *self, const bb_view_series_t *series, size_t count_max)
{
    size_t first = self->count;
    bool is_enough = false;
    bb_sweep_step_t step;
    while (!is_enough && bb_series_sweep_next(self->sweep, &step)) {
        self->result->points_scanned += step.count;
        s_append(self, &step);
        is_enough = self->count >= count_max;
    }
    for (size_t i = first; i < self->count && series->type == BB_TYPE_STATE; i++) {
        self->values[i] = bb_scan_keep_text(self, self->values[i]);
    }
    return !is_enough;
}

static void s_scan_points(bb_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns)
{
    size_t count_max = bb_scan_bytes_left(self) / S_POINT_BYTES + 1;
    count_max = BB_MIN(count_max, bb_scan_rows_left(self));
    self->count = 0;
    bool is_all = true;
    for (uint32_t c = self->chunk_first; c < self->chunk_limit && is_all; c++) {
        if (bb_scan_sweep_chunk(self, c, series, from_wall_ns, 0)) {
            is_all = s_read_points(self, series, count_max);
        }
    }
    int64_t last_wall_ns = self->count > 0 ? self->times[self->count - 1] : 0;
    s_emit_points(self, series);
    if (!is_all && bb_scan_rows_left(self) > 0) {
        bb_scan_cut(self, series, last_wall_ns + 1);
    }
}

uint32_t bb_scan_kind(bb_scan_t *self, const bb_view_series_t *series)
{
    if (!self->kinds) {
        self->kinds =
            bb_alloc_zero((size_t)self->snapshot->metric_count * BB_TYPE_LAST, sizeof *self->kinds);
    }
    uint32_t *known = &self->kinds[series->metric * BB_TYPE_LAST + series->type - 1];
    if (*known == 0) {
        bb_slice_t name = self->snapshot->metric_names[series->metric];
        *known = bb_page_builder_kind(self->page, name, series->type) + 1;
    }
    return *known - 1;
}

// Are some of these aggregates wanted? A query that names none wants all.
static bool s_wants(const bb_query_t *query, uint32_t aggregates)
{
    return query->aggregates == 0 || (query->aggregates & aggregates) != 0;
}

// Numbers that were not asked for, and that not every way to the answer knows, are 0 in all of
// them.
static void s_blank(const bb_query_t *query, bb_bucket_item_t *items, size_t count)
{
    bool has_ends = s_wants(query, BB_AGGREGATE_FIRST | BB_AGGREGATE_LAST);
    bool has_extremes = s_wants(query, BB_AGGREGATE_MIN | BB_AGGREGATE_MAX);
    for (size_t i = 0; i < count; i++) {
        bb_block_stats_t *stats = &items[i].stats;
        if (!has_ends) {
            stats->first_wall_ns = stats->last_wall_ns = 0;
            stats->first = stats->last = 0;
        }
        if (!has_extremes) {
            stats->min = stats->max = 0;
        }
    }
}

// A series of one bucket, which a page keeps as a row.
static void s_emit_row(bb_scan_t *self, bb_slice_t battery, const bb_view_series_t *series,
                       const bb_buckets_t *buckets)
{
    bb_bucket_item_t item;
    if (buckets->is_columns) {
        item.start_wall_ns = buckets->columns.starts_wall_ns[0];
        bb_bucket_columns_get(&buckets->columns, 0, &item.stats);
    } else {
        item = buckets->items[0];
    }
    bb_page_builder_row_bucket(self->page, battery, bb_scan_kind(self, series), &item.bucket);
    self->rows++;
}

static void s_emit_columns(bb_scan_t *self, bb_slice_t battery, const bb_view_series_t *series,
                           const bb_bucket_columns_t *columns, size_t count)
{
    const bb_bucket_list_t list = {
        .starts_wall_ns = columns->starts_wall_ns,
        .counts = columns->counts,
        .sums = columns->sums,
        .mins = columns->has_extremes ? columns->mins : NULL,
        .maxs = columns->has_extremes ? columns->maxs : NULL,
    };
    bb_page_builder_bucket_list(self->page, battery, self->snapshot->metric_names[series->metric],
                                series->type, &list, (uint32_t)count);
}

void bb_scan_emit_buckets(bb_scan_t *self, bb_slice_t battery, const bb_view_series_t *series,
                          bb_buckets_t *buckets, size_t count)
{
    count = BB_MIN(count, bb_scan_rows_left(self));
    if (count == 0) {
        return;
    }
    if (series->type != BB_TYPE_STATE && !buckets->is_columns) {
        s_blank(self->query, buckets->items, count);
    }
    if (self->query->every_ns == 0 && battery.length > 0) {
        s_emit_row(self, battery, series, buckets);
        return;
    }
    if (buckets->is_columns) {
        s_emit_columns(self, battery, series, &buckets->columns, count);
    } else {
        bb_page_builder_buckets(self->page, battery, self->snapshot->metric_names[series->metric],
                                series->type, &buckets->items->bucket, (uint32_t)count);
    }
    self->rows += count;
}

bb_bucket_rule_t bb_scan_rule(const bb_scan_t *self)
{
    return (bb_bucket_rule_t){self->query->every_ns, self->query->from_wall_ns,
                              !s_wants(self->query, BB_AGGREGATE_FIRST | BB_AGGREGATE_LAST),
                              !s_wants(self->query, BB_AGGREGATE_MIN | BB_AGGREGATE_MAX)};
}

size_t bb_scan_bucket_bytes(bb_scan_t *self, const bb_view_series_t *series)
{
    bb_buckets_begin(&self->buckets, bb_scan_rule(self), series->type);
    return bb_buckets_page_bytes(&self->buckets);
}

static void s_add_step(bb_scan_t *self, bb_type_t type, const bb_sweep_step_t *step)
{
    if (step->is_stats) {
        self->result->points_scanned += step->stats.count;
        bb_buckets_add_stats(&self->buckets, bb_scan_rule(self), type, &step->stats);
        return;
    }
    self->result->points_scanned += step->count;
    if (step->cuts) {
        bb_buckets_add_ranges(&self->buckets, bb_scan_rule(self), type, step->cuts->starts,
                              step->ranges, step->cuts->count);
    } else {
        bb_buckets_add_points(&self->buckets, bb_scan_rule(self), type, step->exponent,
                              step->times_wall_ns, step->values, step->count);
    }
}

bool bb_scan_fill_buckets(bb_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns,
                          int64_t limit_wall_ns, size_t count_max)
{
    int64_t every_ns = self->query->every_ns ? self->query->every_ns : INT64_MAX;
    bool is_cut = false;
    bb_buckets_begin(&self->buckets, bb_scan_rule(self), series->type);
    for (uint32_t c = self->chunk_first; c < self->chunk_limit && !is_cut; c++) {
        if (!bb_scan_sweep_chunk(self, c, series, from_wall_ns, every_ns)) {
            continue;
        }
        bb_sweep_step_t step;
        while (!is_cut && bb_series_sweep_next(self->sweep, &step)) {
            s_add_step(self, series->type, &step);
            size_t count = bb_buckets_count(&self->buckets);
            is_cut = count > count_max ||
                     (count > 0 && bb_buckets_start(&self->buckets, count - 1) >= limit_wall_ns);
        }
        if (series->type == BB_TYPE_STATE) {
            bb_scan_keep_bucket_texts(self, &self->buckets);
        }
    }
    return is_cut;
}

static void s_scan_buckets(bb_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns)
{
    size_t count_max = bb_scan_bytes_left(self) / bb_scan_bucket_bytes(self, series) + 1;
    bool is_cut = bb_scan_fill_buckets(self, series, from_wall_ns, INT64_MAX, count_max);
    size_t count = bb_buckets_count(&self->buckets) - is_cut;
    bb_scan_emit_buckets(self, self->view.battery->id, series, &self->buckets, count);
    if (is_cut && bb_scan_rows_left(self) > 0) {
        bb_scan_cut(self, series, bb_buckets_start(&self->buckets, count));
    }
}

// ---- one battery -----------------------------------------------------------------------------
bool bb_scan_is_named(const bb_scan_result_t *result, uint32_t partition)
{
    for (uint32_t i = result->damaged_partition_count; i > 0; i--) {
        if (result->damaged_partitions[i - 1] == partition) {
            return true;
        }
    }
    return false;
}

void bb_scan_note_damage(bb_scan_t *self)
{
    bb_scan_result_t *result = self->result;
    uint32_t partition = self->view.battery->partition;
    if (!self->view.is_damaged || bb_scan_is_named(result, partition)) {
        return;
    }
    BB_ASSERT(result->damaged_partition_count < BB_COUNT_OF(result->damaged_partitions));
    result->damaged_partitions[result->damaged_partition_count++] = partition;
}

static void s_scan_series(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bb_scan_load(self, battery);
    bool continues = bb_scan_continues(self, battery);
    for (uint32_t i = 0; i < self->view.series_count && bb_scan_rows_left(self) > 0; i++) {
        const bb_view_series_t *series = &self->view.series[i];
        int64_t from_wall_ns = self->query->from_wall_ns;
        if (continues) {
            int order = bb_scan_compare_to_cursor(self, series);
            if (order < 0) {
                continue;
            }
            from_wall_ns =
                order == 0 ? BB_MAX(from_wall_ns, self->cursor.time_wall_ns) : from_wall_ns;
        }
        if (bb_scan_bytes_left(self) == 0) {
            bb_scan_cut(self, series, from_wall_ns);
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

// ---- batteries -------------------------------------------------------------------------------
static bb_error_t s_list_battery(bb_scan_t *self, const bb_snapshot_battery_t *battery)
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

static void s_give_generation(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    const int64_t time_wall_ns = 0;
    const uint64_t generation = battery->generation;
    if (generation > 0) {
        bb_page_builder_points(self->page, battery->id,
                               bb_slice(BB_GENERATION_METRIC, strlen(BB_GENERATION_METRIC)),
                               BB_TYPE_INT64, &time_wall_ns, &generation, 1);
        self->rows++;
    }
}

// ---- all batteries ---------------------------------------------------------------------------
static bb_error_t s_scan_batteries(bb_scan_t *self)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    for (uint32_t i = 0; i < snapshot->battery_count; i++) {
        const bb_snapshot_battery_t *battery = &snapshot->batteries[i];
        if (battery->partition != self->partition) {
            self->partition = battery->partition;
            self->rows = 0;
        }
        if (bb_scan_rows_left(self) == 0) {
            continue; // the limit counts per partition: their order is not that of all batteries
        }
        bool has_room =
            self->result->damaged_partition_count < BB_COUNT_OF(self->result->damaged_partitions);
        if (bb_scan_bytes_left(self) == 0 || !has_room) {
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
        case BB_QUERY_GENERATIONS:
            s_give_generation(self, battery);
            break;
        case BB_QUERY_LAST:
            bb_scan_last(self, battery);
            break;
        case BB_QUERY_RAW:
        case BB_QUERY_AGGREGATE:
        case BB_QUERY_QUARANTINE:
            s_scan_series(self, battery);
            bb_scan_note_damage(self);
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

bb_error_t bb_scan_begin(bb_scan_t *self, bb_snapshot_t *snapshot, const bb_query_t *query,
                         bb_scan_result_t *result, bb_fault_t *fault)
{
    memset(result, 0, sizeof *result);
    *self = (bb_scan_t){
        .snapshot = snapshot,
        .query = query,
        .result = result,
        .fault = fault,
        .page_bytes = query->page_bytes_max ? query->page_bytes_max : S_PAGE_BYTES_DEFAULT,
        .partition = UINT32_MAX,
    };
    bb_error_t error = bb_scan_cursor_decode(query->cursor, &self->cursor, fault);
    if (error != BB_OK) {
        return error;
    }
    if (self->cursor.is_set) {
        self->partition = self->cursor.partition;
        self->rows = self->cursor.rows;
    }
    bool uses_time = query->mode != BB_QUERY_LAST && !bb_snapshot_is_of_names(query);
    self->sweep = bb_series_sweep_new();
    if (query->is_decode_forced) {
        bb_series_sweep_force_decode(self->sweep);
    }
    if (query->mode == BB_QUERY_AGGREGATE &&
        !s_wants(query, BB_AGGREGATE_FIRST | BB_AGGREGATE_LAST)) {
        bb_series_sweep_allow_totals(self->sweep,
                                     s_wants(query, BB_AGGREGATE_MIN | BB_AGGREGATE_MAX));
    }
    bb_battery_view_init(&self->view, snapshot, uses_time ? query->from_wall_ns : 0,
                         uses_time ? query->to_wall_ns : BB_TIME_WALL_NS_LIMIT,
                         query->mode == BB_QUERY_QUARANTINE);
    bb_scan_chunks_plan(self);
    return BB_OK;
}

void bb_scan_write_to(bb_scan_t *self, bb_page_builder_t *page)
{
    self->page = page;
    self->page_bytes_start = bb_page_builder_bytes(page);
    if (self->query->accepts_rows) {
        bb_page_builder_accept_rows(page);
    }
}

void bb_scan_end_reading(bb_scan_t *self)
{
    for (uint32_t w = 0; w < self->snapshot->window_count; w++) {
        const bb_snapshot_window_t *window = &self->snapshot->windows[w];
        self->result->damaged_window_count += window->is_damaged;
        self->result->unread_window_count +=
            window->is_damaged && window->is_unread && !window->is_quarantined;
    }
    self->result->blocks_decoded = bb_series_sweep_blocks_decoded(self->sweep);
    bb_battery_view_free(&self->view);
    bb_series_sweep_destroy(&self->sweep);
}

void bb_scan_end(bb_scan_t *self)
{
    free(self->times);
    free(self->values);
    bb_buckets_free(&self->buckets);
    free(self->kinds);
    free(self->found);
    bb_scan_chunks_free(self);
    bb_scan_groups_free(self);
    bb_scan_texts_free(self);
}

void bb_scan_give_cursor(const bb_scan_t *self)
{
    if (self->is_full) {
        bb_scan_cursor_encode(&self->next, &self->result->cursor, &self->result->cursor_length);
    }
}

bb_error_t bb_scan_page(bb_snapshot_t *snapshot, const bb_query_t *query, bb_page_builder_t *page,
                        bb_scan_result_t *result, bb_fault_t *fault)
{
    if (query->rollup.length > 0) {
        return bb_rollup_page(snapshot, query, page, result, fault);
    }
    bb_scan_t scan;
    bb_error_t error = bb_scan_begin(&scan, snapshot, query, result, fault);
    if (error != BB_OK) {
        return error;
    }
    bb_scan_write_to(&scan, page);
    if (bb_snapshot_is_grouped(query)) {
        error = bb_scan_groups_collect(&scan);
        if (error == BB_OK) {
            bb_scan_groups_emit(&scan);
        }
    } else {
        error = s_scan_batteries(&scan);
    }
    bb_scan_end_reading(&scan);
    if (error == BB_OK) {
        bb_scan_give_cursor(&scan);
    }
    bb_scan_end(&scan);
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_rollup_series.h"

#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_hash.h"
#include "storage/scan/bb_snapshot.h"

// ---- the set ---------------------------------------------------------------------------------
void bb_rollup_set_free(bb_rollup_set_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        free(self->series[i].items);
    }
    free(self->series);
    free(self->slots);
    bb_arena_free(&self->arena);
    *self = (bb_rollup_set_t){0};
}

static uint32_t s_slot(const bb_rollup_set_t *self, uint32_t battery, uint32_t metric,
                       bb_type_t type)
{
    uint64_t hash = bb_hash_mix((uint64_t)battery << 32 | metric, (uint64_t)type);
    uint32_t mask = self->slot_count - 1;
    uint32_t slot = (uint32_t)hash & mask;
    while (self->slots[slot] != 0) {
        const bb_rollup_series_t *series = &self->series[self->slots[slot] - 1];
        if (series->battery == battery && series->metric == metric && series->type == type) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void s_grow(bb_rollup_set_t *self)
{
    self->slot_count = self->slot_count ? self->slot_count * 2 : 64;
    free(self->slots);
    self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
    for (uint32_t i = 0; i < self->count; i++) {
        const bb_rollup_series_t *series = &self->series[i];
        self->slots[s_slot(self, series->battery, series->metric, series->type)] = i + 1;
    }
}

bb_rollup_series_t *bb_rollup_set_series(bb_rollup_set_t *self, uint32_t battery, uint32_t metric,
                                         bb_type_t type)
{
    if (self->count >= self->slot_count / 2) {
        s_grow(self);
    }
    uint32_t slot = s_slot(self, battery, metric, type);
    if (self->slots[slot] == 0) {
        if (self->count == self->capacity) {
            self->capacity = self->capacity ? self->capacity * 2 : 32;
            self->series = bb_realloc(self->series, self->capacity * sizeof *self->series);
        }
        self->series[self->count] =
            (bb_rollup_series_t){.battery = battery, .metric = metric, .type = type};
        self->slots[slot] = ++self->count;
    }
    return &self->series[self->slots[slot] - 1];
}

// Position of the start, or where it would be put. Pieces mostly come in order.
static uint32_t s_find(const bb_rollup_series_t *self, int64_t start_wall_ns)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    if (limit > 0 && self->items[limit - 1].start_wall_ns < start_wall_ns) {
        return limit;
    }
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->items[middle].start_wall_ns < start_wall_ns) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

void bb_rollup_series_put(bb_rollup_series_t *self, const bb_bucket_item_t *item)
{
    BB_ASSERT(item->stats.count > 0);
    uint32_t at = s_find(self, item->start_wall_ns);
    if (at < self->count && self->items[at].start_wall_ns == item->start_wall_ns) {
        self->items[at] = *item;
        return;
    }
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 4;
        self->items = bb_realloc(self->items, self->capacity * sizeof *self->items);
    }
    memmove(self->items + at + 1, self->items + at, (self->count - at) * sizeof *self->items);
    self->items[at] = *item;
    self->count++;
}

// The piece of a metric with one type, or NULL.
static bb_bucket_item_t *s_piece(const bb_rollup_set_t *self, uint32_t battery, uint32_t metric,
                                 bb_type_t type, int64_t start_wall_ns)
{
    uint32_t index = self->slot_count ? self->slots[s_slot(self, battery, metric, type)] : 0;
    if (index == 0) {
        return NULL;
    }
    const bb_rollup_series_t *series = &self->series[index - 1];
    uint32_t at = s_find(series, start_wall_ns);
    bool is_there = at < series->count && series->items[at].start_wall_ns == start_wall_ns;
    return is_there ? &series->items[at] : NULL;
}

static uint64_t s_total(const bb_rollup_set_t *self, const bb_rollup_series_t *of,
                        int64_t start_wall_ns)
{
    uint64_t total = 0;
    for (int type = 1; type <= BB_TYPE_LAST; type++) {
        const bb_bucket_item_t *item =
            s_piece(self, of->battery, of->metric, (bb_type_t)type, start_wall_ns);
        total += item ? item->stats.count : 0;
    }
    return total;
}

// Takes the pieces of the metric with that start from `stored`.
static void s_replace(bb_rollup_set_t *self, const bb_rollup_set_t *stored,
                      const bb_rollup_series_t *of, int64_t start_wall_ns)
{
    for (int type = 1; type <= BB_TYPE_LAST; type++) {
        bb_bucket_item_t *known =
            s_piece(self, of->battery, of->metric, (bb_type_t)type, start_wall_ns);
        const bb_bucket_item_t *item =
            s_piece(stored, of->battery, of->metric, (bb_type_t)type, start_wall_ns);
        if (item) {
            bb_rollup_series_put(
                bb_rollup_set_series(self, of->battery, of->metric, (bb_type_t)type), item);
        } else if (known) {
            known->stats.count = 0;
        }
    }
}

void bb_rollup_set_merge_stored(bb_rollup_set_t *self, const bb_rollup_set_t *stored)
{
    for (uint32_t i = 0; i < stored->count; i++) {
        const bb_rollup_series_t *series = &stored->series[i];
        for (uint32_t j = 0; j < series->count; j++) {
            int64_t start_wall_ns = series->items[j].start_wall_ns;
            if (s_total(stored, series, start_wall_ns) > s_total(self, series, start_wall_ns)) {
                s_replace(self, stored, series, start_wall_ns);
            }
        }
    }
}

// ---- pieces of others ------------------------------------------------------------------------
static uint8_t *s_put(uint8_t *at, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        *at++ = (uint8_t)(number >> 8 * i);
    }
    return at;
}

size_t bb_rollup_piece_encode(bb_type_t type, const bb_block_stats_t *stats,
                              uint8_t out[BB_ROLLUP_PIECE_BYTES_MAX])
{
    uint8_t *at = out;
    *at++ = (uint8_t)type;
    at = s_put(at, stats->count, 8);
    uint8_t *length = at++;
    *length = (uint8_t)bb_sum_encode(&stats->sum, at);
    at += *length;
    at = s_put(at, (uint64_t)stats->first_wall_ns, 8);
    at = s_put(at, (uint64_t)stats->last_wall_ns, 8);
    const uint64_t values[4] = {stats->min, stats->max, stats->first, stats->last};
    for (uint32_t i = 0; i < BB_COUNT_OF(values); i++) {
        if (type != BB_TYPE_STATE) {
            at = s_put(at, values[i], 8);
            continue;
        }
        const bb_text_t *text = bb_text_of_bits(values[i]);
        BB_ASSERT(text->length <= BB_STATE_BYTES_MAX);
        at = s_put(at, text->length, 2);
        memcpy(at, text->bytes, text->length);
        at += text->length;
    }
    return (size_t)(at - out);
}

// Order of what the metric's pieces of that start say, over all types.
static int s_compare_pieces(const bb_rollup_set_t *a, const bb_rollup_set_t *b,
                            const bb_rollup_series_t *of, int64_t start_wall_ns)
{
    uint8_t left[BB_ROLLUP_PIECE_BYTES_MAX];
    uint8_t right[BB_ROLLUP_PIECE_BYTES_MAX];
    for (int type = 1; type <= BB_TYPE_LAST; type++) {
        const bb_bucket_item_t *x =
            s_piece(a, of->battery, of->metric, (bb_type_t)type, start_wall_ns);
        const bb_bucket_item_t *y =
            s_piece(b, of->battery, of->metric, (bb_type_t)type, start_wall_ns);
        bool has_x = x && x->stats.count > 0;
        bool has_y = y && y->stats.count > 0;
        if (!has_x || !has_y) {
            if (has_x != has_y) {
                return has_x ? 1 : -1;
            }
            continue;
        }
        size_t left_bytes = bb_rollup_piece_encode((bb_type_t)type, &x->stats, left);
        size_t right_bytes = bb_rollup_piece_encode((bb_type_t)type, &y->stats, right);
        int order = memcmp(left, right, BB_MIN(left_bytes, right_bytes));
        if (order != 0 || left_bytes != right_bytes) {
            return order != 0 ? order : left_bytes > right_bytes ? 1 : -1;
        }
    }
    return 0;
}

void bb_rollup_set_merge_other(bb_rollup_set_t *self, const bb_rollup_set_t *other,
                               uint64_t *different_count)
{
    for (uint32_t i = 0; i < other->count; i++) {
        const bb_rollup_series_t *series = &other->series[i];
        for (uint32_t j = 0; j < series->count; j++) {
            int64_t start_wall_ns = series->items[j].start_wall_ns;
            uint64_t known = s_total(self, series, start_wall_ns);
            uint64_t told = s_total(other, series, start_wall_ns);
            int order = told > known   ? 1
                        : told < known ? -1
                                       : s_compare_pieces(other, self, series, start_wall_ns);
            *different_count += known > 0 && order != 0;
            if (order > 0) {
                s_replace(self, other, series, start_wall_ns);
            }
        }
    }
}

void bb_rollup_series_bucket(bb_rollup_series_t *self, const bb_calendar_t *calendar,
                             int64_t from_wall_ns, int64_t to_wall_ns)
{
    uint32_t count = 0;
    int64_t start_wall_ns = 0;
    int64_t limit_wall_ns = INT64_MIN;
    for (uint32_t i = 0; i < self->count; i++) {
        bb_bucket_item_t item = self->items[i];
        if (item.stats.count == 0) {
            continue;
        }
        bool is_next = item.start_wall_ns >= limit_wall_ns;
        if (is_next) {
            start_wall_ns = bb_calendar_start(calendar, item.start_wall_ns);
            limit_wall_ns = bb_calendar_next(calendar, start_wall_ns);
        }
        if (start_wall_ns < from_wall_ns || start_wall_ns >= to_wall_ns) {
            continue;
        }
        if (is_next || count == 0) {
            item.start_wall_ns = start_wall_ns;
            self->items[count++] = item;
        } else {
            bb_stats_merge(&self->items[count - 1].stats, self->type, &item.stats);
        }
    }
    self->count = count;
}

// ---- scanning --------------------------------------------------------------------------------
typedef struct {
    const bb_rollup_scan_t *scan;
    bb_rollup_set_t *set;
    bb_scan_result_t *result;
    uint32_t *order; // metrics by name
    uint32_t day;
} s_scan_t;

static int s_compare_ranks(const void *a, const void *b, void *context)
{
    const uint32_t *ranks = context;
    uint32_t left = ranks[*(const uint32_t *)a];
    uint32_t right = ranks[*(const uint32_t *)b];
    return (left > right) - (left < right);
}

static uint32_t s_metric(const s_scan_t *self, bb_slice_t name)
{
    const bb_snapshot_t *snapshot = self->scan->snapshot;
    uint32_t first = 0;
    uint32_t limit = snapshot->metric_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (bb_dictionary_compare(snapshot->metric_names[self->order[middle]], name) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    BB_ASSERT(first < snapshot->metric_count); // the scan took it from there
    return self->order[first];
}

static uint64_t s_bits(const s_scan_t *self, const bb_page_t *page, bb_type_t type, uint64_t bits)
{
    if (type != BB_TYPE_STATE) {
        return bits;
    }
    bb_slice_t state = page->states[bits];
    bb_text_t *text = bb_arena_alloc(&self->set->arena, sizeof *text + state.length);
    text->length = (uint32_t)state.length;
    if (state.length > 0) {
        memcpy(text->bytes, state.data, state.length);
    }
    return (uint64_t)(uintptr_t)text;
}

static void s_take_series(s_scan_t *self, const bb_page_t *page, const bb_series_t *series,
                          uint32_t battery, int64_t start_wall_ns)
{
    uint32_t metric = s_metric(self, series->metric);
    bb_type_t type = (bb_type_t)series->type;
    if (self->scan->metric_is_taken && !self->scan->metric_is_taken[metric]) {
        return;
    }
    bb_rollup_series_t *into = bb_rollup_set_series(self->set, battery, metric, type);
    for (uint32_t i = 0; i < series->row_count; i++) {
        bb_bucket_t from = bb_series_bucket(series, i);
        const bb_bucket_t *bucket = &from;
        bb_bucket_item_t item = {.start_wall_ns =
                                     start_wall_ns >= 0 ? start_wall_ns : bucket->start_wall_ns,
                                 .stats = {.count = bucket->count,
                                           .sum = bucket->sum,
                                           .min = s_bits(self, page, type, bucket->min),
                                           .max = s_bits(self, page, type, bucket->max),
                                           .first_wall_ns = bucket->first_wall_ns,
                                           .last_wall_ns = bucket->last_wall_ns,
                                           .first = s_bits(self, page, type, bucket->first),
                                           .last = s_bits(self, page, type, bucket->last)}};
        if (item.stats.count > 0) {
            bb_rollup_series_put(into, &item);
        }
    }
}

// Series of a page come in the order of the snapshot's batteries.
static void s_take_page(s_scan_t *self, const bb_page_t *page, int64_t start_wall_ns)
{
    const bb_snapshot_t *snapshot = self->scan->snapshot;
    uint32_t battery = 0;
    for (uint32_t i = 0; i < page->series_count; i++) {
        const bb_series_t *series = &page->series[i];
        uint32_t looked = 0;
        while (bb_dictionary_compare(snapshot->batteries[battery].id, series->battery) != 0) {
            battery = (battery + 1) % snapshot->battery_count;
            BB_ASSERT(looked++ < snapshot->battery_count);
        }
        if (!self->scan->takes || self->scan->takes(self->scan->context, battery, self->day)) {
            s_take_series(self, page, series, battery, start_wall_ns);
        }
    }
}

static void s_add_damage(bb_scan_result_t *to, const bb_scan_result_t *from)
{
    to->points_scanned += from->points_scanned;
    to->blocks_decoded += from->blocks_decoded;
    to->damaged_window_count = BB_MAX(to->damaged_window_count, from->damaged_window_count);
    to->unread_window_count = BB_MAX(to->unread_window_count, from->unread_window_count);
    for (uint32_t i = 0; i < from->damaged_partition_count; i++) {
        bool is_named = false;
        for (uint32_t j = 0; j < to->damaged_partition_count && !is_named; j++) {
            is_named = to->damaged_partitions[j] == from->damaged_partitions[i];
        }
        if (!is_named && to->damaged_partition_count < BB_COUNT_OF(to->damaged_partitions)) {
            to->damaged_partitions[to->damaged_partition_count++] = from->damaged_partitions[i];
        }
    }
}

// True when the cursor stands behind the last battery of the snapshot.
static bool s_is_end(const bb_snapshot_t *snapshot, bb_slice_t encoded)
{
    bb_scan_cursor_t cursor;
    bb_error_t error = bb_scan_cursor_decode(encoded, &cursor, NULL);
    BB_ASSERT(error == BB_OK); // our own
    return !snapshot->is_complete && cursor.metric.length == 0 &&
           cursor.partition == snapshot->next_partition &&
           bb_dictionary_compare(cursor.battery, snapshot->next_battery) == 0;
}

// Aggregates of [from, to); start_wall_ns is that of the piece, -1 with every_ns.
static bb_error_t s_scan(s_scan_t *self, int64_t from_wall_ns, int64_t to_wall_ns, int64_t every_ns,
                         int64_t start_wall_ns, bb_fault_t *fault)
{
    bb_query_t query = *self->scan->query;
    query.mode = BB_QUERY_AGGREGATE;
    query.aggregates = BB_AGGREGATE_ALL;
    query.group_by_none = false;
    query.accepts_rows = false;
    query.row_limit = 0;
    query.page_bytes_max = BB_MESSAGE_BYTES_MAX;
    query.from_wall_ns = from_wall_ns;
    query.to_wall_ns = to_wall_ns;
    query.every_ns = every_ns;
    query.cursor = bb_slice(NULL, 0);
    bb_page_builder_t *builder = bb_page_builder_new();
    uint8_t *cursor = NULL;
    bb_error_t error = BB_OK;
    bool is_done = false;
    while (error == BB_OK && !is_done) {
        bb_scan_result_t result = {0};
        error = bb_scan_page(self->scan->snapshot, &query, builder, &result, fault);
        uint8_t *encoded = NULL;
        size_t length = 0;
        bb_page_builder_finish(builder, &encoded, &length);
        bb_page_t page;
        if (error == BB_OK) {
            error = bb_page_open(&page, bb_slice(encoded, length), fault);
        }
        if (error == BB_OK) {
            s_take_page(self, &page, start_wall_ns);
            bb_page_close(&page);
        }
        free(encoded);
        s_add_damage(self->result, &result);
        free(cursor);
        cursor = result.cursor;
        query.cursor = bb_slice(cursor, result.cursor_length);
        is_done = !cursor || s_is_end(self->scan->snapshot, query.cursor);
    }
    free(cursor);
    bb_page_builder_destroy(&builder);
    return error;
}

bb_error_t bb_rollup_scan_day(const bb_rollup_scan_t *scan, const bb_calendar_t *calendar,
                              uint32_t day, bb_rollup_set_t *set, bb_scan_result_t *result,
                              bb_fault_t *fault)
{
    const bb_snapshot_t *snapshot = scan->snapshot;
    if (snapshot->battery_count == 0 || snapshot->metric_count == 0) {
        return BB_OK;
    }
    s_scan_t self = {.scan = scan, .set = set, .result = result, .day = day};
    self.order = bb_alloc(snapshot->metric_count * sizeof *self.order);
    for (uint32_t i = 0; i < snapshot->metric_count; i++) {
        self.order[i] = i;
    }
    qsort_r(self.order, snapshot->metric_count, sizeof *self.order, s_compare_ranks,
            snapshot->metric_ranks);
    int64_t at_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    int64_t end_wall_ns = at_wall_ns + BB_NS_PER_DAY;
    bb_error_t error = BB_OK;
    if (calendar->every == BB_EVERY_FIXED) {
        error = s_scan(&self, at_wall_ns, end_wall_ns, calendar->every_ns, -1, fault);
        at_wall_ns = end_wall_ns;
    }
    while (error == BB_OK && at_wall_ns < end_wall_ns) {
        int64_t next_wall_ns = bb_calendar_next(calendar, bb_calendar_start(calendar, at_wall_ns));
        next_wall_ns = BB_MIN(next_wall_ns, end_wall_ns);
        error = s_scan(&self, at_wall_ns, next_wall_ns, 0, at_wall_ns, fault);
        at_wall_ns = next_wall_ns;
    }
    free(self.order);
    return error;
}

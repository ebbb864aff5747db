// SPDX-License-Identifier: Apache-2.0
// Taking a snapshot: the part of a query that needs the store's own thread.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store.h"
#include "storage/bb_store_flush.h"
#include "storage/bb_store_latest.h"
#include "storage/bb_store_private.h"
#include "storage/bb_store_rollup.h"
#include "storage/bb_store_scrub.h"
#include "storage/scan/bb_snapshot.h"

#define S_PAGE_BYTES_DEFAULT (1u << 20)
// What a series costs in a page besides its points, and what a bucket costs.
#define S_SERIES_BYTES 64u
#define S_VALUE_BYTES  24u // in a page of rows

typedef struct {
    bb_store_t *store;
    const bb_query_t *query;
    bb_snapshot_t *snapshot;
    bb_scan_cursor_t cursor;
    uint32_t wanted_count; // metrics asked for that exist; all when none are named
    uint32_t battery_max;
    uint64_t page_bytes;        // soft limit
    uint64_t bytes;             // that the batteries taken will at least give
    bb_latest_finder_t *finder; // LAST
    uint32_t look_count;        // batteries that it was asked for
    uint32_t unknown_count;     // of them, windows have to be read for these
} s_taking_t;

static bool s_uses_time(const bb_query_t *query)
{
    return query->mode != BB_QUERY_LAST && !bb_snapshot_is_of_names(query);
}

// ---- metrics ---------------------------------------------------------------------------------
static void s_take_metrics(s_taking_t *self)
{
    bb_dictionary_t *dictionary = self->store->dictionary;
    bb_snapshot_t *snapshot = self->snapshot;
    uint32_t count = bb_dictionary_metric_count(dictionary);
    snapshot->metric_count = count;
    snapshot->metric_names =
        bb_arena_alloc(&snapshot->arena, count * sizeof *snapshot->metric_names);
    for (uint32_t i = 0; i < count; i++) {
        snapshot->metric_names[i] = bb_dictionary_metric_name(dictionary, i);
    }
    snapshot->metric_ranks = bb_arena_copy(&snapshot->arena, bb_dictionary_metric_ranks(dictionary),
                                           count * sizeof(uint32_t));
    self->wanted_count = count;
    if (self->query->metric_count == 0) {
        return;
    }
    self->wanted_count = 0;
    snapshot->metric_is_wanted = bb_arena_alloc(&snapshot->arena, count + 1);
    memset(snapshot->metric_is_wanted, 0, count + 1);
    for (uint32_t i = 0; i < self->query->metric_count; i++) {
        uint32_t metric = bb_dictionary_metric_find(dictionary, self->query->metrics[i]);
        if (metric != BB_NUMBER_NONE && !snapshot->metric_is_wanted[metric]) {
            snapshot->metric_is_wanted[metric] = true;
            self->wanted_count++;
        }
    }
}

// ---- head ------------------------------------------------------------------------------------
static uint32_t s_wanted_of(const bb_snapshot_t *snapshot, const bb_head_shape_t *shape)
{
    if (!snapshot->metric_is_wanted) {
        return shape->metric_count;
    }
    uint32_t count = 0;
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        count += snapshot->metric_is_wanted[shape->metrics[m]];
    }
    return count;
}

// At least so many bytes will the group add to the page.
static uint64_t s_estimate(const bb_query_t *query, const bb_head_rows_t *rows, uint32_t metrics)
{
    uint64_t row_count = 1;
    if (query->mode == BB_QUERY_RAW && rows->is_ascending &&
        rows->first_wall_ns >= query->from_wall_ns && rows->last_wall_ns < query->to_wall_ns) {
        row_count = rows->row_count;
    }
    return metrics * (S_SERIES_BYTES + row_count * 2 * sizeof(uint64_t));
}

static void s_take_groups(s_taking_t *self, const bb_head_t *head, uint32_t battery)
{
    bb_snapshot_t *snapshot = self->snapshot;
    const bb_query_t *query = self->query;
    for (const bb_head_group_t *group = bb_head_first_of(head, battery); group;
         group = group->next_of_battery) {
        if (group->rows.is_quarantined && query->mode != BB_QUERY_QUARANTINE) {
            continue;
        }
        if (s_uses_time(query) && (group->rows.first_wall_ns >= query->to_wall_ns ||
                                   group->rows.last_wall_ns < query->from_wall_ns)) {
            continue;
        }
        uint32_t metrics = s_wanted_of(snapshot, group->rows.shape);
        if (metrics == 0) {
            continue;
        }
        if (snapshot->row_group_count == snapshot->row_group_capacity) {
            snapshot->row_group_capacity =
                snapshot->row_group_capacity ? snapshot->row_group_capacity * 2 : 64;
            snapshot->rows =
                bb_realloc(snapshot->rows, snapshot->row_group_capacity * sizeof *snapshot->rows);
        }
        snapshot->rows[snapshot->row_group_count++] = group->rows;
        if (query->mode == BB_QUERY_RAW || query->mode == BB_QUERY_LAST) {
            self->bytes += s_estimate(query, &group->rows, metrics);
        }
    }
}

// ---- batteries -------------------------------------------------------------------------------
static bool s_is_enough(const s_taking_t *self)
{
    // A group over all batteries cannot be cut.
    return !bb_snapshot_is_grouped(self->query) &&
           (self->snapshot->battery_count >= self->battery_max ||
            self->look_count >= BB_SNAPSHOT_LOOKS_MAX || self->bytes > self->page_bytes);
}

// Newest values from memory. False: windows have to be read.
static bool s_take_values(s_taking_t *self, bb_snapshot_battery_t *battery)
{
    bb_snapshot_t *snapshot = self->snapshot;
    self->look_count++;
    battery->values_first = snapshot->value_count;
    battery->is_known = bb_latest_find(self->finder, battery->number);
    battery->values_count = snapshot->value_count - battery->values_first;
    if (battery->values_count > 0) {
        self->bytes += battery->id.length + battery->values_count * S_VALUE_BYTES;
    }
    self->unknown_count += !battery->is_known;
    return battery->is_known;
}

// False: the page has enough; the battery is left for the next.
static bool s_take_battery(s_taking_t *self, uint32_t number)
{
    bb_snapshot_t *snapshot = self->snapshot;
    bb_dictionary_t *dictionary = self->store->dictionary;
    bb_slice_t id = bb_dictionary_battery_id(dictionary, number);
    uint32_t partition = bb_dictionary_battery_partition(dictionary, number);
    if (s_is_enough(self)) {
        snapshot->is_complete = false;
        snapshot->next_partition = partition;
        snapshot->next_battery = id;
        return false;
    }
    if (snapshot->battery_count == snapshot->battery_capacity) {
        snapshot->battery_capacity =
            snapshot->battery_capacity ? snapshot->battery_capacity * 2 : 64;
        snapshot->batteries = bb_realloc(snapshot->batteries,
                                         snapshot->battery_capacity * sizeof *snapshot->batteries);
    }
    bb_snapshot_battery_t battery = {
        .id = id,
        .number = number,
        .partition = partition,
        .rows_first = snapshot->row_group_count,
    };
    if (self->query->mode == BB_QUERY_BATTERIES) {
        bb_slice_t packed = bb_dictionary_attributes(dictionary, number);
        battery.attributes =
            bb_slice(bb_arena_copy(&snapshot->arena, packed.data, packed.length), packed.length);
        self->bytes += S_SERIES_BYTES + id.length + packed.length;
    } else if (self->query->mode == BB_QUERY_GENERATIONS) {
        battery.generation = bb_markers_generation(self->store->markers, number);
        self->bytes += battery.generation > 0 ? S_SERIES_BYTES + id.length : 0;
    } else if (self->finder && s_take_values(self, &battery)) {
        if (battery.values_count == 0) {
            return true; // nothing of it is wanted
        }
    } else {
        s_take_groups(self, self->store->active, number);
        if (self->store->frozen) {
            s_take_groups(self, bb_flush_head(self->store->frozen), number);
        }
        battery.rows_count = snapshot->row_group_count - battery.rows_first;
    }
    if (self->query->mode == BB_QUERY_LAST && !battery.is_known) {
        const bb_type_entry_t *types = bb_dictionary_types(dictionary, number, &battery.type_count);
        battery.types = bb_arena_copy(&snapshot->arena, types, battery.type_count * sizeof *types);
    }
    snapshot->batteries[snapshot->battery_count++] = battery;
    return true;
}

static int s_compare_numbers(const void *a, const void *b, void *context)
{
    const bb_dictionary_t *dictionary = context;
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    uint32_t left_partition = bb_dictionary_battery_partition(dictionary, left);
    uint32_t right_partition = bb_dictionary_battery_partition(dictionary, right);
    if (left_partition != right_partition) {
        return left_partition < right_partition ? -1 : 1;
    }
    return bb_dictionary_compare(bb_dictionary_battery_id(dictionary, left),
                                 bb_dictionary_battery_id(dictionary, right));
}

static bool s_is_asked(const bb_query_t *query, uint32_t partition)
{
    uint32_t first = 0;
    uint32_t limit = query->partition_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (query->partitions[middle] < partition) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < query->partition_count && query->partitions[first] == partition;
}

static bool s_is_before_cursor(const s_taking_t *self, uint32_t number)
{
    const bb_dictionary_t *dictionary = self->store->dictionary;
    uint32_t partition = bb_dictionary_battery_partition(dictionary, number);
    if (!self->cursor.is_set || partition > self->cursor.partition) {
        return false;
    }
    return partition < self->cursor.partition ||
           bb_dictionary_compare(bb_dictionary_battery_id(dictionary, number),
                                 self->cursor.battery) < 0;
}

// The batteries that the query names.
static void s_take_named(s_taking_t *self)
{
    const bb_query_t *query = self->query;
    bb_dictionary_t *dictionary = self->store->dictionary;
    uint32_t *numbers = bb_alloc(query->battery_count * sizeof *numbers);
    uint32_t count = 0;
    for (uint32_t i = 0; i < query->battery_count; i++) {
        uint32_t number = bb_dictionary_battery_find(dictionary, query->batteries[i]);
        if (number != BB_NUMBER_NONE && !s_is_before_cursor(self, number) &&
            s_is_asked(query, bb_dictionary_battery_partition(dictionary, number))) {
            numbers[count++] = number;
        }
    }
    qsort_r(numbers, count, sizeof *numbers, s_compare_numbers, dictionary);
    for (uint32_t i = 0; i < count; i++) {
        bool is_repeated = i > 0 && numbers[i] == numbers[i - 1];
        if (!is_repeated && !s_take_battery(self, numbers[i])) {
            break;
        }
    }
    free(numbers);
}

// All batteries of the query's partitions.
static void s_take_all(s_taking_t *self)
{
    const bb_query_t *query = self->query;
    bb_dictionary_t *dictionary = self->store->dictionary;
    for (uint32_t i = 0; i < query->partition_count; i++) {
        uint32_t partition = query->partitions[i];
        if (self->cursor.is_set && partition < self->cursor.partition) {
            continue;
        }
        if (partition >= self->store->partition_count) {
            break; // ascending; nothing can be there
        }
        uint32_t count;
        const uint32_t *numbers = bb_dictionary_partition(dictionary, partition, &count);
        uint32_t first = 0;
        if (self->cursor.is_set && partition == self->cursor.partition) {
            first = bb_dictionary_partition_seek(dictionary, partition, self->cursor.battery);
        }
        for (uint32_t b = first; b < count; b++) {
            if (!s_take_battery(self, numbers[b])) {
                return;
            }
        }
    }
}

// ---- windows ---------------------------------------------------------------------------------
static void s_take_damage(s_taking_t *self, const bb_store_window_t *item,
                          bb_snapshot_window_t *window)
{
    uint32_t count;
    const bb_damage_entry_t *entries =
        bb_damage_window(bb_store_scrub_damage(self->store->scrub), (uint8_t)item->id.kind,
                         item->id.class_id, item->id.day, &count);
    if (count == 0) {
        return;
    }
    uint32_t *batteries = bb_arena_alloc(&self->snapshot->arena, count * sizeof *batteries);
    for (uint32_t i = 0; i < count; i++) {
        batteries[i] = entries[i].battery;
        window->is_quarantined |= entries[i].battery == BB_DAMAGE_BATTERY_ALL;
    }
    window->quarantined = batteries;
    window->quarantined_count = count;
}

bool bb_snapshot_is_quarantined(const bb_snapshot_window_t *window, uint32_t battery)
{
    for (uint32_t i = 0; i < window->quarantined_count; i++) {
        if (window->quarantined[i] == battery) {
            return true;
        }
    }
    return false;
}

static void s_take_window(s_taking_t *self, const bb_store_window_t *window)
{
    bb_snapshot_window_t *taken = &self->snapshot->windows[self->snapshot->window_count++];
    *taken = (bb_snapshot_window_t){
        .day = window->id.day,
        .is_quarantine = window->id.kind == BB_WINDOW_QUARANTINE,
        .parts = bb_arena_alloc(&self->snapshot->arena, window->part_count * sizeof *taken->parts),
        .part_count = window->part_count,
    };
    for (uint32_t i = 0; i < window->part_count; i++) {
        bb_segment_retain(window->parts[i].segment);
        taken->parts[i] =
            (bb_snapshot_part_t){window->parts[i].segment, window->parts[i].info, false};
    }
    s_take_damage(self, window, taken);
}

static int s_compare_windows(const void *a, const void *b)
{
    const bb_snapshot_window_t *left = a;
    const bb_snapshot_window_t *right = b;
    if (left->day != right->day) {
        return left->day < right->day ? -1 : 1;
    }
    return left->is_quarantine - right->is_quarantine;
}

static void s_take_windows(s_taking_t *self)
{
    const bb_store_windows_t *windows = &self->store->windows;
    const bb_query_t *query = self->query;
    bb_snapshot_t *snapshot = self->snapshot;
    if (bb_snapshot_is_of_names(query) || (self->finder && self->unknown_count == 0)) {
        return;
    }
    snapshot->windows = bb_alloc((windows->count + 1) * sizeof *snapshot->windows);
    for (uint32_t i = 0; i < windows->count; i++) {
        const bb_store_window_t *window = &windows->items[i];
        if (window->id.kind == BB_WINDOW_QUARANTINE && query->mode != BB_QUERY_QUARANTINE) {
            continue;
        }
        int64_t first_wall_ns = (int64_t)window->id.day * BB_NS_PER_DAY;
        if (query->mode == BB_QUERY_LAST && first_wall_ns + BB_NS_PER_DAY <= query->from_wall_ns) {
            continue;
        }
        if (s_uses_time(query) && (first_wall_ns >= query->to_wall_ns ||
                                   first_wall_ns + BB_NS_PER_DAY <= query->from_wall_ns)) {
            continue;
        }
        s_take_window(self, window);
    }
    if (snapshot->window_count > 1) {
        qsort(snapshot->windows, snapshot->window_count, sizeof *snapshot->windows,
              s_compare_windows);
    }
}

// ---- the whole -------------------------------------------------------------------------------
bb_error_t bb_store_snapshot(bb_store_t *self, const bb_query_t *query, bb_snapshot_t **snapshot,
                             bb_fault_t *fault)
{
    return query->rollup.length > 0
               ? bb_rollup_snapshot(self, query, snapshot, fault)
               : bb_store_snapshot_take(self, query, BB_SNAPSHOT_BATTERIES_MAX, snapshot, fault);
}

bb_error_t bb_store_snapshot_take(bb_store_t *self, const bb_query_t *query, uint32_t battery_max,
                                  bb_snapshot_t **snapshot, bb_fault_t *fault)
{
    s_taking_t taking = {
        .store = self,
        .query = query,
        .battery_max = battery_max,
        .page_bytes = query->page_bytes_max ? query->page_bytes_max : S_PAGE_BYTES_DEFAULT,
    };
    bb_error_t error = bb_scan_cursor_decode(query->cursor, &taking.cursor, fault);
    if (error != BB_OK) {
        return error;
    }
    if (bb_snapshot_is_grouped(query)) {
        taking.cursor = (bb_scan_cursor_t){0}; // names a series, not a battery
    }
    taking.snapshot = bb_alloc_zero(1, sizeof *taking.snapshot);
    taking.snapshot->kv = self->kv;
    taking.snapshot->is_complete = true;
    taking.snapshot->segments_max = bb_segment_pool_open_max(self->pool);
    bb_head_retain(self->active);
    taking.snapshot->heads[0] = self->active;
    if (self->frozen) {
        taking.snapshot->heads[1] = bb_flush_head_retain(self->frozen);
    }
    if (bb_markers_count(self->markers) > 0) {
        taking.snapshot->markers = bb_markers_retain(self->markers);
    }
    s_take_metrics(&taking);
    if (query->mode == BB_QUERY_LAST) {
        taking.finder = bb_latest_finder_new(self, query, taking.snapshot);
    }
    if (taking.wanted_count > 0 || bb_snapshot_is_of_names(query)) {
        if (query->battery_count > 0) {
            s_take_named(&taking);
        } else {
            s_take_all(&taking);
        }
        s_take_windows(&taking);
    }
    bb_latest_finder_destroy(&taking.finder);
    *snapshot = taking.snapshot;
    return BB_OK;
}

// ---- splitting -------------------------------------------------------------------------------
uint32_t bb_snapshot_battery_count(const bb_snapshot_t *self)
{
    return self->battery_count;
}

static void s_copy_metrics(const bb_snapshot_t *from, bb_snapshot_t *to)
{
    size_t count = from->metric_count;
    to->metric_count = from->metric_count;
    to->metric_names =
        bb_arena_copy(&to->arena, from->metric_names, count * sizeof *from->metric_names);
    to->metric_ranks =
        bb_arena_copy(&to->arena, from->metric_ranks, count * sizeof *from->metric_ranks);
    if (from->metric_is_wanted) {
        to->metric_is_wanted = bb_arena_copy(&to->arena, from->metric_is_wanted, count + 1);
    }
}

static void s_copy_windows(const bb_snapshot_t *from, bb_snapshot_t *to)
{
    to->windows = bb_alloc((from->window_count + 1) * sizeof *to->windows);
    to->window_count = from->window_count;
    for (uint32_t w = 0; w < from->window_count; w++) {
        const bb_snapshot_window_t *window = &from->windows[w];
        BB_ASSERT(!window->cursor);
        to->windows[w] = *window;
        to->windows[w].parts =
            bb_arena_copy(&to->arena, window->parts, window->part_count * sizeof *window->parts);
        to->windows[w].quarantined =
            bb_arena_copy(&to->arena, window->quarantined,
                          window->quarantined_count * sizeof *window->quarantined);
        for (uint32_t i = 0; i < window->part_count; i++) {
            BB_ASSERT(!window->parts[i].is_open);
            bb_segment_retain(window->parts[i].segment);
        }
    }
}

// The batteries [first, limit) as a snapshot of their own.
static bb_snapshot_t *s_slice(const bb_snapshot_t *self, uint32_t first, uint32_t limit)
{
    bb_snapshot_t *slice = bb_alloc_zero(1, sizeof *slice);
    slice->kv = self->kv;
    slice->is_complete = true;
    slice->segments_max = self->segments_max;
    slice->markers = self->markers ? bb_markers_retain(self->markers) : NULL;
    for (uint32_t i = 0; i < BB_COUNT_OF(self->heads); i++) {
        slice->heads[i] = self->heads[i];
        if (slice->heads[i]) {
            bb_head_retain(slice->heads[i]);
        }
    }
    slice->battery_count = slice->battery_capacity = limit - first;
    slice->batteries = bb_alloc((limit - first) * sizeof *slice->batteries);
    memcpy(slice->batteries, self->batteries + first, (limit - first) * sizeof *slice->batteries);
    uint32_t rows_first = self->batteries[first].rows_first;
    const bb_snapshot_battery_t *last = &self->batteries[limit - 1];
    uint32_t row_count = last->rows_first + last->rows_count - rows_first;
    slice->row_group_count = slice->row_group_capacity = row_count;
    slice->rows = bb_alloc((row_count + 1) * sizeof *slice->rows);
    if (row_count > 0) {
        memcpy(slice->rows, self->rows + rows_first, row_count * sizeof *slice->rows);
    }
    for (uint32_t i = 0; i < slice->battery_count; i++) {
        slice->batteries[i].rows_first -= rows_first;
    }
    s_copy_metrics(self, slice);
    s_copy_windows(self, slice);
    return slice;
}

uint32_t bb_snapshot_split(bb_snapshot_t *self, uint32_t count, bb_snapshot_t **others)
{
    BB_ASSERT(self->is_complete && !self->rollup && self->value_count == 0);
    uint32_t all = self->battery_count;
    count = BB_MIN(count, all);
    for (uint32_t i = 1; i < count; i++) {
        uint32_t first = (uint32_t)((uint64_t)all * i / count);
        others[i - 1] = s_slice(self, first, (uint32_t)((uint64_t)all * (i + 1) / count));
    }
    if (count > 1) {
        self->battery_count = all / count;
    }
    return count > 1 ? count - 1 : 0;
}

void bb_snapshot_close(bb_snapshot_t **snapshot)
{
    bb_snapshot_t *self = *snapshot;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->window_count; i++) {
        bb_snapshot_window_close(self, i);
        for (uint32_t part = 0; part < self->windows[i].part_count; part++) {
            bb_segment_release(&self->windows[i].parts[part].segment);
        }
    }
    bb_rollup_view_destroy(&self->rollup);
    bb_markers_release(&self->markers);
    bb_head_release(&self->heads[0]);
    bb_head_release(&self->heads[1]);
    bb_arena_free(&self->arena);
    free(self->batteries);
    free(self->rows);
    free(self->values);
    free(self->windows);
    free(self);
    *snapshot = NULL;
}

void bb_snapshot_window_close(bb_snapshot_t *self, uint32_t window_index)
{
    bb_snapshot_window_t *window = &self->windows[window_index];
    for (uint32_t i = 0; i < window->part_count; i++) {
        if (window->cursor && window->parts[i].is_open &&
            bb_segment_cursor_is_damaged(window->cursor, i)) {
            bb_segment_doubt(window->parts[i].segment);
        }
    }
    bb_segment_cursor_close(&window->cursor);
    for (uint32_t i = 0; i < window->part_count; i++) {
        if (window->parts[i].is_open) {
            bb_segment_env_release(window->parts[i].segment);
            window->parts[i].is_open = false;
        }
    }
}

uint32_t bb_snapshot_window_limit(const bb_snapshot_t *self, uint32_t first)
{
    uint32_t limit = first;
    uint64_t segments = 0;
    while (limit < self->window_count) {
        uint32_t end = limit; // of the day
        uint64_t more = 0;
        while (end < self->window_count && self->windows[end].day == self->windows[limit].day) {
            more += self->windows[end++].part_count;
        }
        if (limit > first && segments + more > self->segments_max) {
            break;
        }
        segments += more;
        limit = end;
    }
    return limit;
}

// What is wrong with the segment itself. An error of the disk, or another process that looks at the
// segment first, may be over when it is opened the next time.
static bool s_is_lasting(bb_error_t error)
{
    return error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT || error == BB_ERR_NOT_FOUND;
}

bb_error_t bb_snapshot_window_open(bb_snapshot_t *self, uint32_t window_index)
{
    bb_snapshot_window_t *window = &self->windows[window_index];
    if (window->cursor) {
        return BB_OK;
    }
    if (window->is_refused) {
        return BB_ERR_CORRUPT;
    }
    bb_segment_part_t *parts = bb_alloc_zero(window->part_count + 1, sizeof *parts);
    for (uint32_t i = 0; i < window->part_count; i++) {
        bb_snapshot_part_t *part = &window->parts[i];
        if (!part->is_open) {
            // One that cannot be opened is damage of the batteries that it should have.
            bb_error_t opened = bb_segment_env_acquire(part->segment, false, &parts[i].env, NULL);
            part->is_open = opened == BB_OK;
            window->is_unread |= opened != BB_OK && !s_is_lasting(opened);
        }
        parts[i].info = part->info;
    }
    bb_error_t error = bb_segment_cursor_open(self->kv, parts, window->part_count, &window->cursor);
    free(parts);
    window->is_refused = error != BB_OK;
    window->is_damaged |= window->is_refused;
    window->is_unread |= error != BB_OK && !s_is_lasting(error);
    return error;
}

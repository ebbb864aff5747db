// SPDX-License-Identifier: Apache-2.0
// A group over all batteries: every page goes over all of them once, but only for what fits into
// it.
//
// The order of an answer is metric, type, time. A page collects buckets from where its cursor says,
// and as soon as it holds twice of what fits into a page, everything from the middle on is dropped
// and not looked at any more: it belongs to later pages. So nothing is kept between pages, memory
// is bounded whatever the number of buckets, and a page costs what its own buckets cost.
#include <stdlib.h>

#include "storage/scan/bb_scan_state.h"

static int s_compare_series(const bb_snapshot_t *snapshot, const bb_view_series_t *a,
                            const bb_view_series_t *b)
{
    if (a->metric != b->metric) {
        return snapshot->metric_ranks[a->metric] < snapshot->metric_ranks[b->metric] ? -1 : 1;
    }
    return (a->type > b->type) - (a->type < b->type);
}

static int s_compare_groups(const void *a, const void *b, void *context)
{
    const bb_scan_group_t *left = a;
    const bb_scan_group_t *right = b;
    return s_compare_series(context, &left->series, &right->series);
}

static uint32_t *s_group_of(bb_scan_t *self, const bb_view_series_t *series)
{
    return &self->group_of[series->metric * BB_TYPE_LAST + series->type - 1];
}

static void s_sort_groups(bb_scan_t *self)
{
    if (self->group_count == 0) {
        return;
    }
    qsort_r(self->groups, self->group_count, sizeof *self->groups, s_compare_groups,
            self->snapshot);
    for (uint32_t i = 0; i < self->group_count; i++) {
        *s_group_of(self, &self->groups[i].series) = i + 1;
    }
}

static bb_scan_group_t *s_group(bb_scan_t *self, const bb_view_series_t *series)
{
    uint32_t *known = s_group_of(self, series);
    if (*known) {
        return &self->groups[*known - 1];
    }
    if (self->group_count == self->group_capacity) {
        self->group_capacity = self->group_capacity ? self->group_capacity * 2 : 16;
        self->groups = bb_realloc(self->groups, self->group_capacity * sizeof *self->groups);
    }
    self->groups[self->group_count] = (bb_scan_group_t){.series = *series};
    bb_buckets_begin(&self->groups[self->group_count].buckets, bb_scan_rule(self), series->type);
    *known = ++self->group_count;
    return &self->groups[self->group_count - 1];
}

// Buckets that a page has room for.
static size_t s_room(const bb_scan_t *self)
{
    return (size_t)(self->page_bytes / sizeof(bb_page_bucket_t)) + 1;
}

// Keeps the first buckets in the order of the answer, as many as a page has room for.
static void s_trim(bb_scan_t *self)
{
    s_sort_groups(self);
    size_t left = s_room(self);
    self->group_buckets = 0;
    bool is_behind = false; // of the new limit
    for (uint32_t i = 0; i < self->group_count; i++) {
        bb_scan_group_t *group = &self->groups[i];
        size_t count = bb_buckets_count(&group->buckets);
        if (!is_behind && count > left) {
            is_behind = true;
            self->has_group_limit = true;
            self->group_limit = group->series;
            self->group_limit_wall_ns = bb_buckets_start(&group->buckets, left);
        }
        count = BB_MIN(count, left);
        bb_buckets_cut(&group->buckets, count);
        left -= count;
        self->group_buckets += count;
    }
}

static void s_group_series(bb_scan_t *self, const bb_view_series_t *series)
{
    int64_t from_wall_ns = self->query->from_wall_ns;
    int64_t limit_wall_ns = INT64_MAX;
    if (self->cursor.is_set) {
        int order = bb_scan_compare_to_cursor(self, series);
        if (order < 0) {
            return;
        }
        from_wall_ns = order == 0 ? BB_MAX(from_wall_ns, self->cursor.time_wall_ns) : from_wall_ns;
    }
    if (self->has_group_limit) {
        int order = s_compare_series(self->snapshot, series, &self->group_limit);
        if (order > 0) {
            return;
        }
        limit_wall_ns = order == 0 ? self->group_limit_wall_ns : limit_wall_ns;
    }
    size_t room = 2 * s_room(self);
    bool is_cut = bb_scan_fill_buckets(self, series, from_wall_ns, limit_wall_ns, room);
    // The last one is not complete, or behind the limit like others before it.
    size_t count = bb_buckets_count(&self->buckets) - is_cut;
    while (count > 0 && bb_buckets_start(&self->buckets, count - 1) >= limit_wall_ns) {
        count--;
    }
    bb_buckets_cut(&self->buckets, count);
    bb_scan_group_t *group = s_group(self, series);
    size_t before = bb_buckets_count(&group->buckets);
    bb_buckets_merge(&group->buckets, bb_scan_rule(self), series->type, &self->buckets);
    self->group_buckets += bb_buckets_count(&group->buckets) - before;
    if (self->group_buckets >= room) {
        s_trim(self);
    }
}

static bb_error_t s_too_damaged(bb_fault_t *fault)
{
    return bb_fault_set(fault, BB_ERR_CORRUPT, "more than %zu partitions have damaged windows",
                        BB_COUNT_OF(((bb_scan_result_t *)NULL)->damaged_partitions));
}

static bb_error_t s_group_battery(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bb_scan_load(self, battery);
    for (uint32_t i = 0; i < self->view.series_count; i++) {
        s_group_series(self, &self->view.series[i]);
    }
    if (self->view.is_damaged &&
        self->result->damaged_partition_count == BB_COUNT_OF(self->result->damaged_partitions) &&
        !bb_scan_is_named(self->result, battery->partition)) {
        return s_too_damaged(self->fault);
    }
    bb_scan_note_damage(self);
    return BB_OK;
}

// Gives the groups in order until the page is full or what was left to the next one begins.
static void s_emit_groups(bb_scan_t *self)
{
    s_sort_groups(self);
    for (uint32_t i = 0; i < self->group_count && bb_scan_rows_left(self) > 0; i++) {
        const bb_view_series_t *series = &self->groups[i].series;
        bb_buckets_t *buckets = &self->groups[i].buckets;
        size_t all = bb_buckets_count(buckets);
        if (all == 0) {
            continue;
        }
        if (bb_scan_bytes_left(self) == 0) {
            bb_scan_cut(self, series, bb_buckets_start(buckets, 0));
            return;
        }
        size_t count_max = bb_scan_bytes_left(self) / bb_buckets_page_bytes(buckets) + 1;
        size_t count = BB_MIN(all, count_max);
        bb_scan_emit_buckets(self, bb_slice(NULL, 0), series, buckets, count);
        if (count < all && bb_scan_rows_left(self) > 0) {
            bb_scan_cut(self, series, bb_buckets_start(buckets, count));
            return;
        }
    }
    if (self->has_group_limit && bb_scan_rows_left(self) > 0) {
        bb_scan_cut(self, &self->group_limit, self->group_limit_wall_ns);
    }
}

void bb_scan_groups_emit(bb_scan_t *self)
{
    self->partition = self->cursor.partition;
    s_emit_groups(self);
}

bb_error_t bb_scan_groups_collect(bb_scan_t *self)
{
    bb_error_t error = BB_OK;
    self->group_of = bb_alloc_zero((size_t)self->snapshot->metric_count * BB_TYPE_LAST + 1,
                                   sizeof *self->group_of);
    for (uint32_t c = 0; c < self->chunk_count && error == BB_OK; c++) {
        self->chunk_first = c;
        self->chunk_limit = c + 1;
        for (uint32_t i = 0; i < self->snapshot->battery_count && error == BB_OK; i++) {
            error = s_group_battery(self, &self->snapshot->batteries[i]);
        }
    }
    return error;
}

void bb_scan_groups_free(bb_scan_t *self)
{
    for (uint32_t i = 0; i < self->group_count; i++) {
        bb_buckets_free(&self->groups[i].buckets);
    }
    free(self->groups);
    free(self->group_of);
}

// ---- parts -----------------------------------------------------------------------------------
struct bb_scan_part {
    bb_scan_t scan;
    bb_scan_result_t result;
};

bb_error_t bb_scan_part_collect(bb_snapshot_t *snapshot, const bb_query_t *query,
                                bb_scan_part_t **part, bb_fault_t *fault)
{
    BB_ASSERT(bb_snapshot_is_grouped(query));
    bb_scan_part_t *self = bb_alloc_zero(1, sizeof *self);
    bb_error_t error = bb_scan_begin(&self->scan, snapshot, query, &self->result, fault);
    if (error != BB_OK) {
        free(self);
        return error;
    }
    error = bb_scan_groups_collect(&self->scan);
    bb_scan_end_reading(&self->scan);
    self->scan.snapshot = NULL;
    self->scan.query = NULL;
    self->scan.fault = NULL;
    if (error != BB_OK) {
        bb_scan_part_destroy(&self);
        return error;
    }
    *part = self;
    return BB_OK;
}

void bb_scan_part_destroy(bb_scan_part_t **self)
{
    if (*self) {
        bb_scan_end(&(*self)->scan);
        free(*self);
        *self = NULL;
    }
}

// Every window is in each part, so of the damaged ones the part that saw most counts.
static bb_error_t s_join_results(bb_scan_result_t *to, const bb_scan_result_t *from,
                                 bb_fault_t *fault)
{
    to->points_scanned += from->points_scanned;
    to->blocks_decoded += from->blocks_decoded;
    to->damaged_window_count = BB_MAX(to->damaged_window_count, from->damaged_window_count);
    to->unread_window_count = BB_MAX(to->unread_window_count, from->unread_window_count);
    for (uint32_t i = 0; i < from->damaged_partition_count; i++) {
        if (bb_scan_is_named(to, from->damaged_partitions[i])) {
            continue;
        }
        if (to->damaged_partition_count == BB_COUNT_OF(to->damaged_partitions)) {
            return s_too_damaged(fault);
        }
        to->damaged_partitions[to->damaged_partition_count++] = from->damaged_partitions[i];
    }
    return BB_OK;
}

// A part is complete up to its limit; what is joined, up to the first of their limits.
static void s_join(bb_scan_t *self, bb_scan_t *other)
{
    for (uint32_t i = 0; i < other->group_count; i++) {
        bb_scan_group_t *from = &other->groups[i];
        if (bb_buckets_count(&from->buckets) > 0) {
            bb_scan_group_t *to = s_group(self, &from->series);
            bb_buckets_merge(&to->buckets, bb_scan_rule(self), from->series.type, &from->buckets);
        }
    }
    if (!other->has_group_limit) {
        return;
    }
    int order = self->has_group_limit
                    ? s_compare_series(self->snapshot, &other->group_limit, &self->group_limit)
                    : -1;
    if (order < 0 || (order == 0 && other->group_limit_wall_ns < self->group_limit_wall_ns)) {
        self->has_group_limit = true;
        self->group_limit = other->group_limit;
        self->group_limit_wall_ns = other->group_limit_wall_ns;
    }
}

// Forgets what lies behind the limit.
static void s_keep_limit(bb_scan_t *self)
{
    for (uint32_t i = 0; self->has_group_limit && i < self->group_count; i++) {
        bb_scan_group_t *group = &self->groups[i];
        int order = s_compare_series(self->snapshot, &group->series, &self->group_limit);
        size_t count = order > 0 ? 0 : bb_buckets_count(&group->buckets);
        while (order == 0 && count > 0 &&
               bb_buckets_start(&group->buckets, count - 1) >= self->group_limit_wall_ns) {
            count--;
        }
        bb_buckets_cut(&group->buckets, count);
    }
}

bb_error_t bb_scan_parts_page(bb_scan_part_t *const *parts, uint32_t part_count,
                              bb_snapshot_t *snapshot, const bb_query_t *query,
                              bb_page_builder_t *page, bb_scan_result_t *result, bb_fault_t *fault)
{
    BB_ASSERT(part_count >= 1);
    bb_scan_t *scan = &parts[0]->scan;
    *result = parts[0]->result;
    scan->snapshot = snapshot;
    scan->query = query;
    scan->result = result;
    bb_error_t error = BB_OK;
    for (uint32_t i = 1; i < part_count && error == BB_OK; i++) {
        s_join(scan, &parts[i]->scan);
        error = s_join_results(result, &parts[i]->result, fault);
    }
    if (error == BB_OK) {
        s_keep_limit(scan);
        bb_scan_write_to(scan, page);
        bb_scan_groups_emit(scan);
        bb_scan_give_cursor(scan);
    }
    return error;
}

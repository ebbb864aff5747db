// SPDX-License-Identifier: Apache-2.0
// Answers of rollups: stored results where they are exact, points everywhere else.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup_private.h"
#include "storage/rollup/bb_rollup_record.h"
#include "storage/scan/bb_snapshot.h"

#define S_PAGE_BYTES_DEFAULT (1u << 20)
#define S_PAGE_PIECES        200000u // computed for one page, about
#define S_BUCKETS_MAX        8192u   // of one series in one page

struct bb_rollup_view {
    bb_policy_t *policy;
    const bb_rollup_t *rollup;
    bb_calendar_t calendar;
    uint32_t id;
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    bb_kv_txn_t *txn;                 // NULL until the page is made
    atomic_uint_fast32_t *view_count; // counts this one
    bool *takes;                      // by place of the battery in the snapshot
    bb_day_marks_t
        stale; // days in the head, when the snapshot was taken; then with the map's marks
    // Buckets that begin in [from, to) are asked for; their points lie in [first, limit).
    int64_t from_wall_ns, to_wall_ns, first_wall_ns, limit_wall_ns;
    int64_t points_from_wall_ns; // retention has taken nothing yet from here on
    bool has_gaps;               // results before that may be missing
};

void bb_rollup_view_destroy(bb_rollup_view_t **self)
{
    bb_rollup_view_t *view = *self;
    *self = NULL;
    if (view) {
        if (view->txn) {
            view->kv->abort(&view->txn);
        }
        atomic_fetch_sub(view->view_count, 1); // its transaction has ended
        bb_policy_release(&view->policy);
        bb_day_marks_free(&view->stale);
        free(view->takes);
        free(view);
    }
}

// ---- on the store's thread -------------------------------------------------------------------
// floor_day: records of days before are gone.
static void s_range(bb_rollup_view_t *self, const bb_query_t *query, int64_t floor_day,
                    int64_t now_wall_ns)
{
    int64_t floor_wall_ns =
        bb_retention_floor(floor_day * BB_NS_PER_DAY, self->rollup->keep_ns, now_wall_ns);
    self->from_wall_ns = BB_MAX(query->from_wall_ns, floor_wall_ns);
    self->to_wall_ns = query->to_wall_ns;
    int64_t start_wall_ns = bb_calendar_start(&self->calendar, self->from_wall_ns);
    if (self->from_wall_ns == 0) {
        self->from_wall_ns = start_wall_ns; // the bucket that began before 1970, too
    } else if (start_wall_ns < self->from_wall_ns) {
        start_wall_ns = bb_calendar_next(&self->calendar, start_wall_ns);
    }
    self->first_wall_ns = BB_MAX(start_wall_ns, 0);
    self->limit_wall_ns = self->first_wall_ns;
    if (start_wall_ns < self->to_wall_ns) {
        int64_t last_wall_ns = bb_calendar_start(&self->calendar, self->to_wall_ns - 1);
        int64_t limit_wall_ns = bb_calendar_next(&self->calendar, last_wall_ns);
        self->limit_wall_ns = BB_MIN(limit_wall_ns, BB_TIME_WALL_NS_LIMIT);
    }
}

// Batteries of one page, so that what is computed for it stays bounded.
static uint32_t s_battery_max(const bb_store_t *store, const bb_rollup_view_t *self,
                              const bb_query_t *query)
{
    uint64_t days = 1;
    for (uint32_t i = 0; i < store->day_count; i++) {
        int64_t day_wall_ns = (int64_t)store->days[i] * BB_NS_PER_DAY;
        days +=
            day_wall_ns + BB_NS_PER_DAY > self->first_wall_ns && day_wall_ns < self->limit_wall_ns;
    }
    uint64_t pieces = self->calendar.every == BB_EVERY_FIXED
                          ? (uint64_t)(BB_NS_PER_DAY / self->calendar.every_ns)
                          : 2;
    uint64_t metrics =
        query->metric_count ? query->metric_count : bb_dictionary_metric_count(store->dictionary);
    uint64_t count = S_PAGE_PIECES / (days * pieces * BB_MAX(BB_MIN(metrics, 16), 1));
    return (uint32_t)BB_MIN(BB_MAX(count, 1), 256);
}

static bb_error_t s_find(bb_store_t *store, const bb_query_t *query, bb_rollup_view_t *self,
                         bb_fault_t *fault)
{
    self->policy = bb_policy_retain(bb_retention_policy(store->retention));
    uint32_t index = bb_policy_rollup_find(self->policy, query->rollup);
    if (index == UINT32_MAX) {
        return bb_fault_set(fault, BB_ERR_NOT_FOUND, "there is no rollup '%.*s'",
                            (int)BB_MIN(query->rollup.length, BB_NODE_ID_BYTES_MAX),
                            (const char *)query->rollup.data);
    }
    self->rollup = bb_policy_rollup(self->policy, index);
    self->calendar = bb_policy_rollup_calendar(self->policy, index);
    self->id = store->rollups->ids[index];
    // Whoever asks for a mean needs the sum, and everyone the count.
    uint32_t has_bits = self->rollup->aggregates | BB_AGGREGATE_COUNT;
    has_bits |= has_bits & BB_AGGREGATE_MEAN ? BB_AGGREGATE_SUM : 0;
    if (query->aggregates & ~has_bits) {
        char has[64];
        bb_aggregates_format(self->rollup->aggregates, ", ", has, sizeof has);
        return bb_fault_set(fault, BB_ERR_QUERY, "rollup '%s' has %s", self->rollup->name, has);
    }
    return BB_OK;
}

bb_error_t bb_rollup_snapshot(bb_store_t *store, const bb_query_t *query, bb_snapshot_t **snapshot,
                              bb_fault_t *fault)
{
    bb_rollup_view_t *self = bb_alloc_zero(1, sizeof *self);
    self->view_count = &store->rollups->view_count;
    atomic_fetch_add(self->view_count, 1);
    bb_error_t error = s_find(store, query, self, fault);
    if (error == BB_OK) {
        int64_t floor_day =
            self->id == BB_ROLLUP_ID_NONE ? 0 : store->rollups->floor_days[self->id];
        s_range(self, query, floor_day, store->rollups->now_wall_ns);
        self->kv = store->kv;
        self->env = store->rollups->env;
        self->stale.partition_count = store->partition_count;
        bb_day_marks_merge(&self->stale, &store->rollups->head);
        bb_day_marks_merge(&self->stale, &store->rollups->frozen);
        self->points_from_wall_ns = (int64_t)bb_rollups_points_day(store) * BB_NS_PER_DAY;
        self->has_gaps = store->rollups->gaps > 0;
        bb_query_t inner = *query;
        inner.rollup = bb_slice(NULL, 0);
        inner.from_wall_ns = self->first_wall_ns;
        inner.to_wall_ns = self->limit_wall_ns;
        error = bb_store_snapshot_take(store, &inner, s_battery_max(store, self, query), snapshot,
                                       fault);
    }
    if (error != BB_OK) {
        bb_rollup_view_destroy(&self);
        return error;
    }
    self->takes = bb_alloc((*snapshot)->battery_count + 1);
    for (uint32_t i = 0; i < (*snapshot)->battery_count; i++) {
        self->takes[i] = !bb_selector_names_batteries(&self->rollup->selector) ||
                         bb_rollup_takes_battery(store->dictionary, self->rollup,
                                                 (*snapshot)->batteries[i].number);
    }
    (*snapshot)->rollup = self;
    return BB_OK;
}

// ---- the page --------------------------------------------------------------------------------
typedef struct {
    bb_snapshot_t *snapshot;
    bb_rollup_view_t *view;
    const bb_query_t *query;
    bb_page_builder_t *page;
    bb_scan_result_t *result;
    bb_rollup_set_t set, stored;
    bool *metric_is_taken;
    uint32_t battery; // whose records are read
    uint32_t day_first, day_limit;
} s_page_t;

static bool s_add_mark(void *context, uint32_t day, uint32_t partition)
{
    s_page_t *self = context;
    if (partition == BB_ROLLUP_ALL_PARTITIONS) {
        bb_day_marks_add_day(&self->view->stale, day);
    } else if (partition < self->view->stale.partition_count) {
        bb_day_marks_add(&self->view->stale, day, partition);
    }
    return true;
}

// Completes the set of stale days: marks of the map, or every day when nothing is stored.
static bb_error_t s_find_stale(s_page_t *self)
{
    bb_rollup_view_t *view = self->view;
    if (view->id == BB_ROLLUP_ID_NONE || !view->env) {
        for (uint32_t i = 0; i < self->snapshot->window_count; i++) {
            bb_day_marks_add_day(&view->stale, self->snapshot->windows[i].day);
        }
        return BB_OK;
    }
    bb_error_t error = BB_OK;
    if (!view->txn) {
        error = view->kv->begin(view->env, false, &view->txn);
    }
    if (error == BB_OK) {
        error = bb_rollup_map_marks(view->kv, view->txn, view->id, self->day_first, self->day_limit,
                                    s_add_mark, self);
    }
    return error;
}

static bool s_takes(void *context, uint32_t battery, uint32_t day)
{
    const s_page_t *self = context;
    return self->view->takes[battery] &&
           bb_day_marks_has(&self->view->stale, day, self->snapshot->batteries[battery].partition);
}

static bool s_is_any_stale(s_page_t *self, uint32_t day)
{
    uint32_t partition = UINT32_MAX;
    for (uint32_t i = 0; i < self->snapshot->battery_count; i++) {
        if (self->snapshot->batteries[i].partition != partition && s_takes(self, i, day)) {
            return true;
        }
        partition = self->view->takes[i] ? self->snapshot->batteries[i].partition : UINT32_MAX;
    }
    return false;
}

static bb_error_t s_compute_stale(s_page_t *self, bb_fault_t *fault)
{
    bb_query_t inner = *self->query;
    inner.rollup = bb_slice(NULL, 0);
    const bb_rollup_scan_t scan = {.snapshot = self->snapshot,
                                   .query = &inner,
                                   .metric_is_taken = self->metric_is_taken,
                                   .takes = s_takes,
                                   .context = self};
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->view->stale.count && error == BB_OK; i++) {
        uint32_t day = self->view->stale.days[i].day;
        if (day >= self->day_first && day < self->day_limit && s_is_any_stale(self, day)) {
            error = bb_rollup_scan_day(&scan, &self->view->calendar, day, &self->set, self->result,
                                       fault);
        }
    }
    return error;
}

static bb_error_t s_add_record(void *context, uint32_t day, bb_slice_t record)
{
    s_page_t *self = context;
    const bb_snapshot_battery_t *of = &self->snapshot->batteries[self->battery];
    if (self->snapshot->markers && bb_markers_of(self->snapshot->markers, of->number).count > 0 &&
        (int64_t)day * BB_NS_PER_DAY >= self->view->points_from_wall_ns &&
        bb_day_marks_has(&self->view->stale, day, of->partition)) {
        return BB_OK; // it was computed, and what is stored counts points that were deleted
    }
    return bb_rollup_record_decode(record, self->battery, self->metric_is_taken,
                                   self->snapshot->metric_count, &self->stored, NULL);
}

static void s_name_damage(s_page_t *self, uint32_t partition)
{
    bb_scan_result_t *result = self->result;
    for (uint32_t i = 0; i < result->damaged_partition_count; i++) {
        if (result->damaged_partitions[i] == partition) {
            return;
        }
    }
    if (result->damaged_partition_count < BB_COUNT_OF(result->damaged_partitions)) {
        result->damaged_partitions[result->damaged_partition_count++] = partition;
    }
}

static bb_error_t s_read_stored(s_page_t *self)
{
    bb_rollup_view_t *view = self->view;
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; view->txn && i < self->snapshot->battery_count && error == BB_OK; i++) {
        if (!view->takes[i]) {
            continue;
        }
        self->battery = i;
        uint32_t partition = self->snapshot->batteries[i].partition;
        if (view->has_gaps && view->first_wall_ns < view->points_from_wall_ns) {
            s_name_damage(self, partition); // until others were asked for what is missing
        }
        error = bb_rollup_map_records(view->kv, view->txn, view->id, partition,
                                      self->snapshot->batteries[i].number, self->day_first,
                                      self->day_limit, s_add_record, self);
        if (error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT) {
            s_name_damage(self, partition); // the answer lacks it and says so
            error = BB_OK;
        }
    }
    return error;
}

static void s_choose_metrics(s_page_t *self)
{
    uint32_t count = self->snapshot->metric_count;
    self->metric_is_taken = bb_alloc(count + 1);
    for (uint32_t i = 0; i < count; i++) {
        self->metric_is_taken[i] = bb_snapshot_wants(self->snapshot, i) &&
                                   bb_selector_takes_metric(&self->view->rollup->selector,
                                                            self->snapshot->metric_names[i]);
    }
}

// ---- emitting --------------------------------------------------------------------------------
static int s_compare(const void *a, const void *b, void *context)
{
    const bb_snapshot_t *snapshot = context;
    const bb_rollup_series_t *left = *(bb_rollup_series_t *const *)a;
    const bb_rollup_series_t *right = *(bb_rollup_series_t *const *)b;
    if (left->battery != right->battery) {
        return left->battery < right->battery ? -1 : 1;
    }
    uint32_t left_rank = snapshot->metric_ranks[left->metric];
    uint32_t right_rank = snapshot->metric_ranks[right->metric];
    if (left_rank != right_rank) {
        return left_rank < right_rank ? -1 : 1;
    }
    return (int)left->type - (int)right->type;
}

// How the series lies to the cursor: before it (negative), at it, behind it.
static int s_compare_to_cursor(const s_page_t *self, const bb_rollup_series_t *series,
                               const bb_scan_cursor_t *cursor)
{
    const bb_snapshot_battery_t *battery = &self->snapshot->batteries[series->battery];
    if (!cursor->is_set || cursor->metric.length == 0 || battery->partition != cursor->partition ||
        bb_dictionary_compare(battery->id, cursor->battery) != 0) {
        return 1; // the snapshot begins with the cursor's battery
    }
    int order = bb_dictionary_compare(self->snapshot->metric_names[series->metric], cursor->metric);
    return order != 0 ? order : (int)series->type - (int)cursor->type;
}

static void s_stop_at(s_page_t *self, const bb_rollup_series_t *series, int64_t time_wall_ns)
{
    const bb_snapshot_battery_t *battery = &self->snapshot->batteries[series->battery];
    const bb_scan_cursor_t cursor = {.is_set = true,
                                     .partition = battery->partition,
                                     .battery = battery->id,
                                     .metric = self->snapshot->metric_names[series->metric],
                                     .type = series->type,
                                     .time_wall_ns = time_wall_ns};
    bb_scan_cursor_encode(&cursor, &self->result->cursor, &self->result->cursor_length);
}

// Buckets from `time` on; false: the page ends here.
static bool s_emit_series(s_page_t *self, const bb_rollup_series_t *series, int64_t from_wall_ns)
{
    uint32_t first = 0;
    while (first < series->count && series->items[first].start_wall_ns < from_wall_ns) {
        first++;
    }
    uint32_t count = BB_MIN(series->count - first, S_BUCKETS_MAX);
    if (count == 0) {
        return true;
    }
    const bb_snapshot_battery_t *battery = &self->snapshot->batteries[series->battery];
    bb_bucket_t *buckets = bb_alloc(count * sizeof *buckets);
    for (uint32_t i = 0; i < count; i++) {
        buckets[i] = series->items[first + i].bucket;
        buckets[i].start_wall_ns = BB_MAX(buckets[i].start_wall_ns, 0);
    }
    bb_page_builder_buckets(self->page, battery->id, self->snapshot->metric_names[series->metric],
                            series->type, buckets, count);
    free(buckets);
    if (first + count < series->count) {
        s_stop_at(self, series, series->items[first + count].start_wall_ns);
        return false;
    }
    return true;
}

static void s_emit(s_page_t *self, const bb_scan_cursor_t *cursor)
{
    size_t page_bytes =
        self->query->page_bytes_max ? self->query->page_bytes_max : S_PAGE_BYTES_DEFAULT;
    bb_rollup_series_t **sorted = bb_alloc((self->set.count + 1) * sizeof *sorted);
    for (uint32_t i = 0; i < self->set.count; i++) {
        sorted[i] = &self->set.series[i];
        bb_rollup_series_bucket(sorted[i], &self->view->calendar, self->view->from_wall_ns,
                                self->view->to_wall_ns);
    }
    qsort_r(sorted, self->set.count, sizeof(bb_rollup_series_t *), s_compare, self->snapshot);
    bool is_full = false;
    for (uint32_t i = 0; i < self->set.count && !is_full; i++) {
        int order = s_compare_to_cursor(self, sorted[i], cursor);
        if (order < 0 || sorted[i]->count == 0) {
            continue;
        }
        if (bb_page_builder_bytes(self->page) > page_bytes) {
            s_stop_at(self, sorted[i], 0);
            is_full = true;
        } else {
            is_full =
                !s_emit_series(self, sorted[i], order == 0 ? cursor->time_wall_ns : INT64_MIN);
        }
    }
    if (!is_full && !self->snapshot->is_complete) {
        const bb_scan_cursor_t next = {.is_set = true,
                                       .partition = self->snapshot->next_partition,
                                       .battery = self->snapshot->next_battery};
        bb_scan_cursor_encode(&next, &self->result->cursor, &self->result->cursor_length);
    }
    free(sorted);
}

bb_error_t bb_rollup_page(bb_snapshot_t *snapshot, const bb_query_t *query, bb_page_builder_t *page,
                          bb_scan_result_t *result, bb_fault_t *fault)
{
    BB_ASSERT(snapshot->rollup);
    memset(result, 0, sizeof *result);
    bb_scan_cursor_t cursor;
    bb_error_t error = bb_scan_cursor_decode(query->cursor, &cursor, fault);
    bb_rollup_view_t *view = snapshot->rollup;
    if (error != BB_OK) {
        return error;
    }
    s_page_t self = {
        .snapshot = snapshot,
        .view = view,
        .query = query,
        .page = page,
        .result = result,
        .day_first = (uint32_t)(view->first_wall_ns / BB_NS_PER_DAY),
        .day_limit = (uint32_t)((view->limit_wall_ns + BB_NS_PER_DAY - 1) / BB_NS_PER_DAY),
    };
    s_choose_metrics(&self);
    if (snapshot->battery_count > 0) {
        error = s_find_stale(&self);
        if (error == BB_OK) {
            error = s_compute_stale(&self, fault);
        }
        if (error == BB_OK) {
            error = s_read_stored(&self);
        }
    }
    if (error == BB_OK) {
        bb_rollup_set_merge_stored(&self.set, &self.stored);
        s_emit(&self, &cursor);
    }
    free(self.metric_is_taken);
    bb_rollup_set_free(&self.set);
    bb_rollup_set_free(&self.stored);
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_sync_results.h"

#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup_private.h"
#include "storage/rollup/bb_rollup_parcel.h"
#include "storage/scan/bb_snapshot.h"

#define S_PIECES_MAX    200000u // of one answer, about
#define S_BATTERIES_MAX 256u
#define S_SPANS_MAX     ((uint32_t)(BB_TIME_WALL_NS_LIMIT / BB_NS_PER_DAY) / BB_SYNC_RESULTS_DAYS + 1)

static_assert(S_SPANS_MAX + 1 <= BB_SYNC_WINDOWS_MAX, "a list fits into an answer");

typedef struct {
    const bb_rollup_t *rollup; // of the policy
    bb_calendar_t calendar;
    uint32_t id, day_first;
    uint8_t definition[BB_ROLLUP_DEFINITION_BYTES];
    size_t definition_bytes;
    bool *takes;          // by place of the battery in the snapshot; NULL = all
    bb_rollup_set_t set;  // what this rollup has of the window
    bb_rollup_set_t kept; // stored pieces; texts of `set` stay in it
    uint32_t *order;      // series of `set` by battery
} s_rollup_t;

struct bb_sync_results {
    bb_sync_ask_t ask;
    char battery_first[BB_BATTERY_ID_BYTES_MAX]; // of the ask
    uint8_t key[BB_FINGERPRINT_KEY_BYTES];
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    atomic_uint_fast32_t *view_count; // counts this one
    bb_policy_t *policy;
    s_rollup_t *rollups;
    uint32_t rollup_count;
    uint32_t points_day;
    bb_day_marks_t fresh;    // days and partitions that have points in the head
    bb_snapshot_t *snapshot; // NULL: a list
    bb_query_t query;
    // While it runs.
    bb_kv_txn_t *txn;
    bool is_stale[BB_SYNC_RESULTS_DAYS]; // of the rollup at hand, from the window's first day on
    s_rollup_t *at;
    bool *spans; // is_list
};

// ---- on the store's thread -------------------------------------------------------------------
void bb_sync_results_destroy(bb_sync_results_t **self_pointer)
{
    bb_sync_results_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->rollup_count; i++) {
        bb_rollup_set_free(&self->rollups[i].set);
        bb_rollup_set_free(&self->rollups[i].kept);
        free(self->rollups[i].takes);
        free(self->rollups[i].order);
    }
    free(self->rollups);
    bb_snapshot_close(&self->snapshot);
    atomic_fetch_sub(self->view_count, 1);
    bb_policy_release(&self->policy);
    bb_day_marks_free(&self->fresh);
    free(self->spans);
    free(self);
}

// Batteries of one answer, so that what is held for it stays bounded.
static uint32_t s_battery_max(const bb_sync_results_t *self, const bb_store_t *store)
{
    uint64_t pieces = 0;
    for (uint32_t i = 0; i < self->rollup_count; i++) {
        const bb_rollup_t *rollup = self->rollups[i].rollup;
        pieces +=
            rollup->every == BB_EVERY_FIXED ? (uint64_t)(BB_NS_PER_DAY / rollup->every_ns) : 2;
    }
    uint64_t metrics = BB_MAX(BB_MIN(bb_dictionary_metric_count(store->dictionary), 16), 1);
    uint64_t count = S_PIECES_MAX / (BB_MAX(pieces, 1) * metrics * BB_SYNC_RESULTS_DAYS);
    return (uint32_t)BB_MIN(BB_MAX(count, 1), S_BATTERIES_MAX);
}

static bb_error_t s_take_snapshot(bb_sync_results_t *self, bb_store_t *store)
{
    const bb_sync_ask_t *ask = &self->ask;
    bb_scan_cursor_t cursor = {.is_set = ask->battery_first.length > 0,
                               .partition = ask->partition,
                               .battery = ask->battery_first};
    uint8_t *encoded = NULL;
    size_t length = 0;
    if (cursor.is_set) {
        bb_scan_cursor_encode(&cursor, &encoded, &length);
    }
    self->query = (bb_query_t){
        .mode = BB_QUERY_AGGREGATE,
        .level = BB_LEVEL_ONE,
        .aggregates = BB_AGGREGATE_ALL,
        .from_wall_ns = (int64_t)bb_sync_results_first(ask->window.day) * BB_NS_PER_DAY,
        .to_wall_ns = (int64_t)ask->window.day * BB_NS_PER_DAY,
        .partition_count = 1,
        .partitions = &self->ask.partition,
        .cursor = bb_slice(encoded, length),
    };
    bb_error_t error = bb_store_snapshot_take(store, &self->query, s_battery_max(self, store),
                                              &self->snapshot, NULL);
    self->query.cursor = bb_slice(NULL, 0);
    free(encoded);
    for (uint32_t i = 0; i < self->rollup_count && error == BB_OK; i++) {
        s_rollup_t *rollup = &self->rollups[i];
        if (!bb_selector_names_batteries(&rollup->rollup->selector)) {
            continue;
        }
        rollup->takes = bb_alloc(self->snapshot->battery_count + 1);
        for (uint32_t b = 0; b < self->snapshot->battery_count; b++) {
            rollup->takes[b] = bb_rollup_takes_battery(store->dictionary, rollup->rollup,
                                                       self->snapshot->batteries[b].number);
        }
    }
    return error;
}

bb_error_t bb_sync_results_new(bb_store_t *store, const bb_sync_ask_t *ask,
                               bb_sync_results_t **results)
{
    bb_rollups_t *rollups = store->rollups;
    const bb_policy_t *policy = bb_retention_policy(store->retention);
    bb_sync_results_t *self = bb_alloc_zero(1, sizeof *self);
    self->ask = *ask;
    if (ask->battery_first.length > 0) {
        memcpy(self->battery_first, ask->battery_first.data, ask->battery_first.length);
    }
    self->ask.battery_first = bb_slice(self->battery_first, ask->battery_first.length);
    memcpy(self->key, store->fingerprint_key, sizeof self->key);
    self->kv = store->kv;
    self->env = rollups->env;
    self->view_count = &rollups->view_count;
    atomic_fetch_add(self->view_count, 1);
    self->policy = bb_policy_retain(bb_retention_policy(store->retention));
    self->points_day = bb_rollups_points_day(store);
    self->fresh.partition_count = store->partition_count;
    bb_day_marks_merge(&self->fresh, &rollups->head);
    bb_day_marks_merge(&self->fresh, &rollups->frozen);
    uint32_t count = bb_policy_rollup_count(policy);
    self->rollups = bb_alloc_zero(count + 1, sizeof *self->rollups);
    bb_error_t error = count > 0 && !self->env ? BB_ERR_BUSY : BB_OK;
    for (uint32_t i = 0; i < count && error == BB_OK; i++) {
        if (rollups->ids[i] == BB_ROLLUP_ID_NONE) {
            error = BB_ERR_BUSY;
            break;
        }
        s_rollup_t *rollup = &self->rollups[self->rollup_count++];
        rollup->rollup = bb_policy_rollup(policy, i);
        rollup->calendar = bb_policy_rollup_calendar(policy, i);
        rollup->id = rollups->ids[i];
        rollup->day_first = bb_rollups_day_first(store, i);
        rollup->definition_bytes = bb_rollup_definition(rollup->rollup, rollup->definition);
    }
    if (ask->is_list) {
        // A clock may be behind ours, and days may have gone by a policy that is no more.
        uint32_t day_max = 0;
        uint32_t day = bb_store_results_day(store, &day_max);
        self->ask.window.day = BB_MAX(ask->window.day, day);
        self->spans = bb_alloc_zero(S_SPANS_MAX + 1, sizeof *self->spans);
    } else if (error == BB_OK && self->rollup_count > 0 && ask->window.day > 0) {
        error = s_take_snapshot(self, store);
    }
    if (error != BB_OK) {
        bb_sync_results_destroy(&self);
    }
    *results = self;
    return error;
}

// ---- the list --------------------------------------------------------------------------------
static bool s_list_mark(void *context, uint32_t day, uint32_t partition)
{
    bb_sync_results_t *self = context;
    if (partition == self->ask.partition || partition == BB_ROLLUP_ALL_PARTITIONS) {
        self->spans[day / BB_SYNC_RESULTS_DAYS] = true;
    }
    return true;
}

// Where the records of a battery go on that are of no span in the list yet.
static uint32_t s_next_day(const bb_sync_results_t *self, uint32_t day, uint32_t day_limit)
{
    while (day < day_limit && self->spans[day / BB_SYNC_RESULTS_DAYS]) {
        day = (day / BB_SYNC_RESULTS_DAYS + 1) * BB_SYNC_RESULTS_DAYS;
    }
    return day;
}

static bb_error_t s_list_records(bb_sync_results_t *self, const s_rollup_t *rollup)
{
    uint32_t day_limit = self->ask.window.day;
    uint32_t battery = 0;
    uint32_t day = s_next_day(self, rollup->day_first, day_limit);
    bb_error_t error = BB_OK;
    while (day < day_limit) {
        error = bb_rollup_map_seek(self->kv, self->txn, rollup->id, self->ask.partition, &battery,
                                   &day);
        if (error != BB_OK) {
            break;
        }
        if (day >= rollup->day_first && day < day_limit) {
            self->spans[day / BB_SYNC_RESULTS_DAYS] = true;
        }
        day = s_next_day(self, BB_MAX(day, rollup->day_first), day_limit);
        if (day >= day_limit && ++battery != 0) {
            day = s_next_day(self, rollup->day_first, day_limit);
        }
    }
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

static bb_error_t s_list(bb_sync_results_t *self, bb_sync_found_t *found)
{
    uint32_t day_limit = self->ask.window.day;
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->rollup_count && error == BB_OK; i++) {
        const s_rollup_t *rollup = &self->rollups[i];
        error = bb_rollup_map_marks(self->kv, self->txn, rollup->id, rollup->day_first, day_limit,
                                    s_list_mark, self);
        for (uint32_t k = 0; k < self->fresh.count; k++) {
            uint32_t day = self->fresh.days[k].day;
            if (day >= rollup->day_first && day < day_limit &&
                bb_day_marks_has(&self->fresh, day, self->ask.partition)) {
                self->spans[day / BB_SYNC_RESULTS_DAYS] = true;
            }
        }
        if (error == BB_OK) {
            error = s_list_records(self, rollup);
        }
    }
    found->windows = bb_alloc((S_SPANS_MAX + 1) * sizeof *found->windows);
    for (uint32_t span = 0; span <= S_SPANS_MAX && error == BB_OK; span++) {
        if (self->spans[span]) {
            uint32_t day = BB_MIN((span + 1) * BB_SYNC_RESULTS_DAYS, day_limit);
            found->windows[found->window_count++] = (bb_sync_window_t){BB_SYNC_RESULTS, day};
        }
    }
    return error;
}

// ---- what a rollup has -----------------------------------------------------------------------
static bool s_add_stale(void *context, uint32_t day, uint32_t partition)
{
    bb_sync_results_t *self = context;
    if (partition == self->ask.partition || partition == BB_ROLLUP_ALL_PARTITIONS) {
        self->is_stale[day % BB_SYNC_RESULTS_DAYS] = true;
    }
    return true;
}

static bool s_takes(void *context, uint32_t battery, uint32_t day)
{
    const bb_sync_results_t *self = context;
    (void)day;
    return !self->at->takes || self->at->takes[battery];
}

static bb_error_t s_compute(bb_sync_results_t *self, s_rollup_t *rollup, uint32_t day_first,
                            bb_sync_found_t *found)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bool *metrics = bb_alloc(snapshot->metric_count + 1);
    for (uint32_t m = 0; m < snapshot->metric_count; m++) {
        metrics[m] = bb_selector_takes_metric(&rollup->rollup->selector, snapshot->metric_names[m]);
    }
    const bb_rollup_scan_t scan = {.snapshot = self->snapshot,
                                   .query = &self->query,
                                   .metric_is_taken = metrics,
                                   .takes = s_takes,
                                   .context = self};
    bb_error_t error = BB_OK;
    for (uint32_t day = day_first; day < self->ask.window.day && error == BB_OK; day++) {
        if (!self->is_stale[day % BB_SYNC_RESULTS_DAYS]) {
            continue;
        }
        bb_scan_result_t result = {0};
        error = bb_rollup_scan_day(&scan, &rollup->calendar, day, &rollup->set, &result, NULL);
        found->points += result.points_scanned;
        if (error == BB_OK && result.damaged_partition_count > 0 && !self->ask.is_own) {
            error = BB_ERR_CORRUPT;
        }
    }
    free(metrics);
    return error;
}

typedef struct {
    bb_sync_results_t *results;
    uint32_t battery;
    bool is_marked; // some of it was deleted
} s_stored_t;

static bb_error_t s_add_stored(void *context, uint32_t day, bb_slice_t record)
{
    const s_stored_t *self = context;
    bb_sync_results_t *results = self->results;
    if (self->is_marked && day >= results->points_day &&
        results->is_stale[day % BB_SYNC_RESULTS_DAYS]) {
        return BB_OK; // it was computed, and what is stored counts points that were deleted
    }
    bb_error_t error =
        bb_rollup_record_decode(record, self->battery, NULL, 0, &results->at->kept, NULL);
    bool is_damaged = error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT;
    return is_damaged && results->ask.is_own ? BB_OK : error;
}

static int s_compare_series(const void *a, const void *b, void *context)
{
    const bb_rollup_series_t *series = context;
    uint32_t left = series[*(const uint32_t *)a].battery;
    uint32_t right = series[*(const uint32_t *)b].battery;
    return (left > right) - (left < right);
}

static bb_error_t s_read(bb_sync_results_t *self, s_rollup_t *rollup, bb_sync_found_t *found)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    uint32_t day_limit = self->ask.window.day;
    uint32_t day_first = BB_MAX(rollup->day_first, bb_sync_results_first(day_limit));
    self->at = rollup;
    memset(self->is_stale, 0, sizeof self->is_stale);
    for (uint32_t day = day_first; day < day_limit; day++) {
        self->is_stale[day % BB_SYNC_RESULTS_DAYS] =
            bb_day_marks_has(&self->fresh, day, self->ask.partition);
    }
    bb_error_t error = bb_rollup_map_marks(self->kv, self->txn, rollup->id, day_first, day_limit,
                                           s_add_stale, self);
    if (error == BB_OK) {
        error = s_compute(self, rollup, day_first, found);
    }
    for (uint32_t b = 0; b < snapshot->battery_count && error == BB_OK && day_first < day_limit;
         b++) {
        uint32_t number = snapshot->batteries[b].number;
        s_stored_t stored = {.results = self, .battery = b};
        stored.is_marked = snapshot->markers && bb_markers_of(snapshot->markers, number).count > 0;
        error = bb_rollup_map_records(self->kv, self->txn, rollup->id, self->ask.partition, number,
                                      day_first, day_limit, s_add_stored, &stored);
        if (error == BB_ERR_CORRUPT && self->ask.is_own) {
            error = BB_OK; // whatever it has will differ, and is fetched
        }
    }
    if (error != BB_OK) {
        return error == BB_ERR_FORMAT ? BB_ERR_CORRUPT : error;
    }
    bb_rollup_set_merge_stored(&rollup->set, &rollup->kept);
    rollup->order = bb_alloc((rollup->set.count + 1) * sizeof *rollup->order);
    for (uint32_t i = 0; i < rollup->set.count; i++) {
        if (rollup->set.series[i].metric >= snapshot->metric_count) {
            return BB_ERR_CORRUPT;
        }
        rollup->order[i] = i;
    }
    if (rollup->set.count > 1) {
        qsort_r(rollup->order, rollup->set.count, sizeof *rollup->order, s_compare_series,
                rollup->set.series);
    }
    return BB_OK;
}

// ---- leaves ----------------------------------------------------------------------------------
// Fills a leaf for each battery of the snapshot, zeros for those that have nothing.
static bb_sync_leaf_t *s_leaves(bb_sync_results_t *self)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bb_sync_leaf_t *leaves = bb_alloc_zero(snapshot->battery_count + 1, sizeof *leaves);
    for (uint32_t b = 0; b < snapshot->battery_count; b++) {
        leaves[b].battery =
            bb_fingerprint_name(self->key, BB_FINGERPRINT_BATTERY, snapshot->batteries[b].id).a;
    }
    for (uint32_t r = 0; r < self->rollup_count; r++) {
        const s_rollup_t *rollup = &self->rollups[r];
        bb_fingerprint_name_t definition =
            bb_fingerprint_name(self->key, BB_FINGERPRINT_RESULT,
                                bb_slice(rollup->definition, rollup->definition_bytes));
        for (uint32_t i = 0; i < rollup->set.count; i++) {
            const bb_rollup_series_t *series = &rollup->set.series[i];
            bb_fingerprint_t sum = {0};
            bb_fingerprint_name_t metric = bb_fingerprint_name(
                self->key, BB_FINGERPRINT_METRIC, snapshot->metric_names[series->metric]);
            bb_rollup_parcel_hash(self->key, definition, metric, series, &sum);
            leaves[series->battery].low += sum.low;
            leaves[series->battery].high += sum.high;
        }
    }
    return leaves;
}

static bool s_is_wanted(const bb_sync_ask_t *ask, const bb_sync_leaf_t *leaf)
{
    uint32_t bucket = (uint32_t)(leaf->battery % BB_SYNC_BUCKETS);
    bool is_any = leaf->low != 0 || leaf->high != 0;
    return is_any && (ask->buckets[bucket / 8] >> (bucket % 8) & 1);
}

static bool s_is_known(const bb_sync_ask_t *ask, const bb_sync_leaf_t *leaf)
{
    uint32_t first = 0;
    uint32_t limit = ask->leaf_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (ask->leaves[middle].battery < leaf->battery) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < ask->leaf_count && memcmp(&ask->leaves[first], leaf, sizeof *leaf) == 0;
}

// ---- fetching --------------------------------------------------------------------------------
static void s_more(bb_sync_found_t *found, bb_slice_t id, int64_t from_wall_ns)
{
    found->has_more = true;
    memcpy(found->battery_next, id.data, id.length);
    found->battery_next_bytes = (uint32_t)id.length;
    found->from_next_wall_ns = from_wall_ns;
}

static void s_put(bb_sync_found_t *found, bb_rollup_parcel_t *parcel, bb_slice_t id)
{
    if (bb_rollup_parcel_bytes(parcel) == 0) {
        return;
    }
    size_t length = 0;
    bb_sync_attributes_t *into = &found->attributes[found->attributes_count++];
    into->bytes = bb_rollup_parcel_take(parcel, id.length, &length);
    memcpy(into->bytes, id.data, id.length);
    into->id = bb_slice(into->bytes, id.length);
    into->packed = bb_slice(into->bytes + id.length, length);
}

// Series of the rollup that are of this battery; returns how many.
static uint32_t s_series_of(const s_rollup_t *rollup, uint32_t battery,
                            const bb_rollup_series_t **list)
{
    uint32_t first = 0;
    uint32_t limit = rollup->set.count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (rollup->set.series[rollup->order[middle]].battery < battery) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    uint32_t count = 0;
    for (; first < rollup->set.count; first++) {
        const bb_rollup_series_t *series = &rollup->set.series[rollup->order[first]];
        if (series->battery != battery) {
            break;
        }
        list[count++] = series;
    }
    return count;
}

// Packs what the battery has from that moment on: the start of a day, and the number of a rollup
// behind it, so that an answer ends where it is full. False: it ends here.
static bool s_pack(bb_sync_results_t *self, uint32_t battery, int64_t from_wall_ns,
                   bb_rollup_parcel_t *parcel, bb_sync_found_t *found, uint64_t *bytes)
{
    bb_slice_t id = self->snapshot->batteries[battery].id;
    uint32_t first = bb_sync_results_first(self->ask.window.day);
    for (uint32_t day = first; day < self->ask.window.day; day++) {
        for (uint32_t r = 0; r < self->rollup_count; r++) {
            const s_rollup_t *rollup = &self->rollups[r];
            int64_t at_wall_ns = (int64_t)day * BB_NS_PER_DAY + rollup->id;
            if (at_wall_ns < from_wall_ns) {
                continue;
            }
            if (*bytes + bb_rollup_parcel_bytes(parcel) >= self->ask.bytes_max) {
                s_put(found, parcel, id);
                s_more(found, id, at_wall_ns);
                return false;
            }
            const bb_rollup_series_t **list = bb_alloc((rollup->set.count + 1) * sizeof *list);
            uint32_t count = s_series_of(rollup, battery, list);
            bb_rollup_parcel_add(parcel, bb_slice(rollup->definition, rollup->definition_bytes),
                                 day, list, count);
            free(list);
        }
    }
    *bytes += bb_rollup_parcel_bytes(parcel);
    s_put(found, parcel, id);
    return true;
}

static int s_compare_rollups(const void *a, const void *b)
{
    const s_rollup_t *left = a;
    const s_rollup_t *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static void s_fetch(bb_sync_results_t *self, const bb_sync_leaf_t *leaves, bb_sync_found_t *found)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bb_rollup_parcel_t *parcel =
        bb_rollup_parcel_new(snapshot->metric_names, snapshot->metric_count);
    found->attributes = bb_alloc_zero(snapshot->battery_count + 1, sizeof *found->attributes);
    uint64_t bytes = 0;
    bool goes_on = true;
    for (uint32_t b = 0; b < snapshot->battery_count && goes_on; b++) {
        // Only the battery that an answer ended in has a moment to go on from.
        bool is_first =
            bb_dictionary_compare(snapshot->batteries[b].id, self->ask.battery_first) == 0;
        int64_t from_wall_ns = is_first ? self->ask.from_wall_ns : 0;
        if (s_is_wanted(&self->ask, &leaves[b]) && !s_is_known(&self->ask, &leaves[b])) {
            goes_on = s_pack(self, b, from_wall_ns, parcel, found, &bytes);
        }
    }
    bb_rollup_parcel_destroy(&parcel);
    if (goes_on && !snapshot->is_complete) {
        s_more(found, snapshot->next_battery, 0);
    }
}

// ---- the run ---------------------------------------------------------------------------------
static bb_error_t s_run(bb_sync_results_t *self, bb_sync_found_t *found)
{
    if (self->ask.is_list) {
        return s_list(self, found);
    }
    const bb_snapshot_t *snapshot = self->snapshot;
    for (uint32_t r = 0; r < self->rollup_count; r++) {
        bb_error_t error = s_read(self, &self->rollups[r], found);
        if (error != BB_OK) {
            return error;
        }
    }
    bb_sync_leaf_t *leaves = s_leaves(self);
    if (self->ask.is_fetch) {
        qsort(self->rollups, self->rollup_count, sizeof *self->rollups, s_compare_rollups);
        s_fetch(self, leaves, found);
        free(leaves);
        return BB_OK;
    }
    for (uint32_t b = 0; b < snapshot->battery_count; b++) {
        if (s_is_wanted(&self->ask, &leaves[b])) {
            leaves[found->leaf_count++] = leaves[b];
        }
    }
    found->leaves = leaves;
    if (!snapshot->is_complete) {
        s_more(found, snapshot->next_battery, 0);
    }
    return BB_OK;
}

bb_error_t bb_sync_results_run(bb_sync_results_t *self, bb_sync_found_t *found)
{
    if (self->rollup_count == 0 || (!self->ask.is_list && !self->snapshot)) {
        return BB_OK; // there is nothing
    }
    bb_error_t error = self->kv->begin(self->env, false, &self->txn);
    if (error == BB_OK) {
        error = s_run(self, found);
        self->kv->abort(&self->txn);
    }
    return error;
}

// SPDX-License-Identifier: Apache-2.0
// The part of a rollup job that runs in any thread.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup_private.h"
#include "storage/rollup/bb_rollup_record.h"
#include "storage/scan/bb_snapshot.h"

bool bb_rollup_takes_battery(const bb_dictionary_t *dictionary, const bb_rollup_t *rollup,
                             uint32_t battery)
{
    bb_attribute_t attributes[BB_ATTRIBUTES_MAX];
    uint32_t count = bb_dictionary_attribute_pairs(dictionary, battery, attributes);
    return bb_selector_takes_battery(&rollup->selector, attributes, count);
}

static bb_error_t s_commit(bb_rollup_job_t *self, bb_kv_txn_t **txn, bb_error_t error,
                           bool *must_fence)
{
    if (error == BB_OK) {
        error = bb_store_commit(self->rollups->kv, txn, must_fence);
        BB_KILLPOINT(self->rollups->kv, ROLLUP_RECORDED);
    }
    self->rollups->kv->abort(txn);
    return error;
}

// ---- reconcile and expand --------------------------------------------------------------------
static bb_error_t s_define(bb_rollup_job_t *self, bool *must_fence)
{
    bb_kv_driver_t *kv = self->rollups->kv;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = kv->begin(self->rollups->env, true, &txn);
    for (uint32_t i = 0; i < self->new_count && error == BB_OK; i++) {
        uint8_t bytes[BB_ROLLUP_DEFINITION_BYTES];
        size_t length =
            bb_rollup_definition(bb_policy_rollup(self->policy, self->new_indexes[i]), bytes);
        error = bb_rollup_map_define(kv, txn, self->new_ids[i], bb_slice(bytes, length));
        for (uint32_t d = 0; d < self->day_count && error == BB_OK; d++) {
            error = bb_rollup_map_mark(kv, txn, self->new_ids[i], self->days[d],
                                       BB_ROLLUP_ALL_PARTITIONS);
        }
    }
    return s_commit(self, &txn, error, must_fence);
}

// Removes all of a rollup, or what is of days before day_limit, in transactions of bounded size.
static bb_error_t s_drop(bb_rollup_job_t *self, uint32_t id, uint32_t day_limit, bool *must_fence)
{
    bb_kv_driver_t *kv = self->rollups->kv;
    bb_error_t error = BB_OK;
    bool more = true;
    while (more && error == BB_OK) {
        bb_kv_txn_t *txn = NULL;
        error = kv->begin(self->rollups->env, true, &txn);
        if (error == BB_OK) {
            error = day_limit == UINT32_MAX
                        ? bb_rollup_map_drop(kv, txn, id, BB_ROLLUP_DROP_KEYS, &more)
                        : bb_rollup_map_expire(kv, txn, id, day_limit, BB_ROLLUP_DROP_KEYS, &more);
        }
        error = s_commit(self, &txn, error, must_fence);
    }
    return error;
}

static bb_error_t s_reconcile(bb_rollup_job_t *self, bool *must_fence)
{
    bb_error_t error = BB_OK;
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && error == BB_OK; id++) {
        if (self->is_dropped[id]) {
            error = s_drop(self, id, UINT32_MAX, must_fence);
        }
    }
    return error == BB_OK ? s_define(self, must_fence) : error;
}

static bb_error_t s_expand(bb_rollup_job_t *self, bool *must_fence)
{
    bb_kv_driver_t *kv = self->rollups->kv;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = kv->begin(self->rollups->env, true, &txn);
    for (uint32_t i = 0; i < self->partition_count && error == BB_OK; i++) {
        error = bb_rollup_map_mark(kv, txn, self->id, self->day, self->partitions[i]);
    }
    if (error == BB_OK) {
        error = bb_rollup_map_unmark(kv, txn, self->id, self->day, BB_ROLLUP_ALL_PARTITIONS);
    }
    return s_commit(self, &txn, error, must_fence);
}

// What does not verify is not known to be of any battery or day: all days are stale then.
static bb_error_t s_verify(bb_rollup_job_t *self, bool *must_fence)
{
    bb_kv_driver_t *kv = self->rollups->kv;
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = kv->begin(self->rollups->env, true, &txn);
    if (error == BB_OK) {
        error = bb_rollup_map_check_records(kv, txn, BB_ROLLUP_CHECK_BYTES, &self->place,
                                            &self->removed_count);
    }
    for (uint32_t id = 0; id < BB_ROLLUP_IDS_MAX && self->removed_count > 0; id++) {
        bool is_used = self->rollups->definitions[id].bytes != NULL;
        for (uint32_t d = 0; is_used && d < self->day_count && error == BB_OK; d++) {
            error = bb_rollup_map_mark(kv, txn, id, self->days[d], BB_ROLLUP_ALL_PARTITIONS);
        }
    }
    if (error == BB_OK && self->removed_count > 0) {
        error = bb_rollup_map_put_gaps(kv, txn, true);
    }
    if (error == BB_OK && self->removed_count > 0) {
        error = bb_store_commit(kv, &txn, must_fence);
    }
    kv->abort(&txn); // nothing was changed, or it failed
    return error;
}

// ---- compute ---------------------------------------------------------------------------------
static int s_compare_series(const void *a, const void *b)
{
    const bb_rollup_series_t *left = *(const bb_rollup_series_t *const *)a;
    const bb_rollup_series_t *right = *(const bb_rollup_series_t *const *)b;
    return (left->battery > right->battery) - (left->battery < right->battery);
}

static bool s_is_damaged(const bb_scan_result_t *result, uint32_t partition)
{
    for (uint32_t i = 0; i < result->damaged_partition_count; i++) {
        if (result->damaged_partitions[i] == partition) {
            return true;
        }
    }
    return false;
}

// Reads what is stored of the battery, because the points of some of it may be gone. If they were
// deleted, what is stored goes, too; unless retention has taken points of that day: then it cannot
// be told any more which.
static bb_error_t s_read_stored(bb_rollup_job_t *self, bb_kv_txn_t *txn, uint32_t battery,
                                const bb_scan_result_t *result, bb_rollup_set_t *set)
{
    const bb_snapshot_battery_t *of = &self->snapshot->batteries[battery];
    bool is_marked =
        self->snapshot->markers && bb_markers_of(self->snapshot->markers, of->number).count > 0;
    if (is_marked && self->has_points) {
        return s_is_damaged(result, of->partition)
                   ? BB_OK
                   : bb_rollup_map_remove(self->rollups->kv, txn, self->id, of->partition,
                                          of->number, self->day);
    }
    bb_slice_t record;
    bb_error_t error = bb_rollup_map_get(self->rollups->kv, txn, self->id, of->partition,
                                         of->number, self->day, &record);
    if (error == BB_OK) {
        error = bb_rollup_record_decode(record, battery, NULL, 0, set, NULL);
    }
    // By what the points say: if some of them are gone, only others may have the rest.
    bool is_replaced = error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT;
    self->removed_count += is_replaced && !self->has_points;
    return error == BB_ERR_NOT_FOUND || is_replaced ? BB_OK : error;
}

static bb_error_t s_put(bb_rollup_job_t *self, bb_kv_txn_t *txn, const bb_rollup_set_t *set,
                        const bb_scan_result_t *result)
{
    const bb_rollup_series_t **sorted = bb_alloc((set->count + 1) * sizeof *sorted);
    bb_run_writer_t *writer = bb_run_writer_new();
    for (uint32_t i = 0; i < set->count; i++) {
        sorted[i] = &set->series[i];
    }
    if (set->count > 1) {
        qsort(sorted, set->count, sizeof *sorted, s_compare_series);
    }
    bb_error_t error = BB_OK;
    for (uint32_t i = 0, limit; i < set->count && error == BB_OK; i = limit) {
        limit = i + 1;
        while (limit < set->count && sorted[limit]->battery == sorted[i]->battery) {
            limit++;
        }
        const bb_snapshot_battery_t *of = &self->snapshot->batteries[sorted[i]->battery];
        bb_slice_t record = bb_rollup_record_encode(writer, sorted + i, limit - i);
        if (record.length > 0 && !s_is_damaged(result, of->partition)) {
            error = bb_rollup_map_put(self->rollups->kv, txn, self->id, of->partition, of->number,
                                      self->day, record);
        }
    }
    bb_run_writer_destroy(&writer);
    free(sorted);
    return error;
}

static bb_error_t s_compute(bb_rollup_job_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_kv_driver_t *kv = self->rollups->kv;
    bb_rollup_set_t set = {0};
    bb_rollup_set_t stored = {0};
    bb_scan_result_t result = {0};
    bb_error_t error = BB_OK;
    if (self->snapshot) {
        const bb_rollup_scan_t scan = {.snapshot = self->snapshot, .query = &self->query};
        error = bb_rollup_scan_day(&scan, &self->calendar, self->day, &set, &result, fault);
        self->is_damaged = result.damaged_partition_count > 0;
        self->is_unread = result.unread_window_count > 0 &&
                          result.unread_window_count == result.damaged_window_count;
    }
    bb_kv_txn_t *txn = NULL;
    if (error == BB_OK) {
        error = kv->begin(self->rollups->env, true, &txn);
    }
    for (uint32_t b = 0; self->snapshot && b < self->snapshot->battery_count && error == BB_OK;
         b++) {
        error = s_read_stored(self, txn, b, &result, &stored);
    }
    bb_rollup_set_merge_stored(&set, &stored); // pieces whose points are gone stay
    if (error == BB_OK && self->snapshot) {
        error = s_put(self, txn, &set, &result);
    }
    if (error == BB_OK && self->removed_count > 0) {
        error = bb_rollup_map_put_gaps(kv, txn, true);
    }
    uint32_t complete = self->partition_count - (self->next.is_open ? 1 : 0);
    for (uint32_t i = 0; i < complete && error == BB_OK; i++) {
        if (!s_is_damaged(&result, self->partitions[i])) {
            error = bb_rollup_map_unmark(kv, txn, self->id, self->day, self->partitions[i]);
        }
    }
    if (txn) {
        error = s_commit(self, &txn, error, must_fence);
    }
    bb_rollup_set_free(&set);
    bb_rollup_set_free(&stored);
    return error;
}

bb_error_t bb_rollup_job_run(bb_rollup_job_t *self, bool *must_fence, bb_fault_t *fault)
{
    switch (self->kind) {
    case BB_ROLLUP_NOTHING:
        break;
    case BB_ROLLUP_RECONCILE:
        return s_reconcile(self, must_fence);
    case BB_ROLLUP_EXPAND:
        return s_expand(self, must_fence);
    case BB_ROLLUP_COMPUTE:
        return s_compute(self, must_fence, fault);
    case BB_ROLLUP_CHECK:
        return s_verify(self, must_fence);
    case BB_ROLLUP_EXPIRE:
        return s_drop(self, self->id, self->day, must_fence);
    }
    return BB_OK;
}

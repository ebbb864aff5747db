// SPDX-License-Identifier: Apache-2.0
// Results of rollups that another store sent: checked when they come, merged into the map by the
// next flush, between the names of batteries and metrics and the have-sets that are adopted. So no
// record has a number that a crash could give to somebody else, and no have-set says that something
// is here which is not.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_rollup_private.h"
#include "storage/bb_store_sync.h"
#include "storage/rollup/bb_rollup_parcel.h"

#define S_WAITING_BYTES_MAX (4u << 20) // then a flush comes first

// ---- on the store's thread -------------------------------------------------------------------
static void s_list_clear(bb_rollup_taken_list_t *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        free(list->items[i].bytes);
    }
    free(list->items);
    *list = (bb_rollup_taken_list_t){0};
}

void bb_rollups_taken_clear(bb_rollups_t *self)
{
    s_list_clear(&self->taken);
    s_list_clear(&self->taking);
}

void bb_rollups_taken_freeze(bb_rollups_t *self)
{
    BB_ASSERT(self->taking.count == 0);
    s_list_clear(&self->taking);
    self->taking = self->taken;
    self->taking.passed_day = self->passed_day;
    self->taken = (bb_rollup_taken_list_t){0};
}

void bb_rollups_taken_thaw(bb_rollups_t *self)
{
    self->taken_count += self->taking.count;
    self->different_count += self->taking.different_count;
    s_list_clear(&self->taking);
}

static void s_list_forget(bb_rollup_taken_list_t *list, uint32_t id)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i].id == id) {
            list->bytes -= list->items[i].length;
            free(list->items[i].bytes);
        } else {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

// Numbers of rollups that are gone mean others soon. A flush that failed still has some.
void bb_rollups_taken_forget(bb_rollups_t *self, uint32_t id)
{
    s_list_forget(&self->taken, id);
    s_list_forget(&self->taking, id);
}

bool bb_rollups_has_taken(const bb_rollups_t *self)
{
    return self->taken.count > 0;
}

// The day before which this rollup keeps nothing.
uint32_t bb_rollups_day_first(const bb_store_t *store, uint32_t index)
{
    const bb_rollups_t *self = store->rollups;
    const bb_rollup_t *rollup = bb_policy_rollup(bb_retention_policy(store->retention), index);
    uint32_t day = bb_day_of(bb_retention_floor(0, rollup->keep_ns, self->now_wall_ns));
    return BB_MAX(day, self->floor_days[self->ids[index]]);
}

uint32_t bb_rollups_points_day(const bb_store_t *store)
{
    uint32_t day = bb_day_of(bb_retention_durable_floor_max(store->retention));
    return BB_MAX(day, store->rollups->passed_day);
}

// Without the time, what others say of days is believed: it is a limit for what makes no sense.
uint32_t bb_store_results_day(const bb_store_t *self, uint32_t *day_max)
{
    const bb_rollups_t *rollups = self->rollups;
    uint32_t day = bb_day_of(bb_retention_intake_floor_max(self->retention));
    *day_max = 0;
    if (bb_policy_rollup_count(bb_retention_policy(self->retention)) > 0) {
        uint32_t limit = bb_day_of(BB_TIME_WALL_NS_LIMIT);
        uint32_t soon = rollups->now_wall_ns > 0
                            ? bb_day_of(rollups->now_wall_ns) + BB_SYNC_RESULTS_AHEAD_DAYS
                            : limit;
        *day_max = BB_MIN(BB_MAX(day, soon), limit);
    }
    return day;
}

// Index of the policy's rollup; UINT32_MAX: it has none that computes the same.
static uint32_t s_find(const bb_store_t *store, bb_slice_t definition)
{
    const bb_policy_t *policy = bb_retention_policy(store->retention);
    for (uint32_t i = 0; i < bb_policy_rollup_count(policy); i++) {
        uint8_t bytes[BB_ROLLUP_DEFINITION_BYTES];
        size_t length = bb_rollup_definition(bb_policy_rollup(policy, i), bytes);
        if (length == definition.length && memcmp(bytes, definition.data, length) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

typedef struct {
    bb_store_t *store;
    bb_run_writer_t *writer;
    uint32_t partition;
    bb_sync_window_t window;
    bb_slice_t id; // of the battery
    bb_rollup_taken_list_t list;
} s_taking_t;

static void s_keep(s_taking_t *self, uint32_t rollup_id, uint32_t day, bb_slice_t record)
{
    bb_rollup_taken_list_t *list = &self->list;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 8;
        list->items = bb_realloc(list->items, list->capacity * sizeof *list->items);
    }
    uint8_t *bytes = bb_alloc(record.length);
    memcpy(bytes, record.data, record.length);
    list->items[list->count++] = (bb_rollup_taken_t){
        .id = rollup_id,
        .partition = self->partition,
        .battery = bb_dictionary_battery(self->store->dictionary, self->id, self->partition),
        .day = day,
        .bytes = bytes,
        .length = record.length};
    list->bytes += record.length;
}

static bb_error_t s_take_record(s_taking_t *self, const bb_rollup_unpacking_t *unpacking,
                                const bb_rollup_packed_t *packed)
{
    bb_store_t *store = self->store;
    const bb_policy_t *policy = bb_retention_policy(store->retention);
    uint32_t index = s_find(store, unpacking->definitions[packed->definition]);
    if (packed->day < bb_sync_results_first(self->window.day) || packed->day >= self->window.day) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    if (index == UINT32_MAX) {
        return BB_OK; // nobody asks for it here
    }
    if (store->rollups->ids[index] == BB_ROLLUP_ID_NONE) {
        return BB_ERR_BUSY; // the map does not know it yet
    }
    bb_calendar_t calendar = bb_policy_rollup_calendar(policy, index);
    bb_rollup_set_t set = {0};
    bb_error_t error = bb_rollup_unpacking_read(unpacking, packed, &calendar,
                                                &bb_policy_rollup(policy, index)->selector, &set);
    if (error == BB_OK && packed->day >= bb_rollups_day_first(store, index)) {
        const bb_rollup_series_t **list = bb_alloc((set.count + 1) * sizeof *list);
        for (uint32_t i = 0; i < set.count; i++) {
            set.series[i].metric =
                bb_dictionary_metric(store->dictionary, unpacking->metrics[set.series[i].metric]);
            list[i] = &set.series[i];
        }
        bb_slice_t record = bb_rollup_record_encode(self->writer, list, set.count);
        if (record.length > 0) {
            s_keep(self, store->rollups->ids[index], packed->day, record);
        }
        free(list);
    }
    bb_rollup_set_free(&set);
    return error;
}

// What was checked waits for the next flush.
static void s_queue(bb_rollups_t *self, s_taking_t *taking, uint32_t points_day)
{
    bb_rollup_taken_list_t *to = &self->taken;
    bb_rollup_taken_list_t *from = &taking->list;
    to->capacity = to->count + from->count;
    to->items = bb_realloc(to->items, (to->capacity + 1) * sizeof *to->items);
    for (uint32_t i = 0; i < from->count; i++) {
        to->items[to->count++] = from->items[i];
        if (from->items[i].day >= points_day) {
            self->passed_day = BB_MAX(self->passed_day, from->items[i].day + 1);
        }
    }
    to->bytes += from->bytes;
    from->count = 0;
}

bb_error_t bb_store_sync_results(bb_store_t *self, uint32_t partition, bb_sync_window_t window,
                                 bb_slice_t id, bb_slice_t packed)
{
    BB_ASSERT(partition < self->partition_count);
    if (id.length == 0 || id.length > BB_BATTERY_ID_BYTES_MAX) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    uint32_t known = bb_dictionary_battery_find(self->dictionary, id);
    if (known != BB_NUMBER_NONE &&
        bb_dictionary_battery_partition(self->dictionary, known) != partition) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    if (!self->rollups->env || self->rollups->taken.bytes >= S_WAITING_BYTES_MAX) {
        return BB_ERR_BUSY;
    }
    bb_rollup_unpacking_t unpacking;
    bb_error_t error = bb_rollup_unpacking_open(&unpacking, packed);
    if (error != BB_OK) {
        return error;
    }
    s_taking_t taking = {.store = self,
                         .writer = bb_run_writer_new(),
                         .partition = partition,
                         .window = window,
                         .id = id};
    bb_rollup_packed_t record;
    while (error == BB_OK && (error = bb_rollup_unpacking_next(&unpacking, &record)) == BB_OK) {
        error = s_take_record(&taking, &unpacking, &record);
    }
    if (error == BB_ERR_NOT_FOUND) {
        s_queue(self->rollups, &taking, bb_rollups_points_day(self));
        error = BB_OK;
    }
    s_list_clear(&taking.list);
    bb_run_writer_destroy(&taking.writer);
    bb_rollup_unpacking_close(&unpacking);
    return error;
}

void bb_store_results_hold(bb_store_t *self, bool is_held)
{
    self->rollups->is_held = is_held;
    self->rollups->is_due |= !is_held && self->rollups->stale_count > 0;
}

bool bb_store_results_wait(const bb_store_t *self)
{
    return self->rollups->taken.bytes >= S_WAITING_BYTES_MAX / 2;
}

// ---- gaps ------------------------------------------------------------------------------------
uint64_t bb_store_result_gaps(const bb_store_t *self)
{
    return self->rollups->gaps;
}

void bb_store_results_stats(const bb_store_t *self, uint64_t *taken_count,
                            uint64_t *different_count)
{
    *taken_count = self->rollups->taken_count;
    *different_count = self->rollups->different_count;
}

bb_error_t bb_store_result_gaps_filled(bb_store_t *self)
{
    BB_ASSERT(!self->is_job_alive);
    bool must_fence = false;
    bb_error_t error = bb_rollups_write_gaps(self->rollups, false, &must_fence);
    self->is_fenced |= must_fence;
    if (error == BB_OK) {
        self->rollups->gaps = 0;
    }
    return error;
}

// ---- in the flush job ------------------------------------------------------------------------
// The record becomes what both stores' pieces make together.
static bb_error_t s_merge(bb_rollups_t *self, bb_kv_txn_t *txn, const bb_rollup_taken_t *taken,
                          bb_run_writer_t *writer)
{
    bb_rollup_set_t own = {0};
    bb_rollup_set_t other = {0};
    bb_slice_t record;
    bb_error_t error = bb_rollup_map_get(self->kv, txn, taken->id, taken->partition, taken->battery,
                                         taken->day, &record);
    if (error == BB_OK) {
        error = bb_rollup_record_decode(record, 0, NULL, 0, &own, NULL);
    }
    if (error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT) {
        bb_rollup_set_free(&own); // it is replaced
        error = BB_OK;
    }
    if (error == BB_OK || error == BB_ERR_NOT_FOUND) {
        error = bb_rollup_record_decode(bb_slice(taken->bytes, taken->length), 0, NULL, 0, &other,
                                        NULL);
        BB_ASSERT(error == BB_OK); // our own encoding
        bb_rollup_set_merge_other(&own, &other, &self->taking.different_count);
        const bb_rollup_series_t **list = bb_alloc((own.count + 1) * sizeof *list);
        for (uint32_t i = 0; i < own.count; i++) {
            list[i] = &own.series[i];
        }
        error = bb_rollup_map_put(self->kv, txn, taken->id, taken->partition, taken->battery,
                                  taken->day, bb_rollup_record_encode(writer, list, own.count));
        free(list);
    }
    bb_rollup_set_free(&own);
    bb_rollup_set_free(&other);
    return error;
}

bb_error_t bb_rollups_write_taken(bb_rollups_t *self, bool *must_fence, bb_fault_t *fault)
{
    if (self->taking.count == 0) {
        return BB_OK;
    }
    bb_kv_txn_t *txn = NULL;
    bb_run_writer_t *writer = bb_run_writer_new();
    self->taking.different_count = 0;
    bb_error_t error = self->kv->begin(self->env, true, &txn);
    for (uint32_t i = 0; i < self->taking.count && error == BB_OK; i++) {
        error = s_merge(self, txn, &self->taking.items[i], writer);
    }
    if (error == BB_OK) {
        error = bb_rollup_map_pass(self->kv, txn, self->taking.passed_day);
    }
    if (error == BB_OK) {
        error = bb_store_commit(self->kv, &txn, must_fence);
        BB_KILLPOINT(self->kv, ROLLUP_RECORDED);
    }
    self->kv->abort(&txn);
    bb_run_writer_destroy(&writer);
    return error == BB_OK
               ? BB_OK
               : bb_fault_set(fault, error, "%s/rollups: results of others cannot be written: %s",
                              self->directory, bb_error_message(error));
}

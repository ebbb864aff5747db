// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_fingerprint.h"

#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_markers.h"
#include "storage/kv/bb_kv_record.h"
#include "storage/segment/bb_shared_run.h"

struct bb_fingerprinter {
    bb_kv_driver_t *kv;
    bb_kv_txn_t *txn; // of meta
    const uint8_t *key;
    bb_fingerprint_name_t *metrics;
    uint32_t metric_count, metric_capacity;
    uint64_t battery; // partition << 32 | battery whose id is `id`; UINT64_MAX = none yet
    bb_fingerprint_name_t id;
    bb_fingerprint_name_t *members; // of a shared run
    uint32_t member_capacity;
    bb_meta_fingerprint_t *sums; // by partition
    uint32_t sum_count, sum_capacity;
};

static bb_error_t s_read_metrics(bb_fingerprinter_t *self)
{
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t record;
    bb_error_t error = self->kv->cursor(self->txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    error = self->kv->seek(cursor, bb_slice("M", 1), &key, &record);
    while (error == BB_OK && *(const uint8_t *)key.data == 'M') {
        bb_slice_t value;
        error = bb_kv_record_open(key, record, &value);
        if (error != BB_OK) {
            break;
        }
        if (self->metric_count == self->metric_capacity) {
            self->metric_capacity = self->metric_capacity ? self->metric_capacity * 2 : 64;
            self->metrics =
                bb_realloc(self->metrics, self->metric_capacity * sizeof *self->metrics);
        }
        self->metrics[self->metric_count++] = // numbers ascend without a gap
            bb_fingerprint_name(self->key, BB_FINGERPRINT_METRIC, value);
        error = self->kv->next(cursor, &key, &record);
    }
    self->kv->cursor_close(&cursor);
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

bb_fingerprinter_t *bb_fingerprinter_new(bb_kv_driver_t *kv, bb_kv_env_t *meta,
                                         const uint8_t key[BB_FINGERPRINT_KEY_BYTES])
{
    bb_fingerprinter_t *self = bb_alloc_zero(1, sizeof *self);
    self->kv = kv;
    self->key = key;
    self->battery = UINT64_MAX;
    bb_error_t error = kv->begin(meta, false, &self->txn);
    if (error == BB_OK) {
        error = s_read_metrics(self);
    }
    if (error != BB_OK) {
        bb_fingerprinter_destroy(&self);
    }
    return self;
}

void bb_fingerprinter_destroy(bb_fingerprinter_t **self)
{
    if (*self) {
        (*self)->kv->abort(&(*self)->txn);
        free((*self)->metrics);
        free((*self)->members);
        free((*self)->sums);
        free(*self);
        *self = NULL;
    }
}

// The sum that a run of the battery is added to, and what its numbers mean.
static bb_error_t s_turn_to(bb_fingerprinter_t *self, uint32_t partition, uint32_t battery,
                            bb_fingerprint_names_t *names, bb_fingerprint_t **sum)
{
    uint64_t place = (uint64_t)partition << 32 | battery;
    if (place != self->battery) {
        uint8_t key[5] = {'N', (uint8_t)(battery >> 24), (uint8_t)(battery >> 16),
                          (uint8_t)(battery >> 8), (uint8_t)battery};
        bb_slice_t record;
        bb_slice_t id;
        bb_error_t error =
            bb_kv_record_get(self->kv, self->txn, bb_slice(key, sizeof key), &record);
        if (error != BB_OK || !bb_dictionary_record_id(record, &id)) {
            return error == BB_OK || error == BB_ERR_NOT_FOUND ? BB_ERR_CORRUPT : error;
        }
        self->id = bb_fingerprint_name(self->key, BB_FINGERPRINT_BATTERY, id);
        self->battery = place;
    }
    if (self->sum_count == 0 || self->sums[self->sum_count - 1].partition != partition) {
        if (self->sum_count == self->sum_capacity) {
            self->sum_capacity = self->sum_capacity ? self->sum_capacity * 2 : 64;
            self->sums = bb_realloc(self->sums, self->sum_capacity * sizeof *self->sums);
        }
        self->sums[self->sum_count++] = (bb_meta_fingerprint_t){.partition = partition};
    }
    *names = (bb_fingerprint_names_t){self->key, self->id, self->metrics, self->metric_count};
    *sum = &self->sums[self->sum_count - 1].sum;
    return BB_OK;
}

bb_error_t bb_fingerprinter_add(bb_fingerprinter_t *self, uint32_t partition, uint32_t battery,
                                const bb_run_t *run)
{
    bb_fingerprint_names_t names;
    bb_fingerprint_t *sum;
    bb_error_t error = s_turn_to(self, partition, battery, &names, &sum);
    return error == BB_OK ? bb_fingerprint_add_run(sum, &names, run) : error;
}

bb_error_t bb_fingerprinter_add_shared(bb_fingerprinter_t *self, bb_shared_run_t *shared)
{
    const bb_run_t *run = bb_shared_run_whole(shared);
    if (self->member_capacity < run->member_count) {
        self->member_capacity = run->member_count;
        self->members = bb_realloc(self->members, run->member_count * sizeof *self->members);
    }
    bb_fingerprint_names_t names = {0};
    bb_fingerprint_t *sum = NULL;
    BB_ASSERT(run->member_count >= 1);
    for (uint32_t i = 0; i < run->member_count; i++) {
        bb_error_t error =
            s_turn_to(self, run->partition, bb_shared_run_battery(shared, i), &names, &sum);
        if (error != BB_OK) {
            return error;
        }
        self->members[i] = names.battery;
    }
    return bb_fingerprint_add_shared(sum, &names, self->members, shared);
}

bb_error_t bb_fingerprinter_add_input(bb_fingerprinter_t *self, uint32_t partition,
                                      uint32_t battery, const bb_run_input_t *input)
{
    bb_fingerprint_names_t names;
    bb_fingerprint_t *sum;
    bb_error_t error = s_turn_to(self, partition, battery, &names, &sum);
    return error == BB_OK ? bb_fingerprint_add_input(sum, &names, input) : error;
}

void bb_fingerprinter_record(const bb_fingerprinter_t *self, bb_window_id_t window, uint64_t number,
                             bb_meta_batch_t *batch)
{
    bb_meta_batch_fingerprints(batch, window, number, self->sums, self->sum_count);
}

// ---- comparing -------------------------------------------------------------------------------
void bb_fingerprinter_resume(bb_fingerprinter_t *self, bb_meta_fingerprint_t *sums, uint32_t count)
{
    BB_ASSERT(self->sum_count == 0);
    free(self->sums);
    self->sums = sums;
    self->sum_count = count;
    self->sum_capacity = count;
}

bb_meta_fingerprint_t *bb_fingerprinter_pause(bb_fingerprinter_t *self, uint32_t *count)
{
    bb_meta_fingerprint_t *sums = self->sums;
    *count = self->sum_count;
    self->sums = NULL;
    self->sum_count = 0;
    self->sum_capacity = 0;
    return sums;
}

bool bb_fingerprinter_is_recorded(const bb_fingerprinter_t *self, bb_window_id_t window,
                                  uint64_t number)
{
    bb_fingerprint_t sum;
    return bb_meta_fingerprint_get(self->kv, self->txn, window, number, 0, &sum) == BB_OK;
}

bool bb_fingerprinter_is_equal(const bb_fingerprinter_t *self, bb_window_id_t window,
                               uint64_t number, uint32_t *partition)
{
    for (uint32_t i = 0; i < self->sum_count; i++) {
        const bb_meta_fingerprint_t *found = &self->sums[i];
        bb_fingerprint_t wanted = {0};
        bb_error_t error =
            bb_meta_fingerprint_get(self->kv, self->txn, window, number, found->partition, &wanted);
        if (error != BB_OK || wanted.low != found->sum.low || wanted.high != found->sum.high) {
            *partition = found->partition;
            return false;
        }
    }
    return true; // one that lacks a whole partition lacks runs, which are counted
}

// ---- asking ----------------------------------------------------------------------------------
bb_error_t bb_store_fingerprint(const bb_store_t *self, uint32_t day, uint32_t partition,
                                bb_fingerprint_t *fingerprint)
{
    bool found;
    bb_window_id_t id = {.kind = BB_WINDOW_NORMAL, .day = day};
    if (bb_store_is_marked(self, day, partition)) {
        return BB_ERR_NOT_FOUND; // what is recorded counts points that do not exist any more
    }
    uint32_t at = bb_store_windows_find(&self->windows, id, &found);
    if (!found || self->windows.items[at].part_count != 1 ||
        self->windows.items[at].parts[0].is_damaged) {
        return BB_ERR_NOT_FOUND;
    }
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = self->kv->begin(self->meta, false, &txn);
    if (error == BB_OK) {
        uint64_t number = bb_segment_number(self->windows.items[at].parts[0].segment);
        error = bb_meta_fingerprint_get(self->kv, txn, id, number, partition, fingerprint);
    }
    self->kv->abort(&txn);
    return error;
}

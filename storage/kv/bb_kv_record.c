// SPDX-License-Identifier: Apache-2.0
#include "storage/kv/bb_kv_record.h"

#include <inttypes.h>
#include <string.h>

#include "protocol/bb_crc32c.h"

#define S_KEY_BYTES_MAX 511u // as bb_kv.h says

static uint32_t s_sum(bb_slice_t key, bb_slice_t value)
{
    return bb_crc32c(bb_crc32c(0, key.data, key.length), value.data, value.length);
}

bb_error_t bb_kv_record_open(bb_slice_t key, bb_slice_t record, bb_slice_t *value)
{
    uint32_t sum;
    if (record.length < sizeof sum) {
        return BB_ERR_CORRUPT;
    }
    bb_slice_t found = bb_slice(record.data, record.length - sizeof sum);
    memcpy(&sum, (const uint8_t *)record.data + found.length, sizeof sum);
    if (sum != s_sum(key, found)) {
        return BB_ERR_CORRUPT;
    }
    *value = found;
    return BB_OK;
}

bb_error_t bb_kv_record_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t *value)
{
    bb_slice_t record;
    bb_error_t error = kv->get(txn, key, &record);
    return error == BB_OK ? bb_kv_record_open(key, record, value) : error;
}

bb_error_t bb_kv_record_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t value)
{
    const uint32_t sum = s_sum(key, value);
    static_assert(sizeof sum == BB_KV_RECORD_SUM_BYTES, "on-disk layout");
    void *room;
    bb_error_t error = kv->reserve(txn, key, value.length + sizeof sum, &room);
    if (error == BB_OK) {
        if (value.length > 0) {
            memcpy(room, value.data, value.length);
        }
        memcpy((uint8_t *)room + value.length, &sum, sizeof sum);
    }
    return error;
}

static bool s_ascends(bb_slice_t before, bb_slice_t key)
{
    int order = memcmp(before.data, key.data, BB_MIN(before.length, key.length));
    return order < 0 || (order == 0 && before.length < key.length);
}

static bb_error_t s_walk(bb_kv_driver_t *kv, bb_kv_cursor_t *cursor, bb_kv_walk_fn visit,
                         void *context, uint64_t *count, bb_fault_t *fault)
{
    uint8_t before[S_KEY_BYTES_MAX];
    size_t before_length = 0;
    bb_slice_t key;
    bb_slice_t record;
    bb_error_t error = kv->seek(cursor, bb_slice(NULL, 0), &key, &record);
    while (error == BB_OK) {
        if (key.length > sizeof before || !s_ascends(bb_slice(before, before_length), key)) {
            return bb_fault_set(fault, BB_ERR_CORRUPT, "keys do not ascend at entry %" PRIu64,
                                *count);
        }
        memcpy(before, key.data, key.length);
        before_length = key.length;
        ++*count;
        error = visit(context, key, record, fault);
        if (error == BB_OK) {
            error = kv->next(cursor, &key, &record);
        }
    }
    return error;
}

bb_error_t bb_kv_walk(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_kv_walk_fn visit, void *context,
                      bb_fault_t *fault)
{
    bb_kv_cursor_t *cursor = NULL;
    uint64_t count = 0;
    bb_error_t error = kv->cursor(txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    error = s_walk(kv, cursor, visit, context, &count, fault);
    kv->cursor_close(&cursor);
    if (error != BB_ERR_NOT_FOUND) {
        return error;
    }
    uint64_t wanted = kv->entry_count(txn);
    return count == wanted
               ? BB_OK
               : bb_fault_set(fault, BB_ERR_CORRUPT,
                              "%" PRIu64 " entries were met and the map counts %" PRIu64, count,
                              wanted);
}

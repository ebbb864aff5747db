// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_rollup_map.h"

#include <stdlib.h>
#include <string.h>

#include "storage/kv/bb_kv_record.h"

#define S_DEFINITION_KEY_BYTES 3u
#define S_MARK_KEY_BYTES       9u
#define S_RECORD_KEY_BYTES     13u
#define S_DAMAGED_KEYS_MAX     4096u

// ---- keys ------------------------------------------------------------------------------------
static void s_put16(uint8_t *out, uint32_t number)
{
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
}

static void s_put32(uint8_t *out, uint32_t number)
{
    s_put16(out, number >> 16);
    s_put16(out + 2, number & 0xffff);
}

static uint32_t s_get16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static uint32_t s_get32(const uint8_t *bytes)
{
    return s_get16(bytes) << 16 | s_get16(bytes + 2);
}

static bb_slice_t s_definition_key(uint8_t out[S_DEFINITION_KEY_BYTES], uint32_t id)
{
    out[0] = 'D';
    s_put16(out + 1, id);
    return bb_slice(out, S_DEFINITION_KEY_BYTES);
}

static bb_slice_t s_floor_key(uint8_t out[S_DEFINITION_KEY_BYTES], uint32_t id)
{
    out[0] = 'E';
    s_put16(out + 1, id);
    return bb_slice(out, S_DEFINITION_KEY_BYTES);
}

static bb_slice_t s_mark_key(uint8_t out[S_MARK_KEY_BYTES], uint32_t id, uint32_t day,
                             uint32_t partition)
{
    out[0] = 'M';
    s_put16(out + 1, id);
    s_put32(out + 3, day);
    s_put16(out + 7, partition);
    return bb_slice(out, S_MARK_KEY_BYTES);
}

static bb_slice_t s_record_key(uint8_t out[S_RECORD_KEY_BYTES], uint32_t id, uint32_t partition,
                               uint32_t battery, uint32_t day)
{
    out[0] = 'V';
    s_put16(out + 1, id);
    s_put16(out + 3, partition);
    s_put32(out + 5, battery);
    s_put32(out + 9, day);
    return bb_slice(out, S_RECORD_KEY_BYTES);
}

// ---- definitions -----------------------------------------------------------------------------
size_t bb_rollup_definition(const bb_rollup_t *rollup, uint8_t out[BB_ROLLUP_DEFINITION_BYTES])
{
    const char *const texts[] = {rollup->name,
                                 rollup->selector.site,
                                 rollup->selector.tag_key,
                                 rollup->selector.tag_value,
                                 rollup->selector.metric,
                                 rollup->zone_name};
    size_t length = 0;
    out[length++] = 1;
    out[length++] = (uint8_t)rollup->every;
    for (uint32_t i = 0; i < 8; i++) {
        out[length++] = (uint8_t)((uint64_t)rollup->every_ns >> 8 * i);
    }
    for (uint32_t i = 0; i < BB_COUNT_OF(texts); i++) {
        size_t bytes = strlen(texts[i]) + 1;
        BB_ASSERT(length + bytes <= BB_ROLLUP_DEFINITION_BYTES);
        memcpy(out + length, texts[i], bytes);
        length += bytes;
    }
    return length;
}

bb_error_t bb_rollup_map_define(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                bb_slice_t definition)
{
    BB_ASSERT(id < BB_ROLLUP_IDS_MAX);
    uint8_t key[S_DEFINITION_KEY_BYTES];
    return bb_kv_record_put(kv, txn, s_definition_key(key, id), definition);
}

// Walks keys from `from` on while they begin with the first `prefix` bytes of it. Values are as
// they are stored, with their checksums.
typedef bb_error_t (*s_walk_fn)(void *context, bb_slice_t key, bb_slice_t value, bool *more);

static bb_error_t s_walk(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t from, size_t prefix,
                         s_walk_fn visit, void *context)
{
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    bb_error_t error = kv->cursor(txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    error = kv->seek(cursor, from, &key, &value);
    bool more = true;
    while (error == BB_OK && more && key.length >= prefix &&
           (prefix == 0 || memcmp(key.data, from.data, prefix) == 0)) {
        error = visit(context, key, value, &more);
        if (error == BB_OK && more) {
            error = kv->next(cursor, &key, &value);
        }
    }
    kv->cursor_close(&cursor);
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

typedef struct {
    bb_rollup_definition_fn definition;
    bb_rollup_mark_fn mark;
    bb_rollup_record_fn record;
    void *context;
    uint32_t day_limit;
} s_visit_t;

static bb_error_t s_visit_definition(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    s_visit_t *self = context;
    if (bb_kv_record_open(key, value, &value) != BB_OK) {
        return BB_ERR_CORRUPT;
    }
    uint32_t id = key.length == S_DEFINITION_KEY_BYTES ? s_get16((const uint8_t *)key.data + 1)
                                                       : BB_ROLLUP_IDS_MAX;
    if (id >= BB_ROLLUP_IDS_MAX) {
        return BB_ERR_CORRUPT;
    }
    *more = self->definition(self->context, id, value);
    return BB_OK;
}

bb_error_t bb_rollup_map_definitions(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                     bb_rollup_definition_fn visit, void *context)
{
    s_visit_t self = {.definition = visit, .context = context};
    return s_walk(kv, txn, bb_slice("D", 1), 1, s_visit_definition, &self);
}

// ---- marks -----------------------------------------------------------------------------------
bb_error_t bb_rollup_map_mark(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t day,
                              uint32_t partition)
{
    uint8_t key[S_MARK_KEY_BYTES];
    return bb_kv_record_put(kv, txn, s_mark_key(key, id, day, partition), bb_slice("", 1));
}

bb_error_t bb_rollup_map_unmark(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t day,
                                uint32_t partition)
{
    uint8_t key[S_MARK_KEY_BYTES];
    bb_error_t error = kv->remove(txn, s_mark_key(key, id, day, partition));
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

static bb_error_t s_visit_mark(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    s_visit_t *self = context;
    const uint8_t *bytes = key.data;
    if (key.length != S_MARK_KEY_BYTES || bb_kv_record_open(key, value, &value) != BB_OK) {
        return BB_ERR_CORRUPT;
    }
    uint32_t day = s_get32(bytes + 3);
    *more = day < self->day_limit && self->mark(self->context, day, s_get16(bytes + 7));
    return BB_OK;
}

bb_error_t bb_rollup_map_marks(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                               uint32_t day_first, uint32_t day_limit, bb_rollup_mark_fn visit,
                               void *context)
{
    s_visit_t self = {.mark = visit, .context = context, .day_limit = day_limit};
    uint8_t key[S_MARK_KEY_BYTES];
    return s_walk(kv, txn, s_mark_key(key, id, day_first, 0), 3, s_visit_mark, &self);
}

// ---- records ---------------------------------------------------------------------------------
bb_error_t bb_rollup_map_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t partition,
                             uint32_t battery, uint32_t day, bb_slice_t *record)
{
    uint8_t key[S_RECORD_KEY_BYTES];
    return bb_kv_record_get(kv, txn, s_record_key(key, id, partition, battery, day), record);
}

bb_error_t bb_rollup_map_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t partition,
                             uint32_t battery, uint32_t day, bb_slice_t record)
{
    uint8_t key[S_RECORD_KEY_BYTES];
    return bb_kv_record_put(kv, txn, s_record_key(key, id, partition, battery, day), record);
}

bb_error_t bb_rollup_map_remove(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                uint32_t partition, uint32_t battery, uint32_t day)
{
    uint8_t key[S_RECORD_KEY_BYTES];
    bb_error_t error = kv->remove(txn, s_record_key(key, id, partition, battery, day));
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

static bb_error_t s_visit_record(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    s_visit_t *self = context;
    if (key.length != S_RECORD_KEY_BYTES) {
        return BB_ERR_CORRUPT;
    }
    uint32_t day = s_get32((const uint8_t *)key.data + 9);
    *more = day < self->day_limit;
    if (!*more) {
        return BB_OK;
    }
    bb_error_t error = bb_kv_record_open(key, value, &value);
    return error == BB_OK ? self->record(self->context, day, value) : error;
}

bb_error_t bb_rollup_map_records(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                 uint32_t partition, uint32_t battery, uint32_t day_first,
                                 uint32_t day_limit, bb_rollup_record_fn visit, void *context)
{
    s_visit_t self = {.record = visit, .context = context, .day_limit = day_limit};
    uint8_t key[S_RECORD_KEY_BYTES];
    return s_walk(kv, txn, s_record_key(key, id, partition, battery, day_first), 9, s_visit_record,
                  &self);
}

// ---- dropping --------------------------------------------------------------------------------
typedef struct {
    uint8_t *keys; // each S_RECORD_KEY_BYTES apart, its length in front
    uint32_t count, budget;
} s_doomed_t;

static bb_error_t s_collect(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    s_doomed_t *self = context;
    (void)value;
    if (key.length > S_RECORD_KEY_BYTES) {
        return BB_ERR_CORRUPT;
    }
    uint8_t *at = self->keys + (size_t)self->count * (1 + S_RECORD_KEY_BYTES);
    at[0] = (uint8_t)key.length;
    memcpy(at + 1, key.data, key.length);
    *more = ++self->count < self->budget;
    return BB_OK;
}

static s_doomed_t s_doomed(uint32_t budget)
{
    return (s_doomed_t){.keys = bb_alloc((size_t)budget * (1 + S_RECORD_KEY_BYTES)),
                        .budget = budget};
}

// Removes what was collected; *more: there was no room for all of it.
static bb_error_t s_remove(bb_kv_driver_t *kv, bb_kv_txn_t *txn, s_doomed_t *doomed,
                           bb_error_t error, bool *more)
{
    for (uint32_t i = 0; i < doomed->count && error == BB_OK; i++) {
        const uint8_t *at = doomed->keys + (size_t)i * (1 + S_RECORD_KEY_BYTES);
        error = kv->remove(txn, bb_slice(at + 1, at[0]));
    }
    *more = doomed->count == doomed->budget;
    free(doomed->keys);
    return error;
}

// Records of days before the limit. Days of a battery ascend: behind its last one that goes, the
// next battery is sought.
static bb_error_t s_collect_records(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                    uint32_t day_limit, s_doomed_t *doomed)
{
    bb_kv_cursor_t *cursor = NULL;
    bb_error_t error = kv->cursor(txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    uint8_t wanted[S_RECORD_KEY_BYTES];
    bb_slice_t key;
    bb_slice_t value;
    bool more = true;
    error = kv->seek(cursor, s_record_key(wanted, id, 0, 0, 0), &key, &value);
    while (error == BB_OK && more && key.length == sizeof wanted &&
           memcmp(key.data, wanted, 3) == 0) {
        const uint8_t *bytes = key.data;
        if (s_get32(bytes + 9) < day_limit) {
            error = s_collect(doomed, key, value, &more);
            error = error == BB_OK && more ? kv->next(cursor, &key, &value) : error;
        } else {
            s_record_key(wanted, id, s_get16(bytes + 3), s_get32(bytes + 5), UINT32_MAX);
            error = kv->seek(cursor, bb_slice(wanted, sizeof wanted), &key, &value);
        }
    }
    kv->cursor_close(&cursor);
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

typedef struct {
    s_doomed_t *doomed;
    uint32_t id;
} s_old_marks_t;

static bool s_collect_mark(void *context, uint32_t day, uint32_t partition)
{
    s_old_marks_t *self = context;
    uint8_t key[S_MARK_KEY_BYTES];
    bool more = true;
    bb_error_t error =
        s_collect(self->doomed, s_mark_key(key, self->id, day, partition), bb_slice("", 0), &more);
    BB_ASSERT(error == BB_OK); // its length is that of a mark
    return more;
}

bb_error_t bb_rollup_map_expire(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                uint32_t day_limit, uint32_t budget, bool *more)
{
    s_doomed_t doomed = s_doomed(budget);
    s_old_marks_t marks = {&doomed, id};
    bb_error_t error = bb_rollup_map_marks(kv, txn, id, 0, day_limit, s_collect_mark, &marks);
    if (error == BB_OK && doomed.count < budget) {
        error = s_collect_records(kv, txn, id, day_limit, &doomed);
    }
    if (error == BB_OK) {
        uint8_t key[S_DEFINITION_KEY_BYTES];
        uint8_t day[4];
        s_put32(day, day_limit);
        error = bb_kv_record_put(kv, txn, s_floor_key(key, id), bb_slice(day, sizeof day));
    }
    return s_remove(kv, txn, &doomed, error, more);
}

// 0: there is none.
static bb_error_t s_get_day(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_slice_t key, uint32_t *day)
{
    bb_slice_t value;
    bb_error_t error = bb_kv_record_get(kv, txn, key, &value);
    *day = 0;
    if (error == BB_OK && value.length == 4) {
        *day = s_get32(value.data);
    }
    return error == BB_OK              ? (value.length == 4 ? BB_OK : BB_ERR_CORRUPT)
           : error == BB_ERR_NOT_FOUND ? BB_OK
                                       : error;
}

bb_error_t bb_rollup_map_floor(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t *day)
{
    uint8_t key[S_DEFINITION_KEY_BYTES];
    return s_get_day(kv, txn, s_floor_key(key, id), day);
}

// ---- what others have ------------------------------------------------------------------------
bb_error_t bb_rollup_map_seek(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t partition,
                              uint32_t *battery, uint32_t *day)
{
    uint8_t wanted[S_RECORD_KEY_BYTES];
    bb_slice_t key;
    bb_slice_t value;
    bb_kv_cursor_t *cursor = NULL;
    bb_error_t error = kv->cursor(txn, &cursor);
    if (error != BB_OK) {
        return error;
    }
    error = kv->seek(cursor, s_record_key(wanted, id, partition, *battery, *day), &key, &value);
    const uint8_t *bytes = key.data;
    bool is_ours = error == BB_OK && key.length == sizeof wanted && memcmp(bytes, wanted, 5) == 0;
    if (is_ours) {
        *battery = s_get32(bytes + 5);
        *day = s_get32(bytes + 9);
    }
    kv->cursor_close(&cursor);
    return error == BB_OK && !is_ours ? BB_ERR_NOT_FOUND : error;
}

static bb_slice_t s_single_key(uint8_t out[S_DEFINITION_KEY_BYTES], char kind)
{
    out[0] = (uint8_t)kind;
    s_put16(out + 1, 0);
    return bb_slice(out, S_DEFINITION_KEY_BYTES);
}

bb_error_t bb_rollup_map_passed(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t *day)
{
    uint8_t key[S_DEFINITION_KEY_BYTES];
    return s_get_day(kv, txn, s_single_key(key, 'P'), day);
}

bb_error_t bb_rollup_map_pass(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t day)
{
    uint8_t key[S_DEFINITION_KEY_BYTES];
    uint8_t value[4];
    s_put32(value, day);
    return bb_kv_record_put(kv, txn, s_single_key(key, 'P'), bb_slice(value, sizeof value));
}

bb_error_t bb_rollup_map_has_gaps(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bool *gaps)
{
    uint8_t key[S_DEFINITION_KEY_BYTES];
    bb_slice_t value;
    bb_error_t error = bb_kv_record_get(kv, txn, s_single_key(key, 'R'), &value);
    *gaps = error == BB_OK;
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

bb_error_t bb_rollup_map_put_gaps(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bool gaps)
{
    uint8_t key[S_DEFINITION_KEY_BYTES];
    if (gaps) {
        return bb_kv_record_put(kv, txn, s_single_key(key, 'R'), bb_slice("", 1));
    }
    bb_error_t error = kv->remove(txn, s_single_key(key, 'R'));
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

// ---- checking --------------------------------------------------------------------------------
static bb_error_t s_check(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    const uint8_t first = *(const uint8_t *)key.data;
    if (first == 'V') {
        *more = false; // those are checked when they are read
        return BB_OK;
    }
    bool is_short = first == 'D' || first == 'E' || first == 'P' || first == 'R';
    size_t wanted = is_short ? S_DEFINITION_KEY_BYTES : first == 'M' ? S_MARK_KEY_BYTES : 0;
    if (key.length == wanted && bb_kv_record_open(key, value, &value) == BB_OK) {
        return BB_OK;
    }
    // Its length says what it was, whatever its first byte is now.
    return key.length == S_MARK_KEY_BYTES || key.length == S_RECORD_KEY_BYTES
               ? s_collect(context, key, value, more)
               : BB_ERR_CORRUPT;
}

bb_error_t bb_rollup_map_check(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t *removed_count)
{
    bool more = true;
    *removed_count = 0;
    s_doomed_t doomed = s_doomed(S_DAMAGED_KEYS_MAX);
    bb_error_t error = s_walk(kv, txn, bb_slice(NULL, 0), 0, s_check, &doomed);
    if (error == BB_OK && doomed.count < doomed.budget) {
        error = s_walk(kv, txn, bb_slice("W", 1), 0, s_check, &doomed);
    }
    uint32_t count = doomed.count;
    error = s_remove(kv, txn, &doomed, error, &more);
    if (error == BB_ERR_NOT_FOUND || more) {
        return BB_ERR_CORRUPT; // met and not found again, or too many: the map itself is damaged
    }
    *removed_count = error == BB_OK ? count : 0;
    return error;
}

typedef struct {
    s_doomed_t doomed;
    bb_rollup_place_t last; // that was looked at
    uint64_t left_bytes;
    bool is_end;
} s_records_t;

static bb_error_t s_check_record(void *context, bb_slice_t key, bb_slice_t value, bool *more)
{
    s_records_t *self = context;
    const bb_rollup_place_t *last = &self->last;
    if (*(const uint8_t *)key.data != 'V') {
        return BB_OK; // the end, or it was changed: bb_rollup_map_check has looked at those
    }
    int order = last->length > 0 && key.length == S_RECORD_KEY_BYTES
                    ? memcmp(key.data, last->key, S_RECORD_KEY_BYTES)
                    : 1;
    if (key.length != S_RECORD_KEY_BYTES || order < 0) {
        return BB_ERR_CORRUPT;
    }
    if (order == 0) {
        return BB_OK; // where the last time ended
    }
    bb_error_t error = BB_OK;
    if (bb_kv_record_open(key, value, &value) != BB_OK) {
        error = s_collect(&self->doomed, key, value, more);
    }
    memcpy(self->last.key, key.data, key.length);
    self->last.length = (uint8_t)key.length;
    *more &= self->left_bytes > value.length;
    self->left_bytes -= BB_MIN(self->left_bytes, value.length);
    self->is_end = *more;
    return error;
}

bb_error_t bb_rollup_map_check_records(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint64_t budget_bytes,
                                       bb_rollup_place_t *place, uint32_t *removed_count)
{
    static_assert(sizeof place->key == S_RECORD_KEY_BYTES, "it is the key of a record");
    bool more;
    s_records_t self = {.doomed = s_doomed(S_DAMAGED_KEYS_MAX),
                        .last = *place,
                        .left_bytes = budget_bytes,
                        .is_end = true};
    bb_slice_t from = place->length > 0 ? bb_slice(place->key, place->length) : bb_slice("V", 1);
    bb_error_t error = s_walk(kv, txn, from, 0, s_check_record, &self);
    uint32_t count = self.doomed.count;
    *removed_count = 0;
    error = s_remove(kv, txn, &self.doomed, error, &more);
    if (error != BB_OK) {
        return error == BB_ERR_NOT_FOUND ? BB_ERR_CORRUPT : error;
    }
    *removed_count = count;
    *place = self.last;
    if (self.is_end) {
        *place = (bb_rollup_place_t){0};
    }
    return BB_OK;
}

bb_error_t bb_rollup_map_drop(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id, uint32_t budget,
                              bool *more)
{
    s_doomed_t doomed = s_doomed(budget);
    bb_error_t error = BB_OK;
    for (const char *kind = "EMVD"; *kind && error == BB_OK && doomed.count < budget; kind++) {
        uint8_t key[3] = {(uint8_t)*kind};
        s_put16(key + 1, id);
        error = s_walk(kv, txn, bb_slice(key, 3), 3, s_collect, &doomed);
    }
    return s_remove(kv, txn, &doomed, error, more);
}

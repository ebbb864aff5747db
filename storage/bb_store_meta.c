// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/kv/bb_kv_record.h"

// A waiting record: u32 bytes of the key, u32 bytes of the value, key, value.
#define S_RECORD_BYTES  8u
#define S_KEY_BYTES_MAX 16u
#define S_REMOVED_MAX   64u // of one look

void bb_meta_batch_free(bb_meta_batch_t *self)
{
    free(self->bytes);
    *self = (bb_meta_batch_t){0};
}

// Appends a record and returns the room for its value.
static uint8_t *s_add(bb_meta_batch_t *self, const uint8_t *key, uint32_t key_length,
                      size_t value_length)
{
    BB_ASSERT(value_length <= UINT32_MAX);
    size_t needed = self->length + S_RECORD_BYTES + key_length + value_length;
    if (needed > self->capacity) {
        self->capacity = BB_MAX(needed, self->capacity * 2);
        self->bytes = bb_realloc(self->bytes, self->capacity);
    }
    uint32_t lengths[2] = {key_length, (uint32_t)value_length};
    uint8_t *at = self->bytes + self->length;
    memcpy(at, lengths, sizeof lengths);
    memcpy(at + sizeof lengths, key, key_length);
    self->length = needed;
    return at + sizeof lengths + key_length;
}

void bb_meta_batch_seal(bb_meta_batch_t *self, uint64_t sealed_through)
{
    bb_meta_seal_t seal = {.format = BB_META_FORMAT, .sealed_through = sealed_through};
    memcpy(s_add(self, (const uint8_t *)"C", 1, sizeof seal), &seal, sizeof seal);
}

void bb_meta_batch_newest(bb_meta_batch_t *self, int64_t newest_wall_ns)
{
    memcpy(s_add(self, (const uint8_t *)"L", 1, sizeof newest_wall_ns), &newest_wall_ns,
           sizeof newest_wall_ns);
}

void bb_meta_batch_have(bb_meta_batch_t *self, uint32_t partition, const bb_have_set_t *have)
{
    const uint8_t key[3] = {'H', (uint8_t)(partition >> 8), (uint8_t)partition};
    bb_have_set_encode(have, s_add(self, key, sizeof key, bb_have_set_encoded_bytes(have)));
}

static void s_number_key(uint8_t *out, uint32_t number)
{
    uint32_t big = __builtin_bswap32(number);
    memcpy(out, &big, sizeof big);
}

void bb_meta_batch_window(bb_meta_batch_t *self, const bb_store_window_t *window)
{
    uint8_t key[8] = {'W', (uint8_t)window->id.kind, (uint8_t)(window->id.class_id >> 8),
                      (uint8_t)window->id.class_id};
    s_number_key(key + 4, window->id.day);
    bb_meta_window_t record = {window->number_next, window->part_count, 0};
    uint8_t *room =
        s_add(self, key, sizeof key, sizeof record + window->part_count * sizeof(bb_meta_part_t));
    memcpy(room, &record, sizeof record);
    room += sizeof record;
    for (uint32_t i = 0; i < window->part_count; i++) {
        const bb_window_part_t *part = &window->parts[i];
        bb_meta_part_t stored = {bb_segment_number(part->segment), part->info, part->is_damaged, 0};
        memcpy(room + i * sizeof stored, &stored, sizeof stored);
    }
}

void bb_meta_batch_classes(bb_meta_batch_t *self, const bb_retention_t *retention,
                           const int64_t *floors_wall_ns)
{
    for (uint32_t id = 0; id < bb_retention_class_count(retention); id++) {
        const uint8_t key[3] = {'K', (uint8_t)(id >> 8), (uint8_t)id};
        int64_t floor_wall_ns =
            floors_wall_ns ? floors_wall_ns[id] : bb_retention_durable_floor(retention, id);
        bb_retention_record(retention, id, floor_wall_ns,
                            s_add(self, key, sizeof key, BB_RETENTION_RECORD_BYTES));
    }
}

static void s_window_key(uint8_t out[8], char first, bb_window_id_t window)
{
    out[0] = (uint8_t)first;
    out[1] = (uint8_t)window.kind;
    out[2] = (uint8_t)(window.class_id >> 8);
    out[3] = (uint8_t)window.class_id;
    s_number_key(out + 4, window.day);
}

bb_error_t bb_meta_remove_window(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_window_id_t id)
{
    bb_error_t error = BB_OK;
    // Fingerprints, times of verifying, the window.
    for (const char *kind = "FTW"; *kind && error == BB_OK; kind++) {
        uint8_t key[8];
        s_window_key(key, *kind, id);
        error = kv->remove(txn, bb_slice(key, sizeof key));
        error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    return error;
}

void bb_meta_damage_key(const bb_damage_entry_t *entry, uint8_t out[BB_META_DAMAGE_KEY_BYTES])
{
    out[0] = 'D';
    out[1] = entry->kind;
    out[2] = (uint8_t)(entry->class_id >> 8);
    out[3] = (uint8_t)entry->class_id;
    s_number_key(out + 4, entry->day);
    s_number_key(out + 8, entry->battery);
}

void bb_meta_batch_damage(bb_meta_batch_t *self, const bb_damage_entry_t *entry)
{
    uint8_t key[BB_META_DAMAGE_KEY_BYTES];
    uint8_t record[BB_DAMAGE_RECORD_BYTES_MAX];
    bb_meta_damage_key(entry, key);
    size_t length = bb_damage_encode(entry, record);
    memcpy(s_add(self, key, sizeof key, length), record, length);
}

void bb_meta_batch_verified(bb_meta_batch_t *self, bb_window_id_t window,
                            const bb_meta_verified_t *verified, uint32_t count)
{
    BB_ASSERT(count > 0);
    uint8_t key[8];
    s_window_key(key, 'T', window);
    memcpy(s_add(self, key, sizeof key, count * sizeof *verified), verified,
           count * sizeof *verified);
}

void bb_meta_batch_fingerprints(bb_meta_batch_t *self, bb_window_id_t window, uint64_t number,
                                const bb_meta_fingerprint_t *sums, uint32_t count)
{
    uint8_t key[8];
    s_window_key(key, 'F', window);
    uint8_t *room = s_add(self, key, sizeof key, sizeof number + count * sizeof *sums);
    memcpy(room, &number, sizeof number);
    if (count > 0) {
        memcpy(room + sizeof number, sums, count * sizeof *sums);
    }
}

void bb_meta_batch_fresh(bb_meta_batch_t *self, const bb_store_windows_t *windows)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < windows->count; i++) {
        count += windows->items[i].part_count;
    }
    uint8_t *room = s_add(self, (const uint8_t *)"P", 1, count * sizeof(bb_meta_fresh_t));
    for (uint32_t i = 0; i < windows->count; i++) {
        const bb_store_window_t *window = &windows->items[i];
        for (uint32_t part = 0; part < window->part_count; part++) {
            bb_meta_fresh_t fresh = {.number = bb_segment_number(window->parts[part].segment),
                                     .day = window->id.day,
                                     .class_id = window->id.class_id,
                                     .kind = (uint8_t)window->id.kind};
            memcpy(room, &fresh, sizeof fresh);
            room += sizeof fresh;
        }
    }
}

bb_error_t bb_meta_remove_fresh(bb_kv_driver_t *kv, bb_kv_txn_t *txn)
{
    bb_error_t error = kv->remove(txn, bb_slice("P", 1));
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

bb_error_t bb_meta_fingerprint_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_window_id_t window,
                                   uint64_t number, uint32_t partition, bb_fingerprint_t *sum)
{
    uint8_t key[8];
    bb_slice_t value;
    uint64_t found;
    s_window_key(key, 'F', window);
    bb_error_t error = bb_kv_record_get(kv, txn, bb_slice(key, sizeof key), &value);
    if (error != BB_OK) {
        return error;
    }
    if (value.length < sizeof found ||
        (value.length - sizeof found) % sizeof(bb_meta_fingerprint_t) != 0) {
        return BB_ERR_CORRUPT;
    }
    memcpy(&found, value.data, sizeof found);
    if (found != number) {
        return BB_ERR_NOT_FOUND; // of a segment that is no more
    }
    *sum = (bb_fingerprint_t){0};
    const uint8_t *at = (const uint8_t *)value.data + sizeof found;
    for (size_t i = 0; i < (value.length - sizeof found) / sizeof(bb_meta_fingerprint_t); i++) {
        bb_meta_fingerprint_t entry;
        memcpy(&entry, at + i * sizeof entry, sizeof entry);
        if (entry.partition == partition) {
            *sum = entry.sum;
        }
    }
    return BB_OK;
}

void bb_meta_batch_name(void *self, bool is_metric, uint32_t number, bb_slice_t record)
{
    uint8_t key[5] = {is_metric ? 'M' : 'N'};
    s_number_key(key + 1, number);
    memcpy(s_add(self, key, sizeof key, record.length), record.data, record.length);
}

void bb_meta_batch_fingerprints_void(bb_meta_batch_t *self, bb_window_id_t window)
{
    bb_meta_batch_fingerprints(self, window, 0, NULL, 0); // segments are numbered from 1 on
}

void bb_meta_batch_markers(void *self, uint32_t battery, bb_slice_t record)
{
    uint8_t key[5] = {'X'};
    s_number_key(key + 1, battery);
    memcpy(s_add(self, key, sizeof key, record.length), record.data, record.length);
}

bb_error_t bb_meta_batch_write(const bb_meta_batch_t *self, bb_kv_driver_t *kv, bb_kv_txn_t *txn)
{
    size_t at = 0;
    while (at < self->length) {
        uint32_t lengths[2];
        memcpy(lengths, self->bytes + at, sizeof lengths);
        const uint8_t *key = self->bytes + at + sizeof lengths;
        bb_error_t error = bb_kv_record_put(kv, txn, bb_slice(key, lengths[0]),
                                            bb_slice(key + lengths[0], lengths[1]));
        if (error != BB_OK) {
            return error;
        }
        at += S_RECORD_BYTES + lengths[0] + lengths[1];
    }
    return BB_OK;
}

// ---- reading ---------------------------------------------------------------------------------
static uint32_t s_number(const uint8_t *bytes)
{
    uint32_t big;
    memcpy(&big, bytes, sizeof big);
    return __builtin_bswap32(big);
}

// One that cannot be read is let pass: what it named is found again.
static bb_error_t s_visit_damage(const bb_meta_visitor_t *visitor, bb_slice_t value,
                                 bb_fault_t *fault)
{
    bb_damage_entry_t entry;
    bool is_sound = bb_damage_decode(value, &entry) == BB_OK;
    return is_sound && visitor->damage ? visitor->damage(visitor->context, &entry, fault) : BB_OK;
}

static bb_error_t s_visit_verified(const bb_meta_visitor_t *visitor, bb_window_id_t window,
                                   bb_slice_t value, bb_fault_t *fault)
{
    bb_error_t error = BB_OK;
    for (size_t at = 0; visitor->verified && error == BB_OK && at < value.length;
         at += sizeof(bb_meta_verified_t)) {
        bb_meta_verified_t verified;
        memcpy(&verified, (const uint8_t *)value.data + at, sizeof verified);
        error = visitor->verified(visitor->context, window, &verified, fault);
    }
    return error;
}

static bb_error_t s_visit_fresh(const bb_meta_visitor_t *visitor, bb_slice_t value,
                                bb_fault_t *fault)
{
    bb_error_t error = BB_OK;
    for (size_t at = 0; visitor->fresh && error == BB_OK && at < value.length;
         at += sizeof(bb_meta_fresh_t)) {
        bb_meta_fresh_t fresh;
        memcpy(&fresh, (const uint8_t *)value.data + at, sizeof fresh);
        if (fresh.kind < BB_WINDOW_KIND_COUNT) {
            bb_window_id_t id = {(bb_window_kind_t)fresh.kind, fresh.class_id, fresh.day};
            error = visitor->fresh(visitor->context, id, fresh.number, fault);
        }
    }
    return error;
}

static bb_error_t s_visit_window(const bb_meta_visitor_t *visitor, bb_window_id_t id,
                                 bb_slice_t value, bb_fault_t *fault)
{
    bb_meta_window_t window = {0};
    if (value.length >= sizeof window) {
        memcpy(&window, value.data, sizeof window);
    }
    if (value.length != sizeof window + window.part_count * sizeof(bb_meta_part_t) ||
        window.zero != 0) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "window of day %u has %zu bytes", id.day,
                            value.length);
    }
    // The value may lie at any even address.
    size_t bytes = window.part_count * sizeof(bb_meta_part_t);
    bb_meta_part_t *parts = bb_alloc(bytes + 1);
    memcpy(parts, (const uint8_t *)value.data + sizeof window, bytes);
    bb_error_t error = visitor->window(visitor->context, id, &window, parts, fault);
    free(parts);
    return error;
}

static bb_error_t s_visit(const bb_meta_visitor_t *visitor, bb_slice_t key, bb_slice_t value,
                          bb_fault_t *fault)
{
    uint8_t bytes[S_KEY_BYTES_MAX] = {0};
    memcpy(bytes, key.data, BB_MIN(key.length, sizeof bytes));
    if (bytes[0] == 'C' && key.length == 1 && value.length == sizeof(bb_meta_seal_t)) {
        bb_meta_seal_t seal;
        memcpy(&seal, value.data, sizeof seal);
        if (seal.format != BB_META_FORMAT) {
            return bb_fault_set(fault, BB_ERR_FORMAT, "format %u, expected %u", seal.format,
                                BB_META_FORMAT);
        }
        return visitor->seal(visitor->context, &seal, fault);
    }
    if (bytes[0] == 'H' && key.length == 3) {
        return visitor->have(visitor->context, (uint32_t)bytes[1] << 8 | bytes[2], value, fault);
    }
    if (bytes[0] == 'L' && key.length == 1 && value.length == sizeof(int64_t)) {
        int64_t newest_wall_ns;
        memcpy(&newest_wall_ns, value.data, sizeof newest_wall_ns);
        return visitor->newest ? visitor->newest(visitor->context, newest_wall_ns, fault) : BB_OK;
    }
    if ((bytes[0] == 'M' || bytes[0] == 'N') && key.length == 5) {
        return visitor->name(visitor->context, bytes[0] == 'M', s_number(bytes + 1), value, fault);
    }
    if (bytes[0] == 'P' && key.length == 1 && value.length % sizeof(bb_meta_fresh_t) == 0) {
        return s_visit_fresh(visitor, value, fault);
    }
    if (bytes[0] == 'X' && key.length == 5) {
        return visitor->markers
                   ? visitor->markers(visitor->context, s_number(bytes + 1), value, fault)
                   : BB_OK;
    }
    if (bytes[0] == 'F' && key.length == 8) {
        return BB_OK; // looked up when it is asked for
    }
    if (bytes[0] == 'K' && key.length == 3) {
        return visitor->retention
                   ? visitor->retention(visitor->context, (uint32_t)bytes[1] << 8 | bytes[2], value,
                                        fault)
                   : BB_OK;
    }
    if (bytes[0] == 'D' && key.length == BB_META_DAMAGE_KEY_BYTES) {
        return s_visit_damage(visitor, value, fault);
    }
    if (key.length == 8 && bytes[1] < BB_WINDOW_KIND_COUNT) {
        bb_window_id_t id = {(bb_window_kind_t)bytes[1], (uint16_t)(bytes[2] << 8 | bytes[3]),
                             s_number(bytes + 4)};
        if (bytes[0] == 'W') {
            return s_visit_window(visitor, id, value, fault);
        }
        if (bytes[0] == 'T' && value.length % sizeof(bb_meta_verified_t) == 0) {
            return s_visit_verified(visitor, id, value, fault);
        }
    }
    return bb_fault_set(fault, BB_ERR_CORRUPT,
                        "a record with key 0x%02x of %zu bytes and a value of %zu bytes", bytes[0],
                        key.length, value.length);
}

// ---- damage ----------------------------------------------------------------------------------
static const char *s_name_of(uint8_t first)
{
    switch (first) {
    case 'C':
        return "what is sealed";
    case 'D':
        return "damage that was found";
    case 'F':
        return "fingerprints of a window";
    case 'H':
        return "have-set of a partition";
    case 'K':
        return "retention class";
    case 'L':
        return "time of the newest point";
    case 'M':
        return "name of a metric";
    case 'N':
        return "name of a battery";
    case 'P':
        return "segments that were put last";
    case 'T':
        return "times of scrubbing";
    case 'W':
        return "segments of a window";
    case 'X':
        return "what was deleted of a battery";
    default:
        return "none of ours";
    }
}

static bool s_is_needed(const uint8_t *key, size_t length)
{
    switch (key[0]) {
    case 'D':
        return length != BB_META_DAMAGE_KEY_BYTES;
    case 'F':
    case 'T':
        return length != 8;
    case 'L':
    case 'P':
        return length != 1;
    default:
        return true;
    }
}

// Names the record; true: it is needed.
static bool s_describe(bb_slice_t key, char what[BB_META_DAMAGE_TEXT_BYTES])
{
    uint8_t bytes[S_KEY_BYTES_MAX] = {0};
    size_t length = BB_MIN(key.length, sizeof bytes);
    memcpy(bytes, key.data, length);
    char hex[2 * S_KEY_BYTES_MAX + 1] = "";
    for (size_t i = 0; i < length; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }
    snprintf(what, BB_META_DAMAGE_TEXT_BYTES, "the record with key 0x%s (%s) does not verify", hex,
             s_name_of(bytes[0]));
    return s_is_needed(bytes, key.length);
}

static bb_error_t s_visit_damaged(const bb_meta_visitor_t *visitor, bb_slice_t key,
                                  bb_fault_t *fault)
{
    char what[BB_META_DAMAGE_TEXT_BYTES];
    bool is_needed = s_describe(key, what);
    if (visitor->damaged) {
        return visitor->damaged(visitor->context, is_needed, what, fault);
    }
    return is_needed ? bb_fault_set(fault, BB_ERR_CORRUPT, "%s", what) : BB_OK;
}

static bb_error_t s_visit_record(void *context, bb_slice_t key, bb_slice_t record,
                                 bb_fault_t *fault)
{
    const bb_meta_visitor_t *visitor = context;
    bb_slice_t value;
    return bb_kv_record_open(key, record, &value) == BB_OK ? s_visit(visitor, key, value, fault)
                                                           : s_visit_damaged(visitor, key, fault);
}

bb_error_t bb_meta_read(bb_kv_driver_t *kv, bb_kv_txn_t *txn, const bb_meta_visitor_t *visitor,
                        bb_fault_t *fault)
{
    bb_meta_visitor_t copy = *visitor;
    return bb_kv_walk(kv, txn, s_visit_record, &copy, fault);
}

typedef struct {
    bb_meta_check_t *found;
    uint8_t keys[S_REMOVED_MAX][S_KEY_BYTES_MAX];
    size_t lengths[S_REMOVED_MAX];
} s_check_t;

static bb_error_t s_check_record(void *context, bb_slice_t key, bb_slice_t record,
                                 bb_fault_t *fault)
{
    s_check_t *self = context;
    bb_meta_check_t *found = self->found;
    char what[BB_META_DAMAGE_TEXT_BYTES];
    bb_slice_t value;
    (void)fault;
    if (bb_kv_record_open(key, record, &value) == BB_OK) {
        return BB_OK;
    }
    if (s_describe(key, what)) {
        if (found->damaged_count++ == 0) {
            memcpy(found->what, what, sizeof found->what);
        }
    } else if (found->removed_count < S_REMOVED_MAX) {
        memcpy(self->keys[found->removed_count], key.data, key.length);
        self->lengths[found->removed_count++] = key.length;
    }
    return BB_OK;
}

bb_error_t bb_meta_check(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bb_meta_check_t *found)
{
    s_check_t self = {.found = found};
    bb_fault_t fault = {0};
    *found = (bb_meta_check_t){0};
    bb_error_t error = bb_kv_walk(kv, txn, s_check_record, &self, &fault);
    if (error == BB_ERR_CORRUPT) {
        if (found->damaged_count++ == 0) {
            snprintf(found->what, sizeof found->what, "%.120s",
                     fault.text[0] ? fault.text : bb_error_message(error));
        }
        return BB_OK; // what is met cannot be relied on: nothing is removed
    }
    for (uint32_t i = 0; i < found->removed_count && error == BB_OK; i++) {
        error = kv->remove(txn, bb_slice(self.keys[i], self.lengths[i]));
        error = error == BB_ERR_NOT_FOUND ? BB_OK : error;
    }
    return error;
}

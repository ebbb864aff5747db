// SPDX-License-Identifier: Apache-2.0
// Record of a metric:  its name.
// Record of a battery, little-endian, no padding:
//      0  u16 partition   2  u8 bytes of the id   3  u8 zero
//      4  u32 types       8  u32 bytes of attributes
//     12  types: u32 each (metric << 4 | bits)   then the id   then the packed attributes
// Packed attributes, per attribute in the order of keys:
//      i64 origin_wall_ns   u8 bytes of the key   u8 zero   u16 bytes of the value   key   value
#include "storage/head/bb_dictionary.h"

#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_hash.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie");
static_assert(BB_BATTERY_ID_BYTES_MAX <= UINT8_MAX, "length of an id is one byte");
static_assert(BB_ATTRIBUTE_KEY_BYTES_MAX <= UINT8_MAX, "length of a key is one byte");
static_assert(BB_PARTITIONS_MAX <= UINT16_MAX, "a partition is two bytes");

#define S_RECORD_BYTES    12u
#define S_ATTRIBUTE_BYTES 12u
#define S_SLOTS_MIN       64u

typedef struct {
    const char *id;
    uint8_t *attributes; // u32 length, then packed; NULL = none
    uint32_t hash;
    uint32_t type_set;
    uint16_t partition;
    uint8_t id_length;
    bool is_dirty; // differs from what the last drain emitted
} s_battery_t;
static_assert(sizeof(s_battery_t) <= 32, "a million batteries must fit");

typedef struct {
    const char *name;
    uint32_t hash;
    uint8_t length;
} s_metric_t;

typedef struct {
    uint32_t *numbers;
    uint32_t count, capacity;
    uint32_t sorted_count; // the first so many are in order
} s_partition_t;

// Open addressing; a slot holds number + 1.
typedef struct {
    uint32_t *slots;
    uint32_t slot_count;
} s_table_t;

struct bb_dictionary {
    uint64_t seed;
    bb_arena_t texts;
    s_battery_t *batteries;
    uint32_t battery_count, battery_capacity;
    uint32_t *followers; // of each battery: the one behind it in the last batch that had it
    uint32_t found_last; // by bb_dictionary_find_all
    s_table_t battery_table;
    s_metric_t *metrics;
    uint32_t metric_count, metric_capacity;
    uint32_t metric_drained_count; // the first so many were emitted
    s_table_t metric_table;
    uint32_t *metric_ranks;
    uint32_t ranked_count;
    bb_type_sets_t *type_sets;
    uint32_t *dirty; // batteries with is_dirty
    uint32_t dirty_count, dirty_capacity;
    uint32_t partition_count;
    s_partition_t *partitions;
};

int bb_dictionary_compare(bb_slice_t a, bb_slice_t b)
{
    size_t shared = BB_MIN(a.length, b.length);
    int order = shared > 0 ? memcmp(a.data, b.data, shared) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

bb_dictionary_t *bb_dictionary_new(uint64_t seed, uint32_t partition_count)
{
    bb_dictionary_t *self = bb_alloc_zero(1, sizeof *self);
    self->seed = seed;
    self->partition_count = partition_count;
    self->partitions = bb_alloc_zero(partition_count, sizeof *self->partitions);
    self->type_sets = bb_type_sets_new();
    return self;
}

void bb_dictionary_destroy(bb_dictionary_t **self)
{
    bb_dictionary_t *dictionary = *self;
    if (!dictionary) {
        return;
    }
    for (uint32_t i = 0; i < dictionary->battery_count; i++) {
        free(dictionary->batteries[i].attributes);
    }
    for (uint32_t i = 0; i < dictionary->partition_count; i++) {
        free(dictionary->partitions[i].numbers);
    }
    bb_type_sets_destroy(&dictionary->type_sets);
    bb_arena_free(&dictionary->texts);
    free(dictionary->batteries);
    free(dictionary->followers);
    free(dictionary->battery_table.slots);
    free(dictionary->metrics);
    free(dictionary->metric_table.slots);
    free(dictionary->metric_ranks);
    free(dictionary->dirty);
    free(dictionary->partitions);
    free(dictionary);
    *self = NULL;
}

// ---- tables ----------------------------------------------------------------------------------
static void s_table_put(s_table_t *table, uint32_t hash, uint32_t number)
{
    uint32_t slot = hash & (table->slot_count - 1);
    while (table->slots[slot]) {
        slot = (slot + 1) & (table->slot_count - 1);
    }
    table->slots[slot] = number + 1;
}

// True when the table was replaced by an empty one of twice the size: the caller puts all again.
static bool s_table_grow(s_table_t *table, uint32_t count)
{
    if (table->slot_count > 0 && count < table->slot_count / 4 * 3) {
        return false;
    }
    free(table->slots);
    table->slot_count = table->slot_count ? table->slot_count * 2 : S_SLOTS_MIN;
    table->slots = bb_alloc_zero(table->slot_count, sizeof *table->slots);
    return true;
}

// ---- batteries -------------------------------------------------------------------------------
uint32_t bb_dictionary_battery_count(const bb_dictionary_t *self)
{
    return self->battery_count;
}

static uint32_t s_battery_find(const bb_dictionary_t *self, bb_slice_t id, uint32_t hash)
{
    if (self->battery_table.slot_count == 0) {
        return BB_NUMBER_NONE;
    }
    uint32_t mask = self->battery_table.slot_count - 1;
    for (uint32_t slot = hash & mask; self->battery_table.slots[slot]; slot = (slot + 1) & mask) {
        uint32_t number = self->battery_table.slots[slot] - 1;
        const s_battery_t *battery = &self->batteries[number];
        if (battery->hash == hash && battery->id_length == id.length &&
            memcmp(battery->id, id.data, id.length) == 0) {
            return number;
        }
    }
    return BB_NUMBER_NONE;
}

uint32_t bb_dictionary_battery_find(const bb_dictionary_t *self, bb_slice_t id)
{
    return s_battery_find(self, id, (uint32_t)bb_hash_bytes(self->seed, id.data, id.length));
}

// Three steps, each over a stride of ids, so that the cache misses of one step overlap: the slot,
// the record behind it, and the id behind that.
#define S_STRIDE 32u

static void s_find_stride(const bb_dictionary_t *self, const bb_batch_battery_t *batteries,
                          uint32_t count, uint32_t *numbers)
{
    uint32_t hashes[S_STRIDE];
    uint32_t mask = self->battery_table.slot_count - 1;
    for (uint32_t i = 0; i < count; i++) {
        bb_slice_t id = batteries[i].id;
        hashes[i] = (uint32_t)bb_hash_bytes(self->seed, id.data, id.length);
        __builtin_prefetch(&self->battery_table.slots[hashes[i] & mask]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = self->battery_table.slots[hashes[i] & mask];
        __builtin_prefetch(&self->batteries[slot > 0 ? slot - 1 : 0]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = self->battery_table.slots[hashes[i] & mask];
        __builtin_prefetch(self->batteries[slot > 0 ? slot - 1 : 0].id);
    }
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = s_battery_find(self, batteries[i].id, hashes[i]);
    }
}

// Remembers the order of numbers[first, limit), which were not where they were looked for.
static void s_learn(bb_dictionary_t *self, const uint32_t *numbers, uint32_t first, uint32_t limit)
{
    for (uint32_t i = first; i < limit; i++) {
        uint32_t before = i == 0 ? self->found_last : numbers[i - 1];
        if (before != BB_NUMBER_NONE && numbers[i] != BB_NUMBER_NONE) {
            self->followers[before] = numbers[i];
        }
    }
}

static bool s_is_battery(const bb_dictionary_t *self, uint32_t number, bb_slice_t id)
{
    const s_battery_t *battery = &self->batteries[number];
    return battery->id_length == id.length && memcmp(battery->id, id.data, id.length) == 0;
}

// As many of the ids as are where the order of an earlier batch says; returns how many.
static uint32_t s_follow(const bb_dictionary_t *self, uint32_t before,
                         const bb_batch_battery_t *batteries, uint32_t count, uint32_t *numbers)
{
    if (!s_is_battery(self, self->followers[before], batteries[0].id)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        before = self->followers[before];
        numbers[i] = before;
        __builtin_prefetch(&self->batteries[before]);
    }
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(self->batteries[numbers[i]].id);
    }
    uint32_t done = 0;
    while (done < count && s_is_battery(self, numbers[done], batteries[done].id)) {
        done++;
    }
    return done;
}

void bb_dictionary_find_all(bb_dictionary_t *self, const bb_batch_battery_t *batteries,
                            uint32_t count, uint32_t *numbers)
{
    if (self->battery_count == 0) {
        memset(numbers, 0xff, count * sizeof *numbers);
        return;
    }
    for (uint32_t i = 0; i < count;) {
        uint32_t stride = BB_MIN(count - i, S_STRIDE);
        uint32_t done = s_follow(self, self->found_last, batteries + i, stride, numbers + i);
        if (done < stride) {
            s_find_stride(self, batteries + i + done, stride - done, numbers + i + done);
            s_learn(self, numbers + i, done, stride);
        }
        self->found_last =
            numbers[i + stride - 1] == BB_NUMBER_NONE ? self->found_last : numbers[i + stride - 1];
        i += stride;
    }
}

static void s_mark_dirty(bb_dictionary_t *self, uint32_t battery)
{
    if (self->batteries[battery].is_dirty) {
        return;
    }
    self->batteries[battery].is_dirty = true;
    if (self->dirty_count == self->dirty_capacity) {
        self->dirty_capacity = self->dirty_capacity ? self->dirty_capacity * 2 : 64;
        self->dirty = bb_realloc(self->dirty, self->dirty_capacity * sizeof *self->dirty);
    }
    self->dirty[self->dirty_count++] = battery;
}

static uint32_t s_battery_add(bb_dictionary_t *self, bb_slice_t id, uint32_t hash,
                              uint32_t partition)
{
    BB_ASSERT(id.length >= 1 && id.length <= BB_BATTERY_ID_BYTES_MAX);
    BB_ASSERT(partition < self->partition_count);
    BB_ASSERT(self->battery_count < BB_NUMBER_NONE - 1);
    if (self->battery_count == self->battery_capacity) {
        self->battery_capacity = self->battery_capacity ? self->battery_capacity * 2 : 64;
        self->batteries =
            bb_realloc(self->batteries, self->battery_capacity * sizeof *self->batteries);
        self->followers =
            bb_realloc(self->followers, self->battery_capacity * sizeof *self->followers);
    }
    uint32_t number = self->battery_count++;
    self->followers[number] = number; // none known
    self->batteries[number] = (s_battery_t){
        .id = bb_arena_copy(&self->texts, id.data, id.length),
        .hash = hash,
        .type_set = BB_TYPE_SET_EMPTY,
        .partition = (uint16_t)partition,
        .id_length = (uint8_t)id.length,
    };
    if (s_table_grow(&self->battery_table, self->battery_count)) {
        for (uint32_t i = 0; i < self->battery_count; i++) {
            s_table_put(&self->battery_table, self->batteries[i].hash, i);
        }
    } else {
        s_table_put(&self->battery_table, hash, number);
    }
    s_partition_t *list = &self->partitions[partition];
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 4;
        list->numbers = bb_realloc(list->numbers, list->capacity * sizeof *list->numbers);
    }
    list->numbers[list->count++] = number;
    return number;
}

uint32_t bb_dictionary_battery(bb_dictionary_t *self, bb_slice_t id, uint32_t partition)
{
    uint32_t hash = (uint32_t)bb_hash_bytes(self->seed, id.data, id.length);
    uint32_t number = s_battery_find(self, id, hash);
    if (number == BB_NUMBER_NONE) {
        number = s_battery_add(self, id, hash, partition);
        s_mark_dirty(self, number);
    }
    return number;
}

bb_slice_t bb_dictionary_battery_id(const bb_dictionary_t *self, uint32_t battery)
{
    BB_ASSERT(battery < self->battery_count);
    return bb_slice(self->batteries[battery].id, self->batteries[battery].id_length);
}

uint32_t bb_dictionary_battery_partition(const bb_dictionary_t *self, uint32_t battery)
{
    BB_ASSERT(battery < self->battery_count);
    return self->batteries[battery].partition;
}

static int s_compare_batteries(const void *a, const void *b, void *context)
{
    const bb_dictionary_t *self = context;
    return bb_dictionary_compare(bb_dictionary_battery_id(self, *(const uint32_t *)a),
                                 bb_dictionary_battery_id(self, *(const uint32_t *)b));
}

const uint32_t *bb_dictionary_partition(bb_dictionary_t *self, uint32_t partition, uint32_t *count)
{
    BB_ASSERT(partition < self->partition_count);
    s_partition_t *list = &self->partitions[partition];
    uint32_t fresh = list->count - list->sorted_count;
    if (fresh > 0) {
        // Sort the new ones, then merge from the back into the space they are copied out of.
        uint32_t *tail = bb_alloc(fresh * sizeof *tail);
        memcpy(tail, list->numbers + list->sorted_count, fresh * sizeof *tail);
        qsort_r(tail, fresh, sizeof *tail, s_compare_batteries, self);
        uint32_t old = list->sorted_count;
        uint32_t to = list->count;
        while (fresh > 0) {
            if (old > 0 &&
                s_compare_batteries(&list->numbers[old - 1], &tail[fresh - 1], self) > 0) {
                list->numbers[--to] = list->numbers[--old];
            } else {
                list->numbers[--to] = tail[--fresh];
            }
        }
        free(tail);
        list->sorted_count = list->count;
    }
    *count = list->count;
    return list->numbers;
}

uint32_t bb_dictionary_partition_seek(bb_dictionary_t *self, uint32_t partition, bb_slice_t id)
{
    uint32_t limit;
    const uint32_t *numbers = bb_dictionary_partition(self, partition, &limit);
    uint32_t first = 0;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (bb_dictionary_compare(bb_dictionary_battery_id(self, numbers[middle]), id) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

// ---- types -----------------------------------------------------------------------------------
const bb_type_entry_t *bb_dictionary_types(const bb_dictionary_t *self, uint32_t battery,
                                           uint32_t *count)
{
    BB_ASSERT(battery < self->battery_count);
    return bb_type_set(self->type_sets, self->batteries[battery].type_set, count);
}

uint32_t bb_dictionary_type_set(const bb_dictionary_t *self, uint32_t battery)
{
    BB_ASSERT(battery < self->battery_count);
    return self->batteries[battery].type_set;
}

uint32_t bb_dictionary_type_bits(const bb_dictionary_t *self, uint32_t type_set, uint32_t metric)
{
    return bb_type_set_bits(self->type_sets, type_set, metric);
}

uint32_t bb_dictionary_types_add(bb_dictionary_t *self, uint32_t battery, uint32_t shape_serial,
                                 const uint32_t *metrics, const uint8_t *types,
                                 uint32_t metric_count)
{
    BB_ASSERT(battery < self->battery_count);
    s_battery_t *record = &self->batteries[battery];
    uint32_t conflict_count;
    uint32_t type_set = bb_type_set_add(self->type_sets, record->type_set, shape_serial, metrics,
                                        types, metric_count, &conflict_count);
    if (type_set != record->type_set) {
        record->type_set = type_set;
        s_mark_dirty(self, battery);
    }
    return conflict_count;
}

// ---- attributes ------------------------------------------------------------------------------
bb_slice_t bb_dictionary_attributes(const bb_dictionary_t *self, uint32_t battery)
{
    BB_ASSERT(battery < self->battery_count);
    const uint8_t *packed = self->batteries[battery].attributes;
    if (!packed) {
        return bb_slice(NULL, 0);
    }
    uint32_t length;
    memcpy(&length, packed, sizeof length);
    return bb_slice(packed + sizeof length, length);
}

bb_error_t bb_dictionary_attributes_unpack(bb_slice_t packed,
                                           bb_dictionary_attribute_t out[BB_ATTRIBUTES_MAX],
                                           uint32_t *count)
{
    const uint8_t *bytes = packed.data;
    size_t left = packed.length;
    uint32_t found = 0;
    while (left > 0) {
        if (left < S_ATTRIBUTE_BYTES || found == BB_ATTRIBUTES_MAX) {
            return BB_ERR_CORRUPT;
        }
        uint16_t value_length;
        memcpy(&out[found].origin_wall_ns, bytes, 8);
        memcpy(&value_length, bytes + 10, 2);
        size_t size = S_ATTRIBUTE_BYTES + (size_t)bytes[8] + value_length;
        if (bytes[8] == 0 || bytes[9] != 0 || size > left) {
            return BB_ERR_CORRUPT;
        }
        out[found].key = bb_slice(bytes + S_ATTRIBUTE_BYTES, bytes[8]);
        out[found].value = bb_slice(bytes + S_ATTRIBUTE_BYTES + bytes[8], value_length);
        if (found > 0 && bb_dictionary_compare(out[found - 1].key, out[found].key) >= 0) {
            return BB_ERR_CORRUPT;
        }
        found++;
        bytes += size;
        left -= size;
    }
    *count = found;
    return BB_OK;
}

uint32_t bb_dictionary_attribute_pairs(const bb_dictionary_t *self, uint32_t battery,
                                       bb_attribute_t out[BB_ATTRIBUTES_MAX])
{
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX];
    uint32_t count = 0;
    bb_error_t error =
        bb_dictionary_attributes_unpack(bb_dictionary_attributes(self, battery), list, &count);
    BB_ASSERT(error == BB_OK); // packed by us, or checked when it was loaded
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (bb_attribute_t){list[i].key, list[i].value};
    }
    return count;
}

static uint8_t *s_pack(const bb_dictionary_attribute_t *attributes, uint32_t count)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        length +=
            (uint32_t)(S_ATTRIBUTE_BYTES + attributes[i].key.length + attributes[i].value.length);
    }
    uint8_t *packed = bb_alloc(sizeof length + length);
    memcpy(packed, &length, sizeof length);
    uint8_t *bytes = packed + sizeof length;
    for (uint32_t i = 0; i < count; i++) {
        const bb_dictionary_attribute_t *attribute = &attributes[i];
        uint16_t value_length = (uint16_t)attribute->value.length;
        memcpy(bytes, &attribute->origin_wall_ns, 8);
        bytes[8] = (uint8_t)attribute->key.length;
        bytes[9] = 0;
        memcpy(bytes + 10, &value_length, 2);
        bytes += S_ATTRIBUTE_BYTES;
        memcpy(bytes, attribute->key.data, attribute->key.length);
        bytes += attribute->key.length;
        if (value_length > 0) {
            memcpy(bytes, attribute->value.data, value_length);
        }
        bytes += value_length;
    }
    return packed;
}

// Puts one attribute into the sorted list (room for one more than the maximum). True: it changed.
static bool s_attribute_put(bb_dictionary_attribute_t *list, uint32_t *count,
                            const bb_dictionary_attribute_t *fresh)
{
    uint32_t at = 0;
    int order = 1;
    while (at < *count && (order = bb_dictionary_compare(fresh->key, list[at].key)) > 0) {
        at++;
    }
    if (at < *count && order == 0) {
        bool wins = fresh->origin_wall_ns > list[at].origin_wall_ns ||
                    (fresh->origin_wall_ns == list[at].origin_wall_ns &&
                     bb_dictionary_compare(fresh->value, list[at].value) > 0);
        if (wins) {
            list[at] = *fresh;
        }
        return wins;
    }
    if (at == BB_ATTRIBUTES_MAX) {
        return false;
    }
    memmove(&list[at + 1], &list[at], (*count - at) * sizeof *list);
    list[at] = *fresh;
    *count = BB_MIN(*count + 1, (uint32_t)BB_ATTRIBUTES_MAX);
    return true;
}

void bb_dictionary_attributes_merge(bb_dictionary_t *self, uint32_t battery,
                                    const bb_attribute_t *attributes, uint32_t attribute_count,
                                    int64_t origin_wall_ns)
{
    if (attribute_count == 0) {
        return;
    }
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX + 1];
    uint32_t count = 0;
    bb_error_t error =
        bb_dictionary_attributes_unpack(bb_dictionary_attributes(self, battery), list, &count);
    BB_ASSERT(error == BB_OK); // packed by us, or checked when it was loaded
    bool changed = false;
    for (uint32_t i = 0; i < attribute_count; i++) {
        bb_dictionary_attribute_t fresh = {attributes[i].key, attributes[i].value, origin_wall_ns};
        changed |= s_attribute_put(list, &count, &fresh);
    }
    if (changed) {
        // The list borrows from the old bytes: pack before they go.
        uint8_t *packed = s_pack(list, count);
        free(self->batteries[battery].attributes);
        self->batteries[battery].attributes = packed;
        s_mark_dirty(self, battery);
    }
}

// ---- metrics ---------------------------------------------------------------------------------
uint32_t bb_dictionary_metric_count(const bb_dictionary_t *self)
{
    return self->metric_count;
}

static uint32_t s_metric_find(const bb_dictionary_t *self, bb_slice_t name, uint32_t hash)
{
    if (self->metric_table.slot_count == 0) {
        return BB_NUMBER_NONE;
    }
    uint32_t mask = self->metric_table.slot_count - 1;
    for (uint32_t slot = hash & mask; self->metric_table.slots[slot]; slot = (slot + 1) & mask) {
        uint32_t number = self->metric_table.slots[slot] - 1;
        const s_metric_t *metric = &self->metrics[number];
        if (metric->hash == hash && metric->length == name.length &&
            memcmp(metric->name, name.data, name.length) == 0) {
            return number;
        }
    }
    return BB_NUMBER_NONE;
}

uint32_t bb_dictionary_metric_find(const bb_dictionary_t *self, bb_slice_t name)
{
    return s_metric_find(self, name, (uint32_t)bb_hash_bytes(self->seed, name.data, name.length));
}

uint32_t bb_dictionary_metric(bb_dictionary_t *self, bb_slice_t name)
{
    uint32_t hash = (uint32_t)bb_hash_bytes(self->seed, name.data, name.length);
    uint32_t number = s_metric_find(self, name, hash);
    if (number != BB_NUMBER_NONE) {
        return number;
    }
    BB_ASSERT(name.length >= 1 && name.length <= BB_METRIC_NAME_BYTES_MAX);
    BB_ASSERT(self->metric_count < BB_METRICS_MAX);
    if (self->metric_count == self->metric_capacity) {
        self->metric_capacity = self->metric_capacity ? self->metric_capacity * 2 : 64;
        self->metrics = bb_realloc(self->metrics, self->metric_capacity * sizeof *self->metrics);
    }
    number = self->metric_count++;
    self->metrics[number] = (s_metric_t){
        .name = bb_arena_copy(&self->texts, name.data, name.length),
        .hash = hash,
        .length = (uint8_t)name.length,
    };
    if (s_table_grow(&self->metric_table, self->metric_count)) {
        for (uint32_t i = 0; i < self->metric_count; i++) {
            s_table_put(&self->metric_table, self->metrics[i].hash, i);
        }
    } else {
        s_table_put(&self->metric_table, hash, number);
    }
    return number;
}

bb_slice_t bb_dictionary_metric_name(const bb_dictionary_t *self, uint32_t metric)
{
    BB_ASSERT(metric < self->metric_count);
    return bb_slice(self->metrics[metric].name, self->metrics[metric].length);
}

static int s_compare_metrics(const void *a, const void *b, void *context)
{
    const bb_dictionary_t *self = context;
    return bb_dictionary_compare(bb_dictionary_metric_name(self, *(const uint32_t *)a),
                                 bb_dictionary_metric_name(self, *(const uint32_t *)b));
}

const uint32_t *bb_dictionary_metric_ranks(bb_dictionary_t *self)
{
    if (self->ranked_count < self->metric_count) {
        uint32_t *order = bb_alloc(self->metric_count * sizeof *order);
        for (uint32_t i = 0; i < self->metric_count; i++) {
            order[i] = i;
        }
        qsort_r(order, self->metric_count, sizeof *order, s_compare_metrics, self);
        self->metric_ranks =
            bb_realloc(self->metric_ranks, self->metric_count * sizeof *self->metric_ranks);
        for (uint32_t i = 0; i < self->metric_count; i++) {
            self->metric_ranks[order[i]] = i;
        }
        free(order);
        self->ranked_count = self->metric_count;
    }
    return self->metric_ranks;
}

// ---- on disk ---------------------------------------------------------------------------------
static void s_emit_battery(const bb_dictionary_t *self, uint32_t number, bb_dictionary_emit_fn emit,
                           void *context, uint8_t **room, size_t *room_bytes)
{
    const s_battery_t *battery = &self->batteries[number];
    uint32_t type_count;
    const bb_type_entry_t *types = bb_type_set(self->type_sets, battery->type_set, &type_count);
    bb_slice_t attributes = bb_dictionary_attributes(self, number);
    uint32_t attribute_bytes = (uint32_t)attributes.length;
    size_t length =
        S_RECORD_BYTES + type_count * sizeof *types + battery->id_length + attributes.length;
    if (length > *room_bytes) {
        *room_bytes = length * 2;
        *room = bb_realloc(*room, *room_bytes);
    }
    uint8_t *bytes = *room;
    memcpy(bytes, &battery->partition, 2);
    bytes[2] = battery->id_length;
    bytes[3] = 0;
    memcpy(bytes + 4, &type_count, 4);
    memcpy(bytes + 8, &attribute_bytes, 4);
    bytes += S_RECORD_BYTES;
    if (type_count > 0) {
        memcpy(bytes, types, type_count * sizeof *types);
        bytes += type_count * sizeof *types;
    }
    memcpy(bytes, battery->id, battery->id_length);
    bytes += battery->id_length;
    if (attribute_bytes > 0) {
        memcpy(bytes, attributes.data, attribute_bytes);
    }
    emit(context, false, number, bb_slice(*room, length));
}

void bb_dictionary_drain(bb_dictionary_t *self, bb_dictionary_emit_fn emit, void *context)
{
    for (uint32_t i = self->metric_drained_count; i < self->metric_count; i++) {
        emit(context, true, i, bb_dictionary_metric_name(self, i));
    }
    self->metric_drained_count = self->metric_count;
    uint8_t *room = NULL;
    size_t room_bytes = 0;
    for (uint32_t i = 0; i < self->dirty_count; i++) {
        s_emit_battery(self, self->dirty[i], emit, context, &room, &room_bytes);
        self->batteries[self->dirty[i]].is_dirty = false;
    }
    free(room);
    self->dirty_count = 0;
}

static bb_error_t s_load_metric(bb_dictionary_t *self, uint32_t number, bb_slice_t record,
                                bb_fault_t *fault)
{
    if (number != self->metric_count || record.length == 0 ||
        record.length > BB_METRIC_NAME_BYTES_MAX || bb_dictionary_metric(self, record) != number) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "metric %u: its record is not valid", number);
    }
    self->metric_drained_count = self->metric_count;
    return BB_OK;
}

static bool s_types_are_valid(const bb_dictionary_t *self, const bb_type_entry_t *types,
                              uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if ((types[i] & 0xf) == 0 || bb_type_entry_metric(types[i]) >= self->metric_count ||
            (i > 0 && bb_type_entry_metric(types[i - 1]) >= bb_type_entry_metric(types[i]))) {
            return false;
        }
    }
    return true;
}

static bb_error_t s_load_battery(bb_dictionary_t *self, uint32_t number, bb_slice_t record,
                                 bb_fault_t *fault)
{
    const uint8_t *bytes = record.data;
    uint16_t partition = 0;
    uint32_t type_count = 0;
    uint32_t attribute_bytes = 0;
    uint8_t id_length = 0;
    bool valid = record.length > S_RECORD_BYTES;
    if (valid) {
        memcpy(&partition, bytes, 2);
        id_length = bytes[2];
        memcpy(&type_count, bytes + 4, 4);
        memcpy(&attribute_bytes, bytes + 8, 4);
        valid = partition < self->partition_count && id_length >= 1 &&
                id_length <= BB_BATTERY_ID_BYTES_MAX &&
                (uint64_t)type_count * 4 + id_length + attribute_bytes + S_RECORD_BYTES ==
                    record.length;
    }
    if (!valid || number != self->battery_count) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "battery %u: its record is not valid", number);
    }
    bb_type_entry_t *types = bb_alloc((type_count + 1) * sizeof *types);
    memcpy(types, bytes + S_RECORD_BYTES, type_count * sizeof *types);
    const uint8_t *id = bytes + S_RECORD_BYTES + type_count * sizeof *types;
    bb_slice_t packed = bb_slice(id + id_length, attribute_bytes);
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX];
    uint32_t attribute_count = 0;
    bb_slice_t name = bb_slice(id, id_length);
    valid = s_types_are_valid(self, types, type_count) &&
            bb_dictionary_attributes_unpack(packed, list, &attribute_count) == BB_OK &&
            bb_dictionary_battery_find(self, name) == BB_NUMBER_NONE;
    if (valid) {
        uint32_t hash = (uint32_t)bb_hash_bytes(self->seed, name.data, name.length);
        s_battery_add(self, name, hash, partition);
        self->batteries[number].type_set = bb_type_set_of(self->type_sets, types, type_count);
        if (attribute_count > 0) {
            self->batteries[number].attributes = s_pack(list, attribute_count);
        }
    }
    free(types);
    return valid
               ? BB_OK
               : bb_fault_set(fault, BB_ERR_CORRUPT, "battery %u: its record is not valid", number);
}

bb_error_t bb_dictionary_load(bb_dictionary_t *self, bool is_metric, uint32_t number,
                              bb_slice_t record, bb_fault_t *fault)
{
    return is_metric ? s_load_metric(self, number, record, fault)
                     : s_load_battery(self, number, record, fault);
}

bool bb_dictionary_record_id(bb_slice_t record, bb_slice_t *id)
{
    const uint8_t *bytes = record.data;
    uint32_t type_count;
    if (record.length <= S_RECORD_BYTES) {
        return false;
    }
    uint8_t id_length = bytes[2];
    memcpy(&type_count, bytes + 4, 4);
    uint64_t begin = S_RECORD_BYTES + (uint64_t)type_count * sizeof(bb_type_entry_t);
    if (id_length == 0 || id_length > BB_BATTERY_ID_BYTES_MAX ||
        begin + id_length > record.length) {
        return false;
    }
    *id = bb_slice(bytes + begin, id_length);
    return true;
}

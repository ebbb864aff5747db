// SPDX-License-Identifier: Apache-2.0
// Collects: names, and frames as rows in the order of arrival. bb_batch_finish.c makes the batch.
#include "protocol/bb_batch_builder.h"

#include <stdlib.h>

#include "protocol/bb_crc32c.h"
#include "protocol/bb_text.h"

// What things take in the encoding at most, with their offsets and padding, beside their text; the
// estimate of the size is never too small. Part and run are counted with the group, the front of a
// column with the metric.
#define S_TEXT_BYTES      16
#define S_ATTRIBUTE_BYTES (2 * S_TEXT_BYTES)
#define S_BATTERY_BYTES   48
#define S_SHAPE_BYTES     64
#define S_METRIC_BYTES    (S_TEXT_BYTES + 8)
#define S_STATE_BYTES     8
#define S_GROUP_BYTES     40

// Grows `array` (of `capacity` items) to hold one more than `count`.
#define S_GROW(array, count, capacity)                                                             \
    do {                                                                                           \
        if ((count) == (capacity)) {                                                               \
            (capacity) = (capacity) ? (capacity)*2 : 64;                                           \
            (array) = bb_realloc((array), (size_t)(capacity) * sizeof *(array));                   \
        }                                                                                          \
    } while (0)

bb_batch_builder_t *bb_batch_builder_new(uint64_t revision)
{
    bb_batch_builder_t *self = bb_alloc_zero(1, sizeof *self);
    self->revision = revision;
    return self;
}

static void s_arena_clear(bb_batch_builder_t *self, bool keep_one)
{
    while (self->arena && (self->arena->next || !keep_one)) {
        bb_builder_block_t *next = self->arena->next;
        free(self->arena);
        self->arena = next;
    }
    if (self->arena) {
        self->arena->used = 0;
    }
}

void bb_batch_builder_destroy(bb_batch_builder_t **self)
{
    bb_batch_builder_t *builder = *self;
    if (!builder) {
        return;
    }
    s_arena_clear(builder, false);
    free(builder->batteries);
    free(builder->shapes);
    free(builder->states);
    free(builder->groups);
    free(builder->battery_groups);
    free(builder->frames);
    free(builder->values);
    free(builder->columns);
    free(builder->battery_index.slots);
    free(builder->shape_index.slots);
    free(builder->state_index.slots);
    free(builder);
    *self = NULL;
}

static void s_index_reset(bb_builder_index_t *index)
{
    if (index->slots) {
        memset(index->slots, 0, index->capacity * sizeof *index->slots);
    }
    index->count = 0;
}

void bb_batch_builder_reset(bb_batch_builder_t *self, uint64_t revision)
{
    self->revision = revision;
    self->generation = 0;
    self->battery_count = self->shape_count = self->state_count = 0;
    self->group_count = self->frame_count = 0;
    self->value_count = 0;
    self->name_bytes = 0;
    s_index_reset(&self->battery_index);
    s_index_reset(&self->shape_index);
    s_index_reset(&self->state_index);
    s_arena_clear(self, true);
}

void bb_batch_builder_markers(bb_batch_builder_t *self, uint32_t generation)
{
    BB_ASSERT(self->revision == 0 && self->frame_count == 0);
    BB_ASSERT(generation > 0);
    self->generation = generation;
}

static void *s_arena_take(bb_batch_builder_t *self, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (!self->arena || self->arena->capacity - self->arena->used < bytes) {
        size_t capacity = BB_MAX((size_t)65536, bytes);
        bb_builder_block_t *block = bb_alloc(sizeof *block + capacity);
        *block = (bb_builder_block_t){.next = self->arena, .capacity = capacity};
        self->arena = block;
    }
    void *memory = self->arena->bytes + self->arena->used;
    self->arena->used += bytes;
    return memory;
}

static bb_slice_t s_arena_copy(bb_batch_builder_t *self, bb_slice_t text)
{
    char *copy = s_arena_take(self, text.length);
    if (text.length > 0) {
        memcpy(copy, text.data, text.length);
    }
    self->name_bytes += S_TEXT_BYTES + text.length;
    return bb_slice(copy, text.length);
}

static bool s_is_equal(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

// The first slot for `hash`; follow with (slot + 1) & (capacity - 1) while it is taken by others.
static uint32_t s_index_slot(const bb_builder_index_t *index, uint32_t hash)
{
    return hash & (index->capacity - 1);
}

typedef uint32_t (*s_hash_fn)(const bb_batch_builder_t *self, uint32_t item);

static void s_index_add(bb_batch_builder_t *self, bb_builder_index_t *index, uint32_t hash,
                        uint32_t item, s_hash_fn hash_of)
{
    if (index->count * 2 >= index->capacity) {
        uint32_t *old = index->slots;
        uint32_t old_capacity = index->capacity;
        index->capacity = old_capacity ? old_capacity * 2 : 256;
        index->slots = bb_alloc_zero(index->capacity, sizeof *index->slots);
        for (uint32_t i = 0; i < old_capacity; i++) {
            if (old[i]) {
                uint32_t slot = s_index_slot(index, hash_of(self, old[i] - 1));
                while (index->slots[slot]) {
                    slot = (slot + 1) & (index->capacity - 1);
                }
                index->slots[slot] = old[i];
            }
        }
        free(old);
    }
    uint32_t slot = s_index_slot(index, hash);
    while (index->slots[slot]) {
        slot = (slot + 1) & (index->capacity - 1);
    }
    index->slots[slot] = item + 1;
    index->count++;
}

static uint32_t s_hash_text(bb_slice_t text)
{
    return bb_crc32c(0, text.data, text.length);
}

static uint32_t s_hash_battery(const bb_batch_builder_t *self, uint32_t item)
{
    return s_hash_text(self->batteries[item].id);
}

static uint32_t s_hash_state(const bb_batch_builder_t *self, uint32_t item)
{
    return s_hash_text(self->states[item]);
}

static uint32_t s_hash_names(const bb_slice_t *names, const uint8_t *types, uint32_t count)
{
    uint32_t hash = bb_crc32c(0, types, count);
    for (uint32_t i = 0; i < count; i++) {
        hash = bb_crc32c(hash, names[i].data, names[i].length);
    }
    return hash;
}

static uint32_t s_hash_shape(const bb_batch_builder_t *self, uint32_t item)
{
    const bb_batch_shape_t *shape = &self->shapes[item];
    return s_hash_names(shape->names, shape->types, shape->metric_count);
}

static uint32_t s_find_text(const bb_batch_builder_t *self, const bb_builder_index_t *index,
                            bb_slice_t text, uint32_t hash, bool is_battery)
{
    if (index->capacity == 0) {
        return BB_BUILDER_NONE;
    }
    for (uint32_t slot = s_index_slot(index, hash); index->slots[slot];
         slot = (slot + 1) & (index->capacity - 1)) {
        uint32_t item = index->slots[slot] - 1;
        if (s_is_equal(is_battery ? self->batteries[item].id : self->states[item], text)) {
            return item;
        }
    }
    return BB_BUILDER_NONE;
}

// Names that no frame uses count, too: what is added is bounded as the batch is.
static bool s_has_room(const bb_batch_builder_t *self, size_t bytes)
{
    return bb_batch_builder_bytes(self) + bytes <= BB_BATCH_BYTES_MAX;
}

static bb_error_t s_full(bb_fault_t *fault)
{
    return bb_fault_set(fault, BB_ERR_BATCH_BYTES, "the batch is full (%u bytes)",
                        BB_BATCH_BYTES_MAX);
}

static bb_error_t s_attributes_copy(bb_batch_builder_t *self, bb_builder_battery_t *battery,
                                    const bb_attribute_t *attributes, uint32_t count,
                                    bb_fault_t *fault)
{
    if (count > BB_ATTRIBUTES_MAX) {
        return bb_fault_set(fault, BB_ERR_ATTRIBUTES,
                            "battery '%.*s' has %u attributes, at most %d", (int)battery->id.length,
                            (const char *)battery->id.data, count, BB_ATTRIBUTES_MAX);
    }
    size_t bytes = 0;
    for (uint32_t a = 0; a < count; a++) {
        bytes += S_ATTRIBUTE_BYTES + attributes[a].key.length + attributes[a].value.length;
        bb_error_t error = bb_attribute_check(attributes[a].key, attributes[a].value);
        if (error != BB_OK) {
            return bb_fault_set(fault, error,
                                "attribute '%.*s' of battery '%.*s': keys have 1 to %d bytes, "
                                "values 1 to %d, both UTF-8",
                                (int)BB_MIN(attributes[a].key.length, 64),
                                (const char *)attributes[a].key.data, (int)battery->id.length,
                                (const char *)battery->id.data, BB_ATTRIBUTE_KEY_BYTES_MAX,
                                BB_ATTRIBUTE_VALUE_BYTES_MAX);
        }
    }
    if (!s_has_room(self, bytes)) {
        return s_full(fault);
    }
    if (count > 0) {
        bb_attribute_t *copies = s_arena_take(self, count * sizeof *copies);
        for (uint32_t a = 0; a < count; a++) {
            copies[a].key = s_arena_copy(self, attributes[a].key);
            copies[a].value = s_arena_copy(self, attributes[a].value);
        }
        battery->attributes = copies;
        battery->attribute_count = count;
    }
    return BB_OK;
}

// True when these are the attributes that the battery already has, in the same order.
static bool s_attributes_are(const bb_builder_battery_t *battery, const bb_attribute_t *attributes,
                             uint32_t count)
{
    bool is_same = battery->attribute_count == count;
    for (uint32_t a = 0; is_same && a < count; a++) {
        is_same = s_is_equal(battery->attributes[a].key, attributes[a].key) &&
                  s_is_equal(battery->attributes[a].value, attributes[a].value);
    }
    return is_same;
}

bb_error_t bb_batch_builder_battery(bb_batch_builder_t *self, uint32_t partition, bb_slice_t id,
                                    const bb_attribute_t *attributes, uint32_t attribute_count,
                                    uint32_t *battery, bb_fault_t *fault)
{
    bb_error_t error = bb_battery_id_check(id);
    if (error != BB_OK) {
        return bb_fault_set(fault, error,
                            "battery id '%.*s' has %zu bytes; 1 to %d of UTF-8 without control "
                            "characters are allowed",
                            (int)BB_MIN(id.length, 64), (const char *)id.data, id.length,
                            BB_BATTERY_ID_BYTES_MAX);
    }
    uint32_t hash = s_hash_text(id);
    uint32_t found = s_find_text(self, &self->battery_index, id, hash, true);
    if (found != BB_BUILDER_NONE) {
        BB_ASSERT(self->batteries[found].partition == partition);
        if (attribute_count > 0 &&
            !s_attributes_are(&self->batteries[found], attributes, attribute_count)) {
            error = s_attributes_copy(self, &self->batteries[found], attributes, attribute_count,
                                      fault);
        }
        *battery = found;
        return error;
    }
    if (self->battery_count == BB_BATCH_BATTERIES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "a batch names at most %u batteries",
                            BB_BATCH_BATTERIES_MAX);
    }
    if (!s_has_room(self, S_BATTERY_BYTES + id.length)) {
        return s_full(fault);
    }
    bb_builder_battery_t added = {.partition = partition, .group_last = BB_BUILDER_NONE, .id = id};
    error = s_attributes_copy(self, &added, attributes, attribute_count, fault);
    if (error != BB_OK) {
        return error;
    }
    added.id = s_arena_copy(self, id);
    S_GROW(self->batteries, self->battery_count, self->battery_capacity);
    S_GROW(self->battery_groups, self->battery_count, self->group_head_capacity);
    self->batteries[self->battery_count] = added;
    self->battery_groups[self->battery_count] = BB_BUILDER_NONE;
    s_index_add(self, &self->battery_index, hash, self->battery_count, s_hash_battery);
    *battery = self->battery_count++;
    return BB_OK;
}

// Sorts by name (insertion sort: few and mostly sorted). order[i]: sorted place of names[i].
static bb_error_t s_shape_sort(const bb_slice_t *names, uint32_t count, uint32_t *sorted,
                               uint32_t *order, bb_fault_t *fault)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = i;
        while (place > 0) {
            bb_slice_t before = names[sorted[place - 1]];
            int compared =
                memcmp(before.data, names[i].data, BB_MIN(before.length, names[i].length));
            if (compared == 0 && before.length == names[i].length) {
                return bb_fault_set(fault, BB_ERR_FRAME_METRICS, "metric '%.*s' is named twice",
                                    (int)before.length, (const char *)before.data);
            }
            if (compared < 0 || (compared == 0 && before.length < names[i].length)) {
                break;
            }
            sorted[place] = sorted[place - 1];
            place--;
        }
        sorted[place] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        order[sorted[i]] = i;
    }
    return BB_OK;
}

bb_error_t bb_batch_builder_shape(bb_batch_builder_t *self, const bb_slice_t *names,
                                  const uint8_t *types, uint32_t metric_count, uint32_t *shape,
                                  uint32_t *order, bb_fault_t *fault)
{
    if (metric_count == 0 || metric_count > BB_FRAME_METRICS_MAX) {
        return bb_fault_set(fault, BB_ERR_FRAME_METRICS, "a frame has %u metrics, expected 1 to %d",
                            metric_count, BB_FRAME_METRICS_MAX);
    }
    for (uint32_t i = 0; i < metric_count; i++) {
        bb_error_t error = bb_metric_name_check(names[i]);
        if (error != BB_OK) {
            return bb_fault_set(fault, error,
                                "metric name '%.*s' has %zu bytes; 1 to %d of UTF-8 without "
                                "control characters are allowed",
                                (int)BB_MIN(names[i].length, 64), (const char *)names[i].data,
                                names[i].length, BB_METRIC_NAME_BYTES_MAX);
        }
        if (!bb_type_is_valid(types[i])) {
            return bb_fault_set(fault, BB_ERR_VALUE, "metric '%.*s' has the unknown type %u",
                                (int)names[i].length, (const char *)names[i].data, types[i]);
        }
    }
    uint32_t sorted[BB_FRAME_METRICS_MAX];
    bb_slice_t sorted_names[BB_FRAME_METRICS_MAX];
    uint8_t sorted_types[BB_FRAME_METRICS_MAX];
    bb_error_t error = s_shape_sort(names, metric_count, sorted, order, fault);
    if (error != BB_OK) {
        return error;
    }
    for (uint32_t i = 0; i < metric_count; i++) {
        sorted_names[i] = names[sorted[i]];
        sorted_types[i] = types[sorted[i]];
    }
    uint32_t hash = s_hash_names(sorted_names, sorted_types, metric_count);
    bb_builder_index_t *index = &self->shape_index;
    for (uint32_t slot = index->capacity ? s_index_slot(index, hash) : 0;
         index->capacity && index->slots[slot]; slot = (slot + 1) & (index->capacity - 1)) {
        const bb_batch_shape_t *other = &self->shapes[index->slots[slot] - 1];
        bool is_same = other->metric_count == metric_count &&
                       memcmp(other->types, sorted_types, metric_count) == 0;
        for (uint32_t i = 0; is_same && i < metric_count; i++) {
            is_same = s_is_equal(other->names[i], sorted_names[i]);
        }
        if (is_same) {
            *shape = index->slots[slot] - 1;
            return BB_OK;
        }
    }
    if (self->shape_count == BB_BATCH_SHAPES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "a batch has at most %d shapes",
                            BB_BATCH_SHAPES_MAX);
    }
    size_t bytes = S_SHAPE_BYTES;
    for (uint32_t i = 0; i < metric_count; i++) {
        bytes += S_METRIC_BYTES + names[i].length;
    }
    if (!s_has_room(self, bytes)) {
        return s_full(fault);
    }
    bb_batch_shape_t added = {.metric_count = metric_count};
    bb_slice_t *kept_names = s_arena_take(self, metric_count * sizeof *kept_names);
    uint8_t *kept_types = s_arena_take(self, metric_count);
    for (uint32_t i = 0; i < metric_count; i++) {
        self->name_bytes += S_METRIC_BYTES - S_TEXT_BYTES;
        kept_names[i] = s_arena_copy(self, sorted_names[i]);
        kept_types[i] = sorted_types[i];
        added.has_states |= sorted_types[i] == BB_TYPE_STATE;
        added.has_bools |= sorted_types[i] == BB_TYPE_BOOL;
    }
    added.names = kept_names;
    added.types = kept_types;
    S_GROW(self->shapes, self->shape_count, self->shape_capacity);
    self->shapes[self->shape_count] = added;
    s_index_add(self, index, hash, self->shape_count, s_hash_shape);
    *shape = self->shape_count++;
    return BB_OK;
}

bb_error_t bb_batch_builder_state(bb_batch_builder_t *self, bb_slice_t text, uint32_t *state,
                                  bb_fault_t *fault)
{
    bb_error_t error = bb_state_text_check(text);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "state text has %zu bytes or is not UTF-8; at most %d",
                            text.length, BB_STATE_BYTES_MAX);
    }
    uint32_t hash = s_hash_text(text);
    uint32_t found = s_find_text(self, &self->state_index, text, hash, false);
    if (found != BB_BUILDER_NONE) {
        *state = found;
        return BB_OK;
    }
    if (self->state_count == BB_BATCH_STATES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "a batch has at most %d state texts",
                            BB_BATCH_STATES_MAX);
    }
    if (!s_has_room(self, S_STATE_BYTES + S_TEXT_BYTES + text.length)) {
        return s_full(fault);
    }
    S_GROW(self->states, self->state_count, self->state_capacity);
    self->states[self->state_count] = s_arena_copy(self, text);
    s_index_add(self, &self->state_index, hash, self->state_count, s_hash_state);
    *state = self->state_count++;
    return BB_OK;
}

// The group of (battery, shape), made when it is new.
static uint32_t s_group_of(bb_batch_builder_t *self, uint32_t battery, uint32_t shape)
{
    bb_builder_battery_t *at = &self->batteries[battery];
    uint32_t group = at->group_last;
    if (group != BB_BUILDER_NONE && self->groups[group].shape == shape) {
        return group;
    }
    group = self->battery_groups[battery];
    while (group != BB_BUILDER_NONE && self->groups[group].shape != shape) {
        group = self->groups[group].group_next;
    }
    if (group == BB_BUILDER_NONE) {
        S_GROW(self->groups, self->group_count, self->group_capacity);
        group = self->group_count++;
        self->groups[group] = (bb_builder_group_t){
            .battery = battery, .shape = shape, .group_next = self->battery_groups[battery]};
        self->battery_groups[battery] = group;
    }
    at->group_last = group;
    return group;
}

bb_error_t bb_batch_builder_frame(bb_batch_builder_t *self, uint32_t battery, uint32_t shape,
                                  int64_t time_wall_ns, const uint64_t *values)
{
    BB_ASSERT(battery < self->battery_count);
    BB_ASSERT(shape < self->shape_count);
    if (time_wall_ns < BB_TIME_WALL_NS_FIRST || time_wall_ns >= BB_TIME_WALL_NS_LIMIT) {
        return BB_ERR_TIME_RANGE;
    }
    const bb_batch_shape_t *at = &self->shapes[shape];
    uint32_t checked_count = at->has_bools || at->has_states ? at->metric_count : 0;
    for (uint32_t m = 0; m < checked_count; m++) {
        if ((at->types[m] == BB_TYPE_BOOL && values[m] > 1) ||
            (at->types[m] == BB_TYPE_STATE && values[m] >= self->state_count)) {
            return BB_ERR_VALUE;
        }
    }
    if (!s_has_room(self, S_GROUP_BYTES + 8 * ((size_t)at->metric_count + 1)) ||
        self->value_count + at->metric_count > BB_BATCH_VALUES_MAX) {
        return BB_ERR_BATCH_BYTES;
    }
    uint32_t group = s_group_of(self, battery, shape);
    S_GROW(self->frames, self->frame_count, self->frame_capacity);
    self->frames[self->frame_count++] =
        (bb_builder_frame_t){group, (uint32_t)self->value_count, time_wall_ns};
    if (self->value_count + at->metric_count > self->value_capacity) {
        self->value_capacity = BB_MAX(4096, 2 * (self->value_capacity + at->metric_count));
        self->values = bb_realloc(self->values, self->value_capacity * sizeof *self->values);
    }
    memcpy(self->values + self->value_count, values, at->metric_count * sizeof *values);
    self->value_count += at->metric_count;
    self->groups[group].frame_count++;
    return BB_OK;
}

uint32_t bb_batch_builder_frame_count(const bb_batch_builder_t *self)
{
    return self->frame_count;
}

uint64_t bb_batch_builder_point_count(const bb_batch_builder_t *self)
{
    return self->value_count;
}

size_t bb_batch_builder_bytes(const bb_batch_builder_t *self)
{
    return 256 + self->name_bytes + S_BATTERY_BYTES * (size_t)self->battery_count +
           S_SHAPE_BYTES * (size_t)self->shape_count + S_STATE_BYTES * (size_t)self->state_count +
           S_GROUP_BYTES * (size_t)self->group_count + 8 * (size_t)self->frame_count +
           8 * self->value_count;
}

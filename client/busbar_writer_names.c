// SPDX-License-Identifier: Apache-2.0
// Batteries and shapes of a writer: checked once, found again by hash, called by small handles.
#include <stdlib.h>
#include <string.h>

#include "client/busbar_writer_internal.h"
#include "protocol/bb_crc32c.h"
#include "protocol/bb_text.h"

#define S_HANDLES_MAX (1u << 28)

typedef bool (*s_same_fn)(const busbar_writer_t *self, uint32_t handle, const void *what);
typedef uint32_t (*s_hash_of_fn)(const busbar_writer_t *self, uint32_t handle);

static uint32_t s_index_find(const busbar_writer_t *self, const bb_writer_index_t *index,
                             uint32_t hash, s_same_fn is_same, const void *what)
{
    if (index->capacity == 0) {
        return UINT32_MAX;
    }
    for (uint32_t slot = hash & (index->capacity - 1); index->slots[slot];
         slot = (slot + 1) & (index->capacity - 1)) {
        if (is_same(self, index->slots[slot] - 1, what)) {
            return index->slots[slot] - 1;
        }
    }
    return UINT32_MAX;
}

static void s_index_put(bb_writer_index_t *index, uint32_t hash, uint32_t handle)
{
    uint32_t slot = hash & (index->capacity - 1);
    while (index->slots[slot]) {
        slot = (slot + 1) & (index->capacity - 1);
    }
    index->slots[slot] = handle + 1;
}

static void s_index_add(const busbar_writer_t *self, bb_writer_index_t *index, uint32_t hash,
                        uint32_t handle, s_hash_of_fn hash_of)
{
    if (index->count * 2 >= index->capacity) {
        bb_writer_index_t grown = {.capacity = index->capacity ? index->capacity * 2 : 64,
                                   .count = index->count};
        grown.slots = bb_alloc_zero(grown.capacity, sizeof *grown.slots);
        for (uint32_t i = 0; i < index->capacity; i++) {
            if (index->slots[i]) {
                s_index_put(&grown, hash_of(self, index->slots[i] - 1), index->slots[i] - 1);
            }
        }
        free(index->slots);
        *index = grown;
    }
    s_index_put(index, hash, handle);
    index->count++;
}

static bool s_is_equal(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static bool s_battery_is(const busbar_writer_t *self, uint32_t handle, const void *what)
{
    const bb_writer_battery_t *a = &self->batteries[handle], *b = what;
    bool is_same = a->hash == b->hash && a->id_length == b->id_length &&
                   memcmp(a->id, b->id, a->id_length) == 0 &&
                   a->attribute_count == b->attribute_count;
    for (uint32_t i = 0; is_same && i < a->attribute_count; i++) {
        is_same = s_is_equal(a->attributes[i].key, b->attributes[i].key) &&
                  s_is_equal(a->attributes[i].value, b->attributes[i].value);
    }
    return is_same;
}

static uint32_t s_battery_hash(const busbar_writer_t *self, uint32_t handle)
{
    return self->batteries[handle].hash;
}

// One block with the table and the bytes that it names.
static bb_attribute_t *s_copy_attributes(const bb_attribute_t *from, uint32_t count)
{
    size_t bytes = count * sizeof *from;
    for (uint32_t i = 0; i < count; i++) {
        bytes += from[i].key.length + from[i].value.length;
    }
    bb_attribute_t *copies = bb_alloc(BB_MAX(bytes, 1));
    char *at = (char *)(copies + count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(at, from[i].key.data, from[i].key.length);
        copies[i].key = bb_slice(at, from[i].key.length);
        at += from[i].key.length;
        memcpy(at, from[i].value.data, from[i].value.length);
        copies[i].value = bb_slice(at, from[i].value.length);
        at += from[i].value.length;
    }
    return copies;
}

busbar_status_t busbar_writer_battery(busbar_writer_t *self, const char *id,
                                      const busbar_attribute_t *attributes,
                                      uint32_t attribute_count, uint32_t *battery,
                                      busbar_fault_t *fault)
{
    if (!self || !id || !battery || (attribute_count > 0 && !attributes)) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_writer_battery needs a writer, an id and a handle");
    }
    bb_slice_t name = bb_writer_text(id);
    if (bb_battery_id_check(name) != BB_OK) {
        return busbar_fault_say(fault, BB_ERR_BATTERY_ID,
                                "battery id '%.64s' has %zu bytes; 1 to %d of UTF-8 without "
                                "control characters are allowed",
                                id, name.length, BB_BATTERY_ID_BYTES_MAX);
    }
    if (attribute_count > BB_ATTRIBUTES_MAX) {
        return busbar_fault_say(fault, BB_ERR_ATTRIBUTES,
                                "battery '%s' has %u attributes, at most %d", id, attribute_count,
                                BB_ATTRIBUTES_MAX);
    }
    bb_attribute_t given[BB_ATTRIBUTES_MAX];
    bb_writer_battery_t added = {.id = (char *)(uintptr_t)id,
                                 .id_length = (uint32_t)name.length,
                                 .hash = bb_crc32c(0, name.data, name.length),
                                 .attributes = given,
                                 .attribute_count = attribute_count};
    for (uint32_t i = 0; i < attribute_count; i++) {
        given[i].key = bb_writer_text(attributes[i].key);
        given[i].value = bb_writer_text(attributes[i].value);
        if (bb_attribute_check(given[i].key, given[i].value) != BB_OK) {
            return busbar_fault_say(fault, BB_ERR_ATTRIBUTES,
                                    "attribute '%.64s' of battery '%s': keys have 1 to %d bytes, "
                                    "values 1 to %d, both UTF-8",
                                    (const char *)given[i].key.data, id, BB_ATTRIBUTE_KEY_BYTES_MAX,
                                    BB_ATTRIBUTE_VALUE_BYTES_MAX);
        }
        added.hash = bb_crc32c(added.hash, given[i].key.data, given[i].key.length);
        added.hash = bb_crc32c(added.hash, given[i].value.data, given[i].value.length);
    }
    uint32_t found = s_index_find(self, &self->battery_index, added.hash, s_battery_is, &added);
    if (found != UINT32_MAX) {
        *battery = found;
        return BUSBAR_OK;
    }
    if (self->battery_count == S_HANDLES_MAX) {
        return busbar_fault_say(fault, BB_ERR_LIMIT, "a writer has at most %u batteries",
                                S_HANDLES_MAX);
    }
    added.id = bb_strdup(id);
    added.attributes = attribute_count ? s_copy_attributes(given, attribute_count) : NULL;
    if (self->battery_count == self->battery_capacity) {
        self->battery_capacity = self->battery_capacity ? self->battery_capacity * 2 : 64;
        self->batteries =
            bb_realloc(self->batteries, self->battery_capacity * sizeof *self->batteries);
    }
    self->batteries[self->battery_count] = added;
    s_index_add(self, &self->battery_index, added.hash, self->battery_count, s_battery_hash);
    *battery = self->battery_count++;
    return BUSBAR_OK;
}

static bool s_shape_is(const busbar_writer_t *self, uint32_t handle, const void *what)
{
    const bb_writer_shape_t *a = &self->shapes[handle], *b = what;
    bool is_same = a->hash == b->hash && a->metric_count == b->metric_count &&
                   memcmp(a->types, b->types, a->metric_count) == 0;
    for (uint32_t i = 0; is_same && i < a->metric_count; i++) {
        is_same = s_is_equal(a->names[i], b->names[i]);
    }
    return is_same;
}

static uint32_t s_shape_hash(const busbar_writer_t *self, uint32_t handle)
{
    return self->shapes[handle].hash;
}

static void s_shape_add(busbar_writer_t *self, bb_writer_shape_t *shape)
{
    size_t count = shape->metric_count, bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += shape->names[i].length;
    }
    char *block = bb_alloc(count * (sizeof(bb_slice_t) + sizeof(uint32_t) + 1) + bytes);
    bb_slice_t *names = (bb_slice_t *)(void *)block;
    uint32_t *order = (uint32_t *)(void *)(names + count);
    uint8_t *types = (uint8_t *)(order + count);
    char *at = (char *)(types + count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(at, shape->names[i].data, shape->names[i].length);
        names[i] = bb_slice(at, shape->names[i].length);
        at += names[i].length;
    }
    memcpy(order, shape->order, count * sizeof *order);
    memcpy(types, shape->types, count);
    shape->names = names;
    shape->order = order;
    shape->types = types;
    if (self->shape_count == self->shape_capacity) {
        self->shape_capacity = self->shape_capacity ? self->shape_capacity * 2 : 16;
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
    }
    self->shapes[self->shape_count] = *shape;
    s_index_add(self, &self->shape_index, shape->hash, self->shape_count, s_shape_hash);
    self->shape_count++;
}

busbar_status_t busbar_writer_shape(busbar_writer_t *self, const busbar_metric_t *metrics,
                                    uint32_t metric_count, uint32_t *shape, busbar_fault_t *fault)
{
    if (!self || !shape || (metric_count > 0 && !metrics)) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_writer_shape needs a writer, metrics and a handle");
    }
    if (metric_count == 0 || metric_count > BB_FRAME_METRICS_MAX) {
        return busbar_fault_say(fault, BB_ERR_FRAME_METRICS,
                                "a frame has %u metrics, expected 1 to %d", metric_count,
                                BB_FRAME_METRICS_MAX);
    }
    bb_slice_t names[BB_FRAME_METRICS_MAX];
    uint8_t types[BB_FRAME_METRICS_MAX];
    uint32_t order[BB_FRAME_METRICS_MAX];
    bb_writer_shape_t added = {
        .metric_count = metric_count, .names = names, .types = types, .order = order};
    for (uint32_t i = 0; i < metric_count; i++) {
        names[i] = bb_writer_text(metrics[i].name);
        types[i] = metrics[i].type > UINT8_MAX ? 0 : (uint8_t)metrics[i].type;
        added.hash = bb_crc32c(added.hash, names[i].data, names[i].length);
        added.hash = bb_crc32c(added.hash, &types[i], 1);
        added.has_states |= types[i] == BB_TYPE_STATE;
    }
    uint32_t found = s_index_find(self, &self->shape_index, added.hash, s_shape_is, &added);
    if (found != UINT32_MAX) {
        *shape = found;
        return BUSBAR_OK;
    }
    bb_fault_t why = {0};
    uint32_t ignored;
    bb_batch_builder_reset(self->scratch, 0);
    bb_error_t error =
        bb_batch_builder_shape(self->scratch, names, types, metric_count, &ignored, order, &why);
    if (error != BB_OK) {
        return busbar_fault_of(fault, &why, error);
    }
    if (self->shape_count == S_HANDLES_MAX) {
        return busbar_fault_say(fault, BB_ERR_LIMIT, "a writer has at most %u shapes",
                                S_HANDLES_MAX);
    }
    added.is_in_order = true;
    for (uint32_t i = 0; i < metric_count; i++) {
        added.is_in_order &= order[i] == i;
    }
    *shape = self->shape_count;
    s_shape_add(self, &added);
    return BUSBAR_OK;
}

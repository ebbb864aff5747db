// SPDX-License-Identifier: Apache-2.0
#include "storage/markers/bb_markers.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_hash.h"

#define S_NONE        UINT32_MAX
#define S_FIXED_BYTES 8u

typedef struct {
    uint32_t battery, generation;
    uint32_t count, capacity;
    bb_marker_entry_t *entries; // by s_compare
    bool is_dirty;
} s_item_t;

struct bb_markers {
    _Atomic uint32_t references;
    s_item_t *items; // as they first came
    uint32_t item_count, item_capacity;
    uint32_t *slots; // open addressing: index of an item, or S_NONE
    uint32_t slot_count;
    uint64_t count;
};

bb_markers_t *bb_markers_new(void)
{
    bb_markers_t *self = bb_alloc_zero(1, sizeof *self);
    atomic_init(&self->references, 1);
    return self;
}

bb_markers_t *bb_markers_retain(bb_markers_t *self)
{
    atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    return self;
}

void bb_markers_release(bb_markers_t **self)
{
    bb_markers_t *markers = *self;
    *self = NULL;
    // What this thread read happens before the memory goes.
    if (!markers || atomic_fetch_sub_explicit(&markers->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < markers->item_count; i++) {
        free(markers->items[i].entries);
    }
    free(markers->items);
    free(markers->slots);
    free(markers);
}

// ---- finding ---------------------------------------------------------------------------------
static uint32_t s_slot(const bb_markers_t *self, uint32_t battery)
{
    uint32_t mask = self->slot_count - 1;
    uint32_t slot = (uint32_t)bb_hash_mix(battery, 0) & mask;
    while (self->slots[slot] != S_NONE && self->items[self->slots[slot]].battery != battery) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static const s_item_t *s_find(const bb_markers_t *self, uint32_t battery)
{
    if (self->item_count == 0) {
        return NULL;
    }
    uint32_t index = self->slots[s_slot(self, battery)];
    return index == S_NONE ? NULL : &self->items[index];
}

bool bb_markers_is_empty(const bb_markers_t *self)
{
    return self->item_count == 0;
}

uint64_t bb_markers_count(const bb_markers_t *self)
{
    return self->count;
}

bb_marker_list_t bb_markers_of(const bb_markers_t *self, uint32_t battery)
{
    const s_item_t *item = s_find(self, battery);
    return item ? (bb_marker_list_t){item->entries, item->count} : (bb_marker_list_t){0};
}

uint32_t bb_markers_generation(const bb_markers_t *self, uint32_t battery)
{
    const s_item_t *item = s_find(self, battery);
    return item ? item->generation : 0;
}

// ---- changing --------------------------------------------------------------------------------
static void s_index(bb_markers_t *self)
{
    self->slot_count = self->slot_count ? self->slot_count * 2 : 16;
    self->slots = bb_realloc(self->slots, self->slot_count * sizeof *self->slots);
    memset(self->slots, 0xff, self->slot_count * sizeof *self->slots);
    for (uint32_t i = 0; i < self->item_count; i++) {
        self->slots[s_slot(self, self->items[i].battery)] = i;
    }
}

static bb_markers_t *s_clone(const bb_markers_t *self)
{
    bb_markers_t *clone = bb_markers_new();
    clone->item_count = clone->item_capacity = self->item_count;
    clone->slot_count = self->slot_count;
    clone->count = self->count;
    clone->items = bb_alloc((self->item_count + 1) * sizeof *clone->items);
    for (uint32_t i = 0; i < self->item_count; i++) {
        s_item_t *item = &clone->items[i];
        *item = self->items[i];
        item->capacity = item->count;
        item->entries = bb_alloc((item->count + 1) * sizeof *item->entries);
        if (item->count > 0) {
            memcpy(item->entries, self->items[i].entries, item->count * sizeof *item->entries);
        }
    }
    clone->slots = bb_alloc((self->slot_count + 1) * sizeof *clone->slots);
    if (self->slot_count > 0) {
        memcpy(clone->slots, self->slots, self->slot_count * sizeof *clone->slots);
    }
    return clone;
}

// The item of the battery, made if there is none, in an object that nobody else holds.
static s_item_t *s_own(bb_markers_t **self, uint32_t battery)
{
    if (atomic_load_explicit(&(*self)->references, memory_order_acquire) > 1) {
        bb_markers_t *clone = s_clone(*self);
        bb_markers_release(self);
        *self = clone;
    }
    bb_markers_t *markers = *self;
    if (markers->item_count >= markers->slot_count / 2) {
        s_index(markers);
    }
    uint32_t *slot = &markers->slots[s_slot(markers, battery)];
    if (*slot == S_NONE) {
        if (markers->item_count == markers->item_capacity) {
            markers->item_capacity = markers->item_capacity ? markers->item_capacity * 2 : 8;
            markers->items =
                bb_realloc(markers->items, markers->item_capacity * sizeof *markers->items);
        }
        *slot = markers->item_count;
        markers->items[markers->item_count++] = (s_item_t){.battery = battery};
    }
    s_item_t *item = &markers->items[*slot];
    item->is_dirty = true;
    return item;
}

bool bb_markers_know(bb_markers_t **self, uint32_t battery, uint32_t generation)
{
    if (bb_markers_generation(*self, battery) >= generation) {
        return false;
    }
    s_own(self, battery)->generation = generation;
    return true;
}

// By metric, those of all last; then by time. Of two neither of which contains the other these
// differ somewhere, so the order is one of all that are kept.
static int s_compare(const bb_marker_entry_t *a, const bb_marker_entry_t *b)
{
    if (a->metric != b->metric) {
        return a->metric < b->metric ? -1 : 1;
    }
    if (a->from_wall_ns != b->from_wall_ns) {
        return a->from_wall_ns < b->from_wall_ns ? -1 : 1;
    }
    return a->to_wall_ns < b->to_wall_ns ? -1 : a->to_wall_ns > b->to_wall_ns;
}

static bool s_contains(const bb_marker_entry_t *a, const bb_marker_entry_t *b)
{
    return bb_marker_is_of(a, b->metric) && a->from_wall_ns <= b->from_wall_ns &&
           a->to_wall_ns >= b->to_wall_ns && a->generation >= b->generation;
}

bool bb_markers_add(bb_markers_t **self, uint32_t battery, const bb_marker_entry_t *marker)
{
    BB_ASSERT(marker->generation > 0 && marker->from_wall_ns < marker->to_wall_ns);
    bb_marker_list_t known = bb_markers_of(*self, battery);
    for (uint32_t i = 0; i < known.count; i++) {
        if (s_contains(&known.entries[i], marker)) {
            return false;
        }
    }
    s_item_t *item = s_own(self, battery);
    item->generation = BB_MAX(item->generation, marker->generation);
    if (item->count == item->capacity) {
        item->capacity = item->capacity ? item->capacity * 2 : 2;
        item->entries = bb_realloc(item->entries, item->capacity * sizeof *item->entries);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < item->count; i++) {
        if (!s_contains(marker, &item->entries[i])) {
            item->entries[kept++] = item->entries[i];
        }
    }
    (*self)->count += kept + 1;
    (*self)->count -= item->count;
    uint32_t at = kept;
    while (at > 0 && s_compare(&item->entries[at - 1], marker) > 0) {
        item->entries[at] = item->entries[at - 1];
        at--;
    }
    item->entries[at] = *marker;
    item->count = kept + 1;
    return true;
}

// ---- on disk ---------------------------------------------------------------------------------
void bb_markers_drain(bb_markers_t *self, bb_markers_emit_fn emit, void *context)
{
    uint8_t *record = NULL;
    for (uint32_t i = 0; i < self->item_count; i++) {
        s_item_t *item = &self->items[i];
        if (!item->is_dirty) {
            continue;
        }
        // Only the owner looks at this flag, so it may change under a reference of others.
        item->is_dirty = false;
        size_t bytes = item->count * sizeof *item->entries;
        record = bb_realloc(record, S_FIXED_BYTES + bytes);
        const uint32_t fixed[2] = {item->generation, item->count};
        memcpy(record, fixed, sizeof fixed);
        if (bytes > 0) {
            memcpy(record + S_FIXED_BYTES, item->entries, bytes);
        }
        emit(context, item->battery, bb_slice(record, S_FIXED_BYTES + bytes));
    }
    free(record);
}

bb_error_t bb_markers_load(bb_markers_t **self, uint32_t battery, bb_slice_t record,
                           bb_fault_t *fault)
{
    uint32_t fixed[2] = {0};
    if (record.length >= sizeof fixed) {
        memcpy(fixed, record.data, sizeof fixed);
    }
    if (fixed[0] == 0 || record.length != S_FIXED_BYTES + (uint64_t)fixed[1] * 24) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "markers of battery %u have %zu bytes", battery,
                            record.length);
    }
    bb_markers_know(self, battery, fixed[0]);
    for (uint32_t i = 0; i < fixed[1]; i++) {
        bb_marker_entry_t entry;
        memcpy(&entry, (const uint8_t *)record.data + S_FIXED_BYTES + i * sizeof entry,
               sizeof entry);
        if (entry.generation == 0 || entry.generation > fixed[0] ||
            entry.from_wall_ns >= entry.to_wall_ns) {
            return bb_fault_set(fault, BB_ERR_CORRUPT, "marker %u of battery %u is not valid", i,
                                battery);
        }
        bb_markers_add(self, battery, &entry);
    }
    // What is on disk need not be written.
    s_own(self, battery)->is_dirty = false;
    return BB_OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_text_table.h"

#include <stdlib.h>

void bb_text_table_init(bb_text_table_t *self)
{
    *self = (bb_text_table_t){0};
}

void bb_text_table_free(bb_text_table_t *self)
{
    free(self->slots);
    free((void *)self->sorted);
    *self = (bb_text_table_t){0};
}

void bb_text_table_clear(bb_text_table_t *self)
{
    if (self->slot_count > 0) {
        memset(self->slots, 0, (size_t)self->slot_capacity * sizeof *self->slots);
    }
    self->slot_count = 0;
    self->sorted_count = 0;
}

// The slot that holds the address, or the free one where it belongs. Where a text lands depends on
// its address, but nothing that is written does: codes come from sorting.
static bb_text_slot_t *s_slot(bb_text_slot_t *slots, uint32_t capacity, const bb_text_t *text)
{
    uint64_t hash = (uint64_t)(uintptr_t)text * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 32) & (capacity - 1);
    while (slots[at].text && slots[at].text != text) {
        at = (at + 1) & (capacity - 1);
    }
    return &slots[at];
}

static void s_grow(bb_text_table_t *self)
{
    BB_ASSERT(self->slot_capacity < UINT32_C(1) << 31);
    uint32_t capacity = self->slot_capacity == 0 ? 64 : self->slot_capacity * 2;
    bb_text_slot_t *slots = bb_alloc_zero(capacity, sizeof *slots);
    for (uint32_t i = 0; i < self->slot_capacity; i++) {
        if (self->slots[i].text) {
            *s_slot(slots, capacity, self->slots[i].text) = self->slots[i];
        }
    }
    free(self->slots);
    self->slots = slots;
    self->slot_capacity = capacity;
}

void bb_text_table_add(bb_text_table_t *self, const bb_text_t *text)
{
    BB_ASSERT(text);
    if (self->slot_count >= self->slot_capacity / 2) {
        s_grow(self);
    }
    bb_text_slot_t *slot = s_slot(self->slots, self->slot_capacity, text);
    if (!slot->text) {
        slot->text = text;
        self->slot_count++;
    }
}

static int s_compare(const void *a, const void *b)
{
    const bb_text_slot_t *const *left = a;
    const bb_text_slot_t *const *right = b;
    bb_value_t left_value = {BB_TYPE_STATE, (uintptr_t)(*left)->text};
    bb_value_t right_value = {BB_TYPE_STATE, (uintptr_t)(*right)->text};
    return bb_value_compare(0, left_value, 0, right_value);
}

void bb_text_table_sort(bb_text_table_t *self)
{
    if (self->slot_count == 0) {
        return;
    }
    bb_text_slot_t **order = bb_alloc(self->slot_count * sizeof *order);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->slot_capacity; i++) {
        if (self->slots[i].text) {
            order[count++] = &self->slots[i];
        }
    }
    BB_ASSERT(count == self->slot_count);
    qsort(order, count, sizeof(*order), s_compare);
    if (self->sorted_capacity < count) {
        self->sorted = bb_realloc((void *)self->sorted, count * sizeof *self->sorted);
        self->sorted_capacity = count;
    }
    self->sorted_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || s_compare(&order[i - 1], &order[i]) != 0) {
            self->sorted[self->sorted_count++] = order[i]->text;
        }
        order[i]->code = self->sorted_count - 1;
    }
    free(order);
}

uint32_t bb_text_table_code(const bb_text_table_t *self, const bb_text_t *text)
{
    BB_ASSERT(self->slot_capacity > 0);
    const bb_text_slot_t *slot = s_slot(self->slots, self->slot_capacity, text);
    BB_ASSERT(slot->text == text);
    return slot->code;
}

// SPDX-License-Identifier: Apache-2.0
// bb_text_table - the distinct state texts of one run, sorted; a text's position is its code.
//
// Pure memory, one thread. Many rows point to few texts, so texts are found by address first and
// compared by content only once per distinct address. Use: clear, add all, sort, then ask for
// codes.
#ifndef BB_TEXT_TABLE_H
#define BB_TEXT_TABLE_H

#include "protocol/bb_value.h"

typedef struct {
    const bb_text_t *text;
    uint32_t code;
} bb_text_slot_t;

typedef struct {
    bb_text_slot_t *slots; // open addressing by address; capacity a power of two, or 0
    uint32_t slot_capacity, slot_count;
    const bb_text_t **sorted; // distinct texts, valid after sort
    uint32_t sorted_capacity, sorted_count;
} bb_text_table_t;

void bb_text_table_init(bb_text_table_t *self);
void bb_text_table_free(bb_text_table_t *self);
void bb_text_table_clear(bb_text_table_t *self); // keeps its memory
// Borrows the text until the next clear. At most 2^30 distinct addresses (aborts).
void bb_text_table_add(bb_text_table_t *self, const bb_text_t *text);
// Sorts by bytes, shorter first on a tie: the order of bb_value_compare.
void bb_text_table_sort(bb_text_table_t *self);
// The position among the sorted texts; the address must have been added.
uint32_t bb_text_table_code(const bb_text_table_t *self, const bb_text_t *text);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_journal_dots - which dots one journal file holds, as ranges.
//
// Pure; one thread. While a file is written, a small hash table finds the last range of a
// (partition, stream), which nearly every new dot extends: constant cost, no allocation in steady
// state. Once the file is complete, _seal sorts and merges the ranges and drops the table: 24 bytes
// a range are left.
#ifndef BB_JOURNAL_DOTS_H
#define BB_JOURNAL_DOTS_H

#include "protocol/bb_have_set.h"

typedef struct {
    uint32_t partition;
    uint32_t stream_index;
    uint64_t first_seq;
    uint64_t last_seq;
} bb_journal_dot_range_t;

// Zero-initialised is empty.
typedef struct {
    bb_journal_dot_range_t *ranges;
    uint32_t range_count, range_capacity;
    bb_stream_t *streams;
    uint32_t stream_count, stream_capacity;
    uint32_t stream_hint; // index of the stream added last
    uint32_t *slots;      // range index + 1, 0 = free; NULL when sealed
    uint32_t slot_count;  // power of two, at least twice the ranges' pairs
    uint32_t slot_used;
} bb_journal_dots_t;

void bb_journal_dots_clear(bb_journal_dots_t *self); // frees everything
// No effect for the stream that has no dots.
void bb_journal_dots_add(bb_journal_dots_t *self, uint32_t partition, const bb_stream_t *stream,
                         uint64_t seq);
void bb_journal_dots_seal(bb_journal_dots_t *self);

#endif

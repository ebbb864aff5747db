// SPDX-License-Identifier: Apache-2.0
// bb_day_marks - a set of (UTC day, partition): where points came in since somebody last looked.
//
// Pure. One owner. A day costs a bit per partition; adding to the day that was added to last costs
// a comparison and a bit.
#ifndef BB_DAY_MARKS_H
#define BB_DAY_MARKS_H

#include "protocol/bb_base.h"

typedef struct {
    uint32_t day;
    uint64_t *bits; // one per partition
} bb_day_mark_t;

// A structure with partition_count set and the rest cleared is empty.
typedef struct {
    uint32_t partition_count;
    uint32_t count, capacity;
    uint32_t latest;     // index of the day that was added to last
    bb_day_mark_t *days; // ascending
} bb_day_marks_t;

void bb_day_marks_free(bb_day_marks_t *self); // empty again
void bb_day_marks_add(bb_day_marks_t *self, uint32_t day, uint32_t partition);
void bb_day_marks_add_day(bb_day_marks_t *self, uint32_t day); // all partitions
bool bb_day_marks_has(const bb_day_marks_t *self, uint32_t day, uint32_t partition);
bool bb_day_marks_has_day(const bb_day_marks_t *self, uint32_t day);
// self = self + other; equal partition counts.
void bb_day_marks_merge(bb_day_marks_t *self, const bb_day_marks_t *other);

#endif

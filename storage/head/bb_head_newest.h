// SPDX-License-Identifier: Apache-2.0
// bb_head_newest - the row of the largest time of a group of the head.
//
// Pure. On the thread that owns the generation, or anywhere once it is frozen.
#ifndef BB_HEAD_NEWEST_H
#define BB_HEAD_NEWEST_H

#include "storage/head/bb_head.h"

// Is the newest row the last one and the only one of its time? Then _value costs little.
static inline bool bb_head_newest_is_last(const bb_head_group_t *group)
{
    return group->rows.is_ascending;
}

// One value of the newest row, if it is the last; `metric` is the position in the shape.
uint64_t bb_head_newest_value(const bb_head_group_t *group, uint32_t metric);

// All values of the newest row; of several rows of that time the largest value of each metric.
// `values` has room for metric_count. Walks the group unless the newest row is the last.
void bb_head_newest_values(const bb_head_group_t *group, uint64_t *values);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_class_split - the part of a run's columns that belongs to one retention class.
//
// Pure. One thread; scratch memory is kept between runs.
#ifndef BB_CLASS_SPLIT_H
#define BB_CLASS_SPLIT_H

#include "storage/retention/bb_retention.h"
#include "storage/segment/bb_run.h"

// A cleared structure is empty.
typedef struct {
    bb_run_input_t input;
    bb_run_column_t *columns;
    uint32_t column_capacity;
    int64_t *times;
    uint64_t *values, *presence;
    size_t value_capacity, presence_capacity, time_capacity;
} bb_class_split_t;

void bb_class_split_free(bb_class_split_t *self);
// The columns of the class, without rows in which none of them has a value. NULL: nothing is left.
// `input` itself when all belongs to the class; else valid until the next call.
const bb_run_input_t *bb_class_split_take(bb_class_split_t *self, const bb_class_map_t *classes,
                                          uint32_t battery, uint32_t class_index,
                                          const bb_run_input_t *input);

#endif

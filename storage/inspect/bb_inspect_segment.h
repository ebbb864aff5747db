// SPDX-License-Identifier: Apache-2.0
// bb_inspect_segment - what segments hold, per encoding and per column: bytes, bits a value,
// statistics.
//
// One thread. Adds up over as many segments as it is given. Damage is counted and passed over; what
// verifies is in the sums.
#ifndef BB_INSPECT_SEGMENT_H
#define BB_INSPECT_SEGMENT_H

#include "storage/inspect/bb_report.h"
#include "storage/kv/bb_kv.h"
#include "storage/segment/bb_run.h"

// Encoding ids are below this (bit 7 of their byte says something else).
#define BB_INSPECT_ENCODINGS 128u

typedef struct {
    uint64_t block_count, value_count, bytes;
} bb_inspect_sum_t;

typedef struct {
    uint32_t metric;
    bb_type_t type;
    bb_inspect_sum_t sum;
    uint64_t lacking_count; // blocks that lack rows
    bool has_stats;
    uint64_t min, max; // of numbers: words of the type; STATE has none
    int64_t first_wall_ns, last_wall_ns;
} bb_inspect_column_t;

// A cleared structure is empty.
typedef struct {
    uint64_t segment_count, file_bytes, run_count, run_bytes, battery_count, point_count;
    uint64_t damaged_count;
    char first_damage[160];
    bb_inspect_sum_t times;
    bb_inspect_sum_t encodings[BB_INSPECT_ENCODINGS]; // times included
    bb_inspect_column_t *columns;                     // by (metric, type)
    uint32_t column_count, column_capacity;
} bb_inspect_segment_t;

void bb_inspect_segment_free(bb_inspect_segment_t *self);
// Adds the segment in this folder. NOT_FOUND, or what opening gave.
BB_MUST_CHECK bb_error_t bb_inspect_segment_add(bb_inspect_segment_t *self, bb_kv_driver_t *kv,
                                                const char *folder, bb_fault_t *fault);
// Objects of the report: segments, encodings, columns.
void bb_inspect_segment_report(const bb_inspect_segment_t *self, bb_report_t *report);

#endif

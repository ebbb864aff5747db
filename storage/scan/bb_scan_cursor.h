// SPDX-License-Identifier: Apache-2.0
// bb_scan_cursor - where the next page of an answer begins, in words that any replica understands.
//
// Pure. Names, not numbers: another replica may answer the next page. Bytes, little-endian:
//      0  u8 version 1    1  u8 bytes of the id   2  u8 bytes of the metric   3  u8 type, 0 = none
//      4  u32 partition   8  i64 time            16  u64 rows   24  id, then metric
// Skips everything before (partition, battery, metric, type, time). An empty metric means from the
// battery's first series on. Rows: how many the partition has given already (row_limit counts
// them).
#ifndef BB_SCAN_CURSOR_H
#define BB_SCAN_CURSOR_H

#include "protocol/bb_query.h"

typedef struct {
    bool is_set; // false: from the beginning
    uint32_t partition;
    bb_slice_t battery; // borrowed; empty: from the partition's first battery on
    bb_slice_t metric;  // borrowed
    uint32_t type;
    int64_t time_wall_ns; // 0 = from the start of the range
    uint64_t rows;
} bb_scan_cursor_t;

// `encoded` empty: not set. BB_ERR_QUERY: not a cursor. The slices point into `encoded`.
BB_MUST_CHECK bb_error_t bb_scan_cursor_decode(bb_slice_t encoded, bb_scan_cursor_t *cursor,
                                               bb_fault_t *fault);
// *out is malloc memory of the caller.
void bb_scan_cursor_encode(const bb_scan_cursor_t *cursor, uint8_t **out, size_t *out_length);

#endif

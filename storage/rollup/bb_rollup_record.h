// SPDX-License-Identifier: Apache-2.0
// bb_rollup_record - the pieces of one battery in one UTC day as bytes.
//
// Pure. A record is a run (storage/segment/bb_run.h), so that it is compressed, checksummed and
// versioned like points are. Its rows are pieces, at the time of their start; a series has a column
// for each field. The column's metric says which:
//
//   metric of the store << 7 | type << 4 | field     field: 0 count  1, 2 sum  3 min  4 max
//                                                     5 first  6 last  7 time of first
//                                                     8 time of last  9 sum in full
//
// A sum is exact: fields 1 and 2 are the low and the high word of 128 bits in units of 10^-10
// (protocol/bb_sum.h). Where that cannot say it, both are 0 and field 9, a STATE column of such
// pieces only, has the bytes of bb_sum_encode.
#ifndef BB_ROLLUP_RECORD_H
#define BB_ROLLUP_RECORD_H

#include "storage/rollup/bb_rollup_series.h"

// Metrics from here on do not fit: their pieces are not stored and always computed.
#define BB_ROLLUP_METRICS_MAX (1u << 25)

// Encodes the series of one battery (any order). The bytes are the writer's until its next call;
// an empty slice: nothing to store.
bb_slice_t bb_rollup_record_encode(bb_run_writer_t *writer, const bb_rollup_series_t *const *series,
                                   uint32_t series_count);
// Adds the pieces of a record to `set` as those of `battery`. Takes any bytes. `metric_is_taken`
// (metric_count entries) NULL = all. BB_ERR_CORRUPT, BB_ERR_FORMAT: nothing or a part was added;
// what was added is right.
BB_MUST_CHECK bb_error_t bb_rollup_record_decode(bb_slice_t record, uint32_t battery,
                                                 const bool *metric_is_taken, uint32_t metric_count,
                                                 bb_rollup_set_t *set, bb_fault_t *fault);

#endif

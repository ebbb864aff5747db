// SPDX-License-Identifier: Apache-2.0
// bb_stats - count, sum, minimum, maximum, first and last of points, the same way everywhere.
//
// Pure. A cleared bb_block_stats_t is the empty aggregate. The rules (NaN, ties) are in bb_run.h.
// Merging is commutative and associative, to the last bit.
// STATE bits are addresses of bb_text_t, which must outlive the aggregate.
#ifndef BB_STATS_H
#define BB_STATS_H

#include "storage/segment/bb_run.h"

// One point. first and last are chosen by time; at equal times the larger value wins.
void bb_stats_add(bb_block_stats_t *self, bb_type_t type, int64_t time_wall_ns, uint64_t bits);

// Both of one type. An empty side changes nothing.
void bb_stats_merge(bb_block_stats_t *self, bb_type_t type, const bb_block_stats_t *other);

// Many points of ascending times: like bb_stats_add for each row that is present (presence NULL =
// all are), but fast for numbers. At most UINT32_MAX rows.
void bb_stats_add_rows(bb_block_stats_t *self, bb_type_t type, const int64_t *times_wall_ns,
                       const uint64_t *values, const uint64_t *presence, uint32_t row_count);

// The smaller and the larger of two extremes by the rule for min and max.
uint64_t bb_stats_min(bb_type_t type, uint64_t a, uint64_t b);
uint64_t bb_stats_max(bb_type_t type, uint64_t a, uint64_t b);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_bucket_columns - buckets of decimals as columns: all that most questions need of a bucket, in
// a quarter of its bytes.
//
// Pure. One thread. Most questions want counts, sums or extremes of numbers, not first and last
// values, and most numbers are decimals of few digits. A sum of those is one integer, times 10^-10
// (protocol/bb_sum.h), and lists with the same starts merge as arrays are added up. What cannot be
// kept like that is refused, and bb_buckets goes on with whole buckets.
#ifndef BB_BUCKET_COLUMNS_H
#define BB_BUCKET_COLUMNS_H

#include "protocol/bb_query.h"
#include "storage/segment/bb_stats.h"

// Sums at hand stay below this, so that two of them never overflow.
#define BB_BUCKET_COLUMNS_SUM_LIMIT ((__int128)1 << 126)

// A cleared structure is empty and without extremes. Starts ascend.
typedef struct {
    size_t count, capacity;
    int64_t *starts_wall_ns;
    uint64_t *counts;
    __int128 *sums;    // times 10^-10
    bool has_extremes; // else mins and maxs are not touched
    uint64_t *mins, *maxs;
} bb_bucket_columns_t;

void bb_bucket_columns_free(bb_bucket_columns_t *self);
void bb_bucket_columns_clear(bb_bucket_columns_t *self, bool has_extremes);

// Adds to the last bucket, or to a new one behind it. FLOAT64, INT64 and BOOL. False, and nothing
// changed: the sum is not one of decimals, or too large.
BB_MUST_CHECK bool bb_bucket_columns_add(bb_bucket_columns_t *self, bb_type_t type,
                                         int64_t start_wall_ns, const bb_block_stats_t *stats);
// The same of totals in buckets that ascend, the first of which may be the last one at hand.
BB_MUST_CHECK bool bb_bucket_columns_add_ranges(bb_bucket_columns_t *self, bb_type_t type,
                                                const int64_t *starts_wall_ns,
                                                const bb_encoding_ranges_t *ranges, uint32_t count);
// self = self merged with other, which has extremes if self has. False, and nothing changed: a sum
// would be too large. Cost: about a nanosecond a bucket where all starts are the same.
BB_MUST_CHECK bool bb_bucket_columns_merge(bb_bucket_columns_t *self, bb_type_t type,
                                           const bb_bucket_columns_t *other);
// One bucket whole; 0 for what columns do not have.
void bb_bucket_columns_get(const bb_bucket_columns_t *self, size_t index, bb_block_stats_t *stats);

#endif

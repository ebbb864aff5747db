// SPDX-License-Identifier: Apache-2.0
// bb_buckets - the buckets of one series, filled in time order, and sums of several such lists.
//
// Pure. One thread. A bucket is named by its start: floor(time / every) * every; with every 0 there
// is one, and its start is given. Only buckets with points exist.
#ifndef BB_BUCKETS_H
#define BB_BUCKETS_H

#include "protocol/bb_query.h"
#include "storage/segment/bb_stats.h"

typedef struct {
    int64_t start_wall_ns;
    bb_block_stats_t stats;
} bb_bucket_item_t;

// A cleared structure is empty.
typedef struct {
    bb_bucket_item_t *items; // by start, unique
    size_t count, capacity;
} bb_buckets_t;

// How times map to buckets.
typedef struct {
    int64_t every_ns;     // 0 = one bucket
    int64_t from_wall_ns; // its start, then
} bb_bucket_rule_t;

void bb_buckets_free(bb_buckets_t *self);
// Points later than all that were added before.
void bb_buckets_add_points(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           const int64_t *times_wall_ns, const uint64_t *values, uint32_t count);
// Statistics of points of one bucket, later than all that were added before.
void bb_buckets_add_stats(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                          const bb_block_stats_t *stats);
// self = self merged with other, bucket by bucket. Cost: buckets of other, and of self when other
// has one that self lacks.
void bb_buckets_merge(bb_buckets_t *self, bb_type_t type, const bb_buckets_t *other);
bb_bucket_t bb_bucket_of(const bb_bucket_item_t *item);

#endif

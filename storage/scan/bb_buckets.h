// SPDX-License-Identifier: Apache-2.0
// bb_buckets - the buckets of one series, filled in time order, and sums of several such lists.
//
// Pure. One thread. A bucket is named by its start: floor(time / every) * every; with every 0 there
// is one, and its start is given. Only buckets with points exist.
//
// A list is kept as columns (bb_bucket_columns.h) while that is enough for what was asked and for
// the values that come, else as whole buckets.
#ifndef BB_BUCKETS_H
#define BB_BUCKETS_H

#include <stddef.h>

#include "protocol/bb_query.h"
#include "storage/scan/bb_bucket_columns.h"

// Lies in memory like what a page gives, so that it need not be copied.
typedef union {
    struct {
        int64_t start_wall_ns;
        bb_block_stats_t stats;
    };
    bb_bucket_t bucket;
} bb_bucket_item_t;
static_assert(sizeof(bb_bucket_item_t) == sizeof(bb_bucket_t), "an array of buckets");
static_assert(offsetof(bb_bucket_t, count) == 8 &&
                  offsetof(bb_bucket_t, sum) == 8 + offsetof(bb_block_stats_t, sum) &&
                  offsetof(bb_bucket_t, min) == 8 + offsetof(bb_block_stats_t, min) &&
                  offsetof(bb_bucket_t, max) == 8 + offsetof(bb_block_stats_t, max) &&
                  offsetof(bb_bucket_t, first_wall_ns) ==
                      8 + offsetof(bb_block_stats_t, first_wall_ns) &&
                  offsetof(bb_bucket_t, last_wall_ns) ==
                      8 + offsetof(bb_block_stats_t, last_wall_ns) &&
                  offsetof(bb_bucket_t, first) == 8 + offsetof(bb_block_stats_t, first) &&
                  offsetof(bb_bucket_t, last) == 8 + offsetof(bb_block_stats_t, last),
              "the start, then the statistics");

// A cleared structure is empty, for whole buckets.
typedef struct {
    bool is_columns;
    bb_bucket_columns_t columns; // is_columns
    bb_bucket_item_t *items;     // else: by start, unique
    size_t count, capacity;      // of items
} bb_buckets_t;

// How times map to buckets.
typedef struct {
    int64_t every_ns;     // 0 = one bucket
    int64_t from_wall_ns; // its start, then
    bool has_no_ends;     // first and last are not wanted: they and their times hold anything
    bool has_no_extremes; // the same of min and max
} bb_bucket_rule_t;

void bb_buckets_free(bb_buckets_t *self);
// Empties it, as columns if the rule and the type allow that.
void bb_buckets_begin(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type);

static inline size_t bb_buckets_count(const bb_buckets_t *self)
{
    return self->is_columns ? self->columns.count : self->count;
}

static inline int64_t bb_buckets_start(const bb_buckets_t *self, size_t index)
{
    return self->is_columns ? self->columns.starts_wall_ns[index]
                            : self->items[index].start_wall_ns;
}

// Forgets all from the count-th on.
static inline void bb_buckets_cut(bb_buckets_t *self, size_t count)
{
    *(self->is_columns ? &self->columns.count : &self->count) = count;
}

// Bytes of a bucket in a page, about.
size_t bb_buckets_page_bytes(const bb_buckets_t *self);
// From now on whole buckets.
void bb_buckets_widen(bb_buckets_t *self);
// Points later than all that were added before; ascending. `exponent`: what is known of FLOAT64
// values, as in bb_doubles_add_up. Costs about a nanosecond a number and ten a bucket.
void bb_buckets_add_points(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           uint32_t exponent, const int64_t *times_wall_ns, const uint64_t *values,
                           uint32_t count);
// Statistics of points of one bucket, later than all that were added before.
void bb_buckets_add_stats(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                          const bb_block_stats_t *stats);
// Totals of numbers in buckets that do not begin before those added before. has_no_ends only.
void bb_buckets_add_ranges(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           const int64_t *starts_wall_ns, const bb_encoding_ranges_t *ranges,
                           uint32_t count);
// self = self merged with other, bucket by bucket; other may be widened. Cost: buckets of other,
// and of self when other has one that self lacks.
void bb_buckets_merge(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                      bb_buckets_t *other);

#endif

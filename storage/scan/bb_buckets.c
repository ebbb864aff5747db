// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_buckets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "storage/encoding/bb_clones.h"

void bb_buckets_free(bb_buckets_t *self)
{
    free(self->items);
    *self = (bb_buckets_t){0};
}

static void s_reserve(bb_buckets_t *self, size_t count)
{
    if (count > self->capacity) {
        self->capacity = BB_MAX(count, self->capacity * 2);
        self->items = bb_realloc(self->items, self->capacity * sizeof *self->items);
    }
}

static int64_t s_start(bb_bucket_rule_t rule, int64_t time_wall_ns)
{
    return rule.every_ns == 0 ? rule.from_wall_ns : time_wall_ns / rule.every_ns * rule.every_ns;
}

// The same of a time that is not before the last bucket; mostly without a division.
static int64_t s_start_after(const bb_buckets_t *self, bb_bucket_rule_t rule, int64_t time_wall_ns)
{
    if (self->count > 0 && rule.every_ns != 0) {
        int64_t last = self->items[self->count - 1].start_wall_ns;
        int64_t distance = time_wall_ns - last;
        if (distance < rule.every_ns) {
            return last;
        }
        if (distance - rule.every_ns < rule.every_ns) {
            return last + rule.every_ns;
        }
    }
    return s_start(rule, time_wall_ns);
}

// The bucket with that start, which is the last one or a new last one.
static bb_block_stats_t *s_last(bb_buckets_t *self, int64_t start_wall_ns)
{
    if (self->count == 0 || self->items[self->count - 1].start_wall_ns != start_wall_ns) {
        BB_ASSERT(self->count == 0 || self->items[self->count - 1].start_wall_ns < start_wall_ns);
        s_reserve(self, self->count + 1);
        self->items[self->count++] = (bb_bucket_item_t){.start_wall_ns = start_wall_ns};
    }
    return &self->items[self->count - 1].stats;
}

// ---- numbers ---------------------------------------------------------------------------------
// No sum of 2^32 numbers below this overflows, in whatever order.
#define S_MAGNITUDE_MAX 0x1p990
#define S_LANES         4u

// Signed integers in the order of IEEE totalOrder, and back.
static inline int64_t s_ordered(uint64_t bits)
{
    return (int64_t)(bits ^ (UINT64_C(0) - (bits >> 63)) >> 1);
}

static bool s_is_plain(uint64_t bits)
{
    return fabs(bb_double_of_bits(bits)) < S_MAGNITUDE_MAX; // false for NaN
}

// Knuth's TwoSum: high + low is the sum so far; no renormalisation inside the loop.
static inline void s_sum(bb_sum_t *sum, double number)
{
    double total = sum->high + number;
    double part = total - sum->high;
    sum->low += (sum->high - (total - part)) + (number - part);
    sum->high = total;
}

// Extremes in totalOrder and the sum of a few numbers, four lanes at a time whatever the machine,
// so that it gives the same bits everywhere; up to three at the end are left. Vectors by hand:
// compilers do not see through the selection of extremes.
typedef int64_t s_integers_t __attribute__((vector_size(8 * S_LANES)));
typedef double s_doubles_t __attribute__((vector_size(8 * S_LANES)));

typedef struct {
    int64_t min[S_LANES], max[S_LANES];
    double high[S_LANES], low[S_LANES];
} s_lanes_t;

BB_CLONES
static void s_lanes_of(s_lanes_t *self, const uint64_t *values, uint32_t count)
{
    s_integers_t min = {0};
    s_integers_t max = {0};
    s_doubles_t high = {0};
    s_doubles_t low = {0};
    for (uint32_t lane = 0; lane < S_LANES; lane++) {
        min[lane] = INT64_MAX;
        max[lane] = INT64_MIN;
    }
    for (uint32_t i = 0; i + S_LANES <= count; i += S_LANES) {
        s_doubles_t number;
        s_integers_t bits;
        memcpy(&number, values + i, sizeof number);
        memcpy(&bits, values + i, sizeof bits);
        s_integers_t sign = bits < 0; // all bits or none
        s_integers_t ordered = bits ^ (sign & INT64_MAX);
        s_integers_t smaller = ordered < min;
        s_integers_t larger = ordered > max;
        min = (ordered & smaller) | (min & ~smaller);
        max = (ordered & larger) | (max & ~larger);
        s_doubles_t total = high + number;
        s_doubles_t part = total - high;
        low += (high - (total - part)) + (number - part);
        high = total;
    }
    memcpy(self->min, &min, sizeof min);
    memcpy(self->max, &max, sizeof max);
    memcpy(self->high, &high, sizeof high);
    memcpy(self->low, &low, sizeof low);
}

// Statistics of a few numbers. False: there are NaNs, infinities or enormous ones among them, for
// which the long way has rules.
static bool s_numbers(bb_block_stats_t *stats, const int64_t *times_wall_ns, const uint64_t *values,
                      uint32_t count)
{
    s_lanes_t lanes;
    s_lanes_of(&lanes, values, count);
    int64_t min = lanes.min[0];
    int64_t max = lanes.max[0];
    bb_sum_t sum = {lanes.high[0], lanes.low[0]};
    for (uint32_t lane = 1; lane < S_LANES; lane++) {
        min = BB_MIN(min, lanes.min[lane]);
        max = BB_MAX(max, lanes.max[lane]);
        s_sum(&sum, lanes.high[lane]);
        sum.low += lanes.low[lane];
    }
    for (uint32_t i = count / S_LANES * S_LANES; i < count; i++) {
        min = BB_MIN(min, s_ordered(values[i]));
        max = BB_MAX(max, s_ordered(values[i]));
        s_sum(&sum, bb_double_of_bits(values[i]));
    }
    *stats = (bb_block_stats_t){
        .count = count,
        .min = (uint64_t)s_ordered((uint64_t)min),
        .max = (uint64_t)s_ordered((uint64_t)max),
        .first_wall_ns = times_wall_ns[0],
        .last_wall_ns = times_wall_ns[count - 1],
        .first = values[0],
        .last = values[count - 1],
    };
    stats->sum.high = sum.high + sum.low;
    stats->sum.low = sum.low - (stats->sum.high - sum.high);
    // In totalOrder infinities and NaNs lie outside of everything else.
    return s_is_plain(stats->min) && s_is_plain(stats->max);
}

// Merges statistics of numbers; the common case of bb_stats_merge without its questions.
static void s_merge_numbers(bb_block_stats_t *self, const bb_block_stats_t *other)
{
    bool is_apart =
        self->first_wall_ns != other->first_wall_ns && self->last_wall_ns != other->last_wall_ns;
    if (self->count == 0 || other->count == 0 || !is_apart || !s_is_plain(self->min) ||
        !s_is_plain(self->max) || !s_is_plain(other->min) || !s_is_plain(other->max)) {
        bb_stats_merge(self, BB_TYPE_FLOAT64, other);
        return;
    }
    self->count += other->count;
    self->min = s_ordered(other->min) < s_ordered(self->min) ? other->min : self->min;
    self->max = s_ordered(other->max) > s_ordered(self->max) ? other->max : self->max;
    if (other->first_wall_ns < self->first_wall_ns) {
        self->first_wall_ns = other->first_wall_ns;
        self->first = other->first;
    }
    if (other->last_wall_ns > self->last_wall_ns) {
        self->last_wall_ns = other->last_wall_ns;
        self->last = other->last;
    }
    bb_sum_t sum = self->sum;
    s_sum(&sum, other->sum.high);
    sum.low += other->sum.low;
    double high = sum.high + sum.low;
    self->sum = (bb_sum_t){high, sum.low - (high - sum.high)};
}

static void s_merge(bb_block_stats_t *self, bb_type_t type, const bb_block_stats_t *other)
{
    if (type == BB_TYPE_FLOAT64) {
        s_merge_numbers(self, other);
    } else {
        bb_stats_merge(self, type, other);
    }
}

static void s_add_rows(bb_block_stats_t *self, bb_type_t type, const int64_t *times_wall_ns,
                       const uint64_t *values, uint32_t count)
{
    bb_block_stats_t stats;
    if (type != BB_TYPE_FLOAT64 || !s_numbers(&stats, times_wall_ns, values, count)) {
        bb_stats_add_rows(self, type, times_wall_ns, values, NULL, count);
    } else if (self->count == 0) {
        *self = stats;
    } else {
        s_merge_numbers(self, &stats);
    }
}

// The first row that is not in the bucket. `guess`: rows that it probably has. Distances are
// compared, which cannot overflow: the bucket's end can.
static uint32_t s_bucket_limit(bb_bucket_rule_t rule, int64_t start_wall_ns,
                               const int64_t *times_wall_ns, uint32_t first, uint32_t count,
                               uint32_t guess)
{
    if (rule.every_ns == 0 || times_wall_ns[count - 1] - start_wall_ns < rule.every_ns) {
        return count;
    }
    uint32_t limit = BB_MIN(first + BB_MAX(guess, 1), count - 1);
    while (times_wall_ns[limit] - start_wall_ns < rule.every_ns) {
        limit++;
    }
    while (times_wall_ns[limit - 1] - start_wall_ns >= rule.every_ns) {
        limit--;
    }
    return limit;
}

void bb_buckets_add_points(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           const int64_t *times_wall_ns, const uint64_t *values, uint32_t count)
{
    uint32_t first = 0;
    uint32_t guess = 1;
    while (first < count) {
        int64_t start = s_start_after(self, rule, times_wall_ns[first]);
        uint32_t limit = s_bucket_limit(rule, start, times_wall_ns, first, count, guess);
        s_add_rows(s_last(self, start), type, times_wall_ns + first, values + first, limit - first);
        guess = limit - first;
        first = limit;
    }
}

void bb_buckets_add_stats(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                          const bb_block_stats_t *stats)
{
    s_merge(s_last(self, s_start_after(self, rule, stats->first_wall_ns)), type, stats);
}

void bb_buckets_merge(bb_buckets_t *self, bb_type_t type, const bb_buckets_t *other)
{
    size_t fresh = 0;
    size_t i = 0;
    for (size_t j = 0; j < other->count; j++) {
        while (i < self->count && self->items[i].start_wall_ns < other->items[j].start_wall_ns) {
            i++;
        }
        if (i < self->count && self->items[i].start_wall_ns == other->items[j].start_wall_ns) {
            s_merge(&self->items[i].stats, type, &other->items[j].stats);
        } else {
            fresh++;
        }
    }
    if (fresh == 0) {
        return;
    }
    // Put the new ones in from the back.
    s_reserve(self, self->count + fresh);
    size_t to = self->count + fresh;
    size_t left = self->count;
    self->count = to;
    for (size_t j = other->count; fresh > 0; j--) {
        const bb_bucket_item_t *item = &other->items[j - 1];
        while (left > 0 && self->items[left - 1].start_wall_ns > item->start_wall_ns) {
            self->items[--to] = self->items[--left];
        }
        if (left > 0 && self->items[left - 1].start_wall_ns == item->start_wall_ns) {
            continue; // merged above
        }
        self->items[--to] = *item;
        fresh--;
    }
}

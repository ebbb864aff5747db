// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_stats.h"

#include <math.h>

static bool s_is_nan(bb_type_t type, uint64_t bits)
{
    return type == BB_TYPE_FLOAT64 && (bits & ~(UINT64_C(1) << 63)) > UINT64_C(0x7ff0000000000000);
}

static int s_compare(bb_type_t type, uint64_t a, uint64_t b)
{
    return bb_value_compare(0, (bb_value_t){type, a}, 0, (bb_value_t){type, b});
}

// The extreme of the wanted sign; a number beats any NaN.
static uint64_t s_extreme(bb_type_t type, uint64_t a, uint64_t b, int sign)
{
    bool nan_a = s_is_nan(type, a);
    if (nan_a != s_is_nan(type, b)) {
        return nan_a ? b : a;
    }
    return s_compare(type, a, b) * sign >= 0 ? a : b;
}

uint64_t bb_stats_min(bb_type_t type, uint64_t a, uint64_t b)
{
    return s_extreme(type, a, b, -1);
}

uint64_t bb_stats_max(bb_type_t type, uint64_t a, uint64_t b)
{
    return s_extreme(type, a, b, 1);
}

static void s_sum_add(bb_sum_t *sum, bb_type_t type, uint64_t bits)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        bb_sum_add(sum, bb_double_of_bits(bits));
        break;
    case BB_TYPE_INT64:
        // A double holds 53 bits: the two halves are exact.
        bb_sum_add(sum, (double)((int64_t)bits >> 32) * 0x1p32);
        bb_sum_add(sum, (double)(bits & UINT32_MAX));
        break;
    case BB_TYPE_BOOL:
        bb_sum_add(sum, (double)bits);
        break;
    case BB_TYPE_STATE:
        break;
    }
}

void bb_stats_add(bb_block_stats_t *self, bb_type_t type, int64_t time_wall_ns, uint64_t bits)
{
    bb_block_stats_t point = {
        .count = 1,
        .min = bits,
        .max = bits,
        .first_wall_ns = time_wall_ns,
        .last_wall_ns = time_wall_ns,
        .first = bits,
        .last = bits,
    };
    s_sum_add(&point.sum, type, bits);
    bb_stats_merge(self, type, &point);
}

void bb_stats_merge(bb_block_stats_t *self, bb_type_t type, const bb_block_stats_t *other)
{
    if (other->count == 0) {
        return;
    }
    if (self->count == 0) {
        *self = *other;
        return;
    }
    self->count += other->count;
    bb_sum_merge(&self->sum, other->sum);
    self->min = bb_stats_min(type, self->min, other->min);
    self->max = bb_stats_max(type, self->max, other->max);
    if (other->first_wall_ns < self->first_wall_ns ||
        (other->first_wall_ns == self->first_wall_ns &&
         s_compare(type, other->first, self->first) > 0)) {
        self->first_wall_ns = other->first_wall_ns;
        self->first = other->first;
    }
    if (other->last_wall_ns > self->last_wall_ns ||
        (other->last_wall_ns == self->last_wall_ns &&
         s_compare(type, other->last, self->last) > 0)) {
        self->last_wall_ns = other->last_wall_ns;
        self->last = other->last;
    }
}

// ---- many rows at once -----------------------------------------------------------------------

#define LANES 4u
// No sum of 2^32 numbers below this overflows, in whatever order.
#define MAGNITUDE_LIMIT 0x1p990

// Knuth's TwoSum in each lane; the rounding errors are collected beside. No renormalisation inside
// the loop: the errors of a block's worth of sums are far below what their own rounding matters.
static bb_sum_t s_sum_doubles(const uint64_t *values, uint32_t count)
{
    double high[LANES] = {0};
    double low[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            double number = bb_double_of_bits(values[i + lane]);
            double total = high[lane] + number;
            double part = total - high[lane];
            low[lane] += (high[lane] - (total - part)) + (number - part);
            high[lane] = total;
        }
    }
    bb_sum_t sum = {0};
    for (uint32_t lane = 0; lane < LANES; lane++) {
        bb_sum_add(&sum, high[lane]);
        bb_sum_add(&sum, low[lane]);
    }
    for (; i < count; i++) {
        bb_sum_add(&sum, bb_double_of_bits(values[i]));
    }
    return sum;
}

// Signed integers in the order of IEEE totalOrder, and back.
static inline int64_t s_ordered(uint64_t bits)
{
    return (int64_t)(bits ^ (UINT64_C(0) - (bits >> 63)) >> 1);
}

static bool s_add_doubles(bb_block_stats_t *stats, const uint64_t *values, uint32_t count)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int64_t ordered = s_ordered(values[i]);
        min = ordered < min ? ordered : min;
        max = ordered > max ? ordered : max;
    }
    stats->min = (uint64_t)s_ordered((uint64_t)min);
    stats->max = (uint64_t)s_ordered((uint64_t)max);
    // In totalOrder the infinities and NaNs lie outside of everything else. Whether very large
    // numbers overflow on the way depends on their order, so they go the plain way as well.
    // Comparisons with NaN are false.
    if (!(fabs(bb_double_of_bits(stats->min)) < MAGNITUDE_LIMIT) ||
        !(fabs(bb_double_of_bits(stats->max)) < MAGNITUDE_LIMIT)) {
        return false;
    }
    stats->sum = s_sum_doubles(values, count);
    return true;
}

// Halves are summed apart, exactly: 2^32 rows of 32 bits each fit in 64.
static void s_add_integers(bb_block_stats_t *stats, const uint64_t *values, uint32_t count)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    int64_t high = 0;
    uint64_t low = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t number = (int64_t)values[i];
        min = number < min ? number : min;
        max = number > max ? number : max;
        high += number >> 32;
        low += values[i] & UINT32_MAX;
    }
    stats->min = (uint64_t)min;
    stats->max = (uint64_t)max;
    // The sums may pass 53 bits when there are very many rows: split again, so all stays exact.
    s_sum_add(&stats->sum, BB_TYPE_INT64, low & INT64_MAX);
    bb_sum_add(&stats->sum, low >> 63 ? 0x1p63 : 0.0);
    bb_sum_add(&stats->sum, (double)(high >> 32) * 0x1p64);
    bb_sum_add(&stats->sum, (double)((uint64_t)high & UINT32_MAX) * 0x1p32);
}

static void s_add_bools(bb_block_stats_t *stats, const uint64_t *values, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += values[i];
    }
    stats->min = sum == count;
    stats->max = sum > 0;
    bb_sum_add(&stats->sum, (double)sum);
}

static bool s_is_present(const uint64_t *presence, uint32_t row)
{
    return !presence || (presence[row / 64] >> (row % 64) & 1);
}

void bb_stats_add_rows(bb_block_stats_t *self, bb_type_t type, const int64_t *times_wall_ns,
                       const uint64_t *values, const uint64_t *presence, uint32_t row_count)
{
    if (row_count == 0) {
        return;
    }
    bb_block_stats_t stats = {
        .count = row_count,
        .first_wall_ns = times_wall_ns[0],
        .last_wall_ns = times_wall_ns[row_count - 1],
        .first = values[0],
        .last = values[row_count - 1],
    };
    bool done = !presence && type != BB_TYPE_STATE;
    if (done && type == BB_TYPE_FLOAT64) {
        done = s_add_doubles(&stats, values, row_count);
    } else if (done && type == BB_TYPE_INT64) {
        s_add_integers(&stats, values, row_count);
    } else if (done) {
        s_add_bools(&stats, values, row_count);
    }
    if (!done) {
        stats = (bb_block_stats_t){0};
        for (uint32_t row = 0; row < row_count; row++) {
            if (s_is_present(presence, row)) {
                bb_stats_add(&stats, type, times_wall_ns[row], values[row]);
            }
        }
    }
    bb_stats_merge(self, type, &stats);
}

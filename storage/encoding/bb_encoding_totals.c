// SPDX-License-Identifier: Apache-2.0
// Totals of words that lie in an array. The vectors are the compiler's: loops without branches.
#include <math.h>

#include "storage/encoding/bb_encoding.h"

static void s_sum_add_integer(bb_sum_t *sum, uint64_t bits)
{
    // A double holds 53 bits: the two halves are exact.
    bb_sum_add(sum, (double)((int64_t)bits >> 32) * 0x1p32);
    bb_sum_add(sum, (double)(bits & UINT32_MAX));
}

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

static bool s_doubles(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int64_t ordered = s_ordered(values[i]);
        min = ordered < min ? ordered : min;
        max = ordered > max ? ordered : max;
    }
    totals->min = (uint64_t)s_ordered((uint64_t)min);
    totals->max = (uint64_t)s_ordered((uint64_t)max);
    // In totalOrder the infinities and NaNs lie outside of everything else. Whether very large
    // numbers overflow on the way depends on their order, so they go the plain way as well.
    // Comparisons with NaN are false.
    if (!(fabs(bb_double_of_bits(totals->min)) < MAGNITUDE_LIMIT) ||
        !(fabs(bb_double_of_bits(totals->max)) < MAGNITUDE_LIMIT)) {
        return false;
    }
    totals->sum = s_sum_doubles(values, count);
    return true;
}

// Halves are summed apart, exactly: 2^32 rows of 32 bits each fit in 64.
static void s_integers(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
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
    totals->min = (uint64_t)min;
    totals->max = (uint64_t)max;
    // The sums may pass 53 bits when there are very many rows: split again, so all stays exact.
    s_sum_add_integer(&totals->sum, low & INT64_MAX);
    bb_sum_add(&totals->sum, low >> 63 ? 0x1p63 : 0.0);
    bb_sum_add(&totals->sum, (double)(high >> 32) * 0x1p64);
    bb_sum_add(&totals->sum, (double)((uint64_t)high & UINT32_MAX) * 0x1p32);
}

static void s_bools(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += values[i];
    }
    totals->min = sum == count;
    totals->max = sum > 0;
    bb_sum_add(&totals->sum, (double)sum);
}

static void s_states(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    totals->min = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        totals->min = BB_MIN(totals->min, values[i]);
        totals->max = BB_MAX(totals->max, values[i]);
    }
}

static bool s_is_nan(uint64_t bits)
{
    return bits << 1 > UINT64_C(0xffe0000000000000);
}

// Doubles with NaNs, infinities or huge numbers among them, one by one.
static void s_any_doubles(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    totals->sum = (bb_sum_t){0};
    totals->min = totals->max = values[0];
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = values[i];
        bb_sum_add(&totals->sum, bb_double_of_bits(bits));
        // A number beats any NaN.
        bool beats = s_is_nan(totals->min) && !s_is_nan(bits);
        bool loses = s_is_nan(bits) && !s_is_nan(totals->min);
        if (beats || (!loses && s_ordered(bits) < s_ordered(totals->min))) {
            totals->min = bits;
        }
        if (beats || (!loses && s_ordered(bits) > s_ordered(totals->max))) {
            totals->max = bits;
        }
    }
}

void bb_encoding_totals_of(bb_type_t type, const uint64_t *words, uint32_t count,
                           bb_encoding_totals_t *totals)
{
    BB_ASSERT(count >= 1);
    *totals = (bb_encoding_totals_t){.count = count, .first = words[0], .last = words[count - 1]};
    switch (type) {
    case BB_TYPE_FLOAT64:
        if (!s_doubles(totals, words, count)) {
            s_any_doubles(totals, words, count);
        }
        break;
    case BB_TYPE_INT64:
        s_integers(totals, words, count);
        break;
    case BB_TYPE_BOOL:
        s_bools(totals, words, count);
        break;
    case BB_TYPE_STATE:
        s_states(totals, words, count);
        break;
    }
}

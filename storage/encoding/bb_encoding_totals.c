// SPDX-License-Identifier: Apache-2.0
// Totals of words that lie in an array. The vectors are the compiler's: loops without branches.
#include "storage/encoding/bb_doubles.h"
#include "storage/encoding/bb_encoding.h"

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
    bb_sum_add_scaled(&totals->sum, (__int128)high * (INT64_C(1) << 32) + low, 0);
}

static void s_bools(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += values[i];
    }
    totals->min = sum == count;
    totals->max = sum > 0;
    bb_sum_add_scaled(&totals->sum, (__int128)sum, 0);
}

static void s_states(bb_encoding_totals_t *totals, const uint64_t *values, uint32_t count)
{
    totals->min = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        totals->min = BB_MIN(totals->min, values[i]);
        totals->max = BB_MAX(totals->max, values[i]);
    }
}

void bb_encoding_totals_of(bb_type_t type, const uint64_t *words, uint32_t count,
                           bb_encoding_totals_t *totals)
{
    BB_ASSERT(count >= 1);
    *totals = (bb_encoding_totals_t){.count = count, .first = words[0], .last = words[count - 1]};
    switch (type) {
    case BB_TYPE_FLOAT64:
        bb_doubles_add_up(words, count, BB_DOUBLES_EXPONENT_UNKNOWN, &totals->min, &totals->max,
                          &totals->sum);
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

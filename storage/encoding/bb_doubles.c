// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_doubles.h"

#include <math.h>

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_decimal.h"
#include "storage/encoding/bb_rounding.h"

#define LANES 4u
// That many integers below 2^51 cannot overflow 63 bits.
#define CHUNK 2048u
static_assert(BB_DECIMAL_EXPONENT_MAX == BB_SUM_EXPONENT_MAX, "packed decimals are those of sums");
static_assert((double)BB_SUM_INTEGER_LIMIT == BB_ROUNDING_LIMIT, "rounding is right for them all");

typedef int64_t s_integers_t __attribute__((vector_size(8 * LANES)));
typedef double s_doubles_t __attribute__((vector_size(8 * LANES)));

typedef struct {
    int64_t min[LANES], max[LANES]; // in totalOrder
    int64_t sum[LANES];             // of integers
    int64_t odd[LANES];             // not 0: some word is no decimal of that exponent
} s_lanes_t;

// Signed integers in the order of IEEE totalOrder, and back.
static inline int64_t s_ordered(uint64_t bits)
{
    return (int64_t)(bits ^ (UINT64_C(0) - (bits >> 63)) >> 1);
}

// Vectors by hand: compilers do not see through the selection of extremes. Up to three words at the
// end are left.
BB_INLINE void s_run_lanes(s_lanes_t *self, const uint64_t *words, uint32_t count, double power,
                           bool has_proof)
{
    s_integers_t min = {0};
    s_integers_t max = {0};
    s_integers_t sum = {0};
    s_integers_t odd = {0};
    min += INT64_MAX;
    max += INT64_MIN;
    for (uint32_t i = 0; i + LANES <= count; i += LANES) {
        s_doubles_t number;
        s_integers_t bits;
        memcpy(&number, words + i, sizeof number);
        memcpy(&bits, words + i, sizeof bits);
        s_integers_t sign = bits < 0; // all bits or none
        s_integers_t ordered = bits ^ (sign & INT64_MAX);
        s_integers_t smaller = ordered < min;
        s_integers_t larger = ordered > max;
        min = (ordered & smaller) | (min & ~smaller);
        max = (ordered & larger) | (max & ~larger);
        s_doubles_t rounded = number * power + BB_ROUNDING_MAGIC;
        sum += (s_integers_t)rounded - (int64_t)BB_ROUNDING_MAGIC_BITS;
        if (!has_proof) {
            odd |= (rounded - BB_ROUNDING_MAGIC) / power != number;
        }
    }
    memcpy(self->min, &min, sizeof min);
    memcpy(self->max, &max, sizeof max);
    memcpy(self->sum, &sum, sizeof sum);
    memcpy(self->odd, &odd, sizeof odd);
}

BB_CLONES static void s_lanes_proved(s_lanes_t *self, const uint64_t *words, uint32_t count,
                                     double power)
{
    s_run_lanes(self, words, count, power, true);
}

BB_CLONES static void s_lanes_unproved(s_lanes_t *self, const uint64_t *words, uint32_t count,
                                       double power)
{
    s_run_lanes(self, words, count, power, false);
}

typedef struct {
    int64_t min, max, sum;
    bool is_odd;
} s_pass_t;

// One pass over at most CHUNK words. The sum means something only if all magnitudes x 10^exponent
// are below the limit.
static s_pass_t s_pass(const uint64_t *words, uint32_t count, uint32_t exponent, bool has_proof)
{
    double power = bb_decimal_power(exponent);
    s_lanes_t lanes;
    if (has_proof) {
        s_lanes_proved(&lanes, words, count, power);
    } else {
        s_lanes_unproved(&lanes, words, count, power);
    }
    s_pass_t pass = {lanes.min[0], lanes.max[0], lanes.sum[0], lanes.odd[0] != 0};
    uint64_t sum = (uint64_t)lanes.sum[0]; // garbage may wrap around
    for (uint32_t lane = 1; lane < LANES; lane++) {
        pass.min = BB_MIN(pass.min, lanes.min[lane]);
        pass.max = BB_MAX(pass.max, lanes.max[lane]);
        sum += (uint64_t)lanes.sum[lane];
        pass.is_odd |= lanes.odd[lane] != 0;
    }
    for (uint32_t i = count / LANES * LANES; i < count; i++) {
        double number = bb_double_of_bits(words[i]);
        pass.min = BB_MIN(pass.min, s_ordered(words[i]));
        pass.max = BB_MAX(pass.max, s_ordered(words[i]));
        sum += (uint64_t)bb_rounded_integer(number * power);
        pass.is_odd |= !has_proof && bb_rounded(number * power) / power != number;
    }
    pass.sum = (int64_t)sum;
    return pass;
}

static bool s_is_nan(uint64_t bits)
{
    return bits << 1 > UINT64_C(0xffe0000000000000);
}

// With NaNs or infinities among them, one by one.
static void s_extremes(const uint64_t *words, uint32_t count, uint64_t *min, uint64_t *max)
{
    *min = *max = words[0];
    for (uint32_t i = 1; i < count; i++) {
        // A number beats any NaN.
        bool beats = s_is_nan(*min) && !s_is_nan(words[i]);
        bool loses = s_is_nan(words[i]) && !s_is_nan(*min);
        if (beats || (!loses && s_ordered(words[i]) < s_ordered(*min))) {
            *min = words[i];
        }
        if (beats || (!loses && s_ordered(words[i]) > s_ordered(*max))) {
            *max = words[i];
        }
    }
}

static void s_add_chunk(const uint64_t *words, uint32_t count, uint32_t exponent, uint64_t *min,
                        uint64_t *max, bb_sum_t *sum)
{
    bool has_proof = exponent <= BB_SUM_EXPONENT_MAX;
    uint32_t tried = has_proof ? exponent : BB_SUM_EXPONENT_MAX;
    s_pass_t pass = s_pass(words, count, tried, has_proof);
    *min = (uint64_t)s_ordered((uint64_t)pass.min);
    *max = (uint64_t)s_ordered((uint64_t)pass.max);
    // In totalOrder infinities and NaNs lie outside of everything else.
    double low = fabs(bb_double_of_bits(*min));
    double high = fabs(bb_double_of_bits(*max));
    if (isfinite(low) && isfinite(high)) {
        uint32_t largest = bb_sum_exponent(BB_MAX(low, high));
        if (largest != UINT32_MAX && (has_proof ? largest < tried : largest != tried)) {
            tried = largest;
            pass = s_pass(words, count, tried, false);
        }
        if (largest != UINT32_MAX && !pass.is_odd) {
            bb_sum_add_scaled(sum, pass.sum, tried);
            return;
        }
    } else {
        s_extremes(words, count, min, max);
    }
    for (uint32_t i = 0; i < count; i++) {
        bb_sum_add(sum, bb_double_of_bits(words[i]));
    }
}

void bb_doubles_add_up(const uint64_t *words, uint32_t count, uint32_t exponent, uint64_t *min,
                       uint64_t *max, bb_sum_t *sum)
{
    BB_ASSERT(count >= 1);
    uint32_t first = BB_MIN(count, CHUNK);
    s_add_chunk(words, first, exponent, min, max, sum);
    while (first < count) {
        uint32_t taken = BB_MIN(count - first, CHUNK);
        uint64_t both[4] = {*min, *max, 0, 0};
        s_add_chunk(words + first, taken, exponent, &both[2], &both[3], sum);
        s_extremes(both, 4, min, max);
        first += taken;
    }
}

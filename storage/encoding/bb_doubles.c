// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_doubles.h"

#include <math.h>

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_decimal.h"
#include "storage/encoding/bb_rounding.h"

#define LANES 4u
static_assert(BB_DECIMAL_EXPONENT_MAX == BB_SUM_EXPONENT_MAX, "packed decimals are those of sums");
static_assert(BB_SUM_INTEGER_LIMIT == (int64_t)BB_ROUNDING_LIMIT, "rounding is right for them all");

typedef int64_t s_integers_t __attribute__((vector_size(8 * LANES)));
typedef uint64_t s_words_t __attribute__((vector_size(8 * LANES)));
typedef double s_doubles_t __attribute__((vector_size(8 * LANES)));

typedef struct {
    int64_t min, max; // in totalOrder
    int64_t sum;      // of integers; means something only if all of them are below the limit
    bool is_odd;      // some word is no decimal of that exponent
} s_pass_t;

// Signed integers in the order of IEEE totalOrder, and back.
static inline int64_t s_ordered(uint64_t bits)
{
    return (int64_t)(bits ^ (UINT64_C(0) - (bits >> 63)) >> 1);
}

// Vectors are handed on by address: how they are passed depends on the instruction set.
BB_INLINE bool s_any(const s_integers_t *mask)
{
    int64_t any = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        any |= (*mask)[lane];
    }
    return any != 0;
}

// One pass over at most BB_DOUBLES_WORDS_MAX words. Vectors by hand: compilers do not see through
// the selection of extremes. Garbage may wrap around.
BB_INLINE s_pass_t s_run(const uint64_t *words, uint32_t count, double power, bool has_proof)
{
    s_integers_t min = {0};
    s_integers_t max = {0};
    s_words_t sum = {0};
    s_integers_t odd = {0};
    min += INT64_MAX;
    max += INT64_MIN;
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
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
        sum += (s_words_t)rounded - BB_ROUNDING_MAGIC_BITS;
        if (!has_proof) {
            odd |= (rounded - BB_ROUNDING_MAGIC) / power != number;
        }
    }
    s_pass_t pass = {INT64_MAX, INT64_MIN, 0, !has_proof && s_any(&odd)};
    uint64_t total = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        pass.min = BB_MIN(pass.min, min[lane]);
        pass.max = BB_MAX(pass.max, max[lane]);
        total += sum[lane];
    }
    for (; i < count; i++) {
        double number = bb_double_of_bits(words[i]);
        pass.min = BB_MIN(pass.min, s_ordered(words[i]));
        pass.max = BB_MAX(pass.max, s_ordered(words[i]));
        total += (uint64_t)bb_rounded_integer(number * power);
        pass.is_odd |= !has_proof && bb_rounded(number * power) / power != number;
    }
    pass.sum = (int64_t)total;
    return pass;
}

BB_CLONES static s_pass_t s_run_proved(const uint64_t *words, uint32_t count, double power)
{
    return s_run(words, count, power, true);
}

BB_CLONES static s_pass_t s_run_unproved(const uint64_t *words, uint32_t count, double power)
{
    return s_run(words, count, power, false);
}

static s_pass_t s_pass(const uint64_t *words, uint32_t count, uint32_t exponent, bool has_proof)
{
    double power = bb_decimal_power(exponent);
    return has_proof ? s_run_proved(words, count, power) : s_run_unproved(words, count, power);
}

// `tried` if all integers of numbers between those two are below the limit; else the largest
// exponent for which they are; UINT32_MAX: for none, or they are not finite.
static uint32_t s_usable(uint64_t min, uint64_t max, uint32_t tried)
{
    const double limit = BB_ROUNDING_LIMIT - 0.5; // as in bb_sum_exponent
    double low = fabs(bb_double_of_bits(min));
    double high = fabs(bb_double_of_bits(max));
    // In totalOrder infinities and NaNs lie outside of everything else; no NaN is below the limit.
    if (low * bb_decimal_power(tried) < limit && high * bb_decimal_power(tried) < limit) {
        return tried;
    }
    return isfinite(low) && isfinite(high) ? bb_sum_exponent(BB_MAX(low, high)) : UINT32_MAX;
}

// ---- short parts
// ---------------------------------------------------------------------------------

BB_CLONES static bool s_run_parts(const uint64_t *words, const uint32_t *limits,
                                  uint32_t part_count, double power, bool has_proof,
                                  bb_doubles_part_t *parts)
{
    bool is_odd = false;
    uint32_t first = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        uint32_t count = limits[i] - first;
        s_pass_t pass = has_proof ? s_run(words + first, count, power, true)
                                  : s_run(words + first, count, power, false);
        is_odd |= pass.is_odd;
        parts[i].min = (uint64_t)s_ordered((uint64_t)pass.min);
        parts[i].max = (uint64_t)s_ordered((uint64_t)pass.max);
        parts[i].sum = pass.sum;
        first = limits[i];
    }
    return !is_odd;
}

bool bb_doubles_parts(const uint64_t *words, const uint32_t *limits, uint32_t part_count,
                      uint32_t *exponent, bb_doubles_part_t *parts)
{
    BB_ASSERT(part_count >= 1 && limits[part_count - 1] <= BB_DOUBLES_WORDS_MAX);
    bool has_proof = *exponent <= BB_SUM_EXPONENT_MAX;
    uint32_t tried = has_proof ? *exponent : BB_SUM_EXPONENT_MAX;
    for (uint32_t attempt = 0; attempt < 2; attempt++) {
        bool are_decimals =
            s_run_parts(words, limits, part_count, bb_decimal_power(tried), has_proof, parts);
        int64_t min = INT64_MAX;
        int64_t max = INT64_MIN;
        for (uint32_t i = 0; i < part_count; i++) {
            min = BB_MIN(min, s_ordered(parts[i].min));
            max = BB_MAX(max, s_ordered(parts[i].max));
        }
        uint32_t usable =
            s_usable((uint64_t)s_ordered((uint64_t)min), (uint64_t)s_ordered((uint64_t)max), tried);
        *exponent = tried;
        if (usable == tried || usable == UINT32_MAX) {
            return are_decimals && usable == tried;
        }
        tried = usable;
        has_proof = false;
    }
    return false;
}

// ---- binary fractions
// ----------------------------------------------------------------------------

typedef struct {
    int64_t decimals;         // integers of those that are decimals, at the largest exponent
    int64_t whole, high, low; // of the others: integer parts, next 32 binary places, 32 after those
    bool has_binary;          // there are others
    bool has_whole;           // one of them is 1 or larger
    bool has_rest;            // one has places after those
} s_mixed_t;

// The integer part, towards zero, of magnitudes below 2^51; it is added to *sum.
BB_INLINE void s_cut(const s_doubles_t *number, s_doubles_t *part, s_integers_t *sum)
{
    const s_integers_t sign_bit = (s_integers_t){0} + INT64_MIN;
    s_doubles_t nearest = (*number + BB_ROUNDING_MAGIC) - BB_ROUNDING_MAGIC;
    s_integers_t sign = (s_integers_t)*number & sign_bit;
    s_integers_t is_beyond = (s_doubles_t)((s_integers_t)nearest & ~sign_bit) >
                             (s_doubles_t)((s_integers_t)*number & ~sign_bit);
    s_integers_t one = (s_integers_t)((s_doubles_t){0} + 1.0) | sign;
    *part = nearest - (s_doubles_t)(one & is_beyond);
    *sum += (s_integers_t)(*part + BB_ROUNDING_MAGIC) - (int64_t)BB_ROUNDING_MAGIC_BITS;
}

// Numbers whose integers at the largest exponent are below the limit: then who is no decimal of it
// is none at all. Whole groups of LANES only.
BB_CLONES static s_mixed_t s_run_mixed(const uint64_t *words, uint32_t count)
{
    const double power = bb_decimal_power(BB_SUM_EXPONENT_MAX);
    s_integers_t decimals = {0};
    s_integers_t whole = {0};
    s_integers_t high = {0};
    s_integers_t low = {0};
    s_integers_t any_odd = {0};
    s_integers_t any_whole = {0};
    s_integers_t any_rest = {0};
    for (uint32_t i = 0; i + LANES <= count; i += LANES) {
        s_doubles_t number;
        memcpy(&number, words + i, sizeof number);
        s_doubles_t rounded = number * power + BB_ROUNDING_MAGIC;
        s_integers_t odd = (rounded - BB_ROUNDING_MAGIC) / power != number;
        any_odd |= odd;
        decimals += ((s_integers_t)rounded - (int64_t)BB_ROUNDING_MAGIC_BITS) & ~odd;
        number = (s_doubles_t)((s_integers_t)number & odd);
        s_doubles_t part;
        s_cut(&number, &part, &whole);
        any_whole |= part != 0.0;
        number = (number - part) * 0x1p32; // exact, as all that follows
        s_cut(&number, &part, &high);
        number = (number - part) * 0x1p32;
        s_cut(&number, &part, &low);
        any_rest |= number != part;
    }
    s_mixed_t mixed = {.has_binary = s_any(&any_odd),
                       .has_whole = s_any(&any_whole),
                       .has_rest = s_any(&any_rest)};
    for (uint32_t lane = 0; lane < LANES; lane++) {
        mixed.decimals += decimals[lane];
        mixed.whole += whole[lane];
        mixed.high += high[lane];
        mixed.low += low[lane];
    }
    return mixed;
}

// Adds numbers some of which are no decimals. `is_largest`: as s_run_mixed needs them.
static void s_add_mixed(const uint64_t *words, uint32_t count, bool is_largest, bb_sum_t *sum)
{
    uint32_t first = 0;
    if (is_largest && count >= LANES) {
        s_mixed_t mixed = s_run_mixed(words, count);
        if (!mixed.has_rest) {
            first = count / LANES * LANES;
            bb_sum_add_scaled(sum, mixed.decimals, BB_SUM_EXPONENT_MAX);
        }
        if (!mixed.has_rest && mixed.has_binary) {
            __int128 fraction = (__int128)mixed.high * (INT64_C(1) << 32) + mixed.low;
            bb_sum_add_fractions(sum, mixed.has_whole, mixed.whole, fraction);
        }
    }
    for (uint32_t i = first; i < count; i++) {
        bb_sum_add(sum, bb_double_of_bits(words[i]));
    }
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
    uint32_t usable = s_usable(*min, *max, tried);
    if (usable != tried && usable != UINT32_MAX) {
        tried = usable;
        pass = s_pass(words, count, tried, false);
    }
    if (usable != UINT32_MAX && !pass.is_odd) {
        bb_sum_add_scaled(sum, pass.sum, tried);
        return;
    }
    if (!isfinite(bb_double_of_bits(*min)) || !isfinite(bb_double_of_bits(*max))) {
        s_extremes(words, count, min, max);
    }
    s_add_mixed(words, count, usable == BB_SUM_EXPONENT_MAX, sum);
}

void bb_doubles_add_up(const uint64_t *words, uint32_t count, uint32_t exponent, uint64_t *min,
                       uint64_t *max, bb_sum_t *sum)
{
    BB_ASSERT(count >= 1);
    uint32_t first = BB_MIN(count, BB_DOUBLES_WORDS_MAX);
    s_add_chunk(words, first, exponent, min, max, sum);
    while (first < count) {
        uint32_t taken = BB_MIN(count - first, BB_DOUBLES_WORDS_MAX);
        uint64_t both[4] = {*min, *max, 0, 0};
        s_add_chunk(words + first, taken, exponent, &both[2], &both[3], sum);
        s_extremes(both, 4, min, max);
        first += taken;
    }
}

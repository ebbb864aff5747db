// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_decimal.h"

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_rounding.h"

#define SAMPLE_COUNT  32u
#define EXPONENT_NONE (BB_DECIMAL_EXPONENT_MAX + 1u)

static const double s_powers[BB_DECIMAL_EXPONENT_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5,
                                                             1e6, 1e7, 1e8, 1e9, 1e10};

// True if the word is a decimal of that exponent. The rounding of v x 10^e cannot hide the right
// integer: both errors together are below 2^-52 of a number below 2^51, that is below one half.
BB_INLINE bool s_try(uint64_t word, double power, uint64_t *integer)
{
    double scaled = bb_double_of_bits(word) * power;
    bool is_small = scaled > -BB_ROUNDING_LIMIT && scaled < BB_ROUNDING_LIMIT; // false for NaN
    *integer = (uint64_t)bb_rounded_integer(is_small ? scaled : 0.0);
    return is_small & (bb_bits_of_double(bb_double_of_integer((int64_t)*integer) / power) == word);
}

static uint32_t s_exponent_of(uint64_t word, uint32_t from)
{
    uint64_t integer;
    uint32_t exponent = from;
    while (exponent <= BB_DECIMAL_EXPONENT_MAX && !s_try(word, s_powers[exponent], &integer)) {
        exponent++;
    }
    return exponent;
}

// The smallest exponent that suits the sample, leaving aside words that are no decimals at all.
static bool s_propose(const uint64_t *words, uint32_t count, uint32_t *exponent)
{
    uint32_t taken = BB_MIN(count, SAMPLE_COUNT);
    uint32_t failed = 0;
    *exponent = 0;
    for (uint32_t i = 0; i < taken; i++) {
        uint32_t needed = s_exponent_of(words[(size_t)i * count / taken], 0);
        if (needed == EXPONENT_NONE) {
            failed++;
        } else if (needed > *exponent) {
            *exponent = needed;
        }
    }
    return failed * 4 <= taken && failed < taken;
}

// How many are no decimals of that exponent.
BB_CLONES static uint32_t s_convert_all(const uint64_t *words, uint32_t count, double power,
                                        uint64_t *integers)
{
    uint64_t exceptions = 0;
    for (uint32_t i = 0; i < count; i++) {
        exceptions += !s_try(words[i], power, &integers[i]);
    }
    return (uint32_t)exceptions;
}

static void s_convert(bb_decimals_t *self, const uint64_t *words, uint32_t count)
{
    double power = s_powers[self->exponent];
    self->exception_count = s_convert_all(words, count, power, self->integers);
    if (self->exception_count == 0) {
        return;
    }
    uint32_t exceptions = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool fits = s_try(words[i], power, &self->integers[i]);
        self->positions[exceptions] = (uint16_t)i; // overwritten unless it is an exception
        exceptions += !fits;
    }
    self->exception_count = exceptions;
}

// All are decimals of the usual exponent, and a sample shows that a smaller one would not do.
static bool s_make_usual(bb_decimals_t *self, const uint64_t *words, uint32_t count, uint32_t usual)
{
    bool is_needed = usual == 0;
    uint64_t integer;
    for (uint32_t i = 0; !is_needed && i < count; i += BB_MAX(count / SAMPLE_COUNT, 1u)) {
        is_needed = !s_try(words[i], s_powers[usual - 1], &integer);
    }
    self->exponent = usual;
    self->exception_count = 0;
    return is_needed && s_convert_all(words, count, s_powers[usual], self->integers) == 0;
}

bool bb_decimals_make(bb_decimals_t *self, const uint64_t *words, uint32_t count, uint32_t usual)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    if (usual <= BB_DECIMAL_EXPONENT_MAX && s_make_usual(self, words, count, usual)) {
        return true;
    }
    if (!s_propose(words, count, &self->exponent)) {
        return false;
    }
    s_convert(self, words, count);
    // Some of the exceptions may only need more digits than the sample showed.
    uint32_t wanted = self->exponent;
    for (uint32_t i = 0; i < self->exception_count; i++) {
        uint32_t needed = s_exponent_of(words[self->positions[i]], self->exponent + 1);
        if (needed != EXPONENT_NONE && needed > wanted) {
            wanted = needed;
        }
    }
    if (wanted > self->exponent) {
        // More digits never lose a word, unless its integer passes the bound: then compare.
        uint32_t exponent = self->exponent;
        uint32_t exceptions = self->exception_count;
        self->exponent = wanted;
        s_convert(self, words, count);
        if (self->exception_count >= exceptions) {
            self->exponent = exponent;
            s_convert(self, words, count);
        }
    }
    if (self->exception_count == count) {
        return false;
    }
    // An exception takes the integer before it, so that differences stay small; those at the
    // beginning take the first one that is a decimal.
    uint32_t leading = 0;
    while (leading < self->exception_count && self->positions[leading] == leading) {
        leading++;
    }
    for (uint32_t i = 0; i < self->exception_count; i++) {
        uint32_t at = self->positions[i];
        self->exceptions[i] = words[at];
        self->integers[at] = i < leading ? self->integers[leading] : self->integers[at - 1];
    }
    return true;
}

double bb_decimal_power(uint32_t exponent)
{
    BB_ASSERT(exponent <= BB_DECIMAL_EXPONENT_MAX);
    return s_powers[exponent];
}

BB_CLONES void bb_decimals_restore(uint32_t exponent, uint64_t *words, uint32_t count)
{
    double power = bb_decimal_power(exponent);
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bb_bits_of_double(bb_double_of_integer((int64_t)words[i]) / power);
    }
}

// Product and sum stay below 2^53 and are exact, so this is the same division.
BB_CLONES static void s_divide(double power, double start, double step, const int32_t *offsets,
                               uint32_t count, uint64_t *words)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bb_bits_of_double((start + step * (double)offsets[i]) / power);
    }
}

#if defined(__x86_64__)
// The same quotients in a third of the time. Let q = k / p lie in [2^t, 2^(t+1)) and ulp be
// 2^(t-52); k is an integer below 2^53, p = 10^e at most 10^10. The first guess is at most 1.5 ulp
// away. What is left then, k - guess x p, is a multiple of ulp / 2 and below 2 x p ulp, thus exact.
// The correction is right to 1.5 x 2^-53 ulp before the last rounding. And that rounds as q does: q
// is at least ulp / (2 x p) away from the middle between two doubles, m / 2^(53-t) with an odd m
// of 54 bits, because k x 2^(53-t) - m x p is an integer and cannot be 0: k would be 2^53 or more.
// Source: Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor"
// (1990).
__attribute__((target("avx2,fma"))) static void s_divide_fused(double power, double start,
                                                               double step, const int32_t *offsets,
                                                               uint32_t count, uint64_t *words)
{
    double inverse = 1.0 / power;
    for (uint32_t i = 0; i < count; i++) {
        double integer = start + step * (double)offsets[i];
        double guess = integer * inverse;
        double rest = __builtin_fma(-guess, power, integer);
        words[i] = bb_bits_of_double(__builtin_fma(rest, inverse, guess));
    }
}
#endif

void bb_decimals_of_offsets(uint32_t exponent, int64_t base, uint64_t scale, const int32_t *offsets,
                            uint32_t count, uint64_t *words)
{
    double power = bb_decimal_power(exponent);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        s_divide_fused(power, (double)base, (double)scale, offsets, count, words);
        return;
    }
#endif
    s_divide(power, (double)base, (double)scale, offsets, count, words);
}

BB_CLONES void bb_ordered_make(uint64_t *words, uint32_t count)
{
    // Negative doubles: larger bits are smaller numbers, so all bits but the sign turn over.
    for (uint32_t i = 0; i < count; i++) {
        words[i] ^= (UINT64_C(0) - (words[i] >> 63)) >> 1;
    }
}

void bb_ordered_restore(uint64_t *words, uint32_t count)
{
    bb_ordered_make(words, count); // its own inverse: the sign stays
}

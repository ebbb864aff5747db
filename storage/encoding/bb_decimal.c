// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_decimal.h"

#include <float.h>

#include "protocol/bb_value.h"
#include "storage/encoding/bb_encoding.h"

#define SAMPLE_COUNT  32u
#define EXPONENT_NONE (BB_ENCODING_EXPONENT_MAX + 1u)

static const double s_powers[BB_ENCODING_EXPONENT_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5,
                                                              1e6, 1e7, 1e8, 1e9, 1e10};

// 1.5 x 2^52: the doubles around it are the integers, so adding it rounds a number of magnitude
// below 2^51 to the nearest integer and leaves that in the low bits. Unlike a conversion
// instruction this is plain SSE2, which the compiler vectorises. Needs strict IEEE arithmetic.
#define MAGIC         6755399441055744.0
#define MAGIC_BITS    UINT64_C(0x4338000000000000)
#define INTEGER_LIMIT 2251799813685248.0 // 2^51
static_assert(FLT_EVAL_METHOD == 0, "doubles are computed as doubles, not wider");

static inline uint64_t s_integer_of(double scaled)
{
    return bb_bits_of_double(scaled + MAGIC) - MAGIC_BITS;
}

static inline double s_double_of(uint64_t integer)
{
    return bb_double_of_bits(integer + MAGIC_BITS) - MAGIC;
}

// True if the word is a decimal of that exponent. The rounding of v x 10^e cannot hide the right
// integer: both errors together are below 2^-52 of a number below 2^51, that is below one half.
static inline bool s_try(uint64_t word, double power, uint64_t *integer)
{
    double scaled = bb_double_of_bits(word) * power;
    bool is_small = scaled > -INTEGER_LIMIT && scaled < INTEGER_LIMIT; // false for NaN
    *integer = s_integer_of(is_small ? scaled : 0.0);
    return is_small & (bb_bits_of_double(s_double_of(*integer) / power) == word);
}

static uint32_t s_exponent_of(uint64_t word, uint32_t from)
{
    uint64_t integer;
    uint32_t exponent = from;
    while (exponent <= BB_ENCODING_EXPONENT_MAX && !s_try(word, s_powers[exponent], &integer)) {
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

static void s_convert(bb_decimals_t *self, const uint64_t *words, uint32_t count)
{
    double power = s_powers[self->exponent];
    uint32_t exceptions = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool fits = s_try(words[i], power, &self->integers[i]);
        self->positions[exceptions] = (uint16_t)i; // overwritten unless it is an exception
        exceptions += !fits;
    }
    self->exception_count = exceptions;
}

bool bb_decimals_make(bb_decimals_t *self, const uint64_t *words, uint32_t count)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
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

void bb_decimals_restore(uint32_t exponent, uint64_t *words, uint32_t count)
{
    BB_ASSERT(exponent <= BB_ENCODING_EXPONENT_MAX);
    double power = s_powers[exponent];
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bb_bits_of_double(s_double_of(words[i]) / power);
    }
}

void bb_ordered_make(uint64_t *words, uint32_t count)
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

// SPDX-License-Identifier: Apache-2.0
// bb_decimal - doubles as integers: decimals of few digits, and integers in the order of doubles.
//
// Pure. Measured values are printed with few digits: 3.712 V is the double next to 3712 / 10^3. A
// double v is a decimal of exponent e if (double)k / 10^e has the bits of v for k = round(v x
// 10^e), |k| < 2^51. Both k and 10^e are exact, IEEE division rounds correctly, so the way back is
// the same on every machine. Bits are compared: -0.0, infinities and NaN are no decimals. A decimal
// of exponent e is one of e + 1 too as long as its integer stays below the bound. Source: Afroozeh,
// Kuffo, Boncz, "ALP: Adaptive Lossless floating-Point Compression" (SIGMOD 2023); here with a
// division instead of two multiplications, which needs no second exponent.
#ifndef BB_DECIMAL_H
#define BB_DECIMAL_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

#define BB_EXPONENT_UNKNOWN UINT32_MAX

// Largest exponent of ten that is tried; all powers up to 22 are exact doubles.
#define BB_DECIMAL_EXPONENT_MAX 10u

typedef struct {
    uint32_t exponent; // [0, BB_DECIMAL_EXPONENT_MAX]
    uint32_t exception_count;
    uint64_t integers[BB_BLOCK_ROWS_MAX];   // two's complement; at an exception: the one before
    uint64_t exceptions[BB_BLOCK_ROWS_MAX]; // bits of the doubles that are no decimals
    uint16_t positions[BB_BLOCK_ROWS_MAX];  // where they are, ascending
} bb_decimals_t;

// Finds an exponent that suits most of words[0, count), count in [1, BB_BLOCK_ROWS_MAX]. False if
// more than a quarter of a sample are no decimals at all; then *self holds anything. `usual`: an
// exponent that is likely, for example that of the block before, or BB_EXPONENT_UNKNOWN; it is
// taken if all words are decimals of it and some need it.
bool bb_decimals_make(bb_decimals_t *self, const uint64_t *words, uint32_t count, uint32_t usual);

// The doubles integer / 10^exponent, where integer = base + scale x offset; base below 2^52, scale
// at most 2^20.
void bb_decimals_of_offsets(uint32_t exponent, int64_t base, uint64_t scale, const int32_t *offsets,
                            uint32_t count, uint64_t *words);
double bb_decimal_power(uint32_t exponent); // 10^exponent

// Integers become the bits of integer / 10^exponent, in place. Integers of magnitude 2^51 and above
// (which bb_decimals_make never gives) become other doubles, not errors.
void bb_decimals_restore(uint32_t exponent, uint64_t *words, uint32_t count);

// Bits of doubles become integers whose signed order is IEEE totalOrder, in place, and back.
void bb_ordered_make(uint64_t *words, uint32_t count);
void bb_ordered_restore(uint64_t *words, uint32_t count);

#endif

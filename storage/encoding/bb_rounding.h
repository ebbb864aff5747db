// SPDX-License-Identifier: Apache-2.0
// bb_rounding - doubles to the nearest integer and back without conversion instructions.
//
// Pure. 1.5 x 2^52: the doubles around it are the integers, so adding it rounds a number of size
// below 2^51 to the nearest integer (even on a tie) and leaves that in the low bits. Unlike a
// conversion of 64 bits this is plain SSE2, which the compiler vectorises. Needs strict IEEE
// arithmetic.
#ifndef BB_ROUNDING_H
#define BB_ROUNDING_H

#include <float.h>

#include "protocol/bb_value.h"

#define BB_ROUNDING_MAGIC      6755399441055744.0
#define BB_ROUNDING_MAGIC_BITS UINT64_C(0x4338000000000000)
#define BB_ROUNDING_LIMIT      2251799813685248.0 // 2^51
static_assert(FLT_EVAL_METHOD == 0, "doubles are computed as doubles, not wider");

static inline __attribute__((always_inline)) double bb_rounded(double number)
{
    return (number + BB_ROUNDING_MAGIC) - BB_ROUNDING_MAGIC;
}

static inline __attribute__((always_inline)) int64_t bb_rounded_integer(double number)
{
    return (int64_t)(bb_bits_of_double(number + BB_ROUNDING_MAGIC) - BB_ROUNDING_MAGIC_BITS);
}

// |integer| < 2^51; others give other doubles, not errors.
static inline __attribute__((always_inline)) double bb_double_of_integer(int64_t integer)
{
    return bb_double_of_bits((uint64_t)integer + BB_ROUNDING_MAGIC_BITS) - BB_ROUNDING_MAGIC;
}

#endif

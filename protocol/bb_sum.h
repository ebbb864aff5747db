// SPDX-License-Identifier: Apache-2.0
// bb_sum - the exact sum of any numbers: the same to the last bit in whatever order and groups they
// were added, rounded once, when it is read.
//
// Pure. What is added up is what people read. A FLOAT64 that is a decimal of few digits counts as
// that decimal, so 0.1 + 0.2 is 0.3; any other double counts as the binary fraction that it is:
//
//   decimal   x is the double next to k / 10^e for an integer |k| < 2^51 and some e in [0, 10]:
//             every number with at most 15 digits, at most 10 of them behind the point. All such
//             (k, e) of one x are the same number: two multiples of 10^-e that round to one double
//             lie within 2^-52 of its size, two different ones at least 2^-51 of it apart. So what
//             x counts does not depend on how it is stored.
//   binary    any other finite x, exactly, as long as no two values of one sum are 2^75 (10^22)
//             apart in size: then bits of the smaller ones may be left out, see below
//   INT64, BOOL   the integer; true is 1
//   infinities, NaN   NaN if there is one, or infinities of both signs; else the infinity
//
// A sum is integers, and additions of integers commute and associate. Decimals are one integer of
// 192 bits in units of 10^-10. Binary fractions are cut at every 64th binary place, and the pieces
// between two cuts are added up in a bin of their own of 128 bits; three bins are kept, the highest
// being that of the largest value's first bit. Which they are, and what is in them, follows from
// the set of values alone: carries never leave a bin, so leaving out what is below the lowest does
// not depend on what was added before. Bits that are left out are below 2^-128 of the largest
// value. 2^63 values of any size do not overflow.
//
// Sources: Neal, "Fast exact summation using small and large superaccumulators" (2015); Demmel,
// Nguyen, "Parallel reproducible summation" (IEEE Trans. Comput. 2015), for the bins that follow
// the largest value. -0.0 is 0, and a sum of nothing but -0.0 is 0.0.
#ifndef BB_SUM_H
#define BB_SUM_H

#include "protocol/bb_error.h"
#include "protocol/bb_value.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_SUM_DECIMAL_LIMBS 3u
#define BB_SUM_BINS          3u
#define BB_SUM_TOP_MAX       32u // of the largest double's first bit
#define BB_SUM_EXPONENT_MAX  10u
// By exponent e: how many units of 10^-10 one of 10^-e is.
extern const uint64_t bb_sum_factors[BB_SUM_EXPONENT_MAX + 1];
// Integers of decimals are below this.
#define BB_SUM_INTEGER_LIMIT (INT64_C(1) << 51)

enum {
    BB_SUM_NAN = 1,
    BB_SUM_POSITIVE_INFINITY = 2,
    BB_SUM_NEGATIVE_INFINITY = 4,
    BB_SUM_BINARY = 8, // bins and top are used; otherwise they are zero
};
#define BB_SUM_FLAGS 15u

// Cleared: the sum of nothing. Equal sets of values give equal bytes. 128 bits as two words.
typedef struct {
    uint64_t decimals[BB_SUM_DECIMAL_LIMBS]; // two's complement, lowest word first; times 10^-10
    uint64_t bins[BB_SUM_BINS][2];           // two's complement; bins[2] is number `top`
    uint32_t top;   // bin b counts multiples of 2^(64 x (b - 17)): b is at most BB_SUM_TOP_MAX
    uint32_t flags; // BB_SUM_...
} bb_sum_t;
static_assert(sizeof(bb_sum_t) == 80, "no padding: sums are compared as bytes");

// Adds a FLOAT64.
void bb_sum_add(bb_sum_t *self, double number);
// The same `count` times, count below 2^62.
void bb_sum_add_times(bb_sum_t *self, double number, uint64_t count);
// Adds integer / 10^exponent, exponent at most BB_SUM_EXPONENT_MAX: integers (exponent 0), or
// decimals of one exponent that were added up before. |integer| below 2^120.
void bb_sum_add_scaled(bb_sum_t *self, __int128 integer, uint32_t exponent);
// Adds numbers that are no decimals, all binary places of which are from 2^-64 to below 2^63: the
// sum of their integer parts (towards zero), and of what is left of them, times 2^64. has_whole:
// one of them is 1 or larger in size.
void bb_sum_add_fractions(bb_sum_t *self, bool has_whole, int64_t whole, __int128 fraction);
// Adds a number of a type; STATE adds nothing.
void bb_sum_add_value(bb_sum_t *self, bb_type_t type, uint64_t bits);
void bb_sum_merge(bb_sum_t *self, const bb_sum_t *other);
bool bb_sum_is_equal(const bb_sum_t *a, const bb_sum_t *b);

// The double next to the sum, ties to even; beyond all doubles: an infinity.
double bb_sum_value(const bb_sum_t *self);
// The double next to sum / count, rounded once as well. count >= 1.
double bb_sum_mean(const bb_sum_t *self, uint64_t count);
// True and the integer if the sum is integer / 10^exponent exactly, and |integer| below 2^120.
bool bb_sum_integer(const bb_sum_t *self, uint32_t exponent, __int128 *integer);

// The exponent at which a number of this magnitude (not negative) is a decimal if it is one at all:
// the largest that keeps its integer below the limit. UINT32_MAX: none, it is too large or NaN.
uint32_t bb_sum_exponent(double magnitude);

// As bytes:
//   flags     u8   BB_SUM_...
//   decimals  u8 length, bytes: two's complement, little-endian, as few as hold it (0: none)
//   BINARY:   u8 top, then for each bin, the lowest first: u8 length, bytes as above
#define BB_SUM_BYTES_MAX (3u + 8u * BB_SUM_DECIMAL_LIMBS + 17u * BB_SUM_BINS)
// Returns the bytes written.
size_t bb_sum_encode(const bb_sum_t *self, uint8_t out[BB_SUM_BYTES_MAX]);
// Reads one from *at and moves it. BB_ERR_CORRUPT: not as they are written. Any bytes are safe.
BB_MUST_CHECK bb_error_t bb_sum_decode(bb_sum_t *self, const uint8_t **at, const uint8_t *limit);
// False: top, flags or unused bins are not as they can be. For sums that came as a structure.
bool bb_sum_is_valid(const bb_sum_t *self);

#ifdef __cplusplus
}
#endif
#endif

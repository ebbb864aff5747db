// SPDX-License-Identifier: Apache-2.0
// bb_lanes - 256 small integers side by side in eight lanes, so that vectors pack and unpack them.
//
// Pure. An array of BB_LANES_COUNT integers is 32 rows of 8 lanes: element row x 8 + lane. Packed
// with `width` bits each, a lane is a stream of 32 x width bits, thus `width` words of 32 bits; the
// words of the eight lanes take turns. All widths have code of their own, without a branch or a
// variable shift inside.
//
//   rows      0   1   2 ... 7  | 8 ...              in lanes by columns   0  32  64 ... 224
//   in lanes  8 x row + lane, as it lies                                  1  33  65 ... 225
//
// Integers in their natural order may be taken as they lie (row i = element i), or by columns
// (row i = lane i / 32): then the neighbour of a row is below it in its lane, and running sums go
// down all lanes at once; what the lanes before add up to is added at the end.
// Sources: Lemire, Boytsov, "Decoding billions of integers per second through vectorization"
// (Software: Practice and Experience 45, 2015): SIMD-BP128; Afroozeh, Boncz, "The FastLanes
// Compression Layout" (VLDB 2023) for sums in transposed order.
#ifndef BB_LANES_H
#define BB_LANES_H

#include "protocol/bb_base.h"

#define BB_LANES_COUNT     256u
#define BB_LANES_WIDTH_MAX 32u

static inline size_t bb_lanes_bytes(uint32_t width)
{
    return (size_t)width * (BB_LANES_COUNT / 8);
}

// Every integer fits `width` bits, at most BB_LANES_WIDTH_MAX. Writes bb_lanes_bytes(width).
void bb_lanes_pack(const uint32_t *integers, uint32_t width, uint8_t *out);

// out = base + packed, modulo 2^32. Reads bb_lanes_bytes(width).
void bb_lanes_unpack(const uint8_t *packed, uint32_t width, uint32_t base, uint32_t *out);

// Natural order to columns of lanes, and back. `out` is another array.
void bb_lanes_from_rows(const uint32_t *rows, uint32_t *out);
void bb_lanes_to_rows(const uint32_t *lanes, uint32_t *rows);

// Differences by columns become running sums of their natural order, modulo 2^32, in place.
// `before`: the sum before the first. Returns the last.
uint32_t bb_lanes_integrate(uint32_t *lanes, uint32_t before);

// bb_lanes_integrate and bb_lanes_to_rows in one; `lanes` holds anything after.
uint32_t bb_lanes_integrate_rows(uint32_t *lanes, uint32_t before, uint32_t *rows);

// Minimum, maximum and sum of signed integers, in lanes until the end.
typedef struct {
    int32_t min[8], max[8];
    int64_t sum[4];
    uint32_t far[8]; // not all 0: the totals are wrong, see bb_lanes_total
} bb_lanes_totals_t;

void bb_lanes_totals_clear(bb_lanes_totals_t *totals);

// Adds all integers; their order does not matter.
void bb_lanes_add_totals(const uint32_t *integers, bb_lanes_totals_t *totals);

// bb_lanes_integrate and bb_lanes_add_totals of the sums in one pass that writes nothing.
uint32_t bb_lanes_integrate_totals(const uint32_t *lanes, uint32_t before,
                                   bb_lanes_totals_t *totals);

typedef struct {
    int32_t min, max;
    int64_t sum;
} bb_lanes_total_t;

// The lanes together; all that was added since bb_lanes_totals_clear. False: some integer, sum
// within a lane or sum before a lane was not below 2^25 in size, so that the totals may be wrong.
BB_MUST_CHECK bool bb_lanes_total(const bb_lanes_totals_t *totals, bb_lanes_total_t *total);

// The totals of any number of signed integers of any size, count >= 1.
bb_lanes_total_t bb_lanes_total_of(const int32_t *integers, uint32_t count);

// ---- fewer than 256 -------------------------------------------------------------------------
// out[i] = base + integer i of a stream that protocol/bb_bitpack.h describes, modulo 2^32; the
// stream lies in packed[0, bytes), which holds them all and of which nothing else is read. `out`
// has room for BB_LANES_COUNT, and what lies behind the integers is anything. False: spare bits of
// the stream are not zero.
BB_MUST_CHECK bool bb_lanes_unpack_short(const uint8_t *packed, size_t bytes, uint32_t count,
                                         uint32_t width, uint32_t base, uint32_t *out);

// Differences, any number of them, become running sums, modulo 2^32, in place; `rows` has room for
// a multiple of eight. `before`: the sum before the first. Returns the last.
uint32_t bb_lanes_integrate_short(uint32_t *rows, uint32_t count, uint32_t before);

#endif

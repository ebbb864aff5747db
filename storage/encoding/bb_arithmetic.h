// SPDX-License-Identifier: Apache-2.0
// bb_arithmetic - small numbers as yes-or-no questions, each in as many bits as its answer is
// surprising: an adaptive binary arithmetic coder.
//
// Pure. For columns that stand still and move now and then: how likely the next row moves is
// learned from row to row, so there is no table to pay for, and one row in a hundred that moves
// costs about an eighth of a bit a row. Reading goes row by row, several times as slowly as
// bb_entropy.h.
//
// A number is asked for like this; `yes` is answer 1:
//   is it not 0?                     context: gap, near, size
//   is it negative?                  context: signs of the two numbers before that were not 0
//   is its highest bit above bit k?  k = 0, 1, 2... until no (31 is the last); context: size, k
//   what is the bit below that?      context: place of the highest bit
//   lower bits                       as they are, from high to low
//   gap   rows that were 0 since a number that was not, at most 7
//   near  1: the last number that was not 0 came right behind another one, or in the first row
//   size  place of the highest bit of the last number that was not 0; at most 3 for the first
//         question, at most 7 for the third
// At the first row all of these are 0.
//
// Each context has a chance c of yes in units of 2^-16, at first 2^15, and the times n that it was
// asked, at most 62. After the answer it moves by 1 / (n + 2) of the way: c += ((2^16 - 1 - c) x s)
// >> 16 after yes, c -= (c x s) >> 16 after no, s = floor(2^16 / (n + 2)). So 0 < c < 2^16 forever.
//
//   bytes   a big-endian fraction; what lacks behind the last byte is 0, which it never ends with.
//           No bytes at all: every number is 0, and no question was asked
//
// Reading: range is 2^64 - 1 and code the first eight bytes. A question cuts range at
// (range >> 16) x c: code below is yes, and range what lies below; else no, and both lose that
// much. A bit as it is halves range: below is 0, else code loses that half. Then, while range is
// below 2^32, both are shifted by 32 bits and code takes in four more bytes. Sources: Rissanen,
// Langdon, "Arithmetic coding" (1979); Martin, "Range encoding" (1979), here with ranges of 64
// bits; contexts and chances in the manner of Marpe, Schwarz, Wiegand, "Context-based adaptive
// binary arithmetic coding" (2003); 1 / (n + 2) is Laplace's rule.
#ifndef BB_ARITHMETIC_H
#define BB_ARITHMETIC_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

// Writes numbers[0, count) if that takes at most bytes_max, which `out` has room for. Returns the
// bytes, at least 1 (numbers that are all 0 need none: the caller leaves them out); 0: it takes
// more. 1 <= count <= BB_BLOCK_ROWS_MAX. INT32_MIN is refused.
size_t bb_arithmetic_encode(const int32_t *numbers, uint32_t count, size_t bytes_max, uint8_t *out);

// Reads exactly `count` numbers from all of `bytes`. Any bytes are safe; false: corrupt, then
// `numbers` holds anything.
BB_MUST_CHECK bool bb_arithmetic_decode(bb_slice_t bytes, uint32_t count, int32_t *numbers);

#endif

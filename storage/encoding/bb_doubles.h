// SPDX-License-Identifier: Apache-2.0
// bb_doubles - minimum, maximum and exact sum of an array of doubles, fast where all are decimals.
//
// Pure. A decimal counts its integer (protocol/bb_sum.h): below some magnitude all decimals have
// integers at one exponent, which are found by a multiplication, proved by a division and added up
// as integers, four at a time. Anything else goes one by one.
#ifndef BB_DOUBLES_H
#define BB_DOUBLES_H

#include "protocol/bb_sum.h"

#define BB_DOUBLES_EXPONENT_UNKNOWN UINT32_MAX

// Adds words[0, count) to *sum and sets the bits of their minimum and maximum by the rules of
// blocks' statistics: NaN only among NaNs, -0.0 below 0.0. count >= 1. `exponent`: the caller knows
// that every word is the double next to k / 10^exponent for some integer k of any size, which saves
// the proof; otherwise BB_DOUBLES_EXPONENT_UNKNOWN. About 0.5 ns a word without and 0.9 with
// proof, and 6 for those that are no decimals.
void bb_doubles_add_up(const uint64_t *words, uint32_t count, uint32_t exponent, uint64_t *min,
                       uint64_t *max, bb_sum_t *sum);

#endif

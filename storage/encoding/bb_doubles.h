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
// the proof; otherwise BB_DOUBLES_EXPONENT_UNKNOWN. About 0.9 ns a word, 4 where some are no
// decimals, and up to 10 where those are also very small or large.
void bb_doubles_add_up(const uint64_t *words, uint32_t count, uint32_t exponent, uint64_t *min,
                       uint64_t *max, bb_sum_t *sum);

// The same of many short parts at once: part i is words[limits[i - 1], limits[i]), the first begins
// at 0, none is empty, and all have at most BB_DOUBLES_WORDS_MAX words together. *exponent: what is
// known, and then that of the sums. False: some word is no decimal; parts hold anything.
#define BB_DOUBLES_WORDS_MAX 2048u // integers below 2^51 then add up to less than 2^63
typedef struct {
    uint64_t min, max;
    int64_t sum; // times 10^exponent
} bb_doubles_part_t;
BB_MUST_CHECK bool bb_doubles_parts(const uint64_t *words, const uint32_t *limits,
                                    uint32_t part_count, uint32_t *exponent,
                                    bb_doubles_part_t *parts);

#endif

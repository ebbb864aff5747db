// SPDX-License-Identifier: Apache-2.0
// bb_dot_sum - which dots of one stream are meant, in 8 bytes: the sum, modulo 2^64, of a mixed
// word of each.
//
// Pure. Two sides that both know a batch compare this instead of listing its dots: who has one dot
// less, more or other than the other side has another sum, but for a chance of 2^-64. It finds
// mistakes, not malice: who may acknowledge dots may as well list them. The order of the dots does
// not matter. The words travel: they never change.
// The mixing is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom
// Number Generators", 2014), twice, over partition and seq.
#ifndef BB_DOT_SUM_H
#define BB_DOT_SUM_H

#include <stdint.h>

static inline uint64_t bb_dot_sum_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

// What the dot adds to a sum that begins at 0.
static inline uint64_t bb_dot_sum_of(uint32_t partition, uint64_t seq)
{
    return bb_dot_sum_mix(bb_dot_sum_mix(seq + UINT64_C(0x9e3779b97f4a7c15)) + partition);
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_random - the small deterministic generator that tests and simulators draw from.
//
// Pure. splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA
// 2014): one add and three mixes a number, every seed is good, a run is repeated from its seed.
#ifndef BB_RANDOM_H
#define BB_RANDOM_H

#include "protocol/bb_base.h"

typedef struct {
    uint64_t state;
} bb_random_t;

static inline bb_random_t bb_random_seed(uint64_t seed)
{
    bb_random_t random = {seed};
    return random;
}

static inline uint64_t bb_random_next(bb_random_t *self)
{
    self->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = self->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// A number in [0, limit); limit >= 1. The bias of the multiplication is below 2^-32 for the small
// limits of tests.
static inline uint64_t bb_random_below(bb_random_t *self, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)bb_random_next(self) * limit) >> 64);
}

// A number in [first, last].
static inline uint64_t bb_random_between(bb_random_t *self, uint64_t first, uint64_t last)
{
    return first + bb_random_below(self, last - first + 1);
}

// True `numerator` times out of `denominator`.
static inline bool bb_random_chance(bb_random_t *self, uint64_t numerator, uint64_t denominator)
{
    return bb_random_below(self, denominator) < numerator;
}

#endif

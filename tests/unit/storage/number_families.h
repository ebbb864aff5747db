// SPDX-License-Identifier: Apache-2.0
// number_families - random sequences of small numbers, as columns give them to the coders.
//
// For the tests of entropy coders: what both must code well. Each test adds families of its own.
#ifndef NUMBER_FAMILIES_H
#define NUMBER_FAMILIES_H

#include "tests/unit/storage/run_support.h"

// The first four; a test's own begin at NUMBERS_SHARED.
enum { NUMBERS_ZEROS, NUMBERS_RARE, NUMBERS_CLUSTERS, NUMBERS_NOISE, NUMBERS_SHARED };

// A number in [-size, size].
static inline int32_t numbers_around_zero(bb_random_t *random, uint32_t size)
{
    return (int32_t)test_below(random, 2 * size + 1) - (int32_t)size;
}

// `family` < NUMBERS_SHARED.
static inline void numbers_draw(bb_random_t *random, uint32_t family, uint32_t count,
                                int32_t *numbers)
{
    uint32_t rate = 2 + test_below(random, 200);
    uint32_t size = 1 + test_below(random, 60);
    bool is_calm = true;
    for (uint32_t i = 0; i < count; i++) {
        switch (family) {
        case NUMBERS_RARE:
            numbers[i] = test_below(random, rate) == 0 ? numbers_around_zero(random, 5000) : 0;
            break;
        case NUMBERS_CLUSTERS:
            is_calm = test_below(random, 20) == 0 ? !is_calm : is_calm;
            numbers[i] = is_calm ? 0 : numbers_around_zero(random, 30);
            break;
        case NUMBERS_NOISE:
            numbers[i] = numbers_around_zero(random, size) + numbers_around_zero(random, size) +
                         numbers_around_zero(random, size);
            break;
        default:
            numbers[i] = 0;
            break;
        }
    }
}

#endif

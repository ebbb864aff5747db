// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_divisor.h"

#define SAMPLE_COUNT 32u

static uint64_t s_gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t s_distance(uint64_t a, uint64_t b)
{
    return (int64_t)a < (int64_t)b ? b - a : a - b;
}

// A sample settles it for most.
uint64_t bb_divisor_of(const uint64_t *integers, uint32_t count)
{
    uint64_t scale = 0;
    uint32_t step = BB_MAX(count / SAMPLE_COUNT, 1u);
    for (uint32_t i = 1; i < count && scale != 1; i += step) {
        scale = s_gcd(s_distance(integers[i], integers[0]), scale);
    }
    for (uint32_t i = 1; i < count && scale > 1; i++) {
        uint64_t distance = s_distance(integers[i], integers[0]);
        if (distance % scale != 0) {
            scale = s_gcd(distance, scale);
        }
    }
    return scale == 0 ? 1 : scale;
}

// Distances that are divided without a rest: a shift, and a product with the inverse of the odd
// part modulo 2^64 (Newton's iteration doubles the bits that are right; 3 x odd ^ 2 has five).
void bb_divisor_apply(const uint64_t *integers, uint32_t count, uint64_t scale, uint64_t *offsets)
{
    uint32_t shift = (uint32_t)__builtin_ctzll(scale);
    uint64_t odd = scale >> shift;
    uint64_t inverse = 3 * odd ^ 2;
    for (uint32_t i = 0; i < 4; i++) {
        inverse *= 2 - odd * inverse;
    }
    for (uint32_t i = 0; i < count; i++) {
        // A distance may pass 2^63: the shift must bring in what belongs there.
        bool is_below = (int64_t)integers[i] < (int64_t)integers[0];
        uint64_t steps = (s_distance(integers[i], integers[0]) >> shift) * inverse;
        offsets[i] = is_below ? UINT64_C(0) - steps : steps;
    }
}

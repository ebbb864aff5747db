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

// Divides by multiplying: a shift, and a product with the inverse of the odd part modulo 2^64
// (Newton's iteration doubles the bits that are right; 3 x odd ^ 2 has five). The product is the
// quotient if there is no rest, and then it is not larger than any quotient can be; otherwise it is
// larger. Source: Warren, "Hacker's Delight" (2012), 10-16 and 10-17.
typedef struct {
    uint32_t shift;
    uint64_t inverse, quotient_max;
} s_divider_t;

static s_divider_t s_divider(uint64_t divisor)
{
    uint32_t shift = (uint32_t)__builtin_ctzll(divisor);
    uint64_t odd = divisor >> shift;
    s_divider_t divider = {shift, 3 * odd ^ 2, UINT64_MAX / odd};
    for (uint32_t i = 0; i < 4; i++) {
        divider.inverse *= 2 - odd * divider.inverse;
    }
    return divider;
}

static bool s_divides(const s_divider_t *self, uint64_t number)
{
    bool is_even = number >> self->shift << self->shift == number;
    return is_even && (number >> self->shift) * self->inverse <= self->quotient_max;
}

// A sample settles it for most.
uint64_t bb_divisor_of(const uint64_t *integers, uint32_t count)
{
    uint64_t divisor = 0;
    uint32_t step = BB_MAX(count / SAMPLE_COUNT, 1u);
    for (uint32_t i = 1; i < count && divisor != 1; i += step) {
        divisor = s_gcd(s_distance(integers[i], integers[0]), divisor);
    }
    if (divisor == 0) {
        return 1;
    }
    s_divider_t divider = s_divider(divisor);
    for (uint32_t i = 1; i < count && divisor > 1; i++) {
        uint64_t distance = s_distance(integers[i], integers[0]);
        if (!s_divides(&divider, distance)) {
            divisor = s_gcd(distance, divisor);
            divider = s_divider(divisor);
        }
    }
    return divisor;
}

void bb_divisor_apply(const uint64_t *integers, uint32_t count, uint64_t divisor, uint64_t *offsets)
{
    s_divider_t divider = s_divider(divisor);
    for (uint32_t i = 0; i < count; i++) {
        bool is_below = (int64_t)integers[i] < (int64_t)integers[0];
        uint64_t steps = (s_distance(integers[i], integers[0]) >> divider.shift) * divider.inverse;
        offsets[i] = is_below ? UINT64_C(0) - steps : steps;
    }
}

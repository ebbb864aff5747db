// SPDX-License-Identifier: Apache-2.0
// How many rounds of a random test to run: all of them; an eighth (every eighth place of a crash)
// under a sanitizer, which looks at memory and threads, not at the property, and is five to twenty
// times slower.
#ifndef BB_ROUNDS_H
#define BB_ROUNDS_H

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BB_ROUNDS_DIVISOR 8
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BB_ROUNDS_DIVISOR 8
#endif
#endif
#ifndef BB_ROUNDS_DIVISOR
#define BB_ROUNDS_DIVISOR 1
#endif

static inline uint64_t bb_rounds(uint64_t all)
{
    return (all + BB_ROUNDS_DIVISOR - 1) / BB_ROUNDS_DIVISOR;
}

#endif

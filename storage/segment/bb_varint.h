// SPDX-License-Identifier: Apache-2.0
// bb_varint - unsigned numbers in one to ten bytes, seven bits each, the lowest first (LEB128).
//
// Pure. Signed numbers are folded first, so that small ones of either sign are short: 0, -1, 1,
// -2...
#ifndef BB_VARINT_H
#define BB_VARINT_H

#include "protocol/bb_base.h"

#define BB_VARINT_BYTES_MAX 10u

// Returns the bytes written.
static inline size_t bb_varint_put(uint8_t *out, uint64_t number)
{
    size_t length = 0;
    while (number >= 0x80) {
        out[length++] = (uint8_t)number | 0x80;
        number >>= 7;
    }
    out[length++] = (uint8_t)number;
    return length;
}

// Reads at *at and moves it; false: the bytes end, or the number has more than 64 bits.
static inline bool bb_varint_get(const uint8_t **at, const uint8_t *limit, uint64_t *number)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && *at < limit; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift == 63 && byte > 1) {
            return false;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *number = value;
            return true;
        }
    }
    return false;
}

static inline uint64_t bb_varint_fold(int64_t number)
{
    return (uint64_t)number << 1 ^ (UINT64_C(0) - (uint64_t)(number < 0));
}

static inline int64_t bb_varint_unfold(uint64_t folded)
{
    return (int64_t)(folded >> 1 ^ (UINT64_C(0) - (folded & 1)));
}

#endif

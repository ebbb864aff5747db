// SPDX-License-Identifier: Apache-2.0
// bb_bitpack - unsigned integers of one width, one after the other, without gaps.
//
// Pure. Integer i takes the bits [i x width, (i + 1) x width) of the little-endian bit stream: bit
// b is bit b % 8 of byte b / 8. Spare bits of the last byte are zero.
#ifndef BB_BITPACK_H
#define BB_BITPACK_H

#include "protocol/bb_base.h"

static inline size_t bb_bitpack_bytes(uint32_t count, uint32_t width)
{
    return ((size_t)count * width + 7) / 8;
}

// Every integer fits `width` bits, 0 <= width <= 64. Writes bb_bitpack_bytes.
void bb_bitpack_pack(const uint64_t *integers, uint32_t count, uint32_t width, uint8_t *out);

// Reads bb_bitpack_bytes from `packed` and nothing behind them. False: spare bits are not zero.
bool bb_bitpack_unpack(const uint8_t *packed, uint32_t count, uint32_t width, uint64_t *out);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_bitpack.h"

#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie on disk");

// Widths up to 57 bits can be read with one unaligned load, whatever their bit offset.
#define WIDTH_ONE_LOAD_MAX 57

void bb_bitpack_pack(const uint64_t *integers, uint32_t count, uint32_t width, uint8_t *out)
{
    BB_ASSERT(width <= 64);
    uint64_t word = 0;
    uint32_t used = 0; // bits of `word`, always below 64
    for (uint32_t i = 0; width > 0 && i < count; i++) {
        BB_ASSERT_SLOW(width == 64 || integers[i] >> width == 0);
        word |= integers[i] << used;
        used += width;
        if (used >= 64) {
            memcpy(out, &word, 8);
            out += 8;
            used -= 64;
            // The high bits that did not fit; none if it ended on the boundary.
            word = used == 0 ? 0 : integers[i] >> (width - used);
        }
    }
    memcpy(out, &word, (used + 7) / 8);
}

static inline uint64_t s_load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

// Any width, any offset, reading only bytes that belong to the integer.
static uint64_t s_unpack_one(const uint8_t *packed, size_t bytes, size_t bit, uint32_t width)
{
    size_t first = bit / 8;
    uint8_t window[16] = {0};
    memcpy(window, packed + first, BB_MIN((size_t)9, bytes - first));
    uint32_t shift = bit % 8;
    uint64_t low = s_load(window) >> shift;
    uint64_t high = shift == 0 ? 0 : (uint64_t)window[8] << (64 - shift);
    uint64_t mask = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
    return (low | high) & mask;
}

bool bb_bitpack_unpack(const uint8_t *packed, uint32_t count, uint32_t width, uint64_t *out)
{
    BB_ASSERT(width <= 64);
    if (width == 0) {
        memset(out, 0, (size_t)count * 8);
        return true;
    }
    size_t bytes = bb_bitpack_bytes(count, width);
    uint32_t i = 0;
    if (width <= WIDTH_ONE_LOAD_MAX && bytes >= 8) {
        // The integers whose eight bytes lie inside: first byte <= bytes - 8.
        uint32_t inside = (uint32_t)BB_MIN((size_t)count, ((bytes - 8) * 8 + 7) / width + 1);
        uint64_t mask = (UINT64_C(1) << width) - 1;
        for (; i < inside; i++) {
            size_t bit = (size_t)i * width;
            out[i] = s_load(packed + bit / 8) >> (bit % 8) & mask;
        }
    }
    for (; i < count; i++) {
        out[i] = s_unpack_one(packed, bytes, (size_t)i * width, width);
    }
    uint32_t spare = (uint32_t)(bytes * 8 - (size_t)count * width);
    return spare == 0 || packed[bytes - 1] >> (8 - spare) == 0;
}

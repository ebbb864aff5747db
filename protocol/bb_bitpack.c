// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_bitpack.h"

#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie on disk");

// An integer of up to 57 bits can be read with one unaligned load, whatever its bit offset, and
// one of up to 56 bits can be added to the at most 7 bits that wait for the rest of their byte.
#define WIDTH_ONE_LOAD_MAX  57
#define WIDTH_ONE_STORE_MAX 56

static inline uint64_t s_load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static inline uint64_t s_mask(uint32_t width)
{
    return width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
}

// Bits that wait to be written.
typedef struct {
    uint64_t word;
    uint32_t used; // bits of `word`
} s_rest_t;

// One word at a time: any width.
static void s_pack_words(const uint64_t *integers, uint32_t count, uint32_t width, s_rest_t rest,
                         uint8_t *out)
{
    uint64_t word = rest.word;
    uint32_t used = rest.used;
    for (uint32_t i = 0; i < count; i++) {
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

void bb_bitpack_pack(const uint64_t *integers, uint32_t count, uint32_t width, uint8_t *out)
{
    BB_ASSERT(width <= 64);
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT_SLOW(integers[i] <= s_mask(width));
    }
    if (width == 0) {
        return;
    }
    s_rest_t rest = {0, 0};
    uint32_t i = 0;
    size_t bytes = bb_bitpack_bytes(count, width);
    if (width <= WIDTH_ONE_STORE_MAX && bytes >= 8) {
        // Whole words are stored without a branch, and the next one overwrites what was not full.
        const uint8_t *last = out + bytes - 8;
        for (; i < count && out <= last; i++) {
            rest.word |= integers[i] << rest.used;
            rest.used += width;
            memcpy(out, &rest.word, 8);
            out += rest.used / 8;
            rest.word >>= rest.used & ~7u;
            rest.used &= 7;
        }
    }
    s_pack_words(integers + i, count - i, width, rest, out);
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
    return (low | high) & s_mask(width);
}

// Widths of 58 and more: the bits of the ninth byte are added, without a branch.
static inline uint64_t s_load_wide(const uint8_t *at, uint32_t shift)
{
    return s_load(at) >> shift | (uint64_t)at[8] << 1 << (63 - shift);
}

// `bit`: where the first one begins. All loads lie inside.
BB_VECTOR static void s_unpack_inside(const uint8_t *packed, size_t bit, uint32_t width,
                                      uint32_t count, uint64_t *out)
{
    const uint64_t mask = s_mask(width);
    if (width <= WIDTH_ONE_LOAD_MAX) {
        for (uint32_t i = 0; i < count; i++, bit += width) {
            out[i] = s_load(packed + bit / 8) >> (bit % 8) & mask;
        }
    } else {
        for (uint32_t i = 0; i < count; i++, bit += width) {
            out[i] = s_load_wide(packed + bit / 8, bit % 8) & mask;
        }
    }
}

void bb_bitpack_unpack_range(const uint8_t *packed, size_t packed_bytes, uint32_t width,
                             uint32_t first, uint32_t count, uint64_t *out)
{
    BB_ASSERT(width <= 64);
    if (width == 0) {
        memset(out, 0, (size_t)count * 8);
        return;
    }
    size_t bit = (size_t)first * width;
    BB_ASSERT(count == 0 || (bit + (size_t)count * width + 7) / 8 <= packed_bytes);
    // Those whose load lies inside: their first byte is <= packed_bytes - load.
    size_t load = width <= WIDTH_ONE_LOAD_MAX ? 8 : 9;
    uint32_t inside = 0;
    if (packed_bytes >= load && bit < (packed_bytes - load + 1) * 8) {
        size_t room = ((packed_bytes - load + 1) * 8 - bit + width - 1) / width;
        inside = (uint32_t)BB_MIN((size_t)count, room);
    }
    s_unpack_inside(packed, bit, width, inside, out);
    if (load == 8 && packed_bytes >= 8) {
        // What begins in the last seven bytes ends in them: one window has the rest.
        const uint64_t window = s_load(packed + packed_bytes - 8);
        size_t shift = bit + (size_t)inside * width - (packed_bytes - 8) * 8;
        for (uint32_t i = inside; i < count; i++, shift += width) {
            out[i] = window >> shift & s_mask(width);
        }
        return;
    }
    for (uint32_t i = inside; i < count; i++) {
        out[i] = s_unpack_one(packed, packed_bytes, bit + (size_t)i * width, width);
    }
}

bool bb_bitpack_unpack(const uint8_t *packed, uint32_t count, uint32_t width, uint64_t *out)
{
    size_t bytes = bb_bitpack_bytes(count, width);
    bb_bitpack_unpack_range(packed, bytes, width, 0, count, out);
    uint32_t spare = (uint32_t)(bytes * 8 - (size_t)count * width);
    return spare == 0 || packed[bytes - 1] >> (8 - spare) == 0;
}

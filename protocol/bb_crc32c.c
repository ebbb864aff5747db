// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_crc32c.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "protocol/bb_crc32c_tables.inc"

static uint64_t s_load(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

uint32_t bb_crc32c_portable(uint32_t crc, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    crc = ~crc;
    for (; length >= 8; length -= 8, bytes += 8) {
        uint64_t word = s_load(bytes) ^ crc;
        crc = s_slices[7][word & 255] ^ s_slices[6][word >> 8 & 255] ^
              s_slices[5][word >> 16 & 255] ^ s_slices[4][word >> 24 & 255] ^
              s_slices[3][word >> 32 & 255] ^ s_slices[2][word >> 40 & 255] ^
              s_slices[1][word >> 48 & 255] ^ s_slices[0][word >> 56];
    }
    while (length--) {
        crc = crc >> 8 ^ s_slices[0][(crc ^ *bytes++) & 255];
    }
    return ~crc;
}

#if defined(__x86_64__)
#define S_TARGET __attribute__((target("sse4.2,pclmul")))

// Words of 8 bytes in each of three lanes; twice as many have a power in the table.
#define S_LANE_WORDS_MAX 64u
// Fewer are faster one after the other.
#define S_LANE_WORDS_MIN 4u

// A CRC times x^(64 words - 33): the CRC instruction, which multiplies by x^32, makes of it the CRC
// after `words` words of zeros (a reflected product is one power short).
S_TARGET static inline uint64_t s_shifted(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc),
                                           _mm_cvtsi32_si128((int32_t)s_powers[words]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

// Three independent lanes hide the latency of the instruction; their CRCs are joined at the end.
S_TARGET static uint64_t s_lanes(uint64_t a, const uint8_t *bytes, size_t words)
{
    uint64_t b = 0, c = 0;
    for (size_t i = 0; i < words; i++) {
        a = _mm_crc32_u64(a, s_load(bytes + 8 * i));
        b = _mm_crc32_u64(b, s_load(bytes + 8 * (words + i)));
        c = _mm_crc32_u64(c, s_load(bytes + 8 * (2 * words + i)));
    }
    return c ^ _mm_crc32_u64(0, s_shifted(a, 2 * words) ^ s_shifted(b, words));
}

S_TARGET static uint32_t s_crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t length)
{
    uint64_t a = ~crc;
    for (size_t words = length / 24; words >= S_LANE_WORDS_MIN; words = length / 24) {
        words = words < S_LANE_WORDS_MAX ? words : S_LANE_WORDS_MAX;
        a = s_lanes(a, bytes, words);
        bytes += 24 * words;
        length -= 24 * words;
    }
    for (; length >= 8; length -= 8, bytes += 8) {
        a = _mm_crc32_u64(a, s_load(bytes));
    }
    uint32_t rest = (uint32_t)a;
    if (length & 4) {
        uint32_t word;
        memcpy(&word, bytes, sizeof word);
        rest = _mm_crc32_u32(rest, word);
        bytes += 4;
    }
    for (length &= 3; length > 0; length--) {
        rest = _mm_crc32_u8(rest, *bytes++);
    }
    return ~rest;
}
#endif

uint32_t bb_crc32c(uint32_t crc, const void *data, size_t length)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        return s_crc32c_sse42(crc, data, length);
    }
#endif
    return bb_crc32c_portable(crc, data, length);
}

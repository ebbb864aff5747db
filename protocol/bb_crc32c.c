// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_crc32c.h"

#include <string.h>

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
static uint32_t s_shift(const uint32_t table[4][256], uint32_t crc)
{
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^
           table[3][crc >> 24];
}

#define S_LANE_BYTES 1024

// Three independent lanes hide the latency of the instruction; their CRCs are joined at the end.
__attribute__((target("sse4.2"))) static uint32_t s_crc32c_sse42(uint32_t crc, const uint8_t *bytes,
                                                                 size_t length)
{
    uint64_t a = ~crc;
    for (; length >= 3 * S_LANE_BYTES; length -= 3 * S_LANE_BYTES) {
        uint64_t b = 0, c = 0;
        for (size_t i = 0; i < S_LANE_BYTES; i += 8) {
            a = __builtin_ia32_crc32di(a, s_load(bytes + i));
            b = __builtin_ia32_crc32di(b, s_load(bytes + S_LANE_BYTES + i));
            c = __builtin_ia32_crc32di(c, s_load(bytes + 2 * S_LANE_BYTES + i));
        }
        a = s_shift(s_shift_2048, (uint32_t)a) ^ s_shift(s_shift_1024, (uint32_t)b) ^ c;
        bytes += 3 * S_LANE_BYTES;
    }
    for (; length >= 8; length -= 8, bytes += 8) {
        a = __builtin_ia32_crc32di(a, s_load(bytes));
    }
    while (length--) {
        a = __builtin_ia32_crc32qi((uint32_t)a, *bytes++);
    }
    return ~(uint32_t)a;
}
#endif

uint32_t bb_crc32c(uint32_t crc, const void *data, size_t length)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return s_crc32c_sse42(crc, data, length);
    }
#endif
    return bb_crc32c_portable(crc, data, length);
}

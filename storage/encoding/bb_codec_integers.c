// SPDX-License-Identifier: Apache-2.0
// Words packed as integers; doubles in the order of IEEE totalOrder, or as float32 numbers.
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"

#define ALL_ORDERS 7u

size_t bb_codec_integers_encode(bb_packer_t *packer, bb_encoding_kind_t kind, const uint64_t *words,
                                uint32_t count, uint8_t *out)
{
    if (kind == BB_ENCODING_INTEGER) {
        return bb_packed_encode(packer, words, count, ALL_ORDERS, true, out);
    }
    uint64_t ordered[BB_BLOCK_ROWS_MAX];
    memcpy(ordered, words, (size_t)count * 8);
    bb_ordered_make(ordered, count);
    return bb_packed_encode(packer, ordered, count, ALL_ORDERS, true, out);
}

bool bb_codec_integers_decode(const bb_codec_block_t *block, uint64_t *out)
{
    bb_packed_t packed;
    if (!bb_packed_open(&packed, block->encoded, block->count) ||
        !bb_packed_integers(&packed, out)) {
        return false;
    }
    if (block->kind == BB_ENCODING_FLOAT64) {
        bb_ordered_restore(out, block->count);
    }
    return true;
}

bool bb_codec_integers_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals)
{
    bb_packed_t packed;
    bb_packed_totals_t sums;
    // Sums of ordered doubles mean nothing; large bases would not be exact.
    if (block->kind != BB_ENCODING_INTEGER ||
        !bb_packed_open(&packed, block->encoded, block->count) || !bb_packed_is_plain(&packed) ||
        !bb_packed_totals(&packed, &sums)) {
        return false;
    }
    int64_t base = (int64_t)packed.base;
    int64_t scale = (int64_t)packed.scale;
    *totals = (bb_codec_totals_t){
        .min = base + scale * sums.min,
        .max = base + scale * sums.max,
        .first = base + scale * sums.first,
        .last = base + scale * sums.last,
        .sum = base * block->count + scale * sums.sum,
    };
    return true;
}

bool bb_codec_integers_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers)
{
    bb_packed_t packed;
    if (block->kind != BB_ENCODING_INTEGER ||
        !bb_packed_open(&packed, block->encoded, block->count) || !bb_packed_is_plain(&packed)) {
        return false;
    }
    numbers->exponent = 0;
    numbers->base = (int64_t)packed.base;
    numbers->scale = (int64_t)packed.scale;
    return bb_packed_offsets(&packed, numbers->offsets);
}

// ---- floats -------------------------------------------------------------------------------------

// Bits of a float32 as a signed integer in the order of the numbers; its own inverse.
static uint32_t s_ordered(uint32_t bits)
{
    return bits ^ (0u - (bits >> 31)) >> 1;
}

static uint64_t s_widen(uint32_t bits)
{
    float narrow;
    memcpy(&narrow, &bits, sizeof narrow);
    return bb_bits_of_double((double)narrow);
}

size_t bb_codec_floats_encode(bb_packer_t *packer, const uint64_t *words, uint32_t count,
                              uint8_t *out)
{
    uint64_t integers[BB_BLOCK_ROWS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        double number = bb_double_of_bits(words[i]);
        // Out of the range of float32 a conversion is undefined; NaN is compared below.
        if (number > 3.4e38 || number < -3.4e38) {
            return 0;
        }
        float narrow = (float)number;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        if (s_widen(bits) != words[i]) {
            return 0;
        }
        integers[i] = (uint64_t)(int64_t)(int32_t)s_ordered(bits);
    }
    return bb_packed_encode(packer, integers, count, ALL_ORDERS, true, out);
}

bool bb_codec_floats_decode(const bb_codec_block_t *block, uint64_t *out)
{
    bb_packed_t packed;
    if (!bb_packed_open(&packed, block->encoded, block->count) ||
        !bb_packed_integers(&packed, out)) {
        return false;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        out[i] = s_widen(s_ordered((uint32_t)out[i]));
    }
    return true;
}

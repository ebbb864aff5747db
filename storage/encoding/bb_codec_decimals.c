// SPDX-License-Identifier: Apache-2.0
// Doubles of few digits as integers, packed. Source: ALP (bb_decimal.h).
#include "storage/encoding/bb_codec.h"

#define FLAG_EXCEPTIONS 0x80u
#define ALL_ORDERS      7u

uint8_t *bb_codec_put_exceptions(const bb_decimals_t *decimals, uint8_t *at)
{
    at = bb_put_varint(at, decimals->exception_count);
    uint32_t row = 0;
    for (uint32_t i = 0; i < decimals->exception_count; i++) {
        at = bb_put_varint(at, decimals->positions[i] - row);
        at = bb_put_fixed(at, decimals->exceptions[i], 8);
        row = decimals->positions[i] + 1u;
    }
    return at;
}

// Reads the list and, unless `out` is NULL, overwrites those rows.
static bool s_exceptions(bb_reader_t *reader, uint32_t count, uint64_t *out)
{
    uint64_t exception_count = bb_reader_varint(reader);
    uint64_t row = 0;
    if (exception_count == 0 || exception_count > count) {
        return false;
    }
    for (uint64_t i = 0; i < exception_count; i++, row++) {
        uint64_t gap = bb_reader_varint(reader);
        uint64_t word = bb_reader_fixed(reader, 8);
        if (reader->failed || gap >= count - row) {
            return false;
        }
        row += gap;
        if (out) {
            out[row] = word;
        }
        if (row + 1 == count && i + 1 < exception_count) {
            return false;
        }
    }
    return true;
}

bool bb_codec_skip_exceptions(bb_reader_t *reader, uint32_t count)
{
    return s_exceptions(reader, count, NULL);
}

bool bb_codec_apply_exceptions(bb_reader_t *reader, uint32_t count, uint64_t *out)
{
    return s_exceptions(reader, count, out);
}

size_t bb_codec_decimals_encode(bb_packer_t *packer, const bb_decimals_t *decimals, uint32_t count,
                                uint8_t *out)
{
    uint8_t *at = out;
    *at++ = (uint8_t)(decimals->exponent | (decimals->exception_count > 0 ? FLAG_EXCEPTIONS : 0));
    if (decimals->exception_count > 0) {
        at = bb_codec_put_exceptions(decimals, at);
    }
    at += bb_packed_encode(packer, decimals->integers, count, ALL_ORDERS, true, at);
    return (size_t)(at - out);
}

size_t bb_codec_decimals_encode_same(const bb_packer_t *packer, const bb_decimals_t *decimals,
                                     uint32_t count, uint8_t *out)
{
    BB_ASSERT(decimals->exception_count == 0);
    out[0] = (uint8_t)decimals->exponent;
    return 1 + bb_packed_encode_same(packer, decimals->integers[0], count, out + 1);
}

typedef struct {
    uint32_t exponent;
    bool has_exceptions;
    bb_reader_t exceptions;
    bb_packed_t packed;
} s_decimals_t;

static bool s_open(s_decimals_t *self, const bb_codec_block_t *block)
{
    bb_reader_t reader = bb_reader(block->encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    self->exponent = head & ~FLAG_EXCEPTIONS;
    self->has_exceptions = head & FLAG_EXCEPTIONS;
    self->exceptions = reader;
    if (reader.failed || block->kind != BB_ENCODING_FLOAT64 ||
        self->exponent > BB_DECIMAL_EXPONENT_MAX ||
        (self->has_exceptions && !bb_codec_skip_exceptions(&reader, block->count))) {
        return false;
    }
    return bb_packed_open(&self->packed, bb_slice(reader.at, bb_reader_left(&reader)),
                          block->count);
}

bool bb_codec_decimals_decode(const bb_codec_block_t *block, uint64_t *out)
{
    s_decimals_t self;
    if (!s_open(&self, block)) {
        return false;
    }
    if (bb_packed_is_plain(&self.packed)) {
        int32_t offsets[BB_BLOCK_ROWS_MAX];
        if (!bb_packed_offsets(&self.packed, offsets)) {
            return false;
        }
        bb_decimals_of_offsets(self.exponent, (int64_t)self.packed.base, self.packed.scale, offsets,
                               block->count, out);
    } else {
        if (!bb_packed_integers(&self.packed, out)) {
            return false;
        }
        bb_decimals_restore(self.exponent, out, block->count);
    }
    return !self.has_exceptions || bb_codec_apply_exceptions(&self.exceptions, block->count, out);
}

bool bb_codec_decimals_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals)
{
    s_decimals_t self;
    bb_packed_totals_t sums;
    if (!s_open(&self, block) || self.has_exceptions || !bb_packed_is_plain(&self.packed) ||
        !bb_packed_totals(&self.packed, &sums)) {
        return false;
    }
    int64_t base = (int64_t)self.packed.base;
    int64_t scale = (int64_t)self.packed.scale;
    *totals = (bb_codec_totals_t){
        .exponent = self.exponent,
        .min = base + scale * sums.min,
        .max = base + scale * sums.max,
        .first = base + scale * sums.first,
        .last = base + scale * sums.last,
        .sum = base * block->count + scale * sums.sum,
    };
    return true;
}

uint32_t bb_codec_decimals_exponent(bb_slice_t encoded)
{
    bb_reader_t reader = bb_reader(encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    return reader.failed || head & FLAG_EXCEPTIONS ? UINT32_MAX : head;
}

bool bb_codec_decimals_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers)
{
    s_decimals_t self;
    if (!s_open(&self, block) || self.has_exceptions || !bb_packed_is_plain(&self.packed)) {
        return false;
    }
    numbers->exponent = self.exponent;
    numbers->base = (int64_t)self.packed.base;
    numbers->scale = (int64_t)self.packed.scale;
    return bb_packed_offsets(&self.packed, numbers->offsets);
}

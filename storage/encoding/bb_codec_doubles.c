// SPDX-License-Identifier: Apache-2.0
// Doubles that are no decimals: measured by computing. Two ways, the smaller one wins.
#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_codec.h"

// ---- xor ----------------------------------------------------------------------------------------
//
// What changes from word to word is a window of bits in the middle. A stream of bits, low ones of
// each byte first: the first word (64 bits); then for each word x = word ^ word before:
//   0                                            x is 0
//   1 0  bits                                    x lies in the window before; its bits
//   1 1  leading zeros (6)  length - 1 (6)  bits a new window
// Source: Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015).

typedef struct {
    uint8_t *at;
    uint64_t word;
    uint32_t used; // bits of word, below 64
} s_bits_t;

static void s_put(s_bits_t *self, uint64_t bits, uint32_t count)
{
    self->word |= bits << self->used;
    if (self->used + count < 64) {
        self->used += count;
        return;
    }
    self->at = bb_put_fixed(self->at, self->word, 8);
    uint32_t taken = 64 - self->used;
    self->word = taken == 64 ? 0 : bits >> taken;
    self->used = count - taken;
}

size_t bb_codec_xor_encode(const uint64_t *words, uint32_t count, uint8_t *out)
{
    s_bits_t bits = {.at = out};
    s_put(&bits, words[0], 64);
    uint32_t leading = 64;
    uint32_t length = 0;
    for (uint32_t i = 1; i < count; i++) {
        uint64_t x = words[i] ^ words[i - 1];
        if (x == 0) {
            s_put(&bits, 0, 1);
            continue;
        }
        uint32_t next_leading = (uint32_t)__builtin_clzll(x);
        uint32_t trailing = (uint32_t)__builtin_ctzll(x);
        bool fits = length > 0 && next_leading >= leading && trailing >= 64 - leading - length;
        // A window that is much too wide is given up: a new one costs 12 bits.
        if (fits && length < 64 - next_leading - trailing + 12) {
            s_put(&bits, 1, 2);
        } else {
            leading = next_leading;
            length = 64 - leading - trailing;
            s_put(&bits, 3 | leading << 2 | (length - 1) << 8, 14);
        }
        s_put(&bits, x >> (64 - leading - length), length);
    }
    return (size_t)(bb_put_fixed(bits.at, bits.word, (bits.used + 7) / 8) - out);
}

typedef struct {
    const uint8_t *bytes;
    size_t length, bit;
    bool failed;
} s_source_t;

static uint64_t s_get(s_source_t *self, uint32_t count)
{
    if (self->failed || self->length * 8 - self->bit < count) {
        self->failed = true;
        return 0;
    }
    uint64_t bits = 0;
    for (uint32_t taken = 0; taken < count;) {
        uint32_t shift = (uint32_t)(self->bit % 8);
        uint64_t byte = self->bytes[self->bit / 8] >> shift;
        uint32_t part = BB_MIN(8 - shift, count - taken);
        bits |= (byte & ((1u << part) - 1)) << taken;
        taken += part;
        self->bit += part;
    }
    return bits;
}

bool bb_codec_xor_decode(const bb_codec_block_t *block, uint64_t *out)
{
    s_source_t source = {.bytes = block->encoded.data, .length = block->encoded.length};
    out[0] = s_get(&source, 64);
    uint32_t leading = 64;
    uint32_t length = 0;
    for (uint32_t i = 1; i < block->count; i++) {
        out[i] = out[i - 1];
        if (s_get(&source, 1) == 0) {
            continue;
        }
        if (s_get(&source, 1) == 1) {
            leading = (uint32_t)s_get(&source, 6);
            length = (uint32_t)s_get(&source, 6) + 1;
        }
        if (length == 0 || leading + length > 64) {
            return false;
        }
        out[i] ^= s_get(&source, length) << (64 - leading - length);
    }
    size_t spare = source.length * 8 - source.bit;
    return !source.failed && spare < 8 && s_get(&source, (uint32_t)spare) == 0;
}

// ---- split --------------------------------------------------------------------------------------
//
// Sign, exponent and the first bits of the fraction take few different values, the rest is noise:
// the left parts are looked up in a dictionary, the right parts kept as they are.
//   right      u8   bits of the right part, [48, 63]
//   words      u8   in the dictionary, [1, 8]; then u16 each
//   exceptions      varint count of left parts that are in no dictionary; each: varint rows since
//                   the one before, u16
//   indexes         packed bits, as few as the dictionary needs
//   right parts     packed bits
// Source: ALP-RD in Afroozeh, Kuffo, Boncz, "ALP" (SIGMOD 2023).

#define RIGHT_MIN      48u
#define DICTIONARY_MAX 8u
#define SAMPLE_COUNT   128u

typedef struct {
    uint32_t right, count;
    uint16_t words[DICTIONARY_MAX];
} s_split_t;

// The most frequent left parts of a sample for one cut; returns how many rows they miss.
static uint32_t s_try_cut(const uint64_t *words, uint32_t count, uint32_t right, s_split_t *split)
{
    uint16_t lefts[SAMPLE_COUNT];
    uint32_t counts[SAMPLE_COUNT];
    uint32_t distinct = 0;
    uint32_t taken = BB_MIN(count, SAMPLE_COUNT);
    for (uint32_t i = 0; i < taken; i++) {
        uint16_t left = (uint16_t)(words[(size_t)i * count / taken] >> right);
        uint32_t k = 0;
        while (k < distinct && lefts[k] != left) {
            k++;
        }
        if (k == distinct) {
            lefts[distinct] = left;
            counts[distinct++] = 0;
        }
        counts[k]++;
    }
    uint32_t covered = 0;
    *split = (s_split_t){.right = right};
    while (split->count < BB_MIN(distinct, DICTIONARY_MAX)) {
        uint32_t best = 0;
        for (uint32_t k = 1; k < distinct; k++) {
            best = counts[k] > counts[best] ? k : best;
        }
        split->words[split->count++] = lefts[best];
        covered += counts[best];
        counts[best] = 0;
    }
    return taken - covered;
}

static uint32_t s_index_width(uint32_t count)
{
    return bb_bit_width(count - 1);
}

size_t bb_codec_split_encode(const uint64_t *words, uint32_t count, uint8_t *out)
{
    s_split_t best = {0};
    uint32_t best_bits = UINT32_MAX;
    for (uint32_t right = RIGHT_MIN; right < 64; right++) {
        s_split_t split;
        uint32_t missed = s_try_cut(words, count, right, &split);
        uint32_t bits =
            BB_MIN(count, SAMPLE_COUNT) * (right + s_index_width(split.count)) + missed * 24;
        if (bits < best_bits) {
            best = split;
            best_bits = bits;
        }
    }
    uint64_t indexes[BB_BLOCK_ROWS_MAX];
    uint64_t rights[BB_BLOCK_ROWS_MAX];
    uint16_t exceptions[BB_BLOCK_ROWS_MAX];
    uint32_t exception_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t left = (uint16_t)(words[i] >> best.right);
        uint32_t index = 0;
        while (index < best.count && best.words[index] != left) {
            index++;
        }
        exceptions[exception_count] = (uint16_t)i;
        exception_count += index == best.count;
        indexes[i] = index == best.count ? 0 : index;
        rights[i] = words[i] & ((UINT64_C(1) << best.right) - 1);
    }
    uint8_t *at = out;
    *at++ = (uint8_t)best.right;
    *at++ = (uint8_t)best.count;
    for (uint32_t i = 0; i < best.count; i++) {
        at = bb_put_fixed(at, best.words[i], 2);
    }
    at = bb_put_varint(at, exception_count);
    uint32_t row = 0;
    for (uint32_t i = 0; i < exception_count; i++) {
        at = bb_put_varint(at, exceptions[i] - row);
        at = bb_put_fixed(at, words[exceptions[i]] >> best.right, 2);
        row = exceptions[i] + 1u;
    }
    uint32_t width = s_index_width(best.count);
    bb_bitpack_pack(indexes, count, width, at);
    at += bb_bitpack_bytes(count, width);
    bb_bitpack_pack(rights, count, best.right, at);
    at += bb_bitpack_bytes(count, best.right);
    return (size_t)(at - out);
}

static bool s_unpack(bb_reader_t *reader, uint32_t count, uint32_t width, uint64_t *out)
{
    const uint8_t *bits = bb_reader_take(reader, bb_bitpack_bytes(count, width));
    return bits && bb_bitpack_unpack(bits, count, width, out);
}

bool bb_codec_split_decode(const bb_codec_block_t *block, uint64_t *out)
{
    bb_reader_t reader = bb_reader(block->encoded);
    s_split_t split = {.right = (uint32_t)bb_reader_fixed(&reader, 1)};
    split.count = (uint32_t)bb_reader_fixed(&reader, 1);
    if (split.right < RIGHT_MIN || split.right > 63 || split.count == 0 ||
        split.count > DICTIONARY_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < split.count; i++) {
        split.words[i] = (uint16_t)bb_reader_fixed(&reader, 2);
    }
    uint64_t exception_count = bb_reader_varint(&reader);
    bb_reader_t exceptions = reader;
    if (exception_count > block->count) {
        return false;
    }
    for (uint64_t i = 0; i < exception_count; i++) {
        (void)bb_reader_varint(&reader);
        (void)bb_reader_fixed(&reader, 2);
    }
    uint64_t lefts[BB_BLOCK_ROWS_MAX];
    if (!s_unpack(&reader, block->count, s_index_width(split.count), lefts) ||
        !s_unpack(&reader, block->count, split.right, out) || !bb_reader_is_done(&reader)) {
        return false;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        if (lefts[i] >= split.count) {
            return false;
        }
        lefts[i] = split.words[lefts[i]];
    }
    uint64_t row = 0;
    for (uint64_t i = 0; i < exception_count; i++, row++) {
        uint64_t gap = bb_reader_varint(&exceptions);
        row += BB_MIN(gap, (uint64_t)BB_BLOCK_ROWS_MAX);
        uint64_t left = bb_reader_fixed(&exceptions, 2);
        if (row >= block->count) {
            return false;
        }
        lefts[row] = left;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        out[i] |= lefts[i] << split.right;
    }
    return true;
}

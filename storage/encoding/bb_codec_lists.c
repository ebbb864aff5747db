// SPDX-License-Identifier: Apache-2.0
// Blocks of few distinct words: runs and dictionaries, on top of a list of words.
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"

#define ALL_ORDERS 7u

// ---- a list of words ----------------------------------------------------------------------------

size_t bb_codec_list_encode(bb_packer_t *packer, bb_decimals_t *scratch, bb_encoding_kind_t kind,
                            const uint64_t *words, uint32_t count, uint8_t *out)
{
    size_t raw = (size_t)count * 8;
    size_t bytes;
    if (kind == BB_ENCODING_INTEGER) {
        out[0] = BB_ENCODING_INTEGERS;
        bytes = bb_codec_integers_encode(packer, kind, words, count, out + 1);
    } else if (bb_decimals_make(scratch, words, count, BB_EXPONENT_UNKNOWN)) {
        out[0] = BB_ENCODING_DECIMALS;
        bytes = bb_codec_decimals_encode(packer, scratch, count, out + 1);
    } else {
        bytes = raw;
    }
    if (bytes >= raw) {
        out[0] = BB_ENCODING_RAW;
        memcpy(out + 1, words, raw);
        bytes = raw;
    }
    return bytes + 1;
}

bool bb_codec_list_decode(const bb_codec_block_t *block, uint64_t *out)
{
    if (block->encoded.length == 0) {
        return false;
    }
    bb_codec_block_t list = *block;
    const uint8_t *bytes = block->encoded.data;
    list.encoded = bb_slice(bytes + 1, block->encoded.length - 1);
    switch (bytes[0]) {
    case BB_ENCODING_RAW:
        if (list.encoded.length != (size_t)list.count * 8) {
            return false;
        }
        memcpy(out, list.encoded.data, list.encoded.length);
        return true;
    case BB_ENCODING_INTEGERS:
        return list.kind == BB_ENCODING_INTEGER && bb_codec_integers_decode(&list, out);
    case BB_ENCODING_DECIMALS:
        return bb_codec_decimals_decode(&list, out);
    default:
        return false;
    }
}

// A count, the bytes of a packed list of `packed_count` integers (UINT32_MAX: as many as that
// count), the rest.
static bool s_open(const bb_codec_block_t *block, uint32_t packed_count, uint32_t *list_count,
                   uint64_t *integers, bb_slice_t *rest)
{
    bb_reader_t reader = bb_reader(block->encoded);
    uint64_t wanted = bb_reader_varint(&reader);
    uint64_t bytes = bb_reader_varint(&reader);
    if (reader.failed || wanted == 0 || wanted > block->count || bytes > bb_reader_left(&reader)) {
        return false;
    }
    *list_count = (uint32_t)wanted;
    packed_count = packed_count == UINT32_MAX ? *list_count : packed_count;
    const uint8_t *at = bb_reader_take(&reader, bytes);
    *rest = bb_slice(reader.at, bb_reader_left(&reader));
    bb_packed_t packed;
    return bb_packed_open(&packed, bb_slice(at, bytes), packed_count) &&
           bb_packed_integers(&packed, integers);
}

// ---- runs ---------------------------------------------------------------------------------------

size_t bb_codec_runs_encode(bb_packer_t *packer, bb_decimals_t *scratch, bb_encoding_kind_t kind,
                            const uint64_t *words, uint32_t count, uint8_t *out)
{
    uint64_t lengths[BB_BLOCK_ROWS_MAX];
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint8_t packed[BB_PACKED_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    uint32_t runs = 0;
    lengths[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || words[i] != words[i - 1]) {
            values[runs] = words[i];
            lengths[runs++] = 0;
        } else {
            lengths[runs - 1]++;
        }
    }
    size_t bytes = bb_packed_encode(packer, lengths, runs, ALL_ORDERS, false, packed);
    uint8_t *at = bb_put_varint(out, runs);
    at = bb_put_varint(at, bytes);
    memcpy(at, packed, bytes);
    at += bytes;
    at += bb_codec_list_encode(packer, scratch, kind, values, runs, at);
    return (size_t)(at - out);
}

bool bb_codec_runs_open(const bb_codec_block_t *block, uint32_t *runs, uint64_t *words,
                        uint64_t *lengths)
{
    bb_codec_block_t list = *block;
    if (!s_open(block, UINT32_MAX, &list.count, lengths, &list.encoded) ||
        !bb_codec_list_decode(&list, words)) {
        return false;
    }
    uint64_t rows = 0;
    for (uint32_t run = 0; run < list.count; run++) {
        if (lengths[run] >= block->count) {
            return false;
        }
        lengths[run]++;
        rows += lengths[run];
    }
    *runs = list.count;
    return rows == block->count;
}

bool bb_codec_runs_decode(const bb_codec_block_t *block, uint64_t *out)
{
    uint64_t lengths[BB_BLOCK_ROWS_MAX];
    uint64_t words[BB_BLOCK_ROWS_MAX];
    uint32_t runs;
    if (!bb_codec_runs_open(block, &runs, words, lengths)) {
        return false;
    }
    for (uint32_t run = 0; run < runs; run++) {
        for (uint64_t i = 0; i < lengths[run]; i++) {
            *out++ = words[run];
        }
    }
    return true;
}

// ---- dictionary ---------------------------------------------------------------------------------

#define SLOTS 256u
static_assert(SLOTS >= 4 * BB_CODEC_DICTIONARY_MAX, "probing stays short");

size_t bb_codec_dictionary_encode(bb_packer_t *packer, bb_decimals_t *scratch,
                                  bb_encoding_kind_t kind, const uint64_t *words, uint32_t count,
                                  uint8_t *out)
{
    uint8_t slots[SLOTS] = {0}; // index + 1, 0 = free
    uint64_t values[BB_CODEC_DICTIONARY_MAX];
    uint64_t indexes[BB_BLOCK_ROWS_MAX];
    uint32_t distinct = 0;
    indexes[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = (uint32_t)(words[i] * UINT64_C(0x9e3779b97f4a7c15) >> 56);
        while (slots[slot] != 0 && values[slots[slot] - 1] != words[i]) {
            slot = (slot + 1) % SLOTS;
        }
        if (slots[slot] == 0) {
            if (distinct == BB_CODEC_DICTIONARY_MAX) {
                return 0;
            }
            values[distinct++] = words[i];
            slots[slot] = (uint8_t)distinct;
        }
        indexes[i] = slots[slot] - 1u;
    }
    uint8_t packed[BB_PACKED_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    size_t bytes = bb_packed_encode(packer, indexes, count, 1, false, packed);
    uint8_t *at = bb_put_varint(out, distinct);
    at = bb_put_varint(at, bytes);
    memcpy(at, packed, bytes);
    at += bytes;
    at += bb_codec_list_encode(packer, scratch, kind, values, distinct, at);
    return (size_t)(at - out);
}

bool bb_codec_dictionary_decode(const bb_codec_block_t *block, uint64_t *out)
{
    uint64_t values[BB_BLOCK_ROWS_MAX];
    bb_codec_block_t list = *block;
    if (!s_open(block, block->count, &list.count, out, &list.encoded) ||
        !bb_codec_list_decode(&list, values)) {
        return false;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        if (out[i] >= list.count) {
            return false;
        }
        out[i] = values[out[i]];
    }
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// The registry for readers; bb_encoder.c writes.
#include "storage/encoding/bb_encoding.h"

#include <string.h>

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"
#include "storage/encoding/bb_lanes.h"
#include "storage/encoding/bb_times.h"

static bool s_constant_decode(const bb_codec_block_t *block, uint64_t *out)
{
    if (block->encoded.length != 8) {
        return false;
    }
    uint64_t word;
    memcpy(&word, block->encoded.data, 8);
    for (uint32_t i = 0; i < block->count; i++) {
        out[i] = word;
    }
    return true;
}

static bool s_raw_decode(const bb_codec_block_t *block, uint64_t *out)
{
    if (block->encoded.length != (size_t)block->count * 8) {
        return false;
    }
    memcpy(out, block->encoded.data, block->encoded.length);
    return true;
}

static bool s_times_decode(const bb_codec_block_t *block, uint64_t *out)
{
    return bb_times_decode(block->encoded, block->count, out);
}

typedef struct {
    const char *name;
    uint32_t kinds; // bits of bb_encoding_kind_t
    bool (*decode)(const bb_codec_block_t *block, uint64_t *out);
    // NULL: decode and add up. False may mean as well that this block must be decoded.
    bool (*totals)(const bb_codec_block_t *block, bb_codec_totals_t *totals);
    bool (*numbers)(const bb_codec_block_t *block, bb_codec_numbers_t *numbers);
} s_encoding_t;

#define ANY_KIND (BB_ENCODING_INTEGER | BB_ENCODING_FLOAT64)

static const s_encoding_t s_encodings[BB_ENCODING_LAST + 1] = {
    [BB_ENCODING_CONSTANT] = {"constant", ANY_KIND, s_constant_decode, NULL, NULL},
    [BB_ENCODING_RAW] = {"raw", ANY_KIND, s_raw_decode, NULL, NULL},
    [BB_ENCODING_INTEGERS] = {"integers", ANY_KIND, bb_codec_integers_decode,
                              bb_codec_integers_totals, bb_codec_integers_numbers},
    [BB_ENCODING_DECIMALS] = {"decimals", BB_ENCODING_FLOAT64, bb_codec_decimals_decode,
                              bb_codec_decimals_totals, bb_codec_decimals_numbers},
    [BB_ENCODING_FLOATS] = {"floats", BB_ENCODING_FLOAT64, bb_codec_floats_decode, NULL, NULL},
    [BB_ENCODING_RUNS] = {"runs", ANY_KIND, bb_codec_runs_decode, NULL, NULL},
    [BB_ENCODING_DICTIONARY] = {"dictionary", ANY_KIND, bb_codec_dictionary_decode, NULL, NULL},
    [BB_ENCODING_TIMES] = {"times", BB_ENCODING_INTEGER, s_times_decode, NULL, NULL},
    [BB_ENCODING_XOR] = {"xor", BB_ENCODING_FLOAT64, bb_codec_xor_decode, NULL, NULL},
    [BB_ENCODING_SPLIT] = {"split", BB_ENCODING_FLOAT64, bb_codec_split_decode, NULL, NULL},
    [BB_ENCODING_PREDICTED] = {"predicted", ANY_KIND, bb_codec_predicted_decode,
                               bb_codec_predicted_totals, bb_codec_predicted_numbers},
};

bool bb_encoding_is_known(uint32_t id)
{
    return id <= BB_ENCODING_LAST && s_encodings[id].decode;
}

const char *bb_encoding_name(uint32_t id)
{
    return bb_encoding_is_known(id) ? s_encodings[id].name : "unknown";
}

bb_error_t bb_encoding_peers(uint32_t id, bb_slice_t encoded, uint32_t peer_count,
                             uint32_t peers[BB_ENCODING_PEERS_MAX], uint32_t *count)
{
    if (!bb_encoding_is_known(id)) {
        return BB_ERR_FORMAT;
    }
    uint32_t named[BB_ENCODING_PEERS_MAX];
    uint32_t named_count = 0;
    if (id == BB_ENCODING_PREDICTED && !bb_codec_predicted_peers(encoded, named, &named_count)) {
        return BB_ERR_CORRUPT;
    }
    for (uint32_t i = 0; i < named_count; i++) {
        if (named[i] >= peer_count) {
            return BB_ERR_CORRUPT;
        }
        peers[i] = named[i];
    }
    *count = named_count;
    return BB_OK;
}

uint32_t bb_encoding_exponent(uint32_t id, bb_slice_t encoded)
{
    uint32_t exponent = UINT32_MAX;
    if (id == BB_ENCODING_DECIMALS) {
        exponent = bb_codec_decimals_exponent(encoded);
    } else if (id == BB_ENCODING_PREDICTED) {
        exponent = bb_codec_predicted_exponent(encoded);
    }
    return exponent <= BB_DECIMAL_EXPONENT_MAX ? exponent : UINT32_MAX;
}

bb_error_t bb_encoding_decode(uint32_t id, bb_encoding_kind_t kind, bb_slice_t encoded,
                              uint32_t count, const uint64_t *const *peers, uint64_t *out)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    if (!bb_encoding_is_known(id)) {
        return BB_ERR_FORMAT;
    }
    const s_encoding_t *encoding = &s_encodings[id];
    const bb_codec_block_t block = {kind, encoded, count, peers};
    if (!(encoding->kinds & kind) || !encoding->decode(&block, out)) {
        return BB_ERR_CORRUPT;
    }
    return BB_OK;
}

// ---- totals -------------------------------------------------------------------------------------

static uint64_t s_word(bb_type_t type, const bb_codec_totals_t *from, int64_t integer)
{
    return type == BB_TYPE_FLOAT64
               ? bb_bits_of_double((double)integer / bb_decimal_power(from->exponent))
               : (uint64_t)integer;
}

// Integers stand for decimals that a sum counts as such.
static bool s_are_decimals(const bb_codec_totals_t *from)
{
    return from->min > -BB_SUM_INTEGER_LIMIT && from->max < BB_SUM_INTEGER_LIMIT;
}

// Adds `count` times the same word.
static void s_add_many(bb_type_t type, uint64_t word, uint64_t count, bb_sum_t *sum)
{
    if (type == BB_TYPE_FLOAT64) {
        bb_sum_add_times(sum, bb_double_of_bits(word), count);
    } else {
        bb_sum_add_scaled(sum, (__int128)(int64_t)word * (__int128)count, 0);
    }
}

static bool s_constant_totals(bb_type_t type, bb_slice_t encoded, uint32_t count,
                              bb_encoding_totals_t *totals)
{
    uint64_t word;
    bb_sum_t sum = {0};
    if (encoded.length != sizeof word || type == BB_TYPE_STATE) {
        return false;
    }
    memcpy(&word, encoded.data, sizeof word);
    if (type == BB_TYPE_BOOL && word > 1) {
        return false;
    }
    s_add_many(type, word, count, &sum);
    *totals = (bb_encoding_totals_t){count, sum, word, word, word, word};
    return true;
}

static bool s_runs_totals(bb_type_t type, const bb_codec_block_t *block,
                          bb_encoding_totals_t *totals)
{
    uint64_t words[BB_BLOCK_ROWS_MAX];
    uint64_t lengths[BB_BLOCK_ROWS_MAX];
    uint32_t runs;
    if (!bb_codec_runs_open(block, &runs, words, lengths)) {
        return false;
    }
    bb_sum_t sum = {0};
    for (uint32_t run = 0; run < runs; run++) {
        if (type == BB_TYPE_BOOL && words[run] > 1) {
            return false;
        }
        s_add_many(type, words[run], lengths[run], &sum);
    }
    bb_encoding_totals_of(type, words, runs, totals);
    totals->count = block->count;
    totals->sum = sum;
    return true;
}

// False: the words are none of the type, or their sum counts something else than the integers.
static bool s_finish_totals(bb_type_t type, const bb_codec_totals_t *from, uint32_t count,
                            bb_encoding_totals_t *totals)
{
    if (type == BB_TYPE_BOOL ? from->min < 0 || from->max > 1
                             : type == BB_TYPE_FLOAT64 && !s_are_decimals(from)) {
        return false;
    }
    *totals = (bb_encoding_totals_t){
        .count = count,
        .min = s_word(type, from, from->min),
        .max = s_word(type, from, from->max),
        .first = s_word(type, from, from->first),
        .last = s_word(type, from, from->last),
    };
    bb_sum_add_scaled(&totals->sum, from->sum, from->exponent);
    return true;
}

bb_error_t bb_encoding_aggregate(uint32_t id, bb_type_t type, bb_slice_t encoded, uint32_t count,
                                 const uint64_t *const *peers, uint32_t row_first,
                                 uint32_t row_limit, bb_encoding_totals_t *totals)
{
    BB_ASSERT(row_first < row_limit && row_limit <= count);
    bb_encoding_kind_t kind = type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
    if (id == BB_ENCODING_CONSTANT &&
        s_constant_totals(type, encoded, row_limit - row_first, totals)) {
        return BB_OK;
    }
    bool is_whole = row_first == 0 && row_limit == count && type != BB_TYPE_STATE;
    const bb_codec_block_t block = {kind, encoded, count, peers};
    if (is_whole && id == BB_ENCODING_RUNS && s_runs_totals(type, &block, totals)) {
        return BB_OK;
    }
    if (is_whole && bb_encoding_is_known(id) && s_encodings[id].totals &&
        (s_encodings[id].kinds & kind)) {
        bb_codec_totals_t from;
        if (s_encodings[id].totals(&block, &from) && s_finish_totals(type, &from, count, totals)) {
            return BB_OK;
        }
    }
    uint64_t words[BB_BLOCK_ROWS_MAX];
    bb_error_t error = bb_encoding_decode(id, kind, encoded, count, peers, words);
    if (error == BB_OK) {
        bb_encoding_totals_of(type, words + row_first, row_limit - row_first, totals);
    }
    return error;
}

bb_error_t bb_encoding_decode_with_totals(uint32_t id, bb_type_t type, bb_slice_t encoded,
                                          uint32_t count, uint64_t *out, bool *has_totals,
                                          bb_encoding_totals_t *totals)
{
    bb_encoding_kind_t kind = type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
    const bb_codec_block_t block = {kind, encoded, count, NULL};
    bb_codec_numbers_t numbers;
    if (id != BB_ENCODING_DECIMALS || type != BB_TYPE_FLOAT64 ||
        !bb_codec_decimals_numbers(&block, &numbers)) {
        *has_totals = false;
        return bb_encoding_decode(id, kind, encoded, count, NULL, out);
    }
    bb_decimals_of_offsets(numbers.exponent, numbers.base, (uint64_t)numbers.scale, numbers.offsets,
                           count, out);
    bb_lanes_total_t sums = bb_lanes_total_of(numbers.offsets, count);
    const bb_codec_totals_t from = {
        .exponent = numbers.exponent,
        .min = numbers.base + numbers.scale * sums.min,
        .max = numbers.base + numbers.scale * sums.max,
        .first = numbers.base + numbers.scale * numbers.offsets[0],
        .last = numbers.base + numbers.scale * numbers.offsets[count - 1],
        .sum = numbers.base * count + numbers.scale * sums.sum,
    };
    *has_totals = s_finish_totals(type, &from, count, totals);
    return BB_OK;
}

// ---- ranges -------------------------------------------------------------------------------------

typedef int32_t s_offsets_t __attribute__((vector_size(16)));
typedef int64_t s_sums_t __attribute__((vector_size(32)));
#define LANES 4u

// Totals of offsets.
typedef struct {
    int64_t sum, min, max;
} s_part_t;

// Ranges of so few rows are not worth vectors.
#define SHORT_ROWS 8u

BB_INLINE s_part_t s_offset_part(const int32_t *offsets, uint32_t count, bool has_extremes)
{
    int32_t low = offsets[0];
    int32_t high = low;
    int64_t sum = 0;
    uint32_t i = 0;
    if (count >= SHORT_ROWS) {
        s_offsets_t min = (s_offsets_t){0} + low;
        s_offsets_t max = min;
        s_sums_t sums = {0};
        for (; i + LANES <= count; i += LANES) {
            s_offsets_t next;
            memcpy(&next, offsets + i, sizeof next);
            sums += __builtin_convertvector(next, s_sums_t);
#pragma GCC unroll 4
            for (uint32_t lane = 0; has_extremes && lane < LANES; lane++) {
                min[lane] = next[lane] < min[lane] ? next[lane] : min[lane];
                max[lane] = next[lane] > max[lane] ? next[lane] : max[lane];
            }
        }
        sum = sums[0] + sums[1] + sums[2] + sums[3];
        for (uint32_t lane = 0; has_extremes && lane < LANES; lane++) {
            low = BB_MIN(low, min[lane]);
            high = BB_MAX(high, max[lane]);
        }
    }
    for (; i < count; i++) {
        sum += offsets[i];
        low = BB_MIN(low, offsets[i]);
        high = BB_MAX(high, offsets[i]);
    }
    return (s_part_t){sum, low, high};
}

BB_INLINE void s_parts(const bb_codec_numbers_t *numbers, const uint32_t *row_limits,
                       uint32_t range_count, bool has_extremes, s_part_t *parts)
{
    uint32_t first = 0;
    for (uint32_t r = 0; r < range_count; first = row_limits[r++]) {
        parts[r] = s_offset_part(numbers->offsets + first, row_limits[r] - first, has_extremes);
    }
}

BB_CLONES static void s_all_parts(const bb_codec_numbers_t *numbers, const uint32_t *row_limits,
                                  uint32_t range_count, s_part_t *parts)
{
    s_parts(numbers, row_limits, range_count, true, parts);
}

BB_CLONES static void s_sums_of_parts(const bb_codec_numbers_t *numbers, const uint32_t *row_limits,
                                      uint32_t range_count, s_part_t *parts)
{
    s_parts(numbers, row_limits, range_count, false, parts);
}

// Whatever the offsets are, a sum counts them as the decimals that they are packed as.
static bool s_are_all_decimals(const bb_codec_numbers_t *numbers)
{
    int64_t size = numbers->base < 0 ? -numbers->base : numbers->base;
    return size + numbers->scale * (INT64_C(1) << 31) < BB_SUM_INTEGER_LIMIT;
}

static void s_finish_ranges(bb_type_t type, const bb_codec_numbers_t *numbers,
                            const uint32_t *row_limits, uint32_t range_count, bool has_extremes,
                            const s_part_t *parts, bb_encoding_range_t *ranges)
{
    const bb_codec_totals_t from = {.exponent = numbers->exponent};
    uint32_t first = 0;
    for (uint32_t r = 0; r < range_count; first = row_limits[r++]) {
        uint32_t count = row_limits[r] - first;
        ranges[r] = (bb_encoding_range_t){
            count, numbers->base * count + numbers->scale * parts[r].sum, 0, 0};
        if (has_extremes) {
            ranges[r].min = s_word(type, &from, numbers->base + numbers->scale * parts[r].min);
            ranges[r].max = s_word(type, &from, numbers->base + numbers->scale * parts[r].max);
        }
    }
}

bool bb_encoding_ranges(uint32_t id, bb_type_t type, bb_slice_t encoded, uint32_t count,
                        const uint64_t *const *peers, const uint32_t *row_limits,
                        uint32_t range_count, bool has_extremes, bb_encoding_ranges_t *ranges)
{
    BB_ASSERT(type == BB_TYPE_FLOAT64 || type == BB_TYPE_INT64);
    BB_ASSERT(range_count >= 1 && row_limits[range_count - 1] == count);
    bb_encoding_kind_t kind = type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
    const bb_codec_block_t block = {kind, encoded, count, peers};
    bb_codec_numbers_t numbers;
    s_part_t parts[BB_BLOCK_ROWS_MAX];
    if (!bb_encoding_is_known(id) || !s_encodings[id].numbers || !(s_encodings[id].kinds & kind) ||
        !s_encodings[id].numbers(&block, &numbers) ||
        (type == BB_TYPE_FLOAT64 && !s_are_all_decimals(&numbers))) {
        return false;
    }
    if (has_extremes) {
        s_all_parts(&numbers, row_limits, range_count, parts);
    } else {
        s_sums_of_parts(&numbers, row_limits, range_count, parts);
    }
    ranges->exponent = numbers.exponent;
    s_finish_ranges(type, &numbers, row_limits, range_count, has_extremes, parts, ranges->ranges);
    return true;
}

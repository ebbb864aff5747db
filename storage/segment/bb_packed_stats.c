// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_packed_stats.h"

#include <math.h>
#include <string.h>

#include "storage/segment/bb_varint.h"

#define S_WORDS        15u
#define S_LACKS_ROWS   0x10u
#define S_SUM_IN_FULL  0x20u
#define S_CONSTANT     0x40u
#define S_ZERO         0x80u
#define S_EXPONENT_MAX BB_SUM_EXPONENT_MAX
// Integers up to here are exact doubles, and so are their quotients by a power of ten rounded once.
#define S_INTEGER_MAX (INT64_C(1) << 52)

static const double s_powers[S_EXPONENT_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5,
                                                    1e6, 1e7, 1e8, 1e9, 1e10};

enum { MIN, MAX, FIRST, LAST, WORDS };

// ---- words as integers -----------------------------------------------------------------------
static uint64_t s_restore(bb_type_t type, uint32_t exponent, int64_t integer)
{
    return type == BB_TYPE_FLOAT64 ? bb_bits_of_double((double)integer / s_powers[exponent])
                                   : (uint64_t)integer;
}

static bool s_is_decimal(uint64_t bits, uint32_t exponent, int64_t *integer)
{
    double scaled = bb_double_of_bits(bits) * s_powers[exponent];
    if (!(fabs(scaled) < (double)S_INTEGER_MAX)) {
        return false;
    }
    *integer = (int64_t)nearbyint(scaled);
    return s_restore(BB_TYPE_FLOAT64, exponent, *integer) == bits;
}

// All of them with that exponent.
static bool s_are_decimals(bb_type_t type, const uint64_t words[WORDS], uint32_t exponent,
                           int64_t integers[WORDS])
{
    uint32_t fits = 0;
    if (type != BB_TYPE_FLOAT64) {
        for (; exponent == 0 && fits < WORDS; fits++) {
            integers[fits] = (int64_t)words[fits];
        }
        return exponent == 0;
    }
    while (fits < WORDS && s_is_decimal(words[fits], exponent, &integers[fits])) {
        fits++;
    }
    return fits == WORDS;
}

// ---- the sum ---------------------------------------------------------------------------------
// The sum as an integer counted from `values` minima; false: it is none of that exponent.
static bool s_fold_sum(const bb_block_stats_t *stats, uint32_t exponent, int64_t min,
                       uint64_t *folded)
{
    __int128 integer;
    if (!bb_sum_integer(&stats->sum, exponent, &integer)) {
        return false;
    }
    integer -= (__int128)stats->count * min;
    *folded = (uint64_t)integer;
    return integer >= 0 && integer <= INT64_MAX;
}

// The smallest exponent that suits all words, and the sum if there is one for it as well; else that
// of the words alone, and *is_folded is false. S_WORDS: there is none.
static uint32_t s_find_exponent(bb_type_t type, const bb_block_stats_t *stats,
                                const uint64_t words[WORDS], int64_t integers[WORDS],
                                uint64_t *folded, bool *is_folded)
{
    uint32_t found = S_WORDS;
    *is_folded = false;
    for (uint32_t exponent = 0; exponent <= S_EXPONENT_MAX && !*is_folded; exponent++) {
        int64_t tried[WORDS];
        if (!s_are_decimals(type, words, exponent, tried)) {
            continue;
        }
        *is_folded = type != BB_TYPE_STATE && s_fold_sum(stats, exponent, tried[MIN], folded);
        if (found == S_WORDS || *is_folded) {
            found = exponent;
            memcpy(integers, tried, sizeof tried);
        }
        if (type != BB_TYPE_FLOAT64 || stats->sum.flags != 0) {
            break;
        }
    }
    return found;
}

static size_t s_put_word(uint8_t *out, uint64_t word)
{
    memcpy(out, &word, sizeof word);
    return sizeof word;
}

// ---- encoding --------------------------------------------------------------------------------
size_t bb_packed_stats_encode(const bb_packed_stats_frame_t *frame, const bb_block_stats_t *stats,
                              uint8_t out[BB_PACKED_STATS_BYTES_MAX])
{
    if (stats->count == 0) {
        return 0;
    }
    BB_ASSERT(stats->count <= frame->row_count);
    const uint64_t words[WORDS] = {stats->min, stats->max, stats->first, stats->last};
    int64_t integers[WORDS] = {0};
    uint64_t folded = 0;
    bool is_folded;
    uint32_t flags = s_find_exponent(frame->type, stats, words, integers, &folded, &is_folded);
    bool is_decimal = flags != S_WORDS;
    if (words[MIN] == words[MAX] && words[FIRST] == words[MIN] && words[LAST] == words[MIN]) {
        flags |= S_CONSTANT;
    }
    bool is_in_full = frame->type != BB_TYPE_STATE && !is_folded;
    flags |= is_in_full ? S_SUM_IN_FULL : 0;
    size_t at = 1;
    if (stats->count < frame->row_count) {
        flags |= S_LACKS_ROWS;
        BB_ASSERT(stats->first_wall_ns >= frame->first_wall_ns &&
                  stats->last_wall_ns <= frame->last_wall_ns);
        at += bb_varint_put(out + at, stats->count);
        at += bb_varint_put(out + at, (uint64_t)(stats->first_wall_ns - frame->first_wall_ns));
        at += bb_varint_put(out + at, (uint64_t)(frame->last_wall_ns - stats->last_wall_ns));
    }
    if (is_decimal) {
        at += bb_varint_put(out + at, bb_varint_fold(integers[MIN]));
    } else {
        at += s_put_word(out + at, words[MIN]);
    }
    for (uint32_t i = MAX; !(flags & S_CONSTANT) && i < WORDS; i++) {
        at += is_decimal ? bb_varint_put(out + at, (uint64_t)integers[i] - (uint64_t)integers[MIN])
                         : s_put_word(out + at, words[i]);
    }
    if (is_folded) {
        at += bb_varint_put(out + at, folded);
    } else if (is_in_full) {
        at += bb_sum_encode(&stats->sum, out + at);
    }
    out[0] = (uint8_t)flags;
    return at;
}

// ---- decoding --------------------------------------------------------------------------------
static bool s_get_word(const uint8_t **at, const uint8_t *limit, uint64_t *word)
{
    if (limit - *at < (ptrdiff_t)sizeof *word) {
        return false;
    }
    memcpy(word, *at, sizeof *word);
    *at += sizeof *word;
    return true;
}

static bool s_get_rows(const bb_packed_stats_frame_t *frame, const uint8_t **at,
                       const uint8_t *limit, bb_block_stats_t *stats)
{
    uint64_t span = (uint64_t)frame->last_wall_ns - (uint64_t)frame->first_wall_ns;
    uint64_t first;
    uint64_t last;
    if (!bb_varint_get(at, limit, &stats->count) || !bb_varint_get(at, limit, &first) ||
        !bb_varint_get(at, limit, &last) || stats->count == 0 || stats->count >= frame->row_count ||
        first > span || last > span - first) {
        return false;
    }
    stats->first_wall_ns = frame->first_wall_ns + (int64_t)first;
    stats->last_wall_ns = frame->last_wall_ns - (int64_t)last;
    return true;
}

static bool s_get_words(const bb_packed_stats_frame_t *frame, uint32_t flags, const uint8_t **at,
                        const uint8_t *limit, uint64_t words[WORDS], int64_t *min)
{
    uint32_t exponent = flags & 15;
    bool is_decimal = exponent != S_WORDS;
    uint64_t number;
    if (!(is_decimal ? bb_varint_get(at, limit, &number) : s_get_word(at, limit, &number))) {
        return false;
    }
    *min = bb_varint_unfold(number);
    words[MIN] = is_decimal ? s_restore(frame->type, exponent, *min) : number;
    for (uint32_t i = MAX; i < WORDS; i++) {
        words[i] = words[MIN];
        if (flags & S_CONSTANT) {
            continue;
        }
        if (!(is_decimal ? bb_varint_get(at, limit, &number) : s_get_word(at, limit, &number))) {
            return false;
        }
        words[i] = is_decimal ? s_restore(frame->type, exponent, (int64_t)((uint64_t)*min + number))
                              : number;
    }
    return true;
}

static bool s_get_sum(const bb_packed_stats_frame_t *frame, uint32_t flags, const uint8_t **at,
                      const uint8_t *limit, int64_t min, bb_block_stats_t *stats)
{
    if (frame->type == BB_TYPE_STATE) {
        return !(flags & S_SUM_IN_FULL);
    }
    if (flags & S_SUM_IN_FULL) {
        return bb_sum_decode(&stats->sum, at, limit) == BB_OK;
    }
    uint64_t folded;
    if ((flags & 15) == S_WORDS || !bb_varint_get(at, limit, &folded) || folded > INT64_MAX) {
        return false;
    }
    __int128 integer = (__int128)stats->count * min + (int64_t)folded;
    bb_sum_add_scaled(&stats->sum, integer, flags & 15);
    return true;
}

bb_error_t bb_packed_stats_decode(const bb_packed_stats_frame_t *frame, bb_slice_t packed,
                                  bb_block_stats_t *stats)
{
    *stats = (bb_block_stats_t){0};
    if (packed.length == 0) {
        return BB_OK;
    }
    const uint8_t *at = packed.data;
    const uint8_t *limit = at + packed.length;
    uint32_t flags = *at++;
    bb_block_stats_t found = {
        .count = frame->row_count,
        .first_wall_ns = frame->first_wall_ns,
        .last_wall_ns = frame->last_wall_ns,
    };
    uint64_t words[WORDS];
    int64_t min;
    uint32_t exponent = flags & 15;
    if (flags & S_ZERO || (exponent > S_EXPONENT_MAX && exponent != S_WORDS) ||
        (frame->type != BB_TYPE_FLOAT64 && exponent != 0) ||
        (flags & S_LACKS_ROWS && !s_get_rows(frame, &at, limit, &found)) ||
        !s_get_words(frame, flags, &at, limit, words, &min) ||
        !s_get_sum(frame, flags, &at, limit, min, &found) || at != limit) {
        return BB_ERR_CORRUPT;
    }
    found.min = words[MIN];
    found.max = words[MAX];
    found.first = words[FIRST];
    found.last = words[LAST];
    *stats = found;
    return BB_OK;
}

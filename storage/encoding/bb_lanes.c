// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_lanes.h"

#include <string.h>

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_clones.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie on disk");

#define LANES 8u
#define ROWS  32u
static_assert(LANES * ROWS == BB_LANES_COUNT, "lanes x rows");

// Vectors of the compiler: one AVX2 register, two of SSE2 or NEON.
typedef uint32_t s_row_t __attribute__((vector_size(32)));
typedef int32_t s_signed_t __attribute__((vector_size(32)));

#define LOAD(row, from) memcpy(&(row), (from), sizeof(s_row_t))
#define STORE(to, row)  memcpy((to), &(row), sizeof(s_row_t))
#define SPLAT(number)   ((s_row_t){0} + (number))

// ---- packing ----------------------------------------------------------------------------------

// `width` is a constant wherever this is inlined: every shift and branch is settled.
BB_INLINE void s_unpack(const uint8_t *packed, uint32_t width, uint32_t base, uint32_t *out)
{
    s_row_t bases = SPLAT(base);
    s_row_t mask = SPLAT(width == 32 ? UINT32_MAX : (UINT32_C(1) << (width & 31)) - 1);
    s_row_t word;
    LOAD(word, packed);
#pragma GCC unroll 32
    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t bit = row * width;
        uint32_t used = bit % 32;
        s_row_t integers = word >> used;
        if (used + width >= 32 && row + 1 < ROWS) {
            LOAD(word, packed + (bit / 32 + 1) * sizeof word);
        }
        if (used + width > 32) {
            integers |= word << (32 - used);
        }
        integers = (integers & mask) + bases;
        STORE(out + row * LANES, integers);
    }
}

BB_INLINE void s_pack(const uint32_t *integers, uint32_t width, uint8_t *out)
{
    s_row_t word = SPLAT(0);
#pragma GCC unroll 32
    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t bit = row * width;
        uint32_t used = bit % 32;
        s_row_t next;
        LOAD(next, integers + row * LANES);
        word |= next << used;
        if (used + width >= 32) {
            STORE(out + bit / 32 * sizeof word, word);
            word = used + width > 32 ? next >> (32 - used) : SPLAT(0);
        }
    }
}

// clang-format off
#define WIDTHS(CASE) \
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) \
    CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15) CASE(16) \
    CASE(17) CASE(18) CASE(19) CASE(20) CASE(21) CASE(22) CASE(23) CASE(24) \
    CASE(25) CASE(26) CASE(27) CASE(28) CASE(29) CASE(30) CASE(31) CASE(32)
// clang-format on

#define PACK_CASE(w)                                                                               \
    case w:                                                                                        \
        s_pack(integers, w, out);                                                                  \
        break;
#define UNPACK_CASE(w)                                                                             \
    case w:                                                                                        \
        s_unpack(packed, w, base, out);                                                            \
        break;

BB_CLONES void bb_lanes_pack(const uint32_t *integers, uint32_t width, uint8_t *out)
{
    BB_ASSERT(width <= BB_LANES_WIDTH_MAX);
    switch (width) {
        WIDTHS(PACK_CASE)
    default:
        break; // no bits
    }
}

BB_CLONES void bb_lanes_unpack(const uint8_t *packed, uint32_t width, uint32_t base, uint32_t *out)
{
    BB_ASSERT(width <= BB_LANES_WIDTH_MAX);
    switch (width) {
        WIDTHS(UNPACK_CASE)
    default:
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            out[i] = base;
        }
    }
}

// ---- rows and columns ---------------------------------------------------------------------------

// Eight vectors of eight become their transpose: neighbours of 1, 2, then 4 integers change places.
BB_INLINE void s_transpose(s_row_t rows[LANES])
{
    s_row_t half[LANES];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < LANES; i += 2) {
        half[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        half[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    s_row_t quarter[LANES];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < LANES; i += 4) {
#pragma GCC unroll 8
        for (uint32_t j = i; j < i + 2; j++) {
            quarter[j] = __builtin_shufflevector(half[j], half[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            quarter[j + 2] =
                __builtin_shufflevector(half[j], half[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
#pragma GCC unroll 8
    for (uint32_t i = 0; i < LANES / 2; i++) {
        rows[i] = __builtin_shufflevector(quarter[i], quarter[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        rows[i + 4] =
            __builtin_shufflevector(quarter[i], quarter[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

BB_CLONES void bb_lanes_from_rows(const uint32_t *rows, uint32_t *out)
{
    for (uint32_t row = 0; row < ROWS; row += LANES) {
        s_row_t square[LANES];
#pragma GCC unroll 8
        for (uint32_t lane = 0; lane < LANES; lane++) {
            LOAD(square[lane], rows + lane * ROWS + row);
        }
        s_transpose(square);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < LANES; i++) {
            STORE(out + (row + i) * LANES, square[i]);
        }
    }
}

BB_CLONES void bb_lanes_to_rows(const uint32_t *lanes, uint32_t *rows)
{
    for (uint32_t row = 0; row < ROWS; row += LANES) {
        s_row_t square[LANES];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < LANES; i++) {
            LOAD(square[i], lanes + (row + i) * LANES);
        }
        s_transpose(square);
#pragma GCC unroll 8
        for (uint32_t lane = 0; lane < LANES; lane++) {
            STORE(rows + lane * ROWS + row, square[lane]);
        }
    }
}

// ---- sums ---------------------------------------------------------------------------------------

// What comes before each lane, from the totals of the lanes; returns what comes after all.
BB_INLINE uint32_t s_offsets(const s_row_t *totals, uint32_t before, s_row_t *offsets)
{
    const s_row_t zeros = SPLAT(0);
    s_row_t sums = *totals;
    sums += __builtin_shufflevector(zeros, sums, 0, 8, 9, 10, 11, 12, 13, 14);
    sums += __builtin_shufflevector(zeros, sums, 0, 0, 8, 9, 10, 11, 12, 13);
    sums += __builtin_shufflevector(zeros, sums, 0, 0, 0, 0, 8, 9, 10, 11);
    sums += before;
    *offsets = sums - *totals;
    return sums[LANES - 1];
}

BB_CLONES uint32_t bb_lanes_integrate(uint32_t *lanes, uint32_t before)
{
    s_row_t sum = SPLAT(0);
    for (uint32_t row = 0; row < ROWS; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        sum += next;
        STORE(lanes + row * LANES, sum);
    }
    s_row_t offsets;
    uint32_t last = s_offsets(&sum, before, &offsets);
    for (uint32_t row = 0; row < ROWS; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        next += offsets;
        STORE(lanes + row * LANES, next);
    }
    return last;
}

BB_CLONES uint32_t bb_lanes_integrate_rows(uint32_t *lanes, uint32_t before, uint32_t *rows)
{
    s_row_t sum = SPLAT(0);
    for (uint32_t row = 0; row < ROWS; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        sum += next;
        STORE(lanes + row * LANES, sum);
    }
    s_row_t offsets;
    uint32_t last = s_offsets(&sum, before, &offsets);
    for (uint32_t row = 0; row < ROWS; row += LANES) {
        s_row_t square[LANES];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < LANES; i++) {
            LOAD(square[i], lanes + (row + i) * LANES);
            square[i] += offsets;
        }
        s_transpose(square);
#pragma GCC unroll 8
        for (uint32_t lane = 0; lane < LANES; lane++) {
            STORE(rows + lane * ROWS + row, square[lane]);
        }
    }
    return last;
}

// ---- totals -------------------------------------------------------------------------------------

typedef int32_t s_half_t __attribute__((vector_size(16)));
typedef int64_t s_wide_t __attribute__((vector_size(32)));

// Of 32 rows. Sums of numbers below SMALL stay inside of 32 bits.
#define SMALL_BITS 26u
typedef struct {
    s_signed_t min, max;
    s_wide_t sum_low, sum_high; // of the lower and the higher four lanes
} s_totals_t;

BB_INLINE void s_widen(const s_signed_t *from, s_wide_t *low, s_wide_t *high)
{
    s_half_t a = __builtin_shufflevector(*from, *from, 0, 1, 2, 3);
    s_half_t b = __builtin_shufflevector(*from, *from, 4, 5, 6, 7);
    *low = __builtin_convertvector(a, s_wide_t);
    *high = __builtin_convertvector(b, s_wide_t);
}

// Lane by lane, which compilers know as one instruction; a choice by masks they do not.
BB_INLINE void s_extremes(s_signed_t *min, s_signed_t *max, const s_signed_t *next)
{
#pragma GCC unroll 8
    for (uint32_t lane = 0; lane < LANES; lane++) {
        (*min)[lane] = (*next)[lane] < (*min)[lane] ? (*next)[lane] : (*min)[lane];
        (*max)[lane] = (*next)[lane] > (*max)[lane] ? (*next)[lane] : (*max)[lane];
    }
}

// All below 2^bits and not below -2^bits?
BB_INLINE bool s_are_within(const s_signed_t *a, const s_signed_t *b, uint32_t bits)
{
    s_row_t high = ((s_row_t)*a + (1u << bits)) >> (bits + 1);
    high |= ((s_row_t)*b + (1u << bits)) >> (bits + 1);
    uint64_t words[LANES / 2];
    memcpy(words, &high, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) == 0;
}

// Of rows that are large: in two halves, so that 32 of them never overflow.
BB_INLINE void s_sum_large(const uint32_t *lanes, uint32_t rows, bool is_integrated,
                           s_totals_t *totals)
{
    s_row_t sum = SPLAT(0);
    s_signed_t high = {0};
    s_signed_t low = {0};
    for (uint32_t row = 0; row < rows; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        sum = is_integrated ? sum + next : next;
        high += (s_signed_t)sum >> 16;
        low += (s_signed_t)sum & 0xffff;
    }
    s_wide_t a, b;
    s_widen(&low, &totals->sum_low, &totals->sum_high);
    s_widen(&high, &a, &b);
    totals->sum_low += a * 65536;
    totals->sum_high += b * 65536;
}

// At most 32 rows. `last`: the sums of the lanes.
BB_INLINE void s_add_up(const uint32_t *lanes, uint32_t rows, bool is_integrated,
                        s_totals_t *totals, s_row_t *last)
{
    s_row_t sum = SPLAT(0);
    s_signed_t min = (s_signed_t){0} + INT32_MAX;
    s_signed_t max = (s_signed_t){0} + INT32_MIN;
    s_row_t sums = SPLAT(0);
    for (uint32_t row = 0; row < rows; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        sum = is_integrated ? sum + next : next;
        s_signed_t number = (s_signed_t)sum;
        s_extremes(&min, &max, &number);
        sums += sum;
    }
    totals->min = min;
    totals->max = max;
    *last = sum;
    s_signed_t narrow = (s_signed_t)sums;
    s_widen(&narrow, &totals->sum_low, &totals->sum_high);
    if (!s_are_within(&min, &max, SMALL_BITS)) {
        s_sum_large(lanes, rows, is_integrated, totals);
    }
}

// Adds the totals of 32 rows, `offsets` being added to each row.
BB_INLINE void s_join(bb_lanes_totals_t *self, const s_totals_t *totals, const s_row_t *offsets)
{
    s_signed_t min, max;
    s_wide_t sum_low, sum_high, a, b;
    LOAD(min, self->min);
    LOAD(max, self->max);
    LOAD(sum_low, self->sum);
    LOAD(sum_high, self->sum + LANES / 2);
    // Modulo 2^32: what wraps here has overflowed.
    s_signed_t low = (s_signed_t)((s_row_t)totals->min + *offsets);
    s_signed_t high = (s_signed_t)((s_row_t)totals->max + *offsets);
    s_extremes(&min, &high, &low); // low <= high, unless they have overflowed
    s_extremes(&low, &max, &high);
    s_signed_t starts = (s_signed_t)*offsets;
    s_widen(&starts, &a, &b);
    sum_low += totals->sum_low + a * ROWS;
    sum_high += totals->sum_high + b * ROWS;
    STORE(self->min, min);
    STORE(self->max, max);
    STORE(self->sum, sum_low);
    STORE(self->sum + LANES / 2, sum_high);
}

BB_INLINE void s_clear(bb_lanes_totals_t *totals)
{
    s_signed_t min = (s_signed_t){0} + INT32_MAX;
    s_signed_t max = (s_signed_t){0} + INT32_MIN;
    STORE(totals->min, min);
    STORE(totals->max, max);
    memset(totals->sum, 0, sizeof totals->sum);
    totals->overflowed = false;
}

BB_INLINE bb_lanes_total_t s_together(const bb_lanes_totals_t *totals)
{
    bb_lanes_total_t total = {INT32_MAX, INT32_MIN, 0};
    for (uint32_t lane = 0; lane < LANES; lane++) {
        total.min = BB_MIN(total.min, totals->min[lane]);
        total.max = BB_MAX(total.max, totals->max[lane]);
        total.sum += totals->sum[lane];
    }
    return total;
}

BB_CLONES void bb_lanes_totals_clear(bb_lanes_totals_t *totals)
{
    s_clear(totals);
}

BB_CLONES bb_lanes_total_t bb_lanes_total(const bb_lanes_totals_t *totals)
{
    return s_together(totals);
}

BB_CLONES void bb_lanes_add_totals(const uint32_t *integers, bb_lanes_totals_t *totals)
{
    s_totals_t sums;
    s_row_t offsets = SPLAT(0);
    s_row_t last;
    s_add_up(integers, ROWS, false, &sums, &last);
    s_join(totals, &sums, &offsets);
}

BB_CLONES uint32_t bb_lanes_integrate_totals(const uint32_t *lanes, uint32_t before,
                                             bb_lanes_totals_t *totals)
{
    s_totals_t sums;
    s_row_t sum, offsets;
    s_add_up(lanes, ROWS, true, &sums, &sum);
    uint32_t last = s_offsets(&sum, before, &offsets);
    s_join(totals, &sums, &offsets);
    // Numbers of this size do not wrap when two are added. A step that wraps on its way shows as
    // well: from one small number to the next it takes less than 2^31.
    s_signed_t starts = (s_signed_t)offsets;
    totals->overflowed |=
        !s_are_within(&sums.min, &sums.max, 30) || !s_are_within(&starts, &starts, 30);
    return last;
}

BB_CLONES bb_lanes_total_t bb_lanes_total_of(const int32_t *integers, uint32_t count)
{
    bb_lanes_totals_t totals;
    s_totals_t sums;
    s_row_t last;
    const s_row_t offsets = SPLAT(0);
    uint32_t i = 0;
    s_clear(&totals);
    for (; i + BB_LANES_COUNT <= count; i += BB_LANES_COUNT) {
        s_add_up((const uint32_t *)integers + i, ROWS, false, &sums, &last);
        s_join(&totals, &sums, &offsets);
    }
    if (i + LANES <= count) {
        s_add_up((const uint32_t *)integers + i, (count - i) / LANES, false, &sums, &last);
        s_join(&totals, &sums, &offsets);
        i += (count - i) / LANES * LANES;
    }
    bb_lanes_total_t total = s_together(&totals);
    for (; i < count; i++) {
        total.min = BB_MIN(total.min, integers[i]);
        total.max = BB_MAX(total.max, integers[i]);
        total.sum += integers[i];
    }
    return total;
}

// ---- fewer than 256 -----------------------------------------------------------------------------

typedef uint8_t s_bytes_t __attribute__((vector_size(16)));
typedef uint32_t s_four_t __attribute__((vector_size(16)));

// Wider integers do not lie in four bytes, whatever bit they begin with.
#define SHORT_WIDTH_MAX 25u
// Four integers begin in these bytes and lie in 16.
#define SHORT_LOAD_BYTES (4u * SHORT_WIDTH_MAX / 8 + 16u)

// Where four integers that begin with bit `first` of a byte are: their bytes in its order, shifts.
BB_INLINE void s_find_four(uint32_t first, uint32_t width, s_bytes_t *places, s_four_t *shifts)
{
    s_four_t bits = (s_four_t){0, 1, 2, 3} * width + first;
    *places = (s_bytes_t)((bits >> 3) * 0x01010101u + 0x03020100u);
    *shifts = bits & 7;
}

BB_INLINE void s_unpack_four(const uint8_t *at, const s_bytes_t *places, const s_four_t *shifts,
                             uint32_t mask, uint32_t base, uint32_t *out)
{
    s_bytes_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    s_four_t integers = (s_four_t)__builtin_shuffle(bytes, *places) >> *shifts;
    integers = (integers & mask) + base;
    memcpy(out, &integers, sizeof integers);
}

// Eight integers at a time, which begin with a byte: from `first` on, up to `limit`.
BB_CLONES static void s_unpack_short(const uint8_t *packed, uint32_t first, uint32_t limit,
                                     uint32_t width, uint32_t base, uint32_t *out)
{
    s_bytes_t places, places_high;
    s_four_t shifts, shifts_high;
    uint32_t mask = (UINT32_C(1) << width) - 1;
    s_find_four(0, width, &places, &shifts);
    s_find_four(4 * width % 8, width, &places_high, &shifts_high);
    for (uint32_t i = first; i < limit; i += LANES, packed += width) {
        s_unpack_four(packed, &places, &shifts, mask, base, out + i);
        s_unpack_four(packed + 4 * width / 8, &places_high, &shifts_high, mask, base, out + i + 4);
    }
}

// Of any width, one by one.
static void s_unpack_wide(const uint8_t *packed, size_t bytes, uint32_t count, uint32_t width,
                          uint32_t base, uint32_t *out)
{
    uint64_t numbers[BB_LANES_COUNT];
    bb_bitpack_unpack_range(packed, bytes, width, 0, count, numbers);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = base + (uint32_t)numbers[i];
    }
    memset(out + count, 0, (BB_LANES_COUNT - count) * sizeof *out);
}

bool bb_lanes_unpack_short(const uint8_t *packed, size_t bytes, uint32_t count, uint32_t width,
                           uint32_t base, uint32_t *out)
{
    BB_ASSERT(count < BB_LANES_COUNT && width <= BB_LANES_WIDTH_MAX);
    size_t length = bb_bitpack_bytes(count, width);
    BB_ASSERT(length <= bytes);
    if (width > SHORT_WIDTH_MAX) {
        s_unpack_wide(packed, bytes, count, width, base, out);
    } else if (width == 0) {
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            out[i] = base;
        }
    } else {
        uint32_t near = 0; // those that can be read where they lie
        if (bytes >= SHORT_LOAD_BYTES) {
            near = (uint32_t)((bytes - SHORT_LOAD_BYTES) / width + 1) * LANES;
            near = BB_MIN(near, (count + LANES - 1) / LANES * LANES);
            s_unpack_short(packed, 0, near, width, base, out);
        }
        if (near < count) {
            size_t done = (size_t)near / LANES * width;
            uint8_t rest[2 * SHORT_LOAD_BYTES] = {0}; // fewer are left than one load takes
            memcpy(rest, packed + done, length - done);
            s_unpack_short(rest, near, count, width, base, out);
        }
    }
    uint32_t used = (uint32_t)((uint64_t)count * width % 8);
    return used == 0 || packed[length - 1] >> used == 0;
}

BB_CLONES uint32_t bb_lanes_integrate_short(uint32_t *rows, uint32_t count, uint32_t before)
{
    const s_row_t zeros = SPLAT(0);
    s_row_t start = SPLAT(before);
    for (uint32_t i = 0; i < count; i += LANES) {
        s_row_t sums;
        LOAD(sums, rows + i);
        sums += __builtin_shufflevector(zeros, sums, 0, 8, 9, 10, 11, 12, 13, 14);
        sums += __builtin_shufflevector(zeros, sums, 0, 0, 8, 9, 10, 11, 12, 13);
        sums += __builtin_shufflevector(zeros, sums, 0, 0, 0, 0, 8, 9, 10, 11);
        s_row_t all = __builtin_shufflevector(sums, sums, 7, 7, 7, 7, 7, 7, 7, 7);
        sums += start;
        start += all;
        STORE(rows + i, sums);
    }
    return count == 0 ? before : rows[count - 1];
}

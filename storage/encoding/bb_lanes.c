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

typedef int64_t s_wide_t __attribute__((vector_size(32)));
typedef uint64_t s_words_t __attribute__((vector_size(32)));

// Sums of 32 numbers below 2^26, 128 below 2^24, stay inside of 32 bits.
#define SMALL_BITS      26u
#define SMALL_BITS_LONG 24u
#define ROWS_LONG       128u

// Adds eight sums to four: the order does not matter.
BB_INLINE void s_widen(const s_row_t *from, s_wide_t *sum)
{
    s_words_t pairs = (s_words_t)(*from ^ SPLAT(UINT32_C(1) << 31)); // now not negative
    *sum += (s_wide_t)((pairs & UINT32_MAX) + (pairs >> 32)) - (INT64_C(1) << 32);
}

// Lane by lane, which compilers know as one instruction; a choice by masks they do not.
BB_INLINE void s_extremes(s_signed_t *min, s_signed_t *max, const s_signed_t *low,
                          const s_signed_t *high)
{
#pragma GCC unroll 8
    for (uint32_t lane = 0; lane < LANES; lane++) {
        (*min)[lane] = (*low)[lane] < (*min)[lane] ? (*low)[lane] : (*min)[lane];
        (*max)[lane] = (*high)[lane] > (*max)[lane] ? (*high)[lane] : (*max)[lane];
    }
}

// Not 0 where a number is 2^bits or more, or below -2^bits.
BB_INLINE void s_see_far(const s_signed_t *number, uint32_t bits, s_row_t *far)
{
    *far |= ((s_row_t)*number + (UINT32_C(1) << bits)) >> (bits + 1);
}

BB_INLINE bool s_is_zero(const s_row_t *row)
{
    uint64_t words[LANES / 2];
    memcpy(words, row, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) == 0;
}

// Of some rows, before their lanes come together.
typedef struct {
    s_signed_t min, max;
    s_row_t sum, last; // modulo 2^32
} s_totals_t;

BB_INLINE void s_add_up(const uint32_t *lanes, uint32_t rows, bool is_integrated,
                        s_totals_t *totals)
{
    s_row_t number = SPLAT(0);
    s_row_t sum = SPLAT(0);
    s_signed_t min = (s_signed_t){0} + INT32_MAX;
    s_signed_t max = (s_signed_t){0} + INT32_MIN;
    for (uint32_t row = 0; row < rows; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        number = is_integrated ? number + next : next;
        s_signed_t ordered = (s_signed_t)number;
        s_extremes(&min, &max, &ordered, &ordered);
        sum += number;
    }
    *totals = (s_totals_t){min, max, sum, number};
}

// Adds the totals of 32 rows, `starts` being added to each row. Numbers and starts below 2^25 do
// not wrap when they are added, nor do 32 of their sums. A step that wraps on its way shows as
// well: from one small number to the next it takes less than 2^31.
BB_INLINE void s_join(bb_lanes_totals_t *self, const s_totals_t *totals, const s_row_t *starts)
{
    s_signed_t min, max;
    s_wide_t sum;
    s_row_t far;
    LOAD(min, self->min);
    LOAD(max, self->max);
    LOAD(sum, self->sum);
    LOAD(far, self->far);
    s_signed_t signed_starts = (s_signed_t)*starts;
    s_see_far(&totals->min, SMALL_BITS - 1, &far);
    s_see_far(&totals->max, SMALL_BITS - 1, &far);
    s_see_far(&signed_starts, SMALL_BITS - 1, &far);
    s_signed_t low = (s_signed_t)((s_row_t)totals->min + *starts);
    s_signed_t high = (s_signed_t)((s_row_t)totals->max + *starts);
    s_extremes(&min, &max, &low, &high);
    s_row_t all = totals->sum + *starts * ROWS;
    s_widen(&all, &sum);
    STORE(self->min, min);
    STORE(self->max, max);
    STORE(self->sum, sum);
    STORE(self->far, far);
}

// The lanes together.
BB_INLINE bb_lanes_total_t s_together(const s_signed_t *min, const s_signed_t *max,
                                      const s_wide_t *sum)
{
    s_signed_t low = *min;
    s_signed_t high = *max;
    s_signed_t other_low = __builtin_shufflevector(low, low, 4, 5, 6, 7, 4, 5, 6, 7);
    s_signed_t other_high = __builtin_shufflevector(high, high, 4, 5, 6, 7, 4, 5, 6, 7);
    s_extremes(&low, &high, &other_low, &other_high);
    other_low = __builtin_shufflevector(low, low, 2, 3, 2, 3, 2, 3, 2, 3);
    other_high = __builtin_shufflevector(high, high, 2, 3, 2, 3, 2, 3, 2, 3);
    s_extremes(&low, &high, &other_low, &other_high);
    return (bb_lanes_total_t){BB_MIN(low[0], low[1]), BB_MAX(high[0], high[1]),
                              (*sum)[0] + (*sum)[1] + (*sum)[2] + (*sum)[3]};
}

BB_CLONES void bb_lanes_totals_clear(bb_lanes_totals_t *totals)
{
    s_signed_t min = (s_signed_t){0} + INT32_MAX;
    s_signed_t max = (s_signed_t){0} + INT32_MIN;
    s_row_t zeros = SPLAT(0);
    STORE(totals->min, min);
    STORE(totals->max, max);
    STORE(totals->sum, zeros);
    STORE(totals->far, zeros);
}

BB_CLONES bool bb_lanes_total(const bb_lanes_totals_t *totals, bb_lanes_total_t *total)
{
    s_signed_t min, max;
    s_wide_t sum;
    s_row_t far;
    LOAD(min, totals->min);
    LOAD(max, totals->max);
    LOAD(sum, totals->sum);
    LOAD(far, totals->far);
    *total = s_together(&min, &max, &sum);
    return s_is_zero(&far);
}

BB_CLONES void bb_lanes_add_totals(const uint32_t *integers, bb_lanes_totals_t *totals)
{
    s_totals_t sums;
    s_row_t starts = SPLAT(0);
    s_add_up(integers, ROWS, false, &sums);
    s_join(totals, &sums, &starts);
}

BB_CLONES uint32_t bb_lanes_integrate_totals(const uint32_t *lanes, uint32_t before,
                                             bb_lanes_totals_t *totals)
{
    s_totals_t sums;
    s_row_t starts;
    s_add_up(lanes, ROWS, true, &sums);
    uint32_t last = s_offsets(&sums.last, before, &starts);
    s_join(totals, &sums, &starts);
    return last;
}

// Of numbers that are large: in two halves, so that 128 of them never overflow.
BB_INLINE void s_sum_large(const uint32_t *lanes, uint32_t rows, s_wide_t *sum)
{
    s_signed_t high = {0};
    s_row_t low = {0};
    for (uint32_t row = 0; row < rows; row++) {
        s_signed_t next;
        LOAD(next, lanes + row * LANES);
        high += next >> 16;
        low += (s_row_t)next & 0xffff;
    }
    s_row_t halves = (s_row_t)high;
    s_widen(&halves, sum);
    *sum *= 65536;
    s_widen(&low, sum);
}

// Rows of eight, at most ROWS_LONG of them.
BB_INLINE bb_lanes_total_t s_total_of_rows(const uint32_t *lanes, uint32_t rows)
{
    s_totals_t sums;
    s_wide_t sum = {0};
    s_row_t far = SPLAT(0);
    s_add_up(lanes, rows, false, &sums);
    s_see_far(&sums.min, SMALL_BITS_LONG, &far);
    s_see_far(&sums.max, SMALL_BITS_LONG, &far);
    if (s_is_zero(&far)) {
        s_widen(&sums.sum, &sum);
    } else {
        s_sum_large(lanes, rows, &sum);
    }
    return s_together(&sums.min, &sums.max, &sum);
}

BB_CLONES bb_lanes_total_t bb_lanes_total_of(const int32_t *integers, uint32_t count)
{
    bb_lanes_total_t total = {INT32_MAX, INT32_MIN, 0};
    uint32_t i = 0;
    while (count - i >= LANES) {
        uint32_t rows = BB_MIN((count - i) / LANES, ROWS_LONG);
        bb_lanes_total_t part = s_total_of_rows((const uint32_t *)integers + i, rows);
        total.min = BB_MIN(total.min, part.min);
        total.max = BB_MAX(total.max, part.max);
        total.sum += part.sum;
        i += rows * LANES;
    }
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
#if defined(__clang__)
    s_bytes_t found; // no such built-in
    for (uint32_t i = 0; i < sizeof found; i++) {
        found[i] = bytes[(*places)[i] % sizeof bytes];
    }
#else
    s_bytes_t found = __builtin_shuffle(bytes, *places);
#endif
    s_four_t integers = (s_four_t)found >> *shifts;
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

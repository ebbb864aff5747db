// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_lanes.h"

#include <string.h>

#include "storage/encoding/bb_clones.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie on disk");

#define LANES 8u
#define ROWS  32u
static_assert(LANES * ROWS == BB_LANES_COUNT, "lanes x rows");

// Vectors of the compiler: one AVX2 register, two of SSE2 or NEON.
typedef uint32_t s_row_t __attribute__((vector_size(32)));
typedef int32_t s_signed_t __attribute__((vector_size(32)));

#define LOAD(row, from)     memcpy(&(row), (from), sizeof(s_row_t))
#define STORE(to, row)      memcpy((to), &(row), sizeof(s_row_t))
#define SPLAT(number)       ((s_row_t){0} + (number))
#define CHOOSE(mask, a, b)  (((mask) & (a)) | (~(mask) & (b)))
#define SMALLER(into, from) ((into) = CHOOSE((into) < (from), into, from))
#define LARGER(into, from)  ((into) = CHOOSE((into) > (from), into, from))

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
    uint32_t lanes[LANES];
    STORE(lanes, *totals);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t total = lanes[lane];
        lanes[lane] = before;
        before += total;
    }
    LOAD(*offsets, lanes);
    return before;
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

// Sums of signed integers in two halves, so that 32 rows never overflow.
typedef struct {
    s_signed_t min, max, high, low;
} s_totals_t;

BB_INLINE void s_totals_begin(s_totals_t *self)
{
    self->min = (s_signed_t){0} + INT32_MAX;
    self->max = (s_signed_t){0} + INT32_MIN;
    self->high = (s_signed_t){0};
    self->low = (s_signed_t){0};
}

BB_INLINE void s_totals_add(s_totals_t *self, const s_row_t *row)
{
    s_signed_t next = (s_signed_t)*row;
    SMALLER(self->min, next);
    LARGER(self->max, next);
    self->high += next >> 16;
    self->low += next & 0xffff;
}

BB_INLINE void s_totals_end(const s_totals_t *self, const s_row_t *offsets,
                            bb_lanes_totals_t *totals)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        int32_t offset = (int32_t)(*offsets)[lane];
        // Modulo 2^32: what wraps here is found by s_is_small, too.
        int32_t min = (int32_t)((uint32_t)self->min[lane] + (uint32_t)offset);
        int32_t max = (int32_t)((uint32_t)self->max[lane] + (uint32_t)offset);
        totals->min = BB_MIN(totals->min, min);
        totals->max = BB_MAX(totals->max, max);
        totals->sum += (int64_t)self->high[lane] * 65536 + self->low[lane];
        totals->sum += (int64_t)ROWS * offset;
    }
}

// Numbers of this size do not wrap when two are added. A step that wraps on its way shows as well:
// from one small number to the next it takes less than 2^31.
BB_INLINE bool s_is_small(const s_totals_t *self, const s_row_t *offsets)
{
    bool is_small = true;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        int32_t offset = (int32_t)(*offsets)[lane];
        is_small &=
            (self->min[lane] > -BB_LANES_SUM_LIMIT) & (self->max[lane] < BB_LANES_SUM_LIMIT);
        is_small &= (offset > -BB_LANES_SUM_LIMIT) & (offset < BB_LANES_SUM_LIMIT);
    }
    return is_small;
}

BB_CLONES void bb_lanes_add_totals(const uint32_t *integers, bb_lanes_totals_t *totals)
{
    s_totals_t sums;
    s_totals_begin(&sums);
    for (uint32_t row = 0; row < ROWS; row++) {
        s_row_t next;
        LOAD(next, integers + row * LANES);
        s_totals_add(&sums, &next);
    }
    s_row_t offsets = SPLAT(0);
    s_totals_end(&sums, &offsets, totals);
}

BB_CLONES uint32_t bb_lanes_integrate_totals(uint32_t *lanes, uint32_t before,
                                             bb_lanes_totals_t *totals, bool *overflowed)
{
    s_totals_t sums;
    s_totals_begin(&sums);
    s_row_t sum = SPLAT(0);
    for (uint32_t row = 0; row < ROWS; row++) {
        s_row_t next;
        LOAD(next, lanes + row * LANES);
        sum += next;
        s_totals_add(&sums, &sum);
    }
    s_row_t offsets;
    uint32_t last = s_offsets(&sum, before, &offsets);
    s_totals_end(&sums, &offsets, totals);
    *overflowed |= !s_is_small(&sums, &offsets);
    return last;
}

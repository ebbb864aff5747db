// SPDX-License-Identifier: Apache-2.0
// Reading; bb_packer.c writes.
#include "storage/encoding/bb_packed.h"

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_arithmetic.h"
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_entropy.h"
#include "storage/encoding/bb_lanes.h"
#include "storage/encoding/bb_packed_private.h"

// The head of a mini.
typedef struct {
    uint32_t width, patch_count, patch_bytes;
} s_head_t;

bool bb_packed_open(bb_packed_t *self, bb_slice_t bytes, uint32_t count)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    bb_reader_t reader = bb_reader(bytes);
    uint32_t flags = (uint32_t)bb_reader_fixed(&reader, 1);
    *self = (bb_packed_t){
        .count = count,
        .order = flags & FLAGS_ORDER,
        .is_wide = flags & FLAG_WIDE,
        .is_entropy = flags & (FLAG_ENTROPY | FLAG_ARITHMETIC),
        .is_arithmetic = flags & FLAG_ARITHMETIC,
        .scale = 1,
    };
    self->base = bb_reader_signed(&reader);
    if (self->order == 2) {
        self->slope = bb_reader_signed(&reader);
    }
    if (flags & FLAG_SCALE) {
        self->scale = bb_reader_varint(&reader);
    }
    if (flags & FLAG_UNITS) {
        self->base *= self->scale;
    }
    self->minis = reader;
    return !reader.failed && flags <= FLAGS_ALL && self->order <= BB_PACKED_ORDER_MAX &&
           !(self->is_wide && self->is_entropy) &&
           !(flags & FLAG_ENTROPY && flags & FLAG_ARITHMETIC);
}

// Goes through the minis.
typedef struct {
    bb_reader_t minis;
    uint32_t row;        // first row that is left
    uint64_t reference;  // of the mini before
    uint64_t sum, slope; // integrals so far: of order 1 and 2
} s_walk_t;

static s_walk_t s_walk(const bb_packed_t *self)
{
    return (s_walk_t){.minis = self->minis, .slope = self->slope};
}

static bool s_is_done(const bb_packed_t *self, const s_walk_t *walk)
{
    return walk->row == self->count && bb_reader_is_done(&walk->minis);
}

static bool s_begin_mini(s_walk_t *walk, uint32_t rows, uint32_t width_max, s_head_t *head)
{
    uint32_t bits = (uint32_t)bb_reader_fixed(&walk->minis, 1);
    *head = (s_head_t){.width = bits & MINI_WIDTH};
    head->width += head->width == MINI_WIDTH;
    if (bits & MINI_REFERENCE) {
        walk->reference = bb_reader_signed(&walk->minis);
    }
    if (bits & MINI_PATCHES) {
        head->patch_count = (uint32_t)bb_reader_fixed(&walk->minis, 1);
        head->patch_bytes = (uint32_t)bb_reader_fixed(&walk->minis, 1);
        if (head->patch_count == 0 || head->patch_count > rows || head->patch_bytes == 0 ||
            head->patch_bytes > (width_max > 32 ? 8u : 4u)) {
            return false;
        }
    }
    return head->width <= width_max && !walk->minis.failed;
}

// The patches of a mini: rows and residuals.
typedef struct {
    const uint8_t *rows, *values;
} s_patches_t;

static bool s_take_patches(s_walk_t *walk, const s_head_t *head, uint32_t rows,
                           s_patches_t *patches)
{
    patches->rows = bb_reader_take(&walk->minis, head->patch_count);
    patches->values = bb_reader_take(&walk->minis, (size_t)head->patch_count * head->patch_bytes);
    if (walk->minis.failed) {
        return false;
    }
    for (uint32_t i = 1; i < head->patch_count; i++) {
        if (patches->rows[i] <= patches->rows[i - 1]) {
            return false;
        }
    }
    return patches->rows[head->patch_count - 1] < rows;
}

static uint64_t s_patch(const s_walk_t *walk, const s_head_t *head, const s_patches_t *patches,
                        uint32_t i)
{
    const uint8_t *at = patches->values + (size_t)i * head->patch_bytes;
    uint64_t folded = 0;
    if (head->patch_bytes == 2) {
        folded = (uint64_t)at[0] | (uint64_t)at[1] << 8; // nearly all
    } else {
        for (uint32_t k = 0; k < head->patch_bytes; k++) {
            folded |= (uint64_t)at[k] << (8 * k);
        }
    }
    return walk->reference + bb_unfold(folded);
}

// Patches of `bytes` bytes each, which is a constant wherever this is inlined. True: rows ascend.
BB_INLINE bool s_put_patches(const s_patches_t *patches, uint32_t count, uint32_t bytes,
                             uint32_t reference, uint32_t *residuals)
{
    uint32_t disorder = 0;
    uint32_t limit = 0; // behind the row before
    for (uint32_t i = 0; i < count; i++) {
        uint32_t folded = 0;
        memcpy(&folded, patches->values + (size_t)i * bytes, bytes);
        uint32_t row = patches->rows[i];
        disorder |= row < limit;
        limit = row + 1;
        residuals[row] = reference + (folded >> 1 ^ (0u - (folded & 1)));
    }
    return disorder == 0;
}

// Patches a narrow mini; `residuals` has room for any row of a byte. False: corrupt.
static bool s_patch_narrow(s_walk_t *walk, const s_head_t *head, uint32_t rows, uint32_t *residuals)
{
    const s_patches_t patches = {
        bb_reader_take(&walk->minis, head->patch_count),
        bb_reader_take(&walk->minis, (size_t)head->patch_count * head->patch_bytes)};
    if (walk->minis.failed || patches.rows[head->patch_count - 1] >= rows) {
        return false;
    }
    uint32_t count = head->patch_count;
    uint32_t reference = (uint32_t)walk->reference;
    switch (head->patch_bytes) {
    case 1:
        return s_put_patches(&patches, count, 1, reference, residuals);
    case 2:
        return s_put_patches(&patches, count, 2, reference, residuals);
    case 3:
        return s_put_patches(&patches, count, 3, reference, residuals);
    default:
        return s_put_patches(&patches, count, 4, reference, residuals);
    }
}

// The residuals of a full narrow mini, as they lie. *is_flat: all are the reference.
static bool s_full_mini(s_walk_t *walk, uint32_t *residuals, bool *is_flat)
{
    s_head_t head;
    if (!s_begin_mini(walk, MINI_ROWS, BB_LANES_WIDTH_MAX, &head)) {
        return false;
    }
    const uint8_t *bits = bb_reader_take(&walk->minis, bb_lanes_bytes(head.width));
    if (!bits) {
        return false;
    }
    walk->row += MINI_ROWS;
    *is_flat = head.width == 0 && head.patch_count == 0;
    bb_lanes_unpack(bits, head.width, (uint32_t)walk->reference, residuals);
    return head.patch_count == 0 || s_patch_narrow(walk, &head, MINI_ROWS, residuals);
}

// The residuals of a short narrow mini; there is room for MINI_ROWS.
static bool s_short_mini(s_walk_t *walk, uint32_t rows, uint32_t *residuals)
{
    s_head_t head;
    if (!s_begin_mini(walk, rows, BB_LANES_WIDTH_MAX, &head)) {
        return false;
    }
    size_t left = bb_reader_left(&walk->minis);
    const uint8_t *bits = bb_reader_take(&walk->minis, bb_bitpack_bytes(rows, head.width));
    if (!bits || !bb_lanes_unpack_short(bits, left, rows, head.width, (uint32_t)walk->reference,
                                        residuals)) {
        return false;
    }
    walk->row += rows;
    return head.patch_count == 0 || s_patch_narrow(walk, &head, rows, residuals);
}

// The residuals of a wide mini.
static bool s_wide_mini(s_walk_t *walk, uint32_t rows, uint64_t *residuals)
{
    s_head_t head;
    if (!s_begin_mini(walk, rows, 64, &head)) {
        return false;
    }
    const uint8_t *bits = bb_reader_take(&walk->minis, bb_bitpack_bytes(rows, head.width));
    if (!bits || !bb_bitpack_unpack(bits, rows, head.width, residuals)) {
        return false;
    }
    walk->row += rows;
    for (uint32_t i = 0; i < rows; i++) {
        residuals[i] += walk->reference;
    }
    if (head.patch_count == 0) {
        return true;
    }
    s_patches_t patches;
    if (!s_take_patches(walk, &head, rows, &patches)) {
        return false;
    }
    for (uint32_t i = 0; i < head.patch_count; i++) {
        residuals[patches.rows[i]] = s_patch(walk, &head, &patches, i);
    }
    return true;
}

// Residuals of a wide mini become offsets.
static void s_integrate_wide(s_walk_t *walk, uint32_t order, uint32_t rows, uint64_t *numbers)
{
    uint64_t sum = walk->sum;
    uint64_t slope = walk->slope;
    if (order == 1) {
        for (uint32_t i = 0; i < rows; i++) {
            sum += numbers[i];
            numbers[i] = sum;
        }
    } else if (order == 2) {
        for (uint32_t i = 0; i < rows; i++) {
            slope += numbers[i];
            sum += slope;
            numbers[i] = sum;
        }
    }
    walk->sum = sum;
    walk->slope = slope;
}

bool bb_packed_bounds(const bb_packed_t *self, int64_t *min, int64_t *max)
{
    s_walk_t walk = s_walk(self);
    if (self->is_wide || self->is_entropy || self->order != 0) {
        return false;
    }
    *min = INT64_MAX;
    *max = INT64_MIN;
    while (walk.row < self->count) {
        uint32_t rows = BB_MIN(self->count - walk.row, MINI_ROWS);
        s_head_t head;
        s_patches_t patches;
        if (!s_begin_mini(&walk, rows, BB_LANES_WIDTH_MAX, &head) ||
            !bb_reader_take(&walk.minis, bb_bitpack_bytes(rows, head.width)) ||
            (head.patch_count > 0 && !s_take_patches(&walk, &head, rows, &patches))) {
            return false;
        }
        int64_t low = (int32_t)(uint32_t)walk.reference;
        int64_t high = low + (INT64_C(1) << head.width) - 1;
        if (high > INT32_MAX) {
            return false; // may wrap
        }
        for (uint32_t i = 0; i < head.patch_count; i++) {
            int32_t patch = (int32_t)(uint32_t)s_patch(&walk, &head, &patches, i);
            low = BB_MIN(low, (int64_t)patch);
            high = BB_MAX(high, (int64_t)patch);
        }
        *min = BB_MIN(*min, low);
        *max = BB_MAX(*max, high);
        walk.row += rows;
    }
    return bb_reader_is_done(&walk.minis);
}

static bool s_short_offsets(const bb_packed_t *self, s_walk_t *walk, uint32_t rows,
                            uint32_t offsets[MINI_ROWS])
{
    if (!s_short_mini(walk, rows, offsets)) {
        return false;
    }
    if (self->order == 2) {
        walk->slope = bb_lanes_integrate_short(offsets, rows, (uint32_t)walk->slope);
    }
    if (self->order >= 1) {
        walk->sum = bb_lanes_integrate_short(offsets, rows, (uint32_t)walk->sum);
    }
    return true;
}

static bool s_full_offsets(const bb_packed_t *self, s_walk_t *walk, uint32_t *offsets)
{
    uint32_t lanes[MINI_ROWS];
    bool is_flat;
    uint32_t *bits = self->order == 0 ? offsets : lanes;
    if (!s_full_mini(walk, bits, &is_flat)) {
        return false;
    }
    if (self->order == 2) {
        walk->slope = bb_lanes_integrate(lanes, (uint32_t)walk->slope);
    }
    if (self->order >= 1) {
        walk->sum = bb_lanes_integrate_rows(lanes, (uint32_t)walk->sum, offsets);
    }
    return true;
}

// Offsets of a form without minis, modulo 2^32.
static bool s_entropy_offsets(const bb_packed_t *self, int32_t *offsets)
{
    bb_slice_t rest = bb_slice(self->minis.at, bb_reader_left(&self->minis));
    if (self->is_arithmetic ? !bb_arithmetic_decode(rest, self->count, offsets)
                            : !bb_entropy_decode(rest, self->count, offsets)) {
        return false;
    }
    if (self->order == 2) {
        bb_lanes_integrate_short((uint32_t *)offsets, self->count, (uint32_t)self->slope);
    }
    if (self->order >= 1) {
        bb_lanes_integrate_short((uint32_t *)offsets, self->count, 0);
    }
    return true;
}

bool bb_packed_offsets(const bb_packed_t *self, int32_t *offsets)
{
    BB_ASSERT(!self->is_wide);
    if (self->is_entropy) {
        return s_entropy_offsets(self, offsets);
    }
    s_walk_t walk = s_walk(self);
    while (walk.row < self->count) {
        uint32_t rows = BB_MIN(self->count - walk.row, MINI_ROWS);
        uint32_t *out = (uint32_t *)offsets + walk.row;
        if (rows == MINI_ROWS ? !s_full_offsets(self, &walk, out)
                              : !s_short_offsets(self, &walk, rows, out)) {
            return false;
        }
    }
    return s_is_done(self, &walk);
}

static bool s_wide_integers(const bb_packed_t *self, uint64_t *integers)
{
    s_walk_t walk = s_walk(self);
    while (walk.row < self->count) {
        uint32_t rows = BB_MIN(self->count - walk.row, MINI_ROWS);
        uint64_t *out = integers + walk.row;
        if (!s_wide_mini(&walk, rows, out)) {
            return false;
        }
        s_integrate_wide(&walk, self->order, rows, out);
    }
    for (uint32_t i = 0; i < self->count; i++) {
        integers[i] = self->base + self->scale * integers[i];
    }
    return s_is_done(self, &walk);
}

BB_CLONES static void s_widen(const int32_t *offsets, uint32_t count, uint64_t base, uint64_t scale,
                              uint64_t *integers)
{
    if (scale == 1) {
        for (uint32_t i = 0; i < count; i++) {
            integers[i] = base + (uint64_t)(int64_t)offsets[i];
        }
    } else {
        for (uint32_t i = 0; i < count; i++) {
            integers[i] = base + scale * (uint64_t)(int64_t)offsets[i];
        }
    }
}

bool bb_packed_integers(const bb_packed_t *self, uint64_t *integers)
{
    if (self->is_wide) {
        return s_wide_integers(self, integers);
    }
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    if (!bb_packed_offsets(self, offsets)) {
        return false;
    }
    s_widen(offsets, self->count, self->base, self->scale, integers);
    return true;
}

// A line of 256 steps from here does not leave 32 bits.
static bool s_is_small(const s_walk_t *walk)
{
    int64_t step = (int64_t)walk->reference;
    int32_t start = (int32_t)(uint32_t)walk->sum;
    return step > -(1 << 21) && step < 1 << 21 && start > -(1 << 30) && start < 1 << 30;
}

// A mini whose residuals are all the reference: constant or a line. Returns its last offset.
static uint32_t s_add_line(s_walk_t *walk, uint32_t order, bb_lanes_total_t *totals)
{
    int32_t step = order == 1 ? (int32_t)walk->reference : 0;
    int32_t before = order == 1 ? (int32_t)(uint32_t)walk->sum : (int32_t)walk->reference;
    int32_t first = before + step;
    int32_t last = before + step * (int32_t)MINI_ROWS;
    totals->min = BB_MIN(totals->min, BB_MIN(first, last));
    totals->max = BB_MAX(totals->max, BB_MAX(first, last));
    totals->sum += ((int64_t)first + last) * (MINI_ROWS / 2);
    walk->sum = order == 1 ? (uint32_t)last : walk->sum;
    return (uint32_t)last;
}

typedef struct {
    bb_lanes_totals_t lanes; // of minis in lanes
    bb_lanes_total_t flat;   // of lines and of the short mini
    uint32_t first, last;    // offsets
} s_totals_t;

static bool s_add_full(const bb_packed_t *self, s_walk_t *walk, s_totals_t *totals)
{
    uint32_t residuals[MINI_ROWS];
    bool is_first = walk->row == 0;
    bool is_flat;
    if (!s_full_mini(walk, residuals, &is_flat)) {
        return false;
    }
    if (is_flat && self->order < 2 && s_is_small(walk)) {
        totals->first = is_first ? (uint32_t)(walk->sum + walk->reference) : totals->first;
        totals->last = s_add_line(walk, self->order, &totals->flat);
        return true;
    }
    if (self->order == 2) {
        walk->slope = bb_lanes_integrate(residuals, (uint32_t)walk->slope);
    }
    totals->first = is_first ? residuals[0] : totals->first; // the sum before it is 0
    if (self->order == 0) {
        bb_lanes_add_totals(residuals, &totals->lanes);
        totals->last = residuals[MINI_ROWS - 1];
    } else {
        totals->last = bb_lanes_integrate_totals(residuals, (uint32_t)walk->sum, &totals->lanes);
        walk->sum = totals->last;
    }
    return true;
}

// Of any form and size.
static bool s_decoded_totals(const bb_packed_t *self, bb_packed_totals_t *totals)
{
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    if (!bb_packed_offsets(self, offsets)) {
        return false;
    }
    bb_lanes_total_t all = bb_lanes_total_of(offsets, self->count);
    *totals = (bb_packed_totals_t){all.min, all.max, offsets[0], offsets[self->count - 1], all.sum};
    return true;
}

bool bb_packed_totals(const bb_packed_t *self, bb_packed_totals_t *totals)
{
    BB_ASSERT(!self->is_wide);
    if (self->is_entropy) {
        return s_decoded_totals(self, totals);
    }
    s_walk_t walk = s_walk(self);
    s_totals_t sums;
    sums.flat = (bb_lanes_total_t){INT32_MAX, INT32_MIN, 0};
    sums.first = sums.last = 0;
    bb_lanes_totals_clear(&sums.lanes);
    while (self->count - walk.row >= MINI_ROWS) {
        if (!s_add_full(self, &walk, &sums)) {
            return false;
        }
    }
    uint32_t rows = self->count - walk.row;
    if (rows > 0) {
        bool is_first = walk.row == 0;
        uint32_t offsets[MINI_ROWS];
        if (!s_short_offsets(self, &walk, rows, offsets)) {
            return false;
        }
        bb_lanes_total_t part = bb_lanes_total_of((const int32_t *)offsets, rows);
        sums.flat.min = BB_MIN(sums.flat.min, part.min);
        sums.flat.max = BB_MAX(sums.flat.max, part.max);
        sums.flat.sum += part.sum;
        sums.first = is_first ? offsets[0] : sums.first;
        sums.last = offsets[rows - 1];
    }
    bb_lanes_total_t rest;
    if (!s_is_done(self, &walk)) {
        return false;
    }
    if (!bb_lanes_total(&sums.lanes, &rest)) {
        return s_decoded_totals(self, totals);
    }
    *totals = (bb_packed_totals_t){
        .min = BB_MIN(sums.flat.min, rest.min),
        .max = BB_MAX(sums.flat.max, rest.max),
        .first = (int32_t)sums.first,
        .last = (int32_t)sums.last,
        .sum = sums.flat.sum + rest.sum,
    };
    return true;
}

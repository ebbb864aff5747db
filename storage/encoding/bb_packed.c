// SPDX-License-Identifier: Apache-2.0
// Reading; bb_packer.c writes.
#include "storage/encoding/bb_packed.h"

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_lanes.h"
#include "storage/encoding/bb_packed_private.h"

// What moves along while minis are read.
typedef struct {
    bb_reader_t minis;
    uint32_t row;        // first row of the mini
    uint64_t reference;  // of the mini, then of the one before
    uint64_t sum, slope; // integrals so far: of order 1 and 2
} s_cursor_t;

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
    return !reader.failed && flags <= FLAGS_ALL && self->order <= BB_PACKED_ORDER_MAX;
}

static s_cursor_t s_cursor(const bb_packed_t *self)
{
    return (s_cursor_t){.minis = self->minis, .slope = self->slope};
}

static bool s_begin_mini(s_cursor_t *cursor, uint32_t rows, uint32_t width_max, s_head_t *head)
{
    uint32_t bits = (uint32_t)bb_reader_fixed(&cursor->minis, 1);
    *head = (s_head_t){.width = bits & MINI_WIDTH};
    head->width += head->width == MINI_WIDTH;
    if (bits & MINI_REFERENCE) {
        cursor->reference = bb_reader_signed(&cursor->minis);
    }
    if (bits & MINI_PATCHES) {
        head->patch_count = (uint32_t)bb_reader_fixed(&cursor->minis, 1);
        head->patch_bytes = (uint32_t)bb_reader_fixed(&cursor->minis, 1);
        if (head->patch_count == 0 || head->patch_count > rows || head->patch_bytes == 0 ||
            head->patch_bytes > (width_max > 32 ? 8u : 4u)) {
            return false;
        }
    }
    return head->width <= width_max && !cursor->minis.failed;
}

// The patches of a mini: rows and residuals.
typedef struct {
    const uint8_t *rows, *values;
} s_patches_t;

static bool s_take_patches(s_cursor_t *cursor, const s_head_t *head, uint32_t rows,
                           s_patches_t *patches)
{
    patches->rows = bb_reader_take(&cursor->minis, head->patch_count);
    patches->values = bb_reader_take(&cursor->minis, (size_t)head->patch_count * head->patch_bytes);
    if (cursor->minis.failed) {
        return false;
    }
    for (uint32_t i = 1; i < head->patch_count; i++) {
        if (patches->rows[i] <= patches->rows[i - 1]) {
            return false;
        }
    }
    return patches->rows[head->patch_count - 1] < rows;
}

static uint64_t s_patch(const s_cursor_t *cursor, const s_head_t *head, const s_patches_t *patches,
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
    return cursor->reference + bb_unfold(folded);
}

// The residuals of a full narrow mini, as they lie. *is_flat: all are the reference.
static bool s_full_mini(s_cursor_t *cursor, uint32_t *residuals, bool *is_flat)
{
    s_head_t head;
    if (!s_begin_mini(cursor, MINI_ROWS, BB_LANES_WIDTH_MAX, &head)) {
        return false;
    }
    const uint8_t *bits = bb_reader_take(&cursor->minis, bb_lanes_bytes(head.width));
    if (!bits) {
        return false;
    }
    cursor->row += MINI_ROWS;
    *is_flat = head.width == 0 && head.patch_count == 0;
    bb_lanes_unpack(bits, head.width, (uint32_t)cursor->reference, residuals);
    if (head.patch_count == 0) {
        return true;
    }
    s_patches_t patches;
    if (!s_take_patches(cursor, &head, MINI_ROWS, &patches)) {
        return false;
    }
    for (uint32_t i = 0; i < head.patch_count; i++) {
        residuals[patches.rows[i]] = (uint32_t)s_patch(cursor, &head, &patches, i);
    }
    return true;
}

// The residuals of a short mini, or of a wide one.
static bool s_plain_mini(s_cursor_t *cursor, uint32_t rows, uint32_t width_max, uint64_t *residuals)
{
    s_head_t head;
    if (!s_begin_mini(cursor, rows, width_max, &head)) {
        return false;
    }
    const uint8_t *bits = bb_reader_take(&cursor->minis, bb_bitpack_bytes(rows, head.width));
    if (!bits || !bb_bitpack_unpack(bits, rows, head.width, residuals)) {
        return false;
    }
    cursor->row += rows;
    for (uint32_t i = 0; i < rows; i++) {
        residuals[i] += cursor->reference;
    }
    if (head.patch_count == 0) {
        return true;
    }
    s_patches_t patches;
    if (!s_take_patches(cursor, &head, rows, &patches)) {
        return false;
    }
    for (uint32_t i = 0; i < head.patch_count; i++) {
        residuals[patches.rows[i]] = s_patch(cursor, &head, &patches, i);
    }
    return true;
}

// Residuals of a plain mini become offsets.
static void s_integrate_plain(s_cursor_t *cursor, uint32_t order, uint32_t rows, uint64_t *numbers)
{
    uint64_t sum = cursor->sum;
    uint64_t slope = cursor->slope;
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
    cursor->sum = sum;
    cursor->slope = slope;
}

static bool s_is_done(const bb_packed_t *self, const s_cursor_t *cursor)
{
    return cursor->row == self->count && bb_reader_is_done(&cursor->minis);
}

bool bb_packed_offsets(const bb_packed_t *self, int32_t *offsets)
{
    BB_ASSERT(!self->is_wide);
    s_cursor_t cursor = s_cursor(self);
    uint32_t lanes[MINI_ROWS];
    while (self->count - cursor.row >= MINI_ROWS) {
        uint32_t *out = (uint32_t *)offsets + cursor.row;
        bool is_flat;
        if (!s_full_mini(&cursor, self->order == 0 ? out : lanes, &is_flat)) {
            return false;
        }
        if (self->order == 2) {
            cursor.slope = bb_lanes_integrate(lanes, (uint32_t)cursor.slope);
        }
        if (self->order >= 1) {
            cursor.sum = bb_lanes_integrate_rows(lanes, (uint32_t)cursor.sum, out);
        }
    }
    uint32_t rows = self->count - cursor.row;
    if (rows > 0) {
        uint64_t numbers[MINI_ROWS];
        int32_t *out = offsets + cursor.row;
        if (!s_plain_mini(&cursor, rows, BB_LANES_WIDTH_MAX, numbers)) {
            return false;
        }
        s_integrate_plain(&cursor, self->order, rows, numbers);
        for (uint32_t i = 0; i < rows; i++) {
            out[i] = (int32_t)(uint32_t)numbers[i];
        }
    }
    return s_is_done(self, &cursor);
}

static bool s_wide_integers(const bb_packed_t *self, uint64_t *integers)
{
    s_cursor_t cursor = s_cursor(self);
    while (cursor.row < self->count) {
        uint32_t rows = BB_MIN(self->count - cursor.row, MINI_ROWS);
        uint64_t *out = integers + cursor.row;
        if (!s_plain_mini(&cursor, rows, 64, out)) {
            return false;
        }
        s_integrate_plain(&cursor, self->order, rows, out);
    }
    for (uint32_t i = 0; i < self->count; i++) {
        integers[i] = self->base + self->scale * integers[i];
    }
    return s_is_done(self, &cursor);
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

static void s_add_plain(const uint64_t *numbers, uint32_t rows, bb_lanes_totals_t *totals)
{
    for (uint32_t i = 0; i < rows; i++) {
        int32_t offset = (int32_t)(uint32_t)numbers[i];
        totals->min = BB_MIN(totals->min, offset);
        totals->max = BB_MAX(totals->max, offset);
        totals->sum += offset;
    }
}

// A line of 256 steps from here does not leave 32 bits.
static bool s_is_small(const s_cursor_t *cursor)
{
    int64_t step = (int64_t)cursor->reference;
    int32_t start = (int32_t)(uint32_t)cursor->sum;
    return step > -(1 << 21) && step < 1 << 21 && start > -(1 << 30) && start < 1 << 30;
}

// A mini whose residuals are all the reference: constant or a line. Returns its last offset.
static uint32_t s_add_line(s_cursor_t *cursor, uint32_t order, bb_lanes_totals_t *totals)
{
    int32_t step = order == 1 ? (int32_t)cursor->reference : 0;
    int32_t before = order == 1 ? (int32_t)(uint32_t)cursor->sum : (int32_t)cursor->reference;
    int32_t first = before + step;
    int32_t last = before + step * (int32_t)MINI_ROWS;
    totals->min = BB_MIN(totals->min, BB_MIN(first, last));
    totals->max = BB_MAX(totals->max, BB_MAX(first, last));
    totals->sum += ((int64_t)first + last) * (MINI_ROWS / 2);
    cursor->sum = order == 1 ? (uint32_t)last : cursor->sum;
    return (uint32_t)last;
}

bool bb_packed_totals(const bb_packed_t *self, bb_packed_totals_t *totals)
{
    BB_ASSERT(!self->is_wide);
    s_cursor_t cursor = s_cursor(self);
    bb_lanes_totals_t sums = {.min = INT32_MAX, .max = INT32_MIN};
    uint32_t lanes[MINI_ROWS];
    uint32_t first = 0;
    uint32_t last = 0;
    bool overflowed = false;
    while (self->count - cursor.row >= MINI_ROWS) {
        bool is_first = cursor.row == 0;
        bool is_flat;
        if (!s_full_mini(&cursor, lanes, &is_flat)) {
            return false;
        }
        if (is_flat && self->order < 2 && s_is_small(&cursor)) {
            first = is_first ? (uint32_t)(cursor.sum + cursor.reference) : first;
            last = s_add_line(&cursor, self->order, &sums);
            continue;
        }
        if (self->order == 0) {
            bb_lanes_add_totals(lanes, &sums);
            first = is_first ? lanes[0] : first;
            last = lanes[MINI_ROWS - 1];
            continue;
        }
        if (self->order == 2) {
            cursor.slope = bb_lanes_integrate(lanes, (uint32_t)cursor.slope);
        }
        first = is_first ? lanes[0] : first; // the sum before it is 0
        last = bb_lanes_integrate_totals(lanes, (uint32_t)cursor.sum, &sums, &overflowed);
        cursor.sum = last;
    }
    uint32_t rows = self->count - cursor.row;
    if (rows > 0) {
        bool is_first = cursor.row == 0;
        uint64_t numbers[MINI_ROWS];
        if (!s_plain_mini(&cursor, rows, BB_LANES_WIDTH_MAX, numbers)) {
            return false;
        }
        s_integrate_plain(&cursor, self->order, rows, numbers);
        s_add_plain(numbers, rows, &sums);
        first = is_first ? (uint32_t)numbers[0] : first;
        last = (uint32_t)numbers[rows - 1];
    }
    *totals = (bb_packed_totals_t){sums.min, sums.max, (int32_t)first, (int32_t)last, sums.sum};
    return !overflowed && s_is_done(self, &cursor);
}

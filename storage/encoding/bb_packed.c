// SPDX-License-Identifier: Apache-2.0
// Reading; bb_packer.c writes.
#include "storage/encoding/bb_packed.h"

#include "protocol/bb_bitpack.h"
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_lanes.h"
#include "storage/encoding/bb_packed_private.h"

// What moves along while minis are read.
typedef struct {
    bb_reader_t minis, patches;
    uint32_t patches_left, patch_bytes;
    uint32_t patch_row;  // of the next patch, counted from the first row of the block
    uint32_t row;        // first row of the mini
    uint64_t reference;  // of the mini before
    uint64_t sum, slope; // integrals so far: of order 1 and 2
} s_cursor_t;

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
    if (flags & FLAG_PATCHES) {
        uint64_t patch_count = bb_reader_varint(&reader);
        self->patch_bytes = (uint32_t)bb_reader_fixed(&reader, 1);
        if (patch_count == 0 || patch_count > count || self->patch_bytes == 0 ||
            self->patch_bytes > (self->is_wide ? 8u : 4u)) {
            return false;
        }
        self->patch_count = (uint32_t)patch_count;
    }
    if (reader.failed || flags > FLAGS_ALL || self->order > BB_PACKED_ORDER_MAX) {
        return false;
    }
    // The patches end where the minis begin: walk over them once.
    self->patches = reader;
    for (uint32_t i = 0; i < self->patch_count; i++) {
        uint64_t gap;
        do {
            gap = bb_reader_fixed(&reader, 1);
        } while (gap == GAP_NONE && !reader.failed);
        (void)bb_reader_take(&reader, self->patch_bytes);
    }
    self->minis = reader;
    return !reader.failed;
}

// Moves to the next patch; a row of UINT32_MAX means that there is none.
static void s_next_patch(s_cursor_t *cursor, uint32_t from)
{
    if (cursor->patches_left == 0) {
        cursor->patch_row = UINT32_MAX;
        return;
    }
    cursor->patches_left--;
    cursor->patch_row = from;
    uint64_t gap;
    do {
        gap = bb_reader_fixed(&cursor->patches, 1);
        cursor->patch_row += (uint32_t)gap;
    } while (gap == GAP_NONE && !cursor->patches.failed);
}

static s_cursor_t s_cursor(const bb_packed_t *self)
{
    s_cursor_t cursor = {
        .minis = self->minis,
        .patches = self->patches,
        .patches_left = self->patch_count,
        .patch_bytes = self->patch_bytes,
        .slope = self->slope,
    };
    s_next_patch(&cursor, 0);
    return cursor;
}

// The header of a mini; its width, or UINT32_MAX.
static uint32_t s_begin_mini(s_cursor_t *cursor, uint32_t width_max)
{
    uint32_t head = (uint32_t)bb_reader_fixed(&cursor->minis, 1);
    if (head & MINI_REFERENCE) {
        cursor->reference = bb_reader_signed(&cursor->minis);
    }
    uint32_t width = head & ~MINI_REFERENCE;
    return width <= width_max && !cursor->minis.failed ? width : UINT32_MAX;
}

static uint64_t s_take_patch(s_cursor_t *cursor)
{
    uint64_t folded = bb_reader_fixed(&cursor->patches, cursor->patch_bytes);
    uint64_t residual = cursor->reference + bb_unfold(folded);
    s_next_patch(cursor, cursor->patch_row + 1);
    return residual;
}

// The residuals of a full narrow mini, as they lie.
static bool s_full_mini(s_cursor_t *cursor, uint32_t *residuals)
{
    uint32_t width = s_begin_mini(cursor, BB_LANES_WIDTH_MAX);
    const uint8_t *bits =
        width == UINT32_MAX ? NULL : bb_reader_take(&cursor->minis, bb_lanes_bytes(width));
    if (!bits) {
        return false;
    }
    bb_lanes_unpack(bits, width, (uint32_t)cursor->reference, residuals);
    uint32_t limit = cursor->row + MINI_ROWS;
    while (cursor->patch_row < limit) {
        uint32_t at = cursor->patch_row - cursor->row;
        residuals[at] = (uint32_t)s_take_patch(cursor);
    }
    cursor->row = limit;
    return true;
}

// The residuals of a short mini, or of a wide one.
static bool s_plain_mini(s_cursor_t *cursor, uint32_t rows, uint32_t width_max, uint64_t *residuals)
{
    uint32_t width = s_begin_mini(cursor, width_max);
    if (width == UINT32_MAX) {
        return false;
    }
    const uint8_t *bits = bb_reader_take(&cursor->minis, bb_bitpack_bytes(rows, width));
    if (!bits || !bb_bitpack_unpack(bits, rows, width, residuals)) {
        return false;
    }
    for (uint32_t i = 0; i < rows; i++) {
        residuals[i] += cursor->reference;
    }
    uint32_t limit = cursor->row + rows;
    while (cursor->patch_row < limit) {
        uint32_t at = cursor->patch_row - cursor->row;
        residuals[at] = s_take_patch(cursor);
    }
    cursor->row = limit;
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
    return cursor->row == self->count && bb_reader_is_done(&cursor->minis) &&
           !cursor->patches.failed && cursor->patches_left == 0 &&
           cursor->patch_row == UINT32_MAX && cursor->patches.at == self->minis.at;
}

bool bb_packed_offsets(const bb_packed_t *self, int32_t *offsets)
{
    BB_ASSERT(!self->is_wide);
    s_cursor_t cursor = s_cursor(self);
    uint32_t lanes[MINI_ROWS];
    while (self->count - cursor.row >= MINI_ROWS) {
        uint32_t *out = (uint32_t *)offsets + cursor.row;
        if (!s_full_mini(&cursor, self->order == 0 ? out : lanes)) {
            return false;
        }
        if (self->order == 2) {
            cursor.slope = bb_lanes_integrate(lanes, (uint32_t)cursor.slope);
        }
        if (self->order >= 1) {
            cursor.sum = bb_lanes_integrate(lanes, (uint32_t)cursor.sum);
            bb_lanes_to_rows(lanes, out);
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

bool bb_packed_totals(const bb_packed_t *self, bb_packed_totals_t *totals)
{
    BB_ASSERT(!self->is_wide);
    s_cursor_t cursor = s_cursor(self);
    bb_lanes_totals_t sums = {.min = INT32_MAX, .max = INT32_MIN};
    uint32_t lanes[MINI_ROWS];
    uint32_t first = 0;
    uint32_t last = 0;
    while (self->count - cursor.row >= MINI_ROWS) {
        bool is_first = cursor.row == 0;
        if (!s_full_mini(&cursor, lanes)) {
            return false;
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
        last = bb_lanes_integrate_totals(lanes, (uint32_t)cursor.sum, &sums);
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
    return s_is_done(self, &cursor);
}

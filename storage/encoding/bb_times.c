// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_times.h"

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_divisor.h"

#define MODE_GRID   0u
#define MODE_BITMAP 1u
#define MODE_ALL    2u
#define MODE_UNITS  0x80u

#define SAMPLE_COUNT 15u
#define LOOK_AHEAD   4u
#define STEP_LIMIT   (INT64_C(1) << 40) // units

typedef struct {
    uint32_t row;
    int64_t move;
} s_gap_t;

typedef struct {
    uint32_t count;
    int64_t step;
    int64_t start; // grid at row 0, in units from the first time
    uint32_t gap_count, off_count;
    s_gap_t gaps[BB_BLOCK_ROWS_MAX / 8 + 1];
    int64_t offsets[BB_BLOCK_ROWS_MAX]; // units from the first time
    uint64_t jitter[BB_BLOCK_ROWS_MAX]; // units off the grid, every row
} s_grid_t;

static void s_insert(int64_t *sorted, uint32_t count, int64_t number)
{
    uint32_t at = count;
    for (; at > 0 && sorted[at - 1] > number; at--) {
        sorted[at] = sorted[at - 1];
    }
    sorted[at] = number;
}

// The median of a sample of steps: most of them are the step.
static int64_t s_step(const int64_t *offsets, uint32_t count)
{
    int64_t sorted[SAMPLE_COUNT] = {0};
    uint32_t taken = BB_MIN(count - 1, SAMPLE_COUNT);
    for (uint32_t i = 0; i < taken; i++) {
        uint32_t at = (uint32_t)((uint64_t)i * (count - 1) / taken);
        s_insert(sorted, i, offsets[at + 1] - offsets[at]);
    }
    // cppcheck-suppress uninitvar ; the loop has filled `taken` of them
    return sorted[taken / 2];
}

// Where the grid begins: the median of what the first rows say.
static int64_t s_start(const int64_t *offsets, uint32_t count, int64_t step)
{
    int64_t sorted[SAMPLE_COUNT] = {0};
    uint32_t taken = BB_MIN(count, SAMPLE_COUNT);
    for (uint32_t i = 0; i < taken; i++) {
        s_insert(sorted, i, offsets[i] - step * i);
    }
    // cppcheck-suppress uninitvar ; the loop has filled `taken` of them
    return sorted[taken / 2];
}

static bool s_is_within(int64_t number, int64_t limit)
{
    return number > -limit && number < limit;
}

// How many of the next rows lie on a grid that goes through `at` at this row.
static uint32_t s_hits(const s_grid_t *self, uint32_t row, int64_t at)
{
    uint32_t hits = 0;
    for (uint32_t i = row; i < self->count && i < row + LOOK_AHEAD; i++) {
        hits += self->offsets[i] == at + self->step * (i - row);
    }
    return hits;
}

// How far the grid must move at this row, whose time is `off` beside it; 0: it is only jitter.
static int64_t s_move(const s_grid_t *self, uint32_t row, int64_t at, int64_t off)
{
    bool is_near = s_is_within(off, self->step / 2);
    if (is_near && row + 1 < self->count && self->offsets[row + 1] == at + self->step) {
        return 0; // the next one is on the grid: the usual jitter
    }
    uint32_t exact = s_hits(self, row, at + off);
    if (self->step <= 0) {
        return exact > 1 ? off : 0;
    }
    int64_t half = off < 0 ? -(self->step / 2) : self->step / 2;
    int64_t steps = (off + half) / self->step * self->step; // whole steps: the phase stays
    if (exact > s_hits(self, row, at + steps) && exact > 1) {
        return off;
    }
    return steps;
}

// Fills jitter and gaps. False: too many gaps for a grid.
static bool s_walk(s_grid_t *self)
{
    int64_t at = self->start;
    self->gap_count = 0;
    self->off_count = 0;
    for (uint32_t row = 0; row < self->count; row++) {
        int64_t off = self->offsets[row] - at;
        if (off != 0) {
            int64_t move = s_move(self, row, at, off);
            if (move != 0) {
                if (self->gap_count == BB_MIN(self->count / 8 + 1, BB_COUNT_OF(self->gaps))) {
                    return false;
                }
                self->gaps[self->gap_count++] = (s_gap_t){row, move};
                at += move;
                off -= move;
            }
        }
        self->off_count += off != 0;
        self->jitter[row] = (uint64_t)off;
        at += self->step;
    }
    return true;
}

static bool s_fit(s_grid_t *self, const uint64_t *integers, uint32_t count, uint64_t scale)
{
    bb_divisor_apply(integers, count, scale, (uint64_t *)self->offsets);
    self->count = count;
    int64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t offset = self->offsets[i];
        if (!s_is_within(offset, STEP_LIMIT * 64) || !s_is_within(offset - before, STEP_LIMIT)) {
            return false;
        }
        before = offset;
    }
    self->step = s_step(self->offsets, count);
    self->start = s_start(self->offsets, count, self->step);
    return s_walk(self);
}

size_t bb_times_encode(bb_packer_t *packer, const uint64_t *integers, uint32_t count, uint8_t *out)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    uint64_t scale = count >= 3 ? bb_divisor_of(integers, count) : 0;
    s_grid_t grid;
    if (scale == 0 || scale > INT64_MAX || !s_fit(&grid, integers, count, scale)) {
        return 0;
    }
    uint32_t mode = grid.off_count == 0                ? MODE_GRID
                    : grid.off_count < count * 7u / 8u ? MODE_BITMAP
                                                       : MODE_ALL;
    int64_t base = (int64_t)(integers[0] + scale * (uint64_t)grid.start);
    bool in_units = base % (int64_t)scale == 0;
    uint8_t *at = out;
    *at++ = (uint8_t)(mode | (in_units ? MODE_UNITS : 0));
    at = bb_put_varint(at, scale);
    at = bb_put_signed(at, (uint64_t)(in_units ? base / (int64_t)scale : base));
    at = bb_put_signed(at, (uint64_t)grid.step);
    at = bb_put_varint(at, grid.gap_count);
    uint32_t row = 0;
    for (uint32_t i = 0; i < grid.gap_count; i++) {
        at = bb_put_varint(at, grid.gaps[i].row - row);
        at = bb_put_signed(at, (uint64_t)grid.gaps[i].move);
        row = grid.gaps[i].row;
    }
    if (mode == MODE_BITMAP) {
        memset(at, 0, (count + 7) / 8);
        uint32_t off = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t is_off = grid.jitter[i] != 0;
            at[i / 8] = (uint8_t)(at[i / 8] | is_off << (i % 8));
            grid.jitter[off] = grid.jitter[i];
            off += is_off;
        }
        at += (count + 7) / 8;
        at += bb_packed_encode(packer, grid.jitter, off, 1, false, at);
    } else if (mode == MODE_ALL) {
        at += bb_packed_encode(packer, grid.jitter, count, 7, false, at);
    }
    BB_ASSERT((size_t)(at - out) <= BB_TIMES_BYTES_MAX(count));
    return (size_t)(at - out);
}

// ---- reading ------------------------------------------------------------------------------------

// The grid in units, as running sums of steps and moves.
static bool s_read_grid(bb_reader_t *reader, uint64_t base, uint64_t scale, uint32_t count,
                        uint64_t *integers)
{
    uint64_t step = bb_reader_signed(reader) * scale;
    uint64_t gap_count = bb_reader_varint(reader);
    uint32_t row = 0;
    if (reader->failed || gap_count > count) {
        return false;
    }
    for (uint64_t i = 0; i <= gap_count; i++) {
        uint32_t limit = count;
        uint64_t move = 0;
        if (i < gap_count) {
            uint64_t rows = bb_reader_varint(reader);
            move = bb_reader_signed(reader) * scale;
            if (reader->failed || rows >= count - row) {
                return false;
            }
            limit = row + (uint32_t)rows;
        }
        for (; row < limit; row++) {
            integers[row] = base;
            base += step;
        }
        base += move;
    }
    return true;
}

static bool s_read_jitter(bb_slice_t bytes, uint32_t count, uint64_t *jitter)
{
    bb_packed_t packed;
    return bb_packed_open(&packed, bytes, count) && bb_packed_integers(&packed, jitter);
}

static bool s_add_some(bb_reader_t *reader, uint64_t scale, uint32_t count, uint64_t *integers)
{
    const uint8_t *bitmap = bb_reader_take(reader, (count + 7) / 8);
    if (!bitmap) {
        return false;
    }
    uint16_t rows[BB_BLOCK_ROWS_MAX];
    uint32_t off = 0;
    for (uint32_t row = 0; row < count; row += 64) {
        uint64_t bits = 0;
        memcpy(&bits, bitmap + row / 8, BB_MIN((count - row + 7) / 8, 8u));
        for (; bits != 0; bits &= bits - 1) {
            uint32_t set = row + (uint32_t)__builtin_ctzll(bits);
            if (set >= count) {
                return false; // a spare bit
            }
            rows[off++] = (uint16_t)set;
        }
    }
    if (off == 0) {
        return false;
    }
    uint64_t jitter[BB_BLOCK_ROWS_MAX];
    if (!s_read_jitter(bb_slice(reader->at, bb_reader_left(reader)), off, jitter)) {
        return false;
    }
    for (uint32_t i = 0; i < off; i++) {
        integers[rows[i]] += scale * jitter[i];
    }
    return true;
}

bool bb_times_decode(bb_slice_t encoded, uint32_t count, uint64_t *integers)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    bb_reader_t reader = bb_reader(encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    uint32_t mode = head & ~MODE_UNITS;
    uint64_t scale = bb_reader_varint(&reader);
    uint64_t base = bb_reader_signed(&reader);
    if (head & MODE_UNITS) {
        base *= scale;
    }
    if (!s_read_grid(&reader, base, scale, count, integers)) {
        return false;
    }
    switch (mode) {
    case MODE_GRID:
        return bb_reader_is_done(&reader);
    case MODE_BITMAP:
        return s_add_some(&reader, scale, count, integers);
    case MODE_ALL: {
        uint64_t jitter[BB_BLOCK_ROWS_MAX];
        if (!s_read_jitter(bb_slice(reader.at, bb_reader_left(&reader)), count, jitter)) {
            return false;
        }
        for (uint32_t i = 0; i < count; i++) {
            integers[i] += scale * jitter[i];
        }
        return true;
    }
    default:
        return false;
    }
}

// ---- cutting ------------------------------------------------------------------------------------

// Sums of a few of these stay inside of 64 bits.
#define CUT_LIMIT (INT64_C(1) << 61)

typedef struct {
    int64_t every;
    int64_t low, high; // of jitter
    int64_t start;     // of the bucket at hand
    bb_times_cuts_t *cuts;
} s_cutter_t;

// The bucket at hand ends before the row.
static void s_end_bucket(s_cutter_t *self, uint32_t row)
{
    bb_times_cuts_t *cuts = self->cuts;
    BB_ASSERT(cuts->count < BB_BLOCK_ROWS_MAX);
    cuts->starts[cuts->count] = self->start;
    cuts->row_limits[cuts->count++] = row;
}

// Another bucket begins, with a row of that time.
static void s_begin_bucket(s_cutter_t *self, int64_t time)
{
    self->start += self->every;
    if (time - self->start >= self->every) {
        self->start = time / self->every * self->every;
    }
}

BB_CLONES static uint32_t s_count_bits(const uint8_t *bytes, uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, BB_MIN(count - i, 8u));
        bits += (uint32_t)__builtin_popcountll(word);
    }
    return bits;
}

// The range of jitter; false: only decoding shows it.
static bool s_jitter_range(bb_reader_t *reader, uint32_t mode, uint64_t scale, uint32_t count,
                           s_cutter_t *cutter)
{
    if (mode == MODE_GRID) {
        return bb_reader_is_done(reader);
    }
    uint32_t off = count;
    if (mode == MODE_BITMAP) {
        uint32_t bytes = (count + 7) / 8;
        const uint8_t *bitmap = bb_reader_take(reader, bytes);
        if (!bitmap || (count % 8 != 0 && bitmap[bytes - 1] >> count % 8 != 0)) {
            return false;
        }
        off = s_count_bits(bitmap, bytes);
    }
    bb_packed_t packed;
    int64_t low, high;
    if (off == 0 || mode > MODE_ALL ||
        !bb_packed_open(&packed, bb_slice(reader->at, bb_reader_left(reader)), off) ||
        !bb_packed_is_plain(&packed) || !bb_packed_bounds(&packed, &low, &high)) {
        return false;
    }
    // Base below 2^52, packed scale at most 2^20, offsets below 2^31.
    low = (int64_t)packed.base + (int64_t)packed.scale * low;
    high = (int64_t)packed.base + (int64_t)packed.scale * high;
    if (scale > 1u << 30 || low < -(INT64_C(1) << 30) || high > INT64_C(1) << 30) {
        return false;
    }
    bool has_grid = mode == MODE_BITMAP;
    cutter->low = BB_MIN(low * (int64_t)scale, has_grid ? 0 : INT64_MAX);
    cutter->high = BB_MAX(high * (int64_t)scale, has_grid ? 0 : INT64_MIN);
    return true;
}

// A stretch of the grid without a gap. False: a row may be on either side of a limit.
static bool s_cut_stretch(s_cutter_t *self, int64_t base, int64_t step, uint32_t row,
                          uint32_t row_limit)
{
    int64_t last = base + step * (int64_t)(row_limit - row - 1);
    int64_t rows_each = self->every / step; // about so many in a bucket
    uint32_t first_row = row;
    for (;;) {
        int64_t limit = self->start + self->every;
        if (last + self->high < limit) {
            return true;
        }
        if (last + self->low < limit) {
            return false;
        }
        // The first row whose place on the grid is not before the limit, from a good guess.
        int64_t ahead = limit - (base + step * (int64_t)(row - first_row));
        int64_t steps = ahead <= 0 ? 0 : BB_MIN(rows_each, ahead / step);
        row += (uint32_t)BB_MIN(steps, (int64_t)(row_limit - 1 - row));
        int64_t time = base + step * (int64_t)(row - first_row);
        while (time < limit && row + 1 < row_limit) {
            row++;
            time += step;
        }
        bool has_before = row > first_row;
        if (time + self->low < limit || (has_before && time - step + self->high >= limit)) {
            return false;
        }
        s_end_bucket(self, row);
        s_begin_bucket(self, time + self->low);
    }
}

// Stretch after stretch.
static bool s_cut_grid(s_cutter_t *self, bb_reader_t *reader, int64_t base, int64_t step,
                       uint64_t scale, uint64_t gap_count, uint32_t count)
{
    uint32_t row = 0;
    for (uint64_t i = 0; i <= gap_count; i++) {
        uint32_t limit = count;
        int64_t move = 0;
        if (i < gap_count) {
            uint64_t rows = bb_reader_varint(reader);
            int64_t units = (int64_t)bb_reader_signed(reader);
            limit = row + (uint32_t)rows;
            if (rows == 0 || rows >= count - row || units > CUT_LIMIT / (int64_t)scale ||
                units < -CUT_LIMIT / (int64_t)scale) {
                return false;
            }
            move = units * (int64_t)scale;
            // What goes back by more may not ascend.
            if (step + move <= self->high - self->low) {
                return false;
            }
        }
        if (limit > row) {
            if (!s_cut_stretch(self, base, step, row, limit)) {
                return false;
            }
            base += step * (int64_t)(limit - row);
        }
        row = limit;
        base += move;
        if (base > CUT_LIMIT) {
            return false;
        }
    }
    return true;
}

bool bb_times_cut(bb_slice_t encoded, uint32_t count, int64_t first, int64_t last, int64_t every,
                  bb_times_cuts_t *cuts)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    BB_ASSERT(first >= 0 && every >= 1);
    bb_reader_t reader = bb_reader(encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    uint64_t scale = bb_reader_varint(&reader);
    int64_t base = (int64_t)(bb_reader_signed(&reader) * (head & MODE_UNITS ? scale : 1));
    uint64_t units = bb_reader_signed(&reader);
    uint64_t gap_count = bb_reader_varint(&reader);
    if (reader.failed || scale == 0 || scale > (uint64_t)CUT_LIMIT || (int64_t)units <= 0 ||
        gap_count > count || units > (uint64_t)CUT_LIMIT / BB_BLOCK_ROWS_MAX / scale ||
        every > CUT_LIMIT || base < 0 || base > CUT_LIMIT || last > CUT_LIMIT) {
        return false;
    }
    int64_t step = (int64_t)(units * scale);
    bb_reader_t gaps = reader;
    for (uint64_t i = 0; i < gap_count; i++) {
        bb_reader_varint(&reader);
        bb_reader_varint(&reader);
    }
    cuts->count = 0;
    s_cutter_t cutter = {.every = every, .start = first / every * every, .cuts = cuts};
    if (reader.failed || !s_jitter_range(&reader, head & ~MODE_UNITS, scale, count, &cutter) ||
        step <= cutter.high - cutter.low || first < base + cutter.low ||
        first > base + cutter.high ||
        !s_cut_grid(&cutter, &gaps, base, step, scale, gap_count, count)) {
        return false;
    }
    s_end_bucket(&cutter, count);
    return last >= cutter.start && last - cutter.start < every;
}

void bb_times_cut_decoded(const int64_t *times, uint32_t count, int64_t every,
                          bb_times_cuts_t *cuts)
{
    BB_ASSERT(count >= 1 && count <= BB_BLOCK_ROWS_MAX);
    BB_ASSERT(times[0] >= 0 && every >= 1);
    cuts->count = 0;
    s_cutter_t cutter = {.every = every, .start = times[0] / every * every, .cuts = cuts};
    for (uint32_t row = 1; row < count; row++) {
        if (times[row] - cutter.start >= every) {
            s_end_bucket(&cutter, row);
            s_begin_bucket(&cutter, times[row]);
        }
    }
    s_end_bucket(&cutter, count);
}

// SPDX-License-Identifier: Apache-2.0
// Opens runs. Bytes may come from a damaged disk: the head is checked here, by checksum and by
// meaning, so that the accessors need no checks; each block is checked when it is read.
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_varint.h"

// ---- the layout ------------------------------------------------------------------------------
typedef struct {
    const uint8_t *at, *limit;
    bool is_short; // more was asked for than there is
} s_bytes_t;

static const uint8_t *s_take(s_bytes_t *self, size_t count, size_t size)
{
    size_t length;
    const uint8_t *at = self->at;
    if (self->is_short || !bb_size_mul(count, size, &length) ||
        length > (size_t)(self->limit - self->at)) {
        self->is_short = true;
        return at;
    }
    self->at += length;
    return at;
}

static uint64_t s_number(s_bytes_t *self)
{
    uint64_t number = 0;
    self->is_short |= !bb_varint_get(&self->at, self->limit, &number);
    return number;
}

// Reads what the head begins with. False: it cannot be.
static bool s_read_numbers(bb_run_t *self, s_bytes_t *bytes, uint64_t *text_bytes)
{
    int64_t unit_ns = 1;
    for (uint32_t i = 0; i < self->widths >> 4; i++) {
        unit_ns *= 10;
    }
    self->unit_ns = unit_ns;
    self->revision = s_number(bytes);
    uint64_t rows = s_number(bytes);
    uint64_t columns = s_number(bytes);
    uint64_t absent = s_number(bytes);
    int64_t first = bb_varint_unfold(s_number(bytes));
    uint64_t span = s_number(bytes);
    uint64_t blocks = self->flags & BB_RUN_MANY ? s_number(bytes) : 1;
    uint64_t stats_bytes = self->flags & BB_RUN_STATS ? s_number(bytes) : 0;
    uint64_t texts = self->flags & BB_RUN_TEXTS ? s_number(bytes) : 0;
    *text_bytes = self->flags & BB_RUN_TEXTS ? s_number(bytes) : 0;
    bool is_shared = (self->flags & BB_RUN_SHARED) != 0;
    uint64_t partition = is_shared ? s_number(bytes) : 0;
    uint64_t members = is_shared ? s_number(bytes) : 0;
    uint64_t member_bytes = is_shared ? s_number(bytes) : 0;
    int64_t last;
    if (bytes->is_short || rows == 0 || rows > UINT32_MAX || columns == 0 || columns > UINT16_MAX ||
        blocks == 0 || blocks > BB_RUN_BLOCKS_MAX || absent > rows * columns ||
        texts > UINT32_MAX / 8 || stats_bytes > UINT32_MAX || partition > UINT16_MAX ||
        members > member_bytes || member_bytes > UINT32_MAX || (is_shared && members == 0) ||
        __builtin_mul_overflow(first, unit_ns, &first) || span > INT64_MAX / (uint64_t)unit_ns ||
        __builtin_add_overflow(first, (int64_t)(span * (uint64_t)unit_ns), &last)) {
        return false;
    }
    self->row_count = (uint32_t)rows;
    self->column_count = (uint32_t)columns;
    self->block_count = (uint32_t)blocks;
    self->point_count = rows * columns - absent;
    self->first_wall_ns = first;
    self->last_wall_ns = last;
    self->stats_bytes = stats_bytes;
    self->text_count = (uint32_t)texts;
    self->partition = (uint32_t)partition;
    self->member_count = (uint32_t)members;
    self->members_bytes = member_bytes;
    return true;
}

// Finds the parts of the head. False: they do not fit.
static bool s_lay_out(bb_run_t *self, s_bytes_t *bytes)
{
    uint64_t text_bytes;
    if (!s_read_numbers(self, bytes, &text_bytes)) {
        return false;
    }
    bool is_many = (self->flags & BB_RUN_MANY) != 0;
    size_t parts = ((size_t)self->column_count + 1) * self->block_count;
    self->metrics_raw = s_take(bytes, self->flags & BB_RUN_CONSECUTIVE ? 1 : self->column_count,
                               (size_t)1 << (self->widths & 3));
    self->types_raw = s_take(bytes, ((size_t)self->column_count + 3) / 4, 1);
    self->lengths_raw = s_take(bytes, parts, self->widths & BB_RUN_LENGTHS_WIDE ? 2 : 1);
    self->encodings_raw = s_take(bytes, parts, 1);
    if (!(self->flags & BB_RUN_WHOLE)) {
        self->checksums_raw = s_take(bytes, parts, 4);
    }
    if (is_many) {
        self->rows_raw = s_take(bytes, self->block_count, 2);
        self->times_raw = s_take(bytes, self->block_count, self->flags & BB_RUN_LONG ? 16 : 8);
        self->offsets_raw = s_take(bytes, (size_t)self->column_count + 1, 4);
    }
    if (self->flags & BB_RUN_STATS) {
        self->stats_lengths_raw =
            s_take(bytes, self->column_count, (size_t)self->block_count + is_many);
        if (is_many) {
            self->stats_offsets_raw = s_take(bytes, self->column_count, 4);
        }
        self->stats_raw = s_take(bytes, self->stats_bytes, 1);
    }
    if (self->flags & BB_RUN_SHARED) {
        self->members_raw = s_take(bytes, self->members_bytes, 1);
    }
    if (self->flags & BB_RUN_TEXTS) {
        size_t done = (size_t)(bytes->at - (const uint8_t *)self->encoded.data);
        s_take(bytes, (4 - done % 4) % 4, 1);
        self->texts_raw = s_take(bytes, self->text_count, 4);
        s_take(bytes, text_bytes, 1);
    }
    self->blocks_raw = bytes->at;
    return !bytes->is_short;
}

// The blocks lie one behind the other and fill the run.
static bool s_check_parts(bb_run_t *self)
{
    size_t offset = 0;
    size_t part = 0;
    for (uint32_t slot = 0; slot <= self->column_count; slot++) {
        if (self->flags & BB_RUN_MANY &&
            bb_run_format_u32(self->offsets_raw + (size_t)slot * 4) != offset) {
            return false;
        }
        for (uint32_t block = 0; block < self->block_count; block++, part++) {
            uint32_t length = bb_run_raw_length(self, part);
            uint32_t encoding = self->encodings_raw[part];
            offset += length;
            if (encoding == BB_ENCODING_NONE ? length != 0 || slot == 0
                                             : slot == 0 && encoding & BB_RUN_LACKS_ROWS) {
                return false;
            }
        }
    }
    const uint8_t *bytes = self->encoded.data;
    size_t head_bytes = (size_t)(self->blocks_raw - bytes);
    if (offset > self->encoded.length - head_bytes ||
        self->encoded.length - head_bytes - offset >= 4) {
        return false;
    }
    for (size_t spare = head_bytes + offset; spare < self->encoded.length; spare++) {
        if (bytes[spare] != 0) {
            return false;
        }
    }
    self->encoded.length = head_bytes + offset;
    return true;
}

static bool s_check_blocks(const bb_run_t *self)
{
    if (self->block_count == 1) {
        return self->row_count <= BB_BLOCK_ROWS_MAX && !(self->flags & BB_RUN_MANY);
    }
    bool is_shared = (self->flags & BB_RUN_SHARED) != 0;
    uint64_t rows = 0;
    int64_t before = 0;
    for (uint32_t block = 0; block < self->block_count; block++) {
        uint32_t of_block = bb_run_block_rows(self, block);
        int64_t first = bb_run_raw_block_time(self, 0, block);
        int64_t last = bb_run_raw_block_time(self, 1, block);
        if (of_block > BB_BLOCK_ROWS_MAX || first > last || first < self->first_wall_ns ||
            last > self->last_wall_ns || (!is_shared && block > 0 && first <= before)) {
            return false;
        }
        rows += of_block;
        before = last;
    }
    return rows == self->row_count &&
           (is_shared || (bb_run_raw_block_time(self, 0, 0) == self->first_wall_ns &&
                          before == self->last_wall_ns));
}

static bool s_check_columns(const bb_run_t *self)
{
    if (self->flags & BB_RUN_CONSECUTIVE &&
        (uint64_t)bb_run_raw_metric(self, 0) + self->column_count - 1 > UINT32_MAX) {
        return false;
    }
    for (uint32_t i = 1; i < self->column_count; i++) {
        uint32_t before = bb_run_raw_metric(self, i - 1);
        uint32_t metric = bb_run_raw_metric(self, i);
        if (before > metric ||
            (before == metric && bb_run_raw_type(self, i - 1) >= bb_run_raw_type(self, i))) {
            return false;
        }
    }
    return true;
}

// Each column's statistics begin where those of the one before end.
static bool s_check_stats(const bb_run_t *self)
{
    if (!(self->flags & BB_RUN_STATS)) {
        return true;
    }
    bool is_many = (self->flags & BB_RUN_MANY) != 0;
    size_t per_column = (size_t)self->block_count + is_many;
    size_t offset = 0;
    for (uint32_t column = 0; column < self->column_count; column++) {
        if (is_many && bb_run_format_u32(self->stats_offsets_raw + (size_t)column * 4) != offset) {
            return false;
        }
        for (size_t i = 0; i < per_column; i++) {
            offset += self->stats_lengths_raw[column * per_column + i];
        }
    }
    return offset == self->stats_bytes;
}

static bool s_check_texts(const bb_run_t *self)
{
    const uint8_t *bytes = self->encoded.data;
    if (!self->texts_raw) {
        return true;
    }
    size_t begin = (size_t)(self->texts_raw - bytes) + (size_t)self->text_count * 4;
    size_t limit = (size_t)(self->blocks_raw - bytes);
    for (uint32_t i = 0; i < self->text_count; i++) {
        size_t offset = bb_run_format_u32(self->texts_raw + (size_t)i * 4);
        if (offset % 4 != 0 || offset < begin || offset > limit || limit - offset < 4) {
            return false;
        }
        uint32_t length = bb_run_format_u32(bytes + offset);
        if (length > BB_STATE_BYTES_MAX || length > limit - offset - 4) {
            return false;
        }
    }
    return true;
}

static bb_error_t s_check_encodings(const bb_run_t *self, bb_fault_t *fault)
{
    size_t parts = ((size_t)self->column_count + 1) * self->block_count;
    for (size_t part = 0; part < parts; part++) {
        uint32_t encoding = self->encodings_raw[part] & BB_RUN_ENCODING_MASK;
        if (self->encodings_raw[part] != BB_ENCODING_NONE && !bb_encoding_is_known(encoding)) {
            return bb_fault_set(fault, BB_ERR_FORMAT, "run: unknown encoding %u", encoding);
        }
    }
    return BB_OK;
}

static uint32_t s_checksum(const bb_run_t *self)
{
    const uint8_t *bytes = self->encoded.data;
    size_t covered =
        self->flags & BB_RUN_WHOLE ? self->encoded.length : (size_t)(self->blocks_raw - bytes);
    uint32_t checksum = bb_crc32c(0, bytes, 4);
    return bb_crc32c(checksum, bytes + BB_RUN_FIXED_BYTES, covered - BB_RUN_FIXED_BYTES);
}

// Finds the parts of the run, as far as that needs no checksum.
static bool s_find_parts(bb_run_t *self, bb_slice_t encoded)
{
    const uint8_t *bytes = encoded.data;
    *self = (bb_run_t){.encoded = encoded, .flags = bytes[2], .widths = bytes[3]};
    s_bytes_t head = {.at = bytes + BB_RUN_FIXED_BYTES, .limit = bytes + encoded.length};
    return (self->widths & 3) != 3 && !(self->widths & BB_RUN_WIDTHS_SPARE) &&
           self->widths >> 4 <= BB_RUN_EXPONENT_MAX &&
           (self->flags & (BB_RUN_SHARED | BB_RUN_STATS)) != (BB_RUN_SHARED | BB_RUN_STATS) &&
           s_lay_out(self, &head) && s_check_parts(self);
}

bb_error_t bb_run_open_any(bb_run_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    BB_ASSERT((uintptr_t)encoded.data % 4 == 0);
    const uint8_t *bytes = encoded.data;
    if (encoded.length < BB_RUN_FIXED_BYTES || bytes[0] != BB_RUN_MAGIC) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: no run in these %zu bytes",
                            encoded.length);
    }
    if (bytes[1] != BB_RUN_VERSION || bytes[2] & ~BB_RUN_FLAGS) {
        return bb_fault_set(fault, BB_ERR_FORMAT, "run: version %u is unknown, %u was expected",
                            bytes[1], BB_RUN_VERSION);
    }
    bb_run_t run;
    if (!s_find_parts(&run, encoded)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: its head does not fit its %zu bytes",
                            encoded.length);
    }
    if (s_checksum(&run) != bb_run_format_u32(bytes + 4)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: checksum of the head");
    }
    if (!s_check_blocks(&run) || !s_check_columns(&run) || !s_check_texts(&run) ||
        !s_check_stats(&run)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: its head contradicts itself");
    }
    bb_error_t error = s_check_encodings(&run, fault);
    if (error == BB_OK) {
        *self = run;
    }
    return error;
}

bb_error_t bb_run_open(bb_run_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    if (bb_run_is_shared(encoded)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: it is shared by several batteries");
    }
    return bb_run_open_any(self, encoded, fault);
}

bool bb_run_sign(uint8_t *bytes, size_t length)
{
    bb_run_t run;
    if (length < BB_RUN_FIXED_BYTES || !s_find_parts(&run, bb_slice(bytes, length))) {
        return false;
    }
    size_t offset = (size_t)(run.blocks_raw - bytes);
    size_t parts = ((size_t)run.column_count + 1) * run.block_count;
    for (size_t part = 0; run.checksums_raw && part < parts; part++) {
        uint32_t part_bytes = bb_run_raw_length(&run, part);
        uint32_t checksum = bb_crc32c(0, bytes + offset, part_bytes);
        memcpy(bytes + (size_t)(run.checksums_raw - bytes) + part * 4, &checksum, 4);
        offset += part_bytes;
    }
    uint32_t checksum = s_checksum(&run);
    memcpy(bytes + 4, &checksum, sizeof checksum);
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// Blocks are encoded as they come and lie side by side in `payload`; only when the last one is
// there is it known how large the directory is, so the run is put together at the end.
#include "storage/segment/bb_run_writer.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_packed_stats.h"
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_stats.h"
#include "storage/segment/bb_varint.h"

// Columns of one metric and type are alike in all batteries, so what suited them is remembered. So
// is, for lists of columns that come again and again, which are predicted from which; a list must
// have come S_PEERS_SEEN times before that is asked, because the question is expensive, and for
// blocks of a few rows it does not pay.
#define S_HINTS      1024u
#define S_PEER_LISTS 64u
#define S_PEERS_SEEN 4u
#define S_PEER_ROWS  256u

typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
} s_buffer_t;

// One block of one slot.
typedef struct {
    size_t offset; // in `payload`
    uint32_t stats_offset;
    uint16_t length;
    uint8_t stats_length;
    uint8_t encoding; // with BB_RUN_LACKS_ROWS
} s_part_t;

typedef struct {
    uint32_t rows;
    int64_t first_wall_ns, last_wall_ns;
} s_block_t;

// Hints of a list of columns that all have all rows.
typedef struct {
    uint64_t signature; // of their metrics and types; 0 = free
    uint32_t seen_count;
    uint32_t hints[BB_ENCODING_PEER_LIMIT];
} s_peer_list_t;

struct bb_run_writer {
    bb_encoder_t *encoder;
    uint32_t hints[S_HINTS];
    uint32_t time_hint;
    s_peer_list_t *lists;      // S_PEER_LISTS, by signature
    bb_text_table_t own_texts; // of bb_run_writer_encode

    // The run that was begun.
    uint64_t revision;
    bb_run_column_info_t *columns;
    bb_run_column_info_t *infos; // of bb_run_writer_encode
    bb_block_stats_t *totals;    // of each column so far
    bb_block_stats_t *copied;    // of the block that is being copied
    uint32_t column_count, column_capacity, info_capacity;
    const bb_text_table_t *texts;
    bool is_without_stats;
    s_block_t *blocks;
    uint32_t block_count, block_capacity;
    s_part_t *parts; // [block][slot]
    size_t part_capacity;
    s_buffer_t payload, stats;
    // If it is shared.
    const uint32_t *batteries; // NULL: it is not
    uint32_t partition, member_count;
    s_buffer_t member_rows; // of each block, as written
    uint64_t point_count;
    uint32_t row_count;

    s_buffer_t run;
    // One block of one column at a time: present rows only, states as positions.
    uint64_t values[BB_BLOCK_ROWS_MAX];
    // The columns of the block that have all rows, if they are offered to each other as peers.
    s_peer_list_t *list; // NULL: they are not
    bb_encoding_input_t peers[BB_ENCODING_PEER_LIMIT];
    const uint64_t *peer_words[BB_ENCODING_PEER_LIMIT];
    bb_encoding_kind_t peer_kinds[BB_ENCODING_PEER_LIMIT];
    uint32_t *peer_hints[BB_ENCODING_PEER_LIMIT];
    uint32_t peer_columns[BB_ENCODING_PEER_LIMIT];
    uint32_t peer_count;
    uint64_t *positions; // of peers that are states
    size_t position_capacity;
};

bb_run_writer_t *bb_run_writer_new(void)
{
    bb_run_writer_t *self = bb_alloc_zero(1, sizeof *self);
    self->encoder = bb_encoder_new();
    self->lists = bb_alloc_zero(S_PEER_LISTS, sizeof *self->lists);
    bb_text_table_init(&self->own_texts);
    return self;
}

void bb_run_writer_destroy(bb_run_writer_t **self)
{
    bb_run_writer_t *writer = *self;
    if (!writer) {
        return;
    }
    bb_encoder_destroy(&writer->encoder);
    bb_text_table_free(&writer->own_texts);
    free(writer->lists);
    free(writer->positions);
    free(writer->columns);
    free(writer->infos);
    free(writer->totals);
    free(writer->copied);
    free(writer->blocks);
    free(writer->parts);
    free(writer->payload.bytes);
    free(writer->stats.bytes);
    free(writer->member_rows.bytes);
    free(writer->run.bytes);
    free(writer);
    *self = NULL;
}

// Room for `bytes` more.
static uint8_t *s_reserve(s_buffer_t *buffer, size_t bytes)
{
    if (buffer->capacity - buffer->length < bytes) {
        buffer->capacity = BB_MAX(buffer->length + bytes, buffer->capacity * 2);
        buffer->bytes = bb_realloc(buffer->bytes, buffer->capacity);
    }
    return buffer->bytes + buffer->length;
}

// ---- building --------------------------------------------------------------------------------
void bb_run_writer_begin(bb_run_writer_t *self, uint64_t revision,
                         const bb_run_column_info_t *columns, uint32_t column_count,
                         const bb_text_table_t *texts)
{
    BB_ASSERT(column_count >= 1);
    if (self->column_capacity < column_count) {
        self->column_capacity = column_count;
        self->columns = bb_realloc(self->columns, column_count * sizeof *self->columns);
        self->totals = bb_realloc(self->totals, column_count * sizeof *self->totals);
        self->copied = bb_realloc(self->copied, column_count * sizeof *self->copied);
    }
    for (uint32_t i = 0; i < column_count; i++) {
        BB_ASSERT(bb_type_is_valid(columns[i].type));
        BB_ASSERT(
            i == 0 || columns[i - 1].metric < columns[i].metric ||
            (columns[i - 1].metric == columns[i].metric && columns[i - 1].type < columns[i].type));
    }
    memcpy(self->columns, columns, column_count * sizeof *columns);
    memset(self->totals, 0, column_count * sizeof *self->totals);
    self->revision = revision;
    self->column_count = column_count;
    self->texts = texts;
    self->is_without_stats = false;
    self->batteries = NULL;
    self->block_count = 0;
    self->row_count = 0;
    self->point_count = 0;
    self->payload.length = 0;
    self->stats.length = 0;
    self->member_rows.length = 0;
}

void bb_run_writer_share(bb_run_writer_t *self, uint32_t partition, const uint32_t *batteries,
                         uint32_t member_count)
{
    BB_ASSERT(member_count >= 1);
    BB_ASSERT(self->block_count == 0);
    self->is_without_stats = true;
    self->partition = partition;
    self->batteries = batteries;
    self->member_count = member_count;
}

uint32_t bb_run_writer_rows(const bb_run_writer_t *self)
{
    return self->row_count;
}

uint32_t bb_run_writer_blocks(const bb_run_writer_t *self)
{
    return self->block_count;
}

// The parts of the next block, to be filled.
static s_part_t *s_next_block(bb_run_writer_t *self, uint32_t rows, int64_t first_wall_ns,
                              int64_t last_wall_ns)
{
    BB_ASSERT(rows >= 1 && rows <= BB_BLOCK_ROWS_MAX);
    BB_ASSERT(self->block_count < BB_RUN_BLOCKS_MAX);
    BB_ASSERT(self->block_count == 0 || self->batteries ||
              self->blocks[self->block_count - 1].last_wall_ns < first_wall_ns);
    if (self->block_count == self->block_capacity) {
        self->block_capacity = self->block_capacity ? self->block_capacity * 2 : 16;
        self->blocks = bb_realloc(self->blocks, self->block_capacity * sizeof *self->blocks);
    }
    size_t slots = (size_t)self->column_count + 1;
    if (self->part_capacity < (self->block_count + 1) * slots) {
        self->part_capacity = (self->block_count + 1) * slots * 2;
        self->parts = bb_realloc(self->parts, self->part_capacity * sizeof *self->parts);
    }
    self->blocks[self->block_count] = (s_block_t){rows, first_wall_ns, last_wall_ns};
    return self->parts + self->block_count++ * slots;
}

static bb_packed_stats_frame_t s_frame(const bb_run_writer_t *self, uint32_t column)
{
    const s_block_t *block = &self->blocks[self->block_count - 1];
    return (bb_packed_stats_frame_t){self->columns[column].type, block->rows, block->first_wall_ns,
                                     block->last_wall_ns};
}

// Positions have the order of the texts, so they merge like integers.
static void s_merge_stats(bb_block_stats_t *total, bb_type_t type, const bb_block_stats_t *part)
{
    bb_stats_merge(total, type == BB_TYPE_STATE ? BB_TYPE_INT64 : type, part);
}

static void s_append_stats(bb_run_writer_t *self, s_part_t *part,
                           const bb_packed_stats_frame_t *frame, const bb_block_stats_t *stats)
{
    uint8_t *room = s_reserve(&self->stats, BB_PACKED_STATS_BYTES_MAX);
    part->stats_offset = (uint32_t)self->stats.length;
    part->stats_length = (uint8_t)bb_packed_stats_encode(frame, stats, room);
    self->stats.length += part->stats_length;
}

// ---- rows ------------------------------------------------------------------------------------
static bool s_is_present(const bb_run_column_t *column, uint32_t row)
{
    return !column->presence || (column->presence[row / 64] >> (row % 64) & 1);
}

static bool s_all_present(const bb_run_column_t *column, uint32_t row_first, uint32_t row_count)
{
    uint32_t row = row_first;
    uint32_t limit = row_first + row_count;
    while (column->presence && row < limit) {
        uint32_t bits = BB_MIN(64 - row % 64, limit - row);
        uint64_t wanted = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
        if ((column->presence[row / 64] >> row % 64 & wanted) != wanted) {
            return false;
        }
        row += bits;
    }
    return true;
}

static void s_encode(bb_run_writer_t *self, s_part_t *part, const bb_encoding_input_t *input,
                     uint32_t *hint)
{
    uint8_t *room = s_reserve(&self->payload, BB_ENCODING_BYTES_MAX(input->count));
    uint8_t id;
    size_t length = bb_encoder_encode(self->encoder, input, hint, room, &id);
    BB_ASSERT(id <= BB_RUN_ENCODING_MASK);
    self->payload.length += length;
    part->encoding |= id;
    part->length = (uint16_t)(self->payload.length - part->offset);
}

// The present values of the block in order, and the first and last row that has one. Writes the
// bitmap of presence when some rows lack.
static const uint64_t *s_gather(bb_run_writer_t *self, s_part_t *part,
                                const bb_run_column_t *column, uint32_t row_first,
                                uint32_t row_count, uint32_t *count, uint32_t ends[2])
{
    ends[0] = 0;
    ends[1] = row_count - 1;
    *count = row_count;
    if (s_all_present(column, row_first, row_count)) {
        return column->values + row_first;
    }
    uint8_t bitmap[BB_BLOCK_ROWS_MAX / 8] = {0};
    *count = 0;
    for (uint32_t row = 0; row < row_count; row++) {
        if (s_is_present(column, row_first + row)) {
            bitmap[row / 8] |= (uint8_t)(1u << (row % 8));
            ends[*count > 0] = row;
            self->values[(*count)++] = column->values[row_first + row];
        }
    }
    if (*count == 1) {
        ends[1] = ends[0];
    }
    if (*count > 0 && *count < row_count) {
        uint32_t bytes = bb_run_format_presence_bytes(row_count);
        memcpy(s_reserve(&self->payload, bytes), bitmap, bytes);
        self->payload.length += bytes;
        part->encoding = BB_RUN_LACKS_ROWS;
    }
    return self->values;
}

// Words as they are written; `positions` has room for those of states.
static const uint64_t *s_translate(const bb_run_writer_t *self, bb_type_t type,
                                   const uint64_t *words, uint32_t count, uint64_t *positions)
{
    if (type == BB_TYPE_BOOL) {
        for (uint32_t i = 0; i < count; i++) {
            BB_ASSERT(words[i] <= 1);
        }
    }
    if (type != BB_TYPE_STATE) {
        return words;
    }
    uint64_t previous = 0;
    uint32_t code = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (words[i] != previous) {
            previous = words[i];
            code = bb_text_table_code(self->texts, bb_text_of_bits(previous));
        }
        positions[i] = code;
    }
    return positions;
}

// ---- peers -----------------------------------------------------------------------------------
// Lists the columns of the block that have all rows. The reader finds the same list, by the bit in
// the byte of the encoding.
static void s_list_peers(bb_run_writer_t *self, const bb_run_input_t *input, uint32_t row_first,
                         uint32_t row_count)
{
    uint64_t signature = 1;
    self->peer_count = 0;
    if (self->position_capacity < (size_t)input->column_count * BB_BLOCK_ROWS_MAX) {
        self->position_capacity = (size_t)input->column_count * BB_BLOCK_ROWS_MAX;
        self->positions =
            bb_realloc(self->positions, self->position_capacity * sizeof *self->positions);
    }
    for (uint32_t i = 0; i < input->column_count && self->peer_count < BB_ENCODING_PEER_LIMIT;
         i++) {
        const bb_run_column_t *column = &input->columns[i];
        if (!s_all_present(column, row_first, row_count)) {
            continue;
        }
        uint32_t at = self->peer_count++;
        self->peer_columns[at] = i;
        self->peer_words[at] =
            s_translate(self, column->type, column->values + row_first, row_count,
                        self->positions + (size_t)i * BB_BLOCK_ROWS_MAX);
        self->peer_kinds[at] = bb_run_format_kind(column->type);
        self->peers[at] = (bb_encoding_input_t){
            .kind = self->peer_kinds[at], .words = self->peer_words[at], .count = row_count};
        signature = (signature ^ ((uint64_t)column->metric * 4 + column->type)) *
                    UINT64_C(0x9e3779b97f4a7c15);
        signature ^= signature >> 29;
    }
    s_peer_list_t *list = &self->lists[signature % S_PEER_LISTS];
    if (list->signature != signature) {
        memset(list, 0, sizeof *list);
        list->signature = signature;
    }
    self->list = ++list->seen_count > S_PEERS_SEEN ? list : NULL;
}

static void s_relate(bb_run_writer_t *self, const bb_run_input_t *input, uint32_t row_first,
                     uint32_t row_count)
{
    self->list = NULL;
    if (row_count < S_PEER_ROWS || self->is_without_stats) {
        return;
    }
    s_list_peers(self, input, row_first, row_count);
    if (!self->list || self->peer_count < 2) {
        self->list = NULL;
        return;
    }
    for (uint32_t i = 0; i < self->peer_count; i++) {
        self->peer_hints[i] = &self->list->hints[i];
    }
    bb_encoder_relate(self->encoder, self->peers, self->peer_count, self->peer_hints);
}

// The place of a column among the peers, or UINT32_MAX.
static uint32_t s_peer_of(const bb_run_writer_t *self, uint32_t column)
{
    for (uint32_t i = 0; self->list && i < self->peer_count; i++) {
        if (self->peer_columns[i] == column) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void s_add_column(bb_run_writer_t *self, s_part_t *part, const bb_run_input_t *input,
                         uint32_t index, uint32_t row_first, uint32_t row_count)
{
    const bb_run_column_t *column = &input->columns[index];
    bb_type_t type = column->type;
    uint32_t count;
    uint32_t ends[2];
    *part =
        (s_part_t){.offset = self->payload.length, .stats_offset = (uint32_t)self->stats.length};
    const uint64_t *words = s_gather(self, part, column, row_first, row_count, &count, ends);
    if (count == 0) {
        return;
    }
    words = s_translate(self, type, words, count, self->values);
    size_t begin = self->payload.length;
    bb_encoding_input_t block = {.kind = bb_run_format_kind(type), .words = words, .count = count};
    uint32_t *hint = &self->hints[(column->metric * 4 + (uint32_t)type) % S_HINTS];
    uint32_t peer = s_peer_of(self, index);
    if (peer != UINT32_MAX) {
        block.peers = self->peer_words;
        block.peer_kinds = self->peer_kinds;
        block.peer_count = self->peer_count;
        hint = self->peer_hints[peer];
    }
    s_encode(self, part, &block, hint);
    self->point_count += count;
    if (self->is_without_stats) {
        return;
    }
    bb_encoding_totals_t totals;
    uint32_t id = part->encoding & BB_RUN_ENCODING_MASK;
    bb_slice_t encoded = bb_slice(self->payload.bytes + begin, self->payload.length - begin);
    if (id == BB_ENCODING_PREDICTED) {
        bb_encoding_totals_of(type, words, count, &totals);
    } else {
        bb_error_t error = bb_encoding_aggregate(id, type, encoded, count, NULL, 0, count, &totals);
        BB_ASSERT(error == BB_OK); // checked on both sides of the boundary: it was just written
    }
    bb_block_stats_t stats = {
        .count = count,
        .sum = totals.sum,
        .min = totals.min,
        .max = totals.max,
        .first_wall_ns = input->times_wall_ns[row_first + ends[0]],
        .last_wall_ns = input->times_wall_ns[row_first + ends[1]],
        .first = totals.first,
        .last = totals.last,
    };
    bb_packed_stats_frame_t frame = s_frame(self, index);
    s_append_stats(self, part, &frame, &stats);
    s_merge_stats(&self->totals[index], type, &stats);
}

// Blocks of a shared run are brief, until its batteries have runs of their own. A dense block lies
// within one hour: what is asked about hours and days comes from its statistics, so that it is
// decoded rarely, and there are many of them.
static bb_encoder_aim_t s_aim(const bb_run_writer_t *self, const int64_t *times, uint32_t rows)
{
    if (self->batteries) {
        return BB_ENCODER_BRIEF;
    }
    return bb_run_writer_is_dense(times, rows) ? BB_ENCODER_SMALL : BB_ENCODER_FAST;
}

static void s_add_block(bb_run_writer_t *self, const bb_run_input_t *input, uint32_t row_first,
                        uint32_t row_count, int64_t first_wall_ns, int64_t last_wall_ns)
{
    BB_ASSERT(input->column_count == self->column_count);
    const int64_t *times = input->times_wall_ns + row_first;
    s_part_t *parts = s_next_block(self, row_count, first_wall_ns, last_wall_ns);
    parts[0] = (s_part_t){.offset = self->payload.length};
    memcpy(self->values, times, (size_t)row_count * sizeof *times);
    bb_encoding_input_t block = {
        .kind = BB_ENCODING_INTEGER, .words = self->values, .count = row_count};
    bb_encoder_set_aim(self->encoder, s_aim(self, times, row_count));
    s_encode(self, &parts[0], &block, &self->time_hint);
    s_relate(self, input, row_first, row_count);
    for (uint32_t i = 0; i < self->column_count; i++) {
        BB_ASSERT(input->columns[i].metric == self->columns[i].metric &&
                  input->columns[i].type == self->columns[i].type);
        s_add_column(self, &parts[bb_run_slot(i)], input, i, row_first, row_count);
    }
    self->row_count += row_count;
}

void bb_run_writer_add(bb_run_writer_t *self, const bb_run_input_t *input, uint32_t row_first,
                       uint32_t row_count)
{
    BB_ASSERT(!self->batteries);
    const int64_t *times = input->times_wall_ns + row_first;
    for (uint32_t row = 1; row < row_count; row++) {
        BB_ASSERT(times[row - 1] < times[row]);
    }
    s_add_block(self, input, row_first, row_count, times[0], times[row_count - 1]);
}

// ---- rows of several batteries ---------------------------------------------------------------
static void s_note_members(bb_run_writer_t *self, uint32_t row_count, uint32_t member_first,
                           uint32_t member_count, const uint32_t *member_rows)
{
    s_buffer_t *out = &self->member_rows;
    bool is_each = true;
    uint32_t rows = 0;
    BB_ASSERT(member_count >= 1 && member_first <= self->member_count - member_count);
    for (uint32_t i = 0; i < member_count; i++) {
        is_each &= member_rows[i] == member_rows[0] && member_rows[i] > 0;
        rows += member_rows[i];
    }
    BB_ASSERT(rows == row_count);
    out->length += bb_varint_put(s_reserve(out, BB_VARINT_BYTES_MAX), member_first);
    out->length += bb_varint_put(s_reserve(out, BB_VARINT_BYTES_MAX), member_count);
    out->length += bb_varint_put(s_reserve(out, BB_VARINT_BYTES_MAX), is_each ? member_rows[0] : 0);
    for (uint32_t i = 0; !is_each && i < member_count; i++) {
        out->length += bb_varint_put(s_reserve(out, BB_VARINT_BYTES_MAX), member_rows[i]);
    }
}

void bb_run_writer_add_shared(bb_run_writer_t *self, const bb_run_input_t *input,
                              uint32_t row_first, uint32_t row_count, uint32_t member_first,
                              uint32_t member_count, const uint32_t *member_rows)
{
    BB_ASSERT(self->batteries);
    const int64_t *times = input->times_wall_ns + row_first;
    int64_t first_wall_ns = INT64_MAX;
    int64_t last_wall_ns = INT64_MIN;
    for (uint32_t row = 0; row < row_count; row++) {
        first_wall_ns = BB_MIN(first_wall_ns, times[row]);
        last_wall_ns = BB_MAX(last_wall_ns, times[row]);
    }
    for (uint32_t i = 0, row = 0; i < member_count; row += member_rows[i++]) {
        for (uint32_t r = 1; r < member_rows[i]; r++) {
            BB_ASSERT(times[row + r - 1] < times[row + r]);
        }
    }
    s_add_block(self, input, row_first, row_count, first_wall_ns, last_wall_ns);
    s_note_members(self, row_count, member_first, member_count, member_rows);
}

// ---- blocks that are copied ------------------------------------------------------------------
static bb_error_t s_copy_part(bb_run_writer_t *self, const bb_run_t *run, uint32_t slot,
                              uint32_t block_index, s_part_t *part)
{
    bb_slice_t block;
    *part = (s_part_t){.offset = self->payload.length};
    bb_error_t error = bb_run_raw_block(run, slot, block_index, &block, &part->encoding);
    if (error == BB_OK && block.length > 0) {
        memcpy(s_reserve(&self->payload, block.length), block.data, block.length);
        self->payload.length += block.length;
        part->length = (uint16_t)block.length;
    }
    return error;
}

bb_error_t bb_run_writer_copy(bb_run_writer_t *self, const bb_run_t *run, uint32_t block_index)
{
    BB_ASSERT(run->column_count == self->column_count);
    BB_ASSERT(bb_run_has_stats(run));
    size_t payload_before = self->payload.length;
    size_t stats_before = self->stats.length;
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    uint32_t rows = bb_run_block_rows(run, block_index);
    bb_run_block_range(run, block_index, &first_wall_ns, &last_wall_ns);
    s_part_t *parts = s_next_block(self, rows, first_wall_ns, last_wall_ns);
    bb_error_t error = BB_OK;
    for (uint32_t slot = 0; error == BB_OK && slot <= self->column_count; slot++) {
        s_part_t *part = &parts[slot];
        error = s_copy_part(self, run, slot, block_index, part);
        if (error == BB_OK && slot > 0) {
            bb_slice_t stats = bb_run_raw_stats(run, slot - 1, block_index);
            part->stats_offset = (uint32_t)self->stats.length;
            part->stats_length = (uint8_t)stats.length;
            if (stats.length > 0) {
                memcpy(s_reserve(&self->stats, stats.length), stats.data, stats.length);
                self->stats.length += stats.length;
            }
        }
    }
    bb_block_stats_t *stats = self->copied;
    for (uint32_t i = 0; error == BB_OK && i < self->column_count; i++) {
        error = bb_run_raw_block_stats(run, i, block_index, &stats[i]);
    }
    if (error != BB_OK) {
        self->block_count--;
        self->payload.length = payload_before;
        self->stats.length = stats_before;
        return error;
    }
    for (uint32_t i = 0; i < self->column_count; i++) {
        s_merge_stats(&self->totals[i], self->columns[i].type, &stats[i]);
        self->point_count += stats[i].count;
    }
    self->row_count += rows;
    return BB_OK;
}

bb_error_t bb_run_writer_copy_shared(bb_run_writer_t *self, const bb_run_t *run,
                                     uint32_t block_index, uint32_t member_first,
                                     uint32_t member_count, const uint32_t *member_rows)
{
    BB_ASSERT(self->batteries && run->flags & BB_RUN_SHARED && !run->shared);
    BB_ASSERT(run->column_count == self->column_count);
    size_t payload_before = self->payload.length;
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    uint32_t rows = bb_run_block_rows(run, block_index);
    uint64_t points = 0;
    bb_run_block_range(run, block_index, &first_wall_ns, &last_wall_ns);
    s_part_t *parts = s_next_block(self, rows, first_wall_ns, last_wall_ns);
    bb_error_t error = BB_OK;
    for (uint32_t slot = 0; error == BB_OK && slot <= self->column_count; slot++) {
        s_part_t *part = &parts[slot];
        error = s_copy_part(self, run, slot, block_index, part);
        uint32_t count = part->encoding == BB_ENCODING_NONE ? 0 : rows;
        if (error == BB_OK && slot > 0 && part->encoding & BB_RUN_LACKS_ROWS) {
            error = bb_run_raw_count(run, slot - 1, block_index, &count);
        }
        points += slot > 0 ? count : 0;
    }
    if (error != BB_OK) {
        self->block_count--;
        self->payload.length = payload_before;
        return error;
    }
    self->point_count += points;
    self->row_count += rows;
    s_note_members(self, rows, member_first, member_count, member_rows);
    return BB_OK;
}

// ---- putting it together ---------------------------------------------------------------------
typedef struct {
    uint32_t flags, widths;
    uint32_t exponent;    // of a unit
    int64_t unit_ns;      // 10^exponent
    uint32_t metric_log2; // of the bytes of a metric number
    size_t stats_bytes;   // with those of whole columns
    size_t text_bytes;    // with the offsets
    s_part_t *whole;      // statistics of whole columns, if MANY and STATS
    int64_t first_wall_ns, last_wall_ns;
} s_shape_t;

static void s_find_unit(const bb_run_writer_t *self, s_shape_t *shape)
{
    shape->exponent = 0;
    shape->unit_ns = 1;
    while (shape->exponent < BB_RUN_EXPONENT_MAX) {
        int64_t unit_ns = shape->unit_ns * 10;
        for (uint32_t i = 0; i < self->block_count; i++) {
            if (self->blocks[i].first_wall_ns % unit_ns != 0 ||
                self->blocks[i].last_wall_ns % unit_ns != 0) {
                return;
            }
        }
        shape->exponent++;
        shape->unit_ns = unit_ns;
    }
}

static void s_find_shape(bb_run_writer_t *self, s_shape_t *shape)
{
    *shape = (s_shape_t){
        .first_wall_ns = self->blocks[0].first_wall_ns,
        .last_wall_ns = self->blocks[self->block_count - 1].last_wall_ns,
    };
    for (uint32_t i = 0; self->batteries && i < self->block_count; i++) {
        shape->first_wall_ns = BB_MIN(shape->first_wall_ns, self->blocks[i].first_wall_ns);
        shape->last_wall_ns = BB_MAX(shape->last_wall_ns, self->blocks[i].last_wall_ns);
    }
    s_find_unit(self, shape);
    bool is_many = self->block_count > 1;
    uint64_t span =
        ((uint64_t)shape->last_wall_ns - (uint64_t)shape->first_wall_ns) / (uint64_t)shape->unit_ns;
    bool is_whole = !is_many && self->payload.length <= BB_RUN_WHOLE_BYTES_MAX;
    bool has_texts = self->texts && self->texts->sorted_count > 0;
    bool is_consecutive = true;
    for (uint32_t i = 1; i < self->column_count; i++) {
        is_consecutive &= self->columns[i].metric == self->columns[i - 1].metric + 1;
    }
    shape->flags = (is_whole ? BB_RUN_WHOLE : 0) | (is_many ? BB_RUN_MANY : 0) |
                   (self->is_without_stats ? 0 : BB_RUN_STATS) | (has_texts ? BB_RUN_TEXTS : 0) |
                   (is_consecutive ? BB_RUN_CONSECUTIVE : 0) |
                   (self->batteries ? BB_RUN_SHARED : 0) |
                   (is_many && span > UINT32_MAX ? BB_RUN_LONG : 0);
    uint32_t metric_max = self->columns[self->column_count - 1].metric;
    shape->metric_log2 = metric_max <= UINT8_MAX ? 0 : metric_max <= UINT16_MAX ? 1 : 2;
    shape->widths = shape->metric_log2 | shape->exponent << 4;
    size_t part_count = (size_t)self->block_count * (self->column_count + 1);
    for (size_t i = 0; i < part_count; i++) {
        shape->widths |= self->parts[i].length > UINT8_MAX ? BB_RUN_LENGTHS_WIDE : 0;
    }
    for (uint32_t i = 0; has_texts && i < self->texts->sorted_count; i++) {
        shape->text_bytes += 8 + ((size_t)self->texts->sorted[i]->length + 3) / 4 * 4;
    }
}

// Statistics of whole columns go behind those of the blocks.
static void s_add_whole_stats(bb_run_writer_t *self, s_shape_t *shape)
{
    if (!(shape->flags & BB_RUN_STATS) || !(shape->flags & BB_RUN_MANY)) {
        shape->stats_bytes = self->stats.length;
        return;
    }
    shape->whole = bb_alloc_zero(self->column_count, sizeof *shape->whole);
    for (uint32_t i = 0; i < self->column_count; i++) {
        bb_packed_stats_frame_t frame = {self->columns[i].type, self->row_count,
                                         shape->first_wall_ns, shape->last_wall_ns};
        if (frame.type == BB_TYPE_STATE) {
            self->totals[i].sum = (bb_sum_t){0};
        }
        s_append_stats(self, &shape->whole[i], &frame, &self->totals[i]);
    }
    shape->stats_bytes = self->stats.length;
}

static void s_put(s_buffer_t *run, const void *bytes, size_t length)
{
    memcpy(s_reserve(run, length), bytes, length);
    run->length += length;
}

static void s_put_varint(s_buffer_t *run, uint64_t number)
{
    run->length += bb_varint_put(s_reserve(run, BB_VARINT_BYTES_MAX), number);
}

static void s_put_u32(s_buffer_t *run, size_t number)
{
    BB_ASSERT(number <= UINT32_MAX);
    uint32_t narrow = (uint32_t)number;
    s_put(run, &narrow, sizeof narrow);
}

static size_t s_member_bytes(const bb_run_writer_t *self)
{
    uint8_t spare[BB_VARINT_BYTES_MAX];
    size_t bytes = self->member_rows.length + bb_varint_put(spare, self->batteries[0]);
    for (uint32_t i = 1; i < self->member_count; i++) {
        bytes += bb_varint_put(spare, self->batteries[i] - self->batteries[i - 1] - 1);
    }
    return bytes;
}

static void s_put_numbers(bb_run_writer_t *self, const s_shape_t *shape)
{
    s_buffer_t *run = &self->run;
    const uint8_t fixed[BB_RUN_FIXED_BYTES] = {BB_RUN_MAGIC, BB_RUN_VERSION, (uint8_t)shape->flags,
                                               (uint8_t)shape->widths};
    uint64_t unit_ns = (uint64_t)shape->unit_ns;
    s_put(run, fixed, sizeof fixed);
    s_put_varint(run, self->revision);
    s_put_varint(run, self->row_count);
    s_put_varint(run, self->column_count);
    s_put_varint(run, (uint64_t)self->row_count * self->column_count - self->point_count);
    s_put_varint(run, bb_varint_fold(shape->first_wall_ns / shape->unit_ns));
    s_put_varint(run, ((uint64_t)shape->last_wall_ns - (uint64_t)shape->first_wall_ns) / unit_ns);
    if (shape->flags & BB_RUN_MANY) {
        s_put_varint(run, self->block_count);
    }
    if (shape->flags & BB_RUN_STATS) {
        s_put_varint(run, shape->stats_bytes);
    }
    if (shape->flags & BB_RUN_TEXTS) {
        s_put_varint(run, self->texts->sorted_count);
        s_put_varint(run, shape->text_bytes - (size_t)self->texts->sorted_count * 4);
    }
    if (shape->flags & BB_RUN_SHARED) {
        s_put_varint(run, self->partition);
        s_put_varint(run, self->member_count);
        s_put_varint(run, s_member_bytes(self));
    }
}

static void s_put_members(bb_run_writer_t *self)
{
    s_put_varint(&self->run, self->batteries[0]);
    for (uint32_t i = 1; i < self->member_count; i++) {
        BB_ASSERT(self->batteries[i - 1] < self->batteries[i]);
        s_put_varint(&self->run, self->batteries[i] - self->batteries[i - 1] - 1);
    }
    s_put(&self->run, self->member_rows.bytes, self->member_rows.length);
}

static void s_put_columns(bb_run_writer_t *self, const s_shape_t *shape)
{
    uint32_t listed = shape->flags & BB_RUN_CONSECUTIVE ? 1 : self->column_count;
    for (uint32_t i = 0; i < listed; i++) {
        s_put(&self->run, &self->columns[i].metric, (size_t)1 << shape->metric_log2);
    }
    for (uint32_t i = 0; i < self->column_count; i += 4) {
        uint8_t types = 0;
        for (uint32_t j = i; j < self->column_count && j < i + 4; j++) {
            types |= (uint8_t)((self->columns[j].type - 1) << (j - i) * 2);
        }
        s_put(&self->run, &types, 1);
    }
}

static const s_part_t *s_part(const bb_run_writer_t *self, uint32_t slot, uint32_t block)
{
    return &self->parts[(size_t)block * (self->column_count + 1) + slot];
}

static void s_put_parts(bb_run_writer_t *self, const s_shape_t *shape)
{
    size_t length_bytes = shape->widths & BB_RUN_LENGTHS_WIDE ? 2 : 1;
    for (uint32_t slot = 0; slot <= self->column_count; slot++) {
        for (uint32_t block = 0; block < self->block_count; block++) {
            s_put(&self->run, &s_part(self, slot, block)->length, length_bytes);
        }
    }
    for (uint32_t slot = 0; slot <= self->column_count; slot++) {
        for (uint32_t block = 0; block < self->block_count; block++) {
            s_put(&self->run, &s_part(self, slot, block)->encoding, 1);
        }
    }
    for (uint32_t slot = 0; !(shape->flags & BB_RUN_WHOLE) && slot <= self->column_count; slot++) {
        for (uint32_t block = 0; block < self->block_count; block++) {
            const s_part_t *part = s_part(self, slot, block);
            s_put_u32(&self->run, bb_crc32c(0, self->payload.bytes + part->offset, part->length));
        }
    }
}

static void s_put_blocks(bb_run_writer_t *self, const s_shape_t *shape)
{
    size_t time_bytes = shape->flags & BB_RUN_LONG ? 8 : 4;
    for (uint32_t block = 0; block < self->block_count; block++) {
        uint16_t rows = (uint16_t)(self->blocks[block].rows - 1);
        s_put(&self->run, &rows, sizeof rows);
    }
    for (uint32_t end = 0; end < 2; end++) {
        for (uint32_t block = 0; block < self->block_count; block++) {
            const s_block_t *at = &self->blocks[block];
            uint64_t since = (uint64_t)(end ? at->last_wall_ns : at->first_wall_ns) -
                             (uint64_t)shape->first_wall_ns;
            since /= (uint64_t)shape->unit_ns;
            s_put(&self->run, &since, time_bytes);
        }
    }
    size_t offset = 0;
    for (uint32_t slot = 0; slot <= self->column_count; slot++) {
        s_put_u32(&self->run, offset);
        for (uint32_t block = 0; block < self->block_count; block++) {
            offset += s_part(self, slot, block)->length;
        }
    }
}

static void s_put_stats(bb_run_writer_t *self, const s_shape_t *shape)
{
    for (uint32_t column = 0; column < self->column_count; column++) {
        if (shape->whole) {
            s_put(&self->run, &shape->whole[column].stats_length, 1);
        }
        for (uint32_t block = 0; block < self->block_count; block++) {
            s_put(&self->run, &s_part(self, bb_run_slot(column), block)->stats_length, 1);
        }
    }
    size_t offset = 0;
    for (uint32_t column = 0; shape->whole && column < self->column_count; column++) {
        s_put_u32(&self->run, offset);
        offset += shape->whole[column].stats_length;
        for (uint32_t block = 0; block < self->block_count; block++) {
            offset += s_part(self, bb_run_slot(column), block)->stats_length;
        }
    }
    for (uint32_t column = 0; column < self->column_count; column++) {
        if (shape->whole) {
            s_put(&self->run, self->stats.bytes + shape->whole[column].stats_offset,
                  shape->whole[column].stats_length);
        }
        for (uint32_t block = 0; block < self->block_count; block++) {
            const s_part_t *part = s_part(self, bb_run_slot(column), block);
            if (part->stats_length > 0) {
                s_put(&self->run, self->stats.bytes + part->stats_offset, part->stats_length);
            }
        }
    }
}

static void s_put_texts(bb_run_writer_t *self)
{
    static const uint8_t zeros[4];
    s_buffer_t *run = &self->run;
    const bb_text_table_t *texts = self->texts;
    s_put(run, zeros, (4 - run->length % 4) % 4);
    size_t at = run->length + (size_t)texts->sorted_count * 4;
    for (uint32_t i = 0; i < texts->sorted_count; i++) {
        s_put_u32(run, at);
        at += 4 + ((size_t)texts->sorted[i]->length + 3) / 4 * 4;
    }
    for (uint32_t i = 0; i < texts->sorted_count; i++) {
        const bb_text_t *text = texts->sorted[i];
        s_put_u32(run, text->length);
        if (text->length > 0) {
            s_put(run, text->bytes, text->length);
        }
        s_put(run, zeros, (4 - run->length % 4) % 4);
    }
}

bb_slice_t bb_run_writer_finish(bb_run_writer_t *self)
{
    BB_ASSERT(self->block_count >= 1);
    s_shape_t shape;
    s_find_shape(self, &shape);
    s_add_whole_stats(self, &shape);
    s_buffer_t *run = &self->run;
    run->length = 0;
    s_put_numbers(self, &shape);
    s_put_columns(self, &shape);
    s_put_parts(self, &shape);
    if (shape.flags & BB_RUN_MANY) {
        s_put_blocks(self, &shape);
    }
    if (shape.flags & BB_RUN_STATS) {
        s_put_stats(self, &shape);
    }
    free(shape.whole);
    if (shape.flags & BB_RUN_SHARED) {
        s_put_members(self);
    }
    if (shape.flags & BB_RUN_TEXTS) {
        s_put_texts(self);
    }
    size_t covered = run->length;
    for (uint32_t slot = 0; slot <= self->column_count; slot++) {
        for (uint32_t block = 0; block < self->block_count; block++) {
            const s_part_t *part = s_part(self, slot, block);
            s_put(run, self->payload.bytes + part->offset, part->length);
        }
    }
    if (shape.flags & BB_RUN_WHOLE) {
        covered = run->length;
    }
    uint32_t checksum = bb_crc32c(0, run->bytes, 4);
    checksum = bb_crc32c(checksum, run->bytes + BB_RUN_FIXED_BYTES, covered - BB_RUN_FIXED_BYTES);
    memcpy(run->bytes + 4, &checksum, sizeof checksum);
    return bb_slice(run->bytes, run->length);
}

// ---- beginning with the texts of rows ----------------------------------------------------------
static void s_collect_texts(bb_run_writer_t *self, const bb_run_input_t *input)
{
    bb_text_table_clear(&self->own_texts);
    for (uint32_t i = 0; i < input->column_count; i++) {
        const bb_run_column_t *column = &input->columns[i];
        if (column->type != BB_TYPE_STATE) {
            continue;
        }
        const bb_text_t *previous = NULL; // states stay for long; most rows repeat
        for (uint32_t row = 0; row < input->row_count; row++) {
            if (!s_is_present(column, row)) {
                continue;
            }
            const bb_text_t *text = bb_text_of_bits(column->values[row]);
            if (text != previous) {
                BB_ASSERT(text->length <= BB_STATE_BYTES_MAX);
                bb_text_table_add(&self->own_texts, text);
                previous = text;
            }
        }
    }
    bb_text_table_sort(&self->own_texts);
}

void bb_run_writer_begin_input(bb_run_writer_t *self, const bb_run_input_t *input, bool has_stats)
{
    BB_ASSERT(input->row_count >= 1);
    BB_ASSERT(input->column_count >= 1);
    if (self->info_capacity < input->column_count) {
        self->info_capacity = input->column_count;
        self->infos = bb_realloc(self->infos, self->info_capacity * sizeof *self->infos);
    }
    for (uint32_t i = 0; i < input->column_count; i++) {
        self->infos[i] = (bb_run_column_info_t){input->columns[i].metric, input->columns[i].type};
    }
    s_collect_texts(self, input);
    bb_run_writer_begin(self, input->revision, self->infos, input->column_count, &self->own_texts);
    self->is_without_stats = !has_stats;
}

// SPDX-License-Identifier: Apache-2.0
// Writes the layout of bb_run_format.h: first the sizes of everything before the blocks, then the
// blocks one behind the other, then the entries and checksums that describe them.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_stats.h"
#include "storage/segment/bb_text_table.h"

struct bb_run_writer {
    uint8_t *bytes; // the run; malloc'd, so aligned
    size_t length, capacity;
    bb_text_table_t texts;
    bb_encoder_t *encoder;
    // One block at a time: present rows only, states as codes.
    int64_t times[BB_BLOCK_ROWS_MAX];
    uint64_t values[BB_BLOCK_ROWS_MAX];
};

// Where the parts of the run begin, in bytes.
typedef struct {
    uint32_t block_count;
    size_t columns, times, values, text_offsets, texts, blocks;
} s_layout_t;

bb_run_writer_t *bb_run_writer_new(void)
{
    bb_run_writer_t *self = bb_alloc_zero(1, sizeof *self);
    bb_text_table_init(&self->texts);
    self->encoder = bb_encoder_new();
    return self;
}

void bb_run_writer_destroy(bb_run_writer_t **self)
{
    if (*self) {
        bb_text_table_free(&(*self)->texts);
        bb_encoder_destroy(&(*self)->encoder);
        free((*self)->bytes);
        free(*self);
        *self = NULL;
    }
}

static bool s_is_present(const bb_run_column_t *column, uint32_t row)
{
    return !column->presence || (column->presence[row / 64] >> (row % 64) & 1);
}

static void s_check_input(const bb_run_input_t *input)
{
    BB_ASSERT(input->row_count >= 1);
    BB_ASSERT(input->column_count >= 1);
    for (uint32_t row = 1; row < input->row_count; row++) {
        BB_ASSERT(input->times_wall_ns[row - 1] < input->times_wall_ns[row]);
    }
    for (uint32_t i = 0; i < input->column_count; i++) {
        const bb_run_column_t *column = &input->columns[i];
        BB_ASSERT(bb_type_is_valid(column->type));
        BB_ASSERT(i == 0 || column[-1].metric < column->metric ||
                  (column[-1].metric == column->metric && column[-1].type < column->type));
    }
}

static void s_collect_texts(bb_run_writer_t *self, const bb_run_input_t *input)
{
    bb_text_table_clear(&self->texts);
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
                bb_text_table_add(&self->texts, text);
                previous = text;
            }
        }
    }
    bb_text_table_sort(&self->texts);
}

static size_t s_round(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static size_t s_text_bytes(const bb_text_t *text)
{
    return sizeof(uint32_t) + s_round(text->length, 4);
}

static s_layout_t s_lay_out(const bb_run_writer_t *self, const bb_run_input_t *input)
{
    s_layout_t layout = {0};
    layout.block_count = (input->row_count - 1) / BB_BLOCK_ROWS_MAX + 1;
    layout.columns = sizeof(bb_run_header_t);
    layout.times = layout.columns + input->column_count * sizeof(bb_run_column_entry_t);
    layout.values = layout.times + layout.block_count * sizeof(bb_run_time_entry_t);
    layout.text_offsets = layout.values + (size_t)layout.block_count * input->column_count *
                                              sizeof(bb_run_value_entry_t);
    layout.texts = layout.text_offsets + s_round(self->texts.sorted_count * sizeof(uint32_t), 8);
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < self->texts.sorted_count; i++) {
        text_bytes += s_text_bytes(self->texts.sorted[i]);
    }
    layout.blocks = layout.texts + s_round(text_bytes, 8);
    BB_ASSERT(layout.blocks <= UINT32_MAX); // offsets of texts count bytes
    return layout;
}

static void s_reserve(bb_run_writer_t *self, size_t bytes)
{
    if (self->capacity - self->length >= bytes) {
        return;
    }
    size_t wanted = self->length + bytes;
    self->capacity = BB_MAX(wanted, self->capacity + self->capacity / 2);
    self->bytes = bb_realloc(self->bytes, self->capacity);
}

static void s_write_texts(bb_run_writer_t *self, const s_layout_t *layout)
{
    size_t at = layout->texts;
    uint8_t *offsets = self->bytes + layout->text_offsets;
    for (uint32_t i = 0; i < self->texts.sorted_count; i++) {
        const bb_text_t *text = self->texts.sorted[i];
        uint32_t offset = (uint32_t)at;
        memcpy(offsets + (size_t)i * sizeof offset, &offset, sizeof offset);
        memcpy(self->bytes + at, &text->length, sizeof text->length);
        memcpy(self->bytes + at + sizeof text->length, text->bytes, text->length);
        at += s_text_bytes(text);
    }
}

// Appends the presence bitmap (NULL = none) and the encoded words as one block.
static bb_run_place_t s_append_block(bb_run_writer_t *self, bb_encoding_kind_t kind,
                                     const uint64_t *words, uint32_t count,
                                     const uint64_t *presence, uint32_t presence_words)
{
    size_t presence_bytes = presence ? (size_t)presence_words * 8 : 0;
    s_reserve(self, presence_bytes + BB_ENCODING_BYTES_MAX(count) + BB_RUN_WORD);
    BB_ASSERT(self->length / BB_RUN_WORD <= UINT32_MAX);
    uint8_t *begin = self->bytes + self->length;
    if (presence) {
        memcpy(begin, presence, presence_bytes);
    }
    bb_run_place_t place = {.word = (uint32_t)(self->length / BB_RUN_WORD)};
    const bb_encoding_input_t input = {.kind = kind, .words = words, .count = count};
    size_t bytes = presence_bytes + bb_encoder_encode(self->encoder, &input, NULL,
                                                      begin + presence_bytes, &place.encoding);
    place.bytes = (uint32_t)bytes;
    place.value_count = (uint16_t)count;
    place.checksum = bb_crc32c(0, begin, bytes);
    memset(begin + bytes, 0, s_round(bytes, BB_RUN_WORD) - bytes);
    self->length += s_round(bytes, BB_RUN_WORD);
    return place;
}

static void s_write_times(bb_run_writer_t *self, const bb_run_input_t *input,
                          const s_layout_t *layout)
{
    for (uint32_t block = 0; block < layout->block_count; block++) {
        uint32_t rows = bb_run_format_rows(input->row_count, block);
        const int64_t *times = input->times_wall_ns + (size_t)block * BB_BLOCK_ROWS_MAX;
        memcpy(self->values, times, (size_t)rows * 8);
        bb_run_time_entry_t entry = {
            .place = s_append_block(self, BB_ENCODING_INTEGER, self->values, rows, NULL, 0),
            .first_wall_ns = times[0],
            .last_wall_ns = times[rows - 1],
        };
        memcpy(self->bytes + layout->times + block * sizeof entry, &entry, sizeof entry);
    }
}

// Gathers the present rows of a block; returns how many. Bits of rows that do not exist are cleared
// in `presence`, which has room for BB_PRESENCE_WORDS.
static uint32_t s_gather(bb_run_writer_t *self, const bb_run_input_t *input,
                         const bb_run_column_t *column, uint32_t block, uint64_t *presence)
{
    uint32_t begin = block * BB_BLOCK_ROWS_MAX;
    uint32_t rows = bb_run_format_rows(input->row_count, block);
    uint32_t count = 0;
    memset(presence, 0, BB_PRESENCE_WORDS * 8);
    if (!column->presence) {
        memcpy(self->times, input->times_wall_ns + begin, (size_t)rows * 8);
        memcpy(self->values, column->values + begin, (size_t)rows * 8);
        return rows;
    }
    for (uint32_t row = 0; row < rows; row++) {
        if (s_is_present(column, begin + row)) {
            presence[row / 64] |= UINT64_C(1) << (row % 64);
            self->times[count] = input->times_wall_ns[begin + row];
            self->values[count++] = column->values[begin + row];
        }
    }
    return count;
}

static void s_prepare_values(bb_run_writer_t *self, bb_type_t type, uint32_t count)
{
    if (type == BB_TYPE_BOOL) {
        for (uint32_t i = 0; i < count; i++) {
            BB_ASSERT(self->values[i] <= 1);
        }
    }
    uint64_t previous = 0;
    uint32_t code = 0;
    for (uint32_t i = 0; type == BB_TYPE_STATE && i < count; i++) {
        if (self->values[i] != previous) {
            previous = self->values[i];
            code = bb_text_table_code(&self->texts, bb_text_of_bits(previous));
        }
        self->values[i] = code;
    }
}

static bb_run_value_entry_t s_write_block(bb_run_writer_t *self, const bb_run_input_t *input,
                                          const bb_run_column_t *column, uint32_t block)
{
    static_assert(BB_BLOCK_ROWS_MAX % 64 == 0, "a block begins at a word of the input's bitmap");
    uint64_t presence[BB_PRESENCE_WORDS];
    uint32_t rows = bb_run_format_rows(input->row_count, block);
    uint32_t count = s_gather(self, input, column, block, presence);
    if (count == 0) {
        return (bb_run_value_entry_t){0};
    }
    s_prepare_values(self, column->type, count);
    // Codes have the order of the texts, so their statistics are those of integers, without a sum.
    bb_type_t stats_type = column->type == BB_TYPE_STATE ? BB_TYPE_INT64 : column->type;
    bb_block_stats_t stats = {0};
    bb_stats_add_rows(&stats, stats_type, self->times, self->values, NULL, count);
    if (column->type == BB_TYPE_STATE) {
        stats.sum = (bb_sum_t){0};
    }
    return (bb_run_value_entry_t){
        .place =
            s_append_block(self, bb_run_format_kind(column->type), self->values, count,
                           count == rows ? NULL : presence, bb_run_format_presence_words(rows)),
        .sum_high = stats.sum.high,
        .sum_low = stats.sum.low,
        .min = stats.min,
        .max = stats.max,
        .first_wall_ns = stats.first_wall_ns,
        .last_wall_ns = stats.last_wall_ns,
        .first = stats.first,
        .last = stats.last,
    };
}

// Returns the number of points.
static uint64_t s_write_columns(bb_run_writer_t *self, const bb_run_input_t *input,
                                const s_layout_t *layout)
{
    uint64_t points = 0;
    size_t entry_at = layout->values;
    for (uint32_t i = 0; i < input->column_count; i++) {
        const bb_run_column_t *column = &input->columns[i];
        bb_run_column_entry_t described = {.metric = column->metric, .type = (uint8_t)column->type};
        memcpy(self->bytes + layout->columns + i * sizeof described, &described, sizeof described);
        for (uint32_t block = 0; block < layout->block_count; block++) {
            bb_run_value_entry_t entry = s_write_block(self, input, column, block);
            memcpy(self->bytes + entry_at, &entry, sizeof entry);
            entry_at += sizeof entry;
            points += entry.place.value_count;
        }
    }
    return points;
}

bb_slice_t bb_run_writer_encode(bb_run_writer_t *self, const bb_run_input_t *input)
{
    s_check_input(input);
    s_collect_texts(self, input);
    s_layout_t layout = s_lay_out(self, input);
    self->length = 0;
    s_reserve(self, layout.blocks);
    memset(self->bytes, 0, layout.blocks); // spare bytes are zero
    self->length = layout.blocks;

    s_write_texts(self, &layout);
    s_write_times(self, input, &layout);
    bb_run_header_t header = {
        .magic = {'B', 'B', 'R'},
        .version = BB_RUN_VERSION,
        .revision = input->revision,
        .point_count = s_write_columns(self, input, &layout),
        .first_wall_ns = input->times_wall_ns[0],
        .last_wall_ns = input->times_wall_ns[input->row_count - 1],
        .row_count = input->row_count,
        .block_count = layout.block_count,
        .column_count = input->column_count,
        .text_count = self->texts.sorted_count,
        .text_words = (uint32_t)((layout.blocks - layout.texts) / BB_RUN_WORD),
    };
    header.run_bytes = self->length;
    memcpy(self->bytes, &header, sizeof header);
    size_t covered = offsetof(bb_run_header_t, run_bytes);
    header.checksum = bb_crc32c(0, self->bytes + covered, layout.blocks - covered);
    memcpy(self->bytes, &header, sizeof header);
    return bb_slice(self->bytes, self->length);
}

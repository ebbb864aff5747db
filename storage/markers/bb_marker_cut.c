// SPDX-License-Identifier: Apache-2.0
#include "storage/markers/bb_marker_cut.h"

#include <stdlib.h>
#include <string.h>

struct bb_marker_cut {
    bb_run_writer_t *writer;
    // What comes out of cutting an input.
    bb_run_input_t input;
    bb_run_column_t *columns;
    uint64_t *presence, *values;
    int64_t *times;
    size_t column_capacity, presence_capacity, value_capacity, time_capacity;
    // A decoded run.
    bb_run_column_t *run_columns;
    uint64_t *run_presence, *run_values;
    int64_t *run_times;
    size_t run_column_capacity, run_presence_capacity, run_value_capacity, run_time_capacity;
};

bb_marker_cut_t *bb_marker_cut_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_marker_cut_t));
}

void bb_marker_cut_destroy(bb_marker_cut_t **self)
{
    if (*self) {
        bb_run_writer_destroy(&(*self)->writer);
        free((*self)->columns);
        free((*self)->presence);
        free((*self)->values);
        free((*self)->times);
        free((*self)->run_columns);
        free((*self)->run_presence);
        free((*self)->run_values);
        free((*self)->run_times);
        free(*self);
        *self = NULL;
    }
}

// Room for `count` entries of `size` bytes.
static void *s_room(void *memory, size_t *capacity, size_t count, size_t size)
{
    if (count > *capacity) {
        *capacity = count * 2;
        return bb_realloc(memory, *capacity * size);
    }
    return memory;
}

static size_t s_words(uint32_t row_count)
{
    return ((size_t)row_count + 63) / 64;
}

static bool s_has(const uint64_t *presence, uint32_t row)
{
    return presence[row / 64] >> (row % 64) & 1;
}

// ---- an input --------------------------------------------------------------------------------
static uint32_t s_lower_bound(const bb_run_input_t *input, int64_t wall_ns)
{
    uint32_t first = 0;
    uint32_t limit = input->row_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (input->times_wall_ns[middle] < wall_ns) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

// The rows of the column that are left, as bits; true: there are fewer than before.
static bool s_cut_column(bb_marker_list_t markers, const bb_run_input_t *input,
                         const bb_run_column_t *column, uint64_t *presence)
{
    size_t words = s_words(input->row_count);
    memset(presence, 0xff, words * sizeof *presence);
    if (column->presence) {
        memcpy(presence, column->presence, words * sizeof *presence);
    }
    if (input->row_count % 64 != 0) {
        presence[words - 1] &= (UINT64_C(1) << input->row_count % 64) - 1;
    }
    bool is_cut = false;
    for (uint32_t i = 0; i < markers.count; i++) {
        const bb_marker_entry_t *marker = &markers.entries[i];
        if (marker->generation <= input->revision >> 32 ||
            !bb_marker_is_of(marker, column->metric)) {
            continue;
        }
        uint32_t limit = s_lower_bound(input, marker->to_wall_ns);
        for (uint32_t row = s_lower_bound(input, marker->from_wall_ns); row < limit; row++) {
            is_cut |= s_has(presence, row);
            presence[row / 64] &= ~(UINT64_C(1) << row % 64);
        }
    }
    return is_cut;
}

static bool s_is_any(const uint64_t *presence, size_t words)
{
    uint64_t any = 0;
    for (size_t i = 0; i < words; i++) {
        any |= presence[i];
    }
    return any != 0;
}

// Moves the rows that have a value together.
static void s_compact(bb_marker_cut_t *self, const bb_run_input_t *input, uint32_t column_count)
{
    uint32_t rows = input->row_count;
    size_t words = s_words(rows);
    self->values = s_room(self->values, &self->value_capacity, (size_t)column_count * rows,
                          sizeof *self->values);
    self->times = s_room(self->times, &self->time_capacity, rows, sizeof *self->times);
    uint32_t to = 0;
    for (uint32_t row = 0; row < rows; row++) {
        bool is_any = false;
        for (uint32_t c = 0; c < column_count; c++) {
            uint64_t *presence = self->presence + c * words;
            bool has = s_has(presence, row);
            presence[to / 64] &= ~(UINT64_C(1) << to % 64); // to <= row: it was read
            presence[to / 64] |= (uint64_t)has << to % 64;
            self->values[(size_t)c * rows + to] = has ? self->columns[c].values[row] : 0;
            is_any |= has;
        }
        self->times[to] = input->times_wall_ns[row];
        to += is_any;
    }
    for (uint32_t c = 0; c < column_count; c++) {
        uint64_t *presence = self->presence + c * words;
        bool is_full = true;
        for (uint32_t row = 0; row < to && is_full; row++) {
            is_full = s_has(presence, row);
        }
        for (uint32_t row = to; row < rows; row++) {
            presence[row / 64] &= ~(UINT64_C(1) << row % 64);
        }
        self->columns[c].values = self->values + (size_t)c * rows;
        self->columns[c].presence = is_full ? NULL : presence;
    }
    self->input = (bb_run_input_t){input->revision, to, self->times, column_count, self->columns};
}

const bb_run_input_t *bb_marker_cut_input(bb_marker_cut_t *self, bb_marker_list_t markers,
                                          const bb_run_input_t *input)
{
    BB_ASSERT(input->row_count >= 1);
    if (markers.count == 0 ||
        !bb_marker_list_hits(markers, input->revision, input->times_wall_ns[0],
                             input->times_wall_ns[input->row_count - 1])) {
        return input;
    }
    size_t words = s_words(input->row_count);
    self->columns =
        s_room(self->columns, &self->column_capacity, input->column_count, sizeof *self->columns);
    self->presence = s_room(self->presence, &self->presence_capacity, input->column_count * words,
                            sizeof *self->presence);
    bool is_cut = false;
    uint32_t count = 0;
    for (uint32_t c = 0; c < input->column_count; c++) {
        uint64_t *presence = self->presence + count * words;
        is_cut |= s_cut_column(markers, input, &input->columns[c], presence);
        if (s_is_any(presence, words)) {
            self->columns[count++] = input->columns[c];
        }
    }
    if (!is_cut) {
        return input;
    }
    if (count == 0) {
        return NULL;
    }
    s_compact(self, input, count);
    return &self->input;
}

// ---- a run -----------------------------------------------------------------------------------
static bb_error_t s_decode_column(const bb_run_t *run, uint32_t column, uint64_t *values,
                                  uint64_t *presence)
{
    bb_error_t error = BB_OK;
    for (uint32_t b = 0; error == BB_OK && b < run->block_count; b++) {
        uint32_t first = bb_run_block_first(run, b);
        uint32_t rows = bb_run_block_rows(run, b);
        uint64_t bits[BB_PRESENCE_WORDS], block[BB_BLOCK_ROWS_MAX];
        bool all_present = false;
        error = bb_run_block_values(run, column, b, block, bits, &all_present);
        for (uint32_t row = 0; error == BB_OK && row < rows; row++) {
            bool has = all_present || s_has(bits, row);
            values[first + row] = has ? block[row] : 0;
            presence[(first + row) / 64] |= (uint64_t)has << (first + row) % 64;
        }
    }
    return error;
}

static bb_error_t s_decode(bb_marker_cut_t *self, const bb_run_t *run, bb_run_input_t *input)
{
    uint32_t rows = run->row_count;
    size_t words = s_words(rows);
    self->run_columns = s_room(self->run_columns, &self->run_column_capacity, run->column_count,
                               sizeof *self->run_columns);
    self->run_presence = s_room(self->run_presence, &self->run_presence_capacity,
                                run->column_count * words, sizeof *self->run_presence);
    self->run_values = s_room(self->run_values, &self->run_value_capacity,
                              (size_t)run->column_count * rows, sizeof *self->run_values);
    // A block is decoded where its rows are, with room for the largest behind the last.
    self->run_times = s_room(self->run_times, &self->run_time_capacity,
                             (size_t)rows + BB_BLOCK_ROWS_MAX, sizeof *self->run_times);
    memset(self->run_presence, 0, run->column_count * words * sizeof *self->run_presence);
    bb_error_t error = BB_OK;
    for (uint32_t b = 0; error == BB_OK && b < run->block_count; b++) {
        error = bb_run_block_times(run, b, self->run_times + bb_run_block_first(run, b));
    }
    for (uint32_t c = 0; error == BB_OK && c < run->column_count; c++) {
        bb_run_column_info_t info = bb_run_column(run, c);
        uint64_t *values = self->run_values + (size_t)c * rows;
        uint64_t *presence = self->run_presence + c * words;
        error = s_decode_column(run, c, values, presence);
        self->run_columns[c] = (bb_run_column_t){info.metric, info.type, values, presence};
    }
    *input = (bb_run_input_t){run->revision, rows, self->run_times, run->column_count,
                              self->run_columns};
    return error;
}

bb_error_t bb_marker_cut_run(bb_marker_cut_t *self, bb_marker_list_t markers, const bb_run_t *run,
                             bb_slice_t *encoded)
{
    bb_run_input_t input;
    bb_error_t error = s_decode(self, run, &input);
    if (error != BB_OK) {
        return error;
    }
    const bb_run_input_t *left = bb_marker_cut_input(self, markers, &input);
    if (!self->writer) {
        self->writer = bb_run_writer_new();
    }
    *encoded = left ? bb_run_writer_encode(self->writer, left) : bb_slice(NULL, 0);
    return BB_OK;
}

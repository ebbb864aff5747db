// SPDX-License-Identifier: Apache-2.0
#include "storage/retention/bb_class_split.h"

#include <stdlib.h>
#include <string.h>

void bb_class_split_free(bb_class_split_t *self)
{
    free(self->columns);
    free(self->times);
    free(self->values);
    free(self->presence);
    *self = (bb_class_split_t){0};
}

static bool s_has(const bb_run_column_t *column, uint32_t row)
{
    return !column->presence || (column->presence[row / 64] >> row % 64 & 1);
}

// How many rows have a value in some column of the split.
static uint32_t s_count_rows(const bb_class_split_t *self, uint32_t column_count,
                             uint32_t row_count)
{
    uint32_t count = 0;
    for (size_t word = 0; word < (row_count + 63) / 64; word++) {
        uint64_t any = 0;
        for (uint32_t c = 0; c < column_count; c++) {
            any |= self->columns[c].presence ? self->columns[c].presence[word] : UINT64_MAX;
        }
        uint32_t left = row_count - (uint32_t)word * 64;
        any &= left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
        count += (uint32_t)__builtin_popcountll(any);
    }
    return count;
}

static void s_reserve(bb_class_split_t *self, uint32_t column_count, uint32_t rows)
{
    size_t values = (size_t)column_count * rows;
    size_t words = (size_t)column_count * ((rows + 63) / 64);
    if (values > self->value_capacity) {
        self->value_capacity = values * 2;
        self->values = bb_realloc(self->values, self->value_capacity * sizeof *self->values);
    }
    if (words > self->presence_capacity) {
        self->presence_capacity = words * 2;
        self->presence =
            bb_realloc(self->presence, self->presence_capacity * sizeof *self->presence);
    }
    if (rows > self->time_capacity) {
        self->time_capacity = (size_t)rows * 2;
        self->times = bb_realloc(self->times, self->time_capacity * sizeof *self->times);
    }
}

// Moves the rows that have a value together.
static void s_compact(bb_class_split_t *self, const bb_run_input_t *input, uint32_t column_count,
                      uint32_t rows)
{
    size_t words = (rows + 63) / 64;
    s_reserve(self, column_count, rows);
    memset(self->presence, 0, column_count * words * sizeof *self->presence);
    uint32_t to = 0;
    for (uint32_t row = 0; row < input->row_count; row++) {
        bool is_any = false;
        for (uint32_t c = 0; c < column_count; c++) {
            bool has = s_has(&self->columns[c], row);
            is_any |= has;
            if (has) {
                self->values[(size_t)c * rows + to] = self->columns[c].values[row];
                self->presence[c * words + to / 64] |= UINT64_C(1) << to % 64;
            }
        }
        if (is_any) {
            self->times[to++] = input->times_wall_ns[row];
        }
        BB_ASSERT(to <= rows);
        if (to == rows) {
            break;
        }
    }
    for (uint32_t c = 0; c < column_count; c++) {
        self->columns[c].values = self->values + (size_t)c * rows;
        self->columns[c].presence = self->presence + c * words;
    }
    self->input.row_count = rows;
    self->input.times_wall_ns = self->times;
}

const bb_run_input_t *bb_class_split_take(bb_class_split_t *self, const bb_class_map_t *classes,
                                          uint32_t battery, uint32_t class_index,
                                          const bb_run_input_t *input)
{
    if (input->column_count > self->column_capacity) {
        self->column_capacity = input->column_count * 2;
        self->columns = bb_realloc(self->columns, self->column_capacity * sizeof *self->columns);
    }
    uint32_t count = 0;
    for (uint32_t c = 0; c < input->column_count; c++) {
        if (bb_class_map_of(classes, battery, input->columns[c].metric) == class_index) {
            self->columns[count++] = input->columns[c];
        }
    }
    if (count == 0 || count == input->column_count) {
        return count == 0 ? NULL : input;
    }
    self->input = *input;
    self->input.column_count = count;
    self->input.columns = self->columns;
    uint32_t rows = s_count_rows(self, count, input->row_count);
    if (rows == 0) {
        return NULL;
    }
    if (rows < input->row_count) {
        s_compact(self, input, count, rows);
    }
    return &self->input;
}

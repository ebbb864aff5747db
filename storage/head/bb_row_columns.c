// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_row_columns.h"

#include <stdlib.h>

// A stretch has at most so many cells, but at least one block of rows.
#define S_CELLS_MAX (4u << 20)

typedef struct {
    int64_t time_wall_ns;
    const uint64_t *values;
    uint32_t shape; // index into shapes
} s_row_t;

typedef struct {
    const bb_head_shape_t *shape;
    uint32_t column_first; // into column_of
} s_shape_t;

struct bb_row_columns {
    s_row_t *rows;
    uint32_t row_count, row_capacity;
    uint32_t row_next; // first row of the next stretch
    bool is_ready;     // sorted, columns known
    s_shape_t *shapes;
    uint32_t shape_count, shape_capacity;
    uint32_t *column_of; // per shape and metric: its column
    uint32_t column_of_count, column_of_capacity;
    uint64_t *keys; // metric << 3 | type, ascending, unique
    uint32_t key_count, key_capacity;
    // One stretch.
    int64_t *times;
    uint64_t *values;   // column-major
    uint64_t *presence; // column-major
    bb_run_column_t *columns;
    uint32_t time_capacity, column_capacity;
    size_t value_capacity, presence_capacity;
};

bb_row_columns_t *bb_row_columns_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_row_columns_t));
}

void bb_row_columns_destroy(bb_row_columns_t **self)
{
    if (*self) {
        free((*self)->rows);
        free((*self)->shapes);
        free((*self)->column_of);
        free((*self)->keys);
        free((*self)->times);
        free((*self)->values);
        free((*self)->presence);
        free((*self)->columns);
        free(*self);
        *self = NULL;
    }
}

void bb_row_columns_clear(bb_row_columns_t *self)
{
    self->row_count = 0;
    self->row_next = 0;
    self->is_ready = false;
    self->shape_count = 0;
    self->column_of_count = 0;
    self->key_count = 0;
}

static uint32_t s_shape_index(bb_row_columns_t *self, const bb_head_shape_t *shape)
{
    // Backwards: rows mostly have the shape of those before them.
    for (uint32_t i = self->shape_count; i > 0; i--) {
        if (self->shapes[i - 1].shape == shape) {
            return i - 1;
        }
    }
    if (self->shape_count == self->shape_capacity) {
        self->shape_capacity = self->shape_capacity ? self->shape_capacity * 2 : 8;
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
    }
    self->shapes[self->shape_count] = (s_shape_t){shape, 0};
    return self->shape_count++;
}

void bb_row_columns_add(bb_row_columns_t *self, const bb_head_shape_t *shape, const uint64_t *rows,
                        uint32_t row_count)
{
    BB_ASSERT(!self->is_ready);
    if (self->row_capacity - self->row_count < row_count) {
        self->row_capacity = BB_MAX(self->row_capacity * 2, self->row_count + row_count);
        self->rows = bb_realloc(self->rows, self->row_capacity * sizeof *self->rows);
    }
    uint32_t index = s_shape_index(self, shape);
    size_t width = 1 + (size_t)shape->metric_count;
    s_row_t *to = self->rows + self->row_count;
    for (uint32_t i = 0; i < row_count; i++, rows += width) {
        to[i] = (s_row_t){(int64_t)rows[0], rows + 1, index};
    }
    self->row_count += row_count;
}

static int s_compare_rows(const void *a, const void *b)
{
    int64_t left = ((const s_row_t *)a)->time_wall_ns;
    int64_t right = ((const s_row_t *)b)->time_wall_ns;
    return (left > right) - (left < right);
}

static int s_compare_keys(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void s_sort_rows(bb_row_columns_t *self)
{
    for (uint32_t i = 1; i < self->row_count; i++) {
        if (self->rows[i].time_wall_ns < self->rows[i - 1].time_wall_ns) {
            qsort(self->rows, self->row_count, sizeof *self->rows, s_compare_rows);
            return;
        }
    }
}

static void s_find_columns(bb_row_columns_t *self)
{
    uint32_t total = 0;
    for (uint32_t s = 0; s < self->shape_count; s++) {
        self->shapes[s].column_first = total;
        total += self->shapes[s].shape->metric_count;
    }
    if (total > self->key_capacity) {
        self->key_capacity = total * 2;
        self->keys = bb_realloc(self->keys, self->key_capacity * sizeof *self->keys);
        self->column_of = bb_realloc(self->column_of, self->key_capacity * sizeof *self->column_of);
    }
    uint32_t count = 0;
    for (uint32_t s = 0; s < self->shape_count; s++) {
        const bb_head_shape_t *shape = self->shapes[s].shape;
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            self->keys[count++] = (uint64_t)shape->metrics[m] << 3 | shape->types[m];
        }
    }
    qsort(self->keys, count, sizeof *self->keys, s_compare_keys);
    self->key_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (self->key_count == 0 || self->keys[self->key_count - 1] != self->keys[i]) {
            self->keys[self->key_count++] = self->keys[i];
        }
    }
    for (uint32_t s = 0; s < self->shape_count; s++) {
        const bb_head_shape_t *shape = self->shapes[s].shape;
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            uint64_t key = (uint64_t)shape->metrics[m] << 3 | shape->types[m];
            const uint64_t *found =
                bsearch(&key, self->keys, self->key_count, sizeof key, s_compare_keys);
            self->column_of[self->shapes[s].column_first + m] = (uint32_t)(found - self->keys);
        }
    }
}

// How many rows the next stretch has and how many different times; all rows of one time are in it.
static uint32_t s_measure(const bb_row_columns_t *self, uint32_t *time_count)
{
    uint32_t times_max = BB_MAX(S_CELLS_MAX / self->key_count, (uint32_t)BB_BLOCK_ROWS_MAX);
    times_max = BB_MIN(times_max, BB_RUN_ROWS_MAX);
    uint32_t row = self->row_next;
    uint32_t count = 0;
    while (row < self->row_count) {
        bool is_new = row == self->row_next ||
                      self->rows[row].time_wall_ns != self->rows[row - 1].time_wall_ns;
        if (is_new && count == times_max) {
            break;
        }
        count += is_new;
        row++;
    }
    *time_count = count;
    return row - self->row_next;
}

static void s_make_room(bb_row_columns_t *self, uint32_t time_count)
{
    size_t words = (time_count + 63) / 64;
    size_t value_count = (size_t)self->key_count * time_count;
    if (time_count > self->time_capacity) {
        self->time_capacity = time_count;
        self->times = bb_realloc(self->times, time_count * sizeof *self->times);
    }
    if (value_count > self->value_capacity) {
        self->value_capacity = value_count;
        free(self->values); // not carried over: no need to copy
        self->values = bb_alloc(value_count * sizeof *self->values);
    }
    if (self->key_count * words > self->presence_capacity) {
        self->presence_capacity = self->key_count * words;
        self->presence =
            bb_realloc(self->presence, self->presence_capacity * sizeof *self->presence);
    }
    if (self->key_count > self->column_capacity) {
        self->column_capacity = self->key_count;
        self->columns = bb_realloc(self->columns, self->column_capacity * sizeof *self->columns);
    }
}

// Rows of one shape with different times: every column is complete, so it is a transposition.
static void s_fill_regular(bb_row_columns_t *self, uint32_t row_count)
{
    const s_row_t *rows = self->rows + self->row_next;
    const s_shape_t *shape = &self->shapes[0];
    for (uint32_t r = 0; r < row_count; r++) {
        self->times[r] = rows[r].time_wall_ns;
    }
    for (uint32_t m = 0; m < shape->shape->metric_count; m++) {
        uint32_t column = self->column_of[shape->column_first + m];
        uint64_t *values = self->values + (size_t)column * row_count;
        for (uint32_t r = 0; r < row_count; r++) {
            values[r] = rows[r].values[m];
        }
        self->columns[column].presence = NULL;
    }
}

static uint64_t s_fill_mixed(bb_row_columns_t *self, uint32_t row_count, uint32_t time_count)
{
    size_t words = (time_count + 63) / 64;
    memset(self->presence, 0, self->key_count * words * sizeof *self->presence);
    const s_row_t *rows = self->rows + self->row_next;
    uint64_t conflict_count = 0;
    uint32_t at = UINT32_MAX;
    for (uint32_t r = 0; r < row_count; r++) {
        if (r == 0 || rows[r].time_wall_ns != rows[r - 1].time_wall_ns) {
            at++;
            self->times[at] = rows[r].time_wall_ns;
        }
        const s_shape_t *shape = &self->shapes[rows[r].shape];
        for (uint32_t m = 0; m < shape->shape->metric_count; m++) {
            uint32_t column = self->column_of[shape->column_first + m];
            uint64_t *value = &self->values[(size_t)column * time_count + at];
            uint64_t *word = &self->presence[column * words + at / 64];
            uint64_t bit = UINT64_C(1) << (at % 64);
            bb_value_t fresh = {(bb_type_t)shape->shape->types[m], rows[r].values[m]};
            if (!(*word & bit)) {
                *word |= bit;
                *value = fresh.bits;
                continue;
            }
            int order = bb_value_compare(0, fresh, 0, (bb_value_t){fresh.type, *value});
            conflict_count += order != 0;
            if (order > 0) {
                *value = fresh.bits;
            }
        }
    }
    for (uint32_t c = 0; c < self->key_count; c++) {
        // Absent rows are never read by the encoder's caller, but must not be uninitialised.
        uint64_t *values = self->values + (size_t)c * time_count;
        const uint64_t *presence = self->presence + c * words;
        bool complete = true;
        for (uint32_t r = 0; r < time_count; r++) {
            if (!(presence[r / 64] >> (r % 64) & 1)) {
                values[r] = 0;
                complete = false;
            }
        }
        self->columns[c].presence = complete ? NULL : presence;
    }
    return conflict_count;
}

bool bb_row_columns_next(bb_row_columns_t *self, uint64_t revision, bb_run_input_t *input,
                         uint64_t *conflict_count)
{
    if (!self->is_ready) {
        if (self->row_count == 0) {
            return false;
        }
        s_sort_rows(self);
        s_find_columns(self);
        self->is_ready = true;
    }
    if (self->row_next == self->row_count) {
        return false;
    }
    uint32_t time_count;
    uint32_t row_count = s_measure(self, &time_count);
    s_make_room(self, time_count);
    if (self->shape_count == 1 && row_count == time_count) {
        s_fill_regular(self, row_count);
    } else {
        *conflict_count += s_fill_mixed(self, row_count, time_count);
    }
    // A stretch may lack a column that others of the battery have; its presence is all zero then,
    // and the run must not have it.
    uint32_t kept = 0;
    size_t words = (time_count + 63) / 64;
    for (uint32_t c = 0; c < self->key_count; c++) {
        const uint64_t *presence = self->columns[c].presence;
        bool present = !presence;
        for (size_t w = 0; w < words && !present; w++) {
            present = presence[w] != 0;
        }
        if (present) {
            self->columns[kept++] = (bb_run_column_t){
                .metric = (uint32_t)(self->keys[c] >> 3),
                .type = (bb_type_t)(self->keys[c] & 7),
                .values = self->values + (size_t)c * time_count,
                .presence = presence,
            };
        }
    }
    *input = (bb_run_input_t){
        .revision = revision,
        .row_count = time_count,
        .times_wall_ns = self->times,
        .column_count = kept,
        .columns = self->columns,
    };
    self->row_next += row_count;
    return true;
}

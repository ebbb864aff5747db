// SPDX-License-Identifier: Apache-2.0
#include "storage/sync/bb_sync_batches.h"

#include <stdlib.h>
#include <string.h>

struct bb_sync_batches {
    uint32_t partition;
    bb_slice_t id; // of the battery at hand
    bb_batch_builder_t *builder;
    uint64_t revision; // of the builder's points
    bb_sync_batch_t *list;
    uint32_t count, capacity;
    size_t bytes; // of the list
    uint64_t points;
    // Of the builder: the battery at hand, and the shape of the row before.
    bool has_battery, has_shape;
    uint32_t battery, shape;
    uint32_t shape_columns[BB_FRAME_METRICS_MAX]; // columns of the run, and where each value goes
    uint32_t shape_order[BB_FRAME_METRICS_MAX];
    uint32_t shape_count;
    uint64_t text_bits; // the state that was put last, and what it became
    uint32_t text_state;
    bool has_text;
    // A block.
    uint64_t *values;   // column c: from c * BB_BLOCK_ROWS_MAX
    uint64_t *presence; // column c: from c * BB_PRESENCE_WORDS
    uint32_t *turns;    // columns of one metric take turns: a frame has each metric once
    uint32_t column_capacity;
};

bb_sync_batches_t *bb_sync_batches_new(uint32_t partition)
{
    bb_sync_batches_t *self = bb_alloc_zero(1, sizeof *self);
    self->partition = partition;
    self->builder = bb_batch_builder_new(0);
    return self;
}

void bb_sync_batches_destroy(bb_sync_batches_t **self_pointer)
{
    bb_sync_batches_t *self = *self_pointer;
    if (!self) {
        return;
    }
    bb_sync_batch_list_free(&self->list, self->count);
    bb_batch_builder_destroy(&self->builder);
    free(self->values);
    free(self->presence);
    free(self->turns);
    free(self);
    *self_pointer = NULL;
}

void bb_sync_batch_list_free(bb_sync_batch_t **list, uint32_t count)
{
    for (uint32_t i = 0; *list && i < count; i++) {
        free((*list)[i].data);
    }
    free(*list);
    *list = NULL;
}

void bb_sync_batches_battery(bb_sync_batches_t *self, bb_slice_t id)
{
    self->id = id;
    self->has_battery = false;
}

size_t bb_sync_batches_bytes(const bb_sync_batches_t *self)
{
    return self->bytes + bb_batch_builder_bytes(self->builder);
}

uint64_t bb_sync_batches_points(const bb_sync_batches_t *self)
{
    return self->points;
}

static void s_begin(bb_sync_batches_t *self, uint64_t revision)
{
    bb_batch_builder_reset(self->builder, revision);
    self->revision = revision;
    self->has_battery = false;
    self->has_shape = false;
    self->has_text = false;
}

// What the builder has becomes a batch.
static void s_end(bb_sync_batches_t *self, uint64_t next_revision)
{
    if (bb_batch_builder_frame_count(self->builder) > 0) {
        if (self->count == self->capacity) {
            self->capacity = self->capacity ? self->capacity * 2 : 4;
            self->list = bb_realloc(self->list, self->capacity * sizeof *self->list);
        }
        bb_sync_batch_t *batch = &self->list[self->count++];
        bb_batch_builder_finish(self->builder, &batch->data, &batch->length, NULL);
        self->bytes += batch->length;
    }
    s_begin(self, next_revision);
}

bb_sync_batch_t *bb_sync_batches_take(bb_sync_batches_t *self, uint32_t *count)
{
    s_end(self, 0);
    bb_sync_batch_t *list = self->list;
    *count = self->count;
    self->list = NULL;
    self->count = self->capacity = 0;
    self->bytes = 0;
    self->points = 0;
    return list;
}

// ---- rows ------------------------------------------------------------------------------------
static bool s_is_present(const bb_sync_batches_t *self, uint32_t column, uint32_t row)
{
    return self->presence[(size_t)column * BB_PRESENCE_WORDS + row / 64] >> (row % 64) & 1;
}

// The shape of the listed columns; that of the row before, nearly always.
static bb_error_t s_shape(bb_sync_batches_t *self, const bb_run_t *run, const bb_slice_t *names,
                          const uint32_t *columns, uint32_t count)
{
    if (self->has_shape && count == self->shape_count &&
        memcmp(columns, self->shape_columns, count * sizeof *columns) == 0) {
        return BB_OK;
    }
    bb_slice_t metrics[BB_FRAME_METRICS_MAX];
    uint8_t types[BB_FRAME_METRICS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        bb_run_column_info_t column = bb_run_column(run, columns[i]);
        metrics[i] = names[column.metric];
        types[i] = (uint8_t)column.type;
    }
    bb_fault_t fault;
    self->has_shape = false;
    bb_error_t error = bb_batch_builder_shape(self->builder, metrics, types, count, &self->shape,
                                              self->shape_order, &fault);
    if (error == BB_OK) {
        self->has_shape = true;
        self->shape_count = count;
        memcpy(self->shape_columns, columns, count * sizeof *columns);
    }
    return error;
}

static bb_error_t s_state(bb_sync_batches_t *self, uint64_t *bits)
{
    if (!self->has_text || self->text_bits != *bits) {
        const bb_text_t *text = bb_text_of_bits(*bits);
        bb_fault_t fault;
        self->has_text = false;
        bb_error_t error = bb_batch_builder_state(
            self->builder, bb_slice(text->bytes, text->length), &self->text_state, &fault);
        if (error != BB_OK) {
            return error;
        }
        self->has_text = true;
        self->text_bits = *bits;
    }
    *bits = self->text_state;
    return BB_OK;
}

// One frame of the listed columns. LIMIT, BATCH_BYTES: the batch is full.
static bb_error_t s_frame(bb_sync_batches_t *self, const bb_run_t *run, const bb_slice_t *names,
                          const uint32_t *columns, uint32_t count, uint32_t row,
                          int64_t time_wall_ns)
{
    bb_fault_t fault;
    bb_error_t error = BB_OK;
    if (!self->has_battery) {
        error = bb_batch_builder_battery(self->builder, self->partition, self->id, NULL, 0,
                                         &self->battery, &fault);
        self->has_battery = error == BB_OK;
    }
    if (error == BB_OK) {
        error = s_shape(self, run, names, columns, count);
    }
    uint64_t sorted[BB_FRAME_METRICS_MAX];
    for (uint32_t i = 0; i < count && error == BB_OK; i++) {
        uint64_t bits = self->values[(size_t)columns[i] * BB_BLOCK_ROWS_MAX + row];
        if (bb_run_column(run, columns[i]).type == BB_TYPE_STATE) {
            error = s_state(self, &bits);
        }
        sorted[self->shape_order[i]] = bits;
    }
    return error == BB_OK ? bb_batch_builder_frame(self->builder, self->battery, self->shape,
                                                   time_wall_ns, sorted)
                          : error;
}

// As _frame, into the next batch when this one is full.
static bb_error_t s_put(bb_sync_batches_t *self, const bb_run_t *run, const bb_slice_t *names,
                        const uint32_t *columns, uint32_t count, uint32_t row, int64_t time_wall_ns)
{
    if (bb_batch_builder_bytes(self->builder) >= BB_SYNC_BATCH_BYTES_MAX) {
        s_end(self, self->revision);
    }
    bb_error_t error = s_frame(self, run, names, columns, count, row, time_wall_ns);
    if (error == BB_ERR_LIMIT || error == BB_ERR_BATCH_BYTES) {
        s_end(self, self->revision);
        error = s_frame(self, run, names, columns, count, row, time_wall_ns);
    }
    self->points += error == BB_OK ? count : 0;
    return error;
}

// A row becomes a frame, or several: of a metric with two types, or of very many metrics.
static bb_error_t s_put_row(bb_sync_batches_t *self, const bb_run_t *run, const bb_slice_t *names,
                            uint32_t row, int64_t time_wall_ns)
{
    uint32_t columns[BB_FRAME_METRICS_MAX];
    bb_error_t error = BB_OK;
    bool is_more = true;
    for (uint32_t turn = 0; is_more && error == BB_OK; turn++) {
        uint32_t count = 0;
        is_more = false;
        for (uint32_t c = 0; c < run->column_count && error == BB_OK; c++) {
            is_more |= self->turns[c] > turn;
            if (self->turns[c] != turn || !s_is_present(self, c, row)) {
                continue;
            }
            columns[count++] = c;
            if (count == BB_FRAME_METRICS_MAX) {
                error = s_put(self, run, names, columns, count, row, time_wall_ns);
                count = 0;
            }
        }
        if (count > 0 && error == BB_OK) {
            error = s_put(self, run, names, columns, count, row, time_wall_ns);
        }
    }
    return error;
}

// ---- runs ------------------------------------------------------------------------------------
static bb_error_t s_columns(bb_sync_batches_t *self, const bb_run_t *run, uint32_t metric_count)
{
    if (self->column_capacity < run->column_count) {
        self->column_capacity = run->column_count;
        size_t count = run->column_count;
        self->values = bb_realloc(self->values, count * BB_BLOCK_ROWS_MAX * sizeof *self->values);
        self->presence =
            bb_realloc(self->presence, count * BB_PRESENCE_WORDS * sizeof *self->presence);
        self->turns = bb_realloc(self->turns, count * sizeof *self->turns);
    }
    for (uint32_t c = 0; c < run->column_count; c++) {
        uint32_t metric = bb_run_column(run, c).metric;
        if (metric >= metric_count) {
            return BB_ERR_CORRUPT;
        }
        bool is_again = c > 0 && bb_run_column(run, c - 1).metric == metric;
        self->turns[c] = is_again ? self->turns[c - 1] + 1 : 0;
    }
    return BB_OK;
}

static bb_error_t s_add_block(bb_sync_batches_t *self, const bb_run_t *run, const bb_slice_t *names,
                              uint32_t block, int64_t from_wall_ns, int64_t to_wall_ns)
{
    int64_t times[BB_BLOCK_ROWS_MAX];
    bb_error_t error = bb_run_block_times(run, block, times);
    for (uint32_t c = 0; c < run->column_count && error == BB_OK; c++) {
        uint64_t *presence = self->presence + (size_t)c * BB_PRESENCE_WORDS;
        bool all_present = false;
        error = bb_run_block_values(run, c, block, self->values + (size_t)c * BB_BLOCK_ROWS_MAX,
                                    presence, &all_present);
        if (all_present) {
            memset(presence, 0xff, BB_PRESENCE_WORDS * sizeof *presence);
        }
    }
    uint32_t rows = bb_run_block_rows(run, block);
    for (uint32_t row = 0; row < rows && error == BB_OK; row++) {
        if (times[row] >= from_wall_ns && times[row] < to_wall_ns) {
            error = s_put_row(self, run, names, row, times[row]);
        }
    }
    return error;
}

bb_error_t bb_sync_batches_add(bb_sync_batches_t *self, const bb_run_t *run,
                               const bb_slice_t *metric_names, uint32_t metric_count,
                               int64_t from_wall_ns, int64_t to_wall_ns)
{
    if (run->revision != self->revision) {
        s_end(self, run->revision);
    }
    self->has_shape = false; // columns are those of another run
    self->has_text = false;  // and so are the addresses of texts
    bb_error_t error = s_columns(self, run, metric_count);
    for (uint32_t block = 0; block < run->block_count && error == BB_OK; block++) {
        int64_t first_wall_ns;
        int64_t last_wall_ns;
        bb_run_block_range(run, block, &first_wall_ns, &last_wall_ns);
        if (last_wall_ns >= from_wall_ns && first_wall_ns < to_wall_ns) {
            error = s_add_block(self, run, metric_names, block, from_wall_ns, to_wall_ns);
        }
    }
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/inspect/bb_inspect_segment.h"

#include <stdlib.h>
#include <string.h>

#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_segment_cursor.h"

#define S_MAP_BYTES ((size_t)64 << 30) // address space only

void bb_inspect_segment_free(bb_inspect_segment_t *self)
{
    free(self->columns);
    *self = (bb_inspect_segment_t){0};
}

static void s_damage(bb_inspect_segment_t *self, uint32_t battery, const char *what)
{
    if (self->damaged_count++ == 0) {
        snprintf(self->first_damage, sizeof self->first_damage, "battery %u: %.120s", battery,
                 what);
    }
}

static bb_inspect_column_t *s_column(bb_inspect_segment_t *self, uint32_t metric, bb_type_t type)
{
    uint32_t at = 0;
    while (at < self->column_count &&
           (self->columns[at].metric < metric ||
            (self->columns[at].metric == metric && self->columns[at].type < type))) {
        at++;
    }
    if (at < self->column_count && self->columns[at].metric == metric &&
        self->columns[at].type == type) {
        return &self->columns[at];
    }
    if (self->column_count == self->column_capacity) {
        self->column_capacity = BB_MAX(16u, self->column_capacity * 2);
        self->columns = bb_realloc(self->columns, self->column_capacity * sizeof *self->columns);
    }
    memmove(&self->columns[at + 1], &self->columns[at],
            (self->column_count - at) * sizeof *self->columns);
    self->column_count++;
    self->columns[at] = (bb_inspect_column_t){.metric = metric, .type = type};
    return &self->columns[at];
}

static void s_add(bb_inspect_sum_t *sum, uint64_t values, uint64_t bytes)
{
    sum->block_count++;
    sum->value_count += values;
    sum->bytes += bytes;
}

static void s_add_stats(bb_inspect_column_t *column, const bb_block_stats_t *stats)
{
    if (!column->has_stats) {
        column->has_stats = true;
        column->min = stats->min;
        column->max = stats->max;
        column->first_wall_ns = stats->first_wall_ns;
        column->last_wall_ns = stats->last_wall_ns;
        return;
    }
    column->first_wall_ns = BB_MIN(column->first_wall_ns, stats->first_wall_ns);
    column->last_wall_ns = BB_MAX(column->last_wall_ns, stats->last_wall_ns);
    if (column->type == BB_TYPE_STATE) {
        return; // addresses into a run that goes away
    }
    if (bb_value_order_key(column->type, stats->min) <
        bb_value_order_key(column->type, column->min)) {
        column->min = stats->min;
    }
    if (bb_value_order_key(column->type, stats->max) >
        bb_value_order_key(column->type, column->max)) {
        column->max = stats->max;
    }
}

// What the values of a block are: of a run, or of one battery of a shared one.
static bool s_block_stats(bb_inspect_segment_t *self, const bb_run_t *run, uint32_t c, uint32_t b)
{
    bb_block_stats_t stats;
    if (bb_run_block_stats(run, c, b, &stats) != BB_OK) {
        return false;
    }
    if (stats.count > 0) {
        bb_run_column_info_t info = bb_run_column(run, c);
        s_add_stats(s_column(self, info.metric, info.type), &stats);
    }
    return true;
}

// How a block lies on disk.
static bool s_block_bytes(bb_inspect_segment_t *self, const bb_run_t *run, uint32_t c, uint32_t b)
{
    bb_slice_t bytes;
    uint8_t encoding;
    uint32_t count;
    if (bb_run_raw_block(run, bb_run_slot(c), b, &bytes, &encoding) != BB_OK ||
        bb_run_raw_count(run, c, b, &count) != BB_OK) {
        return false;
    }
    if (count > 0) {
        bb_run_column_info_t info = bb_run_column(run, c);
        bb_inspect_column_t *column = s_column(self, info.metric, info.type);
        s_add(&column->sum, count, bytes.length);
        s_add(&self->encodings[encoding & BB_RUN_ENCODING_MASK], count, bytes.length);
        column->lacking_count += (encoding & BB_RUN_LACKS_ROWS) != 0;
    }
    return true;
}

static bool s_blocks(bb_inspect_segment_t *self, const bb_run_t *run)
{
    bool all_sound = true;
    for (uint32_t b = 0; b < run->block_count; b++) {
        bb_slice_t bytes;
        uint8_t encoding;
        bool is_sound = bb_run_raw_block(run, 0, b, &bytes, &encoding) == BB_OK;
        if (is_sound) {
            s_add(&self->times, bb_run_block_rows(run, b), bytes.length);
            s_add(&self->encodings[encoding & BB_RUN_ENCODING_MASK], bb_run_block_rows(run, b),
                  bytes.length);
        }
        for (uint32_t c = 0; is_sound && c < run->column_count; c++) {
            is_sound = s_block_bytes(self, run, c, b);
        }
        all_sound &= is_sound;
    }
    return all_sound;
}

// A run of the battery that the cursor is at. The bytes of a shared one count with its first.
static void s_run(bb_inspect_segment_t *self, bb_segment_cursor_t *cursor, uint32_t battery,
                  bb_slice_t encoded)
{
    bb_run_t run;
    bb_fault_t fault = {0};
    self->run_count++;
    if (bb_segment_cursor_open_run(cursor, encoded, &run, &fault) != BB_OK) {
        self->run_bytes += encoded.length;
        s_damage(self, battery, fault.text);
        return;
    }
    self->point_count += run.point_count;
    bool is_sound = true;
    if (!run.shared || run.member == 0) {
        self->run_bytes += encoded.length;
        is_sound = s_blocks(self, run.shared ? bb_shared_run_whole(run.shared) : &run);
    }
    for (uint32_t b = 0; b < run.block_count; b++) {
        for (uint32_t c = 0; is_sound && c < run.column_count; c++) {
            is_sound = s_block_stats(self, &run, c, b);
        }
    }
    if (!is_sound) {
        s_damage(self, battery, "a block does not verify");
    }
}

bb_error_t bb_inspect_segment_add(bb_inspect_segment_t *self, bb_kv_driver_t *kv,
                                  const char *folder, bb_fault_t *fault)
{
    bb_segment_part_t part = {0};
    bb_segment_cursor_t *cursor = NULL;
    bb_error_t error = kv->open(kv, folder, S_MAP_BYTES, false, &part.env, fault);
    if (error != BB_OK) {
        return error;
    }
    error = bb_segment_cursor_open(kv, &part, 1, &cursor);
    if (error != BB_OK) {
        kv->close(&part.env);
        return bb_fault_set(fault, error, "%s: cannot be read", folder);
    }
    self->segment_count++;
    self->file_bytes += kv->file_bytes(part.env);
    uint32_t partition;
    uint32_t battery;
    bb_slice_t run;
    while ((error = bb_segment_cursor_walk(cursor, &partition, &battery)) != BB_ERR_NOT_FOUND) {
        if (error != BB_OK) {
            s_damage(self, 0, "a pack does not verify or is missing");
            continue;
        }
        self->battery_count++;
        while ((error = bb_segment_cursor_next(cursor, &run)) != BB_ERR_NOT_FOUND) {
            if (error == BB_OK) {
                s_run(self, cursor, battery, run);
            }
        }
    }
    bb_segment_cursor_close(&cursor);
    kv->close(&part.env);
    return BB_OK;
}

// ---- report ----------------------------------------------------------------------------------
static void s_sum(const bb_inspect_sum_t *sum, bb_report_t *report)
{
    bb_report_u64(report, "blocks", sum->block_count);
    bb_report_u64(report, "values", sum->value_count);
    bb_report_u64(report, "bytes", sum->bytes);
    bb_report_double(report, "bits_per_value",
                     sum->value_count == 0 ? 0
                                           : (double)(sum->bytes * 8000 / sum->value_count) / 1000);
}

static void s_column_report(const bb_inspect_column_t *column, bb_report_t *report)
{
    bb_report_row(report);
    bb_report_u64(report, "metric", column->metric);
    bb_report_text(report, "type", bb_type_name(column->type));
    s_sum(&column->sum, report);
    bb_report_u64(report, "lacking", column->lacking_count);
    if (column->has_stats && column->type != BB_TYPE_STATE) {
        bb_report_value(report, "min", column->type, column->min);
        bb_report_value(report, "max", column->type, column->max);
    }
    if (column->has_stats) {
        bb_report_time(report, "first", column->first_wall_ns);
        bb_report_time(report, "last", column->last_wall_ns);
    }
    bb_report_end(report);
}

void bb_inspect_segment_report(const bb_inspect_segment_t *self, bb_report_t *report)
{
    uint64_t block_bytes = self->times.bytes;
    for (uint32_t i = 0; i < self->column_count; i++) {
        block_bytes += self->columns[i].sum.bytes;
    }
    bb_report_begin(report, "segments");
    bb_report_u64(report, "count", self->segment_count);
    bb_report_u64(report, "file_bytes", self->file_bytes);
    bb_report_u64(report, "batteries", self->battery_count);
    bb_report_u64(report, "runs", self->run_count);
    bb_report_u64(report, "points", self->point_count);
    bb_report_u64(report, "run_bytes", self->run_bytes);
    bb_report_u64(report, "block_bytes", block_bytes);
    bb_report_u64(report, "head_bytes", self->run_bytes - BB_MIN(block_bytes, self->run_bytes));
    if (self->point_count > 0) {
        bb_report_double(report, "bytes_per_point",
                         (double)(self->file_bytes * 10000 / self->point_count) / 10000);
    }
    bb_report_u64(report, "damaged", self->damaged_count);
    if (self->damaged_count > 0) {
        bb_report_text(report, "first_damage", self->first_damage);
    }
    bb_report_end(report);
    bb_report_list(report, "encodings");
    for (uint32_t i = 0; i < BB_INSPECT_ENCODINGS; i++) {
        if (self->encodings[i].block_count > 0) {
            bb_report_row(report);
            bb_report_text(report, "encoding", bb_encoding_name(i));
            s_sum(&self->encodings[i], report);
            bb_report_end(report);
        }
    }
    bb_report_end(report);
    bb_report_begin(report, "times");
    s_sum(&self->times, report);
    bb_report_end(report);
    bb_report_list(report, "columns");
    for (uint32_t i = 0; i < self->column_count; i++) {
        s_column_report(&self->columns[i], report);
    }
    bb_report_end(report);
}

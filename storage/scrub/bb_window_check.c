// SPDX-License-Identifier: Apache-2.0
#include "storage/scrub/bb_window_check.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/segment/bb_run.h"

#define S_TEXT_BYTES (BB_DAMAGE_TEXT_BYTES_MAX + 1)
static_assert(BB_DAMAGE_TEXT_BYTES_MAX == 200, "as the conversions below say");

// ---- one run ---------------------------------------------------------------------------------
// The first block that cannot be read; false: all can.
static bool s_unreadable_block(const bb_run_t *run, char *text)
{
    static _Thread_local int64_t times[BB_BLOCK_ROWS_MAX];
    static _Thread_local uint64_t values[BB_BLOCK_ROWS_MAX];
    static _Thread_local uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    for (uint32_t b = 0; b < run->block_count; b++) {
        if (bb_run_block_times(run, b, times) != BB_OK) {
            snprintf(text, S_TEXT_BYTES, "block %u: the times do not verify", b);
            return true;
        }
        for (uint32_t c = 0; c < run->column_count; c++) {
            if (bb_run_block_values(run, c, b, values, presence, &all_present) != BB_OK) {
                snprintf(text, S_TEXT_BYTES, "block %u: the values of metric %u do not verify", b,
                         bb_run_column(run, c).metric);
                return true;
            }
        }
    }
    return false;
}

bool bb_run_is_damaged(const bb_run_t *run, bb_damage_reason_t *reason, char *text)
{
    if (bb_run_verify(run) == BB_OK) {
        return false;
    }
    *reason = BB_DAMAGE_CHECKSUM;
    if (!s_unreadable_block(run, text)) {
        *reason = BB_DAMAGE_STATISTICS;
        snprintf(text, S_TEXT_BYTES, "statistics are not those of the values");
    }
    return true;
}

// ---- a window --------------------------------------------------------------------------------
static void s_found(const bb_window_check_t *self, bb_window_check_totals_t *totals,
                    uint32_t partition, uint32_t battery, bb_damage_reason_t reason,
                    const char *text)
{
    totals->finding_count++;
    self->found(self->context, partition, battery, reason, text);
}

// A run of the battery that the cursor is at.
static void s_run(const bb_window_check_t *self, uint32_t partition, uint32_t battery,
                  bb_slice_t encoded, bb_window_check_totals_t *totals)
{
    char text[S_TEXT_BYTES];
    bb_damage_reason_t reason;
    bb_run_t run;
    bb_fault_t fault = {0};
    totals->run_count++;
    bb_error_t error = bb_segment_cursor_open_run(self->cursor, encoded, &run, &fault);
    if (error != BB_OK) {
        totals->run_bytes += encoded.length;
        snprintf(text, sizeof text, "%.200s", fault.text[0] ? fault.text : bb_error_message(error));
        s_found(self, totals, partition, battery, bb_damage_reason_of(error), text);
        return;
    }
    totals->run_bytes += run.shared ? encoded.length / run.member_count : encoded.length;
    totals->point_count += run.point_count;
    if (bb_run_is_damaged(&run, &reason, text)) {
        s_found(self, totals, partition, battery, reason, text);
    } else if (self->run) {
        self->run(self->context, partition, battery, &run);
    }
}

static void s_battery(const bb_window_check_t *self, uint32_t partition, uint32_t battery,
                      bb_window_check_totals_t *totals)
{
    bool has_run = false;
    bb_slice_t encoded;
    bb_error_t error;
    while ((error = bb_segment_cursor_next(self->cursor, &encoded)) != BB_ERR_NOT_FOUND) {
        if (error != BB_OK) {
            s_found(self, totals, partition, battery, bb_damage_reason_of(error),
                    "a part of the window that may hold it does not verify");
            continue;
        }
        has_run = true;
        s_run(self, partition, battery, encoded, totals);
    }
    totals->battery_count += has_run;
}

bool bb_window_check_step(const bb_window_check_t *self, bb_window_check_at_t *at,
                          bb_window_check_totals_t *totals)
{
    uint64_t limit = totals->run_bytes + self->budget_bytes;
    bb_error_t error;
    uint32_t partition;
    uint32_t battery;
    bb_segment_cursor_seek(self->cursor, at->partition, at->battery);
    while ((error = bb_segment_cursor_walk(self->cursor, &partition, &battery)) !=
           BB_ERR_NOT_FOUND) {
        if (error != BB_OK) {
            s_found(self, totals, BB_DAMAGE_BATTERY_ALL, BB_DAMAGE_BATTERY_ALL,
                    bb_damage_reason_of(error), bb_error_message(error));
            continue;
        }
        if (totals->run_bytes >= limit) {
            *at = (bb_window_check_at_t){partition, battery};
            return false;
        }
        s_battery(self, partition, battery, totals);
    }
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// bb_window_check - reads a window battery by battery and names what is not as it was written.
//
// Pure but for the cursor it is given; one thread. In steps, so that a scrubber can pace itself and
// hold its read transaction for a short time only: the next step seeks to where this one ended.
//
// A run is verified whole: its checksums, its form, each block's statistics against its values. A
// run whose checksums hold and whose statistics do not is refused like any other damage: whoever
// believes its statistics would answer wrong.
#ifndef BB_WINDOW_CHECK_H
#define BB_WINDOW_CHECK_H

#include "storage/scrub/bb_damage.h"
#include "storage/segment/bb_segment_cursor.h"

// Where the next step begins. A cleared structure is the beginning.
typedef struct {
    uint32_t partition, battery;
} bb_window_check_at_t;

typedef struct {
    uint64_t run_count, run_bytes, battery_count, point_count;
    uint64_t finding_count;
} bb_window_check_totals_t;

// partition and battery BB_DAMAGE_BATTERY_ALL: of the window, not of one battery.
typedef void (*bb_window_check_found_fn)(void *context, uint32_t partition, uint32_t battery,
                                         bb_damage_reason_t reason, const char *text);

// A run that verifies, in the order of batteries.
typedef void (*bb_window_check_run_fn)(void *context, uint32_t partition, uint32_t battery,
                                       const bb_run_t *run);

typedef struct {
    bb_segment_cursor_t *cursor;
    uint64_t budget_bytes; // the battery that passes it is still checked to its end
    bb_window_check_found_fn found;
    bb_window_check_run_fn run; // NULL: not wanted
    void *context;
} bb_window_check_t;

// Adds to *totals. True: the window has been read to its end.
bool bb_window_check_step(const bb_window_check_t *self, bb_window_check_at_t *at,
                          bb_window_check_totals_t *totals);

// What is wrong with a run that was opened: false = nothing. `text` has room for
// BB_DAMAGE_TEXT_BYTES_MAX + 1.
bool bb_run_is_damaged(const bb_run_t *run, bb_damage_reason_t *reason, char *text);

#endif

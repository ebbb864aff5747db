// SPDX-License-Identifier: Apache-2.0
// bb_segment_cursor - the runs of one window, battery by battery, over all its segments.
//
// A window has one segment per flush that no merge has joined yet; a battery may have runs in any
// of them. The cursor holds one read transaction a segment, so what it shows is of one moment. It
// may be handed from thread to thread, but is used by one at a time.
//
//   bb_segment_cursor_seek(cursor, partition, battery);            or  while (_walk(...) == BB_OK)
//   while ((error = bb_segment_cursor_next(cursor, &encoded)) != BB_ERR_NOT_FOUND) {
//       bb_segment_cursor_open_run(cursor, encoded, &run, fault) ... }
//
// Runs and views of them are borrowed until the next seek or walk. What should be there and is not,
// or does not verify, is an error of _next or _walk, never a battery without runs: each pack says
// where the one before it ended, and what a segment must hold is known from outside of it.
#ifndef BB_SEGMENT_CURSOR_H
#define BB_SEGMENT_CURSOR_H

#include "storage/segment/bb_run.h"
#include "storage/segment/bb_segment_writer.h"
#include "storage/segment/bb_shared_run.h"

typedef struct bb_segment_cursor bb_segment_cursor_t;

// One segment to read. The environment must stay open for as long as the cursor.
typedef struct {
    bb_kv_env_t *env; // NULL: could not be opened; it is damaged for every battery it should have
    bb_segment_info_t info; // pack_count 0: not known; then what vanished at the end is not seen
} bb_segment_part_t;

// Begins the transactions. A segment for which that fails is damaged; only BUSY (no reader is free)
// is an error.
BB_MUST_CHECK bb_error_t bb_segment_cursor_open(bb_kv_driver_t *kv, const bb_segment_part_t *parts,
                                                uint32_t part_count, bb_segment_cursor_t **cursor);
void bb_segment_cursor_close(bb_segment_cursor_t **self);

// Turns to a battery, which need not have runs. Costs nothing for a segment that cannot have any.
void bb_segment_cursor_seek(bb_segment_cursor_t *self, uint32_t partition, uint32_t battery);

// The next run of the battery, in any order of times and revisions. BB_ERR_NOT_FOUND: there are no
// more. Any other error: a part of the window is damaged, and the battery may lack points; calling
// again goes on behind the damage and ends.
BB_MUST_CHECK bb_error_t bb_segment_cursor_next(bb_segment_cursor_t *self, bb_slice_t *run);

// Opens what _next gave, of the battery at hand: a run of its own, or its part of one that it
// shares with others. Errors of bb_run_open; CORRUPT also: the battery is not among those that
// share it.
BB_MUST_CHECK bb_error_t bb_segment_cursor_open_run(bb_segment_cursor_t *self, bb_slice_t encoded,
                                                    bb_run_t *run, bb_fault_t *fault);
// From now on runs and their views stay valid from battery to battery, until the next call or
// _seek.
void bb_segment_cursor_hold(bb_segment_cursor_t *self);

// Turns to the next battery that has runs, ascending by (partition, battery), beginning with the
// first after opening or with the one that was sought. BB_ERR_NOT_FOUND: that was the last. Other
// errors as above: calling again goes on behind the damage and ends.
BB_MUST_CHECK bb_error_t bb_segment_cursor_walk(bb_segment_cursor_t *self, uint32_t *partition,
                                                uint32_t *battery);

// True if damage was met in that segment since opening.
bool bb_segment_cursor_is_damaged(const bb_segment_cursor_t *self, uint32_t part_index);

#endif

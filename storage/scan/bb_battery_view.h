// SPDX-License-Identifier: Apache-2.0
// bb_battery_view - everything a snapshot has of one battery, ready to be read metric by metric.
//
// Private to the scan; one thread. Runs are opened (and so verified) once per battery and day; the
// frames of the head are sorted by time once for all metrics. What does not verify is left out and
// noted: is_damaged, and is_damaged of the window. What was deleted is left out: runs and frames
// that a marker reaches are cut, so whoever reads a view need not know of markers.
#ifndef BB_BATTERY_VIEW_H
#define BB_BATTERY_VIEW_H

#include "storage/head/bb_head_gather.h"
#include "storage/markers/bb_marker_cut.h"
#include "storage/scan/bb_snapshot.h"
#include "storage/segment/bb_run.h"

// A block's rows by buckets: bb_times_cuts_t without the room to spare.
typedef struct {
    uint32_t count; // 0: not known yet
    const int64_t *starts;
    const uint32_t *row_limits;
} bb_view_cuts_t;

typedef struct {
    uint32_t day;
    uint32_t window; // index in the snapshot
    bool is_quarantine;
    bb_run_t run;
    int64_t *times;       // decoded blocks; NULL = not cached
    uint8_t *has_times;   // per block: is in `times`
    bb_view_cuts_t *cuts; // per block; NULL = not cached
} bb_view_run_t;

// Frames of one shape, revision and verdict in the order of their times, which may repeat.
typedef struct {
    const bb_head_shape_t *shape;
    uint64_t revision;
    bool is_quarantine;
    uint32_t count;
    const int64_t *times;
    const uint64_t *values; // of column c of the shape, if it is wanted: values + c * count
} bb_view_rows_t;

typedef struct {
    bb_snapshot_t *snapshot;
    const bb_snapshot_battery_t *battery;
    int64_t from_wall_ns, to_wall_ns; // nothing outside is looked at
    bool has_quarantine;              // also look at what is in quarantine
    bool is_damaged;
    bb_view_run_t *runs; // by day
    uint32_t run_count, run_capacity;
    bb_view_rows_t *rows;
    uint32_t rows_count, rows_capacity;
    bb_view_series_t *series; // by name, then type
    uint32_t series_count, series_capacity;
    // Of the battery before, if it had a single run: its columns, and the series they gave.
    bb_run_column_info_t *like_columns;
    bb_view_series_t *like_series;
    uint32_t like_column_count, like_series_count;
    bb_arena_t arena;            // what was decoded of the runs; goes with them
    bb_marker_list_t markers;    // what was deleted of the battery
    bb_marker_cut_t *marker_cut; // NULL until it is needed
    bb_arena_t cut_rows;         // frames of the head without what was deleted
    // Frames of the head, decoded for batteries [ahead_first, ahead_limit) of the snapshot at once.
    bb_head_gather_t *gather;
    uint32_t ahead_first, ahead_limit;
    uint32_t part_next; // first part that is not of a battery before the present one
    bool ahead_is_newest;
    uint64_t cached_rows;
    // Decoded times of the block read last, when they are not cached.
    int64_t *block_times;
    const void *block_times_run;
    uint32_t block_times_index;
    bb_times_cuts_t *scratch;  // NULL until it is needed
    bb_view_cuts_t block_cuts; // those made last, if they are not cached
} bb_battery_view_t;

void bb_battery_view_init(bb_battery_view_t *self, bb_snapshot_t *snapshot, int64_t from_wall_ns,
                          int64_t to_wall_ns, bool has_quarantine);
void bb_battery_view_free(bb_battery_view_t *self);

// Turns to a battery: frames of the head; no runs yet. `only_newest`: of each group of frames only
// those of its largest time, which is all that the newest value of a metric with one type needs;
// all of them if something of the battery was deleted.
void bb_battery_view_begin(bb_battery_view_t *self, const bb_snapshot_battery_t *battery,
                           bool only_newest);
// Adds the runs of one window; windows are added in the order of days, or after _forget_runs.
void bb_battery_view_load(bb_battery_view_t *self, uint32_t window_index);
void bb_battery_view_forget_runs(bb_battery_view_t *self);
// Fills `series` with the wanted (metric, type) that runs and frames have.
void bb_battery_view_list_series(bb_battery_view_t *self);
void bb_battery_view_sort_series(bb_battery_view_t *self);
void bb_battery_view_add_series(bb_battery_view_t *self, uint32_t metric, bb_type_t type);

// The decoded times of a block; borrowed until the next call. NULL: damaged, noted.
const int64_t *bb_battery_view_times(bb_battery_view_t *self, bb_view_run_t *run,
                                     uint32_t block_index);
// The block's rows by buckets of every_ns, which must be the same until the view turns to another
// battery; borrowed until the next call. NULL: damaged, noted.
const bb_view_cuts_t *bb_battery_view_cuts(bb_battery_view_t *self, bb_view_run_t *run,
                                           uint32_t block_index, int64_t every_ns);
void bb_battery_view_note_damage(bb_battery_view_t *self, const bb_view_run_t *run);

#endif

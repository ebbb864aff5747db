// SPDX-License-Identifier: Apache-2.0
// bb_series_sweep - the merged points of one series, in time order, from all its sources.
//
// Private to the scan; one thread. A sweep goes day by day, because a window is a day: the sources
// of a day are the columns of its runs and groups of frames of the head. Each source is a list of
// pieces (blocks of a run, up to 1,024 frames) that do not overlap; pieces of different sources
// may.
//
//   run 1   [----][----][--]
//   run 2             [----]  [---]
//   head                            [----]
//           solo   cluster    solo   solo
//
// Pieces that overlap in time, directly or through others, form a cluster, which is decoded, merged
// and de-duplicated: at each time the largest (revision, type, value) of the metric stays, so all
// types of the metric are swept together and the points of the one asked for are given. A piece
// that overlaps nothing needs no merging, and if it lies inside one bucket not even decoding: its
// statistics are enough.
#ifndef BB_SERIES_SWEEP_H
#define BB_SERIES_SWEEP_H

#include "storage/scan/bb_battery_view.h"

typedef struct bb_series_sweep bb_series_sweep_t;

// What a step gives: statistics, totals by bucket, or points.
typedef struct {
    bool is_stats;
    bb_block_stats_t stats;
    // NULL, or the totals of the rows of each bucket, borrowed like `values`.
    const bb_view_cuts_t *cuts;
    const bb_encoding_ranges_t *ranges;
    const int64_t *times_wall_ns; // ascending, later than all before; valid until the next step
    const uint64_t *values;       // STATE: addresses, valid as long as the view's battery and runs
    uint32_t count;
    uint32_t exponent; // of FLOAT64 values, as in bb_doubles_add_up
} bb_sweep_step_t;

bb_series_sweep_t *bb_series_sweep_new(void);
void bb_series_sweep_destroy(bb_series_sweep_t **self);

// Sweeps over the points of the series in [from, to) and inside the view's range, whose windows
// have to be loaded.
// every_ns: width of buckets aligned to the epoch, INT64_MAX = all is one bucket, 0 = no
// statistics, only points.
void bb_series_sweep_begin(bb_series_sweep_t *self, bb_battery_view_t *view, uint32_t metric,
                           bb_type_t type, int64_t from_wall_ns, int64_t to_wall_ns,
                           int64_t every_ns);
// From now on statistics are calculated from the values instead of believed.
void bb_series_sweep_force_decode(bb_series_sweep_t *self);
// From now on steps may give totals by bucket: counts, sums, and extremes if they are wanted.
void bb_series_sweep_allow_totals(bb_series_sweep_t *self, bool has_extremes);
// Blocks of columns whose values were read since _new: what statistics did not spare. Short runs,
// which carry none and are decoded for them, do not count.
uint64_t bb_series_sweep_blocks_decoded(const bb_series_sweep_t *self);
// False at the end. A step may be empty. Damage is noted in the view and left out.
bool bb_series_sweep_next(bb_series_sweep_t *self, bb_sweep_step_t *step);

// The newest point of the series on one day of the view. False: none there.
bool bb_series_sweep_last(bb_series_sweep_t *self, bb_battery_view_t *view, uint32_t metric,
                          bb_type_t type, uint32_t day, int64_t *time_wall_ns, uint64_t *bits);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_rollup_series - aggregates of pieces of time, by battery and metric, on their way from points
// to a stored record, and from records and points to buckets.
//
// Pure but for bb_rollup_series_scan, which reads a snapshot. One thread.
//
// A piece is the part of a calendar bucket that lies in one UTC day. Points of a piece lie in one
// window, so a piece is whole or gone with it; the pieces of a bucket are merged when it is read,
// and a bucket outlives the days that it is made of.
//
//   bucket (day of Berlin)        |-------- piece --------|- piece -|
//   UTC days                ......|.......................|.........|..............
//
// Moments at which a metric of a battery has a point only become more, but for retention. So of two
// aggregates of one piece, over all types, the one with the larger count is the later one, or the
// one from before points went: it wins, and at equal counts the one computed now (a value may have
// been superseded, also by one of another type).
#ifndef BB_ROLLUP_SERIES_H
#define BB_ROLLUP_SERIES_H

#include "protocol/bb_calendar.h"
#include "storage/bb_store.h"
#include "storage/head/bb_arena.h"
#include "storage/scan/bb_buckets.h"

typedef struct {
    uint32_t battery; // number the caller uses for it
    uint32_t metric;  // number of the store
    bb_type_t type;
    uint32_t count, capacity;
    bb_bucket_item_t *items; // start: of the piece; a count of 0 is no piece
} bb_rollup_series_t;

// A cleared structure is empty. Texts of STATE values lie in the arena.
typedef struct {
    bb_arena_t arena;
    bb_rollup_series_t *series; // in the order in which they were met
    uint32_t count, capacity;
    uint32_t *slots; // open addressing: index + 1
    uint32_t slot_count;
} bb_rollup_set_t;

void bb_rollup_set_free(bb_rollup_set_t *self);
// Finds or adds. Valid until the next series is added.
bb_rollup_series_t *bb_rollup_set_series(bb_rollup_set_t *self, uint32_t battery, uint32_t metric,
                                         bb_type_t type);
// Adds a piece, or replaces the one with that start. Texts must outlive the set.
void bb_rollup_series_put(bb_rollup_series_t *self, const bb_bucket_item_t *item);
// Pieces of records become part of what was computed from points, where they win. The set `stored`
// must live as long as `self`: texts stay in it.
void bb_rollup_set_merge_stored(bb_rollup_set_t *self, const bb_rollup_set_t *stored);
// Pieces of another replica become part of ours. Both were exact when points of that day went; they
// differ when a point, or a version of one, came to one of the two too late. The one with the
// larger count stays, as above; at equal counts that which is larger as bytes
// (bb_rollup_piece_encode), so that all replicas end with the same. *different_count grows by one
// for each metric's piece that both have and that is not equal. `other` must live as long as
// `self`.
void bb_rollup_set_merge_other(bb_rollup_set_t *self, const bb_rollup_set_t *other,
                               uint64_t *different_count);
// A piece as bytes that are equal exactly when everything that it says is:
//   u8 type, u64 count, u8 length and bytes of the sum (bb_sum_encode), i64 times of first and
//   last, then min, max, first, last: u64, or of a STATE u16 length and the text. Little-endian.
#define BB_ROLLUP_PIECE_BYTES_MAX (26u + BB_SUM_BYTES_MAX + 4u * (2u + BB_STATE_BYTES_MAX))
size_t bb_rollup_piece_encode(bb_type_t type, const bb_block_stats_t *stats,
                              uint8_t out[BB_ROLLUP_PIECE_BYTES_MAX]);
// Merges pieces into calendar buckets with start in [from, to): items become buckets.
void bb_rollup_series_bucket(bb_rollup_series_t *self, const bb_calendar_t *calendar,
                             int64_t from_wall_ns, int64_t to_wall_ns);

// What one scan of a snapshot needs. Batteries are numbered by their place in the snapshot.
typedef struct {
    bb_snapshot_t *snapshot;
    const bb_query_t *query;     // for which the snapshot was taken
    const bool *metric_is_taken; // by number; NULL = all
    // Batteries that count; NULL = all.
    bool (*takes)(void *context, uint32_t battery, uint32_t day);
    void *context;
} bb_rollup_scan_t;

// Aggregates the pieces of a UTC day from points. Damage is added to `result`.
BB_MUST_CHECK bb_error_t bb_rollup_scan_day(const bb_rollup_scan_t *self,
                                            const bb_calendar_t *calendar, uint32_t day,
                                            bb_rollup_set_t *set, bb_scan_result_t *result,
                                            bb_fault_t *fault);

#endif

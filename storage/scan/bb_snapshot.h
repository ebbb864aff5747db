// SPDX-License-Identifier: Apache-2.0
// bb_snapshot - what one page of a query may look at, taken out of the store at one moment.
//
// Private to the scan and to bb_store_snapshot.c, which fills it on the store's thread. After that
// it belongs to the thread that scans. It holds references to head generations and windows, copies
// of everything in the dictionary that may change, and slices of names that never move.
//
// Window environments are opened by the scan when it first needs them. A window only ever gains
// points, and the generations that were not in windows at the moment are held here; so the answer
// contains everything of that moment, and perhaps some points of a flush that ended since.
#ifndef BB_SNAPSHOT_H
#define BB_SNAPSHOT_H

#include "protocol/bb_query.h"
#include "storage/bb_store.h"
#include "storage/bb_store_segment.h"
#include "storage/head/bb_arena.h"
#include "storage/head/bb_dictionary.h"
#include "storage/head/bb_head.h"
#include "storage/markers/bb_markers.h"
#include "storage/scan/bb_scan_cursor.h"
#include "storage/segment/bb_segment_cursor.h"

// Batteries of one page; more are left for the next.
#define BB_SNAPSHOT_BATTERIES_MAX (16u * 1024u)

// Batteries that are looked at for a page of newest values; many may not be wanted.
#define BB_SNAPSHOT_LOOKS_MAX (64u * 1024u)

typedef struct {
    uint32_t metric;
    bb_type_t type;
} bb_view_series_t;

// A newest value that was found in memory.
typedef struct {
    int64_t time_wall_ns;
    uint64_t bits; // STATE: of a text that lives as long as the store or the snapshot's heads
    bb_view_series_t series;
} bb_snapshot_value_t;

typedef struct {
    bb_slice_t id;
    uint32_t number;
    uint32_t partition;
    uint32_t rows_first, rows_count; // into rows
    const bb_type_entry_t *types;    // LAST only
    uint32_t type_count;
    bool is_known;                       // LAST: its answer is in values, windows need not be read
    uint32_t values_first, values_count; // then
    bb_slice_t attributes;               // BATTERIES only, packed
    uint32_t generation;                 // GENERATIONS only
} bb_snapshot_battery_t;

typedef struct {
    bb_segment_t *segment; // one reference
    bb_segment_info_t info;
    bool is_open;
} bb_snapshot_part_t;

typedef struct {
    uint32_t day;
    bool is_quarantine;
    bool is_damaged;             // a part could not be opened, or something in it did not verify
    bool is_unread;              // a part could not be opened this time: that may pass
    bool is_refused;             // it could not be opened, and is not tried again
    bool is_quarantined;         // known to be damaged as a whole: what it has is not complete
    const uint32_t *quarantined; // batteries whose runs are not believed, ascending; in the arena
    uint32_t quarantined_count;
    bb_snapshot_part_t *parts;
    uint32_t part_count;
    bb_segment_cursor_t *cursor; // NULL until it is needed
} bb_snapshot_window_t;

struct bb_snapshot {
    bb_kv_driver_t *kv;
    bb_arena_t arena;
    bb_head_t *heads[2];              // NULL or retained
    bb_snapshot_battery_t *batteries; // by (partition, id)
    uint32_t battery_count, battery_capacity;
    bool is_complete;        // no battery is left for the next page
    uint32_t next_partition; // where it goes on, if not
    bb_slice_t next_battery;
    bb_head_rows_t *rows;
    uint32_t row_group_count, row_group_capacity;
    bb_snapshot_value_t *values;
    uint32_t value_count, value_capacity;
    bb_snapshot_window_t *windows; // by day; of one day the normal one first
    uint32_t window_count;
    uint32_t segments_max; // that are open at once, but all of one day
    uint32_t metric_count;
    bb_slice_t *metric_names;
    uint32_t *metric_ranks;        // order of names
    bool *metric_is_wanted;        // NULL = all
    bb_markers_t *markers;         // what was deleted at that moment; NULL: nothing
    struct bb_rollup_view *rollup; // NULL, or what its answer is made of
};

// Opens the cursor of the window if it is not open. BB_ERR_CORRUPT or what opening it
// gave; the window is marked damaged then.
BB_MUST_CHECK bb_error_t bb_snapshot_window_open(bb_snapshot_t *self, uint32_t window_index);

// What was read from it is void.
void bb_snapshot_window_close(bb_snapshot_t *self, uint32_t window_index);
// The window behind the last one of whole days from `first` on whose segments may be open at once.
uint32_t bb_snapshot_window_limit(const bb_snapshot_t *self, uint32_t first);

// The runs of this battery in the window are known to be damaged: they are not to be used.
bool bb_snapshot_is_quarantined(const bb_snapshot_window_t *window, uint32_t battery);

// Merged over all batteries? Only aggregates can be.
static inline bool bb_snapshot_is_grouped(const bb_query_t *query)
{
    return query->mode == BB_QUERY_AGGREGATE && query->group_by_none;
}

// Of batteries alone, not of their points?
static inline bool bb_snapshot_is_of_names(const bb_query_t *query)
{
    return query->mode == BB_QUERY_BATTERIES || query->mode == BB_QUERY_GENERATIONS;
}

static inline bool bb_snapshot_wants(const bb_snapshot_t *self, uint32_t metric)
{
    return metric < self->metric_count &&
           (!self->metric_is_wanted || self->metric_is_wanted[metric]);
}

#endif

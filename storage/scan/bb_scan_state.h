// SPDX-License-Identifier: Apache-2.0
// bb_scan_state - one page of an answer while it is made: what the files bb_scan*.c share.
//
// Private to the scan; one thread. bb_scan.c: order of batteries and series, limits, cursor, points
// and buckets; bb_scan_last.c: newest values; bb_scan_group.c: groups over all batteries;
// bb_scan_chunk.c: windows that are open; bb_scan_texts.c: state texts that outlive what they were
// read from.
#ifndef BB_SCAN_STATE_H
#define BB_SCAN_STATE_H

#include "storage/bb_store.h"
#include "storage/head/bb_text_pool.h"
#include "storage/scan/bb_battery_view.h"
#include "storage/scan/bb_buckets.h"
#include "storage/scan/bb_series_sweep.h"
#include "storage/scan/bb_snapshot.h"

// A merged series of a group over all batteries.
typedef struct {
    bb_view_series_t series;
    bb_buckets_t buckets;
} bb_scan_group_t;

// Windows that are open at once, and the times that are read with them: everything up to the next
// chunk, frames of the head too.
typedef struct {
    uint32_t window_first, window_limit; // of the snapshot
    int64_t from_wall_ns, to_wall_ns;
    bool has_no_runs; // of the battery at hand: its windows need not be opened again
} bb_scan_chunk_t;
#define BB_SCAN_CHUNK_NONE UINT32_MAX

typedef struct {
    bb_snapshot_t *snapshot;
    const bb_query_t *query;
    bb_page_builder_t *page;
    bb_scan_result_t *result;
    bb_fault_t *fault;
    bb_scan_cursor_t cursor; // where this page begins
    bb_scan_cursor_t next;   // where the next one does, if is_full
    bool is_full;
    uint64_t page_bytes;       // soft limit; at least 1, so that every page gets on
    uint64_t page_bytes_start; // of a page with nothing in it
    uint32_t partition;        // at hand
    uint64_t rows;             // that it has given, on the pages before, too
    bb_battery_view_t view;
    bb_series_sweep_t *sweep;
    bb_scan_chunk_t *chunks; // by time; one if all windows may be open at once
    uint32_t chunk_count;
    uint32_t chunk_first, chunk_limit; // that a series is read from
    uint32_t chunk_loaded;             // of the battery at hand; or _NONE
    bb_view_series_t *listed;          // of several chunks
    uint32_t listed_capacity;
    // One series.
    int64_t *times;
    uint64_t *values;
    size_t count, capacity;
    bool *found; // LAST: of each series of a battery
    size_t found_capacity;
    bb_buckets_t buckets;
    uint32_t *kinds; // of the page, per metric and type: kind + 1; NULL = none yet
    // Groups over all batteries.
    bb_scan_group_t *groups;
    uint32_t *group_of; // per metric and type: index + 1; NULL = no grouping
    uint32_t group_count, group_capacity;
    uint64_t group_buckets;
    // What a page of groups leaves to the next: everything from this series and time on.
    bool has_group_limit;
    bb_view_series_t group_limit;
    int64_t group_limit_wall_ns;
    // Texts of states, kept for the whole page: what they were read from may go before.
    bb_arena_t texts;
    bb_text_pool_t text_pool;
    const bb_text_t *text_read, *text_kept; // the last pair of one battery
} bb_scan_t;

// ---- begin and end ---------------------------------------------------------------------------
// Errors: of the cursor; then there is nothing to end.
BB_MUST_CHECK bb_error_t bb_scan_begin(bb_scan_t *self, bb_snapshot_t *snapshot,
                                       const bb_query_t *query, bb_scan_result_t *result,
                                       bb_fault_t *fault);
void bb_scan_write_to(bb_scan_t *self, bb_page_builder_t *page);
// From now on nothing is read, and the snapshot may go.
void bb_scan_end_reading(bb_scan_t *self);
void bb_scan_give_cursor(const bb_scan_t *self); // into the result, if there is another page
void bb_scan_end(bb_scan_t *self);

// ---- limits ----------------------------------------------------------------------------------
uint64_t bb_scan_rows_left(const bb_scan_t *self);
uint64_t bb_scan_bytes_left(const bb_scan_t *self);
// The page ends; the next begins with this series of the battery at hand, at this time.
void bb_scan_cut(bb_scan_t *self, const bb_view_series_t *series, int64_t time_wall_ns);
int bb_scan_compare_to_cursor(const bb_scan_t *self, const bb_view_series_t *series);
// The cursor lies inside this battery.
bool bb_scan_continues(const bb_scan_t *self, const bb_snapshot_battery_t *battery);

// ---- one battery -----------------------------------------------------------------------------
void bb_scan_reserve(bb_scan_t *self, size_t count); // room in times and values
// Turns the view to the battery, and lists its series in the chunks at hand.
void bb_scan_load(bb_scan_t *self, const bb_snapshot_battery_t *battery);
// Begins to sweep over one of those chunks, which is loaded for it. What was read of another one is
// void. False: nothing of it lies at or after from_wall_ns.
bool bb_scan_sweep_chunk(bb_scan_t *self, uint32_t chunk, const bb_view_series_t *series,
                         int64_t from_wall_ns, int64_t every_ns);
bb_bucket_rule_t bb_scan_rule(const bb_scan_t *self);
// Bytes of a bucket in the page, if no value makes it whole. Forgets self->buckets.
size_t bb_scan_bucket_bytes(bb_scan_t *self, const bb_view_series_t *series);
// Fills self->buckets; stops with more than count_max of them, or with one that begins at or after
// limit_wall_ns: true, the last one is not to be used.
bool bb_scan_fill_buckets(bb_scan_t *self, const bb_view_series_t *series, int64_t from_wall_ns,
                          int64_t limit_wall_ns, size_t count_max);
void bb_scan_emit_buckets(bb_scan_t *self, bb_slice_t battery, const bb_view_series_t *series,
                          bb_buckets_t *buckets, size_t count);
// Number of the kind in the page's rows.
uint32_t bb_scan_kind(bb_scan_t *self, const bb_view_series_t *series);
void bb_scan_note_damage(bb_scan_t *self);
bool bb_scan_is_named(const bb_scan_result_t *result, uint32_t partition); // as damaged

// ---- bb_scan_chunk.c -------------------------------------------------------------------------
void bb_scan_chunks_plan(bb_scan_t *self);
void bb_scan_chunks_free(bb_scan_t *self);
// Closes windows of other days if they and those of the day are too many. What was read of them is
// void.
void bb_scan_make_room(bb_scan_t *self, uint32_t day);

// ---- bb_scan_texts.c -------------------------------------------------------------------------
// A copy of the text that stays until the page is done; equal texts have one.
uint64_t bb_scan_keep_text(bb_scan_t *self, uint64_t bits);
void bb_scan_keep_bucket_texts(bb_scan_t *self, bb_buckets_t *buckets);
void bb_scan_texts_free(bb_scan_t *self);

// ---- modes -----------------------------------------------------------------------------------
void bb_scan_last(bb_scan_t *self, const bb_snapshot_battery_t *battery);
// Reads all batteries; then gives what fits into the page.
BB_MUST_CHECK bb_error_t bb_scan_groups_collect(bb_scan_t *self);
void bb_scan_groups_emit(bb_scan_t *self);
void bb_scan_groups_free(bb_scan_t *self);

#endif

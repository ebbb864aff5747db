// SPDX-License-Identifier: Apache-2.0
// bb_store_window - the list of a store's windows, and of the segments in each.
//
// Private to bb_store*.c. Owner: the store's thread; a job reads the list while it runs, and
// nothing changes it until the job has ended. What is here is what the meta map says.
#ifndef BB_STORE_WINDOW_H
#define BB_STORE_WINDOW_H

#include "storage/bb_store_segment.h"
#include "storage/segment/bb_segment_writer.h"

// A segment that a window holds. As stored, but for the pointer.
typedef struct {
    bb_segment_t *segment; // one reference
    bb_segment_info_t info;
    bool is_damaged; // could not be opened or read: never merged, reads are partial
} bb_window_part_t;

typedef struct {
    bb_window_id_t id;
    uint64_t number_next; // of the next segment; never used twice
    bb_window_part_t *parts;
    uint32_t part_count, part_capacity;
    uint64_t
        flush_seq;  // of the flush that wrote into it last, since the store was opened; 0 = none
    bool is_marked; // a marker came that reaches into it, and it was not written anew since
} bb_store_window_t;

// Sorted by id.
typedef struct {
    bb_store_window_t *items;
    uint32_t count, capacity;
} bb_store_windows_t;

void bb_store_windows_free(bb_store_windows_t *self);
// Position of the window, or where it would be put; *found says which.
uint32_t bb_store_windows_find(const bb_store_windows_t *self, bb_window_id_t id, bool *found);
// The window, which is made empty if it is not there; valid until the next _get.
bb_store_window_t *bb_store_windows_get(bb_store_windows_t *self, bb_window_id_t id);

// Forgets the window at that position; its references are released.
void bb_store_windows_remove(bb_store_windows_t *self, uint32_t index);

// Takes the reference.
void bb_store_window_add(bb_store_window_t *self, bb_segment_t *segment,
                         const bb_segment_info_t *info, bool is_damaged);
// Forgets the part; its reference is released.
void bb_store_window_drop(bb_store_window_t *self, const bb_segment_t *segment);

// A segment that has grown to a good part of what a map may hold is left alone by merges.
bool bb_window_part_is_mergeable(const bb_window_part_t *part, size_t map_bytes);
// Sums over all parts.
typedef struct {
    uint64_t run_count, point_count, bytes;
    uint64_t excess_count;    // runs that merging would save, at most
    uint32_t mergeable_count; // parts that can be merged
} bb_window_totals_t;
bb_window_totals_t bb_store_window_totals(const bb_store_window_t *self, size_t map_bytes);

#endif

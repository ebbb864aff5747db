// SPDX-License-Identifier: Apache-2.0
// bb_store_draft - the segments of one window while a flush or a merge writes them.
//
// Private to bb_store*.c. One thread at a time. A draft is made of one segment after the other: a
// segment ends when its map is nearly full, and the next one goes on. Nobody else knows of them
// until meta names them; an attempt that fails removes what it has made.
//
//   begin --> put ... put --> end       `window` has the new segments, complete
//                     +------+------> discard: nothing is left
#ifndef BB_STORE_DRAFT_H
#define BB_STORE_DRAFT_H

#include "storage/bb_store_window.h"

// A cleared structure is empty. The fields are for reading.
typedef struct {
    bb_segment_pool_t *pool;
    bb_kv_driver_t *kv;
    bb_store_window_t window;    // id, number_next, segments that are complete: one reference each
    bb_segment_writer_t *writer; // keeps its memory between windows
    bb_segment_t *segment;       // being filled; NULL = none
    bool *must_fence;
    bb_fault_t fault; // of making or opening a segment
} bb_store_draft_t;

// Begins a window; the first new segment has `number`. *must_fence is set, until the end, by a
// commit or sync that fails other than by a full disk. Nothing is made before the first _put.
void bb_store_draft_begin(bb_store_draft_t *self, bb_segment_pool_t *pool, bb_kv_driver_t *kv,
                          bb_window_id_t id, uint64_t number, bool *must_fence);
// Takes copies of the runs of a group, which stay in one segment (bb_segment_writer_add_group).
// Groups ascend. Errors: those of the driver and of making folders.
BB_MUST_CHECK bb_error_t bb_store_draft_put(bb_store_draft_t *self,
                                            const bb_segment_entry_t *entries, uint32_t entry_count,
                                            const bb_slice_t *runs, uint32_t run_count);
// Completes the segment being filled. Who takes the references of `window` sets part_count to 0.
BB_MUST_CHECK bb_error_t bb_store_draft_end(bb_store_draft_t *self);
// Removes what was made. After a failed commit or sync complete segments keep their folders: a
// commit of meta that failed may be on the disk all the same, and then it names them. The next open
// of the store knows, and removes what does not count.
void bb_store_draft_discard(bb_store_draft_t *self);
// Frees the memory. Nothing is being filled.
void bb_store_draft_free(bb_store_draft_t *self);

#endif

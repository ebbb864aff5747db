// SPDX-License-Identifier: Apache-2.0
// bb_store_markers - what was deleted at one store, from the chunk that says so to the disk.
//
// Private to bb_store*.c. Everything belongs to the store's thread; jobs and snapshots hold a
// reference to the markers of the moment in which they were made.
//
//   apply ──▶ store.markers              from now on snapshots, flushes and merges leave out what
//   is
//     │                                  covered, whenever it came or comes
//     ├─▶ unsaved: the window's fingerprints are not given out
//     ├─▶ rollups of the days are stale
//     ▼
//   flush ──▶ meta: markers ('X'); fingerprints of the windows they reach are void, in the same
//             transaction as the have-sets that have their dots
//   merge, scrubbing ──▶ fingerprints anew, of what is left
//
// A crash before the flush replays the markers from the journal. The markers that a merge applied
// need not be on disk yet: their chunks are.
#ifndef BB_STORE_MARKERS_H
#define BB_STORE_MARKERS_H

#include "storage/bb_store_private.h"

// ---- intake ----------------------------------------------------------------------------------
// What a coordinator refuses of a batch of markers: as bb_store_check.
uint64_t bb_store_check_markers(bb_store_t *self, const bb_batch_t *batch,
                                bb_store_reject_fn reject, void *context);
// Is some frame of the run covered, or of a generation that is too far ahead? No cost while nothing
// was deleted.
bool bb_store_run_is_deleted(const bb_store_t *self, const bb_batch_t *batch,
                             const bb_batch_cursor_t *at, uint32_t battery);
// Calls `reject` for what is deleted of a frame of such a run: with UINT32_MAX for the metric when
// nothing is left of it, and *is_gone is set. `is_refused` (per metric): named already. Returns how
// many points were named.
uint32_t bb_store_check_deleted(bb_store_t *self, const bb_batch_t *batch,
                                const bb_batch_cursor_t *at, uint32_t battery, uint32_t frame,
                                const bool *is_refused, bb_store_reject_fn reject, void *context,
                                bool *is_gone);
// Markers of the parts in scratch.keep.
void bb_store_apply_markers(bb_store_t *self, const bb_batch_t *batch);

// ---- on their way to the disk ----------------------------------------------------------------
bool bb_store_has_unsaved_markers(const bb_store_t *self);
// A marker that is not in meta yet reaches into the day of the partition.
bool bb_store_is_marked(const bb_store_t *self, uint32_t day, uint32_t partition);
// Into the record of a seal, and the windows whose fingerprints it makes void.
void bb_store_markers_seal(bb_store_t *self, bb_meta_batch_t *record, bb_meta_batch_t *voided);
// That seal is in meta.
void bb_store_markers_sealed(bb_store_t *self);

#endif

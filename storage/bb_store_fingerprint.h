// SPDX-License-Identifier: Apache-2.0
// bb_store_fingerprint - fingerprints of segments, kept in the meta map, outside of what they
// describe.
//
// Private to bb_store*.c. A fingerprint (storage/segment/bb_fingerprint.h) a partition is recorded,
// together with the number of the segment, by a merge that makes one segment of a whole window (one
// of the newest day must have been asked for, or the day be complete), by a flush that makes the
// first segment of an older day, and by scrubbing, when it has read a window
// of one segment that has none yet. They are those of the window as long as it is that segment
// alone: with the next flush into it the window is dirty, until it is merged again. Scrubbing
// compares them with what it reads of the segment as long as that is there.
#ifndef BB_STORE_FINGERPRINT_H
#define BB_STORE_FINGERPRINT_H

#include "storage/bb_store_meta.h"
#include "storage/segment/bb_fingerprint.h"

typedef struct bb_fingerprinter bb_fingerprinter_t;

// Any thread; holds a read transaction on the meta map for the names. NULL: there is none to be
// had.
bb_fingerprinter_t *bb_fingerprinter_new(bb_kv_driver_t *kv, bb_kv_env_t *meta,
                                         const uint8_t key[BB_FINGERPRINT_KEY_BYTES]);
void bb_fingerprinter_destroy(bb_fingerprinter_t **self);
// Adds a run, or one that is about to be written. Ascending by (partition, battery). CORRUPT: a
// block or a name does not verify: there are no fingerprints of this segment.
BB_MUST_CHECK bb_error_t bb_fingerprinter_add(bb_fingerprinter_t *self, uint32_t partition,
                                              uint32_t battery, const bb_run_t *run);
// All members of a shared run at once.
BB_MUST_CHECK bb_error_t bb_fingerprinter_add_shared(bb_fingerprinter_t *self,
                                                     struct bb_shared_run *shared);
BB_MUST_CHECK bb_error_t bb_fingerprinter_add_input(bb_fingerprinter_t *self, uint32_t partition,
                                                    uint32_t battery, const bb_run_input_t *input);
// Puts what was added into the batch, as that of the segment.
void bb_fingerprinter_record(const bb_fingerprinter_t *self, bb_window_id_t window, uint64_t number,
                             bb_meta_batch_t *batch);

// ---- comparing -------------------------------------------------------------------------------
// A segment is read in steps, each with a fingerprinter of its own: what was added is carried from
// one to the next. Ascending by partition; the array is the caller's to free, and to give back.
void bb_fingerprinter_resume(bb_fingerprinter_t *self, bb_meta_fingerprint_t *sums, uint32_t count);
bb_meta_fingerprint_t *bb_fingerprinter_pause(bb_fingerprinter_t *self, uint32_t *count);
// True if meta has fingerprints of that segment.
bool bb_fingerprinter_is_recorded(const bb_fingerprinter_t *self, bb_window_id_t window,
                                  uint64_t number);
// Compares what was added with what is recorded; false: *partition is the first that differs.
bool bb_fingerprinter_is_equal(const bb_fingerprinter_t *self, bb_window_id_t window,
                               uint64_t number, uint32_t *partition);

#endif

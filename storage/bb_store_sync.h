// SPDX-License-Identifier: Apache-2.0
// bb_store_sync - what segment sync needs of a store: what its windows hold, what another store
// lacks of them, and have-sets that are adopted when that has arrived.
//
// The other header of storage that the node includes. Two stores hold the same
// points of a partition on a day when the fingerprints of its batteries are the same
// (storage/segment/bb_fingerprint.h); how they lie in heads, segments and runs does not matter. So
// a fingerprint is computed from what is there at the moment it is asked for, merged: nothing is
// ever dirty. What differs travels as batches of merged points, which have no dots:
//
//   source   sync_begin(fetch) --> run --> found.batches          ~~ network ~~>
//   target   stage, sync, apply (stream zero) ... adopt(F0) --> the next flush writes both down
//
// Words: protocol/bb_sync.h. Three kinds of windows are compared: points of a day, quarantined
// points of a day, and attributes of batteries, which belong to no day; with these the batteries'
// markers (deletes) travel, as batches. Results of rollups are a fourth kind, compared last.
#ifndef BB_STORE_SYNC_H
#define BB_STORE_SYNC_H

#include "protocol/bb_sync.h"
#include "storage/bb_store.h"
#include "storage/sync/bb_sync_batches.h"

#define BB_SYNC_ASKS_MAX       16u   // in one job
#define BB_SYNC_ATTRIBUTES_MAX 4096u // batteries whose attributes are looked at for one ask

// The windows of a partition that may hold something, ascending; the attributes are always among
// them. Days that retention has passed by are left out. *list is the caller's to free.
uint32_t bb_store_sync_windows(bb_store_t *self, uint32_t partition, bb_sync_window_t **list);

typedef struct {
    uint32_t partition;
    bb_sync_window_t window;
    bool is_list; // windows of results of days before window.day; nothing else below counts
    uint8_t buckets[BB_SYNC_BUCKETS_BYTES]; // a bit for each that is asked for
    bool is_fetch;                          // batches, not leaves
    // What is damaged here is left out, as if it were not there: it will differ. Otherwise damage
    // is an error: what others get of this store must be all that its have-set says.
    bool is_own;
    uint32_t leaf_count;          // FETCH: batteries with one of these leaves are left out
    const bb_sync_leaf_t *leaves; // ascending by battery; borrowed until the job has ended
    bb_slice_t battery_first;     // id to go on with; empty = from the first. Borrowed for _begin
    int64_t from_wall_ns;         // of that battery: go on at this time
    uint64_t bytes_max;           // FETCH: about as much, before it is packed
    uint64_t points_max;          // points that are read; then it is cut behind a battery
} bb_sync_ask_t;

typedef struct {
    uint8_t *bytes; // owned: what the slices point into
    bb_slice_t id;
    bb_slice_t packed; // as bb_dictionary packs them: each with its time
} bb_sync_attributes_t;

typedef struct {
    bb_error_t error; // CORRUPT: damage; BUSY: a segment is under examination. Then nothing else
    uint32_t leaf_count;
    bb_sync_leaf_t *leaves; // in no order
    uint32_t batch_count;
    bb_sync_batch_t *batches;
    uint32_t window_count; // is_list
    bb_sync_window_t *windows;
    uint32_t attributes_count; // BB_SYNC_ATTRIBUTES, BB_SYNC_RESULTS
    bb_sync_attributes_t *attributes;
    uint64_t points; // that were read
    bool has_more;   // go on with:
    char battery_next[BB_BATTERY_ID_BYTES_MAX];
    uint32_t battery_next_bytes;
    int64_t from_next_wall_ns;
} bb_sync_found_t;

// Answers up to BB_SYNC_ASKS_MAX asks in one job, which is run and ended like any other. Takes the
// snapshots now, on the owner's thread. FENCED.
BB_MUST_CHECK bb_error_t bb_store_sync_begin(bb_store_t *self, const bb_sync_ask_t *asks,
                                             uint32_t ask_count, bb_store_job_t **job);
// What a job that has run found, in the order of the asks; valid until bb_store_job_end. NULL: it
// is no such job.
const bb_sync_found_t *bb_store_job_found(const bb_store_job_t *job, uint32_t *count);

// Sorts by battery and adds up those that have the same.
uint32_t bb_sync_leaves_sort(bb_sync_leaf_t *leaves, uint32_t count);

// Attributes as another store packed them. BB_ERR_MESSAGE_CORRUPT: they are not such bytes. They
// are durable with the next flush.
BB_MUST_CHECK bb_error_t bb_store_sync_attributes(bb_store_t *self, uint32_t partition,
                                                  bb_slice_t id, bb_slice_t packed);

// ---- results of rollups ----------------------------------------------------------------------
// A window of results lists what is left of days whose points retention takes; each store computes
// the others itself. A source answers with what a read of the rollup here would say, so it does not
// matter whether its own floor has moved and whether its jobs are done. Of two results for one
// piece the rule of bb_rollup_set_merge_other says which stays.
//
// Points of days before the one returned are refused here. Of days before *day_max, which is not
// smaller, another store may have lost points, by a clock that is ahead or a policy that was
// another one once; 0: there are no rollups.
uint32_t bb_store_results_day(const bb_store_t *self, uint32_t *day_max);
// Results of a battery as another store packed them, of days of that window. They are in the map
// with the next flush, before what is adopted. BUSY: others have to be written first, or the map
// cannot hold them now. BB_ERR_MESSAGE_CORRUPT: they are not such bytes; nothing of them is taken.
BB_MUST_CHECK bb_error_t bb_store_sync_results(bb_store_t *self, uint32_t partition,
                                               bb_sync_window_t window, bb_slice_t id,
                                               bb_slice_t packed);
// True: points are still missing, so no day is computed, and retention waits with days that are to
// be. What is computed of a part of a day's points may be in the map for good once retention takes
// the day: another store has more, or a delete that has not come yet has taken some.
void bb_store_results_hold(bb_store_t *self, bool is_held);
// So many wait that a flush should begin.
bool bb_store_results_wait(const bb_store_t *self);
// Records did not verify and were removed: results of days without points may be missing. A number
// that grows when that happens; 0: all was compared with other stores since. Until that is told,
// reads say that such days are not complete.
uint64_t bb_store_result_gaps(const bb_store_t *self);
// Not while a job is alive. Errors of the map; a failed sync fences.
BB_MUST_CHECK bb_error_t bb_store_result_gaps_filled(bb_store_t *self);
// Records that were taken; pieces in them that were otherwise here.
void bb_store_results_stats(const bb_store_t *self, uint64_t *taken_count,
                            uint64_t *different_count);

// ---- adopting --------------------------------------------------------------------------------
// Everything that these dots stand for is here: was staged, synced and applied, whatever dots it
// came with, or none. They enter the have-set with the end of the next flush, which writes both
// down, and not before. A crash until then forgets them.
void bb_store_adopt(bb_store_t *self, uint32_t partition, const bb_have_set_t *dots);
// Some wait for a flush.
bool bb_store_is_adopting(const bb_store_t *self);

// ---- damage ----------------------------------------------------------------------------------
// A segment that is not to be believed, or cannot be read.
typedef struct bb_sync_damage {
    bb_sync_window_t window;
    uint16_t class_id;
    uint64_t number;
} bb_sync_damage_t;

// Up to `max` of them, ascending by window; those that are just being examined are not among them.
uint32_t bb_store_sync_damages(const bb_store_t *self, bb_sync_damage_t *list, uint32_t max);
// From now until the next call our own reads leave out these segments (copied; 0: none), even if
// the list of damage forgets them meanwhile because an error has passed: what is dropped in the end
// must have been missing in all that was compared.
void bb_store_sync_leave_out(bb_store_t *self, const bb_sync_damage_t *list, uint32_t count);
// Takes the segment out of its window: all that the have-sets say of that window lies in others
// now. What the list of damage says of it is dropped. Not while a job is alive. NOT_FOUND: it is
// not there any more. BUSY: a flush that failed must be repeated first.
// Errors of meta; a failed sync fences.
BB_MUST_CHECK bb_error_t bb_store_sync_drop(bb_store_t *self, const bb_sync_damage_t *damage);

#endif

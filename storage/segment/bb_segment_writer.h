// SPDX-License-Identifier: Apache-2.0
// bb_segment_writer - fills one segment: a map of packs in the order of batteries.
//
// A segment is written once, by a flush or a merge, and never changed: what is in it is known when
// it ends (bb_segment_info_t) and kept in the store's meta map, outside of what it describes. Use:
// begin, add in ascending order of (partition, battery), finish or abort. One thread.
#ifndef BB_SEGMENT_WRITER_H
#define BB_SEGMENT_WRITER_H

#include "storage/kv/bb_kv.h"

// Commits are cut at about this many bytes, which LMDB holds in memory until then.
#define BB_COMMIT_BYTES_MAX (16u << 20)

// As stored, little-endian, no padding.
typedef struct {
    uint64_t first, last; // partition << 32 | battery of the first and the last run
    uint64_t pack_count;
    uint64_t run_count; // a shared run counts once for each battery
    uint64_t battery_count;
    uint64_t point_count;
    uint64_t bytes; // of packs
} bb_segment_info_t;
static_assert(sizeof(bb_segment_info_t) == 56, "on-disk layout");

// With one run a battery no point is there twice: another replica that merged the same points has
// the same fingerprints.
static inline bool bb_segment_info_is_merged(const bb_segment_info_t *self)
{
    return self->run_count == self->battery_count;
}

typedef struct bb_segment_writer bb_segment_writer_t;
bb_segment_writer_t *bb_segment_writer_new(void); // keeps its memory between segments
void bb_segment_writer_destroy(bb_segment_writer_t **self);

// Begins to fill an empty map. *must_fence is set by a commit that fails other than by a full disk,
// until the end. Errors of all: those of the driver.
BB_MUST_CHECK bb_error_t bb_segment_writer_begin(bb_segment_writer_t *self, bb_kv_driver_t *kv,
                                                 bb_kv_env_t *env, bool *must_fence);
// Takes a copy of the run.
BB_MUST_CHECK bb_error_t bb_segment_writer_add(bb_segment_writer_t *self, uint32_t partition,
                                               uint32_t battery, bb_slice_t run,
                                               uint64_t point_count);
// One battery's part of a group of runs.
typedef struct {
    uint64_t place;       // partition << 32 | battery
    uint32_t run;         // of the group
    uint64_t point_count; // of this battery
} bb_segment_entry_t;

// Takes copies of runs, some of which may be shared by several batteries; they stay in one pack.
// Entries ascend by place; runs are numbered in the order in which entries name them first.
BB_MUST_CHECK bb_error_t bb_segment_writer_add_group(bb_segment_writer_t *self,
                                                     const bb_segment_entry_t *entries,
                                                     uint32_t entry_count, const bb_slice_t *runs,
                                                     uint32_t run_count);
// What the file of the map will have at least: a map of this size would be full.
uint64_t bb_segment_writer_file_bytes(const bb_segment_writer_t *self);
// Writes what is left. At least one run was added.
BB_MUST_CHECK bb_error_t bb_segment_writer_finish(bb_segment_writer_t *self,
                                                  bb_segment_info_t *info);
// Ends an attempt that failed; no effect after _finish.
void bb_segment_writer_abort(bb_segment_writer_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_store_private - what the files bb_store*.c share; nobody else includes it.
//
// Owner: the store's thread, for everything but what a job or snapshot was given.
#ifndef BB_STORE_PRIVATE_H
#define BB_STORE_PRIVATE_H

#include "storage/bb_store.h"
#include "storage/bb_store_meta.h"
#include "storage/bb_store_rollup.h"
#include "storage/bb_store_room.h"
#include "storage/bb_store_window.h"
#include "storage/head/bb_dictionary.h"
#include "storage/head/bb_head.h"
#include "storage/journal/bb_journal.h"
#include "storage/markers/bb_markers.h"
#include "storage/retention/bb_retention.h"
#include "storage/scan/bb_latest.h"

typedef struct bb_flush bb_flush_t; // a frozen generation on its way to windows: bb_store_flush.h

// What flushes and merges wrote since the store was opened; their ratio is the write amplification.
typedef struct {
    uint64_t flush_bytes, flush_points;
    uint64_t merge_bytes, merge_points;
} bb_store_written_t;

// A shape of the batch that is being applied; cleared = nothing of it is in the head yet.
typedef struct {
    const bb_head_block_t *block;
    int64_t *times_wall_ns; // of the block
} bb_store_shape_t;

// Memory that apply uses again and again.
typedef struct {
    bool *keep;
    uint32_t keep_capacity;
    uint32_t *batteries;
    uint32_t battery_capacity;
    bb_store_shape_t *shapes;
    uint32_t shape_capacity;
    uint64_t *texts;
    uint32_t text_capacity;
} bb_store_scratch_t;

struct bb_store_scrub; // bb_store_scrub.h

// A marker that is in the journal and not in meta yet: where its partition is not what it was.
typedef struct {
    uint32_t partition;
    int64_t from_wall_ns, to_wall_ns;
} bb_store_unsaved_t;

// A stream that brought chunks which are not sealed yet.
typedef struct {
    bb_stream_t stream;
    uint64_t version; // of the store, when the last of them was applied
} bb_store_stream_t;

// A generation of the head takes this part of memory_bytes before it is flushed.
#define BB_HEAD_SHARE 3u

struct bb_store {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    char *directory;
    uint32_t partition_count;
    uint64_t memory_bytes;
    size_t map_bytes;         // per environment
    size_t meta_map_bytes;    // of meta, which grows
    bb_file_t *identity_file; // holds the lock
    bb_kv_env_t *meta;
    uint64_t meta_damaged_count; // records that were left out when it was read
    char first_meta_damage[BB_STORE_META_DAMAGE_BYTES];
    bb_journal_t *journal;
    bb_segment_pool_t *pool;
    bb_store_windows_t windows;
    bb_retention_t *retention;
    bool is_retire_due;        // a floor moved since windows were last looked at
    uint64_t retire_flush_seq; // until more flushes than these have ended, the head is not sealed
    uint64_t retired_windows, retired_points;
    bb_rollups_t *rollups;
    bb_markers_t *markers;       // what was deleted: bb_store_markers.h
    uint64_t markers_version;    // counts markers that said something new
    bb_store_unsaved_t *unsaved; // as they came
    uint32_t unsaved_count, unsaved_capacity;
    uint32_t unsaved_sealed;                           // of them, those that the seal under way has
    uint8_t fingerprint_key[BB_FINGERPRINT_KEY_BYTES]; // the same on all replicas
    uint64_t flush_seq;                                // counts flushes since the store was opened
    bb_window_id_t merged_window;                      // the last one that a merge was chosen for
    bb_store_written_t written;
    bb_store_room_t room;

    bb_dictionary_t *dictionary;
    uint32_t shape_serials;
    bb_arena_pool_t *head_pool; // memory of generations, as much as one of them may take
    bb_head_t *active;
    bb_flush_t *frozen;             // NULL when nothing waits to be flushed
    bb_latest_t *latest;            // newest rows in windows
    int64_t newest_wall_ns;         // no point of head or windows is newer, but in quarantine
    int64_t newest_at_open_wall_ns; // no point in windows was; INT64_MAX = not known
    uint32_t *days;                 // every day that has points here, ascending
    uint32_t day_count, day_capacity;

    bb_have_set_t *have;     // per partition
    uint64_t *have_versions; // per partition: `version` when it last changed
    uint64_t version;
    uint64_t have_saved_version; // have-sets changed later are not in meta yet
    bb_have_set_t streams;       // those of `have`, each with the range 1 to 1
    bb_store_stream_t *unsealed; // bb_store_streams.c
    uint32_t unsealed_count, unsealed_capacity;
    bb_have_set_t *adopting; // per partition, NULL = none: wait for the next flush to begin
    uint64_t sealed_through;
    uint64_t staged_count;  // records that the next sync makes durable
    uint64_t waiting_count; // records staged or synced and not yet applied

    bool is_fenced;
    bool is_job_alive;
    bool is_merge_wanted; // looked up again when a job ends, not by every question
    uint64_t type_conflicts, value_conflicts;
    bb_store_scratch_t scratch;
    struct bb_store_scrub *scrub;
    struct bb_sync_damage *left_out; // segments that are being repaired: bb_store_sync.h
    uint32_t left_out_count;
};

// ---- meta ------------------------------------------------------------------------------------
// Doubles meta's map when half of it is used, or when it was too small for a job (DISK_FULL
// although the disk has room). Only while no job is alive: nobody has a transaction on meta then.
void bb_store_meta_grow(bb_store_t *self, bool is_refused);

// ---- snapshots -------------------------------------------------------------------------------
// As bb_store_snapshot, with at most battery_max batteries; never of a rollup.
BB_MUST_CHECK bb_error_t bb_store_snapshot_take(bb_store_t *self, const bb_query_t *query,
                                                uint32_t battery_max, bb_snapshot_t **snapshot,
                                                bb_fault_t *fault);

// ---- streams ---------------------------------------------------------------------------------
// A chunk of the stream was applied, at the present version.
void bb_store_stream_applied(bb_store_t *self, const bb_stream_t *stream);
// A flush has ended: what was applied up to have_saved_version is sealed.
void bb_store_streams_sealed(bb_store_t *self);
// A have-set names the stream that it did not name before.
void bb_store_stream_seen(bb_store_t *self, const bb_stream_t *stream);
void bb_store_streams_look(bb_store_t *self); // the same for all, after some may have gone

// ---- intake ----------------------------------------------------------------------------------
static inline uint32_t bb_day_of(int64_t wall_ns)
{
    return (uint32_t)(wall_ns / BB_NS_PER_DAY); // times are never negative
}
// True if the day was new.
bool bb_store_day_add(bb_store_t *self, uint32_t day);
void bb_store_scratch_free(bb_store_scratch_t *self);

#endif

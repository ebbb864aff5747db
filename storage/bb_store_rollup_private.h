// SPDX-License-Identifier: Apache-2.0
// bb_store_rollup_private - what bb_store_rollup*.c share; nobody else includes it.
#ifndef BB_STORE_ROLLUP_PRIVATE_H
#define BB_STORE_ROLLUP_PRIVATE_H

#include <stdatomic.h>

#include "storage/bb_store_private.h"
#include "storage/bb_store_rollup.h"
#include "storage/bb_store_seal.h"
#include "storage/rollup/bb_rollup_map.h"
#include "storage/rollup/bb_rollup_series.h"

#define BB_ROLLUP_ID_NONE     UINT32_MAX
#define BB_ROLLUP_GRACE_NS    (INT64_C(3600) * BB_NS_PER_S)
#define BB_ROLLUP_JOB_PIECES  500000u
#define BB_ROLLUP_DROP_KEYS   20000u              // in one transaction
#define BB_ROLLUP_CHECK_BYTES (UINT64_C(1) << 20) // of one job
#define BB_ROLLUP_CHECK_NS    (7 * BB_NS_PER_DAY) // between two times that all are verified

// Where the next job goes on in a partition with more batteries than one job takes.
typedef struct {
    bool is_open;
    uint32_t id, day, partition;
    char battery[BB_BATTERY_ID_BYTES_MAX];
    size_t battery_length;
} bb_rollup_slice_t;

// A record that another store sent, on its way into the map. Numbers are ours.
typedef struct {
    uint32_t id, partition, battery, day;
    uint8_t *bytes; // owned
    size_t length;
} bb_rollup_taken_t;
typedef struct {
    bb_rollup_taken_t *items;
    uint32_t count, capacity;
    uint64_t bytes;
    uint64_t different_count; // pieces that we had otherwise
    uint32_t passed_day;      // that of the store, when the flush began
} bb_rollup_taken_list_t;

struct bb_rollups {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory; // the store's
    size_t map_bytes;      // of any environment of the store
    size_t env_map_bytes;  // of this one, which grows
    bb_kv_env_t *env;      // NULL until there was a rollup
    // Views alive: made in the store's thread, ended in any. The map grows only while there is
    // none.
    atomic_uint_fast32_t view_count;
    bool is_refused; // it was too small for a job
    // All records are verified, a few at a time, when nothing else is to be done.
    bool is_check_due;
    bb_rollup_place_t check_place;
    int64_t checked_wall_ns;
    uint64_t damaged_count; // records that did not verify and were removed
    bb_day_marks_t head, frozen;
    struct {
        uint8_t *bytes; // NULL = free
        size_t length;
    } definitions[BB_ROLLUP_IDS_MAX];
    uint32_t ids[BB_ROLLUPS_MAX]; // of the policy's rollups; NONE = not in the map yet
    bool is_reconcile_due, is_due, is_damaged, watches_batteries;
    bool is_held; // points are missing: no results of what there is
    int64_t now_wall_ns;
    uint64_t stale_count;
    uint32_t mark_day_first;
    // By number in the map: nothing of days before is answered, or there any more.
    uint32_t floor_days[BB_ROLLUP_IDS_MAX], expired_days[BB_ROLLUP_IDS_MAX];
    bb_rollup_slice_t slice;
    // Of other stores: what came, and what the flush under way writes.
    bb_rollup_taken_list_t taken, taking;
    uint64_t taken_count, different_count;
    uint32_t passed_day; // results of days before may be of points that were never here
    uint64_t gaps;       // records were removed, and not compared with others' since; 0: none
};

typedef enum {
    BB_ROLLUP_NOTHING,
    BB_ROLLUP_RECONCILE, // the map gets the definitions of the policy
    BB_ROLLUP_EXPAND,    // a mark of all partitions becomes one for each
    BB_ROLLUP_COMPUTE,   // results of some partitions in one day
    BB_ROLLUP_EXPIRE,    // records of one rollup that are older than it keeps them
    BB_ROLLUP_CHECK,     // some records are verified
} bb_rollup_job_kind_t;

struct bb_rollup_job {
    bb_rollup_job_kind_t kind;
    bb_rollups_t *rollups; // kv and env only, in other threads
    bb_policy_t *policy;
    const bb_rollup_t *rollup; // of the policy
    bb_calendar_t calendar;
    uint32_t id, day;     // EXPIRE: the first day that is kept
    uint32_t *partitions; // ascending
    uint32_t partition_count;
    bb_slice_t *batteries;
    uint32_t battery_count;
    bb_slice_t *metrics;
    uint32_t metric_count;
    bb_rollup_slice_t next; // is_open: the last partition is not complete
    bb_query_t query;
    bb_snapshot_t *snapshot;
    // Retention has taken nothing of the day yet: what points say is all there is. A day that is
    // about to go still has its points, and this is the last time that anyone looks at them.
    bool has_points;
    bool is_damaged;        // some partitions could not be computed; their marks stay
    bool is_unread;         // then: only because segments could not be opened this time
    uint32_t removed_count; // CHECK, COMPUTE: that did not verify, and that points do not say again
    bb_rollup_place_t place; // CHECK
    // RECONCILE; days: CHECK, too
    bool is_dropped[BB_ROLLUP_IDS_MAX];
    uint32_t new_ids[BB_ROLLUPS_MAX], new_indexes[BB_ROLLUPS_MAX], new_count;
    uint32_t *days;
    uint32_t day_count;
};

// The day before which the policy's rollup keeps nothing; it has a number.
uint32_t bb_rollups_day_first(const bb_store_t *store, uint32_t index);
// Nothing has gone of this day and later ones: what points say is all that there is.
uint32_t bb_rollups_points_day(const bb_store_t *store);

// ---- results of others: bb_store_rollup_take.c -----------------------------------------------
void bb_rollups_taken_clear(bb_rollups_t *self);
void bb_rollups_taken_freeze(bb_rollups_t *self);
void bb_rollups_taken_thaw(bb_rollups_t *self);
void bb_rollups_taken_forget(bb_rollups_t *self, uint32_t id);

bool bb_rollup_takes_battery(const bb_dictionary_t *dictionary, const bb_rollup_t *rollup,
                             uint32_t battery);

#endif

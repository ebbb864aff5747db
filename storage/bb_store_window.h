// SPDX-License-Identifier: Apache-2.0
// bb_store_window - the environments of a store's days: opened when needed, closed when idle.
//
// A window is the folder windows/DAY.NUMBER or quarantine/DAY.NUMBER with one key-value map:
//
//   key    u16 partition | u32 battery | u64 run, all big-endian     value  an encoded run
//   key    0xff                                                      value  bb_window_counts_t
//
// The counts are written in the transaction that changes the runs, so they are always right.
// A merge writes DAY.(NUMBER + 1); which number counts is recorded in the store's meta map.
//
// Threads: the list of windows belongs to the store's thread; a bb_window_t is counted and may be
// held by snapshots and jobs in other threads. Opening and closing environments is behind the one
// lock of the pool, because one process must never open an environment twice. The store's own
// thread takes that lock only to drop a replaced window. At most BB_WINDOWS_OPEN_MAX stay open
// while nobody reads them; those in use are never closed.
#ifndef BB_STORE_WINDOW_H
#define BB_STORE_WINDOW_H

#include "storage/kv/bb_kv.h"
#include "storage/vfs/bb_file.h"

#define BB_WINDOWS_OPEN_MAX 256u
#define BB_RUN_KEY_BYTES    14u

typedef struct bb_window bb_window_t;
typedef struct bb_window_pool bb_window_pool_t;

typedef enum { BB_WINDOW_NORMAL, BB_WINDOW_QUARANTINE, BB_WINDOW_KIND_COUNT } bb_window_kind_t;

// As stored, little-endian, no padding.
typedef struct {
    uint64_t run_next; // number of the next run
    uint64_t run_count;
    uint64_t battery_count; // with at least one run
    uint64_t point_count;
    uint64_t run_bytes;
    uint64_t irreducible_count; // runs beyond one per battery that the last merge could not join
    uint64_t merged_points;     // points after the last merge; 0 = never merged
} bb_window_counts_t;
static_assert(sizeof(bb_window_counts_t) == 56, "on-disk layout");

// ---- pool ------------------------------------------------------------------------------------
bb_window_pool_t *bb_window_pool_new(bb_vfs_t *vfs, bb_kv_driver_t *kv, const char *directory,
                                     size_t map_bytes);
// Every window must have been released.
void bb_window_pool_destroy(bb_window_pool_t **self);

// ---- windows ---------------------------------------------------------------------------------
// A name for the folder; touches no disk. One reference. `day` counts from 1970-01-01.
bb_window_t *bb_window_new(bb_window_pool_t *pool, bb_window_kind_t kind, uint32_t day,
                           uint64_t number);
void bb_window_retain(bb_window_t *self);
// With the last reference the environment is closed and, if the window was doomed, its folder
// removed.
void bb_window_release(bb_window_t **self);
void bb_window_doom(bb_window_t *self);

// While a window is barred, _env_acquire opens nothing and gives BB_ERR_CORRUPT. Any thread.
void bb_window_bar(bb_window_t *self, bool is_barred);

bb_window_kind_t bb_window_kind(const bb_window_t *self);
uint32_t bb_window_day(const bb_window_t *self);
uint64_t bb_window_number(const bb_window_t *self);

// Formats the folder of a window, or with kind alone (number 0) the one that holds them all.
#define BB_WINDOW_PATH_BYTES 1024
void bb_window_path(const bb_window_pool_t *pool, bb_window_kind_t kind, uint32_t day,
                    uint64_t number, char out[BB_WINDOW_PATH_BYTES]);
// Reads a folder's name back. False: not one of ours.
bool bb_window_name_parse(const char *name, uint32_t *day, uint64_t *number);

// The environment, opened if it was not; `create` makes an empty one in its folder. Stays open
// until as many _env_release as _env_acquire were called. Errors: those of the driver's open.
BB_MUST_CHECK bb_error_t bb_window_env_acquire(bb_window_t *self, bool create, bb_kv_env_t **env,
                                               bb_fault_t *fault);
void bb_window_env_release(bb_window_t *self);

// ---- keys ------------------------------------------------------------------------------------
void bb_run_key_encode(uint8_t out[BB_RUN_KEY_BYTES], uint32_t partition, uint32_t battery,
                       uint64_t run);
// False: not the key of a run (the counts, or damage).
bool bb_run_key_decode(bb_slice_t key, uint32_t *partition, uint32_t *battery, uint64_t *run);

// Zeros and run_next 1 when there are none yet. BB_ERR_CORRUPT: not as they were written.
BB_MUST_CHECK bb_error_t bb_window_counts_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                              bb_window_counts_t *counts);
BB_MUST_CHECK bb_error_t bb_window_counts_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                              const bb_window_counts_t *counts);

// Runs that a merge could save.
static inline uint64_t bb_window_excess(const bb_window_counts_t *counts)
{
    uint64_t least = counts->battery_count + counts->irreducible_count;
    return counts->run_count > least ? counts->run_count - least : 0;
}

#endif

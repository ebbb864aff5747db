// SPDX-License-Identifier: Apache-2.0
// bb_store_segment - the environments of a store's windows: opened when needed, closed when idle.
//
// A segment is one folder with one key-value map, filled once by a flush or a merge and never
// changed after that (storage/segment/bb_segment_writer.h). A window is a UTC day of one class and
// holds the segments that the store's meta map names for it:
//
//   windows/CLASS/DAY.NUMBER      CLASS: `default` or the number of a retention class
//   quarantine/CLASS/DAY.NUMBER   points that were too far ahead
//
// Threads: a segment is counted and may be held by snapshots and jobs in other threads. Opening and
// closing environments is behind the one lock of the pool, because one process must never open an
// environment twice. The store's own thread takes that lock only to drop a replaced segment. At
// most open_max stay open while nobody reads them; those in use are never closed. A scan uses at
// most as many at once, but all of one day (bb_snapshot.h), and a job those of a window.
#ifndef BB_STORE_SEGMENT_H
#define BB_STORE_SEGMENT_H

#include "storage/kv/bb_kv.h"
#include "storage/vfs/bb_file.h"

#define BB_SEGMENTS_OPEN_MAX 1024u // unless the options of the store say another number

typedef struct bb_segment bb_segment_t;
typedef struct bb_segment_pool bb_segment_pool_t;

typedef enum { BB_WINDOW_NORMAL, BB_WINDOW_QUARANTINE, BB_WINDOW_KIND_COUNT } bb_window_kind_t;

// What a window is; also the order of windows.
typedef struct {
    bb_window_kind_t kind;
    uint16_t class_id; // of retention; 0 = default
    uint32_t day;      // from 1970-01-01
} bb_window_id_t;

static inline int bb_window_id_compare(bb_window_id_t a, bb_window_id_t b)
{
    uint64_t left = (uint64_t)a.kind << 48 | (uint64_t)a.class_id << 32 | a.day;
    uint64_t right = (uint64_t)b.kind << 48 | (uint64_t)b.class_id << 32 | b.day;
    return (left > right) - (left < right);
}

// ---- pool ------------------------------------------------------------------------------------
bb_segment_pool_t *bb_segment_pool_new(bb_vfs_t *vfs, bb_kv_driver_t *kv, const char *directory,
                                       size_t map_bytes, uint32_t open_max);
uint32_t bb_segment_pool_open_max(const bb_segment_pool_t *self);
// Every segment must have been released.
void bb_segment_pool_destroy(bb_segment_pool_t **self);
size_t bb_segment_pool_map_bytes(const bb_segment_pool_t *self);

// ---- folders ---------------------------------------------------------------------------------
#define BB_WINDOW_PATH_BYTES 1024
// The folder of all windows of a kind, and in it of those of a class.
void bb_segment_kind_path(const bb_segment_pool_t *pool, bb_window_kind_t kind,
                          char out[BB_WINDOW_PATH_BYTES]);
void bb_segment_class_path(const bb_segment_pool_t *pool, bb_window_kind_t kind, uint16_t class_id,
                           char out[BB_WINDOW_PATH_BYTES]);
void bb_segment_path(const bb_segment_t *self, char out[BB_WINDOW_PATH_BYTES]);
// Reads the names of folders back. False: not one of ours.
bool bb_segment_class_parse(const char *name, uint16_t *class_id);
bool bb_segment_name_parse(const char *name, uint32_t *day, uint64_t *number);

// ---- segments --------------------------------------------------------------------------------
// A name for the folder; touches no disk. One reference. number >= 1.
bb_segment_t *bb_segment_new(bb_segment_pool_t *pool, bb_window_id_t window, uint64_t number);
void bb_segment_retain(bb_segment_t *self);
// With the last reference the environment is closed and, if the segment was doomed, its folder
// removed.
void bb_segment_release(bb_segment_t **self);
void bb_segment_doom(bb_segment_t *self);

// ---- trust -----------------------------------------------------------------------------------
// A segment in which something was met that must not be is suspect: this process does not look into
// it again before another one has read all of it and lived (storage/scrub/bb_suspect.h). Any
// thread, but for _trust_set, which is the store's.
#define BB_SEGMENT_CONDEMNED_TEXT "not opened: a process that read it could not, or did not live"
typedef enum {
    BB_SEGMENT_TRUSTED,
    BB_SEGMENT_SUSPECT,   // not opened until it was looked at: BUSY
    BB_SEGMENT_CONDEMNED, // never opened: CORRUPT
} bb_segment_trust_t;

// Doubts have an effect from now on: there is somebody who looks at segments. A thread that wants
// to open one that is suspect waits up to wait_ns for the verdict.
void bb_segment_pool_watch(bb_segment_pool_t *self, int64_t wait_ns);
// The first doubt makes the segment suspect; later ones, after a verdict, change nothing.
void bb_segment_doubt(bb_segment_t *self);
bool bb_segment_is_doubted(const bb_segment_t *self); // ever
uint64_t bb_segment_pool_doubt_count(const bb_segment_pool_t *self);
void bb_segment_trust_set(bb_segment_t *self, bb_segment_trust_t trust);
bb_segment_trust_t bb_segment_trust(const bb_segment_t *self);

bb_window_id_t bb_segment_window(const bb_segment_t *self);
uint64_t bb_segment_number(const bb_segment_t *self);

// Makes an empty folder for it, durably, in place of whatever has its name.
// *must_fence: a sync failed other than by a full disk.
BB_MUST_CHECK bb_error_t bb_segment_make(bb_segment_t *self, bool *must_fence, bb_fault_t *fault);

// The environment, opened if it was not; `create` makes an empty one in its folder. Stays open
// until as many _env_release as _env_acquire were called. Errors: those of the driver's open, after
// which it is doubted; BUSY (suspect, and still so after the pool's wait), CORRUPT (condemned).
BB_MUST_CHECK bb_error_t bb_segment_env_acquire(bb_segment_t *self, bool create, bb_kv_env_t **env,
                                                bb_fault_t *fault);
void bb_segment_env_release(bb_segment_t *self);

#endif

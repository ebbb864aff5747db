// SPDX-License-Identifier: Apache-2.0
// bb_store - everything one store keeps: journal, head, windows, have-sets, battery dictionary.
//
// The only header of storage that the node includes. One thread owns a store; what may run
// elsewhere (jobs, snapshots) says so. All I/O goes through the vfs and kv driver given at open, so
// the simulator runs the same code on a simulated disk.
//
//   stage -> sync -> apply          chunks enter:   journal | durable | visible in head + have-set
//   flush job                       head generation -> a new segment in each window -> meta commit
//   merge job                       segments of a window -> one, in its place
//   trim                            journal files that are sealed here and held by all replicas
//
// A point is visible only after it is durable, so nothing is ever read that a crash can take back.
//
//   DIR/busbar.store        identity, format version, store count; locked while open
//   DIR/journal/            bb_journal
//   DIR/meta/               names, types, have-sets, seal position, windows, deletes (LMDB)
//   DIR/windows/default/2026-01-01.000001/     segments of that UTC day (LMDB), one more with each
//   flush DIR/quarantine/default/2026-01-01.000001/  points that were too far ahead, until released
#ifndef BB_STORE_H
#define BB_STORE_H

#include "protocol/bb_chunks.h"
#include "protocol/bb_forgotten.h"
#include "protocol/bb_policy.h"
#include "protocol/bb_query.h"
#include "storage/kv/bb_kv.h"
#include "storage/scrub/bb_damage.h"
#include "storage/scrub/bb_scrub.h"
#include "storage/scrub/bb_suspect.h"
#include "storage/segment/bb_fingerprint.h"
#include "storage/vfs/bb_file.h"

typedef struct bb_store bb_store_t;

// Looks at a window's folder in another process, for one that this process must not open: a damaged
// page can crash who reads it. All calls are made on the store's thread and do not wait.
typedef struct {
    void *context;
    // Starts it, to end within timeout_ns; a handle >= 0, or -1.
    int64_t (*spawn)(void *context, const char *window_path, int64_t timeout_ns);
    // True: it has ended, the handle is void, and *event says how (bb_suspect_event_of_exit).
    bool (*poll)(void *context, int64_t handle, bb_suspect_event_t *event);
    void (*kill)(void *context, int64_t handle); // and forget it
    // How long a reader in another thread waits for the verdict on a segment that it needs; 0 = not
    // at all. Whoever calls _scrub_tick must not read.
    int64_t wait_ns;
} bb_store_checker_t;

// How often _scrub_tick wants to be called while a window is looked at.
#define BB_STORE_CHECK_POLL_NS                                                                     \
    (INT64_C(200) * 1000000) // at most; a child that is young is asked sooner
// The same while all are trusted: readers in other threads doubt a segment without a word.
#define BB_STORE_DOUBT_POLL_NS (INT64_C(1000) * 1000000)

typedef struct {
    bb_vfs_t *vfs;
    bb_kv_driver_t *kv;
    const char *directory;
    uint8_t cluster_id[16]; // with node_id, index and count: another owner is refused (FOREIGN)
    const char *node_id;
    uint32_t store_index, store_count;
    uint32_t partition_count;
    size_t memory_bytes;         // head, all generations; at a third of it the head wants a flush
    uint64_t journal_file_bytes; // 0 = 64 MiB
    bb_policy_t *policy;         // retention and rollups; NULL = all for ever, none. Retained
    uint64_t disk_reserve_bytes; // free space that no write may touch; 0 = none
    size_t kv_map_bytes;         // reserved address space per environment; 0 = 16 GiB
    uint32_t segments_open_max;  // environments of windows; 0 = 1,024 (bb_store_segment.h)
    uint64_t scrub_bytes_per_s;  // 0 = only when somebody asks
    int64_t scrub_interval_ns;   // between two readings of a window; 0 = 7 days
    bb_store_checker_t checker;  // spawn NULL: windows are never looked at elsewhere
} bb_store_options_t;

#define BB_STORE_META_DAMAGE_BYTES 128u

typedef struct {
    uint64_t journal_records, journal_bytes, torn_bytes, damaged_count, damaged_bytes;
    uint64_t unsynced_count; // of damaged_count: torn by a power loss before anybody was told
    char first_damage[256];
    uint64_t meta_damaged_count; // records of meta that were left out and are found again
    char first_meta_damage[BB_STORE_META_DAMAGE_BYTES];
    uint64_t battery_count, window_count;
} bb_store_report_t;

// Opens or creates. Errors: LOCKED, FOREIGN, FORMAT, CORRUPT, IO, DISK_FULL with a sentence.
BB_MUST_CHECK bb_error_t bb_store_open(const bb_store_options_t *options, bb_store_report_t *report,
                                       bb_store_t **store, bb_fault_t *fault);
void bb_store_close(bb_store_t **self); // no job or snapshot may be alive; nothing is flushed

// The process ends in good order: what was written last is not suspect at the next opening. Before
// bb_store_close; a store that was not signed off lets a checker read the segments that it put last
// before anybody else does.
void bb_store_sign_off(bb_store_t *self);

// Other retention classes and rollups from now on. Keeps a reference.
void bb_store_policy_set(bb_store_t *self, bb_policy_t *policy);

// The clock moved (UTC, not going back is not required): what depends on it is looked at again.
// Call it about once a minute, and not while the clock is known to be wrong.
void bb_store_clock(bb_store_t *self, int64_t now_wall_ns);
bool bb_store_needs_clock(const bb_store_t *self); // false: nothing depends on it

// ---- have-sets -------------------------------------------------------------------------------
// Which chunks are durable and visible here. Borrowed until the next apply.
const bb_have_set_t *bb_store_have(const bb_store_t *self, uint32_t partition);
// Counts up by one at each apply; _have_version of a partition is the count when it last changed.
uint64_t bb_store_version(const bb_store_t *self);
uint64_t bb_store_have_version(const bb_store_t *self, uint32_t partition);
// The different streams in them; the seqs say nothing. Borrowed likewise.
const bb_have_set_t *bb_store_streams(const bb_store_t *self);
// The smallest number of a stream of that node with chunks that are not sealed: not in segments,
// as meta knows them. UINT32_MAX: all are. bb_forgotten.h has both words.
uint32_t bb_store_unsealed_first(const bb_store_t *self, uint32_t node_hash);
// Takes these streams out of the have-sets: at once, and out of meta with the next flush. Those
// that an adoption brings are taken out by repeating it. Returns how many there were, counted in
// each partition. Changes versions where it took something.
uint32_t bb_store_forget(bb_store_t *self, const bb_forgotten_t *forgotten);

// ---- intake ----------------------------------------------------------------------------------
// Coordinator only: the points of a batch that may not be taken because (battery, metric) already
// has another type, here or earlier in the batch, the store has too many windows, retention has
// passed them by, or they are of a generation that was deleted; of markers, those of a generation
// far ahead of what is known, or too many. Calls `reject` once per (run, metric), with frame
// UINT32_MAX, once per frame of the batch, with metric UINT32_MAX, or once per point. Returns how
// many points were named. Changes nothing.
typedef void (*bb_store_reject_fn)(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                                   uint32_t metric, bb_error_t error, const char *detail);
uint64_t bb_store_check(bb_store_t *self, const bb_batch_t *batch, bb_store_reject_fn reject,
                        void *context);

// The largest generation of any marker or point of the battery here (protocol/bb_marker.h); 0: it
// has none.
uint32_t bb_store_generation(const bb_store_t *self, bb_slice_t battery);

// Stages one journal record; slices and batch stay valid until _sync. Errors as bb_journal_append.
BB_MUST_CHECK bb_error_t bb_store_stage(bb_store_t *self, const bb_chunks_t *chunks,
                                        bb_slice_t chunks_encoded, const bb_batch_t *batch);
uint64_t bb_store_staged_bytes(const bb_store_t *self);
BB_MUST_CHECK bb_error_t bb_store_sync(bb_store_t *self); // errors as bb_journal_sync
bool bb_store_is_fenced(const bb_store_t *self);
// After a sync that covered the record: frames go into the head, dots into the have-sets. Parts
// whose dot is already there are skipped. Never fails for reasons in the data: what a replica
// cannot object to (types, windows) is kept. BB_ERR_LIMIT: a have-set is too fragmented for a dot;
// that part is not applied and not counted (it will be pulled again), the others are.
BB_MUST_CHECK bb_error_t bb_store_apply(bb_store_t *self, const bb_chunks_t *chunks,
                                        const bb_batch_t *batch);

// ---- sealing, merging, trimming --------------------------------------------------------------
// One job at a time per store. begin and end on the owner's thread; run anywhere, once.
typedef struct bb_store_job bb_store_job_t;
typedef enum {
    BB_JOB_FLUSH,
    BB_JOB_MERGE,
    BB_JOB_SCRUB,
    BB_JOB_ROLLUP,
    BB_JOB_RETIRE, // windows that retention has passed by
    BB_JOB_FRESH,  // a journal file made before it is needed (bb_journal_fresh.h)
    BB_JOB_SYNC,   // what a window holds, for a peer or to be compared: bb_store_sync.h
} bb_store_job_kind_t;

bool bb_store_wants_flush(const bb_store_t *self);    // the head has reached its share of memory
bool bb_store_is_full(const bb_store_t *self);        // all of it: answer busy until a flush ends
uint64_t bb_store_head_bytes(const bb_store_t *self); // being filled and being flushed
// May `bytes` more be staged without touching the disk's reserve? Takes them off what is left. When
// not: empty journal files are given up first, and the answer is looked up again with each
// question.
bool bb_store_has_room(bb_store_t *self, uint64_t bytes);
// A floor of retention moved: flush, then RETIRE.
bool bb_store_wants_retire(const bb_store_t *self);
bool bb_store_retire_needs_flush(const bb_store_t *self); // the head may have what is to go
bool bb_store_wants_fresh(const bb_store_t *self);        // before all others: it is short
bool bb_store_wants_rollup(const bb_store_t *self);       // results of rollups are stale
bool bb_store_wants_merge(const bb_store_t *self);        // some window holds many runs per battery
// BB_ERR_NOT_FOUND: nothing to do. BB_ERR_BUSY: a staged record is not applied yet, and sealing now
// would lose it; sync and apply first. Or, of a MERGE: a flush that failed must be repeated first.
// DISK_FULL, of a MERGE: the disk is at its reserve.
// FENCED, or what rotating the journal gave. FLUSH freezes the head (or takes one that a failed job
// left) and rotates the journal. MERGE takes the window with the most runs per battery above
// `runs_per_battery_min` (1 = merge all there is). SCRUB takes the step that _scrub_tick announced.
BB_MUST_CHECK bb_error_t bb_store_job_begin(bb_store_t *self, bb_store_job_kind_t kind,
                                            double runs_per_battery_min, bb_store_job_t **job);
BB_MUST_CHECK bb_error_t bb_store_job_run(bb_store_job_t *job, bb_fault_t *fault);
// Publishes the outcome of _run; `error` is what it returned. On failure the frozen head stays and
// is flushed again by the next job; a sync failure fences the store.
void bb_store_job_end(bb_store_t *self, bb_store_job_t **job, bb_error_t error);

// ---- scrubbing -------------------------------------------------------------------------------
// Windows are read again from time to time (bb_scrub.h paces it); what does not verify is kept on a
// list in the meta map, and answers that touch it are partial.
//
// Tells those who look at suspect segments the time; also while a job is alive. Returns when to
// call again.
int64_t bb_store_suspect_tick(bb_store_t *self, int64_t now_mono_ns, int64_t now_wall_ns);

// Tells the scrubber the time. True: a step is due, begin a BB_JOB_SCRUB for it. False:
// *wake_mono_ns says when to call again (BB_NEVER_NS: when a job has ended).
bool bb_store_scrub_tick(bb_store_t *self, int64_t now_mono_ns, int64_t now_wall_ns,
                         int64_t *wake_mono_ns);
// Reads every window once, now, at this rate (0 = the configured one; BB_SCRUB_RATE_UNLIMITED).
void bb_store_scrub_start(bb_store_t *self, int64_t now_mono_ns, int64_t now_wall_ns,
                          uint64_t rate_bytes_per_s);

typedef struct {
    bb_scrub_stats_t scrub;
    uint32_t barred_count;      // windows that are not opened: under examination, or condemned
    uint32_t suspect_count;     // of them, those that are looked at by another process, or will be
    uint32_t damage_count;      // entries, and one if records of meta do not verify
    uint32_t meta_damage_count; // how many of those
    const bb_damage_entry_t *damage; // the entries; borrowed until the next tick or job
} bb_store_scrub_stats_t;
// Entry `index` of the list in words: "2026-01-01.000003, battery b12: checksum: ..."; returns the
// length.
#define BB_STORE_DAMAGE_TEXT_BYTES 512u
size_t bb_store_damage_text(const bb_store_t *self, uint32_t index,
                            char out[BB_STORE_DAMAGE_TEXT_BYTES]);
bb_store_scrub_stats_t bb_store_scrub_stats(const bb_store_t *self, int64_t now_wall_ns);

// Deletes sealed journal files for which `is_held` says yes for every dot range in them.
typedef bool (*bb_store_is_held_fn)(void *context, uint32_t partition, const bb_stream_t *stream,
                                    uint64_t first_seq, uint64_t last_seq);
BB_MUST_CHECK bb_error_t bb_store_trim(bb_store_t *self, bb_store_is_held_fn is_held,
                                       void *context);
// Deletes the oldest sealed journal files, whichever replica may need them, until the journal has
// at most budget_bytes or only files are left that are not sealed; *bytes is added up. One stays
// when `is_needless` says no for a dot range in it. Who lacks what was in them needs segment sync
// (bb_store_sync.h).
BB_MUST_CHECK bb_error_t bb_store_trim_past(bb_store_t *self, uint64_t budget_bytes,
                                            bb_store_is_held_fn is_needless, void *context,
                                            uint64_t *bytes);

typedef struct {
    uint64_t head_bytes, head_points, frozen_points;
    uint64_t latest_bytes; // newest rows kept in memory: at most an eighth of memory_bytes, and 16
                           // bytes a battery
    uint64_t journal_bytes, journal_files, journal_sealed_files;
    uint64_t journal_spare_bytes; // empty: files, and ends of files, that will be written again
    uint64_t segment_bytes, segment_points, window_count, runs, runs_mergeable;
    uint64_t battery_count, metric_count, quarantined_points, type_conflicts, value_conflicts;
    uint64_t markers;         // of deletes
    uint64_t unsaved_markers; // of them, those that are in the journal alone: a flush takes them
    uint64_t retired_windows, retired_points; // that retention deleted, since the store was opened
    uint64_t rollup_damaged;  // results that did not verify since it was opened; computed again
    uint64_t rollup_stale;    // (rollup, day, partition) whose results are computed anew
    uint64_t streams;         // different ones in its have-sets
    uint64_t disk_free_bytes; // when it was last looked at; UINT64_MAX = never
    uint64_t disk_reserve_bytes;
    uint64_t segments, segments_damaged;
    // Written since the store was opened. (flush + merge) / flush is the write amplification.
    uint64_t flush_bytes, flush_points, merge_bytes, merge_points;
} bb_store_stats_t;
void bb_store_stats(const bb_store_t *self, bb_store_stats_t *stats);

// The fingerprint of a partition's points on a day: equal on two stores exactly when the merged
// points are. BB_ERR_NOT_FOUND: the window is dirty (flushed into since it was one segment of
// merged points), or there is none. Owner's thread.
BB_MUST_CHECK bb_error_t bb_store_fingerprint(const bb_store_t *self, uint32_t day,
                                              uint32_t partition, bb_fingerprint_t *fingerprint);

// ---- what a peer lacks -----------------------------------------------------------------------
// Walks the journal, newest file first, and emits the chunks of `partitions` that `their_have[i]`
// lacks, as (chunks header, batch) pairs to send as they are: buffers are malloc'd and owned by the
// callback from then on. Stops after about budget_bytes: *more = true. A partition with dots in
// our have-set that they lack and the journal no longer has is named in unavailable (room for
// partition_count entries). places: of this asker; may be NULL.
// How far each of the newest files was given to one who asks again and again; cleared = nothing
// was. Who asks gets what is behind these places first; what is before them, and he still lacks
// because it was lost on its way, when there is nothing else. So a file is not read from its
// beginning for each answer. Never wrong, whatever was asked before: at worst the order is another
// one.
#define BB_STORE_PLACES_MAX 8
typedef struct {
    struct {
        uint64_t file, offset;
    } files[BB_STORE_PLACES_MAX];
    uint32_t next; // is replaced next
} bb_store_places_t;

typedef void (*bb_store_emit_fn)(void *context, uint8_t *chunks, size_t chunks_length,
                                 uint8_t *batch, size_t batch_length);
BB_MUST_CHECK bb_error_t bb_store_missing(bb_store_t *self, const uint32_t *partitions,
                                          const bb_have_set_t *their_have, uint32_t partition_count,
                                          uint64_t budget_bytes, bb_store_places_t *places,
                                          bb_store_emit_fn emit, void *context, bool *more,
                                          uint32_t *unavailable, uint32_t *unavailable_count);

// Whether the journal has the chunk of this part under its dot with another content. False also
// when it no longer has it, or when more than budget_bytes would have to be read; *budget_bytes
// gets what is left. Cost: reads the file up to the chunk.
bool bb_store_is_contradicted(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch,
                              uint32_t part_index, uint64_t *budget_bytes);

// ---- reading ---------------------------------------------------------------------------------
// A snapshot is the head and all overlapping windows at one moment. Taken on the owner's thread;
// used and closed by any one thread. Keep it short: it holds LMDB readers. BB_ERR_QUERY: a bad
// cursor.
typedef struct bb_snapshot bb_snapshot_t;
BB_MUST_CHECK bb_error_t bb_store_snapshot(bb_store_t *self, const bb_query_t *query,
                                           bb_snapshot_t **snapshot, bb_fault_t *fault);
void bb_snapshot_close(bb_snapshot_t **self);

typedef struct {
    uint8_t *cursor; // malloc'd, owned by the caller; NULL at the end of the answer
    size_t cursor_length;
    uint32_t damaged_window_count;
    uint32_t unread_window_count; // of those: not opened this time, nobody knows of damage
    uint32_t damaged_partition_count;
    uint32_t damaged_partitions[64]; // partitions whose answer would miss damaged data
    uint64_t points_scanned;
    uint64_t blocks_decoded; // of columns, because statistics did not do
} bb_scan_result_t;

// Answers one page of `query` (the one the snapshot was taken for) into `page`. Merged and
// de-duplicated over head and segments: each (battery, metric, time) once, the largest
// (revision, type, value). row_limit counts per partition, because the order of partitions is not
// that of batteries. A page ends when 64 partitions are named damaged, so that none goes unnamed.
// Errors: QUERY (bad cursor), CORRUPT (a group over more than 64 damaged partitions).
BB_MUST_CHECK bb_error_t bb_scan_page(bb_snapshot_t *snapshot, const bb_query_t *query,
                                      bb_page_builder_t *page, bb_scan_result_t *result,
                                      bb_fault_t *fault);

// A page of a group over all batteries (group_by_none) by several threads: each collects a part
// from a snapshot of its own, and one of them makes the page of all parts. The whole answer is that
// of bb_scan_page; its pages may end elsewhere.
//
//   snapshot ── split ──► snapshot 0 ── collect ──► part 0 ──┐
//                         snapshot 1 ── collect ──► part 1 ──┴── page, with snapshot 0
//
// Splits a snapshot that was taken for such a query and not been scanned: into `others` up to
// count - 1 with about as many batteries each as `self` then has. Returns how many. Any thread.
uint32_t bb_snapshot_split(bb_snapshot_t *self, uint32_t count, bb_snapshot_t **others);
uint32_t bb_snapshot_battery_count(const bb_snapshot_t *self);
// Memory only: nothing of the snapshot, which may be closed before the part is.
typedef struct bb_scan_part bb_scan_part_t;
BB_MUST_CHECK bb_error_t bb_scan_part_collect(bb_snapshot_t *snapshot, const bb_query_t *query,
                                              bb_scan_part_t **part, bb_fault_t *fault);
void bb_scan_part_destroy(bb_scan_part_t **self);
// `snapshot`: that of parts[0]. Parts are used up, but have to be destroyed. Errors as
// bb_scan_page.
BB_MUST_CHECK bb_error_t bb_scan_parts_page(bb_scan_part_t *const *parts, uint32_t part_count,
                                            bb_snapshot_t *snapshot, const bb_query_t *query,
                                            bb_page_builder_t *page, bb_scan_result_t *result,
                                            bb_fault_t *fault);

#endif

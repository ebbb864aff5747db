// SPDX-License-Identifier: Apache-2.0
// bb_segment_sync - becomes equal to other replicas where no journal has what we lack: which
// windows to compare with whom, what to fetch, and which dots to adopt at the end.
//
// Pure core, owned by one shard. Sessions, one a partition:
//
//   ASK      F0 = union of the have-sets of a majority, asked for after it was wanted; sources that
//            together have what of F0 we lack
//   LIST     windows of a source
//   OWN      our own leaves of one window       ─┐
//   BUCKETS  sums of the source's leaves         │ each window, each source
//   FETCH    batteries of buckets that differ   ─┘
//   SETTLE   until all that came is synced and applied
//   LIST to SETTLE once more, for results of rollups
//   ADOPT    exactly F0, with the next flush
//
// Results of rollups are asked for last. What a replica has of a day whose points retention has
// taken nobody can compute again, and what of a day is still to be computed is computed here from
// the points that have come by then. Between the two there is no gap: a day that a source gave up
// while points were compared is on its list of results, which is asked for afterwards; one that is
// given up here is below the limit that the question has (bb_store_results_day); and all others
// have their points here. The list is asked of each source, so it is complete by the same rule.
//
// Model: tests/model/adoption.pml. adopt-first: F0 is fixed before the first comparison, and
// nothing later is adopted. adopt-majority: F0 is a union over a majority, without us if we
// rebuild. adopt-source: windows are compared with sources that together have F0 (what they have
// only grows while they live; answers of another incarnation are void and begin the session again).
// adopt-last: F0 is adopted when every window was compared and what came is synced.
//
// Why that is enough: every chunk of F0 was in the windows of a source when its window was
// compared, so its points, or such that supersede them, were equal here or were fetched. A chunk
// that came later brings its own dot: journals are trimmed only when all replicas are known to have
// it. If a journal had to give it up all the same (its budget), the partition lacks it, and begins
// again.
//
// A third use are windows that are damaged here: what our own have-set says of them is fetched from
// sources that together have all of it. Nothing is adopted then. A fourth are results of rollups
// that are missing here: all of them are compared, and nothing else.
#ifndef BB_SEGMENT_SYNC_H
#define BB_SEGMENT_SYNC_H

#include "cluster-config/bb_topology.h"
#include "protocol/bb_sync.h"

typedef struct bb_segment_sync bb_segment_sync_t;

#define BB_SEGMENT_SYNC_SESSIONS_MAX 8u                   // at a time; the others wait
#define BB_SEGMENT_SYNC_ANSWER_NS    (2 * BB_NS_PER_S)    // then a question is asked again
#define BB_SEGMENT_SYNC_TRIES_MAX    5u                   // then the session begins again
#define BB_SEGMENT_SYNC_PAUSE_NS     (500 * BB_NS_PER_MS) // before what failed is tried again
#define BB_SEGMENT_SYNC_WAIT_NS      (5 * BB_NS_PER_S) // for have-sets and sources; then others go first
#define BB_SEGMENT_SYNC_REPAIRS_MAX  64u               // damaged windows at a time

typedef enum {
    BB_SEGMENT_SYNC_CATCH_UP, // chunks are lacking that journals do not have
    BB_SEGMENT_SYNC_REBUILD,  // this node counts for nothing before it has F0 of all partitions
    BB_SEGMENT_SYNC_REPAIR,   // windows are damaged
    BB_SEGMENT_SYNC_RESULTS,  // results of rollups are missing
    BB_SEGMENT_SYNC_USES,
} bb_segment_sync_use_t;

// What it looks at; the functions are called during its own.
typedef struct {
    void *context;
    const bb_have_set_t *(*own)(void *context, uint32_t partition);
    // Durable at that node, as far as known; never NULL.
    const bb_have_set_t *(*known)(void *context, uint32_t partition, uint32_t node);
    bool (*is_up)(void *context, uint32_t node);
    const bb_stream_t *(*incarnation)(void *context, uint32_t node);
    // Have-sets are asked for all the time, and questions are numbered. The next number, and
    // whether the node has answered that or a later one, for this partition, under our epoch.
    uint64_t (*question_next)(void *context);
    bool (*has_answered)(void *context, uint32_t partition, uint32_t node, uint64_t question);
    // Of days before this, points may be gone; of days before *day_max (not before that), another
    // replica may say so. *day_max 0: there are no rollups.
    uint32_t (*results_day)(void *context, uint32_t *day_max);
} bb_segment_sync_view_t;

typedef struct {
    const bb_topology_t *topology; // borrowed
    bb_segment_sync_view_t view;
    uint64_t request_id_first; // >= 1: questions count up from here; drawn at each start
    uint64_t bytes_per_s;      // of what is fetched; 0 = no limit
#ifdef BB_PLANTED
    bool is_adopting_late;   // planted bug: what the sources have at the end is adopted
    bool is_source_any;      // planted bug: whoever is there is compared with
    bool is_without_results; // planted bug: results of rollups are left out
#endif
} bb_segment_sync_options_t;

bb_segment_sync_t *bb_segment_sync_new(const bb_segment_sync_options_t *options);
void bb_segment_sync_destroy(bb_segment_sync_t **self);

// ---- what is wanted --------------------------------------------------------------------------
// No effect while it is wanted already, or being done. Not REPAIR.
void bb_segment_sync_want(bb_segment_sync_t *self, uint32_t partition, bb_segment_sync_use_t use);
bool bb_segment_sync_is_wanted(const bb_segment_sync_t *self, uint32_t partition);
// The windows, in each of the partitions. Not while _repair_left is not 0.
void bb_segment_sync_repair(bb_segment_sync_t *self, const bb_sync_window_t *windows,
                            uint32_t window_count, const uint32_t *partitions,
                            uint32_t partition_count);
// Partitions that are not adopted yet, or not repaired yet.
uint32_t bb_segment_sync_left(const bb_segment_sync_t *self, bb_segment_sync_use_t use);

// ---- what is to be done ----------------------------------------------------------------------
typedef enum {
    BB_SEGMENT_SYNC_DO_ASK,   // send `question` to `node`
    BB_SEGMENT_SYNC_DO_READ,  // compute our own leaves of the window, without what is damaged
    BB_SEGMENT_SYNC_DO_ADOPT, // `dots` with the next flush, which is due; empty: only flush
} bb_segment_sync_do_t;

typedef struct {
    bb_segment_sync_do_t kind;
    uint32_t partition;
    uint32_t node;               // ASK
    uint64_t request_id;         // ASK
    bb_sync_question_t question; // ASK; borrowed until the next call of anything
    bb_sync_window_t window;     // READ
    const bb_have_set_t *dots;   // ADOPT; borrowed likewise
} bb_segment_sync_action_t;

// The next thing to do now; false: nothing. Call again until false, after every event.
bool bb_segment_sync_next(bb_segment_sync_t *self, int64_t now_mono_ns,
                          bb_segment_sync_action_t *action);
// When _next has something to do though nothing happens; BB_NEVER_NS: never.
int64_t bb_segment_sync_wake_mono_ns(const bb_segment_sync_t *self);

// ---- events ----------------------------------------------------------------------------------
// Our own leaves, ascending by battery; not OK: try again later. Takes the array.
void bb_segment_sync_read(bb_segment_sync_t *self, int64_t now_mono_ns, uint32_t partition,
                          bb_sync_window_t window, bb_error_t error, bb_sync_leaf_t *leaves,
                          uint32_t leaf_count);
// An answer of a node. PEER_UNKNOWN: late, or nobody asked for it; MESSAGE_CORRUPT: it is not of
// the form that was asked for. Nothing changes: when it is OK, stage what it brings, then call
// _answered.
BB_MUST_CHECK bb_error_t bb_segment_sync_check(const bb_segment_sync_t *self, uint32_t node,
                                               uint64_t request_id, const bb_sync_answer_t *answer);
// is_taken: all that it brought is staged. False: there was no room, it is asked for again.
void bb_segment_sync_answered(bb_segment_sync_t *self, int64_t now_mono_ns, uint64_t request_id,
                              const bb_sync_answer_t *answer, bool is_taken);
// All that was staged until now is synced and applied; or some of it is lost: sessions that fetched
// begin again.
void bb_segment_sync_synced(bb_segment_sync_t *self);
void bb_segment_sync_lost(bb_segment_sync_t *self, int64_t now_mono_ns);
// A flush that began after the last ADOPT has ended.
void bb_segment_sync_adopted(bb_segment_sync_t *self);

typedef struct {
    uint64_t sessions, sessions_failed; // that ended; that had to begin again
    uint64_t windows_compared, windows_fetched;
    uint64_t bytes, repair_bytes; // of batches and attributes; of them, those of repairs
    uint64_t result_bytes;        // of them, those of rollups' results
} bb_segment_sync_stats_t;
bb_segment_sync_stats_t bb_segment_sync_stats(const bb_segment_sync_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_shard_internal - what the files of bb_shard share. Nobody else includes it.
//
//   bb_shard.c           open, close, the order of one commit, statistics
//   bb_shard_write.c     client writes, staging, sync and apply, outcomes
//   bb_shard_fan_out.c   chunks on their way to other replicas; relays
//   bb_shard_lag.c        how far other data centres are behind
//   bb_shard_ack.c       what is durable here, said to those who wait for it; and heard of others
//   bb_shard_peer.c      chunks, have-sets and pulls of peers
//   bb_shard_read.c      queries and their fences
//   bb_shard_session.c   what clients have written and seen
//   bb_shard_watch.c     chunks shown to the rules
//   bb_shard_watch_tell.c  what they have seen, told and heard
//   bb_shard_maintain.c  flush, merge, trim, settle
//   bb_shard_release.c   quarantined points made normal
//   bb_shard_sync.c      what no journal has: compared and fetched, or given
//   bb_shard_standing.c  whether this node counts as a replica, and what follows
//   bb_shard_forget.c    dead streams that everybody holds alike are forgotten
#ifndef BB_SHARD_INTERNAL_H
#define BB_SHARD_INTERNAL_H

#include "node/ingest/bb_dc_lag.h"
#include "node/ingest/bb_fence.h"
#include "node/ingest/bb_have_teller.h"
#include "node/ingest/bb_have_view.h"
#include "node/ingest/bb_link_cap.h"
#include "node/ingest/bb_pace.h"
#include "node/ingest/bb_relay.h"
#include "node/ingest/bb_replication.h"
#include "node/ingest/bb_shard.h"
#include "node/ingest/bb_shard_forget.h"
#include "node/ingest/bb_shard_sync.h"
#include "node/ingest/bb_shortfall.h"
#include "node/ingest/bb_watch.h"

#ifdef BB_PLANTED
#define BB_IS_PLANTED(self, bug) ((self)->options.planted == (bug))
#else
#define BB_IS_PLANTED(self, bug) false
#endif

#define BB_SHARD_STAGED_MAX        1024 // records; then a commit comes first
#define BB_SHARD_QUERIES_MAX       BB_FENCE_READS_MAX
#define BB_SHARD_SETTLES_MAX       16         // waiting; more: BUSY
#define BB_SHARD_RELEASES_MAX      4          // likewise
#define BB_SHARD_PULL_BUDGET_BYTES (4u << 20) // asked of a peer in one pull
#define BB_SHARD_SERVE_BYTES_MAX   (8u << 20) // given to pulling peers in one commit
// While repair is bounded, how often is looked whether live bytes have made room for a pull.
#define BB_SHARD_PULL_LOOK_NS       (10 * BB_NS_PER_MS)
#define BB_SHARD_HAVE_PIECE_BYTES   (256u << 10) // of have-sets in one message
#define BB_SHARD_ACK_RANGES_MAX     32768        // in one message
#define BB_SHARD_ACK_BATCHES_MAX    4096         // likewise
#define BB_SHARD_TRIM_INTERVAL_NS   (500 * BB_NS_PER_MS)
#define BB_SHARD_SETTLE_INTERVAL_NS (50 * BB_NS_PER_MS) // reports and trims while somebody waits
#define BB_SHARD_CLOCK_INTERVAL_NS  (60 * BB_NS_PER_S)  // floors and rollups look at the clock
// Of journals, read to compare what came twice: at most so much at once, and refilled in a second.
#define BB_SHARD_REPEAT_BYTES_PER_S (8u << 20)
#define BB_SHARD_RETRY_NS           (1 * BB_NS_PER_S) // after a failed job
#define BB_SHARD_MERGE_RUNS         4.0               // runs per battery worth a merge on its own

struct bb_pending_release;

// A client batch (or a released one) on its way to its level.
typedef struct bb_pending_write {
    struct bb_pending_write *next, **link; // all open ones
    uint64_t ticket, request_id, trace_id;
    uint64_t bytes;     // in flight
    bb_buffer_t *reply; // WRITE_REPLY, encoded when the batch was taken
    uint64_t point_count;
    struct bb_pending_release *release; // not a client's: part of this release
    struct bb_watch_work *watch;        // likewise: events of this piece of work
    bool is_moved;                      // nor this: it had a dot of a stream that is forgotten
} bb_pending_write_t;

typedef struct {
    bb_buffer_t *chunks_buffer, *batch_buffer;
    bb_chunks_t chunks;
    bb_batch_t batch;
    uint32_t write_id; // own ones
    bool is_own;
    bool is_whole; // of a peer: all that its origin gives us of a batch
} bb_staged_t;

typedef struct bb_pending_read {
    struct bb_pending_read *next, **link;
    uint64_t ticket, request_id;
    bb_buffer_t *envelope;
    int64_t deadline_mono_ns;
    uint32_t missing_count; // known before the fence
    bb_missing_t *missing;
} bb_pending_read_t;

// A peer's PULL that waits to be served: one for each lane of a node, the newest.
typedef struct bb_pull_request {
    struct bb_pull_request *next;
    uint32_t node;
    bb_lane_t lane; // echoed
    uint64_t request_id, trace_id;
    uint64_t budget_bytes;
    uint32_t count;
    uint32_t *partitions;
    bb_have_set_t *have;
    bb_forgotten_t *forgotten; // there, so that `have` is without it; NULL: nothing
} bb_pull_request_t;

// How far a node was given what it pulls, in one of its lanes.
typedef struct {
    uint32_t lane_index;
    bb_store_places_t places;
} bb_serving_t;

typedef struct {
    uint32_t range_count, range_capacity;
    bb_dot_range_t *ranges;
    uint32_t batch_count, batch_capacity;
    bb_ack_batch_t *batches;
} bb_ack_list_t;

typedef struct {
    uint64_t ticket, request_id, trace_id;
    int64_t deadline_mono_ns;
} bb_settle_t;

typedef struct bb_pending_release {
    bool is_used, is_writing;
    uint64_t ticket, request_id, trace_id;
    int64_t deadline_mono_ns;
    bb_level_t level;
    bb_buffer_t *envelope; // its batteries
    uint8_t *cursor;
    size_t cursor_length;
    bool is_last_page; // the cursor ended
    bb_error_t error;
    uint64_t released_points;
} bb_pending_release_t;

struct bb_shard {
    bb_shard_options_t options;
    const bb_topology_t *topology;
    uint32_t epoch, node_count, self_index, partition_count;
    bb_shard_time_t time; // of the present call
    bb_store_t *store;
    bb_replication_t *replication;
    bb_have_view_t *view;
    bb_shortfall_t *shortfall;
    bb_fence_t *fence;
    bb_have_teller_t *teller;
    bb_shard_forget_t *forget;
    bb_standing_t standing;
    bb_relay_t *relay;
    bb_dc_lag_t *dc_lag;
    uint64_t fan_out_turn;
    bb_link_cap_t links[BB_DCS_MAX]; // to each other data centre: this store's share of the cap
    bool is_up[BB_NODES_MAX];
    bool is_barred[BB_NODES_MAX]; // says that it does not count
    bool is_slow[BB_NODES_MAX];   // the route score
    bool is_changed;              // something a fence may wait for

    bb_staged_t *staged;
    uint32_t staged_count;
    bb_pending_write_t *writes;
    uint64_t in_flight_bytes;
    uint32_t *partitions;  // scratch, partition_count
    uint64_t *seqs;        // scratch, partition_count
    bool *keep;            // scratch, partition_count
    uint32_t *quarantined; // scratch, grows to the largest batch
    uint32_t quarantined_capacity;

    bb_ack_list_t *acks; // per node
    uint32_t *ack_at;    // per partition: where its last range is, to join neighbours
    bool has_acks;
    bb_pull_request_t *pulls; // in order of arrival
    bb_serving_t serving[BB_NODES_MAX];

    bb_pending_read_t *reads;
    uint32_t read_count;

    bb_shard_sync_t *sync;
    bool is_sync_next; // others had their turn since its last job
    bb_pace_t pace;
    bool is_job_out;
    bb_store_job_kind_t job_kind;
    int64_t job_retry_mono_ns;
    int64_t head_since_mono_ns; // when the head's oldest chunk came; BB_NEVER_NS: empty
    bool is_merged;             // nothing was left to merge at the last look
    uint64_t unsealed_chunks, frozen_chunks;
    int64_t clock_next_mono_ns;
    int64_t trim_next_mono_ns;
    bool is_trim_due;
    uint64_t trim_change_count;
    bb_settle_t settles[BB_SHARD_SETTLES_MAX];
    uint32_t settle_count;
    int64_t settle_next_mono_ns;
    int64_t scrub_wake_mono_ns;   // ask the store's scrubber again
    int64_t suspect_wake_mono_ns; // and those who look at suspect segments
    bb_pending_release_t releases[BB_SHARD_RELEASES_MAX];

    uint64_t repeat_budget_bytes;      // left for comparing what came twice
    int64_t repeat_mono_ns;            // when it was filled
    bb_watch_t *watch;                 // NULL: there are no rules
    struct bb_watch_work *watch_works; // whose events are on their way
    struct bb_watch_work *watch_fresh; // evaluated since the last one began; NULL: nothing
    int64_t watch_gather_mono_ns;      // its events are written then
    uint32_t watch_work_count;
    bool is_watch_round_out; // one of them was read from the journal
    bool has_watch_looked;   // the others have had time to say what they know
    int64_t watch_next_mono_ns;
    bool is_watch_idle, could_watch; // at the last look: nothing waits; events could be written
    uint64_t watch_idle_version;     // of the store, then
#ifdef BB_PLANTED
    struct bb_watch_work *watch_late;
#endif
    uint64_t watch_told[BB_NODES_MAX]; // version of our watched sets that it was told, + 1

    bool is_draining;
    bb_shard_stats_t stats; // counters; the rest is filled by bb_shard_stats
};

// ---- bb_shard.c
const bb_have_set_t *bb_shard_own_have(void *self, uint32_t partition); // bb_have_own_fn
int64_t bb_shard_deadline_mono_ns(const bb_shard_t *self, const bb_message_t *message);
// Returns the bytes of the envelope.
size_t bb_shard_send(bb_shard_t *self, uint32_t node, bool bulk, const bb_message_t *message,
                     bb_buffer_t *chunks, bb_buffer_t *body);
int64_t bb_shard_clock_mono_ns(const bb_shard_t *self); // to measure by, if there is a clock
void bb_shard_repaired(bb_shard_t *self, bb_pace_way_t way, uint64_t bytes); // so many went
// Encodes; one reference for the caller.
bb_buffer_t *bb_shard_encode(const bb_message_t *message);
void bb_shard_answer(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                     bb_buffer_t *body);
void bb_shard_answer_error(bb_shard_t *self, uint64_t ticket, uint64_t request_id,
                           uint64_t trace_id, bb_error_t error, uint32_t retry_after_ms,
                           const char *format, ...) BB_PRINTF(7, 8);

// ---- bb_shard_write.c
void bb_shard_write(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                    bb_buffer_t *payload);
// Gives dots, stages, replicates. The buffer holds an opened batch of ours (taken over on BB_OK).
typedef struct {
    bb_level_t level;
    int64_t deadline_mono_ns;
    bool is_judged; // times are judged: what is too far ahead is quarantined
    // Not NULL: it had these dots, and keeps what was said with them: verdicts, time of origin.
    const bb_chunks_t *moved;
    bb_buffer_t *batch_buffer;
    bb_batch_t *batch;
    bb_pending_write_t *write; // taken over on BB_OK
    bool is_staged;            // out: it has dots and is staged here
} bb_shard_submit_t;
BB_MUST_CHECK bb_error_t bb_shard_submit(bb_shard_t *self, bb_shard_submit_t *submit,
                                         uint64_t *quarantined_points);
// The same of an encoding of our own, data, which is taken over; submit needs no batch, and its
// write is from _write_new(self, 0), destroyed unless the result is BB_OK.
BB_MUST_CHECK bb_error_t bb_shard_submit_own(bb_shard_t *self, bb_shard_submit_t *submit,
                                             uint8_t *data, size_t length);
// Stages; commits first when there is no room. Takes over both references and the batch on BB_OK.
BB_MUST_CHECK bb_error_t bb_shard_stage(bb_shard_t *self, bb_staged_t *staged);
void bb_shard_commit_staged(bb_shard_t *self); // sync, apply, count, note acknowledgements
void bb_shard_outcomes(bb_shard_t *self);      // answers what ended
bb_pending_write_t *bb_shard_write_new(bb_shard_t *self, uint64_t bytes);
void bb_shard_write_destroy(bb_shard_t *self, bb_pending_write_t *write);

// ---- bb_shard_fan_out.c
// Sends a batch of ours, which has its dots, to the other replicas of its parts.
void bb_shard_fan_out(bb_shard_t *self, const bb_staged_t *staged);
void bb_shard_relays_step(bb_shard_t *self); // passes silent relays by
// A chunk from another data centre: sends it on as the sender asks. PEER_UNKNOWN: it may not.
BB_MUST_CHECK bb_error_t bb_shard_forward(bb_shard_t *self, uint32_t sender,
                                          const bb_message_t *message, const bb_staged_t *staged);

// ---- bb_shard_lag.c
void bb_shard_dc_lags(const bb_shard_t *self, bb_shard_stats_t *stats); // adds to zeros

// ---- bb_shard_peer.c
// Batteries are where their part says, so that a wrong sender cannot spread a misplaced one.
bool bb_shard_is_placed(const bb_shard_t *self, const bb_batch_t *batch);

// ---- bb_shard_ack.c
// Notes that a dot of the node's stream is durable here; said at the end of the commit.
void bb_shard_ack(bb_shard_t *self, uint32_t node, uint32_t partition, uint64_t seq);
// The same of what was staged and is applied now, as far as the have-set has it.
void bb_shard_ack_staged(bb_shard_t *self, const bb_staged_t *staged);
// Our own copy of what our own stream has counts.
void bb_shard_count_own(bb_shard_t *self, const bb_staged_t *staged);
// The node's present process has just become known. What came from it before could not be
// acknowledged, because nobody knew whose it was: it is now.
void bb_shard_ack_all(bb_shard_t *self, uint32_t node);
void bb_shard_acks_send(bb_shard_t *self);
BB_MUST_CHECK bb_error_t bb_shard_on_ack(bb_shard_t *self, uint32_t node,
                                         const bb_message_t *message);

// ---- bb_shard_peer.c, again
void bb_shard_ask(bb_shard_t *self);                         // HAVE_REQUESTs that are due
void bb_shard_pulls_serve(bb_shard_t *self);                 // within the round's budget
int64_t bb_shard_pulls_mono_ns(const bb_shard_t *self);      // when the next may be served
void bb_shard_pull(bb_shard_t *self);                        // what we lack
void bb_shard_pulls_forget(bb_shard_t *self, uint32_t node); // what the node waits for

// ---- bb_shard_read.c
void bb_shard_query(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                    bb_buffer_t *envelope);
void bb_shard_reads_step(bb_shard_t *self);
void bb_shard_read_destroy(bb_shard_t *self, bb_pending_read_t *read);

// ---- bb_shard_session.c
// The dots that a batch got, for its answer; NULL when they are not wanted.
bb_buffer_t *bb_shard_session_dots(const bb_shard_t *self, const bb_message_t *request,
                                   const uint32_t *partitions, const uint64_t *seqs,
                                   uint32_t part_count);
// What of these partitions is visible now and some replica may lack; NULL when it is not wanted.
bb_buffer_t *bb_shard_session_seen(const bb_shard_t *self, const bb_query_t *query);
// What the query must see at least; empty without a session. MESSAGE_CORRUPT and the like: it
// cannot be read.
BB_MUST_CHECK bb_error_t bb_shard_session_wanted(const bb_shard_t *self, const bb_query_t *query,
                                                 bb_session_token_t *session);

// ---- bb_shard_watch.c
typedef struct bb_watch_work bb_watch_work_t;
void bb_shard_watch_step(bb_shard_t *self);
int64_t bb_shard_watch_wake_mono_ns(const bb_shard_t *self);
// It is durable and visible: evaluates what of it is ours to evaluate at once.
void bb_shard_watch_applied(bb_shard_t *self, const bb_staged_t *staged);
// Rows that segment sync brought are about to be staged: writes their events. False: they found no
// room, and the rows must not be staged.
BB_MUST_CHECK bool bb_shard_watch_adopt(bb_shard_t *self, const bb_batch_t *batch);
void bb_shard_watch_ended(bb_shard_t *self, bb_watch_work_t *work, bb_error_t error);
void bb_shard_watch_works_free(bb_shard_t *self); // of writes that never end; before they go

// ---- bb_shard_watch_tell.c
void bb_shard_watch_tell(bb_shard_t *self);
// Is it up, does it count? is_same: the process that was told of our sets.
void bb_shard_watch_peer(bb_shard_t *self, uint32_t node, bool is_same);
BB_MUST_CHECK bb_error_t bb_shard_watch_told(bb_shard_t *self, uint32_t peer_index,
                                             const bb_message_t *message);

// ---- bb_shard_maintain.c
void bb_shard_maintain(bb_shard_t *self);
void bb_shard_settle(bb_shard_t *self, uint64_t ticket, const bb_message_t *message);
void bb_shard_scrub(bb_shard_t *self, uint64_t ticket, const bb_message_t *message);
int64_t bb_shard_maintain_wake_mono_ns(const bb_shard_t *self);

// ---- bb_shard_release.c
void bb_shard_release(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                      bb_buffer_t *envelope);
void bb_shard_release_ended(bb_shard_t *self, bb_pending_release_t *release, bb_error_t error,
                            uint64_t point_count);
void bb_shard_releases_step(bb_shard_t *self);
void bb_shard_release_clear(bb_pending_release_t *release);

// ---- bb_shard_standing.c
// The epoch under which acknowledgements and have-sets go out: ours, or 0 when they do not count.
uint32_t bb_shard_counted_epoch(const bb_shard_t *self);
// Per node: it is up, and says that it counts. Room for BB_NODES_MAX.
void bb_shard_counting(const bb_shard_t *self, bool *is_counting);
// May this node coordinate or serve at the level? False: the reason is in *refusal.
bool bb_shard_may_serve(const bb_shard_t *self, bb_level_t level, const char **refusal);

#endif

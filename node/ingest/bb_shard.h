// SPDX-License-Identifier: Apache-2.0
// bb_shard - one store and the replication of its partitions, as one deterministic machine.
//
// What the store actor runs, and what the simulator runs: the glue between the pure replication
// core (bb_replication.h: dots, levels, acknowledgements, have-sets, pulls, read fences) and the
// store façade (bb_store.h). No sockets, threads, clocks or randomness of its own: time comes in
// with each call, I/O goes through the vfs and kv driver it was opened with, and everything that
// must leave goes through the functions in bb_shard_out_t, which are called synchronously.
// One thread owns it. Does not link CZMQ.
//
// Order that must be kept: persist before promise. Nothing is acknowledged, made visible or put
// into a have-set before the journal sync that covers it (bb_shard_commit).
// Model of the stream that each process start gives: tests/model/streams.pml, stream-per-start.
//
//   client ── WRITE ──▶ coordinator: check, judge times, give dots, stage; send REPLICATE to peers
//                       commit: one sync for all that is staged, apply, count own copy
//   peer   ── REPLICATE ──▶ stage; commit; REPLICATE_ACK names the dots
//   coordinator: level reached for every part ──▶ WRITE_REPLY; deadline ──▶ TIMEOUT "unknown"
#ifndef BB_SHARD_H
#define BB_SHARD_H

#include "cluster-config/bb_topology.h"
#include "node/ingest/bb_rule_engine.h"
#include "node/runtime/bb_buffer.h"
#include "protocol/bb_message.h"
#include "protocol/bb_standing.h"
#include "storage/bb_store.h"

typedef struct bb_shard bb_shard_t;

// One message on its way out; the receiver of the call takes over the references it keeps with
// bb_buffer_keep. chunks and batch may be NULL.
typedef struct {
    bb_buffer_t *envelope;
    bb_buffer_t *chunks; // REPLICATE
    bb_buffer_t *body;   // REPLICATE: batch; RESULT: page
    bool is_repair;      // bulk for a peer that was asked for: it gives way to live chunks
} bb_outbound_t;

// Everything that leaves the shard. `context` is the shell. None of these may call back into the
// shard. Messages to peers may be dropped, delayed, repeated and reordered; answers to a client
// that is gone are dropped by the shell.
typedef struct {
    void *context;
    // bulk: REPLICATE and other large messages; otherwise small ones that must not wait behind
    // them.
    void (*send)(void *context, uint32_t peer_index, bool bulk, const bb_outbound_t *message);
    // `ticket` is what the request came with.
    void (*answer)(void *context, uint64_t ticket, const bb_outbound_t *message);
    // Runs bb_scan_page elsewhere (scan pool) and answers RESULT itself. Takes over the snapshot
    // and keeps the request buffer. `missing` (copied by the callee) are partitions this page
    // cannot serve: the snapshot was taken for the request without them (bb_shard_query_exclude).
    // `session` (NULL: not wanted; kept by the callee) goes into the RESULT as it is.
    void (*scan)(void *context, uint64_t ticket, uint64_t request_id, bb_snapshot_t *snapshot,
                 bb_buffer_t *request, const bb_missing_t *missing, uint32_t missing_count,
                 bb_buffer_t *session, int64_t deadline_mono_ns);
    // Runs bb_store_job_run elsewhere; its outcome returns by bb_shard_job_done.
    void (*job)(void *context, bb_store_job_t *job);
    // Only measures: how long a sync took, when an answer left. NULL: not measured.
    int64_t (*clock_mono_ns)(void *context);
} bb_shard_out_t;

typedef struct {
    bb_store_options_t store;
    const bb_topology_t *topology;   // borrowed; the epoch and all replicas
    bb_stream_t stream;              // this process start: 128 random bits, never used before
    uint64_t in_flight_bytes_max;    // open batches of clients not yet answered; past it: BUSY
    uint64_t peer_unacked_bytes_max; // per peer; past it chunks are not sent: the peer will pull
    uint64_t dc_link_bytes_per_s;    // to each other data centre, of this store; 0: no cap
    uint64_t repair_bytes_per_s;     // given and taken, each, besides a quarter of the live bytes,
                                     // while more is written or waits (bb_pace.h); 0: no bound
    int64_t have_report_interval_ns; // how often peers' have-sets are asked for; 0 = 1 s
    uint64_t journal_budget_bytes;   // past it sealed journal files go, oldest first, though a
                                     // replica lacks them: it will need segment sync; 0 = none
    int64_t flush_age_ns_max;        // seal the head at least this often; 0 = 10 min
    bb_standing_t standing;          // until something else is said
    bb_rule_engine_t rules; // what looks at chunks before they are forgotten; cleared = nothing
    bb_shard_out_t out;
#ifdef BB_PLANTED
    uint32_t planted; // bb_planted_t; only the simulator is built with it
#endif
} bb_shard_options_t;

BB_MUST_CHECK bb_error_t bb_shard_open(const bb_shard_options_t *options, bb_store_report_t *report,
                                       bb_shard_t **shard, bb_fault_t *fault);
// The process ends in good order (bb_store_sign_off); before _close.
void bb_shard_sign_off(bb_shard_t *self);
void bb_shard_close(bb_shard_t **self); // no job may be out

// Time of one call. mono never goes back; wall is this node's clock; skewed: the mesh found our
// clock more than 60 s off its peers' median, so this node must not coordinate.
typedef struct {
    int64_t mono_ns;
    int64_t wall_ns;
    bool is_skewed;
} bb_shard_time_t;

// A client's request: `ticket` comes back with the answer; message is decoded from `envelope`;
// batch is the WRITE payload (NULL otherwise). References stay the caller's. Kinds: WRITE, QUERY,
// SETTLE, RELEASE, SCRUB. Everything else and every error is answered, never dropped.
void bb_shard_client(bb_shard_t *self, bb_shard_time_t time, uint64_t ticket,
                     const bb_message_t *message, bb_buffer_t *envelope, bb_buffer_t *batch);
// A message of an authenticated peer. Kinds: REPLICATE, REPLICATE_ACK, HAVE_REQUEST, HAVE, PULL,
// PULL_DONE, SYNC_ASK, SYNC_ANSWER. A bad one is counted and dropped.
void bb_shard_peer(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index,
                   const bb_message_t *message, bb_buffer_t *chunks, bb_buffer_t *batch);
// The failure detector's verdict, or a new incarnation of the peer. store_count: stores of that
// node, in [1, BB_STORES_MAX]; need not be ours.
void bb_shard_peer_state(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index, bool is_up,
                         const bb_stream_t *incarnation, uint32_t store_count);
// Whether this node counts as a replica (bb_standing.h); COUNTING until something else was said.
// While it does not, what it tells peers is marked so that nobody counts it: REPLICATE_ACK and HAVE
// go out under epoch 0, which is nobody's. Writes and reads above `one` are refused as NOT_COUNTING
// (all of them when it is fenced); writes that wait end as TIMEOUT, unknown, because their own copy
// has just lost its weight. From when it counts, it acknowledges again what it has.
void bb_shard_set_standing(bb_shard_t *self, bb_shard_time_t time, bb_standing_t standing);
bb_standing_t bb_shard_standing(const bb_shard_t *self);
// A node whose disk was lost may count again as far as this store goes: every partition has taken
// over, by segment sync (bb_shard_sync.h), all that a majority of the other replicas had, of all
// and of those in its data centre, when they were asked since the standing became REBUILDING: what
// have-sets say, and by comparing windows what they say nothing of (forgotten streams). A partition
// without other replicas has nothing to wait for.
bool bb_shard_is_rebuilt(const bb_shard_t *self);
// Whether the peer counts, as it says of itself; true until something else was said. Only spares
// waiting for what cannot come: nothing is counted by it.
void bb_shard_peer_standing(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index,
                            bool is_counting);
// The route score's verdict (bb_route_score.h): a slow peer passes no chunks on if another can.
void bb_shard_peer_slow(bb_shard_t *self, uint32_t peer_index, bool is_slow);
// The streams that the node has heard to be forgotten (protocol/bb_forgotten.h), all of them:
// before it is told that it counts, and when there are more. Chunks of them that no other replica
// is known to hold get dots of our stream first.
void bb_shard_forget(bb_shard_t *self, bb_shard_time_t time, const bb_forgotten_t *forgotten);
// The streams of this node's earlier processes may be forgotten as far as this store goes
// (bb_forget.h); what was true once stays so.
bool bb_shard_is_settled(const bb_shard_t *self);
// The peer's heartbeats have another mark of its have-sets (bb_have_mark.h).
void bb_shard_peer_mark(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index, uint64_t mark);
// Grows when have-sets change, and what the rules have seen of them (bb_have_t.sealed_below says
// that of dead streams): of this store, for the own mark.
uint64_t bb_shard_have_version(const bb_shard_t *self);
void bb_shard_job_done(bb_shard_t *self, bb_shard_time_t time, bb_store_job_t *job,
                       bb_error_t error);

// Other retention and rollups from now on; keeps a reference.
void bb_shard_policy(bb_shard_t *self, bb_shard_time_t time, bb_policy_t *policy);

// Makes everything staged durable, applies it, acknowledges. Call when the mailbox is empty or
// enough is staged. Then deadlines, pulls, reports, flushes that are due.
void bb_shard_commit(bb_shard_t *self, bb_shard_time_t time);
uint64_t bb_shard_staged_bytes(const bb_shard_t *self);
// A client's write or a peer's live chunk, which is given to the shard now, had waited for so long
// since it was received: repair gives way to what waits (bb_pace.h).
void bb_shard_waited(bb_shard_t *self, int64_t now_mono_ns, int64_t waited_ns);
// From when on a client's WRITE should be given to the shard: now_mono_ns = at once (also when it
// is fenced or drains, and refuses it), a later moment, or BB_NEVER_NS = when a flush has ended;
// before that it would be answered BUSY. Whoever has one keeps it back for so long (bb_pace.h).
int64_t bb_shard_take_mono_ns(const bb_shard_t *self, int64_t now_mono_ns);
// Chunks of peers would be dropped until a flush ends; who keeps them back spares the peers'
// waiting until they are pulled.
bool bb_shard_is_full(const bb_shard_t *self);
// Next time commit must be called though nothing arrives; BB_NEVER_NS if none.
int64_t bb_shard_wake_mono_ns(const bb_shard_t *self);
// Stop taking client writes; true from _is_drained when nothing of a client waits any more.
void bb_shard_drain(bb_shard_t *self, bb_shard_time_t time);
bool bb_shard_is_drained(const bb_shard_t *self);

typedef struct {
    bb_store_stats_t store;
    uint64_t scrub_bytes, scrub_findings, scrub_oldest_age_ns, barred_windows, damage_count;
    uint64_t points_accepted, frames_accepted, batches_accepted, points_rejected,
        points_quarantined;
    uint64_t promises; // answers and acknowledgements that somebody may count on
    uint64_t writes_acked, writes_busy, writes_timeout, writes_unavailable, writes_disk_full;
    uint64_t chunks_replicated_in, chunks_replicated_out, chunks_pulled, chunks_duplicate;
    uint64_t chunks_dropped_full; // messages of peers that came while the head or disk was full
    uint64_t repair_bytes_given, repair_bytes_taken; // pulls and segment sync
    uint64_t repairs_put_off;    // looks at which a pull had to wait, to be sent or to be served
    bool is_pressed;             // live batches wait: repair is bounded
    uint64_t chunks_held_by_cap; // parts not sent to another data centre at once: it pulls them
    uint64_t batches_forwarded;  // for coordinators of other data centres
    uint64_t relays_passed_by;   // copies sent again because a relay was silent
    uint64_t dc_live_bytes_out[BB_DCS_MAX], dc_repair_bytes_out[BB_DCS_MAX];
    // Chunks held here that a majority of the data centre's replicas is not known to hold, and the
    // age of the oldest of them that this process start accepted.
    uint64_t dc_lag_chunks[BB_DCS_MAX], dc_lag_ns[BB_DCS_MAX];
    uint64_t streams_dead;      // of store.streams: not of the present process of a node we hear of
    uint64_t streams_forgotten; // counted in each partition
    uint64_t chunks_reoriginated; // of them, that got dots of our stream
    uint64_t chunks_dead;         // of streams that are forgotten or ended: not taken
    uint64_t chunks_contradicted; // a dot came again with another content: refused
    uint64_t peer_messages_bad, journal_syncs, journal_sync_ns_sum, journal_sync_bytes;
    uint64_t fences_waited, fences_timeout;
    uint64_t fences_hedged, fences_hedged_won; // few were asked, then all; that was faster
    uint64_t watch_chunks, watch_events;       // evaluated here
    uint64_t watch_adopted, watch_failures;    // batches of events: of segment sync; lost
    uint64_t have_bytes, have_ns; // have-sets: sent and asked for; time for answers and questions
    uint64_t sessions_waited;     // of fences_waited: reads at `one` that lacked what they must see
    uint64_t unsealed_chunks;     // applied and not yet in segments
    uint64_t
        untrimmed_chunks; // 0: no sealed journal file is left; else what peers still lack, >= 1
    uint64_t
        ack_latency_buckets[24]; // acknowledged writes by log2 of microseconds, first is < 1 us
    uint64_t ack_latency_ns_sum;
    // Segment sync (bb_segment_sync.h): sessions that ended and that began again, windows compared,
    // bytes fetched, damaged segments replaced; partitions that wait to be adopted or repaired.
    uint64_t journal_let_go_bytes; // past the budget of the journal
    uint64_t sync_sessions, sync_failed, sync_windows, sync_repaired, sync_left;
    uint64_t sync_bytes, sync_repair_bytes; // those of repairs are among the others
    // Of rollups: bytes of results among them; pieces that we had otherwise, and which of the two
    // was right nobody can tell any more (bb_rollup_set_merge_other says which stayed).
    uint64_t sync_result_bytes, sync_results_different;
    uint32_t under_replicated, unequal; // of this shard's partitions (bb_shortfall.h)
    bool is_caught_up;                  // lacks nothing that it knows to exist
    bool is_fenced;
    // How soon nodes acknowledge chunks of ours, sums since the start (bb_replication_acks), and
    // how old the oldest is that they have not acknowledged; self included.
    uint64_t acks_of[BB_NODES_MAX], ack_ns_of[BB_NODES_MAX];
    int64_t waiting_ns_of[BB_NODES_MAX];
    uint64_t lag_chunks[BB_NODES_MAX]; // per node of the topology, self included: chunks it lacks
} bb_shard_stats_t;
void bb_shard_stats(const bb_shard_t *self, bb_shard_stats_t *stats);
// The rules have seen everything that is durable here, as far as this node knows.
bool bb_shard_is_watched(const bb_shard_t *self);

// Takes the missing partitions (ascending) out of a query, as the shard did before it took the
// snapshot: whoever runs bb_scan_page does the same. `room`: query->partition_count entries, which
// must outlive the query's use.
void bb_shard_query_exclude(bb_query_t *query, const bb_missing_t *missing, uint32_t missing_count,
                            uint32_t *room);

#ifdef BB_PLANTED
// Bugs that can be switched on in the simulator, to prove that its checkers see them.
typedef enum {
    BB_PLANTED_NONE,
    BB_PLANTED_ACK_BEFORE_SYNC,        // the coordinator counts its own copy when it is staged
    BB_PLANTED_COUNT_UNSYNCED_REPLICA, // a replica acknowledges what it has not synced
    BB_PLANTED_CACHED_FENCE,           // a quorum read is satisfied by older have-sets
    BB_PLANTED_SILENT_PARTIAL,         // partitions that a read lacks are not named
    BB_PLANTED_TRIM_EARLY,             // the journal forgets what a replica still lacks
    BB_PLANTED_FORGET_DOT,             // a pulled batch is noted without its first frames
    BB_PLANTED_STILL_CLOCK,            // floors and rollups are never told the time
    BB_PLANTED_SWAPPED_EXTREMES,       // minima and maxima of answers are exchanged on their way
    BB_PLANTED_ROUNDED_SUM,            // sums of answers are a little too large
    BB_PLANTED_LOCAL_FENCE,            // reads at any quorum ask their own data centre only
    BB_PLANTED_LOCAL_LEVEL,            // writes at any quorum count their own data centre only
    BB_PLANTED_ADOPT_LATE,             // segment sync adopts what its sources have at its end
    BB_PLANTED_STALE_SOURCE,           // segment sync compares with whoever is there
    BB_PLANTED_REST_UNTOLD,            // have-sets are told by the ends of streams only
    BB_PLANTED_BOOT_NOT_CHECKED,       // a node counts from its start, whatever its disk forgot
    BB_PLANTED_COUNT_BEFORE_REBUILT,   // a node whose disk forgot something counts at once
    BB_PLANTED_SESSION_IGNORED,        // reads do not wait for what their session has seen
    BB_PLANTED_ARRIVAL_ORDER,          // of two versions that which came last stays
    BB_PLANTED_DELETE_RESURRECTS,      // points of peers that were deleted before count as new
    BB_PLANTED_RETRY_NOT_IDEMPOTENT,   // a delete that is repeated draws another generation
    BB_PLANTED_STREAM_RESUMED,         // a start goes on with the stream of the one before
    BB_PLANTED_WATCH_EARLY,            // chunks are watched before their events are durable
    BB_PLANTED_FORGET_EARLY,           // streams are forgotten that somebody lacks
    BB_PLANTED_JUDGE_AT_REPLICA,       // each replica judges the times of a chunk itself
    BB_PLANTED_NO_EPOCH_FENCE,         // what was said under another epoch counts
    BB_PLANTED_HOSTILE_BELIEVED,     // chunks of peers under dots that we have not given are taken
    BB_PLANTED_TWIN_NOT_FENCED,      // the older of two processes of a node goes on
    BB_PLANTED_RETENTION_RESURRECTS, // what comes in is not clipped at retention's floors
    BB_PLANTED_ROLLUPS_LEFT_OUT,     // segment sync leaves out results of rollups
    BB_PLANTED_BUSY_WAIT,            // a store whose job failed is awake until it tries again
} bb_planted_t;
#endif

#endif

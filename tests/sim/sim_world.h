// SPDX-License-Identifier: Apache-2.0
// sim_world - a whole cluster, its clients, its network and its disks in one thread.
//
// Everything that happens follows from the seed: time is a number, each source of chance is a
// stream of its own (so that a change to the workload does not shift the faults), and nothing
// looks at addresses, hash order or the machine's clock.
//
//   clients ── requests ──▶ net ──▶ node: bb_shard over a simulated disk, bb_detector
//      ▲                     ▲▼                 │
//      └── answers ◀─────── net ◀───────────────┘      faults: crash, halt, pause, cut, skew, disk
//               └──▶ checker: promises at the moment they are made, answers against promises
//
// Phases: faults -> faults stop, clients end -> convergence within a budget -> checks.
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "node/control/bb_control.h"
#include "node/control/bb_detector.h"
#include "node/control/bb_route_feed.h"
#include "node/ingest/bb_shard.h"
#include "protocol/bb_hedge.h"
#include "protocol/bb_session_token.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_options.h"
#include "tests/sim/sim_storm.h"
#include "tests/sim/sim_totals.h"
#include "tests/sim/sim_trace.h"
#include "tests/support/bb_checker.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"

// 2026-01-10T12:00:00Z: where wall clocks begin.
#define SIM_WALL_NS_FIRST INT64_C(1768046400000000000)

// The largest batch of a client here, in memory; and what a head may take beyond its limit before
// it says that it is full: what one group commit brings.
#define SIM_BATCH_BYTES_MAX (64u << 10)
#define SIM_HEAD_BYTES_OVER (256u << 10)

#define SIM_HEARTBEAT_NS (100 * BB_NS_PER_MS) // as in production

typedef struct sim_world sim_world_t;
typedef struct sim_node sim_node_t;

// A scan that waits for the pool.
typedef struct sim_scan {
    struct sim_scan *next;
    uint64_t number, ticket, request_id;
    bb_snapshot_t *snapshot;
    bb_buffer_t *request;
    bb_missing_t *missing;
    uint32_t missing_count;
    bb_buffer_t *session;
    int64_t deadline_mono_ns;
} sim_scan_t;

// One store of a node.
typedef struct {
    sim_node_t *node;
    uint32_t index;
    bb_shard_t *shard;     // NULL: down
    int64_t commit_due_ns; // BB_NEVER_NS: none planned
    bb_store_job_t *job;
    bool job_has_run;
    bb_error_t job_error;
    int64_t synced_ns;    // when its journal was synced last
    uint64_t sync_ns_sum; // how long its syncs took, in this life
    sim_scan_t *scans;
    uint64_t scan_number;
    bb_buffer_t *direct_envelope, *direct_body; // answer to what the checks asked
} sim_store_t;

// How a node is slow, which is up all the time.
typedef enum { SIM_SLOW_NONE, SIM_SLOW_DISK, SIM_SLOW_CPU, SIM_LOSSY_LINK } sim_slow_t;

typedef struct {
    bb_route_score_t *score; // NULL: the node is down
    bb_route_feed_t feeds[SIM_STORES_MAX];
    int64_t feed_due_ns; // by the node's monotonic clock
    sim_slow_t fault;
    uint32_t slow_counts[SIM_NODES_MAX], well_counts[SIM_NODES_MAX]; // verdicts about each
} sim_route_t;

struct sim_node {
    sim_world_t *world;
    uint32_t index, dc;
    uint32_t slot; // of its process: the index, or SIM_TWIN_SLOT
    bb_sim_disk_t *disk;
    bb_sim_disk_t *old_disk; // a copy of an earlier moment; NULL: none
    uint64_t old_number;     // of its node's start (bb_boot.h); 0: unknown
    bool is_damaged;         // bits were flipped: answers may name what they lack
    bool is_given_up;        // so that it does not open, and nobody could bring it back: stays down
    bb_topology_t *topology;
    uint32_t store_count;
    sim_store_t stores[SIM_STORES_MAX];
    bool is_up;
    bb_detector_t *detector;
    sim_route_t route;
    bb_stream_t met[SIM_NODES_MAX]; // processes of the peers that it has seen up
    bb_control_t *control;
    bb_standing_t standing; // as the stores were told
    bool is_barred[SIM_NODES_MAX];
    bb_forgotten_t forgotten; // as its stores were told
    uint64_t forgotten_version;
    bool is_settled;                    // as all of them said
    uint64_t have_marks[SIM_NODES_MAX]; // of the others, as last heard in this life
    uint64_t promises;
    int64_t control_due_ns; // BB_NEVER_NS: no step is planned
    bb_stream_t stream;
    uint32_t life;      // counts starts
    bool is_rebuilding; // its disk was lost, and it has not counted since
    bool was_told_to_rebuild;
    bool is_stop_planned; // fenced or halted: a STOP is on its way
    bb_killpoint_t killpoint;
    bb_killpoint_point_t armed; // where it dies; BB_KILLPOINT_COUNT: nowhere
    uint32_t armed_passes;      // at the nth from now on
    bool is_killed;             // it has: its process ends, or its machine
    bool is_skewed;
    int64_t mono_base_ns;   // this node's monotonic clock is the simulated time plus this
    int64_t wall_offset_ns; // how wrong its wall clock is
    int64_t paused_until_ns;
    bb_have_set_t have[SIM_PARTITIONS_MAX];                    // durable at the last stop
    bb_have_set_t lost[SIM_PARTITIONS_MAX];                    // with its last disk
    uint64_t last_seq[SIM_PARTITIONS_MAX];                     // of this life's own dots
    uint32_t epoch;                                            // of its configuration
    bb_have_set_t held_at[SIM_EPOCHS_MAX][SIM_PARTITIONS_MAX]; // when it left that epoch
};

typedef struct {
    uint32_t partition;
    uint64_t seq;
} sim_dot_t;

// One request on its way: a batch sent to one node, or one page of a query.
typedef struct {
    uint32_t client, node, store, life;
    uint64_t serial;       // of its operation
    bool is_open;          // the client still waits
    bb_stream_t stream;    // of the coordinator when it took the batch
    uint32_t dot_count;    // WRITE: the dots it got; 0: not taken
    sim_dot_t *dots;       // owned
    uint32_t part_count;   // what was asked
    uint32_t epoch;        // of the coordinator
    int64_t judge_wall_ns; // the coordinator's clock when it took the batch
} sim_attempt_t;

typedef struct {
    bb_checker_key_t key;
    uint32_t type;
    uint64_t bits;
} sim_row_t;

// What a rule has noticed: a point of the metric of its events.
typedef struct {
    uint32_t battery;
    int64_t time_wall_ns;
    uint32_t type;
    uint64_t bits;
} sim_watch_event_t;

typedef struct {
    bool is_used, is_write;
    uint64_t serial;
    bb_level_t level;
    uint32_t attempts_left;
    int64_t timeout_ns;
    // WRITE
    bb_buffer_t *buffer;
    bb_batch_t batch;
    bool is_delete;   // the batch holds markers
    uint32_t *points; // per value of the batch: number at the checker
    // The same by verdict, normal and quarantined: of values whose time is near the limit they
    // differ, and `points` has that of the last attempt that was answered.
    uint32_t (*judged_points)[2];
    // QUERY
    uint32_t node; // pages of one answer come from one node
    uint32_t partitions[SIM_PARTITIONS_MAX];
    uint32_t partition_count;
    bool is_damaged; // a partition was named as damaged: the checks' own questions only
    bool is_missing[SIM_PARTITIONS_MAX], is_asked[SIM_PARTITIONS_MAX];
    int64_t from_wall_ns, to_wall_ns;
    uint32_t battery; // UINT32_MAX: all
    uint32_t metric;  // UINT32_MAX: all
    bb_query_mode_t mode;
    bool is_session; // must see what the client has written and seen
    uint32_t page_bytes_max;
    uint64_t moment;
    uint8_t cursor[BB_CURSOR_BYTES_MAX];
    size_t cursor_length;
    sim_row_t *rows;
    uint32_t row_count, row_capacity;
    sim_watch_event_t *events; // apart from the rows
    uint32_t event_count, event_capacity;
} sim_op_t;

#define SIM_HEDGE_NONE UINT64_MAX

typedef struct {
    uint32_t op;                // UINT32_MAX: idle
    uint64_t attempt;           // the one it waits for
    uint64_t hedge;             // the same page asked of a second node; SIM_HEDGE_NONE
    int64_t asked_ns;           // when the first of them was sent
    uint32_t hedge_kind;        // of latencies; BB_HEDGE_KIND_NONE: this one says nothing
    bb_session_token_t session; // what it has written and seen, if it has one
    uint64_t turn;              // counts its operations
} sim_client_t;

// What happened, for coverage.
#define SIM_COUNTERS(X)                                                                            \
    X(starts)                                                                                      \
    X(open_failures)                                                                               \
    X(power_losses)                                                                                \
    X(process_deaths)                                                                              \
    X(halts)                                                                                       \
    X(fences)                                                                                      \
    X(pauses)                                                                                      \
    X(cuts)                                                                                        \
    X(clock_jumps)                                                                                 \
    X(disk_faults)                                                                                 \
    X(disk_full)                                                                                   \
    X(detector_ups)                                                                                \
    X(detector_downs)                                                                              \
    X(detector_new_processes)                                                                      \
    X(messages)                                                                                    \
    X(messages_lost)                                                                               \
    X(messages_repeated)                                                                           \
    X(messages_cut)                                                                                \
    X(messages_split)                                                                              \
    X(writes_acked_one)                                                                            \
    X(writes_acked_local_quorum)                                                                   \
    X(writes_acked_quorum)                                                                         \
    X(writes_acked_each_quorum)                                                                    \
    X(writes_acked_all)                                                                            \
    X(deletes_acked)                                                                               \
    X(points_deleted_before)                                                                       \
    X(writes_refused)                                                                              \
    X(writes_unknown)                                                                              \
    X(points_rejected)                                                                             \
    X(reads_complete)                                                                              \
    X(reads_partial)                                                                               \
    X(reads_failed)                                                                                \
    X(hedges)                                                                                      \
    X(hedges_won)                                                                                  \
    X(hedges_not_whole)                                                                            \
    X(rows_read)                                                                                   \
    X(jobs)                                                                                        \
    X(scrubbed_segments)                                                                           \
    X(retired_while_away)                                                                          \
    X(retired_windows)                                                                             \
    X(lost_after_retention)                                                                        \
    X(results_taken)                                                                               \
    X(released_points)                                                                             \
    X(settles)                                                                                     \
    X(fingerprints_compared)                                                                       \
    X(pulled_chunks)                                                                               \
    X(fault_power_loss)                                                                            \
    X(fault_power_loss_all)                                                                        \
    X(fault_halt)                                                                                  \
    X(fault_process_death)                                                                         \
    X(fault_pause)                                                                                 \
    X(fault_cut_pair)                                                                              \
    X(fault_cut_node)                                                                              \
    X(fault_cut_halves)                                                                            \
    X(fault_clock)                                                                                 \
    X(fault_sync_fails)                                                                            \
    X(fault_write_fails)                                                                           \
    X(fault_commit_fails)                                                                          \
    X(fault_call_fails)                                                                            \
    X(fault_disk_full)                                                                             \
    X(fault_disk_lost)                                                                             \
    X(fault_disk_set_back)                                                                         \
    X(hostile_gaps)                                                                                \
    X(hostile_repeats)                                                                             \
    X(hostile_forged)                                                                              \
    X(hostile_forgotten)                                                                           \
    X(hostile_acks_unsent)                                                                         \
    X(hostile_acks_absurd)                                                                         \
    X(hostile_epochs)                                                                              \
    X(hostile_wide_haves)                                                                          \
    X(hostile_oversize)                                                                            \
    X(hostile_pulls)                                                                               \
    X(hostile_pulls_done)                                                                          \
    X(hostile_junk)                                                                                \
    X(hostile_silences)                                                                            \
    X(hostile_shrunk_haves)                                                                        \
    X(hostile_flips)                                                                               \
    X(hostile_refused)                                                                             \
    X(hostile_contradicted)                                                                        \
    X(hostile_believed)                                                                            \
    X(fault_twin)                                                                                  \
    X(twin_requests)                                                                               \
    X(twin_reconnects)                                                                             \
    X(twin_writes)                                                                                 \
    X(twin_fenced)                                                                                 \
    X(twin_fenced_original)                                                                        \
    X(twin_ended)                                                                                  \
    X(epochs)                                                                                      \
    X(rebuilds)                                                                                    \
    X(sync_sessions)                                                                               \
    X(fault_bad_network)                                                                           \
    X(fault_copy)                                                                                  \
    X(fault_slow_disk)                                                                             \
    X(fault_slow_cpu)                                                                              \
    X(fault_lossy_link)                                                                            \
    X(routes_slow)                                                                                 \
    X(routes_well)                                                                                 \
    X(disks_formatted)                                                                             \
    X(disks_restored)                                                                              \
    X(flips_in_journals)                                                                           \
    X(flips_in_maps)                                                                               \
    X(damage_named_by_journal)                                                                     \
    X(damage_named_by_meta)                                                                        \
    X(damage_named_by_scan)                                                                        \
    X(damage_refused_to_open)                                                                      \
    X(partitions_named_damaged)                                                                    \
    X(fault_kill)                                                                                  \
    X(standings_counting)                                                                          \
    X(answers_not_counting)                                                                        \
    X(answers_busy)                                                                                \
    X(answers_timeout)                                                                             \
    X(answers_unavailable)                                                                         \
    X(answers_disk_full)                                                                           \
    X(answers_fenced)                                                                              \
    X(answers_not_replica)                                                                         \
    X(missing_unavailable)                                                                         \
    X(missing_timeout)                                                                             \
    X(missing_behind)                                                                              \
    X(missing_not_replica)                                                                         \
    X(chunks_duplicate)                                                                            \
    X(chunks_dropped_full)                                                                         \
    X(chunks_held_by_cap)                                                                          \
    X(repairs_put_off)                                                                             \
    X(batches_forwarded)                                                                           \
    X(relays_passed_by)                                                                            \
    X(fences_waited)                                                                               \
    X(fences_timeout)                                                                              \
    X(fences_hedged)                                                                               \
    X(fences_hedged_won)                                                                           \
    X(watch_chunks)                                                                                \
    X(watch_events)                                                                                \
    X(watch_adopted)                                                                               \
    X(watch_failures)                                                                              \
    X(session_reads)                                                                               \
    X(sessions_waited)                                                                             \
    X(streams_forgotten)                                                                           \
    X(chunks_reoriginated)                                                                         \
    X(chunks_dead)                                                                                 \
    X(stale_processes)                                                                             \
    X(peer_messages_bad)                                                                           \
    X(skew_refusals)

typedef struct {
#define SIM_COUNTER_FIELD(name) uint64_t name;
    SIM_COUNTERS(SIM_COUNTER_FIELD)
#undef SIM_COUNTER_FIELD
    uint64_t kills[BB_KILLPOINT_COUNT]; // deaths exactly there
} sim_counters_t;

typedef struct {
    uint32_t cut_count[SIM_NODES_MAX][SIM_NODES_MAX]; // faults that cut from -> to now
    int64_t last_ns[SIM_NODES_MAX][SIM_NODES_MAX][2]; // in-order links: latest arrival
    uint32_t loss_per_mille, repeat_per_mille;
    int64_t delay_mean_ns;
} sim_net_t;

// A second process of a node (sim_twin.c).
#define SIM_TWIN_SLOT SIM_NODES_MAX
typedef struct {
    sim_node_t *process;   // NULL: it does not run yet, or no more
    bb_sim_disk_t *copy;   // what it will start from; NULL: none
    uint32_t of;           // the node
    uint64_t number;       // of the start that the copy is of (bb_boot.h)
    uint32_t reaches;      // bit per node: messages of it to `of` go to the second process
    int64_t both_since_ns; // both are told that they count; BB_NEVER_NS: not both
    bool is_alone;         // the original is held back until it is over
    bool is_over;          // it was there, and is no more
} sim_twin_t;

// A node that lies (sim_hostile.c).
#define SIM_HOSTILE_SEEN 16u
typedef struct {
    uint32_t node;
    uint32_t habits;    // what it does to its own messages: drawn with each fault; 0: nothing yet
    bb_random_t random; // for that
    uint32_t seen_count;
    bb_buffer_t *seen_chunks[SIM_HOSTILE_SEEN], *seen_batches[SIM_HOSTILE_SEEN];
} sim_hostile_t;
typedef enum { SIM_HOSTILE_HONEST, SIM_HOSTILE_SILENT, SIM_HOSTILE_LIES } sim_hostile_fate_t;

// A fault that ends later.
typedef struct {
    uint32_t cuts[2 * SIM_NODES_MAX * SIM_NODES_MAX]; // from * SIM_NODES_MAX + to
    uint32_t cut_count;
    uint32_t full_node; // UINT32_MAX: none
} sim_fault_t;

struct sim_world {
    sim_options_t options;
    sim_trace_t trace;
    sim_events_t *events;
    bb_random_t random_net, random_disk, random_clock, random_work, random_fault, random_stream;
    uint8_t placement_key[16];
    sim_node_t nodes[SIM_NODES_MAX];
    sim_net_t net;
    sim_client_t clients[SIM_CLIENTS_MAX];
    uint32_t probe_node, probe_count; // reads of this node come first: sim_loss.c
    bb_hedge_t hedge;                 // of all clients: they are threads of one program
    sim_op_t ops[SIM_CLIENTS_MAX];    // one per client, used again
    sim_attempt_t *attempts;
    uint64_t attempt_count, attempt_capacity;
    sim_fault_t *faults;
    uint32_t fault_count, fault_capacity;
    uint64_t fault_number; // counts all that were drawn
    sim_twin_t twin;
    sim_hostile_t hostile;
    bb_checker_t *checker;
    bb_policy_t *policy; // NULL: none
    uint64_t op_count;
    uint64_t moment; // counts promises and the beginnings of reads
    bool is_calm;    // faults have stopped
    sim_storm_t storm;
    uint32_t epoch;          // the newest
    uint32_t late_partition; // has a point that all but one replica met too late; UINT32_MAX: none
    bool is_released;        // points of the future are normal by now
    int64_t calm_since_ns;
    int64_t floor_wall_ns;                    // of SIM_METRIC_PASSED; 0: nothing is too old yet
    sim_totals_t *totals[SIM_PARTITIONS_MAX]; // before that; NULL: not asked yet. Owned
    uint32_t generations[SIM_BATTERIES_MAX];  // the largest that any client has sent
    uint32_t battery_partition[SIM_BATTERIES_MAX];
    sim_counters_t counters;
};

// ---- sim_world.c
// lines, picture: NULL, or where to tell what happens; borrowed.
sim_world_t *sim_world_new(const sim_options_t *options, FILE *lines, sim_picture_t *picture);
void sim_world_destroy(sim_world_t **self);
void sim_world_run(sim_world_t *self); // to the end; findings are in the trace
bool sim_world_run_until(sim_world_t *self, int64_t time_ns); // false: a finding, or out of bounds
int64_t sim_world_exponential(bb_random_t *random, int64_t mean_ns);
// A source of chance of its own for thing `number` of a kind: what it draws does not depend on what
// happened before, so that a run from which something was taken away stays much the same.
bb_random_t sim_world_stream(const sim_world_t *self, uint32_t kind, uint64_t number);
enum {
    SIM_STREAM_OPERATION = 1,
    SIM_STREAM_THINK,
    SIM_STREAM_FAULT,
    SIM_STREAM_GAP,
    SIM_STREAM_RETIRE,
    SIM_STREAM_DAMAGE,
    SIM_STREAM_LOSS,
    SIM_STREAM_ROUTE,
    SIM_STREAM_EPOCH,
    SIM_STREAM_TWIN,
    SIM_STREAM_HOSTILE
};
// Operation `turn` of a client, over all clients.
static inline uint64_t sim_operation_number(uint32_t client, uint64_t turn)
{
    return turn * SIM_CLIENTS_MAX + client;
}
static inline int64_t sim_world_now_ns(const sim_world_t *self)
{
    return sim_events_now_ns(self->events);
}
void sim_world_build_topology(sim_world_t *self, uint32_t node); // of its epoch; it is down
bool sim_world_is_replica(const sim_world_t *self, uint32_t partition, uint32_t node);

// Something happened to a process of a node; too often within a second is a finding.
void sim_world_note(sim_node_t *node, sim_storm_kind_t kind, uint32_t store);

// ---- sim_net.c: delay, loss, repetition, reordering, cuts
// is_late: a repetition may come seconds later, out of another life of the sender. Not so for
// heartbeats, which die with their connection.
void sim_net_to_peer(sim_world_t *self, uint32_t from, uint32_t to, bool bulk, bool is_late,
                     const bb_outbound_t *message);
void sim_net_to_node(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message);
void sim_net_to_client(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message);
bool sim_net_is_cut(const sim_world_t *self, uint32_t from, uint32_t to);

// ---- sim_node.c: some stores on a disk, their heartbeats and what comes from peers
void sim_node_init(sim_world_t *self, uint32_t index);
// A second process of a node, on a disk that is taken over; it has not started. The topology stays
// the node's.
void sim_node_init_twin(sim_node_t *node, const sim_node_t *of, uint32_t slot, bb_sim_disk_t *disk);
void sim_node_destroy(sim_node_t *node);
void sim_node_start(sim_node_t *node);
// is_power: what was not synced may be gone; otherwise only the process ends.
void sim_node_stop(sim_node_t *node, bool is_power, int64_t back_after_ns);
// Dies at the nth pass of the point from now on.
void sim_node_arm(sim_node_t *node, bb_killpoint_point_t point, uint32_t nth);
void sim_node_event(sim_node_t *node, sim_event_t *event);
bb_shard_time_t sim_node_time(const sim_node_t *node);
// Durable here as far as the node knows: of the running shard, or of its last moment.
const bb_have_set_t *sim_node_have(const sim_node_t *node, uint32_t partition);
bool sim_node_is_fenced(const sim_node_t *node);
// Sees the peer up, as the process that it is now.
bool sim_node_knows(const sim_node_t *node, const sim_node_t *peer);
sim_store_t *sim_node_store(sim_node_t *node, uint32_t partition);

// ---- sim_loss.c: disks that are lost, and nodes that count for nothing until they were rebuilt
// With fault `number`, at times; only where no promise needs that disk.
void sim_loss_event(sim_world_t *self, uint64_t number);
bool sim_loss_was(const sim_world_t *self); // a disk was lost, set back or damaged
void sim_loss_look(sim_node_t *node);       // after each call of it: does it need segment sync?
void sim_loss_found(sim_node_t *node);      // its disk has: it must rebuild
void sim_loss_healed(sim_node_t *node);     // it counts again

// ---- sim_twin.c: a copy of a node's disk that runs beside the original
void sim_twin_open(sim_world_t *self);
void sim_twin_destroy(sim_world_t *self);
void sim_twin_event(sim_world_t *self, uint64_t number); // with fault `number`, at times
bool sim_twin_is_there(const sim_world_t *self);         // from its first start to its end
// NULL: what was on its way to a copy that is no more.
sim_node_t *sim_twin_process(sim_world_t *self, uint32_t slot);
// Which process gets what `from` sends to node `to`, or a client's attempt.
uint32_t sim_twin_reached(const sim_world_t *self, uint32_t from, uint32_t to);
uint32_t sim_twin_asked(sim_world_t *self, uint64_t attempt);
// Is it durable at the second process of the node?
bool sim_twin_holds(const sim_world_t *self, uint32_t node, uint32_t partition,
                    const bb_stream_t *stream, uint64_t seq);
void sim_twin_promised(sim_world_t *self, const sim_attempt_t *attempt); // counts
void sim_twin_fenced(sim_node_t *node);                                  // so it was told
void sim_twin_look(sim_node_t *node);  // after each call of it: do both count for too long?
void sim_twin_calm(sim_world_t *self); // faults stop: both are heard by somebody
// Not both count: the original waits until the others hold what the copy has, and the copy goes for
// good. False: not yet.
bool sim_twin_is_held_back(const sim_node_t *node);
bool sim_twin_end(sim_world_t *self);

// ---- sim_hostile.c: a node that lies to the others
void sim_hostile_open(sim_world_t *self);
void sim_hostile_destroy(sim_world_t *self);
void sim_hostile_event(sim_world_t *self, uint64_t number);  // with fault `number`: some lies
bool sim_hostile_is(const sim_world_t *self, uint32_t node); // in this run, at any time
void sim_hostile_saw(sim_world_t *self, uint32_t to, const bb_outbound_t *message);
// What becomes of a message on its way out. LIES: *lie goes instead, and is then to be dropped.
sim_hostile_fate_t sim_hostile_tamper(sim_world_t *self, uint32_t from,
                                      const bb_outbound_t *message, bb_outbound_t *lie);
void sim_hostile_drop(bb_outbound_t *lie);
void sim_hostile_calm(sim_world_t *self); // it ends, and is honest when it starts again

// ---- sim_route.c: which nodes are slow, by the score of each; and an episode of it
void sim_route_open(sim_node_t *node);
void sim_route_close(sim_node_t *node);
// With each heartbeat of its own, and of another node. _beat: what it says of its disk.
uint32_t sim_route_beat(sim_node_t *node);
void sim_route_heard(sim_node_t *node, uint32_t peer_index, const bb_heartbeat_t *heartbeat);
// A commit that should begin at due_ns ends then; and it has ended, with a sync.
int64_t sim_route_commit_ns(const sim_store_t *store, int64_t due_ns);
void sim_route_synced(sim_store_t *store);
int64_t sim_route_resume_ns(const sim_node_t *node); // when it has a processor: now, or later
bool sim_route_is_lost(sim_world_t *self, uint32_t from, uint32_t to);
// One node is slow, the others must find out once, and that it is over. False: a finding.
bool sim_route_episode(sim_world_t *self);

// ---- sim_epoch.c: nodes that change to a newer epoch one by one
void sim_epoch_event(sim_world_t *self, uint64_t number); // with fault `number`, at times
void sim_epoch_end(sim_world_t *self);                    // all have the newest
// May the replica count with this dot for a coordinator of the epoch?
bool sim_epoch_counts(const sim_node_t *replica, uint32_t epoch, uint32_t partition,
                      const bb_stream_t *stream, uint64_t seq);

// ---- sim_store.c: one shard: its commits, jobs, scans and answers
BB_MUST_CHECK bb_error_t sim_store_open(sim_store_t *store, bb_fault_t *fault);
void sim_store_check_have(sim_store_t *store); // what was durable before is there again
// Closes it; a job that is under way comes as far as `job_ops` operations.
void sim_store_release(sim_store_t *store, uint64_t job_ops);
// Something came in: the loop comes round soon, and takes what else has come until then.
void sim_store_touch(sim_store_t *store);
void sim_store_plan_commit(sim_store_t *store, int64_t due_ns);
void sim_store_on_request(sim_store_t *store, const sim_event_t *event);
void sim_store_on_commit(sim_store_t *store);
void sim_store_on_job(sim_store_t *store);
void sim_store_on_scan(sim_store_t *store, uint64_t number);
// Asks without a network, in this moment. The answer stays until the next call. Level one only.
void sim_store_ask(sim_store_t *store, const bb_message_t *message, bb_message_t *answer);
// The same with a body, which stays the caller's.
void sim_store_ask_with(sim_store_t *store, const bb_message_t *message, bb_buffer_t *body,
                        bb_message_t *answer);

// ---- sim_control.c: registry, boot number and standing of a node
bb_error_t sim_control_open(sim_node_t *node, bb_fault_t *fault);
void sim_control_step(sim_node_t *node);
// The last start of a node that this one durably knows of: boot and mark; 0: none.
uint64_t sim_control_number(const sim_node_t *node, const sim_node_t *of);
void sim_control_look(sim_node_t *node);
void sim_control_peer(sim_node_t *node, uint32_t peer_index, bool is_up);
void sim_control_heard(sim_node_t *node, uint32_t peer_index, const bb_heartbeat_t *heartbeat);
void sim_control_receive(sim_node_t *node, uint32_t peer_index, const bb_message_t *message);

// ---- sim_client.c: workload, promises, reads
void sim_client_event(sim_world_t *self, sim_event_t *event);
// A node answers: promises count from here on, even if the answer is lost.
void sim_client_emitted(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message);
bool sim_client_is_idle(const sim_world_t *self); // all of them
void sim_client_op_clear(sim_op_t *op);
// Adds the rows of a page. False: a row that no client could have written (a finding).
uint32_t sim_client_battery(bb_slice_t id);  // UINT32_MAX: nobody wrote it
uint32_t sim_client_metric(bb_slice_t name); // likewise
bool sim_client_rows(sim_world_t *self, sim_op_t *op, bb_slice_t page);
// Feeds what an operation read to the checker.
void sim_client_check_read(sim_world_t *self, const sim_op_t *op, uint32_t dc_mask,
                           bool is_bound_to_promises, const char *who);

// ---- sim_watch.c: rules and their events
bb_rule_engine_t sim_watch_rules(const sim_world_t *self);
bool sim_watch_is_event(bb_slice_t metric);
void sim_watch_saw(sim_op_t *op, const sim_watch_event_t *event);
// The answer holds all of the partition that the node has: every point that was acknowledged and
// qualifies has its event.
void sim_watch_check(sim_world_t *self, sim_op_t *op, uint32_t partition, uint32_t node);

// ---- sim_hedge.c: a page that takes long is asked of a second node, as the client library does
void sim_hedge_open(sim_world_t *self);
void sim_hedge_begin(sim_world_t *self, uint32_t client); // the first page of a read was asked for
// It is due: the node to ask as well, or UINT32_MAX.
uint32_t sim_hedge_node(sim_world_t *self, uint32_t client);
// An answer to `attempt` came to a client that waits for two. True: it counts, and from now on it
// is the only one; false: the other one is waited for.
bool sim_hedge_answered(sim_world_t *self, uint32_t client, uint64_t attempt, bool is_whole);
void sim_hedge_end(sim_world_t *self, uint32_t client); // nothing is waited for any more

// ---- sim_retire.c: retention while a replica is away
void sim_retire_open(const sim_world_t *self); // the run's planted bug
// Before the floor of the run moves: at times a node, cut off, gets a point below it and goes away
// for some seconds. False: a finding.
bool sim_retire_away(sim_world_t *self, bb_random_t *random);

// ---- sim_near.c: points about as far ahead as a coordinator takes without quarantine
int64_t sim_near_time(bb_random_t *random);
bool sim_near_is(int64_t time_wall_ns);
// From now on `points` has what the coordinator of this attempt made of the batch.
void sim_near_note(sim_op_t *op, const sim_attempt_t *attempt);
// Is the value near the limit and was quarantined? A normal version that is not smaller, from
// another coordinator, hides it: it is promised to nobody here; but replicas must agree.
bool sim_near_may_hide(const sim_op_t *op, uint64_t value);

// ---- sim_session.c: what clients have written and seen
// The bit of the checker's masks that stands for the session of a client.
#define SIM_SESSION_BIT(client) (1u << (16 + (client)))
bool sim_session_is_on(const sim_world_t *self, uint32_t client);
// Puts the client's token into a query that belongs to its session; *bytes is to be freed.
void sim_session_ask(sim_world_t *self, const sim_op_t *op, bb_query_t *query, uint8_t **bytes);
// An answer says what was written or seen.
void sim_session_note(sim_world_t *self, uint32_t client, bb_slice_t encoded);
// From now on the client must see what it wrote, and what its read held.
void sim_session_wrote(sim_world_t *self, uint32_t client, const bool *is_rejected);
void sim_session_saw(sim_world_t *self, uint32_t client);

// ---- sim_fault.c
void sim_fault_event(sim_world_t *self, sim_event_t *event);
void sim_fault_stop(sim_world_t *self); // heals everything
// A node neither hears nor speaks for a while; UINT32_MAX: nothing happens.
void sim_fault_cut_off(sim_world_t *self, uint32_t node);
void sim_fault_cut_pair(sim_world_t *self, uint32_t node, uint32_t other); // likewise, from one

// ---- sim_damage.c: disks that are lost, older or damaged, within the atlas
// At a moment when all replicas are equal. True: a node was stopped and starts again with another
// disk, or flipped bits in its journal; everything must come back.
bool sim_damage_disk(sim_world_t *self);
// The last that happens to a cluster: records of maps are damaged, and stay so. True: they were.
bool sim_damage_maps(sim_world_t *self);
bool sim_damage_is_left(const sim_world_t *self); // a node is damaged, or down for good
// The node's disk may go now: what it holds can be had elsewhere.
bool sim_damage_is_covered(sim_world_t *self, uint32_t victim);
void sim_damage_format(sim_node_t *node);    // while it is down
void sim_damage_keep_copy(sim_node_t *node); // of the disk as it is now
void sim_damage_set_back(sim_node_t *node);  // to that copy, while it is down

// ---- sim_check.c
bool sim_check_has_converged(sim_world_t *self, char *why, size_t why_bytes);
void sim_check_replicas(sim_world_t *self); // each replica alone, and against each other
// Every node: its floors are where the clock puts them, and what is below is gone.
bool sim_check_has_retired(sim_world_t *self);
void sim_check_settle(sim_world_t *self);  // asks for it
void sim_check_release(sim_world_t *self); // likewise
// Nothing holds more bytes than it may.
void sim_check_caps(sim_world_t *self, const sim_store_t *store);
// A level's promise: enough replicas hold each dot at this moment.
// A liar is believed to have it.
void sim_check_level(sim_world_t *self, const sim_attempt_t *attempt, bb_level_t level);
// Do honest replicas alone satisfy the level? Else what was acknowledged is promised to nobody.
bool sim_check_is_kept(sim_world_t *self, const sim_attempt_t *attempt, bb_level_t level);

#endif

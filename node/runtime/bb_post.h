// SPDX-License-Identifier: Apache-2.0
// bb_post - what actors say to each other: one typed message, moved by pointer.
//
//   router ── CLIENT ──▶ store ── SEND ──▶ mesh          scan ── ANSWER ──▶ router
//   mesh ── PEER, PEER_STATE, PEER_SLOW, PEER_MARKS, CLOCK ──▶ store ── SCAN ──▶ scan
//   store ── ANSWER ──▶ router    store ── JOB ──▶ background ── JOB_DONE ──▶ store
//   store ── STATS ──▶ router, metrics    mesh ── PEERS ──▶ router, metrics
//   scan ── PART ──▶ scan ── PART_DONE ──▶ scan
//   mesh ── PEER, PEER_STATE, DIGEST ──▶ control ── SEND ──▶ mesh
//   control ── FORGOTTEN, STANDING ──▶ store ── PROMISED, REBUILT, SETTLED ──▶ control
//   mesh ── PEER_STANDING ──▶ store    everyone ── EVENT ──▶ supervisor ── DRAIN, STOP ──▶ router,
//   stores, mesh
//                         supervisor ── POLICY ──▶ stores
//
// The sender gives it away; the receiver (or bb_mailbox, for what is left at the end) destroys it.
#ifndef BB_POST_H
#define BB_POST_H

#include "node/ingest/bb_shard.h"

typedef enum {
    BB_POST_CLIENT = 1,
    BB_POST_PEER,
    BB_POST_PEER_STATE,
    BB_POST_CLOCK,
    BB_POST_SEND,
    BB_POST_ANSWER,
    BB_POST_SCAN,
    BB_POST_JOB,
    BB_POST_JOB_DONE,
    BB_POST_STATS,
    BB_POST_PEERS,
    BB_POST_EVENT,
    BB_POST_DRAIN,
    BB_POST_STOP,
    BB_POST_POLICY,
    BB_POST_PART,
    BB_POST_PART_DONE,
    BB_POST_PEER_SLOW,
    BB_POST_DIGEST,
    BB_POST_STANDING,
    BB_POST_PEER_STANDING,
    BB_POST_PROMISED,
    BB_POST_REBUILT,
    BB_POST_FORGOTTEN,
    BB_POST_SETTLED,
    BB_POST_PEER_MARKS, // there are new ones on the board (bb_mark_board.h)
} bb_post_kind_t;

// A decoded request of a client (batch: WRITE) or message of a peer (chunks, batch: REPLICATE).
typedef struct {
    uint64_t ticket;     // CLIENT
    uint32_t peer_index; // PEER
    int64_t received_mono_ns;
    bb_message_t message; // views into envelope
    bb_buffer_t *envelope, *chunks, *batch;
} bb_post_request_t;

typedef struct {
    uint32_t peer_index;
    bool is_up;
    bb_stream_t incarnation;
    uint32_t store_count; // of that node
} bb_post_peer_state_t;

// What a heartbeat says of the peer's registry (DIGEST), or of its standing (PEER_STANDING).
typedef struct {
    uint32_t peer_index;
    uint64_t registry_digest;
    bool is_counting;
} bb_post_peer_word_t;

typedef struct {
    uint32_t peer_index;
    bool is_slow;
} bb_post_peer_slow_t;

typedef struct {
    uint32_t peer_index;
    bool is_bulk;
    int64_t queued_mono_ns; // in a bb_peer_queue
    bb_outbound_t outbound;
} bb_post_send_t;

typedef struct {
    uint64_t ticket;
    uint32_t store_index;
    bb_outbound_t outbound; // envelope, body
} bb_post_answer_t;

typedef struct {
    uint64_t ticket, request_id;
    uint32_t store_index;
    bb_snapshot_t *snapshot;
    bb_buffer_t *request; // the QUERY's envelope
    bb_missing_t *missing;
    uint32_t missing_count;
    bb_buffer_t *session; // for the answer; NULL: not wanted
    int64_t deadline_mono_ns;
} bb_post_scan_t;

// A part of a scan, for another thread of the scan pool, and what it collected.
typedef struct {
    uint32_t asker_index; // the scan thread that asked
    uint32_t part_index;
    void *work;              // of the asker; nobody else looks into it
    bb_snapshot_t *snapshot; // PART
    bb_buffer_t *request;    // PART: the QUERY's envelope
    int64_t deadline_mono_ns;
    bb_scan_part_t *part; // PART_DONE; NULL: error
    bb_error_t error;
    char detail[160];
} bb_post_part_t;

typedef struct {
    uint32_t store_index;
    bb_store_job_t *job;
    bb_error_t error; // JOB_DONE
} bb_post_job_t;

typedef struct {
    uint32_t store_index;
    bb_shard_stats_t *stats; // owned; too large to make every post carry it
} bb_post_stats_t;

// One node as the mesh sees it; of self: up, no lag.
typedef struct {
    bool is_up, is_ready, is_draining, is_skewed;
    bool is_slow;          // by the route score; of self too
    uint64_t queued_bytes; // of bulk: handed to the socket and not yet written, or still waiting
    int64_t clock_offset_ns;
} bb_peer_view_t;

typedef struct {
    uint32_t node_count;
    bool is_skewed;        // this node
    bb_peer_view_t *views; // node_count
} bb_post_peers_t;

typedef enum {
    BB_EVENT_STORE_OPENED, // index, error, text
    BB_EVENT_STORE_DRAINED,
    BB_EVENT_STORE_STOPPED,
    BB_EVENT_PEERS_SEEN,   // every peer has been up once
    BB_EVENT_STANDING,     // this node counts, or no more: look at bb_node_t
    BB_EVENT_STALE,        // this process is forgotten: it has to end, and to be started again
    BB_EVENT_ACTOR_FAILED, // text
} bb_event_kind_t;

typedef struct {
    bb_event_kind_t kind;
    uint32_t index;
    bb_fault_t fault;
} bb_post_event_t;

typedef struct bb_post {
    struct bb_post *next, *previous; // for whoever has it
    bb_post_kind_t kind;
    size_t bytes; // what it counts against the mailbox's bound; set by bb_mailbox
    union {
        bb_post_request_t request;
        bb_post_peer_state_t peer_state;
        bb_post_peer_slow_t peer_slow;
        bool is_skewed; // CLOCK
        bb_post_send_t send;
        bb_post_answer_t answer;
        bb_post_scan_t scan;
        bb_post_part_t part; // PART, PART_DONE
        bb_post_job_t job;
        bb_post_stats_t stats;
        bb_post_peers_t peers;
        bb_post_event_t event;
        bb_policy_t *policy; // POLICY: one reference
        bb_post_peer_word_t peer_word;
        bb_standing_t standing;    // STANDING
        uint32_t store_index;      // REBUILT, SETTLED
        bb_forgotten_t *forgotten; // FORGOTTEN: owned
    };
} bb_post_t;

bb_post_t *bb_post_new(bb_post_kind_t kind); // cleared
// Drops every reference it holds. A JOB that never ran must not be destroyed: its store waits.
void bb_post_destroy(bb_post_t **self);
// What a SCAN holds; the rest is cleared.
void bb_post_scan_drop(bb_post_scan_t *self);
// Keeps the references of an outbound message (bb_outbound_t lends them).
bb_outbound_t bb_outbound_keep(const bb_outbound_t *outbound);
void bb_outbound_drop(bb_outbound_t *outbound);
size_t bb_outbound_bytes(const bb_outbound_t *outbound);

#endif

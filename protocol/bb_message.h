// SPDX-License-Identifier: Apache-2.0
// bb_message - the envelope and body of everything that crosses a socket.
//
// Pure. On ZeroMQ a message is one to three frames after the routing id:
//   every kind             [envelope]
//   WRITE                  [envelope][batch]
//   RESULT                 [envelope][page]
//   REPLICATE              [envelope][chunks header][batch]
// The envelope is a FlatBuffer (message.fbs) with a union body. Fields are only added, kinds are
// never reused. Who sent it is never read from it: authority comes from the CURVE key.
#ifndef BB_MESSAGE_H
#define BB_MESSAGE_H

#include "protocol/bb_chunks.h"
#include "protocol/bb_forgotten.h"
#include "protocol/bb_query.h"
#include "protocol/bb_registry_entry.h"
#include "protocol/bb_standing.h"
#include "protocol/bb_sync.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_WIRE_VERSION 1

// Bounds of the texts in an envelope. The encoder cuts a longer detail, client name or version (at
// a UTF-8 boundary); the decoder refuses it.
#define BB_MESSAGE_TEXT_BYTES_MAX 512
#define BB_ENDPOINT_BYTES_MAX     256

typedef enum {
    // client -> node and back
    BB_KIND_HELLO = 1,
    BB_KIND_HELLO_REPLY = 2,
    BB_KIND_WRITE = 3,
    BB_KIND_WRITE_REPLY = 4,
    BB_KIND_QUERY = 5,
    BB_KIND_RESULT = 6,
    BB_KIND_STATUS = 7,
    BB_KIND_STATUS_REPLY = 8,
    BB_KIND_SETTLE = 9,
    BB_KIND_SETTLE_REPLY = 10,
    BB_KIND_RELEASE = 11, // quarantine: make points normal
    BB_KIND_RELEASE_REPLY = 12,
    BB_KIND_SCRUB = 13, // verify what lies on disk, or tell how far that is
    BB_KIND_SCRUB_REPLY = 14,
    BB_KIND_ERROR = 15,
    BB_KIND_ROUTES = 16, // answers a HELLO that asks for it
    // node <-> node
    BB_KIND_HEARTBEAT = 32,
    BB_KIND_REPLICATE = 33,
    BB_KIND_REPLICATE_ACK = 34,
    BB_KIND_HAVE_REQUEST = 35,
    BB_KIND_HAVE = 36,
    BB_KIND_PULL = 37,
    BB_KIND_PULL_DONE = 38,
    BB_KIND_REGISTRY = 39,
    BB_KIND_SYNC_ASK = 40,
    BB_KIND_SYNC_ANSWER = 41,
    BB_KIND_WATCHED = 42,
} bb_kind_t;

const char *bb_kind_name(bb_kind_t kind);

typedef struct {
    bb_slice_t client_name; // for logs, e.g. "busbar/0.1.0"
    bool only_routes;       // the cluster is known: ROUTES is enough
} bb_hello_t;

// Which nodes the one that answers finds slow just now (node/control/bb_route_score.h).
typedef struct {
    uint32_t slow_count;  // [0, BB_NODES_MAX]
    const uint16_t *slow; // node indexes of the envelope's epoch, ascending
} bb_routes_message_t;

typedef struct {
    bb_slice_t id, dc, rack;
    bb_slice_t client_endpoint; // tcp://host:port
    uint8_t public_key[32];     // CURVE
    uint32_t weight;
} bb_hello_node_t;

typedef struct {
    bb_slice_t cluster_name;
    uint8_t cluster_id[16];
    bb_slice_t node_id; // the node that answers
    uint32_t partition_count;
    uint8_t placement_key[16]; // SipHash key: battery -> partition
    uint32_t node_count;
    const bb_hello_node_t *nodes;
    uint32_t replica_stride;  // entries per partition in `replicas`
    const uint16_t *replicas; // partition_count * replica_stride node indexes; 0xffff = none
    bb_level_t default_write_level, default_read_level; // of requests whose sender names none
} bb_hello_reply_t;

typedef struct {
    bb_level_t level;
    bool wants_session; // the answer names the dots that the batch gets
    bool deletes;       // the batch holds markers (bb_marker.h), for which another role is needed
} bb_write_t;           // + batch frame

typedef struct {
    uint32_t frame;    // index in the batch as sent; UINT32_MAX = whole batch
    bb_slice_t metric; // empty = the whole frame
    bb_error_t error;
    bb_slice_t detail;
} bb_rejection_t;

// At most this many rejections are named; the counts are always complete.
#define BB_REJECTIONS_MAX 1024

typedef struct {
    uint64_t acked_points, rejected_points, quarantined_points;
    uint32_t acked_frames, rejected_frames; // a frame is rejected when none of its points is left
    uint32_t rejection_count;
    const bb_rejection_t *rejections;
    bb_slice_t session; // bb_session_token_encode, if it was wanted: the dots of what is acked
} bb_write_reply_t;

typedef struct {
    uint32_t partition;
    bb_error_t error; // why it is missing: BEHIND, NOT_REPLICA, CORRUPT, UNAVAILABLE, TIMEOUT
} bb_missing_t;

typedef struct {
    uint32_t missing_count;
    const bb_missing_t *missing;
    bb_slice_t cursor; // empty: this was the last page
    uint32_t damaged_window_count;
    // bb_session_token_encode, if it was wanted: what the snapshot of this page held of its
    // partitions and some replica may lack.
    bb_slice_t session;
} bb_result_t; // + page frame

typedef struct {
    bb_slice_t node_id;
    bb_slice_t dc;
    bool up;
    bool is_self;
    uint64_t lag_chunks; // known to exist in its partitions and not durable there, as far as known
    // The same for a majority of the replicas in its data centre, if that is another one; and the
    // age of the oldest of those chunks that were accepted by the node that answers.
    uint64_t dc_lag_chunks, dc_lag_ns;
    bool is_slow; // as the node that answers finds
} bb_status_node_t;

typedef struct {
    bb_slice_t cluster_name;
    bb_slice_t node_id;
    bb_slice_t version;
    bool ready, draining;
    uint32_t partition_count;
    // Partitions with a replica that is down, or has lacked chunks for some time; and those in
    // which one is not known to have everything just now (node/ingest/bb_shortfall.h).
    uint32_t under_replicated, unequal;
    uint64_t uptime_ns;
    uint64_t points_total, batteries_total; // accepted since start; known
    uint64_t head_bytes, journal_bytes, segment_bytes, segment_points;
    uint64_t unsealed_chunks, untrimmed_chunks, runs_to_merge, quarantined_points;
    uint64_t damage_count; // windows and batteries that are known to be damaged on this node's disk
    bb_level_t default_write_level, default_read_level;
    uint32_t node_count;
    const bb_status_node_t *nodes;
    bb_standing_t standing; // of the node that answers
    uint32_t boot;          // number of its start; 0: none yet
    // Process starts whose chunks the store that has most of them tells apart; of these, those that
    // are not the present one of a node (bb_forgotten.h).
    uint64_t streams, streams_dead;
} bb_status_reply_t;

typedef struct {
    bool sealed, merged, trimmed; // all true: settled
} bb_settle_reply_t;

typedef struct {
    uint32_t battery_count; // 0 = all
    const bb_slice_t *batteries;
    bb_level_t level;
} bb_release_t;

typedef struct {
    uint64_t released_points;
} bb_release_reply_t;

// Lines about damage in one answer; the counts are complete.
#define BB_DAMAGE_LINES_MAX 64u

typedef struct {
    bool start; // false: only tell
    uint64_t
        rate_bytes_per_s; // of a pass that is started; 0 = as configured, UINT64_MAX = no limit
} bb_scrub_request_t;

typedef struct {
    bool is_running;                      // a pass that somebody asked for is under way
    uint32_t windows_left;                // of that pass
    uint64_t findings;                    // of that pass, or of the last one
    uint64_t bytes_total, findings_total; // since start
    int64_t oldest_age_ns;                // of the window that was verified longest ago
    uint32_t barred_count;                // windows that are not opened
    uint32_t damage_count;                // entries of the list of what is damaged
    uint32_t damage_line_count;
    const bb_slice_t *damage_lines; // the first of them, in words
} bb_scrub_reply_t;

typedef struct {
    bb_error_t code;
    bb_slice_t detail;
    uint32_t retry_after_ms; // BUSY: when to try again
} bb_error_reply_t;

typedef struct {
    bb_stream_t incarnation; // this process start; the stream of its new chunks
    int64_t wall_ns;         // for the median clock
    uint8_t cluster_id[16];
    bool ready, draining;
    uint32_t store_count; // of the sender, [1, BB_STORES_MAX]: from it follow the lanes (bb_lane_t)
    uint64_t registry_digest; // sum of its registry (node/control/bb_registry.h)
    bb_standing_t standing;
    uint32_t boot;            // number of this start; 0: none yet
    uint32_t sync_latency_us; // of its journals, the slowest store's
    uint64_t have_mark;       // node/ingest/bb_have_mark.h; 0: not told
} bb_heartbeat_t;

// One registry to another: entries that are durable at the sender, sums of all that it has by
// bucket of the keys' hashes, or both.
typedef struct {
    bool is_put;           // the receiver answers with its values of these keys
    uint32_t bucket_count; // 0 or BB_REGISTRY_BUCKETS
    const uint64_t *buckets;
    uint32_t entry_count; // [0, BB_REGISTRY_MESSAGE_MAX]
    const bb_registry_entry_t *entries;
} bb_registry_message_t;

// The partitions p with p % count == index. Nodes keep partition p in store p % stores, each with a
// number of stores of its own: a lane whose count is a multiple of both is what one store there and
// one store here have in common, so have-sets and their versions travel lane by lane. count in
// [1, BB_LANES_MAX], index < count.
typedef struct {
    uint32_t count, index;
} bb_lane_t;

typedef struct {
    uint32_t partition;
    uint32_t reserved;
    uint64_t first_seq, last_seq; // inclusive
} bb_dot_range_t;

// A chunk crosses to another data centre once: the replica that gets it sends it on to those
// listed.
typedef struct {
    uint32_t forward_count;  // [0, BB_NODES_MAX]; 0: it is for the receiver alone
    const uint16_t *forward; // node indexes of the sender's epoch, ascending
} bb_replicate_t;            // + chunks frame + batch frame

// A batch of the origin, named by one of its dots: all of it that the acknowledging node is a
// replica of, in the lane, is durable there. Its origin knows which parts that are, and takes it
// only if their number and sum are the same. A batch of 300 parts so takes 24 bytes, 7,200 as
// ranges.
typedef struct {
    uint32_t partition;
    uint32_t part_count; // >= 1
    uint64_t seq;        // >= 1
    uint64_t dot_sum;    // bb_dot_sum.h, of these parts
} bb_ack_batch_t;

typedef struct {
    bb_stream_t stream;      // whose dots
    bb_stream_t incarnation; // of the replica that acknowledges
    uint32_t range_count;
    const bb_dot_range_t *ranges;
    uint32_t batch_count;
    const bb_ack_batch_t *batches;
    bb_lane_t lane; // of the store that acknowledges; with batches
} bb_replicate_ack_t;

typedef struct {
    uint32_t partition;
    bb_slice_t have; // bb_have_set_encode; borrowed
} bb_have_entry_t;

typedef struct {
    bb_stream_t incarnation; // whose versions `since_version` counts; zero: none known
    uint64_t since_version;  // partitions unchanged since then are left out
    bb_lane_t lane;          // of which partitions; its answer comes back by it
    bool takes_tails;        // the answer may tell some of them by bb_have_tails.h
} bb_have_request_t;

typedef struct {
    bb_stream_t incarnation;
    uint64_t version;       // of this report
    uint64_t since_version; // it holds what changed after this; 0 = everything
    bool is_last;           // a long report comes in pieces with one request id
    bb_lane_t lane;         // echoed
    uint32_t entry_count;
    const bb_have_entry_t *entries;
    bb_slice_t tail_streams, tails; // bb_have_tails.h: partitions besides; not when since is 0
    // All chunks here of streams of the asking node with smaller numbers (bb_forgotten.h) are in
    // segments and seen by the rules, those that the have-sets told so far contain. 0: says
    // nothing.
    uint32_t sealed_below;
} bb_have_t;

typedef struct {
    uint32_t budget_bytes; // send at most about this much, then PULL_DONE
    bb_lane_t lane;        // all entries are of it
    uint32_t entry_count;
    const bb_have_entry_t *entries; // what the puller has, for the partitions it wants
    // Streams that it has forgotten, so that they are not among these: ascending by node. It wants
    // nothing of them.
    uint32_t forgotten_count;
    const bb_forgotten_floor_t *forgotten;
} bb_pull_t;

typedef struct {
    bool more;            // the budget ended it
    bb_lane_t lane;       // echoed
    uint32_t chunk_count; // sent for this pull
    uint32_t unavailable_count;
    const uint32_t *unavailable; // partitions with wanted chunks that are no longer in the journal
} bb_pull_done_t;

typedef struct {
    bb_lane_t lane; // all entries are of it
    uint32_t entry_count;
    const bb_have_entry_t *entries; // which chunks the rules have seen (node/ingest/bb_watch.h)
} bb_watched_t;

typedef struct {
    bb_kind_t kind;
    uint32_t epoch;
    uint64_t request_id; // echoed in the answer
    uint64_t trace_id;   // for logs; 0 = none
    int64_t timeout_ns;  // how long the sender will wait, from now; 0 = no deadline; longer than
                         // BB_DEADLINE_NS_MAX is sent as that
    // Answers to HELLO and WRITE: how many bytes of batches the client may have on their way to the
    // node that answers, over this connection (node/ingest/bb_credit.h); 0: the node does not say.
    uint32_t credit_bytes;
    union {
        bb_hello_t hello;
        bb_hello_reply_t hello_reply;
        bb_write_t write;
        bb_write_reply_t write_reply;
        bb_query_t query;
        bb_result_t result;
        bb_status_reply_t status_reply;
        bb_settle_reply_t settle_reply;
        bb_release_t release;
        bb_release_reply_t release_reply;
        bb_scrub_request_t scrub;
        bb_scrub_reply_t scrub_reply;
        bb_error_reply_t error;
        bb_routes_message_t routes;
        bb_heartbeat_t heartbeat;
        bb_replicate_t replicate;
        bb_replicate_ack_t replicate_ack;
        bb_have_request_t have_request;
        bb_have_t have;
        bb_pull_t pull;
        bb_pull_done_t pull_done;
        bb_watched_t watched;
        bb_registry_message_t registry;
        bb_sync_question_t sync_ask;
        bb_sync_answer_t sync_answer;
    };
    void *memory; // decode: owned tables, freed by bb_message_close; NULL when encoding
} bb_message_t;

// Kinds without fields (STATUS, SETTLE) have no member above.

// Writes the envelope frame. *out is 8-byte aligned malloc memory owned by the caller. A value
// outside its range is a bug of the caller and aborts: the decoder at the other end refuses it.
void bb_message_encode(const bb_message_t *self, uint8_t **out, size_t *out_length);
// Verifies everything (FlatBuffer, alignment, kind, limits, enum ranges, error numbers) and fills
// self with views into `encoded`, which must be 8-byte aligned and outlive it. On error nothing to
// close: MESSAGE_CORRUPT, MESSAGE_VERSION, MESSAGE_BYTES.
BB_MUST_CHECK bb_error_t bb_message_decode(bb_message_t *self, bb_slice_t encoded,
                                           bb_fault_t *fault);
void bb_message_close(bb_message_t *self);

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
// bb_metrics - what the node counts, and how Prometheus reads it.
//
// Counters are relaxed atomics in one block that the supervisor owns and every actor adds to. What
// the stores and the mesh publish comes as snapshots. Rendering is pure: the same input gives the
// same text, so that it can be tested without a node.
#ifndef BB_METRICS_H
#define BB_METRICS_H

#include <stdatomic.h>

#include "node/runtime/bb_post.h"

// X(name, family, labels, help): counters of one family stand together.
#define BB_METRIC_LIST(X)                                                                          \
    X(CLIENT_BYTES_IN, "socket_received_bytes", "socket=\"client\"",                               \
      "Bytes of messages received, by socket")                                                     \
    X(PEER_BYTES_IN, "socket_received_bytes", "socket=\"peer\"", "")                               \
    X(BULK_BYTES_IN, "socket_received_bytes", "socket=\"bulk\"", "")                               \
    X(CLIENT_BYTES_OUT, "socket_sent_bytes", "socket=\"client\"",                                  \
      "Bytes of messages sent, by socket")                                                         \
    X(PEER_BYTES_OUT, "socket_sent_bytes", "socket=\"peer\"", "")                                  \
    X(BULK_BYTES_OUT, "socket_sent_bytes", "socket=\"bulk\"", "")                                  \
    X(CLIENT_IN, "socket_received_messages", "socket=\"client\"", "Messages received, by socket")  \
    X(PEER_IN, "socket_received_messages", "socket=\"peer\"", "")                                  \
    X(BULK_IN, "socket_received_messages", "socket=\"bulk\"", "")                                  \
    X(CLIENT_OUT, "socket_sent_messages", "socket=\"client\"", "Messages sent, by socket")         \
    X(PEER_OUT, "socket_sent_messages", "socket=\"peer\"", "")                                     \
    X(BULK_OUT, "socket_sent_messages", "socket=\"bulk\"", "")                                     \
    X(REQUEST_HELLO, "requests", "kind=\"hello\"", "Requests of clients taken, by kind")           \
    X(REQUEST_WRITE, "requests", "kind=\"write\"", "")                                             \
    X(REQUEST_QUERY, "requests", "kind=\"query\"", "")                                             \
    X(REQUEST_STATUS, "requests", "kind=\"status\"", "")                                           \
    X(REQUEST_SETTLE, "requests", "kind=\"settle\"", "")                                           \
    X(REQUEST_RELEASE, "requests", "kind=\"release\"", "")                                         \
    X(REFUSED_BUSY, "requests_refused", "reason=\"busy\"",                                         \
      "Requests of clients refused before any work, by reason")                                    \
    X(REFUSED_STOPPING, "requests_refused", "reason=\"stopping\"", "")                             \
    X(REFUSED_MALFORMED, "requests_refused", "reason=\"malformed\"", "")                           \
    X(REFUSED_IDENTITY, "requests_refused", "reason=\"identity\"", "")                             \
    X(REFUSED_ROLE, "requests_refused", "reason=\"role\"", "")                                     \
    X(REFUSED_EPOCH, "requests_refused", "reason=\"epoch\"", "")                                   \
    X(REFUSED_LATE, "requests_refused", "reason=\"late\"", "")                                     \
    X(ANSWERS_LOST, "answers_undeliverable", "", "Answers whose client was gone or not reading")   \
    X(HANDSHAKES_ACCEPTED, "handshakes", "result=\"accepted\"",                                    \
      "Connections judged by the identity handler, by result")                                     \
    X(HANDSHAKES_REFUSED, "handshakes", "result=\"refused\"", "")                                  \
    X(PEER_DROPPED_QUEUE, "peer_messages_dropped", "reason=\"queue_full\"",                        \
      "Messages to or from peers dropped (the peer will pull), by reason")                         \
    X(PEER_DROPPED_UNCONNECTED, "peer_messages_dropped", "reason=\"unconnected\"", "")             \
    X(PEER_DROPPED_STORE, "peer_messages_dropped", "reason=\"store_busy\"", "")                    \
    X(PEER_MALFORMED, "peer_messages_malformed", "",                                               \
      "Messages on peer sockets that do not verify or have no business there")                     \
    X(SCAN_PAGES, "scan_pages", "", "Pages of answers made by the scan pool")                      \
    X(SCAN_POINTS, "scan_points", "", "Points looked at by the scan pool")                         \
    X(SCAN_BLOCKS, "scan_blocks", "", "Blocks of columns decoded by the scan pool")                \
    X(SCAN_PARTS, "scan_parts", "", "Parts of groups over a fleet collected for another thread")   \
    X(SCAN_LATE, "scan_late", "", "Scans dropped because their deadline had passed")               \
    X(JOBS_OK, "jobs", "result=\"ok\"", "Flush and merge jobs run, by result")                     \
    X(JOBS_FAILED, "jobs", "result=\"failed\"", "")                                                \
    X(HEDGES, "hedges", "", "small reads asked here because another node took long")               \
    X(HTTP_REQUESTS, "http_requests", "", "HTTP requests answered")

typedef enum {
#define BB_METRIC_ENUM(name, family, labels, help) BB_METRIC_##name,
    BB_METRIC_LIST(BB_METRIC_ENUM)
#undef BB_METRIC_ENUM
        BB_METRIC_COUNT,
} bb_metric_t;

typedef struct {
    _Atomic uint64_t counters[BB_METRIC_COUNT];
} bb_metrics_t;

static inline void bb_metrics_add(bb_metrics_t *self, bb_metric_t metric, uint64_t count)
{
    atomic_fetch_add_explicit(&self->counters[metric], count, memory_order_relaxed);
}

typedef struct {
    double cpu_s;
    uint64_t resident_bytes;
    uint64_t open_files;
    double start_wall_s, uptime_s;
} bb_process_stats_t;

// Everything one scrape shows. Borrowed.
typedef struct {
    const uint64_t *counters; // BB_METRIC_COUNT
    const bb_topology_t *topology;
    uint32_t store_count;
    const bb_shard_stats_t *const *stores; // NULL: not published yet
    const bb_post_peers_t *peers;          // NULL: not published yet
    bool is_ready, is_draining;
    bb_standing_t standing;
    uint32_t boot;
    bb_process_stats_t process;
    const char *version;
} bb_metrics_view_t;

// Prometheus text format 0.0.4; malloc'd, NUL-terminated, caller's.
char *bb_metrics_render(const bb_metrics_view_t *view, size_t *length);

#endif

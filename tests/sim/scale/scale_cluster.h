// SPDX-License-Identifier: Apache-2.0
// scale_cluster - many nodes in one thread, without faults, to count what they say to each other.
//
// The real shards, detectors, placement and messages, on simulated disks, clock and network; like
// sim_world, but for hundreds of nodes: no checker, no trace, heartbeats are not queued one by one.
// One store a node. Delays: half a millisecond within a data centre, 15 ms between two.
#ifndef SCALE_CLUSTER_H
#define SCALE_CLUSTER_H

#include "node/control/bb_detector.h"
#include "node/ingest/bb_shard.h"
#include "tests/sim/sim_events.h"
#include "tests/support/bb_random.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"

// What ZMTP adds to a message of one frame under CURVE: flags and length 2, "MESSAGE" 8, nonce 8,
// authenticator 16, flags 1 (RFC 26/ZeroMQ).
#define SCALE_FRAME_BYTES 35u
#define SCALE_DCS_MAX     3u
#define SCALE_KINDS_MAX   64u

typedef struct {
    uint32_t node_count;      // [1, BB_NODES_MAX]
    uint32_t dc_count;        // [1, SCALE_DCS_MAX]; nodes are dealt out in turn
    uint32_t partition_count; // a power of two
    uint32_t replicas;        // a data centre
    int64_t heartbeat_ns, report_ns;
    uint64_t seed;
} scale_options_t;

typedef struct scale_cluster scale_cluster_t;

typedef struct {
    scale_cluster_t *cluster;
    uint32_t index, dc;
    bool is_up;
    bb_sim_disk_t *disk;
    bb_topology_t *topology;
    bb_shard_t *shard; // NULL: down
    bb_detector_t *detector;
    bb_stream_t stream;
    uint64_t have_marks[BB_NODES_MAX]; // of the others, as last heard
    uint32_t life;
    int64_t commit_due_ns;
    bb_store_job_t *job;
} scale_node_t;

// Of all nodes since the last reset; bytes with SCALE_FRAME_BYTES a frame.
typedef struct {
    uint64_t messages[SCALE_KINDS_MAX], bytes[SCALE_KINDS_MAX]; // by bb_kind_t
    uint64_t writes_sent, writes_acked, writes_failed, payload_bytes;
} scale_counts_t;

struct scale_cluster {
    scale_options_t options;
    sim_events_t *events;
    bb_random_t random;
    scale_node_t *nodes;
    scale_counts_t counts;
    int64_t write_every_ns; // of each node, on the average; 0: none
    uint64_t ticket;
};

scale_cluster_t *scale_cluster_new(const scale_options_t *options);
void scale_cluster_destroy(scale_cluster_t **self);
// Lets simulated time pass.
void scale_cluster_run(scale_cluster_t *self, int64_t duration_ns);
// Power goes, or comes back, at one node.
void scale_cluster_stop(scale_cluster_t *self, uint32_t node);
void scale_cluster_start(scale_cluster_t *self, uint32_t node);
void scale_cluster_reset(scale_cluster_t *self); // counts
// All are up and known to each other; and equal replicas hold equal sets.
bool scale_cluster_is_met(const scale_cluster_t *self);
bool scale_cluster_is_equal(const scale_cluster_t *self);

#endif

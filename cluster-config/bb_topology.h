// SPDX-License-Identifier: Apache-2.0
// bb_topology - which nodes there are and which of them hold each partition, at one epoch.
//
// Immutable after _new, so any thread may read it; whoever made it destroys it after the last
// reader is gone. Built from the configuration (bb_config_topology) or, in tests, from arrays. A
// catalogue can later provide new ones: readers take a topology as an argument and never keep
// parts of it beyond its life.
//
// Nodes are named by index in [0, node_count), in the order of the configuration. The replicas of
// a partition are a row of slots: first those in data centre 0, then those in 1..., the same number
// for every partition, so a set of replicas that answered is a mask over slots.
#ifndef BB_TOPOLOGY_H
#define BB_TOPOLOGY_H

#include "protocol/bb_placement.h"
#include "protocol/bb_query.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_NODE_NONE UINT32_MAX

typedef struct bb_topology bb_topology_t;

typedef struct {
    const char *id;
    const char *dc;
    const char *rack; // "" = none
    uint32_t weight;
    const char *host;
    uint16_t client_port, peer_port, bulk_port, http_port;
    uint8_t public_key[32]; // CURVE
    uint32_t dc_index;      // filled by the topology
} bb_topology_node_t;

typedef struct {
    const char *cluster_name;
    uint8_t cluster_id[16];
    uint8_t placement_key[16];
    uint32_t epoch; // >= 1
    uint32_t partition_count;
    uint32_t dc_count;
    const bb_placement_dc_t *dcs;
    uint32_t node_count;
    const bb_topology_node_t *nodes;
    uint32_t self_index; // of the node that reads it; BB_NODE_NONE for a client
} bb_topology_options_t;

// Copies everything and computes the replicas. CONFIG as bb_placement_propose.
BB_MUST_CHECK bb_error_t bb_topology_new(const bb_topology_options_t *options,
                                         bb_topology_t **topology, bb_fault_t *fault);
// A copy for another reader of the same cluster, without computing the replicas again. Owned by the
// caller. self_index as in the options.
bb_topology_t *bb_topology_seen_by(const bb_topology_t *self, uint32_t self_index);
void bb_topology_destroy(bb_topology_t **self);

const char *bb_topology_cluster_name(const bb_topology_t *self);
const uint8_t *bb_topology_cluster_id(const bb_topology_t *self);    // 16 bytes
const uint8_t *bb_topology_placement_key(const bb_topology_t *self); // 16 bytes
uint32_t bb_topology_epoch(const bb_topology_t *self);
uint32_t bb_topology_partition_count(const bb_topology_t *self);
uint32_t bb_topology_self_index(const bb_topology_t *self);

uint32_t bb_topology_node_count(const bb_topology_t *self);
const bb_topology_node_t *bb_topology_node(const bb_topology_t *self, uint32_t node_index);
uint32_t bb_topology_node_of_id(const bb_topology_t *self, bb_slice_t id); // or BB_NODE_NONE

uint32_t bb_topology_dc_count(const bb_topology_t *self);
const char *bb_topology_dc_name(const bb_topology_t *self, uint32_t dc_index);
uint32_t bb_topology_dc_replica_count(const bb_topology_t *self, uint32_t dc_index);
// The slots of the data centre are [first, first + replica count).
uint32_t bb_topology_dc_slot_first(const bb_topology_t *self, uint32_t dc_index);
// Node indexes of a data centre, ascending.
const uint16_t *bb_topology_dc_nodes(const bb_topology_t *self, uint32_t dc_index, uint32_t *count);

uint32_t bb_topology_partition_of(const bb_topology_t *self, const void *battery_id, size_t length);
// Slots of each partition: entries of bb_topology_replicas.
uint32_t bb_topology_replica_count(const bb_topology_t *self);
// Node indexes of the replicas of a partition, replica_count of them, never "none".
const uint16_t *bb_topology_replicas(const bb_topology_t *self, uint32_t partition);
// The whole table, partition_count * replica_count entries (for HELLO_REPLY).
const uint16_t *bb_topology_table(const bb_topology_t *self);
// The slot of a node in a partition, or BB_NODE_NONE. At most 16 comparisons.
uint32_t bb_topology_slot_of(const bb_topology_t *self, uint32_t partition, uint32_t node_index);
bool bb_topology_is_replica(const bb_topology_t *self, uint32_t partition, uint32_t node_index);
// Partitions of a node, ascending.
const uint32_t *bb_topology_node_partitions(const bb_topology_t *self, uint32_t node_index,
                                            uint32_t *count);

// How many durable replicas a level needs (design, promise P1), seen from the data centre of the
// coordinator: in all, and in each data centre.
typedef struct {
    uint32_t total;
    uint32_t in_dc[BB_DCS_MAX];
} bb_topology_need_t;

// A data centre without replicas has no local quorum: local_quorum and quorum then need what no
// mask can give (in_dc = 1 of 0).
bb_topology_need_t bb_topology_need(const bb_topology_t *self, bb_level_t level,
                                    uint32_t coordinator_dc_index);
// True when the replicas in `slot_mask` (bit i = slot i) satisfy the need.
bool bb_topology_is_met(const bb_topology_t *self, const bb_topology_need_t *need,
                        uint32_t slot_mask);
// What the mask lacks of the need, in words: "dc1 has 1 of the 2 replicas it needs; 3 of 4 in all",
// with each data centre that has too few; cut at the end when it does not fit, "" when it is met.
#define BB_TOPOLOGY_LACKS_BYTES 256u
void bb_topology_lacks_text(const bb_topology_t *self, const bb_topology_need_t *need,
                            uint32_t slot_mask, char out[BB_TOPOLOGY_LACKS_BYTES]);

#ifdef __cplusplus
}
#endif
#endif

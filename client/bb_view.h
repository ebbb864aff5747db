// SPDX-License-Identifier: Apache-2.0
// bb_view - the cluster as a client knows it: nodes, and which of them hold each partition.
//
// Pure. Made from a HELLO_REPLY, never changed afterwards; counted, so that a writer and the
// background thread may each keep one while a newer epoch replaces it.
//
// Also the choice of a node for a partition. Candidates are its replicas, in the order of
//   1. liveness (bb_liveness rank, smaller is better),
//   2. the preferred data centre before the others,
//   3. a hash of (salt, partition, node), which spreads partitions evenly over equals.
// Nodes that were tried already are left out, so a retry goes elsewhere.
#ifndef BB_VIEW_H
#define BB_VIEW_H

#include "protocol/bb_message.h"

#define BB_LINK_NONE UINT32_MAX

// A set of nodes by index.
typedef struct {
    uint64_t words[BB_NODES_MAX / 64];
} bb_node_set_t;

static inline void bb_node_set_add(bb_node_set_t *self, uint32_t node)
{
    self->words[node / 64] |= UINT64_C(1) << (node % 64);
}
static inline bool bb_node_set_has(const bb_node_set_t *self, uint32_t node)
{
    return (self->words[node / 64] >> (node % 64) & 1) != 0;
}

typedef struct {
    char id[BB_NODE_ID_BYTES_MAX + 1];
    char dc[BB_NODE_ID_BYTES_MAX + 1];
    char endpoint[BB_ENDPOINT_BYTES_MAX + 1];
    uint8_t public_key[32];
    uint32_t link; // index of the connection; set by whoever connects, BB_LINK_NONE until then
} bb_view_node_t;

typedef struct {
    _Atomic uint32_t references;
    char cluster_name[BB_NODE_ID_BYTES_MAX + 1];
    uint8_t cluster_id[16];
    uint8_t placement_key[16];
    uint32_t epoch;
    uint32_t partition_count; // power of two
    uint32_t replica_stride;
    bb_level_t default_write_level, default_read_level; // for requests that name none
    uint32_t node_count;
    bb_view_node_t *nodes;
    uint16_t *replicas; // partition_count * replica_stride, BB_REPLICA_NONE where there is none
} bb_view_t;

// Copies a decoded HELLO_REPLY with its envelope's epoch. MESSAGE_CORRUPT, with a sentence: no
// node, partition count not a power of two, a replica index out of range, an id twice or too long.
BB_MUST_CHECK bb_error_t bb_view_new(const bb_hello_reply_t *reply, uint32_t epoch,
                                     bb_view_t **view, bb_fault_t *fault);
bb_view_t *bb_view_keep(bb_view_t *self); // one more reference; NULL stays NULL
void bb_view_drop(bb_view_t **self);      // one less; any thread

uint32_t bb_view_partition_of(const bb_view_t *self, bb_slice_t battery);
uint32_t bb_view_node_of_id(const bb_view_t *self, const char *id); // or BB_LINK_NONE
bool bb_view_is_replica(const bb_view_t *self, uint32_t partition, uint32_t node);

// What a choice depends on beside the view.
typedef struct {
    const uint8_t *ranks;       // per node: 0 best .. BB_RANK_DOWN; a larger one only if need be
    const char *preferred_dc;   // "" = none
    const bb_node_set_t *tried; // left out; NULL = none
    uint32_t only_node;         // this one or none; BB_LINK_NONE = any
    uint64_t salt;              // differs per client, so that clients do not agree on favourites
} bb_view_choice_t;

// The node to ask for one partition, or BB_LINK_NONE when no replica is left.
uint32_t bb_view_choose(const bb_view_t *self, const bb_view_choice_t *choice, uint32_t partition);
// The best node that holds all of these partitions, or BB_LINK_NONE.
uint32_t bb_view_choose_common(const bb_view_t *self, const bb_view_choice_t *choice,
                               const uint32_t *partitions, uint32_t count);

#endif

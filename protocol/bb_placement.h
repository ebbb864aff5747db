// SPDX-License-Identifier: Apache-2.0
// bb_placement - which partition a battery belongs to, and which nodes should hold it.
//
// Pure and deterministic: integers only, so every machine computes the same.
//
//   battery id --SipHash-2-4, keyed--> partition --proposal--> replicas
//
// The proposal is rendezvous hashing (Thaler, Ravishankar 1998) with weights and with bounded loads
// in the sense of Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016):
// no node is filled above its share by more than 5 %, and what does not fit goes to the next
// choice. Plain bounded loads move much data when shares are small, because every overflow
// depends on hash luck. So each node first gets a price that evens that luck out; prices change
// little when a node comes or goes, and only the few replicas that are still too many overflow.
#ifndef BB_PLACEMENT_H
#define BB_PLACEMENT_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_PLACEMENT_WEIGHT_DEFAULT 100
#define BB_PLACEMENT_WEIGHT_MAX     10000
#define BB_REPLICA_NONE             UINT16_MAX

// The partition of a battery: the low bits of SipHash-2-4 of its id under the cluster's key.
// partition_count is a power of two, [1, BB_PARTITIONS_MAX].
uint32_t bb_partition_of(const uint8_t key[16], const void *id, size_t length,
                         uint32_t partition_count);

typedef struct {
    const char *id;
    const char *dc;
    const char *rack; // "" or NULL: all nodes without a rack share one
    uint32_t weight;  // [1, BB_PLACEMENT_WEIGHT_MAX]; share of the data relative to its neighbours
} bb_placement_node_t;

typedef struct {
    const char *name;
    uint32_t replica_count; // RF there; [0, nodes of the data centre]
} bb_placement_dc_t;

// Entries per partition in a table: the sum of all replica counts.
uint32_t bb_placement_stride(const bb_placement_dc_t *dcs, uint32_t dc_count);

// Fills replicas[partition * stride + i] with node indexes: first the replicas in dcs[0], then
// those in dcs[1]... Every partition gets exactly replica_count distinct nodes of each data centre,
// in distinct racks while there are enough racks (evenly spread over them otherwise). The result
// depends on ids, racks and weights only, not on the order of `nodes`. Racks come before loads: a
// rack that is too small for its share makes its nodes fuller than 5 % over the mean.
// Adding one node to N moves at most 1/(N+1) + 5 % of the replicas while racks are equal (tested;
// with racks of unequal size up to 1/(N+1) + 7 % was seen). 40 rounds of partitions x nodes steps:
// 4 ms for 6 nodes and 1,024 partitions, 2 s at the limits.
// BB_ERR_CONFIG, with a sentence: a data centre is unknown, twice, or has fewer nodes than
// replicas; an id is twice; a weight or count is out of range.
BB_MUST_CHECK bb_error_t bb_placement_propose(const bb_placement_node_t *nodes, uint32_t node_count,
                                              const bb_placement_dc_t *dcs, uint32_t dc_count,
                                              uint32_t partition_count, uint16_t *replicas,
                                              bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif

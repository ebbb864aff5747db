// SPDX-License-Identifier: Apache-2.0
// replication_topology - small clusters for the tests of the replication cores.
#ifndef REPLICATION_TOPOLOGY_H
#define REPLICATION_TOPOLOGY_H

#include <stdio.h>

#include "cluster-config/bb_topology.h"

#define TEST_EPOCH 5

// dc1 has `count1` nodes (first), dc2 `count2`; rf replicas in each. Owned by the caller.
static inline bb_topology_t *test_topology(uint32_t count1, uint32_t rf1, uint32_t count2,
                                           uint32_t rf2, uint32_t partition_count,
                                           uint32_t self_index)
{
    bb_topology_node_t nodes[8] = {{0}};
    char ids[8][4];
    for (uint32_t i = 0; i < count1 + count2; i++) {
        snprintf(ids[i], sizeof ids[i], "n%u", (i + 1) % 10);
        nodes[i] = (bb_topology_node_t){
            .id = ids[i], .dc = i < count1 ? "dc1" : "dc2", .rack = "", .weight = 100, .host = "h"};
    }
    bb_placement_dc_t dcs[2] = {{"dc1", rf1}, {"dc2", rf2}};
    bb_topology_options_t options = {.cluster_name = "test",
                                     .cluster_id = {1},
                                     .placement_key = {2},
                                     .epoch = TEST_EPOCH,
                                     .partition_count = partition_count,
                                     .dc_count = count2 > 0 ? 2 : 1,
                                     .dcs = dcs,
                                     .node_count = count1 + count2,
                                     .nodes = nodes,
                                     .self_index = self_index};
    bb_topology_t *topology = NULL;
    bb_fault_t fault = {0};
    bb_error_t error = bb_topology_new(&options, &topology, &fault);
    BB_ASSERT(error == BB_OK);
    return topology;
}

static inline bb_stream_t test_stream(uint8_t number)
{
    bb_stream_t stream = {{number}};
    return stream;
}

#endif

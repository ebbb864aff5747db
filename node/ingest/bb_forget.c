// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_forget.h"

#include <string.h>

bool bb_forget_is_unique(const bb_topology_t *topology)
{
    uint32_t self_index = bb_topology_self_index(topology);
    uint32_t hash = bb_stream_node_hash(bb_topology_node(topology, self_index)->id);
    for (uint32_t node = 0; node < bb_topology_node_count(topology); node++) {
        if (node != self_index &&
            bb_stream_node_hash(bb_topology_node(topology, node)->id) == hash) {
            return false;
        }
    }
    return true;
}

// The next stream of an earlier process at or behind *index; NULL: none.
static const bb_have_stream_t *s_next(const bb_have_set_t *have, const bb_stream_t *present,
                                      uint32_t *index)
{
    while (*index < have->stream_count) {
        const bb_have_stream_t *stream = &have->streams[(*index)++];
        if (bb_stream_is_before(&stream->stream, present)) {
            return stream;
        }
    }
    return NULL;
}

// Streams are sorted in both.
static bool s_are_alike(const bb_have_set_t *a, const bb_have_set_t *b, const bb_stream_t *present)
{
    uint32_t a_index = 0, b_index = 0;
    const bb_have_stream_t *left = s_next(a, present, &a_index);
    const bb_have_stream_t *right = s_next(b, present, &b_index);
    while (left && right) {
        if (!bb_stream_is_equal(&left->stream, &right->stream) ||
            left->range_count != right->range_count ||
            memcmp(left->ranges, right->ranges, left->range_count * sizeof *left->ranges) != 0) {
            return false;
        }
        left = s_next(a, present, &a_index);
        right = s_next(b, present, &b_index);
    }
    return !left && !right;
}

static bool s_is_settled_at(const bb_forget_look_t *look, uint32_t partition, uint32_t slot)
{
    uint32_t node = bb_topology_replicas(look->topology, partition)[slot];
    return bb_have_view_is_up(look->view, node) &&
           bb_have_view_is_known(look->view, node, partition) &&
           bb_have_view_sealed_below(look->view, node, partition) >=
               bb_stream_number(look->present) &&
           s_are_alike(look->own(look->own_context, partition),
                       bb_have_view_known(look->view, partition, slot), look->present);
}

bool bb_forget_is_settled(const bb_forget_look_t *look)
{
    BB_ASSERT(look && look->topology && look->view && look->own && look->present);
    if (look->unsealed_first < bb_stream_number(look->present)) {
        return false;
    }
    uint32_t self_index = bb_topology_self_index(look->topology);
    uint32_t count = 0;
    const uint32_t *partitions = bb_have_view_partitions(look->view, &count);
    for (uint32_t i = 0; i < count; i++) {
        const uint16_t *replicas = bb_topology_replicas(look->topology, partitions[i]);
        for (uint32_t slot = 0; slot < bb_topology_replica_count(look->topology); slot++) {
            if (replicas[slot] != self_index && !s_is_settled_at(look, partitions[i], slot)) {
                return false;
            }
        }
    }
    return true;
}

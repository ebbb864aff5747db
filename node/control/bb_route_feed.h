// SPDX-License-Identifier: Apache-2.0
// bb_route_feed - what the stores of this node measured, on its way to the route score.
//
// Pure; owned by the mesh actor, one for each store. A store says a few times a second how many
// acknowledgements it had from whom and how long they took, sums since its start; the differences
// are what the score wants. A store that says nothing stands in a sync: that counts as one.
#ifndef BB_ROUTE_FEED_H
#define BB_ROUTE_FEED_H

#include "node/control/bb_route_score.h"
#include "node/ingest/bb_shard.h"

// A store that was busy publishes every 250 ms; so long without a word is no schedule any more.
#define BB_ROUTE_FEED_SILENCE_NS (2 * BB_NS_PER_S)

typedef struct {
    uint64_t acks[BB_NODES_MAX], ack_ns[BB_NODES_MAX];
    uint64_t syncs, sync_ns;
    int64_t latency_ns; // of the syncs of the last word
    int64_t heard_mono_ns;
} bb_route_feed_t;

void bb_route_feed_stats(bb_route_feed_t *self, bb_route_score_t *score, int64_t now_mono_ns,
                         const bb_shard_stats_t *stats, uint32_t node_count);
// How long a sync of the store takes now; grows while it stands still.
int64_t bb_route_feed_sync_ns(const bb_route_feed_t *self, int64_t now_mono_ns);

#endif

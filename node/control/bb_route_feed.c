// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_route_feed.h"

void bb_route_feed_stats(bb_route_feed_t *self, bb_route_score_t *score, int64_t now_mono_ns,
                         const bb_shard_stats_t *stats, uint32_t node_count)
{
    BB_ASSERT(self && score && stats);
    BB_ASSERT(node_count <= BB_NODES_MAX);
    for (uint32_t node = 0; node < node_count; node++) {
        uint64_t count = stats->acks_of[node] - self->acks[node];
        uint64_t ns = stats->ack_ns_of[node] - self->ack_ns[node];
        if (count > 0) {
            bb_route_score_ack(score, node, (int64_t)BB_MIN(ns / count, (uint64_t)INT64_MAX));
        }
        if (stats->waiting_ns_of[node] > 0) {
            bb_route_score_waiting(score, node, stats->waiting_ns_of[node]);
        }
        self->acks[node] = stats->acks_of[node];
        self->ack_ns[node] = stats->ack_ns_of[node];
    }
    uint64_t syncs = stats->journal_syncs - self->syncs;
    if (syncs > 0) {
        uint64_t ns = (stats->journal_sync_ns_sum - self->sync_ns) / syncs;
        self->latency_ns = (int64_t)BB_MIN(ns, (uint64_t)INT64_MAX);
    }
    self->syncs = stats->journal_syncs;
    self->sync_ns = stats->journal_sync_ns_sum;
    self->heard_mono_ns = now_mono_ns;
}

int64_t bb_route_feed_sync_ns(const bb_route_feed_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    int64_t silence_ns = self->heard_mono_ns == 0 ? 0 : now_mono_ns - self->heard_mono_ns;
    return silence_ns >= BB_ROUTE_FEED_SILENCE_NS ? BB_MAX(silence_ns, self->latency_ns)
                                                  : self->latency_ns;
}

// SPDX-License-Identifier: Apache-2.0
// What follows from whether this node counts as a replica: the marks on what it tells others, what
// it refuses, and what becomes of requests under way when that changes.
#include "node/ingest/bb_shard_internal.h"

#include "storage/bb_store_sync.h"

uint32_t bb_shard_counted_epoch(const bb_shard_t *self)
{
    return self->standing == BB_STANDING_COUNTING ? self->epoch : 0;
}

void bb_shard_counting(const bb_shard_t *self, bool *is_counting)
{
    for (uint32_t node = 0; node < self->node_count; node++) {
        is_counting[node] = self->is_up[node] && !self->is_barred[node];
    }
}

bool bb_shard_may_serve(const bb_shard_t *self, bb_level_t level, const char **refusal)
{
    switch (self->standing) {
    case BB_STANDING_COUNTING:
        break;
    case BB_STANDING_JOINING:
        *refusal = "this node waits for a majority of all nodes to register its start";
        return level == BB_LEVEL_ONE;
    case BB_STANDING_REBUILDING:
        *refusal = "this node's disk has lost what it held, and is being rebuilt from the others";
        return level == BB_LEVEL_ONE;
    case BB_STANDING_FENCED:
        *refusal = "a later process has this node's identity; this one is fenced for good";
        return false;
    }
    return true;
}

void bb_shard_set_standing(bb_shard_t *self, bb_shard_time_t time, bb_standing_t standing)
{
    BB_ASSERT(self);
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    BB_ASSERT(self->standing != BB_STANDING_FENCED || standing == BB_STANDING_FENCED);
    self->time = time;
    bool did_count = self->standing == BB_STANDING_COUNTING;
    self->standing = standing;
    bb_store_results_hold(self->store, standing != BB_STANDING_COUNTING);
    self->is_changed = true; // reads that wait are refused, or may go ahead
    if (did_count && standing != BB_STANDING_COUNTING) {
        // Replicas may have the batch, and our own copy has no weight any more.
        bb_replication_fail_all(self->replication, BB_ERR_TIMEOUT, time.mono_ns);
    }
    if (!did_count && standing == BB_STANDING_COUNTING) {
        for (uint32_t node = 0; node < self->node_count; node++) {
            if (node != self->self_index) {
                bb_shard_ack_all(self, node); // what was said before counted for nobody
            }
        }
    }
}

bb_standing_t bb_shard_standing(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return self->standing;
}

void bb_shard_peer_standing(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index,
                            bool is_counting)
{
    BB_ASSERT(self && peer_index < self->node_count && peer_index != self->self_index);
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    self->time = time;
    self->is_changed |= self->is_barred[peer_index] == is_counting;
    self->is_barred[peer_index] = !is_counting;
    bb_fence_peer(self->fence, peer_index, !is_counting);
    bb_shard_watch_peer(self, peer_index, true);
    // Its acknowledgement says nothing to who asked it to pass something on.
    bb_relay_slow(self->relay, peer_index, !is_counting || self->is_slow[peer_index]);
}

void bb_shard_peer_slow(bb_shard_t *self, uint32_t peer_index, bool is_slow)
{
    BB_ASSERT(self && peer_index < self->node_count);
    self->is_slow[peer_index] = is_slow;
    bb_fence_slow(self->fence, peer_index, is_slow);
    bb_relay_slow(self->relay, peer_index, is_slow || self->is_barred[peer_index]);
}

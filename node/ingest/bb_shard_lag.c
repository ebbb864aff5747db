// SPDX-License-Identifier: Apache-2.0
// How far each other data centre is behind, as its reported have-sets say.
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>

typedef struct {
    uint64_t lacks;  // chunks that we hold and it does not
    uint64_t prefix; // of our stream it holds everything up to here
} s_replica_t;

static uint64_t s_prefix(const bb_have_set_t *have, const bb_stream_t *stream)
{
    const bb_have_stream_t *held = bb_have_set_stream(have, stream);
    return held && held->ranges[0].first_seq == 1 ? held->ranges[0].last_seq : 0;
}

static int s_by_prefix_down(const void *a, const void *b)
{
    uint64_t left = ((const s_replica_t *)a)->prefix, right = ((const s_replica_t *)b)->prefix;
    return left > right ? -1 : left < right;
}

static int s_by_lacks_up(const void *a, const void *b)
{
    uint64_t left = ((const s_replica_t *)a)->lacks, right = ((const s_replica_t *)b)->lacks;
    return left < right ? -1 : left > right;
}

// What a majority of the data centre's replicas of the partition has: local_quorum there sees it.
static s_replica_t s_majority(const bb_shard_t *self, uint32_t dc, uint32_t partition)
{
    s_replica_t replicas[BB_REPLICAS_MAX] = {{0}};
    uint32_t count = bb_topology_dc_replica_count(self->topology, dc);
    uint32_t first = bb_topology_dc_slot_first(self->topology, dc);
    const bb_have_set_t *own = bb_store_have(self->store, partition);
    for (uint32_t i = 0; i < count; i++) {
        const bb_have_set_t *known = bb_have_view_known(self->view, partition, first + i);
        replicas[i] = (s_replica_t){.lacks = bb_have_set_lacks_count(known, own),
                                    .prefix = s_prefix(known, &self->options.stream)};
    }
    s_replica_t majority;
    qsort(replicas, count, sizeof replicas[0], s_by_lacks_up);
    majority.lacks = replicas[count / 2].lacks;
    qsort(replicas, count, sizeof replicas[0], s_by_prefix_down);
    majority.prefix = replicas[count / 2].prefix;
    return majority;
}

void bb_shard_dc_lags(const bb_shard_t *self, bb_shard_stats_t *stats)
{
    uint32_t own_dc = bb_topology_node(self->topology, self->self_index)->dc_index;
    uint32_t dc_count = bb_topology_dc_count(self->topology), partition_count = 0;
    const uint32_t *partitions = bb_have_view_partitions(self->view, &partition_count);
    for (uint32_t i = 0; i < partition_count && dc_count > 1; i++) {
        uint32_t partition = partitions[i];
        uint64_t seq_last = bb_replication_seq_last(self->replication, partition);
        uint64_t everywhere = seq_last;
        for (uint32_t dc = 0; dc < dc_count; dc++) {
            if (dc == own_dc || bb_topology_dc_replica_count(self->topology, dc) == 0) {
                continue;
            }
            s_replica_t majority = s_majority(self, dc, partition);
            stats->dc_lag_chunks[dc] += majority.lacks;
            if (majority.prefix < seq_last) {
                int64_t age_ns = bb_dc_lag_age_ns(self->dc_lag, self->time.mono_ns, partition,
                                                  majority.prefix + 1);
                stats->dc_lag_ns[dc] = BB_MAX(stats->dc_lag_ns[dc], (uint64_t)age_ns);
                everywhere = BB_MIN(everywhere, majority.prefix);
            }
        }
        // Only a cache of times gets smaller: what this says does not change by it.
        bb_dc_lag_forget(self->dc_lag, partition,
                         everywhere == seq_last ? UINT64_MAX : everywhere + 1);
    }
}

// SPDX-License-Identifier: Apache-2.0
// bb_forget - may the streams of this node's earlier processes be forgotten, as far as one store
// goes?
//
// Pure function of what one shard knows. A node speaks of its own streams alone, and of those of
// its ended processes (protocol/bb_forgotten.h). They may go when nobody could ever lack a chunk of
// them again:
//
//   alike    in each partition, every other replica's last report has the same ranges of them as
//            our own have-set; all replicas are up and count
//   sealed   all these chunks are in segments, here and there: what a damaged journal takes away is
//            noticed because a have-set lacks it, and no have-set will speak of these
//   watched  where there are rules they have seen all of them, here and there: they read journals
//            by dots (bb_watch.h). Reports and `unsealed_first` say both in one number
//
// All are facts of one report, which tells have-sets and what is sealed of the same moment, and
// stay true: have-sets grow, and nobody gives dots of a dead stream any more. What arrives behind a
// report after all, its receiver gives a dot of its own before it forgets (bb_shard_forget.h). A
// replica that loses its disk later counts again only when it has compared its windows with those
// of one that counts (bb_segment_sync.h).
#ifndef BB_FORGET_H
#define BB_FORGET_H

#include "node/ingest/bb_have_view.h"

typedef struct {
    const bb_topology_t *topology;
    const bb_have_view_t *view;
    bb_have_own_fn own;
    void *own_context;
    const bb_stream_t *present; // of this process: earlier ones of its node are looked at
    uint32_t unsealed_first;    // of the own store: bb_shard_sealed_below of this node
} bb_forget_look_t;

// No other node of the cluster has the hash of this one: their streams would be taken for ours.
bool bb_forget_is_unique(const bb_topology_t *topology);
// Cost: partitions x replicas, and the dead streams of each.
bool bb_forget_is_settled(const bb_forget_look_t *look);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_shortfall - what replicas lack: chunks a node, and partitions that have been short of a copy
// for long enough to say so.
//
// Pure core, owned by one shard; a look at its view (bb_have_view.h) at the present moment.
//
//   unequal           not every replica is known to have all that is known to exist. While
//                     something is written there nearly always is such a partition: what one
//                     replica has stored the others tell of with their next report
//   under-replicated  a replica is down, does not count or has told of nothing yet; or one lacks
//                     what has been known to exist for BB_SHORTFALL_NS, or was when it came back
//
// So each unequal partition has two marks, copies of what existed: at each BB_SHORTFALL_NS the
// younger becomes the older, and it is the older that replicas must have. What a replica lacks is
// counted after one to two times BB_SHORTFALL_NS, whatever is written meanwhile, and not before:
//
//   time       0         1 N       2 N       3 N
//   young      mark a    mark b    mark c
//   old        -         mark a    mark b            counted while a replica lacks some of it
//
// Equal partitions have no marks and cost a comparison a replica, others a union and a difference
// a replica, and a copy every BB_SHORTFALL_NS. 16,384 partitions of three replicas and three
// streams: 1.4 ms when all are equal, 8 to 16 ms when none is.
#ifndef BB_SHORTFALL_H
#define BB_SHORTFALL_H

#include "node/ingest/bb_have_view.h"

typedef struct bb_shortfall bb_shortfall_t;

// Reports come once a second while something is written; a busy node may be late with one.
#define BB_SHORTFALL_NS (2 * BB_NS_PER_S)

typedef struct {
    uint32_t under_replicated, unequal; // partitions; the former are among the latter
} bb_shortfall_counts_t;

// The view is borrowed and must outlive it. What exists at the first look is old.
bb_shortfall_t *bb_shortfall_new(const bb_have_view_t *view);
void bb_shortfall_destroy(bb_shortfall_t **self);
// is_counting and lag_chunks: one per node of the topology, this one included. Sets of lag_chunks,
// for each, how many chunks are known to exist in the partitions that it holds here and are not
// known to be there. now_mono_ns never goes back. Marks are taken by looks: look at least once in
// BB_SHORTFALL_NS.
bb_shortfall_counts_t bb_shortfall_look(bb_shortfall_t *self, int64_t now_mono_ns,
                                        const bool *is_counting, uint64_t *lag_chunks);
// More is forgotten (bb_have_view_forget): no replica must have it any more.
void bb_shortfall_forget(bb_shortfall_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_shard_forget - what a shard does about dead streams: says when its own may be forgotten, and
// forgets those that it is told of.
//
// Part of bb_shard; only its files include this. Decision: bb_forget.h. Words:
// protocol/bb_forgotten.h.
//
//   told ──▶ chunks of it in our journal that some replica is not known to hold get dots of our own
//            stream, durable here ──▶ applied: out of have-sets, views, waiting reads and tokens
//
// Between the two the streams are in our have-set as before; peers that are ahead leave them out of
// what we report. From the moment it is told nothing of these streams is taken from peers: nobody
// counts it, and who has it alone does the same with it.
#ifndef BB_SHARD_FORGET_H
#define BB_SHARD_FORGET_H

#include "node/ingest/bb_shard.h"

typedef struct bb_shard_forget bb_shard_forget_t;

bb_shard_forget_t *bb_shard_forget_new(const bb_topology_t *topology, const bb_stream_t *present,
                                       uint32_t partition_count);
void bb_shard_forget_destroy(bb_shard_forget_t **self);
// Applied. Lives as long as the object; grows.
const bb_forgotten_t *bb_shard_forgotten(const bb_shard_forget_t *self);

void bb_shard_forget_step(bb_shard_t *self);
int64_t bb_shard_forget_wake_mono_ns(const bb_shard_t *self);
// Dots that were adopted by segment sync may be of such streams.
void bb_shard_forget_adopted(bb_shard_t *self);
// A chunk of this stream is not taken: it is forgotten, or it comes from a process (is_live: not
// out of a journal that was asked for it) of which we know that it has ended.
bool bb_shard_is_dead(const bb_shard_t *self, const bb_stream_t *stream, bool is_live);
// How many streams in have-sets are not of the present process of a node, as far as it was heard of
// since our start. Cost: streams x nodes.
uint64_t bb_shard_dead_stream_count(const bb_shard_t *self);
// For reports to the node: bb_have_t.sealed_below.
uint32_t bb_shard_sealed_below(const bb_shard_t *self, uint32_t node);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_shard_sync - segment sync in a shard: both sides of it, between bb_segment_sync and the store.
//
// Private to bb_shard*.c; belongs to the shard. As a target it asks, computes own leaves in jobs,
// stages what comes as chunks without dots, and adopts with a flush. As a source it answers from
// jobs, a few questions in each. Jobs are those of the store: one at a time, between flushes and
// merges.
//
// When it begins by itself:
//   catch up   chunks of a partition are lacking that a journal no longer has, for a second
//   rebuild    the node's standing is REBUILDING: all partitions
//   repair     a segment is on the list of damage: its window, in all partitions; then it is
//   dropped
#ifndef BB_SHARD_SYNC_H
#define BB_SHARD_SYNC_H

#include "node/ingest/bb_shard.h"

typedef struct bb_shard_sync bb_shard_sync_t;

bb_shard_sync_t *bb_shard_sync_new(bb_shard_t *shard);
void bb_shard_sync_destroy(bb_shard_sync_t **self);

// In each commit: looks for what is wanted, sends questions.
void bb_shard_sync_step(bb_shard_t *shard);
int64_t bb_shard_sync_wake_mono_ns(const bb_shard_t *shard);
// Messages of peers; a bad one changes nothing. Errors are the peer's fault.
BB_MUST_CHECK bb_error_t bb_shard_sync_on_question(bb_shard_t *shard, uint32_t node,
                                                   const bb_message_t *message);
BB_MUST_CHECK bb_error_t bb_shard_sync_on_answer(bb_shard_t *shard, uint32_t node,
                                                 const bb_message_t *message);
// A job that answers what waits; false: nothing does. Its outcome, before it is ended.
bool bb_shard_sync_begin(bb_shard_t *shard, bb_store_job_t **job);
void bb_shard_sync_found(bb_shard_t *shard, bb_store_job_t *job);
// All that was staged is applied, which the next step tells the core; or it is lost.
void bb_shard_sync_committed(bb_shard_t *shard, bool is_synced);
// A flush should begin, because have-sets wait for it; one has ended.
bool bb_shard_sync_is_flush_due(const bb_shard_t *shard);
void bb_shard_sync_flushed(bb_shard_t *shard);
void bb_shard_sync_stats(const bb_shard_t *shard, bb_shard_stats_t *stats);

#endif

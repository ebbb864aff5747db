// SPDX-License-Identifier: Apache-2.0
// bb_dc_lag - when a chunk of ours was accepted, for how far a data centre is behind in seconds.
//
// Pure core, owned by one shard. The age of the oldest chunk that a data centre lacks could be read
// from its journal record; that is much work for a gauge. Instead some (time, seq) marks are kept
// in each partition, at most BB_DC_LAG_MARKS of them. When there is one more, two neighbours become
// one: those that stay closest together for their age, never the oldest. So an age is never too
// small; that of the oldest mark, which is what counts in an outage, is right to half a second,
// and any other at most twice what it is. Nothing is kept while all data centres are in step.
#ifndef BB_DC_LAG_H
#define BB_DC_LAG_H

#include "protocol/bb_base.h"

typedef struct bb_dc_lag bb_dc_lag_t;

#define BB_DC_LAG_MARKS       32u
#define BB_DC_LAG_INTERVAL_NS (BB_NS_PER_S / 2) // chunks of so long have one mark

bb_dc_lag_t *bb_dc_lag_new(uint32_t partition_count);
void bb_dc_lag_destroy(bb_dc_lag_t **self);

// The dot `seq` of our stream was just given in the partition; they come in order.
void bb_dc_lag_given(bb_dc_lag_t *self, int64_t now_mono_ns, uint32_t partition, uint64_t seq);
// How long ago, at most, `seq` was given; 0 when nothing is known of it.
int64_t bb_dc_lag_age_ns(const bb_dc_lag_t *self, int64_t now_mono_ns, uint32_t partition,
                         uint64_t seq);
// Nobody will ask for dots before `seq` any more. UINT64_MAX: for none that was given so far.
void bb_dc_lag_forget(bb_dc_lag_t *self, uint32_t partition, uint64_t seq);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_pace - slows writers down a little before the head is full, instead of stopping them when it
// is.
//
// Pure core; part of a shard. While a flush is out, what it froze still counts, so the head has
// room only for what comes meanwhile. Writers that are faster than the flush would use it up early
// and then all wait until the flush ends. Instead the room is given out along a line that ends when
// the flush is expected to (its bytes times the pace of the flushes before):
//
//   room  max/2 ┤                    ____ no more than the head holds
//               │              __.--'
//               │        __.--'   not above this line yet
//         max/16┤__.--''
//               └──────────────────────┬──▶ time since the flush began
//                                   expected end
//
// Half of the head is what a generation settles at: one half is being flushed while the other
// fills, and writers then run exactly as fast as flushes. Slower ones never touch the line.
#ifndef BB_PACE_H
#define BB_PACE_H

#include "protocol/bb_base.h"

typedef struct {
    uint64_t head_bytes_max;
    bool is_flushing;
    int64_t begun_mono_ns;
    uint64_t frozen_bytes; // what the flush has to write
    double ns_per_byte;    // of flushes so far, newer ones count more; at first a guess
} bb_pace_t;

void bb_pace_init(bb_pace_t *self, uint64_t head_bytes_max);
// A flush of everything that the head holds begins.
void bb_pace_flush_begin(bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes);
// It ended; one that failed says nothing about the pace.
void bb_pace_flush_end(bb_pace_t *self, int64_t now_mono_ns, bool is_good);
// When a batch may be taken while the head holds head_bytes: now_mono_ns = at once, a later moment,
// or BB_NEVER_NS = when a flush has ended.
int64_t bb_pace_take_mono_ns(const bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes);

#endif

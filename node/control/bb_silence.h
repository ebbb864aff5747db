// SPDX-License-Identifier: Apache-2.0
// bb_silence - how long a peer that sends heartbeats may be silent before it is taken for down.
//
// Pure value; one a peer, owned by bb_detector. Whole numbers only, so that every compiler gets the
// same verdicts.
//
// Source: Hayashibara, Defago, Yared, Katayama, "The phi accrual failure detector" (SRDS 2004):
// suspicion is phi(t) = -log10 P(a live peer is silent for longer than t), with the distribution of
// intervals learnt from a sliding window; down is phi >= BB_SILENCE_PHI. Two things differ.
//
// 1. The paper takes intervals as normal. Lost heartbeats make them geometric, whose tail is far
//    longer: with 5 % lost, a normal fit is wrong a hundred times as often as it says. Here a
//    silence is n heartbeats, all lost, each with the share p of lost ones in the window, and then
//    the delay of the next, normal with the deviation that the window shows:
//
//      last heard   due    due    due    deviations x 6
//          ●─────────┼──────┼──────┼───────────────┤ limit        p^n <= 10^-BB_SILENCE_PHI
//                    1      2      n = 3 .. 10
//
//    p is (missed + 1/4) / due, so that a window without a loss is still no proof of p = 0 and a
//    short one proves little: a new peer has the whole of suspect_ns, one that missed none of the
//    last 128 three heartbeats.
// 2. Deviations have a floor, suspect_ns / 20: a live process may pause longer than a short window
//    of a quiet hour has seen. And suspect_ns is never exceeded: a silent peer is down as soon as
//    with a plain timeout, or sooner.
#ifndef BB_SILENCE_H
#define BB_SILENCE_H

#include "protocol/bb_base.h"

#define BB_SILENCE_PHI           8
#define BB_SILENCE_WINDOW_COUNT  256 // intervals
#define BB_SILENCE_DEVIATIONS    6   // a normal variable is past this once in 10^9
#define BB_SILENCE_FLOOR_DIVISOR 20

typedef struct {
    int64_t heartbeat_ns, suspect_ns;
    uint32_t count, next_index; // intervals in the window; where the next goes
    struct {
        int32_t residual_us; // the interval less its (missed + 1) heartbeats
        uint32_t missed;
    } intervals[BB_SILENCE_WINDOW_COUNT];
    uint64_t missed_sum, square_us2_sum; // over the window
    int64_t limit_ns;
} bb_silence_t;

// 0 < heartbeat_ns <= suspect_ns <= 10 minutes. heartbeat_ns is what is expected; a peer that sends
// more rarely looks like one that loses some, and gets more patience for it.
void bb_silence_init(bb_silence_t *self, int64_t heartbeat_ns, int64_t suspect_ns);

// One more interval between two heartbeats of one process, >= 0; longer than suspect_ns counts as
// suspect_ns, because how long it stood still says nothing about the losses of the link.
void bb_silence_add(bb_silence_t *self, int64_t interval_ns);

// A peer silent for this long is down; in (0, suspect_ns]. Constant cost.
int64_t bb_silence_limit_ns(const bb_silence_t *self);

#endif

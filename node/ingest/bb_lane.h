// SPDX-License-Identifier: Apache-2.0
// bb_lane - arithmetic of lanes (bb_have_view.h): how many there are, and when each has its turn.
//
// Pure.
#ifndef BB_LANE_H
#define BB_LANE_H

#include "protocol/bb_base.h"

// The smallest common multiple; a, b >= 1.
static inline uint32_t bb_lane_common_multiple(uint32_t a, uint32_t b)
{
    uint32_t x = a, y = b;
    while (y > 0) { // Euclid
        uint32_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

// Peers are not asked in step: the interval is stretched by up to a quarter, by a hash.
static inline int64_t bb_lane_interval_ns(int64_t interval_ns, uint64_t turn, uint32_t node)
{
    uint64_t hash = (turn * 0x9e3779b97f4a7c15u) ^ ((uint64_t)node << 32);
    hash = (hash ^ (hash >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
    return interval_ns + (int64_t)((hash >> 33) % (uint64_t)(interval_ns / 4 + 1));
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_clock - the two clocks, read only by shells; cores get time inside their events.
#ifndef BB_CLOCK_H
#define BB_CLOCK_H

#include <time.h>

#include "protocol/bb_base.h"

static inline int64_t bb_clock_read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

// For timeouts; never goes back.
static inline int64_t bb_clock_mono_ns(void)
{
    return bb_clock_read_ns(CLOCK_MONOTONIC);
}

// For data and logs; may jump.
static inline int64_t bb_clock_wall_ns(void)
{
    return bb_clock_read_ns(CLOCK_REALTIME);
}

// Milliseconds until `wake_mono_ns`, rounded up, in [0, limit_ms], for a poll.
static inline long bb_clock_timeout_ms(int64_t now_mono_ns, int64_t wake_mono_ns, long limit_ms)
{
    if (wake_mono_ns <= now_mono_ns) {
        return 0;
    }
    int64_t wait_ms = (wake_mono_ns - now_mono_ns + BB_NS_PER_MS - 1) / BB_NS_PER_MS;
    return wait_ms < limit_ms ? (long)wait_ms : limit_ms;
}

#endif

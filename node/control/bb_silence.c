// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_silence.h"

#define S_NS_MAX          (600 * BB_NS_PER_S)
#define S_RESIDUAL_US_MAX INT64_C(100000000) // the sum of a window of squares fits 64 bits

// Index n: the smallest due/missed for which n heartbeats are all lost once in 10^BB_SILENCE_PHI,
// in hundredths: 100 * 10^(BB_SILENCE_PHI / n), rounded up.
static const uint64_t s_ratios[] = {
    UINT64_MAX, UINT64_MAX, UINT64_MAX, // fewer than three are never enough
    46416,      10000,      3982,       2155, 1390, 1000, 775, 631,
};
static_assert(BB_SILENCE_PHI == 8, "the table is for this one");

void bb_silence_init(bb_silence_t *self, int64_t heartbeat_ns, int64_t suspect_ns)
{
    BB_ASSERT(self);
    BB_ASSERT(heartbeat_ns > 0);
    BB_ASSERT(heartbeat_ns <= suspect_ns && suspect_ns <= S_NS_MAX);
    *self = (bb_silence_t){
        .heartbeat_ns = heartbeat_ns,
        .suspect_ns = suspect_ns,
        .limit_ns = suspect_ns,
    };
}

// The largest root whose square is not more.
static uint64_t s_root(uint64_t square)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
        uint64_t candidate = root | bit;
        root = candidate * candidate <= square ? candidate : root;
    }
    return root;
}

// How many heartbeats in a row would not all be lost; 0: more than the table knows.
static uint32_t s_lost_count(const bb_silence_t *self)
{
    uint64_t due = self->count + self->missed_sum;
    uint64_t missed_quarters = 4 * self->missed_sum + 1;
    for (uint32_t n = 3; n < BB_COUNT_OF(s_ratios); n++) {
        if (400 * due >= s_ratios[n] * missed_quarters) {
            return n;
        }
    }
    return 0;
}

static int64_t s_limit_ns(const bb_silence_t *self)
{
    uint32_t lost_count = s_lost_count(self);
    if (lost_count == 0) {
        return self->suspect_ns;
    }
    // Around 0 and not around their mean: a peer with another period than ours is given more time.
    int64_t deviation_ns = (int64_t)s_root(self->square_us2_sum / self->count) * BB_NS_PER_US;
    deviation_ns = BB_MAX(deviation_ns, self->suspect_ns / BB_SILENCE_FLOOR_DIVISOR);
    int64_t limit_ns =
        (int64_t)lost_count * self->heartbeat_ns + BB_SILENCE_DEVIATIONS * deviation_ns;
    return BB_MIN(limit_ns, self->suspect_ns);
}

void bb_silence_add(bb_silence_t *self, int64_t interval_ns)
{
    BB_ASSERT(self);
    BB_ASSERT(interval_ns >= 0);
    interval_ns = BB_MIN(interval_ns, self->suspect_ns);
    int64_t beats = (interval_ns + self->heartbeat_ns / 2) / self->heartbeat_ns; // rounded
    beats = BB_MAX(beats, 1);
    int64_t residual_us = (interval_ns - beats * self->heartbeat_ns) / BB_NS_PER_US;
    residual_us = BB_MIN(BB_MAX(residual_us, -S_RESIDUAL_US_MAX), S_RESIDUAL_US_MAX);
    uint32_t index = self->next_index;
    if (self->count == BB_SILENCE_WINDOW_COUNT) {
        int64_t old_us = self->intervals[index].residual_us;
        self->missed_sum -= self->intervals[index].missed;
        self->square_us2_sum -= (uint64_t)(old_us * old_us);
    } else {
        self->count++;
    }
    self->intervals[index].residual_us = (int32_t)residual_us;
    self->intervals[index].missed = (uint32_t)(beats - 1);
    self->missed_sum += (uint64_t)(beats - 1);
    self->square_us2_sum += (uint64_t)(residual_us * residual_us);
    self->next_index = (index + 1) % BB_SILENCE_WINDOW_COUNT;
    self->limit_ns = s_limit_ns(self);
    BB_ASSERT(self->limit_ns > 0 && self->limit_ns <= self->suspect_ns);
}

int64_t bb_silence_limit_ns(const bb_silence_t *self)
{
    BB_ASSERT(self);
    return self->limit_ns;
}

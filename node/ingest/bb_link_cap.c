// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_link_cap.h"

#define S_LIVE_SHARE 0.9

// Tokens that a bucket holds at most.
static double s_burst(const bb_link_cap_t *self)
{
    return (double)self->bytes_per_s * (double)BB_LINK_CAP_BURST_NS / BB_NS_PER_S;
}

// Repair goes in pieces of at least so much: a pull costs its question too.
static double s_piece(const bb_link_cap_t *self)
{
    return s_burst(self) / 2;
}

void bb_link_cap_init(bb_link_cap_t *self, uint64_t bytes_per_s, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    *self = (bb_link_cap_t){.bytes_per_s = bytes_per_s, .mono_ns = now_mono_ns};
    self->live = s_burst(self);
    self->repair = s_burst(self);
}

static void s_fill(bb_link_cap_t *self, int64_t now_mono_ns)
{
    if (now_mono_ns <= self->mono_ns) {
        return;
    }
    double tokens = (double)self->bytes_per_s * (double)(now_mono_ns - self->mono_ns) / BB_NS_PER_S;
    self->mono_ns = now_mono_ns;
    self->live += S_LIVE_SHARE * tokens;
    self->repair += (1 - S_LIVE_SHARE) * tokens;
    double over = BB_MAX(self->live - s_burst(self), 0.0);
    self->live -= over;
    self->repair += over;
    over = BB_MAX(self->repair - s_burst(self), 0.0);
    self->repair -= over;
    self->live = BB_MIN(self->live + over, s_burst(self));
}

bool bb_link_cap_take_live(bb_link_cap_t *self, int64_t now_mono_ns, uint64_t bytes)
{
    BB_ASSERT(self);
    if (self->bytes_per_s == 0) {
        return true;
    }
    s_fill(self, now_mono_ns);
    if (self->live <= 0) {
        return false;
    }
    self->live -= (double)bytes;
    return true;
}

uint64_t bb_link_cap_repair(bb_link_cap_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (self->bytes_per_s == 0) {
        return UINT64_MAX;
    }
    s_fill(self, now_mono_ns);
    return self->repair >= s_piece(self) ? (uint64_t)self->repair + 1 : 0;
}

void bb_link_cap_repaired(bb_link_cap_t *self, uint64_t bytes)
{
    BB_ASSERT(self);
    if (self->bytes_per_s != 0) {
        self->repair -= (double)bytes;
    }
}

int64_t bb_link_cap_repair_mono_ns(const bb_link_cap_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    double lacks = s_piece(self) - self->repair;
    if (self->bytes_per_s == 0 || lacks <= 0) {
        return now_mono_ns;
    }
    double rate = (double)self->bytes_per_s, room = s_burst(self) - self->live;
    // Its own tenth brings it for certain; all of the rate, once the other bucket is full.
    double own_s = lacks / ((1 - S_LIVE_SHARE) * rate);
    double over_s = BB_MAX(room / (S_LIVE_SHARE * rate), (lacks + room) / rate);
    double wait_ns = BB_MIN(own_s, over_s) * BB_NS_PER_S;
    return BB_MAX(self->mono_ns + (int64_t)BB_MIN(wait_ns, 1e15) + 1, now_mono_ns);
}

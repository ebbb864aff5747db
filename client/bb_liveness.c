// SPDX-License-Identifier: Apache-2.0
#include "client/bb_liveness.h"

#define S_PENALTY_NS_FIRST      BB_NS_PER_S
#define S_PENALTY_DOUBLINGS_MAX 4 // 16 s

void bb_liveness_init(bb_liveness_t *self)
{
    *self = (bb_liveness_t){.state = BB_RANK_CONNECTING};
}

static void s_suspect(bb_liveness_t *self, int64_t now_ns)
{
    uint32_t doublings = BB_MIN(self->timeout_count, S_PENALTY_DOUBLINGS_MAX);
    self->state = BB_RANK_SUSPECT;
    self->suspect_until_ns = now_ns + (S_PENALTY_NS_FIRST << doublings);
}

bool bb_liveness_step(bb_liveness_t *self, bb_liveness_event_t event, int64_t now_ns)
{
    BB_ASSERT(self);
    uint8_t rank_before = bb_liveness_rank(self, now_ns);
    bool is_connected = self->state == BB_RANK_GOOD || self->state == BB_RANK_SUSPECT;
    switch (event) {
    case BB_LIVENESS_CONNECTED:
        *self = (bb_liveness_t){.state = BB_RANK_GOOD};
        break;
    case BB_LIVENESS_DISCONNECTED:
        *self = (bb_liveness_t){.state = BB_RANK_DOWN};
        break;
    case BB_LIVENESS_ANSWERED:
        // A late answer of a connection that broke since says nothing about the next one.
        if (is_connected) {
            *self = (bb_liveness_t){.state = BB_RANK_GOOD};
        }
        break;
    case BB_LIVENESS_TIMED_OUT:
        if (is_connected) {
            s_suspect(self, now_ns);
            self->timeout_count++;
        }
        break;
    case BB_LIVENESS_STOPPING:
        if (is_connected) {
            s_suspect(self, now_ns);
        }
        break;
    default:
        BB_ASSERT(false);
    }
    return bb_liveness_rank(self, now_ns) != rank_before;
}

uint8_t bb_liveness_rank(const bb_liveness_t *self, int64_t now_ns)
{
    if (self->state == BB_RANK_SUSPECT && now_ns >= self->suspect_until_ns) {
        return BB_RANK_GOOD;
    }
    return self->state;
}

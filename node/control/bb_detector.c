// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_detector.h"

#include <stdlib.h>
#include <string.h>

#include "node/control/bb_silence.h"

typedef struct {
    bool is_up, was_seen;
    bb_stream_t incarnation;
    bb_stream_t replaced; // the incarnation before
    int64_t heard_mono_ns;
    int64_t offset_ns;
    bb_silence_t silence;
} s_peer_t;

struct bb_detector {
    uint32_t node_count, self_index;
    int64_t suspect_ns;
    bool is_skewed;
    s_peer_t *peers; // node_count; that of self is always up at offset 0
};

bb_detector_t *bb_detector_new(const bb_detector_options_t *options)
{
    BB_ASSERT(options);
    BB_ASSERT(options->node_count >= 1 && options->node_count <= BB_NODES_MAX);
    BB_ASSERT(options->self_index < options->node_count);
    bb_detector_t *self = bb_alloc_zero(1, sizeof *self);
    *self = (bb_detector_t){.node_count = options->node_count,
                            .self_index = options->self_index,
                            .suspect_ns = options->suspect_ns,
                            .peers = bb_alloc_zero(options->node_count, sizeof(s_peer_t))};
    for (uint32_t i = 0; i < self->node_count; i++) {
        bb_silence_init(&self->peers[i].silence, options->heartbeat_ns, options->suspect_ns);
    }
    self->peers[self->self_index].is_up = true;
    self->peers[self->self_index].was_seen = true;
    return self;
}

void bb_detector_destroy(bb_detector_t **self_p)
{
    if (*self_p) {
        free((*self_p)->peers);
        free(*self_p);
        *self_p = NULL;
    }
}

static int s_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t s_distance(int64_t offset_ns)
{
    return offset_ns < 0 ? (offset_ns == INT64_MIN ? INT64_MAX : -offset_ns) : offset_ns;
}

// Median offset of all that are up, seen from our clock.
static int64_t s_median_offset_ns(const bb_detector_t *self)
{
    int64_t offsets[BB_NODES_MAX] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->peers[i].is_up) {
            offsets[count++] = self->peers[i].offset_ns;
        }
    }
    qsort(offsets, count, sizeof offsets[0], s_compare);
    int64_t upper = offsets[count / 2];
    if (count % 2 == 1) {
        return upper;
    }
    int64_t lower = offsets[count / 2 - 1];
    return s_distance(lower) <= s_distance(upper) ? lower : upper;
}

// When silence since the last heartbeat is enough.
static int64_t s_suspect_mono_ns(const s_peer_t *peer)
{
    return peer->heard_mono_ns + bb_silence_limit_ns(&peer->silence);
}

static void s_finish(bb_detector_t *self, bb_detector_actions_t *actions)
{
    bool is_skewed = s_distance(s_median_offset_ns(self)) > BB_CLOCK_SKEW_NS_MAX;
    actions->skew_changed = is_skewed != self->is_skewed;
    actions->is_skewed = is_skewed;
    self->is_skewed = is_skewed;
    actions->wake_mono_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < self->node_count; i++) {
        const s_peer_t *peer = &self->peers[i];
        if (i != self->self_index && peer->is_up) {
            actions->wake_mono_ns = BB_MIN(actions->wake_mono_ns, s_suspect_mono_ns(peer));
        }
    }
}

static void s_change(const bb_detector_t *self, uint32_t peer_index, bb_detector_actions_t *actions)
{
    actions->changes[actions->change_count++] = (bb_detector_change_t){
        .peer_index = peer_index,
        .is_up = self->peers[peer_index].is_up,
        .incarnation = self->peers[peer_index].incarnation,
    };
}

bb_error_t bb_detector_heartbeat(bb_detector_t *self, int64_t now_mono_ns,
                                 const bb_detector_heartbeat_t *heartbeat,
                                 bb_detector_actions_t *actions)
{
    BB_ASSERT(self);
    BB_ASSERT(heartbeat);
    BB_ASSERT(actions);
    if (heartbeat->peer_index >= self->node_count || heartbeat->peer_index == self->self_index) {
        return BB_ERR_PEER_UNKNOWN;
    }
    actions->change_count = 0;
    s_peer_t *peer = &self->peers[heartbeat->peer_index];
    bool is_new = !bb_stream_is_equal(&peer->incarnation, &heartbeat->incarnation);
    if (is_new && peer->is_up && bb_stream_is_equal(&peer->replaced, &heartbeat->incarnation) &&
        now_mono_ns - peer->heard_mono_ns < self->suspect_ns / 3) {
        s_finish(self, actions); // late, of a process that has been followed by another
        return BB_OK;
    }
    if (is_new) {
        peer->replaced = peer->incarnation; // its absence says nothing about the link
    } else {
        bb_silence_add(&peer->silence, BB_MAX(now_mono_ns - peer->heard_mono_ns, 0));
    }
    bool changed = !peer->is_up || is_new;
    peer->is_up = true;
    peer->was_seen = true;
    peer->incarnation = heartbeat->incarnation;
    peer->heard_mono_ns = now_mono_ns;
    // A peer may say any number; the difference must not overflow.
    if (__builtin_sub_overflow(heartbeat->peer_wall_ns, heartbeat->own_wall_ns, &peer->offset_ns)) {
        peer->offset_ns = heartbeat->peer_wall_ns < 0 ? INT64_MIN : INT64_MAX;
    }
    if (changed) {
        s_change(self, heartbeat->peer_index, actions);
    }
    s_finish(self, actions);
    return BB_OK;
}

void bb_detector_tick(bb_detector_t *self, int64_t now_mono_ns, bb_detector_actions_t *actions)
{
    BB_ASSERT(self);
    BB_ASSERT(actions);
    actions->change_count = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        s_peer_t *peer = &self->peers[i];
        if (i != self->self_index && peer->is_up && now_mono_ns >= s_suspect_mono_ns(peer)) {
            peer->is_up = false;
            s_change(self, i, actions);
        }
    }
    s_finish(self, actions);
}

bool bb_detector_is_up(const bb_detector_t *self, uint32_t peer_index)
{
    BB_ASSERT(peer_index < self->node_count);
    return self->peers[peer_index].is_up;
}

bool bb_detector_has_seen_all(const bb_detector_t *self)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (!self->peers[i].was_seen) {
            return false;
        }
    }
    return true;
}

int64_t bb_detector_offset_ns(const bb_detector_t *self, uint32_t peer_index)
{
    BB_ASSERT(peer_index < self->node_count);
    return self->peers[peer_index].offset_ns;
}

int64_t bb_detector_silence_limit_ns(const bb_detector_t *self, uint32_t peer_index)
{
    BB_ASSERT(peer_index < self->node_count);
    return bb_silence_limit_ns(&self->peers[peer_index].silence);
}

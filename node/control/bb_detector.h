// SPDX-License-Identifier: Apache-2.0
// bb_detector - which peers are up, which process of theirs it is, and whose clock is wrong.
//
// Pure core; the mesh actor owns it (the simulator too). A peer is up from its first heartbeat
// until it has been silent for longer than what was seen of its heartbeats allows (bb_silence, phi
// accrual), suspect_ns at most. A false "down" costs an early, explicit refusal. A heartbeat of the
// incarnation before the present one is late and tells nothing, or else acks of the present one
// would not count for a while; when the present one is silent for suspect_ns / 3, that was the late
// one, and the other counts again.
//
// Clocks: each heartbeat tells the peer's wall clock; its offset is that minus ours at arrival. The
// median is taken over all nodes that are up, ourselves included at 0; of an even number the middle
// one nearer to 0. So a majority must disagree with us before we call ourselves skewed, and of two
// nodes that disagree neither does: nobody could say who is right.
//
//        heartbeat                 silence >= its limit
//   down ─────────▶ up (incarnation) ─────────▶ down
//                    └─ heartbeat of a new incarnation: reported again as up
#ifndef BB_DETECTOR_H
#define BB_DETECTOR_H

#include "protocol/bb_have_set.h"

typedef struct bb_detector bb_detector_t;

typedef struct {
    uint32_t node_count;  // [1, BB_NODES_MAX]
    uint32_t self_index;  // < node_count
    int64_t heartbeat_ns; // how often a peer is expected to send one; > 0
    int64_t suspect_ns;   // the longest silence; [heartbeat_ns, 10 minutes]
} bb_detector_options_t;

bb_detector_t *bb_detector_new(const bb_detector_options_t *options);
void bb_detector_destroy(bb_detector_t **self);

typedef struct {
    uint32_t peer_index;
    bool is_up;
    bb_stream_t incarnation; // the last one known
} bb_detector_change_t;

typedef struct {
    uint32_t change_count; // at most one per peer
    bb_detector_change_t changes[BB_NODES_MAX];
    bool is_skewed; // our clock, by the rule above
    bool skew_changed;
    int64_t wake_mono_ns; // when the next peer could become suspect; BB_NEVER_NS if none is up
} bb_detector_actions_t;

typedef struct {
    uint32_t peer_index;
    bb_stream_t incarnation;
    int64_t peer_wall_ns; // in the heartbeat
    int64_t own_wall_ns;  // on arrival
} bb_detector_heartbeat_t;

// Fills every field of `actions`. PEER_UNKNOWN: index out of range or our own; nothing changed.
BB_MUST_CHECK bb_error_t bb_detector_heartbeat(bb_detector_t *self, int64_t now_mono_ns,
                                               const bb_detector_heartbeat_t *heartbeat,
                                               bb_detector_actions_t *actions);
void bb_detector_tick(bb_detector_t *self, int64_t now_mono_ns, bb_detector_actions_t *actions);

bool bb_detector_is_up(const bb_detector_t *self, uint32_t peer_index); // of self: true
// Every peer has been up at least once.
bool bb_detector_has_seen_all(const bb_detector_t *self);
int64_t bb_detector_offset_ns(const bb_detector_t *self, uint32_t peer_index); // last known
// The silence after which this peer would be down, as of now; (0, suspect_ns].
int64_t bb_detector_silence_limit_ns(const bb_detector_t *self, uint32_t peer_index);

#endif

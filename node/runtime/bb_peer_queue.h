// SPDX-License-Identifier: Apache-2.0
// bb_peer_queue - bulk for one peer that its connection has no room for yet, and in which order it
// goes.
//
// Pure core; one per peer, of the mesh actor. What libzmq has taken cannot be overtaken any more,
// so the mesh gives it little (BB_PEER_WINDOW_BYTES) and keeps the rest here, in two lines: live
// chunks, and repair (what was pulled, and segment sync), each in its own order.
//
//   While both wait, repair gets a tenth of the bytes, and more the longer its first one has
//   waited, up to a half after 0.8 s: so it never holds back what happens now, and always goes on.
//   A line alone gets all. Source: deficit round robin (Shreedhar, Varghese, SIGCOMM 1995).
//
// Each line is bounded in bytes; what is more is BUSY, and is dropped: the peer pulls it later, or
// asks for it anew.
#ifndef BB_PEER_QUEUE_H
#define BB_PEER_QUEUE_H

#include "node/runtime/bb_post.h"

// Given to libzmq and not yet written. A link of 1 GB/s empties it in 2 ms.
#define BB_PEER_WINDOW_BYTES (2u << 20)

typedef struct {
    bb_post_t *first, *last; // SENDs, linked by `next`
    uint64_t bytes, bytes_max;
} bb_peer_line_t;

typedef struct {
    bb_peer_line_t live, repair;
    int64_t owed_bytes; // to repair
} bb_peer_queue_t;

// Empty. One post always fits an empty line, whatever its size.
void bb_peer_queue_init(bb_peer_queue_t *self, uint64_t live_bytes_max, uint64_t repair_bytes_max);
// Destroys what is left.
void bb_peer_queue_clear(bb_peer_queue_t *self);
// Takes a SEND, whose outbound says whether it is repair. BUSY: it stays the caller's.
BB_MUST_CHECK bb_error_t bb_peer_queue_put(bb_peer_queue_t *self, bb_post_t **post,
                                           int64_t now_mono_ns);
// The next one, the caller's from then on; NULL: none waits.
bb_post_t *bb_peer_queue_take(bb_peer_queue_t *self, int64_t now_mono_ns);
static inline bool bb_peer_queue_is_empty(const bb_peer_queue_t *self)
{
    return !self->live.first && !self->repair.first;
}
static inline uint64_t bb_peer_queue_bytes(const bb_peer_queue_t *self)
{
    return self->live.bytes + self->repair.bytes;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_relay - which replica of another data centre passes a chunk on there, and what if it does not.
//
// Pure core, owned by one shard. A batch crosses to each other data centre once: one of its
// replicas there, the relay, gets it together with the list of the others and sends it on to them
// before it syncs (design section 4). Each replica acknowledges to the coordinator itself, so no
// promise depends on a relay: it only saves bytes of the link.
//
//     coordinator ══ one copy, [n5 n6] ══▶ n4 ──▶ n5, n6        ══ between data centres
//          ▲  ▲  ▲───────── durable ───────┘      │   │
//          │  └──────────── durable ──────────────┘   │
//          └─────────────── durable ──────────────────┘
//
// A copy is kept until its relay has acknowledged it. A relay that does not within
// BB_RELAY_SILENT_NS (or twice its usual time, at most BB_RELAY_SILENT_NS_MAX, on a long way), or
// that is known to be gone, is passed by: the copy comes out of bb_relay_next and goes straight to
// those who still owe their acknowledgement, and for BB_RELAY_AVOID_NS others are chosen.
// What is not kept because there is no room for it is pulled, like anything that is lost.
//
// Silence can also mean that the link is full, and then copies that cross it again make it worse:
// what goes past relays that are only silent is at most a tenth of what was sent across, and
// BB_RELAY_AGAIN_BYTES before that (a retry budget: Finagle's, also in Google's SRE book, ch. 21).
// Past it copies wait for their relay, until it answers or is lost. Lost ones need no budget.
#ifndef BB_RELAY_H
#define BB_RELAY_H

#include "node/runtime/bb_buffer.h"
#include "protocol/bb_limits.h"

typedef struct bb_relay bb_relay_t;

#define BB_RELAY_SILENT_NS     (200 * BB_NS_PER_MS)
#define BB_RELAY_SILENT_NS_MAX (1 * BB_NS_PER_S)
#define BB_RELAY_AVOID_NS      (2 * BB_NS_PER_S)
#define BB_RELAY_AGAIN_SHARE   10
#define BB_RELAY_AGAIN_BYTES   UINT64_C(65536)
// More than this is not saved up.
#define BB_RELAY_AGAIN_BYTES_MAX (UINT64_C(4) << 20)
// Copies kept at once; a further one is not kept.
#define BB_RELAY_COPIES_MAX 4096u

// bytes_max: of the batches of all kept copies together.
bb_relay_t *bb_relay_new(uint32_t node_count, uint64_t bytes_max);
void bb_relay_destroy(bb_relay_t **self);

typedef struct {
    uint32_t node;
    uint32_t part_count; // parts of the batch of which it is a replica, >= 1
} bb_relay_target_t;

// The index of the target to send to: of those that were not silent lately and are not slow the one
// that is replica of most parts; among equals they take turns. count >= 1. A pure function of the
// arguments and of what was told before.
uint32_t bb_relay_choose(const bb_relay_t *self, int64_t now_mono_ns,
                         const bb_relay_target_t *targets, uint32_t count, uint64_t turn);
// The route score's verdict: slow ones are chosen only when there is nobody else.
void bb_relay_slow(bb_relay_t *self, uint32_t node, bool is_slow);

typedef struct bb_relay_copy {
    struct bb_relay_copy *next;
    int64_t sent_mono_ns, due_mono_ns;
    uint32_t write_id; // of bb_replication
    uint32_t relay;
    bb_buffer_t *chunks, *batch; // one reference each
    uint32_t target_count;
    uint32_t targets[]; // whom the relay was asked to send it on to, itself left out
} bb_relay_copy_t;

// Notes that the relay was sent this with the list of the targets; its own entry in the list is
// left out. Keeps a reference of each buffer.
void bb_relay_sent(bb_relay_t *self, int64_t now_mono_ns, uint32_t write_id, uint32_t relay,
                   const bb_relay_target_t *targets, uint32_t count, bb_buffer_t *chunks,
                   bb_buffer_t *batch);
// The node has not yet acknowledged all that it was sent of this write; false when the write ended.
typedef bool (*bb_relay_owes_fn)(void *context, uint32_t write_id, uint32_t node);
// The next copy whose relay was silent for too long, which the caller frees with _copy_destroy;
// NULL when there is none. Lets go of what relays have acknowledged.
bb_relay_copy_t *bb_relay_next(bb_relay_t *self, int64_t now_mono_ns, bb_relay_owes_fn owes,
                               void *context);
void bb_relay_copy_destroy(bb_relay_copy_t **copy);
// The node is down or another process: all of its copies are due at once.
void bb_relay_lost(bb_relay_t *self, uint32_t node);

int64_t bb_relay_wake_mono_ns(const bb_relay_t *self); // next _next; BB_NEVER_NS: none
uint64_t bb_relay_kept_bytes(const bb_relay_t *self);
uint64_t bb_relay_passed_by(const bb_relay_t *self); // copies that came out of _next, ever

#endif

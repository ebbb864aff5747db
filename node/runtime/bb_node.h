// SPDX-License-Identifier: Apache-2.0
// bb_node - what the actors of one process are wired to.
//
// The supervisor fills it before the first actor starts and frees it after the last one has ended.
// Everything but `state`, `metrics`, the byte accounts and what the control actor publishes is
// constant in between; those are atomic. Actors keep their own state to themselves.
#ifndef BB_NODE_H
#define BB_NODE_H

#include "node/control/bb_identity.h"
#include "node/runtime/bb_log.h"
#include "node/runtime/bb_mailbox.h"
#include "node/runtime/bb_mark_board.h"
#include "node/runtime/bb_metrics.h"

#define BB_SCAN_THREADS_MAX 64
#define BB_CLIENT_ACCOUNTS  4096

// Only grows. READY answers /readyz with 200.
typedef enum {
    BB_NODE_STARTING = 0,
    BB_NODE_RECOVERING = 1,    // stores are opening
    BB_NODE_MEETING_PEERS = 2, // takes requests; waits shortly until every peer was heard
    BB_NODE_READY = 3,
    BB_NODE_DRAINING = 4,
} bb_node_state_t;

typedef struct {
    const bb_config_t *config;
    const bb_topology_t *topology;
    const bb_identity_t *identity;
    bb_curve_pair_t keys;    // wiped at the end
    bb_stream_t incarnation; // this process start
    int64_t start_mono_ns, start_wall_ns;
    uint32_t store_count, scan_count;
    bb_metrics_t *metrics;
    _Atomic uint32_t state; // bb_node_state_t
    // Bytes handed to each peer's bulk and small socket and not yet written, but for frames below
    // 1 KiB, which are copied. Outlive every socket.
    _Atomic uint64_t *peer_queued_bytes, *peer_small_bytes;
    // The same of connections of clients, BB_CLIENT_ACCOUNTS of them. A ROUTER numbers connections
    // one after the other: those that are so many apart share one.
    _Atomic uint64_t *client_untaken_bytes;
    // What the control actor says: bb_standing_t, number of this start, sum of the registry.
    _Atomic uint32_t standing, boot;
    _Atomic uint64_t registry_digest;
    _Atomic uint64_t have_versions[BB_STORES_MAX]; // what the stores say
    bb_mark_board_t *mark_board;                   // what peers say of theirs
    bb_mailbox_t *supervisor, *router, *mesh, *control, *background, *observer;
    bb_mailbox_t *stores[BB_STORES_MAX];
    bb_mailbox_t *scans[BB_SCAN_THREADS_MAX];
} bb_node_t;

static inline bb_node_state_t bb_node_state(bb_node_t *self)
{
    return (bb_node_state_t)atomic_load_explicit(&self->state, memory_order_relaxed);
}

static inline bb_standing_t bb_node_standing(bb_node_t *self)
{
    return (bb_standing_t)atomic_load_explicit(&self->standing, memory_order_relaxed);
}

// Takes requests at every level.
static inline bool bb_node_is_ready(bb_node_t *self)
{
    return bb_node_state(self) == BB_NODE_READY && bb_node_standing(self) == BB_STANDING_COUNTING;
}

#endif

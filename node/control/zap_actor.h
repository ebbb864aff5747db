// SPDX-License-Identifier: Apache-2.0
// zap_actor - answers libzmq's question "may this key connect?" for every handshake.
//
// Owns inproc://zeromq.zap.01, which must be bound before any CURVE socket. bb_identity decides; it
// answers 200 with "role:name" as User-Id, or 400. Sockets enforce their domain, so when this actor
// is gone every handshake fails: closed, not open.
#ifndef ZAP_ACTOR_H
#define ZAP_ACTOR_H

#include "node/runtime/bb_actor.h"

// NULL: somebody else has the endpoint.
zactor_t *bb_zap_actor_new(bb_node_t *node);
// Proves that a key nobody knows is refused, and that our own is let in: a socket of its own on a
// free loopback port, at most 2 s for each. IDENTITY with a sentence when it is not so.
BB_MUST_CHECK bb_error_t bb_zap_self_test(bb_node_t *node, bb_fault_t *fault);

#endif

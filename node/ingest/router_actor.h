// SPDX-License-Identifier: Apache-2.0
// router_actor - the thread that owns the client socket.
//
// Every request: who is it (the User-Id that our ZAP handler gave the connection), may its role ask
// this, does it verify, is there room (bb_admission), and which store serves it. HELLO and STATUS
// it answers itself from what the stores and the mesh have published; the rest goes to the stores
// with a ticket that comes back with the answer. Malformed input gets a typed ERROR and is counted.
// Routing ids must be ours (a zero byte and four more): one that a client chose could be taken from
// another and with it the other's answers.
#ifndef ROUTER_ACTOR_H
#define ROUTER_ACTOR_H

#include "node/runtime/bb_actor.h"

// Takes the bound client socket.
zactor_t *bb_router_actor_new(bb_node_t *node, zsock_t **client);

#endif

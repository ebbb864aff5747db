// SPDX-License-Identifier: Apache-2.0
// mesh_actor - the thread that owns the peer sockets: heartbeats, failure detector, replication.
//
//   to each peer     DEALER ──▶ its peer port (small: heartbeats, acknowledgements, have-sets)
//                    DEALER ──▶ its bulk port (REPLICATE), so that nothing small waits behind it
//   from all peers   ROUTER on our peer port, ROUTER on our bulk port; they only receive
//
// Who sent a message is the User-Id of its connection ("node:n2"), never a routing id. Sending
// never waits: what finds no live connection or more than limits.peer_queue_bytes queued is dropped
// and counted; the peer pulls what it lacks. Messages go to the store that keeps their partition.
#ifndef MESH_ACTOR_H
#define MESH_ACTOR_H

#include "node/runtime/bb_actor.h"

// Takes the two bound sockets.
zactor_t *bb_mesh_actor_new(bb_node_t *node, zsock_t **peer, zsock_t **bulk);

#endif

// SPDX-License-Identifier: Apache-2.0
// mesh_actor - the thread that owns the peer sockets: heartbeats, failure detector, replication.
//
//   to each peer     DEALER ──▶ its peer port (small: heartbeats, acknowledgements, have-sets)
//                    DEALER ──▶ its bulk port (REPLICATE), so that nothing small waits behind it
//   from all peers   ROUTER on our peer port, ROUTER on our bulk port; they only receive
//
// Who sent a message is the User-Id of its connection ("node:n2"), never a routing id. Sending
// never waits. Bulk past BB_PEER_WINDOW_BYTES in a connection waits in its bb_peer_queue_t: live
// chunks up to limits.peer_queue_bytes, repair up to half of that. What finds no room there, no
// live connection, or, of small messages, more than a quarter of those bytes queued, is dropped and
// counted; the peer pulls what it lacks, and small ones are said again. Messages go to the store
// that keeps their partition.
#ifndef MESH_ACTOR_H
#define MESH_ACTOR_H

#include "node/runtime/bb_actor.h"

// Takes the two bound sockets.
zactor_t *bb_mesh_actor_new(bb_node_t *node, zsock_t **peer, zsock_t **bulk);

#endif

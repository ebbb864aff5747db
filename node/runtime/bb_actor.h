// SPDX-License-Identifier: Apache-2.0
// bb_actor - the names of CZMQ that the headers of actors need, without the whole of it.
//
// An actor is a zactor_t: a thread with a pipe on which the supervisor says $TERM and nothing else;
// everything typed goes through mailboxes. Threads share nothing but bb_node_t.
#ifndef BB_ACTOR_H
#define BB_ACTOR_H

#include "node/runtime/bb_node.h"

typedef struct _zactor_t zactor_t;
typedef struct _zsock_t zsock_t;

#endif

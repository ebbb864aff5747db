// SPDX-License-Identifier: Apache-2.0
// bb_actor - the names of CZMQ that the headers of actors need, without the whole of it.
//
// An actor is a zactor_t: a thread with a pipe on which the supervisor says $TERM and nothing else;
// everything typed goes through mailboxes. Threads share nothing but bb_node_t.
#ifndef BB_ACTOR_H
#define BB_ACTOR_H

#include <pthread.h>
#include <stdio.h>

#include "node/runtime/bb_node.h"

typedef struct _zactor_t zactor_t;
typedef struct _zsock_t zsock_t;

// What top and perf call the present thread: "bb-store-0". index UINT32_MAX = not numbered.
static inline void bb_actor_set_name(const char *actor, uint32_t index)
{
    char name[16]; // the kernel's limit, terminator included
    if (index == UINT32_MAX) {
        snprintf(name, sizeof name, "bb-%s", actor);
    } else {
        snprintf(name, sizeof name, "bb-%s-%u", actor, index % 1000);
    }
    pthread_setname_np(pthread_self(), name);
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_poller - waits until a socket of libzmq, or a descriptor, has something to read.
//
// Not thread-safe; owned by one actor, which also owns the sockets. As zmq_poll, with fewer system
// calls: zmq_poll looks into each socket before and after it waits, whether anything has touched it
// or not, at two calls a look (4.3.4), so a wait over four sockets takes 18. Here a socket is
// looked into only when its descriptor (ZMQ_FD) can be read, or when its owner has used it since
// the last look: nothing else can change what is in it without its descriptor telling. One call for
// a wait in which nobody else was busy.
#ifndef BB_POLLER_H
#define BB_POLLER_H

#include "protocol/bb_base.h"

#define BB_POLLER_ITEMS_MAX 8

typedef struct {
    void *socket; // NULL: a descriptor
    int fd;
    bool is_ready;
    bool is_settled; // looked into, nothing was there, and not used since
} bb_poller_item_t;

typedef struct {
    bb_poller_item_t items[BB_POLLER_ITEMS_MAX];
    uint32_t count;
} bb_poller_t; // zero-initialised is empty

// The index of the item. At most BB_POLLER_ITEMS_MAX; they stay the caller's.
uint32_t bb_poller_add(bb_poller_t *self, void *socket); // libzmq handle
uint32_t bb_poller_add_fd(bb_poller_t *self, int fd);
// The socket was used although it was not ready: sent over, or read.
void bb_poller_used(bb_poller_t *self, uint32_t index);
// Waits until one is ready, for timeout_ms at most (-1: for ever); a signal may end it early with
// none. What is ready counts as used by the next wait. False: the sockets' context has ended.
BB_MUST_CHECK bool bb_poller_wait(bb_poller_t *self, long timeout_ms);
bool bb_poller_is_ready(const bb_poller_t *self, uint32_t index);

#endif

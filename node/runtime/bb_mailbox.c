// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_mailbox.h"

#include <czmq.h>
#include <stdatomic.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_post_order.h"
#include "node/runtime/bb_tsan.h"

#define S_LOOK_TURNS 16

struct bb_mailbox {
    zsock_t *socket;
    void *handle;
    char endpoint[64];
    uint64_t bytes_max;
    bool is_ordered;
    bb_post_order_t order; // what was taken off the socket and not yet received; when ordered
    uint32_t turn;         // of _receive; when ordered
    _Atomic uint64_t pending_bytes;
    _Atomic uint32_t load;
};

struct bb_outlet {
    zsock_t *socket;
    void *handle;
    bb_mailbox_t *mailbox;
};

bb_mailbox_t *bb_mailbox_new(const char *name, uint64_t bytes_max)
{
    bb_mailbox_t *self = bb_alloc_zero(1, sizeof *self);
    self->bytes_max = bytes_max;
    // The address makes the name unique, so that one process may hold several nodes.
    snprintf(self->endpoint, sizeof self->endpoint, "inproc://bb-%s-%p", name, (void *)self);
    self->socket = zsock_new(ZMQ_PULL);
    BB_ASSERT(self->socket);
    zsock_set_rcvhwm(self->socket, 0); // bytes are the bound, not messages
    int bound = zsock_bind(self->socket, "%s", self->endpoint);
    BB_ASSERT(bound == 0);
    self->handle = zsock_resolve(self->socket);
    return self;
}

void bb_mailbox_clear(bb_mailbox_t *self)
{
    for (bb_post_t *post = bb_mailbox_receive(self); post; post = bb_mailbox_receive(self)) {
        bb_post_destroy(&post);
    }
}

void bb_mailbox_destroy(bb_mailbox_t **self_p)
{
    bb_mailbox_t *self = *self_p;
    *self_p = NULL;
    if (!self) {
        return;
    }
    bb_mailbox_clear(self);
    // Closing alone frees the name later, in another thread; a new mailbox at this address may come
    // first.
    zsock_unbind(self->socket, "%s", self->endpoint);
    zsock_destroy(&self->socket);
    free(self);
}

void *bb_mailbox_socket(bb_mailbox_t *self)
{
    return self->handle;
}

bb_mailbox_t *bb_mailbox_new_ordered(const char *name, uint64_t bytes_max)
{
    bb_mailbox_t *self = bb_mailbox_new(name, bytes_max);
    self->is_ordered = true;
    return self;
}

// The next one off the socket.
static bb_post_t *s_next(bb_mailbox_t *self)
{
    bb_post_t *post = NULL;
    if (zmq_recv(self->handle, &post, sizeof post, ZMQ_DONTWAIT) != (int)sizeof post) {
        return NULL;
    }
    BB_TSAN_ACQUIRE(post);
    return post;
}

bool bb_mailbox_is_waiting(const bb_mailbox_t *self)
{
    return self->order.count > 0;
}

// Looks at the socket when nothing is left, and now and then for what is more urgent: to find it
// empty costs two system calls.
static bb_post_t *s_next_ordered(bb_mailbox_t *self)
{
    if (self->order.count == 0 || self->turn++ % S_LOOK_TURNS == 0) {
        for (bb_post_t *post = s_next(self); post; post = s_next(self)) {
            bb_post_order_put(&self->order, post);
        }
    }
    return bb_post_order_take(&self->order, bb_clock_mono_ns());
}

bb_post_t *bb_mailbox_receive(bb_mailbox_t *self)
{
    bb_post_t *post = self->is_ordered ? s_next_ordered(self) : s_next(self);
    if (!post) {
        return NULL;
    }
    atomic_fetch_sub_explicit(&self->pending_bytes, post->bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&self->load, 1, memory_order_relaxed);
    return post;
}

uint32_t bb_mailbox_load(const bb_mailbox_t *self)
{
    return atomic_load_explicit(&self->load, memory_order_relaxed);
}

void bb_mailbox_begin(bb_mailbox_t *self)
{
    atomic_fetch_add_explicit(&self->load, 1, memory_order_relaxed);
}

void bb_mailbox_end(bb_mailbox_t *self)
{
    atomic_fetch_sub_explicit(&self->load, 1, memory_order_relaxed);
}

bb_outlet_t *bb_outlet_new(bb_mailbox_t *mailbox)
{
    bb_outlet_t *self = bb_alloc_zero(1, sizeof *self);
    self->mailbox = mailbox;
    self->socket = zsock_new(ZMQ_PUSH);
    BB_ASSERT(self->socket);
    zsock_set_sndhwm(self->socket, 0);
    int connected = zsock_connect(self->socket, "%s", mailbox->endpoint);
    BB_ASSERT(connected == 0);
    self->handle = zsock_resolve(self->socket);
    return self;
}

void bb_outlet_destroy(bb_outlet_t **self_p)
{
    bb_outlet_t *self = *self_p;
    *self_p = NULL;
    if (self) {
        zsock_destroy(&self->socket);
        free(self);
    }
}

static void s_send(bb_outlet_t *self, bb_post_t **post_p, size_t bytes)
{
    bb_post_t *post = *post_p;
    *post_p = NULL;
    post->bytes = bytes;
    atomic_fetch_add_explicit(&self->mailbox->pending_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->mailbox->load, 1, memory_order_relaxed);
    BB_TSAN_RELEASE(post);
    // No high-water mark and a bound peer in this process: this cannot wait and cannot fail.
    int sent;
    do {
        sent = zmq_send(self->handle, &post, sizeof post, 0);
    } while (sent < 0 && zmq_errno() == EINTR);
    BB_ASSERT(sent == (int)sizeof post);
}

bb_error_t bb_outlet_send(bb_outlet_t *self, bb_post_t **post, size_t bytes)
{
    uint64_t pending = atomic_load_explicit(&self->mailbox->pending_bytes, memory_order_relaxed);
    // One post always fits an empty mailbox, whatever its size.
    if (pending > 0 && pending + bytes > self->mailbox->bytes_max) {
        return BB_ERR_BUSY;
    }
    s_send(self, post, bytes);
    return BB_OK;
}

void bb_outlet_send_always(bb_outlet_t *self, bb_post_t **post)
{
    s_send(self, post, 0);
}

// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_mailbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_post_order.h"

// Senders push onto a list, the newest first; the receiver takes the whole list at once and turns
// it round (Treiber, "Systems Programming: Coping with Parallelism", 1986; nothing is ever popped,
// so that an address which comes again harms nobody). Whoever pushes onto an empty list writes to
// the descriptor, so each list that is taken has one signal, which may still be on its way:
//
//     signals = lists taken - signals read
//
// They are read when nothing is left. So while anything waits, here or in the list, the descriptor
// can be read, or will be in a moment.
struct bb_mailbox {
    const char *name; // for whoever looks with a debugger
    int fd;
    uint64_t bytes_max;
    bool is_ordered;
    _Atomic(bb_post_t *) newest;
    bb_post_t *first, **end; // taken and not yet received, when not ordered
    bb_post_order_t order;   // the same, when ordered
    int64_t signals;         // the receiver's
    _Atomic uint64_t pending_bytes;
    _Atomic uint32_t load;
};

struct bb_outlet {
    bb_mailbox_t *mailbox;
};

static void s_signal(const bb_mailbox_t *self)
{
    const uint64_t one = 1;
    ssize_t written;
    do {
        written = write(self->fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    BB_ASSERT(written == (ssize_t)sizeof one); // 2^64 - 2 signals do not fit, nothing else fails
}

bb_mailbox_t *bb_mailbox_new(const char *name, uint64_t bytes_max)
{
    bb_mailbox_t *self = bb_alloc_zero(1, sizeof *self);
    self->name = name;
    self->bytes_max = bytes_max;
    self->end = &self->first;
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BB_ASSERT(self->fd >= 0);
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
    close(self->fd);
    free(self);
}

int bb_mailbox_fd(const bb_mailbox_t *self)
{
    return self->fd;
}

bb_mailbox_t *bb_mailbox_new_ordered(const char *name, uint64_t bytes_max)
{
    bb_mailbox_t *self = bb_mailbox_new(name, bytes_max);
    self->is_ordered = true;
    return self;
}

static bb_post_t *s_turned_round(bb_post_t *newest)
{
    bb_post_t *oldest = NULL;
    while (newest) {
        bb_post_t *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

// Takes what was sent, if there is any.
static void s_take(bb_mailbox_t *self)
{
    if (!atomic_load_explicit(&self->newest, memory_order_relaxed)) {
        return;
    }
    bb_post_t *newest = atomic_exchange_explicit(&self->newest, NULL, memory_order_acquire);
    BB_ASSERT(newest); // only the receiver takes
    self->signals++;
    for (bb_post_t *post = s_turned_round(newest), *next = NULL; post; post = next) {
        next = post->next;
        post->next = NULL;
        if (self->is_ordered) {
            bb_post_order_put(&self->order, post);
        } else {
            *self->end = post;
            self->end = &post->next;
        }
    }
}

// Taken and not yet received.
static bool s_is_waiting(const bb_mailbox_t *self)
{
    return self->order.count > 0 || self->first;
}

// Nothing is left: the next signal shall be one for what comes next.
static void s_read_signals(bb_mailbox_t *self)
{
    uint64_t count = 0;
    if (self->signals <= 0 || read(self->fd, &count, sizeof count) != (ssize_t)sizeof count) {
        return; // or its sender has yet to write it: then we look once more for nothing
    }
    self->signals -= (int64_t)count;
    s_take(self);
    if (s_is_waiting(self) && self->signals <= 0) { // its signal was read with the others
        s_signal(self);
        self->signals++;
    }
}

static bb_post_t *s_next(bb_mailbox_t *self)
{
    if (self->is_ordered) {
        return bb_post_order_take(&self->order, bb_clock_mono_ns());
    }
    bb_post_t *post = self->first;
    if (post) {
        self->first = post->next;
        self->end = self->first ? self->end : &self->first;
        post->next = NULL;
    }
    return post;
}

bb_post_t *bb_mailbox_receive(bb_mailbox_t *self)
{
    if (self->is_ordered || !self->first) {
        s_take(self); // ordered: what came just now may be more urgent
    }
    if (!s_is_waiting(self)) {
        s_read_signals(self);
    }
    if (!s_is_waiting(self)) {
        return NULL;
    }
    bb_post_t *post = s_next(self);
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
    return self;
}

void bb_outlet_destroy(bb_outlet_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

static void s_send(bb_outlet_t *self, bb_post_t **post_p, size_t bytes)
{
    bb_mailbox_t *mailbox = self->mailbox;
    bb_post_t *post = *post_p;
    *post_p = NULL;
    post->bytes = bytes;
    atomic_fetch_add_explicit(&mailbox->pending_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&mailbox->load, 1, memory_order_relaxed);
    bb_post_t *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do {
        post->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, post,
                                                    memory_order_release, memory_order_relaxed));
    if (!newest) {
        s_signal(mailbox);
    }
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

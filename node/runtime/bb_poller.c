// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_poller.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <zmq.h>

#include "node/runtime/bb_clock.h"

uint32_t bb_poller_add(bb_poller_t *self, void *socket)
{
    BB_ASSERT(socket);
    int fd = -1;
    size_t size = sizeof fd;
    int got = zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    BB_ASSERT(got == 0);
    uint32_t index = bb_poller_add_fd(self, fd);
    self->items[index].socket = socket;
    return index;
}

uint32_t bb_poller_add_fd(bb_poller_t *self, int fd)
{
    BB_ASSERT(self->count < BB_POLLER_ITEMS_MAX);
    BB_ASSERT(fd >= 0);
    self->items[self->count] = (bb_poller_item_t){.fd = fd};
    return self->count++;
}

void bb_poller_used(bb_poller_t *self, uint32_t index)
{
    BB_ASSERT(index < self->count);
    self->items[index].is_settled = false;
}

// Looks into the socket. False: its context has ended.
static bool s_look(bb_poller_item_t *item)
{
    int events = 0;
    size_t size = sizeof events;
    int got;
    do {
        got = zmq_getsockopt(item->socket, ZMQ_EVENTS, &events, &size);
    } while (got != 0 && zmq_errno() == EINTR);
    item->is_ready = got == 0 && (events & ZMQ_POLLIN);
    item->is_settled = !item->is_ready;
    return got == 0;
}

// One poll of all descriptors, and a look into those sockets whose can be read.
static bool s_poll(bb_poller_t *self, int timeout_ms, uint32_t *ready_count)
{
    struct pollfd fds[BB_POLLER_ITEMS_MAX];
    for (uint32_t i = 0; i < self->count; i++) {
        fds[i] = (struct pollfd){.fd = self->items[i].fd, .events = POLLIN};
    }
    if (poll(fds, self->count, timeout_ms) <= 0) {
        return true; // time is up, or a signal came
    }
    for (uint32_t i = 0; i < self->count; i++) {
        bb_poller_item_t *item = &self->items[i];
        if (item->is_ready || fds[i].revents == 0) {
            continue;
        }
        if (item->socket && !s_look(item)) {
            return false;
        }
        item->is_ready |= !item->socket;
        *ready_count += item->is_ready;
    }
    return true;
}

bool bb_poller_wait(bb_poller_t *self, long timeout_ms)
{
    uint32_t ready_count = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        bb_poller_item_t *item = &self->items[i];
        item->is_settled &= !item->is_ready;
        item->is_ready = false;
        if (item->socket && !item->is_settled && !s_look(item)) {
            return false;
        }
        ready_count += item->is_ready;
    }
    if (ready_count > 0) {
        return s_poll(self, 0, &ready_count); // one that is always busy must not hide the others
    }
    const int64_t until_mono_ns =
        timeout_ms < 0 ? BB_NEVER_NS : bb_clock_mono_ns() + timeout_ms * BB_NS_PER_MS;
    int wait_ms = timeout_ms < 0 ? -1 : (int)BB_MIN(timeout_ms, (long)INT_MAX);
    // A descriptor also tells of what is no message: a connection that came or went.
    for (;;) {
        errno = 0;
        if (!s_poll(self, wait_ms, &ready_count)) {
            return false;
        }
        if (ready_count > 0 || errno == EINTR || wait_ms == 0) {
            return true;
        }
        if (timeout_ms >= 0) {
            wait_ms = (int)bb_clock_timeout_ms(bb_clock_mono_ns(), until_mono_ns, timeout_ms);
            if (wait_ms == 0) {
                return true;
            }
        }
    }
}

bool bb_poller_is_ready(const bb_poller_t *self, uint32_t index)
{
    BB_ASSERT(index < self->count);
    return self->items[index].is_ready;
}

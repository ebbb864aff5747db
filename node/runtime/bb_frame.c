// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_frame.h"

#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "node/runtime/bb_tsan.h"

// Shorter frames are copied: cheaper than a count shared by two threads.
#define S_LEND_BYTES_MIN 1024

static void s_message_free(void *data, void *hint)
{
    (void)data;
    zmq_msg_close(hint);
    free(hint);
}

static bb_buffer_t *s_wrap(zmq_msg_t *message)
{
    void *data = zmq_msg_data(message);
    size_t length = zmq_msg_size(message);
    if (length < S_LEND_BYTES_MIN || (uintptr_t)data % 8 != 0) {
        return bb_buffer_copy_of(data, length);
    }
    zmq_msg_t *moved = bb_alloc(sizeof *moved);
    zmq_msg_init(moved);
    zmq_msg_move(moved, message);
    return bb_buffer_new(zmq_msg_data(moved), length, s_message_free, moved);
}

static void s_take_user_id(bb_received_t *self, zmq_msg_t *message)
{
    const char *user_id = zmq_msg_gets(message, "User-Id");
    if (user_id && strlen(user_id) < sizeof self->user_id) {
        memcpy(self->user_id, user_id, strlen(user_id) + 1);
    }
}

bool bb_received_read(bb_received_t *self, void *router)
{
    memset(self, 0, sizeof *self);
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, router, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    self->routing_id_length = BB_MIN(zmq_msg_size(&message), sizeof self->routing_id);
    memcpy(self->routing_id, zmq_msg_data(&message), self->routing_id_length);
    bool more = zmq_msg_more(&message) != 0;
    zmq_msg_close(&message);
    while (more) {
        zmq_msg_init(&message);
        // Parts of one message arrive together, so this does not wait.
        if (zmq_msg_recv(&message, router, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&message);
            break;
        }
        more = zmq_msg_more(&message) != 0;
        self->bytes += zmq_msg_size(&message);
        if (self->frame_count == 0) {
            s_take_user_id(self, &message);
        }
        if (self->frame_count < BB_FRAMES_MAX) {
            self->frames[self->frame_count] = s_wrap(&message); // may move the message away
        }
        self->frame_count++;
        zmq_msg_close(&message);
    }
    return true;
}

void bb_received_drop(bb_received_t *self)
{
    for (uint32_t i = 0; i < BB_FRAMES_MAX; i++) {
        bb_buffer_drop(&self->frames[i]);
    }
}

typedef struct {
    bb_buffer_t *buffer;
    _Atomic uint64_t *account;
    size_t bytes;
} s_lent_t;

// Runs in an I/O thread of libzmq, or in the sender when the message is dropped.
static void s_lent_free(void *data, void *hint)
{
    (void)data;
    s_lent_t *lent = hint;
    BB_TSAN_ACQUIRE(lent);
    if (lent->account) {
        atomic_fetch_sub_explicit(lent->account, lent->bytes, memory_order_relaxed);
    }
    bb_buffer_drop(&lent->buffer);
    free(lent);
}

static void s_lend(zmq_msg_t *message, bb_buffer_t *buffer, _Atomic uint64_t *account)
{
    bb_slice_t bytes = bb_buffer_slice(buffer);
    if (bytes.length < S_LEND_BYTES_MIN) {
        int made = zmq_msg_init_size(message, bytes.length);
        BB_ASSERT(made == 0);
        if (bytes.length > 0) {
            memcpy(zmq_msg_data(message), bytes.data, bytes.length);
        }
        return;
    }
    s_lent_t *lent = bb_alloc(sizeof *lent);
    *lent = (s_lent_t){bb_buffer_keep(buffer), account, bytes.length};
    if (account) {
        atomic_fetch_add_explicit(account, bytes.length, memory_order_relaxed);
    }
    BB_TSAN_RELEASE(lent);
    // libzmq takes a pointer to non-const and never writes through it.
    void *data = (void *)(uintptr_t)bytes.data;
    int made = zmq_msg_init_data(message, data, bytes.length, s_lent_free, lent);
    BB_ASSERT(made == 0);
}

bool bb_frame_send(void *socket, const void *routing_id, size_t routing_id_length,
                   bb_buffer_t *const *frames, uint32_t count, _Atomic uint64_t *account)
{
    while (count > 0 && !frames[count - 1]) {
        count--;
    }
    BB_ASSERT(count > 0);
    if (routing_id_length > 0 &&
        zmq_send(socket, routing_id, routing_id_length, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
        return false;
    }
    bool is_first = routing_id_length == 0, is_sent = true;
    for (uint32_t i = 0; i < count; i++) {
        if (!frames[i]) {
            continue;
        }
        zmq_msg_t message;
        s_lend(&message, frames[i], account);
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        if (zmq_msg_send(&message, socket, flags) < 0) {
            zmq_msg_close(&message);
            is_sent = false;
            if (is_first) {
                return false;
            }
            // The connection went away in the middle: libzmq has taken back what it had and
            // swallows the rest of this message, which therefore must still be given to it.
        }
        is_first = false;
    }
    return is_sent;
}

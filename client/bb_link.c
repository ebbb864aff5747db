// SPDX-License-Identifier: Apache-2.0
#include "client/bb_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

static bool s_set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static bool s_set_options(bb_link_t *self, const bb_curve_pair_t *key)
{
    void *dealer = self->dealer;
    int64_t message_bytes_max = BB_MESSAGE_BYTES_MAX;
    // High-water marks count messages; what is in flight is bounded in bytes by the callers.
    return s_set_int(dealer, ZMQ_LINGER, 0) && s_set_int(dealer, ZMQ_IMMEDIATE, 1) &&
           s_set_int(dealer, ZMQ_SNDHWM, 0) && s_set_int(dealer, ZMQ_RCVHWM, 0) &&
           s_set_int(dealer, ZMQ_RECONNECT_IVL, 20) &&
           s_set_int(dealer, ZMQ_RECONNECT_IVL_MAX, 1000) &&
           s_set_int(dealer, ZMQ_HANDSHAKE_IVL, 3000) &&
           s_set_int(dealer, ZMQ_CONNECT_TIMEOUT, 3000) &&
           s_set_int(dealer, ZMQ_HEARTBEAT_IVL, 1000) &&
           s_set_int(dealer, ZMQ_HEARTBEAT_TIMEOUT, 3000) &&
           // With it a name would be looked up as IPv6 first; nodes bind names as IPv4.
           s_set_int(dealer, ZMQ_IPV6, strncmp(self->endpoint, "tcp://[", 7) == 0) &&
           zmq_setsockopt(dealer, ZMQ_MAXMSGSIZE, &message_bytes_max, sizeof message_bytes_max) ==
               0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, self->public_key, 32) == 0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, key->public_key, 32) == 0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, key->secret_key, 32) == 0;
}

bb_error_t bb_link_open(bb_link_t *self, void *context, const bb_curve_pair_t *key,
                        bb_fault_t *fault)
{
    // The address of the monitor's pair is unique in the context: one per link, named by address.
    char address[64];
    snprintf(address, sizeof address, "inproc://link-%p", (void *)self);
    const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                       ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_CONNECT_RETRIED;
    self->dealer = zmq_socket(context, ZMQ_DEALER);
    self->monitor = zmq_socket(context, ZMQ_PAIR);
    bool is_ok =
        self->dealer && self->monitor && s_set_options(self, key) &&
        zmq_socket_monitor(self->dealer, address, events) == 0 &&
        s_set_int(self->monitor, ZMQ_RCVHWM, 0) && s_set_int(self->monitor, ZMQ_LINGER, 0) &&
        zmq_connect(self->monitor, address) == 0 && zmq_connect(self->dealer, self->endpoint) == 0;
    if (!is_ok) {
        int number = errno;
        bb_link_close(self);
        return bb_fault_set(fault, BB_ERR_CONFIG, "cannot connect to node '%s' at '%s': %s",
                            self->id, self->endpoint, zmq_strerror(number));
    }
    bb_liveness_init(&self->liveness);
    self->state = BB_LINK_CONNECTING;
    self->greet_at_ns = BB_NEVER_NS;
    return BB_OK;
}

void bb_link_close(bb_link_t *self)
{
    if (self->dealer) {
        zmq_socket_monitor(self->dealer, NULL, 0);
        zmq_close(self->dealer);
    }
    if (self->monitor) {
        zmq_close(self->monitor);
    }
    self->dealer = self->monitor = NULL;
}

bb_link_event_t bb_link_next_event(bb_link_t *self, int32_t *detail)
{
    *detail = 0;
    for (;;) {
        uint8_t bytes[6];
        if (zmq_recv(self->monitor, bytes, sizeof bytes, ZMQ_DONTWAIT) != (int)sizeof bytes) {
            return BB_LINK_EVENT_NONE;
        }
        char address[8];
        if (zmq_recv(self->monitor, address, sizeof address, ZMQ_DONTWAIT) < 0) {
            return BB_LINK_EVENT_NONE;
        }
        uint16_t event;
        memcpy(&event, bytes, sizeof event);
        memcpy(detail, bytes + 2, sizeof *detail);
        switch (event) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            return BB_LINK_EVENT_HANDSHAKE;
        case ZMQ_EVENT_DISCONNECTED:
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            return BB_LINK_EVENT_LOST;
        case ZMQ_EVENT_CLOSED:
        case ZMQ_EVENT_CONNECT_RETRIED:
            return BB_LINK_EVENT_UNREACHABLE;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return BB_LINK_EVENT_REFUSED;
        default:
            break;
        }
    }
}

static void s_free_envelope(void *data, void *hint)
{
    (void)hint;
    BB_TSAN_ACQUIRE(data);
    free(data);
}

static void s_free_body(void *data, void *hint)
{
    (void)data;
    bb_blob_t *blob = hint;
    bb_blob_drop(&blob);
}

bool bb_link_send(bb_link_t *self, uint8_t *envelope, size_t envelope_length, bb_blob_t *body)
{
    zmq_msg_t message;
    if (zmq_msg_init_data(&message, envelope, envelope_length, s_free_envelope, NULL) != 0) {
        free(envelope);
        return false;
    }
    BB_TSAN_RELEASE(envelope);
    int flags = ZMQ_DONTWAIT | (body ? ZMQ_SNDMORE : 0);
    if (zmq_msg_send(&message, self->dealer, flags) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    if (body) {
        bb_blob_keep(body);
        BB_TSAN_RELEASE(body);
        if (zmq_msg_init_data(&message, body->data, body->length, s_free_body, body) != 0) {
            BB_ASSERT(!"no memory for a message header");
        }
        // The pipe was chosen with the first frame; a pipe that broke since swallows the rest, and
        // its end is reported as LOST.
        if (zmq_msg_send(&message, self->dealer, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&message);
        }
    }
    return true;
}

void bb_link_frame_free(bb_link_frame_t *self)
{
    if (self->memory && self->is_message) {
        zmq_msg_close(self->memory);
    }
    free(self->memory);
    *self = (bb_link_frame_t){0};
}

// Uses the message's own memory when it is aligned for 8-byte vectors, a copy otherwise.
static void s_take(bb_link_frame_t *frame, zmq_msg_t *message)
{
    size_t length = zmq_msg_size(message);
    void *data = zmq_msg_data(message);
    // A small message lies inside zmq_msg_t itself and would move with it.
    if (length > 1024 && (uintptr_t)data % 8 == 0) {
        zmq_msg_t *kept = bb_alloc(sizeof *kept);
        zmq_msg_init(kept);
        zmq_msg_move(kept, message);
        *frame = (bb_link_frame_t){bb_slice(zmq_msg_data(kept), length), kept, true};
    } else {
        void *copy = bb_alloc(BB_MAX(length, 8));
        memcpy(copy, data, length);
        *frame = (bb_link_frame_t){bb_slice(copy, length), copy, false};
    }
    zmq_msg_close(message);
}

bool bb_link_receive(bb_link_t *self, bb_link_frame_t *envelope, bb_link_frame_t *payload)
{
    for (;;) {
        uint32_t count = 0;
        bool has_more = true;
        *envelope = *payload = (bb_link_frame_t){0};
        while (has_more) {
            zmq_msg_t message;
            zmq_msg_init(&message);
            if (zmq_msg_recv(&message, self->dealer, ZMQ_DONTWAIT) < 0) {
                zmq_msg_close(&message);
                bb_link_frame_free(envelope);
                bb_link_frame_free(payload);
                return false;
            }
            has_more = zmq_msg_more(&message) != 0;
            count++;
            if (count <= 2) {
                s_take(count == 1 ? envelope : payload, &message);
            } else {
                zmq_msg_close(&message);
            }
        }
        if (count <= 2) {
            return true;
        }
        bb_link_frame_free(envelope);
        bb_link_frame_free(payload);
    }
}

// SPDX-License-Identifier: Apache-2.0
// bb_link - the connection to one node: a CURVE DEALER and the monitor that tells of its fate.
//
// Shell over libzmq; owned by the background thread. The dealer connects by itself again and again
// (100 ms to 1 s apart), holds nothing while it is not connected (ZMQ_IMMEDIATE), and never blocks.
#ifndef BB_LINK_H
#define BB_LINK_H

#include "client/bb_allowance.h"
#include "client/bb_blob.h"
#include "client/bb_liveness.h"
#include "protocol/bb_keys.h"
#include "protocol/bb_message.h"

typedef struct bb_exchange bb_exchange_t;

typedef struct {
    bb_exchange_t *first, *last;
    uint32_t count;
} bb_exchange_list_t;

// What people are told of a link that cannot be used.
typedef enum {
    BB_LINK_CONNECTING,
    BB_LINK_UNREACHABLE, // refused by the network, or lost
    BB_LINK_REFUSED,     // the node does not take our key, or is not the node we expect
    BB_LINK_READY,
} bb_link_state_t;

typedef struct {
    char id[BB_NODE_ID_BYTES_MAX + 1];
    char dc[BB_NODE_ID_BYTES_MAX + 1];
    char endpoint[BB_ENDPOINT_BYTES_MAX + 1];
    uint8_t public_key[32];
    void *dealer, *monitor;
    bb_liveness_t liveness;
    bb_link_state_t state;
    bool is_handshaken;
    bool is_greeting;    // a HELLO is under way
    int64_t greet_at_ns; // when to try HELLO again; BB_NEVER_NS = no need
    bb_allowance_t allowance;
    bb_exchange_list_t sent; // waiting for an answer
    bb_exchange_list_t held; // waiting for the link
    bb_error_t why;          // of UNREACHABLE and REFUSED
    char why_text[200];
} bb_link_t;

// One received frame; its bytes are aligned to 8.
typedef struct {
    bb_slice_t bytes;
    void *memory; // a zmq_msg_t or a copy
    bool is_message;
} bb_link_frame_t;
void bb_link_frame_free(bb_link_frame_t *self);

typedef enum {
    BB_LINK_EVENT_NONE,
    BB_LINK_EVENT_HANDSHAKE, // secured; messages flow
    BB_LINK_EVENT_LOST,
    BB_LINK_EVENT_UNREACHABLE,
    BB_LINK_EVENT_REFUSED, // by key: detail is the ZAP status or 0
} bb_link_event_t;

// Opens sockets and starts to connect. CONFIG when libzmq does not like the endpoint.
BB_MUST_CHECK bb_error_t bb_link_open(bb_link_t *self, void *context, const bb_curve_pair_t *key,
                                      bb_fault_t *fault);
void bb_link_close(bb_link_t *self);
bb_link_event_t bb_link_next_event(bb_link_t *self, int32_t *detail); // does not wait
// Sends [envelope][body]; takes the envelope (malloc). body may be NULL, else it is kept as long as
// libzmq needs it. False: not connected, nothing sent.
bool bb_link_send(bb_link_t *self, uint8_t *envelope, size_t envelope_length, bb_blob_t *body);
// Receives [envelope] or [envelope][payload]; false when there is nothing. Messages of more frames
// are dropped.
bool bb_link_receive(bb_link_t *self, bb_link_frame_t *envelope, bb_link_frame_t *payload);

#endif

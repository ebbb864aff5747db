// SPDX-License-Identifier: Apache-2.0
// bb_frame - frames of a socket as shared buffers, without copies where memory allows it.
//
// Receiving wraps the libzmq message in a bb_buffer_t (copied only when its bytes are not 8-byte
// aligned); sending lends the buffer to libzmq until it is written. The last one to let go frees
// it, in whatever thread that is.
#ifndef BB_FRAME_H
#define BB_FRAME_H

#include <stdatomic.h>

#include "node/runtime/bb_buffer.h"

#define BB_FRAMES_MAX        4
#define BB_USER_ID_BYTES_MAX 64

// One received message of a ROUTER: who it is from, and its frames after the routing id.
typedef struct {
    uint8_t routing_id[256];
    size_t routing_id_length;
    char user_id[BB_USER_ID_BYTES_MAX]; // what the ZAP handler said, "role:name"; "" if none
    uint32_t frame_count;               // of the message; those past BB_FRAMES_MAX are not kept
    bb_buffer_t *frames[BB_FRAMES_MAX];
    size_t bytes; // all frames
} bb_received_t;

// False when nothing waits. The frames are the caller's (bb_received_drop).
bool bb_received_read(bb_received_t *self, void *router);
void bb_received_drop(bb_received_t *self);

// Sends frames[0..count) as one message, never waiting; NULL frames are left out. Keeps its own
// references. `account` (or NULL) holds the bytes that are lent out, until libzmq has written or
// dropped them. False: not connected, no room or gone; nothing was sent.
bool bb_frame_send(void *socket, const void *routing_id, size_t routing_id_length,
                   bb_buffer_t *const *frames, uint32_t count, _Atomic uint64_t *account);

#endif

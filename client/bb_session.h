// SPDX-License-Identifier: Apache-2.0
// bb_session - the library's side of busbar_session_t: a token behind a lock.
//
// Writers add to it on the io thread, rows on the thread that reads them, and the user exports it
// on any; each function takes the lock. What the token is: protocol/bb_session_token.h.
#ifndef BB_SESSION_H
#define BB_SESSION_H

#include "client/busbar.h"
#include "protocol/bb_session_token.h"

// The session is of this cluster from now on. BB_ERR_CLUSTER: it is of another one.
BB_MUST_CHECK bb_error_t bb_session_bind(busbar_session_t *self, const uint8_t cluster_id[16]);
// Adds what a node's answer says. An answer without a token, of a node that knows none, or with one
// that cannot be read, makes the session fall back to quorum reads: what was seen is not known.
void bb_session_note(busbar_session_t *self, bb_slice_t encoded);
// The token of these partitions (ascending) as bytes for a request, malloc'd for the caller.
void bb_session_encode(busbar_session_t *self, const uint32_t *partitions, uint32_t partition_count,
                       uint8_t **out, size_t *out_length);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_peer_split - which store of this node gets what of a peer's message.
//
// Pure. A node keeps partition p in store p % store_count; peers know nodes, not their stores.
//   REPLICATE      cut by the partitions of its parts; one store only (almost always): as it is
//   REPLICATE_ACK  each store gets the ranges of its partitions, and the batches of its partitions:
//                  a batch that one of our stores has sent is in that store alone
//   HAVE_REQUEST, HAVE, PULL, PULL_DONE  the lane names one store (bb_have_view.h)
// With one store everything but a lane is passed on unseen.
#ifndef BB_PEER_SPLIT_H
#define BB_PEER_SPLIT_H

#include "node/runtime/bb_buffer.h"
#include "protocol/bb_message.h"

// Gets one store's share, borrowed for the call. is_whole: `message`, `chunks` and `batch` are what
// bb_peer_split was given; otherwise the message has no envelope of its own, and who keeps it
// encodes it again.
typedef void (*bb_peer_split_fn)(void *context, uint32_t store_index, const bb_message_t *message,
                                 bb_buffer_t *chunks, bb_buffer_t *batch, bool is_whole);

// chunks, batch: of a REPLICATE, else NULL. Errors are the peer's fault, and nothing was emitted:
//   MESSAGE_CORRUPT, ...  wrong number of frames; chunks or batch that do not decode or match
//   PEER_UNKNOWN          a lane that is not one of a single store here: its sender does not know
//                         how many there are
//   MESSAGE_VERSION       no kind that stores get from peers
BB_MUST_CHECK bb_error_t bb_peer_split(uint32_t store_count, const bb_message_t *message,
                                       bb_buffer_t *chunks, bb_buffer_t *batch,
                                       bb_peer_split_fn emit, void *context, bb_fault_t *fault);

#endif

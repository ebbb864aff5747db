// SPDX-License-Identifier: Apache-2.0
// bb_session_token - what a client has written and seen, so that a read at level `one` of any
// replica sees at least that: read your writes, and never go back.
//
// Pure value type; one owner. A token is a set of dots by stream and partition. Answers to writes
// carry the dots that the batch got, answers to reads what the snapshot held that some replica may
// still lack; the client joins both, and sends with a read what its token says of the partitions
// that are asked. A replica serves a partition once its own have-set contains that (bb_fence.h).
// Joining is union, so tokens of several processes can be joined in any order.
// Design, section 4, "Session token". The idea: Terry, Demers et al., "Session Guarantees for
// Weakly Consistent Replicated Data" (1994), with a set of dots for the version vector.
//
// At most BB_SESSION_TOKEN_BYTES_MAX bytes when encoded. What does not fit makes the token
// *overflowed*: it holds nothing any more, for good, and reads with it are made at local_quorum,
// which sees what was acknowledged at local_quorum in that data centre (and not what the session
// wrote or saw at `one` alone).
//
// Encoded, little-endian, no padding; equal tokens have equal bytes:
//      0  magic 'BBT1'
//      4  flags: 1 overflowed
//      5  cluster id, 16 bytes; zero: of no particular cluster
//     21  streams, ascending by id:
//           id, 16 bytes; then varints (LEB128, shortest form): count of ranges, and of each range
//             partition, less that of the range before it
//             first seq - 1; in the same partition first seq - 2 - last seq of the range before
//             last seq - first seq
//    end  CRC-32C of all before it
// One battery takes 21 + 4 bytes, and about 22 of each stream.
#ifndef BB_SESSION_TOKEN_H
#define BB_SESSION_TOKEN_H

#include "protocol/bb_have_set.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t partition;
    uint64_t first_seq, last_seq; // inclusive, 1 <= first <= last
} bb_session_range_t;

typedef struct {
    bb_stream_t stream;
    uint32_t range_count, range_capacity;
    bb_session_range_t *ranges; // by (partition, first), disjoint, never adjacent
} bb_session_stream_t;

// Zero-initialised is empty. Fields are read-only for callers.
typedef struct {
    uint8_t cluster_id[16];
    bool is_overflowed;
    uint32_t stream_count, stream_capacity;
    bb_session_stream_t *streams; // by stream bytes; none without ranges
} bb_session_token_t;

void bb_session_token_clear(bb_session_token_t *self); // frees everything; empty and reusable
// Holds no dot. An overflowed token does not, either.
bool bb_session_token_is_empty(const bb_session_token_t *self);
// From now on of this cluster. BB_ERR_CLUSTER: it is of another one, and stays so.
BB_MUST_CHECK bb_error_t bb_session_token_bind(bb_session_token_t *self,
                                               const uint8_t cluster_id[16]);
// Adds the dots; cheap at the end of a stream's list, else linear in it. Unbounded: what is built
// is bounded by _join and _encode.
void bb_session_token_add(bb_session_token_t *self, const bb_stream_t *stream, uint32_t partition,
                          uint64_t first_seq, uint64_t last_seq);
// self = self united with other, overflowed if that passes the limit. BB_ERR_CLUSTER: of different
// clusters, nothing changed. Linear in both.
BB_MUST_CHECK bb_error_t bb_session_token_join(bb_session_token_t *self,
                                               const bb_session_token_t *other);
// self (replaced) = what `from` says of these partitions, ascending.
void bb_session_token_select(bb_session_token_t *self, const bb_session_token_t *from,
                             const uint32_t *partitions, uint32_t partition_count);
// Drops streams: those that are forgotten are held by everybody.
typedef bool (*bb_session_stream_fn)(void *context, const bb_stream_t *stream);
void bb_session_token_drop(bb_session_token_t *self, bb_session_stream_fn is_dropped,
                           void *context);
// True when `have`, a have-set of the partition, contains every dot of the token there.
bool bb_session_token_is_held(const bb_session_token_t *self, uint32_t partition,
                              const bb_have_set_t *have);

size_t bb_session_token_encoded_bytes(const bb_session_token_t *self);
// *out is malloc memory of the caller. One that is too large is written as overflowed.
void bb_session_token_encode(const bb_session_token_t *self, uint8_t **out, size_t *out_length);
// Replaces self. MESSAGE_VERSION: another format. MESSAGE_CORRUPT: damaged or not canonical.
// MESSAGE_BYTES: past the limit. On error self is empty.
BB_MUST_CHECK bb_error_t bb_session_token_decode(bb_session_token_t *self, bb_slice_t encoded);

#ifdef __cplusplus
}
#endif
#endif

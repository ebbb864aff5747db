// SPDX-License-Identifier: Apache-2.0
// bb_have_set - which chunks of one partition a replica holds durably.
//
// Pure. One thread owns it. A chunk is named by its dot (stream, seq): the stream is one process
// start of one node (16 bytes, bb_forgotten.h says which), seq counts 1, 2, 3... in that stream and
// partition. The set keeps, per stream, sorted disjoint ranges [first, last]; normally one that
// begins at 1.
//
//   stream a31f...:  [1 ........ 812]            in step
//   stream 77c0...:  [1 .. 40]  [43 .. 44]       41 and 42 are missing
//
// Streams are kept sorted by their bytes, so equal sets have equal encodings.
// Model: tests/model/streams.pml, sync-before-have.
#ifndef BB_HAVE_SET_H
#define BB_HAVE_SET_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint8_t bytes[16];
} bb_stream_t;

typedef struct {
    uint64_t first_seq; // inclusive, >= 1
    uint64_t last_seq;  // inclusive, >= first_seq
} bb_seq_range_t;

typedef struct {
    bb_stream_t stream;
    uint32_t range_count;
    uint32_t range_capacity;
    bb_seq_range_t *ranges; // sorted, disjoint, never adjacent
} bb_have_stream_t;

// Zero-initialised is empty. Fields are read-only for callers; change through the functions.
typedef struct {
    bb_have_stream_t *streams; // sorted by stream bytes
    uint32_t stream_count;
    uint32_t stream_capacity;
} bb_have_set_t;

// The stream of all zeros is nobody's: chunks of it have no dots. A replica journals so what
// segment sync brought; no have-set contains them, and no peer is ever sent one.
static inline bool bb_stream_is_none(const bb_stream_t *stream)
{
    static const uint8_t none[sizeof stream->bytes] = {0};
    return __builtin_memcmp(stream->bytes, none, sizeof none) == 0;
}

static inline bool bb_stream_is_equal(const bb_stream_t *a, const bb_stream_t *b)
{
    return __builtin_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void bb_have_set_clear(bb_have_set_t *self); // frees everything; the set is empty and reusable
void bb_have_set_copy(bb_have_set_t *self, const bb_have_set_t *other); // self is replaced

// Adds [first_seq, last_seq]; true if anything was new. Errors leave the set unchanged:
//   BB_ERR_LIMIT  a new range would be the 33rd of its stream, or the stream the 4,097th
BB_MUST_CHECK bb_error_t bb_have_set_add(bb_have_set_t *self, const bb_stream_t *stream,
                                         uint64_t first_seq, uint64_t last_seq, bool *added);
bool bb_have_set_contains(const bb_have_set_t *self, const bb_stream_t *stream, uint64_t seq);
// All of [first_seq, last_seq].
bool bb_have_set_contains_range(const bb_have_set_t *self, const bb_stream_t *stream,
                                uint64_t first_seq, uint64_t last_seq);
// True when every dot of `other` is in `self`.
bool bb_have_set_includes(const bb_have_set_t *self, const bb_have_set_t *other);
bool bb_have_set_is_equal(const bb_have_set_t *self, const bb_have_set_t *other);
// self = self united with other. BB_ERR_LIMIT as in _add: self then holds what there was room for,
// range by range.
BB_MUST_CHECK bb_error_t bb_have_set_union(bb_have_set_t *self, const bb_have_set_t *other);
// How many dots of `other` are not in `self`; UINT64_MAX when there are more.
uint64_t bb_have_set_lacks_count(const bb_have_set_t *self, const bb_have_set_t *other);
// Number of dots; UINT64_MAX when there are more.
uint64_t bb_have_set_count(const bb_have_set_t *self);
// Takes streams out.
typedef bool (*bb_have_stream_fn)(void *context, const bb_stream_t *stream);
void bb_have_set_drop(bb_have_set_t *self, bb_have_stream_fn is_dropped, void *context);
// The ranges of one stream, or NULL.
const bb_have_stream_t *bb_have_set_stream(const bb_have_set_t *self, const bb_stream_t *stream);

// Flat form, used on the wire and on disk: per stream 16 bytes, u32 range count, u32 zero, then
// pairs of u64, all little-endian. Sorted as in memory. _encode writes exactly
// bb_have_set_encoded_bytes() bytes. _decode replaces self and refuses anything that is not
// canonical (BB_ERR_MESSAGE_CORRUPT); self is then empty.
size_t bb_have_set_encoded_bytes(const bb_have_set_t *self);
void bb_have_set_encode(const bb_have_set_t *self, uint8_t *out);
BB_MUST_CHECK bb_error_t bb_have_set_decode(bb_have_set_t *self, const uint8_t *data,
                                            size_t length);

#ifdef __cplusplus
}
#endif
#endif

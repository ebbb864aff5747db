// SPDX-License-Identifier: Apache-2.0
// bb_have_tails - how far the live streams of many partitions have come, in a few bytes each.
//
// Pure. Part of HAVE: of a partition that changed only in that its live streams grew, and in which
// each of these is one range from 1, the numbers of the last chunks say everything to somebody who
// knows what it was before. Next to each other partitions look alike, so only differences are
// written: about three bytes a partition and stream, where the whole have-set takes 60 and more.
//
//   per entry, partitions ascending, all numbers LEB128 (7 bits a byte, low first, no spare bytes):
//     partition - (partition of the entry before + 1); the first: partition
//     mask of streams: bit i is streams[i]; not 0
//     for each of these, ascending: zigzag(last_seq - last_seq of this stream in an entry before,
//     or
//                                          0)
#ifndef BB_HAVE_TAILS_H
#define BB_HAVE_TAILS_H

#include "protocol/bb_have_set.h"

#define BB_HAVE_TAIL_STREAMS_MAX 64 // in one message; more: have-sets instead

// Zero-initialised is empty.
typedef struct {
    bb_stream_t streams[BB_HAVE_TAIL_STREAMS_MAX];
    uint32_t stream_count;
    uint64_t last_seqs[BB_HAVE_TAIL_STREAMS_MAX]; // of the entry before
    uint32_t partition_next;                      // the smallest that may come now
    uint32_t count;
    uint8_t *bytes;
    size_t length, capacity;
} bb_have_tails_t;

typedef struct {
    bb_stream_t stream;
    uint64_t last_seq; // >= 1; it has [1, last_seq]
} bb_have_tail_t;

void bb_have_tails_clear(bb_have_tails_t *self); // frees everything; empty and reusable
// Adds a partition with at least one tail, each of another stream. False: there is no room for its
// streams, and nothing changed. Partitions come in ascending order.
bool bb_have_tails_add(bb_have_tails_t *self, uint32_t partition, const bb_have_tail_t *tails,
                       uint32_t tail_count);

// Reads what _add wrote; `streams` is stream_count times 16 bytes.
typedef struct {
    bb_slice_t streams, bytes;
    size_t at;
    uint32_t partition_next;
    uint64_t last_seqs[BB_HAVE_TAIL_STREAMS_MAX];
} bb_have_tails_cursor_t;

// BB_ERR_MESSAGE_CORRUPT: not a whole number of streams, or too many.
BB_MUST_CHECK bb_error_t bb_have_tails_open(bb_have_tails_cursor_t *self, bb_slice_t streams,
                                            bb_slice_t bytes);
// The next entry; tails: room for BB_HAVE_TAIL_STREAMS_MAX. BB_ERR_NOT_FOUND: that was all.
// BB_ERR_MESSAGE_CORRUPT: not what _add writes.
BB_MUST_CHECK bb_error_t bb_have_tails_next(bb_have_tails_cursor_t *self, uint32_t *partition,
                                            bb_have_tail_t *tails, uint32_t *tail_count);

#endif

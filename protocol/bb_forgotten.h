// SPDX-License-Identifier: Apache-2.0
// bb_forgotten - what the id of a stream says of where it comes from, and which streams are
// forgotten.
//
// Pure. A stream is one process start of one node; its id, 16 bytes:
//
//      0  hash of the node's id, little-endian: SipHash-2-4 under a fixed key, its lower half
//      4  number of the start, little-endian: only grows with the starts of a node's disk
//      8  random, drawn at the start
//
// A stream is dead when its process has ended: no dot of it is given any more. When all replicas
// hold the same chunks of the dead streams of a node, sealed, their dots say nothing that somebody
// could lack. Then the node says that they are *forgotten*: one number, "mine of starts below b".
// Such streams are in no have-set, are contained in every comparison, and are never added again.
// So what is known of streams is bounded by the starts since the last time that all replicas were
// there, and not by all starts ever. docs/decisions/0016-streams-are-forgotten.md.
//
// Ids of folders of format 1 that older versions wrote are random. One looks like a stream of a
// node by chance, once in 2^32; it is then compared like the node's own before it is forgotten.
#ifndef BB_FORGOTTEN_H
#define BB_FORGOTTEN_H

#include "protocol/bb_have_set.h"

#ifdef __cplusplus
extern "C" {
#endif

uint32_t bb_stream_node_hash(const char *node_id);
bb_stream_t bb_stream_make(uint32_t node_hash, uint32_t number, const uint8_t random[8]);
uint32_t bb_stream_hash(const bb_stream_t *stream); // of its node
uint32_t bb_stream_number(const bb_stream_t *stream);
// A stream of the same node and of an earlier start.
bool bb_stream_is_before(const bb_stream_t *stream, const bb_stream_t *other);

typedef struct {
    uint32_t node_hash;
    uint32_t below; // streams of starts below this one; >= 1
} bb_forgotten_floor_t;

// Zero-initialised is none. Fields are read-only for callers.
typedef struct {
    uint32_t count;
    bb_forgotten_floor_t floors[BB_NODES_MAX]; // ascending by node
} bb_forgotten_t;

// Streams of the node below the number are forgotten, too. True: some of them were not.
// No effect for the 257th node.
bool bb_forgotten_raise(bb_forgotten_t *self, uint32_t node_hash, uint32_t below);
uint32_t bb_forgotten_below(const bb_forgotten_t *self, uint32_t node_hash); // 0: none
bool bb_forgotten_has(const bb_forgotten_t *self, const bb_stream_t *stream);
bool bb_forgotten_is_equal(const bb_forgotten_t *self, const bb_forgotten_t *other);
// The same as a bb_session_stream_fn and a bb_have_stream_fn; context is a bb_forgotten_t.
bool bb_forgotten_is_in(void *context, const bb_stream_t *stream);
// Takes them out of a set; how many streams there were.
uint32_t bb_forgotten_drop(const bb_forgotten_t *self, bb_have_set_t *have);

#ifdef __cplusplus
}
#endif
#endif

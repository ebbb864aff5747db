// SPDX-License-Identifier: Apache-2.0
// bb_store_split - one request, several stores: which part of it goes where, and back together.
//
// Pure; the router owns a gather per request. A node keeps partition p in store p % store_count.
// With one store a request passes through unchanged and none of this runs.
//   WRITE            the batch is cut by part; replies are added up, rejections renumbered
//   QUERY            a page serves one store; the cursor says which: [0xb5][count][index][0] and
//   then
//                    the store's own
//   SETTLE, RELEASE, SCRUB  go to every store; the node is settled when all are
// Nodes may have different numbers of stores. A query whose partitions lie in one store passes with
// the store's own cursor, which any replica understands. The other cursors mean something only
// where the number is the same: elsewhere they are refused as CURSOR, and the client asks anew.
#ifndef BB_STORE_SPLIT_H
#define BB_STORE_SPLIT_H

#include "protocol/bb_message.h"

static inline uint32_t bb_store_of_partition(uint32_t partition, uint32_t store_count)
{
    return partition % store_count;
}

// ---- QUERY -------------------------------------------------------------------------------------
#define BB_STORE_CURSOR_BYTES 4

typedef struct {
    bb_query_t query;     // for the store: its partitions, its own cursor; the rest is borrowed
    uint32_t store_index; // that serves this page
    uint32_t next_index;  // first later store with partitions of the query; store_count = none
    bool is_alone;        // all its partitions are of this store: its cursors leave as they are
    uint32_t *partitions; // owned
} bb_query_slice_t;

// CURSOR: the cursor is of a node with another number of stores. QUERY: it names no store of the
// query, or is none.
// A query without partitions goes to store 0.
BB_MUST_CHECK bb_error_t bb_query_slice(const bb_query_t *query, uint32_t store_count,
                                        bb_query_slice_t *slice, bb_fault_t *fault);
void bb_query_slice_drop(bb_query_slice_t *self);
// A cursor that names a store: nothing for a node with one.
bool bb_query_cursor_is_split(bb_slice_t cursor);
// The cursor that leaves the node, into `out` (BB_CURSOR_BYTES_MAX); 0 = the answer is complete.
size_t bb_query_slice_cursor(uint32_t store_index, uint32_t next_index, uint32_t store_count,
                             bb_slice_t inner, uint8_t *out);

// ---- WRITE, SETTLE, RELEASE --------------------------------------------------------------------
typedef struct bb_gather bb_gather_t;

// `kind` of the request; expects one answer of each of `expected` stores.
bb_gather_t *bb_gather_new(bb_kind_t kind, uint32_t store_count, uint32_t expected);
void bb_gather_destroy(bb_gather_t **self);
// WRITE: the sub-batch of a store, malloc'd; remembers how its frames are numbered in `batch`.
// NOT_FOUND: no part of it belongs there.
BB_MUST_CHECK bb_error_t bb_gather_cut(bb_gather_t *self, const bb_batch_t *batch,
                                       uint32_t store_index, uint8_t **out, size_t *out_length);
// One store's answer: the reply of the kind, or ERROR. True when it was the last. A second answer
// of the same store is ignored.
bool bb_gather_add(bb_gather_t *self, uint32_t store_index, const bb_message_t *answer);
// Fills the body of the joint answer, valid while the gather lives. Any error makes it an ERROR:
// one that says the request is wrong before one that says the outcome is unknown before the rest.
void bb_gather_answer(const bb_gather_t *self, bb_message_t *answer);

#endif

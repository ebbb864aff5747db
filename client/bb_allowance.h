// SPDX-License-Identifier: Apache-2.0
// bb_allowance - how many bytes of batches may be on their way to one node, by what it told.
//
// Pure; one per connection, of the background thread (bb_io). The node's side, and why, is
// node/ingest/bb_credit.h: answers to HELLO and WRITE tell a credit in bytes, and what is on its
// way stays within it; past it batches wait with us. One may always be on its way when nothing else
// is. A credit holds for BB_CREDIT_NS after the WRITE whose answer told it was sent, and for
// BB_CREDIT_NS_FIRST after a HELLO, so that the node, which counts from when that arrived, never
// takes it back earlier; then, until the next answer, it is one batch at a time. A node that tells
// nothing (it is older) bounds nothing.
#ifndef BB_ALLOWANCE_H
#define BB_ALLOWANCE_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

typedef struct {
    uint32_t credit_bytes; // 0: not told
    int64_t until_ns;      // monotonic; of the credit
    uint64_t sent_bytes;   // on their way
    uint32_t sent_count;
} bb_allowance_t;

// A new connection: nothing was told. What is on its way is still to be ended.
void bb_allowance_reset(bb_allowance_t *self);
// An answer told a credit that holds until then, monotonic; an earlier time than before shortens
// nothing. credit_bytes 0: it tells nothing.
void bb_allowance_told(bb_allowance_t *self, int64_t until_ns, uint32_t credit_bytes);
// May a batch of so many bytes be sent now?
bool bb_allowance_admits(const bb_allowance_t *self, int64_t now_ns, uint64_t bytes);
void bb_allowance_begin(bb_allowance_t *self, uint64_t bytes); // it was sent
void bb_allowance_end(bb_allowance_t *self, uint64_t bytes);   // answered, or given up

#endif

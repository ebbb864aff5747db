// SPDX-License-Identifier: Apache-2.0
// bb_credit - how many bytes of batches each client may have on their way to this node.
//
// Pure core; the router actor owns it. Each answer to a HELLO or WRITE tells its connection a
// credit: the bytes of WRITEs that may be unanswered at any moment, whatever is in flight already.
// An absolute number, not an increment: a lost answer costs nothing, a later one says it again. A
// client holds to it (client/bb_allowance.h); one batch may always be on its way when nothing else
// is, however small the credit. So under overload batches wait with their clients, whose append
// waits, instead of being sent, refused as BUSY and sent again. Source of the idea: the windows of
// Kung, Blackwell and Chapman, "Credit-Based Flow Control for ATM Networks" (1994), with absolute
// credits as theirs. Clients that know no credits are bounded by bb_admission, as before.
//
// Out of one budget for the node:
//   A connection begins with `first_bytes`; what it may have grows to twice the most that it lately
//   had on its way, as far as the budget goes, and shrinks likewise when it is not used. When seven
//   eighths are given out, those above an equal share shrink, an eighth with each answer, down to
//   it, and nobody grows beyond it: so all get what they can use, or at least an equal share.
//
//     exposure of a connection = the most that it may have on its way, for all that was told
//     sum of exposures <= budget_bytes + first_bytes + one byte a connection
//
//   A lowered credit counts as given until enough was answered: after an answer to b bytes no more
//   than max(new credit, exposure - b) can be on its way. With more connections than the budget can
//   serve, credits are 1: one batch at a time, and BUSY for what does not fit.
//   What a connection was told lapses BB_CREDIT_NS after its last WRITE here, or BB_CREDIT_NS_FIRST
//   after its HELLO if it wrote nothing, and, by its own clock, no later at the client; ROUTER
//   sockets tell of no disconnects.
#ifndef BB_CREDIT_H
#define BB_CREDIT_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

typedef struct bb_credit bb_credit_t;

// budget_bytes >= first_bytes > 0; connections_max in [1, 1 << 20]: further ones get credits of 1.
bb_credit_t *bb_credit_new(uint64_t budget_bytes, uint32_t first_bytes, uint32_t connections_max);
void bb_credit_destroy(bb_credit_t **self);

// now_mono_ns never goes back. `connection` is any number that names it. Amortised constant cost.

// A connection said HELLO. The credit to tell it, at least 1.
uint32_t bb_credit_hello(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection);
// A WRITE of so many bytes arrived, and will be answered.
void bb_credit_begin(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection, uint64_t bytes);
// It is answered now. The credit to tell, at least 1.
uint32_t bb_credit_end(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection, uint64_t bytes);

uint64_t bb_credit_given_bytes(const bb_credit_t *self); // sum of exposures
uint32_t bb_credit_connection_count(const bb_credit_t *self);
// Aborts when the sums and lists do not add up. Linear.
void bb_credit_check(const bb_credit_t *self);

#endif

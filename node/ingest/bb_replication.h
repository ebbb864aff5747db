// SPDX-License-Identifier: Apache-2.0
// bb_replication - counts copies: which client batches are on enough disks, what peers have, what
// to pull, and when a quorum read may go ahead.
//
// Pure core: no socket, file, clock or randomness; owned by one shard (bb_shard.h). Events come in
// through the functions below, each with monotonic time; what must be done comes back as actions
// that the shard drains in order with bb_replication_next. Persist before promise: an event that
// says "durable" is only sent after the sync.
//
// Rules (design section 4): a replica counts only by its own acknowledgement, incarnation and epoch;
// acknowledgements name dots; dominance is set inclusion; an acknowledgement under another epoch or
// incarnation does not count; no data on a promise ever counts.
//
// The functions and structures of this header are settled by its author; see the file's end for
// the allowed-moves table of a pending write.
#ifndef BB_REPLICATION_H
#define BB_REPLICATION_H
#endif

// SPDX-License-Identifier: Apache-2.0
// bb_replication - counts copies: which client batches are on enough disks to be acknowledged.
//
// Pure core: no socket, file, clock or randomness; owned by one shard (bb_shard.h). Events come in
// through the functions below, each with monotonic time; writes that ended come back in order from
// bb_replication_next. Persist before promise: _durable is only called for what is synced.
//
// Rules (design section 4): a replica counts only by its own acknowledgement, incarnation and epoch
// (the shard checks the last two before it calls); acknowledgements name dots, one by one or all
// that the replica holds of a batch by their number and sum (bb_dot_sum.h); no data on a promise
// ever counts. A write is done when every one of its parts has its level. What the peers are known
// to hold, and what to pull, is bb_have_view.h; when a quorum read may go ahead, bb_fence.h.
// Model: tests/model/streams.pml, dots-acknowledged; tests/model/fence.pml, count-durable;
// tests/model/move.pml, epoch-count.
//
// A pending write moves
//
//     from       event                       to
//     OPEN       every part has its level    ANSWERED (OK)
//     OPEN       deadline                    ANSWERED (TIMEOUT: unknown, safe to repeat)
//     OPEN       _fail                       ANSWERED (that error)
//     ANSWERED   all peers that were sent it acknowledged, or were reset, or 10 s passed     gone
//
// and nowhere else. ANSWERED is kept so that what a slow peer still owes stays counted; when the
// table is full of those, the oldest make room, so that nobody waits for a slow or remote replica
// that the level does not need.
// Cost: about 50 ns a part and copy; one allocation a write.
#ifndef BB_REPLICATION_H
#define BB_REPLICATION_H

#include "cluster-config/bb_topology.h"
#include "protocol/bb_have_set.h"
#include "protocol/bb_message.h"

typedef struct bb_replication bb_replication_t;

// At most this many writes without an outcome are pending; the next one is BB_ERR_BUSY.
#define BB_REPLICATION_WRITES_MAX 4096
// At most this many (partition, seq) parts are pending over all writes; likewise.
#define BB_REPLICATION_PARTS_MAX (1u << 20)

// The topology is borrowed and must outlive the core; its self_index is the coordinator.
bb_replication_t *bb_replication_new(const bb_topology_t *topology);
void bb_replication_destroy(bb_replication_t **self);

// The first part whose level cannot be met by the replicas on nodes with is_up[node], or
// UINT32_MAX when all can. Partitions must be below partition_count.
uint32_t bb_replication_unmet_part(const bb_replication_t *self, bb_level_t level,
                                   const bool *is_up, const uint32_t *partitions,
                                   uint32_t part_count);

typedef struct {
    bb_level_t level; // ONE, LOCAL_QUORUM or ALL
    uint32_t part_count;
    const uint32_t *partitions; // ascending; this node holds a replica of each
    uint64_t context;           // comes back with the outcome
    int64_t now_mono_ns, deadline_mono_ns;
} bb_replication_write_t;

// Gives each part the next dot of this process start's stream (1, 2, 3... in each partition) and
// begins to count its copies. seqs: room for part_count. BB_ERR_BUSY: too much is pending, and
// nothing changed.
BB_MUST_CHECK bb_error_t bb_replication_begin(bb_replication_t *self,
                                              const bb_replication_write_t *write, uint64_t *seqs,
                                              uint32_t *write_id);
// The write's chunks of which `node` is a replica are on their way to it: `bytes` are owed until it
// acknowledges. Once per write and node.
void bb_replication_sent(bb_replication_t *self, uint32_t write_id, uint32_t node, uint64_t bytes);
// The node has not yet acknowledged all parts of the write that it was sent; false once the write
// is gone. Cost: nodes that were sent it.
bool bb_replication_owes(const bb_replication_t *self, uint32_t write_id, uint32_t node);
// The dots [first_seq, last_seq] of our stream in `partition` are durable at `node` (this one
// included). Repeating is fine. Errors change nothing and are the peer's fault:
//   BB_ERR_PEER_UNKNOWN     not a replica of the partition
//   BB_ERR_MESSAGE_CORRUPT  such a dot was never given, or the range is not one
BB_MUST_CHECK bb_error_t bb_replication_durable(bb_replication_t *self, uint32_t node,
                                                uint32_t partition, uint64_t first_seq,
                                                uint64_t last_seq, int64_t now_mono_ns);
// All parts of a write that the node holds in the lane (that of its store) are durable there; which
// write that is says one of its dots. Errors change nothing and are the peer's fault:
//   BB_ERR_PEER_UNKNOWN     not a replica of the partition
//   BB_ERR_MESSAGE_CORRUPT  such a dot was never given, or the parts are others than the write has
// A write that ended long ago is none. Cost: about 20 ns a part.
BB_MUST_CHECK bb_error_t bb_replication_durable_batch(bb_replication_t *self, uint32_t node,
                                                      bb_lane_t lane, const bb_ack_batch_t *batch,
                                                      int64_t now_mono_ns);
// Ends a write that failed here before it was durable. No effect when it has ended already.
void bb_replication_fail(bb_replication_t *self, uint32_t write_id, bb_error_t error,
                         int64_t now_mono_ns);
// Ends all writes that have no outcome yet: what was counted for them counts no more.
void bb_replication_fail_all(bb_replication_t *self, bb_error_t error, int64_t now_mono_ns);
// The peer is down or another process: what it owes is forgotten. Copies that it acknowledged are
// on its disk and keep counting.
void bb_replication_peer_reset(bb_replication_t *self, uint32_t node);
// Deadlines.
void bb_replication_tick(bb_replication_t *self, int64_t now_mono_ns);

typedef struct {
    uint64_t context;
    bb_error_t error;
    int64_t begun_mono_ns;
} bb_replication_done_t;

// The next write that ended, oldest end first; false when there is none.
bool bb_replication_next(bb_replication_t *self, bb_replication_done_t *done);

int64_t bb_replication_wake_mono_ns(const bb_replication_t *self); // next _tick; BB_NEVER_NS: none
uint64_t bb_replication_unacked_bytes(const bb_replication_t *self, uint32_t node);
uint32_t bb_replication_open_count(const bb_replication_t *self); // writes without an outcome
uint64_t bb_replication_seq_last(const bb_replication_t *self, uint32_t partition); // 0: none
// How soon a node acknowledges, from the moment the write began: sums that only grow, of parts that
// it had not acknowledged before. What it says after the write is gone is not counted.
typedef struct {
    uint64_t count, ns_sum;
} bb_replication_acks_t;
bb_replication_acks_t bb_replication_acks(const bb_replication_t *self, uint32_t node);
// For each of the node_count nodes, how old the oldest write is of which it still owes parts; 0:
// none. Cost: writes x nodes.
void bb_replication_waiting(const bb_replication_t *self, int64_t now_mono_ns, int64_t *ages_ns);
// Aborts on a broken invariant. Not constant cost; for tests.
void bb_replication_check(const bb_replication_t *self);

#endif

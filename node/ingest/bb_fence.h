// SPDX-License-Identifier: Apache-2.0
// bb_fence - says when a quorum read may scan here, and which partitions it must call missing.
//
// Pure core, owned by one shard. Design, "Quorum reads cost one scan": after the read has arrived,
// replicas are asked for their have-sets; T is the union over as many as the level needs
// (bb_topology_need), this node included; the read may go ahead once our own have-set contains T.
// Every point acknowledged at a level before the read began is in the have-sets of the replicas
// that the level needs, and two such sets share a replica, so T contains it: local_quorum reads see
// what was acknowledged at local_quorum in this data centre, quorum reads that and what was at
// quorum anywhere, each_quorum reads what was at any quorum anywhere, all reads everything. An
// answer to a question asked before the read arrived proves nothing and does not count
// (bb_have_view_answered_id, numbers of requests).
// Model: tests/model/fence.pml, fence-majority and fence-wait; tests/model/move.pml, epoch-read.
//
// A read with a session waits for what its token says of each partition too. At level `one` it
// waits for that alone (T is the token), but asks the others at once: from their answers it knows
// what to pull.
//
// Few are asked where few are enough: a read of few partitions at local_quorum asks as many
// replicas as its level needs, those first that owe no answer and are not slow, in turn; the others
// when the answers take longer than 95 % of the last ones (bb_hedge), at most for one read in
// twenty, or than BB_FENCE_PATIENCE_NS. Whom it asks decides nothing but when it may go ahead.
//
//     REPORTS  the replicas that the level needs must answer; not at `one`
//     DATA     what they have is waited for, and pulled when it does not come
//     READY    or MISSING: UNAVAILABLE (too few are up), TIMEOUT (they did not answer in time),
//              BEHIND (the data did not come in time, or nobody has it in a journal any more)
#ifndef BB_FENCE_H
#define BB_FENCE_H

#include "node/ingest/bb_have_view.h"
#include "protocol/bb_session_token.h"

typedef struct bb_fence bb_fence_t;

// Waiting, and what they hold; the next one is BB_ERR_BUSY. One alone always fits. What a read
// waits for is known only when replicas have answered, so have-sets can take it over the bound.
#define BB_FENCE_READS_MAX   1024
#define BB_FENCE_BYTES_MAX   (64u << 20)
#define BB_FENCE_FEW_MAX     8u  // partitions of a read that asks few, and whom it asks
#define BB_FENCE_QUEUE_MAX   64u // reads that wait: with more of them none is hedged
#define BB_FENCE_PATIENCE_NS (BB_HAVE_ANSWER_NS_MAX / 4)

// Both are borrowed. `own` as in bb_have_view_options_t.
bb_fence_t *bb_fence_new(const bb_topology_t *topology, bb_have_view_t *view, bb_have_own_fn own,
                         void *own_context);
// Waiting reads are forgotten: their contexts are the caller's.
void bb_fence_destroy(bb_fence_t **self);

typedef struct {
    uint64_t context;
    bb_level_t level;
    uint64_t request_id;        // answers from this one on count: bb_have_view_request_id_next
    const uint32_t *partitions; // ours, ascending
    uint32_t partition_count;
    const bb_session_token_t *session; // NULL: none
    size_t held_bytes;                 // that the caller keeps for it, counted with its own
    bool asks_few;                     // where that is possible
    int64_t begun_mono_ns;             // for asks_few
    int64_t deadline_mono_ns;
} bb_fence_read_t;

// A read arrived; copies the list of partitions and their part of the session. BB_ERR_BUSY: too
// many wait, or what waits holds too much.
BB_MUST_CHECK bb_error_t bb_fence_begin(bb_fence_t *self, const bb_fence_read_t *read);
// A peer that does not count (is_barred) will give no answer that does: a read that needs it is
// UNAVAILABLE at once. What it answered while it counted is as good as before.
void bb_fence_peer(bb_fence_t *self, uint32_t node, bool is_barred);
// These streams are in no have-set from now on: reads wait for none of their chunks. Before the own
// have-sets are without them.
void bb_fence_forget(bb_fence_t *self, const bb_forgotten_t *forgotten);
// The route score's verdict: a slow peer is asked last.
void bb_fence_slow(bb_fence_t *self, uint32_t node, bool is_slow);
// Reads that have asked few for long enough ask all from now on; before the next one.
void bb_fence_hedge(bb_fence_t *self, int64_t now_mono_ns);
// For each of the node_count nodes, the youngest request number that waiting reads need an answer
// to from it; 0: none. Looks at all parts of all waiting reads, once.
void bb_fence_wanted_ids(const bb_fence_t *self, uint64_t *request_ids);
// Looks at the view, the own have-sets and the time. Cheap when `is_changed` is false and no
// deadline has passed; it must be true after reports, applies and changes of liveness.
void bb_fence_step(bb_fence_t *self, int64_t now_mono_ns, bool is_changed);

// The next read that may go ahead without `missing` (borrowed until the next call); false: none.
typedef struct {
    uint64_t context;
    const bb_missing_t *missing; // ascending partitions
    uint32_t missing_count;
    bool is_timeout;
} bb_fence_ready_t;
bool bb_fence_next(bb_fence_t *self, bb_fence_ready_t *ready);

// Reads that could have been hedged, those that were, and those in which that was faster.
typedef struct {
    uint64_t asked, hedged, won;
} bb_fence_hedges_t;
bb_fence_hedges_t bb_fence_hedges(const bb_fence_t *self);
uint32_t bb_fence_waiting_count(const bb_fence_t *self);
uint64_t bb_fence_waiting_bytes(const bb_fence_t *self);
int64_t bb_fence_wake_mono_ns(const bb_fence_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_watch - which chunks the rules have seen, and whose turn it is to show them the others.
//
// Pure core, owned by one shard. Per partition a have-set of chunks that are *watched*: evaluated,
// with their events durable at local_quorum. Replicas of a data centre tell each other theirs, and
// take them over: being watched is a fact that never ends, so sets are joined in any order and any
// number of times. A journal record stays until its chunks are watched. Each data centre watches
// for itself: events are on a quorum there, and a data centre that is lost takes its own with it.
// Source: the design, section 4, "Alerts".
//
// Whose turn: the first replica of the data centre, in the order of the placement, that is up and
// counts (the *owner*) evaluates what is not watched at once; each one behind it waits for one turn
// more. So a chunk that the owner cannot evaluate (it died, it hangs, it got the chunk without its
// bytes) is evaluated by the next, with no agreement on who the owner is: evaluating twice does no
// harm (bb_rule_engine.h).
//
//     own have-set ──▶ pending: what of it is not watched yet, since when
//         │ the owner,   │ rank x BB_WATCH_TURN_NS
//         │ as it comes  ▼
//         │            due here ──▶ read from the journal
//         └─────────────────────────┴─▶ evaluate: begun ──▶ events durable ──▶ watched ──▶ told
//
// The owner evaluates a chunk when it becomes durable, while it is in memory (bb_shard_watch.c):
// nothing of it is due, because it is *begun*. Journals are read for the rest: what came before
// there was an owner, or a quorum, or while another one was.
//
// The sets are kept in memory: a process that starts learns them from the others, and what nobody
// tells it is evaluated again from its journal. What is durable here and not in the journal here is
// *settled*: it was watched before it left there, or segment sync brought it, and then its rows
// were evaluated before it was adopted (bb_shard_watch.c). That is known of this replica alone, so
// it is not told: another may have the same chunk in its journal, and in it a version of a point
// that rows, which are merged, no longer show.
#ifndef BB_WATCH_H
#define BB_WATCH_H

#include "node/ingest/bb_have_view.h"

typedef struct bb_watch bb_watch_t;

#define BB_WATCH_TURN_NS (1 * BB_NS_PER_S)

// All are borrowed. `own` as in bb_have_view_options_t.
bb_watch_t *bb_watch_new(const bb_topology_t *topology, const bb_have_view_t *view,
                         bb_have_own_fn own, void *own_context);
void bb_watch_destroy(bb_watch_t **self);

// Whether the node may be the owner of anything: it is up and counts. Of this node, too. Cost of a
// change: partitions x replicas.
void bb_watch_serving(bb_watch_t *self, uint32_t node, bool is_serving);

// ---- watched -----------------------------------------------------------------------------------
const bb_have_set_t *bb_watch_set(const bb_watch_t *self, uint32_t partition);
// With what is settled here, and what is begun: nothing of it has to be evaluated by this replica
// now. Borrowed until the next change.
const bb_have_set_t *bb_watch_begun_set(const bb_watch_t *self, uint32_t partition);
// The journal here may forget it: all of the range is watched or settled.
bool bb_watch_is_done(const bb_watch_t *self, uint32_t partition, const bb_stream_t *stream,
                      uint64_t first_seq, uint64_t last_seq);
// Everything that is durable here is watched or settled.
bool bb_watch_is_complete(const bb_watch_t *self);
// A dot is being evaluated: it is not due, and no more than that. BB_ERR_LIMIT: the set is too
// fragmented, and it is due as before.
BB_MUST_CHECK bb_error_t bb_watch_begin(bb_watch_t *self, uint32_t partition,
                                        const bb_stream_t *stream, uint64_t seq);
// Nothing of the partition is begun any more; the caller begins again what is on its way still.
void bb_watch_begin_none(bb_watch_t *self, uint32_t partition);
// A dot was evaluated, and its events are durable. BB_ERR_LIMIT: a set is too fragmented; it stays
// unwatched and is evaluated again later.
BB_MUST_CHECK bb_error_t bb_watch_add(bb_watch_t *self, uint32_t partition,
                                      const bb_stream_t *stream, uint64_t seq);
// Another replica says what is watched; of partitions that are not ours without effect. What has no
// room in the sets is left out, and evaluated here again when it is due.
void bb_watch_learn(bb_watch_t *self, uint32_t partition, const bb_have_set_t *watched);
// Takes these streams out of all sets; what is added or learned later must be without them.
void bb_watch_forget(bb_watch_t *self, const bb_forgotten_t *forgotten);
// Grows with each dot that is added here; that of a partition says when one last was. What is
// learned leaves both as they are: who told it tells the others, too.
uint64_t bb_watch_version(const bb_watch_t *self);
uint64_t bb_watch_set_version(const bb_watch_t *self, uint32_t partition);
// Grows whenever more may be _is_done.
uint64_t bb_watch_done_version(const bb_watch_t *self);

// ---- turns -------------------------------------------------------------------------------------
// Here and now a chunk of the partition is this node's to evaluate at once.
bool bb_watch_is_owner(const bb_watch_t *self, uint32_t partition);
// Looks at the own have-sets and the time. Returns how many partitions have something that this
// node should evaluate now, ascending (room for all of ours). Linear in partitions and streams.
uint32_t bb_watch_due(bb_watch_t *self, int64_t now_mono_ns, uint32_t *partitions);
// The last look found all of the own have-sets watched or settled.
bool bb_watch_is_idle(const bb_watch_t *self);
// At this moment nothing of the partition that is neither watched nor begun is in the journal here.
void bb_watch_settled(bb_watch_t *self, uint32_t partition);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_have_view - what the peers are known to hold, what this node lacks of it, and whom to ask.
//
// Pure core, owned by one shard. A replica is asked for its have-sets again and again
// (HAVE_REQUEST); it answers with those that changed since the version it was last asked for. The
// view keeps, for each partition of this store and each replica, the last known have-set.
//
//   report ──▶ known[partition][slot] ──▶ lacks it something of ours? their pull
//                                     └─▶ do we lack something?      ours, after a while
//
// Chunks in flight are normal: what is lacking is pulled only when it was known for
// BB_HAVE_LACK_NS_MIN (BB_HAVE_URGENT_NS_MIN when a reader waits for it).
//
// What another data centre holds comes over its link once: in each partition the first replica here
// that is up pulls it, and the others pull from that one. They pull across themselves when a reader
// waits, or when no replica here has reported anything new for BB_HAVE_ACROSS_NS_MIN.
//
// No partition is in two pulls at once, unless a reader waits: both peers would send the same.
//
// Lost, repeated and reordered reports are harmless: within one incarnation a have-set only grows
// and versions count up. A report "changed after S, up to V" is adopted only if everything up to S
// is known; a full report in pieces counts as known only when all partitions were in it.
// A new incarnation starts from nothing: it may have lost its disk.
// Model: tests/model/fence.pml, fence-asked and fence-process.
//
// Versions count in one store of the peer, and nodes may have different numbers of stores. So a
// peer is asked lane by lane (bb_lane_t): a lane is what one store of the peer and this store have
// in common. With equal numbers of stores there is one lane for each peer.
//
//   3 stores here, 2 there: lanes of 6      here, store 1 of 3:  1  4      (p % 6)
//                                           there: store 1 ──────┘  └────── store 0
#ifndef BB_HAVE_VIEW_H
#define BB_HAVE_VIEW_H

#include "cluster-config/bb_topology.h"
#include "protocol/bb_forgotten.h"
#include "protocol/bb_message.h"

typedef struct bb_have_view bb_have_view_t;

#define BB_HAVE_LACK_NS_MIN       (300 * BB_NS_PER_MS)
#define BB_HAVE_URGENT_NS_MIN     (20 * BB_NS_PER_MS)
#define BB_HAVE_ANSWER_NS_MAX     (1 * BB_NS_PER_S)    // then the request is sent again
#define BB_HAVE_PULL_NS_MAX       (5 * BB_NS_PER_S)    // then the pull is given up and chosen again
#define BB_HAVE_PULL_STRAY_NS_MAX (300 * BB_NS_PER_MS) // PULL_DONE came before its chunks
#define BB_HAVE_PULL_IDLE_NS      (500 * BB_NS_PER_MS) // pause after a pull that brought nothing
// A replica here that is to fetch chunks from another data centre for all of us brought nothing.
#define BB_HAVE_ACROSS_NS_MIN  (2 * BB_NS_PER_S)
#define BB_HAVE_PULLS_MAX      2          // at once
#define BB_HAVE_PULL_BYTES_MAX (1u << 20) // of our have-sets in one PULL

// Our own have-set of a partition; borrowed until the store's next apply.
typedef const bb_have_set_t *(*bb_have_own_fn)(void *context, uint32_t partition);

typedef struct {
    const bb_topology_t *topology;     // borrowed
    uint32_t store_index, store_count; // this store has the partitions p % count == index
    int64_t report_interval_ns;
    // >= 1. Questions and pulls count up from here; drawn at each start, so that an answer to the
    // process before, which may still be under way, has no number of this one's.
    uint64_t request_id_first;
    bb_have_own_fn own;
    void *own_context;
    // Streams that are in no have-set: left out of what is reported. Borrowed, may grow (then
    // _forget); NULL: none.
    const bb_forgotten_t *forgotten;
} bb_have_view_options_t;

bb_have_view_t *bb_have_view_new(const bb_have_view_options_t *options);
void bb_have_view_destroy(bb_have_view_t **self);
const bb_have_view_options_t *bb_have_view_options(const bb_have_view_t *self); // as given

// Partitions of this store that this node holds, ascending; and those it shares with a peer.
const uint32_t *bb_have_view_partitions(const bb_have_view_t *self, uint32_t *count);
bool bb_have_view_is_ours(const bb_have_view_t *self, uint32_t partition);
bool bb_have_view_is_shared(const bb_have_view_t *self, uint32_t partition, uint32_t node);
uint32_t bb_have_view_shared_count(const bb_have_view_t *self, uint32_t node);

// The detector's verdict. A new incarnation forgets what was known. store_count: of that node,
// [1, BB_STORES_MAX]; one incarnation never changes it.
void bb_have_view_peer(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node, bool is_up,
                       const bb_stream_t *incarnation, uint32_t store_count);
bool bb_have_view_is_up(const bb_have_view_t *self, uint32_t node); // self is always up
const bb_stream_t *bb_have_view_incarnation(const bb_have_view_t *self, uint32_t node);
uint32_t bb_have_view_node_of(const bb_have_view_t *self, const bb_stream_t *incarnation);

// ---- reports -----------------------------------------------------------------------------------
// How many lanes this store has with the node; `step` below counts them from 0. Some may be empty.
uint32_t bb_have_view_lane_count(const bb_have_view_t *self, uint32_t node);
bb_lane_t bb_have_view_lane(const bb_have_view_t *self, uint32_t node, uint32_t step);
// The lane is one that a message of this node may name: they agree on all numbers of stores.
bool bb_have_view_is_lane(const bb_have_view_t *self, uint32_t node, bb_lane_t lane);
// True when the lane should be asked for now: its turn, or nothing came back, or a fence wants an
// answer to a request of this number or later and none was sent.
bool bb_have_view_is_ask_due(const bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                             uint32_t step, uint64_t fence_request_id);
// What the node's heartbeats say of its have-sets (bb_have_mark.h); 0: nothing. A lane whose last
// answer was asked for after the same mark was heard has no turn until another is.
void bb_have_view_mark(bb_have_view_t *self, uint32_t node, uint64_t mark);
// Fills the request to send now; its id is the next number.
uint64_t bb_have_view_ask(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node, uint32_t step,
                          bb_have_request_t *request);
uint64_t bb_have_view_request_id_next(const bb_have_view_t *self);
// The same number; somebody waits until all have answered a question of this number or later, so
// every lane has its turn again, whatever its mark.
uint64_t bb_have_view_want(bb_have_view_t *self);
// Adopts a HAVE. is_counted: it came under our epoch and may answer a fence. Errors are the
// peer's fault and change nothing: PEER_UNKNOWN (another incarnation), MESSAGE_CORRUPT. An answer
// with a number that was not asked under, which only the process before can have done, is dropped.
BB_MUST_CHECK bb_error_t bb_have_view_report(bb_have_view_t *self, int64_t now_mono_ns,
                                             uint32_t node, uint64_t request_id, bool is_counted,
                                             const bb_have_t *report);
// For how long the node has owed an answer for the lane of the partition; 0: it owes none.
int64_t bb_have_view_owes_ns(const bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                             uint32_t partition);
// The largest request id that this incarnation has answered completely for the lane of the
// partition; 0 = none.
uint64_t bb_have_view_answered_id(const bb_have_view_t *self, uint32_t node, uint32_t partition);
// What it last reported; empty when nothing is known. Borrowed until its next report.
const bb_have_set_t *bb_have_view_known(const bb_have_view_t *self, uint32_t partition,
                                        uint32_t slot);
// A whole report of the lane of the partition came.
bool bb_have_view_is_known(const bb_have_view_t *self, uint32_t node, uint32_t partition);
// True when every other replica is known to hold the whole range.
bool bb_have_view_is_held(const bb_have_view_t *self, uint32_t partition, const bb_stream_t *stream,
                          uint64_t first_seq, uint64_t last_seq);
// The same, for good: each of them has also answered under our epoch since it started, so its start
// is registered, and should its disk be lost, the next one is rebuilt before it counts (bb_boot.h).
// What a disk holds that never counted may be gone and nobody knows.
bool bb_have_view_is_held_for_good(const bb_have_view_t *self, uint32_t partition,
                                   const bb_stream_t *stream, uint64_t first_seq,
                                   uint64_t last_seq);
uint64_t bb_have_view_change_count(const bb_have_view_t *self); // grows when known sets change
// More is forgotten: takes it out of what is known.
void bb_have_view_forget(bb_have_view_t *self);
// As that node said with its last report that counts, of the lane of the partition: chunks that the
// have-sets of streams of ours below this number contain are sealed there. 0: it said nothing.
uint32_t bb_have_view_sealed_below(const bb_have_view_t *self, uint32_t node, uint32_t partition);

// ---- pulls -------------------------------------------------------------------------------------
// A reader waits for the partition.
void bb_have_view_hurry(bb_have_view_t *self, uint32_t partition);
// Chooses a peer, a lane and the partitions to pull from it (room for all of ours) and notes the
// pull as outstanding; false when nothing is to be pulled now. Call after the store has applied
// what came.
bool bb_have_view_pull(bb_have_view_t *self, int64_t now_mono_ns, uint32_t *node, bb_lane_t *lane,
                       uint64_t *request_id, uint32_t *partitions, uint32_t *partition_count);
// No pull begins before this moment: what came could not be stored, so asking again at once would
// only have it sent again.
void bb_have_view_hold(bb_have_view_t *self, int64_t until_mono_ns);
// A REPLICATE for a pull came from the node.
void bb_have_view_pulled(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                         uint64_t request_id, bool is_new);
// Its PULL_DONE. Late and unknown ones have no effect.
void bb_have_view_pull_done(bb_have_view_t *self, int64_t now_mono_ns, uint32_t node,
                            uint64_t request_id, const bb_pull_done_t *done);
// We lack chunks of the partition that no journal we could ask has any more.
bool bb_have_view_needs_sync(const bb_have_view_t *self, uint32_t partition);

// ---- the whole ---------------------------------------------------------------------------------
bool bb_have_view_is_caught_up(bb_have_view_t *self); // lacks nothing that it knows to exist
int64_t bb_have_view_wake_mono_ns(const bb_have_view_t *self);

#endif

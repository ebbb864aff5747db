// SPDX-License-Identifier: Apache-2.0
// bb_route_score - which nodes are slow just now, so that others coordinate and are read first.
//
// Pure core; made for the mesh actor. A slow node loses its turn, never its data: it stays a
// replica, its acknowledgements count, and where all are slow nobody is. Up and down are
// bb_detector's.
//
// A node is measured against the others of its group (a data centre: distance is no fault), this
// node included, so that a burst that slows all of them, and a fault of our own, demote nobody:
//
//   latency  Acknowledgements of chunks, and the syncs of its disk as it reports them. Each turn of
//            500 ms has a mean, at most 6 x the median of the group, and an eighth of it goes into
//            the node's level. A ratio is the level by the median level, or by 5 ms if that is
//            more: below 15 ms nobody is slow. One stall of up to 2 s does not demote.
//   loss     Heartbeats that did not come: the gap between two less what was due. Early ones make
//            up for late ones, so delay alone is no loss. A gap counts as 3 at most, and a
//            sixty-fourth of it goes into the loss: outages are the detector's, and one alone does
//            not demote.
//
//           ratio >= 3 for 2 s, or loss >= median + 6 %
//   good ────────────────────────────────────────────────▶ slow
//        ◀────────────────────────────────────────────────
//           ratio < 1.5 and loss < median + 3 %, for 5 s
//
// 20 % of a hundred heartbeats are 20 +- 4, and the loss begins at 0: 6 % is where the verdict
// comes within 10 s for sure. It then stands, because 3 % is four deviations away. The 5 s become
// 20 s, 80 s, 320 s and 10 minutes when a node is demoted again within 10 minutes of its return
// (routes are damped like this in RFC 2439): one that is good and bad in turn soon stays last.
//
// What is not heard of does not change: a level stands while nothing is sent. Whole numbers only.
#ifndef BB_ROUTE_SCORE_H
#define BB_ROUTE_SCORE_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

#define BB_ROUTE_TURN_NS (500 * BB_NS_PER_MS)

typedef struct bb_route_score bb_route_score_t;

typedef struct {
    uint32_t node_count;    // [1, BB_NODES_MAX]
    uint32_t self_index;    // < node_count
    int64_t heartbeat_ns;   // how often a node is expected to send one; > 0
    const uint32_t *groups; // node_count, each < BB_NODES_MAX, copied; NULL: all are one group
} bb_route_score_options_t;

bb_route_score_t *bb_route_score_new(const bb_route_score_options_t *options);
void bb_route_score_destroy(bb_route_score_t **self);

// ---- what was seen; node_index < node_count, latencies are taken as within [0, 1 minute]
// ----------

// A node acknowledged chunks this long after they were sent; of self: after its own sync.
void bb_route_score_ack(bb_route_score_t *self, uint32_t node_index, int64_t latency_ns);
// The oldest chunks that a node (which is up) has not acknowledged yet are this old. Counts in a
// turn without an acknowledgement, so that a disk which stands still is seen before it moves again.
void bb_route_score_waiting(bb_route_score_t *self, uint32_t node_index, int64_t age_ns);
// How long the last sync of a node took, or the one that runs has taken so far, by its own word.
void bb_route_score_sync(bb_route_score_t *self, uint32_t node_index, int64_t latency_ns);
// A heartbeat of another node.
void bb_route_score_heartbeat(bb_route_score_t *self, int64_t now_mono_ns, uint32_t node_index);

// ---- verdicts ----------------------------------------------------------------------------------

typedef struct {
    uint32_t change_count;
    uint32_t changed[BB_NODES_MAX]; // node indexes, see bb_route_score_is_slow
    int64_t wake_mono_ns;           // the end of this turn; never BB_NEVER_NS
} bb_route_score_actions_t;

// Ends the turn if its time has come, and fills every field of `actions`. After standing still for
// three turns what was collected says more of us than of others, and is dropped.
void bb_route_score_tick(bb_route_score_t *self, int64_t now_mono_ns,
                         bb_route_score_actions_t *actions);

bool bb_route_score_is_slow(const bb_route_score_t *self, uint32_t node_index);
// The larger of both ratios in thousandths, as of the last turn; 0: nothing known.
uint32_t bb_route_score_permille(const bb_route_score_t *self, uint32_t node_index);
// Heartbeats that did not come, in millionths.
uint32_t bb_route_score_loss_ppm(const bb_route_score_t *self, uint32_t node_index);

#endif

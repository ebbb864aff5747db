// SPDX-License-Identifier: Apache-2.0
// bb_routes - which nodes are slow just now, as the nodes themselves tell.
//
// Pure; owned by the background thread. Nodes measure each other (node/control/bb_route_score.h,
// with hysteresis there); a client asks one of them after the other and believes the majority of
// what it was told lately, the node in question left out. A slow node is asked last within its data
// centre, and still before those of others; when all are slow nothing changes.
#ifndef BB_ROUTES_H
#define BB_ROUTES_H

#include "client/bb_view.h"

#define BB_ROUTES_ASK_NS  (1 * BB_NS_PER_S) // one node of all is asked so often while there is work
#define BB_ROUTES_KEEP_NS (10 * BB_NS_PER_S) // what was told is believed so long

typedef struct {
    int64_t told_ns[BB_NODES_MAX]; // by node; 0: never
    bb_node_set_t slow[BB_NODES_MAX];
    uint32_t slow_count[BB_NODES_MAX]; // named by it
    uint64_t slow_total;               // by all: 0 is the rule, and answers at once
} bb_routes_t;

// The node names all nodes that it finds slow; indexes past the limit are left out.
void bb_routes_told(bb_routes_t *self, int64_t now_ns, uint32_t by_node, const uint16_t *slow,
                    uint32_t count);
// Another epoch: indexes mean other nodes.
void bb_routes_clear(bb_routes_t *self);
bool bb_routes_is_slow(const bb_routes_t *self, int64_t now_ns, uint32_t node);

#endif

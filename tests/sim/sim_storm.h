// SPDX-License-Identifier: Apache-2.0
// sim_storm - says when a store or a node goes round in circles: it does more in one second of
// simulated time than its cluster's size and what clients asked explain.
//
// Pure; part of a world. The whole of a run says little: seven nodes whose disks are lost one after
// another, or three replicas with rules in each of three data centres, have more events than a
// cluster of two that sends everything again and again.
#ifndef SIM_STORM_H
#define SIM_STORM_H

#include "tests/sim/sim_options.h"

#define SIM_STORM_SLOTS (SIM_NODES_MAX + 1) // processes: nodes, and a twin

typedef enum {
    SIM_STORM_TURN,    // the loop of a store comes round
    SIM_STORM_STEP,    // that of a control actor
    SIM_STORM_MESSAGE, // of a peer, heartbeats too, comes to a node
    SIM_STORM_KIND_COUNT,
} sim_storm_kind_t;

typedef struct {
    int64_t second;
    uint64_t requests, requests_before; // of clients that nodes took, in this second and the last
    uint32_t counts[SIM_STORM_KIND_COUNT][SIM_STORM_SLOTS][SIM_STORES_MAX];
} sim_storm_t;

// A node took a request of a client.
void sim_storm_request(sim_storm_t *self, int64_t now_ns);
// Something of the kind happened to a process; store: 0 but for a TURN. True: it is one too many,
// and *max is how many there may be in a second.
bool sim_storm_note(sim_storm_t *self, const sim_options_t *options, int64_t now_ns,
                    sim_storm_kind_t kind, uint32_t slot, uint32_t store, uint64_t *max);
const char *sim_storm_name(sim_storm_kind_t kind); // in the plural, for a sentence

#endif

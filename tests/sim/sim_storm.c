// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_storm.h"

#include <string.h>

// In seconds of 2,500 runs a store came round 250 times in a node alone and 600 times in one of
// five, a control actor 30 times for each node there is, and a node got 1,050 messages with five
// stores in three nodes. Where clients ask much it was 740 turns and 3,050 messages (18 stores in
// seven nodes, 770 requests in two seconds, each for seven replicas and rules in three data
// centres). What had to be found: a store that does not sleep comes round every millisecond, two
// processes that outbid each other took some 700 steps in a node of five, and a node with a full
// disk that had everything sent again and again got 16,000 messages.
#define S_TURNS          400u
#define S_TURNS_A_NODE   120u
#define S_TURNS_ASKED    2u // for each request
#define S_STEPS_A_NODE   60u
#define S_MESSAGES       400u // for each store there is, and three
#define S_MESSAGES_ASKED 10u

static void s_move(sim_storm_t *self, int64_t now_ns)
{
    int64_t second = now_ns / BB_NS_PER_S;
    if (second != self->second) {
        self->requests_before = second == self->second + 1 ? self->requests : 0;
        self->requests = 0;
        self->second = second;
        memset(self->counts, 0, sizeof self->counts);
    }
}

void sim_storm_request(sim_storm_t *self, int64_t now_ns)
{
    s_move(self, now_ns);
    self->requests++;
}

static uint64_t s_max(const sim_storm_t *self, const sim_options_t *options, sim_storm_kind_t kind)
{
    uint64_t requests = self->requests_before + self->requests, stores = 0;
    for (uint32_t node = 0; node < options->node_count; node++) {
        stores += options->store_count[node];
    }
    switch (kind) {
    case SIM_STORM_TURN:
        return S_TURNS + S_TURNS_A_NODE * options->node_count + S_TURNS_ASKED * requests;
    case SIM_STORM_STEP:
        return (uint64_t)S_STEPS_A_NODE * options->node_count;
    default:
        return S_MESSAGES * (SIM_STORES_MAX + stores) + S_MESSAGES_ASKED * requests;
    }
}

bool sim_storm_note(sim_storm_t *self, const sim_options_t *options, int64_t now_ns,
                    sim_storm_kind_t kind, uint32_t slot, uint32_t store, uint64_t *max)
{
    BB_ASSERT(kind < SIM_STORM_KIND_COUNT && slot < SIM_STORM_SLOTS && store < SIM_STORES_MAX);
    s_move(self, now_ns);
    *max = s_max(self, options, kind);
    return ++self->counts[kind][slot][store] > *max;
}

const char *sim_storm_name(sim_storm_kind_t kind)
{
    static const char *const names[SIM_STORM_KIND_COUNT] = {
        "turns of a store", "steps of its control", "messages of peers"};
    BB_ASSERT(kind < SIM_STORM_KIND_COUNT);
    return names[kind];
}

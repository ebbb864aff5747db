// SPDX-License-Identifier: Apache-2.0
// Hedges of the simulated clients (protocol/bb_hedge.h), which are threads of one program. Here
// every first page of a read is taken for small, so that many are hedged: what is checked is that
// answers stay right, whichever node they come from.
#include "tests/sim/sim_world.h"

#define S_EARLY_COUNT 100u // reads before the run: five hedges are paid for
#define S_EARLY_NS    (20 * BB_NS_PER_MS)

void sim_hedge_open(sim_world_t *self)
{
    bb_hedge_init(&self->hedge);
    for (uint32_t i = 0; i < S_EARLY_COUNT && self->options.hedges_early; i++) {
        bb_ignore(bb_hedge_begin(&self->hedge, i % 2, 0), "nothing is sent");
        bb_hedge_end(&self->hedge, i % 2, S_EARLY_NS, false);
    }
}

void sim_hedge_end(sim_world_t *self, uint32_t client)
{
    self->clients[client].hedge = SIM_HEDGE_NONE;
    self->clients[client].hedge_kind = BB_HEDGE_KIND_NONE;
}

void sim_hedge_begin(sim_world_t *self, uint32_t client)
{
    sim_client_t *at = &self->clients[client];
    at->asked_ns = sim_world_now_ns(self);
    at->hedge_kind = self->ops[client].level == BB_LEVEL_ONE ? 0 : 1;
    int64_t due_ns = bb_hedge_begin(&self->hedge, at->hedge_kind, at->asked_ns);
    if (due_ns != BB_NEVER_NS) {
        sim_event_t event = {.kind = SIM_EVENT_HEDGE, .other = client, .number = at->attempt};
        sim_events_add(self->events, due_ns, &event);
    }
}

// The other node answers for the same partitions: it has the same ones of those asked for, in as
// many stores.
static bool s_is_equal(const sim_world_t *self, const sim_op_t *op, uint32_t node)
{
    bool is_equal = node != op->node && self->nodes[node].dc == self->nodes[op->node].dc &&
                    self->nodes[node].store_count == self->nodes[op->node].store_count;
    for (uint32_t i = 0; i < op->partition_count && is_equal; i++) {
        is_equal = sim_world_is_replica(self, op->partitions[i], node) ==
                   sim_world_is_replica(self, op->partitions[i], op->node);
    }
    return is_equal;
}

uint32_t sim_hedge_node(sim_world_t *self, uint32_t client)
{
    const sim_op_t *op = &self->ops[client];
    uint32_t node_count = self->options.node_count;
    for (uint32_t i = 1; i < node_count; i++) {
        uint32_t node = (op->node + i) % node_count;
        if (s_is_equal(self, op, node)) {
            bool is_paid = bb_hedge_take(&self->hedge, sim_world_now_ns(self), false);
            self->counters.hedges += is_paid;
            return is_paid ? node : UINT32_MAX;
        }
    }
    return UINT32_MAX;
}

bool sim_hedge_answered(sim_world_t *self, uint32_t client, uint64_t attempt, bool is_whole)
{
    sim_client_t *at = &self->clients[client];
    bool is_hedge = attempt == at->hedge, has_two = at->hedge != SIM_HEDGE_NONE;
    uint64_t other = is_hedge ? at->attempt : at->hedge;
    if (has_two && !is_whole) { // the other may do better
        self->counters.hedges_not_whole++;
        self->attempts[attempt].is_open = false;
        at->attempt = other;
        at->hedge = SIM_HEDGE_NONE;
        self->ops[client].node = self->attempts[other].node;
        return false;
    }
    if (at->hedge_kind != BB_HEDGE_KIND_NONE && is_whole) {
        bb_hedge_end(&self->hedge, at->hedge_kind, sim_world_now_ns(self) - at->asked_ns, is_hedge);
        self->counters.hedges_won += is_hedge;
    }
    if (has_two) {
        self->attempts[other].is_open = false;
        self->ops[client].node = self->attempts[attempt].node;
    }
    at->attempt = attempt;
    sim_hedge_end(self, client);
    return true;
}

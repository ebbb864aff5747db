// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_world.h"

bool sim_net_is_cut(const sim_world_t *self, uint32_t from, uint32_t to)
{
    return self->net.cut_count[from][to] > 0;
}

static bool s_is_lost(sim_world_t *self)
{
    bool is_lost = bb_random_chance(&self->random_net, self->net.loss_per_mille, 1000);
    self->counters.messages_lost += is_lost;
    return is_lost;
}

static int64_t s_arrival_ns(sim_world_t *self)
{
    return sim_world_now_ns(self) + 20 * BB_NS_PER_US +
           sim_world_exponential(&self->random_net, self->net.delay_mean_ns);
}

static void s_add(sim_world_t *self, int64_t time_ns, sim_event_t event,
                  const bb_outbound_t *message)
{
    event.envelope = bb_buffer_keep(message->envelope);
    event.chunks = message->chunks ? bb_buffer_keep(message->chunks) : NULL;
    event.body = message->body ? bb_buffer_keep(message->body) : NULL;
    sim_events_add(self->events, time_ns, &event);
}

void sim_net_to_peer(sim_world_t *self, uint32_t from, uint32_t to, bool bulk, bool is_late,
                     const bb_outbound_t *message)
{
    self->counters.messages++;
    if (sim_net_is_cut(self, from, to)) {
        self->counters.messages_cut++;
        return;
    }
    sim_event_t event = {.kind = SIM_EVENT_PEER, .node = to, .other = from};
    if (!s_is_lost(self)) {
        int64_t arrival_ns = s_arrival_ns(self);
        if (self->options.is_in_order) {
            int64_t *last_ns = &self->net.last_ns[from][to][bulk];
            arrival_ns = BB_MAX(arrival_ns, *last_ns + 1);
            *last_ns = arrival_ns;
        }
        s_add(self, arrival_ns, event, message);
    }
    if (bb_random_chance(&self->random_net, self->net.repeat_per_mille, 1000)) {
        // Sometimes much later: out of another time of the cluster.
        self->counters.messages_repeated++;
        int64_t late_ns = is_late && bb_random_chance(&self->random_net, 1, 8)
                              ? sim_world_exponential(&self->random_net, 2 * BB_NS_PER_S)
                              : 0;
        s_add(self, s_arrival_ns(self) + late_ns, event, message);
    }
}

void sim_net_to_node(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message)
{
    if (!s_is_lost(self)) {
        sim_event_t event = {
            .kind = SIM_EVENT_REQUEST, .node = self->attempts[attempt].node, .number = attempt};
        s_add(self, s_arrival_ns(self), event, message);
    }
}

void sim_net_to_client(sim_world_t *self, uint64_t attempt, const bb_outbound_t *message)
{
    if (!s_is_lost(self)) {
        sim_event_t event = {
            .kind = SIM_EVENT_ANSWER, .other = self->attempts[attempt].client, .number = attempt};
        s_add(self, s_arrival_ns(self), event, message);
    }
}

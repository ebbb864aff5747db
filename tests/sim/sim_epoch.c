// SPDX-License-Identifier: Apache-2.0
// Epochs: while faults happen the configuration of a cluster gets a newer one now and then, and
// nodes restart with it one after the other, so that for a while some have the older. What is said
// under another epoch is taken and spread, but counts for nothing: a replica counts for a
// coordinator only with what it held under the coordinator's epoch, whatever it holds by now.
#include "tests/sim/sim_world.h"

// Is the dot among what the replica may count with, for a coordinator of this epoch?
bool sim_epoch_counts(const sim_node_t *replica, uint32_t epoch, uint32_t partition,
                      const bb_stream_t *stream, uint64_t seq)
{
    if (replica->epoch == epoch) {
        return bb_have_set_contains(sim_node_have(replica, partition), stream, seq);
    }
    return bb_have_set_contains(&replica->held_at[epoch][partition], stream, seq);
}

static void s_restart(sim_node_t *node, bool is_power, int64_t back_after_ns)
{
    sim_world_t *world = node->world;
    if (node->is_up) {
        sim_node_stop(node, is_power, back_after_ns);
    }
    for (uint32_t p = 0; p < world->options.partition_count; p++) {
        bb_have_set_copy(&node->held_at[node->epoch][p], &node->have[p]);
    }
    node->epoch = world->epoch;
    sim_trace_fault(&world->trace, sim_line_of_node(&world->options, node->index),
                    "node %u: epoch %u", node->index, node->epoch);
    sim_world_build_topology(world, node->index);
}

void sim_epoch_event(sim_world_t *self, uint64_t number)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_EPOCH, number);
    bool is_old[SIM_NODES_MAX], is_any_old = false;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        is_old[n] = self->nodes[n].epoch < self->epoch;
        is_any_old |= is_old[n];
    }
    sim_node_t *node = &self->nodes[bb_random_below(&random, self->options.node_count)];
    bool is_power = bb_random_chance(&random, 1, 2);
    if (!self->options.has_epochs || !bb_random_chance(&random, 1, 2) || !node->is_up) {
        return;
    }
    if (!is_any_old && self->epoch + 1 < SIM_EPOCHS_MAX) {
        self->epoch++;
        self->counters.epochs++;
        s_restart(node, is_power, 50 * BB_NS_PER_MS);
    } else if (is_old[node->index]) {
        s_restart(node, is_power, 50 * BB_NS_PER_MS);
    }
}

void sim_epoch_end(sim_world_t *self)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        sim_node_t *node = &self->nodes[n];
        if (node->epoch < self->epoch) {
            s_restart(node, false, 10 * BB_NS_PER_MS);
        }
    }
}

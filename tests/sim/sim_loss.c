// SPDX-License-Identifier: Apache-2.0
// Disks that are lost, or set back to an older copy. A disk goes only when everything that it holds
// is durable elsewhere and no other node is being rebuilt: more than that no promise covers. The
// node starts again with an empty one or with the copy, and has to find out that it has forgotten
// something (sim_control.c). Often the one other node that has some chunk of it alone is cut off
// just then: what the two acknowledged together is with nobody who is there.
#include "tests/sim/sim_world.h"

#include "node/ingest/bb_shard_internal.h"

#define S_PROBES 4u // reads of what a node counts on that has lost its disk

// Is every chunk of the node at another replica that is up?
static bool s_is_spare(sim_world_t *self, const sim_node_t *node)
{
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        if (!sim_world_is_replica(self, p, node->index)) {
            continue;
        }
        bb_have_set_t others = {0};
        bool is_known = true;
        for (uint32_t n = 0; n < self->options.node_count; n++) {
            const sim_node_t *other = &self->nodes[n];
            if (n != node->index && other->is_up && sim_world_is_replica(self, p, n)) {
                is_known &= bb_have_set_union(&others, sim_node_have(other, p)) == BB_OK;
            }
        }
        bool is_spare = is_known && bb_have_set_includes(&others, sim_node_have(node, p));
        bb_have_set_clear(&others);
        if (!is_spare) {
            return false;
        }
    }
    return true;
}

// A replica that has a chunk which yet another one, *lagging, lacks, as the victim has or had
// (almost always the same chunk); UINT32_MAX: none.
static uint32_t s_witness(const sim_world_t *self, const sim_node_t *victim, uint32_t *lagging)
{
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        for (uint32_t n = 0; n < self->options.node_count; n++) {
            for (uint32_t m = 0; m < self->options.node_count; m++) {
                bool are_others = n != victim->index && m != victim->index && n != m &&
                                  sim_world_is_replica(self, p, victim->index) &&
                                  sim_world_is_replica(self, p, n) &&
                                  sim_world_is_replica(self, p, m);
                const bb_have_set_t *lags = sim_node_have(&self->nodes[m], p);
                if (are_others && !bb_have_set_includes(lags, sim_node_have(&self->nodes[n], p)) &&
                    !bb_have_set_includes(lags, victim->is_rebuilding ? &victim->lost[p]
                                                                      : sim_node_have(victim, p))) {
                    *lagging = m;
                    return n;
                }
            }
        }
    }
    return UINT32_MAX;
}

// Can the node find out that the copy is old? All others are there and know of a later start or
// mark: not only of the next mark, which the copy may have been about to tell. (What no registry
// can see: bb_boot.h.)
static bool s_is_copy_known(const sim_world_t *self, const sim_node_t *node)
{
    bool is_known = node->old_disk && node->old_number > 0 &&
                    node->standing == BB_STANDING_COUNTING && bb_control_is_written(node->control);
    for (uint32_t n = 0; n < self->options.node_count && is_known; n++) {
        is_known = self->nodes[n].is_up &&
                   sim_control_number(&self->nodes[n], node) > node->old_number + 1;
    }
    return is_known;
}

// One whose loss shows at once if it counts too early: with a witness, where there is one.
static sim_node_t *s_victim(sim_world_t *self, uint32_t first)
{
    uint32_t lagging;
    for (uint32_t i = 0; i < self->options.node_count; i++) {
        sim_node_t *node = &self->nodes[(first + i) % self->options.node_count];
        if (node->is_up && s_witness(self, node, &lagging) != UINT32_MAX) {
            return node;
        }
    }
    return &self->nodes[first];
}

// Is it being rebuilt, or may it find out that it has to be? One that counted with an empty disk is
// fenced when an earlier start of it is heard of late, and rebuilt after its next one.
static bool s_may_rebuild(const sim_world_t *self, const sim_node_t *node)
{
    uint64_t losses = self->counters.fault_disk_lost + self->counters.fault_disk_set_back;
    return node->is_rebuilding || sim_node_is_fenced(node) ||
           (losses > 0 && node->standing != BB_STANDING_COUNTING);
}

void sim_loss_event(sim_world_t *self, uint64_t number)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_LOSS, number);
    sim_node_t *node = s_victim(self, (uint32_t)bb_random_below(&random, self->options.node_count));
    if (!self->options.has_losses || !bb_random_chance(&random, 1, 2) || !node->is_up ||
        sim_twin_is_there(self)) {
        return;
    }
    if (!node->old_disk && node->standing == BB_STANDING_COUNTING) {
        sim_damage_keep_copy(node);
    }
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (s_may_rebuild(self, &self->nodes[n])) {
            return;
        }
    }
    // The only replica of its data centre takes local promises with it.
    if (self->options.replicas_in_dc[node->dc] < 2 || !s_is_spare(self, node)) {
        return;
    }
    uint32_t lagging = UINT32_MAX, witness = s_witness(self, node, &lagging);
    bool is_set_back = s_is_copy_known(self, node);
    sim_node_stop(node, true, 50 * BB_NS_PER_MS);
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) { // what it had when it stopped
        bb_have_set_clear(&node->lost[p]);
        node->lost[p] = node->have[p];
        node->have[p] = (bb_have_set_t){0};
    }
    node->is_rebuilding = true;
    if (is_set_back) {
        self->counters.fault_disk_set_back++;
        sim_damage_set_back(node);
    } else {
        self->counters.fault_disk_lost++;
        sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                        "node %u: its disk is lost", node->index);
        bb_sim_disk_destroy(&node->disk);
        node->disk = bb_sim_disk_new();
    }
    // Of three nodes it cannot even register without the witness: that one is cut off when it has.
    if (bb_random_chance(&random, 1, 4)) {
        sim_fault_cut_off(self, witness);
    } else {
        sim_fault_cut_pair(self, witness, lagging);
    }
}

bool sim_loss_was(const sim_world_t *self)
{
    const sim_counters_t *counters = &self->counters;
    return self->options.has_hostile || // what it says that it has or lacks may look the same
           counters->fault_twin + counters->fault_disk_lost + counters->fault_disk_set_back +
                   counters->disks_formatted + counters->disks_restored +
                   counters->flips_in_journals + counters->flips_in_maps >
               0;
}

// A journal gives up only what all replicas hold: what no journal has, somebody lost with a disk.
void sim_loss_look(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bool may_lack = sim_loss_was(world);
    for (uint32_t i = 0; i < node->store_count && node->is_up && !may_lack; i++) {
        bb_shard_stats_t stats = {0};
        bb_shard_sync_stats(node->stores[i].shard, &stats);
        if (stats.sync_bytes > stats.sync_repair_bytes) { // a passing error is repaired, too
            sim_trace_fail(&world->trace,
                           "node %u lacked what no journal has, and no disk was lost", node->index);
        }
    }
}

void sim_loss_found(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bb_random_t random =
        sim_world_stream(world, SIM_STREAM_LOSS, UINT32_MAX + world->counters.starts);
    if (!world->is_calm && bb_random_chance(&random, 7, 8)) {
        uint32_t lagging;
        sim_fault_cut_off(world, s_witness(world, node, &lagging));
        world->probe_node = node->index;
        world->probe_count = S_PROBES;
    }
}

void sim_loss_healed(sim_node_t *node)
{
    node->is_rebuilding = false;
    node->world->counters.rebuilds++;
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_shard_stats_t stats;
        bb_shard_stats(node->stores[i].shard, &stats);
        node->world->counters.sync_sessions += stats.sync_sessions;
    }
}

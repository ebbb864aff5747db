// SPDX-License-Identifier: Apache-2.0
// Twins: a copy of a node's disk, taken while the node runs, starts beside it as a second process
// of the same node. Some peers reach one of them and some the other, which changes as connections
// are made anew; everybody hears both; clients write to either. A process that is fenced is started
// again after a while, as a supervisor would, and then fences the other. In the end, when not both
// count, somebody clears up: the original is stopped until the others hold what the copy has, and
// the copy for good. (While peers are divided between the two it may be that neither can register:
// of three nodes a disk that must be rebuilt has to ask both others.)
//
// The copy starts only when the others know of a later mark than the next one after its own: a copy
// younger than that is told by no registry from a crash (bb_boot.h), and no promise covers it.
#include "node/ingest/bb_shard_internal.h" // have-sets, as a debugger would
#include "tests/sim/sim_world.h"

#include <stdlib.h>

#define S_FENCED_NS_MAX (5 * BB_NS_PER_S) // faults.md, 27

void sim_twin_open(sim_world_t *self)
{
    self->twin.both_since_ns = BB_NEVER_NS;
}

bool sim_twin_is_there(const sim_world_t *self)
{
    return self->twin.process != NULL;
}

static const sim_node_t *s_original(const sim_world_t *self)
{
    return &self->nodes[self->twin.of];
}

sim_node_t *sim_twin_process(sim_world_t *self, uint32_t slot)
{
    return slot == SIM_TWIN_SLOT ? self->twin.process : &self->nodes[slot];
}

// ---- who reaches whom ------------------------------------------------------------------------

uint32_t sim_twin_reached(const sim_world_t *self, uint32_t from, uint32_t to)
{
    bool is_copy = sim_twin_is_there(self) && to == self->twin.of && self->twin.reaches >> from & 1;
    return is_copy ? SIM_TWIN_SLOT : to;
}

uint32_t sim_twin_asked(sim_world_t *self, uint64_t number)
{
    uint32_t node = self->attempts[number].node;
    bb_random_t random = sim_world_stream(self, SIM_STREAM_TWIN, UINT32_MAX + number);
    if (sim_twin_is_there(self) && node == self->twin.of && bb_random_chance(&random, 1, 2)) {
        self->counters.twin_requests++;
        return SIM_TWIN_SLOT;
    }
    return node;
}

bool sim_twin_holds(const sim_world_t *self, uint32_t node, uint32_t partition,
                    const bb_stream_t *stream, uint64_t seq)
{
    return sim_twin_is_there(self) && node == self->twin.of &&
           bb_have_set_contains(sim_node_have(self->twin.process, partition), stream, seq);
}

// ---- begin -----------------------------------------------------------------------------------

// The only replica of its data centre has nobody to be rebuilt from there.
static void s_copy(sim_world_t *self, sim_node_t *node)
{
    if (node->is_up && self->options.replicas_in_dc[node->dc] >= 2 &&
        node->standing == BB_STANDING_COUNTING && bb_control_is_written(node->control)) {
        self->twin.copy = bb_sim_disk_copy(node->disk);
        self->twin.of = node->index;
        self->twin.number = sim_control_number(node, node);
    }
}

// All others know that the copy is old, nobody is being rebuilt, and the original counts.
static bool s_may_start(const sim_world_t *self)
{
    bool may = s_original(self)->is_up && s_original(self)->standing == BB_STANDING_COUNTING;
    for (uint32_t n = 0; n < self->options.node_count && may; n++) {
        const sim_node_t *node = &self->nodes[n];
        may = node->is_up && !node->is_rebuilding && !sim_node_is_fenced(node) &&
              sim_control_number(node, s_original(self)) > self->twin.number + 1;
    }
    return may;
}

static void s_start(sim_world_t *self, bb_random_t *random)
{
    sim_twin_t *twin = &self->twin;
    self->counters.fault_twin++;
    sim_trace_fault(&self->trace, sim_line_of_node(&self->options, twin->of),
                    "node %u: a copy of its disk runs, too", twin->of);
    twin->process = bb_alloc_zero(1, sizeof *twin->process);
    sim_node_init_twin(twin->process, s_original(self), SIM_TWIN_SLOT, twin->copy);
    twin->copy = NULL;
    twin->reaches = (uint32_t)bb_random_next(random);
    sim_node_start(twin->process);
}

void sim_twin_event(sim_world_t *self, uint64_t number)
{
    sim_twin_t *twin = &self->twin;
    bb_random_t random = sim_world_stream(self, SIM_STREAM_TWIN, number);
    uint32_t node = (uint32_t)bb_random_below(&random, self->options.node_count);
    bool is_reached_anew = bb_random_chance(&random, 1, 2);
    if (!self->options.has_twin || twin->is_over) {
        return;
    }
    if (twin->process) {
        twin->reaches ^= (uint32_t)is_reached_anew << node;
        self->counters.twin_reconnects += is_reached_anew;
    } else if (!twin->copy) {
        s_copy(self, &self->nodes[node]);
    } else if (s_may_start(self)) {
        s_start(self, &random);
    }
}

// ---- while both are there --------------------------------------------------------------------

void sim_twin_fenced(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bool is_copy = node->slot == SIM_TWIN_SLOT;
    world->counters.twin_fenced += is_copy;
    world->counters.twin_fenced_original += !is_copy;
    if (!node->is_stop_planned) {
        node->is_stop_planned = true;
        sim_event_t event = {.kind = SIM_EVENT_STOP, .node = node->slot, .life = node->life};
        sim_events_add(world->events,
                       sim_world_now_ns(world) +
                           sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS),
                       &event);
    }
}

static bool s_counts(const sim_node_t *node)
{
    return node->is_up && node->standing == BB_STANDING_COUNTING;
}

void sim_twin_look(sim_node_t *node)
{
    sim_world_t *world = node->world;
    sim_twin_t *twin = &world->twin;
    if (!twin->process || node->index != twin->of) {
        return;
    }
    if (!s_counts(twin->process) || !s_counts(s_original(world))) {
        twin->both_since_ns = BB_NEVER_NS;
    } else if (twin->both_since_ns == BB_NEVER_NS) {
        twin->both_since_ns = sim_world_now_ns(world);
    }
    // While links are cut it may be that nobody can tell the older one.
    if (world->is_calm && twin->both_since_ns != BB_NEVER_NS &&
        sim_world_now_ns(world) - BB_MAX(twin->both_since_ns, world->calm_since_ns) >
            S_FENCED_NS_MAX) {
        sim_trace_fail(&world->trace, "two processes of node %u count side by side", twin->of);
    }
}

void sim_twin_promised(sim_world_t *self, const sim_attempt_t *attempt)
{
    self->counters.twin_writes += sim_twin_is_there(self) && attempt->node == self->twin.of &&
                                  bb_stream_is_equal(&attempt->stream, &self->twin.process->stream);
}

// ---- end -------------------------------------------------------------------------------------

void sim_twin_calm(sim_world_t *self)
{
    uint32_t count = self->options.node_count;
    self->twin.reaches &= ~(1u << (self->twin.of + 1) % count);
    self->twin.reaches |= 1u << (self->twin.of + 2) % count;
}

// Is every chunk of the copy at a node that is up?
static bool s_is_spare(const sim_world_t *self)
{
    bool is_spare = true;
    for (uint32_t p = 0; p < self->options.partition_count && is_spare; p++) {
        bb_have_set_t others = {0};
        for (uint32_t n = 0; n < self->options.node_count && is_spare; n++) {
            if (self->nodes[n].is_up && sim_world_is_replica(self, p, n)) {
                is_spare = bb_have_set_union(&others, sim_node_have(&self->nodes[n], p)) == BB_OK;
            }
        }
        is_spare = is_spare && bb_have_set_includes(&others, sim_node_have(self->twin.process, p));
        bb_have_set_clear(&others);
    }
    return is_spare;
}

void sim_twin_destroy(sim_world_t *self)
{
    sim_twin_t *twin = &self->twin;
    if (twin->copy) {
        bb_sim_disk_destroy(&twin->copy);
    }
    if (twin->process) {
        twin->process->topology = NULL; // the original's
        sim_node_destroy(twin->process);
        free(twin->process);
        twin->process = NULL;
    }
}

bool sim_twin_is_held_back(const sim_node_t *node)
{
    const sim_twin_t *twin = &node->world->twin;
    return twin->process && twin->is_alone && node->slot == twin->of;
}

bool sim_twin_end(sim_world_t *self)
{
    sim_twin_t *twin = &self->twin;
    if (!twin->process) {
        return true;
    }
    if (s_counts(twin->process) && s_counts(s_original(self))) {
        return false;
    }
    sim_node_t *original = &self->nodes[twin->of];
    if (!twin->is_alone) {
        twin->is_alone = true;
        twin->reaches = UINT32_MAX;
        if (original->is_up) {
            sim_node_stop(original, false, 0); // held back when it would start
        }
    }
    if (!s_is_spare(self)) {
        return false;
    }
    self->counters.twin_ended++;
    sim_trace_note(&self->trace, sim_line_of_node(&self->options, twin->of),
                   "node %u: the copy is stopped for good", twin->of);
    sim_twin_destroy(self);
    twin->is_over = true;
    sim_node_start(original);
    return true;
}

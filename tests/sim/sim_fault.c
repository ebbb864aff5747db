// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_world.h"

typedef enum {
    S_POWER_LOSS,
    S_POWER_LOSS_ALL,
    S_HALT, // dies in the middle of a later operation
    S_PROCESS_DEATH,
    S_PAUSE,
    S_CUT_PAIR, // one way or both
    S_CUT_NODE,
    S_CUT_HALVES,
    S_CLOCK,
    S_SYNC_FAILS,
    S_WRITE_FAILS,
    S_COMMIT_FAILS,
    S_CALL_FAILS, // a read, an open or a change of names
    S_DISK_FULL,
    S_BAD_NETWORK,
    S_COPY, // of a disk, to come back later
    S_KILL, // dies at a named point of a later step
    S_KIND_COUNT,
} s_kind_t;

// Every kind has a counter, so that a run of many seeds shows which never came up.
static void s_count(sim_world_t *self, s_kind_t kind)
{
    sim_counters_t *counters = &self->counters;
    uint64_t *const by_kind[S_KIND_COUNT] = {
        [S_POWER_LOSS] = &counters->fault_power_loss,
        [S_POWER_LOSS_ALL] = &counters->fault_power_loss_all,
        [S_HALT] = &counters->fault_halt,
        [S_PROCESS_DEATH] = &counters->fault_process_death,
        [S_PAUSE] = &counters->fault_pause,
        [S_CUT_PAIR] = &counters->fault_cut_pair,
        [S_CUT_NODE] = &counters->fault_cut_node,
        [S_CUT_HALVES] = &counters->fault_cut_halves,
        [S_CLOCK] = &counters->fault_clock,
        [S_SYNC_FAILS] = &counters->fault_sync_fails,
        [S_WRITE_FAILS] = &counters->fault_write_fails,
        [S_COMMIT_FAILS] = &counters->fault_commit_fails,
        [S_CALL_FAILS] = &counters->fault_call_fails,
        [S_DISK_FULL] = &counters->fault_disk_full,
        [S_BAD_NETWORK] = &counters->fault_bad_network,
        [S_COPY] = &counters->fault_copy,
        [S_KILL] = &counters->fault_kill,
    };
    (*by_kind[kind])++;
}

static int64_t s_length_ns(sim_world_t *self)
{
    return sim_world_exponential(&self->random_fault, 700 * BB_NS_PER_MS) + 20 * BB_NS_PER_MS;
}

static void s_plan(sim_world_t *self)
{
    sim_event_t event = {.kind = SIM_EVENT_FAULT};
    bb_random_t random = sim_world_stream(self, SIM_STREAM_GAP, self->fault_number);
    sim_events_add(self->events,
                   sim_world_now_ns(self) +
                       sim_world_exponential(&random, self->options.fault_interval_ns),
                   &event);
}

static sim_fault_t *s_begin(sim_world_t *self)
{
    if (self->fault_count == self->fault_capacity) {
        self->fault_capacity = BB_MAX(2 * self->fault_capacity, 16u);
        self->faults = bb_realloc(self->faults, self->fault_capacity * sizeof *self->faults);
    }
    sim_event_t event = {.kind = SIM_EVENT_HEAL, .number = self->fault_count};
    sim_events_add(self->events, sim_world_now_ns(self) + s_length_ns(self), &event);
    sim_fault_t *fault = &self->faults[self->fault_count++];
    *fault = (sim_fault_t){.full_node = UINT32_MAX};
    return fault;
}

static void s_cut(sim_world_t *self, sim_fault_t *fault, uint32_t from, uint32_t to)
{
    if (from != to) {
        self->net.cut_count[from][to]++;
        fault->cuts[fault->cut_count++] = from * SIM_NODES_MAX + to;
    }
}

static void s_heal(sim_world_t *self, sim_fault_t *fault)
{
    if (fault->cut_count > 0) {
        sim_trace_note(&self->trace, SIM_LINE_ALL, "%u links are whole again", fault->cut_count);
    }
    for (uint32_t i = 0; i < fault->cut_count; i++) {
        self->net.cut_count[fault->cuts[i] / SIM_NODES_MAX][fault->cuts[i] % SIM_NODES_MAX]--;
    }
    fault->cut_count = 0;
    if (fault->full_node != UINT32_MAX) {
        bb_sim_disk_capacity_set(self->nodes[fault->full_node].disk, UINT64_MAX);
        fault->full_node = UINT32_MAX;
    }
}

// "0>1 0>2 ..." as far as it fits.
static void s_cuts_told(sim_world_t *self, const sim_fault_t *fault)
{
    char links[128] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < fault->cut_count && length + 8 < sizeof links; i++) {
        length += (size_t)snprintf(links + length, sizeof links - length, " %u>%u",
                                   fault->cuts[i] / SIM_NODES_MAX, fault->cuts[i] % SIM_NODES_MAX);
    }
    sim_trace_fault(&self->trace, SIM_LINE_ALL, "links cut:%s", links);
}

static void s_cut_some(sim_world_t *self, s_kind_t kind)
{
    bb_random_t *random = &self->random_fault;
    uint32_t count = self->options.node_count;
    sim_fault_t *fault = s_begin(self);
    self->counters.cuts++;
    uint32_t ways = (uint32_t)bb_random_below(random, 3); // in, out, both
    uint32_t side = (uint32_t)bb_random_below(random, 1u << count);
    uint32_t a = (uint32_t)bb_random_below(random, count);
    uint32_t b = (uint32_t)bb_random_below(random, count);
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++) {
            bool is_out = kind == S_CUT_PAIR   ? from == a && to == b
                          : kind == S_CUT_NODE ? from == a
                                               : (side >> from & 1) != 0 && (side >> to & 1) == 0;
            bool is_in = kind == S_CUT_PAIR   ? from == b && to == a
                         : kind == S_CUT_NODE ? to == a
                                              : (side >> from & 1) == 0 && (side >> to & 1) != 0;
            if ((is_out && ways != 0) || (is_in && ways != 1)) {
                s_cut(self, fault, from, to);
            }
        }
    }
    s_cuts_told(self, fault);
}

// From `other`, or from all when that is UINT32_MAX.
static void s_cut_from(sim_world_t *self, uint32_t node, uint32_t other)
{
    self->random_fault = sim_world_stream(self, SIM_STREAM_LOSS, ~self->counters.cuts);
    sim_fault_t *fault = s_begin(self);
    self->counters.cuts++;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (other == UINT32_MAX || n == other) {
            s_cut(self, fault, node, n);
            s_cut(self, fault, n, node);
        }
    }
    s_cuts_told(self, fault);
}

void sim_fault_cut_off(sim_world_t *self, uint32_t node)
{
    if (node != UINT32_MAX) {
        s_cut_from(self, node, UINT32_MAX);
    }
}

void sim_fault_cut_pair(sim_world_t *self, uint32_t node, uint32_t other)
{
    if (node != UINT32_MAX && other != UINT32_MAX) {
        s_cut_from(self, node, other);
    }
}

static void s_disk_fault(sim_world_t *self, sim_node_t *node, s_kind_t kind)
{
    bb_random_t *random = &self->random_fault;
    uint64_t nth = bb_random_between(random, 1, 6);
    self->counters.disk_faults++;
    sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                    "node %u: a coming %s fails", node->index,
                    kind == S_SYNC_FAILS     ? "sync"
                    : kind == S_CALL_FAILS   ? "read, open or rename"
                    : kind == S_COMMIT_FAILS ? "commit"
                                             : "write");
    if (kind == S_SYNC_FAILS) {
        bb_sim_disk_fail(node->disk, BB_SIM_SYNC, nth, BB_ERR_IO);
    } else if (kind == S_CALL_FAILS) {
        static const bb_sim_op_t ops[] = {BB_SIM_READ, BB_SIM_OPEN, BB_SIM_NAMESPACE};
        bb_sim_disk_fail(node->disk, ops[bb_random_below(random, BB_COUNT_OF(ops))], nth,
                         BB_ERR_IO);
    } else if (kind == S_COMMIT_FAILS) {
        bb_sim_disk_fail(node->disk, BB_SIM_COMMIT, nth,
                         bb_random_chance(random, 1, 2) ? BB_ERR_IO : BB_ERR_DISK_FULL);
    } else {
        bb_sim_disk_fail(node->disk, BB_SIM_WRITE, nth,
                         bb_random_chance(random, 1, 2) ? BB_ERR_IO : BB_ERR_DISK_FULL);
    }
}

static void s_stop(sim_world_t *self, sim_node_t *node, bool is_power)
{
    if (node->is_up) {
        sim_node_stop(node, is_power, s_length_ns(self));
    }
}

static void s_fault(sim_world_t *self)
{
    uint64_t number = self->fault_number++;
    self->random_fault = sim_world_stream(self, SIM_STREAM_FAULT, number);
    bb_random_t *random = &self->random_fault;
    // Deaths at named points come more often: there are many points, most of them in sealing.
    uint64_t kinds = S_KIND_COUNT + (self->options.is_storing ? 4 : 1);
    uint64_t drawn = bb_random_below(random, kinds);
    s_kind_t kind = (s_kind_t)BB_MIN(drawn, (uint64_t)S_KILL);
    sim_node_t *node = &self->nodes[bb_random_below(random, self->options.node_count)];
    if ((self->options.fault_mask >> kind & 1) == 0 ||
        !sim_keep_has(&self->options.keep_faults, number)) {
        return;
    }
    s_count(self, kind);
    switch (kind) {
    case S_POWER_LOSS:
        s_stop(self, node, true);
        break;
    case S_POWER_LOSS_ALL:
        if (bb_random_chance(random, 1, 3)) {
            for (uint32_t i = 0; i < self->options.node_count; i++) {
                s_stop(self, &self->nodes[i], true);
            }
        }
        break;
    case S_HALT:
        if (node->is_up) {
            bb_sim_disk_halt_at(node->disk, bb_random_between(random, 1, 60));
        }
        break;
    case S_PROCESS_DEATH:
        s_stop(self, node, false);
        break;
    case S_PAUSE:
        self->counters.pauses++;
        node->paused_until_ns = sim_world_now_ns(self) + 2 * s_length_ns(self);
        node->paused_until_ns = BB_MIN(node->paused_until_ns, self->options.fault_phase_ns);
        sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                        "node %u pauses", node->index);
        break;
    case S_CUT_PAIR:
    case S_CUT_NODE:
    case S_CUT_HALVES:
        s_cut_some(self, kind);
        break;
    case S_CLOCK:
        self->counters.clock_jumps++;
        node->wall_offset_ns =
            (int64_t)bb_random_below(random, 400 * BB_NS_PER_S) - 200 * BB_NS_PER_S;
        if (bb_random_chance(random, 1, 2)) {
            node->wall_offset_ns /= 100;
        }
        sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                        "clock of node %u is off by %lld ms", node->index,
                        (long long)(node->wall_offset_ns / BB_NS_PER_MS));
        break;
    case S_SYNC_FAILS:
    case S_WRITE_FAILS:
    case S_CALL_FAILS:
    case S_COMMIT_FAILS:
        s_disk_fault(self, node, kind);
        break;
    case S_DISK_FULL:
        self->counters.disk_full++;
        s_begin(self)->full_node = node->index;
        bb_sim_disk_capacity_set(node->disk, bb_sim_disk_used_bytes(node->disk) +
                                                 bb_random_below(random, 20000));
        sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                        "the disk of node %u fills", node->index);
        break;
    case S_COPY:
        if (!node->old_disk) {
            sim_damage_keep_copy(node);
            sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                            "node %u: its disk is copied", node->index);
        }
        break;
    case S_KILL: {
        static_assert(BB_KILLPOINT_JOURNAL_TRIM + 1 == BB_KILLPOINT_MERGE_RECORDED, "neighbours");
        // Points of sealing only where it happens.
        bool is_sealing = self->options.is_storing && bb_random_chance(random, 2, 3);
        uint32_t point = (uint32_t)bb_random_below(
            random, is_sealing ? BB_KILLPOINT_COUNT - BB_KILLPOINT_SEGMENT_IN_TXN
                               : BB_KILLPOINT_SEGMENT_IN_TXN);
        point += is_sealing ? BB_KILLPOINT_SEGMENT_IN_TXN : 0;
        if (is_sealing && bb_random_chance(random, 1, 5)) { // passed more rarely than the others
            point = BB_KILLPOINT_JOURNAL_TRIM + (uint32_t)bb_random_below(random, 2);
        }
        bool is_start = bb_random_chance(random, 1, 16);
        point = is_start ? BB_KILLPOINT_START_RECOVERED : point;
        uint32_t nth =
            point < BB_KILLPOINT_PULL_SERVED ? (uint32_t)bb_random_between(random, 1, 4) : 1;
        sim_node_arm(node, (bb_killpoint_point_t)point, nth);
        if (is_start) {
            s_stop(self, node, false);
        }
        break;
    }
    default:
        self->net.loss_per_mille = (uint32_t)bb_random_below(random, 300);
        self->net.repeat_per_mille = (uint32_t)bb_random_below(random, 300);
        self->net.delay_mean_ns = (int64_t)bb_random_between(random, 100, 60000) * BB_NS_PER_US;
        sim_trace_fault(&self->trace, SIM_LINE_ALL, "network: %u of 1,000 lost, %u repeated",
                        self->net.loss_per_mille, self->net.repeat_per_mille);
        break;
    }
}

void sim_fault_event(sim_world_t *self, sim_event_t *event)
{
    if (event->kind == SIM_EVENT_HEAL) {
        s_heal(self, &self->faults[event->number]);
    } else if (!self->is_calm) {
        if (sim_keep_has(&self->options.keep_faults, self->fault_number)) {
            sim_loss_event(self, self->fault_number);
            sim_twin_event(self, self->fault_number);
            sim_hostile_event(self, self->fault_number);
            sim_epoch_event(self, self->fault_number);
        }
        s_fault(self);
        s_plan(self);
    }
}

void sim_fault_stop(sim_world_t *self)
{
    sim_epoch_end(self);
    sim_twin_calm(self);
    sim_hostile_calm(self);
    for (uint32_t i = 0; i < self->fault_count; i++) {
        s_heal(self, &self->faults[i]);
    }
    self->net.loss_per_mille = 0;
    self->net.repeat_per_mille = 0;
    self->net.delay_mean_ns = BB_NS_PER_MS;
    for (uint32_t i = 0; i < self->options.node_count; i++) {
        sim_node_t *node = &self->nodes[i];
        node->paused_until_ns = 0;
        node->armed = BB_KILLPOINT_COUNT;
        node->wall_offset_ns /= 1000;
        bb_sim_disk_capacity_set(node->disk, UINT64_MAX);
        bb_sim_disk_halt_at(node->disk, 0);
        for (uint32_t op = 0; op < BB_SIM_OP_COUNT; op++) {
            bb_sim_disk_fail(node->disk, (bb_sim_op_t)op, 0, BB_ERR_IO);
        }
    }
}

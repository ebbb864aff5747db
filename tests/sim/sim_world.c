// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_world.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_shard_internal.h"

#define S_CONVERGENCE_NS (30 * BB_NS_PER_S) // promise P3; what is missing here is small
#define S_SETTLE_NS      (25 * BB_NS_PER_S)
#define S_RETIRE_NS      (20 * BB_NS_PER_S) // nodes that start look at the clock at once
#define S_DAMAGE_NS      (2 * BB_NS_PER_S)  // after damage: the node opens, and scrubs a little
#define S_LOOK_NS        (200 * BB_NS_PER_MS)
#define S_HEAL_NS        (10 * BB_NS_PER_S)
#define S_QUIET_NS       (1 * BB_NS_PER_S)

int64_t sim_world_exponential(bb_random_t *random, int64_t mean_ns)
{
    double uniform = ((double)(bb_random_next(random) >> 11) + 0.5) / 9007199254740992.0;
    return (int64_t)(-log(uniform) * (double)mean_ns);
}

bb_random_t sim_world_stream(const sim_world_t *self, uint32_t kind, uint64_t number)
{
    bb_random_t mixer = bb_random_seed(self->options.seed ^ (uint64_t)kind << 56);
    uint64_t seed = bb_random_next(&mixer) + number * UINT64_C(0xd1342543de82ef95);
    return bb_random_seed(seed);
}

bool sim_world_is_replica(const sim_world_t *self, uint32_t partition, uint32_t node)
{
    return bb_topology_is_replica(self->nodes[0].topology, partition, node);
}

// ---- building --------------------------------------------------------------------------------

void sim_world_build_topology(sim_world_t *self, uint32_t self_index)
{
    bb_topology_destroy(&self->nodes[self_index].topology);
    static const char *const ids[SIM_NODES_MAX] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6"};
    static const char *const dc_names[SIM_DCS_MAX] = {"east", "north", "west"};
    const sim_options_t *options = &self->options;
    bb_placement_dc_t dcs[SIM_DCS_MAX];
    bb_topology_node_t nodes[SIM_NODES_MAX] = {0};
    uint32_t count = 0;
    for (uint32_t dc = 0; dc < options->dc_count; dc++) {
        dcs[dc] = (bb_placement_dc_t){dc_names[dc], options->replicas_in_dc[dc]};
        for (uint32_t i = 0; i < options->nodes_in_dc[dc]; i++) {
            nodes[count] = (bb_topology_node_t){.id = ids[count],
                                                .dc = dc_names[dc],
                                                .rack = "",
                                                .weight = BB_PLACEMENT_WEIGHT_DEFAULT,
                                                .host = "sim",
                                                .client_port = 1,
                                                .peer_port = 2,
                                                .bulk_port = 3,
                                                .http_port = 4};
            nodes[count].public_key[0] = (uint8_t)(count + 1);
            count++;
        }
    }
    bb_topology_options_t topology = {.cluster_name = "sim",
                                      .epoch = self->nodes[self_index].epoch,
                                      .partition_count = options->partition_count,
                                      .dc_count = options->dc_count,
                                      .dcs = dcs,
                                      .node_count = count,
                                      .nodes = nodes,
                                      .self_index = self_index};
    memcpy(topology.placement_key, self->placement_key, sizeof topology.placement_key);
    bb_fault_t fault = {0};
    bb_error_t error = bb_topology_new(&topology, &self->nodes[self_index].topology, &fault);
    BB_ASSERT(error == BB_OK);
}

// Volts in a class of their own; hours of everything.
static bb_policy_t *s_build_policy(int64_t keep_ns)
{
    bb_retention_class_t class = {
        .name = "volts", .selector = {.metric = "volts_v"}, .keep_ns = keep_ns};
    bb_rollup_t rollup = {.name = SIM_ROLLUP,
                          .every = BB_EVERY_FIXED,
                          .every_ns = 3600 * BB_NS_PER_S,
                          .aggregates = BB_AGGREGATE_ALL,
                          .keep_ns = BB_KEEP_FOREVER_NS};
    bb_zone_t *zones[1] = {NULL};
    return bb_policy_new(&class, 1, BB_KEEP_FOREVER_NS, &rollup, zones, 1);
}

sim_world_t *sim_world_new(const sim_options_t *options, FILE *lines, sim_picture_t *picture)
{
    sim_world_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->trace.lines = lines;
    self->trace.picture = picture;
    bb_random_t seeds = bb_random_seed(options->seed);
    self->random_net = bb_random_seed(bb_random_next(&seeds));
    self->random_disk = bb_random_seed(bb_random_next(&seeds));
    self->random_clock = bb_random_seed(bb_random_next(&seeds));
    self->random_work = bb_random_seed(bb_random_next(&seeds));
    self->random_fault = bb_random_seed(bb_random_next(&seeds));
    self->random_stream = bb_random_seed(bb_random_next(&seeds));
    self->events = sim_events_new(bb_random_next(&seeds));
    self->checker = bb_checker_new();
    sim_hedge_open(self);
    // Longer than anything here is old.
    self->policy = options->has_policy ? s_build_policy(30 * BB_NS_PER_DAY) : NULL;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t half = bb_random_next(&seeds);
        memcpy(self->placement_key + 8 * i, &half, sizeof half);
    }
    self->epoch = 1;
    self->late_partition = UINT32_MAX;
    sim_twin_open(self);
    sim_hostile_open(self);
    sim_retire_open(self);
    self->net.delay_mean_ns = options->delay_mean_ns;
    self->net.loss_per_mille = options->loss_per_mille;
    self->net.repeat_per_mille = options->repeat_per_mille;
    for (uint32_t n = 0; n < options->node_count; n++) {
        self->nodes[n].epoch = self->epoch;
        sim_world_build_topology(self, n);
        sim_node_init(self, n);
    }
    for (uint32_t b = 0; b < options->battery_count; b++) {
        char id[16];
        int length = snprintf(id, sizeof id, "bat-%02u", b);
        self->battery_partition[b] =
            bb_topology_partition_of(self->nodes[0].topology, id, (size_t)length);
    }
    return self;
}

void sim_world_destroy(sim_world_t **self_pointer)
{
    sim_world_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    sim_twin_destroy(self);
    sim_hostile_destroy(self);
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        sim_node_destroy(&self->nodes[n]);
    }
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        sim_client_op_clear(&self->ops[i]);
        bb_session_token_clear(&self->clients[i].session);
    }
    for (uint64_t i = 0; i < self->attempt_count; i++) {
        free(self->attempts[i].dots);
    }
    free(self->attempts);
    free(self->faults);
    sim_events_destroy(&self->events);
    bb_checker_destroy(&self->checker);
    bb_policy_release(&self->policy);
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        free(self->totals[p]);
    }
    free(self);
}

// ---- running ---------------------------------------------------------------------------------

static void s_dispatch(sim_world_t *self, sim_event_t *event)
{
    switch (event->kind) {
    case SIM_EVENT_ANSWER:
    case SIM_EVENT_CLIENT:
    case SIM_EVENT_GIVE_UP:
    case SIM_EVENT_HEDGE:
        sim_client_event(self, event);
        break;
    case SIM_EVENT_FAULT:
    case SIM_EVENT_HEAL:
        sim_fault_event(self, event);
        break;
    case SIM_EVENT_PHASE:
        break; // only wakes the caller
    default:
        if (sim_twin_process(self, event->node)) {
            sim_node_event(sim_twin_process(self, event->node), event);
        }
        break;
    }
}

// One event. False: a finding, or the run is out of bounds.
static bool s_step(sim_world_t *self)
{
    sim_event_t event;
    if (!sim_events_next(self->events, &event)) {
        sim_trace_fail(&self->trace, "nothing is left to happen");
        return false;
    }
    sim_trace_t *trace = &self->trace;
    trace->now_ns = event.time_ns;
    trace->event_count++;
    sim_trace_fold(trace, (uint64_t)event.time_ns);
    sim_trace_fold(trace, (uint64_t)event.kind << 48 | (uint64_t)event.node << 40 |
                              bb_buffer_slice(event.envelope).length);
    s_dispatch(self, &event);
    sim_event_clear(&event);
    return !sim_trace_has_failed(trace);
}

void sim_world_note(sim_node_t *node, sim_storm_kind_t kind, uint32_t store)
{
    sim_world_t *self = node->world;
    uint64_t max = 0;
    if (sim_storm_note(&self->storm, &self->options, sim_world_now_ns(self), kind, node->slot,
                       store, &max)) {
        sim_trace_fail(&self->trace,
                       "node %u: more than %" PRIu64 " %s in a second: something goes round in "
                       "circles",
                       node->index, max, sim_storm_name(kind));
    }
}

bool sim_world_run_until(sim_world_t *self, int64_t time_ns)
{
    sim_event_t event = {.kind = SIM_EVENT_PHASE};
    sim_events_add(self->events, time_ns, &event);
    while (sim_world_now_ns(self) < time_ns) {
        if (!s_step(self)) {
            return false;
        }
    }
    return true;
}

// At least S_QUIET_NS pass, so that what is still on its way has come.
static bool s_converge(sim_world_t *self)
{
    int64_t limit_ns = sim_world_now_ns(self) + S_CONVERGENCE_NS;
    if (!sim_world_run_until(self, sim_world_now_ns(self) + S_QUIET_NS)) {
        return false;
    }
    char why[256] = "";
    while (!sim_client_is_idle(self) || !sim_check_has_converged(self, why, sizeof why)) {
        if (sim_world_now_ns(self) >= limit_ns) {
            sim_trace_fail(&self->trace, "no convergence within %d s: %s",
                           (int)(S_CONVERGENCE_NS / BB_NS_PER_S), why[0] ? why : "a client waits");
            return false;
        }
        if (!sim_world_run_until(self, sim_world_now_ns(self) + S_LOOK_NS)) {
            return false;
        }
    }
    sim_trace_note(&self->trace, SIM_LINE_ALL, "converged");
    return true;
}

// Store `index` of all nodes together; NULL: there are no more.
static sim_store_t *s_store(sim_world_t *self, uint32_t index)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (index < self->nodes[n].store_count) {
            return &self->nodes[n].stores[index];
        }
        index -= self->nodes[n].store_count;
    }
    return NULL;
}

// Runs until the store has answered what it was asked directly.
static bool s_await(sim_world_t *self, sim_store_t *store, bb_kind_t kind, int64_t limit_ns,
                    bb_message_t *answer)
{
    const sim_node_t *node = store->node;
    while (!store->direct_envelope && sim_world_now_ns(self) < limit_ns) {
        if (!sim_world_run_until(self, sim_world_now_ns(self) + S_LOOK_NS)) {
            return false;
        }
    }
    if (!store->direct_envelope ||
        bb_message_decode(answer, bb_buffer_slice(store->direct_envelope), NULL) != BB_OK) {
        sim_trace_fail(&self->trace, "node %u does not answer %s", node->index, bb_kind_name(kind));
        return false;
    }
    if (answer->kind != kind) {
        sim_trace_fail(&self->trace, "node %u answers %s instead of %s: %s", node->index,
                       bb_kind_name(answer->kind), bb_kind_name(kind),
                       answer->kind == BB_KIND_ERROR ? bb_error_name(answer->error.code) : "");
        bb_message_close(answer);
        return false;
    }
    return true;
}

static bool s_settle(sim_world_t *self)
{
    sim_check_settle(self);
    int64_t limit_ns = sim_world_now_ns(self) + S_SETTLE_NS;
    sim_store_t *store;
    for (uint32_t i = 0; (store = s_store(self, i)) != NULL; i++) {
        bb_message_t answer = {0};
        if (!s_await(self, store, BB_KIND_SETTLE_REPLY, limit_ns, &answer)) {
            return false;
        }
        bb_settle_reply_t reply = answer.settle_reply;
        bb_message_close(&answer);
        if (!reply.sealed || !reply.merged || !reply.trimmed) {
            sim_trace_fail(&self->trace, "node %u is not settled:%s%s%s", store->node->index,
                           reply.sealed ? "" : " sealed", reply.merged ? "" : " merged",
                           reply.trimmed ? "" : " trimmed");
            return false;
        }
    }
    return true;
}

// Every node releases what its partitions hold in quarantine.
static bool s_release(sim_world_t *self)
{
    sim_check_release(self);
    int64_t limit_ns = sim_world_now_ns(self) + S_SETTLE_NS;
    sim_store_t *store;
    for (uint32_t i = 0; (store = s_store(self, i)) != NULL; i++) {
        bb_message_t answer = {0};
        if (!s_await(self, store, BB_KIND_RELEASE_REPLY, limit_ns, &answer)) {
            return false;
        }
        self->counters.released_points += answer.release_reply.released_points;
        bb_message_close(&answer);
    }
    self->is_released = true;
    return true;
}

static bool s_power_loss(sim_world_t *self)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (self->nodes[n].is_up) {
            sim_node_stop(&self->nodes[n], true, BB_NS_PER_MS);
        }
    }
    return sim_world_run_until(self, sim_world_now_ns(self) + 2 * BB_NS_PER_MS) && s_converge(self);
}

// The class keeps a day: the oldest of three days goes, on every node, and stays gone.
static bool s_retire(sim_world_t *self)
{
    int64_t day = SIM_WALL_NS_FIRST / BB_NS_PER_DAY;
    self->floor_wall_ns = (day - 1) * BB_NS_PER_DAY;
    bb_random_t random = sim_world_stream(self, SIM_STREAM_RETIRE, 0);
    bb_random_t away = sim_world_stream(self, SIM_STREAM_RETIRE, 1);
    if (!sim_retire_away(self, &away)) {
        return false;
    }
    bb_policy_release(&self->policy); // nodes read their configuration when they start
    self->policy = s_build_policy(BB_NS_PER_DAY);
    // Some die just when a floor has moved, or when results of what goes with it are stored.
    if (bb_random_chance(&random, 1, 2)) {
        bool is_rollup = bb_random_chance(&random, 1, 4);
        sim_node_arm(&self->nodes[bb_random_below(&random, self->options.node_count)],
                     is_rollup ? BB_KILLPOINT_ROLLUP_RECORDED : BB_KILLPOINT_RETIRE_RECORDED, 1);
    }
    if (!s_power_loss(self)) {
        return false;
    }
    int64_t limit_ns = sim_world_now_ns(self) + S_RETIRE_NS;
    while (!sim_check_has_retired(self)) {
        if (sim_world_now_ns(self) >= limit_ns) {
            sim_trace_fail(&self->trace, "floors do not move, or what is below them does not go");
            return false;
        }
        if (!sim_world_run_until(self, sim_world_now_ns(self) + S_LOOK_NS)) {
            return false;
        }
    }
    return true;
}

static bool s_names_damage(sim_world_t *self)
{
    sim_store_t *store;
    for (uint32_t i = 0; (store = s_store(self, i)) != NULL; i++) {
        if (store->shard && bb_store_scrub_stats(store->shard->store, 0).damage_count > 0) {
            return true;
        }
    }
    return false;
}

static bool s_check(sim_world_t *self)
{
    // A segment that could not be read from a disk that was dying may have got on the list of
    // damage with the last commit, in doubt, before the power went: the next reading takes it off.
    int64_t limit_ns = sim_world_now_ns(self) + S_HEAL_NS;
    while (self->options.scrub_bytes_per_s > 0 && s_names_damage(self) &&
           sim_world_now_ns(self) < limit_ns) {
        if (!sim_world_run_until(self, sim_world_now_ns(self) + S_LOOK_NS)) {
            return false;
        }
    }
    sim_check_replicas(self);
    return !sim_trace_has_failed(&self->trace);
}

// Disks are lost, one after another, and what rollups made of the points that are gone has no other
// source than the nodes that were rebuilt before.
static bool s_lose_disks(sim_world_t *self)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_RETIRE, 2);
    if (!bb_random_chance(&random, 3, 4)) {
        return true;
    }
    uint32_t first = (uint32_t)bb_random_below(&random, self->options.node_count);
    uint32_t count = (uint32_t)bb_random_between(&random, 1, self->options.node_count);
    for (uint32_t i = 0; i < count; i++) {
        sim_node_t *node = &self->nodes[(first + i) % self->options.node_count];
        if (!sim_damage_is_covered(self, node->index)) {
            continue;
        }
        sim_node_stop(node, true, BB_NS_PER_MS);
        sim_damage_format(node);
        self->counters.lost_after_retention++;
        if (!sim_world_run_until(self, sim_world_now_ns(self) + 2 * BB_NS_PER_MS) ||
            !s_converge(self)) {
            return false;
        }
    }
    return s_check(self);
}

// What else is done to the cluster in the end. Looking at everything is a large part of a run, so
// it is done after the last of them, and before points go for good.
static bool s_endings(sim_world_t *self)
{
    const sim_options_t *options = &self->options;
    bool is_more =
        options->ends_with_settle || options->ends_with_release || options->ends_with_power_loss;
    if (options->ends_with_damage && sim_damage_disk(self) &&
        (!sim_world_run_until(self, sim_world_now_ns(self) + 2 * BB_NS_PER_MS) ||
         !s_converge(self) || !s_check(self))) {
        return false;
    }
    if (options->ends_with_settle && (!s_settle(self) || !s_converge(self))) {
        return false;
    }
    if (options->ends_with_release && (!s_release(self) || !s_converge(self))) {
        return false;
    }
    if (options->ends_with_power_loss && !s_power_loss(self)) {
        return false;
    }
    if (is_more && !s_check(self)) {
        return false;
    }
    if (options->ends_with_retention &&
        (!s_retire(self) || !s_check(self) || !s_lose_disks(self))) {
        return false;
    }
    uint64_t formatted = self->counters.disks_formatted;
    if (!options->ends_with_damage || !sim_damage_maps(self)) {
        return true;
    }
    // What is damaged stays so, and a node that does not open stays down: nothing has to converge.
    if (!sim_world_run_until(self, sim_world_now_ns(self) + S_DAMAGE_NS)) {
        return false;
    }
    bool is_formatted = self->counters.disks_formatted > formatted; // an empty disk: it rebuilds
    if ((is_formatted || !sim_damage_is_left(self)) && !s_converge(self)) {
        return false;
    }
    sim_check_replicas(self);
    return !sim_trace_has_failed(&self->trace);
}

void sim_world_run(sim_world_t *self)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        sim_node_start(&self->nodes[n]);
    }
    for (uint32_t i = 0; i < self->options.client_count; i++) {
        self->clients[i].op = UINT32_MAX;
        self->clients[i].hedge = SIM_HEDGE_NONE;
        sim_event_t event = {.kind = SIM_EVENT_CLIENT, .other = i};
        sim_events_add(self->events, 300 * BB_NS_PER_MS, &event); // the nodes know each other
    }
    if (self->options.begins_slow && !sim_route_episode(self)) {
        return;
    }
    sim_event_t fault = {.kind = SIM_EVENT_FAULT};
    sim_events_add(self->events, sim_world_now_ns(self) + 400 * BB_NS_PER_MS, &fault);
    if (!sim_world_run_until(self, self->options.fault_phase_ns)) {
        return;
    }
    self->is_calm = true;
    self->calm_since_ns = sim_world_now_ns(self);
    sim_trace_note(&self->trace, SIM_LINE_ALL, "faults stop");
    sim_fault_stop(self);
    if (!s_converge(self) || !s_check(self) || !s_endings(self)) {
        return;
    }
    bb_checker_stats_t stats;
    bb_checker_stats(self->checker, &stats);
    if (stats.never_read * 100 > stats.keys) {
        sim_trace_fail(&self->trace,
                       "inconclusive: %" PRIu64 " of %" PRIu64 " points were never read",
                       stats.never_read, stats.keys);
    }
}

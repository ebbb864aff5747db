// SPDX-License-Identifier: Apache-2.0
// The route score of a node, fed as the mesh actor feeds it; and an episode, before any other
// fault, in which one node is slow: the others must find that out within 10 s, once, and that it is
// over.
#include "node/ingest/bb_shard_internal.h" // looks inside: whole stats would cost more than the run
#include "tests/sim/sim_world.h"

#define S_FEED_NS      (250 * BB_NS_PER_MS) // how often a busy store publishes
#define S_SYNC_NS      (300 * BB_NS_PER_US)
#define S_SLOW_SYNC_NS (200 * BB_NS_PER_MS)
#define S_SLICE_NS     (100 * BB_NS_PER_MS)
#define S_RUN_NS       (5 * BB_NS_PER_MS) // of each slice: 5 % of a processor
#define S_LOSS         200u               // per mille
#define S_HEALTHY_NS   (2 * BB_NS_PER_S)
#define S_VERDICT_NS   (10 * BB_NS_PER_S)
#define S_HOLD_NS      (3 * BB_NS_PER_S)
#define S_RETURN_NS    (40 * BB_NS_PER_S)
#define S_LOOK_NS      (100 * BB_NS_PER_MS)
#define S_THINK_NS     (100 * BB_NS_PER_MS)
#define S_CLIENTS      4 // fewer think less: a verdict takes some acknowledgements of each observer

void sim_route_open(sim_node_t *node)
{
    const sim_world_t *world = node->world;
    uint32_t groups[SIM_NODES_MAX];
    for (uint32_t i = 0; i < world->options.node_count; i++) {
        groups[i] = world->nodes[i].dc;
    }
    bb_route_score_options_t options = {.node_count = world->options.node_count,
                                        .self_index = node->index,
                                        .heartbeat_ns = SIM_HEARTBEAT_NS,
                                        .groups = groups};
    node->route.score = bb_route_score_new(&options);
    for (uint32_t i = 0; i < node->store_count; i++) {
        node->route.feeds[i] = (bb_route_feed_t){0};
        node->stores[i].sync_ns_sum = 0;
    }
    node->route.feed_due_ns = 0;
}

void sim_route_close(sim_node_t *node)
{
    bb_route_score_destroy(&node->route.score);
}

// ---- what is slow
// --------------------------------------------------------------------------------

// A disk that syncs, syncs one thing after the other.
int64_t sim_route_commit_ns(const sim_store_t *store, int64_t due_ns)
{
    bool is_slow = store->node->route.fault == SIM_SLOW_DISK;
    return is_slow ? BB_MAX(due_ns, store->synced_ns + S_SLOW_SYNC_NS) : due_ns;
}

void sim_route_synced(sim_store_t *store)
{
    bool is_slow = store->node->route.fault == SIM_SLOW_DISK;
    store->synced_ns = sim_world_now_ns(store->node->world);
    store->sync_ns_sum += (uint64_t)(is_slow ? S_SLOW_SYNC_NS : S_SYNC_NS);
}

int64_t sim_route_resume_ns(const sim_node_t *node)
{
    int64_t now_ns = sim_world_now_ns(node->world);
    int64_t begun_ns = now_ns - now_ns % S_SLICE_NS;
    bool is_off = node->route.fault == SIM_SLOW_CPU && now_ns - begun_ns >= S_RUN_NS;
    return is_off ? begun_ns + S_SLICE_NS : now_ns;
}

bool sim_route_is_lost(sim_world_t *self, uint32_t from, uint32_t to)
{
    bool is_lossy = self->nodes[from].route.fault == SIM_LOSSY_LINK ||
                    self->nodes[to].route.fault == SIM_LOSSY_LINK;
    return is_lossy && bb_random_chance(&self->random_net, S_LOSS, 1000);
}

// ---- the score
// -----------------------------------------------------------------------------------

void sim_route_heard(sim_node_t *node, uint32_t peer_index, const bb_heartbeat_t *heartbeat)
{
    int64_t now_mono_ns = sim_node_time(node).mono_ns;
    bb_route_score_heartbeat(node->route.score, now_mono_ns, peer_index);
    bb_route_score_sync(node->route.score, peer_index,
                        (int64_t)heartbeat->sync_latency_us * BB_NS_PER_US);
}

static void s_feed(sim_node_t *node, int64_t now_mono_ns)
{
    uint32_t node_count = node->world->options.node_count;
    for (uint32_t i = 0; i < node->store_count; i++) {
        const bb_shard_t *shard = node->stores[i].shard;
        bb_shard_stats_t stats = {.journal_syncs = shard->stats.journal_syncs,
                                  .journal_sync_ns_sum = node->stores[i].sync_ns_sum};
        for (uint32_t n = 0; n < node_count; n++) {
            bb_replication_acks_t acks = bb_replication_acks(shard->replication, n);
            stats.acks_of[n] = acks.count;
            stats.ack_ns_of[n] = acks.ns_sum;
        }
        bb_replication_waiting(shard->replication, now_mono_ns, stats.waiting_ns_of);
        bb_route_feed_stats(&node->route.feeds[i], node->route.score, now_mono_ns, &stats,
                            node_count);
    }
}

static void s_tell(sim_node_t *node, uint32_t peer_index)
{
    sim_world_t *world = node->world;
    bool is_slow = bb_route_score_is_slow(node->route.score, peer_index);
    world->counters.routes_slow += is_slow;
    world->counters.routes_well += !is_slow;
    node->route.slow_counts[peer_index] += is_slow;
    node->route.well_counts[peer_index] += !is_slow;
    sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                   "node %u: node %u is %s", node->index, peer_index,
                   is_slow ? "slow" : "no longer slow");
    for (uint32_t i = 0; i < node->store_count && peer_index != node->index; i++) {
        bb_shard_peer_slow(node->stores[i].shard, peer_index, is_slow);
    }
}

uint32_t sim_route_beat(sim_node_t *node)
{
    int64_t now_mono_ns = sim_node_time(node).mono_ns;
    if (now_mono_ns >= node->route.feed_due_ns) {
        node->route.feed_due_ns = now_mono_ns + S_FEED_NS;
        s_feed(node, now_mono_ns);
    }
    int64_t sync_ns = 0;
    for (uint32_t i = 0; i < node->store_count; i++) {
        sync_ns = BB_MAX(sync_ns, bb_route_feed_sync_ns(&node->route.feeds[i], now_mono_ns));
    }
    bb_route_score_sync(node->route.score, node->index, sync_ns);
    bb_route_score_actions_t actions;
    bb_route_score_tick(node->route.score, now_mono_ns, &actions);
    for (uint32_t i = 0; i < actions.change_count; i++) {
        s_tell(node, actions.changed[i]);
    }
    return (uint32_t)BB_MIN(sync_ns / BB_NS_PER_US, (int64_t)UINT32_MAX);
}

// ---- an episode
// ----------------------------------------------------------------------------------

// The victim: one of a data centre in which each node has all partitions, so that each of the
// others measures it.
static uint32_t s_victim(const sim_world_t *self, bb_random_t *random)
{
    uint32_t found[SIM_NODES_MAX], count = 0;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        uint32_t dc = self->nodes[n].dc;
        uint32_t node_count = self->options.nodes_in_dc[dc];
        if (node_count >= 2 && self->options.replicas_in_dc[dc] == node_count) {
            found[count++] = n;
        }
    }
    return count > 0 ? found[bb_random_below(random, count)] : UINT32_MAX;
}

static bool s_observes(const sim_world_t *self, uint32_t node, uint32_t victim)
{
    return node != victim && self->nodes[node].dc == self->nodes[victim].dc;
}

// How many of the observers find the victim slow; *count: of how many.
static uint32_t s_slow_count(const sim_world_t *self, uint32_t victim, uint32_t *count)
{
    uint32_t slow_count = 0;
    *count = 0;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (s_observes(self, n, victim)) {
            slow_count += bb_route_score_is_slow(self->nodes[n].route.score, victim);
            (*count)++;
        }
    }
    return slow_count;
}

// Until all of the observers think so.
static bool s_await(sim_world_t *self, uint32_t victim, bool is_slow, int64_t limit_ns)
{
    uint32_t count, slow_count;
    int64_t begin_ns = sim_world_now_ns(self);
    while (slow_count = s_slow_count(self, victim, &count), slow_count != (is_slow ? count : 0)) {
        if (sim_world_now_ns(self) >= begin_ns + limit_ns) {
            sim_trace_fail(
                &self->trace, "node %u: %u of %u others find it slow %d s after it became %s",
                victim, slow_count, count, (int)(limit_ns / BB_NS_PER_S), is_slow ? "so" : "well");
            return false;
        }
        if (!sim_world_run_until(self, sim_world_now_ns(self) + S_LOOK_NS)) {
            return false;
        }
    }
    return true;
}

// One verdict and one return by each observer, and none about anybody else.
static bool s_check_flaps(sim_world_t *self, uint32_t victim)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        for (uint32_t of = 0; of < self->options.node_count; of++) {
            const sim_route_t *route = &self->nodes[n].route;
            uint32_t wanted = of == victim ? 1 : 0;
            if (s_observes(self, n, victim) &&
                (route->slow_counts[of] != wanted || route->well_counts[of] != wanted)) {
                sim_trace_fail(&self->trace,
                               "node %u found node %u slow %u times, and well %u times; %u was", n,
                               of, route->slow_counts[of], route->well_counts[of], victim);
                return false;
            }
        }
    }
    return true;
}

static bool s_episode(sim_world_t *self, uint32_t victim, sim_slow_t fault)
{
    static const char *const names[] = {"nothing", "its disk", "its processor", "its links"};
    if (!sim_world_run_until(self, sim_world_now_ns(self) + S_HEALTHY_NS)) {
        return false;
    }
    sim_trace_fault(&self->trace, sim_line_of_node(&self->options, victim), "node %u: %s slow",
                    victim, names[fault]);
    self->nodes[victim].route.fault = fault;
    if (!s_await(self, victim, true, S_VERDICT_NS) ||
        !sim_world_run_until(self, sim_world_now_ns(self) + S_HOLD_NS)) {
        return false;
    }
    self->nodes[victim].route.fault = SIM_SLOW_NONE;
    sim_trace_note(&self->trace, sim_line_of_node(&self->options, victim), "node %u is well",
                   victim);
    return s_await(self, victim, false, S_RETURN_NS) && s_check_flaps(self, victim);
}

bool sim_route_episode(sim_world_t *self)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_ROUTE, 0);
    uint32_t victim = s_victim(self, &random);
    sim_slow_t fault = (sim_slow_t)bb_random_between(&random, SIM_SLOW_DISK, SIM_LOSSY_LINK);
    if (victim == UINT32_MAX) {
        return true;
    }
    sim_counters_t *counters = &self->counters;
    counters->fault_slow_disk += fault == SIM_SLOW_DISK;
    counters->fault_slow_cpu += fault == SIM_SLOW_CPU;
    counters->fault_lossy_link += fault == SIM_LOSSY_LINK;
    // Scores compare: noise that all have would hide what one has.
    sim_net_t net = self->net;
    int64_t think_mean_ns = self->options.think_mean_ns;
    self->net.loss_per_mille = self->net.repeat_per_mille = 0;
    self->net.delay_mean_ns = BB_NS_PER_MS;
    self->options.think_mean_ns =
        S_THINK_NS * BB_MIN(self->options.client_count, S_CLIENTS) / S_CLIENTS;
    bool is_good = s_episode(self, victim, fault);
    self->net.loss_per_mille = net.loss_per_mille;
    self->net.repeat_per_mille = net.repeat_per_mille;
    self->net.delay_mean_ns = net.delay_mean_ns;
    self->options.think_mean_ns = think_mean_ns;
    self->options.fault_phase_ns += sim_world_now_ns(self);
    return is_good;
}

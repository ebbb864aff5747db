// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_have_mark.h"
#include "node/ingest/bb_peer_split.h"
#include "node/ingest/bb_shard_internal.h" // looks inside, as a debugger would
#include "node/query/bb_store_split.h"
#include "tests/sim/sim_world.h"

#define S_SUSPECT_NS (1000 * BB_NS_PER_MS)

bb_shard_time_t sim_node_time(const sim_node_t *node)
{
    int64_t now_ns = sim_world_now_ns(node->world);
    return (bb_shard_time_t){.mono_ns = now_ns + node->mono_base_ns,
                             .wall_ns = SIM_WALL_NS_FIRST + now_ns + node->wall_offset_ns,
                             .is_skewed = node->is_skewed};
}

bool sim_node_is_fenced(const sim_node_t *node)
{
    bool is_fenced = false;
    for (uint32_t i = 0; i < node->store_count && node->is_up; i++) {
        is_fenced |= bb_store_is_fenced(node->stores[i].shard->store);
    }
    is_fenced |= node->is_up && bb_control_is_broken(node->control);
    return is_fenced;
}

bool sim_node_knows(const sim_node_t *node, const sim_node_t *peer)
{
    bool is_known = node == peer || bb_detector_is_up(node->detector, peer->index);
    for (uint32_t i = 0; i < node->store_count && is_known && node != peer; i++) {
        const bb_have_view_t *view = node->stores[i].shard->view;
        is_known = bb_stream_is_equal(bb_have_view_incarnation(view, peer->index), &peer->stream);
    }
    return is_known;
}

sim_store_t *sim_node_store(sim_node_t *node, uint32_t partition)
{
    return &node->stores[bb_store_of_partition(partition, node->store_count)];
}

const bb_have_set_t *sim_node_have(const sim_node_t *node, uint32_t partition)
{
    const sim_store_t *store = &node->stores[bb_store_of_partition(partition, node->store_count)];
    return node->is_up ? bb_store_have(store->shard->store, partition) : &node->have[partition];
}

static void s_drawn(const sim_node_t *node, bool is_up)
{
    sim_world_t *world = node->world;
    if (world->trace.picture) {
        sim_picture_up(world->trace.picture, sim_world_now_ns(world),
                       sim_line_of_node(&world->options, node->index), is_up);
    }
}

// ---- life ------------------------------------------------------------------------------------

void sim_node_arm(sim_node_t *node, bb_killpoint_point_t point, uint32_t nth)
{
    node->armed = point;
    node->armed_passes = nth;
    sim_trace_fault(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                    "node %u: dies at %s, pass %u", node->index, bb_killpoint_name(point), nth);
}

// bb_killpoint_t: the machine does nothing more, and nothing leaves it.
static void s_reach(void *context, bb_killpoint_point_t point)
{
    sim_node_t *node = context;
    if (point == node->armed && --node->armed_passes == 0 && !bb_sim_disk_is_halted(node->disk)) {
        node->armed = BB_KILLPOINT_COUNT;
        node->is_killed = true;
        node->world->counters.kills[point]++;
        bb_sim_disk_halt(node->disk);
    }
}

void sim_node_init(sim_world_t *self, uint32_t index)
{
    sim_node_t *node = &self->nodes[index];
    node->world = self;
    node->index = node->slot = index;
    node->dc = bb_topology_node(node->topology, index)->dc_index;
    node->disk = bb_sim_disk_new();
    node->mono_base_ns = (int64_t)bb_random_below(&self->random_clock, 1000 * BB_NS_PER_S);
    node->wall_offset_ns =
        (int64_t)bb_random_below(&self->random_clock, 4 * BB_NS_PER_S) - 2 * BB_NS_PER_S;
    node->armed = BB_KILLPOINT_COUNT;
    node->killpoint = (bb_killpoint_t){node, s_reach};
    bb_sim_disk_vfs(node->disk)->killpoint = &node->killpoint;
    node->store_count = self->options.store_count[index];
    for (uint32_t i = 0; i < node->store_count; i++) {
        node->stores[i] = (sim_store_t){.node = node, .index = i, .commit_due_ns = BB_NEVER_NS};
    }
}

void sim_node_init_twin(sim_node_t *node, const sim_node_t *of, uint32_t slot, bb_sim_disk_t *disk)
{
    *node = (sim_node_t){.world = of->world,
                         .index = of->index,
                         .slot = slot,
                         .dc = of->dc,
                         .disk = disk,
                         .topology = of->topology,
                         .epoch = of->epoch,
                         .mono_base_ns = of->mono_base_ns,
                         .wall_offset_ns = of->wall_offset_ns,
                         .armed = BB_KILLPOINT_COUNT,
                         .store_count = of->store_count};
    node->killpoint = (bb_killpoint_t){node, s_reach};
    bb_sim_disk_vfs(disk)->killpoint = &node->killpoint;
    for (uint32_t i = 0; i < node->store_count; i++) {
        node->stores[i] = (sim_store_t){.node = node, .index = i, .commit_due_ns = BB_NEVER_NS};
    }
}

static void s_draw_stream(sim_node_t *node)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t half = bb_random_next(&node->world->random_stream);
        memcpy(node->stream.bytes + 8 * i, &half, sizeof half);
    }
}

static void s_plan_start(sim_node_t *node, int64_t after_ns)
{
    sim_event_t event = {.kind = SIM_EVENT_START, .node = node->slot};
    sim_events_add(node->world->events, sim_world_now_ns(node->world) + after_ns, &event);
}

static void s_die(sim_node_t *node, bool is_power)
{
    if (is_power) {
        bb_sim_disk_crash(node->disk, &node->world->random_disk);
    } else {
        bb_sim_disk_die(node->disk, &node->world->random_disk);
    }
}

// As the supervisor does it. A planted bug goes on with the stream as it is.
static bb_error_t s_number_stream(sim_node_t *node, bb_fault_t *fault)
{
    bb_kv_driver_t *kv = bb_sim_kv(node->disk);
    kv->killpoint = &node->killpoint;
    const char *id = bb_topology_node(node->topology, node->index)->id;
    bb_control_starting_t starting = {.vfs = bb_sim_disk_vfs(node->disk),
                                      .kv = kv,
                                      .directory = "/",
                                      .node_id = id,
                                      .now_wall_ns = sim_node_time(node).wall_ns};
    // With a new disk the clock may have been lost, too.
    if (node->is_rebuilding && bb_random_chance(&node->world->random_stream, 1, 4)) {
        starting.now_wall_ns = BB_NS_PER_S;
    }
    uint32_t number = 0;
    bb_error_t error = bb_control_stream_number(&starting, &number, fault);
    if (error == BB_OK &&
        (node->world->options.planted != BB_PLANTED_STREAM_RESUMED || node->life == 1)) {
        uint8_t random[8];
        memcpy(random, node->stream.bytes + 8, sizeof random);
        node->stream = bb_stream_make(bb_stream_node_hash(id), number, random);
    }
    return error;
}

// All stores or none.
static bb_error_t s_open(sim_node_t *node, bb_fault_t *fault)
{
    bb_error_t error = s_number_stream(node, fault);
    for (uint32_t i = 0; i < node->store_count && error == BB_OK; i++) {
        error = sim_store_open(&node->stores[i], fault);
    }
    if (error == BB_OK) {
        error = sim_control_open(node, fault);
    }
    for (uint32_t i = 0; i < node->store_count && error != BB_OK; i++) {
        if (node->stores[i].shard) {
            bb_shard_close(&node->stores[i].shard);
        }
    }
    return error;
}

void sim_node_start(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (node->is_up || sim_twin_is_held_back(node)) {
        return; // two faults took it down; the first start has brought it back
    }
    if (world->options.planted != BB_PLANTED_STREAM_RESUMED || node->life == 0) {
        s_draw_stream(node);
    }
    node->life++;
    world->counters.starts++;
    bool is_faulty =
        !world->is_calm && node->life > 1 && bb_random_chance(&world->random_disk, 1, 6);
    if (is_faulty) { // dies again while it recovers, or soon after
        bb_sim_disk_halt_at(node->disk, bb_random_between(&world->random_disk, 1, 120));
    }
    bb_fault_t fault = {0};
    bb_error_t error = s_open(node, &fault);
    sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                   "node %u: start %u: %s", node->index, node->life,
                   error == BB_OK ? "ok" : bb_error_name(error));
    s_drawn(node, error == BB_OK);
    if (error != BB_OK) {
        // A disk that fails or is full: the process ends with a sentence and is started again.
        bool is_expected = bb_sim_disk_is_halted(node->disk) ||
                           (!world->is_calm && (error == BB_ERR_IO || error == BB_ERR_DISK_FULL));
        bool is_named = node->is_damaged && !is_expected && error != BB_ERR_IO;
        world->counters.damage_refused_to_open += is_named;
        if (is_named) {
            // It says what is wrong and does not open: its operator gives it an empty disk.
            sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                           "node %u: %s", node->index, fault.text);
            node->is_damaged = false;
            if (!sim_damage_is_covered(world, node->index)) {
                node->is_given_up = true;
                return;
            }
            sim_damage_format(node);
        } else if (!is_expected) {
            sim_trace_fail(&world->trace, "node %u does not open: %s %s", node->index,
                           bb_error_name(error), fault.text);
        }
        world->counters.open_failures++;
        if (bb_sim_disk_is_halted(node->disk)) {
            s_die(node, bb_random_chance(&world->random_disk, 1, 2));
        }
        s_plan_start(node, 100 * BB_NS_PER_MS);
        return;
    }
    node->is_up = true;
    for (uint32_t i = 0; i < node->store_count; i++) {
        sim_store_check_have(&node->stores[i]);
        node->stores[i].commit_due_ns = BB_NEVER_NS;
    }
    memset(node->last_seq, 0, sizeof node->last_seq);
    node->is_stop_planned = false;
    node->is_skewed = false;
    bb_detector_options_t detector = {.node_count = world->options.node_count,
                                      .self_index = node->index,
                                      .heartbeat_ns = SIM_HEARTBEAT_NS,
                                      .suspect_ns = S_SUSPECT_NS};
    node->detector = bb_detector_new(&detector);
    sim_route_open(node);
    sim_event_t event = {.kind = SIM_EVENT_HEARTBEAT, .node = node->slot, .life = node->life};
    sim_events_add(world->events, sim_world_now_ns(world), &event);
    for (uint32_t i = 0; i < node->store_count; i++) {
        sim_store_touch(&node->stores[i]);
    }
}

static void s_release(sim_node_t *node, uint64_t job_ops)
{
    for (uint32_t i = 0; i < node->store_count; i++) {
        sim_store_release(&node->stores[i], job_ops);
    }
    node->is_up = false;
    bb_control_close(&node->control);
    bb_detector_destroy(&node->detector);
    sim_route_close(node);
}

void sim_node_stop(sim_node_t *node, bool is_power, int64_t back_after_ns)
{
    sim_world_t *world = node->world;
    sim_trace_fault(&world->trace, sim_line_of_node(&world->options, node->index), "node %u: %s",
                    node->index, is_power ? "power loss" : "process dies");
    s_drawn(node, false);
    world->counters.power_losses += is_power;
    world->counters.process_deaths += !is_power;
    s_release(node, bb_random_below(&world->random_disk, 40));
    s_die(node, is_power);
    node->is_killed = false;
    node->life++; // events of this life find nobody
    node->paused_until_ns = 0;
    s_plan_start(node, back_after_ns);
}

void sim_node_destroy(sim_node_t *node)
{
    s_release(node, 0);
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        bb_have_set_clear(&node->have[p]);
        bb_have_set_clear(&node->lost[p]);
        for (uint32_t e = 0; e < SIM_EPOCHS_MAX; e++) {
            bb_have_set_clear(&node->held_at[e][p]);
        }
    }
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_buffer_drop(&node->stores[i].direct_envelope);
        bb_buffer_drop(&node->stores[i].direct_body);
    }
    if (node->disk) {
        bb_sim_disk_destroy(&node->disk);
    }
    if (node->old_disk) {
        bb_sim_disk_destroy(&node->old_disk);
    }
    bb_topology_destroy(&node->topology);
}

// After each call: the disk may have died under it, or a sync failed.
static void s_after(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (bb_sim_disk_is_halted(node->disk)) {
        world->counters.halts++;
        bool is_power = !node->is_killed || bb_random_chance(&world->random_disk, 1, 2);
        sim_node_stop(node, is_power,
                      sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS));
        return;
    }
    if (sim_node_is_fenced(node) && !node->is_stop_planned) {
        node->is_stop_planned = true;
        world->counters.fences++;
        sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                       "node %u: fenced", node->index);
        sim_event_t event = {.kind = SIM_EVENT_STOP, .node = node->slot, .life = node->life};
        sim_events_add(world->events,
                       sim_world_now_ns(world) +
                           sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS),
                       &event);
    }
    sim_loss_look(node);
    sim_twin_look(node);
}

// ---- heartbeats ------------------------------------------------------------------------------

static void s_detected(sim_node_t *node, const bb_detector_actions_t *actions)
{
    node->is_skewed = actions->is_skewed;
    for (uint32_t i = 0; i < actions->change_count; i++) {
        const bb_detector_change_t *change = &actions->changes[i];
        sim_counters_t *counters = &node->world->counters;
        bool is_new = !bb_stream_is_equal(&node->met[change->peer_index], &change->incarnation);
        node->met[change->peer_index] = change->incarnation;
        counters->detector_ups += change->is_up && !is_new;
        counters->detector_new_processes += change->is_up && is_new;
        counters->detector_downs += !change->is_up;
        sim_trace_note(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                       "node %u: node %u is %s", node->index, change->peer_index,
                       change->is_up ? "up" : "down");
        sim_control_peer(node, change->peer_index, change->is_up);
        for (uint32_t s = 0; s < node->store_count; s++) {
            bb_shard_peer_state(node->stores[s].shard, sim_node_time(node), change->peer_index,
                                change->is_up, &change->incarnation,
                                node->world->nodes[change->peer_index].store_count);
            sim_store_touch(&node->stores[s]);
        }
    }
}

static uint64_t s_have_mark(const sim_node_t *node)
{
    uint64_t versions[BB_STORES_MAX];
    for (uint32_t i = 0; i < node->store_count; i++) {
        versions[i] = bb_shard_have_version(node->stores[i].shard);
    }
    return bb_have_mark(&node->stream, node->standing, versions, node->store_count);
}

static void s_heartbeat(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bb_shard_time_t time = sim_node_time(node);
    bb_message_t message = {.kind = BB_KIND_HEARTBEAT,
                            .epoch = bb_topology_epoch(node->topology),
                            .heartbeat = {.incarnation = node->stream,
                                          .wall_ns = time.wall_ns,
                                          .ready = true,
                                          .store_count = node->store_count,
                                          .sync_latency_us = sim_route_beat(node),
                                          .registry_digest = bb_control_digest(node->control),
                                          .standing = node->standing,
                                          .boot = bb_control_boot(node->control),
                                          .have_mark = s_have_mark(node)}};
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(&message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL)};
    for (uint32_t peer = 0; peer < world->options.node_count; peer++) {
        if (peer != node->index) {
            sim_net_to_peer(world, node->index, peer, false, false, &out);
        }
    }
    bb_buffer_drop(&out.envelope);
    bb_detector_actions_t actions;
    bb_detector_tick(node->detector, time.mono_ns, &actions);
    s_detected(node, &actions);
    sim_control_look(node);
    sim_event_t event = {.kind = SIM_EVENT_HEARTBEAT, .node = node->slot, .life = node->life};
    sim_events_add(world->events, sim_world_now_ns(world) + SIM_HEARTBEAT_NS, &event);
}

// ---- messages --------------------------------------------------------------------------------

typedef struct {
    sim_node_t *node;
    uint32_t from;
} s_split_t;

// bb_peer_split_fn
static void s_to_store(void *context, uint32_t store_index, const bb_message_t *message,
                       bb_buffer_t *chunks, bb_buffer_t *batch, bool is_whole)
{
    const s_split_t *split = context;
    sim_store_t *store = &split->node->stores[store_index];
    split->node->world->counters.messages_split += !is_whole;
    if (message->kind == BB_KIND_REPLICATE && message->request_id == 0) {
        bb_shard_waited(store->shard, sim_node_time(split->node).mono_ns, BB_NS_PER_S);
    }
    bb_shard_peer(store->shard, sim_node_time(split->node), split->from, message, chunks, batch);
    sim_store_touch(store);
}

// Between honest nodes that is a finding. A liar is told what it asked for.
static void s_refuse(sim_node_t *node, uint32_t peer, const char *how, const char *why)
{
    sim_world_t *world = node->world;
    if (sim_hostile_is(world, peer) || sim_hostile_is(world, node->index)) {
        world->counters.hostile_refused++;
    } else {
        sim_trace_fail(&world->trace, "node %u %s a message of node %u: %s", node->index, how, peer,
                       why);
    }
}

static void s_on_peer(sim_node_t *node, const sim_event_t *event)
{
    sim_world_t *world = node->world;
    sim_world_note(node, SIM_STORM_MESSAGE, 0);
    bb_message_t message;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(event->envelope), &fault);
    if (error != BB_OK) {
        s_refuse(node, event->other, "cannot read", fault.text);
        return;
    }
    sim_trace_fold(&world->trace, message.kind);
    if (message.kind == BB_KIND_HEARTBEAT) {
        bb_shard_time_t time = sim_node_time(node);
        bb_detector_heartbeat_t heartbeat = {.peer_index = event->other,
                                             .incarnation = message.heartbeat.incarnation,
                                             .peer_wall_ns = message.heartbeat.wall_ns,
                                             .own_wall_ns = time.wall_ns};
        bb_detector_actions_t actions;
        error = bb_detector_heartbeat(node->detector, time.mono_ns, &heartbeat, &actions);
        BB_ASSERT(error == BB_OK);
        s_detected(node, &actions);
        sim_route_heard(node, event->other, &message.heartbeat);
        sim_control_heard(node, event->other, &message.heartbeat);
        bool is_told = node->have_marks[event->other] == message.heartbeat.have_mark;
        node->have_marks[event->other] = message.heartbeat.have_mark;
        for (uint32_t i = 0; i < node->store_count && !is_told; i++) {
            bb_shard_peer_mark(node->stores[i].shard, time, event->other,
                               message.heartbeat.have_mark);
            sim_store_touch(&node->stores[i]);
        }
    } else if (message.kind == BB_KIND_REGISTRY) {
        sim_control_receive(node, event->other, &message);
    } else {
        sim_trace_line(&world->trace, "node %u: %s of node %u", node->index,
                       bb_kind_name(message.kind), event->other);
        s_split_t split = {node, event->other};
        error = bb_peer_split(node->store_count, &message, event->chunks, event->body, s_to_store,
                              &split, &fault);
        if (error != BB_OK) {
            s_refuse(node, event->other, "refuses", fault.text);
        }
    }
    bb_message_close(&message);
}

// ---- events ----------------------------------------------------------------------------------

void sim_node_event(sim_node_t *node, sim_event_t *event)
{
    sim_world_t *world = node->world;
    if (event->kind == SIM_EVENT_START) {
        sim_node_start(node);
        return;
    }
    if (!node->is_up || (event->life != 0 && event->life != node->life)) {
        return;
    }
    if (event->kind == SIM_EVENT_STOP) {
        // A fenced node is restarted, with its machine or alone. One draw a statement: the order of
        // arguments is the compiler's.
        bool is_power = bb_random_chance(&world->random_disk, 1, 2);
        sim_node_stop(node, is_power,
                      sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS));
        return;
    }
    if (event->kind == SIM_EVENT_PEER && sim_net_is_cut(world, event->other, node->index)) {
        world->counters.messages_cut++;
        return;
    }
    int64_t resume_ns = BB_MAX(node->paused_until_ns, sim_route_resume_ns(node));
    if (resume_ns > sim_world_now_ns(world)) {
        if (event->kind == SIM_EVENT_COMMIT) {
            sim_store_t *store = &node->stores[event->other];
            if (event->time_ns == store->commit_due_ns) {
                store->commit_due_ns = BB_NEVER_NS;
                sim_store_plan_commit(store, resume_ns);
            }
            return;
        }
        sim_events_add(world->events, resume_ns, event);
        event->envelope = event->chunks = event->body = NULL; // they went along
        return;
    }
    switch (event->kind) {
    case SIM_EVENT_COMMIT:
        sim_store_on_commit(&node->stores[event->other]);
        break;
    case SIM_EVENT_HEARTBEAT:
        s_heartbeat(node);
        break;
    case SIM_EVENT_CONTROL:
        sim_control_step(node);
        break;
    case SIM_EVENT_PEER:
        s_on_peer(node, event);
        break;
    case SIM_EVENT_REQUEST:
        sim_store_on_request(&node->stores[event->other], event);
        break;
    case SIM_EVENT_JOB:
        sim_store_on_job(&node->stores[event->other]);
        break;
    case SIM_EVENT_SCAN:
        sim_store_on_scan(&node->stores[event->other], event->number);
        break;
    default:
        BB_ASSERT(!"an event that a node never gets");
    }
    s_after(node);
}

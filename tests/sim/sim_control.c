// SPDX-License-Identifier: Apache-2.0
// The control actor of a simulated node: registry, boot number and standing, on the node's disk.
#include <stdio.h>
#include <string.h>

// The simulator looks inside the shard as a debugger would: for what was promised.
#include "node/ingest/bb_shard_internal.h"
#include "tests/sim/sim_world.h"
#include "tests/support/bb_sim_disk_attach.h"

#define S_STEP_NS     (200 * BB_NS_PER_US) // mean of: mailbox empty, sync done
#define S_WAKE_NS_MIN (1 * BB_NS_PER_MS)
#define S_MARK_NS     (400 * BB_NS_PER_MS) // runs are short

static void s_plan(sim_node_t *node, int64_t due_ns)
{
    if (due_ns < node->control_due_ns) {
        node->control_due_ns = due_ns;
        sim_event_t event = {.kind = SIM_EVENT_CONTROL, .node = node->slot, .life = node->life};
        sim_events_add(node->world->events, due_ns, &event);
    }
}

static void s_touch(sim_node_t *node)
{
    sim_world_t *world = node->world;
    s_plan(node, sim_world_now_ns(world) + sim_world_exponential(&world->random_disk, S_STEP_NS));
}

static void s_send(void *context, uint32_t peer_index, const bb_message_t *message)
{
    sim_node_t *node = context;
    if (bb_sim_disk_is_halted(node->disk)) {
        return;
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL)};
    sim_net_to_peer(node->world, node->index, peer_index, false, true, &out);
    bb_buffer_drop(&out.envelope);
}

bb_error_t sim_control_open(sim_node_t *node, bb_fault_t *fault)
{
    bb_control_options_t options = {.topology = node->topology,
                                    .vfs = bb_sim_disk_vfs(node->disk),
                                    .kv = bb_sim_disk_kv_slot(node->disk), // as the stores made it
                                    .directory = "/",
                                    .store_count = node->store_count,
                                    .incarnation = node->stream,
                                    .mark_interval_ns = S_MARK_NS,
                                    .context = node,
                                    .send = s_send};
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t half = bb_random_next(&node->world->random_stream);
        memcpy(options.disk_id + 8 * i, &half, sizeof half);
    }
    node->standing = BB_STANDING_JOINING;
    node->promises = 0;
    node->was_told_to_rebuild = false;
    node->forgotten = (bb_forgotten_t){0};
    node->forgotten_version = 0;
    node->is_settled = false;
    memset(node->is_barred, 0, sizeof node->is_barred);
    memset(node->have_marks, 0, sizeof node->have_marks);
    node->control_due_ns = BB_NEVER_NS;
    bb_error_t error =
        bb_control_open(&options, sim_node_time(node).mono_ns, &node->control, fault);
    if (error == BB_OK) {
        s_touch(node);
    }
    return error;
}

uint64_t sim_control_number(const sim_node_t *node, const sim_node_t *of)
{
    bb_registry_entry_t entry;
    const char *id = bb_topology_node(of->topology, of->index)->id;
    return bb_registry_get(bb_control_registry(node->control), BB_REGISTRY_BOOT,
                           bb_slice(id, strlen(id)), &entry)
               ? entry.number
               : 0;
}

// What the shards are told. A planted bug believes every disk, or counts on one too early.
static bb_standing_t s_standing(const sim_node_t *node)
{
    bb_standing_t standing = bb_control_standing(node->control);
    uint32_t planted = node->world->options.planted;
    if (planted == BB_PLANTED_TWIN_NOT_FENCED && standing == BB_STANDING_FENCED) {
        return BB_STANDING_COUNTING;
    }
    if (planted == BB_PLANTED_BOOT_NOT_CHECKED ||
        (planted == BB_PLANTED_COUNT_BEFORE_REBUILT && standing == BB_STANDING_REBUILDING)) {
        return BB_STANDING_COUNTING;
    }
    return standing;
}

// The stores hear of what is forgotten. A process that is itself ends soon.
static void s_forget(sim_node_t *node, bb_shard_time_t time)
{
    if (!bb_control_forgotten(node->control, &node->forgotten_version, &node->forgotten)) {
        return;
    }
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_shard_forget(node->stores[i].shard, time, &node->forgotten);
        sim_store_touch(&node->stores[i]);
    }
    if (bb_control_is_stale(node->control) && !node->is_stop_planned) {
        node->is_stop_planned = true;
        node->world->counters.stale_processes++;
        sim_trace_note(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                       "node %u: this start is forgotten", node->index);
        sim_event_t event = {.kind = SIM_EVENT_STOP, .node = node->slot, .life = node->life};
        sim_events_add(node->world->events, sim_world_now_ns(node->world) + BB_NS_PER_MS, &event);
    }
}

void sim_control_step(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (sim_world_now_ns(world) < node->control_due_ns) {
        return; // of an earlier plan
    }
    node->control_due_ns = BB_NEVER_NS;
    sim_world_note(node, SIM_STORM_STEP, 0);
    bb_shard_time_t time = sim_node_time(node);
    bb_control_step(node->control, time.mono_ns);
    if (bb_control_standing(node->control) == BB_STANDING_REBUILDING &&
        !node->was_told_to_rebuild) {
        node->was_told_to_rebuild = true;
        if (!sim_twin_is_there(world)) {
            sim_loss_found(node);
        }
    }
    // A disk that is full may not take it down for a while: the next start would rebuild again.
    if (bb_control_standing(node->control) == BB_STANDING_COUNTING && node->is_rebuilding &&
        bb_control_is_written(node->control)) {
        sim_loss_healed(node);
    }
    s_forget(node, time); // before a standing that counts
    bb_standing_t standing = s_standing(node);
    if (standing != node->standing) {
        node->standing = standing;
        world->counters.standings_counting += standing == BB_STANDING_COUNTING;
        if (standing == BB_STANDING_FENCED) {
            sim_twin_fenced(node);
        }
        sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                       "node %u: %s, boot %u", node->index, bb_standing_name(standing),
                       bb_control_boot(node->control));
        for (uint32_t i = 0; i < node->store_count; i++) {
            bb_shard_set_standing(node->stores[i].shard, time, standing);
            sim_store_touch(&node->stores[i]);
        }
    }
    int64_t wake_mono_ns = bb_control_wake_mono_ns(node->control, time.mono_ns);
    if (wake_mono_ns != BB_NEVER_NS) {
        s_plan(node,
               BB_MAX(wake_mono_ns - node->mono_base_ns, sim_world_now_ns(world) + S_WAKE_NS_MIN));
    }
}

// With each heartbeat: has anything been promised, is what was lost back?
void sim_control_look(sim_node_t *node)
{
    uint64_t promises = 0;
    bool is_rebuilt = true, is_settled = true;
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_shard_t *shard = node->stores[i].shard;
        promises += shard->stats.promises;
        is_settled &= bb_shard_is_settled(shard);
        is_rebuilt =
            is_rebuilt && node->standing == BB_STANDING_REBUILDING && bb_shard_is_rebuilt(shard);
    }
    if (promises != node->promises) {
        node->promises = promises;
        bb_control_promised(node->control);
        s_touch(node);
    }
    if (is_settled && !node->is_settled) {
        node->is_settled = true;
        bb_control_settled(node->control);
        s_touch(node);
    }
    if (is_rebuilt) {
        bb_control_rebuilt(node->control);
        s_touch(node);
    }
}

void sim_control_peer(sim_node_t *node, uint32_t peer_index, bool is_up)
{
    bb_control_peer(node->control, sim_node_time(node).mono_ns, peer_index, is_up);
    s_touch(node);
}

void sim_control_heard(sim_node_t *node, uint32_t peer_index, const bb_heartbeat_t *heartbeat)
{
    bb_shard_time_t time = sim_node_time(node);
    if (heartbeat->registry_digest != bb_control_digest(node->control)) {
        bb_control_hear(node->control, time.mono_ns, peer_index, heartbeat->registry_digest);
        s_touch(node);
    }
    bool is_barred = heartbeat->standing != BB_STANDING_COUNTING;
    if (is_barred != node->is_barred[peer_index]) {
        node->is_barred[peer_index] = is_barred;
        for (uint32_t i = 0; i < node->store_count; i++) {
            bb_shard_peer_standing(node->stores[i].shard, time, peer_index, !is_barred);
            sim_store_touch(&node->stores[i]);
        }
    }
}

void sim_control_receive(sim_node_t *node, uint32_t peer_index, const bb_message_t *message)
{
    bb_error_t error = bb_control_receive(node->control, peer_index, &message->registry);
    if (error != BB_OK && sim_hostile_is(node->world, peer_index)) {
        node->world->counters.hostile_refused++;
    } else if (error != BB_OK) {
        sim_trace_fail(&node->world->trace, "node %u refuses a registry message of node %u: %s",
                       node->index, peer_index, bb_error_name(error));
    }
    s_touch(node);
}

// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scale/scale_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The cluster looks inside the shard for its have-sets.
#include "node/ingest/bb_have_mark.h"
#include "node/ingest/bb_shard_internal.h"

#define S_WALL_NS_FIRST INT64_C(1768046400000000000) // 2026-01-10T12:00:00Z
#define S_SUSPECT_NS    (1 * BB_NS_PER_S)
#define S_DELAY_NEAR_NS (500 * BB_NS_PER_US)
#define S_DELAY_FAR_NS  (15 * BB_NS_PER_MS)
#define S_COMMIT_NS     (300 * BB_NS_PER_US) // from the first message to the sync's end
#define S_WAKE_NS_MIN   (1 * BB_NS_PER_MS)
#define S_JOB_NS        (10 * BB_NS_PER_MS)
#define S_FRAMES        4u // batteries of a write

static int64_t s_now_ns(const scale_cluster_t *self)
{
    return sim_events_now_ns(self->events);
}

static bb_shard_time_t s_time(const scale_node_t *node)
{
    int64_t now_ns = s_now_ns(node->cluster) + BB_NS_PER_S;
    return (bb_shard_time_t){.mono_ns = now_ns, .wall_ns = S_WALL_NS_FIRST + now_ns};
}

static int64_t s_delay_ns(const scale_node_t *from, const scale_node_t *to)
{
    return from->dc == to->dc ? S_DELAY_NEAR_NS : S_DELAY_FAR_NS;
}

static void s_plan(scale_node_t *node, sim_event_kind_t kind, int64_t due_ns)
{
    sim_event_t event = {.kind = kind, .node = node->index, .life = node->life};
    sim_events_add(node->cluster->events, due_ns, &event);
}

static void s_plan_commit(scale_node_t *node, int64_t due_ns)
{
    if (node->shard && due_ns < node->commit_due_ns) {
        node->commit_due_ns = due_ns;
        s_plan(node, SIM_EVENT_COMMIT, due_ns);
    }
}

static void s_touch(scale_node_t *node)
{
    s_plan_commit(node, s_now_ns(node->cluster) + S_COMMIT_NS);
}

// ---- what shards say -------------------------------------------------------------------------

static uint64_t s_frame_bytes(const bb_buffer_t *frame)
{
    return frame ? bb_buffer_slice(frame).length + SCALE_FRAME_BYTES : 0;
}

static void s_count(scale_cluster_t *self, const bb_outbound_t *message, uint32_t receivers)
{
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(message->envelope), NULL);
    BB_ASSERT(error == BB_OK && decoded.kind < SCALE_KINDS_MAX);
    self->counts.messages[decoded.kind] += receivers;
    self->counts.bytes[decoded.kind] +=
        receivers * (s_frame_bytes(message->envelope) + s_frame_bytes(message->chunks) +
                     s_frame_bytes(message->body));
    bb_message_close(&decoded);
}

static bb_buffer_t *s_keep(bb_buffer_t *buffer)
{
    return buffer ? bb_buffer_keep(buffer) : NULL;
}

static void s_send(void *context, uint32_t peer_index, bool bulk, const bb_outbound_t *message)
{
    (void)bulk;
    scale_node_t *node = context;
    scale_cluster_t *self = node->cluster;
    scale_node_t *peer = &self->nodes[peer_index];
    s_count(self, message, 1);
    sim_event_t event = {.kind = SIM_EVENT_PEER,
                         .node = peer_index,
                         .other = node->index,
                         .life = peer->life,
                         .envelope = s_keep(message->envelope),
                         .chunks = s_keep(message->chunks),
                         .body = s_keep(message->body)};
    sim_events_add(self->events, s_now_ns(self) + s_delay_ns(node, peer), &event);
}

static void s_answer(void *context, uint64_t ticket, const bb_outbound_t *message)
{
    (void)ticket;
    scale_cluster_t *self = ((scale_node_t *)context)->cluster;
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(message->envelope), NULL);
    BB_ASSERT(error == BB_OK);
    self->counts.writes_acked += decoded.kind == BB_KIND_WRITE_REPLY;
    self->counts.writes_failed += decoded.kind != BB_KIND_WRITE_REPLY;
    bb_message_close(&decoded);
}

static void s_scan(void *context, uint64_t ticket, uint64_t request_id, bb_snapshot_t *snapshot,
                   bb_buffer_t *request, const bb_missing_t *missing, uint32_t missing_count,
                   bb_buffer_t *session, int64_t deadline_mono_ns)
{
    (void)context, (void)ticket, (void)request_id, (void)request, (void)missing, (void)session;
    (void)missing_count, (void)deadline_mono_ns;
    bb_snapshot_close(&snapshot); // nobody asks
}

static void s_job(void *context, bb_store_job_t *job)
{
    scale_node_t *node = context;
    node->job = job;
    s_plan(node, SIM_EVENT_JOB, s_now_ns(node->cluster) + S_JOB_NS);
}

// ---- life ------------------------------------------------------------------------------------

static bb_topology_t *s_build_topology(const scale_options_t *options)
{
    static const char *const dc_names[SCALE_DCS_MAX] = {"east", "middle", "west"};
    bb_placement_dc_t dcs[SCALE_DCS_MAX];
    for (uint32_t i = 0; i < options->dc_count; i++) {
        dcs[i] = (bb_placement_dc_t){dc_names[i], options->replicas};
    }
    static char ids[BB_NODES_MAX][12];
    static bb_topology_node_t nodes[BB_NODES_MAX];
    for (uint32_t i = 0; i < options->node_count; i++) {
        snprintf(ids[i], sizeof ids[i], "n%u", i);
        nodes[i] = (bb_topology_node_t){.id = ids[i],
                                        .dc = dc_names[i % options->dc_count],
                                        .rack = "",
                                        .weight = BB_PLACEMENT_WEIGHT_DEFAULT,
                                        .host = "sim",
                                        .client_port = 1,
                                        .peer_port = 2,
                                        .bulk_port = 3,
                                        .http_port = 4};
        memcpy(nodes[i].public_key, &(uint32_t){i + 1}, sizeof i);
    }
    const bb_topology_options_t made = {.cluster_name = "scale",
                                        .placement_key = {7},
                                        .epoch = 1,
                                        .partition_count = options->partition_count,
                                        .dc_count = options->dc_count,
                                        .dcs = dcs,
                                        .node_count = options->node_count,
                                        .nodes = nodes,
                                        .self_index = 0};
    bb_fault_t fault = {0};
    bb_topology_t *topology = NULL;
    if (bb_topology_new(&made, &topology, &fault) != BB_OK) {
        fprintf(stderr, "busbar-scale: %s\n", fault.text);
        exit(2);
    }
    return topology;
}

void scale_cluster_start(scale_cluster_t *self, uint32_t index)
{
    scale_node_t *node = &self->nodes[index];
    node->life++;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t half = bb_random_next(&self->random);
        memcpy(node->stream.bytes + 8 * i, &half, sizeof half);
    }
    char id[16];
    snprintf(id, sizeof id, "n%u", index);
    const bb_shard_options_t options = {
        .store = {.vfs = bb_sim_disk_vfs(node->disk),
                  .kv = bb_sim_kv(node->disk),
                  .directory = "/store",
                  .node_id = id,
                  .store_count = 1,
                  .partition_count = self->options.partition_count,
                  .memory_bytes = 4u << 20,
                  .journal_file_bytes = 256u << 10},
        .topology = node->topology,
        .stream = node->stream,
        .in_flight_bytes_max = 1u << 20,
        .peer_unacked_bytes_max = 1u << 20,
        .have_report_interval_ns = self->options.report_ns,
        .out = {.context = node, .send = s_send, .answer = s_answer, .scan = s_scan, .job = s_job},
    };
    bb_store_report_t report;
    bb_fault_t fault = {0};
    if (bb_shard_open(&options, &report, &node->shard, &fault) != BB_OK) {
        fprintf(stderr, "busbar-scale: node %u: %s\n", index, fault.text);
        exit(1);
    }
    const bb_detector_options_t detector = {.node_count = self->options.node_count,
                                            .self_index = index,
                                            .heartbeat_ns = self->options.heartbeat_ns,
                                            .suspect_ns = S_SUSPECT_NS};
    node->detector = bb_detector_new(&detector);
    node->commit_due_ns = BB_NEVER_NS;
    memset(node->have_marks, 0, sizeof node->have_marks);
    s_plan(node, SIM_EVENT_HEARTBEAT,
           s_now_ns(self) +
               (int64_t)bb_random_below(&self->random, (uint64_t)self->options.heartbeat_ns));
    s_plan(node, SIM_EVENT_CLIENT, s_now_ns(self));
    s_touch(node);
}

void scale_cluster_stop(scale_cluster_t *self, uint32_t index)
{
    scale_node_t *node = &self->nodes[index];
    node->life++; // what is on its way to it is lost
    if (node->job) {
        bb_fault_t fault = {0};
        bb_error_t error = bb_store_job_run(node->job, &fault);
        bb_shard_job_done(node->shard, s_time(node), node->job, error);
        node->job = NULL;
    }
    bb_sim_disk_crash(node->disk, &self->random);
    bb_shard_close(&node->shard);
    bb_detector_destroy(&node->detector);
}

scale_cluster_t *scale_cluster_new(const scale_options_t *options)
{
    scale_cluster_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->events = sim_events_new(options->seed);
    self->random = bb_random_seed(options->seed);
    self->nodes = bb_alloc_zero(options->node_count, sizeof *self->nodes);
    for (uint32_t i = 0; i < options->node_count; i++) {
        scale_node_t *node = &self->nodes[i];
        *node = (scale_node_t){.cluster = self, .index = i};
        node->topology =
            i == 0 ? s_build_topology(options) : bb_topology_seen_by(self->nodes[0].topology, i);
        node->dc = bb_topology_node(node->topology, i)->dc_index;
        node->disk = bb_sim_disk_new();
        scale_cluster_start(self, i);
    }
    return self;
}

void scale_cluster_destroy(scale_cluster_t **self)
{
    if (!*self) {
        return;
    }
    for (uint32_t i = 0; i < (*self)->options.node_count; i++) {
        scale_node_t *node = &(*self)->nodes[i];
        if (node->shard) {
            scale_cluster_stop(*self, i);
        }
        bb_sim_disk_destroy(&node->disk);
        bb_topology_destroy(&node->topology);
    }
    sim_events_destroy(&(*self)->events);
    free((*self)->nodes);
    free(*self);
    *self = NULL;
}

// ---- events ----------------------------------------------------------------------------------

static void s_detected(scale_node_t *node, const bb_detector_actions_t *actions)
{
    for (uint32_t i = 0; i < actions->change_count; i++) {
        const bb_detector_change_t *change = &actions->changes[i];
        bb_shard_peer_state(node->shard, s_time(node), change->peer_index, change->is_up,
                            &change->incarnation, 1);
        s_touch(node);
    }
}

static uint64_t s_have_mark(const scale_node_t *node)
{
    uint64_t version = bb_shard_have_version(node->shard);
    return bb_have_mark(&node->stream, BB_STANDING_COUNTING, &version, 1);
}

// Arrives everywhere in the same moment: what is counted is bytes, and the detector's verdicts do
// not hang on half milliseconds.
static void s_heartbeat(scale_node_t *node)
{
    static bb_detector_actions_t actions;
    scale_cluster_t *self = node->cluster;
    bb_message_t message = {.kind = BB_KIND_HEARTBEAT, .epoch = 1};
    message.heartbeat = (bb_heartbeat_t){.incarnation = node->stream,
                                         .wall_ns = s_time(node).wall_ns,
                                         .ready = true,
                                         .store_count = 1,
                                         .have_mark = s_have_mark(node)};
    uint8_t *data;
    size_t length;
    bb_message_encode(&message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL)};
    s_count(self, &out, self->options.node_count - 1);
    bb_buffer_drop(&out.envelope);
    for (uint32_t i = 0; i < self->options.node_count; i++) {
        scale_node_t *peer = &self->nodes[i];
        if (i == node->index || !peer->shard) {
            continue;
        }
        const bb_detector_heartbeat_t heartbeat = {.peer_index = node->index,
                                                   .incarnation = node->stream,
                                                   .peer_wall_ns = message.heartbeat.wall_ns,
                                                   .own_wall_ns = s_time(peer).wall_ns};
        bb_error_t error =
            bb_detector_heartbeat(peer->detector, s_time(peer).mono_ns, &heartbeat, &actions);
        BB_ASSERT(error == BB_OK);
        s_detected(peer, &actions);
        if (peer->have_marks[node->index] != message.heartbeat.have_mark) {
            peer->have_marks[node->index] = message.heartbeat.have_mark;
            bb_shard_peer_mark(peer->shard, s_time(peer), node->index, message.heartbeat.have_mark);
            s_touch(peer);
        }
    }
    bb_detector_tick(node->detector, s_time(node).mono_ns, &actions);
    s_detected(node, &actions);
    s_plan(node, SIM_EVENT_HEARTBEAT, s_now_ns(self) + self->options.heartbeat_ns);
}

// Some frames of batteries that this node holds.
static void s_write(scale_node_t *node)
{
    scale_cluster_t *self = node->cluster;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    while (bb_batch_builder_frame_count(builder) < S_FRAMES) {
        char id[16];
        int length =
            snprintf(id, sizeof id, "bat-%06u", (uint32_t)bb_random_below(&self->random, 1000000));
        uint32_t partition = bb_topology_partition_of(node->topology, id, (size_t)length);
        if (!bb_topology_is_replica(node->topology, partition, node->index)) {
            continue;
        }
        uint32_t battery = 0, shape = 0, order[1];
        const bb_slice_t name = bb_slice("voltage_v", 9);
        const uint8_t type = BB_TYPE_FLOAT64;
        const uint64_t value = bb_bits_of_double(48.5);
        bb_error_t error = bb_batch_builder_battery(
            builder, partition, bb_slice(id, (size_t)length), NULL, 0, &battery, NULL);
        BB_ASSERT(error == BB_OK);
        error = bb_batch_builder_shape(builder, &name, &type, 1, &shape, order, NULL);
        BB_ASSERT(error == BB_OK);
        error = bb_batch_builder_frame(builder, battery, shape, s_time(node).wall_ns, &value);
        BB_ASSERT(error == BB_OK);
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    bb_buffer_t *batch = bb_buffer_new(data, length, NULL, NULL);
    self->counts.writes_sent++;
    self->counts.payload_bytes += length;
    bb_message_t write = {.kind = BB_KIND_WRITE,
                          .epoch = 1,
                          .request_id = ++self->ticket,
                          .timeout_ns = 5 * BB_NS_PER_S,
                          .write = {.level = BB_LEVEL_LOCAL_QUORUM}};
    bb_message_encode(&write, &data, &length);
    bb_buffer_t *envelope = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK);
    bb_shard_client(node->shard, s_time(node), self->ticket, &decoded, envelope, batch);
    bb_message_close(&decoded);
    bb_buffer_drop(&envelope);
    bb_buffer_drop(&batch);
    s_touch(node);
}

static void s_on_client(scale_node_t *node)
{
    scale_cluster_t *self = node->cluster;
    int64_t every_ns = self->write_every_ns;
    if (every_ns > 0) {
        s_write(node);
    }
    every_ns = every_ns > 0 ? every_ns : 100 * BB_NS_PER_MS;
    s_plan(node, SIM_EVENT_CLIENT,
           s_now_ns(self) + every_ns / 2 +
               (int64_t)bb_random_below(&self->random, (uint64_t)every_ns));
}

static void s_on_peer(scale_node_t *node, const sim_event_t *event)
{
    bb_message_t message;
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(event->envelope), NULL);
    BB_ASSERT(error == BB_OK);
    bb_shard_peer(node->shard, s_time(node), event->other, &message, event->chunks, event->body);
    bb_message_close(&message);
    s_touch(node);
}

static void s_on_commit(scale_node_t *node)
{
    scale_cluster_t *self = node->cluster;
    if (s_now_ns(self) != node->commit_due_ns) {
        return; // planned sooner meanwhile
    }
    node->commit_due_ns = BB_NEVER_NS;
    bb_shard_commit(node->shard, s_time(node));
    int64_t wake_mono_ns = bb_shard_wake_mono_ns(node->shard);
    if (wake_mono_ns != BB_NEVER_NS) {
        s_plan_commit(node, BB_MAX(wake_mono_ns - BB_NS_PER_S, s_now_ns(self) + S_WAKE_NS_MIN));
    }
}

static void s_on_job(scale_node_t *node)
{
    bb_fault_t fault = {0};
    bb_store_job_t *job = node->job;
    node->job = NULL;
    bb_error_t error = bb_store_job_run(job, &fault);
    bb_shard_job_done(node->shard, s_time(node), job, error);
    s_touch(node);
}

void scale_cluster_run(scale_cluster_t *self, int64_t duration_ns)
{
    int64_t end_ns = s_now_ns(self) + duration_ns;
    sim_event_t end = {.kind = SIM_EVENT_PHASE};
    sim_events_add(self->events, end_ns, &end);
    sim_event_t event;
    while (sim_events_next(self->events, &event) && event.kind != SIM_EVENT_PHASE) {
        scale_node_t *node = &self->nodes[event.node];
        if (node->shard && event.life == node->life) {
            switch (event.kind) {
            case SIM_EVENT_COMMIT:
                s_on_commit(node);
                break;
            case SIM_EVENT_HEARTBEAT:
                s_heartbeat(node);
                break;
            case SIM_EVENT_PEER:
                s_on_peer(node, &event);
                break;
            case SIM_EVENT_CLIENT:
                s_on_client(node);
                break;
            default:
                s_on_job(node);
                break;
            }
        }
        sim_event_clear(&event);
    }
}

void scale_cluster_reset(scale_cluster_t *self)
{
    self->counts = (scale_counts_t){0};
}

// ---- what is true ----------------------------------------------------------------------------

bool scale_cluster_is_met(const scale_cluster_t *self)
{
    for (uint32_t i = 0; i < self->options.node_count; i++) {
        for (uint32_t other = 0; other < self->options.node_count; other++) {
            const scale_node_t *node = &self->nodes[i];
            if (!node->shard || !bb_detector_is_up(node->detector, other)) {
                return false;
            }
        }
    }
    return true;
}

bool scale_cluster_is_equal(const scale_cluster_t *self)
{
    const bb_topology_t *topology = self->nodes[0].topology;
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        const uint16_t *replicas = bb_topology_replicas(topology, p);
        const bb_have_set_t *first = bb_store_have(self->nodes[replicas[0]].shard->store, p);
        for (uint32_t slot = 1; slot < bb_topology_replica_count(topology); slot++) {
            const bb_have_set_t *other = bb_store_have(self->nodes[replicas[slot]].shard->store, p);
            if (!bb_have_set_includes(first, other) || !bb_have_set_includes(other, first)) {
                return false;
            }
        }
    }
    return true;
}

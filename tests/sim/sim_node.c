// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The simulator looks inside the shard as a debugger would: for the dots that a batch was given.
#include "node/ingest/bb_shard_internal.h"
#include "tests/sim/sim_world.h"

#define S_HEARTBEAT_NS      (200 * BB_NS_PER_MS)
#define S_SUSPECT_NS        (1000 * BB_NS_PER_MS)
#define S_SCRUB_INTERVAL_NS (500 * BB_NS_PER_MS) // segments are read again and again
#define S_COMMIT_NS         (300 * BB_NS_PER_US) // mean of: mailbox empty, sync done
#define S_WAKE_NS_MIN       (1 * BB_NS_PER_MS)   // a poll does not return sooner
#define S_SCAN_NS           (2 * BB_NS_PER_MS)
#define S_JOB_NS            (10 * BB_NS_PER_MS)
#define S_TICKET_DIRECT     UINT64_MAX

bb_shard_time_t sim_node_time(const sim_node_t *node)
{
    int64_t now_ns = sim_world_now_ns(node->world);
    return (bb_shard_time_t){.mono_ns = now_ns + node->mono_base_ns,
                             .wall_ns = SIM_WALL_NS_FIRST + now_ns + node->wall_offset_ns,
                             .is_skewed = node->is_skewed};
}

bool sim_node_is_fenced(const sim_node_t *node)
{
    return node->shard && bb_store_is_fenced(node->shard->store);
}

bool sim_node_knows(const sim_node_t *node, const sim_node_t *peer)
{
    return node == peer ||
           (bb_detector_is_up(node->detector, peer->index) &&
            bb_stream_is_equal(bb_have_view_incarnation(node->shard->view, peer->index),
                               &peer->stream));
}

const bb_have_set_t *sim_node_have(const sim_node_t *node, uint32_t partition)
{
    return node->shard ? bb_store_have(node->shard->store, partition) : &node->have[partition];
}

static void s_drawn(const sim_node_t *node, bool is_up)
{
    sim_world_t *world = node->world;
    if (world->trace.picture) {
        sim_picture_up(world->trace.picture, sim_world_now_ns(world),
                       sim_line_of_node(&world->options, node->index), is_up);
    }
}

// ---- what the shard asks for -----------------------------------------------------------------

static void s_plan_commit(sim_node_t *node, int64_t due_ns)
{
    if (node->shard && due_ns < node->commit_due_ns) {
        node->commit_due_ns = due_ns;
        sim_event_t event = {.kind = SIM_EVENT_COMMIT, .node = node->index, .life = node->life};
        sim_events_add(node->world->events, due_ns, &event);
    }
}

// Something came in: the loop comes round soon, and takes what else has come until then.
static void s_touch(sim_node_t *node)
{
    sim_world_t *world = node->world;
    s_plan_commit(node, sim_world_now_ns(world) +
                            sim_world_exponential(&world->random_disk, S_COMMIT_NS));
}

static void s_send(void *context, uint32_t peer_index, bool bulk, const bb_outbound_t *message)
{
    sim_node_t *node = context;
    if (!bb_sim_disk_is_halted(node->disk)) { // a dying machine sends nothing more
        sim_net_to_peer(node->world, node->index, peer_index, bulk, true, message);
    }
}

static void s_note_dots(sim_node_t *node, sim_attempt_t *attempt);

static void s_answer(void *context, uint64_t ticket, const bb_outbound_t *message)
{
    sim_node_t *node = context;
    if (bb_sim_disk_is_halted(node->disk)) {
        return;
    }
    if (ticket == S_TICKET_DIRECT) {
        bb_buffer_drop(&node->direct_envelope);
        bb_buffer_drop(&node->direct_body);
        node->direct_envelope = bb_buffer_keep(message->envelope);
        node->direct_body = message->body ? bb_buffer_keep(message->body) : NULL;
        return;
    }
    s_note_dots(node, &node->world->attempts[ticket]);
    sim_client_emitted(node->world, ticket, message);
    sim_net_to_client(node->world, ticket, message);
}

static void s_scan_free(sim_scan_t *scan)
{
    bb_snapshot_close(&scan->snapshot);
    bb_buffer_drop(&scan->request);
    free(scan->missing);
    free(scan);
}

static void s_answer_message(sim_node_t *node, uint64_t ticket, bb_message_t *message,
                             bb_buffer_t *body)
{
    message->epoch = bb_topology_epoch(node->topology);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL), .body = body};
    s_answer(node, ticket, &out);
    bb_buffer_drop(&out.envelope);
}

// As the scan actor does it.
static void s_scan_run(sim_node_t *node, sim_scan_t *scan)
{
    bb_message_t request;
    bb_error_t error = bb_message_decode(&request, bb_buffer_slice(scan->request), NULL);
    BB_ASSERT(error == BB_OK); // it was decoded before
    uint32_t *room = bb_alloc(((size_t)request.query.partition_count + 1) * sizeof *room);
    bb_shard_query_exclude(&request.query, scan->missing, scan->missing_count, room);
    bb_page_builder_t *page = bb_page_builder_new();
    bb_scan_result_t result = {0};
    bb_fault_t fault = {0};
    error = bb_scan_page(scan->snapshot, &request.query, page, &result, &fault);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_page_builder_finish(page, &data, &length);
    bb_page_builder_destroy(&page);
    bb_buffer_t *body = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t answer = {.kind = BB_KIND_RESULT, .request_id = scan->request_id};
    if (error != BB_OK) {
        answer.kind = BB_KIND_ERROR;
        answer.error.code = error;
        s_answer_message(node, scan->ticket, &answer, NULL);
        if (!bb_sim_disk_is_halted(node->disk) && node->world->is_calm) {
            sim_trace_fail(&node->world->trace, "node %u: scan failed: %s %s", node->index,
                           bb_error_name(error), fault.text);
        }
    } else {
        if (result.damaged_window_count > 0 && !bb_sim_disk_is_halted(node->disk)) {
            sim_trace_fail(&node->world->trace, "node %u: a scan found %u damaged windows",
                           node->index, result.damaged_window_count);
        }
        answer.result = (bb_result_t){.missing = scan->missing,
                                      .missing_count = scan->missing_count,
                                      .cursor = bb_slice(result.cursor, result.cursor_length)};
        s_answer_message(node, scan->ticket, &answer, body);
    }
    bb_buffer_drop(&body);
    free(result.cursor);
    free(room);
    bb_message_close(&request);
    s_scan_free(scan);
}

static void s_scan(void *context, uint64_t ticket, uint64_t request_id, bb_snapshot_t *snapshot,
                   bb_buffer_t *request, const bb_missing_t *missing, uint32_t missing_count,
                   int64_t deadline_mono_ns)
{
    sim_node_t *node = context;
    sim_scan_t *scan = bb_alloc_zero(1, sizeof *scan);
    *scan = (sim_scan_t){.number = ++node->scan_number,
                         .ticket = ticket,
                         .request_id = request_id,
                         .snapshot = snapshot,
                         .request = bb_buffer_keep(request),
                         .missing_count = missing_count,
                         .deadline_mono_ns = deadline_mono_ns};
    scan->missing = bb_alloc_zero((size_t)missing_count + 1, sizeof *missing);
    if (missing_count > 0) {
        memcpy(scan->missing, missing, missing_count * sizeof *missing);
    }
    if (ticket == S_TICKET_DIRECT) {
        s_scan_run(node, scan);
        return;
    }
    scan->next = node->scans;
    node->scans = scan;
    sim_world_t *world = node->world;
    sim_event_t event = {
        .kind = SIM_EVENT_SCAN, .node = node->index, .life = node->life, .number = scan->number};
    sim_events_add(world->events,
                   sim_world_now_ns(world) + sim_world_exponential(&world->random_disk, S_SCAN_NS),
                   &event);
}

static void s_plan_job(sim_node_t *node)
{
    sim_world_t *world = node->world;
    sim_event_t event = {.kind = SIM_EVENT_JOB, .node = node->index, .life = node->life};
    sim_events_add(world->events,
                   sim_world_now_ns(world) + sim_world_exponential(&world->random_disk, S_JOB_NS),
                   &event);
}

static void s_job(void *context, bb_store_job_t *job)
{
    sim_node_t *node = context;
    BB_ASSERT(!node->job);
    node->job = job;
    node->job_has_run = false;
    node->world->counters.jobs++;
    s_plan_job(node);
}

// ---- life ------------------------------------------------------------------------------------

void sim_node_init(sim_world_t *self, uint32_t index)
{
    sim_node_t *node = &self->nodes[index];
    node->world = self;
    node->index = index;
    node->dc = bb_topology_node(node->topology, index)->dc_index;
    node->disk = bb_sim_disk_new();
    node->mono_base_ns = (int64_t)bb_random_below(&self->random_clock, 1000 * BB_NS_PER_S);
    node->wall_offset_ns =
        (int64_t)bb_random_below(&self->random_clock, 4 * BB_NS_PER_S) - 2 * BB_NS_PER_S;
    node->commit_due_ns = BB_NEVER_NS;
}

static void s_draw_stream(sim_node_t *node)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t half = bb_random_next(&node->world->random_stream);
        memcpy(node->stream.bytes + 8 * i, &half, sizeof half);
    }
}

static bb_error_t s_open(sim_node_t *node, bb_fault_t *fault)
{
    const sim_options_t *options = &node->world->options;
    char id[16];
    snprintf(id, sizeof id, "n%u", node->index);
    bb_shard_options_t shard = {
        .store = {.vfs = bb_sim_disk_vfs(node->disk),
                  .kv = bb_sim_kv(node->disk),
                  .directory = "/store",
                  .node_id = id,
                  .store_count = 1,
                  .partition_count = options->partition_count,
                  .memory_bytes = options->memory_bytes,
                  .journal_file_bytes = options->journal_file_bytes,
                  .policy = node->world->policy,
                  .scrub_bytes_per_s = options->scrub_bytes_per_s,
                  .scrub_interval_ns = S_SCRUB_INTERVAL_NS},
        .topology = node->topology,
        .stream = node->stream,
        .in_flight_bytes_max = options->in_flight_bytes_max,
        .peer_unacked_bytes_max = options->peer_unacked_bytes_max,
        .have_report_interval_ns = options->have_report_ns,
        .flush_age_ns_max = options->flush_age_ns,
        .out = {.context = node, .send = s_send, .answer = s_answer, .scan = s_scan, .job = s_job},
        .planted = options->planted,
    };
    bb_store_report_t report;
    bb_error_t error = bb_shard_open(&shard, &report, &node->shard, fault);
    if (error == BB_OK && report.damaged_count > report.unsynced_count) {
        sim_trace_fail(&node->world->trace, "node %u: %" PRIu64 " damaged journal records: %s",
                       node->index, report.damaged_count, report.first_damage);
    }
    if (error == BB_OK && report.meta_damaged_count > 0) {
        sim_trace_fail(&node->world->trace, "node %u: meta: %s", node->index,
                       report.first_meta_damage);
    }
    return error;
}

static void s_plan_start(sim_node_t *node, int64_t after_ns)
{
    sim_event_t event = {.kind = SIM_EVENT_START, .node = node->index};
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

// What was durable before must be there again.
static void s_check_have(sim_node_t *node)
{
    for (uint32_t p = 0; p < node->world->options.partition_count; p++) {
        const bb_have_set_t *have = bb_store_have(node->shard->store, p);
        if (!bb_have_set_includes(have, &node->have[p])) {
            sim_trace_fail(&node->world->trace,
                           "node %u: %" PRIu64 " chunks of partition %u that were durable are gone",
                           node->index, bb_have_set_lacks_count(have, &node->have[p]), p);
        }
    }
}

void sim_node_start(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (node->shard) {
        return; // two faults took it down; the first start has brought it back
    }
    s_draw_stream(node);
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
        if (!is_expected) {
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
    s_check_have(node);
    memset(node->last_seq, 0, sizeof node->last_seq);
    node->is_stop_planned = false;
    node->is_skewed = false;
    node->commit_due_ns = BB_NEVER_NS;
    bb_detector_options_t detector = {.node_count = world->options.node_count,
                                      .self_index = node->index,
                                      .heartbeat_ns = S_HEARTBEAT_NS,
                                      .suspect_ns = S_SUSPECT_NS};
    node->detector = bb_detector_new(&detector);
    sim_event_t event = {.kind = SIM_EVENT_HEARTBEAT, .node = node->index, .life = node->life};
    sim_events_add(world->events, sim_world_now_ns(world), &event);
    s_touch(node);
}

// A job that is under way comes as far as `job_ops` operations.
static void s_release(sim_node_t *node, uint64_t job_ops)
{
    if (!node->shard) {
        return;
    }
    if (!bb_sim_disk_is_halted(node->disk)) {
        bb_sim_disk_halt_at(node->disk, 1 + job_ops);
    }
    bb_shard_stats_t stats;
    bb_shard_stats(node->shard, &stats);
    sim_counters_t *counters = &node->world->counters;
    counters->pulled_chunks += stats.chunks_pulled;
    counters->chunks_duplicate += stats.chunks_duplicate;
    counters->chunks_dropped_full += stats.chunks_dropped_full;
    counters->fences_waited += stats.fences_waited;
    counters->fences_timeout += stats.fences_timeout;
    counters->peer_messages_bad += stats.peer_messages_bad;
    for (uint32_t p = 0; p < node->world->options.partition_count; p++) {
        bb_have_set_copy(&node->have[p], bb_store_have(node->shard->store, p));
    }
    if (node->job) {
        if (!node->job_has_run) {
            node->job_error = bb_store_job_run(node->job, NULL);
        }
        bb_store_job_t *job = node->job;
        node->job = NULL;
        bb_shard_job_done(node->shard, sim_node_time(node), job, node->job_error);
    }
    while (node->scans) {
        sim_scan_t *scan = node->scans;
        node->scans = scan->next;
        s_scan_free(scan);
    }
    bb_shard_close(&node->shard);
    bb_detector_destroy(&node->detector);
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
    node->life++; // events of this life find nobody
    node->paused_until_ns = 0;
    s_plan_start(node, back_after_ns);
}

void sim_node_destroy(sim_node_t *node)
{
    s_release(node, 0);
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        bb_have_set_clear(&node->have[p]);
    }
    bb_buffer_drop(&node->direct_envelope);
    bb_buffer_drop(&node->direct_body);
    if (node->disk) {
        bb_sim_disk_destroy(&node->disk);
    }
    bb_topology_destroy(&node->topology);
}

// After each call: the disk may have died under it, or a sync failed.
static void s_after(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (bb_sim_disk_is_halted(node->disk)) {
        world->counters.halts++;
        sim_node_stop(node, true, sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS));
        return;
    }
    if (sim_node_is_fenced(node) && !node->is_stop_planned) {
        node->is_stop_planned = true;
        world->counters.fences++;
        sim_trace_note(&world->trace, sim_line_of_node(&world->options, node->index),
                       "node %u: fenced", node->index);
        sim_event_t event = {.kind = SIM_EVENT_STOP, .node = node->index, .life = node->life};
        sim_events_add(world->events,
                       sim_world_now_ns(world) +
                           sim_world_exponential(&world->random_disk, 500 * BB_NS_PER_MS),
                       &event);
    }
}

// ---- heartbeats ------------------------------------------------------------------------------

static void s_detected(sim_node_t *node, const bb_detector_actions_t *actions)
{
    node->is_skewed = actions->is_skewed;
    for (uint32_t i = 0; i < actions->change_count; i++) {
        const bb_detector_change_t *change = &actions->changes[i];
        sim_trace_note(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                       "node %u: node %u is %s", node->index, change->peer_index,
                       change->is_up ? "up" : "down");
        bb_shard_peer_state(node->shard, sim_node_time(node), change->peer_index, change->is_up,
                            &change->incarnation, 1);
        s_touch(node);
    }
}

static void s_heartbeat(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bb_shard_time_t time = sim_node_time(node);
    bb_message_t message = {
        .kind = BB_KIND_HEARTBEAT,
        .epoch = bb_topology_epoch(node->topology),
        .heartbeat = {
            .incarnation = node->stream, .wall_ns = time.wall_ns, .ready = true, .store_count = 1}};
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
    sim_event_t event = {.kind = SIM_EVENT_HEARTBEAT, .node = node->index, .life = node->life};
    sim_events_add(world->events, sim_world_now_ns(world) + S_HEARTBEAT_NS, &event);
}

// ---- messages --------------------------------------------------------------------------------

static void s_on_peer(sim_node_t *node, const sim_event_t *event)
{
    sim_world_t *world = node->world;
    bb_message_t message;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(event->envelope), &fault);
    if (error != BB_OK) {
        sim_trace_fail(&world->trace, "node %u cannot read a message of node %u: %s", node->index,
                       event->other, fault.text);
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
    } else {
        sim_trace_line(&world->trace, "node %u: %s of node %u", node->index,
                       bb_kind_name(message.kind), event->other);
        bb_shard_peer(node->shard, sim_node_time(node), event->other, &message, event->chunks,
                      event->body);
        s_touch(node);
    }
    bb_message_close(&message);
}

// The batch that was staged last got these dots, if it is younger than all before: a batch that
// could not be staged leaves an older one last.
static void s_note_dots(sim_node_t *node, sim_attempt_t *attempt)
{
    bb_shard_t *shard = node->shard;
    if (attempt->dot_count > 0 || attempt->life != node->life || shard->staged_count == 0) {
        return;
    }
    const bb_staged_t *staged = &shard->staged[shard->staged_count - 1];
    bool is_young = staged->is_own;
    for (uint32_t i = 0; i < staged->chunks.part_count && is_young; i++) {
        is_young = staged->chunks.seqs[i] > node->last_seq[staged->batch.parts[i].partition];
    }
    if (!is_young) {
        return;
    }
    attempt->stream = node->stream;
    attempt->dot_count = staged->chunks.part_count;
    attempt->dots = bb_alloc(attempt->dot_count * sizeof *attempt->dots);
    for (uint32_t i = 0; i < attempt->dot_count; i++) {
        sim_dot_t dot = {staged->batch.parts[i].partition, staged->chunks.seqs[i]};
        attempt->dots[i] = dot;
        node->last_seq[dot.partition] = dot.seq;
    }
}

static void s_on_request(sim_node_t *node, const sim_event_t *event)
{
    sim_world_t *world = node->world;
    bb_message_t message;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(event->envelope), &fault);
    if (error != BB_OK) {
        sim_trace_fail(&world->trace, "node %u cannot read a request: %s", node->index, fault.text);
        return;
    }
    sim_trace_line(&world->trace, "node %u: %s %" PRIu64, node->index, bb_kind_name(message.kind),
                   event->number);
    // A batch that is answered inside the call is found by its attempt's life.
    sim_attempt_t *attempt = &world->attempts[event->number];
    attempt->life = message.kind == BB_KIND_WRITE ? node->life : 0;
    bb_shard_client(node->shard, sim_node_time(node), event->number, &message, event->envelope,
                    event->body);
    s_note_dots(node, attempt);
    attempt->life = 0; // later batches are not its own
    bb_message_close(&message);
    s_touch(node);
}

// ---- events ----------------------------------------------------------------------------------

static void s_on_commit(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (sim_world_now_ns(world) != node->commit_due_ns) {
        return; // planned sooner meanwhile
    }
    node->commit_due_ns = BB_NEVER_NS;
    bb_shard_commit(node->shard, sim_node_time(node));
    int64_t wake_mono_ns = bb_shard_wake_mono_ns(node->shard);
    if (wake_mono_ns != BB_NEVER_NS) {
        s_plan_commit(node, BB_MAX(wake_mono_ns - node->mono_base_ns,
                                   sim_world_now_ns(world) + S_WAKE_NS_MIN));
    }
}

static void s_on_job(sim_node_t *node)
{
    if (!node->job_has_run) { // two steps, so that a crash may come between them
        bb_fault_t fault = {0};
        node->job_error = bb_store_job_run(node->job, &fault);
        node->job_has_run = true;
        sim_trace_line(&node->world->trace, "node %u: job: %s %s", node->index,
                       bb_error_name(node->job_error), fault.text);
        s_plan_job(node);
        return;
    }
    bb_store_job_t *job = node->job;
    node->job = NULL;
    bb_shard_job_done(node->shard, sim_node_time(node), job, node->job_error);
    s_touch(node);
}

static void s_on_scan(sim_node_t *node, uint64_t number)
{
    for (sim_scan_t **link = &node->scans; *link; link = &(*link)->next) {
        if ((*link)->number == number) {
            sim_scan_t *scan = *link;
            *link = scan->next;
            s_scan_run(node, scan);
            return;
        }
    }
}

void sim_node_event(sim_node_t *node, sim_event_t *event)
{
    sim_world_t *world = node->world;
    if (event->kind == SIM_EVENT_START) {
        sim_node_start(node);
        return;
    }
    if (!node->shard || (event->life != 0 && event->life != node->life)) {
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
    if (node->paused_until_ns > sim_world_now_ns(world)) {
        if (event->kind == SIM_EVENT_COMMIT) {
            if (event->time_ns == node->commit_due_ns) {
                node->commit_due_ns = BB_NEVER_NS;
                s_plan_commit(node, node->paused_until_ns);
            }
            return;
        }
        sim_events_add(world->events, node->paused_until_ns, event);
        event->envelope = event->chunks = event->body = NULL; // they went along
        return;
    }
    switch (event->kind) {
    case SIM_EVENT_COMMIT:
        s_on_commit(node);
        break;
    case SIM_EVENT_HEARTBEAT:
        s_heartbeat(node);
        break;
    case SIM_EVENT_PEER:
        s_on_peer(node, event);
        break;
    case SIM_EVENT_REQUEST:
        s_on_request(node, event);
        break;
    case SIM_EVENT_JOB:
        s_on_job(node);
        break;
    case SIM_EVENT_SCAN:
        s_on_scan(node, event->number);
        break;
    default:
        BB_ASSERT(!"an event that a node never gets");
    }
    s_after(node);
}

// ---- direct questions ------------------------------------------------------------------------

void sim_node_ask(sim_node_t *node, const bb_message_t *message, bb_message_t *answer)
{
    bb_buffer_drop(&node->direct_envelope);
    bb_buffer_drop(&node->direct_body);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    bb_buffer_t *envelope = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK);
    bb_shard_client(node->shard, sim_node_time(node), S_TICKET_DIRECT, &decoded, envelope, NULL);
    bb_message_close(&decoded);
    bb_buffer_drop(&envelope);
    s_touch(node);
    if (node->direct_envelope) {
        error = bb_message_decode(answer, bb_buffer_slice(node->direct_envelope), NULL);
        BB_ASSERT(error == BB_OK);
    }
}

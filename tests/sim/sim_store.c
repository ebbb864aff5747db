// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The simulator looks inside the shard as a debugger would: for the dots that a batch was given.
#include "node/ingest/bb_shard_internal.h"
#include "tests/sim/sim_world.h"

#define S_SCRUB_INTERVAL_NS (1000 * BB_NS_PER_MS) // segments are read again and again
#define S_COMMIT_NS         (300 * BB_NS_PER_US)  // mean of: mailbox empty, sync done
#define S_WAKE_NS_MIN       (1 * BB_NS_PER_MS)    // a poll does not return sooner
#define S_SCAN_NS           (2 * BB_NS_PER_MS)
#define S_JOB_NS            (10 * BB_NS_PER_MS)
#define S_TICKET_DIRECT     UINT64_MAX
#define S_STAGED_BYTES      (48u << 10) // then a commit comes first, as in store_actor

// ---- what the shard asks for -----------------------------------------------------------------

void sim_store_plan_commit(sim_store_t *store, int64_t due_ns)
{
    due_ns = sim_route_commit_ns(store, due_ns);
    if (store->shard && due_ns < store->commit_due_ns) {
        store->commit_due_ns = due_ns;
        sim_event_t event = {.kind = SIM_EVENT_COMMIT,
                             .node = store->node->slot,
                             .other = store->index,
                             .life = store->node->life};
        sim_events_add(store->node->world->events, due_ns, &event);
    }
}

// Something came in: the loop comes round soon, and takes what else has come until then, up to a
// limit.
void sim_store_touch(sim_store_t *store)
{
    sim_world_t *world = store->node->world;
    int64_t wait_ns = sim_world_exponential(&world->random_disk, S_COMMIT_NS);
    bool is_much = store->shard && bb_shard_staged_bytes(store->shard) >= S_STAGED_BYTES;
    sim_store_plan_commit(store, sim_world_now_ns(world) + (is_much ? 0 : wait_ns));
}

static void s_send(void *context, uint32_t peer_index, bool bulk, const bb_outbound_t *message)
{
    sim_store_t *store = context;
    if (!bb_sim_disk_is_halted(store->node->disk)) { // a dying machine sends nothing more
        sim_net_to_peer(store->node->world, store->node->index, peer_index, bulk, true, message);
    }
}

static void s_note_dots(sim_store_t *store, sim_attempt_t *attempt);

static void s_answer(void *context, uint64_t ticket, const bb_outbound_t *message)
{
    sim_store_t *store = context;
    if (bb_sim_disk_is_halted(store->node->disk)) {
        return;
    }
    if (ticket == S_TICKET_DIRECT) {
        bb_buffer_drop(&store->direct_envelope);
        bb_buffer_drop(&store->direct_body);
        store->direct_envelope = bb_buffer_keep(message->envelope);
        store->direct_body = message->body ? bb_buffer_keep(message->body) : NULL;
        return;
    }
    s_note_dots(store, &store->node->world->attempts[ticket]);
    sim_client_emitted(store->node->world, ticket, message);
    sim_net_to_client(store->node->world, ticket, message);
}

static void s_scan_free(sim_scan_t *scan)
{
    bb_snapshot_close(&scan->snapshot);
    bb_buffer_drop(&scan->request);
    bb_buffer_drop(&scan->session);
    free(scan->missing);
    free(scan);
}

static void s_answer_message(sim_store_t *store, uint64_t ticket, bb_message_t *message,
                             bb_buffer_t *body)
{
    message->epoch = bb_topology_epoch(store->node->topology);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    bb_outbound_t out = {.envelope = bb_buffer_new(data, length, NULL, NULL), .body = body};
    s_answer(store, ticket, &out);
    bb_buffer_drop(&out.envelope);
}

// Partitions that the scan found damaged are named beside those that the shard could not serve.
static void s_name_damage(sim_scan_t *scan, const bb_scan_result_t *result)
{
    size_t count = (size_t)scan->missing_count + result->damaged_partition_count;
    scan->missing = bb_realloc(scan->missing, (count + 1) * sizeof *scan->missing);
    for (uint32_t i = 0; i < result->damaged_partition_count; i++) {
        bool is_named = false;
        for (uint32_t k = 0; k < scan->missing_count && !is_named; k++) {
            is_named = scan->missing[k].partition == result->damaged_partitions[i];
        }
        if (!is_named) {
            scan->missing[scan->missing_count++] =
                (bb_missing_t){result->damaged_partitions[i], BB_ERR_CORRUPT};
        }
    }
}

// Damage is named where bits were flipped, and for the moment in which the open of a segment was
// made to fail: one window for each open that failed within this very scan, and only as unread. The
// next scan opens it again, and the checks in the end, behind all faults, want everything.
static void s_check_damage(sim_store_t *store, const bb_scan_result_t *result,
                           uint64_t opens_failed)
{
    sim_node_t *node = store->node;
    if (node->is_damaged) {
        node->world->counters.damage_named_by_scan++;
    } else if (result->damaged_window_count == result->unread_window_count &&
               result->damaged_window_count <= opens_failed) {
        sim_trace_line(&node->world->trace, "node %u: %u windows were not opened", node->index,
                       result->unread_window_count);
    } else {
        sim_trace_fail(&node->world->trace,
                       "node %u: a scan found %u damaged windows, %u of them not opened, with "
                       "%" PRIu64 " failed opens",
                       node->index, result->damaged_window_count, result->unread_window_count,
                       opens_failed);
    }
}

// As the scan actor does it.
static void s_scan_run(sim_store_t *store, sim_scan_t *scan)
{
    bb_message_t request;
    bb_error_t error = bb_message_decode(&request, bb_buffer_slice(scan->request), NULL);
    BB_ASSERT(error == BB_OK); // it was decoded before
    uint32_t *room = bb_alloc(((size_t)request.query.partition_count + 1) * sizeof *room);
    bb_shard_query_exclude(&request.query, scan->missing, scan->missing_count, room);
    bb_page_builder_t *page = bb_page_builder_new();
    bb_scan_result_t result = {0};
    bb_fault_t fault = {0};
    uint64_t failed_before = bb_sim_disk_failed_count(store->node->disk, BB_SIM_OPEN);
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
        s_answer_message(store, scan->ticket, &answer, NULL);
        if (!bb_sim_disk_is_halted(store->node->disk) && store->node->world->is_calm &&
            !store->node->is_damaged) {
            sim_trace_fail(&store->node->world->trace, "node %u: scan failed: %s %s",
                           store->node->index, bb_error_name(error), fault.text);
        }
    } else {
        if (result.damaged_partition_count > 0) {
            s_name_damage(scan, &result);
        }
        if (result.damaged_window_count > 0 && !bb_sim_disk_is_halted(store->node->disk)) {
            s_check_damage(store, &result,
                           bb_sim_disk_failed_count(store->node->disk, BB_SIM_OPEN) -
                               failed_before);
        }
        answer.result = (bb_result_t){.missing = scan->missing,
                                      .missing_count = scan->missing_count,
                                      .cursor = bb_slice(result.cursor, result.cursor_length),
                                      .session = bb_buffer_slice(scan->session)};
        s_answer_message(store, scan->ticket, &answer, body);
    }
    bb_buffer_drop(&body);
    free(result.cursor);
    free(room);
    bb_message_close(&request);
    s_scan_free(scan);
}

static void s_scan(void *context, uint64_t ticket, uint64_t request_id, bb_snapshot_t *snapshot,
                   bb_buffer_t *request, const bb_missing_t *missing, uint32_t missing_count,
                   bb_buffer_t *session, int64_t deadline_mono_ns)
{
    sim_store_t *store = context;
    sim_scan_t *scan = bb_alloc_zero(1, sizeof *scan);
    *scan = (sim_scan_t){.number = ++store->scan_number,
                         .ticket = ticket,
                         .request_id = request_id,
                         .snapshot = snapshot,
                         .request = bb_buffer_keep(request),
                         .missing_count = missing_count,
                         .session = session ? bb_buffer_keep(session) : NULL,
                         .deadline_mono_ns = deadline_mono_ns};
    scan->missing = bb_alloc_zero((size_t)missing_count + 1, sizeof *missing);
    if (missing_count > 0) {
        memcpy(scan->missing, missing, missing_count * sizeof *missing);
    }
    if (ticket == S_TICKET_DIRECT) {
        s_scan_run(store, scan);
        return;
    }
    scan->next = store->scans;
    store->scans = scan;
    sim_world_t *world = store->node->world;
    sim_event_t event = {.kind = SIM_EVENT_SCAN,
                         .node = store->node->slot,
                         .other = store->index,
                         .life = store->node->life,
                         .number = scan->number};
    sim_events_add(world->events,
                   sim_world_now_ns(world) + sim_world_exponential(&world->random_disk, S_SCAN_NS),
                   &event);
}

static void s_plan_job(sim_store_t *store)
{
    sim_world_t *world = store->node->world;
    sim_event_t event = {.kind = SIM_EVENT_JOB,
                         .node = store->node->slot,
                         .other = store->index,
                         .life = store->node->life};
    sim_events_add(world->events,
                   sim_world_now_ns(world) + sim_world_exponential(&world->random_disk, S_JOB_NS),
                   &event);
}

static void s_job(void *context, bb_store_job_t *job)
{
    sim_store_t *store = context;
    BB_ASSERT(!store->job);
    store->job = job;
    store->job_has_run = false;
    store->node->world->counters.jobs++;
    s_plan_job(store);
}

// ---- life ------------------------------------------------------------------------------------

bb_error_t sim_store_open(sim_store_t *store, bb_fault_t *fault)
{
    const sim_options_t *options = &store->node->world->options;
    bb_kv_driver_t *kv = bb_sim_kv(store->node->disk);
    kv->killpoint = &store->node->killpoint;
    const sim_node_t *node = store->node;
    char id[16], directory[16];
    snprintf(id, sizeof id, "n%u", node->index);
    snprintf(directory, sizeof directory, "/store-%02u", store->index);
    bb_shard_options_t shard = {
        .store = {.vfs = bb_sim_disk_vfs(store->node->disk),
                  .kv = kv,
                  .directory = directory,
                  .node_id = id,
                  .store_index = store->index,
                  .store_count = node->store_count,
                  .partition_count = options->partition_count,
                  .memory_bytes = options->memory_bytes,
                  .journal_file_bytes = options->journal_file_bytes,
                  .policy = store->node->world->policy,
                  .scrub_bytes_per_s = options->scrub_bytes_per_s,
                  .scrub_interval_ns = S_SCRUB_INTERVAL_NS},
        .topology = store->node->topology,
        .stream = store->node->stream,
        .in_flight_bytes_max = options->in_flight_bytes_max,
        .peer_unacked_bytes_max = options->peer_unacked_bytes_max,
        .dc_link_bytes_per_s = options->dc_link_bytes_per_s,
        .repair_bytes_per_s = options->repair_bytes_per_s,
        .have_report_interval_ns = options->have_report_ns,
        .flush_age_ns_max = options->flush_age_ns,
        .standing = BB_STANDING_JOINING,
        .out = {.context = store, .send = s_send, .answer = s_answer, .scan = s_scan, .job = s_job},
        .rules = sim_watch_rules(store->node->world),
        .planted = options->planted,
    };
    bb_store_report_t report;
    bb_error_t error = bb_shard_open(&shard, &report, &store->shard, fault);
    bool is_damaged = store->node->is_damaged;
    sim_counters_t *counters = &store->node->world->counters;
    counters->damage_named_by_journal += error == BB_OK && is_damaged && report.damaged_count > 0;
    counters->damage_named_by_meta += error == BB_OK && is_damaged && report.meta_damaged_count > 0;
    if (error == BB_OK && report.damaged_count > report.unsynced_count && !is_damaged) {
        sim_trace_fail(&store->node->world->trace,
                       "node %u: %" PRIu64 " damaged journal records: %s", store->node->index,
                       report.damaged_count, report.first_damage);
    }
    if (error == BB_OK && report.meta_damaged_count > 0 && !is_damaged) {
        sim_trace_fail(&store->node->world->trace, "node %u: meta: %s", store->node->index,
                       report.first_meta_damage);
    }
    return error;
}

// What was durable before must be there again.
void sim_store_check_have(sim_store_t *store)
{
    const sim_node_t *node = store->node;
    for (uint32_t p = store->index; p < node->world->options.partition_count;
         p += node->store_count) {
        const bb_have_set_t *have = bb_store_have(store->shard->store, p);
        if (!bb_have_set_includes(have, &store->node->have[p])) {
            sim_trace_fail(&store->node->world->trace,
                           "node %u: %" PRIu64 " chunks of partition %u that were durable are gone",
                           store->node->index, bb_have_set_lacks_count(have, &store->node->have[p]),
                           p);
        }
    }
}

// ---- requests --------------------------------------------------------------------------------

// The batch that was staged last got these dots, if it is younger than all before: a batch that
// could not be staged leaves an older one last.
static void s_note_dots(sim_store_t *store, sim_attempt_t *attempt)
{
    bb_shard_t *shard = store->shard;
    if (attempt->dot_count > 0 || attempt->life != store->node->life || shard->staged_count == 0) {
        return;
    }
    const bb_staged_t *staged = &shard->staged[shard->staged_count - 1];
    bool is_young = staged->is_own;
    for (uint32_t i = 0; i < staged->chunks.part_count && is_young; i++) {
        is_young = bb_chunks_seq(&staged->chunks, i) >
                   store->node->last_seq[staged->batch.parts[i].partition];
    }
    if (!is_young) {
        return;
    }
    attempt->stream = store->node->stream;
    attempt->epoch = store->node->epoch;
    attempt->judge_wall_ns = sim_node_time(store->node).wall_ns;
    attempt->dot_count = staged->chunks.part_count;
    attempt->dots = bb_alloc(attempt->dot_count * sizeof *attempt->dots);
    for (uint32_t i = 0; i < attempt->dot_count; i++) {
        sim_dot_t dot = {staged->batch.parts[i].partition, bb_chunks_seq(&staged->chunks, i)};
        attempt->dots[i] = dot;
        store->node->last_seq[dot.partition] = dot.seq;
    }
}

void sim_store_on_request(sim_store_t *store, const sim_event_t *event)
{
    sim_world_t *world = store->node->world;
    bb_message_t message;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(event->envelope), &fault);
    if (error != BB_OK) {
        sim_trace_fail(&world->trace, "node %u cannot read a request: %s", store->node->index,
                       fault.text);
        return;
    }
    sim_trace_line(&world->trace, "node %u: %s %" PRIu64, store->node->index,
                   bb_kind_name(message.kind), event->number);
    sim_storm_request(&world->storm, sim_world_now_ns(world));
    // A batch that is answered inside the call is found by its attempt's life.
    sim_attempt_t *attempt = &world->attempts[event->number];
    attempt->life = message.kind == BB_KIND_WRITE ? store->node->life : 0;
    if (message.kind == BB_KIND_WRITE) { // as if they all came faster than they are taken
        bb_shard_waited(store->shard, sim_node_time(store->node).mono_ns, BB_NS_PER_S);
    }
    bb_shard_client(store->shard, sim_node_time(store->node), event->number, &message,
                    event->envelope, event->body);
    s_note_dots(store, attempt);
    attempt->life = 0; // later batches are not its own
    bb_message_close(&message);
    sim_store_touch(store);
}

// ---- events ----------------------------------------------------------------------------------

void sim_store_on_commit(sim_store_t *store)
{
    sim_world_t *world = store->node->world;
    if (sim_world_now_ns(world) != store->commit_due_ns) {
        return; // planned sooner meanwhile
    }
    store->commit_due_ns = BB_NEVER_NS;
    sim_world_note(store->node, SIM_STORM_TURN, store->index);
    sim_check_caps(world, store);
    uint64_t syncs = store->shard->stats.journal_syncs;
    bb_shard_commit(store->shard, sim_node_time(store->node));
    if (store->shard->stats.journal_syncs > syncs) {
        sim_route_synced(store);
    }
    sim_check_caps(world, store);
    int64_t wake_mono_ns = bb_shard_wake_mono_ns(store->shard);
    if (wake_mono_ns != BB_NEVER_NS) {
        sim_store_plan_commit(store, BB_MAX(wake_mono_ns - store->node->mono_base_ns,
                                            sim_world_now_ns(world) + S_WAKE_NS_MIN));
    }
}

void sim_store_on_job(sim_store_t *store)
{
    if (!store->job_has_run) { // two steps, so that a crash may come between them
        bb_fault_t fault = {0};
        store->job_error = bb_store_job_run(store->job, &fault);
        store->job_has_run = true;
        sim_trace_line(&store->node->world->trace, "node %u: job: %s %s", store->node->index,
                       bb_error_name(store->job_error), fault.text);
        s_plan_job(store);
        return;
    }
    bb_store_job_t *job = store->job;
    store->job = NULL;
    bb_shard_job_done(store->shard, sim_node_time(store->node), job, store->job_error);
    sim_store_touch(store);
}

void sim_store_on_scan(sim_store_t *store, uint64_t number)
{
    for (sim_scan_t **link = &store->scans; *link; link = &(*link)->next) {
        if ((*link)->number == number) {
            sim_scan_t *scan = *link;
            *link = scan->next;
            s_scan_run(store, scan);
            return;
        }
    }
}

// A job that is under way comes as far as `job_ops` operations.
void sim_store_release(sim_store_t *store, uint64_t job_ops)
{
    if (!store->shard) {
        return;
    }
    sim_node_t *node = store->node;
    if (!bb_sim_disk_is_halted(node->disk)) {
        bb_sim_disk_halt_at(node->disk, 1 + job_ops);
    }
    bb_shard_stats_t stats;
    bb_shard_stats(store->shard, &stats);
    sim_counters_t *counters = &node->world->counters;
    counters->pulled_chunks += stats.chunks_pulled;
    counters->chunks_duplicate += stats.chunks_duplicate;
    counters->streams_forgotten += stats.streams_forgotten;
    counters->chunks_reoriginated += stats.chunks_reoriginated;
    counters->chunks_dead += stats.chunks_dead;
    counters->chunks_dropped_full += stats.chunks_dropped_full;
    counters->chunks_held_by_cap += stats.chunks_held_by_cap;
    counters->repairs_put_off += stats.repairs_put_off;
    counters->batches_forwarded += stats.batches_forwarded;
    counters->relays_passed_by += stats.relays_passed_by;
    counters->fences_waited += stats.fences_waited;
    counters->fences_timeout += stats.fences_timeout;
    counters->fences_hedged += stats.fences_hedged;
    counters->fences_hedged_won += stats.fences_hedged_won;
    counters->sessions_waited += stats.sessions_waited;
    counters->watch_chunks += stats.watch_chunks;
    counters->watch_events += stats.watch_events;
    counters->watch_adopted += stats.watch_adopted;
    counters->watch_failures += stats.watch_failures;
    counters->peer_messages_bad += stats.peer_messages_bad;
    counters->hostile_contradicted += stats.chunks_contradicted;
    if (stats.chunks_contradicted > 0 && node->world->options.planted == BB_PLANTED_NONE &&
        !node->world->options.has_hostile) {
        sim_trace_fail(&node->world->trace, "node %u: %" PRIu64 " honest chunks are contradicted",
                       node->index, stats.chunks_contradicted);
    }
    for (uint32_t p = store->index; p < node->world->options.partition_count;
         p += node->store_count) {
        bb_have_set_copy(&node->have[p], bb_store_have(store->shard->store, p));
    }
    if (store->job) {
        if (!store->job_has_run) {
            store->job_error = bb_store_job_run(store->job, NULL);
        }
        bb_store_job_t *job = store->job;
        store->job = NULL;
        bb_shard_job_done(store->shard, sim_node_time(node), job, store->job_error);
    }
    while (store->scans) {
        sim_scan_t *scan = store->scans;
        store->scans = scan->next;
        s_scan_free(scan);
    }
    bb_shard_close(&store->shard);
}

// ---- direct questions ------------------------------------------------------------------------

void sim_store_ask(sim_store_t *store, const bb_message_t *message, bb_message_t *answer)
{
    sim_store_ask_with(store, message, NULL, answer);
}

void sim_store_ask_with(sim_store_t *store, const bb_message_t *message, bb_buffer_t *body,
                        bb_message_t *answer)
{
    bb_buffer_drop(&store->direct_envelope);
    bb_buffer_drop(&store->direct_body);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    bb_buffer_t *envelope = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(envelope), NULL);
    BB_ASSERT(error == BB_OK);
    bb_shard_client(store->shard, sim_node_time(store->node), S_TICKET_DIRECT, &decoded, envelope,
                    body);
    bb_message_close(&decoded);
    bb_buffer_drop(&envelope);
    sim_store_touch(store);
    if (store->direct_envelope) {
        error = bb_message_decode(answer, bb_buffer_slice(store->direct_envelope), NULL);
        BB_ASSERT(error == BB_OK);
    }
}

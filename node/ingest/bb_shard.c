// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store_sync.h"

const bb_have_set_t *bb_shard_own_have(void *context, uint32_t partition)
{
    const bb_shard_t *self = context;
    return bb_store_have(self->store, partition);
}

static void s_options_default(bb_shard_options_t *options)
{
    options->store.store_count = BB_MAX(options->store.store_count, 1u);
    if (options->in_flight_bytes_max == 0) {
        options->in_flight_bytes_max = 256u << 20;
    }
    if (options->peer_unacked_bytes_max == 0) {
        options->peer_unacked_bytes_max = 64u << 20;
    }
    if (options->have_report_interval_ns == 0) {
        options->have_report_interval_ns = 1 * BB_NS_PER_S;
    }
    if (options->flush_age_ns_max == 0) {
        options->flush_age_ns_max = 600 * BB_NS_PER_S;
    }
}

// Drawn with the stream at each start; so far from 2^64 that it never wraps.
static uint64_t s_request_id_first(const bb_stream_t *stream)
{
    uint64_t random = 0;
    for (uint32_t i = 0; i < 6; i++) {
        random = random << 8 | stream->bytes[sizeof stream->bytes - 1 - i];
    }
    return 1 + random;
}

bb_error_t bb_shard_open(const bb_shard_options_t *options, bb_store_report_t *report,
                         bb_shard_t **shard, bb_fault_t *fault)
{
    BB_ASSERT(options && options->topology && report && shard);
    BB_ASSERT(options->out.send && options->out.answer && options->out.scan && options->out.job);
    bb_store_t *store = NULL;
    bb_error_t error = bb_store_open(&options->store, report, &store, fault);
    if (error != BB_OK) {
        return error;
    }
    BB_KILLPOINT(options->store.vfs, START_RECOVERED);
    bb_shard_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    s_options_default(&self->options);
    self->store = store;
    self->standing = options->standing;
    bb_store_results_hold(store, self->standing != BB_STANDING_COUNTING);
    self->topology = options->topology;
    self->epoch = bb_topology_epoch(self->topology);
    self->node_count = bb_topology_node_count(self->topology);
    self->self_index = bb_topology_self_index(self->topology);
    self->partition_count = bb_topology_partition_count(self->topology);
    BB_ASSERT(self->self_index < self->node_count);
    BB_ASSERT(self->partition_count == options->store.partition_count);
    self->replication = bb_replication_new(self->topology);
    self->forget =
        bb_shard_forget_new(self->topology, &self->options.stream, self->partition_count);
    bb_have_view_options_t view = {
        .topology = self->topology,
        .store_index = options->store.store_index,
        .store_count = self->options.store.store_count,
        .report_interval_ns = self->options.have_report_interval_ns,
        .request_id_first = s_request_id_first(&self->options.stream),
        .own = bb_shard_own_have,
        .own_context = self,
        .forgotten = bb_shard_forgotten(self->forget),
    };
    self->view = bb_have_view_new(&view);
    self->shortfall = bb_shortfall_new(self->view);
    self->fence = bb_fence_new(self->topology, self->view, bb_shard_own_have, self);
    self->dc_lag = bb_dc_lag_new(self->partition_count);
    self->teller = bb_have_teller_new(self->partition_count);
    if (options->rules.evaluate) {
        self->watch = bb_watch_new(self->topology, self->view, bb_shard_own_have, self);
    }
    self->relay = bb_relay_new(self->node_count, self->options.peer_unacked_bytes_max);
    for (uint32_t dc = 0; dc < bb_topology_dc_count(self->topology); dc++) {
        bb_link_cap_init(&self->links[dc], options->dc_link_bytes_per_s, 0);
    }
    self->sync = bb_shard_sync_new(self);
    self->is_up[self->self_index] = true;
    self->staged = bb_alloc_zero(BB_SHARD_STAGED_MAX, sizeof *self->staged);
    self->partitions = bb_alloc_zero(self->partition_count, sizeof *self->partitions);
    self->seqs = bb_alloc_zero(self->partition_count, sizeof *self->seqs);
    self->keep = bb_alloc_zero(self->partition_count, sizeof *self->keep);
    self->acks = bb_alloc_zero(self->node_count, sizeof *self->acks);
    self->ack_at = bb_alloc_zero(self->partition_count, sizeof *self->ack_at);
    // What recovery put into the head waits to be sealed like anything else.
    bb_store_stats_t stats;
    bb_store_stats(store, &stats);
    bool is_empty = stats.head_points == 0 && stats.unsaved_markers == 0;
    self->head_since_mono_ns = is_empty ? BB_NEVER_NS : 0;
    self->unsealed_chunks = is_empty ? 0 : report->journal_records;
    bb_pace_init(&self->pace, options->store.memory_bytes, options->repair_bytes_per_s);
    self->is_trim_due = true;
    *shard = self;
    return BB_OK;
}

void bb_shard_sign_off(bb_shard_t *self)
{
    BB_ASSERT(self);
    BB_ASSERT(!self->is_job_out);
    bb_store_sign_off(self->store);
}

void bb_shard_close(bb_shard_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_shard_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    BB_ASSERT(!self->is_job_out);
    for (uint32_t i = 0; i < self->staged_count; i++) {
        bb_batch_close(&self->staged[i].batch);
        bb_buffer_drop(&self->staged[i].chunks_buffer);
        bb_buffer_drop(&self->staged[i].batch_buffer);
    }
    bb_shard_watch_works_free(self);
    while (self->writes) {
        bb_shard_write_destroy(self, self->writes);
    }
    while (self->reads) {
        bb_shard_read_destroy(self, self->reads);
    }
    for (uint32_t i = 0; i < BB_SHARD_RELEASES_MAX; i++) {
        bb_shard_release_clear(&self->releases[i]);
    }
    for (uint32_t node = 0; node < self->node_count; node++) {
        bb_shard_pulls_forget(self, node);
        free(self->acks[node].ranges);
        free(self->acks[node].batches);
    }
    bb_dc_lag_destroy(&self->dc_lag);
    bb_relay_destroy(&self->relay);
    bb_shard_sync_destroy(&self->sync);
    bb_have_teller_destroy(&self->teller);
    bb_watch_destroy(&self->watch);
    bb_fence_destroy(&self->fence);
    bb_shortfall_destroy(&self->shortfall);
    bb_have_view_destroy(&self->view);
    bb_shard_forget_destroy(&self->forget);
    bb_replication_destroy(&self->replication);
    bb_store_close(&self->store);
    free(self->staged);
    free(self->partitions);
    free(self->seqs);
    free(self->keep);
    free(self->quarantined);
    free(self->acks);
    free(self->ack_at);
    free(self);
}

// ---- messages ------------------------------------------------------------------------------

bb_buffer_t *bb_shard_encode(const bb_message_t *message)
{
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    return bb_buffer_new(data, length, NULL, NULL);
}

size_t bb_shard_send(bb_shard_t *self, uint32_t node, bool bulk, const bb_message_t *message,
                     bb_buffer_t *chunks, bb_buffer_t *body)
{
    bool is_live = message->kind == BB_KIND_REPLICATE && message->request_id == 0;
    bb_outbound_t out = {.envelope = bb_shard_encode(message),
                         .chunks = chunks,
                         .body = body,
                         .is_repair = bulk && !is_live};
    size_t bytes = bb_buffer_slice(out.envelope).length;
    self->options.out.send(self->options.out.context, node, bulk, &out);
    bb_buffer_drop(&out.envelope);
    return bytes;
}

void bb_shard_answer(bb_shard_t *self, uint64_t ticket, const bb_message_t *message,
                     bb_buffer_t *body)
{
    bb_outbound_t out = {.envelope = bb_shard_encode(message), .body = body};
    self->options.out.answer(self->options.out.context, ticket, &out);
    bb_buffer_drop(&out.envelope);
}

void bb_shard_answer_error(bb_shard_t *self, uint64_t ticket, uint64_t request_id,
                           uint64_t trace_id, bb_error_t error, uint32_t retry_after_ms,
                           const char *format, ...)
{
    BB_ASSERT(error != BB_OK);
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    length = BB_MIN(BB_MAX(length, 0), (int)sizeof text - 1);
    bb_message_t message = {.kind = BB_KIND_ERROR,
                            .epoch = self->epoch,
                            .request_id = request_id,
                            .trace_id = trace_id,
                            .error = {.code = error,
                                      .detail = bb_slice(text, (size_t)length),
                                      .retry_after_ms = retry_after_ms}};
    bb_shard_answer(self, ticket, &message, NULL);
}

int64_t bb_shard_deadline_mono_ns(const bb_shard_t *self, const bb_message_t *message)
{
    int64_t timeout_ns = message->timeout_ns > 0 ? message->timeout_ns : BB_DEADLINE_NS_DEFAULT;
    return self->time.mono_ns + BB_MIN(timeout_ns, BB_DEADLINE_NS_MAX);
}

void bb_shard_policy(bb_shard_t *self, bb_shard_time_t time, bb_policy_t *policy)
{
    BB_ASSERT(self && policy);
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    self->time = time;
    bb_store_policy_set(self->store, policy);
    self->clock_next_mono_ns = time.mono_ns;
}

// ---- events --------------------------------------------------------------------------------

static void s_time_set(bb_shard_t *self, bb_shard_time_t time)
{
    BB_ASSERT(time.mono_ns >= self->time.mono_ns);
    self->time = time;
}

void bb_shard_client(bb_shard_t *self, bb_shard_time_t time, uint64_t ticket,
                     const bb_message_t *message, bb_buffer_t *envelope, bb_buffer_t *batch)
{
    BB_ASSERT(self && message && envelope);
    s_time_set(self, time);
    if (message->epoch != 0 && message->epoch != self->epoch) {
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id, BB_ERR_EPOCH, 0,
                              "the request has epoch %u, this node has %u", message->epoch,
                              self->epoch);
        return;
    }
    switch (message->kind) {
    case BB_KIND_WRITE:
        bb_shard_write(self, ticket, message, batch);
        break;
    case BB_KIND_QUERY:
        bb_shard_query(self, ticket, message, envelope);
        break;
    case BB_KIND_SETTLE:
        bb_shard_settle(self, ticket, message);
        break;
    case BB_KIND_SCRUB:
        bb_shard_scrub(self, ticket, message);
        break;
    case BB_KIND_RELEASE:
        bb_shard_release(self, ticket, message, envelope);
        break;
    default:
        bb_shard_answer_error(self, ticket, message->request_id, message->trace_id,
                              BB_ERR_MESSAGE_VERSION, 0, "a store does not answer %s",
                              bb_kind_name(message->kind));
        break;
    }
}

void bb_shard_peer_state(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index, bool is_up,
                         const bb_stream_t *incarnation, uint32_t store_count)
{
    BB_ASSERT(self && incarnation);
    BB_ASSERT(peer_index < self->node_count && peer_index != self->self_index);
    s_time_set(self, time);
    bool is_same =
        bb_stream_is_equal(bb_have_view_incarnation(self->view, peer_index), incarnation);
    if (!is_up || !is_same) {
        bb_relay_lost(self->relay, peer_index);
        bb_shard_relays_step(self); // before it is forgotten who owes what
        bb_replication_peer_reset(self->replication, peer_index);
        bb_shard_pulls_forget(self, peer_index);
    }
    if (!is_same) {
        self->acks[peer_index].range_count = 0; // they were for the one before
        self->acks[peer_index].batch_count = 0;
    }
    self->is_up[peer_index] = is_up;
    bb_have_view_peer(self->view, time.mono_ns, peer_index, is_up, incarnation, store_count);
    if (is_up && !is_same) {
        bb_shard_ack_all(self, peer_index);
    }
    bb_shard_watch_peer(self, peer_index, is_same);
    self->is_changed = true;
}

void bb_shard_peer_mark(bb_shard_t *self, bb_shard_time_t time, uint32_t peer_index, uint64_t mark)
{
    BB_ASSERT(self && peer_index < self->node_count && peer_index != self->self_index);
    s_time_set(self, time);
    bb_have_view_mark(self->view, peer_index, mark);
}

uint64_t bb_shard_have_version(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return bb_store_version(self->store) + (self->watch ? bb_watch_done_version(self->watch) : 0);
}

void bb_shard_commit(bb_shard_t *self, bb_shard_time_t time)
{
    BB_ASSERT(self);
    s_time_set(self, time);
    // First what others wait for: durability, acknowledgements, outcomes.
    bb_shard_commit_staged(self);
    bb_shard_forget_step(self);
    bb_shard_acks_send(self);
    bb_replication_tick(self->replication, time.mono_ns);
    bb_shard_outcomes(self);
    bb_shard_relays_step(self);
    // Then readers, who wait for peers' have-sets, and what we lack.
    bb_shard_ask(self);
    bb_shard_reads_step(self);
    bb_shard_pull(self);
    bb_shard_sync_step(self);
    // Then others' repair and our own housekeeping.
    bb_shard_pulls_serve(self);
    bb_shard_maintain(self);
    bb_shard_releases_step(self);
    bb_shard_watch_step(self);
}

int64_t bb_shard_take_mono_ns(const bb_shard_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    if (bb_store_is_fenced(self->store) || self->is_draining) {
        return now_mono_ns;
    }
    return bb_pace_take_mono_ns(&self->pace, now_mono_ns,
                                bb_store_head_bytes(self->store) +
                                    bb_store_staged_bytes(self->store));
}

void bb_shard_waited(bb_shard_t *self, int64_t now_mono_ns, int64_t waited_ns)
{
    BB_ASSERT(self);
    bb_pace_waited(&self->pace, now_mono_ns, waited_ns);
}

void bb_shard_repaired(bb_shard_t *self, bb_pace_way_t way, uint64_t bytes)
{
    bb_pace_repaired(&self->pace, way, self->time.mono_ns, bytes);
    *(way == BB_PACE_GIVEN ? &self->stats.repair_bytes_given : &self->stats.repair_bytes_taken) +=
        bytes;
}

bool bb_shard_is_full(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return bb_store_is_full(self->store) && !bb_store_is_fenced(self->store);
}

uint64_t bb_shard_staged_bytes(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return bb_store_staged_bytes(self->store);
}

int64_t bb_shard_wake_mono_ns(const bb_shard_t *self)
{
    BB_ASSERT(self);
    if (self->staged_count > 0 || self->has_acks || self->is_changed) {
        return self->time.mono_ns;
    }
    int64_t pulls_mono_ns = bb_shard_pulls_mono_ns(self);
    if (pulls_mono_ns <= self->time.mono_ns) {
        return self->time.mono_ns;
    }
    int64_t wake_mono_ns = bb_replication_wake_mono_ns(self->replication);
    wake_mono_ns = BB_MIN(wake_mono_ns, pulls_mono_ns);
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_relay_wake_mono_ns(self->relay));
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_have_view_wake_mono_ns(self->view));
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_shard_maintain_wake_mono_ns(self));
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_shard_sync_wake_mono_ns(self));
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_shard_watch_wake_mono_ns(self));
    wake_mono_ns = BB_MIN(wake_mono_ns, bb_shard_forget_wake_mono_ns(self));
    if (bb_fence_waiting_count(self->fence) > 0) {
        wake_mono_ns = BB_MIN(wake_mono_ns, bb_fence_wake_mono_ns(self->fence));
        wake_mono_ns = BB_MIN(wake_mono_ns, self->time.mono_ns + BB_HAVE_ANSWER_NS_MAX / 4);
    }
    return wake_mono_ns;
}

void bb_shard_drain(bb_shard_t *self, bb_shard_time_t time)
{
    BB_ASSERT(self);
    s_time_set(self, time);
    self->is_draining = true;
}

bool bb_shard_is_drained(const bb_shard_t *self)
{
    BB_ASSERT(self);
    bool is_releasing = false;
    for (uint32_t i = 0; i < BB_SHARD_RELEASES_MAX; i++) {
        is_releasing |= self->releases[i].is_used;
    }
    return self->is_draining && !self->writes && !self->reads && !is_releasing &&
           self->settle_count == 0 && self->staged_count == 0 && !self->has_acks;
}

void bb_shard_stats(const bb_shard_t *self, bb_shard_stats_t *stats)
{
    BB_ASSERT(self && stats);
    *stats = self->stats;
    bb_store_stats(self->store, &stats->store);
    bb_store_scrub_stats_t scrub = bb_store_scrub_stats(self->store, self->time.wall_ns);
    stats->scrub_bytes = scrub.scrub.bytes_total;
    stats->scrub_findings = scrub.scrub.findings_total;
    stats->scrub_oldest_age_ns = (uint64_t)scrub.scrub.oldest_age_ns;
    stats->barred_windows = scrub.barred_count;
    stats->damage_count = scrub.damage_count;
    stats->is_fenced = bb_store_is_fenced(self->store);
    stats->is_pressed = bb_pace_is_pressed(&self->pace, self->time.mono_ns);
    bb_shard_sync_stats(self, stats);
    stats->unsealed_chunks = self->unsealed_chunks + self->frozen_chunks;
    stats->streams_dead = bb_shard_dead_stream_count(self);
    bool is_counting[BB_NODES_MAX];
    bb_shard_counting(self, is_counting);
    is_counting[self->self_index] &= self->standing == BB_STANDING_COUNTING;
    // Only marks of what existed when are kept by it: the store and its replicas stay as they are.
    bb_shortfall_counts_t counts =
        bb_shortfall_look(self->shortfall, self->time.mono_ns, is_counting, stats->lag_chunks);
    stats->under_replicated = counts.under_replicated;
    stats->unequal = counts.unequal;
    uint64_t peers_lag = 0;
    for (uint32_t node = 0; node < self->node_count; node++) {
        peers_lag += node == self->self_index ? 0 : stats->lag_chunks[node];
    }
    for (uint32_t node = 0; node < self->node_count; node++) {
        bb_replication_acks_t acks = bb_replication_acks(self->replication, node);
        stats->acks_of[node] = acks.count;
        stats->ack_ns_of[node] = acks.ns_sum;
    }
    bb_replication_waiting(self->replication, self->time.mono_ns, stats->waiting_ns_of);
    bb_fence_hedges_t hedges = bb_fence_hedges(self->fence);
    stats->fences_hedged = hedges.hedged;
    stats->fences_hedged_won = hedges.won;
    bb_shard_dc_lags(self, stats);
    stats->is_caught_up = bb_have_view_is_caught_up(self->view);
    stats->untrimmed_chunks =
        stats->store.journal_sealed_files == 0 ? 0 : BB_MAX(peers_lag, UINT64_C(1));
}

// SPDX-License-Identifier: Apache-2.0
// Watched sets at the shard: chunks are read from the journal in their turn (bb_watch.h), shown to
// the rules (bb_rule_engine.h), and their events written like a client's points at local_quorum.
// Only when that has ended well the chunks are watched, and the others are told. Batches of markers
// hold nothing that a rule looks at.
//
// Rows that segment sync brings are evaluated as they come, before they are journaled: from then on
// nobody could tell that the rules have not seen them. Each replica that adopts rows does so for
// itself, and their events are written at `one`, in the journal before the rows: so they are as
// durable as these, and a node that is being rebuilt needs no quorum that it is no part of.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_shard_internal.h"

#define S_LOOK_NS       (100 * BB_NS_PER_MS)
#define S_ROUND_BYTES   (1u << 20) // of chunks, evaluated in one commit
#define S_DEADLINE_NS   (5 * BB_NS_PER_S)
#define S_EVENTS_MAX    16384u // of one batch
#define S_PIECE_ENTRIES 1024u  // of one message to a peer

typedef struct {
    uint8_t *data;
    size_t length;
} s_batch_t;

// One journal record that was evaluated.
struct bb_watch_work {
    bb_watch_work_t *next;
    bb_stream_t stream;
    uint32_t dot_count;
    uint32_t *partitions;
    uint64_t *seqs;
    uint32_t batch_count;
    s_batch_t *batches; // of events, until they are submitted
    uint32_t writes_left;
    bool has_failed;
    bool is_adopted; // rows of segment sync: no dots
};

static void s_work_free(bb_watch_work_t *work)
{
    for (uint32_t i = 0; i < work->batch_count; i++) {
        free(work->batches[i].data);
    }
    free(work->batches);
    free(work->partitions);
    free(work->seqs);
    free(work);
}

static void s_work_done(bb_shard_t *self, const bb_watch_work_t *work)
{
    bool is_forgotten = bb_forgotten_has(bb_shard_forgotten(self->forget), &work->stream);
    for (uint32_t i = 0; i < work->dot_count && !is_forgotten; i++) {
        bb_error_t error =
            bb_watch_add(self->watch, work->partitions[i], &work->stream, work->seqs[i]);
        bb_ignore(error, "LIMIT: evaluated again when the set has fewer holes");
    }
    self->is_trim_due = true;
}

void bb_shard_watch_ended(bb_shard_t *self, bb_watch_work_t *work, bb_error_t error)
{
    BB_ASSERT(self && work && work->writes_left > 0);
    work->has_failed |= error != BB_OK;
    self->stats.watch_failures += error != BB_OK;
    if (--work->writes_left > 0) {
        return;
    }
    if (!work->is_adopted) {
        BB_ASSERT(self->watch_work_count > 0);
        self->watch_work_count--;
    }
    if (!work->has_failed && !work->is_adopted) {
        s_work_done(self, work);
    }
    s_work_free(work);
}

void bb_shard_watch_works_free(bb_shard_t *self)
{
    for (bb_pending_write_t *write = self->writes; write; write = write->next) {
        if (write->watch && --write->watch->writes_left == 0) {
            s_work_free(write->watch);
        }
    }
#ifdef BB_PLANTED
    while (self->watch_late) {
        bb_watch_work_t *work = self->watch_late;
        self->watch_late = work->next;
        s_work_free(work);
    }
#endif
}

// ---- evaluating --------------------------------------------------------------------------------

typedef struct {
    bb_shard_t *shard;
    const uint32_t *partitions; // that are due, ascending
    uint32_t partition_count;
    bool *is_met; // per index: the journal has something of it
    bb_watch_work_t *works;
    // of the record at hand
    bb_watch_work_t *work;
    bb_batch_builder_t *builder;
    uint64_t revision;
} s_round_t;

static void s_cut(s_round_t *round)
{
    if (round->builder && bb_batch_builder_frame_count(round->builder) > 0) {
        bb_watch_work_t *work = round->work;
        work->batches = bb_realloc(work->batches, (work->batch_count + 1) * sizeof *work->batches);
        s_batch_t *batch = &work->batches[work->batch_count++];
        bb_batch_builder_finish(round->builder, &batch->data, &batch->length, NULL);
    }
    bb_batch_builder_destroy(&round->builder);
}

// bb_rule_event_fn
static void s_on_event(void *context, const bb_rule_event_t *event)
{
    s_round_t *round = context;
    if (!round->builder) {
        round->builder = bb_batch_builder_new(round->revision);
    }
    char name[BB_METRIC_NAME_BYTES_MAX + 1];
    int length = snprintf(name, sizeof name, BB_WATCH_METRIC_PREFIX "%.*s", (int)event->rule.length,
                          (const char *)event->rule.data);
    bb_slice_t metric = bb_slice(name, (size_t)length);
    const uint8_t type = BB_TYPE_FLOAT64;
    uint32_t battery = 0, shape = 0, order = 0;
    uint64_t bits = 0;
    memcpy(&bits, &event->value, sizeof bits);
    uint32_t partition = bb_topology_partition_of(round->shard->topology, event->battery.data,
                                                  event->battery.length);
    bb_error_t error = bb_batch_builder_battery(round->builder, partition, event->battery, NULL, 0,
                                                &battery, NULL);
    BB_ASSERT(error == BB_OK); // it was in a batch before
    error = bb_batch_builder_shape(round->builder, &metric, &type, 1, &shape, &order, NULL);
    BB_ASSERT(error == BB_OK); // names of rules are short enough
    error = bb_batch_builder_frame(round->builder, battery, shape, event->time_wall_ns, &bits);
    BB_ASSERT(error == BB_OK); // likewise, and few enough
    round->shard->stats.watch_events++;
    if (bb_batch_builder_frame_count(round->builder) == S_EVENTS_MAX) {
        s_cut(round);
    }
}

static int s_compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t s_index(const s_round_t *round, uint32_t partition)
{
    const uint32_t *found = bsearch(&partition, round->partitions, round->partition_count,
                                    sizeof *round->partitions, s_compare);
    return found ? (uint32_t)(found - round->partitions) : UINT32_MAX;
}

static void s_show(s_round_t *round, const bb_chunks_t *chunks, const bb_batch_t *batch,
                   const bool *is_wanted)
{
    const bb_rule_engine_t *rules = &round->shard->options.rules;
    round->revision = batch->revision;
    if (batch->generation == 0) {
        rules->evaluate(rules->context, chunks, batch, is_wanted, s_on_event, round);
    }
    s_cut(round);
}

static void s_evaluate(s_round_t *round, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    bb_shard_t *self = round->shard;
    bb_watch_work_t *work = bb_alloc_zero(1, sizeof *work);
    work->stream = chunks->stream;
    work->partitions = bb_alloc(batch->part_count * sizeof *work->partitions);
    work->seqs = bb_alloc(batch->part_count * sizeof *work->seqs);
    bool *is_wanted = bb_alloc_zero(batch->part_count, sizeof *is_wanted);
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t partition = batch->parts[i].partition;
        uint32_t index = s_index(round, partition);
        uint64_t seq = bb_chunks_seq(chunks, i);
        is_wanted[i] = index != UINT32_MAX &&
                       !bb_watch_is_done(self->watch, partition, &chunks->stream, seq, seq);
        if (is_wanted[i]) {
            round->is_met[index] = true;
            work->partitions[work->dot_count] = partition;
            work->seqs[work->dot_count++] = seq;
        }
    }
    round->work = work;
    s_show(round, chunks, batch, is_wanted);
    free(is_wanted);
    self->stats.watch_chunks += work->dot_count;
    work->next = round->works;
    round->works = work;
}

// bb_store_emit_fn
static void s_on_chunk(void *context, uint8_t *chunks_data, size_t chunks_length,
                       uint8_t *batch_data, size_t batch_length)
{
    bb_chunks_t chunks;
    bb_batch_t batch;
    bb_error_t error = bb_chunks_decode(&chunks, bb_slice(chunks_data, chunks_length), NULL);
    if (error == BB_OK) {
        error = bb_batch_open(&batch, bb_slice(batch_data, batch_length), NULL);
    }
    if (error == BB_OK) {
        s_evaluate(context, &chunks, &batch);
        bb_batch_close(&batch);
    }
    bb_ignore(error, "a journal record that does not verify is another replica's to evaluate");
    free(chunks_data);
    free(batch_data);
}

// *is_staged: it is in the journal with the next sync, whatever becomes of its level.
static bb_error_t s_write(bb_shard_t *self, bb_watch_work_t *work, s_batch_t *encoded,
                          bool *is_staged)
{
    bb_pending_write_t *write = bb_shard_write_new(self, 0);
    write->watch = work;
    bb_shard_submit_t submit = {.level = work->is_adopted ? BB_LEVEL_ONE : BB_LEVEL_LOCAL_QUORUM,
                                .deadline_mono_ns = self->time.mono_ns + S_DEADLINE_NS,
                                .write = write};
    bb_error_t error = bb_shard_submit_own(self, &submit, encoded->data, encoded->length);
    encoded->data = NULL; // it is gone
    *is_staged = submit.is_staged;
    return error;
}

// True: all of it is staged.
static bool s_write_all(bb_shard_t *self, bb_watch_work_t *work)
{
    work->writes_left = work->batch_count;
    uint32_t failed_count = 0;
    bool is_all_staged = true;
    for (uint32_t i = 0; i < work->batch_count; i++) {
        bool is_staged = false;
        failed_count += s_write(self, work, &work->batches[i], &is_staged) != BB_OK;
        is_all_staged &= is_staged;
    }
    // None has ended yet: outcomes are told in a later step.
    while (failed_count-- > 0) {
        bb_shard_watch_ended(self, work, BB_ERR_BUSY);
    }
    return is_all_staged;
}

// Its events are on their way, or there were none.
static void s_begin(bb_shard_t *self, bb_watch_work_t *work)
{
    if (work->batch_count == 0) {
        s_work_done(self, work);
        s_work_free(work);
        return;
    }
    self->watch_work_count++;
    s_write_all(self, work);
}

bool bb_shard_watch_adopt(bb_shard_t *self, const bb_batch_t *batch)
{
    BB_ASSERT(self && batch && batch->part_count == 1);
    if (!self->watch) {
        return true;
    }
    bb_watch_work_t *work = bb_alloc_zero(1, sizeof *work);
    work->is_adopted = true;
    s_round_t round = {.shard = self, .work = work};
    const bool is_wanted = true;
    s_show(&round, NULL, batch, &is_wanted);
    self->stats.watch_adopted += work->batch_count;
    if (work->batch_count == 0) {
        s_work_free(work);
        return true;
    }
    return s_write_all(self, work);
}

#ifdef BB_PLANTED
// The bug: what was evaluated is watched at once, and its events are written by the next look.
static bool s_is_late(bb_shard_t *self, bb_watch_work_t *work)
{
    if (!BB_IS_PLANTED(self, BB_PLANTED_WATCH_EARLY) || work->batch_count == 0) {
        return false;
    }
    s_work_done(self, work);
    work->next = self->watch_late;
    self->watch_late = work;
    return true;
}

static void s_begin_late(bb_shard_t *self)
{
    while (self->watch_late) {
        bb_watch_work_t *work = self->watch_late;
        self->watch_late = work->next;
        s_begin(self, work);
    }
}
#endif

// What is due and the journal has, newest first, within the round's budget.
static void s_round(bb_shard_t *self, const uint32_t *partitions, uint32_t count)
{
    s_round_t round = {.shard = self, .partitions = partitions, .partition_count = count};
    round.is_met = bb_alloc_zero(count, sizeof *round.is_met);
    bb_have_set_t *done = bb_alloc(count * sizeof *done); // borrowed
    uint32_t *unavailable = bb_alloc(count * sizeof *unavailable);
    uint32_t unavailable_count = 0;
    bool more = false;
    for (uint32_t i = 0; i < count; i++) {
        done[i] = *bb_watch_done_set(self->watch, partitions[i]);
    }
    bb_error_t error = bb_store_missing(self->store, partitions, done, count, S_ROUND_BYTES,
                                        s_on_chunk, &round, &more, unavailable, &unavailable_count);
    for (uint32_t i = 0; i < unavailable_count && error == BB_OK && !more; i++) {
        if (!round.is_met[s_index(&round, unavailable[i])]) {
            bb_watch_settled(self->watch, unavailable[i]);
        }
    }
    free(done);
    free(unavailable);
    free(round.is_met);
    while (round.works) {
        bb_watch_work_t *work = round.works;
        round.works = work->next;
#ifdef BB_PLANTED
        if (s_is_late(self, work)) {
            continue;
        }
#endif
        s_begin(self, work);
    }
}

// ---- telling the others ------------------------------------------------------------------------

static void s_send(bb_shard_t *self, uint32_t node, bb_lane_t lane, bb_have_entry_t *entries,
                   uint32_t *count)
{
    if (*count > 0) {
        bb_message_t message = {
            .kind = BB_KIND_WATCHED,
            .epoch = self->epoch,
            .watched = {.lane = lane, .entry_count = *count, .entries = entries}};
        bb_shard_send(self, node, false, &message, NULL, NULL);
    }
    for (uint32_t i = 0; i < *count; i++) {
        free((void *)(uintptr_t)entries[i].have.data);
    }
    *count = 0;
}

// What changed after `version`, lane by lane.
static void s_tell(bb_shard_t *self, uint32_t node, uint64_t version)
{
    bb_have_entry_t *entries = bb_alloc(S_PIECE_ENTRIES * sizeof *entries);
    uint32_t our_count = 0;
    const uint32_t *ours = bb_have_view_partitions(self->view, &our_count);
    uint32_t lane_count = bb_have_view_lane_count(self->view, node);
    for (uint32_t step = 0; step < lane_count; step++) {
        bb_lane_t lane = bb_have_view_lane(self->view, node, step);
        uint32_t count = 0;
        size_t bytes = 0;
        for (uint32_t i = 0; i < our_count; i++) {
            if (ours[i] % lane.count != lane.index ||
                !bb_have_view_is_shared(self->view, ours[i], node) ||
                bb_watch_set_version(self->watch, ours[i]) <= version) {
                continue;
            }
            const bb_have_set_t *set = bb_watch_set(self->watch, ours[i]);
            size_t length = bb_have_set_encoded_bytes(set);
            uint8_t *data = bb_alloc(length);
            bb_have_set_encode(set, data);
            entries[count++] = (bb_have_entry_t){ours[i], bb_slice(data, length)};
            bytes += length;
            if (count == S_PIECE_ENTRIES || bytes > BB_SHARD_HAVE_PIECE_BYTES) {
                s_send(self, node, lane, entries, &count);
                bytes = 0;
            }
        }
        s_send(self, node, lane, entries, &count);
    }
    free(entries);
}

// Each data centre watches for itself.
static bool s_is_told(const bb_shard_t *self, uint32_t node)
{
    return node != self->self_index &&
           bb_topology_node(self->topology, node)->dc_index ==
               bb_topology_node(self->topology, self->self_index)->dc_index;
}

void bb_shard_watch_peer(bb_shard_t *self, uint32_t node, bool is_same)
{
    BB_ASSERT(self && node < self->node_count && node != self->self_index);
    if (self->watch) {
        bb_watch_serving(self->watch, node, self->is_up[node] && !self->is_barred[node]);
        self->watch_told[node] = self->is_up[node] && is_same ? self->watch_told[node] : 0;
    }
}

bb_error_t bb_shard_watch_told(bb_shard_t *self, uint32_t peer_index, const bb_message_t *message)
{
    BB_ASSERT(self && message->kind == BB_KIND_WATCHED);
    if (!self->watch) {
        return BB_OK; // no rules here: the configuration is being changed node by node
    }
    if (!s_is_told(self, peer_index)) {
        return BB_ERR_PEER_UNKNOWN;
    }
    bb_have_set_t set = {0};
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < message->watched.entry_count && error == BB_OK; i++) {
        const bb_have_entry_t *entry = &message->watched.entries[i];
        error = entry->partition < self->partition_count
                    ? bb_have_set_decode(&set, entry->have.data, entry->have.length)
                    : BB_ERR_MESSAGE_CORRUPT;
        if (error == BB_OK) {
            bb_forgotten_drop(bb_shard_forgotten(self->forget), &set);
            bb_watch_learn(self->watch, entry->partition, &set);
        }
    }
    bb_have_set_clear(&set);
    self->is_trim_due = true;
    return error;
}

// ---- the step ----------------------------------------------------------------------------------

static bool s_may_evaluate(const bb_shard_t *self)
{
    return self->watch_work_count == 0 && self->standing == BB_STANDING_COUNTING &&
           !self->is_draining && !bb_store_is_fenced(self->store) && !bb_store_is_full(self->store);
}

void bb_shard_watch_step(bb_shard_t *self)
{
    BB_ASSERT(self);
    if (!self->watch || self->time.mono_ns < self->watch_next_mono_ns) {
        return;
    }
    if (self->watch_next_mono_ns == 0) { // first what the others know
        self->watch_next_mono_ns = self->time.mono_ns + BB_WATCH_TURN_NS;
        return;
    }
    self->watch_next_mono_ns = self->time.mono_ns + S_LOOK_NS;
    bb_watch_serving(self->watch, self->self_index, self->standing == BB_STANDING_COUNTING);
#ifdef BB_PLANTED
    s_begin_late(self);
#endif
    if (s_may_evaluate(self)) {
        uint32_t our_count = 0;
        (void)bb_have_view_partitions(self->view, &our_count);
        uint32_t *partitions = bb_alloc((our_count + 1) * sizeof *partitions);
        uint32_t count = bb_watch_due(self->watch, self->time.mono_ns, partitions);
        // Without a quorum events would only time out, again and again.
        if (count > 0 && bb_replication_unmet_part(self->replication, BB_LEVEL_LOCAL_QUORUM,
                                                   self->is_up, partitions, count) == UINT32_MAX) {
            s_round(self, partitions, count);
        }
        free(partitions);
    }
    uint64_t version = bb_watch_version(self->watch);
    for (uint32_t node = 0; node < self->node_count; node++) {
        if (s_is_told(self, node) && self->is_up[node] && self->watch_told[node] < version) {
            s_tell(self, node, self->watch_told[node]);
            self->watch_told[node] = version;
        }
    }
}

bool bb_shard_is_watched(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return !self->watch || bb_watch_is_complete(self->watch);
}

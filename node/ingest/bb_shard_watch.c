// SPDX-License-Identifier: Apache-2.0
// Watched sets at the shard: chunks are shown to the rules (bb_rule_engine.h) in their turn
// (bb_watch.h), and their events written like a client's points at local_quorum. Only when that has
// ended well the chunks are watched. Batches of markers hold nothing that a rule looks at.
//
//   fresh    what became durable with a commit and is ours to evaluate at once, out of memory;
//            events of 50 ms go together
//   a round  what is due and was not evaluated so, out of the journal; one at a time
//   adopted  rows of segment sync
//
// What goes together is one piece of work: its events are all durable, or it is due again.
//
// Rows that segment sync brings are evaluated as they come, before they are journaled: from then on
// nobody could tell that the rules have not seen them. Each replica that adopts rows does so for
// itself, and their events are written at `one`, in the journal before the rows: so they are as
// durable as these, and a node that is being rebuilt needs no quorum that it is no part of.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_shard_internal.h"

#define S_LOOK_NS (100 * BB_NS_PER_MS)
// Events of fresh chunks wait so long for more, to be one batch. Not written at once they also come
// to a replica at any time, and not just when it has said something: how soon it acknowledges them
// is how soon it acknowledges anything (bb_route_score.h).
#define S_GATHER_NS   (50 * BB_NS_PER_MS)
#define S_ROUND_BYTES (4u << 20) // of chunks, out of the journal for one piece of work
#define S_DEADLINE_NS (5 * BB_NS_PER_S)
#define S_EVENTS_MAX  16384u // of one batch
// Pieces on their way; then what is fresh waits for one to end, and grows. Each leaves a hole in
// the watched sets at most, so there is room for all (BB_HAVE_RANGES_MAX).
#define S_FRESH_WORKS_MAX 12u
// Of one piece: what comes past it is due, and read from the journal later.
#define S_DOTS_MAX    65536u
#define S_BATCHES_MAX 8u
static_assert(S_FRESH_WORKS_MAX < BB_HAVE_RANGES_MAX / 2, "their holes have room, and others");

typedef enum { S_FRESH, S_ROUND, S_ADOPTED } s_kind_t;

typedef struct {
    uint8_t *data;
    size_t length;
} s_batch_t;

typedef struct {
    bb_stream_t stream;
    uint64_t seq;
    uint32_t partition;
} s_dot_t;

// What is evaluated together.
struct bb_watch_work {
    bb_watch_work_t *next; // of those on their way
    s_kind_t kind;
    uint32_t dot_count, dot_capacity; // none of rows that are adopted
    s_dot_t *dots;
    bb_batch_builder_t *builder; // of events, while it is evaluated
    uint64_t revision;           // of them
    uint32_t batch_count;
    s_batch_t *batches; // until they are submitted
    uint32_t writes_left;
    bool has_failed;
};

static bb_watch_work_t *s_work_new(s_kind_t kind)
{
    bb_watch_work_t *work = bb_alloc_zero(1, sizeof *work);
    work->kind = kind;
    return work;
}

static void s_work_free(bb_watch_work_t *work)
{
    for (uint32_t i = 0; i < work->batch_count; i++) {
        free(work->batches[i].data);
    }
    bb_batch_builder_destroy(&work->builder);
    free(work->batches);
    free(work->dots);
    free(work);
}

static bool s_is_forgotten(const bb_shard_t *self, const bb_stream_t *stream)
{
    return bb_forgotten_has(bb_shard_forgotten(self->forget), stream);
}

static void s_dots_begin(bb_shard_t *self, const bb_watch_work_t *work)
{
    for (uint32_t i = 0; i < work->dot_count; i++) {
        const s_dot_t *dot = &work->dots[i];
        if (!s_is_forgotten(self, &dot->stream)) {
            bb_error_t error = bb_watch_begin(self->watch, dot->partition, &dot->stream, dot->seq);
            bb_ignore(error, "LIMIT: it may be evaluated twice");
        }
    }
}

// Its dots are due again, unless they are watched; those of other pieces are not.
static void s_dots_return(bb_shard_t *self, const bb_watch_work_t *work)
{
    for (uint32_t i = 0; i < work->dot_count; i++) {
        bool is_again = i > 0 && work->dots[i].partition == work->dots[i - 1].partition;
        if (!is_again) {
            bb_watch_begin_none(self->watch, work->dots[i].partition);
        }
    }
    for (const bb_watch_work_t *other = self->watch_works; other; other = other->next) {
        s_dots_begin(self, other);
    }
    if (self->watch_fresh) {
        s_dots_begin(self, self->watch_fresh);
    }
}

// Its events are durable, or there were none. It is not on its way any more.
static void s_work_done(bb_shard_t *self, const bb_watch_work_t *work)
{
    bool is_all = true;
    for (uint32_t i = 0; i < work->dot_count; i++) {
        const s_dot_t *dot = &work->dots[i];
        is_all &= s_is_forgotten(self, &dot->stream) ||
                  bb_watch_add(self->watch, dot->partition, &dot->stream, dot->seq) == BB_OK;
    }
    if (!is_all) {
        s_dots_return(self, work); // LIMIT: evaluated again when the set has fewer holes
    }
    self->is_trim_due = true;
}

static void s_work_unlink(bb_shard_t *self, const bb_watch_work_t *work)
{
    bb_watch_work_t **link = &self->watch_works;
    while (*link != work) {
        BB_ASSERT(*link);
        link = &(*link)->next;
    }
    *link = work->next;
    BB_ASSERT(self->watch_work_count > 0);
    self->watch_work_count--;
    self->is_watch_round_out &= work->kind != S_ROUND;
}

void bb_shard_watch_ended(bb_shard_t *self, bb_watch_work_t *work, bb_error_t error)
{
    BB_ASSERT(self && work && work->writes_left > 0);
    work->has_failed |= error != BB_OK;
    self->stats.watch_failures += error != BB_OK;
    if (--work->writes_left > 0) {
        return;
    }
    if (work->kind != S_ADOPTED) {
        s_work_unlink(self, work);
        if (work->has_failed) {
            s_dots_return(self, work);
        } else {
            s_work_done(self, work);
        }
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
    if (self->watch_fresh) {
        s_work_free(self->watch_fresh);
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

static void s_cut(bb_watch_work_t *work)
{
    if (work->builder && bb_batch_builder_frame_count(work->builder) > 0) {
        work->batches = bb_realloc(work->batches, (work->batch_count + 1) * sizeof *work->batches);
        s_batch_t *batch = &work->batches[work->batch_count++];
        bb_batch_builder_finish(work->builder, &batch->data, &batch->length, NULL);
    }
    bb_batch_builder_destroy(&work->builder);
}

typedef struct {
    bb_shard_t *shard;
    bb_watch_work_t *work;
} s_events_t;

// bb_rule_event_fn
static void s_on_event(void *context, const bb_rule_event_t *event)
{
    s_events_t *events = context;
    bb_watch_work_t *work = events->work;
    if (!work->builder) {
        work->builder = bb_batch_builder_new(work->revision);
    }
    char name[BB_METRIC_NAME_BYTES_MAX + 1];
    int length = snprintf(name, sizeof name, BB_WATCH_METRIC_PREFIX "%.*s", (int)event->rule.length,
                          (const char *)event->rule.data);
    bb_slice_t metric = bb_slice(name, (size_t)length);
    const uint8_t type = BB_TYPE_FLOAT64;
    uint32_t battery = 0, shape = 0, order = 0;
    uint64_t bits = 0;
    memcpy(&bits, &event->value, sizeof bits);
    uint32_t partition = bb_topology_partition_of(events->shard->topology, event->battery.data,
                                                  event->battery.length);
    bb_error_t error =
        bb_batch_builder_battery(work->builder, partition, event->battery, NULL, 0, &battery, NULL);
    BB_ASSERT(error == BB_OK); // it was in a batch before
    error = bb_batch_builder_shape(work->builder, &metric, &type, 1, &shape, &order, NULL);
    BB_ASSERT(error == BB_OK); // names of rules are short enough
    error = bb_batch_builder_frame(work->builder, battery, shape, event->time_wall_ns, &bits);
    BB_ASSERT(error == BB_OK); // likewise, and few enough
    events->shard->stats.watch_events++;
    if (bb_batch_builder_frame_count(work->builder) == S_EVENTS_MAX) {
        s_cut(work);
    }
}

static void s_show(bb_shard_t *self, bb_watch_work_t *work, const bb_chunks_t *chunks,
                   const bb_batch_t *batch, const bool *is_wanted)
{
    const bb_rule_engine_t *rules = &self->options.rules;
    if (work->revision != batch->revision) {
        s_cut(work); // a batch of events has one
        work->revision = batch->revision;
    }
    if (batch->generation == 0) {
        s_events_t events = {self, work};
        rules->evaluate(rules->context, chunks, batch, is_wanted, s_on_event, &events);
    }
}

static void s_dot_note(bb_shard_t *self, bb_watch_work_t *work, const bb_stream_t *stream,
                       uint32_t partition, uint64_t seq)
{
    if (work->dot_count == work->dot_capacity) {
        work->dot_capacity = BB_MAX(2 * work->dot_capacity, 256u);
        work->dots = bb_realloc(work->dots, work->dot_capacity * sizeof *work->dots);
    }
    work->dots[work->dot_count++] =
        (s_dot_t){.stream = *stream, .seq = seq, .partition = partition};
    self->stats.watch_chunks++;
}

// ---- writing events ----------------------------------------------------------------------------

// *is_staged: it is in the journal with the next sync, whatever becomes of its level.
static bb_error_t s_write(bb_shard_t *self, bb_watch_work_t *work, s_batch_t *encoded,
                          bool *is_staged)
{
    bb_pending_write_t *write = bb_shard_write_new(self, 0);
    write->watch = work;
    bool is_adopted = work->kind == S_ADOPTED;
    bb_shard_submit_t submit = {.level = is_adopted ? BB_LEVEL_ONE : BB_LEVEL_LOCAL_QUORUM,
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

// All of it is evaluated; takes it over.
static void s_begin(bb_shard_t *self, bb_watch_work_t *work)
{
    s_cut(work);
    if (work->batch_count == 0) {
        if (work->dot_count > 0) {
            s_work_done(self, work);
        }
        s_work_free(work);
        return;
    }
    work->next = self->watch_works;
    self->watch_works = work;
    self->watch_work_count++;
    self->is_watch_round_out |= work->kind == S_ROUND;
    s_write_all(self, work);
}

#ifdef BB_PLANTED
// The bug: what was evaluated is watched at once, and its events are written by the next look.
static bool s_is_late(bb_shard_t *self, bb_watch_work_t *work)
{
    s_cut(work);
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
#else
static bool s_is_late(bb_shard_t *self, bb_watch_work_t *work)
{
    (void)self, (void)work;
    return false;
}
#endif

// ---- rows of segment sync ----------------------------------------------------------------------

bool bb_shard_watch_adopt(bb_shard_t *self, const bb_batch_t *batch)
{
    BB_ASSERT(self && batch && batch->part_count == 1);
    if (!self->watch) {
        return true;
    }
    bb_watch_work_t *work = s_work_new(S_ADOPTED);
    const bool is_wanted = true;
    s_show(self, work, NULL, batch, &is_wanted);
    s_cut(work);
    self->stats.watch_adopted += work->batch_count;
    if (work->batch_count == 0) {
        s_work_free(work);
        return true;
    }
    return s_write_all(self, work);
}

// ---- what is fresh -----------------------------------------------------------------------------

static bool s_may_evaluate(const bb_shard_t *self)
{
    return self->standing == BB_STANDING_COUNTING && !self->is_draining &&
           !bb_store_is_fenced(self->store);
}

static bool s_may_write(const bb_shard_t *self)
{
    return s_may_evaluate(self) && !bb_store_is_full(self->store);
}

// Without a quorum events would only time out, again and again.
static bool s_has_quorum(const bb_shard_t *self, const bool *is_counting, uint32_t partition)
{
    return bb_replication_unmet_part(self->replication, BB_LEVEL_LOCAL_QUORUM, is_counting,
                                     &partition, 1) == UINT32_MAX;
}

// Ours to evaluate now, and begun.
static bool s_is_fresh(bb_shard_t *self, const bool *is_counting, const bb_stream_t *stream,
                       uint32_t partition, uint64_t seq)
{
    return bb_watch_is_owner(self->watch, partition) &&
           bb_have_set_contains(bb_store_have(self->store, partition), stream, seq) &&
           !bb_have_set_contains(bb_watch_begun_set(self->watch, partition), stream, seq) &&
           s_has_quorum(self, is_counting, partition) &&
           bb_watch_begin(self->watch, partition, stream, seq) == BB_OK;
}

void bb_shard_watch_applied(bb_shard_t *self, const bb_staged_t *staged)
{
    BB_ASSERT(self && staged);
    const bb_chunks_t *chunks = &staged->chunks;
    bb_watch_work_t *work = self->watch_fresh;
    bool has_room = !work || (work->dot_count < S_DOTS_MAX && work->batch_count < S_BATCHES_MAX);
    if (!self->watch || !self->has_watch_looked || !has_room || !s_may_evaluate(self) ||
        bb_stream_is_none(&chunks->stream) || s_is_forgotten(self, &chunks->stream)) {
        return;
    }
    bool is_counting[BB_NODES_MAX];
    bb_shard_counting(self, is_counting);
    bool is_any = false;
    bool *is_wanted = bb_alloc_zero(chunks->part_count, sizeof *is_wanted);
    for (uint32_t i = 0; i < chunks->part_count; i++) {
        uint32_t partition = staged->batch.parts[i].partition;
        uint64_t seq = bb_chunks_seq(chunks, i);
        is_wanted[i] = s_is_fresh(self, is_counting, &chunks->stream, partition, seq);
        if (is_wanted[i]) {
            is_any = true;
            if (!work) {
                work = s_work_new(S_FRESH);
                self->watch_gather_mono_ns = self->time.mono_ns + S_GATHER_NS;
            }
            s_dot_note(self, work, &chunks->stream, partition, seq);
        }
    }
    if (is_any) {
        s_show(self, work, chunks, &staged->batch, is_wanted);
        self->watch_fresh = work;
    }
    free(is_wanted);
}

static void s_fresh_begin(bb_shard_t *self)
{
    bb_watch_work_t *work = self->watch_fresh;
    if (!work) {
        return;
    }
    bool has_events =
        work->batch_count > 0 || (work->builder && bb_batch_builder_frame_count(work->builder) > 0);
    bool is_gathered = work->batch_count > 0 || self->time.mono_ns >= self->watch_gather_mono_ns;
    bool may_begin = is_gathered && s_may_write(self) && self->watch_work_count < S_FRESH_WORKS_MAX;
    if (may_begin || !has_events) {
        self->watch_fresh = NULL;
        if (!s_is_late(self, work)) {
            s_begin(self, work);
        }
    }
}

// ---- a round through the journal ---------------------------------------------------------------

typedef struct {
    bb_shard_t *shard;
    const uint32_t *partitions; // that are due, ascending
    uint32_t partition_count;
    bool *is_met; // per index: the journal has something of it
    bb_watch_work_t *work;
} s_round_t;

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

static void s_evaluate(s_round_t *round, const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    bb_shard_t *self = round->shard;
    bool *is_wanted = bb_alloc_zero(batch->part_count, sizeof *is_wanted);
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t partition = batch->parts[i].partition;
        uint32_t index = s_index(round, partition);
        uint64_t seq = bb_chunks_seq(chunks, i);
        is_wanted[i] = index != UINT32_MAX &&
                       !bb_watch_is_done(self->watch, partition, &chunks->stream, seq, seq);
        if (is_wanted[i]) {
            round->is_met[index] = true;
            s_dot_note(self, round->work, &chunks->stream, partition, seq);
        }
    }
    s_show(self, round->work, chunks, batch, is_wanted);
    free(is_wanted);
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

// What is due and the journal has, newest first, within the round's budget.
static void s_round(bb_shard_t *self, const uint32_t *partitions, uint32_t count)
{
    s_round_t round = {.shard = self, .partitions = partitions, .partition_count = count};
    round.is_met = bb_alloc_zero(count, sizeof *round.is_met);
    round.work = s_work_new(S_ROUND);
    bb_have_set_t *begun = bb_alloc(count * sizeof *begun); // borrowed
    uint32_t *unavailable = bb_alloc(count * sizeof *unavailable);
    uint32_t unavailable_count = 0;
    bool more = false;
    for (uint32_t i = 0; i < count; i++) {
        begun[i] = *bb_watch_begun_set(self->watch, partitions[i]);
    }
    bb_error_t error = bb_store_missing(self->store, partitions, begun, count, S_ROUND_BYTES, NULL,
                                        s_on_chunk, &round, &more, unavailable, &unavailable_count);
    free(begun);
    s_dots_begin(self, round.work); // not before: those sets were borrowed
    for (uint32_t i = 0; i < unavailable_count && error == BB_OK && !more; i++) {
        if (!round.is_met[s_index(&round, unavailable[i])]) {
            bb_watch_settled(self->watch, unavailable[i]);
        }
    }
    free(unavailable);
    free(round.is_met);
    if (!s_is_late(self, round.work)) {
        s_begin(self, round.work);
    }
}

// ---- the step ----------------------------------------------------------------------------------

// What is due and can be evaluated now; room for all of ours.
static uint32_t s_due(bb_shard_t *self, uint32_t *partitions)
{
    bool is_counting[BB_NODES_MAX];
    bb_shard_counting(self, is_counting);
    uint32_t due_count = bb_watch_due(self->watch, self->time.mono_ns, partitions), count = 0;
    for (uint32_t i = 0; i < due_count; i++) {
        if (s_has_quorum(self, is_counting, partitions[i])) {
            partitions[count++] = partitions[i];
        }
    }
    return count;
}

static void s_look(bb_shard_t *self)
{
    bool may_write = s_may_write(self);
    uint64_t version = bb_store_version(self->store);
    bool is_idle = true;
    self->watch_next_mono_ns = self->time.mono_ns + S_LOOK_NS;
    self->has_watch_looked = true;
    bb_watch_serving(self->watch, self->self_index, self->standing == BB_STANDING_COUNTING);
#ifdef BB_PLANTED
    s_begin_late(self);
#endif
    if (may_write && !self->is_watch_round_out) {
        uint32_t our_count = 0;
        (void)bb_have_view_partitions(self->view, &our_count);
        uint32_t *partitions = bb_alloc((our_count + 1) * sizeof *partitions);
        uint32_t count = s_due(self, partitions);
        is_idle = bb_watch_is_idle(self->watch);
        if (count > 0) {
            s_round(self, partitions, count);
        }
        free(partitions);
    }
    bb_shard_watch_tell(self);
    // Nothing waits here, and nobody waits for us: the next look is when something has changed.
    self->is_watch_idle = is_idle && self->watch_work_count == 0 && !self->watch_fresh;
    self->watch_idle_version = version;
    self->could_watch = may_write;
}

void bb_shard_watch_step(bb_shard_t *self)
{
    BB_ASSERT(self);
    if (!self->watch) {
        return;
    }
    s_fresh_begin(self);
    self->is_watch_idle &= bb_store_version(self->store) == self->watch_idle_version &&
                           s_may_write(self) == self->could_watch;
    if (self->is_watch_idle || self->time.mono_ns < self->watch_next_mono_ns) {
        return;
    }
    if (self->watch_next_mono_ns == 0) { // first what the others know
        self->watch_next_mono_ns = self->time.mono_ns + BB_WATCH_TURN_NS;
        return;
    }
    s_look(self);
}

int64_t bb_shard_watch_wake_mono_ns(const bb_shard_t *self)
{
    BB_ASSERT(self);
    if (!self->watch || self->is_watch_idle) {
        return BB_NEVER_NS;
    }
    bool is_gathering = self->watch_fresh && self->time.mono_ns < self->watch_gather_mono_ns;
    return is_gathering ? BB_MIN(self->watch_next_mono_ns, self->watch_gather_mono_ns)
                        : self->watch_next_mono_ns;
}

bool bb_shard_is_watched(const bb_shard_t *self)
{
    BB_ASSERT(self);
    return !self->watch || bb_watch_is_complete(self->watch);
}

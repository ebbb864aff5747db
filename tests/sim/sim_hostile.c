// SPDX-License-Identifier: Apache-2.0
// A hostile node: while faults happen it is an authenticated peer that lies. Inside it is an honest
// one, on an honest disk, so what lies is what it says: it sends what no node may send, alters or
// keeps back its own messages, and says that it holds what it does not.
//
// What is promised all the same: honest nodes neither crash nor lose or alter what was
// acknowledged, as far as honest replicas alone satisfy the level, and converge when the liar has
// stopped. What is not, because a receiver has nothing to check it against, is not done here:
// another payload under a dot that the receiver does not hold yet, have-sets that name what their
// sender lacks (segment sync adopts what a majority says), registry entries, watched sets, and what
// a source of segment sync says.
#include "node/ingest/bb_shard_internal.h" // have-sets and seqs, as a debugger would
#include "node/query/bb_store_split.h"
#include "protocol/bb_chunks.h"
#include "protocol/bb_limits.h"
#include "tests/sim/sim_world.h"

#include <stdlib.h>
#include <string.h>

typedef enum {
    S_GAPS,      // a chunk with a gap before it, of a stream that nobody knows
    S_REPEAT,    // another payload under a dot that the receiver holds
    S_FORGED,    // under a dot of the receiver's own stream that it has not given
    S_FORGOTTEN, // under a stream of a start that was long ago
    S_ACK_UNSENT,
    S_ACK_ABSURD, // of what was never given
    S_EPOCH,      // an acknowledgement under another epoch
    S_WIDE_HAVE,  // a have-set with too many ranges
    S_OVERSIZE,
    S_PULL,      // a question for everything, again and again
    S_PULL_DONE, // an answer that was not asked for
    S_JUNK,
    S_KIND_COUNT,
} s_kind_t;

static void s_count(sim_world_t *self, s_kind_t kind)
{
    sim_counters_t *counters = &self->counters;
    uint64_t *const by_kind[S_KIND_COUNT] = {
        [S_GAPS] = &counters->hostile_gaps,
        [S_REPEAT] = &counters->hostile_repeats,
        [S_FORGED] = &counters->hostile_forged,
        [S_FORGOTTEN] = &counters->hostile_forgotten,
        [S_ACK_UNSENT] = &counters->hostile_acks_unsent,
        [S_ACK_ABSURD] = &counters->hostile_acks_absurd,
        [S_EPOCH] = &counters->hostile_epochs,
        [S_WIDE_HAVE] = &counters->hostile_wide_haves,
        [S_OVERSIZE] = &counters->hostile_oversize,
        [S_PULL] = &counters->hostile_pulls,
        [S_PULL_DONE] = &counters->hostile_pulls_done,
        [S_JUNK] = &counters->hostile_junk,
    };
    (*by_kind[kind])++;
}

bool sim_hostile_is(const sim_world_t *self, uint32_t node)
{
    return self->options.has_hostile && self->hostile.node == node;
}

void sim_hostile_open(sim_world_t *self)
{
    sim_hostile_t *hostile = &self->hostile;
    hostile->random = sim_world_stream(self, SIM_STREAM_HOSTILE, UINT64_MAX);
    hostile->node = (uint32_t)bb_random_below(&hostile->random, self->options.node_count);
}

void sim_hostile_destroy(sim_world_t *self)
{
    for (uint32_t i = 0; i < SIM_HOSTILE_SEEN; i++) {
        bb_buffer_drop(&self->hostile.seen_chunks[i]);
        bb_buffer_drop(&self->hostile.seen_batches[i]);
    }
}

// ---- what it has seen ------------------------------------------------------------------------

void sim_hostile_saw(sim_world_t *self, uint32_t to, const bb_outbound_t *message)
{
    sim_hostile_t *hostile = &self->hostile;
    if (!sim_hostile_is(self, to) || !message->chunks || !message->body) {
        return;
    }
    uint32_t at = hostile->seen_count++ % SIM_HOSTILE_SEEN;
    bb_buffer_drop(&hostile->seen_chunks[at]);
    bb_buffer_drop(&hostile->seen_batches[at]);
    hostile->seen_chunks[at] = bb_buffer_keep(message->chunks);
    hostile->seen_batches[at] = bb_buffer_keep(message->body);
}

// ---- what it sends ---------------------------------------------------------------------------

typedef struct {
    sim_world_t *world;
    bb_random_t *random;
    sim_node_t *target;
    const sim_node_t *liar;
    bb_shard_t *shard; // of the target
} s_lie_t;

// At once, to this very process: what it holds now decides what is a lie.
static void s_send(const s_lie_t *lie, bb_buffer_t *envelope, bb_buffer_t *chunks,
                   bb_buffer_t *batch)
{
    sim_event_t event = {.kind = SIM_EVENT_PEER,
                         .node = lie->target->slot,
                         .other = lie->world->hostile.node,
                         .life = lie->target->life,
                         .envelope = envelope,
                         .chunks = chunks,
                         .body = batch ? bb_buffer_keep(batch) : NULL};
    sim_events_add(lie->world->events, sim_world_now_ns(lie->world), &event);
}

static bb_buffer_t *s_encoded(const bb_message_t *message)
{
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(message, &data, &length);
    return bb_buffer_new(data, length, NULL, NULL);
}

// One that both agree on, if the target knows the liar.
static bb_lane_t s_lane(const s_lie_t *lie)
{
    uint32_t node = lie->world->hostile.node;
    return bb_have_view_lane_count(lie->shard->view, node) > 0
               ? bb_have_view_lane(lie->shard->view, node, 0)
               : (bb_lane_t){1, 0};
}

static bb_message_t s_message(const s_lie_t *lie, bb_kind_t kind)
{
    return (bb_message_t){.kind = kind, .epoch = bb_topology_epoch(lie->target->topology)};
}

// Dots for a part of a batch whose payload it has seen; 0: none that is the lie.
static uint64_t s_seq(const s_lie_t *lie, s_kind_t kind, uint32_t partition,
                      const bb_stream_t *stream)
{
    const sim_node_t *target = lie->target;
    if (kind == S_GAPS || kind == S_FORGOTTEN) {
        return bb_random_between(lie->random, 1, 1000);
    }
    if (!sim_world_is_replica(lie->world, partition, target->index)) {
        return 0;
    }
    if (kind == S_FORGED) {
        const bb_shard_t *shard =
            target->stores[bb_store_of_partition(partition, target->store_count)].shard;
        return bb_replication_seq_last(shard->replication, partition) +
               bb_random_between(lie->random, 1, 3);
    }
    const bb_have_stream_t *held = bb_have_set_stream(sim_node_have(target, partition), stream);
    if (!held) {
        return 0;
    }
    const bb_seq_range_t *range = &held->ranges[bb_random_below(lie->random, held->range_count)];
    return bb_random_between(lie->random, range->first_seq, range->last_seq);
}

static bb_stream_t s_stream(const s_lie_t *lie, s_kind_t kind, const bb_stream_t *seen)
{
    uint8_t random[8];
    uint64_t drawn = bb_random_next(lie->random);
    memcpy(random, &drawn, sizeof random);
    const char *id = bb_topology_node(lie->target->topology, lie->world->hostile.node)->id;
    switch (kind) {
    case S_GAPS:
        return bb_stream_make((uint32_t)bb_random_next(lie->random), 1, random);
    case S_FORGOTTEN:
        return bb_stream_make(bb_stream_node_hash(id), 1, random);
    case S_FORGED:
        return lie->target->stream;
    default:
        return *seen;
    }
}

// The payload of a batch that it has seen, under other dots. False: it makes no such lie of it.
static bool s_chunk(const s_lie_t *lie, s_kind_t kind)
{
    sim_hostile_t *hostile = &lie->world->hostile;
    uint32_t count = BB_MIN(hostile->seen_count, SIM_HOSTILE_SEEN);
    if (count == 0) {
        return false;
    }
    uint32_t payload = (uint32_t)bb_random_below(lie->random, count);
    uint32_t dots = (uint32_t)bb_random_below(lie->random, count);
    bb_chunks_t chunks, other;
    bb_batch_t batch;
    if (bb_chunks_decode(&chunks, bb_buffer_slice(hostile->seen_chunks[payload]), NULL) != BB_OK ||
        bb_chunks_decode(&other, bb_buffer_slice(hostile->seen_chunks[dots]), NULL) != BB_OK ||
        bb_batch_open(&batch, bb_buffer_slice(hostile->seen_batches[payload]), NULL) != BB_OK) {
        return false; // it had been altered itself
    }
    chunks.stream = s_stream(lie, kind, &other.stream);
    uint64_t *seqs = bb_alloc_zero(batch.part_count + 1, sizeof *seqs);
    bool is_lie = true;
    for (uint32_t i = 0; i < batch.part_count; i++) {
        seqs[i] = s_seq(lie, kind, batch.parts[i].partition, &chunks.stream);
        is_lie &= seqs[i] > 0;
    }
    chunks.seqs = seqs;
    if (is_lie) {
        uint8_t *data = NULL;
        size_t length = 0;
        bb_chunks_encode(&chunks, &data, &length);
        bb_message_t message = s_message(lie, BB_KIND_REPLICATE);
        s_send(lie, s_encoded(&message), bb_buffer_new(data, length, NULL, NULL),
               hostile->seen_batches[payload]);
    }
    free(seqs);
    bb_batch_close(&batch);
    return is_lie;
}

static bool s_ack(const s_lie_t *lie, s_kind_t kind)
{
    bb_dot_range_t ranges[SIM_PARTITIONS_MAX];
    uint32_t count = 0;
    for (uint32_t p = 0; p < lie->world->options.partition_count; p++) {
        const bb_shard_t *shard =
            lie->target->stores[bb_store_of_partition(p, lie->target->store_count)].shard;
        bool is_ours = sim_world_is_replica(lie->world, p, lie->target->index);
        uint64_t last = is_ours ? bb_replication_seq_last(shard->replication, p) : 0;
        if (kind == S_ACK_ABSURD) {
            last = last + bb_random_between(lie->random, 1, UINT32_MAX);
        }
        if (last > 0) {
            ranges[count++] = (bb_dot_range_t){.partition = p, .first_seq = 1, .last_seq = last};
        }
    }
    bb_message_t message = s_message(lie, BB_KIND_REPLICATE_ACK);
    message.epoch += kind == S_EPOCH ? (uint32_t)bb_random_between(lie->random, 1, 3) : 0;
    message.replicate_ack = (bb_replicate_ack_t){.stream = lie->target->stream,
                                                 .incarnation = lie->liar->stream,
                                                 .range_count = count,
                                                 .ranges = ranges,
                                                 .lane = {1, 0}};
    if (count > 0) {
        s_send(lie, s_encoded(&message), NULL, NULL);
    }
    return count > 0;
}

// It answers the question that was asked last.
static bool s_wide_have(const s_lie_t *lie)
{
    size_t length = 24 + 16 * ((size_t)BB_HAVE_RANGES_MAX + 1);
    uint8_t *bytes = bb_alloc_zero(1, length);
    memcpy(bytes, lie->liar->stream.bytes, sizeof lie->liar->stream.bytes);
    uint32_t range_count = BB_HAVE_RANGES_MAX + 1;
    memcpy(bytes + 16, &range_count, sizeof range_count);
    for (uint64_t i = 0; i < range_count; i++) {
        uint64_t range[2] = {1 + 2 * i, 1 + 2 * i};
        memcpy(bytes + 24 + 16 * i, range, sizeof range);
    }
    const bb_have_view_t *view = lie->shard->view;
    uint32_t partition =
        (uint32_t)bb_random_below(lie->random, lie->world->options.partition_count);
    bb_have_entry_t entry = {.partition = partition, .have = bb_slice(bytes, length)};
    bb_message_t message = s_message(lie, BB_KIND_HAVE);
    message.request_id = bb_have_view_request_id_next(view) - 1;
    message.have = (bb_have_t){.incarnation = lie->liar->stream,
                               .version = bb_random_next(lie->random) >> 8,
                               .is_last = true,
                               .lane = s_lane(lie),
                               .entry_count = 1,
                               .entries = &entry};
    s_send(lie, s_encoded(&message), NULL, NULL);
    free(bytes);
    return true;
}

static bool s_pull(const s_lie_t *lie, s_kind_t kind)
{
    bb_lane_t lane = s_lane(lie);
    bb_message_t message = s_message(lie, kind == S_PULL ? BB_KIND_PULL : BB_KIND_PULL_DONE);
    message.request_id = bb_have_view_request_id_next(lie->shard->view) - 1;
    bb_have_entry_t entries[SIM_PARTITIONS_MAX] = {0};
    uint32_t partitions[SIM_PARTITIONS_MAX + 1], count = 0;
    for (uint32_t p = lane.index; p < lie->world->options.partition_count; p += lane.count) {
        bool is_shared = sim_world_is_replica(lie->world, p, lie->world->hostile.node) &&
                         sim_world_is_replica(lie->world, p, lie->target->index);
        if (is_shared || bb_random_chance(lie->random, 1, 20)) {
            entries[count].partition = p;
            partitions[count++] = p;
        }
    }
    if (kind == S_PULL) {
        message.pull = (bb_pull_t){
            .budget_bytes = UINT32_MAX, .lane = lane, .entry_count = count, .entries = entries};
    } else {
        partitions[count++] = UINT32_MAX; // there is no such partition
        message.pull_done = (bb_pull_done_t){.lane = lane,
                                             .chunk_count = (uint32_t)bb_random_next(lie->random),
                                             .unavailable_count = count,
                                             .unavailable = partitions};
    }
    s_send(lie, s_encoded(&message), NULL, NULL);
    return true;
}

// Bytes that are no message, or behind one.
static bool s_junk(const s_lie_t *lie, s_kind_t kind)
{
    bb_message_t message = s_message(lie, BB_KIND_HAVE_REQUEST);
    message.have_request.lane = s_lane(lie);
    bb_buffer_t *front = s_encoded(&message);
    bb_slice_t kept = bb_buffer_slice(front);
    kept.length = kind == S_OVERSIZE ? kept.length : bb_random_below(lie->random, kept.length);
    size_t length =
        kept.length + (kind == S_OVERSIZE ? 1u << 20 : bb_random_below(lie->random, 64));
    uint8_t *data = bb_alloc_zero(1, length + 8);
    memcpy(data, kept.data, kept.length);
    for (size_t i = kept.length; i < length; i += kind == S_OVERSIZE ? 4096 : 1) {
        data[i] = (uint8_t)bb_random_next(lie->random);
    }
    bb_buffer_drop(&front);
    s_send(lie, bb_buffer_new(data, length, NULL, NULL), NULL, NULL);
    return true;
}

static bool s_tell(const s_lie_t *lie, s_kind_t kind)
{
    switch (kind) {
    case S_GAPS:
    case S_REPEAT:
    case S_FORGED:
    case S_FORGOTTEN:
        return s_chunk(lie, kind);
    case S_ACK_UNSENT:
    case S_ACK_ABSURD:
    case S_EPOCH:
        return s_ack(lie, kind);
    case S_WIDE_HAVE:
        return s_wide_have(lie);
    case S_PULL:
    case S_PULL_DONE:
        return s_pull(lie, kind);
    default:
        return s_junk(lie, kind);
    }
}

void sim_hostile_event(sim_world_t *self, uint64_t number)
{
    sim_hostile_t *hostile = &self->hostile;
    if (!self->options.has_hostile) {
        return;
    }
    bb_random_t random = sim_world_stream(self, SIM_STREAM_HOSTILE, number);
    hostile->habits = (uint32_t)bb_random_next(&random);
    for (uint32_t i = 0; i < 6; i++) {
        s_kind_t kind = (s_kind_t)bb_random_below(&random, S_KIND_COUNT);
        sim_node_t *target = &self->nodes[bb_random_below(&random, self->options.node_count)];
        s_lie_t lie = {.world = self,
                       .random = &random,
                       .target = target,
                       .liar = &self->nodes[hostile->node],
                       .shard =
                           target->stores[bb_random_below(&random, target->store_count)].shard};
        bool is_heard = target != lie.liar && target->is_up &&
                        target->paused_until_ns <= sim_world_now_ns(self) &&
                        !sim_net_is_cut(self, hostile->node, target->index);
        if (is_heard && s_tell(&lie, kind)) {
            s_count(self, kind);
            sim_trace_line(&self->trace, "node %u lies to node %u: %u", hostile->node,
                           target->index, (unsigned)kind);
        }
    }
}

// ---- what it does to its own messages ----------------------------------------------------------

// Nothing that a receiver would have to believe: what others hold, and what was written.
static bool s_is_harmless(bb_kind_t kind)
{
    return kind == BB_KIND_REPLICATE_ACK || kind == BB_KIND_HAVE_REQUEST || kind == BB_KIND_PULL ||
           kind == BB_KIND_PULL_DONE || kind == BB_KIND_HEARTBEAT || kind == BB_KIND_REPLICATE;
}

static bb_buffer_t *s_flipped(bb_random_t *random, bb_buffer_t *buffer)
{
    bb_slice_t from = bb_buffer_slice(buffer);
    uint8_t *data = bb_alloc_zero(1, from.length + 8);
    memcpy(data, from.data, from.length);
    uint64_t count = bb_random_between(random, 1, 3);
    for (uint64_t i = 0; i < count && from.length > 0; i++) {
        data[bb_random_below(random, from.length)] ^= (uint8_t)(1u << bb_random_below(random, 8));
    }
    return bb_buffer_new(data, from.length, NULL, NULL);
}

// The envelope, the dots or the batch; of the last two only so that they cannot be read.
static bool s_flip(sim_world_t *self, bb_outbound_t *lie)
{
    bb_random_t *random = &self->hostile.random;
    bool is_part = lie->chunks && lie->body && bb_random_chance(random, 1, 2);
    bb_buffer_t **part = !is_part                         ? &lie->envelope
                         : bb_random_chance(random, 1, 2) ? &lie->chunks
                                                          : &lie->body;
    bb_buffer_t *flipped = s_flipped(random, *part);
    bool is_lie = false;
    if (part == &lie->envelope) {
        bb_message_t message;
        bb_error_t error = bb_message_decode(&message, bb_buffer_slice(flipped), NULL);
        is_lie = error != BB_OK || s_is_harmless(message.kind);
        if (error == BB_OK) {
            bb_message_close(&message);
        }
    } else if (part == &lie->chunks) {
        bb_chunks_t chunks;
        is_lie = bb_chunks_decode(&chunks, bb_buffer_slice(flipped), NULL) != BB_OK;
    } else {
        bb_batch_t batch;
        is_lie = bb_batch_open(&batch, bb_buffer_slice(flipped), NULL) != BB_OK;
        if (!is_lie) {
            bb_batch_close(&batch);
        }
    }
    if (is_lie) {
        bb_buffer_drop(part);
        *part = flipped;
    } else {
        bb_buffer_drop(&flipped);
    }
    return is_lie;
}

// It had them a moment ago.
static void s_shrink(bb_outbound_t *lie, const bb_message_t *message)
{
    bb_message_t less = *message;
    less.have.tails = less.have.tail_streams = bb_slice(NULL, 0);
    bb_have_entry_t *entries = bb_alloc_zero(less.have.entry_count + 1, sizeof *entries);
    for (uint32_t i = 0; i < less.have.entry_count; i++) {
        entries[i].partition = message->have.entries[i].partition;
    }
    less.have.entries = entries;
    bb_buffer_drop(&lie->envelope);
    lie->envelope = s_encoded(&less);
    free(entries);
}

sim_hostile_fate_t sim_hostile_tamper(sim_world_t *self, uint32_t from,
                                      const bb_outbound_t *message, bb_outbound_t *lie)
{
    sim_hostile_t *hostile = &self->hostile;
    if (!sim_hostile_is(self, from) || self->is_calm || hostile->habits == 0) {
        return SIM_HOSTILE_HONEST;
    }
    bb_message_t decoded;
    bb_error_t error = bb_message_decode(&decoded, bb_buffer_slice(message->envelope), NULL);
    BB_ASSERT(error == BB_OK); // as the cores made it
    *lie = (bb_outbound_t){.envelope = bb_buffer_keep(message->envelope),
                           .chunks = message->chunks ? bb_buffer_keep(message->chunks) : NULL,
                           .body = message->body ? bb_buffer_keep(message->body) : NULL};
    sim_hostile_fate_t fate = SIM_HOSTILE_HONEST;
    if (decoded.kind == BB_KIND_REPLICATE_ACK && (hostile->habits & 3) == 0) {
        self->counters.hostile_silences++;
        fate = SIM_HOSTILE_SILENT;
    } else if (decoded.kind == BB_KIND_HAVE && (hostile->habits >> 2 & 3) == 0) {
        s_shrink(lie, &decoded);
        self->counters.hostile_shrunk_haves++;
        fate = SIM_HOSTILE_LIES;
    } else if ((hostile->habits >> 4 & 1) == 0 && bb_random_chance(&hostile->random, 1, 8) &&
               s_flip(self, lie)) {
        self->counters.hostile_flips++;
        fate = SIM_HOSTILE_LIES;
    }
    bb_message_close(&decoded);
    if (fate != SIM_HOSTILE_LIES) {
        sim_hostile_drop(lie);
    }
    return fate;
}

void sim_hostile_drop(bb_outbound_t *lie)
{
    bb_buffer_drop(&lie->envelope);
    bb_buffer_drop(&lie->chunks);
    bb_buffer_drop(&lie->body);
}

void sim_hostile_calm(sim_world_t *self)
{
    sim_node_t *node = &self->nodes[self->hostile.node];
    if (self->options.has_hostile && node->is_up) {
        sim_node_stop(node, false, 10 * BB_NS_PER_MS);
    }
}

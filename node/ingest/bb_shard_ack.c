// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include "protocol/bb_dot_sum.h"

// Notes that dots of the node's stream are durable here. Sent at the end of the commit.
static void s_ack_range(bb_shard_t *self, uint32_t node, uint32_t partition, uint64_t first_seq,
                        uint64_t last_seq)
{
    bb_ack_list_t *list = &self->acks[node];
    uint32_t at = self->ack_at[partition];
    if (at < list->range_count && list->ranges[at].partition == partition &&
        list->ranges[at].last_seq + 1 == first_seq) {
        list->ranges[at].last_seq = last_seq;
        return;
    }
    if (list->range_count == BB_SHARD_ACK_RANGES_MAX) {
        return; // the origin hears of it by our have-set
    }
    if (list->range_count == list->range_capacity) {
        list->range_capacity = BB_MAX(2 * list->range_capacity, 64u);
        list->ranges = bb_realloc(list->ranges, list->range_capacity * sizeof *list->ranges);
    }
    self->ack_at[partition] = list->range_count;
    list->ranges[list->range_count++] =
        (bb_dot_range_t){.partition = partition, .first_seq = first_seq, .last_seq = last_seq};
    self->has_acks = true;
}

void bb_shard_ack(bb_shard_t *self, uint32_t node, uint32_t partition, uint64_t seq)
{
    s_ack_range(self, node, partition, seq, seq);
}

// All that we hold of a batch.
static void s_ack_batch(bb_shard_t *self, uint32_t node, const bb_ack_batch_t *batch)
{
    bb_ack_list_t *list = &self->acks[node];
    BB_ASSERT(list->batch_count <= BB_SHARD_ACK_BATCHES_MAX);
    if (list->batch_count == BB_SHARD_ACK_BATCHES_MAX) {
        bb_shard_acks_send(self);
    }
    if (list->batch_count == list->batch_capacity) {
        list->batch_capacity = BB_MAX(2 * list->batch_capacity, 64u);
        list->batches = bb_realloc(list->batches, list->batch_capacity * sizeof *list->batches);
    }
    list->batches[list->batch_count++] = *batch;
    self->has_acks = true;
}

static bool s_is_durable(const bb_shard_t *self, const bb_staged_t *staged, uint32_t part_index)
{
    return bb_have_set_contains(
        bb_store_have(self->store, staged->batch.parts[part_index].partition),
        &staged->chunks.stream, bb_chunks_seq(&staged->chunks, part_index));
}

void bb_shard_count_own(bb_shard_t *self, const bb_staged_t *staged)
{
    for (uint32_t i = 0; i < staged->chunks.part_count; i++) {
        uint64_t seq = bb_chunks_seq(&staged->chunks, i);
        if (s_is_durable(self, staged, i)) {
            bb_error_t error = bb_replication_durable(self->replication, self->self_index,
                                                      staged->batch.parts[i].partition, seq, seq,
                                                      self->time.mono_ns);
            bb_ignore(error, "a dot of ours that was never given comes from a faulty peer");
        }
    }
}

void bb_shard_ack_staged(bb_shard_t *self, const bb_staged_t *staged)
{
    uint32_t origin = bb_have_view_node_of(self->view, &staged->chunks.stream);
    if (origin == BB_NODE_NONE) {
        return;
    }
    uint32_t part_count = staged->chunks.part_count, durable_count = 0;
    bb_ack_batch_t batch = {.partition = staged->batch.parts[0].partition,
                            .part_count = part_count,
                            .seq = bb_chunks_seq(&staged->chunks, 0)};
    for (uint32_t i = 0; i < part_count; i++) {
        self->keep[i] = s_is_durable(self, staged, i);
        durable_count += self->keep[i];
        batch.dot_sum +=
            bb_dot_sum_of(staged->batch.parts[i].partition, bb_chunks_seq(&staged->chunks, i));
    }
    if (staged->is_whole && durable_count == part_count) {
        s_ack_batch(self, origin, &batch);
        return;
    }
    for (uint32_t i = 0; i < part_count; i++) {
        if (self->keep[i]) {
            bb_shard_ack(self, origin, staged->batch.parts[i].partition,
                         bb_chunks_seq(&staged->chunks, i));
        }
    }
}

void bb_shard_ack_all(bb_shard_t *self, uint32_t node)
{
    const bb_stream_t *incarnation = bb_have_view_incarnation(self->view, node);
    uint32_t count = 0;
    const uint32_t *partitions = bb_have_view_partitions(self->view, &count);
    for (uint32_t i = 0; i < count; i++) {
        const bb_have_stream_t *stream =
            bb_have_set_stream(bb_store_have(self->store, partitions[i]), incarnation);
        if (stream && bb_have_view_is_shared(self->view, partitions[i], node)) {
            const bb_seq_range_t *last = &stream->ranges[stream->range_count - 1];
            s_ack_range(self, node, partitions[i], last->first_seq, last->last_seq);
        }
    }
}

void bb_shard_acks_send(bb_shard_t *self)
{
    if (!self->has_acks) {
        return;
    }
    self->has_acks = false;
    BB_KILLPOINT(self->options.store.vfs, PEER_COMMITTED);
    for (uint32_t node = 0; node < self->node_count; node++) {
        bb_ack_list_t *list = &self->acks[node];
        if (list->range_count == 0 && list->batch_count == 0) {
            continue;
        }
        bb_message_t message = {
            .kind = BB_KIND_REPLICATE_ACK,
            .epoch = bb_shard_counted_epoch(self),
            .replicate_ack = {.stream = *bb_have_view_incarnation(self->view, node),
                              .incarnation = self->options.stream,
                              .range_count = list->range_count,
                              .ranges = list->ranges,
                              .batch_count = list->batch_count,
                              .batches = list->batches,
                              .lane = {self->options.store.store_count,
                                       self->options.store.store_index}},
        };
        bb_shard_send(self, node, false, &message, NULL, NULL);
        self->stats.promises += message.epoch != 0;
        list->range_count = list->batch_count = 0;
    }
}

bb_error_t bb_shard_on_ack(bb_shard_t *self, uint32_t node, const bb_message_t *message)
{
    const bb_replicate_ack_t *ack = &message->replicate_ack;
    if (!bb_stream_is_equal(&ack->incarnation, bb_have_view_incarnation(self->view, node)) ||
        !bb_stream_is_equal(&ack->stream, &self->options.stream)) {
        return BB_ERR_PEER_UNKNOWN; // of a process that is no more
    }
    if (message->epoch != self->epoch && !BB_IS_PLANTED(self, BB_PLANTED_NO_EPOCH_FENCE)) {
        return BB_OK; // epochs fence counting, never propagation
    }
    bb_error_t first_error = BB_OK;
    for (uint32_t i = 0; i < ack->range_count; i++) {
        const bb_dot_range_t *range = &ack->ranges[i];
        if (range->partition < self->partition_count &&
            !bb_have_view_is_ours(self->view, range->partition)) {
            continue; // of another store of this node
        }
        bb_error_t error =
            bb_replication_durable(self->replication, node, range->partition, range->first_seq,
                                   range->last_seq, self->time.mono_ns);
        first_error = first_error == BB_OK ? error : first_error;
    }
    for (uint32_t i = 0; i < ack->batch_count; i++) {
        const bb_ack_batch_t *batch = &ack->batches[i];
        if (batch->partition < self->partition_count &&
            !bb_have_view_is_ours(self->view, batch->partition)) {
            continue;
        }
        bb_error_t error = bb_replication_durable_batch(self->replication, node, ack->lane, batch,
                                                        self->time.mono_ns);
        first_error = first_error == BB_OK ? error : first_error;
    }
    return first_error;
}

// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_peer_split.h"

#include <stdlib.h>

#include "node/query/bb_store_split.h"

typedef struct {
    uint32_t store_count;
    const bb_message_t *message;
    bb_peer_split_fn emit;
    void *context;
} s_split_t;

static void s_split_ack(const s_split_t *self)
{
    const bb_replicate_ack_t *ack = &self->message->replicate_ack;
    bb_dot_range_t *ranges = bb_alloc_zero((size_t)ack->range_count + 1, sizeof *ranges);
    bb_ack_batch_t *batches = bb_alloc_zero((size_t)ack->batch_count + 1, sizeof *batches);
    for (uint32_t s = 0; s < self->store_count; s++) {
        bb_message_t part = *self->message;
        part.replicate_ack.ranges = ranges;
        part.replicate_ack.range_count = 0;
        for (uint32_t i = 0; i < ack->range_count; i++) {
            if (bb_store_of_partition(ack->ranges[i].partition, self->store_count) == s) {
                ranges[part.replicate_ack.range_count++] = ack->ranges[i];
            }
        }
        part.replicate_ack.batches = batches;
        part.replicate_ack.batch_count = 0;
        for (uint32_t i = 0; i < ack->batch_count; i++) {
            if (bb_store_of_partition(ack->batches[i].partition, self->store_count) == s) {
                batches[part.replicate_ack.batch_count++] = ack->batches[i];
            }
        }
        if (part.replicate_ack.range_count > 0 || part.replicate_ack.batch_count > 0) {
            self->emit(self->context, s, &part, NULL, NULL, false);
        }
    }
    free(ranges);
    free(batches);
}

// What belongs to one store, as a REPLICATE of its own.
static void s_cut(const s_split_t *self, uint32_t store_index, const bb_chunks_t *chunks,
                  const bb_batch_t *batch, bool *keep)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        keep[i] =
            bb_store_of_partition(batch->parts[i].partition, self->store_count) == store_index;
        kept += keep[i];
    }
    uint8_t *chunks_bytes, *batch_bytes;
    size_t chunks_length, batch_length;
    if (kept == 0 || bb_chunks_subset(chunks, batch, keep, &chunks_bytes, &chunks_length,
                                      &batch_bytes, &batch_length) != BB_OK) {
        return;
    }
    bb_buffer_t *chunks_buffer = bb_buffer_new(chunks_bytes, chunks_length, NULL, NULL);
    bb_buffer_t *batch_buffer = bb_buffer_new(batch_bytes, batch_length, NULL, NULL);
    self->emit(self->context, store_index, self->message, chunks_buffer, batch_buffer, false);
    bb_buffer_drop(&chunks_buffer);
    bb_buffer_drop(&batch_buffer);
}

static bb_error_t s_split_replicate(const s_split_t *self, bb_buffer_t *chunks_buffer,
                                    bb_buffer_t *batch_buffer, bb_fault_t *fault)
{
    bb_chunks_t chunks;
    bb_batch_t batch;
    bb_error_t error = bb_chunks_decode(&chunks, bb_buffer_slice(chunks_buffer), fault);
    if (error == BB_OK) {
        error = bb_batch_open(&batch, bb_buffer_slice(batch_buffer), fault);
    }
    if (error != BB_OK) {
        return error;
    }
    uint32_t first = batch.part_count > 0
                         ? bb_store_of_partition(batch.parts[0].partition, self->store_count)
                         : 0;
    bool is_one = true;
    for (uint32_t i = 1; i < batch.part_count && is_one; i++) {
        is_one = bb_store_of_partition(batch.parts[i].partition, self->store_count) == first;
    }
    if (is_one) {
        bb_batch_close(&batch); // first: whoever gets it whole may hand it to another thread
        self->emit(self->context, first, self->message, chunks_buffer, batch_buffer, true);
        return BB_OK;
    }
    error = bb_chunks_match(&chunks, &batch, fault);
    bool *keep = bb_alloc_zero((size_t)batch.part_count + 1, sizeof *keep);
    for (uint32_t s = 0; s < self->store_count && error == BB_OK; s++) {
        s_cut(self, s, &chunks, &batch, keep);
    }
    free(keep);
    bb_batch_close(&batch);
    return error;
}

// The lane of the store that has the partition.
static bb_lane_t s_lane_of(uint32_t store_count, uint32_t partition)
{
    return (bb_lane_t){store_count, bb_store_of_partition(partition, store_count)};
}

static bb_error_t s_lane(uint32_t store_count, const bb_message_t *message, bb_lane_t *lane)
{
    switch (message->kind) {
    case BB_KIND_HAVE_REQUEST:
        *lane = message->have_request.lane;
        return BB_OK;
    case BB_KIND_HAVE:
        *lane = message->have.lane;
        return BB_OK;
    case BB_KIND_PULL:
        *lane = message->pull.lane;
        return BB_OK;
    case BB_KIND_PULL_DONE:
        *lane = message->pull_done.lane;
        return BB_OK;
    case BB_KIND_SYNC_ASK:
        *lane = s_lane_of(store_count, message->sync_ask.topic.partition);
        return BB_OK;
    case BB_KIND_SYNC_ANSWER:
        *lane = s_lane_of(store_count, message->sync_answer.topic.partition);
        return BB_OK;
    case BB_KIND_WATCHED:
        *lane = message->watched.lane;
        return BB_OK;
    default:
        return BB_ERR_MESSAGE_VERSION;
    }
}

bb_error_t bb_peer_split(uint32_t store_count, const bb_message_t *message, bb_buffer_t *chunks,
                         bb_buffer_t *batch, bb_peer_split_fn emit, void *context,
                         bb_fault_t *fault)
{
    BB_ASSERT(store_count >= 1 && store_count <= BB_STORES_MAX);
    BB_ASSERT(message && emit);
    if ((chunks && batch) != (message->kind == BB_KIND_REPLICATE)) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "wrong number of frames");
    }
    s_split_t self = {store_count, message, emit, context};
    bool is_dots = message->kind == BB_KIND_REPLICATE || message->kind == BB_KIND_REPLICATE_ACK;
    if (is_dots && store_count == 1) {
        emit(context, 0, message, chunks, batch, true);
        return BB_OK;
    }
    if (message->kind == BB_KIND_REPLICATE) {
        return s_split_replicate(&self, chunks, batch, fault);
    }
    if (message->kind == BB_KIND_REPLICATE_ACK) {
        s_split_ack(&self);
        return BB_OK;
    }
    bb_lane_t lane;
    bb_error_t error = s_lane(store_count, message, &lane);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "not for a store");
    }
    if (lane.count % store_count != 0) {
        return bb_fault_set(fault, BB_ERR_PEER_UNKNOWN, "lane %u of %u: not for a store of %u",
                            lane.index, lane.count, store_count);
    }
    emit(context, lane.index % store_count, message, NULL, NULL, true);
    return BB_OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shard_internal.h"

#include <stdlib.h>

// ---- what is sent ------------------------------------------------------------------------------

// A batch and its header, or the parts of it that somebody is to get.
typedef struct {
    const bb_chunks_t *chunks;
    const bb_batch_t *batch;
    bb_buffer_t *chunks_buffer, *batch_buffer;
} s_copy_t;

// The parts with self->keep[i]: the same buffers when that is all of them. Two references for the
// caller. False: there are none, or the rest cannot be encoded; who lacks it pulls.
static bool s_cut(const bb_shard_t *self, const s_copy_t *whole, bb_buffer_t **chunks,
                  bb_buffer_t **body)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < whole->batch->part_count; i++) {
        kept += self->keep[i];
    }
    if (kept == whole->batch->part_count) {
        *chunks = bb_buffer_keep(whole->chunks_buffer);
        *body = bb_buffer_keep(whole->batch_buffer);
        return true;
    }
    uint8_t *chunks_data = NULL, *batch_data = NULL;
    size_t chunks_length = 0, batch_length = 0;
    if (kept == 0 || bb_chunks_subset(whole->chunks, whole->batch, self->keep, &chunks_data,
                                      &chunks_length, &batch_data, &batch_length) != BB_OK) {
        return false;
    }
    *chunks = bb_buffer_new(chunks_data, chunks_length, NULL, NULL);
    *body = bb_buffer_new(batch_data, batch_length, NULL, NULL);
    return true;
}

// Sends those parts of which the node is a replica; returns the bytes of the batch that left.
static uint64_t s_send_held(bb_shard_t *self, uint32_t node, uint32_t epoch, const s_copy_t *whole)
{
    for (uint32_t i = 0; i < whole->batch->part_count; i++) {
        self->keep[i] =
            bb_topology_is_replica(self->topology, whole->batch->parts[i].partition, node);
    }
    bb_buffer_t *chunks = NULL, *body = NULL;
    if (!s_cut(self, whole, &chunks, &body)) {
        return 0;
    }
    bb_message_t message = {.kind = BB_KIND_REPLICATE, .epoch = epoch};
    uint64_t bytes = bb_buffer_slice(body).length;
    bb_shard_send(self, node, true, &message, chunks, body);
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&body);
    return bytes;
}

static uint32_t s_dc_of(const bb_shard_t *self, uint32_t node)
{
    return bb_topology_node(self->topology, node)->dc_index;
}

static bool s_may_send(const bb_shard_t *self, uint32_t node)
{
    return node != self->self_index && self->is_up[node] &&
           bb_replication_unacked_bytes(self->replication, node) <=
               self->options.peer_unacked_bytes_max; // else it will pull
}

// ---- coordinator -------------------------------------------------------------------------------

// One copy for the data centre: to the relay, with the list of who is to get it from there.
static void s_send_across(bb_shard_t *self, const bb_staged_t *staged, const s_copy_t *whole,
                          uint32_t dc, const bb_relay_target_t *targets, uint32_t count)
{
    const bb_batch_t *batch = whole->batch;
    uint16_t forward[BB_NODES_MAX];
    uint32_t at =
        bb_relay_choose(self->relay, self->time.mono_ns, targets, count, self->fan_out_turn++);
    uint32_t relay = targets[at].node;
    bb_message_t message = {
        .kind = BB_KIND_REPLICATE, .epoch = self->epoch, .replicate = {.forward = forward}};
    uint32_t held = 0; // copies, for the statistics
    for (uint32_t t = 0; t < count; t++) {
        held += targets[t].part_count;
        if (targets[t].node != relay) {
            forward[message.replicate.forward_count++] = (uint16_t)targets[t].node;
        }
    }
    for (uint32_t i = 0; i < batch->part_count; i++) {
        self->keep[i] = false;
        for (uint32_t t = 0; t < count && !self->keep[i]; t++) {
            self->keep[i] =
                bb_topology_is_replica(self->topology, batch->parts[i].partition, targets[t].node);
        }
    }
    bb_buffer_t *chunks = NULL, *body = NULL;
    if (!s_cut(self, whole, &chunks, &body)) {
        return;
    }
    uint64_t bytes = bb_buffer_slice(body).length;
    if (bb_link_cap_take_live(&self->links[dc], self->time.mono_ns, bytes)) {
        for (uint32_t t = 0; t < count; t++) {
            bb_replication_sent(self->replication, staged->write_id, targets[t].node,
                                bytes * targets[t].part_count / batch->part_count);
        }
        bb_shard_send(self, relay, true, &message, chunks, body);
        if (count > 1) {
            bb_relay_sent(self->relay, self->time.mono_ns, staged->write_id, relay, targets, count,
                          chunks, body);
        }
        self->stats.chunks_replicated_out += held;
        self->stats.dc_live_bytes_out[dc] += bytes;
    } else {
        self->stats.chunks_held_by_cap += batch->part_count;
    }
    bb_buffer_drop(&chunks);
    bb_buffer_drop(&body);
}

// Each other replica of this data centre gets what it holds; each other data centre gets it once.
void bb_shard_fan_out(bb_shard_t *self, const bb_staged_t *staged)
{
    const bb_batch_t *batch = &staged->batch;
    const s_copy_t whole = {&staged->chunks, batch, staged->chunks_buffer, staged->batch_buffer};
    uint32_t slot_count = bb_topology_replica_count(self->topology);
    uint32_t held[BB_NODES_MAX] = {0}; // parts of this batch per node
    for (uint32_t i = 0; i < batch->part_count; i++) {
        const uint16_t *replicas = bb_topology_replicas(self->topology, batch->parts[i].partition);
        for (uint32_t slot = 0; slot < slot_count; slot++) {
            held[replicas[slot]]++;
        }
    }
    uint32_t own_dc = s_dc_of(self, self->self_index);
    for (uint32_t dc = 0; dc < bb_topology_dc_count(self->topology); dc++) {
        bb_relay_target_t targets[BB_NODES_MAX];
        uint32_t count = 0, node_count = 0;
        const uint16_t *nodes = bb_topology_dc_nodes(self->topology, dc, &node_count);
        for (uint32_t i = 0; i < node_count; i++) {
            if (held[nodes[i]] == 0 || !s_may_send(self, nodes[i])) {
                continue;
            }
            if (dc != own_dc) {
                targets[count++] = (bb_relay_target_t){nodes[i], held[nodes[i]]};
                continue;
            }
            uint64_t bytes = s_send_held(self, nodes[i], self->epoch, &whole);
            if (bytes > 0) {
                bb_replication_sent(self->replication, staged->write_id, nodes[i], bytes);
                self->stats.chunks_replicated_out += held[nodes[i]];
            }
        }
        if (count > 0) {
            s_send_across(self, staged, &whole, dc, targets, count);
        }
    }
}

// bb_relay_owes_fn
static bool s_owes(void *context, uint32_t write_id, uint32_t node)
{
    const bb_shard_t *self = context;
    return bb_replication_owes(self->replication, write_id, node);
}

// The relay is silent: those who still owe get the copy from here.
static void s_pass_by(bb_shard_t *self, const bb_relay_copy_t *copy)
{
    bb_chunks_t chunks;
    bb_batch_t batch;
    bb_error_t error = bb_chunks_decode(&chunks, bb_buffer_slice(copy->chunks), NULL);
    BB_ASSERT(error == BB_OK); // our own encoding
    error = bb_batch_open(&batch, bb_buffer_slice(copy->batch), NULL);
    BB_ASSERT(error == BB_OK);
    const s_copy_t whole = {&chunks, &batch, copy->chunks, copy->batch};
    for (uint32_t t = 0; t < copy->target_count; t++) {
        uint32_t node = copy->targets[t], dc = s_dc_of(self, node);
        if (self->is_up[node] && s_owes(self, copy->write_id, node) &&
            bb_link_cap_take_live(&self->links[dc], self->time.mono_ns,
                                  bb_buffer_slice(copy->batch).length)) {
            self->stats.dc_live_bytes_out[dc] += s_send_held(self, node, self->epoch, &whole);
        }
    }
    bb_batch_close(&batch);
}

void bb_shard_relays_step(bb_shard_t *self)
{
    bb_relay_copy_t *copy = NULL;
    while ((copy = bb_relay_next(self->relay, self->time.mono_ns, s_owes, self)) != NULL) {
        s_pass_by(self, copy);
        bb_relay_copy_destroy(&copy);
    }
    self->stats.relays_passed_by = bb_relay_passed_by(self->relay);
}

// ---- relay -------------------------------------------------------------------------------------

bb_error_t bb_shard_forward(bb_shard_t *self, uint32_t sender, const bb_message_t *message,
                            const bb_staged_t *staged)
{
    const bb_replicate_t *replicate = &message->replicate;
    uint32_t own_dc = s_dc_of(self, self->self_index);
    if (replicate->forward_count == 0) {
        return BB_OK;
    }
    bool is_ours = s_dc_of(self, sender) != own_dc;
    for (uint32_t i = 0; i < replicate->forward_count && is_ours; i++) {
        uint32_t node = replicate->forward[i];
        is_ours =
            node < self->node_count && node != self->self_index && s_dc_of(self, node) == own_dc;
    }
    if (!is_ours) {
        return BB_ERR_PEER_UNKNOWN; // nobody asks that of us: a relay serves its own data centre
    }
    const s_copy_t whole = {&staged->chunks, &staged->batch, staged->chunks_buffer,
                            staged->batch_buffer};
    for (uint32_t i = 0; i < replicate->forward_count; i++) {
        uint32_t node = replicate->forward[i];
        // Under the sender's epoch: what counts is between the coordinator and each replica.
        if (self->is_up[node] && s_send_held(self, node, message->epoch, &whole) > 0) {
            self->stats.batches_forwarded++;
        }
    }
    return BB_OK;
}

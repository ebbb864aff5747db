// SPDX-License-Identifier: Apache-2.0
// What is watched, said to the other replicas of the data centre, and heard of them. A partition in
// which dots were added here since the node was told is told whole; a process that is new there, or
// was away, is told all. What was learned is not passed on: who told it tells everybody.
#include <stdlib.h>

#include "node/ingest/bb_shard_internal.h"

#define S_PIECE_ENTRIES 1024u // of one message to a peer

// The sets as they are sent, each encoded once for all peers.
typedef struct {
    bb_shard_t *shard;
    uint32_t count;           // of our partitions
    const uint32_t *ours;     // those
    bb_slice_t *encoded;      // per index; data NULL: not yet
    bb_have_entry_t *entries; // of the message at hand
} s_telling_t;

static bb_slice_t s_encoded(s_telling_t *self, uint32_t index)
{
    if (!self->encoded[index].data) {
        const bb_have_set_t *set = bb_watch_set(self->shard->watch, self->ours[index]);
        size_t length = bb_have_set_encoded_bytes(set);
        uint8_t *data = bb_alloc(length + 1); // of an empty one, too
        bb_have_set_encode(set, data);
        self->encoded[index] = bb_slice(data, length);
    }
    return self->encoded[index];
}

static void s_send(s_telling_t *self, uint32_t node, bb_lane_t lane, uint32_t *count)
{
    if (*count > 0) {
        bb_message_t message = {
            .kind = BB_KIND_WATCHED,
            .epoch = self->shard->epoch,
            .watched = {.lane = lane, .entry_count = *count, .entries = self->entries}};
        bb_shard_send(self->shard, node, false, &message, NULL, NULL);
    }
    *count = 0;
}

// Does the node lack it? told: 0, or the version that it was told, plus one.
static bool s_is_news(const s_telling_t *self, uint32_t index, uint64_t told)
{
    const bb_watch_t *watch = self->shard->watch;
    return told == 0 ? bb_watch_set(watch, self->ours[index])->stream_count > 0
                     : bb_watch_set_version(watch, self->ours[index]) >= told;
}

static void s_tell(s_telling_t *self, uint32_t node, uint64_t told)
{
    const bb_have_view_t *view = self->shard->view;
    uint32_t lane_count = bb_have_view_lane_count(view, node);
    for (uint32_t step = 0; step < lane_count; step++) {
        bb_lane_t lane = bb_have_view_lane(view, node, step);
        uint32_t count = 0;
        size_t bytes = 0;
        for (uint32_t i = 0; i < self->count; i++) {
            if (self->ours[i] % lane.count != lane.index || !s_is_news(self, i, told) ||
                !bb_have_view_is_shared(view, self->ours[i], node)) {
                continue;
            }
            bb_slice_t encoded = s_encoded(self, i);
            self->entries[count++] = (bb_have_entry_t){self->ours[i], encoded};
            bytes += encoded.length;
            if (count == S_PIECE_ENTRIES || bytes > BB_SHARD_HAVE_PIECE_BYTES) {
                s_send(self, node, lane, &count);
                bytes = 0;
            }
        }
        s_send(self, node, lane, &count);
    }
}

// Each data centre watches for itself.
static bool s_is_told(const bb_shard_t *self, uint32_t node)
{
    return node != self->self_index &&
           bb_topology_node(self->topology, node)->dc_index ==
               bb_topology_node(self->topology, self->self_index)->dc_index;
}

void bb_shard_watch_tell(bb_shard_t *self)
{
    BB_ASSERT(self && self->watch);
    uint64_t told = bb_watch_version(self->watch) + 1;
    s_telling_t telling = {.shard = self};
    for (uint32_t node = 0; node < self->node_count; node++) {
        if (!s_is_told(self, node) || !self->is_up[node] || self->watch_told[node] == told) {
            continue;
        }
        if (!telling.encoded) {
            telling.ours = bb_have_view_partitions(self->view, &telling.count);
            telling.encoded = bb_alloc_zero(telling.count + 1, sizeof *telling.encoded);
            telling.entries = bb_alloc(S_PIECE_ENTRIES * sizeof *telling.entries);
        }
        s_tell(&telling, node, self->watch_told[node]);
        self->watch_told[node] = told;
    }
    for (uint32_t i = 0; i < telling.count; i++) {
        free((void *)(uintptr_t)telling.encoded[i].data);
    }
    free(telling.encoded);
    free(telling.entries);
}

void bb_shard_watch_peer(bb_shard_t *self, uint32_t node, bool is_same)
{
    BB_ASSERT(self && node < self->node_count && node != self->self_index);
    if (!self->watch) {
        return;
    }
    bb_watch_serving(self->watch, node, self->is_up[node] && !self->is_barred[node]);
    if (!self->is_up[node] || !is_same) {
        self->watch_told[node] = 0;
        self->is_watch_idle = false;
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

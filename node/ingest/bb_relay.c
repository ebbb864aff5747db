// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_relay.h"

#include <stdlib.h>

// How much of a new measurement goes into the smoothed time of a relay (Jacobson 1988).
#define S_SMOOTH 8

typedef struct {
    bb_relay_copy_t *first, **end; // oldest first
    int64_t usual_ns;              // smoothed time until it acknowledges; 0: never measured
    int64_t avoid_until_mono_ns;
    bool is_lost; // its copies are due whatever it has acknowledged
    bool is_slow;
} s_node_t;

struct bb_relay {
    uint32_t node_count;
    uint32_t copy_count;
    uint64_t bytes, bytes_max;
    uint64_t passed_by;
    uint64_t again_bytes; // may still go past silent relays
    s_node_t *nodes;
};

bb_relay_t *bb_relay_new(uint32_t node_count, uint64_t bytes_max)
{
    BB_ASSERT(node_count >= 1 && node_count <= BB_NODES_MAX);
    bb_relay_t *self = bb_alloc_zero(1, sizeof *self);
    self->node_count = node_count;
    self->bytes_max = bytes_max;
    self->again_bytes = BB_RELAY_AGAIN_BYTES;
    self->nodes = bb_alloc_zero(node_count, sizeof *self->nodes);
    for (uint32_t i = 0; i < node_count; i++) {
        self->nodes[i].end = &self->nodes[i].first;
    }
    return self;
}

void bb_relay_destroy(bb_relay_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_relay_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        while (self->nodes[i].first) {
            bb_relay_copy_t *copy = self->nodes[i].first;
            self->nodes[i].first = copy->next;
            bb_relay_copy_destroy(&copy);
        }
    }
    free(self->nodes);
    free(self);
}

void bb_relay_copy_destroy(bb_relay_copy_t **copy)
{
    BB_ASSERT(copy);
    if (*copy) {
        bb_buffer_drop(&(*copy)->chunks);
        bb_buffer_drop(&(*copy)->batch);
        free(*copy);
        *copy = NULL;
    }
}

void bb_relay_slow(bb_relay_t *self, uint32_t node, bool is_slow)
{
    BB_ASSERT(self && node < self->node_count);
    self->nodes[node].is_slow = is_slow;
}

// 0: fit; the larger, the worse.
static uint32_t s_doubt(const bb_relay_t *self, uint32_t node, int64_t now_mono_ns)
{
    const s_node_t *state = &self->nodes[node];
    return 2 * (now_mono_ns < state->avoid_until_mono_ns) + state->is_slow;
}

uint32_t bb_relay_choose(const bb_relay_t *self, int64_t now_mono_ns,
                         const bb_relay_target_t *targets, uint32_t count, uint64_t turn)
{
    BB_ASSERT(self && targets);
    BB_ASSERT(count >= 1);
    uint32_t best_doubt = UINT32_MAX, best_parts = 0, equal_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT(targets[i].node < self->node_count);
        uint32_t doubt = s_doubt(self, targets[i].node, now_mono_ns);
        if (doubt < best_doubt || (doubt == best_doubt && targets[i].part_count > best_parts)) {
            best_doubt = doubt;
            best_parts = targets[i].part_count;
            equal_count = 0;
        }
        equal_count += doubt == best_doubt && targets[i].part_count == best_parts;
    }
    BB_ASSERT(equal_count >= 1);
    uint64_t skip = turn % equal_count;
    for (uint32_t i = 0; i < count; i++) {
        if (s_doubt(self, targets[i].node, now_mono_ns) == best_doubt &&
            targets[i].part_count == best_parts && skip-- == 0) {
            return i;
        }
    }
    BB_ASSERT(!"one of them is as good as the best");
    return 0;
}

void bb_relay_sent(bb_relay_t *self, int64_t now_mono_ns, uint32_t write_id, uint32_t relay,
                   const bb_relay_target_t *targets, uint32_t count, bb_buffer_t *chunks,
                   bb_buffer_t *batch)
{
    BB_ASSERT(self && targets && chunks && batch);
    BB_ASSERT(relay < self->node_count);
    uint64_t bytes = bb_buffer_slice(batch).length;
    self->again_bytes =
        BB_MIN(self->again_bytes + bytes / BB_RELAY_AGAIN_SHARE, BB_RELAY_AGAIN_BYTES_MAX);
    if (self->copy_count == BB_RELAY_COPIES_MAX || self->bytes + bytes > self->bytes_max) {
        return; // whoever does not get it pulls
    }
    s_node_t *node = &self->nodes[relay];
    int64_t patience_ns =
        BB_MIN(BB_MAX(2 * node->usual_ns, BB_RELAY_SILENT_NS), BB_RELAY_SILENT_NS_MAX);
    bb_relay_copy_t *copy = bb_alloc(sizeof *copy + count * sizeof copy->targets[0]);
    *copy = (bb_relay_copy_t){.sent_mono_ns = now_mono_ns,
                              .due_mono_ns = now_mono_ns + patience_ns,
                              .write_id = write_id,
                              .relay = relay,
                              .chunks = bb_buffer_keep(chunks),
                              .batch = bb_buffer_keep(batch)};
    for (uint32_t i = 0; i < count; i++) {
        if (targets[i].node != relay) {
            copy->targets[copy->target_count++] = targets[i].node;
        }
    }
    *node->end = copy;
    node->end = &copy->next;
    self->copy_count++;
    self->bytes += bytes;
}

// Takes the oldest copy of the node.
static bb_relay_copy_t *s_take(bb_relay_t *self, s_node_t *node)
{
    bb_relay_copy_t *copy = node->first;
    node->first = copy->next;
    copy->next = NULL;
    if (!node->first) {
        node->end = &node->first;
        node->is_lost = false;
    }
    self->copy_count--;
    self->bytes -= bb_buffer_slice(copy->batch).length;
    return copy;
}

static bb_relay_copy_t *s_next_of(bb_relay_t *self, s_node_t *node, int64_t now_mono_ns,
                                  bb_relay_owes_fn owes, void *context)
{
    while (node->first) {
        bb_relay_copy_t *copy = node->first;
        bool is_acknowledged = !owes(context, copy->write_id, copy->relay);
        if (is_acknowledged && !node->is_lost) {
            int64_t took_ns = now_mono_ns - copy->sent_mono_ns;
            node->usual_ns = node->usual_ns == 0
                                 ? took_ns
                                 : node->usual_ns + (took_ns - node->usual_ns) / S_SMOOTH;
            copy = s_take(self, node);
            bb_relay_copy_destroy(&copy);
            continue;
        }
        if (now_mono_ns < copy->due_mono_ns && !node->is_lost) {
            return NULL;
        }
        node->avoid_until_mono_ns = now_mono_ns + BB_RELAY_AVOID_NS;
        uint32_t owing_count = 0;
        for (uint32_t i = 0; i < copy->target_count; i++) {
            owing_count += owes(context, copy->write_id, copy->targets[i]);
        }
        if (owing_count == 0) { // it was sent on, only its own answer is missing
            copy = s_take(self, node);
            bb_relay_copy_destroy(&copy);
            continue;
        }
        uint64_t again_bytes = owing_count * bb_buffer_slice(copy->batch).length;
        if (!node->is_lost && again_bytes > self->again_bytes) {
            copy->due_mono_ns = now_mono_ns + BB_RELAY_SILENT_NS;
            return NULL;
        }
        self->again_bytes -= node->is_lost ? 0 : again_bytes;
        self->passed_by++;
        return s_take(self, node);
    }
    return NULL;
}

bb_relay_copy_t *bb_relay_next(bb_relay_t *self, int64_t now_mono_ns, bb_relay_owes_fn owes,
                               void *context)
{
    BB_ASSERT(self && owes);
    for (uint32_t i = 0; i < self->node_count && self->copy_count > 0; i++) {
        bb_relay_copy_t *copy = s_next_of(self, &self->nodes[i], now_mono_ns, owes, context);
        if (copy) {
            return copy;
        }
    }
    return NULL;
}

void bb_relay_lost(bb_relay_t *self, uint32_t node)
{
    BB_ASSERT(self && node < self->node_count);
    self->nodes[node].is_lost = self->nodes[node].first != NULL;
    self->nodes[node].usual_ns = 0;
}

int64_t bb_relay_wake_mono_ns(const bb_relay_t *self)
{
    BB_ASSERT(self);
    int64_t wake_mono_ns = BB_NEVER_NS;
    for (uint32_t i = 0; i < self->node_count && self->copy_count > 0; i++) {
        const s_node_t *node = &self->nodes[i];
        if (node->first) {
            wake_mono_ns = BB_MIN(wake_mono_ns, node->is_lost ? node->first->sent_mono_ns
                                                              : node->first->due_mono_ns);
        }
    }
    return wake_mono_ns;
}

uint64_t bb_relay_kept_bytes(const bb_relay_t *self)
{
    BB_ASSERT(self);
    return self->bytes;
}

uint64_t bb_relay_passed_by(const bb_relay_t *self)
{
    BB_ASSERT(self);
    return self->passed_by;
}

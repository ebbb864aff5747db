// SPDX-License-Identifier: Apache-2.0
#include "client/bb_view.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "client/bb_liveness.h"
#include "protocol/bb_placement.h"

static bool s_copy_text(char *to, size_t size, bb_slice_t from)
{
    if (from.length >= size || memchr(from.data ? from.data : "", 0, from.length)) {
        return false;
    }
    if (from.length > 0) {
        memcpy(to, from.data, from.length);
    }
    to[from.length] = 0;
    return true;
}

static bb_error_t s_check(const bb_hello_reply_t *reply, bb_fault_t *fault)
{
    if (reply->node_count == 0 || reply->node_count > BB_NODES_MAX) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "a node describes a cluster of %u nodes",
                            reply->node_count);
    }
    if (reply->partition_count == 0 || reply->partition_count > BB_PARTITIONS_MAX ||
        (reply->partition_count & (reply->partition_count - 1)) != 0) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "a node describes %u partitions, expected a power of two up to %d",
                            reply->partition_count, BB_PARTITIONS_MAX);
    }
    if (reply->replica_stride == 0 || reply->replica_stride > BB_REPLICAS_MAX) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "a node describes %u replicas",
                            reply->replica_stride);
    }
    size_t entries = (size_t)reply->partition_count * reply->replica_stride;
    for (size_t i = 0; i < entries; i++) {
        if (reply->replicas[i] != BB_REPLICA_NONE && reply->replicas[i] >= reply->node_count) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "the table of replicas names node %u of %u", reply->replicas[i],
                                reply->node_count);
        }
    }
    return BB_OK;
}

static bb_error_t s_copy_nodes(bb_view_t *self, const bb_hello_reply_t *reply, bb_fault_t *fault)
{
    for (uint32_t n = 0; n < reply->node_count; n++) {
        const bb_hello_node_t *from = &reply->nodes[n];
        bb_view_node_t *to = &self->nodes[n];
        if (from->id.length == 0 || !s_copy_text(to->id, sizeof to->id, from->id) ||
            !s_copy_text(to->dc, sizeof to->dc, from->dc) ||
            !s_copy_text(to->endpoint, sizeof to->endpoint, from->client_endpoint)) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "a name or endpoint of node %u is empty or too long", n);
        }
        memcpy(to->public_key, from->public_key, sizeof to->public_key);
        to->link = BB_LINK_NONE;
        for (uint32_t other = 0; other < n; other++) {
            if (strcmp(self->nodes[other].id, to->id) == 0) {
                return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "two nodes are called '%s'",
                                    to->id);
            }
        }
    }
    return BB_OK;
}

bb_error_t bb_view_new(const bb_hello_reply_t *reply, uint32_t epoch, bb_view_t **view,
                       bb_fault_t *fault)
{
    bb_error_t error = s_check(reply, fault);
    if (error != BB_OK) {
        return error;
    }
    bb_view_t *self = bb_alloc_zero(1, sizeof *self);
    self->nodes = bb_alloc_zero(reply->node_count, sizeof *self->nodes);
    size_t table_bytes =
        (size_t)reply->partition_count * reply->replica_stride * sizeof *self->replicas;
    self->replicas = bb_alloc(table_bytes);
    memcpy(self->replicas, reply->replicas, table_bytes);
    atomic_init(&self->references, 1);
    memcpy(self->cluster_id, reply->cluster_id, sizeof self->cluster_id);
    memcpy(self->placement_key, reply->placement_key, sizeof self->placement_key);
    self->epoch = epoch;
    self->partition_count = reply->partition_count;
    self->replica_stride = reply->replica_stride;
    self->node_count = reply->node_count;
    self->default_write_level =
        reply->default_write_level ? reply->default_write_level : BB_LEVEL_LOCAL_QUORUM;
    self->default_read_level =
        reply->default_read_level ? reply->default_read_level : BB_LEVEL_LOCAL_QUORUM;
    error = s_copy_nodes(self, reply, fault);
    if (error == BB_OK &&
        !s_copy_text(self->cluster_name, sizeof self->cluster_name, reply->cluster_name)) {
        error = bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "the cluster's name is too long");
    }
    if (error != BB_OK) {
        bb_view_drop(&self);
        return error;
    }
    *view = self;
    return BB_OK;
}

bb_view_t *bb_view_keep(bb_view_t *self)
{
    if (self) {
        atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    }
    return self;
}

void bb_view_drop(bb_view_t **self)
{
    bb_view_t *view = *self;
    *self = NULL;
    if (!view || atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    free(view->nodes);
    free(view->replicas);
    free(view);
}

uint32_t bb_view_partition_of(const bb_view_t *self, bb_slice_t battery)
{
    return bb_partition_of(self->placement_key, battery.data, battery.length,
                           self->partition_count);
}

uint32_t bb_view_node_of_id(const bb_view_t *self, const char *id)
{
    for (uint32_t n = 0; n < self->node_count; n++) {
        if (strcmp(self->nodes[n].id, id) == 0) {
            return n;
        }
    }
    return BB_LINK_NONE;
}

static const uint16_t *s_row(const bb_view_t *self, uint32_t partition)
{
    BB_ASSERT(partition < self->partition_count);
    return self->replicas + (size_t)partition * self->replica_stride;
}

bool bb_view_is_replica(const bb_view_t *self, uint32_t partition, uint32_t node)
{
    const uint16_t *row = s_row(self, partition);
    for (uint32_t i = 0; i < self->replica_stride; i++) {
        if (row[i] == node) {
            return true;
        }
    }
    return false;
}

// SplitMix64's finaliser (Steele, Lea, Flood 2014): every input bit reaches every output bit.
static uint64_t s_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static bool s_is_allowed(const bb_view_choice_t *choice, uint32_t node)
{
    if (choice->only_node != BB_LINK_NONE && choice->only_node != node) {
        return false;
    }
    return !choice->tried || !bb_node_set_has(choice->tried, node);
}

// Smaller is better: rank, foreign data centre, 48 bits of hash.
static uint64_t s_cost(const bb_view_t *self, const bb_view_choice_t *choice, uint64_t what,
                       uint32_t node)
{
    bool is_foreign =
        choice->preferred_dc[0] && strcmp(self->nodes[node].dc, choice->preferred_dc) != 0;
    uint64_t hash = s_mix(s_mix(choice->salt ^ what) + node) >> 16;
    // A node that is down is worse than one far away; one that is merely slow is not.
    uint64_t is_down = choice->ranks[node] >= BB_RANK_DOWN;
    return is_down << 62 | (uint64_t)is_foreign << 60 | (uint64_t)choice->ranks[node] << 52 | hash;
}

uint32_t bb_view_choose(const bb_view_t *self, const bb_view_choice_t *choice, uint32_t partition)
{
    const uint16_t *row = s_row(self, partition);
    uint32_t best = BB_LINK_NONE;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < self->replica_stride; i++) {
        uint32_t node = row[i];
        if (node == BB_REPLICA_NONE || !s_is_allowed(choice, node)) {
            continue;
        }
        uint64_t cost = s_cost(self, choice, partition, node);
        if (cost < best_cost) {
            best = node;
            best_cost = cost;
        }
    }
    return best;
}

uint32_t bb_view_choose_common(const bb_view_t *self, const bb_view_choice_t *choice,
                               const uint32_t *partitions, uint32_t count)
{
    BB_ASSERT(count > 0);
    uint32_t best = BB_LINK_NONE;
    uint64_t best_cost = UINT64_MAX;
    const uint16_t *row = s_row(self, partitions[0]);
    for (uint32_t i = 0; i < self->replica_stride; i++) {
        uint32_t node = row[i];
        if (node == BB_REPLICA_NONE || !s_is_allowed(choice, node)) {
            continue;
        }
        bool holds_all = true;
        for (uint32_t p = 1; p < count && holds_all; p++) {
            holds_all = bb_view_is_replica(self, partitions[p], node);
        }
        uint64_t cost = s_cost(self, choice, partitions[0], node);
        if (holds_all && cost < best_cost) {
            best = node;
            best_cost = cost;
        }
    }
    return best;
}

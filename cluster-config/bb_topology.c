// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_topology.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bb_topology {
    char *cluster_name;
    uint8_t cluster_id[16];
    uint8_t placement_key[16];
    uint32_t epoch;
    uint32_t partition_count;
    uint32_t self_index;
    uint32_t dc_count;
    char *dc_names[BB_DCS_MAX];
    uint32_t dc_replicas[BB_DCS_MAX];
    uint32_t dc_slot_first[BB_DCS_MAX];
    uint16_t *dc_nodes; // node indexes, grouped by data centre
    uint32_t dc_node_first[BB_DCS_MAX + 1];
    uint32_t node_count;
    bb_topology_node_t *nodes; // its texts are owned
    uint32_t stride;
    uint16_t *replicas;
    uint32_t *node_partitions;      // grouped by node
    uint32_t *node_partition_first; // node_count + 1
};

static void s_copy_nodes(bb_topology_t *self, const bb_topology_options_t *options)
{
    self->nodes = bb_alloc_zero(options->node_count, sizeof *self->nodes);
    self->dc_nodes = bb_alloc_zero(options->node_count, sizeof *self->dc_nodes);
    self->node_count = options->node_count;
    uint32_t listed = 0;
    for (uint32_t dc = 0; dc < self->dc_count; dc++) {
        self->dc_node_first[dc] = listed;
        for (uint32_t i = 0; i < options->node_count; i++) {
            if (strcmp(options->nodes[i].dc, self->dc_names[dc]) == 0) {
                self->dc_nodes[listed++] = (uint16_t)i;
                self->nodes[i].dc_index = dc;
            }
        }
    }
    self->dc_node_first[self->dc_count] = listed;
    for (uint32_t i = 0; i < options->node_count; i++) {
        const bb_topology_node_t *from = &options->nodes[i];
        bb_topology_node_t *to = &self->nodes[i];
        uint32_t dc_index = to->dc_index;
        *to = *from;
        to->dc_index = dc_index;
        to->id = bb_strdup(from->id);
        to->dc = bb_strdup(from->dc);
        to->rack = bb_strdup(from->rack ? from->rack : "");
        to->host = bb_strdup(from->host ? from->host : "");
    }
}

static void s_list_partitions(bb_topology_t *self)
{
    size_t entries = (size_t)self->partition_count * self->stride;
    self->node_partition_first = bb_alloc_zero(self->node_count + 1, sizeof(uint32_t));
    self->node_partitions = bb_alloc_zero(entries, sizeof(uint32_t));
    for (size_t i = 0; i < entries; i++) {
        self->node_partition_first[self->replicas[i] + 1]++;
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        self->node_partition_first[i + 1] += self->node_partition_first[i];
    }
    uint32_t *filled = bb_alloc_zero(self->node_count, sizeof *filled);
    for (uint32_t partition = 0; partition < self->partition_count; partition++) {
        const uint16_t *row = bb_topology_replicas(self, partition);
        for (uint32_t slot = 0; slot < self->stride; slot++) {
            uint32_t node = row[slot];
            self->node_partitions[self->node_partition_first[node] + filled[node]++] = partition;
        }
    }
    free(filled);
}

// Places the replicas; checks nodes and data centres on the way.
static bb_error_t s_place(const bb_topology_options_t *options, uint16_t **replicas,
                          bb_fault_t *fault)
{
    bb_placement_node_t *nodes = bb_alloc_zero(options->node_count, sizeof *nodes);
    for (uint32_t i = 0; i < options->node_count; i++) {
        nodes[i] = (bb_placement_node_t){options->nodes[i].id, options->nodes[i].dc,
                                         options->nodes[i].rack, options->nodes[i].weight};
    }
    uint32_t stride = bb_placement_stride(options->dcs, options->dc_count);
    // A stride or count that is out of range is refused by the proposal before it writes.
    size_t entries = (size_t)BB_MIN(options->partition_count, (uint32_t)BB_PARTITIONS_MAX) *
                     BB_MIN(stride, (uint32_t)BB_REPLICAS_MAX);
    uint16_t *table = bb_alloc_zero(entries, sizeof *table);
    bb_error_t error =
        bb_placement_propose(nodes, options->node_count, options->dcs, options->dc_count,
                             options->partition_count, table, fault);
    free(nodes);
    if (error != BB_OK) {
        free(table);
        return error;
    }
    *replicas = table;
    return BB_OK;
}

// Takes over the table.
static bb_topology_t *s_build(const bb_topology_options_t *options, uint16_t *replicas)
{
    bb_topology_t *self = bb_alloc_zero(1, sizeof *self);
    self->cluster_name = bb_strdup(options->cluster_name ? options->cluster_name : "");
    memcpy(self->cluster_id, options->cluster_id, sizeof self->cluster_id);
    memcpy(self->placement_key, options->placement_key, sizeof self->placement_key);
    self->epoch = options->epoch;
    self->partition_count = options->partition_count;
    self->self_index = options->self_index;
    self->replicas = replicas;
    self->dc_count = options->dc_count;
    for (uint32_t i = 0; i < options->dc_count; i++) {
        self->dc_names[i] = bb_strdup(options->dcs[i].name);
        self->dc_replicas[i] = options->dcs[i].replica_count;
        self->dc_slot_first[i] = self->stride;
        self->stride += options->dcs[i].replica_count;
    }
    s_copy_nodes(self, options);
    s_list_partitions(self);
    return self;
}

bb_error_t bb_topology_new(const bb_topology_options_t *options, bb_topology_t **topology,
                           bb_fault_t *fault)
{
    BB_ASSERT(options);
    BB_ASSERT(topology);
    BB_ASSERT(options->self_index < options->node_count || options->self_index == BB_NODE_NONE);
    if (options->epoch == 0) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "the epoch must be 1 or more");
    }
    uint16_t *replicas = NULL;
    bb_error_t error = s_place(options, &replicas, fault);
    if (error == BB_OK) {
        *topology = s_build(options, replicas);
    }
    return error;
}

bb_topology_t *bb_topology_seen_by(const bb_topology_t *self, uint32_t self_index)
{
    BB_ASSERT(self_index < self->node_count || self_index == BB_NODE_NONE);
    bb_placement_dc_t dcs[BB_DCS_MAX];
    for (uint32_t i = 0; i < self->dc_count; i++) {
        dcs[i] = (bb_placement_dc_t){self->dc_names[i], self->dc_replicas[i]};
    }
    bb_topology_options_t options = {.cluster_name = self->cluster_name,
                                     .epoch = self->epoch,
                                     .partition_count = self->partition_count,
                                     .dc_count = self->dc_count,
                                     .dcs = dcs,
                                     .node_count = self->node_count,
                                     .nodes = self->nodes,
                                     .self_index = self_index};
    memcpy(options.cluster_id, self->cluster_id, sizeof options.cluster_id);
    memcpy(options.placement_key, self->placement_key, sizeof options.placement_key);
    size_t bytes = (size_t)self->partition_count * self->stride * sizeof *self->replicas;
    uint16_t *replicas = bb_alloc(bytes);
    memcpy(replicas, self->replicas, bytes);
    return s_build(&options, replicas);
}

void bb_topology_destroy(bb_topology_t **self)
{
    BB_ASSERT(self);
    bb_topology_t *topology = *self;
    if (!topology) {
        return;
    }
    *self = NULL;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        bb_topology_node_t *node = &topology->nodes[i];
        char *texts[] = {(char *)(uintptr_t)node->id, (char *)(uintptr_t)node->dc,
                         (char *)(uintptr_t)node->rack, (char *)(uintptr_t)node->host};
        for (size_t j = 0; j < BB_COUNT_OF(texts); j++) {
            free(texts[j]);
        }
    }
    for (uint32_t i = 0; i < topology->dc_count; i++) {
        free(topology->dc_names[i]);
    }
    free(topology->cluster_name);
    free(topology->nodes);
    free(topology->dc_nodes);
    free(topology->replicas);
    free(topology->node_partitions);
    free(topology->node_partition_first);
    free(topology);
}

const char *bb_topology_cluster_name(const bb_topology_t *self)
{
    return self->cluster_name;
}

const uint8_t *bb_topology_cluster_id(const bb_topology_t *self)
{
    return self->cluster_id;
}

const uint8_t *bb_topology_placement_key(const bb_topology_t *self)
{
    return self->placement_key;
}

uint32_t bb_topology_epoch(const bb_topology_t *self)
{
    return self->epoch;
}

uint32_t bb_topology_partition_count(const bb_topology_t *self)
{
    return self->partition_count;
}

uint32_t bb_topology_self_index(const bb_topology_t *self)
{
    return self->self_index;
}

uint32_t bb_topology_node_count(const bb_topology_t *self)
{
    return self->node_count;
}

const bb_topology_node_t *bb_topology_node(const bb_topology_t *self, uint32_t node_index)
{
    BB_ASSERT(node_index < self->node_count);
    return &self->nodes[node_index];
}

uint32_t bb_topology_node_of_id(const bb_topology_t *self, bb_slice_t id)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (strlen(self->nodes[i].id) == id.length &&
            memcmp(self->nodes[i].id, id.data, id.length) == 0) {
            return i;
        }
    }
    return BB_NODE_NONE;
}

uint32_t bb_topology_dc_count(const bb_topology_t *self)
{
    return self->dc_count;
}

const char *bb_topology_dc_name(const bb_topology_t *self, uint32_t dc_index)
{
    BB_ASSERT(dc_index < self->dc_count);
    return self->dc_names[dc_index];
}

uint32_t bb_topology_dc_replica_count(const bb_topology_t *self, uint32_t dc_index)
{
    BB_ASSERT(dc_index < self->dc_count);
    return self->dc_replicas[dc_index];
}

uint32_t bb_topology_dc_slot_first(const bb_topology_t *self, uint32_t dc_index)
{
    BB_ASSERT(dc_index < self->dc_count);
    return self->dc_slot_first[dc_index];
}

const uint16_t *bb_topology_dc_nodes(const bb_topology_t *self, uint32_t dc_index, uint32_t *count)
{
    BB_ASSERT(dc_index < self->dc_count);
    *count = self->dc_node_first[dc_index + 1] - self->dc_node_first[dc_index];
    return self->dc_nodes + self->dc_node_first[dc_index];
}

uint32_t bb_topology_partition_of(const bb_topology_t *self, const void *battery_id, size_t length)
{
    return bb_partition_of(self->placement_key, battery_id, length, self->partition_count);
}

uint32_t bb_topology_replica_count(const bb_topology_t *self)
{
    return self->stride;
}

const uint16_t *bb_topology_replicas(const bb_topology_t *self, uint32_t partition)
{
    BB_ASSERT(partition < self->partition_count);
    return self->replicas + (size_t)partition * self->stride;
}

const uint16_t *bb_topology_table(const bb_topology_t *self)
{
    return self->replicas;
}

uint32_t bb_topology_slot_of(const bb_topology_t *self, uint32_t partition, uint32_t node_index)
{
    const uint16_t *row = bb_topology_replicas(self, partition);
    for (uint32_t slot = 0; slot < self->stride; slot++) {
        if (row[slot] == node_index) {
            return slot;
        }
    }
    return BB_NODE_NONE;
}

bool bb_topology_is_replica(const bb_topology_t *self, uint32_t partition, uint32_t node_index)
{
    return bb_topology_slot_of(self, partition, node_index) != BB_NODE_NONE;
}

const uint32_t *bb_topology_node_partitions(const bb_topology_t *self, uint32_t node_index,
                                            uint32_t *count)
{
    BB_ASSERT(node_index < self->node_count);
    *count = self->node_partition_first[node_index + 1] - self->node_partition_first[node_index];
    return self->node_partitions + self->node_partition_first[node_index];
}

bb_topology_need_t bb_topology_need(const bb_topology_t *self, bb_level_t level,
                                    uint32_t coordinator_dc_index)
{
    BB_ASSERT(coordinator_dc_index < self->dc_count);
    bb_topology_need_t need = {0};
    uint32_t local_majority = self->dc_replicas[coordinator_dc_index] / 2 + 1;
    switch (level) {
    case BB_LEVEL_ONE:
        need.total = 1;
        break;
    case BB_LEVEL_LOCAL_QUORUM:
        need.total = local_majority;
        need.in_dc[coordinator_dc_index] = local_majority;
        break;
    case BB_LEVEL_QUORUM:
        need.total = self->stride / 2 + 1;
        need.in_dc[coordinator_dc_index] = local_majority;
        break;
    case BB_LEVEL_EACH_QUORUM:
        for (uint32_t i = 0; i < self->dc_count; i++) {
            need.in_dc[i] = self->dc_replicas[i] ? self->dc_replicas[i] / 2 + 1 : 0;
            need.total += need.in_dc[i];
        }
        break;
    case BB_LEVEL_ALL:
        for (uint32_t i = 0; i < self->dc_count; i++) {
            need.in_dc[i] = self->dc_replicas[i];
        }
        need.total = self->stride;
        break;
    }
    BB_ASSERT(need.total >= 1);
    return need;
}

// Replicas of the data centre that are in the mask.
static uint32_t s_count_in_dc(const bb_topology_t *self, uint32_t dc_index, uint32_t slot_mask)
{
    uint32_t mask = ((1u << self->dc_replicas[dc_index]) - 1) << self->dc_slot_first[dc_index];
    return (uint32_t)__builtin_popcount(slot_mask & mask);
}

bool bb_topology_is_met(const bb_topology_t *self, const bb_topology_need_t *need,
                        uint32_t slot_mask)
{
    BB_ASSERT(need->total >= 1);
    if ((uint32_t)__builtin_popcount(slot_mask) < need->total) {
        return false;
    }
    for (uint32_t i = 0; i < self->dc_count; i++) {
        if (s_count_in_dc(self, i, slot_mask) < need->in_dc[i]) {
            return false;
        }
    }
    return true;
}

BB_PRINTF(3, 4)
static size_t s_say(char *out, size_t at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out + at, BB_TOPOLOGY_LACKS_BYTES - at, format, arguments);
    va_end(arguments);
    return BB_MIN(at + (size_t)BB_MAX(length, 0), BB_TOPOLOGY_LACKS_BYTES - 1);
}

void bb_topology_lacks_text(const bb_topology_t *self, const bb_topology_need_t *need,
                            uint32_t slot_mask, char out[BB_TOPOLOGY_LACKS_BYTES])
{
    BB_ASSERT(self && need && out);
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < self->dc_count; i++) {
        uint32_t count = s_count_in_dc(self, i, slot_mask);
        if (count < need->in_dc[i]) {
            at = s_say(out, at, "%s%s has %u of the %u replicas it needs", at > 0 ? ", " : "",
                       self->dc_names[i], count, need->in_dc[i]);
        }
    }
    uint32_t total = (uint32_t)__builtin_popcount(slot_mask);
    if (total < need->total) {
        s_say(out, at, "%s%u of %u in all", at > 0 ? "; " : "", total, need->total);
    }
}

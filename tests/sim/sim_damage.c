// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ingest/bb_shard_internal.h"
#include "tests/sim/sim_world.h"

#define S_FLIPS_MAX 4

typedef enum { S_LOST, S_OLD_COPY, S_FLIPS_IN_JOURNAL, S_KIND_COUNT } s_kind_t;

// ---- what promises cover ---------------------------------------------------------------------

// Some other replica has the partition.
static bool s_is_rebuildable(sim_world_t *self, uint32_t partition, uint32_t victim)
{
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        if (n != victim && sim_world_is_replica(self, partition, n)) {
            return true;
        }
    }
    return false;
}

bool sim_damage_is_covered(sim_world_t *self, uint32_t victim)
{
    for (uint32_t p = 0; p < self->options.partition_count; p++) {
        if (sim_world_is_replica(self, p, victim) && !s_is_rebuildable(self, p, victim)) {
            return false;
        }
    }
    return true;
}

// ---- disks -----------------------------------------------------------------------------------

static void s_put_disk(sim_node_t *node, bb_sim_disk_t *disk)
{
    bb_sim_disk_destroy(&node->disk);
    node->disk = disk;
    bb_sim_disk_vfs(disk)->killpoint = &node->killpoint;
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        bb_have_set_clear(&node->have[p]); // nothing of it is owed by this disk
    }
}

void sim_damage_format(sim_node_t *node)
{
    BB_ASSERT(!node->is_up);
    node->world->counters.disks_formatted++;
    sim_trace_fault(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                    "node %u: an empty disk", node->index);
    s_put_disk(node, bb_sim_disk_new());
}

void sim_damage_keep_copy(sim_node_t *node)
{
    if (node->old_disk) {
        bb_sim_disk_destroy(&node->old_disk);
    }
    node->old_disk = bb_sim_disk_copy(node->disk);
    bool is_sure = node->is_up && node->standing == BB_STANDING_COUNTING;
    node->old_number = is_sure ? sim_control_number(node, node) : 0;
}

void sim_damage_set_back(sim_node_t *node)
{
    BB_ASSERT(!node->is_up && node->old_disk);
    node->world->counters.disks_restored++;
    sim_trace_fault(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                    "node %u: an older copy of its disk", node->index);
    bb_sim_disk_t *disk = node->old_disk;
    node->old_disk = NULL;
    s_put_disk(node, disk);
}

// ---- flips -----------------------------------------------------------------------------------

typedef struct {
    uint64_t left, total;
    const char *path; // of the byte that is `left` bytes on
    uint64_t offset;
} s_byte_t;

static void s_find_byte(void *context, const char *path, uint64_t size_bytes)
{
    s_byte_t *byte = context;
    if (!byte->path && byte->left < size_bytes) {
        byte->path = path;
        byte->offset = byte->left;
    } else if (!byte->path) {
        byte->left -= size_bytes;
    }
    byte->total += size_bytes;
}

static void s_flip_in_journal(sim_node_t *node, bb_random_t *random)
{
    char folder[32];
    snprintf(folder, sizeof folder, "/store-%02u/journal",
             (uint32_t)bb_random_below(random, node->store_count));
    s_byte_t all = {.left = UINT64_MAX};
    bb_sim_disk_files(node->disk, folder, s_find_byte, &all);
    if (all.total == 0) {
        return;
    }
    s_byte_t byte = {.left = bb_random_below(random, all.total)};
    bb_sim_disk_files(node->disk, folder, s_find_byte, &byte);
    uint8_t mask = (uint8_t)(1u << bb_random_below(random, 8));
    char path[128];
    snprintf(path, sizeof path, "%s", byte.path);
    bool is_flipped = bb_sim_disk_flip(node->disk, path, byte.offset, mask);
    BB_ASSERT(is_flipped);
    node->world->counters.flips_in_journals++;
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        bb_have_set_clear(&node->have[p]); // some of it may be damaged now
    }
    sim_trace_fault(&node->world->trace, sim_line_of_node(&node->world->options, node->index),
                    "node %u: bit %02x of %s at %" PRIu64, node->index, mask, path, byte.offset);
}

// ---- endings ---------------------------------------------------------------------------------

bool sim_damage_disk(sim_world_t *self)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_DAMAGE, 0);
    s_kind_t kind = (s_kind_t)bb_random_below(&random, S_KIND_COUNT);
    sim_node_t *node = &self->nodes[bb_random_below(&random, self->options.node_count)];
    if (!bb_random_chance(&random, 1, 3) || !sim_damage_is_covered(self, node->index)) {
        return false;
    }
    bool is_old = kind == S_OLD_COPY && node->old_disk != NULL;
    sim_node_stop(node, bb_random_chance(&random, 1, 2), BB_NS_PER_MS);
    if (kind == S_FLIPS_IN_JOURNAL) {
        node->is_damaged = true;
        uint64_t count = bb_random_between(&random, 1, S_FLIPS_MAX);
        for (uint64_t i = 0; i < count; i++) {
            s_flip_in_journal(node, &random);
        }
    } else if (is_old) {
        sim_damage_set_back(node);
    } else {
        sim_damage_format(node);
    }
    return true;
}

bool sim_damage_maps(sim_world_t *self)
{
    bb_random_t random = sim_world_stream(self, SIM_STREAM_DAMAGE, 1);
    sim_node_t *node = &self->nodes[bb_random_below(&random, self->options.node_count)];
    if (!bb_random_chance(&random, 1, 3)) {
        return false;
    }
    sim_node_stop(node, bb_random_chance(&random, 1, 2), BB_NS_PER_MS);
    uint64_t count = bb_random_between(&random, 1, S_FLIPS_MAX);
    bool is_any = false;
    for (uint64_t i = 0; i < count; i++) {
        char text[160], folder[48];
        // A record of a rollup that is gone, or has come under another key, is noticed by
        // scrubbing only.
        static const struct {
            const char *folder;
            bb_sim_kv_damage_t worst;
        } maps[] = {{"windows", BB_SIM_KV_GONE},
                    {"windows", BB_SIM_KV_GONE},
                    {"quarantine", BB_SIM_KV_GONE},
                    {"meta", BB_SIM_KV_GONE},
                    {"rollups", BB_SIM_KV_VALUE_BIT}};
        uint64_t drawn = bb_random_below(&random, BB_COUNT_OF(maps));
        snprintf(folder, sizeof folder, "/store-%02u/%s",
                 (uint32_t)bb_random_below(&random, node->store_count), maps[drawn].folder);
        if (bb_sim_kv_damage(node->disk, folder, maps[drawn].worst, &random, text, sizeof text)) {
            is_any = node->is_damaged = true;
            self->counters.flips_in_maps++;
            sim_trace_fault(&self->trace, sim_line_of_node(&self->options, node->index),
                            "node %u: %s", node->index, text);
        }
    }
    return is_any;
}

bool sim_damage_is_left(const sim_world_t *self)
{
    bool is_left = false;
    for (uint32_t n = 0; n < self->options.node_count; n++) {
        is_left |= self->nodes[n].is_damaged || self->nodes[n].is_given_up;
    }
    return is_left;
}

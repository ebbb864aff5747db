// SPDX-License-Identifier: Apache-2.0
#include "tests/support/bb_sim_node.h"

#include <stdlib.h>
#include <string.h>

#define S_SECTOR_BYTES 512

// ---- images ----------------------------------------------------------------------------------
static void s_image_resize(bb_sim_image_t *self, uint64_t size)
{
    if (size > self->capacity) {
        self->capacity = BB_MAX((size_t)size, self->capacity * 2);
        self->bytes = bb_realloc(self->bytes, self->capacity);
    }
    if (size > self->size) {
        memset(self->bytes + self->size, 0, (size_t)size - self->size);
    }
    self->size = (size_t)size;
}

static void s_image_write(bb_sim_image_t *self, uint64_t offset, const uint8_t *bytes,
                          size_t length)
{
    if (length == 0) {
        return;
    }
    if (offset + length > self->size) {
        s_image_resize(self, offset + length);
    }
    memcpy(self->bytes + offset, bytes, length);
}

static void s_image_copy(bb_sim_image_t *self, const bb_sim_image_t *other)
{
    s_image_resize(self, other->size);
    if (other->size > 0) {
        memcpy(self->bytes, other->bytes, other->size);
    }
}

static void s_image_apply(bb_sim_image_t *self, const bb_sim_change_t *change)
{
    if (change->bytes) {
        s_image_write(self, change->offset, change->bytes, change->length);
    } else {
        s_image_resize(self, change->offset);
    }
}

// ---- nodes -----------------------------------------------------------------------------------
bb_sim_node_t *bb_sim_node_new(bool is_directory)
{
    bb_sim_node_t *node = bb_alloc_zero(1, sizeof *node);
    node->references = 1;
    node->is_directory = is_directory;
    return node;
}

bb_sim_node_t *bb_sim_node_retain(bb_sim_node_t *node)
{
    node->references++;
    return node;
}

static void s_node_forget_changes(bb_sim_node_t *node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(node->changes[i].bytes);
    }
    node->change_count -= count;
    if (node->change_count > 0) {
        memmove(node->changes, node->changes + count, node->change_count * sizeof *node->changes);
    }
}

void bb_sim_node_drop(bb_sim_node_t *node)
{
    if (!node || --node->references > 0) {
        return;
    }
    s_node_forget_changes(node, node->change_count);
    if (node->object) {
        node->object_class->destroy(node->object);
    }
    free(node->changes);
    free(node->now.bytes);
    free(node->synced.bytes);
    free(node);
}

void bb_sim_node_change(bb_sim_node_t *node, bb_sim_change_t change)
{
    if (node->change_count == node->change_capacity) {
        node->change_capacity = BB_MAX(8u, node->change_capacity * 2);
        node->changes = bb_realloc(node->changes, node->change_capacity * sizeof change);
    }
    node->changes[node->change_count++] = change;
    s_image_apply(&node->now, &change);
}

void bb_sim_node_write(bb_sim_node_t *node, uint64_t offset, const void *bytes, size_t length)
{
    if (length == 0) {
        return;
    }
    bb_sim_change_t change = {.offset = offset, .length = length, .bytes = bb_alloc(length)};
    memcpy(change.bytes, bytes, length);
    bb_sim_node_change(node, change);
}

void bb_sim_node_sync(bb_sim_node_t *node, bool succeeds)
{
    uint32_t applied = 0;
    for (uint32_t i = 0; i < node->change_count; i++) {
        bb_sim_change_t *change = &node->changes[i];
        change->durable = change->durable || (succeeds && !change->lost);
        change->lost = change->lost || !change->durable;
    }
    while (applied < node->change_count && node->changes[applied].durable) {
        s_image_apply(&node->synced, &node->changes[applied]);
        applied++;
    }
    s_node_forget_changes(node, applied);
}

// Applies the sectors of a write that the crash let through.
static void s_crash_sectors(bb_sim_node_t *node, const bb_sim_change_t *change, bb_random_t *random)
{
    if (!change->bytes) {
        if (bb_random_chance(random, 1, 2)) {
            s_image_apply(&node->synced, change);
        }
        return;
    }
    size_t done = 0;
    while (done < change->length) {
        uint64_t at = change->offset + done;
        size_t step = (size_t)(S_SECTOR_BYTES - at % S_SECTOR_BYTES);
        step = BB_MIN(step, change->length - done);
        if (bb_random_chance(random, 1, 2)) {
            s_image_write(&node->synced, at, change->bytes + done, step);
        }
        done += step;
    }
}

// The last write of a kept prefix ends at a sector boundary.
static void s_crash_torn(bb_sim_node_t *node, const bb_sim_change_t *change, bb_random_t *random)
{
    if (!change->bytes) {
        return;
    }
    uint64_t end = change->offset + bb_random_below(random, change->length + 1);
    end -= end % S_SECTOR_BYTES;
    if (end > change->offset) {
        s_image_write(&node->synced, change->offset, change->bytes, (size_t)(end - change->offset));
    }
}

void bb_sim_node_crash(bb_sim_node_t *node, bb_random_t *random)
{
    if (node->change_count > 0) {
        uint64_t mood = bb_random_below(random, 4); // 0 none, 1 all, 2 a prefix, 3 any sectors
        uint64_t prefix = mood == 2 ? bb_random_below(random, node->change_count) : UINT64_MAX;
        for (uint32_t i = 0; i < node->change_count; i++) {
            const bb_sim_change_t *change = &node->changes[i];
            if (change->durable || mood == 1 || (mood == 2 && i < prefix)) {
                s_image_apply(&node->synced, change);
            } else if (mood == 2 && i == prefix) {
                s_crash_torn(node, change, random);
            } else if (mood == 3) {
                s_crash_sectors(node, change, random);
            }
        }
        s_node_forget_changes(node, node->change_count);
        s_image_copy(&node->now, &node->synced);
    }
    node->lock_owner = NULL;
    if (node->object) {
        node->object_class->crash(node->object, random);
    }
}

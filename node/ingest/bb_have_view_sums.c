// SPDX-License-Identifier: Apache-2.0
// How far replicas are behind each other, added up over the partitions of a view.
#include "node/ingest/bb_have_view.h"

typedef struct {
    const bb_have_view_t *view;
    const bb_have_view_options_t *options;
    const uint32_t *partitions;
    uint32_t partition_count, slot_count, self_index;
} s_sums_t;

static s_sums_t s_sums(const bb_have_view_t *view)
{
    s_sums_t self = {.view = view, .options = bb_have_view_options(view)};
    self.partitions = bb_have_view_partitions(view, &self.partition_count);
    self.slot_count = bb_topology_replica_count(self.options->topology);
    self.self_index = bb_topology_self_index(self.options->topology);
    return self;
}

// What the replica in the slot has, as far as known.
static const bb_have_set_t *s_have(const s_sums_t *self, uint32_t partition, uint32_t slot)
{
    uint32_t node = bb_topology_replicas(self->options->topology, partition)[slot];
    return node == self->self_index ? self->options->own(self->options->own_context, partition)
                                    : bb_have_view_known(self->view, partition, slot);
}

// What exists in the partition as far as known: almost always just what we have. `room` is used
// when it is more; is_whole is false when that is too fragmented to be summed up.
static const bb_have_set_t *s_existing(const s_sums_t *self, uint32_t partition,
                                       bb_have_set_t *room, bool *is_whole)
{
    const bb_have_set_t *all = self->options->own(self->options->own_context, partition);
    *is_whole = true;
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        const bb_have_set_t *have = s_have(self, partition, slot);
        if (have == all || bb_have_set_includes(all, have)) {
            continue;
        }
        if (all != room) {
            bb_have_set_copy(room, all);
            all = room;
        }
        *is_whole &= bb_have_set_union(room, have) == BB_OK;
    }
    return all;
}

uint64_t bb_have_view_lag(const bb_have_view_t *view, uint32_t node)
{
    BB_ASSERT(view);
    s_sums_t self = s_sums(view);
    uint64_t lag = 0;
    bb_have_set_t room = {0};
    for (uint32_t i = 0; i < self.partition_count; i++) {
        uint32_t slot = bb_topology_slot_of(self.options->topology, self.partitions[i], node);
        if (slot == BB_NODE_NONE) {
            continue;
        }
        // A sum that was cut short makes the lag look smaller, never larger: fine for a gauge.
        bool is_whole = true;
        const bb_have_set_t *all = s_existing(&self, self.partitions[i], &room, &is_whole);
        const bb_have_set_t *have = s_have(&self, self.partitions[i], slot);
        lag += have == all ? 0 : bb_have_set_lacks_count(have, all);
    }
    bb_have_set_clear(&room);
    return lag;
}

static bool s_is_under_replicated(const s_sums_t *self, uint32_t partition, bb_have_set_t *room)
{
    bool is_whole = true;
    const bb_have_set_t *all = s_existing(self, partition, room, &is_whole);
    for (uint32_t slot = 0; slot < self->slot_count && is_whole; slot++) {
        uint32_t node = bb_topology_replicas(self->options->topology, partition)[slot];
        if (node == self->self_index) {
            is_whole = bb_have_set_includes(s_have(self, partition, slot), all);
        } else {
            is_whole = bb_have_view_is_up(self->view, node) &&
                       bb_have_view_is_known(self->view, node, partition) &&
                       bb_have_set_includes(s_have(self, partition, slot), all);
        }
    }
    return !is_whole;
}

uint32_t bb_have_view_under_replicated(const bb_have_view_t *view)
{
    BB_ASSERT(view);
    s_sums_t self = s_sums(view);
    uint32_t count = 0;
    bb_have_set_t room = {0};
    for (uint32_t i = 0; i < self.partition_count; i++) {
        count += s_is_under_replicated(&self, self.partitions[i], &room);
    }
    bb_have_set_clear(&room);
    return count;
}

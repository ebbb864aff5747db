// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_shortfall.h"

#include <stdlib.h>
#include <string.h>

// Marks of one partition; an empty set is none.
typedef struct {
    bb_have_set_t young, old;
    int64_t young_mono_ns;
    bool is_missed; // at the last look a replica was missing, or there was none yet
} s_entry_t;

struct bb_shortfall {
    const bb_have_view_t *view;
    const bb_have_view_options_t *options;
    const uint32_t *partitions; // ours
    uint32_t partition_count, slot_count, node_count, self_index;
    s_entry_t *entries; // per partition of ours
    bb_have_set_t room; // what exists, when it is more than we have
    int64_t looked_mono_ns;
};

bb_shortfall_t *bb_shortfall_new(const bb_have_view_t *view)
{
    BB_ASSERT(view);
    bb_shortfall_t *self = bb_alloc_zero(1, sizeof *self);
    self->view = view;
    self->options = bb_have_view_options(view);
    self->partitions = bb_have_view_partitions(view, &self->partition_count);
    self->slot_count = bb_topology_replica_count(self->options->topology);
    self->node_count = bb_topology_node_count(self->options->topology);
    self->self_index = bb_topology_self_index(self->options->topology);
    self->entries = bb_alloc_zero(self->partition_count + 1, sizeof *self->entries);
    for (uint32_t i = 0; i < self->partition_count; i++) {
        self->entries[i].is_missed = true;
    }
    self->looked_mono_ns = INT64_MIN;
    return self;
}

static void s_clear(s_entry_t *entry)
{
    bb_have_set_clear(&entry->young);
    bb_have_set_clear(&entry->old);
}

void bb_shortfall_destroy(bb_shortfall_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_shortfall_t *self = *self_pointer;
    if (self) {
        for (uint32_t i = 0; i < self->partition_count; i++) {
            s_clear(&self->entries[i]);
        }
        bb_have_set_clear(&self->room);
        free(self->entries);
        free(self);
    }
    *self_pointer = NULL;
}

void bb_shortfall_forget(bb_shortfall_t *self)
{
    BB_ASSERT(self && self->options->forgotten);
    for (uint32_t i = 0; i < self->partition_count; i++) {
        bb_forgotten_drop(self->options->forgotten, &self->entries[i].young);
        bb_forgotten_drop(self->options->forgotten, &self->entries[i].old);
    }
}

// One partition at one look.
typedef struct {
    uint32_t partition;
    const uint16_t *nodes;                       // per slot
    const bb_have_set_t *haves[BB_REPLICAS_MAX]; // likewise: what it has, as far as known
    const bb_have_set_t *own;
} s_look_t;

static s_look_t s_look_at(const bb_shortfall_t *self, uint32_t index)
{
    s_look_t look = {.partition = self->partitions[index]};
    look.nodes = bb_topology_replicas(self->options->topology, look.partition);
    look.own = self->options->own(self->options->own_context, look.partition);
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        look.haves[slot] = look.nodes[slot] == self->self_index
                               ? look.own
                               : bb_have_view_known(self->view, look.partition, slot);
    }
    return look;
}

// All replicas have the set.
static bool s_is_everywhere(const bb_shortfall_t *self, const s_look_t *look,
                            const bb_have_set_t *set)
{
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        if (!bb_have_set_includes(look->haves[slot], set)) {
            return false;
        }
    }
    return true;
}

static bool s_is_equal(const bb_shortfall_t *self, const s_look_t *look)
{
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        if (look->haves[slot] != look->own && !bb_have_set_is_equal(look->haves[slot], look->own)) {
            return false;
        }
    }
    return true;
}

// What exists in the partition as far as known: almost always just what we have. NULL: that is too
// fragmented to be summed up, and self->room has a part of it.
static const bb_have_set_t *s_existing(bb_shortfall_t *self, const s_look_t *look)
{
    const bb_have_set_t *all = look->own;
    bb_error_t error = BB_OK;
    for (uint32_t slot = 0; slot < self->slot_count && error == BB_OK; slot++) {
        const bb_have_set_t *have = look->haves[slot];
        if (have == look->own || bb_have_set_includes(all, have)) {
            continue;
        }
        if (all == look->own) {
            bb_have_set_copy(&self->room, all);
            all = &self->room;
        }
        error = bb_have_set_union(&self->room, have);
    }
    return error == BB_OK ? all : NULL;
}

// A replica is down, does not count, or has told of nothing yet.
static bool s_is_missed(const bb_shortfall_t *self, const s_look_t *look, const bool *is_counting)
{
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        uint32_t node = look->nodes[slot];
        if (!is_counting[node] || (node != self->self_index &&
                                   !bb_have_view_is_known(self->view, node, look->partition))) {
            return true;
        }
    }
    return false;
}

// Not all replicas have what exists; none is missing. True: for long enough.
static bool s_is_short(const bb_shortfall_t *self, const s_look_t *look, s_entry_t *entry,
                       const bb_have_set_t *existing)
{
    int64_t now_mono_ns = self->looked_mono_ns;
    if (entry->is_missed) {
        bb_have_set_copy(&entry->old, existing);
        entry->is_missed = false;
    }
    bool is_first = entry->young.stream_count == 0;
    if (is_first || now_mono_ns - entry->young_mono_ns >= BB_SHORTFALL_NS) {
        if (!is_first) {
            bb_have_set_clear(&entry->old);
            entry->old = entry->young;
            entry->young = (bb_have_set_t){0};
        }
        bb_have_set_copy(&entry->young, existing);
        entry->young_mono_ns = now_mono_ns;
    }
    if (s_is_everywhere(self, look, &entry->old)) {
        bb_have_set_clear(&entry->old);
    }
    return entry->old.stream_count > 0;
}

static void s_look(bb_shortfall_t *self, uint32_t index, const bool *is_counting,
                   uint64_t *lag_chunks, bb_shortfall_counts_t *counts)
{
    s_look_t look = s_look_at(self, index);
    s_entry_t *entry = &self->entries[index];
    bool is_missed = s_is_missed(self, &look, is_counting), is_equal = s_is_equal(self, &look);
    const bb_have_set_t *existing = is_equal ? look.own : s_existing(self, &look);
    for (uint32_t slot = 0; slot < self->slot_count && !is_equal; slot++) {
        // A sum that was cut short makes the lag look smaller, never larger: fine for a gauge.
        const bb_have_set_t *summed = existing ? existing : &self->room;
        lag_chunks[look.nodes[slot]] += bb_have_set_lacks_count(look.haves[slot], summed);
    }
    if (is_missed || is_equal) {
        s_clear(entry);
        entry->is_missed = is_missed;
    }
    counts->unequal += is_missed || !is_equal;
    counts->under_replicated +=
        is_missed || !existing || (!is_equal && s_is_short(self, &look, entry, existing));
}

bb_shortfall_counts_t bb_shortfall_look(bb_shortfall_t *self, int64_t now_mono_ns,
                                        const bool *is_counting, uint64_t *lag_chunks)
{
    BB_ASSERT(self && is_counting && lag_chunks);
    BB_ASSERT(now_mono_ns >= self->looked_mono_ns);
    self->looked_mono_ns = now_mono_ns;
    memset(lag_chunks, 0, self->node_count * sizeof *lag_chunks);
    bb_shortfall_counts_t counts = {0};
    for (uint32_t i = 0; i < self->partition_count; i++) {
        s_look(self, i, is_counting, lag_chunks, &counts);
    }
    BB_ASSERT(counts.under_replicated <= counts.unequal);
    BB_ASSERT(counts.unequal <= self->partition_count);
    return counts;
}

// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_watch.h"

#include <stdlib.h>

typedef struct {
    bb_have_set_t watched; // anywhere; told
    bb_have_set_t done;    // watched or settled
    bb_have_set_t pending; // what was durable here at since_mono_ns; empty: nothing waits
    int64_t since_mono_ns;
    uint64_t version; // of `watched`
} s_partition_t;

struct bb_watch {
    const bb_topology_t *topology;
    const bb_have_view_t *view;
    bb_have_own_fn own;
    void *own_context;
    uint32_t self_index, slot_count;
    const uint32_t *ours; // ascending; of the view
    uint32_t our_count;
    uint32_t *index_of; // per partition: its index in `ours`, if it is there
    s_partition_t *partitions;
    uint64_t version;
    bool is_serving[BB_NODES_MAX];
};

bb_watch_t *bb_watch_new(const bb_topology_t *topology, const bb_have_view_t *view,
                         bb_have_own_fn own, void *own_context)
{
    BB_ASSERT(topology && view && own);
    bb_watch_t *self = bb_alloc_zero(1, sizeof *self);
    self->topology = topology;
    self->view = view;
    self->own = own;
    self->own_context = own_context;
    self->self_index = bb_topology_self_index(topology);
    self->slot_count = bb_topology_replica_count(topology);
    self->ours = bb_have_view_partitions(view, &self->our_count);
    self->partitions = bb_alloc_zero((size_t)self->our_count + 1, sizeof *self->partitions);
    self->index_of = bb_alloc_zero(bb_topology_partition_count(topology), sizeof *self->index_of);
    for (uint32_t i = 0; i < self->our_count; i++) {
        self->index_of[self->ours[i]] = i;
    }
    self->is_serving[self->self_index] = true;
    return self;
}

void bb_watch_destroy(bb_watch_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_watch_t *self = *self_pointer;
    *self_pointer = NULL;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->our_count; i++) {
        bb_have_set_clear(&self->partitions[i].watched);
        bb_have_set_clear(&self->partitions[i].pending);
        bb_have_set_clear(&self->partitions[i].done);
    }
    free(self->partitions);
    free(self->index_of);
    free(self);
}

void bb_watch_serving(bb_watch_t *self, uint32_t node, bool is_serving)
{
    BB_ASSERT(self && node < BB_NODES_MAX);
    self->is_serving[node] = is_serving;
}

// ---- watched -----------------------------------------------------------------------------------

static s_partition_t *s_partition(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(bb_have_view_is_ours(self->view, partition));
    return &self->partitions[self->index_of[partition]];
}

const bb_have_set_t *bb_watch_set(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return &s_partition(self, partition)->watched;
}

const bb_have_set_t *bb_watch_done_set(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return &s_partition(self, partition)->done;
}

bool bb_watch_is_done(const bb_watch_t *self, uint32_t partition, const bb_stream_t *stream,
                      uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(self && stream && first_seq <= last_seq);
    if (!bb_have_view_is_ours(self->view, partition)) {
        return false;
    }
    const bb_have_stream_t *held = bb_have_set_stream(bb_watch_done_set(self, partition), stream);
    for (uint32_t i = 0; held && i < held->range_count; i++) {
        // Ranges are never adjacent, so one of them covers all or none does.
        if (held->ranges[i].first_seq <= first_seq && last_seq <= held->ranges[i].last_seq) {
            return true;
        }
    }
    return false;
}

bool bb_watch_is_complete(const bb_watch_t *self)
{
    BB_ASSERT(self);
    for (uint32_t i = 0; i < self->our_count; i++) {
        if (!bb_have_set_includes(&self->partitions[i].done,
                                  self->own(self->own_context, self->ours[i]))) {
            return false;
        }
    }
    return true;
}

bb_error_t bb_watch_add(bb_watch_t *self, uint32_t partition, const bb_stream_t *stream,
                        uint64_t seq)
{
    BB_ASSERT(self && stream);
    s_partition_t *at = s_partition(self, partition);
    bool is_new = false;
    bb_error_t error = bb_have_set_add(&at->watched, stream, seq, seq, &is_new);
    if (error == BB_OK && is_new) {
        at->version = ++self->version;
        error = bb_have_set_add(&at->done, stream, seq, seq, NULL);
    }
    return error;
}

void bb_watch_learn(bb_watch_t *self, uint32_t partition, const bb_have_set_t *watched)
{
    BB_ASSERT(self && watched);
    if (!bb_have_view_is_ours(self->view, partition)) {
        return;
    }
    s_partition_t *at = s_partition(self, partition);
    if (!bb_have_set_includes(&at->watched, watched)) {
        bb_error_t error = bb_have_set_union(&at->watched, watched);
        bb_ignore(error, "LIMIT: what does not fit now is told again, or evaluated here");
        error = bb_have_set_union(&at->done, &at->watched);
        bb_ignore(error, "likewise");
        at->version = ++self->version;
    }
}

void bb_watch_forget(bb_watch_t *self, const bb_forgotten_t *forgotten)
{
    BB_ASSERT(self && forgotten);
    for (uint32_t i = 0; i < self->our_count; i++) {
        bb_forgotten_drop(forgotten, &self->partitions[i].watched);
        bb_forgotten_drop(forgotten, &self->partitions[i].done);
        bb_forgotten_drop(forgotten, &self->partitions[i].pending);
    }
}

uint64_t bb_watch_version(const bb_watch_t *self)
{
    BB_ASSERT(self);
    return self->version;
}

uint64_t bb_watch_set_version(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return s_partition(self, partition)->version;
}

// ---- turns -------------------------------------------------------------------------------------

static uint32_t s_dc_of(const bb_watch_t *self, uint32_t node)
{
    return bb_topology_node(self->topology, node)->dc_index;
}

// How many replicas of this data centre come before this one; slot_count when this one does not
// serve.
static uint32_t s_rank(const bb_watch_t *self, uint32_t partition)
{
    const uint16_t *replicas = bb_topology_replicas(self->topology, partition);
    uint32_t dc = s_dc_of(self, self->self_index);
    uint32_t rank = 0;
    for (uint32_t slot = 0; slot < self->slot_count; slot++) {
        if (replicas[slot] == self->self_index) {
            return self->is_serving[self->self_index] ? rank : self->slot_count;
        }
        rank += s_dc_of(self, replicas[slot]) == dc && self->is_serving[replicas[slot]];
    }
    return self->slot_count;
}

static bool s_is_due(bb_watch_t *self, int64_t now_mono_ns, uint32_t index)
{
    s_partition_t *at = &self->partitions[index];
    if (bb_have_set_includes(&at->done, &at->pending)) { // also when nothing is pending
        const bb_have_set_t *own = self->own(self->own_context, self->ours[index]);
        bb_have_set_clear(&at->pending);
        if (bb_have_set_includes(&at->done, own)) {
            return false;
        }
        bb_have_set_copy(&at->pending, own);
        at->since_mono_ns = now_mono_ns;
    }
    uint32_t rank = s_rank(self, self->ours[index]);
    return rank < self->slot_count && now_mono_ns - at->since_mono_ns >= rank * BB_WATCH_TURN_NS;
}

uint32_t bb_watch_due(bb_watch_t *self, int64_t now_mono_ns, uint32_t *partitions)
{
    BB_ASSERT(self && partitions);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->our_count; i++) {
        if (s_is_due(self, now_mono_ns, i)) {
            partitions[count++] = self->ours[i];
        }
    }
    return count;
}

void bb_watch_settled(bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    s_partition_t *at = s_partition(self, partition);
    bb_error_t error = bb_have_set_union(&at->done, self->own(self->own_context, partition));
    bb_ignore(error, "LIMIT: said again with the next look");
}

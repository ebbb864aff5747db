// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_watch.h"

#include <stdlib.h>

typedef struct {
    bb_have_set_t watched; // anywhere; told
    bb_have_set_t done;    // watched or settled
    bb_have_set_t begun;   // done, or being evaluated
    bb_have_set_t pending; // what was durable here at since_mono_ns; empty: nothing waits
    int64_t since_mono_ns;
    uint64_t version; // when a dot was last added here
    // How many serving replicas of this data centre come before this one; slot_count when this one
    // does not serve.
    uint32_t rank;
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
    uint64_t version, done_version;
    bool is_idle; // at the last look
    bool is_serving[BB_NODES_MAX];
};

// ---- turns, first: who serves ------------------------------------------------------------------

static uint32_t s_dc_of(const bb_watch_t *self, uint32_t node)
{
    return bb_topology_node(self->topology, node)->dc_index;
}

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

void bb_watch_serving(bb_watch_t *self, uint32_t node, bool is_serving)
{
    BB_ASSERT(self && node < BB_NODES_MAX);
    if (self->is_serving[node] == is_serving) {
        return;
    }
    self->is_serving[node] = is_serving;
    for (uint32_t i = 0; i < self->our_count; i++) {
        self->partitions[i].rank = s_rank(self, self->ours[i]);
    }
}

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
    bb_watch_serving(self, self->self_index, true);
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
        bb_have_set_clear(&self->partitions[i].begun);
    }
    free(self->partitions);
    free(self->index_of);
    free(self);
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

const bb_have_set_t *bb_watch_begun_set(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return &s_partition(self, partition)->begun;
}

bool bb_watch_is_done(const bb_watch_t *self, uint32_t partition, const bb_stream_t *stream,
                      uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(self && stream && first_seq <= last_seq);
    return bb_have_view_is_ours(self->view, partition) &&
           bb_have_set_contains_range(&s_partition(self, partition)->done, stream, first_seq,
                                      last_seq);
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

bb_error_t bb_watch_begin(bb_watch_t *self, uint32_t partition, const bb_stream_t *stream,
                          uint64_t seq)
{
    BB_ASSERT(self && stream);
    return bb_have_set_add(&s_partition(self, partition)->begun, stream, seq, seq, NULL);
}

void bb_watch_begin_none(bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    s_partition_t *at = s_partition(self, partition);
    bb_have_set_copy(&at->begun, &at->done);
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
    }
    // Also when it was watched before: `done` may have had no room for it then.
    if (error == BB_OK) {
        error = bb_have_set_add(&at->done, stream, seq, seq, &is_new);
        self->done_version += error == BB_OK && is_new;
    }
    if (error == BB_OK) {
        error = bb_have_set_add(&at->begun, stream, seq, seq, NULL);
        bb_ignore(error, "LIMIT: it is looked at again, and found to be done");
        error = BB_OK;
    }
    return error;
}

// True: something was new.
static bool s_join(bb_have_set_t *set, const bb_have_set_t *other)
{
    if (bb_have_set_includes(set, other)) {
        return false;
    }
    bb_error_t error = bb_have_set_union(set, other);
    bb_ignore(error, "LIMIT: what does not fit now is told again, or evaluated here");
    return true;
}

void bb_watch_learn(bb_watch_t *self, uint32_t partition, const bb_have_set_t *watched)
{
    BB_ASSERT(self && watched);
    if (!bb_have_view_is_ours(self->view, partition)) {
        return;
    }
    s_partition_t *at = s_partition(self, partition);
    s_join(&at->watched, watched);
    // Each for itself: one may have had no room for what the other took.
    self->done_version += s_join(&at->done, watched);
    s_join(&at->begun, watched);
}

void bb_watch_forget(bb_watch_t *self, const bb_forgotten_t *forgotten)
{
    BB_ASSERT(self && forgotten);
    for (uint32_t i = 0; i < self->our_count; i++) {
        bb_forgotten_drop(forgotten, &self->partitions[i].watched);
        bb_forgotten_drop(forgotten, &self->partitions[i].done);
        bb_forgotten_drop(forgotten, &self->partitions[i].begun);
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

uint64_t bb_watch_done_version(const bb_watch_t *self)
{
    BB_ASSERT(self);
    return self->done_version;
}

// ---- turns -------------------------------------------------------------------------------------

bool bb_watch_is_owner(const bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    return bb_have_view_is_ours(self->view, partition) && s_partition(self, partition)->rank == 0;
}

bool bb_watch_is_idle(const bb_watch_t *self)
{
    BB_ASSERT(self);
    return self->is_idle;
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
    self->is_idle = false;
    return at->rank < self->slot_count &&
           now_mono_ns - at->since_mono_ns >= at->rank * BB_WATCH_TURN_NS &&
           !bb_have_set_includes(&at->begun, &at->pending);
}

uint32_t bb_watch_due(bb_watch_t *self, int64_t now_mono_ns, uint32_t *partitions)
{
    BB_ASSERT(self && partitions);
    uint32_t count = 0;
    self->is_idle = true;
    for (uint32_t i = 0; i < self->our_count; i++) {
        if (s_is_due(self, now_mono_ns, i)) {
            partitions[count++] = self->ours[i];
        }
    }
    return count;
}

// [first_seq, last_seq] of the stream is neither watched nor begun.
static void s_settle(bb_watch_t *self, s_partition_t *at, const bb_stream_t *stream,
                     uint64_t first_seq, uint64_t last_seq)
{
    bool is_new = false;
    bb_error_t error = bb_have_set_add(&at->done, stream, first_seq, last_seq, &is_new);
    self->done_version += error == BB_OK && is_new;
    bb_ignore(error, "LIMIT: said again with the next look");
}

void bb_watch_settled(bb_watch_t *self, uint32_t partition)
{
    BB_ASSERT(self);
    s_partition_t *at = s_partition(self, partition);
    const bb_have_set_t *own = self->own(self->own_context, partition);
    for (uint32_t s = 0; s < own->stream_count; s++) {
        const bb_have_stream_t *stream = &own->streams[s];
        const bb_have_stream_t *begun = bb_have_set_stream(&at->begun, &stream->stream);
        uint32_t b = 0;
        for (uint32_t r = 0; r < stream->range_count; r++) {
            uint64_t next = stream->ranges[r].first_seq, last = stream->ranges[r].last_seq;
            bool is_left = true; // something of [next, last]
            for (; begun && b < begun->range_count && begun->ranges[b].first_seq <= last; b++) {
                if (begun->ranges[b].first_seq > next) {
                    s_settle(self, at, &stream->stream, next, begun->ranges[b].first_seq - 1);
                }
                if (begun->ranges[b].last_seq >= last) {
                    is_left = false; // it may reach into the next range of ours
                    break;
                }
                next = BB_MAX(next, begun->ranges[b].last_seq + 1);
            }
            if (is_left) {
                s_settle(self, at, &stream->stream, next, last);
            }
        }
    }
    s_join(&at->begun, &at->done);
}

// SPDX-License-Identifier: Apache-2.0
// Which streams the have-sets name, which of them are sealed, and taking out those that are
// forgotten (protocol/bb_forgotten.h).
//
// A chunk is sealed when a flush that began after it was applied has ended; the store counts
// versions for that already. So it is enough to remember, of each stream that brought something
// since the last flush, when that was: as many entries as there are processes that write.
#include <stdlib.h>
#include <string.h>

#include "storage/bb_store.h"
#include "storage/bb_store_private.h"

void bb_store_stream_applied(bb_store_t *self, const bb_stream_t *stream)
{
    for (uint32_t i = 0; i < self->unsealed_count; i++) {
        if (bb_stream_is_equal(&self->unsealed[i].stream, stream)) {
            self->unsealed[i].version = self->version;
            return;
        }
    }
    if (self->unsealed_count == self->unsealed_capacity) {
        self->unsealed_capacity = self->unsealed_capacity ? 2 * self->unsealed_capacity : 8;
        self->unsealed =
            bb_realloc(self->unsealed, self->unsealed_capacity * sizeof *self->unsealed);
    }
    self->unsealed[self->unsealed_count++] = (bb_store_stream_t){*stream, self->version};
}

void bb_store_streams_sealed(bb_store_t *self)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->unsealed_count; i++) {
        if (self->unsealed[i].version > self->have_saved_version) {
            self->unsealed[kept++] = self->unsealed[i];
        }
    }
    if (kept < self->unsealed_count) {
        self->version++; // worth a report, though no have-set has changed
    }
    self->unsealed_count = kept;
}

uint32_t bb_store_unsealed_first(const bb_store_t *self, uint32_t node_hash)
{
    BB_ASSERT(self);
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < self->unsealed_count; i++) {
        const bb_stream_t *stream = &self->unsealed[i].stream;
        if (bb_stream_hash(stream) == node_hash) {
            first = BB_MIN(first, bb_stream_number(stream));
        }
    }
    return first;
}

uint32_t bb_store_forget(bb_store_t *self, const bb_forgotten_t *forgotten)
{
    BB_ASSERT(self && forgotten);
    uint32_t dropped = 0;
    for (uint32_t p = 0; p < self->partition_count; p++) {
        uint32_t count = bb_forgotten_drop(forgotten, &self->have[p]);
        if (count > 0) {
            self->have_versions[p] = ++self->version;
        }
        dropped += count;
    }
    if (dropped > 0) {
        bb_store_streams_look(self);
    }
    return dropped;
}

// Partitions name the same few streams again and again, so they are not looked through each time
// that somebody asks how many there are.
void bb_store_stream_seen(bb_store_t *self, const bb_stream_t *stream)
{
    if (self->streams.stream_count < BB_STREAMS_MAX &&
        !bb_have_set_stream(&self->streams, stream)) {
        bb_error_t error = bb_have_set_add(&self->streams, stream, 1, 1, NULL);
        BB_ASSERT(error == BB_OK); // there is room
    }
}

void bb_store_streams_look(bb_store_t *self)
{
    bb_have_set_clear(&self->streams);
    for (uint32_t p = 0; p < self->partition_count; p++) {
        for (uint32_t i = 0; i < self->have[p].stream_count; i++) {
            bb_store_stream_seen(self, &self->have[p].streams[i].stream);
        }
    }
}

// Slow: is each stream of a have-set among those that were seen, and no other one?
static bool s_are_all_seen(const bb_store_t *self)
{
    bb_store_t looked = {.partition_count = self->partition_count, .have = self->have};
    bb_store_streams_look(&looked);
    bool is_same = looked.streams.stream_count == self->streams.stream_count;
    for (uint32_t i = 0; i < self->streams.stream_count && is_same; i++) {
        is_same =
            bb_stream_is_equal(&looked.streams.streams[i].stream, &self->streams.streams[i].stream);
    }
    bb_have_set_clear(&looked.streams);
    return is_same;
}

const bb_have_set_t *bb_store_streams(const bb_store_t *self)
{
    BB_ASSERT(self);
    BB_ASSERT_SLOW(s_are_all_seen(self));
    return &self->streams;
}

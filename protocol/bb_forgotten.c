// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_forgotten.h"

#include <sodium.h>
#include <string.h>

uint32_t bb_stream_node_hash(const char *node_id)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES] = "busbar streams ";
    BB_ASSERT(node_id);
    uint8_t hash[crypto_shorthash_BYTES];
    crypto_shorthash(hash, (const uint8_t *)node_id, strlen(node_id), key);
    uint32_t lower = 0;
    memcpy(&lower, hash, sizeof lower);
    return lower;
}

bb_stream_t bb_stream_make(uint32_t node_hash, uint32_t number, const uint8_t random[8])
{
    bb_stream_t stream;
    memcpy(stream.bytes, &node_hash, sizeof node_hash);
    memcpy(stream.bytes + 4, &number, sizeof number);
    memcpy(stream.bytes + 8, random, 8);
    return stream;
}

uint32_t bb_stream_hash(const bb_stream_t *stream)
{
    uint32_t hash;
    memcpy(&hash, stream->bytes, sizeof hash);
    return hash;
}

uint32_t bb_stream_number(const bb_stream_t *stream)
{
    uint32_t number;
    memcpy(&number, stream->bytes + 4, sizeof number);
    return number;
}

bool bb_stream_is_before(const bb_stream_t *stream, const bb_stream_t *other)
{
    return bb_stream_hash(stream) == bb_stream_hash(other) &&
           bb_stream_number(stream) < bb_stream_number(other);
}

// Position of the first floor of this node or a later one.
static uint32_t s_index(const bb_forgotten_t *self, uint32_t node_hash)
{
    uint32_t low = 0, high = self->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->floors[middle].node_hash < node_hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool bb_forgotten_raise(bb_forgotten_t *self, uint32_t node_hash, uint32_t below)
{
    BB_ASSERT(self);
    uint32_t index = s_index(self, node_hash);
    bb_forgotten_floor_t *floor = &self->floors[index];
    if (index < self->count && floor->node_hash == node_hash) {
        bool is_higher = floor->below < below;
        floor->below = BB_MAX(floor->below, below);
        return is_higher;
    }
    if (below == 0 || self->count == BB_NODES_MAX) {
        return false;
    }
    memmove(floor + 1, floor, (self->count - index) * sizeof *floor);
    *floor = (bb_forgotten_floor_t){node_hash, below};
    self->count++;
    return true;
}

uint32_t bb_forgotten_below(const bb_forgotten_t *self, uint32_t node_hash)
{
    BB_ASSERT(self);
    uint32_t index = s_index(self, node_hash);
    bool is_known = index < self->count && self->floors[index].node_hash == node_hash;
    return is_known ? self->floors[index].below : 0;
}

bool bb_forgotten_has(const bb_forgotten_t *self, const bb_stream_t *stream)
{
    return bb_stream_number(stream) < bb_forgotten_below(self, bb_stream_hash(stream));
}

bool bb_forgotten_is_equal(const bb_forgotten_t *self, const bb_forgotten_t *other)
{
    BB_ASSERT(self && other);
    return self->count == other->count &&
           memcmp(self->floors, other->floors, self->count * sizeof self->floors[0]) == 0;
}

bool bb_forgotten_is_in(void *context, const bb_stream_t *stream)
{
    return bb_forgotten_has(context, stream);
}

uint32_t bb_forgotten_drop(const bb_forgotten_t *self, bb_have_set_t *have)
{
    BB_ASSERT(self && have);
    uint32_t before = have->stream_count;
    bb_forgotten_t *context = (bb_forgotten_t *)(uintptr_t)self; // only looked at
    if (self->count > 0) {
        bb_have_set_drop(have, bb_forgotten_is_in, context);
    }
    return before - have->stream_count;
}

// SPDX-License-Identifier: Apache-2.0
// Open addressing with linear probing; a slot names the newest range of its (partition, stream).
#include "storage/journal/bb_journal_dots.h"

#include <stdlib.h>
#include <string.h>

void bb_journal_dots_clear(bb_journal_dots_t *self)
{
    free(self->ranges);
    free(self->streams);
    free(self->slots);
    *self = (bb_journal_dots_t){0};
}

static uint32_t s_stream_index(bb_journal_dots_t *self, const bb_stream_t *stream)
{
    if (self->stream_hint < self->stream_count &&
        bb_stream_is_equal(&self->streams[self->stream_hint], stream)) {
        return self->stream_hint;
    }
    // A file holds the streams of the few nodes that wrote while it was open.
    for (uint32_t i = 0; i < self->stream_count; i++) {
        if (bb_stream_is_equal(&self->streams[i], stream)) {
            self->stream_hint = i;
            return i;
        }
    }
    if (self->stream_count == self->stream_capacity) {
        self->stream_capacity = BB_MAX(4u, self->stream_capacity * 2);
        self->streams = bb_realloc(self->streams, self->stream_capacity * sizeof *self->streams);
    }
    self->stream_hint = self->stream_count;
    self->streams[self->stream_count] = *stream;
    return self->stream_count++;
}

// The slot of the pair, or the free one where it belongs.
static uint32_t s_slot(const bb_journal_dots_t *self, uint32_t partition, uint32_t stream_index)
{
    uint64_t pair = (uint64_t)stream_index << 32 | partition;
    uint32_t slot = (uint32_t)((pair * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    for (;; slot++) {
        slot &= self->slot_count - 1;
        uint32_t at = self->slots[slot];
        if (at == 0 || (self->ranges[at - 1].partition == partition &&
                        self->ranges[at - 1].stream_index == stream_index)) {
            return slot;
        }
    }
}

static void s_grow_slots(bb_journal_dots_t *self)
{
    uint32_t *old = self->slots;
    uint32_t old_count = self->slot_count;
    self->slot_count = BB_MAX(64u, old_count * 2);
    self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i] != 0) {
            const bb_journal_dot_range_t *range = &self->ranges[old[i] - 1];
            self->slots[s_slot(self, range->partition, range->stream_index)] = old[i];
        }
    }
    free(old);
}

void bb_journal_dots_add(bb_journal_dots_t *self, uint32_t partition, const bb_stream_t *stream,
                         uint64_t seq)
{
    BB_ASSERT(seq >= 1);
    if (bb_stream_is_none(stream)) {
        return;
    }
    uint32_t stream_index = s_stream_index(self, stream);
    if (self->slot_used * 2 >= self->slot_count) {
        s_grow_slots(self);
    }
    uint32_t slot = s_slot(self, partition, stream_index);
    if (self->slots[slot] != 0) {
        bb_journal_dot_range_t *range = &self->ranges[self->slots[slot] - 1];
        if (seq >= range->first_seq && seq - 1 <= range->last_seq) {
            range->last_seq = BB_MAX(range->last_seq, seq);
            return;
        }
    } else {
        self->slot_used++;
    }
    if (self->range_count == self->range_capacity) {
        self->range_capacity = BB_MAX(16u, self->range_capacity * 2);
        self->ranges = bb_realloc(self->ranges, self->range_capacity * sizeof *self->ranges);
    }
    self->ranges[self->range_count++] = (bb_journal_dot_range_t){partition, stream_index, seq, seq};
    self->slots[slot] = self->range_count;
}

static int s_compare(const void *a, const void *b)
{
    const bb_journal_dot_range_t *x = a;
    const bb_journal_dot_range_t *y = b;
    if (x->partition != y->partition) {
        return x->partition < y->partition ? -1 : 1;
    }
    if (x->stream_index != y->stream_index) {
        return x->stream_index < y->stream_index ? -1 : 1;
    }
    if (x->first_seq != y->first_seq) {
        return x->first_seq < y->first_seq ? -1 : 1;
    }
    return 0;
}

void bb_journal_dots_seal(bb_journal_dots_t *self)
{
    free(self->slots);
    self->slots = NULL;
    self->slot_count = 0;
    self->slot_used = 0;
    if (self->range_count == 0) {
        return;
    }
    qsort(self->ranges, self->range_count, sizeof *self->ranges, s_compare);
    uint32_t kept = 0;
    for (uint32_t i = 1; i < self->range_count; i++) {
        bb_journal_dot_range_t *last = &self->ranges[kept];
        const bb_journal_dot_range_t *range = &self->ranges[i];
        if (range->partition == last->partition && range->stream_index == last->stream_index &&
            range->first_seq - 1 <= last->last_seq) {
            last->last_seq = BB_MAX(last->last_seq, range->last_seq);
        } else {
            self->ranges[++kept] = *range;
        }
    }
    self->range_count = kept + 1;
    self->range_capacity = self->range_count;
    self->ranges = bb_realloc(self->ranges, self->range_capacity * sizeof *self->ranges);
}

// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_pace.h"

#define S_NEWEST_SHARE 0.5 // of the newest flush in the pace
// Until one has been measured. A guess that is wrong costs one
// generation, too long or too short.
#define S_NS_PER_BYTE_FIRST 12.0

void bb_pace_init(bb_pace_t *self, uint64_t head_bytes_max)
{
    BB_ASSERT(head_bytes_max > 0);
    *self = (bb_pace_t){.head_bytes_max = head_bytes_max, .ns_per_byte = S_NS_PER_BYTE_FIRST};
}

void bb_pace_flush_begin(bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes)
{
    BB_ASSERT(!self->is_flushing);
    self->is_flushing = true;
    self->begun_mono_ns = now_mono_ns;
    self->frozen_bytes = head_bytes;
}

void bb_pace_flush_end(bb_pace_t *self, int64_t now_mono_ns, bool is_good)
{
    BB_ASSERT(self->is_flushing);
    BB_ASSERT(now_mono_ns >= self->begun_mono_ns);
    self->is_flushing = false;
    // A small one, after a pause of the writers, is mostly fixed costs.
    if (is_good && self->frozen_bytes >= self->head_bytes_max / 8) {
        double newest = (double)(now_mono_ns - self->begun_mono_ns) / (double)self->frozen_bytes;
        self->ns_per_byte += (newest - self->ns_per_byte) * S_NEWEST_SHARE;
    }
}

int64_t bb_pace_take_mono_ns(const bb_pace_t *self, int64_t now_mono_ns, uint64_t head_bytes)
{
    if (head_bytes >= self->head_bytes_max) {
        return BB_NEVER_NS; // so what is frozen is less than the head
    }
    uint64_t at_once = self->head_bytes_max / 16;
    uint64_t used = head_bytes > self->frozen_bytes ? head_bytes - self->frozen_bytes : 0;
    if (!self->is_flushing || used < at_once) {
        return now_mono_ns;
    }
    // A generation that grew beyond half, because another job was in the way, leaves less.
    uint64_t room = BB_MIN(self->head_bytes_max / 2, self->head_bytes_max - self->frozen_bytes);
    if (room <= at_once) {
        return now_mono_ns;
    }
    double flush_ns = (double)self->frozen_bytes * self->ns_per_byte;
    double share = (double)(used - at_once) / (double)(room - at_once);
    int64_t due_mono_ns = self->begun_mono_ns + (int64_t)(share * flush_ns);
    return BB_MAX(due_mono_ns, now_mono_ns);
}

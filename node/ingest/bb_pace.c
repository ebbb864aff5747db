// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_pace.h"

#define S_NEWEST_SHARE 0.5 // of the newest flush in the pace
// Until one has been measured. A guess that is wrong costs one
// generation, too long or too short.
#define S_NS_PER_BYTE_FIRST 12.0
// Of live bytes, for repair. One copy of a byte costs the cluster a third of what a live byte costs
// that three replicas journal, seal and send: a quarter takes about a twelfth of its speed.
#define S_REPAIR_SHARE 0.25

void bb_pace_init(bb_pace_t *self, uint64_t head_bytes_max, uint64_t repair_bytes_per_s)
{
    BB_ASSERT(head_bytes_max > 0);
    *self = (bb_pace_t){.head_bytes_max = head_bytes_max,
                        .ns_per_byte = S_NS_PER_BYTE_FIRST,
                        .repair_bytes_per_s = repair_bytes_per_s,
                        .pressed_until_mono_ns = INT64_MIN,
                        .filled_mono_ns = INT64_MIN};
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

// ---- repair ------------------------------------------------------------------------------------
static double s_burst(const bb_pace_t *self)
{
    return (double)self->repair_bytes_per_s * (double)BB_PACE_BURST_NS / BB_NS_PER_S;
}

// Repair goes in pieces of at least so much: a question costs its walk through the journal too.
static double s_piece(const bb_pace_t *self)
{
    return (double)self->repair_bytes_per_s / 4;
}

static void s_give(bb_pace_t *self, double tokens)
{
    for (uint32_t way = 0; way < BB_PACE_WAYS; way++) {
        self->tokens[way] = BB_MIN(self->tokens[way] + tokens, s_burst(self));
    }
}

static void s_fill(bb_pace_t *self, int64_t now_mono_ns)
{
    if (self->filled_mono_ns == INT64_MIN) { // the first time: full
        self->filled_mono_ns = now_mono_ns;
        s_give(self, s_burst(self));
    }
    if (now_mono_ns > self->filled_mono_ns) {
        double seconds = (double)(now_mono_ns - self->filled_mono_ns) / BB_NS_PER_S;
        self->filled_mono_ns = now_mono_ns;
        double tokens = (double)self->repair_bytes_per_s * seconds;
        s_give(self, tokens);
        self->level_bytes = BB_MAX(self->level_bytes - tokens, 0.0);
    }
}

// When the store is no longer pressed, if nothing else comes.
static int64_t s_free_mono_ns(const bb_pace_t *self)
{
    double seconds = (self->level_bytes - s_piece(self)) / (double)self->repair_bytes_per_s;
    int64_t level_mono_ns =
        seconds > 0 ? self->filled_mono_ns + (int64_t)(seconds * BB_NS_PER_S) : INT64_MIN;
    return BB_MAX(level_mono_ns, self->pressed_until_mono_ns);
}

void bb_pace_waited(bb_pace_t *self, int64_t now_mono_ns, int64_t waited_ns)
{
    BB_ASSERT(self);
    if (waited_ns >= BB_PACE_WAIT_NS) {
        self->pressed_until_mono_ns =
            BB_MAX(self->pressed_until_mono_ns, now_mono_ns + BB_PACE_PRESSED_NS);
    }
}

void bb_pace_live(bb_pace_t *self, int64_t now_mono_ns, uint64_t bytes)
{
    BB_ASSERT(self);
    s_fill(self, now_mono_ns);
    s_give(self, S_REPAIR_SHARE * (double)bytes);
    self->level_bytes = BB_MIN(self->level_bytes + (double)bytes, (double)self->repair_bytes_per_s);
}

bool bb_pace_is_pressed(const bb_pace_t *self, int64_t now_mono_ns)
{
    BB_ASSERT(self);
    return self->repair_bytes_per_s > 0 && now_mono_ns < s_free_mono_ns(self);
}

uint64_t bb_pace_repair(bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns)
{
    BB_ASSERT(self && way < BB_PACE_WAYS);
    if (!bb_pace_is_pressed(self, now_mono_ns)) {
        return UINT64_MAX;
    }
    s_fill(self, now_mono_ns);
    return self->tokens[way] >= s_piece(self) ? (uint64_t)self->tokens[way] + 1 : 0;
}

void bb_pace_repaired(bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns, uint64_t bytes)
{
    BB_ASSERT(self && way < BB_PACE_WAYS);
    if (bb_pace_is_pressed(self, now_mono_ns)) {
        s_fill(self, now_mono_ns);
        self->tokens[way] -= (double)bytes;
    }
}

int64_t bb_pace_repair_mono_ns(const bb_pace_t *self, bb_pace_way_t way, int64_t now_mono_ns)
{
    BB_ASSERT(self && way < BB_PACE_WAYS);
    double lacks = s_piece(self) - self->tokens[way];
    bool is_full = self->filled_mono_ns == INT64_MIN || lacks <= 0;
    if (!bb_pace_is_pressed(self, now_mono_ns) || is_full) {
        return now_mono_ns;
    }
    double wait_ns = lacks / (double)self->repair_bytes_per_s * BB_NS_PER_S;
    int64_t due_mono_ns = self->filled_mono_ns + (int64_t)BB_MIN(wait_ns, 1e15) + 1;
    return BB_MAX(BB_MIN(due_mono_ns, s_free_mono_ns(self)), now_mono_ns);
}

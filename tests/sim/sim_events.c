// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_events.h"

#include <stdlib.h>

struct sim_events {
    sim_event_t *heap;
    uint32_t count, capacity;
    uint64_t order;
    int64_t now_ns;
    bb_random_t random;
};

sim_events_t *sim_events_new(uint64_t seed)
{
    sim_events_t *self = bb_alloc_zero(1, sizeof *self);
    self->random = bb_random_seed(seed);
    return self;
}

void sim_event_clear(sim_event_t *event)
{
    bb_buffer_drop(&event->envelope);
    bb_buffer_drop(&event->chunks);
    bb_buffer_drop(&event->body);
}

void sim_events_destroy(sim_events_t **self_pointer)
{
    sim_events_t *self = *self_pointer;
    *self_pointer = NULL;
    if (self) {
        for (uint32_t i = 0; i < self->count; i++) {
            sim_event_clear(&self->heap[i]);
        }
        free(self->heap);
        free(self);
    }
}

static bool s_is_before(const sim_event_t *a, const sim_event_t *b)
{
    if (a->time_ns != b->time_ns) {
        return a->time_ns < b->time_ns;
    }
    return a->tie != b->tie ? a->tie < b->tie : a->order < b->order;
}

void sim_events_add(sim_events_t *self, int64_t time_ns, const sim_event_t *event)
{
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(2 * self->capacity, 256u);
        self->heap = bb_realloc(self->heap, self->capacity * sizeof *self->heap);
    }
    sim_event_t added = *event;
    added.time_ns = BB_MAX(time_ns, self->now_ns);
    added.tie = bb_random_next(&self->random);
    added.order = self->order++;
    uint32_t at = self->count++;
    while (at > 0 && s_is_before(&added, &self->heap[(at - 1) / 2])) {
        self->heap[at] = self->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    self->heap[at] = added;
}

bool sim_events_next(sim_events_t *self, sim_event_t *event)
{
    if (self->count == 0) {
        return false;
    }
    *event = self->heap[0];
    self->now_ns = event->time_ns;
    sim_event_t last = self->heap[--self->count];
    uint32_t at = 0;
    for (uint32_t child = 1; child < self->count; child = 2 * at + 1) {
        if (child + 1 < self->count && s_is_before(&self->heap[child + 1], &self->heap[child])) {
            child++;
        }
        if (!s_is_before(&self->heap[child], &last)) {
            break;
        }
        self->heap[at] = self->heap[child];
        at = child;
    }
    self->heap[at] = last;
    return true;
}

int64_t sim_events_now_ns(const sim_events_t *self)
{
    return self->now_ns;
}

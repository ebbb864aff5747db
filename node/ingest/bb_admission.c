// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_admission.h"

#include <stdlib.h>

#define S_NONE         UINT32_MAX
#define S_RETRY_MS_MIN 10
#define S_RETRY_MS_MAX 500

typedef struct {
    bb_admitted_t request;
    uint32_t generation; // grows with each use; part of the ticket
    uint32_t next_free;
    bool is_used;
} s_slot_t;

struct bb_admission {
    uint64_t bytes_max, bytes;
    uint32_t requests_max, count;
    uint32_t slot_count; // slots ever used: [0, slot_count) are initialised
    uint32_t free_first; // list of free ones among them
    bool is_draining;
    s_slot_t *slots; // requests_max
};

bb_admission_t *bb_admission_new(uint64_t bytes_max, uint32_t requests_max)
{
    BB_ASSERT(bytes_max > 0);
    BB_ASSERT(requests_max >= 1 && requests_max <= 1u << 20);
    bb_admission_t *self = bb_alloc_zero(1, sizeof *self);
    self->bytes_max = bytes_max;
    self->requests_max = requests_max;
    self->free_first = S_NONE;
    self->slots = bb_alloc_zero(requests_max, sizeof *self->slots);
    return self;
}

void bb_admission_destroy(bb_admission_t **self_p)
{
    if (*self_p) {
        free((*self_p)->slots);
        free(*self_p);
        *self_p = NULL;
    }
}

static uint32_t s_retry_after_ms(const bb_admission_t *self)
{
    // Twice as full, twice as long; a queue of requests_max waits the longest.
    uint64_t by_bytes = S_RETRY_MS_MAX * (self->bytes / 1024) / (self->bytes_max / 1024 + 1) / 4;
    uint64_t by_count = S_RETRY_MS_MAX * (uint64_t)self->count / self->requests_max;
    uint64_t wait_ms = BB_MAX(by_bytes, by_count);
    return (uint32_t)BB_MIN(BB_MAX(wait_ms, S_RETRY_MS_MIN), S_RETRY_MS_MAX);
}

bb_error_t bb_admission_take(bb_admission_t *self, const bb_admitted_t *request, uint64_t *ticket,
                             uint32_t *retry_after_ms)
{
    BB_ASSERT(self);
    BB_ASSERT(request);
    if (self->is_draining) {
        return BB_ERR_STOPPING;
    }
    // The last quarter is for writes: what was measured once cannot be asked for again.
    bool is_write = request->kind == BB_KIND_WRITE;
    uint64_t bytes_max = self->bytes_max - (is_write ? 0 : self->bytes_max / 4);
    uint32_t requests_max = self->requests_max - (is_write ? 0 : self->requests_max / 4);
    bool has_bytes = self->count == 0 ||
                     (request->bytes <= bytes_max && self->bytes <= bytes_max - request->bytes);
    if (!has_bytes || self->count >= requests_max) {
        *retry_after_ms = s_retry_after_ms(self);
        return BB_ERR_BUSY;
    }
    uint32_t index = self->free_first;
    if (index != S_NONE) {
        self->free_first = self->slots[index].next_free;
    } else {
        index = self->slot_count++;
    }
    s_slot_t *slot = &self->slots[index];
    slot->request = *request;
    slot->generation++;
    slot->is_used = true;
    self->count++;
    self->bytes += request->bytes;
    *ticket = (uint64_t)slot->generation << 32 | index;
    return BB_OK;
}

static s_slot_t *s_find(bb_admission_t *self, uint64_t ticket)
{
    uint32_t index = (uint32_t)ticket;
    if (index >= self->slot_count) {
        return NULL;
    }
    s_slot_t *slot = &self->slots[index];
    return slot->is_used && slot->generation == (uint32_t)(ticket >> 32) ? slot : NULL;
}

bb_admitted_t *bb_admission_find(bb_admission_t *self, uint64_t ticket)
{
    s_slot_t *slot = s_find(self, ticket);
    return slot ? &slot->request : NULL;
}

bool bb_admission_release(bb_admission_t *self, uint64_t ticket, bb_admitted_t *request)
{
    s_slot_t *slot = s_find(self, ticket);
    if (!slot) {
        return false;
    }
    *request = slot->request;
    slot->is_used = false;
    slot->request.attachment = NULL;
    slot->next_free = self->free_first;
    self->free_first = (uint32_t)ticket;
    BB_ASSERT(self->count > 0);
    BB_ASSERT(self->bytes >= request->bytes);
    self->count--;
    self->bytes -= request->bytes;
    return true;
}

bool bb_admission_next_expired(bb_admission_t *self, int64_t now_mono_ns, uint64_t *ticket)
{
    for (uint32_t i = 0; i < self->slot_count; i++) {
        const s_slot_t *slot = &self->slots[i];
        if (slot->is_used && slot->request.deadline_mono_ns <= now_mono_ns) {
            *ticket = (uint64_t)slot->generation << 32 | i;
            return true;
        }
    }
    return false;
}

void bb_admission_drain(bb_admission_t *self)
{
    self->is_draining = true;
}

uint64_t bb_admission_bytes(const bb_admission_t *self)
{
    return self->bytes;
}

uint32_t bb_admission_count(const bb_admission_t *self)
{
    return self->count;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_flush.h"

#include <stdlib.h>

#include "storage/bb_store_seal.h"
#include "storage/head/bb_head_cut.h"

struct bb_flush {
    bb_head_t *head;
    bb_seal_t *seal; // where the columns go
    bb_head_cut_t *cut;
    uint32_t window_next; // windows of the cut before this one are written
    uint64_t value_conflicts;
};

// ---- on the store's thread -------------------------------------------------------------------
bb_flush_t *bb_flush_new(bb_store_t *store, uint64_t sealed_through)
{
    bb_flush_t *self = bb_alloc_zero(1, sizeof *self);
    self->head = store->active;
    store->active = bb_head_new(&store->shape_serials);
    self->seal = bb_seal_new(store, sealed_through);
    return self;
}

void bb_flush_destroy(bb_flush_t **self)
{
    bb_flush_t *flush = *self;
    if (!flush) {
        return;
    }
    bb_head_cut_destroy(&flush->cut);
    bb_head_release(&flush->head);
    bb_seal_destroy(&flush->seal);
    free(flush);
    *self = NULL;
}

uint64_t bb_flush_bytes(const bb_flush_t *self)
{
    return bb_head_bytes(self->head);
}

uint64_t bb_flush_points(const bb_flush_t *self)
{
    return bb_head_points(self->head);
}

const bb_head_t *bb_flush_head(const bb_flush_t *self)
{
    return self->head;
}

bb_head_t *bb_flush_head_retain(bb_flush_t *self)
{
    bb_head_retain(self->head);
    return self->head;
}

void bb_flush_publish(bb_flush_t *self, bb_store_t *store)
{
    bb_seal_publish(self->seal, store);
    store->value_conflicts += self->value_conflicts;
}

// ---- in any thread ---------------------------------------------------------------------------
static bb_error_t s_write_run(void *context, uint32_t partition, uint32_t battery,
                              const bb_run_input_t *input)
{
    return bb_seal_add(context, partition, battery, input);
}

static bb_error_t s_write_window(bb_flush_t *self, uint32_t index, bool *must_fence,
                                 bb_fault_t *fault)
{
    bb_head_window_t window = bb_head_cut_window(self->cut, index);
    bb_window_kind_t kind = window.is_quarantined ? BB_WINDOW_QUARANTINE : BB_WINDOW_NORMAL;
    bb_error_t error = bb_seal_window_begin(self->seal, kind, window.day, must_fence, fault);
    if (error != BB_OK) {
        return error;
    }
    uint64_t conflict_count = 0;
    error = bb_head_cut_emit(self->cut, index, s_write_run, self->seal, &conflict_count);
    error = bb_seal_window_end(self->seal, error, fault);
    self->value_conflicts += error == BB_OK ? conflict_count : 0;
    return error;
}

bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_error_t error = bb_seal_names(self->seal, must_fence, fault);
    if (error == BB_OK && !self->cut) {
        self->cut = bb_head_cut_new(self->head);
    }
    while (error == BB_OK && self->window_next < bb_head_cut_window_count(self->cut)) {
        error = s_write_window(self, self->window_next, must_fence, fault);
        self->window_next += error == BB_OK;
    }
    return error == BB_OK ? bb_seal_commit(self->seal, must_fence, fault) : error;
}

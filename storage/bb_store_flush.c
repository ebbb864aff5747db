// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_flush.h"

#include <stdlib.h>

#include "storage/bb_store_seal.h"
#include "storage/head/bb_head_cut.h"
#include "storage/markers/bb_marker_cut.h"
#include "storage/retention/bb_class_split.h"

struct bb_flush {
    bb_head_t *head;
    bb_seal_t *seal; // where the columns go
    bb_head_cut_t *cut;
    bb_class_map_t *classes;
    bb_class_split_t split;
    bb_markers_t *markers;       // of the moment in which the head was frozen
    bb_marker_cut_t *marker_cut; // NULL: there are none
    uint32_t window_next;        // windows of the cut before this one are written
    uint64_t value_conflicts;
};

// ---- on the store's thread -------------------------------------------------------------------
bb_flush_t *bb_flush_new(bb_store_t *store, uint64_t sealed_through)
{
    bb_flush_t *self = bb_alloc_zero(1, sizeof *self);
    self->head = store->active;
    store->active = bb_head_new(&store->shape_serials, store->head_pool);
    self->seal = bb_seal_new(store, sealed_through);
    self->classes = bb_class_map_new(store->retention, store->dictionary);
    self->markers = bb_markers_retain(store->markers);
    if (bb_markers_count(self->markers) > 0) {
        self->marker_cut = bb_marker_cut_new();
    }
    return self;
}

void bb_flush_destroy(bb_flush_t **self)
{
    bb_flush_t *flush = *self;
    if (!flush) {
        return;
    }
    bb_head_cut_destroy(&flush->cut);
    bb_class_map_destroy(&flush->classes);
    bb_class_split_free(&flush->split);
    bb_markers_release(&flush->markers);
    bb_marker_cut_destroy(&flush->marker_cut);
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
typedef struct {
    bb_flush_t *flush;
    uint32_t class_index; // of the classes' map
    bool is_split;
} s_writing_t;

static bb_error_t s_write_run(void *context, uint32_t partition, uint32_t battery,
                              const bb_run_input_t *input)
{
    const s_writing_t *self = context;
    bb_flush_t *flush = self->flush;
    if (flush->marker_cut) {
        input =
            bb_marker_cut_input(flush->marker_cut, bb_markers_of(flush->markers, battery), input);
    }
    if (input && self->is_split) {
        input =
            bb_class_split_take(&flush->split, flush->classes, battery, self->class_index, input);
    }
    return input ? bb_seal_add(flush->seal, partition, battery, input) : BB_OK;
}

// The columns of one class. What retention has passed by is left out.
static bb_error_t s_write_class(bb_flush_t *self, uint32_t index, uint32_t class_index,
                                bool is_split, uint64_t *conflict_count, bool *must_fence,
                                bb_fault_t *fault)
{
    bb_head_window_t window = bb_head_cut_window(self->cut, index);
    bb_window_id_t id = {
        .kind = window.is_quarantined ? BB_WINDOW_QUARANTINE : BB_WINDOW_NORMAL,
        .class_id = (uint16_t)self->classes->ids[class_index],
        .day = window.day,
    };
    if ((int64_t)id.day * BB_NS_PER_DAY < self->classes->floors_wall_ns[class_index] ||
        bb_seal_has_window(self->seal, id)) {
        return BB_OK; // gone, or written by an attempt before
    }
    bb_error_t error = bb_seal_window_begin(self->seal, id, must_fence, fault);
    if (error != BB_OK) {
        return error;
    }
    s_writing_t writing = {self, class_index, is_split};
    *conflict_count = 0;
    error = bb_head_cut_emit(self->cut, index, s_write_run, &writing, conflict_count);
    return bb_seal_window_end(self->seal, error, fault);
}

// One window of the head becomes one of each class that has a series in it. With several classes
// the head is cut once for each: they are few, and most columns are passed over.
static bb_error_t s_write_window(bb_flush_t *self, uint32_t index, bool *must_fence,
                                 bb_fault_t *fault)
{
    const bb_class_map_t *classes = self->classes;
    uint64_t conflict_count = 0;
    bb_error_t error = BB_OK;
    if (classes->is_single || bb_head_cut_window(self->cut, index).is_quarantined) {
        // Quarantined points wait in the class `default`, whatever they will be.
        error = s_write_class(self, index, classes->id_count - 1, false, &conflict_count,
                              must_fence, fault);
    } else {
        for (uint32_t i = 0; i < classes->id_count && error == BB_OK; i++) {
            error = s_write_class(self, index, i, true, &conflict_count, must_fence, fault);
        }
    }
    self->value_conflicts += error == BB_OK ? conflict_count : 0;
    return error;
}

bb_error_t bb_flush_names(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    return bb_seal_names(self->seal, must_fence, fault);
}

bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_error_t error = bb_flush_names(self, must_fence, fault);
    if (error == BB_OK && !self->cut) {
        self->cut = bb_head_cut_new(self->head);
    }
    while (error == BB_OK && self->window_next < bb_head_cut_window_count(self->cut)) {
        error = s_write_window(self, self->window_next, must_fence, fault);
        self->window_next += error == BB_OK;
    }
    return error == BB_OK ? bb_seal_commit(self->seal, must_fence, fault) : error;
}

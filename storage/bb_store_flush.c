// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_flush.h"

#include <stdlib.h>

#include "storage/bb_store_seal.h"
#include "storage/head/bb_row_columns.h"

// Consecutive rows of one slab that belong to one window.
typedef struct {
    uint64_t window;  // kind << 32 | day
    uint64_t battery; // partition << 32 | battery
    uint64_t revision;
    const bb_head_shape_t *shape;
    const uint64_t *rows;
    uint32_t row_count;
    uint32_t order; // of arrival
} s_piece_t;

struct bb_flush {
    bb_head_t *head;
    bb_seal_t *seal; // where the columns go
    s_piece_t *pieces;
    size_t piece_count, piece_capacity, piece_next; // those before piece_next are in windows
    bool is_cut;                                    // the pieces are all there
    bb_row_columns_t *columns;
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
    bb_head_release(&flush->head);
    bb_seal_destroy(&flush->seal);
    free(flush->pieces);
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

// ---- pieces ----------------------------------------------------------------------------------
static void s_piece_add(bb_flush_t *self, const bb_head_group_t *group, uint32_t day,
                        const uint64_t *rows, uint32_t row_count)
{
    if (self->piece_count == self->piece_capacity) {
        self->piece_capacity = self->piece_capacity ? self->piece_capacity * 2 : 256;
        self->pieces = bb_realloc(self->pieces, self->piece_capacity * sizeof *self->pieces);
    }
    uint64_t kind = group->is_quarantined ? BB_WINDOW_QUARANTINE : BB_WINDOW_NORMAL;
    self->pieces[self->piece_count] = (s_piece_t){
        .window = kind << 32 | day,
        .battery = (uint64_t)group->partition << 32 | group->battery,
        .revision = group->revision,
        .shape = group->shape,
        .rows = rows,
        .row_count = row_count,
        .order = (uint32_t)self->piece_count,
    };
    self->piece_count++;
}

// Cuts a slab's rows where the day changes.
static void s_cut_slab(bb_flush_t *self, const bb_head_group_t *group, const uint64_t *rows,
                       uint32_t row_count)
{
    size_t width = 1 + (size_t)group->shape->metric_count;
    uint32_t first = 0;
    while (first < row_count) {
        uint32_t day = bb_day_of((int64_t)rows[first * width]);
        int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
        uint32_t limit = first + 1;
        while (limit < row_count) {
            int64_t since = (int64_t)rows[limit * width] - first_wall_ns;
            if (since < 0 || since >= BB_NS_PER_DAY) {
                break;
            }
            limit++;
        }
        s_piece_add(self, group, day, rows + first * width, limit - first);
        first = limit;
    }
}

static int s_compare_pieces(const void *a, const void *b)
{
    const s_piece_t *left = a;
    const s_piece_t *right = b;
    if (left->window != right->window) {
        return left->window < right->window ? -1 : 1;
    }
    if (left->battery != right->battery) {
        return left->battery < right->battery ? -1 : 1;
    }
    if (left->revision != right->revision) {
        return left->revision < right->revision ? -1 : 1;
    }
    return left->order < right->order ? -1 : 1;
}

static void s_cut_head(bb_flush_t *self)
{
    for (const bb_head_group_t *group = bb_head_first(self->head); group;
         group = group->next_of_all) {
        uint64_t left = group->row_count;
        for (const bb_head_slab_t *slab = group->slabs; left > 0; slab = slab->next) {
            uint32_t count = (uint32_t)BB_MIN(left, (uint64_t)slab->capacity);
            s_cut_slab(self, group, slab->rows, count);
            left -= count;
        }
    }
    if (self->piece_count > 1) {
        qsort(self->pieces, self->piece_count, sizeof *self->pieces, s_compare_pieces);
    }
}

// ---- writing ---------------------------------------------------------------------------------
// Writes the pieces of one battery and revision.
static bb_error_t s_write_pieces(bb_flush_t *self, const s_piece_t *pieces, size_t count)
{
    bb_row_columns_clear(self->columns);
    for (size_t i = 0; i < count; i++) {
        bb_row_columns_add(self->columns, pieces[i].shape, pieces[i].rows, pieces[i].row_count);
    }
    bb_error_t error = BB_OK;
    bb_run_input_t input;
    while (error == BB_OK &&
           bb_row_columns_next(self->columns, pieces->revision, &input, &self->value_conflicts)) {
        error = bb_seal_add(self->seal, (uint32_t)(pieces->battery >> 32),
                            (uint32_t)pieces->battery, &input);
    }
    return error;
}

// All pieces [first, limit) of one window.
static bb_error_t s_write_window(bb_flush_t *self, size_t first, size_t limit, bool *must_fence,
                                 bb_fault_t *fault)
{
    const s_piece_t *pieces = self->pieces;
    bb_window_kind_t kind = (bb_window_kind_t)(pieces[first].window >> 32);
    uint32_t day = (uint32_t)pieces[first].window;
    bb_error_t error = bb_seal_window_begin(self->seal, kind, day, must_fence, fault);
    if (error != BB_OK) {
        return error;
    }
    size_t at = first;
    while (error == BB_OK && at < limit) {
        size_t end = at + 1;
        while (end < limit && pieces[end].battery == pieces[at].battery &&
               pieces[end].revision == pieces[at].revision) {
            end++;
        }
        error = s_write_pieces(self, pieces + at, end - at);
        at = end;
    }
    return bb_seal_window_end(self->seal, error, fault);
}

static bb_error_t s_write_windows(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    while (self->piece_next < self->piece_count) {
        size_t first = self->piece_next;
        size_t limit = first + 1;
        uint64_t key = self->pieces[first].window;
        while (limit < self->piece_count && self->pieces[limit].window == key) {
            limit++;
        }
        bb_error_t error = s_write_window(self, first, limit, must_fence, fault);
        if (error != BB_OK) {
            return error;
        }
        self->piece_next = limit;
    }
    return BB_OK;
}

bb_error_t bb_flush_run(bb_flush_t *self, bool *must_fence, bb_fault_t *fault)
{
    bb_error_t error = bb_seal_names(self->seal, must_fence, fault);
    if (error != BB_OK) {
        return error;
    }
    if (!self->is_cut) {
        s_cut_head(self);
        self->is_cut = true;
    }
    self->columns = bb_row_columns_new();
    error = s_write_windows(self, must_fence, fault);
    bb_row_columns_destroy(&self->columns);
    return error == BB_OK ? bb_seal_commit(self->seal, must_fence, fault) : error;
}

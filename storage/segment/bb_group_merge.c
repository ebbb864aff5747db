// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_group_merge.h"

#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/segment/bb_pack.h"
#include "storage/segment/bb_run_merge.h"
#include "storage/segment/bb_shared_merge.h"

#define S_NONE UINT32_MAX

// One run of one battery.
typedef struct {
    bb_slice_t encoded;
    uint64_t place;
    uint32_t shared; // which of the shared runs; S_NONE: none
    bool is_damaged;
} s_item_t;

// A shared run that some battery of the group has a part in. Those that are alike are one kind,
// named after the first of them.
typedef struct {
    bb_shared_run_t *shared;
    uint32_t kind;
    uint32_t named_count; // batteries of the group that have a part in it
    // Of the first of a kind:
    bool is_mixed;      // a battery has other runs as well
    bb_slice_t encoded; // all of the kind in one; no bytes: not put together
} s_shared_t;

struct bb_group_merger {
    bb_run_group_t *group;
    bb_run_merger_t *merger;
    bb_shared_merger_t *shared_merger;
    s_item_t *items;
    bb_run_t *runs; // of the items
    uint32_t item_count, item_capacity;
    s_shared_t *shareds;
    uint32_t shared_count, shared_capacity;
    bb_shared_run_t **kind; // the runs of one kind
    bb_arena_t joined;
    // What merging one battery gave, until it is known to be complete.
    uint64_t place;
    bb_arena_t outputs;
    bb_slice_t *output;
    uint32_t output_count, output_capacity;
};

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded);
static bb_error_t s_emit_rows(void *context, const bb_run_input_t *rows);

bb_group_merger_t *bb_group_merger_new(uint32_t bits, bb_run_group_put_fn put, void *context)
{
    bb_group_merger_t *self = bb_alloc_zero(1, sizeof *self);
    self->group = bb_run_group_new(bits, put, context);
    self->merger = bb_run_merger_new();
    self->shared_merger = bb_shared_merger_new();
    bb_run_merger_rows(self->merger, BB_RUN_GROUP_SHORT_ROWS, s_emit_rows);
    return self;
}

void bb_group_merger_destroy(bb_group_merger_t **self)
{
    bb_group_merger_t *merger = *self;
    if (!merger) {
        return;
    }
    bb_run_group_destroy(&merger->group);
    bb_run_merger_destroy(&merger->merger);
    bb_shared_merger_destroy(&merger->shared_merger);
    bb_arena_free(&merger->joined);
    bb_arena_free(&merger->outputs);
    free(merger->items);
    free(merger->runs);
    free(merger->shareds);
    free(merger->kind);
    free(merger->output);
    free(merger);
    *self = NULL;
}

// ---- collecting ------------------------------------------------------------------------------
static uint32_t s_find_shared(bb_group_merger_t *self, bb_shared_run_t *shared)
{
    for (uint32_t i = 0; i < self->shared_count; i++) {
        if (self->shareds[i].shared == shared) {
            return i;
        }
    }
    if (self->shared_count == self->shared_capacity) {
        self->shared_capacity = self->shared_capacity ? self->shared_capacity * 2 : 16;
        self->shareds = bb_realloc(self->shareds, self->shared_capacity * sizeof *self->shareds);
        self->kind = bb_realloc(self->kind, self->shared_capacity * sizeof(bb_shared_run_t *));
    }
    uint32_t kind = 0;
    while (kind < self->shared_count &&
           (self->shareds[kind].kind != kind ||
            !bb_shared_run_is_alike(self->shareds[kind].shared, shared))) {
        kind++;
    }
    self->shareds[self->shared_count] = (s_shared_t){.shared = shared, .kind = kind};
    return self->shared_count++;
}

void bb_group_merger_add(bb_group_merger_t *self, uint32_t partition, uint32_t battery,
                         bb_slice_t encoded, const bb_run_t *run)
{
    if (self->item_count == self->item_capacity) {
        self->item_capacity = self->item_capacity ? self->item_capacity * 2 : 64;
        self->items = bb_realloc(self->items, self->item_capacity * sizeof *self->items);
        self->runs = bb_realloc(self->runs, self->item_capacity * sizeof *self->runs);
    }
    s_item_t *item = &self->items[self->item_count];
    *item = (s_item_t){encoded, bb_pack_place(partition, battery), S_NONE, run == NULL};
    self->runs[self->item_count++] = run ? *run : (bb_run_t){0};
    if (run && run->shared) {
        item->shared = s_find_shared(self, run->shared);
        self->shareds[item->shared].named_count++;
    }
}

// ---- what can be put together as it is -------------------------------------------------------
// One battery's items. A kind is mixed if a battery with a part in it has anything else.
static void s_mark_mixed(bb_group_merger_t *self, uint32_t first, uint32_t limit)
{
    uint32_t kind = S_NONE;
    bool is_mixed = false;
    for (uint32_t i = first; i < limit; i++) {
        uint32_t shared = self->items[i].shared;
        uint32_t of_item = shared == S_NONE ? S_NONE : self->shareds[shared].kind;
        is_mixed |= of_item == S_NONE || (i > first && of_item != kind);
        kind = of_item;
    }
    for (uint32_t i = first; is_mixed && i < limit; i++) {
        uint32_t shared = self->items[i].shared;
        if (shared != S_NONE) {
            self->shareds[self->shareds[shared].kind].is_mixed = true;
        }
    }
}

static uint32_t s_battery_limit(const bb_group_merger_t *self, uint32_t first)
{
    uint32_t limit = first + 1;
    while (limit < self->item_count && self->items[limit].place == self->items[first].place) {
        limit++;
    }
    return limit;
}

// Puts the runs of a kind together, if that can be done without decoding them.
static void s_join_kind(bb_group_merger_t *self, uint32_t kind, bb_group_merge_result_t *result)
{
    uint32_t count = 0;
    uint64_t points = 0;
    for (uint32_t i = kind; i < self->shared_count; i++) {
        const s_shared_t *at = &self->shareds[i];
        const bb_run_t *whole = bb_shared_run_whole(at->shared);
        if (at->kind == kind) {
            if (at->named_count != whole->member_count) {
                return; // a battery has left it because other runs of it do not verify
            }
            self->kind[count++] = at->shared;
            points += whole->point_count;
        }
    }
    bb_slice_t encoded;
    bb_error_t error;
    if (bb_shared_merger_merge(self->shared_merger, self->kind, count, &encoded, &error)) {
        self->shareds[kind].encoded =
            bb_slice(bb_arena_copy(&self->joined, encoded.data, encoded.length), encoded.length);
        result->copied_count += points;
    }
    // A block that does not verify is met again below, for the batteries that it belongs to.
    bb_ignore(error, "each battery is merged for itself then");
}

static void s_join(bb_group_merger_t *self, bb_group_merge_result_t *result)
{
    for (uint32_t i = 0; i < self->item_count;) {
        uint32_t limit = s_battery_limit(self, i);
        s_mark_mixed(self, i, limit);
        i = limit;
    }
    for (uint32_t i = 0; i < self->shared_count; i++) {
        if (self->shareds[i].kind == i && !self->shareds[i].is_mixed) {
            s_join_kind(self, i, result);
        }
    }
}

// ---- one battery -----------------------------------------------------------------------------
static uint32_t s_partition(uint64_t place)
{
    return (uint32_t)(place >> 32);
}

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    bb_group_merger_t *self = context;
    (void)revision;
    if (self->output_count == self->output_capacity) {
        self->output_capacity = self->output_capacity ? self->output_capacity * 2 : 8;
        self->output = bb_realloc(self->output, self->output_capacity * sizeof *self->output);
    }
    self->output[self->output_count++] =
        bb_slice(bb_arena_copy(&self->outputs, encoded.data, encoded.length), encoded.length);
    return BB_OK;
}

// The last that a merge does, so nothing can fail behind it.
static bb_error_t s_emit_rows(void *context, const bb_run_input_t *rows)
{
    bb_group_merger_t *self = context;
    return bb_run_group_add(self->group, s_partition(self->place), (uint32_t)self->place, rows);
}

static bb_error_t s_add_run(bb_group_merger_t *self, bb_slice_t encoded, uint64_t point_count)
{
    return bb_run_group_add_run(self->group, s_partition(self->place), (uint32_t)self->place,
                                encoded, point_count);
}

static bb_error_t s_add_shared(bb_group_merger_t *self, bb_slice_t encoded, uint64_t point_count)
{
    return bb_run_group_add_shared(self->group, s_partition(self->place), (uint32_t)self->place,
                                   encoded, point_count);
}

static bb_error_t s_carry_over(bb_group_merger_t *self, uint32_t first, uint32_t limit,
                               bb_group_merge_result_t *result)
{
    bb_error_t error = BB_OK;
    bool is_damaged = false;
    for (uint32_t i = first; error == BB_OK && i < limit; i++) {
        const s_item_t *item = &self->items[i];
        bool is_own = item->shared == S_NONE && !item->is_damaged;
        error = is_own ? s_add_run(self, item->encoded, self->runs[i].point_count)
                       : s_add_shared(self, item->encoded, self->runs[i].point_count);
        is_damaged |= item->is_damaged;
    }
    result->has_unmerged |= limit - first > 1 || is_damaged;
    return error;
}

static bb_error_t s_put_outputs(bb_group_merger_t *self)
{
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; error == BB_OK && i < self->output_count; i++) {
        bb_run_t run;
        error = bb_run_open(&run, self->output[i], NULL);
        BB_ASSERT(error == BB_OK); // checked on both sides of the boundary
        error = s_add_run(self, self->output[i], run.point_count);
    }
    return error;
}

static bb_error_t s_merge_battery(bb_group_merger_t *self, uint32_t first, uint32_t limit,
                                  bb_group_merge_result_t *result)
{
    bool is_damaged = false;
    for (uint32_t i = first; i < limit; i++) {
        is_damaged |= self->items[i].is_damaged;
    }
    bool is_own = self->items[first].shared == S_NONE;
    if (is_damaged || (limit - first == 1 && is_own)) {
        return s_carry_over(self, first, limit, result);
    }
    bb_run_merge_result_t merged = {0};
    bb_arena_reset(&self->outputs);
    self->output_count = 0;
    bb_error_t error =
        bb_run_merger_merge(self->merger, self->runs + first, limit - first, s_emit, self, &merged);
    if (error == BB_OK) {
        result->conflict_count += merged.conflict_count;
        result->copied_count += merged.copied_count;
        return s_put_outputs(self);
    }
    return error == BB_ERR_CORRUPT || error == BB_ERR_FORMAT
               ? s_carry_over(self, first, limit, result)
               : error;
}

static bb_error_t s_finish_battery(bb_group_merger_t *self, uint32_t first, uint32_t limit,
                                   bb_group_merge_result_t *result)
{
    self->place = self->items[first].place;
    uint32_t shared = self->items[first].shared;
    bb_slice_t joined = {0};
    if (shared != S_NONE) {
        joined = self->shareds[self->shareds[shared].kind].encoded;
    }
    if (joined.length == 0) {
        return s_merge_battery(self, first, limit, result);
    }
    uint64_t points = 0;
    for (uint32_t i = first; i < limit; i++) {
        points += self->runs[i].point_count;
    }
    return s_add_shared(self, joined, points);
}

bb_error_t bb_group_merger_finish(bb_group_merger_t *self, bb_group_merge_result_t *result)
{
    bb_error_t error = BB_OK;
    s_join(self, result);
    for (uint32_t i = 0; error == BB_OK && i < self->item_count;) {
        uint32_t limit = s_battery_limit(self, i);
        error = s_finish_battery(self, i, limit, result);
        i = limit;
    }
    if (error == BB_OK) {
        error = bb_run_group_flush(self->group);
    }
    bb_run_group_clear(self->group);
    self->item_count = 0;
    self->shared_count = 0;
    bb_arena_reset(&self->joined);
    return error;
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_head_cut.h"

#include <stdlib.h>

#include "storage/head/bb_arena.h"
#include "storage/head/bb_head_gather.h"
#include "storage/head/bb_row_columns.h"

// So many groups ahead memory is fetched.
#define S_AHEAD      16u
#define S_NS_PER_DAY (INT64_C(86400) * 1000000000)

struct bb_head_cut {
    const bb_head_group_t **groups; // by (partition, battery, revision), then as they were made
    uint64_t group_count;
    uint64_t *windows; // quarantine << 32 | day, ascending, unique
    uint32_t window_count, window_capacity;
    bb_head_gather_t *gather;
    bb_row_columns_t *columns; // for times that repeat and for several shapes
    bb_arena_t rows;           // scratch of one input
    bb_run_column_t run_columns[BB_FRAME_METRICS_MAX];
};

// ---- windows ---------------------------------------------------------------------------------
static uint64_t s_key(bool is_quarantined, int64_t wall_ns)
{
    return (uint64_t)is_quarantined << 32 | (uint64_t)(wall_ns / S_NS_PER_DAY);
}

static void s_add_window(bb_head_cut_t *self, uint64_t key)
{
    uint32_t first = 0;
    uint32_t limit = self->window_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->windows[middle] < key) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    if (first < self->window_count && self->windows[first] == key) {
        return;
    }
    if (self->window_count == self->window_capacity) {
        self->window_capacity = self->window_capacity ? self->window_capacity * 2 : 16;
        self->windows = bb_realloc(self->windows, self->window_capacity * sizeof *self->windows);
    }
    memmove(self->windows + first + 1, self->windows + first,
            (self->window_count - first) * sizeof *self->windows);
    self->windows[first] = key;
    self->window_count++;
}

static void s_add_windows(bb_head_cut_t *self, const bb_head_rows_t *rows)
{
    uint64_t key = s_key(rows->is_quarantined, rows->first_wall_ns);
    s_add_window(self, key);
    if (key == s_key(rows->is_quarantined, rows->last_wall_ns)) {
        return;
    }
    const bb_head_slab_t *slab = rows->slabs;
    for (uint32_t i = 0, at = 0; i < rows->piece_count; i++, at++) {
        if (at == slab->capacity) {
            slab = slab->next;
            at = 0;
        }
        bb_head_piece_t piece = bb_head_piece(rows->shape, slab->spans[at]);
        for (uint32_t f = 0; f < piece.count; f++) {
            uint64_t of_frame =
                s_key(rows->is_quarantined, piece.block->times_wall_ns[piece.first + f]);
            if (of_frame != key) {
                s_add_window(self, of_frame);
                key = of_frame;
            }
        }
    }
}

// ---- making ----------------------------------------------------------------------------------
typedef struct {
    uint64_t place; // partition << 32 | battery
    const bb_head_group_t *group;
} s_item_t;

#define S_DIGIT_BITS 8u
#define S_DIGITS     (1u << S_DIGIT_BITS)
#define S_PLACE_BITS 48u

// By one digit of the place; what is equal stays in order. False: all have the same one.
static bool s_sort_digit(const s_item_t *from, s_item_t *to, uint64_t count, uint32_t shift)
{
    uint64_t starts[S_DIGITS + 1] = {0};
    for (uint64_t i = 0; i < count; i++) {
        starts[(from[i].place >> shift) % S_DIGITS + 1]++;
    }
    if (starts[(from[0].place >> shift) % S_DIGITS + 1] == count) {
        return false;
    }
    for (uint32_t d = 1; d <= S_DIGITS; d++) {
        starts[d] += starts[d - 1];
    }
    for (uint64_t i = 0; i < count; i++) {
        to[starts[(from[i].place >> shift) % S_DIGITS]++] = from[i];
    }
    return true;
}

// Digit by digit from the lowest: a million batteries were a fiftieth of sealing with comparisons.
// Returns the one of the two arrays that has the outcome.
static s_item_t *s_sort_places(s_item_t *items, s_item_t *spare, uint64_t count)
{
    for (uint32_t shift = 0; count > 1 && shift < S_PLACE_BITS; shift += S_DIGIT_BITS) {
        if (s_sort_digit(items, spare, count, shift)) {
            s_item_t *sorted = spare;
            spare = items;
            items = sorted;
        }
    }
    return items;
}

// The groups of one battery by revision, else as they were made: mostly there is one.
static void s_sort_revisions(s_item_t *items, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        s_item_t item = items[i];
        uint64_t at = i;
        for (; at > 0 && items[at - 1].place == item.place &&
               items[at - 1].group->rows.revision > item.group->rows.revision;
             at--) {
            items[at] = items[at - 1];
        }
        items[at] = item;
    }
}

bb_head_cut_t *bb_head_cut_new(const bb_head_t *head)
{
    bb_head_cut_t *self = bb_alloc_zero(1, sizeof *self);
    self->gather = bb_head_gather_new();
    self->columns = bb_row_columns_new();
    self->group_count = bb_head_group_count(head);
    s_item_t *items = bb_alloc((self->group_count + 1) * sizeof *items);
    s_item_t *spare = bb_alloc((self->group_count + 1) * sizeof *spare);
    uint64_t count = 0;
    for (const bb_head_group_t *group = bb_head_first(head); group; group = group->next_of_all) {
        items[count++] = (s_item_t){(uint64_t)group->partition << 32 | group->battery, group};
        if (group->rows.row_count > 0) {
            s_add_windows(self, &group->rows);
        }
    }
    BB_ASSERT(count == self->group_count);
    s_item_t *sorted = s_sort_places(items, spare, count);
    s_sort_revisions(sorted, count);
    self->groups = bb_alloc((count + 1) * sizeof *self->groups);
    for (uint64_t i = 0; i < count; i++) {
        self->groups[i] = sorted[i].group;
    }
    free(items);
    free(spare);
    return self;
}

void bb_head_cut_destroy(bb_head_cut_t **self)
{
    if (*self) {
        bb_head_gather_destroy(&(*self)->gather);
        bb_row_columns_destroy(&(*self)->columns);
        bb_arena_free(&(*self)->rows);
        free((*self)->groups);
        free((*self)->windows);
        free(*self);
        *self = NULL;
    }
}

uint32_t bb_head_cut_window_count(const bb_head_cut_t *self)
{
    return self->window_count;
}

bb_head_window_t bb_head_cut_window(const bb_head_cut_t *self, uint32_t index)
{
    BB_ASSERT(index < self->window_count);
    return (bb_head_window_t){self->windows[index] >> 32 != 0, (uint32_t)self->windows[index]};
}

// ---- emitting --------------------------------------------------------------------------------
typedef struct {
    bb_head_cut_fn emit;
    void *context;
    uint64_t *conflict_count;
} s_sink_t;

// One shape, in order: the columns are those of the part.
static bb_error_t s_emit_regular(bb_head_cut_t *self, const bb_head_part_t *part,
                                 const s_sink_t *sink)
{
    const bb_head_group_t *group = part->owner;
    const bb_head_shape_t *shape = part->shape;
    for (uint32_t i = 0; i < shape->metric_count; i++) {
        uint32_t m = shape->order[i];
        self->run_columns[i] = (bb_run_column_t){
            .metric = shape->metrics[m],
            .type = (bb_type_t)shape->types[m],
            .values = part->values + (size_t)m * part->row_count,
        };
    }
    uint32_t done = 0;
    while (done < part->row_count) {
        uint32_t count = BB_MIN(part->row_count - done, BB_RUN_ROWS_MAX);
        bb_run_input_t input = {
            .revision = group->rows.revision,
            .row_count = count,
            .times_wall_ns = part->times_wall_ns + done,
            .column_count = shape->metric_count,
            .columns = self->run_columns,
        };
        bb_error_t error = sink->emit(sink->context, group->partition, group->battery, &input);
        if (error != BB_OK) {
            return error;
        }
        done += count;
        for (uint32_t i = 0; i < shape->metric_count; i++) {
            self->run_columns[i].values += count;
        }
    }
    return BB_OK;
}

// Several shapes, or several frames of one time: as rows through bb_row_columns.
static bb_error_t s_emit_mixed(bb_head_cut_t *self, const bb_head_part_t *parts, uint32_t count,
                               const s_sink_t *sink)
{
    bb_arena_reset(&self->rows);
    bb_row_columns_clear(self->columns);
    for (uint32_t p = 0; p < count; p++) {
        const bb_head_part_t *part = &parts[p];
        const bb_head_shape_t *shape = part->shape;
        size_t width = 1 + (size_t)shape->metric_count;
        uint64_t *rows = bb_arena_alloc(&self->rows, part->row_count * width * sizeof *rows);
        for (uint32_t r = 0; r < part->row_count; r++) {
            rows[r * width] = (uint64_t)part->times_wall_ns[r];
        }
        for (uint32_t m = 0; m < shape->metric_count; m++) {
            const uint64_t *values = part->values + (size_t)m * part->row_count;
            for (uint32_t r = 0; r < part->row_count; r++) {
                rows[r * width + 1 + m] = values[r];
            }
        }
        bb_row_columns_add(self->columns, shape, rows, part->row_count);
    }
    bb_error_t error = BB_OK;
    bb_run_input_t input;
    const bb_head_group_t *group = parts->owner;
    while (error == BB_OK &&
           bb_row_columns_next(self->columns, group->rows.revision, &input, sink->conflict_count)) {
        error = sink->emit(sink->context, group->partition, group->battery, &input);
    }
    return error;
}

static bool s_is_same(const bb_head_part_t *a, const bb_head_part_t *b)
{
    const bb_head_group_t *left = a->owner;
    const bb_head_group_t *right = b->owner;
    return left->battery == right->battery && left->rows.revision == right->rows.revision;
}

// Decodes what the gather holds, gives it away and empties it.
static bb_error_t s_empty(bb_head_cut_t *self, const s_sink_t *sink)
{
    bb_head_gather_decode(self->gather);
    uint32_t count;
    const bb_head_part_t *parts = bb_head_gather_parts(self->gather, &count);
    bb_error_t error = BB_OK;
    uint32_t at = 0;
    while (error == BB_OK && at < count) {
        uint32_t end = at + 1;
        while (end < count && s_is_same(&parts[at], &parts[end])) {
            end++;
        }
        if (end - at == 1 && bb_head_gather_sort(self->gather, &parts[at])) {
            error = s_emit_regular(self, &parts[at], sink);
        } else {
            error = s_emit_mixed(self, parts + at, end - at, sink);
        }
        at = end;
    }
    bb_head_gather_clear(self->gather);
    return error;
}

static bb_error_t s_add_group(bb_head_cut_t *self, const bb_head_group_t *group, uint64_t key,
                              const s_sink_t *sink)
{
    int64_t first_wall_ns = (int64_t)(uint32_t)key * S_NS_PER_DAY;
    bb_head_place_t place = {0};
    bb_error_t error = BB_OK;
    if (!bb_head_gather_has_room(self->gather, &group->rows)) {
        error = s_empty(self, sink);
    }
    while (error == BB_OK &&
           !bb_head_gather_add(self->gather, &group->rows, group, first_wall_ns,
                               first_wall_ns + S_NS_PER_DAY, BB_HEAD_GATHER_CELLS, &place)) {
        error = s_empty(self, sink);
    }
    return error;
}

// Groups lie in the order in which their batteries were first heard: each would be waited for.
static void s_prefetch(const bb_head_cut_t *self, uint64_t index)
{
    if (index + S_AHEAD < self->group_count) {
        const uint8_t *group = (const uint8_t *)self->groups[index + S_AHEAD];
        __builtin_prefetch(group);
        __builtin_prefetch(group + 64);
    }
    if (index + S_AHEAD / 2 < self->group_count) {
        const bb_head_group_t *group = self->groups[index + S_AHEAD / 2];
        __builtin_prefetch(group->rows.slabs);
        __builtin_prefetch(group->tail);
    }
}

bb_error_t bb_head_cut_emit(bb_head_cut_t *self, uint32_t index, bb_head_cut_fn emit, void *context,
                            uint64_t *conflict_count)
{
    BB_ASSERT(index < self->window_count);
    uint64_t key = self->windows[index];
    s_sink_t sink = {emit, context, conflict_count};
    bb_head_gather_clear(self->gather);
    bb_error_t error = BB_OK;
    for (uint64_t i = 0; error == BB_OK && i < self->group_count; i++) {
        s_prefetch(self, i);
        const bb_head_rows_t *rows = &self->groups[i]->rows;
        if (rows->row_count > 0 && s_key(rows->is_quarantined, rows->first_wall_ns) <= key &&
            s_key(rows->is_quarantined, rows->last_wall_ns) >= key) {
            error = s_add_group(self, self->groups[i], key, &sink);
        }
    }
    return error == BB_OK ? s_empty(self, &sink) : error;
}

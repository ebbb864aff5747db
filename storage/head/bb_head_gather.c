// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_head_gather.h"

#include <stdlib.h>

#include "storage/head/bb_arena.h"

#define S_LINE_BYTES          64u
#define S_PREFETCH_FRAMES_MAX 256u // further on the processor has noticed by itself

// Frames of one block that go to one part.
typedef struct {
    const bb_head_block_t *block;
    uint32_t first, count;
    uint32_t part;
    uint32_t row; // of the part
} s_stretch_t;

// Pieces of fewer rows on average are decoded in the order of blocks and sorted afterwards.
#define S_SHORT_ROWS 4u
// Parts that are sorted side by side, and how many of them have a word in one line of memory.
#define S_TILE_PARTS 64u
#define S_LINE_PARTS 8u

struct bb_head_gather {
    bb_head_part_t *parts;
    uint32_t part_count, part_capacity;
    s_stretch_t *stretches, *sorted;
    uint32_t stretch_count, stretch_capacity, sorted_capacity;
    uint32_t *starts; // counting sort: per block
    uint32_t start_capacity;
    uint64_t cell_count; // rows x (1 + metrics) so far
    uint64_t *cells;
    uint64_t cell_capacity;
    uint64_t *scratch; // one column of adjoining stretches
    uint32_t scratch_capacity;
    uint32_t row_count; // of all parts
    // If pieces are short: decoded rows in the order of blocks, column after column of row_count
    // words, and where each row of each part is among them.
    uint64_t *words;
    uint64_t word_capacity;
    uint32_t *places;
    uint32_t place_capacity;
    const bool *metric_is_wanted; // NULL = all
    uint32_t metric_count;
    bb_arena_t sorting;
};

bb_head_gather_t *bb_head_gather_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_head_gather_t));
}

void bb_head_gather_destroy(bb_head_gather_t **self)
{
    if (*self) {
        free((*self)->parts);
        free((*self)->stretches);
        free((*self)->sorted);
        free((*self)->starts);
        free((*self)->cells);
        free((*self)->scratch);
        free((*self)->words);
        free((*self)->places);
        bb_arena_free(&(*self)->sorting);
        free(*self);
        *self = NULL;
    }
}

void bb_head_gather_clear(bb_head_gather_t *self)
{
    self->part_count = 0;
    self->stretch_count = 0;
    self->cell_count = 0;
    self->row_count = 0;
}

void bb_head_gather_want(bb_head_gather_t *self, const bool *metric_is_wanted,
                         uint32_t metric_count)
{
    self->metric_is_wanted = metric_is_wanted;
    self->metric_count = metric_count;
}

static bool s_wants(const bb_head_gather_t *self, uint32_t metric)
{
    return !self->metric_is_wanted ||
           (metric < self->metric_count && self->metric_is_wanted[metric]);
}

static uint64_t s_width(const bb_head_shape_t *shape)
{
    return 1 + (uint64_t)shape->metric_count;
}

bool bb_head_gather_has_room(const bb_head_gather_t *self, const bb_head_rows_t *rows)
{
    return self->cell_count + rows->row_count * s_width(rows->shape) <= BB_HEAD_GATHER_CELLS;
}

static void s_add_stretch(bb_head_gather_t *self, const bb_head_block_t *block, uint32_t first,
                          uint32_t count, uint32_t row)
{
    if (self->stretch_count == self->stretch_capacity) {
        self->stretch_capacity = self->stretch_capacity ? self->stretch_capacity * 2 : 1024;
        self->stretches =
            bb_realloc(self->stretches, self->stretch_capacity * sizeof *self->stretches);
    }
    self->stretches[self->stretch_count++] =
        (s_stretch_t){block, first, count, self->part_count, row};
}

// Takes up to `room` frames of the piece from place->frame on; returns how many.
static uint32_t s_take_piece(bb_head_gather_t *self, const bb_head_piece_t *piece, bool takes_all,
                             int64_t first_wall_ns, int64_t limit_wall_ns, uint32_t row,
                             uint32_t room, bb_head_place_t *place)
{
    uint32_t taken = 0;
    if (takes_all) {
        taken = BB_MIN(piece->count - place->frame, room);
        s_add_stretch(self, piece->block, piece->first + place->frame, taken, row);
        place->frame += taken;
        return taken;
    }
    const int64_t *times = piece->block->times_wall_ns + piece->first;
    while (place->frame < piece->count && taken < room) {
        uint32_t begin = place->frame;
        while (place->frame < piece->count && place->frame - begin < room - taken &&
               times[place->frame] >= first_wall_ns && times[place->frame] < limit_wall_ns) {
            place->frame++;
        }
        uint32_t count = place->frame - begin;
        if (count > 0) {
            s_add_stretch(self, piece->block, piece->first + begin, count, row + taken);
            taken += count;
        } else {
            place->frame++; // of another window
        }
    }
    return taken;
}

static void s_add_part(bb_head_gather_t *self, const bb_head_shape_t *shape, const void *owner,
                       uint32_t row_count)
{
    if (self->part_count == self->part_capacity) {
        self->part_capacity = self->part_capacity ? self->part_capacity * 2 : 64;
        self->parts = bb_realloc(self->parts, self->part_capacity * sizeof *self->parts);
    }
    self->parts[self->part_count++] = (bb_head_part_t){
        .shape = shape, .owner = owner, .row_count = row_count, .row_first = self->row_count};
    self->row_count += row_count;
    self->cell_count += row_count * s_width(shape);
}

bool bb_head_gather_add(bb_head_gather_t *self, const bb_head_rows_t *rows, const void *owner,
                        int64_t first_wall_ns, int64_t limit_wall_ns, uint64_t cells_max,
                        bb_head_place_t *place)
{
    bool takes_all = rows->first_wall_ns >= first_wall_ns && rows->last_wall_ns < limit_wall_ns;
    uint64_t left = self->cell_count < cells_max ? cells_max - self->cell_count : 0;
    uint32_t room = (uint32_t)BB_MIN(left / s_width(rows->shape), (uint64_t)UINT32_MAX);
    if (self->part_count == 0) {
        room = BB_MAX(room, 1u);
    }
    if (!place->slab) {
        place->slab = rows->slabs;
    }
    uint32_t row_count = 0;
    bool is_done = true;
    while (place->pieces_done < rows->piece_count) {
        if (place->piece == place->slab->capacity) {
            place->slab = place->slab->next; // set before more pieces are published
            place->piece = 0;
        }
        if (row_count == room) {
            is_done = false;
            break;
        }
        bb_head_piece_t piece = bb_head_piece(rows->shape, place->slab->spans[place->piece]);
        row_count += s_take_piece(self, &piece, takes_all, first_wall_ns, limit_wall_ns, row_count,
                                  room - row_count, place);
        if (place->frame == piece.count) {
            place->frame = 0;
            place->piece++;
            place->pieces_done++;
        }
    }
    if (row_count > 0) {
        s_add_part(self, rows->shape, owner, row_count);
    }
    return is_done;
}

static void s_add_last_of(bb_head_gather_t *self, const bb_head_shape_t *shape, bb_head_span_t span,
                          const void *owner)
{
    bb_head_piece_t piece = bb_head_piece(shape, span);
    s_add_stretch(self, piece.block, piece.first + piece.count - 1, 1, 0);
    s_add_part(self, shape, owner, 1);
}

void bb_head_gather_add_newest(bb_head_gather_t *self, const bb_head_group_t *group)
{
    BB_ASSERT(group->tail_spans > 0);
    s_add_last_of(self, group->rows.shape, group->tail->spans[group->tail_spans - 1], group);
}

void bb_head_gather_add_last(bb_head_gather_t *self, const bb_head_rows_t *rows, const void *owner)
{
    const bb_head_slab_t *slab = rows->slabs;
    uint32_t left = rows->piece_count;
    BB_ASSERT(left > 0);
    while (left > slab->capacity) {
        left -= slab->capacity;
        slab = slab->next;
    }
    s_add_last_of(self, rows->shape, slab->spans[left - 1], owner);
}

// ---- decoding --------------------------------------------------------------------------------
static void s_make_room(bb_head_gather_t *self)
{
    if (self->cell_count > self->cell_capacity) {
        self->cell_capacity = BB_MAX(self->cell_count, (uint64_t)BB_HEAD_GATHER_CELLS);
        free(self->cells);
        self->cells = bb_alloc(self->cell_capacity * sizeof *self->cells);
    }
    uint64_t *next = self->cells;
    for (uint32_t i = 0; i < self->part_count; i++) {
        bb_head_part_t *part = &self->parts[i];
        part->cells = next;
        part->times_wall_ns = (const int64_t *)next;
        part->values = next + part->row_count;
        next += part->row_count * s_width(part->shape);
    }
}

// By block; stretches of one block keep their order, which is that of the groups and mostly also
// that of the frames in the block.
static void s_sort(bb_head_gather_t *self)
{
    uint32_t low = UINT32_MAX, high = 0;
    for (uint32_t i = 0; i < self->stretch_count; i++) {
        low = BB_MIN(low, self->stretches[i].block->index);
        high = BB_MAX(high, self->stretches[i].block->index);
    }
    uint32_t block_count = high - low + 1;
    if (block_count + 1 > self->start_capacity) {
        self->start_capacity = (block_count + 1) * 2;
        self->starts = bb_realloc(self->starts, self->start_capacity * sizeof *self->starts);
    }
    if (self->stretch_count > self->sorted_capacity) {
        self->sorted_capacity = self->stretch_capacity;
        free(self->sorted);
        self->sorted = bb_alloc(self->sorted_capacity * sizeof *self->sorted);
    }
    memset(self->starts, 0, (block_count + 1) * sizeof *self->starts);
    for (uint32_t i = 0; i < self->stretch_count; i++) {
        self->starts[self->stretches[i].block->index - low + 1]++;
    }
    for (uint32_t b = 1; b <= block_count; b++) {
        self->starts[b] += self->starts[b - 1];
    }
    for (uint32_t i = 0; i < self->stretch_count; i++) {
        uint32_t *start = &self->starts[self->stretches[i].block->index - low];
        self->sorted[(*start)++] = self->stretches[i];
    }
}

static void s_scatter(const bb_head_gather_t *self, const s_stretch_t *stretches, uint32_t count,
                      uint32_t column, const uint64_t *words)
{
    for (uint32_t i = 0; i < count; i++) {
        const s_stretch_t *stretch = &stretches[i];
        const bb_head_part_t *part = &self->parts[stretch->part];
        uint64_t *to = part->cells + (uint64_t)column * part->row_count + stretch->row;
        for (uint32_t f = 0; f < stretch->count; f++) {
            to[f] = words[f];
        }
        words += stretch->count;
    }
}

// Stretches sorted[begin...] that adjoin in one block; returns the first behind them.
static uint32_t s_adjoining(const bb_head_gather_t *self, uint32_t begin, uint32_t *frame_count)
{
    const s_stretch_t *first = &self->sorted[begin];
    uint32_t end = begin + 1;
    *frame_count = first->count;
    while (end < self->stretch_count && self->sorted[end].block == first->block &&
           self->sorted[end].first == first->first + *frame_count) {
        *frame_count += self->sorted[end++].count;
    }
    return end;
}

static void s_prefetch_bytes(const void *bytes, size_t length)
{
    const uint8_t *limit = (const uint8_t *)bytes + length;
    for (const uint8_t *line = bytes; line < limit; line += S_LINE_BYTES) {
        __builtin_prefetch(line);
    }
}

// Fetches what adjoining stretches will decode: otherwise every column waits for memory.
static void s_prefetch(const bb_head_gather_t *self, uint32_t index, uint32_t frame_count)
{
    const s_stretch_t *stretch = &self->sorted[index];
    const bb_head_block_t *block = stretch->block;
    frame_count = BB_MIN(frame_count, S_PREFETCH_FRAMES_MAX);
    s_prefetch_bytes(block->times_wall_ns + stretch->first, frame_count * sizeof(int64_t));
    for (uint32_t m = 0; m < block->shape->metric_count; m++) {
        const bb_column_t *column = &block->columns[m];
        if (s_wants(self, block->shape->metrics[m])) {
            s_prefetch_bytes(column->packed + (size_t)stretch->first * column->width / 8,
                             (size_t)frame_count * column->width / 8 + 8);
        }
    }
}

// Decodes frame_count frames from the first stretch on and gives them to the stretches.
static void s_decode_adjoining(bb_head_gather_t *self, const s_stretch_t *stretches, uint32_t count,
                               uint32_t frame_count)
{
    const bb_head_block_t *block = stretches->block;
    if (frame_count > self->scratch_capacity) {
        self->scratch_capacity = frame_count * 2;
        free(self->scratch);
        self->scratch = bb_alloc(self->scratch_capacity * sizeof *self->scratch);
    }
    s_scatter(self, stretches, count, 0, (const uint64_t *)block->times_wall_ns + stretches->first);
    bb_head_piece_t piece = {block, stretches->first, frame_count};
    for (uint32_t m = 0; m < block->shape->metric_count; m++) {
        if (s_wants(self, block->shape->metrics[m])) {
            bb_head_values(&piece, m, 0, frame_count, self->scratch);
            s_scatter(self, stretches, count, m + 1, self->scratch);
        }
    }
}

// ---- short pieces ----------------------------------------------------------------------------
// The same, but the rows stay in the order of blocks, from row `place` on.
static void s_decode_in_place(bb_head_gather_t *self, const s_stretch_t *stretches, uint32_t count,
                              uint32_t frame_count, uint32_t place)
{
    const bb_head_block_t *block = stretches->block;
    memcpy(self->words + place, block->times_wall_ns + stretches->first,
           frame_count * sizeof *self->words);
    bb_head_piece_t piece = {block, stretches->first, frame_count};
    for (uint32_t m = 0; m < block->shape->metric_count; m++) {
        if (s_wants(self, block->shape->metrics[m])) {
            bb_head_values(&piece, m, 0, frame_count,
                           self->words + (m + 1) * (uint64_t)self->row_count + place);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = self->parts[stretches[i].part].row_first + stretches[i].row;
        for (uint32_t f = 0; f < stretches[i].count; f++) {
            self->places[row + f] = place++;
        }
    }
}

static uint64_t s_width_max(const bb_head_gather_t *self, uint32_t first, uint32_t limit)
{
    uint64_t width = 0;
    for (uint32_t p = first; p < limit; p++) {
        width = BB_MAX(width, s_width(self->parts[p].shape));
    }
    return width;
}

// One column of parts [first, limit); that of the next column is fetched meanwhile: neighbours have
// their rows side by side, so every eighth part meets a new line in each block.
static void s_collect_column(bb_head_gather_t *self, uint32_t first, uint32_t limit, uint64_t c)
{
    const uint64_t *words = self->words + c * self->row_count;
    for (uint32_t p = first; p < limit; p++) {
        const bb_head_part_t *part = &self->parts[p];
        const uint32_t *places = self->places + part->row_first;
        if (c >= s_width(part->shape)) {
            continue;
        }
        if (p % S_LINE_PARTS == 0 && c + 1 < s_width(part->shape)) {
            for (uint32_t r = 0; r < part->row_count; r++) {
                __builtin_prefetch(words + self->row_count + places[r]);
            }
        }
        uint64_t *to = part->cells + c * part->row_count;
        if (c == 0 || s_wants(self, part->shape->metrics[c - 1])) {
            for (uint32_t r = 0; r < part->row_count; r++) {
                to[r] = words[places[r]];
            }
        }
    }
}

static void s_collect(bb_head_gather_t *self)
{
    for (uint32_t first = 0; first < self->part_count; first += S_TILE_PARTS) {
        uint32_t limit = BB_MIN(first + S_TILE_PARTS, self->part_count);
        uint64_t width = s_width_max(self, first, limit);
        for (uint64_t c = 0; c < width; c++) {
            s_collect_column(self, first, limit, c);
        }
    }
}

// Pieces of a frame or two: scattering each value of each column to its part would touch as many
// lines of memory as there are values, over and over. False: they are longer, or the parts are so
// different that most of the room would be empty.
static bool s_make_places(bb_head_gather_t *self)
{
    uint64_t word_count = s_width_max(self, 0, self->part_count) * self->row_count;
    if (self->row_count / S_SHORT_ROWS >= self->stretch_count ||
        word_count > self->cell_count * 2) {
        return false;
    }
    if (word_count > self->word_capacity) {
        self->word_capacity = word_count;
        free(self->words);
        self->words = bb_alloc(word_count * sizeof *self->words);
    }
    if (self->row_count > self->place_capacity) {
        self->place_capacity = self->row_count;
        free(self->places);
        self->places = bb_alloc(self->row_count * sizeof *self->places);
    }
    return true;
}

void bb_head_gather_decode(bb_head_gather_t *self)
{
    if (self->stretch_count == 0) {
        return;
    }
    s_make_room(self);
    s_sort(self);
    bool is_short = s_make_places(self);
    uint32_t place = 0;
    uint32_t frame_count, next_frame_count = 0;
    uint32_t next = s_adjoining(self, 0, &next_frame_count);
    for (uint32_t begin = 0; begin < self->stretch_count;) {
        uint32_t end = next;
        frame_count = next_frame_count;
        if (end < self->stretch_count) {
            next = s_adjoining(self, end, &next_frame_count);
            s_prefetch(self, end, next_frame_count);
        }
        if (is_short) {
            s_decode_in_place(self, &self->sorted[begin], end - begin, frame_count, place);
            place += frame_count;
        } else {
            s_decode_adjoining(self, &self->sorted[begin], end - begin, frame_count);
        }
        begin = end;
    }
    if (is_short) {
        s_collect(self);
    }
}

const bb_head_part_t *bb_head_gather_parts(const bb_head_gather_t *self, uint32_t *count)
{
    *count = self->part_count;
    return self->parts;
}

// ---- sorting ---------------------------------------------------------------------------------
typedef struct {
    int64_t time_wall_ns;
    uint32_t row;
} s_order_t;

static int s_compare_rows(const void *a, const void *b)
{
    const s_order_t *left = a;
    const s_order_t *right = b;
    if (left->time_wall_ns != right->time_wall_ns) {
        return left->time_wall_ns < right->time_wall_ns ? -1 : 1;
    }
    return left->row < right->row ? -1 : 1;
}

bool bb_head_gather_sort(bb_head_gather_t *self, const bb_head_part_t *part)
{
    const int64_t *times = part->times_wall_ns;
    uint32_t count = part->row_count;
    bool in_order = true;
    bool is_unique = true;
    for (uint32_t r = 1; r < count; r++) {
        in_order &= times[r] >= times[r - 1];
        is_unique &= times[r] > times[r - 1];
    }
    if (in_order) {
        return is_unique;
    }
    bb_arena_reset(&self->sorting);
    s_order_t *order = bb_arena_alloc(&self->sorting, count * sizeof *order);
    for (uint32_t r = 0; r < count; r++) {
        order[r] = (s_order_t){times[r], r};
    }
    qsort(order, count, sizeof *order, s_compare_rows);
    is_unique = true;
    for (uint32_t r = 1; r < count; r++) {
        is_unique &= order[r].time_wall_ns != order[r - 1].time_wall_ns;
    }
    uint64_t *column = bb_arena_alloc(&self->sorting, count * sizeof *column);
    for (uint32_t c = 0; c <= part->shape->metric_count; c++) {
        if (c > 0 && !s_wants(self, part->shape->metrics[c - 1])) {
            continue;
        }
        uint64_t *cells = part->cells + (size_t)c * count;
        for (uint32_t r = 0; r < count; r++) {
            column[r] = cells[order[r].row];
        }
        memcpy(cells, column, count * sizeof *column);
    }
    return is_unique;
}

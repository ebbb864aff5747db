// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_run_group.h"

#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_arena.h"
#include "storage/segment/bb_pack.h"

// Lists of columns that are collected side by side; batteries with others do not share.
#define S_COLLECTIONS_MAX 8u
// Runs of their own that wait for the collections between them; more end the group early.
#define S_WAITING_BYTES_MAX (256u << 10)
#define S_GROUP_BATTERIES   256u

// Rows of several batteries that have the same columns and revision.
typedef struct {
    uint64_t revision;
    bb_run_column_t *columns; // values and presence are those below
    uint64_t **values, **presence;
    uint32_t column_count, column_capacity;
    int64_t *times;
    uint32_t row_count, row_capacity; // a multiple of 64
    bool *lacks;                      // each column: some row
    uint32_t *batteries, *member_rows;
    uint32_t member_count, member_capacity;
    uint32_t run; // of what is put; UINT32_MAX = none yet
} s_collection_t;

// One battery's run or part of a collection, in the order they came.
typedef struct {
    uint64_t place;
    uint64_t point_count;
    uint32_t collection; // UINT32_MAX: a run of its own
    uint32_t member;
    bb_slice_t encoded;      // of its own
    const void *shared_from; // where one that others may have came from, else NULL
} s_item_t;

struct bb_run_group {
    uint32_t bits;
    bb_run_group_put_fn put;
    void *context;
    bb_run_writer_t *writer;
    uint64_t group;
    s_item_t *items;
    uint32_t item_count, item_capacity;
    s_collection_t collections[S_COLLECTIONS_MAX];
    uint32_t collection_count;
    bb_arena_t encoded;
    uint64_t waiting_bytes; // of runs that are one battery's; a shared one would be put twice
    // What is put.
    bb_segment_entry_t *entries;
    bb_slice_t *runs;
    uint32_t put_capacity;
};

bb_run_group_t *bb_run_group_new(uint32_t bits, bb_run_group_put_fn put, void *context)
{
    BB_ASSERT(put);
    bb_run_group_t *self = bb_alloc_zero(1, sizeof *self);
    self->bits = bits;
    self->put = put;
    self->context = context;
    self->writer = bb_run_writer_new();
    return self;
}

void bb_run_group_destroy(bb_run_group_t **self)
{
    bb_run_group_t *group = *self;
    if (!group) {
        return;
    }
    for (uint32_t i = 0; i < S_COLLECTIONS_MAX; i++) {
        s_collection_t *collection = &group->collections[i];
        for (uint32_t c = 0; c < collection->column_capacity; c++) {
            free(collection->values[c]);
            free(collection->presence[c]);
        }
        free(collection->columns);
        free(collection->values);
        free(collection->presence);
        free(collection->lacks);
        free(collection->times);
        free(collection->batteries);
        free(collection->member_rows);
    }
    bb_run_writer_destroy(&group->writer);
    bb_arena_free(&group->encoded);
    free(group->items);
    free(group->entries);
    free(group->runs);
    free(group);
    *self = NULL;
}

uint32_t bb_run_group_bits(uint32_t partition_count)
{
    uint32_t bits = 0;
    while (bits < 31 && UINT64_C(1) << bits < (uint64_t)partition_count * S_GROUP_BATTERIES) {
        bits++;
    }
    return bits;
}

uint64_t bb_run_group_of(uint32_t bits, uint32_t partition, uint32_t battery)
{
    return (uint64_t)partition << 32 | battery >> bits;
}

void bb_run_group_clear(bb_run_group_t *self)
{
    self->item_count = 0;
    self->collection_count = 0;
    self->waiting_bytes = 0;
    bb_arena_reset(&self->encoded);
}

// ---- collections -----------------------------------------------------------------------------
static bool s_is_alike(const s_collection_t *self, const bb_run_input_t *input)
{
    if (self->revision != input->revision || self->column_count != input->column_count) {
        return false;
    }
    for (uint32_t i = 0; i < input->column_count; i++) {
        if (self->columns[i].metric != input->columns[i].metric ||
            self->columns[i].type != input->columns[i].type) {
            return false;
        }
    }
    return true;
}

static void s_begin(s_collection_t *self, const bb_run_input_t *input)
{
    uint32_t count = input->column_count;
    if (self->row_capacity == 0) {
        self->row_capacity = BB_BLOCK_ROWS_MAX;
        self->times = bb_alloc(self->row_capacity * sizeof *self->times);
    }
    if (self->column_capacity < count) {
        self->columns = bb_realloc(self->columns, count * sizeof *self->columns);
        self->values = bb_realloc(self->values, count * sizeof *self->values);
        self->presence = bb_realloc(self->presence, count * sizeof *self->presence);
        self->lacks = bb_realloc(self->lacks, count * sizeof *self->lacks);
        for (uint32_t i = self->column_capacity; i < count; i++) {
            self->values[i] = bb_alloc(self->row_capacity * sizeof(uint64_t));
            self->presence[i] = bb_alloc(self->row_capacity / 64 * sizeof(uint64_t));
        }
        self->column_capacity = count;
    }
    self->revision = input->revision;
    self->column_count = count;
    self->row_count = 0;
    self->member_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        self->columns[i] =
            (bb_run_column_t){.metric = input->columns[i].metric, .type = input->columns[i].type};
        self->lacks[i] = false;
    }
}

static void s_reserve(s_collection_t *self, uint32_t rows)
{
    if (self->row_capacity < self->row_count + rows) {
        self->row_capacity =
            BB_MAX((self->row_count + rows + 63) / 64 * 64, self->row_capacity * 2);
        self->times = bb_realloc(self->times, self->row_capacity * sizeof *self->times);
        for (uint32_t i = 0; i < self->column_capacity; i++) {
            self->values[i] = bb_realloc(self->values[i], self->row_capacity * sizeof(uint64_t));
            self->presence[i] =
                bb_realloc(self->presence[i], self->row_capacity / 64 * sizeof(uint64_t));
        }
    }
    if (self->member_count == self->member_capacity) {
        self->member_capacity = self->member_capacity ? self->member_capacity * 2 : 64;
        self->batteries =
            bb_realloc(self->batteries, self->member_capacity * sizeof *self->batteries);
        self->member_rows =
            bb_realloc(self->member_rows, self->member_capacity * sizeof *self->member_rows);
    }
}

static bool s_has(const bb_run_column_t *column, uint32_t row)
{
    return !column->presence || (column->presence[row / 64] >> (row % 64) & 1);
}

// Bits of presence are kept only from the first row on that lacks a value.
static void s_begin_lacking(s_collection_t *self, uint32_t column)
{
    self->lacks[column] = true;
    memset(self->presence[column], 0xff, self->row_capacity / 64 * sizeof(uint64_t));
}

// Appends the rows of one battery; returns how many values they have.
static uint64_t s_append(s_collection_t *self, uint32_t battery, const bb_run_input_t *input)
{
    uint32_t rows = input->row_count;
    uint64_t points = (uint64_t)rows * input->column_count;
    uint32_t capacity = self->row_capacity;
    s_reserve(self, rows);
    memcpy(self->times + self->row_count, input->times_wall_ns, rows * sizeof *self->times);
    for (uint32_t c = 0; c < input->column_count; c++) {
        const bb_run_column_t *column = &input->columns[c];
        memcpy(self->values[c] + self->row_count, column->values, rows * sizeof(uint64_t));
        if (self->lacks[c] && self->row_capacity > capacity) {
            memset(self->presence[c] + capacity / 64, 0xff,
                   (self->row_capacity - capacity) / 64 * sizeof(uint64_t));
        }
        for (uint32_t row = 0; column->presence && row < rows; row++) {
            if (!s_has(column, row)) {
                if (!self->lacks[c]) {
                    s_begin_lacking(self, c);
                }
                uint32_t at = self->row_count + row;
                self->presence[c][at / 64] &= ~(UINT64_C(1) << at % 64);
                points--;
            }
        }
    }
    self->batteries[self->member_count] = battery;
    self->member_rows[self->member_count++] = rows;
    self->row_count += rows;
    return points;
}

static bb_run_input_t s_input(const s_collection_t *self)
{
    for (uint32_t c = 0; c < self->column_count; c++) {
        self->columns[c].values = self->values[c];
        self->columns[c].presence = self->lacks[c] ? self->presence[c] : NULL;
    }
    return (bb_run_input_t){
        .revision = self->revision,
        .row_count = self->row_count,
        .times_wall_ns = self->times,
        .column_count = self->column_count,
        .columns = self->columns,
    };
}

// ---- putting ---------------------------------------------------------------------------------
static bb_slice_t s_keep(bb_run_group_t *self, bb_slice_t encoded)
{
    return bb_slice(bb_arena_copy(&self->encoded, encoded.data, encoded.length), encoded.length);
}

static s_item_t *s_next_item(bb_run_group_t *self, uint64_t place, uint64_t point_count)
{
    BB_ASSERT(self->item_count == 0 || self->items[self->item_count - 1].place <= place);
    if (self->item_count == self->item_capacity) {
        self->item_capacity = self->item_capacity ? self->item_capacity * 2 : 64;
        self->items = bb_realloc(self->items, self->item_capacity * sizeof *self->items);
    }
    s_item_t *item = &self->items[self->item_count++];
    *item = (s_item_t){.place = place, .point_count = point_count, .collection = UINT32_MAX};
    return item;
}

// A collection of too few becomes runs of their own.
static void s_encode_alone(bb_run_group_t *self, s_collection_t *collection)
{
    bb_run_input_t whole = s_input(collection);
    bb_run_column_t *columns = bb_alloc(whole.column_count * sizeof *columns);
    uint64_t *bits = bb_alloc(whole.column_count * sizeof *bits);
    uint32_t index = (uint32_t)(collection - self->collections);
    uint32_t first = 0;
    for (uint32_t i = 0; i < self->item_count; i++) {
        s_item_t *item = &self->items[i];
        if (item->collection != index) {
            continue;
        }
        uint32_t rows = collection->member_rows[item->member];
        for (uint32_t c = 0; c < whole.column_count; c++) {
            columns[c] = whole.columns[c];
            columns[c].values += first;
            bits[c] = 0;
            for (uint32_t row = 0; row < rows; row++) {
                bits[c] |= (uint64_t)s_has(&whole.columns[c], first + row) << row;
            }
            columns[c].presence = whole.columns[c].presence ? &bits[c] : NULL;
        }
        bb_run_input_t input = {whole.revision, rows, whole.times_wall_ns + first,
                                whole.column_count, columns};
        item->encoded = s_keep(self, bb_run_writer_encode(self->writer, &input));
        item->collection = UINT32_MAX;
        first += rows;
    }
    free(columns);
    free(bits);
}
static_assert(BB_RUN_GROUP_SHORT_ROWS <= 64, "the presence of a short input is one word");

static bb_slice_t s_encode_shared(bb_run_group_t *self, s_collection_t *collection)
{
    bb_run_shared_input_t input = {
        .rows = s_input(collection),
        .partition = (uint32_t)(self->group >> 32),
        .member_count = collection->member_count,
        .batteries = collection->batteries,
        .member_rows = collection->member_rows,
    };
    return s_keep(self, bb_run_writer_encode_shared(self->writer, &input));
}

// The run that an earlier battery put, if this one has a part in the same; else UINT32_MAX.
static uint32_t s_find_put(const bb_run_group_t *self, uint32_t index)
{
    for (uint32_t i = index; i-- > 0;) {
        if (self->items[i].shared_from == self->items[index].shared_from) {
            return self->entries[i].run;
        }
    }
    return UINT32_MAX;
}

bb_error_t bb_run_group_flush(bb_run_group_t *self)
{
    if (self->item_count == 0) {
        return BB_OK;
    }
    if (self->put_capacity < self->item_count) {
        self->put_capacity = self->item_capacity;
        self->entries = bb_realloc(self->entries, self->put_capacity * sizeof *self->entries);
        self->runs = bb_realloc(self->runs, self->put_capacity * sizeof *self->runs);
    }
    for (uint32_t i = 0; i < self->collection_count; i++) {
        self->collections[i].run = UINT32_MAX;
        if (self->collections[i].member_count < BB_RUN_GROUP_MEMBERS_MIN) {
            s_encode_alone(self, &self->collections[i]);
        }
    }
    uint32_t run_count = 0;
    for (uint32_t i = 0; i < self->item_count; i++) {
        const s_item_t *item = &self->items[i];
        uint32_t run = run_count;
        uint32_t before = item->shared_from ? s_find_put(self, i) : UINT32_MAX;
        if (before != UINT32_MAX) {
            run = before;
        } else if (item->collection == UINT32_MAX) {
            self->runs[run_count++] = item->encoded;
        } else {
            s_collection_t *collection = &self->collections[item->collection];
            if (collection->run == UINT32_MAX) {
                collection->run = run_count;
                self->runs[run_count++] = s_encode_shared(self, collection);
            }
            run = collection->run;
        }
        self->entries[i] = (bb_segment_entry_t){item->place, run, item->point_count};
    }
    bb_error_t error =
        self->put(self->context, self->entries, self->item_count, self->runs, run_count);
    bb_run_group_clear(self);
    return error;
}

// ---- adding ----------------------------------------------------------------------------------
static bb_error_t s_turn_to(bb_run_group_t *self, uint32_t partition, uint32_t battery)
{
    uint64_t group = bb_run_group_of(self->bits, partition, battery);
    if (self->item_count > 0 && self->group == group && self->waiting_bytes < S_WAITING_BYTES_MAX) {
        return BB_OK;
    }
    bb_error_t error = bb_run_group_flush(self);
    self->group = group;
    return error;
}

bb_error_t bb_run_group_add_run(bb_run_group_t *self, uint32_t partition, uint32_t battery,
                                bb_slice_t encoded, uint64_t point_count)
{
    uint64_t place = bb_pack_place(partition, battery);
    bb_error_t error = s_turn_to(self, partition, battery);
    if (error == BB_OK && self->item_count == 0) {
        bb_segment_entry_t entry = {place, 0, point_count}; // nothing to wait for
        return self->put(self->context, &entry, 1, &encoded, 1);
    }
    if (error == BB_OK) {
        s_next_item(self, place, point_count)->encoded = s_keep(self, encoded);
        self->waiting_bytes += encoded.length;
    }
    return error;
}

bb_error_t bb_run_group_add_shared(bb_run_group_t *self, uint32_t partition, uint32_t battery,
                                   bb_slice_t encoded, uint64_t point_count)
{
    bb_error_t error = s_turn_to(self, partition, battery);
    if (error != BB_OK) {
        return error;
    }
    uint32_t at = self->item_count;
    while (at > 0 && self->items[at - 1].shared_from != encoded.data) {
        at--;
    }
    bb_slice_t kept = at > 0 ? self->items[at - 1].encoded : s_keep(self, encoded);
    s_item_t *item = s_next_item(self, bb_pack_place(partition, battery), point_count);
    item->encoded = kept;
    item->shared_from = encoded.data;
    return BB_OK;
}

static uint64_t s_count_points(const bb_run_input_t *input)
{
    uint64_t points = (uint64_t)input->row_count * input->column_count;
    for (uint32_t c = 0; c < input->column_count; c++) {
        for (uint32_t row = 0; input->columns[c].presence && row < input->row_count; row++) {
            points -= !s_has(&input->columns[c], row);
        }
    }
    return points;
}

// The collection that the input goes into; NULL: none may have it.
static s_collection_t *s_find(bb_run_group_t *self, uint32_t battery, const bb_run_input_t *input)
{
    for (uint32_t i = 0; i < self->collection_count; i++) {
        s_collection_t *collection = &self->collections[i];
        if (s_is_alike(collection, input)) {
            bool has_it = collection->batteries[collection->member_count - 1] == battery;
            bool is_full = collection->row_count + input->row_count > BB_RUN_GROUP_ROWS_MAX;
            return has_it || is_full ? NULL : collection;
        }
    }
    if (self->collection_count == S_COLLECTIONS_MAX) {
        return NULL;
    }
    s_collection_t *fresh = &self->collections[self->collection_count++];
    s_begin(fresh, input);
    return fresh;
}

bb_error_t bb_run_group_add(bb_run_group_t *self, uint32_t partition, uint32_t battery,
                            const bb_run_input_t *input)
{
    bb_error_t error = s_turn_to(self, partition, battery);
    if (error != BB_OK) {
        return error;
    }
    s_collection_t *collection =
        input->row_count < BB_RUN_GROUP_SHORT_ROWS ? s_find(self, battery, input) : NULL;
    if (!collection) {
        return bb_run_group_add_run(self, partition, battery,
                                    bb_run_writer_encode(self->writer, input),
                                    s_count_points(input));
    }
    s_item_t *item = s_next_item(self, bb_pack_place(partition, battery), 0);
    item->collection = (uint32_t)(collection - self->collections);
    item->member = collection->member_count;
    item->point_count = s_append(collection, battery, input);
    return BB_OK;
}

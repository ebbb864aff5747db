// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_shared_run.h"

#include <stdlib.h>
#include <string.h>

#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_stats.h"
#include "storage/segment/bb_varint.h"

// What is known of a column's block.
typedef enum { BLOCK_UNREAD, BLOCK_FULL, BLOCK_LACKING, BLOCK_CORRUPT } s_state_t;

struct bb_shared_run {
    bb_run_t run;
    uint32_t *batteries; // of the members
    uint32_t member_capacity;
    uint32_t *stretch_first;        // of each member in `stretches`, and the end
    bb_shared_stretch_t *stretches; // member after member
    bb_shared_stretch_t *listed;    // block after block, as they lie
    uint32_t *listed_members;
    size_t listed_capacity, listed_count;
    uint32_t *block_first; // row of the run that a block begins with, and the end
    uint32_t block_capacity;
    int64_t *times; // of all rows
    size_t row_capacity;

    // Values of all rows, column after column; decoded block by block.
    uint64_t **values;   // NULL: none yet
    uint64_t **presence; // BB_PRESENCE_WORDS for each block
    uint32_t column_capacity;
    uint8_t *states; // s_state_t of [column][block]
    size_t state_capacity;
    bool has_lacking; // some block of some column has a bitmap or no values
};

bb_shared_run_t *bb_shared_run_new(void)
{
    return bb_alloc_zero(1, sizeof(bb_shared_run_t));
}

static void s_free_columns(bb_shared_run_t *self)
{
    for (uint32_t i = 0; i < self->column_capacity; i++) {
        free(self->values[i]);
        free(self->presence[i]);
        self->values[i] = NULL;
        self->presence[i] = NULL;
    }
}

void bb_shared_run_destroy(bb_shared_run_t **self)
{
    bb_shared_run_t *shared = *self;
    if (!shared) {
        return;
    }
    s_free_columns(shared);
    free(shared->values);
    free(shared->presence);
    free(shared->states);
    free(shared->batteries);
    free(shared->stretch_first);
    free(shared->stretches);
    free(shared->listed);
    free(shared->listed_members);
    free(shared->block_first);
    free(shared->times);
    free(shared);
    *self = NULL;
}

void bb_shared_run_close(bb_shared_run_t *self)
{
    self->run = (bb_run_t){0};
}

// ---- opening ---------------------------------------------------------------------------------
typedef struct {
    const uint8_t *at, *limit;
    bool is_short;
} s_bytes_t;

static uint64_t s_number(s_bytes_t *self)
{
    uint64_t number = 0;
    self->is_short |= !bb_varint_get(&self->at, self->limit, &number);
    return number;
}

static bool s_read_batteries(bb_shared_run_t *self, s_bytes_t *bytes)
{
    uint32_t count = self->run.member_count;
    if (self->member_capacity < count) {
        self->member_capacity = count;
        self->batteries = bb_realloc(self->batteries, count * sizeof *self->batteries);
        self->stretch_first =
            bb_realloc(self->stretch_first, ((size_t)count + 1) * sizeof *self->stretch_first);
    }
    uint64_t battery = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t more = s_number(bytes);
        if (bytes->is_short || more > UINT32_MAX) {
            return false;
        }
        battery += more + (i > 0);
        if (battery > UINT32_MAX) {
            return false;
        }
        self->batteries[i] = (uint32_t)battery;
    }
    return true;
}

static void s_list(bb_shared_run_t *self, uint32_t member, bb_shared_stretch_t stretch)
{
    if (self->listed_count == self->listed_capacity) {
        self->listed_capacity = self->listed_capacity ? self->listed_capacity * 2 : 256;
        size_t count = self->listed_capacity;
        self->listed = bb_realloc(self->listed, count * sizeof *self->listed);
        self->listed_members = bb_realloc(self->listed_members, count * sizeof(uint32_t));
        self->stretches = bb_realloc(self->stretches, count * sizeof *self->stretches);
    }
    self->listed[self->listed_count] = stretch;
    self->listed_members[self->listed_count++] = member;
}

// Who has how many rows of the block; together they have all.
static bool s_read_block(bb_shared_run_t *self, s_bytes_t *bytes, uint32_t block, uint32_t rows)
{
    uint64_t first = s_number(bytes);
    uint64_t count = s_number(bytes);
    uint64_t each = s_number(bytes);
    uint32_t done = 0;
    if (bytes->is_short || first > self->run.member_count ||
        count > self->run.member_count - first) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t of_member = each ? each : s_number(bytes);
        if (bytes->is_short || of_member > rows - done) {
            return false;
        }
        if (of_member > 0) {
            s_list(self, (uint32_t)first + i,
                   (bb_shared_stretch_t){block, (uint16_t)done, (uint16_t)of_member});
        }
        done += (uint32_t)of_member;
    }
    return done == rows;
}

// Sorts the stretches by member; those of one stay in the order of blocks. False: one has no rows.
static bool s_sort_stretches(bb_shared_run_t *self)
{
    uint32_t count = self->run.member_count;
    memset(self->stretch_first, 0, ((size_t)count + 1) * sizeof *self->stretch_first);
    for (size_t i = 0; i < self->listed_count; i++) {
        self->stretch_first[self->listed_members[i] + 1]++;
    }
    bool all_have = true;
    for (uint32_t i = 0; i < count; i++) {
        all_have &= self->stretch_first[i + 1] > 0;
        self->stretch_first[i + 1] += self->stretch_first[i];
    }
    for (size_t i = 0; i < self->listed_count; i++) {
        self->stretches[self->stretch_first[self->listed_members[i]]++] = self->listed[i];
    }
    memmove(self->stretch_first + 1, self->stretch_first, count * sizeof *self->stretch_first);
    self->stretch_first[0] = 0;
    return all_have;
}

static bool s_read_members(bb_shared_run_t *self)
{
    s_bytes_t bytes = {self->run.members_raw, self->run.members_raw + self->run.members_bytes,
                       false};
    self->listed_count = 0;
    bool is_good = s_read_batteries(self, &bytes);
    for (uint32_t b = 0; is_good && b < self->run.block_count; b++) {
        is_good = s_read_block(self, &bytes, b, bb_run_block_rows(&self->run, b));
    }
    return is_good && bytes.at == bytes.limit && s_sort_stretches(self);
}

static const int64_t *s_times(const bb_shared_run_t *self, const bb_shared_stretch_t *stretch)
{
    return self->times + self->block_first[stretch->block] + stretch->first;
}

// Ascending for each member, and as far as the directory says.
static bool s_check_times(const bb_shared_run_t *self)
{
    int64_t first = INT64_MAX;
    int64_t last = INT64_MIN;
    for (uint32_t b = 0; b < self->run.block_count; b++) {
        int64_t block_first;
        int64_t block_last;
        int64_t low = INT64_MAX;
        int64_t high = INT64_MIN;
        bb_run_block_range(&self->run, b, &block_first, &block_last);
        for (uint32_t row = self->block_first[b]; row < self->block_first[b + 1]; row++) {
            low = BB_MIN(low, self->times[row]);
            high = BB_MAX(high, self->times[row]);
        }
        if (low != block_first || high != block_last) {
            return false;
        }
        first = BB_MIN(first, low);
        last = BB_MAX(last, high);
    }
    uint64_t disorder = first != self->run.first_wall_ns || last != self->run.last_wall_ns;
    for (uint32_t m = 0; m < self->run.member_count; m++) {
        const int64_t *before = NULL;
        for (uint32_t i = self->stretch_first[m]; i < self->stretch_first[m + 1]; i++) {
            const int64_t *times = s_times(self, &self->stretches[i]);
            disorder |= before && *before >= times[0];
            for (uint32_t row = 1; row < self->stretches[i].rows; row++) {
                disorder |= times[row - 1] >= times[row];
            }
            before = &times[self->stretches[i].rows - 1];
        }
    }
    return disorder == 0;
}

static void s_reserve(bb_shared_run_t *self)
{
    const bb_run_t *run = &self->run;
    if (self->row_capacity < run->row_count) {
        self->row_capacity = run->row_count;
        self->times = bb_realloc(self->times, self->row_capacity * sizeof *self->times);
        s_free_columns(self); // of fewer rows
    }
    if (self->block_capacity < run->block_count) {
        self->block_capacity = run->block_count;
        self->block_first = bb_realloc(self->block_first, ((size_t)self->block_capacity + 1) *
                                                              sizeof *self->block_first);
        s_free_columns(self);
    }
    if (self->column_capacity < run->column_count) {
        uint32_t count = run->column_count;
        self->values = bb_realloc(self->values, count * sizeof *self->values);
        self->presence = bb_realloc(self->presence, count * sizeof *self->presence);
        for (uint32_t i = self->column_capacity; i < count; i++) {
            self->values[i] = NULL;
            self->presence[i] = NULL;
        }
        self->column_capacity = count;
    }
    size_t states = (size_t)run->column_count * run->block_count;
    if (self->state_capacity < states) {
        self->state_capacity = states;
        self->states = bb_realloc(self->states, states);
    }
    memset(self->states, BLOCK_UNREAD, states);
}

bb_error_t bb_shared_run_open(bb_shared_run_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    bb_error_t error = bb_run_open_any(&self->run, encoded, fault);
    if (error != BB_OK) {
        bb_shared_run_close(self);
        return error;
    }
    bb_run_t *run = &self->run;
    if (!(run->flags & BB_RUN_SHARED) || !s_read_members(self)) {
        bb_shared_run_close(self);
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: who shares it does not fit its rows");
    }
    s_reserve(self);
    self->block_first[0] = 0;
    for (uint32_t b = 0; error == BB_OK && b < run->block_count; b++) {
        self->block_first[b + 1] = self->block_first[b] + bb_run_block_rows(run, b);
        error = bb_run_block_times(run, b, self->times + self->block_first[b]);
    }
    if (error != BB_OK || !s_check_times(self)) {
        bb_shared_run_close(self);
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: times of a shared block");
    }
    self->has_lacking = false;
    size_t parts = ((size_t)run->column_count + 1) * run->block_count;
    for (size_t part = run->block_count; part < parts; part++) {
        uint8_t encoding = run->encodings_raw[part];
        self->has_lacking |= encoding == BB_ENCODING_NONE || encoding & BB_RUN_LACKS_ROWS;
    }
    return BB_OK;
}

// ---- members ---------------------------------------------------------------------------------
const bb_run_t *bb_shared_run_whole(const bb_shared_run_t *self)
{
    return &self->run;
}

uint32_t bb_shared_run_battery(const bb_shared_run_t *self, uint32_t member)
{
    BB_ASSERT(member < self->run.member_count);
    return self->batteries[member];
}

uint32_t bb_shared_run_find(const bb_shared_run_t *self, uint32_t partition, uint32_t battery)
{
    uint32_t begin = 0;
    uint32_t limit = self->run.member_count;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (self->batteries[middle] < battery) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    bool found = partition == self->run.partition && begin < self->run.member_count &&
                 self->batteries[begin] == battery;
    return found ? begin : UINT32_MAX;
}

const bb_shared_stretch_t *bb_shared_run_stretches(const bb_shared_run_t *self, uint32_t member,
                                                   uint32_t *count)
{
    BB_ASSERT(member < self->run.member_count);
    *count = self->stretch_first[member + 1] - self->stretch_first[member];
    return self->stretches + self->stretch_first[member];
}

bool bb_shared_run_times_in(const bb_shared_run_t *self, uint32_t member, uint32_t block,
                            bb_shared_times_t *times)
{
    uint32_t count;
    const bb_shared_stretch_t *stretches = bb_shared_run_stretches(self, member, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (stretches[i].block == block) {
            const int64_t *rows = s_times(self, &stretches[i]);
            *times = (bb_shared_times_t){stretches[i].rows, rows[0], rows[stretches[i].rows - 1]};
            return true;
        }
    }
    return false;
}

// ---- values ----------------------------------------------------------------------------------
static const uint64_t *s_presence(const bb_shared_run_t *self, uint32_t column, uint32_t block)
{
    return self->presence[column] + (size_t)block * BB_PRESENCE_WORDS;
}

static bb_error_t s_decode(bb_shared_run_t *self, uint32_t column, uint32_t block, s_state_t *state)
{
    uint8_t *known = &self->states[(size_t)column * self->run.block_count + block];
    if (*known == BLOCK_UNREAD) {
        if (!self->values[column]) {
            self->values[column] = bb_alloc(self->row_capacity * sizeof(uint64_t));
        }
        // On the stack: a whole block is written, whatever of it is left at the end of the run.
        uint64_t words[BB_BLOCK_ROWS_MAX];
        uint64_t presence[BB_PRESENCE_WORDS];
        bool all_present;
        bb_error_t error =
            bb_run_block_values(&self->run, column, block, words, presence, &all_present);
        *known = error != BB_OK ? BLOCK_CORRUPT : all_present ? BLOCK_FULL : BLOCK_LACKING;
        if (error == BB_OK) {
            memcpy(self->values[column] + self->block_first[block], words,
                   bb_run_block_rows(&self->run, block) * sizeof *words);
        }
        if (*known == BLOCK_LACKING) {
            if (!self->presence[column]) {
                self->presence[column] = bb_alloc((size_t)self->block_capacity * sizeof presence);
            }
            memcpy(self->presence[column] + (size_t)block * BB_PRESENCE_WORDS, presence,
                   sizeof presence);
        }
    }
    *state = (s_state_t)*known;
    return *known == BLOCK_CORRUPT ? BB_ERR_CORRUPT : BB_OK;
}

const bb_shared_stretch_t *bb_shared_run_listed(const bb_shared_run_t *self,
                                                const uint32_t **members, size_t *count)
{
    *members = self->listed_members;
    *count = self->listed_count;
    return self->listed;
}

const int64_t *bb_shared_run_block_times(const bb_shared_run_t *self, uint32_t block)
{
    BB_ASSERT(block < self->run.block_count);
    return self->times + self->block_first[block];
}

bb_error_t bb_shared_run_block_values(bb_shared_run_t *self, uint32_t column_index, uint32_t block,
                                      const uint64_t **values, const uint64_t **presence)
{
    BB_ASSERT(column_index < self->run.column_count);
    BB_ASSERT(block < self->run.block_count);
    s_state_t state;
    bb_error_t error = s_decode(self, column_index, block, &state);
    if (error == BB_OK) {
        *values = self->values[column_index] + self->block_first[block];
        *presence = state == BLOCK_LACKING ? s_presence(self, column_index, block) : NULL;
    }
    return error;
}

// Bits [first, first + count) to the lowest of `out`; returns how many are set.
static uint32_t s_cut_bits(const uint64_t *bits, uint32_t first, uint32_t count, uint64_t *out)
{
    uint32_t set = 0;
    for (uint32_t done = 0; done < count; done += 64) {
        uint32_t at = first + done;
        uint32_t wanted = BB_MIN(64u, count - done);
        uint64_t word = bits[at / 64] >> at % 64;
        if (at % 64 != 0 && wanted > 64 - at % 64) {
            word |= bits[at / 64 + 1] << (64 - at % 64);
        }
        word &= wanted == 64 ? UINT64_MAX : (UINT64_C(1) << wanted) - 1;
        out[done / 64] = word;
        set += (uint32_t)__builtin_popcountll(word);
    }
    return set;
}

bb_error_t bb_shared_run_view(bb_shared_run_t *self, uint32_t member, bb_run_t *view)
{
    BB_ASSERT(member < self->run.member_count);
    bb_run_t run = self->run;
    uint32_t count;
    const bb_shared_stretch_t *stretches = bb_shared_run_stretches(self, member, &count);
    run.shared = self;
    run.member = member;
    run.block_count = count;
    run.row_count = 0;
    run.first_wall_ns = s_times(self, &stretches[0])[0];
    run.last_wall_ns = s_times(self, &stretches[count - 1])[stretches[count - 1].rows - 1];
    uint64_t lacking = 0;
    for (uint32_t i = 0; i < count; i++) {
        run.row_count += stretches[i].rows;
        for (uint32_t c = 0; self->has_lacking && c < run.column_count; c++) {
            s_state_t state;
            bb_error_t error = s_decode(self, c, stretches[i].block, &state);
            if (error != BB_OK) {
                return error;
            }
            uint64_t cut[BB_PRESENCE_WORDS];
            if (state == BLOCK_LACKING) {
                lacking +=
                    stretches[i].rows - s_cut_bits(s_presence(self, c, stretches[i].block),
                                                   stretches[i].first, stretches[i].rows, cut);
            }
        }
    }
    run.point_count = (uint64_t)run.row_count * run.column_count - lacking;
    *view = run;
    return BB_OK;
}

// ---- views -----------------------------------------------------------------------------------
bb_shared_stretch_t bb_shared_run_stretch(const bb_run_t *view, uint32_t block_index)
{
    const bb_shared_run_t *self = view->shared;
    BB_ASSERT(block_index < view->block_count);
    return self->stretches[self->stretch_first[view->member] + block_index];
}

void bb_shared_run_range(const bb_run_t *view, uint32_t block_index, int64_t *first_wall_ns,
                         int64_t *last_wall_ns)
{
    bb_shared_stretch_t stretch = bb_shared_run_stretch(view, block_index);
    const int64_t *times = s_times(view->shared, &stretch);
    *first_wall_ns = times[0];
    *last_wall_ns = times[stretch.rows - 1];
}

void bb_shared_run_times(const bb_run_t *view, uint32_t block_index, int64_t *out_wall_ns)
{
    bb_shared_stretch_t stretch = bb_shared_run_stretch(view, block_index);
    memcpy(out_wall_ns, s_times(view->shared, &stretch), stretch.rows * sizeof *out_wall_ns);
}

bb_error_t bb_shared_run_values(const bb_run_t *view, uint32_t column_index, uint32_t block_index,
                                uint64_t *out, uint64_t *presence, bool *all_present)
{
    bb_shared_run_t *self = view->shared;
    BB_ASSERT(column_index < view->column_count);
    bb_shared_stretch_t stretch = bb_shared_run_stretch(view, block_index);
    s_state_t state;
    bb_error_t error = s_decode(self, column_index, stretch.block, &state);
    if (error != BB_OK) {
        return error;
    }
    memcpy(out, self->values[column_index] + self->block_first[stretch.block] + stretch.first,
           stretch.rows * sizeof *out);
    *all_present = true;
    if (state == BLOCK_LACKING) {
        uint64_t cut[BB_PRESENCE_WORDS] = {0};
        *all_present = s_cut_bits(s_presence(self, column_index, stretch.block), stretch.first,
                                  stretch.rows, cut) == stretch.rows;
        if (!*all_present) {
            memcpy(presence, cut, bb_run_format_presence_words(stretch.rows) * sizeof *cut);
        }
    }
    return BB_OK;
}

bb_error_t bb_shared_run_aggregate(const bb_run_t *view, uint32_t column_index,
                                   uint32_t block_index, uint32_t row_first, uint32_t row_limit,
                                   bb_block_stats_t *stats)
{
    bb_shared_run_t *self = view->shared;
    bb_shared_stretch_t stretch = bb_shared_run_stretch(view, block_index);
    BB_ASSERT(row_first < row_limit);
    BB_ASSERT(row_limit <= stretch.rows);
    s_state_t state;
    bb_error_t error = s_decode(self, column_index, stretch.block, &state);
    if (error != BB_OK) {
        return error;
    }
    uint32_t first = stretch.first + row_first;
    uint64_t cut[BB_PRESENCE_WORDS];
    if (state == BLOCK_LACKING) {
        s_cut_bits(s_presence(self, column_index, stretch.block), first, row_limit - row_first,
                   cut);
    }
    *stats = (bb_block_stats_t){0};
    size_t row = (size_t)self->block_first[stretch.block] + first;
    bb_stats_add_rows(stats, bb_run_raw_type(view, column_index), self->times + row,
                      self->values[column_index] + row, state == BLOCK_LACKING ? cut : NULL,
                      row_limit - row_first);
    return BB_OK;
}

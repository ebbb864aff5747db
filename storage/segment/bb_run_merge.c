// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_run_merge.h"

#include <stdlib.h>
#include <string.h>

// The merge goes stretch by stretch of the time line:
//
//   1  the times of all runs, merged, give the rows of the stretch; each run remembers at which row
//      of the stretch each of its own rows is;
//   2  with several revisions: per metric, the highest revision at each row;
//   3  per revision: each column is filled from the runs of that revision, skipping rows at which
//      the metric has a higher one; rows that stay empty are dropped; the rest is encoded.
//
// A stretch has as many rows as keep the columns of one revision within this many values.
#define STRETCH_VALUES_MAX (4u << 20)

// One input run and how far it has been read.
typedef struct {
    const bb_run_t *run;
    uint32_t rank;          // of its revision among the distinct revisions, ascending
    uint32_t row;           // next row of the run
    uint32_t stretch_begin; // its first row in this stretch
    int64_t *times;         // the block that holds `row`
    uint32_t *row_map;      // row of the stretch, for its rows from stretch_begin
    uint32_t row_map_capacity;
} s_source_t;

typedef struct {
    s_source_t *sources;
    uint32_t source_count;
    uint64_t *revisions; // distinct, ascending
    uint32_t revision_count;
    bb_run_column_info_t *infos; // the union, sorted by (metric, type)
    uint32_t column_count;

    uint32_t row_limit; // of a stretch
    uint32_t row_count;
    uint32_t presence_words; // of one column
    int64_t *times;
    uint32_t *top_ranks; // per row: rank of the highest revision of one metric; NULL: only one
    uint64_t *values;    // column after column, row_limit each
    uint64_t *presence;  // column after column, presence_words each
    uint64_t *occupied;  // rows of the stretch that any column has
    bb_run_column_t *columns;

    bb_run_writer_t *writer;
    bb_run_emit_fn emit;
    void *context;
    bb_run_merge_result_t result;
} s_merge_t;

// ---- set-up
// ---------------------------------------------------------------------------------------

static int s_compare_u64(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static int s_compare_info(const void *a, const void *b)
{
    const bb_run_column_info_t *left = a;
    const bb_run_column_info_t *right = b;
    if (left->metric != right->metric) {
        return left->metric < right->metric ? -1 : 1;
    }
    return (left->type > right->type) - (left->type < right->type);
}

static void s_find_revisions(s_merge_t *self, const bb_run_t *runs)
{
    self->revisions = bb_alloc(self->source_count * sizeof *self->revisions);
    for (uint32_t i = 0; i < self->source_count; i++) {
        self->revisions[i] = runs[i].revision;
    }
    qsort(self->revisions, self->source_count, sizeof *self->revisions, s_compare_u64);
    for (uint32_t i = 0; i < self->source_count; i++) {
        if (i == 0 || self->revisions[i] != self->revisions[self->revision_count - 1]) {
            self->revisions[self->revision_count++] = self->revisions[i];
        }
    }
}

static void s_find_columns(s_merge_t *self, const bb_run_t *runs)
{
    size_t total = 0;
    for (uint32_t i = 0; i < self->source_count; i++) {
        total += runs[i].column_count;
    }
    self->infos = bb_alloc(total * sizeof *self->infos);
    size_t count = 0;
    for (uint32_t i = 0; i < self->source_count; i++) {
        for (uint32_t column = 0; column < runs[i].column_count; column++) {
            self->infos[count++] = bb_run_column(&runs[i], column);
        }
    }
    qsort(self->infos, count, sizeof *self->infos, s_compare_info);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || s_compare_info(&self->infos[i], &self->infos[self->column_count - 1]) != 0) {
            self->infos[self->column_count++] = self->infos[i];
        }
    }
}

static void s_open_sources(s_merge_t *self, const bb_run_t *runs)
{
    self->sources = bb_alloc_zero(self->source_count, sizeof *self->sources);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        source->run = &runs[i];
        while (self->revisions[source->rank] != runs[i].revision) {
            source->rank++;
        }
        rows += runs[i].row_count;
        self->result.points_in += runs[i].point_count;
    }
    uint64_t fair = BB_MAX(STRETCH_VALUES_MAX / self->column_count, (uint32_t)BB_BLOCK_ROWS_MAX);
    uint64_t limit = BB_MIN(BB_MIN(fair, (uint64_t)BB_RUN_ROWS_MAX), rows);
    self->row_limit = (uint32_t)limit;
    self->presence_words = (self->row_limit + 63) / 64;
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        source->times = bb_alloc(BB_BLOCK_ROWS_MAX * sizeof *source->times);
        source->row_map_capacity = BB_MIN(self->row_limit, runs[i].row_count);
        source->row_map = bb_alloc(source->row_map_capacity * sizeof *source->row_map);
    }
}

static void s_open_stretch(s_merge_t *self)
{
    size_t cells = (size_t)self->row_limit * self->column_count;
    self->times = bb_alloc(self->row_limit * sizeof *self->times);
    self->values = bb_alloc(cells * sizeof *self->values);
    self->presence = bb_alloc((size_t)self->presence_words * self->column_count * 8);
    self->occupied = bb_alloc((size_t)self->presence_words * 8);
    self->columns = bb_alloc(self->column_count * sizeof *self->columns);
    self->top_ranks = NULL;
    if (self->revision_count > 1) {
        self->top_ranks = bb_alloc(self->row_limit * sizeof *self->top_ranks);
    }
    self->writer = bb_run_writer_new();
}

static void s_close(s_merge_t *self)
{
    for (uint32_t i = 0; i < self->source_count; i++) {
        free(self->sources[i].times);
        free(self->sources[i].row_map);
    }
    free(self->sources);
    free(self->revisions);
    free(self->infos);
    free(self->times);
    free(self->values);
    free(self->presence);
    free(self->occupied);
    free(self->columns);
    free(self->top_ranks);
    bb_run_writer_destroy(&self->writer);
}

// ---- 1: the rows of a stretch
// ---------------------------------------------------------------------

static bool s_is_done(const s_source_t *source)
{
    return source->row == source->run->row_count;
}

static int64_t s_head(const s_source_t *source)
{
    return source->times[source->row % BB_BLOCK_ROWS_MAX];
}

static bb_error_t s_load_times(s_source_t *source)
{
    return bb_run_block_times(source->run, source->row / BB_BLOCK_ROWS_MAX, source->times);
}

// Takes rows of the source while they are before `limit`, or at it. *full: the stretch has no room.
static bb_error_t s_take_rows(s_merge_t *self, s_source_t *source, int64_t limit, bool *full)
{
    while (!s_is_done(source) && s_head(source) <= limit) {
        int64_t time = s_head(source);
        if (self->row_count == 0 || self->times[self->row_count - 1] != time) {
            if (self->row_count == self->row_limit) {
                *full = true;
                return BB_OK;
            }
            self->times[self->row_count++] = time;
        }
        uint32_t mapped = source->row - source->stretch_begin;
        BB_ASSERT(mapped < source->row_map_capacity);
        source->row_map[mapped] = self->row_count - 1;
        source->row++;
        if (!s_is_done(source) && source->row % BB_BLOCK_ROWS_MAX == 0) {
            bb_error_t error = s_load_times(source);
            if (error != BB_OK) {
                return error;
            }
        }
    }
    return BB_OK;
}

static bb_error_t s_gather_rows(s_merge_t *self)
{
    self->row_count = 0;
    for (uint32_t i = 0; i < self->source_count; i++) {
        self->sources[i].stretch_begin = self->sources[i].row;
    }
    bool full = false;
    while (!full) {
        // The source with the earliest row goes on until the second earliest begins, so runs that
        // do not overlap cost nothing per row for being many.
        s_source_t *earliest = NULL;
        int64_t second = INT64_MAX;
        for (uint32_t i = 0; i < self->source_count; i++) {
            s_source_t *source = &self->sources[i];
            if (s_is_done(source)) {
                continue;
            }
            if (!earliest || s_head(source) < s_head(earliest)) {
                second = earliest ? s_head(earliest) : INT64_MAX;
                earliest = source;
            } else {
                second = BB_MIN(second, s_head(source));
            }
        }
        if (!earliest) {
            return BB_OK;
        }
        bb_error_t error = s_take_rows(self, earliest, second, &full);
        if (error != BB_OK) {
            return error;
        }
    }
    return BB_OK;
}

// ---- 2 and 3: values
// ----------------------------------------------------------------------------------

// One block of one column of one source, as far as it lies in the stretch.
typedef struct {
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    uint32_t begin, limit; // rows of the block
    const uint32_t *map;   // [row - begin] -> row of the stretch
} s_piece_t;

static bb_error_t s_read_piece(const s_source_t *source, uint32_t column, uint32_t block,
                               s_piece_t *piece)
{
    uint32_t first_row = block * BB_BLOCK_ROWS_MAX;
    uint32_t begin_row = BB_MAX(first_row, source->stretch_begin);
    uint32_t limit_row = BB_MIN(first_row + bb_run_block_rows(source->run, block), source->row);
    piece->begin = begin_row - first_row;
    piece->limit = limit_row - first_row;
    piece->map = source->row_map + (begin_row - source->stretch_begin);
    return bb_run_block_values(source->run, column, block, piece->values, piece->presence,
                               &piece->all_present);
}

static bool s_piece_has(const s_piece_t *piece, uint32_t row)
{
    return piece->all_present || (piece->presence[row / 64] >> (row % 64) & 1);
}

static void s_raise_ranks(s_merge_t *self, uint32_t rank, const s_piece_t *piece)
{
    for (uint32_t row = piece->begin; row < piece->limit; row++) {
        uint32_t *top = &self->top_ranks[piece->map[row - piece->begin]];
        if (s_piece_has(piece, row) && *top < rank) {
            *top = rank;
        }
    }
}

static void s_fill(s_merge_t *self, uint32_t column, uint32_t rank, const s_piece_t *piece)
{
    bb_type_t type = self->infos[column].type;
    uint64_t *values = self->values + (size_t)column * self->row_limit;
    uint64_t *presence = self->presence + (size_t)column * self->presence_words;
    for (uint32_t row = piece->begin; row < piece->limit; row++) {
        if (!s_piece_has(piece, row)) {
            continue;
        }
        uint32_t at = piece->map[row - piece->begin];
        uint64_t bits = piece->values[row];
        if (self->top_ranks && self->top_ranks[at] > rank) {
            self->result.superseded_count++;
            continue;
        }
        uint64_t mask = UINT64_C(1) << (at % 64);
        if (!(presence[at / 64] & mask)) {
            presence[at / 64] |= mask;
            values[at] = bits;
            continue;
        }
        int order =
            bb_value_compare(0, (bb_value_t){type, bits}, 0, (bb_value_t){type, values[at]});
        self->result.duplicate_count += order == 0;
        self->result.conflict_count += order != 0;
        if (order > 0) {
            values[at] = bits;
        }
    }
}

typedef enum { VISIT_RANKS, VISIT_VALUES } s_visit_t;

// The column of a run with that metric and type, or UINT32_MAX.
static uint32_t s_find_column(const bb_run_t *run, const bb_run_column_info_t *info)
{
    for (uint32_t at = bb_run_find(run, info->metric); at < run->column_count; at++) {
        bb_run_column_info_t found = bb_run_column(run, at);
        int order = s_compare_info(&found, info);
        if (order >= 0) {
            return order == 0 ? at : UINT32_MAX;
        }
    }
    return UINT32_MAX;
}

// Calls s_raise_ranks or s_fill for each block of that column that lies in the stretch.
static bb_error_t s_visit_source(s_merge_t *self, const s_source_t *source, uint32_t column,
                                 s_visit_t visit)
{
    uint32_t at = s_find_column(source->run, &self->infos[column]);
    if (at == UINT32_MAX || source->row == source->stretch_begin) {
        return BB_OK;
    }
    uint32_t last_block = (source->row - 1) / BB_BLOCK_ROWS_MAX;
    for (uint32_t block = source->stretch_begin / BB_BLOCK_ROWS_MAX; block <= last_block; block++) {
        s_piece_t piece;
        bb_error_t error = s_read_piece(source, at, block, &piece);
        if (error != BB_OK) {
            return error;
        }
        if (visit == VISIT_RANKS) {
            s_raise_ranks(self, source->rank, &piece);
        } else {
            s_fill(self, column, source->rank, &piece);
        }
    }
    return BB_OK;
}

// The highest revision of the column's metric, of any type, at each row.
static bb_error_t s_rank_metric(s_merge_t *self, uint32_t column)
{
    memset(self->top_ranks, 0, self->row_count * sizeof *self->top_ranks);
    uint32_t metric = self->infos[column].metric;
    for (uint32_t other = 0; other < self->column_count; other++) {
        if (self->infos[other].metric != metric) {
            continue;
        }
        for (uint32_t i = 0; i < self->source_count; i++) {
            bb_error_t error = s_visit_source(self, &self->sources[i], other, VISIT_RANKS);
            if (error != BB_OK) {
                return error;
            }
        }
    }
    return BB_OK;
}

static bb_error_t s_fill_column(s_merge_t *self, uint32_t column, uint32_t rank)
{
    if (self->top_ranks &&
        (column == 0 || self->infos[column].metric != self->infos[column - 1].metric)) {
        bb_error_t error = s_rank_metric(self, column);
        if (error != BB_OK) {
            return error;
        }
    }
    for (uint32_t i = 0; i < self->source_count; i++) {
        if (self->sources[i].rank != rank) {
            continue;
        }
        bb_error_t error = s_visit_source(self, &self->sources[i], column, VISIT_VALUES);
        if (error != BB_OK) {
            return error;
        }
    }
    return BB_OK;
}

static uint64_t s_count_bits(const uint64_t *words, uint32_t count)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        bits += (uint64_t)__builtin_popcountll(words[i]);
    }
    return bits;
}

// Moves the occupied rows together: of the times copied to `times_out`, of the columns in place.
static void s_compact(s_merge_t *self, int64_t *times_out)
{
    uint32_t kept = 0;
    for (uint32_t row = 0; row < self->row_count; row++) {
        if (!(self->occupied[row / 64] >> (row % 64) & 1)) {
            continue;
        }
        times_out[kept] = self->times[row];
        for (uint32_t column = 0; kept < row && column < self->column_count; column++) {
            uint64_t *values = self->values + (size_t)column * self->row_limit;
            uint64_t *presence = self->presence + (size_t)column * self->presence_words;
            uint64_t bit = presence[row / 64] >> (row % 64) & 1;
            values[kept] = values[row];
            presence[kept / 64] &= ~(UINT64_C(1) << (kept % 64));
            presence[kept / 64] |= bit << (kept % 64);
        }
        kept++;
    }
}

// Columns that have no point in this stretch and revision are left out.
static uint32_t s_select_columns(s_merge_t *self, uint32_t rows)
{
    uint32_t count = 0;
    for (uint32_t column = 0; column < self->column_count; column++) {
        const uint64_t *presence = self->presence + (size_t)column * self->presence_words;
        uint64_t present = 0;
        for (uint32_t word = 0; word < rows / 64; word++) {
            present += (uint64_t)__builtin_popcountll(presence[word]);
        }
        if (rows % 64 != 0) {
            uint64_t mask = (UINT64_C(1) << (rows % 64)) - 1;
            present += (uint64_t)__builtin_popcountll(presence[rows / 64] & mask);
        }
        if (present == 0) {
            continue;
        }
        self->columns[count++] = (bb_run_column_t){
            .metric = self->infos[column].metric,
            .type = self->infos[column].type,
            .values = self->values + (size_t)column * self->row_limit,
            .presence = present == rows ? NULL : presence,
        };
        self->result.points_out += present;
    }
    return count;
}

static bb_error_t s_emit_revision(s_merge_t *self, uint32_t rank)
{
    size_t words = (size_t)self->presence_words * self->column_count;
    memset(self->presence, 0, words * 8);
    memset(self->occupied, 0, (size_t)self->presence_words * 8);
    for (uint32_t column = 0; column < self->column_count; column++) {
        bb_error_t error = s_fill_column(self, column, rank);
        if (error != BB_OK) {
            return error;
        }
        for (uint32_t word = 0; word < self->presence_words; word++) {
            self->occupied[word] |= self->presence[(size_t)column * self->presence_words + word];
        }
    }
    uint32_t rows = (uint32_t)s_count_bits(self->occupied, self->presence_words);
    if (rows == 0) {
        return BB_OK;
    }
    int64_t *times = self->times;
    if (rows < self->row_count) {
        // The times of the stretch are needed again by the next revision.
        times = bb_alloc(rows * sizeof *times);
        s_compact(self, times);
    }
    bb_run_input_t input = {
        .revision = self->revisions[rank],
        .row_count = rows,
        .times_wall_ns = times,
        .column_count = s_select_columns(self, rows),
        .columns = self->columns,
    };
    bb_slice_t encoded = bb_run_writer_encode(self->writer, &input);
    self->result.runs_out++;
    bb_error_t error = self->emit(self->context, input.revision, encoded);
    if (times != self->times) {
        free(times);
    }
    return error;
}

static bb_error_t s_run(s_merge_t *self)
{
    for (uint32_t i = 0; i < self->source_count; i++) {
        bb_error_t error = s_load_times(&self->sources[i]);
        if (error != BB_OK) {
            return error;
        }
    }
    for (;;) {
        bb_error_t error = s_gather_rows(self);
        if (error != BB_OK || self->row_count == 0) {
            return error;
        }
        for (uint32_t rank = 0; rank < self->revision_count; rank++) {
            error = s_emit_revision(self, rank);
            if (error != BB_OK) {
                return error;
            }
        }
    }
}

bb_error_t bb_run_merge(const bb_run_t *runs, uint32_t run_count, bb_run_emit_fn emit,
                        void *context, bb_run_merge_result_t *result)
{
    BB_ASSERT(run_count >= 1);
    BB_ASSERT(emit);
    s_merge_t merge = {.source_count = run_count, .emit = emit, .context = context};
    s_find_revisions(&merge, runs);
    s_find_columns(&merge, runs);
    s_open_sources(&merge, runs);
    s_open_stretch(&merge);
    bb_error_t error = s_run(&merge);
    if (result) {
        *result = merge.result;
    }
    s_close(&merge);
    return error;
}

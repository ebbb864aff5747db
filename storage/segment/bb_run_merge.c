// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_run_merge.h"

#include <stdlib.h>
#include <string.h>

#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_run_writer.h"

// The blocks of all runs, in the order of their times, fall into clusters: blocks that overlap,
// directly or through others. For each revision, ascending, and each cluster:
//
//   one block     copied as it is, or, if it is short or of another shape, decoded into the rows
//   that
//                 wait to be encoded
//   several       merged into those rows, stretch by stretch:
//     1  the times of all their runs, merged, give the rows of the stretch; each run remembers at
//        which row of the stretch each of its own rows is
//     2  with several revisions: per metric, the highest revision at each row
//     3  each column is filled from the runs of the revision at hand, skipping rows at which the
//        metric has a higher one; rows that stay empty are dropped
//
// A stretch has as many rows as keep the columns within this many values.
#define STRETCH_VALUES_MAX (4u << 20)
// Blocks of fewer rows are joined with neighbours that are short, too. Between longer ones that are
// copied they stay, if they have so many rows: encoding all that follows anew would cost far more
// than the head of one more block.
#define SHORT_ROWS  (BB_BLOCK_ROWS_MAX / 2)
#define SINGLE_ROWS (BB_BLOCK_ROWS_MAX / 16)

typedef struct {
    const bb_run_t *run;
    uint32_t rank;     // of its revision among the distinct revisions, ascending
    uint32_t *columns; // position of each of the merged columns in the run; UINT32_MAX = lacks
    bool can_be_copied;
} s_input_t;

// One block of one input.
typedef struct {
    uint32_t input, block;
    int64_t first_wall_ns, last_wall_ns;
} s_span_t;

// The blocks of one input in a cluster and how far they have been read.
typedef struct {
    const s_input_t *input;
    uint32_t block, row; // next row
    uint32_t rows;       // of that block
    uint32_t block_limit;
    uint32_t begin_block, begin_row; // first of this stretch
    int64_t *times;                  // of `block`
    uint32_t *row_map;               // row of the stretch, for each row since the first of it
    uint32_t mapped, row_map_capacity;
} s_source_t;

// Rows of all merged columns; row_capacity is a multiple of 64. Bits of presence behind the last
// row are zero, in the whole array, so that it can be shared out to another number of columns.
typedef struct {
    uint32_t row_count, row_capacity;
    size_t cell_capacity; // of `values`; a 64th of it are words of `presence`
    uint32_t time_capacity;
    int64_t *times;
    uint64_t *values;   // column after column, row_capacity each
    uint64_t *presence; // column after column, row_capacity / 64 words each
} s_rows_t;

struct bb_run_merger {
    // Kept between merges.
    bb_run_writer_t *writer;
    s_source_t *sources; // of the cluster at hand
    uint32_t source_capacity;
    s_rows_t stretch;
    s_rows_t waiting;      // to be encoded
    uint32_t *top_ranks;   // per row: rank of the highest revision of one metric
    bb_text_table_t texts; // the union
    uint32_t rows_limit;
    bb_run_emit_rows_fn emit_rows;

    // Of one merge.
    s_input_t *inputs;
    uint32_t input_count;
    uint64_t *revisions; // distinct, ascending
    uint32_t revision_count;
    bb_run_column_info_t *infos; // the union, sorted by (metric, type)
    uint32_t column_count;
    s_span_t *spans; // by first time
    size_t span_count;

    uint32_t source_count;
    bb_run_column_t *columns;

    uint32_t rank; // of the revision at hand
    bool is_begun; // a run of it
    bb_run_emit_fn emit;
    void *context;
    bb_run_merge_result_t result;
};
typedef struct bb_run_merger s_merge_t;

// ---- set-up ----------------------------------------------------------------------------------
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

static int s_compare_span(const void *a, const void *b)
{
    const s_span_t *left = a;
    const s_span_t *right = b;
    if (left->first_wall_ns != right->first_wall_ns) {
        return left->first_wall_ns < right->first_wall_ns ? -1 : 1;
    }
    return (left->input > right->input) - (left->input < right->input);
}

static void s_find_revisions(s_merge_t *self, const bb_run_t *runs)
{
    self->revisions = bb_alloc(self->input_count * sizeof *self->revisions);
    for (uint32_t i = 0; i < self->input_count; i++) {
        self->revisions[i] = runs[i].revision;
    }
    qsort(self->revisions, self->input_count, sizeof *self->revisions, s_compare_u64);
    for (uint32_t i = 0; i < self->input_count; i++) {
        if (i == 0 || self->revisions[i] != self->revisions[self->revision_count - 1]) {
            self->revisions[self->revision_count++] = self->revisions[i];
        }
    }
}

static void s_find_columns(s_merge_t *self, const bb_run_t *runs)
{
    size_t total = 0;
    for (uint32_t i = 0; i < self->input_count; i++) {
        total += runs[i].column_count;
    }
    self->infos = bb_alloc(total * sizeof *self->infos);
    size_t count = 0;
    for (uint32_t i = 0; i < self->input_count; i++) {
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

static void s_find_texts(s_merge_t *self, const bb_run_t *runs)
{
    bb_text_table_clear(&self->texts);
    for (uint32_t i = 0; i < self->input_count; i++) {
        for (uint32_t text = 0; text < runs[i].text_count; text++) {
            bb_text_table_add(&self->texts, bb_run_text(&runs[i], text));
        }
    }
    bb_text_table_sort(&self->texts);
}

static void s_open_inputs(s_merge_t *self, const bb_run_t *runs)
{
    self->inputs = bb_alloc_zero(self->input_count, sizeof *self->inputs);
    for (uint32_t i = 0; i < self->input_count; i++) {
        s_input_t *input = &self->inputs[i];
        input->run = &runs[i];
        while (self->revisions[input->rank] != runs[i].revision) {
            input->rank++;
        }
        input->columns = bb_alloc(self->column_count * sizeof *input->columns);
        uint32_t at = 0;
        for (uint32_t column = 0; column < self->column_count; column++) {
            bb_run_column_info_t info = {0};
            if (at < runs[i].column_count) {
                info = bb_run_column(&runs[i], at);
            }
            bool has =
                at < runs[i].column_count && s_compare_info(&info, &self->infos[column]) == 0;
            input->columns[column] = has ? at++ : UINT32_MAX;
        }
        input->can_be_copied = runs[i].column_count == self->column_count &&
                               runs[i].text_count == self->texts.sorted_count &&
                               bb_run_has_stats(&runs[i]);
        self->result.points_in += runs[i].point_count;
        self->span_count += runs[i].block_count;
    }
}

static void s_list_spans(s_merge_t *self)
{
    self->spans = bb_alloc(self->span_count * sizeof *self->spans);
    size_t count = 0;
    for (uint32_t i = 0; i < self->input_count; i++) {
        const bb_run_t *run = self->inputs[i].run;
        for (uint32_t block = 0; block < run->block_count; block++) {
            s_span_t *span = &self->spans[count++];
            *span = (s_span_t){.input = i, .block = block};
            bb_run_block_range(run, block, &span->first_wall_ns, &span->last_wall_ns);
        }
    }
    qsort(self->spans, self->span_count, sizeof *self->spans, s_compare_span);
}

static void s_close(s_merge_t *self)
{
    for (uint32_t i = 0; i < self->input_count; i++) {
        free(self->inputs[i].columns);
    }
    free(self->inputs);
    free(self->revisions);
    free(self->infos);
    free(self->spans);
    free(self->columns);
}

// ---- rows ------------------------------------------------------------------------------------
static uint64_t *s_values(const s_rows_t *rows, uint32_t column)
{
    return rows->values + (size_t)column * rows->row_capacity;
}

static uint64_t *s_presence(const s_rows_t *rows, uint32_t column)
{
    return rows->presence + (size_t)column * (rows->row_capacity / 64);
}

static void s_rows_free(s_rows_t *rows)
{
    free(rows->times);
    free(rows->values);
    free(rows->presence);
}

// Shares the memory out to so many columns; there are no rows.
static void s_rows_share(s_rows_t *rows, uint32_t column_count)
{
    BB_ASSERT(rows->row_count == 0);
    size_t capacity = rows->cell_capacity / column_count / 64 * 64;
    rows->row_capacity = (uint32_t)BB_MIN(capacity, (size_t)rows->time_capacity / 64 * 64);
}

// Makes room for `row_count` rows in all; what was there stays.
static void s_rows_reserve(s_rows_t *rows, uint32_t column_count, uint32_t row_count)
{
    if (row_count <= rows->row_capacity) {
        return;
    }
    s_rows_t wider = {.row_count = rows->row_count, .row_capacity = (row_count + 63) / 64 * 64};
    wider.cell_capacity = (size_t)wider.row_capacity * column_count;
    wider.time_capacity = wider.row_capacity;
    wider.times = bb_alloc(wider.time_capacity * sizeof *wider.times);
    wider.values = bb_alloc(wider.cell_capacity * 8);
    wider.presence = bb_alloc_zero(wider.cell_capacity / 64, 8);
    if (rows->row_count > 0) {
        memcpy(wider.times, rows->times, rows->row_count * sizeof *rows->times);
    }
    for (uint32_t i = 0; rows->row_count > 0 && i < column_count; i++) {
        memcpy(s_values(&wider, i), s_values(rows, i), (size_t)rows->row_count * 8);
        memcpy(s_presence(&wider, i), s_presence(rows, i), (size_t)(rows->row_count + 63) / 64 * 8);
    }
    s_rows_free(rows);
    *rows = wider;
}

static void s_rows_clear(s_rows_t *rows, uint32_t column_count)
{
    for (uint32_t i = 0; rows->row_count > 0 && i < column_count; i++) {
        memset(s_presence(rows, i), 0, (size_t)(rows->row_count + 63) / 64 * 8);
    }
    rows->row_count = 0;
}

static void s_set_bits(uint64_t *bits, uint32_t first, uint32_t count)
{
    for (uint32_t row = first; row < first + count;) {
        uint32_t here = BB_MIN(64 - row % 64, first + count - row);
        uint64_t mask = here == 64 ? UINT64_MAX : (UINT64_C(1) << here) - 1;
        bits[row / 64] |= mask << row % 64;
        row += here;
    }
}

// Drops the first rows.
static void s_rows_drop(s_rows_t *rows, uint32_t column_count, uint32_t dropped)
{
    uint32_t left = rows->row_count - dropped;
    memmove(rows->times, rows->times + dropped, left * sizeof *rows->times);
    for (uint32_t i = 0; i < column_count; i++) {
        uint64_t *values = s_values(rows, i);
        uint64_t *presence = s_presence(rows, i);
        memmove(values, values + dropped, (size_t)left * 8);
        uint32_t words = (rows->row_count + 63) / 64;
        for (uint32_t word = 0; word < words; word++) {
            uint32_t from = word + dropped / 64;
            uint64_t low = from < words ? presence[from] >> dropped % 64 : 0;
            uint64_t high = dropped % 64 != 0 && from + 1 < words
                                ? presence[from + 1] << (64 - dropped % 64)
                                : 0;
            presence[word] = low | high;
        }
    }
    rows->row_count = left;
}

// ---- output ----------------------------------------------------------------------------------
static bb_error_t s_emit_run(s_merge_t *self)
{
    if (!self->is_begun) {
        return BB_OK;
    }
    self->is_begun = false;
    bb_slice_t encoded = bb_run_writer_finish(self->writer);
    self->result.runs_out++;
    return self->emit(self->context, self->revisions[self->rank], encoded);
}

// Before a block of `rows` more rows is added: begins a run if none is, or the last one is full.
static bb_error_t s_begin_block(s_merge_t *self, uint32_t rows)
{
    bool is_full = self->is_begun && (bb_run_writer_rows(self->writer) + rows > BB_RUN_ROWS_MAX ||
                                      bb_run_writer_blocks(self->writer) == BB_RUN_BLOCKS_MAX);
    bb_error_t error = is_full ? s_emit_run(self) : BB_OK;
    if (error == BB_OK && !self->is_begun) {
        bb_run_writer_begin(self->writer, self->revisions[self->rank], self->infos,
                            self->column_count, &self->texts);
        self->is_begun = true;
    }
    return error;
}

// The rows that wait, as they are.
static bb_run_input_t s_waiting(s_merge_t *self)
{
    const s_rows_t *rows = &self->waiting;
    for (uint32_t i = 0; i < self->column_count; i++) {
        self->columns[i] = (bb_run_column_t){self->infos[i].metric, self->infos[i].type,
                                             s_values(rows, i), s_presence(rows, i)};
    }
    return (bb_run_input_t){
        .revision = self->revisions[self->rank],
        .row_count = rows->row_count,
        .times_wall_ns = rows->times,
        .column_count = self->column_count,
        .columns = self->columns,
    };
}

// Encodes rows that wait while there are more than `keep_max` of them.
static bb_error_t s_write_waiting(s_merge_t *self, uint32_t keep_max)
{
    s_rows_t *rows = &self->waiting;
    uint32_t done = 0;
    bb_error_t error = BB_OK;
    bb_run_input_t input = s_waiting(self);
    while (error == BB_OK && rows->row_count - done > keep_max) {
        uint32_t count = bb_run_writer_cut(rows->times, done, rows->row_count);
        error = s_begin_block(self, count);
        if (error == BB_OK) {
            bb_run_writer_add(self->writer, &input, done, count);
            done += count;
        }
    }
    if (done > 0) {
        s_rows_drop(rows, self->column_count, done);
    }
    return error;
}

// Columns that lack in every row of what is emitted stay in the run without a value.
static bb_error_t s_end_revision(s_merge_t *self)
{
    if (self->emit_rows && self->revision_count == 1 && !self->is_begun &&
        self->waiting.row_count > 0 && self->waiting.row_count < self->rows_limit) {
        bb_run_input_t rows = s_waiting(self);
        return self->emit_rows(self->context, &rows);
    }
    bb_error_t error = s_write_waiting(self, 0);
    return error == BB_OK ? s_emit_run(self) : error;
}

// ---- one block that stands alone -------------------------------------------------------------
static bb_error_t s_decode_block(s_merge_t *self, const s_input_t *input, uint32_t block)
{
    s_rows_t *rows = &self->waiting;
    uint32_t count = bb_run_block_rows(input->run, block);
    uint32_t at = rows->row_count;
    // A block is decoded as a whole, so there is room for a full one.
    s_rows_reserve(rows, self->column_count, at + 2 * BB_BLOCK_ROWS_MAX);
    bb_error_t error = bb_run_block_times(input->run, block, rows->times + at);
    for (uint32_t i = 0; error == BB_OK && i < self->column_count; i++) {
        uint64_t presence[BB_PRESENCE_WORDS];
        bool all_present;
        if (input->columns[i] == UINT32_MAX) {
            continue;
        }
        error = bb_run_block_values(input->run, input->columns[i], block, s_values(rows, i) + at,
                                    presence, &all_present);
        if (error != BB_OK) {
            break;
        }
        uint64_t *bits = s_presence(rows, i);
        if (all_present) {
            s_set_bits(bits, at, count);
            self->result.points_out += count;
            continue;
        }
        for (uint32_t row = 0; row < count; row++) {
            uint64_t bit = presence[row / 64] >> (row % 64) & 1;
            bits[(at + row) / 64] |= bit << (at + row) % 64;
            self->result.points_out += bit;
        }
    }
    rows->row_count += count;
    return error;
}

static bb_error_t s_take_block(s_merge_t *self, const s_span_t *span)
{
    const s_input_t *input = &self->inputs[span->input];
    if (input->rank != self->rank) {
        return BB_OK;
    }
    uint32_t rows = bb_run_block_rows(input->run, span->block);
    bool has_few_waiting = self->waiting.row_count > 0 && self->waiting.row_count < SINGLE_ROWS;
    if (!input->can_be_copied || rows < SHORT_ROWS || has_few_waiting) {
        bb_error_t error = s_decode_block(self, input, span->block);
        return error == BB_OK ? s_write_waiting(self, BB_BLOCK_ROWS_MAX - 1) : error;
    }
    bb_error_t error = s_write_waiting(self, 0);
    if (error == BB_OK) {
        error = s_begin_block(self, rows);
    }
    if (error == BB_OK) {
        error = bb_run_writer_copy(self->writer, input->run, span->block);
    }
    for (uint32_t i = 0; error == BB_OK && i < self->column_count; i++) {
        bb_block_stats_t stats;
        error = bb_run_raw_block_stats(input->run, i, span->block, &stats);
        self->result.points_out += stats.count;
        self->result.copied_count += stats.count;
    }
    return error;
}

// ---- 1: the rows of a stretch ----------------------------------------------------------------
static bool s_is_done(const s_source_t *source)
{
    return source->block == source->block_limit;
}

static int64_t s_head(const s_source_t *source)
{
    return source->times[source->row];
}

static bb_error_t s_load_times(s_source_t *source)
{
    if (s_is_done(source)) {
        return BB_OK;
    }
    source->rows = bb_run_block_rows(source->input->run, source->block);
    return bb_run_block_times(source->input->run, source->block, source->times);
}

// Takes rows of the source while they are before `limit`, or at it. *full: the stretch has no room.
static bb_error_t s_take_rows(s_merge_t *self, s_source_t *source, int64_t limit, bool *full)
{
    s_rows_t *rows = &self->stretch;
    while (!s_is_done(source) && s_head(source) <= limit) {
        int64_t time = s_head(source);
        if (rows->row_count == 0 || rows->times[rows->row_count - 1] != time) {
            if (rows->row_count == rows->row_capacity) {
                *full = true;
                return BB_OK;
            }
            rows->times[rows->row_count++] = time;
        }
        BB_ASSERT(source->mapped < source->row_map_capacity);
        source->row_map[source->mapped++] = rows->row_count - 1;
        if (++source->row == source->rows) {
            source->block++;
            source->row = 0;
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
    s_rows_clear(&self->stretch, self->column_count);
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        source->begin_block = source->block;
        source->begin_row = source->row;
        source->mapped = 0;
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

// ---- 2 and 3: values -------------------------------------------------------------------------
// One block of one column of one source, as far as it lies in the stretch.
typedef struct {
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    uint32_t begin, limit; // rows of the block
    const uint32_t *map;   // [row - begin] -> row of the stretch
} s_piece_t;

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

static void s_fill(s_merge_t *self, uint32_t column, const s_piece_t *piece)
{
    bb_type_t type = self->infos[column].type;
    uint64_t *values = s_values(&self->stretch, column);
    uint64_t *presence = s_presence(&self->stretch, column);
    for (uint32_t row = piece->begin; row < piece->limit; row++) {
        if (!s_piece_has(piece, row)) {
            continue;
        }
        uint32_t at = piece->map[row - piece->begin];
        uint64_t bits = piece->values[row];
        if (self->revision_count > 1 && self->top_ranks[at] > self->rank) {
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

// Calls s_raise_ranks or s_fill for each block of that column that lies in the stretch.
static bb_error_t s_visit_source(s_merge_t *self, const s_source_t *source, uint32_t column,
                                 s_visit_t visit)
{
    const s_input_t *input = source->input;
    uint32_t at = input->columns[column];
    uint32_t seen = 0;
    for (uint32_t block = source->begin_block; at != UINT32_MAX && seen < source->mapped; block++) {
        s_piece_t piece;
        piece.begin = block == source->begin_block ? source->begin_row : 0;
        piece.limit = block == source->block ? source->row : bb_run_block_rows(input->run, block);
        piece.map = source->row_map + seen;
        seen += piece.limit - piece.begin;
        bb_error_t error = bb_run_block_values(input->run, at, block, piece.values, piece.presence,
                                               &piece.all_present);
        if (error != BB_OK) {
            return error;
        }
        if (visit == VISIT_RANKS) {
            s_raise_ranks(self, input->rank, &piece);
        } else {
            s_fill(self, column, &piece);
        }
    }
    return BB_OK;
}

// The highest revision of the column's metric, of any type, at each row.
static bb_error_t s_rank_metric(s_merge_t *self, uint32_t column)
{
    memset(self->top_ranks, 0, self->stretch.row_count * sizeof *self->top_ranks);
    uint32_t metric = self->infos[column].metric;
    for (uint32_t other = 0; other < self->column_count; other++) {
        for (uint32_t i = 0; self->infos[other].metric == metric && i < self->source_count; i++) {
            bb_error_t error = s_visit_source(self, &self->sources[i], other, VISIT_RANKS);
            if (error != BB_OK) {
                return error;
            }
        }
    }
    return BB_OK;
}

static bb_error_t s_fill_column(s_merge_t *self, uint32_t column)
{
    if (self->revision_count > 1 &&
        (column == 0 || self->infos[column].metric != self->infos[column - 1].metric)) {
        bb_error_t error = s_rank_metric(self, column);
        if (error != BB_OK) {
            return error;
        }
    }
    for (uint32_t i = 0; i < self->source_count; i++) {
        if (self->sources[i].input->rank == self->rank) {
            bb_error_t error = s_visit_source(self, &self->sources[i], column, VISIT_VALUES);
            if (error != BB_OK) {
                return error;
            }
        }
    }
    return BB_OK;
}

// Rows of the stretch that any column has go to those that wait.
static void s_keep_rows(s_merge_t *self)
{
    const s_rows_t *from = &self->stretch;
    s_rows_t *to = &self->waiting;
    s_rows_reserve(to, self->column_count, to->row_count + from->row_count);
    for (uint32_t row = 0; row < from->row_count; row++) {
        uint64_t any = 0;
        for (uint32_t i = 0; i < self->column_count; i++) {
            any |= s_presence(from, i)[row / 64] >> row % 64 & 1;
        }
        if (!any) {
            continue;
        }
        uint32_t at = to->row_count++;
        to->times[at] = from->times[row];
        for (uint32_t i = 0; i < self->column_count; i++) {
            uint64_t bit = s_presence(from, i)[row / 64] >> row % 64 & 1;
            s_values(to, i)[at] = s_values(from, i)[row];
            s_presence(to, i)[at / 64] |= bit << at % 64;
            self->result.points_out += bit;
        }
    }
}

// ---- blocks that overlap ---------------------------------------------------------------------
static void s_open_source(s_merge_t *self, const s_span_t *span)
{
    const s_input_t *input = &self->inputs[span->input];
    for (uint32_t i = 0; i < self->source_count; i++) {
        if (self->sources[i].input == input) {
            BB_ASSERT(self->sources[i].block_limit == span->block);
            self->sources[i].block_limit++;
            return;
        }
    }
    s_source_t *source = &self->sources[self->source_count++];
    source->input = input;
    source->block = span->block;
    source->row = 0;
    source->block_limit = span->block + 1;
    if (!source->times) {
        source->times = bb_alloc(BB_BLOCK_ROWS_MAX * sizeof *source->times);
    }
}

// Sources for the spans [first, limit), and room for a stretch of them. False: none of them is of
// the revision at hand.
static bool s_open_cluster(s_merge_t *self, size_t first, size_t limit)
{
    if (self->source_capacity < self->input_count) {
        self->sources = bb_realloc(self->sources, self->input_count * sizeof *self->sources);
        memset(self->sources + self->source_capacity, 0,
               (self->input_count - self->source_capacity) * sizeof *self->sources);
        self->source_capacity = self->input_count;
    }
    self->source_count = 0;
    uint64_t rows = 0;
    bool is_wanted = false;
    for (size_t i = first; i < limit; i++) {
        const s_input_t *input = &self->inputs[self->spans[i].input];
        s_open_source(self, &self->spans[i]);
        rows += bb_run_block_rows(input->run, self->spans[i].block);
        is_wanted |= input->rank == self->rank;
    }
    uint64_t fair = BB_MAX(STRETCH_VALUES_MAX / self->column_count, (uint32_t)BB_BLOCK_ROWS_MAX);
    uint32_t room = (uint32_t)BB_MIN(BB_MIN(fair, (uint64_t)BB_RUN_ROWS_MAX), rows);
    uint32_t capacity = self->stretch.row_capacity;
    s_rows_reserve(&self->stretch, self->column_count, room);
    capacity = BB_MAX(capacity, self->stretch.row_capacity);
    if (self->revision_count > 1) {
        self->top_ranks = bb_realloc(self->top_ranks, capacity * sizeof *self->top_ranks);
    }
    for (uint32_t i = 0; i < self->source_count; i++) {
        s_source_t *source = &self->sources[i];
        if (source->row_map_capacity < capacity) {
            source->row_map_capacity = capacity;
            source->row_map = bb_realloc(source->row_map, capacity * sizeof *source->row_map);
        }
    }
    return is_wanted;
}

static bb_error_t s_take_cluster(s_merge_t *self, size_t first, size_t limit)
{
    if (!s_open_cluster(self, first, limit)) {
        return BB_OK;
    }
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; error == BB_OK && i < self->source_count; i++) {
        error = s_load_times(&self->sources[i]);
    }
    while (error == BB_OK) {
        error = s_gather_rows(self);
        if (error != BB_OK || self->stretch.row_count == 0) {
            break;
        }
        for (uint32_t column = 0; error == BB_OK && column < self->column_count; column++) {
            error = s_fill_column(self, column);
        }
        if (error == BB_OK) {
            s_keep_rows(self);
            error = s_write_waiting(self, BB_BLOCK_ROWS_MAX - 1);
        }
    }
    return error;
}

static bb_error_t s_merge_revision(s_merge_t *self)
{
    bb_error_t error = BB_OK;
    size_t first = 0;
    while (error == BB_OK && first < self->span_count) {
        int64_t last_wall_ns = self->spans[first].last_wall_ns;
        size_t limit = first + 1;
        while (limit < self->span_count && self->spans[limit].first_wall_ns <= last_wall_ns) {
            last_wall_ns = BB_MAX(last_wall_ns, self->spans[limit].last_wall_ns);
            limit++;
        }
        error = limit - first == 1 ? s_take_block(self, &self->spans[first])
                                   : s_take_cluster(self, first, limit);
        first = limit;
    }
    return error == BB_OK ? s_end_revision(self) : error;
}

bb_run_merger_t *bb_run_merger_new(void)
{
    bb_run_merger_t *self = bb_alloc_zero(1, sizeof *self);
    self->writer = bb_run_writer_new();
    bb_text_table_init(&self->texts);
    return self;
}

void bb_run_merger_destroy(bb_run_merger_t **self)
{
    bb_run_merger_t *merger = *self;
    if (!merger) {
        return;
    }
    bb_run_writer_destroy(&merger->writer);
    for (uint32_t i = 0; i < merger->source_capacity; i++) {
        free(merger->sources[i].times);
        free(merger->sources[i].row_map);
    }
    free(merger->sources);
    s_rows_free(&merger->stretch);
    s_rows_free(&merger->waiting);
    free(merger->top_ranks);
    bb_text_table_free(&merger->texts);
    free(merger);
    *self = NULL;
}

void bb_run_merger_rows(bb_run_merger_t *self, uint32_t rows_limit, bb_run_emit_rows_fn emit_rows)
{
    BB_ASSERT(rows_limit <= BB_BLOCK_ROWS_MAX);
    self->rows_limit = rows_limit;
    self->emit_rows = emit_rows;
}

bb_error_t bb_run_merger_merge(bb_run_merger_t *self, const bb_run_t *runs, uint32_t run_count,
                               bb_run_emit_fn emit, void *context, bb_run_merge_result_t *result)
{
    BB_ASSERT(run_count >= 1);
    BB_ASSERT(emit);
    self->input_count = run_count;
    self->revision_count = 0;
    self->column_count = 0;
    self->span_count = 0;
    self->rank = 0;
    self->is_begun = false;
    self->emit = emit;
    self->context = context;
    self->result = (bb_run_merge_result_t){0};
    s_find_revisions(self, runs);
    s_find_columns(self, runs);
    s_find_texts(self, runs);
    s_open_inputs(self, runs);
    s_list_spans(self);
    self->columns = bb_alloc(self->column_count * sizeof *self->columns);
    s_rows_share(&self->stretch, self->column_count);
    s_rows_share(&self->waiting, self->column_count);
    bb_error_t error = BB_OK;
    while (error == BB_OK && self->rank < self->revision_count) {
        error = s_merge_revision(self);
        self->rank += error == BB_OK;
    }
    s_rows_clear(&self->stretch, self->column_count);
    s_rows_clear(&self->waiting, self->column_count); // of a merge that failed
    if (result) {
        *result = self->result;
    }
    s_close(self);
    return error;
}

bb_error_t bb_run_merge(const bb_run_t *runs, uint32_t run_count, bb_run_emit_fn emit,
                        void *context, bb_run_merge_result_t *result)
{
    bb_run_merger_t *merger = bb_run_merger_new();
    bb_error_t error = bb_run_merger_merge(merger, runs, run_count, emit, context, result);
    bb_run_merger_destroy(&merger);
    return error;
}

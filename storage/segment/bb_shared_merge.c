// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_shared_merge.h"

#include <stdlib.h>
#include <string.h>

#include "storage/segment/bb_run_reader.h"

// One block of one of the runs.
typedef struct {
    uint32_t run, block;
    int64_t first_wall_ns;
} s_span_t;

struct bb_shared_merger {
    bb_run_writer_t *writer;
    bb_text_table_t texts;
    bb_run_column_info_t *infos;
    uint32_t info_capacity;
    uint32_t *batteries;   // of the outcome
    int64_t *last_wall_ns; // of each, so far
    uint32_t *rows;        // of each in the block at hand
    uint32_t member_count, member_capacity;
    uint32_t **places;     // [run][member] -> member of the outcome
    uint32_t *place_words; // of all of them
    uint32_t run_capacity;
    s_span_t spans[BB_SHARED_BLOCKS_MAX];
    uint32_t span_count;
};

bb_shared_merger_t *bb_shared_merger_new(void)
{
    bb_shared_merger_t *self = bb_alloc_zero(1, sizeof *self);
    self->writer = bb_run_writer_new();
    bb_text_table_init(&self->texts);
    return self;
}

void bb_shared_merger_destroy(bb_shared_merger_t **self)
{
    bb_shared_merger_t *merger = *self;
    if (!merger) {
        return;
    }
    bb_run_writer_destroy(&merger->writer);
    bb_text_table_free(&merger->texts);
    free(merger->infos);
    free(merger->batteries);
    free(merger->last_wall_ns);
    free(merger->rows);
    free(merger->places);
    free(merger->place_words);
    free(merger);
    *self = NULL;
}

// ---- what is alike ---------------------------------------------------------------------------
static bool s_same_text(const bb_text_t *a, const bb_text_t *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

bool bb_shared_run_is_alike(const bb_shared_run_t *a, const bb_shared_run_t *b)
{
    const bb_run_t *left = bb_shared_run_whole(a);
    const bb_run_t *right = bb_shared_run_whole(b);
    bool is_alike = left->partition == right->partition && left->revision == right->revision &&
                    left->column_count == right->column_count &&
                    left->text_count == right->text_count;
    for (uint32_t i = 0; is_alike && i < left->column_count; i++) {
        is_alike = bb_run_raw_metric(left, i) == bb_run_raw_metric(right, i) &&
                   bb_run_raw_type(left, i) == bb_run_raw_type(right, i);
    }
    for (uint32_t i = 0; is_alike && i < left->text_count; i++) {
        is_alike = s_same_text(bb_run_text(left, i), bb_run_text(right, i));
    }
    return is_alike;
}

// ---- whose rows ------------------------------------------------------------------------------
static int s_compare_batteries(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void s_reserve(bb_shared_merger_t *self, uint32_t run_count, uint32_t members)
{
    if (self->member_capacity < members) {
        self->member_capacity = members;
        self->batteries = bb_realloc(self->batteries, members * sizeof *self->batteries);
        self->last_wall_ns = bb_realloc(self->last_wall_ns, members * sizeof *self->last_wall_ns);
        self->rows = bb_realloc(self->rows, members * sizeof *self->rows);
        self->place_words = bb_realloc(self->place_words, members * sizeof *self->place_words);
    }
    if (self->run_capacity < run_count) {
        self->run_capacity = run_count;
        self->places = bb_realloc(self->places, run_count * sizeof *self->places);
    }
}

// The union of the members, and where those of each run are in it.
static void s_join_members(bb_shared_merger_t *self, bb_shared_run_t *const *runs,
                           uint32_t run_count)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        all += bb_shared_run_whole(runs[i])->member_count;
    }
    s_reserve(self, run_count, all);
    uint32_t count = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        self->places[i] = self->place_words + count;
        for (uint32_t m = 0; m < bb_shared_run_whole(runs[i])->member_count; m++) {
            self->batteries[count++] = bb_shared_run_battery(runs[i], m);
        }
    }
    qsort(self->batteries, count, sizeof *self->batteries, s_compare_batteries);
    self->member_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || self->batteries[i] != self->batteries[self->member_count - 1]) {
            self->batteries[self->member_count++] = self->batteries[i];
        }
    }
    for (uint32_t i = 0; i < run_count; i++) {
        uint32_t at = 0;
        for (uint32_t m = 0; m < bb_shared_run_whole(runs[i])->member_count; m++) {
            while (self->batteries[at] != bb_shared_run_battery(runs[i], m)) {
                at++;
            }
            self->places[i][m] = at;
        }
    }
}

// ---- blocks ----------------------------------------------------------------------------------
static int s_compare_spans(const void *a, const void *b)
{
    const s_span_t *left = a;
    const s_span_t *right = b;
    if (left->first_wall_ns != right->first_wall_ns) {
        return left->first_wall_ns < right->first_wall_ns ? -1 : 1;
    }
    if (left->run != right->run) {
        return left->run < right->run ? -1 : 1;
    }
    return (left->block > right->block) - (left->block < right->block);
}

// Lists the blocks in the order of their times. False: there are too many, or too small ones.
static bool s_list_spans(bb_shared_merger_t *self, bb_shared_run_t *const *runs, uint32_t run_count)
{
    uint64_t rows = 0;
    uint64_t members = 0;
    self->span_count = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        const bb_run_t *run = bb_shared_run_whole(runs[i]);
        rows += run->row_count;
        members = BB_MAX(members, run->member_count);
        if (run->block_count > BB_SHARED_BLOCKS_MAX - self->span_count) {
            return false;
        }
        for (uint32_t b = 0; b < run->block_count; b++) {
            int64_t last_wall_ns;
            s_span_t *span = &self->spans[self->span_count++];
            *span = (s_span_t){.run = i, .block = b};
            bb_run_block_range(run, b, &span->first_wall_ns, &last_wall_ns);
        }
    }
    BB_ASSERT(members > 0);
    qsort(self->spans, self->span_count, sizeof *self->spans, s_compare_spans);
    return rows / members < BB_SHARED_ROWS_MAX &&
           (run_count == 1 || rows / self->span_count >= BB_SHARED_BLOCK_ROWS_MIN);
}

// The rows of each member in the block; *first and *count: the members that have any. False: the
// times of one of them do not go on behind what it has.
static bool s_take_block(bb_shared_merger_t *self, bb_shared_run_t *run, const s_span_t *span,
                         uint32_t *first, uint32_t *count)
{
    uint32_t end = 0;
    bool ascends = true;
    *first = UINT32_MAX;
    memset(self->rows, 0, self->member_count * sizeof *self->rows);
    for (uint32_t m = 0; m < bb_shared_run_whole(run)->member_count; m++) {
        bb_shared_times_t times;
        if (!bb_shared_run_times_in(run, m, span->block, &times)) {
            continue;
        }
        uint32_t at = self->places[span->run][m];
        ascends &= times.first_wall_ns > self->last_wall_ns[at];
        self->last_wall_ns[at] = times.last_wall_ns;
        self->rows[at] = times.rows;
        *first = BB_MIN(*first, at);
        end = at + 1;
    }
    *count = end - *first;
    return ascends;
}

static void s_begin(bb_shared_merger_t *self, const bb_run_t *run)
{
    if (self->info_capacity < run->column_count) {
        self->info_capacity = run->column_count;
        self->infos = bb_realloc(self->infos, self->info_capacity * sizeof *self->infos);
    }
    for (uint32_t i = 0; i < run->column_count; i++) {
        self->infos[i] = bb_run_column(run, i);
    }
    bb_text_table_clear(&self->texts);
    for (uint32_t i = 0; i < run->text_count; i++) {
        bb_text_table_add(&self->texts, bb_run_text(run, i));
    }
    bb_text_table_sort(&self->texts);
    bb_run_writer_begin(self->writer, run->revision, self->infos, run->column_count, &self->texts);
    bb_run_writer_share(self->writer, run->partition, self->batteries, self->member_count);
}

bool bb_shared_merger_merge(bb_shared_merger_t *self, bb_shared_run_t *const *runs,
                            uint32_t run_count, bb_slice_t *encoded, bb_error_t *error)
{
    BB_ASSERT(run_count >= 1);
    *error = BB_OK;
    if (!s_list_spans(self, runs, run_count)) {
        return false;
    }
    s_join_members(self, runs, run_count);
    for (uint32_t m = 0; m < self->member_count; m++) {
        self->last_wall_ns[m] = INT64_MIN;
    }
    s_begin(self, bb_shared_run_whole(runs[0]));
    for (uint32_t i = 0; i < self->span_count; i++) {
        const s_span_t *span = &self->spans[i];
        uint32_t first;
        uint32_t count;
        if (!s_take_block(self, runs[span->run], span, &first, &count)) {
            return false;
        }
        *error = bb_run_writer_copy_shared(self->writer, bb_shared_run_whole(runs[span->run]),
                                           span->block, first, count, self->rows + first);
        if (*error != BB_OK) {
            return false;
        }
    }
    *encoded = bb_run_writer_finish(self->writer);
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// bb_run_merge - many runs of one battery and window become as few as possible.
//
// Pure. At each (metric, time) only points of the highest revision stay, of whatever type; among
// points of that revision and one type the larger value stays (two different values there are a
// conflict, counted); columns of different types at one revision are both kept. So a scan of the
// output equals a scan of the input. Runs are emitted by ascending revision; of one revision in
// time order, each of at most BB_RUN_ROWS_MAX rows.
//
// A block that no other overlaps is copied byte for byte, unless it has few rows (or other columns
// or texts than the whole): such blocks are joined with their like and encoded anew. So a
// point is encoded again only while its block is short, however often its window is merged.
//
// Memory: rows of blocks that overlap, and never more than about 4 M values of them at a time (but
// at least 1,024 rows of every column), whatever the number and size of the inputs.
#ifndef BB_RUN_MERGE_H
#define BB_RUN_MERGE_H

#include "storage/segment/bb_run.h"

// `encoded` is valid during the call only. An error ends the merge and is returned by it.
typedef bb_error_t (*bb_run_emit_fn)(void *context, uint64_t revision, bb_slice_t encoded);

typedef struct {
    uint64_t points_in, points_out;
    // Points at a (metric, type, time, revision) that an earlier run had already: with the value
    // that is the largest so far, or with another. Which of three are compared depends on their
    // order.
    uint64_t duplicate_count;
    uint64_t conflict_count;
    uint64_t superseded_count; // dropped for a point of a higher revision
    uint32_t runs_out;
    uint64_t copied_count; // points of blocks that were copied
} bb_run_merge_result_t;

// Instead of a run: the rows that would be all of it. Borrowed for the call, and with it all of the
// merge that comes of this battery.
typedef bb_error_t (*bb_run_emit_rows_fn)(void *context, const bb_run_input_t *rows);

// Memory for merges, kept from one to the next. One thread.
typedef struct bb_run_merger bb_run_merger_t;
bb_run_merger_t *bb_run_merger_new(void);
void bb_run_merger_destroy(bb_run_merger_t **self);

// From now on, when the outcome is of one revision and has fewer than `rows_limit` rows, none of
// them copied, they are given to `emit_rows` in place of `emit`: whoever encodes them otherwise
// saves encoding them twice. NULL: never.
void bb_run_merger_rows(bb_run_merger_t *self, uint32_t rows_limit, bb_run_emit_rows_fn emit_rows);

// run_count >= 1; metric numbers mean the same in all runs. result may be NULL. Errors: those of
// `emit`, or BB_ERR_CORRUPT when a block of an input does not verify; what was emitted until then
// must be thrown away.
BB_MUST_CHECK bb_error_t bb_run_merger_merge(bb_run_merger_t *self, const bb_run_t *runs,
                                             uint32_t run_count, bb_run_emit_fn emit, void *context,
                                             bb_run_merge_result_t *result);

// The same with a merger of its own.
BB_MUST_CHECK bb_error_t bb_run_merge(const bb_run_t *runs, uint32_t run_count, bb_run_emit_fn emit,
                                      void *context, bb_run_merge_result_t *result);

#endif

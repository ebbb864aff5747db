// SPDX-License-Identifier: Apache-2.0
// bb_run_writer - a run from blocks, some of them encoded from rows, others copied as they are.
//
// Private to storage/segment: bb_run_writer_encode (bb_run.h) is begin, add for each block, finish.
// Merging copies the blocks that no other run overlaps. Order of calls: begin; add and copy in the
// order of times, at least one; finish.
#ifndef BB_RUN_WRITER_H
#define BB_RUN_WRITER_H

#include "storage/segment/bb_run.h"
#include "storage/segment/bb_text_table.h"

// Begins a run of these columns. `texts`: sorted, with every text that STATE columns will name,
// borrowed until _finish; NULL: there are none.
void bb_run_writer_begin(bb_run_writer_t *self, uint64_t revision,
                         const bb_run_column_info_t *columns, uint32_t column_count,
                         const bb_text_table_t *texts);

// Begins a run of the columns, revision and texts of the input.
void bb_run_writer_begin_input(bb_run_writer_t *self, const bb_run_input_t *input, bool has_stats);

// Encodes rows [row_first, row_first + row_count) of the input as one block, at most
// BB_BLOCK_ROWS_MAX. The columns of the input are those of the run.
void bb_run_writer_add(bb_run_writer_t *self, const bb_run_input_t *input, uint32_t row_first,
                       uint32_t row_count);

// After _begin: the run will be shared by these batteries of a partition, ascending, borrowed until
// _finish. It has no statistics; its blocks are added by the two functions below alone.
void bb_run_writer_share(bb_run_writer_t *self, uint32_t partition, const uint32_t *batteries,
                         uint32_t member_count);
// Like _add, of rows that belong to the members from member_first on: member_rows says how many to
// each of them.
void bb_run_writer_add_shared(bb_run_writer_t *self, const bb_run_input_t *input,
                              uint32_t row_first, uint32_t row_count, uint32_t member_first,
                              uint32_t member_count, const uint32_t *member_rows);
// Copies a block byte for byte. The run that it is of has the same columns and texts and is shared;
// `member_rows`, of the members from member_first on, says whose rows they are here.
BB_MUST_CHECK bb_error_t bb_run_writer_copy_shared(bb_run_writer_t *self, const bb_run_t *run,
                                                   uint32_t block_index, uint32_t member_first,
                                                   uint32_t member_count,
                                                   const uint32_t *member_rows);

// Copies a block byte for byte. The run has the same columns and texts, and statistics.
// BB_ERR_CORRUPT: a part of the block does not verify; nothing was added.
BB_MUST_CHECK bb_error_t bb_run_writer_copy(bb_run_writer_t *self, const bb_run_t *run,
                                            uint32_t block_index);

uint32_t bb_run_writer_rows(const bb_run_writer_t *self); // since _begin
uint32_t bb_run_writer_blocks(const bb_run_writer_t *self);

// The run, valid until the next begin.
bb_slice_t bb_run_writer_finish(bb_run_writer_t *self);

// At the rate of these rows (1 <= rows) a full block is shorter than an hour.
bool bb_run_writer_is_dense(const int64_t *times_wall_ns, uint32_t rows);

// How many rows from row_first on the next block should have: full blocks, but none across an hour
// where an hour has more rows than one block holds.
uint32_t bb_run_writer_cut(const int64_t *times_wall_ns, uint32_t row_first, uint32_t row_limit);

#endif

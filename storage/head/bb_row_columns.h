// SPDX-License-Identifier: Apache-2.0
// bb_row_columns - turns rows of a head, as they arrived, into the columns of runs.
//
// Pure. One thread; keeps its scratch memory between uses. Rows of one battery, day and revision go
// in, in any order and with any shapes; out come columns that share strictly ascending times: the
// union of the shapes' (metric, type), with a presence bit where a row lacks a column. Of several
// values of one column at one time the larger stays; different ones are counted as conflicts.
#ifndef BB_ROW_COLUMNS_H
#define BB_ROW_COLUMNS_H

#include "storage/head/bb_head.h"
#include "storage/segment/bb_run.h"

typedef struct bb_row_columns bb_row_columns_t;

bb_row_columns_t *bb_row_columns_new(void);
void bb_row_columns_destroy(bb_row_columns_t **self);

// Forgets all rows.
void bb_row_columns_clear(bb_row_columns_t *self);
// Adds `row_count` consecutive rows of a slab. The slab and the shape are borrowed until _clear.
void bb_row_columns_add(bb_row_columns_t *self, const bb_head_shape_t *shape, const uint64_t *rows,
                        uint32_t row_count);
// Call until it says false; each time `input` describes the next stretch of rows: at most
// BB_RUN_ROWS_MAX, fewer when there are many columns. It is valid until the next call.
// *conflict_count grows by the conflicts met.
bool bb_row_columns_next(bb_row_columns_t *self, uint64_t revision, bb_run_input_t *input,
                         uint64_t *conflict_count);

#endif

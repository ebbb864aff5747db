// SPDX-License-Identifier: Apache-2.0
// bb_rowset - pages of several executors in, rows in (battery, metric, time) order out.
//
// Pure; one thread. A page is a list of series; here each series becomes a chunk. Chunks of one
// series arrive in time order, because one executor at a time answers for it. Sealing sorts what
// has arrived and makes rows of it:
//
//   pages ─▶ chunks: (b2, v) (b1, v) (b1, v)' (b3, soc) ...      arrival order
//            sealed: (b1, v) (b1, v)' (b2, v) (b3, soc)          rows follow from left to right
//
// A metric that has points of two types (two coordinators accepted two types at once) gives rows of
// both, merged by time. With group_by_none the buckets of all executors are merged: sums in the
// order of `order_key`, which callers make the same for the same question.
#ifndef BB_ROWSET_H
#define BB_ROWSET_H

#include "client/busbar.h"
#include "protocol/bb_query.h"

typedef struct bb_rowset bb_rowset_t;
typedef void (*bb_rowset_free_fn)(void *memory);

bb_rowset_t *bb_rowset_new(bb_query_mode_t mode, bool group_by_none);
void bb_rowset_destroy(bb_rowset_t **self);

// Takes a decoded page and the bytes under it (freed by free_fn). `task` names who answered, for
// bb_rowset_drop. BB_ERR_MESSAGE_CORRUPT: the page does not fit the mode (nothing is taken).
BB_MUST_CHECK bb_error_t bb_rowset_add(bb_rowset_t *self, uint32_t task, uint64_t order_key,
                                       bb_page_t *page, void *memory, size_t memory_bytes,
                                       bb_rowset_free_fn free_fn);
// Forgets unsealed chunks of a task for which `must_drop` says so (NULL: all of them).
typedef bool (*bb_rowset_drop_fn)(void *context, bb_slice_t battery);
void bb_rowset_drop(bb_rowset_t *self, uint32_t task, bb_rowset_drop_fn must_drop, void *context);
void bb_rowset_clear(bb_rowset_t *self); // forgets everything, sealed or not

size_t bb_rowset_bytes(const bb_rowset_t *self);     // memory of the pages held
uint32_t bb_rowset_pending(const bb_rowset_t *self); // chunks not sealed
// Chunks before the first one of the newest metric (of the same battery): complete, when one
// executor answers for one battery.
uint32_t bb_rowset_complete(const bb_rowset_t *self);
bb_slice_t bb_rowset_newest_metric(const bb_rowset_t *self); // of the last chunk; empty = none
// Makes rows of the first `count` pending chunks. The rows before must have been read.
void bb_rowset_seal(bb_rowset_t *self, uint32_t count);

// The next row, valid until the next call; false when the sealed ones are used up.
bool bb_rowset_next(bb_rowset_t *self, busbar_row_t *row);

#endif

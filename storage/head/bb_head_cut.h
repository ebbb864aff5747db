// SPDX-License-Identifier: Apache-2.0
// bb_head_cut - a frozen head cut into the inputs of runs: window by window, battery by battery.
//
// Pure. One thread. The head must not be appended to any more, and must outlive the cut. Frames of
// one battery, window and revision become one input with strictly ascending times, or a few when
// there are very many (several inputs of one battery may overlap in time). Of several values of one
// column at one time the larger stays; different ones are counted as conflicts.
//
// Memory: 8 bytes a group, and scratch of a few MiB whatever the size of the head.
#ifndef BB_HEAD_CUT_H
#define BB_HEAD_CUT_H

#include "storage/head/bb_head.h"
#include "storage/segment/bb_run.h"

typedef struct bb_head_cut bb_head_cut_t;

typedef struct {
    bool is_quarantined;
    uint32_t day; // since 1970-01-01
} bb_head_window_t;

bb_head_cut_t *bb_head_cut_new(const bb_head_t *head);
void bb_head_cut_destroy(bb_head_cut_t **self);

// The windows that have frames: normal ones first, days ascending.
uint32_t bb_head_cut_window_count(const bb_head_cut_t *self);
bb_head_window_t bb_head_cut_window(const bb_head_cut_t *self, uint32_t index);

// Calls `emit` for each input of the window: partitions ascending, in them batteries by number, of
// one battery revisions ascending. `input` is valid during the call only. An error ends it and is
// returned; the window may be cut again. *conflict_count grows by the conflicts met.
typedef bb_error_t (*bb_head_cut_fn)(void *context, uint32_t partition, uint32_t battery,
                                     const bb_run_input_t *input);
BB_MUST_CHECK bb_error_t bb_head_cut_emit(bb_head_cut_t *self, uint32_t index, bb_head_cut_fn emit,
                                          void *context, uint64_t *conflict_count);

#endif

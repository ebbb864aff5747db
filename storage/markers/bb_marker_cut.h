// SPDX-License-Identifier: Apache-2.0
// bb_marker_cut - runs without the points that markers cover.
//
// Pure. One thread; scratch memory is kept from run to run. What comes out is a run like any other,
// with its own statistics, so whoever reads, merges or hashes it need not know of markers.
#ifndef BB_MARKER_CUT_H
#define BB_MARKER_CUT_H

#include "storage/markers/bb_markers.h"
#include "storage/segment/bb_run.h"

typedef struct bb_marker_cut bb_marker_cut_t;

bb_marker_cut_t *bb_marker_cut_new(void);
void bb_marker_cut_destroy(bb_marker_cut_t **self);

// The columns of a battery without covered points, and without columns and rows that have none
// left. NULL: nothing is left. `input` itself when nothing is covered; else valid until the next
// call.
const bb_run_input_t *bb_marker_cut_input(bb_marker_cut_t *self, bb_marker_list_t markers,
                                          const bb_run_input_t *input);

// The same of a run (or the view of one battery), decoded and encoded again. *encoded is valid
// until the next call; no bytes: nothing is left. CORRUPT: a block does not verify.
BB_MUST_CHECK bb_error_t bb_marker_cut_run(bb_marker_cut_t *self, bb_marker_list_t markers,
                                           const bb_run_t *run, bb_slice_t *encoded);

// Does cutting the run pay, or is nothing in it covered for sure?
static inline bool bb_marker_cut_is_needed(bb_marker_list_t markers, const bb_run_t *run)
{
    return markers.count > 0 &&
           bb_marker_list_hits(markers, run->revision, run->first_wall_ns, run->last_wall_ns);
}

#endif

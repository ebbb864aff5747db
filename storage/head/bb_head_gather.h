// SPDX-License-Identifier: Apache-2.0
// bb_head_gather - decodes the frames of many batteries at once, into columns.
//
// Pure. One thread; keeps its scratch memory between uses. Batches hold the frames of neighbouring
// batteries side by side, so decoding battery by battery would touch every block for a handful of
// values each time. A gather takes the rows of as many batteries as fit into its scratch, puts
// their pieces into the order of blocks by a counting sort, decodes stretches that adjoin with one
// call, and gives the values to the columns of their parts. Cost: O(pieces + values + blocks).
//
//   clear, add (until it is full), decode, look at the parts, clear, ...
#ifndef BB_HEAD_GATHER_H
#define BB_HEAD_GATHER_H

#include "storage/head/bb_head.h"

// 4 MiB of decoded words: more batteries side by side decode longer stretches, but past the cache
// giving them to their parts gets slower than that saves.
#define BB_HEAD_GATHER_CELLS (512u << 10)

typedef struct bb_head_gather bb_head_gather_t;

// Frames of one group, in the order they arrived.
typedef struct {
    const bb_head_shape_t *shape;
    const void *owner; // as given to _add
    uint32_t row_count;
    const int64_t *times_wall_ns;
    const uint64_t *values; // of metric m of the shape at values + m * row_count
    uint64_t *cells;        // the same memory: times, then values
    uint32_t row_first;     // private: rows of the parts before it
} bb_head_part_t;

// Where the next frames of a group are; cleared = at its beginning.
typedef struct {
    const bb_head_slab_t *slab;
    uint32_t piece; // of the slab
    uint32_t frame; // of the piece
    uint32_t pieces_done;
} bb_head_place_t;

bb_head_gather_t *bb_head_gather_new(void);
void bb_head_gather_destroy(bb_head_gather_t **self);
void bb_head_gather_clear(bb_head_gather_t *self);
// Only these metrics will be decoded (by their numbers, metric_count entries; others hold
// anything); NULL = all. Borrowed until it is set again.
void bb_head_gather_want(bb_head_gather_t *self, const bool *metric_is_wanted,
                         uint32_t metric_count);

// Do the rows fit beside what was added, all of them?
bool bb_head_gather_has_room(const bb_head_gather_t *self, const bb_head_rows_t *rows);
// Adds the frames from `place` on with first <= time < limit as one part, unless there are none.
// True: all of them. False: cells_max are full, and `place` says where to go on after the gather
// was decoded and cleared; one that was empty takes at least one frame. `rows` is not kept.
bool bb_head_gather_add(bb_head_gather_t *self, const bb_head_rows_t *rows, const void *owner,
                        int64_t first_wall_ns, int64_t limit_wall_ns, uint64_t cells_max,
                        bb_head_place_t *place);
// Adds the last frame that arrived.
void bb_head_gather_add_last(bb_head_gather_t *self, const bb_head_rows_t *rows, const void *owner);
// The same of a group that is frozen, or on its owner's thread, without a walk; it is the part's
// owner.
void bb_head_gather_add_newest(bb_head_gather_t *self, const bb_head_group_t *group);
void bb_head_gather_decode(bb_head_gather_t *self);
// In the order they were added. Valid until _clear.
const bb_head_part_t *bb_head_gather_parts(const bb_head_gather_t *self, uint32_t *count);
// Puts the rows of a decoded part into the order of their times, those of one time as they arrived.
// True: no time is there twice. Cost: one pass when they are in order already.
bool bb_head_gather_sort(bb_head_gather_t *self, const bb_head_part_t *part);

#endif

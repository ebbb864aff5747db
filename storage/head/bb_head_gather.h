// SPDX-License-Identifier: Apache-2.0
// bb_head_gather - decodes the frames of many batteries of a frozen head at once, into columns.
//
// Pure. One thread; keeps its scratch memory between uses. Batches hold the frames of neighbouring
// batteries side by side, so decoding battery by battery would touch every block for a handful of
// values each time. A gather takes as many groups as fit into its scratch (S_CELLS_MAX cells), puts
// their pieces into the order of blocks by a counting sort, decodes stretches that adjoin with one
// call, and scatters the values to the columns of their groups. Cost: O(pieces + values + blocks).
//
//   clear, add (until it is full), decode, look at the parts, clear, ...
#ifndef BB_HEAD_GATHER_H
#define BB_HEAD_GATHER_H

#include "storage/head/bb_head.h"

typedef struct bb_head_gather bb_head_gather_t;

// Frames of one group, in the order they arrived.
typedef struct {
    const bb_head_group_t *group;
    uint32_t row_count;
    const int64_t *times_wall_ns;
    const uint64_t *values; // of metric m of the shape at values + m * row_count
    uint64_t *cells;        // the same memory: times, then values; the owner may reorder rows
} bb_head_gather_part_t;

// Where the next frames of a group are; cleared = at its beginning.
typedef struct {
    const bb_head_slab_t *slab;
    uint32_t piece; // of the slab
    uint32_t frame; // of the piece
    uint32_t pieces_done;
} bb_head_gather_place_t;

bb_head_gather_t *bb_head_gather_new(void);
void bb_head_gather_destroy(bb_head_gather_t **self);
void bb_head_gather_clear(bb_head_gather_t *self);

// Does the group fit beside what was added?
bool bb_head_gather_has_room(const bb_head_gather_t *self, const bb_head_group_t *group);
// Adds the frames from `place` on with first <= time < limit as one part. True: all of them. False:
// the gather is full, and `place` says where to go on after it was decoded and cleared; a gather
// that was empty takes at least one frame.
bool bb_head_gather_add(bb_head_gather_t *self, const bb_head_group_t *group, int64_t first_wall_ns,
                        int64_t limit_wall_ns, bb_head_gather_place_t *place);
void bb_head_gather_decode(bb_head_gather_t *self);
// In the order they were added; those without frames are left out. Valid until _clear.
const bb_head_gather_part_t *bb_head_gather_parts(const bb_head_gather_t *self, uint32_t *count);

#endif

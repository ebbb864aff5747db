// SPDX-License-Identifier: Apache-2.0
// bb_head - one generation of recent frames in memory, by battery, in the order they arrived.
//
// Pure. The frames stay packed as they came: the columns of each shape of a batch are copied as one
// block, and a battery has a list of pieces, which say what of which block is its own. Appending so
// costs the same for one frame and for a thousand, and a point takes little more than on the wire.
// Nothing is decoded before a scan or a flush asks for it.
//
// The store's thread appends; it may publish what is there (bb_head_rows_t) to other threads, which
// read it while the owner goes on appending: blocks and pieces are never changed once written,
// counts only grow, and a published count says how far a reader may go. A generation is counted:
// the store holds one reference, each snapshot and job one more; the last one frees it, in any
// thread.
//
//   battery -> group (shape, revision, quarantined) -> slab -> slab -> slab
//                                                       spans (number of the first frame, count)
//                                                                 | pages of 256 numbers
//   block: times | packed columns of all frames of one shape in one batch
//
// Frames are numbered through the generation, each block from a multiple of 256 on, so a span of
// one frame takes 8 bytes: that is most of what a battery costs that sends one frame at a time.
// All memory comes from one arena: nothing is allocated per frame or per point.
#ifndef BB_HEAD_H
#define BB_HEAD_H

#include "protocol/bb_column.h"
#include "protocol/bb_value.h"
#include "storage/head/bb_arena.h"

typedef struct bb_head bb_head_t;

typedef struct bb_head_block bb_head_block_t;

// Numbers of frames: those of one page are of one block, or of none.
#define BB_HEAD_PAGE_BITS  8u
#define BB_HEAD_CHUNK_BITS 12u // pages of a chunk

// The exact list of metrics that a frame has, in the order of its values.
typedef struct bb_head_shape {
    uint32_t serial; // unique among all generations of a store
    uint32_t metric_count;
    const uint32_t *metrics; // numbers of the dictionary
    const uint8_t *types;
    const uint32_t *order; // order[i]: position of the i-th column by (metric, type)
    bool has_states;
    // Private.
    const bb_head_block_t *const *const *blocks; // of the generation: [chunk][page]
    uint64_t hash;
    struct bb_head_shape *next;
} bb_head_shape_t;

// Frames of one shape that came together.
struct bb_head_block {
    const bb_head_shape_t *shape;
    uint32_t index;  // 0, 1, 2... in the order of arrival
    uint32_t number; // of the first frame
    uint32_t frame_count;
    const int64_t *times_wall_ns; // frame_count
    const bb_column_t *columns;   // metric_count, in the order of the shape
    const uint64_t *texts;        // addresses of bb_text_t that STATE values are indexes of
};

typedef struct {
    const bb_head_block_t *block;
    uint32_t first, count; // frames of the block; count >= 1
} bb_head_piece_t;

// The same, as it is kept: the number of the first frame.
typedef struct {
    uint32_t number, count;
} bb_head_span_t;

typedef struct bb_head_slab {
    struct bb_head_slab *next; // set before a count that reaches beyond this slab is published
    uint32_t capacity;         // spans
    uint32_t zero;
    bb_head_span_t spans[];
} bb_head_slab_t;

static inline bb_head_piece_t bb_head_piece(const bb_head_shape_t *shape, bb_head_span_t span)
{
    uint32_t page = span.number >> BB_HEAD_PAGE_BITS;
    const bb_head_block_t *block =
        shape->blocks[page >> BB_HEAD_CHUNK_BITS][page & ((1u << BB_HEAD_CHUNK_BITS) - 1)];
    return (bb_head_piece_t){block, span.number - block->number, span.count};
}

// A group as it was when it was published.
typedef struct {
    const bb_head_shape_t *shape;
    uint64_t revision;
    int64_t first_wall_ns, last_wall_ns; // smallest and largest time
    const bb_head_slab_t *slabs;
    uint32_t row_count, piece_count;
    bool is_quarantined;
    bool is_ascending; // each time is larger than the one before
} bb_head_rows_t;

// Frames of one battery, shape, revision and verdict. Read by others only in a frozen generation or
// as a published copy.
typedef struct bb_head_group {
    bb_head_rows_t rows;
    uint32_t battery;
    uint16_t partition;
    // Private to the owner.
    uint16_t tail_spans;
    bb_head_slab_t *tail;
    struct bb_head_group *next_of_battery;
    struct bb_head_group *next_of_all;
} bb_head_group_t;
static_assert(sizeof(bb_head_group_t) <= 88, "a million batteries must fit");

// With one reference. `shape_serials` counts shapes over all generations of a store. `pool`: where
// memory comes from and goes to, retained; NULL = the system.
bb_head_t *bb_head_new(uint32_t *shape_serials, bb_arena_pool_t *pool);
void bb_head_retain(bb_head_t *self);   // any thread that holds a reference
void bb_head_release(bb_head_t **self); // any thread; frees with the last reference

// ---- owner -----------------------------------------------------------------------------------
// Finds or adds. O(metric_count).
const bb_head_shape_t *bb_head_shape(bb_head_t *self, const uint32_t *metrics, const uint8_t *types,
                                     uint32_t metric_count);
// The text, kept once per generation. Valid as long as the generation.
const bb_text_t *bb_head_text(bb_head_t *self, bb_slice_t text);
// Copies the columns, which must have `frame_count` words each; times may be filled in by the
// caller until the block is first appended. `texts`: what STATE words are indexes of (copied), or
// NULL.
const bb_head_block_t *bb_head_block(bb_head_t *self, const bb_head_shape_t *shape,
                                     uint32_t frame_count, const bb_column_t *columns,
                                     const uint64_t *texts, uint32_t text_count,
                                     int64_t **times_wall_ns);
// Finds or adds. Cost: how many groups of the battery were used since this one.
bb_head_group_t *bb_head_group(bb_head_t *self, uint32_t battery, uint32_t partition,
                               const bb_head_shape_t *shape, uint64_t revision,
                               bool is_quarantined);
// Appends frames [first, first + count) of the block, count >= 1, to a group of its shape.
void bb_head_append(bb_head_t *self, bb_head_group_t *group, const bb_head_block_t *block,
                    uint32_t first, uint32_t count);

// Most numbers of frames are used: freeze it soon.
bool bb_head_is_full(const bb_head_t *self);
// First group of a battery, or NULL; go on with next_of_battery.
const bb_head_group_t *bb_head_first_of(const bb_head_t *self, uint32_t battery);
// Hints that bb_head_group and bb_head_append are about to be called for the battery. Stages 0, 1
// and 2 in this order, each some time after the one before; any number is allowed.
#define BB_HEAD_PREFETCH_STAGES 3u
void bb_head_prefetch(const bb_head_t *self, uint32_t battery, uint32_t stage);

// ---- everyone --------------------------------------------------------------------------------
// Decodes values of one metric (its position in the shape): frames [first, first + count) of the
// piece. STATE values are addresses of bb_text_t.
void bb_head_values(const bb_head_piece_t *piece, uint32_t metric, uint32_t first, uint32_t count,
                    uint64_t *out);

// ---- everyone, once frozen -------------------------------------------------------------------
const bb_head_group_t *bb_head_first(const bb_head_t *self); // go on with next_of_all
uint64_t bb_head_bytes(const bb_head_t *self);
uint64_t bb_head_points(const bb_head_t *self);
uint64_t bb_head_quarantined_points(const bb_head_t *self); // of bb_head_points
uint64_t bb_head_group_count(const bb_head_t *self);
uint32_t bb_head_block_count(const bb_head_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_batch - many frames of many batteries in one buffer, their values packed in columns.
//
// Pure. A batch travels unchanged from the client's builder through the coordinator's journal to
// the replicas' journals; nobody re-encodes it on the way unless a part must be taken out. Values
// stay packed until somebody wants them.
//
//   parts      one per partition, ascending          (the "chunks" once they have a dot)
//    └ runs    consecutive frames of one battery with one shape; grouped by part
//       └ frames   times[i], and a place in the columns of their shape
//   batteries  id and attributes, referred to by index
//   shapes     metric names and types, and a column per metric: the values of all frames of that
//              shape in the order of the batch
//   states     texts that STATE values refer to by index
//
// A shape is the exact set of metrics that a frame has, so there are no holes in columns. Bytes:
// a FlatBuffer (schemas/batch.fbs), version 2, whose vector `columns` holds, one behind the other
// (protocol/bb_column.h),
//   partition, run count                 of each part
//   battery, shape, frame count          of each run
//   length of the id                     of each battery; the ids themselves lie in battery_ids
//   time                                 of each frame
//   values                               shape by shape, metric by metric
// and attributes only of the batteries that have some. A frame of 12 metrics takes about 21 bytes
// and a run 4; ids cost once a batch.
#ifndef BB_BATCH_H
#define BB_BATCH_H

#include "protocol/bb_column.h"
#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_value.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_BATCH_VERSION 2

typedef struct {
    uint32_t partition;
    uint32_t run_first;   // index into runs
    uint32_t run_count;   // >= 1
    uint32_t frame_count; // of all its runs
} bb_batch_part_t;

typedef struct {
    uint32_t battery;     // index into batteries
    uint32_t shape;       // index into shapes
    uint32_t frame_count; // >= 1
    uint32_t shape_first; // index of its first frame among all frames of its shape
} bb_batch_run_t;

typedef struct {
    bb_slice_t key;
    bb_slice_t value;
} bb_attribute_t;

// One shape, decoded once when the batch is opened. Metrics are sorted by name and unique.
typedef struct {
    uint32_t metric_count;
    const bb_slice_t *names; // UTF-8, [1, 64] bytes
    const uint8_t *types;    // bb_type_t
    bool has_states;
    bool has_bools;
    uint32_t frame_count;       // in the whole batch
    const bb_column_t *columns; // metric_count, each of frame_count values
} bb_batch_shape_t;

typedef struct {
    bb_slice_t id;
    uint32_t attribute_count;
    const bb_attribute_t *attributes;
} bb_batch_battery_t;

// A verified batch. All pointers are borrowed: texts and packed columns from the encoded bytes, the
// rest from the memory that bb_batch_open allocated. Valid until bb_batch_close or the bytes are
// freed.
typedef struct {
    bb_slice_t encoded;
    uint64_t revision;   // of every point in the batch, the generation included (bb_value.h); 0 for
                         // telemetry
    uint32_t generation; // 0: points. Another: no points but markers of it (bb_marker.h)
    uint32_t part_count, run_count, frame_count, battery_count, shape_count, state_count;
    uint64_t value_count; // points, at most BB_BATCH_VALUES_MAX
    const bb_batch_part_t *parts;
    const bb_batch_run_t *runs;
    const int64_t *times_wall_ns; // frame_count
    const bb_batch_battery_t *batteries;
    const bb_batch_shape_t *shapes;
    const bb_slice_t *states;
    size_t memory_bytes; // of the owned tables; for who bounds what is open at a time
    void *memory;        // owned tables
} bb_batch_t;

// Verifies everything that can be verified without knowing the cluster: the FlatBuffer, every
// column, all limits, indexes, UTF-8 names, times, BOOL and STATE values, sums of counts, order of
// parts, that every shape has frames, and that tables do not share bytes. Columns of numbers are
// not unpacked. `encoded.data` must be 8-byte aligned and outlive the batch. One allocation; memory
// and time are O(encoded bytes + frames), frames are at most BB_BATCH_VALUES_MAX. Errors:
// BB_ERR_MESSAGE_CORRUPT (also markers that are none), BB_ERR_MESSAGE_VERSION, BB_ERR_LIMIT (more
// than BB_BATCH_VALUES_MAX values) and the data errors 1-9, each with a sentence in `fault`;
// nothing to close then.
BB_MUST_CHECK bb_error_t bb_batch_open(bb_batch_t *self, bb_slice_t encoded, bb_fault_t *fault);
void bb_batch_close(bb_batch_t *self);

// Walks the runs of a batch in order; each run's first frame comes with it.
typedef struct {
    const bb_batch_part_t *part;
    const bb_batch_run_t *run;
    uint32_t part_index;
    uint32_t run_index;
    uint32_t frame_first; // index into times_wall_ns
    uint32_t shape_first; // index into the columns of its shape
} bb_batch_cursor_t;

void bb_batch_cursor_start(const bb_batch_t *batch, bb_batch_cursor_t *cursor);
// Moves to the next run; false at the end. Call once before the first run.
bool bb_batch_cursor_next(const bb_batch_t *batch, bb_batch_cursor_t *cursor);

// Values of one metric of the frames [first, first + count) of a shape; STATE values are indexes
// into states. About 1 ns a value.
void bb_batch_unpack(const bb_batch_t *batch, uint32_t shape, uint32_t metric, uint32_t first,
                     uint32_t count, uint64_t *out);
// One value: of a frame of the cursor's run (0 = its first). Not for loops over many.
static inline uint64_t bb_batch_value(const bb_batch_t *batch, const bb_batch_cursor_t *cursor,
                                      uint32_t frame, uint32_t metric)
{
    uint64_t value;
    bb_batch_unpack(batch, cursor->run->shape, metric, cursor->shape_first + frame, 1, &value);
    return value;
}
// Rows of the frames [first, first + count) of the cursor's run: `out` receives count x
// metric_count values, frame after frame.
void bb_batch_unpack_rows(const bb_batch_t *batch, const bb_batch_cursor_t *cursor, uint32_t first,
                          uint32_t count, uint64_t *out);

// Encodes the parts for which keep[part_index] is true (and, if `keep_point` is not NULL, only the
// points it accepts; `frame` is an index into times_wall_ns, `metric` one into the shape) as a new
// batch. Parts, runs and frames keep their order. Shapes, batteries and states that are no longer
// used are dropped. Whole parts: packed integers are moved; points: unpacked and packed again. *out
// is 8-byte aligned malloc memory of *out_length bytes, owned by the caller.
//   BB_ERR_NOT_FOUND    nothing is left; parts that lose their last frame vanish
//   BB_ERR_LIMIT        keep_point would leave frames of more than 4,096 new shapes
//   BB_ERR_BATCH_BYTES  the result would pass 8 MiB (many new shapes with long names, or columns
//                       that somebody else had packed better)
typedef bool (*bb_batch_keep_point_fn)(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                                       uint32_t metric);
BB_MUST_CHECK bb_error_t bb_batch_subset(const bb_batch_t *batch, const bool *keep,
                                         bb_batch_keep_point_fn keep_point, void *context,
                                         uint8_t **out, size_t *out_length);

// bb_batch_builder_t - collects frames in any order and writes one batch. One thread owns it.
typedef struct bb_batch_builder bb_batch_builder_t;

bb_batch_builder_t *bb_batch_builder_new(uint64_t revision);
void bb_batch_builder_destroy(bb_batch_builder_t **self);
void bb_batch_builder_reset(bb_batch_builder_t *self, uint64_t revision); // keeps memory
// The batch will hold markers of the generation, which is not 0: all that is added is one
// (bb_marker.h, bb_marker_add). Of a builder of revision 0; until it is reset.
void bb_batch_builder_markers(bb_batch_builder_t *self, uint32_t generation);

// Handles stay valid until reset. Adding the same battery or shape again returns the same handle.
// A battery's partition must be the same each time; the attributes given last are kept
// (none given: as before).
// Errors, with fault text: BATTERY_ID, ATTRIBUTES (count, sizes), METRIC_NAME, FRAME_METRICS,
// STATE_TEXT, VALUE (unknown type): the input is wrong. LIMIT and BATCH_BYTES: the batch is full;
// finish it, reset, and add again.
BB_MUST_CHECK bb_error_t bb_batch_builder_battery(bb_batch_builder_t *self, uint32_t partition,
                                                  bb_slice_t id, const bb_attribute_t *attributes,
                                                  uint32_t attribute_count, uint32_t *battery,
                                                  bb_fault_t *fault);
// `order` (metric_count entries, caller's memory) receives where each metric given went in the
// sorted shape: sorted position of metrics[i].
BB_MUST_CHECK bb_error_t bb_batch_builder_shape(bb_batch_builder_t *self, const bb_slice_t *names,
                                                const uint8_t *types, uint32_t metric_count,
                                                uint32_t *shape, uint32_t *order,
                                                bb_fault_t *fault);
BB_MUST_CHECK bb_error_t bb_batch_builder_state(bb_batch_builder_t *self, bb_slice_t text,
                                                uint32_t *state, bb_fault_t *fault);
// Appends one frame; `values` in the shape's sorted order. BB_ERR_TIME_RANGE, BB_ERR_VALUE (BOOL
// not 0 or 1), BB_ERR_BATCH_BYTES when the batch would pass 8 MiB before it is packed (the frame is
// not taken).
BB_MUST_CHECK bb_error_t bb_batch_builder_frame(bb_batch_builder_t *self, uint32_t battery,
                                                uint32_t shape, int64_t time_wall_ns,
                                                const uint64_t *values);
uint32_t bb_batch_builder_frame_count(const bb_batch_builder_t *self);
uint64_t bb_batch_builder_point_count(const bb_batch_builder_t *self);
// What the batch takes before its columns are packed: no less than it will take encoded.
size_t bb_batch_builder_bytes(const bb_batch_builder_t *self);
// Packs and writes the batch: frames grouped by partition, then battery and shape, arrival order
// inside. *out as in bb_batch_subset. `frame_order` (frame_count entries or NULL) receives, per
// frame in the batch, its arrival index. At least one frame must have been added. Batteries and
// shapes without a frame are left out. The builder still holds everything until it is reset.
void bb_batch_builder_finish(bb_batch_builder_t *self, uint8_t **out, size_t *out_length,
                             uint32_t *frame_order);

#ifdef __cplusplus
}
#endif
#endif

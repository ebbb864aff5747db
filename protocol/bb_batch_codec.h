// SPDX-License-Identifier: Apache-2.0
// bb_batch_codec - the FlatBuffers side of bb_batch and bb_chunks behind a C interface.
//
// Pure; private to protocol/. Reading proves that the bytes can be walked and makes room for what
// columns hold; what columns and numbers mean is checked by bb_batch.c.
#ifndef BB_BATCH_CODEC_H
#define BB_BATCH_CODEC_H

#include "protocol/bb_chunks.h"

#ifdef __cplusplus
extern "C" {
#endif

// What reading hands out beside the batch: the memory that its tables point to, to be filled from
// the columns, and where those lie.
typedef struct {
    bb_batch_part_t *parts;
    bb_batch_run_t *runs;
    int64_t *times_wall_ns;
    bb_batch_battery_t *batteries; // attributes are there, ids are missing
    bb_batch_shape_t *shapes;      // frame_count is 0
    bb_column_t *columns;          // of all shapes, one shape behind the other
    bb_slice_t battery_ids;        // one behind the other
    bb_slice_t packed;             // all columns
} bb_batch_room_t;

// Fills self's counts (but value_count) and tables (self->memory is allocated) or leaves nothing to
// free. Counts are within their limits.
BB_MUST_CHECK bb_error_t bb_batch_flat_read(bb_batch_t *self, bb_slice_t encoded,
                                            bb_batch_room_t *room, bb_fault_t *fault);

// Writes the tables and counts of `layout` (revision, generation, counts, batteries, shapes'
// names and types, states) and the encoded columns. *out is malloc memory of the caller.
void bb_batch_flat_write(const bb_batch_t *layout, bb_slice_t packed, uint8_t **out,
                         size_t *out_length);

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
// bb_batch_codec - the FlatBuffers side of bb_batch and bb_chunks behind a C interface.
//
// Pure; private to protocol/. Reading proves that the bytes can be walked and that 8-byte vectors
// are aligned; what the numbers mean is checked by bb_batch.c.
#ifndef BB_BATCH_CODEC_H
#define BB_BATCH_CODEC_H

#include "protocol/bb_chunks.h"

#ifdef __cplusplus
extern "C" {
#endif

// Fills self's vectors and tables (self->memory is allocated) or leaves nothing to free.
BB_MUST_CHECK bb_error_t bb_batch_flat_read(bb_batch_t *self, bb_slice_t encoded,
                                            bb_fault_t *fault);

// Where the vectors of a written batch lie, to be filled by the caller before anyone reads it.
typedef struct {
    bb_batch_part_t *parts;
    bb_batch_run_t *runs;
    int64_t *times_wall_ns;
    uint64_t *values;
} bb_batch_vectors_t;

// Writes tables and reserves vectors of the counts in `layout` (revision, generation, counts,
// batteries, shapes, states; its vectors are not read). *out is malloc memory of the caller.
void bb_batch_flat_write(const bb_batch_t *layout, uint8_t **out, size_t *out_length,
                         bb_batch_vectors_t *vectors);

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_chunks.h"

#include <stdlib.h>

bb_error_t bb_chunks_match(const bb_chunks_t *self, const bb_batch_t *batch, bb_fault_t *fault)
{
    if (self->part_count != batch->part_count) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: %u seqs for %u parts",
                            self->part_count, batch->part_count);
    }
    if (self->quarantined_count > 0 &&
        self->quarantined[self->quarantined_count - 1] >= batch->frame_count) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: quarantined frame %u of %u frames",
                            self->quarantined[self->quarantined_count - 1], batch->frame_count);
    }
    return BB_OK;
}

bb_error_t bb_chunks_subset(const bb_chunks_t *self, const bb_batch_t *batch, const bool *keep,
                            uint8_t **out_chunks, size_t *out_chunks_length, uint8_t **out_batch,
                            size_t *out_batch_length)
{
    BB_ASSERT(self->part_count == batch->part_count);
    bb_error_t error = bb_batch_subset(batch, keep, NULL, NULL, out_batch, out_batch_length);
    if (error != BB_OK) {
        return error;
    }
    uint64_t *seqs = bb_alloc(self->part_count * sizeof *seqs);
    uint32_t *quarantined = bb_alloc(self->quarantined_count * sizeof *quarantined);
    bb_chunks_t kept = *self;
    kept.part_count = kept.quarantined_count = 0;
    kept.seqs = seqs;
    kept.quarantined = quarantined;
    // Frames keep their order, so a frame moves down by the frames dropped before it.
    uint32_t frame_limit = 0, dropped = 0, verdict = 0;
    for (uint32_t p = 0; p < batch->part_count; p++) {
        frame_limit += batch->parts[p].frame_count;
        if (keep[p]) {
            seqs[kept.part_count++] = bb_chunks_seq(self, p);
        }
        for (; verdict < self->quarantined_count && self->quarantined[verdict] < frame_limit;
             verdict++) {
            if (keep[p]) {
                quarantined[kept.quarantined_count++] = self->quarantined[verdict] - dropped;
            }
        }
        dropped += keep[p] ? 0 : batch->parts[p].frame_count;
    }
    bb_chunks_encode(&kept, out_chunks, out_chunks_length);
    free(quarantined);
    free(seqs);
    return BB_OK;
}

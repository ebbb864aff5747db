// SPDX-License-Identifier: Apache-2.0
// fuzz_chunks - any bytes as a chunks header: what is accepted has ascending verdicts and positive
// numbers, and survives encoding.
#include "protocol/bb_chunks.h"
#include "tests/fuzz/fuzz_bytes.h"

static void s_check(const bb_chunks_t *chunks)
{
    for (uint32_t i = 0; i < chunks->part_count; i++) {
        BB_ASSERT(bb_chunks_seq(chunks, i) >= 1);
    }
    for (uint32_t i = 1; i < chunks->quarantined_count; i++) {
        BB_ASSERT(chunks->quarantined[i] > chunks->quarantined[i - 1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    bb_chunks_t chunks;
    bb_fault_t fault;
    if (bb_chunks_decode(&chunks, bb_slice(copy, size), &fault) == BB_OK) {
        s_check(&chunks);
        uint8_t *bytes;
        size_t length;
        bb_chunks_encode(&chunks, &bytes, &length);
        bb_chunks_t again;
        bb_error_t error = bb_chunks_decode(&again, bb_slice(bytes, length), &fault);
        BB_ASSERT(error == BB_OK);
        BB_ASSERT(again.part_count == chunks.part_count);
        for (uint32_t i = 0; i < chunks.part_count; i++) {
            BB_ASSERT(bb_chunks_seq(&again, i) == bb_chunks_seq(&chunks, i));
        }
        BB_ASSERT(again.quarantined_count == chunks.quarantined_count);
        BB_ASSERT(again.epoch == chunks.epoch);
        free(bytes);
    }
    free(copy);
    return 0;
}

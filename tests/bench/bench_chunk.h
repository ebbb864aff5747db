// SPDX-License-Identifier: Apache-2.0
// bench_chunk - frames of the yardstick as a node gets them: an encoded batch, open, with the
// header that its coordinator gives it.
#ifndef BENCH_CHUNK_H
#define BENCH_CHUNK_H

#include "protocol/bb_batch.h"
#include "protocol/bb_chunks.h"
#include "tests/bench/bench.h"

#define BENCH_PARTITIONS 1024u

typedef struct {
    uint8_t *batch_bytes, *chunks_bytes; // owned
    size_t batch_length, chunks_length;
    bb_batch_t batch;
    bb_chunks_t chunks;
} bench_chunk_t;

// Frames [first, limit) of data; `partitions` by battery, `part_seqs` by partition are counted up.
// false: said on standard error, nothing to free.
bool bench_chunk_make(const bench_data_t *data, const uint32_t *partitions, uint64_t *part_seqs,
                      bb_batch_builder_t *builder, uint64_t first, uint64_t limit,
                      bench_chunk_t *out);
void bench_chunk_free(bench_chunk_t *self);

#endif

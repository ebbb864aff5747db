// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_chunk.h"

#include <stdlib.h>
#include <string.h>

static bool s_failed(const char *what, bb_error_t error, const bb_fault_t *fault)
{
    fprintf(stderr, "busbar-bench: %s: %s %s\n", what, bb_error_name(error), fault->text);
    return false;
}

bool bench_chunk_make(const bench_data_t *data, const uint32_t *partitions, uint64_t *part_seqs,
                      bb_batch_builder_t *builder, uint64_t first, uint64_t limit,
                      bench_chunk_t *out)
{
    bb_slice_t names[BENCH_METRICS];
    uint8_t types[BENCH_METRICS];
    uint32_t order[BENCH_METRICS], shape;
    bb_fault_t fault = {0};
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        names[m] = bb_slice(bench_metric_names[m], strlen(bench_metric_names[m]));
        types[m] = BB_TYPE_FLOAT64;
    }
    bb_batch_builder_reset(builder, 0);
    bb_error_t error =
        bb_batch_builder_shape(builder, names, types, BENCH_METRICS, &shape, order, &fault);
    for (uint64_t i = first; error == BB_OK && i < limit; i++) {
        const bench_frame_t *frame = &data->frames[i];
        uint32_t battery;
        uint64_t values[BENCH_METRICS];
        char id[16];
        bench_battery_id(frame->battery, id);
        error = bb_batch_builder_battery(builder, partitions[frame->battery],
                                         bb_slice(id, strlen(id)), NULL, 0, &battery, &fault);
        for (uint32_t m = 0; m < BENCH_METRICS; m++) {
            values[order[m]] = bb_bits_of_double(frame->values[m]);
        }
        if (error == BB_OK) {
            error = bb_batch_builder_frame(builder, battery, shape, frame->time_ms * BB_NS_PER_MS,
                                           values);
        }
    }
    if (error != BB_OK) {
        return s_failed("build", error, &fault);
    }
    bb_batch_builder_finish(builder, &out->batch_bytes, &out->batch_length, NULL);
    error = bb_batch_open(&out->batch, bb_slice(out->batch_bytes, out->batch_length), &fault);
    if (error != BB_OK) {
        return s_failed("batch", error, &fault);
    }
    uint64_t seqs[BENCH_PARTITIONS];
    for (uint32_t i = 0; i < out->batch.part_count; i++) {
        seqs[i] = ++part_seqs[out->batch.parts[i].partition];
    }
    bb_chunks_t header = {.epoch = 1,
                          .origin_wall_ns = data->last_ms * BB_NS_PER_MS,
                          .part_count = out->batch.part_count,
                          .seqs = seqs};
    memset(header.stream.bytes, 0x5a, sizeof header.stream.bytes);
    bb_chunks_encode(&header, &out->chunks_bytes, &out->chunks_length);
    error = bb_chunks_decode(&out->chunks, bb_slice(out->chunks_bytes, out->chunks_length), &fault);
    return error == BB_OK || s_failed("chunks", error, &fault);
}

void bench_chunk_free(bench_chunk_t *self)
{
    if (self->batch_bytes) {
        bb_batch_close(&self->batch);
    }
    free(self->batch_bytes);
    free(self->chunks_bytes);
    *self = (bench_chunk_t){0};
}

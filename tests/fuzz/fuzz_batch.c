// SPDX-License-Identifier: Apache-2.0
// fuzz_batch - any bytes as a batch and as a chunk header; whatever opens is read to the end, every
// second part is taken out, and the rest must open again.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_chunks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t s_sink;

static uint64_t s_last_byte(bb_slice_t text)
{
    return text.length > 0 ? ((const uint8_t *)text.data)[text.length - 1] : 0;
}

static bool s_keep_odd_values(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                              uint32_t metric)
{
    return bb_batch_value(context, at, frame - at->frame_first, metric) & 1;
}

static void s_read(const bb_batch_t *batch)
{
    uint64_t sum = 0;
    bb_batch_cursor_t at;
    bb_batch_cursor_start(batch, &at);
    while (bb_batch_cursor_next(batch, &at)) {
        uint32_t metric_count = batch->shapes[at.run->shape].metric_count;
        uint64_t *rows = bb_alloc((size_t)at.run->frame_count * metric_count * sizeof *rows);
        bb_batch_unpack_rows(batch, &at, 0, at.run->frame_count, rows);
        for (size_t i = 0; i < (size_t)at.run->frame_count * metric_count; i++) {
            sum += rows[i];
        }
        free(rows);
    }
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        sum += (uint64_t)batch->times_wall_ns[i];
    }
    for (uint32_t i = 0; i < batch->battery_count; i++) {
        sum += s_last_byte(batch->batteries[i].id);
        for (uint32_t a = 0; a < batch->batteries[i].attribute_count; a++) {
            sum += s_last_byte(batch->batteries[i].attributes[a].value);
        }
    }
    for (uint32_t i = 0; i < batch->shape_count; i++) {
        for (uint32_t m = 0; m < batch->shapes[i].metric_count; m++) {
            sum += s_last_byte(batch->shapes[i].names[m]);
        }
    }
    for (uint32_t i = 0; i < batch->state_count; i++) {
        sum += s_last_byte(batch->states[i]);
    }
    s_sink = sum;
}

static void s_take_out(const bb_batch_t *batch, bb_batch_keep_point_fn keep_point)
{
    bool *keep = bb_alloc(batch->part_count);
    for (uint32_t p = 0; p < batch->part_count; p++) {
        keep[p] = keep_point || p % 2 == 0;
    }
    uint8_t *out;
    size_t length;
    bb_batch_t again;
    if (bb_batch_subset(batch, keep, keep_point, (void *)(uintptr_t)batch, &out, &length) ==
        BB_OK) {
        bb_error_t error = bb_batch_open(&again, bb_slice(out, length), NULL);
        BB_ASSERT(error == BB_OK);
        bb_batch_close(&again);
        free(out);
    }
    free(keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = bb_alloc(size); // aligned, and exactly as long, so that an overrun is seen
    if (size > 0) {
        memcpy(copy, data, size);
    }
    bb_batch_t batch;
    bb_chunks_t chunks;
    bb_fault_t fault;
    if (bb_batch_open(&batch, bb_slice(copy, size), &fault) == BB_OK) {
        s_read(&batch);
        s_take_out(&batch, NULL);
        s_take_out(&batch, s_keep_odd_values);
        bb_batch_close(&batch);
    }
    if (bb_chunks_decode(&chunks, bb_slice(copy, size), &fault) == BB_OK) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < chunks.part_count; i++) {
            sum += chunks.seqs[i];
        }
        for (uint32_t i = 0; i < chunks.quarantined_count; i++) {
            sum += chunks.quarantined[i];
        }
        s_sink = sum;
    }
    free(copy);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "tests/support/bb_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void s_require(bb_error_t error)
{
    BB_ASSERT(error == BB_OK);
}

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static void s_add_part(bb_batch_builder_t *builder, uint32_t partition,
                       const bb_sample_plan_t *plan, uint32_t shape, const uint32_t order[2])
{
    char id[32];
    snprintf(id, sizeof id, "battery-%u", partition);
    uint32_t battery;
    s_require(bb_batch_builder_battery(builder, partition, s_text(id), NULL, 0, &battery, NULL));
    for (uint32_t i = 0; i < plan->frame_count; i++) {
        uint32_t state;
        s_require(
            bb_batch_builder_state(builder, s_text(i % 2 ? "Idle" : "Charging"), &state, NULL));
        double soc = 50.0 + (double)plan->seq + i / 8.0;
        uint64_t values[2];
        memcpy(&values[order[0]], &soc, sizeof soc);
        values[order[1]] = state;
        int64_t time_wall_ns =
            INT64_C(1767225600) * BB_NS_PER_S + (int64_t)(plan->seq * 3600 + i) * BB_NS_PER_S;
        s_require(bb_batch_builder_frame(builder, battery, shape, time_wall_ns, values));
    }
}

static bb_slice_t s_batch(const bb_sample_plan_t *plan)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    const bb_slice_t names[2] = {s_text("state_of_charge_pct"), s_text("mode")};
    const uint8_t types[2] = {BB_TYPE_FLOAT64, BB_TYPE_STATE};
    uint32_t shape;
    uint32_t order[2];
    s_require(bb_batch_builder_shape(builder, names, types, 2, &shape, order, NULL));
    for (uint32_t i = 0; i < plan->part_count; i++) {
        s_add_part(builder, plan->partition + i, plan, shape, order);
    }
    uint8_t *batch;
    size_t length;
    bb_batch_builder_finish(builder, &batch, &length, NULL);
    bb_batch_builder_destroy(&builder);
    return bb_slice(batch, length);
}

void bb_sample_make(bb_sample_t *self, bb_sample_plan_t plan)
{
    s_require(bb_batch_open(&self->batch, s_batch(&plan), NULL));
    uint64_t *seqs = bb_alloc(plan.part_count * sizeof *seqs);
    for (uint32_t i = 0; i < plan.part_count; i++) {
        seqs[i] = plan.seq;
    }
    bb_chunks_t chunks = {.stream = {{plan.stream}},
                          .epoch = 1,
                          .origin_wall_ns = INT64_C(1767225600) * BB_NS_PER_S,
                          .part_count = plan.part_count,
                          .seqs = seqs};
    uint8_t *encoded;
    size_t length;
    bb_chunks_encode(&chunks, &encoded, &length);
    free(seqs);
    self->chunks_encoded = bb_slice(encoded, length);
    s_require(bb_chunks_decode(&self->chunks, self->chunks_encoded, NULL));
    s_require(bb_chunks_match(&self->chunks, &self->batch, NULL));
}

void bb_sample_clear(bb_sample_t *self)
{
    // Both buffers were made above; the slices only lend them as constant.
    union {
        const void *constant;
        void *owned;
    } batch = {.constant = self->batch.encoded.data},
      chunks = {.constant = self->chunks_encoded.data};
    bb_batch_close(&self->batch);
    free(batch.owned);
    free(chunks.owned);
    *self = (bb_sample_t){0};
}

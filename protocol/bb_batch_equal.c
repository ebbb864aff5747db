// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_batch_equal.h"

#include <string.h>

typedef struct {
    const bb_batch_t *batch;
    const bb_chunks_t *chunks;
    bb_batch_cursor_t at;
} s_side_t;

static bool s_is_same_text(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

// Stands before the first run of the part.
static void s_go_to(s_side_t *self, uint32_t part)
{
    bb_batch_cursor_start(self->batch, &self->at);
    for (uint32_t i = 0; i < self->batch->parts[part].run_first; i++) {
        bool is_run = bb_batch_cursor_next(self->batch, &self->at);
        BB_ASSERT(is_run);
    }
}

static bool s_is_quarantined(const s_side_t *self, uint32_t frame)
{
    uint32_t first = 0, limit = self->chunks->quarantined_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->chunks->quarantined[middle] < frame) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first < self->chunks->quarantined_count && self->chunks->quarantined[first] == frame;
}

static bool s_is_same_shape(const bb_batch_shape_t *a, const bb_batch_shape_t *b)
{
    bool is_same = a->metric_count == b->metric_count;
    for (uint32_t m = 0; m < a->metric_count && is_same; m++) {
        is_same = a->types[m] == b->types[m] && s_is_same_text(a->names[m], b->names[m]);
    }
    return is_same;
}

static bool s_is_same_value(const s_side_t *a, const s_side_t *b, bb_type_t type, uint32_t frame,
                            uint32_t metric)
{
    uint64_t a_bits = bb_batch_value(a->batch, &a->at, frame, metric);
    uint64_t b_bits = bb_batch_value(b->batch, &b->at, frame, metric);
    return type == BB_TYPE_STATE
               ? s_is_same_text(a->batch->states[a_bits], b->batch->states[b_bits])
               : a_bits == b_bits;
}

static bool s_is_same_run(const s_side_t *a, const s_side_t *b)
{
    const bb_batch_shape_t *shape = &a->batch->shapes[a->at.run->shape];
    bool is_same = a->at.run->frame_count == b->at.run->frame_count &&
                   s_is_same_text(a->batch->batteries[a->at.run->battery].id,
                                  b->batch->batteries[b->at.run->battery].id) &&
                   s_is_same_shape(shape, &b->batch->shapes[b->at.run->shape]);
    for (uint32_t i = 0; is_same && i < a->at.run->frame_count; i++) {
        uint32_t a_frame = a->at.frame_first + i, b_frame = b->at.frame_first + i;
        is_same = a->batch->times_wall_ns[a_frame] == b->batch->times_wall_ns[b_frame] &&
                  s_is_quarantined(a, a_frame) == s_is_quarantined(b, b_frame);
        for (uint32_t m = 0; is_same && m < shape->metric_count; m++) {
            is_same = s_is_same_value(a, b, (bb_type_t)shape->types[m], i, m);
        }
    }
    return is_same;
}

bool bb_batch_part_is_equal(const bb_batch_t *a, const bb_chunks_t *a_chunks, uint32_t a_part,
                            const bb_batch_t *b, const bb_chunks_t *b_chunks, uint32_t b_part)
{
    BB_ASSERT(a_part < a->part_count && b_part < b->part_count);
    const bb_batch_part_t *left = &a->parts[a_part], *right = &b->parts[b_part];
    bool is_same = left->partition == right->partition && a->revision == b->revision &&
                   left->run_count == right->run_count && left->frame_count == right->frame_count;
    if (!is_same) {
        return false;
    }
    s_side_t a_side = {.batch = a, .chunks = a_chunks}, b_side = {.batch = b, .chunks = b_chunks};
    s_go_to(&a_side, a_part);
    s_go_to(&b_side, b_part);
    for (uint32_t i = 0; is_same && i < left->run_count; i++) {
        bool has_both = bb_batch_cursor_next(a, &a_side.at) && bb_batch_cursor_next(b, &b_side.at);
        BB_ASSERT(has_both);
        is_same = s_is_same_run(&a_side, &b_side);
    }
    return is_same;
}

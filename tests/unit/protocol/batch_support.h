// SPDX-License-Identifier: Apache-2.0
// batch_support - what the tests of batches and chunks share: a batch as the plain list of its
// points (the definition of its meaning), and the golden batch of wire version 2.
#ifndef BATCH_SUPPORT_H
#define BATCH_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_batch.h"
#include "tests/support/bb_random.h"

#define SUPPORT_UNUSED __attribute__((unused))

typedef struct {
    uint32_t partition;
    uint32_t frame; // in the batch it came from
    bb_slice_t battery;
    bb_slice_t metric;
    uint32_t type;
    int64_t time_wall_ns;
    uint64_t bits;    // not STATE
    bb_slice_t state; // STATE
} support_point_t;

typedef struct {
    support_point_t *points;
    size_t count;
} support_points_t;

static inline bb_slice_t support_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static inline bool support_is_equal(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

// The points of the kept parts that `keep_point` accepts, in the order of the batch.
SUPPORT_UNUSED static support_points_t support_points(const bb_batch_t *batch, const bool *keep,
                                                      bb_batch_keep_point_fn keep_point,
                                                      void *context)
{
    support_points_t all = {malloc((batch->value_count + 1) * sizeof(support_point_t)), 0};
    uint32_t frame = 0;
    for (uint32_t p = 0; p < batch->part_count; p++) {
        const bb_batch_part_t *part = &batch->parts[p];
        for (uint32_t r = part->run_first; r < part->run_first + part->run_count; r++) {
            const bb_batch_run_t *run = &batch->runs[r];
            const bb_batch_shape_t *shape = &batch->shapes[run->shape];
            bb_batch_cursor_t at = {part, run, p, r, frame, run->shape_first};
            for (uint32_t f = 0; f < run->frame_count; f++, frame++) {
                for (uint32_t m = 0; m < shape->metric_count; m++) {
                    uint64_t value = bb_batch_value(batch, &at, f, m);
                    if ((keep && !keep[p]) || (keep_point && !keep_point(context, &at, frame, m))) {
                        continue;
                    }
                    support_point_t *point = &all.points[all.count++];
                    *point = (support_point_t){.partition = part->partition,
                                               .frame = frame,
                                               .battery = batch->batteries[run->battery].id,
                                               .metric = shape->names[m],
                                               .type = shape->types[m],
                                               .time_wall_ns = batch->times_wall_ns[frame]};
                    if (shape->types[m] == BB_TYPE_STATE) {
                        point->state = batch->states[value];
                    } else {
                        point->bits = value;
                    }
                }
            }
        }
    }
    return all;
}

// Equal but for the frame's number.
SUPPORT_UNUSED static bool support_point_is_equal(const support_point_t *a,
                                                  const support_point_t *b)
{
    return a->partition == b->partition && support_is_equal(a->battery, b->battery) &&
           support_is_equal(a->metric, b->metric) && a->type == b->type &&
           a->time_wall_ns == b->time_wall_ns && a->bits == b->bits &&
           support_is_equal(a->state, b->state);
}

// ---- the golden batch ----

#define GOLDEN_REVISION   UINT64_C(0x0102030405060708)
#define GOLDEN_FRAMES     6
#define GOLDEN_NAN        UINT64_C(0x7ff8dead0000beef)
#define GOLDEN_MINUS_ZERO UINT64_C(0x8000000000000000)
#define GOLDEN_THIRD      UINT64_C(0x3fd5555555555555)

// Arrival order. Batteries: 0 "b-1" (partition 700), 1 "Zelle \xc3\x84" (3), 2 "b-2" (700).
// Shapes: 0 {on, power_kw, state, cycles} given in this order; 1 {power_kw}.
typedef struct {
    uint32_t battery, shape;
    int64_t time_wall_ns;
    uint64_t cycles, on, power_kw; // shape 1: power_kw alone
    uint32_t state;                // 0 "Idle", 1 "", 2 "Laden \xe2\x9a\xa1"
} golden_frame_t;

static const golden_frame_t golden_frames[GOLDEN_FRAMES] = {
    {0, 0, 1767225600000000000, (uint64_t)-7, 1, GOLDEN_MINUS_ZERO, 0},
    {1, 1, 0, 0, 0, GOLDEN_NAN, 0},
    {0, 0, 1767225600000000001, UINT64_C(0x7fffffffffffffff), 0, GOLDEN_THIRD, 2},
    {2, 0, 1767225610000000000, UINT64_C(0x8000000000000000), 1, 0, 1},
    {0, 1, INT64_C(9214646399999999999), 0, 0, UINT64_C(0xfff0000000000000), 0},
    {1, 1, 1, 0, 0, 1, 0},
};

SUPPORT_UNUSED static void golden_batch(uint8_t **out, size_t *out_length,
                                        uint32_t order[GOLDEN_FRAMES])
{
    bb_batch_builder_t *builder = bb_batch_builder_new(GOLDEN_REVISION);
    const bb_attribute_t attributes[] = {
        {support_text("site"), support_text("Aachen")},
        {support_text("hersteller"), support_text("F\xc3\xbcr & S\xc3\xb6hne")},
    };
    uint32_t batteries[3], shapes[2], states[3], places[4], place;
    bb_fault_t fault;
    const bb_slice_t names[] = {support_text("on"), support_text("power_kw"), support_text("state"),
                                support_text("cycles")};
    const uint8_t types[] = {BB_TYPE_BOOL, BB_TYPE_FLOAT64, BB_TYPE_STATE, BB_TYPE_INT64};
    bool is_good =
        bb_batch_builder_battery(builder, 700, support_text("b-1"), attributes, 2, &batteries[0],
                                 &fault) == BB_OK &&
        bb_batch_builder_battery(builder, 3, support_text("Zelle \xc3\x84"), NULL, 0, &batteries[1],
                                 &fault) == BB_OK &&
        bb_batch_builder_battery(builder, 700, support_text("b-2"), attributes, 1, &batteries[2],
                                 &fault) == BB_OK &&
        bb_batch_builder_shape(builder, names, types, 4, &shapes[0], places, &fault) == BB_OK &&
        bb_batch_builder_shape(builder, names + 1, types + 1, 1, &shapes[1], &place, &fault) ==
            BB_OK &&
        bb_batch_builder_state(builder, support_text("Idle"), &states[0], &fault) == BB_OK &&
        bb_batch_builder_state(builder, support_text(""), &states[1], &fault) == BB_OK &&
        bb_batch_builder_state(builder, support_text("Laden \xe2\x9a\xa1"), &states[2], &fault) ==
            BB_OK;
    BB_ASSERT(is_good);
    for (size_t i = 0; i < GOLDEN_FRAMES; i++) {
        const golden_frame_t *frame = &golden_frames[i];
        uint64_t row[4] = {frame->power_kw};
        if (frame->shape == 0) {
            row[places[0]] = frame->on;
            row[places[1]] = frame->power_kw;
            row[places[2]] = states[frame->state];
            row[places[3]] = frame->cycles;
        }
        bb_error_t error = bb_batch_builder_frame(builder, batteries[frame->battery],
                                                  shapes[frame->shape], frame->time_wall_ns, row);
        BB_ASSERT(error == BB_OK);
    }
    bb_batch_builder_finish(builder, out, out_length, order);
    bb_batch_builder_destroy(&builder);
}

// A whole file as malloc memory; aborts when it cannot be read.
SUPPORT_UNUSED static uint8_t *support_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    BB_ASSERT(file);
    uint8_t *bytes = malloc(1 << 16);
    *length = fread(bytes, 1, 1 << 16, file);
    BB_ASSERT(*length > 0 && *length < 1 << 16);
    fclose(file);
    return bytes;
}

SUPPORT_UNUSED static int support_write(const char *path, const uint8_t *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    bool is_good = file && fwrite(bytes, 1, length, file) == length;
    is_good = file && fclose(file) == 0 && is_good;
    return is_good ? 0 : 1;
}

#endif

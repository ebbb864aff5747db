// SPDX-License-Identifier: Apache-2.0
// Batches there and back against the plain list of their points, subsets, what the builder refuses,
// limits, the golden file. What a damaged batch does is in test_bb_batch_damage.c.
// `test_bb_batch --write-golden` rewrites the golden batch and is used once per wire version.
#include "protocol/bb_batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_batch_draft.h"
#include "tests/unit/protocol/batch_support.h"

#define S_GOLDEN BB_SOURCE_DIR "/tests/golden/wire/batch_v2.bin"

static void s_open(bb_batch_t *batch, const uint8_t *bytes, size_t length)
{
    bb_fault_t fault = {0};
    assert_int_equal((uintptr_t)bytes % 8, 0);
    bb_error_t error = bb_batch_open(batch, bb_slice(bytes, length), &fault);
    if (error != BB_OK) {
        fail_msg("%s: %s", bb_error_name(error), fault.text);
    }
}

static void s_expect_slice(bb_slice_t slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    assert_true(slice.length == 0 || memcmp(slice.data, text, slice.length) == 0);
}

// ---- golden ----

// Goal: the golden bytes decode to the fields written down in batch_support.h, grouped by
// partition, battery and shape as the header says; and encoding those again gives the same bytes.
static void test_golden_batch(void **state)
{
    (void)state;
    size_t length, encoded_length;
    uint8_t *golden = support_read(S_GOLDEN, &length), *encoded;
    bb_batch_t batch;
    s_open(&batch, golden, length);
    assert_int_equal(batch.revision, GOLDEN_REVISION);
    assert_int_equal(batch.generation, 0);
    assert_int_equal(batch.part_count, 2);
    assert_int_equal(batch.run_count, 4);
    assert_int_equal(batch.frame_count, GOLDEN_FRAMES);
    assert_int_equal(batch.value_count, 3 * 4 + 3);
    assert_int_equal(batch.battery_count, 3);
    s_expect_slice(batch.batteries[0].id, "Zelle \xc3\x84"); // in the order of partitions
    s_expect_slice(batch.batteries[1].id, "b-1");
    s_expect_slice(batch.batteries[2].id, "b-2");
    assert_int_equal(batch.batteries[0].attribute_count, 0);
    assert_int_equal(batch.batteries[1].attribute_count, 2);
    s_expect_slice(batch.batteries[1].attributes[0].key, "site");
    s_expect_slice(batch.batteries[1].attributes[0].value, "Aachen");
    s_expect_slice(batch.batteries[1].attributes[1].key, "hersteller");
    s_expect_slice(batch.batteries[1].attributes[1].value, "F\xc3\xbcr & S\xc3\xb6hne");
    assert_int_equal(batch.batteries[2].attribute_count, 1);
    assert_int_equal(batch.shape_count, 2);
    assert_int_equal(batch.shapes[0].metric_count, 4);
    static const char *const names[] = {"cycles", "on", "power_kw", "state"};
    static const uint8_t types[] = {BB_TYPE_INT64, BB_TYPE_BOOL, BB_TYPE_FLOAT64, BB_TYPE_STATE};
    for (uint32_t m = 0; m < 4; m++) {
        s_expect_slice(batch.shapes[0].names[m], names[m]);
        assert_int_equal(batch.shapes[0].types[m], types[m]);
    }
    assert_true(batch.shapes[0].has_states && batch.shapes[0].has_bools);
    assert_true(!batch.shapes[1].has_states && !batch.shapes[1].has_bools);
    assert_int_equal(batch.state_count, 3);
    static const char *const states[] = {"Idle", "", "Laden \xe2\x9a\xa1"};
    for (uint32_t i = 0; i < 3; i++) {
        s_expect_slice(batch.states[i], states[i]);
    }
    static const bb_batch_part_t parts[] = {{3, 0, 1, 2}, {700, 1, 3, 4}};
    static const bb_batch_run_t runs[] = {{0, 1, 2, 0}, {1, 0, 2, 0}, {1, 1, 1, 2}, {2, 0, 1, 2}};
    assert_memory_equal(batch.parts, parts, sizeof parts);
    assert_memory_equal(batch.runs, runs, sizeof runs);
    static const uint32_t arrival[GOLDEN_FRAMES] = {1, 5, 0, 2, 4, 3};
    uint64_t rows[3][4], powers[3], *value = rows[0], *power = powers;
    for (uint32_t m = 0; m < 4; m++) {
        uint64_t column[3];
        bb_batch_unpack(&batch, 0, m, 0, 3, column);
        for (uint32_t i = 0; i < 3; i++) {
            rows[i][m] = column[i];
        }
    }
    bb_batch_unpack(&batch, 1, 0, 0, 3, powers);
    for (uint32_t f = 0; f < GOLDEN_FRAMES; f++) {
        const golden_frame_t *frame = &golden_frames[arrival[f]];
        assert_true(batch.times_wall_ns[f] == frame->time_wall_ns);
        if (frame->shape == 0) {
            assert_true(value[0] == frame->cycles && value[1] == frame->on);
            assert_true(value[2] == frame->power_kw && value[3] == frame->state);
            value += 4;
        } else {
            assert_true(*power++ == frame->power_kw);
        }
    }
    uint32_t order[GOLDEN_FRAMES];
    golden_batch(&encoded, &encoded_length, order);
    assert_int_equal(encoded_length, length);
    assert_memory_equal(encoded, golden, length);
    assert_memory_equal(order, arrival, sizeof arrival);
    bb_batch_close(&batch);
    free(encoded);
    free(golden);
}

// ---- random batches ----

typedef struct {
    uint32_t battery, shape;
    int64_t time_wall_ns;
    uint64_t values[8];
} s_arrival_t;

#define S_BATTERIES 40
#define S_SHAPES    12
#define S_STATES    7

typedef struct {
    bb_batch_builder_t *builder;
    char ids[S_BATTERIES][16];
    uint32_t partitions[S_BATTERIES];
    uint32_t metric_counts[S_SHAPES];
    bb_slice_t names[S_SHAPES][8]; // sorted
    uint8_t types[S_SHAPES][8];    // sorted
    s_arrival_t *arrivals;
    uint32_t frame_count;
} s_world_t;

static const char *const s_metrics[] = {"a",          "ab",       "abc", "b",
                                        "energy_kwh", "power_kw", "z",   "\xc3\xa4"};
static const char *const s_states[S_STATES] = {"Charging", "", "Idle", "Fault", "x", "y", "z"};

// Adds shapes with a random subset of the metrics in random order; keeps what was given, sorted by
// a plain selection over the pool, which is in byte order.
static void s_add_shapes(s_world_t *world, bb_random_t *random)
{
    for (uint32_t s = 0; s < S_SHAPES; s++) {
        bb_slice_t given[8];
        uint8_t types[8];
        uint32_t order[8], count = 0, shape;
        uint64_t chosen = 1 + s * 21 % 255; // 12 different subsets
        for (uint32_t m = 0; m < 8; m++) {
            if (chosen >> m & 1) {
                world->names[s][count] = support_text(s_metrics[m]);
                world->types[s][count++] = (uint8_t)(1 + (m + s) % 4);
            }
        }
        uint32_t start = (uint32_t)bb_random_below(random, count);
        for (uint32_t i = 0; i < count; i++) { // rotated and reversed: any other order
            given[i] = world->names[s][(start + count - i) % count];
            types[i] = world->types[s][(start + count - i) % count];
        }
        world->metric_counts[s] = count;
        assert_int_equal(
            bb_batch_builder_shape(world->builder, given, types, count, &shape, order, NULL),
            BB_OK);
        assert_int_equal(shape, s);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(support_is_equal(world->names[s][order[i]], given[i]));
        }
    }
}

static void s_world_start(s_world_t *world, uint64_t seed, uint32_t frame_count)
{
    bb_random_t random = bb_random_seed(seed);
    memset(world, 0, sizeof *world);
    world->builder = bb_batch_builder_new(seed);
    s_add_shapes(world, &random);
    for (uint32_t i = 0; i < S_STATES; i++) {
        uint32_t text;
        assert_int_equal(
            bb_batch_builder_state(world->builder, support_text(s_states[i]), &text, NULL), BB_OK);
        assert_int_equal(text, i);
    }
    for (uint32_t b = 0; b < S_BATTERIES; b++) {
        snprintf(world->ids[b], sizeof world->ids[b], "battery-%u", b);
        world->partitions[b] = (uint32_t)bb_random_below(&random, 9) * 100;
        bb_attribute_t attributes[] = {{support_text("id"), support_text(world->ids[b])},
                                       {support_text("k"), support_text("v")}};
        uint32_t battery;
        assert_int_equal(bb_batch_builder_battery(world->builder, world->partitions[b],
                                                  support_text(world->ids[b]), attributes, b % 3,
                                                  &battery, NULL),
                         BB_OK);
        assert_int_equal(battery, b);
    }
    world->arrivals = calloc(frame_count, sizeof *world->arrivals);
    for (uint32_t f = 0; f < frame_count; f++) {
        s_arrival_t *at = &world->arrivals[world->frame_count++];
        at->battery = (uint32_t)bb_random_below(&random, S_BATTERIES - 3); // three stay unused
        at->shape = (uint32_t)bb_random_below(&random, S_SHAPES);
        at->time_wall_ns = (int64_t)bb_random_below(&random, (uint64_t)BB_TIME_WALL_NS_LIMIT);
        for (uint32_t m = 0; m < world->metric_counts[at->shape]; m++) {
            uint32_t type = world->types[at->shape][m];
            at->values[m] = type == BB_TYPE_BOOL    ? bb_random_below(&random, 2)
                            : type == BB_TYPE_STATE ? bb_random_below(&random, S_STATES)
                                                    : bb_random_next(&random);
        }
        assert_int_equal(bb_batch_builder_frame(world->builder, at->battery, at->shape,
                                                at->time_wall_ns, at->values),
                         BB_OK);
    }
}

static void s_world_end(s_world_t *world)
{
    bb_batch_builder_destroy(&world->builder);
    assert_null(world->builder);
    free(world->arrivals);
}

static void s_expect_frame(const s_world_t *world, const bb_batch_t *batch,
                           const bb_batch_cursor_t *at, uint32_t f, const s_arrival_t *arrival)
{
    const bb_batch_shape_t *shape = &batch->shapes[at->run->shape];
    assert_int_equal(at->part->partition, world->partitions[arrival->battery]);
    s_expect_slice(batch->batteries[at->run->battery].id, world->ids[arrival->battery]);
    assert_true(batch->times_wall_ns[at->frame_first + f] == arrival->time_wall_ns);
    assert_int_equal(shape->metric_count, world->metric_counts[arrival->shape]);
    for (uint32_t m = 0; m < shape->metric_count; m++) {
        uint64_t value = bb_batch_value(batch, at, f, m);
        assert_true(support_is_equal(shape->names[m], world->names[arrival->shape][m]));
        assert_int_equal(shape->types[m], world->types[arrival->shape][m]);
        if (shape->types[m] == BB_TYPE_STATE) {
            s_expect_slice(batch->states[value], s_states[arrival->values[m]]);
        } else {
            assert_true(value == arrival->values[m]);
        }
    }
}

// Goal: every frame comes back once, where frame_order says, with its battery, metrics and bits;
// runs are grouped and arrival order is kept inside; the estimate of the size is not too small.
static void test_random_batches_there_and_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        s_world_t world;
        uint32_t frame_count = seed == 1 ? 1 : (uint32_t)(seed * seed * 60);
        s_world_start(&world, seed, frame_count);
        assert_int_equal(bb_batch_builder_frame_count(world.builder), frame_count);
        uint8_t *bytes, *again;
        size_t length, again_length, estimate = bb_batch_builder_bytes(world.builder);
        uint32_t *order = calloc(frame_count, sizeof *order);
        bool *is_seen = calloc(frame_count, sizeof *is_seen);
        bb_batch_builder_finish(world.builder, &bytes, &length, order);
        assert_true(length <= estimate);
        bb_batch_t batch;
        s_open(&batch, bytes, length);
        assert_int_equal(batch.revision, seed);
        assert_int_equal(batch.frame_count, frame_count);
        assert_int_equal(batch.value_count, bb_batch_builder_point_count(world.builder));
        bb_batch_cursor_t at, before = {0};
        uint32_t frame = 0;
        bb_batch_cursor_start(&batch, &at);
        while (bb_batch_cursor_next(&batch, &at)) {
            assert_int_equal(at.frame_first, frame);
            assert_true(
                !before.run || at.part_index != before.part_index ||
                at.run->battery > before.run->battery ||
                (at.run->battery == before.run->battery && at.run->shape > before.run->shape));
            for (uint32_t f = 0; f < at.run->frame_count; f++, frame++) {
                assert_true(order[frame] < frame_count && !is_seen[order[frame]]);
                is_seen[order[frame]] = true;
                assert_true(f == 0 || order[frame] > order[frame - 1]);
                s_expect_frame(&world, &batch, &at, f, &world.arrivals[order[frame]]);
            }
            before = at;
        }
        assert_int_equal(frame, frame_count);
        assert_false(bb_batch_cursor_next(&batch, &at));
        for (uint32_t b = 0; b < batch.battery_count; b++) { // only those with frames
            unsigned number;
            assert_int_equal(
                sscanf((const char *)batch.batteries[b].id.data, "battery-%u", &number), 1);
            assert_true(number < S_BATTERIES - 3);
            assert_int_equal(batch.batteries[b].attribute_count, number % 3);
        }
        bb_batch_builder_finish(world.builder, &again, &again_length, NULL);
        assert_int_equal(again_length, length);
        assert_memory_equal(again, bytes, length);
        bb_batch_close(&batch);
        free(bytes);
        free(again);
        free(order);
        free(is_seen);
        s_world_end(&world);
    }
}

// Goal: a builder that was reset makes the same bytes as a new one.
static void test_reset_forgets_everything(void **state)
{
    (void)state;
    s_world_t world;
    s_world_start(&world, 3, 500);
    bb_batch_builder_reset(world.builder, 42);
    assert_int_equal(bb_batch_builder_frame_count(world.builder), 0);
    assert_int_equal(bb_batch_builder_point_count(world.builder), 0);
    bb_batch_builder_t *fresh = bb_batch_builder_new(42);
    bb_batch_builder_t *builders[] = {world.builder, fresh};
    uint8_t *bytes[2];
    size_t lengths[2];
    for (size_t i = 0; i < 2; i++) {
        bb_slice_t name = support_text("soc_pct");
        uint8_t type = BB_TYPE_FLOAT64;
        uint32_t battery, shape, order;
        assert_int_equal(bb_batch_builder_battery(builders[i], 7, support_text("battery-1"), NULL,
                                                  0, &battery, NULL),
                         BB_OK);
        assert_int_equal(battery, 0);
        assert_int_equal(bb_batch_builder_shape(builders[i], &name, &type, 1, &shape, &order, NULL),
                         BB_OK);
        assert_int_equal(shape, 0);
        for (uint64_t f = 0; f < 3; f++) {
            assert_int_equal(bb_batch_builder_frame(builders[i], battery, shape, (int64_t)f, &f),
                             BB_OK);
        }
        bb_batch_builder_finish(builders[i], &bytes[i], &lengths[i], NULL);
    }
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(bytes[0], bytes[1], lengths[0]);
    free(bytes[0]);
    free(bytes[1]);
    bb_batch_builder_destroy(&fresh);
    s_world_end(&world);
}

// ---- subsets ----

static bool s_keep_by_hash(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                           uint32_t metric)
{
    uint64_t density = *(uint64_t *)context;
    bb_random_t random = bb_random_seed((uint64_t)frame << 32 | metric);
    assert_true(frame >= at->frame_first && frame < at->frame_first + at->run->frame_count);
    return bb_random_chance(&random, density, 16);
}

// The subset holds exactly `expected`, in order, and nothing in its tables that is not used.
static void s_expect_subset(const bb_batch_t *original, const uint8_t *bytes, size_t length,
                            const support_points_t *expected)
{
    bb_batch_t batch;
    s_open(&batch, bytes, length);
    assert_int_equal(batch.revision, original->revision);
    support_points_t points = support_points(&batch, NULL, NULL, NULL);
    assert_int_equal(points.count, expected->count);
    for (size_t i = 0; i < points.count; i++) {
        assert_true(support_point_is_equal(&points.points[i], &expected->points[i]));
        bool is_next = i > 0 && points.points[i].frame != points.points[i - 1].frame;
        bool was_next = i > 0 && expected->points[i].frame != expected->points[i - 1].frame;
        assert_int_equal(is_next, was_next);
    }
    bool *battery_used = calloc(batch.battery_count, 1), *shape_used = calloc(batch.shape_count, 1);
    for (uint32_t r = 0; r < batch.run_count; r++) {
        battery_used[batch.runs[r].battery] = shape_used[batch.runs[r].shape] = true;
    }
    for (uint32_t i = 0; i < batch.battery_count; i++) {
        assert_true(battery_used[i]);
        bb_slice_t id = batch.batteries[i].id;
        for (uint32_t j = 0; j < original->battery_count; j++) {
            if (support_is_equal(id, original->batteries[j].id)) {
                assert_int_equal(batch.batteries[i].attribute_count,
                                 original->batteries[j].attribute_count);
            }
        }
    }
    for (uint32_t i = 0; i < batch.shape_count; i++) {
        assert_true(shape_used[i]);
    }
    for (uint32_t i = 0; i < batch.state_count; i++) {
        bool is_used = false;
        for (size_t n = 0; n < points.count && !is_used; n++) {
            is_used = points.points[n].type == BB_TYPE_STATE &&
                      support_is_equal(points.points[n].state, batch.states[i]);
        }
        assert_true(is_used);
    }
    free(battery_used);
    free(shape_used);
    free(points.points);
    bb_batch_close(&batch);
}

static void test_subsets_equal_the_definition(void **state)
{
    (void)state;
    s_world_t world;
    s_world_start(&world, 9, 150);
    uint8_t *bytes;
    size_t length;
    bb_batch_builder_finish(world.builder, &bytes, &length, NULL);
    bb_batch_t batch;
    s_open(&batch, bytes, length);
    bb_random_t random = bb_random_seed(10);
    bool keep[16];
    assert_true(batch.part_count > 4 && batch.part_count <= 16);
    for (int round = 0; round < 120; round++) {
        static const uint64_t densities[] = {16, 15, 8, 1, 0};
        uint64_t density = densities[round % 5];
        for (uint32_t p = 0; p < batch.part_count; p++) {
            keep[p] = round < 5 || bb_random_chance(&random, (uint64_t)round % 5 + 1, 5);
        }
        bb_batch_keep_point_fn keep_point = round % 2 ? s_keep_by_hash : NULL;
        support_points_t expected = support_points(&batch, keep, keep_point, &density);
        uint8_t *out = NULL;
        size_t out_length = 0;
        bb_error_t error = bb_batch_subset(&batch, keep, keep_point, &density, &out, &out_length);
        assert_int_equal(error, expected.count > 0 ? BB_OK : BB_ERR_NOT_FOUND);
        if (error == BB_OK) {
            s_expect_subset(&batch, out, out_length, &expected);
        } else {
            assert_null(out);
        }
        free(out);
        free(expected.points);
    }
    bb_batch_close(&batch);
    free(bytes);
    s_world_end(&world);
}

// Goal: a batch that other writers may send, though our builder does not: a battery under one id
// twice, in two partitions, and runs that repeat. Subsets keep it as it is.
static void test_subset_keeps_foreign_order(void **state)
{
    (void)state;
    bb_slice_t name = support_text("soc_pct");
    uint8_t type = BB_TYPE_FLOAT64;
    bb_batch_shape_t shape = {.metric_count = 1, .names = &name, .types = &type, .frame_count = 7};
    bb_batch_battery_t batteries[] = {{support_text("b"), 0, NULL}, {support_text("b"), 0, NULL}};
    uint8_t *bytes, *out;
    size_t length, out_length;
    int64_t times[7];
    uint64_t values[7];
    static const bb_batch_part_t parts[] = {{1, 0, 3, 4}, {2, 3, 1, 2}, {5, 4, 1, 1}};
    static const bb_batch_run_t runs[] = {
        {1, 0, 1, 0}, {0, 0, 2, 0}, {1, 0, 1, 0}, {0, 0, 2, 0}, {1, 0, 1, 0}};
    for (uint32_t f = 0; f < 7; f++) {
        times[f] = 100 - (int64_t)f;
        values[f] = f;
    }
    bb_batch_draft_t draft = {.tables = {.part_count = 3,
                                         .run_count = 5,
                                         .frame_count = 7,
                                         .battery_count = 2,
                                         .shape_count = 1,
                                         .parts = parts,
                                         .runs = runs,
                                         .times_wall_ns = times,
                                         .batteries = batteries,
                                         .shapes = &shape},
                              .values = values};
    assert_int_equal(bb_batch_draft_write(&draft, &bytes, &length), BB_OK);
    bb_batch_t batch;
    s_open(&batch, bytes, length);
    for (uint32_t mask = 1; mask < 8; mask++) {
        bool keep[] = {mask & 1, mask & 2, mask & 4};
        support_points_t expected = support_points(&batch, keep, NULL, NULL);
        assert_int_equal(bb_batch_subset(&batch, keep, NULL, NULL, &out, &out_length), BB_OK);
        s_expect_subset(&batch, out, out_length, &expected);
        bb_batch_t subset;
        s_open(&subset, out, out_length);
        uint32_t part = 0;
        for (uint32_t p = 0; p < 3; p++) {
            if (keep[p]) {
                assert_int_equal(subset.parts[part].partition, parts[p].partition);
                assert_int_equal(subset.parts[part].run_count, parts[p].run_count);
                assert_int_equal(subset.parts[part++].frame_count, parts[p].frame_count);
            }
        }
        assert_int_equal(subset.part_count, part);
        bb_batch_close(&subset);
        free(out);
        free(expected.points);
    }
    bb_batch_close(&batch);
    free(bytes);
}

// ---- limits ----

// Keeps the metrics whose bit is set in the frame's number (and the last one, so that none is
// empty): nearly every frame gets a shape of its own.
static bool s_keep_by_bits(void *context, const bb_batch_cursor_t *at, uint32_t frame,
                           uint32_t metric)
{
    (void)at;
    uint32_t bits = *(uint32_t *)context;
    return metric >= bits || frame >> metric & 1;
}

static void s_wide_batch(uint32_t metric_count, size_t name_length, uint32_t frame_count,
                         uint8_t **bytes, size_t *length)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    char names[BB_FRAME_METRICS_MAX][BB_METRIC_NAME_BYTES_MAX + 1];
    bb_slice_t slices[BB_FRAME_METRICS_MAX];
    uint8_t types[BB_FRAME_METRICS_MAX];
    uint32_t order[BB_FRAME_METRICS_MAX], battery, shape;
    uint64_t values[BB_FRAME_METRICS_MAX] = {0};
    for (uint32_t m = 0; m < metric_count; m++) {
        snprintf(names[m], sizeof names[m], "%0*u", (int)name_length, m);
        slices[m] = bb_slice(names[m], name_length);
        types[m] = BB_TYPE_INT64;
    }
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, support_text("b"), NULL, 0, &battery, NULL), BB_OK);
    assert_int_equal(
        bb_batch_builder_shape(builder, slices, types, metric_count, &shape, order, NULL), BB_OK);
    for (uint32_t f = 0; f < frame_count; f++) {
        values[0] = f;
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape, f, values), BB_OK);
    }
    bb_batch_builder_finish(builder, bytes, length, NULL);
    bb_batch_builder_destroy(&builder);
}

// Goal: a subset that would need too many shapes, or too many bytes of names, says so.
static void test_subset_limits(void **state)
{
    (void)state;
    static const struct {
        uint32_t metric_count, frame_count, bits;
        size_t name_length;
        bb_error_t expected;
    } cases[] = {
        {14, 4096, 12, 4, BB_OK}, // 4,095 new shapes and the whole one
        {14, 4200, 13, 4, BB_ERR_LIMIT},
        {256, 1800, 11, 64, BB_ERR_BATCH_BYTES},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint8_t *bytes, *out = NULL;
        size_t length, out_length;
        s_wide_batch(cases[i].metric_count, cases[i].name_length, cases[i].frame_count, &bytes,
                     &length);
        bb_batch_t batch;
        s_open(&batch, bytes, length);
        bool keep = true;
        uint32_t bits = cases[i].bits;
        assert_int_equal(bb_batch_subset(&batch, &keep, s_keep_by_bits, &bits, &out, &out_length),
                         cases[i].expected);
        if (out) {
            support_points_t expected = support_points(&batch, &keep, s_keep_by_bits, &bits);
            s_expect_subset(&batch, out, out_length, &expected);
            free(expected.points);
        }
        free(out);
        bb_batch_close(&batch);
        free(bytes);
    }
}

// Goal: a builder takes frames until the batch is full; values that cannot be packed make a batch
// that is not larger than 8 MiB, not far from it, opens, and any part of it can be taken out.
static void test_full_batch(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t names[] = {support_text("a"), support_text("b"), support_text("c")};
    uint8_t types[] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_FLOAT64};
    uint32_t shape, order[3], battery[50];
    uint64_t values[3] = {1, 2, 1};
    bb_random_t random = bb_random_seed(31);
    assert_int_equal(bb_batch_builder_shape(builder, names, types, 3, &shape, order, NULL), BB_OK);
    for (uint32_t b = 0; b < 50; b++) {
        char id[8];
        snprintf(id, sizeof id, "%u", b);
        assert_int_equal(
            bb_batch_builder_battery(builder, b / 10, support_text(id), NULL, 0, &battery[b], NULL),
            BB_OK);
    }
    uint32_t taken = 0;
    for (bool is_full = false; !is_full; taken += !is_full) {
        for (uint32_t m = 0; m < 3; m++) {
            values[m] = bb_random_next(&random);
        }
        int64_t time = (int64_t)bb_random_below(&random, (uint64_t)BB_TIME_WALL_NS_LIMIT);
        bb_error_t error =
            bb_batch_builder_frame(builder, battery[taken % 50], shape, time, values);
        is_full = error == BB_ERR_BATCH_BYTES;
        assert_true(is_full || error == BB_OK);
    }
    assert_int_equal(bb_batch_builder_frame(builder, battery[0], shape, 0, values),
                     BB_ERR_BATCH_BYTES);
    assert_int_equal(bb_batch_builder_frame_count(builder), taken);
    // A name that would not fit is refused, too, and one that is known is not.
    char long_id[129];
    memset(long_id, 'x', sizeof long_id);
    uint32_t handle;
    bb_fault_t fault;
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, bb_slice(long_id, 128), NULL, 0, &handle, &fault),
        BB_ERR_BATCH_BYTES);
    assert_int_equal(bb_batch_builder_state(builder, bb_slice(long_id, 128), &handle, &fault),
                     BB_ERR_BATCH_BYTES);
    assert_int_equal(
        bb_batch_builder_battery(builder, 4, support_text("49"), NULL, 0, &handle, &fault), BB_OK);
    uint8_t *bytes, *out;
    size_t length, out_length;
    bb_batch_builder_finish(builder, &bytes, &length, NULL);
    assert_true(length <= BB_BATCH_BYTES_MAX && length > BB_BATCH_BYTES_MAX - 65536);
    bb_batch_t batch;
    s_open(&batch, bytes, length);
    assert_int_equal(batch.part_count, 5);
    for (uint32_t dropped = 0; dropped <= 5; dropped += 5) {
        bool keep[6] = {true, true, true, true, true, true};
        keep[dropped] = false;
        support_points_t expected = support_points(&batch, keep, NULL, NULL);
        assert_int_equal(bb_batch_subset(&batch, keep, NULL, NULL, &out, &out_length), BB_OK);
        bb_batch_t subset;
        s_open(&subset, out, out_length);
        support_points_t points = support_points(&subset, NULL, NULL, NULL);
        assert_int_equal(points.count, expected.count);
        for (size_t i = 0; i < points.count; i++) {
            assert_true(support_point_is_equal(&points.points[i], &expected.points[i]));
        }
        free(points.points);
        free(expected.points);
        bb_batch_close(&subset);
        free(out);
    }
    bb_batch_close(&batch);
    free(bytes);
    bb_batch_builder_destroy(&builder);
}

// ---- what the builder refuses ----

static void s_expect_battery(bb_batch_builder_t *builder, const char *id, size_t length,
                             bb_error_t expected)
{
    uint32_t battery;
    bb_fault_t fault = {0};
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, bb_slice(id, length), NULL, 0, &battery, &fault),
        expected);
    assert_int_equal(fault.error, expected);
    assert_int_equal(strlen(fault.text) > 0, expected != BB_OK);
}

static void test_bad_names_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    char long_text[300];
    memset(long_text, 'n', sizeof long_text);
    s_expect_battery(builder, long_text, 128, BB_OK);
    s_expect_battery(builder, "", 0, BB_ERR_BATTERY_ID);
    s_expect_battery(builder, long_text, 129, BB_ERR_BATTERY_ID);
    static const char *const bad[] = {"a\x1f",
                                      "a\nb",
                                      "\x7f",
                                      "\xc3",
                                      "\xc3(",
                                      "\xff",
                                      "\xc0\x80",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xe2\x82",
                                      "12345678\x80zzzzzzz"};
    static const char *const good[] = {" ",
                                       "\xc3\xa4",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x94\x8b",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf",
                                       "12345678\xc3\xa4"};
    uint8_t type = BB_TYPE_BOOL;
    uint32_t shape, order, text;
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bb_slice_t name = support_text(bad[i]);
        s_expect_battery(builder, bad[i], name.length, BB_ERR_BATTERY_ID);
        assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL),
                         BB_ERR_METRIC_NAME);
        bool is_state = i < 3; // control characters are allowed there
        assert_int_equal(bb_batch_builder_state(builder, name, &text, NULL),
                         is_state ? BB_OK : BB_ERR_STATE_TEXT);
    }
    for (size_t i = 0; i < BB_COUNT_OF(good); i++) {
        bb_slice_t name = support_text(good[i]);
        s_expect_battery(builder, good[i], name.length, BB_OK);
        assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_state(builder, name, &text, NULL), BB_OK);
    }
    s_expect_battery(builder, "a\0b", 3, BB_ERR_BATTERY_ID);
    bb_slice_t names[] = {bb_slice(long_text, 64), bb_slice(long_text, 65), bb_slice(NULL, 0)};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(bb_batch_builder_shape(builder, &names[i], &type, 1, &shape, &order, NULL),
                         i == 0 ? BB_OK : BB_ERR_METRIC_NAME);
    }
    assert_int_equal(bb_batch_builder_state(builder, bb_slice(long_text, 256), &text, NULL), BB_OK);
    assert_int_equal(bb_batch_builder_state(builder, bb_slice(long_text, 257), &text, NULL),
                     BB_ERR_STATE_TEXT);
    bb_batch_builder_destroy(&builder);
}

static void test_bad_shapes_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    char names[BB_FRAME_METRICS_MAX + 1][8];
    bb_slice_t slices[BB_FRAME_METRICS_MAX + 1];
    uint8_t types[BB_FRAME_METRICS_MAX + 1];
    uint32_t order[BB_FRAME_METRICS_MAX + 1], shape, again;
    for (uint32_t m = 0; m <= BB_FRAME_METRICS_MAX; m++) {
        snprintf(names[m], sizeof names[m], "m%u", m);
        slices[m] = support_text(names[m]);
        types[m] = BB_TYPE_FLOAT64;
    }
    bb_fault_t fault;
    assert_int_equal(bb_batch_builder_shape(builder, slices, types, 0, &shape, order, &fault),
                     BB_ERR_FRAME_METRICS);
    assert_int_equal(bb_batch_builder_shape(builder, slices, types, BB_FRAME_METRICS_MAX + 1,
                                            &shape, order, &fault),
                     BB_ERR_FRAME_METRICS);
    assert_int_equal(
        bb_batch_builder_shape(builder, slices, types, BB_FRAME_METRICS_MAX, &shape, order, &fault),
        BB_OK);
    assert_int_equal(
        bb_batch_builder_shape(builder, slices, types, BB_FRAME_METRICS_MAX, &again, order, &fault),
        BB_OK);
    assert_int_equal(again, shape);
    slices[200] = slices[3];
    assert_int_equal(
        bb_batch_builder_shape(builder, slices, types, BB_FRAME_METRICS_MAX, &shape, order, &fault),
        BB_ERR_FRAME_METRICS);
    assert_non_null(strstr(fault.text, "'m3'"));
    for (uint8_t type = 0; type < 7; type++) { // the same name with another type is another shape
        assert_int_equal(bb_batch_builder_shape(builder, slices, &type, 1, &again, order, &fault),
                         bb_type_is_valid(type) ? BB_OK : BB_ERR_VALUE);
        assert_true(!bb_type_is_valid(type) || again != shape);
    }
    bb_batch_builder_reset(builder, 0);
    for (uint32_t i = 0; i <= BB_BATCH_SHAPES_MAX; i++) {
        char name[8];
        snprintf(name, sizeof name, "%u", i);
        bb_slice_t slice = support_text(name);
        assert_int_equal(bb_batch_builder_shape(builder, &slice, types, 1, &shape, order, &fault),
                         i < BB_BATCH_SHAPES_MAX ? BB_OK : BB_ERR_LIMIT);
    }
    for (uint32_t i = 0; i <= BB_BATCH_STATES_MAX; i++) {
        char name[8];
        snprintf(name, sizeof name, "%u", i);
        assert_int_equal(bb_batch_builder_state(builder, support_text(name), &shape, &fault),
                         i < BB_BATCH_STATES_MAX ? BB_OK : BB_ERR_LIMIT);
    }
    bb_batch_builder_destroy(&builder);
}

static void test_bad_attributes_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_attribute_t many[BB_ATTRIBUTES_MAX + 1];
    for (size_t i = 0; i < BB_COUNT_OF(many); i++) {
        many[i] = (bb_attribute_t){support_text("key"), support_text("value")};
    }
    char long_text[300];
    memset(long_text, 'n', sizeof long_text);
    const bb_attribute_t cases[] = {
        {bb_slice(long_text, 64), bb_slice(long_text, 256)}, // the only good one
        {bb_slice(long_text, 65), support_text("v")},
        {support_text("k"), bb_slice(long_text, 257)},
        {support_text(""), support_text("v")},
        {support_text("k"), support_text("")},
        {support_text("k\n"), support_text("v")},
        {support_text("k"), support_text("\xff")},
    };
    uint32_t battery;
    bb_fault_t fault;
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        assert_int_equal(
            bb_batch_builder_battery(builder, 0, support_text("b"), &cases[i], 1, &battery, &fault),
            i == 0 ? BB_OK : BB_ERR_ATTRIBUTES);
    }
    assert_int_equal(bb_batch_builder_battery(builder, 0, support_text("c"), many,
                                              BB_ATTRIBUTES_MAX + 1, &battery, &fault),
                     BB_ERR_ATTRIBUTES);
    assert_int_equal(bb_batch_builder_battery(builder, 0, support_text("c"), many,
                                              BB_ATTRIBUTES_MAX, &battery, &fault),
                     BB_OK);
    // Given again they cost nothing; given differently, the last ones are kept.
    size_t before = bb_batch_builder_bytes(builder);
    assert_int_equal(bb_batch_builder_battery(builder, 0, support_text("c"), many,
                                              BB_ATTRIBUTES_MAX, &battery, &fault),
                     BB_OK);
    assert_int_equal(bb_batch_builder_bytes(builder), before);
    many[0].value = support_text("other");
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, support_text("c"), many, 1, &battery, &fault), BB_OK);
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, support_text("c"), NULL, 0, &battery, &fault), BB_OK);
    bb_slice_t name = support_text("m");
    uint8_t type = BB_TYPE_BOOL, *bytes;
    uint32_t shape, order;
    uint64_t value = 1;
    size_t length;
    assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL), BB_OK);
    assert_int_equal(bb_batch_builder_frame(builder, battery, shape, 0, &value), BB_OK);
    bb_batch_builder_finish(builder, &bytes, &length, NULL);
    bb_batch_t batch;
    s_open(&batch, bytes, length);
    assert_int_equal(batch.battery_count, 1); // "b" has no frame
    assert_int_equal(batch.batteries[0].attribute_count, 1);
    s_expect_slice(batch.batteries[0].attributes[0].value, "other");
    bb_batch_close(&batch);
    free(bytes);
    bb_batch_builder_destroy(&builder);
}

static void test_bad_frames_are_refused(void **state)
{
    (void)state;
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_slice_t names[] = {support_text("a"), support_text("b"), support_text("c")};
    uint8_t types[] = {BB_TYPE_BOOL, BB_TYPE_STATE, BB_TYPE_FLOAT64};
    uint32_t battery, shape, order[3], text;
    assert_int_equal(
        bb_batch_builder_battery(builder, 0, support_text("b"), NULL, 0, &battery, NULL), BB_OK);
    assert_int_equal(bb_batch_builder_shape(builder, names, types, 3, &shape, order, NULL), BB_OK);
    assert_int_equal(bb_batch_builder_state(builder, support_text("Idle"), &text, NULL), BB_OK);
    static const struct {
        int64_t time_wall_ns;
        uint64_t values[3];
        bb_error_t expected;
    } cases[] = {
        {0, {0, 0, UINT64_MAX}, BB_OK},
        {BB_TIME_WALL_NS_LIMIT - 1, {1, 0, 0}, BB_OK},
        {-1, {0, 0, 0}, BB_ERR_TIME_RANGE},
        {BB_TIME_WALL_NS_LIMIT, {0, 0, 0}, BB_ERR_TIME_RANGE},
        {INT64_MIN, {0, 0, 0}, BB_ERR_TIME_RANGE},
        {INT64_MAX, {0, 0, 0}, BB_ERR_TIME_RANGE},
        {0, {2, 0, 0}, BB_ERR_VALUE},
        {0, {UINT64_MAX, 0, 0}, BB_ERR_VALUE},
        {0, {0, 1, 0}, BB_ERR_VALUE},
        {0, {0, UINT64_MAX, 0}, BB_ERR_VALUE},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint32_t before = bb_batch_builder_frame_count(builder);
        assert_int_equal(
            bb_batch_builder_frame(builder, battery, shape, cases[i].time_wall_ns, cases[i].values),
            cases[i].expected);
        assert_int_equal(bb_batch_builder_frame_count(builder),
                         before + (cases[i].expected == BB_OK));
    }
    bb_batch_builder_destroy(&builder);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        uint8_t *bytes;
        size_t length;
        golden_batch(&bytes, &length, NULL);
        int status = support_write(S_GOLDEN, bytes, length);
        free(bytes);
        return status;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_batch),
        cmocka_unit_test(test_random_batches_there_and_back),
        cmocka_unit_test(test_reset_forgets_everything),
        cmocka_unit_test(test_subsets_equal_the_definition),
        cmocka_unit_test(test_subset_keeps_foreign_order),
        cmocka_unit_test(test_subset_limits),
        cmocka_unit_test(test_full_batch),
        cmocka_unit_test(test_bad_names_are_refused),
        cmocka_unit_test(test_bad_shapes_are_refused),
        cmocka_unit_test(test_bad_attributes_are_refused),
        cmocka_unit_test(test_bad_frames_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Splitting a batch and joining the results of its parts: every frame keeps its number.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/bb_write_job.h"

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

// Goal: the map of a subset names, for each of its frames, the frame of the whole batch. Method:
// every frame's time is unique; each of 200 random subsets of random batches is encoded, and its
// times must be those of the mapped frames.
static void frame_maps_follow_the_subset(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 200; round++) {
        bb_batch_builder_t *builder = bb_batch_builder_new(0);
        const bb_slice_t name = s_text("v");
        const uint8_t type = BB_TYPE_INT64;
        uint32_t shape, order, battery;
        assert_int_equal(bb_batch_builder_shape(builder, &name, &type, 1, &shape, &order, NULL),
                         BB_OK);
        int frames = 1 + rand() % 60;
        for (int f = 0; f < frames; f++) {
            char id[16];
            int number = rand() % 12;
            snprintf(id, sizeof id, "b%d", number);
            assert_int_equal(bb_batch_builder_battery(builder, (uint32_t)number % 5, s_text(id),
                                                      NULL, 0, &battery, NULL),
                             BB_OK);
            uint64_t value = (uint64_t)f;
            assert_int_equal(bb_batch_builder_frame(builder, battery, shape, f, &value), BB_OK);
        }
        uint8_t *bytes, *part_bytes;
        size_t length, part_length;
        bb_batch_builder_finish(builder, &bytes, &length, NULL);
        bb_batch_builder_destroy(&builder);
        bb_batch_t batch, part;
        assert_int_equal(bb_batch_open(&batch, bb_slice(bytes, length), NULL), BB_OK);
        bool keep[8] = {0};
        keep[rand() % batch.part_count] = true;
        for (uint32_t p = 0; p < batch.part_count; p++) {
            keep[p] |= rand() % 2 == 0;
        }
        assert_int_equal(bb_batch_subset(&batch, keep, NULL, NULL, &part_bytes, &part_length),
                         BB_OK);
        assert_int_equal(bb_batch_open(&part, bb_slice(part_bytes, part_length), NULL), BB_OK);
        uint32_t count;
        uint32_t *map = bb_write_frame_map(&batch, keep, &count);
        assert_int_equal(count, part.frame_count);
        for (uint32_t f = 0; f < count; f++) {
            assert_true(f == 0 || map[f] > map[f - 1]);
            assert_int_equal(part.times_wall_ns[f], batch.times_wall_ns[map[f]]);
        }
        free(map);
        bb_batch_close(&part);
        bb_batch_close(&batch);
        free(part_bytes);
        free(bytes);
    }
}

// Goal: counts add, rejections are renumbered, and "unknown" prevails over every other error.
static void results_join(void **state)
{
    (void)state;
    bb_write_result_t whole = {0};
    bb_write_rejection_t rejections[2] = {{.frame = 1, .error = BB_ERR_TYPE_CHANGED},
                                          {.frame = UINT32_MAX, .error = BB_ERR_VALUE}};
    bb_write_result_t part = {.acked_frames = 2,
                              .acked_points = 4,
                              .rejected_frames = 1,
                              .rejected_points = 2,
                              .quarantined_points = 3,
                              .rejection_count = 2,
                              .rejections = rejections,
                              .attempts = 2,
                              .latency_ns = 10};
    const uint32_t map[] = {5, 7, 9};
    bb_write_result_join(&whole, &part, map);
    bb_write_result_join(&whole, &part, NULL);
    assert_int_equal(whole.error, BB_OK);
    assert_int_equal(whole.acked_frames, 4);
    assert_int_equal(whole.acked_points, 8);
    assert_int_equal(whole.rejected_frames, 2);
    assert_int_equal(whole.rejected_points, 4);
    assert_int_equal(whole.quarantined_points, 6);
    assert_int_equal(whole.attempts, 4);
    assert_int_equal(whole.latency_ns, 10);
    assert_int_equal(whole.rejection_count, 4);
    assert_int_equal(whole.rejections[0].frame, 7);
    assert_int_equal(whole.rejections[1].frame, UINT32_MAX);
    assert_int_equal(whole.rejections[2].frame, 1);
    const bb_error_t errors[] = {BB_OK, BB_ERR_UNAVAILABLE, BB_ERR_ROLE, BB_ERR_TIMEOUT};
    for (size_t a = 0; a < 4; a++) {
        for (size_t b = 0; b < 4; b++) {
            bb_write_result_t left = {.error = errors[a]}, right = {.error = errors[b]};
            bb_write_result_join(&left, &right, NULL);
            bb_error_t expected = errors[a] == BB_ERR_TIMEOUT || errors[b] == BB_ERR_TIMEOUT
                                      ? BB_ERR_TIMEOUT
                                  : errors[a] != BB_OK ? errors[a]
                                                       : errors[b];
            assert_int_equal(left.error, expected);
        }
    }
    bb_write_result_free(&whole);
}

// Goal: no more rejections are kept than are promised, however many parts there are.
static void joined_rejections_are_bounded(void **state)
{
    (void)state;
    bb_write_result_t whole = {0};
    bb_write_rejection_t *rejections = calloc(BB_REJECTIONS_MAX, sizeof *rejections);
    bb_write_result_t part = {.rejection_count = BB_REJECTIONS_MAX - 1, .rejections = rejections};
    bb_write_result_join(&whole, &part, NULL);
    bb_write_result_join(&whole, &part, NULL);
    assert_int_equal(whole.rejection_count, BB_REJECTIONS_MAX);
    bb_write_result_free(&whole);
    free(rejections);
}

// Goal: an answer that does not add up is not believed. Method: one wrong field at a time.
static void answers_must_add_up(void **state)
{
    (void)state;
    const bb_rejection_t rejection = {
        .frame = 9, .metric = s_text("v"), .error = BB_ERR_TYPE_CHANGED, .detail = s_text("why")};
    const bb_write_reply_t good = {.acked_points = 18,
                                   .rejected_points = 2,
                                   .quarantined_points = 18,
                                   .acked_frames = 9,
                                   .rejected_frames = 1,
                                   .rejection_count = 1,
                                   .rejections = &rejection};
    bb_write_result_t result = {0};
    assert_true(bb_write_result_read(&result, &good, 10, 20));
    assert_int_equal(result.rejections[0].frame, 9);
    assert_string_equal(result.rejections[0].metric, "v");
    assert_string_equal(result.rejections[0].detail, "why");
    bb_write_result_free(&result);
    for (int which = 0; which < 6; which++) {
        bb_write_reply_t bad = good;
        bb_rejection_t outside = rejection;
        switch (which) {
        case 0:
            bad.acked_points = 17;
            break;
        case 1:
            bad.acked_points = 21;
            break;
        case 2:
            bad.acked_frames = 10;
            break;
        case 3:
            bad.quarantined_points = 19;
            break;
        case 4:
            outside.frame = 10;
            bad.rejections = &outside;
            break;
        default:
            bad.rejected_points = UINT64_MAX;
            bad.acked_points = 21;
            break;
        }
        assert_false(bb_write_result_read(&result, &bad, 10, 20));
        assert_null(result.rejections);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_maps_follow_the_subset),
        cmocka_unit_test(results_join),
        cmocka_unit_test(joined_rejections_are_bounded),
        cmocka_unit_test(answers_must_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

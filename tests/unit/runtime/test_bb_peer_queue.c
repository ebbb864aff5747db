// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_peer_queue: order within a line, shares between the two, bounds.
#include "node/runtime/bb_peer_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

#define S_MS BB_NS_PER_MS

static bb_post_t *s_post(bool is_repair, uint32_t number, size_t bytes)
{
    bb_post_t *post = bb_post_new(BB_POST_SEND);
    post->send.peer_index = number;
    post->send.outbound.is_repair = is_repair;
    post->send.outbound.envelope = bb_buffer_new(bb_alloc(bytes), bytes, NULL, NULL);
    return post;
}

static bb_error_t s_put(bb_peer_queue_t *queue, bool is_repair, uint32_t number, size_t bytes,
                        int64_t now_ns)
{
    bb_post_t *post = s_post(is_repair, number, bytes);
    bb_error_t error = bb_peer_queue_put(queue, &post, now_ns);
    assert_int_equal(post != NULL, error != BB_OK);
    bb_post_destroy(&post);
    return error;
}

// Goal: each line keeps its order, whatever the other does, and nothing is lost or left.
static void s_test_order(void **state)
{
    (void)state;
    bb_peer_queue_t queue;
    bb_peer_queue_init(&queue, 1 << 20, 1 << 20);
    assert_true(bb_peer_queue_is_empty(&queue));
    assert_null(bb_peer_queue_take(&queue, 0));
    bb_random_t random = {1};
    uint32_t put[2] = {0}, taken[2] = {0};
    for (uint32_t step = 0; step < 20000; step++) {
        bool is_repair = bb_random_chance(&random, 1, 2);
        if (bb_random_chance(&random, 1, 2)) {
            size_t bytes = (size_t)bb_random_between(&random, 1, 5000);
            put[is_repair] += s_put(&queue, is_repair, put[is_repair], bytes, step) == BB_OK;
            continue;
        }
        bb_post_t *post = bb_peer_queue_take(&queue, step);
        if (post) {
            assert_int_equal(post->send.peer_index, taken[post->send.outbound.is_repair]++);
            bb_post_destroy(&post);
        }
        assert_int_equal(bb_peer_queue_is_empty(&queue), taken[0] == put[0] && taken[1] == put[1]);
    }
    assert_true(taken[0] > 1000 && taken[1] > 1000);
    bb_peer_queue_clear(&queue);
    assert_int_equal(bb_peer_queue_bytes(&queue), 0);
    assert_true(bb_peer_queue_is_empty(&queue));
}

// The share of repair's bytes, in percent, when both always wait, repair's first one for so long.
static double s_share(size_t live_bytes, size_t repair_bytes, int64_t waited_ns)
{
    bb_peer_queue_t queue;
    bb_peer_queue_init(&queue, 1 << 20, 1 << 20);
    uint64_t bytes[2] = {0};
    for (uint32_t i = 0; i < 5000; i++) {
        if (!queue.live.first) {
            assert_int_equal(s_put(&queue, false, i, live_bytes, 0), BB_OK);
        }
        if (!queue.repair.first) {
            assert_int_equal(s_put(&queue, true, i, repair_bytes, 0), BB_OK);
        }
        bb_post_t *post = bb_peer_queue_take(&queue, waited_ns);
        bytes[post->send.outbound.is_repair] += bb_outbound_bytes(&post->send.outbound);
        bb_post_destroy(&post);
    }
    bb_peer_queue_clear(&queue);
    return 100.0 * (double)bytes[1] / (double)(bytes[0] + bytes[1]);
}

// Goal: repair gets a tenth of the bytes, whatever the sizes of messages; up to a half when it has
// waited for long; live chunks never get less than that.
static void s_test_shares(void **state)
{
    (void)state;
    const size_t sizes[][2] = {{1000, 1000}, {200, 100000}, {100000, 2000}, {30000, 100000}};
    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++) {
        double fresh = s_share(sizes[i][0], sizes[i][1], 0);
        assert_true(fresh > 8.5 && fresh < 11.5);
        double old = s_share(sizes[i][0], sizes[i][1], 60 * BB_NS_PER_S);
        assert_true(old > 45 && old < 52);
        double middle = s_share(sizes[i][0], sizes[i][1], 500 * S_MS);
        assert_true(middle > fresh && middle < old);
    }
}

// Goal: each line is bounded for itself, up to its last byte; one always fits an empty line; who
// was alone for long owes nothing.
static void s_test_bounds(void **state)
{
    (void)state;
    bb_peer_queue_t queue;
    bb_peer_queue_init(&queue, 1000, 500);
    assert_int_equal(s_put(&queue, true, 0, 900, 0), BB_OK);
    assert_int_equal(s_put(&queue, true, 1, 1, 0), BB_ERR_BUSY);
    assert_int_equal(s_put(&queue, false, 0, 600, 0), BB_OK);
    assert_int_equal(s_put(&queue, false, 1, 400, 0), BB_OK);
    assert_int_equal(s_put(&queue, false, 2, 1, 0), BB_ERR_BUSY);
    assert_int_equal(bb_peer_queue_bytes(&queue), 1900);
    bb_peer_queue_clear(&queue);
    for (uint32_t i = 0; i < 1000; i++) { // live alone
        assert_int_equal(s_put(&queue, false, i, 1000, 0), BB_OK);
        bb_post_t *post = bb_peer_queue_take(&queue, 0);
        bb_post_destroy(&post);
    }
    assert_int_equal(s_put(&queue, false, 0, 100, 0), BB_OK);
    assert_int_equal(s_put(&queue, true, 0, 100, 0), BB_OK);
    bb_post_t *post = bb_peer_queue_take(&queue, 0);
    assert_false(post->send.outbound.is_repair);
    bb_post_destroy(&post);
    bb_peer_queue_clear(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_order),
        cmocka_unit_test(s_test_shares),
        cmocka_unit_test(s_test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The order of a store's posts: by class, first come first served within one, and nobody starves.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "node/runtime/bb_post_order.h"

#define MS (INT64_C(1) * BB_NS_PER_MS)

static bb_post_t *s_post(bb_post_kind_t kind, bb_kind_t message, uint64_t request_id)
{
    bb_post_t *post = bb_post_new(kind);
    post->request.message.kind = message;
    post->request.message.request_id = request_id;
    return post;
}

// One of each class, by its number.
static bb_post_t *s_of_class(uint32_t class)
{
    switch (class) {
    case BB_POST_CLASS_CONTROL:
        return bb_post_new(BB_POST_PEER_STATE);
    case BB_POST_CLASS_SMALL:
        return s_post(BB_POST_PEER, BB_KIND_REPLICATE_ACK, 0);
    case BB_POST_CLASS_CHUNKS:
        return s_post(BB_POST_PEER, BB_KIND_REPLICATE, 0);
    case BB_POST_CLASS_REPAIR:
        return s_post(BB_POST_PEER, BB_KIND_REPLICATE, 7);
    case BB_POST_CLASS_WRITES:
        return s_post(BB_POST_CLIENT, BB_KIND_WRITE, 7);
    case BB_POST_CLASS_QUERIES:
        return s_post(BB_POST_CLIENT, BB_KIND_QUERY, 7);
    default:
        return bb_post_new(BB_POST_STOP);
    }
}

// The class of the one taken; BB_POST_CLASS_COUNT: there was none.
static uint32_t s_take(bb_post_order_t *order, int64_t now_mono_ns)
{
    bb_post_t *post = bb_post_order_take(order, now_mono_ns);
    if (!post) {
        return BB_POST_CLASS_COUNT;
    }
    uint32_t class = bb_post_class(post);
    free(post); // it holds nothing
    return class;
}

// Goal: each kind is of the class that the header says.
static void classes(void **state)
{
    (void)state;
    for (uint32_t class = 0; class < BB_POST_CLASS_COUNT; class ++) {
        bb_post_t *post = s_of_class(class);
        assert_int_equal(bb_post_class(post), class);
        free(post);
    }
    const struct {
        bb_post_kind_t kind;
        bb_kind_t message;
        bb_post_class_t class;
    } more[] = {
        {BB_POST_PEER, BB_KIND_HAVE, BB_POST_CLASS_SMALL},
        {BB_POST_PEER, BB_KIND_HAVE_REQUEST, BB_POST_CLASS_SMALL},
        {BB_POST_PEER, BB_KIND_PULL, BB_POST_CLASS_REPAIR},
        {BB_POST_PEER, BB_KIND_PULL_DONE, BB_POST_CLASS_REPAIR},
        {BB_POST_CLIENT, BB_KIND_SETTLE, BB_POST_CLASS_QUERIES},
        {BB_POST_JOB_DONE, BB_KIND_HELLO, BB_POST_CLASS_CONTROL},
        {BB_POST_CLOCK, BB_KIND_HELLO, BB_POST_CLASS_CONTROL},
        {BB_POST_DRAIN, BB_KIND_HELLO, BB_POST_CLASS_LAST},
    };
    for (uint32_t i = 0; i < BB_COUNT_OF(more); i++) {
        bb_post_t *post = bb_post_new(more[i].kind);
        if (more[i].kind == BB_POST_PEER || more[i].kind == BB_POST_CLIENT) {
            post->request.message.kind = more[i].message;
        }
        assert_int_equal(bb_post_class(post), more[i].class);
        free(post);
    }
}

// Goal: few posts come by class, and in their own order within one.
static void by_class_and_in_order(void **state)
{
    (void)state;
    bb_post_order_t order = {0};
    assert_null(bb_post_order_take(&order, 0));
    bb_post_t *firsts[BB_POST_CLASS_COUNT];
    for (uint32_t class = BB_POST_CLASS_COUNT; class -- > 0;) {
        firsts[class] = s_of_class(class);
        bb_post_order_put(&order, firsts[class]);
        bb_post_order_put(&order, s_of_class(class));
    }
    assert_int_equal(order.count, 2 * BB_POST_CLASS_COUNT);
    for (uint32_t class = 0; class < BB_POST_CLASS_COUNT; class ++) {
        bb_post_t *post = bb_post_order_take(&order, 0);
        assert_ptr_equal(post, firsts[class]);
        free(post);
        assert_int_equal(s_take(&order, 0), class);
    }
    assert_int_equal(order.count, 0);
    assert_int_equal(s_take(&order, 0), BB_POST_CLASS_COUNT);
}

// How many of each class are served while the classes of `full` never run out.
static void s_serve(uint32_t full, uint32_t turns, int64_t now_mono_ns,
                    uint32_t served[BB_POST_CLASS_COUNT])
{
    bb_post_order_t order = {0};
    for (uint32_t class = 0; class < BB_POST_CLASS_COUNT; class ++) {
        served[class] = 0;
        if (full >> class & 1) {
            bb_post_order_put(&order, s_of_class(class));
        }
    }
    for (uint32_t i = 0; i < turns; i++) {
        uint32_t class = s_take(&order, now_mono_ns);
        served[class]++;
        bb_post_order_put(&order, s_of_class(class));
    }
    while (s_take(&order, now_mono_ns) < BB_POST_CLASS_COUNT) {
    }
}

// Goal: under overload of everything each class gets its share; repair a tenth at least, more the
// longer it waits, and at the expense of intake.
static void nobody_starves(void **state)
{
    (void)state;
    uint32_t served[BB_POST_CLASS_COUNT];
    uint32_t all = (1u << BB_POST_CLASS_COUNT) - 1;
    s_serve(all & ~(1u << BB_POST_CLASS_CONTROL), 10000, 0, served);
    for (uint32_t class = BB_POST_CLASS_SMALL; class < BB_POST_CLASS_LAST; class ++) {
        assert_true(served[class] >= 10000 / 25);
    }
    assert_true(served[BB_POST_CLASS_REPAIR] >= 10000 / 12);
    assert_true(served[BB_POST_CLASS_LAST] >= 10000 / 80);

    uint32_t chunks_and_more =
        1u << BB_POST_CLASS_CHUNKS | 1u << BB_POST_CLASS_REPAIR | 1u << BB_POST_CLASS_WRITES;
    s_serve(chunks_and_more, 10000, 0, served);
    assert_in_range(served[BB_POST_CLASS_REPAIR], 900, 1100);
    uint32_t writes = served[BB_POST_CLASS_WRITES];
    assert_in_range(writes, 500, 700);
    s_serve(chunks_and_more, 10000, 500 * MS, served);
    assert_in_range(served[BB_POST_CLASS_REPAIR], 1800, 2100);
    s_serve(chunks_and_more, 10000, 5000 * MS, served);
    assert_in_range(served[BB_POST_CLASS_REPAIR], 4500, 5100);
    assert_true(served[BB_POST_CLASS_WRITES] <= writes);
}

// A write that came at that time and may wait for 100 ms.
static void s_put_write(bb_post_order_t *order, uint64_t number, int64_t received_ns)
{
    bb_post_t *post = s_post(BB_POST_CLIENT, BB_KIND_WRITE, number);
    post->request.received_mono_ns = received_ns;
    post->request.message.timeout_ns = 100 * MS;
    bb_post_order_put(order, post);
}

static uint64_t s_take_number(bb_post_order_t *order, int64_t now_ns)
{
    bb_post_t *post = bb_post_order_take(order, now_ns);
    assert_non_null(post);
    uint64_t number = post->request.message.request_id;
    free(post);
    return number;
}

// Goal: in order while the first has time; newest first when it has waited for more than half of
// it; late ones first of all, in order; and in order again when the first has time again.
static void newest_first_under_overload(void **state)
{
    (void)state;
    bb_post_order_t order = {0};
    for (uint64_t i = 1; i <= 9; i++) {
        s_put_write(&order, i, (int64_t)i * 10 * MS);
    }
    assert_int_equal(s_take_number(&order, 60 * MS), 1);
    assert_int_equal(s_take_number(&order, 75 * MS), 9);
    assert_int_equal(s_take_number(&order, 80 * MS), 8);
    assert_int_equal(s_take_number(&order, 119 * MS), 7);
    s_put_write(&order, 10, 120 * MS);
    assert_int_equal(s_take_number(&order, 120 * MS), 2); // late
    assert_int_equal(s_take_number(&order, 121 * MS), 10);
    assert_int_equal(s_take_number(&order, 135 * MS), 3); // late
    assert_int_equal(s_take_number(&order, 135 * MS), 6);
    assert_int_equal(s_take_number(&order, 160 * MS), 4); // late
    assert_int_equal(s_take_number(&order, 160 * MS), 5);
    assert_null(bb_post_order_take(&order, 160 * MS));
    assert_int_equal(order.count, 0);
    s_put_write(&order, 11, 160 * MS);
    s_put_write(&order, 12, 161 * MS);
    assert_int_equal(s_take_number(&order, 170 * MS), 11);
    assert_int_equal(s_take_number(&order, 500 * MS), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(by_class_and_in_order),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(newest_first_under_overload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

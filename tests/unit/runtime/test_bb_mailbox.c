// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_mailbox and bb_post: order, bounds, ownership.
#include "node/runtime/bb_mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

static bb_post_t *s_event(uint32_t index)
{
    bb_post_t *post = bb_post_new(BB_POST_EVENT);
    post->event.index = index;
    return post;
}

// Goal: posts of one sender arrive in order; an empty mailbox says so without waiting.
static void s_test_order(void **state)
{
    (void)state;
    bb_mailbox_t *mailbox = bb_mailbox_new("test", 1000);
    bb_outlet_t *outlet = bb_outlet_new(mailbox);
    assert_null(bb_mailbox_receive(mailbox));
    for (uint32_t i = 0; i < 100; i++) {
        bb_post_t *post = s_event(i);
        bb_outlet_send_always(outlet, &post);
        assert_null(post);
    }
    assert_int_equal(bb_mailbox_load(mailbox), 100);
    for (uint32_t i = 0; i < 100; i++) {
        bb_post_t *post = bb_mailbox_receive(mailbox);
        assert_non_null(post);
        assert_int_equal(post->event.index, i);
        bb_post_destroy(&post);
    }
    assert_null(bb_mailbox_receive(mailbox));
    assert_int_equal(bb_mailbox_load(mailbox), 0);
    bb_outlet_destroy(&outlet);
    bb_mailbox_destroy(&mailbox);
}

// Goal: past the bound a post is refused and stays the sender's; receiving makes room again; one
// post fits an empty mailbox whatever its size; posts that must go are not counted.
static void s_test_bound(void **state)
{
    (void)state;
    bb_mailbox_t *mailbox = bb_mailbox_new("test", 1000);
    bb_outlet_t *outlet = bb_outlet_new(mailbox);
    bb_post_t *first = s_event(1), *second = s_event(2), *third = s_event(3), *must = s_event(4);
    assert_int_equal(bb_outlet_send(outlet, &first, 5000), BB_OK);
    assert_int_equal(bb_outlet_send(outlet, &second, 1), BB_ERR_BUSY);
    assert_non_null(second);
    bb_outlet_send_always(outlet, &must);
    bb_post_t *post = bb_mailbox_receive(mailbox);
    bb_post_destroy(&post);
    assert_int_equal(bb_outlet_send(outlet, &second, 600), BB_OK);
    assert_int_equal(bb_outlet_send(outlet, &third, 401), BB_ERR_BUSY);
    assert_int_equal(bb_outlet_send(outlet, &third, 400), BB_OK);
    bb_outlet_destroy(&outlet);
    bb_mailbox_destroy(&mailbox); // frees the three that wait
    assert_null(mailbox);
}

static void s_count_free(void *data, void *hint)
{
    free(data);
    ++*(int *)hint;
}

// Goal: whatever a post holds is let go exactly once, also when nobody took it.
static void s_test_ownership(void **state)
{
    (void)state;
    int freed = 0;
    bb_buffer_t *envelope = bb_buffer_new(bb_alloc(16), 16, s_count_free, &freed);
    bb_buffer_t *body = bb_buffer_new(bb_alloc(16), 16, s_count_free, &freed);
    bb_outbound_t outbound = {.envelope = envelope, .body = body};
    assert_int_equal(bb_outbound_bytes(&outbound), 32);
    bb_mailbox_t *mailbox = bb_mailbox_new("test", 1000);
    bb_outlet_t *outlet = bb_outlet_new(mailbox);
    for (uint32_t i = 0; i < 3; i++) {
        bb_post_t *post = bb_post_new(i == 1 ? BB_POST_ANSWER : BB_POST_SEND);
        if (i == 1) {
            post->answer.outbound = bb_outbound_keep(&outbound);
        } else {
            post->send.outbound = bb_outbound_keep(&outbound);
        }
        assert_int_equal(bb_outlet_send(outlet, &post, 32), BB_OK);
    }
    bb_outbound_drop(&outbound);
    assert_null(outbound.envelope);
    bb_post_t *post = bb_mailbox_receive(mailbox);
    bb_post_destroy(&post);
    assert_int_equal(freed, 0);
    bb_outlet_destroy(&outlet);
    bb_mailbox_destroy(&mailbox);
    assert_int_equal(freed, 2);
}

enum { S_POSTS = 20000 };

typedef struct {
    bb_mailbox_t *mailbox;
    uint32_t index;
} s_sender_t;

static s_sender_t s_senders[3];

static void *s_sender(void *argument)
{
    const s_sender_t *self = argument;
    bb_outlet_t *outlet = bb_outlet_new(self->mailbox);
    for (uint32_t i = 0; i < S_POSTS; i++) {
        bb_post_t *post = s_event(self->index * S_POSTS + i);
        bb_outlet_send_always(outlet, &post);
        if (i % 64 == 0) {
            sched_yield(); // so that the mailbox is empty now and then
        }
    }
    bb_outlet_destroy(&outlet);
    return NULL;
}

static bool s_is_readable(const bb_mailbox_t *mailbox)
{
    struct pollfd item = {.fd = bb_mailbox_fd(mailbox), .events = POLLIN};
    return poll(&item, 1, 0) == 1;
}

// Goal: an ordered mailbox gives what is more urgent first, and what waits in it still counts
// against its bound.
static void s_test_ordered(void **state)
{
    (void)state;
    bb_mailbox_t *mailbox = bb_mailbox_new_ordered("test", 1000);
    bb_outlet_t *outlet = bb_outlet_new(mailbox);
    bb_post_t *write = bb_post_new(BB_POST_CLIENT), *first = write;
    write->request.message.kind = BB_KIND_WRITE;
    bb_post_t *control = bb_post_new(BB_POST_CLOCK);
    assert_int_equal(bb_outlet_send(outlet, &write, 600), BB_OK);
    assert_true(s_is_readable(mailbox));
    bb_outlet_send_always(outlet, &control);
    bb_post_t *post = bb_mailbox_receive(mailbox);
    assert_int_equal(post->kind, BB_POST_CLOCK);
    bb_post_destroy(&post);
    assert_true(s_is_readable(mailbox));
    assert_int_equal(bb_mailbox_load(mailbox), 1);
    bb_post_t *more = bb_post_new(BB_POST_CLOCK);
    assert_int_equal(bb_outlet_send(outlet, &more, 600), BB_ERR_BUSY);
    post = bb_mailbox_receive(mailbox);
    assert_ptr_equal(post, first);
    free(post); // it holds nothing
    assert_null(bb_mailbox_receive(mailbox));
    assert_false(s_is_readable(mailbox));
    assert_int_equal(bb_outlet_send(outlet, &more, 600), BB_OK);
    bb_outlet_destroy(&outlet);
    bb_mailbox_destroy(&mailbox); // with what is left
}

// Goal: the descriptor is readable exactly while something waits, in the list or taken and not yet
// received. Method: random sends and receives of one thread, in both kinds of mailbox.
static void s_test_readable(void **state)
{
    (void)state;
    for (int is_ordered = 0; is_ordered < 2; is_ordered++) {
        bb_mailbox_t *mailbox =
            is_ordered ? bb_mailbox_new_ordered("test", 1000) : bb_mailbox_new("test", 1000);
        bb_outlet_t *outlet = bb_outlet_new(mailbox);
        bb_random_t random = bb_random_seed(7);
        uint32_t waiting = 0, next = 0, expected = 0;
        for (uint32_t step = 0; step < 20000; step++) {
            if (bb_random_chance(&random, 1, 2)) {
                bb_post_t *post = s_event(next++);
                bb_outlet_send_always(outlet, &post);
                waiting++;
                assert_true(s_is_readable(mailbox));
                continue;
            }
            bb_post_t *post = bb_mailbox_receive(mailbox);
            if (waiting == 0) {
                assert_null(post);
                assert_false(s_is_readable(mailbox));
                continue;
            }
            assert_int_equal(post->event.index, expected++);
            bb_post_destroy(&post);
            waiting--;
            assert_true(waiting == 0 || s_is_readable(mailbox));
        }
        bb_outlet_destroy(&outlet);
        bb_mailbox_destroy(&mailbox);
    }
}

// Goal: posts of several threads all arrive, each sender's in its order, and the sanitizer sees the
// hand-over.
static void s_test_threads(void **state)
{
    (void)state;
    bb_mailbox_t *mailbox = bb_mailbox_new("test", 1000);
    pthread_t threads[3];
    uint32_t next[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        s_senders[i] = (s_sender_t){mailbox, i};
        assert_int_equal(pthread_create(&threads[i], NULL, s_sender, &s_senders[i]), 0);
    }
    uint32_t received = 0;
    while (received < 3 * S_POSTS) { // a signal that is lost ends this by the time limit of tests
        struct pollfd item = {.fd = bb_mailbox_fd(mailbox), .events = POLLIN};
        assert_int_equal(poll(&item, 1, 10000), 1);
        for (bb_post_t *post = bb_mailbox_receive(mailbox); post;
             post = bb_mailbox_receive(mailbox)) {
            uint32_t sender = post->event.index / S_POSTS;
            assert_int_equal(post->event.index % S_POSTS, next[sender]++);
            received++;
            bb_post_destroy(&post);
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    bb_mailbox_destroy(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_order),     cmocka_unit_test(s_test_bound),
        cmocka_unit_test(s_test_ownership), cmocka_unit_test(s_test_ordered),
        cmocka_unit_test(s_test_readable),  cmocka_unit_test(s_test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

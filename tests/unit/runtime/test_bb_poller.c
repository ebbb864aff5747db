// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_poller: what is there is seen, before a wait, during one, and after the
// socket was used. Inproc sockets and descriptors only.
#include "node/runtime/bb_poller.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#define S_LONG_MS 20000 // a wait that must end before: tests have a time limit

typedef struct {
    void *context, *in, *out;
} s_pair_t;

static s_pair_t s_new(int in_kind, int out_kind)
{
    s_pair_t pair = {.context = zmq_ctx_new()};
    pair.in = zmq_socket(pair.context, in_kind);
    pair.out = zmq_socket(pair.context, out_kind);
    assert_int_equal(zmq_bind(pair.in, "inproc://pair"), 0);
    assert_int_equal(zmq_connect(pair.out, "inproc://pair"), 0);
    return pair;
}

static void s_free(s_pair_t *pair)
{
    zmq_close(pair->in);
    zmq_close(pair->out);
    zmq_ctx_term(pair->context);
}

static void s_send(void *socket, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(zmq_send(socket, "x", 1, 0), 1);
    }
}

static uint32_t s_receive(void *socket, uint32_t limit)
{
    char text[16];
    uint32_t count = 0;
    while (count < limit && zmq_recv(socket, text, sizeof text, ZMQ_DONTWAIT) > 0) {
        count++;
    }
    return count;
}

// Goal: messages that were not all taken are seen by the next wait, which does not wait; an empty
// socket is not ready, and neither is one whose descriptor only told of a connection.
static void s_test_ready(void **state)
{
    (void)state;
    s_pair_t pair = s_new(ZMQ_PULL, ZMQ_PUSH);
    bb_poller_t poller = {.count = 0};
    uint32_t in = bb_poller_add(&poller, pair.in);
    assert_true(bb_poller_wait(&poller, 0));
    assert_false(bb_poller_is_ready(&poller, in));
    assert_true(bb_poller_wait(&poller, 5));
    assert_false(bb_poller_is_ready(&poller, in));
    for (uint32_t round = 0; round < 50; round++) {
        s_send(pair.out, 5);
        for (uint32_t taken = 0; taken < 5; taken += 2) {
            assert_true(bb_poller_wait(&poller, S_LONG_MS));
            assert_true(bb_poller_is_ready(&poller, in));
            s_receive(pair.in, 2);
        }
        assert_true(bb_poller_wait(&poller, 0));
        assert_false(bb_poller_is_ready(&poller, in));
    }
    s_free(&pair);
}

// Goal: one that is always busy does not hide the others.
static void s_test_busy(void **state)
{
    (void)state;
    s_pair_t pair = s_new(ZMQ_PULL, ZMQ_PUSH), other = s_new(ZMQ_PULL, ZMQ_PUSH);
    int fd = eventfd(0, EFD_NONBLOCK);
    bb_poller_t poller = {.count = 0};
    uint32_t busy = bb_poller_add(&poller, pair.in), quiet = bb_poller_add(&poller, other.in);
    uint32_t descriptor = bb_poller_add_fd(&poller, fd);
    s_send(pair.out, 100);
    assert_true(bb_poller_wait(&poller, S_LONG_MS));
    assert_true(bb_poller_is_ready(&poller, busy));
    assert_false(bb_poller_is_ready(&poller, quiet));
    assert_false(bb_poller_is_ready(&poller, descriptor));
    s_receive(pair.in, 1);
    s_send(other.out, 1);
    assert_int_equal(write(fd, &(uint64_t){1}, 8), 8);
    assert_true(bb_poller_wait(&poller, S_LONG_MS));
    assert_true(bb_poller_is_ready(&poller, busy));
    assert_true(bb_poller_is_ready(&poller, quiet));
    assert_true(bb_poller_is_ready(&poller, descriptor));
    close(fd);
    s_free(&pair);
    s_free(&other);
}

// Goal: a message that arrived while the socket was used for something else is seen, although its
// descriptor was read meanwhile.
static void s_test_used(void **state)
{
    (void)state;
    s_pair_t pair = s_new(ZMQ_PAIR, ZMQ_PAIR);
    bb_poller_t poller = {.count = 0};
    uint32_t in = bb_poller_add(&poller, pair.in);
    assert_true(bb_poller_wait(&poller, 0));
    s_send(pair.out, 1);
    int events = 0;
    size_t size = sizeof events;
    assert_int_equal(zmq_getsockopt(pair.in, ZMQ_EVENTS, &events, &size), 0); // as a send may do
    assert_true(events & ZMQ_POLLIN);
    bb_poller_used(&poller, in);
    assert_true(bb_poller_wait(&poller, S_LONG_MS));
    assert_true(bb_poller_is_ready(&poller, in));
    s_free(&pair);
}

typedef struct {
    void *out;
    int back;
    uint32_t rounds;
} s_echo_t;

// Sends one, and the next when the last was taken.
static void *s_echo(void *argument)
{
    const s_echo_t *self = argument;
    for (uint32_t i = 0; i < self->rounds; i++) {
        zmq_send(self->out, "x", 1, 0);
        struct pollfd item = {.fd = self->back, .events = POLLIN};
        uint64_t count = 0;
        if (poll(&item, 1, S_LONG_MS) != 1 || read(self->back, &count, 8) != 8) {
            break;
        }
    }
    return NULL;
}

// Goal: no message of another thread is slept over, whichever moment it comes in: 5,000 of them,
// each after the one before was taken.
static void s_test_threads(void **state)
{
    (void)state;
    s_pair_t pair = s_new(ZMQ_PULL, ZMQ_PUSH);
    s_echo_t echo = {pair.out, eventfd(0, EFD_NONBLOCK), 5000};
    bb_poller_t poller = {.count = 0};
    uint32_t in = bb_poller_add(&poller, pair.in);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, s_echo, &echo), 0);
    for (uint32_t taken = 0; taken < echo.rounds;) {
        assert_true(bb_poller_wait(&poller, S_LONG_MS));
        assert_true(bb_poller_is_ready(&poller, in));
        // Now and then it is not read empty, and now and then it is read once more.
        uint32_t count = s_receive(pair.in, taken % 3 == 0 ? 1 : 5);
        assert_int_equal(count, 1);
        taken += count;
        assert_int_equal(write(echo.back, &(uint64_t){1}, 8), 8);
    }
    pthread_join(thread, NULL);
    close(echo.back);
    s_free(&pair);
}

// Goal: when the sockets' context ends, a wait says so.
static void *s_end(void *context)
{
    zmq_ctx_shutdown(context);
    return NULL;
}

static void s_test_end(void **state)
{
    (void)state;
    s_pair_t pair = s_new(ZMQ_PULL, ZMQ_PUSH);
    bb_poller_t poller = {.count = 0};
    bb_poller_add(&poller, pair.in);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, s_end, pair.context), 0);
    while (bb_poller_wait(&poller, S_LONG_MS)) {
    }
    pthread_join(thread, NULL);
    s_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_ready), cmocka_unit_test(s_test_busy),
        cmocka_unit_test(s_test_used),  cmocka_unit_test(s_test_threads),
        cmocka_unit_test(s_test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_frame: frames between two inproc sockets, without copies and without
// leaks. No ports.
#include "node/runtime/bb_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zmq.h>

typedef struct {
    void *context, *router, *dealer;
} s_pair_t;

static int s_setup(void **state)
{
    s_pair_t *pair = bb_alloc_zero(1, sizeof *pair);
    pair->context = zmq_ctx_new();
    pair->router = zmq_socket(pair->context, ZMQ_ROUTER);
    pair->dealer = zmq_socket(pair->context, ZMQ_DEALER);
    int mandatory = 1;
    zmq_setsockopt(pair->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory);
    *state = pair;
    return zmq_bind(pair->router, "inproc://frames") + zmq_connect(pair->dealer, "inproc://frames");
}

static int s_teardown(void **state)
{
    s_pair_t *pair = *state;
    zmq_close(pair->router);
    zmq_close(pair->dealer);
    zmq_ctx_term(pair->context);
    free(pair);
    return 0;
}

static void s_count_free(void *data, void *hint)
{
    free(data);
    ++*(int *)hint;
}

static bb_buffer_t *s_buffer(size_t length, uint8_t fill, int *freed)
{
    uint8_t *data = bb_alloc(length + 1);
    memset(data, fill, length);
    return bb_buffer_new(data, length, s_count_free, freed);
}

// Goal: every frame size arrives intact and aligned; NULL frames are left out; large frames are
// lent (the account says so) and come back to zero when the receiver lets go.
static void s_test_round_trip(void **state)
{
    s_pair_t *pair = *state;
    const size_t sizes[] = {0, 1, 33, 34, 1023, 1024, 1025, 100000, 1 << 20};
    for (size_t s = 0; s < BB_COUNT_OF(sizes); s++) {
        int freed = 0;
        _Atomic uint64_t account = 0;
        bb_buffer_t *first = s_buffer(16, 1, &freed), *second = s_buffer(sizes[s], 2, &freed);
        bb_buffer_t *frames[] = {first, NULL, second};
        assert_true(bb_frame_send(pair->dealer, NULL, 0, frames, 3, &account));
        assert_int_equal(atomic_load(&account), sizes[s] >= 1024 ? sizes[s] : 0);
        bb_buffer_drop(&first);
        bb_buffer_drop(&second);
        bb_received_t received;
        assert_true(bb_received_read(&received, pair->router));
        assert_int_equal(received.frame_count, 2);
        assert_int_equal(received.routing_id_length, 5);
        assert_int_equal(received.routing_id[0], 0);
        assert_int_equal(received.bytes, 16 + sizes[s]);
        bb_slice_t bytes = bb_buffer_slice(received.frames[1]);
        assert_int_equal(bytes.length, sizes[s]);
        assert_int_equal((uintptr_t)bytes.data % 8, 0);
        for (size_t i = 0; i < bytes.length; i++) {
            assert_int_equal(((const uint8_t *)bytes.data)[i], 2);
        }
        bb_received_drop(&received);
        assert_int_equal(atomic_load(&account), 0);
        assert_int_equal(freed, 2);
    }
}

// Goal: frames past the fourth are counted and dropped, and the next message is whole.
static void s_test_too_many_frames(void **state)
{
    s_pair_t *pair = *state;
    for (int i = 0; i < 6; i++) {
        zmq_send(pair->dealer, "x", 1, i < 5 ? ZMQ_SNDMORE : 0);
    }
    zmq_send(pair->dealer, "next", 4, 0);
    bb_received_t received;
    assert_true(bb_received_read(&received, pair->router));
    assert_int_equal(received.frame_count, 6);
    assert_int_equal(received.bytes, 6);
    assert_non_null(received.frames[3]);
    assert_string_equal(received.user_id, "");
    bb_received_drop(&received);
    assert_true(bb_received_read(&received, pair->router));
    assert_int_equal(received.frame_count, 1);
    assert_memory_equal(bb_buffer_slice(received.frames[0]).data, "next", 4);
    bb_received_drop(&received);
    assert_false(bb_received_read(&received, pair->router));
}

// Goal: an answer reaches its routing id; to someone unknown it fails and nothing is kept.
static void s_test_routing(void **state)
{
    s_pair_t *pair = *state;
    int freed = 0;
    _Atomic uint64_t account = 0;
    bb_buffer_t *body = s_buffer(5000, 7, &freed);
    zmq_send(pair->dealer, "q", 1, 0);
    bb_received_t received;
    assert_true(bb_received_read(&received, pair->router));
    assert_true(bb_frame_send(pair->router, received.routing_id, received.routing_id_length, &body,
                              1, &account));
    assert_false(bb_frame_send(pair->router, "\0none", 5, &body, 1, &account));
    bb_received_drop(&received);
    char answer[5000];
    assert_int_equal(zmq_recv(pair->dealer, answer, sizeof answer, ZMQ_DONTWAIT), 5000);
    assert_int_equal(answer[4999], 7);
    assert_int_equal(atomic_load(&account), 0);
    bb_buffer_drop(&body);
    assert_int_equal(freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(s_test_round_trip, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_too_many_frames, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_routing, s_setup, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The view of a cluster and the choice of nodes: against definitions, on small tables made by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/bb_liveness.h"
#include "client/bb_view.h"
#include "protocol/bb_placement.h"

#define NONE BB_REPLICA_NONE

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

typedef struct {
    bb_hello_node_t nodes[4];
    uint16_t replicas[16];
    bb_hello_reply_t reply;
} s_hello_t;

// Four nodes, two data centres, four partitions of three replicas.
static void s_hello(s_hello_t *self)
{
    static const char *const ids[] = {"n1", "n2", "n3", "n4"};
    static const char *const dcs[] = {"dc1", "dc1", "dc2", "dc2"};
    static const uint16_t replicas[] = {0, 1, 2, 1, 2, 3, 2, 3, 0, 3, 0, NONE};
    memset(self, 0, sizeof *self);
    for (uint32_t n = 0; n < 4; n++) {
        self->nodes[n] = (bb_hello_node_t){.id = s_text(ids[n]),
                                           .dc = s_text(dcs[n]),
                                           .client_endpoint = s_text("tcp://127.0.0.1:1"),
                                           .weight = 100};
    }
    memcpy(self->replicas, replicas, sizeof replicas);
    self->reply = (bb_hello_reply_t){.cluster_name = s_text("test"),
                                     .node_id = s_text("n1"),
                                     .partition_count = 4,
                                     .node_count = 4,
                                     .nodes = self->nodes,
                                     .replica_stride = 3,
                                     .replicas = self->replicas};
}

static bb_view_t *s_view(void)
{
    s_hello_t hello;
    s_hello(&hello);
    bb_view_t *view = NULL;
    bb_fault_t fault;
    assert_int_equal(bb_view_new(&hello.reply, 7, &view, &fault), BB_OK);
    return view;
}

// Goal: a view says what the HELLO_REPLY said. Method: compare field by field.
static void view_copies_the_reply(void **state)
{
    (void)state;
    bb_view_t *view = s_view();
    assert_int_equal(view->epoch, 7);
    assert_int_equal(view->node_count, 4);
    assert_string_equal(view->nodes[2].id, "n3");
    assert_string_equal(view->nodes[2].dc, "dc2");
    assert_true(bb_view_is_replica(view, 0, 2));
    assert_false(bb_view_is_replica(view, 0, 3));
    assert_int_equal(bb_view_node_of_id(view, "n4"), 3);
    assert_int_equal(bb_view_node_of_id(view, "n5"), BB_LINK_NONE);
    const uint8_t key[16] = {0};
    assert_int_equal(bb_view_partition_of(view, s_text("b1")), bb_partition_of(key, "b1", 2, 4));
    bb_view_t *second = bb_view_keep(view);
    bb_view_drop(&view);
    assert_null(view);
    assert_int_equal(second->partition_count, 4);
    bb_view_drop(&second);
}

// Goal: nonsense is refused with a sentence. Method: one wrong field at a time.
static void view_refuses_nonsense(void **state)
{
    (void)state;
    for (int which = 0; which < 9; which++) {
        s_hello_t hello;
        s_hello(&hello);
        static char long_id[BB_NODE_ID_BYTES_MAX + 2];
        memset(long_id, 'x', sizeof long_id - 1);
        switch (which) {
        case 0:
            hello.reply.node_count = 0;
            break;
        case 1:
            hello.reply.partition_count = 3;
            break;
        case 2:
            hello.reply.partition_count = 0;
            break;
        case 3:
            hello.reply.replica_stride = 0;
            break;
        case 4:
            hello.reply.replica_stride = BB_REPLICAS_MAX + 1;
            break;
        case 5:
            hello.replicas[5] = 4;
            break;
        case 6:
            hello.nodes[3].id = s_text("n1");
            break;
        case 7:
            hello.nodes[1].id = s_text("");
            break;
        default:
            hello.nodes[1].id = s_text(long_id);
            break;
        }
        bb_view_t *view = NULL;
        bb_fault_t fault = {0};
        assert_int_equal(bb_view_new(&hello.reply, 1, &view, &fault), BB_ERR_MESSAGE_CORRUPT);
        assert_null(view);
        assert_true(strlen(fault.text) > 10);
    }
}

// Goal: liveness comes before distance, distance before spread. Method: every combination of one
// partition's three replicas, expectation from the definition.
static void choice_follows_rank_then_distance(void **state)
{
    (void)state;
    bb_view_t *view = s_view();
    uint8_t ranks[BB_NODES_MAX] = {0};
    bb_view_choice_t choice = {
        .ranks = ranks, .preferred_dc = "dc2", .only_node = BB_LINK_NONE, .salt = 5};
    assert_int_equal(bb_view_choose(view, &choice, 0), 2); // the only one in dc2
    ranks[2] = BB_RANK_SUSPECT;
    assert_int_equal(bb_view_choose(view, &choice, 0), 2); // slow, but at home
    ranks[2] = BB_RANK_DOWN;
    ranks[0] = BB_RANK_SUSPECT;
    assert_int_equal(bb_view_choose(view, &choice, 0), 1);
    bb_node_set_t tried = {{0}};
    choice.tried = &tried;
    bb_node_set_add(&tried, 1);
    assert_int_equal(bb_view_choose(view, &choice, 0), 0);
    bb_node_set_add(&tried, 0);
    assert_int_equal(bb_view_choose(view, &choice, 0), 2); // down, but nobody else is left
    bb_node_set_add(&tried, 2);
    assert_int_equal(bb_view_choose(view, &choice, 0), BB_LINK_NONE);
    choice.tried = NULL;
    choice.only_node = 3;
    assert_int_equal(bb_view_choose(view, &choice, 0), BB_LINK_NONE); // holds no replica
    assert_int_equal(bb_view_choose(view, &choice, 3), 3);
    bb_view_drop(&view);
}

// Goal: equals share the partitions evenly, and the same salt gives the same choice. Method: 1,024
// partitions on three equal nodes; the binomial distribution puts each count within 341 +- 90
// (six standard deviations).
static void choice_spreads_evenly(void **state)
{
    (void)state;
    enum { PARTITIONS = 1024 };
    s_hello_t hello;
    s_hello(&hello);
    uint16_t *replicas = malloc(PARTITIONS * 3 * sizeof *replicas);
    for (uint32_t i = 0; i < PARTITIONS * 3; i++) {
        replicas[i] = (uint16_t)(i % 3);
    }
    hello.reply.partition_count = PARTITIONS;
    hello.reply.replicas = replicas;
    bb_view_t *view = NULL;
    bb_fault_t fault;
    assert_int_equal(bb_view_new(&hello.reply, 1, &view, &fault), BB_OK);
    uint8_t ranks[BB_NODES_MAX] = {0};
    bb_view_choice_t choice = {
        .ranks = ranks, .preferred_dc = "", .only_node = BB_LINK_NONE, .salt = 99};
    uint32_t counts[3] = {0};
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint32_t node = bb_view_choose(view, &choice, p);
        assert_int_equal(node, bb_view_choose(view, &choice, p));
        counts[node]++;
    }
    for (uint32_t n = 0; n < 3; n++) {
        assert_in_range(counts[n], 251, 431);
    }
    bb_view_drop(&view);
    free(replicas);
}

// Goal: a common node holds every partition, or there is none. Method: all subsets of the four
// partitions against a direct count.
static void common_node_holds_all(void **state)
{
    (void)state;
    bb_view_t *view = s_view();
    uint8_t ranks[BB_NODES_MAX] = {0};
    bb_view_choice_t choice = {
        .ranks = ranks, .preferred_dc = "", .only_node = BB_LINK_NONE, .salt = 1};
    for (uint32_t subset = 1; subset < 16; subset++) {
        uint32_t partitions[4], count = 0;
        for (uint32_t p = 0; p < 4; p++) {
            if (subset >> p & 1) {
                partitions[count++] = p;
            }
        }
        bool exists = false;
        for (uint32_t n = 0; n < 4; n++) {
            bool holds = true;
            for (uint32_t i = 0; i < count; i++) {
                holds &= bb_view_is_replica(view, partitions[i], n);
            }
            exists |= holds;
        }
        uint32_t node = bb_view_choose_common(view, &choice, partitions, count);
        assert_int_equal(node != BB_LINK_NONE, exists);
        for (uint32_t i = 0; node != BB_LINK_NONE && i < count; i++) {
            assert_true(bb_view_is_replica(view, partitions[i], node));
        }
    }
    bb_view_drop(&view);
}

// Goal: the moves of the header's picture. Method: one walk over all of them.
static void liveness_follows_its_picture(void **state)
{
    (void)state;
    const int64_t s = BB_NS_PER_S;
    bb_liveness_t live;
    bb_liveness_init(&live);
    assert_int_equal(bb_liveness_rank(&live, 0), BB_RANK_CONNECTING);
    assert_false(bb_liveness_step(&live, BB_LIVENESS_TIMED_OUT, 0)); // not connected yet
    assert_true(bb_liveness_step(&live, BB_LIVENESS_CONNECTED, 0));
    assert_int_equal(bb_liveness_rank(&live, 0), BB_RANK_GOOD);
    assert_true(bb_liveness_step(&live, BB_LIVENESS_TIMED_OUT, 0)); // suspect for 1 s
    assert_int_equal(bb_liveness_rank(&live, s - 1), BB_RANK_SUSPECT);
    assert_int_equal(bb_liveness_rank(&live, s), BB_RANK_GOOD);
    assert_true(bb_liveness_step(&live, BB_LIVENESS_TIMED_OUT, s)); // then for 2 s
    assert_int_equal(bb_liveness_rank(&live, 3 * s - 1), BB_RANK_SUSPECT);
    assert_int_equal(bb_liveness_rank(&live, 3 * s), BB_RANK_GOOD);
    for (int i = 0; i < 20; i++) {
        bb_liveness_step(&live, BB_LIVENESS_TIMED_OUT, 0);
    }
    assert_int_equal(bb_liveness_rank(&live, 16 * s - 1), BB_RANK_SUSPECT); // never longer
    assert_int_equal(bb_liveness_rank(&live, 16 * s), BB_RANK_GOOD);
    assert_true(bb_liveness_step(&live, BB_LIVENESS_ANSWERED, 0));
    assert_int_equal(bb_liveness_rank(&live, 0), BB_RANK_GOOD);
    assert_true(bb_liveness_step(&live, BB_LIVENESS_STOPPING, 0));
    assert_int_equal(bb_liveness_rank(&live, 0), BB_RANK_SUSPECT);
    assert_true(bb_liveness_step(&live, BB_LIVENESS_DISCONNECTED, 0));
    assert_int_equal(bb_liveness_rank(&live, 100 * s), BB_RANK_DOWN);
    assert_false(bb_liveness_step(&live, BB_LIVENESS_ANSWERED, 0)); // late, of the old connection
    assert_true(bb_liveness_step(&live, BB_LIVENESS_CONNECTED, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(view_copies_the_reply),
        cmocka_unit_test(view_refuses_nonsense),
        cmocka_unit_test(choice_follows_rank_then_distance),
        cmocka_unit_test(choice_spreads_evenly),
        cmocka_unit_test(common_node_holds_all),
        cmocka_unit_test(liveness_follows_its_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

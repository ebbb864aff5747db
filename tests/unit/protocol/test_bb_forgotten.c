// SPDX-License-Identifier: Apache-2.0
// Ids of streams and floors under them: against a plain table of numbers.
#include "protocol/bb_forgotten.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

static const uint8_t s_random[8] = {1, 2, 3, 4, 5, 6, 7, 8};

// Goal: what an id is made of comes back, at the places that the header names; the hash of a node
// is the same for ever, because it is on disks.
static void ids(void **state)
{
    (void)state;
    bb_stream_t stream = bb_stream_make(0x04030201, 0x08070605, s_random);
    static const uint8_t expected[16] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    assert_memory_equal(stream.bytes, expected, 16);
    assert_int_equal(bb_stream_hash(&stream), 0x04030201);
    assert_int_equal(bb_stream_number(&stream), 0x08070605);
    // SipHash-2-4 of "n1" under the 15 letters "busbar streams " and a zero, computed apart.
    assert_int_equal(bb_stream_node_hash("n1"), 0x1646e61f);
    assert_int_not_equal(bb_stream_node_hash("n1"), bb_stream_node_hash("n2"));
    bb_stream_t later = bb_stream_make(0x04030201, 0x08070606, s_random);
    bb_stream_t other = bb_stream_make(0x04030202, 0x08070606, s_random);
    assert_true(bb_stream_is_before(&stream, &later));
    assert_false(bb_stream_is_before(&later, &stream));
    assert_false(bb_stream_is_before(&stream, &stream));
    assert_false(bb_stream_is_before(&stream, &other));
}

// Goal: raising floors in any order gives the largest of each node, and has() is the comparison.
static void floors(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    for (uint32_t round = 0; round < 50; round++) {
        bb_forgotten_t forgotten = {0};
        uint32_t table[40] = {0};
        for (uint32_t i = 0; i < 200; i++) {
            uint32_t node = (uint32_t)bb_random_below(&random, 40);
            uint32_t below = (uint32_t)bb_random_below(&random, 30);
            uint32_t hash = (node * UINT32_C(2654435761)) ^ 5;
            assert_int_equal(bb_forgotten_raise(&forgotten, hash, below), below > table[node]);
            table[node] = BB_MAX(table[node], below);
        }
        for (uint32_t i = 1; i < forgotten.count; i++) {
            assert_true(forgotten.floors[i - 1].node_hash < forgotten.floors[i].node_hash);
        }
        for (uint32_t node = 0; node < 40; node++) {
            uint32_t hash = (node * UINT32_C(2654435761)) ^ 5;
            assert_int_equal(bb_forgotten_below(&forgotten, hash), table[node]);
            for (uint32_t number = 0; number < 32; number++) {
                bb_stream_t stream = bb_stream_make(hash, number, s_random);
                assert_int_equal(bb_forgotten_has(&forgotten, &stream), number < table[node]);
            }
        }
        bb_forgotten_t copy = forgotten;
        assert_true(bb_forgotten_is_equal(&forgotten, &copy));
        bb_forgotten_raise(&copy, forgotten.floors[0].node_hash, 99);
        assert_false(bb_forgotten_is_equal(&forgotten, &copy));
    }
}

// Goal: more nodes than a cluster may have change nothing.
static void too_many_nodes(void **state)
{
    (void)state;
    bb_forgotten_t forgotten = {0};
    for (uint32_t i = 0; i < BB_NODES_MAX; i++) {
        assert_true(bb_forgotten_raise(&forgotten, 1000 - i, 1));
    }
    assert_false(bb_forgotten_raise(&forgotten, 5000, 1));
    assert_true(bb_forgotten_raise(&forgotten, 1000, 2));
    assert_int_equal(forgotten.count, BB_NODES_MAX);
}

// Goal: a set loses exactly the forgotten streams, and what is left is as it was.
static void drops(void **state)
{
    (void)state;
    bb_have_set_t have = {0}, expected = {0};
    bb_forgotten_t forgotten = {0};
    assert_int_equal(bb_forgotten_drop(&forgotten, &have), 0);
    bb_forgotten_raise(&forgotten, 7, 10);
    bb_forgotten_raise(&forgotten, 9, 3);
    uint32_t dropped = 0;
    for (uint32_t hash = 6; hash <= 9; hash++) {
        for (uint32_t number = 0; number < 20; number++) {
            bb_stream_t stream = bb_stream_make(hash, number, s_random);
            assert_int_equal(bb_have_set_add(&have, &stream, 1 + number, 30, NULL), BB_OK);
            assert_true(bb_have_set_contains_range(&have, &stream, 1 + number, 30));
            assert_false(bb_have_set_contains_range(&have, &stream, 1 + number, 31));
            assert_false(number > 0 && bb_have_set_contains_range(&have, &stream, number, 30));
            if (bb_forgotten_has(&forgotten, &stream)) {
                dropped++;
            } else {
                assert_int_equal(bb_have_set_add(&expected, &stream, 1 + number, 30, NULL), BB_OK);
            }
        }
    }
    assert_int_equal(dropped, 13);
    assert_int_equal(bb_forgotten_drop(&forgotten, &have), 13);
    assert_true(bb_have_set_is_equal(&have, &expected));
    assert_int_equal(bb_forgotten_drop(&forgotten, &have), 0);
    bb_have_set_clear(&have);
    bb_have_set_clear(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test(floors),
        cmocka_unit_test(too_many_nodes),
        cmocka_unit_test(drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

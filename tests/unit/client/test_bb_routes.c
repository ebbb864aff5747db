// SPDX-License-Identifier: Apache-2.0
// Which nodes are slow, by what several nodes tell.
#include "client/bb_routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S BB_NS_PER_S

// Goal: a majority of what was told lately decides, the node itself has no vote, old words do not
// count, and a new word replaces the one before.
static void a_majority_of_the_others_decides(void **state)
{
    (void)state;
    bb_routes_t routes = {0};
    const uint16_t one[] = {1}, many[] = {0, 1, 2, BB_NODES_MAX};
    assert_false(bb_routes_is_slow(&routes, S, 1));
    bb_routes_told(&routes, S, 0, one, 1);
    assert_true(bb_routes_is_slow(&routes, S, 1));
    bb_routes_told(&routes, S, 1, many, 4); // it finds the others slow: its own fault
    assert_true(bb_routes_is_slow(&routes, S, 1));
    bb_routes_told(&routes, 2 * S, 2, NULL, 0);
    assert_false(bb_routes_is_slow(&routes, 2 * S, 1)); // one of two others
    assert_false(bb_routes_is_slow(&routes, 2 * S, 0));
    assert_false(bb_routes_is_slow(&routes, 2 * S, 2));
    bb_routes_told(&routes, 3 * S, 2, one, 1);
    assert_true(bb_routes_is_slow(&routes, 3 * S, 1));
    bb_routes_told(&routes, 4 * S, 2, NULL, 0);
    bb_routes_told(&routes, 4 * S, 0, NULL, 0);
    assert_false(bb_routes_is_slow(&routes, 4 * S, 1));
    bb_routes_told(&routes, 5 * S, 0, one, 1);
    assert_true(bb_routes_is_slow(&routes, 14 * S + S / 2, 1)); // 2 said no, 10 s ago
    assert_false(bb_routes_is_slow(&routes, 15 * S, 1));
    bb_routes_told(&routes, 20 * S, 0, one, 1);
    bb_routes_clear(&routes);
    assert_false(bb_routes_is_slow(&routes, 20 * S, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_majority_of_the_others_decides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

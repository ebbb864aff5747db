// SPDX-License-Identifier: Apache-2.0
// Tests of node/ingest/bb_have_mark: what changes, changes the mark.
#include "node/ingest/bb_have_mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void s_test_changes(void **state)
{
    (void)state;
    const bb_stream_t first = {{1, 2, 3}}, second = {{1, 2, 3, [15] = 1}};
    uint64_t versions[3] = {7, 8, 9};
    uint64_t mark = bb_have_mark(&first, BB_STANDING_COUNTING, versions, 3);
    assert_true(mark != 0);
    assert_true(mark == bb_have_mark(&first, BB_STANDING_COUNTING, versions, 3));
    assert_true(mark != bb_have_mark(&second, BB_STANDING_COUNTING, versions, 3));
    assert_true(mark != bb_have_mark(&first, BB_STANDING_JOINING, versions, 3));
    assert_true(mark != bb_have_mark(&first, BB_STANDING_COUNTING, versions, 2));
    for (uint32_t i = 0; i < 3; i++) {
        versions[i]++;
        assert_true(mark != bb_have_mark(&first, BB_STANDING_COUNTING, versions, 3));
        versions[i]--;
    }
    const uint64_t swapped[3] = {8, 7, 9}; // stores are told apart
    assert_true(mark != bb_have_mark(&first, BB_STANDING_COUNTING, swapped, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(s_test_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

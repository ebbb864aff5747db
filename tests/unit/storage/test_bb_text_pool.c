// SPDX-License-Identifier: Apache-2.0
// Texts kept once: one address for equal texts, which stays while the table grows.
#include "storage/head/bb_text_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_TEXTS 3000u

static bb_slice_t s_text(char out[32], uint32_t index)
{
    // Of all lengths from nothing on, and with zeros in them.
    size_t length = index % 24;
    memset(out, 0, 32);
    snprintf(out, 32, "%u", index);
    return bb_slice(out, BB_MAX(length, strlen(out)));
}

// Goal: each text has one address from its first keeping on, through every growth of the table, and
// its bytes. Method: 3,000 texts, each kept three times from other memory, beside the empty one.
static void test_one_address_for_equal_texts(void **state)
{
    (void)state;
    bb_text_pool_t pool = {0};
    bb_arena_t arena = {0};
    const bb_text_t *first[S_TEXTS];
    assert_null(bb_text_pool_find(&pool, bb_slice("x", 1)));
    assert_int_equal(bb_text_pool_bytes(&pool), 0);
    const bb_text_t *empty = bb_text_pool_keep(&pool, &arena, bb_slice(NULL, 0));
    assert_int_equal(empty->length, 0);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < S_TEXTS; i++) {
            char bytes[32];
            bb_slice_t text = s_text(bytes, i);
            if (round == 0) {
                assert_null(bb_text_pool_find(&pool, text));
                first[i] = bb_text_pool_keep(&pool, &arena, text);
            }
            assert_ptr_equal(bb_text_pool_keep(&pool, &arena, text), first[i]);
            assert_ptr_equal(bb_text_pool_find(&pool, text), first[i]);
            assert_int_equal(first[i]->length, text.length);
            assert_memory_equal(first[i]->bytes, text.data, text.length);
        }
    }
    assert_int_equal(pool.count, S_TEXTS + 1);
    assert_ptr_equal(bb_text_pool_find(&pool, bb_slice(NULL, 0)), empty);
    bb_text_pool_free(&pool);
    assert_int_equal(bb_text_pool_bytes(&pool), 0);
    assert_null(bb_text_pool_find(&pool, bb_slice(NULL, 0)));
    bb_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_address_for_equal_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

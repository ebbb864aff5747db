// SPDX-License-Identifier: Apache-2.0
// Shared buffers: bytes stay as long as anybody holds them, and go with the last one.
#include "node/runtime/bb_buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static void s_count_free(void *data, void *hint)
{
    assert_non_null(data);
    ++*(int *)hint;
}

// Goal: a custom free function runs once, with the last reference.
static void freed_with_the_last_reference(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t bytes[16];
    int freed = 0;
    bb_buffer_t *first = bb_buffer_new(bytes, sizeof bytes, s_count_free, &freed);
    bb_buffer_t *second = bb_buffer_keep(first);
    assert_ptr_equal(first, second);
    bb_buffer_drop(&first);
    assert_null(first);
    assert_int_equal(freed, 0);
    assert_ptr_equal(bb_buffer_slice(second).data, bytes);
    bb_buffer_drop(&second);
    assert_int_equal(freed, 1);
}

// Goal: a copy is aligned, equal, and independent of what it was made from.
static void copies_are_aligned(void **state)
{
    (void)state;
    char source[32] = "x0123456789abcdef";
    bb_buffer_t *buffer = bb_buffer_copy_of(source + 1, 16); // from an odd address
    memset(source, 0, sizeof source);
    bb_slice_t slice = bb_buffer_slice(buffer);
    assert_int_equal((uintptr_t)slice.data % 8, 0);
    assert_int_equal(slice.length, 16);
    assert_memory_equal(slice.data, "0123456789abcdef", 16);
    bb_buffer_drop(&buffer);
}

static void empty_and_null(void **state)
{
    (void)state;
    bb_buffer_t *none = NULL;
    bb_buffer_drop(&none); // fine
    assert_int_equal(bb_buffer_slice(NULL).length, 0);
    bb_buffer_t *empty = bb_buffer_copy_of(NULL, 0);
    assert_int_equal(bb_buffer_slice(empty).length, 0);
    bb_buffer_drop(&empty);
    bb_buffer_t *owned =
        bb_buffer_new(malloc(8), 8, NULL, NULL); // freed by drop: see the sanitizer
    bb_buffer_drop(&owned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_with_the_last_reference),
        cmocka_unit_test(copies_are_aligned),
        cmocka_unit_test(empty_and_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bb_assert_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, condition);
    abort();
}

void *bb_alloc(size_t size_bytes)
{
    void *memory = malloc(size_bytes ? size_bytes : 1);
    if (!memory) {
        bb_assert_failed(__FILE__, __LINE__, "out of memory");
    }
    return memory;
}

void *bb_alloc_zero(size_t count, size_t size_bytes)
{
    void *memory = calloc(count ? count : 1, size_bytes ? size_bytes : 1);
    if (!memory) {
        bb_assert_failed(__FILE__, __LINE__, "out of memory");
    }
    return memory;
}

void *bb_realloc(void *memory, size_t size_bytes)
{
    void *grown = realloc(memory, size_bytes ? size_bytes : 1);
    if (!grown) {
        bb_assert_failed(__FILE__, __LINE__, "out of memory");
    }
    return grown;
}

char *bb_strdup(const char *text)
{
    size_t length = strlen(text) + 1;
    return memcpy(bb_alloc(length), text, length);
}

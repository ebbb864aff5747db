// SPDX-License-Identifier: Apache-2.0
// page_support - encoded pages in tests: finished, held against a golden file, damaged at random.
#ifndef PAGE_SUPPORT_H
#define PAGE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_query.h"
#include "tests/support/bb_random.h"

typedef struct {
    uint8_t *bytes; // malloc
    size_t length;
} encoded_page_t;

static inline bb_slice_t page_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static inline encoded_page_t page_finish(bb_page_builder_t *builder)
{
    encoded_page_t encoded;
    bb_page_builder_finish(builder, &encoded.bytes, &encoded.length);
    return encoded;
}

// Both must hold the same bytes; the golden ones are returned, to be read by the test.
static inline encoded_page_t page_expect_golden(encoded_page_t encoded, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    encoded_page_t golden = {.bytes = malloc(65536)};
    golden.length = fread(golden.bytes, 1, 65536, file);
    fclose(file);
    assert_int_equal(encoded.length, golden.length);
    assert_memory_equal(encoded.bytes, golden.bytes, golden.length);
    return golden;
}

// Used once for each wire version. False: not written.
static inline bool page_write_golden(encoded_page_t encoded, const char *path)
{
    FILE *file = fopen(path, "wb");
    return file && fwrite(encoded.bytes, 1, encoded.length, file) == encoded.length &&
           fclose(file) == 0;
}

// Flips one to four bits.
static inline void page_mutate(bb_random_t *random, uint8_t *bytes, size_t length)
{
    for (uint64_t i = bb_random_between(random, 1, 4); i > 0; i--) {
        bytes[bb_random_below(random, length)] ^= (uint8_t)(1u << bb_random_below(random, 8));
    }
}

#endif

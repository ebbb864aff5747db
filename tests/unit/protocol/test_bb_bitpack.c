// SPDX-License-Identifier: Apache-2.0
// Goal: integers of any width come back, and lie where the bit map says. Method: random integers of
// every width and many counts against a bit-by-bit reading; buffers of the exact size, so that the
// address sanitizer sees any byte read or written outside; ranges with and without padding behind.
#include "protocol/bb_bitpack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

static uint64_t s_read_bits(const uint8_t *packed, size_t bit, uint32_t width)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < width; i++) {
        number |= (uint64_t)(packed[(bit + i) / 8] >> ((bit + i) % 8) & 1) << i;
    }
    return number;
}

static void s_check(bb_random_t *random, uint32_t count, uint32_t width)
{
    uint64_t *integers = bb_alloc(count * sizeof *integers);
    uint64_t *unpacked = bb_alloc(count * sizeof *unpacked);
    uint64_t mask = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
    for (uint32_t i = 0; i < count; i++) {
        integers[i] = bb_random_below(random, 4) == 0 ? mask : bb_random_next(random) & mask;
    }
    size_t bytes = bb_bitpack_bytes(count, width);
    uint8_t *packed = bb_alloc(bytes);
    bb_bitpack_pack(integers, count, width, packed);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(s_read_bits(packed, (size_t)i * width, width), integers[i]);
    }
    assert_true(bb_bitpack_unpack(packed, count, width, unpacked));
    assert_memory_equal(unpacked, integers, count * sizeof *integers);
    for (uint32_t first = 0; first <= count; first += 1 + (uint32_t)bb_random_below(random, 9)) {
        uint32_t length = (uint32_t)bb_random_below(random, count - first + 1);
        memset(unpacked, 0xa5, count * sizeof *unpacked);
        bb_bitpack_unpack_range(packed, bytes, width, first, length, unpacked);
        assert_memory_equal(unpacked, integers + first, length * sizeof *integers);
        assert_true(length == count || unpacked[length] == UINT64_C(0xa5a5a5a5a5a5a5a5));
    }
    if (bytes * 8 > (size_t)count * width) {
        packed[bytes - 1] |= 0x80;
        assert_false(bb_bitpack_unpack(packed, count, width, unpacked));
    }
    free(packed);
    free(integers);
    free(unpacked);
}

// The words behind the stream may be loaded, and change nothing.
static void test_padding_is_not_read_as_integers(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(2);
    for (uint32_t width = 0; width <= 64; width++) {
        uint64_t integers[21], unpacked[21], mask = width == 64 ? UINT64_MAX : (1ull << width) - 1;
        uint8_t packed[21 * 8 + 16];
        memset(packed, 0xff, sizeof packed);
        for (uint32_t i = 0; i < 21; i++) {
            integers[i] = bb_random_next(&random) & mask;
        }
        bb_bitpack_pack(integers, 21, width, packed);
        assert_int_equal(packed[bb_bitpack_bytes(21, width)], 0xff);
        bb_bitpack_unpack_range(packed, sizeof packed, width, 2, 19, unpacked);
        assert_memory_equal(unpacked, integers + 2, 19 * sizeof *integers);
    }
}

// Packing may overwrite the integers that it has read already.
static void test_in_place(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(3);
    for (uint32_t width = 0; width <= 64; width++) {
        uint64_t memory[1 + 77], integers[77], unpacked[77];
        uint64_t mask = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
        for (uint32_t i = 0; i < 77; i++) {
            integers[i] = memory[1 + i] = bb_random_next(&random) & mask;
        }
        bb_bitpack_pack(memory + 1, 77, width, (uint8_t *)memory);
        assert_true(bb_bitpack_unpack((const uint8_t *)memory, 77, width, unpacked));
        assert_memory_equal(unpacked, integers, sizeof integers);
    }
}

static void test_every_width(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 9, 63, 64, 65, 127};
    bb_random_t random = bb_random_seed(1);
    for (uint32_t width = 0; width <= 64; width++) {
        for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
            s_check(&random, counts[i], width);
        }
    }
    s_check(&random, 1024, 13);
    s_check(&random, 1024, 57);
    s_check(&random, 1024, 58);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width),
        cmocka_unit_test(test_padding_is_not_read_as_integers),
        cmocka_unit_test(test_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

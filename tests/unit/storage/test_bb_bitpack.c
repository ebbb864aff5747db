// SPDX-License-Identifier: Apache-2.0
// Goal: integers of any width come back, and lie where the bit map says. Method: random integers of
// every width and many counts against a bit-by-bit reading; buffers of the exact size, so that the
// address sanitizer sees any byte read or written outside.
#include "storage/encoding/bb_bitpack.h"

#include "tests/unit/storage/run_support.h"

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
        integers[i] = test_below(random, 4) == 0 ? mask : bb_random_next(random) & mask;
    }
    size_t bytes = bb_bitpack_bytes(count, width);
    uint8_t *packed = bb_alloc(bytes);
    bb_bitpack_pack(integers, count, width, packed);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(s_read_bits(packed, (size_t)i * width, width), integers[i]);
    }
    assert_true(bb_bitpack_unpack(packed, count, width, unpacked));
    assert_memory_equal(unpacked, integers, count * sizeof *integers);
    if (bytes * 8 > (size_t)count * width) {
        packed[bytes - 1] |= 0x80;
        assert_false(bb_bitpack_unpack(packed, count, width, unpacked));
    }
    free(packed);
    free(integers);
    free(unpacked);
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
    s_check(&random, BB_BLOCK_ROWS_MAX, 13);
    s_check(&random, BB_BLOCK_ROWS_MAX, 57);
    s_check(&random, BB_BLOCK_ROWS_MAX, 58);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

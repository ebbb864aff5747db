// SPDX-License-Identifier: Apache-2.0
// Goal: 256 integers come back at every width, in the bit positions that the header states, and
// sums and totals are those of a plain loop. Method: random integers; a bit-by-bit reader as
// oracle.
#include "storage/encoding/bb_lanes.h"

#include "protocol/bb_bitpack.h"
#include "tests/unit/storage/run_support.h"

#define ROWS  32u
#define LANES 8u

// Row and lane of a packed integer, one bit after the other, from the definition of the layout.
static uint32_t s_bit_by_bit(const uint8_t *packed, uint32_t width, uint32_t row, uint32_t lane)
{
    uint32_t integer = 0;
    for (uint32_t bit = 0; bit < width; bit++) {
        uint32_t at = row * width + bit; // in the stream of the lane
        const uint8_t *word = packed + ((size_t)(at / 32) * LANES + lane) * 4;
        integer |= (uint32_t)(word[at % 32 / 8] >> (at % 8) & 1) << bit;
    }
    return integer;
}

static void test_every_width(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(31);
    uint32_t integers[BB_LANES_COUNT], out[BB_LANES_COUNT];
    for (uint32_t width = 0; width <= BB_LANES_WIDTH_MAX; width++) {
        uint32_t mask = width == 0 ? 0 : UINT32_MAX >> (32 - width);
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            integers[i] = (uint32_t)bb_random_next(&random) & mask;
        }
        uint8_t *packed = bb_alloc(bb_lanes_bytes(width) + 1);
        packed[bb_lanes_bytes(width)] = 0xa5;
        bb_lanes_pack(integers, width, packed);
        assert_int_equal(packed[bb_lanes_bytes(width)], 0xa5);
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            assert_int_equal(s_bit_by_bit(packed, width, i / LANES, i % LANES), integers[i]);
        }
        bb_lanes_unpack(packed, width, 0xfffffff0u, out);
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            assert_int_equal(out[i], integers[i] + 0xfffffff0u);
        }
        free(packed);
    }
}

static void test_rows_and_columns(void **context)
{
    (void)context;
    uint32_t rows[BB_LANES_COUNT], lanes[BB_LANES_COUNT], again[BB_LANES_COUNT];
    for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
        rows[i] = i;
    }
    bb_lanes_from_rows(rows, lanes);
    for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
        assert_int_equal(lanes[i], i % LANES * ROWS + i / LANES);
    }
    bb_lanes_to_rows(lanes, again);
    assert_memory_equal(rows, again, sizeof rows);
}

static void assert_totals(const bb_lanes_totals_t *found, const bb_lanes_total_t *expected)
{
    bb_lanes_total_t total;
    assert_true(bb_lanes_total(found, &total));
    assert_int_equal(total.min, expected->min);
    assert_int_equal(total.max, expected->max);
    assert_int_equal(total.sum, expected->sum);
}

// Steps of a size that the sums of 256 stay small, and of one that they do not.
static void test_sums_and_totals(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(32);
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t size = 1u << (round % 32);
        uint32_t steps[BB_LANES_COUNT], lanes[BB_LANES_COUNT], sums[BB_LANES_COUNT];
        uint32_t before = (uint32_t)bb_random_next(&random) % size;
        uint32_t sum = before;
        bb_lanes_total_t expected = {INT32_MAX, INT32_MIN, 0};
        for (uint32_t i = 0; i < BB_LANES_COUNT; i++) {
            steps[i] = (uint32_t)bb_random_next(&random) % size - size / 2;
            sum += steps[i];
            sums[i] = sum;
            expected.min = BB_MIN(expected.min, (int32_t)sum);
            expected.max = BB_MAX(expected.max, (int32_t)sum);
            expected.sum += (int32_t)sum;
        }
        uint32_t rows[BB_LANES_COUNT];
        bb_lanes_from_rows(steps, lanes);
        assert_int_equal(bb_lanes_integrate_rows(lanes, before, rows), sum);
        assert_memory_equal(rows, sums, sizeof sums);

        bb_lanes_from_rows(steps, lanes);
        assert_int_equal(bb_lanes_integrate(lanes, before), sum);
        bb_lanes_totals_t plain;
        bb_lanes_totals_clear(&plain);
        bb_lanes_add_totals(lanes, &plain);
        bool is_small = expected.min >= -(1 << 25) && expected.max < 1 << 25;
        bb_lanes_total_t total;
        assert_int_equal(bb_lanes_total(&plain, &total), is_small);
        if (is_small) {
            assert_totals(&plain, &expected);
        }
        bb_lanes_to_rows(lanes, rows);
        assert_memory_equal(rows, sums, sizeof sums);

        bb_lanes_from_rows(steps, lanes);
        bb_lanes_totals_t fused;
        bb_lanes_totals_clear(&fused);
        assert_int_equal(bb_lanes_integrate_totals(lanes, before, &fused), sum);
        bool is_right = bb_lanes_total(&fused, &total);
        if (is_right) {
            assert_totals(&fused, &expected);
        }
        assert_true(is_right || size >= 1u << 18); // 256 steps of half of that: 2^25
    }
}

// Fewer than 256: every width and number of integers, with nothing behind the stream and with some.
static void test_short_streams(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(33);
    uint64_t integers[BB_LANES_COUNT];
    uint32_t out[BB_LANES_COUNT];
    for (uint32_t width = 0; width <= BB_LANES_WIDTH_MAX; width++) {
        for (uint32_t count = 1; count < BB_LANES_COUNT; count++) {
            for (uint32_t i = 0; i < count; i++) {
                integers[i] = bb_random_next(&random) & ((UINT64_C(1) << width) - 1);
            }
            size_t length = bb_bitpack_bytes(count, width);
            size_t bytes = length + (count % 2 ? 0 : test_below(&random, 60));
            uint8_t *packed = bb_alloc(bytes + 1);
            memset(packed, 0xff, bytes + 1);
            bb_bitpack_pack(integers, count, width, packed);
            uint8_t *exact = bb_alloc(bytes); // so that a reader past the end is seen
            memcpy(exact, packed, bytes);
            assert_true(bb_lanes_unpack_short(exact, bytes, count, width, 0xfffffff0u, out));
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(out[i], (uint32_t)integers[i] + 0xfffffff0u);
            }
            if ((uint64_t)count * width % 8 != 0) {
                exact[length - 1] |= 0x80;
                assert_false(bb_lanes_unpack_short(exact, bytes, count, width, 0, out));
            }
            uint32_t sum = (uint32_t)bb_random_next(&random);
            uint32_t before = sum;
            uint32_t sums[BB_LANES_COUNT] = {0};
            for (uint32_t i = 0; i < count; i++) {
                sums[i] = (uint32_t)integers[i];
            }
            uint32_t last = bb_lanes_integrate_short(sums, count, before);
            for (uint32_t i = 0; i < count; i++) {
                sum += (uint32_t)integers[i];
                assert_int_equal(sums[i], sum);
            }
            assert_int_equal(last, sum);
            free(exact);
            free(packed);
        }
    }
}

// Any number of integers, small and large, against a plain loop.
static void test_totals_of_any_number(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(34);
    for (uint32_t count = 1; count <= 1100; count++) {
        int32_t integers[1100];
        bb_lanes_total_t expected = {INT32_MAX, INT32_MIN, 0};
        uint32_t shift = test_below(&random, 32);
        for (uint32_t i = 0; i < count; i++) {
            integers[i] = (int32_t)(uint32_t)bb_random_next(&random) >> shift;
            expected.min = BB_MIN(expected.min, integers[i]);
            expected.max = BB_MAX(expected.max, integers[i]);
            expected.sum += integers[i];
        }
        bb_lanes_total_t total = bb_lanes_total_of(integers, count);
        assert_int_equal(total.min, expected.min);
        assert_int_equal(total.max, expected.max);
        assert_true(total.sum == expected.sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width),          cmocka_unit_test(test_rows_and_columns),
        cmocka_unit_test(test_sums_and_totals),      cmocka_unit_test(test_short_streams),
        cmocka_unit_test(test_totals_of_any_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

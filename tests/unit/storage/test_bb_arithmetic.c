// SPDX-License-Identifier: Apache-2.0
// Goal: any numbers come back, in about as many bits as they are surprising, and no bytes are
// dangerous. Method: random families of counts; the entropy of the definition as oracle for sizes;
// fractions worked out by hand; every prefix and flipped bits of valid blocks.
#include "storage/encoding/bb_arithmetic.h"

#include <math.h>

#include "tests/unit/storage/number_families.h"

#define S_ROOM 8192u

enum { S_STEPS = NUMBERS_SHARED, S_HUGE, S_FAMILIES };

static void s_numbers(bb_random_t *random, uint32_t family, uint32_t count, int32_t *numbers)
{
    if (family < NUMBERS_SHARED) {
        numbers_draw(random, family, count, numbers);
        return;
    }
    uint32_t rate = 2 + test_below(random, 200);
    for (uint32_t i = 0; i < count; i++) {
        if (family == S_STEPS) { // after every so many rows, almost certainly
            numbers[i] = i % rate == 0 ? (test_below(random, 100) ? 1 : -7) : 0;
        } else {
            numbers[i] = (int32_t)(bb_random_next(random) >> 32);
            numbers[i] >>= test_below(random, 32);
            numbers[i] += numbers[i] == INT32_MIN;
        }
    }
}

static size_t s_check(const int32_t *numbers, uint32_t count)
{
    static uint8_t room[S_ROOM];
    static int32_t out[BB_BLOCK_ROWS_MAX];
    size_t length = bb_arithmetic_encode(numbers, count, S_ROOM, room);
    assert_in_range(length, 1, S_ROOM);
    uint8_t *exact = bb_alloc(length);
    memcpy(exact, room, length);
    assert_true(bb_arithmetic_decode(bb_slice(exact, length), count, out));
    assert_memory_equal(out, numbers, count * sizeof *out);
    // The limit is kept to the byte; what does not fit is not written.
    assert_int_equal(bb_arithmetic_encode(numbers, count, length, exact), length);
    assert_memory_equal(exact, room, length);
    assert_int_equal(bb_arithmetic_encode(numbers, count, length - 1, exact), 0);
    free(exact);
    return length;
}

static void test_any_numbers_come_back(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 9, 64, 900, 1023, 1024};
    static int32_t numbers[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(81);
    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t family = 0; family < S_FAMILIES; family++) {
            for (uint32_t i = 0; i < BB_COUNT_OF(counts); i++) {
                s_numbers(&random, family, counts[i], numbers);
                s_check(numbers, counts[i]);
            }
        }
    }
}

static void test_the_ends_of_the_range_come_back(void **context)
{
    (void)context;
    static int32_t numbers[] = {INT32_MAX,  -INT32_MAX,    1,         -1, 0, 1 << 30,
                                -(1 << 30), (1 << 30) - 1, INT32_MAX, -1, 0, 0};
    for (uint32_t first = 0; first < BB_COUNT_OF(numbers); first++) {
        for (uint32_t limit = first + 1; limit <= BB_COUNT_OF(numbers); limit++) {
            s_check(numbers + first, limit - first);
        }
    }
}

// From the definition: yes is the lower part of the range, so the smallest fraction that a column
// of zeros leaves is above all chances of yes; the shortest one begins with the largest bits.
static void test_fractions_are_those_of_the_definition(void **context)
{
    (void)context;
    uint8_t out[S_ROOM];
    int32_t numbers[2] = {0, 0};
    // Not 0 has [0, 1/2) and 0 has [1/2, 1): the shortest fraction of it is 0x80.
    assert_int_equal(bb_arithmetic_encode(numbers, 1, sizeof out, out), 1);
    assert_int_equal(out[0], 0x80);
    // The second row is in another context (gap 1), even again: [3/4, 1).
    assert_int_equal(bb_arithmetic_encode(numbers, 2, sizeof out, out), 1);
    assert_int_equal(out[0], 0xc0);
    // 1: not 0, not negative, highest bit not above bit 0: [3/8, 1/2). 0x60 would do, 0 has no
    // bytes.
    numbers[0] = 1;
    assert_int_equal(bb_arithmetic_encode(numbers, 1, sizeof out, out), 1);
    assert_int_equal(out[0], 0x60);
    // -1: [1/8, 1/4).
    numbers[0] = -1;
    assert_int_equal(bb_arithmetic_encode(numbers, 1, sizeof out, out), 1);
    assert_int_equal(out[0], 0x20);
    // -3: above bit 0, not above bit 1, and the bit below is set: [0, 1/8), [1/16, 1/8), [1/16,
    // 3/32).
    numbers[0] = -3;
    assert_int_equal(bb_arithmetic_encode(numbers, 1, sizeof out, out), 1);
    assert_int_equal(out[0], 0x10);
}

// Changes of one in eight rows, two sizes: 0.125 x (1 + log2 8) + 0.875 x log2(8 / 7) = 0.669 bits.
// What is learned on the way costs about half the logarithm of the rows for each context.
static void test_sizes_are_those_of_the_entropy(void **context)
{
    (void)context;
    static int32_t numbers[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(82);
    uint32_t counts[3] = {0};
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        numbers[i] = test_below(&random, 8) ? 0 : test_below(&random, 2) ? 1 : -1;
        counts[numbers[i] + 1]++;
    }
    double bits = 0;
    for (uint32_t i = 0; i < 3; i++) {
        bits -= counts[i] * log2((double)counts[i] / BB_BLOCK_ROWS_MAX);
    }
    size_t length = s_check(numbers, BB_BLOCK_ROWS_MAX);
    assert_true((double)length * 8 > bits * 0.97);
    assert_true((double)length * 8 < bits * 1.02 + 24 * 3.5);

    // The same at every eighth row: after a while there is nothing to say but the signs.
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        numbers[i] = i % 8 ? 0 : test_below(&random, 2) ? 1 : -1;
    }
    assert_in_range(s_check(numbers, BB_BLOCK_ROWS_MAX), 16, 16 + 50);
    // A column that stands still.
    memset(numbers, 0, sizeof numbers);
    assert_in_range(s_check(numbers, BB_BLOCK_ROWS_MAX), 1, 4);
}

// Damage: every prefix, bytes more, every flipped bit. Nothing is read outside of the bytes, and
// what is longer is refused. (What is shorter reads as another fraction; blocks have checksums.)
static void test_any_bytes_are_safe(void **context)
{
    (void)context;
    static uint8_t room[S_ROOM];
    static int32_t out[BB_BLOCK_ROWS_MAX];
    static int32_t numbers[300];
    bb_random_t random = bb_random_seed(83);
    for (uint32_t family = 0; family < S_FAMILIES; family++) {
        s_numbers(&random, family, BB_COUNT_OF(numbers), numbers);
        size_t length = bb_arithmetic_encode(numbers, BB_COUNT_OF(numbers), S_ROOM - 16, room);
        memset(room + length, 0x5a, 16);
        for (size_t bytes = 0; bytes <= length + 16; bytes++) {
            uint8_t *exact = bb_alloc(bytes + 1);
            memcpy(exact, room, bytes);
            bool is_read = bb_arithmetic_decode(bb_slice(exact, bytes), BB_COUNT_OF(numbers), out);
            assert_true(is_read || bytes != length);
            assert_true(!is_read || bytes < length + 16);
            free(exact);
        }
        room[length] = 0;
        assert_false(bb_arithmetic_decode(bb_slice(room, length + 1), BB_COUNT_OF(numbers), out));
        uint8_t *exact = bb_alloc(length);
        memcpy(exact, room, length);
        for (size_t bit = 0; bit < length * 8; bit++) {
            exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
            (void)!bb_arithmetic_decode(bb_slice(exact, length), BB_COUNT_OF(numbers), out);
            exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(exact);
    }
    // Nothing at all: zeros.
    memset(numbers, 0, sizeof numbers);
    assert_true(bb_arithmetic_decode(bb_slice(room, 0), BB_COUNT_OF(numbers), out));
    assert_memory_equal(out, numbers, sizeof numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_numbers_come_back),
        cmocka_unit_test(test_the_ends_of_the_range_come_back),
        cmocka_unit_test(test_fractions_are_those_of_the_definition),
        cmocka_unit_test(test_sizes_are_those_of_the_entropy),
        cmocka_unit_test(test_any_bytes_are_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: decimals are found at the exponent they were printed with, what is no decimal is an
// exception, and everything comes back to the bit. Method: numbers printed and read by the C
// library; special doubles; small columns whose exponents are known by hand.
#include "storage/encoding/bb_decimal.h"

#include <math.h>

#include "tests/unit/storage/run_support.h"

static void test_decimals_compare_bits(void **context)
{
    (void)context;
    static bb_decimals_t decimals;
    // 8 x 0.1 + -0.0, infinity and NaN: the three are exceptions, the others are 1 / 10^1.
    uint64_t words[12];
    for (uint32_t i = 0; i < 12; i++) {
        words[i] = bb_bits_of_double(0.1);
    }
    words[0] = test_special_doubles[1];
    words[5] = test_special_doubles[2];
    words[11] = test_special_doubles[4];
    assert_true(bb_decimals_make(&decimals, words, 12, BB_EXPONENT_UNKNOWN));
    assert_int_equal(decimals.exponent, 1);
    assert_int_equal(decimals.exception_count, 3);
    assert_int_equal(decimals.positions[0], 0);
    assert_int_equal(decimals.positions[1], 5);
    assert_int_equal(decimals.positions[2], 11);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(decimals.integers[i], 1);
    }
    // 0.1 + 0.2 is not a decimal of few digits, and 2^51 is beyond the bound.
    words[0] = bb_bits_of_double(0.1 + 0.2);
    assert_false(bb_decimals_make(&decimals, words, 1, BB_EXPONENT_UNKNOWN));
    words[0] = bb_bits_of_double(0x1p51);
    assert_false(bb_decimals_make(&decimals, words, 1, BB_EXPONENT_UNKNOWN));
    words[0] = bb_bits_of_double(-(0x1p51 - 1));
    assert_true(bb_decimals_make(&decimals, words, 1, BB_EXPONENT_UNKNOWN));
    assert_int_equal((int64_t)decimals.integers[0], -(INT64_C(1) << 51) + 1);
}

// Every decimal with up to six digits after the point is found, at the exponent it is printed with.
static void test_decimals_as_text_gives_them(void **context)
{
    (void)context;
    static bb_decimals_t decimals;
    bb_random_t random = bb_random_seed(5);
    for (uint32_t round = 0; round < 3000; round++) {
        char text[64];
        int digits = (int)(round % 7);
        int64_t whole = (int64_t)(bb_random_next(&random) % 2000000) - 1000000;
        // The last digit is not zero, so no smaller exponent can do.
        uint32_t fraction = test_below(&random, 100000) * 10 + 1 + test_below(&random, 9);
        uint32_t power = 1;
        for (int i = 0; i < digits; i++) {
            power *= 10;
        }
        fraction %= power;
        fraction += digits > 0 && fraction % 10 == 0;
        if (digits == 0) {
            whole += whole == 0; // "-0" is another matter
            snprintf(text, sizeof text, "%lld", (long long)whole);
        } else {
            snprintf(text, sizeof text, "%lld.%0*u", (long long)whole, digits, fraction);
        }
        uint64_t word = bb_bits_of_double(strtod(text, NULL));
        assert_true(bb_decimals_make(&decimals, &word, 1, BB_EXPONENT_UNKNOWN));
        assert_int_equal(decimals.exponent, digits);
        assert_int_equal(decimals.exception_count, 0);
        bb_decimals_restore(decimals.exponent, decimals.integers, 1);
        assert_int_equal(decimals.integers[0], word);
    }
}

static void test_ordered_integers_keep_the_order(void **context)
{
    (void)context;
    uint64_t words[BB_COUNT_OF(test_special_doubles)];
    memcpy(words, test_special_doubles, sizeof words);
    bb_ordered_make(words, BB_COUNT_OF(words));
    for (size_t a = 0; a < BB_COUNT_OF(words); a++) {
        for (size_t b = 0; b < BB_COUNT_OF(words); b++) {
            double left = bb_double_of_bits(test_special_doubles[a]);
            double right = bb_double_of_bits(test_special_doubles[b]);
            if (left < right) {
                assert_true((int64_t)words[a] < (int64_t)words[b]);
            }
        }
    }
    bb_ordered_restore(words, BB_COUNT_OF(words));
    assert_memory_equal(words, test_special_doubles, sizeof words);
}

// A sample that sees few digits must not make exceptions of those that have more.
static void test_rare_digits_raise_the_exponent(void **context)
{
    (void)context;
    static bb_decimals_t decimals;
    static uint64_t words[BB_BLOCK_ROWS_MAX];
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        words[i] = bb_bits_of_double((double)(i % 90));
    }
    words[1] = bb_bits_of_double(12.25);
    words[1003] = bb_bits_of_double(7.125);
    assert_true(bb_decimals_make(&decimals, words, BB_BLOCK_ROWS_MAX, BB_EXPONENT_UNKNOWN));
    assert_int_equal(decimals.exponent, 3);
    assert_int_equal(decimals.exception_count, 0);
    assert_int_equal(decimals.integers[1], 12250);
    assert_int_equal(decimals.integers[1003], 7125);
    assert_int_equal(decimals.integers[1004], 1004 % 90 * 1000);

    // ... unless that would push the others over the bound of 2^51.
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        words[i] = bb_bits_of_double(1e14 + (double)i);
    }
    words[1003] = bb_bits_of_double(7.125);
    assert_true(bb_decimals_make(&decimals, words, BB_BLOCK_ROWS_MAX, BB_EXPONENT_UNKNOWN));
    assert_int_equal(decimals.exponent, 0);
    assert_int_equal(decimals.exception_count, 1);
    assert_int_equal(decimals.positions[0], 1003);
    assert_int_equal(decimals.exceptions[0], words[1003]);
    assert_int_equal(decimals.integers[1003], decimals.integers[1002]);
}

// Quotients are those of a division, to the bit: integers up to 2^53, near powers of two and of
// ten, and those whose quotients lie nearest to the middle between two doubles (k x 2^j next to a
// multiple of 5^e).
static void test_quotients_are_divisions(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(25);
    const int64_t limit = INT64_C(1) << 52;
    for (uint32_t round = 0; round < 60000; round++) {
        uint32_t exponent = round % (BB_DECIMAL_EXPONENT_MAX + 1);
        int64_t power = llrint(bb_decimal_power(exponent));
        int64_t base = (int64_t)(bb_random_next(&random) >> test_below(&random, 52) >> 12);
        if (round % 3 == 1) {
            base = (INT64_C(1) << test_below(&random, 52)) + (int64_t)test_below(&random, 5) - 2;
        } else if (round % 3 == 2 && exponent > 0) {
            // k x 2^j = d modulo 5^e, for a small d: half of it modulo 5^e, j times.
            int64_t odd = 1;
            for (uint32_t i = 0; i < exponent; i++) {
                odd *= 5;
            }
            int64_t half = 1 + (int64_t)test_below(&random, 8);
            for (uint32_t j = test_below(&random, 60); j > 0; j--) {
                half = (half % 2 ? half + odd : half) / 2;
            }
            base = half % odd + odd * (base % (limit / odd));
        }
        base = test_below(&random, 2) ? base : -base;
        base = BB_MAX(-limit + 1, BB_MIN(limit - 1, base));
        uint64_t scale = round % 5 == 0 ? 1 + test_below(&random, 1u << 20) : 1;
        int32_t offsets[9];
        uint64_t words[9];
        for (uint32_t i = 0; i < 9; i++) {
            offsets[i] = (int32_t)(uint32_t)bb_random_next(&random) >> test_below(&random, 32);
        }
        offsets[0] = 0;
        offsets[1] = scale == 1 && base > INT32_MIN && base <= INT32_MAX ? -(int32_t)base : 1;
        bb_decimals_of_offsets(exponent, base, scale, offsets, 9, words);
        for (uint32_t i = 0; i < 9; i++) {
            int64_t integer = base + (int64_t)scale * offsets[i];
            volatile double quotient = (double)integer / (double)power;
            assert_true(words[i] == bb_bits_of_double(quotient));
        }
    }
}

// Columns without decimals are refused; one of nothing but exceptions as well.
static void test_columns_without_decimals(void **context)
{
    (void)context;
    static bb_decimals_t decimals;
    uint64_t words[64];
    bb_random_t random = bb_random_seed(8);
    for (uint32_t i = 0; i < 64; i++) {
        words[i] = bb_bits_of_double(1.0 / (double)(3 + i * 7)) | 1;
    }
    assert_false(bb_decimals_make(&decimals, words, 64, BB_EXPONENT_UNKNOWN));
    for (uint32_t i = 0; i < 64; i++) {
        words[i] = test_special_doubles[1 + test_below(&random, 8)]; // -0.0, infinities, NaNs
    }
    assert_false(bb_decimals_make(&decimals, words, 64, BB_EXPONENT_UNKNOWN));
    assert_false(bb_decimals_make(&decimals, words, 1, BB_EXPONENT_UNKNOWN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimals_compare_bits),
        cmocka_unit_test(test_decimals_as_text_gives_them),
        cmocka_unit_test(test_ordered_integers_keep_the_order),
        cmocka_unit_test(test_rare_digits_raise_the_exponent),
        cmocka_unit_test(test_quotients_are_divisions),
        cmocka_unit_test(test_columns_without_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

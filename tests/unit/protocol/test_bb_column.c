// SPDX-License-Identifier: Apache-2.0
// Goal: every word comes back to the bit from any range of a column, columns are as small as the
// header says, and no bytes crash the reader. Method: families of words (decimals, counters, times,
// special doubles, noise) of many lengths, whole and in random ranges; exact bytes; damage of every
// byte of small columns. Buffers have the exact size for the address sanitizer.
#include "protocol/bb_column.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bb_value.h"
#include "tests/support/bb_random.h"

typedef struct {
    uint8_t *bytes; // of the exact length
    size_t length;
    bb_column_t column;
} s_encoded_t;

static s_encoded_t s_encode(bool is_float, const uint64_t *words, uint32_t count)
{
    s_encoded_t encoded;
    bb_fault_t fault;
    size_t used;
    uint8_t *out = bb_alloc(bb_column_bytes_max(count));
    encoded.length = bb_column_encode(is_float, words, count, out);
    assert_true(encoded.length <= bb_column_bytes_max(count));
    assert_true(encoded.length % 8 == 0 && encoded.length >= BB_COLUMN_BYTES_MIN);
    encoded.bytes = bb_alloc(encoded.length);
    memcpy(encoded.bytes, out, encoded.length);
    free(out);
    assert_int_equal(bb_column_open(&encoded.column, is_float,
                                    bb_slice(encoded.bytes, encoded.length), count, &used, &fault),
                     BB_OK);
    assert_int_equal(used, encoded.length);
    return encoded;
}

// Whole and in ranges; returns the encoded size.
static size_t s_check(bb_random_t *random, bool is_float, const uint64_t *words, uint32_t count)
{
    s_encoded_t encoded = s_encode(is_float, words, count);
    uint64_t *out = bb_alloc(((size_t)count + 1) * 8);
    for (int i = 0; i < 12; i++) {
        uint32_t first = i == 0 ? 0 : (uint32_t)bb_random_below(random, count);
        uint32_t length = i == 0 ? count : (uint32_t)bb_random_below(random, count - first + 1);
        out[length] = UINT64_C(0xa5a5a5a5a5a5a5a5);
        bb_column_unpack(&encoded.column, first, length, out);
        assert_memory_equal(out, words + first, (size_t)length * 8);
        assert_int_equal(out[length], UINT64_C(0xa5a5a5a5a5a5a5a5));
    }
    free(out);
    free(encoded.bytes);
    assert_true(encoded.length <= 8 + 8 * (size_t)count || count == 1);
    return encoded.length;
}

static uint64_t s_decimal(int64_t integer, double power)
{
    return bb_bits_of_double((double)integer / power);
}

static const uint64_t s_special[] = {
    UINT64_C(0x8000000000000000), // -0.0
    UINT64_C(0x7ff8dead0000beef), // NaN with a payload
    UINT64_C(0xfff0000000000001), // signalling NaN
    UINT64_C(0x7ff0000000000000), // infinity
    UINT64_C(0xfff0000000000000),
    UINT64_C(0x0000000000000001), // smallest denormal
    UINT64_C(0x7fefffffffffffff), // largest double
    UINT64_C(0x3fd5555555555555), // one third
    UINT64_C(0x4320000000000000), // 2^51
    UINT64_C(0xc320000000000000), // -2^51
    UINT64_C(0x431fffffffffffff), // 2^51 - 1/4
    UINT64_C(0x4330000000000001), // 2^52 + 1
    0,
    UINT64_MAX,
};

enum { FAMILIES = 12 };

static uint64_t s_word(bb_random_t *random, int family, uint32_t i, uint64_t constant)
{
    uint64_t noise = bb_random_next(random);
    switch (family) {
    case 0: // state of charge
        return s_decimal((int64_t)(noise % 1001), 10);
    case 1: // power, with some that are special
        return noise % 97 == 0 ? s_special[noise / 97 % BB_COUNT_OF(s_special)]
                               : s_decimal((int64_t)(noise % 100000) - 50000, 100);
    case 2: // special ones alone
        return s_special[noise % BB_COUNT_OF(s_special)];
    case 3: // bits
        return noise;
    case 4: // times
        return (UINT64_C(1767225600000) + i * 10000 + noise % 100) * 1000000;
    case 5: // constant
        return constant;
    case 6: // float32 in a double
        return bb_bits_of_double((double)((float)(noise % 100000) * 0.37f));
    case 7: // digits that differ
        return s_decimal((int64_t)(noise % 1000), noise % 50 == 0 ? 1e9 : 1e1);
    case 8: // integers of both signs
        return (uint64_t)((int64_t)(noise % 2001) - 1000);
    case 9: // the ends of the integers
        return noise % 2 ? UINT64_C(0x7fffffffffffffff) : UINT64_C(0x8000000000000000);
    case 10: // a word, and one far from it
        return constant + (i == 3 ? noise : 0);
    default: // large decimals
        return s_decimal((int64_t)(noise % (UINT64_C(1) << 51)) * (noise >> 63 ? 1 : -1), 1e3);
    }
}

static void test_words_come_back(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 31, 33, 63, 64, 65, 511, 512, 513, 1500};
    bb_random_t random = bb_random_seed(11);
    uint64_t words[1500];
    for (int family = 0; family < FAMILIES; family++) {
        for (size_t c = 0; c < BB_COUNT_OF(counts); c++) {
            for (int repeat = 0; repeat < 6; repeat++) {
                uint64_t constant = s_special[(size_t)repeat * 2];
                for (uint32_t i = 0; i < counts[c]; i++) {
                    words[i] = s_word(&random, family, i, constant);
                }
                s_check(&random, repeat % 2 == 0, words, counts[c]);
            }
        }
    }
}

// Every exponent and every width of an integer.
static void test_every_width_and_exponent(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(12);
    uint64_t words[70];
    double power = 1;
    for (int exponent = 0; exponent <= BB_COLUMN_EXPONENT_MAX; exponent++, power *= 10) {
        for (uint32_t width = 0; width <= 51; width++) {
            for (uint32_t i = 0; i < 70; i++) {
                int64_t integer = (int64_t)(bb_random_next(&random) >> 12 >> (52 - width));
                words[i] = s_decimal(width == 51 ? integer / 2 : integer - (1 << 20), power);
            }
            s_check(&random, true, words, 70);
        }
    }
    for (uint32_t width = 1; width <= 64; width++) {
        for (uint32_t i = 0; i < 70; i++) {
            words[i] = bb_random_next(&random) >> (64 - width);
        }
        s_check(&random, false, words, 70);
    }
}

static void s_expect(const s_encoded_t *encoded, bb_column_encoding_t encoding, uint32_t width,
                     uint32_t exponent, uint32_t exception_count)
{
    assert_int_equal(encoded->column.encoding, encoding);
    assert_int_equal(encoded->column.width, width);
    assert_int_equal(encoded->column.exponent, exponent);
    assert_int_equal(encoded->column.exception_count, exception_count);
    free(encoded->bytes);
}

static void test_smallest_is_chosen(void **context)
{
    (void)context;
    uint64_t words[800];
    for (uint32_t i = 0; i < 800; i++) { // 0.0 to 79.9
        words[i] = s_decimal(i, 10);
    }
    s_encoded_t encoded = s_encode(true, words, 800);
    assert_int_equal(encoded.length, 16 + 1000);
    assert_int_equal(encoded.column.base, 0);
    s_expect(&encoded, BB_COLUMN_DECIMAL, 10, 1, 0);

    words[3] = s_special[0]; // -0.0 is an exception: 12 bytes, padded
    words[700] = s_special[1];
    encoded = s_encode(true, words, 800);
    assert_int_equal(encoded.length, 16 + 1000 + 24);
    assert_int_equal(encoded.column.positions[1], 700);
    assert_int_equal(encoded.column.exceptions[0], s_special[0]);
    s_expect(&encoded, BB_COLUMN_DECIMAL, 10, 1, 2);

    for (uint32_t i = 0; i < 800; i++) { // milliseconds
        words[i] = UINT64_C(1767225600000000000) + i * UINT64_C(1000000);
    }
    encoded = s_encode(false, words, 800);
    assert_int_equal(encoded.length, 24 + 1000);
    assert_int_equal(encoded.column.scale, 1000000);
    s_expect(&encoded, BB_COLUMN_INTEGER, 10, 0, 0);

    for (uint32_t i = 0; i < 800; i++) { // no decimal, but equal
        words[i] = s_special[7];
    }
    encoded = s_encode(true, words, 800);
    assert_int_equal(encoded.length, 16);
    s_expect(&encoded, BB_COLUMN_INTEGER, 0, 0, 0);

    for (uint32_t i = 0; i < 800; i++) { // float32: 29 bits are zero
        words[i] = bb_bits_of_double((double)(sqrtf((float)(i + 2))));
    }
    encoded = s_encode(true, words, 800);
    assert_true(encoded.column.scale >= 1u << 29);
    assert_true(encoded.length < 800 * 4);
    free(encoded.bytes);

    for (uint32_t i = 0; i < 800; i++) { // a real double
        words[i] = bb_bits_of_double((i % 2 ? 1 : -1) * sqrt(i + 2));
    }
    encoded = s_encode(true, words, 800);
    assert_int_equal(encoded.length, 8 + 6400);
    s_expect(&encoded, BB_COLUMN_RAW, 64, 0, 0);
}

static void test_one_value_takes_two_words(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(13);
    for (size_t i = 0; i < BB_COUNT_OF(s_special); i++) {
        assert_int_equal(s_check(&random, i % 2 == 0, &s_special[i], 1), 16);
    }
}

// A column that is wider than its count of values allows, and every kind of nonsense in the front.
static void test_fronts_are_checked(void **context)
{
    (void)context;
    static const struct {
        uint8_t front[4];
        uint32_t exception_count;
        uint64_t words[4];
        bool is_good;
    } cases[] = {
        {{BB_COLUMN_RAW, 64, 0, 0}, 0, {1, 2}, true},
        {{BB_COLUMN_RAW, 63, 0, 0}, 0, {1, 2}, false},
        {{BB_COLUMN_RAW, 64, 1, 0}, 0, {1, 2}, false},
        {{BB_COLUMN_RAW, 64, 0, 1}, 0, {1, 2}, false},
        {{BB_COLUMN_RAW, 64, 0, 0}, 1, {1, 2}, false},
        {{0, 64, 0, 0}, 0, {1, 2}, false},
        {{4, 64, 0, 0}, 0, {1, 2}, false},
        {{BB_COLUMN_INTEGER, 4, 0, 0}, 0, {7, 0x21}, true},
        {{BB_COLUMN_INTEGER, 4, 0, 0}, 0, {7, 0x121}, false}, // spare bits
        {{BB_COLUMN_INTEGER, 4, 0, 2}, 0, {7, 0x21}, false},
        {{BB_COLUMN_INTEGER, 4, 1, 0}, 0, {7, 0x21}, false},
        {{BB_COLUMN_INTEGER, 65, 0, 0}, 0, {7, 0x21}, false},
        {{BB_COLUMN_INTEGER, 64, 0, 0}, 0, {7, 0x21, 1, 0}, true},
        {{BB_COLUMN_INTEGER, 4, 0, 1}, 0, {7, 2, 0x21}, true},
        {{BB_COLUMN_INTEGER, 4, 0, 1}, 0, {7, 1, 0x21}, false}, // scale 1, 0
        {{BB_COLUMN_INTEGER, 4, 0, 1}, 0, {7, 0, 0x21}, false},
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 1, {7, 9, 1}, true}, // an exception at 1
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 1, {7, 9, 2}, false},
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 1, {7, 9, UINT64_C(1) << 32}, false},
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 2, {7, 9, 9, UINT64_C(1) << 32}, true},
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 2, {7, 9, 9, 1}, false}, // not ascending
        {{BB_COLUMN_INTEGER, 0, 0, 0}, 3, {7, 9, 9, 9}, false},
        {{BB_COLUMN_INTEGER, 0, 0, 0}, UINT32_MAX, {7, 9, 9, 9}, false},
        {{BB_COLUMN_DECIMAL, 52, 10, 0}, 0, {UINT64_MAX, 1, 1}, true},
        {{BB_COLUMN_DECIMAL, 53, 10, 0}, 0, {UINT64_MAX, 1, 1}, false},
        {{BB_COLUMN_DECIMAL, 52, 11, 0}, 0, {UINT64_MAX, 1, 1}, false},
        {{BB_COLUMN_DECIMAL, 52, 10, 1}, 0, {7, 2, 0, 0}, false},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint64_t bytes[5], out[2];
        memcpy(bytes, cases[i].front, 4);
        memcpy((uint8_t *)bytes + 4, &cases[i].exception_count, 4);
        memcpy(bytes + 1, cases[i].words, sizeof cases[i].words);
        bb_column_t column;
        bb_fault_t fault;
        size_t used;
        bb_error_t error =
            bb_column_open(&column, true, bb_slice(bytes, sizeof bytes), 2, &used, &fault);
        assert_int_equal(error, cases[i].is_good ? BB_OK : BB_ERR_MESSAGE_CORRUPT);
        if (cases[i].is_good) {
            bb_column_unpack(&column, 0, 2, out);
            assert_int_equal(
                bb_column_open(&column, true, bb_slice(bytes, used - 8), 2, &used, &fault),
                BB_ERR_MESSAGE_CORRUPT);
        }
        if (cases[i].front[0] == BB_COLUMN_DECIMAL) {
            assert_int_equal(
                bb_column_open(&column, false, bb_slice(bytes, sizeof bytes), 2, &used, &fault),
                BB_ERR_MESSAGE_CORRUPT);
        }
    }
}

// Goal: what is cut out of a column is what was in the ranges, and no larger than its words.
static void test_cut(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(15);
    uint64_t words[700], kept[700], out[700];
    for (int round = 0; round < 40 * FAMILIES; round++) {
        bool is_float = round % 3 > 0;
        uint32_t count = (uint32_t)bb_random_between(&random, 1, 700);
        for (uint32_t i = 0; i < count; i++) {
            words[i] = s_word(&random, round % FAMILIES, i, 1);
        }
        s_encoded_t encoded = s_encode(is_float, words, count);
        bb_column_range_t ranges[700];
        uint32_t range_count = 0, kept_count = 0;
        uint64_t step = bb_random_between(&random, 1, 60);
        for (uint32_t at = (uint32_t)bb_random_below(&random, count); at < count;) {
            uint32_t length = (uint32_t)bb_random_between(&random, 1, step);
            length = BB_MIN(length, count - at);
            ranges[range_count++] = (bb_column_range_t){at, length};
            memcpy(kept + kept_count, words + at, length * sizeof *words);
            kept_count += length;
            at += length + (uint32_t)bb_random_below(&random, step);
        }
        uint8_t *bytes = bb_alloc(bb_column_bytes_max(kept_count));
        size_t length =
            bb_column_cut(&encoded.column, is_float, ranges, range_count, kept_count, bytes);
        assert_true(length <= 8 + 8 * (size_t)kept_count);
        bb_column_t column;
        bb_fault_t fault;
        size_t used;
        assert_int_equal(
            bb_column_open(&column, is_float, bb_slice(bytes, length), kept_count, &used, &fault),
            BB_OK);
        assert_int_equal(used, length);
        bb_column_unpack(&column, 0, kept_count, out);
        assert_memory_equal(out, kept, kept_count * sizeof *out);
        free(bytes);
        free(encoded.bytes);
    }
}

// Any byte of a column may become any other: it is refused, or something else is read.
static void test_damage_is_safe(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(14);
    uint64_t words[40], out[40];
    for (int family = 0; family < FAMILIES; family++) {
        for (uint32_t i = 0; i < 40; i++) {
            words[i] = s_word(&random, family, i, 1);
        }
        s_encoded_t encoded = s_encode(true, words, 40);
        for (size_t i = 0; i < encoded.length; i++) {
            for (int value = 0; value < 256; value += i < 8 ? 1 : 51) {
                uint8_t before = encoded.bytes[i];
                encoded.bytes[i] = (uint8_t)value;
                bb_column_t column;
                bb_fault_t fault;
                size_t used = 0;
                if (bb_column_open(&column, true, bb_slice(encoded.bytes, encoded.length), 40,
                                   &used, &fault) == BB_OK) {
                    assert_true(used <= encoded.length);
                    bb_column_unpack(&column, 0, 40, out);
                    bb_column_unpack(&column, 13, 7, out);
                }
                encoded.bytes[i] = before;
            }
        }
        free(encoded.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_come_back),    cmocka_unit_test(test_every_width_and_exponent),
        cmocka_unit_test(test_smallest_is_chosen), cmocka_unit_test(test_one_value_takes_two_words),
        cmocka_unit_test(test_fronts_are_checked), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damage_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

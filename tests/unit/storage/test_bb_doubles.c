// SPDX-License-Identifier: Apache-2.0
// Goal: the fast ways of adding up doubles give what adding one by one gives, byte for byte, and
// the right extremes, whatever the values, their number and what is known of them.
#include "storage/encoding/bb_doubles.h"

#include <math.h>

#include "storage/encoding/bb_encoding.h"
#include "tests/unit/storage/run_support.h"

#define ROWS 5000

static uint64_t s_slow_extreme(const uint64_t *words, uint32_t count, bool is_max)
{
    uint64_t found = words[0];
    for (uint32_t i = 1; i < count; i++) {
        bool nan_found = isnan(bb_double_of_bits(found));
        bool nan_next = isnan(bb_double_of_bits(words[i]));
        int order = bb_value_compare(0, (bb_value_t){BB_TYPE_FLOAT64, words[i]}, 0,
                                     (bb_value_t){BB_TYPE_FLOAT64, found});
        bool is_better = nan_found == nan_next ? (is_max ? order > 0 : order < 0) : nan_found;
        found = is_better ? words[i] : found;
    }
    return found;
}

static void s_check(const uint64_t *words, uint32_t count, uint32_t exponent)
{
    bb_sum_t expected = {0};
    bb_sum_t found = {0};
    bb_sum_add(&expected, 17.25); // it adds
    bb_sum_add(&found, 17.25);
    for (uint32_t i = 0; i < count; i++) {
        bb_sum_add(&expected, bb_double_of_bits(words[i]));
    }
    uint64_t min;
    uint64_t max;
    bb_doubles_add_up(words, count, exponent, &min, &max, &found);
    assert_true(bb_sum_is_equal(&found, &expected));
    assert_int_equal(min, s_slow_extreme(words, count, false));
    assert_int_equal(max, s_slow_extreme(words, count, true));
}

static void test_every_kind_of_numbers(void **context)
{
    (void)context;
    static uint64_t words[ROWS];
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 30, 1023, 1024, 2049, ROWS};
    bb_random_t random = bb_random_seed(1);
    for (uint32_t family = 0; family < TEST_FAMILY_COUNT; family++) {
        for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
            test_words(&random, family, true, words, counts[i]);
            s_check(words, counts[i], BB_DOUBLES_EXPONENT_UNKNOWN);
        }
    }
}

// Binary fractions among decimals: with and without integer parts, with places below 2^-64.
static void test_binary_fractions(void **context)
{
    (void)context;
    static uint64_t words[300];
    bb_random_t random = bb_random_seed(5);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t count = (uint32_t)bb_random_between(&random, 1, 300);
        int largest = (int)bb_random_between(&random, 1, 70) - 52;
        int span = (int)bb_random_between(&random, 1, round % 4 == 0 ? 90 : 8);
        for (uint32_t i = 0; i < count; i++) {
            double number = ldexp((double)(bb_random_next(&random) >> 11),
                                  largest - 53 - (int)bb_random_below(&random, (uint64_t)span));
            number = bb_random_chance(&random, 1, 2) ? number : -number;
            bool is_decimal = bb_random_chance(&random, 1, 3);
            words[i] = bb_bits_of_double(is_decimal ? nearbyint(number * 1000) / 1000 : number);
        }
        s_check(words, count, BB_DOUBLES_EXPONENT_UNKNOWN);
    }
}

// Decimals of one exponent, below and above the limit of what counts as one, known and not.
static void test_known_exponents(void **context)
{
    (void)context;
    static uint64_t words[ROWS];
    bb_random_t random = bb_random_seed(2);
    for (uint32_t round = 0; round < 500; round++) {
        uint32_t exponent = round % 11;
        uint32_t bits = (uint32_t)bb_random_between(&random, 1, 53);
        uint32_t count = (uint32_t)bb_random_between(&random, 1, 100);
        for (uint32_t i = 0; i < count; i++) {
            double k = (double)bb_random_below(&random, UINT64_C(1) << bits);
            k = bb_random_chance(&random, 1, 2) ? k : -k;
            words[i] = bb_bits_of_double(k / pow(10, exponent));
        }
        s_check(words, count, exponent);
        s_check(words, count, BB_DOUBLES_EXPONENT_UNKNOWN);
    }
}

// Many parts at once: all or nothing, and never wrong.
static void test_short_parts(void **context)
{
    (void)context;
    static uint64_t words[BB_DOUBLES_WORDS_MAX];
    bb_random_t random = bb_random_seed(4);
    uint32_t taken = 0;
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t limits[64];
        uint32_t part_count = (uint32_t)bb_random_between(&random, 1, 64);
        uint32_t total = 0;
        for (uint32_t i = 0; i < part_count; i++) {
            total += (uint32_t)bb_random_between(&random, 1, 32);
            limits[i] = total;
        }
        uint32_t family = round % TEST_FAMILY_COUNT;
        test_words(&random, family, true, words, total);
        uint32_t exponent = BB_DOUBLES_EXPONENT_UNKNOWN;
        if (round % 4 == 0) { // known: large ones too
            exponent = (uint32_t)bb_random_below(&random, 11);
            for (uint32_t i = 0; i < total; i++) {
                double k = (double)(bb_random_next(&random) >> (round % 3 == 0 ? 11 : 40));
                words[i] = bb_bits_of_double(k / pow(10, exponent));
            }
        }
        bb_doubles_part_t parts[64];
        if (!bb_doubles_parts(words, limits, part_count, &exponent, parts)) {
            continue;
        }
        taken++;
        for (uint32_t i = 0; i < part_count; i++) {
            uint32_t first = i > 0 ? limits[i - 1] : 0;
            bb_sum_t expected = {0};
            bb_sum_t found = {0};
            for (uint32_t row = first; row < limits[i]; row++) {
                bb_sum_add(&expected, bb_double_of_bits(words[row]));
            }
            bb_sum_add_scaled(&found, parts[i].sum, exponent);
            assert_true(bb_sum_is_equal(&found, &expected));
            assert_int_equal(parts[i].min, s_slow_extreme(words + first, limits[i] - first, false));
            assert_int_equal(parts[i].max, s_slow_extreme(words + first, limits[i] - first, true));
        }
    }
    assert_true(taken > 50);
}

// Blocks of every encoding say the exponent only if it holds, and their totals are exact.
static void test_blocks_of_every_encoding(void **context)
{
    (void)context;
    static uint64_t words[BB_BLOCK_ROWS_MAX], decoded[BB_BLOCK_ROWS_MAX];
    static uint8_t out[BB_ENCODING_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    bb_random_t random = bb_random_seed(3);
    bb_encoder_t *encoder = bb_encoder_new();
    uint32_t known = 0;
    for (uint32_t family = 0; family < TEST_FAMILY_COUNT * 4; family++) {
        test_words(&random, family % TEST_FAMILY_COUNT, true, words, BB_BLOCK_ROWS_MAX);
        bb_sum_t expected = {0};
        for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
            bb_sum_add(&expected, bb_double_of_bits(words[i]));
        }
        const bb_encoding_input_t input = {
            .kind = BB_ENCODING_FLOAT64, .words = words, .count = BB_BLOCK_ROWS_MAX};
        for (uint32_t id = 1; id <= BB_ENCODING_LAST; id++) {
            size_t length = bb_encoding_is_known(id) && id != BB_ENCODING_PREDICTED
                                ? bb_encoder_encode_as(encoder, (bb_encoding_id_t)id, &input, out)
                                : 0;
            if (length == 0) {
                continue;
            }
            bb_slice_t block = bb_slice(out, length);
            bb_encoding_totals_t totals;
            assert_int_equal(bb_encoding_aggregate(id, BB_TYPE_FLOAT64, block, BB_BLOCK_ROWS_MAX,
                                                   NULL, 0, BB_BLOCK_ROWS_MAX, &totals),
                             BB_OK);
            assert_true(bb_sum_is_equal(&totals.sum, &expected));
            assert_int_equal(bb_encoding_decode(id, BB_ENCODING_FLOAT64, block, BB_BLOCK_ROWS_MAX,
                                                NULL, decoded),
                             BB_OK);
            uint32_t exponent = bb_encoding_exponent(id, block);
            known += exponent != UINT32_MAX;
            s_check(decoded, BB_BLOCK_ROWS_MAX, exponent);
            assert_int_equal(bb_encoding_exponent(id, bb_slice(out, 0)), UINT32_MAX);
        }
    }
    assert_true(known > 4);
    bb_encoder_destroy(&encoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_numbers),    cmocka_unit_test(test_binary_fractions),
        cmocka_unit_test(test_known_exponents),          cmocka_unit_test(test_short_parts),
        cmocka_unit_test(test_blocks_of_every_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

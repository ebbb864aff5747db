// SPDX-License-Identifier: Apache-2.0
// Goal: every encoding gives back the same bits, the chosen one is the smallest and as small as the
// arithmetic says, and no bytes can make a decoder misbehave. Method: random, adversarial and
// realistic words of every family and many counts; exact-size buffers; truncation and bit flips.
#include "storage/encoding/bb_encoding.h"

#include <math.h>

#include "tests/unit/storage/run_support.h"

static bb_encoder_t *s_encoder;

static size_t s_encode(bb_encoding_kind_t kind, const uint64_t *words, uint32_t count, uint8_t *out,
                       uint8_t *id)
{
    const bb_encoding_input_t input = {.kind = kind, .words = words, .count = count};
    return bb_encoder_encode(s_encoder, &input, NULL, out, id);
}

static size_t s_encode_as(bb_encoding_id_t id, bb_encoding_kind_t kind, const uint64_t *words,
                          uint32_t count, uint8_t *out)
{
    const bb_encoding_input_t input = {.kind = kind, .words = words, .count = count};
    return bb_encoder_encode_as(s_encoder, id, &input, out);
}

// Decodes from an exact-size copy, so that reading behind it shows under the address sanitizer.
static bb_error_t s_decode(uint32_t id, bb_encoding_kind_t kind, const uint8_t *bytes,
                           size_t length, uint32_t count, uint64_t *out)
{
    uint8_t *copy = bb_alloc(length);
    // cppcheck-suppress uninitvar ; the callers have filled `length` of them
    memcpy(copy, bytes, length);
    bb_error_t error = bb_encoding_decode(id, kind, bb_slice(copy, length), count, NULL, out);
    // The same with totals on the way, whatever the bytes.
    static uint64_t again[BB_BLOCK_ROWS_MAX];
    bb_type_t type = kind == BB_ENCODING_FLOAT64 ? BB_TYPE_FLOAT64 : BB_TYPE_INT64;
    bool has_totals = false;
    bb_encoding_totals_t totals;
    assert_int_equal(bb_encoding_decode_with_totals(id, type, bb_slice(copy, length), count, again,
                                                    &has_totals, &totals),
                     error);
    if (error == BB_OK) {
        assert_memory_equal(again, out, (size_t)count * 8);
    }
    if (error == BB_OK && has_totals) {
        bb_encoding_totals_t expected;
        bb_encoding_totals_of(type, out, count, &expected);
        assert_int_equal(totals.count, count);
        assert_true(totals.min == expected.min && totals.max == expected.max);
        assert_true(totals.first == expected.first && totals.last == expected.last);
        assert_true(bb_sum_is_equal(&totals.sum, &expected.sum));
    }
    free(copy);
    return error;
}

static size_t s_round_trip(bb_encoding_kind_t kind, const uint64_t *words, uint32_t count)
{
    static uint64_t decoded[BB_BLOCK_ROWS_MAX];
    uint8_t *bytes = bb_alloc(BB_ENCODING_BYTES_MAX(count));
    uint8_t id = BB_ENCODING_NONE;
    size_t chosen = s_encode(kind, words, count, bytes, &id);
    assert_in_range(chosen, 1, BB_ENCODING_BYTES_MAX(count));
    assert_int_equal(s_decode(id, kind, bytes, chosen, count, decoded), BB_OK);
    assert_memory_equal(decoded, words, count * sizeof *words);

    for (uint32_t other = 1; other <= BB_ENCODING_LAST; other++) {
        if (!bb_encoding_is_known(other)) {
            continue;
        }
        size_t length = s_encode_as(other, kind, words, count, bytes);
        if (length > 0) {
            memset(decoded, 0x5a, sizeof decoded);
            assert_int_equal(s_decode(other, kind, bytes, length, count, decoded), BB_OK);
            assert_memory_equal(decoded, words, count * sizeof *words);
            // Decimals that pack to half, and grids of times, are taken without looking further;
            // everything else is the best of all.
            bool stopped_early = chosen < (size_t)count * 4;
            assert_true(chosen <= length || stopped_early);
        }
    }
    free(bytes);
    return chosen;
}

static void test_round_trips(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 31, 32, 33, 64, 100, 1000, BB_BLOCK_ROWS_MAX};
    static uint64_t words[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(2);
    for (uint32_t family = 0; family < TEST_FAMILY_COUNT; family++) {
        for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
            test_words(&random, family, true, words, counts[i]);
            s_round_trip(BB_ENCODING_FLOAT64, words, counts[i]);
            test_words(&random, family, false, words, counts[i]);
            s_round_trip(BB_ENCODING_INTEGER, words, counts[i]);
        }
    }
    for (uint32_t family = 0; family < TEST_TIMES_COUNT; family++) {
        for (size_t i = 0; i < BB_COUNT_OF(counts); i++) {
            test_times(&random, family, (int64_t *)words, counts[i]);
            s_round_trip(BB_ENCODING_INTEGER, words, counts[i]);
        }
    }
}

// Short random mixtures of special values: most of the strange blocks.
static void test_adversarial_mixtures(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(3);
    uint64_t words[40];
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t count = 1 + test_below(&random, BB_COUNT_OF(words));
        bool is_double = round % 2;
        int64_t walk = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t family = test_below(&random, TEST_FAMILY_COUNT);
            words[i] = test_word(&random, family, is_double, i, &walk);
        }
        s_round_trip(is_double ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER, words, count);
    }
}

// Sizes follow from the byte maps: heads, a byte and sometimes a reference for each 256 rows,
// packed bits, two bytes and more a patch.
static void test_sizes_are_those_of_the_arithmetic(void **context)
{
    (void)context;
    static uint64_t words[BB_BLOCK_ROWS_MAX];
    const uint32_t count = BB_BLOCK_ROWS_MAX;
    const size_t minis = count / 256;
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bb_bits_of_double(50.0);
    }
    // Exponent, flags, base, four widths of zero.
    assert_int_equal(s_round_trip(BB_ENCODING_FLOAT64, words, count), 3 + minis);

    // Constant steps of ten seconds: mode, scale (10^10: 5 bytes), base and step in units, no gaps.
    for (uint32_t i = 0; i < count; i++) {
        words[i] = UINT64_C(1767225600000000000) + i * UINT64_C(10000000000);
    }
    assert_int_equal(s_round_trip(BB_ENCODING_INTEGER, words, count), 1 + 5 + 5 + 1 + 1);
    // ... and a gap in it: its row and its size.
    for (uint32_t i = 700; i < count; i++) {
        words[i] += UINT64_C(3600000000000);
    }
    assert_int_equal(s_round_trip(BB_ENCODING_INTEGER, words, count), 13 + 2 + 2);

    // 3.700 to 3.827 V: 128 values of three decimals, seven bits each, at random.
    bb_random_t random = bb_random_seed(4);
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bb_bits_of_double((double)(3700 + (i < 2 ? i * 127 : test_below(&random, 128))) /
                                     1000.0);
    }
    size_t room = 1 + 1 + 2 + minis * 3;
    assert_in_range(s_round_trip(BB_ENCODING_FLOAT64, words, count), 7 * count / 8,
                    7 * count / 8 + room);
    // Two of them not a number: two exceptions of ten bytes at most.
    words[0] = test_special_doubles[6];
    words[900] = test_special_doubles[1];
    assert_in_range(s_round_trip(BB_ENCODING_FLOAT64, words, count), 7 * count / 8,
                    7 * count / 8 + room + 1 + 2 * 10);

    // Millisecond jitter of -3..3 on a ten-second grid: a bit for the few that are on it, three for
    // all others, and the head of the grid.
    test_times(&random, TEST_JITTER, (int64_t *)words, count);
    assert_in_range(s_round_trip(BB_ENCODING_INTEGER, words, count), 3 * count / 8,
                    4 * count / 8 + 13 + 4 + minis * 2);

    // A switch that changes rarely costs its changes only.
    for (uint32_t i = 0; i < count; i++) {
        words[i] = i >= 300 && i < 650;
    }
    assert_in_range(s_round_trip(BB_ENCODING_INTEGER, words, count), 8, 24);
}

// Truncated, extended or flipped bytes: an error or other words, never an access outside.
static void test_damaged_bytes_are_safe(void **context)
{
    (void)context;
    uint64_t words[60];
    uint64_t decoded[60];
    uint8_t bytes[BB_ENCODING_BYTES_MAX(60) + 1];
    bb_random_t random = bb_random_seed(6);
    for (uint32_t family = 0; family < TEST_FAMILY_COUNT; family++) {
        for (uint32_t id = 1; id <= BB_ENCODING_LAST; id++) {
            if (!bb_encoding_is_known(id)) {
                continue;
            }
            for (uint32_t kind = BB_ENCODING_INTEGER; kind <= BB_ENCODING_FLOAT64; kind++) {
                test_words(&random, family, kind == BB_ENCODING_FLOAT64, words, 60);
                size_t length = s_encode_as(id, kind, words, 60, bytes);
                if (length == 0) {
                    continue;
                }
                for (size_t cut = 0; cut < length; cut++) {
                    assert_int_equal(s_decode(id, kind, bytes, cut, 60, decoded), BB_ERR_CORRUPT);
                }
                bytes[length] = 0;
                assert_int_equal(s_decode(id, kind, bytes, length + 1, 60, decoded),
                                 BB_ERR_CORRUPT);
                for (size_t bit = 0; bit < length * 8; bit++) {
                    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                    bb_error_t error = s_decode(id, kind, bytes, length, 60, decoded);
                    assert_true(error == BB_OK || error == BB_ERR_CORRUPT);
                    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                }
            }
        }
    }
}

static void test_random_bytes_are_safe(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(7);
    uint64_t decoded[32];
    uint8_t bytes[120];
    for (uint32_t round = 0; round < 20000; round++) {
        size_t length = test_below(&random, sizeof bytes);
        for (size_t i = 0; i < length; i++) {
            bytes[i] = (uint8_t)bb_random_next(&random);
        }
        if (length > 8) { // usually a width, flags and counts that are possible
            bytes[0] %= 66;
            bytes[1] %= 3;
            bytes[2] = 0;
            bytes[3] = 0;
            memset(bytes + 4, 0, 4);
            bytes[4] %= 3;
        }
        uint32_t id = test_below(&random, BB_ENCODING_LAST + 2);
        uint32_t count = 1 + test_below(&random, 32);
        bb_error_t error = s_decode(id, 1 + test_below(&random, 2), bytes, length, count, decoded);
        bool known = bb_encoding_is_known(id);
        assert_true(known ? error == BB_OK || error == BB_ERR_CORRUPT : error == BB_ERR_FORMAT);
    }
}

static void test_unknown_ids_are_named(void **context)
{
    (void)context;
    uint64_t word = 0;
    uint64_t out;
    assert_false(bb_encoding_is_known(BB_ENCODING_NONE));
    assert_false(bb_encoding_is_known(BB_ENCODING_LAST + 1));
    assert_string_equal(bb_encoding_name(200), "unknown");
    assert_string_equal(bb_encoding_name(BB_ENCODING_DECIMALS), "decimals");
    assert_int_equal(bb_encoding_decode(BB_ENCODING_LAST + 1, BB_ENCODING_INTEGER,
                                        bb_slice(&word, 8), 1, NULL, &out),
                     BB_ERR_FORMAT);
    // Decimals of integers make no sense: refused, not guessed.
    assert_int_equal(bb_encoding_decode(BB_ENCODING_DECIMALS, BB_ENCODING_INTEGER,
                                        bb_slice(&word, 8), 1, NULL, &out),
                     BB_ERR_CORRUPT);
}

// A column that stands still takes a few bytes whatever its length, and the same as any other way.
static void test_columns_that_stand_still(void **context)
{
    (void)context;
    static uint64_t words[BB_BLOCK_ROWS_MAX];
    static const uint32_t counts[] = {1, 2, 3, 10, 256, 257, 1024};
    static const double numbers[] = {0.0, -0.0, 99.5, -3.7, 1.0 / 3, INFINITY};
    for (uint32_t n = 0; n < BB_COUNT_OF(numbers); n++) {
        for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
            words[i] = bb_bits_of_double(numbers[n]);
        }
        for (uint32_t i = 0; i < BB_COUNT_OF(counts); i++) {
            assert_true(s_round_trip(BB_ENCODING_FLOAT64, words, counts[i]) <= 8);
            assert_true(s_round_trip(BB_ENCODING_INTEGER, words, counts[i]) <= 8);
        }
    }
}

// The entropy form is for columns that keep calling for it: the block in which they begin to is
// still packed, as is any block behind one that had no use for it.
static void test_entropy_needs_a_block_before(void **context)
{
    (void)context;
    static uint64_t jumps[BB_BLOCK_ROWS_MAX], calm[BB_BLOCK_ROWS_MAX], decoded[BB_BLOCK_ROWS_MAX];
    uint8_t out[BB_ENCODING_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    bb_random_t random = bb_random_seed(77);
    int64_t level = 7000;
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        level += test_below(&random, 8) == 0 ? (int64_t)test_below(&random, 800) - 400 : 0;
        jumps[i] = bb_bits_of_double((double)level / 10);
        calm[i] = bb_bits_of_double((double)(100 + test_below(&random, 60)) / 10);
    }
    const uint64_t *const blocks[] = {jumps, jumps, jumps, calm, jumps, jumps};
    size_t lengths[BB_COUNT_OF(blocks)];
    uint32_t hint = 0;
    for (uint32_t i = 0; i < BB_COUNT_OF(blocks); i++) {
        const bb_encoding_input_t input = {
            .kind = BB_ENCODING_FLOAT64, .words = blocks[i], .count = BB_BLOCK_ROWS_MAX};
        uint8_t id;
        lengths[i] = bb_encoder_encode(s_encoder, &input, &hint, out, &id);
        assert_int_equal(id, BB_ENCODING_DECIMALS);
        assert_int_equal(
            s_decode(id, BB_ENCODING_FLOAT64, out, lengths[i], BB_BLOCK_ROWS_MAX, decoded), BB_OK);
        assert_memory_equal(decoded, blocks[i], sizeof decoded);
    }
    assert_true(lengths[1] < lengths[0] * 3 / 4);
    assert_int_equal(lengths[2], lengths[1]);
    assert_int_equal(lengths[4], lengths[0]);
    assert_int_equal(lengths[5], lengths[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_adversarial_mixtures),
        cmocka_unit_test(test_sizes_are_those_of_the_arithmetic),
        cmocka_unit_test(test_damaged_bytes_are_safe),
        cmocka_unit_test(test_random_bytes_are_safe),
        cmocka_unit_test(test_unknown_ids_are_named),
        cmocka_unit_test(test_columns_that_stand_still),
        cmocka_unit_test(test_entropy_needs_a_block_before),
    };
    s_encoder = bb_encoder_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bb_encoder_destroy(&s_encoder);
    return failed;
}

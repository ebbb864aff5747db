// SPDX-License-Identifier: Apache-2.0
// Goal: any small numbers come back, in about as many bits as they are surprising, and no bytes are
// dangerous. Method: random families of counts around the lanes; the entropy of the definition as
// oracle for sizes; tables written by hand; every prefix and flipped bits of valid blocks.
#include "storage/encoding/bb_entropy.h"

#include <math.h>

#include "tests/unit/storage/number_families.h"

#define S_ROOM 8192u

static bb_entropy_t s_entropy;

enum { S_UNIFORM = NUMBERS_SHARED, S_HUGE, S_MANY_TOKENS, S_FAMILIES };

static void s_numbers(bb_random_t *random, uint32_t family, uint32_t count, int32_t *numbers)
{
    if (family < NUMBERS_SHARED) {
        numbers_draw(random, family, count, numbers);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        switch (family) {
        case S_UNIFORM:
            numbers[i] = numbers_around_zero(random, 1u << test_below(random, 21));
            break;
        case S_HUGE:
            numbers[i] = numbers_around_zero(random, (BB_ENTROPY_FOLDED_LIMIT >> 1) - 1);
            break;
        default: // every token about as often, some hardly ever
            numbers[i] = (int32_t)((1u << test_below(random, 21)) + test_below(random, 5)) *
                         (test_below(random, 2) ? 1 : -1);
            numbers[i] = test_below(random, 3) ? i % 5 == 0 : numbers[i];
            break;
        }
    }
}

static size_t s_check(const int32_t *numbers, uint32_t count)
{
    static uint8_t room[S_ROOM];
    static int32_t out[BB_BLOCK_ROWS_MAX];
    size_t length = bb_entropy_encode(&s_entropy, numbers, count, S_ROOM, room);
    assert_in_range(length, 1, S_ROOM);
    uint8_t *exact = bb_alloc(length);
    memcpy(exact, room, length);
    assert_true(bb_entropy_decode(bb_slice(exact, length), count, out));
    assert_memory_equal(out, numbers, count * sizeof *out);
    free(exact);
    // The limit is kept to the byte; what does not fit is not written.
    assert_int_equal(bb_entropy_encode(&s_entropy, numbers, count, length, room), length);
    assert_int_equal(bb_entropy_encode(&s_entropy, numbers, count, length - 1, room), 0);
    return length;
}

static void test_any_small_numbers_come_back(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 63, 64, 900, 1021, 1022, 1023, 1024};
    static int32_t numbers[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(71);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t family = 0; family < S_FAMILIES; family++) {
            for (uint32_t i = 0; i < BB_COUNT_OF(counts); i++) {
                s_numbers(&random, family, counts[i], numbers);
                s_check(numbers, counts[i]);
            }
        }
    }
}

static void test_large_numbers_are_left_to_others(void **context)
{
    (void)context;
    uint8_t room[64];
    static const int32_t large[] = {INT32_MIN, INT32_MAX, BB_ENTROPY_FOLDED_LIMIT / 2,
                                    -(int32_t)(BB_ENTROPY_FOLDED_LIMIT / 2) - 1};
    static const int32_t small[] = {BB_ENTROPY_FOLDED_LIMIT / 2 - 1,
                                    -(int32_t)(BB_ENTROPY_FOLDED_LIMIT / 2)};
    for (uint32_t i = 0; i < BB_COUNT_OF(large); i++) {
        assert_int_equal(bb_entropy_encode(&s_entropy, &large[i], 1, sizeof room, room), 0);
    }
    for (uint32_t i = 0; i < BB_COUNT_OF(small); i++) {
        s_check(&small[i], 1);
    }
}

// Changes of one in eight rows, two sizes: 0.125 x (1 + log2 8) + 0.875 x log2(8 / 7) = 0.669 bits.
static void test_sizes_are_those_of_the_entropy(void **context)
{
    (void)context;
    static int32_t numbers[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(72);
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        numbers[i] = test_below(&random, 8) ? 0 : test_below(&random, 2) ? 1 : -1;
    }
    uint32_t counts[3] = {0};
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        counts[numbers[i] + 1]++;
    }
    double bits = 0;
    for (uint32_t i = 0; i < 3; i++) {
        bits -= counts[i] * log2((double)counts[i] / BB_BLOCK_ROWS_MAX);
    }
    size_t length = s_check(numbers, BB_BLOCK_ROWS_MAX);
    assert_true((double)length * 8 > bits);
    assert_true((double)length * 8 < bits * 1.02 + 8 * 10); // tables, states

    // The same changes all at once: what came before says where they are.
    static int32_t together[BB_BLOCK_ROWS_MAX];
    uint32_t place = 512;
    for (uint32_t i = 0; i < BB_BLOCK_ROWS_MAX; i++) {
        if (numbers[i] != 0) {
            together[place++] = numbers[i];
        }
    }
    assert_in_range(place, 513, BB_BLOCK_ROWS_MAX);
    assert_true((double)s_check(together, BB_BLOCK_ROWS_MAX) * 8 <
                counts[0] + counts[2] + 8 * 24.0);
}

// Damage: every prefix, one byte more, every flipped bit. Nothing is read outside of the bytes, and
// what is shorter or longer is refused.
static void test_any_bytes_are_safe(void **context)
{
    (void)context;
    static uint8_t room[S_ROOM];
    static int32_t out[BB_BLOCK_ROWS_MAX];
    static int32_t numbers[300];
    bb_random_t random = bb_random_seed(73);
    for (uint32_t family = 0; family < S_FAMILIES; family++) {
        s_numbers(&random, family, BB_COUNT_OF(numbers), numbers);
        size_t length =
            bb_entropy_encode(&s_entropy, numbers, BB_COUNT_OF(numbers), S_ROOM - 1, room);
        room[length] = 0;
        for (size_t bytes = 0; bytes <= length + 1; bytes++) {
            uint8_t *exact = bb_alloc(bytes + 1);
            memcpy(exact, room, bytes);
            bool is_read = bb_entropy_decode(bb_slice(exact, bytes), BB_COUNT_OF(numbers), out);
            assert_int_equal(is_read, bytes == length);
            free(exact);
        }
        uint8_t *exact = bb_alloc(length);
        memcpy(exact, room, length);
        for (size_t bit = 0; bit < length * 8; bit++) {
            exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
            (void)!bb_entropy_decode(bb_slice(exact, length), BB_COUNT_OF(numbers), out);
            exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(exact);
    }
}

// Tables that no writer makes.
static void test_tables_that_are_refused(void **context)
{
    (void)context;
    int32_t out[4];
    static const struct {
        uint8_t bytes[12];
        uint32_t length;
        bool is_good;
    } cases[] = {
        {{0, 1, 0x01, 0, 0, 0, 0}, 7, true},        // 0 in every state: not a bit a row
        {{0, 1, 0x01, 0, 0, 0, 1}, 7, false},       // a lane that does not end at state 0
        {{0, 1, 0x01, 0, 0, 0, 0, 0}, 8, false},    // a byte more
        {{2, 1, 0x01, 0, 0, 0, 0}, 7, false},       // a flag that is not known
        {{0, 85, 0x01, 0, 0, 0, 0}, 7, false},      // a token that does not exist
        {{0, 1, 0x11, 0, 0, 0, 0}, 7, false},       // bits behind the levels
        {{0, 1, 0x00, 0, 0, 0, 0}, 7, false},       // the last token is absent
        {{0, 3, 0x20, 0x01, 0, 0, 0, 0}, 8, false}, // more absent tokens than there are
        {{1, 1, 0x01, 0, 0, 0, 0, 0}, 8, true},     // a second table that is not used
        {{0, 1, 0x01, 0, 0, 0}, 6, false},          // a lane without a state
    };
    for (uint32_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bool is_read = bb_entropy_decode(bb_slice(cases[i].bytes, cases[i].length), 4, out);
        assert_int_equal(is_read, cases[i].is_good);
        for (uint32_t row = 0; is_read && row < 4; row++) {
            assert_int_equal(out[row], 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_small_numbers_come_back),
        cmocka_unit_test(test_large_numbers_are_left_to_others),
        cmocka_unit_test(test_sizes_are_those_of_the_entropy),
        cmocka_unit_test(test_any_bytes_are_safe),
        cmocka_unit_test(test_tables_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: a sum is the double next to the exact sum of what its values count, in whatever order and
// groups they are added, and so is the mean. Method: an oracle of long integers. A value counts k /
// 10^e if it is the double next to that (all e are tried, in wider arithmetic), else itself; the
// double next to a total is found by bisection over all doubles.
#include "protocol/bb_sum.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

// ---- the oracle ------------------------------------------------------------------------------
// Integers in units of 10^-10 x 2^-1088, two's complement.
#define WORDS 48u
#define UNIT  1088u
typedef struct {
    uint64_t words[WORDS];
} s_wide_t;

static void s_add(s_wide_t *self, const s_wide_t *other)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t before = self->words[i];
        self->words[i] += other->words[i] + carry;
        carry = carry ? self->words[i] <= before : self->words[i] < before;
    }
}

static void s_negate(s_wide_t *self)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        self->words[i] = ~self->words[i];
    }
    s_wide_t one = {{1}};
    s_add(self, &one);
}

static void s_multiply(s_wide_t *self, uint64_t factor)
{
    bool is_negative = self->words[WORDS - 1] >> 63;
    if (is_negative) {
        s_negate(self);
    }
    unsigned __int128 carry = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        carry += (unsigned __int128)self->words[i] * factor;
        self->words[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (is_negative) {
        s_negate(self);
    }
}

// integer x 2^(shift - UNIT) units; shift >= 0.
static s_wide_t s_shifted(int64_t integer, uint32_t shift)
{
    s_wide_t wide = {{0}};
    uint64_t magnitude = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
    wide.words[shift / 64] = magnitude << shift % 64;
    wide.words[shift / 64 + 1] = shift % 64 ? magnitude >> (64 - shift % 64) : 0;
    if (integer < 0) {
        s_negate(&wide);
    }
    return wide;
}

static bool s_find_decimal(double number, int64_t *integer, uint32_t *exponent)
{
    long double power = 1;
    for (uint32_t e = 0; e <= 10; e++, power *= 10) {
        long double nearest = nearbyintl((long double)number * power);
        for (int step = -1; step <= 1; step++) {
            long double k = nearest + step;
            if (fabsl(k) < 0x1p51L && (double)k / (double)power == number) {
                *integer = (int64_t)k;
                *exponent = e;
                return true;
            }
        }
    }
    return false;
}

// A finite double, exactly as it is.
static s_wide_t s_of_double(double number)
{
    int exponent;
    double fraction = frexp(number, &exponent); // [0.5, 1)
    int lowest = exponent - 53 < -1074 ? -1074 : exponent - 53;
    s_wide_t wide =
        s_shifted((int64_t)ldexp(fraction, exponent - lowest), (uint32_t)(lowest + (int)UNIT));
    s_multiply(&wide, UINT64_C(10000000000));
    return wide;
}

static s_wide_t s_count_of(double number)
{
    int64_t integer;
    uint32_t exponent;
    if (!s_find_decimal(number, &integer, &exponent)) {
        return s_of_double(number);
    }
    s_wide_t wide = s_shifted(integer, UNIT);
    for (; exponent < 10; exponent++) {
        s_multiply(&wide, 10);
    }
    return wide;
}

static bool s_is_less(const s_wide_t *a, const s_wide_t *b)
{
    s_wide_t difference = *b;
    s_negate(&difference);
    s_add(&difference, a);
    return difference.words[WORDS - 1] >> 63;
}

// The double next to total / count, total not negative and in the range of doubles.
static double s_nearest(const s_wide_t *total, uint64_t count)
{
    uint64_t low = 0; // bits of a double that is not above; the next one is
    uint64_t high = UINT64_C(0x7ff0000000000000);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        s_wide_t product = s_of_double(bb_double_of_bits(middle));
        s_multiply(&product, count);
        if (s_is_less(total, &product)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    s_wide_t twice = *total;
    s_multiply(&twice, 2);
    s_wide_t both = s_of_double(bb_double_of_bits(low));
    s_wide_t above = s_of_double(bb_double_of_bits(low + 1));
    s_add(&both, &above);
    s_multiply(&both, count);
    bool is_tie = memcmp(&both, &twice, sizeof both) == 0;
    bool is_high = is_tie ? low & 1 : s_is_less(&both, &twice);
    return bb_double_of_bits(low + is_high);
}

static void s_expect(const bb_sum_t *sum, const s_wide_t *total, uint64_t count)
{
    s_wide_t magnitude = *total;
    bool is_negative = total->words[WORDS - 1] >> 63;
    if (is_negative) {
        s_negate(&magnitude);
    }
    double value = s_nearest(&magnitude, 1);
    assert_true(bb_sum_value(sum) == (is_negative ? -value : value));
    double mean = s_nearest(&magnitude, count);
    assert_true(bb_sum_mean(sum, count) == (is_negative ? -mean : mean));
}

// ---- numbers ---------------------------------------------------------------------------------
typedef enum { DECIMALS, LONG_DECIMALS, FLOATS, COMPUTED, WIDE, ANY, MIXED, KINDS } s_kind_t;

static double s_number(s_kind_t kind, bb_random_t *random)
{
    uint64_t word = bb_random_next(random);
    double sign = word & 1 ? -1 : 1;
    switch (kind) {
    case DECIMALS: // as meters print them
        return sign * (double)(word >> 40) / pow(10, (double)(word >> 8 & 3));
    case LONG_DECIMALS: // on both sides of the limits of what is a decimal
        return sign * (double)(word >> 12) / pow(10, (double)(word >> 1 & 15) - 2);
    case FLOATS:
        return (double)(float)(sign * (double)(word >> 40) / 1e5);
    case COMPUTED:
        return sign * sqrt((double)(word >> 20)) / 1e4;
    case WIDE: // within 2^75 of each other
        return sign * ldexp((double)(word >> 11), (int)(word >> 1 & 63) - 60);
    case ANY: // any finite double
        word = (word >> 52 & 0x7ff) == 0x7ff ? word & ~(UINT64_C(1) << 62) : word;
        return bb_double_of_bits(word);
    default:
        return s_number((s_kind_t)(word >> 8) % WIDE, random);
    }
}

// Goal: sums and means of any kind of numbers are those of the oracle.
static void test_sums_are_exact(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(1);
    for (uint32_t round = 0; round < 700; round++) {
        s_kind_t kind = (s_kind_t)(round % KINDS);
        if (kind == ANY) {
            continue; // too far apart
        }
        uint32_t count = 1 + (uint32_t)(bb_random_next(&random) % 60);
        bb_sum_t sum = {0};
        s_wide_t total = {{0}};
        for (uint32_t i = 0; i < count; i++) {
            double number = s_number(kind, &random);
            bb_sum_add(&sum, number);
            s_wide_t wide = s_count_of(number);
            s_add(&total, &wide);
        }
        s_expect(&sum, &total, count);
    }
}

// Goal: one value is its own sum, whatever it is: doubles of all exponents, and the smallest.
static void test_one_value_is_its_own_sum(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(2);
    for (uint32_t round = 0; round < 20000; round++) {
        double number = s_number((s_kind_t)(round % KINDS), &random);
        number = round < 2120 ? ldexp(number > 0 ? 1.0 / 3 : 1, (int)round - 1100) : number;
        bb_sum_t sum = {0};
        bb_sum_add(&sum, number);
        assert_true(bb_sum_value(&sum) == number);
        bb_sum_add_times(&sum, number, 2);
        assert_true(bb_sum_mean(&sum, 3) == number);
        int64_t integer;
        uint32_t exponent;
        bool is_decimal = s_find_decimal(number, &integer, &exponent);
        assert_true(is_decimal == !(sum.flags & BB_SUM_BINARY));
    }
    static const double edges[] = {DBL_MAX,    -DBL_MAX,          DBL_MIN,
                                   0x1p-1074,  -0x1p-1074,        0x1p51,
                                   0x1p51 - 1, 225179.9813685247, 225179.9813685248};
    for (size_t i = 0; i < BB_COUNT_OF(edges); i++) {
        bb_sum_t sum = {0};
        bb_sum_add(&sum, edges[i]);
        assert_true(bb_sum_value(&sum) == edges[i]);
    }
}

// Goal: order and grouping change nothing, not even for doubles of all sizes: sums are equal byte
// for byte. Method: numbers of one kind after the other and of all mixed; permuted, cut into random
// groups, added one by one, merged in a random tree.
static void test_order_and_grouping_change_nothing(void **context)
{
    (void)context;
    enum { COUNT = 64 };
    bb_random_t random = bb_random_seed(3);
    for (uint32_t round = 0; round < 2000; round++) {
        double numbers[COUNT];
        bb_sum_t expected = {0};
        bb_sum_t parts[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            numbers[i] = s_number((s_kind_t)(round % KINDS), &random);
            bb_sum_add(&expected, numbers[i]);
        }
        for (uint32_t i = COUNT; i > 1; i--) {
            uint32_t j = (uint32_t)(bb_random_next(&random) % i);
            double swap = numbers[j];
            numbers[j] = numbers[i - 1];
            numbers[i - 1] = swap;
        }
        uint32_t part_count = 0;
        for (uint32_t i = 0; i < COUNT; part_count++) {
            parts[part_count] = (bb_sum_t){0};
            for (uint32_t n = (uint32_t)(bb_random_next(&random) % 9); n > 0 && i < COUNT;
                 n--, i++) {
                bb_sum_add(&parts[part_count], numbers[i]);
            }
        }
        while (part_count > 1) {
            uint32_t i = (uint32_t)(bb_random_next(&random) % part_count);
            bb_sum_t taken = parts[i];
            parts[i] = parts[--part_count];
            bb_sum_merge(&parts[bb_random_next(&random) % part_count], &taken);
        }
        assert_true(bb_sum_is_equal(&parts[0], &expected));
        assert_true(bb_sum_is_valid(&parts[0]));
    }
}

// Goal: what people expect of decimals, and what nobody can say of binary fractions.
static void test_decimals_add_up_as_decimals(void **context)
{
    (void)context;
    bb_sum_t sum = {0};
    bb_sum_add(&sum, 0.1);
    bb_sum_add(&sum, 0.2);
    assert_true(bb_sum_value(&sum) == 0.3);
    sum = (bb_sum_t){0};
    bb_sum_add_times(&sum, 0.1, 1000000);
    assert_true(bb_sum_value(&sum) == 100000.0);
    assert_true(bb_sum_mean(&sum, 1000000) == 0.1);
    bb_sum_add(&sum, 1e300);
    bb_sum_add(&sum, -1e300);
    assert_true(bb_sum_value(&sum) == 100000.0);
    sum = (bb_sum_t){0};
    for (int i = 0; i < 3; i++) {
        bb_sum_add(&sum, 1.0 / 3);
    }
    assert_true(bb_sum_value(&sum) == 1.0); // 3 x fl(1/3) is below 1 by 2^-54
    sum = (bb_sum_t){0};
    bb_sum_add_times(&sum, -0.0, 3);
    assert_true(bb_sum_value(&sum) == 0.0 && !signbit(bb_sum_value(&sum)));
}

// Goal: integers, scaled integers, and many times one number are what adding one by one gives.
static void test_many_at_once(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(4);
    for (uint32_t round = 0; round < 3000; round++) {
        double number = s_number((s_kind_t)(round % KINDS), &random);
        uint64_t count = bb_random_next(&random) % 20;
        bb_sum_t at_once = {0};
        bb_sum_t one_by_one = {0};
        bb_sum_add_times(&at_once, number, count);
        for (uint64_t i = 0; i < count; i++) {
            bb_sum_add(&one_by_one, number);
        }
        assert_true(bb_sum_is_equal(&at_once, &one_by_one));

        uint32_t exponent = (uint32_t)(bb_random_next(&random) % 11);
        at_once = one_by_one = (bb_sum_t){0};
        __int128 total = 0;
        for (uint64_t i = 0; i < count; i++) {
            int64_t k = (int64_t)bb_random_next(&random) >> 13;
            total += k;
            bb_sum_add(&one_by_one, (double)k / pow(10, exponent));
        }
        bb_sum_add_scaled(&at_once, total, exponent);
        assert_true(bb_sum_is_equal(&at_once, &one_by_one));
        __int128 integer;
        assert_true(bb_sum_integer(&at_once, exponent, &integer) && integer == total);
        assert_true(bb_sum_integer(&at_once, 10, &integer));
        assert_true(bb_sum_integer(&at_once, 0, &integer) ==
                    (total % (__int128)pow(10, exponent) == 0));
    }
    // 2^63 - 1 values of 2^63 - 1, and of the smallest.
    bb_sum_t largest = {0};
    bb_sum_add_scaled(&largest, INT64_MAX, 0);
    bb_sum_t least = {0};
    bb_sum_add_value(&least, BB_TYPE_INT64, (uint64_t)INT64_MIN);
    for (uint32_t i = 0; i < 63; i++) {
        bb_sum_t copy = largest;
        bb_sum_merge(&largest, &copy);
        copy = least;
        bb_sum_merge(&least, &copy);
    }
    assert_true(bb_sum_value(&largest) == 0x1p126);
    assert_true(bb_sum_value(&least) == -0x1p126);
    assert_true(bb_sum_mean(&largest, UINT64_C(1) << 63) == 0x1p63);
    __int128 integer;
    assert_false(bb_sum_integer(&largest, 0, &integer)); // it does not fit
    bb_sum_add_value(&least, BB_TYPE_BOOL, 1);
    bb_sum_add_value(&least, BB_TYPE_STATE, 7);
    bb_sum_merge(&least, &largest);
    assert_true(bb_sum_value(&least) == 1 - 0x1p63);
}

// Goal: infinities and NaN in any order; sums beyond all doubles; sums that come back from there.
static void test_values_that_are_not_finite(void **context)
{
    (void)context;
    static const struct {
        double numbers[4];
        double sum;
    } cases[] = {
        {{INFINITY, 1, 2, 0.1}, INFINITY},
        {{1, -INFINITY, 2, 1e308}, -INFINITY},
        {{1, INFINITY, 0, -INFINITY}, NAN},
        {{NAN, 1, 2, INFINITY}, NAN},
        {{1, 2, -NAN, 3}, NAN},
        {{1.7e308, 1.7e308, 1, 1}, INFINITY},
        {{-1.7e308, -1.7e308, 1, 1}, -INFINITY},
        {{1.7e308, 1.7e308, -1.7e308, 1}, 1.7e308},
        {{DBL_MAX, 0x1p969, 0, 0}, DBL_MAX},        // less than half of a last place
        {{DBL_MAX, 0x1p969, 0x1p969, 0}, INFINITY}, // half of one: even is beyond
        {{0x1p-1074, 0x1p-1074, 0x1p-1074, 0}, 0x3p-1074},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        for (uint32_t first = 0; first < 4; first++) {
            bb_sum_t sum = {0};
            bb_sum_t tail = {0};
            for (uint32_t n = 0; n < 4; n++) {
                bb_sum_add(n < 2 ? &sum : &tail, cases[i].numbers[(first + n) % 4]);
            }
            bb_sum_merge(&sum, &tail);
            double found = bb_sum_value(&sum);
            assert_true(isnan(cases[i].sum) ? isnan(found) : found == cases[i].sum);
        }
    }
    // The smallest double in two: ties go to even, which is zero, and more than a half to one.
    bb_sum_t sum = {0};
    bb_sum_add(&sum, 0x1p-1074);
    assert_true(bb_sum_mean(&sum, 2) == 0);
    bb_sum_add_times(&sum, 0x1p-1074, 2);
    assert_true(bb_sum_mean(&sum, 2) == 0x1p-1073); // 1.5 of them: even is 2
    assert_true(bb_sum_mean(&sum, 5) == 0x1p-1074);
}

// Goal: bytes give back the sum; every cut and every other length is refused or another sum.
static void test_bytes(void **context)
{
    (void)context;
    bb_random_t random = bb_random_seed(6);
    size_t longest = 0;
    for (uint32_t round = 0; round < 5000; round++) {
        bb_sum_t sum = {0};
        for (uint32_t i = 0; i < round % 40; i++) {
            bb_sum_add(&sum, round % 50 == 0 ? (double)NAN
                                             : s_number((s_kind_t)(round % KINDS), &random));
        }
        uint8_t bytes[BB_SUM_BYTES_MAX + 1];
        size_t length = bb_sum_encode(&sum, bytes);
        assert_true(length <= BB_SUM_BYTES_MAX);
        longest = BB_MAX(longest, length);
        const uint8_t *at = bytes;
        bb_sum_t found;
        assert_int_equal(bb_sum_decode(&found, &at, bytes + length), BB_OK);
        assert_true(bb_sum_is_equal(&found, &sum) && at == bytes + length);
        for (size_t cut = 0; cut < length; cut++) {
            at = bytes;
            assert_int_equal(bb_sum_decode(&found, &at, bytes + cut), BB_ERR_CORRUPT);
        }
        bytes[bb_random_next(&random) % length] ^= (uint8_t)(1u << bb_random_next(&random) % 8);
        at = bytes;
        if (bb_sum_decode(&found, &at, bytes + length) == BB_OK) {
            uint8_t again[BB_SUM_BYTES_MAX];
            assert_int_equal(bb_sum_encode(&found, again), at - bytes);
            assert_memory_equal(again, bytes, (size_t)(at - bytes));
            assert_false(bb_sum_is_equal(&found, &sum));
            (void)bb_sum_value(&found);
            bb_sum_merge(&found, &sum);
        }
    }
    assert_true(longest > 40);
    bb_sum_t odd = {.flags = BB_SUM_BINARY, .top = BB_SUM_TOP_MAX + 1};
    assert_false(bb_sum_is_valid(&odd));
    odd.top = 1;
    assert_true(bb_sum_is_valid(&odd));
    odd.bins[0][0] = 1; // bin -1
    assert_false(bb_sum_is_valid(&odd));
    odd = (bb_sum_t){.bins[2][1] = 1};
    assert_false(bb_sum_is_valid(&odd));
    odd = (bb_sum_t){.flags = BB_SUM_FLAGS + 1};
    assert_false(bb_sum_is_valid(&odd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_exact),
        cmocka_unit_test(test_one_value_is_its_own_sum),
        cmocka_unit_test(test_order_and_grouping_change_nothing),
        cmocka_unit_test(test_decimals_add_up_as_decimals),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_values_that_are_not_finite),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

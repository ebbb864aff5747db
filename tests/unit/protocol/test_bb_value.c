// SPDX-License-Identifier: Apache-2.0
// Types by name, the total order that merges points.
#include "protocol/bb_value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

#define S_SIGN (UINT64_C(1) << 63)

static void test_type_names(void **state)
{
    (void)state;
    static const char *const names[] = {"float64", "int64", "bool", "state"};
    for (uint32_t type = 1; type <= 4; type++) {
        assert_true(bb_type_is_valid(type));
        assert_string_equal(bb_type_name((bb_type_t)type), names[type - 1]);
        assert_int_equal(bb_type_of_name(names[type - 1]), type);
    }
    assert_int_equal(bb_type_of_name("float"), BB_TYPE_FLOAT64);
    assert_int_equal(bb_type_of_name("int"), BB_TYPE_INT64);
    static const char *const unknown[] = {"", "Float64", "float6", "float640", "text", " int"};
    for (size_t i = 0; i < BB_COUNT_OF(unknown); i++) {
        assert_int_equal(bb_type_of_name(unknown[i]), 0);
    }
    assert_false(bb_type_is_valid(0));
    assert_false(bb_type_is_valid(5));
    assert_false(bb_type_is_valid(UINT32_MAX));
}

// IEEE 754-2008 totalOrder written from its definition: sign first; of one sign the larger
// magnitude, read as an integer, is further from zero. NaNs of either sign come below the rest.
static int s_order_by_definition(uint64_t a, uint64_t b)
{
    bool a_is_nan = isnan(bb_double_of_bits(a)), b_is_nan = isnan(bb_double_of_bits(b));
    if (a_is_nan != b_is_nan) {
        return a_is_nan ? -1 : 1;
    }
    bool a_is_negative = a >> 63, b_is_negative = b >> 63;
    if (a_is_negative != b_is_negative) {
        return a_is_negative ? -1 : 1;
    }
    uint64_t a_magnitude = a & ~S_SIGN, b_magnitude = b & ~S_SIGN;
    int order = (a_magnitude > b_magnitude) - (a_magnitude < b_magnitude);
    return a_is_negative ? -order : order;
}

static const uint64_t s_edges[] = {
    0,
    S_SIGN, // 0.0, -0.0
    1,
    S_SIGN | 1, // smallest subnormals
    UINT64_C(0x000fffffffffffff),
    UINT64_C(0x800fffffffffffff),
    UINT64_C(0x0010000000000000),
    UINT64_C(0x8010000000000000),
    UINT64_C(0x3ff0000000000000),
    UINT64_C(0xbff0000000000000), // 1, -1
    UINT64_C(0x7fefffffffffffff),
    UINT64_C(0xffefffffffffffff), // largest
    UINT64_C(0x7ff0000000000000),
    UINT64_C(0xfff0000000000000), // infinities
    UINT64_C(0x7ff0000000000001),
    UINT64_C(0xfff0000000000001), // signalling NaNs
    UINT64_C(0x7ff8000000000000),
    UINT64_C(0xfff8000000000000), // quiet NaNs
    UINT64_C(0x7fffffffffffffff),
    UINT64_C(0xffffffffffffffff),
};

static void s_check_float_pair(uint64_t a, uint64_t b)
{
    uint64_t key_a = bb_value_order_key(BB_TYPE_FLOAT64, a);
    uint64_t key_b = bb_value_order_key(BB_TYPE_FLOAT64, b);
    int expected = s_order_by_definition(a, b);
    assert_int_equal((key_a > key_b) - (key_a < key_b), expected);
    assert_int_equal(
        bb_value_compare(0, (bb_value_t){BB_TYPE_FLOAT64, a}, 0, (bb_value_t){BB_TYPE_FLOAT64, b}),
        expected);
}

static void test_float_order_is_total_order_with_nan_lowest(void **state)
{
    (void)state;
    for (size_t i = 0; i < BB_COUNT_OF(s_edges); i++) {
        for (size_t j = 0; j < BB_COUNT_OF(s_edges); j++) {
            s_check_float_pair(s_edges[i], s_edges[j]);
        }
    }
    bb_random_t random = bb_random_seed(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t a = bb_random_next(&random), b = bb_random_next(&random);
        s_check_float_pair(a, b);
        s_check_float_pair(a, a ^ UINT64_C(1) << (b & 63));      // neighbours of every size
        s_check_float_pair(a | UINT64_C(0x7ff0000000000000), b); // NaNs are rare otherwise
        s_check_float_pair(a | UINT64_C(0x7ff0000000000000), b | UINT64_C(0x7ff0000000000000));
    }
}

static void test_int_and_bool_order(void **state)
{
    (void)state;
    static const int64_t ascending[] = {INT64_MIN, INT64_MIN + 1, -2, -1, 0, 1, 2, INT64_MAX};
    for (size_t i = 1; i < BB_COUNT_OF(ascending); i++) {
        bb_value_t low = {BB_TYPE_INT64, (uint64_t)ascending[i - 1]};
        bb_value_t high = {BB_TYPE_INT64, (uint64_t)ascending[i]};
        assert_true(bb_value_order_key(low.type, low.bits) <
                    bb_value_order_key(high.type, high.bits));
        assert_int_equal(bb_value_compare(3, low, 3, high), -1);
        assert_int_equal(bb_value_compare(3, high, 3, low), 1);
        assert_int_equal(bb_value_compare(3, low, 3, low), 0);
    }
    assert_true(bb_value_order_key(BB_TYPE_BOOL, 0) < bb_value_order_key(BB_TYPE_BOOL, 1));
}

static bb_text_t *s_text(const void *bytes, uint32_t length)
{
    bb_text_t *text = malloc(sizeof *text + length + 1);
    text->length = length;
    memcpy(text->bytes, bytes, length);
    return text;
}

// Goal: states are ordered by unsigned bytes, shorter first on a tie, and by text, not by address.
static void test_state_order(void **state)
{
    (void)state;
    bb_text_t *ascending[] = {s_text("", 0),        s_text("\0", 1),    s_text("Idle", 4),
                              s_text("Idle\0", 5),  s_text("Idle2", 5), s_text("idle", 4),
                              s_text("\xc3\xa4", 2)};
    size_t count = BB_COUNT_OF(ascending);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            bb_value_t a = {BB_TYPE_STATE, (uint64_t)(uintptr_t)ascending[i]};
            bb_value_t b = {BB_TYPE_STATE, (uint64_t)(uintptr_t)ascending[j]};
            int order = bb_value_compare(0, a, 0, b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    bb_text_t *again = s_text("Idle", 4);
    assert_int_equal(
        bb_value_compare(0, (bb_value_t){BB_TYPE_STATE, (uint64_t)(uintptr_t)again}, 0,
                         (bb_value_t){BB_TYPE_STATE, (uint64_t)(uintptr_t)ascending[2]}),
        0);
    free(again);
    for (size_t i = 0; i < count; i++) {
        free(ascending[i]);
    }
}

// Goal: revision decides before type, and type before value.
static void test_revision_then_type_then_value(void **state)
{
    (void)state;
    bb_value_t low = {BB_TYPE_FLOAT64, bb_bits_of_double(1e300)};
    bb_value_t high = {BB_TYPE_INT64, (uint64_t)-1};
    assert_int_equal(bb_value_compare(1, low, 0, high), 1);
    assert_int_equal(bb_value_compare(0, high, 1, low), -1);
    assert_int_equal(bb_value_compare(1, low, 1, high), -1);
    assert_int_equal(bb_value_compare(1, high, 1, low), 1);
    assert_int_equal(bb_value_compare(UINT64_MAX, low, 0, low), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_float_order_is_total_order_with_nan_lowest),
        cmocka_unit_test(test_int_and_bool_order),
        cmocka_unit_test(test_state_order),
        cmocka_unit_test(test_revision_then_type_then_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

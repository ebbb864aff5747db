// SPDX-License-Identifier: Apache-2.0
// Goal: text to number is what strtod says, number to text reads back to the same bits, and what is
// not a number is refused.
#include "client/cli/cli_number.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

static uint64_t s_bits(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static void s_expect_parse(const char *text)
{
    double number = 0;
    assert_true(cli_double_parse(text, strlen(text), false, &number));
    assert_int_equal(s_bits(number), s_bits(strtod(text, NULL)));
}

static void test_double_parse_equals_strtod(void **state)
{
    (void)state;
    static const char *const good[] = {"0",
                                       "-0",
                                       "1",
                                       "+1",
                                       ".5",
                                       "5.",
                                       "-2.25e3",
                                       "1E-3",
                                       "9007199254740993",
                                       "0.1",
                                       "412.7",
                                       "1e22",
                                       "1e23",
                                       "123456789012345678901234567890",
                                       "4.9e-324",
                                       "1.7976931348623157e308",
                                       "0.000000000000000000000001"};
    for (size_t i = 0; i < BB_COUNT_OF(good); i++) {
        s_expect_parse(good[i]);
    }
    bb_random_t seed = bb_random_seed(1);
    for (int i = 0; i < 20000; i++) {
        char text[64];
        snprintf(text, sizeof text, "%.*f", (int)(bb_random_next(&seed) % 9),
                 (double)(int64_t)bb_random_next(&seed) / 1e13);
        s_expect_parse(text);
        snprintf(text, sizeof text, "%llue%d",
                 (unsigned long long)(bb_random_next(&seed) >> (i % 60)),
                 (int)(bb_random_next(&seed) % 60) - 30);
        s_expect_parse(text);
    }
}

// A text with what may follow it in a line; the slack holds digits, which must not be read as part.
static size_t s_decimal(const char *text, const char *behind, double *number)
{
    char line[128];
    memset(line, '9', sizeof line);
    size_t length =
        (size_t)snprintf(line, sizeof line - CLI_NUMBER_SLACK_BYTES, "%s%s", text, behind);
    line[length] = behind[0] ? '9' : '\0';
    return cli_decimal_read(line, number);
}

static void test_decimal_read_equals_strtod(void **state)
{
    (void)state;
    static const char *const behind[] = {",", " ", "", "i", "e5"};
    bb_random_t seed = bb_random_seed(5);
    uint32_t read_count = 0;
    for (int i = 0; i < 200000; i++) {
        char text[64];
        uint64_t digits = bb_random_next(&seed) >> (bb_random_next(&seed) % 64);
        snprintf(text, sizeof text, "%s%.*f", i % 3 ? "" : "-", (int)(bb_random_next(&seed) % 8),
                 (double)(digits % 1000000000) / (double)(1 + bb_random_next(&seed) % 100000));
        double number = 0;
        size_t length = s_decimal(text, behind[i % 5], &number);
        if (length > 0) {
            assert_int_equal(length, strlen(text));
            assert_int_equal(s_bits(number), s_bits(strtod(text, NULL)));
            read_count++;
        } else {
            assert_true(strlen(text) > 8); // only long ones are left to the other way
        }
    }
    assert_true(read_count > 100000);
    double number = 0;
    assert_int_equal(s_decimal("-0", ",", &number), 2);
    assert_int_equal(s_bits(number), s_bits(-0.0));
    assert_int_equal(s_decimal("5.", ",", &number), 2);
    assert_int_equal(s_decimal("12345678", ",", &number), 8);
    assert_int_equal(s_decimal("1234567.8", ",", &number), 9);
    assert_int_equal(s_decimal("1234567.89", ",", &number), 0);
    assert_int_equal(s_decimal("12345678.", ",", &number), 0);
    assert_int_equal(s_decimal("1.2345678.", ",", &number), 0);
    assert_int_equal(s_decimal(".5", ",", &number), 0);
    assert_int_equal(s_decimal("-", ",", &number), 0);
    assert_int_equal(s_decimal("+1", ",", &number), 0);
    assert_int_equal(s_decimal("", "\xb1\xb2,", &number), 0); // not digits with the high bit set
}

static void test_digits_read(void **state)
{
    (void)state;
    char line[128];
    bb_random_t seed = bb_random_seed(9);
    for (int i = 0; i < 20000; i++) {
        uint64_t number = bb_random_next(&seed) >> (bb_random_next(&seed) % 64), read = 0;
        memset(line, '9', sizeof line);
        int length = sprintf(line, "%llu", (unsigned long long)number);
        line[length] = "\0 i,x"[i % 5];
        size_t got = cli_digits_read(line, &read);
        assert_int_equal(got, length <= 19 ? length : 0);
        assert_true(got == 0 || read == number);
    }
    uint64_t read;
    assert_int_equal(cli_digits_read("-1                              ", &read), 0);
    assert_int_equal(cli_digits_read("00000000000000000001            ", &read), 0); // 20
}

static void test_double_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "-",   ".",     "e5",    "1e",   "1e+", "0x10",
                                      "1 ",    " 1",  "1,5",   "1.2.3", "--1",  "nan", "inf",
                                      "1e999", "12a", "1_000", "+-1",   "1e5.5"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        double number = 7;
        assert_false(cli_double_parse(bad[i], strlen(bad[i]), false, &number));
        assert_true(number == 7); // written on success only
    }
    double number;
    assert_true(cli_double_parse("NaN", 3, true, &number) && isnan(number));
    assert_true(cli_double_parse("-inf", 4, true, &number) && number == -INFINITY);
    assert_true(cli_double_parse("Infinity", 8, true, &number) && number == INFINITY);
    assert_false(cli_double_parse("nano", 4, true, &number));
}

static void test_double_print_reads_back(void **state)
{
    (void)state;
    bb_random_t seed = bb_random_seed(2);
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = bb_random_next(&seed);
        double number;
        memcpy(&number, &bits, sizeof number);
        if (i % 2) {
            number = (double)((int64_t)bits >> (i % 50 + 10)) / 1000;
        }
        char text[CLI_DOUBLE_BYTES_MAX + 1];
        size_t length = cli_double_print(number, text);
        assert_true(length <= CLI_DOUBLE_BYTES_MAX);
        text[length] = '\0';
        if (isfinite(number)) {
            assert_int_equal(s_bits(strtod(text, NULL)), s_bits(number));
        }
    }
    static const struct {
        double number;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0.0"},
                 {412.7, "412.7"},
                 {-0.05, "-0.05"},
                 {1e15, "1000000000000000"},
                 {0.001, "0.001"},
                 {NAN, "NaN"},
                 {-INFINITY, "-inf"},
                 {0.1, "0.1"},
                 {1e300, "1e+300"}};
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char text[CLI_DOUBLE_BYTES_MAX + 1];
        text[cli_double_print(cases[i].number, text)] = '\0';
        assert_string_equal(text, cases[i].text);
    }
}

static void test_integers(void **state)
{
    (void)state;
    int64_t number;
    assert_true(cli_int64_parse("-9223372036854775808", 20, &number) && number == INT64_MIN);
    assert_true(cli_int64_parse("9223372036854775807", 19, &number) && number == INT64_MAX);
    assert_true(cli_int64_parse("+12", 3, &number) && number == 12);
    static const char *const bad[] = {
        "",    "-",   "9223372036854775808", "-9223372036854775809", "1.0", "1e3",
        "12 ", "0x1", "99999999999999999999"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_false(cli_int64_parse(bad[i], strlen(bad[i]), &number));
    }
    char text[CLI_INTEGER_BYTES_MAX + 1];
    text[cli_int64_print(INT64_MIN, text)] = '\0';
    assert_string_equal(text, "-9223372036854775808");
    text[cli_int64_print(0, text)] = '\0';
    assert_string_equal(text, "0");
}

static void test_bools(void **state)
{
    (void)state;
    bool value = false;
    assert_true(cli_bool_parse("true", 4, &value) && value);
    assert_true(cli_bool_parse("F", 1, &value) && !value);
    assert_false(cli_bool_parse("yes", 3, &value));
    assert_false(cli_bool_parse("", 0, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_parse_equals_strtod),
        cmocka_unit_test(test_decimal_read_equals_strtod),
        cmocka_unit_test(test_digits_read),
        cmocka_unit_test(test_double_parse_refuses),
        cmocka_unit_test(test_double_print_reads_back),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_bools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

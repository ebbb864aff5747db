// SPDX-License-Identifier: Apache-2.0
// Times and durations: known values, refusals, and a property over random times against a slow
// calendar that only counts days.
#include "protocol/bb_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"

static const int64_t s_now_ns = INT64_C(1767225600) * BB_NS_PER_S; // 2026-01-01T00:00:00Z

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static void s_expect_time(const char *text, int64_t expected_ns)
{
    int64_t got = -1;
    bb_fault_t fault = {0};
    if (bb_time_parse(s_text(text), BB_NS_PER_S, s_now_ns, &got, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    if (got != expected_ns) {
        fail_msg("'%s' gave %lld, expected %lld", text, (long long)got, (long long)expected_ns);
    }
}

// Goal: every accepted form. Expected values from `date -u -d TEXT +%s`.
static void time_parse_known_values(void **state)
{
    (void)state;
    const int64_t s = BB_NS_PER_S;
    s_expect_time("1970-01-01T00:00:00Z", 0);
    s_expect_time("2026-01-01T00:00:00Z", s_now_ns);
    s_expect_time("2026-01-01t00:00:00z", s_now_ns);
    s_expect_time("2026-01-01 00:00:00", s_now_ns);
    s_expect_time("2026-01-01 00:00", s_now_ns);
    s_expect_time("2026-01-01", s_now_ns);
    s_expect_time("2026-01-01T01:00:00+01:00", s_now_ns);
    s_expect_time("2025-12-31T18:30:00-05:30", s_now_ns);
    s_expect_time("2026-01-01T00:00:00-00:00", s_now_ns);
    s_expect_time("2013-01-01 00:00:00", 1356998400 * s);
    s_expect_time("2013-01-01 00:30:00.0000000", 1357000200 * s);
    s_expect_time("2023-04-07T12:34:56.789012345Z", 1680870896 * s + 789012345);
    s_expect_time("2023-04-07T12:34:56.5Z", 1680870896 * s + 500000000);
    s_expect_time("2023-04-07T12:34:56.12345678900000", 1680870896 * s + 123456789);
    s_expect_time("2000-02-29T00:00:00Z", 951782400 * s);
    s_expect_time("2024-02-29T23:59:59Z", 1709251199 * s);
    s_expect_time("1969-12-31T23:59:59.999999999Z", -1);
    s_expect_time("1677-09-21T00:12:43.145224192Z", INT64_MIN);
    s_expect_time("2262-04-11T23:47:16.854775807Z", INT64_MAX);
    s_expect_time("1700000000", 1700000000 * s);
    s_expect_time("1700000000.25", 1700000000 * s + 250000000);
    s_expect_time("-5", -5 * s);
    s_expect_time("1700000000123ms", 1700000000 * s + 123000000);
    s_expect_time("1700000000123456us", 1700000000 * s + 123456000);
    s_expect_time("1700000000123456789ns", INT64_C(1700000000123456789));
    s_expect_time("90s", 90 * s);
    s_expect_time("now", s_now_ns);
    s_expect_time("now-1d", s_now_ns - BB_NS_PER_DAY);
    s_expect_time("now+5m", s_now_ns + 300 * s);
    s_expect_time("-1h", s_now_ns - 3600 * s);
    s_expect_time("+1h30m", s_now_ns + 5400 * s);
    s_expect_time("-0.5s", s_now_ns - s / 2);
}

// Goal: each malformed text is refused with a sentence that quotes it.
static void time_parse_refuses(void **state)
{
    (void)state;
    const char *syntax[] = {
        "",
        " ",
        "yesterday",
        "2026",
        "2026-1-01",
        "2026-01-1",
        "2026-13-01",
        "2026-00-10",
        "2026-02-29",
        "1900-02-29",
        "2026-04-31",
        "2026-01-32",
        "2026-01-00",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:60:00Z",
        "2026-12-31T23:59:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567891Z",
        "2026-01-01T00:00:00+1:00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00:00ZZ",
        "2026-01-01T00:00:00Z ",
        "2026-01-01X00:00:00Z",
        "2026-01-01T",
        "2026-01-01T00",
        "2026-01-01T0000",
        "2026-01-01T00:00:0",
        "now-",
        "now1h",
        "now-1",
        "now-1y",
        "-h",
        "-",
        "1.",
        ".5",
        "1e9",
        "0x10",
        "12m",
        "5 s",
        "1700000000.0000000001",
        "--1",
        "nowhere",
    };
    for (size_t i = 0; i < BB_COUNT_OF(syntax); i++) {
        int64_t got = 42;
        bb_fault_t fault = {0};
        bb_error_t error = bb_time_parse(s_text(syntax[i]), BB_NS_PER_S, s_now_ns, &got, &fault);
        // "2026" is a number of seconds; everything else is no time at all.
        bb_error_t expected = strcmp(syntax[i], "2026") == 0 ? BB_OK : BB_ERR_SYNTAX;
        if (error != expected) {
            fail_msg("'%s' gave %s", syntax[i], bb_error_name(error));
        }
        if (error != BB_OK) {
            assert_int_equal(got, 42);
            assert_non_null(strstr(fault.text, syntax[i]));
            assert_int_equal(fault.error, error);
        }
    }
    const char *range[] = {"2262-04-11T23:47:16.854775808Z",
                           "1677-09-21T00:12:43.145224191Z",
                           "9999-12-31T23:59:59Z",
                           "0000-01-01T00:00:00Z",
                           "9223372037",
                           "99999999999999999999999999999999999999",
                           "now+400w400d99999999h"};
    for (size_t i = 0; i < BB_COUNT_OF(range); i++) {
        int64_t got = 42;
        if (bb_time_parse(s_text(range[i]), BB_NS_PER_S, INT64_MAX - 5, &got, NULL) !=
            BB_ERR_TIME_RANGE) {
            fail_msg("'%s' was not out of range", range[i]);
        }
    }
}

// Goal: a zone that is assumed is used only where none is written.
static void time_parse_zoned_default(void **state)
{
    (void)state;
    int64_t got = 0;
    assert_int_equal(bb_time_parse_zoned(s_text("2026-01-01 01:00:00"), 3600, &got, NULL), BB_OK);
    assert_true(got == s_now_ns);
    assert_int_equal(bb_time_parse_zoned(s_text("2026-01-01 00:00:00Z"), 3600, &got, NULL), BB_OK);
    assert_true(got == s_now_ns);
    assert_int_equal(bb_time_parse_zoned(s_text("2026-01-01"), -1800, &got, NULL), BB_OK);
    assert_true(got == s_now_ns + 1800 * BB_NS_PER_S);
}

// Goal: the epoch units. Method: one number in each unit; a unit in the text is refused here.
static void time_parse_epoch_units(void **state)
{
    (void)state;
    const int64_t units[] = {1, 1000, 1000000, 1000000000};
    for (size_t i = 0; i < BB_COUNT_OF(units); i++) {
        int64_t got = 0;
        assert_int_equal(bb_time_parse_epoch(s_text("123"), units[i], &got, NULL), BB_OK);
        assert_true(got == 123 * units[i]);
    }
    int64_t got = 0;
    assert_int_equal(bb_time_parse_epoch(s_text("123s"), 1, &got, NULL), BB_ERR_SYNTAX);
    assert_int_equal(bb_time_parse_epoch(s_text("0.5"), 1, &got, NULL), BB_ERR_SYNTAX);
    assert_int_equal(bb_time_parse_epoch(s_text("-9223372036854775808"), 1, &got, NULL), BB_OK);
    assert_true(got == INT64_MIN);
}

// A calendar that steps one day at a time from a known date.
typedef struct {
    int32_t year;
    uint32_t month;
    uint32_t day;
    int64_t days; // since 1970-01-01
} s_walker_t;

static bool s_is_leap(int32_t year)
{
    return year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
}

static void s_walk(s_walker_t *walker)
{
    const uint32_t lengths[12] = {
        31, s_is_leap(walker->year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    walker->days++;
    if (++walker->day > lengths[walker->month - 1]) {
        walker->day = 1;
        if (++walker->month > 12) {
            walker->month = 1;
            walker->year++;
        }
    }
}

// Goal: every day from 1678 to 2261 converts both ways. Method: a calendar that only counts.
static void civil_agrees_with_a_counting_calendar(void **state)
{
    (void)state;
    s_walker_t walker = {.year = 1678, .month = 1, .day = 1};
    int64_t years = 0; // days from 1678-01-01 to 1970-01-01, counted
    for (int32_t year = 1678; year < 1970; year++) {
        years += s_is_leap(year) ? 366 : 365;
    }
    walker.days = -years;
    while (walker.year < 2262) {
        if (bb_civil_days(walker.year, walker.month, walker.day) != walker.days) {
            fail_msg("%d-%u-%u", walker.year, walker.month, walker.day);
        }
        bb_civil_t civil = bb_civil_of_wall_ns(walker.days * BB_NS_PER_DAY + BB_NS_PER_DAY - 1);
        if (civil.year != walker.year || civil.month != walker.month || civil.day != walker.day ||
            civil.hour != 23 || civil.minute != 59 || civil.second != 59 ||
            civil.nanosecond != 999999999) {
            fail_msg("back from %d-%u-%u", walker.year, walker.month, walker.day);
        }
        s_walk(&walker);
    }
}

// Goal: format and parse are inverse, with no digit too many. Method: random times with random
// numbers of trailing zeros; the calendar itself is proved by the test above.
static void time_format_round_trip(void **state)
{
    (void)state;
    bb_random_t seed = bb_random_seed(7);
    for (int i = 0; i < 20000; i++) {
        int64_t wall_ns = (int64_t)bb_random_next(&seed);
        int64_t grain = 1;
        for (uint64_t j = bb_random_next(&seed) % 12; j > 0; j--) {
            grain *= 10;
        }
        wall_ns -= wall_ns % grain;
        char text[BB_TIME_TEXT_BYTES];
        size_t length = bb_time_format(wall_ns, text);
        assert_int_equal(length, strlen(text));
        int64_t back = 0;
        assert_int_equal(bb_time_parse_rfc3339(bb_slice(text, length), &back, NULL), BB_OK);
        if (back != wall_ns) {
            fail_msg("%lld -> %s -> %lld", (long long)wall_ns, text, (long long)back);
        }
        char *point = strchr(text, '.');
        assert_true(!point || (text[length - 2] != '0' && text + length - 2 > point));
    }
    char text[BB_TIME_TEXT_BYTES];
    bb_time_format(s_now_ns, text);
    assert_string_equal(text, "2026-01-01T00:00:00Z");
    bb_time_format(s_now_ns + 120, text);
    assert_string_equal(text, "2026-01-01T00:00:00.00000012Z");
    bb_time_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
}

static void duration_parse_known_values(void **state)
{
    (void)state;
    const int64_t s = BB_NS_PER_S;
    const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"1ns", 1},
        {"1us", 1000},
        {"1ms", 1000000},
        {"90s", 90 * s},
        {"1m", 60 * s},
        {"1h30m", 5400 * s},
        {"1.5h", 5400 * s},
        {"1d", 86400 * s},
        {"1w", 604800 * s},
        {"1w1d1h1m1s1ms1us1ns", 694861 * s + 1001001},
        {"0.1s", s / 10},
        {"0.000000001s", 1},
        {"1.000000000000s", s},
        {"9223372036854775807ns", INT64_MAX},
        {"9223372036.854775807s", INT64_MAX},
    };
    for (size_t i = 0; i < BB_COUNT_OF(good); i++) {
        int64_t got = -1;
        bb_fault_t fault = {0};
        if (bb_duration_parse(s_text(good[i].text), &got, &fault) != BB_OK || got != good[i].ns) {
            fail_msg("'%s' gave %lld (%s)", good[i].text, (long long)got, fault.text);
        }
    }
    const char *bad[] = {"",      "1",     "s",    "-1s",  "+1s",  "1 s", "1s ",
                         "1x",    "1M",    "1S",   "1h1h", "1m1h", "1.s", ".5s",
                         "1..5s", "0.5ns", "1h30", "1ss",  "1e3s", "00",  "1.2.3s"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        int64_t got = -1;
        bb_fault_t fault = {0};
        if (bb_duration_parse(s_text(bad[i]), &got, &fault) != BB_ERR_SYNTAX) {
            fail_msg("'%s' was accepted as %lld", bad[i], (long long)got);
        }
        assert_true(strlen(fault.text) > 5);
    }
    const char *large[] = {"9223372036854775808ns", "15251w", "15250w9999999999h",
                           "99999999999999999999999999999999999999999s"};
    for (size_t i = 0; i < BB_COUNT_OF(large); i++) {
        int64_t got = -1;
        if (bb_duration_parse(s_text(large[i]), &got, NULL) != BB_ERR_TIME_RANGE) {
            fail_msg("'%s' was not out of range", large[i]);
        }
    }
}

static void duration_format_round_trip(void **state)
{
    (void)state;
    bb_random_t seed = bb_random_seed(11);
    char text[BB_DURATION_TEXT_BYTES];
    for (int i = 0; i < 20000; i++) {
        int64_t ns = (int64_t)(bb_random_next(&seed) >> (1 + bb_random_next(&seed) % 62));
        size_t length = bb_duration_format(ns, text);
        int64_t back = -1;
        assert_int_equal(bb_duration_parse(bb_slice(text, length), &back, NULL), BB_OK);
        assert_true(back == ns);
    }
    bb_duration_format(5400 * BB_NS_PER_S, text);
    assert_string_equal(text, "1h30m");
    bb_duration_format(1500 * BB_NS_PER_MS, text);
    assert_string_equal(text, "1s500ms");
    bb_duration_format(0, text);
    assert_string_equal(text, "0s");
    bb_duration_format(INT64_MAX, text);
    assert_string_equal(text, "15250w1d23h47m16s854ms775us807ns");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_parse_known_values),
        cmocka_unit_test(time_parse_refuses),
        cmocka_unit_test(time_parse_zoned_default),
        cmocka_unit_test(time_parse_epoch_units),
        cmocka_unit_test(civil_agrees_with_a_counting_calendar),
        cmocka_unit_test(time_format_round_trip),
        cmocka_unit_test(duration_parse_known_values),
        cmocka_unit_test(duration_format_round_trip),
    };
    return cmocka_run_group_tests_name("bb_time", tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Retention classes, floors and the texts of policies.
#include "protocol/bb_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_time.h"

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static bool s_matches(const char *pattern, const char *text)
{
    return bb_pattern_matches(s_text(pattern), s_text(text));
}

// The definition, letter by letter; exponential, for short texts only.
static bool s_oracle(const char *pattern, const char *text)
{
    if (*pattern == '\0') {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return s_oracle(pattern + 1, text) || (*text && s_oracle(pattern, text + 1));
    }
    return *text && (*pattern == '?' || *pattern == *text) && s_oracle(pattern + 1, text + 1);
}

// Goal: patterns mean what their definition says. Method: all pairs of short texts over a small
// alphabet against the recursive definition.
static void pattern_agrees_with_its_definition(void **state)
{
    (void)state;
    static const char letters[] = "ab*?";
    for (uint32_t p = 0; p < 4 * 4 * 4 * 4 * 4; p++) {
        char pattern[6];
        uint32_t pattern_length = p % 6;
        for (uint32_t i = 0, rest = p; i < 5; i++, rest /= 4) {
            pattern[i] = letters[rest % 4];
        }
        pattern[pattern_length] = '\0';
        for (uint32_t t = 0; t < 64; t++) {
            char text[7];
            for (uint32_t i = 0; i < 6; i++) {
                text[i] = t >> i & 1 ? 'a' : 'b';
            }
            text[t % 7] = '\0';
            assert_int_equal(s_matches(pattern, text), s_oracle(pattern, text));
        }
    }
    assert_true(s_matches("temp*_c", "temperature_cell_c"));
    assert_false(s_matches("temp*_c", "temperature_cell_k"));
}

static bb_attribute_t s_attribute(const char *key, const char *value)
{
    return (bb_attribute_t){s_text(key), s_text(value)};
}

// Goal: the first class that takes a series is its class; nothing taken is `default`.
static void policy_first_match_wins(void **state)
{
    (void)state;
    bb_retention_class_t classes[3] = {
        {.name = "alarms", .selector = {.metric = "alarm*"}, .keep_ns = BB_KEEP_FOREVER_NS},
        {.name = "lab", .selector = {.site = "aachen"}, .keep_ns = BB_NS_PER_DAY},
        {.name = "hot",
         .selector = {.metric = "*_c", .tag_key = "maker", .tag_value = "acme"},
         .keep_ns = 2 * BB_NS_PER_DAY},
    };
    bb_policy_t *policy = bb_policy_new(classes, 3, 90 * BB_NS_PER_DAY, NULL, NULL, 0);
    assert_true(bb_policy_names_batteries(policy));
    const bb_attribute_t lab[2] = {s_attribute("maker", "acme"), s_attribute("site", "aachen")};
    const bb_attribute_t field[1] = {s_attribute("maker", "acme")};
    const bb_attribute_t other[1] = {s_attribute("maker", "acme2")};
    const struct {
        const bb_attribute_t *attributes;
        uint32_t count;
        const char *metric;
        const char *expected;
    } cases[] = {
        {lab, 2, "alarm_state", "alarms"}, {lab, 2, "cell_c", "lab"},
        {field, 1, "cell_c", "hot"},       {field, 1, "cell_v", "default"},
        {other, 1, "cell_c", "default"},   {NULL, 0, "alarm", "alarms"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint32_t index =
            bb_policy_join(bb_policy_battery_classes(policy, cases[i].attributes, cases[i].count),
                           bb_policy_metric_classes(policy, s_text(cases[i].metric)));
        assert_string_equal(bb_policy_class(policy, index)->name, cases[i].expected);
    }
    assert_int_equal(bb_policy_class(policy, 3)->keep_ns, 90 * BB_NS_PER_DAY);
    bb_policy_release(&policy);
    assert_null(policy);
}

// Goal: a floor only grows, whatever the clock and the configuration do, and never reaches a day of
// which a moment is younger than `keep`. Method: random clocks and keeps.
static void floor_never_moves_back(void **state)
{
    (void)state;
    int64_t floor = 0;
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 100000; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        int64_t now = (int64_t)(seed % (uint64_t)(BB_NS_PER_DAY * 20000));
        int64_t keep =
            seed % 5 == 0 ? BB_KEEP_FOREVER_NS : (int64_t)(seed >> 20) % (BB_NS_PER_DAY * 400) + 1;
        int64_t next = bb_retention_floor(floor, keep, now);
        assert_true(next >= floor);
        assert_int_equal(next % BB_NS_PER_DAY, 0);
        assert_true(next == floor || next <= now - keep);
        assert_true(keep == BB_KEEP_FOREVER_NS || next > now - keep - BB_NS_PER_DAY);
        floor = next;
    }
    // Exactly: the day goes when its last moment is `keep` old.
    int64_t day = 20000 * BB_NS_PER_DAY;
    assert_int_equal(bb_retention_floor(0, BB_NS_PER_DAY, day + 2 * BB_NS_PER_DAY - 1), day);
    assert_int_equal(bb_retention_floor(0, BB_NS_PER_DAY, day + 2 * BB_NS_PER_DAY),
                     day + BB_NS_PER_DAY);
    assert_int_equal(bb_retention_floor(0, BB_NS_PER_DAY, 5), 0);
}

static void texts_of_policies(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t keep_ns; // 0: refused
        const char *back;
    } keeps[] = {{"30d", 30 * BB_NS_PER_DAY, "30d"},
                 {"2w", 14 * BB_NS_PER_DAY, "14d"},
                 {"12h", BB_NS_PER_DAY / 2, "12h"},
                 {"forever", BB_KEEP_FOREVER_NS, "forever"},
                 {"59m", 0, ""},
                 {"100001d", 0, ""},
                 {"18mo", 0, ""},
                 {"", 0, ""},
                 {"-1d", 0, ""}};
    for (size_t i = 0; i < BB_COUNT_OF(keeps); i++) {
        int64_t keep_ns = 0;
        bb_error_t error = bb_keep_parse(s_text(keeps[i].text), &keep_ns, NULL);
        assert_int_equal(error, keeps[i].keep_ns ? BB_OK : BB_ERR_SYNTAX);
        assert_int_equal(keep_ns, keeps[i].keep_ns);
        if (error == BB_OK) {
            char back[BB_DURATION_TEXT_BYTES];
            bb_keep_format(keep_ns, back);
            assert_string_equal(back, keeps[i].back);
        }
    }
    static const char *const good[] = {"1m", "15m", "1h", "1d", "day", "week", "month", "year"};
    static const char *const bad[] = {"30s", "7m", "2d", "days", "", "fortnight", "1m1s"};
    bb_every_t every;
    int64_t every_ns;
    for (size_t i = 0; i < BB_COUNT_OF(good); i++) {
        assert_int_equal(bb_every_parse(s_text(good[i]), &every, &every_ns, NULL), BB_OK);
        char back[BB_DURATION_TEXT_BYTES];
        bb_every_format(every, every_ns, back);
        assert_string_equal(back, good[i]);
    }
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_int_equal(bb_every_parse(s_text(bad[i]), &every, &every_ns, NULL), BB_ERR_SYNTAX);
    }
    assert_true(bb_zone_name_is_valid("America/Argentina/Buenos_Aires"));
    assert_true(bb_zone_name_is_valid("Etc/GMT+12"));
    assert_false(bb_zone_name_is_valid("../etc/passwd"));
    assert_false(bb_zone_name_is_valid("/etc"));
    assert_false(bb_zone_name_is_valid("a//b"));
    char list[64];
    bb_aggregates_format(BB_AGGREGATE_ALL, ", ", list, sizeof list);
    assert_string_equal(list, "mean, min, max, sum, count, first, last");
    bb_selector_t selector = {0};
    assert_int_equal(bb_selector_parse_tag(&selector, "a=b=c", NULL), BB_OK);
    assert_string_equal(selector.tag_value, "b=c");
    assert_int_equal(bb_selector_parse_tag(&selector, "=b", NULL), BB_ERR_SYNTAX);
    assert_int_equal(bb_selector_parse_tag(&selector, "a=", NULL), BB_ERR_SYNTAX);
    assert_int_equal(bb_selector_parse_tag(&selector, "a", NULL), BB_ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_agrees_with_its_definition),
        cmocka_unit_test(policy_first_match_wins),
        cmocka_unit_test(floor_never_moves_back),
        cmocka_unit_test(texts_of_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: options reach their targets wherever they stand, and each mistake is told in the user's
// words with the nearest option. Method: tables of command lines.
#include "client/cli/cli_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_NOW_NS INT64_C(1767225600000000000) // 2026-01-01T00:00:00Z

static struct {
    bool flag, has_count, has_time;
    const char *text;
    cli_texts_t texts, positional;
    uint64_t count;
    int64_t duration_ns, time_ns;
    cli_error_t error;
} s_got;

// Words are separated by single blanks; "" as a word cannot be said and is not needed.
static cli_parsed_t s_parse(const char *line)
{
    static char copy[512];
    static const cli_option_t options[] = {
        {"--flag", CLI_FLAG, &s_got.flag, NULL, NULL, "a flag"},
        {"-o --output", CLI_TEXT, &s_got.text, NULL, "FORM", "a text"},
        {"--battery", CLI_TEXTS, &s_got.texts, NULL, "ID", "texts"},
        {"--limit", CLI_COUNT, &s_got.count, &s_got.has_count, "N", "a count"},
        {"--every", CLI_DURATION, &s_got.duration_ns, NULL, "D", "a duration"},
        {"--from", CLI_TIME, &s_got.time_ns, &s_got.has_time, "T", "a time"},
    };
    static const cli_command_t command = {"verb",  "[options]",          "Does.",
                                          options, BB_COUNT_OF(options), NULL};
    cli_texts_clear(&s_got.texts);
    cli_texts_clear(&s_got.positional);
    memset(&s_got, 0, sizeof s_got);
    char *argv[32];
    int argc = 0;
    strcpy(copy, line);
    argv[argc++] = copy;
    for (char *blank = strchr(copy, ' '); blank; blank = strchr(blank, ' ')) {
        *blank++ = '\0';
        argv[argc++] = blank;
    }
    argv[argc] = NULL;
    return cli_options_parse(&command, argc, argv, S_NOW_NS, &s_got.positional, &s_got.error);
}

static int s_teardown(void **state)
{
    (void)state;
    cli_texts_clear(&s_got.texts);
    cli_texts_clear(&s_got.positional);
    return 0;
}

static void test_targets(void **state)
{
    (void)state;
    assert_int_equal(
        s_parse("verb a --flag -o json --battery b1 --limit 7 b --battery=b2 --every 1h30m "
                "--from 2026-01-01T00:00:01Z"),
        CLI_PARSED);
    assert_true(s_got.flag && s_got.has_count && s_got.has_time);
    assert_string_equal(s_got.text, "json");
    assert_int_equal(s_got.texts.count, 2);
    assert_string_equal(s_got.texts.items[0], "b1");
    assert_string_equal(s_got.texts.items[1], "b2");
    assert_int_equal(s_got.count, 7);
    assert_int_equal(s_got.duration_ns, INT64_C(5400) * 1000000000);
    assert_int_equal(s_got.time_ns, S_NOW_NS + 1000000000);
    assert_int_equal(s_got.positional.count, 2);
    assert_string_equal(s_got.positional.items[1], "b");
}

static void test_not_given_stays_untouched(void **state)
{
    (void)state;
    assert_int_equal(s_parse("verb"), CLI_PARSED);
    assert_false(s_got.flag || s_got.has_count || s_got.has_time);
    assert_null(s_got.text);
    assert_int_equal(s_got.positional.count, 0);
}

static void test_values_that_look_like_options(void **state)
{
    (void)state;
    assert_int_equal(s_parse("verb --from -1h"), CLI_PARSED); // relative time
    assert_int_equal(s_got.time_ns, S_NOW_NS - INT64_C(3600) * 1000000000);
    assert_int_equal(s_parse("verb --from now"), CLI_PARSED);
    assert_int_equal(s_got.time_ns, S_NOW_NS);
    assert_int_equal(s_parse("verb - -- --flag -o"),
                     CLI_PARSED); // '-' is a file; '--' ends options
    assert_int_equal(s_got.positional.count, 3);
    assert_string_equal(s_got.positional.items[0], "-");
    assert_string_equal(s_got.positional.items[1], "--flag");
    assert_false(s_got.flag);
}

static void test_the_last_one_wins(void **state)
{
    (void)state;
    assert_int_equal(s_parse("verb --limit 1 --limit 2 -o a --output b"), CLI_PARSED);
    assert_int_equal(s_got.count, 2);
    assert_string_equal(s_got.text, "b");
}

static void test_help(void **state)
{
    (void)state;
    assert_int_equal(s_parse("verb --help"), CLI_HELP);
    assert_int_equal(s_parse("verb x -h"), CLI_HELP);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says, *and_says;
    } cases[] = {
        {"verb --limt 3", "unknown option '--limt'", "did you mean '--limit'?"},
        {"verb --colour red", "unknown option '--colour'", "verb --help"},
        {"verb -x", "unknown option '-x'", "--help"},
        {"verb --limit", "--limit needs a value", "(N)"},
        {"verb --flag=1", "--flag takes no value", ""},
        {"verb --limit -3", "--limit: '-3'", "whole number"},
        {"verb --limit 1.5", "--limit: '1.5'", "whole number"},
        {"verb --limit 99999999999999999999", "--limit", "whole number"},
        {"verb --every 5", "--every: ", "5"},
        {"verb --every 5x", "--every: ", "5x"},
        {"verb --from yesterday", "--from: ", "yesterday"},
        {"verb --from 2026-02-30T00:00:00Z", "--from: ", "2026-02-30"},
        {"verb -o=json", "unknown option '-o=json'", ""},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        assert_int_equal(s_parse(cases[i].line), CLI_USAGE);
        if (!strstr(s_got.error.text, cases[i].says) ||
            !strstr(s_got.error.text, cases[i].and_says)) {
            fail_msg("'%s' says: %s", cases[i].line, s_got.error.text);
        }
    }
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"query", "quarantine", "settle", "status"};
    assert_string_equal(cli_nearest("qeury", words, 4), "query"); // two neighbours swapped
    assert_string_equal(cli_nearest("statu", words, 4), "status");
    assert_string_equal(cli_nearest("setle", words, 4), "settle");
    assert_null(cli_nearest("import", words, 4));
    assert_null(cli_nearest("", words, 4));
    char endless[300];
    memset(endless, 'q', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(cli_nearest(endless, words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_not_given_stays_untouched),
        cmocka_unit_test(test_values_that_look_like_options),
        cmocka_unit_test(test_the_last_one_wins),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, s_teardown);
}

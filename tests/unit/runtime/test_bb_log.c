// SPDX-License-Identifier: Apache-2.0
// Tests of node/runtime/bb_log: the text of a line, and when it may be repeated.
#include "node/runtime/bb_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S_WALL (INT64_C(1700000000) * BB_NS_PER_S + 123456789) // 2023-11-14T22:13:20.123Z

static const char *s_line(char *out, size_t size, const char *message, uint32_t suppressed,
                          const bb_log_field_t *fields, size_t count)
{
    size_t length = bb_log_format(out, size - 1, S_WALL, BB_LOG_WARNING, "store", 2, message,
                                  suppressed, fields, count);
    out[length] = '\0';
    return out;
}

static void s_test_format(void **state)
{
    (void)state;
    char out[BB_LOG_LINE_BYTES_MAX + 1];
    const bb_log_field_t fields[] = {
        BB_LOG_TEXT("peer", "n2"),
        BB_LOG_U64("count", UINT64_MAX),
        BB_LOG_I64("offset_ns", -5),
        BB_LOG_TEXT("empty", ""),
        BB_LOG_SLICE("cut", bb_slice("abcdef", 3)),
    };
    assert_string_equal(s_line(out, sizeof out, "peer down", 0, fields, BB_COUNT_OF(fields)),
                        "ts=2023-11-14T22:13:20.123Z level=warning actor=store-2 msg=\"peer down\" "
                        "peer=n2 count=18446744073709551615 offset_ns=-5 empty=\"\" cut=abc\n");
    assert_string_equal(s_line(out, sizeof out, "ready", 7, NULL, 0),
                        "ts=2023-11-14T22:13:20.123Z level=warning actor=store-2 msg=ready "
                        "suppressed=7\n");
    size_t length =
        bb_log_format(out, sizeof out, 0, BB_LOG_INFO, "mesh", UINT32_MAX, "x", 0, NULL, 0);
    out[length] = '\0';
    assert_string_equal(out, "ts=1970-01-01T00:00:00.000Z level=info actor=mesh msg=x\n");
}

// Goal: no value can end the line, its quotes, or begin another field.
static void s_test_escapes(void **state)
{
    (void)state;
    char out[BB_LOG_LINE_BYTES_MAX + 1];
    const struct {
        const char *value, *expected;
    } cases[] = {
        {"a b", "\"a b\""},     {"a\"b", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\""}, {"a\nlevel=error", "\"a\\nlevel=error\""},
        {"a=b", "\"a=b\""},     {"\x1b[31m", "\"\\x1b[31m\""},
        {"\x7f", "\"\\x7f\""},  {"\r", "\"\\x0d\""},
        {"Grüße", "Grüße"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bb_log_field_t field = BB_LOG_TEXT("k", cases[i].value);
        s_line(out, sizeof out, "m", 0, &field, 1);
        char *value = strstr(out, " k=") + 3;
        value[strlen(value) - 1] = '\0'; // the newline
        assert_string_equal(value, cases[i].expected);
    }
}

// Goal: whatever the length, one line leaves: cut, with its newline, inside the buffer.
static void s_test_cut(void **state)
{
    (void)state;
    char value[4000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    bb_log_field_t field = BB_LOG_TEXT("k", value);
    for (size_t size = 2; size < 200; size++) {
        char out[200];
        memset(out, 1, sizeof out);
        size_t length = bb_log_format(out, size, S_WALL, BB_LOG_ERROR, "zap", 0, "m", 0, &field, 1);
        assert_int_equal(length, size);
        assert_int_equal(out[length - 1], '\n');
        assert_null(memchr(out, '\n', length - 1));
    }
}

// Goal: the eleventh line of a kind within the window is held back and counted; others are not.
static void s_test_repeats(void **state)
{
    (void)state;
    static const char first[] = "first", second[] = "second";
    bb_log_t log;
    bb_log_init(&log, BB_LOG_INFO, -1, "test", UINT32_MAX);
    uint32_t suppressed;
    for (uint32_t i = 0; i < BB_LOG_REPEATS_MAX; i++) {
        assert_true(bb_log_is_due(&log, first, 1000 + i, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    for (uint32_t i = 0; i < 5; i++) {
        assert_false(bb_log_is_due(&log, first, 2000 + i, &suppressed));
    }
    assert_true(bb_log_is_due(&log, second, 3000, &suppressed));
    assert_false(bb_log_is_due(&log, first, 1000 + BB_LOG_WINDOW_NS - 1, &suppressed));
    assert_true(bb_log_is_due(&log, first, 1000 + BB_LOG_WINDOW_NS, &suppressed));
    assert_int_equal(suppressed, 6);
    assert_true(bb_log_is_due(&log, first, 1001 + BB_LOG_WINDOW_NS, &suppressed));
    assert_int_equal(suppressed, 0);
}

// Goal: more kinds of lines than slots never block one another for good.
static void s_test_many_messages(void **state)
{
    (void)state;
    static const char names[3 * BB_LOG_SLOTS];
    bb_log_t log;
    bb_log_init(&log, BB_LOG_INFO, -1, "test", UINT32_MAX);
    uint32_t suppressed;
    for (size_t i = 0; i < sizeof names; i++) {
        assert_true(bb_log_is_due(&log, &names[i], (int64_t)i, &suppressed));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_format),        cmocka_unit_test(s_test_escapes),
        cmocka_unit_test(s_test_cut),           cmocka_unit_test(s_test_repeats),
        cmocka_unit_test(s_test_many_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

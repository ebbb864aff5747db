// SPDX-License-Identifier: Apache-2.0
// The list of errors: its numbers are on the wire, so the ones that exist are pinned here.
#include "protocol/bb_error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

typedef struct {
    bb_error_t error;
    int32_t number;
    const char *name;
    bb_retry_t retry;
} s_pinned_t;

// Written by hand from the list of version 1. A line is never changed, only added.
static const s_pinned_t s_pinned[] = {
    {BB_OK, 0, "OK", BB_RETRY_NEVER},
    {BB_ERR_BATTERY_ID, 1, "BATTERY_ID", BB_RETRY_NEVER},
    {BB_ERR_METRIC_NAME, 2, "METRIC_NAME", BB_RETRY_NEVER},
    {BB_ERR_FRAME_METRICS, 3, "FRAME_METRICS", BB_RETRY_NEVER},
    {BB_ERR_BATCH_BYTES, 4, "BATCH_BYTES", BB_RETRY_NEVER},
    {BB_ERR_TIME_RANGE, 5, "TIME_RANGE", BB_RETRY_NEVER},
    {BB_ERR_TYPE_CHANGED, 6, "TYPE_CHANGED", BB_RETRY_NEVER},
    {BB_ERR_STATE_TEXT, 7, "STATE_TEXT", BB_RETRY_NEVER},
    {BB_ERR_ATTRIBUTES, 8, "ATTRIBUTES", BB_RETRY_NEVER},
    {BB_ERR_VALUE, 9, "VALUE", BB_RETRY_NEVER},
    {BB_ERR_SYNTAX, 10, "SYNTAX", BB_RETRY_NEVER},
    {BB_ERR_QUERY, 11, "QUERY", BB_RETRY_NEVER},
    {BB_ERR_WINDOWS, 12, "WINDOWS", BB_RETRY_NEVER},
    {BB_ERR_RETENTION, 13, "RETENTION", BB_RETRY_NEVER},
    {BB_ERR_GENERATION, 14, "GENERATION", BB_RETRY_NEVER},
    {BB_ERR_MESSAGE_CORRUPT, 20, "MESSAGE_CORRUPT", BB_RETRY_NEVER},
    {BB_ERR_MESSAGE_VERSION, 21, "MESSAGE_VERSION", BB_RETRY_NEVER},
    {BB_ERR_MESSAGE_BYTES, 22, "MESSAGE_BYTES", BB_RETRY_NEVER},
    {BB_ERR_PARTITION, 23, "PARTITION", BB_RETRY_ELSEWHERE},
    {BB_ERR_NOT_REPLICA, 24, "NOT_REPLICA", BB_RETRY_ELSEWHERE},
    {BB_ERR_EPOCH, 25, "EPOCH", BB_RETRY_ELSEWHERE},
    {BB_ERR_ROLE, 26, "ROLE", BB_RETRY_NEVER},
    {BB_ERR_IDENTITY, 27, "IDENTITY", BB_RETRY_NEVER},
    {BB_ERR_CLUSTER, 28, "CLUSTER", BB_RETRY_NEVER},
    {BB_ERR_CURSOR, 29, "CURSOR", BB_RETRY_ELSEWHERE},
    {BB_ERR_BUSY, 40, "BUSY", BB_RETRY_LATER},
    {BB_ERR_TIMEOUT, 41, "TIMEOUT", BB_RETRY_UNKNOWN},
    {BB_ERR_UNAVAILABLE, 42, "UNAVAILABLE", BB_RETRY_LATER},
    {BB_ERR_CLOCK_SKEW, 43, "CLOCK_SKEW", BB_RETRY_ELSEWHERE},
    {BB_ERR_STOPPING, 44, "STOPPING", BB_RETRY_ELSEWHERE},
    {BB_ERR_BEHIND, 45, "BEHIND", BB_RETRY_ELSEWHERE},
    {BB_ERR_CANCELLED, 46, "CANCELLED", BB_RETRY_NEVER},
    {BB_ERR_PEER_UNKNOWN, 47, "PEER_UNKNOWN", BB_RETRY_NEVER},
    {BB_ERR_NOT_COUNTING, 48, "NOT_COUNTING", BB_RETRY_ELSEWHERE},
    {BB_ERR_IO, 60, "IO", BB_RETRY_LATER},
    {BB_ERR_DISK_FULL, 61, "DISK_FULL", BB_RETRY_LATER},
    {BB_ERR_CORRUPT, 62, "CORRUPT", BB_RETRY_ELSEWHERE},
    {BB_ERR_FORMAT, 63, "FORMAT", BB_RETRY_NEVER},
    {BB_ERR_FENCED, 64, "FENCED", BB_RETRY_ELSEWHERE},
    {BB_ERR_LOCKED, 65, "LOCKED", BB_RETRY_NEVER},
    {BB_ERR_FOREIGN, 66, "FOREIGN", BB_RETRY_NEVER},
    {BB_ERR_NOT_FOUND, 67, "NOT_FOUND", BB_RETRY_NEVER},
    {BB_ERR_EXISTS, 68, "EXISTS", BB_RETRY_NEVER},
    {BB_ERR_CONFIG, 80, "CONFIG", BB_RETRY_NEVER},
    {BB_ERR_KEY, 81, "KEY", BB_RETRY_NEVER},
    {BB_ERR_PORT_IN_USE, 82, "PORT_IN_USE", BB_RETRY_NEVER},
    {BB_ERR_USAGE, 83, "USAGE", BB_RETRY_NEVER},
    {BB_ERR_PERMISSION, 84, "PERMISSION", BB_RETRY_NEVER},
    {BB_ERR_LIMIT, 85, "LIMIT", BB_RETRY_NEVER},
    {BB_ERR_INTERNAL, 99, "INTERNAL", BB_RETRY_NEVER},
};

static void test_numbers_names_and_retries_are_pinned(void **state)
{
    (void)state;
    for (size_t i = 0; i < BB_COUNT_OF(s_pinned); i++) {
        assert_int_equal((int32_t)s_pinned[i].error, s_pinned[i].number);
        assert_string_equal(bb_error_name(s_pinned[i].error), s_pinned[i].name);
        assert_int_equal(bb_error_retry(s_pinned[i].error), s_pinned[i].retry);
        assert_true(bb_error_is_known(s_pinned[i].number));
        const char *message = bb_error_message(s_pinned[i].error);
        assert_true(strlen(message) > 0 && strlen(message) < 100);
        assert_null(strchr(message, '\n'));
    }
}

// Goal: numbers and names are given once.
static void test_no_number_or_name_is_used_twice(void **state)
{
    (void)state;
#define S_NUMBER(name, number, retry, message) number,
#define S_NAME(name, number, retry, message)   #name,
    static const int32_t numbers[] = {BB_ERROR_LIST(S_NUMBER)};
    static const char *const names[] = {BB_ERROR_LIST(S_NAME)};
    for (size_t i = 0; i < BB_COUNT_OF(numbers); i++) {
        assert_true(bb_error_is_known(numbers[i]));
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(numbers[i], numbers[j]);
            assert_string_not_equal(names[i], names[j]);
        }
    }
    assert_int_equal(BB_COUNT_OF(numbers), BB_COUNT_OF(s_pinned)); // a new error is pinned, too
}

// Goal: a number from the wire that nobody has given is refused and never read as something else.
static void test_unknown_numbers(void **state)
{
    (void)state;
    static const int32_t unknown[] = {-1, 15, 19, 30,  39,        49,
                                      59, 69, 86, 100, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < BB_COUNT_OF(unknown); i++) {
        assert_false(bb_error_is_known(unknown[i]));
    }
}

static void test_fault_carries_error_and_sentence(void **state)
{
    (void)state;
    bb_fault_t fault;
    assert_int_equal(bb_fault_set(&fault, BB_ERR_CONFIG, "%s:%d: key '%s'", "a.yaml", 7, "port"),
                     BB_ERR_CONFIG);
    assert_int_equal(fault.error, BB_ERR_CONFIG);
    assert_string_equal(fault.text, "a.yaml:7: key 'port'");
    assert_int_equal(bb_fault_set(NULL, BB_ERR_IO, "%d", 1), BB_ERR_IO);
}

// Goal: a text that does not fit is cut, ends in "..." and stays terminated; one that just fits is
// left alone.
static void test_fault_cuts_long_texts(void **state)
{
    (void)state;
    bb_fault_t fault;
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof fault.text - 1] = 0;
    bb_fault_set(&fault, BB_ERR_IO, "%s", text);
    assert_string_equal(fault.text, text);
    text[sizeof fault.text - 1] = 'x';
    text[sizeof fault.text] = 0;
    bb_fault_set(&fault, BB_ERR_IO, "%s", text);
    assert_int_equal(strlen(fault.text), sizeof fault.text - 1);
    assert_string_equal(fault.text + sizeof fault.text - 5, "x...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_names_and_retries_are_pinned),
        cmocka_unit_test(test_no_number_or_name_is_used_twice),
        cmocka_unit_test(test_unknown_numbers),
        cmocka_unit_test(test_fault_carries_error_and_sentence),
        cmocka_unit_test(test_fault_cuts_long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: names and texts are accepted by the rules of the header. Method: each byte in each place of
// texts of many lengths; the rules of UTF-8 are in test_bb_batch.c, with the builder's.
#include "protocol/bb_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/bb_limits.h"

// Goal: every piece of a plain text is a good name; one byte that is not plain shows.
static void test_plain_is_printable_ascii(void **state)
{
    (void)state;
    char text[100];
    for (size_t length = 0; length <= sizeof text; length += length < 70 ? 1 : 15) {
        memset(text, 'x', sizeof text);
        assert_true(bb_text_is_plain(bb_slice(text, length)));
        for (size_t at = 0; at < length; at += 1 + length / 9) {
            for (int byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                bool is_plain = byte >= 0x20 && byte <= 0x7e;
                assert_int_equal(bb_text_is_plain(bb_slice(text, length)), is_plain);
                bb_error_t error = bb_battery_id_check(bb_slice(text + at, 1));
                assert_int_equal(error, is_plain ? BB_OK : BB_ERR_BATTERY_ID);
            }
            text[at] = 'x';
        }
    }
}

static void test_lengths(void **state)
{
    (void)state;
    char text[BB_STATE_BYTES_MAX + 1];
    memset(text, 'n', sizeof text);
    for (size_t length = 0; length <= sizeof text; length++) {
        bb_slice_t slice = bb_slice(text, length);
        assert_int_equal(bb_battery_id_check(slice) == BB_OK,
                         length >= 1 && length <= BB_BATTERY_ID_BYTES_MAX);
        assert_int_equal(bb_metric_name_check(slice) == BB_OK,
                         length >= 1 && length <= BB_METRIC_NAME_BYTES_MAX);
        assert_int_equal(bb_state_text_check(slice) == BB_OK, length <= BB_STATE_BYTES_MAX);
        assert_int_equal(bb_attribute_check(bb_slice("k", 1), slice) == BB_OK,
                         length >= 1 && length <= BB_ATTRIBUTE_VALUE_BYTES_MAX);
        assert_int_equal(bb_attribute_check(slice, bb_slice("v", 1)) == BB_OK,
                         length >= 1 && length <= BB_ATTRIBUTE_KEY_BYTES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_is_printable_ascii),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// Goal: texts are numbered in their order, equal ones alike, whatever their addresses. Method: few
// texts with the order known by hand; thousands of generated ones at two addresses each.
#include "storage/segment/bb_text_table.h"

#include "tests/unit/storage/run_support.h"

static const bb_text_t *s_text(uint32_t index)
{
    return bb_text_of_bits(test_text_bits(index));
}

static void test_order_and_equal_texts(void **context)
{
    (void)context;
    bb_text_table_t table;
    bb_text_table_init(&table);
    bb_text_table_sort(&table);
    assert_int_equal(table.sorted_count, 0);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 3 * TEST_TEXT_COUNT; i++) {
            bb_text_table_add(&table, s_text(i * 5 % TEST_TEXT_COUNT));
        }
        bb_text_table_sort(&table);
        // "", Charg, Charging (twice), Discharging, Idle, 0xff: bytes are unsigned.
        static const uint32_t expected[TEST_TEXT_COUNT] = {0, 4, 2, 2, 1, 5, 3};
        assert_int_equal(table.sorted_count, TEST_TEXT_COUNT - 1);
        for (uint32_t i = 0; i < TEST_TEXT_COUNT; i++) {
            assert_int_equal(bb_text_table_code(&table, s_text(i)), expected[i]);
        }
        bb_text_table_clear(&table);
    }
    // After a clear only what was added since then is there.
    bb_text_table_add(&table, s_text(6));
    bb_text_table_sort(&table);
    assert_int_equal(table.sorted_count, 1);
    assert_int_equal(bb_text_table_code(&table, s_text(6)), 0);
    bb_text_table_free(&table);
}

static void test_many_texts(void **context)
{
    (void)context;
    enum { COUNT = 5000 };
    static struct {
        uint32_t length;
        char bytes[8];
    } texts[2][COUNT];
    bb_text_table_t table;
    bb_text_table_init(&table);
    for (uint32_t i = 0; i < COUNT; i++) {
        for (uint32_t copy = 0; copy < 2; copy++) {
            texts[copy][i].length = 6;
            snprintf(texts[copy][i].bytes, 8, "t%05u", i);
        }
    }
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        uint32_t at = i * 7919 % (2 * COUNT); // 7919 is prime, so each comes once
        bb_text_table_add(&table, (const void *)&texts[at % 2][at / 2]);
    }
    bb_text_table_sort(&table);
    assert_int_equal(table.sorted_count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(bb_text_table_code(&table, (const void *)&texts[0][i]), i);
        assert_int_equal(bb_text_table_code(&table, (const void *)&texts[1][i]), i);
        assert_int_equal(table.sorted[i]->bytes[5], texts[0][i].bytes[5]);
    }
    bb_text_table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_equal_texts),
        cmocka_unit_test(test_many_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

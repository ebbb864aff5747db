// SPDX-License-Identifier: Apache-2.0
// Goal: what was found damaged is on the list until its window is written anew, and survives as
// bytes. Method: a slow list without order as the oracle; every prefix and bit of a record.
#include "storage/scrub/bb_damage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

static bb_damage_entry_t s_entry(uint32_t day, uint64_t number, uint32_t battery)
{
    bb_damage_entry_t entry = {.kind = 0,
                               .class_id = 3,
                               .day = day,
                               .number = number,
                               .battery = battery,
                               .reason = BB_DAMAGE_STATISTICS,
                               .found_wall_ns = INT64_C(1767225600000000000)};
    snprintf(entry.text, sizeof entry.text, "battery %u", battery);
    return entry;
}

static void s_test_record(void **state)
{
    (void)state;
    bb_damage_entry_t entry = s_entry(20454, 7, 12);
    uint8_t bytes[BB_DAMAGE_RECORD_BYTES_MAX];
    size_t length = bb_damage_encode(&entry, bytes);
    assert_int_equal(length, 32 + strlen("battery 12"));
    bb_damage_entry_t again;
    assert_int_equal(bb_damage_decode(bb_slice(bytes, length), &again), BB_OK);
    assert_int_equal(again.class_id, 3);
    assert_int_equal(again.day, 20454);
    assert_int_equal(again.number, 7);
    assert_int_equal(again.battery, 12);
    assert_int_equal(again.reason, BB_DAMAGE_STATISTICS);
    assert_int_equal(again.found_wall_ns, entry.found_wall_ns);
    assert_string_equal(again.text, entry.text);
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(bb_damage_decode(bb_slice(bytes, i), &again), BB_ERR_CORRUPT);
    }
    bytes[0] = 2;
    assert_int_equal(bb_damage_decode(bb_slice(bytes, length), &again), BB_ERR_FORMAT);
}

// Goal: any bytes are refused or read within their bounds, and what is read encodes to them.
static void s_test_record_of_any_bytes(void **state)
{
    (void)state;
    bb_random_t random = {3};
    bb_damage_entry_t entry = s_entry(1, 1, 1);
    uint8_t sound[BB_DAMAGE_RECORD_BYTES_MAX];
    size_t length = bb_damage_encode(&entry, sound);
    for (uint32_t i = 0; i < 20000; i++) {
        uint8_t bytes[BB_DAMAGE_RECORD_BYTES_MAX];
        memcpy(bytes, sound, sizeof bytes);
        bytes[bb_random_next(&random) % length] ^= (uint8_t)(1u << bb_random_next(&random) % 8);
        if (bb_damage_decode(bb_slice(bytes, length), &entry) == BB_OK) {
            uint8_t again[BB_DAMAGE_RECORD_BYTES_MAX];
            assert_int_equal(bb_damage_encode(&entry, again), length);
            assert_memory_equal(again, bytes, length);
            assert_true(strlen(bb_damage_reason_name(entry.reason)) > 0);
        }
    }
}

static void s_test_whole_window_covers_batteries(void **state)
{
    (void)state;
    bb_damage_t list = {0};
    bb_damage_entry_t entry = s_entry(5, 1, 8);
    assert_true(bb_damage_add(&list, &entry));
    assert_false(bb_damage_add(&list, &entry)); // known
    assert_non_null(bb_damage_find(&list, 0, 3, 5, 8));
    assert_null(bb_damage_find(&list, 0, 3, 5, 9));
    assert_null(bb_damage_find(&list, 0, 3, 5, BB_DAMAGE_BATTERY_ALL));
    assert_null(bb_damage_find(&list, 0, 2, 5, 8)); // another class
    assert_null(bb_damage_find(&list, 1, 3, 5, 8)); // another kind
    entry = s_entry(5, 1, BB_DAMAGE_BATTERY_ALL);
    assert_true(bb_damage_add(&list, &entry));
    assert_int_equal(list.count, 1);
    assert_non_null(bb_damage_find(&list, 0, 3, 5, 9));
    entry = s_entry(5, 1, 9);
    assert_false(bb_damage_add(&list, &entry)); // covered
    bb_damage_clear(&list);
}

// Goal: a window that a merge wrote anew is clean when it has been verified, but for what was found
// in the new one, too.
static void s_test_forget(void **state)
{
    (void)state;
    bb_damage_t list = {0};
    for (uint32_t day = 1; day <= 3; day++) {
        for (uint32_t battery = 0; battery < 4; battery++) {
            bb_damage_entry_t entry = s_entry(day, 1, battery);
            assert_true(bb_damage_add(&list, &entry));
        }
    }
    assert_int_equal(bb_damage_forget(&list, 0, 3, 2, 1), 0); // that number counts still
    assert_int_equal(bb_damage_forget(&list, 0, 3, 2, 2), 4);
    assert_false(bb_damage_has_window(&list, 0, 3, 2));
    assert_true(bb_damage_has_window(&list, 0, 3, 1) && bb_damage_has_window(&list, 0, 3, 3));
    bb_damage_entry_t entry = s_entry(3, 9, 2); // carried over by a merge, and found again
    assert_true(bb_damage_add(&list, &entry));
    assert_false(bb_damage_add(&list, &entry));
    assert_non_null(bb_damage_find(&list, 0, 3, 3, 0)); // the new one is not verified yet
    assert_int_equal(bb_damage_forget(&list, 0, 3, 3, 9), 3);
    assert_null(bb_damage_find(&list, 0, 3, 3, 0));
    assert_non_null(bb_damage_find(&list, 0, 3, 3, 2));
    uint32_t count;
    assert_int_equal(bb_damage_window(&list, 0, 3, 3, &count)->battery, 2);
    assert_int_equal(count, 1);
    assert_int_equal(list.count, 5);
    bb_damage_clear(&list);
}

// Goal: bounded. The 257th battery of a window makes it the whole window.
static void s_test_many(void **state)
{
    (void)state;
    bb_damage_t list = {0};
    for (uint32_t battery = 0; battery < 1000; battery++) {
        bb_damage_entry_t entry = s_entry(1, 1, battery);
        assert_int_equal(bb_damage_add(&list, &entry), battery <= BB_DAMAGE_BATTERIES_MAX);
    }
    assert_int_equal(list.count, 1);
    assert_non_null(bb_damage_find(&list, 0, 3, 1, BB_DAMAGE_BATTERY_ALL));
    bb_damage_clear(&list);
}

// Goal: find and has_window agree with a list without order, for random additions and removals.
static void s_test_oracle(void **state)
{
    (void)state;
    enum { S_DAYS = 6, S_BATTERIES = 10 };
    bb_random_t random = {11};
    bool known[S_DAYS][S_BATTERIES + 1] = {{false}};
    bb_damage_t list = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t day = (uint32_t)(bb_random_next(&random) % S_DAYS);
        uint32_t battery = (uint32_t)(bb_random_next(&random) % (S_BATTERIES + 1));
        if (bb_random_next(&random) % 8 == 0) {
            bb_damage_forget(&list, 0, 3, day, 0);
            memset(known[day], 0, sizeof known[day]);
        } else {
            bool is_all = battery == S_BATTERIES;
            bb_damage_entry_t entry = s_entry(day, 1, is_all ? BB_DAMAGE_BATTERY_ALL : battery);
            bool is_new = !known[day][battery] && !known[day][S_BATTERIES];
            assert_int_equal(bb_damage_add(&list, &entry), is_new);
            known[day][battery] = true;
        }
        bool any = false;
        for (uint32_t b = 0; b < S_BATTERIES; b++) {
            bool wanted = known[day][b] || known[day][S_BATTERIES];
            assert_int_equal(bb_damage_find(&list, 0, 3, day, b) != NULL, wanted);
            any = any || wanted;
        }
        assert_int_equal(bb_damage_has_window(&list, 0, 3, day), any);
    }
    bb_damage_clear(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_record),
        cmocka_unit_test(s_test_record_of_any_bytes),
        cmocka_unit_test(s_test_whole_window_covers_batteries),
        cmocka_unit_test(s_test_forget),
        cmocka_unit_test(s_test_many),
        cmocka_unit_test(s_test_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

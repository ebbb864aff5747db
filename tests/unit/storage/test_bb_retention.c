// SPDX-License-Identifier: Apache-2.0
// Classes and floors of a store: numbers stay, floors only grow, records come back as they were.
#include "storage/retention/bb_retention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static void s_policy(bb_retention_t *retention, const bb_retention_class_t *classes, uint32_t count,
                     int64_t default_keep_ns)
{
    bb_policy_t *policy = bb_policy_new(classes, count, default_keep_ns, NULL, NULL, 0);
    bb_retention_policy_set(retention, policy);
    bb_policy_release(&policy);
}

// A copy made of the records alone, as an open after a crash makes it.
static bb_retention_t *s_reopened(const bb_retention_t *retention)
{
    bb_retention_t *again = bb_retention_new();
    for (uint32_t i = 0; i < bb_retention_class_count(retention); i++) {
        uint8_t record[BB_RETENTION_RECORD_BYTES];
        bb_retention_record(retention, i, bb_retention_durable_floor(retention, i), record);
        assert_int_equal(bb_retention_load(again, i, bb_slice(record, sizeof record), NULL), BB_OK);
    }
    return again;
}

// Goal: a class keeps its number whatever the order and the changes of policies; a new one gets the
// next. Method: policies that come and go, with a reopening between them.
static void retention_numbers_stay(void **state)
{
    (void)state;
    const bb_retention_class_t hot = {
        .name = "hot", .selector = {.metric = "*_c"}, .keep_ns = BB_NS_PER_DAY};
    const bb_retention_class_t cold = {
        .name = "cold", .selector = {.metric = "*_v"}, .keep_ns = 2 * BB_NS_PER_DAY};
    bb_retention_t *retention = bb_retention_new();
    assert_false(bb_retention_is_changed(retention));
    assert_true(bb_retention_is_single(retention));
    s_policy(retention, &hot, 1, BB_KEEP_FOREVER_NS);
    assert_true(bb_retention_is_changed(retention));
    const bb_retention_class_t both[2] = {cold, hot};
    s_policy(retention, both, 2, BB_KEEP_FOREVER_NS);
    assert_string_equal(bb_retention_name(retention, 1), "hot");
    assert_string_equal(bb_retention_name(retention, 2), "cold");
    bb_retention_t *again = s_reopened(retention);
    s_policy(again, &cold, 1, BB_KEEP_FOREVER_NS);
    assert_false(bb_retention_is_changed(again));
    assert_int_equal(bb_retention_class_count(again), 3);
    uint64_t volts = bb_policy_metric_classes(bb_retention_policy(again), s_text("pack_v"));
    uint64_t degrees = bb_policy_metric_classes(bb_retention_policy(again), s_text("pack_c"));
    assert_int_equal(bb_retention_class_of(again, UINT64_MAX, volts), 2);
    assert_int_equal(bb_retention_class_of(again, UINT64_MAX, degrees), 0);
    // The class that went keeps what it promised.
    assert_true(bb_retention_step(again, 100 * BB_NS_PER_DAY));
    assert_int_equal(bb_retention_intake_floor(again, 1), 99 * BB_NS_PER_DAY);
    assert_int_equal(bb_retention_intake_floor(again, 2), 98 * BB_NS_PER_DAY);
    assert_int_equal(bb_retention_intake_floor(again, 0), 0);
    assert_int_equal(bb_retention_intake_floor_max(again), 98 * BB_NS_PER_DAY);
    // What went of it is gone all the same.
    assert_int_equal(bb_retention_durable_floor_max(again), 0);
    bb_retention_saved(again, 1, 99 * BB_NS_PER_DAY);
    assert_int_equal(bb_retention_durable_floor_max(again), 99 * BB_NS_PER_DAY);
    bb_retention_destroy(&again);
    bb_retention_destroy(&retention);
}

// Goal: floors never move back: not by the clock, not by a longer keep, not by a restart after they
// were saved. Method: random steps, compared with the largest floor that was ever saved.
static void retention_floors_only_grow(void **state)
{
    (void)state;
    bb_retention_t *retention = bb_retention_new();
    uint64_t seed = 7;
    int64_t saved = 0;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int64_t before = bb_retention_intake_floor(retention, 0);
        switch (seed >> 61) {
        case 0:
            s_policy(retention, NULL, 0, BB_NS_PER_DAY * (int64_t)(1 + (seed >> 40) % 50));
            break;
        case 1: {
            bb_retention_t *again = s_reopened(retention);
            bb_retention_destroy(&retention);
            retention = again;
            before = saved;
            break;
        }
        case 2:
            saved = bb_retention_intake_floor(retention, 0);
            bb_retention_saved(retention, 0, saved);
            break;
        default:
            (void)bb_retention_step(retention, (int64_t)(seed % (uint64_t)(BB_NS_PER_DAY * 1000)));
        }
        assert_true(bb_retention_intake_floor(retention, 0) >= before);
        assert_true(bb_retention_durable_floor(retention, 0) == saved);
        assert_true(bb_retention_durable_floor_max(retention) == saved);
    }
    assert_true(saved > 0);
    bb_retention_destroy(&retention);
}

// Goal: the class of a battery follows its attributes.
static void retention_follows_attributes(void **state)
{
    (void)state;
    bb_retention_class_t lab = {
        .name = "lab", .selector = {.site = "aachen"}, .keep_ns = BB_NS_PER_DAY};
    bb_retention_t *retention = bb_retention_new();
    bb_dictionary_t *dictionary = bb_dictionary_new(1, 4);
    s_policy(retention, &lab, 1, BB_KEEP_FOREVER_NS);
    uint32_t battery = bb_dictionary_battery(dictionary, s_text("b1"), 1);
    uint64_t any = bb_policy_metric_classes(bb_retention_policy(retention), s_text("x"));
    uint64_t set = bb_retention_battery(retention, dictionary, battery);
    assert_int_equal(bb_retention_class_of(retention, set, any), 0);
    const bb_attribute_t site = {s_text("site"), s_text("aachen")};
    bb_dictionary_attributes_merge(dictionary, battery, &site, 1, 5);
    bb_retention_battery_changed(retention, battery);
    set = bb_retention_battery(retention, dictionary, battery);
    assert_int_equal(bb_retention_class_of(retention, set, any), 1);
    bb_dictionary_destroy(&dictionary);
    bb_retention_destroy(&retention);
}

// Goal: any bytes in place of a record are refused or taken, never more. Method: each byte flipped.
static void retention_refuses_bad_records(void **state)
{
    (void)state;
    bb_retention_t *retention = bb_retention_new();
    uint8_t record[BB_RETENTION_RECORD_BYTES];
    bb_retention_record(retention, 0, BB_NS_PER_DAY * 5, record);
    assert_int_equal(bb_retention_load(retention, 0, bb_slice(record, sizeof record), NULL), BB_OK);
    assert_int_equal(bb_retention_durable_floor(retention, 0), BB_NS_PER_DAY * 5);
    bb_fault_t fault;
    for (uint32_t i = 0; i < sizeof record; i++) {
        uint8_t bad[BB_RETENTION_RECORD_BYTES];
        memcpy(bad, record, sizeof bad);
        bad[i] ^= 0x81;
        bb_retention_t *fresh = bb_retention_new();
        bb_error_t error = bb_retention_load(fresh, 0, bb_slice(bad, sizeof bad), &fault);
        assert_true(error == BB_OK || error == BB_ERR_CORRUPT);
        assert_true(i < 8 || error == BB_ERR_CORRUPT || i >= 16 + 8); // floor and name are checked
        bb_retention_destroy(&fresh);
    }
    assert_int_equal(bb_retention_load(retention, 2, bb_slice(record, sizeof record), &fault),
                     BB_ERR_CORRUPT);
    assert_int_equal(bb_retention_load(retention, 1, bb_slice(record, 55), &fault), BB_ERR_CORRUPT);
    bb_retention_destroy(&retention);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retention_numbers_stay),
        cmocka_unit_test(retention_floors_only_grow),
        cmocka_unit_test(retention_follows_attributes),
        cmocka_unit_test(retention_refuses_bad_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

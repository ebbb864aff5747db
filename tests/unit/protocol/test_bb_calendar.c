// SPDX-License-Identifier: Apache-2.0
// Calendar buckets and the zones under them, against Python's zoneinfo (tests/golden/calendar.py)
// and against their own definition.
#include "protocol/bb_calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_HOUR_NS (INT64_C(3600) * BB_NS_PER_S)

static bb_zone_t *s_zone(const char *name)
{
    char path[256];
    static uint8_t bytes[1 << 16];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        return NULL;
    }
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    bb_zone_t *zone = NULL;
    bb_fault_t fault = {0};
    if (bb_zone_decode(bb_slice(bytes, length), &zone, &fault) != BB_OK) {
        fail_msg("%s: %s", name, fault.text);
    }
    return zone;
}

static bb_every_t s_every(const char *name)
{
    for (int every = BB_EVERY_DAY; every <= BB_EVERY_YEAR; every++) {
        if (strcmp(name, bb_every_name((bb_every_t)every)) == 0) {
            return (bb_every_t)every;
        }
    }
    fail_msg("unit %s", name);
    return BB_EVERY_FIXED;
}

// Goal: every moment falls into the bucket that another implementation of the calendar puts it
// into, days of 23, 25 and 0 hours included. Method: a golden file written by Python's zoneinfo.
static void calendar_agrees_with_zoneinfo(void **state)
{
    (void)state;
    FILE *golden = fopen(BB_SOURCE_DIR "/tests/golden/calendar.txt", "r");
    assert_non_null(golden);
    char name[65];
    char unit[16];
    char zone_name[65] = "";
    long long moment;
    long long start;
    long long next;
    bb_zone_t *zone = NULL;
    uint32_t count = 0;
    while (fscanf(golden, "%64s %15s %lld %lld %lld", name, unit, &moment, &start, &next) == 5) {
        if (strcmp(zone_name, name) != 0) {
            bb_zone_destroy(&zone);
            zone = s_zone(name);
            strcpy(zone_name, name);
        }
        if (!zone) {
            continue; // this machine has no such zone
        }
        bb_calendar_t calendar = {s_every(unit), 0, zone};
        int64_t start_ns = bb_calendar_start(&calendar, moment * BB_NS_PER_S + 999999999);
        if (start_ns != start * BB_NS_PER_S ||
            bb_calendar_next(&calendar, start_ns) != next * BB_NS_PER_S) {
            fail_msg("%s %s %lld: [%lld, %lld), expected [%lld, %lld)", name, unit, moment,
                     (long long)(start_ns / BB_NS_PER_S),
                     (long long)(bb_calendar_next(&calendar, start_ns) / BB_NS_PER_S), start, next);
        }
        assert_int_equal(bb_calendar_start(&calendar, start_ns), start_ns);
        assert_int_equal(bb_calendar_start(&calendar, start_ns - 1) < start_ns, true);
        count++;
    }
    fclose(golden);
    bb_zone_destroy(&zone);
    assert_true(count > 300);
}

// Goal: days of Berlin have 23, 24 and 25 hours, by definition of the law of 2025.
static void calendar_days_of_berlin(void **state)
{
    (void)state;
    bb_zone_t *zone = s_zone("Europe/Berlin");
    assert_non_null(zone);
    bb_calendar_t days = {BB_EVERY_DAY, 0, zone};
    const struct {
        int64_t utc_s; // noon UTC of the day
        int64_t hours;
    } cases[] = {{1743336000, 23} /* 2025-03-30 */,
                 {1743422400, 24},
                 {1761480000, 25} /* 2025-10-26 */,
                 {1761566400, 24}};
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        int64_t start = bb_calendar_start(&days, cases[i].utc_s * BB_NS_PER_S);
        assert_int_equal(bb_calendar_next(&days, start) - start, cases[i].hours * S_HOUR_NS);
    }
    // 1970-01-01 of Berlin began before 1970 of UTC.
    assert_int_equal(bb_calendar_start(&days, 0), -S_HOUR_NS);
    bb_zone_destroy(&zone);
}

static void calendar_fixed_and_utc(void **state)
{
    (void)state;
    bb_calendar_t quarter = {BB_EVERY_FIXED, S_HOUR_NS / 4, NULL};
    assert_int_equal(bb_calendar_start(&quarter, S_HOUR_NS - 1), S_HOUR_NS / 4 * 3);
    assert_int_equal(bb_calendar_start(&quarter, -1), -S_HOUR_NS / 4);
    assert_int_equal(bb_calendar_next(&quarter, 0), S_HOUR_NS / 4);
    bb_calendar_t years = {BB_EVERY_YEAR, 0, NULL};
    assert_int_equal(bb_calendar_start(&years, BB_NS_PER_DAY * 364), 0);
    assert_int_equal(bb_calendar_next(&years, 0), BB_NS_PER_DAY * 365);
    assert_int_equal(bb_calendar_next(&years, BB_NS_PER_DAY * 730), BB_NS_PER_DAY * 1096); // 1972
    bb_calendar_t weeks = {BB_EVERY_WEEK, 0, NULL};
    assert_int_equal(bb_calendar_start(&weeks, BB_NS_PER_DAY * 3), -BB_NS_PER_DAY * 3); // Sunday
    assert_int_equal(bb_calendar_start(&weeks, BB_NS_PER_DAY * 4), BB_NS_PER_DAY * 4);  // Monday
}

// Goal: any bytes are refused or give a zone whose answers are bounded. Method: a real file with
// each byte changed and each length cut.
static void zone_takes_any_bytes(void **state)
{
    (void)state;
    uint8_t bytes[8192];
    FILE *file = fopen("/usr/share/zoneinfo/America/New_York", "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    uint32_t taken = 0;
    for (size_t i = 0; i < 2 * length; i++) {
        uint8_t *copy = bb_alloc(length); // exactly so many: reading beyond is seen by ASan
        memcpy(copy, bytes, length);
        size_t given = i < length ? length : i - length;
        if (i < length) {
            copy[i] ^= (uint8_t)(1u << (i % 8));
        }
        bb_zone_t *zone = NULL;
        if (bb_zone_decode(bb_slice(copy, given), &zone, NULL) == BB_OK) {
            for (int64_t s = 0; s < INT64_C(9000000000); s += INT64_C(977777777)) {
                int32_t offset = bb_zone_offset_s(zone, s);
                assert_true(offset >= -26 * 3600 && offset <= 26 * 3600);
                assert_true(bb_zone_next_s(zone, s) > s);
            }
            taken++;
        }
        bb_zone_destroy(&zone);
        free(copy);
    }
    assert_true(taken > 0); // a changed name of a zone is still a zone
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar_agrees_with_zoneinfo),
        cmocka_unit_test(calendar_days_of_berlin),
        cmocka_unit_test(calendar_fixed_and_utc),
        cmocka_unit_test(zone_takes_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

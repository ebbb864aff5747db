// SPDX-License-Identifier: Apache-2.0
// Levels by name, the rules of a query, pages there and back, the golden page, every rule of the
// page reader broken one at a time, random damage. `test_bb_query --write-golden` rewrites the
// golden page and is used once per wire version.
#include "protocol/bb_query.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/unit/protocol/wire_patch.h"

#define S_TEXT(text)                                                                               \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static bb_text_t *s_state(const char *text)
{
    size_t length = strlen(text);
    bb_text_t *state = malloc(sizeof *state + length + 1);
    state->length = (uint32_t)length;
    memcpy(state->bytes, text, length + 1);
    return state;
}

static uint64_t s_bits(const bb_text_t *text)
{
    return (uint64_t)(uintptr_t)text;
}

static const int64_t s_times[3] = {0, 1700000000000000001, BB_TIME_WALL_NS_LIMIT - 1};
static const uint64_t s_floats[3] = {UINT64_C(0x8000000000000000), UINT64_C(0x7ff8000000000123),
                                     UINT64_C(0x400d70a3d70a3d71)};
static const uint64_t s_bools[3] = {0, 1, 1};
static const bb_bucket_t s_buckets[2] = {
    {.start_wall_ns = 0,
     .count = 2,
     .sum = {.decimals = {(uint64_t)-2500000000, UINT64_MAX, UINT64_MAX},
             .bins = {{0}, {5}, {7, UINT64_MAX}},
             .top = 18,
             .flags = BB_SUM_BINARY},
     .min = 1,
     .max = 2,
     .first_wall_ns = 5,
     .last_wall_ns = 6,
     .first = 3,
     .last = 4},
    {.start_wall_ns = 60,
     .count = 1,
     .sum = {.decimals = {UINT64_C(70000000000)}},
     .min = 7,
     .max = 7,
     .first_wall_ns = 61,
     .last_wall_ns = 61,
     .first = 7,
     .last = 7},
};
static const bb_page_attribute_t s_attributes[2] = {
    {S_TEXT("site"), S_TEXT("Aachen")},
    {S_TEXT("note"), {NULL, 0}},
};

// One series of each form.
static void s_build(uint8_t **out, size_t *out_length)
{
    bb_text_t *idle = s_state("Idle");
    bb_text_t *charging = s_state("Charging");
    bb_text_t *idle_again = s_state("Idle"); // another address, the same text
    bb_text_t *empty = s_state("");
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_page_builder_points(builder, s_text("b1"), s_text("power_kw"), BB_TYPE_FLOAT64, s_times,
                           s_floats, 3);
    uint64_t states[3] = {s_bits(idle), s_bits(charging), s_bits(idle_again)};
    bb_page_builder_points(builder, s_text("b1"), s_text("state"), BB_TYPE_STATE, s_times, states,
                           3);
    bb_page_builder_points(builder, s_text("b2"), s_text("on"), BB_TYPE_BOOL, s_times, s_bools, 3);
    bb_page_builder_buckets(builder, s_text("b2"), s_text("power_kw"), BB_TYPE_INT64, s_buckets, 2);
    bb_bucket_t bucket = s_buckets[0];
    bucket.min = s_bits(charging);
    bucket.max = s_bits(idle);
    bucket.first = s_bits(empty);
    bucket.last = s_bits(idle_again);
    bb_page_builder_buckets(builder, s_text(""), s_text("state"), BB_TYPE_STATE, &bucket, 1);
    bb_page_builder_battery(builder, s_text("b3"), s_attributes, 2);
    bb_page_builder_battery(builder, s_text("b4"), NULL, 0);
    assert_int_equal(bb_page_builder_rows(builder), 3 + 3 + 3 + 2 + 1 + 1 + 1);
    size_t estimate = bb_page_builder_bytes(builder);
    bb_page_builder_finish(builder, out, out_length);
    assert_true(estimate <= *out_length && *out_length < estimate + 128);
    assert_int_equal(bb_page_builder_rows(builder), 0);
    bb_page_builder_destroy(&builder);
    assert_null(builder);
    free(idle);
    free(charging);
    free(idle_again);
    free(empty);
}

static void s_expect_text(bb_slice_t slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    if (slice.length > 0) {
        assert_memory_equal(slice.data, text, slice.length);
    }
}

static void s_expect_page(const bb_page_t *page)
{
    assert_int_equal(page->series_count, 7);
    assert_int_equal(page->state_count, 3);
    s_expect_text(page->states[0], "Idle");
    s_expect_text(page->states[1], "Charging");
    s_expect_text(page->states[2], "");
    const bb_series_t *s = page->series;
    s_expect_text(s[0].battery, "b1");
    s_expect_text(s[0].metric, "power_kw");
    assert_int_equal(s[0].type, BB_TYPE_FLOAT64);
    assert_int_equal(s[0].row_count, 3);
    assert_memory_equal(s[0].times_wall_ns, s_times, sizeof s_times);
    assert_memory_equal(s[0].values, s_floats, sizeof s_floats);
    assert_null(s[0].buckets);
    s_expect_text(s[1].battery, "b1");
    s_expect_text(s[1].metric, "state");
    const uint64_t indexes[3] = {0, 1, 0};
    assert_memory_equal(s[1].values, indexes, sizeof indexes);
    assert_memory_equal(s[2].values, s_bools, sizeof s_bools);
    assert_int_equal(s[3].row_count, 2);
    for (uint32_t row = 0; row < 2; row++) {
        bb_bucket_t bucket = bb_series_bucket(&s[3], row);
        assert_memory_equal(&bucket, &s_buckets[row], sizeof bucket);
    }
    s_expect_text(s[4].battery, "");
    assert_int_equal(s[4].buckets[0].min, 1);
    assert_int_equal(s[4].buckets[0].max, 0);
    assert_int_equal(s[4].buckets[0].first, 2);
    assert_int_equal(s[4].buckets[0].last, 0);
    s_expect_text(s[5].battery, "b3");
    assert_int_equal(s[5].type, 0);
    assert_int_equal(s[5].attribute_count, 2);
    s_expect_text(s[5].attributes[0].key, "site");
    s_expect_text(s[5].attributes[0].value, "Aachen");
    s_expect_text(s[5].attributes[1].key, "note");
    s_expect_text(s[5].attributes[1].value, "");
    s_expect_text(s[6].battery, "b4");
    assert_int_equal(s[6].attribute_count, 0);
}

// Goal: every form of series comes back bit for bit, and equal state texts share one entry.
static void page_round_trip(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t length;
    s_build(&bytes, &length);
    bb_page_t page;
    bb_fault_t fault = {0};
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), &fault), BB_OK);
    s_expect_page(&page);
    bb_page_close(&page);
    free(bytes);
}

// Goal: an empty page is a page, and a builder can be used again.
static void page_builder_is_empty_after_finish(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_text_t *text = s_state("x");
    uint64_t bits = s_bits(text);
    for (int round = 0; round < 3; round++) {
        if (round != 1) {
            bb_page_builder_points(builder, s_text("b"), s_text("m"), BB_TYPE_STATE, s_times, &bits,
                                   1);
            text->bytes[0] = (char)('x' + round); // the address means something per call only
        }
        uint8_t *bytes;
        size_t length;
        bb_page_builder_finish(builder, &bytes, &length);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
        assert_int_equal(page.series_count, round == 1 ? 0 : 1);
        assert_int_equal(page.state_count, round == 1 ? 0 : 1);
        bb_page_close(&page);
        free(bytes);
    }
    bb_page_builder_destroy(&builder);
    free(text);
}

// Goal: many short series stay small: ids and names are written once. Method: 1,000 batteries with
// 12 metrics of one row; times and values alone are 16 bytes a row, tables and offsets about 50.
static void page_shares_ids_and_names(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    uint64_t value = 42;
    for (int battery = 0; battery < 1000; battery++) {
        for (int metric = 0; metric < 12; metric++) {
            char id[32];
            char name[40];
            snprintf(id, sizeof id, "battery-%06d", battery);
            snprintf(name, sizeof name, "a_rather_long_metric_name_%d", metric);
            bb_page_builder_points(builder, s_text(id), s_text(name), BB_TYPE_INT64, s_times,
                                   &value, 1);
        }
    }
    uint8_t *bytes;
    size_t length;
    bb_page_builder_finish(builder, &bytes, &length);
    assert_true(length < 12000 * 80);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
    assert_int_equal(page.series_count, 12000);
    s_expect_text(page.series[11999].battery, "battery-000999");
    s_expect_text(page.series[11999].metric, "a_rather_long_metric_name_11");
    bb_page_close(&page);
    free(bytes);
    bb_page_builder_destroy(&builder);
}

// Goal: thousands of distinct states are found again. Method: the table must grow several times.
static void page_states_are_shared_by_content(void **state)
{
    (void)state;
    enum { S_COUNT = 3000 };
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_text_t **texts = calloc(S_COUNT, sizeof *texts);
    uint64_t *values = calloc(S_COUNT, sizeof *values);
    int64_t *times = calloc(S_COUNT, sizeof *times);
    for (int i = 0; i < S_COUNT; i++) {
        char text[16];
        snprintf(text, sizeof text, "s%d", i % 1000);
        texts[i] = s_state(text);
        values[i] = s_bits(texts[i]);
        times[i] = i;
    }
    bb_page_builder_points(builder, s_text("b"), s_text("m"), BB_TYPE_STATE, times, values,
                           S_COUNT);
    uint8_t *bytes;
    size_t length;
    bb_page_builder_finish(builder, &bytes, &length);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(bytes, length), NULL), BB_OK);
    assert_int_equal(page.state_count, 1000);
    for (int i = 0; i < S_COUNT; i++) {
        bb_slice_t got = page.states[page.series[0].values[i]];
        assert_int_equal(got.length, texts[i]->length);
        assert_memory_equal(got.data, texts[i]->bytes, got.length);
        free(texts[i]);
    }
    bb_page_close(&page);
    free(bytes);
    free(texts);
    free(values);
    free(times);
    bb_page_builder_destroy(&builder);
}

// Fields of PageSeries by their number in page.fbs.
enum { S_BATTERY, S_METRIC, S_TYPE, S_TIMES, S_VALUES, S_BUCKETS, S_ATTRIBUTES, S_SUMS };

typedef void (*s_damage_fn)(uint8_t *series);

// Damages series `index` of the sample page and expects a refusal.
static void s_expect_refused(uint32_t index, s_damage_fn damage)
{
    uint8_t *bytes;
    size_t length;
    s_build(&bytes, &length);
    uint8_t *list = wire_follow(wire_field(wire_root(bytes), 0));
    damage(wire_follow(list + 4 + 4 * index));
    bb_page_t page;
    bb_fault_t fault = {0};
    if (bb_page_open(&page, bb_slice(bytes, length), &fault) != BB_ERR_MESSAGE_CORRUPT) {
        fail_msg("damage of series %u was not seen", index);
    }
    assert_true(strlen(fault.text) > 5);
    free(bytes);
}

#define S_DAMAGE(name, statement)                                                                  \
    static void name(uint8_t *series)                                                              \
    {                                                                                              \
        statement;                                                                                 \
    }
#define S_VECTOR(field) wire_follow(wire_field(series, field))
S_DAMAGE(s_type_unknown, wire_put(wire_field(series, S_TYPE), 9, 1))
S_DAMAGE(s_times_short, wire_put(S_VECTOR(S_TIMES), 2, 4))
S_DAMAGE(s_time_negative, wire_put(S_VECTOR(S_TIMES) + 4, UINT64_MAX, 8))
S_DAMAGE(s_time_late, wire_put(S_VECTOR(S_TIMES) + 20, (uint64_t)BB_TIME_WALL_NS_LIMIT, 8))
S_DAMAGE(s_state_index, wire_put(S_VECTOR(S_VALUES) + 4, 3, 8))
S_DAMAGE(s_bool_value, wire_put(S_VECTOR(S_VALUES) + 4, 2, 8))
S_DAMAGE(s_bucket_count, wire_put(S_VECTOR(S_BUCKETS) + 4 + 8, 0, 8))
S_DAMAGE(s_bucket_order, wire_put(S_VECTOR(S_BUCKETS) + 4 + 88, 0, 8))
S_DAMAGE(s_bucket_times, wire_put(S_VECTOR(S_BUCKETS) + 4 + 56, 7, 8))
S_DAMAGE(s_bucket_state, wire_put(S_VECTOR(S_BUCKETS) + 4 + 80, 3, 8))
S_DAMAGE(s_sum_row, wire_put(S_VECTOR(S_SUMS) + 4, 2, 4))
S_DAMAGE(s_sum_flags, wire_put(S_VECTOR(S_SUMS) + 4 + 4, 0, 1))
S_DAMAGE(s_sum_top, wire_put(S_VECTOR(S_SUMS) + 4 + 5, BB_SUM_TOP_MAX + 1, 1))
S_DAMAGE(s_sum_zero, wire_put(S_VECTOR(S_SUMS) + 4 + 6, 1, 2))
S_DAMAGE(s_attribute_key,
         wire_put(wire_follow(wire_field(wire_follow(S_VECTOR(S_ATTRIBUTES) + 4), 0)), 0, 4))

// Goal: each rule of the reader refuses by itself.
static void page_open_refuses_each_bad_field(void **state)
{
    (void)state;
    s_expect_refused(0, s_type_unknown);
    s_expect_refused(0, s_times_short);
    s_expect_refused(0, s_time_negative);
    s_expect_refused(0, s_time_late);
    s_expect_refused(1, s_state_index);
    s_expect_refused(2, s_bool_value);
    s_expect_refused(3, s_bucket_count);
    s_expect_refused(3, s_bucket_order);
    s_expect_refused(3, s_sum_row);
    s_expect_refused(3, s_sum_flags);
    s_expect_refused(3, s_sum_top);
    s_expect_refused(3, s_sum_zero);
    s_expect_refused(3, s_bucket_times);
    s_expect_refused(4, s_bucket_state);
    s_expect_refused(5, s_attribute_key);
}

// Touches every byte that a page hands out, so that a sanitizer sees a bad view.
static uint64_t s_touch(const bb_page_t *page)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < page->series_count; i++) {
        const bb_series_t *series = &page->series[i];
        for (size_t j = 0; j < series->battery.length; j++) {
            sum += ((const uint8_t *)series->battery.data)[j];
        }
        for (uint32_t row = 0; row < series->row_count; row++) {
            if (series->has_buckets) {
                bb_bucket_t bucket = bb_series_bucket(series, row);
                sum += bucket.count + bucket.last + bucket.sum.bins[0][0];
                sum += bb_sum_value(&bucket.sum) > 0;
            } else {
                sum += (uint64_t)series->times_wall_ns[row] + series->values[row];
            }
            if (series->type == BB_TYPE_STATE && !series->has_buckets) {
                sum += page->states[series->values[row]].length;
            }
        }
        for (uint32_t j = 0; j < series->attribute_count; j++) {
            sum += series->attributes[j].key.length + series->attributes[j].value.length;
        }
    }
    return sum;
}

// Goal: no damage and no cut makes the reader read outside the bytes.
static void page_open_survives_mutations(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t length;
    s_build(&bytes, &length);
    uint8_t *copy = malloc(length);
    bb_random_t seed = bb_random_seed(4711);
    uint32_t accepted = 0;
    uint64_t sum = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        memcpy(copy, bytes, length);
        uint32_t changes = 1 + (uint32_t)(bb_random_next(&seed) % 4);
        for (uint32_t i = 0; i < changes; i++) {
            uint64_t how = bb_random_next(&seed);
            copy[bb_random_next(&seed) % length] ^= (uint8_t)(1u << (how & 7));
        }
        size_t kept = round % 4 == 0 ? (bb_random_next(&seed) % length) & ~(size_t)3 : length;
        bb_page_t page;
        if (bb_page_open(&page, bb_slice(copy, kept), NULL) == BB_OK) {
            accepted++;
            sum += s_touch(&page);
            bb_page_close(&page);
        }
    }
    assert_true(accepted > 100);
    assert_true(sum > 0);
    bb_page_t page;
    uint8_t *shifted = malloc(length + 4);
    memcpy(shifted + 4, bytes, length);
    assert_int_equal(bb_page_open(&page, bb_slice(shifted + 4, length), NULL),
                     BB_ERR_MESSAGE_CORRUPT);
    free(shifted);
    free(copy);
    free(bytes);
}

#define S_GOLDEN BB_SOURCE_DIR "/tests/golden/wire/page_v1.bin"

// Goal: the page format stays what it was in version 1.
static void page_golden_file(void **state)
{
    (void)state;
    FILE *file = fopen(S_GOLDEN, "rb");
    assert_non_null(file);
    uint8_t *golden = malloc(65536);
    size_t golden_length = fread(golden, 1, 65536, file);
    fclose(file);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(golden, golden_length), NULL), BB_OK);
    s_expect_page(&page);
    bb_page_close(&page);
    uint8_t *bytes;
    size_t length;
    s_build(&bytes, &length);
    assert_int_equal(length, golden_length);
    assert_memory_equal(bytes, golden, length);
    free(bytes);
    free(golden);
}

// Goal: levels have names that read back, and nothing else is a level.
static void level_names(void **state)
{
    (void)state;
    const char *names[] = {"one", "local_quorum", "quorum", "each_quorum", "all"};
    for (uint32_t i = 0; i < BB_COUNT_OF(names); i++) {
        assert_int_equal(bb_level_of_name(names[i]), i + 1);
        assert_string_equal(bb_level_name((bb_level_t)(i + 1)), names[i]);
    }
    const char *others[] = {"", "ONE", "two", "local-quorum", "all ", "unknown"};
    for (uint32_t i = 0; i < BB_COUNT_OF(others); i++) {
        assert_int_equal(bb_level_of_name(others[i]), 0);
    }
}

// Goal: each rule of a query names itself. Method: one good query, one field broken at a time.
static void query_check_refuses_each_bad_field(void **state)
{
    (void)state;
    const uint32_t partitions[2] = {1, 2};
    const uint32_t twice[2] = {2, 2};
    const uint32_t beyond[1] = {BB_PARTITIONS_MAX};
    const bb_slice_t empty[1] = {{NULL, 0}};
    const bb_query_t good = {.mode = BB_QUERY_RAW,
                             .level = BB_LEVEL_ONE,
                             .from_wall_ns = 0,
                             .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                             .partition_count = 2,
                             .partitions = partitions};
    bb_fault_t fault = {0};
    assert_int_equal(bb_query_check(&good, &fault), BB_OK);
    bb_query_t bad[15];
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bad[i] = good;
    }
    bad[0].mode = 0;
    bad[1].mode = (bb_query_mode_t)7;
    bad[2].level = 0;
    bad[3].from_wall_ns = -1;
    bad[4].to_wall_ns = BB_TIME_WALL_NS_LIMIT + 1;
    bad[5].from_wall_ns = 10, bad[5].to_wall_ns = 9;
    bad[6].every_ns = -1;
    bad[7].aggregates = 0x100;
    bad[8].partitions = twice;
    bad[9].partitions = beyond, bad[9].partition_count = 1;
    bad[10].battery_count = 1, bad[10].batteries = empty;
    bad[11].metric_count = 1, bad[11].metrics = empty;
    bad[12].mode = BB_QUERY_LAST, bad[12].compare = (bb_compare_t)3;
    bad[13].compare = BB_COMPARE_BELOW;
    bad[14].mode = BB_QUERY_LAST, bad[14].compare = BB_COMPARE_ABOVE, bad[14].threshold = nan("");
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        fault.text[0] = '\0';
        if (bb_query_check(&bad[i], &fault) != BB_ERR_QUERY || strlen(fault.text) < 10) {
            fail_msg("case %zu was not refused with a sentence", i);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        uint8_t *bytes;
        size_t length;
        s_build(&bytes, &length);
        FILE *file = fopen(S_GOLDEN, "wb");
        bool failed = !file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0;
        free(bytes);
        return failed;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_round_trip),
        cmocka_unit_test(page_builder_is_empty_after_finish),
        cmocka_unit_test(page_shares_ids_and_names),
        cmocka_unit_test(page_states_are_shared_by_content),
        cmocka_unit_test(page_open_refuses_each_bad_field),
        cmocka_unit_test(page_open_survives_mutations),
        cmocka_unit_test(page_golden_file),
        cmocka_unit_test(level_names),
        cmocka_unit_test(query_check_refuses_each_bad_field),
    };
    return cmocka_run_group_tests_name("bb_query", tests, NULL, NULL);
}

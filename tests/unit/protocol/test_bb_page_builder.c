// SPDX-License-Identifier: Apache-2.0
// Pages of rows: there and back, the same answer in the old form for who does not accept them, the
// golden page, every rule of their reader broken one at a time, random damage. Tables of series are
// in test_bb_query.c. `test_bb_page_builder --write-golden` rewrites the golden page and is used
// once per wire version.
#include "tests/unit/protocol/page_support.h"
#include "tests/unit/protocol/wire_patch.h"

static bb_text_t *s_state(const char *text)
{
    size_t length = strlen(text);
    bb_text_t *state = malloc(sizeof *state + length + 1);
    state->length = (uint32_t)length;
    memcpy(state->bytes, text, length + 1);
    return state;
}

// Three batteries: two kinds, one kind, and again both; in columns or as tables.
static encoded_page_t s_build(bb_page_builder_t *builder, bool accepts_rows)
{
    bb_text_t *idle = s_state("Idle");
    bb_text_t *charging = s_state("Charging");
    if (accepts_rows) {
        bb_page_builder_accept_rows(builder);
    }
    uint32_t charge = bb_page_builder_kind(builder, page_text("charge"), BB_TYPE_FLOAT64);
    uint32_t state = bb_page_builder_kind(builder, page_text("state"), BB_TYPE_STATE);
    bb_page_builder_row(builder, page_text("b1"), charge, 10, 100);
    bb_page_builder_row(builder, page_text("b1"), state, 11, (uint64_t)(uintptr_t)idle);
    bb_page_builder_row(builder, page_text("b22"), charge, 20, UINT64_C(0x7ff8000000000123));
    bb_page_builder_row(builder, page_text("b3"), charge, 30, 300);
    bb_page_builder_row(builder, page_text("b3"), state, BB_TIME_WALL_NS_LIMIT - 1,
                        (uint64_t)(uintptr_t)charging);
    assert_int_equal(bb_page_builder_rows(builder), 5);
    size_t estimate = bb_page_builder_bytes(builder);
    encoded_page_t encoded = page_finish(builder);
    assert_true(estimate <= encoded.length && encoded.length < estimate + 256);
    free(idle);
    free(charging);
    return encoded;
}

static void s_expect_text(bb_slice_t slice, const char *text)
{
    assert_int_equal(slice.length, strlen(text));
    assert_memory_equal(slice.data, text, slice.length);
}

static void s_expect_row(const bb_series_t *series, const char *battery, const char *metric,
                         bb_type_t type, int64_t time_wall_ns, uint64_t bits)
{
    s_expect_text(series->battery, battery);
    s_expect_text(series->metric, metric);
    assert_int_equal(series->type, type);
    assert_int_equal(series->row_count, 1);
    assert_null(series->buckets);
    assert_true(series->times_wall_ns[0] == time_wall_ns);
    assert_true(series->values[0] == bits);
}

static void s_expect_page(encoded_page_t encoded)
{
    bb_page_t page;
    bb_fault_t fault = {0};
    assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), &fault), BB_OK);
    assert_int_equal(page.series_count, 5);
    s_expect_row(&page.series[0], "b1", "charge", BB_TYPE_FLOAT64, 10, 100);
    s_expect_row(&page.series[1], "b1", "state", BB_TYPE_STATE, 11, 0);
    s_expect_row(&page.series[2], "b22", "charge", BB_TYPE_FLOAT64, 20,
                 UINT64_C(0x7ff8000000000123));
    s_expect_row(&page.series[3], "b3", "charge", BB_TYPE_FLOAT64, 30, 300);
    s_expect_row(&page.series[4], "b3", "state", BB_TYPE_STATE, BB_TIME_WALL_NS_LIMIT - 1, 1);
    s_expect_text(page.states[0], "Idle");
    s_expect_text(page.states[1], "Charging");
    bb_page_close(&page);
}

// Goal: rows and tables say the same, and the builder can be used again for either.
static void rows_round_trip(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    for (int round = 0; round < 4; round++) {
        encoded_page_t encoded = s_build(builder, round % 2 == 0);
        s_expect_page(encoded);
        free(encoded.bytes);
    }
    bb_page_builder_destroy(&builder);
}

static void buckets_round_trip(void **state)
{
    (void)state;
    bb_text_t *low = s_state("a");
    bb_text_t *high = s_state("b");
    bb_bucket_t bucket = {.start_wall_ns = 60,
                          .count = 2,
                          .sum = {.decimals = {7}, .flags = BB_SUM_NAN},
                          .min = 1,
                          .max = 2,
                          .first_wall_ns = 61,
                          .last_wall_ns = 62,
                          .first = 3,
                          .last = 4};
    bb_bucket_t texts = bucket;
    texts.min = texts.first = (uint64_t)(uintptr_t)low;
    texts.max = texts.last = (uint64_t)(uintptr_t)high;
    bb_page_builder_t *builder = bb_page_builder_new();
    for (int round = 0; round < 2; round++) {
        if (round == 0) {
            bb_page_builder_accept_rows(builder);
        }
        uint32_t power = bb_page_builder_kind(builder, page_text("power"), BB_TYPE_INT64);
        uint32_t mode = bb_page_builder_kind(builder, page_text("mode"), BB_TYPE_STATE);
        bb_page_builder_row_bucket(builder, page_text("b1"), power, &bucket);
        bb_page_builder_row_bucket(builder, page_text("b2"), mode, &texts);
        encoded_page_t encoded = page_finish(builder);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), NULL), BB_OK);
        assert_int_equal(page.series_count, 2);
        s_expect_text(page.series[0].battery, "b1");
        s_expect_text(page.series[0].metric, "power");
        bb_bucket_t found = bb_series_bucket(&page.series[0], 0);
        assert_memory_equal(&found, &bucket, sizeof bucket);
        s_expect_text(page.series[1].battery, "b2");
        assert_int_equal(page.series[1].type, BB_TYPE_STATE);
        assert_int_equal(page.series[1].buckets->min, 0);
        assert_int_equal(page.series[1].buckets->last, 1);
        assert_int_equal(page.series[1].buckets->count, 2);
        bb_page_close(&page);
        free(encoded.bytes);
    }
    bb_page_builder_destroy(&builder);
    free(low);
    free(high);
}

// Goal: one value of each of many batteries takes little more than the value, its time and the id.
static void rows_are_small(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_page_builder_accept_rows(builder);
    uint32_t kind = bb_page_builder_kind(builder, page_text("charge"), BB_TYPE_FLOAT64);
    for (int i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "b%06d", i);
        bb_page_builder_row(builder, page_text(id), kind, i, (uint64_t)i);
    }
    encoded_page_t encoded = page_finish(builder);
    assert_true(encoded.length < 1000 * (8 + 8 + 7 + 4) + 256);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), NULL), BB_OK);
    assert_int_equal(page.series_count, 1000);
    s_expect_row(&page.series[999], "b000999", "charge", BB_TYPE_FLOAT64, 999, 999);
    bb_page_close(&page);
    free(encoded.bytes);
    bb_page_builder_destroy(&builder);
}

// Fields of PageRows by their number in page.fbs.
enum { S_IDS, S_ENDS, S_METRICS, S_TYPES, S_BATTERIES, S_KINDS, S_TIMES, S_VALUES };

typedef void (*s_damage_fn)(uint8_t *rows);

static void s_expect_refused(s_damage_fn damage)
{
    bb_page_builder_t *builder = bb_page_builder_new();
    encoded_page_t encoded = s_build(builder, true);
    bb_page_builder_destroy(&builder);
    damage(wire_follow(wire_field(wire_root(encoded.bytes), 2)));
    bb_page_t page;
    bb_fault_t fault = {0};
    assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    assert_true(strlen(fault.text) > 5);
    free(encoded.bytes);
}

#define S_DAMAGE(name, statement)                                                                  \
    static void name(uint8_t *rows)                                                                \
    {                                                                                              \
        statement;                                                                                 \
    }
#define S_VECTOR(field) wire_follow(wire_field(rows, field))
S_DAMAGE(s_times_short, wire_put(S_VECTOR(S_TIMES), 4, 4))
S_DAMAGE(s_values_short, wire_put(S_VECTOR(S_VALUES), 4, 4))
S_DAMAGE(s_batteries_short, wire_put(S_VECTOR(S_BATTERIES), 4, 4))
S_DAMAGE(s_kinds_short, wire_put(S_VECTOR(S_KINDS), 4, 4))
S_DAMAGE(s_types_short, wire_put(S_VECTOR(S_TYPES), 1, 4))
S_DAMAGE(s_type_unknown, wire_put(S_VECTOR(S_TYPES) + 4, 9, 1))
S_DAMAGE(s_metric_empty, wire_put(wire_follow(S_VECTOR(S_METRICS) + 4), 0, 4))
S_DAMAGE(s_id_empty, wire_put(S_VECTOR(S_ENDS) + 8, 2, 4))
S_DAMAGE(s_id_outside, wire_put(S_VECTOR(S_ENDS) + 12, 8, 4))
S_DAMAGE(s_battery_outside, wire_put(S_VECTOR(S_BATTERIES) + 4, 3, 4))
S_DAMAGE(s_kind_outside, wire_put(S_VECTOR(S_KINDS) + 4, 2, 2))
S_DAMAGE(s_time_negative, wire_put(S_VECTOR(S_TIMES) + 4, UINT64_MAX, 8))
S_DAMAGE(s_state_outside, wire_put(S_VECTOR(S_VALUES) + 4 + 8, 2, 8))

static void rows_refuse_each_bad_field(void **state)
{
    (void)state;
    static const s_damage_fn damages[] = {
        s_times_short,  s_values_short,  s_batteries_short, s_kinds_short, s_types_short,
        s_type_unknown, s_metric_empty,  s_id_empty,        s_id_outside,  s_battery_outside,
        s_kind_outside, s_time_negative, s_state_outside,
    };
    for (size_t i = 0; i < BB_COUNT_OF(damages); i++) {
        s_expect_refused(damages[i]);
    }
}

// Goal: no damage makes the reader read outside the bytes; sanitizers watch.
static void rows_survive_mutations(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    encoded_page_t encoded = s_build(builder, true);
    bb_page_builder_destroy(&builder);
    uint8_t *copy = malloc(encoded.length);
    bb_random_t random = bb_random_seed(815);
    uint64_t sum = 0;
    uint32_t accepted = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        memcpy(copy, encoded.bytes, encoded.length);
        page_mutate(&random, copy, encoded.length);
        bb_page_t page;
        if (bb_page_open(&page, bb_slice(copy, encoded.length), NULL) != BB_OK) {
            continue;
        }
        accepted++;
        for (uint32_t i = 0; i < page.series_count; i++) {
            const bb_series_t *series = &page.series[i];
            for (size_t b = 0; b < series->battery.length; b++) {
                sum += ((const uint8_t *)series->battery.data)[b];
            }
            if (series->row_count > 0 && series->times_wall_ns) {
                sum += (uint64_t)series->times_wall_ns[0] + series->values[0];
            }
        }
        bb_page_close(&page);
    }
    assert_true(accepted > 100);
    assert_true(sum > 0);
    free(copy);
    free(encoded.bytes);
}

#define S_GOLDEN BB_SOURCE_DIR "/tests/golden/wire/page_rows_v1.bin"

// Goal: the form of rows stays what it was in version 1.
static void rows_golden_file(void **state)
{
    (void)state;
    bb_page_builder_t *builder = bb_page_builder_new();
    encoded_page_t encoded = s_build(builder, true);
    bb_page_builder_destroy(&builder);
    encoded_page_t golden = page_expect_golden(encoded, S_GOLDEN);
    s_expect_page(golden);
    free(encoded.bytes);
    free(golden.bytes);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--write-golden") == 0) {
        bb_page_builder_t *builder = bb_page_builder_new();
        encoded_page_t encoded = s_build(builder, true);
        bb_page_builder_destroy(&builder);
        bool is_written = page_write_golden(encoded, S_GOLDEN);
        free(encoded.bytes);
        return is_written ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_round_trip),        cmocka_unit_test(buckets_round_trip),
        cmocka_unit_test(rows_are_small),         cmocka_unit_test(rows_refuse_each_bad_field),
        cmocka_unit_test(rows_survive_mutations), cmocka_unit_test(rows_golden_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

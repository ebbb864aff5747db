// SPDX-License-Identifier: Apache-2.0
// Buckets as columns of a page: there and back, the same answer in the old form for who does not
// accept them, their size, the golden page, every rule of the reader broken one at a time, random
// damage. `test_bb_page_columns --write-golden` rewrites the golden page and is used once per wire
// version.
#include "tests/unit/protocol/page_support.h"
#include "tests/unit/protocol/wire_patch.h"

enum { S_ROWS = 3, S_SERIES = 3 };

static const int64_t s_starts[S_ROWS] = {-60, 0, 120};
static const uint64_t s_counts[S_ROWS] = {1, UINT64_C(1) << 40, 7};
static const uint64_t s_mins[S_ROWS] = {0, 1, 0};
static const uint64_t s_maxs[S_ROWS] = {1, 1, 0};

// Sums that fit 64 bits, and those of series 1, which do not.
static void s_sums(uint32_t series, __int128 sums[S_ROWS])
{
    sums[0] = -5;
    sums[1] = INT64_MAX;
    sums[2] = series == 1 ? -((__int128)1 << 120) : INT64_MIN;
}

// Means, means too large for 64 bits, and BOOL with extremes.
static encoded_page_t s_build(bool accepts_rows)
{
    bb_page_builder_t *builder = bb_page_builder_new();
    if (accepts_rows) {
        bb_page_builder_accept_rows(builder);
    }
    static const bb_type_t types[S_SERIES] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_BOOL};
    static const char *const names[S_SERIES] = {"a", "b", "on"};
    for (uint32_t i = 0; i < S_SERIES; i++) {
        __int128 sums[S_ROWS];
        s_sums(i, sums);
        const bb_bucket_list_t list = {
            .starts_wall_ns = s_starts,
            .counts = s_counts,
            .sums = sums,
            .mins = i == 2 ? s_mins : NULL,
            .maxs = i == 2 ? s_maxs : NULL,
        };
        bb_page_builder_bucket_list(builder, page_text("b1"), page_text(names[i]), types[i], &list,
                                    S_ROWS);
    }
    assert_int_equal(bb_page_builder_rows(builder), S_SERIES * S_ROWS);
    encoded_page_t encoded = page_finish(builder);
    bb_page_builder_destroy(&builder);
    return encoded;
}

static void s_expect_page(encoded_page_t encoded)
{
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), NULL), BB_OK);
    assert_int_equal(page.series_count, S_SERIES);
    for (uint32_t i = 0; i < S_SERIES; i++) {
        const bb_series_t *series = &page.series[i];
        __int128 sums[S_ROWS];
        s_sums(i, sums);
        assert_true(series->has_buckets);
        assert_int_equal(series->row_count, S_ROWS);
        for (uint32_t row = 0; row < S_ROWS; row++) {
            bb_bucket_t bucket = bb_series_bucket(series, row);
            bb_bucket_t expected = {.start_wall_ns = s_starts[row],
                                    .count = s_counts[row],
                                    .min = i == 2 ? s_mins[row] : 0,
                                    .max = i == 2 ? s_maxs[row] : 0};
            bb_sum_add_scaled(&expected.sum, sums[row], BB_SUM_EXPONENT_MAX);
            assert_memory_equal(&bucket, &expected, sizeof bucket);
            assert_true(bb_series_bucket_start_wall_ns(series, row) == s_starts[row]);
        }
    }
    bb_page_close(&page);
}

// Goal: what was put in comes out, and is the same for a reader that does not know columns.
static void columns_round_trip(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        encoded_page_t encoded = s_build(round == 0);
        bb_page_t page;
        assert_int_equal(bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), NULL), BB_OK);
        assert_true((page.series[0].buckets == NULL) == (round == 0));
        bb_page_close(&page);
        s_expect_page(encoded);
        free(encoded.bytes);
    }
}

// Goal: a mean takes 24 bytes of a page, for the 88 of a whole bucket.
static void columns_are_small(void **state)
{
    (void)state;
    enum { ROWS = 1440 };
    int64_t starts[ROWS];
    uint64_t counts[ROWS];
    __int128 sums[ROWS];
    for (int i = 0; i < ROWS; i++) {
        starts[i] = i * INT64_C(60000000000);
        counts[i] = 6;
        sums[i] = (__int128)(i - 700) * 1000000000;
    }
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_page_builder_accept_rows(builder);
    const bb_bucket_list_t list = {.starts_wall_ns = starts, .counts = counts, .sums = sums};
    bb_page_builder_bucket_list(builder, page_text("b1"), page_text("v"), BB_TYPE_FLOAT64, &list,
                                ROWS);
    encoded_page_t encoded = page_finish(builder);
    assert_in_range(encoded.length, 24 * ROWS, 24 * ROWS + 200);
    free(encoded.bytes);
    bb_page_builder_destroy(&builder);
}

// ---- damage ----------------------------------------------------------------------------------
// Fields by their numbers in page.fbs.
enum { S_TYPE = 2, S_COLUMNS = 8 };
enum { S_STARTS, S_COUNTS, S_LOW, S_HIGH, S_MINS, S_MAXS };

typedef void (*s_damage_fn)(uint8_t *series, uint8_t *columns);

static void s_expect_refused(uint32_t index, s_damage_fn damage)
{
    encoded_page_t encoded = s_build(true);
    uint8_t *list = wire_follow(wire_field(wire_root(encoded.bytes), 0));
    uint8_t *series = wire_follow(list + 4 + 4 * index);
    damage(series, wire_follow(wire_field(series, S_COLUMNS)));
    bb_page_t page;
    bb_fault_t fault = {0};
    if (bb_page_open(&page, bb_slice(encoded.bytes, encoded.length), &fault) !=
        BB_ERR_MESSAGE_CORRUPT) {
        fail_msg("damage of series %u was not seen", index);
    }
    assert_true(strlen(fault.text) > 5);
    free(encoded.bytes);
}

#define S_VECTOR(field) wire_follow(wire_field(columns, field))
#define S_DAMAGE(name, statement)                                                                  \
    static void name(uint8_t *series, uint8_t *columns)                                            \
    {                                                                                              \
        (void)series;                                                                              \
        (void)columns;                                                                             \
        statement;                                                                                 \
    }
// Takes a field out of the columns' vtable.
static void s_remove(uint8_t *columns, uint32_t field)
{
    uint8_t *vtable = columns - (int32_t)wire_u32(columns);
    wire_put(vtable + 4 + 2 * field, 0, 2);
}
S_DAMAGE(s_type_is_state, wire_put(wire_field(series, S_TYPE), BB_TYPE_STATE, 1))
S_DAMAGE(s_starts_short, wire_put(S_VECTOR(S_STARTS), 2, 4))
S_DAMAGE(s_counts_short, wire_put(S_VECTOR(S_COUNTS), 2, 4))
S_DAMAGE(s_low_short, wire_put(S_VECTOR(S_LOW), 2, 4))
S_DAMAGE(s_high_short, wire_put(S_VECTOR(S_HIGH), 2, 4))
S_DAMAGE(s_mins_short, wire_put(S_VECTOR(S_MINS), 2, 4))
S_DAMAGE(s_maxs_short, wire_put(S_VECTOR(S_MAXS), 2, 4))
S_DAMAGE(s_no_counts, s_remove(columns, S_COUNTS))
S_DAMAGE(s_no_sums, s_remove(columns, S_LOW))
S_DAMAGE(s_no_maxs, s_remove(columns, S_MAXS))
S_DAMAGE(s_count_zero, wire_put(S_VECTOR(S_COUNTS) + 4 + 8, 0, 8))
S_DAMAGE(s_not_in_order, wire_put(S_VECTOR(S_STARTS) + 4 + 8, (uint64_t)-60, 8))
S_DAMAGE(s_bool_is_two, wire_put(S_VECTOR(S_MAXS) + 4, 2, 8))

// Goal: each rule of the reader refuses by itself.
static void columns_refuse_each_bad_field(void **state)
{
    (void)state;
    s_expect_refused(0, s_type_is_state);
    s_expect_refused(0, s_starts_short);
    s_expect_refused(0, s_counts_short);
    s_expect_refused(0, s_low_short);
    s_expect_refused(1, s_high_short);
    s_expect_refused(2, s_mins_short);
    s_expect_refused(2, s_maxs_short);
    s_expect_refused(0, s_no_counts);
    s_expect_refused(0, s_no_sums);
    s_expect_refused(2, s_no_maxs);
    s_expect_refused(0, s_count_zero);
    s_expect_refused(0, s_not_in_order);
    s_expect_refused(2, s_bool_is_two);
}

// Goal: no damage and no cut makes the reader read outside the bytes.
static void columns_survive_mutations(void **state)
{
    (void)state;
    encoded_page_t encoded = s_build(true);
    uint8_t *copy = malloc(encoded.length);
    bb_random_t random = bb_random_seed(4712);
    uint64_t sum = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        memcpy(copy, encoded.bytes, encoded.length);
        page_mutate(&random, copy, encoded.length);
        size_t kept = round % 4 == 0 ? bb_random_below(&random, encoded.length) & ~UINT64_C(3)
                                     : encoded.length;
        bb_page_t page;
        if (bb_page_open(&page, bb_slice(copy, kept), NULL) != BB_OK) {
            continue;
        }
        for (uint32_t i = 0; i < page.series_count; i++) {
            for (uint32_t row = 0; row < page.series[i].row_count; row++) {
                sum += page.series[i].has_buckets
                           ? bb_series_bucket(&page.series[i], row).sum.decimals[0]
                           : page.series[i].values[row];
            }
        }
        bb_page_close(&page);
    }
    assert_true(sum > 0);
    free(copy);
    free(encoded.bytes);
}

#define S_GOLDEN BB_SOURCE_DIR "/tests/golden/wire/page_columns_v1.bin"

// Goal: the form stays what it was when it was first used.
static void columns_golden_file(void **state)
{
    (void)state;
    encoded_page_t encoded = s_build(true);
    encoded_page_t golden = page_expect_golden(encoded, S_GOLDEN);
    s_expect_page(golden);
    free(encoded.bytes);
    free(golden.bytes);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--write-golden") == 0) {
        encoded_page_t encoded = s_build(true);
        bool is_written = page_write_golden(encoded, S_GOLDEN);
        free(encoded.bytes);
        return is_written ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_round_trip),
        cmocka_unit_test(columns_are_small),
        cmocka_unit_test(columns_refuse_each_bad_field),
        cmocka_unit_test(columns_survive_mutations),
        cmocka_unit_test(columns_golden_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

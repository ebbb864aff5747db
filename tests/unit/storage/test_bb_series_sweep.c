// SPDX-License-Identifier: Apache-2.0
// What a sweep reads: statistics of days and blocks where they do, values only where a bucket or
// the range cuts a block, and the same answer to the last bit either way.
#include "tests/unit/storage/aggregate_oracle.h"

enum { HOUR_S = 3600, DAY_S = 86400 };

// One battery's frames: numbers with gaps, times that jitter around full hours, now and then a NaN
// or a double that is no decimal.
typedef struct {
    uint32_t battery;
    uint64_t revision;
    int64_t first_s, limit_s; // from FIXTURE_START_NS
    uint32_t step_s;
    bool is_plain; // every row, on its second, decimals only
} s_series_t;

static uint64_t s_number(bb_random_t *random, bool is_plain)
{
    if (!is_plain && bb_random_chance(random, 1, 500)) {
        static const uint64_t odd[] = {UINT64_C(0x7ff8000000000001), UINT64_C(0xfff0000000000000),
                                       UINT64_C(0x3fd5555555555555), UINT64_C(0x8000000000000000)};
        return odd[bb_random_below(random, BB_COUNT_OF(odd))];
    }
    return bb_bits_of_double((double)bb_random_below(random, 8000) / 10.0 - 200);
}

static void s_write(fixture_t *fixture, bb_random_t *random, const s_series_t *series)
{
    const uint32_t metrics[3] = {0, 1, 3};
    const uint8_t types[3] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_STATE};
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(series->revision);
    for (int64_t at = series->first_s; at < series->limit_s; at += series->step_s) {
        int64_t jitter_ns = 0;
        if (!series->is_plain) {
            jitter_ns = bb_random_chance(random, 1, 3)
                            ? (int64_t)bb_random_below(random, 100) * BB_NS_PER_MS - 50000000
                            : 0;
            if (bb_random_chance(random, 1, 700)) {
                at +=
                    (int64_t)bb_random_below(random, 2 * HOUR_S) / series->step_s * series->step_s;
            }
        }
        uint64_t bits[3] = {
            s_number(random, series->is_plain), bb_random_below(random, 1000),
            (uint64_t)(uintptr_t)fixture_text((uint32_t)bb_random_below(random, 5))};
        fixture_add_frame(builder, &batch, series->battery, series->revision,
                          FIXTURE_START_NS + at * BB_NS_PER_S + jitter_ns, metrics, types, bits,
                          series->is_plain ? 1 : 3, false);
    }
    fixture_seal(fixture, builder, NULL, 0, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
}

static void s_settle(fixture_t *fixture)
{
    while (fixture_job(fixture, BB_JOB_FLUSH) == BB_OK) {
    }
    while (fixture_job(fixture, BB_JOB_MERGE) == BB_OK) {
    }
}

static int64_t s_at(int64_t seconds)
{
    return FIXTURE_START_NS + seconds * BB_NS_PER_S;
}

// Goal: whichever level answers, every bucket is that of the definition. Method: dense and sparse
// series with gaps and jitter over the limits of hours, late points, a second revision, points that
// are still in the head; random ranges and widths; with statistics believed and not.
static void test_levels_agree(void **state)
{
    (void)state;
    static const int64_t widths_s[] = {0, HOUR_S, DAY_S, 2 * HOUR_S, HOUR_S / 2, 3 * DAY_S};
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(71);
    s_write(&fixture, &random, &(s_series_t){0, 0, 0, 3 * DAY_S, 20, false});
    s_write(&fixture, &random, &(s_series_t){1, 0, 20 * HOUR_S, 26 * HOUR_S, 1, false});
    s_settle(&fixture);
    s_write(&fixture, &random, &(s_series_t){0, 0, 30 * HOUR_S, 31 * HOUR_S, 35, false}); // late
    s_write(&fixture, &random, &(s_series_t){1, 4, 22 * HOUR_S, 22 * HOUR_S + 900, 2, false});
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    s_write(&fixture, &random, &(s_series_t){0, 0, 70 * HOUR_S, 74 * HOUR_S, 10, false}); // head
    for (uint32_t i = 0; i < 36; i++) {
        bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
        int64_t first_s = (int64_t)bb_random_below(&random, 40 * HOUR_S);
        query.every_ns = widths_s[i % BB_COUNT_OF(widths_s)] * BB_NS_PER_S;
        query.from_wall_ns = s_at(first_s);
        query.to_wall_ns = s_at(first_s + (int64_t)bb_random_below(&random, 50 * HOUR_S));
        query.group_by_none = bb_random_chance(&random, 1, 3);
        query.aggregates = (uint32_t)bb_random_below(&random, BB_AGGREGATE_ALL + 1);
        query.accepts_rows = bb_random_chance(&random, 1, 2);
        fixture.scan_parts = (uint32_t)bb_random_below(&random, 3);
        aggregate_verify(&fixture, &query);
        query.is_decode_forced = true;
        aggregate_verify(&fixture, &query);
    }
    fixture_close(&fixture);
}

static uint64_t s_blocks(fixture_t *fixture, const bb_query_t *query)
{
    fixture_rows_t rows;
    fixture_ask(fixture, query, &rows);
    free(rows.items);
    return rows.blocks_decoded;
}

// Goal: aggregates over long ranges touch little. Method: three settled days at 10 s, 9 blocks
// each; blocks decoded are counted.
static void test_long_ranges_touch_little(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(72);
    for (int64_t day = 0; day < 3; day++) {
        s_write(&fixture, &random, &(s_series_t){0, 0, day * DAY_S, (day + 1) * DAY_S, 10, true});
    }
    s_settle(&fixture);
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    query.aggregates = BB_AGGREGATE_MIN;
    query.from_wall_ns = s_at(0);
    query.to_wall_ns = s_at(3 * DAY_S);
    assert_int_equal(s_blocks(&fixture, &query), 0); // days
    query.every_ns = BB_NS_PER_DAY;
    assert_int_equal(s_blocks(&fixture, &query), 0);
    // A range that begins and ends within an hour: the two blocks that it cuts.
    query.from_wall_ns = s_at(HOUR_S / 2);
    query.to_wall_ns = s_at(3 * DAY_S - HOUR_S / 2);
    assert_int_equal(s_blocks(&fixture, &query), 2);
    query.every_ns = 0;
    assert_int_equal(s_blocks(&fixture, &query), 2);
    query.is_decode_forced = true;
    assert_int_equal(s_blocks(&fixture, &query), 27);
    // A block has 1,024 rows, more than two hours of them: hours cut every block.
    query.is_decode_forced = false;
    query.every_ns = HOUR_S * BB_NS_PER_S;
    assert_int_equal(s_blocks(&fixture, &query), 27);
    fixture_close(&fixture);
}

// Goal: the same where an hour has more rows than a block. Blocks end with the hour, so hours need
// no value, and a range that is cut needs those of one block at each end.
static void test_hours_of_dense_series(void **state)
{
    (void)state;
    fixture_t fixture;
    fixture_open(&fixture, true);
    bb_random_t random = bb_random_seed(73);
    s_write(&fixture, &random, &(s_series_t){0, 0, 0, 6 * HOUR_S, 1, true});
    s_settle(&fixture);
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    query.aggregates = BB_AGGREGATE_MEAN | BB_AGGREGATE_MAX;
    query.every_ns = HOUR_S * BB_NS_PER_S;
    assert_int_equal(s_blocks(&fixture, &query), 0);
    query.from_wall_ns = s_at(HOUR_S / 2);
    query.to_wall_ns = s_at(5 * HOUR_S + HOUR_S / 2);
    assert_int_equal(s_blocks(&fixture, &query), 2);
    aggregate_verify(&fixture, &query);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_agree),
        cmocka_unit_test(test_long_ranges_touch_little),
        cmocka_unit_test(test_hours_of_dense_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

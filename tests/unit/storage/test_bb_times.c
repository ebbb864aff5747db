// SPDX-License-Identifier: Apache-2.0
// Goal: times on a grid cost what is irregular about them and nothing else. Method: grids with
// jitter, gaps, restarts, repeats; sizes from the byte map; any other integers come back or are
// refused.
#include "storage/encoding/bb_times.h"

#include "tests/unit/storage/run_support.h"

#define START INT64_C(1767225600300000000)
#define STEP  (10 * BB_NS_PER_S)
#define COUNT 1024u

static bb_packer_t *s_packer;

// Cuts by arithmetic are those of the decoded times, or there are none. Counts both.
static uint32_t s_sure, s_unsure;

static void s_check_cuts(bb_slice_t encoded, const int64_t *times, uint32_t count)
{
    static bb_times_cuts_t cuts, expected;
    const int64_t widths[] = {1,
                              7 * BB_NS_PER_MS + 1,
                              10 * BB_NS_PER_S,
                              60 * BB_NS_PER_S,
                              300 * BB_NS_PER_S,
                              3600 * BB_NS_PER_S,
                              INT64_MAX};
    for (uint32_t i = 1; i < count; i++) {
        if (times[i] <= times[i - 1]) {
            return;
        }
    }
    for (uint32_t w = 0; times[0] >= 0 && w < BB_COUNT_OF(widths); w++) {
        if (!bb_times_cut(encoded, count, times[0], times[count - 1], widths[w], &cuts)) {
            s_unsure++;
            continue;
        }
        s_sure++;
        bb_times_cut_decoded(times, count, widths[w], &expected);
        assert_int_equal(cuts.count, expected.count);
        assert_memory_equal(cuts.starts, expected.starts, cuts.count * sizeof *cuts.starts);
        assert_memory_equal(cuts.row_limits, expected.row_limits,
                            cuts.count * sizeof *cuts.row_limits);
        assert_int_equal(cuts.row_limits[cuts.count - 1], count);
    }
}

static size_t s_check(const int64_t *times, uint32_t count)
{
    static uint8_t room[BB_TIMES_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    static uint64_t out[BB_BLOCK_ROWS_MAX];
    size_t length = bb_times_encode(s_packer, (const uint64_t *)times, count, room);
    if (length == 0) {
        return 0;
    }
    uint8_t *exact = bb_alloc(length);
    memcpy(exact, room, length);
    assert_true(bb_times_decode(bb_slice(exact, length), count, out));
    assert_memory_equal(out, times, (size_t)count * 8);
    assert_false(bb_times_decode(bb_slice(exact, length - 1), count, out));
    s_check_cuts(bb_slice(exact, length), times, count);
    free(exact);
    return length;
}

// Mode, scale, base in units, step in units, number of gaps: at most this.
#define HEAD 18u

static void test_what_is_irregular_costs(void **context)
{
    (void)context;
    int64_t times[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        times[i] = START + i * STEP;
    }
    assert_in_range(s_check(times, COUNT), 1, HEAD);
    // Missing reports: whole steps.
    for (uint32_t i = 500; i < COUNT; i++) {
        times[i] += 7 * STEP;
    }
    assert_in_range(s_check(times, COUNT), 1, HEAD + 3);
    // A restart: another phase from then on.
    for (uint32_t i = 800; i < COUNT; i++) {
        times[i] += 123 * BB_NS_PER_MS;
    }
    assert_in_range(s_check(times, COUNT), 1, HEAD + 3 + 2 + 3);
    // One row late: a bitmap of 128 bytes would be too much by differences of two rows, but it is
    // all that a grid has.
    times[100] += 40 * BB_NS_PER_MS;
    assert_in_range(s_check(times, COUNT), 1, HEAD + 8 + COUNT / 8 + 8);
}

// Three rows in ten are off by -50..50 ms: a bit a row, and seven for those.
static void test_jitter_costs_where_it_is(void **context)
{
    (void)context;
    int64_t times[COUNT];
    bb_random_t random = bb_random_seed(51);
    uint32_t off = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        int64_t jitter = test_below(&random, 10) < 3 ? (int64_t)test_below(&random, 101) - 50 : 0;
        off += jitter != 0;
        times[i] = START + i * STEP + jitter * BB_NS_PER_MS;
    }
    assert_in_range(s_check(times, COUNT), 1, HEAD + COUNT / 8 + off * 7 / 8 + 16);
}

// Gaps, restarts and jitter, in every phase to the limits of buckets: nearly all is cut by
// arithmetic.
static void test_cuts(void **context)
{
    (void)context;
    int64_t times[COUNT];
    bb_random_t random = bb_random_seed(53);
    s_sure = s_unsure = 0;
    for (uint32_t round = 0; round < 300; round++) {
        int64_t time = START + (int64_t)test_below(&random, 10000) * BB_NS_PER_MS;
        uint32_t count = 1 + test_below(&random, COUNT);
        for (uint32_t i = 0; i < count; i++) {
            bool is_off = round % 3 > 0 && test_below(&random, 10) < 3;
            times[i] = time + (is_off ? (int64_t)test_below(&random, 101) - 50 : 0) * BB_NS_PER_MS;
            time += STEP;
            if (test_below(&random, 200) == 0) {
                time += (int64_t)test_below(&random, 90) * (STEP / (round % 2 ? 1 : 3));
            }
        }
        s_check(times, count);
    }
    // Buckets of 1 ns, 7 ms and 10 s never, or seldom; the wider four nearly always.
    assert_true(s_sure > (s_sure + s_unsure) / 2);
}

static void test_any_times_come_back(void **context)
{
    (void)context;
    static int64_t times[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(52);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t count = 1 + test_below(&random, COUNT);
        if (round % 2) {
            test_times(&random, round % TEST_TIMES_COUNT, times, count);
        } else {
            test_words(&random, round / 2 % TEST_FAMILY_COUNT, false, (uint64_t *)times, count);
        }
        s_check(times, count);
    }
}

// A grid that runs backwards once made the walk overflow.
static void test_backwards(void **context)
{
    (void)context;
    int64_t times[64];
    for (uint32_t i = 0; i < 64; i++) {
        times[i] = -(int64_t)i * (INT64_C(1) << 34) + (i % 5 == 0 ? 12345 : 0);
    }
    s_check(times, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_irregular_costs),
        cmocka_unit_test(test_jitter_costs_where_it_is),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_any_times_come_back),
        cmocka_unit_test(test_backwards),
    };
    s_packer = bb_packer_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bb_packer_destroy(&s_packer);
    return failed;
}

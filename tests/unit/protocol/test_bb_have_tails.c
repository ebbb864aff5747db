// SPDX-License-Identifier: Apache-2.0
// Tails of streams: what was written is read, in few bytes where partitions are alike, and bytes
// that nobody writes are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_have_tails.h"
#include "tests/support/bb_random.h"

static bb_have_tail_t s_tail(uint8_t stream, uint64_t last_seq)
{
    bb_have_tail_t tail = {.last_seq = last_seq};
    memset(tail.stream.bytes, stream, sizeof tail.stream.bytes);
    return tail;
}

static void s_open(bb_have_tails_cursor_t *cursor, const bb_have_tails_t *tails)
{
    bb_slice_t streams = bb_slice(tails->streams, tails->stream_count * sizeof tails->streams[0]);
    assert_int_equal(bb_have_tails_open(cursor, streams, bb_slice(tails->bytes, tails->length)),
                     BB_OK);
}

// Goal: random entries come back in order and in full. Method: the same numbers drawn again.
static void written_is_read(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_have_tails_t tails = {0};
        uint32_t partitions[64], counts[64];
        bb_have_tail_t entries[64][4];
        uint32_t partition = 0;
        for (uint32_t i = 0; i < 64; i++) {
            partition += (uint32_t)bb_random_below(&random, 200);
            partitions[i] = partition++;
            counts[i] = 1 + (uint32_t)bb_random_below(&random, 4);
            for (uint32_t k = 0; k < counts[i]; k++) {
                uint64_t last = bb_random_next(&random) >> bb_random_below(&random, 64);
                entries[i][k] = s_tail((uint8_t)(k + 1), BB_MAX(last, UINT64_C(1)));
            }
            assert_true(bb_have_tails_add(&tails, partitions[i], entries[i], counts[i]));
        }
        assert_int_equal(tails.count, 64);
        bb_have_tails_cursor_t cursor;
        s_open(&cursor, &tails);
        bb_have_tail_t read[BB_HAVE_TAIL_STREAMS_MAX];
        uint32_t found, count;
        for (uint32_t i = 0; i < 64; i++) {
            assert_int_equal(bb_have_tails_next(&cursor, &found, read, &count), BB_OK);
            assert_int_equal(found, partitions[i]);
            assert_int_equal(count, counts[i]);
            for (uint32_t k = 0; k < count; k++) { // streams are found in their order in `streams`
                bool is_there = false;
                for (uint32_t j = 0; j < count; j++) {
                    is_there |= memcmp(&read[k], &entries[i][j], sizeof read[k]) == 0;
                }
                assert_true(is_there);
            }
        }
        assert_int_equal(bb_have_tails_next(&cursor, &found, read, &count), BB_ERR_NOT_FOUND);
        bb_have_tails_clear(&tails);
    }
}

// Goal: partitions that are alike take three bytes each.
static void alike_is_small(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    bb_have_tails_t tails = {0};
    for (uint32_t p = 0; p < 1024; p++) {
        bb_have_tail_t tail = s_tail((uint8_t)(1 + p % 3), 1000000 + bb_random_below(&random, 20));
        assert_true(bb_have_tails_add(&tails, p, &tail, 1));
    }
    assert_in_range(tails.length, 3 * 1024, 3 * 1024 + 20);
    bb_have_tails_clear(&tails);
}

// Goal: streams past what one message has room for are refused and change nothing.
static void streams_are_bounded(void **state)
{
    (void)state;
    bb_have_tails_t tails = {0};
    for (uint32_t i = 0; i + 1 < BB_HAVE_TAIL_STREAMS_MAX; i++) {
        bb_have_tail_t tail = s_tail((uint8_t)(1 + i), 7);
        assert_true(bb_have_tails_add(&tails, i, &tail, 1));
    }
    bb_have_tail_t two[] = {s_tail(200, 1), s_tail(201, 1)};
    size_t length = tails.length;
    assert_false(bb_have_tails_add(&tails, 100, two, 2));
    assert_int_equal(tails.length, length);
    assert_int_equal(tails.stream_count, BB_HAVE_TAIL_STREAMS_MAX - 1);
    assert_true(bb_have_tails_add(&tails, 100, &two[1], 1));
    assert_false(bb_have_tails_add(&tails, 101, &two[0], 1));
    bb_have_tail_t known = s_tail(1, 9);
    assert_true(bb_have_tails_add(&tails, 101, &known, 1));
    bb_have_tails_cursor_t cursor;
    s_open(&cursor, &tails);
    bb_have_tail_t read[BB_HAVE_TAIL_STREAMS_MAX];
    uint32_t partition = 0, count;
    while (bb_have_tails_next(&cursor, &partition, read, &count) == BB_OK) {
        assert_int_equal(count, 1);
    }
    assert_int_equal(partition, 101);
    assert_int_equal(read[0].last_seq, 9);
    bb_have_tails_clear(&tails);
}

static bb_error_t s_read(uint32_t stream_count, const char *bytes, size_t length)
{
    static const uint8_t streams[65 * 16];
    bb_have_tails_cursor_t cursor;
    bb_error_t error =
        bb_have_tails_open(&cursor, bb_slice(streams, stream_count * 16), bb_slice(bytes, length));
    bb_have_tail_t read[BB_HAVE_TAIL_STREAMS_MAX];
    uint32_t partition, count;
    while (error == BB_OK) {
        error = bb_have_tails_next(&cursor, &partition, read, &count);
    }
    return error;
}

// Goal: what _add does not write is refused: numbers that are cut off, too long or not in their
// shortest form, partitions and streams out of range, a seq of 0.
static void corrupt_is_refused(void **state)
{
    (void)state;
    assert_int_equal(s_read(2, "\x00\x03\x02\x04", 4), BB_ERR_NOT_FOUND);
    assert_int_equal(s_read(65, "", 0), BB_ERR_MESSAGE_CORRUPT);
    bb_have_tails_cursor_t cursor;
    assert_int_equal(bb_have_tails_open(&cursor, bb_slice("123", 3), bb_slice("", 0)),
                     BB_ERR_MESSAGE_CORRUPT);
    const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {"\x00\x03\x02", 3},                                      // a seq is missing
        {"\x00", 1},                                              // the mask is
        {"\x00\x00", 2},                                          // no stream
        {"\x00\x04\x02", 3},                                      // the third of two streams
        {"\x00\x01\x00", 3},                                      // seq 0
        {"\x00\x81\x00\x02", 4},                                  // 1 in two bytes
        {"\x80\x80\x01\x01\x02", 5},                              // partition 16,384
        {"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12}, // 65 bits
    };
    for (uint32_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_int_equal(s_read(2, bad[i].bytes, bad[i].length), BB_ERR_MESSAGE_CORRUPT);
    }
    bb_random_t random = bb_random_seed(3);
    for (uint32_t i = 0; i < 20000; i++) { // any bytes end, with one of the two answers
        char bytes[24];
        for (uint32_t k = 0; k < sizeof bytes; k++) {
            bytes[k] = (char)(bb_random_next(&random) >> bb_random_below(&random, 8));
        }
        bb_error_t error = s_read(2, bytes, bb_random_below(&random, sizeof bytes + 1));
        assert_true(error == BB_ERR_NOT_FOUND || error == BB_ERR_MESSAGE_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),
        cmocka_unit_test(alike_is_small),
        cmocka_unit_test(streams_are_bounded),
        cmocka_unit_test(corrupt_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

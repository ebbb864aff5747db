// SPDX-License-Identifier: Apache-2.0
// Goal: a pack gives back every run under its battery, and damage of any byte of its index is an
// error, never another battery's run. Method: random entries, all look-ups against a linear search,
// every flip and truncation, forged checksums.
#include "storage/segment/bb_pack.h"

#include "protocol/bb_crc32c.h"
#include "tests/unit/storage/run_support.h"

#define S_ENTRIES_MAX 60u

typedef struct {
    uint32_t count;
    uint64_t places[S_ENTRIES_MAX];
    uint32_t lengths[S_ENTRIES_MAX];
    uint8_t *bytes; // exact size
    size_t length;
} s_pack_t;

static uint8_t s_byte(uint32_t entry, uint32_t at)
{
    return (uint8_t)(entry * 37 + at * 11 + 1);
}

static void s_make(s_pack_t *self, bb_random_t *random, uint32_t count)
{
    bb_pack_writer_t writer = {0};
    uint8_t run[64];
    uint64_t place = bb_pack_place(test_below(random, 5), test_below(random, 100));
    self->count = count;
    for (uint32_t i = 0; i < count; i++) {
        self->places[i] = place;
        self->lengths[i] = 4 + test_below(random, 60);
        for (uint32_t at = 0; at < self->lengths[i]; at++) {
            run[at] = s_byte(i, at);
        }
        bb_pack_writer_add(&writer, place, bb_slice(run, self->lengths[i]));
        // Repeated batteries, the next one, the next partition.
        place += test_below(random, 3);
        place = test_below(random, 9) == 0 ? ((place >> 32) + 1) << 32 : place;
    }
    self->length = bb_pack_writer_bytes(&writer);
    self->bytes = bb_alloc(self->length);
    bb_pack_writer_finish(&writer, 7, self->places[0] - (self->places[0] > 0), self->bytes);
    assert_int_equal(writer.entry_count, 0);
    bb_pack_writer_free(&writer);
}

static void s_expect_run(const s_pack_t *self, const bb_pack_t *pack, uint32_t i)
{
    bb_slice_t run = bb_pack_entry_run(pack, i);
    assert_int_equal(run.length, (self->lengths[i] + 3) / 4 * 4);
    for (uint32_t at = 0; at < run.length; at++) {
        uint8_t expected = at < self->lengths[i] ? s_byte(i, at) : 0;
        assert_int_equal(((const uint8_t *)run.data)[at], expected);
    }
}

static void test_round_trips(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(41);
    for (uint32_t round = 0; round < 200; round++) {
        s_pack_t made;
        s_make(&made, &random, 1 + test_below(&random, S_ENTRIES_MAX));
        bb_pack_t pack;
        assert_int_equal(bb_pack_open(&pack, bb_slice(made.bytes, made.length), NULL), BB_OK);
        assert_int_equal(pack.seq, 7);
        assert_int_equal(pack.entry_count, made.count);
        for (uint32_t i = 0; i < made.count; i++) {
            assert_int_equal(bb_pack_entry_place(&pack, i), made.places[i]);
            s_expect_run(&made, &pack, i);
            for (uint64_t place = made.places[i] - (made.places[i] > 0);
                 place <= made.places[i] + 1; place++) {
                uint32_t expected = 0;
                while (expected < made.count && made.places[expected] < place) {
                    expected++;
                }
                assert_int_equal(bb_pack_find(&pack, place), expected);
            }
        }
        free(made.bytes);
    }
}

static void test_keys_sort_like_batteries(void **state)
{
    (void)state;
    static const uint64_t places[] = {0, 1, UINT32_MAX, UINT64_C(1) << 32,
                                      UINT64_C(0xffff00000001)};
    uint8_t before[BB_PACK_KEY_BYTES] = {0};
    for (uint32_t i = 0; i < BB_COUNT_OF(places); i++) {
        for (uint32_t seq = i; seq < i + 2; seq++) {
            uint8_t key[BB_PACK_KEY_BYTES];
            uint64_t place;
            uint32_t found;
            bb_pack_key_encode(key, places[i], seq);
            assert_true(i + seq == 0 || memcmp(before, key, sizeof key) < 0);
            assert_true(bb_pack_key_decode(bb_slice(key, sizeof key), &place, &found));
            assert_true(place == places[i] && found == seq);
            memcpy(before, key, sizeof key);
        }
    }
    uint64_t place;
    uint32_t seq;
    assert_false(bb_pack_key_decode(bb_slice(before, 9), &place, &seq));
}

static void test_damage_is_detected(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(42);
    s_pack_t made;
    s_make(&made, &random, 23);
    bb_pack_t pack;
    assert_int_equal(bb_pack_open(&pack, bb_slice(made.bytes, made.length), NULL), BB_OK);
    size_t index_bytes = (size_t)((const uint8_t *)bb_pack_entry_run(&pack, 0).data - made.bytes);
    for (size_t bit = 0; bit < index_bytes * 8; bit++) {
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        bb_error_t error = bb_pack_open(&pack, bb_slice(made.bytes, made.length), NULL);
        assert_int_equal(error, bit / 8 == 3 ? BB_ERR_FORMAT : BB_ERR_CORRUPT);
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t length = 0; length < index_bytes; length++) {
        uint8_t *copy = bb_alloc(length + 1);
        memcpy(copy, made.bytes, length);
        assert_int_equal(bb_pack_open(&pack, bb_slice(copy, length), NULL), BB_ERR_CORRUPT);
        free(copy);
    }
    // With the checksum made right, whatever the index says stays inside.
    uint8_t *copy = bb_alloc(made.length);
    for (uint32_t round = 0; round < 5000; round++) {
        memcpy(copy, made.bytes, made.length);
        for (uint32_t i = 0; i < 1 + round % 3; i++) {
            copy[8 + bb_random_below(&random, index_bytes - 8)] ^=
                (uint8_t)(1u << test_below(&random, 8));
        }
        uint32_t count;
        memcpy(&count, copy + 12, sizeof count);
        size_t covered = 24 + ((size_t)count * 10 + 3) / 4 * 4;
        if (covered > made.length) {
            covered = made.length;
        }
        uint32_t checksum = bb_crc32c(0, copy + 8, covered - 8);
        memcpy(copy + 4, &checksum, sizeof checksum);
        if (bb_pack_open(&pack, bb_slice(copy, made.length), NULL) == BB_OK) {
            for (uint32_t i = 0; i < pack.entry_count; i++) {
                bb_slice_t run = bb_pack_entry_run(&pack, i);
                const uint8_t *begin = run.data;
                assert_true(begin >= copy && begin + run.length <= copy + made.length);
            }
        }
    }
    free(copy);
    free(made.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_keys_sort_like_batteries),
        cmocka_unit_test(test_damage_is_detected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

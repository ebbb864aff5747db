// SPDX-License-Identifier: Apache-2.0
// Damage in the map of rollups: what a look at its opening removes, and what it refuses.
#include "storage/rollup/bb_rollup_map.h"

#include "tests/unit/storage/map_fixture.h"

// One rollup with a floor, two marks, two records.
static map_fixture_t s_map(void)
{
    map_fixture_t map = map_fixture_open();
    bool more;
    bb_slice_t text = bb_slice("what it is", 10);
    assert_int_equal(bb_rollup_map_define(map.kv, map.txn, 5, text), BB_OK);
    assert_int_equal(bb_rollup_map_expire(map.kv, map.txn, 5, 90, 10, &more), BB_OK);
    assert_int_equal(bb_rollup_map_mark(map.kv, map.txn, 5, 100, 3), BB_OK);
    assert_int_equal(bb_rollup_map_mark(map.kv, map.txn, 5, 133, 3), BB_OK);
    assert_int_equal(bb_rollup_map_put(map.kv, map.txn, 5, 3, 7, 100, text), BB_OK);
    assert_int_equal(bb_rollup_map_put(map.kv, map.txn, 5, 3, 8, 100, text), BB_OK);
    return map;
}

// Flips a bit of the key or the value of the entry at `index`; its first byte as it was.
static uint8_t s_flip(map_fixture_t *map, uint32_t index, size_t bit, bool *is_of_key)
{
    uint8_t bytes[64];
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    assert_int_equal(map->kv->cursor(map->txn, &cursor), BB_OK);
    assert_int_equal(map->kv->seek(cursor, bb_slice(NULL, 0), &key, &value), BB_OK);
    for (uint32_t i = 0; i < index; i++) {
        assert_int_equal(map->kv->next(cursor, &key, &value), BB_OK);
    }
    map->kv->cursor_close(&cursor);
    size_t key_length = key.length;
    size_t length = value.length;
    memcpy(bytes, key.data, key_length);
    memcpy(bytes + key_length, value.data, length);
    uint8_t first = bytes[0];
    assert_int_equal(map->kv->remove(map->txn, bb_slice(bytes, key_length)), BB_OK);
    bit %= 8 * (key_length + length);
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    *is_of_key = bit / 8 < key_length;
    bb_slice_t changed = bb_slice(bytes, key_length);
    assert_int_equal(map->kv->put(map->txn, changed, bb_slice(bytes + key_length, length)), BB_OK);
    return first;
}

static bool s_count_mark(void *context, uint32_t day, uint32_t partition)
{
    (void)day;
    (void)partition;
    ++*(uint32_t *)context;
    return true;
}

// Goal: one flipped bit anywhere is refused (definitions, floors), removed and counted (marks), or
// left to whoever reads it (records), and a sound map passes untouched.
static void test_each_flipped_bit(void **state)
{
    (void)state;
    for (uint32_t index = 0; index < 6; index++) {
        for (size_t bit = 0; bit < 8 * 27; bit++) {
            map_fixture_t map = s_map();
            uint32_t removed_count = 9;
            assert_int_equal(bb_rollup_map_check(map.kv, map.txn, &removed_count), BB_OK);
            assert_int_equal(removed_count, 0);
            bool is_of_key;
            uint8_t first = s_flip(&map, index, bit, &is_of_key);
            bb_error_t error = bb_rollup_map_check(map.kv, map.txn, &removed_count);
            if (first == 'D' || first == 'E') {
                assert_int_equal(error, BB_ERR_CORRUPT);
            } else if (first == 'M') {
                uint32_t mark_count = 0;
                assert_int_equal(error, BB_OK);
                assert_int_equal(bb_rollup_map_marks(map.kv, map.txn, 5, 0, UINT32_MAX,
                                                     s_count_mark, &mark_count),
                                 BB_OK);
                assert_int_equal(removed_count, 1);
                assert_int_equal(mark_count, 1);
            } else {
                bb_slice_t found;
                uint32_t battery = index == 4 ? 7 : 8;
                assert_int_equal(error, BB_OK);
                error = bb_rollup_map_get(map.kv, map.txn, 5, 3, battery, 100, &found);
                assert_int_equal(error, is_of_key ? BB_ERR_NOT_FOUND : BB_ERR_CORRUPT);
            }
            map_fixture_close(&map);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_flipped_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

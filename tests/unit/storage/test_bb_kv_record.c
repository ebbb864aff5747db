// SPDX-License-Identifier: Apache-2.0
// Values with checksums: what is written is read, what changed is seen, what vanished is missed.
#include "storage/kv/bb_kv_record.h"

#include "tests/unit/storage/map_fixture.h"

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

// Goal: the bytes are those of the format: the value, then CRC-32C over key and value. Method: the
// checksum of "123456789", cut anywhere into key and value, is the check value of CRC-32C.
static void test_bytes_are_those_of_the_format(void **state)
{
    (void)state;
    map_fixture_t map = map_fixture_open();
    const char *digits = "123456789";
    for (size_t cut = 1; cut <= 9; cut++) {
        bb_slice_t key = bb_slice(digits, cut);
        bb_slice_t found;
        uint32_t sum;
        assert_int_equal(bb_kv_record_put(map.kv, map.txn, key, bb_slice(digits + cut, 9 - cut)),
                         BB_OK);
        assert_int_equal(map.kv->get(map.txn, key, &found), BB_OK);
        assert_int_equal(found.length, 9 - cut + BB_KV_RECORD_SUM_BYTES);
        assert_memory_equal(found.data, digits + cut, 9 - cut);
        memcpy(&sum, (const char *)found.data + 9 - cut, sizeof sum);
        assert_int_equal(sum, 0xe3069283);
        assert_int_equal(bb_kv_record_get(map.kv, map.txn, key, &found), BB_OK);
        assert_int_equal(found.length, 9 - cut);
    }
    bb_slice_t found;
    assert_int_equal(bb_kv_record_get(map.kv, map.txn, s_text("x"), &found), BB_ERR_NOT_FOUND);
    map_fixture_close(&map);
}

// Goal: each flipped bit of a key, a value or a checksum is seen, and so is a value that is cut
// short or lies under another key.
static void test_every_flipped_bit_is_seen(void **state)
{
    (void)state;
    map_fixture_t map = map_fixture_open();
    bb_slice_t stored;
    bb_slice_t value;
    assert_int_equal(bb_kv_record_put(map.kv, map.txn, s_text("key"), s_text("a value")), BB_OK);
    assert_int_equal(map.kv->get(map.txn, s_text("key"), &stored), BB_OK);
    uint8_t bytes[32] = "key";
    memcpy(bytes + 3, stored.data, stored.length);
    for (size_t bit = 0; bit < 8 * (3 + stored.length); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(
            bb_kv_record_open(bb_slice(bytes, 3), bb_slice(bytes + 3, stored.length), &value),
            BB_ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t length = 0; length < stored.length; length++) {
        assert_int_equal(bb_kv_record_open(bb_slice(bytes, 3), bb_slice(bytes + 3, length), &value),
                         BB_ERR_CORRUPT);
    }
    assert_int_equal(
        bb_kv_record_open(bb_slice(bytes, 3), bb_slice(bytes + 3, stored.length), &value), BB_OK);
    assert_int_equal(bb_kv_record_open(bb_slice("kez", 3), stored, &value), BB_ERR_CORRUPT);
    map_fixture_close(&map);
}

static bb_error_t s_count(void *context, bb_slice_t key, bb_slice_t record, bb_fault_t *fault)
{
    (void)key;
    (void)record;
    (void)fault;
    return ++*(uint32_t *)context == 7 ? BB_ERR_LIMIT : BB_OK;
}

static uint64_t s_one_more(bb_kv_txn_t *txn)
{
    (void)txn;
    return 4;
}

static bb_error_t s_next_is_first(bb_kv_cursor_t *cursor, bb_slice_t *key, bb_slice_t *value)
{
    (void)cursor;
    *key = s_text("a");
    *value = s_text("");
    return BB_OK;
}

// Goal: a walk meets all, ends with the visitor's error, and names what vanished or lies in a wrong
// place. Method: a driver that counts one more, and one whose cursor goes back for ever.
static void test_walk_misses_what_vanished(void **state)
{
    (void)state;
    map_fixture_t map = map_fixture_open();
    uint32_t count = 0;
    assert_int_equal(bb_kv_walk(map.kv, map.txn, s_count, &count, NULL), BB_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bb_kv_record_put(map.kv, map.txn, s_text("a"), s_text("1")), BB_OK);
    assert_int_equal(bb_kv_record_put(map.kv, map.txn, s_text("b"), s_text("")), BB_OK);
    assert_int_equal(bb_kv_record_put(map.kv, map.txn, s_text("ba"), s_text("3")), BB_OK);
    assert_int_equal(bb_kv_walk(map.kv, map.txn, s_count, &count, NULL), BB_OK);
    assert_int_equal(count, 3);
    bb_fault_t fault = {0};
    bb_kv_driver_t more = *map.kv;
    more.entry_count = s_one_more;
    assert_int_equal(bb_kv_walk(&more, map.txn, s_count, &count, &fault), BB_ERR_CORRUPT);
    assert_non_null(strstr(fault.text, "3 entries"));
    assert_int_equal(count, 6);
    bb_kv_driver_t back = *map.kv;
    back.next = s_next_is_first;
    count = 100;
    assert_int_equal(bb_kv_walk(&back, map.txn, s_count, &count, &fault), BB_ERR_CORRUPT);
    assert_non_null(strstr(fault.text, "ascend"));
    count = 6;
    assert_int_equal(bb_kv_walk(map.kv, map.txn, s_count, &count, NULL), BB_ERR_LIMIT);
    map_fixture_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_those_of_the_format),
        cmocka_unit_test(test_every_flipped_bit_is_seen),
        cmocka_unit_test(test_walk_misses_what_vanished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

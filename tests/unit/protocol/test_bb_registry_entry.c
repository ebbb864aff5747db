// SPDX-License-Identifier: Apache-2.0
// Tests of protocol/bb_registry_entry: which value is the later one, and hashes of them.
#include "protocol/bb_registry_entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bb_registry_entry_t s_entry(const char *key, uint64_t number, const char *payload)
{
    return (bb_registry_entry_t){.kind = BB_REGISTRY_BOOT,
                                 .key = bb_slice(key, strlen(key)),
                                 .number = number,
                                 .payload = bb_slice(payload, strlen(payload))};
}

// Goal: numbers decide, then payloads as bytes, a longer one after its beginning: a total order.
static void s_test_order(void **state)
{
    (void)state;
    const bb_registry_entry_t ascending[] = {
        s_entry("n", 1, ""),  s_entry("n", 1, "a"), s_entry("n", 1, "ab"),
        s_entry("n", 1, "b"), s_entry("n", 2, ""),  s_entry("n", UINT64_MAX, "a"),
    };
    for (size_t i = 0; i < BB_COUNT_OF(ascending); i++) {
        for (size_t j = 0; j < BB_COUNT_OF(ascending); j++) {
            int order = bb_registry_entry_compare(&ascending[i], &ascending[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
}

// Goal: every range is checked.
static void s_test_valid(void **state)
{
    (void)state;
    uint8_t long_bytes[BB_REGISTRY_KEY_BYTES_MAX + 1] = {1};
    bb_registry_entry_t entry = s_entry("n1", 1, "");
    assert_true(bb_registry_entry_is_valid(&entry));
    entry.kind = (bb_registry_kind_t)0;
    assert_false(bb_registry_entry_is_valid(&entry));
    entry.kind = (bb_registry_kind_t)(BB_REGISTRY_EPOCH + 1);
    assert_false(bb_registry_entry_is_valid(&entry));
    entry = s_entry("n1", 0, "");
    assert_false(bb_registry_entry_is_valid(&entry));
    entry = s_entry("n1", UINT64_MAX, "");
    assert_true(bb_registry_entry_is_valid(&entry));
    entry.kind = BB_REGISTRY_FORGOTTEN; // no start has a larger number than its stream can say
    assert_false(bb_registry_entry_is_valid(&entry));
    entry.number = (uint64_t)UINT32_MAX + 1;
    assert_false(bb_registry_entry_is_valid(&entry));
    entry.number--;
    assert_true(bb_registry_entry_is_valid(&entry));
    entry = s_entry("", 1, "");
    assert_false(bb_registry_entry_is_valid(&entry));
    entry = s_entry("n1", 1, "");
    entry.key = bb_slice(long_bytes, BB_REGISTRY_KEY_BYTES_MAX);
    entry.payload = bb_slice(long_bytes, BB_REGISTRY_PAYLOAD_BYTES_MAX);
    assert_true(bb_registry_entry_is_valid(&entry));
    entry.key.length++;
    assert_false(bb_registry_entry_is_valid(&entry));
    entry.key.length--;
    entry.payload.length++;
    assert_false(bb_registry_entry_is_valid(&entry));
}

// Goal: the key's hash knows kind and key only, the entry's all fields, and where one ends.
static void s_test_hash(void **state)
{
    (void)state;
    bb_registry_entry_t a = s_entry("n1", 1, "x"), b = s_entry("n1", 2, "y");
    assert_true(bb_registry_entry_is_same_key(&a, &b));
    assert_true(bb_registry_entry_key_hash(&a) == bb_registry_entry_key_hash(&b));
    assert_false(bb_registry_entry_hash(&a) == bb_registry_entry_hash(&b));
    b.number = 1;
    assert_false(bb_registry_entry_hash(&a) == bb_registry_entry_hash(&b));
    b.payload = a.payload;
    assert_true(bb_registry_entry_hash(&a) == bb_registry_entry_hash(&b));
    b.kind = BB_REGISTRY_FORGOTTEN;
    assert_false(bb_registry_entry_is_same_key(&a, &b));
    assert_false(bb_registry_entry_key_hash(&a) == bb_registry_entry_key_hash(&b));
    // A number's bytes are no part of a key: "n" with a number that begins like "1...".
    bb_registry_entry_t c = s_entry("n", 0x31, "");
    bb_registry_entry_t d = s_entry("n1", 1, "");
    assert_false(bb_registry_entry_hash(&c) == bb_registry_entry_hash(&d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_order),
        cmocka_unit_test(s_test_valid),
        cmocka_unit_test(s_test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

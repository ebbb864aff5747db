// SPDX-License-Identifier: Apache-2.0
// Goal: busbar.store is read back as it was written, and no other bytes are taken for one. Method:
// every prefix, every flipped bit, and each field changed against what is wanted.
#include "storage/bb_store_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bb_store_identity_t s_identity(void)
{
    bb_store_identity_t identity = {.format = BB_STORE_FORMAT,
                                    .cluster_id = {1, 2, 3},
                                    .store_index = 1,
                                    .store_count = 2,
                                    .partition_count = 1024,
                                    .node_id = "n1"};
    return identity;
}

static void s_test_round_trip(void **state)
{
    (void)state;
    bb_store_identity_t identity = s_identity();
    memset(identity.node_id, 'n', BB_NODE_ID_BYTES_MAX);
    uint8_t bytes[BB_STORE_IDENTITY_BYTES];
    bb_store_identity_encode(&identity, bytes);
    bb_store_identity_t again;
    assert_int_equal(bb_store_identity_decode(bb_slice(bytes, sizeof bytes), &again), BB_OK);
    assert_int_equal(again.store_count, 2);
    assert_string_equal(again.node_id, identity.node_id);
    uint8_t twice[BB_STORE_IDENTITY_BYTES];
    bb_store_identity_encode(&again, twice);
    assert_memory_equal(twice, bytes, sizeof bytes);
    assert_int_equal(bb_store_identity_check(&again, &identity, "x", NULL), BB_OK);
}

static void s_test_damage(void **state)
{
    (void)state;
    bb_store_identity_t identity = s_identity();
    bb_store_identity_t again;
    uint8_t bytes[BB_STORE_IDENTITY_BYTES];
    bb_store_identity_encode(&identity, bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(bb_store_identity_decode(bb_slice(bytes, i), &again), BB_ERR_CORRUPT);
        for (uint32_t bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(bb_store_identity_decode(bb_slice(bytes, sizeof bytes), &again),
                             BB_ERR_CORRUPT);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
}

static void s_expect(bb_store_identity_t found, bb_error_t error, const char *word)
{
    bb_store_identity_t wanted = s_identity();
    bb_fault_t fault = {0};
    assert_int_equal(bb_store_identity_check(&found, &wanted, "dir/busbar.store", &fault), error);
    assert_non_null(strstr(fault.text, "dir/busbar.store"));
    assert_non_null(strstr(fault.text, word));
    assert_int_not_equal(bb_store_identity_owner(&found), bb_store_identity_owner(&wanted));
}

// Goal: each way to be another store is refused by name, and its journals are bound to it.
static void s_test_foreign(void **state)
{
    (void)state;
    bb_store_identity_t found = s_identity();
    found.format++;
    s_expect(found, BB_ERR_FORMAT, "format");
    found = s_identity();
    found.cluster_id[15] = 9;
    s_expect(found, BB_ERR_FOREIGN, "another cluster");
    found = s_identity();
    strcpy(found.node_id, "n2");
    s_expect(found, BB_ERR_FOREIGN, "node 'n2', not 'n1'");
    found = s_identity();
    found.store_index = 0;
    s_expect(found, BB_ERR_FOREIGN, "store 0 of 2");
    found = s_identity();
    found.partition_count = 64;
    s_expect(found, BB_ERR_FOREIGN, "64 partitions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_round_trip),
        cmocka_unit_test(s_test_damage),
        cmocka_unit_test(s_test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

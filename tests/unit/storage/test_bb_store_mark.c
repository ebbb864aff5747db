// SPDX-License-Identifier: Apache-2.0
// Tests of storage/bb_store_mark: its bytes, every damage, and a crash at every operation.
#include "storage/bb_store_mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_sim_disk.h"

#define S_FILE "/store/" BB_STORE_MARK_FILE

static void s_bytes(bb_vfs_t *vfs, uint8_t bytes[BB_STORE_MARK_BYTES], bool writes)
{
    bb_file_t *file = NULL;
    size_t got = BB_STORE_MARK_BYTES;
    assert_int_equal(vfs->open(vfs, S_FILE, BB_FILE_WRITE, &file, NULL), BB_OK);
    if (writes) {
        const struct iovec piece = {bytes, BB_STORE_MARK_BYTES};
        assert_int_equal(vfs->write_at(vfs, file, 0, &piece, 1), BB_OK);
    } else {
        assert_int_equal(vfs->read_at(vfs, file, 0, bytes, BB_STORE_MARK_BYTES, &got), BB_OK);
    }
    assert_int_equal(got, BB_STORE_MARK_BYTES);
    vfs->close(vfs, &file);
}

// Goal: the file holds the bytes that the header says, and each flipped bit is seen.
static void test_bytes(void **state)
{
    (void)state;
    static const uint8_t expected[BB_STORE_MARK_BYTES] = {
        'B', 'B', 'M', 'K', 1, 0, 0, 0, 7, 0, 0, 0, 3,    1,    0,    0,
        0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x00};
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    assert_int_equal(vfs->make_directory(vfs, "/store"), BB_OK);
    bb_store_mark_t mark = {9, 9};
    assert_int_equal(bb_store_mark_read(vfs, "/store", &mark), BB_ERR_NOT_FOUND);
    assert_int_equal(bb_store_mark_write(vfs, "/store", (bb_store_mark_t){7, 259}), BB_OK);
    uint8_t bytes[BB_STORE_MARK_BYTES];
    s_bytes(vfs, bytes, false);
    assert_memory_equal(bytes, expected, BB_STORE_MARK_BYTES - 4);
    for (size_t bit = 0; bit < 8 * BB_STORE_MARK_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        s_bytes(vfs, bytes, true);
        assert_int_equal(bb_store_mark_read(vfs, "/store", &mark), BB_ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    s_bytes(vfs, bytes, true);
    assert_int_equal(bb_store_mark_read(vfs, "/store", &mark), BB_OK);
    assert_int_equal(mark.boot, 7);
    assert_int_equal(mark.mark, 259);
    bb_sim_disk_destroy(&disk);
}

static void test_order(void **state)
{
    (void)state;
    const bb_store_mark_t low = {1, 9}, middle = {2, 0}, high = {2, 1};
    assert_true(bb_store_mark_is_before(low, middle));
    assert_true(bb_store_mark_is_before(middle, high));
    assert_false(bb_store_mark_is_before(middle, low));
    assert_false(bb_store_mark_is_before(high, high));
}

// Goal: whatever operation the power goes at, the mark before or the new one is there; the new one
// once the call has returned.
static void test_crash(void **state)
{
    (void)state;
    uint32_t new_count = 0, old_count = 0;
    for (uint64_t operation = 1; operation <= 12; operation++) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
            bb_random_t random = bb_random_seed(seed);
            assert_int_equal(vfs->make_directory(vfs, "/store"), BB_OK);
            assert_int_equal(bb_store_mark_write(vfs, "/store", (bb_store_mark_t){1, 1}), BB_OK);
            bb_sim_disk_halt_at(disk, operation);
            bb_error_t error = bb_store_mark_write(vfs, "/store", (bb_store_mark_t){1, 2});
            bb_sim_disk_crash(disk, &random);
            bb_store_mark_t mark = {0};
            assert_int_equal(bb_store_mark_read(vfs, "/store", &mark), BB_OK);
            assert_int_equal(mark.boot, 1);
            assert_in_range(mark.mark, error == BB_OK ? 2 : 1, 2);
            new_count += mark.mark == 2;
            old_count += mark.mark == 1;
            bb_sim_disk_destroy(&disk);
        }
    }
    assert_true(new_count > 0 && old_count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// The simulated disk itself: what was synced is always there after a crash, what was not is there
// in any allowed part, faults come exactly when asked for, and a seed repeats everything. (That it
// keeps the contract of a file system while nothing fails is test_bb_file's subject.)
#include "tests/support/bb_sim_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

enum { S_SEEDS = 400 };

static bb_file_t *s_open(bb_vfs_t *vfs, const char *path)
{
    bb_file_t *file = NULL;
    assert_int_equal(vfs->open(vfs, path, BB_FILE_WRITE, &file, NULL), BB_OK);
    return file;
}

static bb_error_t s_fill(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset, uint8_t byte,
                         size_t length)
{
    uint8_t *bytes = malloc(length);
    memset(bytes, byte, length);
    struct iovec piece = {bytes, length};
    bb_error_t error = vfs->write_at(vfs, file, offset, &piece, 1);
    free(bytes);
    return error;
}

// Counts bytes equal to `byte` in [first, limit) of a file.
static size_t s_count(bb_slice_t content, size_t first, size_t limit, uint8_t byte)
{
    size_t count = 0;
    for (size_t i = first; i < limit && i < content.length; i++) {
        count += ((const uint8_t *)content.data)[i] == byte;
    }
    return count;
}

// Goal: a crash keeps every synced byte, and of the rest whole sectors only; over many seeds it
// keeps all, nothing, and proper parts. Method: 2,000 synced bytes 'a', then 3,000 'b' from 1,500.
static void s_test_crash_keeps_synced(void **state)
{
    (void)state;
    int none = 0;
    int all = 0;
    int part = 0;
    for (uint64_t seed = 0; seed < S_SEEDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
        bb_file_t *file = s_open(vfs, "/f");
        assert_int_equal(s_fill(vfs, file, 0, 'a', 2000), BB_OK);
        assert_int_equal(vfs->sync(vfs, file), BB_OK);
        assert_int_equal(s_fill(vfs, file, 1500, 'b', 3000), BB_OK);
        bb_sim_disk_crash(disk, &random);
        bb_slice_t content = bb_sim_disk_get(disk, "/f");
        assert_true(content.length >= 2000 && content.length <= 4500);
        assert_int_equal(s_count(content, 0, 1500, 'a'), 1500);
        size_t fresh = s_count(content, 1500, 4500, 'b');
        none += fresh == 0;
        all += fresh == 3000;
        part += fresh > 0 && fresh < 3000;
        for (size_t sector = 3; sector <= 8; sector++) {
            size_t first = BB_MAX(sector * 512, (size_t)1500);
            size_t limit = BB_MIN((sector + 1) * 512, (size_t)4500);
            if (limit > content.length) {
                continue;
            }
            size_t there = s_count(content, first, limit, 'b');
            assert_true(there == 0 || there == limit - first); // a sector is never torn
        }
        vfs->close(vfs, &file);
        bb_sim_disk_destroy(&disk);
    }
    assert_true(none > 20 && all > 20 && part > 20);
}

static void s_test_crash_truncate(void **state)
{
    (void)state;
    int cut = 0;
    for (uint64_t seed = 0; seed < S_SEEDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
        bb_sim_disk_put(disk, "/d/f", bb_slice("0123456789", 10));
        bb_file_t *file = s_open(vfs, "/d/f");
        assert_int_equal(vfs->truncate(vfs, file, 4), BB_OK);
        assert_int_equal(bb_sim_disk_get(disk, "/d/f").length, 4);
        bb_sim_disk_crash(disk, &random);
        size_t length = bb_sim_disk_get(disk, "/d/f").length;
        assert_true(length == 4 || length == 10);
        cut += length == 4;
        vfs->close(vfs, &file);
        bb_sim_disk_destroy(&disk);
    }
    assert_true(cut > S_SEEDS / 10 && cut < S_SEEDS * 9 / 10);
}

// Goal: names survive as a prefix of what was done to them; a directory sync makes them durable.
// Method: create a, rename a to b, create c; the states allowed after a crash are the four
// prefixes.
static void s_test_crash_names(void **state)
{
    (void)state;
    int seen[4] = {0};
    for (uint64_t seed = 0; seed < S_SEEDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
        assert_int_equal(vfs->make_directory(vfs, "/d"), BB_OK);
        assert_int_equal(vfs->sync_directory(vfs, "/"), BB_OK);
        bb_file_t *file = s_open(vfs, "/d/a");
        vfs->close(vfs, &file);
        assert_int_equal(vfs->rename(vfs, "/d/a", "/d/b"), BB_OK);
        file = s_open(vfs, "/d/c");
        vfs->close(vfs, &file);
        bool synced = seed % 2 == 0;
        if (synced) {
            assert_int_equal(vfs->sync_directory(vfs, "/d"), BB_OK);
        }
        bb_sim_disk_crash(disk, &random);
        bool a = bb_sim_disk_exists(disk, "/d/a");
        bool b = bb_sim_disk_exists(disk, "/d/b");
        bool c = bb_sim_disk_exists(disk, "/d/c");
        int prefix = c ? 3 : b ? 2 : a ? 1 : 0;
        assert_true(bb_sim_disk_exists(disk, "/d"));
        assert_int_equal(a, prefix == 1);
        assert_int_equal(b, prefix >= 2);
        assert_true(!synced || prefix == 3);
        seen[prefix]++;
        bb_sim_disk_destroy(&disk);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

// Goal: an undone removal or replacement brings the content back, with the folders around it.
static void s_test_crash_removals(void **state)
{
    (void)state;
    int back = 0;
    int partly = 0;
    for (uint64_t seed = 0; seed < S_SEEDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
        bb_sim_disk_put(disk, "/t/x/one", bb_slice("1", 1));
        bb_sim_disk_put(disk, "/t/two", bb_slice("22", 2));
        bb_sim_disk_put(disk, "/new", bb_slice("new", 3));
        bb_sim_disk_put(disk, "/old", bb_slice("oldest", 6));
        assert_int_equal(vfs->remove_tree(vfs, "/t"), BB_OK);
        assert_int_equal(vfs->rename(vfs, "/new", "/old"), BB_OK);
        assert_false(bb_sim_disk_exists(disk, "/t/x/one"));
        assert_int_equal(bb_sim_disk_get(disk, "/old").length, 3);
        bb_sim_disk_crash(disk, &random);
        bool one = bb_sim_disk_exists(disk, "/t/x/one");
        if (one) {
            assert_true(bb_sim_disk_exists(disk, "/t/x")); // never without its folder
            assert_memory_equal(bb_sim_disk_get(disk, "/t/x/one").data, "1", 1);
        }
        bool renamed = !bb_sim_disk_exists(disk, "/new");
        assert_int_equal(bb_sim_disk_get(disk, "/old").length, renamed ? 3 : 6);
        assert_true(!renamed || !bb_sim_disk_exists(disk, "/t")); // the order is kept
        back += one && bb_sim_disk_exists(disk, "/t/two");
        partly += bb_sim_disk_exists(disk, "/t") && !(one && bb_sim_disk_exists(disk, "/t/two"));
        bb_sim_disk_destroy(&disk);
    }
    assert_true(back > 0 && partly > 0);
}

// Goal: writes under a failed sync are not rescued by a later one that succeeds, and a later write
// over them still wins. Method: 'a' under a failed sync, half of it covered by a synced 'b'.
static void s_test_failed_sync(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < S_SEEDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
        bb_file_t *file = s_open(vfs, "/f");
        assert_int_equal(s_fill(vfs, file, 0, 'a', 1024), BB_OK);
        bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
        assert_int_equal(vfs->sync(vfs, file), BB_ERR_IO);
        assert_int_equal(s_fill(vfs, file, 512, 'b', 1024), BB_OK);
        assert_int_equal(vfs->sync(vfs, file), BB_OK);
        bb_sim_disk_crash(disk, &random);
        bb_slice_t content = bb_sim_disk_get(disk, "/f");
        assert_int_equal(content.length, 1536);
        assert_int_equal(s_count(content, 512, 1536, 'b'), 1024);
        lost += s_count(content, 0, 512, 'a') == 0;
        vfs->close(vfs, &file);
        bb_sim_disk_destroy(&disk);
    }
    assert_true(lost > S_SEEDS / 10);
}

static void s_test_dead_handles(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(1);
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_sim_disk_put(disk, "f", bb_slice("x", 1));
    bb_file_t *file = s_open(vfs, "f");
    assert_int_equal(vfs->lock(vfs, file), BB_OK);
    bb_sim_disk_crash(disk, &random);
    char byte;
    size_t got;
    uint64_t size;
    assert_int_equal(vfs->read_at(vfs, file, 0, &byte, 1, &got), BB_ERR_IO);
    assert_int_equal(vfs->size(vfs, file, &size), BB_ERR_IO);
    assert_int_equal(s_fill(vfs, file, 0, 'y', 1), BB_ERR_IO);
    assert_int_equal(vfs->sync(vfs, file), BB_ERR_IO);
    bb_file_t *fresh = s_open(vfs, "f");
    assert_int_equal(vfs->lock(vfs, fresh), BB_OK); // the dead process holds nothing
    vfs->close(vfs, &file);
    bb_file_t *other = s_open(vfs, "f");
    assert_int_equal(vfs->lock(vfs, other), BB_ERR_LOCKED);
    assert_memory_equal(bb_sim_disk_get(disk, "f").data, "x", 1);
    vfs->close(vfs, &fresh);
    vfs->close(vfs, &other);
    bb_sim_disk_destroy(&disk);
}

static void s_test_faults_by_count(void **state)
{
    (void)state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_file_t *file = s_open(vfs, "/f");
    bb_sim_disk_fail(disk, BB_SIM_WRITE, 3, BB_ERR_IO);
    bb_sim_disk_fail(disk, BB_SIM_READ, 1, BB_ERR_CORRUPT);
    uint64_t before = bb_sim_disk_op_count(disk, BB_SIM_WRITE);
    assert_int_equal(s_fill(vfs, file, 0, 'a', 10), BB_OK);
    assert_int_equal(s_fill(vfs, file, 10, 'a', 10), BB_OK);
    assert_int_equal(s_fill(vfs, file, 20, 'a', 10), BB_ERR_IO);
    assert_int_equal(s_fill(vfs, file, 20, 'a', 10), BB_OK);
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_WRITE) - before, 4);
    uint64_t size = 0;
    assert_int_equal(vfs->size(vfs, file, &size), BB_ERR_CORRUPT);
    assert_int_equal(vfs->size(vfs, file, &size), BB_OK);
    assert_int_equal(size, 30);
    // From the second operation on, everything is dead.
    bb_sim_disk_halt_at(disk, 2);
    assert_int_equal(vfs->size(vfs, file, &size), BB_OK);
    assert_false(bb_sim_disk_is_halted(disk));
    assert_int_equal(vfs->sync(vfs, file), BB_ERR_IO);
    assert_true(bb_sim_disk_is_halted(disk));
    assert_int_equal(vfs->make_directory(vfs, "/d"), BB_ERR_IO);
    bb_file_t *other = NULL;
    assert_int_equal(vfs->open(vfs, "/g", BB_FILE_WRITE, &other, NULL), BB_ERR_IO);
    assert_false(bb_sim_disk_exists(disk, "/g"));
    bb_random_t random = bb_random_seed(3);
    bb_sim_disk_crash(disk, &random);
    assert_int_equal(vfs->make_directory(vfs, "/d"), BB_OK);
    vfs->close(vfs, &file);
    bb_sim_disk_destroy(&disk);
}

static void s_test_faults_by_seed(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(5);
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_file_t *file = s_open(vfs, "/f");
    bb_sim_disk_fail_randomly(disk, BB_SIM_SYNC, &random, 250000);
    int failed = 0;
    for (int i = 0; i < 1000; i++) {
        failed += vfs->sync(vfs, file) != BB_OK;
    }
    assert_in_range(failed, 180, 320); // a quarter
    bb_sim_disk_fail_randomly(disk, BB_SIM_SYNC, NULL, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(vfs->sync(vfs, file), BB_OK);
    }
    vfs->close(vfs, &file);
    bb_sim_disk_destroy(&disk);
}

static void s_test_capacity(void **state)
{
    (void)state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_file_t *file = s_open(vfs, "/f");
    bb_sim_disk_capacity_set(disk, 100);
    assert_int_equal(s_fill(vfs, file, 0, 'a', 60), BB_OK);
    assert_int_equal(s_fill(vfs, file, 60, 'b', 60), BB_ERR_DISK_FULL);
    assert_int_equal(bb_sim_disk_used_bytes(disk), 100);     // what fitted
    assert_int_equal(s_fill(vfs, file, 0, 'c', 100), BB_OK); // overwriting needs no room
    assert_int_equal(vfs->truncate(vfs, file, 10), BB_OK);
    assert_int_equal(s_fill(vfs, file, 10, 'd', 90), BB_OK);
    assert_int_equal(s_fill(vfs, file, 100, 'd', 1), BB_ERR_DISK_FULL);
    vfs->close(vfs, &file);
    assert_int_equal(vfs->remove(vfs, "/f"), BB_OK);
    assert_int_equal(bb_sim_disk_used_bytes(disk), 0);
    bb_sim_disk_destroy(&disk);
}

static void s_test_flip(void **state)
{
    (void)state;
    bb_random_t random = bb_random_seed(9);
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_put(disk, "/f", bb_slice("abc", 3));
    assert_true(bb_sim_disk_flip(disk, "/f", 1, 0x20));
    assert_false(bb_sim_disk_flip(disk, "/f", 3, 1));
    assert_false(bb_sim_disk_flip(disk, "/g", 0, 1));
    assert_memory_equal(bb_sim_disk_get(disk, "/f").data, "aBc", 3);
    bb_sim_disk_crash(disk, &random); // it is damage, not a write: it stays
    assert_memory_equal(bb_sim_disk_get(disk, "/f").data, "aBc", 3);
    bb_sim_disk_destroy(&disk);
}

// Goal: the same seed leaves the same bytes.
static void s_test_repeats(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        bb_sim_disk_t *disks[2];
        for (int i = 0; i < 2; i++) {
            bb_random_t random = bb_random_seed(seed);
            disks[i] = bb_sim_disk_new();
            bb_vfs_t *vfs = bb_sim_disk_vfs(disks[i]);
            for (int j = 0; j < 5; j++) {
                char path[16];
                snprintf(path, sizeof path, "/f%d", j);
                bb_file_t *file = s_open(vfs, path);
                assert_int_equal(s_fill(vfs, file, 0, (uint8_t)('a' + j), 5000), BB_OK);
                assert_int_equal(j % 2 ? vfs->sync(vfs, file) : BB_OK, BB_OK);
                assert_int_equal(s_fill(vfs, file, 3000, 'z', 5000), BB_OK);
                vfs->close(vfs, &file);
            }
            bb_sim_disk_crash(disks[i], &random);
        }
        for (int j = 0; j < 5; j++) {
            char path[16];
            snprintf(path, sizeof path, "/f%d", j);
            bb_slice_t a = bb_sim_disk_get(disks[0], path);
            bb_slice_t b = bb_sim_disk_get(disks[1], path);
            assert_int_equal(bb_sim_disk_exists(disks[0], path),
                             bb_sim_disk_exists(disks[1], path));
            assert_int_equal(a.length, b.length);
            assert_true(a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
        }
        bb_sim_disk_destroy(&disks[0]);
        bb_sim_disk_destroy(&disks[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_crash_keeps_synced),
        cmocka_unit_test(s_test_crash_truncate),
        cmocka_unit_test(s_test_crash_names),
        cmocka_unit_test(s_test_crash_removals),
        cmocka_unit_test(s_test_failed_sync),
        cmocka_unit_test(s_test_dead_handles),
        cmocka_unit_test(s_test_faults_by_count),
        cmocka_unit_test(s_test_faults_by_seed),
        cmocka_unit_test(s_test_capacity),
        cmocka_unit_test(s_test_flip),
        cmocka_unit_test(s_test_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

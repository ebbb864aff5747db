// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/bb_store_room.h"
#include "tests/support/bb_sim_disk.h"

#define S_MIB (UINT64_C(1) << 20)

static bb_store_room_t s_room(bb_sim_disk_t *disk, uint64_t reserve_bytes)
{
    return (bb_store_room_t){
        .vfs = bb_sim_disk_vfs(disk), .directory = "/", .reserve_bytes = reserve_bytes};
}

// Goal: what is let through never reaches into the reserve, whatever the sizes; a refusal is not
// for ever. Method: a disk of 100 MiB, a reserve of 10; takes of 1 to 7 MiB are written at once.
static void s_test_reserve_is_kept(void **state)
{
    (void)state;
    for (uint64_t step = 1; step <= 7; step++) {
        bb_sim_disk_t *disk = bb_sim_disk_new();
        bb_sim_disk_capacity_set(disk, 100 * S_MIB);
        bb_store_room_t room = s_room(disk, 10 * S_MIB);
        uint64_t taken = 0;
        while (bb_store_room_take(&room, step * S_MIB)) {
            taken += step * S_MIB;
            bb_sim_disk_capacity_set(disk, 100 * S_MIB - taken); // as if it were written
            assert_in_range(taken, 0, 90 * S_MIB);
        }
        assert_in_range(taken, (90 - step) * S_MIB, 90 * S_MIB);
        assert_false(bb_store_room_take(&room, step * S_MIB));
        bb_sim_disk_capacity_set(disk, 30 * S_MIB);
        assert_true(bb_store_room_take(&room, step * S_MIB));
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: the file system is asked once for many small takes, not at all without a reserve, and a
// disk that cannot answer does not stop anything.
static void s_test_questions(void **state)
{
    (void)state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_capacity_set(disk, 100 * S_MIB);
    bb_store_room_t none = s_room(disk, 0);
    assert_true(bb_store_room_take(&none, UINT64_MAX));
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_READ), 0);
    bb_store_room_t room = s_room(disk, 10 * S_MIB);
    for (int i = 0; i < 1000; i++) {
        assert_true(bb_store_room_take(&room, 4096));
    }
    assert_int_equal(bb_sim_disk_op_count(disk, BB_SIM_READ), 1);
    bb_sim_disk_fail(disk, BB_SIM_READ, 1, BB_ERR_IO);
    assert_true(bb_store_room_take(&room, 80 * S_MIB));
    bb_sim_disk_destroy(&disk);
}

static void s_test_default(void **state)
{
    (void)state;
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_capacity_set(disk, 100 * S_MIB);
    assert_int_equal(bb_store_room_reserve_default(bb_sim_disk_vfs(disk), "/"), 5 * S_MIB);
    bb_sim_disk_capacity_set(disk, S_MIB << 20);
    assert_int_equal(bb_store_room_reserve_default(bb_sim_disk_vfs(disk), "/"), 1024 * S_MIB);
    bb_sim_disk_fail(disk, BB_SIM_READ, 1, BB_ERR_IO);
    assert_int_equal(bb_store_room_reserve_default(bb_sim_disk_vfs(disk), "/"), 0);
    bb_sim_disk_destroy(&disk);
    // The machine's: something is there, and no more than all of it is free.
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    bb_vfs_t *vfs = bb_vfs_posix();
    assert_int_equal(vfs->space(vfs, "/", &free_bytes, &total_bytes), BB_OK);
    assert_true(total_bytes > 0 && free_bytes <= total_bytes);
    assert_int_equal(vfs->space(vfs, "/no/such/folder", &free_bytes, &total_bytes),
                     BB_ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_reserve_is_kept),
        cmocka_unit_test(s_test_questions),
        cmocka_unit_test(s_test_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

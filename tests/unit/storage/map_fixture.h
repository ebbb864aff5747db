// SPDX-License-Identifier: Apache-2.0
// map_fixture - one map on a simulated disk with a write transaction open, for tests of what is
// kept in maps.
#ifndef MAP_FIXTURE_H
#define MAP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_sim_kv.h"

typedef struct {
    bb_sim_disk_t *disk;
    bb_kv_driver_t *kv;
    bb_kv_env_t *env;
    bb_kv_txn_t *txn;
} map_fixture_t;

static inline map_fixture_t map_fixture_open(void)
{
    map_fixture_t map = {.disk = bb_sim_disk_new()};
    bb_vfs_t *vfs = bb_sim_disk_vfs(map.disk);
    map.kv = bb_sim_kv(map.disk);
    assert_int_equal(vfs->make_directory(vfs, "/map"), BB_OK);
    assert_int_equal(map.kv->open(map.kv, "/map", 1 << 20, true, &map.env, NULL), BB_OK);
    assert_int_equal(map.kv->begin(map.env, true, &map.txn), BB_OK);
    return map;
}

static inline void map_fixture_close(map_fixture_t *map)
{
    map->kv->abort(&map->txn);
    map->kv->close(&map->env);
    bb_sim_disk_destroy(&map->disk);
}

#endif

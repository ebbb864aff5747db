// SPDX-License-Identifier: Apache-2.0
// bb_store_room - keeps a reserve of the file system free, so that a store that may take no more
// can still seal, trim and answer.
//
// One thread (the store's). Counts down what it let through and asks the file system again each
// 16 MiB, and with every question while there is no room: a store goes on by itself when somebody
// has made some. What others write in between goes unnoticed for so long; the reserve is for that,
// too.
#ifndef BB_STORE_ROOM_H
#define BB_STORE_ROOM_H

#include "storage/vfs/bb_file.h"

typedef struct {
    bb_vfs_t *vfs;
    const char *directory;  // borrowed
    uint64_t reserve_bytes; // 0 = there is always room
    uint64_t left_bytes;    // may be taken before the file system is asked again
    uint64_t free_bytes;    // at the last question; UINT64_MAX = not asked
} bb_store_room_t;

// True: `bytes` more may be written, and are taken off. False: the reserve would be touched. A file
// system that cannot be asked has room: its writes will say more.
bool bb_store_room_take(bb_store_room_t *self, uint64_t bytes);

// The smaller of 1 GiB and a twentieth of the file system that `directory` is on; 0 when it cannot
// be asked.
uint64_t bb_store_room_reserve_default(bb_vfs_t *vfs, const char *directory);

#endif

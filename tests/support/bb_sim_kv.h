// SPDX-License-Identifier: Apache-2.0
// bb_sim_kv - a bb_kv_driver in memory on a simulated disk.
//
// One thread. A map is a chain of immutable, reference-counted versions: a reader keeps the version
// it began with, a commit puts a new one in place, durably and at once. It is attached to the disk
// as the file `data.mdb` of its folder and is found there again after a crash or a reopening.
//
// Like LMDB: values shorter than a page's half lie at addresses that are even but not multiples of
// eight; a commit that fails with anything but DISK_FULL fences the environment; a commit that the
// crash interrupts is there afterwards or not; an environment may be open only once (asserted).
// The faults of BB_SIM_COMMIT, the capacity of the disk and a halt apply.
#ifndef BB_SIM_KV_H
#define BB_SIM_KV_H

#include "storage/kv/bb_kv.h"
#include "tests/support/bb_sim_disk.h"

// Damages one record of a closed map below `folder` (its path begins with it), as a bad page would;
// what is drawn is `worst` or less. False: no such map has a record. `text` says what was done.
typedef enum { BB_SIM_KV_GONE, BB_SIM_KV_KEY_BIT, BB_SIM_KV_VALUE_BIT } bb_sim_kv_damage_t;
bool bb_sim_kv_damage(bb_sim_disk_t *disk, const char *folder, bb_sim_kv_damage_t worst,
                      bb_random_t *random, char *text, size_t text_bytes);
// Lives as long as the disk.
bb_kv_driver_t *bb_sim_kv(bb_sim_disk_t *disk);

#endif

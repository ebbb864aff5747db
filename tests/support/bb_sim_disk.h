// SPDX-License-Identifier: Apache-2.0
// bb_sim_disk - a disk in memory that forgets what was not synced, and fails on demand.
//
// One thread. Deterministic: its only randomness is the generator that is handed in. Behaves as
// the contract of bb_file.h allows a bad day to be:
//
//   file        image at the last sync | writes and truncations since, in order
//   namespace   log of creations, removals and renames since the last directory sync
//
// At a crash each file keeps all, none, a prefix or a random choice of 512-byte sectors of what
// was not synced. The namespace keeps a prefix of its log, as journaling file systems do. A sync of
// a file makes its creation durable; a directory sync everything up to the last change in it.
// Maps of bb_sim_kv live on the same disk as the file `data.mdb` of their folder, so removing and
// renaming folders carries them along.
//
// A folder has to be made before files are put in it; "/" exists. "/a//b/" and "a/b" are one path.
#ifndef BB_SIM_DISK_H
#define BB_SIM_DISK_H

#include "storage/vfs/bb_file.h"
#include "tests/support/bb_random.h"

typedef struct bb_sim_disk bb_sim_disk_t;

// Kinds of operation, for counting and for faults. ANY is every operation of the vfs (but close)
// and every commit of bb_sim_kv.
typedef enum {
    BB_SIM_OPEN,      // open
    BB_SIM_READ,      // read_at, size, list, space
    BB_SIM_WRITE,     // write_at, truncate, reserve
    BB_SIM_SYNC,      // sync, sync_directory
    BB_SIM_NAMESPACE, // remove, remove_tree, rename, make_directory, lock
    BB_SIM_COMMIT,    // commit of a write transaction of bb_sim_kv
    BB_SIM_ANY,
    BB_SIM_OP_COUNT,
} bb_sim_op_t;

bb_sim_disk_t *bb_sim_disk_new(void);
// A disk of its own with what readers see now, all of it durable: a copy of the folder, taken while
// its owner may be running. Faults, capacity and counts are not copied.
bb_sim_disk_t *bb_sim_disk_copy(const bb_sim_disk_t *self);
// Every file and map must have been closed.
void bb_sim_disk_destroy(bb_sim_disk_t **self);
// Lives as long as the disk.
bb_vfs_t *bb_sim_disk_vfs(bb_sim_disk_t *self);

// ---- crashes ---------------------------------------------------------------------------------
// Power loss. What was open before is dead: each call on it returns BB_ERR_IO (reads of a map go
// on), and it must still be closed. Ends a halt and forgets faults that have not fired.
void bb_sim_disk_crash(bb_sim_disk_t *self, bb_random_t *random);
// The process dies and the machine goes on: files and names stay as readers see them, synced or
// not, and what was not synced is still lost at a later crash. A commit of a map that was
// interrupted is there afterwards or not. Otherwise as above.
void bb_sim_disk_die(bb_sim_disk_t *self, bb_random_t *random);
// From the nth operation on (ANY; 1 = the next), every operation fails with BB_ERR_IO and does
// nothing, or in part: the machine is dying. 0 = never. Close everything, then call crash or die.
void bb_sim_disk_halt_at(bb_sim_disk_t *self, uint64_t nth);
// It is dying from this moment on.
void bb_sim_disk_halt(bb_sim_disk_t *self);
bool bb_sim_disk_is_halted(const bb_sim_disk_t *self);

// ---- faults ----------------------------------------------------------------------------------
// The nth operation of the kind from now (1 = the next) fails once with `error`; 0 = never. One
// pending fault per kind. A failing write leaves a prefix behind; a failing sync leaves the writes
// unsynced and, as on Linux, they are never written by a later sync of that file: a crash may keep
// or lose them whatever follows.
void bb_sim_disk_fail(bb_sim_disk_t *self, bb_sim_op_t op, uint64_t nth, bb_error_t error);
// How often that has come to pass.
uint64_t bb_sim_disk_failed_count(const bb_sim_disk_t *self, bb_sim_op_t op);
// Each operation of the kind fails with BB_ERR_IO with the given probability, drawn from *random,
// which is borrowed until it is set again (NULL = never).
void bb_sim_disk_fail_randomly(bb_sim_disk_t *self, bb_sim_op_t op, bb_random_t *random,
                               uint32_t per_million);
// Room for files and maps together, in bytes; what passes it is DISK_FULL. Unlimited at first.
void bb_sim_disk_capacity_set(bb_sim_disk_t *self, uint64_t capacity_bytes);
uint64_t bb_sim_disk_used_bytes(const bb_sim_disk_t *self);
// Operations of the kind so far, failed ones included.
uint64_t bb_sim_disk_op_count(const bb_sim_disk_t *self, bb_sim_op_t op);

// ---- looking and damaging --------------------------------------------------------------------
bool bb_sim_disk_exists(const bb_sim_disk_t *self, const char *path);
// What a reader sees now; borrowed until the next change. Empty when there is no such file.
bb_slice_t bb_sim_disk_get(const bb_sim_disk_t *self, const char *path);
// Makes the file, and the folders above it, with these bytes, durably. Replaces one.
void bb_sim_disk_put(bb_sim_disk_t *self, const char *path, bb_slice_t content);
// Visits every file (maps are none) whose path begins with `folder`, in the order of paths.
void bb_sim_disk_files(const bb_sim_disk_t *self, const char *folder,
                       void (*visit)(void *context, const char *path, uint64_t size_bytes),
                       void *context);
// Inverts the bits of `mask` in one stored byte; false: no such byte.
bool bb_sim_disk_flip(bb_sim_disk_t *self, const char *path, uint64_t offset, uint8_t mask);

#endif

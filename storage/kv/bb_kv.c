// SPDX-License-Identifier: Apache-2.0
// The LMDB side of bb_kv.h. One environment is one folder with data.mdb and lock.mdb.
//
// A new environment is built under another name, synced and renamed, so that a crash never leaves
// a half-made one. An environment whose file is shorter than its own page count is refused before
// anything is mapped that is not there (reading it would be SIGBUS), and read-only look-ups are
// guarded (bb_kv_guard.h). One process must not open the same folder twice: the second close would
// drop the first one's file locks.
#include "storage/kv/bb_kv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/kv/bb_kv_guard.h"

#define S_READERS_MAX   512
#define S_KEY_BYTES_MAX 511
#define S_META_PAGES    2
#define S_REACH_BYTES   (1u << 20) // further than an offset in a page leads

struct bb_kv_env {
    MDB_env *lmdb;
    MDB_dbi map;
    uint64_t look_bytes_max; // no value of a file that was there when it was opened is longer
    atomic_bool fenced;      // written by whoever commits, read by any thread
};

struct bb_kv_txn {
    bb_kv_env_t *env;
    MDB_txn *lmdb;
    bool writable;
    bb_error_t error; // of a failed change; the commit repeats it
};

struct bb_kv_cursor {
    MDB_cursor *lmdb;
    const bb_kv_env_t *env;
    bool is_guarded; // its transaction is read-only
};

static bb_error_t s_error(int number)
{
    switch (number) {
    case MDB_SUCCESS:
        return BB_OK;
    case MDB_NOTFOUND:
    case ENOENT:
        return BB_ERR_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return BB_ERR_DISK_FULL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return BB_ERR_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return BB_ERR_FORMAT;
    case MDB_READERS_FULL:
        return BB_ERR_BUSY;
    case EACCES:
    case EPERM:
    case EROFS:
        return BB_ERR_PERMISSION;
    default:
        return BB_ERR_IO;
    }
}

static bb_error_t s_fault(bb_fault_t *fault, int number, const char *directory, const char *what)
{
    return bb_fault_set(fault, s_error(number), "%s: %s: %s", directory, what,
                        mdb_strerror(number));
}

// ---- environments ----------------------------------------------------------------------------
static int s_sync_folder(const char *directory)
{
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno;
    }
    int number = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    return number;
}

// An empty environment in the single file `path`, synced.
static int s_make_file(const char *path)
{
    MDB_env *lmdb = NULL;
    int number = mdb_env_create(&lmdb);
    if (number != 0) {
        return number;
    }
    // Nobody else can know this name, so it needs no lock file.
    number = mdb_env_open(lmdb, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (number == 0) {
        number = mdb_env_sync(lmdb, 1);
    }
    mdb_env_close(lmdb);
    return number;
}

static int s_make(const char *directory, const char *path)
{
    char fresh[PATH_MAX];
    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh) {
        return ENAMETOOLONG;
    }
    if (unlink(fresh) != 0 && errno != ENOENT) {
        return errno;
    }
    int number = s_make_file(fresh);
    if (number == 0 && rename(fresh, path) != 0) {
        number = errno;
    }
    if (number != 0) {
        unlink(fresh);
        return number;
    }
    return s_sync_folder(directory);
}

static int s_open_map(bb_kv_env_t *env)
{
    MDB_txn *txn = NULL;
    int number = mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, &txn);
    if (number == 0) {
        number = mdb_dbi_open(txn, NULL, 0, &env->map);
    }
    if (number == 0) {
        return mdb_txn_commit(txn); // keeps the handle
    }
    mdb_txn_abort(txn);
    return number;
}

static bb_error_t s_check_size(const bb_kv_env_t *env, const char *path, bb_fault_t *fault)
{
    MDB_envinfo info;
    MDB_stat status;
    mdb_env_info(env->lmdb, &info);
    mdb_env_stat(env->lmdb, &status);
    struct stat file;
    if (stat(path, &file) != 0) {
        return s_fault(fault, errno, path, "stat");
    }
    uint64_t needed = ((uint64_t)info.me_last_pgno + 1) * status.ms_psize;
    if ((uint64_t)file.st_size < needed) {
        return bb_fault_set(fault, BB_ERR_CORRUPT,
                            "%s: the file has %lld bytes and its own page count says %llu", path,
                            (long long)file.st_size, (unsigned long long)needed);
    }
    return BB_OK;
}

static void s_on_assert(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    bb_kv_guard_leave(); // else LMDB prints it and aborts
}

static bb_error_t s_open_env(bb_kv_env_t *env, const char *directory, const char *path,
                             size_t map_bytes, bb_fault_t *fault)
{
    // A damaged value begins in the file and claims to be no longer than that: twice its size, and
    // what an offset in a page can reach, are reserved, so that it ends inside of the map.
    struct stat file;
    env->look_bytes_max = UINT64_MAX;
    if (stat(path, &file) == 0 && (uint64_t)file.st_size > S_META_PAGES * 4096) {
        env->look_bytes_max = BB_MAX((uint64_t)file.st_size, map_bytes);
        map_bytes = BB_MAX(map_bytes, (size_t)file.st_size);
        map_bytes = 2 * map_bytes + S_REACH_BYTES;
    }
    mdb_env_set_mapsize(env->lmdb, map_bytes);
    mdb_env_set_maxreaders(env->lmdb, S_READERS_MAX);
    mdb_env_set_assert(env->lmdb, s_on_assert);
    bb_kv_guard_install();
    int number = mdb_env_open(env->lmdb, directory, MDB_NOTLS, 0600);
    if (number != 0) {
        return s_fault(fault, number, directory, "open map");
    }
    bb_error_t error = s_check_size(env, path, fault);
    if (error != BB_OK) {
        return error;
    }
    int dead = 0;
    number = mdb_reader_check(env->lmdb, &dead);
    if (number == 0) {
        number = s_open_map(env);
    }
    return number == 0 ? BB_OK : s_fault(fault, number, directory, "open map");
}

static bb_error_t s_open(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                         bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    (void)driver;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/data.mdb", directory) >= (int)sizeof path - 8) {
        return s_fault(fault, ENAMETOOLONG, directory, "open map");
    }
    struct stat file;
    if (stat(path, &file) != 0) {
        int number = errno;
        if (number == ENOENT && create) {
            number = s_make(directory, path);
        }
        if (number != 0) {
            return s_fault(fault, number, directory, create ? "make map" : "open map");
        }
    } else if (file.st_size < (off_t)(S_META_PAGES * sysconf(_SC_PAGESIZE))) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "%s: the file has only %lld bytes", path,
                            (long long)file.st_size);
    }
    bb_kv_env_t *self = bb_alloc_zero(1, sizeof *self);
    int number = mdb_env_create(&self->lmdb);
    bb_error_t error = number == 0 ? s_open_env(self, directory, path, map_bytes, fault)
                                   : s_fault(fault, number, directory, "open map");
    if (error != BB_OK) {
        if (self->lmdb) {
            mdb_env_close(self->lmdb);
        }
        free(self);
        return error;
    }
    *env = self;
    return BB_OK;
}

static void s_close(bb_kv_env_t **env)
{
    if (*env) {
        mdb_env_close((*env)->lmdb);
        free(*env);
        *env = NULL;
    }
}

static bb_error_t s_grow(bb_kv_env_t *env, size_t map_bytes)
{
    return s_error(mdb_env_set_mapsize(env->lmdb, map_bytes));
}

// ---- transactions ----------------------------------------------------------------------------
static bb_error_t s_begin(bb_kv_env_t *env, bool writable, bb_kv_txn_t **txn)
{
    if (writable && atomic_load(&env->fenced)) {
        return BB_ERR_FENCED;
    }
    MDB_txn *lmdb = NULL;
    int number = mdb_txn_begin(env->lmdb, NULL, writable ? 0 : MDB_RDONLY, &lmdb);
    if (number != 0) {
        return s_error(number);
    }
    *txn = bb_alloc_zero(1, sizeof **txn);
    **txn = (bb_kv_txn_t){.env = env, .lmdb = lmdb, .writable = writable};
    return BB_OK;
}

static void s_abort(bb_kv_txn_t **txn)
{
    if (*txn) {
        mdb_txn_abort((*txn)->lmdb);
        free(*txn);
        *txn = NULL;
    }
}

static bb_error_t s_commit(bb_kv_txn_t **txn)
{
    bb_kv_txn_t *self = *txn;
    if (self->error != BB_OK || !self->writable) {
        bb_error_t error = self->error;
        s_abort(txn);
        return error;
    }
    if (atomic_load(&self->env->fenced)) {
        s_abort(txn);
        return BB_ERR_FENCED;
    }
    int number = mdb_txn_commit(self->lmdb); // frees it, whatever it returns
    bb_error_t error = s_error(number);
    if (error != BB_OK && error != BB_ERR_DISK_FULL) {
        // LMDB would let the next commit succeed over pages that never reached the disk.
        atomic_store(&self->env->fenced, true);
    }
    free(self);
    *txn = NULL;
    return error;
}

// ---- reading and changing --------------------------------------------------------------------
static MDB_val s_value(bb_slice_t slice)
{
    // LMDB does not write through the pointers it is given; its type only lacks the const.
    union {
        const void *constant;
        void *given;
    } data = {.constant = slice.data};
    return (MDB_val){slice.length, data.given};
}

// One look-up: of `txn`, or a move of `cursor`.
typedef struct {
    const bb_kv_env_t *env;
    const bb_kv_txn_t *txn;
    MDB_cursor *cursor;
    MDB_cursor_op op;
    MDB_val key, value;
    int number;
} s_look_t;

static void s_look_up(void *context)
{
    s_look_t *self = context;
    self->number = self->cursor
                       ? mdb_cursor_get(self->cursor, &self->key, &self->value, self->op)
                       : mdb_get(self->txn->lmdb, self->txn->env->map, &self->key, &self->value);
}

static void s_touch(const MDB_val *value)
{
    if (value->mv_size > 0) {
        const volatile uint8_t *bytes = value->mv_data;
        (void)bytes[0];
        (void)bytes[value->mv_size - 1];
    }
}

// What was found lies in the file from its first byte to its last, so others can read it.
static void s_look_up_and_touch(void *context)
{
    s_look_t *self = context;
    s_look_up(self);
    if (self->number == 0 && self->value.mv_size > self->env->look_bytes_max) {
        self->number = MDB_CORRUPTED;
    }
    if (self->number == 0) {
        s_touch(&self->key);
        s_touch(&self->value);
    }
}

static void s_look(s_look_t *self, bool is_guarded)
{
    if (!is_guarded) {
        s_look_up(self); // between changes: a fault in here must end the process
    } else if (!bb_kv_guard_run(s_look_up_and_touch, self)) {
        self->number = MDB_CORRUPTED;
    }
}

static bb_error_t s_get(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t *value)
{
    BB_ASSERT(key.length >= 1 && key.length <= S_KEY_BYTES_MAX);
    s_look_t look = {.env = txn->env, .txn = txn, .key = s_value(key)};
    s_look(&look, !txn->writable);
    if (look.number == 0) {
        *value = bb_slice(look.value.mv_data, look.value.mv_size);
    }
    return s_error(look.number);
}

static bb_error_t s_changed(bb_kv_txn_t *txn, int number)
{
    bb_error_t error = s_error(number);
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        txn->error = error;
    }
    return error;
}

static bb_error_t s_reserve(bb_kv_txn_t *txn, bb_slice_t key, size_t length, void **room)
{
    BB_ASSERT(txn->writable);
    BB_ASSERT(key.length >= 1 && key.length <= S_KEY_BYTES_MAX);
    if (txn->error != BB_OK) {
        return txn->error;
    }
    MDB_val lmdb_key = s_value(key);
    MDB_val value = {length, NULL};
    int number = mdb_put(txn->lmdb, txn->env->map, &lmdb_key, &value, MDB_RESERVE);
    if (number == 0) {
        *room = value.mv_data;
    }
    return s_changed(txn, number);
}

static bb_error_t s_put(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t value)
{
    BB_ASSERT(txn->writable);
    BB_ASSERT(key.length >= 1 && key.length <= S_KEY_BYTES_MAX);
    if (txn->error != BB_OK) {
        return txn->error;
    }
    MDB_val lmdb_key = s_value(key);
    MDB_val lmdb_value = s_value(value);
    return s_changed(txn, mdb_put(txn->lmdb, txn->env->map, &lmdb_key, &lmdb_value, 0));
}

static bb_error_t s_remove(bb_kv_txn_t *txn, bb_slice_t key)
{
    BB_ASSERT(txn->writable);
    BB_ASSERT(key.length >= 1 && key.length <= S_KEY_BYTES_MAX);
    if (txn->error != BB_OK) {
        return txn->error;
    }
    MDB_val lmdb_key = s_value(key);
    return s_changed(txn, mdb_del(txn->lmdb, txn->env->map, &lmdb_key, NULL));
}

// ---- cursors ---------------------------------------------------------------------------------
static bb_error_t s_cursor(bb_kv_txn_t *txn, bb_kv_cursor_t **cursor)
{
    MDB_cursor *lmdb = NULL;
    int number = mdb_cursor_open(txn->lmdb, txn->env->map, &lmdb);
    if (number != 0) {
        return s_error(number);
    }
    *cursor = bb_alloc_zero(1, sizeof **cursor);
    **cursor = (bb_kv_cursor_t){lmdb, txn->env, !txn->writable};
    return BB_OK;
}

static void s_cursor_close(bb_kv_cursor_t **cursor)
{
    if (*cursor) {
        mdb_cursor_close((*cursor)->lmdb);
        free(*cursor);
        *cursor = NULL;
    }
}

static bb_error_t s_move(bb_kv_cursor_t *cursor, MDB_val key, MDB_cursor_op op,
                         bb_slice_t *found_key, bb_slice_t *value)
{
    s_look_t look = {.env = cursor->env, .cursor = cursor->lmdb, .op = op, .key = key};
    s_look(&look, cursor->is_guarded);
    if (look.number == 0) {
        *found_key = bb_slice(look.key.mv_data, look.key.mv_size);
        *value = bb_slice(look.value.mv_data, look.value.mv_size);
    }
    return s_error(look.number);
}

static bb_error_t s_seek(bb_kv_cursor_t *cursor, bb_slice_t key, bb_slice_t *found_key,
                         bb_slice_t *value)
{
    BB_ASSERT(key.length <= S_KEY_BYTES_MAX);
    return s_move(cursor, s_value(key), key.length == 0 ? MDB_FIRST : MDB_SET_RANGE, found_key,
                  value);
}

static bb_error_t s_next(bb_kv_cursor_t *cursor, bb_slice_t *found_key, bb_slice_t *value)
{
    return s_move(cursor, (MDB_val){0, NULL}, MDB_NEXT, found_key, value);
}

static uint64_t s_entry_count(bb_kv_txn_t *txn)
{
    MDB_stat status;
    int number = mdb_stat(txn->lmdb, txn->env->map, &status);
    return number == 0 ? status.ms_entries : 0;
}

static uint64_t s_file_bytes(bb_kv_env_t *env)
{
    mdb_filehandle_t descriptor;
    struct stat file;
    if (mdb_env_get_fd(env->lmdb, &descriptor) != 0 || fstat(descriptor, &file) != 0) {
        return 0;
    }
    return (uint64_t)file.st_size;
}

bb_kv_driver_t *bb_kv_lmdb(void)
{
    static const bb_kv_driver_t s_lmdb = {
        .open = s_open,
        .close = s_close,
        .grow = s_grow,
        .begin = s_begin,
        .commit = s_commit,
        .abort = s_abort,
        .get = s_get,
        .reserve = s_reserve,
        .put = s_put,
        .remove = s_remove,
        .cursor = s_cursor,
        .cursor_close = s_cursor_close,
        .seek = s_seek,
        .next = s_next,
        .entry_count = s_entry_count,
        .file_bytes = s_file_bytes,
    };
    // The table is constant; callers take it as mutable because a simulated one carries state.
    union {
        const bb_kv_driver_t *constant;
        bb_kv_driver_t *shared;
    } table = {.constant = &s_lmdb};
    return table.shared;
}

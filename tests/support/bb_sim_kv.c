// SPDX-License-Identifier: Apache-2.0
// Versions share their entries; a write transaction copies the array of entry pointers on its
// first change and puts it in place at commit.
#include "tests/support/bb_sim_kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/bb_sim_disk_attach.h"

#define S_KEY_BYTES_MAX 511
// LMDB keeps values up to about half a page inside the page, where they are only 2-byte aligned.
#define S_INLINE_BYTES_MAX 2000
#define S_PAGE_BYTES       4096

typedef struct {
    uint32_t references;
    uint32_t key_length;
    size_t value_length;
    uint8_t *value;  // inside `bytes`
    uint8_t bytes[]; // key, then room for the value at the alignment LMDB would give
} s_pair_t;

typedef struct {
    uint32_t references;
    uint32_t count;
    uint32_t vanished; // records that damage took; the map still counts them
    uint64_t bytes;    // of keys and values
    s_pair_t *pairs[]; // sorted by key
} s_version_t;

// What is on the disk.
typedef struct {
    s_version_t *current;
    s_version_t *doubtful; // its commit was interrupted: a crash decides
    uint64_t bytes_max;    // the file never shrinks
    bool is_open;
} s_map_t;

struct bb_kv_env {
    bb_sim_disk_t *disk;
    bb_sim_node_t *node;
    uint64_t lives;
    size_t map_bytes;
    uint32_t txn_count;
    bool writing;
    bool fenced;
};

struct bb_kv_txn {
    bb_kv_env_t *env;
    bool writable;
    s_version_t *version;
    // After the first change: an array of our own; version stays what we began with.
    s_pair_t **pairs;
    uint32_t count, capacity;
    uint64_t bytes;
    bb_error_t error; // of a failed change; the commit repeats it
    uint32_t cursor_count;
};

struct bb_kv_cursor {
    bb_kv_txn_t *txn;
    s_pair_t *at;   // retained, so that it survives changes
    uint32_t index; // where it was; a hint
};

// ---- pairs and versions ----------------------------------------------------------------------
static s_pair_t *s_pair_new(bb_slice_t key, size_t value_length)
{
    size_t head = sizeof(s_pair_t) + key.length;
    s_pair_t *pair = bb_alloc_zero(1, head + value_length + 16);
    pair->references = 1;
    pair->key_length = (uint32_t)key.length;
    pair->value_length = value_length;
    memcpy(pair->bytes, key.data, key.length);
    uintptr_t start = ((uintptr_t)pair->bytes + key.length + 7) & ~(uintptr_t)7;
    size_t shift = (size_t)(start - (uintptr_t)pair->bytes);
    pair->value = pair->bytes + shift + (value_length < S_INLINE_BYTES_MAX ? 2 : 0);
    return pair;
}

static void s_pair_release(s_pair_t *pair)
{
    if (pair && --pair->references == 0) {
        free(pair);
    }
}

static int s_compare(const s_pair_t *pair, bb_slice_t key)
{
    size_t common = BB_MIN((size_t)pair->key_length, key.length);
    int order = common == 0 ? 0 : memcmp(pair->bytes, key.data, common);
    if (order != 0) {
        return order;
    }
    return pair->key_length < key.length ? -1 : pair->key_length > key.length;
}

static uint32_t s_lower(s_pair_t *const *pairs, uint32_t count, bb_slice_t key)
{
    uint32_t first = 0;
    uint32_t limit = count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (s_compare(pairs[middle], key) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static void s_version_release(s_version_t *version)
{
    if (!version || --version->references > 0) {
        return;
    }
    for (uint32_t i = 0; i < version->count; i++) {
        s_pair_release(version->pairs[i]);
    }
    free(version);
}

static s_version_t *s_version_new(uint32_t count)
{
    s_version_t *version = bb_alloc_zero(1, sizeof *version + count * sizeof(s_pair_t *));
    version->references = 1;
    version->count = count;
    return version;
}

// ---- the attachment --------------------------------------------------------------------------
static void s_map_destroy(void *object)
{
    s_map_t *map = object;
    s_version_release(map->current);
    s_version_release(map->doubtful);
    free(map);
}

static void *s_map_copy(const void *object)
{
    const s_map_t *map = object;
    s_map_t *copy = bb_alloc_zero(1, sizeof *copy);
    copy->current = map->current; // immutable
    copy->current->references++;
    copy->bytes_max = map->bytes_max;
    return copy;
}

static uint64_t s_map_bytes(const void *object)
{
    return ((const s_map_t *)object)->bytes_max;
}

static void s_map_crash(void *object, bb_random_t *random)
{
    s_map_t *map = object;
    if (map->doubtful && bb_random_chance(random, 1, 2)) {
        s_version_release(map->current);
        map->current = map->doubtful;
        map->doubtful = NULL;
    }
    s_version_release(map->doubtful);
    map->doubtful = NULL;
    map->is_open = false;
}

static const bb_sim_attachment_class_t s_class = {s_map_destroy, s_map_copy, s_map_bytes,
                                                  s_map_crash};

static uint64_t s_file_size(uint64_t bytes, uint32_t count)
{
    uint64_t size = 2 * S_PAGE_BYTES + bytes + (uint64_t)count * 16;
    return (size + S_PAGE_BYTES - 1) / S_PAGE_BYTES * S_PAGE_BYTES;
}

// ---- environments ----------------------------------------------------------------------------
static bb_error_t s_open(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                         bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    bb_sim_disk_t *disk = driver->context;
    bb_error_t error = bb_sim_disk_step(disk, BB_SIM_OPEN);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: open map: %s (simulated)", directory,
                            bb_error_message(error));
    }
    bb_sim_node_t *node = bb_sim_disk_attach(disk, directory, &s_class, NULL);
    if (!node && create) {
        s_map_t *made = bb_alloc_zero(1, sizeof *made);
        made->current = s_version_new(0);
        made->bytes_max = s_file_size(0, 0);
        node = bb_sim_disk_attach(disk, directory, &s_class, made);
        if (!node) {
            s_map_destroy(made);
        }
    }
    if (!node) {
        return bb_fault_set(fault, BB_ERR_NOT_FOUND, "%s: no map there (simulated)", directory);
    }
    s_map_t *map = bb_sim_node_object(node);
    BB_ASSERT(!map->is_open); // LMDB: never twice in one process
    map->is_open = true;
    *env = bb_alloc_zero(1, sizeof **env);
    **env = (bb_kv_env_t){
        .disk = disk, .node = node, .lives = bb_sim_disk_lives(disk), .map_bytes = map_bytes};
    return BB_OK;
}

static s_map_t *s_map(const bb_kv_env_t *env)
{
    return bb_sim_node_object(env->node);
}

static void s_close(bb_kv_env_t **env)
{
    bb_kv_env_t *self = *env;
    if (!self) {
        return;
    }
    BB_ASSERT(self->txn_count == 0);
    if (self->lives == bb_sim_disk_lives(self->disk)) {
        s_map(self)->is_open = false;
    }
    bb_sim_node_release(self->disk, &self->node);
    free(self);
    *env = NULL;
}

static bb_error_t s_grow(bb_kv_env_t *env, size_t map_bytes)
{
    BB_ASSERT(env->txn_count == 0);
    env->map_bytes = map_bytes;
    return BB_OK;
}

static bool s_is_dead(const bb_kv_env_t *env)
{
    return env->lives != bb_sim_disk_lives(env->disk);
}

static bb_error_t s_begin(bb_kv_env_t *env, bool writable, bb_kv_txn_t **txn)
{
    if (writable && (env->fenced || s_is_dead(env))) {
        return env->fenced ? BB_ERR_FENCED : BB_ERR_IO;
    }
    if (writable) {
        BB_ASSERT(!env->writing); // one write transaction at a time
        env->writing = true;
    }
    env->txn_count++;
    *txn = bb_alloc_zero(1, sizeof **txn);
    **txn = (bb_kv_txn_t){.env = env, .writable = writable, .version = s_map(env)->current};
    (*txn)->version->references++;
    return BB_OK;
}

static void s_abort(bb_kv_txn_t **txn)
{
    bb_kv_txn_t *self = *txn;
    if (!self) {
        return;
    }
    BB_ASSERT(self->cursor_count == 0);
    for (uint32_t i = 0; self->pairs && i < self->count; i++) {
        s_pair_release(self->pairs[i]);
    }
    free(self->pairs);
    s_version_release(self->version);
    self->env->txn_count--;
    if (self->writable) {
        self->env->writing = false;
    }
    free(self);
    *txn = NULL;
}

// The disk's answer to this commit.
static bb_error_t s_commit_outcome(const bb_kv_txn_t *self, const s_map_t *map, uint64_t size)
{
    bb_error_t error = bb_sim_disk_step(self->env->disk, BB_SIM_COMMIT);
    if (self->error != BB_OK) {
        return self->error;
    }
    if (error != BB_OK) {
        return error;
    }
    uint64_t grows = size > map->bytes_max ? size - map->bytes_max : 0;
    return grows > bb_sim_disk_free_bytes(self->env->disk) ? BB_ERR_DISK_FULL : BB_OK;
}

static bb_error_t s_commit(bb_kv_txn_t **txn)
{
    bb_kv_txn_t *self = *txn;
    bb_kv_env_t *env = self->env;
    BB_ASSERT(self->cursor_count == 0);
    if (!self->writable || (!self->pairs && self->error == BB_OK)) {
        s_abort(txn); // nothing was changed, so nothing is written
        return BB_OK;
    }
    if (s_is_dead(env)) {
        s_abort(txn);
        return BB_ERR_IO;
    }
    s_map_t *map = s_map(env);
    uint64_t size = s_file_size(self->bytes, self->count);
    bb_error_t error = s_commit_outcome(self, map, size);
    bool disk_failed = error != BB_OK && error != BB_ERR_DISK_FULL && self->error == BB_OK;
    if (error == BB_OK || disk_failed) {
        s_version_t *version = s_version_new(self->count);
        version->bytes = self->bytes;
        version->vanished = self->version->vanished;
        if (self->count > 0) {
            memcpy(version->pairs, self->pairs, self->count * sizeof *self->pairs);
        }
        self->count = 0; // the references moved
        s_version_t **place = error == BB_OK ? &map->current : &map->doubtful;
        s_version_release(*place);
        *place = version;
    }
    if (error == BB_OK) {
        map->bytes_max = BB_MAX(map->bytes_max, size);
        s_version_release(map->doubtful);
        map->doubtful = NULL;
    }
    env->fenced = env->fenced || disk_failed;
    s_abort(txn);
    return error;
}

// ---- reading and changing --------------------------------------------------------------------
static s_pair_t *const *s_pairs(const bb_kv_txn_t *txn, uint32_t *count)
{
    *count = txn->pairs ? txn->count : txn->version->count;
    return txn->pairs ? txn->pairs : txn->version->pairs;
}

static bb_error_t s_get(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t *value)
{
    uint32_t count;
    s_pair_t *const *pairs = s_pairs(txn, &count);
    uint32_t index = s_lower(pairs, count, key);
    if (index == count || s_compare(pairs[index], key) != 0) {
        return BB_ERR_NOT_FOUND;
    }
    *value = bb_slice(pairs[index]->value, pairs[index]->value_length);
    return BB_OK;
}

// Gives the transaction an array of its own, with room for one more.
static void s_own(bb_kv_txn_t *txn)
{
    if (!txn->pairs) {
        const s_version_t *version = txn->version;
        txn->count = version->count;
        txn->bytes = version->bytes;
        txn->capacity = version->count + 16;
        txn->pairs = bb_alloc(txn->capacity * sizeof *txn->pairs);
        for (uint32_t i = 0; i < version->count; i++) {
            version->pairs[i]->references++;
            txn->pairs[i] = version->pairs[i];
        }
    }
    if (txn->count == txn->capacity) {
        txn->capacity *= 2;
        txn->pairs = bb_realloc(txn->pairs, txn->capacity * sizeof *txn->pairs);
    }
}

static void s_take_out(bb_kv_txn_t *txn, uint32_t index)
{
    s_pair_t *pair = txn->pairs[index];
    txn->bytes -= pair->key_length + pair->value_length;
    txn->count--;
    memmove(txn->pairs + index, txn->pairs + index + 1, (txn->count - index) * sizeof *txn->pairs);
    s_pair_release(pair);
}

static bb_error_t s_reserve(bb_kv_txn_t *txn, bb_slice_t key, size_t length, void **room)
{
    BB_ASSERT(txn->writable);
    BB_ASSERT(key.length >= 1 && key.length <= S_KEY_BYTES_MAX);
    if (txn->error != BB_OK) {
        return txn->error;
    }
    // Before the old value goes: key and value may be borrowed from it.
    s_pair_t *pair = s_pair_new(key, length);
    s_own(txn);
    uint64_t size = s_file_size(txn->bytes + key.length + length, txn->count + 1);
    if (size > txn->env->map_bytes) {
        s_pair_release(pair);
        txn->error = BB_ERR_DISK_FULL;
        return txn->error;
    }
    uint32_t index = s_lower(txn->pairs, txn->count, key);
    if (index < txn->count && s_compare(txn->pairs[index], key) == 0) {
        s_take_out(txn, index);
    }
    memmove(txn->pairs + index + 1, txn->pairs + index, (txn->count - index) * sizeof *txn->pairs);
    txn->pairs[index] = pair;
    txn->count++;
    txn->bytes += pair->key_length + length;
    *room = pair->value;
    return BB_OK;
}

static bb_error_t s_put(bb_kv_txn_t *txn, bb_slice_t key, bb_slice_t value)
{
    uint8_t *copy = bb_alloc(value.length + 1); // it may be borrowed from the pair it replaces
    if (value.length > 0) {
        memcpy(copy, value.data, value.length);
    }
    void *room = NULL;
    bb_error_t error = s_reserve(txn, key, value.length, &room);
    if (error == BB_OK) {
        memcpy(room, copy, value.length);
    }
    free(copy);
    return error;
}

static bb_error_t s_remove(bb_kv_txn_t *txn, bb_slice_t key)
{
    BB_ASSERT(txn->writable);
    if (txn->error != BB_OK) {
        return txn->error;
    }
    s_own(txn);
    uint32_t index = s_lower(txn->pairs, txn->count, key);
    if (index == txn->count || s_compare(txn->pairs[index], key) != 0) {
        return BB_ERR_NOT_FOUND;
    }
    s_take_out(txn, index);
    return BB_OK;
}

// ---- cursors ---------------------------------------------------------------------------------
static bb_error_t s_cursor(bb_kv_txn_t *txn, bb_kv_cursor_t **cursor)
{
    *cursor = bb_alloc_zero(1, sizeof **cursor);
    (*cursor)->txn = txn;
    txn->cursor_count++;
    return BB_OK;
}

static void s_cursor_close(bb_kv_cursor_t **cursor)
{
    if (*cursor) {
        s_pair_release((*cursor)->at);
        (*cursor)->txn->cursor_count--;
        free(*cursor);
        *cursor = NULL;
    }
}

static bb_error_t s_go(bb_kv_cursor_t *cursor, uint32_t index, bb_slice_t *found_key,
                       bb_slice_t *value)
{
    uint32_t count;
    s_pair_t *const *pairs = s_pairs(cursor->txn, &count);
    if (index >= count) {
        return BB_ERR_NOT_FOUND;
    }
    s_pair_t *pair = pairs[index];
    cursor->index = index;
    pair->references++;
    s_pair_release(cursor->at);
    cursor->at = pair;
    *found_key = bb_slice(pair->bytes, pair->key_length);
    *value = bb_slice(pair->value, pair->value_length);
    return BB_OK;
}

static bb_error_t s_seek(bb_kv_cursor_t *cursor, bb_slice_t key, bb_slice_t *found_key,
                         bb_slice_t *value)
{
    uint32_t count;
    s_pair_t *const *pairs = s_pairs(cursor->txn, &count);
    return s_go(cursor, s_lower(pairs, count, key), found_key, value);
}

static bb_error_t s_next(bb_kv_cursor_t *cursor, bb_slice_t *found_key, bb_slice_t *value)
{
    if (!cursor->at) {
        return s_seek(cursor, bb_slice("", 0), found_key, value);
    }
    uint32_t count;
    s_pair_t *const *pairs = s_pairs(cursor->txn, &count);
    if (cursor->index < count && pairs[cursor->index] == cursor->at) {
        return s_go(cursor, cursor->index + 1, found_key, value);
    }
    // The map was changed: the smallest key that is larger is the same with a zero byte behind it.
    uint8_t after[S_KEY_BYTES_MAX + 1];
    memcpy(after, cursor->at->bytes, cursor->at->key_length);
    after[cursor->at->key_length] = 0;
    return s_seek(cursor, bb_slice(after, cursor->at->key_length + 1u), found_key, value);
}

static uint64_t s_entry_count(bb_kv_txn_t *txn)
{
    uint32_t count;
    s_pairs(txn, &count);
    return (uint64_t)count + txn->version->vanished;
}

static uint64_t s_file_bytes(bb_kv_env_t *env)
{
    return s_map(env)->bytes_max;
}

// ---- damage ----------------------------------------------------------------------------------
typedef struct {
    uint64_t left; // records before the one that is meant
    uint64_t count;
    s_map_t *map; // where it is; NULL: not come to yet
    const char *path;
} s_pick_t;

static void s_pick(void *context, const char *path, bb_sim_node_t *node)
{
    s_pick_t *pick = context;
    s_map_t *map = bb_sim_node_object(node);
    uint32_t count = map->is_open ? 0 : map->current->count;
    if (!pick->map && pick->left < count) {
        pick->map = map;
        pick->path = path;
    } else if (!pick->map) {
        pick->left -= count;
    }
    pick->count += count;
}

// The version with another pair at the index; NULL: with none there.
static s_version_t *s_version_with(const s_version_t *version, uint32_t index, s_pair_t *pair)
{
    s_version_t *changed = s_version_new(version->count - (pair == NULL));
    changed->bytes = version->bytes;
    changed->vanished = version->vanished + (pair == NULL);
    uint32_t count = 0;
    for (uint32_t i = 0; i < version->count; i++) {
        if (i != index) {
            version->pairs[i]->references++;
            changed->pairs[count++] = version->pairs[i];
        } else if (pair) {
            changed->pairs[count++] = pair;
        }
    }
    return changed;
}

bool bb_sim_kv_damage(bb_sim_disk_t *disk, const char *folder, bb_sim_kv_damage_t worst,
                      bb_random_t *random, char *text, size_t text_bytes)
{
    s_pick_t pick = {.left = UINT64_MAX};
    bb_sim_disk_attachments(disk, folder, s_pick, &pick);
    if (pick.count == 0) {
        return false;
    }
    pick = (s_pick_t){.left = bb_random_below(random, pick.count)};
    bb_sim_disk_attachments(disk, folder, s_pick, &pick);
    const s_version_t *version = pick.map->current;
    const s_pair_t *old = version->pairs[pick.left];
    // Values twice as often.
    uint64_t drawn = bb_random_between(random, worst, BB_SIM_KV_VALUE_BIT + 1);
    uint64_t kind = BB_MIN(drawn, (uint64_t)BB_SIM_KV_VALUE_BIT);
    s_pair_t *pair = NULL;
    size_t at = 0;
    if (kind != BB_SIM_KV_GONE) {
        pair = s_pair_new(bb_slice(old->bytes, old->key_length), old->value_length);
        if (old->value_length > 0) {
            memcpy(pair->value, old->value, old->value_length);
        }
        bool is_key = kind == BB_SIM_KV_KEY_BIT || old->value_length == 0;
        at = (size_t)bb_random_below(random, is_key ? old->key_length : old->value_length);
        uint8_t *byte = is_key ? &pair->bytes[at] : &pair->value[at];
        *byte ^= (uint8_t)(1u << bb_random_below(random, 8));
    }
    static const char *const names[] = {"is gone", "key", "value"};
    snprintf(text, text_bytes, "%s: record %llu (%02x %u bytes): %s %zu", pick.path,
             (unsigned long long)pick.left, old->bytes[0], old->key_length, names[kind], at);
    s_version_t *changed = s_version_with(version, (uint32_t)pick.left, pair);
    s_version_release(pick.map->current);
    pick.map->current = changed;
    return true;
}

bb_kv_driver_t *bb_sim_kv(bb_sim_disk_t *disk)
{
    bb_kv_driver_t *driver = bb_sim_disk_kv_slot(disk);
    *driver = (bb_kv_driver_t){
        .context = disk,
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
    return driver;
}

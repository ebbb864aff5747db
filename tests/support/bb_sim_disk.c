// SPDX-License-Identifier: Apache-2.0
// A node is a file or folder; an entry gives it a path; a handle keeps it alive when the path is
// gone, as on a real system. Paths are kept without slashes at either end; "" is the root.
#include "tests/support/bb_sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/bb_sim_disk_attach.h"
#include "tests/support/bb_sim_node.h"

struct bb_file {
    bb_sim_node_t *node;
    uint64_t lives;
    bool writable;
};

typedef struct {
    char *path;
    bb_sim_node_t *node;
} s_entry_t;

typedef enum { S_CREATE, S_REMOVE, S_RENAME } s_name_change_kind_t;

typedef struct {
    s_name_change_kind_t kind;
    char *path;          // RENAME: the old one
    char *target;        // RENAME: the new one
    bb_sim_node_t *node; // CREATE: borrowed for comparison; REMOVE and RENAME: owned, what went
} s_name_change_t;

struct bb_sim_disk {
    bb_vfs_t vfs;
    bb_kv_driver_t kv;
    s_entry_t *entries; // sorted by path
    uint32_t entry_count, entry_capacity;
    s_name_change_t *log;
    uint32_t log_count, log_capacity;
    uint64_t lives;
    uint64_t open_count; // handles and attachments in use
    uint64_t capacity_bytes;
    uint64_t counts[BB_SIM_OP_COUNT];
    uint64_t fail_at[BB_SIM_OP_COUNT];
    bb_error_t fail_errors[BB_SIM_OP_COUNT];
    uint64_t failed_counts[BB_SIM_OP_COUNT];
    bb_random_t *fail_random[BB_SIM_OP_COUNT];
    uint32_t fail_per_million[BB_SIM_OP_COUNT];
    uint64_t halt_at;
    bool halted;
};

// ---- paths and entries -----------------------------------------------------------------------
// A malloc'd copy without leading, trailing and doubled slashes.
static char *s_path(const char *path)
{
    char *out = bb_alloc(strlen(path) + 1);
    size_t length = 0;
    for (const char *at = path; *at; at++) {
        if (*at == '/' && (length == 0 || out[length - 1] == '/')) {
            continue;
        }
        out[length++] = *at;
    }
    if (length > 0 && out[length - 1] == '/') {
        length--;
    }
    out[length] = '\0';
    return out;
}

static char *s_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    char *parent = bb_alloc(length + 1);
    memcpy(parent, path, length);
    parent[length] = '\0';
    return parent;
}

static bool s_is_parent(const char *folder, const char *path)
{
    char *parent = s_parent(path);
    bool is_parent = strcmp(parent, folder) == 0;
    free(parent);
    return is_parent;
}

// Index of the first entry whose path is not below `path`.
static uint32_t s_lower(const bb_sim_disk_t *self, const char *path)
{
    uint32_t first = 0;
    uint32_t limit = self->entry_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (strcmp(self->entries[middle].path, path) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static bb_sim_node_t *s_find(const bb_sim_disk_t *self, const char *path)
{
    uint32_t index = s_lower(self, path);
    bool found = index < self->entry_count && strcmp(self->entries[index].path, path) == 0;
    return found ? self->entries[index].node : NULL;
}

static bool s_is_directory(const bb_sim_disk_t *self, const char *path)
{
    const bb_sim_node_t *node = s_find(self, path);
    return path[0] == '\0' || (node && node->is_directory);
}

static bool s_has_parent(const bb_sim_disk_t *self, const char *path)
{
    char *parent = s_parent(path);
    bool has = s_is_directory(self, parent);
    free(parent);
    return has;
}

// Takes over one reference of `node`.
static void s_insert(bb_sim_disk_t *self, const char *path, bb_sim_node_t *node)
{
    uint32_t index = s_lower(self, path);
    if (self->entry_count == self->entry_capacity) {
        self->entry_capacity = BB_MAX(32u, self->entry_capacity * 2);
        self->entries = bb_realloc(self->entries, self->entry_capacity * sizeof *self->entries);
    }
    memmove(self->entries + index + 1, self->entries + index,
            (self->entry_count - index) * sizeof *self->entries);
    self->entries[index] = (s_entry_t){bb_strdup(path), node};
    self->entry_count++;
}

// Hands back the reference that the entry had.
static bb_sim_node_t *s_take(bb_sim_disk_t *self, const char *path)
{
    uint32_t index = s_lower(self, path);
    BB_ASSERT(index < self->entry_count && strcmp(self->entries[index].path, path) == 0);
    bb_sim_node_t *node = self->entries[index].node;
    free(self->entries[index].path);
    self->entry_count--;
    memmove(self->entries + index, self->entries + index + 1,
            (self->entry_count - index) * sizeof *self->entries);
    return node;
}

// The range of entries inside a folder, not counting itself.
static void s_inside(const bb_sim_disk_t *self, const char *folder, uint32_t *first,
                     uint32_t *limit)
{
    size_t length = strlen(folder);
    char *prefix = bb_alloc(length + 2);
    memcpy(prefix, folder, length);
    memcpy(prefix + length, "/", 2);
    *first = length == 0 ? 0 : s_lower(self, prefix);
    *limit = *first;
    while (*limit < self->entry_count &&
           (length == 0 || strncmp(self->entries[*limit].path, prefix, length + 1) == 0)) {
        (*limit)++;
    }
    free(prefix);
}

// Gives every entry inside folder `from` (and itself) the same place in `to`.
static void s_move(bb_sim_disk_t *self, const char *from, const char *to)
{
    uint32_t first;
    uint32_t limit;
    s_inside(self, from, &first, &limit);
    uint32_t count = limit - first;
    char **names = bb_alloc((count + 1) * sizeof *names);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = bb_strdup(self->entries[first + i].path);
    }
    s_insert(self, to, s_take(self, from));
    for (uint32_t i = 0; i < count; i++) {
        const char *rest = names[i] + strlen(from);
        char *moved = bb_alloc(strlen(to) + strlen(rest) + 1);
        memcpy(moved, to, strlen(to));
        memcpy(moved + strlen(to), rest, strlen(rest) + 1);
        s_insert(self, moved, s_take(self, names[i]));
        free(moved);
        free(names[i]);
    }
    free(names);
}

// ---- the log of names ------------------------------------------------------------------------
static void s_log(bb_sim_disk_t *self, s_name_change_kind_t kind, const char *path,
                  const char *target, bb_sim_node_t *node)
{
    if (self->log_count == self->log_capacity) {
        self->log_capacity = BB_MAX(32u, self->log_capacity * 2);
        self->log = bb_realloc(self->log, self->log_capacity * sizeof *self->log);
    }
    self->log[self->log_count++] =
        (s_name_change_t){kind, bb_strdup(path), target ? bb_strdup(target) : NULL, node};
}

static void s_log_free(s_name_change_t *change)
{
    if (change->kind != S_CREATE) {
        bb_sim_node_drop(change->node);
    }
    free(change->path);
    free(change->target);
}

// The first `count` changes are durable now.
static void s_log_settle(bb_sim_disk_t *self, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        s_log_free(&self->log[i]);
    }
    self->log_count -= count;
    if (self->log_count > 0) {
        memmove(self->log, self->log + count, self->log_count * sizeof *self->log);
    }
}

static void s_log_undo_last(bb_sim_disk_t *self)
{
    s_name_change_t *change = &self->log[--self->log_count];
    switch (change->kind) {
    case S_CREATE:
        bb_sim_node_drop(s_take(self, change->path));
        break;
    case S_REMOVE:
        s_insert(self, change->path, bb_sim_node_retain(change->node));
        break;
    case S_RENAME:
        s_move(self, change->target, change->path);
        if (change->node) {
            s_insert(self, change->target, bb_sim_node_retain(change->node));
        }
        break;
    }
    s_log_free(change);
}

static void s_create(bb_sim_disk_t *self, const char *path, bb_sim_node_t *node)
{
    s_insert(self, path, node);
    s_log(self, S_CREATE, path, NULL, node);
}

// ---- faults ----------------------------------------------------------------------------------
bb_error_t bb_sim_disk_step(bb_sim_disk_t *self, bb_sim_op_t op)
{
    const bb_sim_op_t kinds[2] = {op, BB_SIM_ANY};
    bb_error_t error = BB_OK;
    for (size_t i = 0; i < BB_COUNT_OF(kinds); i++) {
        bb_sim_op_t kind = kinds[i];
        self->counts[kind]++;
        if (self->fail_at[kind] != 0 && self->counts[kind] == self->fail_at[kind]) {
            self->fail_at[kind] = 0;
            self->failed_counts[kind]++;
            error = self->fail_errors[kind];
        }
        if (self->fail_random[kind] &&
            bb_random_chance(self->fail_random[kind], self->fail_per_million[kind], 1000000)) {
            error = error == BB_OK ? BB_ERR_IO : error;
        }
    }
    if (self->halt_at != 0 && self->counts[BB_SIM_ANY] >= self->halt_at) {
        self->halted = true;
    }
    return self->halted ? BB_ERR_IO : error;
}

static bb_error_t s_step_file(bb_sim_disk_t *self, const bb_file_t *file, bb_sim_op_t op)
{
    bb_error_t error = bb_sim_disk_step(self, op);
    return file->lives != self->lives ? BB_ERR_IO : error;
}

uint64_t bb_sim_disk_used_bytes(const bb_sim_disk_t *self)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < self->entry_count; i++) {
        const bb_sim_node_t *node = self->entries[i].node;
        used += node->object ? node->object_class->bytes(node->object) : node->now.size;
    }
    return used;
}

uint64_t bb_sim_disk_free_bytes(const bb_sim_disk_t *self)
{
    if (self->capacity_bytes == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t used = bb_sim_disk_used_bytes(self);
    return used < self->capacity_bytes ? self->capacity_bytes - used : 0;
}

// ---- the vfs ---------------------------------------------------------------------------------
static bb_error_t s_open_node(bb_sim_disk_t *self, const char *path, uint32_t mode,
                              bb_sim_node_t **out)
{
    bb_sim_node_t *node = s_find(self, path);
    if (node && (mode & BB_FILE_CREATE)) {
        return BB_ERR_EXISTS;
    }
    if (node && (node->is_directory || node->object)) {
        return BB_ERR_IO;
    }
    if (!node) {
        if (!(mode & BB_FILE_WRITE) || !s_has_parent(self, path) || path[0] == '\0') {
            return BB_ERR_NOT_FOUND;
        }
        node = bb_sim_node_new(false);
        s_create(self, path, node);
    }
    *out = node;
    return BB_OK;
}

static bb_error_t s_open(bb_vfs_t *vfs, const char *path, uint32_t mode, bb_file_t **file,
                         bb_fault_t *fault)
{
    bb_sim_disk_t *self = vfs->context;
    char *key = s_path(path);
    bb_sim_node_t *node = NULL;
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_OPEN);
    if (error == BB_OK) {
        error = s_open_node(self, key, mode, &node);
    }
    free(key);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: open: %s (simulated)", path,
                            bb_error_message(error));
    }
    *file = bb_alloc_zero(1, sizeof **file);
    **file = (bb_file_t){bb_sim_node_retain(node), self->lives, (mode & BB_FILE_WRITE) != 0};
    self->open_count++;
    return BB_OK;
}

static void s_close(bb_vfs_t *vfs, bb_file_t **file)
{
    bb_sim_disk_t *self = vfs->context;
    if (!*file) {
        return;
    }
    if ((*file)->node->lock_owner == *file) {
        (*file)->node->lock_owner = NULL;
    }
    bb_sim_node_drop((*file)->node);
    free(*file);
    *file = NULL;
    self->open_count--;
}

static bb_error_t s_read_at(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset, void *data,
                            size_t length, size_t *got)
{
    bb_error_t error = s_step_file(vfs->context, file, BB_SIM_READ);
    if (error != BB_OK) {
        return error;
    }
    const bb_sim_image_t *now = &file->node->now;
    *got = 0;
    if (offset < now->size) {
        *got = BB_MIN(length, now->size - (size_t)offset);
    }
    if (*got > 0) {
        memcpy(data, now->bytes + offset, *got);
    }
    return BB_OK;
}

// How many bytes of a failing write arrive: any number, fixed by the count of operations.
static uint64_t s_prefix(const bb_sim_disk_t *self, uint64_t total)
{
    bb_random_t random = bb_random_seed(self->counts[BB_SIM_ANY]);
    return bb_random_below(&random, total + 1);
}

static bb_error_t s_write_at(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset,
                             const struct iovec *pieces, int piece_count)
{
    bb_sim_disk_t *self = vfs->context;
    bb_error_t error = s_step_file(self, file, BB_SIM_WRITE);
    if (file->lives != self->lives || !file->writable) {
        return BB_ERR_IO;
    }
    uint64_t total = 0;
    for (int i = 0; i < piece_count; i++) {
        total += pieces[i].iov_len;
    }
    uint64_t room = error == BB_OK ? total : s_prefix(self, total);
    uint64_t size = file->node->now.size;
    uint64_t grows = offset + total > size ? offset + total - size : 0;
    uint64_t left = grows > 0 ? bb_sim_disk_free_bytes(self) : UINT64_MAX;
    if (error == BB_OK && grows > left) {
        error = BB_ERR_DISK_FULL;
        room = size + left > offset ? size + left - offset : 0;
    }
    // One change for the whole call: a crash may tear it anywhere.
    uint8_t *bytes = bb_alloc((size_t)total + 1);
    size_t filled = 0;
    for (int i = 0; i < piece_count; i++) {
        if (pieces[i].iov_len > 0) {
            memcpy(bytes + filled, pieces[i].iov_base, pieces[i].iov_len);
        }
        filled += pieces[i].iov_len;
    }
    bb_sim_node_write(file->node, offset, bytes, (size_t)BB_MIN(room, total));
    free(bytes);
    return error;
}

static bb_error_t s_sync(bb_vfs_t *vfs, bb_file_t *file)
{
    bb_sim_disk_t *self = vfs->context;
    bb_error_t error = s_step_file(self, file, BB_SIM_SYNC);
    if (file->lives != self->lives || self->halted) {
        return BB_ERR_IO;
    }
    bb_sim_node_sync(file->node, error == BB_OK);
    for (uint32_t i = 0; error == BB_OK && i < self->log_count; i++) {
        if (self->log[i].kind == S_CREATE && self->log[i].node == file->node) {
            s_log_settle(self, i + 1);
            break;
        }
    }
    return error;
}

static bb_error_t s_size(bb_vfs_t *vfs, bb_file_t *file, uint64_t *size_bytes)
{
    bb_error_t error = s_step_file(vfs->context, file, BB_SIM_READ);
    if (error == BB_OK) {
        *size_bytes = file->node->now.size;
    }
    return error;
}

static bb_error_t s_truncate(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes)
{
    bb_error_t error = s_step_file(vfs->context, file, BB_SIM_WRITE);
    if (error == BB_OK && !file->writable) {
        error = BB_ERR_IO;
    }
    if (error == BB_OK) {
        bb_sim_node_change(file->node, (bb_sim_change_t){.offset = size_bytes});
    }
    return error;
}

static bb_error_t s_reserve(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes)
{
    (void)size_bytes;
    return s_step_file(vfs->context, file, BB_SIM_WRITE);
}

static bb_error_t s_lock(bb_vfs_t *vfs, bb_file_t *file)
{
    bb_error_t error = s_step_file(vfs->context, file, BB_SIM_NAMESPACE);
    if (error != BB_OK) {
        return error;
    }
    if (file->node->lock_owner && file->node->lock_owner != file) {
        return BB_ERR_LOCKED;
    }
    file->node->lock_owner = file;
    return BB_OK;
}

static void s_remove_logged(bb_sim_disk_t *self, const char *path)
{
    bb_sim_node_t *node = s_take(self, path);
    s_log(self, S_REMOVE, path, NULL, node);
}

static bb_error_t s_remove(bb_vfs_t *vfs, const char *path)
{
    bb_sim_disk_t *self = vfs->context;
    char *key = s_path(path);
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_NAMESPACE);
    const bb_sim_node_t *node = s_find(self, key);
    if (error == BB_OK && !node) {
        error = BB_ERR_NOT_FOUND;
    } else if (error == BB_OK && node->is_directory) {
        error = BB_ERR_IO;
    } else if (error == BB_OK) {
        s_remove_logged(self, key);
    }
    free(key);
    return error;
}

static bb_error_t s_remove_tree(bb_vfs_t *vfs, const char *path)
{
    bb_sim_disk_t *self = vfs->context;
    char *key = s_path(path);
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_NAMESPACE);
    if (error == BB_OK && (key[0] == '\0' || !s_find(self, key))) {
        error = BB_ERR_NOT_FOUND;
    }
    if (error == BB_OK) {
        // Children sort after their parents, so the last entry inside goes first.
        uint32_t first;
        uint32_t limit;
        s_inside(self, key, &first, &limit);
        while (limit > first) {
            char *child = bb_strdup(self->entries[--limit].path);
            s_remove_logged(self, child);
            free(child);
        }
        s_remove_logged(self, key);
    }
    free(key);
    return error;
}

static bb_error_t s_rename_keys(bb_sim_disk_t *self, const char *from, const char *to)
{
    bb_sim_node_t *source = s_find(self, from);
    bb_sim_node_t *target = s_find(self, to);
    if (!source || !s_has_parent(self, to) || to[0] == '\0') {
        return BB_ERR_NOT_FOUND;
    }
    if (source == target) {
        return BB_OK;
    }
    size_t length = strlen(from);
    if (strncmp(to, from, length) == 0 && to[length] == '/') {
        return BB_ERR_IO; // into itself
    }
    if (target) {
        uint32_t first;
        uint32_t limit;
        s_inside(self, to, &first, &limit);
        if (limit > first || target->is_directory != source->is_directory) {
            return BB_ERR_EXISTS;
        }
        target = s_take(self, to);
    }
    s_move(self, from, to);
    s_log(self, S_RENAME, from, to, target);
    return BB_OK;
}

static bb_error_t s_rename(bb_vfs_t *vfs, const char *from, const char *to)
{
    bb_sim_disk_t *self = vfs->context;
    char *source = s_path(from);
    char *target = s_path(to);
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_NAMESPACE);
    if (error == BB_OK) {
        error = s_rename_keys(self, source, target);
    }
    free(source);
    free(target);
    return error;
}

static bb_error_t s_make_folders(bb_sim_disk_t *self, char *key)
{
    for (char *at = key;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char end = *at;
        *at = '\0';
        bb_sim_node_t *node = s_find(self, key);
        if (!node && key[0] != '\0') {
            s_create(self, key, bb_sim_node_new(true));
        }
        *at = end;
        if (node && !node->is_directory) {
            return BB_ERR_EXISTS;
        }
        if (end == '\0') {
            return BB_OK;
        }
    }
}

static bb_error_t s_make_directory(bb_vfs_t *vfs, const char *path)
{
    bb_sim_disk_t *self = vfs->context;
    char *key = s_path(path);
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_NAMESPACE);
    if (error == BB_OK) {
        error = s_make_folders(self, key);
    }
    free(key);
    return error;
}

typedef struct {
    char *name;
    bool is_directory;
} s_listed_t;

// Names are copied before the first callback, which may then change the folder.
static s_listed_t *s_collect(const bb_sim_disk_t *self, const char *folder, uint32_t *count)
{
    uint32_t first;
    uint32_t limit;
    s_inside(self, folder, &first, &limit);
    s_listed_t *listed = bb_alloc((limit - first + 1) * sizeof *listed);
    *count = 0;
    size_t skip = folder[0] == '\0' ? 0 : strlen(folder) + 1;
    for (uint32_t i = first; i < limit; i++) {
        const char *name = self->entries[i].path + skip;
        if (!strchr(name, '/')) {
            listed[(*count)++] = (s_listed_t){bb_strdup(name), self->entries[i].node->is_directory};
        }
    }
    return listed;
}

static bb_error_t s_list(bb_vfs_t *vfs, const char *path, bb_vfs_name_fn callback, void *context)
{
    bb_sim_disk_t *self = vfs->context;
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_READ);
    char *key = s_path(path);
    if (error == BB_OK && !s_is_directory(self, key)) {
        error = BB_ERR_NOT_FOUND;
    }
    if (error == BB_OK) {
        uint32_t count;
        s_listed_t *listed = s_collect(self, key, &count);
        for (uint32_t i = 0; i < count; i++) {
            callback(context, listed[i].name, listed[i].is_directory);
            free(listed[i].name);
        }
        free(listed);
    }
    free(key);
    return error;
}

static bb_error_t s_space(bb_vfs_t *vfs, const char *path, uint64_t *free_bytes,
                          uint64_t *total_bytes)
{
    bb_sim_disk_t *self = vfs->context;
    (void)path; // one file system
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_READ);
    if (error == BB_OK) {
        *free_bytes = bb_sim_disk_free_bytes(self);
        *total_bytes = self->capacity_bytes;
    }
    return error;
}

static bb_error_t s_sync_directory(bb_vfs_t *vfs, const char *path)
{
    bb_sim_disk_t *self = vfs->context;
    bb_error_t error = bb_sim_disk_step(self, BB_SIM_SYNC);
    char *key = s_path(path);
    if (error == BB_OK && !s_is_directory(self, key)) {
        error = BB_ERR_NOT_FOUND;
    }
    uint32_t settled = 0;
    for (uint32_t i = 0; error == BB_OK && i < self->log_count; i++) {
        const s_name_change_t *change = &self->log[i];
        if (s_is_parent(key, change->path) ||
            (change->target && s_is_parent(key, change->target))) {
            settled = i + 1;
        }
    }
    s_log_settle(self, settled);
    free(key);
    return error;
}

// ---- life ------------------------------------------------------------------------------------
bb_sim_disk_t *bb_sim_disk_new(void)
{
    bb_sim_disk_t *self = bb_alloc_zero(1, sizeof *self);
    self->capacity_bytes = UINT64_MAX;
    self->lives = 1;
    self->vfs = (bb_vfs_t){
        .context = self,
        .open = s_open,
        .close = s_close,
        .read_at = s_read_at,
        .write_at = s_write_at,
        .sync = s_sync,
        .size = s_size,
        .truncate = s_truncate,
        .reserve = s_reserve,
        .lock = s_lock,
        .remove = s_remove,
        .remove_tree = s_remove_tree,
        .rename = s_rename,
        .make_directory = s_make_directory,
        .list = s_list,
        .sync_directory = s_sync_directory,
        .space = s_space,
    };
    return self;
}

bb_sim_disk_t *bb_sim_disk_copy(const bb_sim_disk_t *self)
{
    BB_ASSERT(self);
    bb_sim_disk_t *copy = bb_sim_disk_new();
    copy->entry_count = copy->entry_capacity = self->entry_count;
    copy->entries = bb_alloc_zero(self->entry_count + 1, sizeof *copy->entries);
    for (uint32_t i = 0; i < self->entry_count; i++) { // they stay sorted
        const bb_sim_node_t *from = self->entries[i].node;
        bb_sim_node_t *to = bb_sim_node_new(from->is_directory);
        if (from->object) {
            to->object_class = from->object_class;
            to->object = from->object_class->copy(from->object);
        } else if (from->now.size > 0) {
            bb_sim_node_write(to, 0, from->now.bytes, from->now.size);
            bb_sim_node_sync(to, true);
        }
        copy->entries[i] = (s_entry_t){.path = bb_strdup(self->entries[i].path), .node = to};
    }
    return copy;
}

void bb_sim_disk_destroy(bb_sim_disk_t **self)
{
    bb_sim_disk_t *disk = *self;
    if (!disk) {
        return;
    }
    BB_ASSERT(disk->open_count == 0);
    s_log_settle(disk, disk->log_count);
    for (uint32_t i = 0; i < disk->entry_count; i++) {
        free(disk->entries[i].path);
        bb_sim_node_drop(disk->entries[i].node);
    }
    free(disk->entries);
    free(disk->log);
    free(disk);
    *self = NULL;
}

bb_vfs_t *bb_sim_disk_vfs(bb_sim_disk_t *self)
{
    return &self->vfs;
}

static void s_begin_life(bb_sim_disk_t *self)
{
    self->lives++;
    self->halt_at = 0;
    self->halted = false;
    memset(self->fail_at, 0, sizeof self->fail_at);
}

void bb_sim_disk_die(bb_sim_disk_t *self, bb_random_t *random)
{
    for (uint32_t i = 0; i < self->entry_count; i++) {
        bb_sim_node_t *node = self->entries[i].node;
        if (node->object) {
            node->object_class->crash(node->object, random);
        }
    }
    s_begin_life(self);
}

void bb_sim_disk_crash(bb_sim_disk_t *self, bb_random_t *random)
{
    uint64_t mood = bb_random_below(random, 3); // 0 nothing, 1 all, 2 a prefix
    uint64_t kept = mood == 1 ? self->log_count : 0;
    if (mood == 2) {
        kept = bb_random_below(random, (uint64_t)self->log_count + 1);
    }
    while (self->log_count > kept) {
        s_log_undo_last(self);
    }
    s_log_settle(self, self->log_count);
    for (uint32_t i = 0; i < self->entry_count; i++) {
        bb_sim_node_crash(self->entries[i].node, random);
    }
    s_begin_life(self);
}

void bb_sim_disk_halt_at(bb_sim_disk_t *self, uint64_t nth)
{
    self->halt_at = nth == 0 ? 0 : self->counts[BB_SIM_ANY] + nth;
}

void bb_sim_disk_halt(bb_sim_disk_t *self)
{
    self->halted = true;
}

bool bb_sim_disk_is_halted(const bb_sim_disk_t *self)
{
    return self->halted;
}

void bb_sim_disk_fail(bb_sim_disk_t *self, bb_sim_op_t op, uint64_t nth, bb_error_t error)
{
    self->fail_at[op] = nth == 0 ? 0 : self->counts[op] + nth;
    self->fail_errors[op] = error;
}

uint64_t bb_sim_disk_failed_count(const bb_sim_disk_t *self, bb_sim_op_t op)
{
    return self->failed_counts[op];
}

void bb_sim_disk_fail_randomly(bb_sim_disk_t *self, bb_sim_op_t op, bb_random_t *random,
                               uint32_t per_million)
{
    self->fail_random[op] = random;
    self->fail_per_million[op] = per_million;
}

void bb_sim_disk_capacity_set(bb_sim_disk_t *self, uint64_t capacity_bytes)
{
    self->capacity_bytes = capacity_bytes;
}

uint64_t bb_sim_disk_op_count(const bb_sim_disk_t *self, bb_sim_op_t op)
{
    return self->counts[op];
}

// ---- looking and damaging --------------------------------------------------------------------
static bb_sim_node_t *s_find_path(const bb_sim_disk_t *self, const char *path)
{
    char *key = s_path(path);
    bb_sim_node_t *node = s_find(self, key);
    free(key);
    return node;
}

bool bb_sim_disk_exists(const bb_sim_disk_t *self, const char *path)
{
    return s_find_path(self, path) != NULL;
}

bb_slice_t bb_sim_disk_get(const bb_sim_disk_t *self, const char *path)
{
    const bb_sim_node_t *node = s_find_path(self, path);
    return node ? bb_slice(node->now.bytes, node->now.size) : bb_slice(NULL, 0);
}

void bb_sim_disk_put(bb_sim_disk_t *self, const char *path, bb_slice_t content)
{
    char *key = s_path(path);
    char *parent = s_parent(key);
    bb_sim_node_t *node = s_find(self, key);
    if (parent[0] != '\0') {
        bb_error_t error = s_make_folders(self, parent);
        BB_ASSERT(error == BB_OK);
    }
    if (!node) {
        node = bb_sim_node_new(false);
        s_create(self, key, node);
    }
    BB_ASSERT(!node->is_directory && !node->object);
    bb_sim_node_change(node, (bb_sim_change_t){.offset = 0});
    bb_sim_node_write(node, 0, content.data, content.length);
    bb_sim_node_sync(node, true);
    s_log_settle(self, self->log_count);
    free(parent);
    free(key);
}

bool bb_sim_disk_flip(bb_sim_disk_t *self, const char *path, uint64_t offset, uint8_t mask)
{
    bb_sim_node_t *node = s_find_path(self, path);
    if (!node || offset >= node->now.size) {
        return false;
    }
    node->now.bytes[offset] ^= mask;
    if (offset < node->synced.size) {
        node->synced.bytes[offset] ^= mask;
    }
    return true;
}

void bb_sim_disk_files(const bb_sim_disk_t *self, const char *folder,
                       void (*visit)(void *context, const char *path, uint64_t size_bytes),
                       void *context)
{
    char *prefix = s_path(folder);
    for (uint32_t i = 0; i < self->entry_count; i++) {
        const s_entry_t *entry = &self->entries[i];
        if (!entry->node->is_directory && !entry->node->object &&
            strncmp(entry->path, prefix, strlen(prefix)) == 0) {
            visit(context, entry->path, entry->node->now.size);
        }
    }
    free(prefix);
}

// ---- attachments -----------------------------------------------------------------------------
bb_sim_node_t *bb_sim_disk_attach(bb_sim_disk_t *self, const char *directory,
                                  const bb_sim_attachment_class_t *object_class, void *object)
{
    char *folder = s_path(directory);
    size_t length = strlen(folder);
    char *path = bb_alloc(length + sizeof "/data.mdb");
    memcpy(path, folder, length);
    memcpy(path + length, "/data.mdb", sizeof "/data.mdb");
    bb_sim_node_t *node = s_find(self, path + (length == 0));
    if (!node && object && s_is_directory(self, folder)) {
        node = bb_sim_node_new(false);
        node->object_class = object_class;
        node->object = object;
        s_create(self, path + (length == 0), node);
        s_log_settle(self, self->log_count);
    }
    free(path);
    free(folder);
    if (!node || !node->object || node->object_class != object_class) {
        return NULL;
    }
    self->open_count++;
    return bb_sim_node_retain(node);
}

void bb_sim_disk_attachments(const bb_sim_disk_t *self, const char *folder,
                             void (*visit)(void *context, const char *path, bb_sim_node_t *node),
                             void *context)
{
    char *prefix = s_path(folder);
    for (uint32_t i = 0; i < self->entry_count; i++) {
        const s_entry_t *entry = &self->entries[i];
        if (entry->node->object && strncmp(entry->path, prefix, strlen(prefix)) == 0) {
            visit(context, entry->path, entry->node);
        }
    }
    free(prefix);
}

void *bb_sim_node_object(const bb_sim_node_t *node)
{
    return node->object;
}

void bb_sim_node_release(bb_sim_disk_t *self, bb_sim_node_t **node)
{
    bb_sim_node_drop(*node);
    *node = NULL;
    self->open_count--;
}

uint64_t bb_sim_disk_lives(const bb_sim_disk_t *self)
{
    return self->lives;
}

bb_kv_driver_t *bb_sim_disk_kv_slot(bb_sim_disk_t *self)
{
    return &self->kv;
}

// SPDX-License-Identifier: Apache-2.0
// The POSIX side of bb_file.h. Every call is restarted on EINTR; short reads and writes go on.
#include "storage/vfs/bb_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// Pieces handed to one pwritev; the kernel's own limit (IOV_MAX) is 1,024.
#define S_PIECES_MAX 512
// Folders inside folders that remove_tree follows; ours are three deep.
#define S_DEPTH_MAX 16

struct bb_file {
    int descriptor;
};

static bb_error_t s_error(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return BB_ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return BB_ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return BB_ERR_DISK_FULL;
    case EWOULDBLOCK:
        return BB_ERR_LOCKED;
    case EACCES:
    case EPERM:
    case EROFS:
        return BB_ERR_PERMISSION;
    default:
        return BB_ERR_IO;
    }
}

static bb_error_t s_open(bb_vfs_t *vfs, const char *path, uint32_t mode, bb_file_t **file,
                         bb_fault_t *fault)
{
    (void)vfs;
    int flags = O_CLOEXEC | O_RDONLY;
    if (mode & BB_FILE_WRITE) {
        flags = O_CLOEXEC | O_RDWR | O_CREAT | ((mode & BB_FILE_CREATE) ? O_EXCL : 0);
    }
    int descriptor;
    do {
        descriptor = open(path, flags, 0600);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) {
        int number = errno;
        return bb_fault_set(fault, s_error(number), "%s: open: %s", path, strerror(number));
    }
    *file = bb_alloc(sizeof **file);
    (*file)->descriptor = descriptor;
    return BB_OK;
}

static void s_close(bb_vfs_t *vfs, bb_file_t **file)
{
    (void)vfs;
    if (*file) {
        close((*file)->descriptor); // what has to be durable was synced before
        free(*file);
        *file = NULL;
    }
}

static bb_error_t s_read_at(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset, void *data,
                            size_t length, size_t *got)
{
    (void)vfs;
    size_t done = 0;
    while (done < length) {
        ssize_t count =
            pread(file->descriptor, (char *)data + done, length - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return s_error(errno);
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    *got = done;
    return BB_OK;
}

// Takes `done` bytes off the front of `pieces` and returns how many pieces that finished.
static int s_advance(struct iovec *pieces, int piece_count, size_t done)
{
    int i = 0;
    while (i < piece_count && done >= pieces[i].iov_len) {
        done -= pieces[i].iov_len;
        i++;
    }
    if (done > 0) {
        BB_ASSERT(i < piece_count);
        pieces[i].iov_base = (char *)pieces[i].iov_base + done;
        pieces[i].iov_len -= done;
    }
    return i;
}

static bb_error_t s_write_at(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset,
                             const struct iovec *pieces, int piece_count)
{
    (void)vfs;
    struct iovec window[S_PIECES_MAX]; // a copy, because a short write changes it
    while (piece_count > 0) {
        int window_count = BB_MIN(piece_count, S_PIECES_MAX);
        memcpy(window, pieces, (size_t)window_count * sizeof *pieces);
        int at = 0;
        while (at < window_count) {
            ssize_t count =
                pwritev(file->descriptor, window + at, window_count - at, (off_t)offset);
            if (count < 0 && errno == EINTR) {
                continue;
            }
            if (count < 0) {
                return s_error(errno);
            }
            offset += (uint64_t)count;
            int finished = s_advance(window + at, window_count - at, (size_t)count);
            if (count == 0 && finished == 0) {
                return BB_ERR_IO; // no progress and no reason given
            }
            at += finished;
        }
        pieces += window_count;
        piece_count -= window_count;
    }
    return BB_OK;
}

static bb_error_t s_sync(bb_vfs_t *vfs, bb_file_t *file)
{
    (void)vfs;
    // Not repeated on failure, EINTR included: the kernel may have dropped the dirty pages.
    return fdatasync(file->descriptor) == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_size(bb_vfs_t *vfs, bb_file_t *file, uint64_t *size_bytes)
{
    (void)vfs;
    struct stat status;
    if (fstat(file->descriptor, &status) != 0) {
        return s_error(errno);
    }
    *size_bytes = (uint64_t)status.st_size;
    return BB_OK;
}

static bb_error_t s_truncate(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes)
{
    (void)vfs;
    int result;
    do {
        result = ftruncate(file->descriptor, (off_t)size_bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_reserve(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes)
{
    (void)vfs;
    int result;
    do {
        result = fallocate(file->descriptor, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EOPNOTSUPP) {
        return BB_OK; // some file systems cannot; it is only an optimisation
    }
    return result == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_lock(bb_vfs_t *vfs, bb_file_t *file)
{
    (void)vfs;
    int result;
    do {
        result = flock(file->descriptor, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_remove(bb_vfs_t *vfs, const char *path)
{
    (void)vfs;
    return unlink(path) == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_remove_at(int folder, const char *name, int depth);

static bb_error_t s_remove_children(int folder, int depth)
{
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0); // closedir() closes the one it is given
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    if (!listing) {
        int number = errno;
        if (copy >= 0) {
            close(copy);
        }
        return s_error(number);
    }
    bb_error_t error = BB_OK;
    while (error == BB_OK) {
        errno = 0;
        struct dirent *entry = readdir(listing);
        if (!entry) {
            error = errno ? s_error(errno) : BB_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            error = s_remove_at(folder, entry->d_name, depth);
        }
    }
    closedir(listing);
    return error;
}

// A symbolic link is removed, never followed. The depth is bounded by S_DEPTH_MAX.
static bb_error_t s_remove_at(int folder, const char *name, int depth)
{
    if (unlinkat(folder, name, 0) == 0) {
        return BB_OK;
    }
    if (errno != EISDIR && errno != EPERM) {
        return s_error(errno);
    }
    if (depth >= S_DEPTH_MAX) {
        return BB_ERR_LIMIT;
    }
    int child = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0) {
        return s_error(errno);
    }
    bb_error_t error = s_remove_children(child, depth + 1);
    close(child);
    if (error == BB_OK && unlinkat(folder, name, AT_REMOVEDIR) != 0) {
        error = s_error(errno);
    }
    return error;
}

static bb_error_t s_remove_tree(bb_vfs_t *vfs, const char *path)
{
    (void)vfs;
    return s_remove_at(AT_FDCWD, path, 0);
}

static bb_error_t s_rename(bb_vfs_t *vfs, const char *from, const char *to)
{
    (void)vfs;
    return rename(from, to) == 0 ? BB_OK : s_error(errno);
}

static bb_error_t s_sync_directory(bb_vfs_t *vfs, const char *path)
{
    (void)vfs;
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        return s_error(errno);
    }
    bb_error_t error = fsync(descriptor) == 0 ? BB_OK : s_error(errno);
    close(descriptor);
    return error;
}

// Makes one folder; a new one is synced into its parent, or a power loss could take it with all
// that was synced inside.
static bb_error_t s_make_one(bb_vfs_t *vfs, const char *path)
{
    if (mkdir(path, 0700) == 0) {
        char parent[PATH_MAX];
        const char *slash = strrchr(path, '/');
        size_t length = slash ? BB_MAX((size_t)(slash - path), (size_t)1) : 0;
        memcpy(parent, length > 0 ? path : ".", BB_MAX(length, (size_t)1));
        parent[BB_MAX(length, (size_t)1)] = '\0';
        return s_sync_directory(vfs, parent);
    }
    int number = errno;
    struct stat status;
    if (number == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        return BB_OK;
    }
    return s_error(number);
}

static bb_error_t s_make_directory(bb_vfs_t *vfs, const char *path)
{
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof prefix) {
        return BB_ERR_NOT_FOUND;
    }
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (prefix[i] != '/') {
            continue;
        }
        prefix[i] = '\0';
        bb_error_t error = s_make_one(vfs, prefix);
        prefix[i] = '/';
        if (error != BB_OK) {
            return error;
        }
    }
    return s_make_one(vfs, prefix);
}

static bb_error_t s_list(bb_vfs_t *vfs, const char *path, bb_vfs_name_fn callback, void *context)
{
    (void)vfs;
    DIR *listing = opendir(path);
    if (!listing) {
        return s_error(errno);
    }
    bb_error_t error = BB_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(listing);
        if (!entry) {
            error = errno ? s_error(errno) : BB_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        bool is_directory = entry->d_type == DT_DIR;
        struct stat status;
        if (entry->d_type == DT_UNKNOWN &&
            fstatat(dirfd(listing), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
            is_directory = S_ISDIR(status.st_mode);
        }
        callback(context, entry->d_name, is_directory);
    }
    closedir(listing);
    return error;
}

static bb_error_t s_space(bb_vfs_t *vfs, const char *path, uint64_t *free_bytes,
                          uint64_t *total_bytes)
{
    (void)vfs;
    struct statvfs status;
    int result;
    do {
        result = statvfs(path, &status);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return s_error(errno);
    }
    *free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    *total_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    return BB_OK;
}

bb_vfs_t *bb_vfs_posix(void)
{
    static const bb_vfs_t s_posix = {
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
    // The table is constant; callers take it as mutable because a simulated one carries state.
    union {
        const bb_vfs_t *constant;
        bb_vfs_t *shared;
    } table = {.constant = &s_posix};
    return table.shared;
}

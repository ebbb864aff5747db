// SPDX-License-Identifier: Apache-2.0
// bb_file - the only door from storage to files; tests put a simulated disk behind it.
//
// Interface (a table of functions) and its POSIX implementation. Not thread-bound: each handle
// belongs to the thread that opened it, unless it was handed over. All paths are plain C strings.
// Errors: NOT_FOUND, EXISTS, DISK_FULL, LOCKED, PERMISSION, IO; `fault` gets path and errno text.
#ifndef BB_FILE_H
#define BB_FILE_H

#include <sys/uio.h>

#include "protocol/bb_error.h"
#include "storage/vfs/bb_killpoint.h"

typedef struct bb_file bb_file_t; // opaque; implementation-defined
typedef struct bb_vfs bb_vfs_t;

typedef enum {
    BB_FILE_READ = 1,   // must exist
    BB_FILE_WRITE = 2,  // read and write, created if missing
    BB_FILE_CREATE = 4, // with WRITE: must not exist
} bb_file_mode_t;

typedef void (*bb_vfs_name_fn)(void *context, const char *name, bool is_directory);

struct bb_vfs {
    void *context;
    bb_error_t (*open)(bb_vfs_t *vfs, const char *path, uint32_t mode, bb_file_t **file,
                       bb_fault_t *fault);
    void (*close)(bb_vfs_t *vfs, bb_file_t **file);
    // Reads exactly `length` bytes or up to the end of the file; *got says how many.
    bb_error_t (*read_at)(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset, void *data,
                          size_t length, size_t *got);
    // Writes all pieces or fails; on failure an unknown prefix may have been written.
    bb_error_t (*write_at)(bb_vfs_t *vfs, bb_file_t *file, uint64_t offset,
                           const struct iovec *pieces, int piece_count);
    bb_error_t (*sync)(bb_vfs_t *vfs, bb_file_t *file); // fdatasync: data and size are durable
    bb_error_t (*size)(bb_vfs_t *vfs, bb_file_t *file, uint64_t *size_bytes);
    bb_error_t (*truncate)(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes);
    // Reserves space without changing what a reader sees beyond zeros; may do nothing.
    bb_error_t (*reserve)(bb_vfs_t *vfs, bb_file_t *file, uint64_t size_bytes);
    // Advisory exclusive lock held until close. BB_ERR_LOCKED when another process has it.
    bb_error_t (*lock)(bb_vfs_t *vfs, bb_file_t *file);
    bb_error_t (*remove)(bb_vfs_t *vfs, const char *path);      // file
    bb_error_t (*remove_tree)(bb_vfs_t *vfs, const char *path); // directory, recursively
    bb_error_t (*rename)(bb_vfs_t *vfs, const char *from, const char *to);
    // And parents; EXISTS is success. What it makes is synced into the folder above.
    bb_error_t (*make_directory)(bb_vfs_t *vfs, const char *path);
    bb_error_t (*list)(bb_vfs_t *vfs, const char *path, bb_vfs_name_fn callback, void *context);
    bb_error_t (*sync_directory)(bb_vfs_t *vfs, const char *path);
    // Of the file system that `path` is on: what may still be written, and its size.
    bb_error_t (*space)(bb_vfs_t *vfs, const char *path, uint64_t *free_bytes,
                        uint64_t *total_bytes);
    const bb_killpoint_t *killpoint; // who wants to know how far a promise has come; NULL: nobody
};

// The machine's file system. Stateless; the same pointer every time; never destroyed.
bb_vfs_t *bb_vfs_posix(void);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bb_error_t bb_whole_file_fault(int number, const char *doing, const char *what, const char *path,
                               bb_fault_t *fault)
{
    bb_error_t error = BB_ERR_IO;
    switch (number) {
    case ENOENT:
        error = BB_ERR_NOT_FOUND;
        break;
    case EEXIST:
        error = BB_ERR_EXISTS;
        break;
    case EACCES:
    case EPERM:
        error = BB_ERR_PERMISSION;
        break;
    case ENOSPC:
    case EDQUOT:
        error = BB_ERR_DISK_FULL;
        break;
    default:
        break;
    }
    return bb_fault_set(fault, error, "cannot %s %s '%s': %s", doing, what, path, strerror(number));
}

static bool s_write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

// Fills the new file and closes it; 0, or what went wrong.
static int s_fill(int file, mode_t mode, const void *bytes, size_t length)
{
    bool is_good = fchmod(file, mode) == 0 && s_write_all(file, bytes, length) && fsync(file) == 0;
    int number = is_good ? 0 : errno;
    if (close(file) != 0 && number == 0) {
        number = errno;
    }
    return number;
}

bb_error_t bb_whole_file_create(const char *what, const char *path, const void *bytes,
                                size_t length, bb_fault_t *fault)
{
    BB_ASSERT(what && path && (bytes || length == 0));
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return bb_whole_file_fault(errno, "create", what, path, fault);
    }
    int number = s_fill(file, 0600, bytes, length);
    if (number != 0) {
        (void)unlink(path); // half a file is worse than none
        return bb_whole_file_fault(number, "write", what, path, fault);
    }
    return BB_OK;
}

bb_error_t bb_whole_file_replace(const char *what, const char *path, const void *bytes,
                                 size_t length, bb_fault_t *fault)
{
    BB_ASSERT(what && path && (bytes || length == 0));
    char fresh[BB_WHOLE_FILE_PATH_BYTES_MAX + 8];
    struct stat info;
    if (strlen(path) > BB_WHOLE_FILE_PATH_BYTES_MAX) {
        return bb_whole_file_fault(ENAMETOOLONG, "find", what, path, fault);
    }
    snprintf(fresh, sizeof fresh, "%s.new", path);
    if (stat(path, &info) != 0) {
        return bb_whole_file_fault(errno, "find", what, path, fault);
    }
    int file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return bb_whole_file_fault(errno, "create", what, fresh, fault);
    }
    int number = s_fill(file, info.st_mode & 07777, bytes, length);
    if (number == 0 && rename(fresh, path) != 0) {
        number = errno;
    }
    if (number != 0) {
        (void)unlink(fresh);
        return bb_whole_file_fault(number, "write", what, path, fault);
    }
    return BB_OK;
}

// SPDX-License-Identifier: Apache-2.0
// bb_whole_file - small files that people and programs read: there completely, or not at all.
//
// Touches the file system; any thread. For keys and configuration, not for data (storage/vfs).
// `what` is what the fault calls the file ("key file"); `path` may be relative.
#ifndef BB_WHOLE_FILE_H
#define BB_WHOLE_FILE_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_WHOLE_FILE_PATH_BYTES_MAX 4096 // more than the kernel takes

// A new file, mode 0600 whatever the umask, on the disk when it returns. EXISTS: there is one of
// that name, or a link, and it stays as it is. PERMISSION, DISK_FULL, IO: nothing is left.
BB_MUST_CHECK bb_error_t bb_whole_file_create(const char *what, const char *path, const void *bytes,
                                              size_t length, bb_fault_t *fault);
// Another content for a file that is there: written beside it ("PATH.new") with its mode, synced,
// and then the name moves over, so that every reader sees the old content or the new one. On error
// the old file is as it was.
BB_MUST_CHECK bb_error_t bb_whole_file_replace(const char *what, const char *path,
                                               const void *bytes, size_t length, bb_fault_t *fault);
// The sentence and the error for what a system call left in errno: "cannot DOING WHAT 'PATH': ...".
bb_error_t bb_whole_file_fault(int number, const char *doing, const char *what, const char *path,
                               bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_mark.h"

#include <stdio.h>
#include <string.h>

#include "protocol/bb_crc32c.h"

#define S_FORMAT     1u
#define S_PATH_BYTES 4096u

typedef struct {
    char magic[4];
    uint32_t format, boot, mark;
    uint8_t zero[12];
    uint32_t checksum;
} s_mark_t;
static_assert(sizeof(s_mark_t) == BB_STORE_MARK_BYTES, "on-disk layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written as it lies");

static void s_path(char out[S_PATH_BYTES], const char *directory, const char *ending)
{
    snprintf(out, S_PATH_BYTES, "%s/" BB_STORE_MARK_FILE "%s", directory, ending);
}

bb_error_t bb_store_mark_write(bb_vfs_t *vfs, const char *directory, bb_store_mark_t mark)
{
    BB_ASSERT(vfs && directory);
    s_mark_t bytes = {
        .magic = {'B', 'B', 'M', 'K'}, .format = S_FORMAT, .boot = mark.boot, .mark = mark.mark};
    bytes.checksum = bb_crc32c(0, &bytes, offsetof(s_mark_t, checksum));
    char fresh[S_PATH_BYTES], path[S_PATH_BYTES];
    s_path(fresh, directory, ".new");
    s_path(path, directory, "");
    bb_file_t *file = NULL;
    bb_error_t error = vfs->open(vfs, fresh, BB_FILE_WRITE, &file, NULL);
    if (error != BB_OK) {
        return error;
    }
    const struct iovec piece = {&bytes, sizeof bytes};
    error = vfs->write_at(vfs, file, 0, &piece, 1);
    if (error == BB_OK) {
        error = vfs->sync(vfs, file);
    }
    vfs->close(vfs, &file);
    if (error == BB_OK) {
        error = vfs->rename(vfs, fresh, path);
    }
    return error == BB_OK ? vfs->sync_directory(vfs, directory) : error;
}

bb_error_t bb_store_mark_read(bb_vfs_t *vfs, const char *directory, bb_store_mark_t *mark)
{
    BB_ASSERT(vfs && directory && mark);
    char path[S_PATH_BYTES];
    s_path(path, directory, "");
    bb_file_t *file = NULL;
    bb_error_t error = vfs->open(vfs, path, BB_FILE_READ, &file, NULL);
    if (error != BB_OK) {
        return error;
    }
    s_mark_t bytes;
    size_t got = 0;
    uint64_t size = 0;
    error = vfs->read_at(vfs, file, 0, &bytes, sizeof bytes, &got);
    if (error == BB_OK) {
        error = vfs->size(vfs, file, &size);
    }
    vfs->close(vfs, &file);
    if (error != BB_OK) {
        return error;
    }
    if (size != sizeof bytes || got != sizeof bytes || memcmp(bytes.magic, "BBMK", 4) != 0 ||
        bytes.format != S_FORMAT ||
        bytes.checksum != bb_crc32c(0, &bytes, offsetof(s_mark_t, checksum))) {
        return BB_ERR_CORRUPT;
    }
    *mark = (bb_store_mark_t){bytes.boot, bytes.mark};
    return BB_OK;
}

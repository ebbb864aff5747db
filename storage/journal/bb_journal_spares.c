// SPDX-License-Identifier: Apache-2.0
#include "storage/journal/bb_journal_spares.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static void s_path(const bb_journal_spares_t *self, uint64_t seq, char path[PATH_MAX])
{
    if (seq == 0) {
        snprintf(path, PATH_MAX, "%s/%s", self->directory, BB_JOURNAL_FRESH_NAME);
    } else {
        snprintf(path, PATH_MAX, "%s/%012" PRIu64 BB_JOURNAL_SPARE_SUFFIX, self->directory, seq);
    }
}

static bool s_is_wanted(const bb_journal_spares_t *self, uint64_t bytes)
{
    return self->count < BB_JOURNAL_SPARES_MAX && bytes > BB_JOURNAL_FILE_HEADER_BYTES &&
           bytes / 2 <= self->file_bytes_max;
}

bb_error_t bb_journal_spares_found(bb_journal_spares_t *self, uint64_t seq)
{
    char path[PATH_MAX];
    s_path(self, seq, path);
    bb_file_t *file = NULL;
    uint64_t bytes = 0;
    bb_error_t error = self->vfs->open(self->vfs, path, BB_FILE_READ, &file, NULL);
    if (error != BB_OK) {
        return error;
    }
    error = self->vfs->size(self->vfs, file, &bytes);
    self->vfs->close(self->vfs, &file);
    if (error != BB_OK) {
        return error;
    }
    // One that was not finished: its name must be free for another.
    bool is_part = seq == 0 && bytes < self->file_bytes_max / 2;
    if (!s_is_wanted(self, bytes) || is_part) {
        return self->vfs->remove(self->vfs, path);
    }
    bb_journal_spares_add(self, seq, bytes); // the process that named it may not have synced that
    return BB_OK;
}

void bb_journal_spares_add(bb_journal_spares_t *self, uint64_t seq, uint64_t bytes)
{
    bb_journal_spare_t spare = {seq, bytes};
    if (self->count == BB_JOURNAL_SPARES_MAX) { // others came meanwhile: the smallest goes
        uint32_t smallest = 0;
        for (uint32_t i = 1; i < self->count; i++) {
            smallest = self->items[i].bytes < self->items[smallest].bytes ? i : smallest;
        }
        if (self->items[smallest].bytes < bytes) {
            bb_journal_spare_t gone = self->items[smallest];
            self->items[smallest] = spare;
            spare = gone;
        }
        char path[PATH_MAX];
        s_path(self, spare.seq, path);
        bb_ignore(self->vfs->remove(self->vfs, path), "it is found at the next opening");
        self->is_unsynced = true;
        return;
    }
    self->items[self->count++] = spare;
    self->is_unsynced = true;
}

bb_error_t bb_journal_spares_put(bb_journal_spares_t *self, const char *path, uint64_t seq,
                                 uint64_t bytes)
{
    if (!s_is_wanted(self, bytes)) {
        return self->vfs->remove(self->vfs, path);
    }
    char target[PATH_MAX];
    s_path(self, seq, target);
    bb_error_t error = self->vfs->rename(self->vfs, path, target);
    if (error == BB_OK) {
        bb_journal_spares_add(self, seq, bytes);
    }
    return error;
}

bb_error_t bb_journal_write_header(bb_vfs_t *vfs, bb_file_t *file,
                                   const bb_journal_file_header_t *header)
{
    uint8_t bytes[BB_JOURNAL_FILE_HEADER_BYTES];
    struct iovec piece = {bytes, bb_journal_file_header_encode(header, bytes)};
    bb_error_t error = vfs->write_at(vfs, file, 0, &piece, 1);
    return error == BB_OK ? vfs->sync(vfs, file) : error;
}

// The largest, of several the warmest. There is one.
static uint32_t s_best(const bb_journal_spares_t *self)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < self->count; i++) {
        best = self->items[i].bytes >= self->items[best].bytes ? i : best;
    }
    return best;
}

bb_error_t bb_journal_spares_take(bb_journal_spares_t *self, const char *path,
                                  bb_journal_file_header_t *header, bb_file_t **file)
{
    if (self->count == 0) {
        return BB_ERR_NOT_FOUND;
    }
    bb_error_t error = BB_OK;
    if (self->is_unsynced) {
        // Else a crash could bring its old name back, with a header that is not that file's.
        error = self->vfs->sync_directory(self->vfs, self->directory);
        if (error != BB_OK) {
            return error;
        }
        self->is_unsynced = false;
    }
    char source[PATH_MAX];
    uint32_t best = s_best(self);
    s_path(self, self->items[best].seq, source);
    bb_file_t *taken = NULL;
    // One that was deleted by hand is made again, empty: nothing is lost by it.
    error = self->vfs->open(self->vfs, source, BB_FILE_WRITE, &taken, NULL);
    if (error == BB_OK) {
        error = self->vfs->size(self->vfs, taken, &header->recycled_bytes);
    }
    if (error == BB_OK) {
        error = bb_journal_write_header(self->vfs, taken, header);
    }
    if (error == BB_OK) {
        error = self->vfs->rename(self->vfs, source, path);
    }
    if (error != BB_OK) {
        self->vfs->close(self->vfs, &taken);
        return error;
    }
    self->count--;
    memmove(&self->items[best], &self->items[best + 1],
            (self->count - best) * sizeof self->items[0]);
    *file = taken;
    return BB_OK;
}

bb_error_t bb_journal_spares_clear(bb_journal_spares_t *self)
{
    while (self->count > 0) {
        char path[PATH_MAX];
        s_path(self, self->items[self->count - 1].seq, path);
        bb_error_t error = self->vfs->remove(self->vfs, path);
        if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
            return error;
        }
        self->count--;
    }
    return BB_OK;
}

uint64_t bb_journal_spares_bytes(const bb_journal_spares_t *self)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        bytes += self->items[i].bytes;
    }
    return bytes;
}

uint64_t bb_journal_spares_bytes_max(const bb_journal_spares_t *self)
{
    return self->count > 0 ? self->items[s_best(self)].bytes : 0;
}

bool bb_journal_spares_has_fresh(const bb_journal_spares_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->items[i].seq == 0) {
            return true;
        }
    }
    return false;
}

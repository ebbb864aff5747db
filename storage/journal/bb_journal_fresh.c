// SPDX-License-Identifier: Apache-2.0
#include "storage/journal/bb_journal_fresh.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/journal/bb_journal_private.h"

// Written and synced piece by piece, so that the disk is never busy with it for long.
#define S_PIECE_BYTES ((size_t)1 << 20)

struct bb_journal_fresh {
    bb_vfs_t *vfs;
    uint64_t bytes;
    char path[PATH_MAX];
};

bool bb_journal_fresh_is_wanted(const bb_journal_t *self)
{
    uint64_t after_bytes = BB_MIN(BB_JOURNAL_FRESH_AFTER_BYTES, self->file_bytes_max / 4);
    return !self->fenced && !self->is_fresh_tried &&
           bb_journal_last_file(self)->bytes >= after_bytes &&
           self->file_count <= BB_JOURNAL_SPARES_MAX &&
           bb_journal_spares_bytes(&self->spares) < 2 * self->file_bytes_max &&
           !bb_journal_spares_has_fresh(&self->spares); // there is one name for it
}

uint64_t bb_journal_fresh_bytes(const bb_journal_t *self)
{
    return self->file_bytes_max;
}

bb_journal_fresh_t *bb_journal_fresh_begin(bb_journal_t *self)
{
    BB_ASSERT(bb_journal_fresh_is_wanted(self));
    self->is_fresh_tried = true;
    bb_journal_fresh_t *fresh = bb_alloc_zero(1, sizeof *fresh);
    fresh->vfs = self->vfs;
    fresh->bytes = bb_journal_fresh_bytes(self);
    snprintf(fresh->path, sizeof fresh->path, "%s/%s", self->directory, BB_JOURNAL_FRESH_NAME);
    return fresh;
}

void bb_journal_fresh_pass(bb_journal_t *self)
{
    self->is_fresh_tried = true;
}

static bb_error_t s_fill(bb_journal_fresh_t *self, bb_file_t *file)
{
    void *zeros = bb_alloc_zero(1, S_PIECE_BYTES);
    bb_error_t error = BB_OK;
    for (uint64_t at = 0; error == BB_OK && at < self->bytes; at += S_PIECE_BYTES) {
        struct iovec piece = {zeros, BB_MIN(S_PIECE_BYTES, self->bytes - at)};
        error = self->vfs->write_at(self->vfs, file, at, &piece, 1);
        if (error == BB_OK) {
            error = self->vfs->sync(self->vfs, file);
        }
    }
    free(zeros);
    return error;
}

bb_error_t bb_journal_fresh_run(bb_journal_fresh_t *self)
{
    bb_file_t *file = NULL;
    bb_error_t error = self->vfs->open(self->vfs, self->path, BB_FILE_WRITE, &file, NULL);
    if (error == BB_OK) {
        error = s_fill(self, file);
        self->vfs->close(self->vfs, &file);
        if (error != BB_OK) {
            bb_ignore(self->vfs->remove(self->vfs, self->path), "found again at the next opening");
        }
    }
    return error;
}

void bb_journal_fresh_end(bb_journal_t *self, bb_journal_fresh_t **fresh, bb_error_t error)
{
    if (error == BB_OK) {
        bb_journal_spares_add(&self->spares, 0, (*fresh)->bytes);
    }
    free(*fresh);
    *fresh = NULL;
}

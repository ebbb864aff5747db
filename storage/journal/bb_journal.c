// SPDX-License-Identifier: Apache-2.0
// Writing, reading and dropping; opening is in bb_journal_open.c.
#include "storage/journal/bb_journal_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_STAGED_BYTES_MAX (UINT64_C(64) << 20)

static const uint8_t s_padding[BB_JOURNAL_ALIGNMENT];

// ---- files -----------------------------------------------------------------------------------
void bb_journal_file_path(const bb_journal_t *self, uint64_t file_seq, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%012" PRIu64 BB_JOURNAL_SUFFIX, self->directory, file_seq);
}

bb_journal_file_t *bb_journal_add_file(bb_journal_t *self, uint64_t file_seq)
{
    if (self->file_count == self->file_capacity) {
        self->file_capacity = BB_MAX(8u, self->file_capacity * 2);
        self->files = bb_realloc(self->files, self->file_capacity * sizeof *self->files);
    }
    bb_journal_file_t *file = &self->files[self->file_count++];
    *file = (bb_journal_file_t){
        .seq = file_seq,
        .bytes = BB_JOURNAL_FILE_HEADER_BYTES,
        .size_bytes = BB_JOURNAL_FILE_HEADER_BYTES,
        .header_bytes = BB_JOURNAL_FILE_HEADER_BYTES,
    };
    return file;
}

bb_journal_file_t *bb_journal_last_file(const bb_journal_t *self)
{
    BB_ASSERT(self->file_count > 0);
    return &self->files[self->file_count - 1];
}

static bb_error_t s_begin_new(bb_journal_t *self, const char *path,
                              const bb_journal_file_header_t *header, bb_file_t **file,
                              bb_fault_t *fault)
{
    bb_file_t *made = NULL;
    bb_error_t error = self->vfs->open(self->vfs, path, BB_FILE_WRITE, &made, fault);
    if (error == BB_OK) {
        error = self->vfs->truncate(self->vfs, made, 0); // one that could not be begun before
    }
    if (error == BB_OK) {
        error = bb_journal_write_header(self->vfs, made, header);
    }
    if (error != BB_OK) {
        self->vfs->close(self->vfs, &made);
        return error;
    }
    *file = made;
    return BB_OK;
}

bb_error_t bb_journal_begin_file(bb_journal_t *self, uint64_t file_seq, uint32_t flags,
                                 bb_fault_t *fault)
{
    char path[PATH_MAX];
    bb_journal_file_path(self, file_seq, path);
    bb_journal_file_header_t header = {
        .owner = self->owner,
        .file_seq = file_seq,
        .base_seq = self->next_seq,
        .flags = flags,
    };
    if (self->file_count > 0 && bb_journal_last_file(self)->seq + 1 == file_seq) {
        header.previous_bytes = bb_journal_last_file(self)->bytes;
    }
    bb_file_t *file = NULL;
    bb_error_t error = bb_journal_spares_take(&self->spares, path, &header, &file);
    if (error == BB_ERR_NOT_FOUND) {
        error = s_begin_new(self, path, &header, &file, fault);
    }
    if (error == BB_OK) {
        error = self->vfs->sync_directory(self->vfs, self->directory);
    }
    if (error != BB_OK) {
        self->vfs->close(self->vfs, &file);
        return bb_fault_set(fault, error, "%s: begin journal file: %s", path,
                            bb_error_message(error));
    }
    if (self->file_count > 0) {
        bb_journal_dots_seal(&bb_journal_last_file(self)->dots);
    }
    self->vfs->close(self->vfs, &self->output);
    self->output = file;
    self->is_fresh_tried = false;
    bb_journal_add_file(self, file_seq)->size_bytes =
        BB_MAX(header.recycled_bytes, (uint64_t)BB_JOURNAL_FILE_HEADER_BYTES);
    return BB_OK;
}

// ---- writing ---------------------------------------------------------------------------------
bb_error_t bb_journal_append(bb_journal_t *self, const bb_chunks_t *chunks,
                             bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    BB_ASSERT(chunks->part_count == batch->part_count);
    BB_ASSERT(chunks_encoded.length >= 1 && batch->encoded.length >= 1);
    if (self->fenced) {
        return BB_ERR_FENCED;
    }
    bb_slice_t payload = batch->encoded;
    if (chunks_encoded.length > BB_JOURNAL_PAYLOAD_BYTES_MAX ||
        payload.length > BB_JOURNAL_PAYLOAD_BYTES_MAX - chunks_encoded.length) {
        return BB_ERR_MESSAGE_BYTES;
    }
    uint64_t bytes = BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(chunks_encoded.length) +
                     bb_journal_padded(payload.length);
    if (self->staged_count == BB_JOURNAL_STAGED_RECORDS_MAX ||
        self->staged_bytes + bytes > S_STAGED_BYTES_MAX) {
        return BB_ERR_BUSY;
    }
    uint32_t dot_count = chunks->part_count;
    if (self->staged_dot_capacity - self->staged_dot_count < dot_count) {
        self->staged_dot_capacity =
            BB_MAX(self->staged_dot_capacity * 2, self->staged_dot_count + dot_count);
        self->staged_dots =
            bb_realloc(self->staged_dots, self->staged_dot_capacity * sizeof *self->staged_dots);
    }
    self->staged[self->staged_count++] = (bb_journal_staged_t){
        .chunks = chunks_encoded,
        .batch = payload,
        .payload_checksum = bb_journal_payload_checksum(chunks_encoded, payload),
        .stream = chunks->stream,
        .dot_first = self->staged_dot_count,
        .dot_count = dot_count,
    };
    for (uint32_t i = 0; i < dot_count; i++) {
        self->staged_dots[self->staged_dot_count++] =
            (bb_journal_staged_dot_t){batch->parts[i].partition, bb_chunks_seq(chunks, i)};
    }
    self->staged_bytes += bytes;
    return BB_OK;
}

uint64_t bb_journal_staged_bytes(const bb_journal_t *self)
{
    return self->staged_bytes;
}

static void s_drop_staged(bb_journal_t *self)
{
    self->staged_count = 0;
    self->staged_bytes = 0;
    self->staged_dot_count = 0;
}

static struct iovec *s_add_piece(struct iovec *piece, const void *data, size_t length)
{
    if (length == 0) {
        return piece;
    }
    // Only read from; the type of an iovec lacks the const.
    union {
        const void *constant;
        void *given;
    } base = {.constant = data};
    *piece = (struct iovec){base.given, length};
    return piece + 1;
}

// Gives the staged records their seqs and lists the pieces of the gathered write.
static int s_gather(bb_journal_t *self)
{
    bb_journal_place_t place = {self->owner, bb_journal_last_file(self)->seq};
    struct iovec *piece = self->pieces;
    for (uint32_t i = 0; i < self->staged_count; i++) {
        const bb_journal_staged_t *staged = &self->staged[i];
        bb_journal_record_header_t header = {
            .seq = self->next_seq + i,
            .group_seq = self->next_seq,
            .chunks_bytes = (uint32_t)staged->chunks.length,
            .batch_bytes = (uint32_t)staged->batch.length,
        };
        bb_journal_record_header_encode(&header, place, staged->payload_checksum, self->headers[i]);
        size_t chunks_padding = bb_journal_padded(staged->chunks.length) - staged->chunks.length;
        size_t batch_padding = bb_journal_padded(staged->batch.length) - staged->batch.length;
        piece = s_add_piece(piece, self->headers[i], sizeof self->headers[i]);
        piece = s_add_piece(piece, staged->chunks.data, staged->chunks.length);
        piece = s_add_piece(piece, s_padding, chunks_padding);
        piece = s_add_piece(piece, staged->batch.data, staged->batch.length);
        piece = s_add_piece(piece, s_padding, batch_padding);
    }
    return (int)(piece - self->pieces);
}

static bb_error_t s_fence(bb_journal_t *self, bb_error_t error)
{
    self->fenced = true;
    s_drop_staged(self);
    return error;
}

// The disk was full at the write: nothing was promised, so the file is cut back to where it was.
// The cut is synced, because recovery takes anything behind an older file's end for damage.
static bb_error_t s_cut_back(bb_journal_t *self)
{
    bb_journal_file_t *file = bb_journal_last_file(self);
    file->size_bytes = file->bytes;
    bb_error_t error = self->vfs->truncate(self->vfs, self->output, file->bytes);
    if (error == BB_OK) {
        error = self->vfs->sync(self->vfs, self->output);
    }
    if (error != BB_OK) {
        return s_fence(self, BB_ERR_IO);
    }
    s_drop_staged(self);
    return BB_ERR_DISK_FULL;
}

static void s_settle(bb_journal_t *self)
{
    bb_journal_file_t *file = bb_journal_last_file(self);
    for (uint32_t i = 0; i < self->staged_count; i++) {
        const bb_journal_staged_t *staged = &self->staged[i];
        for (uint32_t j = 0; j < staged->dot_count; j++) {
            const bb_journal_staged_dot_t *dot = &self->staged_dots[staged->dot_first + j];
            bb_journal_dots_add(&file->dots, dot->partition, &staged->stream, dot->seq);
        }
    }
    file->bytes += self->staged_bytes;
    file->size_bytes = BB_MAX(file->size_bytes, file->bytes);
    file->record_count += self->staged_count;
    self->next_seq += self->staged_count;
    s_drop_staged(self);
}

// Is the present file done with? Also when it would grow although a spare has the room.
static bool s_is_next_due(const bb_journal_t *self)
{
    const bb_journal_file_t *file = bb_journal_last_file(self);
    uint64_t bytes = file->bytes + self->staged_bytes;
    return file->record_count > 0 &&
           (bytes > self->file_bytes_max ||
            (bytes > file->size_bytes &&
             bb_journal_spares_bytes_max(&self->spares) >= self->file_bytes_max / 2));
}

bb_error_t bb_journal_sync(bb_journal_t *self)
{
    if (self->fenced) {
        return BB_ERR_FENCED;
    }
    if (self->staged_count == 0) {
        return BB_OK;
    }
    if (s_is_next_due(self)) {
        bb_error_t error =
            bb_journal_begin_file(self, bb_journal_last_file(self)->seq + 1, 0, NULL);
        if (error == BB_ERR_DISK_FULL) {
            s_drop_staged(self);
            return error;
        }
        if (error != BB_OK) {
            return s_fence(self, error);
        }
    }
    int piece_count = s_gather(self);
    bb_error_t error = self->vfs->write_at(
        self->vfs, self->output, bb_journal_last_file(self)->bytes, self->pieces, piece_count);
    if (error == BB_ERR_DISK_FULL) {
        return s_cut_back(self);
    }
    if (error != BB_OK) {
        return s_fence(self, error);
    }
    BB_KILLPOINT(self->vfs, WRITE_WRITTEN);
    error = self->vfs->sync(self->vfs, self->output);
    if (error != BB_OK) {
        // A disk that is found full this late is a failed sync like any other.
        return s_fence(self, error == BB_ERR_DISK_FULL ? BB_ERR_IO : error);
    }
    s_settle(self);
    return BB_OK;
}

bb_error_t bb_journal_rotate(bb_journal_t *self, uint64_t *sealed_through)
{
    BB_ASSERT(self->staged_count == 0);
    if (self->fenced) {
        return BB_ERR_FENCED;
    }
    uint64_t file_seq = bb_journal_last_file(self)->seq;
    if (bb_journal_last_file(self)->bytes > bb_journal_last_file(self)->header_bytes) {
        bb_error_t error = bb_journal_begin_file(self, file_seq + 1, 0, NULL);
        if (error != BB_OK) {
            return error == BB_ERR_DISK_FULL ? error : s_fence(self, error);
        }
        file_seq++;
    }
    *sealed_through = file_seq - 1;
    return BB_OK;
}

// ---- looking ---------------------------------------------------------------------------------
bool bb_journal_is_fenced(const bb_journal_t *self)
{
    return self->fenced;
}

uint64_t bb_journal_bytes(const bb_journal_t *self)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < self->file_count; i++) {
        bytes += self->files[i].bytes;
    }
    return bytes;
}

uint64_t bb_journal_spare_bytes(const bb_journal_t *self)
{
    uint64_t bytes = bb_journal_spares_bytes(&self->spares);
    for (uint32_t i = 0; i < self->file_count; i++) {
        bytes += self->files[i].size_bytes - self->files[i].bytes;
    }
    return bytes;
}

uint64_t bb_journal_file_first(const bb_journal_t *self)
{
    return self->file_count > 0 ? self->files[0].seq : 0;
}

uint64_t bb_journal_file_last(const bb_journal_t *self)
{
    return bb_journal_last_file(self)->seq;
}

// The kept file of that number, or NULL.
static bb_journal_file_t *s_file(const bb_journal_t *self, uint64_t file_seq)
{
    for (uint32_t i = 0; i < self->file_count; i++) {
        if (self->files[i].seq == file_seq) {
            return &self->files[i];
        }
    }
    return NULL;
}

void bb_journal_dots(const bb_journal_t *self, uint64_t file_seq, bb_journal_dots_fn callback,
                     void *context)
{
    const bb_journal_file_t *file = s_file(self, file_seq);
    for (uint32_t i = 0; file && i < file->dots.range_count; i++) {
        const bb_journal_dot_range_t *range = &file->dots.ranges[i];
        if (!callback(context, range->partition, &file->dots.streams[range->stream_index],
                      range->first_seq, range->last_seq)) {
            return;
        }
    }
}

static bb_error_t s_open_input(bb_journal_t *self, const bb_journal_file_t *file)
{
    if (!self->input || self->input_seq != file->seq) {
        self->vfs->close(self->vfs, &self->input);
        char path[PATH_MAX];
        bb_journal_file_path(self, file->seq, path);
        bb_error_t error = self->vfs->open(self->vfs, path, BB_FILE_READ, &self->input, NULL);
        if (error != BB_OK) {
            return error == BB_ERR_NOT_FOUND ? BB_ERR_CORRUPT : error; // we know that it was there
        }
        self->input_seq = file->seq;
        bb_journal_reader_start(&self->reader, self->vfs, self->input,
                                (bb_journal_place_t){self->owner, file->seq}, file->bytes);
    }
    self->reader.limit = file->bytes; // it may have grown; what was read before has not changed
    return BB_OK;
}

// The end of the known damage that covers `offset`, or `offset`.
static uint64_t s_past_damage(const bb_journal_file_t *file, uint64_t offset)
{
    for (uint32_t i = 0; i < file->damaged_count; i++) {
        const bb_journal_stretch_t *stretch = &file->damaged[i];
        if (offset >= stretch->offset && offset - stretch->offset < stretch->bytes) {
            offset = stretch->offset + stretch->bytes;
        }
    }
    return offset;
}

// Something new is wrong at *offset: moves on to the next valid record or the end.
static bb_error_t s_pass_new_damage(bb_journal_t *self, const bb_journal_file_t *file,
                                    uint64_t *offset)
{
    bb_journal_found_t found;
    bb_error_t error =
        bb_journal_reader_find(&self->reader, *offset + BB_JOURNAL_ALIGNMENT, 0, &found);
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        return error;
    }
    *offset = error == BB_OK ? found.offset : file->bytes;
    return BB_ERR_CORRUPT;
}

bb_error_t bb_journal_read(bb_journal_t *self, uint64_t file_seq, uint64_t *offset,
                           bb_journal_record_fn on_record, void *context)
{
    const bb_journal_file_t *file = s_file(self, file_seq);
    if (!file) {
        return BB_ERR_NOT_FOUND;
    }
    BB_ASSERT(*offset % BB_JOURNAL_ALIGNMENT == 0);
    bb_error_t error = s_open_input(self, file);
    if (error == BB_ERR_CORRUPT) {
        *offset = file->bytes;
    }
    *offset = BB_MAX(*offset, (uint64_t)file->header_bytes);
    while (error == BB_OK) {
        *offset = s_past_damage(file, *offset);
        if (*offset >= file->bytes) {
            return BB_ERR_NOT_FOUND;
        }
        bb_journal_found_t found;
        error = bb_journal_reader_at(&self->reader, *offset, &found);
        if (error == BB_ERR_CORRUPT) {
            return s_pass_new_damage(self, file, offset);
        }
        if (error == BB_OK) {
            bool understood;
            bb_fault_t fault;
            *offset += bb_journal_record_bytes(&found.header);
            error =
                bb_journal_deliver(&found, file_seq, on_record, context, NULL, &understood, &fault);
            error = error == BB_OK && !understood ? BB_ERR_CORRUPT : error;
        }
    }
    return error;
}

bb_error_t bb_journal_drop(bb_journal_t *self, uint64_t file_seq)
{
    bb_journal_file_t *file = s_file(self, file_seq);
    if (!file) {
        return BB_ERR_NOT_FOUND;
    }
    BB_ASSERT(file != bb_journal_last_file(self)); // numbers would begin again
    if (self->input && self->input_seq == file_seq) {
        self->vfs->close(self->vfs, &self->input);
    }
    char path[PATH_MAX];
    bb_journal_file_path(self, file_seq, path);
    // One with damage may lie on blocks that are going bad: not written again.
    bb_error_t error = file->damaged_count > 0
                           ? self->vfs->remove(self->vfs, path)
                           : bb_journal_spares_put(&self->spares, path, file_seq, file->size_bytes);
    if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
        return error;
    }
    // Not synced: a file that a crash brings back holds nothing that is not known, and goes again.
    bb_journal_file_clear(file);
    self->file_count--;
    memmove(file, file + 1,
            (self->file_count - (size_t)(file - self->files)) * sizeof *self->files);
    return BB_OK;
}

bb_error_t bb_journal_spares_drop(bb_journal_t *self)
{
    return bb_journal_spares_clear(&self->spares);
}

// SPDX-License-Identifier: Apache-2.0
#include "storage/journal/bb_journal_reader.h"

#include <stdlib.h>
#include <string.h>

#define S_WINDOW_BYTES (1u << 20)

void bb_journal_reader_start(bb_journal_reader_t *self, bb_vfs_t *vfs, bb_file_t *file,
                             bb_journal_place_t place, uint64_t limit)
{
    self->vfs = vfs;
    self->file = file;
    self->place = place;
    self->limit = limit;
    self->window_offset = 0;
    self->window_bytes = 0;
}

void bb_journal_reader_clear(bb_journal_reader_t *self)
{
    free(self->window);
    *self = (bb_journal_reader_t){0};
}

// Points *bytes at `length` bytes of the file; CORRUPT when they are not all there.
static bb_error_t s_bytes(bb_journal_reader_t *self, uint64_t offset, size_t length,
                          const uint8_t **bytes)
{
    BB_ASSERT(offset % BB_JOURNAL_ALIGNMENT == 0);
    if (offset > self->limit || length > self->limit - offset) {
        return BB_ERR_CORRUPT;
    }
    bool inside = offset >= self->window_offset &&
                  offset - self->window_offset <= self->window_bytes &&
                  length <= self->window_bytes - (size_t)(offset - self->window_offset);
    if (!inside) {
        size_t wanted = BB_MAX(length, (size_t)S_WINDOW_BYTES);
        wanted = (size_t)BB_MIN((uint64_t)wanted, self->limit - offset);
        if (wanted > self->window_capacity) {
            // Nothing in it is wanted any more, so this is cheaper than a realloc.
            free(self->window);
            self->window_capacity = BB_MAX(wanted, (size_t)4096);
            self->window = bb_alloc(self->window_capacity);
        }
        self->window_bytes = 0;
        self->window_offset = offset;
        size_t got = 0;
        bb_error_t error =
            self->vfs->read_at(self->vfs, self->file, offset, self->window, wanted, &got);
        if (error != BB_OK) {
            return error;
        }
        self->window_bytes = got;
        if (got < length) {
            return BB_ERR_CORRUPT; // shorter than it was
        }
    }
    *bytes = self->window + (offset - self->window_offset);
    return BB_OK;
}

bb_error_t bb_journal_reader_header(bb_journal_reader_t *self, uint64_t offset,
                                    bb_journal_record_header_t *header)
{
    const uint8_t *bytes;
    bb_error_t error = s_bytes(self, offset, BB_JOURNAL_RECORD_HEADER_BYTES, &bytes);
    if (error != BB_OK) {
        return error;
    }
    return bb_journal_record_header_decode(header, bytes) ? BB_OK : BB_ERR_CORRUPT;
}

bb_error_t bb_journal_reader_at(bb_journal_reader_t *self, uint64_t offset,
                                bb_journal_found_t *found)
{
    const uint8_t *bytes;
    bb_journal_record_header_t header;
    bb_error_t error = bb_journal_reader_header(self, offset, &header);
    if (error != BB_OK) {
        return error;
    }
    error = s_bytes(self, offset, bb_journal_record_bytes(&header), &bytes);
    if (error != BB_OK) {
        return error;
    }
    if (!bb_journal_record_is_valid(&header, self->place, bytes)) {
        return BB_ERR_CORRUPT;
    }
    const uint8_t *chunks = bytes + BB_JOURNAL_RECORD_HEADER_BYTES;
    *found = (bb_journal_found_t){
        .offset = offset,
        .header = header,
        .chunks = bb_slice(chunks, header.chunks_bytes),
        .batch = bb_slice(chunks + bb_journal_padded(header.chunks_bytes), header.batch_bytes),
    };
    return BB_OK;
}

// How far the window reaches from `offset` on, in whole steps; at least one.
static uint64_t s_window_limit(const bb_journal_reader_t *self, uint64_t offset)
{
    uint64_t limit = self->window_offset + self->window_bytes - BB_JOURNAL_RECORD_HEADER_BYTES;
    return BB_MAX(offset, limit);
}

bb_error_t bb_journal_reader_find(bb_journal_reader_t *self, uint64_t offset, uint64_t seq,
                                  bb_journal_found_t *found)
{
    while (offset + BB_JOURNAL_RECORD_HEADER_BYTES <= self->limit) {
        const uint8_t *bytes;
        bb_error_t error = s_bytes(self, offset, BB_JOURNAL_RECORD_HEADER_BYTES, &bytes);
        if (error != BB_OK) {
            return error == BB_ERR_CORRUPT ? BB_ERR_NOT_FOUND : error; // shorter than it was
        }
        uint64_t limit = s_window_limit(self, offset);
        bb_journal_record_header_t header;
        // What an earlier life of the file left has smaller seqs: no checksum is spent on it.
        while (offset <= limit &&
               !(bb_journal_record_may_begin(bytes) &&
                 bb_journal_record_header_decode(&header, bytes) && header.seq > seq)) {
            offset += BB_JOURNAL_ALIGNMENT;
            bytes += BB_JOURNAL_ALIGNMENT;
        }
        if (offset > limit) {
            continue;
        }
        error = bb_journal_reader_at(self, offset, found);
        if (error != BB_ERR_CORRUPT) {
            return error;
        }
        offset += BB_JOURNAL_ALIGNMENT;
    }
    return BB_ERR_NOT_FOUND;
}

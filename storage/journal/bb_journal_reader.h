// SPDX-License-Identifier: Apache-2.0
// bb_journal_reader - finds records in one journal file, sound or not.
//
// One thread. Reads through a window of at least 1 MiB, so that small records cost no call each.
// Knows checksums and lengths; what a record means is the caller's business.
#ifndef BB_JOURNAL_READER_H
#define BB_JOURNAL_READER_H

#include "storage/journal/bb_journal_format.h"
#include "storage/vfs/bb_file.h"

typedef struct {
    bb_vfs_t *vfs;
    bb_file_t *file; // borrowed
    bb_journal_place_t place;
    uint64_t limit; // bytes of the file that count
    uint8_t *window;
    size_t window_capacity;
    uint64_t window_offset; // multiple of BB_JOURNAL_ALIGNMENT
    size_t window_bytes;
} bb_journal_reader_t;

typedef struct {
    uint64_t offset;
    bb_journal_record_header_t header;
    bb_slice_t chunks; // 8-byte aligned; borrowed until the next call
    bb_slice_t batch;
} bb_journal_found_t;

// Starts on another file; keeps the memory.
void bb_journal_reader_start(bb_journal_reader_t *self, bb_vfs_t *vfs, bb_file_t *file,
                             bb_journal_place_t place, uint64_t limit);
void bb_journal_reader_clear(bb_journal_reader_t *self); // frees the memory

// The header at `offset` (multiple of 8), whatever follows it. BB_ERR_CORRUPT: there cannot be one.
BB_MUST_CHECK bb_error_t bb_journal_reader_header(bb_journal_reader_t *self, uint64_t offset,
                                                  bb_journal_record_header_t *header);
// The record at `offset` (multiple of 8). BB_ERR_CORRUPT: no valid one there. IO.
BB_MUST_CHECK bb_error_t bb_journal_reader_at(bb_journal_reader_t *self, uint64_t offset,
                                              bb_journal_found_t *found);
// The first valid record at or behind `offset` whose seq is larger than `seq`. BB_ERR_NOT_FOUND,
// IO. Costs one comparison per 8 bytes, and a checksum for each thing that looks like a header with
// such a seq.
BB_MUST_CHECK bb_error_t bb_journal_reader_find(bb_journal_reader_t *self, uint64_t offset,
                                                uint64_t seq, bb_journal_found_t *found);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_journal_private - what bb_journal.c and bb_journal_open.c share.
//
// Files of a journal: "000000000001.journal" and so on; damaged ones that could not be used are
// kept as "000000000001.journal.damaged", and dropped ones that will be written again as
// "000000000001.spare", like one that was made to be written to ("fresh.spare"). The file being
// written always exists and is never dropped, so that a file number is never given twice.
#ifndef BB_JOURNAL_PRIVATE_H
#define BB_JOURNAL_PRIVATE_H

#include <limits.h>

#include "storage/journal/bb_journal_recover.h"
#include "storage/journal/bb_journal_spares.h"

#define BB_JOURNAL_STAGED_RECORDS_MAX 1024
#define BB_JOURNAL_PIECES_PER_RECORD  5 // header, chunks, padding, batch, padding
#define BB_JOURNAL_SUFFIX             ".journal"
#define BB_JOURNAL_NAME_BYTES         64

typedef struct {
    bb_slice_t chunks;
    bb_slice_t batch;
    uint32_t payload_checksum;
    bb_stream_t stream;
    uint32_t dot_first; // index into staged_dots
    uint32_t dot_count;
} bb_journal_staged_t;

typedef struct {
    uint32_t partition;
    uint64_t seq;
} bb_journal_staged_dot_t;

struct bb_journal {
    bb_vfs_t *vfs;
    char *directory;
    uint64_t file_bytes_max;
    uint64_t owner;
    bool fenced;

    bb_journal_file_t *files; // ascending; the last is being written
    uint32_t file_count, file_capacity;
    bb_file_t *output;
    uint64_t next_seq;
    bb_journal_spares_t spares;
    bool is_fresh_tried; // since the present file was begun

    bb_journal_reader_t reader;
    bb_file_t *input; // kept open between calls of _read
    uint64_t input_seq;

    bb_journal_staged_t *staged; // BB_JOURNAL_STAGED_RECORDS_MAX
    uint32_t staged_count;
    uint64_t staged_bytes;
    bb_journal_staged_dot_t *staged_dots;
    uint32_t staged_dot_count, staged_dot_capacity;
    uint8_t (*headers)[BB_JOURNAL_RECORD_HEADER_BYTES]; // BB_JOURNAL_STAGED_RECORDS_MAX
    struct iovec *pieces; // BB_JOURNAL_STAGED_RECORDS_MAX * BB_JOURNAL_PIECES_PER_RECORD
};

void bb_journal_file_path(const bb_journal_t *self, uint64_t file_seq, char path[PATH_MAX]);
bb_journal_file_t *bb_journal_add_file(bb_journal_t *self, uint64_t file_seq);
bb_journal_file_t *bb_journal_last_file(const bb_journal_t *self); // the one being written
// Makes file `file_seq` with a durable header and names it the one being written. On error nothing
// has changed; an unfinished file may be left, which the next attempt and recovery begin anew.
BB_MUST_CHECK bb_error_t bb_journal_begin_file(bb_journal_t *self, uint64_t file_seq,
                                               uint32_t flags, bb_fault_t *fault);

#endif

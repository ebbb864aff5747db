// SPDX-License-Identifier: Apache-2.0
// bb_journal - the append-only files that make a chunk durable before anyone hears of it.
//
// Owned by one thread (the store's). I/O through bb_file.h. A record is (chunks header, batch) as
// they travelled. Records are staged by _append and made durable together by _sync: one gathered
// write and one fdatasync for all that arrived meanwhile (group commit). Files are numbered
// 1, 2, 3...; a new one begins at file_bytes_max or at _rotate. Dropped ones are written again
// under a new number (bb_journal_spares.h). Bytes: see README.md beside this.
//
// Recovery reads every file: a torn tail (nothing valid follows) is cut; damage in the middle is
// reported and skipped, and valid records after it are used, because chunks are a set: what is
// missing will be pulled from peers.
#ifndef BB_JOURNAL_H
#define BB_JOURNAL_H

#include "protocol/bb_chunks.h"
#include "storage/vfs/bb_file.h"

typedef struct bb_journal bb_journal_t;

// Which dots a file holds; used to decide what a peer lacks and when a file may go.
// Visits each (partition, stream, [first, last]) of the file.
typedef bool (*bb_journal_dots_fn)(void *context, uint32_t partition, const bb_stream_t *stream,
                                   uint64_t first_seq, uint64_t last_seq); // false stops

// One record, as found at recovery or by _read. `chunks` and `batch` are verified and borrowed for
// the call; both encoded slices are 8-byte aligned.
typedef bb_error_t (*bb_journal_record_fn)(void *context, uint64_t file_seq,
                                           const bb_chunks_t *chunks, bb_slice_t chunks_encoded,
                                           const bb_batch_t *batch);

typedef struct {
    uint64_t file_count, record_count, bytes;
    uint64_t torn_bytes;    // cut from the tail
    uint64_t damaged_count; // damaged stretches in the middle
    uint64_t damaged_bytes;
    // Of damaged_count, those inside the last group commit of a process: a power loss can tear
    // them, and then nobody was told that they were durable. The others were synced once.
    uint64_t unsynced_count;
    char first_damage[256]; // "file, offset: what" or empty
} bb_journal_report_t;

typedef struct {
    bb_vfs_t *vfs;
    const char *directory;   // made if missing
    uint64_t file_bytes_max; // 0 = 64 MiB
    uint64_t owner;          // written into each file and checked: a journal of another store is
                             // refused (BB_ERR_FOREIGN)
} bb_journal_options_t;

// Opens or creates; calls on_record for every valid record of every file in order. New records go
// to a new file. Errors: IO, DISK_FULL, FORMAT, FOREIGN, or what on_record returned.
BB_MUST_CHECK bb_error_t bb_journal_open(const bb_journal_options_t *options,
                                         bb_journal_record_fn on_record, void *context,
                                         bb_journal_report_t *report, bb_journal_t **journal,
                                         bb_fault_t *fault);
void bb_journal_close(bb_journal_t **self); // staged records are dropped

// Stages one record; chunks_encoded and batch->encoded must stay valid until _sync, the two views
// only for the call. BB_ERR_BUSY: too much is staged, sync first. BB_ERR_FENCED after a failed
// sync. BB_ERR_MESSAGE_BYTES: the record alone passes the largest message.
BB_MUST_CHECK bb_error_t bb_journal_append(bb_journal_t *self, const bb_chunks_t *chunks,
                                           bb_slice_t chunks_encoded, const bb_batch_t *batch);
uint64_t bb_journal_staged_bytes(const bb_journal_t *self);
// Makes all staged records durable. On any error the journal is fenced: nothing staged counts, and
// every later append and sync returns BB_ERR_FENCED (a failed fsync is never retried).
// DISK_FULL at the write (before any sync) drops the staged records, cuts the file back and does
// not fence.
BB_MUST_CHECK bb_error_t bb_journal_sync(bb_journal_t *self);
bool bb_journal_is_fenced(const bb_journal_t *self);

// Ends the current file so that it can be sealed; *sealed_through is the last file number that
// holds records appended before this call. Staged records must be synced. DISK_FULL changes nothing
// and may be tried again; FENCED; another error fences.
BB_MUST_CHECK bb_error_t bb_journal_rotate(bb_journal_t *self, uint64_t *sealed_through);

uint64_t bb_journal_bytes(const bb_journal_t *self);
// Of dropped files that wait to be written again, and behind the end of recycled ones: on disk, not
// in _bytes, and empty as far as anybody can tell.
uint64_t bb_journal_spare_bytes(const bb_journal_t *self);
uint64_t bb_journal_file_first(const bb_journal_t *self); // oldest kept, 0 = none
uint64_t bb_journal_file_last(const bb_journal_t *self);  // the one being written
void bb_journal_dots(const bb_journal_t *self, uint64_t file_seq, bb_journal_dots_fn callback,
                     void *context);
// Reads durable records of one file in order from byte offset *offset (0 = start) until on_record
// returns other than BB_OK (BB_ERR_CANCELLED = "enough"); *offset is where to go on (after the
// record that said enough). Returns BB_ERR_NOT_FOUND at the end of the file, or when there is no
// such file. Stretches that recovery reported are skipped. BB_ERR_CORRUPT: something that was sound
// at recovery no longer is; *offset is behind it, so the caller can note it and go on. IO.
BB_MUST_CHECK bb_error_t bb_journal_read(bb_journal_t *self, uint64_t file_seq, uint64_t *offset,
                                         bb_journal_record_fn on_record, void *context);
// Forgets one file (never the one being written): it is kept to be written again, up to
// BB_JOURNAL_SPARES_MAX of them, or removed.
BB_MUST_CHECK bb_error_t bb_journal_drop(bb_journal_t *self, uint64_t file_seq);
// Removes the files that wait to be written again.
BB_MUST_CHECK bb_error_t bb_journal_spares_drop(bb_journal_t *self);

#endif

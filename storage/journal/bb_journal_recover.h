// SPDX-License-Identifier: Apache-2.0
// bb_journal_recover - reads one journal file from end to end, whatever has happened to it.
//
// One thread. Part of bb_journal. A record counts when its checksum, its place in the order of
// seqs and everything inside it verify; what does not is a damaged stretch that later reads skip.
#ifndef BB_JOURNAL_RECOVER_H
#define BB_JOURNAL_RECOVER_H

#include "storage/journal/bb_journal.h"
#include "storage/journal/bb_journal_dots.h"
#include "storage/journal/bb_journal_reader.h"

typedef struct {
    uint64_t offset;
    uint64_t bytes;
} bb_journal_stretch_t;

// What is kept in memory of one file.
typedef struct {
    uint64_t seq;
    uint64_t bytes;        // header included; what is behind does not count
    uint64_t size_bytes;   // on disk: more than `bytes` in a recycled file
    uint32_t header_bytes; // where records begin
    uint64_t record_count;
    bb_journal_dots_t dots;
    bb_journal_stretch_t *damaged; // ascending; known since recovery
    uint32_t damaged_count, damaged_capacity;
} bb_journal_file_t;

void bb_journal_file_clear(bb_journal_file_t *self);

// Decodes and verifies a found record and hands it to on_record. *understood is false, and
// on_record was not called, when the inside does not verify; `fault` then says why. Errors:
// MESSAGE_VERSION (a batch of another version), or what on_record returned.
BB_MUST_CHECK bb_error_t bb_journal_deliver(const bb_journal_found_t *found, uint64_t file_seq,
                                            bb_journal_record_fn on_record, void *context,
                                            bb_journal_dots_t *dots, bool *understood,
                                            bb_fault_t *fault);

typedef struct {
    bb_journal_reader_t *reader; // started on the file
    const char *name;            // for the report
    uint64_t base_seq;           // of the file header
    uint64_t ended_bytes;        // what is in front of this was written in this life of the file
    bool is_newest;              // an invalid tail is torn, not damaged
    bool is_last_of_process;     // its last group commit may never have been synced
    bb_journal_record_fn on_record;
    void *context;
    bb_journal_report_t *report; // added to
    bb_journal_file_t *file;     // filled; `bytes` ends before a torn tail
    uint64_t last_seq;           // out: of the last valid record, or base_seq - 1
    uint64_t group_offset;       // out: of the last group commit; what is before it was synced
} bb_journal_recovery_t;

// Errors: IO, MESSAGE_VERSION, or what on_record returned.
BB_MUST_CHECK bb_error_t bb_journal_recover(bb_journal_recovery_t *self);

// Counts a damaged stretch in a report and keeps the first one's text.
void bb_journal_report_damage(bb_journal_report_t *report, const char *name, uint64_t offset,
                              uint64_t bytes, const char *what);

#endif

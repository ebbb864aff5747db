// SPDX-License-Identifier: Apache-2.0
// bb_inspect_journal - what one journal file holds, record by record, sound or not.
//
// One thread. Reads only, takes no lock: a file that is written meanwhile shows what was there. A
// record counts when it verifies and everything inside it does, as at recovery; other bytes are
// damage, or the end of the file if nothing that verifies follows.
#ifndef BB_INSPECT_JOURNAL_H
#define BB_INSPECT_JOURNAL_H

#include "storage/inspect/bb_report.h"
#include "storage/vfs/bb_file.h"

typedef struct {
    uint64_t file_bytes, owner, file_seq, base_seq;
    bool is_header_sound;
    uint32_t header_bytes;
    uint64_t previous_bytes; // where the file before ended, as the header says; 0 = not said
    uint64_t recycled_bytes; // what the file had from an earlier life when it was begun
    uint64_t record_count, record_bytes, chunk_count, frame_count, point_count, quarantined_count;
    uint64_t batch_bytes, first_seq, last_seq, missing_seq_count;
    uint64_t damaged_count, damaged_bytes; // stretches with sound records behind, or not understood
    uint64_t end_bytes;                    // where sound records end
    uint64_t tail_bytes;                   // behind: torn, or left of an earlier life of the file
    int64_t first_wall_ns, last_wall_ns;   // of the points; 0, 0 when there are none
    char first_damage[160];
} bb_inspect_journal_t;

typedef struct {
    bb_vfs_t *vfs;
    const char *path;
    uint64_t owner_wanted; // 0 = any; another one is BB_ERR_FOREIGN
    bb_report_t *records;  // NULL, or where each record and stretch becomes a row
} bb_inspect_journal_options_t;

// Reads the file to its end. A header that does not verify is damage: the records cannot be bound
// to the file then, so none of them is sound. Errors: NOT_FOUND, PERMISSION, IO; FOREIGN; FORMAT: a
// newer version.
BB_MUST_CHECK bb_error_t bb_inspect_journal(const bb_inspect_journal_options_t *options,
                                            bb_inspect_journal_t *found, bb_fault_t *fault);
// The summary as fields of the object that is open in the report.
void bb_inspect_journal_report(const bb_inspect_journal_t *found, bb_report_t *report);

#endif

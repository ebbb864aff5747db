// SPDX-License-Identifier: Apache-2.0
// bb_journal_fresh - a journal file that is filled with zeros before anybody needs it.
//
// A sync of a file that grows needs a commit of the file system's own journal, which first writes
// out what other files have grown by meanwhile: while a flush writes segments, an acknowledgement
// waits for all of them (ext4, data=ordered). A file whose blocks were written before does not. So
// a spare (bb_journal_spares.h) is made in the background when there is none, and the journal
// changes over to it as soon as the present file would grow. README.md beside this has the numbers.
//
// begin and end on the journal's thread, run in any, once. At most one is alive.
#ifndef BB_JOURNAL_FRESH_H
#define BB_JOURNAL_FRESH_H

#include "storage/journal/bb_journal.h"

// Records in the present file before one is made, or a quarter of the largest file: who writes
// little needs none.
#define BB_JOURNAL_FRESH_AFTER_BYTES (UINT64_C(1) << 20)

typedef struct bb_journal_fresh bb_journal_fresh_t;

// Spares hold less than two files' worth, and the present file is written to. False once it was
// begun for the present file, whatever became of it, and while older files pile up because a
// replica is away.
bool bb_journal_fresh_is_wanted(const bb_journal_t *self);
uint64_t bb_journal_fresh_bytes(const bb_journal_t *self); // what one takes on the disk
// Only while it is wanted.
bb_journal_fresh_t *bb_journal_fresh_begin(bb_journal_t *self);
// IO, DISK_FULL and what else the file system says: the file is gone, or found at the next opening.
BB_MUST_CHECK bb_error_t bb_journal_fresh_run(bb_journal_fresh_t *fresh);
// `error` is what _run returned; takes the object.
void bb_journal_fresh_end(bb_journal_t *self, bb_journal_fresh_t **fresh, bb_error_t error);
// Given up without a run: there is no room. Not wanted again for the present file.
void bb_journal_fresh_pass(bb_journal_t *self);

#endif

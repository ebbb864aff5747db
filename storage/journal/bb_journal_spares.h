// SPDX-License-Identifier: Apache-2.0
// bb_journal_spares - journal files that are needed no more and wait to be written again.
//
// One thread; part of bb_journal. Overwriting blocks that a file has already needs no commit of the
// file system's own journal at each sync: half the latency of appending (README.md has the
// numbers). So a dropped file is renamed "000000000007.spare", and a new file takes it back under
// its new number. The content of a spare is never read; what it still holds after it was taken is
// bound to its old number and does not verify.
//
//     N.journal --drop--> N.spare --take: header of K written and synced--> K.journal
//
// One that never was a journal file, only filled with zeros (bb_journal_fresh.h), has the number 0
// and a name of its own. The largest is taken first.
//
// The order makes each step safe to be interrupted: a file gets its number only once its header is
// durable, and its header is overwritten only once its name says "spare" durably.
#ifndef BB_JOURNAL_SPARES_H
#define BB_JOURNAL_SPARES_H

#include "storage/journal/bb_journal_format.h"
#include "storage/vfs/bb_file.h"

#define BB_JOURNAL_SPARES_MAX   4
#define BB_JOURNAL_SPARE_SUFFIX ".spare"
#define BB_JOURNAL_FRESH_NAME   "fresh.spare"

typedef struct {
    uint64_t seq; // of its last life; 0: it had none
    uint64_t bytes;
} bb_journal_spare_t;

typedef struct {
    bb_vfs_t *vfs;
    const char *directory;   // borrowed
    uint64_t file_bytes_max; // larger ones are not kept
    bb_journal_spare_t items[BB_JOURNAL_SPARES_MAX];
    uint32_t count;
    bool is_unsynced; // some name may not be durable
} bb_journal_spares_t;

// A file that was found at opening: kept, or removed when there are enough or it is too large.
BB_MUST_CHECK bb_error_t bb_journal_spares_found(bb_journal_spares_t *self, uint64_t seq);
// One that was just made, with the name of that number. When there are enough the smallest of all
// is removed.
void bb_journal_spares_add(bb_journal_spares_t *self, uint64_t seq, uint64_t bytes);
// Makes file `path`, number `seq` of `bytes`, a spare, or removes it. Nothing is synced: whoever
// finds the file again after a crash drops it again.
BB_MUST_CHECK bb_error_t bb_journal_spares_put(bb_journal_spares_t *self, const char *path,
                                               uint64_t seq, uint64_t bytes);
// Opens a spare for writing with the header durable and the name `path`, not yet synced; the
// caller syncs the folder. header->recycled_bytes is filled. NOT_FOUND: there is none. On another
// error no file of that name holds a record.
BB_MUST_CHECK bb_error_t bb_journal_spares_take(bb_journal_spares_t *self, const char *path,
                                                bb_journal_file_header_t *header, bb_file_t **file);
// Removes all: somebody else needs the room.
BB_MUST_CHECK bb_error_t bb_journal_spares_clear(bb_journal_spares_t *self);
uint64_t bb_journal_spares_bytes(const bb_journal_spares_t *self);
bool bb_journal_spares_has_fresh(const bb_journal_spares_t *self);     // number 0
uint64_t bb_journal_spares_bytes_max(const bb_journal_spares_t *self); // of the largest; 0: none

// Writes and syncs a file header.
BB_MUST_CHECK bb_error_t bb_journal_write_header(bb_vfs_t *vfs, bb_file_t *file,
                                                 const bb_journal_file_header_t *header);

#endif

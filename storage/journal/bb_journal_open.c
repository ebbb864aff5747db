// SPDX-License-Identifier: Apache-2.0
// Opening and closing a journal: list the files, read or mend their headers, recover each, begin
// the one to write to. README.md has the table of what is found and what is done about it.
#include "storage/journal/bb_journal_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_FILE_BYTES_DEFAULT (UINT64_C(64) << 20)
#define S_PIECE_BYTES        (1u << 20)
#define S_SUFFIX_DAMAGED     BB_JOURNAL_SUFFIX ".damaged"

// ---- names -----------------------------------------------------------------------------------
static void s_name(char name[BB_JOURNAL_NAME_BYTES], uint64_t file_seq)
{
    snprintf(name, BB_JOURNAL_NAME_BYTES, "%012" PRIu64 BB_JOURNAL_SUFFIX, file_seq);
}

// The number in a name that ends in `suffix`; 0 for other names.
static uint64_t s_number(const char *name, const char *suffix)
{
    uint64_t number = 0;
    size_t digits = strspn(name, "0123456789");
    if (digits < 12 || digits > 19 || strcmp(name + digits, suffix) != 0) {
        return 0;
    }
    for (size_t i = 0; i < digits; i++) {
        number = number * 10 + (uint64_t)(name[i] - '0');
    }
    return number;
}

typedef struct {
    uint64_t *seqs;
    uint32_t count, capacity;
} s_seqs_t;

typedef struct {
    s_seqs_t files, spares;
    uint64_t newest_seq; // of files, those set aside included
    uint64_t seq_max;    // of spares, too
    bool has_fresh;      // a spare that had no number yet
} s_listing_t;

static void s_seqs_add(s_seqs_t *self, uint64_t seq)
{
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(16u, self->capacity * 2);
        self->seqs = bb_realloc(self->seqs, self->capacity * sizeof *self->seqs);
    }
    self->seqs[self->count++] = seq;
}

static void s_on_name(void *context, const char *name, bool is_directory)
{
    s_listing_t *listing = context;
    if (is_directory) {
        return;
    }
    uint64_t seq = s_number(name, BB_JOURNAL_SUFFIX);
    uint64_t spare = s_number(name, BB_JOURNAL_SPARE_SUFFIX);
    uint64_t aside = s_number(name, S_SUFFIX_DAMAGED);
    listing->newest_seq = BB_MAX(listing->newest_seq, BB_MAX(seq, aside));
    listing->seq_max = BB_MAX(listing->seq_max, BB_MAX(listing->newest_seq, spare));
    if (seq != 0) {
        s_seqs_add(&listing->files, seq);
    } else if (spare != 0) {
        s_seqs_add(&listing->spares, spare);
    } else if (strcmp(name, BB_JOURNAL_FRESH_NAME) == 0) {
        listing->has_fresh = true;
    }
}

static int s_compare_seqs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// ---- opening ---------------------------------------------------------------------------------
typedef struct {
    bb_journal_t *journal;
    bb_journal_record_fn on_record;
    void *context;
    bb_journal_report_t *report;
    bb_fault_t *fault;
    bb_journal_file_header_t *headers; // one per listed file
    uint64_t *seqs;
    uint32_t count;
    uint64_t begin_seq;   // the next file's number: no file of it has had a record
    uint64_t newest_seq;  // the one whose tail may be torn
    bool newest_is_empty; // the last file in the list begins with no record
} s_opening_t;

static bb_error_t s_open_fault(const s_opening_t *self, bb_error_t error, uint64_t file_seq,
                               const char *what)
{
    char path[PATH_MAX];
    bb_journal_file_path(self->journal, file_seq, path);
    return bb_fault_set(self->fault, error, "%s: %s: %s", path, what, bb_error_message(error));
}

// A header that does not verify while records behind it do: they are bound to the owner and the
// number of the file, so all that the header said is known again.
static bb_error_t s_mend_header(s_opening_t *self, bb_file_t *file, const char *name,
                                uint64_t file_seq, uint64_t size, bb_journal_file_header_t *header)
{
    bb_journal_t *journal = self->journal;
    bb_journal_found_t found;
    bb_journal_reader_start(&journal->reader, journal->vfs, file,
                            (bb_journal_place_t){journal->owner, file_seq}, size);
    bb_error_t error =
        bb_journal_reader_find(&journal->reader, BB_JOURNAL_FILE_HEADER_BYTES_V1, 0, &found);
    if (error != BB_OK) {
        return error;
    }
    bb_journal_report_damage(self->report, name, 0, BB_JOURNAL_FILE_HEADER_BYTES,
                             "the file header does not verify; mended from its records");
    *header = (bb_journal_file_header_t){
        .owner = journal->owner,
        .file_seq = file_seq,
        .base_seq = found.header.group_seq,
        .flags = BB_JOURNAL_FILE_BEGUN_AT_OPEN,
        .header_bytes = found.offset < BB_JOURNAL_FILE_HEADER_BYTES
                            ? BB_JOURNAL_FILE_HEADER_BYTES_V1
                            : BB_JOURNAL_FILE_HEADER_BYTES,
        .recycled_bytes = size, // nobody knows
    };
    return bb_journal_write_header(journal->vfs, file, header);
}

// A file without a usable header: the newest one that never got as far as a record is begun anew
// later; others are kept under another name. BB_ERR_NOT_FOUND: there is no file of that number now.
static bb_error_t s_set_aside(s_opening_t *self, const char *name, uint64_t file_seq, uint64_t size,
                              bool is_newest)
{
    bb_journal_t *journal = self->journal;
    char path[PATH_MAX];
    char aside[PATH_MAX + 16];
    bb_journal_file_path(journal, file_seq, path);
    bb_error_t error;
    if (is_newest && size <= BB_JOURNAL_FILE_HEADER_BYTES) {
        // The file before it may have been written on when this one could not be begun.
        self->report->torn_bytes += size;
        self->newest_seq = file_seq - 1;
        error = journal->vfs->remove(journal->vfs, path);
    } else {
        bb_journal_report_damage(self->report, name, 0, size,
                                 "neither header nor any record verifies; set aside");
        snprintf(aside, sizeof aside, "%s.damaged", path);
        error = journal->vfs->rename(journal->vfs, path, aside);
    }
    if (error == BB_OK) {
        error = journal->vfs->sync_directory(journal->vfs, journal->directory);
    }
    return error == BB_OK ? BB_ERR_NOT_FOUND : error;
}

static bb_error_t s_read_header(s_opening_t *self, bb_file_t *file, uint64_t file_seq,
                                bool is_newest, bb_journal_file_header_t *header)
{
    bb_journal_t *journal = self->journal;
    char name[BB_JOURNAL_NAME_BYTES];
    s_name(name, file_seq);
    uint8_t bytes[BB_JOURNAL_FILE_HEADER_BYTES];
    size_t got = 0;
    uint64_t size = 0;
    bb_error_t error = journal->vfs->size(journal->vfs, file, &size);
    if (error == BB_OK) {
        error = journal->vfs->read_at(journal->vfs, file, 0, bytes, sizeof bytes, &got);
    }
    if (error != BB_OK) {
        return error;
    }
    error = bb_journal_file_header_decode(header, bb_slice(bytes, got));
    if (error == BB_OK && header->owner != journal->owner) {
        return BB_ERR_FOREIGN;
    }
    if (error == BB_ERR_CORRUPT || (error == BB_OK && header->file_seq != file_seq)) {
        error = s_mend_header(self, file, name, file_seq, size, header);
        if (error == BB_ERR_NOT_FOUND) {
            error = s_set_aside(self, name, file_seq, size, is_newest);
        }
    }
    return error;
}

// Has the newest file a record at its beginning? If not, it may be that it could not be begun, and
// the one before was written on.
static bb_error_t s_look_at_newest(s_opening_t *self)
{
    bb_journal_t *journal = self->journal;
    uint64_t file_seq = self->seqs[self->count - 1];
    char path[PATH_MAX];
    bb_journal_file_path(journal, file_seq, path);
    bb_file_t *file = NULL;
    uint64_t size = 0;
    bb_error_t error = journal->vfs->open(journal->vfs, path, BB_FILE_READ, &file, self->fault);
    if (error == BB_OK) {
        error = journal->vfs->size(journal->vfs, file, &size);
    }
    if (error == BB_OK) {
        bb_journal_found_t found;
        bb_journal_reader_start(&journal->reader, journal->vfs, file,
                                (bb_journal_place_t){journal->owner, file_seq}, size);
        error = bb_journal_reader_at(&journal->reader, self->headers[self->count - 1].header_bytes,
                                     &found);
        self->newest_is_empty = error == BB_ERR_CORRUPT;
        error = self->newest_is_empty ? BB_OK : error;
    }
    journal->vfs->close(journal->vfs, &file);
    return error == BB_OK ? BB_OK : s_open_fault(self, error, file_seq, "read first record");
}

// Reads (and mends) all headers; files that were set aside leave the list.
static bb_error_t s_read_headers(s_opening_t *self)
{
    bb_journal_t *journal = self->journal;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        uint64_t file_seq = self->seqs[i];
        char path[PATH_MAX];
        bb_journal_file_path(journal, file_seq, path);
        bb_file_t *file = NULL;
        bb_error_t error =
            journal->vfs->open(journal->vfs, path, BB_FILE_WRITE, &file, self->fault);
        if (error != BB_OK) {
            return error;
        }
        error =
            s_read_header(self, file, file_seq, file_seq == self->newest_seq, &self->headers[kept]);
        journal->vfs->close(journal->vfs, &file);
        if (error == BB_OK) {
            self->seqs[kept++] = file_seq;
        } else if (error != BB_ERR_NOT_FOUND) {
            return s_open_fault(self, error, file_seq, "read file header");
        }
    }
    self->count = kept;
    return kept > 0 ? s_look_at_newest(self) : BB_OK;
}

// The end was reported as a damaged stretch already.
static bool s_ends_damaged(const bb_journal_file_t *file)
{
    if (file->damaged_count == 0) {
        return false;
    }
    const bb_journal_stretch_t *last = &file->damaged[file->damaged_count - 1];
    return last->offset + last->bytes == file->bytes;
}

// What a process wrote and did not sync is there for us to read, and gone after the next power
// loss. A sync alone does not help when the dead process had one that failed: the kernel then takes
// the pages for clean and never writes them (Linux; "fsyncgate"). So the bytes are written again,
// the same in the same places, before anybody is told that they are here. Only the file that the
// last process wrote to can need it: the newest, and the one before while the newest is empty; and
// of that only its last group commit, because a group is begun when the one before is synced.
static bool s_may_be_unsynced(const s_opening_t *self, uint32_t index)
{
    return index + 1 == self->count || (index + 2 == self->count && self->newest_is_empty);
}

static bb_error_t s_make_durable(bb_journal_t *journal, bb_file_t *file, uint64_t first,
                                 uint64_t bytes)
{
    uint8_t *piece = bb_alloc(S_PIECE_BYTES);
    bb_error_t error = BB_OK;
    for (uint64_t offset = first; error == BB_OK && offset < bytes; offset += S_PIECE_BYTES) {
        size_t length = (size_t)BB_MIN(bytes - offset, (uint64_t)S_PIECE_BYTES);
        size_t got = 0;
        error = journal->vfs->read_at(journal->vfs, file, offset, piece, length, &got);
        if (error == BB_OK) {
            struct iovec io = {.iov_base = piece, .iov_len = got};
            error = journal->vfs->write_at(journal->vfs, file, offset, &io, 1);
        }
    }
    free(piece);
    if (error == BB_OK) { // an earlier cut may be one of the things that were not synced
        error = journal->vfs->truncate(journal->vfs, file, bytes);
    }
    if (error == BB_OK) {
        error = journal->vfs->sync(journal->vfs, file);
    }
    if (error == BB_OK) {
        error = journal->vfs->sync_directory(journal->vfs, journal->directory);
    }
    return error;
}

// What the header of the next file says about file `index`, and what the file says itself: how much
// of it is to be read, and how much of that was written in this life of it.
static void s_bounds(const s_opening_t *self, uint32_t index, uint64_t size, uint64_t *limit,
                     uint64_t *ended_bytes)
{
    *limit = size;
    *ended_bytes = size > self->headers[index].recycled_bytes ? size : 0;
    bool follows = index + 1 < self->count && self->seqs[index + 1] == self->seqs[index] + 1;
    if (!follows || self->headers[index + 1].previous_bytes == 0) {
        return;
    }
    *ended_bytes = self->headers[index + 1].previous_bytes;
    if (!s_may_be_unsynced(self, index)) { // else this one may have been written on
        *limit = BB_MIN(size, *ended_bytes);
    }
}

static bb_error_t s_recover_open_file(s_opening_t *self, uint32_t index, bb_file_t *file)
{
    bb_journal_t *journal = self->journal;
    const bb_journal_file_header_t *header = &self->headers[index];
    uint64_t file_seq = self->seqs[index];
    bool is_last = index + 1 == self->count;
    char name[BB_JOURNAL_NAME_BYTES];
    s_name(name, file_seq);
    uint64_t size = 0;
    uint64_t limit = 0;
    uint64_t ended_bytes = 0;
    bb_error_t error = journal->vfs->size(journal->vfs, file, &size);
    if (error != BB_OK) {
        return error;
    }
    s_bounds(self, index, size, &limit, &ended_bytes);
    bb_journal_reader_start(&journal->reader, journal->vfs, file,
                            (bb_journal_place_t){journal->owner, file_seq}, limit);
    bb_journal_recovery_t recovery = {
        .reader = &journal->reader,
        .name = name,
        .base_seq = header->base_seq,
        .ended_bytes = ended_bytes,
        .is_newest = file_seq == self->newest_seq,
        .is_last_of_process =
            is_last || (self->headers[index + 1].flags & BB_JOURNAL_FILE_BEGUN_AT_OPEN) != 0,
        .on_record = self->on_record,
        .context = self->context,
        .report = self->report,
        .file = bb_journal_add_file(journal, file_seq),
    };
    recovery.file->header_bytes = header->header_bytes;
    error = bb_journal_recover(&recovery);
    if (error != BB_OK) {
        return error;
    }
    journal->next_seq = BB_MAX(journal->next_seq, recovery.last_seq + 1);
    bb_journal_dots_seal(&recovery.file->dots);
    bool follows = !is_last && self->seqs[index + 1] == file_seq + 1;
    if (follows && !s_ends_damaged(recovery.file) &&
        self->headers[index + 1].base_seq > recovery.last_seq + 1) {
        bb_journal_report_damage(self->report, name, size, 0, "records are missing at the end");
    }
    if (s_may_be_unsynced(self, index)) { // the newest, whose torn tail is cut here, is one
        error = s_make_durable(journal, file, recovery.group_offset, recovery.file->bytes);
        size = recovery.file->bytes;
    }
    recovery.file->size_bytes = BB_MAX(size, recovery.file->bytes);
    return error;
}

// The newest file has no record. It goes on being the one that is written, unless the one before it
// was written on after this one's header: that could not be made durable then, and what it says of
// the other is not true. It is begun again, under its number, which no record has had.
static void s_take_empty(s_opening_t *self, uint32_t index, bb_file_t **file)
{
    bb_journal_t *journal = self->journal;
    const bb_journal_file_header_t *header = &self->headers[index];
    bool is_stale = header->base_seq != journal->next_seq;
    if (header->previous_bytes > 0 && journal->file_count > 1) {
        is_stale |= journal->files[journal->file_count - 2].bytes != header->previous_bytes;
    }
    if (is_stale) {
        bb_journal_file_clear(bb_journal_last_file(journal));
        journal->file_count--;
        self->begin_seq = self->seqs[index];
        journal->vfs->close(journal->vfs, file);
    } else {
        journal->output = *file;
        *file = NULL;
    }
}

static bb_error_t s_recover_file(s_opening_t *self, uint32_t index)
{
    bb_journal_t *journal = self->journal;
    char path[PATH_MAX];
    bb_journal_file_path(journal, self->seqs[index], path);
    bb_file_t *file = NULL;
    bb_error_t error = journal->vfs->open(
        journal->vfs, path, s_may_be_unsynced(self, index) ? BB_FILE_WRITE : BB_FILE_READ, &file,
        self->fault);
    if (error != BB_OK) {
        return error;
    }
    error = s_recover_open_file(self, index, file);
    if (error == BB_OK && self->seqs[index] == self->newest_seq &&
        bb_journal_last_file(journal)->bytes == self->headers[index].header_bytes) {
        s_take_empty(self, index, &file);
    }
    journal->vfs->close(journal->vfs, &file);
    return error == BB_OK ? BB_OK : s_open_fault(self, error, self->seqs[index], "recover");
}

static bb_error_t s_recover_all(s_opening_t *self)
{
    bb_journal_t *journal = self->journal;
    bb_error_t error = s_read_headers(self);
    for (uint32_t i = 0; error == BB_OK && i < self->count; i++) {
        journal->next_seq = BB_MAX(journal->next_seq, self->headers[i].base_seq);
        error = s_recover_file(self, i);
    }
    if (error == BB_OK && !journal->output) {
        error = bb_journal_begin_file(journal, self->begin_seq, BB_JOURNAL_FILE_BEGUN_AT_OPEN,
                                      self->fault);
    }
    return error;
}

static bb_error_t s_list(bb_journal_t *self, s_listing_t *listing, bb_fault_t *fault)
{
    bb_error_t error = self->vfs->list(self->vfs, self->directory, s_on_name, listing);
    for (uint32_t i = 0; error == BB_OK && i < listing->spares.count; i++) {
        error = bb_journal_spares_found(&self->spares, listing->spares.seqs[i]);
    }
    if (error == BB_OK && listing->has_fresh) {
        error = bb_journal_spares_found(&self->spares, 0);
    }
    if (listing->files.count > 0) {
        qsort(listing->files.seqs, listing->files.count, sizeof(uint64_t), s_compare_seqs);
    }
    return error == BB_OK ? BB_OK
                          : bb_fault_set(fault, error, "%s: list: %s", self->directory,
                                         bb_error_message(error));
}

static bb_error_t s_open(bb_journal_t *self, bb_journal_record_fn on_record, void *context,
                         bb_journal_report_t *report, bb_fault_t *fault)
{
    s_listing_t listing = {0};
    bb_error_t error = self->vfs->make_directory(self->vfs, self->directory);
    error = error == BB_OK ? s_list(self, &listing, fault)
                           : bb_fault_set(fault, error, "%s: make folder: %s", self->directory,
                                          bb_error_message(error));
    s_opening_t opening = {
        .journal = self,
        .on_record = on_record,
        .context = context,
        .report = report,
        .fault = fault,
        .headers = bb_alloc_zero((size_t)listing.files.count + 1, sizeof *opening.headers),
        .seqs = listing.files.seqs,
        .count = listing.files.count,
        .begin_seq = listing.seq_max + 1,
        .newest_seq = listing.newest_seq,
    };
    if (error == BB_OK) {
        error = s_recover_all(&opening);
    }
    free(opening.headers);
    free(listing.files.seqs);
    free(listing.spares.seqs);
    return error;
}

bb_error_t bb_journal_open(const bb_journal_options_t *options, bb_journal_record_fn on_record,
                           void *context, bb_journal_report_t *report, bb_journal_t **journal,
                           bb_fault_t *fault)
{
    BB_ASSERT(options->vfs && options->directory && on_record);
    bb_journal_report_t unread = {0};
    report = report ? report : &unread;
    *report = (bb_journal_report_t){0};
    if (strlen(options->directory) + BB_JOURNAL_NAME_BYTES > PATH_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "%s: the path is too long", options->directory);
    }
    bb_journal_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = options->vfs;
    self->directory = bb_strdup(options->directory);
    self->file_bytes_max = options->file_bytes_max ? options->file_bytes_max : S_FILE_BYTES_DEFAULT;
    self->owner = options->owner;
    self->next_seq = 1;
    self->spares = (bb_journal_spares_t){
        .vfs = self->vfs, .directory = self->directory, .file_bytes_max = self->file_bytes_max};
    self->staged = bb_alloc(BB_JOURNAL_STAGED_RECORDS_MAX * sizeof *self->staged);
    self->headers = bb_alloc(BB_JOURNAL_STAGED_RECORDS_MAX * sizeof *self->headers);
    self->pieces = bb_alloc((size_t)BB_JOURNAL_STAGED_RECORDS_MAX * BB_JOURNAL_PIECES_PER_RECORD *
                            sizeof *self->pieces);
    bb_error_t error = s_open(self, on_record, context, report, fault);
    if (error != BB_OK) {
        bb_journal_close(&self);
        return error;
    }
    report->file_count = self->file_count;
    report->bytes = bb_journal_bytes(self);
    *journal = self;
    return BB_OK;
}

void bb_journal_close(bb_journal_t **self)
{
    bb_journal_t *journal = *self;
    if (!journal) {
        return;
    }
    journal->vfs->close(journal->vfs, &journal->output);
    journal->vfs->close(journal->vfs, &journal->input);
    for (uint32_t i = 0; i < journal->file_count; i++) {
        bb_journal_file_clear(&journal->files[i]);
    }
    bb_journal_reader_clear(&journal->reader);
    free(journal->files);
    free(journal->staged);
    free(journal->staged_dots);
    free(journal->headers);
    free(journal->pieces);
    free(journal->directory);
    free(journal);
    *self = NULL;
}

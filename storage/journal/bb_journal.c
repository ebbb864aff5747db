// SPDX-License-Identifier: Apache-2.0
// Files of a journal: "000000000001.journal" and so on; damaged ones that could not be used are
// kept as "000000000001.journal.damaged". The file being written always exists and is never
// dropped, so that a file number is never given twice.
#include "storage/journal/bb_journal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/journal/bb_journal_recover.h"

#define S_FILE_BYTES_DEFAULT (UINT64_C(64) << 20)
#define S_STAGED_BYTES_MAX (UINT64_C(64) << 20)
#define S_STAGED_RECORDS_MAX 1024
#define S_PIECES_PER_RECORD 5 // header, chunks, padding, batch, padding
#define S_SUFFIX ".journal"
#define S_SUFFIX_DAMAGED ".journal.damaged"
#define S_NAME_BYTES 64

typedef struct {
    bb_slice_t chunks;
    bb_slice_t batch;
    uint32_t payload_checksum;
    bb_stream_t stream;
    uint32_t dot_first; // index into staged_dots
    uint32_t dot_count;
} s_staged_t;

typedef struct {
    uint32_t partition;
    uint64_t seq;
} s_staged_dot_t;

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

    bb_journal_reader_t reader;
    bb_file_t *input; // kept open between calls of _read
    uint64_t input_seq;

    s_staged_t *staged; // S_STAGED_RECORDS_MAX
    uint32_t staged_count;
    uint64_t staged_bytes;
    s_staged_dot_t *staged_dots;
    uint32_t staged_dot_count, staged_dot_capacity;
    uint8_t (*headers)[BB_JOURNAL_RECORD_HEADER_BYTES]; // S_STAGED_RECORDS_MAX
    struct iovec *pieces; // S_STAGED_RECORDS_MAX * S_PIECES_PER_RECORD
};

static const uint8_t s_padding[BB_JOURNAL_ALIGNMENT];

// ---- names -----------------------------------------------------------------------------------
static void s_name(char name[S_NAME_BYTES], uint64_t file_seq)
{
    snprintf(name, S_NAME_BYTES, "%012" PRIu64 S_SUFFIX, file_seq);
}

static void s_file_path(const bb_journal_t *self, uint64_t file_seq, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%012" PRIu64 S_SUFFIX, self->directory, file_seq);
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
    uint64_t seq_max; // files set aside included
} s_listing_t;

static void s_on_name(void *context, const char *name, bool is_directory)
{
    s_listing_t *listing = context;
    uint64_t seq = is_directory ? 0 : s_number(name, S_SUFFIX);
    uint64_t aside = is_directory ? 0 : s_number(name, S_SUFFIX_DAMAGED);
    listing->seq_max = BB_MAX(listing->seq_max, BB_MAX(seq, aside));
    if (seq == 0) {
        return;
    }
    if (listing->count == listing->capacity) {
        listing->capacity = BB_MAX(16u, listing->capacity * 2);
        listing->seqs = bb_realloc(listing->seqs, listing->capacity * sizeof *listing->seqs);
    }
    listing->seqs[listing->count++] = seq;
}

static int s_compare_seqs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// ---- beginning a file ------------------------------------------------------------------------
static bb_journal_file_t *s_add_file(bb_journal_t *self, uint64_t file_seq)
{
    if (self->file_count == self->file_capacity) {
        self->file_capacity = BB_MAX(8u, self->file_capacity * 2);
        self->files = bb_realloc(self->files, self->file_capacity * sizeof *self->files);
    }
    bb_journal_file_t *file = &self->files[self->file_count++];
    *file = (bb_journal_file_t){.seq = file_seq, .bytes = BB_JOURNAL_FILE_HEADER_BYTES};
    return file;
}

static bb_journal_file_t *s_last_file(const bb_journal_t *self)
{
    BB_ASSERT(self->file_count > 0);
    return &self->files[self->file_count - 1];
}

static bb_error_t s_write_header(bb_journal_t *self, bb_file_t *file,
                                 const bb_journal_file_header_t *header)
{
    uint8_t bytes[BB_JOURNAL_FILE_HEADER_BYTES];
    bb_journal_file_header_encode(header, bytes);
    struct iovec piece = {bytes, sizeof bytes};
    bb_error_t error = self->vfs->write_at(self->vfs, file, 0, &piece, 1);
    return error == BB_OK ? self->vfs->sync(self->vfs, file) : error;
}

// Makes file `file_seq` with a durable header and name the one being written. On error nothing
// has changed; an unfinished file may be left, which the next attempt and recovery begin anew.
static bb_error_t s_begin_file(bb_journal_t *self, uint64_t file_seq, uint32_t flags,
                               bb_fault_t *fault)
{
    char path[PATH_MAX];
    s_file_path(self, file_seq, path);
    bb_file_t *file = NULL;
    bb_error_t error = self->vfs->open(self->vfs, path, BB_FILE_WRITE, &file, fault);
    if (error != BB_OK) {
        return error;
    }
    bb_journal_file_header_t header = {self->owner, file_seq, self->next_seq, flags};
    error = self->vfs->truncate(self->vfs, file, 0);
    if (error == BB_OK) {
        error = s_write_header(self, file, &header);
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
        bb_journal_dots_seal(&s_last_file(self)->dots);
    }
    self->vfs->close(self->vfs, &self->output);
    self->output = file;
    s_add_file(self, file_seq);
    return BB_OK;
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
    uint64_t seq_max;    // the newest file, also when it is set aside
    uint64_t newest_seq; // the one whose tail may be torn
} s_opening_t;

static bb_error_t s_open_fault(const s_opening_t *self, bb_error_t error, uint64_t file_seq,
                               const char *what)
{
    char path[PATH_MAX];
    s_file_path(self->journal, file_seq, path);
    return bb_fault_set(self->fault, error, "%s: %s: %s", path, what, bb_error_message(error));
}

// A header that does not verify while records behind it do: they are bound to the owner and the
// number of the file, so all that the header said is known again.
static bb_error_t s_mend_header(s_opening_t *self, bb_file_t *file, const char *name,
                                uint64_t file_seq, uint64_t size,
                                bb_journal_file_header_t *header)
{
    bb_journal_t *journal = self->journal;
    bb_journal_found_t found;
    bb_journal_reader_start(&journal->reader, journal->vfs, file,
                            (bb_journal_place_t){journal->owner, file_seq}, size);
    bb_error_t error =
        bb_journal_reader_find(&journal->reader, BB_JOURNAL_FILE_HEADER_BYTES, 0, &found);
    if (error != BB_OK) {
        return error;
    }
    bb_journal_report_damage(self->report, name, 0, BB_JOURNAL_FILE_HEADER_BYTES,
                             "the file header does not verify; mended from its records");
    *header = (bb_journal_file_header_t){journal->owner, file_seq, found.header.group_seq,
                                         BB_JOURNAL_FILE_BEGUN_AT_OPEN};
    return s_write_header(journal, file, header);
}

// A file without a usable header: the newest one that never got as far as a record is begun anew
// later; others are kept under another name. BB_ERR_NOT_FOUND: there is no file of that number now.
static bb_error_t s_set_aside(s_opening_t *self, const char *name, uint64_t file_seq,
                              uint64_t size, bool is_newest)
{
    bb_journal_t *journal = self->journal;
    char path[PATH_MAX];
    char aside[PATH_MAX + 16];
    s_file_path(journal, file_seq, path);
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
    char name[S_NAME_BYTES];
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

// Reads (and mends) all headers; files that were set aside leave the list.
static bb_error_t s_read_headers(s_opening_t *self)
{
    bb_journal_t *journal = self->journal;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        uint64_t file_seq = self->seqs[i];
        char path[PATH_MAX];
        s_file_path(journal, file_seq, path);
        bb_file_t *file = NULL;
        bb_error_t error =
            journal->vfs->open(journal->vfs, path, BB_FILE_WRITE, &file, self->fault);
        if (error != BB_OK) {
            return error;
        }
        error = s_read_header(self, file, file_seq, file_seq == self->seq_max,
                              &self->headers[kept]);
        journal->vfs->close(journal->vfs, &file);
        if (error == BB_OK) {
            self->seqs[kept++] = file_seq;
        } else if (error != BB_ERR_NOT_FOUND) {
            return s_open_fault(self, error, file_seq, "read file header");
        }
    }
    self->count = kept;
    return BB_OK;
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

static bb_error_t s_recover_open_file(s_opening_t *self, uint32_t index, bb_file_t *file)
{
    bb_journal_t *journal = self->journal;
    const bb_journal_file_header_t *header = &self->headers[index];
    uint64_t file_seq = self->seqs[index];
    bool is_last = index + 1 == self->count;
    char name[S_NAME_BYTES];
    s_name(name, file_seq);
    uint64_t size = 0;
    bb_error_t error = journal->vfs->size(journal->vfs, file, &size);
    if (error != BB_OK) {
        return error;
    }
    bb_journal_reader_start(&journal->reader, journal->vfs, file,
                            (bb_journal_place_t){journal->owner, file_seq}, size);
    bb_journal_recovery_t recovery = {
        .reader = &journal->reader,
        .name = name,
        .base_seq = header->base_seq,
        .is_newest = file_seq == self->newest_seq,
        .is_last_of_process =
            is_last || (self->headers[index + 1].flags & BB_JOURNAL_FILE_BEGUN_AT_OPEN) != 0,
        .on_record = self->on_record,
        .context = self->context,
        .report = self->report,
        .file = s_add_file(journal, file_seq),
    };
    error = bb_journal_recover(&recovery);
    if (error != BB_OK) {
        return error;
    }
    journal->next_seq = BB_MAX(journal->next_seq, recovery.last_seq + 1);
    bb_journal_dots_seal(&recovery.file->dots);
    bool follows = !is_last && self->seqs[index + 1] == file_seq + 1;
    if (follows && !s_ends_damaged(recovery.file) && self->headers[index + 1].base_seq > recovery.last_seq + 1) {
        bb_journal_report_damage(self->report, name, size, 0, "records are missing at the end");
    }
    if (recovery.file->bytes < size) {
        error = journal->vfs->truncate(journal->vfs, file, recovery.file->bytes);
        if (error == BB_OK) {
            error = journal->vfs->sync(journal->vfs, file);
        }
    }
    return error;
}

static bb_error_t s_recover_file(s_opening_t *self, uint32_t index)
{
    bb_journal_t *journal = self->journal;
    bool is_newest = self->seqs[index] == self->newest_seq;
    char path[PATH_MAX];
    s_file_path(journal, self->seqs[index], path);
    bb_file_t *file = NULL;
    bb_error_t error = journal->vfs->open(
        journal->vfs, path, is_newest ? BB_FILE_WRITE : BB_FILE_READ, &file, self->fault);
    if (error != BB_OK) {
        return error;
    }
    error = s_recover_open_file(self, index, file);
    // A newest file without a record goes on being the one that is written.
    bool reused = error == BB_OK && is_newest &&
                  s_last_file(journal)->bytes == BB_JOURNAL_FILE_HEADER_BYTES;
    if (reused) {
        journal->output = file;
        return BB_OK;
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
        error = s_begin_file(journal, self->seq_max + 1, BB_JOURNAL_FILE_BEGUN_AT_OPEN, self->fault);
    }
    return error;
}

// Makes the folder, and its name durable.
static bb_error_t s_make_folder(const bb_journal_t *self, bb_fault_t *fault)
{
    bb_error_t error = self->vfs->make_directory(self->vfs, self->directory);
    const char *slash = strrchr(self->directory, '/');
    if (error == BB_OK && slash && slash != self->directory) {
        char *parent = bb_strdup(self->directory);
        parent[slash - self->directory] = '\0';
        error = self->vfs->sync_directory(self->vfs, parent);
        free(parent);
    }
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: make folder: %s", self->directory,
                            bb_error_message(error));
    }
    return BB_OK;
}

static bb_error_t s_open(bb_journal_t *self, bb_journal_record_fn on_record, void *context,
                         bb_journal_report_t *report, bb_fault_t *fault)
{
    s_listing_t listing = {0};
    bb_error_t error = s_make_folder(self, fault);
    if (error != BB_OK) {
        return error;
    }
    error = self->vfs->list(self->vfs, self->directory, s_on_name, &listing);
    if (error != BB_OK) {
        free(listing.seqs);
        return bb_fault_set(fault, error, "%s: list: %s", self->directory,
                            bb_error_message(error));
    }
    if (listing.count > 0) {
        qsort(listing.seqs, listing.count, sizeof *listing.seqs, s_compare_seqs);
    }
    s_opening_t opening = {
        .journal = self,
        .on_record = on_record,
        .context = context,
        .report = report,
        .fault = fault,
        .headers = bb_alloc_zero((size_t)listing.count + 1, sizeof *opening.headers),
        .seqs = listing.seqs,
        .count = listing.count,
        .seq_max = listing.seq_max,
        .newest_seq = listing.seq_max,
    };
    error = s_recover_all(&opening);
    free(opening.headers);
    free(listing.seqs);
    return error;
}

bb_error_t bb_journal_open(const bb_journal_options_t *options, bb_journal_record_fn on_record,
                           void *context, bb_journal_report_t *report, bb_journal_t **journal,
                           bb_fault_t *fault)
{
    BB_ASSERT(options->vfs && options->directory && on_record);
    bb_journal_report_t unread;
    report = report ? report : &unread;
    *report = (bb_journal_report_t){0};
    if (strlen(options->directory) + S_NAME_BYTES > PATH_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "%s: the path is too long", options->directory);
    }
    bb_journal_t *self = bb_alloc_zero(1, sizeof *self);
    self->vfs = options->vfs;
    self->directory = bb_strdup(options->directory);
    self->file_bytes_max =
        options->file_bytes_max ? options->file_bytes_max : S_FILE_BYTES_DEFAULT;
    self->owner = options->owner;
    self->next_seq = 1;
    self->staged = bb_alloc(S_STAGED_RECORDS_MAX * sizeof *self->staged);
    self->headers = bb_alloc(S_STAGED_RECORDS_MAX * sizeof *self->headers);
    self->pieces =
        bb_alloc((size_t)S_STAGED_RECORDS_MAX * S_PIECES_PER_RECORD * sizeof *self->pieces);
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
    if (self->staged_count == S_STAGED_RECORDS_MAX ||
        self->staged_bytes + bytes > S_STAGED_BYTES_MAX) {
        return BB_ERR_BUSY;
    }
    uint32_t dot_count = chunks->part_count;
    if (self->staged_dot_capacity - self->staged_dot_count < dot_count) {
        self->staged_dot_capacity = BB_MAX(self->staged_dot_capacity * 2,
                                           self->staged_dot_count + dot_count);
        self->staged_dots =
            bb_realloc(self->staged_dots, self->staged_dot_capacity * sizeof *self->staged_dots);
    }
    self->staged[self->staged_count++] = (s_staged_t){
        .chunks = chunks_encoded,
        .batch = payload,
        .payload_checksum = bb_journal_payload_checksum(chunks_encoded, payload),
        .stream = chunks->stream,
        .dot_first = self->staged_dot_count,
        .dot_count = dot_count,
    };
    for (uint32_t i = 0; i < dot_count; i++) {
        self->staged_dots[self->staged_dot_count++] =
            (s_staged_dot_t){batch->parts[i].partition, chunks->seqs[i]};
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
    bb_journal_place_t place = {self->owner, s_last_file(self)->seq};
    struct iovec *piece = self->pieces;
    for (uint32_t i = 0; i < self->staged_count; i++) {
        const s_staged_t *staged = &self->staged[i];
        bb_journal_record_header_t header = {
            .seq = self->next_seq + i,
            .group_seq = self->next_seq,
            .chunks_bytes = (uint32_t)staged->chunks.length,
            .batch_bytes = (uint32_t)staged->batch.length,
        };
        bb_journal_record_header_encode(&header, place, staged->payload_checksum,
                                        self->headers[i]);
        size_t chunks_padding =
            bb_journal_padded(staged->chunks.length) - staged->chunks.length;
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
    bb_error_t error =
        self->vfs->truncate(self->vfs, self->output, s_last_file(self)->bytes);
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
    bb_journal_file_t *file = s_last_file(self);
    for (uint32_t i = 0; i < self->staged_count; i++) {
        const s_staged_t *staged = &self->staged[i];
        for (uint32_t j = 0; j < staged->dot_count; j++) {
            const s_staged_dot_t *dot = &self->staged_dots[staged->dot_first + j];
            bb_journal_dots_add(&file->dots, dot->partition, &staged->stream, dot->seq);
        }
    }
    file->bytes += self->staged_bytes;
    file->record_count += self->staged_count;
    self->next_seq += self->staged_count;
    s_drop_staged(self);
}

bb_error_t bb_journal_sync(bb_journal_t *self)
{
    if (self->fenced) {
        return BB_ERR_FENCED;
    }
    if (self->staged_count == 0) {
        return BB_OK;
    }
    const bb_journal_file_t *file = s_last_file(self);
    if (file->record_count > 0 && file->bytes + self->staged_bytes > self->file_bytes_max) {
        bb_error_t error = s_begin_file(self, file->seq + 1, 0, NULL);
        if (error == BB_ERR_DISK_FULL) {
            s_drop_staged(self);
            return error;
        }
        if (error != BB_OK) {
            return s_fence(self, error);
        }
    }
    int piece_count = s_gather(self);
    bb_error_t error = self->vfs->write_at(self->vfs, self->output, s_last_file(self)->bytes,
                                           self->pieces, piece_count);
    if (error == BB_ERR_DISK_FULL) {
        return s_cut_back(self);
    }
    if (error != BB_OK) {
        return s_fence(self, error);
    }
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
    uint64_t file_seq = s_last_file(self)->seq;
    if (s_last_file(self)->bytes > BB_JOURNAL_FILE_HEADER_BYTES) {
        bb_error_t error = s_begin_file(self, file_seq + 1, 0, NULL);
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

uint64_t bb_journal_file_first(const bb_journal_t *self)
{
    return self->file_count > 0 ? self->files[0].seq : 0;
}

uint64_t bb_journal_file_last(const bb_journal_t *self)
{
    return s_last_file(self)->seq;
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
        s_file_path(self, file->seq, path);
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
    *offset = BB_MAX(*offset, (uint64_t)BB_JOURNAL_FILE_HEADER_BYTES);
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
            error = bb_journal_deliver(&found, file_seq, on_record, context, NULL, &understood,
                                       &fault);
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
    BB_ASSERT(file != s_last_file(self)); // numbers would begin again
    if (self->input && self->input_seq == file_seq) {
        self->vfs->close(self->vfs, &self->input);
    }
    char path[PATH_MAX];
    s_file_path(self, file_seq, path);
    bb_error_t error = self->vfs->remove(self->vfs, path);
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

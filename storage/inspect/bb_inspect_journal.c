// SPDX-License-Identifier: Apache-2.0
#include "storage/inspect/bb_inspect_journal.h"

#include <inttypes.h>
#include <stdio.h>

#include "protocol/bb_chunks.h"
#include "storage/journal/bb_journal_reader.h"

typedef struct {
    const bb_inspect_journal_options_t *options;
    bb_inspect_journal_t *found;
    bb_journal_reader_t reader;
    bb_file_t *file;
    uint64_t at;
} s_walk_t;

static void s_damage(s_walk_t *self, uint64_t offset, uint64_t bytes, const char *what)
{
    bb_inspect_journal_t *found = self->found;
    if (found->damaged_count == 0) {
        snprintf(found->first_damage, sizeof found->first_damage, "offset %" PRIu64 ": %s", offset,
                 what);
    }
    found->damaged_count++;
    found->damaged_bytes += bytes;
    if (self->options->records) {
        bb_report_row(self->options->records);
        bb_report_u64(self->options->records, "offset", offset);
        bb_report_u64(self->options->records, "bytes", bytes);
        bb_report_slice(self->options->records, "damage", bb_slice(what, strlen(what)));
        bb_report_end(self->options->records);
    }
}

static void s_row(bb_report_t *report, const bb_journal_found_t *record, const bb_chunks_t *chunks,
                  const bb_batch_t *batch)
{
    if (!report) {
        return;
    }
    bb_report_row(report);
    bb_report_u64(report, "offset", record->offset);
    bb_report_u64(report, "seq", record->header.seq);
    bb_report_u64(report, "group", record->header.group_seq);
    bb_report_u64(report, "bytes", bb_journal_record_bytes(&record->header));
    bb_report_u64(report, "batch_bytes", record->batch.length);
    bb_report_u64(report, "epoch", chunks->epoch);
    bb_report_u64(report, "parts", batch->part_count);
    bb_report_u64(report, "batteries", batch->battery_count);
    bb_report_u64(report, "frames", batch->frame_count);
    bb_report_u64(report, "points", batch->value_count);
    bb_report_u64(report, "revision", batch->revision);
    bb_report_u64(report, "quarantined", chunks->quarantined_count);
    bb_report_end(report);
}

static void s_count(bb_inspect_journal_t *found, const bb_journal_found_t *record,
                    const bb_chunks_t *chunks, const bb_batch_t *batch)
{
    found->record_count++;
    found->record_bytes += bb_journal_record_bytes(&record->header);
    found->batch_bytes += record->batch.length;
    found->chunk_count += batch->part_count;
    found->frame_count += batch->frame_count;
    found->point_count += batch->value_count;
    found->quarantined_count += chunks->quarantined_count;
    for (uint32_t i = 0; i < batch->frame_count; i++) {
        int64_t time_ns = batch->times_wall_ns[i];
        bool is_first = found->first_wall_ns == 0 && found->last_wall_ns == 0;
        found->first_wall_ns = is_first ? time_ns : BB_MIN(found->first_wall_ns, time_ns);
        found->last_wall_ns = is_first ? time_ns : BB_MAX(found->last_wall_ns, time_ns);
    }
}

static void s_record(s_walk_t *self, const bb_journal_found_t *record)
{
    bb_inspect_journal_t *found = self->found;
    const bb_journal_record_header_t *header = &record->header;
    bb_chunks_t chunks;
    bb_batch_t batch;
    bb_fault_t fault = {0};
    uint64_t expected = found->last_seq > 0 ? found->last_seq + 1 : found->base_seq;
    found->missing_seq_count += header->seq > expected ? header->seq - expected : 0;
    found->first_seq = found->first_seq ? found->first_seq : header->seq;
    found->last_seq = header->seq;
    self->at = record->offset + bb_journal_record_bytes(header);
    found->end_bytes = self->at;
    if (bb_chunks_decode(&chunks, record->chunks, &fault) != BB_OK ||
        bb_batch_open(&batch, record->batch, &fault) != BB_OK) {
        s_damage(self, record->offset, bb_journal_record_bytes(header), fault.text);
        return;
    }
    if (bb_chunks_match(&chunks, &batch, &fault) == BB_OK) {
        s_row(self->options->records, record, &chunks, &batch);
        s_count(found, record, &chunks, &batch);
    } else {
        s_damage(self, record->offset, bb_journal_record_bytes(header), fault.text);
    }
    bb_batch_close(&batch);
}

static bb_error_t s_records(s_walk_t *self)
{
    bb_inspect_journal_t *found = self->found;
    for (;;) {
        bb_journal_found_t record;
        bb_error_t error = bb_journal_reader_at(&self->reader, self->at, &record);
        if (error == BB_OK && record.header.seq > found->last_seq) {
            s_record(self, &record);
            continue;
        }
        if (error != BB_OK && error != BB_ERR_CORRUPT) {
            return error;
        }
        error = bb_journal_reader_find(&self->reader, self->at, found->last_seq, &record);
        if (error == BB_ERR_NOT_FOUND) {
            break;
        }
        if (error != BB_OK) {
            return error;
        }
        s_damage(self, self->at, record.offset - self->at, "checksum, length or order is wrong");
        s_record(self, &record);
    }
    found->tail_bytes = found->file_bytes - BB_MIN(self->at, found->file_bytes);
    return BB_OK;
}

static bb_error_t s_header(s_walk_t *self, bb_journal_file_header_t *header, bb_fault_t *fault)
{
    bb_vfs_t *vfs = self->options->vfs;
    const char *path = self->options->path;
    uint8_t bytes[BB_JOURNAL_FILE_HEADER_BYTES] = {0};
    size_t got = 0;
    bb_error_t error = vfs->read_at(vfs, self->file, 0, bytes, sizeof bytes, &got);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot be read", path);
    }
    error = bb_journal_file_header_decode(header, bb_slice(bytes, got));
    if (error == BB_ERR_FORMAT) {
        return bb_fault_set(fault, error,
                            "%s: a journal of a version that this program does not "
                            "know; inspect it with the version that wrote it",
                            path);
    }
    if (error != BB_OK) {
        s_damage(self, 0, got, "the header of the file does not verify");
        return BB_OK;
    }
    if (self->options->owner_wanted && header->owner != self->options->owner_wanted) {
        return bb_fault_set(fault, BB_ERR_FOREIGN,
                            "%s: belongs to another store (owner %016" PRIx64 ")", path,
                            header->owner);
    }
    bb_inspect_journal_t *found = self->found;
    found->is_header_sound = true;
    found->owner = header->owner;
    found->file_seq = header->file_seq;
    found->base_seq = header->base_seq;
    found->header_bytes = header->header_bytes;
    found->previous_bytes = header->previous_bytes;
    found->recycled_bytes = header->recycled_bytes;
    return BB_OK;
}

bb_error_t bb_inspect_journal(const bb_inspect_journal_options_t *options,
                              bb_inspect_journal_t *found, bb_fault_t *fault)
{
    s_walk_t walk = {.options = options, .found = found};
    bb_vfs_t *vfs = options->vfs;
    bb_journal_file_header_t header;
    *found = (bb_inspect_journal_t){0};
    bb_error_t error = vfs->open(vfs, options->path, BB_FILE_READ, &walk.file, fault);
    if (error != BB_OK) {
        return error;
    }
    error = vfs->size(vfs, walk.file, &found->file_bytes);
    if (error == BB_OK) {
        error = s_header(&walk, &header, fault);
    }
    found->end_bytes = BB_MIN((uint64_t)BB_JOURNAL_FILE_HEADER_BYTES, found->file_bytes);
    found->tail_bytes = found->file_bytes - found->end_bytes;
    if (error == BB_OK && found->is_header_sound) {
        walk.at = found->end_bytes = found->header_bytes;
        bb_journal_place_t place = {found->owner, found->file_seq};
        bb_journal_reader_start(&walk.reader, vfs, walk.file, place, found->file_bytes);
        error = s_records(&walk);
        bb_journal_reader_clear(&walk.reader);
    }
    vfs->close(vfs, &walk.file);
    return error;
}

void bb_inspect_journal_report(const bb_inspect_journal_t *found, bb_report_t *report)
{
    bb_report_u64(report, "file_bytes", found->file_bytes);
    bb_report_bool(report, "header_sound", found->is_header_sound);
    if (found->is_header_sound) {
        uint8_t owner[8];
        for (size_t i = 0; i < sizeof owner; i++) {
            owner[i] = (uint8_t)(found->owner >> (56 - 8 * i));
        }
        bb_report_hex(report, "owner", owner, sizeof owner);
        bb_report_u64(report, "file_seq", found->file_seq);
        bb_report_u64(report, "base_seq", found->base_seq);
        bb_report_u64(report, "previous_bytes", found->previous_bytes);
        bb_report_u64(report, "recycled_bytes", found->recycled_bytes);
    }
    bb_report_u64(report, "records", found->record_count);
    bb_report_u64(report, "record_bytes", found->record_bytes);
    bb_report_u64(report, "batch_bytes", found->batch_bytes);
    bb_report_u64(report, "first_seq", found->first_seq);
    bb_report_u64(report, "last_seq", found->last_seq);
    bb_report_u64(report, "missing_seqs", found->missing_seq_count);
    bb_report_u64(report, "chunks", found->chunk_count);
    bb_report_u64(report, "frames", found->frame_count);
    bb_report_u64(report, "points", found->point_count);
    bb_report_u64(report, "quarantined", found->quarantined_count);
    if (found->point_count > 0) {
        bb_report_double(report, "bytes_per_point",
                         (double)found->record_bytes / (double)found->point_count);
        bb_report_time(report, "first_time", found->first_wall_ns);
        bb_report_time(report, "last_time", found->last_wall_ns);
    }
    bb_report_u64(report, "end_bytes", found->end_bytes);
    bb_report_u64(report, "tail_bytes", found->tail_bytes);
    bb_report_u64(report, "damaged", found->damaged_count);
    bb_report_u64(report, "damaged_bytes", found->damaged_bytes);
    if (found->damaged_count > 0) {
        bb_report_text(report, "first_damage", found->first_damage);
    }
}

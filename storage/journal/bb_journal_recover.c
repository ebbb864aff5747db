// SPDX-License-Identifier: Apache-2.0
#include "storage/journal/bb_journal_recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void bb_journal_file_clear(bb_journal_file_t *self)
{
    bb_journal_dots_clear(&self->dots);
    free(self->damaged);
    *self = (bb_journal_file_t){0};
}

void bb_journal_report_damage(bb_journal_report_t *report, const char *name, uint64_t offset,
                              uint64_t bytes, const char *what)
{
    if (report->damaged_count == 0) {
        snprintf(report->first_damage, sizeof report->first_damage,
                 "%s, offset %" PRIu64 ": %" PRIu64 " bytes: %s", name, offset, bytes, what);
    }
    report->damaged_count++;
    report->damaged_bytes += bytes;
}

bb_error_t bb_journal_deliver(const bb_journal_found_t *found, uint64_t file_seq,
                              bb_journal_record_fn on_record, void *context,
                              bb_journal_dots_t *dots, bool *understood, bb_fault_t *fault)
{
    bb_chunks_t chunks;
    bb_batch_t batch;
    *understood = false;
    if (bb_chunks_decode(&chunks, found->chunks, fault) != BB_OK) {
        return BB_OK;
    }
    bb_error_t error = bb_batch_open(&batch, found->batch, fault);
    if (error == BB_ERR_MESSAGE_VERSION) {
        return error; // written by another version: never taken for damage and left out
    }
    if (error != BB_OK) {
        return BB_OK;
    }
    if (bb_chunks_match(&chunks, &batch, fault) == BB_OK) {
        *understood = true;
        error = on_record(context, file_seq, &chunks, found->chunks, &batch);
        for (uint32_t i = 0; dots && i < chunks.part_count; i++) {
            bb_journal_dots_add(dots, batch.parts[i].partition, &chunks.stream,
                                bb_chunks_seq(&chunks, i));
        }
    }
    bb_batch_close(&batch);
    return error;
}

// ---- one pass --------------------------------------------------------------------------------
typedef struct {
    uint64_t last_seq;
    uint64_t last_group_seq;
    // Damaged stretches whose missing records all belong to the group commit `torn_group_seq`.
    uint64_t torn_group_seq;
    uint64_t torn_count;
} s_state_t;

static void s_damage(bb_journal_recovery_t *self, uint64_t offset, uint64_t bytes, const char *what)
{
    bb_journal_report_damage(self->report, self->name, offset, bytes, what);
    bb_journal_file_t *file = self->file;
    if (bytes == 0) {
        return; // only records are missing; nothing to skip
    }
    if (file->damaged_count == file->damaged_capacity) {
        file->damaged_capacity = BB_MAX(4u, file->damaged_capacity * 2);
        file->damaged = bb_realloc(file->damaged, file->damaged_capacity * sizeof *file->damaged);
    }
    file->damaged[file->damaged_count++] = (bb_journal_stretch_t){offset, bytes};
}

static bb_error_t s_take(bb_journal_recovery_t *self, s_state_t *state,
                         const bb_journal_found_t *found)
{
    const bb_journal_record_header_t *header = &found->header;
    state->last_seq = header->seq;
    state->last_group_seq = BB_MAX(state->last_group_seq, header->group_seq);
    bb_fault_t fault = {0};
    bool understood;
    bb_error_t error = bb_journal_deliver(found, self->file->seq, self->on_record, self->context,
                                          &self->file->dots, &understood, &fault);
    if (error != BB_OK) {
        return error;
    }
    if (understood) {
        self->file->record_count++;
    } else {
        s_damage(self, found->offset, bb_journal_record_bytes(header), fault.text);
    }
    return BB_OK;
}

// Nothing valid follows `offset`. In front of ended_bytes there was something: damage, or in the
// newest file a torn tail. Behind it stands what an earlier life of the file left, and perhaps a
// record that was being written: its header says so, as old ones have smaller seqs.
static bb_error_t s_end(bb_journal_recovery_t *self, s_state_t *state, uint64_t offset)
{
    uint64_t limit = self->reader->limit;
    self->file->bytes = offset;
    if (offset < self->ended_bytes && !self->is_newest) {
        uint64_t bytes = BB_MIN(self->ended_bytes, limit) - offset;
        s_damage(self, offset, bytes, "the end of an older file does not verify");
        self->file->bytes = offset + bytes;
        return BB_OK;
    }
    if (offset < self->ended_bytes) {
        self->report->torn_bytes += BB_MIN(self->ended_bytes, limit) - offset;
        return BB_OK;
    }
    bb_journal_record_header_t header;
    bb_error_t error = bb_journal_reader_header(self->reader, offset, &header);
    if (error == BB_OK && header.seq > state->last_seq) {
        self->report->torn_bytes += BB_MIN(limit - offset, bb_journal_record_bytes(&header));
    }
    return error == BB_ERR_CORRUPT ? BB_OK : error;
}

// Behind an invalid record at `offset`: damage if a valid one follows, else the end.
static bb_error_t s_pass_damage(bb_journal_recovery_t *self, s_state_t *state, uint64_t offset,
                                bb_journal_found_t *found)
{
    bb_error_t error = bb_journal_reader_find(self->reader, offset, state->last_seq, found);
    if (error == BB_ERR_NOT_FOUND) {
        bb_error_t ended = s_end(self, state, offset);
        return ended == BB_OK ? error : ended;
    }
    if (error != BB_OK) {
        return error;
    }
    s_damage(self, offset, found->offset - offset, "checksum, length or order is wrong");
    if (found->header.group_seq <= state->last_seq + 1) {
        if (state->torn_group_seq != found->header.group_seq) {
            state->torn_group_seq = found->header.group_seq;
            state->torn_count = 0;
        }
        state->torn_count++;
    }
    return BB_OK;
}

bb_error_t bb_journal_recover(bb_journal_recovery_t *self)
{
    s_state_t state = {.last_seq = self->base_seq - 1};
    uint64_t offset = self->file->header_bytes;
    bb_error_t error = BB_OK;
    self->file->bytes = self->reader->limit;
    self->group_offset = 0; // without a record, not even the header may be synced
    while (error == BB_OK && offset < self->reader->limit) {
        bb_journal_found_t found;
        error = bb_journal_reader_at(self->reader, offset, &found);
        if (error == BB_ERR_CORRUPT || (error == BB_OK && found.header.seq <= state.last_seq)) {
            error = s_pass_damage(self, &state, offset, &found);
        } else if (error == BB_OK && found.header.seq != state.last_seq + 1) {
            s_damage(self, offset, 0, "records are missing before this one");
        }
        if (error == BB_OK) {
            if (found.header.group_seq > state.last_group_seq) {
                self->group_offset = found.offset;
            }
            error = s_take(self, &state, &found);
            offset = found.offset + bb_journal_record_bytes(&found.header);
        }
    }
    self->last_seq = state.last_seq;
    self->report->record_count += self->file->record_count;
    if (self->is_last_of_process && state.torn_count > 0 &&
        state.torn_group_seq == state.last_group_seq) {
        self->report->unsynced_count += state.torn_count;
    }
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

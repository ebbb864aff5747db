// SPDX-License-Identifier: Apache-2.0
// fuzz_journal - any bytes as journal files; recovery must end, and twice give the same records.
//
// The first byte chooses: 0 = the rest is a file as it is; 1 = the rest is made into records with
// good checksums (two lengths, then payload), so that the insides are reached.
#include <stdlib.h>
#include <string.h>

#include "storage/journal/bb_journal.h"
#include "storage/journal/bb_journal_format.h"
#include "tests/support/bb_sim_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define S_FILE  "/journal/000000000001.journal"
#define S_OWNER 7

static bb_error_t s_count(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                          bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    (void)file_seq;
    BB_ASSERT(chunks->part_count == batch->part_count);
    BB_ASSERT(chunks_encoded.length > 0);
    (*(uint64_t *)context)++;
    return BB_OK;
}

// Appends one record whose payload begins at data; returns how much of data it took.
static size_t s_record(uint8_t *out, size_t *length, uint64_t seq, const uint8_t *data, size_t size)
{
    size_t chunks_bytes = BB_MIN((size_t)data[0] * 4 + 1, size - 2);
    size_t batch_bytes = BB_MIN((size_t)data[1] * 16 + 1, size - 2 - chunks_bytes);
    if (batch_bytes == 0) {
        return size;
    }
    bb_slice_t chunks = bb_slice(data + 2, chunks_bytes);
    bb_slice_t batch = bb_slice(data + 2 + chunks_bytes, batch_bytes);
    bb_journal_record_header_t header = {.seq = seq,
                                         .group_seq = seq,
                                         .chunks_bytes = (uint32_t)chunks_bytes,
                                         .batch_bytes = (uint32_t)batch_bytes};
    uint8_t *at = out + *length;
    memset(at, 0, bb_journal_record_bytes(&header));
    bb_journal_record_header_encode(&header, (bb_journal_place_t){S_OWNER, 1},
                                    bb_journal_payload_checksum(chunks, batch), at);
    memcpy(at + BB_JOURNAL_RECORD_HEADER_BYTES, chunks.data, chunks_bytes);
    memcpy(at + BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(chunks_bytes), batch.data,
           batch_bytes);
    *length += bb_journal_record_bytes(&header);
    return 2 + chunks_bytes + batch_bytes;
}

static void s_make_file(bb_sim_disk_t *disk, const uint8_t *data, size_t size)
{
    // Each record takes at least 4 bytes of data and at most 64 more than it takes.
    uint8_t *file = bb_alloc(BB_JOURNAL_FILE_HEADER_BYTES + size + (size / 4 + 1) * 64);
    size_t length = BB_JOURNAL_FILE_HEADER_BYTES;
    bb_journal_file_header_encode(
        &(bb_journal_file_header_t){.owner = S_OWNER, .file_seq = 1, .base_seq = 1}, file);
    for (uint64_t seq = 1; size >= 4; seq++) {
        size_t taken = s_record(file, &length, seq, data, size);
        data += taken;
        size -= taken;
    }
    bb_sim_disk_put(disk, S_FILE, bb_slice(file, length));
    free(file);
}

static bb_error_t s_open(bb_sim_disk_t *disk, uint64_t *count)
{
    const bb_journal_options_t options = {
        .vfs = bb_sim_disk_vfs(disk), .directory = "/journal", .owner = S_OWNER};
    bb_journal_t *journal = NULL;
    bb_journal_report_t report;
    bb_fault_t fault;
    *count = 0;
    bb_error_t error = bb_journal_open(&options, s_count, count, &report, &journal, &fault);
    if (error != BB_OK) {
        return error;
    }
    BB_ASSERT(report.record_count == *count);
    uint64_t read = 0;
    uint64_t offset = 0;
    error = bb_journal_read(journal, 1, &offset, s_count, &read);
    BB_ASSERT(error == BB_ERR_NOT_FOUND);
    BB_ASSERT(read == *count);
    bb_journal_close(&journal);
    return BB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    bb_sim_disk_t *disk = bb_sim_disk_new();
    if (data[0] % 2 == 0) {
        bb_sim_disk_put(disk, S_FILE, bb_slice(data + 1, size - 1));
    } else {
        s_make_file(disk, data + 1, size - 1);
    }
    uint64_t first = 0;
    uint64_t second = 0;
    if (s_open(disk, &first) == BB_OK) {
        bb_error_t error = s_open(disk, &second);
        BB_ASSERT(error == BB_OK);
        BB_ASSERT(first == second);
    }
    bb_sim_disk_destroy(&disk);
    return 0;
}

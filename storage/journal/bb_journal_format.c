// SPDX-License-Identifier: Apache-2.0
// The offsets below are the byte map of README.md; nothing else in the tree knows them.
#include "storage/journal/bb_journal_format.h"

#include <string.h>

#include "protocol/bb_crc32c.h"

static const uint8_t s_file_magic[4] = {'B', 'B', 'J', 'F'};
static const uint8_t s_record_magic[4] = {'B', 'B', 'J', '1'};
static const uint8_t s_zeros[BB_JOURNAL_ALIGNMENT];

static_assert(BB_JOURNAL_FILE_HEADER_BYTES % BB_JOURNAL_ALIGNMENT == 0, "records are aligned");
static_assert(BB_JOURNAL_FILE_HEADER_BYTES_V1 % BB_JOURNAL_ALIGNMENT == 0, "records are aligned");
static_assert(BB_JOURNAL_RECORD_HEADER_BYTES % BB_JOURNAL_ALIGNMENT == 0, "payloads are aligned");

static void s_put32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static void s_put64(uint8_t *out, uint64_t value)
{
    s_put32(out, (uint32_t)value);
    s_put32(out + 4, (uint32_t)(value >> 32));
}

static uint32_t s_get32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint64_t s_get64(const uint8_t *bytes)
{
    return s_get32(bytes) | (uint64_t)s_get32(bytes + 4) << 32;
}

// ---- file header -----------------------------------------------------------------------------
size_t bb_journal_file_header_encode(const bb_journal_file_header_t *self,
                                     uint8_t out[BB_JOURNAL_FILE_HEADER_BYTES])
{
    bool is_first = self->header_bytes == BB_JOURNAL_FILE_HEADER_BYTES_V1;
    memcpy(out, s_file_magic, 4);
    s_put32(out + 4, is_first ? 1 : BB_JOURNAL_VERSION);
    s_put64(out + 8, self->owner);
    s_put64(out + 16, self->file_seq);
    s_put64(out + 24, self->base_seq);
    s_put32(out + 32, self->flags);
    if (is_first) {
        s_put32(out + 36, bb_crc32c(0, out, 36));
        return BB_JOURNAL_FILE_HEADER_BYTES_V1;
    }
    s_put32(out + 36, 0);
    s_put64(out + 40, self->previous_bytes);
    s_put64(out + 48, self->recycled_bytes);
    s_put32(out + 56, 0);
    s_put32(out + 60, bb_crc32c(0, out, 60));
    return BB_JOURNAL_FILE_HEADER_BYTES;
}

// Magic and checksum, each version's in its own place.
static bool s_is_sound(bb_slice_t encoded)
{
    const uint8_t *bytes = encoded.data;
    if (encoded.length < BB_JOURNAL_FILE_HEADER_BYTES_V1 || memcmp(bytes, s_file_magic, 4) != 0) {
        return false;
    }
    if (s_get32(bytes + 4) == 1) {
        return s_get32(bytes + 36) == bb_crc32c(0, bytes, 36);
    }
    return encoded.length >= BB_JOURNAL_FILE_HEADER_BYTES &&
           s_get32(bytes + 60) == bb_crc32c(0, bytes, 60);
}

bb_error_t bb_journal_file_header_decode(bb_journal_file_header_t *self, bb_slice_t encoded)
{
    const uint8_t *bytes = encoded.data;
    if (!s_is_sound(encoded)) {
        return BB_ERR_CORRUPT;
    }
    uint32_t version = s_get32(bytes + 4);
    bool has_more = version == BB_JOURNAL_VERSION;
    if ((version != 1 && !has_more) ||
        (s_get32(bytes + 32) & ~BB_JOURNAL_FILE_BEGUN_AT_OPEN) != 0 ||
        (has_more && (s_get32(bytes + 36) | s_get32(bytes + 56)) != 0)) {
        return BB_ERR_FORMAT;
    }
    *self = (bb_journal_file_header_t){
        .owner = s_get64(bytes + 8),
        .file_seq = s_get64(bytes + 16),
        .base_seq = s_get64(bytes + 24),
        .flags = s_get32(bytes + 32),
        .header_bytes = has_more ? BB_JOURNAL_FILE_HEADER_BYTES : BB_JOURNAL_FILE_HEADER_BYTES_V1,
        .previous_bytes = has_more ? s_get64(bytes + 40) : 0,
        .recycled_bytes = has_more ? s_get64(bytes + 48) : 0,
    };
    return self->base_seq >= 1 ? BB_OK : BB_ERR_CORRUPT;
}

// ---- records ---------------------------------------------------------------------------------
static uint32_t s_padded_checksum(uint32_t checksum, bb_slice_t slice)
{
    checksum = bb_crc32c(checksum, slice.data, slice.length);
    return bb_crc32c(checksum, s_zeros, bb_journal_padded(slice.length) - slice.length);
}

uint32_t bb_journal_payload_checksum(bb_slice_t chunks, bb_slice_t batch)
{
    return s_padded_checksum(s_padded_checksum(0, chunks), batch);
}

static uint32_t s_finish(uint32_t payload_checksum, bb_journal_place_t place,
                         const uint8_t header[BB_JOURNAL_RECORD_HEADER_BYTES])
{
    uint8_t where[16];
    s_put64(where, place.owner);
    s_put64(where + 8, place.file_seq);
    uint32_t checksum = bb_crc32c(payload_checksum, header + 8, BB_JOURNAL_RECORD_HEADER_BYTES - 8);
    return bb_crc32c(checksum, where, sizeof where);
}

void bb_journal_record_header_encode(const bb_journal_record_header_t *self,
                                     bb_journal_place_t place, uint32_t payload_checksum,
                                     uint8_t out[BB_JOURNAL_RECORD_HEADER_BYTES])
{
    memcpy(out, s_record_magic, 4);
    s_put64(out + 8, self->seq);
    s_put64(out + 16, self->group_seq);
    s_put32(out + 24, self->chunks_bytes);
    s_put32(out + 28, self->batch_bytes);
    s_put64(out + 32, 0);
    s_put32(out + 4, s_finish(payload_checksum, place, out));
}

bool bb_journal_record_header_decode(bb_journal_record_header_t *self,
                                     const uint8_t bytes[BB_JOURNAL_RECORD_HEADER_BYTES])
{
    if (memcmp(bytes, s_record_magic, 4) != 0) {
        return false;
    }
    *self = (bb_journal_record_header_t){
        .checksum = s_get32(bytes + 4),
        .seq = s_get64(bytes + 8),
        .group_seq = s_get64(bytes + 16),
        .chunks_bytes = s_get32(bytes + 24),
        .batch_bytes = s_get32(bytes + 28),
    };
    return s_get64(bytes + 32) == 0 && self->group_seq >= 1 && self->group_seq <= self->seq &&
           self->chunks_bytes >= 1 && self->batch_bytes >= 1 &&
           (uint64_t)self->chunks_bytes + self->batch_bytes <= BB_JOURNAL_PAYLOAD_BYTES_MAX;
}

static bool s_is_zero(const uint8_t *bytes, size_t first, size_t limit)
{
    while (first < limit && bytes[first] == 0) {
        first++;
    }
    return first >= limit;
}

bool bb_journal_record_is_valid(const bb_journal_record_header_t *self, bb_journal_place_t place,
                                const uint8_t *bytes)
{
    const uint8_t *payload = bytes + BB_JOURNAL_RECORD_HEADER_BYTES;
    size_t chunks_padded = bb_journal_padded(self->chunks_bytes);
    size_t batch_padded = bb_journal_padded(self->batch_bytes);
    uint32_t checksum = bb_crc32c(0, payload, chunks_padded + batch_padded);
    return s_finish(checksum, place, bytes) == self->checksum &&
           s_is_zero(payload, self->chunks_bytes, chunks_padded) &&
           s_is_zero(payload + chunks_padded, self->batch_bytes, batch_padded);
}

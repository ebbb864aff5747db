// SPDX-License-Identifier: Apache-2.0
// bb_journal_format - the bytes of a journal file: its header and its records.
//
// Pure: bytes in, bytes out. Little-endian. Byte map: README.md beside this. A checksum goes on
// over the owner and the number of the file, which are not stored in the record, so that a record
// that stands in another file, or in a journal of another store, does not verify. A file number is
// never given twice, so what a recycled file still holds of its earlier lives does not either.
#ifndef BB_JOURNAL_FORMAT_H
#define BB_JOURNAL_FORMAT_H

#include <string.h>

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

#define BB_JOURNAL_VERSION              2
#define BB_JOURNAL_FILE_HEADER_BYTES    64
#define BB_JOURNAL_FILE_HEADER_BYTES_V1 40 // version 1 is read, and never written
#define BB_JOURNAL_RECORD_HEADER_BYTES  40
#define BB_JOURNAL_ALIGNMENT            8
// Chunks header and batch of one record, without padding.
#define BB_JOURNAL_PAYLOAD_BYTES_MAX BB_MESSAGE_BYTES_MAX

// The file was begun when a journal was opened, not because the file before it was full: the last
// group commit of the file before it may never have been synced.
#define BB_JOURNAL_FILE_BEGUN_AT_OPEN 1u

typedef struct {
    uint64_t owner;
    uint64_t file_seq; // 1-based, as in the name
    uint64_t base_seq; // of the file's first record
    uint32_t flags;
    uint32_t header_bytes; // where the first record stands: out of _decode; _encode takes 0 as the
                           // present version and BB_JOURNAL_FILE_HEADER_BYTES_V1 as version 1
    // Where the file before this one ended when this one was begun; 0 = not known. What is behind
    // is left of an earlier life of that file.
    uint64_t previous_bytes;
    // So many bytes the file had when it was begun, from an earlier life: what does not verify in
    // there may never have been written. 0 = a new file.
    uint64_t recycled_bytes;
} bb_journal_file_header_t;

typedef struct {
    uint32_t checksum;
    uint64_t seq;       // 1-based; the previous record's seq + 1, over all files
    uint64_t group_seq; // seq of the first record of its group commit; all before that were synced
    uint32_t chunks_bytes;
    uint32_t batch_bytes;
} bb_journal_record_header_t;

// Which file a record belongs to.
typedef struct {
    uint64_t owner;
    uint64_t file_seq;
} bb_journal_place_t;

static inline size_t bb_journal_padded(size_t length)
{
    return (length + BB_JOURNAL_ALIGNMENT - 1) / BB_JOURNAL_ALIGNMENT * BB_JOURNAL_ALIGNMENT;
}

static inline size_t bb_journal_record_bytes(const bb_journal_record_header_t *record)
{
    return BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(record->chunks_bytes) +
           bb_journal_padded(record->batch_bytes);
}

// Returns how many bytes of `out` were filled.
size_t bb_journal_file_header_encode(const bb_journal_file_header_t *self,
                                     uint8_t out[BB_JOURNAL_FILE_HEADER_BYTES]);
// BB_ERR_CORRUPT: too short, magic or checksum; BB_ERR_FORMAT: sound, but of another version.
BB_MUST_CHECK bb_error_t bb_journal_file_header_decode(bb_journal_file_header_t *self,
                                                       bb_slice_t encoded);

// CRC-32C of the payload with its padding; the part of a record's checksum that costs time and
// does not depend on where the record will stand.
uint32_t bb_journal_payload_checksum(bb_slice_t chunks, bb_slice_t batch);
// Writes the header, checksum included (self->checksum is not read).
void bb_journal_record_header_encode(const bb_journal_record_header_t *self,
                                     bb_journal_place_t place, uint32_t payload_checksum,
                                     uint8_t out[BB_JOURNAL_RECORD_HEADER_BYTES]);
// The magic of a record; what a search for one looks at first.
static inline bool bb_journal_record_may_begin(const uint8_t *bytes)
{
    return bytes[0] == 'B' && memcmp(bytes, "BBJ1", 4) == 0;
}

// Reads a header without looking at the payload; false: it cannot be one.
bool bb_journal_record_header_decode(bb_journal_record_header_t *self,
                                     const uint8_t bytes[BB_JOURNAL_RECORD_HEADER_BYTES]);
// Verifies a whole record of bb_journal_record_bytes(): checksum and zero padding.
bool bb_journal_record_is_valid(const bb_journal_record_header_t *self, bb_journal_place_t place,
                                const uint8_t *bytes);

#endif

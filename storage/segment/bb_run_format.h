// SPDX-License-Identifier: Apache-2.0
// bb_run_format - the byte map of a run, version 1, as the structs that lie in it.
//
// Private to bb_run_*.c. Little-endian, no padding; everything is aligned in the file as in memory,
// given that the run begins at an 8-byte boundary. See storage/segment/README.md for the picture.
#ifndef BB_RUN_FORMAT_H
#define BB_RUN_FORMAT_H

#include "storage/encoding/bb_encoding.h"
#include "storage/segment/bb_run.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are read as they lie on disk");

// "BBR" and the version. A changed layout takes a new version, never a new meaning.
#define BB_RUN_MAGIC_BYTES 3u
#define BB_RUN_VERSION     '1'
// Offsets of blocks count words of 8 bytes, so a run may have 32 GiB.
#define BB_RUN_WORD 8u

typedef struct {
    char magic[BB_RUN_MAGIC_BYTES];
    char version;
    uint32_t checksum; // CRC-32C over [8, end of the texts)
    uint64_t run_bytes;
    uint64_t revision;
    uint64_t point_count;
    int64_t first_wall_ns; // inclusive
    int64_t last_wall_ns;
    uint32_t row_count;
    uint32_t block_count; // ceil(row_count / BB_BLOCK_ROWS_MAX); all but the last are full
    uint32_t column_count;
    uint32_t text_count;
    uint32_t text_words; // size of the texts in words of 8 bytes
    uint32_t zero;
} bb_run_header_t;
static_assert(sizeof(bb_run_header_t) == 72, "on-disk layout");
static_assert(offsetof(bb_run_header_t, run_bytes) == 8, "the checksum covers what follows it");

typedef struct {
    uint32_t metric;
    uint8_t type; // bb_type_t
    uint8_t zero[3];
} bb_run_column_entry_t;
static_assert(sizeof(bb_run_column_entry_t) == 8, "on-disk layout");

// Where a block's bytes are. Blocks begin at words; `bytes` is exact; the rest of the last word is
// zero.
typedef struct {
    uint32_t word;
    uint32_t bytes;
    uint32_t checksum; // CRC-32C over the bytes
    uint16_t value_count;
    uint8_t encoding;
    uint8_t zero;
} bb_run_place_t;
static_assert(sizeof(bb_run_place_t) == 16, "on-disk layout");

typedef struct {
    bb_run_place_t place;  // value_count = rows of the block
    int64_t first_wall_ns; // inclusive
    int64_t last_wall_ns;
} bb_run_time_entry_t;
static_assert(sizeof(bb_run_time_entry_t) == 32, "on-disk layout");

// min, max, first, last of STATE columns are positions in the table of texts.
typedef struct {
    bb_run_place_t place;
    double sum_high;
    double sum_low;
    uint64_t min;
    uint64_t max;
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    uint64_t first;
    uint64_t last;
} bb_run_value_entry_t;
static_assert(sizeof(bb_run_value_entry_t) == 80, "on-disk layout");

static inline uint32_t bb_run_format_rows(uint32_t row_count, uint32_t block_index)
{
    uint32_t begin = block_index * BB_BLOCK_ROWS_MAX;
    return BB_MIN(row_count - begin, (uint32_t)BB_BLOCK_ROWS_MAX);
}

static inline uint32_t bb_run_format_presence_words(uint32_t rows)
{
    return (rows + 63) / 64;
}

static inline bb_encoding_kind_t bb_run_format_kind(bb_type_t type)
{
    return type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
}

#endif

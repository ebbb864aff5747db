// SPDX-License-Identifier: Apache-2.0
// bb_run_format - the bytes of a run, as its writer and its reader share them. Private.
//
// Format 2. Little-endian; nothing is aligned but the texts, to 4 bytes from the start of the run.
// "Units" are powers of ten of a nanosecond; all times of the directory are multiples of one.
//
//   fixed       8   'R' '2', u8 flags, u8 widths, u32 CRC-32C
//   varints         revision, rows, columns, points that are absent, first time (units), last time
//   -
//                   first time (units); if MANY: blocks; if STATS: bytes of statistics; if TEXTS:
//                   texts, bytes of texts; if SHARED: partition, members, bytes of members
//   metrics         columns x 1, 2 or 4 bytes; if CONSECUTIVE only the first
//   types           columns x 2 bits: bb_type_t - 1, rounded up to bytes
//   blocks          [column][block], the times as column 0, so (columns + 1) x blocks entries:
//                   lengths (1 or 2 bytes each), then encodings (u8 each; bit 7: a bitmap of the
//                   present rows comes first), then, unless WHOLE, checksums (u32 each)
//   if MANY         u16 rows - 1 of each block; u32 or u64 (LONG) first time of each block, last
//                   time of each block (units since the first time of the run); u32 offset of each
//                   column's blocks, times first
//   if STATS        lengths, u8 each: [column][whole run if MANY, block ...]; if MANY u32 offset of
//                   each column's statistics; the statistics (bb_packed_stats.h)
//   if SHARED       members, all varints: battery of the first, then battery - battery of the one
//                   before - 1 of each other; for each block: first member, members from it on that
//                   may have rows in it, rows of each of them (0: they differ, and the rows of each
//                   follow)
//   if TEXTS        zeros up to a multiple of 4; u32 offset of each text from the start of the run;
//                   texts: u32 length, bytes, zeros up to a multiple of 4
//   ---------------------------------------------------- the head ends here
//   blocks          column after column, the times first; of one column block after block
//
// The checksum of the head covers bytes [0, 4) and [8, end of the head); WHOLE: [8, end of the
// run).
// A shared run has the rows of several batteries, in each block one battery behind the other. Times
// ascend for each battery alone, from block to block too; the first and last time of a block and of
// the run are the smallest and the largest. It has no statistics.
#ifndef BB_RUN_FORMAT_H
#define BB_RUN_FORMAT_H

#include <string.h>

#include "storage/encoding/bb_encoding.h"
#include "storage/segment/bb_run.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie on disk");

#define BB_RUN_MAGIC       'R'
#define BB_RUN_VERSION     '2'
#define BB_RUN_FIXED_BYTES 8u

// Flags. A reader refuses others.
#define BB_RUN_WHOLE       0x01u // one checksum over everything, none for each block
#define BB_RUN_MANY        0x02u // more than one block
#define BB_RUN_STATS       0x04u
#define BB_RUN_TEXTS       0x08u
#define BB_RUN_CONSECUTIVE 0x10u // metric numbers without a gap
#define BB_RUN_LONG        0x20u // times of blocks need 8 bytes
#define BB_RUN_SHARED      0x40u // by several batteries
#define BB_RUN_FLAGS       0x7fu

// Widths: bits 0-1 log2 of the bytes of a metric number, bit 2 lengths of blocks have two bytes,
// bits 4-7 the power of ten of a unit.
#define BB_RUN_LENGTHS_WIDE 0x04u
#define BB_RUN_WIDTHS_SPARE 0x08u
#define BB_RUN_EXPONENT_MAX 9u

// In the byte of an encoding.
#define BB_RUN_LACKS_ROWS    0x80u
#define BB_RUN_ENCODING_MASK 0x7fu

// A block that is not longer than this in a run of one block has no statistics: decoding it costs
// hardly more than reading them, and for a battery that is heard once a minute they would be most
// of the run.
#define BB_RUN_STATS_ROWS_MIN 256u
// A run of one block up to this size has one checksum.
#define BB_RUN_WHOLE_BYTES_MAX 4096u
// Blocks of one run; writers begin a new run before.
#define BB_RUN_BLOCKS_MAX 4096u

static inline uint32_t bb_run_format_presence_words(uint32_t rows)
{
    return (rows + 63) / 64;
}

static inline uint32_t bb_run_format_presence_bytes(uint32_t rows)
{
    return (rows + 7) / 8;
}

static inline bb_encoding_kind_t bb_run_format_kind(bb_type_t type)
{
    return type == BB_TYPE_FLOAT64 ? BB_ENCODING_FLOAT64 : BB_ENCODING_INTEGER;
}

static inline uint16_t bb_run_format_u16(const uint8_t *bytes)
{
    uint16_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

static inline uint32_t bb_run_format_u32(const uint8_t *bytes)
{
    uint32_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

static inline uint64_t bb_run_format_u64(const uint8_t *bytes)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

#endif

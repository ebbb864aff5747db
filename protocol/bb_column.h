// SPDX-License-Identifier: Apache-2.0
// bb_column - the values of one metric, packed, of which any range can be read where it lies.
//
// Pure. A value is a word: the 64 bits of a float64 or int64, a bool, or the index of a state. A
// column is written by whoever builds a batch, checked once when the batch is opened, and unpacked
// by whoever wants its values; in between it is only copied. Lossless to the bit: NaN payloads and
// -0.0 too. About 2 ns a value to encode and 1 ns to unpack.
//
//   RAW      words as they are
//   INTEGER  word = base + scale x packed integer (modulo 2^64); any type. Times in whole
//            milliseconds have the scale 1,000,000; a float32 in a double has 2^29
//   DECIMAL  word = bits of (double)(base + packed integer) / 10^exponent; float64 alone. Source:
//            Afroozeh, Kuffo, Boncz, "ALP: Adaptive Lossless floating-Point Compression" (SIGMOD
//            2023), with a division, which IEEE rounds the same everywhere, for two products
//
// Words that do not fit are exceptions: kept whole with their positions, packed as 0.
//
// Bytes, little-endian, 8-byte aligned, nothing between:
//    0  encoding         u8, bb_column_encoding_t
//    1  width            u8, bits of a packed integer: INTEGER [0, 64], DECIMAL [0, 52], RAW 64
//    2  exponent         u8, DECIMAL [0, 10], else 0
//    3  flags            u8, 1: a scale follows; other bits 0
//    4  exception_count  u32, at most the count; RAW: 0
//    8  base             u64, not in RAW
//       scale            u64, with the flag, >= 2; INTEGER alone
//       packed           count integers (protocol/bb_bitpack.h), zeros up to a multiple of 8
//       exceptions       exception_count u64
//       positions        exception_count u32, ascending, zeros up to a multiple of 8
// The count is not in it: whoever holds the column knows it. A constant column has 16 bytes.
#ifndef BB_COLUMN_H
#define BB_COLUMN_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_COLUMN_EXPONENT_MAX 10
#define BB_COLUMN_BYTES_MIN    16 // of any column of at least one value

// Stable numbers: on the wire and in journals.
typedef enum {
    BB_COLUMN_RAW = 1,
    BB_COLUMN_INTEGER = 2,
    BB_COLUMN_DECIMAL = 3,
} bb_column_encoding_t;

// A checked column. Borrowed: valid as long as the bytes that it was opened on. To keep it, copy
// packed_bytes from `packed`, the exceptions and the positions, and let the copy point there.
typedef struct {
    uint8_t encoding; // bb_column_encoding_t
    uint8_t width;
    uint8_t exponent;
    uint32_t count;
    uint32_t exception_count;
    uint64_t base;         // RAW: 0
    uint64_t scale;        // >= 1
    const uint8_t *packed; // 8-byte aligned
    size_t packed_bytes;   // padded: a multiple of 8
    const uint64_t *exceptions;
    const uint32_t *positions; // ascending, below count
} bb_column_t;

// What `out` of bb_column_encode must have room for, working space included; a bound of the
// encoded size, too.
size_t bb_column_bytes_max(uint32_t count);

// Writes the smallest of the encodings into `out` (8-byte aligned, bb_column_bytes_max) and returns
// its size, a multiple of 8. count >= 1. Only a float column may become DECIMAL. Equal words make
// equal bytes on every machine. Two passes over the words when they are decimals, three else.
size_t bb_column_encode(bool is_float, const uint64_t *words, uint32_t count, uint8_t *out);

// Some values of a column, in their order.
typedef struct {
    uint32_t first, count;
} bb_column_range_t;

// Writes a column of the values in the ranges, which are disjoint and ascend and have `count`
// values together, as bb_column_encode does; but a packed column keeps base, scale and width, so
// that its integers are only moved: about 2 ns a value instead of 4. `out` as there.
size_t bb_column_cut(const bb_column_t *self, bool is_float, const bb_column_range_t *ranges,
                     uint32_t range_count, uint32_t count, uint8_t *out);

// Checks the column of `count` values at the beginning of `bytes` (8-byte aligned; any bytes are
// safe) and says how many bytes it takes. Cost: O(exceptions). BB_ERR_MESSAGE_CORRUPT, with a
// sentence in `fault`; then neither *self nor *used changes.
BB_MUST_CHECK bb_error_t bb_column_open(bb_column_t *self, bool is_float, bb_slice_t bytes,
                                        uint32_t count, size_t *used, bb_fault_t *fault);

// Words [first, first + count), which must lie in the column.
void bb_column_unpack(const bb_column_t *self, uint32_t first, uint32_t count, uint64_t *out);

#ifdef __cplusplus
}
#endif
#endif

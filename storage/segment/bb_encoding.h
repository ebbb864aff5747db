// SPDX-License-Identifier: Apache-2.0
// bb_encoding - the registry of lossless encodings for one block of up to BB_BLOCK_ROWS_MAX words.
//
// Pure. A word is 64 bits of one kind: an integer (times, INT64, BOOL, positions in the text table)
// or a float64. Every encoding gives back the same bits: NaN payloads and -0.0 too. The writer asks
// each encoding for its exact size and takes the smallest.
//
//   id  name           words are
//    0  (none)         absent: a block without values
//    1  constant       all the same
//    2  raw            as they are
//    3  for            base + scale x packed           (frame of reference, bit-packed)
//    4  delta          differences, packed like that
//    5  delta2         differences of differences, likewise
//    6  decimal_for    integer / 10^exponent, the integers packed like 3
//    7  decimal_delta  ... like 4
//
// The scale is the common divisor of what is packed: 10^6 for millisecond times in nanoseconds,
// 2^29 for float32 numbers in float64. Numbers that do not fit (a gap between times, a NaN among
// decimals) are patched: kept whole beside the packed ones, so that a few do not widen all.
// Sources: Zukowski, Heman, Nes, Boncz, "Super-Scalar RAM-CPU Cache Compression" (ICDE 2006) for
// patched packing; Afroozeh, Kuffo, Boncz, "ALP: Adaptive Lossless floating-Point Compression"
// (SIGMOD 2023) for decimals, in a simple form.
//
// Byte map: storage/segment/README.md. Ids are never reused; a new encoding is a new entry here.
#ifndef BB_ENCODING_H
#define BB_ENCODING_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"

typedef enum {
    BB_ENCODING_NONE = 0,
    BB_ENCODING_CONSTANT = 1,
    BB_ENCODING_RAW = 2,
    BB_ENCODING_FOR = 3,
    BB_ENCODING_DELTA = 4,
    BB_ENCODING_DELTA2 = 5,
    BB_ENCODING_DECIMAL_FOR = 6,
    BB_ENCODING_DECIMAL_DELTA = 7,
} bb_encoding_id_t;
#define BB_ENCODING_LAST BB_ENCODING_DECIMAL_DELTA

typedef enum {
    BB_ENCODING_INTEGER = 1,
    BB_ENCODING_FLOAT64 = 2,
} bb_encoding_kind_t;

// Largest exponent of ten that is tried for decimals; all powers up to 22 are exact doubles.
#define BB_ENCODING_EXPONENT_MAX 10
// Room that an encoded block of `count` words may need: never more than raw.
#define BB_ENCODING_BYTES_MAX(count) (8u * (count))

bool bb_encoding_is_known(uint32_t id);    // BB_ENCODING_NONE is not
const char *bb_encoding_name(uint32_t id); // "unknown" if it is not

// Encodes words[0, count), 1 <= count <= BB_BLOCK_ROWS_MAX, in the smallest way into `out`.
// Returns the bytes written and sets *id.
size_t bb_encoding_encode(bb_encoding_kind_t kind, const uint64_t *words, uint32_t count,
                          uint8_t *out, uint8_t *id);

// The same with an encoding of the caller's choice; 0 if it cannot hold these words within the
// room.
size_t bb_encoding_encode_as(bb_encoding_id_t id, bb_encoding_kind_t kind, const uint64_t *words,
                             uint32_t count, uint8_t *out);

// Decodes exactly `count` words. Any bytes are safe: BB_ERR_CORRUPT (lengths, positions) or
// BB_ERR_FORMAT (unknown id), then `out` holds anything.
BB_MUST_CHECK bb_error_t bb_encoding_decode(uint32_t id, bb_encoding_kind_t kind,
                                            bb_slice_t encoded, uint32_t count, uint64_t *out);

#endif

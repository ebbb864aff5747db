// SPDX-License-Identifier: Apache-2.0
// bb_encoding - the registry of lossless encodings for one block of up to BB_BLOCK_ROWS_MAX words.
//
// Pure; an encoder belongs to one thread. A word is 64 bits of one kind: an integer (times, INT64,
// BOOL, positions in the text table) or a float64. Every encoding gives back the same bits: NaN
// payloads and -0.0 too. The writer asks each encoding for its exact size and takes the smallest.
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
// Byte map: storage/encoding/README.md. Ids are never reused; a new encoding is a new entry here.
#ifndef BB_ENCODING_H
#define BB_ENCODING_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_value.h"

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
    BB_ENCODING_INTEGER = 1, // times, INT64, BOOL, positions in the table of texts
    BB_ENCODING_FLOAT64 = 2,
} bb_encoding_kind_t;

// Largest exponent of ten that is tried for decimals; all powers up to 22 are exact doubles.
#define BB_ENCODING_EXPONENT_MAX 10
// Other columns that one block may be predicted from.
#define BB_ENCODING_PEERS_MAX 2u
// Room that an encoded block of `count` words may need: never more than raw.
#define BB_ENCODING_BYTES_MAX(count) (8u * (count))

// One column of a stripe: its present values only, in row order. Borrowed for the call.
typedef struct {
    bb_encoding_kind_t kind;
    const uint64_t *words;
    uint32_t count; // [1, BB_BLOCK_ROWS_MAX]
    // Columns from which this one may be predicted: of the same rows, all present, as words. Who
    // decodes the block needs the ones that bb_encoding_peers names, so a column that is itself
    // predicted must not be offered (or the order of decoding must be settled by the caller).
    const uint64_t *const *peers;
    const bb_encoding_kind_t *peer_kinds;
    uint32_t peer_count; // 0: none; then the pointers may be NULL
} bb_encoding_input_t;

bool bb_encoding_is_known(uint32_t id);    // BB_ENCODING_NONE is not
const char *bb_encoding_name(uint32_t id); // "unknown" if it is not

// Scratch memory of one writer, some hundred KiB.
typedef struct bb_encoder bb_encoder_t;
bb_encoder_t *bb_encoder_new(void);
void bb_encoder_destroy(bb_encoder_t **self);

// Encodes the words in the smallest way into `out`, which has room for
// BB_ENCODING_BYTES_MAX(count). *hint is the encoder's memory of what suited the block before of
// the same column: 0 at first, then what the call before left there. It changes what is tried
// first, thus speed and, rarely, the choice; hint may be NULL. Returns the bytes written and sets
// *id.
size_t bb_encoder_encode(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t *hint,
                         uint8_t *out, uint8_t *id);

// The same with an encoding of the caller's choice; 0 if it cannot hold these words within the
// room.
size_t bb_encoder_encode_as(bb_encoder_t *self, bb_encoding_id_t id,
                            const bb_encoding_input_t *input, uint8_t *out);

// The other columns that are needed to decode a block: their indexes among the peer_count that were
// offered when it was encoded. *count is 0 for most. Any bytes are safe: BB_ERR_CORRUPT,
// BB_ERR_FORMAT (unknown id).
BB_MUST_CHECK bb_error_t bb_encoding_peers(uint32_t id, bb_slice_t encoded, uint32_t peer_count,
                                           uint32_t peers[BB_ENCODING_PEERS_MAX], uint32_t *count);

// Decodes exactly `count` words. peers[i]: the words of the i-th column that bb_encoding_peers
// named, `count` each; NULL when it named none. Any bytes are safe: BB_ERR_CORRUPT (lengths,
// positions; a block that needs peers and gets none) or BB_ERR_FORMAT (unknown id), then `out`
// holds anything.
BB_MUST_CHECK bb_error_t bb_encoding_decode(uint32_t id, bb_encoding_kind_t kind,
                                            bb_slice_t encoded, uint32_t count,
                                            const uint64_t *const *peers, uint64_t *out);

// What an aggregate needs of a range of rows. The rules are those of blocks' statistics: NaN makes
// the sum NaN and is a minimum or maximum only among NaNs; -0.0 is below 0.0; BOOL sums count true
// as 1; STATE words are positions: ordered as integers, sum 0.
typedef struct {
    uint64_t count; // row_limit - row_first
    bb_sum_t sum;   // the same up to the last bits, whichever way it is computed
    uint64_t min, max;
    uint64_t first, last;
} bb_encoding_totals_t;

// The totals of words[row_first, row_limit), row_first < row_limit <= count, straight from the
// packed form where that is possible. Errors as bb_encoding_decode; then *totals is not set.
BB_MUST_CHECK bb_error_t bb_encoding_aggregate(uint32_t id, bb_type_t type, bb_slice_t encoded,
                                               uint32_t count, const uint64_t *const *peers,
                                               uint32_t row_first, uint32_t row_limit,
                                               bb_encoding_totals_t *totals);

// The same of words that are decoded; 1 <= count.
void bb_encoding_totals_of(bb_type_t type, const uint64_t *words, uint32_t count,
                           bb_encoding_totals_t *totals);

#endif

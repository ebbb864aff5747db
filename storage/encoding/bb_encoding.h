// SPDX-License-Identifier: Apache-2.0
// bb_encoding - the registry of lossless encodings for one block of up to BB_BLOCK_ROWS_MAX words.
//
// Pure; an encoder belongs to one thread. A word is 64 bits of one kind: an integer (times, INT64,
// BOOL, positions in the text table) or a float64. Every encoding gives back the same bits: NaN
// payloads and -0.0 too. The writer asks each encoding for its exact size and takes the smallest.
//
//   id  name        words are                                                            suits
//    0  (none)      absent: a block without values
//    1  constant    all the same
//    2  raw         as they are
//    8  integers    packed: frame of reference, differences, their differences; patched  integers
//    9  decimals    integers / 10^exponent, packed like that, with exceptions            measured
//   10  floats      float32 numbers in the order of floats, packed like that             float32
//   11  runs        repeated                                                             switches
//   12  dictionary  few, looked up by packed indexes                                     states
//   13  times       a grid with gaps and jitter                                          times
//   14  xor         the bits that differ from the word before                            computed
//   15  split       a dictionary of left parts, and right parts as they are              computed
//   16  predicted   integers or decimals as differences to a guess from other columns    power...
//
// 3 to 7 were the packings of the first version; they are not read any more. Each encoding is one
// file (bb_codec.h) with its source. Byte maps: storage/encoding/README.md. Ids are never reused; a
// new encoding is a new entry here.
#ifndef BB_ENCODING_H
#define BB_ENCODING_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_sum.h"

typedef enum {
    BB_ENCODING_NONE = 0,
    BB_ENCODING_CONSTANT = 1,
    BB_ENCODING_RAW = 2,
    BB_ENCODING_INTEGERS = 8,
    BB_ENCODING_DECIMALS = 9,
    BB_ENCODING_FLOATS = 10,
    BB_ENCODING_RUNS = 11,
    BB_ENCODING_DICTIONARY = 12,
    BB_ENCODING_TIMES = 13,
    BB_ENCODING_XOR = 14,
    BB_ENCODING_SPLIT = 15,
    BB_ENCODING_PREDICTED = 16,
} bb_encoding_id_t;
#define BB_ENCODING_LAST BB_ENCODING_PREDICTED

typedef enum {
    BB_ENCODING_INTEGER = 1, // times, INT64, BOOL, positions in the table of texts
    BB_ENCODING_FLOAT64 = 2,
} bb_encoding_kind_t;

// Other columns that one block may be predicted from.
#define BB_ENCODING_PEERS_MAX 2u
// Columns beyond this one are not looked at as peers.
#define BB_ENCODING_PEER_LIMIT 64u
// Room that an encoded block of `count` words may need: never more than raw.
#define BB_ENCODING_BYTES_MAX(count) (8u * (count))

// One column of a stripe: its present values only, in row order. Borrowed for the call.
typedef struct {
    bb_encoding_kind_t kind;
    const uint64_t *words;
    uint32_t count; // [1, BB_BLOCK_ROWS_MAX]
    // Columns of the same rows, all present, as words: from up to two of them this one may be
    // predicted, once bb_encoder_relate has said so. Their places in this list are what a block
    // remembers. This column itself may be among them.
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

// Finds out which columns of a stripe are predicted from which: call it before a stripe is encoded,
// with the columns of which all rows are present, in the order in which they will be offered as
// peers (at most BB_ENCODING_PEER_LIMIT), and with the hint of each. It writes into the hints; what
// a column is predicted from is itself never predicted. Most calls return at once: what was found
// is kept for some hundred stripes of the same shape, so hints should be kept from stripe to stripe
// and from battery to battery. The search costs about a millisecond for 12 columns.
void bb_encoder_relate(bb_encoder_t *self, const bb_encoding_input_t *columns, uint32_t count,
                       uint32_t *const *hints);

// Encodes the words in the smallest way into `out`, which has room for
// BB_ENCODING_BYTES_MAX(count). *hint is the encoder's memory of what suited the block before of
// the same column: 0 at first, then what the calls before left there. It changes what is tried
// first, thus speed and, rarely, the choice; hint may be NULL, then nothing is predicted. A hint
// belongs to a list of peers: clear it when that list changes. Returns the bytes written and sets
// *id.
size_t bb_encoder_encode(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t *hint,
                         uint8_t *out, uint8_t *id);

// What matters from now on; at first fast.
//   fast   reading: what is small at the price of speed only where it saves much, again and again
//   small  bytes, as long as reading is no slower than some 10 ns a value; encoding takes twice as
//          long
//   brief  encoding: blocks that will soon be encoded anew
typedef enum { BB_ENCODER_FAST, BB_ENCODER_SMALL, BB_ENCODER_BRIEF } bb_encoder_aim_t;
void bb_encoder_set_aim(bb_encoder_t *self, bb_encoder_aim_t aim);

// The same with an encoding of the caller's choice; 0 if it cannot hold these words within the
// room.
size_t bb_encoder_encode_as(bb_encoder_t *self, bb_encoding_id_t id,
                            const bb_encoding_input_t *input, uint8_t *out);

// The other columns that are needed to decode a block: their indexes among the peer_count that were
// offered when it was encoded. *count is 0 for most. Any bytes are safe: BB_ERR_CORRUPT,
// BB_ERR_FORMAT (unknown id).
BB_MUST_CHECK bb_error_t bb_encoding_peers(uint32_t id, bb_slice_t encoded, uint32_t peer_count,
                                           uint32_t peers[BB_ENCODING_PEERS_MAX], uint32_t *count);

// The exponent if every word of the block is the double next to k / 10^exponent for some integer k,
// as its first bytes say; UINT32_MAX if that is not known. Any bytes are safe.
uint32_t bb_encoding_exponent(uint32_t id, bb_slice_t encoded);

// Decodes exactly `count` words. peers[i]: the words of the i-th column that bb_encoding_peers
// named, `count` each; NULL when it named none. Any bytes are safe: BB_ERR_CORRUPT (lengths,
// positions; a block that needs peers and gets none) or BB_ERR_FORMAT (unknown id), then `out`
// holds anything.
BB_MUST_CHECK bb_error_t bb_encoding_decode(uint32_t id, bb_encoding_kind_t kind,
                                            bb_slice_t encoded, uint32_t count,
                                            const uint64_t *const *peers, uint64_t *out);

// What an aggregate needs of a range of rows. The rules are those of blocks' statistics: sums are
// exact and the same whichever way they are computed (protocol/bb_sum.h); NaN is a minimum or
// maximum only among NaNs; -0.0 is below 0.0; STATE words are positions: ordered as integers, sum
// 0.
typedef struct {
    uint64_t count; // row_limit - row_first
    bb_sum_t sum;
    uint64_t min, max;
    uint64_t first, last;
} bb_encoding_totals_t;

// The totals of words[row_first, row_limit), row_first < row_limit <= count, straight from the
// packed form where that is possible. Errors as bb_encoding_decode; then *totals is not set.
BB_MUST_CHECK bb_error_t bb_encoding_aggregate(uint32_t id, bb_type_t type, bb_slice_t encoded,
                                               uint32_t count, const uint64_t *const *peers,
                                               uint32_t row_first, uint32_t row_limit,
                                               bb_encoding_totals_t *totals);

// bb_encoding_decode of a block without peers, and the totals of all its words where they cost next
// to nothing on the way: *has_totals.
BB_MUST_CHECK bb_error_t bb_encoding_decode_with_totals(uint32_t id, bb_type_t type,
                                                        bb_slice_t encoded, uint32_t count,
                                                        uint64_t *out, bool *has_totals,
                                                        bb_encoding_totals_t *totals);

// The same of words that are decoded; 1 <= count.
void bb_encoding_totals_of(bb_type_t type, const uint64_t *words, uint32_t count,
                           bb_encoding_totals_t *totals);

// Totals of ranges of rows that follow each other, as the block is packed: sums of integers that
// stand for k / 10^exponent (INT64: exponent 0), exact; min and max as bits, if they are wanted.
typedef struct {
    uint32_t count;
    int64_t sum;
    uint64_t min, max;
} bb_encoding_range_t;
typedef struct {
    uint32_t exponent;
    bb_encoding_range_t ranges[BB_BLOCK_ROWS_MAX];
} bb_encoding_ranges_t;

// row_limits[range_count] ascend, the last one is `count`. FLOAT64 and INT64 only. False: not
// packed like that, or damaged; then decode.
BB_MUST_CHECK bool bb_encoding_ranges(uint32_t id, bb_type_t type, bb_slice_t encoded,
                                      uint32_t count, const uint64_t *const *peers,
                                      const uint32_t *row_limits, uint32_t range_count,
                                      bool has_extremes, bb_encoding_ranges_t *ranges);

#endif

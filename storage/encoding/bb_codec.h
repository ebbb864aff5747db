// SPDX-License-Identifier: Apache-2.0
// bb_codec - the encodings themselves, one file each; private to this folder, behind the registry.
//
// Pure. A decoder is given any bytes and says false if they are no such block: bytes left over are
// damage too. Writers return the bytes they wrote, at most BB_CODEC_BYTES_MAX, or 0 if they cannot
// hold the block.
#ifndef BB_CODEC_H
#define BB_CODEC_H

#include "storage/encoding/bb_decimal.h"
#include "storage/encoding/bb_encoding.h"
#include "storage/encoding/bb_packed.h"
#include "storage/encoding/bb_prediction.h"

#define BB_CODEC_BYTES_MAX (40u * BB_BLOCK_ROWS_MAX + 256u)

// A block to be read.
typedef struct {
    bb_encoding_kind_t kind;
    bb_slice_t encoded;
    uint32_t count;               // [1, BB_BLOCK_ROWS_MAX]
    const uint64_t *const *peers; // or NULL
} bb_codec_block_t;

// Totals of integers k that stand for k / 10^exponent (FLOAT64), or for themselves.
typedef struct {
    uint32_t exponent;
    int64_t min, max, first, last;
    int64_t sum; // exact
} bb_codec_totals_t;

// Numbers k of a block that stand for k / 10^exponent (FLOAT64), or for themselves: base + scale x
// offset.
typedef struct {
    uint32_t exponent;
    int64_t base, scale;
    int32_t offsets[BB_BLOCK_ROWS_MAX];
} bb_codec_numbers_t;

// ---- integers: packed words; FLOAT64: in the order of doubles ----
size_t bb_codec_integers_encode(bb_packer_t *packer, bb_encoding_kind_t kind, const uint64_t *words,
                                uint32_t count, uint8_t *out);
bool bb_codec_integers_decode(const bb_codec_block_t *block, uint64_t *out);
// False as well if the totals cannot be had without decoding.
bool bb_codec_integers_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals);
bool bb_codec_integers_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers);

// ---- floats: doubles that are float32 numbers, packed in the order of those ----
size_t bb_codec_floats_encode(bb_packer_t *packer, const uint64_t *words, uint32_t count,
                              uint8_t *out);
bool bb_codec_floats_decode(const bb_codec_block_t *block, uint64_t *out);

// ---- decimals: integers / 10^exponent, packed, and exceptions ----
//   exponent   u8   bit 7: exceptions follow
//   exceptions      varint count; each: varint rows since the one before, word u64
//   integers        packed
size_t bb_codec_decimals_encode(bb_packer_t *packer, const bb_decimals_t *decimals, uint32_t count,
                                uint8_t *out);
// The same of `count` times the first integer, which is no exception.
size_t bb_codec_decimals_encode_same(const bb_packer_t *packer, const bb_decimals_t *decimals,
                                     uint32_t count, uint8_t *out);
bool bb_codec_decimals_decode(const bb_codec_block_t *block, uint64_t *out);
bool bb_codec_decimals_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals);
// Of a block without exceptions; else UINT32_MAX. Any bytes are safe.
uint32_t bb_codec_decimals_exponent(bb_slice_t encoded);
bool bb_codec_decimals_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers);
uint8_t *bb_codec_put_exceptions(const bb_decimals_t *decimals, uint8_t *at);
bool bb_codec_skip_exceptions(bb_reader_t *reader, uint32_t count);
bool bb_codec_apply_exceptions(bb_reader_t *reader, uint32_t count, uint64_t *out);

// ---- predicted: decimals or integers as differences to a guess from peers ----
//   model      u8   bits 0-3; 4, 5: first, second peer is INTEGER; 7: exceptions follow
//   exponent   u8   0 for INTEGER
//   peers      u8 each, as many as the model takes
//   a, b       f32
//   phase      u16  (integral)
//   delay      u8   (delayed) below BB_PREDICTION_DELAYS
//   exceptions      as above
//   differences     packed, narrow; without a scale unless delayed
typedef struct {
    bb_prediction_t prediction;
    uint32_t peers[BB_ENCODING_PEERS_MAX]; // indexes among those that are offered, below 256
    bb_encoding_kind_t peer_kinds[BB_ENCODING_PEERS_MAX];
} bb_codec_relation_t;
// `decimals`: NULL for INTEGER; then `integers` are the words. `differences`: integers - guesses.
size_t bb_codec_predicted_encode(bb_packer_t *packer, const bb_codec_relation_t *relation,
                                 const bb_decimals_t *decimals, const uint64_t *differences,
                                 uint32_t count, uint8_t *out);
bool bb_codec_predicted_decode(const bb_codec_block_t *block, uint64_t *out);
bool bb_codec_predicted_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals);
uint32_t bb_codec_predicted_exponent(bb_slice_t encoded); // as bb_codec_decimals_exponent
bool bb_codec_predicted_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers);
bool bb_codec_predicted_peers(bb_slice_t encoded, uint32_t peers[BB_ENCODING_PEERS_MAX],
                              uint32_t *count);

// ---- a list of words inside of another encoding ----
//   encoding   u8   RAW, INTEGERS or DECIMALS
//   bytes           to the end
size_t bb_codec_list_encode(bb_packer_t *packer, bb_decimals_t *scratch, bb_encoding_kind_t kind,
                            const uint64_t *words, uint32_t count, uint8_t *out);
bool bb_codec_list_decode(const bb_codec_block_t *block, uint64_t *out);

// ---- runs: words and how often each is repeated ----
//   runs       varint
//   bytes      varint  of the lengths
//   lengths            packed, less one
//   words              a list
size_t bb_codec_runs_encode(bb_packer_t *packer, bb_decimals_t *scratch, bb_encoding_kind_t kind,
                            const uint64_t *words, uint32_t count, uint8_t *out);
bool bb_codec_runs_decode(const bb_codec_block_t *block, uint64_t *out);
// The words and how often each comes; both have room for BB_BLOCK_ROWS_MAX.
bool bb_codec_runs_open(const bb_codec_block_t *block, uint32_t *runs, uint64_t *words,
                        uint64_t *lengths);

// ---- dictionary: distinct words in the order of their first rows, and which one each row has ----
//   words      varint  how many
//   bytes      varint  of the indexes
//   indexes            packed
//   words              a list
#define BB_CODEC_DICTIONARY_MAX 64u
size_t bb_codec_dictionary_encode(bb_packer_t *packer, bb_decimals_t *scratch,
                                  bb_encoding_kind_t kind, const uint64_t *words, uint32_t count,
                                  uint8_t *out);
bool bb_codec_dictionary_decode(const bb_codec_block_t *block, uint64_t *out);

// ---- xor and split: doubles that are no decimals ----
size_t bb_codec_xor_encode(const uint64_t *words, uint32_t count, uint8_t *out);
bool bb_codec_xor_decode(const bb_codec_block_t *block, uint64_t *out);
size_t bb_codec_split_encode(const uint64_t *words, uint32_t count, uint8_t *out);
bool bb_codec_split_decode(const bb_codec_block_t *block, uint64_t *out);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"
#include "storage/encoding/bb_lanes.h"

#define MODEL_MASK      0x0fu
#define FLAG_INTEGER    0x10u // of the first peer; of the second: the bit above
#define FLAG_EXCEPTIONS 0x80u
#define HEAD_MASK       0xbfu
#define ORDERS          3u

static uint32_t s_bits_of_float(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static float s_float_of_bits(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

size_t bb_codec_predicted_encode(bb_packer_t *packer, const bb_codec_relation_t *relation,
                                 const bb_decimals_t *decimals, const uint64_t *differences,
                                 uint32_t count, uint8_t *out)
{
    const bb_prediction_t *prediction = &relation->prediction;
    uint32_t peer_count = bb_prediction_peer_count(prediction->model);
    bool has_exceptions = decimals && decimals->exception_count > 0;
    uint8_t *at = out;
    uint32_t head = prediction->model | (has_exceptions ? FLAG_EXCEPTIONS : 0);
    for (uint32_t i = 0; i < peer_count; i++) {
        head |= relation->peer_kinds[i] == BB_ENCODING_INTEGER ? FLAG_INTEGER << i : 0;
    }
    *at++ = (uint8_t)head;
    *at++ = (uint8_t)(decimals ? decimals->exponent : 0);
    for (uint32_t i = 0; i < peer_count; i++) {
        BB_ASSERT(relation->peers[i] <= UINT8_MAX);
        *at++ = (uint8_t)relation->peers[i];
    }
    at = bb_put_fixed(at, s_bits_of_float(prediction->a), 4);
    at = bb_put_fixed(at, s_bits_of_float(prediction->b), 4);
    if (prediction->model == BB_PREDICTION_INTEGRAL) {
        at = bb_put_fixed(at, prediction->phase, 2);
    } else if (prediction->model == BB_PREDICTION_DELAYED) {
        *at++ = (uint8_t)prediction->rows_behind;
    }
    if (has_exceptions) {
        at = bb_codec_put_exceptions(decimals, at);
    }
    bool scaled = prediction->model == BB_PREDICTION_DELAYED;
    at += bb_packed_encode(packer, differences, count, ORDERS, scaled, at);
    return (size_t)(at - out);
}

// ---- reading ------------------------------------------------------------------------------------

typedef struct {
    bb_codec_relation_t relation;
    uint32_t exponent, peer_count;
    bool has_exceptions;
    bb_reader_t exceptions;
    bb_packed_t packed;
} s_predicted_t;

static bool s_open_head(s_predicted_t *self, bb_reader_t *reader)
{
    uint32_t head = (uint32_t)bb_reader_fixed(reader, 1);
    bb_prediction_t *prediction = &self->relation.prediction;
    prediction->model = (bb_prediction_model_t)(head & MODEL_MASK);
    self->exponent = (uint32_t)bb_reader_fixed(reader, 1);
    if ((head & ~HEAD_MASK) != 0 || prediction->model < BB_PREDICTION_LINEAR ||
        prediction->model > BB_PREDICTION_LAST || self->exponent > BB_DECIMAL_EXPONENT_MAX) {
        return false;
    }
    self->has_exceptions = head & FLAG_EXCEPTIONS;
    self->peer_count = bb_prediction_peer_count(prediction->model);
    for (uint32_t i = 0; i < self->peer_count; i++) {
        self->relation.peers[i] = (uint32_t)bb_reader_fixed(reader, 1);
        self->relation.peer_kinds[i] =
            head & FLAG_INTEGER << i ? BB_ENCODING_INTEGER : BB_ENCODING_FLOAT64;
    }
    prediction->a = s_float_of_bits((uint32_t)bb_reader_fixed(reader, 4));
    prediction->b = s_float_of_bits((uint32_t)bb_reader_fixed(reader, 4));
    prediction->phase =
        prediction->model == BB_PREDICTION_INTEGRAL ? (uint32_t)bb_reader_fixed(reader, 2) : 0;
    prediction->rows_behind =
        prediction->model == BB_PREDICTION_DELAYED ? (uint32_t)bb_reader_fixed(reader, 1) : 0;
    return !reader->failed && prediction->rows_behind < BB_PREDICTION_DELAYS;
}

bool bb_codec_predicted_peers(bb_slice_t encoded, uint32_t peers[BB_ENCODING_PEERS_MAX],
                              uint32_t *count)
{
    bb_reader_t reader = bb_reader(encoded);
    s_predicted_t self;
    if (!s_open_head(&self, &reader)) {
        return false;
    }
    for (uint32_t i = 0; i < self.peer_count; i++) {
        peers[i] = self.relation.peers[i];
    }
    *count = self.peer_count;
    return true;
}

static bool s_open(s_predicted_t *self, const bb_codec_block_t *block)
{
    bb_reader_t reader = bb_reader(block->encoded);
    if (!block->peers || !s_open_head(self, &reader) ||
        (block->kind == BB_ENCODING_INTEGER && (self->exponent > 0 || self->has_exceptions))) {
        return false;
    }
    for (uint32_t i = 0; i < self->peer_count; i++) {
        if (!block->peers[i]) {
            return false;
        }
    }
    self->exceptions = reader;
    if (self->has_exceptions && !bb_codec_skip_exceptions(&reader, block->count)) {
        return false;
    }
    return bb_packed_open(&self->packed, bb_slice(reader.at, bb_reader_left(&reader)),
                          block->count) &&
           bb_packed_is_plain(&self->packed) &&
           (self->packed.scale == 1 || self->relation.prediction.model == BB_PREDICTION_DELAYED);
}

// A peer as doubles; integers are converted into `room`.
static const double *s_peer(const uint64_t *words, bb_encoding_kind_t kind, uint32_t count,
                            double *room)
{
    if (kind == BB_ENCODING_FLOAT64) {
        // cppcheck-suppress invalidPointerCast ; the same bits, built without strict aliasing
        return (const double *)words;
    }
    for (uint32_t i = 0; i < count; i++) {
        room[i] = (double)(int64_t)words[i];
    }
    return room;
}

// The peers as doubles.
typedef struct {
    const double *list[BB_ENCODING_PEERS_MAX];
    // Of those that are integers; the second also of a delayed one.
    double room[BB_ENCODING_PEERS_MAX][BB_BLOCK_ROWS_MAX];
} s_peers_t;

static void s_read_peers(const s_predicted_t *self, const bb_codec_block_t *block, s_peers_t *peers)
{
    peers->list[0] = peers->list[1] = NULL;
    for (uint32_t i = 0; i < self->peer_count; i++) {
        peers->list[i] =
            s_peer(block->peers[i], self->relation.peer_kinds[i], block->count, peers->room[i]);
    }
    if (self->relation.prediction.model == BB_PREDICTION_DELAYED) {
        bb_prediction_delay(&self->relation.prediction, peers->list[0], block->count,
                            peers->room[1]);
        peers->list[0] = peers->room[1];
    }
}

// Offsets times the scale, which is at most 2^20. False: not all of them are small.
static bool s_scale_up(int32_t scale, uint32_t count, int32_t *offsets)
{
    const uint64_t half = 1u << 29; // sizes below are small
    uint64_t above = 0;
    for (uint32_t i = 0; i < count && scale > 1; i++) {
        int64_t offset = (int64_t)offsets[i] * scale;
        above |= ((uint64_t)offset + half) >> 30;
        offsets[i] = (int32_t)(uint32_t)(uint64_t)offset;
    }
    return above == 0;
}

// The integers less the base, if they are small: that is all that is ever written for measurements.
// False: they are not, or the block is corrupt.
static bool s_near_integers(const s_predicted_t *self, const bb_codec_block_t *block,
                            const s_peers_t *peers, int32_t *integers)
{
    return bb_packed_offsets(&self->packed, integers) &&
           s_scale_up((int32_t)self->packed.scale, block->count, integers) &&
           bb_prediction_add(&self->relation.prediction, peers->list[0], peers->list[1],
                             block->count, integers);
}

// Guess, base and scaled offset add up without rounding below 2^53.
BB_CLONES static void s_integers(const double *guesses, const int32_t *offsets, double base,
                                 double scale, uint32_t count, uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (uint64_t)(int64_t)(guesses[i] + (base + scale * (double)offsets[i]));
    }
}

BB_CLONES static void s_decimals(const double *guesses, const int32_t *offsets, double base,
                                 double scale, double power, uint32_t count, uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = bb_bits_of_double((guesses[i] + (base + scale * (double)offsets[i])) / power);
    }
}

// Integers of any size. False: corrupt.
static bool s_decode_far(const s_predicted_t *self, const bb_codec_block_t *block,
                         const s_peers_t *peers, uint64_t *out)
{
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    double guesses[BB_BLOCK_ROWS_MAX];
    double base = (double)(int64_t)self->packed.base;
    if (!bb_packed_offsets(&self->packed, offsets)) {
        return false;
    }
    bb_prediction_make(&self->relation.prediction, peers->list[0], peers->list[1], block->count, 1,
                       guesses);
    double scale = (double)self->packed.scale;
    if (block->kind == BB_ENCODING_INTEGER) {
        s_integers(guesses, offsets, base, scale, block->count, out);
    } else {
        s_decimals(guesses, offsets, base, scale, bb_decimal_power(self->exponent), block->count,
                   out);
    }
    return true;
}

bool bb_codec_predicted_decode(const bb_codec_block_t *block, uint64_t *out)
{
    s_predicted_t self;
    s_peers_t peers;
    int32_t integers[BB_BLOCK_ROWS_MAX];
    if (!s_open(&self, block)) {
        return false;
    }
    s_read_peers(&self, block, &peers);
    if (!s_near_integers(&self, block, &peers, integers)) {
        if (!s_decode_far(&self, block, &peers, out)) {
            return false;
        }
    } else if (block->kind == BB_ENCODING_INTEGER) {
        for (uint32_t i = 0; i < block->count; i++) {
            out[i] = self.packed.base + (uint64_t)(int64_t)integers[i];
        }
    } else {
        bb_decimals_of_offsets(self.exponent, (int64_t)self.packed.base, 1, integers, block->count,
                               out);
    }
    return !self.has_exceptions || bb_codec_apply_exceptions(&self.exceptions, block->count, out);
}

bool bb_codec_predicted_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers)
{
    s_predicted_t self;
    s_peers_t peers;
    if (!s_open(&self, block) || self.has_exceptions) {
        return false;
    }
    s_read_peers(&self, block, &peers);
    numbers->exponent = self.exponent;
    numbers->base = (int64_t)self.packed.base;
    numbers->scale = 1;
    return s_near_integers(&self, block, &peers, numbers->offsets);
}

bool bb_codec_predicted_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals)
{
    s_predicted_t self;
    s_peers_t peers;
    int32_t integers[BB_BLOCK_ROWS_MAX];
    if (!s_open(&self, block) || self.has_exceptions) {
        return false;
    }
    s_read_peers(&self, block, &peers);
    if (!s_near_integers(&self, block, &peers, integers)) {
        return false;
    }
    int64_t base = (int64_t)self.packed.base;
    bb_lanes_total_t sums = bb_lanes_total_of(integers, block->count);
    *totals = (bb_codec_totals_t){
        .exponent = self.exponent,
        .min = base + sums.min,
        .max = base + sums.max,
        .first = base + integers[0],
        .last = base + integers[block->count - 1],
        .sum = base * block->count + sums.sum,
    };
    return true;
}

uint32_t bb_codec_predicted_exponent(bb_slice_t encoded)
{
    bb_reader_t reader = bb_reader(encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    uint32_t exponent = (uint32_t)bb_reader_fixed(&reader, 1);
    return reader.failed || head & FLAG_EXCEPTIONS ? UINT32_MAX : exponent;
}

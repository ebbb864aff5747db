// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"
#include "storage/encoding/bb_rounding.h"

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
    }
    if (has_exceptions) {
        at = bb_codec_put_exceptions(decimals, at);
    }
    at += bb_packed_encode(packer, differences, count, ORDERS, false, at);
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
    return !reader->failed;
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
           bb_packed_is_plain(&self->packed) && self->packed.scale == 1;
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

static bool s_guess(const s_predicted_t *self, const bb_codec_block_t *block, double *guesses,
                    int32_t *offsets)
{
    double room[BB_ENCODING_PEERS_MAX][BB_BLOCK_ROWS_MAX];
    const double *peers[BB_ENCODING_PEERS_MAX] = {NULL};
    if (!bb_packed_offsets(&self->packed, offsets)) {
        return false;
    }
    for (uint32_t i = 0; i < self->peer_count; i++) {
        peers[i] = s_peer(block->peers[i], self->relation.peer_kinds[i], block->count, room[i]);
    }
    bb_prediction_make(&self->relation.prediction, peers[0], peers[1], block->count, 1, guesses);
    return true;
}

// Guess, base and offset add up without rounding below 2^53.
BB_CLONES static void s_integers(const double *guesses, const int32_t *offsets, double base,
                                 uint32_t count, uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (uint64_t)(int64_t)(guesses[i] + (base + (double)offsets[i]));
    }
}

BB_CLONES static void s_decimals(const double *guesses, const int32_t *offsets, double base,
                                 double power, uint32_t count, uint64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = bb_bits_of_double((guesses[i] + (base + (double)offsets[i])) / power);
    }
}

bool bb_codec_predicted_decode(const bb_codec_block_t *block, uint64_t *out)
{
    s_predicted_t self;
    double guesses[BB_BLOCK_ROWS_MAX];
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    if (!s_open(&self, block) || !s_guess(&self, block, guesses, offsets)) {
        return false;
    }
    double base = (double)(int64_t)self.packed.base;
    if (block->kind == BB_ENCODING_INTEGER) {
        s_integers(guesses, offsets, base, block->count, out);
        return true;
    }
    s_decimals(guesses, offsets, base, bb_decimal_power(self.exponent), block->count, out);
    return !self.has_exceptions || bb_codec_apply_exceptions(&self.exceptions, block->count, out);
}

// ---- totals -------------------------------------------------------------------------------------

#define LANES  4u
#define CHAINS 4u // so that an addition does not wait for the one before
typedef double s_doubles_t __attribute__((vector_size(32)));
typedef int64_t s_masks_t __attribute__((vector_size(32)));
typedef int32_t s_offsets_t __attribute__((vector_size(16)));

#define CHOOSE(mask, a, b) ((s_doubles_t)(((mask) & (s_masks_t)(a)) | (~(mask) & (s_masks_t)(b))))

typedef struct {
    double min, max, sum;
} s_totals_t;

// Integers are below 2^53 / 2^10: their sum is exact in any order.
BB_CLONES static void s_add_up(const double *guesses, const int32_t *offsets, double base,
                               uint32_t count, s_totals_t *totals)
{
    double first = guesses[0] + (base + (double)offsets[0]);
    s_doubles_t min[CHAINS], max[CHAINS], sum[CHAINS];
#pragma GCC unroll 4
    for (uint32_t k = 0; k < CHAINS; k++) {
        min[k] = max[k] = (s_doubles_t){0} + first;
        sum[k] = (s_doubles_t){0};
    }
    uint32_t i = 0;
    for (; i + LANES * CHAINS <= count; i += LANES * CHAINS) {
#pragma GCC unroll 4
        for (uint32_t k = 0; k < CHAINS; k++) {
            s_doubles_t next;
            s_offsets_t steps;
            memcpy(&next, guesses + i + k * LANES, sizeof next);
            memcpy(&steps, offsets + i + k * LANES, sizeof steps);
            next += __builtin_convertvector(steps, s_doubles_t) + base;
            min[k] = CHOOSE(next < min[k], next, min[k]);
            max[k] = CHOOSE(next > max[k], next, max[k]);
            sum[k] += next;
        }
    }
    *totals = (s_totals_t){first, first, 0};
    for (uint32_t k = 0; k < LANES * CHAINS; k++) {
        totals->min = BB_MIN(totals->min, min[k / LANES][k % LANES]);
        totals->max = BB_MAX(totals->max, max[k / LANES][k % LANES]);
        totals->sum += sum[k / LANES][k % LANES];
    }
    for (; i < count; i++) {
        double next = guesses[i] + (base + (double)offsets[i]);
        totals->min = BB_MIN(totals->min, next);
        totals->max = BB_MAX(totals->max, next);
        totals->sum += next;
    }
}

bool bb_codec_predicted_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals)
{
    s_predicted_t self;
    double guesses[BB_BLOCK_ROWS_MAX];
    int32_t offsets[BB_BLOCK_ROWS_MAX];
    if (!s_open(&self, block) || self.has_exceptions ||
        self.packed.base + (UINT64_C(1) << 41) > UINT64_C(1) << 42 ||
        !s_guess(&self, block, guesses, offsets)) {
        return false;
    }
    double base = (double)(int64_t)self.packed.base;
    uint32_t last = block->count - 1;
    s_totals_t sums;
    s_add_up(guesses, offsets, base, block->count, &sums);
    *totals = (bb_codec_totals_t){
        .exponent = self.exponent,
        .min = (int64_t)sums.min,
        .max = (int64_t)sums.max,
        .first = (int64_t)(guesses[0] + (base + (double)offsets[0])),
        .last = (int64_t)(guesses[last] + (base + (double)offsets[last])),
        .sum = (int64_t)sums.sum,
    };
    return true;
}

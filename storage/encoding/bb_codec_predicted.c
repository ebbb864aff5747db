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

// The next rows of a block: guesses and differences to them, near enough to stay in the cache.
typedef struct {
    bb_packed_walk_t walk;
    int64_t sum; // of the model
    uint32_t row, rows;
    int32_t offsets[BB_PACKED_STEP_ROWS];
    int32_t room[BB_BLOCK_ROWS_MAX]; // of the walk
    double guesses[BB_PACKED_STEP_ROWS];
} s_step_t;

static void s_begin(const s_predicted_t *self, s_step_t *step)
{
    step->walk = bb_packed_walk(&self->packed, step->room);
    step->sum = 0;
    step->row = step->rows = 0;
}

// False: corrupt. No rows: that was all.
static bool s_next(const s_predicted_t *self, const bb_codec_block_t *block, s_step_t *step)
{
    double room[BB_ENCODING_PEERS_MAX][BB_PACKED_STEP_ROWS];
    const double *peers[BB_ENCODING_PEERS_MAX] = {NULL};
    step->row += step->rows;
    if (!bb_packed_step(&self->packed, &step->walk, step->offsets, &step->rows)) {
        return false;
    }
    for (uint32_t i = 0; i < self->peer_count; i++) {
        peers[i] =
            s_peer(block->peers[i] + step->row, self->relation.peer_kinds[i], step->rows, room[i]);
    }
    bb_prediction_step(&self->relation.prediction, &step->sum, peers[0], peers[1], step->rows,
                       step->guesses);
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
    if (!s_open(&self, block)) {
        return false;
    }
    double base = (double)(int64_t)self.packed.base;
    double power = bb_decimal_power(self.exponent);
    s_step_t step;
    s_begin(&self, &step);
    do {
        if (!s_next(&self, block, &step)) {
            return false;
        }
        uint64_t *words = out + step.row;
        if (block->kind == BB_ENCODING_INTEGER) {
            s_integers(step.guesses, step.offsets, base, step.rows, words);
        } else {
            s_decimals(step.guesses, step.offsets, base, power, step.rows, words);
        }
    } while (step.rows > 0);
    return !self.has_exceptions || bb_codec_apply_exceptions(&self.exceptions, block->count, out);
}

// ---- totals -------------------------------------------------------------------------------------

#define LANES  4u
#define CHAINS 2u // so that an addition does not wait for the one before
typedef double s_doubles_t __attribute__((vector_size(32)));
typedef int64_t s_masks_t __attribute__((vector_size(32)));
typedef int32_t s_offsets_t __attribute__((vector_size(16)));

#define CHOOSE(mask, a, b) ((s_doubles_t)(((mask) & (s_masks_t)(a)) | (~(mask) & (s_masks_t)(b))))

typedef struct {
    double min[CHAINS * LANES], max[CHAINS * LANES], sum[CHAINS * LANES];
} s_totals_t;

// Integers are below 2^53 / 2^10: their sum is exact in any order.
BB_CLONES static void s_add_up(const double *guesses, const int32_t *offsets, double base,
                               uint32_t count, s_totals_t *totals)
{
    s_doubles_t min[CHAINS], max[CHAINS], sum[CHAINS];
#pragma GCC unroll 2
    for (uint32_t k = 0; k < CHAINS; k++) {
        memcpy(&min[k], totals->min + k * LANES, sizeof min[k]);
        memcpy(&max[k], totals->max + k * LANES, sizeof max[k]);
        memcpy(&sum[k], totals->sum + k * LANES, sizeof sum[k]);
    }
    uint32_t i = 0;
    for (; i + LANES * CHAINS <= count; i += LANES * CHAINS) {
#pragma GCC unroll 2
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
#pragma GCC unroll 2
    for (uint32_t k = 0; k < CHAINS; k++) {
        memcpy(totals->min + k * LANES, &min[k], sizeof min[k]);
        memcpy(totals->max + k * LANES, &max[k], sizeof max[k]);
        memcpy(totals->sum + k * LANES, &sum[k], sizeof sum[k]);
    }
    for (; i < count; i++) {
        double next = guesses[i] + (base + (double)offsets[i]);
        totals->min[0] = BB_MIN(totals->min[0], next);
        totals->max[0] = BB_MAX(totals->max[0], next);
        totals->sum[0] += next;
    }
}

// A block whose numbers are doubles that add up without rounding.
static bool s_open_exact(s_predicted_t *self, const bb_codec_block_t *block)
{
    return s_open(self, block) && !self->has_exceptions &&
           self->packed.base + (UINT64_C(1) << 41) <= UINT64_C(1) << 42;
}

static void s_finish(const s_totals_t *sums, bb_codec_totals_t *totals)
{
    double min = sums->min[0];
    double max = sums->max[0];
    double sum = sums->sum[0];
    for (uint32_t k = 1; k < LANES * CHAINS; k++) {
        min = BB_MIN(min, sums->min[k]);
        max = BB_MAX(max, sums->max[k]);
        sum += sums->sum[k];
    }
    totals->min = (int64_t)min;
    totals->max = (int64_t)max;
    totals->sum = (int64_t)sum;
}

bool bb_codec_predicted_totals(const bb_codec_block_t *block, bb_codec_totals_t *totals)
{
    s_predicted_t self;
    if (!s_open_exact(&self, block)) {
        return false;
    }
    double base = (double)(int64_t)self.packed.base;
    double first = 0;
    double last = 0;
    s_totals_t sums = {.sum = {0}};
    s_step_t step;
    s_begin(&self, &step);
    do {
        if (!s_next(&self, block, &step)) {
            return false;
        }
        if (step.rows > 0) {
            last = step.guesses[step.rows - 1] + (base + (double)step.offsets[step.rows - 1]);
        }
        if (step.row == 0 && step.rows > 0) {
            first = step.guesses[0] + (base + (double)step.offsets[0]);
            for (uint32_t k = 0; k < LANES * CHAINS; k++) {
                sums.min[k] = sums.max[k] = first;
            }
        }
        s_add_up(step.guesses, step.offsets, base, step.rows, &sums);
    } while (step.rows > 0);
    *totals = (bb_codec_totals_t){
        .exponent = self.exponent, .first = (int64_t)first, .last = (int64_t)last};
    s_finish(&sums, totals);
    return true;
}

uint32_t bb_codec_predicted_exponent(bb_slice_t encoded)
{
    bb_reader_t reader = bb_reader(encoded);
    uint32_t head = (uint32_t)bb_reader_fixed(&reader, 1);
    uint32_t exponent = (uint32_t)bb_reader_fixed(&reader, 1);
    return reader.failed || head & FLAG_EXCEPTIONS ? UINT32_MAX : exponent;
}

BB_CLONES static void s_numbers(const double *guesses, const int32_t *offsets, double base,
                                uint32_t count, double *numbers)
{
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = guesses[i] + (base + (double)offsets[i]);
    }
}

bool bb_codec_predicted_numbers(const bb_codec_block_t *block, bb_codec_numbers_t *numbers)
{
    s_predicted_t self;
    if (!s_open_exact(&self, block)) {
        return false;
    }
    numbers->exponent = self.exponent;
    numbers->are_doubles = true;
    s_step_t step;
    s_begin(&self, &step);
    do {
        if (!s_next(&self, block, &step)) {
            return false;
        }
        s_numbers(step.guesses, step.offsets, (double)(int64_t)self.packed.base, step.rows,
                  numbers->numbers + step.row);
    } while (step.rows > 0);
    return true;
}

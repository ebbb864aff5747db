// SPDX-License-Identifier: Apache-2.0
// Choosing: cheap looks at the words say which encodings may win; those are tried, and the smallest
// bytes are taken.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_codec.h"
#include "storage/encoding/bb_encoder_private.h"
#include "storage/encoding/bb_times.h"

// Shorter columns do not pay for the parameters of a prediction.
#define PREDICTED_COUNT_MIN 64u
// Bits that a prediction takes beside its differences: header and parameters.
#define PREDICTED_HEAD_BITS 112u
// Fewer changes than one in so many rows: runs are tried.
#define RUN_ROWS 16u
// More bytes than this per word, beside the least head of a dictionary: few distinct words may do
// better.
#define DICTIONARY_BYTES 1u
#define DICTIONARY_HEAD  12u

bb_encoder_t *bb_encoder_new(void)
{
    bb_encoder_t *self = bb_alloc_zero(1, sizeof *self);
    self->packer = bb_packer_new();
    self->aim = BB_ENCODER_FAST;
    return self;
}

void bb_encoder_destroy(bb_encoder_t **self)
{
    if (*self) {
        bb_packer_destroy(&(*self)->packer);
        free(*self);
        *self = NULL;
    }
}

// ---- hints --------------------------------------------------------------------------------------

static uint32_t s_usual_exponent(uint32_t hint)
{
    uint32_t exponent = hint & HINT_EXPONENT;
    return exponent == 0 ? BB_EXPONENT_UNKNOWN : exponent - 1;
}

static uint32_t s_remember_exponent(uint32_t hint, uint32_t exponent)
{
    return (hint & ~HINT_EXPONENT) | (exponent + 1);
}

// ---- looking at words ---------------------------------------------------------------------------

BB_CLONES static uint32_t s_change_count(const uint64_t *words, uint32_t count)
{
    uint64_t changes = 0;
    for (uint32_t i = 1; i < count; i++) {
        changes += words[i] != words[i - 1];
    }
    return (uint32_t)changes;
}

BB_CLONES static bool s_is_ascending(const uint64_t *words, uint32_t count)
{
    uint64_t failed = 0;
    for (uint32_t i = 1; i < count; i++) {
        failed += (int64_t)words[i] <= (int64_t)words[i - 1];
    }
    return failed == 0;
}

// ---- candidates ---------------------------------------------------------------------------------

// Where the next candidate is written: never over the best one so far.
static uint8_t *s_room(bb_encoder_t *self)
{
    return self->buffers[self->best_buffer ^ 1];
}

// A candidate in s_room(); 0 bytes: it cannot hold the words.
static void s_offer(bb_encoder_t *self, bb_encoding_id_t id, size_t bytes)
{
    BB_ASSERT(bytes <= BB_CODEC_BYTES_MAX);
    if (bytes > 0 && bytes < self->best_bytes) {
        self->best_bytes = bytes;
        self->best_id = id;
        self->best_buffer ^= 1;
    }
}

BB_CLONES static void s_subtract(const uint64_t *integers, const double *guesses, uint32_t count,
                                 uint64_t *differences)
{
    for (uint32_t i = 0; i < count; i++) {
        differences[i] = integers[i] - (uint64_t)bb_rounded_integer(guesses[i]);
    }
}

static const double *s_peer_doubles(const bb_encoding_input_t *input, uint32_t peer, double *room)
{
    const uint64_t *words = input->peers[peer];
    if (input->peer_kinds[peer] == BB_ENCODING_FLOAT64) {
        // cppcheck-suppress invalidPointerCast
        return (const double *)words; // built without strict aliasing
    }
    for (uint32_t i = 0; i < input->count; i++) {
        room[i] = (double)(int64_t)words[i];
    }
    return room;
}

// Every integer is below 2^51: doubles hold it and its distance to a guess.
static bool s_are_exact(const uint64_t *integers, uint32_t count)
{
    uint64_t out = 0;
    for (uint32_t i = 0; i < count; i++) {
        out |= (integers[i] + (UINT64_C(1) << 51)) >> 52;
    }
    return out == 0;
}

// The differences to the guess that the hint names, in self->differences. False: no relation, or it
// does not pay for this block.
static bool s_predict(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t hint,
                      const uint64_t *integers, bb_codec_relation_t *relation)
{
    bb_prediction_t *prediction = &relation->prediction;
    *prediction = (bb_prediction_t){.model = hint_model(hint)};
    if (prediction->model == BB_PREDICTION_NONE || input->count < PREDICTED_COUNT_MIN ||
        !s_are_exact(integers, input->count)) {
        return false;
    }
    const double *peers[BB_ENCODING_PEERS_MAX] = {NULL};
    for (uint32_t i = 0; i < bb_prediction_peer_count(prediction->model); i++) {
        uint32_t peer = hint_peer(hint, i);
        if (peer >= input->peer_count) {
            return false;
        }
        relation->peers[i] = peer;
        relation->peer_kinds[i] = input->peer_kinds[peer];
        peers[i] = s_peer_doubles(input, peer, self->peers[i]);
    }
    bool is_delayed = prediction->model == BB_PREDICTION_DELAYED;
    bool is_whole = is_delayed || prediction->model == BB_PREDICTION_INTEGRAL;
    uint32_t step = is_whole ? 1 : BB_MAX(input->count / 256, 1u);
    if (!bb_prediction_fit(prediction, (const int64_t *)integers, peers[0], peers[1], input->count,
                           step)) {
        return false;
    }
    if (is_delayed) {
        bb_prediction_delay(prediction, peers[0], input->count, self->peers[1]);
        peers[0] = self->peers[1];
    }
    bb_prediction_make(prediction, peers[0], peers[1], input->count, 1, self->guesses);
    s_subtract(integers, self->guesses, input->count, self->differences);
    uint64_t direct, predicted;
    if (self->aim == BB_ENCODER_SMALL) {
        direct = bb_packed_estimate_small(self->packer, integers, input->count, true);
        predicted =
            bb_packed_estimate_small(self->packer, self->differences, input->count, is_delayed);
    } else {
        direct = bb_packed_estimate(self->packer, integers, input->count);
        predicted = bb_packed_estimate(self->packer, self->differences, input->count);
    }
    return predicted + PREDICTED_HEAD_BITS < direct;
}

static void s_try_predicted(bb_encoder_t *self, const bb_codec_relation_t *relation,
                            const bb_decimals_t *decimals, uint32_t count)
{
    s_offer(self, BB_ENCODING_PREDICTED,
            bb_codec_predicted_encode(self->packer, relation, decimals, self->differences, count,
                                      s_room(self)));
}

// Nothing has halved the words yet: worth every attempt, and rare.
static bool s_is_hard(const bb_encoder_t *self, const bb_encoding_input_t *input)
{
    return self->best_bytes >= (size_t)input->count * 4;
}

static void s_try_few(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t changes)
{
    if (changes < input->count / RUN_ROWS || s_is_hard(self, input)) {
        s_offer(self, BB_ENCODING_RUNS,
                bb_codec_runs_encode(self->packer, &self->decimals, input->kind, input->words,
                                     input->count, s_room(self)));
    }
    if (self->best_bytes > (size_t)input->count * DICTIONARY_BYTES + DICTIONARY_HEAD) {
        s_offer(self, BB_ENCODING_DICTIONARY,
                bb_codec_dictionary_encode(self->packer, &self->decimals, input->kind, input->words,
                                           input->count, s_room(self)));
    }
}

static void s_try_integers(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t hint)
{
    bb_codec_relation_t relation;
    if (s_predict(self, input, hint, input->words, &relation)) {
        s_try_predicted(self, &relation, NULL, input->count);
        return;
    }
    if (input->count >= 3 && s_is_ascending(input->words, input->count)) {
        s_offer(self, BB_ENCODING_TIMES,
                bb_times_encode(self->packer, input->words, input->count, s_room(self)));
        if (self->best_bytes < input->count) {
            return; // a grid: nothing packs better
        }
    }
    s_offer(self, BB_ENCODING_INTEGERS,
            bb_codec_integers_encode(self->packer, input->kind, input->words, input->count,
                                     s_room(self)));
    if (s_is_hard(self, input)) {
        s_offer(self, BB_ENCODING_TIMES,
                bb_times_encode(self->packer, input->words, input->count, s_room(self)));
    }
}

// Doubles that are no decimals: all ways are tried, this is rare and hard.
static void s_try_computed(bb_encoder_t *self, const bb_encoding_input_t *input)
{
    s_offer(self, BB_ENCODING_FLOATS,
            bb_codec_floats_encode(self->packer, input->words, input->count, s_room(self)));
    s_offer(self, BB_ENCODING_INTEGERS,
            bb_codec_integers_encode(self->packer, input->kind, input->words, input->count,
                                     s_room(self)));
    s_offer(self, BB_ENCODING_SPLIT,
            bb_codec_split_encode(input->words, input->count, s_room(self)));
    s_offer(self, BB_ENCODING_XOR, bb_codec_xor_encode(input->words, input->count, s_room(self)));
}

static void s_try_doubles(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t *hint)
{
    bb_decimals_t *decimals = &self->decimals;
    if (bb_decimals_make(decimals, input->words, input->count, s_usual_exponent(*hint))) {
        *hint = s_remember_exponent(*hint, decimals->exponent);
        bb_codec_relation_t relation;
        if (s_predict(self, input, *hint, decimals->integers, &relation)) {
            s_try_predicted(self, &relation, decimals, input->count);
        } else {
            s_offer(self, BB_ENCODING_DECIMALS,
                    bb_codec_decimals_encode(self->packer, decimals, input->count, s_room(self)));
        }
    }
    // Decimals that pack to half are never beaten by the bits of the same doubles.
    if (s_is_hard(self, input)) {
        s_try_computed(self, input);
    }
}

static void s_begin(bb_encoder_t *self, const bb_encoding_input_t *input)
{
    BB_ASSERT(input->count >= 1 && input->count <= BB_BLOCK_ROWS_MAX);
    BB_ASSERT(input->kind == BB_ENCODING_INTEGER || input->kind == BB_ENCODING_FLOAT64);
    self->best_bytes = BB_ENCODING_BYTES_MAX(input->count);
    self->best_id = BB_ENCODING_RAW;
}

static size_t s_finish(bb_encoder_t *self, const bb_encoding_input_t *input, uint8_t *out,
                       uint8_t *id)
{
    const void *bytes = self->best_id == BB_ENCODING_RAW ? (const void *)input->words
                                                         : self->buffers[self->best_buffer];
    memcpy(out, bytes, self->best_bytes);
    *id = (uint8_t)self->best_id;
    return self->best_bytes;
}

// One word, however often: itself, or the few bytes of a small integer.
static void s_try_same(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t hint)
{
    bb_decimals_t *decimals = &self->decimals;
    memcpy(s_room(self), input->words, 8);
    // Ahead of raw for a single word, too.
    self->best_bytes = 8;
    self->best_id = BB_ENCODING_CONSTANT;
    self->best_buffer ^= 1;
    uint8_t *room = s_room(self);
    if (input->kind == BB_ENCODING_INTEGER) {
        s_offer(self, BB_ENCODING_INTEGERS,
                bb_packed_encode_same(self->packer, input->words[0], input->count, room));
    } else if (bb_decimals_make(decimals, input->words, 1, s_usual_exponent(hint)) &&
               decimals->exception_count == 0) {
        s_offer(self, BB_ENCODING_DECIMALS,
                bb_codec_decimals_encode_same(self->packer, decimals, input->count, room));
    }
}

size_t bb_encoder_encode(bb_encoder_t *self, const bb_encoding_input_t *input, uint32_t *hint,
                         uint8_t *out, uint8_t *id)
{
    s_begin(self, input);
    uint32_t changes = s_change_count(input->words, input->count);
    if (changes == 0) {
        s_try_same(self, input, hint ? *hint : 0);
        if (!s_is_hard(self, input)) {
            return s_finish(self, input, out, id);
        }
    }
    uint32_t no_hint = HINT_SURPRISES;
    hint = hint ? hint : &no_hint;
    bb_packer_set_surprises(self->packer, *hint & HINT_SURPRISES);
    if (input->kind == BB_ENCODING_INTEGER) {
        s_try_integers(self, input, *hint);
    } else {
        s_try_doubles(self, input, hint);
    }
    *hint =
        bb_packer_has_surprises(self->packer) ? *hint | HINT_SURPRISES : *hint & ~HINT_SURPRISES;
    s_try_few(self, input, changes);
    return s_finish(self, input, out, id);
}

void bb_encoder_set_aim(bb_encoder_t *self, bb_encoder_aim_t aim)
{
    self->aim = aim;
    bb_packer_set_aim(self->packer, aim);
}

// One encoding only; leaves the best where it was if that cannot hold the words.
static void s_try_one(bb_encoder_t *self, bb_encoding_id_t id, const bb_encoding_input_t *input)
{
    uint8_t *room = s_room(self);
    bool is_double = input->kind == BB_ENCODING_FLOAT64;
    bb_decimals_t *decimals = &self->decimals;
    size_t bytes = 0;
    switch (id) {
    case BB_ENCODING_CONSTANT:
        memcpy(room, input->words, 8);
        bytes = s_change_count(input->words, input->count) == 0 ? 8 : 0;
        break;
    case BB_ENCODING_RAW:
        bytes = (size_t)input->count * 8;
        memcpy(room, input->words, bytes);
        break;
    case BB_ENCODING_INTEGERS:
        bytes =
            bb_codec_integers_encode(self->packer, input->kind, input->words, input->count, room);
        break;
    case BB_ENCODING_DECIMALS:
        if (is_double &&
            bb_decimals_make(decimals, input->words, input->count, BB_EXPONENT_UNKNOWN)) {
            bytes = bb_codec_decimals_encode(self->packer, decimals, input->count, room);
        }
        break;
    case BB_ENCODING_FLOATS:
        bytes =
            is_double ? bb_codec_floats_encode(self->packer, input->words, input->count, room) : 0;
        break;
    case BB_ENCODING_RUNS:
        bytes = bb_codec_runs_encode(self->packer, decimals, input->kind, input->words,
                                     input->count, room);
        break;
    case BB_ENCODING_DICTIONARY:
        bytes = bb_codec_dictionary_encode(self->packer, decimals, input->kind, input->words,
                                           input->count, room);
        break;
    case BB_ENCODING_TIMES:
        bytes = is_double ? 0 : bb_times_encode(self->packer, input->words, input->count, room);
        break;
    case BB_ENCODING_XOR:
        bytes = is_double ? bb_codec_xor_encode(input->words, input->count, room) : 0;
        break;
    case BB_ENCODING_SPLIT:
        bytes = is_double ? bb_codec_split_encode(input->words, input->count, room) : 0;
        break;
    case BB_ENCODING_PREDICTED: // needs a hint: bb_encoder_encode
    case BB_ENCODING_NONE:
        break;
    }
    s_offer(self, id, bytes);
}

size_t bb_encoder_encode_as(bb_encoder_t *self, bb_encoding_id_t id,
                            const bb_encoding_input_t *input, uint8_t *out)
{
    BB_ASSERT(bb_encoding_is_known(id));
    s_begin(self, input);
    bb_packer_set_surprises(self->packer, true);
    self->best_bytes++; // raw itself may be asked for
    self->best_id = BB_ENCODING_NONE;
    s_try_one(self, id, input);
    if (self->best_id == BB_ENCODING_NONE) {
        return 0;
    }
    uint8_t same;
    size_t bytes = s_finish(self, input, out, &same);
    BB_ASSERT(same == id);
    return bytes;
}

// SPDX-License-Identifier: Apache-2.0
// Finding out which columns predict which: every model of every pair is fitted to a sample of one
// stripe, then the relations that save the most are taken, as long as no column is both predicted
// and a peer.
#include <stdlib.h>
#include <string.h>

#include "storage/encoding/bb_encoder_private.h"

#define ROWS_MIN    256u
#define COLUMNS_MAX 24u // that are looked at; a search takes their number to the power of three
#define SAMPLE      128u
// Bits a row: savings below are not worth a dependence; a second peer must save more.
#define SAVING_MIN      0.15
#define SAVING_PER_PEER 0.05
#define PATIENCE_MAX    6u
#define PATIENCE_SMALL  2u // when aiming at small, which is worth a longer search
static_assert((8u << PATIENCE_MAX) - 1 <= HINT_WAIT >> HINT_WAIT_SHIFT, "the longest wait fits");
// Stripes before the next search at which columns without a relation are looked at: 4, 8, 16 ...
// 256.
#define EXTEND_AT 0x1fcu

typedef struct {
    double saving; // bits a row
    uint8_t target, model, u, w;
} s_candidate_t;

typedef struct {
    uint32_t column; // in the caller's list
    double direct;   // bits a row without prediction
    double small;    // the same, exactly, when aiming at small
    const double *doubles;
    const int64_t *integers; // NULL: cannot be predicted
} s_column_t;

typedef struct {
    bb_encoder_t *encoder;
    uint32_t rows, step, column_count;
    s_column_t columns[COLUMNS_MAX];
    uint64_t settled; // columns of the caller's list that need no relation
    s_candidate_t *candidates;
    uint32_t candidate_count, candidate_capacity;
} s_search_t;

// ---- columns ------------------------------------------------------------------------------------

static bool s_is_constant(const bb_encoding_input_t *input)
{
    for (uint32_t i = 1; i < input->count; i++) {
        if (input->words[i] != input->words[0]) {
            return false;
        }
    }
    return true;
}

// Integers and doubles of a column, in memory of 2 x rows words.
static void s_prepare(s_search_t *self, const bb_encoding_input_t *input, uint32_t column,
                      uint64_t *memory)
{
    s_column_t *prepared = &self->columns[self->column_count++];
    *prepared = (s_column_t){.column = column};
    int64_t *integers = (int64_t *)memory;
    // cppcheck-suppress invalidPointerCast ; built without strict aliasing
    double *doubles = (double *)(memory + self->rows);
    if (input->kind == BB_ENCODING_INTEGER) {
        memcpy(integers, input->words, (size_t)self->rows * 8);
        prepared->integers = integers;
        for (uint32_t i = 0; i < self->rows; i++) {
            doubles[i] = (double)integers[i];
        }
    } else {
        memcpy(doubles, input->words, (size_t)self->rows * 8);
        bb_decimals_t *decimals = &self->encoder->decimals;
        if (bb_decimals_make(decimals, input->words, self->rows, BB_EXPONENT_UNKNOWN) &&
            decimals->exception_count < self->rows / 64) {
            memcpy(integers, decimals->integers, (size_t)self->rows * 8);
            prepared->integers = integers;
        }
    }
    prepared->doubles = doubles;
    for (uint32_t i = 0; prepared->integers && i < self->rows; i++) {
        if (integers[i] >= INT64_C(1) << 40 || integers[i] <= -(INT64_C(1) << 40)) {
            prepared->integers = NULL;
        }
    }
    if (prepared->integers) {
        prepared->direct = (double)bb_packed_estimate(self->encoder->packer,
                                                      (const uint64_t *)integers, self->rows) /
                           self->rows;
    }
    if (prepared->integers && self->encoder->aim == BB_ENCODER_SMALL) {
        prepared->small = (double)bb_packed_estimate_small(
                              self->encoder->packer, (const uint64_t *)integers, self->rows, true) /
                          self->rows;
    }
}

// ---- candidates ---------------------------------------------------------------------------------

static double s_bits(s_search_t *self, const bb_prediction_t *prediction, const s_column_t *target,
                     const double *u, const double *w, uint32_t step)
{
    uint64_t *differences = self->encoder->differences;
    double *guesses = self->encoder->guesses;
    bb_prediction_make(prediction, u, w, self->rows, step, guesses);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < self->rows; i += step, taken++) {
        differences[taken] =
            (uint64_t)target->integers[i] - (uint64_t)bb_rounded_integer(guesses[taken]);
    }
    return (double)bb_packed_estimate(self->encoder->packer, differences, taken) / taken;
}

// The same of all rows, as aiming at small would write them.
static double s_small_bits(s_search_t *self, const bb_prediction_t *prediction,
                           const s_column_t *target, const double *u, const double *w)
{
    uint64_t *differences = self->encoder->differences;
    double *guesses = self->encoder->guesses;
    bb_prediction_make(prediction, u, w, self->rows, 1, guesses);
    for (uint32_t i = 0; i < self->rows; i++) {
        differences[i] = (uint64_t)target->integers[i] - (uint64_t)bb_rounded_integer(guesses[i]);
    }
    bool scaled = prediction->model == BB_PREDICTION_DELAYED;
    return (double)bb_packed_estimate_small(self->encoder->packer, differences, self->rows,
                                            scaled) /
           self->rows;
}

static void s_offer(s_search_t *self, double saving, bb_prediction_model_t model, uint32_t target,
                    uint32_t u, uint32_t w)
{
    saving -= SAVING_PER_PEER * bb_prediction_peer_count(model);
    if (saving < SAVING_MIN) {
        return;
    }
    if (self->candidate_count == self->candidate_capacity) {
        self->candidate_capacity = BB_MAX(64u, self->candidate_capacity * 2);
        self->candidates =
            bb_realloc(self->candidates, self->candidate_capacity * sizeof *self->candidates);
    }
    self->candidates[self->candidate_count++] =
        (s_candidate_t){saving, (uint8_t)target, (uint8_t)model, (uint8_t)u, (uint8_t)w};
}

static void s_consider(s_search_t *self, bb_prediction_model_t model, uint32_t target, uint32_t u,
                       uint32_t w)
{
    const s_column_t *column = &self->columns[target];
    if (!column->integers || column->direct < SAVING_MIN || self->settled >> column->column & 1) {
        return;
    }
    bb_prediction_t prediction = {.model = model};
    uint32_t step = model == BB_PREDICTION_INTEGRAL ? 1 : self->step;
    const double *first = self->columns[u].doubles;
    const double *second = self->columns[w].doubles;
    if (!bb_prediction_fit(&prediction, column->integers, first, second, self->rows, step)) {
        return;
    }
    double saving = column->direct - s_bits(self, &prediction, column, first, second, step);
    if (saving >= SAVING_MIN && self->encoder->aim == BB_ENCODER_SMALL) {
        saving = column->small - s_small_bits(self, &prediction, column, first, second);
    }
    s_offer(self, saving, model, target, u, w);
}

// Delays, which must look at all rows; so only where bytes matter most.
static void s_consider_delayed(s_search_t *self, uint32_t target, uint32_t u)
{
    const s_column_t *column = &self->columns[target];
    bb_prediction_t prediction = {.model = BB_PREDICTION_DELAYED};
    const double *peer = self->columns[u].doubles;
    double *delayed = self->encoder->peers[1];
    if (self->encoder->aim != BB_ENCODER_SMALL || !column->integers || column->small < SAVING_MIN ||
        self->settled >> column->column & 1 ||
        !bb_prediction_fit(&prediction, column->integers, peer, NULL, self->rows, 1)) {
        return;
    }
    bb_prediction_delay(&prediction, peer, self->rows, delayed);
    double bits = s_small_bits(self, &prediction, column, delayed, NULL);
    s_offer(self, column->small - bits, BB_PREDICTION_DELAYED, target, u, u);
}

static void s_consider_all(s_search_t *self)
{
    for (uint32_t target = 0; target < self->column_count; target++) {
        for (uint32_t u = 0; u < self->column_count; u++) {
            if (u == target) {
                continue;
            }
            s_consider(self, BB_PREDICTION_LINEAR, target, u, u);
            s_consider(self, BB_PREDICTION_INTEGRAL, target, u, u);
            s_consider_delayed(self, target, u);
            for (uint32_t w = 0; w < self->column_count; w++) {
                if (w != u && w != target) {
                    s_consider(self, BB_PREDICTION_QUOTIENT, target, u, w);
                }
                if (w > u && w != target) {
                    s_consider(self, BB_PREDICTION_PRODUCT, target, u, w);
                }
            }
        }
    }
}

// ---- choice -------------------------------------------------------------------------------------

// Most saving first; ties in the order of the search, so that the choice does not depend on qsort.
static int s_compare(const void *a, const void *b)
{
    const s_candidate_t *left = a, *right = b;
    if (left->saving != right->saving) {
        return left->saving > right->saving ? -1 : 1;
    }
    return memcmp(&left->target, &right->target, 4);
}

// Takes the best ones, `roots` (bit set) being left unpredicted; returns what they save.
// chosen[target]: its relation as a hint, or 0.
static double s_choose_with(const s_search_t *self, uint32_t roots, uint32_t chosen[COLUMNS_MAX])
{
    uint32_t predicted = 0;
    double saving = 0;
    memset(chosen, 0, COLUMNS_MAX * sizeof *chosen);
    for (uint32_t i = 0; i < self->candidate_count; i++) {
        const s_candidate_t *next = &self->candidates[i];
        uint32_t peers = 1u << next->u | 1u << next->w;
        if ((predicted | roots) >> next->target & 1 || predicted & peers) {
            continue;
        }
        chosen[next->target] =
            hint_relation((bb_prediction_model_t)next->model, self->columns[next->u].column,
                          self->columns[next->w].column);
        predicted |= 1u << next->target;
        roots |= peers;
        saving += next->saving;
    }
    return saving;
}

// Taking the most saving first may spoil a column that could serve many others: power would save
// most by itself, but predicts four. So each column is tried as one that stays, as long as it
// helps.
static double s_choose(s_search_t *self, uint32_t chosen[COLUMNS_MAX])
{
    if (self->candidate_count > 0) {
        qsort(self->candidates, self->candidate_count, sizeof *self->candidates, s_compare);
    }
    uint32_t roots = 0;
    double saving = s_choose_with(self, roots, chosen);
    for (bool is_better = true; is_better;) {
        is_better = false;
        uint32_t best_root = 0;
        for (uint32_t column = 0; column < self->column_count; column++) {
            uint32_t tried[COLUMNS_MAX];
            double with = s_choose_with(self, roots | 1u << column, tried);
            if (with > saving) {
                saving = with;
                best_root = 1u << column;
                is_better = true;
            }
        }
        roots |= best_root;
    }
    return s_choose_with(self, roots, chosen);
}

// What the relations that the hints hold would save in this stripe.
static double s_present_saving(const s_search_t *self, uint32_t *const *hints)
{
    double saving = 0;
    for (uint32_t i = 0; i < self->candidate_count; i++) {
        const s_candidate_t *next = &self->candidates[i];
        uint32_t relation =
            hint_relation((bb_prediction_model_t)next->model, self->columns[next->u].column,
                          self->columns[next->w].column);
        bool is_present = (*hints[self->columns[next->target].column] & HINT_RELATION) == relation;
        saving += is_present ? next->saving : 0;
    }
    return saving;
}

static uint64_t s_peer_bits(uint32_t relation)
{
    return UINT64_C(1) << hint_peer(relation, 0) | UINT64_C(1) << hint_peer(relation, 1);
}

// Writes the choice into the hints. Columns without one keep the relation they have if it agrees
// with the others: a counter that stands still in this stripe will move in the next.
static void s_adopt(const s_search_t *self, const uint32_t chosen[COLUMNS_MAX], uint32_t count,
                    uint32_t *const *hints)
{
    uint32_t relations[BB_ENCODING_PEER_LIMIT] = {0};
    uint64_t predicted = 0;
    uint64_t peers = 0;
    for (uint32_t i = 0; i < self->column_count; i++) {
        uint32_t column = self->columns[i].column;
        relations[column] = chosen[i];
        if (chosen[i]) {
            predicted |= UINT64_C(1) << column;
            peers |= s_peer_bits(chosen[i]);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t before = *hints[i] & HINT_RELATION;
        uint64_t self_bit = UINT64_C(1) << i;
        if (before && !relations[i] && !(peers & self_bit) && !(predicted & s_peer_bits(before))) {
            relations[i] = before;
            predicted |= self_bit;
            peers |= s_peer_bits(before);
        }
        *hints[i] = (*hints[i] & ~HINT_RELATION) | relations[i];
    }
}

// Adds what the search found for columns that have no relation, where it agrees with those that are
// there.
static void s_extend(const s_search_t *self, uint32_t count, uint32_t *const *hints)
{
    uint64_t predicted = 0;
    uint64_t peers = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (hint_model(*hints[i]) != BB_PREDICTION_NONE) {
            predicted |= UINT64_C(1) << i;
            peers |= s_peer_bits(*hints[i]);
        }
    }
    for (uint32_t i = 0; i < self->candidate_count; i++) {
        const s_candidate_t *next = &self->candidates[i];
        uint32_t column = self->columns[next->target].column;
        uint32_t relation =
            hint_relation((bb_prediction_model_t)next->model, self->columns[next->u].column,
                          self->columns[next->w].column);
        uint64_t self_bit = UINT64_C(1) << column;
        if (!((predicted | peers) & self_bit) && !(predicted & s_peer_bits(relation))) {
            *hints[column] |= relation;
            predicted |= self_bit;
            peers |= s_peer_bits(relation);
        }
    }
}

// `is_whole`: everything is questioned; otherwise relations are only looked for where none is.
static void s_search(bb_encoder_t *encoder, const bb_encoding_input_t *columns, uint32_t count,
                     bool is_whole, uint32_t *const *hints)
{
    s_search_t self = {.encoder = encoder, .rows = columns[0].count};
    for (uint32_t i = 0; i < count && !is_whole; i++) {
        if (hint_model(*hints[i]) != BB_PREDICTION_NONE) {
            self.settled |= UINT64_C(1) << i | s_peer_bits(*hints[i]);
        }
    }
    self.step = BB_MAX(self.rows / SAMPLE, 1u);
    uint64_t *memory = bb_alloc((size_t)COLUMNS_MAX * 2 * self.rows * sizeof *memory);
    for (uint32_t i = 0; i < count && self.column_count < COLUMNS_MAX; i++) {
        BB_ASSERT(columns[i].count == self.rows);
        if (!s_is_constant(&columns[i])) {
            s_prepare(&self, &columns[i], i, memory + (size_t)self.column_count * 2 * self.rows);
        }
    }
    s_consider_all(&self);
    double present = s_present_saving(&self, hints);
    uint32_t chosen[COLUMNS_MAX];
    bool is_better = s_choose(&self, chosen) > present * 1.02 && is_whole;
    if (is_better) {
        s_adopt(&self, chosen, count, hints);
    } else {
        s_extend(&self, count, hints);
    }
    free(memory);
    free(self.candidates);
}

void bb_encoder_relate(bb_encoder_t *self, const bb_encoding_input_t *columns, uint32_t count,
                       uint32_t *const *hints)
{
    count = BB_MIN(count, BB_ENCODING_PEER_LIMIT);
    if (count < 2 || columns[0].count < ROWS_MIN) {
        return;
    }
    uint32_t wait = (*hints[0] & HINT_WAIT) >> HINT_WAIT_SHIFT;
    uint32_t patience = (*hints[0] & HINT_PATIENCE) >> HINT_PATIENCE_SHIFT;
    if (wait == 0) {
        s_search(self, columns, count, true, hints);
        wait = 8u << patience;
        bool is_small = self->aim == BB_ENCODER_SMALL;
        patience = BB_MIN(patience + 1, is_small ? PATIENCE_SMALL : PATIENCE_MAX);
    }
    wait--;
    if (wait > 1 && (wait & (wait - 1)) == 0 && wait & EXTEND_AT) {
        s_search(self, columns, count, false, hints);
    }
    *hints[0] = (*hints[0] & ~(HINT_WAIT | HINT_PATIENCE)) | wait << HINT_WAIT_SHIFT |
                patience << HINT_PATIENCE_SHIFT;
}

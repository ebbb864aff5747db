// SPDX-License-Identifier: Apache-2.0
// bb_prediction - guesses the integers of one column from other columns of the same rows.
//
// Pure. Physics ties the columns of a battery together: current is power over voltage, cell
// voltages follow the voltage of the pack, energy counters and the state of charge are integrals of
// power. The guess is computed by the same IEEE operations when writing and reading, so only the
// differences, small integers, need to be kept. Parameters are fitted to each block.
//
//   linear     round(a x u + b)
//   quotient   round(a x (u / w) + b)
//   product    round(a x (u x w) + b)
//   integral   (sum of round(u x (u > 0 ? a : b)) up to this row + phase) / 2^16, rounded down
//   delayed    round(a x u' + b), u' = u some rows before, and of row 0 where there is none: what
//   is
//              done a second after it was asked for
//
// u and w are peers. A term that is not finite or 2^40 and larger counts as 0. Sums are of
// integers, thus the same in any order. Source: least squares; the idea of predicting one column of
// telemetry from its neighbours is that of Liu, Stoian, van Renen, Kipf, "Corra: Correlation-Aware
// Column Compression" (2024).
#ifndef BB_PREDICTION_H
#define BB_PREDICTION_H

#include "protocol/bb_base.h"
#include "protocol/bb_limits.h"

typedef enum {
    BB_PREDICTION_NONE = 0,
    BB_PREDICTION_LINEAR = 1,
    BB_PREDICTION_QUOTIENT = 2,
    BB_PREDICTION_PRODUCT = 3,
    BB_PREDICTION_INTEGRAL = 4,
    BB_PREDICTION_DELAYED = 5,
} bb_prediction_model_t;
#define BB_PREDICTION_LAST BB_PREDICTION_DELAYED
// Delays are below this, in rows.
#define BB_PREDICTION_DELAYS 16u

static inline uint32_t bb_prediction_peer_count(bb_prediction_model_t model)
{
    return model == BB_PREDICTION_QUOTIENT || model == BB_PREDICTION_PRODUCT ? 2 : 1;
}

typedef struct {
    bb_prediction_model_t model;
    float a, b;
    uint32_t phase;       // integral: [0, 2^16)
    uint32_t rows_behind; // delayed: [0, BB_PREDICTION_DELAYS) rows
} bb_prediction_t;

// Fits the parameters for integers[0, count) (their size below 2^51) to the peers, `model` being
// set. False: no fit, for example a peer that stands still. `rows_step`: looks at every so many
// rows only, 1 = all (linear, quotient, product). w may be NULL for models of one peer. Delayed:
// the factor and the delay by which most moves of the integers are moves of the peer.
bool bb_prediction_fit(bb_prediction_t *self, const int64_t *integers, const double *u,
                       const double *w, uint32_t count, uint32_t rows_step);

// u as `delayed` wants it in what follows. `out` is another array.
void bb_prediction_delay(const bb_prediction_t *self, const double *u, uint32_t count, double *out);

// The guesses for every rows_step-th row, as doubles that are integers of size below 2^51
// (integral: of any row, rows_step 1, sizes modulo 2^48). Parameters may be anything.
void bb_prediction_make(const bb_prediction_t *self, const double *u, const double *w,
                        uint32_t count, uint32_t rows_step, double *guesses);

// Adds the guess to the offset of every row, the integers being small: the same guesses as above,
// in a quarter of the time. False: some guess or offset is not below 2^29 in size (integral: or
// some row's term is not below 2^19); then offsets hold anything.
BB_MUST_CHECK bool bb_prediction_add(const bb_prediction_t *self, const double *u, const double *w,
                                     uint32_t count, int32_t *offsets);

#endif

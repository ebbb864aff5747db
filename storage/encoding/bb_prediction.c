// SPDX-License-Identifier: Apache-2.0
#include "storage/encoding/bb_prediction.h"

#include <math.h>
#include <string.h>

#include "protocol/bb_value.h"
#include "storage/encoding/bb_clones.h"
#include "storage/encoding/bb_rounding.h"

#define ROWS_MAX   BB_BLOCK_ROWS_MAX
#define LANES      4u
#define PHASE_BITS 16u
// Integrals are fitted to every so many rows, phases to more of them.
#define FIT_ROWS   16u
#define PHASE_ROWS 4u
#define TERM_LIMIT 0x1p40
// Sums of terms are kept so that the guess is exact in a double.
#define SUM_BITS 48u

// ---- guesses ------------------------------------------------------------------------------------

// What is not a small number counts as 0, NaN included; then the nearest integer.
BB_INLINE double s_rounded(double number)
{
    return bb_rounded(fabs(number) < TERM_LIMIT ? number : 0.0);
}

BB_CLONES static void s_make_linear(double a, double b, const double *x, uint32_t count,
                                    double *guesses)
{
    for (uint32_t i = 0; i < count; i++) {
        guesses[i] = s_rounded(a * x[i] + b);
    }
}

BB_CLONES static void s_make_quotient(double a, double b, const double *u, const double *w,
                                      uint32_t count, double *guesses)
{
    for (uint32_t i = 0; i < count; i++) {
        guesses[i] = s_rounded(a * (u[i] / w[i]) + b);
    }
}

BB_CLONES static void s_make_product(double a, double b, const double *u, const double *w,
                                     uint32_t count, double *guesses)
{
    for (uint32_t i = 0; i < count; i++) {
        guesses[i] = s_rounded(a * (u[i] * w[i]) + b);
    }
}

// The terms of the integral, as integers.
BB_CLONES static void s_terms(double a, double b, const double *u, uint32_t count, int64_t *terms)
{
    for (uint32_t i = 0; i < count; i++) {
        double term = u[i] * (u[i] > 0 ? a : b);
        terms[i] = bb_rounded_integer(fabs(term) < TERM_LIMIT ? term : 0.0);
    }
}

static void s_sums(int64_t *terms, uint32_t count)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += terms[i]; // 2^10 terms below 2^40
        terms[i] = sum;
    }
}

static_assert(ROWS_MAX <= 1u << 10, "sums of terms stay below 2^50 and, shifted, exact");

// Rounds down; without an arithmetic shift of 64 bits, which AVX2 lacks.
#define SHIFT_UP   (UINT64_C(1) << 51)
#define SHIFT_DOWN (UINT64_C(1) << (51 - PHASE_BITS))

BB_INLINE double s_shifted(int64_t sum)
{
    uint64_t raised = (uint64_t)sum + SHIFT_UP;
    return bb_double_of_integer((int64_t)((raised >> PHASE_BITS) - SHIFT_DOWN));
}

typedef double s_doubles_t __attribute__((vector_size(8 * LANES)));
typedef int64_t s_masks_t __attribute__((vector_size(8 * LANES)));
typedef uint64_t s_words_t __attribute__((vector_size(8 * LANES)));

// The same terms and sums, four at a time; `sum` begins with the phase and is returned.
BB_CLONES static int64_t s_make_integral(double a, double b, const double *u, uint32_t count,
                                         int64_t sum, double *guesses)
{
    const s_words_t zeros = {0};
    s_words_t before = zeros + (uint64_t)sum;
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        s_doubles_t x;
        memcpy(&x, u + i, sizeof x);
        s_masks_t is_positive = x > 0;
        s_masks_t factor = (is_positive & (s_masks_t)((s_doubles_t){0} + a)) |
                           (~is_positive & (s_masks_t)((s_doubles_t){0} + b));
        s_doubles_t term = x * (s_doubles_t)factor;
        s_masks_t is_small = (term < TERM_LIMIT) & (term > -TERM_LIMIT);
        term = (s_doubles_t)((s_masks_t)term & is_small) + BB_ROUNDING_MAGIC;
        s_words_t sums = (s_words_t)term - BB_ROUNDING_MAGIC_BITS;
        sums += __builtin_shufflevector(zeros, sums, 0, 4, 5, 6);
        sums += __builtin_shufflevector(zeros, sums, 0, 1, 4, 5);
        s_words_t all = __builtin_shufflevector(sums, sums, 3, 3, 3, 3);
        sums += before;
        before += all;
        sums = ((sums + SHIFT_UP) >> PHASE_BITS) - SHIFT_DOWN + BB_ROUNDING_MAGIC_BITS;
        s_doubles_t guess = (s_doubles_t)sums - BB_ROUNDING_MAGIC;
        memcpy(guesses + i, &guess, sizeof guess);
    }
    sum = (int64_t)before[0];
    for (; i < count; i++) {
        double term = u[i] * (u[i] > 0 ? a : b);
        sum += bb_rounded_integer(fabs(term) < TERM_LIMIT ? term : 0.0);
        guesses[i] = s_shifted(sum);
    }
    return sum;
}

void bb_prediction_step(const bb_prediction_t *self, int64_t *sum, const double *u, const double *w,
                        uint32_t count, double *guesses)
{
    double a = (double)self->a;
    double b = (double)self->b;
    switch (self->model) {
    case BB_PREDICTION_LINEAR:
        s_make_linear(a, b, u, count, guesses);
        break;
    case BB_PREDICTION_QUOTIENT:
        s_make_quotient(a, b, u, w, count, guesses);
        break;
    case BB_PREDICTION_PRODUCT:
        s_make_product(a, b, u, w, count, guesses);
        break;
    case BB_PREDICTION_INTEGRAL: {
        int64_t phase = (int64_t)self->phase;
        *sum = s_make_integral(a, b, u, count, *sum + phase, guesses) - phase;
        break;
    }
    case BB_PREDICTION_NONE:
        break;
    }
}

void bb_prediction_make(const bb_prediction_t *self, const double *u, const double *w,
                        uint32_t count, uint32_t rows_step, double *guesses)
{
    BB_ASSERT(count <= ROWS_MAX && rows_step >= 1);
    BB_ASSERT(rows_step == 1 || self->model != BB_PREDICTION_INTEGRAL);
    int64_t sum = 0;
    if (rows_step == 1) {
        bb_prediction_step(self, &sum, u, w, count, guesses);
        return;
    }
    double near[ROWS_MAX], far[ROWS_MAX];
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count; i += rows_step, taken++) {
        near[taken] = u[i];
        far[taken] = w ? w[i] : 0.0;
    }
    bb_prediction_step(self, &sum, near, far, taken, guesses);
}

// ---- fits ---------------------------------------------------------------------------------------

BB_INLINE double s_x(bb_prediction_model_t model, double u, const double *w, uint32_t row)
{
    return model == BB_PREDICTION_LINEAR     ? u
           : model == BB_PREDICTION_QUOTIENT ? u / w[row]
                                             : u * w[row];
}

static bool s_fit_line(bb_prediction_t *self, const int64_t *integers, const double *u,
                       const double *w, uint32_t count, uint32_t rows_step)
{
    // Distances to the first row keep the sums of squares exact enough.
    double x_0 = s_x(self->model, u[0], w, 0);
    double y_0 = (double)integers[0];
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (uint32_t i = 0; i < count; i += rows_step) {
        double dx = s_x(self->model, u[i], w, i) - x_0;
        double dy = (double)integers[i] - y_0;
        n += 1;
        x += dx;
        y += dy;
        xx += dx * dx;
        xy += dx * dy;
    }
    double spread = n * xx - x * x;
    if (!(spread > 0) || !isfinite(spread)) { // also when a row is not finite
        return false;
    }
    double a = (n * xy - x * y) / spread;
    self->a = (float)a;
    self->b = (float)(y_0 + (y - a * x) / n - a * x_0);
    return isfinite(self->a) && isfinite(self->b) && self->a != 0;
}

// Sums of squares and products of three columns: positive part, negative part, integers.
typedef struct {
    double n, p, q, y, pp, pq, qq, py, qy;
} s_moments_t;

static void s_moments_add(s_moments_t *m, double p, double q, double y)
{
    m->n += 1;
    m->p += p;
    m->q += q;
    m->y += y;
    m->pp += p * p;
    m->pq += p * q;
    m->qq += q * q;
    m->py += p * y;
    m->qy += q * y;
}

// Two slopes and a constant; one slope where the other part stands still.
static bool s_solve(const s_moments_t *m, double *a, double *b)
{
    double pp = m->pp - m->p * m->p / m->n;
    double qq = m->qq - m->q * m->q / m->n;
    double pq = m->pq - m->p * m->q / m->n;
    double py = m->py - m->p * m->y / m->n;
    double qy = m->qy - m->q * m->y / m->n;
    double determinant = pp * qq - pq * pq;
    if (determinant > 1e-9 * pp * qq && determinant > 0) {
        *a = (py * qq - qy * pq) / determinant;
        *b = (qy * pp - py * pq) / determinant;
    } else if (pp >= qq && pp > 0) {
        *a = *b = py / pp;
    } else if (qq > 0) {
        *a = *b = qy / qq;
    } else {
        return false;
    }
    return isfinite(*a) && isfinite(*b);
}

// The sum of some rows and that of their sizes.
static void s_part(const double *u, uint32_t rows, double *sizes, double *sum)
{
    double size[LANES] = {0};
    double total[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= rows; i += LANES) {
        for (uint32_t lane = 0; lane < LANES; lane++) {
            size[lane] += fabs(u[i + lane]);
            total[lane] += u[i + lane];
        }
    }
    for (; i < rows; i++) {
        size[0] += fabs(u[i]);
        total[0] += u[i];
    }
    *sizes = (size[0] + size[1]) + (size[2] + size[3]);
    *sum = (total[0] + total[1]) + (total[2] + total[3]);
}

static bool s_fit_integral(bb_prediction_t *self, const int64_t *integers, const double *u,
                           uint32_t count)
{
    s_moments_t moments = {0};
    double positive = 0, negative = 0;
    for (uint32_t row = 0; row < count; row += FIT_ROWS) {
        uint32_t rows = BB_MIN(count - row, FIT_ROWS);
        double sizes, sum;
        s_part(u + row, rows, &sizes, &sum);
        positive += (sum + sizes) / 2;
        negative += (sum - sizes) / 2;
        s_moments_add(&moments, positive, negative,
                      (double)(integers[row + rows - 1] - integers[0]));
    }
    double a, b;
    if (!s_solve(&moments, &a, &b)) {
        return false;
    }
    self->a = (float)(a * (double)(1u << PHASE_BITS));
    self->b = (float)(b * (double)(1u << PHASE_BITS));
    if (!isfinite(self->a) || !isfinite(self->b)) {
        return false;
    }
    // The phase in the middle of those that fit: see the byte map of `predicted`.
    int64_t sums[ROWS_MAX];
    s_terms((double)self->a, (double)self->b, u, count, sums);
    s_sums(sums, count);
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t i = 0; i < count; i += PHASE_ROWS) {
        int64_t distance = (integers[i] - integers[0]) * (INT64_C(1) << PHASE_BITS) - sums[i];
        low = BB_MIN(low, distance);
        high = BB_MAX(high, distance);
    }
    int64_t middle = (int64_t)(((uint64_t)low + (uint64_t)high) >> 1);
    self->phase = (uint32_t)(middle + (1 << (PHASE_BITS - 1))) & ((1u << PHASE_BITS) - 1);
    return true;
}

bool bb_prediction_fit(bb_prediction_t *self, const int64_t *integers, const double *u,
                       const double *w, uint32_t count, uint32_t rows_step)
{
    BB_ASSERT(count <= ROWS_MAX && rows_step >= 1);
    if (self->model == BB_PREDICTION_INTEGRAL) {
        // Distances are multiplied by 2^16.
        int64_t min = INT64_MAX, max = INT64_MIN;
        for (uint32_t i = 0; i < count; i++) {
            min = BB_MIN(min, integers[i]);
            max = BB_MAX(max, integers[i]);
        }
        return max - min < INT64_C(1) << 32 && s_fit_integral(self, integers, u, count);
    }
    return s_fit_line(self, integers, u, w, count, rows_step);
}

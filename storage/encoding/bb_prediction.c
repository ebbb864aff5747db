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
// Delays that a fit looks at, and how many moves must follow the peer: that many, and one in so
// many.
#define FIT_DELAYS      4u
#define FOLLOWERS_MIN   8u
#define FOLLOWERS_SHARE 8u
#define VOTES           7u

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

// The same terms and sums, four at a time; the sum begins with the phase.
BB_CLONES static void s_make_integral(double a, double b, const double *u, uint32_t count,
                                      uint32_t phase, double *guesses)
{
    const s_words_t zeros = {0};
    s_words_t before = zeros + phase;
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
    int64_t sum = (int64_t)before[0];
    for (; i < count; i++) {
        double term = u[i] * (u[i] > 0 ? a : b);
        sum += bb_rounded_integer(fabs(term) < TERM_LIMIT ? term : 0.0);
        guesses[i] = s_shifted(sum);
    }
}

static void s_make(const bb_prediction_t *self, const double *u, const double *w, uint32_t count,
                   double *guesses)
{
    double a = (double)self->a;
    double b = (double)self->b;
    switch (self->model) {
    case BB_PREDICTION_LINEAR:
    case BB_PREDICTION_DELAYED:
        s_make_linear(a, b, u, count, guesses);
        break;
    case BB_PREDICTION_QUOTIENT:
        s_make_quotient(a, b, u, w, count, guesses);
        break;
    case BB_PREDICTION_PRODUCT:
        s_make_product(a, b, u, w, count, guesses);
        break;
    case BB_PREDICTION_INTEGRAL:
        s_make_integral(a, b, u, count, self->phase, guesses);
        break;
    case BB_PREDICTION_NONE:
        break;
    }
}

void bb_prediction_delay(const bb_prediction_t *self, const double *u, uint32_t count, double *out)
{
    uint32_t first = BB_MIN(self->rows_behind, count);
    for (uint32_t i = 0; i < first; i++) {
        out[i] = u[0];
    }
    memcpy(out + first, u, (count - first) * sizeof *u);
}

void bb_prediction_make(const bb_prediction_t *self, const double *u, const double *w,
                        uint32_t count, uint32_t rows_step, double *guesses)
{
    BB_ASSERT(count <= ROWS_MAX && rows_step >= 1);
    BB_ASSERT(rows_step == 1 ||
              (self->model != BB_PREDICTION_INTEGRAL && self->model != BB_PREDICTION_DELAYED));
    if (rows_step == 1) {
        s_make(self, u, w, count, guesses);
        return;
    }
    double near[ROWS_MAX], far[ROWS_MAX];
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count; i += rows_step, taken++) {
        near[taken] = u[i];
        far[taken] = w ? w[i] : 0.0;
    }
    s_make(self, near, far, taken, guesses);
}

// ---- guesses of small integers ------------------------------------------------------------------

// A guess is what 32 bits of a rounded double hold: the low half of the double, or, of an integral,
// bits 16 to 47 of a sum of doubles as integers, because the constant that rounds has none of the
// lower 48 bits and each term adds to those alone.
#define NEAR_LIMIT      (UINT64_C(1) << 29)
#define NEAR_TERM_LIMIT (UINT64_C(1) << 35) // 2^10 of them, shifted, stay below 2^29
#define NEAR_OFFSET     (1u << 29)
static_assert(BB_ROUNDING_MAGIC_BITS % (UINT64_C(1) << 48) == 0, "terms add to the lower bits");

typedef uint32_t s_row_t __attribute__((vector_size(8 * LANES)));

// What was seen of a block's rows, moved up by the limit: what is not near has bits above it.
typedef struct {
    s_words_t words; // of rounded doubles
    s_row_t offsets;
} s_seen_t;

BB_INLINE void s_round(const s_doubles_t *number, uint64_t limit, s_words_t *words, s_seen_t *seen)
{
    *words = (s_words_t)(*number + BB_ROUNDING_MAGIC);
    seen->words |= *words + (limit - BB_ROUNDING_MAGIC_BITS);
}

BB_INLINE bool s_is_all_near(const s_seen_t *seen, uint64_t limit)
{
    uint64_t words = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        words |= seen->words[lane];
    }
    uint32_t offsets = 0;
    for (uint32_t lane = 0; lane < 2 * LANES; lane++) {
        offsets |= seen->offsets[lane];
    }
    return words < 2 * limit && offsets < 2 * NEAR_OFFSET;
}

BB_INLINE uint64_t s_round_one(double number, uint64_t limit, bool *is_near)
{
    uint64_t word = bb_bits_of_double(number + BB_ROUNDING_MAGIC);
    *is_near &= word + (limit - BB_ROUNDING_MAGIC_BITS) < 2 * limit;
    return word;
}

// Adds the low halves of eight words to the offsets.
BB_INLINE void s_add_low(const s_words_t words[2], int32_t *offsets, s_seen_t *seen)
{
    s_row_t numbers;
    memcpy(&numbers, offsets, sizeof numbers);
    seen->offsets |= numbers + NEAR_OFFSET;
    numbers +=
        __builtin_shufflevector((s_row_t)words[0], (s_row_t)words[1], 0, 2, 4, 6, 8, 10, 12, 14);
    memcpy(offsets, &numbers, sizeof numbers);
}

// The same of one row.
BB_INLINE void s_add_one(uint64_t word, int32_t *offset, bool *is_near)
{
    uint32_t number = (uint32_t)*offset;
    *is_near &= number + NEAR_OFFSET < 2 * NEAR_OFFSET;
    *offset = (int32_t)(number + (uint32_t)word);
}

// `model` is a constant wherever this is inlined.
BB_INLINE bool s_add_lines(bb_prediction_model_t model, const bb_prediction_t *self,
                           const double *u, const double *w, uint32_t count, int32_t *offsets)
{
    double a = (double)self->a;
    double b = (double)self->b;
    s_seen_t seen = {{0}, {0}};
    uint32_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        s_words_t words[2];
#pragma GCC unroll 2
        for (uint32_t k = 0; k < 2; k++) {
            s_doubles_t x, y;
            memcpy(&x, u + i + k * LANES, sizeof x);
            if (model != BB_PREDICTION_LINEAR) {
                memcpy(&y, w + i + k * LANES, sizeof y);
                x = model == BB_PREDICTION_QUOTIENT ? x / y : x * y;
            }
            x = a * x + b;
            s_round(&x, NEAR_LIMIT, &words[k], &seen);
        }
        s_add_low(words, offsets + i, &seen);
    }
    bool is_near = s_is_all_near(&seen, NEAR_LIMIT);
    for (; i < count; i++) {
        double x = model == BB_PREDICTION_LINEAR     ? u[i]
                   : model == BB_PREDICTION_QUOTIENT ? u[i] / w[i]
                                                     : u[i] * w[i];
        s_add_one(s_round_one(a * x + b, NEAR_LIMIT, &is_near), &offsets[i], &is_near);
    }
    return is_near;
}

BB_CLONES static bool s_add_linear(const bb_prediction_t *self, const double *u, uint32_t count,
                                   int32_t *offsets)
{
    return s_add_lines(BB_PREDICTION_LINEAR, self, u, NULL, count, offsets);
}

BB_CLONES static bool s_add_quotient(const bb_prediction_t *self, const double *u, const double *w,
                                     uint32_t count, int32_t *offsets)
{
    return s_add_lines(BB_PREDICTION_QUOTIENT, self, u, w, count, offsets);
}

BB_CLONES static bool s_add_product(const bb_prediction_t *self, const double *u, const double *w,
                                    uint32_t count, int32_t *offsets)
{
    return s_add_lines(BB_PREDICTION_PRODUCT, self, u, w, count, offsets);
}

BB_CLONES static bool s_add_integral(const bb_prediction_t *self, const double *u, uint32_t count,
                                     int32_t *offsets)
{
    double a = (double)self->a;
    double b = (double)self->b;
    const s_words_t zeros = {0};
    s_words_t before = zeros + self->phase;
    s_seen_t seen = {{0}, {0}};
    uint32_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        s_words_t words[2];
#pragma GCC unroll 2
        for (uint32_t k = 0; k < 2; k++) {
            s_doubles_t x;
            memcpy(&x, u + i + k * LANES, sizeof x);
            s_masks_t is_positive = x > 0;
            s_masks_t factor = (is_positive & (s_masks_t)((s_doubles_t){0} + a)) |
                               (~is_positive & (s_masks_t)((s_doubles_t){0} + b));
            x *= (s_doubles_t)factor;
            s_words_t sums;
            s_round(&x, NEAR_TERM_LIMIT, &sums, &seen);
            sums += __builtin_shufflevector(zeros, sums, 0, 4, 2, 6);
            sums += __builtin_shufflevector(zeros, sums, 0, 1, 5, 5);
            s_words_t all = __builtin_shufflevector(sums, sums, 3, 3, 3, 3);
            sums += before;
            before += all;
            words[k] = sums >> PHASE_BITS;
        }
        s_add_low(words, offsets + i, &seen);
    }
    bool is_near = s_is_all_near(&seen, NEAR_TERM_LIMIT);
    uint64_t sum = before[0];
    for (; i < count; i++) {
        double term = u[i] * (u[i] > 0 ? a : b);
        sum += s_round_one(term, NEAR_TERM_LIMIT, &is_near);
        s_add_one(sum >> PHASE_BITS, &offsets[i], &is_near);
    }
    return is_near;
}

bool bb_prediction_add(const bb_prediction_t *self, const double *u, const double *w,
                       uint32_t count, int32_t *offsets)
{
    BB_ASSERT(count <= ROWS_MAX);
    switch (self->model) {
    case BB_PREDICTION_LINEAR:
    case BB_PREDICTION_DELAYED:
        return s_add_linear(self, u, count, offsets);
    case BB_PREDICTION_QUOTIENT:
        return s_add_quotient(self, u, w, count, offsets);
    case BB_PREDICTION_PRODUCT:
        return s_add_product(self, u, w, count, offsets);
    case BB_PREDICTION_INTEGRAL:
        return s_add_integral(self, u, count, offsets);
    case BB_PREDICTION_NONE:
        break;
    }
    return false;
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

// A move of the integers by that of the peer, if both move.
static bool s_ratio(const int64_t *integers, const double *u, uint32_t row, uint32_t rows_behind,
                    float *ratio)
{
    int64_t step = integers[row] - integers[row - 1];
    double peer_step = u[row - rows_behind] - u[row - rows_behind - 1];
    *ratio = (float)((double)step / peer_step);
    return step != 0 && isfinite(*ratio);
}

// Misra and Gries' list: a ratio that more than one in VOTES + 1 moves have is on it.
static void s_vote(float vote, float leaders[VOTES], uint32_t leads[VOTES])
{
    uint32_t free_place = VOTES;
    for (uint32_t i = 0; i < VOTES; i++) {
        if (leads[i] > 0 && leaders[i] == vote) {
            leads[i]++;
            return;
        }
        free_place = leads[i] == 0 ? i : free_place;
    }
    for (uint32_t i = 0; i < VOTES && free_place == VOTES; i++) {
        leads[i]--;
    }
    if (free_place < VOTES) {
        leaders[free_place] = vote;
        leads[free_place] = 1;
    }
}

// How many moves have the ratio that the most have.
static uint32_t s_followers(const int64_t *integers, const double *u, uint32_t count,
                            uint32_t rows_behind, float *ratio)
{
    float ratios[ROWS_MAX];
    uint32_t moves = 0;
    float leaders[VOTES] = {0};
    uint32_t leads[VOTES] = {0};
    for (uint32_t row = rows_behind + 1; row < count; row++) {
        if (s_ratio(integers, u, row, rows_behind, &ratios[moves])) {
            s_vote(ratios[moves++], leaders, leads);
        }
    }
    uint32_t best = 0;
    for (uint32_t i = 0; i < VOTES; i++) {
        uint32_t followers = 0;
        for (uint32_t move = 0; move < moves && leads[i] > 0; move++) {
            // cppcheck-suppress uninitvar ; as many as there are moves
            followers += ratios[move] == leaders[i];
        }
        if (followers > best) {
            best = followers;
            *ratio = leaders[i];
        }
    }
    return best;
}

static bool s_fit_delayed(bb_prediction_t *self, const int64_t *integers, const double *u,
                          uint32_t count)
{
    uint32_t moves = 0;
    for (uint32_t row = 1; row < count; row++) {
        moves += integers[row] != integers[row - 1];
    }
    uint32_t best = 0;
    for (uint32_t rows_behind = 0; rows_behind < FIT_DELAYS; rows_behind++) {
        float ratio = 0;
        uint32_t followers = s_followers(integers, u, count, rows_behind, &ratio);
        if (followers > best) {
            best = followers;
            self->a = ratio;
            self->rows_behind = rows_behind;
        }
    }
    self->b = 0; // the differences have a base
    return best >= FOLLOWERS_MIN && best >= moves / FOLLOWERS_SHARE;
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
    if (self->model == BB_PREDICTION_DELAYED) {
        return s_fit_delayed(self, integers, u, count);
    }
    return s_fit_line(self, integers, u, w, count, rows_step);
}

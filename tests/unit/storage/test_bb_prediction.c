// SPDX-License-Identifier: Apache-2.0
// Goal: columns that physics ties together are found, predicted and given back to the bit, with
// totals; what is predicted is no peer; odd peers do no harm. Method: a battery of a few formulas,
// measured with noise and rounded as meters do; peers of special doubles.
#include "storage/encoding/bb_prediction.h"

#include <math.h>

#include "tests/unit/storage/run_support.h"

#define ROWS BB_BLOCK_ROWS_MAX
enum { VOLTAGE, CURRENT, POWER, CELL, ENERGY, CHARGE, NOISE, COLUMNS };

typedef struct {
    uint64_t words[COLUMNS][ROWS];
    const uint64_t *peers[COLUMNS];
    bb_encoding_kind_t kinds[COLUMNS];
    bb_encoding_input_t inputs[COLUMNS];
    uint32_t hints[COLUMNS];
    uint32_t *hint_list[COLUMNS];
} s_battery_t;

static double s_noise(bb_random_t *random, double size)
{
    return size * ((double)test_below(random, 2001) / 1000.0 - 1.0);
}

static uint64_t s_rounded(double number, double digits)
{
    return bb_bits_of_double(nearbyint(number * digits) / digits);
}

static void s_make(s_battery_t *self, uint64_t seed)
{
    bb_random_t random = bb_random_seed(seed);
    double energy = 1234, charge = 50, target = 40;
    for (uint32_t row = 0; row < ROWS; row++) {
        if (row % 200 == 0) {
            target = (double)test_below(&random, 300) - 100;
        }
        double power = target + s_noise(&random, 15);
        double voltage = 700 + charge + s_noise(&random, 0.5);
        energy += power > 0 ? power / 360 : 0;
        charge += power / 3600 * (power > 0 ? 0.97 : 1.03);
        self->words[VOLTAGE][row] = s_rounded(voltage, 10);
        self->words[CURRENT][row] = s_rounded(power * 1000 / voltage + s_noise(&random, 0.1), 10);
        self->words[POWER][row] = s_rounded(power, 100);
        self->words[CELL][row] = s_rounded(voltage / 216 - 0.01 + s_noise(&random, 0.001), 1000);
        self->words[ENERGY][row] = (uint64_t)llrint(energy * 100); // an integer
        self->words[CHARGE][row] = s_rounded(charge, 10);
        self->words[NOISE][row] = s_rounded(s_noise(&random, 5), 10);
    }
    for (uint32_t i = 0; i < COLUMNS; i++) {
        self->peers[i] = self->words[i];
        self->kinds[i] = i == ENERGY ? BB_ENCODING_INTEGER : BB_ENCODING_FLOAT64;
        self->hint_list[i] = &self->hints[i];
        self->inputs[i] = (bb_encoding_input_t){.kind = self->kinds[i],
                                                .words = self->words[i],
                                                .count = ROWS,
                                                .peers = self->peers,
                                                .peer_kinds = self->kinds,
                                                .peer_count = COLUMNS};
    }
}

// Ranges of 1, 2, 3... rows, then the rest.
static void s_check_ranges(const s_battery_t *self, uint32_t column, uint32_t id, bb_slice_t block,
                           const uint64_t *const *peers)
{
    static bb_encoding_ranges_t found;
    bb_type_t type = column == ENERGY ? BB_TYPE_INT64 : BB_TYPE_FLOAT64;
    uint32_t limits[ROWS];
    uint32_t count = 0;
    for (uint32_t row = 1; row < ROWS - 40; row += count) {
        limits[count++] = row;
    }
    limits[count++] = ROWS;
    for (uint32_t has_extremes = 0; has_extremes < 2; has_extremes++) {
        if (!bb_encoding_ranges(id, type, block, ROWS, peers, limits, count, has_extremes != 0,
                                &found)) {
            assert_int_not_equal(id, BB_ENCODING_PREDICTED);
            return;
        }
        uint32_t first = 0;
        for (uint32_t r = 0; r < count; first = limits[r++]) {
            const bb_encoding_range_t *range = &found.ranges[r];
            bb_encoding_totals_t expected;
            bb_sum_t sum = {0};
            bb_encoding_totals_of(type, self->words[column] + first, limits[r] - first, &expected);
            bb_sum_add_scaled(&sum, range->sum, found.exponent);
            assert_int_equal(range->count, expected.count);
            assert_true(bb_sum_is_equal(&sum, &expected.sum));
            assert_true(!has_extremes || range->min == expected.min);
            assert_true(!has_extremes || range->max == expected.max);
        }
    }
}

static void s_check_totals(const s_battery_t *self, uint32_t column, uint32_t id, bb_slice_t block,
                           const uint64_t *const *peers)
{
    bb_type_t type = column == ENERGY ? BB_TYPE_INT64 : BB_TYPE_FLOAT64;
    const uint32_t ranges[][2] = {{0, ROWS}, {0, 1}, {17, 900}, {ROWS - 1, ROWS}};
    for (uint32_t i = 0; i < BB_COUNT_OF(ranges); i++) {
        bb_encoding_totals_t totals, expected;
        assert_int_equal(bb_encoding_aggregate(id, type, block, ROWS, peers, ranges[i][0],
                                               ranges[i][1], &totals),
                         BB_OK);
        bb_encoding_totals_of(type, self->words[column] + ranges[i][0], ranges[i][1] - ranges[i][0],
                              &expected);
        assert_int_equal(totals.count, expected.count);
        assert_int_equal(totals.min, expected.min);
        assert_int_equal(totals.max, expected.max);
        assert_int_equal(totals.first, expected.first);
        assert_int_equal(totals.last, expected.last);
        assert_true(bb_sum_is_equal(&totals.sum, &expected.sum));
    }
    s_check_ranges(self, column, id, block, peers);
}

static void test_physics_is_found(void **context)
{
    (void)context;
    static s_battery_t battery;
    static uint8_t out[BB_ENCODING_BYTES_MAX(ROWS)];
    static uint64_t decoded[ROWS];
    bb_encoder_t *encoder = bb_encoder_new();
    s_make(&battery, 1);
    bb_encoder_relate(encoder, battery.inputs, COLUMNS, battery.hint_list);
    for (uint64_t seed = 2; seed < 6; seed++) { // other batteries, the same relations
        s_make(&battery, seed);
        bool is_peer[COLUMNS] = {false}, is_predicted[COLUMNS] = {false};
        size_t with = 0, without = 0;
        for (uint32_t i = 0; i < COLUMNS; i++) {
            uint8_t id;
            without += bb_encoder_encode(encoder, &battery.inputs[i], NULL, out, &id);
            size_t length =
                bb_encoder_encode(encoder, &battery.inputs[i], &battery.hints[i], out, &id);
            with += length;
            uint32_t named[BB_ENCODING_PEERS_MAX], named_count = 0;
            const uint64_t *peers[BB_ENCODING_PEERS_MAX] = {NULL};
            uint8_t *exact = bb_alloc(length);
            memcpy(exact, out, length);
            bb_slice_t block = bb_slice(exact, length);
            assert_int_equal(bb_encoding_peers(id, block, COLUMNS, named, &named_count), BB_OK);
            is_predicted[i] = named_count > 0;
            for (uint32_t k = 0; k < named_count; k++) {
                is_peer[named[k]] = true;
                peers[k] = battery.peers[named[k]];
            }
            assert_int_equal(bb_encoding_decode(id, battery.kinds[i], block, ROWS, peers, decoded),
                             BB_OK);
            assert_memory_equal(decoded, battery.words[i], sizeof decoded);
            s_check_totals(&battery, i, id, block, peers);
            if (named_count > 0) { // peers that are not there, or not that many
                assert_int_equal(
                    bb_encoding_decode(id, battery.kinds[i], block, ROWS, NULL, decoded),
                    BB_ERR_CORRUPT);
                assert_int_equal(bb_encoding_peers(id, block, 1, named, &named_count),
                                 named[0] == 0 && named_count == 1 ? BB_OK : BB_ERR_CORRUPT);
            }
            free(exact);
        }
        for (uint32_t i = 0; i < COLUMNS; i++) {
            assert_false(is_peer[i] && is_predicted[i]);
        }
        assert_true(is_predicted[ENERGY]);
        assert_true(is_predicted[CURRENT] || is_predicted[POWER]);
        assert_false(is_predicted[NOISE]);
        assert_true(with * 10 < without * 9);
    }
    bb_encoder_destroy(&encoder);
}

// Parameters and peers of any bits: guesses are integers below 2^51 whatever happens, twice the
// same.
static void test_odd_peers_do_no_harm(void **context)
{
    (void)context;
    static double u[ROWS], w[ROWS], guesses[ROWS], again[ROWS];
    bb_random_t random = bb_random_seed(9);
    for (uint32_t round = 0; round < 400; round++) {
        for (uint32_t i = 0; i < ROWS; i++) {
            uint64_t bits =
                round % 2
                    ? bb_random_next(&random)
                    : test_special_doubles[test_below(&random, BB_COUNT_OF(test_special_doubles))];
            u[i] = bb_double_of_bits(bits);
            w[i] = bb_double_of_bits(bb_random_next(&random));
        }
        bb_prediction_t prediction = {
            .model = (bb_prediction_model_t)(1 + round / 2 % BB_PREDICTION_LAST),
            .phase = test_below(&random, 65536),
        };
        uint32_t bits[2] = {(uint32_t)bb_random_next(&random), (uint32_t)bb_random_next(&random)};
        memcpy(&prediction.a, &bits[0], 4);
        memcpy(&prediction.b, &bits[1], 4);
        bb_prediction_make(&prediction, u, w, ROWS, 1, guesses);
        bb_prediction_make(&prediction, u, w, ROWS, 1, again);
        assert_memory_equal(guesses, again, sizeof guesses);
        for (uint32_t i = 0; i < ROWS; i++) {
            assert_true(fabs(guesses[i]) < 0x1p51);
            assert_true(guesses[i] == nearbyint(guesses[i]));
        }
        int64_t integers[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) {
            integers[i] = (int64_t)test_below(&random, 1000);
        }
        (void)bb_prediction_fit(&prediction, integers, u, w, ROWS, 1);
    }
}

// The integral against a sum in long double: never off by more than the rounding of its terms.
static void test_integral_is_the_sum(void **context)
{
    (void)context;
    static double u[ROWS], guesses[ROWS];
    bb_random_t random = bb_random_seed(10);
    for (uint32_t i = 0; i < ROWS; i++) {
        u[i] = s_noise(&random, 100);
    }
    bb_prediction_t prediction = {BB_PREDICTION_INTEGRAL, 3000.5f, -77.25f, 12345, 0};
    bb_prediction_make(&prediction, u, NULL, ROWS, 1, guesses);
    long double sum = 12345;
    for (uint32_t i = 0; i < ROWS; i++) {
        sum += (long double)u[i] * (u[i] > 0 ? 3000.5L : -77.25L);
        assert_true(fabsl(sum / 65536 - (long double)guesses[i]) < 1 + 0.5L * (i + 1) / 65536);
    }
}

// Guesses row by row from their definition. Returns whether all of them are small
// (bb_prediction_add).
static bool s_guess(const bb_prediction_t *self, const double *u, const double *w, uint32_t count,
                    double *guesses)
{
    bool is_integral = self->model == BB_PREDICTION_INTEGRAL;
    bool is_near = true;
    int64_t sum = self->phase;
    for (uint32_t i = 0; i < count; i++) {
        double a = (double)self->a, b = (double)self->b;
        bool is_linear =
            self->model == BB_PREDICTION_LINEAR || self->model == BB_PREDICTION_DELAYED;
        double term = is_linear                               ? a * u[i] + b
                      : self->model == BB_PREDICTION_QUOTIENT ? a * (u[i] / w[i]) + b
                      : self->model == BB_PREDICTION_PRODUCT  ? a * (u[i] * w[i]) + b
                                                              : u[i] * (u[i] > 0 ? a : b);
        double limit = is_integral ? 0x1p35 : 0x1p29;
        is_near &= nearbyint(term) >= -limit && nearbyint(term) < limit;
        double rounded = fabs(term) < 0x1p40 ? nearbyint(term) : 0.0;
        sum += (int64_t)rounded;
        guesses[i] = is_integral ? floor((double)sum / 65536) : rounded;
    }
    return is_near;
}

// Both ways to guesses against their definition: any model, size and number of rows; special
// doubles among the peers; sizes around the limit of those that are added to small integers.
static void test_guesses_are_as_defined(void **context)
{
    (void)context;
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 0x1p60, -0x1p60, 0x1p-1074};
    static const double sizes[] = {0.001, 1, 1000, 1e5, 1e6, 0x1p29, 0x1p35};
    bb_random_t random = bb_random_seed(77);
    uint32_t near_count = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        double size = sizes[test_below(&random, BB_COUNT_OF(sizes))];
        bb_prediction_t prediction = {
            .model = (bb_prediction_model_t)(1 + round % BB_PREDICTION_LAST),
            .a = (float)s_noise(&random, 1000),
            .b = (float)s_noise(&random, 1000),
            .phase = test_below(&random, 1u << 16),
        };
        uint32_t count = round < 100 ? 1 + round : 1 + test_below(&random, ROWS);
        bool has_odd = test_below(&random, 4) == 0;
        uint32_t far_offset =
            test_below(&random, 20) == 0 ? test_below(&random, count) : UINT32_MAX;
        double u[ROWS], w[ROWS], expected[ROWS], guesses[ROWS];
        int32_t offsets[ROWS], sums[ROWS];
        for (uint32_t i = 0; i < count; i++) {
            bool is_odd = has_odd && test_below(&random, 50) == 0;
            u[i] = is_odd ? odd[test_below(&random, BB_COUNT_OF(odd))] : s_noise(&random, size);
            w[i] = s_noise(&random, 100);
            offsets[i] = (int32_t)test_below(&random, 1u << 30) - (1 << 29);
        }
        if (far_offset != UINT32_MAX) {
            offsets[far_offset] = test_below(&random, 2) ? 1 << 29 : -(1 << 29) - 1;
        }
        bool is_near = s_guess(&prediction, u, w, count, expected) && far_offset == UINT32_MAX;
        bb_prediction_make(&prediction, u, w, count, 1, guesses);
        memcpy(sums, offsets, sizeof sums);
        assert_int_equal(bb_prediction_add(&prediction, u, w, count, sums), is_near);
        near_count += is_near;
        for (uint32_t i = 0; i < count; i++) {
            assert_true(guesses[i] == expected[i]);
            assert_true(!is_near || (int64_t)sums[i] == (int64_t)expected[i] + offsets[i]);
        }
    }
    assert_in_range(near_count, 500, 1500);
}

// What is asked for, what is done two rows later but for a tenth of the moves, and a column that
// has nothing to do with them. Where bytes matter most, the second is written as the first,
// delayed; it comes back with its totals, and rows before the delay too. Elsewhere delays are not
// looked for.
static void test_delays_are_found(void **context)
{
    (void)context;
    enum { ASKED, DONE, OTHER, DELAYED_COLUMNS };
    static s_battery_t battery;
    static uint8_t room[BB_ENCODING_BYTES_MAX(ROWS)];
    static uint64_t words[ROWS];
    bb_encoder_t *encoder = bb_encoder_new();
    bb_random_t random = bb_random_seed(91);
    for (uint32_t is_small = 0; is_small < 2; is_small++) {
        s_make(&battery, 91); // kinds and lists
        memset(battery.hints, 0, sizeof battery.hints);
        double asked = -34, other = 5; // all are even: what misses has a scale
        for (uint32_t row = 0; row < ROWS; row++) {
            asked += test_below(&random, 3) == 0 ? 2.0 * test_below(&random, 100) - 100 : 0;
            other += (double)test_below(&random, 9) - 4;
            battery.words[ASKED][row] = s_rounded(asked / 10, 10);
            double done = bb_double_of_bits(battery.words[ASKED][row < 2 ? 0 : row - 2]) * -3;
            bool misses = test_below(&random, 10) == 0;
            battery.words[DONE][row] = s_rounded(done + (misses ? 0.6 : 0), 10);
            battery.words[OTHER][row] = s_rounded(other, 10);
        }
        for (uint32_t i = 0; i < DELAYED_COLUMNS; i++) {
            battery.inputs[i].peer_count = DELAYED_COLUMNS;
        }
        bb_encoder_set_aim(encoder, is_small ? BB_ENCODER_SMALL : BB_ENCODER_FAST);
        bb_encoder_relate(encoder, battery.inputs, DELAYED_COLUMNS, battery.hint_list);
        size_t lengths[DELAYED_COLUMNS];
        for (uint32_t i = 0; i < DELAYED_COLUMNS; i++) {
            uint8_t id;
            lengths[i] =
                bb_encoder_encode(encoder, &battery.inputs[i], &battery.hints[i], room, &id);
            bb_slice_t block = bb_slice(room, lengths[i]);
            bool is_delayed = id == BB_ENCODING_PREDICTED && (room[0] & 0xf) == 5;
            assert_int_equal(is_delayed, is_small && i == DONE);
            uint32_t named[BB_ENCODING_PEERS_MAX], named_count = 0;
            const uint64_t *given[BB_ENCODING_PEERS_MAX] = {NULL, NULL};
            assert_int_equal(bb_encoding_peers(id, block, DELAYED_COLUMNS, named, &named_count),
                             BB_OK);
            for (uint32_t p = 0; p < named_count; p++) {
                given[p] = battery.words[named[p]];
            }
            assert_int_equal(bb_encoding_decode(id, BB_ENCODING_FLOAT64, block, ROWS, given, words),
                             BB_OK);
            assert_memory_equal(words, battery.words[i], sizeof words);
            s_check_totals(&battery, i, id, block, given);
        }
        assert_true(!is_small || lengths[DONE] < lengths[ASKED] / 2);
    }
    bb_encoder_destroy(&encoder);
}

// A delay beyond the limit is damage, and one of more rows than there are stays in the block.
static void test_delays_have_a_limit(void **context)
{
    (void)context;
    double u[3] = {1, 2, 3}, out[3];
    bb_prediction_t prediction = {.model = BB_PREDICTION_DELAYED, .rows_behind = 15};
    bb_prediction_delay(&prediction, u, 3, out);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 1);
    prediction.rows_behind = 2;
    bb_prediction_delay(&prediction, u, 3, out);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 1);
    prediction.rows_behind = 1;
    bb_prediction_delay(&prediction, u, 3, out);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 2);
    prediction.rows_behind = 0;
    bb_prediction_delay(&prediction, u, 3, out);
    assert_memory_equal(out, u, sizeof u);
    // head, exponent, peer, a, b, delay
    uint8_t block[12] = {5};
    uint32_t named[BB_ENCODING_PEERS_MAX], count;
    for (uint32_t rows_behind = 0; rows_behind < 256; rows_behind++) {
        block[11] = (uint8_t)rows_behind;
        bb_error_t error =
            bb_encoding_peers(BB_ENCODING_PREDICTED, bb_slice(block, 12), 1, named, &count);
        assert_int_equal(error, rows_behind < BB_PREDICTION_DELAYS ? BB_OK : BB_ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_physics_is_found),    cmocka_unit_test(test_odd_peers_do_no_harm),
        cmocka_unit_test(test_integral_is_the_sum), cmocka_unit_test(test_guesses_are_as_defined),
        cmocka_unit_test(test_delays_are_found),    cmocka_unit_test(test_delays_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

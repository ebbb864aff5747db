// SPDX-License-Identifier: Apache-2.0
// Goal: any integers come back from every order, as few bits as their spread needs, and totals of
// the packed form are those of the integers. Method: random walks, noise, lines with outliers,
// extremes, of counts around the size of a mini; a plain loop as oracle.
#include "storage/encoding/bb_packed.h"

#include "tests/unit/storage/run_support.h"

static bb_packer_t *s_packer;

enum { S_NOISE, S_WALK, S_LINE, S_OUTLIERS, S_STEPS, S_SCALED, S_WIDE, S_EXTREMES, S_FAMILIES };

static void s_integers(bb_random_t *random, uint32_t family, uint64_t *out, uint32_t count)
{
    uint64_t walk = bb_random_next(random) >> (test_below(random, 40) + 20);
    for (uint32_t i = 0; i < count; i++) {
        switch (family) {
        case S_NOISE:
            out[i] = test_below(random, 1000) - 500u;
            break;
        case S_WALK:
            out[i] = walk += (uint64_t)test_below(random, 9) - 4;
            break;
        case S_LINE:
            out[i] = walk + i * UINT64_C(37);
            break;
        case S_OUTLIERS:
            out[i] = test_below(random, 50) == 0 ? bb_random_next(random) >> 40 : 100 + i % 4;
            break;
        case S_STEPS:
            walk += test_below(random, 100) == 0 ? test_below(random, 100000) : 0;
            out[i] = walk;
            break;
        case S_SCALED:
            out[i] = walk * 1000000 + test_below(random, 60) * UINT64_C(1000000);
            break;
        case S_WIDE:
            out[i] = bb_random_next(random) >> (i % 30);
            break;
        default:
            out[i] = test_special_integers[test_below(random, BB_COUNT_OF(test_special_integers))];
            break;
        }
    }
}

static void s_check(const uint64_t *integers, uint32_t count, uint32_t orders, bool scaled)
{
    static uint8_t room[BB_PACKED_BYTES_MAX(BB_BLOCK_ROWS_MAX)];
    static uint64_t out[BB_BLOCK_ROWS_MAX];
    size_t length = bb_packed_encode(s_packer, integers, count, orders, scaled, room);
    assert_in_range(length, 2, BB_PACKED_BYTES_MAX(count));
    uint8_t *exact = bb_alloc(length);
    memcpy(exact, room, length);
    bb_packed_t packed;
    assert_true(bb_packed_open(&packed, bb_slice(exact, length), count));
    assert_true(bb_packed_integers(&packed, out));
    assert_memory_equal(out, integers, (size_t)count * 8);
    bb_packed_totals_t totals;
    if (!packed.is_wide) {
        assert_true(bb_packed_totals(&packed, &totals));
        int64_t min = INT64_MAX, max = INT64_MIN;
        uint64_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            min = BB_MIN(min, (int64_t)integers[i]);
            max = BB_MAX(max, (int64_t)integers[i]);
            sum += integers[i];
        }
        uint64_t base = packed.base, scale = packed.scale;
        assert_int_equal(base + scale * (uint64_t)(int64_t)totals.min, min);
        assert_int_equal(base + scale * (uint64_t)(int64_t)totals.max, max);
        assert_int_equal(base + scale * (uint64_t)(int64_t)totals.first, integers[0]);
        assert_int_equal(base + scale * (uint64_t)(int64_t)totals.last, integers[count - 1]);
        assert_int_equal(base * count + scale * (uint64_t)totals.sum, sum);
    }
    // One byte more is damage, and one less but in the arithmetic form, where it is another
    // fraction.
    uint8_t *longer = bb_alloc(length + 1);
    memcpy(longer, room, length);
    longer[length] = 0;
    assert_false(bb_packed_open(&packed, bb_slice(longer, length + 1), count) &&
                 bb_packed_integers(&packed, out));
    assert_false(bb_packed_open(&packed, bb_slice(longer, length - 1), count) &&
                 !packed.is_arithmetic && bb_packed_integers(&packed, out));
    free(longer);
    free(exact);
}

static void test_every_order_comes_back(void **context)
{
    (void)context;
    static const uint32_t counts[] = {1, 2, 3, 20, 255, 256, 257, 511, 512, 1000, 1024};
    static uint64_t integers[BB_BLOCK_ROWS_MAX];
    bb_random_t random = bb_random_seed(41);
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t family = 0; family < S_FAMILIES; family++) {
            for (uint32_t i = 0; i < BB_COUNT_OF(counts); i++) {
                s_integers(&random, family, integers, counts[i]);
                for (uint32_t orders = 1; orders < 8; orders++) {
                    s_check(integers, counts[i], orders, round % 2);
                }
            }
        }
    }
}

// A short column of a quiet battery: flags, base, width, reference and the bits.
static void test_short_columns_are_short(void **context)
{
    (void)context;
    uint8_t out[BB_PACKED_BYTES_MAX(20)];
    uint64_t integers[20];
    for (uint32_t i = 0; i < 20; i++) {
        integers[i] = 3700 + i % 4;
    }
    size_t length = bb_packed_encode(s_packer, integers, 20, 1, true, out);
    assert_int_equal(length, 1 + 2 + 1 + (20 * 2 + 7) / 8);
}

// A mini of noise between three calm ones must not widen them.
static void test_widths_are_of_minis(void **context)
{
    (void)context;
    uint8_t out[BB_PACKED_BYTES_MAX(1024)];
    uint64_t integers[1024];
    bb_random_t random = bb_random_seed(42);
    for (uint32_t i = 0; i < 1024; i++) {
        integers[i] = i / 256 == 2 ? test_below(&random, 1024) : 500;
    }
    size_t length = bb_packed_encode(s_packer, integers, 1024, 1, true, out);
    assert_in_range(length, 256 * 10 / 8, 256 * 10 / 8 + 16);
}

// A battery that stands still and jumps: what packing takes for jumps alone is halved. A caller
// that does not want it now is told that it would have paid.
static void test_rare_jumps_take_the_entropy_form(void **context)
{
    (void)context;
    uint8_t out[BB_PACKED_BYTES_MAX(1024)];
    uint64_t integers[1024];
    bb_random_t random = bb_random_seed(43);
    uint64_t level = 100000;
    for (uint32_t i = 0; i < 1024; i++) {
        level += test_below(&random, 8) == 0 ? (uint64_t)test_below(&random, 800) - 400 : 0;
        integers[i] = level;
    }
    s_check(integers, 1024, 7, true);
    bb_packer_set_surprises(s_packer, true);
    assert_false(bb_packer_has_surprises(s_packer));
    size_t length = bb_packed_encode(s_packer, integers, 1024, 7, true, out);
    assert_true(out[0] & 0x20);
    assert_true(bb_packer_has_surprises(s_packer));
    // log2(800) for each of 128 jumps and 0.54 bits a row to say where.
    assert_in_range(length, (128 * 10 + 1024 * 54 / 100) / 8 - 20, 270);

    bb_packer_set_surprises(s_packer, false);
    size_t packed = bb_packed_encode(s_packer, integers, 1024, 7, true, out);
    assert_false(out[0] & 0x20);
    assert_true(bb_packer_has_surprises(s_packer));
    assert_true(length < packed * 3 / 4);
    bb_packer_set_surprises(s_packer, true);
}

// Noise of one kind: packing is nearly as short and a third of the work.
static void test_even_noise_stays_packed(void **context)
{
    (void)context;
    uint8_t out[BB_PACKED_BYTES_MAX(1024)];
    uint64_t integers[1024];
    bb_random_t random = bb_random_seed(44);
    for (uint32_t i = 0; i < 1024; i++) {
        integers[i] = 5000 + test_below(&random, 30) + test_below(&random, 30);
    }
    bb_packer_set_surprises(s_packer, true);
    bb_packed_encode(s_packer, integers, 1024, 7, true, out);
    assert_false(out[0] & 0x20);
    assert_false(bb_packer_has_surprises(s_packer));
}

// Where bytes matter most, a column that stands still and moves is written in the arithmetic form:
// far below packing, and below the entropy form's tables. Noise of six bits is not: it would take
// long to read for little. Everything comes back.
static void test_small_takes_what_costs_least(void **context)
{
    (void)context;
    uint8_t out[BB_PACKED_BYTES_MAX(1024)];
    uint64_t steps[1024];
    uint64_t noise[1024];
    bb_random_t random = bb_random_seed(45);
    uint64_t level = 7000;
    for (uint32_t i = 0; i < 1024; i++) {
        level += i % 5 == 0 ? (uint64_t)test_below(&random, 3) - 1 : 0;
        steps[i] = level;
        noise[i] = 100 + test_below(&random, 40) + test_below(&random, 40);
    }
    bb_packer_set_surprises(s_packer, false);
    size_t packed = bb_packed_encode(s_packer, steps, 1024, 7, true, out);
    bb_packer_set_surprises(s_packer, true);
    bb_packer_set_aim(s_packer, BB_ENCODER_SMALL);
    size_t length = bb_packed_encode(s_packer, steps, 1024, 7, true, out);
    assert_int_equal(out[0] & 0x60, 0x40);
    assert_true(length < packed / 2);
    assert_in_range(length, 205 * 158 / 100 / 8, 205 * 158 / 100 / 8 + 30); // log2 3 a step
    s_check(steps, 1024, 7, true);

    bb_packed_encode(s_packer, noise, 1024, 7, true, out);
    assert_int_equal(out[0] & 0x40, 0);
    s_check(noise, 1024, 7, true);
    // A column that stands still has a head alone.
    uint64_t same[1024];
    for (uint32_t i = 0; i < 1024; i++) {
        same[i] = 31;
    }
    assert_int_equal(bb_packed_encode_same(s_packer, 31, 1024, out), 2);
    assert_int_equal(bb_packed_encode(s_packer, same, 1024, 7, true, out), 2);
    s_check(same, 1024, 7, true);
    // Both at once are no form.
    bb_packed_encode(s_packer, steps, 1024, 7, true, out);
    out[0] |= 0x20;
    bb_packed_t form;
    assert_false(bb_packed_open(&form, bb_slice(out, length), 1024));
    bb_packer_set_aim(s_packer, BB_ENCODER_FAST);
}

// Short blocks, random walks of all speeds, repeats: whatever small chooses comes back.
static void test_small_comes_back(void **context)
{
    (void)context;
    uint64_t integers[1024];
    bb_random_t random = bb_random_seed(46);
    bb_packer_set_aim(s_packer, BB_ENCODER_SMALL);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t count = 60 + test_below(&random, 965);
        uint32_t rate = 1 + test_below(&random, 1u << test_below(&random, 8));
        uint32_t size = 1u << test_below(&random, 27);
        uint64_t scale = 1 + test_below(&random, 30);
        uint64_t level = bb_random_next(&random) >> test_below(&random, 64);
        for (uint32_t i = 0; i < count; i++) {
            bool moves = test_below(&random, rate) == 0;
            level += moves ? (uint64_t)test_below(&random, 2 * size + 1) - size : 0;
            integers[i] = level * scale;
        }
        s_check(integers, count, 1 + test_below(&random, 7), test_below(&random, 2) == 0);
    }
    bb_packer_set_aim(s_packer, BB_ENCODER_FAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_order_comes_back),
        cmocka_unit_test(test_short_columns_are_short),
        cmocka_unit_test(test_widths_are_of_minis),
        cmocka_unit_test(test_rare_jumps_take_the_entropy_form),
        cmocka_unit_test(test_even_noise_stays_packed),
        cmocka_unit_test(test_small_takes_what_costs_least),
        cmocka_unit_test(test_small_comes_back),
    };
    s_packer = bb_packer_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bb_packer_destroy(&s_packer);
    return failed;
}

// SPDX-License-Identifier: Apache-2.0
// Goal: the fleet is deterministic, a battery does not depend on its neighbours, and the metrics of
// each frame agree with each other as the header promises. Method: a day of a small fleet, checked
// frame by frame in integers.
#include "client/simulate/bb_fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_BATTERIES   9
#define S_TICKS       2880 // a day of 30 s
#define S_INTERVAL_NS (30 * BB_NS_PER_S)
#define S_START_NS    (INT64_C(1767225600) * BB_NS_PER_S)

static bb_fleet_t *s_fleet(uint32_t battery_count, uint64_t seed)
{
    const bb_fleet_options_t options = {battery_count, S_INTERVAL_NS, S_START_NS, seed};
    return bb_fleet_new(&options);
}

static void test_same_seed_same_frames(void **state)
{
    (void)state;
    bb_fleet_t *a = s_fleet(S_BATTERIES, 7), *b = s_fleet(S_BATTERIES, 7);
    bb_fleet_t *other = s_fleet(S_BATTERIES, 8);
    uint32_t different = 0;
    for (uint32_t i = 0; i < S_BATTERIES * 200; i++) {
        bb_fleet_frame_t x, y, z;
        bb_fleet_next(a, &x);
        bb_fleet_next(b, &y);
        bb_fleet_next(other, &z);
        assert_int_equal(x.time_wall_ns, y.time_wall_ns);
        assert_memory_equal(x.scaled, y.scaled, sizeof x.scaled);
        different += memcmp(x.scaled, z.scaled, sizeof x.scaled) != 0;
    }
    assert_true(different > S_BATTERIES * 199);
    bb_fleet_destroy(&a);
    bb_fleet_destroy(&b);
    bb_fleet_destroy(&other);
    assert_null(a);
}

static void test_a_battery_does_not_depend_on_the_size_of_the_fleet(void **state)
{
    (void)state;
    bb_fleet_t *small = s_fleet(3, 7), *large = s_fleet(50, 7);
    for (uint32_t tick = 0; tick < 400; tick++) {
        for (uint32_t i = 0; i < 50; i++) {
            bb_fleet_frame_t x, y;
            bb_fleet_next(large, &y);
            assert_int_equal(y.battery_index, i);
            if (i < 3) {
                bb_fleet_next(small, &x);
                assert_int_equal(x.battery_index, i);
                assert_int_equal(x.time_wall_ns, y.time_wall_ns);
                assert_memory_equal(x.scaled, y.scaled, sizeof x.scaled);
            }
        }
    }
    bb_fleet_destroy(&small);
    bb_fleet_destroy(&large);
}

static int64_t s_abs(int64_t value)
{
    return value < 0 ? -value : value;
}

static void s_check_frame(const bb_fleet_frame_t *frame)
{
    const int64_t *scaled = frame->scaled;
    // 0.1 V x 0.1 A = 10 mW; power_kw has three decimals: W. Half a unit of its digit is 50 x 10
    // mW.
    int64_t exact_10mw = scaled[BB_FLEET_VOLTAGE] * scaled[BB_FLEET_CURRENT];
    assert_true(s_abs(scaled[BB_FLEET_POWER] * 100 - exact_10mw) <= 50);
    bool charges = scaled[BB_FLEET_STATE] == BB_FLEET_CHARGING;
    bool discharges = scaled[BB_FLEET_STATE] == BB_FLEET_DISCHARGING;
    assert_true(scaled[BB_FLEET_POWER] <= 0 || charges);
    assert_true(scaled[BB_FLEET_POWER] >= 0 || discharges);
    assert_true(scaled[BB_FLEET_CELL_MIN] <= scaled[BB_FLEET_CELL_MEAN]);
    assert_true(scaled[BB_FLEET_CELL_MEAN] <= scaled[BB_FLEET_CELL_MAX]);
    assert_in_range(scaled[BB_FLEET_STATE_OF_CHARGE], 0, 1000);
    assert_in_range(scaled[BB_FLEET_ALARM], 0, 1);
    assert_true(scaled[BB_FLEET_STATE] != BB_FLEET_FAULT || scaled[BB_FLEET_ALARM] == 1);
}

// What one battery said before.
typedef struct {
    bb_fleet_frame_t first, last;
    int64_t charged_mj, discharged_mj; // integral of power since the first frame, W x ms
    uint32_t frame_count, transition_count;
} s_history_t;

static void s_check_history(s_history_t *history, const bb_fleet_frame_t *frame)
{
    if (history->frame_count++ == 0) {
        history->first = history->last = *frame;
        assert_true(frame->time_wall_ns >= S_START_NS);
        assert_true(frame->time_wall_ns < S_START_NS + S_INTERVAL_NS);
        return;
    }
    const bb_fleet_frame_t *last = &history->last;
    assert_int_equal(frame->time_wall_ns, last->time_wall_ns + S_INTERVAL_NS);
    bb_fleet_state_t from = (bb_fleet_state_t)last->scaled[BB_FLEET_STATE];
    bb_fleet_state_t to = (bb_fleet_state_t)frame->scaled[BB_FLEET_STATE];
    assert_true(bb_fleet_is_legal(from, to));
    history->transition_count += from != to;
    int64_t energy_mj = last->scaled[BB_FLEET_POWER] * (S_INTERVAL_NS / BB_NS_PER_MS);
    history->charged_mj += BB_MAX(energy_mj, 0);
    history->discharged_mj += BB_MAX(-energy_mj, 0);
    // Counters have three decimals of kWh: Wh = 3,600,000 mJ; both ends are cut, not rounded.
    const struct {
        bb_fleet_metric_t metric;
        int64_t sum_mj;
    } counters[] = {{BB_FLEET_ENERGY_CHARGED, history->charged_mj},
                    {BB_FLEET_ENERGY_DISCHARGED, history->discharged_mj}};
    for (size_t i = 0; i < BB_COUNT_OF(counters); i++) {
        bb_fleet_metric_t metric = counters[i].metric;
        assert_true(frame->scaled[metric] >= last->scaled[metric]);
        int64_t grown_wh = frame->scaled[metric] - history->first.scaled[metric];
        assert_true(s_abs(grown_wh * 3600000 - counters[i].sum_mj) < 3600000);
    }
    history->last = *frame;
}

static void test_metrics_of_a_day_agree(void **state)
{
    (void)state;
    static s_history_t histories[S_BATTERIES];
    uint32_t seen[BB_FLEET_STATE_COUNT] = {0};
    bb_fleet_t *fleet = s_fleet(S_BATTERIES, 42);
    for (uint32_t i = 0; i < S_BATTERIES * S_TICKS; i++) {
        bb_fleet_frame_t frame;
        bb_fleet_next(fleet, &frame);
        assert_int_equal(frame.battery_index, i % S_BATTERIES);
        assert_in_range(frame.scaled[BB_FLEET_STATE], 0, BB_FLEET_STATE_COUNT - 1);
        seen[frame.scaled[BB_FLEET_STATE]]++;
        s_check_frame(&frame);
        s_check_history(&histories[frame.battery_index], &frame);
    }
    bb_fleet_destroy(&fleet);
    assert_true(seen[BB_FLEET_IDLE] && seen[BB_FLEET_CHARGING] && seen[BB_FLEET_DISCHARGING]);
    for (uint32_t i = 0; i < S_BATTERIES; i++) {
        assert_true(histories[i].transition_count > 0);
    }
}

static void test_illegal_transitions(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < BB_FLEET_STATE_COUNT; i++) {
        assert_true(bb_fleet_is_legal(i, i));
    }
    assert_false(bb_fleet_is_legal(BB_FLEET_FAULT, BB_FLEET_CHARGING));
    assert_false(bb_fleet_is_legal(BB_FLEET_FAULT, BB_FLEET_DISCHARGING));
    assert_false(bb_fleet_is_legal(BB_FLEET_MAINTENANCE, BB_FLEET_CHARGING));
    assert_false(bb_fleet_is_legal(BB_FLEET_CHARGING, BB_FLEET_MAINTENANCE));
}

static void test_names_and_numbers(void **state)
{
    (void)state;
    char id[BB_FLEET_BATTERY_ID_BYTES];
    bb_fleet_battery_id(17, id);
    assert_string_equal(id, "bat-000017");
    assert_string_equal(bb_fleet_state_name(BB_FLEET_CHARGING), "Charging");
    assert_true(BB_FLEET_METRIC_COUNT >= 12);
    assert_string_equal(bb_fleet_metric_info(BB_FLEET_POWER)->name, "power_kw");
    assert_int_equal(bb_fleet_metric_info(BB_FLEET_ALARM)->type, BB_TYPE_BOOL);
    // The double is the one that its decimal text reads as.
    assert_true(bb_fleet_number(BB_FLEET_POWER, -12345) == strtod("-12.345", NULL));
    assert_true(bb_fleet_number(BB_FLEET_VOLTAGE, 4127) == strtod("412.7", NULL));
    assert_true(bb_fleet_number(BB_FLEET_FREQUENCY, 49987) == strtod("49.987", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_frames),
        cmocka_unit_test(test_a_battery_does_not_depend_on_the_size_of_the_fleet),
        cmocka_unit_test(test_metrics_of_a_day_agree),
        cmocka_unit_test(test_illegal_transitions),
        cmocka_unit_test(test_names_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

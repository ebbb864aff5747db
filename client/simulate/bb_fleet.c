// SPDX-License-Identifier: Apache-2.0
#include "client/simulate/bb_fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uint64_t random;
    // traits
    double capacity_kwh, power_max_kw, cell_count, resistance_ohm, ambient_c, imbalance_v;
    // state
    bb_fleet_state_t state;
    int64_t hold_ms; // until the state may change
    double target_kw, power_kw, charge_pct, temperature_c, health_pct;
    int64_t charged_mj, discharged_mj; // energy counters in millijoules (W x ms)
    int64_t phase_ms;
} s_battery_t;

struct bb_fleet {
    bb_fleet_options_t options;
    s_battery_t *batteries;
    uint32_t battery_next;
    int64_t tick;
    uint64_t grid_random;
    double grid_hz;
};

static const bb_fleet_metric_info_t s_metrics[] = {
#define S_INFO(identifier, name, type, decimals) {name, type, decimals},
    BB_FLEET_METRIC_LIST(S_INFO)
#undef S_INFO
};
static_assert(BB_COUNT_OF(s_metrics) == BB_FLEET_METRIC_COUNT, "one entry a metric");

static const char *const s_states[] = {"Idle", "Charging", "Discharging", "Fault", "Maintenance"};

// Rows: from; columns: to. A fault is left through maintenance or a reset to idle.
static const bool s_legal[BB_FLEET_STATE_COUNT][BB_FLEET_STATE_COUNT] = {
    [BB_FLEET_IDLE] = {true, true, true, true, true},
    [BB_FLEET_CHARGING] = {true, true, true, true, false},
    [BB_FLEET_DISCHARGING] = {true, true, true, true, false},
    [BB_FLEET_FAULT] = {true, false, false, true, true},
    [BB_FLEET_MAINTENANCE] = {true, false, false, false, true},
};

static const double s_powers[] = {1, 10, 100, 1000};

const bb_fleet_metric_info_t *bb_fleet_metric_info(bb_fleet_metric_t metric)
{
    BB_ASSERT(metric < BB_FLEET_METRIC_COUNT);
    return &s_metrics[metric];
}

const char *bb_fleet_state_name(bb_fleet_state_t state)
{
    BB_ASSERT(state < BB_FLEET_STATE_COUNT);
    return s_states[state];
}

bool bb_fleet_is_legal(bb_fleet_state_t from, bb_fleet_state_t to)
{
    return s_legal[from][to];
}

double bb_fleet_number(bb_fleet_metric_t metric, int64_t scaled)
{
    return (double)scaled / s_powers[s_metrics[metric].decimals];
}

void bb_fleet_battery_id(uint32_t battery_index, char out[BB_FLEET_BATTERY_ID_BYTES])
{
    snprintf(out, BB_FLEET_BATTERY_ID_BYTES, "bat-%06u", battery_index);
}

// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
static uint64_t s_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t s_random(uint64_t *state)
{
    return s_mix(*state += UINT64_C(0x9E3779B97F4A7C15));
}

static double s_uniform(uint64_t *state) // [0, 1)
{
    return (double)(s_random(state) >> 11) / 9007199254740992.0;
}

// Bell-shaped noise of unit variance: the sum of four uniforms.
static double s_noise(uint64_t *state)
{
    double sum = -2.0;
    for (int i = 0; i < 4; i++) {
        sum += s_uniform(state);
    }
    return sum * 1.7320508075688772;
}

static int64_t s_round(double value)
{
    return (int64_t)(value < 0 ? value - 0.5 : value + 0.5);
}

static void s_battery_init(s_battery_t *self, const bb_fleet_options_t *options, uint32_t index)
{
    static const double capacities_kwh[] = {100, 200, 500, 1000};
    uint64_t *random = &self->random;
    *random = s_mix(options->seed ^ s_mix(UINT64_C(0xBA77E7) + index));
    self->capacity_kwh = capacities_kwh[s_random(random) % 4];
    self->power_max_kw = self->capacity_kwh * (0.25 + 0.25 * s_uniform(random));
    self->cell_count = 192 + 48 * (double)(s_random(random) % 3);
    self->resistance_ohm = 0.02 + 0.02 * s_uniform(random);
    self->ambient_c = 18 + 8 * s_uniform(random);
    self->imbalance_v = 0.004 + 0.02 * s_uniform(random);
    self->charge_pct = 15 + 70 * s_uniform(random);
    self->temperature_c = self->ambient_c + 3 * s_uniform(random);
    self->health_pct = 88 + 12 * s_uniform(random);
    self->charged_mj = s_round(self->capacity_kwh * (50 + 700 * s_uniform(random))) * 3600000000;
    self->discharged_mj = self->charged_mj / 100 * 93;
    self->state = BB_FLEET_IDLE;
    self->hold_ms = (int64_t)(s_uniform(random) * 600e3);
    uint64_t interval_ms = (uint64_t)(options->interval_ns / BB_NS_PER_MS);
    self->phase_ms = (int64_t)(s_random(random) % interval_ms);
}

bb_fleet_t *bb_fleet_new(const bb_fleet_options_t *options)
{
    BB_ASSERT(options->battery_count > 0);
    BB_ASSERT(options->interval_ns >= BB_NS_PER_MS);
    BB_ASSERT(options->interval_ns % BB_NS_PER_MS == 0);
    bb_fleet_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->batteries = bb_alloc_zero(options->battery_count, sizeof *self->batteries);
    for (uint32_t i = 0; i < options->battery_count; i++) {
        s_battery_init(&self->batteries[i], options, i);
    }
    self->grid_random = s_mix(options->seed + 50);
    self->grid_hz = 50;
    return self;
}

void bb_fleet_destroy(bb_fleet_t **self)
{
    if (*self) {
        free((*self)->batteries);
        free(*self);
        *self = NULL;
    }
}

static bb_fleet_state_t s_state_wanted(s_battery_t *self)
{
    double chance = s_uniform(&self->random);
    if (self->state == BB_FLEET_FAULT) {
        return chance < 0.7 ? BB_FLEET_MAINTENANCE : BB_FLEET_IDLE;
    }
    if (self->state == BB_FLEET_MAINTENANCE) {
        return BB_FLEET_IDLE;
    }
    if (chance < 0.01) {
        return BB_FLEET_FAULT;
    }
    if (chance < 0.02 && self->state == BB_FLEET_IDLE) {
        return BB_FLEET_MAINTENANCE;
    }
    if (chance < 0.25) {
        return BB_FLEET_IDLE;
    }
    if (self->charge_pct < 30) {
        return BB_FLEET_CHARGING;
    }
    if (self->charge_pct > 75) {
        return BB_FLEET_DISCHARGING;
    }
    return chance < 0.62 ? BB_FLEET_CHARGING : BB_FLEET_DISCHARGING;
}

static void s_state_step(s_battery_t *self, double step_ms)
{
    uint64_t *random = &self->random;
    self->hold_ms -= (int64_t)step_ms;
    bool is_full = self->state == BB_FLEET_CHARGING && self->charge_pct >= 97;
    bool is_empty = self->state == BB_FLEET_DISCHARGING && self->charge_pct <= 6;
    bool is_active = self->state == BB_FLEET_CHARGING || self->state == BB_FLEET_DISCHARGING;
    if (self->hold_ms > 0 && !is_full && !is_empty) {
        if (is_active && s_uniform(random) < step_ms / 600e3) { // dispatch changes its set point
            double sign = self->state == BB_FLEET_CHARGING ? 1 : -1;
            self->target_kw = sign * self->power_max_kw * (0.3 + 0.7 * s_uniform(random));
        }
        return;
    }
    bb_fleet_state_t next = is_full || is_empty ? BB_FLEET_IDLE : s_state_wanted(self);
    BB_ASSERT(bb_fleet_is_legal(self->state, next));
    self->state = next;
    bool is_short = next == BB_FLEET_FAULT || next == BB_FLEET_MAINTENANCE;
    self->hold_ms = (int64_t)(is_short ? 300e3 + 900e3 * s_uniform(random)
                                       : 900e3 + 7200e3 * s_uniform(random));
    double part = 0.3 + 0.7 * s_uniform(random);
    self->target_kw = next == BB_FLEET_CHARGING      ? self->power_max_kw * part
                      : next == BB_FLEET_DISCHARGING ? -self->power_max_kw * part
                                                     : 0;
}

// The power that the inverter reaches: ramps to the target, tapers near full and empty.
static void s_power_step(s_battery_t *self, double step_ms)
{
    double taper = 1;
    if (self->target_kw > 0 && self->charge_pct > 90) {
        taper = (98 - self->charge_pct) / 8;
    } else if (self->target_kw < 0 && self->charge_pct < 12) {
        taper = (self->charge_pct - 5) / 7;
    }
    double goal = self->target_kw * BB_MAX(taper, 0.02);
    double gain = BB_MIN(step_ms / 5000, 1.0);
    self->power_kw += (goal - self->power_kw) * gain;
    if (self->target_kw == 0) {
        self->power_kw = 0; // contactors open
    }
}

// Fills the electrical metrics; power follows from the rounded voltage and current.
static void s_electric(s_battery_t *self, bb_fleet_frame_t *frame)
{
    uint64_t *random = &self->random;
    double x = self->charge_pct / 100;
    double x2 = x * x;
    double cell_v = 3.0 + 0.85 * x + 0.25 * x2 * x2 * x2;
    double pack_v = cell_v * self->cell_count;
    double current_a = self->power_kw * 1000 / pack_v;
    pack_v += current_a * self->resistance_ohm;
    int64_t voltage_dv = s_round(10 * (pack_v + 0.05 * s_noise(random)));
    int64_t current_da = 0;
    if (self->power_kw != 0) { // the sign of the current is that of the state
        current_da = s_round(10 * (current_a + 0.1 * s_noise(random)));
        current_da = self->power_kw > 0 ? BB_MAX(current_da, 1) : BB_MIN(current_da, -1);
    }
    int64_t *scaled = frame->scaled;
    scaled[BB_FLEET_VOLTAGE] = voltage_dv;
    scaled[BB_FLEET_CURRENT] = current_da;
    // dV x dA = 10 mW; rounded half away from zero to W.
    int64_t product = voltage_dv * current_da;
    scaled[BB_FLEET_POWER] = (product + (product < 0 ? -50 : 50)) / 100;
    double load = fabs(self->power_kw) / self->power_max_kw;
    double spread_v = self->imbalance_v * (1 + 0.3 * load);
    double mean_v = pack_v / self->cell_count;
    int64_t mean_mv = s_round(1000 * mean_v);
    int64_t low_mv = s_round(1000 * (mean_v - spread_v * 0.6 + 0.0006 * s_noise(random)));
    int64_t high_mv = s_round(1000 * (mean_v + spread_v * 0.4 + 0.0006 * s_noise(random)));
    scaled[BB_FLEET_CELL_MEAN] = mean_mv;
    scaled[BB_FLEET_CELL_MIN] = BB_MIN(low_mv, mean_mv);
    scaled[BB_FLEET_CELL_MAX] = BB_MAX(high_mv, mean_mv);
}

static void s_counters_step(s_battery_t *self, int64_t power_w, int64_t step_ms)
{
    int64_t energy_mj = power_w * step_ms;
    double part_pct = 100 * (double)energy_mj / 3.6e9 / self->capacity_kwh;
    if (energy_mj > 0) {
        self->charged_mj += energy_mj;
        self->charge_pct += part_pct * 0.97;
    } else {
        self->discharged_mj -= energy_mj;
        self->charge_pct += part_pct / 0.97;
    }
    self->charge_pct = BB_MAX(0.0, BB_MIN(100.0, self->charge_pct));
    double load = fabs(self->power_kw) / self->power_max_kw;
    double hours = (double)step_ms / 3.6e6;
    self->temperature_c += (self->ambient_c - self->temperature_c) * BB_MIN(hours, 1.0) +
                           load * hours * 3.6 + 0.01 * s_noise(&self->random);
    self->temperature_c = BB_MAX(-20.0, BB_MIN(60.0, self->temperature_c));
    self->health_pct -= fabs(part_pct) * 1e-5;
}

static void s_frame(bb_fleet_t *fleet, s_battery_t *self, bb_fleet_frame_t *frame)
{
    int64_t step_ms = fleet->options.interval_ns / BB_NS_PER_MS;
    int64_t *scaled = frame->scaled;
    s_state_step(self, (double)step_ms);
    s_power_step(self, (double)step_ms);
    s_electric(self, frame);
    scaled[BB_FLEET_STATE] = self->state;
    scaled[BB_FLEET_STATE_OF_CHARGE] = s_round(self->charge_pct * 10);
    scaled[BB_FLEET_TEMPERATURE] =
        s_round(10 * (self->temperature_c + 0.03 * s_noise(&self->random)));
    scaled[BB_FLEET_STATE_OF_HEALTH] = s_round(self->health_pct * 100);
    scaled[BB_FLEET_ENERGY_CHARGED] = self->charged_mj / 3600000; // Wh
    scaled[BB_FLEET_ENERGY_DISCHARGED] = self->discharged_mj / 3600000;
    scaled[BB_FLEET_RESISTANCE] =
        s_round(100000 * self->resistance_ohm * (2 - self->health_pct / 100));
    scaled[BB_FLEET_FREQUENCY] = s_round(1000 * (fleet->grid_hz + 0.0008 * s_noise(&self->random)));
    scaled[BB_FLEET_CYCLES] = self->discharged_mj / 3600000 / (int64_t)(self->capacity_kwh * 1000);
    scaled[BB_FLEET_ALARM] = self->state == BB_FLEET_FAULT || scaled[BB_FLEET_TEMPERATURE] > 480;
    s_counters_step(self, scaled[BB_FLEET_POWER], step_ms);
}

void bb_fleet_next(bb_fleet_t *self, bb_fleet_frame_t *frame)
{
    if (self->battery_next == 0) {
        self->grid_hz += (50 - self->grid_hz) * 0.05 + 0.006 * s_noise(&self->grid_random);
    }
    s_battery_t *battery = &self->batteries[self->battery_next];
    frame->battery_index = self->battery_next;
    frame->time_wall_ns = self->options.start_wall_ns + self->tick * self->options.interval_ns +
                          battery->phase_ms * BB_NS_PER_MS;
    s_frame(self, battery, frame);
    if (++self->battery_next == self->options.battery_count) {
        self->battery_next = 0;
        self->tick++;
    }
}

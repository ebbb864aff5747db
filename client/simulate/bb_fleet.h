// SPDX-License-Identifier: Apache-2.0
// bb_fleet - deterministic telemetry of a fleet of batteries.
//
// Pure: the same options give the same frames on every machine (integers, + - * / and sqrt only;
// compiled without contraction). One random stream per battery, so a battery's data do not depend
// on the size of the fleet. One thread.
//
// Frames come in time order of ticks: all batteries of tick 0, then tick 1... Each battery reports
// at its own phase within the interval. The metrics of a frame agree with each other:
//   power_kw = voltage_v x current_a / 1000 (within half a unit of its last digit; > 0 charges)
//   energy_charged_kwh and energy_discharged_kwh integrate power_kw over the time to the next frame
//   cell_voltage_min_v <= cell_voltage_mean_v <= cell_voltage_max_v;  0 <= state of charge <= 100
//   the state moves along legal transitions only (bb_fleet_is_legal); only Charging has power > 0,
//   only Discharging has power < 0
#ifndef BB_FLEET_H
#define BB_FLEET_H

#include "protocol/bb_base.h"
#include "protocol/bb_value.h"

#define BB_FLEET_BATTERY_ID_BYTES 16

typedef enum {
    BB_FLEET_IDLE,
    BB_FLEET_CHARGING,
    BB_FLEET_DISCHARGING,
    BB_FLEET_FAULT,
    BB_FLEET_MAINTENANCE,
    BB_FLEET_STATE_COUNT
} bb_fleet_state_t;

// X(identifier, name, type, decimals)
#define BB_FLEET_METRIC_LIST(X)                                                                    \
    X(STATE, "state", BB_TYPE_STATE, 0)                                                            \
    X(STATE_OF_CHARGE, "state_of_charge_pct", BB_TYPE_FLOAT64, 1)                                  \
    X(VOLTAGE, "voltage_v", BB_TYPE_FLOAT64, 1)                                                    \
    X(CURRENT, "current_a", BB_TYPE_FLOAT64, 1)                                                    \
    X(POWER, "power_kw", BB_TYPE_FLOAT64, 3)                                                       \
    X(TEMPERATURE, "temperature_c", BB_TYPE_FLOAT64, 1)                                            \
    X(CELL_MIN, "cell_voltage_min_v", BB_TYPE_FLOAT64, 3)                                          \
    X(CELL_MEAN, "cell_voltage_mean_v", BB_TYPE_FLOAT64, 3)                                        \
    X(CELL_MAX, "cell_voltage_max_v", BB_TYPE_FLOAT64, 3)                                          \
    X(STATE_OF_HEALTH, "state_of_health_pct", BB_TYPE_FLOAT64, 2)                                  \
    X(ENERGY_CHARGED, "energy_charged_kwh", BB_TYPE_FLOAT64, 3)                                    \
    X(ENERGY_DISCHARGED, "energy_discharged_kwh", BB_TYPE_FLOAT64, 3)                              \
    X(RESISTANCE, "internal_resistance_mohm", BB_TYPE_FLOAT64, 2)                                  \
    X(FREQUENCY, "grid_frequency_hz", BB_TYPE_FLOAT64, 3)                                          \
    X(CYCLES, "cycles", BB_TYPE_INT64, 0)                                                          \
    X(ALARM, "alarm", BB_TYPE_BOOL, 0)

typedef enum {
#define BB_FLEET_METRIC_ENUM(identifier, name, type, decimals) BB_FLEET_##identifier,
    BB_FLEET_METRIC_LIST(BB_FLEET_METRIC_ENUM)
#undef BB_FLEET_METRIC_ENUM
        BB_FLEET_METRIC_COUNT
} bb_fleet_metric_t;

typedef struct {
    const char *name;
    bb_type_t type;
    uint32_t decimals; // FLOAT64: the value is scaled[] / 10^decimals
} bb_fleet_metric_info_t;

const bb_fleet_metric_info_t *bb_fleet_metric_info(bb_fleet_metric_t metric);
const char *bb_fleet_state_name(bb_fleet_state_t state);            // "Charging"
bool bb_fleet_is_legal(bb_fleet_state_t from, bb_fleet_state_t to); // staying is legal

typedef struct {
    uint32_t battery_count;
    int64_t interval_ns; // >= 1 ms, whole ms
    int64_t start_wall_ns;
    uint64_t seed;
} bb_fleet_options_t;

typedef struct {
    uint32_t battery_index;
    int64_t time_wall_ns;
    int64_t scaled[BB_FLEET_METRIC_COUNT]; // integers; STATE: bb_fleet_state_t; ALARM: 0 or 1
} bb_fleet_frame_t;

typedef struct bb_fleet bb_fleet_t;

bb_fleet_t *bb_fleet_new(const bb_fleet_options_t *options);
void bb_fleet_destroy(bb_fleet_t **self);
void bb_fleet_next(bb_fleet_t *self, bb_fleet_frame_t *frame); // without end
void bb_fleet_battery_id(uint32_t battery_index, char out[BB_FLEET_BATTERY_ID_BYTES]);
// The double that a scaled value stands for: correctly rounded scaled / 10^decimals.
double bb_fleet_number(bb_fleet_metric_t metric, int64_t scaled);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_totals.h"

#include <math.h>
#include <string.h>

static double s_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Not a number counts for extremes only where there is nothing else.
static bool s_is_number(bb_type_t type, uint64_t bits)
{
    return type != BB_TYPE_FLOAT64 || !isnan(s_double(bits));
}

static bool s_is_less(bb_type_t type, uint64_t a, uint64_t b)
{
    return type == BB_TYPE_FLOAT64 ? s_double(a) < s_double(b) : (int64_t)a < (int64_t)b;
}

// Both signs of zero are one number; all NaN are one.
static bool s_is_same(bb_type_t type, uint64_t a, uint64_t b)
{
    return a == b || (type == BB_TYPE_FLOAT64 && !s_is_less(type, a, b) && !s_is_less(type, b, a) &&
                      s_is_number(type, a) == s_is_number(type, b));
}

static void s_take_extremes(sim_total_t *total, bb_type_t type, uint64_t min, uint64_t max)
{
    bool is_number = s_is_number(type, min);
    if (total->count == 0 || (is_number && total->number_count == 0)) {
        total->min = min;
        total->max = max;
    } else if (is_number) {
        total->min = s_is_less(type, min, total->min) ? min : total->min;
        total->max = s_is_less(type, total->max, max) ? max : total->max;
    }
    total->number_count += is_number;
}

void sim_totals_add(sim_totals_t *self, uint32_t battery, uint32_t metric, bb_type_t type,
                    uint64_t bits)
{
    sim_total_t *total = &self->series[battery][metric][type];
    if (type != BB_TYPE_STATE) { // texts have an order, and no number
        s_take_extremes(total, type, bits, bits);
        bb_sum_add_value(&total->sum, type, bits);
    }
    total->count++;
}

void sim_totals_add_bucket(sim_totals_t *self, uint32_t battery, uint32_t metric, bb_type_t type,
                           const bb_bucket_t *bucket)
{
    sim_total_t *total = &self->series[battery][metric][type];
    if (type != BB_TYPE_STATE) {
        s_take_extremes(total, type, bucket->min, bucket->max);
        bb_sum_merge(&total->sum, &bucket->sum);
    }
    total->count += bucket->count;
}

static const char *s_difference(const sim_total_t *a, const sim_total_t *b, bb_type_t type)
{
    if (a->count != b->count) {
        return "count";
    }
    if (a->count == 0 || type == BB_TYPE_STATE) {
        return NULL;
    }
    if (!bb_sum_is_equal(&a->sum, &b->sum)) {
        return "sum";
    }
    if (!s_is_same(type, a->min, b->min)) {
        return "minimum";
    }
    return s_is_same(type, a->max, b->max) ? NULL : "maximum";
}

const char *sim_totals_difference(const sim_totals_t *a, const sim_totals_t *b, uint32_t *battery,
                                  uint32_t *metric)
{
    for (uint32_t i = 0; i < SIM_BATTERIES_MAX; i++) {
        for (uint32_t m = 0; m < SIM_METRICS; m++) {
            for (uint32_t type = 0; type <= BB_TYPE_LAST; type++) {
                const char *what =
                    s_difference(&a->series[i][m][type], &b->series[i][m][type], (bb_type_t)type);
                if (what) {
                    *battery = i;
                    *metric = m;
                    return what;
                }
            }
        }
    }
    return NULL;
}

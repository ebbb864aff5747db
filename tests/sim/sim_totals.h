// SPDX-License-Identifier: Apache-2.0
// sim_totals - counts, sums, minima and maxima of series, added up from single points.
//
// Pure. What an aggregate must say of a partition, by a way that knows no blocks, no statistics and
// no buckets. Sums are exact (protocol/bb_sum.h); extremes are compared here again.
#ifndef SIM_TOTALS_H
#define SIM_TOTALS_H

#include "protocol/bb_query.h"
#include "protocol/bb_value.h"
#include "tests/sim/sim_options.h"

typedef struct {
    uint64_t count, number_count; // number_count: those that are not NaN
    uint64_t min, max;            // bits; of all if there is no number
    bb_sum_t sum;
} sim_total_t;

typedef struct {
    sim_total_t series[SIM_BATTERIES_MAX][SIM_METRICS][BB_TYPE_LAST + 1];
} sim_totals_t;

void sim_totals_add(sim_totals_t *self, uint32_t battery, uint32_t metric, bb_type_t type,
                    uint64_t bits);
// One bucket of an aggregate.
void sim_totals_add_bucket(sim_totals_t *self, uint32_t battery, uint32_t metric, bb_type_t type,
                           const bb_bucket_t *bucket);
// NULL, or what differs first, in words.
const char *sim_totals_difference(const sim_totals_t *a, const sim_totals_t *b, uint32_t *battery,
                                  uint32_t *metric);

#endif

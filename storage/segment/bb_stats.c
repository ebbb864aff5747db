// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_stats.h"

#include "storage/encoding/bb_encoding.h"

static bool s_is_nan(bb_type_t type, uint64_t bits)
{
    return type == BB_TYPE_FLOAT64 && (bits & ~(UINT64_C(1) << 63)) > UINT64_C(0x7ff0000000000000);
}

static int s_compare(bb_type_t type, uint64_t a, uint64_t b)
{
    return bb_value_compare(0, (bb_value_t){type, a}, 0, (bb_value_t){type, b});
}

// Signed integers in the order of the type's keys; not of STATE, nor of NaNs.
static int64_t s_ordered(bb_type_t type, uint64_t bits)
{
    uint64_t flips = type == BB_TYPE_FLOAT64 ? (UINT64_C(0) - (bits >> 63)) >> 1 : 0;
    return (int64_t)(bits ^ flips);
}

// Is a before b? A number is before any NaN, whichever extreme is looked for.
static bool s_precedes(bb_type_t type, uint64_t a, uint64_t b, bool is_minimum)
{
    bool nan_a = s_is_nan(type, a);
    bool nan_b = s_is_nan(type, b);
    if (nan_a != nan_b) {
        return nan_b;
    }
    if (nan_a || type == BB_TYPE_STATE) {
        return is_minimum ? s_compare(type, a, b) < 0 : s_compare(type, a, b) > 0;
    }
    int64_t left = s_ordered(type, a);
    int64_t right = s_ordered(type, b);
    return is_minimum ? left < right : left > right;
}

uint64_t bb_stats_min(bb_type_t type, uint64_t a, uint64_t b)
{
    return s_precedes(type, b, a, true) ? b : a;
}

uint64_t bb_stats_max(bb_type_t type, uint64_t a, uint64_t b)
{
    return s_precedes(type, b, a, false) ? b : a;
}

void bb_stats_add(bb_block_stats_t *self, bb_type_t type, int64_t time_wall_ns, uint64_t bits)
{
    bb_block_stats_t point = {
        .count = 1,
        .min = bits,
        .max = bits,
        .first_wall_ns = time_wall_ns,
        .last_wall_ns = time_wall_ns,
        .first = bits,
        .last = bits,
    };
    bb_sum_add_value(&point.sum, type, bits);
    bb_stats_merge(self, type, &point);
}

void bb_stats_merge(bb_block_stats_t *self, bb_type_t type, const bb_block_stats_t *other)
{
    if (other->count == 0) {
        return;
    }
    if (self->count == 0) {
        *self = *other;
        return;
    }
    self->count += other->count;
    bb_sum_merge(&self->sum, &other->sum);
    self->min = bb_stats_min(type, self->min, other->min);
    self->max = bb_stats_max(type, self->max, other->max);
    if (other->first_wall_ns < self->first_wall_ns ||
        (other->first_wall_ns == self->first_wall_ns &&
         s_compare(type, other->first, self->first) > 0)) {
        self->first_wall_ns = other->first_wall_ns;
        self->first = other->first;
    }
    if (other->last_wall_ns > self->last_wall_ns ||
        (other->last_wall_ns == self->last_wall_ns &&
         s_compare(type, other->last, self->last) > 0)) {
        self->last_wall_ns = other->last_wall_ns;
        self->last = other->last;
    }
}

// ---- many rows at once -----------------------------------------------------------------------

static bool s_is_present(const uint64_t *presence, uint32_t row)
{
    return !presence || (presence[row / 64] >> (row % 64) & 1);
}

void bb_stats_add_rows(bb_block_stats_t *self, bb_type_t type, const int64_t *times_wall_ns,
                       const uint64_t *values, const uint64_t *presence, uint32_t row_count)
{
    if (row_count == 0) {
        return;
    }
    bb_block_stats_t stats = {0};
    if (!presence && type != BB_TYPE_STATE) {
        bb_encoding_totals_t totals;
        bb_encoding_totals_of(type, values, row_count, &totals);
        stats = (bb_block_stats_t){
            .count = row_count,
            .sum = totals.sum,
            .min = totals.min,
            .max = totals.max,
            .first_wall_ns = times_wall_ns[0],
            .last_wall_ns = times_wall_ns[row_count - 1],
            .first = totals.first,
            .last = totals.last,
        };
    } else {
        for (uint32_t row = 0; row < row_count; row++) {
            if (s_is_present(presence, row)) {
                bb_stats_add(&stats, type, times_wall_ns[row], values[row]);
            }
        }
    }
    bb_stats_merge(self, type, &stats);
}

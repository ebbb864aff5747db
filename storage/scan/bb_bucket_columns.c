// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_bucket_columns.h"

#include <stdlib.h>
#include <string.h>

void bb_bucket_columns_free(bb_bucket_columns_t *self)
{
    free(self->starts_wall_ns);
    free(self->counts);
    free(self->sums);
    free(self->mins);
    free(self->maxs);
    *self = (bb_bucket_columns_t){0};
}

void bb_bucket_columns_clear(bb_bucket_columns_t *self, bool has_extremes)
{
    if (has_extremes && !self->has_extremes && self->capacity > 0) {
        bb_bucket_columns_free(self); // without room for them
    }
    self->count = 0;
    self->has_extremes = has_extremes;
}

static void s_reserve(bb_bucket_columns_t *self, size_t count)
{
    if (count <= self->capacity) {
        return;
    }
    self->capacity = BB_MAX(count, self->capacity * 2);
    self->starts_wall_ns =
        bb_realloc(self->starts_wall_ns, self->capacity * sizeof *self->starts_wall_ns);
    self->counts = bb_realloc(self->counts, self->capacity * sizeof *self->counts);
    self->sums = bb_realloc(self->sums, self->capacity * sizeof *self->sums);
    if (self->has_extremes) {
        self->mins = bb_realloc(self->mins, self->capacity * sizeof *self->mins);
        self->maxs = bb_realloc(self->maxs, self->capacity * sizeof *self->maxs);
    }
}

static bool s_is_large(__int128 sum)
{
    return sum >= BB_BUCKET_COLUMNS_SUM_LIMIT || sum <= -BB_BUCKET_COLUMNS_SUM_LIMIT;
}

// Numbers in their order; there are no NaNs among them.
static int64_t s_ordered(bb_type_t type, uint64_t bits)
{
    bool is_negative_double = type == BB_TYPE_FLOAT64 && bits >> 63 != 0;
    return (int64_t)(is_negative_double ? bits ^ UINT64_C(0x7fffffffffffffff) : bits);
}

static void s_add_extremes(bb_bucket_columns_t *self, bb_type_t type, size_t at, uint64_t min,
                           uint64_t max)
{
    if (s_ordered(type, min) < s_ordered(type, self->mins[at])) {
        self->mins[at] = min;
    }
    if (s_ordered(type, max) > s_ordered(type, self->maxs[at])) {
        self->maxs[at] = max;
    }
}

static void s_put(bb_bucket_columns_t *self, bb_type_t type, int64_t start_wall_ns, uint64_t count,
                  __int128 sum, const uint64_t extremes[2])
{
    size_t at = self->count - 1;
    if (self->count > 0 && self->starts_wall_ns[at] == start_wall_ns) {
        self->counts[at] += count;
        self->sums[at] += sum;
        if (self->has_extremes) {
            s_add_extremes(self, type, at, extremes[0], extremes[1]);
        }
        return;
    }
    BB_ASSERT(self->count == 0 || self->starts_wall_ns[at] < start_wall_ns);
    s_reserve(self, self->count + 1);
    at = self->count++;
    self->starts_wall_ns[at] = start_wall_ns;
    self->counts[at] = count;
    self->sums[at] = sum;
    if (self->has_extremes) {
        self->mins[at] = extremes[0];
        self->maxs[at] = extremes[1];
    }
}

// The sum with another one would be too large.
static bool s_passes(const bb_bucket_columns_t *self, int64_t start_wall_ns, __int128 sum)
{
    size_t last = self->count - 1;
    return s_is_large(sum) || (self->count > 0 && self->starts_wall_ns[last] == start_wall_ns &&
                               s_is_large(self->sums[last] + sum));
}

bool bb_bucket_columns_add(bb_bucket_columns_t *self, bb_type_t type, int64_t start_wall_ns,
                           const bb_block_stats_t *stats)
{
    BB_ASSERT(type != BB_TYPE_STATE);
    const uint64_t *limbs = stats->sum.decimals;
    uint64_t sign = UINT64_C(0) - (limbs[1] >> 63);
    if (stats->sum.flags != 0 || limbs[2] != sign) {
        return false;
    }
    __int128 sum = (__int128)((unsigned __int128)limbs[1] << 64 | limbs[0]);
    if (s_passes(self, start_wall_ns, sum)) {
        return false;
    }
    s_put(self, type, start_wall_ns, stats->count, sum, (uint64_t[2]){stats->min, stats->max});
    return true;
}

bool bb_bucket_columns_add_ranges(bb_bucket_columns_t *self, bb_type_t type,
                                  const int64_t *starts_wall_ns, const bb_encoding_ranges_t *ranges,
                                  uint32_t count)
{
    BB_ASSERT(count >= 1 && ranges->exponent <= BB_SUM_EXPONENT_MAX);
    const __int128 factor = (__int128)bb_sum_factors[ranges->exponent];
    const bb_encoding_range_t *range = ranges->ranges;
    // 64 bits times 34: only that of the first range can meet another sum.
    if (s_passes(self, starts_wall_ns[0], range->sum * factor)) {
        return false;
    }
    s_put(self, type, starts_wall_ns[0], range->count, range->sum * factor,
          (uint64_t[2]){range->min, range->max});
    BB_ASSERT(count == 1 || self->starts_wall_ns[self->count - 1] < starts_wall_ns[1]);
    size_t at = self->count;
    s_reserve(self, at + count - 1);
    self->count += count - 1;
    memcpy(self->starts_wall_ns + at, starts_wall_ns + 1, (count - 1) * sizeof *starts_wall_ns);
    uint64_t *counts = self->counts + at - 1;
    __int128 *sums = self->sums + at - 1;
    for (uint32_t i = 1; i < count; i++) {
        counts[i] = range[i].count;
        sums[i] = range[i].sum * factor;
    }
    for (uint32_t i = 1; self->has_extremes && i < count; i++) {
        self->mins[at - 1 + i] = range[i].min;
        self->maxs[at - 1 + i] = range[i].max;
    }
    return true;
}

// ---- merging ---------------------------------------------------------------------------------
// Do all buckets of `other` stand in self, from its first on?
static bool s_is_like(const bb_bucket_columns_t *self, const bb_bucket_columns_t *other)
{
    return other->count <= self->count && other->count > 0 &&
           memcmp(self->starts_wall_ns, other->starts_wall_ns,
                  other->count * sizeof *other->starts_wall_ns) == 0;
}

static bool s_sums_fit(const bb_bucket_columns_t *self, const bb_bucket_columns_t *other)
{
    // Sums and counts of whom were checked when they were made; here it is enough to look at the
    // largest: |a + b| is at most twice the larger one.
    bool fits = true;
    for (size_t i = 0; i < self->count; i++) {
        fits &= !s_is_large(self->sums[i] * 2);
    }
    for (size_t i = 0; i < other->count; i++) {
        fits &= !s_is_large(other->sums[i] * 2);
    }
    return fits;
}

static void s_merge_one(bb_bucket_columns_t *self, bb_type_t type, size_t at,
                        const bb_bucket_columns_t *other, size_t from)
{
    self->counts[at] += other->counts[from];
    self->sums[at] += other->sums[from];
    if (self->has_extremes) {
        s_add_extremes(self, type, at, other->mins[from], other->maxs[from]);
    }
}

static void s_move(bb_bucket_columns_t *self, size_t to, const bb_bucket_columns_t *other,
                   size_t from)
{
    self->starts_wall_ns[to] = other->starts_wall_ns[from];
    self->counts[to] = other->counts[from];
    self->sums[to] = other->sums[from];
    if (self->has_extremes) {
        self->mins[to] = other->mins[from];
        self->maxs[to] = other->maxs[from];
    }
}

// Puts those in that self lacks, from the back.
static void s_insert(bb_bucket_columns_t *self, const bb_bucket_columns_t *other, size_t fresh)
{
    size_t left = self->count;
    size_t to = left + fresh;
    s_reserve(self, to);
    self->count = to;
    for (size_t j = other->count; fresh > 0; j--) {
        int64_t start = other->starts_wall_ns[j - 1];
        while (left > 0 && self->starts_wall_ns[left - 1] > start) {
            s_move(self, --to, self, --left);
        }
        if (left > 0 && self->starts_wall_ns[left - 1] == start) {
            continue; // merged already
        }
        s_move(self, --to, other, j - 1);
        fresh--;
    }
}

bool bb_bucket_columns_merge(bb_bucket_columns_t *self, bb_type_t type,
                             const bb_bucket_columns_t *other)
{
    BB_ASSERT(!self->has_extremes || other->has_extremes);
    if (!s_sums_fit(self, other)) {
        return false;
    }
    if (s_is_like(self, other)) {
        for (size_t i = 0; i < other->count; i++) {
            s_merge_one(self, type, i, other, i);
        }
        return true;
    }
    size_t fresh = 0;
    size_t i = 0;
    for (size_t j = 0; j < other->count; j++) {
        while (i < self->count && self->starts_wall_ns[i] < other->starts_wall_ns[j]) {
            i++;
        }
        if (i < self->count && self->starts_wall_ns[i] == other->starts_wall_ns[j]) {
            s_merge_one(self, type, i, other, j);
        } else {
            fresh++;
        }
    }
    if (fresh > 0) {
        s_insert(self, other, fresh);
    }
    return true;
}

void bb_bucket_columns_get(const bb_bucket_columns_t *self, size_t index, bb_block_stats_t *stats)
{
    BB_ASSERT(index < self->count);
    __int128 sum = self->sums[index];
    *stats = (bb_block_stats_t){.count = self->counts[index]};
    stats->sum.decimals[0] = (uint64_t)sum;
    stats->sum.decimals[1] = (uint64_t)(sum >> 64);
    stats->sum.decimals[2] = (uint64_t)(sum >> 127);
    if (self->has_extremes) {
        stats->min = self->mins[index];
        stats->max = self->maxs[index];
    }
}

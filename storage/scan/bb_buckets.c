// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_buckets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "storage/encoding/bb_doubles.h"

void bb_buckets_free(bb_buckets_t *self)
{
    free(self->items);
    bb_bucket_columns_free(&self->columns);
    *self = (bb_buckets_t){0};
}

void bb_buckets_begin(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type)
{
    self->count = 0;
    self->is_columns = rule.has_no_ends && type != BB_TYPE_STATE;
    bb_bucket_columns_clear(&self->columns, !rule.has_no_extremes);
}

size_t bb_buckets_page_bytes(const bb_buckets_t *self)
{
    if (!self->is_columns) {
        return sizeof(bb_page_bucket_t);
    }
    return (self->columns.has_extremes ? 5 : 3) * sizeof(uint64_t);
}

static void s_reserve(bb_buckets_t *self, size_t count)
{
    if (count > self->capacity) {
        self->capacity = BB_MAX(count, self->capacity * 2);
        self->items = bb_realloc(self->items, self->capacity * sizeof *self->items);
    }
}

static int64_t s_start(bb_bucket_rule_t rule, int64_t time_wall_ns)
{
    return rule.every_ns == 0 ? rule.from_wall_ns : time_wall_ns / rule.every_ns * rule.every_ns;
}

void bb_buckets_widen(bb_buckets_t *self)
{
    if (!self->is_columns) {
        return;
    }
    s_reserve(self, self->columns.count);
    self->is_columns = false;
    self->count = self->columns.count;
    for (size_t i = 0; i < self->count; i++) {
        self->items[i].start_wall_ns = self->columns.starts_wall_ns[i];
        bb_bucket_columns_get(&self->columns, i, &self->items[i].stats);
    }
}

// The same of a time that is not before the last bucket; mostly without a division.
static int64_t s_start_after(const bb_buckets_t *self, bb_bucket_rule_t rule, int64_t time_wall_ns)
{
    size_t count = bb_buckets_count(self);
    if (count > 0 && rule.every_ns != 0) {
        int64_t last = bb_buckets_start(self, count - 1);
        int64_t distance = time_wall_ns - last;
        if (distance < rule.every_ns) {
            return last;
        }
        if (distance - rule.every_ns < rule.every_ns) {
            return last + rule.every_ns;
        }
    }
    return s_start(rule, time_wall_ns);
}

// The bucket with that start, which is the last one or a new last one.
static bb_block_stats_t *s_last(bb_buckets_t *self, int64_t start_wall_ns)
{
    if (self->count == 0 || self->items[self->count - 1].start_wall_ns != start_wall_ns) {
        BB_ASSERT(self->count == 0 || self->items[self->count - 1].start_wall_ns < start_wall_ns);
        s_reserve(self, self->count + 1);
        // Field by field: clearing so many bytes at once costs more than a short bucket's rows.
        // What is not cleared is set by whoever adds the first point.
        bb_bucket_item_t *item = &self->items[self->count++];
        item->start_wall_ns = start_wall_ns;
        item->stats.count = 0;
        item->stats.sum = (bb_sum_t){0};
    }
    return &self->items[self->count - 1].stats;
}

// ---- numbers ---------------------------------------------------------------------------------
// Signed integers in the order of IEEE totalOrder, and back.
static inline int64_t s_ordered(uint64_t bits)
{
    return (int64_t)(bits ^ (UINT64_C(0) - (bits >> 63)) >> 1);
}

static bool s_is_plain(uint64_t bits)
{
    return isfinite(bb_double_of_bits(bits));
}

// Merges statistics of numbers; the common case of bb_stats_merge without its questions.
static void s_merge_numbers(bb_block_stats_t *self, const bb_block_stats_t *other, bool has_no_ends)
{
    bool is_apart = has_no_ends || (self->first_wall_ns != other->first_wall_ns &&
                                    self->last_wall_ns != other->last_wall_ns);
    if (self->count == 0 || other->count == 0 || !is_apart || !s_is_plain(self->min) ||
        !s_is_plain(self->max) || !s_is_plain(other->min) || !s_is_plain(other->max)) {
        bb_stats_merge(self, BB_TYPE_FLOAT64, other);
        return;
    }
    self->count += other->count;
    bb_sum_merge(&self->sum, &other->sum);
    self->min = s_ordered(other->min) < s_ordered(self->min) ? other->min : self->min;
    self->max = s_ordered(other->max) > s_ordered(self->max) ? other->max : self->max;
    if (has_no_ends) {
        return;
    }
    if (other->first_wall_ns < self->first_wall_ns) {
        self->first_wall_ns = other->first_wall_ns;
        self->first = other->first;
    }
    if (other->last_wall_ns > self->last_wall_ns) {
        self->last_wall_ns = other->last_wall_ns;
        self->last = other->last;
    }
}

static void s_merge(bb_block_stats_t *self, bb_bucket_rule_t rule, bb_type_t type,
                    const bb_block_stats_t *other)
{
    if (type == BB_TYPE_FLOAT64) {
        s_merge_numbers(self, other, rule.has_no_ends);
    } else {
        bb_stats_merge(self, type, other);
    }
}

// Statistics of points in the last bucket or a later one.
static void s_add(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type, int64_t start_wall_ns,
                  const bb_block_stats_t *stats)
{
    if (self->is_columns && bb_bucket_columns_add(&self->columns, type, start_wall_ns, stats)) {
        return;
    }
    bb_buckets_widen(self);
    s_merge(s_last(self, start_wall_ns), rule, type, stats);
}

// Rows later than all that the bucket has.
static void s_add_numbers(bb_block_stats_t *self, const int64_t *times_wall_ns,
                          const uint64_t *values, uint32_t count, uint32_t exponent)
{
    uint64_t min;
    uint64_t max;
    bb_doubles_add_up(values, count, exponent, &min, &max, &self->sum);
    if (self->count == 0) {
        self->min = min;
        self->max = max;
        self->first_wall_ns = times_wall_ns[0];
        self->first = values[0];
    } else {
        self->min = bb_stats_min(BB_TYPE_FLOAT64, self->min, min);
        self->max = bb_stats_max(BB_TYPE_FLOAT64, self->max, max);
    }
    self->count += count;
    self->last_wall_ns = times_wall_ns[count - 1];
    self->last = values[count - 1];
}

// The first row that is not in the bucket. `guess`: rows that it probably has. Distances are
// compared, which cannot overflow: the bucket's end can.
static uint32_t s_bucket_limit(bb_bucket_rule_t rule, int64_t start_wall_ns,
                               const int64_t *times_wall_ns, uint32_t first, uint32_t count,
                               uint32_t guess)
{
    if (rule.every_ns == 0 || times_wall_ns[count - 1] - start_wall_ns < rule.every_ns) {
        return count;
    }
    uint32_t limit = BB_MIN(first + BB_MAX(guess, 1), count - 1);
    while (times_wall_ns[limit] - start_wall_ns < rule.every_ns) {
        limit++;
    }
    while (times_wall_ns[limit - 1] - start_wall_ns >= rule.every_ns) {
        limit--;
    }
    return limit;
}

// The rows of a few buckets that follow each other.
enum { S_RANGES_MAX = 64 };
typedef struct {
    int64_t starts_wall_ns[S_RANGES_MAX];
    uint32_t limits[S_RANGES_MAX]; // rows
    uint32_t count;
} s_ranges_t;

// Cuts the first rows into ranges, at most BB_DOUBLES_WORDS_MAX rows of them.
static void s_cut_ranges(const bb_buckets_t *self, bb_bucket_rule_t rule,
                         const int64_t *times_wall_ns, uint32_t row_count, s_ranges_t *ranges)
{
    uint32_t count = BB_MIN(row_count, BB_DOUBLES_WORDS_MAX);
    uint32_t first = 0;
    uint32_t guess = 1;
    ranges->count = 0;
    while (first < count && ranges->count < S_RANGES_MAX) {
        int64_t start = 0;
        if (ranges->count == 0) {
            start = s_start_after(self, rule, times_wall_ns[0]);
        } else {
            start = ranges->starts_wall_ns[ranges->count - 1] + rule.every_ns; // never with 0
            start = times_wall_ns[first] - start < rule.every_ns
                        ? start
                        : s_start(rule, times_wall_ns[first]);
        }
        uint32_t limit = s_bucket_limit(rule, start, times_wall_ns, first, count, guess);
        ranges->starts_wall_ns[ranges->count] = start;
        ranges->limits[ranges->count++] = limit;
        guess = limit - first;
        first = limit;
    }
}

static void s_add_part(bb_block_stats_t *self, const int64_t *times_wall_ns, const uint64_t *values,
                       uint32_t count, const bb_doubles_part_t *part, uint32_t exponent)
{
    bb_sum_add_scaled(&self->sum, part->sum, exponent);
    if (self->count == 0) {
        self->min = part->min;
        self->max = part->max;
        self->first_wall_ns = times_wall_ns[0];
        self->first = values[0];
    } else {
        self->min = bb_stats_min(BB_TYPE_FLOAT64, self->min, part->min);
        self->max = bb_stats_max(BB_TYPE_FLOAT64, self->max, part->max);
    }
    self->count += count;
    self->last_wall_ns = times_wall_ns[count - 1];
    self->last = values[count - 1];
}

void bb_buckets_add_points(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           uint32_t exponent, const int64_t *times_wall_ns, const uint64_t *values,
                           uint32_t count)
{
    while (count > 0) {
        s_ranges_t ranges;
        s_cut_ranges(self, rule, times_wall_ns, count, &ranges);
        bb_doubles_part_t parts[S_RANGES_MAX];
        uint32_t used = exponent;
        bool are_decimals = type == BB_TYPE_FLOAT64 &&
                            bb_doubles_parts(values, ranges.limits, ranges.count, &used, parts);
        uint32_t first = 0;
        for (uint32_t i = 0; i < ranges.count; i++) {
            bb_block_stats_t added = {0};
            bool is_apart = self->is_columns;
            bb_block_stats_t *stats = is_apart ? &added : s_last(self, ranges.starts_wall_ns[i]);
            uint32_t rows = ranges.limits[i] - first;
            if (are_decimals) {
                s_add_part(stats, times_wall_ns + first, values + first, rows, &parts[i], used);
            } else if (type == BB_TYPE_FLOAT64) {
                s_add_numbers(stats, times_wall_ns + first, values + first, rows, exponent);
            } else {
                bb_stats_add_rows(stats, type, times_wall_ns + first, values + first, NULL, rows);
            }
            if (is_apart) {
                s_add(self, rule, type, ranges.starts_wall_ns[i], &added);
            }
            first += rows;
        }
        times_wall_ns += first;
        values += first;
        count -= first;
    }
}

void bb_buckets_add_stats(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                          const bb_block_stats_t *stats)
{
    s_add(self, rule, type, s_start_after(self, rule, stats->first_wall_ns), stats);
}

static void s_set_range(bb_block_stats_t *self, const bb_encoding_range_t *range, uint32_t exponent)
{
    self->count = range->count;
    bb_sum_add_scaled(&self->sum, range->sum, exponent);
    self->min = range->min;
    self->max = range->max;
}

void bb_buckets_add_ranges(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           const int64_t *starts_wall_ns, const bb_encoding_ranges_t *ranges,
                           uint32_t count)
{
    BB_ASSERT(rule.has_no_ends);
    if (self->is_columns &&
        bb_bucket_columns_add_ranges(&self->columns, type, starts_wall_ns, ranges, count)) {
        return;
    }
    bb_buckets_widen(self);
    uint32_t i = 0;
    if (self->count > 0 && self->items[self->count - 1].start_wall_ns == starts_wall_ns[0]) {
        bb_block_stats_t stats = {0};
        s_set_range(&stats, &ranges->ranges[0], ranges->exponent);
        s_merge(&self->items[self->count - 1].stats, rule, type, &stats);
        i = 1;
    }
    BB_ASSERT(i == count || self->count == 0 ||
              self->items[self->count - 1].start_wall_ns < starts_wall_ns[i]);
    s_reserve(self, self->count + count - i);
    bb_bucket_item_t *item = self->items + self->count;
    self->count += count - i;
    for (; i < count; i++, item++) {
        *item = (bb_bucket_item_t){.start_wall_ns = starts_wall_ns[i]};
        s_set_range(&item->stats, &ranges->ranges[i], ranges->exponent);
    }
}

void bb_buckets_merge(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                      bb_buckets_t *other)
{
    if (self->is_columns && other->is_columns &&
        bb_bucket_columns_merge(&self->columns, type, &other->columns)) {
        return;
    }
    bb_buckets_widen(self);
    bb_buckets_widen(other);
    size_t fresh = 0;
    size_t i = 0;
    for (size_t j = 0; j < other->count; j++) {
        while (i < self->count && self->items[i].start_wall_ns < other->items[j].start_wall_ns) {
            i++;
        }
        if (i < self->count && self->items[i].start_wall_ns == other->items[j].start_wall_ns) {
            s_merge(&self->items[i].stats, rule, type, &other->items[j].stats);
        } else {
            fresh++;
        }
    }
    if (fresh == 0) {
        return;
    }
    // Put the new ones in from the back.
    s_reserve(self, self->count + fresh);
    size_t to = self->count + fresh;
    size_t left = self->count;
    self->count = to;
    for (size_t j = other->count; fresh > 0; j--) {
        const bb_bucket_item_t *item = &other->items[j - 1];
        while (left > 0 && self->items[left - 1].start_wall_ns > item->start_wall_ns) {
            self->items[--to] = self->items[--left];
        }
        if (left > 0 && self->items[left - 1].start_wall_ns == item->start_wall_ns) {
            continue; // merged above
        }
        self->items[--to] = *item;
        fresh--;
    }
}

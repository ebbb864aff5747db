// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_buckets.h"

#include <stdlib.h>

void bb_buckets_free(bb_buckets_t *self)
{
    free(self->items);
    *self = (bb_buckets_t){0};
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

// The bucket with that start, which is the last one or a new last one.
static bb_block_stats_t *s_last(bb_buckets_t *self, int64_t start_wall_ns)
{
    if (self->count == 0 || self->items[self->count - 1].start_wall_ns != start_wall_ns) {
        BB_ASSERT(self->count == 0 || self->items[self->count - 1].start_wall_ns < start_wall_ns);
        s_reserve(self, self->count + 1);
        self->items[self->count++] = (bb_bucket_item_t){.start_wall_ns = start_wall_ns};
    }
    return &self->items[self->count - 1].stats;
}

void bb_buckets_add_points(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                           const int64_t *times_wall_ns, const uint64_t *values, uint32_t count)
{
    uint32_t first = 0;
    while (first < count) {
        int64_t start = s_start(rule, times_wall_ns[first]);
        uint32_t limit = count;
        // Compare distances, which cannot overflow: the bucket's end can.
        if (rule.every_ns != 0 && times_wall_ns[count - 1] - start >= rule.every_ns) {
            limit = first + 1;
            while (times_wall_ns[limit] - start < rule.every_ns) {
                limit++;
            }
        }
        bb_stats_add_rows(s_last(self, start), type, times_wall_ns + first, values + first, NULL,
                          limit - first);
        first = limit;
    }
}

void bb_buckets_add_stats(bb_buckets_t *self, bb_bucket_rule_t rule, bb_type_t type,
                          const bb_block_stats_t *stats)
{
    bb_stats_merge(s_last(self, s_start(rule, stats->first_wall_ns)), type, stats);
}

void bb_buckets_merge(bb_buckets_t *self, bb_type_t type, const bb_buckets_t *other)
{
    size_t fresh = 0;
    size_t i = 0;
    for (size_t j = 0; j < other->count; j++) {
        while (i < self->count && self->items[i].start_wall_ns < other->items[j].start_wall_ns) {
            i++;
        }
        if (i < self->count && self->items[i].start_wall_ns == other->items[j].start_wall_ns) {
            bb_stats_merge(&self->items[i].stats, type, &other->items[j].stats);
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

bb_bucket_t bb_bucket_of(const bb_bucket_item_t *item)
{
    return (bb_bucket_t){
        .start_wall_ns = item->start_wall_ns,
        .count = item->stats.count,
        .sum = item->stats.sum,
        .min = item->stats.min,
        .max = item->stats.max,
        .first_wall_ns = item->stats.first_wall_ns,
        .last_wall_ns = item->stats.last_wall_ns,
        .first = item->stats.first,
        .last = item->stats.last,
    };
}

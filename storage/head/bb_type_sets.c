// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_type_sets.h"

#include <stdlib.h>

#include "storage/head/bb_hash.h"

#define S_CACHE_SLOTS 4096u
#define S_BUCKETS_MIN 64u

typedef struct {
    uint64_t hash;
    uint32_t next; // in its bucket or in the free list; UINT32_MAX = end
    uint32_t reference_count;
    uint32_t count;
    bb_type_entry_t entries[];
} s_set_t;

typedef struct {
    uint32_t epoch; // of the cache when written; another epoch = empty
    uint32_t set;
    uint32_t shape_serial;
    uint32_t result;
    uint32_t conflict_count;
} s_step_t;

struct bb_type_sets {
    s_set_t **sets; // by number; a freed one is NULL
    uint32_t set_count, set_capacity;
    uint32_t *free_numbers;
    uint32_t free_count, free_capacity;
    uint32_t *buckets;
    uint32_t bucket_count;
    uint32_t live_count;
    uint32_t epoch; // counts up when a set is freed: its number may come back with another meaning
    s_step_t cache[S_CACHE_SLOTS];
};

static void s_rehash(bb_type_sets_t *self, uint32_t bucket_count)
{
    free(self->buckets);
    self->buckets = bb_alloc(bucket_count * sizeof *self->buckets);
    self->bucket_count = bucket_count;
    memset(self->buckets, 0xff, bucket_count * sizeof *self->buckets);
    for (uint32_t number = 0; number < self->set_count; number++) {
        s_set_t *set = self->sets[number];
        if (set) {
            uint32_t *bucket = &self->buckets[set->hash & (bucket_count - 1)];
            set->next = *bucket;
            *bucket = number;
        }
    }
}

static uint32_t s_find(const bb_type_sets_t *self, uint64_t hash, const bb_type_entry_t *entries,
                       uint32_t count)
{
    uint32_t number = self->buckets[hash & (self->bucket_count - 1)];
    while (number != UINT32_MAX) {
        const s_set_t *set = self->sets[number];
        if (set->hash == hash && set->count == count &&
            (count == 0 || memcmp(set->entries, entries, count * sizeof *entries) == 0)) {
            return number;
        }
        number = set->next;
    }
    return UINT32_MAX;
}

static uint32_t s_new_number(bb_type_sets_t *self)
{
    if (self->free_count > 0) {
        return self->free_numbers[--self->free_count];
    }
    if (self->set_count == self->set_capacity) {
        self->set_capacity = self->set_capacity ? self->set_capacity * 2 : 64;
        self->sets = bb_realloc(self->sets, self->set_capacity * sizeof *self->sets);
    }
    self->sets[self->set_count] = NULL;
    return self->set_count++;
}

uint32_t bb_type_set_of(bb_type_sets_t *self, const bb_type_entry_t *entries, uint32_t count)
{
    uint64_t hash = bb_hash_bytes(0, entries, count * sizeof *entries);
    uint32_t number = s_find(self, hash, entries, count);
    if (number != UINT32_MAX) {
        self->sets[number]->reference_count++;
        return number;
    }
    s_set_t *set = bb_alloc(sizeof *set + count * sizeof *entries);
    *set = (s_set_t){.hash = hash, .reference_count = 1, .count = count};
    if (count > 0) {
        memcpy(set->entries, entries, count * sizeof *entries);
    }
    number = s_new_number(self);
    self->sets[number] = set;
    self->live_count++;
    if (self->live_count > self->bucket_count) {
        s_rehash(self, self->bucket_count * 2);
    } else {
        uint32_t *bucket = &self->buckets[hash & (self->bucket_count - 1)];
        set->next = *bucket;
        *bucket = number;
    }
    return number;
}

static void s_release(bb_type_sets_t *self, uint32_t number)
{
    s_set_t *set = self->sets[number];
    BB_ASSERT(set->reference_count > 0);
    if (--set->reference_count > 0) {
        return;
    }
    uint32_t *link = &self->buckets[set->hash & (self->bucket_count - 1)];
    while (*link != number) {
        link = &self->sets[*link]->next;
    }
    *link = set->next;
    free(set);
    self->sets[number] = NULL;
    self->live_count--;
    self->epoch++;
    if (self->free_count == self->free_capacity) {
        self->free_capacity = self->free_capacity ? self->free_capacity * 2 : 64;
        self->free_numbers =
            bb_realloc(self->free_numbers, self->free_capacity * sizeof *self->free_numbers);
    }
    self->free_numbers[self->free_count++] = number;
}

bb_type_sets_t *bb_type_sets_new(void)
{
    bb_type_sets_t *self = bb_alloc_zero(1, sizeof *self);
    self->epoch = 1;
    s_rehash(self, S_BUCKETS_MIN);
    // The empty set has number 0 and is never freed.
    uint32_t empty = bb_type_set_of(self, NULL, 0);
    BB_ASSERT(empty == BB_TYPE_SET_EMPTY);
    return self;
}

void bb_type_sets_destroy(bb_type_sets_t **self)
{
    if (*self) {
        for (uint32_t number = 0; number < (*self)->set_count; number++) {
            free((*self)->sets[number]);
        }
        free((*self)->sets);
        free((*self)->free_numbers);
        free((*self)->buckets);
        free(*self);
        *self = NULL;
    }
}

const bb_type_entry_t *bb_type_set(const bb_type_sets_t *self, uint32_t set, uint32_t *count)
{
    BB_ASSERT(set < self->set_count && self->sets[set]);
    *count = self->sets[set]->count;
    return self->sets[set]->entries;
}

uint32_t bb_type_set_bits(const bb_type_sets_t *self, uint32_t set, uint32_t metric)
{
    const s_set_t *types = self->sets[set];
    uint32_t first = 0;
    uint32_t limit = types->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (bb_type_entry_metric(types->entries[middle]) < metric) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    bool found = first < types->count && bb_type_entry_metric(types->entries[first]) == metric;
    return found ? types->entries[first] & 0xf : 0;
}

static int s_compare_entries(const void *a, const void *b)
{
    bb_type_entry_t left = *(const bb_type_entry_t *)a;
    bb_type_entry_t right = *(const bb_type_entry_t *)b;
    return (left > right) - (left < right);
}

// The union of the set and the shape, by sorting both together: rare, so simple.
static uint32_t s_united(bb_type_sets_t *self, uint32_t set, const uint32_t *metrics,
                         const uint8_t *types, uint32_t metric_count, uint32_t *conflict_count)
{
    const s_set_t *old = self->sets[set];
    uint32_t count = old->count + metric_count;
    bb_type_entry_t *entries = bb_alloc((count + 1) * sizeof *entries);
    if (old->count > 0) {
        memcpy(entries, old->entries, old->count * sizeof *entries);
    }
    for (uint32_t i = 0; i < metric_count; i++) {
        BB_ASSERT(metrics[i] < BB_METRICS_MAX);
        entries[old->count + i] = metrics[i] << 4 | 1u << (types[i] - 1);
        uint32_t bits = bb_type_set_bits(self, set, metrics[i]);
        *conflict_count += bits != 0 && (bits & 1u << (types[i] - 1)) == 0;
    }
    qsort(entries, count, sizeof *entries, s_compare_entries);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 &&
            bb_type_entry_metric(entries[kept - 1]) == bb_type_entry_metric(entries[i])) {
            entries[kept - 1] |= entries[i];
        } else {
            entries[kept++] = entries[i];
        }
    }
    uint32_t result = bb_type_set_of(self, entries, kept);
    free(entries);
    return result;
}

uint32_t bb_type_set_add(bb_type_sets_t *self, uint32_t set, uint32_t shape_serial,
                         const uint32_t *metrics, const uint8_t *types, uint32_t metric_count,
                         uint32_t *conflict_count)
{
    uint64_t hash = bb_hash_mix(set, shape_serial);
    s_step_t *step = &self->cache[hash & (S_CACHE_SLOTS - 1)];
    *conflict_count = 0;
    if (step->epoch == self->epoch && step->set == set && step->shape_serial == shape_serial) {
        if (step->result == set) {
            return set;
        }
        *conflict_count = step->conflict_count;
        uint32_t known = step->result;
        self->sets[known]->reference_count++;
        if (set != BB_TYPE_SET_EMPTY) {
            s_release(self, set);
        }
        return known;
    }
    uint32_t result = s_united(self, set, metrics, types, metric_count, conflict_count);
    if (result == set) {
        self->sets[set]->reference_count--; // the union took one more than the caller has
    } else if (set != BB_TYPE_SET_EMPTY) {
        s_release(self, set);
    }
    if (self->sets[set]) {
        // A number that was just freed may come back with another meaning: not remembered.
        *step = (s_step_t){self->epoch, set, shape_serial, result, *conflict_count};
    }
    return result;
}

// SPDX-License-Identifier: Apache-2.0
#include "tests/support/bb_checker.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_NONE       UINT32_MAX
#define S_DCS_MAX    20 // bits of a mask
#define S_TYPE_FLOAT 1  // bb_type_t on the wire; written here again so that a change is seen

typedef struct {
    bb_checker_version_t version;
    uint32_t key;
    uint32_t next;               // of the same key
    uint64_t moment;             // of the first promise; 0 = none
    uint64_t moments[S_DCS_MAX]; // of the first promise to quorum reads there; 0 = none
} s_point_t;

typedef struct {
    bb_checker_key_t key;
    uint32_t first_point;
    uint64_t seen_read; // number of the last answer that held it
    bool was_read;
} s_key_t;

typedef struct {
    bb_checker_marker_t marker;
    uint64_t moment;
    uint64_t moments[S_DCS_MAX];
} s_marker_t;

struct bb_checker {
    s_marker_t *markers;
    uint32_t marker_count, marker_capacity;
    s_key_t *keys;
    uint32_t key_count, key_capacity;
    s_point_t *points;
    uint32_t point_count, point_capacity;
    uint32_t *slots; // key index + 1; 0 = empty; open addressing
    uint32_t slot_count;
    bb_checker_read_t read;
    uint64_t read_number;
    uint64_t fingerprint;
    bool has_finding;
    uint32_t *seen_versions; // per key: the largest version equal to what the answer held
};

bb_checker_t *bb_checker_new(void)
{
    bb_checker_t *self = bb_alloc_zero(1, sizeof *self);
    self->slot_count = 1024;
    self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
    return self;
}

void bb_checker_destroy(bb_checker_t **self_pointer)
{
    bb_checker_t *self = *self_pointer;
    *self_pointer = NULL;
    if (self) {
        free(self->keys);
        free(self->points);
        free(self->markers);
        free(self->slots);
        free(self->seen_versions);
        free(self);
    }
}

// ---- order -----------------------------------------------------------------------------------

static int s_compare_doubles(uint64_t a_bits, uint64_t b_bits)
{
    double a, b;
    memcpy(&a, &a_bits, sizeof a);
    memcpy(&b, &b_bits, sizeof b);
    if (isnan(a) || isnan(b)) {
        BB_ASSERT(!isnan(a) || !isnan(b) || a_bits == b_bits); // one kind of NaN is written
        return (isnan(b) ? 1 : 0) - (isnan(a) ? 1 : 0);
    }
    if (a < b || a > b) {
        return a < b ? -1 : 1;
    }
    return (signbit(b) ? 1 : 0) - (signbit(a) ? 1 : 0);
}

int bb_checker_compare(const bb_checker_version_t *a, const bb_checker_version_t *b)
{
    if (a->revision != b->revision) {
        return a->revision < b->revision ? -1 : 1;
    }
    if (a->type != b->type) {
        return a->type < b->type ? -1 : 1;
    }
    if (a->type == S_TYPE_FLOAT) {
        return s_compare_doubles(a->bits, b->bits);
    }
    int64_t x = (int64_t)a->bits, y = (int64_t)b->bits; // BOOL and texts are small and positive
    return (x > y) - (x < y);
}

// ---- keys ------------------------------------------------------------------------------------

static uint64_t s_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t s_hash(const bb_checker_key_t *key)
{
    uint64_t names = (uint64_t)key->battery << 32 | (uint64_t)key->metric << 1 | key->is_future;
    return s_mix(s_mix(names) + (uint64_t)key->time_wall_ns);
}

static bool s_is_same(const bb_checker_key_t *a, const bb_checker_key_t *b)
{
    return a->battery == b->battery && a->metric == b->metric &&
           a->time_wall_ns == b->time_wall_ns && a->is_future == b->is_future;
}

static uint32_t s_slot(const bb_checker_t *self, const bb_checker_key_t *key)
{
    uint32_t slot = (uint32_t)s_hash(key) & (self->slot_count - 1);
    while (self->slots[slot] != 0 && !s_is_same(&self->keys[self->slots[slot] - 1].key, key)) {
        slot = (slot + 1) & (self->slot_count - 1);
    }
    return slot;
}

static uint32_t s_find(const bb_checker_t *self, const bb_checker_key_t *key)
{
    uint32_t slot = s_slot(self, key);
    return self->slots[slot] == 0 ? S_NONE : self->slots[slot] - 1;
}

static uint32_t s_add(bb_checker_t *self, const bb_checker_key_t *key)
{
    if (self->key_count == self->key_capacity) {
        self->key_capacity = BB_MAX(2 * self->key_capacity, 256u);
        self->keys = bb_realloc(self->keys, self->key_capacity * sizeof *self->keys);
        self->seen_versions =
            bb_realloc(self->seen_versions, self->key_capacity * sizeof *self->seen_versions);
    }
    uint32_t index = self->key_count++;
    self->keys[index] = (s_key_t){.key = *key, .first_point = S_NONE};
    if (self->key_count * 2 > self->slot_count) {
        free(self->slots);
        self->slot_count *= 2;
        self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
        for (uint32_t i = 0; i < self->key_count; i++) {
            self->slots[s_slot(self, &self->keys[i].key)] = i + 1;
        }
    } else {
        self->slots[s_slot(self, key)] = index + 1;
    }
    return index;
}

uint32_t bb_checker_written(bb_checker_t *self, const bb_checker_key_t *key,
                            const bb_checker_version_t *version)
{
    uint32_t index = s_find(self, key);
    if (index == S_NONE) {
        index = s_add(self, key);
    }
    for (uint32_t i = self->keys[index].first_point; i != S_NONE; i = self->points[i].next) {
        if (bb_checker_compare(&self->points[i].version, version) == 0) {
            return i;
        }
    }
    if (self->point_count == self->point_capacity) {
        self->point_capacity = BB_MAX(2 * self->point_capacity, 256u);
        self->points = bb_realloc(self->points, self->point_capacity * sizeof *self->points);
    }
    uint32_t point = self->point_count++;
    self->points[point] =
        (s_point_t){.version = *version, .key = index, .next = self->keys[index].first_point};
    self->keys[index].first_point = point;
    return point;
}

void bb_checker_acknowledged(bb_checker_t *self, uint32_t point, uint64_t moment, uint32_t dc_mask)
{
    BB_ASSERT(point < self->point_count && moment >= 1);
    s_point_t *at = &self->points[point];
    at->moment = at->moment == 0 ? moment : at->moment;
    bb_checker_told(self, point, moment, dc_mask);
}

void bb_checker_told(bb_checker_t *self, uint32_t point, uint64_t moment, uint32_t mask)
{
    BB_ASSERT(point < self->point_count && moment >= 1);
    s_point_t *at = &self->points[point];
    for (uint32_t bit = 0; bit < S_DCS_MAX; bit++) {
        if ((mask >> bit & 1) != 0 && at->moments[bit] == 0) {
            at->moments[bit] = moment;
        }
    }
}

void bb_checker_seen(bb_checker_t *self, const bb_checker_key_t *key, uint32_t type, uint64_t bits,
                     uint64_t moment, uint32_t mask)
{
    uint32_t index = s_find(self, key), seen = S_NONE;
    BB_ASSERT(index != S_NONE); // phantoms have been told
    for (uint32_t i = self->keys[index].first_point; i != S_NONE; i = self->points[i].next) {
        const bb_checker_version_t *version = &self->points[i].version;
        if (version->type == type && version->bits == bits &&
            (seen == S_NONE || version->revision < self->points[seen].version.revision)) {
            seen = i;
        }
    }
    BB_ASSERT(seen != S_NONE);
    bb_checker_told(self, seen, moment, mask);
}

// ---- deletes ---------------------------------------------------------------------------------

uint32_t bb_checker_deleting(bb_checker_t *self, const bb_checker_marker_t *marker)
{
    if (self->marker_count == self->marker_capacity) {
        self->marker_capacity = BB_MAX(2 * self->marker_capacity, 16u);
        self->markers = bb_realloc(self->markers, self->marker_capacity * sizeof *self->markers);
    }
    self->markers[self->marker_count] = (s_marker_t){.marker = *marker};
    return self->marker_count++;
}

void bb_checker_told_deleted(bb_checker_t *self, uint32_t marker, uint64_t moment, uint32_t mask)
{
    BB_ASSERT(marker < self->marker_count && moment >= 1);
    s_marker_t *at = &self->markers[marker];
    for (uint32_t bit = 0; bit < S_DCS_MAX; bit++) {
        if ((mask >> bit & 1) != 0 && at->moments[bit] == 0) {
            at->moments[bit] = moment;
        }
    }
}

void bb_checker_deleted(bb_checker_t *self, uint32_t marker, uint64_t moment, uint32_t dc_mask)
{
    bb_checker_told_deleted(self, marker, moment, dc_mask);
    s_marker_t *at = &self->markers[marker];
    at->moment = at->moment == 0 ? moment : at->moment;
}

static bool s_covers(const bb_checker_marker_t *marker, const bb_checker_key_t *key,
                     const bb_checker_version_t *version)
{
    return marker->battery == key->battery &&
           (marker->metric == S_NONE || marker->metric == key->metric) &&
           marker->from_wall_ns <= key->time_wall_ns && key->time_wall_ns < marker->to_wall_ns &&
           version->revision >> 32 < marker->generation;
}

bool bb_checker_is_covered(const bb_checker_t *self, const bb_checker_key_t *key,
                           const bb_checker_version_t *version)
{
    for (uint32_t i = 0; i < self->marker_count; i++) {
        if (s_covers(&self->markers[i].marker, key, version)) {
            return true;
        }
    }
    return false;
}

static bool s_may_be_gone(const bb_checker_t *self, uint32_t point)
{
    const s_point_t *at = &self->points[point];
    return bb_checker_is_covered(self, &self->keys[at->key].key, &at->version);
}

// ---- answers ---------------------------------------------------------------------------------

void bb_checker_begin(bb_checker_t *self, const bb_checker_read_t *read)
{
    self->read = *read;
    self->read_number++;
    self->fingerprint = 0;
    self->has_finding = false;
}

static bool s_finding(bb_checker_t *self, const char *what, const bb_checker_key_t *key,
                      const bb_checker_version_t *got, const bb_checker_version_t *promised,
                      char *text, size_t text_bytes)
{
    if (self->has_finding) {
        return false;
    }
    self->has_finding = true;
    int length = snprintf(text, text_bytes, "%s: battery %u metric %u time %" PRId64 "%s", what,
                          key->battery, key->metric, key->time_wall_ns,
                          key->is_future ? " (quarantined)" : "");
    if (got && length > 0 && (size_t)length < text_bytes) {
        length += snprintf(text + length, text_bytes - (size_t)length,
                           ", got type %u bits %" PRIx64 " revision %" PRIu64, got->type, got->bits,
                           got->revision);
    }
    if (promised && length > 0 && (size_t)length < text_bytes) {
        snprintf(text + length, text_bytes - (size_t)length,
                 ", promised type %u bits %" PRIx64 " revision %" PRIu64, promised->type,
                 promised->bits, promised->revision);
    }
    return false;
}

// Does a promise count for the read, by the moments when it was made?
static bool s_counts(const bb_checker_read_t *read, uint64_t moment, const uint64_t *moments)
{
    if (read->dc_mask == 0) {
        return moment != 0 && moment < read->moment;
    }
    for (uint32_t dc = 0; dc < S_DCS_MAX; dc++) {
        if ((read->dc_mask >> dc & 1) != 0 && moments[dc] != 0 && moments[dc] < read->moment) {
            return true;
        }
    }
    return false;
}

// Must the version be gone?
static bool s_is_deleted(const bb_checker_t *self, uint32_t point)
{
    const s_point_t *at = &self->points[point];
    const bb_checker_key_t *key = &self->keys[at->key].key;
    if (!self->read.is_bound_to_promises ||
        (self->read.is_owed && !self->read.is_owed(self->read.context, key))) {
        return false;
    }
    for (uint32_t i = 0; i < self->marker_count; i++) {
        const s_marker_t *marker = &self->markers[i];
        if (s_covers(&marker->marker, key, &at->version) &&
            s_counts(&self->read, marker->moment, marker->moments)) {
            return true;
        }
    }
    return false;
}

bool bb_checker_point(bb_checker_t *self, const bb_checker_key_t *key, uint32_t type, uint64_t bits,
                      char *text, size_t text_bytes)
{
    bb_checker_version_t got = {.type = type, .bits = bits};
    uint32_t index = s_find(self, key);
    if (index == S_NONE) {
        return s_finding(self, "phantom point", key, &got, NULL, text, text_bytes);
    }
    // An answer does not tell the revision: the largest one with this value is assumed.
    uint32_t seen = S_NONE;
    for (uint32_t i = self->keys[index].first_point; i != S_NONE; i = self->points[i].next) {
        const bb_checker_version_t *version = &self->points[i].version;
        if (version->type == type && version->bits == bits &&
            (seen == S_NONE || version->revision > self->points[seen].version.revision)) {
            seen = i;
        }
    }
    if (seen == S_NONE) {
        return s_finding(self, "phantom value", key, &got, NULL, text, text_bytes);
    }
    if (self->keys[index].seen_read == self->read_number) {
        return s_finding(self, "duplicate point", key, &got, NULL, text, text_bytes);
    }
    self->keys[index].seen_read = self->read_number;
    self->keys[index].was_read = true;
    self->seen_versions[index] = seen;
    self->fingerprint += s_mix(s_hash(key) ^ s_mix(bits + type));
    if (self->read.is_asked && !self->read.is_asked(self->read.context, key)) {
        return s_finding(self, "point that was not asked for", key, &got, NULL, text, text_bytes);
    }
    if (s_is_deleted(self, seen)) {
        return s_finding(self, "resurrected point", key, &self->points[seen].version, NULL, text,
                         text_bytes);
    }
    return !self->has_finding;
}

bool bb_checker_end(bb_checker_t *self, char *text, size_t text_bytes)
{
    for (uint32_t i = 0; i < self->key_count && self->read.is_bound_to_promises; i++) {
        const s_key_t *key = &self->keys[i];
        if (self->read.is_owed && !self->read.is_owed(self->read.context, &key->key)) {
            continue;
        }
        const bb_checker_version_t *got = key->seen_read == self->read_number
                                              ? &self->points[self->seen_versions[i]].version
                                              : NULL;
        for (uint32_t p = key->first_point; p != S_NONE; p = self->points[p].next) {
            const bb_checker_version_t *promised = &self->points[p].version;
            if (s_counts(&self->read, self->points[p].moment, self->points[p].moments) &&
                !s_may_be_gone(self, p) && (!got || bb_checker_compare(got, promised) < 0)) {
                return s_finding(self, got ? "lost version" : "lost point", &key->key, got,
                                 promised, text, text_bytes);
            }
        }
    }
    return !self->has_finding;
}

uint64_t bb_checker_fingerprint(const bb_checker_t *self)
{
    return self->fingerprint;
}

void bb_checker_stats(const bb_checker_t *self, bb_checker_stats_t *stats)
{
    *stats = (bb_checker_stats_t){.keys = self->key_count, .points = self->point_count};
    for (uint32_t i = 0; i < self->key_count; i++) {
        bool is_promised = false;
        for (uint32_t p = self->keys[i].first_point; p != S_NONE; p = self->points[p].next) {
            stats->acknowledged += self->points[p].moment != 0;
            is_promised |= self->points[p].moment != 0 && !s_may_be_gone(self, p);
        }
        stats->never_read += is_promised && !self->keys[i].was_read;
    }
}

void bb_checker_each_acknowledged(const bb_checker_t *self, bb_checker_visit_fn visit,
                                  void *context)
{
    for (uint32_t i = 0; i < self->point_count; i++) {
        const s_point_t *point = &self->points[i];
        if (point->moment != 0) {
            visit(context, &self->keys[point->key].key, &point->version);
        }
    }
}

bool bb_checker_is_written(const bb_checker_t *self, const bb_checker_key_t *key, uint32_t type,
                           uint64_t bits)
{
    uint32_t index = s_find(self, key);
    uint32_t point = index == S_NONE ? S_NONE : self->keys[index].first_point;
    for (; point != S_NONE; point = self->points[point].next) {
        const bb_checker_version_t *version = &self->points[point].version;
        if (version->type == type && version->bits == bits) {
            return true;
        }
    }
    return false;
}

bool bb_checker_is_largest(const bb_checker_t *self, const bb_checker_key_t *key,
                           const bb_checker_version_t *version)
{
    uint32_t index = s_find(self, key);
    uint32_t point = index == S_NONE ? S_NONE : self->keys[index].first_point;
    for (; point != S_NONE; point = self->points[point].next) {
        if (bb_checker_compare(version, &self->points[point].version) < 0) {
            return false;
        }
    }
    return true;
}

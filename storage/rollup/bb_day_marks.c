// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_day_marks.h"

#include <stdlib.h>
#include <string.h>

static size_t s_words(const bb_day_marks_t *self)
{
    return (self->partition_count + 63) / 64;
}

void bb_day_marks_free(bb_day_marks_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        free(self->days[i].bits);
    }
    free(self->days);
    *self = (bb_day_marks_t){.partition_count = self->partition_count};
}

// Position of the day, or where it would be put.
static uint32_t s_find(const bb_day_marks_t *self, uint32_t day)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->days[middle].day < day) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

static bool s_is_at(const bb_day_marks_t *self, uint32_t at, uint32_t day)
{
    return at < self->count && self->days[at].day == day;
}

// The day's place; made if it is not there.
static uint32_t s_make(bb_day_marks_t *self, uint32_t day)
{
    if (s_is_at(self, self->latest, day)) {
        return self->latest;
    }
    uint32_t at = s_find(self, day);
    if (!s_is_at(self, at, day)) {
        if (self->count == self->capacity) {
            self->capacity = self->capacity ? self->capacity * 2 : 4;
            self->days = bb_realloc(self->days, self->capacity * sizeof *self->days);
        }
        memmove(self->days + at + 1, self->days + at, (self->count - at) * sizeof *self->days);
        self->days[at] = (bb_day_mark_t){day, bb_alloc_zero(s_words(self), sizeof(uint64_t))};
        self->count++;
    }
    self->latest = at;
    return at;
}

void bb_day_marks_add(bb_day_marks_t *self, uint32_t day, uint32_t partition)
{
    BB_ASSERT(partition < self->partition_count);
    uint32_t at = s_make(self, day); // moves the array
    self->days[at].bits[partition / 64] |= UINT64_C(1) << partition % 64;
}

void bb_day_marks_add_day(bb_day_marks_t *self, uint32_t day)
{
    uint32_t at = s_make(self, day); // moves the array
    memset(self->days[at].bits, 0xff, s_words(self) * sizeof(uint64_t));
}

bool bb_day_marks_has(const bb_day_marks_t *self, uint32_t day, uint32_t partition)
{
    uint32_t at = s_find(self, day);
    return s_is_at(self, at, day) && (self->days[at].bits[partition / 64] >> partition % 64 & 1);
}

bool bb_day_marks_has_day(const bb_day_marks_t *self, uint32_t day)
{
    return s_is_at(self, s_find(self, day), day);
}

void bb_day_marks_merge(bb_day_marks_t *self, const bb_day_marks_t *other)
{
    BB_ASSERT(self->partition_count == other->partition_count);
    for (uint32_t i = 0; i < other->count; i++) {
        uint32_t at = s_make(self, other->days[i].day); // moves the array
        uint64_t *bits = self->days[at].bits;
        for (size_t w = 0; w < s_words(self); w++) {
            bits[w] |= other->days[i].bits[w];
        }
    }
}

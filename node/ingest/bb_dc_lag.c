// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_dc_lag.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The chunks from `seq` to the next mark were given in [first_mono_ns, last_mono_ns].
typedef struct {
    int64_t first_mono_ns, last_mono_ns;
    uint64_t seq;
} s_mark_t;

typedef struct {
    uint32_t count, capacity;
    s_mark_t *marks; // ascending
} s_marks_t;

struct bb_dc_lag {
    uint32_t partition_count;
    s_marks_t *partitions;
};

bb_dc_lag_t *bb_dc_lag_new(uint32_t partition_count)
{
    BB_ASSERT(partition_count >= 1);
    bb_dc_lag_t *self = bb_alloc_zero(1, sizeof *self);
    self->partition_count = partition_count;
    self->partitions = bb_alloc_zero(partition_count, sizeof *self->partitions);
    return self;
}

void bb_dc_lag_destroy(bb_dc_lag_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        for (uint32_t i = 0; i < (*self)->partition_count; i++) {
            free((*self)->partitions[i].marks);
        }
        free((*self)->partitions);
        free(*self);
        *self = NULL;
    }
}

// Joins the two neighbours that are closest together for their age.
static void s_join(s_marks_t *marks, int64_t now_mono_ns)
{
    uint32_t best = 2;
    double best_spread = HUGE_VAL;
    for (uint32_t i = 2; i < marks->count; i++) {
        const s_mark_t *a = &marks->marks[i - 1], *b = &marks->marks[i];
        double age_ns = (double)(now_mono_ns - b->last_mono_ns + BB_DC_LAG_INTERVAL_NS);
        double spread = (double)(b->last_mono_ns - a->first_mono_ns) / age_ns;
        if (spread < best_spread) {
            best_spread = spread;
            best = i;
        }
    }
    marks->marks[best - 1].last_mono_ns = marks->marks[best].last_mono_ns;
    marks->count--;
    memmove(marks->marks + best, marks->marks + best + 1,
            (marks->count - best) * sizeof *marks->marks);
}

void bb_dc_lag_given(bb_dc_lag_t *self, int64_t now_mono_ns, uint32_t partition, uint64_t seq)
{
    BB_ASSERT(self && partition < self->partition_count);
    s_marks_t *marks = &self->partitions[partition];
    s_mark_t *last = marks->count > 0 ? &marks->marks[marks->count - 1] : NULL;
    if (last && now_mono_ns - last->first_mono_ns < BB_DC_LAG_INTERVAL_NS) {
        last->last_mono_ns = now_mono_ns;
        return;
    }
    BB_ASSERT(!last || last->seq < seq);
    if (marks->count == BB_DC_LAG_MARKS) {
        s_join(marks, now_mono_ns);
    }
    if (marks->count == marks->capacity) {
        marks->capacity = BB_MAX(2 * marks->capacity, 2u);
        marks->marks = bb_realloc(marks->marks, marks->capacity * sizeof *marks->marks);
    }
    marks->marks[marks->count++] = (s_mark_t){now_mono_ns, now_mono_ns, seq};
}

// How many marks are not after `seq`.
static uint32_t s_until(const s_marks_t *marks, uint64_t seq)
{
    uint32_t count = 0;
    while (count < marks->count && marks->marks[count].seq <= seq) {
        count++;
    }
    return count;
}

int64_t bb_dc_lag_age_ns(const bb_dc_lag_t *self, int64_t now_mono_ns, uint32_t partition,
                         uint64_t seq)
{
    BB_ASSERT(self && partition < self->partition_count);
    const s_marks_t *marks = &self->partitions[partition];
    uint32_t count = s_until(marks, seq);
    return count == 0 ? 0 : BB_MAX(now_mono_ns - marks->marks[count - 1].first_mono_ns, INT64_C(0));
}

void bb_dc_lag_forget(bb_dc_lag_t *self, uint32_t partition, uint64_t seq)
{
    BB_ASSERT(self && partition < self->partition_count);
    s_marks_t *marks = &self->partitions[partition];
    uint32_t count = s_until(marks, seq);
    if (seq == UINT64_MAX) {
        marks->count = 0;
    } else if (count > 1) { // the one before `seq` says how old it is
        marks->count -= count - 1;
        memmove(marks->marks, marks->marks + count - 1, marks->count * sizeof *marks->marks);
    }
}

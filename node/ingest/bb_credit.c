// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_credit.h"

#include <stdlib.h>

#define S_NONE UINT32_MAX
// Of the budget: what is kept for those who have little.
#define S_RESERVE_PART 8
// An answer takes so much of what is above the equal share, and of how far use is below its peak.
#define S_SHRINK_PART 8
#define S_FORGET_PART 16
// Of the first bytes: what one that hardly writes keeps.
#define S_LEAST_PART 16

typedef struct {
    uint32_t connection;
    uint32_t chain_next; // of the same bucket; of the free ones
    uint32_t line_next, line_previous;
    int64_t lapse_mono_ns;
    uint64_t exposure, credit, in_flight;
    uint64_t peak; // of in_flight, slowly forgotten
    bool is_writer;
} s_entry_t;

typedef struct {
    uint32_t first, last;
} s_line_t;

struct bb_credit {
    uint64_t budget_bytes, given_bytes;
    uint32_t first_bytes, connections_max;
    uint32_t count, writer_count;
    uint32_t entry_count; // ever used: [0, entry_count) are initialised
    uint32_t free_first;
    s_line_t lines[2]; // who has not written yet, and who has; each in the order of lapse_mono_ns
    uint32_t bucket_mask;
    uint32_t *buckets;
    s_entry_t *entries; // connections_max
};

bb_credit_t *bb_credit_new(uint64_t budget_bytes, uint32_t first_bytes, uint32_t connections_max)
{
    BB_ASSERT(first_bytes > 0 && budget_bytes >= first_bytes);
    BB_ASSERT(connections_max >= 1 && connections_max <= 1u << 20);
    bb_credit_t *self = bb_alloc_zero(1, sizeof *self);
    uint32_t bucket_count = 16;
    while (bucket_count < connections_max) {
        bucket_count *= 2;
    }
    *self = (bb_credit_t){.budget_bytes = budget_bytes,
                          .first_bytes = first_bytes,
                          .connections_max = connections_max,
                          .free_first = S_NONE,
                          .lines = {{S_NONE, S_NONE}, {S_NONE, S_NONE}},
                          .bucket_mask = bucket_count - 1};
    self->buckets = bb_alloc(bucket_count * sizeof *self->buckets);
    for (uint32_t i = 0; i < bucket_count; i++) {
        self->buckets[i] = S_NONE;
    }
    self->entries = bb_alloc_zero(connections_max, sizeof *self->entries);
    return self;
}

void bb_credit_destroy(bb_credit_t **self_pointer)
{
    BB_ASSERT(self_pointer);
    bb_credit_t *self = *self_pointer;
    *self_pointer = NULL;
    if (self) {
        free(self->buckets);
        free(self->entries);
        free(self);
    }
}

// ---- the table ---------------------------------------------------------------------------------
static uint32_t *s_bucket(const bb_credit_t *self, uint32_t connection)
{
    // A ROUTER numbers its connections from a random one on: the low bits spread by themselves.
    return &self->buckets[connection & self->bucket_mask];
}

static void s_line_remove(bb_credit_t *self, const s_entry_t *entry)
{
    s_line_t *line = &self->lines[entry->is_writer];
    uint32_t *from_previous = entry->line_previous == S_NONE
                                  ? &line->first
                                  : &self->entries[entry->line_previous].line_next;
    uint32_t *from_next =
        entry->line_next == S_NONE ? &line->last : &self->entries[entry->line_next].line_previous;
    *from_previous = entry->line_next;
    *from_next = entry->line_previous;
}

// All of a line lapse after the same time, so the last one added is the last to lapse.
static void s_line_add(bb_credit_t *self, s_entry_t *entry, int64_t now_mono_ns)
{
    s_line_t *line = &self->lines[entry->is_writer];
    uint32_t index = (uint32_t)(entry - self->entries);
    entry->lapse_mono_ns = now_mono_ns + (entry->is_writer ? BB_CREDIT_NS : BB_CREDIT_NS_FIRST);
    entry->line_next = S_NONE;
    entry->line_previous = line->last;
    if (line->last == S_NONE) {
        line->first = index;
    } else {
        self->entries[line->last].line_next = index;
    }
    line->last = index;
}

static void s_set_exposure(bb_credit_t *self, s_entry_t *entry, uint64_t exposure)
{
    BB_ASSERT(self->given_bytes >= entry->exposure);
    self->given_bytes += exposure - entry->exposure;
    entry->exposure = exposure;
}

static void s_remove(bb_credit_t *self, uint32_t index)
{
    s_entry_t *entry = &self->entries[index];
    uint32_t *link = s_bucket(self, entry->connection);
    while (*link != index) {
        link = &self->entries[*link].chain_next;
    }
    *link = entry->chain_next;
    s_line_remove(self, entry);
    s_set_exposure(self, entry, 0);
    self->writer_count -= entry->is_writer;
    self->count--;
    entry->chain_next = self->free_first;
    self->free_first = index;
}

// What nobody used for long is no longer theirs. What is in flight is answered some time.
static void s_lapse(bb_credit_t *self, s_line_t *line, int64_t now_mono_ns)
{
    while (line->first != S_NONE && self->entries[line->first].lapse_mono_ns <= now_mono_ns) {
        uint32_t index = line->first;
        s_entry_t *entry = &self->entries[index];
        if (entry->in_flight == 0) {
            s_remove(self, index);
            continue;
        }
        s_set_exposure(self, entry, entry->in_flight);
        entry->credit = BB_MIN(entry->credit, entry->in_flight);
        s_line_remove(self, entry);
        s_line_add(self, entry, now_mono_ns);
    }
}

// The entry of the connection, made anew if need be, as the last to lapse; NULL: no room.
static s_entry_t *s_touch(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection, bool writes)
{
    s_lapse(self, &self->lines[false], now_mono_ns);
    s_lapse(self, &self->lines[true], now_mono_ns);
    uint32_t *bucket = s_bucket(self, connection);
    uint32_t index = *bucket;
    while (index != S_NONE && self->entries[index].connection != connection) {
        index = self->entries[index].chain_next;
    }
    if (index != S_NONE) {
        s_line_remove(self, &self->entries[index]);
    } else if (self->count == self->connections_max) {
        return NULL;
    } else {
        index = self->free_first;
        if (index != S_NONE) {
            self->free_first = self->entries[index].chain_next;
        } else {
            index = self->entry_count++;
        }
        self->entries[index] = (s_entry_t){.connection = connection, .chain_next = *bucket};
        *bucket = index;
        self->count++;
    }
    s_entry_t *entry = &self->entries[index];
    self->writer_count += writes && !entry->is_writer;
    entry->is_writer |= writes;
    s_line_add(self, entry, now_mono_ns);
    return entry;
}

// ---- who gets what -----------------------------------------------------------------------------
static void s_tell(bb_credit_t *self, s_entry_t *entry, uint64_t credit, uint64_t exposure_min)
{
    entry->credit = BB_MIN(BB_MAX(credit, UINT64_C(1)), (uint64_t)UINT32_MAX);
    s_set_exposure(self, entry, BB_MAX(entry->credit, exposure_min));
}

uint32_t bb_credit_hello(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection)
{
    BB_ASSERT(self);
    s_entry_t *entry = s_touch(self, now_mono_ns, connection, false);
    if (!entry) {
        return 1;
    }
    if (entry->credit == 0) {
        uint64_t credit = self->given_bytes < self->budget_bytes ? self->first_bytes : 1;
        s_tell(self, entry, credit, entry->exposure);
    }
    return (uint32_t)entry->credit;
}

void bb_credit_begin(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection, uint64_t bytes)
{
    BB_ASSERT(self);
    s_entry_t *entry = s_touch(self, now_mono_ns, connection, true);
    if (!entry) {
        return;
    }
    entry->in_flight += bytes;
    entry->peak = BB_MAX(entry->peak, entry->in_flight);
    s_set_exposure(self, entry, BB_MAX(entry->exposure, entry->in_flight));
}

// What this connection is to have, when `others` is what all others may have on their way.
static uint64_t s_share(const bb_credit_t *self, const s_entry_t *entry, uint64_t others)
{
    uint64_t room = self->budget_bytes > others ? self->budget_bytes - others : 0;
    uint64_t plenty = self->budget_bytes - self->budget_bytes / S_RESERVE_PART;
    uint64_t equal = self->budget_bytes / BB_MAX(self->writer_count, 1u);
    uint64_t wanted = BB_MAX(2 * entry->peak, (uint64_t)self->first_bytes / S_LEAST_PART);
    uint64_t credit = BB_MIN(wanted, room);
    if (credit > equal) {
        uint64_t easy = plenty > others ? plenty - others : 0;
        uint64_t less = entry->credit - entry->credit / S_SHRINK_PART;
        credit = BB_MIN(credit, BB_MAX(equal, BB_MAX(easy, less)));
    }
    return credit;
}

uint32_t bb_credit_end(bb_credit_t *self, int64_t now_mono_ns, uint32_t connection, uint64_t bytes)
{
    BB_ASSERT(self);
    s_entry_t *entry = s_touch(self, now_mono_ns, connection, true);
    if (!entry) {
        return 1;
    }
    // Less when there was no room for it as it began.
    entry->in_flight -= BB_MIN(bytes, entry->in_flight);
    uint64_t left = entry->exposure - BB_MIN(bytes, entry->exposure);
    uint64_t others = self->given_bytes - entry->exposure;
    s_tell(self, entry, s_share(self, entry, others), BB_MAX(left, entry->in_flight));
    entry->peak -= (entry->peak - BB_MIN(entry->in_flight, entry->peak)) / S_FORGET_PART;
    return (uint32_t)entry->credit;
}

uint64_t bb_credit_given_bytes(const bb_credit_t *self)
{
    return self->given_bytes;
}

uint32_t bb_credit_connection_count(const bb_credit_t *self)
{
    return self->count;
}

void bb_credit_check(const bb_credit_t *self)
{
    BB_ASSERT(self);
    uint64_t given_bytes = 0;
    uint32_t count = 0, counts[2] = {0};
    for (uint32_t is_writer = 0; is_writer < 2; is_writer++) {
        const s_line_t *line = &self->lines[is_writer];
        uint32_t previous = S_NONE;
        for (uint32_t i = line->first; i != S_NONE; i = self->entries[i].line_next) {
            const s_entry_t *entry = &self->entries[i];
            BB_ASSERT(entry->line_previous == previous && entry->is_writer == is_writer);
            BB_ASSERT(previous == S_NONE ||
                      self->entries[previous].lapse_mono_ns <= entry->lapse_mono_ns);
            BB_ASSERT(entry->exposure >= BB_MAX(entry->credit, entry->in_flight));
            given_bytes += entry->exposure;
            counts[is_writer]++;
            count++;
            previous = i;
        }
        BB_ASSERT(line->last == previous);
    }
    BB_ASSERT(given_bytes == self->given_bytes);
    BB_ASSERT(count == self->count);
    BB_ASSERT(counts[true] == self->writer_count);
}

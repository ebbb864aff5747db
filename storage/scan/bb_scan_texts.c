// SPDX-License-Identifier: Apache-2.0
// State texts of a page: kept until it is done, each once.
#include <stdlib.h>
#include <string.h>

#include "storage/head/bb_hash.h"
#include "storage/scan/bb_scan_state.h"

#define S_TEXT_SLOTS_MIN 64u

static const bb_text_t **s_text_slot(const bb_scan_t *self, const bb_text_t *text)
{
    uint64_t slot = bb_hash_bytes(0, text->bytes, text->length);
    for (;; slot++) {
        const bb_text_t **at = &self->text_slots[slot & (self->text_slot_count - 1)];
        if (!*at || ((*at)->length == text->length &&
                     memcmp((*at)->bytes, text->bytes, text->length) == 0)) {
            return at;
        }
    }
}

static void s_grow_texts(bb_scan_t *self)
{
    const bb_text_t **old = self->text_slots;
    uint32_t old_count = self->text_slot_count;
    self->text_slot_count = old_count ? old_count * 2 : S_TEXT_SLOTS_MIN;
    self->text_slots = bb_alloc_zero(self->text_slot_count, sizeof *self->text_slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i]) {
            *s_text_slot(self, old[i]) = old[i];
        }
    }
    free(old);
}

uint64_t bb_scan_keep_text(bb_scan_t *self, uint64_t bits)
{
    const bb_text_t *text = bb_text_of_bits(bits);
    if (text != self->text_read) {
        if (self->text_count >= self->text_slot_count / 2) {
            s_grow_texts(self);
        }
        const bb_text_t **slot = s_text_slot(self, text);
        if (!*slot) {
            *slot = bb_arena_copy(&self->texts, text, sizeof *text + text->length);
            self->text_count++;
        }
        self->text_read = text;
        self->text_kept = *slot;
    }
    return (uint64_t)(uintptr_t)self->text_kept;
}

void bb_scan_keep_bucket_texts(bb_scan_t *self, bb_buckets_t *buckets)
{
    for (size_t i = 0; i < buckets->count; i++) {
        bb_block_stats_t *stats = &buckets->items[i].stats;
        stats->min = bb_scan_keep_text(self, stats->min);
        stats->max = bb_scan_keep_text(self, stats->max);
        stats->first = bb_scan_keep_text(self, stats->first);
        stats->last = bb_scan_keep_text(self, stats->last);
    }
}

void bb_scan_texts_free(bb_scan_t *self)
{
    bb_arena_free(&self->texts);
    free(self->text_slots);
}

// SPDX-License-Identifier: Apache-2.0
// State texts of a page: kept until it is done, each once.
#include "storage/scan/bb_scan_state.h"

uint64_t bb_scan_keep_text(bb_scan_t *self, uint64_t bits)
{
    const bb_text_t *text = bb_text_of_bits(bits);
    if (text != self->text_read) {
        self->text_read = text;
        self->text_kept =
            bb_text_pool_keep(&self->text_pool, &self->texts, bb_slice(text->bytes, text->length));
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
    bb_text_pool_free(&self->text_pool);
}

// SPDX-License-Identifier: Apache-2.0
// bb_store_sync_markers - deletes in segment sync: they travel with the attributes of batteries,
// because they belong to no day.
//
// Private to bb_store*.c; on the store's thread. Without them a replica that adopts the dots of
// markers would bring back what they cover as soon as somebody else turns up with it.
#ifndef BB_STORE_SYNC_MARKERS_H
#define BB_STORE_SYNC_MARKERS_H

#include "storage/bb_store_private.h"
#include "storage/sync/bb_sync_batches.h"

// Adds to *sum what the battery's markers are: equal on two stores when the markers are.
void bb_sync_markers_hash(const bb_store_t *store, const uint8_t *key, uint32_t battery,
                          bb_fingerprint_t *sum);

// Markers on their way into batches without dots, one for each generation. A cleared structure is
// empty.
typedef struct {
    uint32_t generation;
    bb_batch_builder_t *builder;
} bb_sync_marker_draft_t;
typedef struct {
    bb_sync_marker_draft_t *drafts;
    uint32_t count, capacity;
    uint64_t marker_count;
} bb_sync_markers_t;

// Enough for one answer: the rest is for the next.
#define BB_SYNC_MARKERS_MAX     16384u
#define BB_SYNC_GENERATIONS_MAX 1024u
static inline bool bb_sync_markers_is_enough(const bb_sync_markers_t *self)
{
    return self->marker_count >= BB_SYNC_MARKERS_MAX || self->count >= BB_SYNC_GENERATIONS_MAX;
}

void bb_sync_markers_add(bb_sync_markers_t *self, const bb_store_t *store, uint32_t battery);
// Gives the batches, an array of *count; nothing is in `self` then.
bb_sync_batch_t *bb_sync_markers_take(bb_sync_markers_t *self, uint32_t *count);

#endif

// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_sync_markers.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_marker.h"

static bb_marker_t s_named(const bb_store_t *store, const bb_marker_entry_t *entry)
{
    return (bb_marker_t){
        .metric = entry->metric == BB_MARKER_ALL
                      ? bb_slice(BB_MARKER_ALL_METRICS, strlen(BB_MARKER_ALL_METRICS))
                      : bb_dictionary_metric_name(store->dictionary, entry->metric),
        .from_wall_ns = entry->from_wall_ns,
        .to_wall_ns = entry->to_wall_ns,
    };
}

// A sum over markers, because their order is that of the store's own numbers.
void bb_sync_markers_hash(const bb_store_t *store, const uint8_t *key, uint32_t battery,
                          bb_fingerprint_t *sum)
{
    bb_marker_list_t list = bb_markers_of(store->markers, battery);
    for (uint32_t i = 0; i < list.count; i++) {
        const bb_marker_entry_t *entry = &list.entries[i];
        bb_marker_t marker = s_named(store, entry);
        uint8_t bytes[20 + BB_METRIC_NAME_BYTES_MAX];
        memcpy(bytes, &entry->generation, 4);
        memcpy(bytes + 4, &entry->from_wall_ns, 8);
        memcpy(bytes + 12, &entry->to_wall_ns, 8);
        memcpy(bytes + 20, marker.metric.data, marker.metric.length);
        bb_fingerprint_name_t hash = bb_fingerprint_name(
            key, BB_FINGERPRINT_ATTRIBUTES, bb_slice(bytes, 20 + marker.metric.length));
        sum->low += hash.a;
        sum->high += hash.b;
    }
}

static bb_batch_builder_t *s_builder(bb_sync_markers_t *self, uint32_t generation)
{
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->drafts[i].generation == generation) {
            return self->drafts[i].builder;
        }
    }
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 4;
        self->drafts = bb_realloc(self->drafts, self->capacity * sizeof *self->drafts);
    }
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_batch_builder_markers(builder, generation);
    self->drafts[self->count++] = (bb_sync_marker_draft_t){generation, builder};
    return builder;
}

void bb_sync_markers_add(bb_sync_markers_t *self, const bb_store_t *store, uint32_t battery)
{
    bb_marker_list_t list = bb_markers_of(store->markers, battery);
    for (uint32_t i = 0; i < list.count; i++) {
        bb_marker_t marker = s_named(store, &list.entries[i]);
        bb_error_t error =
            bb_marker_add(s_builder(self, list.entries[i].generation),
                          bb_dictionary_battery_partition(store->dictionary, battery),
                          bb_dictionary_battery_id(store->dictionary, battery), &marker, NULL);
        BB_ASSERT(error == BB_OK); // they came in a batch, and an answer is bounded
        self->marker_count++;
    }
}

bb_sync_batch_t *bb_sync_markers_take(bb_sync_markers_t *self, uint32_t *count)
{
    *count = self->count;
    bb_sync_batch_t *batches = bb_alloc_zero(self->count + 1, sizeof *batches);
    for (uint32_t i = 0; i < self->count; i++) {
        bb_batch_builder_finish(self->drafts[i].builder, &batches[i].data, &batches[i].length,
                                NULL);
        bb_batch_builder_destroy(&self->drafts[i].builder);
    }
    free(self->drafts);
    *self = (bb_sync_markers_t){0};
    return batches;
}

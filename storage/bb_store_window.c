// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_window.h"

#include <stdlib.h>
#include <string.h>

void bb_store_windows_free(bb_store_windows_t *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        for (uint32_t part = 0; part < self->items[i].part_count; part++) {
            bb_segment_release(&self->items[i].parts[part].segment);
        }
        free(self->items[i].parts);
    }
    free(self->items);
    *self = (bb_store_windows_t){0};
}

void bb_store_windows_remove(bb_store_windows_t *self, uint32_t index)
{
    BB_ASSERT(index < self->count);
    bb_store_window_t *window = &self->items[index];
    for (uint32_t part = 0; part < window->part_count; part++) {
        bb_segment_release(&window->parts[part].segment);
    }
    free(window->parts);
    memmove(window, window + 1, (--self->count - index) * sizeof *window);
}

uint32_t bb_store_windows_find(const bb_store_windows_t *self, bb_window_id_t id, bool *found)
{
    uint32_t first = 0;
    uint32_t limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (bb_window_id_compare(self->items[middle].id, id) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    *found = first < self->count && bb_window_id_compare(self->items[first].id, id) == 0;
    return first;
}

bb_store_window_t *bb_store_windows_get(bb_store_windows_t *self, bb_window_id_t id)
{
    bool found;
    uint32_t at = bb_store_windows_find(self, id, &found);
    if (found) {
        return &self->items[at];
    }
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->items = bb_realloc(self->items, self->capacity * sizeof *self->items);
    }
    memmove(&self->items[at + 1], &self->items[at], (self->count - at) * sizeof *self->items);
    self->items[at] = (bb_store_window_t){.id = id, .number_next = 1};
    self->count++;
    return &self->items[at];
}

void bb_store_window_add(bb_store_window_t *self, bb_segment_t *segment,
                         const bb_segment_info_t *info, bool is_damaged)
{
    BB_ASSERT(bb_segment_number(segment) < self->number_next);
    if (self->part_count == self->part_capacity) {
        self->part_capacity = self->part_capacity ? self->part_capacity * 2 : 4;
        self->parts = bb_realloc(self->parts, self->part_capacity * sizeof *self->parts);
    }
    self->parts[self->part_count++] = (bb_window_part_t){segment, *info, is_damaged};
}

void bb_store_window_drop(bb_store_window_t *self, const bb_segment_t *segment)
{
    uint32_t at = 0;
    while (at < self->part_count && self->parts[at].segment != segment) {
        at++;
    }
    BB_ASSERT(at < self->part_count);
    bb_segment_release(&self->parts[at].segment);
    self->part_count--;
    memmove(&self->parts[at], &self->parts[at + 1], (self->part_count - at) * sizeof *self->parts);
}

bool bb_window_part_is_mergeable(const bb_window_part_t *part, size_t map_bytes)
{
    return !part->is_damaged && part->info.bytes < map_bytes / 4;
}

bb_window_totals_t bb_store_window_totals(const bb_store_window_t *self, size_t map_bytes)
{
    bb_window_totals_t totals = {0};
    uint64_t runs = 0;
    uint64_t most = 0; // runs, and so batteries, of one part
    for (uint32_t i = 0; i < self->part_count; i++) {
        const bb_window_part_t *part = &self->parts[i];
        totals.run_count += part->info.run_count;
        totals.point_count += part->info.point_count;
        totals.bytes += part->info.bytes;
        if (bb_window_part_is_mergeable(part, map_bytes)) {
            totals.mergeable_count++;
            runs += part->info.run_count;
            most = BB_MAX(most, part->info.run_count);
        }
    }
    totals.excess_count = runs - most;
    return totals;
}

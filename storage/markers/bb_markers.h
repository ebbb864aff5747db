// SPDX-License-Identifier: Apache-2.0
// bb_markers - what was deleted at one store: the markers of each battery, and its generation.
//
// Pure. Batteries and metrics by the store's numbers. Markers (protocol/bb_marker.h) are a lattice:
// one that another contains (same or all metrics, a longer interval, the same generation or a later
// one) says nothing more, so of a battery exactly the largest elements are kept. Which those are
// does not depend on the order in which markers came. The generation of a battery is the largest
// that any marker or point of it had; it only grows.
//
// Copied when it is changed: jobs and snapshots hold a reference and see one moment, in any thread.
// The owner changes it through the pointer that it owns, and clones it first if others hold it.
//
// Record of a battery, little-endian, no padding:
//      0  u32 generation   4  u32 count of markers
//      8  of each, in the order of s_compare: u32 metric (all bits: all), u32 generation, i64 from,
//         i64 to
#ifndef BB_MARKERS_H
#define BB_MARKERS_H

#include "protocol/bb_base.h"
#include "protocol/bb_error.h"

typedef struct bb_markers bb_markers_t;

#define BB_MARKER_ALL UINT32_MAX // instead of a metric's number

typedef struct {
    uint32_t metric;     // or BB_MARKER_ALL
    uint32_t generation; // >= 1
    int64_t from_wall_ns, to_wall_ns;
} bb_marker_entry_t;
static_assert(sizeof(bb_marker_entry_t) == 24, "on-disk layout");

// Of one battery; borrowed until the markers are changed or released.
typedef struct {
    const bb_marker_entry_t *entries;
    uint32_t count;
} bb_marker_list_t;

bb_markers_t *bb_markers_new(void); // one reference
bb_markers_t *bb_markers_retain(bb_markers_t *self);
void bb_markers_release(bb_markers_t **self);

// Nothing was ever deleted, and no point has a generation.
bool bb_markers_is_empty(const bb_markers_t *self);
bb_marker_list_t bb_markers_of(const bb_markers_t *self, uint32_t battery);
uint32_t bb_markers_generation(const bb_markers_t *self, uint32_t battery);
uint64_t bb_markers_count(const bb_markers_t *self); // of all batteries

// *self may be another object afterwards. True: it says something new. Cost: O(markers of the
// battery); O(all) if others hold a reference.
bool bb_markers_add(bb_markers_t **self, uint32_t battery, const bb_marker_entry_t *marker);
// A point of that generation is there.
bool bb_markers_know(bb_markers_t **self, uint32_t battery, uint32_t generation);

// Calls `emit` with the record of each battery that was changed since the last call, in the order
// in which batteries first came, and forgets that it was.
typedef void (*bb_markers_emit_fn)(void *context, uint32_t battery, bb_slice_t record);
void bb_markers_drain(bb_markers_t *self, bb_markers_emit_fn emit, void *context);
// Takes back what _drain gave. BB_ERR_CORRUPT with a sentence.
BB_MUST_CHECK bb_error_t bb_markers_load(bb_markers_t **self, uint32_t battery, bb_slice_t record,
                                         bb_fault_t *fault);

// ---- asking ----------------------------------------------------------------------------------
// May some point of that revision with first <= time <= last be covered?
static inline bool bb_marker_list_hits(bb_marker_list_t self, uint64_t revision,
                                       int64_t first_wall_ns, int64_t last_wall_ns)
{
    for (uint32_t i = 0; i < self.count; i++) {
        const bb_marker_entry_t *entry = &self.entries[i];
        if (entry->generation > revision >> 32 && entry->from_wall_ns <= last_wall_ns &&
            entry->to_wall_ns > first_wall_ns) {
            return true;
        }
    }
    return false;
}

static inline bool bb_marker_is_of(const bb_marker_entry_t *self, uint32_t metric)
{
    return self->metric == BB_MARKER_ALL || self->metric == metric;
}

// The largest generation of the markers that cover the point; 0: it exists.
static inline uint32_t bb_marker_list_covers(bb_marker_list_t self, uint32_t metric,
                                             uint64_t revision, int64_t time_wall_ns)
{
    uint32_t generation = 0;
    for (uint32_t i = 0; i < self.count; i++) {
        const bb_marker_entry_t *entry = &self.entries[i];
        if (entry->generation > revision >> 32 && bb_marker_is_of(entry, metric) &&
            entry->from_wall_ns <= time_wall_ns && time_wall_ns < entry->to_wall_ns) {
            generation = BB_MAX(generation, entry->generation);
        }
    }
    return generation;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_type_sets - which types each metric of a battery has had, shared by batteries that are alike.
//
// Pure. Owned by one thread (that of the dictionary). A type set is an immutable sorted list of
// (metric, bits of types). Batteries of one make have the same set, so a million of them need one
// list and four bytes each. Sets are counted: one that no battery refers to any more is freed.
#ifndef BB_TYPE_SETS_H
#define BB_TYPE_SETS_H

#include "protocol/bb_value.h"

typedef struct bb_type_sets bb_type_sets_t;

#define BB_TYPE_SET_EMPTY 0u
#define BB_METRICS_MAX    (1u << 28) // metrics of one store

// One entry: the metric's number and a bit (1 << (type - 1)) for each type it has had.
typedef uint32_t bb_type_entry_t;
static inline uint32_t bb_type_entry_metric(bb_type_entry_t entry)
{
    return entry >> 4;
}
static inline bool bb_type_entry_has(bb_type_entry_t entry, uint32_t type)
{
    return entry >> (type - 1) & 1;
}

bb_type_sets_t *bb_type_sets_new(void);
void bb_type_sets_destroy(bb_type_sets_t **self);

// The entries of a set, ascending by metric; borrowed until the next change of self.
const bb_type_entry_t *bb_type_set(const bb_type_sets_t *self, uint32_t set, uint32_t *count);
// The bits of one metric, 0 = it is not in the set. O(log count).
uint32_t bb_type_set_bits(const bb_type_sets_t *self, uint32_t set, uint32_t metric);

// Takes the caller's reference to `set` and returns the set that also has the metrics and types
// given, with one reference for the caller. `shape_serial` names (metrics, types): equal serials
// must mean equal lists; it makes repeated steps cost one look-up. *conflict_count = metrics that
// got another type than they had.
uint32_t bb_type_set_add(bb_type_sets_t *self, uint32_t set, uint32_t shape_serial,
                         const uint32_t *metrics, const uint8_t *types, uint32_t metric_count,
                         uint32_t *conflict_count);
// The set of exactly these entries (ascending by metric, unique), with one reference.
uint32_t bb_type_set_of(bb_type_sets_t *self, const bb_type_entry_t *entries, uint32_t count);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_dictionary - the names of one store: batteries, their attributes and types, and metrics.
//
// Pure. Owned by the store's thread. Batteries and metrics get numbers 0, 1, 2... when they are
// first seen and keep them for ever; segments refer to them by number, so a number is made durable
// before the first segment that uses it. Ids and names lie in memory that never moves and never
// changes while the dictionary lives: slices of them may be read by other threads.
//
// Attributes form a join-semilattice, like points: per key the largest (origin time, value) wins,
// and of more than BB_ATTRIBUTES_MAX keys the smallest stay, whatever the order of arrival.
//
// Memory: 36 bytes and the id per battery, 8 for the tables; types are shared (bb_type_sets.h).
#ifndef BB_DICTIONARY_H
#define BB_DICTIONARY_H

#include "protocol/bb_batch.h"
#include "storage/head/bb_type_sets.h"

typedef struct bb_dictionary bb_dictionary_t;

#define BB_NUMBER_NONE UINT32_MAX

// `seed` of the hash tables: anything that differs between stores.
bb_dictionary_t *bb_dictionary_new(uint64_t seed, uint32_t partition_count);
void bb_dictionary_destroy(bb_dictionary_t **self);

// ---- batteries -------------------------------------------------------------------------------
uint32_t bb_dictionary_battery_count(const bb_dictionary_t *self);
// Finds or adds; the partition of a known battery does not change.
uint32_t bb_dictionary_battery(bb_dictionary_t *self, bb_slice_t id, uint32_t partition);
uint32_t bb_dictionary_battery_find(const bb_dictionary_t *self, bb_slice_t id); // or NONE
// The numbers of all batteries of a batch, BB_NUMBER_NONE = not known. Much faster than one by one
// when there are too many for the cache: their memory is fetched side by side, and a client mostly
// sends its batteries in the order in which it sent them before, so each is first looked for where
// that says; then nothing is hashed.
void bb_dictionary_find_all(bb_dictionary_t *self, const bb_batch_battery_t *batteries,
                            uint32_t count, uint32_t *numbers);
bb_slice_t bb_dictionary_battery_id(const bb_dictionary_t *self, uint32_t battery);
uint32_t bb_dictionary_battery_partition(const bb_dictionary_t *self, uint32_t battery);
// The batteries of a partition in the order of their ids; borrowed until a battery is added. Sorts
// what was added since the last call.
const uint32_t *bb_dictionary_partition(bb_dictionary_t *self, uint32_t partition, uint32_t *count);
// Index of the first battery of the partition (in that order) with an id >= `id`.
uint32_t bb_dictionary_partition_seek(bb_dictionary_t *self, uint32_t partition, bb_slice_t id);

// ---- types -----------------------------------------------------------------------------------
const bb_type_entry_t *bb_dictionary_types(const bb_dictionary_t *self, uint32_t battery,
                                           uint32_t *count);
uint32_t bb_dictionary_type_set(const bb_dictionary_t *self, uint32_t battery);
uint32_t bb_dictionary_type_bits(const bb_dictionary_t *self, uint32_t type_set, uint32_t metric);
// Adds; see bb_type_set_add. Returns how many metrics got a second type.
uint32_t bb_dictionary_types_add(bb_dictionary_t *self, uint32_t battery, uint32_t shape_serial,
                                 const uint32_t *metrics, const uint8_t *types,
                                 uint32_t metric_count);

// ---- attributes ------------------------------------------------------------------------------
void bb_dictionary_attributes_merge(bb_dictionary_t *self, uint32_t battery,
                                    const bb_attribute_t *attributes, uint32_t attribute_count,
                                    int64_t origin_wall_ns);
// Packed attributes, by key; empty when there are none. Borrowed until the next change of self.
bb_slice_t bb_dictionary_attributes(const bb_dictionary_t *self, uint32_t battery);
// Unpacks them; the slices point into `packed`. BB_ERR_CORRUPT: not such bytes.
typedef struct {
    bb_slice_t key;
    bb_slice_t value;
    int64_t origin_wall_ns;
} bb_dictionary_attribute_t;
BB_MUST_CHECK bb_error_t bb_dictionary_attributes_unpack(
    bb_slice_t packed, bb_dictionary_attribute_t out[BB_ATTRIBUTES_MAX], uint32_t *count);
// Those of a battery without their times, as selectors want them; returns how many. Borrowed until
// the next change of self.
uint32_t bb_dictionary_attribute_pairs(const bb_dictionary_t *self, uint32_t battery,
                                       bb_attribute_t out[BB_ATTRIBUTES_MAX]);

// ---- metrics ---------------------------------------------------------------------------------
uint32_t bb_dictionary_metric_count(const bb_dictionary_t *self);
uint32_t bb_dictionary_metric(bb_dictionary_t *self, bb_slice_t name);            // finds or adds
uint32_t bb_dictionary_metric_find(const bb_dictionary_t *self, bb_slice_t name); // or NONE
bb_slice_t bb_dictionary_metric_name(const bb_dictionary_t *self, uint32_t metric);
// ranks[number] = position of the metric in the order of names; borrowed until one is added.
const uint32_t *bb_dictionary_metric_ranks(bb_dictionary_t *self);

// ---- on disk ---------------------------------------------------------------------------------
// Calls `emit` with a number and its record for each metric, then each battery, that is new or
// changed since the last call, and forgets that it is.
typedef void (*bb_dictionary_emit_fn)(void *context, bool is_metric, uint32_t number,
                                      bb_slice_t record);
void bb_dictionary_drain(bb_dictionary_t *self, bb_dictionary_emit_fn emit, void *context);
// Takes back what _drain gave, numbers ascending without a gap. BB_ERR_CORRUPT with a sentence.
BB_MUST_CHECK bb_error_t bb_dictionary_load(bb_dictionary_t *self, bool is_metric, uint32_t number,
                                            bb_slice_t record, bb_fault_t *fault);

// The id in the record of a battery. False: the record is not valid.
bool bb_dictionary_record_id(bb_slice_t record, bb_slice_t *id);

// Order of ids and names: bytes as unsigned, the shorter first on a tie.
int bb_dictionary_compare(bb_slice_t a, bb_slice_t b);

#endif

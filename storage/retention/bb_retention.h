// SPDX-License-Identifier: Apache-2.0
// bb_retention - which retention class each series of a store has, and how far back classes reach.
//
// Pure. Owned by the store's thread. A class gets a number when the store first sees its name and
// keeps it for ever: folders of windows carry it. Class 0 is `default`. A class that is no longer
// in the policy keeps its number, its floor, and the `keep` that it was last given.
//
//   policy ──▶ class of a series       battery set & metric set (protocol/bb_policy.h)
//   clock  ──▶ intake floor            what is older is refused, or left out at replicas
//                 │ a job makes it durable and deletes windows
//                 ▼
//              durable floor           in the meta map; what is older is gone
//
// Both floors only grow (bb_retention_floor). The intake floor moves first, so that nothing older
// comes in while windows go.
//
// Record in the meta map, little-endian, no padding:
//      0  u64 keep_ns, all bits but the sign = for ever   8  i64 durable floor
//     16  name, filled with zeros, 40 bytes
#ifndef BB_RETENTION_H
#define BB_RETENTION_H

#include "protocol/bb_policy.h"
#include "storage/head/bb_dictionary.h"

typedef struct bb_retention bb_retention_t;

#define BB_RETENTION_RECORD_BYTES 56u
#define BB_RETENTION_IDS_MAX      4096u // classes that a store ever had; more are put into default

// Knows `default` only, which keeps everything.
bb_retention_t *bb_retention_new(void);
void bb_retention_destroy(bb_retention_t **self);

// Takes a record back; numbers ascending without a gap, before the first policy. BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_retention_load(bb_retention_t *self, uint32_t class_id,
                                           bb_slice_t record, bb_fault_t *fault);
uint32_t bb_retention_class_count(const bb_retention_t *self);
const char *bb_retention_name(const bb_retention_t *self, uint32_t class_id);
// The record of a class with `floor_wall_ns` as its durable floor.
void bb_retention_record(const bb_retention_t *self, uint32_t class_id, int64_t floor_wall_ns,
                         uint8_t out[BB_RETENTION_RECORD_BYTES]);
// True until _records_saved: some class is new or has another `keep` than its record.
bool bb_retention_is_changed(const bb_retention_t *self);
void bb_retention_records_saved(bb_retention_t *self);

// Keeps a reference. Gives numbers to new names.
void bb_retention_policy_set(bb_retention_t *self, bb_policy_t *policy);
bb_policy_t *bb_retention_policy(const bb_retention_t *self); // never NULL

// ---- floors ----------------------------------------------------------------------------------
// Moves intake floors to where the clock puts them. True when one is above its durable floor.
bool bb_retention_step(bb_retention_t *self, int64_t now_wall_ns);
int64_t bb_retention_intake_floor(const bb_retention_t *self, uint32_t class_id);
int64_t bb_retention_durable_floor(const bb_retention_t *self, uint32_t class_id);
// Nothing at or after this is below any class's intake floor: the quick answer for new points.
int64_t bb_retention_intake_floor_max(const bb_retention_t *self);
// Nothing at or after this has ever gone, of any class there ever was: of such days the points are
// still all there. It moves with bb_retention_saved, when windows go.
int64_t bb_retention_durable_floor_max(const bb_retention_t *self);
// The class's record is in the meta map with this floor.
void bb_retention_saved(bb_retention_t *self, uint32_t class_id, int64_t floor_wall_ns);

// ---- classes of series -----------------------------------------------------------------------
// Bits as bb_policy_battery_classes. O(attributes x classes) the first time, then O(1).
uint64_t bb_retention_battery(bb_retention_t *self, const bb_dictionary_t *dictionary,
                              uint32_t battery);
// The battery's attributes are other ones.
void bb_retention_battery_changed(bb_retention_t *self, uint32_t battery);
uint32_t bb_retention_class_of(const bb_retention_t *self, uint64_t battery_classes,
                               uint64_t metric_classes);
// True when every series has class 0.
bool bb_retention_is_single(const bb_retention_t *self);

// bb_class_map_t - classes of all series and floors at one moment, for a job in another thread.
typedef struct {
    bool is_single;                             // everything is of class 0
    uint32_t id_count;                          // classes that series can have now
    uint32_t ids[BB_RETENTION_CLASSES_MAX + 1]; // their numbers; the index is that of the policy
    // Durable floors of these: what is below is gone. Points between it and the intake floor came
    // in before that moved, and rollups have yet to see them.
    int64_t floors_wall_ns[BB_RETENTION_CLASSES_MAX + 1];
    uint32_t metric_count, battery_count;
    uint64_t *metrics, *batteries; // sets of bits; batteries NULL = all take everything
} bb_class_map_t;

bb_class_map_t *bb_class_map_new(bb_retention_t *retention, const bb_dictionary_t *dictionary);
void bb_class_map_destroy(bb_class_map_t **self);
// Index into ids.
static inline uint32_t bb_class_map_of(const bb_class_map_t *self, uint32_t battery,
                                       uint32_t metric)
{
    if (self->is_single) {
        return 0;
    }
    BB_ASSERT(metric < self->metric_count);
    BB_ASSERT(!self->batteries || battery < self->battery_count);
    uint64_t of_battery = self->batteries ? self->batteries[battery] : UINT64_MAX;
    return bb_policy_join(of_battery, self->metrics[metric]);
}

#endif

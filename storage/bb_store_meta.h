// SPDX-License-Identifier: Apache-2.0
// bb_store_meta - the records of a store's meta map, and how they get there.
//
// Pure but for the driver it is given. Each record carries a checksum (storage/kv/bb_kv_record.h).
// Keys (numbers big-endian, so that they sort) and values (little-endian, no padding):
//
//   'C'                     bb_meta_seal_t: format version, journal files sealed so far
//   'D' u8 kind u16 class u32 day u32 battery    bb_damage.h: what is known to be damaged
//   'F' u8 kind u16 class u32 day     u64 number of a segment, then a bb_meta_fingerprint_t for
//                                     each partition that it has, ascending
//   'H' u16 partition       have-set, as bb_have_set_encode writes it
//   'K' u16 class           retention class, as bb_retention_record writes it
//   'L'                     i64 time: no point in windows is newer. Written before the points are:
//                           a bound at any moment
//   'M' u32 metric          name
//   'N' u32 battery         record of bb_dictionary.c
//   'P'                     a bb_meta_fresh_t for each segment that the newest change of windows
//   put
//                           there; away after a clean stop
//   'T' u8 kind u16 class u32 day     a bb_meta_verified_t for each segment, ascending by number:
//                                     when scrubbing last read all of it
//   'W' u8 kind u16 class u32 day     bb_meta_window_t and a bb_meta_part_t for each segment: which
//                                     folders count, and what is in them
//   'X' u32 battery         generation and markers, as bb_markers.h has them
//
// 'M' sorts before 'N': metrics are known before the batteries whose types name them.
//
// A record that does not verify is never believed. Those of 'D', 'F', 'L', 'P' and 'T' are left
// out: what they say is found again. Without one of the others the store would answer wrong or
// throw away what it has, so it is not opened. No single flipped bit makes one of these a key of
// those.
#ifndef BB_STORE_META_H
#define BB_STORE_META_H

#include "protocol/bb_have_set.h"
#include "storage/bb_store_window.h"
#include "storage/head/bb_dictionary.h"
#include "storage/retention/bb_retention.h"
#include "storage/scrub/bb_damage.h"
#include "storage/segment/bb_fingerprint.h"

#define BB_META_FORMAT 2u

typedef struct {
    uint32_t format;
    uint32_t zero;
    uint64_t sealed_through; // journal files up to this one are in windows
} bb_meta_seal_t;
static_assert(sizeof(bb_meta_seal_t) == 16, "on-disk layout");

typedef struct {
    uint64_t number_next;
    uint32_t part_count;
    uint32_t zero;
} bb_meta_window_t;
static_assert(sizeof(bb_meta_window_t) == 16, "on-disk layout");

typedef struct {
    uint32_t partition;
    uint32_t zero;
    bb_fingerprint_t sum;
} bb_meta_fingerprint_t;
static_assert(sizeof(bb_meta_fingerprint_t) == 24, "on-disk layout");

typedef struct {
    uint64_t number;
    bb_segment_info_t info;
    uint32_t is_damaged; // 0 or 1
    uint32_t zero;
} bb_meta_part_t;
static_assert(sizeof(bb_meta_part_t) == 72, "on-disk layout");

typedef struct {
    uint64_t number; // of the segment that was verified
    int64_t wall_ns;
} bb_meta_verified_t;
static_assert(sizeof(bb_meta_verified_t) == 16, "on-disk layout");

typedef struct {
    uint64_t number;
    uint32_t day;
    uint16_t class_id;
    uint8_t kind;
    uint8_t zero;
} bb_meta_fresh_t;
static_assert(sizeof(bb_meta_fresh_t) == 16, "on-disk layout");

#define BB_META_DAMAGE_KEY_BYTES 12u
void bb_meta_damage_key(const bb_damage_entry_t *entry, uint8_t out[BB_META_DAMAGE_KEY_BYTES]);

// Records that wait to be written. A cleared structure is empty.
typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
} bb_meta_batch_t;

void bb_meta_batch_free(bb_meta_batch_t *self);
void bb_meta_batch_seal(bb_meta_batch_t *self, uint64_t sealed_through);
void bb_meta_batch_newest(bb_meta_batch_t *self, int64_t newest_wall_ns);
void bb_meta_batch_have(bb_meta_batch_t *self, uint32_t partition, const bb_have_set_t *have);
void bb_meta_batch_window(bb_meta_batch_t *self, const bb_store_window_t *window);
// Records of all retention classes; NULL floors = the durable ones.
void bb_meta_batch_classes(bb_meta_batch_t *self, const bb_retention_t *retention,
                           const int64_t *floors_wall_ns);
// Takes the records of a window out of the map, as far as they are there.
BB_MUST_CHECK bb_error_t bb_meta_remove_window(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                               bb_window_id_t id);
void bb_meta_batch_damage(bb_meta_batch_t *self, const bb_damage_entry_t *entry);
// Takes the place of what was recorded of the window. Ascending by number.
void bb_meta_batch_verified(bb_meta_batch_t *self, bb_window_id_t window,
                            const bb_meta_verified_t *verified, uint32_t count);
// Segments of windows that are new, all parts of each; takes the place of those of before.
void bb_meta_batch_fresh(bb_meta_batch_t *self, const bb_store_windows_t *windows);
// What was put last is whole: nothing came in between that and now. No effect if there is none.
BB_MUST_CHECK bb_error_t bb_meta_remove_fresh(bb_kv_driver_t *kv, bb_kv_txn_t *txn);
void bb_meta_batch_fingerprints(bb_meta_batch_t *self, bb_window_id_t window, uint64_t number,
                                const bb_meta_fingerprint_t *sums, uint32_t count);
// There are none any more: what was recorded of the window is void.
void bb_meta_batch_fingerprints_void(bb_meta_batch_t *self, bb_window_id_t window);
// For bb_markers_drain; context is the batch.
void bb_meta_batch_markers(void *self, uint32_t battery, bb_slice_t record);
// That of a partition in a window that is the one segment `number`. BB_ERR_NOT_FOUND: it was never
// computed; CORRUPT: the record does not verify. A partition without points has zeros.
BB_MUST_CHECK bb_error_t bb_meta_fingerprint_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                                 bb_window_id_t window, uint64_t number,
                                                 uint32_t partition, bb_fingerprint_t *sum);
// For bb_dictionary_drain; context is the batch.
void bb_meta_batch_name(void *self, bool is_metric, uint32_t number, bb_slice_t record);
// Puts all of them.
BB_MUST_CHECK bb_error_t bb_meta_batch_write(const bb_meta_batch_t *self, bb_kv_driver_t *kv,
                                             bb_kv_txn_t *txn);

#define BB_META_DAMAGE_TEXT_BYTES 128u // of `what`, its zero included

// What is in the map, as it is met in the order of keys. Any error ends the walk.
typedef struct {
    void *context;
    bb_error_t (*seal)(void *context, const bb_meta_seal_t *seal, bb_fault_t *fault);
    bb_error_t (*have)(void *context, uint32_t partition, bb_slice_t encoded, bb_fault_t *fault);
    bb_error_t (*name)(void *context, bool is_metric, uint32_t number, bb_slice_t record,
                       bb_fault_t *fault);
    // `parts`: part_count of them, borrowed.
    bb_error_t (*window)(void *context, bb_window_id_t id, const bb_meta_window_t *window,
                         const bb_meta_part_t *parts, bb_fault_t *fault);
    // May be NULL: not wanted.
    bb_error_t (*damage)(void *context, const bb_damage_entry_t *entry, bb_fault_t *fault);
    bb_error_t (*verified)(void *context, bb_window_id_t window, const bb_meta_verified_t *verified,
                           bb_fault_t *fault);
    bb_error_t (*newest)(void *context, int64_t newest_wall_ns, bb_fault_t *fault);
    bb_error_t (*retention)(void *context, uint32_t class_id, bb_slice_t record, bb_fault_t *fault);
    bb_error_t (*fresh)(void *context, bb_window_id_t window, uint64_t number, bb_fault_t *fault);
    bb_error_t (*markers)(void *context, uint32_t battery, bb_slice_t record, bb_fault_t *fault);
    // A record that does not verify; `what` names it in a sentence. NULL: needed ones are CORRUPT,
    // the others are passed over.
    bb_error_t (*damaged)(void *context, bool is_needed, const char *what, bb_fault_t *fault);
} bb_meta_visitor_t;

// BB_ERR_CORRUPT: a key or value that is none of ours, or records are missing; BB_ERR_FORMAT: a
// newer format.
BB_MUST_CHECK bb_error_t bb_meta_read(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                      const bb_meta_visitor_t *visitor, bb_fault_t *fault);

// Looks at every record again, and at nothing in them. Those that do not verify and are not needed
// are removed from the map; the others are counted, and `what` names the first. Keys that do not
// ascend or are missing count as one.
typedef struct {
    uint32_t removed_count, damaged_count;
    char what[BB_META_DAMAGE_TEXT_BYTES];
} bb_meta_check_t;
BB_MUST_CHECK bb_error_t bb_meta_check(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                       bb_meta_check_t *found);

#endif

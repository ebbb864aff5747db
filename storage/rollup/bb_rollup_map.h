// SPDX-License-Identifier: Apache-2.0
// bb_rollup_map - what a store keeps of its rollups: an ordered map of its own, beside the windows.
//
// Pure but for the driver it is given. Each record carries a checksum (storage/kv/bb_kv_record.h).
// Numbers in keys are big-endian:
//
//   'D' u16 rollup                       definition, as bb_rollup_definition writes
//   'E' u16 rollup                       u32 day (big-endian): nothing before is kept
//   'M' u16 rollup u32 day u16 partition   a mark: results may be stale. One zero byte
//   'P' u16 0                            u32 day (big-endian): results of days before may be of
//                                        points that were never here
//   'R' u16 0                            some results are gone: they are to be compared with those
//                                        of other replicas. One zero byte
//   'V' u16 rollup u16 partition u32 battery u32 day     bb_rollup_record
//
// A result that does not verify is computed again from points, as are all days when a mark does
// not: which day it was of is not known. Without a definition or a floor nobody knows what the
// results are; they may be all that is left of points that are gone, so the map is not opened then.
//
// Partition 0xffff of a mark means all of them. A mark is durable before the points that it is for
// can be read from a window, and goes in the transaction that puts the new results; so a result
// without a mark, whose day has no points in the head, is exact.
//
// Definition: u8 version 1, u8 unit, i64 every_ns little-endian, then name, site, tag key, tag
// value, metric and zone, each with a zero behind it. What computes something else has other bytes.
#ifndef BB_ROLLUP_MAP_H
#define BB_ROLLUP_MAP_H

#include "protocol/bb_policy.h"
#include "storage/kv/bb_kv.h"

#define BB_ROLLUP_ALL_PARTITIONS   0xffffu
#define BB_ROLLUP_IDS_MAX          (2 * BB_ROLLUPS_MAX) // those of before may still be going
#define BB_ROLLUP_DEFINITION_BYTES 1024u
static_assert(BB_PARTITIONS_MAX <= BB_ROLLUP_ALL_PARTITIONS, "no partition has the number of all");

// Writes at most BB_ROLLUP_DEFINITION_BYTES; returns the length.
size_t bb_rollup_definition(const bb_rollup_t *rollup, uint8_t out[BB_ROLLUP_DEFINITION_BYTES]);

BB_MUST_CHECK bb_error_t bb_rollup_map_define(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                              bb_slice_t definition);
// Calls `visit` for each definition; false from it ends the walk. CORRUPT: a key or value of none
// of ours.
typedef bool (*bb_rollup_definition_fn)(void *context, uint32_t id, bb_slice_t definition);
BB_MUST_CHECK bb_error_t bb_rollup_map_definitions(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                                   bb_rollup_definition_fn visit, void *context);

BB_MUST_CHECK bb_error_t bb_rollup_map_mark(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                            uint32_t day, uint32_t partition);
// No effect if there is none.
BB_MUST_CHECK bb_error_t bb_rollup_map_unmark(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                              uint32_t day, uint32_t partition);
// Marks of a rollup with day in [first, limit), ascending by (day, partition).
typedef bool (*bb_rollup_mark_fn)(void *context, uint32_t day, uint32_t partition);
BB_MUST_CHECK bb_error_t bb_rollup_map_marks(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                             uint32_t day_first, uint32_t day_limit,
                                             bb_rollup_mark_fn visit, void *context);

// Looks at everything but the records. Marks that do not verify are removed, and records under a
// key that cannot be theirs; *removed_count of them: every day of every rollup is stale then.
// CORRUPT: a definition or a floor does not verify.
BB_MUST_CHECK bb_error_t bb_rollup_map_check(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                             uint32_t *removed_count);

// NOT_FOUND; CORRUPT: it does not verify. Borrowed as bb_kv says.
BB_MUST_CHECK bb_error_t bb_rollup_map_get(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                           uint32_t partition, uint32_t battery, uint32_t day,
                                           bb_slice_t *record);
BB_MUST_CHECK bb_error_t bb_rollup_map_put(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                           uint32_t partition, uint32_t battery, uint32_t day,
                                           bb_slice_t record);
// No effect if there is none.
BB_MUST_CHECK bb_error_t bb_rollup_map_remove(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                              uint32_t partition, uint32_t battery, uint32_t day);
// Records of one battery with day in [first, limit), ascending. CORRUPT: one does not verify.
typedef bb_error_t (*bb_rollup_record_fn)(void *context, uint32_t day, bb_slice_t record);
BB_MUST_CHECK bb_error_t bb_rollup_map_records(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                               uint32_t partition, uint32_t battery,
                                               uint32_t day_first, uint32_t day_limit,
                                               bb_rollup_record_fn visit, void *context);
// Removes up to `budget` records and marks of days before day_limit, and writes that day down: what
// is gone does not come back, however long is kept later. *more: some may be left. Costs a seek a
// battery.
BB_MUST_CHECK bb_error_t bb_rollup_map_expire(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                              uint32_t day_limit, uint32_t budget, bool *more);
// That day; 0: none was ever removed.
BB_MUST_CHECK bb_error_t bb_rollup_map_floor(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                             uint32_t *day);
// The first record of the partition at or behind (*battery, *day), whose place it puts there.
// NOT_FOUND: there is none.
BB_MUST_CHECK bb_error_t bb_rollup_map_seek(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                            uint32_t partition, uint32_t *battery, uint32_t *day);
// 'P' and 'R'; no entry: 0 and false.
BB_MUST_CHECK bb_error_t bb_rollup_map_passed(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t *day);
BB_MUST_CHECK bb_error_t bb_rollup_map_pass(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t day);
BB_MUST_CHECK bb_error_t bb_rollup_map_has_gaps(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bool *gaps);
BB_MUST_CHECK bb_error_t bb_rollup_map_put_gaps(bb_kv_driver_t *kv, bb_kv_txn_t *txn, bool gaps);
// Looks at records behind `*place` until `budget_bytes` of them were read; those that do not verify
// are removed; *removed_count of them: what they said, and of which battery and day, is not known.
// A cleared place is the beginning; it is again at the end. CORRUPT: they do not ascend.
typedef struct {
    uint8_t key[13];
    uint8_t length;
} bb_rollup_place_t;
BB_MUST_CHECK bb_error_t bb_rollup_map_check_records(bb_kv_driver_t *kv, bb_kv_txn_t *txn,
                                                     uint64_t budget_bytes,
                                                     bb_rollup_place_t *place,
                                                     uint32_t *removed_count);

// Removes up to `budget` keys of a rollup, its definition last; *more: some are left.
BB_MUST_CHECK bb_error_t bb_rollup_map_drop(bb_kv_driver_t *kv, bb_kv_txn_t *txn, uint32_t id,
                                            uint32_t budget, bool *more);

#endif

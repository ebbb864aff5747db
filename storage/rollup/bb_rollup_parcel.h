// SPDX-License-Identifier: Apache-2.0
// bb_rollup_parcel - results of one battery on their way from one store to another.
//
// Pure. A store's records name metrics by numbers of its own and lie under a number of its own for
// the rollup; in a parcel both are spelled out once. Little-endian:
//
//   u8   version, 1
//   u16  number of definitions; each: u16 length, bytes (bb_rollup_definition)
//   u32  number of metrics; each: u16 length, name
//   then to the end, each: u32 day, u16 definition, u32 length, a record (bb_rollup_record.h) whose
//        metrics count in the list above
#ifndef BB_ROLLUP_PARCEL_H
#define BB_ROLLUP_PARCEL_H

#include "storage/rollup/bb_rollup_map.h"
#include "storage/rollup/bb_rollup_record.h"
#include "storage/segment/bb_fingerprint.h"

// ---- packing ---------------------------------------------------------------------------------
typedef struct bb_rollup_parcel bb_rollup_parcel_t;

// Metrics by number of the store, borrowed.
bb_rollup_parcel_t *bb_rollup_parcel_new(const bb_slice_t *metric_names, uint32_t metric_count);
void bb_rollup_parcel_destroy(bb_rollup_parcel_t **self);
// Adds what the series of one battery have in one day; nothing if they have nothing.
void bb_rollup_parcel_add(bb_rollup_parcel_t *self, bb_slice_t definition, uint32_t day,
                          const bb_rollup_series_t *const *series, uint32_t series_count);
size_t bb_rollup_parcel_bytes(const bb_rollup_parcel_t *self); // of the records; 0: it is empty
// The bytes, malloc'd, with `room` in front that the caller fills. Nothing is in `self` then.
uint8_t *bb_rollup_parcel_take(bb_rollup_parcel_t *self, size_t room, size_t *length);

// ---- unpacking -------------------------------------------------------------------------------
typedef struct {
    bb_slice_t bytes; // borrowed, as is all else
    uint32_t definition_count;
    bb_slice_t definitions[BB_ROLLUPS_MAX];
    uint32_t metric_count;
    bb_slice_t *metrics; // owned
    size_t at;
} bb_rollup_unpacking_t;

typedef struct {
    uint32_t day, definition;
    bb_slice_t record;
} bb_rollup_packed_t;

// Takes any bytes. BB_ERR_MESSAGE_CORRUPT: they are no parcel; nothing is to be freed.
BB_MUST_CHECK bb_error_t bb_rollup_unpacking_open(bb_rollup_unpacking_t *self, bb_slice_t bytes);
void bb_rollup_unpacking_close(bb_rollup_unpacking_t *self);
// The next record; NOT_FOUND at the end, MESSAGE_CORRUPT.
BB_MUST_CHECK bb_error_t bb_rollup_unpacking_next(bb_rollup_unpacking_t *self,
                                                  bb_rollup_packed_t *packed);
// Adds the pieces of a record to `set` as those of battery 0, metrics by their place in the list.
// MESSAGE_CORRUPT: they are not what a rollup with that calendar and selector has of that day.
BB_MUST_CHECK bb_error_t bb_rollup_unpacking_read(const bb_rollup_unpacking_t *self,
                                                  const bb_rollup_packed_t *packed,
                                                  const bb_calendar_t *calendar,
                                                  const bb_selector_t *selector,
                                                  bb_rollup_set_t *set);

// ---- comparing -------------------------------------------------------------------------------
// Adds the pieces of a series to a sum that is equal on two stores when the results are. Names as
// bb_fingerprint_name of the definition and the metric.
void bb_rollup_parcel_hash(const uint8_t *key, bb_fingerprint_name_t definition,
                           bb_fingerprint_name_t metric, const bb_rollup_series_t *series,
                           bb_fingerprint_t *sum);

#endif

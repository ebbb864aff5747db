// SPDX-License-Identifier: Apache-2.0
// bb_fingerprint - a sum over points that two replicas have alike if they hold the same points.
//
// Pure. Each point is hashed with keys that follow from the cluster, the battery's id, the metric's
// name, the type and the revision; a fingerprint is the sum of its points' hashes, modulo 2^64 in
// each half. Ids and names are hashed once (SipHash-2-4 with 128 bits) and then multiplied: a
// million batteries have a handful of rows a run, and hashing strings for each of their columns
// took as long as all else. So it does not depend on the order of points, on how runs, blocks and
// segments are cut, or on the numbers a store gave to names; and what is taken away can be
// subtracted. Points must be merged: one that is there twice counts twice. The hash of a point is
// two folded multiplications (Yi, "wyhash", 2019; Dietzfelbinger et al., "A reliable randomized
// algorithm for the closest-pair problem", 1997, for multiplication with random keys): about a
// nanosecond.
#ifndef BB_FINGERPRINT_H
#define BB_FINGERPRINT_H

#include "storage/segment/bb_run.h"

#define BB_FINGERPRINT_KEY_BYTES 16u

typedef struct {
    uint64_t low, high;
} bb_fingerprint_t;

// The id of a battery or the name of a metric, hashed: equal strings are so only as the same kind.
typedef enum {
    BB_FINGERPRINT_BATTERY = 1,
    BB_FINGERPRINT_METRIC,
    BB_FINGERPRINT_ATTRIBUTES, // of a battery, packed
    BB_FINGERPRINT_RESULT,     // of a rollup: its definition, or a piece
} bb_fingerprint_kind_t;
typedef struct {
    uint64_t a, b;
} bb_fingerprint_name_t;
bb_fingerprint_name_t bb_fingerprint_name(const uint8_t *key, bb_fingerprint_kind_t kind,
                                          bb_slice_t name);

// What a run's numbers mean.
typedef struct {
    const uint8_t *key; // BB_FINGERPRINT_KEY_BYTES, the same on all replicas
    bb_fingerprint_name_t battery;
    const bb_fingerprint_name_t *metrics; // by number
    uint32_t metric_count;
} bb_fingerprint_names_t;

// Adds every point of a run. BB_ERR_CORRUPT: a block does not verify, or a metric has no name; then
// *self holds anything.
BB_MUST_CHECK bb_error_t bb_fingerprint_add_run(bb_fingerprint_t *self,
                                                const bb_fingerprint_names_t *names,
                                                const bb_run_t *run);
// Every point of all members of a shared run; batteries[i] is member i, that of `names` is ignored.
// Much faster than one view after the other.
BB_MUST_CHECK bb_error_t bb_fingerprint_add_shared(bb_fingerprint_t *self,
                                                   const bb_fingerprint_names_t *names,
                                                   const bb_fingerprint_name_t *batteries,
                                                   struct bb_shared_run *shared);
// The same of a run that is about to be written: equal to that of the run when it is read back.
BB_MUST_CHECK bb_error_t bb_fingerprint_add_input(bb_fingerprint_t *self,
                                                  const bb_fingerprint_names_t *names,
                                                  const bb_run_input_t *input);

#endif

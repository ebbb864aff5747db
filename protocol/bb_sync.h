// SPDX-License-Identifier: Apache-2.0
// bb_sync - words of segment sync: windows and leaves, and what replicas ask each other of them.
//
// Pure types. storage/bb_store_sync.h says what windows, leaves and buckets are and computes them;
// node/background/bb_segment_sync.h says who asks what, when.
//
//   target                                  source
//     WINDOWS   which windows may hold something?   ──▶ list
//     BUCKETS   sums of the leaves of a window?     ──▶ up to 256 sums
//     FETCH     batteries of these buckets, but     ──▶ batches, page by page
//               those that have one of these leaves
//
// Results of rollups are asked for when the points have come: WINDOWS with a window of RESULTS,
// whose day is the target's limit.
#ifndef BB_SYNC_H
#define BB_SYNC_H

#include "protocol/bb_error.h"
#include "protocol/bb_have_set.h"
#include "protocol/bb_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

// Batteries of a window fall into this many buckets, by the lowest bits of their hash.
#define BB_SYNC_BUCKETS       256u
#define BB_SYNC_BUCKETS_BYTES (BB_SYNC_BUCKETS / 8)

// Stable numbers, on the wire.
typedef enum {
    BB_SYNC_NORMAL = 0,
    BB_SYNC_QUARANTINE = 1,
    BB_SYNC_ATTRIBUTES = 2, // of batteries; day 0
    BB_SYNC_RESULTS = 3,    // of rollups, of several days; the day is that behind the last
} bb_sync_kind_t;
#define BB_SYNC_KIND_LAST BB_SYNC_RESULTS

// Results of days that retention has passed by, or is about to: of the others each replica has the
// points. A window of them begins with a day that this divides, and ends behind `day`.
#define BB_SYNC_RESULTS_DAYS 32u
// No source has given up a day that begins so many days behind the target's clock.
#define BB_SYNC_RESULTS_AHEAD_DAYS 2u

typedef struct {
    uint32_t kind; // bb_sync_kind_t
    uint32_t day;  // from 1970-01-01
} bb_sync_window_t;

// The first day of a window of results.
static inline uint32_t bb_sync_results_first(uint32_t day)
{
    return day == 0 ? 0 : (day - 1) / BB_SYNC_RESULTS_DAYS * BB_SYNC_RESULTS_DAYS;
}

static inline int bb_sync_window_compare(bb_sync_window_t a, bb_sync_window_t b)
{
    uint64_t left = (uint64_t)a.kind << 32 | a.day;
    uint64_t right = (uint64_t)b.kind << 32 | b.day;
    return (left > right) - (left < right);
}

// All points of one battery in a window. Batteries are named by the hash of their ids under the
// cluster's key; two with the same one share a leaf. In an answer to BUCKETS: the sum of a bucket,
// whose number takes the battery's place.
typedef struct {
    uint64_t battery;
    uint64_t low, high;
} bb_sync_leaf_t;

#define BB_SYNC_WINDOWS_MAX (2u * BB_WINDOWS_MAX + 1)
#define BB_SYNC_LEAVES_MAX  (1u << 18) // of one message; what a target leaves out is sent again
#define BB_SYNC_PIECES_MAX  4096u      // batches of one answer, and batteries with attributes

typedef enum {
    BB_SYNC_STEP_WINDOWS = 1,
    BB_SYNC_STEP_BUCKETS = 2,
    BB_SYNC_STEP_FETCH = 3,
} bb_sync_step_t;
#define BB_SYNC_STEP_LAST BB_SYNC_STEP_FETCH

// What a question and its answer are about; an answer repeats it.
typedef struct {
    bb_sync_step_t step;
    uint32_t partition;
    bb_sync_window_t window; // WINDOWS: zeros, or of results: list those, of days before its day
} bb_sync_topic_t;

typedef struct {
    bb_sync_topic_t topic;
    uint8_t buckets[BB_SYNC_BUCKETS_BYTES]; // FETCH: a bit for each that is wanted
    uint32_t leaf_count;
    const bb_sync_leaf_t *leaves; // FETCH: ascending by battery
    bb_slice_t battery_first;     // FETCH: id to go on with; empty = from the first
    int64_t from_wall_ns;
} bb_sync_question_t;

typedef struct {
    bb_slice_t id;
    bb_slice_t packed; // attributes, as bb_dictionary packs them; or results, as a parcel
} bb_sync_pair_t;

typedef struct {
    bb_sync_topic_t topic;
    bb_stream_t incarnation; // of the source
    bb_error_t error;        // OK, BUSY, or CORRUPT: damage here, ask another
    uint32_t window_count;
    const bb_sync_window_t *windows; // ascending
    uint32_t leaf_count;
    const bb_sync_leaf_t *leaves; // BUCKETS: ascending, those that are not zero
    uint32_t batch_count;
    const bb_slice_t *batches; // FETCH; their bytes may lie anywhere
    uint32_t pair_count;
    const bb_sync_pair_t *pairs; // FETCH of attributes, beside batches of markers; of results
    bool has_more;
    bb_slice_t battery_next; // go on with
    int64_t from_next_wall_ns;
} bb_sync_answer_t;

// Of what a FETCH brought.
static inline uint64_t bb_sync_answer_bytes(const bb_sync_answer_t *answer)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < answer->batch_count; i++) {
        bytes += answer->batches[i].length;
    }
    for (uint32_t i = 0; i < answer->pair_count; i++) {
        bytes += answer->pairs[i].id.length + answer->pairs[i].packed.length;
    }
    return bytes;
}

#ifdef __cplusplus
}
#endif
#endif

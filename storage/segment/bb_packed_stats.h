// SPDX-License-Identifier: Apache-2.0
// bb_packed_stats - the statistics of one block in about ten bytes.
//
// Pure. Measured values are decimals of few digits, so minimum, maximum, first and last are kept as
// integers k with value = k / 10^exponent, counted from the minimum; what is no decimal is kept as
// words. All come back with the bits they had. The sum is kept as an integer of that exponent, too,
// where it is one; else in full (protocol/bb_sum.h). It is always exact.
//
//   u8  flags: bits 0-3 exponent of ten, 15 = words; 4 rows are lacking; 5 the sum in full;
//       6 all values are the same; 7 zero
//   if rows are lacking: varint values, varint first time - begin, varint end - last time (ns)
//   decimals:  folded varint min; unless all the same: varints max - min, first - min, last - min
//   words:     u64 min; unless all the same: u64 max, u64 first, u64 last
//   sum:       STATE: none; bit 5: as bb_sum_encode writes it; else (decimals only):
//              varint sum - values x min
//
// No bytes at all stand for a block without values.
#ifndef BB_PACKED_STATS_H
#define BB_PACKED_STATS_H

#include "storage/segment/bb_run.h"

// Flags, three varints of ten bytes, four words as varints, the sum.
#define BB_PACKED_STATS_BYTES_MAX (1u + 30u + 40u + BB_SUM_BYTES_MAX)
static_assert(BB_PACKED_STATS_BYTES_MAX <= UINT8_MAX, "runs keep their length in a byte");

// What the reader knows without them: where the block is and how many rows it has.
typedef struct {
    bb_type_t type; // STATE: min, max, first, last are positions in the table of texts
    uint32_t row_count;
    int64_t first_wall_ns, last_wall_ns; // of its rows
} bb_packed_stats_frame_t;

// Returns the bytes written. stats->count <= row_count (0: no bytes), times within the frame.
size_t bb_packed_stats_encode(const bb_packed_stats_frame_t *frame, const bb_block_stats_t *stats,
                              uint8_t out[BB_PACKED_STATS_BYTES_MAX]);

// Any bytes are safe. BB_ERR_CORRUPT: they are not as they were written.
BB_MUST_CHECK bb_error_t bb_packed_stats_decode(const bb_packed_stats_frame_t *frame,
                                                bb_slice_t packed, bb_block_stats_t *stats);

#endif

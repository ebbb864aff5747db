// SPDX-License-Identifier: Apache-2.0
// bb_times - times of a device that reports at fixed steps, more or less.
//
// Pure. Rows lie on a grid, one step apart, in units of their common divisor. A gap moves the grid
// from one row on (missing reports, a restart); jitter moves one row off it. A few of either cost
// only themselves: that is what differences with patches do badly, where each late row costs two.
//
//   mode     u8      0 all rows on the grid; 1 some are off: a bitmap; 2 all are off
//                    bit 7: the base is in units of the scale
//   scale    varint  >= 1
//   base     signed  the grid at row 0
//   step     signed  in units
//   gaps     varint  how many; each: varint rows since the gap before (or row 0), signed move
//   bitmap   (1)     bit r % 8 of byte r / 8: row r is off the grid; spare bits zero
//   jitter   (1, 2)  packed integers (bb_packed.h), in units, of the rows that are off
#ifndef BB_TIMES_H
#define BB_TIMES_H

#include "storage/encoding/bb_packed.h"

// Writes at most BB_TIMES_BYTES_MAX(count); returns 0 if the integers are not like that at all.
#define BB_TIMES_BYTES_MAX(count) (BB_PACKED_BYTES_MAX(count) + 4u * (count) + 64u)
size_t bb_times_encode(bb_packer_t *packer, const uint64_t *integers, uint32_t count, uint8_t *out);

BB_MUST_CHECK bool bb_times_decode(bb_slice_t encoded, uint32_t count, uint64_t *integers);

// Rows of a block by buckets [n x every, (n + 1) x every) of their times; buckets without rows are
// left out.
typedef struct {
    uint32_t count;
    int64_t starts[BB_BLOCK_ROWS_MAX];
    uint32_t row_limits[BB_BLOCK_ROWS_MAX]; // ascending; the last one is the number of rows
} bb_times_cuts_t;

// By arithmetic on the grid, without decoding a time. False: not sure, because a row lies so near
// to the limit of a bucket that its jitter decides, or because these are not ascending times from 0
// on that begin with `first` and end with `last`. Then decode them and use the other one.
bool bb_times_cut(bb_slice_t encoded, uint32_t count, int64_t first, int64_t last, int64_t every,
                  bb_times_cuts_t *cuts);
// Of ascending times from 0 on.
void bb_times_cut_decoded(const int64_t *times, uint32_t count, int64_t every,
                          bb_times_cuts_t *cuts);

#endif

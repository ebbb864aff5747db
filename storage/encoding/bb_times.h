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

#endif

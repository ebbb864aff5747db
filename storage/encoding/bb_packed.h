// SPDX-License-Identifier: Apache-2.0
// bb_packed - sequences of 64-bit integers as a base and bits: frame of reference, differences,
// differences of differences, each patched. The ground that most encodings stand on.
//
// Pure. integer = base + scale x offset. Offsets are cut into minis of 256 (the last one may be
// shorter); each has a width and a reference of its own, so that calm stretches cost little beside
// wild ones. What lies outside of a mini's window is patched. Blocks whose offsets are below 2^30
// are narrow: full minis lie in lanes (bb_lanes.h) and totals come straight from them. Others are
// wide: 64-bit arithmetic, one integer after the other. All arithmetic is modulo 2^32 or 2^64.
//
//   flags           u8      bits 0-1: order 0, 1, 2; 2: wide; 3: scale follows; 4: the base is in
//                           units of the scale; 5, 6 (narrow): the residuals follow as
//                           bb_entropy.h or bb_arithmetic.h say, not as minis
//   base            signed  order 0: the first integer; else what comes before it
//   slope           signed  order 2: what comes before the first difference, in offsets
//   scale           varint  >= 2
//   minis           each:   u8 bits 0-5: width (63 means 64); 6: patches; 7: a reference follows
//     reference     signed  else that of the mini before, at first 0
//     patch count   u8      (if any) and u8 bytes of a patch: [1, 4] narrow, [1, 8] wide
//     bits          full and narrow: lanes; else one after the other (protocol/bb_bitpack.h)
//     patch rows    u8 each, ascending, in the mini; then the patches, fixed bytes each: folded
//                   residual - reference, in place of the bits
//
// Rows of full minis of narrow blocks are counted as they lie in lanes; by columns if the order is
// 1 or 2.
// Sources: Zukowski, Heman, Nes, Boncz, "Super-Scalar RAM-CPU Cache Compression" (ICDE 2006) for
// patched packing; Lemire, Boytsov (2015) for a width per mini-block.
#ifndef BB_PACKED_H
#define BB_PACKED_H

#include "protocol/bb_limits.h"
#include "storage/encoding/bb_bytes.h"
#include "storage/encoding/bb_encoding.h"

#define BB_PACKED_ORDER_MAX 2u
// More than any encoding of `count` integers takes: header, a header per mini, and integers that
// are all patched.
#define BB_PACKED_BYTES_MAX(count) (64u + 20u * (count))

// Scratch memory of one thread.
typedef struct bb_packer bb_packer_t;
bb_packer_t *bb_packer_new(void);
void bb_packer_destroy(bb_packer_t **self);

// bb_encoding.h says what aims are for. Small takes whichever of the three forms costs the least,
// bytes and time together, a nanosecond a value being worth 1/256 of the bytes: the entropy form
// takes 3, the arithmetic one 3 and 6 for each bit. Brief: nothing but minis. Fast: as below.
void bb_packer_set_aim(bb_packer_t *self, bb_encoder_aim_t aim);

// Fast: the entropy form decodes three times as slowly. It is for columns that it keeps serving,
// not for the one block in which a battery changes its mode: so `may` says whether the next calls
// may use it (at first they may), and bb_packer_has_surprises whether it would have paid, used or
// not, in any call since.
void bb_packer_set_surprises(bb_packer_t *self, bool may);
bool bb_packer_has_surprises(const bb_packer_t *self);

// Writes the smallest form that the estimate of orders promises (`orders`: bit set of those that
// may be used, not empty). `scaled`: look for a common divisor, which costs a little.
// 1 <= count <= BB_BLOCK_ROWS_MAX. Returns the bytes.
size_t bb_packed_encode(bb_packer_t *packer, const uint64_t *integers, uint32_t count,
                        uint32_t orders, bool scaled, uint8_t *out);

// The form of `count` times the same integer, at most 16 bytes.
size_t bb_packed_encode_same(const bb_packer_t *packer, uint64_t integer, uint32_t count,
                             uint8_t *out);

// About how many bits per integer that would take, times count; for comparing alternatives.
uint64_t bb_packed_estimate(bb_packer_t *packer, const uint64_t *integers, uint32_t count);
// The same without minis: what aiming at small will come near to. Takes ten times as long.
uint64_t bb_packed_estimate_small(bb_packer_t *packer, const uint64_t *integers, uint32_t count,
                                  bool scaled);

// A form that is being read; `bytes` is borrowed.
typedef struct {
    uint32_t count, order;
    bool is_wide;
    bool is_entropy, is_arithmetic; // no minis: bb_entropy.h, or bb_arithmetic.h if both are set
    uint64_t base, slope, scale;
    bb_reader_t minis;
} bb_packed_t;

// False: not a form of `count` integers as far as the header shows.
BB_MUST_CHECK bool bb_packed_open(bb_packed_t *self, bb_slice_t bytes, uint32_t count);

// Bases, scales and offsets whose totals fit 64 bits and that doubles add without rounding: all
// that is ever written for numbers of few digits. base < 2^52, scale <= 2^20, offset < 2^31.
static inline bool bb_packed_is_plain(const bb_packed_t *self)
{
    return !self->is_wide && self->scale <= 1u << 20 &&
           self->base + (UINT64_C(1) << 52) <= UINT64_C(1) << 53;
}

// The offsets of a narrow form in their order: integer = base + scale x offset, as signed numbers
// modulo 2^64. There is room for BB_BLOCK_ROWS_MAX, and behind the last one lies anything. False:
// corrupt; then all of `offsets` holds anything.
BB_MUST_CHECK bool bb_packed_offsets(const bb_packed_t *self, int32_t *offsets);

// Bounds of the offsets of a narrow form of order 0, from widths and references alone: no offset is
// outside, and perhaps none is near. False: another form (all without minis, too), or not as far
// as the heads show.
BB_MUST_CHECK bool bb_packed_bounds(const bb_packed_t *self, int64_t *min, int64_t *max);

// The integers of any form.
BB_MUST_CHECK bool bb_packed_integers(const bb_packed_t *self, uint64_t *integers);

// Totals of the offsets of a narrow form, without writing them where they are small. False:
// corrupt.
typedef struct {
    int32_t min, max, first, last;
    int64_t sum;
} bb_packed_totals_t;
BB_MUST_CHECK bool bb_packed_totals(const bb_packed_t *self, bb_packed_totals_t *totals);

#endif

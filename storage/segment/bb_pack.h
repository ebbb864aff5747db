// SPDX-License-Identifier: Apache-2.0
// bb_pack - the runs of neighbouring batteries in one value, with an index in front.
//
// Pure. Packs are what a segment's map holds: large enough (about 256 KiB) that the map's own cost
// and the rounding to pages do not count, and found by one look-up because each says where the one
// before ended. Runs ascend by (partition, battery); a battery may have several, also in the next
// pack. A run that neighbours share (bb_shared_run.h) lies there once, and the entry of each of
// them names it.
//
//   0  "BBP2"
//   4  u32 CRC-32C of bytes [8, end of the index)
//   8  u32 seq        0, 1, 2 ... within the segment
//  12  u32 entries    at least 1
//  16  u64 before     partition << 32 | battery of the last run before this pack; all ones: none
//  24  u32 runs       at least 1, at most one an entry
//  28  u32 battery of each entry
//      u32 offset of each run, from the start of the pack, a multiple of 4
//      u16 partition of each entry
//      u16 run of each entry: numbered in the order in which entries name them first
//      runs, each followed by zeros up to a multiple of 4
#ifndef BB_PACK_H
#define BB_PACK_H

#include "protocol/bb_error.h"

#define BB_PACK_BYTES     (256u << 10) // a writer ends a pack before it grows beyond
#define BB_PACK_KEY_BYTES 10u
#define BB_PACK_NONE      UINT64_MAX // no battery: before the first pack
// Positions of batteries in a segment.
static inline uint64_t bb_pack_place(uint32_t partition, uint32_t battery)
{
    return (uint64_t)partition << 32 | battery;
}

// ---- keys ------------------------------------------------------------------------------------
// u16 partition, u32 battery of the last run, u32 seq, big-endian: the first key at or after a
// battery's is that of the first pack that may hold it.
void bb_pack_key_encode(uint8_t out[BB_PACK_KEY_BYTES], uint64_t place, uint32_t seq);
bool bb_pack_key_decode(bb_slice_t key, uint64_t *place, uint32_t *seq);

// ---- writing ---------------------------------------------------------------------------------
typedef struct {
    uint64_t place;
    uint32_t run;
} bb_pack_entry_t;

// Collects a pack. A cleared structure is empty.
typedef struct {
    bb_pack_entry_t *entries;
    uint32_t entry_count, entry_capacity;
    uint32_t *offsets; // of the runs in `runs`
    uint32_t run_count, run_capacity;
    uint8_t *runs;
    size_t length, capacity;
} bb_pack_writer_t;

#define BB_PACK_RUNS_MAX 65536u

void bb_pack_writer_clear(bb_pack_writer_t *self); // keeps its memory
void bb_pack_writer_free(bb_pack_writer_t *self);
// Copies a run, at most BB_PACK_RUNS_MAX of them, and says which one it is. An entry must name it
// before the next is put.
uint32_t bb_pack_writer_put(bb_pack_writer_t *self, bb_slice_t run);
// An entry of a battery that is not before the last one, for a run that was put.
void bb_pack_writer_name(bb_pack_writer_t *self, uint64_t place, uint32_t run);
// Both: a run of one battery.
void bb_pack_writer_add(bb_pack_writer_t *self, uint64_t place, bb_slice_t run);
size_t bb_pack_writer_bytes(const bb_pack_writer_t *self); // of the pack as it is
// Writes the pack into `out`, which has room for bb_pack_writer_bytes, and empties the writer.
void bb_pack_writer_finish(bb_pack_writer_t *self, uint32_t seq, uint64_t before, uint8_t *out);

// ---- reading ---------------------------------------------------------------------------------
typedef struct {
    bb_slice_t bytes;
    uint32_t seq, entry_count, run_count;
    uint64_t before;
    const uint8_t *batteries_raw, *offsets_raw, *partitions_raw, *runs_raw;
} bb_pack_t;

// `bytes` must be 4-byte aligned and outlive self. The index is checked; runs check themselves.
// BB_ERR_CORRUPT, BB_ERR_FORMAT (a newer version).
BB_MUST_CHECK bb_error_t bb_pack_open(bb_pack_t *self, bb_slice_t bytes, bb_fault_t *fault);
uint64_t bb_pack_entry_place(const bb_pack_t *self, uint32_t index);
// The run that the entry names; others may name it, too.
bb_slice_t bb_pack_entry_run(const bb_pack_t *self, uint32_t index);
// The first entry at or after the place; entry_count: there is none.
uint32_t bb_pack_find(const bb_pack_t *self, uint64_t place);

#endif

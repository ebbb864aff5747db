// SPDX-License-Identifier: Apache-2.0
// bb_shared_run - one run for the rows of many neighbouring batteries, read battery by battery.
//
// Of a battery that is heard once a minute a flush has a handful of rows. As a run of its own each
// battery would pay for a head, a checksum and the choice of an encoding per column, which costs
// more than the values do. Neighbours with the same columns and revision therefore share one:
//
//   block 0   | battery 7: rows | battery 9: rows | battery 12: rows | ...     about 1,000 rows
//   block 1   | battery 7: rows | battery 12: rows | ...                       of a later flush
//
// A merge puts blocks of the same batteries side by side as they are; when a battery has gathered
// enough rows, it gets a run of its own (storage/segment/bb_run_group.h).
//
// Opened, it decodes the times; a column's block is decoded when the first battery asks for it and
// kept, so that a walk over all batteries decodes each block once. bb_shared_run_view gives a
// bb_run_t of one battery, which reads like a run of its own. Pure; one thread at a time. Views
// borrow the shared run, until it is opened again or destroyed, and the encoded bytes.
//
// Memory: for each row that was decoded 8 bytes a column.
#ifndef BB_SHARED_RUN_H
#define BB_SHARED_RUN_H

#include "storage/segment/bb_run.h"

typedef struct bb_shared_run bb_shared_run_t;

// The rows of one battery in one block.
typedef struct {
    uint32_t block;
    uint16_t first, rows; // of the block; rows >= 1
} bb_shared_stretch_t;

bb_shared_run_t *bb_shared_run_new(void); // keeps its memory from one run to the next
void bb_shared_run_destroy(bb_shared_run_t **self);

// Checks the head, the members and all times. Errors of bb_run_open; also CORRUPT: it is a run of
// one battery. After an error nothing is open. `encoded` as in bb_run_open.
BB_MUST_CHECK bb_error_t bb_shared_run_open(bb_shared_run_t *self, bb_slice_t encoded,
                                            bb_fault_t *fault);
void bb_shared_run_close(bb_shared_run_t *self); // nothing is open

// All rows of all batteries: its blocks may be copied, or read as a whole.
const bb_run_t *bb_shared_run_whole(const bb_shared_run_t *self);
uint32_t bb_shared_run_battery(const bb_shared_run_t *self, uint32_t member);
// The member that is the battery, or UINT32_MAX.
uint32_t bb_shared_run_find(const bb_shared_run_t *self, uint32_t partition, uint32_t battery);
// Where the rows of a member are, in the order of times; *count >= 1.
const bb_shared_stretch_t *bb_shared_run_stretches(const bb_shared_run_t *self, uint32_t member,
                                                   uint32_t *count);

// The rows of a member in one block. False: it has none there. Cost: the member's blocks.
typedef struct {
    uint32_t rows;
    int64_t first_wall_ns, last_wall_ns;
} bb_shared_times_t;
bool bb_shared_run_times_in(const bb_shared_run_t *self, uint32_t member, uint32_t block,
                            bb_shared_times_t *times);

// All members block by block, as their rows lie.
const bb_shared_stretch_t *bb_shared_run_listed(const bb_shared_run_t *self,
                                                const uint32_t **members, size_t *count);
const int64_t *bb_shared_run_block_times(const bb_shared_run_t *self, uint32_t block);
// Decoded values of a block, one for each row of it; *presence: which of them count, NULL = all.
// Valid as long as the run is open.
BB_MUST_CHECK bb_error_t bb_shared_run_block_values(bb_shared_run_t *self, uint32_t column_index,
                                                    uint32_t block, const uint64_t **values,
                                                    const uint64_t **presence);

// The run of one member. BB_ERR_CORRUPT: which rows a column has cannot be read.
BB_MUST_CHECK bb_error_t bb_shared_run_view(bb_shared_run_t *self, uint32_t member, bb_run_t *view);

// ---- for bb_run_reader.c: what the functions of bb_run.h do for a view -----------------------
bb_shared_stretch_t bb_shared_run_stretch(const bb_run_t *view, uint32_t block_index);
void bb_shared_run_range(const bb_run_t *view, uint32_t block_index, int64_t *first_wall_ns,
                         int64_t *last_wall_ns);
void bb_shared_run_times(const bb_run_t *view, uint32_t block_index, int64_t *out_wall_ns);
BB_MUST_CHECK bb_error_t bb_shared_run_values(const bb_run_t *view, uint32_t column_index,
                                              uint32_t block_index, uint64_t *out,
                                              uint64_t *presence, bool *all_present);
BB_MUST_CHECK bb_error_t bb_shared_run_aggregate(const bb_run_t *view, uint32_t column_index,
                                                 uint32_t block_index, uint32_t row_first,
                                                 uint32_t row_limit, bb_block_stats_t *stats);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_run_group - runs of neighbouring batteries on their way into a segment; short ones share.
//
// Pure: rows and runs in, runs out. One thread; keeps its memory from group to group. Batteries of
// one partition whose numbers fall into the same stretch of 2^bits are a group. Inputs of few rows
// are collected, one collection for each revision and list of columns, and when the group ends each
// collection becomes one shared run (bb_shared_run.h); longer inputs, and what is alone, get runs
// of their own. Which batteries are neighbours depends on their numbers alone, so the shared runs
// of one flush have the same members as those of the next, and a merge can put them together
// without decoding them (bb_shared_merge.h).
//
// Measured (a million batteries, 12 metrics, 4 minutes): the server took 0.302 CPU s a million
// points and 5.2 bytes a point with runs of their own, 0.163 and 3.8 with shared ones.
//
// Memory: the values of one group's short inputs, at most BB_RUN_GROUP_ROWS_MAX rows a collection.
#ifndef BB_RUN_GROUP_H
#define BB_RUN_GROUP_H

#include "storage/segment/bb_run.h"
#include "storage/segment/bb_segment_writer.h"

// An input of so many rows gets a run of its own: what a run of 12 columns costs whatever its rows
// was 5 us of sealing (two rows each, 0.23 us a point); 64 rows of values are 15 us (0.02 a point).
#define BB_RUN_GROUP_SHORT_ROWS 64u
// Fewer batteries than this do not share: it would save little, and each read takes all their rows.
#define BB_RUN_GROUP_MEMBERS_MIN 4u
// A collection takes no more rows than this.
#define BB_RUN_GROUP_ROWS_MAX (32u * 1024u)

typedef struct bb_run_group bb_run_group_t;

// The runs of a group, as bb_segment_writer_add_group takes them; valid during the call. An error
// ends what the group was doing and is returned by it.
typedef bb_error_t (*bb_run_group_put_fn)(void *context, const bb_segment_entry_t *entries,
                                          uint32_t entry_count, const bb_slice_t *runs,
                                          uint32_t run_count);

bb_run_group_t *bb_run_group_new(uint32_t bits, bb_run_group_put_fn put, void *context);
void bb_run_group_destroy(bb_run_group_t **self); // what was not flushed is lost

// Bits with which a group of a store of so many partitions has about 256 batteries when there are
// very many, so that a row or two of each fill half a block.
uint32_t bb_run_group_bits(uint32_t partition_count);
// The group that a battery is in; groups ascend with (partition, battery).
uint64_t bb_run_group_of(uint32_t bits, uint32_t partition, uint32_t battery);

// Ascending by (partition, battery), any number of inputs and runs a battery. The input is borrowed
// for the call, but its texts until the group ends: with the first battery of another group, or
// _flush. Errors: those of `put`; what was collected is lost.
BB_MUST_CHECK bb_error_t bb_run_group_add(bb_run_group_t *self, uint32_t partition,
                                          uint32_t battery, const bb_run_input_t *input);
// A run of this battery alone that is encoded already; copied.
BB_MUST_CHECK bb_error_t bb_run_group_add_run(bb_run_group_t *self, uint32_t partition,
                                              uint32_t battery, bb_slice_t encoded,
                                              uint64_t point_count);
// A run that others may have added, too: from the same address until the group ends, and copied
// once, however large it is. (When very much else waits the group is put in parts, and the run with
// each of them.)
BB_MUST_CHECK bb_error_t bb_run_group_add_shared(bb_run_group_t *self, uint32_t partition,
                                                 uint32_t battery, bb_slice_t encoded,
                                                 uint64_t point_count);
// Ends the group: puts what was collected.
BB_MUST_CHECK bb_error_t bb_run_group_flush(bb_run_group_t *self);
// Forgets what was collected.
void bb_run_group_clear(bb_run_group_t *self);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_run - sealed columns of one battery in one window at one revision.
//
// Pure: bytes in, bytes out; an opened run may be read by any number of threads. A run has one
// shared, strictly ascending time column, cut into blocks of up to BB_BLOCK_ROWS_MAX rows, and one
// column per (metric, type), cut at the same rows. A block stands for itself, so merging can copy
// it byte for byte; blocks may have any number of rows. A column that lacks some rows of a block
// carries a bitmap of those it has. Each column's block has an encoding (bb_encoding.h), a CRC-32C
// and count, sum, min, max, first and last with their times; so has the whole column; runs of few
// rows have one checksum and no statistics. Byte map: bb_run_format.h, storage/segment/README.md.
//
// Statistics (bb_stats.h computes them):
//   count        every present value, NaN too
//   sum          bb_sum_t over the present values: exact; STATE 0
//   min, max     by bb_value_order_key over the values that are not NaN; only if all are NaN, over
//                those: the order has NaN lowest, which would make the minimum of a column with one
//                failed measurement useless. STATE: by text
//   first, last  of the smallest and the largest time
#ifndef BB_RUN_H
#define BB_RUN_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_sum.h"
#include "storage/encoding/bb_encoding.h"
#include "storage/encoding/bb_times.h"

#define BB_PRESENCE_WORDS (BB_BLOCK_ROWS_MAX / 64)
// Writers start a new run of the same revision after this many rows, so that memory stays bounded.
#define BB_RUN_ROWS_MAX (128u * 1024u)

typedef struct {
    uint32_t metric; // store-local metric number
    bb_type_t type;
    const uint64_t *values;   // row_count entries; absent rows hold anything. STATE: bb_text_t
    const uint64_t *presence; // bit r % 64 of word r / 64 set = row r has a value; NULL = all have
} bb_run_column_t;

typedef struct {
    uint64_t revision;
    uint32_t row_count;           // >= 1
    const int64_t *times_wall_ns; // strictly ascending, below INT64_MAX
    uint32_t column_count;        // >= 1, sorted by (metric, type), unique
    const bb_run_column_t *columns;
} bb_run_input_t;

// bb_run_writer_t - encodes runs; keeps its scratch memory between runs. One thread.
typedef struct bb_run_writer bb_run_writer_t;
bb_run_writer_t *bb_run_writer_new(void);
void bb_run_writer_destroy(bb_run_writer_t **self);
// The encoded run, 4-byte aligned, valid until the next call. Aborts if the input breaks the rules
// above. Bound: 4 GiB for one run (aborts); cut runs at about BB_RUN_ROWS_MAX rows.
bb_slice_t bb_run_writer_encode(bb_run_writer_t *self, const bb_run_input_t *input);

// Rows of neighbouring batteries that have the same columns and revision: in `rows` they lie one
// battery behind the other, and the times ascend for each battery alone.
typedef struct {
    bb_run_input_t rows;
    uint32_t partition;
    uint32_t member_count;       // >= 1
    const uint32_t *batteries;   // member_count, strictly ascending
    const uint32_t *member_rows; // of each: [1, BB_BLOCK_ROWS_MAX]
} bb_run_shared_input_t;

// The same as one run for all of them (bb_shared_run.h): what a run costs besides its values is
// paid once. It has no statistics.
bb_slice_t bb_run_writer_encode_shared(bb_run_writer_t *self, const bb_run_shared_input_t *input);

typedef struct {
    uint32_t metric;
    bb_type_t type;
} bb_run_column_info_t;

typedef struct {
    uint64_t count;    // values present; 0: every other field is 0
    bb_sum_t sum;      // BOOL: true counts 1; STATE: 0
    uint64_t min, max; // by bb_value_order_key; STATE: text order, addresses into the run
    int64_t first_wall_ns, last_wall_ns;
    uint64_t first, last;
} bb_block_stats_t;

struct bb_shared_run;

// A verified view. The head is checked at open (small runs: all of it); each block when it is read.
// One that bb_shared_run_view gave is that of one battery of a shared run: it reads like a run of
// its own, borrows what bb_shared_run.h says, and is read by one thread at a time.
typedef struct {
    bb_slice_t encoded; // without what followed the run
    uint64_t revision;
    uint32_t row_count, column_count, block_count;
    uint64_t point_count;
    int64_t first_wall_ns, last_wall_ns; // inclusive
    // Where the parts of the head are; use the functions below.
    uint32_t flags, widths;
    int64_t unit_ns;
    const uint8_t *metrics_raw, *types_raw;
    const uint8_t *lengths_raw, *encodings_raw, *checksums_raw;
    const uint8_t *rows_raw, *times_raw, *offsets_raw;
    const uint8_t *stats_lengths_raw, *stats_offsets_raw, *stats_raw;
    const uint8_t *texts_raw; // offsets of the texts, from the start of the run
    const uint8_t *blocks_raw;
    size_t stats_bytes;
    uint32_t text_count;
    // Of a shared run: who shares it (bb_run_format.h).
    uint32_t partition, member_count;
    const uint8_t *members_raw;
    size_t members_bytes;
    struct bb_shared_run *shared; // NULL: not a view of one battery
    uint32_t member;              // if shared
} bb_run_t;

// BB_ERR_CORRUPT (checksum, lengths) or BB_ERR_FORMAT (newer version, unknown encoding id).
// `encoded.data` must be 4-byte aligned and outlive self. Up to three bytes of zeros may follow the
// run, so that others can stand behind it aligned. A shared run is not opened by this: CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_open(bb_run_t *self, bb_slice_t encoded, bb_fault_t *fault);
bb_run_column_info_t bb_run_column(const bb_run_t *self, uint32_t column_index);
// First column with that metric, or UINT32_MAX; other types of the metric follow it.
uint32_t bb_run_find(const bb_run_t *self, uint32_t metric);
// Blocks may have any number of rows up to BB_BLOCK_ROWS_MAX; _first is the row of the run that a
// block begins with.
uint32_t bb_run_block_rows(const bb_run_t *self, uint32_t block_index);
uint32_t bb_run_block_first(const bb_run_t *self, uint32_t block_index);
void bb_run_block_range(const bb_run_t *self, uint32_t block_index, int64_t *first_wall_ns,
                        int64_t *last_wall_ns); // inclusive, from the directory
// Every row of the block has a value in the column: then its range is that of the block.
bool bb_run_block_has_all(const bb_run_t *self, uint32_t column_index, uint32_t block_index);
// Decodes the time column of a block; out has room for BB_BLOCK_ROWS_MAX.
BB_MUST_CHECK bb_error_t bb_run_block_times(const bb_run_t *self, uint32_t block_index,
                                            int64_t *out_wall_ns);
// Cuts a block's rows into buckets without decoding its times. False: they have to be decoded, for
// one of many reasons, damage among them.
bool bb_run_block_cut(const bb_run_t *self, uint32_t block_index, int64_t every_ns,
                      bb_times_cuts_t *cuts);
// Totals of the ranges of rows [0, row_limits[0]), [row_limits[0], row_limits[1])... of a column
// that has all rows of the block (_has_all) and is FLOAT64 or INT64; see bb_encoding_ranges. False:
// the values have to be decoded, for one of many reasons, damage among them.
BB_MUST_CHECK bool bb_run_block_ranges(const bb_run_t *self, uint32_t column_index,
                                       uint32_t block_index, const uint32_t *row_limits,
                                       uint32_t range_count, bool has_extremes,
                                       bb_encoding_ranges_t *ranges);
// Statistics of a block, from the directory; only runs of few rows carry none and are decoded for
// them. STATE addresses point into the run's bytes. BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_block_stats(const bb_run_t *self, uint32_t column_index,
                                            uint32_t block_index, bb_block_stats_t *stats);
// The same of the column in the whole run (a day, normally), at the same cost.
BB_MUST_CHECK bb_error_t bb_run_column_stats(const bb_run_t *self, uint32_t column_index,
                                             bb_block_stats_t *stats);
// Statistics of rows [row_first, row_limit) of a block, counted from its first row, computed from
// the values as they are packed, without an output array. block_times_wall_ns: what
// bb_run_block_times gave; NULL: the times are decoded if they are needed (for the first and last
// present row of a part of the block, or of a column that lacks rows). BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_block_aggregate(const bb_run_t *self, uint32_t column_index,
                                                uint32_t block_index, uint32_t row_first,
                                                uint32_t row_limit,
                                                const int64_t *block_times_wall_ns,
                                                bb_block_stats_t *stats);
// The same of all rows of all blocks.
BB_MUST_CHECK bb_error_t bb_run_column_aggregate(const bb_run_t *self, uint32_t column_index,
                                                 bb_block_stats_t *stats);
// Decodes values: out[r] for each row r; absent rows hold 0. *all_present true: presence untouched.
// STATE values are addresses of bb_text_t inside the run's bytes.
BB_MUST_CHECK bb_error_t bb_run_block_values(const bb_run_t *self, uint32_t column_index,
                                             uint32_t block_index, uint64_t *out,
                                             uint64_t *presence, bool *all_present);

// What is known of the values that bb_run_block_values gave without an error: the exponent if each
// is the double next to k / 10^exponent for some integer k; else UINT32_MAX.
uint32_t bb_run_block_exponent(const bb_run_t *self, uint32_t column_index, uint32_t block_index);

// The points of one column in one block with from <= time < to, in time order, absent rows skipped.
// block_times_wall_ns: what bb_run_block_times gave for this block, so that the columns of a frame
// share one decoding. Both outputs have room for BB_BLOCK_ROWS_MAX.
BB_MUST_CHECK bb_error_t bb_run_block_points(const bb_run_t *self, uint32_t column_index,
                                             uint32_t block_index,
                                             const int64_t *block_times_wall_ns,
                                             int64_t from_wall_ns, int64_t to_wall_ns,
                                             int64_t *times_wall_ns, uint64_t *values,
                                             uint32_t *count);

// Decodes everything and compares it with the statistics: what a scrubber does.
// BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_verify(const bb_run_t *self);

#endif

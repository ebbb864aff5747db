// SPDX-License-Identifier: Apache-2.0
// bb_query - what is asked, and the columns that answer it.
//
// Pure. A query names partitions, batteries, metrics and a half-open time range. An executor
// answers page by page: a page holds series in (battery id, metric name, type) order of one
// partition after the other, ends at a frame limit in bytes and carries a cursor to go on from.
// The server keeps nothing between pages, so any replica can answer the next one.
#ifndef BB_QUERY_H
#define BB_QUERY_H

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_sum.h"

#ifdef __cplusplus
extern "C" {
#endif

// Stable numbers, on the wire.
typedef enum {
    BB_LEVEL_ONE = 1,
    BB_LEVEL_LOCAL_QUORUM = 2,
    BB_LEVEL_QUORUM = 3,      // a majority over all data centres, and in the coordinator's
    BB_LEVEL_EACH_QUORUM = 4, // a majority in every data centre
    BB_LEVEL_ALL = 5,
} bb_level_t;

const char *bb_level_name(bb_level_t level); // "local_quorum"
uint32_t bb_level_of_name(const char *name); // 0: no such level

typedef enum {
    BB_QUERY_RAW = 1,        // points
    BB_QUERY_AGGREGATE = 2,  // buckets
    BB_QUERY_LAST = 3,       // newest point of each series (no range needed)
    BB_QUERY_BATTERIES = 4,  // ids and attributes only
    BB_QUERY_QUARANTINE = 5, // points held in quarantine and not released; RAW columns
    // Of each battery that has one the generation, as the only point, at time 0, of the metric
    // BB_GENERATION_METRIC and type INT64. Behind a fence it is that of every marker and point
    // acknowledged before.
    BB_QUERY_GENERATIONS = 6,
} bb_query_mode_t;

#define BB_GENERATION_METRIC "generation"

typedef enum {
    BB_AGGREGATE_MEAN = 1 << 0,
    BB_AGGREGATE_MIN = 1 << 1,
    BB_AGGREGATE_MAX = 1 << 2,
    BB_AGGREGATE_SUM = 1 << 3,
    BB_AGGREGATE_COUNT = 1 << 4,
    BB_AGGREGATE_FIRST = 1 << 5,
    BB_AGGREGATE_LAST = 1 << 6,
} bb_aggregate_t;
#define BB_AGGREGATE_ALL 0x7f

// Which newest values a LAST query wants. On the wire.
typedef enum {
    BB_COMPARE_NONE = 0,  // all
    BB_COMPARE_BELOW = 1, // number < threshold
    BB_COMPARE_ABOVE = 2, // number > threshold
} bb_compare_t;

typedef struct {
    bb_query_mode_t mode;
    bb_level_t level;
    // [from, to). LAST leaves out series whose newest point is before `from`, and ignores `to`;
    // BATTERIES ignores both.
    int64_t from_wall_ns, to_wall_ns;
    int64_t every_ns;    // AGGREGATE: bucket width aligned to the epoch; 0 = one bucket [from, to)
    uint32_t aggregates; // bits of bb_aggregate_t
    bool group_by_none;  // AGGREGATE: merge all batteries
    // AGGREGATE: statistics are not believed, every block is read and decoded. The answer is the
    // same. For scrubbing and measuring; not sent.
    bool is_decode_forced;
    // LAST: only series whose newest value compares like this. A state and a NaN never do.
    bb_compare_t compare;
    double threshold;
    // AGGREGATE: name of a rollup, whose buckets are asked for: those that begin in [from, to);
    // every_ns and group_by_none are 0. `aggregates` must be among the rollup's. Empty = none.
    bb_slice_t rollup;
    bool accepts_rows; // whoever asks understands pages of rows (bb_page_builder_accept_rows)
    uint32_t partition_count;
    const uint32_t *partitions; // ascending; the ones this executor shall answer
    uint32_t battery_count;     // 0 = all batteries of these partitions
    const bb_slice_t *batteries;
    uint32_t metric_count; // 0 = all
    const bb_slice_t *metrics;
    uint64_t row_limit;      // rows (points or buckets) this executor need not exceed; 0 = none
    uint32_t page_bytes_max; // soft limit of one page; 0 = 1 MiB
    bb_slice_t cursor;       // from the page before; empty = start
    // What the answer must see at least (bb_session_token_encode), empty = anything; and whether
    // the answer says what it saw. Of other partitions than those asked it says nothing.
    bb_slice_t session;
    bool wants_session;
    bool is_hedge; // another node was asked first and takes long; only counted
} bb_query_t;

#define BB_CURSOR_BYTES_MAX 1024

// Checks what can be checked without a cluster: mode, level, times within the limits and
// from <= to, every >= 0, known aggregates, a comparison only with LAST, partitions ascending and
// in range, ids and names. BB_ERR_QUERY with a sentence. Callers check before they send;
// bb_message_decode checks again.
BB_MUST_CHECK bb_error_t bb_query_check(const bb_query_t *self, bb_fault_t *fault);

// Does a newest value compare as the query wants? INT64 is rounded to the nearest double; BOOL is 0
// or 1. True without a comparison.
bool bb_query_compares(const bb_query_t *self, bb_type_t type, uint64_t bits);

// Aggregates of one bucket of one series. min, max, first and last are bits of the series' type.
// Empty buckets are not sent. min and max are 0 if neither was asked for, first and last with their
// times likewise; only STATE has them all.
typedef struct {
    int64_t start_wall_ns;
    uint64_t count;
    bb_sum_t sum;      // exact; STATE 0
    uint64_t min, max; // by bb_value_order_key; STATE: text order, as table index
    int64_t first_wall_ns, last_wall_ns;
    uint64_t first, last;
} bb_bucket_t;

// The same as a page carries it: what few buckets have of their sums lies apart.
typedef struct {
    int64_t start_wall_ns;
    uint64_t count;
    uint64_t sum_decimals[BB_SUM_DECIMAL_LIMBS];
    uint64_t min, max; // STATE: indexes into page.states
    int64_t first_wall_ns, last_wall_ns;
    uint64_t first, last;
} bb_page_bucket_t;
typedef struct {
    uint32_t row; // counted as series.sum_row says
    uint8_t flags, top;
    uint16_t zero;
    uint64_t bins[BB_SUM_BINS][2];
} bb_page_sum_t;

// Buckets of numbers as columns, the way a page carries them where sums are those of decimals and
// first and last values were not asked for: 24 or 40 bytes a bucket.
typedef struct {
    const int64_t *starts_wall_ns; // ascending
    const uint64_t *counts;
    const uint64_t *sums_low, *sums_high; // times 10^-10; high NULL: each is the sign of the low
    const uint64_t *mins, *maxs;          // NULL: 0
} bb_page_columns_t;

// One series of a page. RAW, LAST, QUARANTINE: times and values. AGGREGATE: buckets.
// BATTERIES: neither, attributes instead; metric is empty, type is 0.
typedef struct {
    bb_slice_t battery; // empty with group_by_none
    bb_slice_t metric;
    uint32_t type; // bb_type_t
    uint32_t row_count;
    const int64_t *times_wall_ns;
    const uint64_t *values;          // STATE: indexes into page.states
    bool has_buckets;                // bb_series_bucket puts them together
    const bb_page_bucket_t *buckets; // NULL: they are columns
    bb_page_columns_t columns;
    const bb_page_sum_t *sums; // sum_count, ascending by row
    uint32_t sum_count;
    uint32_t sum_row; // number of the first bucket in `sums`
    uint32_t attribute_count;
    const struct bb_page_attribute *attributes;
} bb_series_t;

typedef struct bb_page_attribute {
    bb_slice_t key;
    bb_slice_t value;
} bb_page_attribute_t;

// A decoded page: views into the encoded bytes plus owned tables.
typedef struct {
    uint32_t series_count;
    const bb_series_t *series;
    uint32_t state_count;
    const bb_slice_t *states;
    void *memory;
} bb_page_t;

// Payload frame of a RESULT message. encoded.data 8-byte aligned, must outlive the page.
BB_MUST_CHECK bb_error_t bb_page_open(bb_page_t *self, bb_slice_t encoded, bb_fault_t *fault);
void bb_page_close(bb_page_t *self);
// One bucket of a series that has buckets, row < row_count. STATE: indexes into page.states.
bb_bucket_t bb_series_bucket(const bb_series_t *self, uint32_t row);
int64_t bb_series_bucket_start_wall_ns(const bb_series_t *self, uint32_t row);

// bb_page_builder_t - writes one page. Copies what it is given.
typedef struct bb_page_builder bb_page_builder_t;
bb_page_builder_t *bb_page_builder_new(void);
void bb_page_builder_destroy(bb_page_builder_t **self);
// From here on bb_page_builder_row, _row_bucket and _bucket_list write columns instead of a table
// per series, which is much faster and smaller to write and read. Only for who asks for it: a
// version 0.1.0 client does not look there. Until _finish.
void bb_page_builder_accept_rows(bb_page_builder_t *self);
// STATE values in `values`, `min`.. are addresses of bb_text_t here; the builder makes the table.
void bb_page_builder_points(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                            bb_type_t type, const int64_t *times_wall_ns, const uint64_t *values,
                            uint32_t row_count);
void bb_page_builder_buckets(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                             bb_type_t type, const bb_bucket_t *buckets, uint32_t row_count);
// Buckets of FLOAT64, INT64 or BOOL without first and last values, whose sums are those of
// decimals.
typedef struct {
    const int64_t *starts_wall_ns; // ascending
    const uint64_t *counts;
    const __int128 *sums;        // times 10^-10
    const uint64_t *mins, *maxs; // NULL: 0
} bb_bucket_list_t;
void bb_page_builder_bucket_list(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                                 bb_type_t type, const bb_bucket_list_t *list, uint32_t row_count);
// A kind of series, for the rows of this page; names of the same kind may be given again, which
// only costs space. At most BB_PAGE_KINDS_MAX; more go into series of their own.
#define BB_PAGE_KINDS_MAX 65535u
uint32_t bb_page_builder_kind(bb_page_builder_t *self, bb_slice_t metric, bb_type_t type);
// Series of one row. All rows of a page are points or all are buckets.
void bb_page_builder_row(bb_page_builder_t *self, bb_slice_t battery, uint32_t kind,
                         int64_t time_wall_ns, uint64_t bits);
void bb_page_builder_row_bucket(bb_page_builder_t *self, bb_slice_t battery, uint32_t kind,
                                const bb_bucket_t *bucket);
void bb_page_builder_battery(bb_page_builder_t *self, bb_slice_t battery,
                             const bb_page_attribute_t *attributes, uint32_t attribute_count);
size_t bb_page_builder_bytes(const bb_page_builder_t *self); // estimate so far
uint64_t bb_page_builder_rows(const bb_page_builder_t *self);
// *out is 8-byte aligned malloc memory owned by the caller; the builder is empty again.
void bb_page_builder_finish(bb_page_builder_t *self, uint8_t **out, size_t *out_length);

#ifdef __cplusplus
}
#endif
#endif

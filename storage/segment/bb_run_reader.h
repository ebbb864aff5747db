// SPDX-License-Identifier: Apache-2.0
// bb_run_reader - the parts of an opened run as they lie, for merging and inspection.
//
// Private to storage/segment and the tools that look into it.
#ifndef BB_RUN_READER_H
#define BB_RUN_READER_H

#include "storage/segment/bb_run.h"
#include "storage/segment/bb_run_format.h"

// Slots count the parts of a run: 0 are the times, column c is slot c + 1.
static inline uint32_t bb_run_slot(uint32_t column_index)
{
    return column_index + 1;
}

static inline bool bb_run_has_stats(const bb_run_t *self)
{
    return (self->flags & BB_RUN_STATS) != 0;
}

// ---- the head, field by field: a run that bb_run_open has opened -----------------------------
static inline uint32_t bb_run_raw_metric(const bb_run_t *self, uint32_t column_index)
{
    uint32_t log2 = self->widths & 3;
    bool is_consecutive = (self->flags & BB_RUN_CONSECUTIVE) != 0;
    const uint8_t *at = self->metrics_raw + ((size_t)(is_consecutive ? 0 : column_index) << log2);
    uint32_t metric = log2 == 0 ? *at : log2 == 1 ? bb_run_format_u16(at) : bb_run_format_u32(at);
    return is_consecutive ? metric + column_index : metric;
}

static inline bb_type_t bb_run_raw_type(const bb_run_t *self, uint32_t column_index)
{
    return (bb_type_t)((self->types_raw[column_index / 4] >> column_index % 4 * 2 & 3) + 1);
}

static inline uint32_t bb_run_raw_length(const bb_run_t *self, size_t part)
{
    return self->widths & BB_RUN_LENGTHS_WIDE ? bb_run_format_u16(self->lengths_raw + part * 2)
                                              : self->lengths_raw[part];
}

static inline size_t bb_run_raw_part(const bb_run_t *self, uint32_t slot, uint32_t block_index)
{
    return (size_t)slot * self->block_count + block_index;
}

static inline int64_t bb_run_raw_block_time(const bb_run_t *self, uint32_t end,
                                            uint32_t block_index)
{
    size_t at = (size_t)end * self->block_count + block_index;
    uint64_t units = self->flags & BB_RUN_LONG ? bb_run_format_u64(self->times_raw + at * 8)
                                               : bb_run_format_u32(self->times_raw + at * 4);
    return (int64_t)((uint64_t)self->first_wall_ns + units * (uint64_t)self->unit_ns);
}

// ---- shared runs -----------------------------------------------------------------------------
// By the bytes alone: nothing is checked.
static inline bool bb_run_is_shared(bb_slice_t encoded)
{
    const uint8_t *bytes = encoded.data;
    return encoded.length >= BB_RUN_FIXED_BYTES && bytes[0] == BB_RUN_MAGIC &&
           bytes[1] == BB_RUN_VERSION && bytes[2] & BB_RUN_SHARED;
}

// bb_run_open, but a shared run as well, as one of all its rows: bb_run_block_times and
// bb_run_block_values give those of whole blocks.
BB_MUST_CHECK bb_error_t bb_run_open_any(bb_run_t *self, bb_slice_t encoded, bb_fault_t *fault);

// How many values a block has, by its bitmap. BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_raw_count(const bb_run_t *self, uint32_t column_index,
                                          uint32_t block_index, uint32_t *count);

// ---- blocks and statistics -------------------------------------------------------------------

// The bytes of a block and the byte of its encoding (bb_run_format.h), its checksum tested.
// A block without values has none. BB_ERR_CORRUPT.
BB_MUST_CHECK bb_error_t bb_run_raw_block(const bb_run_t *self, uint32_t slot, uint32_t block_index,
                                          bb_slice_t *block, uint8_t *encoding);

// The packed statistics of a column's block; of the whole column if block_index = block_count and
// the run has more than one block. The run must have statistics.
bb_slice_t bb_run_raw_stats(const bb_run_t *self, uint32_t column_index, uint32_t block_index);

// Statistics as they are written: STATE words are positions in the table of texts.
BB_MUST_CHECK bb_error_t bb_run_raw_block_stats(const bb_run_t *self, uint32_t column_index,
                                                uint32_t block_index, bb_block_stats_t *stats);

// The text at a position.
const bb_text_t *bb_run_text(const bb_run_t *self, uint32_t position);

// Makes the checksums right of bytes that have the layout of a run. For tests, which look at what
// lies behind the checksums. False: they have not.
bool bb_run_sign(uint8_t *bytes, size_t length);

#endif

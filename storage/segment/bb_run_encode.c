// SPDX-License-Identifier: Apache-2.0
// Runs from rows: where blocks are cut.
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_run_writer.h"

#define HOUR_NS (INT64_C(3600) * BB_NS_PER_S)

bool bb_run_writer_is_dense(const int64_t *times_wall_ns, uint32_t rows)
{
    uint64_t length_ns = (uint64_t)times_wall_ns[rows - 1] - (uint64_t)times_wall_ns[0];
    return length_ns / rows < (uint64_t)HOUR_NS / BB_BLOCK_ROWS_MAX;
}

uint32_t bb_run_writer_cut(const int64_t *times_wall_ns, uint32_t row_first, uint32_t row_limit)
{
    uint32_t full = BB_MIN(row_limit - row_first, (uint32_t)BB_BLOCK_ROWS_MAX);
    const int64_t *times = times_wall_ns + row_first;
    int64_t hour = times[0] / HOUR_NS;
    if (!bb_run_writer_is_dense(times, full) || times[full - 1] / HOUR_NS == hour) {
        return full;
    }
    uint32_t begin = 1;
    uint32_t limit = full - 1;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (times[middle] / HOUR_NS == hour) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    return begin;
}

bb_slice_t bb_run_writer_encode(bb_run_writer_t *self, const bb_run_input_t *input)
{
    bb_run_writer_begin_input(self, input, input->row_count >= BB_RUN_STATS_ROWS_MIN);
    for (uint32_t row = 0; row < input->row_count;) {
        uint32_t rows = bb_run_writer_cut(input->times_wall_ns, row, input->row_count);
        bb_run_writer_add(self, input, row, rows);
        row += rows;
    }
    return bb_run_writer_finish(self);
}

bb_slice_t bb_run_writer_encode_shared(bb_run_writer_t *self, const bb_run_shared_input_t *input)
{
    const bb_run_input_t *rows = &input->rows;
    bb_run_writer_begin_input(self, rows, false);
    bb_run_writer_share(self, input->partition, input->batteries, input->member_count);
    // Blocks of about one size, cut between batteries.
    uint32_t blocks = (rows->row_count + BB_BLOCK_ROWS_MAX - 1) / BB_BLOCK_ROWS_MAX;
    uint32_t wanted = (rows->row_count + blocks - 1) / blocks;
    uint32_t row = 0;
    for (uint32_t first = 0; first < input->member_count;) {
        uint32_t count = 0;
        uint32_t member = first;
        while (member < input->member_count && count < wanted &&
               count + input->member_rows[member] <= BB_BLOCK_ROWS_MAX) {
            count += input->member_rows[member++];
        }
        BB_ASSERT(count >= 1);
        bb_run_writer_add_shared(self, rows, row, count, first, member - first,
                                 input->member_rows + first);
        row += count;
        first = member;
    }
    BB_ASSERT(row == rows->row_count);
    return bb_run_writer_finish(self);
}

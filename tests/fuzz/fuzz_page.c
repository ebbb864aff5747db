// SPDX-License-Identifier: Apache-2.0
// fuzz_page - any bytes as a page; every row that is handed out is read.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t s_sink;

static void s_read(const bb_page_t *page)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < page->series_count; i++) {
        const bb_series_t *series = &page->series[i];
        for (uint32_t row = 0; row < series->row_count; row++) {
            if (series->has_buckets) {
                bb_bucket_t bucket = bb_series_bucket(series, row);
                sum += bucket.count + (bb_sum_value(&bucket.sum) > 0);
            } else if (series->type == BB_TYPE_STATE) {
                sum += page->states[series->values[row]].length;
            } else {
                sum += (uint64_t)series->times_wall_ns[row] ^ series->values[row];
            }
        }
        for (uint32_t j = 0; j < series->attribute_count; j++) {
            sum += ((const uint8_t *)series->attributes[j].key.data)[0];
        }
    }
    s_sink = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = bb_alloc(size); // aligned, and exactly as long, so that an overrun is seen
    if (size > 0) {
        memcpy(copy, data, size);
    }
    bb_page_t page;
    bb_fault_t fault;
    if (bb_page_open(&page, bb_slice(copy, size), &fault) == BB_OK) {
        s_read(&page);
        bb_page_close(&page);
    }
    free(copy);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// fuzz_run - any bytes as a run; every block that is handed out is read, then merged.
//
// Checksums would stop nearly every input at the door, so they are made right first: what lies
// behind them must hold against any bytes as well.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_run_merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_sign_place(uint8_t *bytes, size_t size, size_t at)
{
    bb_run_place_t place;
    if (at > size || size - at < sizeof place) {
        return;
    }
    memcpy(&place, bytes + at, sizeof place);
    size_t begin = (size_t)place.word * BB_RUN_WORD;
    if (begin <= size && place.bytes <= size - begin) {
        place.checksum = bb_crc32c(0, bytes + begin, place.bytes);
        memcpy(bytes + at, &place, sizeof place);
    }
}

static void s_sign(uint8_t *bytes, size_t size)
{
    bb_run_header_t header;
    if (size < sizeof header) {
        return;
    }
    memcpy(&header, bytes, sizeof header);
    memcpy(header.magic, "BBR", sizeof header.magic);
    header.version = BB_RUN_VERSION;
    header.run_bytes = size;
    uint64_t columns = header.column_count;
    uint64_t blocks = header.block_count;
    uint64_t times = sizeof header + columns * sizeof(bb_run_column_entry_t);
    uint64_t values = times + blocks * sizeof(bb_run_time_entry_t);
    uint64_t texts = values + columns * blocks * sizeof(bb_run_value_entry_t);
    uint64_t head = texts + ((uint64_t)header.text_count + 1) / 2 * 8 + header.text_words * 8ull;
    bool is_inside = columns < 256 && blocks < 256 && head <= size;
    for (uint64_t i = 0; is_inside && i < blocks; i++) {
        s_sign_place(bytes, size, times + i * sizeof(bb_run_time_entry_t));
    }
    for (uint64_t i = 0; is_inside && i < blocks * columns; i++) {
        s_sign_place(bytes, size, values + i * sizeof(bb_run_value_entry_t));
    }
    memcpy(bytes, &header, sizeof header);
    if (is_inside) {
        header.checksum = bb_crc32c(0, bytes + 8, head - 8);
        memcpy(bytes, &header, sizeof header);
    }
}

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    (void)context;
    bb_run_t run;
    BB_ASSERT(bb_run_open(&run, encoded, NULL) == BB_OK);
    BB_ASSERT(run.revision == revision);
    BB_ASSERT(bb_run_verify(&run) == BB_OK);
    return BB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = bb_alloc(size); // aligned, and exactly as long, so that an overrun is seen
    if (size > 0) {
        memcpy(copy, data, size);
    }
    s_sign(copy, size);
    bb_run_t run;
    bb_fault_t fault;
    if (bb_run_open(&run, bb_slice(copy, size), &fault) == BB_OK) {
        bb_error_t verified = bb_run_verify(&run);
        bb_run_t twice[2] = {run, run};
        bb_error_t merged = bb_run_merge(twice, 2, s_emit, NULL, NULL);
        BB_ASSERT(verified != BB_OK || merged == BB_OK);
    }
    free(copy);
    return 0;
}

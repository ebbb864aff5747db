// SPDX-License-Identifier: Apache-2.0
// fuzz_run - any bytes as a run; every block that is handed out is read, then merged. A shared run
// is read and merged battery by battery.
//
// Checksums would stop nearly every input at the door, so they are made right first: what lies
// behind them must hold against any bytes as well.
#include <stdlib.h>
#include <string.h>

#include "storage/segment/bb_run_merge.h"
#include "storage/segment/bb_run_reader.h"
#include "storage/segment/bb_shared_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bb_error_t s_emit(void *context, uint64_t revision, bb_slice_t encoded)
{
    (void)context;
    bb_run_t run;
    BB_ASSERT(bb_run_open(&run, encoded, NULL) == BB_OK);
    BB_ASSERT(run.revision == revision);
    BB_ASSERT(bb_run_verify(&run) == BB_OK);
    return BB_OK;
}

static void s_read(const bb_run_t *run)
{
    bb_error_t verified = bb_run_verify(run);
    bb_run_t twice[2] = {*run, *run};
    bb_error_t merged = bb_run_merge(twice, 2, s_emit, NULL, NULL);
    BB_ASSERT(verified != BB_OK || merged == BB_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = bb_alloc(size); // aligned, and exactly as long, so that an overrun is seen
    if (size > 0) {
        memcpy(copy, data, size);
    }
    if (size > 1) {
        copy[0] = BB_RUN_MAGIC;
        copy[1] = BB_RUN_VERSION;
    }
    bb_run_sign(copy, size);
    bb_run_t run;
    bb_fault_t fault;
    bb_shared_run_t *shared = bb_shared_run_new();
    if (bb_run_open(&run, bb_slice(copy, size), &fault) == BB_OK) {
        s_read(&run);
    } else if (bb_shared_run_open(shared, bb_slice(copy, size), &fault) == BB_OK) {
        uint32_t member_count = bb_shared_run_whole(shared)->member_count;
        for (uint32_t m = 0; m < BB_MIN(member_count, 64u); m++) {
            if (bb_shared_run_view(shared, m, &run) == BB_OK) {
                s_read(&run);
            }
        }
    }
    bb_shared_run_destroy(&shared);
    free(copy);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// fuzz_cursor - any bytes as the cursor of a page: what is accepted encodes to the same bytes.
#include "storage/scan/bb_scan_cursor.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    bb_scan_cursor_t cursor;
    bb_fault_t fault = {0};
    if (bb_scan_cursor_decode(bb_slice(copy, size), &cursor, &fault) != BB_OK) {
        BB_ASSERT(fault.text[0] != '\0'); // a refusal says why
    } else if (cursor.is_set) {
        uint8_t *again;
        size_t length;
        bb_scan_cursor_encode(&cursor, &again, &length);
        BB_ASSERT(length == size);
        BB_ASSERT(memcmp(again, copy, size) == 0);
        free(again);
    }
    free(copy);
    return 0;
}

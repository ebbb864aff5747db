// SPDX-License-Identifier: Apache-2.0
// fuzz_time - any bytes as a time and as a duration: what is accepted prints as a text that is read
// back to the same number.
#include "protocol/bb_time.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t units_ns[] = {1, 1000, 1000000, 1000000000};
    const int64_t now_ns = INT64_C(1767225600000000000); // 2026-01-01T00:00:00Z
    if (size == 0) {
        return 0;
    }
    uint8_t *copy = fuzz_copy(data + 1, size - 1);
    bb_slice_t text = bb_slice(copy, size - 1);
    bb_fault_t fault = {0};
    int64_t found;
    int64_t again;
    if (bb_time_parse(text, units_ns[data[0] & 3], now_ns, &found, &fault) == BB_OK) {
        char printed[BB_TIME_TEXT_BYTES];
        size_t length = bb_time_format(found, printed);
        BB_ASSERT(length < sizeof printed);
        bb_error_t error = bb_time_parse_rfc3339(bb_slice(printed, length), &again, &fault);
        BB_ASSERT(error == BB_OK);
        BB_ASSERT(again == found);
    } else {
        BB_ASSERT(fault.text[0] != '\0');
    }
    bb_ignore(bb_time_parse_zoned(text, (int32_t)(data[0] * 600) - 64800, &found, &fault),
              "any outcome is fine");
    if (bb_duration_parse(text, &found, &fault) == BB_OK) {
        char printed[BB_DURATION_TEXT_BYTES];
        BB_ASSERT(found >= 0);
        size_t length = bb_duration_format(found, printed);
        bb_error_t error = bb_duration_parse(bb_slice(printed, length), &again, &fault);
        BB_ASSERT(error == BB_OK);
        BB_ASSERT(again == found);
    }
    free(copy);
    return 0;
}

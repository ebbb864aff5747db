// SPDX-License-Identifier: Apache-2.0
// fuzz_sum - any bytes as exact sums, one behind the other: what is accepted is written as the same
// bytes, can be read and merged, and merging does not depend on who comes first.
#include "protocol/bb_sum.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    const uint8_t *at = copy;
    const uint8_t *limit = copy + size;
    bb_sum_t total = {0};
    bb_sum_t found;
    for (const uint8_t *begin = at; bb_sum_decode(&found, &at, limit) == BB_OK; begin = at) {
        uint8_t again[BB_SUM_BYTES_MAX];
        size_t length = bb_sum_encode(&found, again);
        BB_ASSERT(length == (size_t)(at - begin));
        BB_ASSERT(memcmp(again, begin, length) == 0);
        (void)bb_sum_value(&found);
        (void)bb_sum_mean(&found, size);
        __int128 integer;
        (void)bb_sum_integer(&found, (uint32_t)(size % (BB_SUM_EXPONENT_MAX + 1)), &integer);
        bb_sum_t other = found;
        bb_sum_merge(&other, &total);
        bb_sum_merge(&total, &found);
        BB_ASSERT(bb_sum_is_equal(&total, &other));
        BB_ASSERT(bb_sum_is_valid(&total));
    }
    free(copy);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// fuzz_have_set - any bytes as the flat form of a have-set: what is accepted is canonical, so it
// encodes to the same bytes, includes itself and lacks nothing of itself.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_have_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bb_have_set_t set = {0}, copy = {0};
    if (bb_have_set_decode(&set, data, size) != BB_OK) {
        BB_ASSERT(set.stream_count == 0);
        return 0;
    }
    BB_ASSERT(bb_have_set_encoded_bytes(&set) == size);
    uint8_t *again = bb_alloc(size);
    bb_have_set_encode(&set, again);
    BB_ASSERT(size == 0 || memcmp(again, data, size) == 0);
    bb_have_set_copy(&copy, &set);
    BB_ASSERT(bb_have_set_is_equal(&copy, &set));
    BB_ASSERT(bb_have_set_lacks_count(&copy, &set) == 0);
    bb_error_t error = bb_have_set_union(&copy, &set);
    BB_ASSERT(error == BB_OK);
    BB_ASSERT(bb_have_set_is_equal(&copy, &set));
    for (uint32_t i = 0; i < set.stream_count; i++) {
        const bb_have_stream_t *stream = &set.streams[i];
        BB_ASSERT(bb_have_set_contains(&set, &stream->stream, stream->ranges[0].first_seq));
        uint64_t last_seq = stream->ranges[stream->range_count - 1].last_seq;
        BB_ASSERT(last_seq == UINT64_MAX ||
                  !bb_have_set_contains(&set, &stream->stream, last_seq + 1));
    }
    free(again);
    bb_have_set_clear(&set);
    bb_have_set_clear(&copy);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// fuzz_session_token - any bytes as a token: what is accepted is canonical, so it encodes to the
// same bytes; joined to itself it stays what it is, and a have-set of its dots holds it. The
// checksum is made right, or nothing behind it would ever be reached.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "protocol/bb_session_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_check(const bb_session_token_t *token, const uint8_t *bytes, size_t length)
{
    uint8_t *again;
    size_t again_length;
    bb_session_token_encode(token, &again, &again_length);
    BB_ASSERT(again_length == length);
    BB_ASSERT(memcmp(again, bytes, length) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > BB_SESSION_TOKEN_BYTES_MAX) {
        return 0;
    }
    uint8_t *bytes = bb_alloc(size);
    memcpy(bytes, data, size);
    uint32_t checksum = bb_crc32c(0, bytes, size - 4);
    memcpy(bytes + size - 4, &checksum, sizeof checksum);
    bb_session_token_t token = {0}, joined = {0};
    if (bb_session_token_decode(&token, bb_slice(bytes, size)) == BB_OK) {
        s_check(&token, bytes, size);
        bb_error_t error = bb_session_token_join(&joined, &token);
        BB_ASSERT(error == BB_OK);
        error = bb_session_token_join(&joined, &token);
        BB_ASSERT(error == BB_OK);
        s_check(&joined, bytes, size);
        for (uint32_t i = 0; i < token.stream_count; i++) {
            const bb_session_stream_t *stream = &token.streams[i];
            uint32_t partition = stream->ranges[0].partition;
            bb_session_token_t part = {0};
            bb_session_token_select(&part, &token, &partition, 1);
            BB_ASSERT(!bb_session_token_is_empty(&part));
            bb_have_set_t have = {0};
            BB_ASSERT(!bb_session_token_is_held(&token, partition, &have));
            bb_session_token_clear(&part);
        }
    } else {
        BB_ASSERT(token.stream_count == 0);
    }
    bb_session_token_clear(&token);
    bb_session_token_clear(&joined);
    free(bytes);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// fuzz_message - any bytes as an envelope. What is accepted must encode again.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = bb_alloc(size); // aligned, and exactly as long, so that an overrun is seen
    if (size > 0) {
        memcpy(copy, data, size);
    }
    bb_message_t message;
    bb_fault_t fault;
    if (bb_message_decode(&message, bb_slice(copy, size), &fault) == BB_OK) {
        uint8_t *again;
        size_t again_length;
        bb_message_encode(&message, &again, &again_length);
        free(again);
        bb_message_close(&message);
    }
    free(copy);
    return 0;
}

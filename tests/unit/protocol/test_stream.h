// SPDX-License-Identifier: Apache-2.0
// Stream ids of unit tests, by number.
#ifndef TEST_STREAM_H
#define TEST_STREAM_H

#include "protocol/bb_have_set.h"

// Streams whose order by bytes is not the order of their numbers.
static inline bb_stream_t test_stream(uint32_t number)
{
    bb_stream_t stream = {{0}};
    stream.bytes[0] = (uint8_t)(number * 101);
    stream.bytes[1] = (uint8_t)(number >> 8);
    stream.bytes[15] = (uint8_t)number;
    return stream;
}

#endif

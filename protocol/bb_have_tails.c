// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_have_tails.h"

#include <stdlib.h>
#include <string.h>

#define S_NUMBER_BYTES_MAX 10

static_assert(BB_HAVE_TAIL_STREAMS_MAX == 64, "a mask is one number");

void bb_have_tails_clear(bb_have_tails_t *self)
{
    free(self->bytes);
    *self = (bb_have_tails_t){0};
}

static void s_put(bb_have_tails_t *self, uint64_t number)
{
    while (number >= 0x80) {
        self->bytes[self->length++] = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    self->bytes[self->length++] = (uint8_t)number;
}

// Its index; stream_count when it is not there.
static uint32_t s_find(const bb_have_tails_t *self, const bb_stream_t *stream)
{
    uint32_t i = 0;
    while (i < self->stream_count && !bb_stream_is_equal(&self->streams[i], stream)) {
        i++;
    }
    return i;
}

bool bb_have_tails_add(bb_have_tails_t *self, uint32_t partition, const bb_have_tail_t *tails,
                       uint32_t tail_count)
{
    BB_ASSERT(partition >= self->partition_next && partition < BB_PARTITIONS_MAX);
    BB_ASSERT(tail_count >= 1);
    uint32_t stream_count = self->stream_count;
    uint64_t mask = 0, last_seqs[BB_HAVE_TAIL_STREAMS_MAX];
    for (uint32_t i = 0; i < tail_count; i++) {
        BB_ASSERT(tails[i].last_seq >= 1);
        uint32_t at = s_find(self, &tails[i].stream);
        if (at == BB_HAVE_TAIL_STREAMS_MAX) {
            self->stream_count = stream_count;
            return false;
        }
        if (at == self->stream_count) {
            self->streams[self->stream_count] = tails[i].stream;
            self->last_seqs[self->stream_count++] = 0;
        }
        BB_ASSERT(!(mask >> at & 1));
        mask |= UINT64_C(1) << at;
        last_seqs[at] = tails[i].last_seq;
    }
    size_t bytes_max = (2 + (size_t)tail_count) * S_NUMBER_BYTES_MAX;
    if (self->capacity - self->length < bytes_max) {
        self->capacity = BB_MAX(2 * self->capacity, self->length + bytes_max);
        self->bytes = bb_realloc(self->bytes, self->capacity);
    }
    s_put(self, partition - self->partition_next);
    s_put(self, mask);
    for (uint32_t i = 0; i < self->stream_count; i++) {
        if (mask >> i & 1) {
            uint64_t difference = last_seqs[i] - self->last_seqs[i]; // modulo 2^64
            s_put(self, difference << 1 ^ (0 - (difference >> 63)));
            self->last_seqs[i] = last_seqs[i];
        }
    }
    self->partition_next = partition + 1;
    self->count++;
    return true;
}

bb_error_t bb_have_tails_open(bb_have_tails_cursor_t *self, bb_slice_t streams, bb_slice_t bytes)
{
    *self = (bb_have_tails_cursor_t){.streams = streams, .bytes = bytes};
    bool is_sound = streams.length % sizeof(bb_stream_t) == 0 &&
                    streams.length / sizeof(bb_stream_t) <= BB_HAVE_TAIL_STREAMS_MAX;
    return is_sound ? BB_OK : BB_ERR_MESSAGE_CORRUPT;
}

static bool s_get(bb_have_tails_cursor_t *self, uint64_t *number)
{
    const uint8_t *bytes = self->bytes.data;
    uint64_t value = 0;
    for (uint32_t shift = 0; self->at < self->bytes.length && shift < 64; shift += 7) {
        uint8_t byte = bytes[self->at++];
        uint64_t bits = byte & 0x7f;
        if (bits << shift >> shift != bits) {
            return false; // more than 64 bits
        }
        value |= bits << shift;
        if (!(byte & 0x80)) {
            *number = value;
            return byte != 0 || shift == 0; // the shortest form only
        }
    }
    return false;
}

bb_error_t bb_have_tails_next(bb_have_tails_cursor_t *self, uint32_t *partition,
                              bb_have_tail_t *tails, uint32_t *tail_count)
{
    if (self->at == self->bytes.length) {
        return BB_ERR_NOT_FOUND;
    }
    uint64_t skipped, mask;
    uint32_t stream_count = (uint32_t)(self->streams.length / sizeof(bb_stream_t));
    if (!s_get(self, &skipped) || skipped >= BB_PARTITIONS_MAX - self->partition_next ||
        !s_get(self, &mask) || mask == 0 ||
        (stream_count < BB_HAVE_TAIL_STREAMS_MAX && mask >> stream_count != 0)) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        uint64_t zigzag;
        if (!(mask >> i & 1)) {
            continue;
        }
        if (!s_get(self, &zigzag)) {
            return BB_ERR_MESSAGE_CORRUPT;
        }
        self->last_seqs[i] += zigzag >> 1 ^ (0 - (zigzag & 1));
        if (self->last_seqs[i] == 0) {
            return BB_ERR_MESSAGE_CORRUPT;
        }
        tails[count].last_seq = self->last_seqs[i];
        const uint8_t *streams = self->streams.data;
        memcpy(&tails[count++].stream, streams + i * sizeof(bb_stream_t), sizeof(bb_stream_t));
    }
    *partition = self->partition_next + (uint32_t)skipped;
    self->partition_next = *partition + 1;
    *tail_count = count;
    return BB_OK;
}

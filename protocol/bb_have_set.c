// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_have_set.h"

#include <stdlib.h>
#include <string.h>

// Position of the first stream >= `stream`.
static uint32_t s_stream_index(const bb_have_set_t *self, const bb_stream_t *stream)
{
    uint32_t low = 0, high = self->stream_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (memcmp(self->streams[middle].stream.bytes, stream->bytes, sizeof stream->bytes) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Position of the first range whose last is >= seq.
static uint32_t s_range_index(const bb_have_stream_t *stream, uint64_t seq)
{
    uint32_t low = 0, high = stream->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (stream->ranges[middle].last_seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bb_have_stream_t *s_stream_insert(bb_have_set_t *self, uint32_t index,
                                         const bb_stream_t *stream)
{
    if (self->stream_count == self->stream_capacity) {
        self->stream_capacity = BB_MAX(4, self->stream_capacity * 2);
        self->streams = bb_realloc(self->streams, self->stream_capacity * sizeof *self->streams);
    }
    bb_have_stream_t *slot = &self->streams[index];
    memmove(slot + 1, slot, (self->stream_count - index) * sizeof *slot);
    *slot = (bb_have_stream_t){.stream = *stream};
    self->stream_count++;
    return slot;
}

static void s_range_insert(bb_have_stream_t *stream, uint32_t index, bb_seq_range_t range)
{
    if (stream->range_count == stream->range_capacity) {
        stream->range_capacity = BB_MAX(1, stream->range_capacity * 2);
        stream->ranges =
            bb_realloc(stream->ranges, stream->range_capacity * sizeof *stream->ranges);
    }
    bb_seq_range_t *slot = &stream->ranges[index];
    memmove(slot + 1, slot, (stream->range_count - index) * sizeof *slot);
    *slot = range;
    stream->range_count++;
}

// Merges [first, last] into the ranges. The caller has checked the limit.
static bool s_range_add(bb_have_stream_t *stream, uint64_t first_seq, uint64_t last_seq)
{
    // The first range that overlaps or touches; `first_seq - 1` is safe because seqs start at 1.
    uint32_t index = s_range_index(stream, first_seq - 1);
    uint32_t limit = index;
    bb_seq_range_t merged = {first_seq, last_seq};
    while (limit < stream->range_count && stream->ranges[limit].first_seq - 1 <= last_seq) {
        merged.first_seq = BB_MIN(merged.first_seq, stream->ranges[limit].first_seq);
        merged.last_seq = BB_MAX(merged.last_seq, stream->ranges[limit].last_seq);
        limit++;
    }
    if (limit == index) {
        s_range_insert(stream, index, merged);
        return true;
    }
    bool grew = limit - index > 1 || merged.first_seq < stream->ranges[index].first_seq ||
                merged.last_seq > stream->ranges[index].last_seq;
    stream->ranges[index] = merged;
    memmove(&stream->ranges[index + 1], &stream->ranges[limit],
            (stream->range_count - limit) * sizeof *stream->ranges);
    stream->range_count -= limit - index - 1;
    return grew;
}

// True when [first, last] neither overlaps nor touches a range.
static bool s_is_apart(const bb_have_stream_t *stream, uint64_t first_seq, uint64_t last_seq)
{
    uint32_t index = s_range_index(stream, first_seq - 1);
    return index == stream->range_count || stream->ranges[index].first_seq - 1 > last_seq;
}

void bb_have_set_clear(bb_have_set_t *self)
{
    for (uint32_t i = 0; i < self->stream_count; i++) {
        free(self->streams[i].ranges);
    }
    free(self->streams);
    *self = (bb_have_set_t){0};
}

void bb_have_set_copy(bb_have_set_t *self, const bb_have_set_t *other)
{
    BB_ASSERT(self != other);
    bb_have_set_clear(self);
    self->streams = bb_alloc(other->stream_count * sizeof *self->streams);
    self->stream_count = self->stream_capacity = other->stream_count;
    for (uint32_t i = 0; i < other->stream_count; i++) {
        const bb_have_stream_t *from = &other->streams[i];
        bb_have_stream_t *to = &self->streams[i];
        *to = (bb_have_stream_t){.stream = from->stream,
                                 .range_count = from->range_count,
                                 .range_capacity = from->range_count};
        to->ranges = bb_alloc(from->range_count * sizeof *to->ranges);
        memcpy(to->ranges, from->ranges, from->range_count * sizeof *to->ranges);
    }
}

void bb_have_set_drop(bb_have_set_t *self, bb_have_stream_fn is_dropped, void *context)
{
    BB_ASSERT(self && is_dropped);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->stream_count; i++) {
        if (is_dropped(context, &self->streams[i].stream)) {
            free(self->streams[i].ranges);
        } else {
            self->streams[kept++] = self->streams[i];
        }
    }
    self->stream_count = kept;
}

bb_error_t bb_have_set_add(bb_have_set_t *self, const bb_stream_t *stream, uint64_t first_seq,
                           uint64_t last_seq, bool *added)
{
    BB_ASSERT(first_seq >= 1);
    BB_ASSERT(last_seq >= first_seq);
    uint32_t index = s_stream_index(self, stream);
    bool is_known =
        index < self->stream_count && bb_stream_is_equal(&self->streams[index].stream, stream);
    if (!is_known && self->stream_count == BB_STREAMS_MAX) {
        return BB_ERR_LIMIT;
    }
    if (is_known && self->streams[index].range_count >= BB_HAVE_RANGES_MAX &&
        s_is_apart(&self->streams[index], first_seq, last_seq)) {
        return BB_ERR_LIMIT;
    }
    bb_have_stream_t *found =
        is_known ? &self->streams[index] : s_stream_insert(self, index, stream);
    bool grew = s_range_add(found, first_seq, last_seq);
    if (added) {
        *added = grew;
    }
    return BB_OK;
}

const bb_have_stream_t *bb_have_set_stream(const bb_have_set_t *self, const bb_stream_t *stream)
{
    uint32_t index = s_stream_index(self, stream);
    bool is_known =
        index < self->stream_count && bb_stream_is_equal(&self->streams[index].stream, stream);
    return is_known ? &self->streams[index] : NULL;
}

bool bb_have_set_contains(const bb_have_set_t *self, const bb_stream_t *stream, uint64_t seq)
{
    const bb_have_stream_t *found = bb_have_set_stream(self, stream);
    if (!found) {
        return false;
    }
    uint32_t index = s_range_index(found, seq);
    return index < found->range_count && found->ranges[index].first_seq <= seq;
}

// How many of [first, last] are in `stream` (which may be NULL).
static uint64_t s_covered(const bb_have_stream_t *stream, bb_seq_range_t range)
{
    uint64_t covered = 0;
    if (!stream) {
        return 0;
    }
    for (uint32_t i = s_range_index(stream, range.first_seq);
         i < stream->range_count && stream->ranges[i].first_seq <= range.last_seq; i++) {
        uint64_t first_seq = BB_MAX(stream->ranges[i].first_seq, range.first_seq);
        uint64_t last_seq = BB_MIN(stream->ranges[i].last_seq, range.last_seq);
        covered += last_seq - first_seq + 1;
    }
    return covered;
}

static uint64_t s_add_saturated(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

// A whole range of 2^64 - 1 seqs can come over the wire, so counts stop at their maximum.
uint64_t bb_have_set_lacks_count(const bb_have_set_t *self, const bb_have_set_t *other)
{
    uint64_t lacking = 0;
    for (uint32_t i = 0; i < other->stream_count; i++) {
        const bb_have_stream_t *mine = bb_have_set_stream(self, &other->streams[i].stream);
        for (uint32_t r = 0; r < other->streams[i].range_count; r++) {
            bb_seq_range_t range = other->streams[i].ranges[r];
            uint64_t count = range.last_seq - range.first_seq + 1; // first >= 1: never wraps
            lacking = s_add_saturated(lacking, count - s_covered(mine, range));
        }
    }
    return lacking;
}

bool bb_have_set_contains_range(const bb_have_set_t *self, const bb_stream_t *stream,
                                uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(1 <= first_seq && first_seq <= last_seq);
    const bb_have_stream_t *found = bb_have_set_stream(self, stream);
    uint32_t index = found ? s_range_index(found, last_seq) : 0;
    // Ranges are never adjacent, so one of them has all or none does.
    return found && index < found->range_count && found->ranges[index].first_seq <= first_seq;
}

bool bb_have_set_includes(const bb_have_set_t *self, const bb_have_set_t *other)
{
    return bb_have_set_lacks_count(self, other) == 0;
}

bool bb_have_set_is_equal(const bb_have_set_t *self, const bb_have_set_t *other)
{
    if (self->stream_count != other->stream_count) {
        return false;
    }
    for (uint32_t i = 0; i < self->stream_count; i++) {
        const bb_have_stream_t *a = &self->streams[i];
        const bb_have_stream_t *b = &other->streams[i];
        if (!bb_stream_is_equal(&a->stream, &b->stream) || a->range_count != b->range_count ||
            memcmp(a->ranges, b->ranges, a->range_count * sizeof *a->ranges) != 0) {
            return false;
        }
    }
    return true;
}

bb_error_t bb_have_set_union(bb_have_set_t *self, const bb_have_set_t *other)
{
    bb_error_t first_error = BB_OK;
    for (uint32_t i = 0; i < other->stream_count; i++) {
        for (uint32_t r = 0; r < other->streams[i].range_count; r++) {
            bb_seq_range_t range = other->streams[i].ranges[r];
            bb_error_t error = bb_have_set_add(self, &other->streams[i].stream, range.first_seq,
                                               range.last_seq, NULL);
            first_error = first_error == BB_OK ? error : first_error;
        }
    }
    return first_error;
}

uint64_t bb_have_set_count(const bb_have_set_t *self)
{
    static const bb_have_set_t nothing; // empty
    return bb_have_set_lacks_count(&nothing, self);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the flat form is memory as it is");
static_assert(sizeof(bb_seq_range_t) == 16, "a pair of u64 without padding");

// Flat form: per stream 16 bytes, u32 range count, u32 zero, pairs of u64.
size_t bb_have_set_encoded_bytes(const bb_have_set_t *self)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < self->stream_count; i++) {
        bytes += 24 + 16 * (size_t)self->streams[i].range_count;
    }
    return bytes;
}

void bb_have_set_encode(const bb_have_set_t *self, uint8_t *out)
{
    for (uint32_t i = 0; i < self->stream_count; i++) {
        const bb_have_stream_t *stream = &self->streams[i];
        memcpy(out, stream->stream.bytes, 16);
        memcpy(out + 16, &stream->range_count, 4);
        memset(out + 20, 0, 4);
        memcpy(out + 24, stream->ranges, 16 * (size_t)stream->range_count);
        out += 24 + 16 * (size_t)stream->range_count;
    }
}

// Reads one stream; returns its length or 0 when it is not canonical.
static size_t s_stream_decode(bb_have_set_t *self, const uint8_t *data, size_t length)
{
    uint32_t range_count, zero;
    if (length < 24) {
        return 0;
    }
    bb_stream_t stream;
    memcpy(stream.bytes, data, 16);
    memcpy(&range_count, data + 16, 4);
    memcpy(&zero, data + 20, 4);
    bool is_ascending =
        self->stream_count == 0 ||
        memcmp(self->streams[self->stream_count - 1].stream.bytes, stream.bytes, 16) < 0;
    if (zero != 0 || range_count == 0 || range_count > BB_HAVE_RANGES_MAX ||
        length - 24 < 16 * (size_t)range_count || !is_ascending ||
        self->stream_count == BB_STREAMS_MAX) {
        return 0;
    }
    bb_have_stream_t *slot = s_stream_insert(self, self->stream_count, &stream);
    uint64_t previous_last_seq = 0;
    for (uint32_t r = 0; r < range_count; r++) {
        bb_seq_range_t range;
        memcpy(&range, data + 24 + 16 * (size_t)r, sizeof range);
        bool is_canonical = range.first_seq >= 1 && range.last_seq >= range.first_seq &&
                            (r == 0 || (range.first_seq > previous_last_seq &&
                                        range.first_seq - previous_last_seq > 1));
        if (!is_canonical) {
            return 0;
        }
        s_range_insert(slot, r, range);
        previous_last_seq = range.last_seq;
    }
    return 24 + 16 * (size_t)range_count;
}

bb_error_t bb_have_set_decode(bb_have_set_t *self, const uint8_t *data, size_t length)
{
    bb_have_set_clear(self);
    while (length > 0) {
        size_t used = s_stream_decode(self, data, length);
        if (used == 0) {
            bb_have_set_clear(self);
            return BB_ERR_MESSAGE_CORRUPT;
        }
        data += used;
        length -= used;
    }
    return BB_OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_session_token.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"

#define S_HEAD_BYTES      21u
#define S_CHECKSUM_BYTES  4u
#define S_FLAG_OVERFLOWED 1u
#define S_VARINT_BYTES    10u // of 64 bits, at most

static const uint8_t s_magic[4] = {'B', 'B', 'T', '1'};
static const uint8_t s_no_cluster[16]; // zero

// ---- streams and ranges ------------------------------------------------------------------------

static void s_streams_clear(bb_session_token_t *self)
{
    for (uint32_t i = 0; i < self->stream_count; i++) {
        free(self->streams[i].ranges);
    }
    free(self->streams);
    self->streams = NULL;
    self->stream_count = self->stream_capacity = 0;
}

void bb_session_token_clear(bb_session_token_t *self)
{
    BB_ASSERT(self);
    s_streams_clear(self);
    *self = (bb_session_token_t){0};
}

bool bb_session_token_is_empty(const bb_session_token_t *self)
{
    BB_ASSERT(self);
    return self->stream_count == 0;
}

static void s_overflow(bb_session_token_t *self)
{
    s_streams_clear(self);
    self->is_overflowed = true;
}

// Position of the first stream >= `stream`.
static uint32_t s_stream_index(const bb_session_token_t *self, const bb_stream_t *stream)
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

static bb_session_stream_t *s_stream_get(bb_session_token_t *self, const bb_stream_t *stream)
{
    uint32_t index = s_stream_index(self, stream);
    if (index < self->stream_count && bb_stream_is_equal(&self->streams[index].stream, stream)) {
        return &self->streams[index];
    }
    if (self->stream_count == self->stream_capacity) {
        self->stream_capacity = BB_MAX(4u, self->stream_capacity * 2);
        self->streams = bb_realloc(self->streams, self->stream_capacity * sizeof *self->streams);
    }
    bb_session_stream_t *slot = &self->streams[index];
    memmove(slot + 1, slot, (self->stream_count - index) * sizeof *slot);
    *slot = (bb_session_stream_t){.stream = *stream};
    self->stream_count++;
    return slot;
}

static bool s_is_before(const bb_session_range_t *a, const bb_session_range_t *b)
{
    return a->partition != b->partition ? a->partition < b->partition : a->first_seq < b->first_seq;
}

static void s_ranges_reserve(bb_session_stream_t *stream, uint32_t count)
{
    if (stream->range_capacity < count) {
        stream->range_capacity = BB_MAX(count, stream->range_capacity * 2);
        stream->ranges =
            bb_realloc(stream->ranges, stream->range_capacity * sizeof *stream->ranges);
    }
}

// Appends a range that does not come before the last one; joins what overlaps or touches.
static void s_append(bb_session_stream_t *stream, const bb_session_range_t *range)
{
    if (stream->range_count > 0) {
        bb_session_range_t *last = &stream->ranges[stream->range_count - 1];
        BB_ASSERT(!s_is_before(range, last));
        // first_seq >= 1, so that the subtraction does not wrap.
        if (last->partition == range->partition && range->first_seq - 1 <= last->last_seq) {
            last->last_seq = BB_MAX(last->last_seq, range->last_seq);
            return;
        }
    }
    s_ranges_reserve(stream, stream->range_count + 1);
    stream->ranges[stream->range_count++] = *range;
}

// Replaces the ranges of `stream` by their union with `ranges`.
static void s_unite(bb_session_stream_t *stream, const bb_session_range_t *ranges, uint32_t count)
{
    bb_session_stream_t united = {.stream = stream->stream};
    s_ranges_reserve(&united, stream->range_count + count);
    uint32_t mine = 0, theirs = 0;
    while (mine < stream->range_count || theirs < count) {
        bool is_mine = theirs == count || (mine < stream->range_count &&
                                           !s_is_before(&ranges[theirs], &stream->ranges[mine]));
        s_append(&united, is_mine ? &stream->ranges[mine++] : &ranges[theirs++]);
    }
    free(stream->ranges);
    *stream = united;
}

void bb_session_token_add(bb_session_token_t *self, const bb_stream_t *stream, uint32_t partition,
                          uint64_t first_seq, uint64_t last_seq)
{
    BB_ASSERT(self && stream);
    BB_ASSERT(partition < BB_PARTITIONS_MAX);
    BB_ASSERT(first_seq >= 1 && last_seq >= first_seq);
    if (self->is_overflowed) {
        return;
    }
    bb_session_range_t range = {partition, first_seq, last_seq};
    bb_session_stream_t *at = s_stream_get(self, stream);
    if (at->range_count == 0 || !s_is_before(&range, &at->ranges[at->range_count - 1])) {
        s_append(at, &range);
    } else {
        s_unite(at, &range, 1);
    }
}

// ---- sets --------------------------------------------------------------------------------------

bb_error_t bb_session_token_bind(bb_session_token_t *self, const uint8_t cluster_id[16])
{
    BB_ASSERT(self && cluster_id);
    if (memcmp(cluster_id, s_no_cluster, sizeof s_no_cluster) == 0) {
        return BB_OK;
    }
    if (memcmp(self->cluster_id, s_no_cluster, sizeof s_no_cluster) == 0) {
        memcpy(self->cluster_id, cluster_id, sizeof self->cluster_id);
    }
    return memcmp(self->cluster_id, cluster_id, sizeof self->cluster_id) == 0 ? BB_OK
                                                                              : BB_ERR_CLUSTER;
}

bb_error_t bb_session_token_join(bb_session_token_t *self, const bb_session_token_t *other)
{
    BB_ASSERT(self && other && self != other);
    bb_error_t error = bb_session_token_bind(self, other->cluster_id);
    if (error != BB_OK || self->is_overflowed) {
        return error;
    }
    if (other->is_overflowed) {
        s_overflow(self);
        return BB_OK;
    }
    for (uint32_t i = 0; i < other->stream_count; i++) {
        const bb_session_stream_t *stream = &other->streams[i];
        s_unite(s_stream_get(self, &stream->stream), stream->ranges, stream->range_count);
    }
    if (other->stream_count > 0 &&
        bb_session_token_encoded_bytes(self) > BB_SESSION_TOKEN_BYTES_MAX) {
        s_overflow(self);
    }
    return BB_OK;
}

void bb_session_token_select(bb_session_token_t *self, const bb_session_token_t *from,
                             const uint32_t *partitions, uint32_t partition_count)
{
    BB_ASSERT(self && from && self != from && (partitions || partition_count == 0));
    bb_session_token_clear(self);
    memcpy(self->cluster_id, from->cluster_id, sizeof self->cluster_id);
    self->is_overflowed = from->is_overflowed;
    for (uint32_t i = 0; i < from->stream_count; i++) {
        const bb_session_stream_t *stream = &from->streams[i];
        for (uint32_t r = 0, p = 0; r < stream->range_count && p < partition_count;) {
            const bb_session_range_t *range = &stream->ranges[r];
            if (partitions[p] < range->partition) {
                p++;
                continue;
            }
            if (partitions[p] == range->partition) {
                bb_session_token_add(self, &stream->stream, range->partition, range->first_seq,
                                     range->last_seq);
            }
            r++;
        }
    }
}

void bb_session_token_drop(bb_session_token_t *self, bb_session_stream_fn is_dropped, void *context)
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

// Position of the first range of the partition or a later one.
static uint32_t s_range_index(const bb_session_stream_t *stream, uint32_t partition)
{
    uint32_t low = 0, high = stream->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (stream->ranges[middle].partition < partition) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool bb_session_token_is_held(const bb_session_token_t *self, uint32_t partition,
                              const bb_have_set_t *have)
{
    BB_ASSERT(self && have);
    for (uint32_t i = 0; i < self->stream_count; i++) {
        const bb_session_stream_t *stream = &self->streams[i];
        const bb_have_stream_t *held = NULL;
        uint32_t at = 0; // both lists ascend
        for (uint32_t r = s_range_index(stream, partition);
             r < stream->range_count && stream->ranges[r].partition == partition; r++) {
            held = held ? held : bb_have_set_stream(have, &stream->stream);
            if (!held) {
                return false;
            }
            while (at < held->range_count &&
                   held->ranges[at].last_seq < stream->ranges[r].last_seq) {
                at++;
            }
            if (at == held->range_count ||
                held->ranges[at].first_seq > stream->ranges[r].first_seq) {
                return false;
            }
        }
    }
    return true;
}

// ---- flat form ---------------------------------------------------------------------------------

// What a range is written as: small numbers, given the range before it (NULL: none).
typedef struct {
    uint64_t partition_delta, first_delta, length;
} s_step_t;

static s_step_t s_step(const bb_session_range_t *before, const bb_session_range_t *range)
{
    s_step_t step = {.partition_delta = range->partition,
                     .first_delta = range->first_seq - 1,
                     .length = range->last_seq - range->first_seq};
    if (before) {
        step.partition_delta -= before->partition;
        if (step.partition_delta == 0) {
            step.first_delta = range->first_seq - 2 - before->last_seq; // never adjacent
        }
    }
    return step;
}

static size_t s_varint_bytes(uint64_t value)
{
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7) {
        bytes++;
    }
    return bytes;
}

static uint8_t *s_put(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        *at++ = (uint8_t)(value | 0x80);
    }
    *at++ = (uint8_t)value;
    return at;
}

size_t bb_session_token_encoded_bytes(const bb_session_token_t *self)
{
    BB_ASSERT(self);
    size_t bytes = S_HEAD_BYTES + S_CHECKSUM_BYTES;
    for (uint32_t i = 0; i < self->stream_count; i++) {
        const bb_session_stream_t *stream = &self->streams[i];
        bytes += sizeof stream->stream.bytes + s_varint_bytes(stream->range_count);
        for (uint32_t r = 0; r < stream->range_count; r++) {
            s_step_t step = s_step(r ? &stream->ranges[r - 1] : NULL, &stream->ranges[r]);
            bytes += s_varint_bytes(step.partition_delta) + s_varint_bytes(step.first_delta) +
                     s_varint_bytes(step.length);
        }
    }
    return bytes;
}

void bb_session_token_encode(const bb_session_token_t *self, uint8_t **out, size_t *out_length)
{
    BB_ASSERT(self && out && out_length);
    size_t length = bb_session_token_encoded_bytes(self);
    bool is_overflowed = self->is_overflowed || length > BB_SESSION_TOKEN_BYTES_MAX;
    length = is_overflowed ? S_HEAD_BYTES + S_CHECKSUM_BYTES : length;
    uint8_t *data = bb_alloc(length);
    memcpy(data, s_magic, sizeof s_magic);
    data[4] = is_overflowed ? S_FLAG_OVERFLOWED : 0;
    memcpy(data + 5, self->cluster_id, sizeof self->cluster_id);
    uint8_t *at = data + S_HEAD_BYTES;
    for (uint32_t i = 0; i < self->stream_count && !is_overflowed; i++) {
        const bb_session_stream_t *stream = &self->streams[i];
        memcpy(at, stream->stream.bytes, sizeof stream->stream.bytes);
        at = s_put(at + sizeof stream->stream.bytes, stream->range_count);
        for (uint32_t r = 0; r < stream->range_count; r++) {
            s_step_t step = s_step(r ? &stream->ranges[r - 1] : NULL, &stream->ranges[r]);
            at = s_put(s_put(s_put(at, step.partition_delta), step.first_delta), step.length);
        }
    }
    BB_ASSERT((size_t)(at - data) == length - S_CHECKSUM_BYTES);
    uint32_t checksum = bb_crc32c(0, data, length - S_CHECKSUM_BYTES);
    memcpy(at, &checksum, sizeof checksum);
    *out = data;
    *out_length = length;
}

typedef struct {
    const uint8_t *at, *end;
} s_reader_t;

// False: cut off, longer than 64 bits, or not the shortest form.
static bool s_get(s_reader_t *reader, uint64_t *value)
{
    *value = 0;
    for (uint32_t i = 0; i < S_VARINT_BYTES && reader->at < reader->end; i++) {
        uint64_t byte = *reader->at++;
        if (i == S_VARINT_BYTES - 1 && byte > 1) {
            return false;
        }
        *value |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            return byte != 0 || i == 0;
        }
    }
    return false;
}

static bool s_get_range(s_reader_t *reader, const bb_session_range_t *before,
                        bb_session_range_t *range)
{
    s_step_t step;
    if (!s_get(reader, &step.partition_delta) || !s_get(reader, &step.first_delta) ||
        !s_get(reader, &step.length) || step.partition_delta >= BB_PARTITIONS_MAX) {
        return false;
    }
    uint64_t partition = step.partition_delta + (before ? before->partition : 0);
    uint64_t base = before && step.partition_delta == 0 ? before->last_seq + 2 : 1;
    // A base of 0 or 1 where a range was before has wrapped.
    bool fits = partition < BB_PARTITIONS_MAX &&
                (!before || step.partition_delta != 0 || base > before->last_seq) &&
                step.first_delta <= UINT64_MAX - base;
    if (!fits || step.length > UINT64_MAX - base - step.first_delta) {
        return false;
    }
    *range = (bb_session_range_t){.partition = (uint32_t)partition,
                                  .first_seq = base + step.first_delta,
                                  .last_seq = base + step.first_delta + step.length};
    return true;
}

static bool s_get_stream(bb_session_token_t *self, s_reader_t *reader)
{
    bb_stream_t id;
    uint64_t count;
    if ((size_t)(reader->end - reader->at) < sizeof id.bytes) {
        return false;
    }
    memcpy(id.bytes, reader->at, sizeof id.bytes);
    reader->at += sizeof id.bytes;
    bool is_ascending =
        self->stream_count == 0 ||
        memcmp(self->streams[self->stream_count - 1].stream.bytes, id.bytes, sizeof id.bytes) < 0;
    // Each range takes three bytes at least, so what is allocated is in proportion to what came.
    if (!is_ascending || !s_get(reader, &count) || count == 0 ||
        count > (uint64_t)(reader->end - reader->at) / 3) {
        return false;
    }
    bb_session_stream_t *stream = s_stream_get(self, &id);
    s_ranges_reserve(stream, (uint32_t)count);
    for (uint32_t r = 0; r < count; r++) {
        if (!s_get_range(reader, r ? &stream->ranges[r - 1] : NULL, &stream->ranges[r])) {
            return false;
        }
        stream->range_count++;
    }
    return true;
}

bb_error_t bb_session_token_decode(bb_session_token_t *self, bb_slice_t encoded)
{
    BB_ASSERT(self);
    bb_session_token_clear(self);
    const uint8_t *data = encoded.data;
    if (encoded.length > BB_SESSION_TOKEN_BYTES_MAX) {
        return BB_ERR_MESSAGE_BYTES;
    }
    if (encoded.length < S_HEAD_BYTES + S_CHECKSUM_BYTES) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    if (memcmp(data, s_magic, sizeof s_magic) != 0) {
        return BB_ERR_MESSAGE_VERSION;
    }
    size_t length = encoded.length - S_CHECKSUM_BYTES;
    uint32_t checksum;
    memcpy(&checksum, data + length, sizeof checksum);
    if (checksum != bb_crc32c(0, data, length) || (data[4] & ~S_FLAG_OVERFLOWED) != 0) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    self->is_overflowed = (data[4] & S_FLAG_OVERFLOWED) != 0;
    memcpy(self->cluster_id, data + 5, sizeof self->cluster_id);
    s_reader_t reader = {data + S_HEAD_BYTES, data + length};
    bool is_good = !self->is_overflowed || reader.at == reader.end;
    while (is_good && reader.at < reader.end) {
        is_good = s_get_stream(self, &reader);
    }
    if (!is_good) {
        bb_session_token_clear(self);
        return BB_ERR_MESSAGE_CORRUPT;
    }
    return BB_OK;
}

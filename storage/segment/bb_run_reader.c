// SPDX-License-Identifier: Apache-2.0
// Reads opened runs (bb_run_open.c): their head is in order, each block is checked when it is read.
#include "storage/segment/bb_run_reader.h"
#include "storage/encoding/bb_clones.h"

#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_packed_stats.h"
#include "storage/segment/bb_peer_cache.h"
#include "storage/segment/bb_shared_run.h"
#include "storage/segment/bb_stats.h"

// ---- directory -------------------------------------------------------------------------------
bb_run_column_info_t bb_run_column(const bb_run_t *self, uint32_t column_index)
{
    BB_ASSERT(column_index < self->column_count);
    return (bb_run_column_info_t){bb_run_raw_metric(self, column_index),
                                  bb_run_raw_type(self, column_index)};
}

uint32_t bb_run_find(const bb_run_t *self, uint32_t metric)
{
    uint32_t begin = 0;
    uint32_t limit = self->column_count;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (bb_run_raw_metric(self, middle) < metric) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    bool found = begin < self->column_count && bb_run_raw_metric(self, begin) == metric;
    return found ? begin : UINT32_MAX;
}

uint32_t bb_run_block_rows(const bb_run_t *self, uint32_t block_index)
{
    BB_ASSERT(block_index < self->block_count);
    if (self->shared) {
        return bb_shared_run_stretch(self, block_index).rows;
    }
    return self->rows_raw ? bb_run_format_u16(self->rows_raw + (size_t)block_index * 2) + 1u
                          : self->row_count;
}

uint32_t bb_run_block_first(const bb_run_t *self, uint32_t block_index)
{
    BB_ASSERT(block_index < self->block_count);
    uint32_t row = 0;
    for (uint32_t block = 0; block < block_index; block++) {
        row += bb_run_block_rows(self, block);
    }
    return row;
}

void bb_run_block_range(const bb_run_t *self, uint32_t block_index, int64_t *first_wall_ns,
                        int64_t *last_wall_ns)
{
    BB_ASSERT(block_index < self->block_count);
    if (self->shared) {
        bb_shared_run_range(self, block_index, first_wall_ns, last_wall_ns);
        return;
    }
    *first_wall_ns =
        self->times_raw ? bb_run_raw_block_time(self, 0, block_index) : self->first_wall_ns;
    *last_wall_ns =
        self->times_raw ? bb_run_raw_block_time(self, 1, block_index) : self->last_wall_ns;
}

// Where the block is encoded: of a view, in the run that is shared, among the rows of others.
static const bb_run_t *s_encoded(const bb_run_t *self, uint32_t *block_index)
{
    BB_ASSERT(*block_index < self->block_count);
    if (!self->shared) {
        return self;
    }
    *block_index = bb_shared_run_stretch(self, *block_index).block;
    return bb_shared_run_whole(self->shared);
}

bool bb_run_block_has_all(const bb_run_t *self, uint32_t column_index, uint32_t block_index)
{
    BB_ASSERT(column_index < self->column_count);
    self = s_encoded(self, &block_index);
    uint8_t encoding =
        self->encodings_raw[bb_run_raw_part(self, bb_run_slot(column_index), block_index)];
    return encoding != BB_ENCODING_NONE && !(encoding & BB_RUN_LACKS_ROWS);
}

bb_slice_t bb_run_raw_stats(const bb_run_t *self, uint32_t column_index, uint32_t block_index)
{
    BB_ASSERT(column_index < self->column_count);
    BB_ASSERT(bb_run_has_stats(self) && !self->shared);
    bool is_many = (self->flags & BB_RUN_MANY) != 0;
    BB_ASSERT(block_index < self->block_count + is_many);
    // Those of the whole column come first.
    uint32_t index = block_index == self->block_count ? 0 : block_index + is_many;
    size_t per_column = (size_t)self->block_count + is_many;
    size_t first = is_many ? column_index * per_column : 0;
    size_t entry = column_index * per_column + index;
    size_t offset =
        is_many ? bb_run_format_u32(self->stats_offsets_raw + (size_t)column_index * 4) : 0;
    for (size_t i = first; i < entry; i++) {
        offset += self->stats_lengths_raw[i];
    }
    return bb_slice(self->stats_raw + offset, self->stats_lengths_raw[entry]);
}

// ---- blocks ----------------------------------------------------------------------------------
// Where the block begins, from the first of all.
static size_t s_offset(const bb_run_t *self, uint32_t slot, uint32_t block_index)
{
    size_t offset = 0;
    size_t first = 0;
    size_t limit = bb_run_raw_part(self, slot, block_index);
    if (self->flags & BB_RUN_MANY) {
        offset = bb_run_format_u32(self->offsets_raw + (size_t)slot * 4);
        first = bb_run_raw_part(self, slot, 0);
    }
    for (size_t part = first; part < limit; part++) {
        offset += bb_run_raw_length(self, part);
    }
    return offset;
}

const bb_text_t *bb_run_text(const bb_run_t *self, uint32_t position)
{
    BB_ASSERT(position < self->text_count);
    const uint8_t *bytes = self->encoded.data;
    return bb_text_of_bits(
        (uint64_t)(uintptr_t)(bytes + bb_run_format_u32(self->texts_raw + (size_t)position * 4)));
}

static uint64_t s_text_bits(const bb_run_t *self, uint64_t position)
{
    return (uint64_t)(uintptr_t)bb_run_text(self, (uint32_t)position);
}

// What lies behind a block is read next as a rule, and comes from the page cache.
static void s_look_ahead(uintptr_t end)
{
    for (uintptr_t line = 64; line <= 384; line += 64) {
        __builtin_prefetch((const void *)(end + line)); // any address will do
    }
}

bb_error_t bb_run_raw_block(const bb_run_t *self, uint32_t slot, uint32_t block_index,
                            bb_slice_t *block, uint8_t *encoding)
{
    BB_ASSERT(slot <= self->column_count);
    BB_ASSERT(block_index < self->block_count && !self->shared);
    size_t part = bb_run_raw_part(self, slot, block_index);
    *encoding = self->encodings_raw[part];
    *block = bb_slice(self->blocks_raw + s_offset(self, slot, block_index),
                      bb_run_raw_length(self, part));
    s_look_ahead((uintptr_t)block->data + block->length);
    bool is_whole = (self->flags & BB_RUN_WHOLE) != 0; // was tested at open
    return is_whole || bb_crc32c(0, block->data, block->length) ==
                           bb_run_format_u32(self->checksums_raw + part * 4)
               ? BB_OK
               : BB_ERR_CORRUPT;
}

BB_CLONES
static bool s_is_ascending(const int64_t *times_wall_ns, uint32_t count)
{
    uint64_t disorder = 0;
    for (uint32_t i = 1; i < count; i++) {
        disorder |= times_wall_ns[i - 1] >= times_wall_ns[i];
    }
    return disorder == 0;
}

bb_error_t bb_run_block_times(const bb_run_t *self, uint32_t block_index, int64_t *out_wall_ns)
{
    if (self->shared) {
        bb_shared_run_times(self, block_index, out_wall_ns);
        return BB_OK;
    }
    bb_slice_t block;
    uint8_t encoding;
    uint32_t rows = bb_run_block_rows(self, block_index);
    bb_error_t error = bb_run_raw_block(self, 0, block_index, &block, &encoding);
    if (error == BB_OK) {
        error = bb_encoding_decode(encoding, BB_ENCODING_INTEGER, block, rows, NULL,
                                   (uint64_t *)out_wall_ns);
    }
    if (error != BB_OK) {
        return error;
    }
    if (self->flags & BB_RUN_SHARED) {
        return BB_OK; // in order for each battery alone, which bb_shared_run_open sees to
    }
    // Merging relies on the order of times: a block that verifies but was written wrong stops here.
    bool ascends = s_is_ascending(out_wall_ns, rows);
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    bb_run_block_range(self, block_index, &first_wall_ns, &last_wall_ns);
    bool matches = out_wall_ns[0] == first_wall_ns && out_wall_ns[rows - 1] == last_wall_ns;
    return ascends && matches ? BB_OK : BB_ERR_CORRUPT;
}

bool bb_run_block_cut(const bb_run_t *self, uint32_t block_index, int64_t every_ns,
                      bb_times_cuts_t *cuts)
{
    bb_slice_t block;
    uint8_t encoding;
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    bb_run_block_range(self, block_index, &first_wall_ns, &last_wall_ns);
    return !self->shared && bb_run_raw_block(self, 0, block_index, &block, &encoding) == BB_OK &&
           encoding == BB_ENCODING_TIMES && first_wall_ns >= 0 &&
           bb_times_cut(block, bb_run_block_rows(self, block_index), first_wall_ns, last_wall_ns,
                        every_ns, cuts);
}

// A block of values, taken apart.
typedef struct {
    uint32_t rows, count;
    uint32_t encoding;
    const uint8_t *bitmap; // of presence; NULL = all or none are present
    bb_slice_t encoded;
} s_values_t;

static bb_error_t s_open_values(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                s_values_t *values)
{
    uint8_t encoding;
    *values = (s_values_t){.rows = bb_run_block_rows(self, block_index)};
    bb_error_t error =
        bb_run_raw_block(self, bb_run_slot(column_index), block_index, &values->encoded, &encoding);
    if (error != BB_OK || encoding == BB_ENCODING_NONE) {
        return error;
    }
    values->encoding = encoding & BB_RUN_ENCODING_MASK;
    values->count = values->rows;
    if (!(encoding & BB_RUN_LACKS_ROWS)) {
        return BB_OK;
    }
    uint32_t bytes = bb_run_format_presence_bytes(values->rows);
    if (values->encoded.length < bytes) {
        return BB_ERR_CORRUPT;
    }
    values->bitmap = values->encoded.data;
    values->encoded = bb_slice(values->bitmap + bytes, values->encoded.length - bytes);
    values->count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        values->count += (uint32_t)__builtin_popcount(values->bitmap[i]);
    }
    bool spare_is_zero =
        values->rows % 8 == 0 || values->bitmap[bytes - 1] >> values->rows % 8 == 0;
    return spare_is_zero && values->count > 0 && values->count < values->rows ? BB_OK
                                                                              : BB_ERR_CORRUPT;
}

bb_error_t bb_run_raw_count(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                            uint32_t *count)
{
    s_values_t values;
    bb_error_t error = s_open_values(self, column_index, block_index, &values);
    *count = values.count;
    return error;
}

// ---- peers -----------------------------------------------------------------------------------
// The words of other columns of the same block, from which one was predicted.
typedef struct {
    uint64_t words[BB_ENCODING_PEERS_MAX][BB_BLOCK_ROWS_MAX];
    const uint64_t *list[BB_ENCODING_PEERS_MAX];
    const uint64_t *const *peers; // NULL: none are needed
} s_peers_t;

// The column that is the index-th of those that have all rows; UINT32_MAX: there is none.
static uint32_t s_find_peer(const bb_run_t *self, uint32_t block_index, uint32_t index)
{
    for (uint32_t column = 0; column < self->column_count; column++) {
        if (bb_run_block_has_all(self, column, block_index) && index-- == 0) {
            return column;
        }
    }
    return UINT32_MAX;
}

// What the cache knows a block by.
typedef struct {
    const void *data;
    uint32_t length, checksum, row_count;
} s_peer_key_t;

static s_peer_key_t s_peer_key(const bb_run_t *self, uint32_t column, uint32_t block_index)
{
    uint32_t slot = bb_run_slot(column);
    size_t part = bb_run_raw_part(self, slot, block_index);
    return (s_peer_key_t){
        .data = self->blocks_raw + s_offset(self, slot, block_index),
        .length = bb_run_raw_length(self, part),
        .checksum = bb_run_format_u32(self->checksums_raw + part * 4),
        .row_count = bb_run_block_rows(self, block_index),
    };
}

static bool s_is_entry_of(const bb_peer_entry_t *entry, const s_peer_key_t *key)
{
    return entry->data == key->data && entry->length == key->length &&
           entry->checksum == key->checksum && entry->row_count == key->row_count;
}

// Decodes a column that has all rows. It is not predicted itself: without peers that is an error.
static bb_error_t s_decode_peer(const bb_run_t *self, uint32_t column, uint32_t block_index,
                                uint64_t *words, bool *has_totals, bb_encoding_totals_t *totals)
{
    s_values_t peer;
    bb_error_t error = s_open_values(self, column, block_index, &peer);
    return error == BB_OK
               ? bb_encoding_decode_with_totals(peer.encoding, bb_run_raw_type(self, column),
                                                peer.encoded, peer.count, words, has_totals, totals)
               : error;
}

// Finds the words of a peer in the thread's cache, or decodes them into it. `other` is in use.
static bb_error_t s_read_peer(const bb_run_t *self, uint32_t column, uint32_t block_index,
                              const uint64_t *other, uint64_t *spare, const uint64_t **words)
{
    bb_peer_entry_t *entry = bb_peer_cache_entry(column, block_index);
    if (!entry || entry->words == other || !self->checksums_raw) {
        bool has_totals;
        bb_encoding_totals_t totals;
        *words = spare;
        return s_decode_peer(self, column, block_index, spare, &has_totals, &totals);
    }
    s_peer_key_t key = s_peer_key(self, column, block_index);
    *words = entry->words;
    if (s_is_entry_of(entry, &key)) {
        return BB_OK;
    }
    entry->data = NULL;
    bb_error_t error =
        s_decode_peer(self, column, block_index, entry->words, &entry->has_totals, &entry->totals);
    if (error == BB_OK) {
        entry->data = key.data;
        entry->length = key.length;
        entry->checksum = key.checksum;
        entry->row_count = key.row_count;
        entry->column_index = column;
        entry->block_index = block_index;
    }
    return error;
}

// The totals of a block that was decoded as a peer and is now asked for itself. Each decoding is
// used once: who asks again has it decoded again.
static bool s_take_totals(const bb_run_t *self, uint32_t column, uint32_t block_index,
                          bb_encoding_totals_t *totals)
{
    bb_peer_entry_t *entry = bb_peer_cache_entry(column, block_index);
    if (!entry || !entry->data || !entry->has_totals || entry->column_index != column ||
        entry->block_index != block_index || !self->checksums_raw) {
        return false;
    }
    s_peer_key_t key = s_peer_key(self, column, block_index);
    if (!s_is_entry_of(entry, &key)) {
        return false;
    }
    *totals = entry->totals;
    entry->has_totals = false;
    return true;
}

static bb_error_t s_read_peers(const bb_run_t *self, uint32_t block_index, const s_values_t *values,
                               s_peers_t *peers)
{
    peers->peers = NULL;
    if (values->encoding != BB_ENCODING_PREDICTED) {
        return BB_OK;
    }
    uint32_t indexes[BB_ENCODING_PEERS_MAX];
    uint32_t count;
    bb_error_t error = bb_encoding_peers(values->encoding, values->encoded, BB_ENCODING_PEER_LIMIT,
                                         indexes, &count);
    for (uint32_t i = 0; error == BB_OK && i < count; i++) {
        uint32_t column = s_find_peer(self, block_index, indexes[i]);
        if (column == UINT32_MAX) {
            return BB_ERR_CORRUPT;
        }
        error = s_read_peer(self, column, block_index, i > 0 ? peers->list[0] : NULL,
                            peers->words[i], &peers->list[i]);
    }
    peers->peers = peers->list;
    return error;
}

// Words as they are written become values. False: they cannot have been written.
static bool s_translate(const bb_run_t *self, bb_type_t type, uint64_t *words, uint32_t count)
{
    if (type == BB_TYPE_BOOL) {
        uint64_t bits = 0;
        for (uint32_t i = 0; i < count; i++) {
            bits |= words[i];
        }
        return bits <= 1;
    }
    if (type == BB_TYPE_STATE) {
        for (uint32_t i = 0; i < count; i++) {
            if (words[i] >= self->text_count) {
                return false;
            }
            words[i] = s_text_bits(self, words[i]);
        }
    }
    return true;
}

static void s_copy_bitmap(const s_values_t *values, uint64_t *presence)
{
    memset(presence, 0, (size_t)bb_run_format_presence_words(values->rows) * 8);
    if (values->bitmap) {
        memcpy(presence, values->bitmap, bb_run_format_presence_bytes(values->rows));
    }
}

uint32_t bb_run_block_exponent(const bb_run_t *self, uint32_t column_index, uint32_t block_index)
{
    self = s_encoded(self, &block_index);
    uint32_t slot = bb_run_slot(column_index);
    size_t part = bb_run_raw_part(self, slot, block_index);
    uint8_t encoding = self->encodings_raw[part];
    uint32_t length = bb_run_raw_length(self, part);
    uint32_t bitmap = encoding & BB_RUN_LACKS_ROWS
                          ? bb_run_format_presence_bytes(bb_run_block_rows(self, block_index))
                          : 0;
    const uint8_t *block = self->blocks_raw + s_offset(self, slot, block_index);
    return bb_encoding_exponent(encoding & BB_RUN_ENCODING_MASK,
                                bitmap <= length ? bb_slice(block + bitmap, length - bitmap)
                                                 : bb_slice(NULL, 0));
}

bb_error_t bb_run_block_values(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                               uint64_t *out, uint64_t *presence, bool *all_present)
{
    if (self->shared) {
        return bb_shared_run_values(self, column_index, block_index, out, presence, all_present);
    }
    s_values_t values;
    bb_type_t type = bb_run_raw_type(self, column_index);
    bb_error_t error = s_open_values(self, column_index, block_index, &values);
    s_peers_t peers;
    if (error == BB_OK && values.count > 0) {
        error = s_read_peers(self, block_index, &values, &peers);
    }
    if (error == BB_OK && values.count > 0) {
        error = bb_encoding_decode(values.encoding, bb_run_format_kind(type), values.encoded,
                                   values.count, peers.peers, out);
    }
    if (error != BB_OK) {
        return error;
    }
    if (!s_translate(self, type, out, values.count)) {
        return BB_ERR_CORRUPT;
    }
    *all_present = values.count == values.rows;
    if (*all_present) {
        return BB_OK;
    }
    s_copy_bitmap(&values, presence);
    // Spread from the end: a value never moves to a lower row, so nothing is overwritten unread.
    uint32_t next = values.count;
    for (uint32_t row = values.rows; row-- > 0;) {
        bool present = presence[row / 64] >> (row % 64) & 1;
        out[row] = present ? out[--next] : 0;
    }
    return BB_OK;
}

// The first row at or after the time.
static uint32_t s_lower_bound(const int64_t *times_wall_ns, uint32_t rows, int64_t wall_ns)
{
    uint32_t begin = 0;
    uint32_t limit = rows;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (times_wall_ns[middle] < wall_ns) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    return begin;
}

bb_error_t bb_run_block_points(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                               const int64_t *block_times_wall_ns, int64_t from_wall_ns,
                               int64_t to_wall_ns, int64_t *times_wall_ns, uint64_t *values,
                               uint32_t *count)
{
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    *count = 0;
    bb_error_t error =
        bb_run_block_values(self, column_index, block_index, values, presence, &all_present);
    if (error != BB_OK) {
        return error;
    }
    uint32_t rows = bb_run_block_rows(self, block_index);
    uint32_t begin = s_lower_bound(block_times_wall_ns, rows, from_wall_ns);
    uint32_t limit = s_lower_bound(block_times_wall_ns, rows, to_wall_ns);
    if (begin >= limit) {
        return BB_OK;
    }
    if (all_present) {
        *count = limit - begin;
        memcpy(times_wall_ns, block_times_wall_ns + begin, (size_t)*count * 8);
        memmove(values, values + begin, (size_t)*count * 8);
        return BB_OK;
    }
    uint32_t kept = 0;
    for (uint32_t row = begin; row < limit; row++) {
        if (presence[row / 64] >> (row % 64) & 1) {
            times_wall_ns[kept] = block_times_wall_ns[row];
            values[kept++] = values[row];
        }
    }
    *count = kept;
    return BB_OK;
}

// ---- aggregates ------------------------------------------------------------------------------
// Rows [row_first, row_limit) of the block that have a value, and the values before them.
typedef struct {
    uint32_t before, count;
    uint32_t first_row, last_row; // if count > 0
} s_range_t;

static s_range_t s_find_range(const s_values_t *values, uint32_t row_first, uint32_t row_limit)
{
    if (!values->bitmap) {
        return (s_range_t){row_first, row_limit - row_first, row_first, row_limit - 1};
    }
    s_range_t range = {0};
    for (uint32_t row = 0; row < row_limit; row++) {
        if (!(values->bitmap[row / 8] >> row % 8 & 1)) {
            continue;
        }
        if (row < row_first) {
            range.before++;
            continue;
        }
        range.first_row = range.count == 0 ? row : range.first_row;
        range.last_row = row;
        range.count++;
    }
    return range;
}

static bb_error_t s_find_times(const bb_run_t *self, uint32_t block_index, const s_range_t *range,
                               const int64_t *block_times_wall_ns, bb_block_stats_t *stats)
{
    int64_t decoded[BB_BLOCK_ROWS_MAX];
    if (!block_times_wall_ns) {
        bb_run_block_range(self, block_index, &stats->first_wall_ns, &stats->last_wall_ns);
        if (range->first_row == 0 && range->last_row == bb_run_block_rows(self, block_index) - 1) {
            return BB_OK;
        }
        bb_error_t error = bb_run_block_times(self, block_index, decoded);
        if (error != BB_OK) {
            return error;
        }
        block_times_wall_ns = decoded;
    }
    stats->first_wall_ns = block_times_wall_ns[range->first_row];
    stats->last_wall_ns = block_times_wall_ns[range->last_row];
    return BB_OK;
}

// Statistics as they are written become what callers see. False: they cannot have been written.
static bool s_translate_stats(const bb_run_t *self, uint32_t column_index, bb_block_stats_t *stats)
{
    uint64_t words[4] = {stats->min, stats->max, stats->first, stats->last};
    if (stats->count > 0 && !s_translate(self, bb_run_raw_type(self, column_index), words, 4)) {
        return false;
    }
    stats->min = words[0];
    stats->max = words[1];
    stats->first = words[2];
    stats->last = words[3];
    return true;
}

// As they are written: STATE words are positions.
static bb_error_t s_aggregate(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                              uint32_t row_first, uint32_t row_limit,
                              const int64_t *block_times_wall_ns, bb_block_stats_t *stats)
{
    BB_ASSERT(row_first < row_limit);
    BB_ASSERT(row_limit <= bb_run_block_rows(self, block_index));
    s_values_t values;
    bb_error_t error = s_open_values(self, column_index, block_index, &values);
    if (error != BB_OK) {
        return error;
    }
    s_range_t range = {0};
    if (values.count > 0) {
        range = s_find_range(&values, row_first, row_limit);
    }
    if (range.count == 0) {
        *stats = (bb_block_stats_t){0};
        return BB_OK;
    }
    s_peers_t peers;
    error = s_read_peers(self, block_index, &values, &peers);
    if (error != BB_OK) {
        return error;
    }
    bb_encoding_totals_t totals;
    error = bb_encoding_aggregate(values.encoding, bb_run_raw_type(self, column_index),
                                  values.encoded, values.count, peers.peers, range.before,
                                  range.before + range.count, &totals);
    if (error != BB_OK) {
        return error;
    }
    bb_block_stats_t found = {
        .count = totals.count,
        .sum = totals.sum,
        .min = totals.min,
        .max = totals.max,
        .first = totals.first,
        .last = totals.last,
    };
    error = s_find_times(self, block_index, &range, block_times_wall_ns, &found);
    if (error == BB_OK) {
        *stats = found;
    }
    return error;
}

bb_error_t bb_run_block_aggregate(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                  uint32_t row_first, uint32_t row_limit,
                                  const int64_t *block_times_wall_ns, bb_block_stats_t *stats)
{
    if (self->shared) {
        return bb_shared_run_aggregate(self, column_index, block_index, row_first, row_limit,
                                       stats);
    }
    bb_error_t error = s_aggregate(self, column_index, block_index, row_first, row_limit,
                                   block_times_wall_ns, stats);
    return error == BB_OK && !s_translate_stats(self, column_index, stats) ? BB_ERR_CORRUPT : error;
}

bool bb_run_block_ranges(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                         const uint32_t *row_limits, uint32_t range_count, bool has_extremes,
                         bb_encoding_ranges_t *ranges)
{
    BB_ASSERT(bb_run_block_has_all(self, column_index, block_index));
    s_values_t values;
    s_peers_t peers;
    return !self->shared && s_open_values(self, column_index, block_index, &values) == BB_OK &&
           s_read_peers(self, block_index, &values, &peers) == BB_OK &&
           bb_encoding_ranges(values.encoding, bb_run_raw_type(self, column_index), values.encoded,
                              values.count, peers.peers, row_limits, range_count, has_extremes,
                              ranges);
}

// ---- statistics ------------------------------------------------------------------------------
bb_error_t bb_run_raw_block_stats(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                  bb_block_stats_t *stats)
{
    if (!bb_run_has_stats(self)) {
        return s_aggregate(self, column_index, block_index, 0, bb_run_block_rows(self, block_index),
                           NULL, stats);
    }
    bb_packed_stats_frame_t frame = {.type = bb_run_raw_type(self, column_index),
                                     .row_count = bb_run_block_rows(self, block_index)};
    bb_run_block_range(self, block_index, &frame.first_wall_ns, &frame.last_wall_ns);
    return bb_packed_stats_decode(&frame, bb_run_raw_stats(self, column_index, block_index), stats);
}

bb_error_t bb_run_block_stats(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                              bb_block_stats_t *stats)
{
    if (self->shared) {
        return bb_shared_run_aggregate(self, column_index, block_index, 0,
                                       bb_run_block_rows(self, block_index), stats);
    }
    bb_error_t error = bb_run_raw_block_stats(self, column_index, block_index, stats);
    return error == BB_OK && !s_translate_stats(self, column_index, stats) ? BB_ERR_CORRUPT : error;
}

// A run of few rows may have several blocks, copied from small ones, and no statistics.
static bb_error_t s_sum_up_blocks(const bb_run_t *self, uint32_t column_index,
                                  bb_block_stats_t *stats)
{
    bb_block_stats_t total = {0};
    bb_error_t error = BB_OK;
    for (uint32_t block = 0; block < self->block_count && error == BB_OK; block++) {
        bb_block_stats_t part;
        error = bb_run_block_stats(self, column_index, block, &part);
        if (error == BB_OK) {
            bb_stats_merge(&total, bb_run_raw_type(self, column_index), &part);
        }
    }
    if (error == BB_OK) {
        *stats = total;
    }
    return error;
}

bb_error_t bb_run_column_stats(const bb_run_t *self, uint32_t column_index, bb_block_stats_t *stats)
{
    if (self->block_count == 1) {
        return bb_run_block_stats(self, column_index, 0, stats);
    }
    BB_ASSERT(column_index < self->column_count);
    if (!bb_run_has_stats(self)) {
        return s_sum_up_blocks(self, column_index, stats);
    }
    bb_packed_stats_frame_t frame = {bb_run_raw_type(self, column_index), self->row_count,
                                     self->first_wall_ns, self->last_wall_ns};
    bb_error_t error = bb_packed_stats_decode(
        &frame, bb_run_raw_stats(self, column_index, self->block_count), stats);
    return error == BB_OK && !s_translate_stats(self, column_index, stats) ? BB_ERR_CORRUPT : error;
}

// Totals of a block of numbers with a value in every row.
static bb_error_t s_block_totals(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                 bb_encoding_totals_t *totals)
{
    s_values_t values;
    s_peers_t peers;
    if (s_take_totals(self, column_index, block_index, totals)) {
        return BB_OK;
    }
    bb_error_t error = s_open_values(self, column_index, block_index, &values);
    if (error == BB_OK) {
        error = s_read_peers(self, block_index, &values, &peers);
    }
    return error == BB_OK
               ? bb_encoding_aggregate(values.encoding, bb_run_raw_type(self, column_index),
                                       values.encoded, values.count, peers.peers, 0, values.count,
                                       totals)
               : error;
}

// Adds such a block, later than all that was added before.
static bb_error_t s_add_block(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                              bb_block_stats_t *total)
{
    bb_encoding_totals_t found;
    bb_type_t type = bb_run_raw_type(self, column_index);
    bb_error_t error = s_block_totals(self, column_index, block_index, &found);
    if (error != BB_OK) {
        return error;
    }
    if (type == BB_TYPE_BOOL && (found.min | found.max) > 1) {
        return BB_ERR_CORRUPT;
    }
    int64_t first_wall_ns;
    int64_t last_wall_ns;
    bb_run_block_range(self, block_index, &first_wall_ns, &last_wall_ns);
    if (total->count == 0) {
        total->first_wall_ns = first_wall_ns;
        total->first = found.first;
        total->min = found.min;
        total->max = found.max;
    }
    total->min = bb_stats_min(type, total->min, found.min);
    total->max = bb_stats_max(type, total->max, found.max);
    total->count += found.count;
    bb_sum_merge(&total->sum, &found.sum);
    total->last_wall_ns = last_wall_ns;
    total->last = found.last;
    return BB_OK;
}

bb_error_t bb_run_column_aggregate(const bb_run_t *self, uint32_t column_index,
                                   bb_block_stats_t *stats)
{
    bb_block_stats_t total = {0};
    bb_error_t error = BB_OK;
    bb_type_t type = bb_run_raw_type(self, column_index);
    for (uint32_t block = 0; block < self->block_count && error == BB_OK; block++) {
        if (!self->shared && type != BB_TYPE_STATE &&
            bb_run_block_has_all(self, column_index, block)) {
            error = s_add_block(self, column_index, block, &total);
            continue;
        }
        bb_block_stats_t part;
        error = bb_run_block_aggregate(self, column_index, block, 0, bb_run_block_rows(self, block),
                                       NULL, &part);
        if (error == BB_OK) {
            bb_stats_merge(&total, type, &part);
        }
    }
    if (error == BB_OK) {
        *stats = total;
    }
    return error;
}

// ---- scrubbing -------------------------------------------------------------------------------
// Sums are exact, thus the same. STATE addresses of one run are equal exactly when the texts are,
// because its texts are distinct.
static bool s_stats_match(const bb_block_stats_t *stored, const bb_block_stats_t *found)
{
    return stored->count == found->count && stored->min == found->min &&
           stored->max == found->max && stored->first_wall_ns == found->first_wall_ns &&
           stored->last_wall_ns == found->last_wall_ns && stored->first == found->first &&
           stored->last == found->last && bb_sum_is_equal(&stored->sum, &found->sum);
}

// Which points of the whole column begin and end it, and the extremes, follow from the blocks.
static bb_error_t s_verify_column(const bb_run_t *self, uint32_t column)
{
    bb_block_stats_t total = {0};
    bb_block_stats_t whole;
    bb_type_t type = bb_run_raw_type(self, column);
    bb_error_t error = bb_run_column_stats(self, column, &whole);
    for (uint32_t block = 0; error == BB_OK && block < self->block_count; block++) {
        int64_t block_times[BB_BLOCK_ROWS_MAX];
        int64_t times[BB_BLOCK_ROWS_MAX];
        uint64_t values[BB_BLOCK_ROWS_MAX];
        uint32_t count;
        bb_block_stats_t stored;
        bb_block_stats_t found = {0};
        error = bb_run_block_times(self, block, block_times);
        if (error == BB_OK) {
            error = bb_run_block_points(self, column, block, block_times, INT64_MIN, INT64_MAX,
                                        times, values, &count);
        }
        if (error == BB_OK) {
            error = bb_run_block_stats(self, column, block, &stored);
        }
        if (error == BB_OK) {
            bb_stats_add_rows(&found, type, times, values, NULL, count);
            bb_stats_merge(&total, type, &found);
            error = s_stats_match(&stored, &found) ? BB_OK : BB_ERR_CORRUPT;
        }
    }
    return error == BB_OK && !s_stats_match(&whole, &total) ? BB_ERR_CORRUPT : error;
}

bb_error_t bb_run_verify(const bb_run_t *self)
{
    uint64_t points = 0;
    bb_error_t error = BB_OK;
    for (uint32_t column = 0; error == BB_OK && column < self->column_count; column++) {
        bb_block_stats_t whole;
        error = s_verify_column(self, column);
        if (error == BB_OK) {
            error = bb_run_column_stats(self, column, &whole);
            points += whole.count;
        }
    }
    return error == BB_OK && points != self->point_count ? BB_ERR_CORRUPT : error;
}

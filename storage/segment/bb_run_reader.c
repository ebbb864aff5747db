// SPDX-License-Identifier: Apache-2.0
// Opens and reads runs. Bytes may come from a damaged disk: everything before the blocks is checked
// once at open, by checksum and by meaning, so that the accessors need no checks; each block is
// checked when it is read.
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/segment/bb_run_format.h"
#include "storage/segment/bb_stats.h"

// ---- accessors of the opened run --------------------------------------------------------------

static const bb_run_column_entry_t *s_column(const bb_run_t *self, uint32_t column_index)
{
    BB_ASSERT(column_index < self->column_count);
    const bb_run_column_entry_t *columns = self->columns_raw;
    return &columns[column_index];
}

static const bb_run_time_entry_t *s_time_entry(const bb_run_t *self, uint32_t block_index)
{
    BB_ASSERT(block_index < self->block_count);
    const bb_run_time_entry_t *entries = self->directory_raw;
    return &entries[block_index];
}

static const bb_run_value_entry_t *s_value_entry(const bb_run_t *self, uint32_t column_index,
                                                 uint32_t block_index)
{
    BB_ASSERT(column_index < self->column_count);
    BB_ASSERT(block_index < self->block_count);
    const bb_run_value_entry_t *entries = self->entries_raw;
    return &entries[(size_t)column_index * self->block_count + block_index];
}

static uint64_t s_text_bits(const bb_run_t *self, uint64_t code)
{
    const uint8_t *text = (const uint8_t *)self->encoded.data + self->texts_raw[code];
    return (uint64_t)(uintptr_t)text;
}

// ---- opening
// --------------------------------------------------------------------------------------

// The size of everything before the blocks; false if it cannot be inside `length`.
static bool s_head_bytes(const bb_run_header_t *header, size_t length, size_t *bytes)
{
    size_t columns = (size_t)header->column_count * sizeof(bb_run_column_entry_t);
    size_t times = (size_t)header->block_count * sizeof(bb_run_time_entry_t);
    size_t texts = ((size_t)header->text_count + 1) / 2 * 8 + (size_t)header->text_words * 8;
    size_t entries;
    // Each of the others is a 32-bit count times less than 256; only the product can overflow.
    if (!bb_size_mul((size_t)header->block_count * header->column_count,
                     sizeof(bb_run_value_entry_t), &entries) ||
        entries > length) {
        return false;
    }
    *bytes = sizeof *header + columns + times + entries + texts;
    return *bytes <= length;
}

static bb_error_t s_check_place(const bb_run_t *self, const bb_run_place_t *place,
                                size_t head_bytes, bb_fault_t *fault)
{
    size_t begin = (size_t)place->word * BB_RUN_WORD;
    if (!bb_encoding_is_known(place->encoding)) {
        return bb_fault_set(fault, BB_ERR_FORMAT, "run: unknown encoding %u", place->encoding);
    }
    if (place->value_count == 0 || place->zero != 0 || begin < head_bytes ||
        begin > self->encoded.length || place->bytes > self->encoded.length - begin) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: block outside of its %zu bytes",
                            self->encoded.length);
    }
    return BB_OK;
}

static bb_error_t s_check_times(const bb_run_t *self, size_t head_bytes, bb_fault_t *fault)
{
    const bb_run_time_entry_t *previous = NULL;
    for (uint32_t block = 0; block < self->block_count; block++) {
        const bb_run_time_entry_t *entry = s_time_entry(self, block);
        bb_error_t error = s_check_place(self, &entry->place, head_bytes, fault);
        if (error != BB_OK) {
            return error;
        }
        if (entry->place.value_count != bb_run_format_rows(self->row_count, block) ||
            entry->first_wall_ns > entry->last_wall_ns ||
            (previous && previous->last_wall_ns >= entry->first_wall_ns)) {
            return bb_fault_set(fault, BB_ERR_CORRUPT, "run: times of block %u out of order",
                                block);
        }
        previous = entry;
    }
    if (s_time_entry(self, 0)->first_wall_ns != self->first_wall_ns ||
        previous->last_wall_ns != self->last_wall_ns) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: its range is not that of its blocks");
    }
    return BB_OK;
}

static bool s_is_value(const bb_run_t *self, bb_type_t type, uint64_t word)
{
    switch (type) {
    case BB_TYPE_BOOL:
        return word <= 1;
    case BB_TYPE_STATE:
        return word < self->text_count;
    default:
        return true;
    }
}

static bb_error_t s_check_entry(const bb_run_t *self, uint32_t column, uint32_t block,
                                size_t head_bytes, bb_fault_t *fault)
{
    static const bb_run_value_entry_t empty;
    const bb_run_value_entry_t *entry = s_value_entry(self, column, block);
    const bb_run_time_entry_t *times = s_time_entry(self, block);
    bb_type_t type = s_column(self, column)->type;
    if (entry->place.encoding == BB_ENCODING_NONE && memcmp(entry, &empty, sizeof empty) == 0) {
        return BB_OK;
    }
    bb_error_t error = s_check_place(self, &entry->place, head_bytes, fault);
    if (error != BB_OK) {
        return error;
    }
    if (entry->place.value_count > times->place.value_count ||
        entry->first_wall_ns < times->first_wall_ns || entry->last_wall_ns > times->last_wall_ns ||
        entry->first_wall_ns > entry->last_wall_ns || !s_is_value(self, type, entry->min) ||
        !s_is_value(self, type, entry->max) || !s_is_value(self, type, entry->first) ||
        !s_is_value(self, type, entry->last)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: statistics of column %u block %u", column,
                            block);
    }
    return BB_OK;
}

static bb_error_t s_check_columns(const bb_run_t *self, size_t head_bytes, bb_fault_t *fault)
{
    uint64_t points = 0;
    for (uint32_t i = 0; i < self->column_count; i++) {
        const bb_run_column_entry_t *column = s_column(self, i);
        if (!bb_type_is_valid(column->type) ||
            (column->zero[0] | column->zero[1] | column->zero[2]) != 0 ||
            (i > 0 && (column[-1].metric > column->metric ||
                       (column[-1].metric == column->metric && column[-1].type >= column->type)))) {
            return bb_fault_set(fault, BB_ERR_CORRUPT, "run: column %u is out of order", i);
        }
        for (uint32_t block = 0; block < self->block_count; block++) {
            bb_error_t error = s_check_entry(self, i, block, head_bytes, fault);
            if (error != BB_OK) {
                return error;
            }
            points += s_value_entry(self, i, block)->place.value_count;
        }
    }
    if (points != self->point_count) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: %llu points where %llu were written",
                            (unsigned long long)points, (unsigned long long)self->point_count);
    }
    return BB_OK;
}

static bool s_texts_are_valid(const bb_run_t *self, size_t begin, size_t limit)
{
    for (uint32_t i = 0; i < self->text_count; i++) {
        size_t offset = self->texts_raw[i];
        if (offset % 4 != 0 || offset < begin || offset > limit - sizeof(uint32_t)) {
            return false;
        }
        uint32_t length;
        memcpy(&length, (const uint8_t *)self->encoded.data + offset, sizeof length);
        if (length > BB_STATE_BYTES_MAX || length > limit - offset - sizeof length) {
            return false;
        }
    }
    return true;
}

bb_error_t bb_run_open(bb_run_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    BB_ASSERT((uintptr_t)encoded.data % 8 == 0);
    const bb_run_header_t *header = encoded.data;
    if (encoded.length < sizeof *header || memcmp(header->magic, "BBR", BB_RUN_MAGIC_BYTES) != 0) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: no run in these %zu bytes",
                            encoded.length);
    }
    if (header->version != BB_RUN_VERSION) {
        return bb_fault_set(fault, BB_ERR_FORMAT, "run: version %u is unknown, %u was expected",
                            (unsigned)(unsigned char)header->version, BB_RUN_VERSION);
    }
    size_t head_bytes;
    if (header->run_bytes != encoded.length || header->zero != 0 || header->row_count == 0 ||
        header->column_count == 0 ||
        header->block_count != (header->row_count - 1) / BB_BLOCK_ROWS_MAX + 1 ||
        !s_head_bytes(header, encoded.length, &head_bytes)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: header does not fit its %zu bytes",
                            encoded.length);
    }
    const uint8_t *bytes = encoded.data;
    size_t covered = offsetof(bb_run_header_t, run_bytes);
    if (bb_crc32c(0, bytes + covered, head_bytes - covered) != header->checksum) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: checksum of the directory");
    }
    size_t text_bytes = (size_t)header->text_words * 8;
    const bb_run_column_entry_t *columns = (const void *)(bytes + sizeof *header);
    const bb_run_time_entry_t *times = (const void *)(columns + header->column_count);
    const bb_run_value_entry_t *entries = (const void *)(times + header->block_count);
    size_t entry_count = (size_t)header->column_count * header->block_count;
    *self = (bb_run_t){
        .encoded = encoded,
        .revision = header->revision,
        .row_count = header->row_count,
        .column_count = header->column_count,
        .block_count = header->block_count,
        .point_count = header->point_count,
        .first_wall_ns = header->first_wall_ns,
        .last_wall_ns = header->last_wall_ns,
        .columns_raw = columns,
        .directory_raw = times,
        .entries_raw = entries,
        .texts_raw = (const void *)(entries + entry_count),
        .text_count = header->text_count,
    };
    if (!s_texts_are_valid(self, head_bytes - text_bytes, head_bytes)) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "run: table of texts");
    }
    bb_error_t error = s_check_times(self, head_bytes, fault);
    return error != BB_OK ? error : s_check_columns(self, head_bytes, fault);
}

// ---- directory
// ------------------------------------------------------------------------------------

bb_run_column_info_t bb_run_column(const bb_run_t *self, uint32_t column_index)
{
    const bb_run_column_entry_t *column = s_column(self, column_index);
    return (bb_run_column_info_t){column->metric, column->type};
}

uint32_t bb_run_find(const bb_run_t *self, uint32_t metric)
{
    uint32_t begin = 0;
    uint32_t limit = self->column_count;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (s_column(self, middle)->metric < metric) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    bool found = begin < self->column_count && s_column(self, begin)->metric == metric;
    return found ? begin : UINT32_MAX;
}

uint32_t bb_run_block_rows(const bb_run_t *self, uint32_t block_index)
{
    return s_time_entry(self, block_index)->place.value_count;
}

uint32_t bb_run_block_first(const bb_run_t *self, uint32_t block_index)
{
    BB_ASSERT(block_index < self->block_count);
    return block_index * BB_BLOCK_ROWS_MAX;
}

void bb_run_block_range(const bb_run_t *self, uint32_t block_index, int64_t *first_wall_ns,
                        int64_t *last_wall_ns)
{
    const bb_run_time_entry_t *entry = s_time_entry(self, block_index);
    *first_wall_ns = entry->first_wall_ns;
    *last_wall_ns = entry->last_wall_ns;
}

bb_error_t bb_run_block_stats(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                              bb_block_stats_t *stats)
{
    const bb_run_value_entry_t *entry = s_value_entry(self, column_index, block_index);
    *stats = (bb_block_stats_t){
        .count = entry->place.value_count,
        .sum = {entry->sum_high, entry->sum_low},
        .min = entry->min,
        .max = entry->max,
        .first_wall_ns = entry->first_wall_ns,
        .last_wall_ns = entry->last_wall_ns,
        .first = entry->first,
        .last = entry->last,
    };
    if (stats->count > 0 && s_column(self, column_index)->type == BB_TYPE_STATE) {
        stats->min = s_text_bits(self, stats->min);
        stats->max = s_text_bits(self, stats->max);
        stats->first = s_text_bits(self, stats->first);
        stats->last = s_text_bits(self, stats->last);
    }
    return BB_OK;
}

bb_error_t bb_run_column_stats(const bb_run_t *self, uint32_t column_index, bb_block_stats_t *stats)
{
    *stats = (bb_block_stats_t){0};
    bb_error_t error = BB_OK;
    for (uint32_t block = 0; error == BB_OK && block < self->block_count; block++) {
        bb_block_stats_t part;
        error = bb_run_block_stats(self, column_index, block, &part);
        bb_stats_merge(stats, s_column(self, column_index)->type, &part);
    }
    return error;
}

bool bb_run_hour_stats(const bb_run_t *self, uint32_t column_index, int64_t hour,
                       bb_block_stats_t *stats)
{
    (void)self, (void)column_index, (void)hour, (void)stats;
    return false; // blocks of this version are not cut at hours
}

// ---- blocks
// ---------------------------------------------------------------------------------------

// The bytes of a block, if they are what was written.
static bool s_block(const bb_run_t *self, const bb_run_place_t *place, bb_slice_t *block)
{
    const uint8_t *begin = (const uint8_t *)self->encoded.data + (size_t)place->word * BB_RUN_WORD;
    *block = bb_slice(begin, place->bytes);
    return bb_crc32c(0, begin, place->bytes) == place->checksum;
}

bb_error_t bb_run_block_times(const bb_run_t *self, uint32_t block_index, int64_t *out_wall_ns)
{
    const bb_run_time_entry_t *entry = s_time_entry(self, block_index);
    uint32_t rows = entry->place.value_count;
    bb_slice_t block;
    if (!s_block(self, &entry->place, &block)) {
        return BB_ERR_CORRUPT;
    }
    bb_error_t error = bb_encoding_decode(entry->place.encoding, BB_ENCODING_INTEGER, block, rows,
                                          NULL, (uint64_t *)out_wall_ns);
    if (error != BB_OK) {
        return error;
    }
    // Merging relies on the order of times: a block that verifies but was written wrong stops here.
    uint32_t disorder = 0;
    for (uint32_t row = 1; row < rows; row++) {
        disorder |= out_wall_ns[row - 1] >= out_wall_ns[row];
    }
    bool matches =
        out_wall_ns[0] == entry->first_wall_ns && out_wall_ns[rows - 1] == entry->last_wall_ns;
    return disorder == 0 && matches ? BB_OK : BB_ERR_CORRUPT;
}

// Reads the bitmap at the beginning of a block; false unless it has `count` of `rows` bits.
static bool s_read_presence(bb_slice_t block, uint32_t rows, uint32_t count, uint64_t *presence)
{
    uint32_t words = bb_run_format_presence_words(rows);
    if (block.length < (size_t)words * 8) {
        return false;
    }
    memcpy(presence, block.data, (size_t)words * 8);
    uint32_t found = 0;
    for (uint32_t i = 0; i < words; i++) {
        found += (uint32_t)__builtin_popcountll(presence[i]);
    }
    bool spare_is_zero = rows % 64 == 0 || presence[words - 1] >> (rows % 64) == 0;
    return found == count && spare_is_zero;
}

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

// The present values of a block, one after the other. *presence is read only if some rows lack.
static bb_error_t s_read_values(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                uint64_t *out, uint64_t *presence, bool *all_present)
{
    const bb_run_value_entry_t *entry = s_value_entry(self, column_index, block_index);
    bb_type_t type = s_column(self, column_index)->type;
    uint32_t count = entry->place.value_count;
    uint32_t rows = bb_run_block_rows(self, block_index);
    *all_present = count == rows;
    if (count == 0) {
        memset(presence, 0, (size_t)bb_run_format_presence_words(rows) * 8);
        return BB_OK;
    }
    bb_slice_t block;
    if (!s_block(self, &entry->place, &block)) {
        return BB_ERR_CORRUPT;
    }
    if (!*all_present) {
        if (!s_read_presence(block, rows, count, presence)) {
            return BB_ERR_CORRUPT;
        }
        size_t bytes = (size_t)bb_run_format_presence_words(rows) * 8;
        block = bb_slice((const uint8_t *)block.data + bytes, block.length - bytes);
    }
    bb_error_t error = bb_encoding_decode(entry->place.encoding, bb_run_format_kind(type), block,
                                          count, NULL, out);
    if (error != BB_OK) {
        return error;
    }
    return s_translate(self, type, out, count) ? BB_OK : BB_ERR_CORRUPT;
}

bb_error_t bb_run_block_values(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                               uint64_t *out, uint64_t *presence, bool *all_present)
{
    bb_error_t error = s_read_values(self, column_index, block_index, out, presence, all_present);
    if (error != BB_OK || *all_present) {
        return error;
    }
    // Spread from the end: a value never moves to a lower row, so nothing is overwritten unread.
    uint32_t next = s_value_entry(self, column_index, block_index)->place.value_count;
    for (uint32_t row = bb_run_block_rows(self, block_index); row-- > 0;) {
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

bb_error_t bb_run_block_aggregate(const bb_run_t *self, uint32_t column_index, uint32_t block_index,
                                  uint32_t row_first, uint32_t row_limit,
                                  const int64_t *block_times_wall_ns, bb_block_stats_t *stats)
{
    int64_t block_times[BB_BLOCK_ROWS_MAX];
    uint64_t values[BB_BLOCK_ROWS_MAX];
    uint64_t presence[BB_PRESENCE_WORDS];
    bool all_present;
    BB_ASSERT(row_first < row_limit && row_limit <= bb_run_block_rows(self, block_index));
    bb_error_t error = BB_OK;
    if (!block_times_wall_ns) {
        error = bb_run_block_times(self, block_index, block_times);
        block_times_wall_ns = block_times;
    }
    if (error == BB_OK) {
        error =
            bb_run_block_values(self, column_index, block_index, values, presence, &all_present);
    }
    bb_block_stats_t found = {0};
    bb_type_t type = s_column(self, column_index)->type;
    for (uint32_t row = row_first; error == BB_OK && row < row_limit; row++) {
        if (all_present || (presence[row / 64] >> (row % 64) & 1)) {
            bb_stats_add(&found, type, block_times_wall_ns[row], values[row]);
        }
    }
    *stats = found;
    return error;
}

// ---- scrubbing
// --------------------------------------------------------------------------------------

// STATE addresses of one run are equal exactly when the texts are, because its texts are distinct.
// Sums are not compared: their last bits depend on the order of additions, which may change with
// the version; the checksum of the directory covers them.
static bool s_stats_match(const bb_block_stats_t *stored, const bb_block_stats_t *found)
{
    return stored->count == found->count && stored->min == found->min &&
           stored->max == found->max && stored->first_wall_ns == found->first_wall_ns &&
           stored->last_wall_ns == found->last_wall_ns && stored->first == found->first &&
           stored->last == found->last;
}

static bb_error_t s_verify_block(const bb_run_t *self, uint32_t block)
{
    int64_t block_times[BB_BLOCK_ROWS_MAX];
    int64_t times[BB_BLOCK_ROWS_MAX];
    uint64_t values[BB_BLOCK_ROWS_MAX];
    bb_error_t error = bb_run_block_times(self, block, block_times);
    for (uint32_t column = 0; error == BB_OK && column < self->column_count; column++) {
        uint32_t count;
        error = bb_run_block_points(self, column, block, block_times, INT64_MIN, INT64_MAX, times,
                                    values, &count);
        if (error != BB_OK) {
            break;
        }
        bb_block_stats_t stored;
        bb_block_stats_t found = {0};
        error = bb_run_block_stats(self, column, block, &stored);
        if (error != BB_OK) {
            break;
        }
        bb_stats_add_rows(&found, s_column(self, column)->type, times, values, NULL, count);
        error = s_stats_match(&stored, &found) ? BB_OK : BB_ERR_CORRUPT;
    }
    return error;
}

bb_error_t bb_run_verify(const bb_run_t *self)
{
    bb_error_t error = BB_OK;
    for (uint32_t block = 0; error == BB_OK && block < self->block_count; block++) {
        error = s_verify_block(self, block);
    }
    return error;
}

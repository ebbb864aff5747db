// SPDX-License-Identifier: Apache-2.0
#include "storage/rollup/bb_rollup_parcel.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_text.h"
#include "storage/encoding/bb_bytes.h"

#define S_VERSION     1u
#define S_METRICS_MAX (1u << 16) // of one parcel; names beyond are not packed

// ---- packing ---------------------------------------------------------------------------------
typedef struct {
    uint8_t *data;
    size_t length, capacity;
} s_bytes_t;

struct bb_rollup_parcel {
    const bb_slice_t *metric_names;
    uint32_t metric_count;
    uint32_t *places; // of metrics in the list, + 1; 0 = not in it
    uint32_t *listed; // metrics of the list
    uint32_t listed_count;
    s_bytes_t definitions, records;
    uint32_t definition_count;
    bb_slice_t known[BB_ROLLUPS_MAX];
    bb_run_writer_t *writer;
};

static uint8_t *s_grow(s_bytes_t *self, size_t more)
{
    if (self->length + more > self->capacity) {
        self->capacity = BB_MAX(2 * self->capacity, self->length + more + 256);
        self->data = bb_realloc(self->data, self->capacity);
    }
    self->length += more;
    return self->data + self->length - more;
}

static void s_add_number(s_bytes_t *self, uint64_t number, uint32_t bytes)
{
    uint8_t *at = s_grow(self, bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(number >> 8 * i);
    }
}

static void s_add_bytes(s_bytes_t *self, bb_slice_t bytes)
{
    if (bytes.length > 0) {
        memcpy(s_grow(self, bytes.length), bytes.data, bytes.length);
    }
}

bb_rollup_parcel_t *bb_rollup_parcel_new(const bb_slice_t *metric_names, uint32_t metric_count)
{
    bb_rollup_parcel_t *self = bb_alloc_zero(1, sizeof *self);
    self->metric_names = metric_names;
    self->metric_count = metric_count;
    self->places = bb_alloc_zero(metric_count + 1, sizeof *self->places);
    self->listed = bb_alloc((metric_count + 1) * sizeof *self->listed);
    self->writer = bb_run_writer_new();
    return self;
}

void bb_rollup_parcel_destroy(bb_rollup_parcel_t **self_pointer)
{
    bb_rollup_parcel_t *self = *self_pointer;
    *self_pointer = NULL;
    if (self) {
        bb_run_writer_destroy(&self->writer);
        free(self->places);
        free(self->listed);
        free(self->definitions.data);
        free(self->records.data);
        free(self);
    }
}

static uint32_t s_place_of_definition(bb_rollup_parcel_t *self, bb_slice_t definition)
{
    for (uint32_t i = 0; i < self->definition_count; i++) {
        if (self->known[i].length == definition.length &&
            memcmp(self->known[i].data, definition.data, definition.length) == 0) {
            return i;
        }
    }
    BB_ASSERT(self->definition_count < BB_ROLLUPS_MAX); // of one policy
    s_add_number(&self->definitions, definition.length, 2);
    s_add_bytes(&self->definitions, definition);
    self->known[self->definition_count] = definition;
    return self->definition_count++;
}

static uint32_t s_place_of_metric(bb_rollup_parcel_t *self, uint32_t metric)
{
    BB_ASSERT(metric < self->metric_count);
    if (self->places[metric] == 0) {
        self->listed[self->listed_count] = metric;
        self->places[metric] = ++self->listed_count;
    }
    return self->places[metric] - 1;
}

void bb_rollup_parcel_add(bb_rollup_parcel_t *self, bb_slice_t definition, uint32_t day,
                          const bb_rollup_series_t *const *series, uint32_t series_count)
{
    int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    bb_rollup_series_t *parts = bb_alloc((series_count + 1) * sizeof *parts);
    const bb_rollup_series_t **list = bb_alloc((series_count + 1) * sizeof *list);
    uint32_t count = 0;
    for (uint32_t i = 0; i < series_count; i++) {
        uint32_t first = 0;
        while (first < series[i]->count && series[i]->items[first].start_wall_ns < first_wall_ns) {
            first++;
        }
        uint32_t limit = first;
        bool is_any = false;
        while (limit < series[i]->count &&
               series[i]->items[limit].start_wall_ns < first_wall_ns + BB_NS_PER_DAY) {
            is_any |= series[i]->items[limit++].stats.count > 0;
        }
        if (!is_any || series[i]->metric >= self->metric_count ||
            (self->places[series[i]->metric] == 0 && self->listed_count == S_METRICS_MAX)) {
            continue;
        }
        parts[count] = *series[i];
        parts[count].metric = s_place_of_metric(self, series[i]->metric);
        parts[count].items += first;
        parts[count].count = limit - first;
        list[count] = &parts[count];
        count++;
    }
    bb_slice_t record = {0};
    if (count > 0) {
        record = bb_rollup_record_encode(self->writer, list, count);
    }
    if (record.length > 0) {
        s_add_number(&self->records, day, 4);
        s_add_number(&self->records, s_place_of_definition(self, definition), 2);
        s_add_number(&self->records, record.length, 4);
        s_add_bytes(&self->records, record);
    }
    free(parts);
    free(list);
}

size_t bb_rollup_parcel_bytes(const bb_rollup_parcel_t *self)
{
    return self->records.length;
}

uint8_t *bb_rollup_parcel_take(bb_rollup_parcel_t *self, size_t room, size_t *length)
{
    s_bytes_t out = {0};
    (void)s_grow(&out, room);
    s_add_number(&out, S_VERSION, 1);
    s_add_number(&out, self->definition_count, 2);
    s_add_bytes(&out, bb_slice(self->definitions.data, self->definitions.length));
    s_add_number(&out, self->listed_count, 4);
    for (uint32_t i = 0; i < self->listed_count; i++) {
        bb_slice_t name = self->metric_names[self->listed[i]];
        s_add_number(&out, name.length, 2);
        s_add_bytes(&out, name);
        self->places[self->listed[i]] = 0;
    }
    s_add_bytes(&out, bb_slice(self->records.data, self->records.length));
    self->definition_count = self->listed_count = 0;
    self->definitions.length = self->records.length = 0;
    *length = out.length - room;
    return out.data;
}

// ---- unpacking -------------------------------------------------------------------------------
static bb_slice_t s_take_bytes(bb_reader_t *reader, uint32_t length_bytes)
{
    size_t length = (size_t)bb_reader_fixed(reader, length_bytes);
    return bb_slice(bb_reader_take(reader, length), length);
}

bb_error_t bb_rollup_unpacking_open(bb_rollup_unpacking_t *self, bb_slice_t bytes)
{
    bb_reader_t reader = bb_reader(bytes);
    *self = (bb_rollup_unpacking_t){.bytes = bytes};
    uint64_t version = bb_reader_fixed(&reader, 1);
    self->definition_count = (uint32_t)bb_reader_fixed(&reader, 2);
    if (reader.failed || version != S_VERSION || self->definition_count > BB_ROLLUPS_MAX) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    for (uint32_t i = 0; i < self->definition_count; i++) {
        self->definitions[i] = s_take_bytes(&reader, 2);
    }
    self->metric_count = (uint32_t)bb_reader_fixed(&reader, 4);
    // Each has at least its length.
    if (reader.failed || self->metric_count > S_METRICS_MAX ||
        self->metric_count > bb_reader_left(&reader) / 2) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    self->metrics = bb_alloc((self->metric_count + 1) * sizeof *self->metrics);
    bool is_good = true;
    for (uint32_t i = 0; i < self->metric_count && is_good; i++) {
        self->metrics[i] = s_take_bytes(&reader, 2);
        is_good = !reader.failed && bb_metric_name_check(self->metrics[i]) == BB_OK;
    }
    if (!is_good) {
        bb_rollup_unpacking_close(self);
        return BB_ERR_MESSAGE_CORRUPT;
    }
    self->at = bytes.length - bb_reader_left(&reader);
    return BB_OK;
}

void bb_rollup_unpacking_close(bb_rollup_unpacking_t *self)
{
    free(self->metrics);
    self->metrics = NULL;
}

bb_error_t bb_rollup_unpacking_next(bb_rollup_unpacking_t *self, bb_rollup_packed_t *packed)
{
    if (self->at == self->bytes.length) {
        return BB_ERR_NOT_FOUND;
    }
    const uint8_t *data = self->bytes.data;
    bb_reader_t reader = bb_reader(bb_slice(data + self->at, self->bytes.length - self->at));
    packed->day = (uint32_t)bb_reader_fixed(&reader, 4);
    packed->definition = (uint32_t)bb_reader_fixed(&reader, 2);
    packed->record = s_take_bytes(&reader, 4);
    if (reader.failed || packed->definition >= self->definition_count ||
        packed->record.length == 0) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    self->at = self->bytes.length - bb_reader_left(&reader);
    return BB_OK;
}

static bool s_are_texts(bb_type_t type, const bb_block_stats_t *stats)
{
    return type != BB_TYPE_STATE || (bb_text_of_bits(stats->min)->length <= BB_STATE_BYTES_MAX &&
                                     bb_text_of_bits(stats->max)->length <= BB_STATE_BYTES_MAX &&
                                     bb_text_of_bits(stats->first)->length <= BB_STATE_BYTES_MAX &&
                                     bb_text_of_bits(stats->last)->length <= BB_STATE_BYTES_MAX);
}

static bool s_is_piece(const bb_calendar_t *calendar, uint32_t day, const bb_bucket_item_t *item)
{
    int64_t first_wall_ns = (int64_t)day * BB_NS_PER_DAY;
    int64_t start_wall_ns = item->start_wall_ns;
    if (start_wall_ns < first_wall_ns || start_wall_ns >= first_wall_ns + BB_NS_PER_DAY) {
        return false;
    }
    int64_t bucket_wall_ns = bb_calendar_start(calendar, start_wall_ns);
    int64_t limit_wall_ns = bb_calendar_next(calendar, bucket_wall_ns);
    limit_wall_ns = BB_MIN(limit_wall_ns, first_wall_ns + BB_NS_PER_DAY);
    bool is_start = start_wall_ns == bucket_wall_ns || start_wall_ns == first_wall_ns;
    return is_start && item->stats.first_wall_ns >= start_wall_ns &&
           item->stats.first_wall_ns <= item->stats.last_wall_ns &&
           item->stats.last_wall_ns < limit_wall_ns && item->stats.count < UINT64_C(1) << 62;
}

bb_error_t bb_rollup_unpacking_read(const bb_rollup_unpacking_t *self,
                                    const bb_rollup_packed_t *packed, const bb_calendar_t *calendar,
                                    const bb_selector_t *selector, bb_rollup_set_t *set)
{
    if (bb_rollup_record_decode(packed->record, 0, NULL, 0, set, NULL) != BB_OK) {
        return BB_ERR_MESSAGE_CORRUPT;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        const bb_rollup_series_t *series = &set->series[i];
        bool is_good = series->metric < self->metric_count &&
                       bb_selector_takes_metric(selector, self->metrics[series->metric]);
        for (uint32_t j = 0; j < series->count && is_good; j++) {
            is_good = s_is_piece(calendar, packed->day, &series->items[j]) &&
                      s_are_texts(series->type, &series->items[j].stats);
        }
        if (!is_good) {
            return BB_ERR_MESSAGE_CORRUPT;
        }
    }
    return BB_OK;
}

// ---- comparing -------------------------------------------------------------------------------
typedef struct {
    bb_fingerprint_name_t definition, metric;
    int64_t start_wall_ns;
    uint8_t piece[BB_ROLLUP_PIECE_BYTES_MAX]; // as long as it is
} s_hashed_t;

void bb_rollup_parcel_hash(const uint8_t *key, bb_fingerprint_name_t definition,
                           bb_fingerprint_name_t metric, const bb_rollup_series_t *series,
                           bb_fingerprint_t *sum)
{
    s_hashed_t text = {.definition = definition, .metric = metric};
    const size_t head_bytes = offsetof(s_hashed_t, piece);
    for (uint32_t i = 0; i < series->count; i++) {
        const bb_bucket_item_t *item = &series->items[i];
        if (item->stats.count == 0) {
            continue;
        }
        text.start_wall_ns = item->start_wall_ns;
        size_t length = bb_rollup_piece_encode(series->type, &item->stats, text.piece);
        bb_fingerprint_name_t hash =
            bb_fingerprint_name(key, BB_FINGERPRINT_RESULT, bb_slice(&text, head_bytes + length));
        sum->low += hash.a | 1;
        sum->high += hash.b;
    }
}

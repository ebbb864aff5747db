// SPDX-License-Identifier: Apache-2.0
#include "client/bb_rowset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    bb_page_t page;
    void *memory;
    size_t memory_bytes;
    bb_rowset_free_fn free_fn;
    uint32_t chunk_count; // that still refer to it
} s_page_t;

typedef struct {
    s_page_t *page;
    const bb_series_t *series;
    uint64_t order_key;
    uint64_t arrival;
    uint32_t task;
} s_chunk_t;

// One value of any type; state texts as slices so that pages' tables need not agree.
typedef struct {
    uint64_t bits;
    bb_slice_t text;
} s_value_t;

typedef struct {
    bb_slice_t metric;
    uint32_t type;
    uint64_t order_key, arrival;
    bb_bucket_t bucket;
    s_value_t min, max, first, last;
} s_merged_t;

// Where one type of the current metric is.
typedef struct {
    uint32_t chunk, chunk_end; // in sealed
    uint32_t row;
} s_cursor_t;

struct bb_rowset {
    bb_query_mode_t mode;
    bool group_by_none;
    size_t bytes;
    uint64_t arrivals;
    s_chunk_t *pending;
    uint32_t pending_count, pending_capacity;
    s_chunk_t *sealed;
    uint32_t sealed_count, sealed_next; // [sealed_next, ..) is not begun
    s_cursor_t cursors[BB_TYPE_LAST];   // types of the current metric
    uint32_t cursor_count;
    s_merged_t *merged;
    uint32_t merged_count, merged_next;
    // The row handed out.
    char battery[BB_BATTERY_ID_BYTES_MAX + 1];
    char metric[BB_METRIC_NAME_BYTES_MAX + 1];
    char texts[5][BB_STATE_BYTES_MAX + 1];
    busbar_attribute_t attributes[BB_ATTRIBUTES_MAX];
    char attribute_text[BB_ATTRIBUTES_MAX]
                       [BB_ATTRIBUTE_KEY_BYTES_MAX + BB_ATTRIBUTE_VALUE_BYTES_MAX + 2];
};

bb_rowset_t *bb_rowset_new(bb_query_mode_t mode, bool group_by_none)
{
    bb_rowset_t *self = bb_alloc_zero(1, sizeof *self);
    self->mode = mode;
    self->group_by_none = group_by_none;
    return self;
}

static void s_page_unuse(bb_rowset_t *self, s_page_t *page)
{
    BB_ASSERT(page->chunk_count > 0);
    if (--page->chunk_count > 0) {
        return;
    }
    self->bytes -= page->memory_bytes;
    bb_page_close(&page->page);
    page->free_fn(page->memory);
    free(page);
}

static void s_unseal(bb_rowset_t *self)
{
    for (uint32_t i = 0; i < self->sealed_count; i++) {
        if (self->sealed[i].page) {
            s_page_unuse(self, self->sealed[i].page);
        }
    }
    free(self->sealed);
    free(self->merged);
    self->sealed = NULL;
    self->merged = NULL;
    self->sealed_count = self->sealed_next = self->cursor_count = 0;
    self->merged_count = self->merged_next = 0;
}

void bb_rowset_clear(bb_rowset_t *self)
{
    s_unseal(self);
    for (uint32_t i = 0; i < self->pending_count; i++) {
        s_page_unuse(self, self->pending[i].page);
    }
    self->pending_count = 0;
}

void bb_rowset_destroy(bb_rowset_t **self)
{
    if (*self) {
        bb_rowset_clear(*self);
        free((*self)->pending);
        free(*self);
        *self = NULL;
    }
}

size_t bb_rowset_bytes(const bb_rowset_t *self)
{
    return self->bytes;
}

uint32_t bb_rowset_pending(const bb_rowset_t *self)
{
    return self->pending_count;
}

// ---- intake ------------------------------------------------------------------------------------

static bool s_fits(const bb_rowset_t *self, const bb_series_t *series)
{
    if (series->battery.length > BB_BATTERY_ID_BYTES_MAX ||
        series->metric.length > BB_METRIC_NAME_BYTES_MAX ||
        (self->group_by_none != (series->battery.length == 0))) {
        return false;
    }
    if (self->mode == BB_QUERY_BATTERIES) {
        return series->attribute_count <= BB_ATTRIBUTES_MAX;
    }
    if (series->metric.length == 0 || !bb_type_is_valid(series->type)) {
        return false;
    }
    return self->mode == BB_QUERY_AGGREGATE
               ? series->row_count == 0 || series->has_buckets
               : series->row_count == 0 || (series->times_wall_ns && series->values);
}

bb_error_t bb_rowset_add(bb_rowset_t *self, uint32_t task, uint64_t order_key, bb_page_t *page,
                         void *memory, size_t memory_bytes, bb_rowset_free_fn free_fn)
{
    for (uint32_t i = 0; i < page->series_count; i++) {
        if (!s_fits(self, &page->series[i])) {
            return BB_ERR_MESSAGE_CORRUPT;
        }
    }
    s_page_t *kept = bb_alloc_zero(1, sizeof *kept);
    *kept = (s_page_t){.page = *page,
                       .memory = memory,
                       .memory_bytes = memory_bytes,
                       .free_fn = free_fn,
                       .chunk_count = 1}; // ours until the end of this function
    self->bytes += memory_bytes;
    for (uint32_t i = 0; i < kept->page.series_count; i++) {
        const bb_series_t *series = &kept->page.series[i];
        if (series->row_count == 0 && self->mode != BB_QUERY_BATTERIES) {
            continue;
        }
        if (self->pending_count == self->pending_capacity) {
            self->pending_capacity = self->pending_capacity ? self->pending_capacity * 2 : 64;
            self->pending =
                bb_realloc(self->pending, self->pending_capacity * sizeof *self->pending);
        }
        kept->chunk_count++;
        self->pending[self->pending_count++] = (s_chunk_t){.page = kept,
                                                           .series = series,
                                                           .order_key = order_key,
                                                           .arrival = self->arrivals++,
                                                           .task = task};
    }
    s_page_unuse(self, kept);
    return BB_OK;
}

void bb_rowset_drop(bb_rowset_t *self, uint32_t task, bb_rowset_drop_fn must_drop, void *context)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->pending_count; i++) {
        s_chunk_t chunk = self->pending[i];
        if (chunk.task == task && (!must_drop || must_drop(context, chunk.series->battery))) {
            s_page_unuse(self, chunk.page);
        } else {
            self->pending[kept++] = chunk;
        }
    }
    self->pending_count = kept;
}

static int s_compare_bytes(bb_slice_t a, bb_slice_t b)
{
    size_t shorter = BB_MIN(a.length, b.length);
    int compared = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return compared ? compared : (a.length > b.length) - (a.length < b.length);
}

static bool s_is_same_metric(const bb_series_t *a, const bb_series_t *b)
{
    return s_compare_bytes(a->battery, b->battery) == 0 &&
           s_compare_bytes(a->metric, b->metric) == 0;
}

uint32_t bb_rowset_complete(const bb_rowset_t *self)
{
    uint32_t count = self->pending_count;
    if (count == 0) {
        return 0;
    }
    const bb_series_t *newest = self->pending[count - 1].series;
    while (count > 0 && s_is_same_metric(self->pending[count - 1].series, newest)) {
        count--;
    }
    return count;
}

bb_slice_t bb_rowset_newest_metric(const bb_rowset_t *self)
{
    return self->pending_count ? self->pending[self->pending_count - 1].series->metric
                               : bb_slice(NULL, 0);
}

// ---- sealing -----------------------------------------------------------------------------------

static int s_compare_chunks(const void *left, const void *right)
{
    const s_chunk_t *a = left, *b = right;
    int compared = s_compare_bytes(a->series->battery, b->series->battery);
    if (compared == 0) {
        compared = s_compare_bytes(a->series->metric, b->series->metric);
    }
    if (compared == 0) {
        compared = (a->series->type > b->series->type) - (a->series->type < b->series->type);
    }
    return compared ? compared : (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static s_value_t s_value_of(const bb_page_t *page, uint32_t type, uint64_t bits)
{
    s_value_t value = {.bits = bits};
    if (type == BB_TYPE_STATE) {
        // bb_page_open has checked the index.
        BB_ASSERT(bits < page->state_count);
        value.text = page->states[bits];
    }
    return value;
}

static int s_compare_values(uint32_t type, s_value_t a, s_value_t b)
{
    if (type == BB_TYPE_STATE) {
        return s_compare_bytes(a.text, b.text);
    }
    uint64_t key_a = bb_value_order_key((bb_type_t)type, a.bits);
    uint64_t key_b = bb_value_order_key((bb_type_t)type, b.bits);
    return (key_a > key_b) - (key_a < key_b);
}

static int s_compare_merged(const void *left, const void *right)
{
    const s_merged_t *a = left, *b = right;
    int compared = s_compare_bytes(a->metric, b->metric);
    if (compared) {
        return compared;
    }
    if (a->bucket.start_wall_ns != b->bucket.start_wall_ns) {
        return a->bucket.start_wall_ns < b->bucket.start_wall_ns ? -1 : 1;
    }
    if (a->type != b->type) {
        return a->type < b->type ? -1 : 1;
    }
    if (a->order_key != b->order_key) {
        return a->order_key < b->order_key ? -1 : 1;
    }
    return (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static void s_merge_into(s_merged_t *whole, const s_merged_t *part)
{
    uint32_t type = whole->type;
    bb_bucket_t *to = &whole->bucket;
    const bb_bucket_t *from = &part->bucket;
    to->count += from->count;
    bb_sum_merge(&to->sum, &from->sum);
    if (s_compare_values(type, part->min, whole->min) < 0) {
        whole->min = part->min;
    }
    if (s_compare_values(type, part->max, whole->max) > 0) {
        whole->max = part->max;
    }
    // At one time the larger value stands, as in a merge of points.
    if (from->first_wall_ns < to->first_wall_ns ||
        (from->first_wall_ns == to->first_wall_ns &&
         s_compare_values(type, part->first, whole->first) > 0)) {
        to->first_wall_ns = from->first_wall_ns;
        whole->first = part->first;
    }
    if (from->last_wall_ns > to->last_wall_ns ||
        (from->last_wall_ns == to->last_wall_ns &&
         s_compare_values(type, part->last, whole->last) > 0)) {
        to->last_wall_ns = from->last_wall_ns;
        whole->last = part->last;
    }
}

static s_merged_t s_merged_of(const s_chunk_t *chunk, uint32_t row)
{
    const bb_series_t *series = chunk->series;
    const bb_bucket_t bucket = bb_series_bucket(series, row);
    const bb_page_t *page = &chunk->page->page;
    return (s_merged_t){
        .metric = series->metric,
        .type = series->type,
        .order_key = chunk->order_key,
        .arrival = chunk->arrival,
        .bucket = bucket,
        .min = s_value_of(page, series->type, bucket.min),
        .max = s_value_of(page, series->type, bucket.max),
        .first = s_value_of(page, series->type, bucket.first),
        .last = s_value_of(page, series->type, bucket.last),
    };
}

static void s_merge_buckets(bb_rowset_t *self)
{
    size_t count = 0;
    for (uint32_t i = 0; i < self->sealed_count; i++) {
        count += self->sealed[i].series->row_count;
    }
    self->merged = bb_alloc(BB_MAX(count, 1) * sizeof *self->merged);
    count = 0;
    for (uint32_t i = 0; i < self->sealed_count; i++) {
        for (uint32_t row = 0; row < self->sealed[i].series->row_count; row++) {
            self->merged[count++] = s_merged_of(&self->sealed[i], row);
        }
    }
    if (count > 0) {
        qsort(self->merged, count, sizeof *self->merged, s_compare_merged);
    }
    uint32_t used = 0;
    for (size_t i = 0; i < count; i++) {
        s_merged_t *last = used > 0 ? &self->merged[used - 1] : NULL;
        if (last && last->type == self->merged[i].type &&
            last->bucket.start_wall_ns == self->merged[i].bucket.start_wall_ns &&
            s_compare_bytes(last->metric, self->merged[i].metric) == 0) {
            s_merge_into(last, &self->merged[i]);
        } else {
            self->merged[used++] = self->merged[i];
        }
    }
    self->merged_count = used;
    self->merged_next = 0;
}

void bb_rowset_seal(bb_rowset_t *self, uint32_t count)
{
    BB_ASSERT(count <= self->pending_count);
    s_unseal(self);
    if (count == 0) {
        return;
    }
    self->sealed = bb_alloc(count * sizeof *self->sealed);
    memcpy(self->sealed, self->pending, count * sizeof *self->sealed);
    memmove(self->pending, self->pending + count,
            (self->pending_count - count) * sizeof *self->pending);
    self->pending_count -= count;
    self->sealed_count = count;
    qsort(self->sealed, count, sizeof *self->sealed, s_compare_chunks);
    if (self->group_by_none) {
        s_merge_buckets(self);
    }
}

// ---- rows --------------------------------------------------------------------------------------

static const char *s_text(char *to, size_t size, bb_slice_t from)
{
    size_t length = BB_MIN(from.length, size - 1);
    if (length > 0) {
        memcpy(to, from.data, length);
    }
    to[length] = 0;
    return to;
}

static busbar_value_t s_public(bb_rowset_t *self, uint32_t place, uint32_t type, s_value_t value)
{
    if (type == BB_TYPE_STATE) {
        return (busbar_value_t){
            .text = s_text(self->texts[place], sizeof self->texts[place], value.text)};
    }
    return (busbar_value_t){.bits = value.bits};
}

static void s_fill_bucket(bb_rowset_t *self, const s_merged_t *from, busbar_row_t *row)
{
    row->type = (busbar_type_t)from->type;
    row->time_ns = from->bucket.start_wall_ns;
    row->count = from->bucket.count;
    bool is_number = from->type != BB_TYPE_STATE;
    row->sum = is_number ? bb_sum_value(&from->bucket.sum) : NAN;
    row->mean = is_number && row->count ? bb_sum_mean(&from->bucket.sum, row->count) : NAN;
    row->min = s_public(self, 0, from->type, from->min);
    row->max = s_public(self, 1, from->type, from->max);
    row->first = s_public(self, 2, from->type, from->first);
    row->last = s_public(self, 3, from->type, from->last);
}

static void s_fill_attributes(bb_rowset_t *self, const bb_series_t *series, busbar_row_t *row)
{
    for (uint32_t i = 0; i < series->attribute_count; i++) {
        char *key = self->attribute_text[i];
        char *value = key + BB_ATTRIBUTE_KEY_BYTES_MAX + 1;
        self->attributes[i].key =
            s_text(key, BB_ATTRIBUTE_KEY_BYTES_MAX + 1, series->attributes[i].key);
        self->attributes[i].value =
            s_text(value, BB_ATTRIBUTE_VALUE_BYTES_MAX + 1, series->attributes[i].value);
    }
    row->attribute_count = series->attribute_count;
    row->attributes = self->attributes;
}

static void s_fill(bb_rowset_t *self, const s_chunk_t *chunk, uint32_t at, busbar_row_t *row)
{
    const bb_series_t *series = chunk->series;
    *row = (busbar_row_t){
        .battery = self->battery, .metric = self->metric, .type = (busbar_type_t)series->type};
    if (self->mode == BB_QUERY_BATTERIES) {
        s_fill_attributes(self, series, row);
    } else if (self->mode == BB_QUERY_AGGREGATE) {
        s_merged_t bucket = s_merged_of(chunk, at);
        s_fill_bucket(self, &bucket, row);
    } else {
        row->time_ns = series->times_wall_ns[at];
        row->value = s_public(self, 4, series->type,
                              s_value_of(&chunk->page->page, series->type, series->values[at]));
    }
}

static uint32_t s_row_count(const bb_rowset_t *self, const s_chunk_t *chunk)
{
    return self->mode == BB_QUERY_BATTERIES ? 1 : chunk->series->row_count;
}

static int64_t s_time(const bb_rowset_t *self, const s_cursor_t *cursor)
{
    const bb_series_t *series = self->sealed[cursor->chunk].series;
    if (self->mode == BB_QUERY_BATTERIES) {
        return 0;
    }
    return self->mode == BB_QUERY_AGGREGATE ? bb_series_bucket_start_wall_ns(series, cursor->row)
                                            : series->times_wall_ns[cursor->row];
}

// Begins the next metric: one cursor for each of its types.
static bool s_begin_metric(bb_rowset_t *self)
{
    if (self->sealed_next == self->sealed_count) {
        return false;
    }
    uint32_t at = self->sealed_next;
    const bb_series_t *first = self->sealed[at].series;
    s_text(self->battery, sizeof self->battery, first->battery);
    s_text(self->metric, sizeof self->metric, first->metric);
    self->cursor_count = 0;
    while (at < self->sealed_count && s_is_same_metric(self->sealed[at].series, first)) {
        uint32_t end = at + 1;
        while (end < self->sealed_count && s_is_same_metric(self->sealed[end].series, first) &&
               self->sealed[end].series->type == self->sealed[at].series->type) {
            end++;
        }
        BB_ASSERT(self->cursor_count < BB_COUNT_OF(self->cursors));
        self->cursors[self->cursor_count++] = (s_cursor_t){.chunk = at, .chunk_end = end};
        at = end;
    }
    self->sealed_next = at;
    return true;
}

// Past the end of a chunk: its page may be freed, except that the row just handed out copied all.
static void s_advance(bb_rowset_t *self, uint32_t index)
{
    s_cursor_t *cursor = &self->cursors[index];
    if (++cursor->row < s_row_count(self, &self->sealed[cursor->chunk])) {
        return;
    }
    s_page_unuse(self, self->sealed[cursor->chunk].page);
    self->sealed[cursor->chunk].page = NULL;
    cursor->row = 0;
    if (++cursor->chunk == cursor->chunk_end) {
        self->cursors[index] = self->cursors[--self->cursor_count];
    }
}

static bool s_next_merged(bb_rowset_t *self, busbar_row_t *row)
{
    if (self->merged_next == self->merged_count) {
        return false;
    }
    const s_merged_t *at = &self->merged[self->merged_next++];
    *row = (busbar_row_t){.battery = "",
                          .metric = s_text(self->metric, sizeof self->metric, at->metric)};
    s_fill_bucket(self, at, row);
    return true;
}

bool bb_rowset_next(bb_rowset_t *self, busbar_row_t *row)
{
    if (self->group_by_none) {
        return s_next_merged(self, row);
    }
    if (self->cursor_count == 0 && !s_begin_metric(self)) {
        return false;
    }
    uint32_t best = 0;
    for (uint32_t i = 1; i < self->cursor_count; i++) {
        int64_t time = s_time(self, &self->cursors[i]);
        int64_t best_time = s_time(self, &self->cursors[best]);
        if (time < best_time ||
            (time == best_time && self->sealed[self->cursors[i].chunk].series->type <
                                      self->sealed[self->cursors[best].chunk].series->type)) {
            best = i;
        }
    }
    s_fill(self, &self->sealed[self->cursors[best].chunk], self->cursors[best].row, row);
    s_advance(self, best);
    return true;
}

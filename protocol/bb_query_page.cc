// SPDX-License-Identifier: Apache-2.0
// Reading pages; writing is in bb_page_builder.cc.
#include "protocol/bb_message_flat.h"
#include "protocol/bb_query.h"
#include "protocol/page_generated.h"

namespace wire = bb::wire;

static_assert(sizeof(wire::PageBucket) == sizeof(bb_page_bucket_t), "mirrors bb_page_bucket_t");
static_assert(sizeof(bb_page_bucket_t) == 88, "eleven fields of eight bytes");
static_assert(offsetof(bb_page_bucket_t, sum_decimals) == 16 &&
                  offsetof(bb_page_bucket_t, min) == 40 &&
                  offsetof(bb_page_bucket_t, first_wall_ns) == 56 &&
                  offsetof(bb_page_bucket_t, last) == 80,
              "wire order");
static_assert(sizeof(wire::PageSum) == sizeof(bb_page_sum_t), "mirrors bb_page_sum_t");
static_assert(sizeof(bb_page_sum_t) == 56 && offsetof(bb_page_sum_t, flags) == 4 &&
                  offsetof(bb_page_sum_t, zero) == 6 && offsetof(bb_page_sum_t, bins) == 8,
              "wire order");

namespace
{

// ---- reading ----

bb_error_t s_corrupt(bb_fault_t *fault, uint32_t series, const char *rule)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "page series %u: %s", series, rule);
}

bool s_values_fit(uint32_t type, const uint64_t *values, uint32_t count, uint32_t state_count)
{
    if (type != BB_TYPE_BOOL && type != BB_TYPE_STATE) {
        return true;
    }
    uint64_t limit = type == BB_TYPE_BOOL ? 2 : state_count;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        largest = BB_MAX(largest, values[i]);
    }
    return count == 0 || largest < limit;
}

bool s_times_fit(const int64_t *times, uint32_t count)
{
    bool fits = true;
    for (uint32_t i = 0; i < count; i++) {
        fits &= times[i] >= BB_TIME_WALL_NS_FIRST && times[i] < BB_TIME_WALL_NS_LIMIT;
    }
    return fits;
}

bb_error_t s_open_points(bb_series_t *to, const wire::PageSeries &from, uint32_t index,
                         uint32_t state_count, bb_fault_t *fault)
{
    uint32_t count = bb::s_count(from.times_wall_ns());
    if (count != bb::s_count(from.values())) {
        return s_corrupt(fault, index, "as many times as values are needed");
    }
    if (count == 0) {
        return BB_OK;
    }
    const void *times = from.times_wall_ns()->Data();
    const void *values = from.values()->Data();
    if (!bb::s_is_aligned(times) || !bb::s_is_aligned(values)) {
        return s_corrupt(fault, index, "a vector is not aligned");
    }
    to->row_count = count;
    to->times_wall_ns = static_cast<const int64_t *>(times);
    to->values = static_cast<const uint64_t *>(values);
    if (!s_times_fit(to->times_wall_ns, count)) {
        return s_corrupt(fault, index, "a time is out of range");
    }
    if (!s_values_fit(to->type, to->values, count, state_count)) {
        return s_corrupt(fault, index, "a value does not fit its type");
    }
    return BB_OK;
}

bool s_bucket_fits(uint32_t type, const bb_page_bucket_t &bucket, uint32_t state_count)
{
    const uint64_t values[4] = {bucket.min, bucket.max, bucket.first, bucket.last};
    return bucket.count > 0 && bucket.first_wall_ns <= bucket.last_wall_ns &&
           s_values_fit(type, values, 4, state_count);
}

bb_sum_t s_sum(const bb_page_bucket_t &bucket, const bb_page_sum_t *rest)
{
    bb_sum_t sum = {};
    memcpy(sum.decimals, bucket.sum_decimals, sizeof sum.decimals);
    if (rest) {
        memcpy(sum.bins, rest->bins, sizeof sum.bins);
        sum.flags = rest->flags;
        sum.top = rest->top;
    }
    return sum;
}

// Rests of sums belong to rows in ascending order and are as sums can be.
template <class T> bool s_sums_fit(const T *sums, uint32_t row_count)
{
    if (sums && !bb::s_is_aligned(sums->Data())) {
        return false;
    }
    uint64_t row_first = 0;
    for (uint32_t i = 0; i < bb::s_count(sums); i++) {
        bb_page_sum_t rest;
        memcpy(&rest, sums->Data() + i * sizeof rest, sizeof rest);
        bb_sum_t sum = s_sum(bb_page_bucket_t{}, &rest);
        if (rest.row < row_first || rest.row >= row_count || rest.flags == 0 || rest.zero != 0 ||
            !bb_sum_is_valid(&sum)) {
            return false;
        }
        row_first = uint64_t{rest.row} + 1;
    }
    return true;
}

bb_error_t s_open_buckets(bb_series_t *to, const wire::PageSeries &from, uint32_t index,
                          uint32_t state_count, bb_fault_t *fault)
{
    uint32_t count = bb::s_count(from.buckets());
    if (count == 0) {
        return BB_OK;
    }
    if (to->row_count > 0) {
        return s_corrupt(fault, index, "has points and buckets at once");
    }
    const void *data = from.buckets()->Data();
    if (!bb::s_is_aligned(data)) {
        return s_corrupt(fault, index, "the buckets are not aligned");
    }
    to->row_count = count;
    to->has_buckets = true;
    to->buckets = static_cast<const bb_page_bucket_t *>(data);
    to->sum_count = bb::s_count(from.sums());
    if (!s_sums_fit(from.sums(), count)) {
        return s_corrupt(fault, index, "a sum is none");
    }
    to->sums =
        to->sum_count ? reinterpret_cast<const bb_page_sum_t *>(from.sums()->Data()) : nullptr;
    for (uint32_t i = 0; i < count; i++) {
        if (!s_bucket_fits(to->type, to->buckets[i], state_count)) {
            return s_corrupt(fault, index, "a bucket is empty or its values do not fit");
        }
        if (i > 0 && to->buckets[i].start_wall_ns <= to->buckets[i - 1].start_wall_ns) {
            return s_corrupt(fault, index, "buckets do not ascend");
        }
    }
    return BB_OK;
}

// A column of `count` numbers, or none. False: it is neither.
template <class T>
bool s_open_column(const flatbuffers::Vector<T> *from, uint32_t count, const T **to)
{
    if (!from) {
        return true;
    }
    *to = from->data();
    return from->size() == count && bb::s_is_aligned(from->Data());
}

bb_error_t s_open_columns(bb_series_t *to, const wire::PageSeries &from, uint32_t index,
                          bb_fault_t *fault)
{
    const wire::PageColumns *wire_columns = from.columns();
    uint32_t count = wire_columns ? bb::s_count(wire_columns->starts_wall_ns()) : 0;
    if (count == 0) {
        return BB_OK;
    }
    if (to->row_count > 0) {
        return s_corrupt(fault, index, "has columns of buckets and other rows at once");
    }
    bb_page_columns_t *columns = &to->columns;
    if (!s_open_column(wire_columns->starts_wall_ns(), count, &columns->starts_wall_ns) ||
        !s_open_column(wire_columns->counts(), count, &columns->counts) ||
        !s_open_column(wire_columns->sums_low(), count, &columns->sums_low) ||
        !s_open_column(wire_columns->sums_high(), count, &columns->sums_high) ||
        !s_open_column(wire_columns->mins(), count, &columns->mins) ||
        !s_open_column(wire_columns->maxs(), count, &columns->maxs) || !columns->counts ||
        !columns->sums_low || !columns->mins != !columns->maxs || to->type == BB_TYPE_STATE) {
        return s_corrupt(fault, index, "the columns of buckets do not fit together");
    }
    bool fits = true;
    for (uint32_t i = 0; i < count; i++) {
        fits &= columns->counts[i] > 0 &&
                (i == 0 || columns->starts_wall_ns[i] > columns->starts_wall_ns[i - 1]);
    }
    if (!fits || (columns->mins && (!s_values_fit(to->type, columns->mins, count, 0) ||
                                    !s_values_fit(to->type, columns->maxs, count, 0)))) {
        return s_corrupt(fault, index, "a bucket is empty, not in order, or its values do not fit");
    }
    to->row_count = count;
    to->has_buckets = true;
    return BB_OK;
}

bb_error_t s_open_attributes(bb_series_t *to, const wire::PageSeries &from, uint32_t index,
                             bb_page_attribute_t *table, bb_fault_t *fault)
{
    to->attribute_count = bb::s_count(from.attributes());
    to->attributes = to->attribute_count ? table : nullptr;
    for (uint32_t i = 0; i < to->attribute_count; i++) {
        table[i].key = bb::s_slice(from.attributes()->Get(i)->key());
        table[i].value = bb::s_slice(from.attributes()->Get(i)->value());
        if (table[i].key.length == 0 || table[i].key.length > BB_ATTRIBUTE_KEY_BYTES_MAX ||
            table[i].value.length > BB_ATTRIBUTE_VALUE_BYTES_MAX) {
            return s_corrupt(fault, index, "an attribute is empty or too long");
        }
    }
    return BB_OK;
}

bb_error_t s_open_series(bb_series_t *to, const wire::PageSeries &from, uint32_t index,
                         uint32_t state_count, bb_page_attribute_t *attributes, bb_fault_t *fault)
{
    to->battery = bb::s_slice(from.battery());
    to->metric = bb::s_slice(from.metric());
    to->type = from.type();
    if (to->battery.length > BB_BATTERY_ID_BYTES_MAX ||
        to->metric.length > BB_METRIC_NAME_BYTES_MAX) {
        return s_corrupt(fault, index, "battery id or metric name is too long");
    }
    bb_error_t error = s_open_points(to, from, index, state_count, fault);
    if (error == BB_OK) {
        error = s_open_buckets(to, from, index, state_count, fault);
    }
    if (error == BB_OK) {
        error = s_open_columns(to, from, index, fault);
    }
    if (error == BB_OK) {
        error = s_open_attributes(to, from, index, attributes, fault);
    }
    if (error != BB_OK) {
        return error;
    }
    if (to->metric.length == 0) {
        return to->type == 0 && to->row_count == 0 && to->battery.length > 0
                   ? BB_OK
                   : s_corrupt(fault, index, "rows without a metric, or no battery");
    }
    return bb_type_is_valid(to->type) ? BB_OK : s_corrupt(fault, index, "unknown type");
}

// True and the sum when every series keeps to the limit of attributes.
bool s_count_attributes(const wire::Page &page, uint32_t *out)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < bb::s_count(page.series()); i++) {
        uint32_t count = bb::s_count(page.series()->Get(i)->attributes());
        if (count > BB_ATTRIBUTES_MAX || __builtin_add_overflow(total, count, &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

// ---- rows ----

bb_error_t s_corrupt_row(bb_fault_t *fault, uint32_t row, const char *rule)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "page row %u: %s", row, rule);
}

template <class T> bool s_is_aligned(const flatbuffers::Vector<T> *vector)
{
    return bb::s_is_aligned(vector->Data());
}

uint32_t s_row_count(const wire::Page &page)
{
    return page.rows() ? BB_MAX(bb::s_count(page.rows()->times_wall_ns()),
                                bb::s_count(page.rows()->buckets()))
                       : 0;
}

// What holds for the columns as a whole; the indexes are checked row by row.
bb_error_t s_check_rows(const wire::PageRows &rows, uint32_t row_count, bb_fault_t *fault)
{
    uint32_t time_count = bb::s_count(rows.times_wall_ns());
    uint32_t bucket_count = bb::s_count(rows.buckets());
    if (time_count != bb::s_count(rows.values()) || (time_count > 0 && bucket_count > 0) ||
        bb::s_count(rows.metrics()) != bb::s_count(rows.types()) ||
        (rows.batteries() && rows.batteries()->size() != row_count) ||
        (rows.kinds() && rows.kinds()->size() != row_count)) {
        return s_corrupt_row(fault, 0, "the columns do not have one length");
    }
    if ((time_count > 0 && (!s_is_aligned(rows.times_wall_ns()) || !s_is_aligned(rows.values()))) ||
        (bucket_count > 0 && !s_is_aligned(rows.buckets()))) {
        return s_corrupt_row(fault, 0, "a vector is not aligned");
    }
    if (!s_sums_fit(rows.sums(), bucket_count)) {
        return s_corrupt_row(fault, 0, "a sum is none");
    }
    uint32_t end = 0;
    for (uint32_t i = 0; i < bb::s_count(rows.battery_ends()); i++) {
        uint32_t next = rows.battery_ends()->Get(i);
        if (next <= end || next - end > BB_BATTERY_ID_BYTES_MAX ||
            next > bb::s_count(rows.battery_ids())) {
            return s_corrupt_row(fault, i, "a battery id is empty or too long");
        }
        end = next;
    }
    for (uint32_t i = 0; i < bb::s_count(rows.types()); i++) {
        if (!bb_type_is_valid(rows.types()->Get(i)) || rows.metrics()->Get(i)->size() == 0 ||
            rows.metrics()->Get(i)->size() > BB_METRIC_NAME_BYTES_MAX) {
            return s_corrupt_row(fault, i, "a metric's name or type is out of range");
        }
    }
    return BB_OK;
}

bb_error_t s_open_row(bb_series_t *to, const wire::PageRows &rows, uint32_t index,
                      uint32_t state_count, bb_fault_t *fault)
{
    uint32_t battery = rows.batteries() ? rows.batteries()->Get(index) : index;
    uint32_t kind = rows.kinds() ? rows.kinds()->Get(index) : 0;
    if (battery >= bb::s_count(rows.battery_ends()) || kind >= bb::s_count(rows.types())) {
        return s_corrupt_row(fault, index, "an index is out of range");
    }
    uint32_t begin = battery > 0 ? rows.battery_ends()->Get(battery - 1) : 0;
    to->battery =
        bb_slice(rows.battery_ids()->Data() + begin, rows.battery_ends()->Get(battery) - begin);
    to->metric = bb::s_slice(rows.metrics()->Get(kind));
    to->type = rows.types()->Get(kind);
    to->row_count = 1;
    if (rows.buckets() && rows.buckets()->size() > 0) {
        to->has_buckets = true;
        to->buckets = reinterpret_cast<const bb_page_bucket_t *>(rows.buckets()->Data()) + index;
        return s_bucket_fits(to->type, *to->buckets, state_count)
                   ? BB_OK
                   : s_corrupt_row(fault, index, "the bucket is empty or its values do not fit");
    }
    to->times_wall_ns = reinterpret_cast<const int64_t *>(rows.times_wall_ns()->Data()) + index;
    to->values = reinterpret_cast<const uint64_t *>(rows.values()->Data()) + index;
    return s_times_fit(to->times_wall_ns, 1) && s_values_fit(to->type, to->values, 1, state_count)
               ? BB_OK
               : s_corrupt_row(fault, index, "the time or the value is out of range");
}

bb_error_t s_open_rows(bb_series_t *to, const wire::Page &page, uint32_t row_count,
                       uint32_t state_count, bb_fault_t *fault)
{
    if (row_count == 0) {
        return BB_OK;
    }
    bb_error_t error = s_check_rows(*page.rows(), row_count, fault);
    if (error != BB_OK) {
        return error;
    }
    uint32_t sum_count = bb::s_count(page.rows()->sums());
    const bb_page_sum_t *sums =
        sum_count ? reinterpret_cast<const bb_page_sum_t *>(page.rows()->sums()->Data()) : nullptr;
    uint32_t next = 0;
    for (uint32_t i = 0; i < row_count && error == BB_OK; i++) {
        error = s_open_row(&to[i], *page.rows(), i, state_count, fault);
        if (next < sum_count && sums[next].row == i) {
            to[i].sums = &sums[next++];
            to[i].sum_count = 1;
            to[i].sum_row = i;
        }
    }
    return error;
}

} // namespace

extern "C" {

bb_error_t bb_page_open(bb_page_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    BB_ASSERT(self);
    memset(self, 0, sizeof *self);
    const uint8_t *bytes = static_cast<const uint8_t *>(encoded.data);
    if (encoded.length > BB_MESSAGE_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "page: %zu bytes; at most %u",
                            encoded.length, BB_MESSAGE_BYTES_MAX);
    }
    if (encoded.length < 16 || !bb::s_is_aligned(bytes) || !wire::PageBufferHasIdentifier(bytes)) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "page: too short, not aligned or not a busbar page");
    }
    flatbuffers::Verifier verifier(bytes, encoded.length, 8);
    uint32_t attribute_total = 0;
    if (!wire::VerifyPageBuffer(verifier) ||
        !s_count_attributes(*wire::GetPage(bytes), &attribute_total)) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "page: the buffer does not verify");
    }
    const wire::Page &page = *wire::GetPage(bytes);
    uint32_t table_count = bb::s_count(page.series());
    uint32_t row_count = s_row_count(page);
    self->series_count = table_count + row_count;
    self->state_count = bb::s_count(page.states());
    // One block: series, then states, then attributes; each element is a multiple of 8 bytes.
    size_t series_bytes = self->series_count * sizeof(bb_series_t);
    size_t state_bytes = self->state_count * sizeof(bb_slice_t);
    uint8_t *memory = static_cast<uint8_t *>(bb_alloc_zero(
        1, series_bytes + state_bytes + attribute_total * sizeof(bb_page_attribute_t)));
    bb_series_t *series = reinterpret_cast<bb_series_t *>(memory);
    bb_slice_t *states = reinterpret_cast<bb_slice_t *>(memory + series_bytes);
    bb_page_attribute_t *attributes =
        reinterpret_cast<bb_page_attribute_t *>(memory + series_bytes + state_bytes);
    self->memory = memory;
    self->series = series;
    self->states = states;
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < self->state_count && error == BB_OK; i++) {
        states[i] = bb::s_slice(page.states()->Get(i));
        if (states[i].length > BB_STATE_BYTES_MAX) {
            error = bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "page: state %u is too long", i);
        }
    }
    for (uint32_t i = 0; i < table_count && error == BB_OK; i++) {
        error = s_open_series(&series[i], *page.series()->Get(i), i, self->state_count, attributes,
                              fault);
        attributes += series[i].attribute_count;
    }
    if (error == BB_OK) {
        error = s_open_rows(series + table_count, page, row_count, self->state_count, fault);
    }
    if (error != BB_OK) {
        bb_page_close(self);
    }
    return error;
}

int64_t bb_series_bucket_start_wall_ns(const bb_series_t *self, uint32_t row)
{
    BB_ASSERT(self->has_buckets && row < self->row_count);
    return self->buckets ? self->buckets[row].start_wall_ns : self->columns.starts_wall_ns[row];
}

static bb_bucket_t s_bucket_of_columns(const bb_page_columns_t &columns, uint32_t row)
{
    bb_bucket_t bucket = {};
    uint64_t low = columns.sums_low[row];
    uint64_t high = columns.sums_high ? columns.sums_high[row] : 0 - (low >> 63);
    bucket.start_wall_ns = columns.starts_wall_ns[row];
    bucket.count = columns.counts[row];
    bucket.sum.decimals[0] = low;
    bucket.sum.decimals[1] = high;
    bucket.sum.decimals[2] = 0 - (high >> 63);
    bucket.min = columns.mins ? columns.mins[row] : 0;
    bucket.max = columns.maxs ? columns.maxs[row] : 0;
    return bucket;
}

bb_bucket_t bb_series_bucket(const bb_series_t *self, uint32_t row)
{
    BB_ASSERT(self->has_buckets && row < self->row_count);
    if (!self->buckets) {
        return s_bucket_of_columns(self->columns, row);
    }
    uint32_t begin = 0;
    uint32_t limit = self->sum_count;
    while (begin < limit) {
        uint32_t middle = begin + (limit - begin) / 2;
        if (self->sums[middle].row - self->sum_row < row) {
            begin = middle + 1;
        } else {
            limit = middle;
        }
    }
    bool has_rest = begin < self->sum_count && self->sums[begin].row - self->sum_row == row;
    const bb_page_bucket_t &from = self->buckets[row];
    bb_bucket_t bucket = {};
    bucket.start_wall_ns = from.start_wall_ns;
    bucket.count = from.count;
    bucket.sum = s_sum(from, has_rest ? &self->sums[begin] : nullptr);
    bucket.min = from.min;
    bucket.max = from.max;
    bucket.first_wall_ns = from.first_wall_ns;
    bucket.last_wall_ns = from.last_wall_ns;
    bucket.first = from.first;
    bucket.last = from.last;
    return bucket;
}

void bb_page_close(bb_page_t *self)
{
    BB_ASSERT(self);
    free(self->memory);
    memset(self, 0, sizeof *self);
}

} // extern "C"

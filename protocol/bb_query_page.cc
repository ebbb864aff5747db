// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_message_flat.h"
#include "protocol/bb_query.h"
#include "protocol/page_generated.h"

namespace wire = bb::wire;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;

static_assert(sizeof(wire::PageBucket) == sizeof(bb_bucket_t), "mirrors bb_bucket_t");
static_assert(sizeof(bb_bucket_t) == 80, "ten fields of eight bytes");
static_assert(offsetof(bb_bucket_t, sum) == 16 && offsetof(bb_bucket_t, min) == 32, "wire order");
static_assert(offsetof(bb_bucket_t, first_wall_ns) == 48 && offsetof(bb_bucket_t, last) == 72,
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
    to->buckets = static_cast<const bb_bucket_t *>(data);
    for (uint32_t i = 0; i < count; i++) {
        const bb_bucket_t &bucket = to->buckets[i];
        const uint64_t values[4] = {bucket.min, bucket.max, bucket.first, bucket.last};
        if (bucket.count == 0 || bucket.first_wall_ns > bucket.last_wall_ns ||
            !s_values_fit(to->type, values, 4, state_count)) {
            return s_corrupt(fault, index, "a bucket is empty or its values do not fit");
        }
        if (i > 0 && bucket.start_wall_ns <= to->buckets[i - 1].start_wall_ns) {
            return s_corrupt(fault, index, "buckets do not ascend");
        }
    }
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

// ---- writing ----

// Array of trivially copyable T that doubles.
template <class T> struct s_array {
    T *items;
    uint32_t count;
    uint32_t capacity;

    void push(T item)
    {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            items = static_cast<T *>(bb_realloc(items, capacity * sizeof(T)));
        }
        items[count++] = item;
    }
};

// One text of the page: a metric name or a state.
struct s_name {
    uint64_t hash;
    const char *bytes; // in the builder's text memory for states and names alike
    uint32_t length;
    uint32_t offset; // of the string in the buffer
};

// Texts by content: open addressing over an array that keeps the order of arrival.
struct s_name_table {
    s_array<s_name> names;
    uint32_t *slots; // index + 1; 0 = free
    uint32_t slot_count;

    void rehash()
    {
        free(slots);
        slot_count = slot_count ? slot_count * 2 : 64;
        slots = static_cast<uint32_t *>(bb_alloc_zero(slot_count, sizeof *slots));
        for (uint32_t i = 0; i < names.count; i++) {
            uint32_t slot = static_cast<uint32_t>(names.items[i].hash) & (slot_count - 1);
            while (slots[slot]) {
                slot = (slot + 1) & (slot_count - 1);
            }
            slots[slot] = i + 1;
        }
    }

    uint32_t index_of(FlatBufferBuilder &fbb, const char *bytes, uint32_t length)
    {
        if (names.count * 2 >= slot_count) {
            rehash();
        }
        uint64_t hash = UINT64_C(14695981039346656037); // FNV-1a, then mixed
        for (uint32_t i = 0; i < length; i++) {
            hash = (hash ^ static_cast<uint8_t>(bytes[i])) * UINT64_C(1099511628211);
        }
        hash ^= hash >> 32;
        uint32_t slot = static_cast<uint32_t>(hash) & (slot_count - 1);
        for (; slots[slot]; slot = (slot + 1) & (slot_count - 1)) {
            const s_name &name = names.items[slots[slot] - 1];
            if (name.hash == hash && name.length == length &&
                (length == 0 || memcmp(name.bytes, bytes, length) == 0)) {
                return slots[slot] - 1;
            }
        }
        char *copy = static_cast<char *>(bb_alloc(length));
        if (length > 0) {
            memcpy(copy, bytes, length);
        }
        names.push({hash, copy, length, fbb.CreateString(copy, length).o});
        slots[slot] = names.count;
        return names.count - 1;
    }

    void clear()
    {
        for (uint32_t i = 0; i < names.count; i++) {
            free(const_cast<char *>(names.items[i].bytes));
        }
        names.count = 0;
        if (slots) {
            memset(slots, 0, slot_count * sizeof *slots);
        }
    }

    void destroy()
    {
        clear();
        free(names.items);
        free(slots);
    }
};

} // namespace

struct bb_page_builder {
    bb::Allocator allocator;
    FlatBufferBuilder fbb;
    s_array<Offset<wire::PageSeries>> series;
    s_name_table metrics;
    s_name_table states;
    uint64_t rows;
    // The battery of the series before, so that its id is written once.
    char battery[BB_BATTERY_ID_BYTES_MAX];
    uint32_t battery_length;
    uint32_t battery_offset;
    // The state before: consecutive rows mostly repeat it.
    uint64_t state_bits;
    uint32_t state_index;

    bb_page_builder()
        : fbb(4096, &allocator), series(), metrics(), states(), rows(0), battery(),
          battery_length(0), battery_offset(0), state_bits(0), state_index(0)
    {
    }
};

static Offset<String> s_battery(bb_page_builder_t *self, bb_slice_t battery)
{
    BB_ASSERT(battery.length <= BB_BATTERY_ID_BYTES_MAX);
    if (battery.length == 0) {
        return 0;
    }
    if (self->battery_offset == 0 || self->battery_length != battery.length ||
        memcmp(self->battery, battery.data, battery.length) != 0) {
        memcpy(self->battery, battery.data, battery.length);
        self->battery_length = static_cast<uint32_t>(battery.length);
        self->battery_offset =
            self->fbb.CreateString(static_cast<const char *>(battery.data), battery.length).o;
    }
    return self->battery_offset;
}

static Offset<String> s_metric(bb_page_builder_t *self, bb_slice_t metric)
{
    BB_ASSERT(metric.length >= 1 && metric.length <= BB_METRIC_NAME_BYTES_MAX);
    uint32_t index = self->metrics.index_of(self->fbb, static_cast<const char *>(metric.data),
                                            static_cast<uint32_t>(metric.length));
    return self->metrics.names.items[index].offset;
}

static uint64_t s_state(bb_page_builder_t *self, uint64_t bits)
{
    if (bits != self->state_bits) {
        const bb_text_t *text = bb_text_of_bits(bits);
        BB_ASSERT(text && text->length <= BB_STATE_BYTES_MAX);
        self->state_index = self->states.index_of(self->fbb, text->bytes, text->length);
        self->state_bits = bits;
    }
    return self->state_index;
}

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
    self->series_count = bb::s_count(page.series());
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
    for (uint32_t i = 0; i < self->series_count && error == BB_OK; i++) {
        error = s_open_series(&series[i], *page.series()->Get(i), i, self->state_count, attributes,
                              fault);
        attributes += series[i].attribute_count;
    }
    if (error != BB_OK) {
        bb_page_close(self);
    }
    return error;
}

void bb_page_close(bb_page_t *self)
{
    BB_ASSERT(self);
    free(self->memory);
    memset(self, 0, sizeof *self);
}

bb_page_builder_t *bb_page_builder_new(void)
{
    return new (bb_alloc(sizeof(bb_page_builder_t))) bb_page_builder();
}

void bb_page_builder_destroy(bb_page_builder_t **self)
{
    BB_ASSERT(self);
    bb_page_builder_t *builder = *self;
    if (builder) {
        *self = nullptr;
        builder->metrics.destroy();
        builder->states.destroy();
        free(builder->series.items);
        builder->~bb_page_builder();
        free(builder);
    }
}

void bb_page_builder_points(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                            bb_type_t type, const int64_t *times_wall_ns, const uint64_t *values,
                            uint32_t row_count)
{
    BB_ASSERT(self);
    BB_ASSERT(bb_type_is_valid(type));
    FlatBufferBuilder &fbb = self->fbb;
    Offset<String> battery_text = s_battery(self, battery);
    Offset<String> metric_text = s_metric(self, metric);
    self->state_bits = 0; // an address means something only during one call
    if (type == BB_TYPE_STATE) {
        for (uint32_t i = 0; i < row_count; i++) { // strings come before the vectors
            (void)s_state(self, values[i]);
        }
    }
    auto times = fbb.CreateVector(times_wall_ns, row_count);
    uint64_t *target = nullptr;
    auto value_offset = fbb.CreateUninitializedVector<uint64_t>(row_count, &target);
    if (type == BB_TYPE_STATE) {
        for (uint32_t i = 0; i < row_count; i++) {
            target[i] = s_state(self, values[i]); // known by now: writes nothing
        }
    } else if (row_count > 0) {
        memcpy(target, values, row_count * sizeof *values);
    }
    self->series.push(wire::CreatePageSeries(fbb, battery_text, metric_text,
                                             static_cast<uint8_t>(type), times, value_offset));
    self->rows += row_count;
}

void bb_page_builder_buckets(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                             bb_type_t type, const bb_bucket_t *buckets, uint32_t row_count)
{
    BB_ASSERT(self);
    BB_ASSERT(bb_type_is_valid(type));
    FlatBufferBuilder &fbb = self->fbb;
    Offset<String> battery_text = s_battery(self, battery);
    Offset<String> metric_text = s_metric(self, metric);
    self->state_bits = 0;
    if (type == BB_TYPE_STATE) {
        for (uint32_t i = 0; i < row_count; i++) {
            (void)s_state(self, buckets[i].min);
            (void)s_state(self, buckets[i].max);
            (void)s_state(self, buckets[i].first);
            (void)s_state(self, buckets[i].last);
        }
    }
    wire::PageBucket *target = nullptr;
    auto bucket_offset = fbb.CreateUninitializedVectorOfStructs(row_count, &target);
    for (uint32_t i = 0; i < row_count; i++) {
        bb_bucket_t bucket = buckets[i];
        if (type == BB_TYPE_STATE) {
            bucket.min = s_state(self, bucket.min);
            bucket.max = s_state(self, bucket.max);
            bucket.first = s_state(self, bucket.first);
            bucket.last = s_state(self, bucket.last);
        }
        memcpy(static_cast<void *>(&target[i]), &bucket, sizeof bucket);
    }
    self->series.push(wire::CreatePageSeries(fbb, battery_text, metric_text,
                                             static_cast<uint8_t>(type), 0, 0, bucket_offset));
    self->rows += row_count;
}

void bb_page_builder_battery(bb_page_builder_t *self, bb_slice_t battery,
                             const bb_page_attribute_t *attributes, uint32_t attribute_count)
{
    BB_ASSERT(self);
    BB_ASSERT(battery.length >= 1);
    BB_ASSERT(attribute_count <= BB_ATTRIBUTES_MAX);
    FlatBufferBuilder &fbb = self->fbb;
    Offset<String> battery_text = s_battery(self, battery);
    Offset<wire::PageAttribute> offsets[BB_ATTRIBUTES_MAX];
    for (uint32_t i = 0; i < attribute_count; i++) {
        bb_slice_t key = attributes[i].key;
        bb_slice_t value = attributes[i].value;
        auto key_text = fbb.CreateString(static_cast<const char *>(key.data), key.length);
        auto value_text =
            value.length ? fbb.CreateString(static_cast<const char *>(value.data), value.length)
                         : Offset<String>();
        offsets[i] = wire::CreatePageAttribute(fbb, key_text, value_text);
    }
    auto list = attribute_count ? fbb.CreateVector(offsets, attribute_count)
                                : Offset<flatbuffers::Vector<Offset<wire::PageAttribute>>>();
    self->series.push(wire::CreatePageSeries(fbb, battery_text, 0, 0, 0, 0, 0, list));
    self->rows += 1;
}

size_t bb_page_builder_bytes(const bb_page_builder_t *self)
{
    return self->fbb.GetSize() + 4 * (size_t{self->series.count} + self->states.names.count);
}

uint64_t bb_page_builder_rows(const bb_page_builder_t *self)
{
    return self->rows;
}

void bb_page_builder_finish(bb_page_builder_t *self, uint8_t **out, size_t *out_length)
{
    BB_ASSERT(self);
    FlatBufferBuilder &fbb = self->fbb;
    uint32_t state_count = self->states.names.count;
    auto series = fbb.CreateVector(self->series.items, self->series.count);
    Offset<String> *offsets =
        static_cast<Offset<String> *>(bb_alloc(state_count * sizeof(Offset<String>)));
    for (uint32_t i = 0; i < state_count; i++) {
        offsets[i] = self->states.names.items[i].offset;
    }
    auto states = fbb.CreateVector(offsets, state_count);
    free(offsets);
    wire::FinishPageBuffer(fbb, wire::CreatePage(fbb, series, states));
    bb::s_copy_out(fbb, out, out_length);
    fbb.Clear();
    self->series.count = 0;
    self->metrics.clear();
    self->states.clear();
    self->rows = 0;
    self->battery_offset = 0;
    self->state_bits = 0;
}

} // extern "C"

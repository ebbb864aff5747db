// SPDX-License-Identifier: Apache-2.0
// Writing pages; reading is in bb_query_page.cc.
#include "protocol/bb_message_flat.h"
#include "protocol/bb_query.h"
#include "protocol/page_generated.h"

namespace wire = bb::wire;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;

namespace
{

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

    void append(const T *from, uint32_t length)
    {
        if (count + length > capacity) {
            capacity = (count + length) * 2;
            items = static_cast<T *>(bb_realloc(items, capacity * sizeof(T)));
        }
        memcpy(items + count, from, length * sizeof(T));
        count += length;
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

// A metric and its type; series of one row name it by its index.
struct s_kind {
    uint32_t metric; // of the builder's metrics
    uint32_t type;
};

// Series of one row, as columns.
struct s_rows {
    s_array<char> ids;
    s_array<uint32_t> id_ends;
    s_array<uint32_t> batteries;
    s_array<uint16_t> kinds;
    s_array<int64_t> times_wall_ns;
    s_array<uint64_t> values;
    s_array<bb_page_bucket_t> buckets;
    s_array<bb_page_sum_t> sums;

    void clear()
    {
        ids.count = id_ends.count = batteries.count = kinds.count = 0;
        times_wall_ns.count = values.count = buckets.count = sums.count = 0;
    }

    void destroy()
    {
        free(ids.items);
        free(id_ends.items);
        free(batteries.items);
        free(kinds.items);
        free(times_wall_ns.items);
        free(values.items);
        free(buckets.items);
        free(sums.items);
    }

    uint32_t battery(bb_slice_t id)
    {
        uint32_t begin = id_ends.count > 1 ? id_ends.items[id_ends.count - 2] : 0;
        if (id_ends.count == 0 || ids.count - begin != id.length ||
            memcmp(ids.items + begin, id.data, id.length) != 0) {
            ids.append(static_cast<const char *>(id.data), static_cast<uint32_t>(id.length));
            id_ends.push(ids.count);
        }
        return id_ends.count - 1;
    }
};

} // namespace

struct bb_page_builder {
    bb::Allocator allocator;
    FlatBufferBuilder fbb;
    s_array<Offset<wire::PageSeries>> series;
    s_name_table metrics;
    s_name_table states;
    uint64_t row_count;
    bool accepts_rows;
    s_array<s_kind> kinds;
    s_rows rows;
    s_array<bb_page_sum_t> sums; // of the series at hand
    // The battery of the series before, so that its id is written once.
    char battery[BB_BATTERY_ID_BYTES_MAX];
    uint32_t battery_length;
    uint32_t battery_offset;
    // The state before: consecutive rows mostly repeat it.
    uint64_t state_bits;
    uint32_t state_index;

    bb_page_builder()
        : fbb(4096, &allocator), series(), metrics(), states(), row_count(0), accepts_rows(false),
          kinds(), rows(), sums(), battery(), battery_length(0), battery_offset(0), state_bits(0),
          state_index(0)
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

// A bucket as it travels; the rest of its sum, if there is one, goes to `sums`. A STATE's texts are
// in the table by now.
static bb_page_bucket_t s_bucket(bb_page_builder_t *self, bb_type_t type, const bb_bucket_t &from,
                                 uint32_t row, s_array<bb_page_sum_t> *sums)
{
    bool is_state = type == BB_TYPE_STATE;
    bb_page_bucket_t to;
    to.start_wall_ns = from.start_wall_ns;
    to.count = from.count;
    memcpy(to.sum_decimals, from.sum.decimals, sizeof to.sum_decimals);
    to.min = is_state ? s_state(self, from.min) : from.min;
    to.max = is_state ? s_state(self, from.max) : from.max;
    to.first_wall_ns = from.first_wall_ns;
    to.last_wall_ns = from.last_wall_ns;
    to.first = is_state ? s_state(self, from.first) : from.first;
    to.last = is_state ? s_state(self, from.last) : from.last;
    if (from.sum.flags != 0) {
        bb_page_sum_t rest = {};
        rest.row = row;
        rest.flags = static_cast<uint8_t>(from.sum.flags);
        rest.top = static_cast<uint8_t>(from.sum.top);
        memcpy(rest.bins, from.sum.bins, sizeof rest.bins);
        sums->push(rest);
    }
    return to;
}

static bb_sum_t s_sum_of_decimals(__int128 sum)
{
    bb_sum_t whole = {};
    whole.decimals[0] = static_cast<uint64_t>(sum);
    whole.decimals[1] = static_cast<uint64_t>(sum >> 64);
    whole.decimals[2] = static_cast<uint64_t>(sum >> 127);
    return whole;
}

// For who does not know columns.
static void s_whole_buckets(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                            bb_type_t type, const bb_bucket_list_t &list, uint32_t row_count)
{
    bb_bucket_t *buckets =
        static_cast<bb_bucket_t *>(bb_alloc_zero(size_t{row_count} + 1, sizeof(bb_bucket_t)));
    for (uint32_t i = 0; i < row_count; i++) {
        buckets[i].start_wall_ns = list.starts_wall_ns[i];
        buckets[i].count = list.counts[i];
        buckets[i].sum = s_sum_of_decimals(list.sums[i]);
        buckets[i].min = list.mins ? list.mins[i] : 0;
        buckets[i].max = list.maxs ? list.maxs[i] : 0;
    }
    bb_page_builder_buckets(self, battery, metric, type, buckets, row_count);
    free(buckets);
}

static Offset<flatbuffers::Vector<const wire::PageSum *>>
s_sum_vector(FlatBufferBuilder &fbb, const s_array<bb_page_sum_t> &sums)
{
    return sums.count ? fbb.CreateVectorOfStructs(
                            reinterpret_cast<const wire::PageSum *>(sums.items), sums.count)
                      : Offset<flatbuffers::Vector<const wire::PageSum *>>();
}

template <class T>
static Offset<flatbuffers::Vector<T>> s_vector(FlatBufferBuilder &fbb, const s_array<T> &array)
{
    return array.count ? fbb.CreateVector(array.items, array.count)
                       : Offset<flatbuffers::Vector<T>>();
}

// The indexes are left out where they say nothing.
static Offset<wire::PageRows> s_finish_rows(bb_page_builder_t *self)
{
    FlatBufferBuilder &fbb = self->fbb;
    const s_rows &rows = self->rows;
    uint32_t count = rows.batteries.count;
    if (count == 0) {
        return 0;
    }
    bool is_one_kind = true;
    for (uint32_t i = 0; i < count; i++) {
        is_one_kind &= rows.kinds.items[i] == 0;
    }
    auto ids = fbb.CreateVector(reinterpret_cast<const uint8_t *>(rows.ids.items), rows.ids.count);
    auto ends = s_vector(fbb, rows.id_ends);
    // An id begins when it differs from the one before, so as many ids as rows are one a row.
    auto batteries = rows.id_ends.count == count ? Offset<flatbuffers::Vector<uint32_t>>()
                                                 : s_vector(fbb, rows.batteries);
    auto kinds = is_one_kind ? Offset<flatbuffers::Vector<uint16_t>>() : s_vector(fbb, rows.kinds);
    auto times = s_vector(fbb, rows.times_wall_ns);
    auto values = s_vector(fbb, rows.values);
    flatbuffers::Offset<flatbuffers::Vector<const wire::PageBucket *>> buckets = 0;
    if (rows.buckets.count > 0) {
        buckets = fbb.CreateVectorOfStructs(
            reinterpret_cast<const wire::PageBucket *>(rows.buckets.items), rows.buckets.count);
    }
    auto sums = s_sum_vector(fbb, rows.sums);
    uint32_t kind_count = BB_MIN(self->kinds.count, BB_PAGE_KINDS_MAX + 1);
    Offset<String> *names =
        static_cast<Offset<String> *>(bb_alloc(kind_count * sizeof(Offset<String>)));
    uint8_t *types = static_cast<uint8_t *>(bb_alloc(kind_count));
    for (uint32_t i = 0; i < kind_count; i++) {
        names[i] = self->metrics.names.items[self->kinds.items[i].metric].offset;
        types[i] = static_cast<uint8_t>(self->kinds.items[i].type);
    }
    auto metric_list = fbb.CreateVector(names, kind_count);
    auto type_list = fbb.CreateVector(types, kind_count);
    free(names);
    free(types);
    return wire::CreatePageRows(fbb, ids, ends, metric_list, type_list, batteries, kinds, times,
                                values, buckets, sums);
}

extern "C" {

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
        builder->rows.destroy();
        free(builder->sums.items);
        free(builder->kinds.items);
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
    self->row_count += row_count;
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
    self->sums.count = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        bb_page_bucket_t bucket = s_bucket(self, type, buckets[i], i, &self->sums);
        memcpy(static_cast<void *>(&target[i]), &bucket, sizeof bucket);
    }
    auto sums = s_sum_vector(fbb, self->sums);
    self->series.push(wire::CreatePageSeries(
        fbb, battery_text, metric_text, static_cast<uint8_t>(type), 0, 0, bucket_offset, 0, sums));
    self->row_count += row_count;
}

void bb_page_builder_bucket_list(bb_page_builder_t *self, bb_slice_t battery, bb_slice_t metric,
                                 bb_type_t type, const bb_bucket_list_t *list, uint32_t row_count)
{
    BB_ASSERT(self);
    BB_ASSERT(bb_type_is_valid(type) && type != BB_TYPE_STATE);
    if (!self->accepts_rows) {
        s_whole_buckets(self, battery, metric, type, *list, row_count);
        return;
    }
    FlatBufferBuilder &fbb = self->fbb;
    Offset<String> battery_text = s_battery(self, battery);
    Offset<String> metric_text = s_metric(self, metric);
    auto starts = fbb.CreateVector(list->starts_wall_ns, row_count);
    auto counts = fbb.CreateVector(list->counts, row_count);
    uint64_t *low = nullptr;
    auto sums_low = fbb.CreateUninitializedVector<uint64_t>(row_count, &low);
    uint64_t lacking = 0; // in the low parts
    for (uint32_t i = 0; i < row_count; i++) {
        low[i] = static_cast<uint64_t>(list->sums[i]);
        lacking |= static_cast<uint64_t>(list->sums[i] >> 64) ^ (0 - (low[i] >> 63));
    }
    Offset<flatbuffers::Vector<uint64_t>> sums_high = 0;
    if (lacking != 0) {
        uint64_t *high = nullptr;
        sums_high = fbb.CreateUninitializedVector<uint64_t>(row_count, &high);
        for (uint32_t i = 0; i < row_count; i++) {
            high[i] = static_cast<uint64_t>(list->sums[i] >> 64);
        }
    }
    Offset<flatbuffers::Vector<uint64_t>> mins = 0;
    Offset<flatbuffers::Vector<uint64_t>> maxs = 0;
    if (list->mins) {
        mins = fbb.CreateVector(list->mins, row_count);
        maxs = fbb.CreateVector(list->maxs, row_count);
    }
    auto columns = wire::CreatePageColumns(fbb, starts, counts, sums_low, sums_high, mins, maxs);
    self->series.push(wire::CreatePageSeries(fbb, battery_text, metric_text,
                                             static_cast<uint8_t>(type), 0, 0, 0, 0, 0, columns));
    self->row_count += row_count;
}

void bb_page_builder_accept_rows(bb_page_builder_t *self)
{
    BB_ASSERT(self);
    self->accepts_rows = true;
}

uint32_t bb_page_builder_kind(bb_page_builder_t *self, bb_slice_t metric, bb_type_t type)
{
    BB_ASSERT(self);
    BB_ASSERT(bb_type_is_valid(type));
    BB_ASSERT(metric.length >= 1 && metric.length <= BB_METRIC_NAME_BYTES_MAX);
    uint32_t index = self->metrics.index_of(self->fbb, static_cast<const char *>(metric.data),
                                            static_cast<uint32_t>(metric.length));
    self->kinds.push({index, static_cast<uint32_t>(type)});
    return self->kinds.count - 1;
}

void bb_page_builder_row(bb_page_builder_t *self, bb_slice_t battery, uint32_t kind,
                         int64_t time_wall_ns, uint64_t bits)
{
    BB_ASSERT(self);
    BB_ASSERT(kind < self->kinds.count);
    s_kind found = self->kinds.items[kind];
    bb_type_t type = static_cast<bb_type_t>(found.type);
    if (!self->accepts_rows || kind > BB_PAGE_KINDS_MAX) {
        const s_name &name = self->metrics.names.items[found.metric];
        bb_page_builder_points(self, battery, bb_slice(name.bytes, name.length), type,
                               &time_wall_ns, &bits, 1);
        return;
    }
    BB_ASSERT(self->rows.buckets.count == 0);
    BB_ASSERT(battery.length >= 1 && battery.length <= BB_BATTERY_ID_BYTES_MAX);
    self->state_bits = 0;
    self->rows.batteries.push(self->rows.battery(battery));
    self->rows.kinds.push(static_cast<uint16_t>(kind));
    self->rows.times_wall_ns.push(time_wall_ns);
    self->rows.values.push(type == BB_TYPE_STATE ? s_state(self, bits) : bits);
    self->row_count++;
}

void bb_page_builder_row_bucket(bb_page_builder_t *self, bb_slice_t battery, uint32_t kind,
                                const bb_bucket_t *bucket)
{
    BB_ASSERT(self);
    BB_ASSERT(kind < self->kinds.count);
    s_kind found = self->kinds.items[kind];
    bb_type_t type = static_cast<bb_type_t>(found.type);
    if (!self->accepts_rows || kind > BB_PAGE_KINDS_MAX) {
        const s_name &name = self->metrics.names.items[found.metric];
        bb_page_builder_buckets(self, battery, bb_slice(name.bytes, name.length), type, bucket, 1);
        return;
    }
    BB_ASSERT(self->rows.times_wall_ns.count == 0);
    BB_ASSERT(battery.length >= 1 && battery.length <= BB_BATTERY_ID_BYTES_MAX);
    self->state_bits = 0;
    self->rows.batteries.push(self->rows.battery(battery));
    self->rows.kinds.push(static_cast<uint16_t>(kind));
    self->rows.buckets.push(
        s_bucket(self, type, *bucket, self->rows.buckets.count, &self->rows.sums));
    self->row_count++;
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
    self->row_count += 1;
}

size_t bb_page_builder_bytes(const bb_page_builder_t *self)
{
    const s_rows &rows = self->rows;
    return self->fbb.GetSize() + 4 * (size_t{self->series.count} + self->states.names.count) +
           6 * size_t{rows.batteries.count} + 16 * size_t{rows.times_wall_ns.count} +
           sizeof(bb_page_bucket_t) * rows.buckets.count + sizeof(bb_page_sum_t) * rows.sums.count +
           rows.ids.count + 4 * size_t{rows.id_ends.count};
}

uint64_t bb_page_builder_rows(const bb_page_builder_t *self)
{
    return self->row_count;
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
    auto rows = s_finish_rows(self);
    wire::FinishPageBuffer(fbb, wire::CreatePage(fbb, series, states, rows));
    bb::s_copy_out(fbb, out, out_length);
    fbb.Clear();
    self->series.count = 0;
    self->metrics.clear();
    self->states.clear();
    self->rows.clear();
    self->kinds.count = 0;
    self->row_count = 0;
    self->accepts_rows = false;
    self->battery_offset = 0;
    self->state_bits = 0;
}

} // extern "C"

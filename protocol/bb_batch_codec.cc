// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_batch_codec.h"

#include "protocol/batch_generated.h"
#include "protocol/bb_message_flat.h"
#include "protocol/chunks_generated.h"

namespace wire = bb::wire;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;
using flatbuffers::Vector;

static_assert(sizeof(wire::BatchPart) == sizeof(bb_batch_part_t), "mirrors bb_batch_part_t");
static_assert(sizeof(wire::BatchRun) == sizeof(bb_batch_run_t), "mirrors bb_batch_run_t");
static_assert(offsetof(bb_batch_part_t, frame_count) == 12, "wire order");
static_assert(offsetof(bb_batch_run_t, frame_count) == 8, "wire order");

namespace
{

bb_error_t s_corrupt(bb_fault_t *fault, const char *what)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "batch: %s", what);
}

// The least that a text takes when it is not shared: length, bytes, terminator.
size_t s_cost(const String *text)
{
    return text ? 5 + size_t{text->size()} : 0;
}

// Counts shape names and attributes, and what all tables would take if each were written out by
// itself. A sender that lets many entries point to the same bytes is refused, so that 8 MiB cannot
// unfold into gigabytes here or in a subset. False when a count is past its limit.
bool s_count_tables(const wire::Batch &batch, size_t *name_count, size_t *attribute_count,
                    size_t *cost)
{
    *name_count = *attribute_count = *cost = 0;
    for (uint32_t i = 0; i < bb::s_count(batch.shapes()); i++) {
        const wire::BatchShape *shape = batch.shapes()->Get(i);
        uint32_t count = bb::s_count(shape->names());
        if (count > BB_FRAME_METRICS_MAX || count != bb::s_count(shape->types())) {
            return false;
        }
        *name_count += count;
        *cost += 4 + 4 + 5 * size_t{count};
        for (uint32_t m = 0; m < count; m++) {
            *cost += s_cost(shape->names()->Get(m));
        }
    }
    for (uint32_t i = 0; i < bb::s_count(batch.batteries()); i++) {
        const wire::BatchBattery *battery = batch.batteries()->Get(i);
        uint32_t count = bb::s_count(battery->attributes());
        if (count > BB_ATTRIBUTES_MAX) {
            return false;
        }
        *attribute_count += count;
        *cost += 4 + 4 + s_cost(battery->id());
        for (uint32_t a = 0; a < count; a++) {
            const wire::BatchAttribute *attribute = battery->attributes()->Get(a);
            *cost += 4 + 4 + s_cost(attribute->key()) + s_cost(attribute->value());
        }
    }
    for (uint32_t i = 0; i < bb::s_count(batch.states()); i++) {
        *cost += 4 + s_cost(batch.states()->Get(i));
    }
    return true;
}

void s_read_shapes(const wire::Batch &batch, bb_batch_shape_t *shapes, bb_slice_t *names)
{
    for (uint32_t i = 0; i < bb::s_count(batch.shapes()); i++) {
        const wire::BatchShape *from = batch.shapes()->Get(i);
        bb_batch_shape_t *to = &shapes[i];
        to->metric_count = bb::s_count(from->names());
        to->names = names;
        to->types = to->metric_count ? from->types()->data() : nullptr;
        to->has_states = to->has_bools = false;
        for (uint32_t m = 0; m < to->metric_count; m++) {
            *names++ = bb::s_slice(from->names()->Get(m));
            to->has_states |= to->types[m] == BB_TYPE_STATE;
            to->has_bools |= to->types[m] == BB_TYPE_BOOL;
        }
    }
}

void s_read_batteries(const wire::Batch &batch, bb_batch_battery_t *batteries,
                      bb_attribute_t *attributes)
{
    for (uint32_t i = 0; i < bb::s_count(batch.batteries()); i++) {
        const wire::BatchBattery *from = batch.batteries()->Get(i);
        bb_batch_battery_t *to = &batteries[i];
        to->id = bb::s_slice(from->id());
        to->attribute_count = bb::s_count(from->attributes());
        to->attributes = attributes;
        for (uint32_t a = 0; a < to->attribute_count; a++) {
            const wire::BatchAttribute *attribute = from->attributes()->Get(a);
            attributes->key = bb::s_slice(attribute->key());
            attributes->value = bb::s_slice(attribute->value());
            attributes++;
        }
    }
}

template <class T> const T *s_data(const Vector<T> *vector)
{
    return vector ? vector->data() : nullptr;
}

template <class T> Offset<Vector<T>> s_reserve(FlatBufferBuilder &builder, size_t count)
{
    T *unused = nullptr;
    return builder.CreateUninitializedVector<T>(count, &unused);
}

Offset<String> s_text(FlatBufferBuilder &builder, bb_slice_t text)
{
    return builder.CreateString(static_cast<const char *>(text.data), text.length);
}

Offset<wire::BatchShape> s_write_shape(FlatBufferBuilder &builder, const bb_batch_shape_t &shape)
{
    Offset<String> names[BB_FRAME_METRICS_MAX];
    for (uint32_t m = 0; m < shape.metric_count; m++) {
        names[m] = s_text(builder, shape.names[m]);
    }
    auto name_vector = builder.CreateVector(names, shape.metric_count);
    auto type_vector = builder.CreateVector(shape.types, shape.metric_count);
    return wire::CreateBatchShape(builder, name_vector, type_vector);
}

Offset<wire::BatchBattery> s_write_battery(FlatBufferBuilder &builder,
                                           const bb_batch_battery_t &battery)
{
    Offset<wire::BatchAttribute> attributes[BB_ATTRIBUTES_MAX];
    for (uint32_t a = 0; a < battery.attribute_count; a++) {
        auto key = s_text(builder, battery.attributes[a].key);
        auto value = s_text(builder, battery.attributes[a].value);
        attributes[a] = wire::CreateBatchAttribute(builder, key, value);
    }
    Offset<Vector<Offset<wire::BatchAttribute>>> vector;
    if (battery.attribute_count > 0) {
        vector = builder.CreateVector(attributes, battery.attribute_count);
    }
    auto id = s_text(builder, battery.id);
    return wire::CreateBatchBattery(builder, id, vector);
}

// Temporary offsets of one vector of tables; freed by the caller.
template <class T> Offset<T> *s_offsets(uint32_t count)
{
    return static_cast<Offset<T> *>(bb_alloc(count * sizeof(Offset<T>)));
}

size_t s_text_bound(bb_slice_t text)
{
    return text.length + 12; // offset, length, terminator, padding
}

// No less than the encoding takes, so that the builder never moves its bytes.
size_t s_size_bound(const bb_batch_t &layout)
{
    size_t bytes = 512 + 8 * layout.value_count + 8 * size_t{layout.frame_count} +
                   16 * (size_t{layout.run_count} + layout.part_count);
    for (uint32_t i = 0; i < layout.shape_count; i++) {
        bytes += 32 + layout.shapes[i].metric_count;
        for (uint32_t m = 0; m < layout.shapes[i].metric_count; m++) {
            bytes += s_text_bound(layout.shapes[i].names[m]);
        }
    }
    for (uint32_t i = 0; i < layout.battery_count; i++) {
        const bb_batch_battery_t &battery = layout.batteries[i];
        bytes += 32 + s_text_bound(battery.id);
        for (uint32_t a = 0; a < battery.attribute_count; a++) {
            bytes += 16 + s_text_bound(battery.attributes[a].key) +
                     s_text_bound(battery.attributes[a].value);
        }
    }
    for (uint32_t i = 0; i < layout.state_count; i++) {
        bytes += s_text_bound(layout.states[i]);
    }
    return bytes;
}

struct s_span_t {
    const uint8_t *data;
    size_t length;
};

// Copies what lies before, between and behind the spans, which are disjoint and ascend.
void s_copy_between(const uint8_t *from, uint8_t *to, size_t length, const s_span_t *spans,
                    size_t span_count)
{
    size_t done = 0;
    for (size_t i = 0; i < span_count; i++) {
        size_t start = static_cast<size_t>(spans[i].data - from);
        BB_ASSERT(start >= done && start + spans[i].length <= length);
        memcpy(to + done, from + done, start - done);
        done = start + spans[i].length;
    }
    memcpy(to + done, from + done, length - done);
}

} // namespace

bb_error_t bb_batch_flat_read(bb_batch_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    memset(self, 0, sizeof *self);
    const uint8_t *data = static_cast<const uint8_t *>(encoded.data);
    if (encoded.length < 16 || encoded.length > BB_BATCH_BYTES_MAX || !bb::s_is_aligned(data)) {
        return s_corrupt(fault, "too short, too long or not aligned");
    }
    // A table of its own takes 12 bytes at least, with the offset that points to it.
    flatbuffers::Verifier verifier(data, encoded.length, 8,
                                   static_cast<flatbuffers::uoffset_t>(encoded.length / 12));
    if (!verifier.VerifyBuffer<wire::Batch>("BBBA")) {
        return s_corrupt(fault, "not a verified FlatBuffer of kind BBBA");
    }
    const wire::Batch &batch = *flatbuffers::GetRoot<wire::Batch>(data);
    if (batch.version() != 1) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "batch: version %u, expected 1",
                            batch.version());
    }
    if (batch.generation() != 0) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "batch: generation %u, expected 0",
                            batch.generation());
    }
    self->encoded = encoded;
    self->revision = batch.revision();
    self->generation = batch.generation();
    self->part_count = bb::s_count(batch.parts());
    self->run_count = bb::s_count(batch.runs());
    self->frame_count = bb::s_count(batch.times_wall_ns());
    self->value_count = bb::s_count(batch.values());
    self->battery_count = bb::s_count(batch.batteries());
    self->shape_count = bb::s_count(batch.shapes());
    self->state_count = bb::s_count(batch.states());
    if (self->part_count == 0 || self->run_count == 0 || self->frame_count == 0 ||
        self->frame_count > BB_BATCH_FRAMES_MAX || self->battery_count > BB_BATCH_BATTERIES_MAX ||
        self->shape_count > BB_BATCH_SHAPES_MAX || self->state_count > BB_BATCH_STATES_MAX) {
        return s_corrupt(fault, "empty, or a count is past its limit");
    }
    self->parts = reinterpret_cast<const bb_batch_part_t *>(batch.parts()->Data());
    self->runs = reinterpret_cast<const bb_batch_run_t *>(batch.runs()->Data());
    self->times_wall_ns = s_data(batch.times_wall_ns());
    self->values = s_data(batch.values());
    if (!bb::s_is_aligned(self->times_wall_ns) || !bb::s_is_aligned(self->values) ||
        (reinterpret_cast<uintptr_t>(self->parts) & 3) != 0 ||
        (reinterpret_cast<uintptr_t>(self->runs) & 3) != 0) {
        return s_corrupt(fault, "a vector is not aligned");
    }
    size_t name_count, attribute_count, cost;
    if (!s_count_tables(batch, &name_count, &attribute_count, &cost)) {
        return s_corrupt(fault, "a shape or battery table is past its limit");
    }
    if (cost > encoded.length) {
        return s_corrupt(fault, "tables share bytes");
    }
    size_t shapes_bytes = self->shape_count * sizeof(bb_batch_shape_t);
    size_t batteries_bytes = self->battery_count * sizeof(bb_batch_battery_t);
    size_t slices_bytes = (name_count + self->state_count) * sizeof(bb_slice_t);
    uint8_t *memory = static_cast<uint8_t *>(bb_alloc(
        shapes_bytes + batteries_bytes + slices_bytes + attribute_count * sizeof(bb_attribute_t)));
    bb_batch_shape_t *shapes = reinterpret_cast<bb_batch_shape_t *>(memory);
    bb_batch_battery_t *batteries = reinterpret_cast<bb_batch_battery_t *>(memory + shapes_bytes);
    bb_slice_t *slices = reinterpret_cast<bb_slice_t *>(memory + shapes_bytes + batteries_bytes);
    s_read_shapes(batch, shapes, slices);
    s_read_batteries(
        batch, batteries,
        reinterpret_cast<bb_attribute_t *>(memory + shapes_bytes + batteries_bytes + slices_bytes));
    for (uint32_t i = 0; i < self->state_count; i++) {
        slices[name_count + i] = bb::s_slice(batch.states()->Get(i));
    }
    self->memory = memory;
    self->shapes = shapes;
    self->batteries = batteries;
    self->states = slices + name_count;
    return BB_OK;
}

void bb_batch_flat_write(const bb_batch_t *layout, uint8_t **out, size_t *out_length,
                         bb_batch_vectors_t *vectors)
{
    bb::Allocator allocator;
    FlatBufferBuilder builder(s_size_bound(*layout), &allocator, false);
    auto values = s_reserve<uint64_t>(builder, layout->value_count);
    auto times = s_reserve<int64_t>(builder, layout->frame_count);
    wire::BatchRun *runs_unused = nullptr;
    auto runs =
        builder.CreateUninitializedVectorOfStructs<wire::BatchRun>(layout->run_count, &runs_unused);
    wire::BatchPart *parts_unused = nullptr;
    auto parts = builder.CreateUninitializedVectorOfStructs<wire::BatchPart>(layout->part_count,
                                                                             &parts_unused);
    auto *shape_offsets = s_offsets<wire::BatchShape>(layout->shape_count);
    for (uint32_t i = 0; i < layout->shape_count; i++) {
        shape_offsets[i] = s_write_shape(builder, layout->shapes[i]);
    }
    auto shapes = builder.CreateVector(shape_offsets, layout->shape_count);
    auto *battery_offsets = s_offsets<wire::BatchBattery>(layout->battery_count);
    for (uint32_t i = 0; i < layout->battery_count; i++) {
        battery_offsets[i] = s_write_battery(builder, layout->batteries[i]);
    }
    auto batteries = builder.CreateVector(battery_offsets, layout->battery_count);
    auto *state_offsets = s_offsets<String>(layout->state_count);
    for (uint32_t i = 0; i < layout->state_count; i++) {
        state_offsets[i] = s_text(builder, layout->states[i]);
    }
    auto states = builder.CreateVector(state_offsets, layout->state_count);
    builder.Finish(wire::CreateBatch(builder, 1, layout->generation, layout->revision, parts, runs,
                                     batteries, shapes, states, times, values),
                   "BBBA");
    free(shape_offsets);
    free(battery_offsets);
    free(state_offsets);
    // The large vectors were never written in the builder: they are filled in the caller's bytes,
    // so each value is copied once. Everything round them is copied here.
    size_t length = builder.GetSize();
    const uint8_t *from = builder.GetBufferPointer();
    uint8_t *to = static_cast<uint8_t *>(bb_alloc(length));
    const wire::Batch &batch = *flatbuffers::GetRoot<wire::Batch>(from);
    const s_span_t spans[] = {
        {batch.parts()->Data(), layout->part_count * sizeof(bb_batch_part_t)},
        {batch.runs()->Data(), layout->run_count * sizeof(bb_batch_run_t)},
        {batch.times_wall_ns()->Data(), layout->frame_count * sizeof(int64_t)},
        {batch.values()->Data(), layout->value_count * sizeof(uint64_t)},
    };
    s_copy_between(from, to, length, spans, 4);
    vectors->parts = reinterpret_cast<bb_batch_part_t *>(to + (spans[0].data - from));
    vectors->runs = reinterpret_cast<bb_batch_run_t *>(to + (spans[1].data - from));
    vectors->times_wall_ns = reinterpret_cast<int64_t *>(to + (spans[2].data - from));
    vectors->values = reinterpret_cast<uint64_t *>(to + (spans[3].data - from));
    *out = to;
    *out_length = length;
}

void bb_chunks_encode(const bb_chunks_t *self, uint8_t **out, size_t *out_length)
{
    bb::Allocator allocator;
    FlatBufferBuilder builder(256 + 8 * size_t{self->part_count} +
                                  4 * size_t{self->quarantined_count},
                              &allocator, false);
    auto seqs = builder.CreateVector(self->seqs, self->part_count);
    Offset<Vector<uint32_t>> quarantined;
    if (self->quarantined_count > 0) {
        quarantined = builder.CreateVector(self->quarantined, self->quarantined_count);
    }
    auto stream = builder.CreateVector(self->stream.bytes, sizeof self->stream.bytes);
    builder.Finish(wire::CreateChunks(builder, 1, self->epoch, self->origin_wall_ns, stream, seqs,
                                      quarantined),
                   "BBCH");
    bb::s_copy_out(builder, out, out_length);
}

bb_error_t bb_chunks_decode(bb_chunks_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    const uint8_t *data = static_cast<const uint8_t *>(encoded.data);
    if (encoded.length < 16 || encoded.length > BB_MESSAGE_BYTES_MAX || !bb::s_is_aligned(data)) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: too short, too long or not aligned");
    }
    flatbuffers::Verifier verifier(data, encoded.length, 8, 64);
    if (!verifier.VerifyBuffer<wire::Chunks>("BBCH")) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: not a verified FlatBuffer of kind BBCH");
    }
    const wire::Chunks &chunks = *flatbuffers::GetRoot<wire::Chunks>(data);
    uint32_t part_count = bb::s_count(chunks.seqs());
    if (chunks.version() != 1) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "chunks: version %u, expected 1",
                            chunks.version());
    }
    if (bb::s_count(chunks.stream()) != sizeof self->stream.bytes || part_count == 0 ||
        !bb::s_is_aligned(chunks.seqs()->data())) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: stream, or seqs missing or not aligned");
    }
    const uint64_t *seqs = chunks.seqs()->data();
    for (uint32_t i = 0; i < part_count; i++) {
        if (seqs[i] == 0) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: seq %u is zero", i);
        }
    }
    uint32_t quarantined_count = bb::s_count(chunks.quarantined());
    const uint32_t *quarantined = s_data(chunks.quarantined());
    for (uint32_t i = 1; i < quarantined_count; i++) {
        if (quarantined[i] <= quarantined[i - 1]) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "chunks: quarantined frames are not ascending");
        }
    }
    memcpy(self->stream.bytes, chunks.stream()->data(), sizeof self->stream.bytes);
    self->epoch = chunks.epoch();
    self->origin_wall_ns = chunks.origin_wall_ns();
    self->part_count = part_count;
    self->seqs = seqs;
    self->quarantined_count = quarantined_count;
    self->quarantined = quarantined;
    return BB_OK;
}

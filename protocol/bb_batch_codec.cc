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

namespace
{

const uint32_t S_CHUNKS_VERSION = 2;

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
        *cost += 4 + 4;
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

void s_read_shapes(const wire::Batch &batch, bb_batch_shape_t *shapes, bb_slice_t *names,
                   bb_column_t *columns)
{
    for (uint32_t i = 0; i < bb::s_count(batch.shapes()); i++) {
        const wire::BatchShape *from = batch.shapes()->Get(i);
        bb_batch_shape_t *to = &shapes[i];
        to->metric_count = bb::s_count(from->names());
        to->names = names;
        to->types = to->metric_count ? from->types()->data() : nullptr;
        to->has_states = to->has_bools = false;
        to->frame_count = 0;
        to->columns = columns;
        columns += to->metric_count;
        for (uint32_t m = 0; m < to->metric_count; m++) {
            *names++ = bb::s_slice(from->names()->Get(m));
            to->has_states |= to->types[m] == BB_TYPE_STATE;
            to->has_bools |= to->types[m] == BB_TYPE_BOOL;
        }
    }
}

// Attributes of those that have some, in the order of batteries. False: out of order or range.
bool s_read_attributes(const wire::Batch &batch, bb_batch_battery_t *batteries,
                       bb_attribute_t *attributes)
{
    uint32_t next = 0;
    memset(batteries, 0, batch.battery_count() * sizeof *batteries);
    for (uint32_t i = 0; i < bb::s_count(batch.batteries()); i++) {
        const wire::BatchBattery *from = batch.batteries()->Get(i);
        uint32_t count = bb::s_count(from->attributes());
        if (from->battery() < next || from->battery() >= batch.battery_count() || count == 0) {
            return false;
        }
        next = from->battery() + 1;
        batteries[from->battery()].attribute_count = count;
        batteries[from->battery()].attributes = attributes;
        for (uint32_t a = 0; a < count; a++) {
            const wire::BatchAttribute *attribute = from->attributes()->Get(a);
            attributes->key = bb::s_slice(attribute->key());
            attributes->value = bb::s_slice(attribute->value());
            attributes++;
        }
    }
    return true;
}

template <class T> const T *s_data(const Vector<T> *vector)
{
    return vector ? vector->data() : nullptr;
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

Offset<wire::BatchBattery> s_write_battery(FlatBufferBuilder &builder, uint32_t index,
                                           const bb_batch_battery_t &battery)
{
    Offset<wire::BatchAttribute> attributes[BB_ATTRIBUTES_MAX];
    for (uint32_t a = 0; a < battery.attribute_count; a++) {
        auto key = s_text(builder, battery.attributes[a].key);
        auto value = s_text(builder, battery.attributes[a].value);
        attributes[a] = wire::CreateBatchAttribute(builder, key, value);
    }
    auto vector = builder.CreateVector(attributes, battery.attribute_count);
    return wire::CreateBatchBattery(builder, index, vector);
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
size_t s_size_bound(const bb_batch_t &layout, size_t packed_bytes, size_t *id_bytes)
{
    size_t bytes = 512 + packed_bytes;
    *id_bytes = 0;
    for (uint32_t i = 0; i < layout.shape_count; i++) {
        bytes += 32 + layout.shapes[i].metric_count;
        for (uint32_t m = 0; m < layout.shapes[i].metric_count; m++) {
            bytes += s_text_bound(layout.shapes[i].names[m]);
        }
    }
    for (uint32_t i = 0; i < layout.battery_count; i++) {
        const bb_batch_battery_t &battery = layout.batteries[i];
        *id_bytes += battery.id.length;
        bytes += battery.attribute_count > 0 ? 32 : 0;
        for (uint32_t a = 0; a < battery.attribute_count; a++) {
            bytes += 16 + s_text_bound(battery.attributes[a].key) +
                     s_text_bound(battery.attributes[a].value);
        }
    }
    for (uint32_t i = 0; i < layout.state_count; i++) {
        bytes += s_text_bound(layout.states[i]);
    }
    return bytes + *id_bytes;
}

Offset<Vector<uint8_t>> s_write_ids(FlatBufferBuilder &builder, const bb_batch_t &layout,
                                    size_t id_bytes)
{
    uint8_t *at = nullptr;
    auto ids = builder.CreateUninitializedVector<uint8_t>(id_bytes, &at);
    for (uint32_t i = 0; i < layout.battery_count; i++) {
        bb_slice_t id = layout.batteries[i].id;
        if (id.length > 0) {
            memcpy(at, id.data, id.length);
            at += id.length;
        }
    }
    return ids;
}

Offset<Vector<Offset<wire::BatchBattery>>> s_write_batteries(FlatBufferBuilder &builder,
                                                             const bb_batch_t &layout)
{
    auto *offsets = s_offsets<wire::BatchBattery>(layout.battery_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < layout.battery_count; i++) {
        if (layout.batteries[i].attribute_count > 0) {
            offsets[count++] = s_write_battery(builder, i, layout.batteries[i]);
        }
    }
    auto batteries = builder.CreateVector(offsets, count);
    free(offsets);
    return batteries;
}

// The version, before anything else is known about the bytes.
bb_error_t s_check_version(bb_slice_t encoded, bb_fault_t *fault)
{
    const uint8_t *data = static_cast<const uint8_t *>(encoded.data);
    flatbuffers::Verifier verifier(data, encoded.length, 1, 1);
    if (!verifier.VerifyBuffer<wire::BatchVersion>("BBBA")) {
        return s_corrupt(fault, "not a verified FlatBuffer of kind BBBA");
    }
    const wire::BatchVersion &batch = *flatbuffers::GetRoot<wire::BatchVersion>(data);
    if (batch.version() != BB_BATCH_VERSION) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "batch: version %u, expected %d",
                            batch.version(), BB_BATCH_VERSION);
    }
    return BB_OK;
}

// Counts, each within its limit. A frame has at least one value.
bool s_read_counts(const wire::Batch &batch, bb_batch_t *self)
{
    self->revision = batch.revision();
    self->generation = batch.generation();
    self->part_count = batch.part_count();
    self->run_count = batch.run_count();
    self->frame_count = batch.frame_count();
    self->battery_count = batch.battery_count();
    self->shape_count = bb::s_count(batch.shapes());
    self->state_count = bb::s_count(batch.states());
    return self->part_count >= 1 && self->part_count <= self->run_count &&
           self->part_count <= BB_PARTITIONS_MAX && self->run_count <= self->frame_count &&
           self->battery_count <= bb::s_count(batch.battery_ids()) &&
           self->battery_count <= BB_BATCH_BATTERIES_MAX &&
           self->shape_count <= BB_BATCH_SHAPES_MAX && self->state_count <= BB_BATCH_STATES_MAX;
}

// Cuts pieces off one block of memory.
template <class T> T *s_cut(uint8_t **at, size_t count)
{
    T *piece = reinterpret_cast<T *>(*at);
    static_assert(sizeof(T) % 8 == 0, "every piece is aligned");
    *at += count * sizeof(T);
    return piece;
}

} // namespace

bb_error_t bb_batch_flat_read(bb_batch_t *self, bb_slice_t encoded, bb_batch_room_t *room,
                              bb_fault_t *fault)
{
    memset(self, 0, sizeof *self);
    const uint8_t *data = static_cast<const uint8_t *>(encoded.data);
    if (encoded.length < 16 || encoded.length > BB_BATCH_BYTES_MAX || !bb::s_is_aligned(data)) {
        return s_corrupt(fault, "too short, too long or not aligned");
    }
    bb_error_t error = s_check_version(encoded, fault);
    if (error != BB_OK) {
        return error;
    }
    // A table of its own takes 12 bytes at least, with the offset that points to it.
    flatbuffers::Verifier verifier(data, encoded.length, 8,
                                   static_cast<flatbuffers::uoffset_t>(encoded.length / 12));
    if (!verifier.VerifyBuffer<wire::Batch>("BBBA")) {
        return s_corrupt(fault, "not a verified FlatBuffer of kind BBBA");
    }
    const wire::Batch &batch = *flatbuffers::GetRoot<wire::Batch>(data);
    if (!s_read_counts(batch, self)) {
        return s_corrupt(fault, "empty, or a count is past its limit");
    }
    if (self->frame_count > BB_BATCH_VALUES_MAX) {
        return bb_fault_set(fault, BB_ERR_LIMIT, "the batch has %u frames, at most %u values",
                            self->frame_count, BB_BATCH_VALUES_MAX);
    }
    size_t name_count, attribute_count, cost;
    if (!s_count_tables(batch, &name_count, &attribute_count, &cost)) {
        return s_corrupt(fault, "a shape or battery table is past its limit");
    }
    size_t packed_bytes = 8 * size_t{bb::s_count(batch.columns())};
    if (cost > encoded.length || name_count * BB_COLUMN_BYTES_MIN > packed_bytes) {
        return s_corrupt(fault, "tables share bytes, or columns are missing");
    }
    if (!bb::s_is_aligned(s_data(batch.columns()))) {
        return s_corrupt(fault, "a vector is not aligned");
    }
    size_t memory_bytes =
        self->part_count * sizeof *room->parts + self->run_count * sizeof *room->runs +
        self->frame_count * sizeof *room->times_wall_ns +
        self->battery_count * sizeof *room->batteries + self->shape_count * sizeof *room->shapes +
        name_count * sizeof *room->columns + (name_count + self->state_count) * sizeof(bb_slice_t) +
        attribute_count * sizeof(bb_attribute_t);
    uint8_t *memory = static_cast<uint8_t *>(bb_alloc(memory_bytes));
    uint8_t *at = memory;
    room->parts = s_cut<bb_batch_part_t>(&at, self->part_count);
    room->runs = s_cut<bb_batch_run_t>(&at, self->run_count);
    room->times_wall_ns = s_cut<int64_t>(&at, self->frame_count);
    room->batteries = s_cut<bb_batch_battery_t>(&at, self->battery_count);
    room->shapes = s_cut<bb_batch_shape_t>(&at, self->shape_count);
    room->columns = s_cut<bb_column_t>(&at, name_count);
    bb_slice_t *names = s_cut<bb_slice_t>(&at, name_count);
    bb_slice_t *states = s_cut<bb_slice_t>(&at, self->state_count);
    room->battery_ids = bb::s_slice(batch.battery_ids());
    room->packed = bb_slice(s_data(batch.columns()), packed_bytes);
    s_read_shapes(batch, room->shapes, names, room->columns);
    for (uint32_t i = 0; i < self->state_count; i++) {
        states[i] = bb::s_slice(batch.states()->Get(i));
    }
    if (!s_read_attributes(batch, room->batteries, s_cut<bb_attribute_t>(&at, attribute_count))) {
        free(memory);
        return s_corrupt(fault, "attributes of no battery, or not in the order of batteries");
    }
    self->encoded = encoded;
    self->memory = memory;
    self->memory_bytes = memory_bytes;
    self->parts = room->parts;
    self->runs = room->runs;
    self->times_wall_ns = room->times_wall_ns;
    self->batteries = room->batteries;
    self->shapes = room->shapes;
    self->states = states;
    return BB_OK;
}

void bb_batch_flat_write(const bb_batch_t *layout, bb_slice_t packed, uint8_t **out,
                         size_t *out_length)
{
    bb::Allocator allocator;
    size_t id_bytes;
    FlatBufferBuilder builder(s_size_bound(*layout, packed.length, &id_bytes), &allocator, false);
    uint64_t *unused = nullptr;
    auto columns = builder.CreateUninitializedVector<uint64_t>(packed.length / 8, &unused);
    auto ids = s_write_ids(builder, *layout, id_bytes);
    auto *shape_offsets = s_offsets<wire::BatchShape>(layout->shape_count);
    for (uint32_t i = 0; i < layout->shape_count; i++) {
        shape_offsets[i] = s_write_shape(builder, layout->shapes[i]);
    }
    auto shapes = builder.CreateVector(shape_offsets, layout->shape_count);
    auto batteries = s_write_batteries(builder, *layout);
    auto *state_offsets = s_offsets<String>(layout->state_count);
    for (uint32_t i = 0; i < layout->state_count; i++) {
        state_offsets[i] = s_text(builder, layout->states[i]);
    }
    auto states = builder.CreateVector(state_offsets, layout->state_count);
    builder.Finish(wire::CreateBatch(builder, BB_BATCH_VERSION, layout->generation,
                                     layout->revision, layout->part_count, layout->run_count,
                                     layout->frame_count, layout->battery_count, ids, batteries,
                                     shapes, states, columns),
                   "BBBA");
    free(shape_offsets);
    free(state_offsets);
    // The columns were never written in the builder: they are copied once, into the caller's bytes.
    size_t length = builder.GetSize();
    const uint8_t *from = builder.GetBufferPointer();
    uint8_t *to = static_cast<uint8_t *>(bb_alloc(length));
    const uint64_t *vector = flatbuffers::GetRoot<wire::Batch>(from)->columns()->data();
    size_t start = static_cast<size_t>(reinterpret_cast<const uint8_t *>(vector) - from);
    size_t end = start + packed.length;
    memcpy(to, from, start);
    memcpy(to + start, packed.data, packed.length);
    memcpy(to + end, from + end, length - end);
    *out = to;
    *out_length = length;
}

namespace
{

// Differences to the smallest, in as few bytes each as the largest takes.
Offset<Vector<uint8_t>> s_pack_seqs(FlatBufferBuilder &builder, const bb_chunks_t *self,
                                    uint64_t *base, uint8_t *bytes_each)
{
    uint64_t first = bb_chunks_seq(self, 0), last = first;
    for (uint32_t i = 1; i < self->part_count; i++) {
        uint64_t seq = bb_chunks_seq(self, i);
        first = BB_MIN(first, seq);
        last = BB_MAX(last, seq);
    }
    BB_ASSERT(first >= 1);
    uint64_t spread = last - first;
    uint8_t width = spread <= UINT8_MAX    ? 1
                    : spread <= UINT16_MAX ? 2
                    : spread <= UINT32_MAX ? 4
                                           : 8;
    uint8_t *to = nullptr;
    auto offsets = builder.CreateUninitializedVector(size_t{width} * self->part_count, &to);
    for (uint32_t i = 0; i < self->part_count; i++) {
        uint64_t offset = bb_chunks_seq(self, i) - first;
        memcpy(to + size_t{width} * i, &offset, width); // little-endian
    }
    *base = first;
    *bytes_each = width;
    return offsets;
}

} // namespace

void bb_chunks_encode(const bb_chunks_t *self, uint8_t **out, size_t *out_length)
{
    BB_ASSERT(self->part_count >= 1);
    bb::Allocator allocator;
    FlatBufferBuilder builder(256 + 8 * size_t{self->part_count} +
                                  4 * size_t{self->quarantined_count},
                              &allocator, false);
    // First, so that it is what the bytes end with: nothing can be cut off unnoticed.
    auto stream = builder.CreateVector(self->stream.bytes, sizeof self->stream.bytes);
    uint64_t base = 0;
    uint8_t bytes_each = 0;
    auto offsets = s_pack_seqs(builder, self, &base, &bytes_each);
    Offset<Vector<uint32_t>> quarantined;
    if (self->quarantined_count > 0) {
        quarantined = builder.CreateVector(self->quarantined, self->quarantined_count);
    }
    builder.Finish(wire::CreateChunks(builder, S_CHUNKS_VERSION, self->epoch, self->origin_wall_ns,
                                      stream, 0, quarantined, base, bytes_each, offsets),
                   "BBCH");
    bb::s_copy_out(builder, out, out_length);
}

namespace
{

// Version 1.
bb_error_t s_plain_seqs(bb_chunks_t *self, const wire::Chunks &chunks, bb_fault_t *fault)
{
    self->part_count = bb::s_count(chunks.seqs());
    if (self->part_count == 0 || !bb::s_is_aligned(chunks.seqs()->data())) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: seqs missing or not aligned");
    }
    self->seqs = chunks.seqs()->data();
    for (uint32_t i = 0; i < self->part_count; i++) {
        if (self->seqs[i] == 0) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: seq %u is zero", i);
        }
    }
    return BB_OK;
}

bb_error_t s_packed_seqs(bb_chunks_t *self, const wire::Chunks &chunks, bb_fault_t *fault)
{
    uint32_t width = chunks.seq_bytes(), length = bb::s_count(chunks.seq_offsets());
    if ((width != 1 && width != 2 && width != 4 && width != 8) || length == 0 ||
        length % width != 0 || chunks.seqs()) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                            "chunks: %u bytes of seqs, %u each, or twice", length, width);
    }
    self->part_count = length / width;
    self->seq_base = chunks.seq_base();
    self->seq_bytes = width;
    self->seq_offsets = chunks.seq_offsets()->data();
    for (uint32_t i = 0; i < self->part_count; i++) {
        uint64_t seq = bb_chunks_seq(self, i);
        if (seq == 0 || seq < self->seq_base) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "chunks: seq %u is zero or past the largest number", i);
        }
    }
    return BB_OK;
}

} // namespace

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
    if (chunks.version() < 1 || chunks.version() > S_CHUNKS_VERSION) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "chunks: version %u, expected 1 to %u",
                            chunks.version(), S_CHUNKS_VERSION);
    }
    if (bb::s_count(chunks.stream()) != sizeof self->stream.bytes) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "chunks: no stream");
    }
    bb_chunks_t found = {};
    bb_error_t error = chunks.version() == 1 ? s_plain_seqs(&found, chunks, fault)
                                             : s_packed_seqs(&found, chunks, fault);
    if (error != BB_OK) {
        return error;
    }
    uint32_t quarantined_count = bb::s_count(chunks.quarantined());
    const uint32_t *quarantined = s_data(chunks.quarantined());
    for (uint32_t i = 1; i < quarantined_count; i++) {
        if (quarantined[i] <= quarantined[i - 1]) {
            return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT,
                                "chunks: quarantined frames are not ascending");
        }
    }
    memcpy(found.stream.bytes, chunks.stream()->data(), sizeof found.stream.bytes);
    found.epoch = chunks.epoch();
    found.origin_wall_ns = chunks.origin_wall_ns();
    found.quarantined_count = quarantined_count;
    found.quarantined = quarantined;
    *self = found;
    return BB_OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_message.h"
#include "protocol/bb_message_flat.h"
#include "protocol/message_generated.h"

namespace wire = bb::wire;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

namespace
{

typedef Offset<flatbuffers::String> text_t;
typedef Offset<void> body_t;

template <class T> struct s_table_list {
    explicit s_table_list(uint32_t count)
        : offsets(static_cast<Offset<T> *>(bb_alloc(count * sizeof(Offset<T>)))), size(count)
    {
    }
    ~s_table_list()
    {
        free(offsets);
    }
    s_table_list(const s_table_list &) = delete;
    s_table_list &operator=(const s_table_list &) = delete;

    Offset<flatbuffers::Vector<Offset<T>>> finish(FlatBufferBuilder &fbb) const
    {
        return size ? fbb.CreateVector(offsets, size) : Offset<flatbuffers::Vector<Offset<T>>>();
    }

    Offset<T> *offsets;
    uint32_t size;
};

// Empty texts and vectors are left out: the decoder reads an absent field as empty.
text_t s_text(FlatBufferBuilder &fbb, bb_slice_t text, size_t bytes_max)
{
    BB_ASSERT(text.length <= bytes_max);
    return text.length ? fbb.CreateString(static_cast<const char *>(text.data), text.length)
                       : text_t();
}

// For texts that only people read: too long a one loses its end, at a UTF-8 boundary.
text_t s_text_cut(FlatBufferBuilder &fbb, bb_slice_t text)
{
    const uint8_t *bytes = static_cast<const uint8_t *>(text.data);
    if (text.length > BB_MESSAGE_TEXT_BYTES_MAX) {
        text.length = BB_MESSAGE_TEXT_BYTES_MAX;
        while (text.length > 0 && (bytes[text.length] & 0xc0) == 0x80) {
            text.length--;
        }
    }
    return s_text(fbb, text, BB_MESSAGE_TEXT_BYTES_MAX);
}

Offset<flatbuffers::Vector<uint8_t>> s_bytes(FlatBufferBuilder &fbb, bb_slice_t bytes)
{
    return bytes.length ? fbb.CreateVector(static_cast<const uint8_t *>(bytes.data), bytes.length)
                        : Offset<flatbuffers::Vector<uint8_t>>();
}

Offset<flatbuffers::Vector<uint8_t>> s_session(FlatBufferBuilder &fbb, bb_slice_t session)
{
    BB_ASSERT(session.length <= BB_SESSION_TOKEN_BYTES_MAX);
    return s_bytes(fbb, session);
}

template <class S, size_t N> S s_fixed(const uint8_t (&bytes)[N])
{
    static_assert(sizeof(S) == N, "a wire struct of plain bytes");
    S fixed;
    memcpy(static_cast<void *>(&fixed), bytes, N);
    return fixed;
}

void s_assert_level(bb_level_t level)
{
    BB_ASSERT(level >= BB_LEVEL_ONE && level <= BB_LEVEL_ALL);
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_hello_t &self)
{
    return wire::CreateHello(fbb, s_text_cut(fbb, self.client_name), self.only_routes).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_hello_reply_t &self)
{
    BB_ASSERT(self.node_count >= 1 && self.node_count <= BB_NODES_MAX);
    BB_ASSERT(self.partition_count >= 1 && self.partition_count <= BB_PARTITIONS_MAX);
    BB_ASSERT(self.replica_stride >= 1 && self.replica_stride <= BB_REPLICAS_MAX);
    s_table_list<wire::HelloNode> nodes(self.node_count);
    for (uint32_t i = 0; i < self.node_count; i++) {
        const bb_hello_node_t &node = self.nodes[i];
        text_t id = s_text(fbb, node.id, BB_NODE_ID_BYTES_MAX);
        text_t dc = s_text(fbb, node.dc, BB_NODE_ID_BYTES_MAX);
        text_t rack = s_text(fbb, node.rack, BB_NODE_ID_BYTES_MAX);
        text_t endpoint = s_text(fbb, node.client_endpoint, BB_ENDPOINT_BYTES_MAX);
        wire::Bytes32 key = s_fixed<wire::Bytes32>(node.public_key);
        nodes.offsets[i] = wire::CreateHelloNode(fbb, id, dc, rack, endpoint, &key, node.weight);
    }
    auto node_list = nodes.finish(fbb);
    auto replicas =
        fbb.CreateVector(self.replicas, size_t{self.partition_count} * self.replica_stride);
    text_t cluster = s_text(fbb, self.cluster_name, BB_NODE_ID_BYTES_MAX);
    text_t node_id = s_text(fbb, self.node_id, BB_NODE_ID_BYTES_MAX);
    wire::Bytes16 cluster_id = s_fixed<wire::Bytes16>(self.cluster_id);
    wire::Bytes16 placement_key = s_fixed<wire::Bytes16>(self.placement_key);
    return wire::CreateHelloReply(fbb, cluster, &cluster_id, node_id, self.partition_count,
                                  &placement_key, node_list, self.replica_stride, replicas,
                                  static_cast<uint8_t>(self.default_write_level),
                                  static_cast<uint8_t>(self.default_read_level))
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_write_t &self)
{
    s_assert_level(self.level);
    return wire::CreateWrite(fbb, static_cast<uint8_t>(self.level), self.wants_session,
                             self.deletes)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_write_reply_t &self)
{
    BB_ASSERT(self.rejection_count <= BB_REJECTIONS_MAX);
    s_table_list<wire::Rejection> list(self.rejection_count);
    for (uint32_t i = 0; i < self.rejection_count; i++) {
        const bb_rejection_t &rejection = self.rejections[i];
        text_t metric = s_text(fbb, rejection.metric, BB_METRIC_NAME_BYTES_MAX);
        text_t detail = s_text_cut(fbb, rejection.detail);
        list.offsets[i] = wire::CreateRejection(fbb, rejection.frame, metric,
                                                static_cast<int32_t>(rejection.error), detail);
    }
    auto rejections = list.finish(fbb);
    auto session = s_session(fbb, self.session);
    return wire::CreateWriteReply(fbb, self.acked_points, self.rejected_points,
                                  self.quarantined_points, self.acked_frames, self.rejected_frames,
                                  rejections, session)
        .Union();
}

Offset<flatbuffers::Vector<text_t>> s_texts(FlatBufferBuilder &fbb, const bb_slice_t *texts,
                                            uint32_t count, size_t bytes_max)
{
    s_table_list<flatbuffers::String> list(count);
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT(texts[i].length >= 1);
        list.offsets[i] = s_text(fbb, texts[i], bytes_max);
    }
    return list.finish(fbb);
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_query_t &self)
{
    BB_ASSERT(bb_query_check(&self, nullptr) == BB_OK);
    auto partitions = self.partition_count ? fbb.CreateVector(self.partitions, self.partition_count)
                                           : Offset<flatbuffers::Vector<uint32_t>>();
    auto batteries = s_texts(fbb, self.batteries, self.battery_count, BB_BATTERY_ID_BYTES_MAX);
    auto metrics = s_texts(fbb, self.metrics, self.metric_count, BB_METRIC_NAME_BYTES_MAX);
    auto cursor = s_bytes(fbb, self.cursor);
    auto rollup = self.rollup.length ? s_text(fbb, self.rollup, BB_NODE_ID_BYTES_MAX) : text_t();
    auto session = s_session(fbb, self.session);
    return wire::CreateQuery(fbb, static_cast<uint8_t>(self.mode), static_cast<uint8_t>(self.level),
                             self.from_wall_ns, self.to_wall_ns, self.every_ns, self.aggregates,
                             self.group_by_none, partitions, batteries, metrics, self.row_limit,
                             self.page_bytes_max, cursor, static_cast<uint8_t>(self.compare),
                             self.threshold, self.accepts_rows, rollup, session, self.wants_session,
                             self.is_hedge)
        .Union();
}

static_assert(sizeof(wire::Missing) == sizeof(bb_missing_t), "mirrors bb_missing_t");
static_assert(sizeof(bb_error_t) == 4, "an error is four bytes in bb_missing_t");
static_assert(sizeof(wire::DotRange) == sizeof(bb_dot_range_t), "mirrors bb_dot_range_t");
static_assert(sizeof(wire::AckBatch) == sizeof(bb_ack_batch_t), "mirrors bb_ack_batch_t");

body_t s_encode(FlatBufferBuilder &fbb, const bb_result_t &self)
{
    BB_ASSERT(self.missing_count <= BB_PARTITIONS_MAX);
    BB_ASSERT(self.cursor.length <= BB_CURSOR_BYTES_MAX);
    auto missing =
        self.missing_count
            ? fbb.CreateVectorOfStructs(reinterpret_cast<const wire::Missing *>(self.missing),
                                        self.missing_count)
            : Offset<flatbuffers::Vector<const wire::Missing *>>();
    auto cursor = s_bytes(fbb, self.cursor);
    auto session = s_session(fbb, self.session);
    return wire::CreateResult(fbb, missing, cursor, self.damaged_window_count, session).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_status_reply_t &self)
{
    BB_ASSERT(self.node_count <= BB_NODES_MAX);
    s_table_list<wire::StatusNode> list(self.node_count);
    for (uint32_t i = 0; i < self.node_count; i++) {
        const bb_status_node_t &node = self.nodes[i];
        text_t id = s_text(fbb, node.node_id, BB_NODE_ID_BYTES_MAX);
        text_t dc = s_text(fbb, node.dc, BB_NODE_ID_BYTES_MAX);
        list.offsets[i] =
            wire::CreateStatusNode(fbb, id, dc, node.up, node.is_self, node.lag_chunks,
                                   node.dc_lag_chunks, node.dc_lag_ns, node.is_slow);
    }
    auto nodes = list.finish(fbb);
    text_t cluster = s_text(fbb, self.cluster_name, BB_NODE_ID_BYTES_MAX);
    text_t node_id = s_text(fbb, self.node_id, BB_NODE_ID_BYTES_MAX);
    text_t version = s_text_cut(fbb, self.version);
    return wire::CreateStatusReply(fbb, cluster, node_id, version, self.ready, self.draining,
                                   self.partition_count, self.under_replicated, self.uptime_ns,
                                   self.points_total, self.batteries_total, self.head_bytes,
                                   self.journal_bytes, self.segment_bytes, self.segment_points,
                                   self.unsealed_chunks, self.untrimmed_chunks, self.runs_to_merge,
                                   self.quarantined_points, nodes, self.damage_count,
                                   static_cast<uint8_t>(self.standing), self.boot,
                                   static_cast<uint8_t>(self.default_write_level),
                                   static_cast<uint8_t>(self.default_read_level), self.unequal,
                                   self.streams, self.streams_dead)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_settle_reply_t &self)
{
    return wire::CreateSettleReply(fbb, self.sealed, self.merged, self.trimmed).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_release_t &self)
{
    s_assert_level(self.level);
    BB_ASSERT(self.battery_count <= BB_BATCH_BATTERIES_MAX);
    auto batteries = s_texts(fbb, self.batteries, self.battery_count, BB_BATTERY_ID_BYTES_MAX);
    return wire::CreateRelease(fbb, batteries, static_cast<uint8_t>(self.level)).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_release_reply_t &self)
{
    return wire::CreateReleaseReply(fbb, self.released_points).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_scrub_request_t &self)
{
    return wire::CreateScrub(fbb, self.start, self.rate_bytes_per_s).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_scrub_reply_t &self)
{
    BB_ASSERT(self.damage_line_count <= BB_DAMAGE_LINES_MAX);
    BB_ASSERT(self.oldest_age_ns >= 0);
    auto lines = s_texts(fbb, self.damage_lines, self.damage_line_count, BB_MESSAGE_TEXT_BYTES_MAX);
    return wire::CreateScrubReply(fbb, self.is_running, self.windows_left, self.findings,
                                  self.bytes_total, self.findings_total, self.oldest_age_ns,
                                  self.barred_count, self.damage_count, lines)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_error_reply_t &self)
{
    text_t detail = s_text_cut(fbb, self.detail);
    return wire::CreateErrorReply(fbb, static_cast<int32_t>(self.code), detail, self.retry_after_ms)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_heartbeat_t &self)
{
    BB_ASSERT(self.store_count >= 1 && self.store_count <= BB_STORES_MAX);
    wire::Bytes16 incarnation = s_fixed<wire::Bytes16>(self.incarnation.bytes);
    wire::Bytes16 cluster_id = s_fixed<wire::Bytes16>(self.cluster_id);
    return wire::CreateHeartbeat(fbb, &incarnation, self.wall_ns, &cluster_id, self.ready,
                                 self.draining, self.store_count, self.registry_digest,
                                 static_cast<uint8_t>(self.standing), self.boot,
                                 self.sync_latency_us, self.have_mark)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_routes_message_t &self)
{
    BB_ASSERT(self.slow_count <= BB_NODES_MAX);
    auto slow = self.slow_count ? fbb.CreateVector(self.slow, self.slow_count)
                                : Offset<flatbuffers::Vector<uint16_t>>();
    return wire::CreateRoutes(fbb, slow).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_replicate_t &self)
{
    BB_ASSERT(self.forward_count <= BB_NODES_MAX);
    auto forward = fbb.CreateVector(self.forward, self.forward_count);
    return wire::CreateReplicate(fbb, forward).Union();
}

wire::Lane s_lane(const bb_lane_t &self)
{
    BB_ASSERT(self.count <= BB_LANES_MAX);
    BB_ASSERT(self.index < self.count);
    return wire::Lane(self.count, self.index);
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_replicate_ack_t &self)
{
    auto ranges = self.range_count
                      ? fbb.CreateVectorOfStructs(
                            reinterpret_cast<const wire::DotRange *>(self.ranges), self.range_count)
                      : Offset<flatbuffers::Vector<const wire::DotRange *>>();
    wire::Bytes16 stream = s_fixed<wire::Bytes16>(self.stream.bytes);
    wire::Bytes16 incarnation = s_fixed<wire::Bytes16>(self.incarnation.bytes);
    if (self.batch_count == 0) {
        return wire::CreateReplicateAck(fbb, &stream, &incarnation, ranges).Union();
    }
    auto batches = fbb.CreateVectorOfStructs(reinterpret_cast<const wire::AckBatch *>(self.batches),
                                             self.batch_count);
    wire::Lane lane = s_lane(self.lane);
    return wire::CreateReplicateAck(fbb, &stream, &incarnation, ranges, batches, &lane).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_have_request_t &self)
{
    wire::Lane lane = s_lane(self.lane);
    wire::Bytes16 incarnation = s_fixed<wire::Bytes16>(self.incarnation.bytes);
    return wire::CreateHaveRequest(fbb, &incarnation, self.since_version, &lane, self.takes_tails)
        .Union();
}

Offset<flatbuffers::Vector<Offset<wire::HaveEntry>>>
s_entries(FlatBufferBuilder &fbb, const bb_have_entry_t *entries, uint32_t count)
{
    BB_ASSERT(count <= BB_PARTITIONS_MAX);
    s_table_list<wire::HaveEntry> list(count);
    for (uint32_t i = 0; i < count; i++) {
        BB_ASSERT(entries[i].partition < BB_PARTITIONS_MAX);
        auto have = s_bytes(fbb, entries[i].have);
        list.offsets[i] = wire::CreateHaveEntry(fbb, entries[i].partition, have);
    }
    return list.finish(fbb);
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_have_t &self)
{
    wire::Lane lane = s_lane(self.lane);
    auto entries = s_entries(fbb, self.entries, self.entry_count);
    wire::Bytes16 incarnation = s_fixed<wire::Bytes16>(self.incarnation.bytes);
    // Left out when empty, so that a report without tails is what it was before there were any.
    bool has_tails = self.tails.length > 0;
    auto streams =
        has_tails ? s_bytes(fbb, self.tail_streams) : Offset<flatbuffers::Vector<uint8_t>>();
    auto tails = has_tails ? s_bytes(fbb, self.tails) : Offset<flatbuffers::Vector<uint8_t>>();
    return wire::CreateHave(fbb, &incarnation, self.version, self.since_version, self.is_last,
                            &lane, entries, streams, tails, self.sealed_below)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_pull_t &self)
{
    wire::Lane lane = s_lane(self.lane);
    auto entries = s_entries(fbb, self.entries, self.entry_count);
    static_assert(sizeof(bb_forgotten_floor_t) == 2 * sizeof(uint32_t), "pairs");
    // Left out when nothing is forgotten.
    auto forgotten = self.forgotten_count
                         ? fbb.CreateVector(&self.forgotten->node_hash, 2 * self.forgotten_count)
                         : Offset<flatbuffers::Vector<uint32_t>>();
    return wire::CreatePull(fbb, self.budget_bytes, &lane, entries, forgotten).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_watched_t &self)
{
    wire::Lane lane = s_lane(self.lane);
    auto entries = s_entries(fbb, self.entries, self.entry_count);
    return wire::CreateWatched(fbb, &lane, entries).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_pull_done_t &self)
{
    wire::Lane lane = s_lane(self.lane);
    BB_ASSERT(self.unavailable_count <= BB_PARTITIONS_MAX);
    auto unavailable = self.unavailable_count
                           ? fbb.CreateVector(self.unavailable, self.unavailable_count)
                           : Offset<flatbuffers::Vector<uint32_t>>();
    return wire::CreatePullDone(fbb, self.more, &lane, self.chunk_count, unavailable).Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_registry_message_t &self)
{
    BB_ASSERT(self.entry_count <= BB_REGISTRY_MESSAGE_MAX);
    BB_ASSERT(self.bucket_count == 0 || self.bucket_count == BB_REGISTRY_BUCKETS);
    s_table_list<wire::RegistryEntry> list(self.entry_count);
    for (uint32_t i = 0; i < self.entry_count; i++) {
        const bb_registry_entry_t &entry = self.entries[i];
        BB_ASSERT(bb_registry_entry_is_valid(&entry));
        auto key = s_bytes(fbb, entry.key);
        auto payload = s_bytes(fbb, entry.payload);
        list.offsets[i] = wire::CreateRegistryEntry(fbb, static_cast<uint8_t>(entry.kind), key,
                                                    entry.number, payload);
    }
    auto entries = list.finish(fbb);
    auto buckets = self.bucket_count ? fbb.CreateVector(self.buckets, self.bucket_count)
                                     : Offset<flatbuffers::Vector<uint64_t>>();
    return wire::CreateRegistry(fbb, self.is_put, buckets, entries).Union();
}

static_assert(sizeof(wire::SyncLeaf) == sizeof(bb_sync_leaf_t), "copied as they lie");
static_assert(sizeof(wire::SyncWindow) == sizeof(bb_sync_window_t), "copied as they lie");

Offset<flatbuffers::Vector<const wire::SyncLeaf *>>
s_leaves(FlatBufferBuilder &fbb, const bb_sync_leaf_t *leaves, uint32_t count)
{
    BB_ASSERT(count <= BB_SYNC_LEAVES_MAX);
    return count
               ? fbb.CreateVectorOfStructs(reinterpret_cast<const wire::SyncLeaf *>(leaves), count)
               : Offset<flatbuffers::Vector<const wire::SyncLeaf *>>();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_sync_question_t &self)
{
    wire::SyncWindow window(self.topic.window.kind, self.topic.window.day);
    wire::Bytes32 buckets = s_fixed<wire::Bytes32>(self.buckets);
    auto leaves = s_leaves(fbb, self.leaves, self.leaf_count);
    auto battery = s_text(fbb, self.battery_first, BB_BATTERY_ID_BYTES_MAX);
    return wire::CreateSyncAsk(fbb, static_cast<uint8_t>(self.topic.step), self.topic.partition,
                               &window, &buckets, leaves, battery, self.from_wall_ns)
        .Union();
}

body_t s_encode(FlatBufferBuilder &fbb, const bb_sync_answer_t &self)
{
    BB_ASSERT(self.window_count <= BB_SYNC_WINDOWS_MAX);
    BB_ASSERT(self.batch_count <= BB_SYNC_PIECES_MAX && self.pair_count <= BB_SYNC_PIECES_MAX);
    wire::SyncWindow window(self.topic.window.kind, self.topic.window.day);
    wire::Bytes16 incarnation = s_fixed<wire::Bytes16>(self.incarnation.bytes);
    auto windows =
        self.window_count
            ? fbb.CreateVectorOfStructs(reinterpret_cast<const wire::SyncWindow *>(self.windows),
                                        self.window_count)
            : Offset<flatbuffers::Vector<const wire::SyncWindow *>>();
    auto leaves = s_leaves(fbb, self.leaves, self.leaf_count);
    s_table_list<wire::SyncBatch> batch_list(self.batch_count);
    for (uint32_t i = 0; i < self.batch_count; i++) {
        auto bytes = s_bytes(fbb, self.batches[i]);
        batch_list.offsets[i] = wire::CreateSyncBatch(fbb, bytes);
    }
    s_table_list<wire::SyncPair> pair_list(self.pair_count);
    for (uint32_t i = 0; i < self.pair_count; i++) {
        auto id = s_text(fbb, self.pairs[i].id, BB_BATTERY_ID_BYTES_MAX);
        auto packed = s_bytes(fbb, self.pairs[i].packed);
        pair_list.offsets[i] = wire::CreateSyncPair(fbb, id, packed);
    }
    auto batches = batch_list.finish(fbb);
    auto pairs = pair_list.finish(fbb);
    auto next = s_text(fbb, self.battery_next, BB_BATTERY_ID_BYTES_MAX);
    return wire::CreateSyncAnswer(fbb, static_cast<uint8_t>(self.topic.step), self.topic.partition,
                                  &window, &incarnation, self.error, windows, leaves, batches,
                                  pairs, self.has_more, next, self.from_next_wall_ns)
        .Union();
}

body_t s_encode_body(FlatBufferBuilder &fbb, const bb_message_t &self, wire::Body *type)
{
    switch (self.kind) {
#define S_KIND(kind, member, table)                                                                \
    case BB_KIND_##kind:                                                                           \
        *type = wire::BodyTraits<wire::table>::enum_value;                                         \
        return s_encode(fbb, self.member);
        S_KIND(HELLO, hello, Hello)
        S_KIND(HELLO_REPLY, hello_reply, HelloReply)
        S_KIND(WRITE, write, Write)
        S_KIND(WRITE_REPLY, write_reply, WriteReply)
        S_KIND(QUERY, query, Query)
        S_KIND(RESULT, result, Result)
        S_KIND(STATUS_REPLY, status_reply, StatusReply)
        S_KIND(SETTLE_REPLY, settle_reply, SettleReply)
        S_KIND(RELEASE, release, Release)
        S_KIND(RELEASE_REPLY, release_reply, ReleaseReply)
        S_KIND(SCRUB, scrub, Scrub)
        S_KIND(SCRUB_REPLY, scrub_reply, ScrubReply)
        S_KIND(ERROR, error, ErrorReply)
        S_KIND(ROUTES, routes, Routes)
        S_KIND(HEARTBEAT, heartbeat, Heartbeat)
        S_KIND(REPLICATE_ACK, replicate_ack, ReplicateAck)
        S_KIND(HAVE_REQUEST, have_request, HaveRequest)
        S_KIND(HAVE, have, Have)
        S_KIND(PULL, pull, Pull)
        S_KIND(PULL_DONE, pull_done, PullDone)
        S_KIND(REGISTRY, registry, Registry)
        S_KIND(SYNC_ASK, sync_ask, SyncAsk)
        S_KIND(SYNC_ANSWER, sync_answer, SyncAnswer)
        S_KIND(WATCHED, watched, Watched)
#undef S_KIND
    case BB_KIND_REPLICATE:
        if (self.replicate.forward_count == 0) {
            return 0; // as it was before there was a body
        }
        *type = wire::BodyTraits<wire::Replicate>::enum_value;
        return s_encode(fbb, self.replicate);
    case BB_KIND_STATUS:
    case BB_KIND_SETTLE:
        return 0;
    }
    BB_ASSERT(!"a known kind");
    return 0;
}

} // namespace

extern "C" void bb_message_encode(const bb_message_t *self, uint8_t **out, size_t *out_length)
{
    BB_ASSERT(self);
    BB_ASSERT(out);
    BB_ASSERT(out_length);
    BB_ASSERT(self->timeout_ns >= 0);
    bb::Allocator allocator;
    FlatBufferBuilder fbb(512, &allocator);
    wire::Body type = static_cast<wire::Body>(0);
    body_t body = s_encode_body(fbb, *self, &type);
    auto envelope = wire::CreateEnvelope(fbb, BB_WIRE_VERSION, static_cast<wire::Kind>(self->kind),
                                         self->epoch, self->request_id, self->trace_id,
                                         BB_MIN(self->timeout_ns, BB_DEADLINE_NS_MAX), type, body,
                                         self->credit_bytes);
    wire::FinishEnvelopeBuffer(fbb, envelope);
    bb::s_copy_out(fbb, out, out_length);
    BB_ASSERT(*out_length <= BB_MESSAGE_BYTES_MAX);
}

// SPDX-License-Identifier: Apache-2.0
// The verifier proves that reading is safe; everything after it in this file proves meaning:
// alignment of 8-byte vectors, the body that belongs to the kind, limits, enum ranges, error
// numbers. Nothing is copied but tables of slices.
#include "protocol/bb_message.h"
#include "protocol/bb_message_flat.h"
#include "protocol/message_generated.h"

namespace wire = bb::wire;
using flatbuffers::String;
using flatbuffers::Vector;

namespace
{

bb_error_t s_corrupt(bb_fault_t *fault, const char *field, const char *rule)
{
    return bb_fault_set(fault, BB_ERR_MESSAGE_CORRUPT, "%s: %s", field, rule);
}

#define S_REQUIRE(condition, field, rule)                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return s_corrupt(fault, field, rule);                                                  \
        }                                                                                          \
    } while (0)

bool s_text(const String *text, size_t bytes_min, size_t bytes_max, bb_slice_t *out)
{
    *out = bb::s_slice(text);
    return out->length >= bytes_min && out->length <= bytes_max;
}

template <class S, size_t N> bool s_fixed(const S *fixed, uint8_t (&out)[N])
{
    static_assert(sizeof(S) == N, "a wire struct of plain bytes");
    if (!fixed) {
        return false;
    }
    memcpy(out, fixed, N);
    return true;
}

bool s_level_is_valid(uint32_t level)
{
    return level >= BB_LEVEL_ONE && level <= BB_LEVEL_ALL;
}

// The level of requests that name none; a node that does not tell means local_quorum.
bool s_default_level(uint32_t level, bb_level_t &out)
{
    bool is_told = s_level_is_valid(level);
    out = is_told ? static_cast<bb_level_t>(level) : BB_LEVEL_LOCAL_QUORUM;
    return is_told || level == 0;
}

// A table of `count` zeroed T, owned by the message.
template <class T> T *s_own(bb_message_t *self, uint32_t count)
{
    if (count == 0) {
        return nullptr;
    }
    T *table = static_cast<T *>(bb_alloc_zero(count, sizeof(T)));
    self->memory = table;
    return table;
}

bool s_texts(const Vector<flatbuffers::Offset<String>> *texts, size_t bytes_max, bb_slice_t *out)
{
    uint32_t count = bb::s_count(texts);
    for (uint32_t i = 0; i < count; i++) {
        if (!s_text(texts->Get(i), 1, bytes_max, &out[i])) {
            return false;
        }
    }
    return true;
}

bb_error_t s_decode(bb_message_t *self, const wire::Hello &from, bb_fault_t *fault)
{
    S_REQUIRE(s_text(from.client_name(), 0, BB_MESSAGE_TEXT_BYTES_MAX, &self->hello.client_name),
              "hello.client_name", "too long");
    self->hello.only_routes = from.only_routes();
    return BB_OK;
}

bb_error_t s_decode_nodes(bb_message_t *self, const wire::HelloReply &from, bb_fault_t *fault)
{
    bb_hello_reply_t &to = self->hello_reply;
    to.node_count = bb::s_count(from.nodes());
    S_REQUIRE(to.node_count >= 1 && to.node_count <= BB_NODES_MAX, "hello_reply.nodes",
              "1 to 256 are allowed");
    bb_hello_node_t *nodes = s_own<bb_hello_node_t>(self, to.node_count);
    for (uint32_t i = 0; i < to.node_count; i++) {
        const wire::HelloNode &node = *from.nodes()->Get(i);
        S_REQUIRE(
            s_text(node.id(), 1, BB_NODE_ID_BYTES_MAX, &nodes[i].id) &&
                s_text(node.dc(), 1, BB_NODE_ID_BYTES_MAX, &nodes[i].dc) &&
                s_text(node.rack(), 0, BB_NODE_ID_BYTES_MAX, &nodes[i].rack) &&
                s_text(node.client_endpoint(), 1, BB_ENDPOINT_BYTES_MAX, &nodes[i].client_endpoint),
            "hello_reply.nodes", "a text is missing or too long");
        S_REQUIRE(s_fixed(node.public_key(), nodes[i].public_key), "hello_reply.nodes.public_key",
                  "missing");
        nodes[i].weight = node.weight();
    }
    to.nodes = nodes;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::HelloReply &from, bb_fault_t *fault)
{
    bb_hello_reply_t &to = self->hello_reply;
    S_REQUIRE(s_text(from.cluster_name(), 1, BB_NODE_ID_BYTES_MAX, &to.cluster_name),
              "hello_reply.cluster_name", "missing or too long");
    S_REQUIRE(s_text(from.node_id(), 1, BB_NODE_ID_BYTES_MAX, &to.node_id), "hello_reply.node_id",
              "missing or too long");
    S_REQUIRE(s_fixed(from.cluster_id(), to.cluster_id), "hello_reply.cluster_id", "missing");
    S_REQUIRE(s_fixed(from.placement_key(), to.placement_key), "hello_reply.placement_key",
              "missing");
    to.partition_count = from.partition_count();
    S_REQUIRE(to.partition_count >= 1 && to.partition_count <= BB_PARTITIONS_MAX &&
                  (to.partition_count & (to.partition_count - 1)) == 0,
              "hello_reply.partition_count", "not a power of two within the limit");
    S_REQUIRE(s_default_level(from.default_write_level(), to.default_write_level) &&
                  s_default_level(from.default_read_level(), to.default_read_level),
              "hello_reply.default_level", "unknown");
    to.replica_stride = from.replica_stride();
    S_REQUIRE(to.replica_stride >= 1 && to.replica_stride <= BB_REPLICAS_MAX,
              "hello_reply.replica_stride", "1 to 16 are allowed");
    bb_error_t error = s_decode_nodes(self, from, fault);
    if (error != BB_OK) {
        return error;
    }
    uint32_t count = bb::s_count(from.replicas());
    S_REQUIRE(count == to.partition_count * to.replica_stride, "hello_reply.replicas",
              "length is not partitions x stride");
    to.replicas = from.replicas()->data();
    for (uint32_t i = 0; i < count; i++) {
        S_REQUIRE(to.replicas[i] == UINT16_MAX || to.replicas[i] < to.node_count,
                  "hello_reply.replicas", "a node index is out of range");
    }
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Write &from, bb_fault_t *fault)
{
    S_REQUIRE(s_level_is_valid(from.level()), "write.level", "unknown");
    self->write.level = static_cast<bb_level_t>(from.level());
    self->write.wants_session = from.wants_session();
    self->write.deletes = from.deletes();
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::WriteReply &from, bb_fault_t *fault)
{
    bb_write_reply_t &to = self->write_reply;
    to.acked_points = from.acked_points();
    to.rejected_points = from.rejected_points();
    to.quarantined_points = from.quarantined_points();
    to.acked_frames = from.acked_frames();
    to.rejected_frames = from.rejected_frames();
    to.rejection_count = bb::s_count(from.rejections());
    S_REQUIRE(to.rejection_count <= BB_REJECTIONS_MAX, "write_reply.rejections", "too many");
    bb_rejection_t *rejections = s_own<bb_rejection_t>(self, to.rejection_count);
    for (uint32_t i = 0; i < to.rejection_count; i++) {
        const wire::Rejection &rejection = *from.rejections()->Get(i);
        rejections[i].frame = rejection.frame();
        S_REQUIRE(bb_error_is_known(rejection.error()), "write_reply.rejections.error", "unknown");
        rejections[i].error = static_cast<bb_error_t>(rejection.error());
        S_REQUIRE(
            s_text(rejection.metric(), 0, BB_METRIC_NAME_BYTES_MAX, &rejections[i].metric) &&
                s_text(rejection.detail(), 0, BB_MESSAGE_TEXT_BYTES_MAX, &rejections[i].detail),
            "write_reply.rejections", "a text is too long");
    }
    to.rejections = rejections;
    to.session = bb::s_slice(from.session());
    S_REQUIRE(to.session.length <= BB_SESSION_TOKEN_BYTES_MAX, "write_reply.session", "too long");
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Query &from, bb_fault_t *fault)
{
    bb_query_t &to = self->query;
    S_REQUIRE(from.mode() >= BB_QUERY_RAW && from.mode() <= BB_QUERY_GENERATIONS, "query.mode",
              "unknown");
    S_REQUIRE(s_level_is_valid(from.level()), "query.level", "unknown");
    to.mode = static_cast<bb_query_mode_t>(from.mode());
    to.level = static_cast<bb_level_t>(from.level());
    to.from_wall_ns = from.from_wall_ns();
    to.to_wall_ns = from.to_wall_ns();
    to.every_ns = from.every_ns();
    to.aggregates = from.aggregates();
    to.group_by_none = from.group_by_none();
    to.row_limit = from.row_limit();
    to.page_bytes_max = from.page_bytes_max();
    to.cursor = bb::s_slice(from.cursor());
    S_REQUIRE(from.compare() <= BB_COMPARE_ABOVE, "query.compare", "unknown");
    to.compare = static_cast<bb_compare_t>(from.compare());
    to.threshold = from.threshold();
    to.accepts_rows = from.accepts_rows();
    to.session = bb::s_slice(from.session());
    S_REQUIRE(to.session.length <= BB_SESSION_TOKEN_BYTES_MAX, "query.session", "too long");
    to.wants_session = from.wants_session();
    to.is_hedge = from.is_hedge();
    S_REQUIRE(s_text(from.rollup(), 0, BB_NODE_ID_BYTES_MAX, &to.rollup), "query.rollup",
              "the name is too long");
    to.partition_count = bb::s_count(from.partitions());
    to.partitions = to.partition_count ? from.partitions()->data() : nullptr;
    to.battery_count = bb::s_count(from.batteries());
    to.metric_count = bb::s_count(from.metrics());
    S_REQUIRE(to.battery_count <= BB_BATCH_BATTERIES_MAX &&
                  to.metric_count <= BB_BATCH_BATTERIES_MAX,
              "query", "too many batteries or metrics");
    bb_slice_t *texts = s_own<bb_slice_t>(self, to.battery_count + to.metric_count);
    S_REQUIRE(s_texts(from.batteries(), BB_BATTERY_ID_BYTES_MAX, texts), "query.batteries",
              "an id is empty or too long");
    to.batteries = to.battery_count ? texts : nullptr;
    bb_slice_t *metrics = to.metric_count ? texts + to.battery_count : nullptr;
    S_REQUIRE(s_texts(from.metrics(), BB_METRIC_NAME_BYTES_MAX, metrics), "query.metrics",
              "a name is empty or too long");
    to.metrics = metrics;
    if (bb_query_check(&to, fault) != BB_OK) {
        if (fault) {
            fault->error = BB_ERR_MESSAGE_CORRUPT; // the sender should have checked
        }
        return BB_ERR_MESSAGE_CORRUPT;
    }
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Result &from, bb_fault_t *fault)
{
    bb_result_t &to = self->result;
    to.cursor = bb::s_slice(from.cursor());
    S_REQUIRE(to.cursor.length <= BB_CURSOR_BYTES_MAX, "result.cursor", "too long");
    to.damaged_window_count = from.damaged_window_count();
    to.session = bb::s_slice(from.session());
    S_REQUIRE(to.session.length <= BB_SESSION_TOKEN_BYTES_MAX, "result.session", "too long");
    to.missing_count = bb::s_count(from.missing());
    S_REQUIRE(to.missing_count <= BB_PARTITIONS_MAX, "result.missing", "too many");
    for (uint32_t i = 0; i < to.missing_count; i++) {
        const wire::Missing &missing = *from.missing()->Get(i);
        S_REQUIRE(missing.partition() < BB_PARTITIONS_MAX, "result.missing.partition",
                  "out of range");
        S_REQUIRE(bb_error_is_known(static_cast<int32_t>(missing.error())), "result.missing.error",
                  "unknown");
    }
    to.missing =
        to.missing_count ? reinterpret_cast<const bb_missing_t *>(from.missing()->Data()) : nullptr;
    return BB_OK;
}

bb_error_t s_decode_nodes(bb_message_t *self, const wire::StatusReply &from, bb_fault_t *fault)
{
    bb_status_reply_t &to = self->status_reply;
    to.node_count = bb::s_count(from.nodes());
    S_REQUIRE(to.node_count <= BB_NODES_MAX, "status_reply.nodes", "too many");
    bb_status_node_t *nodes = s_own<bb_status_node_t>(self, to.node_count);
    for (uint32_t i = 0; i < to.node_count; i++) {
        const wire::StatusNode &node = *from.nodes()->Get(i);
        S_REQUIRE(s_text(node.node_id(), 1, BB_NODE_ID_BYTES_MAX, &nodes[i].node_id) &&
                      s_text(node.dc(), 1, BB_NODE_ID_BYTES_MAX, &nodes[i].dc),
                  "status_reply.nodes", "a text is missing or too long");
        nodes[i].up = node.up();
        nodes[i].is_self = node.is_self();
        nodes[i].lag_chunks = node.lag_chunks();
        nodes[i].dc_lag_chunks = node.dc_lag_chunks();
        nodes[i].dc_lag_ns = node.dc_lag_ns();
        nodes[i].is_slow = node.is_slow();
    }
    to.nodes = nodes;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::StatusReply &from, bb_fault_t *fault)
{
    bb_status_reply_t &to = self->status_reply;
    S_REQUIRE(s_text(from.cluster_name(), 1, BB_NODE_ID_BYTES_MAX, &to.cluster_name) &&
                  s_text(from.node_id(), 1, BB_NODE_ID_BYTES_MAX, &to.node_id) &&
                  s_text(from.version(), 0, BB_MESSAGE_TEXT_BYTES_MAX, &to.version),
              "status_reply", "a text is missing or too long");
    to.ready = from.ready();
    to.draining = from.draining();
    to.partition_count = from.partition_count();
    S_REQUIRE(to.partition_count <= BB_PARTITIONS_MAX, "status_reply.partition_count",
              "out of range");
    to.under_replicated = from.under_replicated();
    S_REQUIRE(to.under_replicated <= to.partition_count, "status_reply.under_replicated",
              "more than there are partitions");
    to.unequal = from.unequal(); // 0 with under_replicated above it: not told
    S_REQUIRE(to.unequal <= to.partition_count, "status_reply.unequal",
              "more than there are partitions");
    to.streams = from.streams();
    to.streams_dead = from.streams_dead();
    S_REQUIRE(to.streams_dead <= to.streams, "status_reply.streams_dead",
              "more than there are streams");
    to.uptime_ns = from.uptime_ns();
    to.points_total = from.points_total();
    to.batteries_total = from.batteries_total();
    to.head_bytes = from.head_bytes();
    to.journal_bytes = from.journal_bytes();
    to.segment_bytes = from.segment_bytes();
    to.segment_points = from.segment_points();
    to.unsealed_chunks = from.unsealed_chunks();
    to.untrimmed_chunks = from.untrimmed_chunks();
    to.runs_to_merge = from.runs_to_merge();
    to.quarantined_points = from.quarantined_points();
    to.damage_count = from.damage_count();
    S_REQUIRE(bb_standing_is_known(from.standing()), "status_reply.standing", "not one");
    to.standing = static_cast<bb_standing_t>(from.standing());
    to.boot = from.boot();
    S_REQUIRE(s_default_level(from.default_write_level(), to.default_write_level) &&
                  s_default_level(from.default_read_level(), to.default_read_level),
              "status_reply.default_level", "unknown");
    return s_decode_nodes(self, from, fault);
}

bb_error_t s_decode(bb_message_t *self, const wire::SettleReply &from, bb_fault_t *)
{
    self->settle_reply.sealed = from.sealed();
    self->settle_reply.merged = from.merged();
    self->settle_reply.trimmed = from.trimmed();
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Release &from, bb_fault_t *fault)
{
    bb_release_t &to = self->release;
    S_REQUIRE(s_level_is_valid(from.level()), "release.level", "unknown");
    to.level = static_cast<bb_level_t>(from.level());
    to.battery_count = bb::s_count(from.batteries());
    S_REQUIRE(to.battery_count <= BB_BATCH_BATTERIES_MAX, "release.batteries", "too many");
    bb_slice_t *texts = s_own<bb_slice_t>(self, to.battery_count);
    S_REQUIRE(s_texts(from.batteries(), BB_BATTERY_ID_BYTES_MAX, texts), "release.batteries",
              "an id is empty or too long");
    to.batteries = texts;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::ReleaseReply &from, bb_fault_t *)
{
    self->release_reply.released_points = from.released_points();
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Scrub &from, bb_fault_t *)
{
    self->scrub.start = from.start();
    self->scrub.rate_bytes_per_s = from.rate_bytes_per_s();
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::ScrubReply &from, bb_fault_t *fault)
{
    bb_scrub_reply_t &to = self->scrub_reply;
    to.is_running = from.is_running();
    to.windows_left = from.windows_left();
    to.findings = from.findings();
    to.bytes_total = from.bytes_total();
    to.findings_total = from.findings_total();
    to.oldest_age_ns = from.oldest_age_ns();
    S_REQUIRE(to.oldest_age_ns >= 0, "scrub_reply.oldest_age_ns", "negative");
    to.barred_count = from.barred_count();
    to.damage_count = from.damage_count();
    to.damage_line_count = bb::s_count(from.damage_lines());
    S_REQUIRE(to.damage_line_count <= BB_DAMAGE_LINES_MAX, "scrub_reply.damage_lines", "too many");
    bb_slice_t *lines = s_own<bb_slice_t>(self, to.damage_line_count);
    S_REQUIRE(s_texts(from.damage_lines(), BB_MESSAGE_TEXT_BYTES_MAX, lines),
              "scrub_reply.damage_lines", "a line is empty or too long");
    to.damage_lines = lines;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::ErrorReply &from, bb_fault_t *fault)
{
    S_REQUIRE(bb_error_is_known(from.code()) && from.code() != BB_OK, "error.code",
              "not the number of an error");
    self->error.code = static_cast<bb_error_t>(from.code());
    S_REQUIRE(s_text(from.detail(), 0, BB_MESSAGE_TEXT_BYTES_MAX, &self->error.detail),
              "error.detail", "too long");
    self->error.retry_after_ms = from.retry_after_ms();
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Heartbeat &from, bb_fault_t *fault)
{
    bb_heartbeat_t &to = self->heartbeat;
    S_REQUIRE(s_fixed(from.incarnation(), to.incarnation.bytes), "heartbeat.incarnation",
              "missing");
    S_REQUIRE(s_fixed(from.cluster_id(), to.cluster_id), "heartbeat.cluster_id", "missing");
    to.wall_ns = from.wall_ns();
    to.ready = from.ready();
    to.draining = from.draining();
    to.store_count = from.store_count();
    to.registry_digest = from.registry_digest();
    S_REQUIRE(bb_standing_is_known(from.standing()), "heartbeat.standing", "not one");
    to.standing = static_cast<bb_standing_t>(from.standing());
    to.boot = from.boot();
    to.sync_latency_us = from.sync_latency_us();
    to.have_mark = from.have_mark();
    S_REQUIRE(to.store_count >= 1 && to.store_count <= BB_STORES_MAX, "heartbeat.store_count",
              "out of range");
    return BB_OK;
}

// A list of nodes: within the limit and ascending.
bool s_node_list(const Vector<uint16_t> *from, uint32_t *count, const uint16_t **nodes)
{
    *count = bb::s_count(from);
    *nodes = *count ? from->data() : nullptr;
    bool is_valid = *count <= BB_NODES_MAX;
    for (uint32_t i = 0; i < *count && is_valid; i++) {
        is_valid = (*nodes)[i] < BB_NODES_MAX && (i == 0 || (*nodes)[i - 1] < (*nodes)[i]);
    }
    return is_valid;
}

bb_error_t s_decode(bb_message_t *self, const wire::Replicate &from, bb_fault_t *fault)
{
    bb_replicate_t &to = self->replicate;
    S_REQUIRE(s_node_list(from.forward(), &to.forward_count, &to.forward), "replicate.forward",
              "out of range or not ascending");
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Routes &from, bb_fault_t *fault)
{
    bb_routes_message_t &to = self->routes;
    S_REQUIRE(s_node_list(from.slow(), &to.slow_count, &to.slow), "routes.slow",
              "out of range or not ascending");
    return BB_OK;
}

bool s_lane(const wire::Lane *from, bb_lane_t &to)
{
    if (!from || from->count() > BB_LANES_MAX || from->index() >= from->count()) {
        return false;
    }
    to = {from->count(), from->index()};
    return true;
}

bb_error_t s_ack_batches(bb_replicate_ack_t &to, const wire::ReplicateAck &from, bb_fault_t *fault)
{
    to.batch_count = bb::s_count(from.batches());
    if (to.batch_count == 0) {
        return BB_OK;
    }
    const void *data = from.batches()->Data();
    S_REQUIRE(bb::s_is_aligned(data), "replicate_ack.batches", "not aligned");
    to.batches = static_cast<const bb_ack_batch_t *>(data);
    S_REQUIRE(s_lane(from.lane(), to.lane), "replicate_ack.lane", "missing or out of range");
    for (uint32_t i = 0; i < to.batch_count; i++) {
        const bb_ack_batch_t &batch = to.batches[i];
        S_REQUIRE(batch.partition < BB_PARTITIONS_MAX &&
                      batch.partition % to.lane.count == to.lane.index,
                  "replicate_ack.batches", "partition out of range or of another lane");
        S_REQUIRE(batch.seq >= 1 && batch.part_count >= 1 && batch.part_count <= BB_PARTITIONS_MAX,
                  "replicate_ack.batches", "no seq, no parts or too many");
    }
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::ReplicateAck &from, bb_fault_t *fault)
{
    bb_replicate_ack_t &to = self->replicate_ack;
    S_REQUIRE(s_fixed(from.stream(), to.stream.bytes), "replicate_ack.stream", "missing");
    S_REQUIRE(s_fixed(from.incarnation(), to.incarnation.bytes), "replicate_ack.incarnation",
              "missing");
    to.range_count = bb::s_count(from.ranges());
    const void *data = to.range_count ? from.ranges()->Data() : nullptr;
    S_REQUIRE(bb::s_is_aligned(data), "replicate_ack.ranges", "not aligned");
    to.ranges = static_cast<const bb_dot_range_t *>(data);
    for (uint32_t i = 0; i < to.range_count; i++) {
        const bb_dot_range_t &range = to.ranges[i];
        S_REQUIRE(range.partition < BB_PARTITIONS_MAX && range.reserved == 0,
                  "replicate_ack.ranges", "partition out of range or spare bytes not zero");
        S_REQUIRE(range.first_seq >= 1 && range.first_seq <= range.last_seq, "replicate_ack.ranges",
                  "seqs are zero or descend");
    }
    return s_ack_batches(to, from, fault);
}

bb_error_t s_decode(bb_message_t *self, const wire::HaveRequest &from, bb_fault_t *fault)
{
    bb_have_request_t &to = self->have_request;
    S_REQUIRE(s_fixed(from.incarnation(), to.incarnation.bytes), "have_request.incarnation",
              "missing");
    S_REQUIRE(s_lane(from.lane(), to.lane), "have_request.lane", "missing or out of range");
    to.since_version = from.since_version();
    to.takes_tails = from.takes_tails();
    return BB_OK;
}

bb_error_t s_decode_entries(bb_message_t *self,
                            const Vector<flatbuffers::Offset<wire::HaveEntry>> *from,
                            const bb_have_entry_t **out, uint32_t *out_count, bb_fault_t *fault)
{
    uint32_t count = bb::s_count(from);
    S_REQUIRE(count <= BB_PARTITIONS_MAX, "entries", "too many");
    bb_have_entry_t *entries = s_own<bb_have_entry_t>(self, count);
    for (uint32_t i = 0; i < count; i++) {
        entries[i].partition = from->Get(i)->partition();
        S_REQUIRE(entries[i].partition < BB_PARTITIONS_MAX, "entries.partition", "out of range");
        entries[i].have = bb::s_slice(from->Get(i)->have());
    }
    *out = entries;
    *out_count = count;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Have &from, bb_fault_t *fault)
{
    bb_have_t &to = self->have;
    S_REQUIRE(s_fixed(from.incarnation(), to.incarnation.bytes), "have.incarnation", "missing");
    S_REQUIRE(s_lane(from.lane(), to.lane), "have.lane", "missing or out of range");
    to.version = from.version();
    to.since_version = from.since_version();
    to.is_last = from.is_last();
    to.tail_streams = bb::s_slice(from.tail_streams());
    to.tails = bb::s_slice(from.tails());
    to.sealed_below = from.sealed_below();
    S_REQUIRE(to.tails.length == 0 || to.since_version > 0, "have.tails", "of a whole report");
    return s_decode_entries(self, from.entries(), &to.entries, &to.entry_count, fault);
}

bb_error_t s_decode(bb_message_t *self, const wire::Pull &from, bb_fault_t *fault)
{
    bb_pull_t &to = self->pull;
    S_REQUIRE(s_lane(from.lane(), to.lane), "pull.lane", "missing or out of range");
    to.budget_bytes = from.budget_bytes();
    uint32_t count = bb::s_count(from.forgotten());
    S_REQUIRE(count % 2 == 0 && count / 2 <= BB_NODES_MAX, "pull.forgotten", "not such pairs");
    static_assert(sizeof(bb_forgotten_floor_t) == 2 * sizeof(uint32_t), "used in place");
    const bb_forgotten_floor_t *floors =
        count > 0 ? reinterpret_cast<const bb_forgotten_floor_t *>(from.forgotten()->data())
                  : nullptr;
    for (uint32_t i = 0; i < count / 2; i++) {
        S_REQUIRE(floors[i].below > 0 && (i == 0 || floors[i - 1].node_hash < floors[i].node_hash),
                  "pull.forgotten", "not ascending, or of nothing");
    }
    to.forgotten_count = count / 2;
    to.forgotten = floors;
    return s_decode_entries(self, from.entries(), &to.entries, &to.entry_count, fault);
}

bb_error_t s_decode(bb_message_t *self, const wire::Watched &from, bb_fault_t *fault)
{
    bb_watched_t &to = self->watched;
    S_REQUIRE(s_lane(from.lane(), to.lane), "watched.lane", "missing or out of range");
    return s_decode_entries(self, from.entries(), &to.entries, &to.entry_count, fault);
}

bb_error_t s_decode(bb_message_t *self, const wire::PullDone &from, bb_fault_t *fault)
{
    bb_pull_done_t &to = self->pull_done;
    S_REQUIRE(s_lane(from.lane(), to.lane), "pull_done.lane", "missing or out of range");
    to.more = from.more();
    to.chunk_count = from.chunk_count();
    to.unavailable_count = bb::s_count(from.unavailable());
    S_REQUIRE(to.unavailable_count <= BB_PARTITIONS_MAX, "pull_done.unavailable", "too many");
    to.unavailable = to.unavailable_count ? from.unavailable()->data() : nullptr;
    for (uint32_t i = 0; i < to.unavailable_count; i++) {
        S_REQUIRE(to.unavailable[i] < BB_PARTITIONS_MAX, "pull_done.unavailable", "out of range");
    }
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::Registry &from, bb_fault_t *fault)
{
    bb_registry_message_t &to = self->registry;
    to.is_put = from.is_put();
    to.bucket_count = bb::s_count(from.buckets());
    S_REQUIRE(to.bucket_count == 0 || to.bucket_count == BB_REGISTRY_BUCKETS, "registry.buckets",
              "neither none nor all");
    to.buckets = to.bucket_count ? from.buckets()->data() : nullptr;
    S_REQUIRE(bb::s_is_aligned(to.buckets), "registry.buckets", "not aligned");
    to.entry_count = bb::s_count(from.entries());
    S_REQUIRE(to.entry_count <= BB_REGISTRY_MESSAGE_MAX, "registry.entries", "too many");
    bb_registry_entry_t *entries = s_own<bb_registry_entry_t>(self, to.entry_count);
    for (uint32_t i = 0; i < to.entry_count; i++) {
        const wire::RegistryEntry &entry = *from.entries()->Get(i);
        S_REQUIRE(bb_registry_kind_is_known(entry.kind()), "registry.entries.kind", "unknown");
        entries[i].kind = static_cast<bb_registry_kind_t>(entry.kind());
        entries[i].key = bb::s_slice(entry.key());
        entries[i].number = entry.number();
        entries[i].payload = bb::s_slice(entry.payload());
        S_REQUIRE(bb_registry_entry_is_valid(&entries[i]), "registry.entries",
                  "key, number or payload out of range");
    }
    to.entries = entries;
    return BB_OK;
}

bool s_sync_window(uint32_t kind, uint32_t day)
{
    return kind <= BB_SYNC_KIND_LAST && day <= BB_TIME_WALL_NS_LIMIT / BB_NS_PER_DAY &&
           (kind != BB_SYNC_ATTRIBUTES || day == 0);
}

bool s_sync_topic(uint32_t step, uint32_t partition, const wire::SyncWindow *window,
                  bb_sync_topic_t &to)
{
    if (step < BB_SYNC_STEP_WINDOWS || step > BB_SYNC_STEP_LAST || partition >= BB_PARTITIONS_MAX ||
        !window || !s_sync_window(window->kind(), window->day())) {
        return false;
    }
    to.step = static_cast<bb_sync_step_t>(step);
    to.partition = partition;
    to.window.kind = window->kind();
    to.window.day = window->day();
    return true;
}

// Ascending by battery, or by bucket.
bool s_sync_leaves(const Vector<const wire::SyncLeaf *> *from, const bb_sync_leaf_t **to,
                   uint32_t *count)
{
    *count = bb::s_count(from);
    *to = *count ? reinterpret_cast<const bb_sync_leaf_t *>(from->Data()) : nullptr;
    if (*count > BB_SYNC_LEAVES_MAX || !bb::s_is_aligned(*to)) {
        return false;
    }
    for (uint32_t i = 1; i < *count; i++) {
        if ((*to)[i - 1].battery >= (*to)[i].battery) {
            return false;
        }
    }
    return true;
}

bb_error_t s_decode(bb_message_t *self, const wire::SyncAsk &from, bb_fault_t *fault)
{
    bb_sync_question_t &to = self->sync_ask;
    S_REQUIRE(s_sync_topic(from.step(), from.partition(), from.window(), to.topic), "sync_ask",
              "step, partition or window");
    S_REQUIRE(s_fixed(from.buckets(), to.buckets), "sync_ask.buckets", "missing");
    S_REQUIRE(s_sync_leaves(from.leaves(), &to.leaves, &to.leaf_count), "sync_ask.leaves",
              "too many, or not ascending");
    S_REQUIRE(s_text(from.battery_first(), 0, BB_BATTERY_ID_BYTES_MAX, &to.battery_first),
              "sync_ask.battery_first", "too long");
    S_REQUIRE(from.from_wall_ns() >= 0, "sync_ask.from", "out of range");
    to.from_wall_ns = from.from_wall_ns();
    return BB_OK;
}

bb_error_t s_decode_pieces(bb_message_t *self, const wire::SyncAnswer &from, bb_fault_t *fault)
{
    bb_sync_answer_t &to = self->sync_answer;
    to.batch_count = bb::s_count(from.batches());
    to.pair_count = bb::s_count(from.pairs());
    S_REQUIRE(to.batch_count <= BB_SYNC_PIECES_MAX && to.pair_count <= BB_SYNC_PIECES_MAX,
              "sync_answer", "too many pieces");
    // One table for both, because a message owns one.
    static_assert(sizeof(bb_sync_pair_t) == 2 * sizeof(bb_slice_t), "two slices");
    bb_slice_t *batches = s_own<bb_slice_t>(self, to.batch_count + 2 * to.pair_count);
    for (uint32_t i = 0; i < to.batch_count; i++) {
        batches[i] = bb::s_slice(from.batches()->Get(i)->bytes());
        S_REQUIRE(batches[i].length >= 1 && batches[i].length <= BB_BATCH_BYTES_MAX,
                  "sync_answer.batches", "empty or too large");
    }
    to.batches = batches;
    if (to.pair_count == 0) {
        return BB_OK;
    }
    bb_sync_pair_t *pairs = reinterpret_cast<bb_sync_pair_t *>(batches + to.batch_count);
    for (uint32_t i = 0; i < to.pair_count; i++) {
        const wire::SyncPair &pair = *from.pairs()->Get(i);
        pairs[i].packed = bb::s_slice(pair.packed());
        S_REQUIRE(s_text(pair.id(), 1, BB_BATTERY_ID_BYTES_MAX, &pairs[i].id), "sync_answer.pairs",
                  "missing or too long");
    }
    to.pairs = pairs;
    return BB_OK;
}

bb_error_t s_decode(bb_message_t *self, const wire::SyncAnswer &from, bb_fault_t *fault)
{
    bb_sync_answer_t &to = self->sync_answer;
    S_REQUIRE(s_sync_topic(from.step(), from.partition(), from.window(), to.topic), "sync_answer",
              "step, partition or window");
    S_REQUIRE(s_fixed(from.incarnation(), to.incarnation.bytes), "sync_answer.incarnation",
              "missing");
    S_REQUIRE(from.error() == BB_OK || from.error() == BB_ERR_BUSY ||
                  from.error() == BB_ERR_CORRUPT,
              "sync_answer.error", "not one of its own");
    to.error = static_cast<bb_error_t>(from.error());
    to.window_count = bb::s_count(from.windows());
    S_REQUIRE(to.window_count <= BB_SYNC_WINDOWS_MAX, "sync_answer.windows", "too many");
    to.windows = to.window_count
                     ? reinterpret_cast<const bb_sync_window_t *>(from.windows()->Data())
                     : nullptr;
    for (uint32_t i = 0; i < to.window_count; i++) {
        S_REQUIRE(s_sync_window(to.windows[i].kind, to.windows[i].day), "sync_answer.windows",
                  "out of range");
    }
    S_REQUIRE(s_sync_leaves(from.leaves(), &to.leaves, &to.leaf_count), "sync_answer.leaves",
              "too many, or not ascending");
    S_REQUIRE(s_text(from.battery_next(), 0, BB_BATTERY_ID_BYTES_MAX, &to.battery_next),
              "sync_answer.battery_next", "too long");
    to.has_more = from.has_more();
    S_REQUIRE(from.from_next_wall_ns() >= 0, "sync_answer.from_next", "out of range");
    to.from_next_wall_ns = from.from_next_wall_ns();
    return s_decode_pieces(self, from, fault);
}

template <class T>
bb_error_t s_decode_as(bb_message_t *self, const wire::Envelope &envelope, bb_fault_t *fault)
{
    S_REQUIRE(envelope.body_type() == wire::BodyTraits<T>::enum_value && envelope.body(),
              "envelope.body", "is not the body of this kind");
    return s_decode(self, *static_cast<const T *>(envelope.body()), fault);
}

// `kind` is still a number: a C++ enum must never hold a value outside its range.
bb_error_t s_decode_body(bb_message_t *self, uint32_t kind, const wire::Envelope &envelope,
                         bb_fault_t *fault)
{
    switch (kind) {
    case BB_KIND_HELLO:
        return s_decode_as<wire::Hello>(self, envelope, fault);
    case BB_KIND_HELLO_REPLY:
        return s_decode_as<wire::HelloReply>(self, envelope, fault);
    case BB_KIND_WRITE:
        return s_decode_as<wire::Write>(self, envelope, fault);
    case BB_KIND_WRITE_REPLY:
        return s_decode_as<wire::WriteReply>(self, envelope, fault);
    case BB_KIND_QUERY:
        return s_decode_as<wire::Query>(self, envelope, fault);
    case BB_KIND_RESULT:
        return s_decode_as<wire::Result>(self, envelope, fault);
    case BB_KIND_STATUS_REPLY:
        return s_decode_as<wire::StatusReply>(self, envelope, fault);
    case BB_KIND_SETTLE_REPLY:
        return s_decode_as<wire::SettleReply>(self, envelope, fault);
    case BB_KIND_RELEASE:
        return s_decode_as<wire::Release>(self, envelope, fault);
    case BB_KIND_RELEASE_REPLY:
        return s_decode_as<wire::ReleaseReply>(self, envelope, fault);
    case BB_KIND_SCRUB:
        return s_decode_as<wire::Scrub>(self, envelope, fault);
    case BB_KIND_SCRUB_REPLY:
        return s_decode_as<wire::ScrubReply>(self, envelope, fault);
    case BB_KIND_ERROR:
        return s_decode_as<wire::ErrorReply>(self, envelope, fault);
    case BB_KIND_ROUTES:
        return s_decode_as<wire::Routes>(self, envelope, fault);
    case BB_KIND_HEARTBEAT:
        return s_decode_as<wire::Heartbeat>(self, envelope, fault);
    case BB_KIND_REPLICATE_ACK:
        return s_decode_as<wire::ReplicateAck>(self, envelope, fault);
    case BB_KIND_HAVE_REQUEST:
        return s_decode_as<wire::HaveRequest>(self, envelope, fault);
    case BB_KIND_HAVE:
        return s_decode_as<wire::Have>(self, envelope, fault);
    case BB_KIND_PULL:
        return s_decode_as<wire::Pull>(self, envelope, fault);
    case BB_KIND_PULL_DONE:
        return s_decode_as<wire::PullDone>(self, envelope, fault);
    case BB_KIND_REGISTRY:
        return s_decode_as<wire::Registry>(self, envelope, fault);
    case BB_KIND_SYNC_ASK:
        return s_decode_as<wire::SyncAsk>(self, envelope, fault);
    case BB_KIND_SYNC_ANSWER:
        return s_decode_as<wire::SyncAnswer>(self, envelope, fault);
    case BB_KIND_WATCHED:
        return s_decode_as<wire::Watched>(self, envelope, fault);
    case BB_KIND_REPLICATE:
        if (static_cast<int>(envelope.body_type()) != 0) {
            return s_decode_as<wire::Replicate>(self, envelope, fault);
        }
        return BB_OK;
    case BB_KIND_STATUS:
    case BB_KIND_SETTLE:
        S_REQUIRE(static_cast<int>(envelope.body_type()) == 0, "envelope.body",
                  "this kind has no body");
        return BB_OK;
    }
    return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "envelope: unknown kind %u", kind);
}

bb_error_t s_verify(bb_slice_t encoded, bb_fault_t *fault)
{
    if (encoded.length > BB_MESSAGE_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_BYTES, "envelope: %zu bytes; at most %u",
                            encoded.length, BB_MESSAGE_BYTES_MAX);
    }
    const uint8_t *bytes = static_cast<const uint8_t *>(encoded.data);
    S_REQUIRE(encoded.length >= 16 && bb::s_is_aligned(bytes), "envelope",
              "too short or not 8-byte aligned in memory");
    S_REQUIRE(wire::EnvelopeBufferHasIdentifier(bytes), "envelope", "not a busbar message");
    flatbuffers::Verifier verifier(bytes, encoded.length, 8);
    S_REQUIRE(wire::VerifyEnvelopeBuffer(verifier), "envelope", "the buffer does not verify");
    return BB_OK;
}

} // namespace

extern "C" bb_error_t bb_message_decode(bb_message_t *self, bb_slice_t encoded, bb_fault_t *fault)
{
    BB_ASSERT(self);
    memset(self, 0, sizeof *self);
    bb_error_t error = s_verify(encoded, fault);
    if (error != BB_OK) {
        return error;
    }
    const wire::Envelope &envelope = *wire::GetEnvelope(encoded.data);
    if (envelope.version() != BB_WIRE_VERSION) {
        return bb_fault_set(fault, BB_ERR_MESSAGE_VERSION, "envelope: version %u; this is %u",
                            envelope.version(), BB_WIRE_VERSION);
    }
    self->epoch = envelope.epoch();
    self->request_id = envelope.request_id();
    self->trace_id = envelope.trace_id();
    self->timeout_ns = envelope.timeout_ns();
    S_REQUIRE(self->timeout_ns >= 0 && self->timeout_ns <= BB_DEADLINE_NS_MAX,
              "envelope.timeout_ns", "out of range");
    self->credit_bytes = envelope.credit_bytes();
    uint32_t kind = static_cast<uint32_t>(envelope.kind());
    error = s_decode_body(self, kind, envelope, fault);
    if (error != BB_OK) {
        bb_message_close(self);
        return error;
    }
    self->kind = static_cast<bb_kind_t>(kind);
    return BB_OK;
}

extern "C" void bb_message_close(bb_message_t *self)
{
    BB_ASSERT(self);
    free(self->memory);
    memset(self, 0, sizeof *self);
}

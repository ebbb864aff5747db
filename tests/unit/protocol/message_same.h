// SPDX-License-Identifier: Apache-2.0
// message_same - two messages have the same kind and the same in every field of that kind.
//
// For tests that send one there and back: `a` was sent, `b` arrived.
#ifndef MESSAGE_SAME_H
#define MESSAGE_SAME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "protocol/bb_message.h"

static inline void message_same_text(bb_slice_t a, bb_slice_t b)
{
    assert_int_equal(a.length, b.length);
    if (a.length > 0) {
        assert_memory_equal(a.data, b.data, a.length);
    }
}

static inline void message_same_texts(const bb_slice_t *a, const bb_slice_t *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        message_same_text(a[i], b[i]);
    }
}

static inline void message_same_entries(const bb_have_entry_t *a, const bb_have_entry_t *b,
                                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(a[i].partition, b[i].partition);
        message_same_text(a[i].have, b[i].have);
    }
}

#define MESSAGE_SAME(field)       assert_true(a->field == b->field)
#define MESSAGE_SAME_BYTES(field) assert_memory_equal(&a->field, &b->field, sizeof a->field)

// Not told means local_quorum. `a` was sent, `b` arrived.
static inline void message_same_default(bb_level_t a, bb_level_t b)
{
    assert_int_equal(a == 0 ? BB_LEVEL_LOCAL_QUORUM : a, b == 0 ? BB_LEVEL_LOCAL_QUORUM : b);
}

static inline void message_same_hello_reply(const bb_hello_reply_t *a, const bb_hello_reply_t *b)
{
    message_same_text(a->cluster_name, b->cluster_name);
    message_same_text(a->node_id, b->node_id);
    MESSAGE_SAME_BYTES(cluster_id);
    MESSAGE_SAME_BYTES(placement_key);
    MESSAGE_SAME(partition_count);
    MESSAGE_SAME(replica_stride);
    message_same_default(a->default_write_level, b->default_write_level);
    message_same_default(a->default_read_level, b->default_read_level);
    MESSAGE_SAME(node_count);
    for (uint32_t i = 0; i < a->node_count; i++) {
        message_same_text(a->nodes[i].id, b->nodes[i].id);
        message_same_text(a->nodes[i].dc, b->nodes[i].dc);
        message_same_text(a->nodes[i].rack, b->nodes[i].rack);
        message_same_text(a->nodes[i].client_endpoint, b->nodes[i].client_endpoint);
        MESSAGE_SAME_BYTES(nodes[i].public_key);
        MESSAGE_SAME(nodes[i].weight);
    }
    assert_memory_equal(a->replicas, b->replicas,
                        sizeof(uint16_t) * a->partition_count * a->replica_stride);
}

static inline void message_same_write_reply(const bb_write_reply_t *a, const bb_write_reply_t *b)
{
    MESSAGE_SAME(acked_points);
    MESSAGE_SAME(rejected_points);
    MESSAGE_SAME(quarantined_points);
    MESSAGE_SAME(acked_frames);
    MESSAGE_SAME(rejected_frames);
    MESSAGE_SAME(rejection_count);
    for (uint32_t i = 0; i < a->rejection_count; i++) {
        MESSAGE_SAME(rejections[i].frame);
        MESSAGE_SAME(rejections[i].error);
        message_same_text(a->rejections[i].metric, b->rejections[i].metric);
        message_same_text(a->rejections[i].detail, b->rejections[i].detail);
    }
    message_same_text(a->session, b->session);
}

static inline void message_same_query(const bb_query_t *a, const bb_query_t *b)
{
    MESSAGE_SAME(mode);
    MESSAGE_SAME(level);
    MESSAGE_SAME(from_wall_ns);
    MESSAGE_SAME(to_wall_ns);
    MESSAGE_SAME(every_ns);
    MESSAGE_SAME(aggregates);
    MESSAGE_SAME(group_by_none);
    MESSAGE_SAME(row_limit);
    MESSAGE_SAME(page_bytes_max);
    MESSAGE_SAME(compare);
    assert_true(a->threshold == b->threshold);
    MESSAGE_SAME(accepts_rows);
    MESSAGE_SAME(partition_count);
    MESSAGE_SAME(battery_count);
    MESSAGE_SAME(metric_count);
    for (uint32_t i = 0; i < a->partition_count; i++) {
        MESSAGE_SAME(partitions[i]);
    }
    message_same_texts(a->batteries, b->batteries, a->battery_count);
    message_same_texts(a->metrics, b->metrics, a->metric_count);
    message_same_text(a->cursor, b->cursor);
    message_same_text(a->session, b->session);
    MESSAGE_SAME(wants_session);
    MESSAGE_SAME(is_hedge);
}

static inline void message_same_registry(const bb_registry_message_t *a,
                                         const bb_registry_message_t *b)
{
    MESSAGE_SAME(is_put);
    MESSAGE_SAME(bucket_count);
    for (uint32_t i = 0; i < a->bucket_count; i++) {
        MESSAGE_SAME(buckets[i]);
    }
    MESSAGE_SAME(entry_count);
    for (uint32_t i = 0; i < a->entry_count; i++) {
        MESSAGE_SAME(entries[i].kind);
        MESSAGE_SAME(entries[i].number);
        message_same_text(a->entries[i].key, b->entries[i].key);
        message_same_text(a->entries[i].payload, b->entries[i].payload);
    }
}

static inline void message_same_status_reply(const bb_status_reply_t *a, const bb_status_reply_t *b)
{
    message_same_text(a->cluster_name, b->cluster_name);
    message_same_text(a->node_id, b->node_id);
    message_same_text(a->version, b->version);
    MESSAGE_SAME(ready);
    MESSAGE_SAME(draining);
    MESSAGE_SAME(partition_count);
    MESSAGE_SAME(under_replicated);
    MESSAGE_SAME(unequal);
    MESSAGE_SAME(streams);
    MESSAGE_SAME(streams_dead);
    MESSAGE_SAME(uptime_ns);
    MESSAGE_SAME(points_total);
    MESSAGE_SAME(batteries_total);
    MESSAGE_SAME(head_bytes);
    MESSAGE_SAME(journal_bytes);
    MESSAGE_SAME(segment_bytes);
    MESSAGE_SAME(segment_points);
    MESSAGE_SAME(unsealed_chunks);
    MESSAGE_SAME(untrimmed_chunks);
    MESSAGE_SAME(runs_to_merge);
    MESSAGE_SAME(quarantined_points);
    message_same_default(a->default_write_level, b->default_write_level);
    message_same_default(a->default_read_level, b->default_read_level);
    MESSAGE_SAME(node_count);
    for (uint32_t i = 0; i < a->node_count; i++) {
        message_same_text(a->nodes[i].node_id, b->nodes[i].node_id);
        message_same_text(a->nodes[i].dc, b->nodes[i].dc);
        MESSAGE_SAME(nodes[i].up);
        MESSAGE_SAME(nodes[i].is_self);
        MESSAGE_SAME(nodes[i].lag_chunks);
        MESSAGE_SAME(nodes[i].dc_lag_chunks);
        MESSAGE_SAME(nodes[i].dc_lag_ns);
        MESSAGE_SAME(nodes[i].is_slow);
    }
}

static inline void message_same_peer_body(const bb_message_t *a, const bb_message_t *b)
{
    switch (a->kind) {
    case BB_KIND_HEARTBEAT:
        MESSAGE_SAME_BYTES(heartbeat.incarnation);
        MESSAGE_SAME_BYTES(heartbeat.cluster_id);
        MESSAGE_SAME(heartbeat.wall_ns);
        MESSAGE_SAME(heartbeat.ready);
        MESSAGE_SAME(heartbeat.draining);
        MESSAGE_SAME(heartbeat.store_count);
        MESSAGE_SAME(heartbeat.registry_digest);
        MESSAGE_SAME(heartbeat.sync_latency_us);
        MESSAGE_SAME(heartbeat.have_mark);
        break;
    case BB_KIND_ROUTES:
        MESSAGE_SAME(routes.slow_count);
        assert_true(
            a->routes.slow_count == 0 ||
            memcmp(a->routes.slow, b->routes.slow, a->routes.slow_count * sizeof(uint16_t)) == 0);
        break;
    case BB_KIND_REPLICATE:
        MESSAGE_SAME(replicate.forward_count);
        assert_true(a->replicate.forward_count == 0 ||
                    memcmp(a->replicate.forward, b->replicate.forward,
                           a->replicate.forward_count * sizeof(uint16_t)) == 0);
        break;
    case BB_KIND_REPLICATE_ACK:
        MESSAGE_SAME_BYTES(replicate_ack.stream);
        MESSAGE_SAME_BYTES(replicate_ack.incarnation);
        MESSAGE_SAME(replicate_ack.range_count);
        assert_true(a->replicate_ack.range_count == 0 ||
                    memcmp(a->replicate_ack.ranges, b->replicate_ack.ranges,
                           a->replicate_ack.range_count * sizeof(bb_dot_range_t)) == 0);
        MESSAGE_SAME(replicate_ack.batch_count);
        assert_true(a->replicate_ack.batch_count == 0 ||
                    memcmp(a->replicate_ack.batches, b->replicate_ack.batches,
                           a->replicate_ack.batch_count * sizeof(bb_ack_batch_t)) == 0);
        MESSAGE_SAME(replicate_ack.lane.count);
        MESSAGE_SAME(replicate_ack.lane.index);
        break;
    case BB_KIND_HAVE_REQUEST:
        MESSAGE_SAME_BYTES(have_request.incarnation);
        MESSAGE_SAME(have_request.since_version);
        MESSAGE_SAME(have_request.lane.count);
        MESSAGE_SAME(have_request.lane.index);
        MESSAGE_SAME(have_request.takes_tails);
        break;
    case BB_KIND_HAVE:
        MESSAGE_SAME_BYTES(have.incarnation);
        MESSAGE_SAME(have.version);
        MESSAGE_SAME(have.since_version);
        MESSAGE_SAME(have.is_last);
        MESSAGE_SAME(have.lane.count);
        MESSAGE_SAME(have.lane.index);
        MESSAGE_SAME(have.entry_count);
        message_same_entries(a->have.entries, b->have.entries, a->have.entry_count);
        message_same_text(a->have.tail_streams, b->have.tail_streams);
        message_same_text(a->have.tails, b->have.tails);
        assert_int_equal(a->have.sealed_below, b->have.sealed_below);
        break;
    case BB_KIND_PULL:
        MESSAGE_SAME(pull.budget_bytes);
        MESSAGE_SAME(pull.lane.count);
        MESSAGE_SAME(pull.lane.index);
        MESSAGE_SAME(pull.entry_count);
        message_same_entries(a->pull.entries, b->pull.entries, a->pull.entry_count);
        MESSAGE_SAME(pull.forgotten_count);
        for (uint32_t i = 0; i < a->pull.forgotten_count; i++) {
            MESSAGE_SAME(pull.forgotten[i].node_hash);
            MESSAGE_SAME(pull.forgotten[i].below);
        }
        break;
    case BB_KIND_PULL_DONE:
        MESSAGE_SAME(pull_done.more);
        MESSAGE_SAME(pull_done.lane.count);
        MESSAGE_SAME(pull_done.lane.index);
        MESSAGE_SAME(pull_done.chunk_count);
        MESSAGE_SAME(pull_done.unavailable_count);
        for (uint32_t i = 0; i < a->pull_done.unavailable_count; i++) {
            MESSAGE_SAME(pull_done.unavailable[i]);
        }
        break;
    case BB_KIND_WATCHED:
        MESSAGE_SAME(watched.lane.count);
        MESSAGE_SAME(watched.lane.index);
        MESSAGE_SAME(watched.entry_count);
        message_same_entries(a->watched.entries, b->watched.entries, a->watched.entry_count);
        break;
    case BB_KIND_REGISTRY:
        message_same_registry(&a->registry, &b->registry);
        break;
    default:
        break;
    }
}

static inline void message_expect_same(const bb_message_t *a, const bb_message_t *b)
{
    MESSAGE_SAME(kind);
    MESSAGE_SAME(epoch);
    MESSAGE_SAME(request_id);
    MESSAGE_SAME(trace_id);
    MESSAGE_SAME(timeout_ns);
    MESSAGE_SAME(credit_bytes);
    switch (a->kind) {
    case BB_KIND_HELLO:
        message_same_text(a->hello.client_name, b->hello.client_name);
        MESSAGE_SAME(hello.only_routes);
        break;
    case BB_KIND_HELLO_REPLY:
        message_same_hello_reply(&a->hello_reply, &b->hello_reply);
        break;
    case BB_KIND_WRITE:
        MESSAGE_SAME(write.level);
        MESSAGE_SAME(write.wants_session);
        MESSAGE_SAME(write.deletes);
        break;
    case BB_KIND_WRITE_REPLY:
        message_same_write_reply(&a->write_reply, &b->write_reply);
        break;
    case BB_KIND_QUERY:
        message_same_query(&a->query, &b->query);
        break;
    case BB_KIND_RESULT:
        MESSAGE_SAME(result.missing_count);
        for (uint32_t i = 0; i < a->result.missing_count; i++) {
            MESSAGE_SAME(result.missing[i].partition);
            MESSAGE_SAME(result.missing[i].error);
        }
        message_same_text(a->result.cursor, b->result.cursor);
        MESSAGE_SAME(result.damaged_window_count);
        message_same_text(a->result.session, b->result.session);
        break;
    case BB_KIND_STATUS_REPLY:
        message_same_status_reply(&a->status_reply, &b->status_reply);
        break;
    case BB_KIND_SETTLE_REPLY:
        MESSAGE_SAME(settle_reply.sealed);
        MESSAGE_SAME(settle_reply.merged);
        MESSAGE_SAME(settle_reply.trimmed);
        break;
    case BB_KIND_RELEASE:
        MESSAGE_SAME(release.level);
        MESSAGE_SAME(release.battery_count);
        message_same_texts(a->release.batteries, b->release.batteries, a->release.battery_count);
        break;
    case BB_KIND_RELEASE_REPLY:
        MESSAGE_SAME(release_reply.released_points);
        break;
    case BB_KIND_SCRUB:
        MESSAGE_SAME(scrub.start);
        MESSAGE_SAME(scrub.rate_bytes_per_s);
        break;
    case BB_KIND_SCRUB_REPLY:
        MESSAGE_SAME(scrub_reply.is_running);
        MESSAGE_SAME(scrub_reply.windows_left);
        MESSAGE_SAME(scrub_reply.findings);
        MESSAGE_SAME(scrub_reply.bytes_total);
        MESSAGE_SAME(scrub_reply.findings_total);
        MESSAGE_SAME(scrub_reply.oldest_age_ns);
        MESSAGE_SAME(scrub_reply.barred_count);
        MESSAGE_SAME(scrub_reply.damage_count);
        MESSAGE_SAME(scrub_reply.damage_line_count);
        message_same_texts(a->scrub_reply.damage_lines, b->scrub_reply.damage_lines,
                           a->scrub_reply.damage_line_count);
        break;
    case BB_KIND_ERROR:
        MESSAGE_SAME(error.code);
        MESSAGE_SAME(error.retry_after_ms);
        message_same_text(a->error.detail, b->error.detail);
        break;
    default:
        message_same_peer_body(a, b);
        break;
    }
}

#endif

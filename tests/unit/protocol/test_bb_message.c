// SPDX-License-Identifier: Apache-2.0
// Every kind of message, with every field, there and back; golden files; every rule of the decoder
// broken one at a time; random damage. `test_bb_message --write-golden` rewrites the golden files
// and is used once per wire version.
#include "protocol/bb_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/unit/protocol/message_same.h"
#include "tests/unit/protocol/wire_patch.h"

#define S_TEXT(text)                                                                               \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static const bb_hello_node_t s_nodes[2] = {
    {.id = S_TEXT("n1"),
     .dc = S_TEXT("dc1"),
     .rack = S_TEXT("r1"),
     .client_endpoint = S_TEXT("tcp://127.0.0.1:7711"),
     .public_key = {1, 2, 3, 31},
     .weight = 100},
    {.id = S_TEXT("n2"),
     .dc = S_TEXT("dc2"),
     .rack = {0},
     .client_endpoint = S_TEXT("tcp://127.0.0.2:7711"),
     .public_key = {9},
     .weight = 50},
};
static const uint16_t s_replicas[8] = {0, 1, 1, 0, 0, UINT16_MAX, 1, UINT16_MAX};
static const bb_rejection_t s_rejections[2] = {
    {.frame = 7,
     .metric = S_TEXT("state"),
     .error = BB_ERR_TYPE_CHANGED,
     .detail = S_TEXT("metric 'state' is float64")},
    {.frame = UINT32_MAX, .metric = {0}, .error = BB_ERR_BATCH_BYTES, .detail = {0}},
};
static const uint32_t s_partitions[3] = {0, 5, BB_PARTITIONS_MAX - 1};
static const bb_slice_t s_batteries[2] = {S_TEXT("bat-1"), S_TEXT("b\xc3\xa4t-2")};
static const bb_slice_t s_metrics[3] = {S_TEXT("voltage_v"), S_TEXT("current_a"), S_TEXT("soc")};
static const bb_missing_t s_missing[2] = {{4, BB_ERR_BEHIND}, {9, BB_ERR_TIMEOUT}};
static const bb_status_node_t s_status_nodes[2] = {
    {.node_id = S_TEXT("n1"), .dc = S_TEXT("dc1"), .up = true, .is_self = true, .lag_chunks = 0},
    {.node_id = S_TEXT("n2"),
     .dc = S_TEXT("dc1"),
     .up = false,
     .is_self = false,
     .lag_chunks = UINT64_C(1) << 40,
     .dc_lag_chunks = 13,
     .dc_lag_ns = UINT64_C(1) << 50,
     .is_slow = true},
};
static const uint16_t s_forward[3] = {0, 7, BB_NODES_MAX - 1};
static const bb_ack_batch_t s_ack_batches[] = {
    {.partition = 3, .part_count = 300, .seq = 41, .dot_sum = UINT64_C(0xfedcba9876543210)},
    {.partition = 1018, .part_count = 1, .seq = UINT64_MAX, .dot_sum = 1}};
static const bb_dot_range_t s_ranges[2] = {{3, 0, 1, UINT64_MAX}, {1023, 0, 77, 77}};
static const bb_forgotten_floor_t s_floors[] = {{7, 1}, {8, UINT32_MAX}};
static const bb_have_entry_t s_entries[2] = {{11, S_TEXT("0123456789abcdef")}, {12, {0}}};
static const uint32_t s_unavailable[2] = {17, 3};

static const bb_registry_entry_t s_registry[2] = {
    {.kind = BB_REGISTRY_BOOT, .key = S_TEXT("n1"), .number = 9, .payload = S_TEXT("disk")},
    {.kind = BB_REGISTRY_EPOCH, .key = S_TEXT("topology"), .number = UINT64_MAX, .payload = {0}},
};
static const uint64_t s_buckets[BB_REGISTRY_BUCKETS] = {1, UINT64_MAX, 3};

static const bb_kind_t s_kinds[] = {
    BB_KIND_HELLO,        BB_KIND_HELLO_REPLY,  BB_KIND_WRITE,     BB_KIND_WRITE_REPLY,
    BB_KIND_QUERY,        BB_KIND_RESULT,       BB_KIND_STATUS,    BB_KIND_STATUS_REPLY,
    BB_KIND_SETTLE,       BB_KIND_SETTLE_REPLY, BB_KIND_RELEASE,   BB_KIND_RELEASE_REPLY,
    BB_KIND_ERROR,        BB_KIND_HEARTBEAT,    BB_KIND_REPLICATE, BB_KIND_REPLICATE_ACK,
    BB_KIND_HAVE_REQUEST, BB_KIND_HAVE,         BB_KIND_PULL,      BB_KIND_PULL_DONE,
    BB_KIND_SCRUB,        BB_KIND_SCRUB_REPLY,  BB_KIND_REGISTRY,  BB_KIND_ROUTES,
    BB_KIND_WATCHED,
};

// A message of the kind in which every field differs from its default.
static bb_message_t s_sample(bb_kind_t kind)
{
    bb_message_t m = {.kind = kind,
                      .epoch = 3,
                      .request_id = UINT64_C(0x1122334455667788),
                      .trace_id = 99,
                      .timeout_ns = 5 * BB_NS_PER_S};
    switch (kind) {
    case BB_KIND_HELLO:
        m.hello = (bb_hello_t){S_TEXT("busbar/0.1.0"), true};
        break;
    case BB_KIND_HELLO_REPLY:
        m.hello_reply = (bb_hello_reply_t){.cluster_name = S_TEXT("demo"),
                                           .cluster_id = {0xca, 0xfe, 1},
                                           .node_id = S_TEXT("n1"),
                                           .partition_count = 4,
                                           .placement_key = {7, 7, 9},
                                           .node_count = 2,
                                           .nodes = s_nodes,
                                           .replica_stride = 2,
                                           .replicas = s_replicas,
                                           .default_write_level = BB_LEVEL_EACH_QUORUM,
                                           .default_read_level = BB_LEVEL_ONE};
        break;
    case BB_KIND_WRITE:
        m.write.level = BB_LEVEL_ALL;
        break;
    case BB_KIND_WRITE_REPLY:
        m.write_reply = (bb_write_reply_t){.acked_points = 1200,
                                           .rejected_points = 13,
                                           .quarantined_points = 2,
                                           .acked_frames = 100,
                                           .rejected_frames = 1,
                                           .rejection_count = 2,
                                           .rejections = s_rejections};
        break;
    case BB_KIND_QUERY:
        m.query = (bb_query_t){.mode = BB_QUERY_AGGREGATE,
                               .level = BB_LEVEL_LOCAL_QUORUM,
                               .from_wall_ns = 1000,
                               .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                               .every_ns = 60 * BB_NS_PER_S,
                               .aggregates = BB_AGGREGATE_MEAN | BB_AGGREGATE_LAST,
                               .group_by_none = true,
                               .partition_count = 3,
                               .partitions = s_partitions,
                               .battery_count = 2,
                               .batteries = s_batteries,
                               .metric_count = 3,
                               .metrics = s_metrics,
                               .row_limit = 12345,
                               .page_bytes_max = 65536,
                               .cursor = S_TEXT("\0cursor\xff")};
        break;
    case BB_KIND_RESULT:
        m.result = (bb_result_t){.missing_count = 2,
                                 .missing = s_missing,
                                 .cursor = S_TEXT("go on here"),
                                 .damaged_window_count = 6};
        break;
    case BB_KIND_STATUS_REPLY:
        m.status_reply = (bb_status_reply_t){.cluster_name = S_TEXT("demo"),
                                             .node_id = S_TEXT("n1"),
                                             .version = S_TEXT("0.1.0"),
                                             .ready = true,
                                             .draining = true,
                                             .partition_count = 1024,
                                             .under_replicated = 5,
                                             .unequal = 6,
                                             .streams = 1000,
                                             .streams_dead = 997,
                                             .default_write_level = BB_LEVEL_QUORUM,
                                             .default_read_level = BB_LEVEL_ALL,
                                             .uptime_ns = 1,
                                             .points_total = 2,
                                             .batteries_total = 3,
                                             .head_bytes = 4,
                                             .journal_bytes = 5,
                                             .segment_bytes = 6,
                                             .segment_points = 7,
                                             .unsealed_chunks = 8,
                                             .untrimmed_chunks = 9,
                                             .runs_to_merge = 10,
                                             .quarantined_points = 11,
                                             .damage_count = 12,
                                             .node_count = 2,
                                             .nodes = s_status_nodes};
        break;
    case BB_KIND_SETTLE_REPLY:
        m.settle_reply = (bb_settle_reply_t){.sealed = true, .merged = false, .trimmed = true};
        break;
    case BB_KIND_RELEASE:
        m.release =
            (bb_release_t){.battery_count = 2, .batteries = s_batteries, .level = BB_LEVEL_ONE};
        break;
    case BB_KIND_RELEASE_REPLY:
        m.release_reply.released_points = 44;
        break;
    case BB_KIND_SCRUB:
        m.scrub = (bb_scrub_request_t){.start = true, .rate_bytes_per_s = UINT64_MAX};
        break;
    case BB_KIND_SCRUB_REPLY:
        m.scrub_reply = (bb_scrub_reply_t){.is_running = true,
                                           .windows_left = 1,
                                           .findings = 2,
                                           .bytes_total = 3,
                                           .findings_total = 4,
                                           .oldest_age_ns = 5,
                                           .barred_count = 6,
                                           .damage_count = 7,
                                           .damage_line_count = 2,
                                           .damage_lines = s_batteries};
        break;
    case BB_KIND_ERROR:
        m.error = (bb_error_reply_t){
            .code = BB_ERR_BUSY, .detail = S_TEXT("1 GiB in flight"), .retry_after_ms = 250};
        break;
    case BB_KIND_HEARTBEAT:
        m.heartbeat = (bb_heartbeat_t){.incarnation = {{1, 2, 3}},
                                       .wall_ns = 1700000000123456789,
                                       .cluster_id = {8, 9},
                                       .ready = true,
                                       .draining = true,
                                       .store_count = 3,
                                       .registry_digest = UINT64_MAX - 1,
                                       .sync_latency_us = 4711,
                                       .have_mark = UINT64_C(0xabcdef0123456789)};
        break;
    case BB_KIND_REPLICATE_ACK:
        m.replicate_ack = (bb_replicate_ack_t){.stream = {{5}},
                                               .incarnation = {{6}},
                                               .range_count = 2,
                                               .ranges = s_ranges,
                                               .batch_count = 2,
                                               .batches = s_ack_batches,
                                               .lane = {7, 3}};
        break;
    case BB_KIND_HAVE_REQUEST:
        m.have_request = (bb_have_request_t){.incarnation = {{4}},
                                             .since_version = 71,
                                             .lane = {BB_LANES_MAX, BB_LANES_MAX - 1},
                                             .takes_tails = true};
        break;
    case BB_KIND_HAVE:
        m.have = (bb_have_t){.incarnation = {{4}},
                             .version = 72,
                             .since_version = 71,
                             .is_last = true,
                             .lane = {6, 2},
                             .entry_count = 2,
                             .entries = s_entries,
                             .tail_streams = bb_slice("0123456789abcdef", 16),
                             .tails = bb_slice("\x00\x01\x02", 3),
                             .sealed_below = 4711};
        break;
    case BB_KIND_PULL:
        m.pull = (bb_pull_t){.forgotten_count = 2,
                             .forgotten = s_floors,
                             .budget_bytes = 4 << 20,
                             .lane = {1, 0},
                             .entry_count = 2,
                             .entries = s_entries};
        break;
    case BB_KIND_PULL_DONE:
        m.pull_done = (bb_pull_done_t){.more = true,
                                       .lane = {2, 1},
                                       .chunk_count = 10,
                                       .unavailable_count = 2,
                                       .unavailable = s_unavailable};
        break;
    case BB_KIND_WATCHED:
        m.watched = (bb_watched_t){.lane = {6, 5}, .entry_count = 2, .entries = s_entries};
        break;
    case BB_KIND_REGISTRY:
        m.registry = (bb_registry_message_t){.is_put = true,
                                             .bucket_count = BB_REGISTRY_BUCKETS,
                                             .buckets = s_buckets,
                                             .entry_count = 2,
                                             .entries = s_registry};
        break;
    case BB_KIND_ROUTES:
        m.routes = (bb_routes_message_t){.slow_count = 3, .slow = s_forward};
        break;
    case BB_KIND_REPLICATE:
        m.replicate = (bb_replicate_t){.forward_count = 3, .forward = s_forward};
        break;
    case BB_KIND_SYNC_ASK: // test_bb_message_sync.c
    case BB_KIND_SYNC_ANSWER:
    case BB_KIND_STATUS:
    case BB_KIND_SETTLE:
        break;
    }
    return m;
}

static void s_round_trip(const bb_message_t *sent)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    bb_message_encode(sent, &bytes, &length);
    bb_message_t got;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&got, bb_slice(bytes, length), &fault);
    if (error != BB_OK) {
        fail_msg("%s: %s: %s", bb_kind_name(sent->kind), bb_error_name(error), fault.text);
    }
    message_expect_same(sent, &got);
    bb_message_close(&got);
    assert_null(got.memory);
    free(bytes);
}

// Goal: nothing is lost on the way. Method: a sample of each kind in which no field has its
// default, compared field by field.
static void message_round_trip_of_every_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < BB_COUNT_OF(s_kinds); i++) {
        bb_message_t sample = s_sample(s_kinds[i]);
        s_round_trip(&sample);
    }
}

// Goal: session tokens pass in each message that carries one, also the largest.
static void message_round_trip_of_sessions(void **state)
{
    (void)state;
    uint8_t *bytes = bb_alloc(BB_SESSION_TOKEN_BYTES_MAX);
    memset(bytes, 7, BB_SESSION_TOKEN_BYTES_MAX);
    for (uint32_t i = 0; i < 2; i++) {
        bb_slice_t session = bb_slice(bytes, i == 0 ? 1 : BB_SESSION_TOKEN_BYTES_MAX);
        bb_message_t m = {.kind = BB_KIND_WRITE, .write = {BB_LEVEL_ONE, true, true}};
        s_round_trip(&m);
        m = (bb_message_t){.kind = BB_KIND_WRITE_REPLY, .write_reply = {.session = session}};
        s_round_trip(&m);
        m = (bb_message_t){.kind = BB_KIND_RESULT, .result = {.session = session}};
        s_round_trip(&m);
        m = (bb_message_t){.kind = BB_KIND_QUERY,
                           .query = {.mode = BB_QUERY_LAST,
                                     .level = BB_LEVEL_ONE,
                                     .session = session,
                                     .wants_session = true}};
        s_round_trip(&m);
    }
    free(bytes);
}

// Goal: credits pass with each kind of answer that tells one; without one nothing is said, in not
// a byte more than before there were any.
static void message_round_trip_of_credits(void **state)
{
    (void)state;
    const bb_kind_t kinds[] = {BB_KIND_HELLO_REPLY, BB_KIND_WRITE_REPLY, BB_KIND_ERROR};
    for (size_t i = 0; i < BB_COUNT_OF(kinds); i++) {
        bb_message_t m = s_sample(kinds[i]);
        m.credit_bytes = 1;
        s_round_trip(&m);
        m.credit_bytes = UINT32_MAX;
        s_round_trip(&m);
    }
}

// Goal: empty lists and texts, and values at their limits, pass too.
static void message_round_trip_at_the_limits(void **state)
{
    (void)state;
    bb_message_t m = {.kind = BB_KIND_QUERY,
                      .epoch = UINT32_MAX,
                      .request_id = UINT64_MAX,
                      .trace_id = UINT64_MAX,
                      .timeout_ns = BB_DEADLINE_NS_MAX};
    m.query = (bb_query_t){.mode = BB_QUERY_BATTERIES, .level = BB_LEVEL_ONE};
    s_round_trip(&m);
    m.query = (bb_query_t){.mode = BB_QUERY_LAST,
                           .level = BB_LEVEL_ONE,
                           .compare = BB_COMPARE_ABOVE,
                           .threshold = -0.5,
                           .accepts_rows = true,
                           .is_hedge = true};
    s_round_trip(&m);
    m.query = (bb_query_t){.mode = BB_QUERY_BATTERIES, .level = BB_LEVEL_ONE};
    bb_slice_t longest[2];
    char id[BB_BATTERY_ID_BYTES_MAX];
    memset(id, 'x', sizeof id);
    longest[0] = bb_slice(id, sizeof id);
    longest[1] = bb_slice(id, 1);
    m.query.battery_count = 2;
    m.query.batteries = longest;
    s_round_trip(&m);
    const bb_kind_t kinds[] = {BB_KIND_HELLO,         BB_KIND_WRITE_REPLY,   BB_KIND_RESULT,
                               BB_KIND_SETTLE_REPLY,  BB_KIND_RELEASE_REPLY, BB_KIND_HEARTBEAT,
                               BB_KIND_REPLICATE_ACK, BB_KIND_HAVE_REQUEST,  BB_KIND_HAVE,
                               BB_KIND_PULL,          BB_KIND_PULL_DONE,     BB_KIND_SCRUB_REPLY,
                               BB_KIND_REGISTRY,      BB_KIND_REPLICATE,     BB_KIND_ROUTES};
    for (size_t i = 0; i < BB_COUNT_OF(kinds); i++) {
        bb_message_t empty = {.kind = kinds[i]};
        const bb_lane_t lane = {1, 0};
        if (kinds[i] == BB_KIND_HEARTBEAT) {
            empty.heartbeat.store_count = 1;
        } else if (kinds[i] == BB_KIND_HAVE_REQUEST) {
            empty.have_request.lane = lane;
        } else if (kinds[i] == BB_KIND_HAVE) {
            empty.have.lane = lane;
        } else if (kinds[i] == BB_KIND_PULL) {
            empty.pull.lane = lane;
        } else if (kinds[i] == BB_KIND_PULL_DONE) {
            empty.pull_done.lane = lane;
        }
        s_round_trip(&empty);
    }
}

// Goal: a detail that is too long arrives cut, not in the middle of a character; a wait that is
// too long arrives as the longest one.
static void message_encode_cuts_what_people_read(void **state)
{
    (void)state;
    char detail[BB_MESSAGE_TEXT_BYTES_MAX + 10];
    memset(detail, 'd', sizeof detail);
    memcpy(detail + BB_MESSAGE_TEXT_BYTES_MAX - 1, "\xc3\xa4", 2); // straddles the limit
    bb_message_t m = {.kind = BB_KIND_ERROR, .timeout_ns = 2 * BB_DEADLINE_NS_MAX};
    m.error = (bb_error_reply_t){.code = BB_ERR_IO, .detail = bb_slice(detail, sizeof detail)};
    uint8_t *bytes;
    size_t length;
    bb_message_encode(&m, &bytes, &length);
    bb_message_t got;
    assert_int_equal(bb_message_decode(&got, bb_slice(bytes, length), NULL), BB_OK);
    assert_int_equal(got.error.detail.length, BB_MESSAGE_TEXT_BYTES_MAX - 1);
    assert_true(got.timeout_ns == BB_DEADLINE_NS_MAX);
    bb_message_close(&got);
    free(bytes);
}

// Fields of the envelope by their number in message.fbs.
enum { S_VERSION, S_KIND, S_EPOCH, S_REQUEST, S_TRACE, S_TIMEOUT, S_BODY_TYPE, S_BODY };

// Encodes the sample of `kind`, lets `damage` change it, expects `expected` with a sentence.
typedef void (*s_damage_fn)(uint8_t *envelope, uint8_t *body);

static void s_expect_refused(bb_kind_t kind, s_damage_fn damage, bb_error_t expected)
{
    bb_message_t sample = s_sample(kind);
    uint8_t *bytes;
    size_t length;
    bb_message_encode(&sample, &bytes, &length);
    uint8_t *envelope = wire_root(bytes);
    uint8_t *body_field = wire_field(envelope, S_BODY);
    damage(envelope, body_field ? wire_follow(body_field) : NULL);
    bb_message_t got;
    bb_fault_t fault = {0};
    bb_error_t error = bb_message_decode(&got, bb_slice(bytes, length), &fault);
    if (error != expected) {
        fail_msg("%s: expected %s, got %s", bb_kind_name(kind), bb_error_name(expected),
                 bb_error_name(error));
    }
    assert_int_equal(fault.error, expected);
    assert_true(strlen(fault.text) > 5);
    free(bytes);
}

#define S_DAMAGE(name, statement)                                                                  \
    static void name(uint8_t *envelope, uint8_t *body)                                             \
    {                                                                                              \
        (void)envelope;                                                                            \
        (void)body;                                                                                \
        statement;                                                                                 \
    }
// First element of the vector in field `index` of the body.
#define S_ELEMENT(index) (wire_follow(wire_field(body, index)) + 4)
#define S_TABLE(index)   wire_follow(S_ELEMENT(index))

S_DAMAGE(s_version, wire_put(wire_field(envelope, S_VERSION), 2, 1))
S_DAMAGE(s_kind_unknown, wire_put(wire_field(envelope, S_KIND), 20, 1))
S_DAMAGE(s_kind_other, wire_put(wire_field(envelope, S_KIND), BB_KIND_WRITE, 1))
S_DAMAGE(s_kind_bodiless, wire_put(wire_field(envelope, S_KIND), BB_KIND_STATUS, 1))
S_DAMAGE(s_body_type, wire_put(wire_field(envelope, S_BODY_TYPE), 200, 1))
S_DAMAGE(s_timeout_negative, wire_put(wire_field(envelope, S_TIMEOUT), UINT64_MAX, 8))
S_DAMAGE(s_timeout_long, wire_put(wire_field(envelope, S_TIMEOUT), (uint64_t)1 << 60, 8))
S_DAMAGE(s_partition_count_odd, wire_put(wire_field(body, 3), 3, 4))
S_DAMAGE(s_partition_count_other, wire_put(wire_field(body, 3), 8, 4))
S_DAMAGE(s_partition_count_huge, wire_put(wire_field(body, 3), 1u << 31, 4))
S_DAMAGE(s_stride, wire_put(wire_field(body, 6), 0, 4))
S_DAMAGE(s_stride_huge, wire_put(wire_field(body, 6), 1u << 30, 4))
S_DAMAGE(s_replica_index, wire_put(S_ELEMENT(7), 2, 2))
S_DAMAGE(s_hello_write_level, wire_put(wire_field(body, 8), 6, 1))
S_DAMAGE(s_hello_read_level, wire_put(wire_field(body, 9), 200, 1))
S_DAMAGE(s_status_write_level, wire_put(wire_field(body, 22), 6, 1))
S_DAMAGE(s_status_read_level, wire_put(wire_field(body, 23), 6, 1))
S_DAMAGE(s_write_level, wire_put(wire_field(body, 0), 6, 1))
S_DAMAGE(s_rejection_error, wire_put(wire_field(S_TABLE(5), 2), 15, 4))
S_DAMAGE(s_query_mode, wire_put(wire_field(body, 0), 0, 1))
S_DAMAGE(s_query_level, wire_put(wire_field(body, 1), 9, 1))
S_DAMAGE(s_query_from, wire_put(wire_field(body, 2), UINT64_MAX, 8))
S_DAMAGE(s_query_to, wire_put(wire_field(body, 3), 999, 8))
S_DAMAGE(s_query_every, wire_put(wire_field(body, 4), (uint64_t)1 << 63, 8))
S_DAMAGE(s_query_aggregates, wire_put(wire_field(body, 5), 0x80, 4))
S_DAMAGE(s_query_partitions, wire_put(S_ELEMENT(7), 5, 4))
S_DAMAGE(s_missing_error, wire_put(S_ELEMENT(0) + 4, 0x80000001u, 4))
S_DAMAGE(s_missing_partition, wire_put(S_ELEMENT(0), BB_PARTITIONS_MAX, 4))
S_DAMAGE(s_under_replicated, wire_put(wire_field(body, 6), 1025, 4))
S_DAMAGE(s_unequal, wire_put(wire_field(body, 24), 1025, 4))
S_DAMAGE(s_streams_dead, wire_put(wire_field(body, 26), 1001, 8))
S_DAMAGE(s_release_level, wire_put(wire_field(body, 1), 0, 1))
S_DAMAGE(s_error_ok, wire_put(wire_field(body, 0), 0, 4))
S_DAMAGE(s_error_unknown, wire_put(wire_field(body, 0), 98, 4))
S_DAMAGE(s_ack_zero, wire_put(S_ELEMENT(2) + 8, 0, 8))
S_DAMAGE(s_ack_descends, wire_put(S_ELEMENT(2) + 24 + 16, 76, 8))
S_DAMAGE(s_ack_spare, wire_put(S_ELEMENT(2) + 4, 1, 4))
S_DAMAGE(s_ack_partition, wire_put(S_ELEMENT(2), BB_PARTITIONS_MAX, 4))
S_DAMAGE(s_ack_batch_lane, wire_put(S_ELEMENT(3), 4, 4))
S_DAMAGE(s_ack_batch_partition, wire_put(S_ELEMENT(3) + 24, BB_PARTITIONS_MAX + 6, 4))
S_DAMAGE(s_ack_batch_empty, wire_put(S_ELEMENT(3) + 4, 0, 4))
S_DAMAGE(s_ack_batch_parts, wire_put(S_ELEMENT(3) + 4, BB_PARTITIONS_MAX + 1, 4))
S_DAMAGE(s_ack_batch_seq, wire_put(S_ELEMENT(3) + 24 + 8, 0, 8))
S_DAMAGE(s_ack_no_lane, wire_put(wire_field(body, 4), 0, 4))
S_DAMAGE(s_ack_other_lane, wire_put(wire_field(body, 4) + 4, 7, 4))
S_DAMAGE(s_forward_twice, wire_put(S_ELEMENT(0) + 2, 0, 2))
S_DAMAGE(s_forward_index, wire_put(S_ELEMENT(0) + 4, BB_NODES_MAX, 2))
S_DAMAGE(s_heartbeat_no_stores, wire_put(wire_field(body, 5), 0, 4))
S_DAMAGE(s_heartbeat_stores, wire_put(wire_field(body, 5), BB_STORES_MAX + 1, 4))
S_DAMAGE(s_have_request_lane, wire_put(wire_field(body, 2) + 4, BB_LANES_MAX, 4))
S_DAMAGE(s_have_request_lanes, wire_put(wire_field(body, 2), BB_LANES_MAX + 1, 4))
S_DAMAGE(s_have_lane, wire_put(wire_field(body, 4) + 4, 6, 4))
S_DAMAGE(s_have_partition, wire_put(wire_field(S_TABLE(5), 0), BB_PARTITIONS_MAX, 4))
S_DAMAGE(s_pull_lanes, wire_put(wire_field(body, 1), 0, 4))
S_DAMAGE(s_pull_odd, wire_put(wire_follow(wire_field(body, 3)), 3, 4))
S_DAMAGE(s_pull_order, wire_put(wire_follow(wire_field(body, 3)) + 4, 9, 4))
S_DAMAGE(s_pull_nothing, wire_put(wire_follow(wire_field(body, 3)) + 8, 0, 4))
S_DAMAGE(s_registry_buckets, wire_put(wire_follow(wire_field(body, 1)), 255, 4))
S_DAMAGE(s_registry_many, wire_put(wire_follow(wire_field(body, 2)), 257, 4))
S_DAMAGE(s_registry_kind, wire_put(wire_field(S_TABLE(2), 0), 77, 1))
S_DAMAGE(s_registry_number, wire_put(wire_field(S_TABLE(2), 2), 0, 8))
S_DAMAGE(s_registry_key, wire_put(wire_follow(wire_field(S_TABLE(2), 1)), 0, 4))
S_DAMAGE(s_pull_done_lane, wire_put(wire_field(body, 1) + 4, UINT32_MAX, 4))
S_DAMAGE(s_unavailable_partition, wire_put(S_ELEMENT(3), UINT32_MAX, 4))

// Goal: each rule refuses by itself. Method: one field of a good message is changed.
static void message_decode_refuses_each_bad_field(void **state)
{
    (void)state;
    const bb_error_t corrupt = BB_ERR_MESSAGE_CORRUPT;
    s_expect_refused(BB_KIND_HELLO, s_version, BB_ERR_MESSAGE_VERSION);
    s_expect_refused(BB_KIND_HELLO, s_kind_unknown, BB_ERR_MESSAGE_VERSION);
    s_expect_refused(BB_KIND_HELLO, s_kind_other, corrupt);
    s_expect_refused(BB_KIND_HELLO, s_kind_bodiless, corrupt);
    s_expect_refused(BB_KIND_HELLO, s_body_type, corrupt);
    s_expect_refused(BB_KIND_HELLO, s_timeout_negative, corrupt);
    s_expect_refused(BB_KIND_HELLO, s_timeout_long, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_partition_count_odd, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_partition_count_other, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_partition_count_huge, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_stride, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_stride_huge, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_replica_index, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_hello_write_level, corrupt);
    s_expect_refused(BB_KIND_HELLO_REPLY, s_hello_read_level, corrupt);
    s_expect_refused(BB_KIND_STATUS_REPLY, s_status_write_level, corrupt);
    s_expect_refused(BB_KIND_STATUS_REPLY, s_status_read_level, corrupt);
    s_expect_refused(BB_KIND_WRITE, s_write_level, corrupt);
    s_expect_refused(BB_KIND_WRITE_REPLY, s_rejection_error, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_mode, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_level, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_from, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_to, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_every, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_aggregates, corrupt);
    s_expect_refused(BB_KIND_QUERY, s_query_partitions, corrupt);
    s_expect_refused(BB_KIND_RESULT, s_missing_error, corrupt);
    s_expect_refused(BB_KIND_RESULT, s_missing_partition, corrupt);
    s_expect_refused(BB_KIND_STATUS_REPLY, s_under_replicated, corrupt);
    s_expect_refused(BB_KIND_STATUS_REPLY, s_unequal, corrupt);
    s_expect_refused(BB_KIND_STATUS_REPLY, s_streams_dead, corrupt);
    s_expect_refused(BB_KIND_RELEASE, s_release_level, corrupt);
    s_expect_refused(BB_KIND_ERROR, s_error_ok, corrupt);
    s_expect_refused(BB_KIND_ERROR, s_error_unknown, corrupt);
    s_expect_refused(BB_KIND_ROUTES, s_forward_twice, corrupt);
    s_expect_refused(BB_KIND_ROUTES, s_forward_index, corrupt);
    s_expect_refused(BB_KIND_REPLICATE, s_forward_twice, corrupt);
    s_expect_refused(BB_KIND_REPLICATE, s_forward_index, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_zero, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_descends, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_spare, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_partition, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_batch_lane, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_batch_partition, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_batch_empty, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_batch_parts, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_batch_seq, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_no_lane, corrupt);
    s_expect_refused(BB_KIND_REPLICATE_ACK, s_ack_other_lane, corrupt);
    s_expect_refused(BB_KIND_HAVE_REQUEST, s_have_request_lane, corrupt);
    s_expect_refused(BB_KIND_HAVE_REQUEST, s_have_request_lanes, corrupt);
    s_expect_refused(BB_KIND_HEARTBEAT, s_heartbeat_no_stores, corrupt);
    s_expect_refused(BB_KIND_HEARTBEAT, s_heartbeat_stores, corrupt);
    s_expect_refused(BB_KIND_HAVE, s_have_lane, corrupt);
    s_expect_refused(BB_KIND_HAVE, s_have_partition, corrupt);
    s_expect_refused(BB_KIND_PULL, s_pull_lanes, corrupt);
    s_expect_refused(BB_KIND_PULL, s_pull_odd, corrupt);
    s_expect_refused(BB_KIND_PULL, s_pull_order, corrupt);
    s_expect_refused(BB_KIND_PULL, s_pull_nothing, corrupt);
    s_expect_refused(BB_KIND_PULL_DONE, s_pull_done_lane, corrupt);
    s_expect_refused(BB_KIND_REGISTRY, s_registry_buckets, corrupt);
    s_expect_refused(BB_KIND_REGISTRY, s_registry_many, corrupt);
    s_expect_refused(BB_KIND_REGISTRY, s_registry_kind, corrupt);
    s_expect_refused(BB_KIND_REGISTRY, s_registry_number, corrupt);
    s_expect_refused(BB_KIND_REGISTRY, s_registry_key, corrupt);
    s_expect_refused(BB_KIND_PULL_DONE, s_unavailable_partition, corrupt);
}

// Goal: bytes that are no message are refused before anything is read from them.
static void message_decode_refuses_bytes_that_are_no_message(void **state)
{
    (void)state;
    bb_message_t got;
    bb_fault_t fault;
    _Alignas(8) uint8_t zeros[64] = {0};
    assert_int_equal(bb_message_decode(&got, bb_slice(NULL, 0), &fault), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_message_decode(&got, bb_slice(zeros, 15), &fault), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_message_decode(&got, bb_slice(zeros, 64), &fault), BB_ERR_MESSAGE_CORRUPT);
    assert_int_equal(bb_message_decode(&got, bb_slice(zeros, BB_MESSAGE_BYTES_MAX + 1u), &fault),
                     BB_ERR_MESSAGE_BYTES);
    bb_message_t sample = s_sample(BB_KIND_HEARTBEAT);
    uint8_t *bytes;
    size_t length;
    bb_message_encode(&sample, &bytes, &length);
    uint8_t *shifted = malloc(length + 4);
    memcpy(shifted + 4, bytes, length); // a frame that starts off the 8-byte grid
    assert_int_equal(bb_message_decode(&got, bb_slice(shifted + 4, length), &fault),
                     BB_ERR_MESSAGE_CORRUPT);
    for (size_t cut = 0; cut < length; cut += 4) { // exact copies, so that ASan sees an overrun
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, bytes, cut);
        if (bb_message_decode(&got, bb_slice(part, cut), &fault) == BB_OK) {
            bb_message_close(&got);
        }
        free(part);
    }
    free(shifted);
    free(bytes);
}

// Goal: no damage makes the decoder read outside the buffer or accept a value that the encoder
// would refuse. Method: 1,500 mutations of each kind; what is accepted must encode again.
static void message_decode_survives_mutations(void **state)
{
    (void)state;
    bb_random_t seed = bb_random_seed(20260101);
    uint32_t accepted = 0;
    for (size_t k = 0; k < BB_COUNT_OF(s_kinds); k++) {
        bb_message_t sample = s_sample(s_kinds[k]);
        uint8_t *bytes;
        size_t length;
        bb_message_encode(&sample, &bytes, &length);
        uint8_t *copy = malloc(length);
        for (uint32_t round = 0; round < 1500; round++) {
            memcpy(copy, bytes, length);
            uint32_t changes = 1 + (uint32_t)(bb_random_next(&seed) % 4);
            for (uint32_t i = 0; i < changes; i++) {
                uint8_t *at = &copy[bb_random_next(&seed) % length];
                uint64_t how = bb_random_next(&seed);
                *at =
                    how % 3 == 0 ? (uint8_t)(how >> 8) : (uint8_t)(*at ^ (1u << ((how >> 8) & 7)));
            }
            bb_message_t got;
            if (bb_message_decode(&got, bb_slice(copy, length), NULL) == BB_OK) {
                accepted++;
                uint8_t *again;
                size_t again_length;
                bb_message_encode(&got, &again, &again_length);
                free(again);
                bb_message_close(&got);
            }
        }
        free(copy);
        free(bytes);
    }
    assert_true(accepted > 1000); // payload bits changed; otherwise the test tests nothing
}

static void s_golden_path(bb_kind_t kind, char *path, size_t size)
{
    snprintf(path, size, "%s/tests/golden/wire/message_%s_v1.bin", BB_SOURCE_DIR,
             bb_kind_name(kind));
}

// Goal: the wire format stays what it was when version 1 was released. Method: files in git decode
// to the samples, and the samples encode to the files.
static void message_golden_files_of_every_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < BB_COUNT_OF(s_kinds); i++) {
        char path[512];
        s_golden_path(s_kinds[i], path, sizeof path);
        FILE *file = fopen(path, "rb");
        if (!file) {
            fail_msg("golden file is missing: %s", path);
        }
        uint8_t *bytes = malloc(65536);
        size_t length = fread(bytes, 1, 65536, file);
        fclose(file);
        bb_message_t got;
        assert_int_equal(bb_message_decode(&got, bb_slice(bytes, length), NULL), BB_OK);
        bb_message_t sample = s_sample(s_kinds[i]);
        message_expect_same(&sample, &got);
        uint8_t *again;
        size_t again_length;
        bb_message_encode(&got, &again, &again_length);
        assert_int_equal(again_length, length);
        assert_memory_equal(again, bytes, length);
        free(again);
        bb_message_close(&got);
        free(bytes);
    }
}

// Goal: the count of stores travels in a heartbeat.
static void message_heartbeat_says_how_many_stores(void **state)
{
    (void)state;
    for (uint32_t store_count = 1; store_count <= BB_STORES_MAX; store_count++) {
        bb_message_t sample = s_sample(BB_KIND_HEARTBEAT);
        sample.heartbeat.store_count = store_count;
        uint8_t *bytes;
        size_t length;
        bb_message_encode(&sample, &bytes, &length);
        bb_message_t decoded;
        assert_int_equal(bb_message_decode(&decoded, bb_slice(bytes, length), NULL), BB_OK);
        assert_int_equal(decoded.heartbeat.store_count, store_count);
        bb_message_close(&decoded);
        free(bytes);
    }
}

static int s_write_golden(void)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_kinds); i++) {
        char path[512];
        s_golden_path(s_kinds[i], path, sizeof path);
        bb_message_t sample = s_sample(s_kinds[i]);
        uint8_t *bytes;
        size_t length;
        bb_message_encode(&sample, &bytes, &length);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) {
            perror(path);
            return 1;
        }
        free(bytes);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        return s_write_golden();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_round_trip_of_every_kind),
        cmocka_unit_test(message_round_trip_of_credits),
        cmocka_unit_test(message_round_trip_of_sessions),
        cmocka_unit_test(message_round_trip_at_the_limits),
        cmocka_unit_test(message_encode_cuts_what_people_read),
        cmocka_unit_test(message_decode_refuses_each_bad_field),
        cmocka_unit_test(message_decode_refuses_bytes_that_are_no_message),
        cmocka_unit_test(message_decode_survives_mutations),
        cmocka_unit_test(message_golden_files_of_every_kind),
        cmocka_unit_test(message_heartbeat_says_how_many_stores),
    };
    return cmocka_run_group_tests_name("bb_message", tests, NULL, NULL);
}

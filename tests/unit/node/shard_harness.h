// SPDX-License-Identifier: Apache-2.0
// shard_harness - a few shards on simulated disks, joined by a list of messages that a test moves.
//
// Nothing happens by itself: time is a number that the test sets, messages wait until _pump, and a
// blocked link loses what is sent over it.
#ifndef SHARD_HARNESS_H
#define SHARD_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "node/ingest/bb_peer_split.h"
#include "node/ingest/bb_shard.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"
#include "tests/unit/node/replication_topology.h"

#define H_NODES_MAX   6
#define H_ANSWERS_MAX 256
#define H_MS          BB_NS_PER_MS
#define H_WALL_NS     INT64_C(1767225600000000000)

typedef struct {
    uint32_t from, to;
    bb_kind_t kind;
    bb_buffer_t *envelope, *chunks, *body;
} h_message_t;

typedef struct {
    bool is_here;
    bb_message_t message; // decoded from envelope
    bb_buffer_t *envelope, *body;
} h_answer_t;

typedef struct h_cluster h_cluster_t;

typedef struct {
    h_cluster_t *cluster;
    uint32_t index;
    bb_sim_disk_t *disk;
    bb_topology_t *topology;
    bb_shard_t *shard;
    bb_stream_t stream;
    bb_store_job_t *job;
    bool holds_jobs; // its background thread is slow
} h_node_t;

struct h_cluster {
    uint32_t node_count;
    int64_t now_ns;
    bool is_skewed;
    int64_t wall_shift_ns;     // of every node's clock
    bb_shard_options_t tuning; // limits of shards opened from now on
    h_node_t nodes[H_NODES_MAX];
    bool is_blocked[H_NODES_MAX][H_NODES_MAX];
    bb_kind_t blocked_kind; // this kind is lost everywhere; 0: none
    uint32_t
        split_from; // these nodes and later ones send REPLICATE in two, as two stores do; 0: none
    h_message_t *messages;
    uint32_t message_count, message_capacity;
    h_answer_t answers[H_ANSWERS_MAX];
    uint64_t ticket_next;
    uint64_t bytes[H_NODES_MAX][H_NODES_MAX]; // of batches, sent from and to; blocked ones too
};

static inline bb_shard_time_t h_time(const h_cluster_t *self)
{
    return (bb_shard_time_t){.mono_ns = self->now_ns,
                             .wall_ns = H_WALL_NS + self->now_ns + self->wall_shift_ns,
                             .is_skewed = self->is_skewed};
}

static inline void h_queue(h_cluster_t *self, const h_message_t *message, bb_buffer_t *chunks,
                           bb_buffer_t *body)
{
    if (self->message_count == self->message_capacity) {
        self->message_capacity = BB_MAX(2 * self->message_capacity, 64u);
        self->messages =
            bb_realloc(self->messages, self->message_capacity * sizeof *self->messages);
    }
    h_message_t *queued = &self->messages[self->message_count++];
    *queued = *message;
    queued->envelope = bb_buffer_keep(message->envelope);
    queued->chunks = chunks ? bb_buffer_keep(chunks) : NULL;
    queued->body = body ? bb_buffer_keep(body) : NULL;
}

typedef struct {
    h_cluster_t *cluster;
    const h_message_t *message;
} h_split_t;

static inline void h_on_split(void *context, uint32_t store_index, const bb_message_t *message,
                              bb_buffer_t *chunks, bb_buffer_t *batch, bool is_whole)
{
    const h_split_t *split = context;
    (void)store_index, (void)message, (void)is_whole; // the envelope is the same for both
    h_queue(split->cluster, split->message, chunks, batch);
}

static inline void h_send(void *context, uint32_t peer, bool bulk, const bb_outbound_t *out)
{
    h_node_t *node = context;
    h_cluster_t *self = node->cluster;
    (void)bulk;
    bb_message_t message;
    assert_int_equal(bb_message_decode(&message, bb_buffer_slice(out->envelope), NULL), BB_OK);
    bb_kind_t kind = message.kind;
    bb_message_close(&message);
    self->bytes[node->index][peer] += bb_buffer_slice(out->body).length;
    if (self->is_blocked[node->index][peer] || kind == self->blocked_kind) {
        return;
    }
    h_message_t queued = {.from = node->index, .to = peer, .kind = kind, .envelope = out->envelope};
    if (kind == BB_KIND_REPLICATE && self->split_from > 0 && node->index >= self->split_from) {
        h_split_t split = {self, &queued};
        assert_int_equal(bb_message_decode(&message, bb_buffer_slice(out->envelope), NULL), BB_OK);
        assert_int_equal(
            bb_peer_split(2, &message, out->chunks, out->body, h_on_split, &split, NULL), BB_OK);
        bb_message_close(&message);
        return;
    }
    h_queue(self, &queued, out->chunks, out->body);
}

static inline void h_answer(void *context, uint64_t ticket, const bb_outbound_t *out)
{
    h_cluster_t *self = ((h_node_t *)context)->cluster;
    assert_true(ticket < H_ANSWERS_MAX);
    h_answer_t *answer = &self->answers[ticket];
    assert_false(answer->is_here); // one answer for each request
    answer->is_here = true;
    answer->envelope = bb_buffer_keep(out->envelope);
    answer->body = out->body ? bb_buffer_keep(out->body) : NULL;
    assert_int_equal(bb_message_decode(&answer->message, bb_buffer_slice(answer->envelope), NULL),
                     BB_OK);
}

// The scan pool: at once.
static inline void h_scan(void *context, uint64_t ticket, uint64_t request_id,
                          bb_snapshot_t *snapshot, bb_buffer_t *request,
                          const bb_missing_t *missing, uint32_t missing_count, bb_buffer_t *session,
                          int64_t deadline_mono_ns)
{
    (void)deadline_mono_ns;
    bb_message_t message;
    assert_int_equal(bb_message_decode(&message, bb_buffer_slice(request), NULL), BB_OK);
    bb_query_t query = message.query;
    uint32_t room[256];
    bb_shard_query_exclude(&query, missing, missing_count, room);
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_scan_result_t result = {0};
    bb_fault_t fault;
    assert_int_equal(bb_scan_page(snapshot, &query, builder, &result, &fault), BB_OK);
    bb_snapshot_close(&snapshot);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_page_builder_finish(builder, &data, &length);
    bb_page_builder_destroy(&builder);
    bb_outbound_t out = {.body = bb_buffer_new(data, length, NULL, NULL)};
    bb_message_t reply = {.kind = BB_KIND_RESULT,
                          .request_id = request_id,
                          .result = {.missing = missing,
                                     .missing_count = missing_count,
                                     .cursor = bb_slice(result.cursor, result.cursor_length),
                                     .session = bb_buffer_slice(session)}};
    bb_message_encode(&reply, &data, &length);
    out.envelope = bb_buffer_new(data, length, NULL, NULL);
    h_answer(context, ticket, &out);
    bb_buffer_drop(&out.envelope);
    bb_buffer_drop(&out.body);
    free(result.cursor);
    bb_message_close(&message);
}

static inline void h_job(void *context, bb_store_job_t *job)
{
    h_node_t *node = context;
    assert_null(node->job);
    node->job = job;
}

static inline void h_open_as(h_cluster_t *self, uint32_t index, bb_stream_t stream)
{
    h_node_t *node = &self->nodes[index];
    static const char *const ids[H_NODES_MAX] = {"n1", "n2", "n3", "n4", "n5", "n6"};
    node->stream = stream;
    bb_shard_options_t options = self->tuning;
    options.store = (bb_store_options_t){
        .vfs = bb_sim_disk_vfs(node->disk),
        .kv = bb_sim_kv(node->disk),
        .directory = "store",
        .cluster_id = {1},
        .node_id = ids[index],
        .store_count = 1,
        .partition_count = bb_topology_partition_count(node->topology),
        .memory_bytes =
            self->tuning.store.memory_bytes ? self->tuning.store.memory_bytes : 8u << 20,
        .disk_reserve_bytes = self->tuning.store.disk_reserve_bytes,
    };
    options.topology = node->topology;
    options.stream = node->stream;
    options.out = (bb_shard_out_t){
        .context = node, .send = h_send, .answer = h_answer, .scan = h_scan, .job = h_job};
    bb_store_report_t report;
    bb_fault_t fault = {0};
    if (bb_shard_open(&options, &report, &node->shard, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
}

static inline void h_open(h_cluster_t *self, uint32_t index, uint8_t stream)
{
    h_open_as(self, index, test_stream(stream));
}

static inline void h_tell(h_cluster_t *self, uint32_t whom, uint32_t about, bool is_up)
{
    bb_shard_peer_state(self->nodes[whom].shard, h_time(self), about, is_up,
                        &self->nodes[about].stream, 1);
}

// Two data centres of so many nodes with `rf` replicas each, or one when count2 is 0; all see each
// other.
static inline h_cluster_t *h_new_dcs(uint32_t count1, uint32_t count2, uint32_t rf,
                                     uint32_t partition_count, const bb_shard_options_t *tuning)
{
    uint32_t node_count = count1 + count2;
    h_cluster_t *self = bb_alloc_zero(1, sizeof *self);
    self->node_count = node_count;
    self->now_ns = BB_NS_PER_S;
    self->tuning = tuning ? *tuning : (bb_shard_options_t){0};
    for (uint32_t i = 0; i < node_count; i++) {
        self->nodes[i] = (h_node_t){.cluster = self, .index = i, .disk = bb_sim_disk_new()};
        self->nodes[i].topology = test_topology(count1, rf, count2, rf, partition_count, i);
        h_open(self, i, (uint8_t)(101 + i));
    }
    for (uint32_t i = 0; i < node_count; i++) {
        for (uint32_t j = 0; j < node_count; j++) {
            if (i != j) {
                h_tell(self, i, j, true);
            }
        }
    }
    return self;
}

// `node_count` nodes of one data centre.
static inline h_cluster_t *h_new(uint32_t node_count, uint32_t rf, uint32_t partition_count,
                                 const bb_shard_options_t *tuning)
{
    return h_new_dcs(node_count, 0, rf, partition_count, tuning);
}

static inline void h_message_drop(h_message_t *message)
{
    bb_buffer_drop(&message->envelope);
    bb_buffer_drop(&message->chunks);
    bb_buffer_drop(&message->body);
}

static inline void h_deliver(h_cluster_t *self, h_message_t *message)
{
    h_node_t *node = &self->nodes[message->to];
    bb_message_t decoded;
    assert_int_equal(bb_message_decode(&decoded, bb_buffer_slice(message->envelope), NULL), BB_OK);
    if (node->shard) {
        bb_shard_peer(node->shard, h_time(self), message->from, &decoded, message->chunks,
                      message->body);
    }
    bb_message_close(&decoded);
    h_message_drop(message);
}

static inline void h_commit(h_cluster_t *self, uint32_t index)
{
    h_node_t *node = &self->nodes[index];
    if (!node->shard) {
        return;
    }
    bb_shard_commit(node->shard, h_time(self));
    if (node->job && !node->holds_jobs) {
        bb_store_job_t *job = node->job;
        node->job = NULL;
        bb_fault_t fault;
        bb_error_t error = bb_store_job_run(job, &fault);
        bb_shard_job_done(node->shard, h_time(self), job, error);
    }
}

// Delivers and commits for `duration_ns` of simulated time, in steps of 10 ms.
static inline void h_pump(h_cluster_t *self, int64_t duration_ns)
{
    int64_t end_ns = self->now_ns + duration_ns;
    do {
        for (uint32_t round = 0; round < 8; round++) {
            uint32_t count = self->message_count;
            h_message_t *batch = bb_alloc((count + 1) * sizeof *batch);
            if (count > 0) {
                memcpy(batch, self->messages, count * sizeof *batch);
            }
            self->message_count = 0;
            for (uint32_t i = 0; i < count; i++) {
                h_deliver(self, &batch[i]);
            }
            free(batch);
            for (uint32_t i = 0; i < self->node_count; i++) {
                h_commit(self, i);
            }
        }
        self->now_ns += 10 * H_MS;
    } while (self->now_ns < end_ns);
}

// What waits is lost; for tests that look at one node alone.
static inline void h_lose_all(h_cluster_t *self)
{
    for (uint32_t i = 0; i < self->message_count; i++) {
        h_message_drop(&self->messages[i]);
    }
    self->message_count = 0;
}

// Power loss: closes without a flush and drops what was not synced.
static inline void h_crash(h_cluster_t *self, uint32_t index)
{
    h_node_t *node = &self->nodes[index];
    bb_random_t random = bb_random_seed(index + 1);
    bb_shard_close(&node->shard);
    bb_sim_disk_crash(node->disk, &random);
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (i != index && self->nodes[i].shard) {
            h_tell(self, i, index, false);
        }
    }
}

static inline void h_restart_as(h_cluster_t *self, uint32_t index, bb_stream_t stream)
{
    h_open_as(self, index, stream);
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (i != index && self->nodes[i].shard) {
            h_tell(self, i, index, true);
            h_tell(self, index, i, true);
        }
    }
}

static inline void h_restart(h_cluster_t *self, uint32_t index, uint8_t stream)
{
    h_restart_as(self, index, test_stream(stream));
}

static inline void h_free(h_cluster_t **self_pointer)
{
    h_cluster_t *self = *self_pointer;
    h_lose_all(self);
    for (uint32_t i = 0; i < self->node_count; i++) {
        bb_shard_close(&self->nodes[i].shard);
        bb_topology_destroy(&self->nodes[i].topology);
        bb_sim_disk_destroy(&self->nodes[i].disk);
    }
    for (uint32_t i = 0; i < H_ANSWERS_MAX; i++) {
        if (self->answers[i].is_here) {
            bb_message_close(&self->answers[i].message);
            bb_buffer_drop(&self->answers[i].envelope);
            bb_buffer_drop(&self->answers[i].body);
        }
    }
    free(self->messages);
    free(self);
    *self_pointer = NULL;
}

// ---- requests --------------------------------------------------------------------------------

// Sends any request to a node; returns the ticket. The batch (may be NULL) is taken over.
static inline uint64_t h_request(h_cluster_t *self, uint32_t node, const bb_message_t *message,
                                 bb_buffer_t *batch)
{
    uint64_t ticket = self->ticket_next++;
    bb_message_t request = *message;
    request.request_id = ticket + 1000;
    uint8_t *data = NULL;
    size_t length = 0;
    bb_message_encode(&request, &data, &length);
    bb_buffer_t *envelope = bb_buffer_new(data, length, NULL, NULL);
    bb_message_t decoded;
    assert_int_equal(bb_message_decode(&decoded, bb_slice(data, length), NULL), BB_OK);
    bb_shard_client(self->nodes[node].shard, h_time(self), ticket, &decoded, envelope, batch);
    bb_message_close(&decoded);
    bb_buffer_drop(&envelope);
    bb_buffer_drop(&batch);
    return ticket;
}

// A batch with one point for each battery number in [first, limit); the metric's type is given.
// `shift` moves every battery into a wrong partition.
typedef struct {
    uint32_t first, limit;
    int64_t time_wall_ns;
    uint64_t value;
    bb_type_t type; // 0: float64
    uint32_t shift;
    uint64_t revision;
} h_batch_t;

static inline bb_buffer_t *h_batch(const h_cluster_t *self, h_batch_t what)
{
    bb_batch_builder_t *builder = bb_batch_builder_new(what.revision);
    const bb_topology_t *topology = self->nodes[0].topology;
    bb_fault_t fault;
    for (uint32_t i = what.first; i < what.limit; i++) {
        char id[16];
        int length = snprintf(id, sizeof id, "b%03u", i);
        uint32_t partition = bb_topology_partition_of(topology, id, (size_t)length);
        partition = (partition + what.shift) % bb_topology_partition_count(topology);
        uint32_t battery = 0, shape = 0, order = 0;
        uint8_t type = (uint8_t)(what.type ? what.type : BB_TYPE_FLOAT64);
        bb_slice_t metric = bb_slice("power", 5);
        assert_int_equal(bb_batch_builder_battery(builder, partition, bb_slice(id, (size_t)length),
                                                  NULL, 0, &battery, &fault),
                         BB_OK);
        assert_int_equal(bb_batch_builder_shape(builder, &metric, &type, 1, &shape, &order, &fault),
                         BB_OK);
        uint64_t value = what.type ? what.value : bb_bits_of_double((double)what.value);
        assert_int_equal(bb_batch_builder_frame(builder, battery, shape,
                                                what.time_wall_ns ? what.time_wall_ns : H_WALL_NS,
                                                &value),
                         BB_OK);
    }
    uint8_t *data = NULL;
    size_t length = 0;
    bb_batch_builder_finish(builder, &data, &length, NULL);
    bb_batch_builder_destroy(&builder);
    return bb_buffer_new(data, length, NULL, NULL);
}

static inline uint64_t h_write(h_cluster_t *self, uint32_t node, bb_level_t level, h_batch_t what)
{
    bb_message_t message = {.kind = BB_KIND_WRITE,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .write = {.level = level}};
    return h_request(self, node, &message, h_batch(self, what));
}

// All partitions of the cluster, everything.
static inline uint64_t h_query(h_cluster_t *self, uint32_t node, bb_level_t level,
                               bb_query_mode_t mode)
{
    uint32_t partitions[256];
    uint32_t count = bb_topology_partition_count(self->nodes[node].topology);
    for (uint32_t i = 0; i < count; i++) {
        partitions[i] = i;
    }
    bb_message_t message = {.kind = BB_KIND_QUERY,
                            .epoch = TEST_EPOCH,
                            .timeout_ns = 2 * BB_NS_PER_S,
                            .query = {.mode = mode,
                                      .level = level,
                                      .from_wall_ns = BB_TIME_WALL_NS_FIRST,
                                      .to_wall_ns = BB_TIME_WALL_NS_LIMIT,
                                      .partition_count = count,
                                      .partitions = partitions}};
    return h_request(self, node, &message, NULL);
}

static inline const bb_message_t *h_answered(const h_cluster_t *self, uint64_t ticket,
                                             bb_kind_t kind)
{
    assert_true(self->answers[ticket].is_here);
    const bb_message_t *message = &self->answers[ticket].message;
    if (message->kind != kind && message->kind == BB_KIND_ERROR) {
        fail_msg("error %s: %.*s", bb_error_name(message->error.code),
                 (int)message->error.detail.length, (const char *)message->error.detail.data);
    }
    assert_int_equal(message->kind, kind);
    assert_int_equal(message->request_id, ticket + 1000);
    return message;
}

static inline void h_expect_error(const h_cluster_t *self, uint64_t ticket, bb_error_t error)
{
    assert_int_equal(h_answered(self, ticket, BB_KIND_ERROR)->error.code, error);
}

static inline bool h_is_answered(const h_cluster_t *self, uint64_t ticket)
{
    return self->answers[ticket].is_here;
}

// Rows of a RESULT.
static inline uint32_t h_rows(const h_cluster_t *self, uint64_t ticket)
{
    h_answered(self, ticket, BB_KIND_RESULT);
    bb_page_t page;
    assert_int_equal(bb_page_open(&page, bb_buffer_slice(self->answers[ticket].body), NULL), BB_OK);
    uint32_t count = 0;
    for (uint32_t i = 0; i < page.series_count; i++) {
        count += page.series[i].row_count;
    }
    bb_page_close(&page);
    return count;
}

static inline bb_shard_stats_t h_stats(const h_cluster_t *self, uint32_t node)
{
    bb_shard_stats_t stats;
    bb_shard_stats(self->nodes[node].shard, &stats);
    return stats;
}

#endif
